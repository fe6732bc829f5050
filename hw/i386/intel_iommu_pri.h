/*
 * VT-d: page requests and page group responses
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The IOMMU adds the page requests of functions to the page request queue, or
 * responds to them itself, and passes on the responses of the guest.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#ifndef HW_I386_INTEL_IOMMU_PRI_H
#define HW_I386_INTEL_IOMMU_PRI_H

#include "hw/i386/intel_iommu.h"
#include "hw/pci/pci.h"
#include "migration/vmstate.h"

/* Members of PCIIOMMUOps, see there; @opaque is the IntelIOMMUState */
int vtd_pri_register_notifier(PCIBus *bus, void *opaque, int devfn,
                              uint32_t pasid, IOMMUPRINotifier *notifier);
void vtd_pri_unregister_notifier(PCIBus *bus, void *opaque, int devfn,
                                 uint32_t pasid);
int vtd_pri_request_page(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                         bool priv_req, bool exec_req, hwaddr addr, bool lpig,
                         uint16_t prgi, bool is_read, bool is_write);

/**
 * vtd_pri_new: create the unit that handles page requests
 *
 * Called once, with the BQL held.
 *
 * @s: the IOMMU, with its properties set
 *
 * Returns: the unit, with the registers as after reset; it lives as long as the
 * IOMMU
 */
VTDPageRequests *vtd_pri_new(IntelIOMMUState *s);

/**
 * vtd_pri_reset: give the registers of the queue their default values
 *
 * Called with the BQL held.
 *
 * @pri: the unit from vtd_pri_new()
 */
void vtd_pri_reset(VTDPageRequests *pri);

/**
 * vtd_pri_has_reg: check whether a register belongs to the page request queue
 *
 * @s: the IOMMU
 * @reg: offset of the register
 *
 * Returns: true; false if it does not, or if page requests are not announced
 * (ECAP.PRS)
 */
bool vtd_pri_has_reg(const IntelIOMMUState *s, hwaddr reg);

/**
 * vtd_pri_reg_read: read a register of the page request queue
 *
 * Sends the page request event first if it is due (7.5).  Called with the BQL
 * held.
 *
 * @s: the IOMMU
 * @reg: offset of the register, see vtd_pri_has_reg()
 * @size: 4 or 8 bytes
 *
 * Returns: the value of the register, or of two when it has 4 bytes and @size
 * is 8
 */
uint64_t vtd_pri_reg_read(IntelIOMMUState *s, hwaddr reg, unsigned size);

/**
 * vtd_pri_reg_write: write a register of the page request queue
 *
 * Called with the BQL held.
 *
 * @s: the IOMMU
 * @reg: offset of the register, see vtd_pri_has_reg()
 * @val: the value
 * @size: 4 or 8 bytes
 */
void vtd_pri_reg_write(IntelIOMMUState *s, hwaddr reg, uint64_t val,
                       unsigned size);

/**
 * vtd_pri_group_response: carry out a page group response descriptor (7.6.1)
 *
 * A response without a registered notifier is ignored.  Called with the BQL
 * held.
 *
 * @s: the IOMMU
 * @desc: four quadwords; the last two are ignored if descriptors have 128 bits
 *
 * Returns: false if the descriptor is invalid (6.5.2.11)
 */
bool vtd_pri_group_response(IntelIOMMUState *s, const uint64_t *desc);

/**
 * vtd_pri_drain: wait until the page requests in progress are in the queue
 *
 * For the Page-request Drain flag of a wait descriptor (7.7).  Called with the
 * BQL held.
 *
 * @s: the IOMMU
 */
void vtd_pri_drain(IntelIOMMUState *s);

/* Subsection of the IOMMU's state: the registers, if ECAP.PRS is set */
extern const VMStateDescription vtd_vmstate_pri;

#endif
