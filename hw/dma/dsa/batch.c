/*
 * Intel Data Streaming Accelerator (DSA): execution, batches and drains
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An engine executes the descriptors of a batch one after the other, so that
 * a Fence has only errors to look at (3.9).
 */

#include "qemu/osdep.h"
#include "dsa-internal.h"

static const DSAOperationType dsa_op_batch, dsa_op_drain;

static const DSAOperationType *const operations[DSA_OP_COUNT] = {
    [DSA_OP_BATCH]              = &dsa_op_batch,
    [DSA_OP_DRAIN]              = &dsa_op_drain,
    [DSA_OP_MEMORY_MOVE]        = &dsa_op_memory_move,
    [DSA_OP_FILL]               = &dsa_op_fill,
    [DSA_OP_COMPARE]            = &dsa_op_compare,
    [DSA_OP_COMPARE_PATTERN]    = &dsa_op_compare_pattern,
    [DSA_OP_CREATE_DELTA]       = &dsa_op_create_delta,
    [DSA_OP_APPLY_DELTA]        = &dsa_op_apply_delta,
    [DSA_OP_DUALCAST]           = &dsa_op_dualcast,
    [DSA_OP_CRC]                = &dsa_op_crc,
    [DSA_OP_COPY_CRC]           = &dsa_op_copy_crc,
    [DSA_OP_DIF_CHECK]          = &dsa_op_dif,
    [DSA_OP_DIF_INSERT]         = &dsa_op_dif,
    [DSA_OP_DIF_STRIP]          = &dsa_op_dif,
    [DSA_OP_DIF_UPDATE]         = &dsa_op_dif,
    [DSA_OP_CACHE_FLUSH]        = &dsa_op_cache_flush,
};

/* ---- Phases ---- */

static bool job_check(DSAJob *job)
{
    bool runs = dsa_descriptor_check(job) && operations[job->desc.operation];

    job->phase = runs ? DSA_PHASE_RUN : DSA_PHASE_REPORT;
    return true;
}

void dsa_job_clear_error(DSAJob *job)
{
    job->status = DSA_STATUS_NONE;
    job->fault_write = false;
    job->fault_addr = 0;
}

static bool job_run(DSAJob *job)
{
    const DSAOperationType *op = operations[job->desc.operation];
    bool more = true;

    while (more) {
        more = !dsa_job_interrupted(job) && op->step(job);
        if (job->interrupted) {
            /* What the step has found may be different next time */
            dsa_job_clear_error(job);
            job->result = 0;
            job->asked = 0;
            return false;
        }
    }
    op->finish(job);
    job->phase = DSA_PHASE_READBACK;
    return true;
}

/* Where what was written to each destination ends; returns their number */
static unsigned job_destinations(const DSAJob *job, uint64_t *end)
{
    const DSADescriptor *desc = &job->desc;

    switch (desc->operation) {
    case DSA_OP_CREATE_DELTA:
        end[0] = ldq_le_p(desc->raw + DSA_DESC_DELTA_ADDR) + job->delta;
        return job->delta ? 1 : 0;
    case DSA_OP_APPLY_DELTA:
        end[0] = desc->dst + job->delta;
        return job->delta ? 1 : 0;
    case DSA_OP_DUALCAST:
        end[0] = desc->dst + desc->size;
        end[1] = ldq_le_p(desc->raw + DSA_DESC_DST2) + desc->size;
        return 2;
    default:
        end[0] = desc->dst + dsa_descriptor_dst_size(desc);
        return 1;
    }
}

/* Destination Readback: read the last byte of each destination (8.1.3) */
static bool job_readback(DSAJob *job)
{
    bool wanted = job->desc.flags & DSA_FLAG_DEST_READBACK;
    uint64_t end[2];
    unsigned i, n = wanted ? job_destinations(job, end) : 0;
    uint8_t byte;
    size_t moved;

    for (i = 0; i < n && !job->status; i++) {
        if (dsa_read(job, end[i] - 1, &byte, 1, &moved)) {
            continue;
        }
        if (job->interrupted) {
            return false;
        }
        job->status = DSA_STATUS_WRITE_ERROR;
    }
    job->phase = DSA_PHASE_REPORT;
    return true;
}

