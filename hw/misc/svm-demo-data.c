/*
 * Demo device for shared virtual memory: pattern and checksum
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The pattern is copied in pieces from a table that fits into the first-level
 * cache.  The checksum processes sixteen bytes at a time, with one table for
 * each position, so that only one of sixteen look-ups depends on the previous
 * result.
 */

#include "qemu/osdep.h"
#include "hw/misc/svm-demo.h"
#include "hw/misc/svm-demo-data.h"

#define PATTERN_REPEATS 64
#define CRC_SLICES      16

static uint8_t pattern[SVM_DEMO_PATTERN_PERIOD * PATTERN_REPEATS];

/* crc_table[n][b]: checksum of the byte b followed by n zero bytes */
static uint8_t crc_table[CRC_SLICES][256];

static uint8_t crc8_byte(uint8_t byte)
{
    for (int bit = 0; bit < 8; bit++) {
        byte = (byte >> 1) ^ (byte & 1 ? SVM_DEMO_CRC8_POLYNOMIAL : 0);
    }
    return byte;
}

static void __attribute__((constructor)) svm_demo_data_init_tables(void)
{
    for (int i = 0; i < sizeof(pattern); i++) {
        pattern[i] = i % SVM_DEMO_PATTERN_PERIOD;
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

void svm_demo_pattern_fill(void *data, size_t len, uint64_t pos)
{
    uint8_t *p = data;
    size_t offset = pos % SVM_DEMO_PATTERN_PERIOD;

    while (len) {
        size_t n = MIN(len, sizeof(pattern) - offset);

        memcpy(p, pattern + offset, n);
        p += n;
        len -= n;
        offset = 0;
    }
}

/*
 * Extend the checksum by sixteen bytes.  The expression is written out because
 * compilers do not unroll the loop, and has two parts because only the first
 * look-up depends on @crc.
 */
static inline uint8_t crc8_slice(uint8_t crc, const uint8_t *p)
{
    uint8_t rest = crc_table[14][p[1]] ^ crc_table[13][p[2]] ^
                   crc_table[12][p[3]] ^ crc_table[11][p[4]] ^
                   crc_table[10][p[5]] ^ crc_table[9][p[6]] ^
                   crc_table[8][p[7]] ^ crc_table[7][p[8]] ^
                   crc_table[6][p[9]] ^ crc_table[5][p[10]] ^
                   crc_table[4][p[11]] ^ crc_table[3][p[12]] ^
                   crc_table[2][p[13]] ^ crc_table[1][p[14]] ^
                   crc_table[0][p[15]];

    return crc_table[15][crc ^ p[0]] ^ rest;
}

uint8_t svm_demo_crc8(uint8_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (; len >= CRC_SLICES; p += CRC_SLICES, len -= CRC_SLICES) {
        crc = crc8_slice(crc, p);
    }
    for (; len; p++, len--) {
        crc = crc_table[0][crc ^ *p];
    }
    return crc;
}
