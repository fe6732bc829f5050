/*
 * Intel Data Streaming Accelerator (DSA): Batch (3.8, 8.3.2)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An engine executes the descriptors of a batch one after the other, so that a
 * Fence only checks for errors (3.9).
 */

#include "qemu/osdep.h"
#include "dsa-internal.h"

/* Returns the next descriptor of the batch, or NULL on an error */
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

/* Returns false if the batch ends before its next descriptor */
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

const DSAOperationType dsa_op_batch = {
    .step = batch_step,
    .finish = batch_finish,
};
