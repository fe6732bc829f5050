/*
 * AMD-Vi: migration
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The state of the IOMMU with svm=on is that of its registers.  With neither
 * svm=on nor pci-id it cannot be migrated.
 */

#ifndef HW_I386_AMD_IOMMU_VMSTATE_H
#define HW_I386_AMD_IOMMU_VMSTATE_H

#include "migration/vmstate.h"
#include "amd_iommu.h"

/**
 * amdvi_vmstate_init: block migration if neither svm=on nor pci-id is set
 *
 * Called with the BQL held, while the IOMMU is being realized, with its
 * properties set.
 *
 * @s: the IOMMU
 * @errp: set to an error
 *
 * Returns: false, with @errp set, if the user has started the emulator with
 * -only-migratable
 */
bool amdvi_vmstate_init(AMDVIState *s, Error **errp);

/* The registers; a stream from an IOMMU with other features is rejected */
extern const VMStateDescription amdvi_vmstate;

#endif
