/*
 * Example of a device model for QEMU 11.1, see docs/devel/pci-ats.rst
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The device has the registers of pci-ats-example.  It has its own cache of one
 * translation, and sends translation requests and page requests itself.  Only
 * the last parameter of port_class_init() differs from QEMU 11.1.
 */

#include "qemu/osdep.h"
#include "qapi/error.h"
#include "qemu/bswap.h"
#include "qemu/main-loop.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_device.h"
#include "migration/vmstate.h"
#include "system/dma.h"
/* More than the device needs: all that have another name in QEMU 10 */
#include "hw/core/boards.h"
#include "hw/core/hotplug.h"
#include "hw/core/hw-error.h"
#include "hw/core/irq.h"
#include "hw/core/loader.h"
#include "hw/core/ptimer.h"
#include "hw/core/qdev.h"
#include "hw/core/qdev-properties.h"
#include "hw/core/qdev-properties-system.h"
#include "hw/core/register.h"
#include "hw/core/registerfields.h"
#include "hw/core/resettable.h"
#include "hw/core/sysbus.h"
#include "hw/core/vmstate-if.h"
#include "qemu/aio.h"
#include "system/address-spaces.h"
#include "system/ioport.h"
#include "system/memory.h"
#include "system/memory_cached.h"

#define TYPE_PCI_ATS_PORT "pci-ats-port"
OBJECT_DECLARE_SIMPLE_TYPE(PortState, PCI_ATS_PORT)

/* Registers of 64 bits; an address written to LOAD or STORE starts an access */
enum { PASID, DATA, LOAD, STORE, STATUS, NUM_REGS = 64 / 8 };
enum { STATUS_DONE, STATUS_BUSY, STATUS_FAILED };

struct PortState {
    PCIDevice parent_obj;
    MemoryRegion mmio;
    QEMUBH *bh;                 /* continues an access after a response */
    uint64_t regs[NUM_REGS];
    uint32_t outstanding;       /* property */

    /* For the PASID, while it is registered */
    bool registered;
    IOMMUNotifier invalidations;
    IOMMUPRINotifier responses;
    IOMMUTLBEntry entry;        /* a translation; none if perm is IOMMU_NONE */

    /* The access in progress */
    hwaddr addr;
    bool is_store;
    uint16_t prgi;
    IOMMUPRIResponseCode response;
};

static uint32_t port_pasid(PortState *s)
{
    return s->regs[PASID];      /* 32 bits; all ones are PCI_NO_PASID */
}

/* ---- Translations ---- */

static void port_invalidate(IOMMUNotifier *n, IOMMUTLBEntry *range)
{
    PortState *s = n->opaque;

    if (s->entry.iova <= range->iova + range->addr_mask &&
        range->iova <= s->entry.iova + s->entry.addr_mask) {
        s->entry.perm = IOMMU_NONE;
    }
}

static bool port_permits(PortState *s, const IOMMUTLBEntry *entry)
{
    IOMMUAccessFlags need = IOMMU_ACCESS_FLAG_FULL(!s->is_store, s->is_store,
                                                   0, 0, 0, 0);

    return (s->addr & ~entry->addr_mask) == entry->iova &&
           (entry->perm & need) == need;
}

static bool port_translate(PortState *s)
{
    PCIDevice *pci = PCI_DEVICE(s);
    uint32_t errors;

    if (port_permits(s, &s->entry)) {
        return true;
    }
    if (pci_ats_request_translation(pci, port_pasid(s), false, false, s->addr,
                                    sizeof(uint64_t), !s->is_store, &s->entry,
                                    1, &errors) != 1) {
        s->entry.perm = IOMMU_NONE;
    }
    return port_permits(s, &s->entry);
}

/* ---- An access: translate, request the page if necessary, transfer ---- */

static void port_end(PortState *s, bool ok)
{
    s->regs[STATUS] = ok ? STATUS_DONE : STATUS_FAILED;
}

