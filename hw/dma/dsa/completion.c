/*
 * Intel Data Streaming Accelerator (DSA): completions and errors (3.6, 5.8)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dsa-internal.h"

/* ---- Software Error Register (9.2.15) ---- */

/* With the lock; @swerror has everything but Valid */
static void swerror_record(DSAState *s,
                           const uint64_t swerror[DSA_SWERROR_QWORDS])
{
    if (FIELD_EX64(s->swerror[0], DSA_SWERROR, VALID)) {
        s->swerror[0] |= R_DSA_SWERROR_OVERFLOW_MASK;
        return;
    }
    memcpy(s->swerror, swerror, sizeof(s->swerror));
    s->swerror[0] |= R_DSA_SWERROR_VALID_MASK;
    if (FIELD_EX32(s->genctrl, DSA_GENCTRL, SWERROR_INT)) {
        dsa_raise_cause(s, R_DSA_INTCAUSE_SWERROR_MASK);
    }
}

void dsa_swerror(DSAState *s, DSAStatus error, int wq)
{
    uint64_t swerror[DSA_SWERROR_QWORDS] = {
        (uint64_t)error << R_DSA_SWERROR_ERROR_SHIFT,
    };

    if (wq >= 0) {
        swerror[0] |= R_DSA_SWERROR_WQ_VALID_MASK |
                      (uint64_t)wq << R_DSA_SWERROR_WQ_SHIFT;
    }
    swerror_record(s, swerror);
}

static uint32_t swerror_info(const DSAJob *job)
{
    switch (job->status) {
    case DSA_STATUS_FLAGS:
        return dsa_job_invalid_flags(job);
    case DSA_STATUS_INT_HANDLE:
        return job->desc.int_handle;
    default:
        return 0;
    }
}

static void job_swerror(DSAJob *job)
{
    const DSAWork *work = job->work;
    uint32_t pasid = work->pasid == PCI_NO_PASID ? 0 : work->pasid;
    uint64_t swerror[DSA_SWERROR_QWORDS] = {
        R_DSA_SWERROR_DESC_VALID_MASK | R_DSA_SWERROR_WQ_VALID_MASK |
        (job->in_batch ? R_DSA_SWERROR_BATCH_MASK : 0) |
        (job->fault_write ? R_DSA_SWERROR_RW_MASK : 0) |
        (work->priv ? R_DSA_SWERROR_PRIV_MASK : 0) |
        (uint64_t)job->status << R_DSA_SWERROR_ERROR_SHIFT |
        (uint64_t)work->wq << R_DSA_SWERROR_WQ_SHIFT |
        (uint64_t)job->desc.operation << R_DSA_SWERROR_OPERATION_SHIFT |
        (uint64_t)pasid << R_DSA_SWERROR_PASID_SHIFT,
        job->batch_index |
        (uint64_t)swerror_info(job) << R_DSA_SWERROR1_ERROR_INFO_SHIFT,
        job->fault_addr,
    };

    QEMU_LOCK_GUARD(&job->s->lock);
    swerror_record(job->s, swerror);
}

/* ---- Completion record (8.2) ---- */

static bool is_page_fault(DSAStatus status)
{
    return status == DSA_STATUS_PAGE_FAULT ||
           status == DSA_STATUS_PAGE_FAULT_IR ||
           status == DSA_STATUS_BATCH_FAULT || status == DSA_STATUS_CR_FAULT ||
           status == DSA_STATUS_READBACK_FAULT;
}

static bool is_success(DSAStatus status)
{
    return status == DSA_STATUS_SUCCESS ||
           status == DSA_STATUS_FALSE_PREDICATE ||
           status == DSA_STATUS_BATCH_ERROR;
}

/* Errors that are not told to whom the completion record belongs */
static bool is_discarded(DSAStatus status)
{
    return status == DSA_STATUS_CR_FAULT || status == DSA_STATUS_CR_ALIGN ||
           status == DSA_STATUS_PRIV;
}

static bool job_write_cr(DSAJob *job)
{
    uint8_t cr[DSA_CR_SIZE] = {
        [DSA_CR_STATUS] = job->status |
                          (is_page_fault(job->status) && job->fault_write
                           ? DSA_STATUS_WRITE : 0),
        [DSA_CR_RESULT] = job->result,
    };
    uint64_t addr = job->desc.completion_addr;

    stl_le_p(cr + DSA_CR_BYTES_COMPLETED, job->bytes_completed);
    stq_le_p(cr + DSA_CR_FAULT_ADDR, job->fault_addr);
    memcpy(cr + DSA_CR_SPECIFIC, job->specific, sizeof(job->specific));

    /* The guest polls the status: it comes last, and with the first quadword */
    return dsa_write_blocking(job, addr + 8, cr + 8, DSA_CR_SIZE - 8) &&
           dsa_write_blocking(job, addr, cr, 8);
}

uint32_t dsa_job_invalid_flags(const DSAJob *job)
{
    return job->status == DSA_STATUS_FLAGS
           ? ldl_le_p(job->specific + DSA_CR_INVALID_FLAGS - DSA_CR_SPECIFIC)
           : 0;
}

/* False if interrupted: nothing has been reported */
static bool job_report(DSAJob *job)
{
    bool has_cr = job->desc.flags & DSA_FLAG_CR_ADDR_VALID;
    bool ok = true;

    if (is_discarded(job->status) || (!has_cr && !is_success(job->status))) {
        job_swerror(job);
        return true;
    }
    if (has_cr && ((job->desc.flags & DSA_FLAG_REQUEST_CR) ||
                   !is_success(job->status))) {
        ok = job_write_cr(job);
    }
    if (!ok && job->interrupted) {
        return false;
    }
    if (!ok) {
        job->status = DSA_STATUS_CR_FAULT;
    }
    if (!ok || job->status == DSA_STATUS_INT_HANDLE) {
        job_swerror(job);
    }
    return true;
}

static bool job_interrupts(const DSAJob *job)
{
    return (job->desc.flags & DSA_FLAG_REQUEST_INT) &&
           !(dsa_job_invalid_flags(job) & DSA_FLAG_REQUEST_INT) &&
           !is_discarded(job->status) &&
           job->status != DSA_STATUS_INT_HANDLE &&
           dsa_descriptor_int_valid(job);
}

bool dsa_job_complete(DSAJob *job)
{
    DSAState *s = job->s;

    if (dsa_job_interrupted(job)) {
        return false;
    }
    job->status = job->status ?: DSA_STATUS_SUCCESS;
    if (!job_report(job)) {
        return false;
    }
    if (job_interrupts(job)) {
        unsigned vector = job->desc.int_handle;

        QEMU_LOCK_GUARD(&s->lock);
        if (!FIELD_EX32(s->msixperm[vector], DSA_MSIXPERM, IGNORE) &&
            !job->engine->abort) {
            dsa_raise(s, vector);
        }
    }
    return true;
}
