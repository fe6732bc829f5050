/*
 * PCI Express: migration of page request groups
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The registers are part of configuration space.  A subsection contains the
 * groups to which responses are due; it is present only if there are any.
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "hw/pci/pci_device.h"
#include "migration/vmstate.h"
#include "pcie_pri_internal.h"

static int pri_groups_pre_save(void *opaque)
{
    PCIEPRIState *pri = opaque;

    QEMU_LOCK_GUARD(&pri->lock);
    pri->saved_groups = g_new0(PRISavedGroup, pri->ledger.num_groups);
    pri->nr_saved_groups = pri_ledger_save(&pri->ledger, pri->saved_groups);
    return 0;
}

static int pri_groups_post_save(void *opaque)
{
    PCIEPRIState *pri = opaque;

    g_clear_pointer(&pri->saved_groups, g_free);
    return 0;
}

/*
 * Loads the groups if they are valid; otherwise loads none and returns the name
 * of the invalid field.
 */
static const char *pri_load_groups(PCIEPRIState *pri)
{
    QEMU_LOCK_GUARD(&pri->registration);
    QEMU_LOCK_GUARD(&pri->lock);
    pcie_pri_discard_groups(pri);
    for (int i = 0; i < pri->nr_saved_groups; i++) {
        const PRISavedGroup *saved = &pri->saved_groups[i];
        PRIListener *listener = pcie_pri_find_listener(pri, saved->pasid);
        const char *invalid = pri_ledger_check(&pri->ledger,
                                               listener ? &listener->groups
                                                        : NULL, saved);

        if (invalid) {
            pcie_pri_discard_groups(pri);
            return invalid;
        }
        pcie_pri_load_groups(pri, saved);
    }
    return NULL;
}

static int pri_groups_post_load(void *opaque, int version_id)
{
    PCIEPRIState *pri = opaque;
    const char *invalid = pri_load_groups(pri);

    g_clear_pointer(&pri->saved_groups, g_free);
    if (invalid) {
        error_report("%s: the incoming page request groups have an invalid %s",
                     pri->dev->name, invalid);
        return -EINVAL;
    }
    return 0;
}

/* Frees groups that a failed load may have left */
static int pri_groups_pre_load(void *opaque)
{
    PCIEPRIState *pri = opaque;

    g_clear_pointer(&pri->saved_groups, g_free);
    return 0;
}

static bool pri_groups_number_valid(void *opaque, int version_id)
{
    PCIEPRIState *pri = opaque;

    return pri->nr_saved_groups >= 0 &&
           pri->nr_saved_groups <= PRI_OUTSTANDING_MAX;
}

static const VMStateDescription vmstate_pri_group = {
    .name = "pcie-pri-group",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(pasid, PRISavedGroup),
        VMSTATE_UINT32(prgi, PRISavedGroup),
        VMSTATE_UINT32(requests, PRISavedGroup),
        VMSTATE_UINT32(last_requests, PRISavedGroup),
        VMSTATE_UINT32(abandoned, PRISavedGroup),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_pri_groups = {
    .name = "pcie-pri-groups",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = pri_groups_pre_save,
    .post_save = pri_groups_post_save,
    .pre_load = pri_groups_pre_load,
    .post_load = pri_groups_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_INT32(nr_saved_groups, PCIEPRIState),
        VMSTATE_VALIDATE("number of groups", pri_groups_number_valid),
        VMSTATE_STRUCT_VARRAY_ALLOC(saved_groups, PCIEPRIState,
                                    nr_saved_groups, 1, vmstate_pri_group,
                                    PRISavedGroup),
        VMSTATE_END_OF_LIST()
    }
};

static bool pri_needed(void *opaque)
{
    const PCIDevice *dev = opaque;
    PCIEPRIState *pri = dev->exp.pri;

    if (!pri) {
        return false;
    }
    QEMU_LOCK_GUARD(&pri->lock);
    return pri->ledger.outstanding > pri->ledger.unclosed;
}

static int pri_pre_load(void *opaque)
{
    const PCIDevice *dev = opaque;

    if (!dev->exp.pri) {
        error_report("%s: page request groups come in, but there is no Page "
                     "Request capability", dev->name);
        return -EINVAL;
    }
    return 0;
}

const VMStateDescription vmstate_pcie_pri = {
    .name = "PCIDevice/pri",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = pri_needed,
    .pre_load = pri_pre_load,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT_POINTER(exp.pri, PCIDevice, vmstate_pri_groups,
                               PCIEPRIState),
        VMSTATE_END_OF_LIST()
    }
};
