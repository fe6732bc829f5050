/*
 * The fault recording registers of VT-d, for tests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "hw/i386/intel_iommu_internal.h"
#include "fake-fault.h"

unsigned fake_faults;

/* All threads seem to hold the BQL, so that faults are recorded at once */
bool bql_locked(void)
{
    return true;
}

void bql_lock_impl(const char *file, int line)
{
}

void bql_unlock(void)
{
}

void vtd_record_fault(IntelIOMMUState *s, uint64_t source_id, uint64_t hi,
                      uint64_t lo)
{
    qatomic_inc(&fake_faults);
}
