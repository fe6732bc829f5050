/*
 * DMA for device models with ATS: one call that does everything
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A request is run by dma_step() until it has ended or waits: in the thread of
 * the caller if it is synchronous, in the worker otherwise.  One that is
 * short, and whose user agrees, is run by the threads with the BQL that start
 * it and that bring its responses: that spares it the way to the worker.
 *
 * Data is moved in the order of its addresses.  Ahead of it, as far as the
 * window and the page request allocation reach, translations and pages are
 * asked for: while the guest brings in pages, the request goes on with those
 * that are there, and it waits only at a page that it cannot go past.
 *
 * Locks: @ctx_lock protects the table of PASIDs and is held while notifiers
 * are registered and unregistered.  A notifier takes it only to run a request,
 * which keeps its PASID, and so the notifier, from being unregistered.  @lock
 * protects the rest; nothing is called with it held.
 *
 * The worker holds a reference to the PCIATSDMA, and nobody joins it: it may
 * wait for the BQL to report the end of a request while the function is being
 * unrealized, or it may be what unrealizes the function.  From the moment on
 * at which pci_ats_dma_close() returns, the worker does nothing but report the
 * ends of the requests that are left.
 */

#include "qemu/osdep.h"
#include "qemu/drain.h"
#include "qemu/error-report.h"
#include "qemu/main-loop.h"
#include "qemu/queue.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "qemu/units.h"
#include "hw/pci/pci_ats_dma.h"
#include "hw/pci/pci_ats_info.h"
#include "hw/pci/pci_device.h"
#include "pci-internal.h"
#include "trace.h"

/* PASIDs that are registered with the IOMMU at once */
#define MAX_PASIDS          256
/* Translations that one DMA request asks for at once */
#define MAX_TRANSLATIONS    256
/* How far ahead of the data translations and pages are asked for */
#define WINDOW              (4 * MiB)
/* Pages that one group asks for: one response for all is cheaper */
#define GROUP_PAGES         32
/* Data moved before an invalidation gets its turn */
#define CHUNK               (256 * KiB)
/* Data that a thread with the BQL may be held up for */
#define INLINE_MAX          (4 * KiB)
/* Times that a request asks in a row before it takes a rest */
#define MAX_ATTEMPTS        16
/* How long it rests, also when there is no room for its page requests */
#define BACKOFF_MS          1

QEMU_BUILD_BUG_ON(PCI_ANY_PASID != PCI_ATC_ANY_PASID);

/* A PASID that the function uses */
typedef struct DMAContext {
    PCIATSDMA *dma;
    uint32_t pasid;
    unsigned users;             /* requests under way; under @ctx_lock */
    unsigned groups;            /* that are open; under @lock */
    unsigned disowned;          /* of them; under @lock */
    bool has_pri;               /* written under @ctx_lock */
    IOMMUPRINotifier pri;
    QTAILQ_ENTRY(DMAContext) lru;
} DMAContext;

typedef struct DMARequest {
    DMAContext *ctx;
    uint32_t pasid;
    unsigned flags;
    hwaddr addr;
    uint8_t *buf;               /* or: */
    PCIATSDMAVisit *visit;
    size_t len;
    size_t ahead;               /* from @addr on: asked for already */
    bool exact;                 /* its user learns how far it comes */
    bool looks_ahead;           /* if @exact, once a page was missing */
    DMADirection dir;
    unsigned attempts;
    uint32_t cancels;           /* when it began */
    const bool *cancel;         /* or NULL; of PCIATSDMAOrigin */
    bool may_be_loaded;         /* groups of its PASID came with migration */
    bool asked;                 /* for a page: responses may know of it */
    /* Written under @lock */
    unsigned open_groups;
    bool starved;               /* counts in PCIATSDMA.starved */
    bool in_turns;              /* asks for no page before its turn */
    struct DMAGroup *awaited;   /* that it cannot go on without */
    struct DMAGroup *unclosed;  /* whose last request found no room */
    int response;               /* an error that a response brought */
    bool ended;                 /* with @ret, once its groups are answered */
    int ret;
    bool parked;
    /* Asynchronous requests */
    PCIATSDMADone *done;
    void *opaque;
    bool is_inline;             /* not for the worker, if it can be helped */
    QTAILQ_ENTRY(DMARequest) entry;
} DMARequest;

typedef QTAILQ_HEAD(, DMARequest) DMARequestList;

/* A page request group whose response has not come; under @lock */
typedef struct DMAGroup {
    DMAContext *ctx;            /* NULL: the index is free */
    DMARequest *req;            /* NULL: it has ended without the response */
    hwaddr first;
    hwaddr last;
    unsigned requests;          /* one for each unit from @first to @last */
    bool in_turn;               /* for nothing but what @req cannot go past */
    /* Faults on purpose: nothing will come, or it comes at that time */
    bool dropped;
    bool delayed;
    int64_t due;
    IOMMUPRIResponseCode code;
} DMAGroup;

/* pci_ats_dma_close() goes from one to the next */
typedef enum DMALife {
    DMA_OPEN,
    DMA_CLOSING,                /* requests end as soon as they can */
    DMA_CLOSED,                 /* @dev, its PASIDs and groups are gone */
} DMALife;

/*
 * What the worker does.  It is started by the first asynchronous request, takes
 * turns between idle and running, and ends when it is idle and has reported
 * the end of the last request.
 */
typedef enum DMAWorker {
    DMA_WORKER_NONE,
    DMA_WORKER_IDLE,            /* it waits, or reports the end of a request */
    DMA_WORKER_RUNNING,         /* it may access @dev, the IOMMU and memory */
} DMAWorker;

/* Reference counted: one is that of the device model, one the worker's */
struct PCIATSDMA {
    unsigned refs;
    PCIDevice *dev;
    PCIATC *atc;
    PCIATSCache cache;          /* @atc, as the monitor sees it */
    uint32_t epoch;             /* of ATS, when @atc was last flushed */
    uint32_t cancels;           /* number of pci_ats_dma_cancel() */
    bool suspended;             /* written with the BQL */
    Drain *calls;               /* of the IOMMU, that are under way */
    PCIATSInject *inject;       /* or NULL */
    QEMUTimer *delay_timer;     /* if there is @inject */

    QemuMutex ctx_lock;
    IOMMUNotifier iotlb;        /* of all PASIDs */
    bool has_iotlb;             /* it is registered */
    GHashTable *contexts;
    QTAILQ_HEAD(, DMAContext) lru;

    QemuMutex lock;
    QemuCond responded;
    QemuCond work;
    DMAGroup groups[PCI_PRGI_MAX + 1];
    unsigned next_prgi;
    uint32_t inflight;          /* requests of @groups; read at any time */
    unsigned starved;           /* requests whose turn it is, without room */
    unsigned settling;          /* threads in pci_ats_dma_settle() */
    DMARequestList runnable;
    DMARequestList delayed;
    DMARequestList parked;
    DMALife life;               /* written under @lock, read at any time */
    DMAWorker worker;           /* leaves DMA_WORKER_RUNNING without @lock */
};

typedef enum DMAStep {
    DMA_ENDED,
    DMA_CONTINUES,
    DMA_WAITS,                  /* for a response */
    DMA_DELAYED,                /* until BACKOFF_MS have passed */
} DMAStep;

static void dma_run(PCIATSDMA *dma, DMARequest *req);

/* ---- PASIDs ---- */

static void dma_invalidate(IOMMUNotifier *n, IOMMUTLBEntry *entry)
{
    PCIATSDMA *dma = n->opaque;
    bool ignored = dma->inject &&
                   qatomic_read(&dma->inject->ignore_invalidations);

    if (!ignored) {
        pci_atc_invalidate(dma->atc, entry->pasid, entry->iova,
                           entry->iova + entry->addr_mask);
    }
    trace_pci_ats_dma_invalidate(dma->dev->name, dma->dev->devfn, entry->pasid,
                                 entry->iova, entry->addr_mask, ignored);
}

/* With the lock */
static void dma_unpark(PCIATSDMA *dma, DMARequest *req)
{
    req->parked = false;
    QTAILQ_REMOVE(&dma->parked, req, entry);
}

/* Let a request that waits look again; NULL is none.  With the lock */
static void dma_wake(PCIATSDMA *dma, DMARequest *req)
{
    if (!req) {
        return;
    }
    req->awaited = NULL;
    if (req->parked) {
        dma_unpark(dma, req);
        QTAILQ_INSERT_TAIL(&dma->runnable, req, entry);
        qemu_cond_signal(&dma->work);
    }
    qemu_cond_broadcast(&dma->responded);
}

/* With the lock */
static void dma_wake_settling(PCIATSDMA *dma)
{
    if (dma->settling) {
        qemu_cond_broadcast(&dma->responded);
    }
}

