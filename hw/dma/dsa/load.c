/*
 * Intel Data Streaming Accelerator (DSA): checks of an incoming state
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each check returns NULL, or the name that vmstate.c or the specification has
 * for a field that is invalid.
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "delta.h"
#include "dsa-internal.h"

/* ---- Descriptors ---- */

static const char *check_work(const DSAState *s, const DSAWork *work)
{
    if (work->wq >= s->num_wqs) {
        return "work.wq";
    }
    if (work->max_transfer > DSA_MAX_TRANSFER) {
        return "work.max_transfer";
    }
    if (work->max_batch > DSA_MAX_BATCH) {
        return "work.max_batch";
    }
    if (work->seq >= s->next_seq) {
        return "work.seq";
    }
    if (work->pasid > PCI_PASID_MAX &&
        (work->pasid != PCI_NO_PASID || work->priv || work->shared)) {
        return "work.pasid";
    }
    return NULL;
}

/* An operation has no error until it ends */
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

/* Returns whether Bytes Completed can belong to an unfinished operation */
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

static const char *check_running_job(const DSAJob *job)
{
    if (!job_has_no_error(job)) {
        return "job.status";
    }
    if (!dsa_descriptor_can_run(job)) {
        return "job.desc";
    }
    return job_progress_is_valid(job) ? NULL : "job.bytes_completed";
}

/* Set the pointers and the prefetch state, which the stream does not hold */
static void link_job(DSAEngine *engine, DSAJob *job, bool in_batch)
{
    job->s = engine->s;
    job->engine = engine;
    job->work = &engine->work;
    job->in_batch = in_batch;
    job->prefetch_at = 0;
}

static const char *check_job(DSAEngine *engine, DSAJob *job, bool in_batch)
{
    uint8_t raw[DSA_DESC_SIZE];

    memcpy(raw, job->desc.raw, sizeof(raw));
    dsa_descriptor_decode(&job->desc, raw);
    link_job(engine, job, in_batch);
    switch (job->phase) {
    case DSA_PHASE_CHECK:
        return job_has_not_begun(job) ? NULL : "job.phase";
    case DSA_PHASE_RUN:
        return check_running_job(job);
    case DSA_PHASE_READBACK:
        return dsa_descriptor_can_run(job) ? NULL : "job.desc";
    case DSA_PHASE_REPORT:
        return job->status || dsa_descriptor_can_run(job) ? NULL : "job.desc";
    case DSA_PHASE_SETTLE:
        return in_batch ? "job.phase" : NULL;
    default:
        return "job.phase";
    }
}

/* ---- Engines ---- */

static const char *check_child(DSAEngine *engine)
{
    const DSAJob *batch = &engine->job;

    if (!engine->has_child) {
        return NULL;
    }
    if (batch->phase != DSA_PHASE_RUN ||
        batch->desc.operation != DSA_OP_BATCH) {
        return "engine.has_child";
    }
    if (engine->child.batch_index != batch->bytes_completed) {
        return "child.batch_index";
    }
    return check_job(engine, &engine->child, true);
}

static const char *check_engine(DSAState *s, DSAEngine *engine)
{
    const char *invalid;

    engine->s = s;
    if (!engine->busy) {
        return NULL;
    }
    /* Halt abandons all descriptors; Disable waits until they have ended */
    if (s->state == DSA_DISABLED ||
        (s->state == DSA_HALTED && engine->job.phase != DSA_PHASE_SETTLE)) {
        return "engine.busy";
    }
    invalid = check_work(s, &engine->work);
    if (!invalid) {
        invalid = check_job(engine, &engine->job, false);
    }
    return invalid ?: check_child(engine);
}

static void commit_engine(DSAEngine *engine, const DSAEngine *from)
{
    engine->busy = from->busy;
    engine->work = from->work;
    engine->job = from->job;
    engine->has_child = from->has_child;
    engine->child = from->child;
    link_job(engine, &engine->job, false);
    link_job(engine, &engine->child, true);
    engine->abort = false;
    engine->list_len = 0;
    /* The stream may hold outstanding page requests of the descriptor */
    engine->was_suspended = true;
}

/* ---- Work queues ---- */

/* The WQ Enable Checks (5.2) of fields that are constant while enabled */
static const char *check_enabled_wq(const DSAState *s, const DSAWQ *wq)
{
    if (s->state == DSA_DISABLED ||
        (wq->state == DSA_ENABLED && s->state != DSA_ENABLED)) {
        return "wq.state";
    }
    if (!DSA_WQ_FIELD(wq, 0, SIZE) || !DSA_WQ_FIELD(wq, 1, PRIORITY) ||
        DSA_WQ_FIELD(wq, 1, MAX_BATCH) > DSA_MAX_BATCH ||
        DSA_WQ_FIELD(wq, 1, ATS_DISABLE) ||
        DSA_WQ_FIELD(wq, 2, OCC_INT_TABLE)) {
        return "WQCFG";
    }
    return NULL;
}

