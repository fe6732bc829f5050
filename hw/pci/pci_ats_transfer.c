/*
 * Steps of a transfer of the DMA engine
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * dma_transfer_step() runs a transfer until it has ended or has to wait.  It
 * moves data in the order of addresses, in all ranges in step.  It prefetches
 * translations and pages ahead of the data, within the window and the page
 * request allocation: while the guest brings in pages, the transfer continues
 * with pages that are present, and it waits only when the next page of a range
 * is missing.  A copy from or to a buffer is a visit of one range.
 *
 * One thread at a time runs a transfer.  pci_ats_dma_internal.h marks the
 * members that other threads may access meanwhile.
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/lockable.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "pci_ats_dma_internal.h"
#include "pci-internal.h"

/* Maximum number of translations in the result of a translation request */
#define MAX_TRANSLATIONS    256
/* Maximum distance of prefetch ahead of the data, in bytes */
#define WINDOW              (4 * MiB)
/* Length of the first translation request of a transfer without PRI */
#define FIRST_REQUEST       (64 * KiB)
/* Maximum number of pages in a group, which costs one response only */
#define GROUP_PAGES         32
/* Maximum length of an access, for which an invalidation has to wait */
#define CHUNK               (256 * KiB)
/* Translation requests in a row before a transfer is delayed */
#define MAX_ATTEMPTS        16

/* ---- Permission to continue ---- */

static int transfer_check(const DMATransfer *t)
{
    PCIATSDMA *dma = t->dma;

    if (qatomic_read(&dma->life) != DMA_OPEN ||
        qatomic_read(&dma->suspended) ||
        qatomic_read(&dma->cancels) != t->cancels ||
        (t->cancel && qatomic_read(t->cancel))) {
        return -ECANCELED;
    }
    if (!pcie_bus_master_enabled(dma->dev) ||
        ((t->flags & PCI_ATS_DMA_TRANSLATED_ONLY) &&
         !pcie_ats_enabled(dma->dev))) {
        return -EPERM;
    }
    return pci_iommu_check_pasid(dma->dev, t->pasid,
                                 t->flags & PCI_ATS_DMA_PRIV,
                                 t->flags & PCI_ATS_DMA_EXEC);
}

/*
 * When the guest sees that a transfer has been cancelled, or that the function
 * may not send requests any more, it may remove tables and memory.  By then,
 * calls of the IOMMU and untranslated requests for the transfer must have
 * ended.  The caller enters PCIATSDMA.calls and then checks for permission; a
 * thread that withdraws the permission does so before pci_ats_dma_recheck(),
 * which waits.
 */
static int transfer_begin_call(const DMATransfer *t, unsigned *token)
{
    int ret;

    *token = drain_enter(t->dma->calls);
    ret = transfer_check(t);
    if (ret) {
        drain_leave(t->dma->calls, *token);
    }
    return ret;
}

static void transfer_end_call(const DMATransfer *t, unsigned token)
{
    drain_leave(t->dma->calls, token);
}

/* Drop translations that were obtained before ATS or PASID was switched off */
static void transfer_check_epoch(PCIATSDMA *dma)
{
    uint32_t epoch = pcie_ats_epoch(dma->dev);

    if (qatomic_read(&dma->epoch) != epoch) {
        pci_atc_drop(dma->atc, PCI_ATC_ANY_PASID, 0, UINT64_MAX);
        qatomic_set(&dma->epoch, epoch);
    }
}

/* ---- Data ---- */

/* The target of the next bytes of a range */
typedef struct DMATarget {
    AddressSpace *as;
    hwaddr addr;
} DMATarget;

static bool range_is_write(const DMARange *range)
{
    return range->dir == DMA_DIRECTION_FROM_DEVICE;
}

static uint32_t range_need(const DMARange *range)
{
    unsigned flags = range->transfer->flags;

    return (range_is_write(range) ? PCI_ATC_WRITE : PCI_ATC_READ) |
           (flags & PCI_ATS_DMA_EXEC ? PCI_ATC_EXEC : 0) |
           (flags & PCI_ATS_DMA_PRIV ? PCI_ATC_PRIV : 0);
}