/* With the lock; returns the request that opened the group, or NULL */
static DMARequest *dma_close_group(PCIATSDMA *dma, DMAGroup *group)
{
    DMARequest *req = group->req;

    group->ctx->groups--;
    qatomic_set(&dma->inflight, dma->inflight - group->requests);
    if (req) {
        req->open_groups--;
        if (req->unclosed == group) {
            qatomic_set(&req->unclosed, NULL);
        }
    } else {
        group->ctx->disowned--;
        dma_wake_settling(dma);
    }
    *group = (DMAGroup) { };
    return req;
}

/*
 * The guest did not bring in the pages of a group.  Where a request comes to an
 * end, its user is told which page it was: one that was asked for by itself,
 * and whose turn it is.  With the lock.
 */
static void dma_take_refusal(DMARequest *req, bool in_turn)
{
    if (req->exact && !in_turn) {
        qatomic_set(&req->in_turns, true);
    } else if (!req->response) {
        qatomic_set(&req->response, -EFAULT);
    }
}

/* With the lock; returns the request that it lets go on, or NULL */
static DMARequest *dma_take_response(PCIATSDMA *dma, DMAGroup *group,
                                     IOMMUPRIResponseCode code)
{
    bool in_turn = group->in_turn;
    DMARequest *req = dma_close_group(dma, group);

    if (!req) {
        return NULL;
    }
    if (code == IOMMU_PRI_RESP_FAILURE) {
        qatomic_set(&req->response, -ECANCELED);
    } else if (code != IOMMU_PRI_RESP_SUCCESS) {
        dma_take_refusal(req, in_turn);
    }
    return req->awaited == group || req->response || req->ended ? req : NULL;
}

/* Lose or delay the response, if that is wanted; with the lock */
static bool dma_inject_response(PCIATSDMA *dma, DMAGroup *group,
                                IOMMUPRIResponseCode code)
{
    int64_t now;
    uint32_t delay;

    if (!dma->inject || !group->req) {
        return false;
    }
    delay = qatomic_read(&dma->inject->delay_responses);
    group->dropped = pci_ats_inject_take(&dma->inject->drop_responses);
    if (!group->dropped && delay) {
        now = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
        group->delayed = true;
        group->due = now + (int64_t)delay * SCALE_MS;
        group->code = code;
        timer_mod_anticipate_ns(dma->delay_timer, group->due);
    }
    if (group->dropped || group->delayed) {
        trace_pci_ats_dma_inject_response(dma->dev->name, dma->dev->devfn,
                                          group->ctx->pasid,
                                          group - dma->groups, group->first,
                                          code, group->dropped ? 0 : delay);
        return true;
    }
    return false;
}

static void dma_delay_expired(void *opaque)
{
    PCIATSDMA *dma = opaque;
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);

    QEMU_LOCK_GUARD(&dma->lock);
    for (int i = 0; i <= PCI_PRGI_MAX; i++) {
        DMAGroup *group = &dma->groups[i];

        if (group->delayed && group->due <= now) {
            dma_wake(dma, dma_take_response(dma, group, group->code));
        } else if (group->delayed) {
            timer_mod_anticipate_ns(dma->delay_timer, group->due);
        }
    }
}

/* With the lock; returns the request to run in this thread, or NULL */
static DMARequest *dma_wake_inline(PCIATSDMA *dma, DMARequest *req)
{
    if (req && req->parked && req->is_inline && bql_locked()) {
        req->awaited = NULL;
        dma_unpark(dma, req);
        return req;
    }
    dma_wake(dma, req);
    return NULL;
}

/*
 * What they wait for may be over: a response to a group from before a migration
 * has come, or none will come.  @ctx is NULL for all.  With the lock.
 */
static void dma_wake_ended(PCIATSDMA *dma, DMAContext *ctx)
{
    DMARequest *req, *next;

    QTAILQ_FOREACH_SAFE(req, &dma->parked, entry, next) {
        if (req->ended && (!ctx || req->ctx == ctx)) {
            dma_wake(dma, req);
        }
    }
}

/*
 * Response Failure: the guest need not answer the other requests of the
 * function (10.4.2.1).  With the lock.
 */
static void dma_fail_groups(PCIATSDMA *dma)
{
    for (int i = 0; i <= PCI_PRGI_MAX; i++) {
        DMARequest *req = dma->groups[i].req;

        if (req) {
            qatomic_set(&req->response, -ECANCELED);
            dma_wake(dma, req);
        }
    }
    dma_wake_ended(dma, NULL);
}

static void dma_response(IOMMUPRINotifier *notifier, IOMMUPRIResponse *response)
{
    DMAContext *ctx = container_of(notifier, DMAContext, pri);
    PCIATSDMA *dma = ctx->dma;
    DMAGroup *group = &dma->groups[response->prgi & PCI_PRGI_MAX];
    DMARequest *req = NULL;

    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        if (group->ctx == ctx && !group->dropped && !group->delayed &&
            !dma_inject_response(dma, group, response->response_code)) {
            req = dma_take_response(dma, group, response->response_code);
            req = dma_wake_inline(dma, req);
        }
        /* They may wait for a group that came with migration */
        dma_wake_ended(dma, ctx);
        dma_wake_settling(dma);
        if (response->response_code == IOMMU_PRI_RESP_FAILURE) {
            dma_fail_groups(dma);
        }
    }
    if (req) {
        dma_run(dma, req);
    }
}

/* With @ctx_lock */
static void dma_context_free(DMAContext *ctx)
{
    PCIATSDMA *dma = ctx->dma;

    g_hash_table_remove(dma->contexts, GUINT_TO_POINTER(ctx->pasid));
    QTAILQ_REMOVE(&dma->lru, ctx, lru);
    pci_ats_info_remove_notifier(dma->dev, ctx->pasid);
    if (ctx->has_pri) {
        pci_pri_unregister_notifier(dma->dev, ctx->pasid);
    }
    /* What is not in use leaves its room in the ATC to others */
    pci_atc_drop(dma->atc, ctx->pasid, 0, UINT64_MAX);
    g_free(ctx);
}

/* With @ctx_lock */
static bool dma_context_busy(PCIATSDMA *dma, DMAContext *ctx)
{
    QEMU_LOCK_GUARD(&dma->lock);
    return ctx->users || ctx->groups ||
           pcie_pri_has_loaded_groups(dma->dev, ctx->pasid);
}

/* With @ctx_lock; false if every PASID is in use */
static bool dma_make_room(PCIATSDMA *dma)
{
    DMAContext *ctx;

    if (g_hash_table_size(dma->contexts) < MAX_PASIDS) {
        return true;
    }
    QTAILQ_FOREACH(ctx, &dma->lru, lru) {
        if (!dma_context_busy(dma, ctx)) {
            dma_context_free(ctx);
            return true;
        }
    }
    return false;
}

/* With @ctx_lock.  The ATC is told of each invalidation once. */
static int dma_listen(PCIATSDMA *dma)
{
    int ret = 0;

    if (!dma->has_iotlb) {
        ret = pci_iommu_init_iotlb_notifier(dma->dev, &dma->iotlb,
                                            dma_invalidate, dma);
    }
    if (!ret && !dma->has_iotlb) {
        ret = pci_iommu_register_any_iotlb_notifier(dma->dev, &dma->iotlb);
        dma->has_iotlb = !ret;
    }
    return ret;
}

