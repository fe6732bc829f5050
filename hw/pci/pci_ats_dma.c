/*
 * DMA for device models with ATS: one call that does everything
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A request is run by dma_step() until it has ended or waits: in the thread of
 * the caller if it is synchronous, in the worker otherwise.
 *
 * Locks: @ctx_lock protects the table of PASIDs and is held while notifiers
 * are registered and unregistered; no notifier takes it.  @lock protects the
 * rest; nothing is called with it held.
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/queue.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/pci/pci_ats_dma.h"
#include "hw/pci/pci_ats_info.h"
#include "hw/pci/pci_device.h"
#include "pci-internal.h"

/* PASIDs that are registered with the IOMMU at once */
#define MAX_PASIDS          256
/* Page requests that one DMA request sends before it waits */
#define MAX_PAGE_REQUESTS   16
/* Translations that one DMA request asks for at once */
#define MAX_TRANSLATIONS    64
/* Times that a request asks in a row before it takes a rest */
#define MAX_ATTEMPTS        16
/* How long it rests, also when there is no room for its page requests */
#define BACKOFF_MS          1

/* A PASID that the function uses */
typedef struct DMAContext {
    PCIATSDMA *dma;
    uint32_t pasid;
    unsigned users;             /* requests under way; under @ctx_lock */
    bool has_pri;
    IOMMUNotifier iotlb;
    IOMMUPRINotifier pri;
    QTAILQ_ENTRY(DMAContext) lru;
} DMAContext;

typedef struct DMARequest {
    DMAContext *ctx;
    uint32_t pasid;
    unsigned flags;
    hwaddr addr;
    uint8_t *buf;
    size_t len;
    DMADirection dir;
    unsigned attempts;
    /* Under @lock: responses awaited, and what they said */
    unsigned pending;
    int response;
    bool parked;
    /* Asynchronous requests */
    PCIATSDMADone *done;
    void *opaque;
    QTAILQ_ENTRY(DMARequest) entry;
} DMARequest;

typedef QTAILQ_HEAD(, DMARequest) DMARequestList;

struct PCIATSDMA {
    PCIDevice *dev;
    PCIATC *atc;
    PCIATSCache cache;          /* @atc, as the monitor sees it */
    uint32_t epoch;             /* of ATS, when @atc was last flushed */

    QemuMutex ctx_lock;
    GHashTable *contexts;
    QTAILQ_HEAD(, DMAContext) lru;

    QemuMutex lock;
    QemuCond responded;
    QemuCond work;
    DMARequest *by_prgi[PCI_PRGI_MAX + 1];
    unsigned next_prgi;
    uint32_t inflight;
    DMARequestList runnable;
    DMARequestList delayed;
    DMARequestList parked;
    bool has_worker;
    bool stopping;
    QemuThread worker;
};

typedef enum DMAStep {
    DMA_ENDED,
    DMA_CONTINUES,
    DMA_WAITS,                  /* for responses */
    DMA_DELAYED,                /* until BACKOFF_MS have passed */
} DMAStep;

/* ---- PASIDs ---- */

static void dma_invalidate(IOMMUNotifier *n, IOMMUTLBEntry *entry)
{
    DMAContext *ctx = n->opaque;

    pci_atc_invalidate(ctx->dma->atc, ctx->pasid, entry->iova,
                       entry->iova + entry->addr_mask);
}

static void dma_response(IOMMUPRINotifier *notifier, IOMMUPRIResponse *response)
{
    DMAContext *ctx = container_of(notifier, DMAContext, pri);
    PCIATSDMA *dma = ctx->dma;
    DMARequest *req;

    QEMU_LOCK_GUARD(&dma->lock);
    req = dma->by_prgi[response->prgi & PCI_PRGI_MAX];
    if (!req || req->ctx != ctx) {
        return;
    }
    dma->by_prgi[response->prgi & PCI_PRGI_MAX] = NULL;
    dma->inflight--;
    if (response->response_code == IOMMU_PRI_RESP_FAILURE) {
        req->response = -ECANCELED;
    } else if (response->response_code != IOMMU_PRI_RESP_SUCCESS) {
        req->response = req->response ?: -EFAULT;
    }
    req->pending--;
    if (!req->pending && req->parked) {
        req->parked = false;
        QTAILQ_REMOVE(&dma->parked, req, entry);
        QTAILQ_INSERT_TAIL(&dma->runnable, req, entry);
        qemu_cond_signal(&dma->work);
    }
    qemu_cond_broadcast(&dma->responded);
}

