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
#include "qemu/bitops.h"
#include "dsa-internal.h"

#define PAGE 4096

void dsa_finish_move(DSAJob *job)
{
    if (!job->status) {
        job->bytes_completed = 0;
        job->result = 0;
    }
}

/* ---- Memory Move ---- */

static bool move_forward(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t *buf = job->engine->buf[0];
    size_t n = MIN(desc->size - job->bytes_completed, DSA_CHUNK);
    bool ok = dsa_read(job, desc->src + job->bytes_completed, buf, n, &n);

    ok &= dsa_write(job, desc->dst + job->bytes_completed, buf, n, &n);
    job->bytes_completed += n;
    return ok && job->bytes_completed < desc->size;
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
static bool move_backward(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t *buf = job->engine->buf[0];
    size_t left = desc->size - job->bytes_completed;
    size_t n = backward_piece(desc->src + left, desc->dst + left, left);
    size_t moved;

    job->result = 1;
    if (!dsa_read(job, desc->src + left - n, buf, n, &moved) ||
        !dsa_write(job, desc->dst + left - n, buf, n, &moved)) {
        return false;
    }
    job->bytes_completed += n;
    return job->bytes_completed < desc->size;
}

static bool move_step(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;

    return desc->dst != desc->src && desc->dst - desc->src < desc->size
           ? move_backward(job) : move_forward(job);
}

const DSAOperationType dsa_op_memory_move = {
    .step = move_step,
    .finish = dsa_finish_move,
};

/* ---- Fill ---- */

void dsa_fill_pattern(uint8_t *buf, size_t len, uint64_t pattern, uint32_t pos)
{
    uint64_t word = ror64(pattern, pos % 8 * 8);

    for (; len >= 8; buf += 8, len -= 8) {
        stq_le_p(buf, word);
    }
    for (; len; buf++, len--, word >>= 8) {
        *buf = word;
    }
}

static bool fill_step(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t *buf = job->engine->buf[0];
    size_t n = MIN(desc->size - job->bytes_completed, DSA_CHUNK);
    bool ok;

    dsa_fill_pattern(buf, n, desc->src, job->bytes_completed);
    ok = dsa_write(job, desc->dst + job->bytes_completed, buf, n, &n);
    job->bytes_completed += n;
    return ok && job->bytes_completed < desc->size;
}

const DSAOperationType dsa_op_fill = {
    .step = fill_step,
    .finish = dsa_finish_move,
};

/* ---- Memory Copy with Dualcast ---- */

static bool dualcast_step(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint64_t dst2 = ldq_le_p(desc->raw + DSA_DESC_DST2);
    uint8_t *buf = job->engine->buf[0];
    uint64_t dst = desc->dst + job->bytes_completed;
    /* A page of both destinations, which have the same offset in it */
    size_t n = MIN(desc->size - job->bytes_completed, PAGE - dst % PAGE);
    bool ok = dsa_read(job, desc->src + job->bytes_completed, buf, n, &n);

    if (!dsa_write(job, dst, buf, n, &n) ||
        !dsa_write(job, dst2 + job->bytes_completed, buf, n, &n)) {
        return false;
    }
    job->bytes_completed += n;
    return ok && job->bytes_completed < desc->size;
}

const DSAOperationType dsa_op_dualcast = {
    .step = dualcast_step,
    .finish = dsa_finish_move,
};

/* ---- Cache Flush ---- */

/* The host's caches are coherent: what is left is to find the pages */
static bool flush_step(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint64_t addr = desc->dst + job->bytes_completed;
    size_t n = MIN(desc->size - job->bytes_completed, PAGE - addr % PAGE);
    uint8_t byte;
    size_t moved;

    if (!dsa_read(job, addr, &byte, 1, &moved)) {
        return false;
    }
    job->bytes_completed += n;
    return job->bytes_completed < desc->size;
}

const DSAOperationType dsa_op_cache_flush = {
    .step = flush_step,
    .finish = dsa_finish_move,
};
