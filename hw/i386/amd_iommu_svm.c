/*
 * AMD-Vi: announced features, and svm=on, which enables all of them
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/qdev-properties.h"
#include "amd_iommu_svm.h"

/* Extended Feature Register (MMIO 0030h) */
#define EFR_PPR_SUP     BIT_ULL(1)
#define EFR_GT_SUP      BIT_ULL(4)
#define EFR_GATS_SHIFT  12
#define EFR_GATS_5      (1ull << EFR_GATS_SHIFT)
/* A reserved encoding, which QEMU 9.2 announced */
#define EFR_GATS_6      (2ull << EFR_GATS_SHIFT)
#define EFR_GLX_SHIFT   14
#define EFR_PASMAX_SHIFT 32
#define EFR_US_SUP      BIT_ULL(37)
#define EFR_GIO_SUP     BIT_ULL(48)
#define EFR_EPH_SUP     BIT_ULL(50)

/* PASmax is the number of bits, minus 1. */
static const uint64_t svm_features =
    EFR_PPR_SUP | EFR_GT_SUP | EFR_GATS_5 | EFR_US_SUP | EFR_GIO_SUP |
    EFR_EPH_SUP | (uint64_t)AMDVI_SVM_MAX_GLX << EFR_GLX_SHIFT |
    (AMDVI_SVM_PASID_BITS - 1ull) << EFR_PASMAX_SHIFT;

uint64_t amdvi_extended_feature_register(AMDVIState *s)
{
    uint64_t features = AMDVI_DEFAULT_EXT_FEATURES;

    if (s->xtsup) {
        features |= AMDVI_FEATURE_XT;
    }
    if (!s->dma_translation) {
        features |= AMDVI_HATS_MODE_MASK;   /* a reserved value */
    }
    if (s->svm) {
        features |= svm_features;
    } else if (s->unimplemented_features) {
        features |= EFR_PPR_SUP | EFR_GT_SUP | EFR_GATS_6;
    }
    return features;
}

bool amdvi_svm_decide_config(AMDVIState *s, Error **errp)
{
    X86IOMMUState *x86_iommu = X86_IOMMU_DEVICE(s);

    if (!x86_iommu->dt_supported &&
        qdev_prop_set_by_user(DEVICE(s), "device-iotlb")) {
        error_setg(errp, "svm=on contradicts device-iotlb=off: "
                   "leave out one of them, or use device-iotlb=on");
        return false;
    }
    if (!s->dma_remap) {
        error_setg(errp, "svm=on contradicts dma-remap=off: "
                   "leave out one of them, or use dma-remap=on");
        return false;
    }
    x86_iommu->dt_supported = true;
    return true;
}