/* With @ctx_lock */
static int dma_context_new(PCIATSDMA *dma, uint32_t pasid, DMAContext **pctx)
{
    DMAContext *ctx;
    int ret;

    ret = pci_iommu_check_pasid(dma->dev, pasid, false, false) ?:
          dma_listen(dma);
    if (ret) {
        return ret;
    }
    if (!dma_make_room(dma)) {
        return -EBUSY;
    }
    ctx = g_new0(DMAContext, 1);
    ctx->dma = dma;
    ctx->pasid = pasid;
    pci_ats_info_add_notifier(dma->dev, pasid);
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

/*
 * Tell whether there was no room for the page request of a request whose turn
 * it is: until there is, nobody asks ahead.  With the lock.
 */
static void dma_set_starved(PCIATSDMA *dma, DMARequest *req, bool starved)
{
    dma->starved += starved - req->starved;
    req->starved = starved;
}

/* It goes on */
static void dma_end_starving(PCIATSDMA *dma, DMARequest *req)
{
    if (req->starved) {
        QEMU_LOCK_GUARD(&dma->lock);
        dma_set_starved(dma, req, false);
    }
}

/* With the lock */
static void dma_disown_group(PCIATSDMA *dma, DMAGroup *group)
{
    DMARequest *req = group->req;

    if (group->dropped || req->unclosed == group) {
        dma_close_group(dma, group);
        return;
    }
    group->req = NULL;
    group->ctx->disowned++;
    req->open_groups--;
}

/* Responses to the request's groups are nobody's from here on */
static void dma_disown_groups(PCIATSDMA *dma, DMARequest *req)
{
    dma_end_starving(dma, req);
    if (!req->asked) {
        return;
    }
    /* Also for who takes the last response and still uses the request */
    QEMU_LOCK_GUARD(&dma->lock);
    for (int i = 0; req->open_groups && i <= PCI_PRGI_MAX; i++) {
        if (dma->groups[i].req == req) {
            dma_disown_group(dma, &dma->groups[i]);
        }
    }
}

/* The request has ended */
static void dma_context_put(PCIATSDMA *dma, DMARequest *req)
{
    if (!req->ctx) {
        return;
    }
    dma_disown_groups(dma, req);
    QEMU_LOCK_GUARD(&dma->ctx_lock);
    req->ctx->users--;
}

static bool dma_context_add_pri(PCIATSDMA *dma, DMAContext *ctx)
{
    QEMU_LOCK_GUARD(&dma->ctx_lock);
    if (!ctx->has_pri) {
        ctx->pri.notify = dma_response;
        qatomic_set(&ctx->has_pri,
                    !pci_pri_register_notifier(dma->dev, ctx->pasid,
                                               &ctx->pri));
    }
    return ctx->has_pri;
}

/* ---- What the guest can forbid ---- */

/* May the request go on? */
static int dma_check(PCIATSDMA *dma, const DMARequest *req)
{
    if (qatomic_read(&dma->life) != DMA_OPEN ||
        qatomic_read(&dma->suspended) ||
        qatomic_read(&dma->cancels) != req->cancels ||
        (req->cancel && qatomic_read(req->cancel))) {
        return -ECANCELED;
    }
    if (!pcie_bus_master_enabled(dma->dev) ||
        (req->visit && !pcie_ats_enabled(dma->dev))) {
        return -EPERM;
    }
    return pci_iommu_check_pasid(dma->dev, req->pasid,
                                 req->flags & PCI_ATS_DMA_PRIV,
                                 req->flags & PCI_ATS_DMA_EXEC);
}

/*
 * Calls of the IOMMU, and untranslated requests: those of a request that has
 * been cancelled, or whose function may not send them any more, have to be over
 * when the guest is told so: it takes tables and memory away then.  Who begins
 * a call enters @calls and then looks whether it is allowed.  Who forbids it
 * does so before pci_ats_dma_recheck(), which waits.
 */
static void dma_call_end(PCIATSDMA *dma, unsigned token)
{
    drain_leave(dma->calls, token);
}

static int dma_call_begin(PCIATSDMA *dma, const DMARequest *req,
                          unsigned *token)
{
    int ret;

    *token = drain_enter(dma->calls);
    ret = dma_check(dma, req);
    if (ret) {
        dma_call_end(dma, *token);
    }
    return ret;
}

/*
 * Untranslated requests are calls that the IOMMU knows of, too: it waits for
 * those whose translation has been invalidated.
 */
typedef struct DMAUntranslated {
    unsigned call;
    unsigned request;
} DMAUntranslated;

static void dma_untranslated_end(PCIATSDMA *dma, const DMAUntranslated *u)
{
    pci_untranslated_end(dma->dev, u->request);
    dma_call_end(dma, u->call);
}

static int dma_untranslated_begin(PCIATSDMA *dma, const DMARequest *req,
                                  DMAUntranslated *u)
{
    int ret = dma_call_begin(dma, req, &u->call);

    if (!ret) {
        u->request = pci_untranslated_begin(dma->dev);
    }
    return ret;
}

/* ---- Moving data ---- */

static void dma_advance(DMARequest *req, size_t n)
{
    req->addr += n;
    req->len -= n;
    req->ahead -= MIN(req->ahead, n);
    req->attempts = 0;
    if (req->buf) {
        req->buf += n;
    }
}

static MemTxAttrs dma_attrs(PCIATSDMA *dma, PCIAddressType type)
{
    return (MemTxAttrs) {
        .requester_id = pci_requester_id(dma->dev),
        .address_type = type,
    };
}

static bool dma_is_write(const DMARequest *req)
{
    return req->dir == DMA_DIRECTION_FROM_DEVICE;
}

static uint32_t dma_need(const DMARequest *req)
{
    return (dma_is_write(req) ? PCI_ATC_WRITE : PCI_ATC_READ) |
           (req->flags & PCI_ATS_DMA_EXEC ? PCI_ATC_EXEC : 0) |
           (req->flags & PCI_ATS_DMA_PRIV ? PCI_ATC_PRIV : 0);
}

static void dma_move(DMARequest *req, void *ram, size_t n)
{
    if (req->visit) {
        req->visit(req->opaque, ram, n);
    } else if (dma_is_write(req)) {
        memcpy(ram, req->buf, n);
    } else {
        memcpy(req->buf, ram, n);
    }
    dma_advance(req, n);
}

/*
 * Find the RAM at @addr, and how much of @len lies there; NULL if none does.
 * Within RCU; nothing here takes the BQL.
 */
static void *dma_map(AddressSpace *as, hwaddr addr, hwaddr *len, bool is_write,
                     MemTxAttrs attrs)
{
    hwaddr xlat;
    MemoryRegion *mr = address_space_translate(as, addr, &xlat, len, is_write,
                                               attrs);

    if (!memory_access_is_direct(mr, is_write, attrs)) {
        return NULL;
    }
    /* For dma_unmap() */
    memory_region_ref(mr);
    return qemu_map_ram_ptr(mr->ram_block, xlat);
}

/* For dirty tracking and translated code */
static void dma_unmap(AddressSpace *as, void *ram, hwaddr len, bool is_write)
{
    address_space_unmap(as, ram, len, is_write, len);
}

/*
 * Move data to or from RAM.  Returns how much was moved; less than @len if
 * something that is not RAM follows.
 */
static size_t dma_move_in(AddressSpace *as, DMARequest *req, hwaddr addr,
                          size_t len, MemTxAttrs attrs)
{
    bool is_write = dma_is_write(req);
    size_t left = len;

    RCU_READ_LOCK_GUARD();
    while (left) {
        hwaddr n = left;
        void *ram = dma_map(as, addr, &n, is_write, attrs);

        if (!ram) {
            break;
        }
        dma_move(req, ram, n);
        dma_unmap(as, ram, n, is_write);
        addr += n;
        left -= n;
    }
    return len - left;
}

/* By a translated request, within an access to the ATC; 1 or an error */
static int dma_move_translated(PCIATSDMA *dma, DMARequest *req,
                               const PCIATCRun *run)
{
    MemTxAttrs attrs = dma_attrs(dma, PCI_AT_TRANSLATED);
    AddressSpace *as = pci_dma_target(dma->dev, run->translated_addr,
                                      run->length, dma_is_write(req), attrs);

    if (!as) {
        return -EFAULT;
    }
    return dma_move_in(as, req, run->translated_addr, run->length, attrs) ==
           run->length ? 1 : -EIO;
}

/* Where an untranslated request goes to; @len is cut to one translation */
static AddressSpace *dma_untranslated_target(PCIATSDMA *dma,
                                             const DMARequest *req,
                                             hwaddr *addr, hwaddr *len)
{
    /*
     * Not even with the BQL: the guest can have a fault that is reported end
     * in a register of the function, which then waits for this call.
     */
    if (!pci_iommu_is_thread_safe(dma->dev)) {
        warn_report_once("%s: the IOMMU in front of it cannot translate for "
                         "devices with threads; use intel-iommu or none",
                         dma->dev->name);
        return NULL;
    }
    *addr = req->addr;
    if (req->pasid == PCI_NO_PASID) {
        return pci_get_address_space(dma->dev);
    }
    return pci_pasid_target(dma->dev, req->pasid, req->flags & PCI_ATS_DMA_PRIV,
                            req->flags & PCI_ATS_DMA_EXEC, req->addr,
                            dma_is_write(req), addr, len);
}

/* An untranslated request finds no RAM at its address */
static void dma_untranslated_blocked(PCIATSDMA *dma, const DMARequest *req)
{
    /* The translation of a request with PASID has reported its faults */
    if (req->pasid == PCI_NO_PASID) {
        pci_untranslated_blocked(dma->dev, req->addr, dma_is_write(req));
    }
}

/* By an untranslated request; 0 or an error */
static int dma_untranslated(PCIATSDMA *dma, DMARequest *req, hwaddr len)
{
    DMAUntranslated u;
    size_t moved = 0;
    AddressSpace *as;
    hwaddr addr;
    int ret;

    if (req->visit) {
        return -EFAULT;
    }
    ret = dma_untranslated_begin(dma, req, &u);
    if (ret) {
        return ret;
    }
    len = MIN(len, CHUNK);
    as = dma_untranslated_target(dma, req, &addr, &len);
    if (as) {
        moved = dma_move_in(as, req, addr, len,
                            dma_attrs(dma, PCI_AT_UNTRANSLATED));
        if (!moved) {
            dma_untranslated_blocked(dma, req);
        }
    }
    dma_untranslated_end(dma, &u);
    return moved ? 0 : -EFAULT;
}

/*
 * Move what the ATC has translations for.  Returns how much; if this is
 * nothing, @ret is 0 if there is no translation, 1 if it is one for
 * untranslated requests, which @run holds, or an error.
 */
static size_t dma_move_cached(PCIATSDMA *dma, DMARequest *req, int *ret,
                              PCIATCRun *run)
{
    size_t end = req->len - MIN(req->len, CHUNK);
    size_t before = req->len;
    PCIATCAccess access;

    *ret = 0;
    pci_atc_access_begin(dma->atc, &access);
    /*
     * Who switches something off and then calls pci_ats_dma_recheck() either
     * waits for this access, or is seen here.
     */
    while (req->len > end && !dma_check(dma, req) &&
           pcie_ats_epoch(dma->dev) == qatomic_read(&dma->epoch) &&
           pci_atc_lookup(&access, req->pasid, req->addr, req->len - end,
                          dma_need(req), run)) {
        if (run->flags & PCI_ATC_UNTRANSLATED) {
            *ret = 1;
            break;
        }
        *ret = dma_move_translated(dma, req, run);
        if (*ret < 0) {
            break;
        }
    }
    pci_atc_access_end(&access);
    return before - req->len;
}

/* Returns 1 if the ATC had a translation, 0 if not, or an error */
static int dma_translated(PCIATSDMA *dma, DMARequest *req)
{
    PCIATCRun run;
    int ret;

    if (dma_move_cached(dma, req, &ret, &run)) {
        return 1;
    }
    if (ret > 0) {
        return dma_untranslated(dma, req, run.length) ?: 1;
    }
    return ret;
}

/* ---- Page requests ---- */

/*
 * Open a group for as many of @n pages from @addr on as there is room for in
 * the allocation, or, with @in_turn, for the one that the request cannot go
 * past.  NULL if there is none, no index, or somebody whose turn it is has
 * found none.  Sets @n to the number of pages, and @first to the first of them;
 * the group itself is the guest's to answer from here on.
 */
static DMAGroup *dma_open_group(PCIATSDMA *dma, DMARequest *req, hwaddr addr,
                                bool in_turn, unsigned *n, hwaddr *first)
{
    uint32_t alloc = pcie_pri_get_req_alloc(dma->dev);
    unsigned stu = pcie_ats_stu(dma->dev);
    unsigned i;

    QEMU_LOCK_GUARD(&dma->lock);
    if (dma->starved && !in_turn) {
        return NULL;
    }
    for (i = 0; i <= PCI_PRGI_MAX && dma->inflight < alloc; i++) {
        DMAGroup *group = &dma->groups[dma->next_prgi++ & PCI_PRGI_MAX];

        if (!group->ctx) {
            group->ctx = req->ctx;
            group->ctx->groups++;
            group->req = req;
            *n = MIN(*n, alloc - dma->inflight);
            *first = addr >> stu << stu;
            group->requests = *n;
            group->first = *first;
            group->last = group->first + ((hwaddr)group->requests << stu) - 1;
            group->in_turn = in_turn;
            req->asked = true;
            req->open_groups++;
            qatomic_set(&dma->inflight, dma->inflight + group->requests);
            if (in_turn) {
                dma_set_starved(dma, req, false);
            }
            return group;
        }
    }
    if (in_turn) {
        dma_set_starved(dma, req, true);
    }
    return NULL;
}

/* Only the first @sent requests of the group could be sent, without the last */
static void dma_cut_group(PCIATSDMA *dma, DMARequest *req, DMAGroup *group,
                          unsigned sent)
{
    QEMU_LOCK_GUARD(&dma->lock);
    /* A reset may have answered it */
    if (group->req != req) {
        return;
    }
    if (!sent) {
        /* Others take the place that it needs otherwise */
        dma_set_starved(dma, req, group->in_turn);
        dma_close_group(dma, group);
        return;
    }
    /* Keep the credit for the request that closes it */
    qatomic_set(&dma->inflight,
                dma->inflight - (group->requests - (sent + 1)));
    group->requests = sent + 1;
    qatomic_set(&req->unclosed, group);
}

/*
 * Send @n requests, from @addr on, the last of which closes the group.  They
 * are one call, so that what ends a request does not leave its group open: the
 * guest would count its pages to the next group with that index.  Sets @sent to
 * how many were sent.
 */
static int dma_send_requests(PCIATSDMA *dma, DMARequest *req, hwaddr addr,
                             unsigned n, unsigned prgi, unsigned *sent)
{
    unsigned stu = pcie_ats_stu(dma->dev);
    bool is_write = dma_is_write(req);
    unsigned token;
    int ret = dma_call_begin(dma, req, &token);

    *sent = 0;
    if (ret) {
        return ret;
    }
    while (*sent < n && !ret) {
        ret = pci_pri_request_page(dma->dev, req->pasid,
                                   req->flags & PCI_ATS_DMA_PRIV,
                                   req->flags & PCI_ATS_DMA_EXEC,
                                   addr + ((hwaddr)*sent << stu),
                                   *sent == n - 1, prgi, !is_write, is_write);
        *sent += !ret;
    }
    dma_call_end(dma, token);
    return ret;
}

/*
 * Ask for @n pages from @addr on, as one group.  Returns the number that there
 * was room for, or an error.
 */
static int dma_request_group(PCIATSDMA *dma, DMARequest *req, hwaddr addr,
                             unsigned n)
{
    unsigned stu = pcie_ats_stu(dma->dev);
    bool in_turn = n == 1 && addr >> stu == req->addr >> stu;
    hwaddr first;
    DMAGroup *group = dma_open_group(dma, req, addr, in_turn, &n, &first);
    unsigned sent;
    int ret;

    if (!group) {
        return pcie_pri_get_req_alloc(dma->dev) ? -ENOSPC : -EFAULT;
    }
    if (dma->inject && pci_ats_inject_take(&dma->inject->deny_requests)) {
        trace_pci_ats_dma_deny_request(dma->dev->name, dma->dev->devfn,
                                       req->pasid, addr);
        QEMU_LOCK_GUARD(&dma->lock);
        dma_wake(dma, dma_take_response(dma, group,
                                        IOMMU_PRI_RESP_INVALID_REQUEST));
        return n;
    }
    ret = dma_send_requests(dma, req, first, n, group - dma->groups, &sent);
    if (ret) {
        dma_cut_group(dma, req, group, sent);
        return ret;
    }
    return n;
}

/* A group lacks its last request: see whether there is room for it now */
static int dma_send_last(PCIATSDMA *dma, DMARequest *req)
{
    DMAGroup *group;
    unsigned sent;
    hwaddr addr;
    int ret;

    /* Others only take it away */
    if (!qatomic_read(&req->unclosed)) {
        return 0;
    }
    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        group = req->unclosed;
        addr = req->unclosed ? req->unclosed->first : 0;
    }
    if (!group) {
        return 0;
    }
    ret = dma_send_requests(dma, req, addr, 1, group - dma->groups, &sent);
    if (!ret) {
        qatomic_set(&req->unclosed, NULL);
    }
    return ret;
}