/* With @ctx_lock */
static void dma_context_free(DMAContext *ctx)
{
    PCIATSDMA *dma = ctx->dma;

    g_hash_table_remove(dma->contexts, GUINT_TO_POINTER(ctx->pasid));
    QTAILQ_REMOVE(&dma->lru, ctx, lru);
    pci_iommu_unregister_iotlb_notifier(dma->dev, ctx->pasid, &ctx->iotlb);
    if (ctx->has_pri) {
        pci_pri_unregister_notifier(dma->dev, ctx->pasid);
    }
    /* Nobody tells of invalidations from here on */
    pci_atc_drop(dma->atc, ctx->pasid, 0, UINT64_MAX);
    g_free(ctx);
}

/* With @ctx_lock; false if every PASID is in use */
static bool dma_make_room(PCIATSDMA *dma)
{
    DMAContext *ctx;

    if (g_hash_table_size(dma->contexts) < MAX_PASIDS) {
        return true;
    }
    QTAILQ_FOREACH(ctx, &dma->lru, lru) {
        if (!ctx->users) {
            dma_context_free(ctx);
            return true;
        }
    }
    return false;
}

/* With @ctx_lock */
static int dma_context_new(PCIATSDMA *dma, uint32_t pasid, DMAContext **pctx)
{
    DMAContext *ctx;
    int ret;

    if (!dma_make_room(dma)) {
        return -EBUSY;
    }
    ctx = g_new0(DMAContext, 1);
    ctx->dma = dma;
    ctx->pasid = pasid;
    ret = pci_iommu_init_iotlb_notifier(dma->dev, &ctx->iotlb, dma_invalidate,
                                        ctx);
    if (!ret) {
        ret = pci_iommu_register_iotlb_notifier(dma->dev, pasid, &ctx->iotlb);
    }
    if (ret) {
        g_free(ctx);
        return ret;
    }
    g_hash_table_insert(dma->contexts, GUINT_TO_POINTER(pasid), ctx);
    QTAILQ_INSERT_TAIL(&dma->lru, ctx, lru);
    *pctx = ctx;
    return 0;
}

static int dma_context_get(PCIATSDMA *dma, DMARequest *req)
{
    DMAContext *ctx;
    int ret = 0;

    if (req->ctx) {
        return 0;
    }
    QEMU_LOCK_GUARD(&dma->ctx_lock);
    ctx = g_hash_table_lookup(dma->contexts, GUINT_TO_POINTER(req->pasid));
    if (!ctx) {
        ret = dma_context_new(dma, req->pasid, &ctx);
    }
    if (!ret) {
        ctx->users++;
        QTAILQ_REMOVE(&dma->lru, ctx, lru);
        QTAILQ_INSERT_TAIL(&dma->lru, ctx, lru);
        req->ctx = ctx;
    }
    return ret;
}

static void dma_context_put(PCIATSDMA *dma, DMARequest *req)
{
    if (req->ctx) {
        QEMU_LOCK_GUARD(&dma->ctx_lock);
        req->ctx->users--;
    }
}

static bool dma_context_add_pri(PCIATSDMA *dma, DMAContext *ctx)
{
    QEMU_LOCK_GUARD(&dma->ctx_lock);
    if (!ctx->has_pri) {
        ctx->pri.notify = dma_response;
        ctx->has_pri = !pci_pri_register_notifier(dma->dev, ctx->pasid,
                                                  &ctx->pri);
    }
    return ctx->has_pri;
}

/* ---- Moving data ---- */

