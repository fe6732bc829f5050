/*
 * QMP command query-pci-ats
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The command runs with the BQL held.  Therefore functions are neither plugged
 * nor unplugged meanwhile, and configuration space does not change.
 */

#include "qemu/osdep.h"
#include "hw/pci/pci_atc.h"
#include "hw/pci/pci_ats_info.h"
#include "hw/pci/pci_bridge.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pci_host.h"
#include "pci-internal.h"
#include "qapi/qapi-commands-pci-ats.h"

static PciAtsState *query_ats(PCIDevice *dev)
{
    PciAtsState *ats = g_new0(PciAtsState, 1);

    ats->enabled = pcie_ats_enabled(dev);
    ats->stu = 1ULL << pcie_ats_stu(dev);
    return ats;
}

static PciPasidState *query_pasid(PCIDevice *dev)
{
    PciPasidState *pasid = g_new0(PciPasidState, 1);
    uint16_t cap = pci_get_word(dev->config + dev->exp.pasid_cap +
                                PCI_PASID_CAP);

    pasid->enabled = pcie_pasid_enabled(dev);
    pasid->width = pcie_pasid_width(dev);
    pasid->exec_supported = cap & PCI_PASID_CAP_EXEC;
    pasid->exec_enabled = pcie_pasid_exec_enabled(dev);
    pasid->priv_supported = cap & PCI_PASID_CAP_PRIV;
    pasid->priv_enabled = pcie_pasid_priv_enabled(dev);
    return pasid;
}

static PciPriState *query_pri(PCIDevice *dev)
{
    PciPriState *pri = g_new0(PciPriState, 1);
    const uint8_t *cap = dev->config + dev->exp.pri_cap;
    uint16_t status;

    pcie_pri_sync_config(dev);
    status = pci_get_word(cap + PCI_PRI_STATUS);
    pri->enabled = pci_get_word(cap + PCI_PRI_CTRL) & PCI_PRI_CTRL_ENABLE;
    pri->stopped = status & PCI_PRI_STATUS_STOPPED;
    pri->response_failure = status & PCI_PRI_STATUS_RF;
    pri->unexpected_prgi = status & PCI_PRI_STATUS_UPRGI;
    pri->response_pasid = status & PCI_PRI_STATUS_PASID;
    pri->capacity = pci_get_long(cap + PCI_PRI_MAX_REQ);
    pri->allocation = pci_get_long(cap + PCI_PRI_ALLOC_REQ);
    pri->outstanding = pcie_pri_outstanding(dev);
    return pri;
}

static PciAtsTranslations *query_translations(PCIDevice *dev)
{
    PciAtsTranslations *t = g_new0(PciAtsTranslations, 1);
    PCIATSRequests counts;

    pci_ats_info_get_requests(dev, &counts);
    t->requests = counts.requests;
    t->failed = counts.failed;
    t->truncated = counts.truncated;
    t->translations = counts.translations;
    t->denied = counts.denied;
    return t;
}

static PciAtsInvalidations *new_invalidations(const uint64_t *counts)
{
    PciAtsInvalidations *inv = g_new0(PciAtsInvalidations, 1);

    inv->no_pasid = counts[PCI_ATS_INV_NO_PASID];
    inv->pasid = counts[PCI_ATS_INV_PASID];
    inv->all_pasids = counts[PCI_ATS_INV_ALL_PASIDS];
    return inv;
}

static PciAtsInvalidations *query_invalidations(PCIDevice *dev)
{
    uint64_t counts[PCI_ATS_INV_KINDS];

    pci_ats_info_get_invalidations(dev, counts);
    return new_invalidations(counts);
}

static PciPageRequests *new_page_requests(const PCIEPRIStats *stats)
{
    PciPageRequests *r = g_new0(PciPageRequests, 1);

    r->groups_open = stats->groups_open;
    r->requests = stats->requests;
    r->overflows = stats->overflows;
    r->refused = stats->refused;
    r->success = stats->success;
    r->invalid_request = stats->invalid_request;
    r->failure = stats->failure;
    r->dropped = stats->dropped;
    r->unexpected = stats->unexpected;
    return r;
}

static PciPageRequests *query_page_requests(PCIDevice *dev)
{
    PCIEPRIStats stats;

    pcie_pri_get_stats(dev, &stats);
    return new_page_requests(&stats);
}

static PciAtsAtcInfo *query_atc(PCIATC *atc)
{
    PciAtsAtcInfo *info = g_new0(PciAtsAtcInfo, 1);
    PciAtcStats *u = &info->u.atc;
    PCIATCStats stats;

    pci_atc_get_stats(atc, &stats);
    info->type = PCI_ATS_ATC_TYPE_ATC;
    info->capacity = stats.capacity;
    info->entries = stats.entries;
    u->hits = stats.hits;
    u->misses = stats.misses;
    u->fills = stats.fills;
    u->updates = stats.updates;
    u->refused = stats.refused;
    u->rejected = stats.rejected;
    u->evictions = stats.evictions;
    u->invalidations = stats.invalidations;
    u->dropped = stats.dropped;
    return info;
}

