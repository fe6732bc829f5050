/*
 * PCI Express: Page Request extended capability
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The registers, and the page request groups that a function has open.
 *
 * Requests and responses come from any thread, while configuration space
 * belongs to the BQL.  The status register therefore lives in PCIEPRIState,
 * under its lock, and is copied to configuration space when that is read or
 * saved.  No callback is called with the lock held.
 *
 * Requests are outstanding until their response comes, whether or not somebody
 * still wants to hear it (10.4.2).  A listener whose user has gone therefore
 * stays registered with the IOMMU while groups of its PASID are open.
 *
 * A group gets its response after its last request.  Requests of one that
 * nobody closes any more are forgotten with their user, or when the allocation
 * has no room for others: no response to it can be taken for that to another
 * group.  Those that were closed keep their index, and their part of the
 * allocation, until they are answered.  So there are never more groups than the
 * allocation has requests, unless the device model itself sends more.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/error-report.h"
#include "qemu/queue.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pci_bus.h"
#include "migration/vmstate.h"
#include "pci-internal.h"
#include "trace.h"

#define PRI_STATUS_RW1C (PCI_PRI_STATUS_RF | PCI_PRI_STATUS_UPRGI)
#define PRI_BUCKETS     (PCI_PRGI_MAX + 1)
/* Whatever the guest allows, answers before its time, or brings by migration */
#define PRI_OUTSTANDING_MAX (1 << 16)

typedef struct PRIListener PRIListener;

/*
 * Requests sent and responses awaited for one PASID and group index.  These may
 * be several groups, if the index was used again before the response: closed
 * ones, and at the end one that is not.
 */
typedef struct PRIGroup {
    PRIListener *listener;      /* of @pasid */
    uint32_t pasid;
    uint32_t prgi;
    uint32_t requests;          /* at least @last_requests + @unclosed */
    uint32_t last_requests;     /* closed groups: responses to come */
    uint32_t unclosed;          /* requests since the last of a group */
    uint32_t abandoned;         /* of @last_requests: their user has gone */
    uint32_t user;              /* the last to ask; 0: whoever comes first */
    bool loaded;                /* came with migration, and is wanted */
    bool foreign;               /* a response is due that no user counts on */
    QLIST_ENTRY(PRIGroup) in_bucket;
    QLIST_ENTRY(PRIGroup) of_listener;
    QTAILQ_ENTRY(PRIGroup) by_age;      /* while there are @unclosed */
} PRIGroup;

typedef QLIST_HEAD(, PRIGroup) PRIGroupList;

/* As in the stream */
typedef struct PRISavedGroup {
    uint32_t pasid;
    uint32_t prgi;
    uint32_t requests;
    uint32_t last_requests;
    uint32_t abandoned;
} PRISavedGroup;

/* A notifier registered for one PASID */
struct PRIListener {
    struct rcu_head rcu;
    IOMMUPRINotifier from_iommu;
    PCIDevice *dev;
    uint32_t pasid;
    IOMMUPRINotifier *user;     /* NULL once unregistered */
    uint32_t user_id;           /* not 0; not reused before it wraps */
    unsigned running;           /* calls of @user; more only with @lock */
    bool ending;                /* somebody waits for these calls */
    bool registered;            /* with the IOMMU; under @registration */
    PRIGroupList groups;
    unsigned num_groups;
    unsigned num_loaded;
    PCIEPRIStats stats;
    QLIST_ENTRY(PRIListener) idle;      /* if it is in @idle_listeners */
};

struct PCIEPRIState {
    struct rcu_head rcu;
    PCIDevice *dev;
    /* Held while the IOMMU is told who listens; taken before @lock */
    QemuMutex registration;
    QemuMutex lock;
    QemuCond idle;              /* a call of a notifier has ended */
    GHashTable *listeners;      /* by PASID; written with both locks */
    /* Without a user, a call that is running, and groups */
    QLIST_HEAD(, PRIListener) idle_listeners;
    PRIGroupList buckets[PRI_BUCKETS];  /* groups by PASID and index */
    QTAILQ_HEAD(, PRIGroup) unclosed_groups;
    PRIGroupList free_groups;   /* kept, so that no request allocates */
    unsigned num_groups;
    unsigned num_loaded;        /* written under @lock, read anywhere */
    uint32_t unclosed;          /* of @outstanding: no response is due */
    unsigned num_foreign;       /* groups */
    unsigned num_unclosed;      /* groups */
    uint32_t last_user_id;
    uint32_t drops;             /* times that all groups were dropped */
    uint16_t status;
    bool response_pasid;        /* PRG Response PASID Required; constant */
    uint32_t outstanding;       /* written under @lock, read anywhere */
    uint32_t req_alloc;         /* likewise; at most the capacity */
    bool enable;                /* the Enable bit */
    bool enabled;               /* Enable, and not disabled by a failure */
    PCIEPRIStats stats;         /* @groups_open is not kept here */
    /* For migration only */
    int32_t nr_saved_groups;
    PRISavedGroup *saved_groups;
};

/* The notifiers that the current thread is in, innermost first */
typedef struct PRICall {
    PRIListener *listener;
    struct PRICall *outer;
} PRICall;

static __thread PRICall *current_call;

static PRIListener *pri_find_listener(PCIEPRIState *pri, uint32_t pasid)
{
    return g_hash_table_lookup(pri->listeners, GUINT_TO_POINTER(pasid));
}

/* The indices that one PASID has open at once are in buckets of their own */
static PRIGroupList *pri_bucket(PCIEPRIState *pri, uint32_t pasid,
                                uint16_t prgi)
{
    return &pri->buckets[((pasid * 0x9e3779b1u >> 16) + prgi) % PRI_BUCKETS];
}