static int dma_result(MemTxResult result)
{
    if (result == MEMTX_OK) {
        return 0;
    }
    return result & MEMTX_ERROR ? -EIO : -EFAULT;
}

static void dma_advance(DMARequest *req, size_t n)
{
    req->addr += n;
    req->buf += n;
    req->len -= n;
    req->attempts = 0;
}

static int dma_untranslated(PCIATSDMA *dma, DMARequest *req, size_t len)
{
    MemTxResult result;

    if (req->pasid == PCI_NO_PASID) {
        MemTxAttrs attrs = { .requester_id = pci_requester_id(dma->dev) };

        result = pci_dma_rw(dma->dev, req->addr, req->buf, len, req->dir,
                            attrs);
    } else {
        result = pci_pasid_dma_rw(dma->dev, req->pasid,
                                  req->flags & PCI_ATS_DMA_PRIV,
                                  req->flags & PCI_ATS_DMA_EXEC, req->addr,
                                  req->buf, len, req->dir);
    }
    if (result == MEMTX_OK) {
        dma_advance(req, len);
    }
    return dma_result(result);
}

static MemTxAttrs dma_translated_attrs(PCIATSDMA *dma)
{
    return (MemTxAttrs) {
        .requester_id = pci_requester_id(dma->dev),
        .address_type = PCI_AT_TRANSLATED,
    };
}

static uint32_t dma_need(const DMARequest *req)
{
    return (req->dir == DMA_DIRECTION_FROM_DEVICE ? PCI_ATC_WRITE
                                                  : PCI_ATC_READ) |
           (req->flags & PCI_ATS_DMA_EXEC ? PCI_ATC_EXEC : 0) |
           (req->flags & PCI_ATS_DMA_PRIV ? PCI_ATC_PRIV : 0);
}

/*
 * Move data to or from RAM by a translated request.  Within an access to the
 * ATC: nothing here takes the BQL.  Returns how much was moved; less than @len
 * if something that is not RAM follows.
 */
static size_t dma_copy_ram(PCIATSDMA *dma, DMARequest *req, hwaddr addr,
                           size_t len)
{
    AddressSpace *as = pci_get_address_space(dma->dev);
    MemTxAttrs attrs = dma_translated_attrs(dma);
    bool is_write = req->dir == DMA_DIRECTION_FROM_DEVICE;
    uint8_t *buf = req->buf;
    size_t left = len;

    RCU_READ_LOCK_GUARD();
    while (left) {
        hwaddr xlat, n = left;
        MemoryRegion *mr = address_space_translate(as, addr, &xlat, &n,
                                                   is_write, attrs);
        void *ram;

        if (!memory_access_is_direct(mr, is_write, attrs)) {
            break;
        }
        ram = qemu_map_ram_ptr(mr->ram_block, xlat);
        if (is_write) {
            memcpy(ram, buf, n);
        } else {
            memcpy(buf, ram, n);
        }
        /* For dirty tracking and translated code; consumes the reference */
        memory_region_ref(mr);
        address_space_unmap(as, ram, n, is_write, n);
        addr += n;
        buf += n;
        left -= n;
    }
    return len - left;
}

/* Use the ATC's translation for what is left of the request, if it has one */
static bool dma_lookup(PCIATSDMA *dma, DMARequest *req, PCIATCAccess *access,
                       PCIATCRun *run)
{
    pci_atc_access_begin(dma->atc, access);
    if (pci_atc_lookup(access, req->pasid, req->addr, req->len, dma_need(req),
                       run)) {
        return true;
    }
    pci_atc_access_end(access);
    return false;
}

/*
 * A translated request to something that is not RAM, or that the IOMMU blocks.
 * MMIO needs the BQL; while it is held no invalidation can come.
 */
static int dma_translated_mmio(PCIATSDMA *dma, DMARequest *req)
{
    PCIATCAccess access;
    PCIATCRun run;
    MemTxResult result;

    BQL_LOCK_GUARD();
    if (!dma_lookup(dma, req, &access, &run)) {
        return 0;
    }
    pci_atc_access_end(&access);
    if (run.flags & PCI_ATC_UNTRANSLATED) {
        return dma_untranslated(dma, req, run.length);
    }
    result = pci_dma_rw(dma->dev, run.translated_addr, req->buf, run.length,
                        req->dir, dma_translated_attrs(dma));
    if (result == MEMTX_OK) {
        dma_advance(req, run.length);
    }
    return dma_result(result);
}

