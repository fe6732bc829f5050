/*
 * Intel Data Streaming Accelerator (DSA): Create and Apply Delta Record
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "delta.h"
#include "dsa-internal.h"

/* Bytes compared in one step: their deltas fit into a buffer of the engine */
#define CREATE_CHUNK    (8 * KiB)
/* Bytes of a delta record that are applied in one step */
#define APPLY_CHUNK     (DSA_CHUNK / DSA_DELTA_SIZE * DSA_DELTA_SIZE)

QEMU_BUILD_BUG_ON(CREATE_CHUNK / DSA_DELTA_UNIT * DSA_DELTA_SIZE > DSA_CHUNK);
QEMU_BUILD_BUG_ON(2 * CREATE_CHUNK > DSA_CHUNK);

enum {
    DELTA_EQUAL,
    DELTA_COMPLETE,
    DELTA_OVERFLOW,
};

/*
 * Write the deltas of a chunk.  If not all can be written, Bytes Completed ends
 * before the first difference that is missing in the record.
 */
static bool create_write(DSAJob *job, const uint8_t *record, size_t size)
{
    uint64_t addr = ldq_le_p(job->desc.raw + DSA_DESC_DELTA_ADDR);
    size_t moved;
    bool ok = dsa_write(job, addr + job->delta, record, size, &moved);

    moved -= moved % DSA_DELTA_SIZE;
    job->delta += moved;
    if (!ok) {
        job->bytes_completed = dsa_delta_offset(record + moved);
    }
    return ok;
}

/* Prefetch the sources only: the size of the record is not known yet */
static void create_prefetch(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint32_t pos = job->bytes_completed;
    size_t ahead = MIN(desc->size - pos, DSA_PREFETCH);

    dsa_prefetch(job, desc->src + pos, ahead, DMA_DIRECTION_TO_DEVICE);
    dsa_prefetch(job, desc->dst + pos, ahead, DMA_DIRECTION_TO_DEVICE);
}

static bool create_step(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint32_t max_size = ldl_le_p(desc->raw + DSA_DESC_MAX_DELTA_SIZE);
    uint8_t *a = job->engine->buf[0], *b = a + CREATE_CHUNK;
    uint8_t *record = job->engine->buf[1];
    size_t n = MIN(desc->size - job->bytes_completed, CREATE_CHUNK);
    size_t size, compared;
    bool ok;

    if (dsa_should_prefetch(job)) {
        create_prefetch(job);
    }
    ok = dsa_read(job, desc->src + job->bytes_completed, a, n, &n);
    ok &= dsa_read(job, desc->dst + job->bytes_completed, b, n, &n);
    n -= n % DSA_DELTA_UNIT;
    compared = dsa_delta_create(a, b, n, job->bytes_completed / DSA_DELTA_UNIT,
                                record, max_size - job->delta, &size);
    if (!create_write(job, record, size)) {
        return false;
    }
    job->bytes_completed += compared;
    if (compared < n) {
        /* A fault behind the overflow is not reported */
        dsa_job_clear_error(job);
        job->result = DELTA_OVERFLOW;
        return false;
    }
    return ok && job->bytes_completed < desc->size;
}

static void create_finish(DSAJob *job)
{
    bool overflow = job->result == DELTA_OVERFLOW;

    stl_le_p(job->specific + DSA_CR_DELTA_SIZE - DSA_CR_SPECIFIC, job->delta);
    if (!overflow) {
        job->result = job->delta ? DELTA_COMPLETE : DELTA_EQUAL;
    }
    if (!job->status) {
        job->bytes_completed = overflow ? job->bytes_completed : 0;
        if ((job->desc.flags & DSA_FLAG_CHECK_RESULT) &&
            !extract32(job->desc.raw[DSA_DESC_EXPECTED_MASK], job->result, 1)) {
            job->status = DSA_STATUS_FALSE_PREDICATE;
        }
    }
}

const DSAOperationType dsa_op_create_delta = {
    .step = create_step,
    .finish = create_finish,
};

/* No offset may be lower than the one before; equal ones are valid (8.3.9) */
static bool apply_one(DSAJob *job, const uint8_t *delta)
{
    uint32_t offset = dsa_delta_offset(delta);
    size_t moved;

    if (offset + DSA_DELTA_UNIT < job->delta) {
        job->status = DSA_STATUS_DELTA_ORDER;
        return false;
    }
    if (offset >= job->desc.size) {
        job->status = DSA_STATUS_DELTA_OFFSET;
        return false;
    }
    if (!dsa_write(job, job->desc.dst + offset, delta + 2, DSA_DELTA_UNIT,
                   &moved)) {
        return false;
    }
    job->delta = offset + DSA_DELTA_UNIT;
    job->bytes_completed += DSA_DELTA_SIZE;
    return true;
}

static bool apply_chunk(DSAJob *job, const uint8_t *record, size_t n)
{
    size_t i;

    for (i = 0; i + DSA_DELTA_SIZE <= n; i += DSA_DELTA_SIZE) {
        if (!apply_one(job, record + i)) {
            return false;
        }
    }
    return true;
}

static bool apply_step(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint32_t size = ldl_le_p(desc->raw + DSA_DESC_DELTA_SIZE);
    uint8_t *record = job->engine->buf[0];
    size_t n;
    bool ok;

    size -= size % DSA_DELTA_SIZE;
    /* The pages of the destination are not known before the record is read */
    if (dsa_should_prefetch(job)) {
        dsa_prefetch(job, desc->src + job->bytes_completed,
                     MIN(size - job->bytes_completed, DSA_PREFETCH),
                     DMA_DIRECTION_TO_DEVICE);
    }
    n = MIN(size - job->bytes_completed, APPLY_CHUNK);
    ok = dsa_read(job, desc->src + job->bytes_completed, record, n, &n);
    return apply_chunk(job, record, n) && ok && job->bytes_completed < size;
}

const DSAOperationType dsa_op_apply_delta = {
    .step = apply_step,
    .finish = dsa_finish_move,
};
