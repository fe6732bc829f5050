/*
 * VT-d: untranslated requests
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

#ifndef HW_I386_INTEL_IOMMU_UNTRANSLATED_H
#define HW_I386_INTEL_IOMMU_UNTRANSLATED_H

#include "exec/memory.h"
#include "hw/i386/intel_iommu.h"
#include "hw/pci/pci.h"

/* Members of PCIIOMMUOps, see there; @opaque is the IntelIOMMUState */
bool vtd_pasid_translate(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                         bool priv_req, bool exec_req, hwaddr addr,
                         bool is_write, IOMMUTLBEntry *result);
void vtd_untranslated_blocked(PCIBus *bus, void *opaque, int devfn,
                              hwaddr addr, bool is_write);

/**
 * vtd_translate_untranslated: translate an untranslated request
 *
 * Records the fault if the request is blocked.
 *
 * @s: the IOMMU, with translation enabled or not
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: PASID, or PCI_NO_PASID
 * @addr: input address
 * @is_write: true for a write, false for a read
 * @entry: set to the translation of a range that contains @addr, with
 *         permission IOMMU_NONE if the request is blocked
 *
 * Returns: false if the request is blocked
 */
bool vtd_translate_untranslated(IntelIOMMUState *s, PCIBus *bus, int devfn,
                                uint32_t pasid, hwaddr addr, bool is_write,
                                IOMMUTLBEntry *entry);

/**
 * vtd_peek: look up a translation without side effects
 *
 * Sets no accessed and dirty bits, and records no fault.  Callable from any
 * thread.
 *
 * @s: the IOMMU
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: PASID, or PCI_NO_PASID
 * @addr: input address
 * @entry: set to the translation of a range that contains @addr, with the
 *         permissions for which no accessed or dirty bit has to be set
 *
 * Returns: false if there are no such permissions
 */
bool vtd_peek(IntelIOMMUState *s, PCIBus *bus, int devfn, uint32_t pasid,
              hwaddr addr, IOMMUTLBEntry *entry);

#endif
