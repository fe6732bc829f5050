/*
 * Unit tests for the data of the demo device for shared virtual memory
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Pattern and checksum are compared with their definitions, for all relevant
 * alignments and lengths, and in several parts.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "hw/misc/svm-demo.h"
#include "hw/misc/svm-demo-data.h"

#define SIZE 70000

static uint8_t data[SIZE];

static void model_pattern(uint8_t *p, size_t len, uint64_t pos)
{
    for (size_t i = 0; i < len; i++) {
        p[i] = (pos + i) % 251;
    }
}

static uint8_t model_crc8(uint8_t crc, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        for (int bit = 0; bit < 8; bit++) {
            bool one = (crc ^ (p[i] >> bit)) & 1;

            crc = (crc >> 1) ^ (one ? 0xab : 0);
        }
    }
    return crc;
}

static int setup(void **state)
{
    uint32_t x = 1;

    for (int i = 0; i < SIZE; i++) {
        x = x * 1664525 + 1013904223;
        data[i] = x >> 24;
    }
    return 0;
}

/* The function must not write outside of the buffer */
static void check_pattern(size_t len, uint64_t pos)
{
    g_autofree uint8_t *got = g_malloc(len + 2);
    g_autofree uint8_t *want = g_malloc(len + 2);

    memset(got, 0xff, len + 2);
    memset(want, 0xff, len + 2);
    model_pattern(want + 1, len, pos);
    svm_demo_pattern_fill(got + 1, len, pos);
    assert_memory_equal(got, want, len + 2);
}

static void test_pattern(void **state)
{
    for (size_t len = 0; len < 600; len += 7) {
        for (uint64_t pos = 0; pos < 520; pos++) {
            check_pattern(len, pos);
        }
    }
    check_pattern(SIZE, 0);
    check_pattern(SIZE, 250);
    /* Positions that exceed 32 bits */
    check_pattern(1000, UINT32_MAX - 500ULL);
    check_pattern(1000, UINT64_MAX - 5000);
}

static void test_pattern_in_parts(void **state)
{
    g_autofree uint8_t *got = g_malloc(SIZE);
    g_autofree uint8_t *want = g_malloc(SIZE);
    size_t pos = 0;

    model_pattern(want, SIZE, 0);
    for (size_t n = 0; pos < SIZE; n++) {
        n = MIN(n, SIZE - pos);
        svm_demo_pattern_fill(got + pos, n, pos);
        pos += n;
    }
    assert_memory_equal(got, want, SIZE);
}

static void test_crc8_known(void **state)
{
    /* A byte with only the last bit set has the polynomial as its CRC */
    assert_int_equal(svm_demo_crc8(0, "", 1), 0);
    assert_int_equal(svm_demo_crc8(0, "\x80", 1), 0xab);
    assert_int_equal(svm_demo_crc8(SVM_DEMO_CRC8_INIT, "", 0), 0xff);
}

static void test_crc8(void **state)
{
    for (size_t offset = 0; offset < 17; offset++) {
        for (size_t len = 0; len < 130; len++) {
            for (int init = 0; init < 256; init += 51) {
                assert_int_equal(svm_demo_crc8(init, data + offset, len),
                                 model_crc8(init, data + offset, len));
            }
        }
    }
    assert_int_equal(svm_demo_crc8(SVM_DEMO_CRC8_INIT, data, SIZE),
                     model_crc8(SVM_DEMO_CRC8_INIT, data, SIZE));
}

static void test_crc8_in_parts(void **state)
{
    uint8_t want = model_crc8(SVM_DEMO_CRC8_INIT, data, SIZE);
    uint8_t crc = SVM_DEMO_CRC8_INIT;
    size_t pos = 0;

    for (size_t n = 0; pos < SIZE; n++) {
        n = MIN(n, SIZE - pos);
        crc = svm_demo_crc8(crc, data + pos, n);
        pos += n;
    }
    assert_int_equal(crc, want);
}

/* A checksum detects a wrong bit at any position */
static void test_crc8_detects_bit_error(void **state)
{
    uint8_t want = svm_demo_crc8(SVM_DEMO_CRC8_INIT, data, 64);

    for (int bit = 0; bit < 64 * 8; bit++) {
        data[bit / 8] ^= 1 << bit % 8;
        assert_int_not_equal(svm_demo_crc8(SVM_DEMO_CRC8_INIT, data, 64), want);
        data[bit / 8] ^= 1 << bit % 8;
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pattern),
        cmocka_unit_test(test_pattern_in_parts),
        cmocka_unit_test(test_crc8_known),
        cmocka_unit_test(test_crc8),
        cmocka_unit_test(test_crc8_in_parts),
        cmocka_unit_test(test_crc8_detects_bit_error),
    };

    return cmocka_run_group_tests_name("svm-demo-data", tests, setup, NULL);
}
