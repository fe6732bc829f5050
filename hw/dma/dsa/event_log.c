/*
 * Intel Data Streaming Accelerator (DSA): the Event Log (5.9)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The log is a ring in memory: engines append entries, one after the other, and
 * the guest removes them.  Only engines append entries; an error that does not
 * belong to a descriptor in execution goes to SWERROR.  Event Log Overflow is
 * not supported: an engine waits while the log is full.
 */

#include "qemu/osdep.h"
#include "hw/pci/pcie_ats.h"
#include "dsa-internal.h"

/* Minimum Event Log Size, in entries (9.2.16) */
#define EVENT_LOG_MIN_SIZE  64

static const uint64_t evlcfg_writable[DSA_EVLCFG_QWORDS] = {
    R_DSA_EVLCFG_PASID_EN_MASK | R_DSA_EVLCFG_PRIV_MASK |
    R_DSA_EVLCFG_BASE_MASK,
    R_DSA_EVLCFG1_SIZE_MASK | R_DSA_EVLCFG1_PASID_MASK,
};

static uint32_t log_size(const DSAState *s)
{
    return FIELD_EX64(s->event_log.cfg[1], DSA_EVLCFG1, SIZE);
}

static uint32_t log_tail(const DSAState *s)
{
    return FIELD_EX64(s->event_log.status, DSA_EVLSTATUS, TAIL);
}

/* The tail after the next entry */
static uint32_t log_next(const DSAState *s)
{
    return log_tail(s) + 1 < log_size(s) ? log_tail(s) + 1 : 0;
}

static uint64_t log_base(const DSAState *s)
{
    return s->event_log.cfg[0] & R_DSA_EVLCFG_BASE_MASK;
}

bool dsa_event_log_enabled(const DSAState *s)
{
    return s->has_event_log && FIELD_EX32(s->gencfg, DSA_GENCFG, EVENT_LOG);
}

/* ---- Registers ---- */

uint64_t dsa_event_log_read(const DSAState *s, hwaddr addr)
{
    return addr == A_DSA_EVLSTATUS
           ? s->event_log.status
           : s->event_log.cfg[(addr - A_DSA_EVLCFG) / 8];
}

static void write_status(DSAState *s, uint64_t val, uint64_t mask)
{
    uint64_t head = mask & R_DSA_EVLSTATUS_HEAD_MASK;
    uint64_t clear = val & mask & R_DSA_EVLSTATUS_INT_PENDING_MASK;

    s->event_log.status = (s->event_log.status & ~(head | clear)) |
                          (val & head);
    qemu_cond_broadcast(&s->completed);
}

void dsa_event_log_write(DSAState *s, hwaddr addr, uint64_t val, uint64_t mask)
{
    unsigned n = (addr - A_DSA_EVLCFG) / 8;

    if (!s->has_event_log) {
        return;
    }
    if (addr == A_DSA_EVLSTATUS) {
        write_status(s, val, mask);
    } else if (s->state == DSA_DISABLED) {
        mask &= evlcfg_writable[n];
        s->event_log.cfg[n] = (s->event_log.cfg[n] & ~mask) | (val & mask);
    }
}

DSACommandError dsa_event_log_check(const DSAState *s)
{
    const PCIDevice *pci = PCI_DEVICE(s);
    bool pasid = FIELD_EX64(s->event_log.cfg[0], DSA_EVLCFG, PASID_EN);
    bool priv = FIELD_EX64(s->event_log.cfg[0], DSA_EVLCFG, PRIV);

    if (dsa_event_log_enabled(s) &&
        (log_size(s) < EVENT_LOG_MIN_SIZE ||
         log_base(s) > -(uint64_t)log_size(s) * DSA_EVENT_SIZE)) {
        return DSA_CMDERR_EVENT_LOG;
    }
    if ((pasid && !pcie_pasid_enabled(pci)) ||
        (priv && !(pasid && pcie_pasid_priv_enabled(pci)))) {
        return DSA_CMDERR_PASID;
    }
    return DSA_CMDERR_SUCCESS;
}

void dsa_event_log_start(DSAState *s)
{
    if (dsa_event_log_enabled(s)) {
        s->event_log.status = 0;
    }
}

void dsa_event_log_reset_config(DSAState *s)
{
    memset(s->event_log.cfg, 0, sizeof(s->event_log.cfg));
}

