/*
 * DMA for device models with ATS, PASID and page requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A device model submits a transfer: address ranges, a PASID, and either a
 * buffer or a function that works on the memory in place.
 * The DMA engine looks up the ATC of the function, sends translation requests
 * and page requests, and accesses memory with the requests that the guest has
 * enabled: translated, untranslated, or untranslated with a PASID.
 *
 * A device model with shared virtual memory needs the following code:
 *
 *     static void my_realize(PCIDevice *pci, Error **errp)
 *     {
 *         pcie_ats_init(pci, 0x100, true);
 *         pcie_pasid_init(pci, 0x108, 20, false, false);
 *         pcie_pri_init(pci, 0x110, 512, true);
 *         s->dma = pci_ats_dma_new(pci, 1024);
 *     }
 *
 *     static void my_done(void *opaque, int ret)       (in the worker thread)
 *     {
 *         BQL_LOCK_GUARD();
 *         ... notify the guest, for example by an interrupt
 *         object_unref(OBJECT(s));
 *     }
 *
 *     static void my_doorbell(MyState *s)              (in a vCPU thread)
 *     {
 *         object_ref(OBJECT(s));
 *         pci_ats_dma_submit(s->dma, &(PCIATSDMATransfer) {
 *             .pasid = s->pasid,
 *             .num_ranges = 1,
 *             .range = { { s->addr, DMA_DIRECTION_TO_DEVICE } },
 *             .len = sizeof(s->buf),
 *             .buf = s->buf,
 *         }, my_done, s);
 *     }
 *
 *     static void my_write_config(PCIDevice *pci, uint32_t addr, uint32_t val,
 *                                 int len)
 *     {
 *         pci_default_write_config(pci, addr, val, len);
 *         pci_ats_dma_recheck(s->dma);
 *     }
 *
 *     static void my_reset(MyState *s)
 *     {
 *         pci_ats_dma_cancel(s->dma);
 *     }
 *
 *     static void my_exit(PCIDevice *pci)
 *     {
 *         pci_ats_dma_close(s->dma);
 *     }
 *
 * A device model with threads of its own calls pci_ats_dma_run() in them, which
 * returns when the data has been moved, in place of pci_ats_dma_submit().
 *
 * The engine moves data in the order of addresses.  It prefetches missing pages
 * ahead of the data, within the Outstanding Page Request Allocation and the 512
 * PRG indices.
 *
 * The engine accesses RAM only.  A device model may do DMA in threads for which
 * other threads wait with the BQL held; such a thread must not access registers
 * of this device or of the hot-plug controller that removes it.
 *
 * While ATS is off, the engine sends untranslated requests.  They fail if
 * threads cannot use the IOMMU (pci_iommu_is_thread_safe()); QEMU prints a
 * warning once.  While PRI is off, or after the guest has refused a page, an
 * access to a missing page fails.  The engine manages the PRG indices and the
 * Outstanding Page Request Allocation.  Therefore the device model must not
 * send page requests of the function by other means.
 */

#ifndef HW_PCI_PCI_ATS_DMA_H
#define HW_PCI_PCI_ATS_DMA_H

#include "exec/memory.h"
#include "system/dma.h"
#include "hw/pci/pci_atc.h"

typedef struct PCIATSDMA PCIATSDMA;

/* Maximum number of ranges of a transfer */
#define PCI_ATS_DMA_RANGES  3

/*
 * Flags of a transfer.  The first two need a PASID, and the permission of the
 * guest.
 */
#define PCI_ATS_DMA_PRIV            (1u << 0) /* Privileged Mode Requested */
#define PCI_ATS_DMA_EXEC            (1u << 1) /* Execute Requested, for reads */
#define PCI_ATS_DMA_NO_PRI          (1u << 2) /* send no page requests */
/*
 * Move all data in front of a page that the guest refuses, so that
 * PCIATSDMAResult identifies the page.  Prefetch begins at the first missing
 * page.  Without this flag, prefetch begins at once, and the transfer ends as
 * soon as the guest has refused any page of it.
 */
