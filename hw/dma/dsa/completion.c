/*
 * Intel Data Streaming Accelerator (DSA): completions and errors (3.6, 5.8)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/pci/pcie_pri.h"
#include "dsa-internal.h"

/* ---- Errors of descriptors ---- */

/* Errors whose event log entry has a completion record (Table 5-9) */
static bool has_completion(DSAStatus error)
{
    return error == DSA_STATUS_INT_HANDLE || error == DSA_STATUS_CR_FAULT ||
           error == DSA_STATUS_DRAIN_LOGGED || error == DSA_STATUS_BATCH_LOGGED;
}

static uint32_t error_info(const DSAJob *job, DSAStatus error)
{
    switch (error) {
    case DSA_STATUS_FLAGS:
        return dsa_job_invalid_flags(job);
    case DSA_STATUS_INT_HANDLE:
        return job->desc.int_handle;
    default:
        return 0;
    }
}

/* The common part of SWERROR, without Valid, and of an event log entry */
static void describe_error(const DSAJob *job, DSAStatus error,
                           uint64_t swerror[DSA_SWERROR_QWORDS])
{
    const DSAWork *work = job->work;
    uint32_t pasid = work->pasid == PCI_NO_PASID ? 0 : work->pasid;
    bool write = error == DSA_STATUS_CR_FAULT || job->fault_write;
    bool of_record = has_completion(error) && error != DSA_STATUS_INT_HANDLE;

    swerror[0] = R_DSA_SWERROR_DESC_VALID_MASK | R_DSA_SWERROR_WQ_VALID_MASK |
                 (job->in_batch ? R_DSA_SWERROR_BATCH_MASK : 0) |
                 (write ? R_DSA_SWERROR_RW_MASK : 0) |
                 (work->priv ? R_DSA_SWERROR_PRIV_MASK : 0) |
                 (uint64_t)error << R_DSA_SWERROR_ERROR_SHIFT |
                 (uint64_t)work->wq << R_DSA_SWERROR_WQ_SHIFT |
                 (uint64_t)job->desc.operation <<
                 R_DSA_SWERROR_OPERATION_SHIFT |
                 (uint64_t)pasid << R_DSA_SWERROR_PASID_SHIFT;
    swerror[1] = job->batch_index | (uint64_t)error_info(job, error) <<
                                    R_DSA_SWERROR1_ERROR_INFO_SHIFT;
    swerror[2] = of_record ? job->desc.completion_addr : job->fault_addr;
    swerror[3] = 0;
}

/* ---- Completion record (8.2) ---- */

static bool is_page_fault(DSAStatus status)
{
    return status == DSA_STATUS_PAGE_FAULT ||
           status == DSA_STATUS_PAGE_FAULT_IR ||
           status == DSA_STATUS_BATCH_FAULT ||
           status == DSA_STATUS_READBACK_FAULT;
}

static bool is_success(DSAStatus status)
{
    return status == DSA_STATUS_SUCCESS ||
           status == DSA_STATUS_FALSE_PREDICATE ||
           status == DSA_STATUS_BATCH_ERROR;
}

/* Errors that the completion record does not report */
static bool is_discarded(DSAStatus status)
{
    return status == DSA_STATUS_CR_ALIGN || status == DSA_STATUS_PRIV;
}

static void job_fill_cr(const DSAJob *job, uint8_t *cr)
{
    cr[DSA_CR_STATUS] = job->status |
                        (is_page_fault(job->status) && job->fault_write
                         ? DSA_STATUS_WRITE : 0);
    cr[DSA_CR_RESULT] = job->result;
    stl_le_p(cr + DSA_CR_BYTES_COMPLETED, job->bytes_completed);
    stq_le_p(cr + DSA_CR_FAULT_ADDR, job->fault_addr);
    memcpy(cr + DSA_CR_SPECIFIC, job->specific, sizeof(job->specific));
}

/* Write the completion record; the outcome of the job does not change */
static bool job_write_cr(DSAJob *job, const uint8_t *cr)
{
    uint64_t addr = job->desc.completion_addr;
    uint64_t fault_addr = job->fault_addr;
    bool fault_write = job->fault_write;
    uint8_t status = job->status;

    /* The guest polls the status: the quadword that has it is written last */
    if (dsa_write_blocking(job, addr + 8, cr + 8, DSA_CR_SIZE - 8) &&
        dsa_write_blocking(job, addr, cr, 8)) {
        return true;
    }
    job->status = status;
    job->fault_write = fault_write;
    job->fault_addr = fault_addr;
    return false;
}

uint32_t dsa_job_invalid_flags(const DSAJob *job)
{
    return job->status == DSA_STATUS_FLAGS
           ? ldl_le_p(job->specific + DSA_CR_INVALID_FLAGS - DSA_CR_SPECIFIC)
           : 0;
}

static bool job_has_cr(const DSAJob *job)
{
    return job->desc.flags & DSA_FLAG_CR_ADDR_VALID;
}

static bool job_needs_cr(const DSAJob *job)
{
    return job_has_cr(job) && ((job->desc.flags & DSA_FLAG_REQUEST_CR) ||
                               !is_success(job->status));
}

static bool job_interrupts(const DSAJob *job)
{
    return (job->desc.flags & DSA_FLAG_REQUEST_INT) &&
           !(dsa_job_invalid_flags(job) & DSA_FLAG_REQUEST_INT) &&
           !is_discarded(job->status) &&
           job->status != DSA_STATUS_INT_HANDLE &&
           dsa_descriptor_int_valid(job);
}

