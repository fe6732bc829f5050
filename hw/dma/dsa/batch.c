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

/* Descriptors of a batch that are read at once */
#define BATCH_FETCH 16

static DSAOperationFn *const operations[DSA_OP_COUNT] = {
    [DSA_OP_BATCH]              = dsa_op_batch,
    [DSA_OP_DRAIN]              = dsa_op_drain,
    [DSA_OP_MEMORY_MOVE]        = dsa_op_memory_move,
    [DSA_OP_FILL]               = dsa_op_fill,
    [DSA_OP_COMPARE]            = dsa_op_compare,
    [DSA_OP_COMPARE_PATTERN]    = dsa_op_compare_pattern,
    [DSA_OP_CREATE_DELTA]       = dsa_op_create_delta,
    [DSA_OP_APPLY_DELTA]        = dsa_op_apply_delta,
    [DSA_OP_DUALCAST]           = dsa_op_dualcast,
    [DSA_OP_CRC]                = dsa_op_crc,
    [DSA_OP_COPY_CRC]           = dsa_op_copy_crc,
    [DSA_OP_DIF_CHECK]          = dsa_op_dif_check,
    [DSA_OP_DIF_INSERT]         = dsa_op_dif_insert,
    [DSA_OP_DIF_STRIP]          = dsa_op_dif_strip,
    [DSA_OP_DIF_UPDATE]         = dsa_op_dif_update,
    [DSA_OP_CACHE_FLUSH]        = dsa_op_cache_flush,
};

/* Its first page stands for all of the destination */
static void job_readback(DSAJob *job)
{
    uint8_t byte;
    size_t moved;

    if (!job->status && (job->desc.flags & DSA_FLAG_DEST_READBACK) &&
        !dsa_read(job, job->desc.dst, &byte, 1, &moved)) {
        job->status = DSA_STATUS_WRITE_ERROR;
    }
}

void dsa_job_execute(DSAJob *job)
{
    DSAOperationFn *fn = NULL;

    if (dsa_descriptor_check(job)) {
        fn = operations[job->desc.operation];
    }
    if (fn) {
        fn(job);
        job_readback(job);
    }
    dsa_job_complete(job);
}

/* ---- Batch (3.8, 8.3.2) ---- */

/* Returns the status of the descriptor */
static DSAStatus batch_execute_one(DSAJob *batch, const DSADescriptor *desc,
                                   unsigned index)
{
    DSAJob job = {
        .s = batch->s,
        .engine = batch->engine,
        .work = batch->work,
        .desc = *desc,
        .in_batch = true,
        .batch_index = index,
    };

    dsa_job_execute(&job);
    return job.status;
}

/* Execute @n descriptors; false if the batch ends early */
static bool batch_execute(DSAJob *batch, const uint8_t *list, unsigned n,
                          bool *failed)
{
    unsigned i;

    for (i = 0; i < n; i++) {
        DSADescriptor desc;

        if (dsa_job_aborted(batch)) {
            return false;
        }
        dsa_descriptor_decode(&desc, list + i * DSA_DESC_SIZE);
        if (*failed && (desc.flags & DSA_FLAG_FENCE)) {
            return false;
        }
        if (batch_execute_one(batch, &desc, batch->bytes_completed) !=
            DSA_STATUS_SUCCESS) {
            *failed = true;
        }
        batch->bytes_completed++;
    }
    return true;
}

void dsa_op_batch(DSAJob *job)
{
    uint8_t list[BATCH_FETCH * DSA_DESC_SIZE];
    uint64_t addr = job->desc.src;
    unsigned left = job->desc.size;
    bool failed = false;

    while (left) {
        unsigned n = MIN(left, BATCH_FETCH);

        if (!dsa_read_blocking(job, addr, list, n * DSA_DESC_SIZE)) {
            if (job->status == DSA_STATUS_PAGE_FAULT_IR) {
                job->status = DSA_STATUS_BATCH_FAULT;
            }
            return;
        }
        if (!batch_execute(job, list, n, &failed)) {
            break;
        }
        addr += n * DSA_DESC_SIZE;
        left -= n;
    }
    if (failed) {
        job->status = DSA_STATUS_BATCH_ERROR;
    }
}

/* ---- Drain (3.12, 8.3.3) ---- */

static void drain_readback(DSAJob *job, uint32_t flag, uint64_t addr)
{
    uint8_t byte;

    if (!job->status && (job->desc.flags & flag) &&
        !dsa_read_blocking(job, addr, &byte, 1) &&
        job->status == DSA_STATUS_PAGE_FAULT_IR) {
        job->status = DSA_STATUS_READBACK_FAULT;
    }
}

void dsa_op_drain(DSAJob *job)
{
    DSAState *s = job->s;
    const DSAFilter filter = {
        .wqs = 1ULL << job->work->wq,
        .by_pasid = job->work->shared,
        .pasid = job->work->pasid,
        .end = job->work->seq,
    };

    WITH_QEMU_LOCK_GUARD(&s->lock) {
        s->drains++;
        while (!s->stopping && !dsa_job_aborted(job) &&
               dsa_wq_outstanding(s, &filter)) {
            qemu_cond_wait(&s->completed, &s->lock);
        }
        s->drains--;
    }
    drain_readback(job, DSA_FLAG_READBACK1_VALID, job->desc.src);
    drain_readback(job, DSA_FLAG_READBACK2_VALID, job->desc.dst);
}