/*
 * Is a response for the page at the request's address on its way?  Who ends
 * requests takes the lock afterwards, and wakes those that wait: it is either
 * seen here, or sees that the request waits.
 */
static bool dma_await(PCIATSDMA *dma, DMARequest *req)
{
    QEMU_LOCK_GUARD(&dma->lock);
    if (dma_check(dma, req)) {
        return false;
    }
    for (int i = 0; req->open_groups && i <= PCI_PRGI_MAX; i++) {
        DMAGroup *group = &dma->groups[i];

        if (group->req == req && group->first <= req->addr &&
            req->addr <= group->last) {
            req->awaited = group;
            return true;
        }
    }
    return false;
}

static bool dma_can_request_pages(PCIATSDMA *dma, DMARequest *req)
{
    return !(req->flags & PCI_ATS_DMA_NO_PRI) && pcie_pri_enabled(dma->dev) &&
           dma_context_add_pri(dma, req->ctx);
}

/* ---- Translation requests ---- */

/*
 * Ask the IOMMU for translations of @len bytes from @addr on, and enter them
 * into the ATC.  Returns how many were given, or an error.
 */
static ssize_t dma_ask(PCIATSDMA *dma, DMARequest *req, hwaddr addr, size_t len,
                       IOMMUTLBEntry *entries)
{
    uint64_t token = pci_atc_fill_begin(dma->atc);
    bool no_write = req->dir == DMA_DIRECTION_TO_DEVICE;
    uint32_t err_count;
    unsigned call;
    ssize_t n = dma_call_begin(dma, req, &call);

    if (n) {
        return n;
    }
    n = pci_ats_request_translation(dma->dev, req->pasid,
                                    req->flags & PCI_ATS_DMA_PRIV,
                                    req->flags & PCI_ATS_DMA_EXEC, addr, len,
                                    no_write, entries, MAX_TRANSLATIONS,
                                    &err_count);
    dma_call_end(dma, call);
    if (n == -ENOMEM) {
        n = MAX_TRANSLATIONS;
    }
    if (n <= 0) {
        return n ?: -EFAULT;
    }
    pci_atc_fill_commit(dma->atc, token, req->pasid, entries, n);
    return n;
}