/* ---- Event Log (5.9) ---- */

static uint32_t event_info(const DSAJob *job, DSAStatus error, bool first)
{
    bool interrupt = error == DSA_STATUS_INT_HANDLE || job_interrupts(job);

    return (interrupt ? job->desc.int_handle |
                        R_DSA_EVENT_INFO_INT_REQUIRED_MASK : 0) |
           (job_needs_cr(job) ? R_DSA_EVENT_INFO_CR_REQUIRED_MASK : 0) |
           (first ? R_DSA_EVENT_INFO_FIRST_IN_BATCH_MASK : 0);
}

/* Returns false if interrupted.  An engine executes one batch at a time. */
static bool job_log(DSAJob *job, DSAStatus error)
{
    DSAJob *batch = job->in_batch ? &job->engine->job : NULL;
    uint8_t entry[DSA_EVENT_SIZE] = { };
    uint64_t header[DSA_SWERROR_QWORDS];
    unsigned i;

    describe_error(job, error, header);
    if (batch || job->desc.operation == DSA_OP_BATCH) {
        header[0] = FIELD_DP64(header[0], DSA_EVENT, BATCH_ID,
                               job->engine - job->s->engines);
    }
    if (has_completion(error)) {
        header[0] |= R_DSA_SWERROR_INFO_VALID_MASK;
        header[1] = FIELD_DP64(header[1], DSA_SWERROR1, ERROR_INFO,
                               event_info(job, error,
                                          batch && !batch->error_logged));
        if (job_has_cr(job)) {
            job_fill_cr(job, entry + DSA_EVENT_CR);
        }
    }
    for (i = 0; i < DSA_SWERROR_QWORDS; i++) {
        stq_le_p(entry + 8 * i, header[i]);
    }
    if (!dsa_event_log_append(job, entry)) {
        return false;
    }
    if (batch && has_completion(error)) {
        batch->error_logged = true;
        batch->record_logged |= error == DSA_STATUS_CR_FAULT;
    }
    return true;
}

static bool page_requests_are_off(const DSAJob *job)
{
    return job->work->prs_disabled || !pcie_pri_enabled(PCI_DEVICE(job->s));
}

/* The code of a completion that the event log has to report, or NONE */
static DSAStatus job_completes_in_log(const DSAJob *job)
{
    if (!job->work->event_log || !(job_needs_cr(job) || job_interrupts(job))) {
        return DSA_STATUS_NONE;
    }
    if (job->record_logged) {
        return DSA_STATUS_BATCH_LOGGED;
    }
    return job->desc.operation == DSA_OP_DRAIN &&
           job->status == DSA_STATUS_SUCCESS && page_requests_are_off(job)
           ? DSA_STATUS_DRAIN_LOGGED : DSA_STATUS_NONE;
}

/* ---- Reporting ---- */

/* Returns false if interrupted */
static bool job_error(DSAJob *job, DSAStatus error)
{
    uint64_t swerror[DSA_SWERROR_QWORDS];

    if (job->work->event_log) {
        return job_log(job, error);
    }
    describe_error(job, error, swerror);
    QEMU_LOCK_GUARD(&job->s->lock);
    dsa_swerror_record(job->s, swerror);
    return true;
}

/* Write the record, once at most.  Returns false if interrupted. */
static bool job_try_cr(DSAJob *job)
{
    uint8_t cr[DSA_CR_SIZE] = { };

    if (!job->record_written && job_needs_cr(job)) {
        job_fill_cr(job, cr);
        job->record_written = job_write_cr(job, cr);
    }
    return !job->interrupted;
}

/*
 * Returns false if interrupted; the next call reports the rest.  Sets
 * @interrupts if the device has to raise the completion interrupt.
 */
static bool job_report(DSAJob *job, bool *interrupts)
{
    DSAStatus in_log = job_completes_in_log(job);

    *interrupts = job_interrupts(job);
    if (is_discarded(job->status) ||
        (!job_has_cr(job) && !is_success(job->status))) {
        return job_error(job, job->status);
    }
    if (in_log) {
        *interrupts = false;
        return job_error(job, in_log);
    }
    if (!job_try_cr(job)) {
        return false;
    }
    if (job_needs_cr(job) && !job->record_written) {
        *interrupts = false;
        if (!job->work->event_log) {
            job->status = DSA_STATUS_CR_FAULT;
        }
        return job_error(job, DSA_STATUS_CR_FAULT);
    }
    return job->status != DSA_STATUS_INT_HANDLE ||
           job_error(job, DSA_STATUS_INT_HANDLE);
}

bool dsa_job_complete(DSAJob *job)
{
    DSAState *s = job->s;
    bool interrupts;

    if (dsa_job_interrupted(job)) {
        return false;
    }
    job->status = job->status ?: DSA_STATUS_SUCCESS;
    if (!job_report(job, &interrupts)) {
        return false;
    }
    /* The guest may have revoked the permission while the job was parked */
    if (interrupts && job_interrupts(job)) {
        unsigned vector = job->desc.int_handle;

        QEMU_LOCK_GUARD(&s->lock);
        if (!FIELD_EX32(s->msixperm[vector], DSA_MSIXPERM, IGNORE) &&
            !job->engine->abort) {
            dsa_raise(s, vector);
        }
    }
    return true;
}
