/*
 * The DMA address space that an IOMMU keeps for a source id
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pci_iommu_space.h"
#include "pci-internal.h"
#include "trace.h"

/*
 * Spaces that are out of service but still have memory listeners.  Protected
 * by the BQL.
 */
static QLIST_HEAD(, PCIIOMMUSpace) retired_spaces =
    QLIST_HEAD_INITIALIZER(retired_spaces);

void pci_iommu_bus_removed(PCIBus *bus)
{
    PCIBus *iommu_bus = bus;

    while (!iommu_bus->iommu_ops && iommu_bus->parent_dev) {
        iommu_bus = pci_get_bus(iommu_bus->parent_dev);
    }
    if (iommu_bus->iommu_ops && iommu_bus->iommu_ops->bus_removed) {
        iommu_bus->iommu_ops->bus_removed(bus, iommu_bus->iommu_opaque);
    }
}

static void space_destroy(PCIIOMMUSpace *space)
{
    /*
     * The address space holds a reference to the owner of its root until it
     * is destroyed.
     */
    address_space_destroy(&space->as);
    object_unref(OBJECT(space));
}

static void retired_spaces_sweep(void)
{
    PCIIOMMUSpace *space, *next;

    QLIST_FOREACH_SAFE(space, &retired_spaces, retired, next) {
        if (QTAILQ_EMPTY(&space->as.listeners)) {
            QLIST_REMOVE(space, retired);
            space_destroy(space);
        }
    }
}

/*
 * Mapped subregions hold references to their owner, so that it is never freed
 * while they stay mapped.
 */
static void container_clear(MemoryRegion *container)
{
    MemoryRegion *mr, *next;

    QTAILQ_FOREACH_SAFE(mr, &container->subregions, subregions_link, next) {
        if (mr->owner == container->owner) {
            container_clear(mr);
        }
        memory_region_del_subregion(container, mr);
    }
}

PCIIOMMUSpace *pci_iommu_space_new(const char *type, Object *iommu,
                                   const char *root_name, const char *as_name)
{
    PCIIOMMUSpace *space = PCI_IOMMU_SPACE(object_new(type));

    assert(bql_locked());
    retired_spaces_sweep();
    space->iommu = object_ref(iommu);
    memory_region_init(&space->root, OBJECT(space), root_name, UINT64_MAX);
    address_space_init(&space->as, &space->root, as_name);
    trace_pci_iommu_space_new(space, root_name);
    return space;
}

void pci_iommu_space_retire(PCIIOMMUSpace *space)
{
    trace_pci_iommu_space_retire(space);
    assert(bql_locked());
    assert(!memory_region_is_mapped(&space->root));

    memory_region_transaction_begin();
    container_clear(&space->root);
    memory_region_transaction_commit();

    QLIST_INSERT_HEAD(&retired_spaces, space, retired);
    retired_spaces_sweep();
}

static void pci_iommu_space_finalize(Object *obj)
{
    PCIIOMMUSpace *space = PCI_IOMMU_SPACE(obj);

    trace_pci_iommu_space_free(space);
    object_unref(space->iommu);
}

static const TypeInfo pci_iommu_space_info = {
    .name = TYPE_PCI_IOMMU_SPACE,
    .parent = TYPE_OBJECT,
    .instance_size = sizeof(PCIIOMMUSpace),
    .instance_finalize = pci_iommu_space_finalize,
    .abstract = true,
};

static void pci_iommu_space_register_types(void)
{
    type_register_static(&pci_iommu_space_info);
}

type_init(pci_iommu_space_register_types)
