/*
 * Intel Data Streaming Accelerator (DSA): access to memory (3.13)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/pci/pcie_ats.h"
#include "dsa-internal.h"

static DSAStatus memory_status(DSAJob *job, int ret, bool block, bool write)
{
    if (ret == -EFAULT && pcie_ats_enabled(PCI_DEVICE(job->s))) {
        return block ? DSA_STATUS_PAGE_FAULT_IR : DSA_STATUS_PAGE_FAULT;
    }
    if (ret == -ECANCELED) {
        return DSA_STATUS_TRANSLATION;
    }
    return write ? DSA_STATUS_WRITE_ERROR : DSA_STATUS_READ_ERROR;
}

static PCIATSDMATransfer memory_transfer(DSAJob *job, bool block)
{
    return (PCIATSDMATransfer) {
        .pasid = job->work->pasid,
        .flags = PCI_ATS_DMA_EXACT |
                 (job->work->priv ? PCI_ATS_DMA_PRIV : 0) |
                 (block && !job->work->prs_disabled ? 0 : PCI_ATS_DMA_NO_PRI),
        .opaque = job,
        .cancel = &job->engine->abort,
    };
}

/* Bytes up to the end of the address space; UINT64_MAX for address 0 */
static uint64_t memory_room(uint64_t addr)
{
    return addr ? -addr : UINT64_MAX;
}

/* A transfer has ended with @ret; returns false if the job cannot continue */
static bool memory_done(DSAJob *job, int ret, uint64_t addr, DMADirection dir,
                        bool block)
{
    if (!ret) {
        return true;
    }
    if (ret != -ECANCELED || !dsa_job_interrupted(job)) {
        job->fault_write = dir == DMA_DIRECTION_FROM_DEVICE;
        job->fault_addr = addr;
        job->status = memory_status(job, ret, block, job->fault_write);
    }
    return false;
}

static bool memory_rw(DSAJob *job, uint64_t addr, void *buf, size_t len,
                      DMADirection dir, bool block, size_t *moved)
{
    PCIATSDMATransfer transfer = memory_transfer(job, block);

    transfer.num_ranges = 1;
    transfer.range[0].dir = dir;
    *moved = 0;
    while (*moved < len) {
        uint64_t from = addr + *moved;
        PCIATSDMAResult result;
        int ret;

        if (dsa_job_interrupted(job)) {
            return false;
        }
        transfer.range[0].addr = from;
        transfer.buf = (uint8_t *)buf + *moved;
        transfer.len = MIN(len - *moved, memory_room(from));
        ret = pci_ats_dma_run(job->s->dma, &transfer, &result);
        *moved += result.moved;
        if (!memory_done(job, ret, from + result.moved, dir, block)) {
            return false;
        }
    }
    return true;
}

static bool job_blocks(const DSAJob *job)
{
    return job->desc.flags & DSA_FLAG_BLOCK_ON_FAULT;
}

bool dsa_visit(DSAJob *job, const PCIATSDMARange *ranges, unsigned n,
               PCIATSDMAVisit *fn)
{
    bool block = job_blocks(job);
    PCIATSDMATransfer transfer = memory_transfer(job, block);
    const PCIATSDMARange *failed;
    PCIATSDMAResult result;
    int ret;

    transfer.num_ranges = n;
    transfer.len = job->desc.size - job->bytes_completed;
    transfer.visit = fn;
    for (unsigned i = 0; i < n; i++) {
        uint64_t addr = ranges[i].addr + job->bytes_completed;

        transfer.range[i] = (PCIATSDMARange) { addr, ranges[i].dir };
        transfer.len = MIN(transfer.len, memory_room(addr));
    }
    ret = pci_ats_dma_run(job->s->dma, &transfer, &result);
    failed = &transfer.range[result.failed];
    return memory_done(job, ret, failed->addr + result.moved, failed->dir,
                       block) &&
           job->bytes_completed < job->desc.size;
}

bool dsa_should_prefetch(DSAJob *job)
{
    if (!job_blocks(job) || job->bytes_completed < job->prefetch_at) {
        return false;
    }
    job->prefetch_at = job->bytes_completed + DSA_PREFETCH;
    return true;
}

static bool prefetch_piece(void *opaque, void *const *data, size_t len)
{
    return true;
}

void dsa_prefetch(DSAJob *job, uint64_t addr, uint64_t len, DMADirection dir)
{
    PCIATSDMATransfer transfer = memory_transfer(job, true);

    transfer.num_ranges = 1;
    transfer.range[0] = (PCIATSDMARange) { addr, dir };
    transfer.len = MIN(len, memory_room(addr));
    transfer.visit = prefetch_piece;
    pci_ats_dma_run(job->s->dma, &transfer, NULL);
}

bool dsa_read(DSAJob *job, uint64_t addr, void *buf, size_t len,
              size_t *moved)
{
    return memory_rw(job, addr, buf, len, DMA_DIRECTION_TO_DEVICE,
                     job_blocks(job), moved);
}

bool dsa_write(DSAJob *job, uint64_t addr, const void *buf, size_t len,
               size_t *moved)
{
    return memory_rw(job, addr, (void *)buf, len, DMA_DIRECTION_FROM_DEVICE,
                     job_blocks(job), moved);
}

bool dsa_read_blocking(DSAJob *job, uint64_t addr, void *buf, size_t len)
{
    size_t moved;

    return memory_rw(job, addr, buf, len, DMA_DIRECTION_TO_DEVICE, true,
                     &moved);
}

bool dsa_write_blocking(DSAJob *job, uint64_t addr, const void *buf,
                        size_t len)
{
    size_t moved;

    return memory_rw(job, addr, (void *)buf, len, DMA_DIRECTION_FROM_DEVICE,
                     true, &moved);
}