/* With the lock */
static PRIGroup *pri_find_group(PCIEPRIState *pri, uint32_t pasid,
                                uint16_t prgi)
{
    PRIGroup *g;

    QLIST_FOREACH(g, pri_bucket(pri, pasid, prgi), in_bucket) {
        if (g->pasid == pasid && g->prgi == prgi) {
            return g;
        }
    }
    return NULL;
}

/*
 * Derive what depends on @enable, @status, @outstanding and @unclosed; with the
 * lock.  While the interface is disabled no group can be closed, so that only
 * those that are have a response to come.
 */
static void pri_update(PCIEPRIState *pri)
{
    if (!pri->enable && pri->outstanding == pri->unclosed) {
        pri->status |= PCI_PRI_STATUS_STOPPED;
    }
    qatomic_set(&pri->enabled,
                pri->enable && !(pri->status & PCI_PRI_STATUS_RF));
}

/* ---- Groups; all with the lock ---- */

/* See whether the listener has anything to listen for */
static void pri_check_idle(PCIEPRIState *pri, PRIListener *listener)
{
    bool idle = !listener->user && !listener->ending && !listener->num_groups;

    if (idle && !QLIST_IS_INSERTED(listener, idle)) {
        QLIST_INSERT_HEAD(&pri->idle_listeners, listener, idle);
    } else if (!idle && QLIST_IS_INSERTED(listener, idle)) {
        QLIST_REMOVE(listener, idle);
    }
}

static PRIGroup *pri_add_group(PCIEPRIState *pri, PRIListener *listener,
                               uint16_t prgi)
{
    PRIGroup *g = QLIST_FIRST(&pri->free_groups);

    if (g) {
        QLIST_REMOVE(g, of_listener);
    } else {
        g = g_new(PRIGroup, 1);
    }
    *g = (PRIGroup) {
        .listener = listener,
        .pasid = listener->pasid,
        .prgi = prgi,
    };
    QLIST_INSERT_HEAD(pri_bucket(pri, g->pasid, prgi), g, in_bucket);
    QLIST_INSERT_HEAD(&listener->groups, g, of_listener);
    listener->num_groups++;
    pri->num_groups++;
    return g;
}

static void pri_set_foreign(PCIEPRIState *pri, PRIGroup *g, bool foreign)
{
    pri->num_foreign += foreign - g->foreign;
    g->foreign = foreign;
}

static void pri_set_loaded(PCIEPRIState *pri, PRIGroup *g, bool loaded)
{
    g->listener->num_loaded += loaded - g->loaded;
    qatomic_set(&pri->num_loaded, pri->num_loaded + loaded - g->loaded);
    g->loaded = loaded;
}

/* How many requests and responses there are, with all that follows from it */
static void pri_set_requests(PCIEPRIState *pri, PRIGroup *g, uint32_t requests,
                             uint32_t last_requests, uint32_t unclosed)
{
    qatomic_set(&pri->outstanding, pri->outstanding + requests - g->requests);
    pri->unclosed += unclosed - g->unclosed;
    if (!g->unclosed && unclosed) {
        QTAILQ_INSERT_TAIL(&pri->unclosed_groups, g, by_age);
        pri->num_unclosed++;
    } else if (g->unclosed && !unclosed) {
        QTAILQ_REMOVE(&pri->unclosed_groups, g, by_age);
        pri->num_unclosed--;
    }
    g->requests = requests;
    g->last_requests = last_requests;
    g->unclosed = unclosed;
    g->abandoned = MIN(g->abandoned, last_requests);
}

/* A group without requests: it is the caller's from here on */
static void pri_take_group(PCIEPRIState *pri, PRIGroup *g)
{
    PRIListener *listener = g->listener;

    pri_set_requests(pri, g, 0, 0, 0);
    pri_set_loaded(pri, g, false);
    pri_set_foreign(pri, g, false);
    QLIST_REMOVE(g, in_bucket);
    QLIST_REMOVE(g, of_listener);
    listener->num_groups--;
    pri->num_groups--;
    pri_check_idle(pri, listener);
}

static void pri_free_group(PCIEPRIState *pri, PRIGroup *g)
{
    QLIST_INSERT_HEAD(&pri->free_groups, g, of_listener);
}

static void pri_remove_group(PCIEPRIState *pri, PRIGroup *g)
{
    pri_take_group(pri, g);
    pri_free_group(pri, g);
}

/* Forget requests whose last one will not come; may remove the group */
static void pri_forget_unclosed(PCIEPRIState *pri, PRIGroup *g)
{
    pri_set_requests(pri, g, g->requests - g->unclosed, g->last_requests, 0);
    if (!g->requests) {
        pri_remove_group(pri, g);
    }
}

/* Into @taken, which is empty */
static void pri_take_all_groups(PCIEPRIState *pri, PRIGroupList *taken)
{
    GHashTableIter iter;
    gpointer value;
    PRIGroup *g;

    g_hash_table_iter_init(&iter, pri->listeners);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        PRIListener *listener = value;

        while ((g = QLIST_FIRST(&listener->groups))) {
            pri_take_group(pri, g);
            QLIST_INSERT_HEAD(taken, g, of_listener);
        }
    }
}

static void pri_free_groups(PCIEPRIState *pri, PRIGroupList *taken)
{
    PRIGroup *g;

    while ((g = QLIST_FIRST(taken))) {
        QLIST_REMOVE(g, of_listener);
        pri_free_group(pri, g);
    }
}

