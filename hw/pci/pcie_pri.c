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
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pci_bus.h"
#include "migration/vmstate.h"
#include "pci-internal.h"
#include "trace.h"

#define PRI_STATUS_RW1C (PCI_PRI_STATUS_RF | PCI_PRI_STATUS_UPRGI)

/* Requests sent and responses awaited for one PASID and group index */
typedef struct PRIGroup {
    uint32_t pasid;
    uint32_t prgi;
    uint32_t requests;
    uint32_t last_requests;
    uint32_t abandoned;         /* of @last_requests: their user has gone */
    uint32_t user;              /* the last to ask; 0: whoever comes first */
    bool loaded;                /* came with migration */
} PRIGroup;

/* A notifier registered for one PASID */
typedef struct PRIListener {
    struct rcu_head rcu;
    IOMMUPRINotifier from_iommu;
    PCIDevice *dev;
    uint32_t pasid;
    IOMMUPRINotifier *user;     /* NULL once unregistered */
    uint32_t user_id;           /* not 0; not reused before it wraps */
    unsigned running;           /* calls of @user */
    bool ending;                /* somebody waits for these calls */
    PCIEPRIStats stats;
} PRIListener;

struct PCIEPRIState {
    /* Held while the IOMMU is told who listens; taken before @lock */
    QemuMutex registration;
    QemuMutex lock;
    QemuCond idle;              /* a call of a notifier has ended */
    GHashTable *listeners;      /* by PASID */
    GHashTable *groups;         /* by PASID and index */
    uint32_t last_user_id;
    uint32_t drops;             /* times that all groups were dropped */
    uint16_t status;
    bool response_pasid;        /* PRG Response PASID Required; constant */
    uint32_t outstanding;       /* written under @lock, read anywhere */
    uint32_t req_alloc;         /* likewise */
    bool enable;                /* the Enable bit */
    bool enabled;               /* Enable, and not disabled by a failure */
    PCIEPRIStats stats;         /* @groups_open is derived from @groups */
    /* For migration only */
    int32_t nr_saved_groups;
    PRIGroup *saved_groups;
};

/* The notifiers that the current thread is in, innermost first */
typedef struct PRICall {
    PRIListener *listener;
    struct PRICall *outer;
} PRICall;

static __thread PRICall *current_call;

static guint pri_group_hash(gconstpointer key)
{
    const PRIGroup *g = key;

    return g->pasid * (PCI_PRGI_MAX + 1) + g->prgi;
}

static gboolean pri_group_equal(gconstpointer a, gconstpointer b)
{
    const PRIGroup *x = a, *y = b;

    return x->pasid == y->pasid && x->prgi == y->prgi;
}

static PRIGroup *pri_find_group(PCIEPRIState *pri, uint32_t pasid,
                                uint16_t prgi)
{
    PRIGroup key = { .pasid = pasid, .prgi = prgi };

    return g_hash_table_lookup(pri->groups, &key);
}

static PRIListener *pri_find_listener(PCIEPRIState *pri, uint32_t pasid)
{
    return g_hash_table_lookup(pri->listeners, GUINT_TO_POINTER(pasid));
}

/* Derive what depends on @enable, @status and @outstanding; with the lock */
static void pri_update(PCIEPRIState *pri)
{
    if (!pri->enable && !pri->outstanding) {
        pri->status |= PCI_PRI_STATUS_STOPPED;
    }
    qatomic_set(&pri->enabled,
                pri->enable && !(pri->status & PCI_PRI_STATUS_RF));
}

static void pri_set_outstanding(PCIEPRIState *pri, uint32_t outstanding)
{
    qatomic_set(&pri->outstanding, outstanding);
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

    qemu_mutex_init(&pri->registration);
    qemu_mutex_init(&pri->lock);
    qemu_cond_init(&pri->idle);
    pri->listeners = g_hash_table_new(NULL, NULL);
    pri->groups = g_hash_table_new_full(pri_group_hash, pri_group_equal,
                                        g_free, NULL);
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
        listener->running++;
    }
    return listener->user;
}

