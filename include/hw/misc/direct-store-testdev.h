/*
 * PCI test device for direct stores and enqueue stores: its registers
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * docs/specs/direct-store-testdev.rst describes the registers.  The device and
 * its tests include this file.
 */

#ifndef HW_MISC_DIRECT_STORE_TESTDEV_H
#define HW_MISC_DIRECT_STORE_TESTDEV_H

#define DST_VENDOR_ID           0x1234
#define DST_DEVICE_ID           0x11eb

/* BAR 0: a page that accepts stores, then a page of 32-bit registers */
#define DST_PORTAL              0x0000
#define DST_REGS                0x1000
#define DST_BAR_SIZE            0x2000

#define DST_DIRECT_STORES       (DST_REGS + 0x00)
#define DST_ENQUEUE_STORES      (DST_REGS + 0x04)
#define DST_WRITES              (DST_REGS + 0x08)
#define DST_CREDITS             (DST_REGS + 0x0c)
#define DST_LAST_OFFSET         (DST_REGS + 0x10)
#define DST_DATA                (DST_REGS + 0x40)

#endif /* HW_MISC_DIRECT_STORE_TESTDEV_H */
