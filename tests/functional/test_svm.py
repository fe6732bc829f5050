#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Shared virtual memory: programs pass pointers to the svm device.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The program tests/guest/svm has a case for each rule that programs rely on.
Here the cases run on a stock kernel in different machines, and while the
machine changes."""

import json
import re

from svm_guest import SvmGuestTest, TestpmdBackend, alone, slow
from guest_machine import iommu_arguments, network_arguments, svm_arguments

ADDRESS = '0000:01:00.0'
DEVICE = f'/sys/bus/pci/devices/{ADDRESS}'
# Kernel messages when a process dies while the device accesses its memory:
# Linux removes the PASID entry first, and 7.x does not disable its faults.
DIES_BUSY = r'handling fault status|fault reason 0x59'
FOUR_LEVELS = 'max,la57=off'
# Linux uses PASIDs only below ports that have Access Control Services.
SWITCH = [
    '-device', 'pcie-root-port,id=up,bus=pcie.0,chassis=20,slot=20',
    '-device', 'x3130-upstream,id=switch,bus=up',
    '-device', 'xio3130-downstream,id=down0,bus=switch,chassis=21,slot=21,'
    'disable-acs=off',
    '-device', 'xio3130-downstream,id=down1,bus=switch,chassis=22,slot=22,'
    'disable-acs=off',
    '-device', 'svm,id=svm0,bus=down0',
    '-device', 'svm,id=svm1,bus=down1',
]
WAIT = 'wait_until 20 test -e /dev/svm && svm wait 20 || exit 1\n'


@alone('test_with_virtio_net')
# The same cases on other machines
@slow('test_root_bus', 'test_switch')
class Svm(SvmGuestTest):
    """The cases behind -device intel-iommu,svm=on; test_svm_amd.py runs them
    behind another IOMMU."""

    timeout = 600
    iommu = 'intel'
    # Kernel messages in each case: about rejected requests, and about
    # processes that die.  They must not appear outside of these cases.
    provoked = {
        'beyond': r'Address is not canonical|Invalid page request',
        'kernel': r'Page request in Privilege Mode|Invalid page request',
        'exit': DIES_BUSY,
        'exec': DIES_BUSY,
        'killed': DIES_BUSY,
    }
    # Kernel messages when the queue or log of page requests overflows
    overflow = ('PRQ overflow detected', 'PRQ overflow cleared')
    # The trace event of a request that the IOMMU blocks
    blocked = 'vtd_dmar_fault'
    # Whether the driver of the IOMMU lets functions be reset while they are in
    # use by a process
    resets_busy = True

    def start_svm(self, script, devices=None, extra='', append='',
                  **options):
        """Start a guest with svm=on and one svm device."""
        options.setdefault('kernel', 'backports')
        options.setdefault('memory', '1G')
        return self.start_guest(
            script='svm_setup || exit 1\n' + script, svm=True,
            append=f'printk.devkmsg=on {append}',
            devices=iommu_arguments(self.iommu, svm=True, extra=extra)
            + (svm_arguments() if devices is None else devices),
            iommu=self.iommu, **options)

    def check_cases(self, guest, skipped=()):
        """Check that all cases passed but those that this machine skips."""
        lines = guest.channel.lines
        failed = [line for line in lines if line.startswith('not ok')]
        self.assertEqual(failed, [], guest.tail())
        self.assertTrue(any(line.startswith('ok ') for line in lines),
                        guest.tail())
        left_out = {line.split()[1].rstrip(':') for line in lines
                    if line.startswith('skipped ')}
        self.assertEqual(left_out - set(skipped), set(), guest.tail())
        self.assertTrue(any(re.fullmatch(r'0 of \d+ cases failed', line)
                            for line in lines), guest.tail())

    def test_root_port(self):
        """4 processors, 5-level tables, huge pages of 1 GiB; then the device
        is reset and its driver unbound while it is busy."""
        reset = f'echo 1 > {DEVICE}/reset || exit 1' if self.resets_busy else ''
        guest = self.start_svm(f'''
            svm test || exit 1
            busy() {{
                svm busy > /tmp/busy &
                wait_until 60 grep -q busy /tmp/busy || exit 1
            }}
            busy
            {reset}
            svm_pid=$!
            sleep 0.5
            kill -0 $svm_pid || {{ cat /tmp/busy; exit 1; }}
            provoke begin killed
            kill $svm_pid; wait $svm_pid
            provoke end killed
            svm test malloc unmap || exit 1
            busy
            echo {ADDRESS} > {DEVICE}/driver/unbind || exit 1
            wait $! && cat /tmp/busy
            echo {ADDRESS} > /sys/bus/pci/drivers/svm/bind || exit 1
            {WAIT} svm test malloc unmap exit
            ''',
            cpus=4, memory='2560M', append='hugepagesz=1G hugepages=1')
        self.run_script(guest, provoked_in=self.provoked)
        self.check_cases(guest)
        self.assertIn('No such device', '\n'.join(guest.channel.lines))

    def test_root_bus(self):
        """1 processor, 4-level tables, no interrupt remapping, the device on
        the root bus."""
        guest = self.start_svm(
            'svm test', devices=['-device', 'svm,addr=5'],
            extra=',intremap=off', cpus=1, cpu=FOUR_LEVELS)
        self.run_script(guest, provoked_in=self.provoked)
        self.check_cases(guest, skipped=('high', 'huge-1g'))

    def test_switch(self):
        """Two devices behind a switch, in use at the same time."""
        guest = self.start_svm('''
            echo 16 > /proc/sys/vm/nr_hugepages
            svm --device=/dev/svm1 test > /tmp/other &
            svm test || exit 1
            wait $!; status=$?
            cat /tmp/other
            exit $status
            ''', devices=SWITCH)
        self.run_script(guest, provoked_in=self.provoked)
        self.check_cases(guest, skipped=('huge-1g',))

    def test_with_virtio_net(self):
        """A network card with ATS and a vhost-user backend is in use while the
        cases run; both use first-stage tables."""
        backend = TestpmdBackend(self)
        guest = self.start_svm('''
            card=$(net_of 0000:02:00.0) || exit 1
            echo ats=$(ats_control 0000:02:00.0)
            net_up $card 192.0.2.2/24
            ask start
            ping -i 0.02 192.0.2.1 > /tmp/ping &
            svm test; status=$?
            kill -INT $!; wait
            grep -A 1 transmitted /tmp/ping
            exit $status
            ''', devices=svm_arguments()
            + backend.shared_memory('1G') + backend.chardev()
            + network_arguments(1, 'vhost-user,chardev=backend'))
        lines = self.run_script(guest, {'start': backend.start},
                                provoked_in=self.provoked)
        self.check_cases(guest, skipped=('huge-1g',))
        self.assertTrue(int(self.value(guest, 'ats')) & 1 << 15)
        self.assertIn(', 0% packet loss', '\n'.join(lines))

    def test_hot_plug(self):
        """The device is plugged and unplugged, idle and busy."""
        guest = self.start_svm(f'''
            gone() {{
                wait_until 30 test ! -e {DEVICE} || exit 1
                [ ! -e /dev/svm ] || exit 1
            }}
            ask plug
            {WAIT} svm test malloc unmap || exit 1
            ask unplug
            gone
            ask plug
            {WAIT} svm busy > /tmp/busy &
            wait_until 60 grep -q busy /tmp/busy || exit 1
            ask unplug
            gone
            wait $!
            cat /tmp/busy
            ask plug
            {WAIT} svm test malloc unmap
            ''', devices=svm_arguments()[:-2])
        self.run_script(guest, self.plug_questions(guest, svm_arguments()[-1]))
        self.check_cases(guest)
        self.assertIn('No such device', '\n'.join(guest.channel.lines))

    def test_reset(self):
        """The machine restarts while the device is busy: once by the guest,
        twice by a reset."""
        guest = self.start_svm('''
            boot=$(ask boot)
            svm test malloc unmap fork || exit 1
            [ $boot != 4 ] || exit 0
            svm busy > /tmp/busy &
            wait_until 60 grep -q busy /tmp/busy || exit 1
            [ $boot != 1 ] || reboot -f
            ask reset
            sleep 60
            exit 1
            ''', devices=svm_arguments() + ['-action', 'reboot=reset'])
        self.run_script(guest, self.boot_questions(guest))
        self.check_cases(guest)
        self.assertEqual(guest.boots, 4)

    def test_kexec(self):
        """Another kernel is booted while the device is busy: the driver stops
        the device before, and it works with the new kernel."""
        guest = self.start_svm(f'''
            boot=$(ask boot)
            if [ $boot = 2 ]; then
                svm test
                exit
            fi
            svm test malloc unmap fork || exit 1
            {self.copy_kernel}
            svm busy 16 > /tmp/busy &
            wait_until 60 grep -q busy /tmp/busy || exit 1
            /tmp/kexec /tmp/kernel /tmp/initrd "$(cat /proc/cmdline)"
            exit 1
            ''', launch=False)
        questions = self.kernel_questions(guest)
        trace = self.log_file('kexec-trace.log')
        guest.vm.add_args('-D', trace)
        for event in ('svm_*', 'pci_cfg_write', 'pci_ats_request_translation',
                      'pci_pri_request_page', self.blocked):
            guest.vm.add_args('-trace', event)
        guest.vm.launch()
        self.run_script(guest, questions, provoked_in=self.provoked)
        self.check_cases(guest, skipped=('huge-1g',))
        self.assertEqual(guest.boots, 2)
        self.check_quiet(trace)

    def check_quiet(self, trace):
        """Check that the device sends no requests between the shutdown of the
        driver and the next open, and that nothing is blocked before the cases
        of the next kernel.  The second shutdown is that of the machine."""
        master, requests, switches = False, 0, []
        with open(trace, encoding='utf-8') as events:
            for event in events:
                command = re.match(r'pci_cfg_write svm 01:00\.0 @0x4 <- '
                                   r'(0x[0-9a-f]+)', event)
                if event.startswith(self.blocked):
                    self.assertEqual(switches, [True, False, True], event)
                if command:
                    now = bool(int(command[1], 16) & 4)
                    if now != master:
                        switches.append(now)
                    master = now
                elif event.startswith(('pci_ats_request_translation svm',
                                       'pci_pri_request_page svm')):
                    self.assertTrue(master, event)
                    requests += 1
        self.assertGreater(requests, 0)
        self.assertEqual(switches, [True, False, True, False])

    def test_snapshot(self):
        """savevm and loadvm while the device is busy."""
        guest = self.start_svm('''
            svm busy 64 > /tmp/busy &
            wait_until 60 grep -q busy /tmp/busy || exit 1
            answer=$(ask save)
            echo answer=$answer
            kill -0 $! || { cat /tmp/busy; exit 1; }
            provoke begin killed
            kill $!; wait $!
            provoke end killed
            svm test malloc unmap fork swap exit || exit 1
            [ $answer = loaded ] || ask load
            ''', append='nosoftlockup')  # time jumps with loadvm
        self.run_script(guest, self.snapshot_questions(guest),
                        provoked_in=self.provoked)
        self.check_cases(guest)
        answers = [line for line in guest.channel.lines
                   if line.startswith('answer=')]
        self.assertEqual(answers, ['answer=saved', 'answer=loaded'])

    def test_migration(self):
        """Migration to a second emulator, three times, while the device is
        busy.  The program takes pages back after each operation, so that page
        requests are outstanding."""
        guest = self.start_svm('''
            svm busy 64 > /tmp/busy &
            wait_until 60 grep -q busy /tmp/busy || exit 1
            for i in 1 2 3; do
                ask migrate
                kill -0 $! || { cat /tmp/busy; exit 1; }
            done
            provoke begin killed
            kill $!; wait $!
            provoke end killed
            svm test malloc unmap fork swap exit
            ''', append='nosoftlockup')
        self.run_script(guest, self.migration_questions(guest),
                        provoked_in=self.provoked)
        self.check_cases(guest)

    @staticmethod
    def injections(guest, *settings):
        """Questions for run_script: "PROPERTY=VALUE" sets a property of the
        device, and "PROPERTY" has its value as the reply."""
        def setter(name, value):
            return lambda: guest.vm.cmd('qom-set', path='svm0', property=name,
                                        value=json.loads(value)) and ''

        def getter(name):
            return lambda: str(guest.vm.cmd('qom-get', path='svm0',
                                            property=name))

        names = [setting.partition('=')[0] for setting in settings]
        return ({setting: setter(*setting.split('=')) for setting in settings}
                | {name: getter(name) for name in names})

    def test_injected_errors(self):
        """Page requests that are denied, responses that are late or lost, and
        a device that uses invalidated translations, in one guest"""
        guest = self.start_svm(
            self.denied_and_delayed + self.lost_response_script()
            + self.stale_translation, append='tsc=unstable')
        self.run_script(guest, self.injections(
            guest, 'x-deny-requests=1', 'x-delay-responses=500',
            'x-delay-responses=0', 'x-drop-responses=1',
            'x-delay-responses=3600000', 'x-ignore-invalidations=true',
            'x-ignore-invalidations=false'))
        self.check_cases(guest)
        self.check_denied_and_delayed(guest)
        self.check_lost_response(guest)
        self.check_stale_translation(guest)

    # A page request that is denied fails one operation, and the next one
    # succeeds.  An operation waits for a delayed response.
    denied_and_delayed = '''
        svm write 64K || exit 1
        ask x-deny-requests=1
        svm write 64K && exit 1
        echo left-to-deny=$(ask x-deny-requests)
        svm write 64K || exit 1
        ask x-delay-responses=500
        echo late=$(svm write 64K)
        ask x-delay-responses=0
        svm test malloc unmap || exit 1
        '''

    def check_denied_and_delayed(self, guest):
        wrote = [line for line in guest.channel.lines
                 if line.startswith('wrote ')]
        self.assertEqual(['the device reports an error' in line
                          for line in wrote], [False, True, False],
                         guest.tail())
        self.assertEqual(self.value(guest, 'left-to-deny'), '0')
        late = re.search(r'done, ([\d.]+) ms', self.value(guest, 'late'))
        self.assertTrue(late, guest.tail())
        self.assertGreaterEqual(float(late[1]), 500)

    def lost_response_script(self):
        """An operation whose response is lost ends when the device is reset,
        or its process killed.  If it does not end then, the driver disables
        bus mastering, and a reset recovers the device."""
        reset = f'''
            ask x-drop-responses=1
            wait_for_ever
            echo left-to-drop=$(ask x-drop-responses)
            echo 1 > {DEVICE}/reset || exit 1
            wait $pid
            echo "after the reset: $? $(cat /tmp/waiting)"
            svm test malloc || exit 1
            '''
        return f'''
            # The program waits in START_WRITE of svm_ioctl.h
            waits() {{ grep -q '^16 .* 0x4943 ' /proc/$pid/syscall; }}
            wait_for_ever() {{
                svm write 64K > /tmp/waiting &
                pid=$!
                wait_until 60 waits || exit 1
            }}
            {reset if self.resets_busy else ''}
            ask x-drop-responses=1
            wait_for_ever
            echo left-to-drop=$(ask x-drop-responses)
            kill $pid; wait $pid
            svm test malloc || exit 1

            timeout=/sys/module/svm/parameters/stop_timeout
            before=$(cat $timeout)
            echo 1 > $timeout
            ask x-delay-responses=3600000
            wait_for_ever
            kill $pid; wait $pid
            echo kernel=$(dmesg | grep -o 'does not stop.*')
            ask x-delay-responses=0
            echo 1 > {DEVICE}/reset || exit 1
            echo $before > $timeout
            svm test malloc unmap || exit 1
            '''

    def check_lost_response(self, guest):
        left = [line for line in guest.channel.lines
                if line.startswith('left-to-drop=')]
        self.assertEqual(set(left), {'left-to-drop=0'})
        if self.resets_busy:
            self.assertIn('the device reports an error', next(
                line for line in guest.channel.lines
                if line.startswith('after the reset: 1 ')))
        self.assertEqual(self.value(guest, 'kernel'),
                         'does not stop, taking its bus from it')

    # A device that uses invalidated translations fails the cases that test
    # this.  They keep the memory in the program, so that the device does not
    # corrupt memory of others.
    stale_cases = {'remap': 'still writes to memory that moved',
                   'protect': 'writes to memory that became read-only',
                   'reading': 'still reads memory that was taken',
                   'cow': "wrote through to a child's copy"}
    stale_translation = f'''
        svm test {' '.join(stale_cases)} || exit 1
        for case in {' '.join(stale_cases)}; do
            ask x-ignore-invalidations=true
            svm test $case > /tmp/$case && exit 1
            ask x-ignore-invalidations=false
            echo 1 > {DEVICE}/reset || exit 1
            echo stale $(grep '^not ok' /tmp/$case)
        done
        svm test {' '.join(stale_cases)}
        '''

    def check_stale_translation(self, guest):
        caught = [line for line in guest.channel.lines
                  if line.startswith('stale ')]
        self.assertEqual(len(caught), len(self.stale_cases), guest.tail())
        for line, (case, complaint) in zip(caught, self.stale_cases.items()):
            self.assertRegex(line, f'stale not ok {case}: .*{complaint}')

    def test_flood(self):
        """More page requests than the queue holds: the IOMMU responds to those
        that it drops (VT-d 7.4.1), Linux clears the overflow, and the device
        continues."""
        messages = '\n'.join(f'wait_until 60 overflow "{message}" || exit 1'
                             for message in self.overflow)
        guest = self.start_svm(f'''
            svm busy 1 > /tmp/busy &
            wait_until 60 grep -q busy /tmp/busy || exit 1
            ask x-flood=20000
            # The log shows a message after the next one has begun.
            overflow() {{
                echo '<7>svm: look' > /dev/kmsg
                dmesg | grep -q "$1"
            }}
            {messages}
            kill -0 $! || {{ cat /tmp/busy; exit 1; }}
            provoke begin killed
            kill $!; wait $!
            provoke end killed
            svm test malloc unmap exit
            ''')
        self.run_script(guest, self.injections(guest, 'x-flood=20000'),
                        provoked_in=self.provoked)
        self.check_cases(guest)

    def refusal(self, kernel, devices, memory='512M'):
        """Return the output of the program on a machine without SVM."""
        guest = self.start_guest(kernel, '''
            modprobe svm
            svm test 2>&1 && exit 1
            echo status=$?
            ''', devices + svm_arguments(), svm=True, memory=memory, cpus=1,
                                 iommu=self.iommu)
        self.run_script(guest)
        self.assertEqual(self.value(guest, 'status'), '2')
        return ' '.join(guest.channel.lines)

    def test_kernel_without_svm(self):
        """The kernel of Debian 13 returns EOPNOTSUPP (CVE-2025-71089)."""
        self.assertIn('refuses to share an address space', self.refusal(
            'trixie', iommu_arguments(self.iommu, svm=True)))

    def test_iommu_without_svm(self):
        """An IOMMU without shared virtual memory."""
        device, = iommu_arguments(self.iommu, svm=True)[1:]
        self.assertIn(f'-device {device}', self.refusal(
            'backports', iommu_arguments(self.iommu)))


if __name__ == '__main__':
    SvmGuestTest.main()
