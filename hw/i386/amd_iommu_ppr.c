/*
 * AMD-Vi: log of peripheral page requests (PPR log)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bitops.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "system/runstate.h"
#include "amd_iommu_ppr.h"
#include "iommu_ram.h"
#include "trace.h"

#define CONTROL_RUN \
    (AMDVI_MMIO_CONTROL_AMDVIEN | AMDVI_MMIO_CONTROL_PPRLOGEN)
#define CONTROL_ENABLE \
    (AMDVI_MMIO_CONTROL_AMDVIEN | AMDVI_MMIO_CONTROL_PPREN)
#define CONTROL_MASK \
    (CONTROL_RUN | CONTROL_ENABLE | AMDVI_MMIO_CONTROL_PPRINTEN)

/* The flags that software clears, each of which causes an interrupt */
#define STATUS_FLAGS    (AMDVI_MMIO_STATUS_PPR_OVF | AMDVI_MMIO_STATUS_PPR_INT)
#define STATUS_MASK     (STATUS_FLAGS | AMDVI_MMIO_STATUS_PPR_RUN)

typedef struct PPRRegisters {
    uint64_t base;
    uint64_t head;
    uint64_t tail;
    uint64_t control;           /* the bits of CONTROL_MASK */
    uint64_t status;            /* the bits of STATUS_MASK */
} PPRRegisters;

struct AMDVIPPRLog {
    AMDVIState *s;
    QEMUBH *interrupt_bh;
    /*
     * Protects the members below, and the part of the ring that has no entries
     * for software
     */
    QemuMutex lock;
    PPRRegisters reg;
    bool interrupt_due;         /* also read without @lock */
    /* For migration only */
    PPRRegisters saved;
    bool saved_interrupt_due;
};

/* ---- Registers; these functions are called with @lock held ---- */

static bool has_all(uint64_t val, uint64_t bits)
{
    return (val & bits) == bits;
}

static uint64_t causes(const AMDVIPPRLog *log)
{
    return log->reg.control & AMDVI_MMIO_CONTROL_PPRINTEN ?
           log->reg.status & STATUS_FLAGS : 0;
}

/*
 * A cause interrupts again after software has cleared its flag.  An interrupt
 * is no longer due when software has cleared all flags.
 */
static void update_interrupt(AMDVIPPRLog *log, uint64_t old_causes)
{
    uint64_t now = causes(log);

    qatomic_set(&log->interrupt_due,
                now && (log->interrupt_due || (now & ~old_causes)));
}

static void write_control(AMDVIPPRLog *log, uint64_t val)
{
    uint64_t old = causes(log);

    log->reg.control = val & CONTROL_MASK;
    log->reg.status &= ~AMDVI_MMIO_STATUS_PPR_RUN;
    if (has_all(val, CONTROL_RUN) &&
        !(log->reg.status & AMDVI_MMIO_STATUS_PPR_OVF)) {
        log->reg.status |= AMDVI_MMIO_STATUS_PPR_RUN;
    }
    update_interrupt(log, old);
}

/* ---- Accesses of software, with the BQL held ---- */

void amdvi_ppr_sync(AMDVIState *s)
{
    AMDVIPPRLog *log = s->ppr_log;

    if (!log) {
        return;
    }
    QEMU_LOCK_GUARD(&log->lock);
    amdvi_writeq_raw(s, AMDVI_MMIO_PPR_BASE, log->reg.base);
    amdvi_writeq_raw(s, AMDVI_MMIO_PPR_HEAD, log->reg.head);
    amdvi_writeq_raw(s, AMDVI_MMIO_PPR_TAIL, log->reg.tail);
    amdvi_assign_andq(s, AMDVI_MMIO_STATUS, ~(uint64_t)STATUS_MASK);
    amdvi_assign_orq(s, AMDVI_MMIO_STATUS, log->reg.status);
}

void amdvi_ppr_write_control(AMDVIState *s)
{
    AMDVIPPRLog *log = s->ppr_log;

    if (!log) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&log->lock) {
        write_control(log, amdvi_readq(s, AMDVI_MMIO_CONTROL));
    }
    amdvi_ppr_raise_interrupt(s);
}