void dsa_event_log_reset(DSAState *s)
{
    s->event_log = (DSAEventLog) { };
}

const char *dsa_event_log_check_load(const DSAState *s)
{
    const uint64_t status = R_DSA_EVLSTATUS_HEAD_MASK |
                            R_DSA_EVLSTATUS_TAIL_MASK |
                            R_DSA_EVLSTATUS_INT_PENDING_MASK;

    if (s->event_log.loaded != s->has_event_log) {
        return "event log: the property event-log differs";
    }
    if ((s->event_log.cfg[0] & ~evlcfg_writable[0]) ||
        (s->event_log.cfg[1] & ~evlcfg_writable[1])) {
        return "EVLCFG";
    }
    if ((s->event_log.status & ~status) ||
        (s->state != DSA_DISABLED && dsa_event_log_enabled(s) &&
         log_tail(s) >= log_size(s))) {
        return "EVLSTATUS";
    }
    return NULL;
}

/* ---- Appending ---- */

/* Called with DSAState.lock held */
static bool log_is_full(const DSAState *s)
{
    return log_next(s) ==
           FIELD_EX64(s->event_log.status, DSA_EVLSTATUS, HEAD);
}

/*
 * Wait until the engine may write the entry at the tail.  Called with
 * DSAState.lock held, which is released meanwhile.  Returns false if
 * interrupted.
 */
static bool log_begin(DSAJob *job)
{
    DSAState *s = job->s;

    while (!dsa_job_interrupted(job)) {
        if (!s->event_log.writing && !log_is_full(s)) {
            s->event_log.writing = true;
            return true;
        }
        qemu_cond_wait(&s->completed, &s->lock);
    }
    return false;
}

/*
 * Called with DSAState.lock held, which is released meanwhile.  Returns 0 or
 * -errno.
 */
static int log_write(DSAState *s, const uint8_t *entry)
{
    const uint64_t *cfg = s->event_log.cfg;
    const PCIATSDMATransfer transfer = {
        .pasid = FIELD_EX64(cfg[0], DSA_EVLCFG, PASID_EN)
                 ? FIELD_EX64(cfg[1], DSA_EVLCFG1, PASID) : PCI_NO_PASID,
        .flags = PCI_ATS_DMA_NO_PRI | (FIELD_EX64(cfg[0], DSA_EVLCFG, PRIV)
                                       ? PCI_ATS_DMA_PRIV : 0),
        .num_ranges = 1,
        .range = {
            { log_base(s) + (uint64_t)log_tail(s) * DSA_EVENT_SIZE,
              DMA_DIRECTION_FROM_DEVICE },
        },
        .len = DSA_EVENT_SIZE,
        .buf = (void *)entry,
    };
    int ret;

    qemu_mutex_unlock(&s->lock);
    ret = pci_ats_dma_run(s->dma, &transfer, NULL);
    qemu_mutex_lock(&s->lock);
    s->event_log.writing = false;
    qemu_cond_broadcast(&s->completed);
    return ret;
}

/* Pass the entry at the tail to the guest.  Called with DSAState.lock held. */
static void log_publish(DSAState *s)
{
    uint64_t *status = &s->event_log.status;

    *status = FIELD_DP64(*status, DSA_EVLSTATUS, TAIL, log_next(s));
    if (FIELD_EX32(s->genctrl, DSA_GENCTRL, EVENT_LOG_INT) &&
        !FIELD_EX64(*status, DSA_EVLSTATUS, INT_PENDING)) {
        *status |= R_DSA_EVLSTATUS_INT_PENDING_MASK;
        dsa_raise_cause(s, R_DSA_INTCAUSE_EVENT_LOG_MASK);
    }
}

bool dsa_event_log_append(DSAJob *job, const uint8_t *entry)
{
    DSAState *s = job->s;
    int ret;

    QEMU_LOCK_GUARD(&s->lock);
    if (!log_begin(job)) {
        return false;
    }
    ret = log_write(s, entry);
    /* The guest has not seen the entry, which can be written again */
    if (dsa_job_interrupted(job)) {
        return false;
    }
    if (ret) {
        dsa_swerror(s, DSA_SWERROR_EVENT_LOG, job->work->wq);
    } else {
        log_publish(s);
    }
    return true;
}
