/*
 * Intel Data Streaming Accelerator (DSA): registers, descriptors, codes
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Names and section numbers are those of the Intel Data Streaming Accelerator
 * Architecture Specification, revision 3.0.  The device has version 1.0, or 2.0
 * with the event log.
 */

#ifndef HW_DMA_DSA_REGS_H
#define HW_DMA_DSA_REGS_H

#include "hw/registerfields.h"

#define DSA_PCI_DEVICE_ID           0x0b25

/* BAR 0: registers; BAR 2: portals (9.1.4) */
#define DSA_MMIO_BAR                0
#define DSA_MMIO_SIZE               0x10000
#define DSA_PORTAL_BAR              2

/* Tables in BAR 0, at the offsets in the Table Offsets register */
#define DSA_GRPCFG_OFFSET           0x1000
#define DSA_WQCFG_OFFSET            0x2000
#define DSA_MSIXPERM_OFFSET         0x3000
#define DSA_MSIX_TABLE_OFFSET       0x8000
#define DSA_MSIX_PBA_OFFSET         0xc000
#define DSA_TABLE_MULTIPLIER        0x100

/* ---- Registers (9.2) ---- */

REG32(DSA_VERSION, 0x00)
    FIELD(DSA_VERSION, MINOR, 0, 8)
    FIELD(DSA_VERSION, MAJOR, 8, 8)

REG64(DSA_GENCAP, 0x10)
    FIELD(DSA_GENCAP, BLOCK_ON_FAULT, 0, 1)
    FIELD(DSA_GENCAP, OVERLAPPING_COPY, 1, 1)
    FIELD(DSA_GENCAP, CACHE_CONTROL, 2, 1)
    FIELD(DSA_GENCAP, CMDCAP, 4, 1)
    FIELD(DSA_GENCAP, DEST_READBACK, 8, 1)
    FIELD(DSA_GENCAP, DRAIN_READBACK, 9, 1)
    FIELD(DSA_GENCAP, EVENT_LOG, 13, 2)
    FIELD(DSA_GENCAP, MAX_TRANSFER, 16, 5)
    FIELD(DSA_GENCAP, MAX_BATCH, 21, 4)
    FIELD(DSA_GENCAP, IMS_SIZE, 25, 6)
    FIELD(DSA_GENCAP, CONFIG, 31, 1)
    FIELD(DSA_GENCAP, EVENT_LOG_OVERFLOW, 32, 1)

REG64(DSA_WQCAP, 0x20)
    FIELD(DSA_WQCAP, TOTAL_SIZE, 0, 16)
    FIELD(DSA_WQCAP, NUM_WQS, 16, 8)
    FIELD(DSA_WQCAP, WQCFG_SIZE, 24, 4)
    FIELD(DSA_WQCAP, SHARED, 48, 1)
    FIELD(DSA_WQCAP, DEDICATED, 49, 1)
    FIELD(DSA_WQCAP, ATS, 50, 1)
    FIELD(DSA_WQCAP, PRIORITY, 51, 1)
    FIELD(DSA_WQCAP, OCCUPANCY, 52, 1)
    FIELD(DSA_WQCAP, OCCUPANCY_INT, 53, 1)
    FIELD(DSA_WQCAP, PRS, 55, 1)

REG64(DSA_GRPCAP, 0x30)
    FIELD(DSA_GRPCAP, NUM_GROUPS, 0, 8)
    FIELD(DSA_GRPCAP, TOTAL_READ_BUFFERS, 8, 8)
    FIELD(DSA_GRPCAP, READ_BUFFER_CONTROLS, 16, 1)
    FIELD(DSA_GRPCAP, GLOBAL_READ_BUFFER_LIMIT, 17, 1)

REG64(DSA_ENGCAP, 0x38)
    FIELD(DSA_ENGCAP, NUM_ENGINES, 0, 8)

REG64(DSA_OPCAP, 0x40)

REG64(DSA_OFFSETS, 0x60)
    FIELD(DSA_OFFSETS, GRPCFG, 0, 16)
    FIELD(DSA_OFFSETS, WQCFG, 16, 16)
    FIELD(DSA_OFFSETS, MSIXPERM, 32, 16)

