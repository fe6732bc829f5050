/*
 * Intel Data Streaming Accelerator (DSA): operations that write memory
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Memory Move, Fill, Memory Copy with Dualcast, Cache Flush (8.3.4, 8.3.5,
 * 8.3.10, 8.3.26).  Data is moved without a buffer where possible, and Bytes
 * Completed counts the bytes that have been written.
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "dsa-internal.h"

#define PAGE 4096

/* A multiple of the pattern */
#define FILL_BLOCK 512

void dsa_finish_move(DSAJob *job)
{
    if (!job->status) {
        job->bytes_completed = 0;
        job->result = 0;
    }
}

/* ---- Memory Move ---- */

static bool move_piece(void *opaque, void *const *data, size_t len)
{
    DSAJob *job = opaque;

    /* Both addresses may map the same memory */
    memmove(data[1], data[0], len);
    job->bytes_completed += len;
    return true;
}

static bool move_forward(DSAJob *job)
{
    const PCIATSDMARange ranges[] = {
        { job->desc.src, DMA_DIRECTION_TO_DEVICE },
        { job->desc.dst, DMA_DIRECTION_FROM_DEVICE },
    };

    return dsa_visit(job, ranges, ARRAY_SIZE(ranges), move_piece);
}

/* Bytes below both ends that lie in one page of each buffer */
static size_t backward_piece(uint64_t src_end, uint64_t dst_end, size_t left)
{
    size_t src = (src_end - 1) % PAGE + 1;
    size_t dst = (dst_end - 1) % PAGE + 1;

    return MIN(left, MIN(src, dst));
}

/*
 * The destination begins within the source: move the end of the buffers first.
 * A piece lies in one page and is moved completely or not at all, because a
 * part of it may overwrite the source of the rest.
 */
static bool move_backward(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t *buf = job->engine->buf[0];
    size_t left = desc->size - job->bytes_completed;
    size_t n = backward_piece(desc->src + left, desc->dst + left, left);
    size_t moved;

    if (dsa_should_prefetch(job)) {
        size_t ahead = MIN(left, DSA_PREFETCH);

        dsa_prefetch(job, desc->src + left - ahead, ahead,
                     DMA_DIRECTION_TO_DEVICE);
        dsa_prefetch(job, desc->dst + left - ahead, ahead,
                     DMA_DIRECTION_FROM_DEVICE);
    }
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
    uint8_t block[FILL_BLOCK];
    uint64_t word = ror64(pattern, pos % 8 * 8);
    size_t i, n;

    for (i = 0; i < MIN(len, sizeof(block)); i += 8) {
        stq_le_p(block + i, word);
    }
    for (; len; buf += n, len -= n) {
        n = MIN(len, sizeof(block));
        memcpy(buf, block, n);
    }
}

static bool fill_piece(void *opaque, void *const *data, size_t len)
{
    DSAJob *job = opaque;

    dsa_fill_pattern(data[0], len, job->desc.src, job->bytes_completed);
    job->bytes_completed += len;
    return true;
}

static bool fill_step(DSAJob *job)
{
    const PCIATSDMARange dst = { job->desc.dst, DMA_DIRECTION_FROM_DEVICE };

    return dsa_visit(job, &dst, 1, fill_piece);
}

const DSAOperationType dsa_op_fill = {
    .step = fill_step,
    .finish = dsa_finish_move,
};

/* ---- Memory Copy with Dualcast ---- */

static bool dualcast_piece(void *opaque, void *const *data, size_t len)
{
    DSAJob *job = opaque;

    memmove(data[1], data[0], len);
    memmove(data[2], data[0], len);
    job->bytes_completed += len;
    return true;
}

static bool dualcast_step(DSAJob *job)
{
    const PCIATSDMARange ranges[] = {
        { job->desc.src, DMA_DIRECTION_TO_DEVICE },
        { job->desc.dst, DMA_DIRECTION_FROM_DEVICE },
        { ldq_le_p(job->desc.raw + DSA_DESC_DST2), DMA_DIRECTION_FROM_DEVICE },
    };

    return dsa_visit(job, ranges, ARRAY_SIZE(ranges), dualcast_piece);
}

const DSAOperationType dsa_op_dualcast = {
    .step = dualcast_step,
    .finish = dsa_finish_move,
};

/* ---- Cache Flush ---- */

/* The host's caches are coherent: the operation only translates addresses */
static bool flush_piece(void *opaque, void *const *data, size_t len)
{
    DSAJob *job = opaque;

    job->bytes_completed += len;
    return true;
}

static bool flush_step(DSAJob *job)
{
    const PCIATSDMARange dst = { job->desc.dst, DMA_DIRECTION_TO_DEVICE };

    return dsa_visit(job, &dst, 1, flush_piece);
}

const DSAOperationType dsa_op_cache_flush = {
    .step = flush_step,
    .finish = dsa_finish_move,
};
