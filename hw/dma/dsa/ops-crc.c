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

/* Changes the data in @buf */
static uint32_t crc_update(const DSAJob *job, uint32_t crc, uint8_t *buf,
                           size_t n)
{
    size_t i;

    if (job->desc.flags & DSA_FLAG_BYPASS_DATA_REFLECTION) {
        for (i = 0; i < n; i++) {
            buf[i] = revbit8(buf[i]);
        }
    }
    return dsa_crc32c(crc, buf, n);
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

static bool crc_step_copy(DSAJob *job, bool copy)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t *buf = job->engine->buf[0];
    size_t n = MIN(desc->size - job->bytes_completed, DSA_CHUNK);
    bool ok;

    if (!job->bytes_completed && !crc_begin(job)) {
        return false;
    }
    ok = dsa_read(job, desc->src + job->bytes_completed, buf, n, &n);
    if (copy) {
        ok &= dsa_write(job, desc->dst + job->bytes_completed, buf, n, &n);
    }
    job->crc = crc_update(job, job->crc, buf, n);
    job->bytes_completed += n;
    return ok && job->bytes_completed < desc->size;
}

static bool crc_step(DSAJob *job)
{
    return crc_step_copy(job, false);
}

static bool copy_crc_step(DSAJob *job)
{
    return crc_step_copy(job, true);
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
