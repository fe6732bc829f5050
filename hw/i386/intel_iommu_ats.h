/*
 * VT-d: translation requests, translated requests, and requests with PASID
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The functions here are called from any thread, with or without the BQL, and
 * from several at once.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#ifndef HW_I386_INTEL_IOMMU_ATS_H
#define HW_I386_INTEL_IOMMU_ATS_H

#include "exec/memory.h"
#include "hw/i386/intel_iommu.h"
#include "hw/pci/pci.h"
#include "intel_iommu_fault.h"

/* Members of PCIIOMMUOps, see there; @opaque is the IntelIOMMUState */
int vtd_get_iotlb_info(void *opaque, uint8_t *addr_width,
                       uint32_t *min_page_size);
void vtd_init_iotlb_notifier(PCIBus *bus, void *opaque, int devfn,
                             IOMMUNotifier *n, IOMMUNotify fn,
                             void *user_opaque);
void vtd_register_iotlb_notifier(PCIBus *bus, void *opaque, int devfn,
                                 uint32_t pasid, IOMMUNotifier *n);
void vtd_unregister_iotlb_notifier(PCIBus *bus, void *opaque, int devfn,
                                   uint32_t pasid, IOMMUNotifier *n);
bool vtd_translated_request(PCIBus *bus, void *opaque, int devfn,
                            bool ats_enabled, hwaddr addr, hwaddr *len,
                            bool is_write);
ssize_t vtd_ats_request_translation(PCIBus *bus, void *opaque, int devfn,
                                    uint32_t pasid, bool priv_req,
                                    bool exec_req, hwaddr addr, size_t length,
                                    bool no_write, IOMMUTLBEntry *result,
                                    size_t result_length, uint32_t *err_count);
bool vtd_pasid_translate(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                         bool priv_req, bool exec_req, hwaddr addr,
                         bool is_write, IOMMUTLBEntry *result);
void vtd_untranslated_blocked(PCIBus *bus, void *opaque, int devfn,
                              hwaddr addr, bool is_write);

/**
 * vtd_fault_report_unless: record a fault, unless it is disabled (7.1.1)
 *
 * @s: the IOMMU
 * @fault: the fault
 * @fpd: a Fault Processing Disable bit was met: faults that these qualify are
 *       not reported
 */
void vtd_fault_report_unless(IntelIOMMUState *s, const VTDFault *fault,
                             bool fpd);

/**
 * vtd_translate_untranslated: translate an untranslated request
 *
 * Blocks it and records the fault where the tables say so.
 *
 * @s: the IOMMU, with translation enabled or not
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: PASID, or PCI_NO_PASID
 * @addr: input address
 * @is_write: a write, else a read
 * @entry: set to the translation of a range that holds @addr, with permission
 *         IOMMU_NONE if the request is blocked
 *
 * Returns: false if the request is blocked
 */
bool vtd_translate_untranslated(IntelIOMMUState *s, PCIBus *bus, int devfn,
                                uint32_t pasid, hwaddr addr, bool is_write,
                                IOMMUTLBEntry *entry);

/**
 * vtd_peek: look up what an untranslated request would find, changing nothing
 *
 * Sets no accessed and dirty bits, and records no fault.  Callable from any
 * thread.
 *
 * @s: the IOMMU
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: PASID, or PCI_NO_PASID
 * @addr: input address
 * @entry: set to the translation of a range that holds @addr, with the
 *         permissions that need no accessed or dirty bit to be set
 *
 * Returns: false if there are none
 */
bool vtd_peek(IntelIOMMUState *s, PCIBus *bus, int devfn, uint32_t pasid,
              hwaddr addr, IOMMUTLBEntry *entry);

/**
 * vtd_translate_translated: let a translated request pass, or not (4.2.5)
 *
 * For requests that come through the memory region of the IOMMU, which does
 * not know the function: it is the one at @bus and @devfn, unless these belong
 * to a bridge that takes over the requests.  Functions behind such a bridge
 * have no ATS.
 *
 * @s: the IOMMU, with translation enabled or not
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: PASID, or PCI_NO_PASID
 * @addr: address of the request
 * @is_write: a write, else a read
 * @entry: set to the identity for a range that holds @addr, with permission
 *         IOMMU_NONE if the request is blocked
 *
 * Returns: false if the request is blocked
 */
bool vtd_translate_translated(IntelIOMMUState *s, PCIBus *bus, int devfn,
                              uint32_t pasid, hwaddr addr, bool is_write,
                              IOMMUTLBEntry *entry);

/**
 * vtd_block_translated_interrupt: block a translated request to the interrupt
 * range
 *
 * It is not an interrupt request (4.2.5).
 *
 * @s: the IOMMU, with translation enabled or not
 * @sid: source id of the request
 * @addr: address of the request, in the interrupt range
 * @is_write: a write, else a read
 */
void vtd_block_translated_interrupt(IntelIOMMUState *s, uint16_t sid,
                                    hwaddr addr, bool is_write);

#endif
