#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Programs that others have written for the DSA.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The tests of Linux's VFIO drive the device from a program, with a driver of
their own.  They come from the source of the guest's kernel."""

import re

from svm_guest import SvmGuestTest, slow
from guest_machine import dsa_arguments, iommu_arguments

DEVICE = '0000:01:00.0'
# How the tests map memory for the device.  Debian's kernel has no iommufd.
MODES = ('vfio_type1_iommu', 'vfio_type1v2_iommu')
VARIANTS = ' '.join(f'-v {mode}' for mode in MODES)
VARIANTS_OF_MAPPINGS = ' '.join(
    f'-v {mode}{pages}' for mode in MODES
    for pages in ('', '_anonymous', '_anonymous_hugetlb_2mb',
                  '_anonymous_hugetlb_1gb'))
# Cases of vfio_pci_driver_test.  The others take minutes.
CASES = ('init_remove', 'memcpy_success', 'send_msi')
TOTALS = re.compile(r'# Totals: pass:(\d+) fail:(\d+) xfail:(\d+) '
                    r'xpass:(\d+) skip:(\d+) error:(\d+)')
# The DSA is on the driver's list of devices with errata.
SETUP = f'''
    modprobe vfio_pci disable_denylist=1 && modprobe vfio_iommu_type1 || exit 1
    echo {DEVICE} > /sys/bus/pci/drivers/idxd/unbind || exit 1
    echo vfio-pci > /sys/bus/pci/devices/{DEVICE}/driver_override
    echo {DEVICE} > /sys/bus/pci/drivers/vfio-pci/bind || exit 1
    '''


@slow('test_vfio_driver')
class Clients(SvmGuestTest):
    """The device is behind -device intel-iommu,svm=on."""

    timeout = 1500

    def run_vfio(self, script, provoked=None):
        """Run tests that use the device; return how many passed, failed and
        were skipped in each run."""
        guest = self.start_guest(
            'backports', SETUP + script,
            iommu_arguments(svm=True) + dsa_arguments(), memory='3G',
            compiled=('vfio',))
        lines = self.run_script(guest, provoked=provoked)
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

    def test_vfio_mappings(self):
        """Maps of pages of each size, of BARs, and at the limit of addresses.
        Those with huge pages of 1 GiB are skipped."""
        modes = len(MODES)
        mappings, bars = self.run_vfio(f'''
            echo 16 > /proc/sys/vm/nr_hugepages
            vfio_dma_mapping_test {VARIANTS_OF_MAPPINGS} {DEVICE}
            vfio_dma_mapping_mmio_test {VARIANTS} {DEVICE}
            true
            ''')
        self.assertEqual(mappings, (5 * modes, 0, modes))
        self.assertEqual(bars, (3 * modes, 0, 0))

    def test_vfio_driver(self):
        """Copies and interrupts, each case in a process of its own"""
        totals = self.run_vfio(f'''
            for case in {' '.join(CASES)}; do
                vfio_pci_driver_test \\
                    -r vfio_pci_driver_test.{MODES[1]}.$case {DEVICE}
            done
            true
            ''')
        self.assertEqual(totals, [(1, 0, 0)] * len(CASES))


if __name__ == '__main__':
    SvmGuestTest.main()
