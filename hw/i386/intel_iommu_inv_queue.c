/*
 * VT-d: processing of the invalidation queue in slices
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "intel_iommu_internal.h"
#include "iommu_dev_tlb.h"
#include "intel_iommu_inv_queue.h"
#include "sliced_queue.h"

/* IOTLB entries that can be checked in one unit of work */
#define IOTLB_ENTRIES_PER_WORK  8

/* Maximum number of calls of each notifier of a region by one descriptor */
#define NOTIFICATIONS_CONTEXT   3
#define NOTIFICATIONS_PASID     2
#define NOTIFICATIONS_IOTLB     2

struct VTDInvQueue {
    IntelIOMMUState *s;
    SlicedQueue *slices;
};

bool vtd_inv_queue_has_work(const VTDInvQueue *q)
{
    const IntelIOMMUState *s = q->s;

    return s->qi_enabled && s->iq_head != s->iq_tail &&
           !(ldl_le_p(&s->csr[DMAR_FSTS_REG]) & VTD_FSTS_IQE);
}

bool vtd_inv_queue_next(VTDInvQueue *q)
{
    return q->s->iq_head != q->s->iq_tail && sliced_queue_next(q->slices);
}

void vtd_inv_queue_charge(VTDInvQueue *q, unsigned work)
{
    sliced_queue_charge(q->slices, work);
}

/* Work of @calls calls of each notifier */
static unsigned notifier_work(const IntelIOMMUState *s, unsigned calls)
{
    VTDAddressSpace *as;
    unsigned work = 0;

    QLIST_FOREACH(as, &s->vtd_as_with_notifiers, next) {
        work += calls * SLICED_WORK_REGION;
    }
    return work;
}

static unsigned address_space_work(const IntelIOMMUState *s)
{
    return g_hash_table_size(s->vtd_address_spaces) *
           SLICED_WORK_ADDRESS_SPACE;
}

void vtd_inv_queue_charge_desc(VTDInvQueue *q, uint64_t lo)
{
    const IntelIOMMUState *s = q->s;
    unsigned work = 0;

    switch (VTD_INV_DESC_TYPE(lo)) {
    case VTD_INV_DESC_CC:
        work += address_space_work(s) +
                notifier_work(s, NOTIFICATIONS_CONTEXT);
        break;
    case VTD_INV_DESC_PC:
        work += address_space_work(s) +
                notifier_work(s, NOTIFICATIONS_PASID);
        break;
    case VTD_INV_DESC_IOTLB:
    case VTD_INV_DESC_PIOTLB:
        work += g_hash_table_size(s->iotlb) / IOTLB_ENTRIES_PER_WORK +
                notifier_work(s, NOTIFICATIONS_IOTLB);
        break;
    case VTD_INV_DESC_IEC:
        work += SLICED_WORK_INTERRUPTS;
        break;
    case VTD_INV_DESC_WAIT:
        if (lo & (VTD_INV_DESC_WAIT_IF | VTD_INV_DESC_WAIT_PD)) {
            work += SLICED_WORK_MESSAGE;
        }
        break;
    case VTD_INV_DESC_PAGE_RESPONSE:
        work += SLICED_WORK_MESSAGE;
        break;
    }
    vtd_inv_queue_charge(q, work);
}

void vtd_inv_queue_run(VTDInvQueue *q)
{
    sliced_queue_run(q->slices);
}

static bool has_work(void *opaque)
{
    return vtd_inv_queue_has_work(opaque);
}

static void process(void *opaque)
{
    VTDInvQueue *q = opaque;

    vtd_fetch_inv_desc(q->s);
}

static void drained(void *opaque)
{
    VTDInvQueue *q = opaque;

    vtd_inv_queue_drained(q->s);
}

static const SlicedQueueOps slice_ops = {
    .has_work = has_work,
    .process = process,
    .drained = drained,
};

VTDInvQueue *vtd_inv_queue_new(IntelIOMMUState *s)
{
    VTDInvQueue *q = g_new0(VTDInvQueue, 1);

    q->s = s;
    q->slices = sliced_queue_new(&slice_ops, q,
                                 &DEVICE(s)->mem_reentrancy_guard);
    return q;
}

void vtd_inv_queue_reset(VTDInvQueue *q)
{
    sliced_queue_stop(q->slices);
}
