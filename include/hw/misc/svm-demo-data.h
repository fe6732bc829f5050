/*
 * Demo device for shared virtual memory: pattern and checksum
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Both may be called from any thread.
 */

#ifndef HW_MISC_SVM_DEMO_DATA_H
#define HW_MISC_SVM_DEMO_DATA_H

/**
 * svm_demo_pattern_fill: write the pattern 0, 1, 2, ... 250, 0, 1, ...
 *
 * @data: where to
 * @len: in bytes
 * @pos: distance of @data from the start of the pattern, in bytes
 */
void svm_demo_pattern_fill(void *data, size_t len, uint64_t pos);

/**
 * svm_demo_crc8: go on with a checksum
 *
 * Polynomial 0xAB, least significant bit first, no final XOR.
 *
 * @crc: of the data before, %SVM_DEMO_CRC8_INIT if there is none
 * @data: the data
 * @len: in bytes
 *
 * Returns: the checksum including @data.
 */
uint8_t svm_demo_crc8(uint8_t crc, const void *data, size_t len);

#endif
