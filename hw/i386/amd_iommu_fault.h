/*
 * AMD-Vi: why the IOMMU blocks a request
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The device table and the walks of page tables describe a fault by a number.
 * This file knows which event the IOMMU logs for it, and with which flags.
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#ifndef HW_I386_AMD_IOMMU_FAULT_H
#define HW_I386_AMD_IOMMU_FAULT_H

typedef enum AMDVIFault {
    AMDVI_FAULT_NONE,

    /* Device table, 2.2.2 */

    /* The DeviceID is beyond the size of the device table */
    AMDVI_FAULT_DEVICE_ID,
    /* The device table is not in memory */
    AMDVI_FAULT_DTE_UNREACHABLE,
    /* A reserved bit or a reserved encoding */
    AMDVI_FAULT_DTE_RESERVED,
    /* Page tables or a GCR3 table with a number of levels that is not valid */
    AMDVI_FAULT_DTE_LEVEL,
    /* V = 1 and TV = 0 */
    AMDVI_FAULT_NO_TRANSLATION,
    /* A request with PASID, and no guest translation */
    AMDVI_FAULT_NO_GUEST,
    /* A read, or a request with PASID, for the range of interrupts */
    AMDVI_FAULT_INTERRUPT_RANGE,
    /* A translation request or a translated request, and V = 0 or I = 0 */
    AMDVI_FAULT_NO_ATS,
    /* A translated request for the range of interrupts */
    AMDVI_FAULT_TRANSLATED_INTERRUPT,
    /*
     * Special addresses, 2.1.2: reserved for interrupts; or not allowed by
     * IntCtl, because they can only be written, by SysMgt or by IoCtl
     */
    AMDVI_FAULT_SPECIAL_RESERVED,
    AMDVI_FAULT_SPECIAL_INTERRUPT,
    AMDVI_FAULT_SPECIAL_SYS_MGT,
    AMDVI_FAULT_SPECIAL_PORT_IO,
    /* Execute permission is never granted */
    AMDVI_FAULT_NO_EXECUTE,

    /* I/O page tables for host translations, 2.2.3 */

    /* The address is beyond the width that Mode selects */
    AMDVI_FAULT_HOST_TOO_WIDE,
    /* Address bits of a level that the tables skip are not 0 */
    AMDVI_FAULT_HOST_SKIPPED,
    AMDVI_FAULT_HOST_NOT_PRESENT,
    AMDVI_FAULT_HOST_RESERVED,
    /* An invalid level or page size */
    AMDVI_FAULT_HOST_LEVEL,
    AMDVI_FAULT_HOST_NO_READ,
    AMDVI_FAULT_HOST_NO_WRITE,
    AMDVI_FAULT_HOST_UNREACHABLE,

    /* GCR3 tables and I/O page tables for guest translations, 2.2.6 */

    /* The PASID is beyond the GCR3 table, or beyond EFR.PASmax */
    AMDVI_FAULT_GCR3_PASID,
    AMDVI_FAULT_GCR3_NOT_PRESENT,
    AMDVI_FAULT_GCR3_RESERVED,
    AMDVI_FAULT_GCR3_UNREACHABLE,
    AMDVI_FAULT_GUEST_NOT_CANONICAL,
    AMDVI_FAULT_GUEST_NOT_PRESENT,
    AMDVI_FAULT_GUEST_RESERVED,
    AMDVI_FAULT_GUEST_PRIVILEGE,
    AMDVI_FAULT_GUEST_NO_READ,
    AMDVI_FAULT_GUEST_NO_WRITE,
    AMDVI_FAULT_GUEST_UNREACHABLE,
    /* The host tables forbid reading a guest table, or setting its flags */
    AMDVI_FAULT_GUEST_TABLE_UNREADABLE,
    AMDVI_FAULT_GUEST_TABLE_UNWRITABLE,
    /* Accessed and dirty bits must not be set, or are in read-only memory */
    AMDVI_FAULT_GUEST_FLAGS,

    /* Interrupts, and their remapping table, 2.2.5 */

    /* IntCtl, or a bit for the type of the interrupt, does not let it pass */
    AMDVI_FAULT_INT_ABORTED,
    /* The index is beyond IntTabLen */
    AMDVI_FAULT_IRTE_BEYOND,
    /* RemapEn = 0 */
    AMDVI_FAULT_IRTE_NOT_PRESENT,
    /* A reserved IntType or GuestMode */
    AMDVI_FAULT_IRTE_RESERVED,
    /* The table is not in memory */
    AMDVI_FAULT_IRTE_UNREACHABLE,

    AMDVI_FAULTS
} AMDVIFault;

/* The events that report a fault, 2.5 */
typedef enum AMDVIFaultKind {
    AMDVI_FAULT_ILLEGAL_DTE,            /* ILLEGAL_DEV_TABLE_ENTRY */
    AMDVI_FAULT_IO_PAGE,                /* IO_PAGE_FAULT */
    AMDVI_FAULT_DEV_TAB_HARDWARE,       /* DEV_TAB_HARDWARE_ERROR */
    AMDVI_FAULT_PAGE_TAB_HARDWARE,      /* PAGE_TAB_HARDWARE_ERROR */
    AMDVI_FAULT_INVALID_REQUEST,        /* INVALID_DEVICE_REQUEST */
} AMDVIFaultKind;

/**
 * struct AMDVIFaultInfo: how a fault is reported
 *
 * @kind: the event
 * @present: the PR flag: the page is present
 * @reserved: the RZ flag: a reserved bit is not 0
 * @permission: the PE flag: the tables do not grant the permission
 */
typedef struct AMDVIFaultInfo {
    AMDVIFaultKind kind;
    bool present;
    bool reserved;
    bool permission;
} AMDVIFaultInfo;

/**
 * amdvi_fault_info: find how a fault is reported
 *
 * @fault: AMDVIFault, not AMDVI_FAULT_NONE
 *
 * Returns: the description; it is constant
 */
const AMDVIFaultInfo *amdvi_fault_info(uint8_t fault);

/**
 * amdvi_fault_blocks_ats: check whether a fault blocks a translation request
 *
 * @fault: AMDVIFault
 *
 * Returns: true if the request is blocked and the fault is reported; false if
 * the response grants no permissions and nothing is reported (2.1.3.2)
 */
bool amdvi_fault_blocks_ats(uint8_t fault);

#endif
