/*
 * The DMA address space that an IOMMU keeps for a source id
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An IOMMU creates one for each bus, device and function number that PCI code
 * looks up.  The space contains memory regions of the IOMMU.  The IOMMU takes
 * it out of service when the bus is removed.  Flat views and cached
 * translations may use the regions for some time after that.  Therefore the
 * space is a QOM object that owns its regions: it is freed when the last
 * reference to them is gone.
 *
 * All functions are called with the BQL held.
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
 * An IOMMU derives a type from it, with its regions as members.  The object
 * owns them.  They are subregions of @root.
 *
 * @as: the address space
 * @root: root region of the address space, initially an empty container
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
 * @iommu: the IOMMU; the space holds a reference to it until the space is
 *         freed, so that its regions may be aliases of regions of the IOMMU
 * @root_name: name of the root region
 * @as_name: name of the address space
 *
 * Returns: the space; the caller owns a reference, which it passes to
 * pci_iommu_space_retire().
 */
PCIIOMMUSpace *pci_iommu_space_new(const char *type, Object *iommu,
                                   const char *root_name, const char *as_name);

/**
 * pci_iommu_space_retire() - take an address space out of service
 * @space: the space; the caller must not use it after this call, except in the
 *         callbacks of the regions of the space
 *
 * Removes the regions from the address space, so that memory listeners unmap
 * them and unregister their IOMMU notifiers.  Then destroys the address space.
 * VFIO does not unregister its memory listener before its device is freed.  A
 * later call of this function or of pci_iommu_space_new() destroys an address
 * space that still has a memory listener, so that the number of these spaces
 * never exceeds the largest number of functions that have existed at the same
 * time.
 *
 * No function may be bound to @space: the caller has unmapped the regions that
 * are aliases of @root.
 */
void pci_iommu_space_retire(PCIIOMMUSpace *space);

#endif
