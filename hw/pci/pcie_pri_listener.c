/*
 * PCI Express: listeners for the responses to page requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A listener is the registration of one PASID with the IOMMU.  It calls the
 * notifier that its user has registered, with no lock held.
 *
 * Requests are outstanding until their response comes, even if their requester
 * is gone (PCIe 5.0, 10.4.2).  A listener whose user is gone therefore stays
 * registered with the IOMMU while groups of its PASID are outstanding.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
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

/* The calls of notifiers in the current thread, innermost first */
typedef struct PRICall {
    PRIListener *listener;
    struct PRICall *outer;
} PRICall;

static __thread PRICall *current_call;

PRIListener *pcie_pri_find_listener(PCIEPRIState *pri, uint32_t pasid)
{
    return g_hash_table_lookup(pri->listeners, GUINT_TO_POINTER(pasid));
}

void pcie_pri_check_idle(PCIEPRIState *pri, PRIListener *listener)
{
    bool idle = !listener->user && !listener->ending &&
                !listener->groups.num_groups;

    if (idle && !QLIST_IS_INSERTED(listener, idle)) {
        QLIST_INSERT_HEAD(&pri->idle_listeners, listener, idle);
    } else if (!idle && QLIST_IS_INSERTED(listener, idle)) {
        QLIST_REMOVE(listener, idle);
    }
}

/* ---- Calls of notifiers ---- */

/*
 * Begin a call for a group that has ended in @state.  Returns NULL if there is
 * no user that wants the call.  Called with @lock held.
 */
static IOMMUPRINotifier *pri_call_begin(PRIListener *listener,
                                        PRIGroupState state)
{
    if (!listener->user || (state == PRI_GROUP_ABANDONED &&
                            !QLIST_IS_INSERTED(listener, next_called))) {
        return NULL;
    }
    qatomic_inc(&listener->running);
    return listener->user;
}

/*
 * Do the call that pri_call_begin() has begun.  Called within an RCU read-side
 * critical section.
 */
static void pri_call(PCIEPRIState *pri, PRIListener *listener,
                     IOMMUPRINotifier *user, PCIEPRIResponse *response)
{
    PRICall call = { .listener = listener, .outer = current_call };

    current_call = &call;
    user->notify(user, &response->response);
    current_call = call.outer;

    qatomic_dec(&listener->running);
    smp_mb__after_rmw();
    /* Otherwise a thread that begins to wait sees that this call has ended. */
    if (unlikely(qatomic_read(&listener->ending))) {
        QEMU_LOCK_GUARD(&pri->lock);
        qemu_cond_broadcast(&pri->idle);
    }
}

/* ---- Ends of listeners ---- */

/* Called with @registration held */
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

/* Called with @registration held */
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

