/*
 * AMD-Vi: event log
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "system/runstate.h"
#include "amd_iommu_event.h"
#include "trace.h"

/* Events of threads that can wait for the main loop */
#define QUEUE_SIZE  16

/* ---- Ring; these functions are called with the BQL held ---- */

/* Pointers beyond the end of the log wrap around */
static uint32_t ring_pointer(const AMDVIState *s, uint64_t val)
{
    return val & AMDVI_MMIO_EVTLOG_TAIL_MASK &
           (s->evtlog_len * AMDVI_EVENT_LEN - 1);
}

static void set_running(AMDVIState *s, bool running)
{
    s->evtlog_enabled = running;
    if (running) {
        amdvi_assign_orq(s, AMDVI_MMIO_STATUS, AMDVI_MMIO_STATUS_EVT_RUN);
    } else {
        amdvi_assign_andq(s, AMDVI_MMIO_STATUS, ~AMDVI_MMIO_STATUS_EVT_RUN);
    }
}

void amdvi_event_stop(AMDVIState *s)
{
    set_running(s, false);
}

void amdvi_event_write_control(AMDVIState *s)
{
    uint64_t control = amdvi_readq(s, AMDVI_MMIO_CONTROL);
    uint64_t status = amdvi_readq(s, AMDVI_MMIO_STATUS);

    set_running(s, (control & AMDVI_MMIO_CONTROL_AMDVIEN) &&
                   (control & AMDVI_MMIO_CONTROL_EVENTLOGEN) &&
                   !(status & AMDVI_MMIO_STATUS_EVT_OVF));
}

void amdvi_event_write_base(AMDVIState *s)
{
    uint64_t val = amdvi_readq(s, AMDVI_MMIO_EVENT_BASE);

    s->evtlog = val & AMDVI_MMIO_EVTLOG_BASE_MASK;
    s->evtlog_len = 1u << extract64(val, 56, 4);
    s->evtlog_head = s->evtlog_tail = 0;
    amdvi_writeq_raw(s, AMDVI_MMIO_EVENT_HEAD, 0);
    amdvi_writeq_raw(s, AMDVI_MMIO_EVENT_TAIL, 0);
}

void amdvi_event_write_head(AMDVIState *s)
{
    s->evtlog_head = ring_pointer(s, amdvi_readq(s, AMDVI_MMIO_EVENT_HEAD));
}

void amdvi_event_write_tail(AMDVIState *s)
{
    s->evtlog_tail = ring_pointer(s, amdvi_readq(s, AMDVI_MMIO_EVENT_TAIL));
}

static void write_event(AMDVIState *s, uint64_t lo, uint64_t hi)
{
    const uint64_t event[2] = { cpu_to_le64(lo), cpu_to_le64(hi) };
    /* Registers of devices are not memory that can contain a log. */
    const MemTxAttrs attrs = { .memory = 1 };

    if (address_space_write(&address_space_memory, s->evtlog + s->evtlog_tail,
                            attrs, event, sizeof(event))) {
        trace_amdvi_evntlog_fail(s->evtlog, s->evtlog_tail);
    }
}

static void put_event(AMDVIState *s, uint64_t lo, uint64_t hi)
{
    uint32_t next = ring_pointer(s, s->evtlog_tail + AMDVI_EVENT_LEN);

    if (!s->evtlog_enabled) {
        return;
    }
    if (next == s->evtlog_head) {
        set_running(s, false);
        amdvi_set_status(s, AMDVI_MMIO_STATUS_EVT_OVF);
        return;
    }
    write_event(s, lo, hi);
    s->evtlog_tail = next;
    amdvi_writeq_raw(s, AMDVI_MMIO_EVENT_TAIL, next);
    amdvi_set_status(s, AMDVI_MMIO_STATUS_EVT_INT);
}