REG32(DSA_GENCFG, 0x80)
    FIELD(DSA_GENCFG, GLOBAL_READ_BUFFER_LIMIT, 0, 8)
    FIELD(DSA_GENCFG, USER_INT, 12, 1)
    FIELD(DSA_GENCFG, EVENT_LOG, 13, 1)

REG32(DSA_GENCTRL, 0x88)
    FIELD(DSA_GENCTRL, SWERROR_INT, 0, 1)
    FIELD(DSA_GENCTRL, HALT_INT, 1, 1)
    FIELD(DSA_GENCTRL, EVENT_LOG_INT, 2, 1)

REG32(DSA_GENSTS, 0x90)
    FIELD(DSA_GENSTS, STATE, 0, 2)
    FIELD(DSA_GENSTS, RESET_TYPE, 2, 2)

REG32(DSA_INTCAUSE, 0x98)
    FIELD(DSA_INTCAUSE, SWERROR, 0, 1)
    FIELD(DSA_INTCAUSE, CMD, 1, 1)
    FIELD(DSA_INTCAUSE, OCCUPANCY, 2, 1)
    FIELD(DSA_INTCAUSE, HALT, 4, 1)
    FIELD(DSA_INTCAUSE, EVENT_LOG, 5, 1)

REG32(DSA_CMD, 0xa0)
    FIELD(DSA_CMD, OPERAND, 0, 20)
    FIELD(DSA_CMD, CODE, 20, 5)
    FIELD(DSA_CMD, RESERVED, 25, 6)
    FIELD(DSA_CMD, INT, 31, 1)

REG32(DSA_CMDSTATUS, 0xa8)
    FIELD(DSA_CMDSTATUS, ERROR, 0, 8)
    FIELD(DSA_CMDSTATUS, RESULT, 8, 16)
    FIELD(DSA_CMDSTATUS, ACTIVE, 31, 1)

REG64(DSA_CMDCAP, 0xb0)

#define DSA_SWERROR_QWORDS          4
REG64(DSA_SWERROR, 0xc0)
    FIELD(DSA_SWERROR, VALID, 0, 1)
    FIELD(DSA_SWERROR, OVERFLOW, 1, 1)
    FIELD(DSA_SWERROR, DESC_VALID, 2, 1)
    FIELD(DSA_SWERROR, WQ_VALID, 3, 1)
    FIELD(DSA_SWERROR, BATCH, 4, 1)
    FIELD(DSA_SWERROR, RW, 5, 1)
    FIELD(DSA_SWERROR, PRIV, 6, 1)
    FIELD(DSA_SWERROR, INFO_VALID, 7, 1)
    FIELD(DSA_SWERROR, ERROR, 8, 8)
    FIELD(DSA_SWERROR, WQ, 16, 8)
    FIELD(DSA_SWERROR, OPERATION, 32, 8)
    FIELD(DSA_SWERROR, PASID, 40, 20)
/* The second quadword of the register */
    FIELD(DSA_SWERROR1, BATCH_INDEX, 0, 16)
    FIELD(DSA_SWERROR1, ERROR_INFO, 32, 32)

#define DSA_EVLCFG_QWORDS           2
REG64(DSA_EVLCFG, 0xe0)
    FIELD(DSA_EVLCFG, PASID_EN, 0, 1)
    FIELD(DSA_EVLCFG, PRIV, 1, 1)
    FIELD(DSA_EVLCFG, BASE, 12, 52)
/* The second quadword of the register */
    FIELD(DSA_EVLCFG1, SIZE, 0, 16)
    FIELD(DSA_EVLCFG1, PASID, 16, 20)

REG64(DSA_EVLSTATUS, 0xf0)
    FIELD(DSA_EVLSTATUS, HEAD, 0, 16)
    FIELD(DSA_EVLSTATUS, TAIL, 32, 16)
    FIELD(DSA_EVLSTATUS, INT_PENDING, 62, 1)

/* ---- MSI-X Permissions Table (9.2.22): one 64-bit slot per vector ---- */

    FIELD(DSA_MSIXPERM, IGNORE, 2, 1)
    FIELD(DSA_MSIXPERM, PASID_EN, 3, 1)
    FIELD(DSA_MSIXPERM, PASID, 12, 20)

/* ---- Group Configuration Table (9.2.23) ---- */