static bool dma_is_missing(const DMARequest *req, const IOMMUTLBEntry *entry)
{
    IOMMUAccessFlags need = dma_need(req) & (IOMMU_RW | IOMMU_EXEC);

    return (entry->perm & need) != need;
}

/* ---- Looking ahead ---- */

/* Ask for the pages from @addr to @last; false if not for all */
static bool dma_request_pages(PCIATSDMA *dma, DMARequest *req, hwaddr addr,
                              hwaddr last)
{
    unsigned stu = pcie_ats_stu(dma->dev);
    hwaddr left = (last >> stu) - (addr >> stu) + 1;

    while (left) {
        int n = dma_request_group(dma, req, addr, MIN(left, GROUP_PAGES));

        if (n < 0) {
            return false;
        }
        left -= n;
        addr = ((addr >> stu) + n) << stu;
        req->ahead = MIN(addr - req->addr, req->len);
    }
    return true;
}

/*
 * Ask for the translations, and for the pages, that are missing between
 * @ahead and @limit.  Returns false if this cannot be gone on with now.
 */
static bool dma_fetch(PCIATSDMA *dma, DMARequest *req, size_t limit)
{
    IOMMUTLBEntry entries[MAX_TRANSLATIONS];
    hwaddr addr = req->addr + req->ahead;
    hwaddr last = req->addr + (limit - 1);
    ssize_t n = dma_ask(dma, req, addr, limit - req->ahead, entries);
    bool can_request = n > 0 && dma_can_request_pages(dma, req);
    ssize_t i = 0;

    while (i < n) {
        hwaddr first = MAX(addr, entries[i].iova & ~entries[i].addr_mask);
        bool missing = dma_is_missing(req, &entries[i]);
        hwaddr end;

        /* What is missing in a row is asked for together */
        do {
            end = MIN(last, entries[i].iova | entries[i].addr_mask);
        } while (++i < n && missing && dma_is_missing(req, &entries[i]));
        if (missing &&
            !(can_request && dma_request_pages(dma, req, first, end))) {
            return false;
        }
        req->ahead = end - req->addr + 1;
    }
    return n > 0;
}

/* What the ATC has from @ahead on or, if it has nothing, dma_fetch() */
static bool dma_look_further(PCIATSDMA *dma, DMARequest *req, size_t limit)
{
    PCIATCAccess access;
    PCIATCRun run;
    bool found;

    pci_atc_access_begin(dma->atc, &access);
    found = pci_atc_lookup(&access, req->pasid, req->addr + req->ahead,
                           limit - req->ahead, dma_need(req), &run);
    pci_atc_access_end(&access);
    if (!found) {
        return dma_fetch(dma, req, limit);
    }
    req->ahead += run.length;
    return true;
}

/*
 * Ask for what is not there of the next @limit bytes.  Returns false if this
 * cannot be gone on with now: the request has to end, say.
 */
static bool dma_look_ahead(PCIATSDMA *dma, DMARequest *req, size_t limit)
{
    while (req->ahead < limit) {
        size_t before = req->ahead;

        if (dma_check(dma, req) || !dma_look_further(dma, req, limit) ||
            req->ahead <= before) {
            return false;
        }
    }
    return true;
}

/* Is there room for a group that is worth it? */
static bool dma_has_room(PCIATSDMA *dma)
{
    uint32_t alloc = pcie_pri_get_req_alloc(dma->dev);

    return qatomic_read(&dma->inflight) + MIN(alloc, GROUP_PAGES) <= alloc;
}

static bool dma_should_look_ahead(PCIATSDMA *dma, const DMARequest *req)
{
    hwaddr unit = 1ULL << pcie_ats_stu(dma->dev);

    return req->looks_ahead && req->len > unit - (req->addr & (unit - 1)) &&
           req->ahead < MIN(req->len, WINDOW / 2) &&
           !qatomic_read(&req->in_turns) && !qatomic_read(&req->unclosed);
}

/* ---- Running a request ---- */

/* The page at the request's address is not there */
static DMAStep dma_fault(PCIATSDMA *dma, DMARequest *req, bool may_wait,
                         int *error)
{
    int ret;

    if (!dma_can_request_pages(dma, req)) {
        *error = -EFAULT;
        return DMA_ENDED;
    }
    if (!may_wait) {
        *error = -EWOULDBLOCK;
        return DMA_ENDED;
    }
    ret = dma_request_group(dma, req, req->addr, 1);
    if (ret > 0) {
        return dma_await(dma, req) ? DMA_WAITS : DMA_CONTINUES;
    }
    if (ret == -ENOSPC) {
        return DMA_DELAYED;
    }
    *error = ret == -EPERM || ret == -ECANCELED ? -ECANCELED : -EFAULT;
    return DMA_ENDED;
}

