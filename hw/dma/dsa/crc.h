/*
 * Intel Data Streaming Accelerator (DSA): cyclic redundancy checks
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_DSA_CRC_H
#define HW_DMA_DSA_CRC_H

/**
 * dsa_crc32c: CRC-32C, polynomial 0x11edc6f41, least significant bit first
 *
 * Neither @crc nor the result is inverted: the CRC of iSCSI is
 * ~dsa_crc32c(~0, data, len).  Callable from any thread.
 *
 * @crc: remainder of the preceding data, or the initial value
 * @data: the data
 * @len: length of @data, in bytes
 *
 * Returns: the remainder.
 */
uint32_t dsa_crc32c(uint32_t crc, const void *data, size_t len);

/* dsa_crc32c() without the CRC32 instruction of the host */
uint32_t dsa_crc32c_generic(uint32_t crc, const void *data, size_t len);

/**
 * dsa_crc16_t10: CRC-16 of T10 DIF, polynomial 0x18bb7, most significant first
 *
 * Callable from any thread.
 *
 * @crc: remainder of the preceding data, or the initial value
 * @data: the data
 * @len: length of @data, in bytes
 *
 * Returns: the remainder.
 */
uint16_t dsa_crc16_t10(uint16_t crc, const void *data, size_t len);

#endif
