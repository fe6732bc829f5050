/*
 * VT-d: PCI callbacks for device-TLBs
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_I386_INTEL_IOMMU_DEV_TLB_H
#define HW_I386_INTEL_IOMMU_DEV_TLB_H

#include "exec/memory.h"
#include "hw/pci/pci.h"

/*
 * See PCIIOMMUOps; @opaque is the IntelIOMMUState.  Callable from any thread.
 */
int vtd_get_iotlb_info(void *opaque, uint8_t *addr_width,
                       uint32_t *min_page_size);
void vtd_register_iotlb_notifier(PCIBus *bus, void *opaque, int devfn,
                                 uint32_t pasid, IOMMUNotifier *n);
void vtd_unregister_iotlb_notifier(PCIBus *bus, void *opaque, int devfn,
                                   uint32_t pasid, IOMMUNotifier *n);

#endif