/* The ATC holds nothing for the address: see that it does */
static DMAStep dma_miss(PCIATSDMA *dma, DMARequest *req, bool may_wait,
                        int *error)
{
    IOMMUTLBEntry entries[MAX_TRANSLATIONS];
    ssize_t n;
    int ret;

    ret = dma_send_last(dma, req);
    if (ret) {
        *error = ret == -ENOSPC ? 0 : ret == -EPERM ? -ECANCELED : ret;
        return ret == -ENOSPC ? DMA_DELAYED : DMA_ENDED;
    }
    if (dma_await(dma, req)) {
        if (pcie_pri_enabled(dma->dev)) {
            return DMA_WAITS;
        }
        /* The guest need not answer any more */
        *error = -ECANCELED;
        return DMA_ENDED;
    }
    if (++req->attempts > MAX_ATTEMPTS) {
        /*
         * Translations are invalidated as soon as they have been obtained, or
         * the guest says that a page is there that is not.
         */
        req->attempts = 0;
        *error = may_wait ? 0 : -EBUSY;
        return may_wait ? DMA_DELAYED : DMA_ENDED;
    }
    n = dma_ask(dma, req, req->addr, MIN(req->len, WINDOW), entries);
    if (n < 0) {
        *error = n;
        return DMA_ENDED;
    }
    if (!dma_is_missing(req, entries)) {
        return DMA_CONTINUES;
    }
    if (!req->looks_ahead && may_wait) {
        /* With those behind it, if there is room for more than this one */
        req->looks_ahead = true;
        return DMA_CONTINUES;
    }
    return dma_fault(dma, req, may_wait, error);
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

/* As much of a request as can be done without waiting for the guest */
static DMAStep dma_step_one(PCIATSDMA *dma, DMARequest *req, bool may_wait,
                            int *error)
{
    int ret;

    *error = qatomic_read(&req->response) ?: dma_check(dma, req);
    if (*error) {
        return DMA_ENDED;
    }
    dma_check_epoch(dma);
    ret = pcie_ats_enabled(dma->dev) ? dma_context_get(dma, req) : -ENODEV;
    if (ret == -ENODEV && !req->visit) {
        *error = dma_untranslated(dma, req, req->len);
        return DMA_CONTINUES;
    }
    if (ret) {
        *error = ret;
        return DMA_ENDED;
    }
    if (may_wait && dma_should_look_ahead(dma, req) && dma_has_room(dma)) {
        dma_look_ahead(dma, req, MIN(req->len, WINDOW));
    }
    ret = dma_translated(dma, req);
    if (ret) {
        dma_end_starving(dma, req);
        *error = MIN(ret, 0);
        return DMA_CONTINUES;
    }
    return dma_miss(dma, req, may_wait, error);
}

static void dma_request_init(PCIATSDMA *dma, DMARequest *req)
{
    req->cancels = qatomic_read(&dma->cancels);
    /* What is behind a page that is missing does not matter */
    req->in_turns = req->exact && (req->flags & PCI_ATS_DMA_NO_PRI);
    req->looks_ahead = !req->exact;
}

/* Run a request as far as possible.  DMA_ENDED sets @error. */
static DMAStep dma_step(PCIATSDMA *dma, DMARequest *req, bool may_wait,
                        int *error)
{
    DMAStep step = DMA_CONTINUES;

    *error = req->len && req->addr + (req->len - 1) < req->addr ? -EINVAL : 0;
    while (req->len && !*error && step == DMA_CONTINUES) {
        step = dma_step_one(dma, req, may_wait, error);
    }
    return step == DMA_CONTINUES ? DMA_ENDED : step;
}

/* In the thread of the caller */
static void dma_wait(PCIATSDMA *dma, DMARequest *req, DMAStep step)
{
    if (step == DMA_DELAYED) {
        g_usleep(BACKOFF_MS * 1000);
        return;
    }
    QEMU_LOCK_GUARD(&dma->lock);
    while (req->awaited) {
        qemu_cond_wait(&dma->responded, &dma->lock);
    }
}

static bool dma_can_be_answered(PCIATSDMA *dma)
{
    return pcie_pri_enabled(dma->dev) && qatomic_read(&dma->life) == DMA_OPEN;
}

/* Are responses to its own page requests still to come?  With the lock. */
static bool dma_is_owed_responses(PCIATSDMA *dma, const DMARequest *req)
{
    for (int i = 0; req->open_groups && i <= PCI_PRGI_MAX; i++) {
        if (dma->groups[i].req == req && !dma->groups[i].dropped &&
            req->unclosed != &dma->groups[i]) {
            return true;
        }
    }
    return false;
}

/*
 * Wait for the responses to the page requests of a request that has ended in
 * the thread of the caller, unless the guest cannot answer now.
 */
static void dma_wait_for_responses(PCIATSDMA *dma, DMARequest *req)
{
    dma_end_starving(dma, req);
    if (!req->asked) {
        return;
    }
    while (dma_send_last(dma, req) == -ENOSPC) {
        g_usleep(BACKOFF_MS * 1000);
    }
    QEMU_LOCK_GUARD(&dma->lock);
    req->ended = true;
    while (!qatomic_read(&dma->suspended) && dma_can_be_answered(dma) &&
           dma_is_owed_responses(dma, req)) {
        qemu_cond_wait(&dma->responded, &dma->lock);
    }
}

/* Run a request in the thread of the caller */
static int dma_run_sync(PCIATSDMA *dma, DMARequest *req)
{
    bool may_wait = !bql_locked();
    DMAStep step;
    int ret;

    dma_request_init(dma, req);
    while ((step = dma_step(dma, req, may_wait, &ret)) != DMA_ENDED) {
        dma_wait(dma, req, step);
    }
    dma_wait_for_responses(dma, req);
    dma_context_put(dma, req);
    return ret;
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

    return dma_run_sync(dma, &req);
}

int pci_ats_dma_rw_partial(PCIATSDMA *dma, const PCIATSDMAOrigin *origin,
                           hwaddr addr, void *buf, size_t len,
                           DMADirection dir, size_t *moved)
{
    DMARequest req = {
        .pasid = origin->pasid,
        .flags = origin->flags,
        .cancel = origin->cancel,
        .addr = addr,
        .buf = buf,
        .len = len,
        .dir = dir,
        .exact = true,
    };
    int ret = dma_run_sync(dma, &req);

    *moved = len - req.len;
    return ret;
}

/* ---- Several ranges at once ---- */

/* Requests that go on in step: all have the same @len */
typedef struct DMARanges {
    DMARequest req[PCI_ATS_DMA_RANGES];
    unsigned n;
    unsigned failed;            /* the request that cannot go on */
    bool ended;                 /* @visit wants no more */
    PCIATSDMAVisitRanges *visit;
    void *opaque;
} DMARanges;

/*
 * Visit as much as lies in one piece of RAM of each range, at most @len.  False
 * if there is something that is not RAM.
 */
static bool dma_visit_piece(DMARanges *r, AddressSpace *const *as,
                            const hwaddr *addr, hwaddr len, MemTxAttrs attrs)
{
    void *data[PCI_ATS_DMA_RANGES];
    unsigned i, mapped;

    RCU_READ_LOCK_GUARD();
    /* All requests can go on so far */
    r->failed = 0;
    for (mapped = 0; mapped < r->n; mapped++) {
        data[mapped] = dma_map(as[mapped], addr[mapped], &len,
                               dma_is_write(&r->req[mapped]), attrs);
        if (!data[mapped]) {
            r->failed = mapped;
            len = 0;
            break;
        }
    }
    if (len) {
        r->ended = !r->visit(r->opaque, data, len);
    }
    for (i = 0; i < mapped; i++) {
        dma_unmap(as[i], data[i], len, len && dma_is_write(&r->req[i]));
        dma_advance(&r->req[i], len);
    }
    return len;
}

/*
 * Within an access to the ATC.  Returns 1, 0 if there is no translation for
 * @failed, or an error: -EAGAIN if @len bytes of it go untranslated only.
 */
static int dma_visit_translated(PCIATSDMA *dma, DMARanges *r,
                                PCIATCAccess *access, hwaddr *len)
{
    MemTxAttrs attrs = dma_attrs(dma, PCI_AT_TRANSLATED);
    AddressSpace *as[PCI_ATS_DMA_RANGES];
    hwaddr addr[PCI_ATS_DMA_RANGES];

    for (r->failed = 0; r->failed < r->n; r->failed++) {
        DMARequest *req = &r->req[r->failed];
        PCIATCRun run;

        if (!pci_atc_lookup(access, req->pasid, req->addr, *len, dma_need(req),
                            &run)) {
            return 0;
        }
        *len = run.length;
        if (run.flags & PCI_ATC_UNTRANSLATED) {
            return -EAGAIN;
        }
        addr[r->failed] = run.translated_addr;
        as[r->failed] = pci_dma_target(dma->dev, run.translated_addr, *len,
                                       dma_is_write(req), attrs);
        if (!as[r->failed]) {
            return -EFAULT;
        }
    }
    return dma_visit_piece(r, as, addr, *len, attrs) ? 1 : -EIO;
}

/* As dma_visit_translated(), for as much as the ATC has translations for */
static int dma_visit_cached(PCIATSDMA *dma, DMARanges *r, hwaddr *len)
{
    const DMARequest *req = &r->req[0];
    size_t end = req->len - MIN(req->len, CHUNK);
    PCIATCAccess access;
    int ret = 1;

    pci_atc_access_begin(dma->atc, &access);
    /* See dma_move_cached() */
    while (ret > 0 && !r->ended && req->len > end && !dma_check(dma, req) &&
           pcie_ats_epoch(dma->dev) == qatomic_read(&dma->epoch)) {
        *len = req->len - end;
        ret = dma_visit_translated(dma, r, &access, len);
    }
    pci_atc_access_end(&access);
    return ret;
}

static int dma_visit_untranslated(PCIATSDMA *dma, DMARanges *r, hwaddr len)
{
    AddressSpace *as[PCI_ATS_DMA_RANGES];
    hwaddr addr[PCI_ATS_DMA_RANGES];
    DMAUntranslated u;
    int ret = dma_untranslated_begin(dma, &r->req[0], &u);

    if (ret) {
        return ret;
    }
    len = MIN(len, CHUNK);
    for (r->failed = 0; r->failed < r->n; r->failed++) {
        as[r->failed] = dma_untranslated_target(dma, &r->req[r->failed],
                                                &addr[r->failed], &len);
        if (!as[r->failed]) {
            break;
        }
    }
    if (r->failed < r->n) {
        ret = -EFAULT;
    } else if (!dma_visit_piece(r, as, addr, len,
                                dma_attrs(dma, PCI_AT_UNTRANSLATED))) {
        dma_untranslated_blocked(dma, &r->req[r->failed]);
        ret = -EFAULT;
    }
    dma_untranslated_end(dma, &u);
    return ret;
}

static int dma_ranges_context(PCIATSDMA *dma, DMARanges *r)
{
    int ret = pcie_ats_enabled(dma->dev) ? dma_context_get(dma, &r->req[0])
                                         : -ENODEV;

    for (unsigned i = 1; i < r->n; i++) {
        r->req[i].ctx = r->req[0].ctx;
    }
    return ret;
}

/* The range that has been looked ahead least in */
static DMARequest *dma_ranges_last(DMARanges *r)
{
    DMARequest *last = &r->req[0];

    for (unsigned i = 1; i < r->n; i++) {
        if (r->req[i].ahead < last->ahead) {
            last = &r->req[i];
        }
    }
    return last;
}

/*
 * How much to look ahead in one range before it is the turn of another: at
 * least 1 byte, whatever the guest has written
 */
static hwaddr dma_ranges_slice(PCIATSDMA *dma, const DMARanges *r)
{
    unsigned stu = pcie_ats_stu(dma->dev);
    hwaddr share = MAX(pcie_pri_get_req_alloc(dma->dev) / r->n, 1);

    return r->n == 1 || share > WINDOW >> stu ? WINDOW : share << stu;
}

/*
 * In turns, so that no range takes all of the allocation; if a page was missing
 * of one of them
 */
static void dma_ranges_look_ahead(PCIATSDMA *dma, DMARanges *r)
{
    bool looks_ahead = false;
    hwaddr slice = dma_ranges_slice(dma, r);
    DMARequest *req = dma_ranges_last(r);

    for (unsigned i = 0; i < r->n; i++) {
        looks_ahead |= r->req[i].looks_ahead;
    }
    if (!looks_ahead || !dma_has_room(dma)) {
        return;
    }
    for (unsigned i = 0; i < r->n; i++) {
        r->req[i].looks_ahead = true;
    }
    while (dma_should_look_ahead(dma, req) &&
           dma_look_ahead(dma, req, MIN(req->len, req->ahead + slice))) {
        req = dma_ranges_last(r);
    }
}

/* Sets @failed if there is an error */
static int dma_ranges_check(PCIATSDMA *dma, DMARanges *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        int ret = qatomic_read(&r->req[i].response);

        if (ret) {
            r->failed = i;
            return ret;
        }
    }
    return dma_check(dma, &r->req[0]);
}

