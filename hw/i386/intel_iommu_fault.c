/*
 * VT-d: fault reasons, and records of address translation faults
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "hw/pci/pci_bus.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_fault.h"
#include "trace.h"

#define VTD_FAULT_QUEUE_SIZE    16

/* ---- Fault reasons (7.1.3) ---- */

/* The reasons that a Fault Processing Disable bit suppresses */
static const bool qualified_reasons[VTD_FR_MAX] = {
    [VTD_FR_CONTEXT_ENTRY_P] = true,
    [VTD_FR_CONTEXT_ENTRY_INV] = true,
    [VTD_FR_ADDR_BEYOND_MGAW] = true,
    [VTD_FR_WRITE] = true,
    [VTD_FR_READ] = true,
    [VTD_FR_PAGING_ENTRY_INV] = true,
    [VTD_FR_INTERRUPT_ADDR] = true,
    [VTD_FR_CONTEXT_ENTRY_RSVD] = true,
    [VTD_FR_PAGING_ENTRY_RSVD] = true,
    [VTD_FR_CONTEXT_ENTRY_TT] = true,
    [VTD_FR_SM_CONTEXT_ENTRY_P] = true,
    [VTD_FR_SM_CONTEXT_ENTRY_RSVD] = true,
    [VTD_FR_SM_CONTEXT_ENTRY_INV] = true,
    [VTD_FR_SM_CONTEXT_ENTRY_DTE] = true,
    [VTD_FR_SM_CONTEXT_ENTRY_PASIDE] = true,
    [VTD_FR_SM_PASID_TOO_LARGE] = true,
    [VTD_FR_SM_CONTEXT_ENTRY_PRE] = true,
    [VTD_FR_SM_PASID_IS_RID_PASID] = true,
    [VTD_FR_SM_TRANSLATED_PASID] = true,
    [VTD_FR_PASID_DIR_ENTRY_P] = true,
    [VTD_FR_PASID_DIR_ENTRY_RSVD] = true,
    [VTD_FR_PASID_ENTRY_P] = true,
    [VTD_FR_PASID_ENTRY_RSVD] = true,
    [VTD_FR_PASID_TABLE_ENTRY_INV] = true,
    [VTD_FR_PASID_ENTRY_EXEC] = true,
    [VTD_FR_PASID_ENTRY_SRE] = true,
    [VTD_FR_FS_PAGING_ENTRY_INV] = true,
    [VTD_FR_FS_PAGING_ENTRY_P] = true,
    [VTD_FR_FS_PAGING_ENTRY_RSVD] = true,
    [VTD_FR_PASID_ENTRY_FSPTPTR_INV] = true,
    [VTD_FR_FS_ADDR_BEYOND_MGAW] = true,
    [VTD_FR_FS_ROOT_READ] = true,
    [VTD_FR_FS_PAGING_ENTRY_READ] = true,
    [VTD_FR_FS_PAGING_ENTRY_WRITE] = true,
    [VTD_FR_SS_PAGING_ENTRY_INV] = true,
    [VTD_FR_SS_PAGING_ENTRY_P] = true,
    [VTD_FR_SS_PAGING_ENTRY_RSVD] = true,
    [VTD_FR_SS_ROOT_INV] = true,
    [VTD_FR_FS_NON_CANONICAL] = true,
    [VTD_FR_FS_PAGING_ENTRY_US] = true,
    [VTD_FR_SM_ADDR_BEYOND_HAW] = true,
    [VTD_FR_SM_ADDR_BEYOND_MGAW] = true,
    [VTD_FR_SM_WRITE] = true,
    [VTD_FR_SM_READ] = true,
    [VTD_FR_SM_INTERRUPT_ADDR] = true,
    [VTD_FR_SM_PASID_BEYOND_PSS] = true,
    [VTD_FR_FS_BIT_UPDATE_NO_SNOOP] = true,
    [VTD_FR_FS_BIT_UPDATE_FAILED] = true,
};

bool vtd_fault_is_qualified(uint8_t reason)
{
    return qualified_reasons[reason];
}

bool vtd_fault_blocks_ats(uint8_t reason)
{
    switch (reason) {
    case VTD_FR_ADDR_BEYOND_MGAW:
    case VTD_FR_WRITE:
    case VTD_FR_READ:
    case VTD_FR_PASID_DIR_ENTRY_P:
    case VTD_FR_PASID_ENTRY_P:
    case VTD_FR_PASID_ENTRY_EXEC:
    case VTD_FR_PASID_ENTRY_SRE:
    case VTD_FR_FS_PAGING_ENTRY_INV:
    case VTD_FR_FS_PAGING_ENTRY_P:
    case VTD_FR_FS_PAGING_ENTRY_RSVD:
    case VTD_FR_PASID_ENTRY_FSPTPTR_INV:
    case VTD_FR_FS_ADDR_BEYOND_MGAW:
    case VTD_FR_FS_ROOT_READ:
    case VTD_FR_FS_PAGING_ENTRY_READ:
    case VTD_FR_FS_PAGING_ENTRY_WRITE:
    case VTD_FR_FS_BIT_UPDATE_NO_SNOOP:
    case VTD_FR_SS_PAGING_ENTRY_P:
    case VTD_FR_FS_NON_CANONICAL:
    case VTD_FR_FS_PAGING_ENTRY_US:
    case VTD_FR_SM_ADDR_BEYOND_HAW:
    case VTD_FR_SM_ADDR_BEYOND_MGAW:
    case VTD_FR_SM_WRITE:
    case VTD_FR_SM_READ:
        return false;
    default:
        return true;
    }
}