void pcie_pri_release_listeners(PCIDevice *dev)
{
    QEMU_LOCK_GUARD(&dev->exp.pri->registration);
    pri_release_registered(dev);
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

/*
 * Find the listener to which a response without PASID belongs.  Called with
 * @lock held, and within an RCU read-side critical section.
 */
static PRIListener *pri_find_by_index(PCIEPRIState *pri, uint16_t prgi)
{
    PRIPasid *pasid = pri_ledger_find(&pri->ledger, prgi);

    return pasid ? container_of(pasid, PRIListener, groups) : NULL;
}

/*
 * Tell all users of pcie_pri_register() that a response to a group without a
 * user has disabled the interface (10.5.2.3): no response to their groups may
 * follow.  Called within an RCU read-side critical section.
 */
static void pri_notify_disabled(PCIEPRIState *pri, uint16_t prgi)
{
    g_autoptr(GList) listeners = NULL;
    PCIEPRIResponse response = {
        .response.response_code = IOMMU_PRI_RESP_FAILURE,
        .response.prgi = prgi,
    };

    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        PRIListener *listener;

        QLIST_FOREACH(listener, &pri->called_listeners, next_called) {
            listeners = g_list_prepend(listeners, listener);
        }
    }
    for (GList *l = listeners; l; l = l->next) {
        PRIListener *listener = l->data;
        IOMMUPRINotifier *user;

        /* It may have no user, or another one, by now */
        WITH_QEMU_LOCK_GUARD(&pri->lock) {
            user = pri_call_begin(listener, PRI_GROUP_ABANDONED);
        }
        if (user) {
            pri_call(pri, listener, user, &response);
        }
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
    PRIEndedGroup ended;
    bool expected, idle = false, disabled = false;

    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        if (response->any_pasid) {
            listener = pri_find_by_index(pri, prgi) ?: listener;
        }
        expected = pri_ledger_respond(&pri->ledger, &listener->groups, prgi,
                                      &ended);
        if (!expected) {
            pri->status |= PCI_PRI_STATUS_UPRGI;
        } else if (code == IOMMU_PRI_RESP_FAILURE) {
            pri->status |= PCI_PRI_STATUS_RF;
        }
        pri_count_response(&pri->stats, expected, code);
        pri_count_response(&listener->stats, expected, code);
        pcie_pri_update(pri);
        /* A response without a request is ignored (10.5.2.3) */
        if (expected && listener->user) {
            user = pri_call_begin(listener, ended.state);
        } else if (expected) {
            pcie_pri_check_idle(pri, listener);
            idle = QLIST_IS_INSERTED(listener, idle);
            disabled = code == IOMMU_PRI_RESP_FAILURE;
        }
    }
    trace_pcie_pri_response(dev->name, dev->devfn, listener->groups.pasid, prgi,
                            code, expected);
    if (user) {
        PCIEPRIResponse r = { .response = *response, .owner = ended.owner };

        pri_call(pri, listener, user, &r);
    }
    if (disabled) {
        pri_notify_disabled(pri, prgi);
    }
    if (idle) {
        pcie_pri_release_listeners(dev);
    }
}

/* ---- Resets ---- */

/*
 * End all groups.  Fills in @ended, unless it is NULL, and returns how many
 * groups there were.  Called with @lock held.
 */
static unsigned pri_end_groups(PCIEPRIState *pri, PRIEndedGroup *ended)
{
    GHashTableIter iter;
    gpointer value;
    unsigned n = 0;

    g_hash_table_iter_init(&iter, pri->listeners);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        PRIListener *listener = value;
        unsigned dropped = pri_ledger_drop(&pri->ledger, &listener->groups,
                                           ended ? ended + n : NULL);

        n += dropped;
        listener->due += ended ? dropped : 0;
        pcie_pri_check_idle(pri, listener);
    }
    return n;
}

void pcie_pri_discard_groups(PCIEPRIState *pri)
{
    pri_end_groups(pri, NULL);
}

/*
 * Respond with a failure to a group that a reset has ended.  Called within an
 * RCU read-side critical section.
 */
static void pri_respond_ended(PCIEPRIState *pri, const PRIEndedGroup *ended)
{
    PRIListener *listener = container_of(ended->pasid, PRIListener, groups);
    PCIEPRIResponse response = {
        .response.response_code = IOMMU_PRI_RESP_FAILURE,
        .response.prgi = ended->prgi,
        .owner = ended->owner,
        .reset = true,
    };
    IOMMUPRINotifier *user = NULL;

    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        listener->due--;
        /* The listener may have another user by now */
        if (listener->groups.user == ended->user) {
            listener->stats.dropped += ended->state != PRI_GROUP_ABANDONED;
            user = pri_call_begin(listener, ended->state);
        }
    }
    if (user) {
        pri_call(pri, listener, user, &response);
    }
}

void pcie_pri_drop_groups(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    PRILedger *ledger = &pri->ledger;
    g_autofree PRIEndedGroup *ended = NULL;
    unsigned n;

    /* RCU keeps the listeners allocated. */
    RCU_READ_LOCK_GUARD();

    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        qatomic_set(&pri->resets, pri->resets + 1);
        pri->stats.dropped += ledger->num_groups -
                              ledger->num[PRI_GROUP_RESERVED];
        ended = g_new(PRIEndedGroup, ledger->num_groups);
        n = pri_end_groups(pri, ended);
        pcie_pri_update(pri);
    }
    for (unsigned i = 0; i < n; i++) {
        pri_respond_ended(pri, &ended[i]);
    }
    pcie_pri_release_listeners(dev);
}

/* ---- Registration ---- */

const PCIIOMMUOps *pcie_pri_ops(const PCIDevice *dev)
{
    const PCIIOMMUOps *ops = dev->iommu.ops;

    return ops && ops->pri_request_page ? ops : NULL;
}

