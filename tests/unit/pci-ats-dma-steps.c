/*
 * Steps of the tests of the DMA engine
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "pci-ats-dma-steps.h"

void dma_init(void)
{
    fake_ats_init();
    guest_init();
}

PCIATSDMA *dma_start(void)
{
    fake_ats_start();
    guest_start();
    pci_ats_info_init(&fake.device);
    return pci_ats_dma_new(&fake.device, 1024);
}

void dma_unplug(PCIATSDMA *dma)
{
    pci_ats_dma_close(dma);
    qatomic_set(&fake.gone, true);
    assert_null(fake.iotlb_notifier);
    assert_int_equal(registered(), 0);
    assert_int_equal(fake.untranslated_users, 0);
    pci_ats_info_destroy(&fake.device);
}

void dma_stop(PCIATSDMA *dma)
{
    dma_unplug(dma);
    guest_stop();
}

PCIATSDMATransfer read_transfer(uint32_t pasid, hwaddr addr, void *buf,
                                size_t len)
{
    return (PCIATSDMATransfer) {
        .pasid = pasid,
        .num_ranges = 1,
        .range = { { addr, DMA_DIRECTION_TO_DEVICE } },
        .len = len,
        .buf = buf,
    };
}

int dma_read_at(PCIATSDMA *dma, uint32_t pasid, hwaddr addr, void *buf,
                size_t len)
{
    PCIATSDMATransfer transfer = read_transfer(pasid, addr, buf, len);

    return pci_ats_dma_run(dma, &transfer, NULL);
}

int dma_read(PCIATSDMA *dma, unsigned page, void *buf, size_t len)
{
    return dma_read_at(dma, 1, IOVA + page * PAGE, buf, len);
}

int dma_write(PCIATSDMA *dma, unsigned page, void *buf, size_t len)
{
    PCIATSDMATransfer transfer = read_transfer(1, IOVA + page * PAGE, buf, len);

    transfer.range[0].dir = DMA_DIRECTION_FROM_DEVICE;
    return pci_ats_dma_run(dma, &transfer, NULL);
}

static bool copy_piece(void *opaque, void *const *data, size_t len)
{
    Copy *copy = opaque;

    memmove(data[1], data[0], len);
    return ++copy->pieces != copy->last;
}

int copy_pages(PCIATSDMA *dma, uint32_t pasid, unsigned flags, unsigned from,
               unsigned to, size_t len, Copy *copy, size_t *visited,
               unsigned *failed)
{
    const PCIATSDMATransfer transfer = {
        .pasid = pasid,
        .flags = flags | PCI_ATS_DMA_EXACT,
        .num_ranges = 2,
        .range = {
            { IOVA + from * PAGE + 7, DMA_DIRECTION_TO_DEVICE },
            { IOVA + to * PAGE + 1000, DMA_DIRECTION_FROM_DEVICE },
        },
        .len = len,
        .visit = copy_piece,
        .opaque = copy,
    };
    PCIATSDMAResult result;
    int ret = pci_ats_dma_run(dma, &transfer, &result);

    *visited = result.moved;
    *failed = result.failed;
    return ret;
}

void background_start(Background *b, void *(*fn)(void *), PCIATSDMA *dma,
                      uint32_t pasid, unsigned page, size_t len)
{
    *b = (Background) {
        .dma = dma, .pasid = pasid, .page = page, .len = len,
    };
    qemu_sem_init(&b->ended, 0);
    qemu_thread_create(&b->thread, "background", fn, b, QEMU_THREAD_JOINABLE);
}

int background_join(Background *b)
{
    qemu_thread_join(&b->thread);
    qemu_sem_destroy(&b->ended);
    return b->ret;
}

void *background_read(void *opaque)
{
    Background *b = opaque;
    PCIATSDMATransfer transfer = read_transfer(b->pasid, IOVA + b->page * PAGE,
                                               b->buf, b->len);
    PCIATSDMAResult result;

    transfer.flags = PCI_ATS_DMA_EXACT;
    transfer.cancel = &b->cancel;
    b->ret = pci_ats_dma_run(b->dma, &transfer, &result);
    b->moved = result.moved;
    qemu_sem_post(&b->ended);
    return NULL;
}

void submit_read(PCIATSDMA *dma, uint32_t pasid, unsigned flags, unsigned page,
                 void *buf, size_t len, PCIATSDMADone *done, void *opaque)
{
    PCIATSDMATransfer transfer = read_transfer(pasid, IOVA + page * PAGE, buf,
                                               len);

    transfer.flags = flags;
    pci_ats_dma_submit(dma, &transfer, done, opaque);
}

void async_done(void *opaque, int ret)
{
    Async *a = opaque;

    a->ret = ret;
    qemu_sem_post(&a->sem);
}

void async_start(Async *a, PCIATSDMA *dma, uint32_t pasid, unsigned page)
{
    qemu_sem_init(&a->sem, 0);
    a->ret = 1;
    submit_read(dma, pasid, 0, page, a->buf, PAGE, async_done, a);
}

void inline_done(void *opaque, int ret)
{
    Inline *a = opaque;

    qemu_thread_get_self(&a->thread);
    a->with_bql = bql_locked();
    a->ret = ret;
    qemu_sem_post(&a->sem);
}

void inline_start(Inline *a, PCIATSDMA *dma, unsigned page, size_t len)
{
    submit_read(dma, 1, PCI_ATS_DMA_INLINE, page, a->buf, len, inline_done, a);
}
