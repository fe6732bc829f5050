/*
 * AMD-Vi: migration
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "migration/blocker.h"
#include "amd_iommu_event.h"
#include "amd_iommu_ppr.h"
#include "amd_iommu_vmstate.h"

/*
 * The registers that are saved, except those of the PPR log.  A write of a base
 * register clears the pointers of its buffer or log, so that it precedes them.
 */
static const uint16_t saved[] = {
    AMDVI_MMIO_EXT_FEATURES,
    AMDVI_MMIO_DEVICE_TABLE,
    AMDVI_MMIO_COMMAND_BASE,
    AMDVI_MMIO_EVENT_BASE,
    AMDVI_MMIO_CONTROL,
    AMDVI_MMIO_EXCL_BASE,
    AMDVI_MMIO_EXCL_LIMIT,
    AMDVI_MMIO_XT_INTERRUPT,
    AMDVI_MMIO_XT_PPR_INTERRUPT,
    AMDVI_MMIO_COMMAND_HEAD,
    AMDVI_MMIO_COMMAND_TAIL,
    AMDVI_MMIO_EVENT_HEAD,
    AMDVI_MMIO_EVENT_TAIL,
    AMDVI_MMIO_STATUS,
};

QEMU_BUILD_BUG_ON(ARRAY_SIZE(saved) != AMDVI_SAVED_REGS);

static int pre_save(void *opaque)
{
    AMDVIState *s = opaque;

    for (unsigned i = 0; i < ARRAY_SIZE(saved); i++) {
        s->saved_regs[i] = amdvi_readq(s, saved[i]);
    }
    return 0;
}

static bool features_match(AMDVIState *s)
{
    uint64_t features = amdvi_extended_feature_register(s);

    if (s->saved_regs[0] != features) {
        error_report("amd-iommu: the incoming state has the Extended Feature "
                     "Register 0x%" PRIx64 ", but the device has 0x%" PRIx64
                     ": give the device the properties that it has at the "
                     "source", s->saved_regs[0], features);
        return false;
    }
    return true;
}

/*
 * Bits that are not implemented are ignored, as in writes of the guest.  If the
 * load fails, the IOMMU stays as after reset, together with the PPR log, which
 * has been loaded before.
 */
static int post_load(void *opaque, int version_id)
{
    AMDVIState *s = opaque;

    if (!features_match(s)) {
        amdvi_ppr_reset(s);
        return -EINVAL;
    }
    for (unsigned i = 1; i < ARRAY_SIZE(saved); i++) {
        amdvi_load_register(s, saved[i], s->saved_regs[i]);
    }
    return 0;
}

static const VMStateDescription vmstate_pci = {
    .name = "amd-iommu/pci",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(dev, AMDVIPCIState),
        VMSTATE_END_OF_LIST()
    }
};

const VMStateDescription amdvi_vmstate = {
    .name = "amd-iommu",
    .version_id = 1,
    .minimum_version_id = 1,
    .priority = MIG_PRI_IOMMU,
    .pre_save = pre_save,
    .post_load = post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT_POINTER(pci, AMDVIState, vmstate_pci, AMDVIPCIState),
        VMSTATE_UINT64_ARRAY(saved_regs, AMDVIState, AMDVI_SAVED_REGS),
        VMSTATE_END_OF_LIST()
    },
    .subsections = (const VMStateDescription * const[]) {
        &amdvi_vmstate_ppr,
        NULL
    }
};

bool amdvi_vmstate_init(AMDVIState *s, Error **errp)
{
    static Error *blocker;

    /* With pci-id, QEMU 11.1 can migrate it, too. */
    if (s->svm || s->pci_id) {
        return true;
    }
    error_setg(&blocker,
               "State blocked by non-migratable device 'amd-iommu'");
    return migrate_add_blocker(&blocker, errp) == 0;
}
