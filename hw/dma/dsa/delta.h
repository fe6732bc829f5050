/*
 * Intel Data Streaming Accelerator (DSA): delta records (8.3.8, 8.3.9)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_DSA_DELTA_H
#define HW_DMA_DSA_DELTA_H

/* What two buffers are compared by, and a delta: 16 bits of offset, data */
#define DSA_DELTA_UNIT      8
#define DSA_DELTA_SIZE      10

/**
 * dsa_delta_create: find the differences between two buffers
 *
 * @a: the first buffer
 * @b: the second one, whose data goes into the record
 * @len: of both in bytes, a multiple of DSA_DELTA_UNIT
 * @offset: of the first byte in what the record is about, in units
 * @record: the deltas
 * @room: for them, in bytes
 * @size: set to their size in bytes, a multiple of DSA_DELTA_SIZE
 *
 * Returns: the number of bytes that were compared; less than @len if there was
 * no room for the difference that follows.
 */
size_t dsa_delta_create(const uint8_t *a, const uint8_t *b, size_t len,
                        uint16_t offset, uint8_t *record, size_t room,
                        size_t *size);

/**
 * dsa_delta_offset: the offset in a delta
 *
 * @delta: DSA_DELTA_SIZE bytes; the data is at @delta + 2
 *
 * Returns: the offset in bytes.
 */
uint32_t dsa_delta_offset(const uint8_t *delta);

#endif