static void transfer_advance(DMATransfer *t, size_t n)
{
    t->moved += n;
    t->left -= n;
    t->stalled = 0;
    for (unsigned i = 0; i < t->num_ranges; i++) {
        DMARange *range = &t->range[i];

        range->addr += n;
        range->prefetched -= MIN(range->prefetched, n);
        range->attempts = 0;
    }
}

/* The visit of a transfer with a buffer */
static bool transfer_copy(void *opaque, void *const *data, size_t len)
{
    DMATransfer *t = opaque;

    if (range_is_write(&t->range[0])) {
        memcpy(data[0], t->buf, len);
    } else {
        memcpy(t->buf, data[0], len);
    }
    t->buf += len;
    return true;
}

static MemTxAttrs transfer_attrs(const DMATransfer *t, PCIAddressType type)
{
    return (MemTxAttrs) {
        .requester_id = pci_requester_id(t->dma->dev),
        .address_type = type,
    };
}

/*
 * Find the RAM at @target, and reduce @len to its length.  Returns NULL if
 * there is no RAM.  Called within an RCU read-side critical section.  Does not
 * take the BQL.
 */
static void *range_map(const DMARange *range, const DMATarget *target,
                       hwaddr *len, MemTxAttrs attrs)
{
    bool is_write = range_is_write(range);
    hwaddr xlat;
    MemoryRegion *mr = address_space_translate(target->as, target->addr, &xlat,
                                               len, is_write, attrs);

    if (!memory_access_is_direct(mr, is_write, attrs)) {
        return NULL;
    }
    /* address_space_unmap() drops this reference. */
    memory_region_ref(mr);
    return qemu_map_ram_ptr(mr->ram_block, xlat);
}

/*
 * Visit the RAM at the targets, at most @len bytes, that is contiguous in each
 * range.  Returns its length; 0 if a target, that of the stalled range, is not
 * RAM.
 */
static hwaddr transfer_visit_piece(DMATransfer *t, const DMATarget *target,
                                   hwaddr len, MemTxAttrs attrs)
{
    void *data[PCI_ATS_DMA_RANGES];
    unsigned mapped;

    for (mapped = 0; mapped < t->num_ranges; mapped++) {
        data[mapped] = range_map(&t->range[mapped], &target[mapped], &len,
                                 attrs);
        if (!data[mapped]) {
            t->stalled = mapped;
            len = 0;
            break;
        }
    }
    if (len) {
        bool more = t->visit(t->visit_opaque, data, len);

        transfer_advance(t, len);
        t->left = more ? t->left : 0;
    }
    /* Unmapping marks RAM as dirty, and invalidates translated code. */
    for (unsigned i = 0; i < mapped; i++) {
        address_space_unmap(target[i].as, data[i], len,
                            len && range_is_write(&t->range[i]), len);
    }
    return len;
}

/* Visit @len bytes at the targets; returns whether all are RAM */
static bool transfer_visit(DMATransfer *t, DMATarget *target, hwaddr len,
                           PCIAddressType type)
{
    MemTxAttrs attrs = transfer_attrs(t, type);

    RCU_READ_LOCK_GUARD();
    while (len && t->left) {
        hwaddr n = transfer_visit_piece(t, target, len, attrs);

        if (!n) {
            return false;
        }
        len -= n;
        for (unsigned i = 0; i < t->num_ranges; i++) {
            target[i].addr += n;
        }
    }
    return true;
}

/*
 * Look up the target of translated requests, and cut @len to one translation.
 * Returns 1; 0 if the ATC has no translation; -EAGAIN if it has one for
 * untranslated requests; or -EFAULT.
 */
static int range_find_translated(DMARange *range, PCIATCAccess *access,
                                 hwaddr *len, DMATarget *target)
{
    DMATransfer *t = range->transfer;
    PCIATCRun run;

    if (!pci_atc_lookup(access, t->pasid, range->addr, *len, range_need(range),
                        &run)) {
        return 0;
    }
    *len = run.length;
    if (run.flags & PCI_ATC_UNTRANSLATED) {
        return t->flags & PCI_ATS_DMA_TRANSLATED_ONLY ? -EFAULT : -EAGAIN;
    }
    target->addr = run.translated_addr;
    target->as = pci_dma_target(t->dma->dev, run.translated_addr, run.length,
                                range_is_write(range),
                                transfer_attrs(t, PCI_AT_TRANSLATED));
    return target->as ? 1 : -EFAULT;
}

