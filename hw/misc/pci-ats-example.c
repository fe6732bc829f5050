/*
 * Example of a device with shared virtual memory, see docs/devel/pci-ats.rst
 * Copyright (c) 2026 QEMU SVM contributors
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "hw/pci/pci_ats_dma.h"
#include "hw/pci/pci_device.h"
#include "migration/vmstate.h"

#define TYPE_PCI_ATS_EXAMPLE "pci-ats-example"
OBJECT_DECLARE_SIMPLE_TYPE(ExampleState, PCI_ATS_EXAMPLE)

/* Registers of 64 bits; an address written to LOAD or STORE starts an access */
enum { PASID, DATA, LOAD, STORE, STATUS, NUM_REGS = 64 / 8 };
enum { STATUS_DONE, STATUS_BUSY, STATUS_FAILED };

typedef struct ExampleOp {
    ExampleState *s;            /* a counted reference */
    uint64_t data;              /* little endian */
} ExampleOp;

struct ExampleState {
    PCIDevice parent_obj;
    MemoryRegion mmio;
    PCIATSDMA *dma;
    uint64_t regs[NUM_REGS];
    ExampleOp *op;              /* in progress, or NULL; under the BQL */
};

/* Called once, without the BQL, when all page requests have a response */
static void example_done(void *opaque, int ret)
{
    ExampleOp *op = opaque;
    ExampleState *s = op->s;
    BQL_LOCK_GUARD();

    if (s->op == op) {
        s->op = NULL;
        s->regs[DATA] = le64_to_cpu(op->data);
        s->regs[STATUS] = ret ? STATUS_FAILED : STATUS_DONE;
    }
    g_free(op);
    object_unref(OBJECT(s));
}

static void example_start(ExampleState *s, hwaddr addr, DMADirection dir)
{
    s->op = g_new(ExampleOp, 1);
    *s->op = (ExampleOp) { s, cpu_to_le64(s->regs[DATA]) };
    object_ref(OBJECT(s));
    s->regs[STATUS] = STATUS_BUSY;
    pci_ats_dma_submit(s->dma, &(PCIATSDMATransfer) {
        .pasid = s->regs[PASID],
        .num_ranges = 1, .range = { { addr, dir } },
        .len = sizeof(s->op->data),
        .buf = &s->op->data,
    }, example_done, s->op);
}

static uint64_t example_read(void *opaque, hwaddr addr, unsigned size)
{
    return ((ExampleState *)opaque)->regs[addr / 8];
}

static void example_write(void *opaque, hwaddr addr, uint64_t val, unsigned n)
{
    ExampleState *s = opaque;
    unsigned reg = addr / 8;

    /* A vCPU may still write to a device that has just been unplugged */
    if (!DEVICE(s)->realized || s->op || reg > STORE) {
        return;
    }
    s->regs[reg] = val;
    if (reg == LOAD || reg == STORE) {
        example_start(s, val, reg == LOAD ? DMA_DIRECTION_TO_DEVICE
                                          : DMA_DIRECTION_FROM_DEVICE);
    }
}

static const MemoryRegionOps example_ops = {
    .read = example_read,
    .write = example_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = { .min_access_size = 8, .max_access_size = 8 },
    .impl = { .min_access_size = 8, .max_access_size = 8 },
};

static void example_config(PCIDevice *pci, uint32_t addr, uint32_t val, int len)
{
    pci_default_write_config(pci, addr, val, len);
    pci_ats_dma_recheck(PCI_ATS_EXAMPLE(pci)->dma);
}

static void example_reset(DeviceState *dev)
{
    ExampleState *s = PCI_ATS_EXAMPLE(dev);

    s->op = NULL;               /* example_done() frees it */
    pci_ats_dma_cancel(s->dma);
    memset(s->regs, 0, sizeof(s->regs));
}

static void example_realize(PCIDevice *pci, Error **errp)
{
    ExampleState *s = PCI_ATS_EXAMPLE(pci);

    pcie_endpoint_cap_init(pci, 0x80);
    pcie_ats_init(pci, 0x100, true);
    pcie_pasid_init(pci, 0x110, PCI_PASID_WIDTH_MAX, false, false);
    pcie_pri_init(pci, 0x120, 32, true);
    memory_region_init_io(&s->mmio, OBJECT(s), &example_ops, s, "regs", 64);
    pci_register_bar(pci, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->mmio);
    s->dma = pci_ats_dma_new(pci, 1024);
}

static void example_exit(PCIDevice *pci)
{
    pci_ats_dma_close(PCI_ATS_EXAMPLE(pci)->dma);
}

static const VMStateDescription vmstate_example = {
    .name = TYPE_PCI_ATS_EXAMPLE, .unmigratable = 1,
};

static void example_class_init(ObjectClass *klass, void *data)
{
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = example_realize;
    k->exit = example_exit;
    k->config_write = example_config;
    k->vendor_id = PCI_VENDOR_ID_QEMU;
    k->device_id = 0x11ec;
    k->class_id = PCI_CLASS_OTHERS;
    device_class_set_legacy_reset(DEVICE_CLASS(klass), example_reset);
    DEVICE_CLASS(klass)->vmsd = &vmstate_example;
}

static const TypeInfo example_types[] = { {
    .name = TYPE_PCI_ATS_EXAMPLE,
    .parent = TYPE_PCI_DEVICE,
    .instance_size = sizeof(ExampleState),
    .class_init = example_class_init,
    .interfaces = (InterfaceInfo[]) { { INTERFACE_PCIE_DEVICE }, { } },
} };
DEFINE_TYPES(example_types)
