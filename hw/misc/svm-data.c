/*
 * Demo device for shared virtual memory: pattern and checksum
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Both work from tables: the pattern is copied in pieces from one that fits
 * into the first-level cache, and the checksum takes sixteen bytes at a time,
 * with one table for each place, so that only one of sixteen look-ups has to
 * wait for the result of those before.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/misc/svm.h"
#include "hw/misc/svm-data.h"

#define PATTERN_REPEATS 64
#define CRC_SLICES      16

static uint8_t pattern[SVM_PATTERN_PERIOD * PATTERN_REPEATS];

/* crc_table[n][b]: checksum of the byte b with n zero bytes behind it */
static uint8_t crc_table[CRC_SLICES][256];

static uint8_t crc8_byte(uint8_t byte)
{
    for (int bit = 0; bit < 8; bit++) {
        byte = (byte >> 1) ^ (byte & 1 ? SVM_CRC8_POLYNOMIAL : 0);
    }
    return byte;
}

static void __attribute__((constructor)) svm_data_init_tables(void)
{
    for (int i = 0; i < sizeof(pattern); i++) {
        pattern[i] = i % SVM_PATTERN_PERIOD;
    }
    for (int i = 0; i < 256; i++) {
        crc_table[0][i] = crc8_byte(i);
    }
    for (int n = 1; n < CRC_SLICES; n++) {
        for (int i = 0; i < 256; i++) {
            crc_table[n][i] = crc_table[0][crc_table[n - 1][i]];
        }
    }
}

void svm_pattern_fill(void *data, size_t len, uint64_t pos)
{
    uint8_t *p = data;
    size_t offset = pos % SVM_PATTERN_PERIOD;

    while (len) {
        size_t n = MIN(len, sizeof(pattern) - offset);

        memcpy(p, pattern + offset, n);
        p += n;
        len -= n;
        offset = 0;
    }
}

/* The contribution of eight bytes that have @behind more behind them */
static inline uint8_t crc8_slice(uint64_t bytes, int behind)
{
    uint8_t crc = 0;

    for (int i = 0; i < 8; i++) {
        crc ^= crc_table[behind + 7 - i][(uint8_t)(bytes >> (8 * i))];
    }
    return crc;
}

uint8_t svm_crc8(uint8_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (; len >= CRC_SLICES; p += CRC_SLICES, len -= CRC_SLICES) {
        crc = crc8_slice(ldq_le_p(p) ^ crc, 8) ^ crc8_slice(ldq_le_p(p + 8), 0);
    }
    for (; len; p++, len--) {
        crc = crc_table[0][crc ^ *p];
    }
    return crc;
}