/* As transfer_visit_cached(), for one translation of each range */
static int transfer_visit_translated(DMATransfer *t, PCIATCAccess *access,
                                     hwaddr *len)
{
    DMATarget target[PCI_ATS_DMA_RANGES];

    for (unsigned i = 0; i < t->num_ranges; i++) {
        int ret = range_find_translated(&t->range[i], access, len, &target[i]);

        if (ret <= 0) {
            t->stalled = i;
            return ret;
        }
    }
    return transfer_visit(t, target, *len, PCI_AT_TRANSLATED) ? 1 : -EIO;
}

/*
 * Visit memory as far as the ATC has translations, at most CHUNK bytes.
 * Returns 1; 0 if the ATC has no translation for the stalled range; -EAGAIN if
 * @len bytes of the stalled range can be accessed untranslated only; or an
 * error.
 */
static int transfer_visit_cached(DMATransfer *t, hwaddr *len)
{
    PCIATSDMA *dma = t->dma;
    size_t before = t->left;
    size_t end = before - MIN(before, CHUNK);
    PCIATCAccess access;
    int ret = 1;

    pci_atc_access_begin(dma->atc, &access);
    /*
     * A thread that withdraws a permission and calls pci_ats_dma_recheck()
     * either waits for this access, or this check finds the permission missing.
     */
    while (ret > 0 && t->left > end && !transfer_check(t) &&
           pcie_ats_epoch(dma->dev) == qatomic_read(&dma->epoch)) {
        *len = t->left - end;
        ret = transfer_visit_translated(t, &access, len);
    }
    pci_atc_access_end(&access);
    return t->left != before ? 1 : ret;
}

/* Find the target of untranslated requests; cuts @len to one translation */
static bool range_find_untranslated(DMARange *range, hwaddr *len,
                                    DMATarget *target)
{
    DMATransfer *t = range->transfer;
    PCIDevice *dev = t->dma->dev;

    /*
     * This holds for threads with the BQL, too: the guest can direct the report
     * of a fault to a register of the function, which would wait for this call.
     */
    if (!pci_iommu_is_thread_safe(dev)) {
        warn_report_once("%s: the IOMMU in front of it cannot translate for "
                         "devices with threads; use another one or none",
                         dev->name);
        return false;
    }
    target->addr = range->addr;
    target->as = t->pasid == PCI_NO_PASID
                 ? pci_get_address_space(dev)
                 : pci_pasid_target(dev, t->pasid, t->flags & PCI_ATS_DMA_PRIV,
                                    t->flags & PCI_ATS_DMA_EXEC, range->addr,
                                    range_is_write(range), &target->addr, len);
    return target->as;
}

/* Visit at most @len bytes by untranslated requests; returns 0 or -EFAULT */
static int transfer_visit_untranslated(DMATransfer *t, hwaddr len)
{
    DMATarget target[PCI_ATS_DMA_RANGES];

    len = MIN(len, CHUNK);
    for (unsigned i = 0; i < t->num_ranges; i++) {
        if (!range_find_untranslated(&t->range[i], &len, &target[i])) {
            t->stalled = i;
            return -EFAULT;
        }
    }
    if (transfer_visit(t, target, len, PCI_AT_UNTRANSLATED)) {
        return 0;
    }
    /* The IOMMU records faults of requests with PASID itself. */
    if (t->pasid == PCI_NO_PASID) {
        const DMARange *range = &t->range[t->stalled];

        pci_untranslated_blocked(t->dma->dev, range->addr,
                                 range_is_write(range));
    }
    return -EFAULT;
}

/*
 * Enclose untranslated requests, since an invalidation of their translation
 * waits for them, too.
 */