static void pri_remove_all_groups(PCIEPRIState *pri)
{
    PRIGroupList taken = QLIST_HEAD_INITIALIZER(taken);

    pri_take_all_groups(pri, &taken);
    pri_free_groups(pri, &taken);
}

/* ---- Registers (PCIe 5.0, 10.5.2) ---- */

void pcie_pri_init(PCIDevice *dev, uint16_t offset,
                   uint32_t outstanding_pr_cap, bool prg_response_pasid_req)
{
    PCIEPRIState *pri = g_new0(PCIEPRIState, 1);

    pcie_add_capability(dev, PCI_EXT_CAP_ID_PRI, 1, offset,
                        PCI_EXT_CAP_PRI_SIZEOF);
    dev->exp.pri_cap = offset;
    dev->exp.pri = pri;
    pri->dev = dev;

    qemu_mutex_init(&pri->registration);
    qemu_mutex_init(&pri->lock);
    qemu_cond_init(&pri->idle);
    pri->listeners = g_hash_table_new(NULL, NULL);
    QTAILQ_INIT(&pri->unclosed_groups);
    pri->response_pasid = prg_response_pasid_req;
    pri->status = prg_response_pasid_req ? PCI_PRI_STATUS_PASID : 0;
    pri_update(pri);

    pcie_pri_sync_config(dev);
    pci_set_long(dev->config + offset + PCI_PRI_MAX_REQ, outstanding_pr_cap);

    /* Reset is writable to be seen by pcie_pri_write_config(); it reads 0 */
    pci_set_word(dev->wmask + offset + PCI_PRI_CTRL,
                 PCI_PRI_CTRL_ENABLE | PCI_PRI_CTRL_RESET);
    pci_set_word(dev->w1cmask + offset + PCI_PRI_STATUS, PRI_STATUS_RW1C);
    pci_set_long(dev->wmask + offset + PCI_PRI_ALLOC_REQ, UINT32_MAX);
    /* Stopped changes by itself, so an incoming migration may bring either */
    pci_word_test_and_clear_mask(dev->cmask + offset + PCI_PRI_STATUS,
                                 PCI_PRI_STATUS_STOPPED);
}

void pcie_pri_sync_config(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;

    if (pri) {
        QEMU_LOCK_GUARD(&pri->lock);
        pci_set_word(dev->config + dev->exp.pri_cap + PCI_PRI_STATUS,
                     pri->status);
    }
}

bool pcie_pri_enabled(const PCIDevice *dev)
{
    return dev->exp.pri && qatomic_read(&dev->exp.pri->enabled);
}

uint32_t pcie_pri_get_req_alloc(const PCIDevice *dev)
{
    return dev->exp.pri ? qatomic_read(&dev->exp.pri->req_alloc) : 0;
}

/*
 * The register keeps what the guest writes.  The capacity is the upper limit of
 * what the function can use (10.5.2.4).  With the lock.
 */
static void pri_load_req_alloc(PCIDevice *dev)
{
    const uint8_t *cap = dev->config + dev->exp.pri_cap;

    qatomic_set(&dev->exp.pri->req_alloc,
                MIN(pci_get_long(cap + PCI_PRI_ALLOC_REQ),
                    pci_get_long(cap + PCI_PRI_MAX_REQ)));
}

uint32_t pcie_pri_outstanding(const PCIDevice *dev)
{
    return dev->exp.pri ? qatomic_read(&dev->exp.pri->outstanding) : 0;
}

bool pcie_pri_prg_response_has_pasid(const PCIDevice *dev)
{
    return dev->exp.pri && dev->exp.pri->response_pasid;
}

static void pri_set_status(PCIDevice *dev, uint16_t bit)
{
    PCIEPRIState *pri = dev->exp.pri;

    QEMU_LOCK_GUARD(&pri->lock);
    pri->status |= bit;
    pri_update(pri);
}

void pcie_pri_response_failed(PCIDevice *dev)
{
    pri_set_status(dev, PCI_PRI_STATUS_RF);
}

void pcie_pri_unexpected_prgi(PCIDevice *dev)
{
    pri_set_status(dev, PCI_PRI_STATUS_UPRGI);
}

/* A user that is about to be called, or NULL; with the lock */
static IOMMUPRINotifier *pri_call_begin(PRIListener *listener)
{
    if (listener->user) {
        qatomic_inc(&listener->running);
    }
    return listener->user;
}

/* What pri_call_begin() has promised; without the lock, in an RCU section */
static void pri_call(PCIEPRIState *pri, PRIListener *listener,
                     IOMMUPRINotifier *user, uint16_t prgi,
                     IOMMUPRIResponseCode code)
{
    IOMMUPRIResponse response = { .response_code = code, .prgi = prgi };
    PRICall call = { .listener = listener, .outer = current_call };

    current_call = &call;
    user->notify(user, &response);
    current_call = call.outer;

    qatomic_dec(&listener->running);
    smp_mb__after_rmw();
    /* Else who waits for this call sees that it has ended */
    if (unlikely(qatomic_read(&listener->ending))) {
        QEMU_LOCK_GUARD(&pri->lock);
        qemu_cond_broadcast(&pri->idle);
    }
}

/* With @registration */
static void pri_stop_listener(PCIDevice *dev, PRIListener *listener)
{
    if (listener->registered) {
        dev->iommu.ops->pri_unregister_notifier(dev->iommu.bus,
                                                dev->iommu.opaque,
                                                dev->iommu.devfn,
                                                listener->pasid);
    }
    g_free_rcu(listener, rcu);
}