static void port_transfer(PortState *s)
{
    bool untranslated = s->entry.perm & IOMMU_UNTRANSLATED_ONLY;
    MemTxAttrs attrs = {
        .address_type = untranslated ? PCI_AT_UNTRANSLATED : PCI_AT_TRANSLATED,
    };
    hwaddr addr = untranslated ? s->addr : s->entry.translated_addr |
                                           (s->addr & s->entry.addr_mask);
    uint64_t data = cpu_to_le64(s->regs[DATA]);
    MemTxResult ret;

    ret = pci_dma_rw(PCI_DEVICE(s), addr, &data, sizeof(data),
                     s->is_store ? DMA_DIRECTION_FROM_DEVICE
                                 : DMA_DIRECTION_TO_DEVICE, attrs);
    if (ret == MEMTX_OK && !s->is_store) {
        s->regs[DATA] = le64_to_cpu(data);
    }
    port_end(s, ret == MEMTX_OK);
}

static void port_request_page(PortState *s)
{
    PCIDevice *pci = PCI_DEVICE(s);

    s->prgi = (s->prgi + 1) & PCI_PRI_PRGI_MASK;
    if (!pcie_pri_enabled(pci) || !pcie_pri_get_req_alloc(pci) ||
        pci_pri_request_page(pci, port_pasid(s), false, false, s->addr, true,
                             s->prgi, !s->is_store, s->is_store)) {
        port_end(s, false);
    }
}

static void port_access(PortState *s)
{
    if (port_translate(s)) {
        port_transfer(s);
    } else if (!pcie_ats_enabled(PCI_DEVICE(s))) {
        port_end(s, false);
    } else {
        port_request_page(s);
    }
}

static void port_response(IOMMUPRINotifier *n, IOMMUPRIResponse *response)
{
    PortState *s = container_of(n, PortState, responses);

    if (response->prgi == s->prgi) {
        s->response = response->response_code;
        qemu_bh_schedule(s->bh);
    }
}

static void port_continue(void *opaque)
{
    PortState *s = opaque;

    if (s->regs[STATUS] != STATUS_BUSY) {
        return;
    }
    if (s->response == IOMMU_PRI_RESP_SUCCESS) {
        port_access(s);
    } else {
        port_end(s, false);
    }
}

/* ---- PASID ---- */

static void port_unregister(PortState *s)
{
    PCIDevice *pci = PCI_DEVICE(s);

    if (s->registered) {
        pci_pri_unregister_notifier(pci, port_pasid(s));
        pci_iommu_unregister_iotlb_notifier(pci, port_pasid(s),
                                            &s->invalidations);
        s->registered = false;
    }
    s->entry = (IOMMUTLBEntry) { .perm = IOMMU_NONE };
    qemu_bh_cancel(s->bh);
}

static bool port_register(PortState *s)
{
    IOMMUPRINotify notify = port_response;
    PCIDevice *pci = PCI_DEVICE(s);
    uint8_t width;
    uint32_t page;

    s->responses.notify = notify;
    if (pci_iommu_get_iotlb_info(pci, &width, &page) ||
        pci_iommu_init_iotlb_notifier(pci, &s->invalidations, port_invalidate,
                                      s) ||
        pci_iommu_register_iotlb_notifier(pci, port_pasid(s),
                                          &s->invalidations)) {
        return false;
    }
    if (pci_pri_register_notifier(pci, port_pasid(s), &s->responses)) {
        pci_iommu_unregister_iotlb_notifier(pci, port_pasid(s),
                                            &s->invalidations);
        return false;
    }
    s->registered = true;
    return true;
}

/* ---- Registers ---- */

static uint64_t port_read(void *opaque, hwaddr addr, unsigned size)
{
    return ((PortState *)opaque)->regs[addr / 8];
}

static void port_start(PortState *s, hwaddr addr, bool is_store)
{
    s->addr = addr & ~7ULL;     /* within one page */
    s->is_store = is_store;
    if (s->registered || port_register(s)) {
        s->regs[STATUS] = STATUS_BUSY;
        port_access(s);
    } else {
        port_end(s, false);
    }
}

static void port_write(void *opaque, hwaddr addr, uint64_t val, unsigned size)
{
    PortState *s = opaque;
    unsigned reg = addr / 8;

    if (!qdev_is_realized(DEVICE(s)) || s->regs[STATUS] == STATUS_BUSY ||
        reg > STORE) {
        return;
    }
    if (reg == PASID) {
        port_unregister(s);
    }
    s->regs[reg] = val;
    if (reg == LOAD || reg == STORE) {
        port_start(s, val, reg == STORE);
    }
}