static void dma_ranges_end_starving(PCIATSDMA *dma, DMARanges *r)
{
    for (unsigned i = 0; i < r->n; i++) {
        dma_end_starving(dma, &r->req[i]);
    }
}

/* As dma_step_one() */
static DMAStep dma_ranges_step(PCIATSDMA *dma, DMARanges *r, bool may_wait,
                               int *error)
{
    size_t before = r->req[0].len;
    hwaddr len = before;
    int ret;

    *error = dma_ranges_check(dma, r);
    if (*error) {
        return DMA_ENDED;
    }
    dma_check_epoch(dma);
    ret = dma_ranges_context(dma, r);
    if (!ret && may_wait) {
        dma_ranges_look_ahead(dma, r);
    }
    if (!ret) {
        ret = dma_visit_cached(dma, r, &len);
    }
    if (ret || r->req[0].len != before) {
        dma_ranges_end_starving(dma, r);
    }
    if (!ret) {
        return dma_miss(dma, &r->req[r->failed], may_wait, error);
    }
    if (ret == -ENODEV || ret == -EAGAIN) {
        ret = dma_visit_untranslated(dma, r, len);
    }
    *error = MIN(ret, 0);
    return *error ? DMA_ENDED : DMA_CONTINUES;
}

/* Like the end of dma_run_sync() */
static void dma_ranges_end(PCIATSDMA *dma, DMARanges *r)
{
    /* Before waiting for the responses to any of them */
    dma_ranges_end_starving(dma, r);
    for (unsigned i = 0; i < r->n; i++) {
        dma_wait_for_responses(dma, &r->req[i]);
    }
    for (unsigned i = 1; i < r->n; i++) {
        dma_disown_groups(dma, &r->req[i]);
    }
    dma_context_put(dma, &r->req[0]);
}

int pci_ats_dma_visit_ranges(PCIATSDMA *dma, const PCIATSDMAOrigin *origin,
                             const PCIATSDMARange *ranges, unsigned n,
                             size_t len, PCIATSDMAVisitRanges *visit,
                             void *opaque, size_t *visited, unsigned *failed)
{
    DMARanges r = { .n = n, .visit = visit, .opaque = opaque };
    bool may_wait = !bql_locked();
    int ret = 0;

    for (unsigned i = 0; i < n; i++) {
        r.req[i] = (DMARequest) {
            .pasid = origin->pasid,
            .flags = origin->flags,
            .cancel = origin->cancel,
            .addr = ranges[i].addr,
            .len = len,
            .dir = ranges[i].dir,
            .exact = true,
        };
        dma_request_init(dma, &r.req[i]);
        if (len && ranges[i].addr + (len - 1) < ranges[i].addr) {
            r.failed = i;
            ret = -EINVAL;
        }
    }
    while (r.req[0].len && !r.ended && !ret) {
        DMAStep step = dma_ranges_step(dma, &r, may_wait, &ret);

        if (step == DMA_WAITS || step == DMA_DELAYED) {
            dma_wait(dma, &r.req[r.failed], step);
        }
    }
    dma_ranges_end(dma, &r);
    *visited = len - r.req[0].len;
    *failed = r.failed;
    return ret;
}

/* ---- Asynchronous requests ---- */

/*
 * Report the end of a request.  It may be what makes the device model call
 * pci_ats_dma_close(): a thread without a reference to the PCIATSDMA does not
 * touch it any more when this returns.
 */
static void dma_report(DMARequest *req)
{
    req->done(req->opaque, req->ret);
    g_free(req);
}

/*
 * May responses come to groups of the request's PASID that came with migration?
 * Then its context hears them.
 */
static bool dma_hears_loaded_groups(PCIATSDMA *dma, DMARequest *req)
{
    return pcie_pri_has_loaded_groups(dma->dev, req->pasid) &&
           !dma_context_get(dma, req) && dma_context_add_pri(dma, req->ctx);
}

/*
 * The guest takes an address space away when it hears that the function is done
 * with it.  By then all page requests have to be answered (PCIe 5.0, 6.20.1):
 * the guest's handling of a request must not outlive the address space.  The
 * same goes for requests that were sent before a migration.  With the lock.
 */
static bool dma_has_to_wait(PCIATSDMA *dma, const DMARequest *req)
{
    return dma_can_be_answered(dma) &&
           (dma_is_owed_responses(dma, req) ||
            (req->may_be_loaded &&
             pcie_pri_has_loaded_groups(dma->dev, req->pasid)));
}

/*
 * Put a request into the list where it goes on.  Once it is there it may be
 * another thread's.  Returns false if it does not go on.  With the lock.
 */
static bool dma_keep(PCIATSDMA *dma, DMARequest *req, DMAStep step)
{
    if (dma->life != DMA_OPEN) {
        req->ret = req->ended ? req->ret : -ECANCELED;
        return false;
    }
    if (step == DMA_DELAYED) {
        QTAILQ_INSERT_TAIL(&dma->delayed, req, entry);
        qemu_cond_signal(&dma->work);
    } else if (req->ended ? dma_has_to_wait(dma, req) : !!req->awaited) {
        req->parked = true;
        QTAILQ_INSERT_TAIL(&dma->parked, req, entry);
    } else if (req->ended) {
        return false;
    } else {
        QTAILQ_INSERT_TAIL(&dma->runnable, req, entry);
        qemu_cond_signal(&dma->work);
    }
    return true;
}

/*
 * Run an asynchronous request as far as it can be; without the lock.  Returns
 * true if the caller has to report its end.
 */
static bool dma_run_step(PCIATSDMA *dma, DMARequest *req)
{
    DMAStep step = DMA_ENDED;

    if (!req->ended) {
        step = dma_step(dma, req, true, &req->ret);
        req->ended = step == DMA_ENDED;
    }
    if (req->ended) {
        dma_end_starving(dma, req);
        req->may_be_loaded = dma_hears_loaded_groups(dma, req);
        step = dma_send_last(dma, req) == -ENOSPC ? DMA_DELAYED : DMA_ENDED;
    }
    /* A response that comes from here on finds the request parked */
    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        if (dma_keep(dma, req, step)) {
            return false;
        }
    }
    dma_context_put(dma, req);
    return true;
}

/* In a thread with the BQL, which pci_ats_dma_close() has, too */
static void dma_run(PCIATSDMA *dma, DMARequest *req)
{
    if (dma_run_step(dma, req)) {
        dma_report(req);
    }
}

/* With the lock */
static void dma_make_runnable(PCIATSDMA *dma, DMARequestList *list)
{
    DMARequest *req;

    while ((req = QTAILQ_FIRST(list))) {
        QTAILQ_REMOVE(list, req, entry);
        QTAILQ_INSERT_TAIL(&dma->runnable, req, entry);
    }
}

