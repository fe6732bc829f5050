/*
 * Intel Data Streaming Accelerator (DSA): CRC Generation, Copy with CRC
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section 8.3.12, section 8.3.13 and Appendix A.
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "crc.h"
#include "dsa-internal.h"

#define REVERSED_BLOCK 256

static uint32_t crc_from_seed(const DSAJob *job, uint32_t seed)
{
    return job->desc.flags & DSA_FLAG_BYPASS_CRC_INVERSION ? revbit32(seed)
                                                           : ~seed;
}

static uint32_t crc_to_result(const DSAJob *job, uint32_t crc)
{
    return job->desc.flags & DSA_FLAG_BYPASS_CRC_INVERSION ? revbit32(crc)
                                                           : ~crc;
}

static bool crc_read_seed(DSAJob *job, uint32_t *seed)
{
    const DSADescriptor *desc = &job->desc;
    size_t moved;

    if (!(desc->flags & DSA_FLAG_READ_CRC_SEED)) {
        *seed = ldl_le_p(desc->raw + DSA_DESC_CRC_SEED);
        return true;
    }
    if (!dsa_read(job, ldq_le_p(desc->raw + DSA_DESC_CRC_SEED_ADDR), seed,
                  sizeof(*seed), &moved)) {
        return false;
    }
    *seed = le32_to_cpu(*seed);
    return true;
}

static uint32_t crc_update_reversed(uint32_t crc, const uint8_t *p, size_t len)
{
    uint8_t buf[REVERSED_BLOCK];
    size_t i, n;

    for (; len; p += n, len -= n) {
        n = MIN(len, sizeof(buf));
        for (i = 0; i < n; i++) {
            buf[i] = revbit8(p[i]);
        }
        crc = dsa_crc32c(crc, buf, n);
    }
    return crc;
}

static bool crc_piece(void *opaque, void *const *data, size_t len)
{
    DSAJob *job = opaque;

    job->crc = job->desc.flags & DSA_FLAG_BYPASS_DATA_REFLECTION
               ? crc_update_reversed(job->crc, data[0], len)
               : dsa_crc32c(job->crc, data[0], len);
    job->bytes_completed += len;
    return true;
}

static bool copy_crc_piece(void *opaque, void *const *data, size_t len)
{
    memmove(data[1], data[0], len);
    return crc_piece(opaque, &data[1], len);
}

static bool crc_begin(DSAJob *job)
{
    uint32_t seed;

    if (!crc_read_seed(job, &seed)) {
        return false;
    }
    job->crc = crc_from_seed(job, seed);
    return true;
}

static bool crc_step(DSAJob *job)
{
    const PCIATSDMARange src = { job->desc.src, DMA_DIRECTION_TO_DEVICE };

    return (job->bytes_completed || crc_begin(job)) &&
           dsa_visit(job, &src, 1, crc_piece);
}

static bool copy_crc_step(DSAJob *job)
{
    const PCIATSDMARange ranges[] = {
        { job->desc.src, DMA_DIRECTION_TO_DEVICE },
        { job->desc.dst, DMA_DIRECTION_FROM_DEVICE },
    };

    return (job->bytes_completed || crc_begin(job)) &&
           dsa_visit(job, ranges, ARRAY_SIZE(ranges), copy_crc_piece);
}

static void crc_finish(DSAJob *job)
{
    if (!job->status) {
        job->bytes_completed = 0;
    }
    stq_le_p(job->specific + DSA_CR_CRC - DSA_CR_SPECIFIC,
             crc_to_result(job, job->crc));
}

const DSAOperationType dsa_op_crc = {
    .step = crc_step,
    .finish = crc_finish,
};

const DSAOperationType dsa_op_copy_crc = {
    .step = copy_crc_step,
    .finish = crc_finish,
};
