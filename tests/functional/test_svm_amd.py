#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Shared virtual memory behind the AMD IOMMU.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The cases of test_svm.py with -device amd-iommu,svm=on."""

from svm_guest import SvmGuestTest
import test_svm


class SvmAmd(test_svm.Svm):

    iommu = 'amd'
    provoked = {}
    overflow = ('PPR log restarting',)
    blocked = 'amdvi_page_fault'


if __name__ == '__main__':
    SvmGuestTest.main()
