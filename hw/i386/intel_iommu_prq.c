/*
 * VT-d: page request queue
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "hw/pci/msi.h"
#include "system/runstate.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_prq.h"

/* Words of the register block */
enum {
    PQH = 0,
    PQT = 2,
    PQA = 4,
    PQA_HI = 5,
    PRS = 7,
    PECTL = 8,
    PEDATA = 9,
    PEADDR = 10,
    PEUADDR = 11,
};

#define PRS_MASK (VTD_PRS_PPR | VTD_PRS_PRO)

struct VTDPageRequestQueue {
    VTDPRQWrite *write;
    void *opaque;
    uint32_t rw[VTD_PRQ_WORDS];         /* writable bits */
    /*
     * Protects the registers, and the part of the ring that has no pending
     * descriptors
     */
    QemuMutex lock;
    uint32_t reg[VTD_PRQ_WORDS];
    QEMUBH *event_bh;
    /* For migration only */
    uint32_t saved_regs[VTD_PRQ_WORDS];
};

void vtd_prq_reset(VTDPageRequestQueue *q)
{
    QEMU_LOCK_GUARD(&q->lock);
    memset(q->reg, 0, sizeof(q->reg));
    q->reg[PECTL] = VTD_PECTL_IM;
}

/* ---- Registers; these functions are called with @lock held ---- */

static bool event_due(const VTDPageRequestQueue *q)
{
    return (q->reg[PECTL] & (VTD_PECTL_IP | VTD_PECTL_IM)) == VTD_PECTL_IP;
}

/* Sets a condition for an event, PPR or PRO (7.5). */
static void event_condition(VTDPageRequestQueue *q, uint32_t bit)
{
    if (!(q->reg[PRS] & PRS_MASK)) {
        q->reg[PECTL] |= VTD_PECTL_IP;
    }
    q->reg[PRS] |= bit;
}

static void write_word(VTDPageRequestQueue *q, unsigned i, uint32_t val)
{
    if (i == PRS) {
        q->reg[PRS] &= ~(val & PRS_MASK);
        if (!q->reg[PRS]) {
            q->reg[PECTL] &= ~VTD_PECTL_IP;
        }
        return;
    }
    q->reg[i] = (q->reg[i] & ~q->rw[i]) | (val & q->rw[i]);
}

uint64_t vtd_prq_read(VTDPageRequestQueue *q, hwaddr reg, unsigned size)
{
    unsigned i = (reg - VTD_PRQ_FIRST_REG) / 4;

    QEMU_LOCK_GUARD(&q->lock);
    return size == 8 ? deposit64(q->reg[i], 32, 32, q->reg[i + 1]) : q->reg[i];
}

void vtd_prq_write(VTDPageRequestQueue *q, hwaddr reg, uint64_t val,
                   unsigned size)
{
    unsigned i = (reg - VTD_PRQ_FIRST_REG) / 4;

    QEMU_LOCK_GUARD(&q->lock);
    write_word(q, i, extract64(val, 0, 32));
    if (size == 8) {
        write_word(q, i + 1, extract64(val, 32, 32));
    }
}

void vtd_prq_save(VTDPageRequestQueue *q, uint32_t words[VTD_PRQ_WORDS])
{
    QEMU_LOCK_GUARD(&q->lock);
    memcpy(words, q->reg, sizeof(q->reg));
}

void vtd_prq_load(VTDPageRequestQueue *q, const uint32_t words[VTD_PRQ_WORDS])
{
    QEMU_LOCK_GUARD(&q->lock);
    for (unsigned i = 0; i < VTD_PRQ_WORDS; i++) {
        q->reg[i] = words[i] & q->rw[i];
    }
    q->reg[PRS] = words[PRS] & PRS_MASK;
    q->reg[PECTL] |= words[PECTL] & VTD_PECTL_IP;
}

/* ---- Ring ---- */

static hwaddr ring_base(const VTDPageRequestQueue *q)
{
    return deposit64(q->reg[PQA], 32, 32, q->reg[PQA_HI]) & ~0xfffULL;
}

/* Offsets beyond the end of the queue wrap around as well (11.4.11.3) */
static uint32_t ring_mask(const VTDPageRequestQueue *q)
{
    return (0x1000u << (q->reg[PQA] & VTD_PQA_PQS)) - VTD_PRQ_DESC_SIZE;
}