/* Returns 1 if the ATC had a translation, 0 if not, or an error */
static int dma_translated(PCIATSDMA *dma, DMARequest *req)
{
    PCIATCAccess access;
    PCIATCRun run;
    size_t moved;
    int ret = 0;

    if (!dma_lookup(dma, req, &access, &run)) {
        return 0;
    }
    if (run.flags & PCI_ATC_UNTRANSLATED) {
        pci_atc_access_end(&access);
        ret = dma_untranslated(dma, req, run.length);
    } else {
        moved = dma_copy_ram(dma, req, run.translated_addr, run.length);
        pci_atc_access_end(&access);
        if (moved) {
            dma_advance(req, moved);
        } else {
            ret = dma_translated_mmio(dma, req);
        }
    }
    return ret ?: 1;
}

/* ---- Page requests ---- */

/* Claim a group index; negative if there is none, or no credit */
static int dma_claim_prgi(PCIATSDMA *dma, DMARequest *req)
{
    unsigned i;

    QEMU_LOCK_GUARD(&dma->lock);
    if (dma->inflight >= pcie_pri_get_req_alloc(dma->dev)) {
        return -1;
    }
    for (i = 0; i <= PCI_PRGI_MAX; i++) {
        unsigned prgi = dma->next_prgi++ & PCI_PRGI_MAX;

        if (!dma->by_prgi[prgi]) {
            dma->by_prgi[prgi] = req;
            dma->inflight++;
            req->pending++;
            return prgi;
        }
    }
    return -1;
}

static void dma_return_prgi(PCIATSDMA *dma, DMARequest *req, uint16_t prgi)
{
    QEMU_LOCK_GUARD(&dma->lock);
    if (dma->by_prgi[prgi] == req) {
        dma->by_prgi[prgi] = NULL;
        dma->inflight--;
        req->pending--;
    }
}

/*
 * Ask for one page, as a group of its own: the response to it then does not
 * depend on whether there is room for a next one.
 */
static int dma_request_page(PCIATSDMA *dma, DMARequest *req, hwaddr addr)
{
    bool is_write = req->dir == DMA_DIRECTION_FROM_DEVICE;
    int prgi = dma_claim_prgi(dma, req);
    int ret;

    if (prgi < 0) {
        return pcie_pri_get_req_alloc(dma->dev) ? -ENOSPC : -EFAULT;
    }
    ret = pci_pri_request_page(dma->dev, req->pasid,
                               req->flags & PCI_ATS_DMA_PRIV,
                               req->flags & PCI_ATS_DMA_EXEC, addr, true, prgi,
                               !is_write, is_write);
    if (ret) {
        dma_return_prgi(dma, req, prgi);
    }
    return ret;
}

/*
 * Ask for the pages that @entries, which begin at the request's address, do
 * not give access to.
 */
static DMAStep dma_request_pages(PCIATSDMA *dma, DMARequest *req,
                                 const IOMMUTLBEntry *entries, size_t n,
                                 int *error)
{
    hwaddr unit = 1ULL << pcie_ats_stu(dma->dev);
    hwaddr last = req->addr + (req->len - 1);
    IOMMUAccessFlags need = dma_need(req) & (IOMMU_RW | IOMMU_EXEC);
    unsigned sent = 0;
    size_t i;
    int ret = 0;

    for (i = 0; i < n && !ret; i++) {
        hwaddr first = entries[i].iova & ~entries[i].addr_mask;
        hwaddr end = MIN(first + entries[i].addr_mask, last);
        hwaddr addr = MAX(first, QEMU_ALIGN_DOWN(req->addr, unit));

        if ((entries[i].perm & need) == need) {
            continue;
        }
        for (; sent < MAX_PAGE_REQUESTS; sent++) {
            ret = dma_request_page(dma, req, addr);
            if (ret || end - addr < unit) {
                sent += !ret;
                break;
            }
            addr += unit;
        }
    }
    if (sent) {
        return DMA_WAITS;
    }
    if (ret == -ENOSPC) {
        return DMA_DELAYED;
    }
    *error = ret == -EPERM ? -ECANCELED : -EFAULT;
    return DMA_ENDED;
}

