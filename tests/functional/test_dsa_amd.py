#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The Data Streaming Accelerator behind the AMD IOMMU.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The tests of test_dsa.py, test_dsa_svm.py and test_dsa_kernel.py with
-device amd-iommu,svm=on."""

from svm_guest import SvmGuestTest
import test_dsa
import test_dsa_kernel
import test_dsa_svm


class DsaAmd(test_dsa.Dsa):

    iommu = 'amd'


class DsaSvmAmd(test_dsa_svm.DsaSvm):

    iommu = 'amd'
    provoked = None
    # Linux 7.3 frees the GCR3 table, then clears the entries of the processes
    test_reset = None


class DsaKernelAmd(test_dsa_kernel.DsaKernel):

    iommu = 'amd'
    # Linux 7.3: only processes
    kernel_pasids = False
    # These do not depend on the IOMMU
    test_no_iommu = None
    test_no_iommu_4_processors = None


if __name__ == '__main__':
    SvmGuestTest.main()
