/*
 * VT-d: checks of the state in the migration stream
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_I386_INTEL_IOMMU_LOAD_H
#define HW_I386_INTEL_IOMMU_LOAD_H

#include "hw/i386/intel_iommu.h"

/**
 * vtd_load_init: reset the IOMMU if the machine runs after a failed load
 *
 * Called once, with the BQL held, when the IOMMU is realized.
 *
 * @s: the IOMMU
 */
void vtd_load_init(IntelIOMMUState *s);

/**
 * vtd_load_begin: prepare for a load of the fields
 *
 * The load writes the fields one by one, and a stream may end anywhere.  The
 * IOMMU must not use them until vtd_load_check() has accepted them.
 *
 * Called with the BQL held, while the machine is stopped.
 *
 * @opaque: the IOMMU
 *
 * Returns: 0
 */
int vtd_load_begin(void *opaque);

/**
 * vtd_load_check: check the fields that have been loaded
 *
 * The check accepts all values that a guest can cause, with any version of
 * QEMU.  If a field has another value, or if the capabilities differ where they
 * must not (see vtd_svm_check_incoming()), the function reports an error that
 * names the field, and resets the IOMMU.
 *
 * Called with the BQL held, while the machine is stopped, before anything is
 * derived from the fields.
 *
 * @s: the IOMMU
 *
 * Returns: 0, or -EINVAL after an error report
 */
int vtd_load_check(IntelIOMMUState *s);

#endif
