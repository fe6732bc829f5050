/*
 * Faults on purpose in the ATS of a device model
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "hw/pci/pci_ats_inject.h"
#include "qapi/visitor.h"

static void get_number(Object *obj, Visitor *v, const char *name, void *opaque,
                       Error **errp)
{
    uint32_t value = qatomic_read((uint32_t *)opaque);

    visit_type_uint32(v, name, &value, errp);
}

static void set_number(Object *obj, Visitor *v, const char *name, void *opaque,
                       Error **errp)
{
    uint32_t value;

    if (visit_type_uint32(v, name, &value, errp)) {
        qatomic_set((uint32_t *)opaque, value);
    }
}

static void get_switch(Object *obj, Visitor *v, const char *name, void *opaque,
                       Error **errp)
{
    bool value = qatomic_read((uint32_t *)opaque);

    visit_type_bool(v, name, &value, errp);
}

static void set_switch(Object *obj, Visitor *v, const char *name, void *opaque,
                       Error **errp)
{
    bool value;

    if (visit_type_bool(v, name, &value, errp)) {
        qatomic_set((uint32_t *)opaque, value);
    }
}

void pci_ats_inject_add_properties(Object *obj, PCIATSInject *inject)
{
    object_property_add(obj, "x-drop-responses", "uint32", get_number,
                        set_number, NULL, &inject->drop_responses);
    object_property_add(obj, "x-delay-responses", "uint32", get_number,
                        set_number, NULL, &inject->delay_responses);
    object_property_add(obj, "x-deny-requests", "uint32", get_number,
                        set_number, NULL, &inject->deny_requests);
    object_property_add(obj, "x-ignore-invalidations", "bool", get_switch,
                        set_switch, NULL, &inject->ignore_invalidations);
}

bool pci_ats_inject_take(uint32_t *count)
{
    uint32_t n = qatomic_read(count);

    while (n) {
        uint32_t seen = qatomic_cmpxchg(count, n, n - 1);

        if (seen == n) {
            return true;
        }
        n = seen;
    }
    return false;
}