/* With @registration */
static void pri_release_registered(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    PRIListener *listener;

    for (;;) {
        WITH_QEMU_LOCK_GUARD(&pri->lock) {
            listener = QLIST_FIRST(&pri->idle_listeners);
            if (!listener) {
                return;
            }
            QLIST_REMOVE(listener, idle);
            g_hash_table_remove(pri->listeners,
                                GUINT_TO_POINTER(listener->pasid));
        }
        pri_stop_listener(dev, listener);
    }
}

/* End those that have nothing to listen for any more */
static void pri_release_listeners(PCIDevice *dev)
{
    QEMU_LOCK_GUARD(&dev->exp.pri->registration);
    pri_release_registered(dev);
}

/*
 * Forget all groups and answer them with a failure, so that no user waits for
 * a response that cannot come any more.
 */
static void pri_drop_groups(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    PRIGroupList dropped = QLIST_HEAD_INITIALIZER(dropped);
    PRIGroup *g;

    RCU_READ_LOCK_GUARD();

    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        pri->drops++;
        pri->stats.dropped += pri->num_groups;
        pri_take_all_groups(pri, &dropped);
        pri_update(pri);
    }

    QLIST_FOREACH(g, &dropped, of_listener) {
        IOMMUPRINotifier *user = NULL;
        PRIListener *listener;

        WITH_QEMU_LOCK_GUARD(&pri->lock) {
            /* That of the group may be another by now, or none */
            listener = pri_find_listener(pri, g->pasid);
            if (listener && listener->user_id == g->user) {
                listener->stats.dropped++;
                user = pri_call_begin(listener);
            }
        }
        if (user) {
            pri_call(pri, listener, user, g->prgi, IOMMU_PRI_RESP_FAILURE);
        }
    }
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        pri_free_groups(pri, &dropped);
    }
    pri_release_listeners(dev);
}

/* With the lock */
static void pri_set_enable(PCIEPRIState *pri, bool enable)
{
    if (enable && !pri->enable) {
        /* Enabling clears the status flags (10.5.2.2) */
        pri->status &= ~(PRI_STATUS_RW1C | PCI_PRI_STATUS_STOPPED);
    }
    pri->enable = enable;
    pri_update(pri);
}

static void pri_write_control(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    uint8_t *reg = dev->config + dev->exp.pri_cap + PCI_PRI_CTRL;
    uint16_t ctrl = pci_get_word(reg);

    pci_set_word(reg, ctrl & ~PCI_PRI_CTRL_RESET);
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        pri_set_enable(pri, ctrl & PCI_PRI_CTRL_ENABLE);
    }
    /*
     * Reset is honoured if Enable is clear or is being cleared by the same
     * write (10.5.2.2).
     */
    if ((ctrl & PCI_PRI_CTRL_RESET) && !(ctrl & PCI_PRI_CTRL_ENABLE)) {
        trace_pcie_pri_reset(dev->name, dev->devfn);
        pri_drop_groups(dev);
    }
}

void pcie_pri_write_config(PCIDevice *dev, uint32_t addr, uint32_t val,
                           int len)
{
    PCIEPRIState *pri = dev->exp.pri;
    uint16_t cap = dev->exp.pri_cap;
    int i;

    if (!pri || !ranges_overlap(addr, len, cap, PCI_EXT_CAP_PRI_SIZEOF)) {
        return;
    }
    for (i = 0; i < len; i++) {
        /* Both RW1C bits are in the low byte of the status register */
        if (addr + i == cap + PCI_PRI_STATUS) {
            QEMU_LOCK_GUARD(&pri->lock);
            pri->status &= ~((val >> (8 * i)) & PRI_STATUS_RW1C);
            pri_update(pri);
        }
    }
    if (range_covers_byte(addr, len, cap + PCI_PRI_CTRL)) {
        pri_write_control(dev);
    }
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        pri_load_req_alloc(dev);
    }
    pcie_pri_sync_config(dev);
}

void pcie_pri_reset(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    uint16_t cap = dev->exp.pri_cap;

    if (!pri) {
        return;
    }
    pci_set_word(dev->config + cap + PCI_PRI_CTRL, 0);
    pci_set_long(dev->config + cap + PCI_PRI_ALLOC_REQ, 0);
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        qatomic_set(&pri->req_alloc, 0);
        pri->status &= ~PRI_STATUS_RW1C;
        pri_set_enable(pri, false);
    }
    pri_drop_groups(dev);
    pcie_pri_sync_config(dev);
}

static void pri_free(PCIEPRIState *pri)
{
    PRIGroup *g;

    while ((g = QLIST_FIRST(&pri->free_groups))) {
        QLIST_REMOVE(g, of_listener);
        g_free(g);
    }
    g_hash_table_destroy(pri->listeners);
    qemu_cond_destroy(&pri->idle);
    qemu_mutex_destroy(&pri->lock);
    qemu_mutex_destroy(&pri->registration);
    g_free(pri->saved_groups);
    g_free(pri);
}

void pcie_pri_exit(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;

    if (!pri) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        pri_remove_all_groups(pri);
    }
    pri_release_listeners(dev);
    /* The device model has to unregister what it has registered */
    assert(!g_hash_table_size(pri->listeners));
    dev->exp.pri = NULL;
    /* pri_call() may be about to tell that it has ended */
    call_rcu(pri, pri_free, rcu);
}

/* ---- Responses (PCIe 5.0, 10.4.2) ---- */

/*
 * Close the group that a response is for.  Returns false if there is none.
 * Sets @wanted if the user of @listener has asked for it.  With the lock.
 */
