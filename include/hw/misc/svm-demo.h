/*
 * Demo device for shared virtual memory: registers
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * docs/specs/svm.rst describes the registers.  The model (hw/misc/svm-demo.c)
 * and its tests include this file.
 */

#ifndef HW_MISC_SVM_DEMO_H
#define HW_MISC_SVM_DEMO_H

#define SVM_DEMO_DEVICE_ID       0x0b11
#define SVM_DEMO_REVISION        0x10
#define SVM_DEMO_REGS_SIZE       0x100000

/* PASID has 32 bits, the others 64; each access must have the full width */
#define SVM_DEMO_REG_START       0x00    /* reads as SVM_DEMO_ID */
#define SVM_DEMO_REG_ADDR        0x08    /* reads as SVM_DEMO_RESULT_* */
#define SVM_DEMO_REG_CRC         0x10
#define SVM_DEMO_REG_SIZE        0x18
#define SVM_DEMO_REG_OPTIONS     0x20
#define SVM_DEMO_REG_PASID       0x50

#define SVM_DEMO_ID              0x0b1c5111

/* START */
#define SVM_DEMO_START_WRITE     1
#define SVM_DEMO_START_READ      2

/* Result of the last operation */
#define SVM_DEMO_RESULT_OK       0
#define SVM_DEMO_RESULT_ERROR    1

/* OPTIONS */
#define SVM_DEMO_OPTION_PRIV             (1ULL << 0)
#define SVM_DEMO_OPTION_UNTRANSLATED     (1ULL << 1)

/* PASID */
#define SVM_DEMO_PASID_NONE      (1u << 20)

/* Pattern and checksum */
#define SVM_DEMO_PATTERN_PERIOD  251
#define SVM_DEMO_CRC8_POLYNOMIAL 0xab   /* least significant bit first */
#define SVM_DEMO_CRC8_INIT       0xff

#endif
