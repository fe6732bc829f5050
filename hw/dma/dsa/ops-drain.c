/*
 * Intel Data Streaming Accelerator (DSA): Drain (3.12, 8.3.3)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dsa-internal.h"

static void drain_readback(DSAJob *job, uint32_t flag, uint64_t addr)
{
    uint8_t byte;

    if (!job->status && !job->interrupted && (job->desc.flags & flag) &&
        !dsa_read_blocking(job, addr, &byte, 1) &&
        job->status == DSA_STATUS_PAGE_FAULT_IR) {
        job->status = DSA_STATUS_READBACK_FAULT;
    }
}

static bool drain_step(DSAJob *job)
{
    DSAState *s = job->s;
    const DSAFilter filter = {
        .wqs = 1ULL << job->work->wq,
        .by_pasid = job->work->shared,
        .pasid = job->work->pasid,
        .end = job->work->seq,
    };

    WITH_QEMU_LOCK_GUARD(&s->lock) {
        while (!dsa_job_interrupted(job) && dsa_wq_outstanding(s, &filter)) {
            qemu_cond_wait(&s->completed, &s->lock);
        }
    }
    drain_readback(job, DSA_FLAG_READBACK1_VALID, job->desc.src);
    drain_readback(job, DSA_FLAG_READBACK2_VALID, job->desc.dst);
    return false;
}

static void drain_finish(DSAJob *job)
{
}

const DSAOperationType dsa_op_drain = {
    .step = drain_step,
    .finish = drain_finish,
};
