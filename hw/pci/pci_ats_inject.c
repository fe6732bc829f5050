/*
 * Fault injection for device models with ATS
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "pci_ats_dma_internal.h"
#include "qapi/visitor.h"
#include "trace.h"

/* ---- Properties ---- */

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

/* ---- Faults ---- */

/* Returns whether the counter was not 0, and decrements it */
static bool inject_take(uint32_t *count)
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

bool dma_inject_refusal(PCIATSDMA *dma, uint32_t pasid, hwaddr addr)
{
    if (!dma->inject || !inject_take(&dma->inject->deny_requests)) {
        return false;
    }
    trace_pci_ats_dma_deny_request(dma->dev->name, dma->dev->devfn, pasid,
                                   addr);
    return true;
}

static void inject_delay(PCIATSDMA *dma, DMAGroup *group,
                         IOMMUPRIResponseCode code, uint32_t delay)
{
    group->response = DMA_RESPONSE_DELAYED;
    group->due = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL) +
                 (int64_t)delay * SCALE_MS;
    group->code = code;
    timer_mod_anticipate_ns(dma->delay_timer, group->due);
}

bool dma_inject_response(PCIATSDMA *dma, DMAGroup *group,
                         IOMMUPRIResponseCode code)
{
    uint32_t delay;

    if (!dma->inject || !group->range) {
        return false;
    }
    delay = qatomic_read(&dma->inject->delay_responses);
    if (inject_take(&dma->inject->drop_responses)) {
        delay = 0;
        group->response = DMA_RESPONSE_DROPPED;
    } else if (delay) {
        inject_delay(dma, group, code, delay);
    } else {
        return false;
    }
    trace_pci_ats_dma_inject_response(dma->dev->name, dma->dev->devfn,
                                      group->range->transfer->pasid,
                                      group->ref.prgi, group->first, code,
                                      delay);
    return true;
}

bool dma_inject_ignores_invalidation(PCIATSDMA *dma)
{
    return dma->inject && qatomic_read(&dma->inject->ignore_invalidations);
}