/* What pri_call_begin() has promised; without the lock */
static void pri_call(PCIEPRIState *pri, PRIListener *listener,
                     IOMMUPRINotifier *user, uint16_t prgi,
                     IOMMUPRIResponseCode code)
{
    IOMMUPRIResponse response = { .response_code = code, .prgi = prgi };
    PRICall call = { .listener = listener, .outer = current_call };

    current_call = &call;
    user->notify(user, &response);
    current_call = call.outer;

    QEMU_LOCK_GUARD(&pri->lock);
    listener->running--;
    qemu_cond_broadcast(&pri->idle);
}

/* With the lock */
static uint64_t pri_groups_open(PCIEPRIState *pri, uint32_t pasid)
{
    GHashTableIter iter;
    uint64_t n = 0;
    gpointer key;

    g_hash_table_iter_init(&iter, pri->groups);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const PRIGroup *g = key;

        n += g->pasid == pasid;
    }
    return n;
}

/* A listener that has nothing to listen for any more, or NULL; with the lock */
static PRIListener *pri_find_idle(PCIEPRIState *pri)
{
    GHashTableIter iter;
    gpointer value;

    g_hash_table_iter_init(&iter, pri->listeners);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        PRIListener *listener = value;

        if (!listener->user && !listener->ending &&
            !pri_groups_open(pri, listener->pasid)) {
            return listener;
        }
    }
    return NULL;
}

static void pri_release_listeners(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    PRIListener *listener;

    QEMU_LOCK_GUARD(&pri->registration);
    for (;;) {
        WITH_QEMU_LOCK_GUARD(&pri->lock) {
            listener = pri_find_idle(pri);
            if (!listener) {
                return;
            }
            g_hash_table_remove(pri->listeners,
                                GUINT_TO_POINTER(listener->pasid));
        }
        dev->iommu.ops->pri_unregister_notifier(dev->iommu.bus,
                                                dev->iommu.opaque,
                                                dev->iommu.devfn,
                                                listener->pasid);
        g_free_rcu(listener, rcu);
    }
}

/*
 * Forget all groups and answer them with a failure, so that no user waits for
 * a response that cannot come any more.
 */
static void pri_drop_groups(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    g_autoptr(GHashTable) dropped = NULL;
    GHashTableIter iter;
    gpointer key;

    RCU_READ_LOCK_GUARD();

    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        dropped = pri->groups;
        pri->groups = g_hash_table_new_full(pri_group_hash, pri_group_equal,
                                            g_free, NULL);
        pri->drops++;
        pri->stats.dropped += g_hash_table_size(dropped);
        pri_set_outstanding(pri, 0);
        pri_update(pri);
    }

    g_hash_table_iter_init(&iter, dropped);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const PRIGroup *g = key;
        IOMMUPRINotifier *user = NULL;
        PRIListener *listener;

        WITH_QEMU_LOCK_GUARD(&pri->lock) {
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
    qatomic_set(&pri->req_alloc,
                pci_get_long(dev->config + cap + PCI_PRI_ALLOC_REQ));
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
    qatomic_set(&pri->req_alloc, 0);
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        pri->status &= ~PRI_STATUS_RW1C;
        pri_set_enable(pri, false);
    }
    pri_drop_groups(dev);
    pcie_pri_sync_config(dev);
}

void pcie_pri_exit(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;

    if (!pri) {
        return;
    }
    g_hash_table_remove_all(pri->groups);
    pri_release_listeners(dev);
    /* The device model has to unregister what it has registered */
    assert(!g_hash_table_size(pri->listeners));
    dev->exp.pri = NULL;
    g_hash_table_destroy(pri->listeners);
    g_hash_table_destroy(pri->groups);
    qemu_cond_destroy(&pri->idle);
    qemu_mutex_destroy(&pri->lock);
    qemu_mutex_destroy(&pri->registration);
    g_free(pri);
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
        g->last_requests--;
        g->requests--;
        pri_set_outstanding(pri, pri->outstanding - 1);
    } else {
        pri_set_outstanding(pri, pri->outstanding - g->requests);
        g_hash_table_remove(pri->groups, g);
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
    bool expected, abandoned, wanted = false;

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
        abandoned = !listener->user;
        /* A response without a request is ignored (10.5.2.3) */
        if (wanted) {
            user = pri_call_begin(listener);
        }
    }
    trace_pcie_pri_response(dev->name, dev->devfn, listener->pasid, prgi, code,
                            expected);
    if (user) {
        pri_call(pri, listener, user, prgi, code);
    } else if (abandoned) {
        pri_release_listeners(dev);
    }
}

