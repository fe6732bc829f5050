/*
 * AMD-Vi: translation requests and translated requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All functions are callable from any thread, with or without the BQL, and
 * concurrently.
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#ifndef HW_I386_AMD_IOMMU_ATS_H
#define HW_I386_AMD_IOMMU_ATS_H

#include "hw/pci/pci.h"
#include "amd_iommu.h"

/* Members of PCIIOMMUOps, see there; @opaque is the AMDVIState */
int amdvi_get_iotlb_info(void *opaque, uint8_t *addr_width,
                         uint32_t *min_page_size);
void amdvi_register_iotlb_notifier(PCIBus *bus, void *opaque, int devfn,
                                   uint32_t pasid, IOMMUNotifier *n);
void amdvi_unregister_iotlb_notifier(PCIBus *bus, void *opaque, int devfn,
                                     uint32_t pasid, IOMMUNotifier *n);
bool amdvi_translated_request(PCIBus *bus, void *opaque, int devfn,
                              bool ats_enabled, hwaddr addr, hwaddr *len,
                              bool is_write);
ssize_t amdvi_ats_request_translation(PCIBus *bus, void *opaque, int devfn,
                                      uint32_t pasid, bool priv_req,
                                      bool exec_req, hwaddr addr, size_t length,
                                      bool no_write, IOMMUTLBEntry *result,
                                      size_t result_length,
                                      uint32_t *err_count);

/**
 * amdvi_translate_translated: check whether a translated request may pass
 * (2.1.3)
 *
 * For requests through the memory region of the IOMMU, which does not identify
 * the function: the requester is the function at @bus and @devfn, unless these
 * belong to a bridge that takes ownership of the requests.  Functions behind
 * such a bridge have no ATS.
 *
 * @s: the IOMMU, enabled or not
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @addr: address of the request
 * @is_write: true for a write, false for a read
 * @entry: set to the identity for a range that contains @addr, with permission
 *         IOMMU_NONE if the request is blocked
 */
void amdvi_translate_translated(AMDVIState *s, PCIBus *bus, int devfn,
                                hwaddr addr, bool is_write,
                                IOMMUTLBEntry *entry);

#endif