static VTDPRQResult put_locked(VTDPageRequestQueue *q, const uint64_t *desc)
{
    hwaddr base = ring_base(q);
    uint32_t mask = ring_mask(q);
    uint32_t tail = q->reg[PQT] & mask;
    uint32_t next = (tail + VTD_PRQ_DESC_SIZE) & mask;

    if (!base) {
        return VTD_PRQ_NO_QUEUE;
    }
    if (q->reg[PRS] & VTD_PRS_PRO) {
        return VTD_PRQ_OVERFLOW;
    }
    if (next == (q->reg[PQH] & mask)) {
        event_condition(q, VTD_PRS_PRO);
        return VTD_PRQ_OVERFLOW;
    }
    if (!q->write(q->opaque, base + tail, desc)) {
        return VTD_PRQ_NO_QUEUE;
    }
    q->reg[PQT] = next;
    event_condition(q, VTD_PRS_PPR);
    return VTD_PRQ_DELIVERED;
}

VTDPRQResult vtd_prq_put(VTDPageRequestQueue *q, const uint64_t *desc,
                         bool *event)
{
    VTDPRQResult result;
    bool due;

    QEMU_LOCK_GUARD(&q->lock);
    due = event_due(q);
    result = put_locked(q, desc);
    *event = !due && event_due(q);
    return result;
}

/* ---- Page request event (7.5) ---- */

bool vtd_prq_take_event(VTDPageRequestQueue *q, uint64_t *addr, uint32_t *data)
{
    QEMU_LOCK_GUARD(&q->lock);
    if (!event_due(q)) {
        return false;
    }
    q->reg[PECTL] &= ~VTD_PECTL_IP;
    *addr = deposit64(q->reg[PEADDR], 32, 32, q->reg[PEUADDR]);
    *data = q->reg[PEDATA];
    return true;
}

/* The event is never subject to interrupt remapping. */
void vtd_prq_send_event(VTDPageRequestQueue *q)
{
    uint64_t addr;
    uint32_t data;

    if (vtd_prq_take_event(q, &addr, &data)) {
        MSIMessage msi = { .address = addr, .data = data };

        vtd_send_msi(&msi);
    }
}

static void event_bh(void *opaque)
{
    vtd_prq_send_event(opaque);
}

void vtd_prq_raise_event(VTDPageRequestQueue *q)
{
    if (bql_locked()) {
        vtd_prq_send_event(q);
    } else {
        qemu_bh_schedule(q->event_bh);
    }
}

/* When the machine runs, the state of the APICs has been loaded. */
static void vm_state_changed(void *opaque, bool running, RunState state)
{
    if (running) {
        vtd_prq_send_event(opaque);
    }
}

/* ---- Migration ---- */

/*
 * An event that is due is part of the registers: the destination sends it.  It
 * is too late for the state of the local APICs, which KVM has been asked for.
 */
static int prq_pre_save(void *opaque)
{
    VTDPageRequestQueue *q = opaque;

    vtd_prq_save(q, q->saved_regs);
    return 0;
}

static int prq_post_load(void *opaque, int version_id)
{
    VTDPageRequestQueue *q = opaque;

    vtd_prq_load(q, q->saved_regs);
    return 0;
}

const VMStateDescription vtd_vmstate_prq = {
    .name = "iommu-intel/page-request-queue",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = prq_pre_save,
    .post_load = prq_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32_ARRAY(saved_regs, VTDPageRequestQueue, VTD_PRQ_WORDS),
        VMSTATE_END_OF_LIST()
    }
};

/* ---- Life ---- */

VTDPageRequestQueue *vtd_prq_new(unsigned haw, bool eim, VTDPRQWrite *write,
                                 void *opaque)
{
    VTDPageRequestQueue *q = g_new0(VTDPageRequestQueue, 1);
    uint64_t pqa = MAKE_64BIT_MASK(12, haw - 12) | VTD_PQA_PQS;

    q->write = write;
    q->opaque = opaque;
    q->rw[PQH] = VTD_PRQ_OFFSET_MASK;
    q->rw[PQT] = VTD_PRQ_OFFSET_MASK;
    q->rw[PQA] = extract64(pqa, 0, 32);
    q->rw[PQA_HI] = extract64(pqa, 32, 32);
    q->rw[PECTL] = VTD_PECTL_IM;
    q->rw[PEDATA] = UINT16_MAX;
    q->rw[PEADDR] = ~3u;
    q->rw[PEUADDR] = eim ? UINT32_MAX : 0;
    qemu_mutex_init(&q->lock);
    q->event_bh = qemu_bh_new(event_bh, q);
    qemu_add_vm_change_state_handler(vm_state_changed, q);
    vtd_prq_reset(q);
    return q;
}