#define DSA_GRPCFG_SIZE             64
#define DSA_GRPCFG_WQS              0       /* 4 quadwords */
#define DSA_GRPCFG_ENGINES          32
#define DSA_GRPCFG_FLAGS            40

    FIELD(DSA_GRPFLAGS, TC_A, 0, 3)
    FIELD(DSA_GRPFLAGS, TC_B, 3, 3)
    FIELD(DSA_GRPFLAGS, USE_READ_BUFFER_LIMIT, 7, 1)
    FIELD(DSA_GRPFLAGS, READ_BUFFERS_RESERVED, 8, 8)
    FIELD(DSA_GRPFLAGS, READ_BUFFERS_ALLOWED, 20, 8)

/* ---- Work Queue Configuration Table (9.2.24), by quadword ---- */

#define DSA_WQCFG_SIZE              32
#define DSA_WQCFG_QWORDS            (DSA_WQCFG_SIZE / 8)

    FIELD(DSA_WQCFG0, SIZE, 0, 16)
    FIELD(DSA_WQCFG0, THRESHOLD, 32, 16)

    FIELD(DSA_WQCFG1, MODE, 0, 1)
    FIELD(DSA_WQCFG1, BLOCK_ON_FAULT, 1, 1)
    FIELD(DSA_WQCFG1, ATS_DISABLE, 2, 1)
    FIELD(DSA_WQCFG1, PRS_DISABLE, 3, 1)
    FIELD(DSA_WQCFG1, PRIORITY, 4, 4)
    FIELD(DSA_WQCFG1, PASID, 8, 20)
    FIELD(DSA_WQCFG1, PASID_EN, 28, 1)
    FIELD(DSA_WQCFG1, PRIV, 29, 1)
    FIELD(DSA_WQCFG1, MAX_TRANSFER, 32, 5)
    FIELD(DSA_WQCFG1, MAX_BATCH, 37, 4)

    FIELD(DSA_WQCFG2, OCC_INT_HANDLE, 0, 16)
    FIELD(DSA_WQCFG2, OCC_INT_TABLE, 16, 1)
    FIELD(DSA_WQCFG2, OCC_LIMIT, 32, 16)
    FIELD(DSA_WQCFG2, OCC_INT_EN, 48, 1)

    FIELD(DSA_WQCFG3, OCCUPANCY, 0, 16)
    FIELD(DSA_WQCFG3, OCC_INT, 16, 1)
    FIELD(DSA_WQCFG3, STATE, 30, 2)

/* WQ Mode */
#define DSA_WQ_SHARED               0
#define DSA_WQ_DEDICATED            1

/* Device State; WQ State has the same values, without the last */
typedef enum DSADeviceState {
    DSA_DISABLED = 0,
    DSA_ENABLED  = 1,
    DSA_DRAINING = 2,
    DSA_HALTED   = 3,
} DSADeviceState;

/* Reset Type Required */
#define DSA_RESET_FLR               1

/* ---- Portals (9.3): four pages for each WQ ---- */

#define DSA_PORTAL_SIZE             0x1000
#define DSA_PORTALS_PER_WQ          4
#define DSA_PORTAL_UNLIMITED        0
#define DSA_PORTAL_LIMITED          1
#define DSA_PORTAL_IMS              2       /* flag, added to either portal */

/* ---- Administrative commands (9.2.12) ---- */

typedef enum DSACommandCode {
    DSA_CMD_ENABLE_DEVICE       = 1,
    DSA_CMD_DISABLE_DEVICE      = 2,
    DSA_CMD_DRAIN_ALL           = 3,
    DSA_CMD_ABORT_ALL           = 4,
    DSA_CMD_RESET_DEVICE        = 5,
    DSA_CMD_ENABLE_WQ           = 6,
    DSA_CMD_DISABLE_WQ          = 7,
    DSA_CMD_DRAIN_WQ            = 8,
    DSA_CMD_ABORT_WQ            = 9,
    DSA_CMD_RESET_WQ            = 10,
    DSA_CMD_DRAIN_PASID         = 11,
    DSA_CMD_ABORT_PASID         = 12,
    DSA_CMD_REQUEST_INT_HANDLE  = 13,
    DSA_CMD_RELEASE_INT_HANDLE  = 14,
} DSACommandCode;

