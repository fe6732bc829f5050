/*
 * Intel Data Streaming Accelerator (DSA): delta records (8.3.8, 8.3.9)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "delta.h"

size_t dsa_delta_create(const uint8_t *a, const uint8_t *b, size_t len,
                        uint16_t offset, uint8_t *record, size_t room,
                        size_t *size)
{
    size_t i;

    *size = 0;
    for (i = 0; i < len; i += DSA_DELTA_UNIT) {
        if (ldq_he_p(a + i) == ldq_he_p(b + i)) {
            continue;
        }
        if (room - *size < DSA_DELTA_SIZE) {
            break;
        }
        stw_le_p(record + *size, offset + i / DSA_DELTA_UNIT);
        memcpy(record + *size + 2, b + i, DSA_DELTA_UNIT);
        *size += DSA_DELTA_SIZE;
    }
    return i;
}

uint32_t dsa_delta_offset(const uint8_t *delta)
{
    return lduw_le_p(delta) * DSA_DELTA_UNIT;
}