/* ---- PASIDs: a tree of PciAtsPasid, with the PASID as key ---- */

static gint compare_pasids(gconstpointer a, gconstpointer b)
{
    /* PCI_NO_PASID + 1 is 0, so that requests without PASID come first. */
    uint32_t x = GPOINTER_TO_UINT(a) + 1, y = GPOINTER_TO_UINT(b) + 1;

    return x < y ? -1 : x > y;
}

static PciAtsPasid *pasid_get(GTree *pasids, uint32_t pasid)
{
    gpointer key = GUINT_TO_POINTER(pasid);
    PciAtsPasid *p = g_tree_lookup(pasids, key);

    if (!p) {
        p = g_new0(PciAtsPasid, 1);
        p->has_pasid = pasid != PCI_NO_PASID;
        p->pasid = p->has_pasid ? pasid : 0;
        g_tree_insert(pasids, key, p);
    }
    return p;
}

static void add_entries(uint32_t pasid, uint64_t entries, void *opaque)
{
    pasid_get(opaque, pasid)->entries += entries;
}

static void add_invalidations(uint32_t pasid,
                              const uint64_t counts[PCI_ATS_INV_KINDS],
                              void *opaque)
{
    pasid_get(opaque, pasid)->invalidations = new_invalidations(counts);
}

static void add_page_requests(uint32_t pasid, const PCIEPRIStats *stats,
                              void *opaque)
{
    pasid_get(opaque, pasid)->page_requests = new_page_requests(stats);
}

static gboolean append_pasid(gpointer key, gpointer value, gpointer opaque)
{
    PciAtsPasidList ***tail = opaque;

    QAPI_LIST_APPEND(*tail, value);
    return false;
}

static PciAtsPasidList *pasids_to_list(GTree *pasids)
{
    PciAtsPasidList *list = NULL, **tail = &list;

    g_tree_foreach(pasids, append_pasid, &tail);
    return list;
}

/* ---- Functions ---- */

static PciAtsAtcInfoList *query_atcs(PCIDevice *dev, GTree *pasids)
{
    PciAtsAtcInfoList *list = NULL, **tail = &list;
    PCIATSInfoATC *atc;

    QLIST_FOREACH(atc, &dev->ats_info.atcs, next) {
        if (atc->atc) {
            QAPI_LIST_APPEND(tail, query_atc(atc->atc));
            pci_atc_foreach_pasid(atc->atc, add_entries, pasids);
        } else {
            QAPI_LIST_APPEND(tail, atc->describe(atc));
        }
    }
    return list;
}

static PciAtsDevice *query_function(PCIDevice *dev)
{
    g_autoptr(GTree) pasids = g_tree_new(compare_pasids);
    PciAtsDevice *info = g_new0(PciAtsDevice, 1);

    info->bus = pci_dev_bus_num(dev);
    info->slot = PCI_SLOT(dev->devfn);
    info->function = PCI_FUNC(dev->devfn);
    info->type = g_strdup(object_get_typename(OBJECT(dev)));
    info->qdev_id = g_strdup(dev->qdev.id);
    info->bus_master = pcie_bus_master_enabled(dev);
    info->ats = dev->exp.ats_cap ? query_ats(dev) : NULL;
    info->pasid = dev->exp.pasid_cap ? query_pasid(dev) : NULL;
    if (dev->exp.pri_cap) {
        info->pri = query_pri(dev);
        info->page_requests = query_page_requests(dev);
        pcie_pri_foreach_pasid(dev, add_page_requests, pasids);
    }
    info->translations = query_translations(dev);
    info->invalidations = query_invalidations(dev);
    pci_ats_info_foreach_pasid(dev, add_invalidations, pasids);
    info->caches = query_atcs(dev, pasids);
    info->pasids = pasids_to_list(pasids);
    return info;
}

static void query_bus(PCIBus *bus, PciAtsDeviceList ***tail)
{
    for (int devfn = 0; devfn < ARRAY_SIZE(bus->devices); devfn++) {
        PCIDevice *dev = bus->devices[devfn];

        if (!dev) {
            continue;
        }
        if (dev->exp.ats_cap || dev->exp.pasid_cap || dev->exp.pri_cap) {
            QAPI_LIST_APPEND(*tail, query_function(dev));
        }
        if (IS_PCI_BRIDGE(dev)) {
            query_bus(pci_bridge_get_sec_bus(PCI_BRIDGE(dev)), tail);
        }
    }
}

PciAtsDeviceList *qmp_query_pci_ats(Error **errp)
{
    PciAtsDeviceList *list = NULL, **tail = &list;
    PCIHostState *host;

    QLIST_FOREACH(host, &pci_host_bridges, next) {
        query_bus(host->bus, &tail);
    }
    return list;
}
