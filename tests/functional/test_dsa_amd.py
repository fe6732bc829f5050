#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The Data Streaming Accelerator behind the AMD IOMMU.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The tests of test_dsa.py, test_dsa_svm.py and test_dsa_kernel.py with
-device amd-iommu,svm=on.  By default only those run that test the IOMMU
most."""

from svm_guest import SvmGuestTest, slow
import test_dsa
import test_dsa_kernel
import test_dsa_svm


@slow('test_list', 'test_user_runner', 'test_user_runner_root_bus',
      'test_other_operations')
class DsaAmd(test_dsa.Dsa):

    iommu = 'amd'


@slow('test_restart', 'test_crash', 'test_event_log', 'test_snapshot')
class DsaSvmAmd(test_dsa_svm.DsaSvm):

    iommu = 'amd'
    provoked = None
    # The options are those of another IOMMU
    test_crash_without_iommu = None
    # Linux 7.3 frees the GCR3 table, then clears the entries of the processes
    changes = {name: change
               for name, change in test_dsa_svm.DsaSvm.changes.items()
               if 'Reset' not in name}


@slow('test_pasid', 'test_large', 'test_iommu_without_pasid')
class DsaKernelAmd(test_dsa_kernel.DsaKernel):

    iommu = 'amd'
    # Linux 7.3: only processes
    kernel_pasids = False
    # These have another IOMMU, or none
    test_no_iommu = None
    test_no_iommu_4_processors = None
    test_virtio_iommu = None


if __name__ == '__main__':
    SvmGuestTest.main()
