/*
 * Intel Data Streaming Accelerator (DSA): the PCI device
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * docs/specs/dsa.rst describes the interface to the guest.
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "hw/pci/msix.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pcie_ats.h"
#include "hw/pci/pcie_pri.h"
#include "hw/qdev-properties.h"
#include "qapi/error.h"
#include "dsa-internal.h"

/* Capabilities in configuration space */
#define DSA_PCIE_CAP_OFFSET     0x40
#define DSA_ATS_CAP_OFFSET      PCI_CONFIG_SPACE_SIZE
#define DSA_PASID_CAP_OFFSET    (DSA_ATS_CAP_OFFSET + PCI_EXT_CAP_ATS_SIZEOF)
#define DSA_PRI_CAP_OFFSET      (DSA_PASID_CAP_OFFSET + \
                                 PCI_EXT_CAP_PASID_SIZEOF)

/* ---- Registers ---- */

static uint64_t dsa_mmio_read(void *opaque, hwaddr addr, unsigned size)
{
    DSAState *s = opaque;
    unsigned shift = addr % 8 * 8;

    QEMU_LOCK_GUARD(&s->lock);
    if (s->stopping) {
        return UINT64_MAX;
    }
    return extract64(dsa_config_read(s, addr - addr % 8), shift, size * 8);
}

static void dsa_mmio_write(void *opaque, hwaddr addr, uint64_t val,
                           unsigned size)
{
    DSAState *s = opaque;
    unsigned shift = addr % 8 * 8;

    QEMU_LOCK_GUARD(&s->lock);
    if (s->stopping) {
        return;
    }
    if (addr != A_DSA_CMD) {
        dsa_config_write(s, addr - addr % 8, val << shift,
                         MAKE_64BIT_MASK(shift, size * 8));
    } else if (size >= 4) {
        dsa_command_submit(s, val);
    } else {
        qemu_log_mask(LOG_GUEST_ERROR, "%s: %u bytes written to CMD\n",
                      TYPE_DSA, size);
    }
}

static const MemoryRegionOps dsa_mmio_ops = {
    .read = dsa_mmio_read,
    .write = dsa_mmio_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {
        .min_access_size = 1,
        .max_access_size = 8,
    },
    .impl = {
        .min_access_size = 1,
        .max_access_size = 8,
    },
};

/* ---- Configuration space ---- */

static DSAPCIControls dsa_controls(DSAState *s)
{
    const PCIDevice *pci = PCI_DEVICE(s);

    return (DSAPCIControls) {
        .bus_master = pcie_bus_master_enabled(pci),
        .ats = pcie_ats_enabled(pci),
        .pasid = pcie_pasid_enabled(pci),
        /* A Response Failure changes pcie_pri_enabled(), but not Enable */
        .pri = pci_get_word(pci->config + pci->exp.pri_cap + PCI_PRI_CTRL) &
               PCI_PRI_CTRL_ENABLE,
    };
}

static void dsa_check_controls(DSAState *s)
{
    DSAPCIControls controls = dsa_controls(s);

    if (memcmp(&controls, &s->controls, sizeof(controls))) {
        s->controls = controls;
        dsa_halt(s);
    }
}

static void dsa_write_config(PCIDevice *pci, uint32_t addr, uint32_t val,
                             int len)
{
    DSAState *s = DSA(pci);

    pci_default_write_config(pci, addr, val, len);
    pci_ats_dma_recheck(s->dma);
    dsa_check_controls(s);
    pcie_cap_flr_write_config(pci, addr, val, len);
}

/* ---- Life cycle ---- */

/* Function Level Reset or reset of the bus */
static void dsa_reset(DeviceState *qdev)
{
    DSAState *s = DSA(qdev);

    dsa_reset_state(s);
    s->controls = dsa_controls(s);
}

static void dsa_vm_state_change(void *opaque, bool running, RunState state)
{
    DSAState *s = opaque;

    /* Configuration space may have been loaded */
    s->controls = dsa_controls(s);
    dsa_set_running(s, running);
}

static bool dsa_check_property(const char *name, uint32_t val, uint32_t max,
                               Error **errp)
{
    if (val < 1 || val > max) {
        error_setg(errp, "%s must be from 1 to %" PRIu32, name, max);
        return false;
    }
    return true;
}

static bool dsa_check_properties(DSAState *s, Error **errp)
{
    return dsa_check_property("engines", s->num_engines, DSA_MAX_ENGINES,
                              errp) &&
           dsa_check_property("groups", s->num_groups, DSA_MAX_GROUPS, errp) &&
           dsa_check_property("work-queues", s->num_wqs, DSA_MAX_WQS, errp) &&
           dsa_check_property("work-queue-entries", s->total_wq_size,
                              UINT16_MAX, errp) &&
           dsa_check_property("pri-capacity", s->pri_capacity,
                              PCI_PRGI_MAX + 1, errp);
}