static bool pri_close_group(PCIEPRIState *pri, const PRIListener *listener,
                            uint16_t prgi, bool *wanted)
{
    PRIGroup *g = pri_find_group(pri, listener->pasid, prgi);

    if (!g) {
        return false;
    }
    *wanted = !g->abandoned && g->user == listener->user_id;
    g->abandoned -= !!g->abandoned;
    if (g->last_requests > 1) {
        /* The index is in use by another group already */
        pri_set_requests(pri, g, g->requests - 1, g->last_requests - 1,
                         g->unclosed);
    } else if (g->last_requests && g->unclosed) {
        /* By one that is not complete */
        pri_set_requests(pri, g, g->unclosed, 0, g->unclosed);
    } else {
        pri_remove_group(pri, g);
    }
    return true;
}

static void pri_count_response(PCIEPRIStats *stats, bool expected,
                               IOMMUPRIResponseCode code)
{
    if (!expected) {
        stats->unexpected++;
    } else if (code == IOMMU_PRI_RESP_SUCCESS) {
        stats->success++;
    } else if (code == IOMMU_PRI_RESP_INVALID_REQUEST) {
        stats->invalid_request++;
    } else {
        stats->failure++;
    }
}

static void pri_response(IOMMUPRINotifier *notifier, IOMMUPRIResponse *response)
{
    PRIListener *listener = container_of(notifier, PRIListener, from_iommu);
    PCIDevice *dev = listener->dev;
    PCIEPRIState *pri = dev->exp.pri;
    IOMMUPRIResponseCode code = response->response_code;
    uint16_t prgi = response->prgi;
    IOMMUPRINotifier *user = NULL;
    bool expected, idle, wanted = false;

    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        expected = pri_close_group(pri, listener, prgi, &wanted);
        if (!expected) {
            pri->status |= PCI_PRI_STATUS_UPRGI;
        } else if (code == IOMMU_PRI_RESP_FAILURE) {
            pri->status |= PCI_PRI_STATUS_RF;
        }
        pri_count_response(&pri->stats, expected, code);
        pri_count_response(&listener->stats, expected, code);
        pri_update(pri);
        idle = QLIST_IS_INSERTED(listener, idle);
        /* A response without a request is ignored (10.5.2.3) */
        if (wanted) {
            user = pri_call_begin(listener);
        }
    }
    trace_pcie_pri_response(dev->name, dev->devfn, listener->pasid, prgi, code,
                            expected);
    if (user) {
        pri_call(pri, listener, user, prgi, code);
    } else if (idle) {
        pri_release_listeners(dev);
    }
}

/* The callbacks of an IOMMU that takes page requests, or NULL */
static const PCIIOMMUOps *pri_ops(const PCIDevice *dev)
{
    const PCIIOMMUOps *ops = dev->iommu.ops;

    return ops && ops->pri_request_page ? ops : NULL;
}

/* With both locks */
static PRIListener *pri_add_listener(PCIEPRIState *pri, uint32_t pasid)
{
    PRIListener *listener = g_new0(PRIListener, 1);

    listener->from_iommu.notify = pri_response;
    listener->dev = pri->dev;
    listener->pasid = pasid;
    g_hash_table_insert(pri->listeners, GUINT_TO_POINTER(pasid), listener);
    return listener;
}

/* Let a listener, which has none, have a user; with the lock */
static void pri_set_user(PCIEPRIState *pri, PRIListener *listener,
                         IOMMUPRINotifier *user)
{
    PRIGroup *g;

    /* 0 is nobody's */
    pri->last_user_id += pri->last_user_id == UINT32_MAX ? 2 : 1;
    listener->user = user;
    listener->user_id = pri->last_user_id;
    listener->stats = (PCIEPRIStats) { };
    pri_check_idle(pri, listener);

    QLIST_FOREACH(g, &listener->groups, of_listener) {
        if (!g->user) {
            g->user = listener->user_id;
        }
    }
}

/* Register with the IOMMU, unless that has been done; with @registration */
static int pri_start_listener(PCIDevice *dev, PRIListener *listener)
{
    int ret = 0;

    if (!listener->registered) {
        ret = dev->iommu.ops->pri_register_notifier(dev->iommu.bus,
                                                    dev->iommu.opaque,
                                                    dev->iommu.devfn,
                                                    listener->pasid,
                                                    &listener->from_iommu);
        listener->registered = !ret;
    }
    return ret;
}

static int pri_register(PCIDevice *dev, uint32_t pasid,
                        IOMMUPRINotifier *notifier)
{
    PCIEPRIState *pri = dev->exp.pri;
    PRIListener *listener;
    int ret;

    QEMU_LOCK_GUARD(&pri->registration);
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        listener = pri_find_listener(pri, pasid);
        if (listener && (listener->user || listener->ending)) {
            return -EBUSY;
        }
        /* It is there if groups of the user before are still open */
        listener = listener ?: pri_add_listener(pri, pasid);
    }
    ret = pri_start_listener(dev, listener);
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        if (ret) {
            pri_check_idle(pri, listener);
        } else {
            pri_set_user(pri, listener, notifier);
        }
    }
    pri_release_registered(dev);
    return ret;
}

int pci_pri_register_notifier(PCIDevice *dev, uint32_t pasid,
                              IOMMUPRINotifier *notifier)
{
    int ret;

    if (!dev->exp.pri || !pcie_bus_master_enabled(dev)) {
        return -EPERM;
    }
    ret = pci_iommu_check_pasid(dev, pasid, false, false);
    if (ret) {
        return ret;
    }
    return pri_ops(dev) ? pri_register(dev, pasid, notifier) : -ENODEV;
}

/* How many of the calls in progress are by this thread? */
static unsigned pri_own_calls(PRIListener *listener)
{
    unsigned n = 0;
    PRICall *call;

    for (call = current_call; call; call = call->outer) {
        n += call->listener == listener;
    }
    return n;
}