/* The callbacks of an IOMMU that takes page requests, or NULL */
static const PCIIOMMUOps *pri_ops(const PCIDevice *dev)
{
    const PCIIOMMUOps *ops = dev->iommu.ops;

    return ops && ops->pri_request_page ? ops : NULL;
}

/* With the lock */
static PRIListener *pri_add_listener(PCIDevice *dev, uint32_t pasid)
{
    PRIListener *listener = g_new0(PRIListener, 1);

    listener->from_iommu.notify = pri_response;
    listener->dev = dev;
    listener->pasid = pasid;
    g_hash_table_insert(dev->exp.pri->listeners, GUINT_TO_POINTER(pasid),
                        listener);
    return listener;
}

/* Let a listener, which has none, have a user; with the lock */
static void pri_set_user(PCIEPRIState *pri, PRIListener *listener,
                         IOMMUPRINotifier *user)
{
    GHashTableIter iter;
    gpointer key;

    /* 0 is nobody's */
    pri->last_user_id += pri->last_user_id == UINT32_MAX ? 2 : 1;
    listener->user = user;
    listener->user_id = pri->last_user_id;
    listener->stats = (PCIEPRIStats) { };

    g_hash_table_iter_init(&iter, pri->groups);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        PRIGroup *g = key;

        if (g->pasid == listener->pasid && !g->user) {
            g->user = listener->user_id;
        }
    }
}

/* Register with the IOMMU; with @registration, and a listener without user */
static int pri_start_listener(PCIDevice *dev, PRIListener *listener)
{
    PCIEPRIState *pri = dev->exp.pri;
    int ret = dev->iommu.ops->pri_register_notifier(dev->iommu.bus,
                                                    dev->iommu.opaque,
                                                    dev->iommu.devfn,
                                                    listener->pasid,
                                                    &listener->from_iommu);

    if (ret) {
        QEMU_LOCK_GUARD(&pri->lock);
        g_hash_table_remove(pri->listeners, GUINT_TO_POINTER(listener->pasid));
        g_free(listener);
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
        if (listener) {
            /* Groups of the user before are still open */
            pri_set_user(pri, listener, notifier);
            return 0;
        }
        listener = pri_add_listener(dev, pasid);
    }
    ret = pri_start_listener(dev, listener);
    if (!ret) {
        QEMU_LOCK_GUARD(&pri->lock);
        pri_set_user(pri, listener, notifier);
    }
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

/* Nobody waits for the responses of @pasid any more; with the lock */
static void pri_abandon_groups(PCIEPRIState *pri, uint32_t pasid)
{
    GHashTableIter iter;
    gpointer key;

    g_hash_table_iter_init(&iter, pri->groups);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        PRIGroup *g = key;

        if (g->pasid == pasid) {
            g->abandoned = g->last_requests;
        }
    }
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
        pri_abandon_groups(pri, pasid);
        listener->ending = true;
        while (listener->running > pri_own_calls(listener)) {
            qemu_cond_wait(&pri->idle, &pri->lock);
        }
        listener->ending = false;
    }
    pri_release_listeners(dev);
}

/* ---- Requests (PCIe 5.0, 10.4.1) ---- */

/* Sets @drops to the number of times that all groups were dropped before */
static int pri_open_group(PCIEPRIState *pri, uint32_t pasid, uint16_t prgi,
                          bool lpig, uint32_t *drops)
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
    if (!g) {
        g = g_new0(PRIGroup, 1);
        g->pasid = pasid;
        g->prgi = prgi;
        g_hash_table_add(pri->groups, g);
    }
    g->requests++;
    g->last_requests += lpig;
    g->user = listener->user_id;
    *drops = pri->drops;
    pri_set_outstanding(pri, pri->outstanding + 1);
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