/* The reasons of scalable mode, indexed by the reasons of legacy mode */
static const uint8_t scalable_reasons[VTD_FR_MAX] = {
    [VTD_FR_ROOT_TABLE_INV] = VTD_FR_SM_ROOT_TABLE_INV,
    [VTD_FR_ROOT_ENTRY_P] = VTD_FR_SM_ROOT_ENTRY_P,
    [VTD_FR_ROOT_ENTRY_RSVD] = VTD_FR_SM_ROOT_ENTRY_RSVD,
    [VTD_FR_CONTEXT_TABLE_INV] = VTD_FR_SM_CONTEXT_TABLE_INV,
    [VTD_FR_CONTEXT_ENTRY_P] = VTD_FR_SM_CONTEXT_ENTRY_P,
    [VTD_FR_CONTEXT_ENTRY_RSVD] = VTD_FR_SM_CONTEXT_ENTRY_RSVD,
    [VTD_FR_CONTEXT_ENTRY_INV] = VTD_FR_SS_ROOT_INV,
    [VTD_FR_CONTEXT_ENTRY_TT] = VTD_FR_SM_CONTEXT_ENTRY_DTE,
    [VTD_FR_PAGING_ENTRY_INV] = VTD_FR_SS_PAGING_ENTRY_INV,
    [VTD_FR_PAGING_ENTRY_RSVD] = VTD_FR_SS_PAGING_ENTRY_RSVD,
    [VTD_FR_ADDR_BEYOND_MGAW] = VTD_FR_SM_ADDR_BEYOND_MGAW,
    [VTD_FR_WRITE] = VTD_FR_SM_WRITE,
    [VTD_FR_READ] = VTD_FR_SM_READ,
    [VTD_FR_INTERRUPT_ADDR] = VTD_FR_SM_INTERRUPT_ADDR,
};

uint8_t vtd_fault_for_mode(uint8_t reason, bool scalable)
{
    return scalable && scalable_reasons[reason] ? scalable_reasons[reason]
                                                : reason;
}

/* LGN.1.3, SGN.4.2 */
uint8_t vtd_fault_host_width(bool scalable)
{
    return scalable ? VTD_FR_SM_ADDR_BEYOND_HAW : VTD_FR_ADDR_BEYOND_MGAW;
}

static const VTDWalkReasons legacy_walk_reasons = {
    .second_stage = {
        [IOMMU_WALK_TOO_WIDE] = VTD_FR_ADDR_BEYOND_MGAW,
        [IOMMU_WALK_ROOT_UNREACHABLE] = VTD_FR_CONTEXT_ENTRY_INV,
        [IOMMU_WALK_TABLE_UNREACHABLE] = VTD_FR_PAGING_ENTRY_INV,
        [IOMMU_WALK_RESERVED] = VTD_FR_PAGING_ENTRY_RSVD,
        [IOMMU_WALK_NO_READ] = VTD_FR_READ,
        [IOMMU_WALK_NO_WRITE] = VTD_FR_WRITE,
        [IOMMU_WALK_FORBIDDEN_OUTPUT] = VTD_FR_INTERRUPT_ADDR,
    },
    .host_width = VTD_FR_ADDR_BEYOND_MGAW,
    .blocks = vtd_fault_blocks_ats,
};