static int transfer_move_untranslated(DMATransfer *t, hwaddr len)
{
    PCIDevice *dev = t->dma->dev;
    unsigned call, request;
    int ret = transfer_begin_call(t, &call);

    if (ret) {
        return ret;
    }
    request = pci_untranslated_begin(dev);
    ret = transfer_visit_untranslated(t, len);
    pci_untranslated_end(dev, request);
    transfer_end_call(t, call);
    return ret;
}

/* ---- Page requests ---- */

static bool transfer_can_request_pages(DMATransfer *t)
{
    return !(t->flags & PCI_ATS_DMA_NO_PRI) &&
           pcie_pri_enabled(t->dma->dev) && dma_listener_add_pri(t->listener);
}

/*
 * Send @n requests, from @addr on, the last of which closes the group.  This is
 * a single call, so that an event that ends the transfer does not leave its
 * group unclosed: otherwise, for the guest, its pages would belong to the next
 * group with that index.  Sets @sent to the number of requests sent.
 */
static int range_send_requests(DMARange *range, hwaddr addr, unsigned n,
                               const PRIGroupRef *ref, unsigned *sent)
{
    DMATransfer *t = range->transfer;
    unsigned stu = pcie_ats_stu(t->dma->dev);
    unsigned token;
    int ret = transfer_begin_call(t, &token);

    *sent = 0;
    if (ret) {
        return ret;
    }
    while (*sent < n && !ret) {
        ret = pcie_pri_send(t->dma->dev, t->pasid, t->flags & PCI_ATS_DMA_PRIV,
                            t->flags & PCI_ATS_DMA_EXEC,
                            addr + ((hwaddr)*sent << stu), *sent == n - 1, ref,
                            range_is_write(range));
        *sent += !ret;
    }
    transfer_end_call(t, token);
    return ret;
}

/*
 * Open a group for at most @n pages from @addr on.  Sets @n to the number of
 * pages.  From here on a reset may end the group; @ref remains valid.
 */
static DMAGroup *range_open_group(DMARange *range, hwaddr addr, unsigned *n,
                                  PRIGroupRef *ref)
{
    DMATransfer *t = range->transfer;
    PCIATSDMA *dma = t->dma;
    unsigned stu = pcie_ats_stu(dma->dev);
    bool demand = *n == 1 && addr >> stu == range->addr >> stu;
    DMAGroup *group;

    t->requested_pages = true;
    QEMU_LOCK_GUARD(&dma->lock);
    group = dma_group_open(range, addr >> stu << stu, 1ULL << stu, *n, demand);
    if (group) {
        *n = group->requests;
        *ref = group->ref;
    }
    return group;
}

/*
 * Request at most @n pages from @addr on, as one group.  Returns the number of
 * pages, or an error: -ENOSPC if the allocation or the queue is used up now.
 */
static int range_request_group(DMARange *range, hwaddr addr, unsigned n)
{
    DMATransfer *t = range->transfer;
    PCIATSDMA *dma = t->dma;
    unsigned stu = pcie_ats_stu(dma->dev);
    PRIGroupRef ref;
    DMAGroup *group = range_open_group(range, addr, &n, &ref);
    unsigned sent;
    int ret;

    if (!group) {
        return pcie_pri_get_req_alloc(dma->dev) ? -ENOSPC : -EFAULT;
    }
    if (dma_inject_refusal(dma, t->pasid, addr)) {
        QEMU_LOCK_GUARD(&dma->lock);
        dma_group_refuse(group, range);
        return n;
    }
    ret = range_send_requests(range, addr >> stu << stu, n, &ref, &sent);
    /* -EAGAIN: a response or a reset has ended the group */
    if (ret && ret != -EAGAIN) {
        QEMU_LOCK_GUARD(&dma->lock);
        dma_group_cut(group, range, sent);
        return ret;
    }
    return n;
}

/*
 * Send the last request of the unclosed group.  Returns -ENOSPC if the queue is
 * full now.
 */
