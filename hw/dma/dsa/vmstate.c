/*
 * Intel Data Streaming Accelerator (DSA): migration
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The machine is stopped, and no engine executes anything: what it had begun
 * with is saved as it was put aside, and goes on from there.  A stream may hold
 * anything; what is not checked here is checked where it is used.
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "hw/pci/msix.h"
#include "delta.h"
#include "dsa-internal.h"

/* ---- Descriptors ---- */

static const VMStateDescription vmstate_dsa_work = {
    .name = "dsa/work",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_BUFFER(raw, DSAWork),
        VMSTATE_UINT64(seq, DSAWork),
        VMSTATE_UINT32(pasid, DSAWork),
        VMSTATE_BOOL(priv, DSAWork),
        VMSTATE_BOOL(shared, DSAWork),
        VMSTATE_BOOL(block_on_fault, DSAWork),
        VMSTATE_BOOL(user_int, DSAWork),
        VMSTATE_UINT8(wq, DSAWork),
        VMSTATE_UINT8(max_transfer, DSAWork),
        VMSTATE_UINT8(max_batch, DSAWork),
        VMSTATE_END_OF_LIST()
    }
};

static bool work_is_valid(const DSAState *s, const DSAWork *work)
{
    return work->wq < s->num_wqs && work->max_transfer <= DSA_MAX_TRANSFER &&
           work->max_batch <= DSA_MAX_BATCH && work->seq < s->next_seq;
}

static const VMStateDescription vmstate_dsa_job = {
    .name = "dsa/job",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_BUFFER(desc.raw, DSAJob),
        VMSTATE_UINT16(batch_index, DSAJob),
        VMSTATE_UINT8(phase, DSAJob),
        VMSTATE_UINT32(crc, DSAJob),
        VMSTATE_UINT32(delta, DSAJob),
        VMSTATE_BOOL(batch_failed, DSAJob),
        VMSTATE_UINT8(status, DSAJob),
        VMSTATE_BOOL(fault_write, DSAJob),
        VMSTATE_UINT8(result, DSAJob),
        VMSTATE_UINT32(bytes_completed, DSAJob),
        VMSTATE_UINT64(fault_addr, DSAJob),
        VMSTATE_BUFFER(specific, DSAJob),
        VMSTATE_END_OF_LIST()
    }
};

/* Has no error been found, which is so until the operation has ended? */
static bool job_has_no_error(const DSAJob *job)
{
    return !job->status && !job->result && !job->fault_write &&
           !job->fault_addr;
}

static bool job_has_not_begun(const DSAJob *job)
{
    return job_has_no_error(job) && !job->bytes_completed && !job->delta &&
           !job->crc && !job->batch_failed &&
           buffer_is_zero(job->specific, sizeof(job->specific));
}

/* How far the operation can have come without having ended */
static bool job_progress_is_valid(const DSAJob *job)
{
    const uint8_t *raw = job->desc.raw;

    switch (job->desc.operation) {
    case DSA_OP_NOOP:
        return false;
    case DSA_OP_DRAIN:
        return !job->bytes_completed;
    case DSA_OP_CREATE_DELTA:
        return job->bytes_completed % DSA_DELTA_UNIT == 0 &&
               job->bytes_completed < job->desc.size &&
               job->delta <= ldl_le_p(raw + DSA_DESC_MAX_DELTA_SIZE);
    case DSA_OP_APPLY_DELTA:
        return job->bytes_completed % DSA_DELTA_SIZE == 0 &&
               job->bytes_completed < ldl_le_p(raw + DSA_DESC_DELTA_SIZE);
    default:
        return job->bytes_completed < job->desc.size;
    }
}

static bool job_load(DSAEngine *engine, DSAJob *job, bool in_batch)
{
    uint8_t raw[DSA_DESC_SIZE];

    memcpy(raw, job->desc.raw, sizeof(raw));
    dsa_descriptor_decode(&job->desc, raw);
    job->s = engine->s;
    job->engine = engine;
    job->work = &engine->work;
    job->in_batch = in_batch;
    job->asked = 0;
    switch (job->phase) {
    case DSA_PHASE_CHECK:
        return job_has_not_begun(job);
    case DSA_PHASE_RUN:
        return job_has_no_error(job) && dsa_descriptor_can_run(job) &&
               job_progress_is_valid(job);
    case DSA_PHASE_READBACK:
    case DSA_PHASE_REPORT:
        return true;
    case DSA_PHASE_SETTLE:
        return !in_batch;
    default:
        return false;
    }
}

/* ---- Engines ---- */

static const VMStateDescription vmstate_dsa_engine = {
    .name = "dsa/engine",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_BOOL(busy, DSAEngine),
        VMSTATE_STRUCT(work, DSAEngine, 1, vmstate_dsa_work, DSAWork),
        VMSTATE_STRUCT(job, DSAEngine, 1, vmstate_dsa_job, DSAJob),
        VMSTATE_BOOL(has_child, DSAEngine),
        VMSTATE_STRUCT(child, DSAEngine, 1, vmstate_dsa_job, DSAJob),
        VMSTATE_END_OF_LIST()
    }
};