/* ---- Running a request ---- */

/* Ask the IOMMU.  Sets @error if it answers with one. */
static size_t dma_ask(PCIATSDMA *dma, DMARequest *req, IOMMUTLBEntry *entries,
                      int *error)
{
    uint64_t token = pci_atc_fill_begin(dma->atc);
    bool no_write = req->dir == DMA_DIRECTION_TO_DEVICE;
    uint32_t err_count;
    ssize_t n;

    n = pci_ats_request_translation(dma->dev, req->pasid,
                                    req->flags & PCI_ATS_DMA_PRIV,
                                    req->flags & PCI_ATS_DMA_EXEC, req->addr,
                                    req->len, no_write, entries,
                                    MAX_TRANSLATIONS, &err_count);
    if (n == -ENOMEM) {
        n = MAX_TRANSLATIONS;
    }
    if (n <= 0) {
        *error = n ?: -EFAULT;
        return 0;
    }
    pci_atc_fill_commit(dma->atc, token, req->pasid, entries, n);
    return n;
}

/* The first translation of the range does not give the access wanted */
static bool dma_first_is_missing(const DMARequest *req,
                                 const IOMMUTLBEntry *entry)
{
    IOMMUAccessFlags need = dma_need(req) & (IOMMU_RW | IOMMU_EXEC);

    return (entry->perm & need) != need;
}

/* The ATC holds nothing for the address: see that it does */
static DMAStep dma_miss(PCIATSDMA *dma, DMARequest *req, bool may_wait,
                        int *error)
{
    IOMMUTLBEntry entries[MAX_TRANSLATIONS];
    size_t n;

    if (++req->attempts > MAX_ATTEMPTS) {
        /*
         * Translations are invalidated as soon as they have been obtained, or
         * the guest says that a page is there that is not.
         */
        req->attempts = 0;
        *error = may_wait ? 0 : -EBUSY;
        return may_wait ? DMA_DELAYED : DMA_ENDED;
    }
    n = dma_ask(dma, req, entries, error);
    if (*error) {
        return DMA_ENDED;
    }
    if (!dma_first_is_missing(req, entries)) {
        return DMA_CONTINUES;
    }
    if (!pcie_pri_enabled(dma->dev) || !dma_context_add_pri(dma, req->ctx)) {
        *error = -EFAULT;
        return DMA_ENDED;
    }
    if (!may_wait) {
        *error = -EWOULDBLOCK;
        return DMA_ENDED;
    }
    return dma_request_pages(dma, req, entries, n, error);
}

/* Translations obtained before ATS or PASID was switched off are void */
static void dma_check_epoch(PCIATSDMA *dma)
{
    uint32_t epoch = pcie_ats_epoch(dma->dev);

    if (qatomic_read(&dma->epoch) != epoch) {
        pci_atc_drop(dma->atc, PCI_ATC_ANY_PASID, 0, UINT64_MAX);
        qatomic_set(&dma->epoch, epoch);
    }
}

static int dma_check(PCIATSDMA *dma, const DMARequest *req)
{
    if (!pcie_bus_master_enabled(dma->dev)) {
        return -EPERM;
    }
    return req->addr + (req->len - 1) < req->addr ? -EINVAL :
           pci_iommu_check_pasid(dma->dev, req->pasid,
                                 req->flags & PCI_ATS_DMA_PRIV,
                                 req->flags & PCI_ATS_DMA_EXEC);
}

