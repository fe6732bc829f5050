/*
 * PCIe test device for ATS, PRI and PASID: registers
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * docs/specs/pci-ats-testdev.rst describes the registers.  The device and its
 * tests include this file.
 */

#ifndef HW_MISC_PCI_ATS_TESTDEV_H
#define HW_MISC_PCI_ATS_TESTDEV_H

#define ATD_DEVICE_ID           0x11ea

/* BAR 0: registers, of 8 bytes each */
#define ATD_REGS_SIZE           0x1000
#define ATD_ID                  0x000
#define ATD_ID_VALUE            0x0001534441544151ULL
#define ATD_ENABLES             0x008
#define ATD_PASID               0x010
#define ATD_ADDR                0x018
#define ATD_LENGTH              0x020
#define ATD_FLAGS               0x028
#define ATD_PRGI                0x030
#define ATD_MAX_RESULTS         0x038
#define ATD_COMMAND             0x040
#define ATD_BUSY                0x048
#define ATD_RETURN              0x050
#define ATD_ERR_COUNT           0x058
#define ATD_ADDR_WIDTH          0x060
#define ATD_MIN_PAGE_SIZE       0x068
#define ATD_OUTSTANDING         0x070
#define ATD_INV_COUNT           0x080
#define ATD_INV_INDEX           0x088
#define ATD_INV_ADDR            0x090
#define ATD_INV_MASK            0x098
#define ATD_INV_PASID           0x0a0
#define ATD_RESP_COUNT          0x0c0
#define ATD_RESP_INDEX          0x0c8
#define ATD_RESP_PASID          0x0d0
#define ATD_RESP_PRGI           0x0d8
#define ATD_RESP_CODE           0x0e0
#define ATD_ATC_ENTRIES         0x100
#define ATD_ATC_HITS            0x108
#define ATD_ATC_MISSES          0x110
#define ATD_ATC_INVALIDATIONS   0x118
#define ATD_REPEAT              0x140
#define ATD_STEP                0x148
#define ATD_NANOSECONDS         0x150
#define ATD_MAP_COUNT           0x180
#define ATD_MAP_ERRORS          0x188
#define ATD_MAP_ENTRIES         0x190
#define ATD_MAP_TRANSLATED      0x198

/* ATD_ENABLES */
#define ATD_ENABLE_BUS_MASTER   (1ULL << 0)
#define ATD_ENABLE_ATS          (1ULL << 1)
#define ATD_ENABLE_PRI          (1ULL << 2)
#define ATD_ENABLE_PASID        (1ULL << 3)
#define ATD_ENABLE_EXEC         (1ULL << 4)
#define ATD_ENABLE_PRIV         (1ULL << 5)
#define ATD_ENABLE_PRG_PASID    (1ULL << 6)
#define ATD_ENABLE_STU_SHIFT    8       /* 8 bits, log2 of bytes */
#define ATD_ENABLE_ALLOC_SHIFT  32      /* 32 bits */

/* ATD_FLAGS */
#define ATD_FLAG_PRIV           (1ULL << 0)
#define ATD_FLAG_EXEC           (1ULL << 1)
#define ATD_FLAG_NO_WRITE       (1ULL << 2)
#define ATD_FLAG_LAST           (1ULL << 3)
#define ATD_FLAG_READ           (1ULL << 4)
#define ATD_FLAG_WRITE          (1ULL << 5)
#define ATD_FLAG_TRANSLATED     (1ULL << 6)
#define ATD_FLAG_THREAD         (1ULL << 7)
#define ATD_FLAG_ASYNC          (1ULL << 8)

/* ATD_COMMAND */
enum {
    ATD_CMD_IOTLB_INFO = 1,
    ATD_CMD_REGISTER_IOTLB,
    ATD_CMD_UNREGISTER_IOTLB,
    ATD_CMD_TRANSLATE,
    ATD_CMD_REGISTER_PRI,
    ATD_CMD_UNREGISTER_PRI,
    ATD_CMD_PAGE_REQUEST,
    ATD_CMD_DMA_READ,
    ATD_CMD_DMA_WRITE,
    ATD_CMD_SVM_READ,
    ATD_CMD_SVM_WRITE,
    ATD_CMD_RESPONSE_FAILURE,
    ATD_CMD_UNEXPECTED_PRGI,
    ATD_CMD_REGISTER_MAP,
    ATD_CMD_UNREGISTER_MAP,
};

/* Number of listeners, and of recorded notifications of each kind */
#define ATD_LISTENERS           32
#define ATD_LOG                 256

/* BAR 2: the DMA buffer, and the results of translation requests */
#define ATD_DATA_SIZE           0x20000
#define ATD_BUFFER_SIZE         0x10000
#define ATD_RESULTS_OFFSET      0x10000
#define ATD_RESULT_SIZE         32
#define ATD_RESULTS_MAX         2048

#endif
