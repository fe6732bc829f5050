/*
 * VT-d: invalidation of device-TLBs
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Device-TLBs are found by the source id in the descriptor.  The cost depends
 * on what is registered for that source and PASID, not on others.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#ifndef HW_I386_IOMMU_DEV_TLB_H
#define HW_I386_IOMMU_DEV_TLB_H

#include "exec/memory.h"
#include "hw/pci/pci.h"

/* The work of an invalidation, in units of about 100 ns */
enum {
    /* Call a notifier for one page */
    VTD_INV_WORK_NOTIFIER = 2,
    /* The same for so many pages that all of a device-TLB is searched */
    VTD_INV_WORK_SEARCH = 128,
    /* Call the notifiers of a memory region, which may ask a back-end */
    VTD_INV_WORK_REGION = 128,
};

/* Which translations of a source to invalidate */
typedef enum VTDDevTLBScope {
    /*
     * dev_tlb_inv_dsc (6.5.2.5): those without PASID.  All others are dropped
     * too: that is allowed, and Linux 6.12 counts on it when it frees page
     * tables that a PASID uses.
     */
    VTD_DEV_TLB_NO_PASID,
    /* p_dev_tlb_inv_dsc (6.5.2.6): those with one PASID */
    VTD_DEV_TLB_PASID,
    /* The same with Global Invalidate: those with any PASID */
    VTD_DEV_TLB_ALL_PASIDS,
} VTDDevTLBScope;

/**
 * vtd_dev_tlb_new: create the registry of device-TLBs
 *
 * Returns: the registry, empty; it lives as long as the IOMMU
 */
VTDDevTLB *vtd_dev_tlb_new(void);

/**
 * vtd_dev_tlb_register: be told of invalidations
 *
 * Callable from any thread, also from within a notifier.
 *
 * @dt: the registry
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: PASID, PCI_NO_PASID, or PCI_ANY_PASID to be called once for each
 *     invalidation; the entry then has the PASID of VTD_DEV_TLB_PASID, and
 *     PCI_ANY_PASID for the other scopes
 * @n: the notifier; it is called with a lock of the registry held, and in the
 *     thread that submits the invalidation
 */
void vtd_dev_tlb_register(VTDDevTLB *dt, PCIBus *bus, int devfn,
                          uint32_t pasid, IOMMUNotifier *n);

/**
 * vtd_dev_tlb_unregister: undo vtd_dev_tlb_register()
 *
 * When this returns, @n is not being called any more, unless the calling thread
 * does so.  Does nothing if @n is not registered.  Callable from any thread,
 * which must not hold a lock that a notifier takes.
 *
 * @dt: the registry
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: as registered
 * @n: the notifier
 */
void vtd_dev_tlb_unregister(VTDDevTLB *dt, PCIBus *bus, int devfn,
                            uint32_t pasid, IOMMUNotifier *n);

/**
 * vtd_dev_tlb_register_region: pass invalidations on to the notifiers of a
 * memory region
 *
 * That is how vhost is told.  Called with the BQL.
 *
 * @dt: the registry
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: PASID, or PCI_NO_PASID
 * @mr: the region; its notifiers with IOMMU index 0 are called
 */
void vtd_dev_tlb_register_region(VTDDevTLB *dt, PCIBus *bus, int devfn,
                                 uint32_t pasid, IOMMUMemoryRegion *mr);

/**
 * vtd_dev_tlb_unregister_region: undo vtd_dev_tlb_register_region()
 *
 * Called with the BQL.
 *
 * @dt: the registry
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: PASID, or PCI_NO_PASID
 * @mr: the region
 */
void vtd_dev_tlb_unregister_region(VTDDevTLB *dt, PCIBus *bus, int devfn,
                                   uint32_t pasid, IOMMUMemoryRegion *mr);

/**
 * vtd_dev_tlb_invalidate: carry out a descriptor
 *
 * Returns after all notifiers have.  Called with the BQL.
 *
 * @dt: the registry
 * @sid: source id in the descriptor
 * @scope: which translations
 * @pasid: the PASID of VTD_DEV_TLB_PASID
 * @addr: address field of the descriptor, a multiple of 4 KiB
 * @size: S bit of the descriptor: the lowest clear bit of @addr tells the size,
 *        up to the whole address space when none is clear
 *
 * Returns: the work, in the units of VTD_INV_WORK_*
 */
unsigned vtd_dev_tlb_invalidate(VTDDevTLB *dt, uint16_t sid,
                                VTDDevTLBScope scope, uint32_t pasid,
                                hwaddr addr, bool size);

#endif