/* Nobody waits for responses any more, or closes groups; with the lock */
static void pri_abandon_groups(PCIEPRIState *pri, PRIListener *listener)
{
    PRIGroup *g, *next;

    QLIST_FOREACH_SAFE(g, &listener->groups, of_listener, next) {
        g->abandoned = g->last_requests;
        pri_set_loaded(pri, g, false);
        pri_set_foreign(pri, g, true);
        pri_forget_unclosed(pri, g);
    }
    pri_update(pri);
}

void pci_pri_unregister_notifier(PCIDevice *dev, uint32_t pasid)
{
    PCIEPRIState *pri = dev->exp.pri;
    PRIListener *listener;

    if (!pri) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        listener = pri_find_listener(pri, pasid);
        if (!listener || !listener->user) {
            return;
        }
        listener->user = NULL;
        qatomic_set_mb(&listener->ending, true);
        pri_abandon_groups(pri, listener);
        while (qatomic_load_acquire(&listener->running) >
               pri_own_calls(listener)) {
            qemu_cond_wait(&pri->idle, &pri->lock);
        }
        qatomic_set(&listener->ending, false);
        pri_check_idle(pri, listener);
    }
    pri_release_listeners(dev);
}

/* ---- Requests (PCIe 5.0, 10.4.1) ---- */

/* What pri_cancel_request() needs to know about a request */
typedef struct PRISent {
    uint32_t drops;             /* times that all groups were dropped before */
    uint32_t unclosed;          /* requests that were in its group before */
} PRISent;

/*
 * Does the allocation have room for a request of @g, which is NULL if it is the
 * first?  The last request of each group has its place in it from the first on.
 * With the lock.
 */
static bool pri_has_room(const PCIEPRIState *pri, const PRIGroup *g, bool lpig)
{
    unsigned more = !lpig + !(g && g->unclosed);

    return !more || (uint64_t)pri->outstanding + pri->num_unclosed + more <=
                    pri->req_alloc;
}

/*
 * See that it has, by what groups use that were never closed, but for @keep.
 * Else the device model has to know what it does; but it does not know of
 * groups that are foreign to it, to which responses are due that make room.
 * With the lock.
 */
static bool pri_make_room(PCIEPRIState *pri, PRIGroup *keep, bool lpig)
{
    PRIGroup *g, *next;

    if (pri->num_foreign) {
        return false;
    }
    QTAILQ_FOREACH_SAFE(g, &pri->unclosed_groups, by_age, next) {
        if (g != keep) {
            pri_forget_unclosed(pri, g);
            if (pri_has_room(pri, keep, lpig)) {
                break;
            }
        }
    }
    return true;
}

static int pri_open_group(PCIEPRIState *pri, uint32_t pasid, uint16_t prgi,
                          bool lpig, PRISent *sent)
{
    PRIListener *listener;
    PRIGroup *g;

    QEMU_LOCK_GUARD(&pri->lock);
    /* The guest may have disabled PRI since this was checked without lock */
    if (!pri->enabled) {
        return -EPERM;
    }
    listener = pri_find_listener(pri, pasid);
    if (!listener || !listener->user) {
        return -EINVAL;
    }
    g = pri_find_group(pri, pasid, prgi);
    /* An index is not used again while a response to somebody else is due */
    if ((g && g->foreign) || pri->outstanding >= PRI_OUTSTANDING_MAX ||
        (!pri_has_room(pri, g, lpig) && !pri_make_room(pri, g, lpig))) {
        return -ENOSPC;
    }
    g = g ?: pri_add_group(pri, listener, prgi);
    *sent = (PRISent) { .drops = pri->drops, .unclosed = g->unclosed };
    g->user = listener->user_id;
    pri_set_requests(pri, g, g->requests + 1, g->last_requests + lpig,
                     lpig ? 0 : g->unclosed + 1);
    pri->stats.requests++;
    listener->stats.requests++;
    return 0;
}

static void pri_count_refused(PCIEPRIStats *stats, int error)
{
    if (error == -ENOSPC) {
        stats->overflows++;
    } else {
        stats->refused++;
    }
}

/* With the lock; returns false if responses have left nothing to undo */
static bool pri_undo_request(PCIEPRIState *pri, PRIGroup *g, bool lpig,
                             uint32_t unclosed_before)
{
    uint32_t requests = g->requests - 1;
    uint32_t last_requests = g->last_requests - MIN(g->last_requests, lpig);
    uint32_t unclosed = lpig ? g->unclosed + unclosed_before
                             : g->unclosed - MIN(g->unclosed, 1);

    if (requests < last_requests) {
        return false;
    }
    unclosed = last_requests ? MIN(unclosed, requests - last_requests)
                             : requests;
    pri_set_requests(pri, g, requests, last_requests, unclosed);
    if (!requests) {
        pri_remove_group(pri, g);
    }
    return true;
}

/*
 * Undo pri_open_group() for a request that was not sent.  Returns false if a
 * reset has dropped its group meanwhile: then it has been answered.
 */
static bool pri_cancel_request(PCIEPRIState *pri, uint32_t pasid,
                               uint16_t prgi, bool lpig, const PRISent *sent,
                               int error)
{
    PRIListener *listener;
    PRIGroup *g;
    bool undone;

    QEMU_LOCK_GUARD(&pri->lock);
    pri_count_refused(&pri->stats, error);
    listener = pri_find_listener(pri, pasid);
    if (listener) {
        pri_count_refused(&listener->stats, error);
    }
    if (sent->drops != pri->drops) {
        return false;
    }
    /* Or somebody has answered what was never sent */
    g = pri_find_group(pri, pasid, prgi);
    undone = g && pri_undo_request(pri, g, lpig, sent->unclosed);
    pri_update(pri);
    return undone;
}

