/*
 * Demo device for shared virtual memory: pattern and checksum
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Both functions are callable from any thread.
 */

#ifndef HW_MISC_SVM_DEMO_DATA_H
#define HW_MISC_SVM_DEMO_DATA_H

/**
 * svm_demo_pattern_fill: write the pattern 0, 1, 2, ... 250, 0, 1, ...
 *
 * @data: destination
 * @len: length of @data, in bytes
 * @pos: offset of @data from the start of the pattern, in bytes
 */
void svm_demo_pattern_fill(void *data, size_t len, uint64_t pos);

/**
 * svm_demo_crc8: extend a checksum
 *
 * Polynomial 0xAB, least significant bit first, no final XOR.
 *
 * @crc: checksum of the preceding data, or %SVM_DEMO_CRC8_INIT
 * @data: the data
 * @len: length of @data, in bytes
 *
 * Returns: the checksum including @data.
 */
uint8_t svm_demo_crc8(uint8_t crc, const void *data, size_t len);

#endif
