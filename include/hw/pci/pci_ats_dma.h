/*
 * DMA for device models with ATS: one call that does everything
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Moves data between a buffer of the device and an address that the guest gave
 * it, with or without PASID.  Underneath it looks up the function's ATC, asks
 * the IOMMU for translations, asks the guest for pages that are missing, and
 * uses translated, untranslated or PASID-tagged requests as the guest has
 * enabled them.  A device model needs pcie_ats_init(), pcie_pasid_init() and
 * pcie_pri_init() for the capabilities that it wants, and this.
 *
 * Data is moved in the order of addresses.  Pages that are missing are asked
 * for ahead of it, as many at once as the Outstanding Page Request Allocation
 * and the 512 group indices allow.
 *
 * Only RAM is accessed: a device model may do DMA in threads that others, with
 * the BQL held, wait for, and registers, of this very device or of the hot-plug
 * controller that removes it, are not to be accessed by such a thread.
 *
 * While ATS is off, requests go untranslated.  They fail if the IOMMU is one
 * that threads may not use (pci_iommu_is_thread_safe()), which the user is told
 * once.  While PRI is off, or where pages have been asked for in vain, a
 * request for a page that is missing fails.  All page requests of the function
 * have to come from here: group indices and the Outstanding Page Request
 * Allocation are managed here.
 */

#ifndef HW_PCI_PCI_ATS_DMA_H
#define HW_PCI_PCI_ATS_DMA_H

#include "exec/memory.h"
#include "system/dma.h"
#include "hw/pci/pci_atc.h"
#include "hw/pci/pci_ats_inject.h"

typedef struct PCIATSDMA PCIATSDMA;

/* Flags of a request; the first two need a PASID, and the guest's permission */
#define PCI_ATS_DMA_PRIV    (1u << 0)   /* Privileged Mode Requested */
#define PCI_ATS_DMA_EXEC    (1u << 1)   /* Execute Requested, for reads */
#define PCI_ATS_DMA_NO_PRI  (1u << 2)   /* do not ask for missing pages */
/*
 * Only for pci_ats_dma_rw_async() and pci_ats_dma_visit_async().  If the call
 * is made with the BQL, and for 4 KiB at most, the request need not wait for a
 * thread of the library: @visit and @done may be called before the call
 * returns, or where the guest's response to a page request is received, in
 * both cases by the thread with the BQL.  @done must not start a request then.
 */
#define PCI_ATS_DMA_INLINE  (1u << 3)

/**
 * PCIATSDMADone: an asynchronous request has ended
 *
 * Called once per request, without the BQL, from a thread of the library; or as
 * %PCI_ATS_DMA_INLINE tells.  May take the BQL, start further requests, and
 * call pci_ats_dma_close(), or what makes the device model call it: an
 * interrupt message, for example, can unplug the device that sends it.
 *
 * The call may come after pci_ats_dma_close() has returned, for a request that
 * it has ended.  @opaque has to stay valid until then.  A device model that
 * refers to its device there holds a reference to it, see object_ref(), for
 * each request, and drops it in this function, with the BQL.
 *
 * @opaque: as handed to pci_ats_dma_rw_async()
 * @ret: as pci_ats_dma_rw() would have returned it
 */
typedef void PCIATSDMADone(void *opaque, int ret);

/**
 * PCIATSDMAVisit: work on guest memory in place
 *
 * Called for one piece of the request after the other, in the order of their
 * addresses, from a thread of the library, or as %PCI_ATS_DMA_INLINE tells.
 * An invalidation of the translation waits until it returns: it must not take
 * the BQL, wait, call the IOMMU, or start a request.
 *
 * @opaque: as handed to pci_ats_dma_visit_async()
 * @data: the memory; to be written if the request is
 *        %DMA_DIRECTION_FROM_DEVICE, and else to be read
 * @len: in bytes, 1 to 256 KiB
 */
typedef void PCIATSDMAVisit(void *opaque, void *data, size_t len);

/**
 * pci_ats_dma_new: create what a function needs for its DMA
 *
 * @dev: the function
 * @atc_entries: capacity of the ATC, see pci_atc_new()
 *
 * With the BQL.
 *
 * Returns: to be given up with pci_ats_dma_close() when @dev is unrealized.
 */
