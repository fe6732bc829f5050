/*
 * VT-d: properties for shared virtual memory, and svm=on, which enables all
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_I386_INTEL_IOMMU_SVM_H
#define HW_I386_INTEL_IOMMU_SVM_H

#include "hw/i386/intel_iommu.h"

/**
 * vtd_property_name: find the name by which the user has set a property
 *
 * Some properties have a second name, which QEMU 11.1 has introduced.
 *
 * Called with the BQL held.
 *
 * @s: the IOMMU
 * @name: the name in QEMU 10.0
 *
 * Returns: the name for messages
 */
const char *vtd_property_name(IntelIOMMUState *s, const char *name);

/**
 * vtd_decide_pasid: apply pasid-bits if the user has set it
 *
 * pasid-bits enables PASIDs as x-pasid-mode does, and sets their width.
 *
 * Called with the BQL held, while the IOMMU is being realized, before
 * vtd_svm_decide_config().
 *
 * @s: the IOMMU
 * @errp: set to an error that names pasid-bits
 *
 * Returns: false, with @errp set, if pasid-bits is more than 20, or contradicts
 * x-pasid-mode
 */
bool vtd_decide_pasid(IntelIOMMUState *s, Error **errp);

/**
 * vtd_svm_decide_config: enable the properties that svm=on requires
 *
 * Changes properties that a machine type or a default has set otherwise.
 * Properties that the user has set otherwise contradict svm=on.
 *
 * Called with the BQL held, while the IOMMU is being realized with svm=on,
 * before other code uses its properties.
 *
 * @s: the IOMMU
 * @errp: set to an error that names svm=on and the property that contradicts
 *
 * Returns: false, with @errp set, if there is a contradiction
 */
bool vtd_svm_decide_config(IntelIOMMUState *s, Error **errp);

/**
 * vtd_svm_check_incoming: reject the state of an IOMMU with other properties
 *
 * The guest has read the capability registers, and the stream contains them.
 * With svm=on, on this host or at the source, they have to be the same, since
 * the guest uses the capabilities.  Without svm=on the user remains responsible
 * for equal properties.
 *
 * Called with the BQL held, when the registers have been loaded.
 *
 * @s: the IOMMU
 *
 * Returns: 0, or -EINVAL after an error report
 */
int vtd_svm_check_incoming(const IntelIOMMUState *s);

#endif