static void record_event(AMDVIState *s, uint64_t lo, uint64_t hi, bool abort)
{
    put_event(s, lo, hi);
    if (abort) {
        pci_word_test_and_set_mask(s->pci->dev.config + PCI_STATUS,
                                   PCI_STATUS_SIG_TARGET_ABORT);
    }
}

/* ---- Events of threads ---- */

typedef struct Event {
    uint64_t lo;
    uint64_t hi;
    bool abort;
} Event;

struct AMDVIEventQueue {
    QEMUBH *bh;
    QemuMutex lock;
    /* Protected by @lock */
    unsigned n;
    Event event[QUEUE_SIZE];
};

static void flush(AMDVIState *s)
{
    AMDVIEventQueue *queue = s->event_queue;
    Event event[QUEUE_SIZE];
    unsigned n;

    WITH_QEMU_LOCK_GUARD(&queue->lock) {
        n = queue->n;
        memcpy(event, queue->event, n * sizeof(event[0]));
        queue->n = 0;
    }
    for (unsigned i = 0; i < n; i++) {
        record_event(s, event[i].lo, event[i].hi, event[i].abort);
    }
}

static void flush_bh(void *opaque)
{
    /* The memory of a stopped machine must not change. */
    if (runstate_is_running()) {
        flush(opaque);
    }
}

/*
 * When the machine stops, threads of devices have stopped before, and migration
 * copies the last changes of memory afterwards.
 */
static void vm_state_changed(void *opaque, bool running, RunState state)
{
    flush(opaque);
}

void amdvi_event_init(AMDVIState *s, MemReentrancyGuard *guard)
{
    AMDVIEventQueue *queue = g_new0(AMDVIEventQueue, 1);

    queue->bh = qemu_bh_new_guarded(flush_bh, s, guard);
    qemu_mutex_init(&queue->lock);
    s->event_queue = queue;
    qemu_add_vm_change_state_handler(vm_state_changed, s);
}

void amdvi_event_reset(AMDVIState *s)
{
    WITH_QEMU_LOCK_GUARD(&s->event_queue->lock) {
        s->event_queue->n = 0;
    }
    s->evtlog_enabled = false;
    s->evtlog = 0;
    /* What the length field of 0 stands for */
    s->evtlog_len = 1;
    s->evtlog_head = 0;
    s->evtlog_tail = 0;
}

void amdvi_event_log(AMDVIState *s, uint64_t lo, uint64_t hi, bool abort)
{
    AMDVIEventQueue *queue = s->event_queue;

    if (bql_locked()) {
        record_event(s, lo, hi, abort);
        return;
    }
    WITH_QEMU_LOCK_GUARD(&queue->lock) {
        if (queue->n == QUEUE_SIZE) {
            trace_amdvi_event_dropped(lo, hi);
            return;
        }
        queue->event[queue->n++] = (Event) { lo, hi, abort };
    }
    qemu_bh_schedule(queue->bh);
}

/* ---- Formats ---- */

/* Bits of the first quadword, in all events that have them */
#define EVENT_GN        (1ULL << 48)
#define EVENT_I         (1ULL << 51)
#define EVENT_PR        (1ULL << 52)
#define EVENT_RW        (1ULL << 53)
#define EVENT_PE        (1ULL << 54)
#define EVENT_RZ        (1ULL << 55)
#define EVENT_TR        (1ULL << 56)

/* IO_PAGE_FAULT only */
#define EVENT_US        (1ULL << 50)

/* DEV_TAB_, PAGE_TAB_ and COMMAND_HARDWARE_ERROR: master abort */
#define EVENT_TYPE_MASTER_ABORT     (1ULL << 57)

/* INVALID_DEVICE_REQUEST */
#define EVENT_TYPE_SHIFT            57

/* ILLEGAL_DEV_TABLE_ENTRY: bits 1:0 of the address are reserved */
#define ILLEGAL_DTE_ADDR_MASK       (~0x3ULL)

