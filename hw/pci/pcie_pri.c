/*
 * PCI Express: Page Request extended capability
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The registers, the listeners that are registered with the IOMMU, requests and
 * responses.  The groups are in the ledger, see pcie_pri_group.h.
 *
 * Requests and responses come from any thread, while configuration space
 * belongs to the BQL.  The status register therefore lives in PCIEPRIState,
 * under its lock, and is copied to configuration space when that is read or
 * saved.  No callback is called with the lock held.
 *
 * Requests are outstanding until their response comes, even if their requester
 * is gone (10.4.2).  A listener whose user is gone therefore stays registered
 * with the IOMMU while groups of its PASID are outstanding.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pci_bus.h"
#include "pci-internal.h"
#include "pcie_pri_internal.h"
#include "trace.h"

#define PRI_STATUS_RW1C (PCI_PRI_STATUS_RF | PCI_PRI_STATUS_UPRGI)

/* The notifiers that the current thread is in, innermost first */
typedef struct PRICall {
    PRIListener *listener;
    struct PRICall *outer;
} PRICall;

static __thread PRICall *current_call;

PRIListener *pcie_pri_find_listener(PCIEPRIState *pri, uint32_t pasid)
{
    return g_hash_table_lookup(pri->listeners, GUINT_TO_POINTER(pasid));
}

/*
 * Derive what depends on @enable, @status and the ledger.  While the interface
 * is disabled no group can be closed, so that no response is due to those that
 * are not.  Called with @lock held.
 */
static void pri_update(PCIEPRIState *pri)
{
    if (!pri->enable && pri->ledger.outstanding == pri->ledger.unclosed) {
        pri->status |= PCI_PRI_STATUS_STOPPED;
    }
    qatomic_set(&pri->enabled,
                pri->enable && !(pri->status & PCI_PRI_STATUS_RF));
}

/* Does the listener have anything to listen for?  Called with @lock held. */
static void pri_check_idle(PCIEPRIState *pri, PRIListener *listener)
{
    bool idle = !listener->user && !listener->ending &&
                !listener->groups.num_groups;

    if (idle && !QLIST_IS_INSERTED(listener, idle)) {
        QLIST_INSERT_HEAD(&pri->idle_listeners, listener, idle);
    } else if (!idle && QLIST_IS_INSERTED(listener, idle)) {
        QLIST_REMOVE(listener, idle);
    }
}

/*
 * End all groups.  Fills in @dropped, unless it is NULL, as pri_ledger_drop(),
 * and returns how many elements.  Called with @lock held.
 */
static unsigned pri_end_groups(PCIEPRIState *pri, PRIDroppedGroup *dropped)
{
    GHashTableIter iter;
    gpointer value;
    unsigned n = 0;

    g_hash_table_iter_init(&iter, pri->listeners);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        PRIListener *listener = value;

        n += pri_ledger_drop(&pri->ledger, &listener->groups,
                             dropped ? dropped + n : NULL);
        pri_check_idle(pri, listener);
    }
    return n;
}

void pcie_pri_forget_groups(PCIEPRIState *pri)
{
    pri_end_groups(pri, NULL);
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
    pri_ledger_init(&pri->ledger);
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
 * what the function can use (10.5.2.4).  Called with @lock held.
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
    return dev->exp.pri ? qatomic_read(&dev->exp.pri->ledger.outstanding) : 0;
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

/* A user that is about to be called, or NULL.  Called with @lock held. */
static IOMMUPRINotifier *pri_call_begin(PRIListener *listener)
{
    if (listener->user) {
        qatomic_inc(&listener->running);
    }
    return listener->user;
}

/* The call that pri_call_begin() has announced.  In an RCU section. */
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
    /* Otherwise the thread that waits for this call sees that it has ended */
    if (unlikely(qatomic_read(&listener->ending))) {
        QEMU_LOCK_GUARD(&pri->lock);
        qemu_cond_broadcast(&pri->idle);
    }
}

/* Called with @registration held. */
static void pri_stop_listener(PCIDevice *dev, PRIListener *listener)
{
    if (listener->registered) {
        dev->iommu.ops->pri_unregister_notifier(dev->iommu.bus,
                                                dev->iommu.opaque,
                                                dev->iommu.devfn,
                                                listener->groups.pasid);
    }
    g_free_rcu(listener, rcu);
}