static const MemoryRegionOps port_ops = {
    .read = port_read,
    .write = port_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 8, .max_access_size = 8 },
    .impl = { .min_access_size = 8, .max_access_size = 8 },
};

/* ---- Life ---- */

static void port_config(PCIDevice *pci, uint32_t addr, uint32_t val, int len)
{
    pci_default_write_config(pci, addr, val, len);
    if (!pcie_ats_enabled(pci)) {
        PCI_ATS_PORT(pci)->entry.perm = IOMMU_NONE;
    }
}

static void port_reset_hold(Object *obj, ResetType type)
{
    PortState *s = PCI_ATS_PORT(obj);

    port_unregister(s);
    memset(s->regs, 0, sizeof(s->regs));
}

static void port_realize(PCIDevice *pci, Error **errp)
{
    PortState *s = PCI_ATS_PORT(pci);

    if (!s->outstanding) {
        error_setg(errp, "outstanding-requests must not be 0");
        return;
    }
    pcie_endpoint_cap_init(pci, 0x80);
    pcie_ats_init(pci, 0x100, true);
    pcie_add_capability(pci, PCI_EXT_CAP_ID_PASID, PCI_PASID_VER, 0x110,
                        PCI_EXT_CAP_PASID_SIZEOF);
    pcie_pasid_common_init(pci, 0x110, PCI_EXT_CAP_PASID_MAX_WIDTH, false,
                           false);
    pcie_pri_init(pci, 0x120, s->outstanding, true);
    memory_region_init_io(&s->mmio, OBJECT(s), &port_ops, s, "regs", 64);
    pci_register_bar(pci, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mmio);
    s->bh = qemu_bh_new_guarded(port_continue, s,
                                &DEVICE(s)->mem_reentrancy_guard);
}

static void port_exit(PCIDevice *pci)
{
    PortState *s = PCI_ATS_PORT(pci);

    port_unregister(s);
    qemu_bh_delete(s->bh);
}

/* ---- Migration ---- */

static bool port_pre_save(void *opaque, Error **errp)
{
    PortState *s = opaque;

    if (s->regs[STATUS] == STATUS_BUSY) {
        error_setg(errp, "an access waits for a page");
        return false;
    }
    return true;
}

static bool port_pre_load(void *opaque, Error **errp)
{
    port_unregister(opaque);
    return true;
}

static bool port_post_load(void *opaque, int version_id, Error **errp)
{
    PortState *s = opaque;

    if (s->regs[STATUS] != STATUS_DONE && s->regs[STATUS] != STATUS_FAILED) {
        error_setg(errp, "invalid status %" PRIu64, s->regs[STATUS]);
        return false;
    }
    return true;
}

static const VMStateDescription vmstate_port = {
    .name = TYPE_PCI_ATS_PORT,
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save_errp = port_pre_save,
    .pre_load_errp = port_pre_load,
    .post_load_errp = port_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, PortState),
        VMSTATE_UINT64_ARRAY(regs, PortState, NUM_REGS),
        VMSTATE_UINT16(prgi, PortState),
        VMSTATE_END_OF_LIST()
    },
};

static const Property port_properties[] = {
    DEFINE_PROP_UINT32("outstanding-requests", PortState, outstanding, 32),
};

static void port_class_init(ObjectClass *klass, void *data)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = port_realize;
    k->exit = port_exit;
    k->config_write = port_config;
    k->vendor_id = PCI_VENDOR_ID_QEMU;
    k->device_id = 0x11ee;
    k->class_id = PCI_CLASS_OTHERS;
    RESETTABLE_CLASS(klass)->phases.hold = port_reset_hold;
    dc->vmsd = &vmstate_port;
    device_class_set_props(dc, port_properties);
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
}

static const TypeInfo port_types[] = {
    {
        .name = TYPE_PCI_ATS_PORT,
        .parent = TYPE_PCI_DEVICE,
        .instance_size = sizeof(PortState),
        .class_init = port_class_init,
        .interfaces = (const InterfaceInfo[]) {
            { INTERFACE_PCIE_DEVICE },
            { },
        },
    },
};

DEFINE_TYPES(port_types)