void amdvi_ppr_write_base(AMDVIState *s)
{
    AMDVIPPRLog *log = s->ppr_log;

    if (log) {
        QEMU_LOCK_GUARD(&log->lock);
        log->reg.base = amdvi_readq(s, AMDVI_MMIO_PPR_BASE);
        log->reg.head = 0;
        log->reg.tail = 0;
    }
}

void amdvi_ppr_write_head(AMDVIState *s)
{
    AMDVIPPRLog *log = s->ppr_log;

    if (log) {
        QEMU_LOCK_GUARD(&log->lock);
        log->reg.head = amdvi_readq(s, AMDVI_MMIO_PPR_HEAD);
    }
}

void amdvi_ppr_write_tail(AMDVIState *s)
{
    AMDVIPPRLog *log = s->ppr_log;

    if (log) {
        QEMU_LOCK_GUARD(&log->lock);
        log->reg.tail = amdvi_readq(s, AMDVI_MMIO_PPR_TAIL);
    }
}

void amdvi_ppr_write_status(AMDVIState *s, uint64_t ones)
{
    AMDVIPPRLog *log = s->ppr_log;

    if (log) {
        QEMU_LOCK_GUARD(&log->lock);
        log->reg.status &= ~(ones & STATUS_FLAGS);
        update_interrupt(log, causes(log));
    }
}

bool amdvi_ppr_has_cause(AMDVIState *s)
{
    AMDVIPPRLog *log = s->ppr_log;

    if (!log) {
        return false;
    }
    QEMU_LOCK_GUARD(&log->lock);
    return causes(log);
}

/* ---- Ring ---- */

/* Pointers beyond the end of the log wrap around */
static uint32_t ring_pointer(const AMDVIPPRLog *log, uint64_t val)
{
    uint32_t entries = 1u << extract64(log->reg.base, 56, 4);

    return val & AMDVI_MMIO_PPRLOG_TAIL_MASK &
           (entries * AMDVI_PPR_ENTRY_LEN - 1);
}

/*
 * A request sets PPROverflow even if software has cleared it without a restart
 * of the log.  Linux's interrupt handler does so if the overflow occurs between
 * its read and its write of the Status register; it restarts the log when it
 * sees the flag.
 */
static AMDVIPPRResult put_locked(AMDVIPPRLog *log, const uint64_t entry[2])
{
    PPRRegisters *reg = &log->reg;
    uint32_t tail = ring_pointer(log, reg->tail);
    uint32_t next = ring_pointer(log, tail + AMDVI_PPR_ENTRY_LEN);

    if (!has_all(reg->control, CONTROL_ENABLE)) {
        return AMDVI_PPR_DISABLED;
    }
    if (!(reg->control & AMDVI_MMIO_CONTROL_PPRLOGEN)) {
        return AMDVI_PPR_OVERFLOW;
    }
    if (!(reg->status & AMDVI_MMIO_STATUS_PPR_RUN) ||
        next == ring_pointer(log, reg->head)) {
        reg->status |= AMDVI_MMIO_STATUS_PPR_OVF;
        reg->status &= ~(uint64_t)AMDVI_MMIO_STATUS_PPR_RUN;
        return AMDVI_PPR_OVERFLOW;
    }
    if (!iommu_ram_write(log->s->ram,
                         (reg->base & AMDVI_MMIO_PPRLOG_BASE_MASK) + tail,
                         entry, AMDVI_PPR_ENTRY_LEN / 8)) {
        return AMDVI_PPR_UNREACHABLE;
    }
    reg->tail = next;
    reg->status |= AMDVI_MMIO_STATUS_PPR_INT;
    return AMDVI_PPR_LOGGED;
}

AMDVIPPRResult amdvi_ppr_put(AMDVIState *s, const uint64_t entry[2])
{
    AMDVIPPRLog *log = s->ppr_log;
    AMDVIPPRResult result;
    uint64_t old;

    if (!log) {
        return AMDVI_PPR_DISABLED;
    }
    QEMU_LOCK_GUARD(&log->lock);
    old = causes(log);
    result = put_locked(log, entry);
    update_interrupt(log, old);
    trace_amdvi_ppr_put(entry[0], entry[1], log->reg.tail, result);
    return result;
}

/* ---- Interrupt ---- */

static bool take_interrupt(AMDVIPPRLog *log)
{
    QEMU_LOCK_GUARD(&log->lock);
    if (!log->interrupt_due) {
        return false;
    }
    qatomic_set(&log->interrupt_due, false);
    return true;
}

