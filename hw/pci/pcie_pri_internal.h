/*
 * PCI Express: Page Request extended capability, internals
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * For pcie_pri.c, and for pcie_pri_vmstate.c, which saves and loads the groups.
 */

#ifndef HW_PCI_PCIE_PRI_INTERNAL_H
#define HW_PCI_PCIE_PRI_INTERNAL_H

#include "qemu/queue.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/pci/pcie_pri.h"
#include "pcie_pri_group.h"

/* The registration of one PASID with the IOMMU */
typedef struct PRIListener {
    struct rcu_head rcu;
    IOMMUPRINotifier from_iommu;
    PCIDevice *dev;
    IOMMUPRINotifier *user;     /* NULL once unregistered */
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
    /* Held while a listener is registered with the IOMMU, or unregistered */
    QemuMutex registration;
    /* Taken after @registration; nothing is called with it held */
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

/* Find the listener of @pasid, or NULL.  Called with either lock held. */
PRIListener *pcie_pri_find_listener(PCIEPRIState *pri, uint32_t pasid);

/* Take over valid groups from a stream.  Called with both locks held. */
void pcie_pri_load_groups(PCIEPRIState *pri, const PRISavedGroup *saved);

/* Forget all groups without a response to any.  Called with @lock held. */
void pcie_pri_forget_groups(PCIEPRIState *pri);

#endif