static bool child_load(DSAEngine *engine)
{
    const DSAJob *batch = &engine->job;

    return !engine->has_child ||
           (batch->phase == DSA_PHASE_RUN &&
            batch->desc.operation == DSA_OP_BATCH &&
            job_load(engine, &engine->child, true));
}

static bool engine_load(DSAState *s, DSAEngine *engine)
{
    engine->abort = false;
    engine->list_len = 0;
    /* Its page requests may have come along */
    engine->was_put_aside = true;
    return !engine->busy ||
           (work_is_valid(s, &engine->work) &&
            job_load(engine, &engine->job, false) && child_load(engine));
}

/* ---- Groups and work queues ---- */

static const VMStateDescription vmstate_dsa_group = {
    .name = "dsa/group",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64_ARRAY(wqs, DSAGroup, 4),
        VMSTATE_UINT64(engines, DSAGroup),
        VMSTATE_UINT64(flags, DSAGroup),
        VMSTATE_END_OF_LIST()
    }
};

/* The ring is saved from its first entry on */
static int wq_pre_save(void *opaque)
{
    DSAWQ *wq = opaque;
    g_autofree DSAWork *ring = NULL;
    uint32_t i;

    if (!wq->head) {
        return 0;
    }
    ring = g_new(DSAWork, wq->capacity);
    for (i = 0; i < wq->capacity; i++) {
        ring[i] = wq->ring[(wq->head + i) % wq->capacity];
    }
    memcpy(wq->ring, ring, wq->capacity * sizeof(*ring));
    wq->head = 0;
    return 0;
}

static bool wq_occupancy_is_valid(void *opaque, int version_id)
{
    DSAWQ *wq = opaque;

    return wq->occupancy <= wq->capacity;
}

static const VMStateDescription vmstate_dsa_wq = {
    .name = "dsa/wq",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = wq_pre_save,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64_ARRAY(cfg, DSAWQ, DSA_WQCFG_QWORDS),
        VMSTATE_UINT32(state, DSAWQ),
        VMSTATE_UINT32(occupancy, DSAWQ),
        VMSTATE_VALIDATE("Occupancy", wq_occupancy_is_valid),
        VMSTATE_STRUCT_VARRAY_POINTER_UINT32(ring, DSAWQ, occupancy,
                                             vmstate_dsa_work, DSAWork),
        VMSTATE_END_OF_LIST()
    }
};

static bool wq_load(DSAState *s, DSAWQ *wq)
{
    uint32_t i;

    wq->head = 0;
    for (i = 0; i < wq->occupancy; i++) {
        if (!work_is_valid(s, &wq->ring[i])) {
            return false;
        }
    }
    return wq->state < DSA_HALTED;
}

/* ---- Commands ---- */

static const VMStateDescription vmstate_dsa_command = {
    .name = "dsa/command",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(reg, DSACommand),
        VMSTATE_BOOL(waits, DSACommand),
        VMSTATE_BOOL(done, DSACommand),
        VMSTATE_UINT64(filter.wqs, DSACommand),
        VMSTATE_UINT32(filter.pasid, DSACommand),
        VMSTATE_BOOL(filter.by_pasid, DSACommand),
        VMSTATE_UINT64(filter.end, DSACommand),
        VMSTATE_END_OF_LIST()
    }
};

/* A command that disables the device waits for all descriptors, for no more */
static bool command_is_of_all(const DSAState *s)
{
    const DSAFilter *filter = &s->cmd.filter;

    return (s->state == DSA_DRAINING || s->state == DSA_HALTED) &&
           filter->wqs == UINT64_MAX && !filter->by_pasid &&
           filter->end == s->next_seq;
}

/* With the lock, once descriptors have been loaded */
static bool command_is_valid(DSAState *s)
{
    DSACommandCode code = FIELD_EX32(s->cmd.reg, DSA_CMD, CODE);

    if (s->cmd.filter.end > s->next_seq ||
        (s->cmd.done && (!s->cmd.waits ||
                         dsa_wq_outstanding(s, &s->cmd.filter)))) {
        return false;
    }
    return !s->cmd.waits ||
           (code != DSA_CMD_DISABLE_DEVICE && code != DSA_CMD_RESET_DEVICE) ||
           command_is_of_all(s);
}

/* ---- The device ---- */

static const VMStateDescription vmstate_dsa_engine_log = {
    .name = "dsa/engine-log",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_BOOL(job.error_logged, DSAEngine),
        VMSTATE_BOOL(job.record_logged, DSAEngine),
        VMSTATE_BOOL(job.record_written, DSAEngine),
        VMSTATE_BOOL(child.record_written, DSAEngine),
        VMSTATE_END_OF_LIST()
    }
};

static bool event_log_needed(void *opaque)
{
    return DSA(opaque)->has_event_log;
}

static int event_log_post_load(void *opaque, int version_id)
{
    DSA(opaque)->event_log.loaded = true;
    return 0;
}