#define PCI_ATS_DMA_EXACT           (1u << 3)
/*
 * Use translated requests only.  The transfer ends with -EPERM while ATS is
 * off, -ENODEV when no IOMMU supports translation requests, and -EFAULT at an
 * address that permits untranslated requests only.
 */
#define PCI_ATS_DMA_TRANSLATED_ONLY (1u << 4)
/*
 * For pci_ats_dma_submit() only.  If the caller holds the BQL, and the transfer
 * has at most 4 KiB, the transfer need not wait for the worker thread: the
 * thread that submits it with the BQL held, or that receives the response to
 * its page request with the BQL held, may call the functions of the device
 * model.  Then PCIATSDMADone must not submit a transfer.
 */
#define PCI_ATS_DMA_INLINE          (1u << 5)

/**
 * struct PCIATSDMARange: one address range of a transfer
 *
 * @addr: first address, with any alignment
 * @dir: %DMA_DIRECTION_TO_DEVICE reads memory, %DMA_DIRECTION_FROM_DEVICE
 *       writes it
 */
typedef struct PCIATSDMARange {
    hwaddr addr;
    DMADirection dir;
} PCIATSDMARange;

/**
 * PCIATSDMAVisit: work on memory in place
 *
 * The engine calls it for each piece of the ranges, in the order of their
 * addresses, in the thread that runs the transfer: the caller of
 * pci_ats_dma_run(), the worker thread, or another thread as described for
 * %PCI_ATS_DMA_INLINE.  An invalidation of the translations waits until it
 * returns: it must not take the BQL, wait, call the IOMMU, or start a transfer.
 *
 * The guest may write to the memory at any time: a second read may return other
 * data.
 *
 * @opaque: PCIATSDMATransfer.opaque
 * @data: the memory, @len bytes of each range, in the order of
 *        PCIATSDMATransfer.range
 * @len: length in bytes, 1 to 256 KiB
 *
 * Returns: false to end the transfer here, with success
 */
typedef bool PCIATSDMAVisit(void *opaque, void *const *data, size_t len);

/**
 * struct PCIATSDMATransfer: a transfer
 *
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID
 * @flags: PCI_ATS_DMA_*
 * @num_ranges: 1 to %PCI_ATS_DMA_RANGES; 1 if @buf is set
 * @range: the ranges; the transfer advances in all of them in step
 * @len: length of each range in bytes; the engine does nothing for 0
 * @buf: buffer of @len bytes for a copy from or to the range; NULL if @visit is
 *       set
 * @visit: called for each piece if @buf is NULL
 * @opaque: for @visit
 * @cancel: NULL, or a flag that the device model sets atomically to end the
 *          transfer with -ECANCELED.  After that, the engine opens no further
 *          page request group and accesses at most 256 KiB.  A parked transfer
 *          ends when the response arrives.
 */
typedef struct PCIATSDMATransfer {
    uint32_t pasid;
    unsigned flags;
    unsigned num_ranges;
    PCIATSDMARange range[PCI_ATS_DMA_RANGES];
    size_t len;
    void *buf;
    PCIATSDMAVisit *visit;
    void *opaque;
    const bool *cancel;
} PCIATSDMATransfer;

/**
 * struct PCIATSDMAResult: progress of a transfer
 *
 * @moved: number of bytes of each range, from the first one on, that have been
 *         copied or visited
 * @failed: after an error, the index of the range in which the transfer could
 *          not continue.  With %PCI_ATS_DMA_EXACT, after -EFAULT, the missing
 *          page is the one at @moved bytes from the start of this range.
 */
typedef struct PCIATSDMAResult {
    size_t moved;
    unsigned failed;
} PCIATSDMAResult;

