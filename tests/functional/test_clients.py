#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Programs that others have written for the DSA.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The tests of Linux's VFIO drive the device from a program, with a driver of
their own.  They come from the source of the guest's kernel.

DPDK's tests of DMA devices are programs of Debian.  They use the device through
a queue of Linux's idxd, or drive it themselves."""

import re

from svm_guest import SvmGuestTest, alone, slow
from guest_machine import dsa_arguments, iommu_arguments

DEVICE = '0000:01:00.0'
# How the tests map memory for the device.  Debian's kernel has no iommufd.
MODES = ('vfio_type1_iommu', 'vfio_type1v2_iommu')
VARIANTS = ' '.join(f'-v {mode}' for mode in MODES)
VARIANTS_OF_MAPPINGS = ' '.join(
    f'-v {mode}{pages}' for mode in MODES
    for pages in ('', '_anonymous', '_anonymous_hugetlb_2mb',
                  '_anonymous_hugetlb_1gb'))
# Cases of vfio_pci_driver_test; the last one copies 250 GiB.
CASES = ('init_remove', 'memcpy_success', 'memcpy_from_unmapped_iova',
         'memcpy_to_unmapped_iova', 'send_msi', 'mix_and_match',
         'memcpy_storm')
# Each case clears 1 GiB of pages.  Without these features Linux does that in
# steps of eight bytes instead of one, which matters with TCG.
LONG_STORES = 'max,erms=off,fsrm=off'
TOTALS = re.compile(r'# Totals: pass:(\d+) fail:(\d+) xfail:(\d+) '
                    r'xpass:(\d+) skip:(\d+) error:(\d+)')
# The DSA is on the driver's list of devices with errata.
SETUP = f'''
    modprobe vfio_pci disable_denylist=1 && modprobe vfio_iommu_type1 || exit 1
    echo {DEVICE} > /sys/bus/pci/drivers/idxd/unbind || exit 1
    echo vfio-pci > /sys/bus/pci/devices/{DEVICE}/driver_override
    echo {DEVICE} > /sys/bus/pci/drivers/vfio-pci/bind || exit 1
    '''

# A queue of Linux's idxd for DPDK, which uses those with this prefix
QUEUE = '''
    wait_until 20 test -e /sys/bus/dsa/devices/dsa0 || exit 1
    dsa_queue 0.0 dedicated user name=dpdk_test size=64 || exit 1
    dsa_enable 0 0.0 || exit 1
    '''
EAL = '--in-memory --no-telemetry --lcores=0,1'
# The program compares data after the copies of each size.
SIZES = (2048, 8192, 32768)
DMA_PERF = f'''
    cat > /tmp/copies.ini << end
[case1]
type=DMA_MEM_COPY
mem_size=8
buf_size={SIZES[0]},{SIZES[-1]},4,MUL
dma_ring_size=512
kick_batch=32
src_numa_node=0
dst_numa_node=0
cache_flush=0
test_seconds=1
lcore_dma0=lcore=1,dev=%s,dir=mem2mem
eal_args={EAL}
end
    dpdk-test-dma-perf --config /tmp/copies.ini --result /tmp/copies.csv
    cat /tmp/copies.csv
    '''


@alone('test_vfio_driver', 'test_vfio_driver_type1',
       'test_vfio_driver_one_process')
@slow('test_vfio_driver', 'test_vfio_driver_type1',
      'test_vfio_driver_one_process', 'test_dpdk_queue', 'test_dpdk_vfio')