/* Operand of the commands on several WQs */
    FIELD(DSA_CMD_WQS, MASK, 0, 16)
    FIELD(DSA_CMD_WQS, GROUP, 16, 4)

/* Administrative Command Error Codes (5.8.3) */
typedef enum DSACommandError {
    DSA_CMDERR_SUCCESS              = 0x00,
    DSA_CMDERR_INVALID_COMMAND      = 0x01,
    DSA_CMDERR_INVALID_WQ           = 0x02,
    DSA_CMDERR_RESERVED             = 0x04,
    DSA_CMDERR_HALTED               = 0x05,
    DSA_CMDERR_DEVICE_NOT_DISABLED  = 0x10,
    DSA_CMDERR_BUS_MASTER           = 0x12,
    DSA_CMDERR_PRSREQALLOC          = 0x13,
    DSA_CMDERR_WQ_SIZES             = 0x14,
    DSA_CMDERR_GROUP                = 0x15,
    DSA_CMDERR_GROUP_WQS            = 0x16,
    DSA_CMDERR_GROUP_ENGINES        = 0x17,
    DSA_CMDERR_READ_BUFFERS         = 0x18,
    DSA_CMDERR_EVENT_LOG            = 0x19,
    DSA_CMDERR_PASID                = 0x1b,
    DSA_CMDERR_DEVICE_NOT_ENABLED   = 0x20,
    DSA_CMDERR_WQ_NOT_DISABLED      = 0x21,
    DSA_CMDERR_WQ_SIZE              = 0x22,
    DSA_CMDERR_WQ_PRIORITY          = 0x23,
    DSA_CMDERR_WQ_BLOCK_ON_FAULT    = 0x25,
    DSA_CMDERR_WQ_PASID             = 0x26,
    DSA_CMDERR_WQ_MAX_BATCH         = 0x27,
    DSA_CMDERR_WQ_MAX_TRANSFER      = 0x28,
    DSA_CMDERR_WQ_PRIV              = 0x2a,
    DSA_CMDERR_WQ_OCC_INT           = 0x2b,
    DSA_CMDERR_WQ_ATS               = 0x2c,
    DSA_CMDERR_WQ_PRS               = 0x2e,
    DSA_CMDERR_DISABLE_NOT_ENABLED  = 0x31,
    DSA_CMDERR_WQ_NOT_ENABLED       = 0x32,
} DSACommandError;

/* ---- Descriptors (8.1) ---- */

#define DSA_DESC_SIZE               64

/* Offsets of fields; the first quadword is the trusted fields and the flags */
#define DSA_DESC_TRUSTED            0
#define DSA_DESC_FLAGS              4
#define DSA_DESC_OPERATION          7
#define DSA_DESC_COMPLETION_ADDR    8
#define DSA_DESC_SRC                16
#define DSA_DESC_DST                24
#define DSA_DESC_TRANSFER_SIZE      32
#define DSA_DESC_INT_HANDLE         36

    FIELD(DSA_TRUSTED, PASID, 0, 20)
    FIELD(DSA_TRUSTED, RESERVED, 20, 11)
    FIELD(DSA_TRUSTED, PRIV, 31, 1)

/* Operation-specific fields (8.3) */
#define DSA_DESC_EXPECTED_RESULT        40      /* Compare */
#define DSA_DESC_DELTA_ADDR             40      /* Create Delta Record */
#define DSA_DESC_MAX_DELTA_SIZE         48
#define DSA_DESC_EXPECTED_MASK          56
#define DSA_DESC_DELTA_SIZE             40      /* Apply Delta Record */
#define DSA_DESC_DST2                   40      /* Dualcast */
#define DSA_DESC_CRC_SEED               40      /* CRC */
#define DSA_DESC_CRC_SEED_ADDR          48
#define DSA_DESC_SRC_DIF_FLAGS          40      /* DIF */
#define DSA_DESC_DST_DIF_FLAGS          41
#define DSA_DESC_DIF_FLAGS              42
#define DSA_DESC_SRC_DIF_TAGS           48
#define DSA_DESC_DST_DIF_TAGS           56

