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
 *                              functions of pcie_pri_requester.h that permit
 *                              this
 *   PCIEPRIState.lock          the ledger, the status, and all members that are
 *                              marked below; no callback is called with it held
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
    IOMMUPRINotifier *user;     /* NULL after unregistration */
    unsigned running;           /* calls of @user; @lock protects increments */
    unsigned due;               /* calls for groups that a reset has ended */
    bool ending;                /* a thread waits for these calls */
    bool registered;            /* with the IOMMU; under @registration */
    PRIPasid groups;
    PCIEPRIStats stats;
    QLIST_ENTRY(PRIListener) idle;      /* if it is in @idle_listeners */
    QLIST_ENTRY(PRIListener) next_called;   /* if it is in @called_listeners */
} PRIListener;

struct PCIEPRIState {
    struct rcu_head rcu;
    PCIDevice *dev;
    QemuMutex registration;
    QemuMutex lock;
    QemuCond idle;              /* a call of a notifier has ended */
    GHashTable *listeners;      /* by PASID; written with both locks */
    /* Listeners without a user, calls in progress, and groups */
    QLIST_HEAD(, PRIListener) idle_listeners;
    /* Those with a user that is called for abandoned groups, too */
    QLIST_HEAD(, PRIListener) called_listeners;
    PRILedger ledger;
    uint32_t last_user_id;
    uint32_t resets;            /* calls of pcie_pri_drop_groups() */
    uint16_t status;
    bool response_pasid;        /* PRG Response PASID Required; constant */
    uint32_t req_alloc;         /* at most the capacity; read anywhere */
    bool enable;                /* the Enable bit */
    bool enabled;               /* Enable, and not disabled by a failure */
    PCIEPRIStats stats;         /* except @groups_open */
    /* For migration only */
    int32_t nr_saved_groups;
    PRISavedGroup *saved_groups;
};

/*
 * Update the members that depend on @enable, @status and the ledger.  While
 * the interface is disabled no group can be closed, so that no response is due
 * to groups that are not closed.  Called with @lock held.
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

/* Returns the callbacks of an IOMMU that supports page requests, or NULL */
const PCIIOMMUOps *pcie_pri_ops(const PCIDevice *dev);

/* Find the listener of @pasid, or NULL.  Called with either lock held. */
PRIListener *pcie_pri_find_listener(PCIEPRIState *pri, uint32_t pasid);

/*
 * Check whether a listener, some of whose groups have ended, is idle.  Called
 * with @lock held.
 */
void pcie_pri_check_idle(PCIEPRIState *pri, PRIListener *listener);

/* Unregister idle listeners */
void pcie_pri_release_listeners(PCIDevice *dev);

/*
 * End all groups, and respond to them with a failure, so that no user waits for
 * a response that will never arrive
 */
void pcie_pri_drop_groups(PCIDevice *dev);

/* End all groups without a response to any.  Called with @lock held. */
void pcie_pri_discard_groups(PCIEPRIState *pri);

/* Add valid groups from a stream.  Called with both locks held. */
void pcie_pri_load_groups(PCIEPRIState *pri, const PRISavedGroup *saved);

/*
 * Register listeners for the responses to loaded groups: the device model may
 * never register for some of their PASIDs.
 */
void pcie_pri_listen_for_groups(PCIDevice *dev);

#endif