/**
 * PCIATSDMADone: report the end of an asynchronous transfer
 *
 * The worker thread calls it once per transfer, without the BQL.  With
 * %PCI_ATS_DMA_INLINE, a thread that holds the BQL may call it instead,
 * possibly before pci_ats_dma_submit() returns; then it must not submit a
 * transfer.  Otherwise it may also submit further transfers.  It may use
 * BQL_LOCK_GUARD() and call pci_ats_dma_close(), or cause the device model to
 * call it: an interrupt message, for example, can unplug the device that sends
 * it.
 *
 * For a transfer that pci_ats_dma_close() has ended, the call may happen after
 * that function has returned.  @opaque has to stay valid until then.  A device
 * model that uses its device in this function holds a reference to the device
 * for each transfer, see object_ref(), and drops it in this function, with the
 * BQL held.
 *
 * @opaque: from pci_ats_dma_submit()
 * @ret: 0 or an error, as for pci_ats_dma_run()
 */
typedef void PCIATSDMADone(void *opaque, int ret);

/**
 * pci_ats_dma_new: create the DMA engine of a function
 *
 * Called with the BQL held.
 *
 * @dev: the function
 * @atc_entries: capacity of the ATC, see pci_atc_new()
 *
 * Returns: the engine; the caller closes it with pci_ats_dma_close() when @dev
 * is unrealized.
 */
PCIATSDMA *pci_ats_dma_new(PCIDevice *dev, uint32_t atc_entries);

/**
 * pci_ats_dma_close: end all transfers, and drop the engine
 *
 * Called when the function is unrealized.  When it returns, no PCIATSDMAVisit
 * runs or will be called; the engine no longer accesses the function, its
 * IOMMU, or memory; and the notifiers are unregistered.
 *
 * Asynchronous transfers that have not ended end with -ECANCELED.  The worker
 * thread reports these ends, possibly after pci_ats_dma_close() has returned,
 * which does not wait for any PCIATSDMADone.  Transfers that PCIATSDMADone
 * submits end with -ECANCELED, too.  The caller must not use @dma otherwise
 * after this call.
 *
 * Synchronous transfers must have returned.  A device model with threads of its
 * own ends them with pci_ats_dma_suspend() and joins these threads first.
 *
 * Called with the BQL held, which stays held.  Waits for at most 256 KiB to be
 * accessed, and neither for the guest nor for a thread that waits for the BQL.
 *
 * @dma: from pci_ats_dma_new(), or NULL
 */
void pci_ats_dma_close(PCIATSDMA *dma);

/**
 * pci_ats_dma_run: run a transfer, and wait until it has ended
 *
 * Callable from any thread, concurrently.  A thread that holds the BQL cannot
 * wait for the guest to respond to a page request: see -EWOULDBLOCK.
 *
 * When it returns, the responses to all of its page requests have arrived, or
 * the guest cannot respond any more.  If transfers are suspended, it does not
 * wait for responses, but pci_ats_dma_settle() does.
 *
 * @dma: from pci_ats_dma_new()
 * @transfer: the transfer
 * @result: set to the progress of the transfer; may be NULL
 *
 * Returns: 0; -EPERM when bus mastering, or the PASID or a permission in the
 * flags, is off, or when ATS is off and %PCI_ATS_DMA_TRANSLATED_ONLY is set;
 * -ENODEV when that flag is set and no IOMMU supports translation requests;
 * -EINVAL when a range wraps, or the PASID is wider than the PASID capability
 * of the function; -EFAULT when an address is not mapped with the required
 * permission, and the guest does not map it or the function cannot send a page
 * request, or the IOMMU blocked the request, or an untranslated request does
 * not lead to RAM or would go to an IOMMU that threads cannot use; -EIO when
 * the target of a translation is not RAM; -ECANCELED when the guest reset or
 * disabled the page request interface, or responded with Response Failure, or
 * pci_ats_dma_cancel() was called, or the transfer was cancelled, or transfers
 * are suspended; -EWOULDBLOCK when the BQL is held and a page request is
 * needed: use pci_ats_dma_submit(); -EBUSY when so many PASIDs are in use at
 * this moment that no other can be registered, or the BQL is held and the IOMMU
 * invalidated the translation each time that it had been obtained.  After an
 * error some of the data may have been moved.
 */
