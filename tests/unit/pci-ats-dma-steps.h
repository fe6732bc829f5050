/*
 * Steps of the tests of the DMA engine
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tests run hw/pci/pci_ats_dma.c and the other files of the engine, with
 * the real ATC, between the function and the IOMMU of fake-ats.h and the guest
 * of fake-ats-guest.h.
 */

#ifndef TESTS_UNIT_PCI_ATS_DMA_STEPS_H
#define TESTS_UNIT_PCI_ATS_DMA_STEPS_H

#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "hw/pci/pci_ats_dma.h"
#include "fake-ats.h"
#include "fake-ats-guest.h"

/* ---- The engine ---- */

/* Called once, before all tests */
void dma_init(void);

/* Begins a test, with an engine for the function */
PCIATSDMA *dma_start(void);

/*
 * Unrealizes the function; checks that the engine has released all that belongs
 * to the function.  The guest continues.
 */
void dma_unplug(PCIATSDMA *dma);

/* Ends a test: unrealizes the function, and stops the guest */
void dma_stop(PCIATSDMA *dma);

/* ---- Transfers in the thread of the test ---- */

/* Returns a transfer that reads @len bytes into @buf */
PCIATSDMATransfer read_transfer(uint32_t pasid, hwaddr addr, void *buf,
                                size_t len);

/* Reads from an input address; returns the result of the transfer */
int dma_read_at(PCIATSDMA *dma, uint32_t pasid, hwaddr addr, void *buf,
                size_t len);

/* Reads with PASID 1 from the start of a page on */
int dma_read(PCIATSDMA *dma, unsigned page, void *buf, size_t len);

/* Writes with PASID 1 from the start of a page on */
int dma_write(PCIATSDMA *dma, unsigned page, void *buf, size_t len);

/* Counts the pieces of a transfer with two ranges */
typedef struct Copy {
    size_t pieces;
    size_t last;                /* number of the piece to stop after */
} Copy;

/* Copies from page @from on to page @to on; sets @visited and @failed */
int copy_pages(PCIATSDMA *dma, uint32_t pasid, unsigned flags, unsigned from,
               unsigned to, size_t len, Copy *copy, size_t *visited,
               unsigned *failed);

/* ---- Transfers in another thread ---- */

/**
 * Background: a thread that uses the engine
 *
 * @cancel: cancels the transfer.
 * @ended: posted before the thread ends.
 * @ret: the result.
 * @moved: number of bytes that have been moved.
 */
typedef struct Background {
    PCIATSDMA *dma;
    uint32_t pasid;
    unsigned page;
    size_t len;
    bool cancel;
    QemuThread thread;
    QemuSemaphore ended;
    int ret;
    size_t moved;
    uint8_t buf[RAM_SIZE];
} Background;

/* Calls @fn, such as background_read(), with @b in a thread */
void background_start(Background *b, void *(*fn)(void *), PCIATSDMA *dma,
                      uint32_t pasid, unsigned page, size_t len);

/* Waits for the end of the thread, and returns the result */
int background_join(Background *b);

/* Reads from the start of a page on */
void *background_read(void *opaque);

/* ---- Asynchronous transfers ---- */

/* Reads asynchronously from the start of a page on */
void submit_read(PCIATSDMA *dma, uint32_t pasid, unsigned flags, unsigned page,
                 void *buf, size_t len, PCIATSDMADone *done, void *opaque);

/* A transfer of one page that posts @sem when it ends */
typedef struct Async {
    QemuSemaphore sem;
    int ret;
    uint8_t buf[PAGE];
} Async;

/* PCIATSDMADone of an Async */
void async_done(void *opaque, int ret);

/* Initializes the semaphore, and reads a page */
void async_start(Async *a, PCIATSDMA *dma, uint32_t pasid, unsigned page);

/* A transfer that runs inline if it is short, and the BQL is held */
typedef struct Inline {
    QemuSemaphore sem;
    QemuThread thread;          /* the thread that reported the end */
    bool with_bql;
    int ret;
    uint8_t buf[2 * PAGE];
} Inline;

/* PCIATSDMADone of an Inline */
void inline_done(void *opaque, int ret);

/* Reads with PASID 1 from the start of a page on */
void inline_start(Inline *a, PCIATSDMA *dma, unsigned page, size_t len);

#endif
