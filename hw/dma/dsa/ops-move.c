/*
 * Intel Data Streaming Accelerator (DSA): operations that write memory
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Memory Move, Fill, Memory Copy with Dualcast, Cache Flush (8.3.4, 8.3.5,
 * 8.3.10, 8.3.26).  Bytes Completed counts what has been read and written;
 * a chunk that could be read in part is written as far as it was read, before
 * the fault is reported.
 */

#include "qemu/osdep.h"
#include "dsa-internal.h"

#define PAGE 4096

/* ---- Memory Move ---- */

static void move_forward(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t *buf = job->engine->buf[0];

    while (job->bytes_completed < desc->size && !dsa_job_aborted(job)) {
        size_t n = MIN(desc->size - job->bytes_completed, DSA_CHUNK);
        bool ok = dsa_read(job, desc->src + job->bytes_completed, buf, n, &n);

        ok &= dsa_write(job, desc->dst + job->bytes_completed, buf, n, &n);
        job->bytes_completed += n;
        if (!ok) {
            return;
        }
    }
}

/* Bytes up to @end that lie in one page of either buffer */
static size_t backward_piece(uint64_t src_end, uint64_t dst_end, size_t left)
{
    size_t src = (src_end - 1) % PAGE + 1;
    size_t dst = (dst_end - 1) % PAGE + 1;

    return MIN(left, MIN(src, dst));
}

/*
 * The destination begins inside of the source: begin at the end.  A piece lies
 * in one page, and is moved as a whole or not at all, because what a part of
 * it overwrites may be the source of the rest.
 */
static void move_backward(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t *buf = job->engine->buf[0];

    job->result = 1;
    while (job->bytes_completed < desc->size && !dsa_job_aborted(job)) {
        size_t left = desc->size - job->bytes_completed;
        size_t n = backward_piece(desc->src + left, desc->dst + left, left);
        size_t moved;

        if (!dsa_read(job, desc->src + left - n, buf, n, &moved) ||
            !dsa_write(job, desc->dst + left - n, buf, n, &moved)) {
            return;
        }
        job->bytes_completed += n;
    }
}

/* Bytes Completed and Result have a meaning only when not all has been done */
static void move_done(DSAJob *job)
{
    if (!job->status) {
        job->bytes_completed = 0;
        job->result = 0;
    }
}

void dsa_op_memory_move(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;

    if (desc->dst != desc->src && desc->dst - desc->src < desc->size) {
        move_backward(job);
    } else {
        move_forward(job);
    }
    move_done(job);
}

/* ---- Fill ---- */

void dsa_op_fill(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t *buf = job->engine->buf[0];
    size_t i, n;

    /* DSA_CHUNK is a multiple of the pattern: each chunk begins with it */
    for (i = 0; i < MIN(desc->size, DSA_CHUNK); i += 8) {
        stq_le_p(buf + i, desc->src);
    }
    while (job->bytes_completed < desc->size && !dsa_job_aborted(job)) {
        bool ok = dsa_write(job, desc->dst + job->bytes_completed, buf,
                            MIN(desc->size - job->bytes_completed, DSA_CHUNK),
                            &n);

        job->bytes_completed += n;
        if (!ok) {
            return;
        }
    }
    move_done(job);
}

/* ---- Memory Copy with Dualcast ---- */

void dsa_op_dualcast(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint64_t dst2 = ldq_le_p(desc->raw + DSA_DESC_DST2);
    uint8_t *buf = job->engine->buf[0];

    while (job->bytes_completed < desc->size && !dsa_job_aborted(job)) {
        uint64_t dst = desc->dst + job->bytes_completed;
        /* A page of both destinations, which have the same offset in it */
        size_t n = MIN(desc->size - job->bytes_completed, PAGE - dst % PAGE);
        bool ok = dsa_read(job, desc->src + job->bytes_completed, buf, n, &n);

        if (!dsa_write(job, dst, buf, n, &n) ||
            !dsa_write(job, dst2 + job->bytes_completed, buf, n, &n)) {
            return;
        }
        job->bytes_completed += n;
        if (!ok) {
            return;
        }
    }
    move_done(job);
}

/* ---- Cache Flush ---- */

/* The host's caches are coherent: what is left is to find the pages */
void dsa_op_cache_flush(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;

    while (job->bytes_completed < desc->size && !dsa_job_aborted(job)) {
        uint64_t addr = desc->dst + job->bytes_completed;
        size_t n = MIN(desc->size - job->bytes_completed, PAGE - addr % PAGE);
        uint8_t byte;
        size_t moved;

        if (!dsa_read(job, addr, &byte, 1, &moved)) {
            return;
        }
        job->bytes_completed += n;
    }
    move_done(job);
}