static int pri_request_check(const PCIDevice *dev, uint32_t pasid,
                             bool priv_req, bool exec_req, bool lpig,
                             uint16_t prgi, bool is_read, bool is_write)
{
    int ret;

    if (!pcie_bus_master_enabled(dev) || !pcie_pri_enabled(dev)) {
        return -EPERM;
    }
    ret = pci_iommu_check_pasid(dev, pasid, priv_req, exec_req);
    if (ret) {
        return ret;
    }
    if (prgi > PCI_PRGI_MAX) {
        return -EINVAL;
    }
    /* A Stop Marker has L set, R and W clear, and a PASID (10.4.1.2.1) */
    if (!is_read && !is_write && (!lpig || pasid == PCI_NO_PASID)) {
        return -EINVAL;
    }
    return pri_ops(dev) ? 0 : -ENODEV;
}

int pci_pri_request_page(PCIDevice *dev, uint32_t pasid, bool priv_req,
                         bool exec_req, hwaddr addr, bool lpig,
                         uint16_t prgi, bool is_read, bool is_write)
{
    const PCIIOMMUBinding *b = &dev->iommu;
    bool has_response = is_read || is_write;
    PRISent sent;
    int ret = pri_request_check(dev, pasid, priv_req, exec_req, lpig, prgi,
                                is_read, is_write);

    if (!ret && has_response) {
        ret = pri_open_group(dev->exp.pri, pasid, prgi, lpig, &sent);
    }
    if (!ret) {
        ret = b->ops->pri_request_page(b->bus, b->opaque, b->devfn, pasid,
                                       priv_req, exec_req, addr, lpig, prgi,
                                       is_read, is_write);
        if (ret && has_response) {
            ret = pri_cancel_request(dev->exp.pri, pasid, prgi, lpig, &sent,
                                     ret) ? ret : 0;
            pri_release_listeners(dev);
        }
    }
    trace_pci_pri_request_page(dev->name, dev->devfn, pasid, priv_req, exec_req,
                               addr, lpig, prgi,
                               IOMMU_ACCESS_FLAG(is_read, is_write), ret);
    return ret;
}

/* ---- Query ---- */

void pcie_pri_get_stats(PCIDevice *dev, PCIEPRIStats *stats)
{
    PCIEPRIState *pri = dev->exp.pri;

    QEMU_LOCK_GUARD(&pri->lock);
    *stats = pri->stats;
    stats->groups_open = pri->num_groups;
}

void pcie_pri_foreach_pasid(PCIDevice *dev, PCIEPRIPasidFn *fn, void *opaque)
{
    PCIEPRIState *pri = dev->exp.pri;
    GHashTableIter iter;
    gpointer value;

    QEMU_LOCK_GUARD(&pri->lock);
    g_hash_table_iter_init(&iter, pri->listeners);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const PRIListener *listener = value;
        PCIEPRIStats stats = listener->stats;

        if (listener->user) {
            stats.groups_open = listener->num_groups;
            fn(listener->pasid, &stats, opaque);
        }
    }
}

bool pcie_pri_has_loaded_groups(const PCIDevice *dev, uint32_t pasid)
{
    PCIEPRIState *pri = dev->exp.pri;
    const PRIListener *listener;

    if (!pri || !qatomic_read(&pri->num_loaded)) {
        return false;
    }
    QEMU_LOCK_GUARD(&pri->lock);
    listener = pri_find_listener(pri, pasid);
    return listener && listener->num_loaded;
}

/* ---- Migration ---- */

/* Nobody closes the groups at the other end that were not closed at this one */
static void pri_save_groups(PCIEPRIState *pri, const PRIListener *listener)
{
    const PRIGroup *g;

    QLIST_FOREACH(g, &listener->groups, of_listener) {
        if (g->last_requests) {
            pri->saved_groups[pri->nr_saved_groups++] = (PRISavedGroup) {
                .pasid = g->pasid,
                .prgi = g->prgi,
                .requests = g->requests - g->unclosed,
                .last_requests = g->last_requests,
                .abandoned = g->abandoned,
            };
        }
    }
}

static int pri_groups_pre_save(void *opaque)
{
    PCIEPRIState *pri = opaque;
    GHashTableIter iter;
    gpointer value;

    QEMU_LOCK_GUARD(&pri->lock);
    pri->nr_saved_groups = 0;
    pri->saved_groups = g_new0(PRISavedGroup, pri->num_groups);
    g_hash_table_iter_init(&iter, pri->listeners);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        pri_save_groups(pri, value);
    }
    return 0;
}

static int pri_groups_post_save(void *opaque)
{
    PCIEPRIState *pri = opaque;

    g_clear_pointer(&pri->saved_groups, g_free);
    return 0;
}

/* Returns the name of a field that no function has saved, or NULL */
static const char *pri_check_saved_group(PCIEPRIState *pri,
                                         const PRISavedGroup *g)
{
    if (g->pasid > PCI_PASID_MAX && g->pasid != PCI_NO_PASID) {
        return "pasid";
    }
    if (g->prgi > PCI_PRGI_MAX || pri_find_group(pri, g->pasid, g->prgi)) {
        return "prgi";
    }
    if (!g->requests ||
        (uint64_t)pri->outstanding + g->requests > PRI_OUTSTANDING_MAX) {
        return "requests";
    }
    if (g->last_requests > g->requests) {
        return "last_requests";
    }
    return g->abandoned > g->last_requests ? "abandoned" : NULL;
}

