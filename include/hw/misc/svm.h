/*
 * Demo device for shared virtual memory: registers
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Used by the model, hw/misc/svm.c, and by its tests; the interface is
 * described in docs/specs/svm.rst.
 */

#ifndef HW_MISC_SVM_H
#define HW_MISC_SVM_H

#define SVM_DEVICE_ID       0x0b11
#define SVM_REVISION        0x10
#define SVM_REGS_SIZE       0x100000

/* 64 bits, except for PASID with 32; accessed as a whole */
#define SVM_REG_START       0x00    /* on reading: SVM_ID */
#define SVM_REG_ADDR        0x08    /* on reading: SVM_RESULT_* */
#define SVM_REG_CRC         0x10
#define SVM_REG_SIZE        0x18
#define SVM_REG_OPTIONS     0x20
#define SVM_REG_PASID       0x50

#define SVM_ID              0x0b1c5111

/* START */
#define SVM_START_WRITE     1
#define SVM_START_READ      2

/* Result of the last operation */
#define SVM_RESULT_OK       0
#define SVM_RESULT_ERROR    1

/* OPTIONS */
#define SVM_OPTION_PRIV     (1ULL << 0)

/* PASID */
#define SVM_PASID_NONE      (1u << 20)

/* What the device does with the data */
#define SVM_PATTERN_PERIOD  251
#define SVM_CRC8_POLYNOMIAL 0xab    /* least significant bit first */
#define SVM_CRC8_INIT       0xff

#endif
