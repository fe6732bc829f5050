#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Shared virtual memory: programs hand their pointers to the svm device.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The program tests/guest/svm has a case for each rule that a program may
rely on; here they run on a stock kernel in machines of different shapes, and
while the machine changes under them."""

import re

from svm_guest import SvmGuestTest, TestpmdBackend
from guest_machine import iommu_arguments, network_arguments, svm_arguments

ADDRESS = '0000:01:00.0'
DEVICE = f'/sys/bus/pci/devices/{ADDRESS}'
# What the cases provoke: requests for pages that a program may not have, and
# a process that dies while the device is at work on its memory.  Linux takes
# the PASID entry away first, and 7.x forgets to switch its faults off.
PROVOKED = (r'[Pp]age request|Address is not canonical|handling fault status|'
            r'fault reason 0x59')
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


class Svm(SvmGuestTest):

    timeout = 600

    def start_svm(self, script, devices=None, extra='', **options):
        """A guest with intel-iommu,svm=on and one svm device."""
        options.setdefault('kernel', 'backports')
        options.setdefault('memory', '1G')
        return self.start_guest(
            script='svm_setup || exit 1\n' + script, svm=True,
            devices=iommu_arguments(svm=True, extra=extra)
            + (svm_arguments() if devices is None else devices), **options)

    def check_cases(self, guest, skipped=()):
        """All cases passed but those that cannot run in this machine."""
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
        guest = self.start_svm(f'''
            svm test || exit 1
            busy() {{
                svm busy > /tmp/busy &
                wait_until 20 grep -q busy /tmp/busy
            }}
            busy
            echo 1 > {DEVICE}/reset || exit 1
            svm_pid=$!
            sleep 0.5
            kill -0 $svm_pid || {{ cat /tmp/busy; exit 1; }}
            kill $svm_pid; wait $svm_pid
            svm test malloc unmap || exit 1
            busy
            echo {ADDRESS} > {DEVICE}/driver/unbind || exit 1
            wait $! && cat /tmp/busy
            echo {ADDRESS} > /sys/bus/pci/drivers/svm/bind || exit 1
            {WAIT} svm test malloc unmap exit
            ''',
            cpus=4, memory='2560M', append='hugepagesz=1G hugepages=1')
        self.run_script(guest, provoked=PROVOKED)
        self.check_cases(guest)
        self.assertIn('No such device', '\n'.join(guest.channel.lines))

    def test_root_bus(self):
        """1 processor, 4-level tables, no interrupt remapping, the device on
        the root bus."""
        guest = self.start_svm(
            'svm test', devices=['-device', 'svm,addr=5'],
            extra=',intremap=off', cpus=1, cpu=FOUR_LEVELS)
        self.run_script(guest, provoked=PROVOKED)
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
        self.run_script(guest, provoked=PROVOKED)
        self.check_cases(guest, skipped=('huge-1g',))

    def test_beside_virtio_net(self):
        """A network card with ATS and a vhost-user backend at work while the
        cases run; both translate through first-stage tables."""
        backend = TestpmdBackend(self)
        guest = self.start_svm('''
            card=$(net_of 0000:02:00.0) || exit 1
            echo ats=$(ats_control 0000:02:00.0)
            net_up $card 192.0.2.2/24
            ping -i 0.02 192.0.2.1 > /tmp/ping &
            svm test; status=$?
            kill -INT $!; wait
            grep -A 1 transmitted /tmp/ping
            exit $status
            ''', devices=svm_arguments()
            + backend.shared_memory('1G') + backend.chardev()
            + network_arguments(1, 'vhost-user,chardev=backend'))
        lines = self.run_script(guest, provoked=PROVOKED)
        self.check_cases(guest, skipped=('huge-1g',))
        self.assertTrue(int(self.value(guest, 'ats')) & 1 << 15)
        self.assertIn(', 0% packet loss', '\n'.join(lines))

    def test_hot_plug(self):
        """Plugged and unplugged, idle and busy."""
        plugged = svm_arguments()[-1]
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
            wait_until 20 grep -q busy /tmp/busy
            ask unplug
            gone
            wait $!
            cat /tmp/busy
            ask plug
            {WAIT} svm test malloc unmap
            ''', devices=svm_arguments()[:-2])

        def plug():
            guest.vm.cmd('human-monitor-command',
                         command_line=f'device_add {plugged}')

        def unplug():
            guest.vm.cmd('device_del', id='svm0')
            guest.vm.event_wait('DEVICE_DELETED', 30,
                                match={'data': {'device': 'svm0'}})

        self.run_script(guest, {'plug': plug, 'unplug': unplug})
        self.check_cases(guest)
        self.assertIn('No such device', '\n'.join(guest.channel.lines))

    def test_reset(self):
        """The machine restarts while the device is at work: once in order,
        twice without asking the guest."""
        guest = self.start_svm('''
            boot=$(ask boot)
            svm test malloc unmap fork || exit 1
            [ $boot != 4 ] || exit 0
            svm busy > /tmp/busy &
            wait_until 20 grep -q busy /tmp/busy
            [ $boot != 1 ] || reboot -f
            ask reset
            sleep 60
            exit 1
            ''', devices=svm_arguments() + ['-action', 'reboot=reset'])
        boots = []

        def boot():
            boots.append(None)
            return str(len(boots))

        self.run_script(guest, {
            'boot': boot, 'reset': lambda: guest.vm.cmd('system_reset')})
        self.check_cases(guest)
        self.assertEqual(len(boots), 4)

    def test_snapshot(self):
        """savevm and loadvm while the device is at work."""
        guest = self.start_svm('''
            svm busy 64 > /tmp/busy &
            wait_until 20 grep -q busy /tmp/busy
            answer=$(ask save)
            echo answer=$answer
            kill -0 $! || { cat /tmp/busy; exit 1; }
            kill $!; wait $!
            svm test malloc unmap fork swap exit || exit 1
            [ $answer = loaded ] || ask load
            ''', append='nosoftlockup')  # time jumps with loadvm
        self.run_script(guest, self.snapshot_questions(guest),
                        provoked=PROVOKED)
        self.check_cases(guest)
        answers = [line for line in guest.channel.lines
                   if line.startswith('answer=')]
        self.assertEqual(answers, ['answer=saved', 'answer=loaded'])

    def refusal(self, kernel, devices, memory='512M'):
        """The program's words on a machine that does not share memory."""
        guest = self.start_guest(kernel, '''
            modprobe svm
            svm test 2>&1 && exit 1
            echo status=$?
            ''', devices + svm_arguments(), svm=True, memory=memory)
        self.run_script(guest)
        self.assertEqual(self.value(guest, 'status'), '2')
        return ' '.join(guest.channel.lines)

    def test_kernel_refuses(self):
        """Debian 13's own kernel answers EOPNOTSUPP (CVE-2025-71089)."""
        self.assertIn('refuses to share an address space', self.refusal(
            'trixie', iommu_arguments(svm=True)))

    def test_iommu_cannot(self):
        """An IOMMU without shared virtual memory."""
        self.assertIn('-device intel-iommu,svm=on', self.refusal(
            'backports', iommu_arguments()))


if __name__ == '__main__':
    SvmGuestTest.main()
