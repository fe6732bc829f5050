/*
 * VT-d: fault reasons, and records of address translation faults
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#ifndef HW_I386_INTEL_IOMMU_FAULT_H
#define HW_I386_INTEL_IOMMU_FAULT_H

#include "exec/hwaddr.h"
#include "hw/i386/intel_iommu.h"
#include "intel_iommu_walk.h"

/*
 * The AT field of a fault recording register (11.4.7.6).  A page request has no
 * address type; T1 and T2 identify it.
 */
typedef enum VTDAddressType {
    VTD_AT_UNTRANSLATED = 0,
    VTD_AT_TRANSLATION = 1,
    VTD_AT_TRANSLATED = 2,
    VTD_AT_PAGE_REQUEST,
} VTDAddressType;

/**
 * struct VTDFault: a request that was blocked
 *
 * @sid: source id of the request
 * @reason: VTDFaultReason
 * @at: kind of request
 * @addr: input address
 * @pasid: PASID of the request, or PCI_NO_PASID
 * @is_write: true for a write, false for a read; not used for a page request
 * @priv: privileged mode is requested
 * @exec: execute permission is requested
 */
typedef struct VTDFault {
    uint16_t sid;
    uint8_t reason;
    VTDAddressType at;
    hwaddr addr;
    uint32_t pasid;
    bool is_write;
    bool priv;
    bool exec;
} VTDFault;

/**
 * vtd_fault_is_qualified: check whether FPD suppresses the report of a fault
 *
 * @reason: VTDFaultReason
 *
 * Returns: true if the IOMMU reports the fault only if no Fault Processing
 * Disable bit is set in the entries that the request used (7.1.3)
 */
bool vtd_fault_is_qualified(uint8_t reason);

/**
 * vtd_fault_blocks_ats: check whether a fault blocks a translation request
 *
 * The specification lists SFS.10 both with and without blocking the request;
 * the model blocks it.
 *
 * @reason: VTDFaultReason
 *
 * Returns: true if the IOMMU blocks the request and reports the fault; false if
 * the completion has R = W = 0 (7.1.3, table 30)
 */
bool vtd_fault_blocks_ats(uint8_t reason);

/**
 * vtd_fault_for_mode: find the reason for a condition that both modes have
 *
 * @reason: VTDFaultReason of legacy mode; the function returns other reasons
 *          unchanged
 * @scalable: the translation table mode is scalable mode
 *
 * Returns: the VTDFaultReason in that mode
 */
uint8_t vtd_fault_for_mode(uint8_t reason, bool scalable);

/**
 * vtd_fault_host_width: find the reason to block an address that passes through
 * untranslated and is beyond the host address width (3.9)
 *
 * @scalable: the translation table mode is scalable mode
 *
 * Returns: the VTDFaultReason in that mode
 */
uint8_t vtd_fault_host_width(bool scalable);

/**
 * vtd_walk_reasons: get the reasons for faults of page walks
 *
 * @scalable: the translation table mode is scalable mode
 *
 * Returns: the reasons in that mode
 */
const VTDWalkReasons *vtd_walk_reasons(bool scalable);

/**
 * vtd_fault_queue_new: create the queue of faults from threads without the BQL
 *
 * Called once, with the BQL held.
 *
 * @s: the IOMMU
 *
 * Returns: the queue, empty; it lives as long as the IOMMU
 */
BHQueue *vtd_fault_queue_new(IntelIOMMUState *s);

/**
 * vtd_fault_log: record a fault in the fault recording registers (7.2.1)
 *
 * The BQL protects the registers and the fault event interrupt.  If the caller
 * does not hold it, the main loop records the fault later, as hardware may.  A
 * fault is dropped if the queue is full: the queue has room for more faults
 * than there are registers, so that the guest finds an overflow anyway.
 *
 * Callable from any thread.
 *
 * @s: the IOMMU
 * @sid: source id of the request
 * @hi: upper half of the fault recording register, F is ignored
 * @lo: lower half of the fault recording register
 */
void vtd_fault_log(IntelIOMMUState *s, uint16_t sid, uint64_t hi, uint64_t lo);

/**
 * vtd_fault_report: record the fault of a request
 *
 * Ignores Fault Processing Disable bits.  Callable from any thread.
 *
 * @s: the IOMMU
 * @fault: the fault
 */
void vtd_fault_report(IntelIOMMUState *s, const VTDFault *fault);

/**
 * vtd_fault_report_unless: record a fault, unless it is disabled (7.1.1)
 *
 * Callable from any thread.
 *
 * @s: the IOMMU
 * @fault: the fault
 * @fpd: a Fault Processing Disable bit is set in the entries that the request
 *       used: qualified faults are not recorded
 */
void vtd_fault_report_unless(IntelIOMMUState *s, const VTDFault *fault,
                             bool fpd);

#endif