int pci_ats_dma_run(PCIATSDMA *dma, const PCIATSDMATransfer *transfer,
                    PCIATSDMAResult *result);

/**
 * pci_ats_dma_submit: start a transfer that runs in the background
 *
 * Callable from any thread, with or without the BQL.  Transfers may end in any
 * order; a transfer that waits for the guest does not delay others.
 *
 * @dma: from pci_ats_dma_new()
 * @transfer: the transfer; need not stay valid, but the buffer must until @done
 *            is called
 * @done: called when the transfer has ended, with the error that
 *        pci_ats_dma_run() returns to a thread without the BQL
 * @opaque: argument of @done
 */
void pci_ats_dma_submit(PCIATSDMA *dma, const PCIATSDMATransfer *transfer,
                        PCIATSDMADone *done, void *opaque);

/**
 * pci_ats_dma_settle: wait for responses for which no transfer waits
 *
 * The guest has to respond to the page requests of synchronous transfers that
 * were suspended, and of loaded groups, before the function reports that it no
 * longer uses a PASID (PCIe 5.0, 6.20.1).  This function waits until the guest
 * has responded, or cannot respond any more, or transfers are suspended.
 *
 * Called without the BQL.
 *
 * @dma: from pci_ats_dma_new()
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID
 *
 * Returns: true; false if transfers are suspended, and responses are still due
 */
bool pci_ats_dma_settle(PCIATSDMA *dma, uint32_t pasid);

/**
 * pci_ats_dma_recheck: apply a change of the function's configuration space
 *
 * Called after a write to configuration space.  When it returns, no translation
 * request, page request or access to memory that the guest has disabled is in
 * progress, and transfers that wait for a response end with an error if they
 * cannot continue.
 *
 * Called with the BQL held.
 *
 * @dma: from pci_ats_dma_new()
 */
void pci_ats_dma_recheck(PCIATSDMA *dma);

/**
 * pci_ats_dma_cancel: end all transfers with -ECANCELED
 *
 * When it returns, no PCIATSDMAVisit runs or will be called for a transfer that
 * was started earlier, and these transfers no longer send translation requests
 * or page requests, and no longer access memory.  The engine reports their ends
 * when the guest has responded to their page requests, or has disabled page
 * requests.
 *
 * The call does not cancel a transfer that a thread starts later, even if the
 * thread executes a command that the device received earlier.  A device model
 * with such threads sets PCIATSDMATransfer.cancel as well.
 *
 * Called with the BQL held.
 *
 * @dma: from pci_ats_dma_new()
 */
void pci_ats_dma_cancel(PCIATSDMA *dma);

/**
 * pci_ats_dma_suspend: end all transfers, and hold off new ones
 *
 * Like pci_ats_dma_cancel().  In addition, all transfers that are started
 * before pci_ats_dma_resume() end with -ECANCELED.  Synchronous transfers do
 * not wait for the guest any more, so that a thread that runs them can be
 * joined with the BQL held.
 *
 * Called with the BQL held.
 *
 * @dma: from pci_ats_dma_new()
 */
void pci_ats_dma_suspend(PCIATSDMA *dma);

/**
 * pci_ats_dma_resume: let transfers begin again
 *
 * Called with the BQL held.
 *
 * @dma: from pci_ats_dma_new()
 */
void pci_ats_dma_resume(PCIATSDMA *dma);

/**
 * pci_ats_dma_get_stats: read the statistics of the ATC
 *
 * Callable from any thread.
 *
 * @dma: from pci_ats_dma_new()
 * @stats: the result, see pci_atc_get_stats()
 */
void pci_ats_dma_get_stats(PCIATSDMA *dma, PCIATCStats *stats);

#endif