PCIATSDMA *pci_ats_dma_new(PCIDevice *dev, uint32_t atc_entries);

/**
 * pci_ats_dma_close: end all requests, and give it up
 *
 * To be called when the function is unrealized.  When it returns, no
 * PCIATSDMAVisit is under way or will be called; nothing accesses the function,
 * its IOMMU, or memory on its behalf any more; and the notifiers are
 * unregistered.
 *
 * Asynchronous requests that have not ended end with -ECANCELED.  A thread of
 * the library reports these ends, possibly after this function has returned: it
 * does not wait for any PCIATSDMADone.  Requests that these functions start end
 * with -ECANCELED, too.  The caller uses @dma for nothing else from here on.
 *
 * Synchronous requests must have returned.  A device model that makes them in
 * threads ends them with pci_ats_dma_suspend() and joins these threads first.
 *
 * With the BQL, which stays held.  Waits for at most 256 KiB to be accessed,
 * and neither for the guest nor for anybody who waits for the BQL.
 *
 * @dma: from pci_ats_dma_new(), or NULL
 */
void pci_ats_dma_close(PCIATSDMA *dma);

/**
 * pci_ats_dma_rw: move data, and wait until it has been moved
 *
 * Callable from any thread, from many at once.  A thread that holds the BQL
 * cannot wait for the guest to answer a page request: see -EWOULDBLOCK.
 *
 * When it returns, the responses to all of its page requests have come, or the
 * guest cannot answer them any more.  If requests are suspended, it is
 * pci_ats_dma_settle() that waits for them.
 *
 * @dma: from pci_ats_dma_new()
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID
 * @flags: PCI_ATS_DMA_*
 * @addr: first address, any alignment
 * @buf: the data
 * @len: in bytes; 0 does nothing
 * @dir: DMA_DIRECTION_TO_DEVICE reads memory into @buf
 *
 * Returns: 0; -EPERM when bus mastering, or the PASID or flag asked for, is
 * off; -EINVAL when the range wraps, or @pasid is wider than the function's
 * PASID capability; -EFAULT when the address is not mapped with that
 * permission, and the guest, if it could be asked, would not map it, or the
 * IOMMU blocked the request, or an untranslated request does not lead to RAM
 * or would go to an IOMMU that threads may not use;
 * -EIO when the address is translated to one that is not RAM;
 * -ECANCELED when the guest reset or disabled the page request interface, or
 * answered with Response Failure, or pci_ats_dma_cancel() was called, or
 * requests are suspended; -EWOULDBLOCK when the BQL is held and
 * a page has to be asked for: use pci_ats_dma_rw_async(); -EBUSY when so many
 * PASIDs are in use at this moment that no further can be served, or the BQL is
 * held and the translation was invalidated each time it had been obtained.
 * After an error some of the data may have been moved.
 */
int pci_ats_dma_rw(PCIATSDMA *dma, uint32_t pasid, unsigned flags,
                   hwaddr addr, void *buf, size_t len, DMADirection dir);

/**
 * struct PCIATSDMAOrigin: on whose behalf data is moved, and for how long
 *
 * @pasid: as for pci_ats_dma_rw()
 * @flags: as for pci_ats_dma_rw()
 * @cancel: NULL, or what is to become true, atomically, when the request is to
 *          end with -ECANCELED.  After that no more groups of pages are asked
 *          for, and at most 256 KiB are still accessed.  A request that waits
 *          for a page sees it when the response comes.
 */
typedef struct PCIATSDMAOrigin {
    uint32_t pasid;
    unsigned flags;
    const bool *cancel;
} PCIATSDMAOrigin;