/* Called with @registration held. */
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
                                GUINT_TO_POINTER(listener->groups.pasid));
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

/* Respond with a failure to a group that has ended; in an RCU section */
static void pri_respond_dropped(PCIEPRIState *pri, const PRIDroppedGroup *g)
{
    PRIListener *listener = container_of(g->pasid, PRIListener, groups);
    IOMMUPRINotifier *user = NULL;

    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        /* The listener may have another user by now, or none */
        if (listener->groups.user == g->user) {
            listener->stats.dropped++;
            user = pri_call_begin(listener);
        }
    }
    if (user) {
        pri_call(pri, listener, user, g->prgi, IOMMU_PRI_RESP_FAILURE);
    }
}

/*
 * End all groups and respond to them with a failure, so that no user waits for
 * a response that cannot come any more.
 */
static void pri_drop_groups(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    g_autofree PRIDroppedGroup *dropped = NULL;
    unsigned n;

    /* Keeps the listeners */
    RCU_READ_LOCK_GUARD();

    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        pri->stats.dropped += pri->ledger.num_groups;
        dropped = g_new(PRIDroppedGroup, pri->ledger.num_groups);
        n = pri_end_groups(pri, dropped);
        pri_update(pri);
    }
    for (unsigned i = 0; i < n; i++) {
        pri_respond_dropped(pri, &dropped[i]);
    }
    pri_release_listeners(dev);
}

/* Called with @lock held. */
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
    pri_ledger_destroy(&pri->ledger);
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
        pcie_pri_forget_groups(pri);
    }
    pri_release_listeners(dev);
    /* The device model has to unregister what it has registered */
    assert(!g_hash_table_size(pri->listeners));
    dev->exp.pri = NULL;
    /* pri_call() may be about to tell that it has ended */
    call_rcu(pri, pri_free, rcu);
}

/* ---- Responses (PCIe 5.0, 10.4.2) ---- */

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
    PRIGroupState state;
    bool expected, idle;

    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        state = pri_ledger_respond(&pri->ledger, &listener->groups, prgi);
        expected = state != PRI_GROUP_FREE;
        if (!expected) {
            pri->status |= PCI_PRI_STATUS_UPRGI;
        } else if (code == IOMMU_PRI_RESP_FAILURE) {
            pri->status |= PCI_PRI_STATUS_RF;
        }
        pri_count_response(&pri->stats, expected, code);
        pri_count_response(&listener->stats, expected, code);
        pri_update(pri);
        pri_check_idle(pri, listener);
        idle = QLIST_IS_INSERTED(listener, idle);
        /* A response without a request is ignored (10.5.2.3) */
        if (expected && state != PRI_GROUP_ABANDONED) {
            user = pri_call_begin(listener);
        }
    }
    trace_pcie_pri_response(dev->name, dev->devfn, listener->groups.pasid, prgi,
                            code, expected);
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

/* Called with both locks held. */
static PRIListener *pri_add_listener(PCIEPRIState *pri, uint32_t pasid)
{
    PRIListener *listener = g_new0(PRIListener, 1);

    listener->from_iommu.notify = pri_response;
    listener->dev = pri->dev;
    listener->groups.pasid = pasid;
    g_hash_table_insert(pri->listeners, GUINT_TO_POINTER(pasid), listener);
    return listener;
}

/* Let a listener, which has none, have a user.  Called with @lock held. */
static void pri_set_user(PCIEPRIState *pri, PRIListener *listener,
                         IOMMUPRINotifier *user)
{
    /* 0 is no user */
    pri->last_user_id += pri->last_user_id == UINT32_MAX ? 2 : 1;
    listener->user = user;
    listener->groups.user = pri->last_user_id;
    listener->stats = (PCIEPRIStats) { };
    pri_check_idle(pri, listener);
}

