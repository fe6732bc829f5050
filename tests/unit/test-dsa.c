/*
 * Unit tests of the calculations of the DSA model: CRCs, delta records, DIFs
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each result is compared with that of a plain model, which processes one bit,
 * word or field at a time. Section numbers are those of the Intel DSA
 * Architecture Specification, revision 3.0.
 *
 * Environment:
 *   DSA_TEST_SEED  seed of the random data (printed; default: the time)
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/bswap.h"
#include "hw/dma/dsa-regs.h"
#include "hw/dma/dsa/crc.h"
#include "hw/dma/dsa/delta.h"
#include "hw/dma/dsa/dif.h"
#include "test-random.h"

#define ROUNDS 3000

static GRand *rng;

static uint32_t below(uint32_t n)
{
    return g_rand_int_range(rng, 0, n);
}

static void randomize(uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        p[i] = below(256);
    }
}

/* ---- CRC ---- */

static uint32_t plain_crc32c(uint32_t crc, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len * 8; i++) {
        bool bit = (crc ^ p[i / 8] >> i % 8) & 1;

        crc = crc >> 1 ^ (bit ? 0x82f63b78 : 0);
    }
    return crc;
}

static uint16_t plain_crc16(uint16_t crc, const uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len * 8; i++) {
        bool bit = (crc >> 15 ^ p[i / 8] >> (7 - i % 8)) & 1;

        crc = crc << 1 ^ (bit ? 0x8bb7 : 0);
    }
    return crc;
}

/* Appendix A; check values from the catalogue of CRC algorithms */
static void test_crc_check_values(void **state)
{
    const char *check = "123456789";

    assert_int_equal(~dsa_crc32c(UINT32_MAX, check, 9), 0xe3069283);
    assert_int_equal(~dsa_crc32c_generic(UINT32_MAX, check, 9), 0xe3069283);
    assert_int_equal(dsa_crc16_t10(0, check, 9), 0xd0db);
}

/* Random alignment, length, and split into parts */
static void test_crc_random(void **state)
{
    uint8_t data[300];

    for (int round = 0; round < ROUNDS; round++) {
        size_t from = below(16), len = below(sizeof(data) - from + 1);
        size_t part = below(len + 1);
        uint32_t seed = g_rand_int(rng), crc;
        uint16_t crc16;
        uint8_t *p = data + from;

        randomize(data, sizeof(data));
        assert_int_equal(dsa_crc32c(seed, p, len), plain_crc32c(seed, p, len));
        assert_int_equal(dsa_crc32c_generic(seed, p, len),
                         plain_crc32c(seed, p, len));
        crc = dsa_crc32c(seed, p, part);
        assert_int_equal(dsa_crc32c(crc, p + part, len - part),
                         plain_crc32c(seed, p, len));
        crc16 = dsa_crc16_t10(seed, p, part);
        assert_int_equal(dsa_crc16_t10(crc16, p + part, len - part),
                         plain_crc16(seed, p, len));
    }
}

/* ---- Delta records (8.3.8, 8.3.9) ---- */

static void apply(uint8_t *dst, const uint8_t *record, size_t size)
{
    for (size_t i = 0; i < size; i += DSA_DELTA_SIZE) {
        memcpy(dst + dsa_delta_offset(record + i), record + i + 2,
               DSA_DELTA_UNIT);
    }
}

/* Applying the record reproduces the other buffer, as far as it was compared */
static void test_delta_random(void **state)
{
    uint8_t a[512], b[512], record[640];

    for (int round = 0; round < ROUNDS; round++) {
        size_t len = below(sizeof(a) / 8 + 1) * 8;
        size_t room = below(sizeof(record) + 1);
        size_t size, compared, differences = 0;

        randomize(a, sizeof(a));
        memcpy(b, a, sizeof(b));
        for (int i = below(40); i > 0; i--) {
            b[below(sizeof(b))] = below(256);
        }
        compared = dsa_delta_create(a, b, len, 0, record, room, &size);
        for (size_t i = 0; i < compared; i += 8) {
            differences += !!memcmp(a + i, b + i, 8);
        }
        assert_int_equal(size, differences * DSA_DELTA_SIZE);
        assert_true(size <= room);
        if (compared < len) {
            assert_true(memcmp(a + compared, b + compared, 8));
            assert_true(room - size < DSA_DELTA_SIZE);
        }
        apply(a, record, size);
        assert_memory_equal(a, b, compared);
    }
}

