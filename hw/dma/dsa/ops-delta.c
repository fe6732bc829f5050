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

/* Bytes compared at once: their deltas fit into a buffer of the engine */
#define CREATE_CHUNK    (8 * KiB)
/* Bytes of a delta record that are applied at once */
#define APPLY_CHUNK     (DSA_CHUNK / DSA_DELTA_SIZE * DSA_DELTA_SIZE)

QEMU_BUILD_BUG_ON(CREATE_CHUNK / DSA_DELTA_UNIT * DSA_DELTA_SIZE > DSA_CHUNK);
QEMU_BUILD_BUG_ON(2 * CREATE_CHUNK > DSA_CHUNK);

enum {
    DELTA_EQUAL,
    DELTA_COMPLETE,
    DELTA_OVERFLOW,
};

typedef struct DeltaCreation {
    uint64_t addr;              /* of the record */
    uint32_t max_size;
    uint32_t size;
    bool overflow;
} DeltaCreation;

/*
 * Write the deltas of a chunk.  If not all can be written, what has been
 * compared ends before the first difference that is not in the record.
 */
static bool create_write(DSAJob *job, DeltaCreation *c, const uint8_t *record,
                         size_t size)
{
    size_t moved;
    bool ok = dsa_write(job, c->addr + c->size, record, size, &moved);

    moved -= moved % DSA_DELTA_SIZE;
    c->size += moved;
    if (!ok) {
        job->bytes_completed = dsa_delta_offset(record + moved);
    }
    return ok;
}

/* False if this was the last chunk that can be done */
static bool create_chunk(DSAJob *job, DeltaCreation *c)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t *a = job->engine->buf[0], *b = a + CREATE_CHUNK;
    uint8_t *record = job->engine->buf[1];
    size_t n = MIN(desc->size - job->bytes_completed, CREATE_CHUNK);
    size_t size, compared;
    bool ok;

    ok = dsa_read(job, desc->src + job->bytes_completed, a, n, &n);
    ok &= dsa_read(job, desc->dst + job->bytes_completed, b, n, &n);
    n -= n % DSA_DELTA_UNIT;
    compared = dsa_delta_create(a, b, n, job->bytes_completed / DSA_DELTA_UNIT,
                                record, c->max_size - c->size, &size);
    if (!create_write(job, c, record, size)) {
        return false;
    }
    job->bytes_completed += compared;
    if (compared < n) {
        /* A fault behind that place does not matter */
        job->status = DSA_STATUS_NONE;
        job->fault_addr = 0;
        c->overflow = true;
    }
    return ok && !c->overflow;
}

void dsa_op_create_delta(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    DeltaCreation c = {
        .addr = ldq_le_p(desc->raw + DSA_DESC_DELTA_ADDR),
        .max_size = ldl_le_p(desc->raw + DSA_DESC_MAX_DELTA_SIZE),
    };
    bool more = true;

    while (more && job->bytes_completed < desc->size &&
           !dsa_job_aborted(job)) {
        more = create_chunk(job, &c);
    }
    stl_le_p(job->specific + DSA_CR_DELTA_SIZE - DSA_CR_SPECIFIC, c.size);
    job->result = c.overflow ? DELTA_OVERFLOW :
                  c.size ? DELTA_COMPLETE : DELTA_EQUAL;
    if (!job->status) {
        job->bytes_completed = c.overflow ? job->bytes_completed : 0;
        if ((desc->flags & DSA_FLAG_CHECK_RESULT) &&
            !extract32(desc->raw[DSA_DESC_EXPECTED_MASK], job->result, 1)) {
            job->status = DSA_STATUS_FALSE_PREDICATE;
        }
    }
}

/* @last is the offset of the delta before, or negative */
static bool apply_one(DSAJob *job, const uint8_t *delta, int64_t *last)
{
    uint32_t offset = dsa_delta_offset(delta);
    size_t moved;

    if (offset <= *last) {
        job->status = DSA_STATUS_DELTA_ORDER;
        return false;
    }
    if (offset >= job->desc.size) {
        job->status = DSA_STATUS_DELTA_OFFSET;
        return false;
    }
    *last = offset;
    return dsa_write(job, job->desc.dst + offset, delta + 2, DSA_DELTA_UNIT,
                     &moved);
}

static bool apply_chunk(DSAJob *job, const uint8_t *record, size_t n,
                        int64_t *last)
{
    size_t i;

    for (i = 0; i + DSA_DELTA_SIZE <= n; i += DSA_DELTA_SIZE) {
        if (!apply_one(job, record + i, last)) {
            return false;
        }
        job->bytes_completed += DSA_DELTA_SIZE;
    }
    return true;
}

void dsa_op_apply_delta(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint32_t size = ldl_le_p(desc->raw + DSA_DESC_DELTA_SIZE);
    uint8_t *record = job->engine->buf[0];
    int64_t last = -1;

    size -= size % DSA_DELTA_SIZE;
    while (job->bytes_completed < size && !dsa_job_aborted(job)) {
        size_t n = MIN(size - job->bytes_completed, APPLY_CHUNK);
        bool ok = dsa_read(job, desc->src + job->bytes_completed, record, n,
                           &n);

        if (!apply_chunk(job, record, n, &last) || !ok) {
            return;
        }
    }
    if (!job->abandoned) {
        job->bytes_completed = 0;
    }
}