/* Register with the IOMMU, if not done.  Called with @registration held. */
static int pri_start_listener(PCIDevice *dev, PRIListener *listener)
{
    int ret = 0;

    if (!listener->registered) {
        ret = dev->iommu.ops->pri_register_notifier(dev->iommu.bus,
                                                    dev->iommu.opaque,
                                                    dev->iommu.devfn,
                                                    listener->groups.pasid,
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
        listener = pcie_pri_find_listener(pri, pasid);
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

void pci_pri_unregister_notifier(PCIDevice *dev, uint32_t pasid)
{
    PCIEPRIState *pri = dev->exp.pri;
    PRIListener *listener;

    if (!pri) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        listener = pcie_pri_find_listener(pri, pasid);
        if (!listener || !listener->user) {
            return;
        }
        listener->user = NULL;
        qatomic_set_mb(&listener->ending, true);
        pri_ledger_abandon(&pri->ledger, &listener->groups);
        pri_update(pri);
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

static int pri_open_group(PCIEPRIState *pri, uint32_t pasid, uint16_t prgi,
                          bool lpig, uint64_t *group)
{
    PRIListener *listener;
    int ret;

    QEMU_LOCK_GUARD(&pri->lock);
    /* The guest may have disabled PRI since this was checked without lock */
    if (!pri->enabled) {
        return -EPERM;
    }
    listener = pcie_pri_find_listener(pri, pasid);
    if (!listener || !listener->user) {
        return -EINVAL;
    }
    ret = pri_ledger_send(&pri->ledger, &listener->groups, prgi, lpig,
                          pri->req_alloc, group);
    if (!ret) {
        pri->stats.requests++;
        listener->stats.requests++;
    }
    return ret;
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
 * Undo pri_open_group() for a request that was not sent.  Returns false if its
 * group has ended meanwhile.
 */
static bool pri_cancel_request(PCIEPRIState *pri, uint32_t pasid,
                               uint16_t prgi, bool lpig, uint64_t group,
                               int error)
{
    PRIListener *listener;
    bool undone;

    QEMU_LOCK_GUARD(&pri->lock);
    pri_count_refused(&pri->stats, error);
    listener = pcie_pri_find_listener(pri, pasid);
    if (!listener) {
        return false;
    }
    pri_count_refused(&listener->stats, error);
    undone = pri_ledger_undo(&pri->ledger, &listener->groups, prgi, lpig,
                             group);
    pri_check_idle(pri, listener);
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
    uint64_t group;
    int ret = pri_request_check(dev, pasid, priv_req, exec_req, lpig, prgi,
                                is_read, is_write);

    if (!ret && has_response) {
        ret = pri_open_group(dev->exp.pri, pasid, prgi, lpig, &group);
    }
    if (!ret) {
        ret = b->ops->pri_request_page(b->bus, b->opaque, b->devfn, pasid,
                                       priv_req, exec_req, addr, lpig, prgi,
                                       is_read, is_write);
        if (ret && has_response) {
            ret = pri_cancel_request(dev->exp.pri, pasid, prgi, lpig, group,
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
    stats->groups_open = pri->ledger.num_groups;
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
            stats.groups_open = listener->groups.num_groups;
            fn(listener->groups.pasid, &stats, opaque);
        }
    }
}

bool pcie_pri_has_loaded_groups(const PCIDevice *dev, uint32_t pasid)
{
    PCIEPRIState *pri = dev->exp.pri;
    const PRIListener *listener;

    if (!pri || !qatomic_read(&pri->ledger.num[PRI_GROUP_LOADED])) {
        return false;
    }
    QEMU_LOCK_GUARD(&pri->lock);
    listener = pcie_pri_find_listener(pri, pasid);
    return listener && listener->groups.num[PRI_GROUP_LOADED];
}

/* ---- Migration ---- */

void pcie_pri_load_groups(PCIEPRIState *pri, const PRISavedGroup *saved)
{
    PRIListener *listener = pcie_pri_find_listener(pri, saved->pasid);

    listener = listener ?: pri_add_listener(pri, saved->pasid);
    pri_ledger_load(&pri->ledger, &listener->groups, saved);
    pri_check_idle(pri, listener);
}

/*
 * Listen for the responses to groups that have been loaded: the device model
 * may never register for some of them.
 */
static void pri_listen_for_groups(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    GHashTableIter iter;
    gpointer value;

    QEMU_LOCK_GUARD(&pri->registration);
    g_hash_table_iter_init(&iter, pri->listeners);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        PRIListener *listener = value;

        if (pri_ops(dev) && !pri_start_listener(dev, listener)) {
            continue;
        }
        /* The IOMMU will not bring a response */
        QEMU_LOCK_GUARD(&pri->lock);
        pri_ledger_drop(&pri->ledger, &listener->groups, NULL);
        pri_check_idle(pri, listener);
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
