/*
 * Intel Data Streaming Accelerator (DSA): cyclic redundancy checks
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Both checks process eight bytes at once: table n holds the remainders of a
 * byte followed by n zero bytes, and the remainders of eight bytes are added.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "host/cpuinfo.h"
#include "crc.h"

#define CRC32C_POLYNOMIAL       0x82f63b78      /* reflected, without x^32 */
#define CRC16_T10_POLYNOMIAL    0x8bb7          /* without x^16 */

static uint32_t crc32c_table[8][256];
static uint16_t crc16_t10_table[8][256];

static void __attribute__((constructor)) crc_init(void)
{
    for (unsigned i = 0; i < 256; i++) {
        uint32_t crc32 = i;
        uint16_t crc16 = i << 8;

        for (int bit = 0; bit < 8; bit++) {
            crc32 = crc32 >> 1 ^ (crc32 & 1 ? CRC32C_POLYNOMIAL : 0);
            crc16 = crc16 << 1 ^ (crc16 & 0x8000 ? CRC16_T10_POLYNOMIAL : 0);
        }
        crc32c_table[0][i] = crc32;
        crc16_t10_table[0][i] = crc16;
    }
    for (unsigned n = 1; n < 8; n++) {
        for (unsigned i = 0; i < 256; i++) {
            uint32_t crc32 = crc32c_table[n - 1][i];
            uint16_t crc16 = crc16_t10_table[n - 1][i];

            crc32c_table[n][i] = crc32 >> 8 ^ crc32c_table[0][crc32 & 0xff];
            crc16_t10_table[n][i] = crc16 << 8 ^
                                    crc16_t10_table[0][crc16 >> 8];
        }
    }
}

uint32_t dsa_crc32c_generic(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (; len >= 8; p += 8, len -= 8) {
        uint32_t low = ldl_le_p(p) ^ crc;
        uint32_t high = ldl_le_p(p + 4);

        crc = crc32c_table[7][low & 0xff] ^
              crc32c_table[6][low >> 8 & 0xff] ^
              crc32c_table[5][low >> 16 & 0xff] ^
              crc32c_table[4][low >> 24] ^
              crc32c_table[3][high & 0xff] ^
              crc32c_table[2][high >> 8 & 0xff] ^
              crc32c_table[1][high >> 16 & 0xff] ^
              crc32c_table[0][high >> 24];
    }
    for (; len; p++, len--) {
        crc = crc >> 8 ^ crc32c_table[0][(crc ^ *p) & 0xff];
    }
    return crc;
}

/* All x86 processors with AVX2 have the CRC32 instruction */
#if defined(CPUINFO_AVX2) && HOST_LONG_BITS == 64
#define HAVE_CRC32_INSTRUCTION 1
#else
#define HAVE_CRC32_INSTRUCTION 0
#endif

#if HAVE_CRC32_INSTRUCTION
static uint32_t __attribute__((target("sse4.2")))
crc32c_sse42(uint32_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;
    uint64_t state = crc;

    for (; len >= 8; p += 8, len -= 8) {
        state = __builtin_ia32_crc32di(state, ldq_le_p(p));
    }
    for (; len; p++, len--) {
        state = __builtin_ia32_crc32qi(state, *p);
    }
    return state;
}
#endif

uint32_t dsa_crc32c(uint32_t crc, const void *data, size_t len)
{
#if HAVE_CRC32_INSTRUCTION
    if (cpuinfo & CPUINFO_AVX2) {
        return crc32c_sse42(crc, data, len);
    }
#endif
    return dsa_crc32c_generic(crc, data, len);
}

uint16_t dsa_crc16_t10(uint16_t crc, const void *data, size_t len)
{
    const uint8_t *p = data;

    for (; len >= 8; p += 8, len -= 8) {
        uint16_t first = lduw_be_p(p) ^ crc;

        crc = crc16_t10_table[7][first >> 8] ^
              crc16_t10_table[6][first & 0xff] ^
              crc16_t10_table[5][p[2]] ^ crc16_t10_table[4][p[3]] ^
              crc16_t10_table[3][p[4]] ^ crc16_t10_table[2][p[5]] ^
              crc16_t10_table[1][p[6]] ^ crc16_t10_table[0][p[7]];
    }
    for (; len; p++, len--) {
        crc = crc << 8 ^ crc16_t10_table[0][crc >> 8 ^ *p];
    }
    return crc;
}