static bool dsa_init_capabilities(DSAState *s, Error **errp)
{
    PCIDevice *pci = PCI_DEVICE(s);
    unsigned i;

    if (pcie_endpoint_cap_init(pci, DSA_PCIE_CAP_OFFSET) < 0) {
        error_setg(errp, "no PCI Express capability");
        return false;
    }
    if (msix_init(pci, dsa_num_vectors(s), &s->mmio, DSA_MMIO_BAR,
                  DSA_MSIX_TABLE_OFFSET, &s->mmio, DSA_MMIO_BAR,
                  DSA_MSIX_PBA_OFFSET, 0, errp)) {
        pcie_cap_exit(pci);
        return false;
    }
    for (i = 0; i < dsa_num_vectors(s); i++) {
        msix_vector_use(pci, i);
    }
    pcie_cap_flr_init(pci);
    pcie_ats_init(pci, DSA_ATS_CAP_OFFSET, true);
    pcie_pasid_init(pci, DSA_PASID_CAP_OFFSET, PCI_PASID_WIDTH_MAX, false,
                    true);
    pcie_pri_init(pci, DSA_PRI_CAP_OFFSET, s->pri_capacity, true);
    return true;
}

static void dsa_realize(PCIDevice *pci, Error **errp)
{
    DSAState *s = DSA(pci);
    unsigned i;

    if (!dsa_check_properties(s, errp)) {
        return;
    }
    memory_region_init_io(&s->mmio, OBJECT(s), &dsa_mmio_ops, s, "dsa-mmio",
                          DSA_MMIO_SIZE);
    dsa_portal_init(s);
    pci_register_bar(pci, DSA_MMIO_BAR, PCI_BASE_ADDRESS_SPACE_MEMORY |
                     PCI_BASE_ADDRESS_MEM_TYPE_64, &s->mmio);
    pci_register_bar(pci, DSA_PORTAL_BAR, PCI_BASE_ADDRESS_SPACE_MEMORY |
                     PCI_BASE_ADDRESS_MEM_TYPE_64, &s->portals);
    if (!dsa_init_capabilities(s, errp)) {
        return;
    }

    s->stopping = false;
    qemu_cond_init(&s->completed);
    s->bh = qemu_bh_new_guarded(dsa_bh, s, &DEVICE(s)->mem_reentrancy_guard);
    s->dma = pci_ats_dma_new(pci, s->atc_entries);
    for (i = 0; i < s->num_wqs; i++) {
        s->wqs[i].capacity = s->total_wq_size;
        s->wqs[i].ring = g_new0(DSAWork, s->total_wq_size);
    }
    dsa_config_reset(s);
    /* A device plugged while suspended is not notified of the wakeup */
    s->running = runstate_is_live(runstate_get());
    s->vm_state = qdev_add_vm_change_state_handler(DEVICE(s),
                                                   dsa_vm_state_change, s);
    dsa_engines_start(s);
}

static void dsa_exit(PCIDevice *pci)
{
    DSAState *s = DSA(pci);
    unsigned i;

    qemu_del_vm_change_state_handler(s->vm_state);
    dsa_engines_stop(s);
    pci_ats_dma_close(s->dma);
    qemu_bh_delete(s->bh);
    for (i = 0; i < s->num_wqs; i++) {
        g_free(s->wqs[i].ring);
    }
    qemu_cond_destroy(&s->completed);
    msix_uninit(pci, &s->mmio, &s->mmio);
    pcie_cap_exit(pci);
    dsa_image_free(s);
}

/*
 * A processor may access the device until the object is finalized, and checks
 * @stopping with the lock held.
 */
static void dsa_instance_init(Object *obj)
{
    qemu_mutex_init(&DSA(obj)->lock);
}

static void dsa_instance_finalize(Object *obj)
{
    qemu_mutex_destroy(&DSA(obj)->lock);
}

static const Property dsa_properties[] = {
    DEFINE_PROP_UINT32("engines", DSAState, num_engines, 4),
    DEFINE_PROP_UINT32("groups", DSAState, num_groups, 4),
    DEFINE_PROP_UINT32("work-queues", DSAState, num_wqs, 8),
    DEFINE_PROP_UINT32("work-queue-entries", DSAState, total_wq_size, 128),
    DEFINE_PROP_UINT32("atc-entries", DSAState, atc_entries, 4096),
    DEFINE_PROP_UINT32("pri-capacity", DSAState, pri_capacity, 512),
    DEFINE_PROP_BOOL("event-log", DSAState, has_event_log, false),
};

static void dsa_class_init(ObjectClass *klass, void *opaque)
{
    DirectStoreTargetClass *dstc = DIRECT_STORE_TARGET_CLASS(klass);
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = dsa_realize;
    k->exit = dsa_exit;
    k->config_write = dsa_write_config;
    k->vendor_id = PCI_VENDOR_ID_INTEL;
    k->device_id = DSA_PCI_DEVICE_ID;
    k->class_id = PCI_CLASS_SYSTEM_OTHER;
    dstc->direct_store = dsa_portal_direct_store;
    dstc->enqueue_store = dsa_portal_enqueue_store;
    dc->desc = "Intel Data Streaming Accelerator";
    dc->vmsd = &vmstate_dsa;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_legacy_reset(dc, dsa_reset);
    device_class_set_props(dc, dsa_properties);
}

static const TypeInfo dsa_info = {
    .name          = TYPE_DSA,
    .parent        = TYPE_PCI_DEVICE,
    .instance_size = sizeof(DSAState),
    .instance_init = dsa_instance_init,
    .instance_finalize = dsa_instance_finalize,
    .class_init    = dsa_class_init,
    .interfaces = (InterfaceInfo[]) {
        { INTERFACE_PCIE_DEVICE },
        { TYPE_DIRECT_STORE_TARGET },
        { },
    },
};

static void dsa_register_types(void)
{
    type_register_static(&dsa_info);
}

type_init(dsa_register_types)
