/*
 * VT-d: processing of the invalidation queue in slices
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "system/runstate.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_dev_tlb.h"
#include "intel_iommu_inv_queue.h"
#include "trace.h"

/*
 * How long the main loop leaves the BQL to vCPUs between two slices.  A mutex
 * that is released and taken again at once does not reach those who wait.
 */
#define PAUSE_NS    (50 * SCALE_US)

/* IOTLB entries that are looked at in one unit of work */
#define IOTLB_ENTRIES_PER_WORK  8

/* How often a descriptor may call the notifiers of a region */
#define NOTIFICATIONS_CONTEXT   3
#define NOTIFICATIONS_IOTLB     2

/*
 * IDLE -> RUNNING      vtd_inv_queue_run() finds work
 * RUNNING -> IDLE      nothing is left
 * RUNNING -> PENDING   the slice is used up
 * IDLE -> PENDING      the machine starts with work that has been loaded
 * PENDING -> RUNNING   the main loop takes the next slice
 * PENDING -> IDLE      reset, or an error or the guest has ended the work
 *
 * While the machine is stopped, PENDING lasts.
 */
typedef enum InvQueueState {
    IDLE,
    RUNNING,                    /* a slice is on the stack of this thread */
    PENDING,                    /* @pause and @bh bring the next slice */
} InvQueueState;

/* All with the BQL */
struct VTDInvQueue {
    IntelIOMMUState *s;
    InvQueueState state;
    unsigned work;              /* done in this slice */
    QEMUTimer *pause;
    QEMUBH *bh;
};

bool vtd_inv_queue_has_work(const VTDInvQueue *q)
{
    const IntelIOMMUState *s = q->s;

    return s->qi_enabled && s->iq_head != s->iq_tail &&
           !(ldl_le_p(&s->csr[DMAR_FSTS_REG]) & VTD_FSTS_IQE);
}

bool vtd_inv_queue_next(const VTDInvQueue *q)
{
    return q->s->iq_head != q->s->iq_tail && q->work < VTD_INV_WORK_SLICE;
}

void vtd_inv_queue_charge(VTDInvQueue *q, unsigned work)
{
    q->work += work;
}

static unsigned num_notified(const IntelIOMMUState *s)
{
    VTDAddressSpace *as;
    unsigned n = 0;

    QLIST_FOREACH(as, &s->vtd_as_with_notifiers, next) {
        n++;
    }
    return n;
}

void vtd_inv_queue_charge_desc(VTDInvQueue *q, uint64_t lo)
{
    const IntelIOMMUState *s = q->s;

    q->work++;
    switch (VTD_INV_DESC_TYPE(lo)) {
    case VTD_INV_DESC_CC:
        q->work += num_notified(s) * NOTIFICATIONS_CONTEXT *
                   VTD_INV_WORK_REGION;
        /* fall through */
    case VTD_INV_DESC_PC:
        q->work += g_hash_table_size(s->vtd_address_spaces) *
                   VTD_INV_WORK_ADDRESS_SPACE;
        break;
    case VTD_INV_DESC_IOTLB:
    case VTD_INV_DESC_PIOTLB:
        q->work += g_hash_table_size(s->iotlb) / IOTLB_ENTRIES_PER_WORK +
                   num_notified(s) * NOTIFICATIONS_IOTLB * VTD_INV_WORK_REGION;
        break;
    case VTD_INV_DESC_IEC:
        q->work += VTD_INV_WORK_INTERRUPTS;
        break;
    case VTD_INV_DESC_WAIT:
        if (lo & (VTD_INV_DESC_WAIT_IF | VTD_INV_DESC_WAIT_PD)) {
            q->work += VTD_INV_WORK_MESSAGE;
        }
        break;
    case VTD_INV_DESC_PAGE_RESPONSE:
        q->work += VTD_INV_WORK_MESSAGE;
        break;
    }
}

static void run_slice(VTDInvQueue *q)
{
    IntelIOMMUState *s = q->s;

    q->state = RUNNING;
    q->work = 0;
    vtd_fetch_inv_desc(s);
    if (vtd_inv_queue_has_work(q)) {
        trace_vtd_inv_queue_pause(s->iq_head, s->iq_tail, q->work);
        q->state = PENDING;
        timer_mod(q->pause, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + PAUSE_NS);
    } else {
        q->state = IDLE;
        vtd_inv_queue_drained(s);
    }
}

void vtd_inv_queue_run(VTDInvQueue *q)
{
    if (q->state == IDLE && vtd_inv_queue_has_work(q)) {
        run_slice(q);
    }
}

static void pause_over(void *opaque)
{
    VTDInvQueue *q = opaque;

    qemu_bh_schedule(q->bh);
}

static void next_slice(void *opaque)
{
    VTDInvQueue *q = opaque;

    /* The memory of a machine that is stopped does not change */
    if (q->state == PENDING && runstate_is_running()) {
        q->state = IDLE;
        if (vtd_inv_queue_has_work(q)) {
            run_slice(q);
        } else {
            vtd_inv_queue_drained(q->s);
        }
    }
}

/* A slice waits for the main loop, where all devices run again */
static void vm_state_changed(void *opaque, bool running, RunState state)
{
    VTDInvQueue *q = opaque;

    if (running && (q->state == PENDING || vtd_inv_queue_has_work(q))) {
        q->state = PENDING;
        qemu_bh_schedule(q->bh);
    }
}

VTDInvQueue *vtd_inv_queue_new(IntelIOMMUState *s)
{
    VTDInvQueue *q = g_new0(VTDInvQueue, 1);

    q->s = s;
    q->pause = timer_new_ns(QEMU_CLOCK_REALTIME, pause_over, q);
    /* A descriptor must not reach the registers, here as in a write of IQT */
    q->bh = qemu_bh_new_guarded(next_slice, q,
                                &DEVICE(s)->mem_reentrancy_guard);
    qemu_add_vm_change_state_handler(vm_state_changed, q);
    return q;
}

void vtd_inv_queue_reset(VTDInvQueue *q)
{
    timer_del(q->pause);
    qemu_bh_cancel(q->bh);
    q->state = IDLE;
}
