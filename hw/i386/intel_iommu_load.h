/*
 * VT-d: what a migration stream says is checked before it is used
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_I386_INTEL_IOMMU_LOAD_H
#define HW_I386_INTEL_IOMMU_LOAD_H

#include "hw/i386/intel_iommu.h"

/**
 * vtd_load_init: reset the IOMMU if the machine goes on after a failed load
 *
 * Called once, with the BQL, when the IOMMU is realized.
 *
 * @s: the IOMMU
 */
void vtd_load_init(IntelIOMMUState *s);

/**
 * vtd_load_begin: the fields are about to be loaded
 *
 * They are written one by one, and a stream may end anywhere.  Until
 * vtd_load_check() has accepted them they are not to be used.
 *
 * Called with the BQL, while the machine is stopped.
 *
 * @opaque: the IOMMU
 *
 * Returns: 0
 */
int vtd_load_begin(void *opaque);

/**
 * vtd_load_check: check the fields that have been loaded
 *
 * Whatever a guest can bring about passes, at any version of QEMU.  If a field
 * has another value, or if the capabilities differ where they must not (see
 * vtd_svm_check_incoming()), an error names the field and the IOMMU is reset.
 *
 * Called with the BQL, while the machine is stopped, before anything is
 * derived from the fields.
 *
 * @s: the IOMMU
 *
 * Returns: 0, or -EINVAL after an error report
 */
int vtd_load_check(IntelIOMMUState *s);

#endif
