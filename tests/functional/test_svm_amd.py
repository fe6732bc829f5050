#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Shared virtual memory behind the AMD IOMMU.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The cases of test_svm.py with -device amd-iommu,svm=on."""

import re

from svm_guest import SvmGuestTest, slow
from guest_machine import network_arguments, svm_arguments
import test_svm

CARD = '0000:02:00.0'


# These mostly test the device and its driver, which do not depend on the IOMMU
@slow('test_hot_plug', 'test_injected_errors', 'test_kernel_without_svm',
      'test_kexec', 'test_reset', 'test_snapshot', 'test_with_virtio_net')
# These repeat cases on other machines
@slow('test_guest_tables_4_levels', 'test_strict')
class SvmAmd(test_svm.Svm):

    iommu = 'amd'
    provoked = {}
    overflow = ('PPR log restarting',)
    blocked = 'amdvi_page_fault'
    # Linux 7.3 frees the GCR3 table, then clears the entries of the processes
    resets_busy = False

    def check_option(self, option, message, **machine):
        """Use the device, and a network card with ATS that has no PASIDs, with
        an option of the kernel that Linux confirms with a message."""
        self.require_netdev('user')
        guest = self.start_svm(f'''
            net_up $(net_of {CARD}) 10.0.2.15/24 || exit 1
            touch /tmp/pinging
            while [ -e /tmp/pinging ]; do
                ping -q -c 50 -i 0.02 10.0.2.2
            done > /tmp/pings &
            svm test malloc unmap fork exit; status=$?
            rm /tmp/pinging; wait
            grep transmitted /tmp/pings
            dmesg | grep -i -e amd-vi -e iommu:
            exit $status
            ''', devices=svm_arguments() + network_arguments(1),
            append=option, **machine)
        lines = self.run_script(guest, provoked_in=self.provoked)
        self.check_cases(guest)
        text = '\n'.join(lines)
        losses = re.findall(r'transmitted.* (\d+)% packet loss', text)
        self.assertEqual(set(losses), {'0'}, text)
        self.assertRegex(text, message)

    def test_passthrough(self):
        self.check_option('iommu.passthrough=1',
                          'Default domain type: Passthrough')

    def test_guest_tables(self):
        """Guest tables also for devices without PASIDs"""
        self.check_option('amd_iommu=pgtbl_v2 iommu.strict=1',
                          r'V2 page table enabled \(Paging mode : 5 level\)')

    def test_guest_tables_4_levels(self):
        self.check_option('amd_iommu=pgtbl_v2',
                          r'V2 page table enabled \(Paging mode : 4 level\)',
                          cpu=test_svm.FOUR_LEVELS)

    def test_strict(self):
        """An invalidation for every unmapping"""
        self.check_option('iommu.strict=1', 'strict mode', cpus=1)


if __name__ == '__main__':
    SvmGuestTest.main()
