/*
 * AMD-Vi: why the IOMMU blocks a request
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "amd_iommu_fault.h"

static const AMDVIFaultInfo fault_info[AMDVI_FAULTS] = {
    [AMDVI_FAULT_DEVICE_ID] = { AMDVI_FAULT_IO_PAGE },
    [AMDVI_FAULT_DTE_UNREACHABLE] = { AMDVI_FAULT_DEV_TAB_HARDWARE },
    [AMDVI_FAULT_DTE_RESERVED] = {
        AMDVI_FAULT_ILLEGAL_DTE, .reserved = true,
    },
    [AMDVI_FAULT_DTE_LEVEL] = { AMDVI_FAULT_ILLEGAL_DTE },
    [AMDVI_FAULT_NO_TRANSLATION] = { AMDVI_FAULT_IO_PAGE },
    [AMDVI_FAULT_NO_GUEST] = { AMDVI_FAULT_INVALID_REQUEST },
    [AMDVI_FAULT_INTERRUPT_RANGE] = { AMDVI_FAULT_IO_PAGE },
    [AMDVI_FAULT_NO_ATS] = { AMDVI_FAULT_INVALID_REQUEST },
    [AMDVI_FAULT_TRANSLATED_INTERRUPT] = { AMDVI_FAULT_INVALID_REQUEST },
    [AMDVI_FAULT_SPECIAL_RESERVED] = { AMDVI_FAULT_INVALID_REQUEST },
    [AMDVI_FAULT_SPECIAL_INTERRUPT] = { AMDVI_FAULT_INVALID_REQUEST },
    [AMDVI_FAULT_SPECIAL_SYS_MGT] = { AMDVI_FAULT_INVALID_REQUEST },
    [AMDVI_FAULT_SPECIAL_PORT_IO] = { AMDVI_FAULT_INVALID_REQUEST },
    [AMDVI_FAULT_NO_EXECUTE] = {
        AMDVI_FAULT_IO_PAGE, .present = true, .permission = true,
    },

    [AMDVI_FAULT_HOST_TOO_WIDE] = { AMDVI_FAULT_IO_PAGE },
    [AMDVI_FAULT_HOST_SKIPPED] = { AMDVI_FAULT_IO_PAGE, .present = true },
    [AMDVI_FAULT_HOST_NOT_PRESENT] = { AMDVI_FAULT_IO_PAGE },
    [AMDVI_FAULT_HOST_RESERVED] = {
        AMDVI_FAULT_IO_PAGE, .present = true, .reserved = true,
    },
    [AMDVI_FAULT_HOST_LEVEL] = { AMDVI_FAULT_IO_PAGE, .present = true },
    [AMDVI_FAULT_HOST_NO_READ] = {
        AMDVI_FAULT_IO_PAGE, .present = true, .permission = true,
    },
    [AMDVI_FAULT_HOST_NO_WRITE] = {
        AMDVI_FAULT_IO_PAGE, .present = true, .permission = true,
    },
    [AMDVI_FAULT_HOST_UNREACHABLE] = { AMDVI_FAULT_PAGE_TAB_HARDWARE },

    [AMDVI_FAULT_GCR3_PASID] = { AMDVI_FAULT_IO_PAGE },
    [AMDVI_FAULT_GCR3_NOT_PRESENT] = { AMDVI_FAULT_IO_PAGE },
    [AMDVI_FAULT_GCR3_RESERVED] = {
        AMDVI_FAULT_IO_PAGE, .present = true, .reserved = true,
    },
    [AMDVI_FAULT_GCR3_UNREACHABLE] = { AMDVI_FAULT_PAGE_TAB_HARDWARE },
    [AMDVI_FAULT_GUEST_NOT_CANONICAL] = { AMDVI_FAULT_IO_PAGE },
    [AMDVI_FAULT_GUEST_NOT_PRESENT] = { AMDVI_FAULT_IO_PAGE },
    [AMDVI_FAULT_GUEST_RESERVED] = {
        AMDVI_FAULT_IO_PAGE, .present = true, .reserved = true,
    },
    [AMDVI_FAULT_GUEST_PRIVILEGE] = {
        AMDVI_FAULT_IO_PAGE, .present = true, .permission = true,
    },
    [AMDVI_FAULT_GUEST_NO_READ] = {
        AMDVI_FAULT_IO_PAGE, .present = true, .permission = true,
    },
    [AMDVI_FAULT_GUEST_NO_WRITE] = {
        AMDVI_FAULT_IO_PAGE, .present = true, .permission = true,
    },
    [AMDVI_FAULT_GUEST_UNREACHABLE] = { AMDVI_FAULT_PAGE_TAB_HARDWARE },
    [AMDVI_FAULT_GUEST_TABLE_UNREADABLE] = {
        AMDVI_FAULT_IO_PAGE, .present = true, .permission = true,
    },
    [AMDVI_FAULT_GUEST_TABLE_UNWRITABLE] = {
        AMDVI_FAULT_IO_PAGE, .present = true, .permission = true,
    },
    [AMDVI_FAULT_GUEST_FLAGS] = { AMDVI_FAULT_PAGE_TAB_HARDWARE },

    [AMDVI_FAULT_INT_ABORTED] = { AMDVI_FAULT_IO_PAGE },
    [AMDVI_FAULT_IRTE_BEYOND] = { AMDVI_FAULT_IO_PAGE },
    [AMDVI_FAULT_IRTE_NOT_PRESENT] = { AMDVI_FAULT_IO_PAGE },
    [AMDVI_FAULT_IRTE_RESERVED] = {
        AMDVI_FAULT_IO_PAGE, .present = true, .reserved = true,
    },
    [AMDVI_FAULT_IRTE_UNREACHABLE] = { AMDVI_FAULT_PAGE_TAB_HARDWARE },
};

const AMDVIFaultInfo *amdvi_fault_info(uint8_t fault)
{
    assert(fault != AMDVI_FAULT_NONE && fault < AMDVI_FAULTS);
    return &fault_info[fault];
}

bool amdvi_fault_blocks_ats(uint8_t fault)
{
    return fault != AMDVI_FAULT_NONE &&
           amdvi_fault_info(fault)->kind != AMDVI_FAULT_IO_PAGE;
}
