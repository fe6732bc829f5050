/*
 * Intel Data Streaming Accelerator (DSA): Compare and Compare Pattern
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dsa-internal.h"

/* A multiple of the pattern */
#define COMPARE_BLOCK 512

/* Returns @n if there is none.  The guest may change the data meanwhile. */
static size_t first_difference(const uint8_t *a, const uint8_t *b, size_t n)
{
    size_t i;

    if (!memcmp(a, b, n)) {
        return n;
    }
    for (i = 0; i < n && a[i] == b[i]; i++) {
        continue;
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

/* Record that @same of @len bytes are equal; returns false on a difference */
static bool compare_done(DSAJob *job, size_t same, size_t len)
{
    job->bytes_completed += same;
    job->result = same < len;
    return same == len;
}

static bool compare_piece(void *opaque, void *const *data, size_t len)
{
    return compare_done(opaque, first_difference(data[0], data[1], len), len);
}

static bool compare_step(DSAJob *job)
{
    const PCIATSDMARange ranges[] = {
        { job->desc.src, DMA_DIRECTION_TO_DEVICE },
        { job->desc.dst, DMA_DIRECTION_TO_DEVICE },
    };

    return dsa_visit(job, ranges, ARRAY_SIZE(ranges), compare_piece) &&
           !job->result;
}

const DSAOperationType dsa_op_compare = {
    .step = compare_step,
    .finish = compare_finish,
};

static bool compare_pattern_piece(void *opaque, void *const *data, size_t len)
{
    DSAJob *job = opaque;
    uint8_t block[COMPARE_BLOCK];
    size_t i = 0, n, same;

    dsa_fill_pattern(block, sizeof(block), job->desc.dst, job->bytes_completed);
    do {
        n = MIN(len - i, sizeof(block));
        same = first_difference((uint8_t *)data[0] + i, block, n);
        i += same;
    } while (same == n && i < len);
    return compare_done(job, i, len);
}

/* The second address of the descriptor is the pattern */
static bool compare_pattern_step(DSAJob *job)
{
    const PCIATSDMARange src = { job->desc.src, DMA_DIRECTION_TO_DEVICE };

    return dsa_visit(job, &src, 1, compare_pattern_piece) && !job->result;
}

const DSAOperationType dsa_op_compare_pattern = {
    .step = compare_pattern_step,
    .finish = compare_finish,
};