/* With both locks */
static void pri_load_group(PCIEPRIState *pri, const PRISavedGroup *saved)
{
    PRIListener *listener = pri_find_listener(pri, saved->pasid);
    PRIGroup *g;

    listener = listener ?: pri_add_listener(pri, saved->pasid);
    g = pri_add_group(pri, listener, saved->prgi);
    pri_check_idle(pri, listener);
    g->user = listener->user ? listener->user_id : 0;
    pri_set_requests(pri, g, saved->requests, saved->last_requests, 0);
    g->abandoned = saved->abandoned;
    pri_set_loaded(pri, g, g->last_requests > g->abandoned);
    pri_set_foreign(pri, g, true);
}

/*
 * Takes the groups over, or none if there cannot be such groups: then this
 * returns the name of the field that is wrong.
 */
static const char *pri_load_groups(PCIEPRIState *pri)
{
    QEMU_LOCK_GUARD(&pri->registration);
    QEMU_LOCK_GUARD(&pri->lock);
    pri_remove_all_groups(pri);
    for (int i = 0; i < pri->nr_saved_groups; i++) {
        const PRISavedGroup *g = &pri->saved_groups[i];
        const char *invalid = pri_check_saved_group(pri, g);

        if (invalid) {
            pri_remove_all_groups(pri);
            return invalid;
        }
        /* There is no response to others */
        if (g->last_requests) {
            pri_load_group(pri, g);
        }
    }
    return NULL;
}

static int pri_groups_post_load(void *opaque, int version_id)
{
    PCIEPRIState *pri = opaque;
    const char *invalid = pri_load_groups(pri);

    g_clear_pointer(&pri->saved_groups, g_free);
    if (invalid) {
        error_report("%s: the incoming page request groups have an invalid %s",
                     pri->dev->name, invalid);
        return -EINVAL;
    }
    return 0;
}

/* A load that has failed may have left some */
static int pri_groups_pre_load(void *opaque)
{
    PCIEPRIState *pri = opaque;

    g_clear_pointer(&pri->saved_groups, g_free);
    return 0;
}

static bool pri_groups_number_valid(void *opaque, int version_id)
{
    PCIEPRIState *pri = opaque;

    return pri->nr_saved_groups >= 0 &&
           pri->nr_saved_groups <= PRI_OUTSTANDING_MAX;
}

static const VMStateDescription vmstate_pri_group = {
    .name = "pcie-pri-group",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(pasid, PRISavedGroup),
        VMSTATE_UINT32(prgi, PRISavedGroup),
        VMSTATE_UINT32(requests, PRISavedGroup),
        VMSTATE_UINT32(last_requests, PRISavedGroup),
        VMSTATE_UINT32(abandoned, PRISavedGroup),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_pri_groups = {
    .name = "pcie-pri-groups",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = pri_groups_pre_save,
    .post_save = pri_groups_post_save,
    .pre_load = pri_groups_pre_load,
    .post_load = pri_groups_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_INT32(nr_saved_groups, PCIEPRIState),
        VMSTATE_VALIDATE("number of groups", pri_groups_number_valid),
        VMSTATE_STRUCT_VARRAY_ALLOC(saved_groups, PCIEPRIState,
                                    nr_saved_groups, 1, vmstate_pri_group,
                                    PRISavedGroup),
        VMSTATE_END_OF_LIST()
    }
};

static bool pri_needed(void *opaque)
{
    const PCIDevice *dev = opaque;
    PCIEPRIState *pri = dev->exp.pri;

    if (!pri) {
        return false;
    }
    QEMU_LOCK_GUARD(&pri->lock);
    return pri->outstanding > pri->unclosed;
}

static int pri_pre_load(void *opaque)
{
    const PCIDevice *dev = opaque;

    if (!dev->exp.pri) {
        error_report("%s: page request groups come in, but there is no Page "
                     "Request capability", dev->name);
        return -EINVAL;
    }
    return 0;
}

const VMStateDescription vmstate_pcie_pri = {
    .name = "PCIDevice/pri",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = pri_needed,
    .pre_load = pri_pre_load,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT_POINTER(exp.pri, PCIDevice, vmstate_pri_groups,
                               PCIEPRIState),
        VMSTATE_END_OF_LIST()
    }
};

/*
 * Listen for the responses to groups that have been loaded: the device model
 * may never register for some of them.
 */
static void pri_listen_for_groups(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    GHashTableIter iter;
    gpointer value;
    PRIGroup *g;

    QEMU_LOCK_GUARD(&pri->registration);
    g_hash_table_iter_init(&iter, pri->listeners);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        PRIListener *listener = value;

        if (pri_ops(dev) && !pri_start_listener(dev, listener)) {
            continue;
        }
        /* The IOMMU will not bring a response */
        QEMU_LOCK_GUARD(&pri->lock);
        while ((g = QLIST_FIRST(&listener->groups))) {
            pri_remove_group(pri, g);
        }
        pri_update(pri);
    }
    pri_release_registered(dev);
}

void pcie_pri_post_load(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    uint8_t *cap = dev->config + dev->exp.pri_cap;

    if (!pri) {
        return;
    }
    /* Reads as 0 always */
    pci_word_test_and_clear_mask(cap + PCI_PRI_CTRL, PCI_PRI_CTRL_RESET);
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        pri->enable = pci_get_word(cap + PCI_PRI_CTRL) & PCI_PRI_CTRL_ENABLE;
        pri->status = pci_get_word(cap + PCI_PRI_STATUS);
        pri_load_req_alloc(dev);
        pri_update(pri);
    }
    pri_listen_for_groups(dev);
}