bool dsa_job_execute(DSAJob *job)
{
    static bool (*const phases[])(DSAJob *job) = {
        [DSA_PHASE_CHECK] = job_check,
        [DSA_PHASE_RUN] = job_run,
        [DSA_PHASE_READBACK] = job_readback,
    };

    job->interrupted = false;
    while (job->phase != DSA_PHASE_REPORT) {
        if (!phases[job->phase](job)) {
            return false;
        }
    }
    return dsa_job_complete(job);
}

/* ---- Batch (3.8, 8.3.2) ---- */

/* The descriptor whose turn it is, or NULL */
static const uint8_t *batch_next(DSAJob *batch)
{
    DSAEngine *engine = batch->engine;
    uint32_t index = batch->bytes_completed;
    uint32_t n = MIN(batch->desc.size - index, DSA_BATCH_FETCH);
    uint64_t addr = batch->desc.src + (uint64_t)index * DSA_DESC_SIZE;

    if (index - engine->list_first >= engine->list_len) {
        engine->list_len = 0;
        if (!dsa_read_blocking(batch, addr, engine->list, n * DSA_DESC_SIZE)) {
            return NULL;
        }
        engine->list_first = index;
        engine->list_len = n;
    }
    return engine->list[index - engine->list_first];
}

/* False if the batch ends before its next descriptor */
static bool batch_begin_child(DSAJob *batch)
{
    DSAEngine *engine = batch->engine;
    const uint8_t *raw = batch_next(batch);

    if (!raw) {
        if (batch->status == DSA_STATUS_PAGE_FAULT_IR) {
            batch->status = DSA_STATUS_BATCH_FAULT;
        }
        return false;
    }
    engine->child = (DSAJob) {
        .s = batch->s,
        .engine = engine,
        .work = batch->work,
        .in_batch = true,
        .batch_index = batch->bytes_completed,
    };
    dsa_descriptor_decode(&engine->child.desc, raw);
    engine->has_child = !batch->batch_failed ||
                        !(engine->child.desc.flags & DSA_FLAG_FENCE);
    return engine->has_child;
}

static bool batch_step(DSAJob *job)
{
    DSAEngine *engine = job->engine;

    if (!engine->has_child && !batch_begin_child(job)) {
        return false;
    }
    if (!dsa_job_execute(&engine->child)) {
        job->interrupted = true;
        return false;
    }
    engine->has_child = false;
    job->batch_failed |= engine->child.status != DSA_STATUS_SUCCESS;
    job->bytes_completed++;
    return job->bytes_completed < job->desc.size;
}

static void batch_finish(DSAJob *job)
{
    if (!job->status && job->batch_failed) {
        job->status = DSA_STATUS_BATCH_ERROR;
    }
}

static const DSAOperationType dsa_op_batch = {
    .step = batch_step,
    .finish = batch_finish,
};

/* ---- Drain (3.12, 8.3.3) ---- */

static void drain_readback(DSAJob *job, uint32_t flag, uint64_t addr)
{
    uint8_t byte;

    if (!job->status && !job->interrupted && (job->desc.flags & flag) &&
        !dsa_read_blocking(job, addr, &byte, 1) &&
        job->status == DSA_STATUS_PAGE_FAULT_IR) {
        job->status = DSA_STATUS_READBACK_FAULT;
    }
}

static bool drain_step(DSAJob *job)
{
    DSAState *s = job->s;
    const DSAFilter filter = {
        .wqs = 1ULL << job->work->wq,
        .by_pasid = job->work->shared,
        .pasid = job->work->pasid,
        .end = job->work->seq,
    };

    WITH_QEMU_LOCK_GUARD(&s->lock) {
        while (!dsa_job_interrupted(job) && dsa_wq_outstanding(s, &filter)) {
            qemu_cond_wait(&s->completed, &s->lock);
        }
    }
    drain_readback(job, DSA_FLAG_READBACK1_VALID, job->desc.src);
    drain_readback(job, DSA_FLAG_READBACK2_VALID, job->desc.dst);
    return false;
}

static void drain_finish(DSAJob *job)
{
}

static const DSAOperationType dsa_op_drain = {
    .step = drain_step,
    .finish = drain_finish,
};
