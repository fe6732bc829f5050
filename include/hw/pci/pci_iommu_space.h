/*
 * The DMA address space of a source id, as an IOMMU keeps it
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An IOMMU creates one for each bus and device number that it is asked about,
 * with regions of its own inside, and takes it out of service when the bus
 * goes away.  Flat views and cached translations may use the regions for some
 * time after that, so the space is a QOM object, and the owner of its regions:
 * it is freed when nothing refers to them any more.
 *
 * Everything here needs the BQL.
 */

#ifndef HW_PCI_PCI_IOMMU_SPACE_H
#define HW_PCI_PCI_IOMMU_SPACE_H

#include "exec/memory.h"
#include "qom/object.h"
#include "qemu/queue.h"

#define TYPE_PCI_IOMMU_SPACE "pci-iommu-space"
OBJECT_DECLARE_SIMPLE_TYPE(PCIIOMMUSpace, PCI_IOMMU_SPACE)

/**
 * struct PCIIOMMUSpace - base class
 *
 * An IOMMU derives a type from it, with its regions as members.  They are
 * owned by the object, and subregions of @root.
 *
 * @as: the address space
 * @root: its root, an empty container at first
 */
struct PCIIOMMUSpace {
    /*< private >*/
    Object parent_obj;
    Object *iommu;
    QLIST_ENTRY(PCIIOMMUSpace) retired;

    /*< public >*/
    AddressSpace as;
    MemoryRegion root;
};

/**
 * pci_iommu_space_new() - create an address space
 * @type: the QOM type, derived from TYPE_PCI_IOMMU_SPACE
 * @iommu: the IOMMU; a reference is held until the space is freed, so that
 *         regions may be aliases of those of the IOMMU
 * @root_name: name of the root region
 * @as_name: name of the address space
 *
 * Returns: the space; the caller owns a reference, which
 * pci_iommu_space_retire() takes.
 */
PCIIOMMUSpace *pci_iommu_space_new(const char *type, Object *iommu,
                                   const char *root_name, const char *as_name);

/**
 * pci_iommu_space_retire() - take an address space out of service
 * @space: the space; it must not be used after this call, except in the
 *         callbacks of its own regions
 *
 * Takes the regions out of the address space, which has whoever listens to it
 * drop what is mapped, and unregister IOMMU notifiers.  Then the address space
 * is destroyed.  VFIO stops listening as late as when its device is freed; an
 * address space with a listener is destroyed by a later call of this function
 * or of pci_iommu_space_new(), so that no more of them exist than there have
 * been functions at once.
 *
 * No function may be bound to @space: the regions that alias @root have been
 * unmapped.
 */
void pci_iommu_space_retire(PCIIOMMUSpace *space);

#endif