static void test_delta_layout(void **state)
{
    const uint8_t a[16] = { }, b[16] = { [8] = 1, 2, 3, 4, 5, 6, 7, 8 };
    const uint8_t expected[] = { 0x35, 0x12, 1, 2, 3, 4, 5, 6, 7, 8 };
    uint8_t record[10];
    size_t size;

    assert_int_equal(dsa_delta_create(a, b, 16, 0x1234, record, 10, &size), 16);
    assert_int_equal(size, 10);
    assert_memory_equal(record, expected, 10);
    assert_int_equal(dsa_delta_offset(record), 0x1235 * 8);
}

/* ---- DIF (Appendix B) ---- */

static const uint32_t block_sizes[] = { 512, 520, 4096, 4104 };

static void random_config(DSADIFConfig *config)
{
    randomize((uint8_t *)config, sizeof(*config));
    config->flags &= 0xf;
    config->dst_flags &= 0xf8;
}

static uint16_t plain_guard(const DSADIFConfig *config, const uint8_t *data)
{
    uint16_t crc = plain_crc16(config->flags & 4 ? 0xffff : 0, data,
                               block_sizes[config->flags & 3]);

    return config->flags & 8 ? ~crc : crc;
}

static void plain_generate(const DSADIFConfig *config, const uint8_t *data,
                           const uint8_t *src, uint32_t index, uint8_t *dif)
{
    uint8_t flags = config->dst_flags;
    uint16_t app = config->dst.app + (flags & 0x10 ? index : 0);
    uint32_t ref = config->dst.ref + (flags & 0x80 ? 0 : index);

    app &= ~config->dst.app_mask;
    stw_be_p(dif, src && flags & 0x20 ? lduw_be_p(src)
                                      : plain_guard(config, data));
    stw_be_p(dif + 2, src && flags & 0x08 ? lduw_be_p(src + 2) : app);
    stl_be_p(dif + 4, src && flags & 0x40 ? ldl_be_p(src + 4) : ref);
}

static uint8_t plain_check(const DSADIFConfig *config, const uint8_t *block,
                           uint32_t index)
{
    const uint8_t *dif = block + block_sizes[config->flags & 3];
    uint8_t flags = config->src_flags;
    uint16_t guard = lduw_be_p(dif), app = lduw_be_p(dif + 2);
    uint32_t ref = ldl_be_p(dif + 4);
    bool all = guard == 0xffff && app == 0xffff && ref == 0xffffffff;
    uint16_t want_app = config->src.app + (flags & 0x10 ? index : 0);
    uint32_t want_ref = config->src.ref + (flags & 0x80 ? 0 : index);
    uint16_t care = ~config->src.app_mask;

    if (flags & 2 && flags & 1 && all) {
        return 8;
    }
    if ((flags & 2 && all) || (flags & 4 && app == 0xffff) ||
        (flags & 8 && app == 0xffff && ref == 0xffffffff)) {
        return 0;
    }
    return (!(flags & 0x20) && guard != plain_guard(config, block)) |
           ((want_app & care) != (app & care)) << 1 |
           (!(flags & 0x40) && want_ref != ref) << 2;
}

static void test_dif_random(void **state)
{
    uint8_t block[4104 + 8], dif[8], expected[8];

    for (int round = 0; round < ROUNDS; round++) {
        DSADIFConfig config;
        uint32_t index = below(0x20000), size;
        uint8_t *src_dif;

        random_config(&config);
        size = dsa_dif_block_size(config.flags);
        assert_int_equal(size, block_sizes[config.flags & 3]);
        randomize(block, sizeof(block));
        src_dif = block + size;

        dsa_dif_generate(&config, block, NULL, index, dif);
        plain_generate(&config, block, NULL, index, expected);
        assert_memory_equal(dif, expected, 8);
        dsa_dif_generate(&config, block, src_dif, index, dif);
        plain_generate(&config, block, src_dif, index, expected);
        assert_memory_equal(dif, expected, 8);

        /*
         * Random, valid except for one byte, or with fields that are all ones
         */
        if (below(2)) {
            config.dst = config.src;
            config.dst_flags = config.src_flags & 0x90;
            dsa_dif_generate(&config, block, NULL, index, src_dif);
            src_dif[below(8)] ^= below(2);
        }
        for (int i = below(4) ? 3 : 0; i < 3; i++) {
            memset(src_dif + 2 * i, below(3) ? 0xff : 0, 2 + (i == 2) * 2);
        }
        assert_int_equal(dsa_dif_check(&config, block, index),
                         plain_check(&config, block, index));
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_crc_check_values),
        cmocka_unit_test(test_crc_random),
        cmocka_unit_test(test_delta_layout),
        cmocka_unit_test(test_delta_random),
        cmocka_unit_test(test_dif_random),
    };

    rng = g_rand_new_with_seed(env_seed("DSA_TEST_SEED"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
