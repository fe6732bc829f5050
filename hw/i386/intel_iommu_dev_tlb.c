/*
 * VT-d: PCI callbacks for device-TLBs
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_dev_tlb.h"
#include "iommu_dev_tlb.h"

int vtd_get_iotlb_info(void *opaque, uint8_t *addr_width,
                       uint32_t *min_page_size)
{
    IntelIOMMUState *s = opaque;

    if (!(s->ecap & VTD_ECAP_DT)) {
        return -ENODEV;
    }
    *addr_width = s->cap & VTD_CAP_FS5LP ? 57 : s->aw_bits;
    *min_page_size = VTD_PAGE_SIZE;
    return 0;
}

void vtd_register_iotlb_notifier(PCIBus *bus, void *opaque, int devfn,
                                 uint32_t pasid, IOMMUNotifier *n)
{
    IntelIOMMUState *s = opaque;

    iommu_dev_tlb_register(s->dev_tlb, bus, devfn, pasid, n);
}

void vtd_unregister_iotlb_notifier(PCIBus *bus, void *opaque, int devfn,
                                   uint32_t pasid, IOMMUNotifier *n)
{
    IntelIOMMUState *s = opaque;

    iommu_dev_tlb_unregister(s->dev_tlb, bus, devfn, pasid, n);
}
