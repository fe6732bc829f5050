/*
 * VT-d: translation requests and translated requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All functions are callable from any thread, with or without the BQL, and
 * concurrently.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#ifndef HW_I386_INTEL_IOMMU_ATS_H
#define HW_I386_INTEL_IOMMU_ATS_H

#include "exec/memory.h"
#include "hw/i386/intel_iommu.h"
#include "hw/pci/pci.h"

/* Members of PCIIOMMUOps, see there; @opaque is the IntelIOMMUState */
bool vtd_translated_request(PCIBus *bus, void *opaque, int devfn,
                            bool ats_enabled, hwaddr addr, hwaddr *len,
                            bool is_write);
ssize_t vtd_ats_request_translation(PCIBus *bus, void *opaque, int devfn,
                                    uint32_t pasid, bool priv_req,
                                    bool exec_req, hwaddr addr, size_t length,
                                    bool no_write, IOMMUTLBEntry *result,
                                    size_t result_length, uint32_t *err_count);

/**
 * vtd_translate_translated: check whether a translated request may pass (4.2.5)
 *
 * For requests through the memory region of the IOMMU, which does not identify
 * the function: the requester is the function at @bus and @devfn, unless these
 * belong to a bridge that takes ownership of the requests.  Functions behind
 * such a bridge have no ATS.
 *
 * @s: the IOMMU, with translation enabled or not
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: PASID, or PCI_NO_PASID
 * @addr: address of the request
 * @is_write: true for a write, false for a read
 * @entry: set to the identity for a range that contains @addr, with permission
 *         IOMMU_NONE if the request is blocked
 *
 * Returns: false if the request is blocked
 */
bool vtd_translate_translated(IntelIOMMUState *s, PCIBus *bus, int devfn,
                              uint32_t pasid, hwaddr addr, bool is_write,
                              IOMMUTLBEntry *entry);

/**
 * vtd_block_translated_interrupt: record the fault of a translated request to
 * the interrupt range
 *
 * Such a request is not an interrupt request (4.2.5).
 *
 * @s: the IOMMU, with translation enabled or not
 * @sid: source id of the request
 * @addr: address of the request, in the interrupt range
 * @is_write: true for a write, false for a read
 */
void vtd_block_translated_interrupt(IntelIOMMUState *s, uint16_t sid,
                                    hwaddr addr, bool is_write);

#endif
