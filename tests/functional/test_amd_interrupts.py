#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Interrupts behind the AMD IOMMU.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Unmodified Debian kernels remap interrupts of the I/O APIC and of PCI devices
behind -device amd-iommu,svm=on: in xAPIC mode, and with xtsup=on in x2APIC
mode.  The IOMMU itself interrupts when it logs an event."""

from svm_guest import SvmGuestTest, slow
from guest_machine import iommu_arguments, network_arguments

CARD = '0000:01:00.0'
EDU = '0000:00:05.0'
# A read of an address that is not mapped.  edu has the address of its buffer in
# its documentation, docs/specs/edu.rst.
PROVOKE_EVENT = f'''
    edu=/sys/bus/pci/devices/{EDU}
    echo 1 > $edu/enable
    # Memory space and bus mastering
    printf '\\6' | dd of=$edu/config bs=1 seek=4 conv=notrunc 2> /dev/null
    read -r bar rest < $edu/resource
    devmem $((bar + 0x80)) 64 0x1000
    devmem $((bar + 0x88)) 64 0x40000
    devmem $((bar + 0x90)) 64 4
    devmem $((bar + 0x98)) 64 1
    logged() {{
        echo '<7>look' > /dev/kmsg
        dmesg | grep 'Event logged'
    }}
    wait_until 10 logged || exit 1
    logged
    '''
# Each processor takes interrupts of the I/O APIC (a serial port), of a network
# card and of a disk, which Linux interrupts on the processor that uses it.
INTERRUPTS = f'''
    irq_of() {{
        awk -v name="$1" '$NF ~ name {{ print int($1); exit }}' /proc/interrupts
    }}
    # taken NAME CPU: print how many interrupts a processor has taken
    taken() {{
        awk -v name="$1" -v column=$(($2 + 2)) '
            $NF ~ name {{ sum += $column }} END {{ print sum + 0 }}
            ' /proc/interrupts
    }}
    # reaches NAME CPU COMMAND...: the command interrupts the processor
    reaches() {{
        name=$1 cpu=$2 before=$(taken $1 $2)
        shift 2
        for i in $(seq 20); do
            "$@" > /dev/null 2>&1
            [ $(taken $name $cpu) -le $before ] || return 0
        done
        echo "no interrupts of $name at processor $cpu"
        return 1
    }}
    serial() {{ echo '#' > /dev/ttyS1; sleep 0.1; }}
    dmesg | grep -e AMD-Vi -e APIC
    net_up $(net_of {CARD}) 10.0.2.15/24 || exit 1
    for cpu in $(seq 0 $(($(nproc) - 1))); do
        for name in ttyS1 virtio.-input.0; do
            echo $cpu > /proc/irq/$(irq_of $name)/smp_affinity_list || exit 1
        done
        reaches ttyS1 $cpu serial || exit 1
        reaches virtio.-input.0 $cpu ping -c 1 -W 1 10.0.2.2 || exit 1
        reaches virtio.-req $cpu taskset $((1 << cpu)) \\
            dd if=/dev/vda of=/dev/null bs=4k count=1 iflag=direct || exit 1
    done
    cat /proc/interrupts
    '''


# Each mode and each kernel has another test
@slow('test_xapic_7', 'test_x2apic_6_12')
class AmdInterrupts(SvmGuestTest):

    def boot(self, kernel, script, devices, x2apic, intremap, cpus):
        """Start a guest, which is named after its machine."""
        onoff = {False: 'off', True: 'on'}
        return self.start_guest(
            kernel, script,
            iommu_arguments('amd', svm=True, extra=f',xtsup={onoff[x2apic]},'
                            f'intremap={onoff[intremap]}') + devices,
            iommu='amd', cpus=cpus, name=f'intremap-{onoff[intremap]}')

    def check_mode(self, guest, x2apic, intremap):
        """Check that Linux uses what the machine has.  The IVRS table has no
        entry for the I/O APIC without interrupt remapping; Linux reports that
        as a bug."""
        log = '\n'.join(guest.channel.lines)
        self.assertEqual('AMD-Vi: Interrupt remapping enabled' in log,
                         intremap, log)
        self.assertEqual('AMD-Vi: X2APIC enabled' in log,
                         x2apic and intremap, log)
        self.assertEqual('APIC routing to: cluster x2apic' in log,
                         x2apic and intremap, log)
        self.assertEqual('Firmware Bug' in log, not intremap, log)

    def check_event(self, guest):
        self.assertRegex('\n'.join(guest.channel.lines),
                         f'{EDU}: AMD-Vi: Event logged .IO_PAGE_FAULT '
                         r'domain=0x\w+ address=0x1000 flags=0x0000')

    def check_interrupts(self, kernel, x2apic):
        """4 processors with interrupt remapping and 1 without"""
        self.require_netdev('user')
        disk = self.scratch_file('disk')
        with open(disk, 'wb') as file:
            file.truncate(1 << 20)
        devices = [*network_arguments(),
                   '-drive', f'if=none,id=disk,format=raw,file={disk}',
                   '-device', 'virtio-blk-pci,drive=disk,iommu_platform=on,'
                   'disable-legacy=on', '-device', 'edu,addr=5']
        for intremap, cpus in ((True, 4), (False, 1)):
            guest = self.boot(kernel, INTERRUPTS + PROVOKE_EVENT, devices,
                              x2apic, intremap, cpus)
            self.run_script(guest, provoked=r'IO_PAGE_FAULT')
            self.check_mode(guest, x2apic, intremap)
            self.check_event(guest)

    def test_xapic_6_12(self):
        self.check_interrupts('trixie', False)

    def test_xapic_7(self):
        self.check_interrupts('backports', False)

    def test_x2apic_6_12(self):
        self.check_interrupts('trixie', True)

    def test_x2apic_7(self):
        self.check_interrupts('backports', True)


if __name__ == '__main__':
    SvmGuestTest.main()
