/*
 * Intel Data Streaming Accelerator (DSA): execution of a descriptor
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A job has four phases: check, run, read back, report.  A job that is
 * interrupted continues in the same phase.
 */

#include "qemu/osdep.h"
#include "dsa-internal.h"

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

bool dsa_job_interrupted(DSAJob *job)
{
    job->interrupted |= qatomic_read(&job->engine->abort) ||
                        !qatomic_read(&job->s->running);
    return job->interrupted;
}

void dsa_job_clear_error(DSAJob *job)
{
    job->status = DSA_STATUS_NONE;
    job->fault_write = false;
    job->fault_addr = 0;
}

/* ---- Phases ---- */

static bool job_check(DSAJob *job)
{
    bool runs = dsa_descriptor_check(job) && operations[job->desc.operation];

    job->phase = runs ? DSA_PHASE_RUN : DSA_PHASE_REPORT;
    return true;
}

static bool job_run(DSAJob *job)
{
    const DSAOperationType *op = operations[job->desc.operation];
    bool more = true;

    while (more) {
        more = !dsa_job_interrupted(job) && op->step(job);
        if (job->interrupted) {
            /* The result of the step may differ the next time */
            dsa_job_clear_error(job);
            job->result = 0;
            job->prefetch_at = 0;
            return false;
        }
    }
    op->finish(job);
    job->phase = DSA_PHASE_READBACK;
    return true;
}

/* Sets @end to the end of each destination; returns their number */
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