/*
 * Undo pri_open_group() for a request that was not sent.  Returns false if a
 * reset has dropped its group meanwhile: then it has been answered.
 */
static bool pri_cancel_request(PCIEPRIState *pri, uint32_t pasid,
                               uint16_t prgi, bool lpig, uint32_t drops,
                               int error)
{
    PRIListener *listener;
    PRIGroup *g;

    QEMU_LOCK_GUARD(&pri->lock);
    pri_count_refused(&pri->stats, error);
    listener = pri_find_listener(pri, pasid);
    if (listener) {
        pri_count_refused(&listener->stats, error);
    }
    if (drops != pri->drops) {
        return false;
    }
    g = pri_find_group(pri, pasid, prgi);
    if (!g) {
        /* Somebody has answered what was never sent */
        return false;
    }
    g->last_requests -= MIN(g->last_requests, lpig);
    g->abandoned = MIN(g->abandoned, g->last_requests);
    pri_set_outstanding(pri, pri->outstanding - 1);
    if (!--g->requests) {
        g_hash_table_remove(pri->groups, g);
    }
    pri_update(pri);
    return true;
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
    uint32_t drops;
    int ret = pri_request_check(dev, pasid, priv_req, exec_req, lpig, prgi,
                                is_read, is_write);

    if (!ret && has_response) {
        ret = pri_open_group(dev->exp.pri, pasid, prgi, lpig, &drops);
    }
    if (!ret) {
        ret = b->ops->pri_request_page(b->bus, b->opaque, b->devfn, pasid,
                                       priv_req, exec_req, addr, lpig, prgi,
                                       is_read, is_write);
        if (ret && has_response &&
            !pri_cancel_request(dev->exp.pri, pasid, prgi, lpig, drops, ret)) {
            ret = 0;
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
    stats->groups_open = g_hash_table_size(pri->groups);
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
            stats.groups_open = pri_groups_open(pri, listener->pasid);
            fn(listener->pasid, &stats, opaque);
        }
    }
}

bool pcie_pri_has_loaded_groups(const PCIDevice *dev, uint32_t pasid)
{
    PCIEPRIState *pri = dev->exp.pri;
    GHashTableIter iter;
    gpointer key;

    if (!pcie_pri_outstanding(dev)) {
        return false;
    }
    QEMU_LOCK_GUARD(&pri->lock);
    g_hash_table_iter_init(&iter, pri->groups);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const PRIGroup *g = key;

        if (g->loaded && g->pasid == pasid &&
            g->last_requests > g->abandoned) {
            return true;
        }
    }
    return false;
}

/* ---- Migration ---- */

/* More than any function has outstanding; bounds what a stream may ask for */
#define PRI_SAVED_GROUPS_MAX (1 << 20)

static int pri_groups_pre_save(void *opaque)
{
    PCIEPRIState *pri = opaque;
    GHashTableIter iter;
    gpointer key;
    int n = 0;

    QEMU_LOCK_GUARD(&pri->lock);
    pri->nr_saved_groups = g_hash_table_size(pri->groups);
    pri->saved_groups = g_new0(PRIGroup, pri->nr_saved_groups);
    g_hash_table_iter_init(&iter, pri->groups);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        pri->saved_groups[n++] = *(PRIGroup *)key;
    }
    return 0;
}

static int pri_groups_post_save(void *opaque)
{
    PCIEPRIState *pri = opaque;

    g_clear_pointer(&pri->saved_groups, g_free);
    return 0;
}