/* One translation's worth of a request */
static DMAStep dma_step_one(PCIATSDMA *dma, DMARequest *req, bool may_wait,
                            int *error)
{
    int ret;

    *error = dma_check(dma, req);
    if (*error) {
        return DMA_ENDED;
    }
    dma_check_epoch(dma);
    ret = pcie_ats_enabled(dma->dev) ? dma_context_get(dma, req) : -ENODEV;
    if (ret == -ENODEV) {
        *error = dma_untranslated(dma, req, req->len);
        return DMA_CONTINUES;
    }
    if (ret) {
        *error = ret;
        return DMA_ENDED;
    }
    ret = dma_translated(dma, req);
    if (ret) {
        *error = MIN(ret, 0);
        return DMA_CONTINUES;
    }
    return dma_miss(dma, req, may_wait, error);
}

/* Run a request as far as possible.  DMA_ENDED sets @error. */
static DMAStep dma_step(PCIATSDMA *dma, DMARequest *req, bool may_wait,
                        int *error)
{
    DMAStep step = DMA_CONTINUES;

    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        *error = req->response;
    }
    while (req->len && !*error && step == DMA_CONTINUES) {
        step = dma_step_one(dma, req, may_wait, error);
    }
    return step == DMA_CONTINUES ? DMA_ENDED : step;
}

int pci_ats_dma_rw(PCIATSDMA *dma, uint32_t pasid, unsigned flags,
                   hwaddr addr, void *buf, size_t len, DMADirection dir)
{
    DMARequest req = {
        .pasid = pasid,
        .flags = flags,
        .addr = addr,
        .buf = buf,
        .len = len,
        .dir = dir,
    };
    bool may_wait = !bql_locked();
    DMAStep step;
    int ret;

    while ((step = dma_step(dma, &req, may_wait, &ret)) != DMA_ENDED) {
        if (step == DMA_DELAYED) {
            g_usleep(BACKOFF_MS * 1000);
            continue;
        }
        QEMU_LOCK_GUARD(&dma->lock);
        while (req.pending) {
            qemu_cond_wait(&dma->responded, &dma->lock);
        }
    }
    dma_context_put(dma, &req);
    return ret;
}

/* ---- Asynchronous requests ---- */

static void dma_end(PCIATSDMA *dma, DMARequest *req, int ret)
{
    dma_context_put(dma, req);
    req->done(req->opaque, ret);
    g_free(req);
}

/* Run a request in the worker; without the lock */
static void dma_run(PCIATSDMA *dma, DMARequest *req)
{
    int ret;
    DMAStep step = dma_step(dma, req, true, &ret);

    if (step == DMA_ENDED) {
        dma_end(dma, req, ret);
        return;
    }
    QEMU_LOCK_GUARD(&dma->lock);
    if (step == DMA_DELAYED) {
        QTAILQ_INSERT_TAIL(&dma->delayed, req, entry);
    } else if (req->pending) {
        req->parked = true;
        QTAILQ_INSERT_TAIL(&dma->parked, req, entry);
    } else {
        QTAILQ_INSERT_TAIL(&dma->runnable, req, entry);
    }
}

/* With the lock, or without threads */
static void dma_make_runnable(PCIATSDMA *dma, DMARequestList *list)
{
    DMARequest *req;

    while ((req = QTAILQ_FIRST(list))) {
        QTAILQ_REMOVE(list, req, entry);
        QTAILQ_INSERT_TAIL(&dma->runnable, req, entry);
    }
}

/* The next request to run, or NULL to stop; with the lock */
static DMARequest *dma_next(PCIATSDMA *dma)
{
    DMARequest *req;

    while (!dma->stopping) {
        req = QTAILQ_FIRST(&dma->runnable);
        if (req) {
            QTAILQ_REMOVE(&dma->runnable, req, entry);
            return req;
        }
        if (QTAILQ_EMPTY(&dma->delayed)) {
            qemu_cond_wait(&dma->work, &dma->lock);
        } else {
            qemu_cond_timedwait(&dma->work, &dma->lock, BACKOFF_MS);
            dma_make_runnable(dma, &dma->delayed);
        }
    }
    return NULL;
}

