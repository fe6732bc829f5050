/*
 * The fault recording registers of VT-d, for tests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Replaces the functions that hw/i386/intel_iommu_fault.c calls, and counts
 * faults.
 */

#ifndef TESTS_UNIT_FAKE_FAULT_H
#define TESTS_UNIT_FAKE_FAULT_H

/* Number of faults that have been recorded */
extern unsigned fake_faults;

#endif
