#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Work queues of a DSA that the Linux kernel uses.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Linux's idxd driver provides work queues of type "kernel" as DMA channels,
and Linux's dmatest copies through them: random lengths at random offsets, with
a check of every byte around the destination.  idxd provides only memory copies
to the kernel."""

import re

from svm_guest import SvmGuestTest, slow
from guest_machine import dsa_arguments, iommu_arguments

SUMMARY = re.compile(r'dmatest: (\w+)-copy\d+: summary (\d+) tests, '
                     r'(\d+) failures')


# The same with one processor
@slow('test_pasid', 'test_no_iommu')
class DsaKernel(SvmGuestTest):
    """The tests behind -device intel-iommu,svm=on; test_dsa_amd.py runs them
    behind another IOMMU."""

    iommu = 'intel'
    # Whether the driver of the IOMMU lets the kernel use PASIDs, which shared
    # queues require
    kernel_pasids = True

    def copy(self, queues, cpus=1, devices=(), iterations=100, threads=3,
             buffer=16384, **options):
        """Copy through queues, tuples of (mode, attributes), in threads."""
        configure = '\n'.join(
            f'dsa_queue 0.{number} {mode} kernel {attributes} || exit 1'
            for number, (mode, attributes) in enumerate(queues))
        numbers = ' '.join(f'0.{number}' for number in range(len(queues)))
        guest = self.start_guest('backports', f'''
            {configure}
            dsa_enable 0 {numbers} || exit 1
            dmesg | grep -q 'No in-kernel DMA with PASID'; echo pasid=$?
            cd -P /sys/bus/dsa/devices/dsa0
            echo "domain=$(cat ../iommu_group/type 2> /dev/null)"
            modprobe dmatest iterations={iterations} timeout=60000 \\
                threads_per_chan={threads} test_buf_size={buffer} run=1
            all_done() {{
                [ $(dmesg | grep -c summary) -ge {len(queues) * threads} ]
            }}
            wait_until 180 all_done
            dmesg | grep dmatest:
            ''', [*devices, *dsa_arguments()], cpus=cpus,
                                 compiled=('dmatest',), **options)
        self.run_script(guest)
        summaries = [found.groups() for line in guest.channel.lines
                     if (found := SUMMARY.search(line))]
        self.assertEqual(len(summaries), len(queues) * threads, guest.tail())
        self.assertEqual(len({channel for channel, _, _ in summaries}),
                         len(queues), guest.tail())
        self.assertEqual({(tests, failures)
                          for _, tests, failures in summaries},
                         {(str(iterations), '0')}, guest.tail())
        return guest

    def copy_with_pasid(self, cpus, **options):
        """Use dedicated and shared queues at the same time, with a PASID if
        the kernel can."""
        queues = [('dedicated', ''), ('dedicated', '')]
        if self.kernel_pasids:
            queues = [('dedicated', ''), ('shared', ''),
                      ('dedicated', 'block_on_fault=1')]
        guest = self.copy(queues, cpus, iommu_arguments(self.iommu, svm=True),
                          iommu=self.iommu, **options)
        self.assertEqual(self.value(guest, 'pasid'),
                         str(int(self.kernel_pasids)))

    def test_pasid(self):
        self.copy_with_pasid(1)

    def test_pasid_4_processors(self):
        self.copy_with_pasid(4)

    def test_large(self):
        """Copies of up to 2 MiB"""
        self.copy_with_pasid(2, buffer=2 << 20, iterations=10)

    def copy_without_iommu(self, cpus):
        guest = self.copy((('dedicated', ''), ('dedicated', '')), cpus,
                          iommu='none')
        self.assertEqual(self.value(guest, 'pasid'), '0')

    def test_no_iommu(self):
        self.copy_without_iommu(1)

    def test_no_iommu_4_processors(self):
        self.copy_without_iommu(4)

    def test_iommu_without_pasid(self):
        """An IOMMU with ATS, and strict unmapping: an invalidation for every
        copy."""
        guest = self.copy((('dedicated', ''),), 2,
                          iommu_arguments(self.iommu), iommu=self.iommu,
                          append='iommu.strict=1')
        self.assertEqual(self.value(guest, 'pasid'), '0')

    def test_virtio_iommu(self):
        """An IOMMU without ATS, and strict unmapping: an unmap request for
        every copy."""
        guest = self.copy((('dedicated', ''), ('dedicated', '')), 2,
                          iommu_arguments('virtio'), append='iommu.strict=1')
        self.assertEqual(self.value(guest, 'pasid'), '0')
        self.assertEqual(self.value(guest, 'domain'), 'DMA')


if __name__ == '__main__':
    SvmGuestTest.main()