class Clients(SvmGuestTest):
    """The device is behind -device intel-iommu, with svm=on unless a test is
    about a machine without it."""

    timeout = 1500

    def run_vfio(self, script, svm=True, **options):
        """Run tests that use the device; return how many passed, failed and
        were skipped in each run."""
        guest = self.start_guest(
            'backports', SETUP + script,
            iommu_arguments(svm=svm, device_iotlb=False) + dsa_arguments(),
            memory='3G', compiled=('vfio',), **options)
        lines = self.run_script(guest)
        totals = [tuple(int(found[i]) for i in (1, 2, 5)) for line in lines
                  if (found := TOTALS.match(line))]
        self.assertTrue(totals, guest.tail())
        return totals

    def test_vfio_device(self):
        """Configuration space, BARs, interrupts and resets"""
        (passed, failed, _), = self.run_vfio(
            f'vfio_pci_device_test {DEVICE}; true')
        self.assertGreater(passed, 0)
        self.assertEqual(failed, 0)

    def check_vfio_mappings(self, **options):
        """Maps of pages of each size, of BARs, and at the limit of addresses.
        Those with huge pages of 1 GiB are skipped."""
        modes = len(MODES)
        mappings, bars = self.run_vfio(f'''
            echo 16 > /proc/sys/vm/nr_hugepages
            vfio_dma_mapping_test {VARIANTS_OF_MAPPINGS} {DEVICE}
            vfio_dma_mapping_mmio_test {VARIANTS} {DEVICE}
            true
            ''', **options)
        self.assertEqual(mappings, (5 * modes, 0, modes))
        self.assertEqual(bars, (3 * modes, 0, 0))

    def test_vfio_mappings(self):
        self.check_vfio_mappings()

    def test_vfio_mappings_without_svm(self):
        self.check_vfio_mappings(svm=False)

    def run_vfio_driver(self, tests):
        """Copies and interrupts.  The last case prints nothing for minutes."""
        return self.run_vfio(f'''
            while sleep 60; do echo still running; done &
            {tests}
            kill $!
            ''', cpu=LONG_STORES)

    def check_vfio_driver(self, mode):
        """Each case in a process of its own"""
        totals = self.run_vfio_driver(f'''
            for case in {' '.join(CASES)}; do
                vfio_pci_driver_test \\
                    -r vfio_pci_driver_test.{mode}.$case {DEVICE}
            done
            ''')
        self.assertEqual(totals, [(1, 0, 0)] * len(CASES))

    def test_vfio_driver(self):
        self.check_vfio_driver(MODES[1])

    def test_vfio_driver_type1(self):
        self.check_vfio_driver(MODES[0])

    def test_vfio_driver_one_process(self):
        totals = self.run_vfio_driver(
            f'vfio_pci_driver_test -v {MODES[1]} {DEVICE}')
        self.assertEqual(totals, [(len(CASES), 0, 0)])

    def run_dpdk(self, setup, *devices, options=''):
        """Run DPDK's tests of DMA devices, which it finds by itself, and copy
        with the first one."""
        guest = self.start_guest('backports', f'''
            {setup}
            # DPDK loads no drivers if others may write to one of their folders
            chmod 755 /
            echo 128 > /proc/sys/vm/nr_hugepages
            export DPDK_TEST=dmadev_autotest
            dpdk-test {EAL} {options} < /dev/null || exit 1
            {DMA_PERF % devices[0]}
            ''', iommu_arguments(svm=True) + dsa_arguments(), memory='1G',
                                 dpdk=True)
        lines = self.run_script(guest)
        tested = {line.split()[-1] for line in lines
                  if line.startswith('### Test dmadev instance')}
        # The last one is a model in software, which shows how devices behave.
        self.assertEqual(tested, {f'[{name}]' for name in
                                  (*devices, 'dma_skeleton')}, guest.tail())
        self.assertIn('Test OK', lines)
        copied = [line for line in lines
                  if re.match(r'Scenario \d+ Summary', line)]
        self.assertEqual(len(copied), len(SIZES), guest.tail())
        wrong = [line for line in lines if 'validation fails' in line]
        self.assertEqual(wrong, [])

    def test_dpdk_queue(self):
        self.run_dpdk(QUEUE, 'wq0.0')

    def test_dpdk_vfio(self):
        """DPDK makes a DMA device of each queue; two suffice."""
        self.run_dpdk(SETUP, f'{DEVICE}-q0', f'{DEVICE}-q1',
                      options=f'-a {DEVICE},max_queues=2')


if __name__ == '__main__':
    SvmGuestTest.main()
