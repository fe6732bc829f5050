#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Programs pass pointers to a DSA.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The program tests/guest/dsa has a case for each rule that programs rely on
when they submit descriptors to a queue.  Here the cases run on a stock kernel,
on dedicated and shared queues, with page requests and without, in several
processes at the same time, and while the machine changes."""

from svm_guest import SvmGuestTest, slow
from guest_machine import dsa_arguments, iommu_arguments

# Two queues of each mode, the second with page requests
QUEUES = (('dedicated', 'block_on_fault=0'), ('dedicated', 'block_on_fault=1'),
          ('shared', 'block_on_fault=0'), ('shared', 'block_on_fault=1'))
# The same without page requests even for completion records
LOGGED = (('dedicated', 'prs_disable=1'), ('dedicated', 'block_on_fault=1'),
          ('shared', 'prs_disable=1'), ('shared', 'block_on_fault=1'))


ADDRESS = '0000:01:00.0'
DEVICE = f'/sys/bus/pci/devices/{ADDRESS}'
DRIVER = '/sys/bus/pci/drivers/idxd'
BUSY = f'''
    # Start a process per queue that keeps it busy
    busy() {{
        pids=
        for number in 0 1 2 3; do
            dsa busy /dev/dsa/wq0.$number > /tmp/busy$number &
            pids="$pids $!"
        done
        for number in 0 1 2 3; do
            wait_until 30 grep -q busy /tmp/busy$number ||
                {{ cat /tmp/busy?; return 1; }}
        done
    }}
    end_all() {{
        kill $pids
        wait $pids
        cat /tmp/busy?
        [ $(grep -l right /tmp/busy? | wc -l) = 4 ]
    }}
    kill_all() {{
        kill -9 $pids
        wait $pids
        true
    }}
    works() {{
        for number in 0 1 2 3; do
            dsa share /dev/dsa/wq0.$number || return 1
        done
    }}
    gone() {{
        wait_until 30 test ! -e {DEVICE} && [ ! -e /dev/dsa/wq0.0 ]
    }}
    enable_queues_later() {{
        wait_until 30 test -e /sys/bus/dsa/devices/dsa0 && enable_queues
    }}
    '''


# The same cases on smaller machines
@slow('test_1_processor', 'test_4_levels')
class DsaSvm(SvmGuestTest):
    """The cases behind -device intel-iommu,svm=on; test_dsa_amd.py runs them
    behind another IOMMU."""

    timeout = 600
    iommu = 'intel'
    # Kernel messages when a process dies while the device accesses its memory:
    # Linux removes the PASID entry first, and 7.x does not disable its faults.
    provoked = r'handling fault status|fault reason 0x59'

    def start_dsa(self, script, devices=None, extra='', queues=QUEUES,
                  **options):
        """Start a guest with four queues."""
        configure = '\n'.join(
            f'dsa_queue 0.{number} {mode} user max_transfer_size=8388608 '
            f'{attributes} || return 1'
            for number, (mode, attributes) in enumerate(queues))
        return self.start_guest('backports', f'''
            enable_queues() {{
                {configure}
                dsa_enable 0 0.0 0.1 0.2 0.3
            }}
            {script}
            ''', iommu_arguments(self.iommu, svm=True, extra=extra)
            + (dsa_arguments() if devices is None else devices),
                                iommu=self.iommu,
                                **{'compiled': ('dsa',), **options})

    def check_cases(self, guest, expected):
        lines = guest.channel.lines
        failed = [line for line in lines if line.startswith('not ok')]
        self.assertEqual(failed, [], guest.tail())
        self.assertEqual(len([line for line in lines
                              if line.startswith('ok ')]), expected,
                         guest.tail())

    def run_cases(self, **options):
        guest = self.start_dsa('''
            enable_queues || exit 1
            for number in 0 1 2 3; do
                echo "queue $number"
                dsa test /dev/dsa/wq0.$number || exit 1
            done
            # Two on each shared queue, one on each dedicated queue
            dsa share /dev/dsa/wq0.0 /dev/dsa/wq0.1 /dev/dsa/wq0.2 \\
                /dev/dsa/wq0.2 /dev/dsa/wq0.3 /dev/dsa/wq0.3
            ''', **options)
        self.run_script(guest, provoked=self.provoked)
        self.check_cases(guest, 4 * 12 + 1)

    # What happens while processes use the queues, in one guest; each time,
    # the device works afterwards.
    changes = {
        'the processes complete their work, and the results are right':
            'end_all || exit 1',
        'the queues, then the device, are disabled and enabled': '''
            for number in 0 1 2 3; do
                echo wq0.$number > /sys/bus/dsa/drivers/user/unbind || exit 1
            done
            echo dsa0 > /sys/bus/dsa/drivers/idxd/unbind || exit 1
            kill_all
            enable_queues || exit 1''',
        'the device is disabled while its queues are enabled': '''
            echo dsa0 > /sys/bus/dsa/drivers/idxd/unbind || exit 1
            kill_all
            enable_queues || exit 1''',
        # Linux enables the queues again
        'Function Level Reset': f'''
            echo 1 > {DEVICE}/reset || exit 1
            kill_all''',
        # Linux 7.3 uses queues after freeing them if the driver is unbound
        # from a device that is enabled or open: this disables the device
        # first, and kills the processes.
        'the driver is unbound and bound': f'''
            echo dsa0 > /sys/bus/dsa/drivers/idxd/unbind || exit 1
            kill_all
            echo {ADDRESS} > {DRIVER}/unbind || exit 1
            [ ! -e /dev/dsa/wq0.0 ] || exit 1
            echo {ADDRESS} > {DRIVER}/bind || exit 1
            enable_queues || exit 1''',
        # The same preparation
        'the device is unplugged and plugged': '''
            echo dsa0 > /sys/bus/dsa/drivers/idxd/unbind || exit 1
            kill_all
            ask unplug
            gone || exit 1
            ask plug
            enable_queues_later || exit 1''',
    }

    def test_while_busy(self):
        """Changes, each of them twice"""
        steps = '\n'.join(f'''
            echo "{name}"
            for i in 1 2; do
                busy || exit 1
                {change}
                works || exit 1
            done''' for name, change in self.changes.items())
        guest = self.start_dsa(f'''
            {BUSY}
            enable_queues || exit 1
            {steps}
            ''')
        self.run_script(guest, self.plug_questions(guest, dsa_arguments()[-1]),
                        provoked=self.provoked)
        self.check_cases(guest, 4 * 2 * len(self.changes))

    def test_restart(self):
        """The machine restarts while the device is busy: once by the guest,
        twice by a reset.  At the end it is powered off."""
        guest = self.start_dsa(f'''
            {BUSY}
            boot=$(ask boot)
            enable_queues && works && busy || exit 1
            [ $boot != 4 ] || exit 0
            [ $boot != 1 ] || reboot -f
            ask reset
            sleep 60
            exit 1
            ''', devices=dsa_arguments() + ['-action', 'reboot=reset'])
        self.run_script(guest, self.boot_questions(guest))
        self.check_cases(guest, 4 * 4)
        self.assertEqual(guest.boots, 4)

    def run_crash(self, append, load):
        """Linux panics while the device is busy, and a crash kernel starts,
        which loads the driver and uses the device.

        The device is still enabled then, and waits for responses to the page
        requests of the previous kernel."""
        guest = self.start_dsa(f'''
            {BUSY}
            if [ $(ask boot) = 2 ]; then
                {load}
                dsa_queue 0.0 dedicated kernel && dsa_enable 0 0.0 || exit 1
                modprobe dmatest iterations=10 timeout=60000 run=1
                wait_until 60 sh -c 'dmesg | grep -q summary'
                dmesg | grep dmatest:
                exit
            fi
            {self.copy_kernel}
            enable_queues && busy || exit 1
            line=$(sed 's/crashkernel=[^ ]*//' /proc/cmdline)
            /tmp/kexec -p /tmp/kernel /tmp/initrd \\
                "$line drivers=later {append}" || exit 1
            echo c > /proc/sysrq-trigger
            ''', append='crashkernel=320M', memory='1G', launch=False,
                               compiled=('dsa', 'dmatest'))
        questions = self.kernel_questions(guest)
        guest.vm.launch()
        lines = self.run_script(guest, questions, provoked=self.crash)
        self.assertEqual(guest.boots, 2)
        self.assertTrue(any('10 tests, 0 failures' in line for line in lines),
                        guest.tail())

    # Kernel messages of a panic, and of a crash kernel that has not yet
    # replaced the tables of the IOMMU
    crash = r'panic|Call Trace|DMAR:|handling fault status'

    def test_crash(self):
        """The crash kernel uses the IOMMU.  It changes the ATS, PASID and Page
        Request capabilities, and the device halts (DSA 9.1.3), as GENSTS says
        until a reset of the function.  Linux 7.3 does not load its driver for
        a halted device."""
        self.run_crash('', f'''
            echo 1 > {DEVICE}/reset || exit 1
            modprobe idxd || exit 1
            ''')

    def test_crash_without_iommu(self):
        """The crash kernel does not use the IOMMU, and the device does not
        halt.  No kernel responds to the page requests.  When Linux loads its
        driver, it sends the command Reset Device, which abandons the
        descriptors that wait for a response (DSA 3.15).

        Linux leaves ATS enabled, although the device must not use it without
        an IOMMU (DSA 9.1.3.2).  A reset of the function disables it."""
        self.run_crash('intel_iommu=off', f'''
            modprobe idxd || exit 1
            [ "$(cat /sys/bus/dsa/devices/dsa0/state)" = disabled ] || exit 1
            echo 1 > {DEVICE}/reset || exit 1
            ''')

    def test_snapshot(self):
        """savevm and loadvm; outstanding descriptors complete both times."""
        guest = self.start_dsa(f'''
            {BUSY}
            enable_queues && busy || exit 1
            answer=$(ask save)
            echo answer=$answer
            end_all && works || exit 1
            [ $answer = loaded ] || ask load
            ''', append='nosoftlockup')  # time jumps with loadvm
        self.run_script(guest, self.snapshot_questions(guest))
        self.check_cases(guest, 2 * 4)
        answers = [line for line in guest.channel.lines
                   if line.startswith('answer=')]
        self.assertEqual(answers, ['answer=saved', 'answer=loaded'])

    def test_migration(self):
        """Migration to a second emulator, where outstanding descriptors
        complete."""
        guest = self.start_dsa(f'''
            {BUSY}
            enable_queues && busy || exit 1
            ask migrate
            end_all && works
            ''', append='nosoftlockup')
        self.run_script(guest, self.migration_questions(guest))
        self.check_cases(guest, 4)

    def test_event_log(self):
        """Queues without page requests: Linux gets completion records that the
        device cannot write from the event log.  Otherwise they behave like
        other queues."""
        guest = self.start_dsa('''
            [ $(cat /sys/bus/dsa/devices/dsa0/version) = 0x200 ] || exit 1
            [ $(cat /sys/bus/dsa/devices/dsa0/event_log_size) = 64 ] || exit 1
            enable_queues || exit 1
            for number in 0 2; do
                dsa log /dev/dsa/wq0.$number || exit 1
                cat /sys/kernel/debug/idxd/dsa0/event_log
                dsa test /dev/dsa/wq0.$number || exit 1
            done
            dsa share /dev/dsa/wq0.0 /dev/dsa/wq0.1 /dev/dsa/wq0.2 \\
                /dev/dsa/wq0.2 /dev/dsa/wq0.3 /dev/dsa/wq0.3
            ''', dsa_arguments(device_extra=',event-log=on'), queues=LOGGED)
        lines = self.run_script(guest, provoked=self.provoked)
        self.check_cases(guest, 2 * (4 + 12) + 1)
        # Entries of completion records, batches and drains (DSA 5.8.1)
        for error in ('0x1a', '0x26', '0x27'):
            self.assertTrue(any(f' error {error}' in line for line in lines),
                            f'no entry with error {error}')

    def test_1_processor(self):
        self.run_cases(cpus=1)

    def test_4_processors(self):
        self.run_cases(cpus=4)

    def test_4_levels(self):
        self.run_cases(cpu='max,la57=off')


if __name__ == '__main__':
    SvmGuestTest.main()
