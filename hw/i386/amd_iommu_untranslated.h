/*
 * AMD-Vi: untranslated requests
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

#ifndef HW_I386_AMD_IOMMU_UNTRANSLATED_H
#define HW_I386_AMD_IOMMU_UNTRANSLATED_H

#include "hw/pci/pci.h"
#include "amd_iommu.h"

/* Members of PCIIOMMUOps, see there; @opaque is the AMDVIState */
bool amdvi_pasid_translate(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                           bool priv_req, bool exec_req, hwaddr addr,
                           bool is_write, IOMMUTLBEntry *result);
void amdvi_untranslated_blocked(PCIBus *bus, void *opaque, int devfn,
                                hwaddr addr, bool is_write);

/**
 * amdvi_translate_untranslated: translate a request without PASID (2.2)
 *
 * Logs the event if the request is blocked.
 *
 * @s: the IOMMU, enabled or not
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @addr: input address
 * @is_write: true for a write, false for a read
 * @entry: set to the translation of a range that contains @addr, with
 *         permission IOMMU_NONE if the request is blocked
 */
void amdvi_translate_untranslated(AMDVIState *s, PCIBus *bus, int devfn,
                                  hwaddr addr, bool is_write,
                                  IOMMUTLBEntry *entry);

/**
 * amdvi_peek: look up a translation without side effects
 *
 * Sets no accessed and dirty bits, and logs no event.
 *
 * @s: the IOMMU
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @addr: input address
 * @entry: set to the translation of a range that contains @addr, with the
 *         permissions for which no accessed or dirty bit has to be set
 *
 * Returns: false if there are no such permissions
 */
bool amdvi_peek(AMDVIState *s, PCIBus *bus, int devfn, hwaddr addr,
                IOMMUTLBEntry *entry);

/**
 * amdvi_block_interrupt_range: report a request to the interrupt range that is
 * not an interrupt (2.1.2)
 *
 * Callable from any thread.
 *
 * @s: the IOMMU
 * @devid: DeviceID of the requester
 * @addr: address of the request
 * @is_write: true for a write, false for a read
 *
 * Returns: false, with nothing reported, if the IOMMU is disabled
 */
bool amdvi_block_interrupt_range(AMDVIState *s, uint16_t devid, hwaddr addr,
                                 bool is_write);

#endif