/* Operations (8.1.2) */
typedef enum DSAOperation {
    DSA_OP_NOOP             = 0x00,
    DSA_OP_BATCH            = 0x01,
    DSA_OP_DRAIN            = 0x02,
    DSA_OP_MEMORY_MOVE      = 0x03,
    DSA_OP_FILL             = 0x04,
    DSA_OP_COMPARE          = 0x05,
    DSA_OP_COMPARE_PATTERN  = 0x06,
    DSA_OP_CREATE_DELTA     = 0x07,
    DSA_OP_APPLY_DELTA      = 0x08,
    DSA_OP_DUALCAST         = 0x09,
    DSA_OP_CRC              = 0x10,
    DSA_OP_COPY_CRC         = 0x11,
    DSA_OP_DIF_CHECK        = 0x12,
    DSA_OP_DIF_INSERT       = 0x13,
    DSA_OP_DIF_STRIP        = 0x14,
    DSA_OP_DIF_UPDATE       = 0x15,
    DSA_OP_CACHE_FLUSH      = 0x20,
    DSA_OP_COUNT,
} DSAOperation;

/* Flags (8.1.3); bits 23:16 are specific to the operation */
#define DSA_FLAG_FENCE                  (1u << 0)
#define DSA_FLAG_BLOCK_ON_FAULT         (1u << 1)
#define DSA_FLAG_CR_ADDR_VALID          (1u << 2)
#define DSA_FLAG_REQUEST_CR             (1u << 3)
#define DSA_FLAG_REQUEST_INT            (1u << 4)
#define DSA_FLAG_CHECK_RESULT           (1u << 7)
#define DSA_FLAG_CACHE_CONTROL          (1u << 8)
#define DSA_FLAG_ADDR1_TC               (1u << 9)
#define DSA_FLAG_ADDR2_TC               (1u << 10)
#define DSA_FLAG_ADDR3_TC               (1u << 11)
#define DSA_FLAG_CR_TC                  (1u << 12)
#define DSA_FLAG_STRICT_ORDERING        (1u << 13)
#define DSA_FLAG_DEST_READBACK          (1u << 14)
/* Drain */
#define DSA_FLAG_READBACK1_VALID        (1u << 16)
#define DSA_FLAG_READBACK2_VALID        (1u << 17)
#define DSA_FLAG_SUPPRESS_READBACK_A    (1u << 18)
#define DSA_FLAG_SUPPRESS_READBACK_B    (1u << 19)
/* CRC */
#define DSA_FLAG_READ_CRC_SEED          (1u << 16)
#define DSA_FLAG_BYPASS_CRC_INVERSION   (1u << 17)
#define DSA_FLAG_BYPASS_DATA_REFLECTION (1u << 18)

/* DIF Flags, Source and Destination DIF Flags (8.3.17) */
    FIELD(DSA_DIF, BLOCK_SIZE, 0, 2)
    FIELD(DSA_DIF, INVERT_SEED, 2, 1)
    FIELD(DSA_DIF, INVERT_CRC, 3, 1)
    FIELD(DSA_DIF, RESERVED, 4, 4)
    FIELD(DSA_SRC_DIF, ALL_F_ERROR, 0, 1)
    FIELD(DSA_SRC_DIF, ALL_F, 1, 1)
    FIELD(DSA_SRC_DIF, APP_F, 2, 1)
    FIELD(DSA_SRC_DIF, APP_REF_F, 3, 1)
    FIELD(DSA_SRC_DIF, APP_INCREMENT, 4, 1)
    FIELD(DSA_SRC_DIF, NO_GUARD_CHECK, 5, 1)
    FIELD(DSA_SRC_DIF, NO_REF_CHECK, 6, 1)
    FIELD(DSA_SRC_DIF, REF_FIXED, 7, 1)
    FIELD(DSA_DST_DIF, RESERVED, 0, 3)
    FIELD(DSA_DST_DIF, APP_PASS, 3, 1)
    FIELD(DSA_DST_DIF, APP_INCREMENT, 4, 1)
    FIELD(DSA_DST_DIF, GUARD_PASS, 5, 1)
    FIELD(DSA_DST_DIF, REF_PASS, 6, 1)
    FIELD(DSA_DST_DIF, REF_FIXED, 7, 1)