/* @code includes the position of the event code within bits 63:48 */
static uint64_t event_code(uint16_t code)
{
    return (uint64_t)code << 48;
}

static uint64_t flag(bool set, uint64_t bit)
{
    return set ? bit : 0;
}

/* DeviceID, I, RW and TR, which all events of requests have */
static uint64_t request(const AMDVIPageFault *fault)
{
    return fault->devid | flag(fault->interrupt, EVENT_I) |
           flag(fault->write, EVENT_RW) | flag(fault->translation, EVENT_TR);
}

/* PASID[19:16] is in bits 19:16, PASID[15:0] in bits 47:32 */
static uint64_t pasid(const AMDVIPageFault *fault)
{
    if (fault->pasid == PCI_NO_PASID) {
        return 0;
    }
    return EVENT_GN | (fault->pasid & 0xf0000) |
           (uint64_t)(fault->pasid & 0xffff) << 32;
}

/* The same, or else the domain in bits 47:32 */
static uint64_t domain_or_pasid(const AMDVIPageFault *fault)
{
    return fault->pasid == PCI_NO_PASID ? (uint64_t)fault->domid << 32
                                        : pasid(fault);
}

void amdvi_event_illegal_dte(AMDVIState *s, const AMDVIPageFault *fault)
{
    amdvi_event_log(s, event_code(AMDVI_EVENT_ILLEGAL_DEVTAB_ENTRY) |
                    request(fault) | pasid(fault) |
                    flag(fault->reserved_bit, EVENT_RZ),
                    fault->addr & ILLEGAL_DTE_ADDR_MASK, false);
}

void amdvi_event_io_page_fault(AMDVIState *s, const AMDVIPageFault *fault)
{
    bool user = fault->pasid != PCI_NO_PASID && !fault->privilege;

    trace_amdvi_page_fault(fault->addr);
    amdvi_event_log(s, event_code(AMDVI_EVENT_IOPF) | request(fault) |
                    domain_or_pasid(fault) | flag(user, EVENT_US) |
                    flag(fault->present, EVENT_PR) |
                    flag(fault->permission, EVENT_PE) |
                    flag(fault->reserved_bit, EVENT_RZ),
                    fault->addr, true);
}

void amdvi_event_dev_tab_error(AMDVIState *s, const AMDVIPageFault *fault,
                               hwaddr entry)
{
    amdvi_event_log(s, event_code(AMDVI_EVENT_DEV_TAB_HW_ERROR) |
                    request(fault) | EVENT_TYPE_MASTER_ABORT, entry, true);
}

void amdvi_event_page_tab_error(AMDVIState *s, const AMDVIPageFault *fault,
                                hwaddr entry)
{
    amdvi_event_log(s, event_code(AMDVI_EVENT_PAGE_TAB_HW_ERROR) |
                    request(fault) | domain_or_pasid(fault) |
                    EVENT_TYPE_MASTER_ABORT, entry, true);
}

void amdvi_event_illegal_command(AMDVIState *s, hwaddr command)
{
    amdvi_event_log(s, event_code(AMDVI_EVENT_ILLEGAL_COMMAND_ERROR), command,
                    false);
}

void amdvi_event_command_error(AMDVIState *s, hwaddr command)
{
    amdvi_event_log(s, event_code(AMDVI_EVENT_COMMAND_HW_ERROR) |
                    EVENT_TYPE_MASTER_ABORT, command, true);
}

/* This event has neither I nor RW. */
void amdvi_event_invalid_request(AMDVIState *s, const AMDVIPageFault *fault,
                                 AMDVIInvalidRequest type)
{
    amdvi_event_log(s, event_code(AMDVI_EVENT_INVALID_DEVICE_REQUEST) |
                    fault->devid | pasid(fault) |
                    flag(fault->translation, EVENT_TR) |
                    (uint64_t)type << EVENT_TYPE_SHIFT, fault->addr, false);
}