/* Called with the BQL held */
static void send_interrupt(void *opaque)
{
    AMDVIPPRLog *log = opaque;

    if (take_interrupt(log)) {
        amdvi_generate_ppr_interrupt(log->s);
    }
}

void amdvi_ppr_raise_interrupt(AMDVIState *s)
{
    AMDVIPPRLog *log = s->ppr_log;

    if (!log || !qatomic_read(&log->interrupt_due)) {
        return;
    }
    if (bql_locked()) {
        send_interrupt(log);
    } else {
        qemu_bh_schedule(log->interrupt_bh);
    }
}

/* When the machine runs, the state of the APICs has been loaded. */
static void vm_state_changed(void *opaque, bool running, RunState state)
{
    if (running) {
        send_interrupt(opaque);
    }
}

/* ---- Migration ---- */

static int ppr_pre_save(void *opaque)
{
    AMDVIPPRLog *log = opaque;

    QEMU_LOCK_GUARD(&log->lock);
    log->saved = log->reg;
    log->saved_interrupt_due = log->interrupt_due;
    return 0;
}

/* Ignores bits that are not implemented, and combinations that cannot occur */
static int ppr_post_load(void *opaque, int version_id)
{
    AMDVIPPRLog *log = opaque;
    PPRRegisters *reg = &log->saved;

    reg->base &= AMDVI_MMIO_RING_BASE_WRITABLE;
    reg->head &= AMDVI_MMIO_PPRLOG_HEAD_MASK;
    reg->tail &= AMDVI_MMIO_PPRLOG_TAIL_MASK;
    reg->control &= CONTROL_MASK;
    reg->status &= STATUS_MASK;
    if (!has_all(reg->control, CONTROL_RUN) ||
        (reg->status & AMDVI_MMIO_STATUS_PPR_OVF)) {
        reg->status &= ~(uint64_t)AMDVI_MMIO_STATUS_PPR_RUN;
    }
    QEMU_LOCK_GUARD(&log->lock);
    log->reg = *reg;
    qatomic_set(&log->interrupt_due, log->saved_interrupt_due && causes(log));
    return 0;
}

static const VMStateDescription vmstate_ppr_log = {
    .name = "amd-iommu/ppr-log",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = ppr_pre_save,
    .post_load = ppr_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(saved.base, AMDVIPPRLog),
        VMSTATE_UINT64(saved.head, AMDVIPPRLog),
        VMSTATE_UINT64(saved.tail, AMDVIPPRLog),
        VMSTATE_UINT64(saved.control, AMDVIPPRLog),
        VMSTATE_UINT64(saved.status, AMDVIPPRLog),
        VMSTATE_BOOL(saved_interrupt_due, AMDVIPPRLog),
        VMSTATE_END_OF_LIST()
    }
};

static bool has_log(void *opaque)
{
    const AMDVIState *s = opaque;

    return s->ppr_log;
}

static int subsection_pre_load(void *opaque)
{
    if (!has_log(opaque)) {
        error_report("amd-iommu: the incoming state has a PPR log, which the "
                     "device has with svm=on only");
        return -EINVAL;
    }
    return 0;
}

const VMStateDescription amdvi_vmstate_ppr = {
    .name = "amd-iommu/ppr",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = has_log,
    .pre_load = subsection_pre_load,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT_POINTER(ppr_log, AMDVIState, vmstate_ppr_log,
                               AMDVIPPRLog),
        VMSTATE_END_OF_LIST()
    }
};

/* ---- Life ---- */

void amdvi_ppr_init(AMDVIState *s, MemReentrancyGuard *guard)
{
    AMDVIPPRLog *log = g_new0(AMDVIPPRLog, 1);

    log->s = s;
    qemu_mutex_init(&log->lock);
    log->interrupt_bh = qemu_bh_new_guarded(send_interrupt, log, guard);
    qemu_add_vm_change_state_handler(vm_state_changed, log);
    s->ppr_log = log;
}

void amdvi_ppr_reset(AMDVIState *s)
{
    AMDVIPPRLog *log = s->ppr_log;

    if (log) {
        QEMU_LOCK_GUARD(&log->lock);
        log->reg = (PPRRegisters) { };
        qatomic_set(&log->interrupt_due, false);
    }
}