static int range_send_last(DMARange *range)
{
    PCIATSDMA *dma = range->transfer->dma;
    DMAGroup *group;
    PRIGroupRef ref;
    unsigned sent;
    hwaddr addr;
    int ret;

    /* Other threads can only clear @unclosed. */
    if (!qatomic_read(&range->unclosed)) {
        return 0;
    }
    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        group = range->unclosed;
        if (!group) {
            return 0;
        }
        addr = group->first;
        ref = group->ref;
    }
    ret = range_send_requests(range, addr, 1, &ref, &sent);
    if (ret && ret != -EAGAIN) {
        return ret;
    }
    qatomic_set(&range->unclosed, NULL);
    return 0;
}

bool dma_transfer_send_last(DMATransfer *t)
{
    bool sent = true;

    for (unsigned i = 0; i < t->num_ranges; i++) {
        sent &= range_send_last(&t->range[i]) != -ENOSPC;
    }
    return sent;
}

/*
 * Check whether a response is due to a group for the page at which the range
 * stops, and if so let the transfer wait for it.  A thread that ends transfers
 * takes the lock after its change, and wakes transfers that wait: either this
 * function sees the change, or that thread sees that the transfer waits.
 */
static bool range_await(DMARange *range)
{
    DMATransfer *t = range->transfer;
    PCIATSDMA *dma = t->dma;

    QEMU_LOCK_GUARD(&dma->lock);
    if (!transfer_check(t)) {
        t->awaited = dma_group_find(range, range->addr);
    }
    return t->awaited;
}

void dma_transfer_end_starving(DMATransfer *t)
{
    for (unsigned i = 0; i < t->num_ranges; i++) {
        if (t->range[i].starved) {
            QEMU_LOCK_GUARD(&t->dma->lock);
            dma_group_set_starved(&t->range[i], false);
        }
    }
}

/* ---- Translation requests ---- */

/*
 * Request translations of @len bytes from @addr on, and enter them into the
 * ATC.  Returns their number, at least 1, or an error.
 */
static ssize_t range_translate(DMARange *range, hwaddr addr, size_t len,
                               IOMMUTLBEntry *entries)
{
    DMATransfer *t = range->transfer;
    PCIATSDMA *dma = t->dma;
    uint64_t token = pci_atc_fill_begin(dma->atc);
    uint32_t err_count;
    unsigned call;
    ssize_t n = transfer_begin_call(t, &call);

    if (n) {
        return n;
    }
    n = pci_ats_request_translation(dma->dev, t->pasid,
                                    t->flags & PCI_ATS_DMA_PRIV,
                                    t->flags & PCI_ATS_DMA_EXEC, addr, len,
                                    !range_is_write(range), entries,
                                    MAX_TRANSLATIONS, &err_count);
    transfer_end_call(t, call);
    if (n == -ENOMEM) {
        n = MAX_TRANSLATIONS;
    }
    if (n <= 0) {
        return n ?: -EFAULT;
    }
    pci_atc_fill_commit(dma->atc, token, t->pasid, entries, n);
    return n;
}

static bool range_lacks(const DMARange *range, const IOMMUTLBEntry *entry)
{
    IOMMUAccessFlags need = range_need(range) & (IOMMU_RW | IOMMU_EXEC);

    return (entry->perm & need) != need;
}

/* ---- Prefetch ---- */

/* Request the pages from @addr to @last; returns false if not all were sent */
static bool range_request_pages(DMARange *range, hwaddr addr, hwaddr last)
{
    unsigned stu = pcie_ats_stu(range->transfer->dma->dev);
    hwaddr left = (last >> stu) - (addr >> stu) + 1;

    while (left) {
        int n = range_request_group(range, addr, MIN(left, GROUP_PAGES));

        if (n < 0) {
            return false;
        }
        left -= n;
        addr = ((addr >> stu) + n) << stu;
        range->prefetched = MIN(addr - range->addr, range->transfer->left);
    }
    return true;
}

/*
 * Request translations of the bytes from @prefetched to @limit, and the pages
 * that are missing among them.  Returns false if no further progress is
 * possible yet.
 */