static const VMStateDescription vmstate_dsa_event_log = {
    .name = "dsa/event-log",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = event_log_needed,
    .post_load = event_log_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64_ARRAY(event_log.cfg, DSAState, DSA_EVLCFG_QWORDS),
        VMSTATE_UINT64(event_log.status, DSAState),
        VMSTATE_STRUCT_VARRAY_UINT32(engines, DSAState, num_engines, 1,
                                     vmstate_dsa_engine_log, DSAEngine),
        VMSTATE_END_OF_LIST()
    }
};

/* Nothing of a stream that is refused is gone on with; with the lock */
static void dsa_forget_work(DSAState *s)
{
    unsigned i;

    s->state = DSA_DISABLED;
    s->cmd = (DSACommand) { };
    s->next_seq = 0;
    for (i = 0; i < s->num_wqs; i++) {
        s->wqs[i].state = DSA_DISABLED;
        s->wqs[i].occupancy = 0;
    }
    dsa_engines_discard(s);
}

/* What a stream need not hold; the device may have been in use */
static int dsa_pre_load(void *opaque)
{
    DSAState *s = opaque;
    unsigned i;

    QEMU_LOCK_GUARD(&s->lock);
    s->event_log.loaded = false;
    for (i = 0; i < s->num_engines; i++) {
        DSAEngine *engine = &s->engines[i];

        engine->job.error_logged = false;
        engine->job.record_logged = false;
        engine->job.record_written = false;
        engine->child.record_written = false;
    }
    return 0;
}

static int dsa_post_load(void *opaque, int version_id)
{
    DSAState *s = opaque;
    bool ok = s->state <= DSA_HALTED && s->next_seq <= INT64_MAX;
    unsigned i;

    QEMU_LOCK_GUARD(&s->lock);
    /*
     * Arbiters begin a new round (4.1), as dsa_config_apply() has it for
     * credits: whose turn it was is not state.
     */
    for (i = 0; i < s->num_groups; i++) {
        s->groups[i].next_wq = 0;
    }
    for (i = 0; i < s->num_wqs; i++) {
        ok = ok && wq_load(s, &s->wqs[i]) &&
             (s->wqs[i].state != DSA_ENABLED || s->state == DSA_ENABLED) &&
             (s->wqs[i].state == DSA_DISABLED || s->state != DSA_DISABLED);
    }
    for (i = 0; i < s->num_engines; i++) {
        ok = ok && engine_load(s, &s->engines[i]);
    }
    /* Rings have room for what a valid configuration tells */
    if (!ok || !command_is_valid(s) || !dsa_event_log_load(s) ||
        (s->state != DSA_DISABLED && dsa_config_check_groups(s))) {
        dsa_forget_work(s);
        return -EINVAL;
    }
    dsa_wq_load(s);
    if (s->state != DSA_DISABLED) {
        dsa_config_apply(s);
    }
    return 0;
}

const VMStateDescription vmstate_dsa = {
    .name = TYPE_DSA,
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_load = dsa_pre_load,
    .post_load = dsa_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, DSAState),
        VMSTATE_MSIX(parent_obj, DSAState),
        VMSTATE_UINT32_EQUAL(num_engines, DSAState, "property engines differs"),
        VMSTATE_UINT32_EQUAL(num_groups, DSAState, "property groups differs"),
        VMSTATE_UINT32_EQUAL(num_wqs, DSAState,
                             "property work-queues differs"),
        VMSTATE_UINT32_EQUAL(total_wq_size, DSAState,
                             "property work-queue-entries differs"),
        VMSTATE_UINT32(state, DSAState),
        VMSTATE_UINT32(reset_type, DSAState),
        VMSTATE_UINT32(gencfg, DSAState),
        VMSTATE_UINT32(genctrl, DSAState),
        VMSTATE_UINT32(intcause, DSAState),
        VMSTATE_UINT32(cmdstatus, DSAState),
        VMSTATE_UINT64_ARRAY(swerror, DSAState, DSA_SWERROR_QWORDS),
        VMSTATE_UINT32_ARRAY(msixperm, DSAState, DSA_MAX_VECTORS),
        VMSTATE_BOOL_ARRAY(int_handles, DSAState, DSA_MAX_VECTORS),
        VMSTATE_BOOL_ARRAY(raised, DSAState, DSA_MAX_VECTORS),
        VMSTATE_STRUCT(cmd, DSAState, 1, vmstate_dsa_command, DSACommand),
        VMSTATE_UINT64(next_seq, DSAState),
        VMSTATE_STRUCT_VARRAY_UINT32(groups, DSAState, num_groups, 1,
                                     vmstate_dsa_group, DSAGroup),
        VMSTATE_STRUCT_VARRAY_UINT32(wqs, DSAState, num_wqs, 1,
                                     vmstate_dsa_wq, DSAWQ),
        VMSTATE_STRUCT_VARRAY_UINT32(engines, DSAState, num_engines, 1,
                                     vmstate_dsa_engine, DSAEngine),
        VMSTATE_END_OF_LIST()
    },
    .subsections = (const VMStateDescription *const []) {
        &vmstate_dsa_event_log,
        NULL
    }
};
