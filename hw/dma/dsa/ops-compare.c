/*
 * Intel Data Streaming Accelerator (DSA): Compare and Compare Pattern
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dsa-internal.h"

/* Returns @n if there is none */
static size_t first_difference(const uint8_t *a, const uint8_t *b, size_t n)
{
    size_t i = 0;

    if (!memcmp(a, b, n)) {
        return n;
    }
    while (a[i] == b[i]) {
        i++;
    }
    return i;
}

/* Table 8-17 */
static void compare_finish(DSAJob *job)
{
    unsigned expected = job->desc.raw[DSA_DESC_EXPECTED_RESULT] & 1;

    if (!job->status) {
        job->bytes_completed = job->result ? job->bytes_completed : 0;
        if ((job->desc.flags & DSA_FLAG_CHECK_RESULT) &&
            job->result != expected) {
            job->status = DSA_STATUS_FALSE_PREDICATE;
        }
    }
}

/*
 * Compare what has been read of both operands.  A difference is reported
 * rather than a fault that follows it.
 */
static bool compare_chunk(DSAJob *job, const uint8_t *a, const uint8_t *b,
                          size_t n, bool ok)
{
    size_t same = first_difference(a, b, n);

    job->bytes_completed += same;
    if (same < n) {
        job->status = DSA_STATUS_NONE;
        job->fault_addr = 0;
        job->result = 1;
    }
    return ok && same == n && job->bytes_completed < job->desc.size;
}

static bool compare_step(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t *const *buf = job->engine->buf;
    size_t n = MIN(desc->size - job->bytes_completed, DSA_CHUNK);
    bool ok = dsa_read(job, desc->src + job->bytes_completed, buf[0], n, &n);

    ok &= dsa_read(job, desc->dst + job->bytes_completed, buf[1], n, &n);
    return compare_chunk(job, buf[0], buf[1], n, ok);
}

const DSAOperationType dsa_op_compare = {
    .step = compare_step,
    .finish = compare_finish,
};

/* The second operand is the pattern */
static bool compare_pattern_step(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t *const *buf = job->engine->buf;
    size_t n = MIN(desc->size - job->bytes_completed, DSA_CHUNK);
    bool ok;

    dsa_fill_pattern(buf[1], n, desc->dst, job->bytes_completed);
    ok = dsa_read(job, desc->src + job->bytes_completed, buf[0], n, &n);
    return compare_chunk(job, buf[0], buf[1], n, ok);
}

const DSAOperationType dsa_op_compare_pattern = {
    .step = compare_pattern_step,
    .finish = compare_finish,
};