static bool range_fetch(DMARange *range, size_t limit)
{
    IOMMUTLBEntry entries[MAX_TRANSLATIONS];
    hwaddr addr = range->addr + range->prefetched;
    hwaddr last = range->addr + (limit - 1);
    ssize_t n = range_translate(range, addr, limit - range->prefetched,
                                entries);
    bool can_request = n > 0 && transfer_can_request_pages(range->transfer);
    ssize_t i = 0;

    while (i < n) {
        hwaddr first = MAX(addr, entries[i].iova & ~entries[i].addr_mask);
        bool missing = range_lacks(range, &entries[i]);
        hwaddr end;

        /* Request adjacent missing pages together. */
        do {
            end = MIN(last, entries[i].iova | entries[i].addr_mask);
        } while (++i < n && missing && range_lacks(range, &entries[i]));
        if (missing &&
            !(can_request && range_request_pages(range, first, end))) {
            return false;
        }
        range->prefetched = end - range->addr + 1;
    }
    return n > 0;
}

/* Skip translations in the ATC from @prefetched on, or fetch the next ones */
static bool range_prefetch_more(DMARange *range, size_t limit)
{
    DMATransfer *t = range->transfer;
    PCIATCAccess access;
    PCIATCRun run;
    bool found;

    pci_atc_access_begin(t->dma->atc, &access);
    found = pci_atc_lookup(&access, t->pasid, range->addr + range->prefetched,
                           limit - range->prefetched, range_need(range), &run);
    pci_atc_access_end(&access);
    if (!found) {
        return range_fetch(range, limit);
    }
    range->prefetched += run.length;
    return true;
}

/*
 * Prefetch the next @limit bytes.  Returns false if no further progress is
 * possible yet, because the transfer has to end, for example.
 */
static bool range_prefetch(DMARange *range, size_t limit)
{
    while (range->prefetched < limit) {
        size_t before = range->prefetched;

        if (transfer_check(range->transfer) ||
            !range_prefetch_more(range, limit) ||
            range->prefetched <= before) {
            return false;
        }
    }
    return true;
}

/* Check whether to prefetch; a demand page request gets the last page */
static bool range_should_prefetch(const DMARange *range)
{
    const DMATransfer *t = range->transfer;
    hwaddr unit;

    if (qatomic_read(&range->prefetch) != DMA_PREFETCH_ON ||
        qatomic_read(&range->unclosed)) {
        return false;
    }
    unit = 1ULL << pcie_ats_stu(t->dma->dev);
    return t->left > unit - (range->addr & (unit - 1)) &&
           range->prefetched < MIN(t->left, WINDOW / 2);
}

/* Check whether the allocation permits a group of useful size */
static bool prefetch_has_room(PCIATSDMA *dma)
{
    uint32_t alloc = pcie_pri_get_req_alloc(dma->dev);

    return pcie_pri_get_room(dma->dev) >= MIN(alloc, GROUP_PAGES);
}

/*
 * Returns the length to prefetch of one range before it is the turn of another:
 * at least 1 byte, for all register values
 */
static hwaddr transfer_prefetch_slice(const DMATransfer *t)
{
    unsigned stu = pcie_ats_stu(t->dma->dev);
    hwaddr share = MAX(pcie_pri_get_req_alloc(t->dma->dev) / t->num_ranges, 1);

    return t->num_ranges == 1 || share > WINDOW >> stu ? WINDOW : share << stu;
}

/* Returns the range with the smallest prefetched length */
static DMARange *transfer_least_prefetched(DMATransfer *t)
{
    DMARange *least = &t->range[0];

    for (unsigned i = 1; i < t->num_ranges; i++) {
        if (t->range[i].prefetched < least->prefetched) {
            least = &t->range[i];
        }
    }
    return least;
}

/* Prefetch in turns, so that no range takes all of the allocation */
static void transfer_prefetch(DMATransfer *t)
{
    DMARange *range = transfer_least_prefetched(t);
    hwaddr slice;

    if (!range_should_prefetch(range) || !prefetch_has_room(t->dma)) {
        return;
    }
    slice = transfer_prefetch_slice(t);
    do {
        size_t limit = MIN(range->prefetched + slice, MIN(t->left, WINDOW));

        if (!range_prefetch(range, limit)) {
            return;
        }
        range = transfer_least_prefetched(t);
    } while (range_should_prefetch(range));
}

