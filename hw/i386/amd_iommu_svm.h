/*
 * AMD-Vi: announced features, and svm=on, which enables all of them
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#ifndef HW_I386_AMD_IOMMU_SVM_H
#define HW_I386_AMD_IOMMU_SVM_H

#include "amd_iommu.h"

/*
 * Limits of guest translation, as amdvi_extended_feature_register() announces
 * them
 */
#define AMDVI_SVM_MAX_GLX           2   /* GCR3 tables of three levels */
#define AMDVI_SVM_MAX_GUEST_LEVELS  5
#define AMDVI_SVM_PASID_BITS        16  /* Linux stops if there are more */

/**
 * amdvi_svm_decide_config: enable the properties that svm=on requires
 *
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
bool amdvi_svm_decide_config(AMDVIState *s, Error **errp);

#endif