/**
 * pci_ats_dma_rw_partial: move data, and tell how much has been moved
 *
 * Pages are asked for ahead of the data from the first one on that is missing.
 * When the guest does not bring in pages that were asked for ahead of the data,
 * the data is still moved up to the one that is missing: from there on each
 * page is asked for when the data has come to it.
 *
 * @dma: as for pci_ats_dma_rw()
 * @origin: who moves data
 * @addr: as for pci_ats_dma_rw()
 * @buf: as for pci_ats_dma_rw()
 * @len: as for pci_ats_dma_rw()
 * @dir: as for pci_ats_dma_rw()
 * @moved: set to the number of bytes moved, from the first one on.  After
 *         -EFAULT, the page that is missing is the one of @addr + @moved.
 *
 * Returns: as pci_ats_dma_rw().
 */
int pci_ats_dma_rw_partial(PCIATSDMA *dma, const PCIATSDMAOrigin *origin,
                           hwaddr addr, void *buf, size_t len,
                           DMADirection dir, size_t *moved);

/* Ranges that pci_ats_dma_visit_ranges() takes at once */
#define PCI_ATS_DMA_RANGES  3

/**
 * struct PCIATSDMARange: where a range is, and what is done with it
 *
 * @addr: first address, any alignment
 * @dir: %DMA_DIRECTION_TO_DEVICE if it is read
 */
typedef struct PCIATSDMARange {
    hwaddr addr;
    DMADirection dir;
} PCIATSDMARange;

/**
 * PCIATSDMAVisitRanges: work on guest memory in place
 *
 * As PCIATSDMAVisit, in the thread of the caller.  The guest may write to the
 * memory at any time: what has been read may be different when read again.
 *
 * @opaque: as handed to pci_ats_dma_visit_ranges()
 * @data: @len bytes of each range
 * @len: in bytes, 1 to 256 KiB
 *
 * Returns: false if there is no more to be done
 */
typedef bool PCIATSDMAVisitRanges(void *opaque, void *const *data, size_t len);

/**
 * pci_ats_dma_visit_ranges: work on several ranges in step, without a buffer
 *
 * Pages are asked for as by pci_ats_dma_rw_partial(), for all ranges alike.
 *
 * @dma: from pci_ats_dma_new()
 * @origin: who works on them
 * @ranges: @n of them
 * @n: 1 to %PCI_ATS_DMA_RANGES
 * @len: of each, in bytes
 * @visit: called for one piece after the other
 * @opaque: for @visit
 * @visited: set to the number of bytes of each range that @visit has got
 * @failed: after an error, set to the index of the range that could not be gone
 *          on with
 *
 * Returns: as pci_ats_dma_rw().
 */
int pci_ats_dma_visit_ranges(PCIATSDMA *dma, const PCIATSDMAOrigin *origin,
                             const PCIATSDMARange *ranges, unsigned n,
                             size_t len, PCIATSDMAVisitRanges *visit,
                             void *opaque, size_t *visited, unsigned *failed);

/**
 * pci_ats_dma_rw_async: move data, and call back when it has been moved
 *
 * Callable from any thread, with or without the BQL.  Requests may end in any
 * order; a request that waits for the guest does not hold up others.
 *
 * @dma: from pci_ats_dma_new()
 * @pasid: as for pci_ats_dma_rw()
 * @flags: as for pci_ats_dma_rw()
 * @addr: as for pci_ats_dma_rw()
 * @buf: as for pci_ats_dma_rw(); must stay until @done is called
 * @len: as for pci_ats_dma_rw()
 * @dir: as for pci_ats_dma_rw()
 * @done: called when the request has ended, with what pci_ats_dma_rw() would
 *        have returned to a thread without the BQL
 * @opaque: for @done
 */
void pci_ats_dma_rw_async(PCIATSDMA *dma, uint32_t pasid, unsigned flags,
                          hwaddr addr, void *buf, size_t len,
                          DMADirection dir, PCIATSDMADone *done, void *opaque);

/**
 * pci_ats_dma_visit_async: let a function work on memory, and call back
 *
 * Like pci_ats_dma_rw_async(), but without a buffer: @visit gets the memory
 * itself.  Therefore only by translated requests: ends with -EPERM while ATS is
 * off, -ENODEV when no IOMMU answers translation requests, and -EFAULT at an
 * address that may be accessed untranslated only.
 *
 * @dma: from pci_ats_dma_new()
 * @pasid: as for pci_ats_dma_rw()
 * @flags: as for pci_ats_dma_rw()
 * @addr: as for pci_ats_dma_rw()
 * @len: as for pci_ats_dma_rw()
 * @dir: as for pci_ats_dma_rw()
 * @visit: called for each piece
 * @done: as for pci_ats_dma_rw_async(); after the last call of @visit
 * @opaque: for @visit and @done
 */
