/*
 * Statistics of a PCI function with ATS, PASID or PRI, for query-pci-ats
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An invalidation increments one counter, however many PASIDs it concerns: a
 * PASID records the values of the counters at the registration of its first
 * notifier.
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "hw/pci/pci_ats_info.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_device.h"
#include "trace.h"

/* A PASID with notifiers; protected by PCIATSInfo.lock */
typedef struct ATSPasid {
    unsigned notifiers;
    uint64_t own;               /* invalidations of this PASID */
    uint64_t no_pasid_before;
    uint64_t all_pasids_before;
} ATSPasid;

void pci_ats_info_init(PCIDevice *dev)
{
    PCIATSInfo *info = &dev->ats_info;

    qemu_mutex_init(&info->lock);
    info->pasids = g_hash_table_new_full(NULL, NULL, NULL, g_free);
}

void pci_ats_info_destroy(PCIDevice *dev)
{
    PCIATSInfo *info = &dev->ats_info;

    g_hash_table_destroy(info->pasids);
    qemu_mutex_destroy(&info->lock);
}

void pci_ats_info_add_atc(PCIDevice *dev, PCIATSInfoATC *atc)
{
    QLIST_INSERT_HEAD(&dev->ats_info.atcs, atc, next);
}

void pci_ats_info_remove_atc(PCIATSInfoATC *atc)
{
    QLIST_REMOVE(atc, next);
}

static ATSPasid *find_pasid(PCIATSInfo *info, uint32_t pasid)
{
    return g_hash_table_lookup(info->pasids, GUINT_TO_POINTER(pasid));
}

void pci_ats_info_add_notifier(PCIDevice *dev, uint32_t pasid)
{
    PCIATSInfo *info = &dev->ats_info;
    ATSPasid *p;

    QEMU_LOCK_GUARD(&info->lock);
    p = find_pasid(info, pasid);
    if (!p) {
        p = g_new0(ATSPasid, 1);
        p->no_pasid_before = info->invalidations[PCI_ATS_INV_NO_PASID];
        p->all_pasids_before = info->invalidations[PCI_ATS_INV_ALL_PASIDS];
        g_hash_table_insert(info->pasids, GUINT_TO_POINTER(pasid), p);
    }
    p->notifiers++;
}

void pci_ats_info_remove_notifier(PCIDevice *dev, uint32_t pasid)
{
    PCIATSInfo *info = &dev->ats_info;
    ATSPasid *p;

    QEMU_LOCK_GUARD(&info->lock);
    p = find_pasid(info, pasid);
    if (p && !--p->notifiers) {
        g_hash_table_remove(info->pasids, GUINT_TO_POINTER(pasid));
    }
}

void pci_ats_invalidate_requested(PCIBus *bus, int devfn,
                                  PCIATSInvalidation kind, uint32_t pasid,
                                  hwaddr addr, hwaddr mask)
{
    PCIDevice *dev = bus->devices[devfn];
    PCIATSInfo *info;
    ATSPasid *p;

    if (!dev) {
        return;
    }
    trace_pci_ats_invalidate(dev->name, devfn, kind, pasid, addr, mask);

    info = &dev->ats_info;
    QEMU_LOCK_GUARD(&info->lock);
    info->invalidations[kind]++;
    if (kind == PCI_ATS_INV_PASID) {
        p = find_pasid(info, pasid);
        if (p) {
            p->own++;
        }
    }
}

void pci_ats_info_get_requests(const PCIDevice *dev, PCIATSRequests *result)
{
    const PCIATSInfo *info = &dev->ats_info;

    /*
     * A request is counted before its failure: read the counters in the
     * opposite order.
     */
    result->failed = stat64_get(&info->failed);
    result->truncated = stat64_get(&info->truncated);
    result->denied = stat64_get(&info->denied);
    result->translations = stat64_get(&info->extra_translations);
    result->requests = stat64_get(&info->requests);
    result->translations += result->requests - result->failed;
}

void pci_ats_info_get_invalidations(PCIDevice *dev,
                                    uint64_t result[PCI_ATS_INV_KINDS])
{
    PCIATSInfo *info = &dev->ats_info;

    QEMU_LOCK_GUARD(&info->lock);
    memcpy(result, info->invalidations, sizeof(info->invalidations));
}

void pci_ats_info_foreach_pasid(PCIDevice *dev, PCIATSInvalidationsFn *fn,
                                void *opaque)
{
    PCIATSInfo *info = &dev->ats_info;
    GHashTableIter iter;
    gpointer key, value;

    QEMU_LOCK_GUARD(&info->lock);
    g_hash_table_iter_init(&iter, info->pasids);
    while (g_hash_table_iter_next(&iter, &key, &value)) {
        uint32_t pasid = GPOINTER_TO_UINT(key);
        const ATSPasid *p = value;
        uint64_t counts[PCI_ATS_INV_KINDS] = {
            [PCI_ATS_INV_NO_PASID] = info->invalidations[PCI_ATS_INV_NO_PASID] -
                                     p->no_pasid_before,
            [PCI_ATS_INV_PASID] = p->own,
        };

        /* A Global Invalidate does not concern requests without PASID. */
        if (pasid != PCI_NO_PASID) {
            counts[PCI_ATS_INV_ALL_PASIDS] =
                info->invalidations[PCI_ATS_INV_ALL_PASIDS] -
                p->all_pasids_before;
        }
        fn(pasid, counts, opaque);
    }
}