/* Enable prefetch after a missing page; returns true if it was disabled */
static bool transfer_start_prefetch(DMATransfer *t)
{
    bool started = false;

    for (unsigned i = 0; i < t->num_ranges; i++) {
        DMARange *range = &t->range[i];

        if (qatomic_read(&range->prefetch) == DMA_PREFETCH_AFTER_FAULT) {
            qatomic_set(&range->prefetch, DMA_PREFETCH_ON);
            started = true;
        }
    }
    return started;
}

/* ---- Steps ---- */

static bool transfer_may_wait(const DMATransfer *t)
{
    return t->mode != DMA_SYNC_BQL;
}

static DMAStep transfer_end(DMATransfer *t, int ret)
{
    t->ret = ret;
    return DMA_STEP_ENDED;
}

/* Handle a missing page at which the range stops */
static DMAStep range_fault(DMARange *range)
{
    DMATransfer *t = range->transfer;
    int ret;

    if (!transfer_can_request_pages(t)) {
        return transfer_end(t, -EFAULT);
    }
    if (!transfer_may_wait(t)) {
        return transfer_end(t, -EWOULDBLOCK);
    }
    ret = range_request_group(range, range->addr, 1);
    if (ret > 0) {
        return range_await(range) ? DMA_STEP_WAITS : DMA_STEP_CONTINUES;
    }
    if (ret == -ENOSPC) {
        return DMA_STEP_DELAYED;
    }
    return transfer_end(t, ret == -EPERM || ret == -ECANCELED ? -ECANCELED
                                                              : -EFAULT);
}

/*
 * Without page requests a missing page ends the transfer, and the walk of the
 * pages behind it is in vain.  Therefore request no more than has been moved.
 */
static size_t transfer_request_length(const DMATransfer *t)
{
    size_t limit = t->flags & PCI_ATS_DMA_NO_PRI
                   ? MIN(WINDOW, MAX(t->moved, FIRST_REQUEST)) : WINDOW;

    return MIN(t->left, limit);
}

/* Send the translation request for the address at which the range stops */
static DMAStep range_request(DMARange *range)
{
    IOMMUTLBEntry entries[MAX_TRANSLATIONS];
    DMATransfer *t = range->transfer;
    ssize_t n;

    if (++range->attempts > MAX_ATTEMPTS) {
        /*
         * Translations are invalidated as soon as they have been obtained, or
         * the guest responds with Success although the page is missing.
         */
        range->attempts = 0;
        return transfer_may_wait(t) ? DMA_STEP_DELAYED
                                    : transfer_end(t, -EBUSY);
    }
    n = range_translate(range, range->addr, transfer_request_length(t),
                        entries);
    if (n < 0) {
        return transfer_end(t, n);
    }
    if (!range_lacks(range, entries)) {
        return DMA_STEP_CONTINUES;
    }
    if (transfer_may_wait(t) && transfer_start_prefetch(t)) {
        /* Prefetch requests this page and the next ones, within its limits. */
        return DMA_STEP_CONTINUES;
    }
    return range_fault(range);
}

/* Handle a miss in the ATC for the address at which the range stops */
static DMAStep range_miss(DMARange *range)
{
    DMATransfer *t = range->transfer;
    int ret = range_send_last(range);

    if (ret == -ENOSPC) {
        return DMA_STEP_DELAYED;
    }
    if (ret) {
        return transfer_end(t, ret == -EPERM ? -ECANCELED : ret);
    }
    if (!range_await(range)) {
        return range_request(range);
    }
    if (pcie_pri_enabled(t->dma->dev)) {
        return DMA_STEP_WAITS;
    }
    /* The guest need not respond any more. */
    return transfer_end(t, -ECANCELED);
}

/* Returns an error that a response has reported for a range, or 0 */
static int transfer_check_responses(DMATransfer *t)
{
    for (unsigned i = 0; i < t->num_ranges; i++) {
        int ret = qatomic_read(&t->range[i].error);

        if (ret) {
            t->stalled = i;
            return ret;
        }
    }
    return 0;
}

