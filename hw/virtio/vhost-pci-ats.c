/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ATC info of the IOTLB of a vhost back-end, for query-pci-ats
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */

#include "qemu/osdep.h"
#include "hw/pci/pci_device.h"
#include "hw/virtio/vhost.h"
#include "hw/virtio/vhost-iotlb.h"
#include "hw/virtio/vhost-pci-ats.h"
#include "qapi/qapi-types-pci-ats.h"

typedef struct VhostPCIATS {
    PCIATSInfoATC atc;
    struct vhost_dev *dev;
} VhostPCIATS;

static PciAtsAtcInfo *describe(PCIATSInfoATC *atc)
{
    VhostPCIATS *ats = container_of(atc, VhostPCIATS, atc);
    PciAtsAtcInfo *info = g_new0(PciAtsAtcInfo, 1);
    PciVhostIotlbStats *u = &info->u.vhost;
    VhostIotlbStats stats;

    vhost_iotlb_get_stats(ats->dev, &stats);
    info->type = PCI_ATS_ATC_TYPE_VHOST;
    info->capacity = stats.capacity;
    info->entries = stats.entries;
    u->misses = stats.misses;
    u->write_misses = stats.write_misses;
    u->sent_misses = stats.sent_misses;
    u->faults = stats.faults;
    u->updates = stats.updates;
    u->invalidations = stats.invalidations;
    u->kept = stats.kept;
    u->dropped = stats.dropped;
    u->round_trips = stats.round_trips;
    u->wait_ns = stats.wait_ns;
    return info;
}

void vhost_pci_ats_start(struct vhost_dev *dev)
{
    Object *proxy = OBJECT(DEVICE(dev->vdev)->parent_bus->parent);
    VhostPCIATS *ats;

    if (object_dynamic_cast(proxy, TYPE_PCI_DEVICE)) {
        ats = g_new0(VhostPCIATS, 1);
        ats->dev = dev;
        ats->atc.describe = describe;
        pci_ats_info_add_atc(PCI_DEVICE(proxy), &ats->atc);
        dev->pci_ats = ats;
    }
}

void vhost_pci_ats_stop(struct vhost_dev *dev)
{
    if (dev->pci_ats) {
        pci_ats_info_remove_atc(&dev->pci_ats->atc);
        g_free(dev->pci_ats);
        dev->pci_ats = NULL;
    }
}
