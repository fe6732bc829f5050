/*
 * Device-TLBs of an IOMMU, and their invalidation
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An IOMMU finds device-TLBs by the source id of an invalidation command.  The
 * cost depends on the registrations for that source and PASID only.
 */

#ifndef HW_I386_IOMMU_DEV_TLB_H
#define HW_I386_IOMMU_DEV_TLB_H

#include "exec/memory.h"
#include "hw/pci/pci.h"
#include "sliced_queue.h"

typedef struct IOMMUDevTLB IOMMUDevTLB;

/* The work of an invalidation, in the units of sliced_queue.h */
enum {
    /* Call a notifier for a single page */
    IOMMU_INV_WORK_NOTIFIER = 2,
    /* Call a notifier for so many pages that it searches its whole ATC */
    IOMMU_INV_WORK_SEARCH = 128,
};

/* The translations of a source to which an invalidation applies */
typedef enum IOMMUDevTLBScope {
    /*
     * An Invalidate Request without PASID.  Translations with a PASID are
     * dropped, too: that is allowed, and the VT-d driver of Linux 6.12 relies
     * on it when it frees page tables that a PASID uses.
     */
    IOMMU_DEV_TLB_NO_PASID,
    /* Translations with one PASID */
    IOMMU_DEV_TLB_PASID,
    /* Global Invalidate: translations with any PASID */
    IOMMU_DEV_TLB_ALL_PASIDS,
} IOMMUDevTLBScope;

/**
 * iommu_dev_tlb_new: create the registry of device-TLBs
 *
 * Returns: the registry, empty; it lives as long as the IOMMU
 */
IOMMUDevTLB *iommu_dev_tlb_new(void);

/* PCIIOMMUOps.init_iotlb_notifier, for any IOMMU; callable from any thread */
void iommu_dev_tlb_init_notifier(PCIBus *bus, void *opaque, int devfn,
                                 IOMMUNotifier *n, IOMMUNotify fn,
                                 void *user_opaque);

/**
 * iommu_dev_tlb_register: register a notifier of invalidations
 *
 * Callable from any thread, including from a notifier.
 *
 * @dt: the registry
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: PASID, PCI_NO_PASID, or PCI_ANY_PASID to be called once for each
 *     invalidation; the entry then has the PASID of IOMMU_DEV_TLB_PASID, and
 *     PCI_ANY_PASID for the other scopes
 * @n: the notifier; it is called with a lock of the registry held, and in the
 *     thread that submits the invalidation
 */
void iommu_dev_tlb_register(IOMMUDevTLB *dt, PCIBus *bus, int devfn,
                            uint32_t pasid, IOMMUNotifier *n);

/**
 * iommu_dev_tlb_unregister: undo iommu_dev_tlb_register()
 *
 * No call of @n is in progress after this has returned, except calls by the
 * same thread.  Does nothing if @n is not registered.  Callable from any thread
 * that does not hold a lock that a notifier takes.
 *
 * @dt: the registry
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: as registered
 * @n: the notifier
 */
void iommu_dev_tlb_unregister(IOMMUDevTLB *dt, PCIBus *bus, int devfn,
                              uint32_t pasid, IOMMUNotifier *n);

/**
 * iommu_dev_tlb_register_region: pass invalidations on to the notifiers of a
 * memory region
 *
 * vhost receives invalidations this way.  Called with the BQL held.
 *
 * @dt: the registry
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: PASID, or PCI_NO_PASID
 * @mr: the region; its notifiers with IOMMU index 0 are called
 */
void iommu_dev_tlb_register_region(IOMMUDevTLB *dt, PCIBus *bus, int devfn,
                                   uint32_t pasid, IOMMUMemoryRegion *mr);

/**
 * iommu_dev_tlb_unregister_region: undo iommu_dev_tlb_register_region()
 *
 * Called with the BQL held.
 *
 * @dt: the registry
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: PASID, or PCI_NO_PASID
 * @mr: the region
 */
void iommu_dev_tlb_unregister_region(IOMMUDevTLB *dt, PCIBus *bus, int devfn,
                                     uint32_t pasid, IOMMUMemoryRegion *mr);

/**
 * iommu_dev_tlb_invalidate: invalidate translations in device-TLBs
 *
 * All notifiers have returned when this returns.  Called with the BQL held.
 *
 * @dt: the registry
 * @sid: source id
 * @scope: the translations to invalidate
 * @pasid: the PASID of IOMMU_DEV_TLB_PASID
 * @addr: address field of an Invalidate Request (PCIe 5.0, 10.3.1), a multiple
 *        of 4 KiB
 * @size: S bit of an Invalidate Request: the lowest clear bit of @addr encodes
 *        the size, up to the whole address space if no bit is clear
 *
 * Returns: the work, in the units of sliced_queue.h
 */
unsigned iommu_dev_tlb_invalidate(IOMMUDevTLB *dt, uint16_t sid,
                                  IOMMUDevTLBScope scope, uint32_t pasid,
                                  hwaddr addr, bool size);

#endif