void pci_ats_dma_visit_async(PCIATSDMA *dma, uint32_t pasid, unsigned flags,
                             hwaddr addr, size_t len, DMADirection dir,
                             PCIATSDMAVisit *visit, PCIATSDMADone *done,
                             void *opaque);

/**
 * pci_ats_dma_settle: wait for responses that nobody waits for any more
 *
 * The page requests of synchronous requests that were suspended, and those that
 * came with migration, have to be answered before the guest hears that the
 * function is done with a PASID (PCIe 5.0, 6.20.1).  Waits until they are, or
 * cannot be any more, or requests are suspended.
 *
 * Without the BQL.
 *
 * @dma: from pci_ats_dma_new()
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID
 *
 * Returns: false if requests are suspended, and some are still open
 */
bool pci_ats_dma_settle(PCIATSDMA *dma, uint32_t pasid);

/**
 * pci_ats_dma_recheck: the guest has changed what the function may do
 *
 * Call it when configuration space has been written.  When it returns, no
 * translation request, page request or access to memory that has been switched
 * off is under way, and requests that wait for a response to a page
 * request end with an error if they could not be gone on with.
 *
 * With the BQL.
 *
 * @dma: from pci_ats_dma_new()
 */
void pci_ats_dma_recheck(PCIATSDMA *dma);

/**
 * pci_ats_dma_cancel: end all requests with -ECANCELED
 *
 * When it returns, no @visit is under way or will be called for a request that
 * was started before, and for these requests no translation request, page
 * request or access to memory is made any more.  Their ends are
 * reported when the guest has answered their page requests, or has disabled
 * them.
 *
 * With the BQL.
 *
 * @dma: from pci_ats_dma_new()
 */
void pci_ats_dma_cancel(PCIATSDMA *dma);

/**
 * pci_ats_dma_suspend: end all requests, and let none begin
 *
 * pci_ats_dma_cancel(), and all requests that are made until
 * pci_ats_dma_resume() end with -ECANCELED, too.  Synchronous requests do not
 * wait for the guest any more: a thread that makes them can be joined with the
 * BQL held.
 *
 * With the BQL.
 *
 * @dma: from pci_ats_dma_new()
 */
void pci_ats_dma_suspend(PCIATSDMA *dma);

/**
 * pci_ats_dma_resume: let requests begin again
 *
 * With the BQL.
 *
 * @dma: from pci_ats_dma_new()
 */
void pci_ats_dma_resume(PCIATSDMA *dma);

/**
 * pci_ats_dma_set_inject: let things go wrong
 *
 * Call it once, directly after pci_ats_dma_new().
 *
 * @dma: from pci_ats_dma_new()
 * @inject: what shall go wrong; must stay until pci_ats_dma_close()
 */
void pci_ats_dma_set_inject(PCIATSDMA *dma, PCIATSInject *inject);

/**
 * pci_ats_dma_flood: send page requests without regard to the allocation
 *
 * Each is a group of its own, for reading one page.  Nobody waits for the
 * responses.
 *
 * With the BQL.
 *
 * @dma: from pci_ats_dma_new()
 * @pasid: as for pci_ats_dma_rw()
 * @addr: of the first page; the others follow it
 * @n: how many
 *
 * Returns: how many were taken by the IOMMU; 0 while ATS or PRI is off.
 */
uint32_t pci_ats_dma_flood(PCIATSDMA *dma, uint32_t pasid, hwaddr addr,
                           uint32_t n);

/**
 * pci_ats_dma_get_stats: statistics of the ATC
 *
 * Callable from any thread.
 *
 * @dma: from pci_ats_dma_new()
 * @stats: the result, see pci_atc_get_stats()
 */
void pci_ats_dma_get_stats(PCIATSDMA *dma, PCIATCStats *stats);

#endif