static const VTDWalkReasons scalable_walk_reasons = {
    .first_stage = {
        [IOMMU_WALK_TOO_WIDE] = VTD_FR_FS_ADDR_BEYOND_MGAW,
        [IOMMU_WALK_NOT_CANONICAL] = VTD_FR_FS_NON_CANONICAL,
        [IOMMU_WALK_ROOT_UNREACHABLE] = VTD_FR_PASID_ENTRY_FSPTPTR_INV,
        [IOMMU_WALK_TABLE_UNREACHABLE] = VTD_FR_FS_PAGING_ENTRY_INV,
        [IOMMU_WALK_ROOT_UNREADABLE] = VTD_FR_FS_ROOT_READ,
        [IOMMU_WALK_TABLE_UNREADABLE] = VTD_FR_FS_PAGING_ENTRY_READ,
        [IOMMU_WALK_NOT_PRESENT] = VTD_FR_FS_PAGING_ENTRY_P,
        [IOMMU_WALK_RESERVED] = VTD_FR_FS_PAGING_ENTRY_RSVD,
        [IOMMU_WALK_PRIVILEGE] = VTD_FR_FS_PAGING_ENTRY_US,
        [IOMMU_WALK_NO_READ] = VTD_FR_SM_READ,
        [IOMMU_WALK_NO_WRITE] = VTD_FR_SM_WRITE,
        [IOMMU_WALK_FORBIDDEN_OUTPUT] = VTD_FR_SM_INTERRUPT_ADDR,
        [IOMMU_WALK_NO_FLAG_UPDATE] = VTD_FR_FS_BIT_UPDATE_NO_SNOOP,
        [IOMMU_WALK_TABLE_UNWRITABLE] = VTD_FR_FS_PAGING_ENTRY_WRITE,
        [IOMMU_WALK_TABLE_READ_ONLY] = VTD_FR_FS_BIT_UPDATE_FAILED,
    },
    .second_stage = {
        [IOMMU_WALK_TOO_WIDE] = VTD_FR_SM_ADDR_BEYOND_MGAW,
        [IOMMU_WALK_ROOT_UNREACHABLE] = VTD_FR_SS_ROOT_INV,
        [IOMMU_WALK_TABLE_UNREACHABLE] = VTD_FR_SS_PAGING_ENTRY_INV,
        [IOMMU_WALK_NOT_PRESENT] = VTD_FR_SS_PAGING_ENTRY_P,
        [IOMMU_WALK_RESERVED] = VTD_FR_SS_PAGING_ENTRY_RSVD,
        [IOMMU_WALK_NO_READ] = VTD_FR_SM_READ,
        [IOMMU_WALK_NO_WRITE] = VTD_FR_SM_WRITE,
        [IOMMU_WALK_FORBIDDEN_OUTPUT] = VTD_FR_SM_INTERRUPT_ADDR,
    },
    .host_width = VTD_FR_SM_ADDR_BEYOND_HAW,
    .blocks = vtd_fault_blocks_ats,
};

const VTDWalkReasons *vtd_walk_reasons(bool scalable)
{
    return scalable ? &scalable_walk_reasons : &legacy_walk_reasons;
}

/* ---- Recording ---- */

typedef struct VTDFaultRecord {
    uint16_t sid;
    uint64_t hi;
    uint64_t lo;
} VTDFaultRecord;

static void vtd_fault_handle(void *opaque, const void *event)
{
    const VTDFaultRecord *record = event;

    vtd_record_fault(opaque, record->sid, record->hi, record->lo);
}

BHQueue *vtd_fault_queue_new(IntelIOMMUState *s)
{
    return bh_queue_new(sizeof(VTDFaultRecord), VTD_FAULT_QUEUE_SIZE,
                        vtd_fault_handle, s, NULL);
}

void vtd_fault_log(IntelIOMMUState *s, uint16_t sid, uint64_t hi, uint64_t lo)
{
    const VTDFaultRecord record = { sid, hi, lo };

    if (bql_locked()) {
        vtd_record_fault(s, sid, hi, lo);
    } else if (!bh_queue_put(s->fault_queue, &record)) {
        trace_vtd_fault_dropped(sid);
    }
}

/* T1, T2 and AT (11.4.7.6) */
static uint64_t vtd_fault_kind(IntelIOMMUState *s, const VTDFault *fault)
{
    uint64_t hi;

    if (fault->at == VTD_AT_PAGE_REQUEST) {
        return VTD_FRCD_T2;
    }
    hi = fault->is_write ? 0 : VTD_FRCD_T;
    /* Reserved without device-TLBs */
    return s->ecap & VTD_ECAP_DT ? hi | VTD_FRCD_AT(fault->at) : hi;
}

void vtd_fault_report(IntelIOMMUState *s, const VTDFault *fault)
{
    bool has_pasid = fault->pasid != PCI_NO_PASID;
    uint64_t hi = VTD_FRCD_SID(fault->sid) | VTD_FRCD_FR(fault->reason) |
                  vtd_fault_kind(s, fault);

    trace_vtd_dmar_fault(fault->sid, fault->reason, fault->addr,
                         fault->is_write);
    trace_vtd_fault_request(fault->sid, fault->reason, fault->at, fault->pasid,
                            fault->priv, fault->exec);

    /* Reserved without PASIDs (11.4.7.6) */
    if (has_pasid && (s->ecap & VTD_ECAP_PASID)) {
        hi |= VTD_FRCD_PP(1) | VTD_FRCD_PV(fault->pasid);
        hi |= fault->priv ? VTD_FRCD_PRIV : 0;
        hi |= fault->exec ? VTD_FRCD_EXE : 0;
    }
    vtd_fault_log(s, fault->sid, hi, VTD_FRCD_FI(fault->addr));
}

void vtd_fault_report_unless(IntelIOMMUState *s, const VTDFault *fault,
                             bool fpd)
{
    if (fpd && vtd_fault_is_qualified(fault->reason)) {
        trace_vtd_fault_disabled();
        return;
    }
    vtd_fault_report(s, fault);
}