static void *dma_worker(void *opaque)
{
    PCIATSDMA *dma = opaque;
    DMARequest *req;

    rcu_register_thread();
    qemu_mutex_lock(&dma->lock);
    while ((req = dma_next(dma))) {
        qemu_mutex_unlock(&dma->lock);
        dma_run(dma, req);
        qemu_mutex_lock(&dma->lock);
    }
    qemu_mutex_unlock(&dma->lock);
    rcu_unregister_thread();
    return NULL;
}

void pci_ats_dma_rw_async(PCIATSDMA *dma, uint32_t pasid, unsigned flags,
                          hwaddr addr, void *buf, size_t len,
                          DMADirection dir, PCIATSDMADone *done, void *opaque)
{
    DMARequest *req = g_new0(DMARequest, 1);

    req->pasid = pasid;
    req->flags = flags;
    req->addr = addr;
    req->buf = buf;
    req->len = len;
    req->dir = dir;
    req->done = done;
    req->opaque = opaque;

    QEMU_LOCK_GUARD(&dma->lock);
    QTAILQ_INSERT_TAIL(&dma->runnable, req, entry);
    if (!dma->has_worker) {
        dma->has_worker = true;
        qemu_thread_create(&dma->worker, "pci-ats-dma", dma_worker, dma,
                           QEMU_THREAD_JOINABLE);
    }
    qemu_cond_signal(&dma->work);
}

/* ---- Life ---- */

PCIATSDMA *pci_ats_dma_new(PCIDevice *dev, uint32_t atc_entries)
{
    PCIATSDMA *dma = g_new0(PCIATSDMA, 1);

    dma->dev = dev;
    dma->atc = pci_atc_new(atc_entries);
    dma->epoch = pcie_ats_epoch(dev);
    dma->cache.atc = dma->atc;
    pci_ats_add_cache(dev, &dma->cache);
    qemu_mutex_init(&dma->ctx_lock);
    dma->contexts = g_hash_table_new(NULL, NULL);
    QTAILQ_INIT(&dma->lru);
    qemu_mutex_init(&dma->lock);
    qemu_cond_init(&dma->responded);
    qemu_cond_init(&dma->work);
    QTAILQ_INIT(&dma->runnable);
    QTAILQ_INIT(&dma->delayed);
    QTAILQ_INIT(&dma->parked);
    return dma;
}

static void dma_stop_worker(PCIATSDMA *dma)
{
    bool had_bql = bql_locked();

    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        dma->stopping = true;
        qemu_cond_signal(&dma->work);
    }
    if (!dma->has_worker) {
        return;
    }
    /* The worker may be waiting for the BQL */
    if (had_bql) {
        bql_unlock();
    }
    qemu_thread_join(&dma->worker);
    if (had_bql) {
        bql_lock();
    }
}

void pci_ats_dma_free(PCIATSDMA *dma)
{
    DMAContext *ctx, *next;
    DMARequest *req;

    if (!dma) {
        return;
    }
    /* Before the BQL is given up */
    pci_ats_remove_cache(&dma->cache);
    dma_stop_worker(dma);

    /* After this no response arrives */
    WITH_QEMU_LOCK_GUARD(&dma->ctx_lock) {
        QTAILQ_FOREACH_SAFE(ctx, &dma->lru, lru, next) {
            dma_context_free(ctx);
        }
    }
    dma_make_runnable(dma, &dma->parked);
    dma_make_runnable(dma, &dma->delayed);
    while ((req = QTAILQ_FIRST(&dma->runnable))) {
        QTAILQ_REMOVE(&dma->runnable, req, entry);
        req->done(req->opaque, -ECANCELED);
        g_free(req);
    }

    g_hash_table_destroy(dma->contexts);
    pci_atc_free(dma->atc);
    qemu_cond_destroy(&dma->work);
    qemu_cond_destroy(&dma->responded);
    qemu_mutex_destroy(&dma->lock);
    qemu_mutex_destroy(&dma->ctx_lock);
    g_free(dma);
}

void pci_ats_dma_get_stats(PCIATSDMA *dma, PCIATCStats *stats)
{
    pci_atc_get_stats(dma->atc, stats);
}