static int transfer_get_listener(DMATransfer *t)
{
    return t->listener ? 0 : dma_listener_get(t->dma, t->pasid, &t->listener);
}

/*
 * Visit memory with the requests that the guest has enabled.  Returns 1; 0 if
 * the ATC has no translation for the stalled range; or an error.
 */
static int transfer_move(DMATransfer *t)
{
    PCIATSDMA *dma = t->dma;
    hwaddr len = t->left;
    int ret;

    transfer_check_epoch(dma);
    ret = pcie_ats_enabled(dma->dev) ? transfer_get_listener(t) : -ENODEV;
    if (ret == -ENODEV && !(t->flags & PCI_ATS_DMA_TRANSLATED_ONLY)) {
        return transfer_move_untranslated(t, len) ?: 1;
    }
    if (ret) {
        return ret;
    }
    if (transfer_may_wait(t)) {
        transfer_prefetch(t);
    }
    ret = transfer_visit_cached(t, &len);
    return ret == -EAGAIN ? transfer_move_untranslated(t, len) ?: 1 : ret;
}

static DMAStep transfer_step_one(DMATransfer *t)
{
    int ret = transfer_check_responses(t) ?: transfer_check(t) ?:
              transfer_move(t);

    if (ret < 0) {
        return transfer_end(t, ret);
    }
    if (!ret) {
        return range_miss(&t->range[t->stalled]);
    }
    dma_transfer_end_starving(t);
    return DMA_STEP_CONTINUES;
}

/* Check whether a range wraps around the end of the address space */
static bool transfer_wraps(DMATransfer *t)
{
    for (unsigned i = 0; i < t->num_ranges; i++) {
        if (t->range[i].addr + (t->left - 1) < t->range[i].addr) {
            t->stalled = i;
            return true;
        }
    }
    return false;
}

DMAStep dma_transfer_step(DMATransfer *t)
{
    DMAStep step = DMA_STEP_CONTINUES;

    if (t->left && transfer_wraps(t)) {
        return transfer_end(t, -EINVAL);
    }
    while (step == DMA_STEP_CONTINUES) {
        step = t->left ? transfer_step_one(t) : transfer_end(t, 0);
    }
    return step;
}

void dma_transfer_init(DMATransfer *t, PCIATSDMA *dma, DMAMode mode,
                       const PCIATSDMATransfer *transfer)
{
    unsigned flags = transfer->flags;

    *t = (DMATransfer) {
        .dma = dma,
        .pasid = transfer->pasid,
        .flags = flags,
        .mode = mode,
        .cancel = transfer->cancel,
        .cancels = qatomic_read(&dma->cancels),
        .visit = transfer->buf ? transfer_copy : transfer->visit,
        .visit_opaque = transfer->buf ? t : transfer->opaque,
        .buf = transfer->buf,
        .left = transfer->len,
        .num_ranges = transfer->num_ranges,
    };
    for (unsigned i = 0; i < t->num_ranges; i++) {
        t->range[i] = (DMARange) {
            .transfer = t,
            .addr = transfer->range[i].addr,
            .dir = transfer->range[i].dir,
            .prefetch = !(flags & PCI_ATS_DMA_EXACT) ? DMA_PREFETCH_ON
                        : flags & PCI_ATS_DMA_NO_PRI ? DMA_PREFETCH_DEMAND_ONLY
                                                     : DMA_PREFETCH_AFTER_FAULT,
        };
    }
}

/* Abandon the groups of the transfer, which then receives no more responses */
static void transfer_abandon_groups(DMATransfer *t)
{
    /* The thread that delivered the last response may still use @t. */
    QEMU_LOCK_GUARD(&t->dma->lock);
    for (unsigned i = 0; i < t->num_ranges; i++) {
        dma_group_abandon(&t->range[i]);
    }
}

void dma_transfer_release(DMATransfer *t)
{
    dma_transfer_end_starving(t);
    if (t->requested_pages) {
        transfer_abandon_groups(t);
    }
    if (t->listener) {
        dma_listener_put(t->listener);
    }
}
