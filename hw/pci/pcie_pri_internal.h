/*
 * PCI Express: Page Request extended capability, internals
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   pcie_pri.c           the registers, and requests
 *   pcie_pri_listener.c  the registrations with the IOMMU, and responses
 *   pcie_pri_vmstate.c   the groups in the migration stream
 *   pcie_pri_group.c     the ledger
 *
 * Locks, in the order in which they are taken:
 *
 *   PCIEPRIState.registration  held while a listener is registered with the
 *                              IOMMU, or unregistered
 *   locks of the requester     a requester may hold them when it calls the
 *                              functions of pcie_pri_requester.h that say so
 *   PCIEPRIState.lock          the ledger, the status, and all that is marked
 *                              below; no function is called with it held
 *
 * Notifiers are called without a lock.
 */

#ifndef HW_PCI_PCIE_PRI_INTERNAL_H
#define HW_PCI_PCIE_PRI_INTERNAL_H

#include "qemu/atomic.h"
#include "qemu/queue.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/pci/pci_device.h"
#include "pcie_pri_group.h"
#include "pcie_pri_requester.h"

/* The registration of one PASID with the IOMMU */
typedef struct PRIListener {
    struct rcu_head rcu;
    IOMMUPRINotifier from_iommu;
    PCIDevice *dev;
    IOMMUPRINotifier *user;     /* NULL once unregistered */
    bool wants_abandoned;       /* @user is of pcie_pri_register() */
    unsigned running;           /* calls of @user; more only with @lock */
    bool ending;                /* a thread waits for these calls */
    bool registered;            /* with the IOMMU; under @registration */
    PRIPasid groups;
    PCIEPRIStats stats;
    QLIST_ENTRY(PRIListener) idle;      /* if it is in @idle_listeners */
} PRIListener;

struct PCIEPRIState {
    struct rcu_head rcu;
    PCIDevice *dev;
    QemuMutex registration;
    QemuMutex lock;
    QemuCond idle;              /* a call of a notifier has ended */
    GHashTable *listeners;      /* by PASID; written with both locks */
    /* Without a user, a call that is running, and groups */
    QLIST_HEAD(, PRIListener) idle_listeners;
    PRILedger ledger;
    uint32_t last_user_id;
    uint16_t status;
    bool response_pasid;        /* PRG Response PASID Required; constant */
    uint32_t req_alloc;         /* at most the capacity; read anywhere */
    bool enable;                /* the Enable bit */
    bool enabled;               /* Enable, and not disabled by a failure */
    PCIEPRIStats stats;         /* @groups_open is not kept here */
    /* For migration only */
    int32_t nr_saved_groups;
    PRISavedGroup *saved_groups;
};

/*
 * Derive what depends on @enable, @status and the ledger.  While the interface
 * is disabled no group can be closed, so that no response is due to those that
 * are not.  Called with @lock held.
 */
static inline void pcie_pri_update(PCIEPRIState *pri)
{
    if (!pri->enable && pri->ledger.outstanding == pri->ledger.unclosed) {
        pri->status |= PCI_PRI_STATUS_STOPPED;
    }
    qatomic_set(&pri->enabled,
                pri->enable && !(pri->status & PCI_PRI_STATUS_RF));
}

/* ---- Listeners ---- */

/* The callbacks of an IOMMU that takes page requests, or NULL */
const PCIIOMMUOps *pcie_pri_ops(const PCIDevice *dev);

/* Find the listener of @pasid, or NULL.  Called with either lock held. */
PRIListener *pcie_pri_find_listener(PCIEPRIState *pri, uint32_t pasid);

/*
 * See whether a listener, some of whose groups have ended, has anything to
 * listen for.  Called with @lock held.
 */
void pcie_pri_check_idle(PCIEPRIState *pri, PRIListener *listener);

/* Unregister those that have nothing to listen for any more */
void pcie_pri_release_listeners(PCIDevice *dev);

/*
 * End all groups, and respond to them with a failure, so that no user waits for
 * a response that cannot come any more
 */
void pcie_pri_drop_groups(PCIDevice *dev);

/* End all groups without a response to any.  Called with @lock held. */
void pcie_pri_forget_groups(PCIEPRIState *pri);

/* Take over valid groups from a stream.  Called with both locks held. */
void pcie_pri_load_groups(PCIEPRIState *pri, const PRISavedGroup *saved);

/*
 * Listen for the responses to groups that have been loaded: the device model
 * may never register for some of them.
 */
void pcie_pri_listen_for_groups(PCIDevice *dev);

#endif