/* The next request to run, or NULL if none is run any more; with the lock */
static DMARequest *dma_next(PCIATSDMA *dma)
{
    DMARequest *req;

    while (dma->life == DMA_OPEN) {
        req = QTAILQ_FIRST(&dma->runnable);
        if (req) {
            QTAILQ_REMOVE(&dma->runnable, req, entry);
            qatomic_set(&dma->worker, DMA_WORKER_RUNNING);
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

/*
 * Report the ends of the requests that pci_ats_dma_close() has left, and of
 * those that are started meanwhile.  With the lock, which is given up.
 */
static void dma_report_closed(PCIATSDMA *dma)
{
    DMARequest *req;

    while (dma->life != DMA_CLOSED) {
        qemu_cond_wait(&dma->work, &dma->lock);
    }
    while ((req = QTAILQ_FIRST(&dma->runnable))) {
        QTAILQ_REMOVE(&dma->runnable, req, entry);
        qemu_mutex_unlock(&dma->lock);
        req->ret = -ECANCELED;
        dma_report(req);
        qemu_mutex_lock(&dma->lock);
    }
}

static void dma_unref(PCIATSDMA *dma)
{
    if (qatomic_fetch_dec(&dma->refs) > 1) {
        return;
    }
    g_hash_table_destroy(dma->contexts);
    drain_free(dma->calls);
    pci_atc_free(dma->atc);
    qemu_cond_destroy(&dma->work);
    qemu_cond_destroy(&dma->responded);
    qemu_mutex_destroy(&dma->lock);
    qemu_mutex_destroy(&dma->ctx_lock);
    g_free(dma);
}

static void *dma_worker(void *opaque)
{
    PCIATSDMA *dma = opaque;
    DMARequest *req;

    rcu_register_thread();
    qemu_mutex_lock(&dma->lock);
    while ((req = dma_next(dma))) {
        bool ended;

        qemu_mutex_unlock(&dma->lock);
        ended = dma_run_step(dma, req);
        qatomic_store_release(&dma->worker, DMA_WORKER_IDLE);
        if (ended) {
            dma_report(req);
        }
        qemu_mutex_lock(&dma->lock);
    }
    dma_report_closed(dma);
    qatomic_set(&dma->worker, DMA_WORKER_NONE);
    qemu_mutex_unlock(&dma->lock);
    dma_unref(dma);
    rcu_unregister_thread();
    return NULL;
}

/* With the lock */
static void dma_start_worker(PCIATSDMA *dma)
{
    QemuThread thread;

    if (qatomic_read(&dma->worker) == DMA_WORKER_NONE) {
        qatomic_inc(&dma->refs);
        qatomic_set(&dma->worker, DMA_WORKER_IDLE);
        qemu_thread_create(&thread, "pci-ats-dma", dma_worker, dma,
                           QEMU_THREAD_DETACHED);
    }
}

static void dma_submit(PCIATSDMA *dma, const DMARequest *template)
{
    DMARequest *req = g_memdup2(template, sizeof(*template));

    dma_request_init(dma, req);
    req->is_inline = (req->flags & PCI_ATS_DMA_INLINE) &&
                     req->len <= INLINE_MAX && bql_locked();
    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        dma_start_worker(dma);
        if (!req->is_inline || dma->life != DMA_OPEN) {
            QTAILQ_INSERT_TAIL(&dma->runnable, req, entry);
            qemu_cond_signal(&dma->work);
            return;
        }
    }
    dma_run(dma, req);
}

void pci_ats_dma_rw_async(PCIATSDMA *dma, uint32_t pasid, unsigned flags,
                          hwaddr addr, void *buf, size_t len,
                          DMADirection dir, PCIATSDMADone *done, void *opaque)
{
    dma_submit(dma, &(DMARequest) {
        .pasid = pasid,
        .flags = flags,
        .addr = addr,
        .buf = buf,
        .len = len,
        .dir = dir,
        .done = done,
        .opaque = opaque,
    });
}

void pci_ats_dma_visit_async(PCIATSDMA *dma, uint32_t pasid, unsigned flags,
                             hwaddr addr, size_t len, DMADirection dir,
                             PCIATSDMAVisit *visit, PCIATSDMADone *done,
                             void *opaque)
{
    dma_submit(dma, &(DMARequest) {
        .pasid = pasid,
        .flags = flags,
        .addr = addr,
        .visit = visit,
        .len = len,
        .dir = dir,
        .done = done,
        .opaque = opaque,
    });
}

/* ---- What has to be over before the guest is told so ---- */

/* With the lock */
static bool dma_has_to_settle(PCIATSDMA *dma, const DMARequest *req)
{
    return dma_has_to_wait(dma, req) ||
           (req->ctx->disowned && dma_can_be_answered(dma));
}

bool pci_ats_dma_settle(PCIATSDMA *dma, uint32_t pasid)
{
    DMARequest req = { .pasid = pasid };
    bool open;

    /* If there is no context, nobody has asked for pages */
    if (dma_context_get(dma, &req)) {
        return true;
    }
    req.may_be_loaded = dma_hears_loaded_groups(dma, &req);
    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        dma->settling++;
        while ((open = dma_has_to_settle(dma, &req)) &&
               !qatomic_read(&dma->suspended)) {
            qemu_cond_wait(&dma->responded, &dma->lock);
        }
        dma->settling--;
    }
    dma_context_put(dma, &req);
    return !open;
}

/* ---- What the guest or the device changes meanwhile ---- */

void pci_ats_dma_recheck(PCIATSDMA *dma)
{
    pci_atc_drain(dma->atc);
    drain_wait(dma->calls);
    QEMU_LOCK_GUARD(&dma->lock);
    for (int i = 0; i <= PCI_PRGI_MAX; i++) {
        if (dma->groups[i].req) {
            dma_wake(dma, dma->groups[i].req);
        }
    }
    dma_wake_ended(dma, NULL);
    dma_wake_settling(dma);
}

void pci_ats_dma_cancel(PCIATSDMA *dma)
{
    qatomic_inc(&dma->cancels);
    pci_ats_dma_recheck(dma);
}

void pci_ats_dma_suspend(PCIATSDMA *dma)
{
    qatomic_set(&dma->suspended, true);
    pci_ats_dma_cancel(dma);
}

void pci_ats_dma_resume(PCIATSDMA *dma)
{
    /* Not even what was submitted meanwhile runs */
    qatomic_inc(&dma->cancels);
    qatomic_set(&dma->suspended, false);
}

/* ---- Faults on purpose ---- */

void pci_ats_dma_set_inject(PCIATSDMA *dma, PCIATSInject *inject)
{
    dma->delay_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, dma_delay_expired, dma);
    dma->inject = inject;
}

uint32_t pci_ats_dma_flood(PCIATSDMA *dma, uint32_t pasid, hwaddr addr,
                           uint32_t n)
{
    hwaddr unit = 1ULL << pcie_ats_stu(dma->dev);
    DMARequest req = { .pasid = pasid };
    uint32_t sent = 0;

    if (pcie_ats_enabled(dma->dev) && !dma_context_get(dma, &req) &&
        dma_can_request_pages(dma, &req)) {
        for (uint32_t i = 0; i < n; i++) {
            sent += !pci_pri_request_page(dma->dev, pasid, false, false,
                                          addr + i * unit, true,
                                          i & PCI_PRGI_MAX, true, false);
        }
    }
    dma_context_put(dma, &req);
    return sent;
}

/* ---- Life ---- */

PCIATSDMA *pci_ats_dma_new(PCIDevice *dev, uint32_t atc_entries)
{
    PCIATSDMA *dma = g_new0(PCIATSDMA, 1);

    dma->refs = 1;
    dma->dev = dev;
    dma->atc = pci_atc_new(atc_entries);
    dma->calls = drain_new();
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

/*
 * Have the worker end what it is running.  This waits neither for the guest nor
 * for the BQL: dma_check() fails, and a step does not wait for anything.
 */
static void dma_stop_running(PCIATSDMA *dma)
{
    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        qatomic_set(&dma->life, DMA_CLOSING);
        qemu_cond_signal(&dma->work);
    }
    while (qatomic_load_acquire(&dma->worker) == DMA_WORKER_RUNNING) {
        g_usleep(1);
    }
}

/* When this returns, no response and no invalidation arrives */
static void dma_free_contexts(PCIATSDMA *dma)
{
    DMAContext *ctx, *next;

    QEMU_LOCK_GUARD(&dma->ctx_lock);
    QTAILQ_FOREACH_SAFE(ctx, &dma->lru, lru, next) {
        dma_context_free(ctx);
    }
}

void pci_ats_dma_close(PCIATSDMA *dma)
{
    if (!dma) {
        return;
    }
    pci_ats_remove_cache(&dma->cache);
    dma_stop_running(dma);
    dma_free_contexts(dma);
    if (dma->has_iotlb) {
        pci_iommu_unregister_any_iotlb_notifier(dma->dev, &dma->iotlb);
    }
    timer_free(dma->delay_timer);
    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        dma_make_runnable(dma, &dma->parked);
        dma_make_runnable(dma, &dma->delayed);
        qatomic_set(&dma->life, DMA_CLOSED);
        qemu_cond_signal(&dma->work);
    }
    dma_unref(dma);
}

void pci_ats_dma_get_stats(PCIATSDMA *dma, PCIATCStats *stats)
{
    pci_atc_get_stats(dma->atc, stats);
}