/* Takes the groups over; returns false if there cannot be such groups */
static bool pri_load_groups(PCIEPRIState *pri)
{
    uint64_t outstanding = 0;

    QEMU_LOCK_GUARD(&pri->lock);
    g_hash_table_remove_all(pri->groups);
    for (int i = 0; i < pri->nr_saved_groups; i++) {
        PRIGroup *g = &pri->saved_groups[i];
        const PRIListener *listener = pri_find_listener(pri, g->pasid);

        g->user = listener && listener->user ? listener->user_id : 0;
        g->loaded = true;
        outstanding += g->requests;
        if (g->prgi > PCI_PRGI_MAX || !g->requests ||
            g->last_requests > g->requests ||
            g->abandoned > g->last_requests || outstanding > UINT32_MAX ||
            pri_find_group(pri, g->pasid, g->prgi)) {
            g_hash_table_remove_all(pri->groups);
            pri_set_outstanding(pri, 0);
            return false;
        }
        g_hash_table_add(pri->groups, g_memdup2(g, sizeof(*g)));
    }
    pri_set_outstanding(pri, outstanding);
    return true;
}

static int pri_groups_post_load(void *opaque, int version_id)
{
    PCIEPRIState *pri = opaque;
    bool valid = pri_load_groups(pri);

    g_clear_pointer(&pri->saved_groups, g_free);
    return valid ? 0 : -EINVAL;
}

static bool pri_groups_number_valid(void *opaque, int version_id)
{
    PCIEPRIState *pri = opaque;

    return pri->nr_saved_groups >= 0 &&
           pri->nr_saved_groups <= PRI_SAVED_GROUPS_MAX;
}

static const VMStateDescription vmstate_pri_group = {
    .name = "pcie-pri-group",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(pasid, PRIGroup),
        VMSTATE_UINT32(prgi, PRIGroup),
        VMSTATE_UINT32(requests, PRIGroup),
        VMSTATE_UINT32(last_requests, PRIGroup),
        VMSTATE_UINT32(abandoned, PRIGroup),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_pri_groups = {
    .name = "pcie-pri-groups",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = pri_groups_pre_save,
    .post_save = pri_groups_post_save,
    .post_load = pri_groups_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_INT32(nr_saved_groups, PCIEPRIState),
        VMSTATE_VALIDATE("number of groups", pri_groups_number_valid),
        VMSTATE_STRUCT_VARRAY_ALLOC(saved_groups, PCIEPRIState,
                                    nr_saved_groups, 1, vmstate_pri_group,
                                    PRIGroup),
        VMSTATE_END_OF_LIST()
    }
};

static bool pri_needed(void *opaque)
{
    const PCIDevice *dev = opaque;

    return pcie_pri_outstanding(dev);
}

static int pri_pre_load(void *opaque)
{
    const PCIDevice *dev = opaque;

    return dev->exp.pri ? 0 : -EINVAL;
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

/* A PASID that has groups but no listener; with the lock */
static bool pri_find_unheard(PCIEPRIState *pri, uint32_t *pasid)
{
    GHashTableIter iter;
    gpointer key;

    g_hash_table_iter_init(&iter, pri->groups);
    while (g_hash_table_iter_next(&iter, &key, NULL)) {
        const PRIGroup *g = key;

        if (!pri_find_listener(pri, g->pasid)) {
            *pasid = g->pasid;
            return true;
        }
    }
    return false;
}

/*
 * Listen for the responses to groups that have been loaded: the device model
 * may never register for some of them.
 */
static void pri_listen_for_groups(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    PRIListener *listener;
    uint32_t pasid;
    int ret = pri_ops(dev) ? 0 : -ENODEV;

    QEMU_LOCK_GUARD(&pri->registration);
    while (!ret) {
        WITH_QEMU_LOCK_GUARD(&pri->lock) {
            if (!pri_find_unheard(pri, &pasid)) {
                return;
            }
            listener = pri_add_listener(dev, pasid);
        }
        ret = pri_start_listener(dev, listener);
    }
}

void pcie_pri_post_load(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    const uint8_t *cap = dev->config + dev->exp.pri_cap;

    if (!pri) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        pri->enable = pci_get_word(cap + PCI_PRI_CTRL) & PCI_PRI_CTRL_ENABLE;
        pri->status = pci_get_word(cap + PCI_PRI_STATUS);
        qatomic_set(&pri->req_alloc, pci_get_long(cap + PCI_PRI_ALLOC_REQ));
        pri_update(pri);
    }
    pri_listen_for_groups(dev);
    pri_release_listeners(dev);
}
