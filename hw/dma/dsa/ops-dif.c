/*
 * Intel Data Streaming Accelerator (DSA): DIF Check, Insert, Strip, Update
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Sections 8.3.14 to 8.3.17.
 */

#include "qemu/osdep.h"
#include "dif.h"
#include "dsa-internal.h"

typedef struct DIFRun {
    DSADIFConfig config;
    uint32_t block;
    uint32_t in;                /* bytes of a block in the source */
    uint32_t out;               /* bytes of a block in the destination, or 0 */
    uint32_t done;              /* completed blocks */
    bool checks;
} DIFRun;

static DSADIFTags dif_load_tags(const uint8_t *p)
{
    return (DSADIFTags) {
        .ref = ldl_le_p(p),
        .app_mask = lduw_le_p(p + 4),
        .app = lduw_le_p(p + 6),
    };
}

static void dif_store_tags(uint8_t *p, DSADIFTags tags)
{
    stl_le_p(p, tags.ref);
    stw_le_p(p + 4, tags.app_mask);
    stw_le_p(p + 6, tags.app);
}

static void dif_init(DIFRun *run, const DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t op = desc->operation;

    run->config = (DSADIFConfig) {
        .flags = desc->raw[DSA_DESC_DIF_FLAGS],
        .src_flags = desc->raw[DSA_DESC_SRC_DIF_FLAGS],
        .dst_flags = desc->raw[DSA_DESC_DST_DIF_FLAGS],
        .src = dif_load_tags(desc->raw + DSA_DESC_SRC_DIF_TAGS),
        .dst = dif_load_tags(desc->raw + DSA_DESC_DST_DIF_TAGS),
    };
    run->block = dsa_dif_block_size(run->config.flags);
    run->checks = op != DSA_OP_DIF_INSERT;
    run->in = run->block + (run->checks ? DSA_DIF_SIZE : 0);
    run->out = op == DSA_OP_DIF_CHECK ? 0 :
               run->block + (op == DSA_OP_DIF_STRIP ? 0 : DSA_DIF_SIZE);
    run->done = job->bytes_completed / run->in;
}

/* Returns the number of blocks, of @n, before the first error */
static uint32_t dif_check_blocks(DSAJob *job, DIFRun *run, const uint8_t *src,
                                 uint32_t n)
{
    uint32_t i;

    for (i = 0; run->checks && i < n; i++) {
        uint8_t error = dsa_dif_check(&run->config, src + i * run->in,
                                      run->done + i);

        if (error) {
            /* A fault behind the error is not reported */
            dsa_job_clear_error(job);
            job->status = DSA_STATUS_DIF_ERROR;
            job->result = error;
            return i;
        }
    }
    return n;
}

static void dif_make_blocks(DIFRun *run, const uint8_t *src, uint8_t *dst,
                            uint32_t n)
{
    uint32_t i;

    for (i = 0; i < n; i++) {
        memcpy(dst, src, run->block);
        if (run->out > run->block) {
            dsa_dif_generate(&run->config, src,
                             run->in > run->block ? src + run->block : NULL,
                             run->done + i, dst + run->block);
        }
        src += run->in;
        dst += run->out;
    }
}

static void dif_prefetch(DSAJob *job, const DIFRun *run, uint32_t blocks)
{
    const DSADescriptor *desc = &job->desc;
    uint64_t n = MIN(blocks, DSA_PREFETCH / run->in);

    dsa_prefetch(job, desc->src + (uint64_t)run->done * run->in, n * run->in,
                 DMA_DIRECTION_TO_DEVICE);
    dsa_prefetch(job, desc->dst + (uint64_t)run->done * run->out, n * run->out,
                 DMA_DIRECTION_FROM_DEVICE);
}

/* Returns false after the last block, or on an error */
static bool dif_run_blocks(DSAJob *job, DIFRun *run, uint32_t n)
{
    const DSADescriptor *desc = &job->desc;
    uint8_t *src = job->engine->buf[0], *dst = job->engine->buf[1];
    uint32_t good;
    size_t moved;
    bool ok;

    ok = dsa_read(job, desc->src + (uint64_t)run->done * run->in, src,
                  n * run->in, &moved);
    n = moved / run->in;
    good = dif_check_blocks(job, run, src, n);
    if (run->out) {
        dif_make_blocks(run, src, dst, good);
        if (!dsa_write(job, desc->dst + (uint64_t)run->done * run->out, dst,
                       good * run->out, &moved)) {
            job->result = 0;
            ok = false;
        }
        run->done += moved / run->out;
    } else {
        run->done += good;
    }
    return ok && good == n;
}

static bool dif_step(DSAJob *job)
{
    uint32_t total, at_once;
    DIFRun run;
    bool more;

    dif_init(&run, job);
    total = job->desc.size / run.in;
    at_once = DSA_CHUNK / MAX(run.in, run.out);
    if (dsa_should_prefetch(job)) {
        dif_prefetch(job, &run, total - run.done);
    }
    more = dif_run_blocks(job, &run, MIN(total - run.done, at_once));
    job->bytes_completed = run.done * run.in;
    return more && run.done < total;
}

static void dif_finish(DSAJob *job)
{
    DIFRun run;

    dif_init(&run, job);
    if (run.in > run.block) {
        dif_store_tags(job->specific + DSA_CR_SRC_DIF_TAGS - DSA_CR_SPECIFIC,
                       dsa_dif_tags(&run.config.src, run.config.src_flags,
                                    run.done));
    }
    if (run.out > run.block) {
        dif_store_tags(job->specific + DSA_CR_DST_DIF_TAGS - DSA_CR_SPECIFIC,
                       dsa_dif_tags(&run.config.dst, run.config.dst_flags,
                                    run.done));
    }
    job->bytes_completed = job->status ? job->bytes_completed : 0;
}

const DSAOperationType dsa_op_dif = {
    .step = dif_step,
    .finish = dif_finish,
};
