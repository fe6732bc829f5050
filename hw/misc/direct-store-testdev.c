/*
 * PCI test device for direct stores and enqueue stores
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The device counts and records stores, so that a test can check the number of
 * pieces in which a store arrives.  docs/specs/direct-store-testdev.rst
 * describes the interface.
 */

#include "qemu/osdep.h"
#include "hw/direct_store.h"
#include "hw/misc/direct-store-testdev.h"
#include "hw/pci/pci_device.h"
#include "migration/vmstate.h"
#include "qom/object.h"

#define TYPE_DIRECT_STORE_TESTDEV "direct-store-testdev"
OBJECT_DECLARE_SIMPLE_TYPE(DirectStoreTestDev, DIRECT_STORE_TESTDEV)

/* Protected by the BQL */
struct DirectStoreTestDev {
    PCIDevice parent_obj;
    MemoryRegion bar;
    MemoryRegion portal;
    MemoryRegion regs;

    uint32_t direct_stores;
    uint32_t enqueue_stores;
    uint32_t writes;
    uint32_t credits;
    uint32_t last_offset;
    uint8_t data[DIRECT_STORE_SIZE];
};

static uint64_t dst_portal_read(void *opaque, hwaddr addr, unsigned size)
{
    return 0;
}

static void dst_portal_write(void *opaque, hwaddr addr, uint64_t val,
                             unsigned size)
{
    DirectStoreTestDev *d = opaque;

    d->writes++;
    d->last_offset = addr;
    stq_le_p(d->data, val);
}

static const MemoryRegionOps dst_portal_ops = {
    .read = dst_portal_read,
    .write = dst_portal_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid.max_access_size = 8,
    .impl.max_access_size = 8,
};

static uint64_t dst_regs_read(void *opaque, hwaddr addr, unsigned size)
{
    DirectStoreTestDev *d = opaque;

    switch (addr + DST_REGS) {
    case DST_DIRECT_STORES:
        return d->direct_stores;
    case DST_ENQUEUE_STORES:
        return d->enqueue_stores;
    case DST_WRITES:
        return d->writes;
    case DST_CREDITS:
        return d->credits;
    case DST_LAST_OFFSET:
        return d->last_offset;
    case DST_DATA ... DST_DATA + DIRECT_STORE_SIZE - 4:
        return ldl_le_p(d->data + addr + DST_REGS - DST_DATA);
    default:
        return 0;
    }
}

static void dst_regs_write(void *opaque, hwaddr addr, uint64_t val,
                           unsigned size)
{
    DirectStoreTestDev *d = opaque;

    if (addr + DST_REGS == DST_CREDITS) {
        d->credits = val;
    }
}

static const MemoryRegionOps dst_regs_ops = {
    .read = dst_regs_read,
    .write = dst_regs_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid.min_access_size = 4,
    .valid.max_access_size = 4,
    .impl.min_access_size = 4,
};

static bool dst_direct_store(DirectStoreTarget *target, MemoryRegion *mr,
                             hwaddr addr, const void *data, MemTxAttrs attrs)
{
    DirectStoreTestDev *d = DIRECT_STORE_TESTDEV(target);

    if (mr != &d->portal) {
        return false;
    }
    d->direct_stores++;
    d->last_offset = addr;
    memcpy(d->data, data, sizeof(d->data));
    return true;
}

static bool dst_enqueue_store(DirectStoreTarget *target, MemoryRegion *mr,
                              hwaddr addr, const void *data, MemTxAttrs attrs)
{
    DirectStoreTestDev *d = DIRECT_STORE_TESTDEV(target);

    if (mr != &d->portal) {
        return false;
    }
    d->enqueue_stores++;
    d->last_offset = addr;
    memcpy(d->data, data, sizeof(d->data));
    if (!d->credits) {
        return false;
    }
    d->credits--;
    return true;
}

static void dst_reset(DeviceState *dev)
{
    DirectStoreTestDev *d = DIRECT_STORE_TESTDEV(dev);

    d->direct_stores = 0;
    d->enqueue_stores = 0;
    d->writes = 0;
    d->credits = 0;
    d->last_offset = 0;
    memset(d->data, 0, sizeof(d->data));
}

static void dst_realize(PCIDevice *pci_dev, Error **errp)
{
    DirectStoreTestDev *d = DIRECT_STORE_TESTDEV(pci_dev);

    memory_region_init(&d->bar, OBJECT(d), "direct-store", DST_BAR_SIZE);
    memory_region_init_io(&d->portal, OBJECT(d), &dst_portal_ops, d,
                          "direct-store-portal", DST_REGS - DST_PORTAL);
    memory_region_add_subregion(&d->bar, DST_PORTAL, &d->portal);
    memory_region_init_io(&d->regs, OBJECT(d), &dst_regs_ops, d,
                          "direct-store-regs", DST_BAR_SIZE - DST_REGS);
    memory_region_add_subregion(&d->bar, DST_REGS, &d->regs);
    pci_register_bar(pci_dev, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &d->bar);
}

static const VMStateDescription vmstate_dst = {
    .name = TYPE_DIRECT_STORE_TESTDEV,
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, DirectStoreTestDev),
        VMSTATE_UINT32(direct_stores, DirectStoreTestDev),
        VMSTATE_UINT32(enqueue_stores, DirectStoreTestDev),
        VMSTATE_UINT32(writes, DirectStoreTestDev),
        VMSTATE_UINT32(credits, DirectStoreTestDev),
        VMSTATE_UINT32(last_offset, DirectStoreTestDev),
        VMSTATE_BUFFER(data, DirectStoreTestDev),
        VMSTATE_END_OF_LIST()
    }
};

static void dst_class_init(ObjectClass *klass, void *opaque)
{
    DirectStoreTargetClass *dstc = DIRECT_STORE_TARGET_CLASS(klass);
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = dst_realize;
    k->vendor_id = DST_VENDOR_ID;
    k->device_id = DST_DEVICE_ID;
    k->class_id = PCI_CLASS_OTHERS;
    dc->desc = "PCI test device for direct stores and enqueue stores";
    dc->vmsd = &vmstate_dst;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_legacy_reset(dc, dst_reset);
    dstc->direct_store = dst_direct_store;
    dstc->enqueue_store = dst_enqueue_store;
}

static const TypeInfo dst_info = {
    .name          = TYPE_DIRECT_STORE_TESTDEV,
    .parent        = TYPE_PCI_DEVICE,
    .instance_size = sizeof(DirectStoreTestDev),
    .class_init    = dst_class_init,
    .interfaces = (InterfaceInfo[]) {
        { INTERFACE_CONVENTIONAL_PCI_DEVICE },
        { TYPE_DIRECT_STORE_TARGET },
        { },
    },
};

static void dst_register_types(void)
{
    type_register_static(&dst_info);
}

type_init(dst_register_types)
