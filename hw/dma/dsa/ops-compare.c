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
static void compare_done(DSAJob *job)
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
    return ok && same == n;
}

void dsa_op_compare(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t *const *buf = job->engine->buf;
    bool ok = true;

    while (ok && job->bytes_completed < desc->size && !dsa_job_aborted(job)) {
        size_t n = MIN(desc->size - job->bytes_completed, DSA_CHUNK);

        ok = dsa_read(job, desc->src + job->bytes_completed, buf[0], n, &n);
        ok &= dsa_read(job, desc->dst + job->bytes_completed, buf[1], n, &n);
        ok = compare_chunk(job, buf[0], buf[1], n, ok);
    }
    compare_done(job);
}

void dsa_op_compare_pattern(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t *const *buf = job->engine->buf;
    bool ok = true;
    size_t i;

    /* The second operand is the pattern; a chunk is a multiple of it */
    for (i = 0; i < MIN(desc->size, DSA_CHUNK); i += 8) {
        stq_le_p(buf[1] + i, desc->dst);
    }
    while (ok && job->bytes_completed < desc->size && !dsa_job_aborted(job)) {
        size_t n = MIN(desc->size - job->bytes_completed, DSA_CHUNK);

        ok = dsa_read(job, desc->src + job->bytes_completed, buf[0], n, &n);
        ok = compare_chunk(job, buf[0], buf[1], n, ok);
    }
    compare_done(job);
}