static const char *check_wq(const DSAState *s, const DSAWQ *wq)
{
    const char *invalid = NULL;
    uint32_t i;

    if (wq->state >= DSA_HALTED) {
        return "wq.state";
    }
    if (wq->state != DSA_DISABLED) {
        invalid = check_enabled_wq(s, wq);
    }
    if (!invalid && wq->occupancy > (wq->state == DSA_DISABLED
                                     ? 0 : DSA_WQ_FIELD(wq, 0, SIZE))) {
        invalid = "wq.occupancy";
    }
    for (i = 0; !invalid && i < wq->occupancy; i++) {
        invalid = check_work(s, &wq->ring[i]);
        if (!invalid && i && wq->ring[i].seq <= wq->ring[i - 1].seq) {
            invalid = "work.seq";
        }
    }
    return invalid;
}

static void commit_wq(DSAWQ *wq, const DSAWQ *from)
{
    memcpy(wq->cfg, from->cfg, sizeof(wq->cfg));
    wq->state = from->state;
    wq->head = 0;
    wq->occupancy = from->occupancy;
    memcpy(wq->ring, from->ring, from->occupancy * sizeof(*wq->ring));
}

/* ---- Commands ---- */

/* A command that disables the device waits for exactly all descriptors */
static bool command_is_of_all(const DSAState *s)
{
    const DSAFilter *filter = &s->cmd.filter;

    return (s->state == DSA_DRAINING || s->state == DSA_HALTED) &&
           filter->wqs == UINT64_MAX && !filter->by_pasid &&
           filter->end == s->next_seq;
}

static const char *check_command(DSAState *s)
{
    DSACommandCode code = FIELD_EX32(s->cmd.reg, DSA_CMD, CODE);

    if (s->cmd.filter.end > s->next_seq) {
        return "cmd.filter.end";
    }
    if (s->cmd.done && (!s->cmd.waits ||
                        dsa_wq_outstanding(s, &s->cmd.filter))) {
        return "cmd.done";
    }
    if (s->cmd.waits != FIELD_EX32(s->cmdstatus, DSA_CMDSTATUS, ACTIVE)) {
        return "cmd.waits";
    }
    return !s->cmd.waits ||
           (code != DSA_CMD_DISABLE_DEVICE && code != DSA_CMD_RESET_DEVICE) ||
           command_is_of_all(s) ? NULL : "cmd.filter";
}

/* ---- The device ---- */

static const char *check_state(const DSAState *s)
{
    if (s->state > DSA_HALTED) {
        return "state";
    }
    if (s->reset_type > DSA_RESET_FLR) {
        return "reset_type";
    }
    return s->next_seq > INT64_MAX ? "next_seq" : NULL;
}

const char *dsa_load_check(DSAState *s)
{
    const char *invalid = check_state(s) ?: dsa_config_reserved(s);
    unsigned i;

    /* The rings are large enough for every valid configuration */
    if (!invalid && s->state != DSA_DISABLED && dsa_enable_check_groups(s)) {
        invalid = "GRPCFG";
    }
    for (i = 0; !invalid && i < s->num_wqs; i++) {
        invalid = check_wq(s, &s->wqs[i]);
    }
    for (i = 0; !invalid && i < s->num_engines; i++) {
        invalid = check_engine(s, &s->engines[i]);
    }
    return invalid ?: check_command(s) ?: dsa_event_log_check_load(s);
}

static void commit_registers(DSAState *s, const DSAState *image)
{
    s->state = image->state;
    s->reset_type = image->reset_type;
    s->gencfg = image->gencfg;
    s->genctrl = image->genctrl;
    s->intcause = image->intcause;
    s->cmdstatus = image->cmdstatus;
    memcpy(s->swerror, image->swerror, sizeof(s->swerror));
    s->event_log = image->event_log;
    memcpy(s->msixperm, image->msixperm, sizeof(s->msixperm));
    memcpy(s->raised, image->raised, sizeof(s->raised));
    s->cmd = image->cmd;
    s->next_seq = image->next_seq;
}

void dsa_load_commit(DSAState *s, const DSAState *image)
{
    unsigned i;

    commit_registers(s, image);
    /*
     * The arbiters begin a new round (4.1): neither credits, which
     * dsa_enable_assign_groups() clears, nor the next WQ migrate.
     */
    for (i = 0; i < s->num_groups; i++) {
        s->groups[i] = image->groups[i];
    }
    for (i = 0; i < s->num_wqs; i++) {
        commit_wq(&s->wqs[i], &image->wqs[i]);
    }
    for (i = 0; i < s->num_engines; i++) {
        commit_engine(&s->engines[i], &image->engines[i]);
    }
    dsa_wq_load(s);
    if (s->state != DSA_DISABLED) {
        dsa_enable_assign_groups(s);
    }
}
