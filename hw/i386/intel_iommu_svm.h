/*
 * VT-d: one switch for all that shared virtual memory needs
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_I386_INTEL_IOMMU_SVM_H
#define HW_I386_INTEL_IOMMU_SVM_H

#include "hw/i386/intel_iommu.h"

/**
 * vtd_svm_decide_config: switch on what svm=on stands for
 *
 * Properties that a machine type or a default has set otherwise are changed.
 * Those that the user has set otherwise contradict svm=on.
 *
 * Called with the BQL, while the IOMMU is being realized with svm=on, before
 * its other properties are looked at.
 *
 * @s: the IOMMU
 * @errp: set to an error that names svm=on and the property that contradicts
 *
 * Returns: false, with @errp set, if there is a contradiction
 */
bool vtd_svm_decide_config(IntelIOMMUState *s, Error **errp);

#endif
