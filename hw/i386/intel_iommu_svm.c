/*
 * VT-d: properties for shared virtual memory, and svm=on, which enables all
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "cpu.h"
#include "hw/core/cpu.h"
#include "hw/qdev-properties.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_svm.h"

const char *vtd_property_name(IntelIOMMUState *s, const char *name)
{
    static const struct {
        const char *name;
        const char *newer;      /* since QEMU 11.1 */
    } names[] = {
        { "x-scalable-mode", "scalable-mode" },
        { "x-flts", "fsts" },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(names); i++) {
        if (!strcmp(name, names[i].name) &&
            qdev_prop_set_by_user(DEVICE(s), names[i].newer)) {
            return names[i].newer;
        }
    }
    return name;
}

/* Checks whether the user, not a default, has set a property otherwise. */
static bool contradicts(IntelIOMMUState *s, const char *name, const char *value,
                        const char *needed, Error **errp)
{
    name = vtd_property_name(s, name);
    if (!qdev_prop_set_by_user(DEVICE(s), name)) {
        return false;
    }
    error_setg(errp, "svm=on contradicts %s=%s: "
               "leave out one of them, or use %s=%s",
               name, value, name, needed);
    return true;
}

static bool switch_on(IntelIOMMUState *s, const char *name, bool *field,
                      Error **errp)
{
    if (!*field && contradicts(s, name, "off", "on", errp)) {
        return false;
    }
    *field = true;
    return true;
}

/*
 * The tables of a process may map pages of 1 GiB if the CPU supports them:
 * guests then do not use shared virtual memory with an IOMMU that does not
 * support them.
 */
static bool decide_page_size(IntelIOMMUState *s, Error **errp)
{
    uint32_t features = X86_CPU(first_cpu)->env.features[FEAT_8000_0001_EDX];

    return !(features & CPUID_EXT2_PDPE1GB) ||
           switch_on(s, "fs1gp", &s->fs1gp, errp);
}

static bool decide_width(IntelIOMMUState *s, Error **errp)
{
    g_autofree char *value = g_strdup_printf("%u", s->aw_bits);

    if (s->aw_bits != VTD_HOST_AW_48BIT &&
        contradicts(s, "aw-bits", value, stringify(VTD_HOST_AW_48BIT), errp)) {
        return false;
    }
    s->aw_bits = VTD_HOST_AW_48BIT;
    return true;
}

bool vtd_decide_pasid(IntelIOMMUState *s, Error **errp)
{
    if (!qdev_prop_set_by_user(DEVICE(s), "pasid-bits")) {
        return true;
    }
    if (s->pasid_bits > VTD_PASID_ID_SHIFT) {
        error_setg(errp, "pasid-bits=%u is more than the maximum, %u",
                   s->pasid_bits, VTD_PASID_ID_SHIFT);
        return false;
    }
    if (qdev_prop_set_by_user(DEVICE(s), "x-pasid-mode") &&
        s->pasid != !!s->pasid_bits) {
        error_setg(errp, "pasid-bits=%u contradicts x-pasid-mode=%s: "
                   "leave out one of them", s->pasid_bits,
                   s->pasid ? "on" : "off");
        return false;
    }
    s->pasid = s->pasid_bits;
    return true;
}

bool vtd_svm_decide_config(IntelIOMMUState *s, Error **errp)
{
    const struct {
        const char *name;
        bool *field;
    } needed[] = {
        { "x-scalable-mode", &s->scalable_mode },
        { "x-flts", &s->flts },
        { "x-pasid-mode", &s->pasid },
        { "device-iotlb", &s->x86_iommu.dt_supported },
        /* Scalable mode requires these. */
        { "dma-drain", &s->dma_drain },
        { "dma-translation", &s->dma_translation },
    };

    if (!s->pasid_bits &&
        contradicts(s, "pasid-bits", "0", stringify(VTD_PASID_ID_SHIFT),
                    errp)) {
        return false;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
        if (!switch_on(s, needed[i].name, needed[i].field, errp)) {
            return false;
        }
    }
    return decide_page_size(s, errp) && decide_width(s, errp);
}

int vtd_svm_check_incoming(const IntelIOMMUState *s)
{
    uint64_t cap = ldq_le_p(&s->csr[DMAR_CAP_REG]);
    uint64_t ecap = ldq_le_p(&s->csr[DMAR_ECAP_REG]);

    /* ECAP announces page requests with svm=on only. */
    if (!s->svm && !(ecap & VTD_ECAP_PRS)) {
        return 0;
    }
    if (cap == s->cap && ecap == s->ecap) {
        return 0;
    }
    error_report("intel-iommu: the incoming state has svm=%s, CAP 0x%" PRIx64
                 " and ECAP 0x%" PRIx64 ", but the device has svm=%s, CAP 0x%"
                 PRIx64 " and ECAP 0x%" PRIx64 ": give the device the "
                 "properties that it has at the source",
                 ecap & VTD_ECAP_PRS ? "on" : "off", cap, ecap,
                 s->svm ? "on" : "off", s->cap, s->ecap);
    return -EINVAL;
}