/* DIF Status (8.3.17.4) */
#define DSA_DIF_STATUS_GUARD            0x01
#define DSA_DIF_STATUS_APP              0x02
#define DSA_DIF_STATUS_REF              0x04
#define DSA_DIF_STATUS_ALL_F            0x08

/* ---- Completion record (8.2) ---- */

#define DSA_CR_SIZE                 32
#define DSA_CR_STATUS               0
#define DSA_CR_RESULT               1
#define DSA_CR_BYTES_COMPLETED      4
#define DSA_CR_FAULT_ADDR           8
#define DSA_CR_SPECIFIC             16
/* In @DSA_CR_SPECIFIC: */
#define DSA_CR_INVALID_FLAGS        16
#define DSA_CR_DELTA_SIZE           16
#define DSA_CR_CRC                  16
#define DSA_CR_SRC_DIF_TAGS         16
#define DSA_CR_DST_DIF_TAGS         24

/* Set in the status of a page fault: the access was a write */
#define DSA_STATUS_WRITE            0x80

/* Operation status codes (5.8.1), and other software errors (5.8.2) */
typedef enum DSAStatus {
    DSA_STATUS_NONE             = 0x00,
    DSA_STATUS_SUCCESS          = 0x01,
    DSA_STATUS_FALSE_PREDICATE  = 0x02,
    DSA_STATUS_PAGE_FAULT       = 0x03,
    DSA_STATUS_PAGE_FAULT_IR    = 0x04,
    DSA_STATUS_BATCH_ERROR      = 0x05,
    DSA_STATUS_BATCH_FAULT      = 0x06,
    DSA_STATUS_DELTA_ORDER      = 0x07,
    DSA_STATUS_DELTA_OFFSET     = 0x08,
    DSA_STATUS_DIF_ERROR        = 0x09,
    DSA_STATUS_OPERATION        = 0x10,
    DSA_STATUS_FLAGS            = 0x11,
    DSA_STATUS_RESERVED         = 0x12,
    DSA_STATUS_TRANSFER_SIZE    = 0x13,
    DSA_STATUS_DESC_COUNT       = 0x14,
    DSA_STATUS_DELTA_SIZE       = 0x15,
    DSA_STATUS_OVERLAP          = 0x16,
    DSA_STATUS_DUALCAST         = 0x17,
    DSA_STATUS_LIST_ALIGN       = 0x18,
    DSA_STATUS_INT_HANDLE       = 0x19,
    DSA_STATUS_CR_FAULT         = 0x1a,
    DSA_STATUS_CR_ALIGN         = 0x1b,
    DSA_STATUS_ALIGN            = 0x1c,
    DSA_STATUS_PRIV             = 0x1d,
    DSA_STATUS_TRAFFIC_CLASS    = 0x1e,
    DSA_STATUS_READBACK_FAULT   = 0x1f,
    DSA_STATUS_READ_ERROR       = 0x20,
    DSA_STATUS_WRITE_ERROR      = 0x21,
    DSA_STATUS_TRANSLATION      = 0x22,
    DSA_STATUS_DRAIN_LOGGED     = 0x26,
    DSA_STATUS_BATCH_LOGGED     = 0x27,
    DSA_SWERROR_PCI_CONFIG      = 0x51,
    DSA_SWERROR_CMD_ACTIVE      = 0x52,
    DSA_SWERROR_WQ_FULL         = 0x53,
    DSA_SWERROR_EVENT_LOG       = 0x54,
} DSAStatus;

/*
 * ---- Event Log entry (5.9.1) ----
 *
 * The first three quadwords are those of SWERROR, without Valid and Overflow,
 * with the fields below.
 */

#define DSA_EVENT_SIZE              64
#define DSA_EVENT_CR                32      /* the completion record */

    FIELD(DSA_EVENT, BATCH_ID, 24, 8)
/* Error Information of an entry with a completion record or an interrupt */
    FIELD(DSA_EVENT_INFO, INT_HANDLE, 0, 16)
    FIELD(DSA_EVENT_INFO, INT_REQUIRED, 16, 1)
    FIELD(DSA_EVENT_INFO, CR_REQUIRED, 18, 1)
    FIELD(DSA_EVENT_INFO, FIRST_IN_BATCH, 19, 1)

#endif