/* Called with both locks held */
static PRIListener *pri_add_listener(PCIEPRIState *pri, uint32_t pasid)
{
    PRIListener *listener = g_new0(PRIListener, 1);

    listener->from_iommu.notify = pri_response;
    listener->dev = pri->dev;
    pri_pasid_init(&listener->groups, pasid);
    g_hash_table_insert(pri->listeners, GUINT_TO_POINTER(pasid), listener);
    return listener;
}

/* Set the user of a listener that has none.  Called with @lock held. */
static void pri_set_user(PCIEPRIState *pri, PRIListener *listener,
                         IOMMUPRINotifier *user, bool call_abandoned)
{
    /* 0 means no user. */
    pri->last_user_id += pri->last_user_id == UINT32_MAX ? 2 : 1;
    listener->user = user;
    if (call_abandoned) {
        QLIST_INSERT_HEAD(&pri->called_listeners, listener, next_called);
    }
    listener->groups.user = pri->last_user_id;
    listener->stats = (PCIEPRIStats) { };
    pcie_pri_check_idle(pri, listener);
}

/* Register with the IOMMU, if necessary.  Called with @registration held. */
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
                        IOMMUPRINotifier *notifier, bool call_abandoned)
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
        /* There is one if groups of a former user are outstanding. */
        listener = listener ?: pri_add_listener(pri, pasid);
    }
    ret = pri_start_listener(dev, listener);
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        if (ret) {
            pcie_pri_check_idle(pri, listener);
        } else {
            pri_set_user(pri, listener, notifier, call_abandoned);
        }
    }
    pri_release_registered(dev);
    return ret;
}

static int pri_register_check(PCIDevice *dev, uint32_t pasid)
{
    int ret;

    if (!dev->exp.pri || !pcie_bus_master_enabled(dev)) {
        return -EPERM;
    }
    ret = pci_iommu_check_pasid(dev, pasid, false, false);
    if (ret) {
        return ret;
    }
    return pcie_pri_ops(dev) ? 0 : -ENODEV;
}

int pci_pri_register_notifier(PCIDevice *dev, uint32_t pasid,
                              IOMMUPRINotifier *notifier)
{
    return pri_register_check(dev, pasid) ?:
           pri_register(dev, pasid, notifier, false);
}

int pcie_pri_register(PCIDevice *dev, uint32_t pasid,
                      IOMMUPRINotifier *notifier)
{
    return pri_register_check(dev, pasid) ?:
           pri_register(dev, pasid, notifier, true);
}

/* Returns the number of calls in progress in this thread */
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
        QLIST_SAFE_REMOVE(listener, next_called);
        qatomic_set_mb(&listener->ending, true);
        pri_ledger_abandon_all(&pri->ledger, &listener->groups);
        pcie_pri_update(pri);
        while (qatomic_load_acquire(&listener->running) >
               pri_own_calls(listener)) {
            qemu_cond_wait(&pri->idle, &pri->lock);
        }
        qatomic_set(&listener->ending, false);
        pcie_pri_check_idle(pri, listener);
    }
    pcie_pri_release_listeners(dev);
}

/* ---- Migration ---- */

void pcie_pri_load_groups(PCIEPRIState *pri, const PRISavedGroup *saved)
{
    PRIListener *listener = pcie_pri_find_listener(pri, saved->pasid);

    listener = listener ?: pri_add_listener(pri, saved->pasid);
    pri_ledger_load(&pri->ledger, &listener->groups, saved);
    pcie_pri_check_idle(pri, listener);
}

void pcie_pri_listen_for_groups(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    GHashTableIter iter;
    gpointer value;

    QEMU_LOCK_GUARD(&pri->registration);
    g_hash_table_iter_init(&iter, pri->listeners);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        PRIListener *listener = value;

        if (pcie_pri_ops(dev) && !pri_start_listener(dev, listener)) {
            continue;
        }
        /* The IOMMU will not deliver a response. */
        QEMU_LOCK_GUARD(&pri->lock);
        pri_ledger_drop(&pri->ledger, &listener->groups, NULL);
        pcie_pri_check_idle(pri, listener);
        pcie_pri_update(pri);
    }
    pri_release_registered(dev);
}
