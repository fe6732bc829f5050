/*
 * PASIDs that the DMA engine of a function has registered with the IOMMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A listener is registered when the first transfer uses its PASID.  It stays
 * registered, so that its translations stay in the ATC, until another PASID
 * needs its place: the least recently used listener is unregistered.  One
 * notifier receives the invalidations of all PASIDs.
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "pci_ats_dma_internal.h"
#include "pci-internal.h"
#include "trace.h"

/* Maximum number of PASIDs that are registered at the same time */
#define MAX_PASIDS          256

QEMU_BUILD_BUG_ON(PCI_ANY_PASID != PCI_ATC_ANY_PASID);

static void listener_invalidate(IOMMUNotifier *n, IOMMUTLBEntry *entry)
{
    PCIATSDMA *dma = n->opaque;
    bool ignored = dma_inject_ignores_invalidation(dma);

    if (!ignored) {
        pci_atc_invalidate(dma->atc, entry->pasid, entry->iova,
                           entry->iova + entry->addr_mask);
    }
    trace_pci_ats_dma_invalidate(dma->dev->name, dma->dev->devfn, entry->pasid,
                                 entry->iova, entry->addr_mask, ignored);
}

static void listener_free_locked(DMAListener *listener)
{
    PCIATSDMA *dma = listener->dma;

    g_hash_table_remove(dma->listeners, GUINT_TO_POINTER(listener->pasid));
    QTAILQ_REMOVE(&dma->lru, listener, lru);
    pci_ats_info_remove_notifier(dma->dev, listener->pasid);
    if (listener->has_pri) {
        pci_pri_unregister_notifier(dma->dev, listener->pasid);
    }
    /* Leave the entries of the ATC to PASIDs that are in use. */
    pci_atc_drop(dma->atc, listener->pasid, 0, UINT64_MAX);
    g_free(listener);
}

/*
 * The thread in the notifier may run a transfer whose end unrealizes the
 * function, and thereby wait for this thread.  Therefore this thread must not
 * unregister the notifier, which would wait for the other one.
 */
static bool listener_is_busy_locked(DMAListener *listener)
{
    return listener->users ||
           pcie_pri_is_busy(listener->dma->dev, listener->pasid);
}

/* Returns false if every PASID is in use */
static bool listener_make_room_locked(PCIATSDMA *dma)
{
    DMAListener *listener;

    if (g_hash_table_size(dma->listeners) < MAX_PASIDS) {
        return true;
    }
    QTAILQ_FOREACH(listener, &dma->lru, lru) {
        if (!listener_is_busy_locked(listener)) {
            listener_free_locked(listener);
            return true;
        }
    }
    return false;
}

static int listener_register_iotlb_locked(PCIATSDMA *dma)
{
    int ret;

    if (dma->has_iotlb) {
        return 0;
    }
    ret = pci_iommu_init_iotlb_notifier(dma->dev, &dma->iotlb,
                                        listener_invalidate, dma) ?:
          pci_iommu_register_any_iotlb_notifier(dma->dev, &dma->iotlb);
    dma->has_iotlb = !ret;
    return ret;
}

static int listener_new_locked(PCIATSDMA *dma, uint32_t pasid,
                               DMAListener **result)
{
    DMAListener *listener;
    int ret;

    ret = pci_iommu_check_pasid(dma->dev, pasid, false, false) ?:
          listener_register_iotlb_locked(dma);
    if (ret) {
        return ret;
    }
    if (!listener_make_room_locked(dma)) {
        return -EBUSY;
    }
    listener = g_new0(DMAListener, 1);
    listener->dma = dma;
    listener->pasid = pasid;
    pci_ats_info_add_notifier(dma->dev, pasid);
    g_hash_table_insert(dma->listeners, GUINT_TO_POINTER(pasid), listener);
    QTAILQ_INSERT_TAIL(&dma->lru, listener, lru);
    *result = listener;
    return 0;
}

int dma_listener_get(PCIATSDMA *dma, uint32_t pasid, DMAListener **result)
{
    DMAListener *listener;
    int ret = 0;

    QEMU_LOCK_GUARD(&dma->listener_lock);
    listener = g_hash_table_lookup(dma->listeners, GUINT_TO_POINTER(pasid));
    if (!listener) {
        ret = listener_new_locked(dma, pasid, &listener);
    }
    if (!ret) {
        listener->users++;
        QTAILQ_REMOVE(&dma->lru, listener, lru);
        QTAILQ_INSERT_TAIL(&dma->lru, listener, lru);
        *result = listener;
    }
    return ret;
}

void dma_listener_put(DMAListener *listener)
{
    QEMU_LOCK_GUARD(&listener->dma->listener_lock);
    listener->users--;
}

bool dma_listener_add_pri(DMAListener *listener)
{
    PCIATSDMA *dma = listener->dma;

    QEMU_LOCK_GUARD(&dma->listener_lock);
    if (!listener->has_pri) {
        listener->pri.notify = dma_response;
        listener->has_pri = !pcie_pri_register(dma->dev, listener->pasid,
                                               &listener->pri);
    }
    return listener->has_pri;
}

bool dma_listener_has_loaded_groups(PCIATSDMA *dma, uint32_t pasid,
                                    DMAListener **listener)
{
    return pcie_pri_has_loaded_groups(dma->dev, pasid) &&
           (*listener || !dma_listener_get(dma, pasid, listener)) &&
           dma_listener_add_pri(*listener);
}

void dma_listener_free_all(PCIATSDMA *dma)
{
    DMAListener *listener, *next;

    WITH_QEMU_LOCK_GUARD(&dma->listener_lock) {
        QTAILQ_FOREACH_SAFE(listener, &dma->lru, lru, next) {
            listener_free_locked(listener);
        }
    }
    if (dma->has_iotlb) {
        pci_iommu_unregister_any_iotlb_notifier(dma->dev, &dma->iotlb);
    }
}
