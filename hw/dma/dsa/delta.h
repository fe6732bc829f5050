/*
 * Intel Data Streaming Accelerator (DSA): delta records (8.3.8, 8.3.9)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_DSA_DELTA_H
#define HW_DMA_DSA_DELTA_H

/*
 * Bytes per comparison, and bytes of a delta, which has a 16-bit offset in such
 * units and the data
 */
#define DSA_DELTA_UNIT      8
#define DSA_DELTA_SIZE      10

/**
 * dsa_delta_create: record the differences between two buffers
 *
 * @a: the first buffer
 * @b: the second buffer, whose data goes into the record
 * @len: length of each buffer in bytes, a multiple of DSA_DELTA_UNIT
 * @offset: offset of both buffers in the operands, in DSA_DELTA_UNIT bytes
 * @record: set to the deltas
 * @room: space in @record, in bytes
 * @size: set to the size of the deltas in bytes, a multiple of DSA_DELTA_SIZE
 *
 * Returns: the number of bytes compared; less than @len if @record has no space
 * for the next difference.
 */
size_t dsa_delta_create(const uint8_t *a, const uint8_t *b, size_t len,
                        uint16_t offset, uint8_t *record, size_t room,
                        size_t *size);

/**
 * dsa_delta_offset: get the offset of a delta
 *
 * @delta: the delta, DSA_DELTA_SIZE bytes
 *
 * Returns: the offset in bytes.
 */
uint32_t dsa_delta_offset(const uint8_t *delta);

#endif
