/*
 * VT-d: one switch for all that shared virtual memory needs
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "hw/qdev-properties.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_svm.h"

/* Whether the user, not a default, has set a property to another value */
static bool contradicts(IntelIOMMUState *s, const char *name, const char *value,
                        const char *needed, Error **errp)
{
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
        /* Scalable mode is not to be had without these */
        { "dma-drain", &s->dma_drain },
        { "dma-translation", &s->dma_translation },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(needed); i++) {
        if (!switch_on(s, needed[i].name, needed[i].field, errp)) {
            return false;
        }
    }
    return decide_width(s, errp);
}
