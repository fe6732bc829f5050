/*
 * QTest testcase for the Intel Data Streaming Accelerator (DSA): each operation
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel DSA Architecture Specification,
 * revision 3.0.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "libqos/malloc-zeroed.h"
#include "dsa-common.h"

static void expect_result(DSATest *t, uint8_t result, uint32_t bytes)
{
    g_assert_cmpuint(t->record[DSA_CR_RESULT], ==, result);
    g_assert_cmpuint(dsa_bytes_completed(t), ==, bytes);
}

/* 8.3.4: all sizes and alignments, overlapping or not */
static void test_move(void)
{
    static const struct {
        int32_t distance;
        uint32_t size;
    } cases[] = {
        { 0x100000, 1 }, { 0x100003, 4099 }, { 0x100000, 0x80001 },
        { 1, 70000 }, { -1, 70000 }, { 5000, 70000 }, { -5000, 70000 },
        { 0, 100 }, { 69999, 70000 }, { 70000, 70000 },
    };
    DSATest t;
    uint64_t src;

    dsa_start(&t);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 0x300000) + 0x10000;
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        dsa_put_pattern(&t, src, cases[i].size, i);
        dsa_submit_data(&t, DSA_OP_MEMORY_MOVE, 0, src, src + cases[i].distance,
                        cases[i].size, DSA_STATUS_SUCCESS);
        expect_result(&t, 0, 0);
        dsa_expect_pattern(&t, src + cases[i].distance, cases[i].size, i);
    }
    dsa_stop(&t);
}

/* 8.3.5: Fill */
static void test_fill(void)
{
    const uint64_t pattern = 0x0123456789abcdefULL;
    uint8_t expected[70001];
    uint64_t dst;
    DSATest t;

    dsa_start(&t);
    dst = guest_alloc_zeroed(&t.alloc, t.qts, sizeof(expected) + PAGE) + 5;
    for (int i = 0; i < sizeof(expected) - 1; i++) {
        expected[i] = pattern >> (i % 8 * 8);
    }
    expected[sizeof(expected) - 1] = 0;
    dsa_submit_data(&t, DSA_OP_FILL, 0, pattern, dst, sizeof(expected) - 1,
                    DSA_STATUS_SUCCESS);
    dsa_expect_memory(&t, dst, expected, sizeof(expected));
    dsa_stop(&t);
}

static void compare(DSATest *t, DSAOperation op, uint32_t flags, uint64_t src,
                    uint64_t src2, uint32_t size, uint8_t expected,
                    uint8_t status)
{
    QDSADesc desc;

    qdsa_desc(&desc, op, DSA_CR | flags, t->cr);
    qdsa_desc_data(&desc, src, src2, size);
    desc.raw[DSA_DESC_EXPECTED_RESULT] = expected;
    dsa_run(t, &desc, status);
}

/* 8.3.6, 8.3.7, Table 8-17: Compare and Compare Pattern */
static void test_compare(void)
{
    const uint64_t pattern = 0x1122334455667788ULL;
    const uint32_t check = DSA_FLAG_CHECK_RESULT;
    uint64_t a, b;
    DSATest t;

    dsa_start(&t);
    a = guest_alloc_zeroed(&t.alloc, t.qts, 0x20000);
    b = guest_alloc_zeroed(&t.alloc, t.qts, 0x20000) + 3;
    dsa_put_pattern(&t, a, 0x10000, 1);
    dsa_put_pattern(&t, b, 0x10000, 1);
    compare(&t, DSA_OP_COMPARE, 0, a, b, 0x10000, 0, DSA_STATUS_SUCCESS);
    expect_result(&t, 0, 0);
    compare(&t, DSA_OP_COMPARE, check, a, b, 0x10000, 0, DSA_STATUS_SUCCESS);
    compare(&t, DSA_OP_COMPARE, check, a, b, 0x10000, 1,
            DSA_STATUS_FALSE_PREDICATE);

    qtest_writeb(t.qts, b + 0x9001, ~qtest_readb(t.qts, b + 0x9001));
    compare(&t, DSA_OP_COMPARE, 0, a, b, 0x10000, 0, DSA_STATUS_SUCCESS);
    expect_result(&t, 1, 0x9001);
    compare(&t, DSA_OP_COMPARE, check, a, b, 0x10000, 0,
            DSA_STATUS_FALSE_PREDICATE);
    compare(&t, DSA_OP_COMPARE, check, a, b, 0x10000, 1, DSA_STATUS_SUCCESS);
    compare(&t, DSA_OP_COMPARE, 0, a, b, 0x9001, 0, DSA_STATUS_SUCCESS);
    expect_result(&t, 0, 0);

    dsa_submit_data(&t, DSA_OP_FILL, 0, pattern, a, 0xfffd, DSA_STATUS_SUCCESS);
    compare(&t, DSA_OP_COMPARE_PATTERN, check, a, pattern, 0xfffd, 0,
            DSA_STATUS_SUCCESS);
    expect_result(&t, 0, 0);
    qtest_writeb(t.qts, a + 0xfffc, 0);
    compare(&t, DSA_OP_COMPARE_PATTERN, check, a, pattern, 0xfffd, 0,
            DSA_STATUS_FALSE_PREDICATE);
    expect_result(&t, 1, 0xfffc);
    dsa_stop(&t);
}

static void create_delta(DSATest *t, uint32_t flags, uint64_t a, uint64_t b,
                         uint32_t size, uint64_t delta, uint32_t max_size,
                         uint8_t mask, uint8_t status)
{
    QDSADesc desc;

    qdsa_desc(&desc, DSA_OP_CREATE_DELTA, DSA_CR | flags, t->cr);
    qdsa_desc_data(&desc, a, b, size);
    stq_le_p(desc.raw + DSA_DESC_DELTA_ADDR, delta);
    stl_le_p(desc.raw + DSA_DESC_MAX_DELTA_SIZE, max_size);
    desc.raw[DSA_DESC_EXPECTED_MASK] = mask;
    dsa_run(t, &desc, status);
}

static void apply_delta(DSATest *t, uint64_t delta, uint32_t delta_size,
                        uint64_t dst, uint32_t size, uint8_t status)
{
    QDSADesc desc;

    qdsa_desc(&desc, DSA_OP_APPLY_DELTA, DSA_CR, t->cr);
    qdsa_desc_data(&desc, delta, dst, size);
    stl_le_p(desc.raw + DSA_DESC_DELTA_SIZE, delta_size);
    dsa_run(t, &desc, status);
}

/* 8.3.8, 8.3.9: Create and Apply Delta Record */
static void test_delta(void)
{
    const uint32_t check = DSA_FLAG_CHECK_RESULT, size = 0x80000;
    static const uint8_t first[10] = { 0x01, 0x00, 0xff };
    uint64_t a, b, delta;
    DSATest t;

    dsa_start(&t);
    a = guest_alloc_zeroed(&t.alloc, t.qts, size);
    b = guest_alloc_zeroed(&t.alloc, t.qts, size);
    delta = guest_alloc_zeroed(&t.alloc, t.qts, 0x100000);
    create_delta(&t, check, a, b, size, delta, 1000, 1, DSA_STATUS_SUCCESS);
    expect_result(&t, 0, 0);
    g_assert_cmpuint(ldl_le_p(t.record + DSA_CR_DELTA_SIZE), ==, 0);

    /* 100 differences, the last one in the last byte */
    for (int i = 0; i < 99; i++) {
        qtest_writeb(t.qts, b + 8 + i * 4000, 0xff - i);
    }
    qtest_writeb(t.qts, b + size - 1, 0x55);
    create_delta(&t, check, a, b, size, delta, 1000, 2, DSA_STATUS_SUCCESS);
    expect_result(&t, 1, 0);
    g_assert_cmpuint(ldl_le_p(t.record + DSA_CR_DELTA_SIZE), ==, 1000);
    dsa_expect_memory(&t, delta, first, sizeof(first));

    apply_delta(&t, delta, 1000, a, size, DSA_STATUS_SUCCESS);
    compare(&t, DSA_OP_COMPARE, 0, a, b, size, 0, DSA_STATUS_SUCCESS);
    expect_result(&t, 0, 0);

    /* The record has no space for the last but one difference */
    dsa_submit_data(&t, DSA_OP_FILL, 0, 0, a, size, DSA_STATUS_SUCCESS);
    create_delta(&t, check, a, b, size, delta, 989, 4, DSA_STATUS_SUCCESS);
    expect_result(&t, 2, 8 + 98 * 4000);
    g_assert_cmpuint(ldl_le_p(t.record + DSA_CR_DELTA_SIZE), ==, 980);
    create_delta(&t, check, a, b, size, delta, 989, 3,
                 DSA_STATUS_FALSE_PREDICATE);

    /* An offset beyond the buffer, and an offset that decreases */
    apply_delta(&t, delta, 30, a, 16, DSA_STATUS_DELTA_OFFSET);
    g_assert_cmpuint(dsa_bytes_completed(&t), ==, 10);
    qtest_writew(t.qts, delta + 20, qtest_readw(t.qts, delta + 10) - 1);
    apply_delta(&t, delta, 30, a, size, DSA_STATUS_DELTA_ORDER);
    g_assert_cmpuint(dsa_bytes_completed(&t), ==, 20);

    /* Deltas for the same offset, as in a record that the guest has cleared */
    qtest_memset(t.qts, delta, 0, 40);
    apply_delta(&t, delta, 40, a, size, DSA_STATUS_SUCCESS);
    g_assert_cmphex(qtest_readq(t.qts, a), ==, 0);
    dsa_stop(&t);
}

/* 8.3.10: Memory Copy with Dualcast */
static void test_dualcast(void)
{
    /* The second size needs several steps of the engine */
    const uint32_t sizes[] = { 0xffff, 0xfffff };
    uint64_t src, dst;
    QDSADesc desc;
    DSATest t;

    dsa_start(&t);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 0x100000);
    dst = guest_alloc_zeroed(&t.alloc, t.qts, 0x400000) + 77;
    for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
        dsa_put_pattern(&t, src, sizes[i], 9 + i);
        qdsa_desc(&desc, DSA_OP_DUALCAST, DSA_CR, t.cr);
        qdsa_desc_data(&desc, src, dst, sizes[i]);
        stq_le_p(desc.raw + DSA_DESC_DST2, dst + 0x200000);
        dsa_run(&t, &desc, DSA_STATUS_SUCCESS);
        expect_result(&t, 0, 0);
        dsa_expect_pattern(&t, dst, sizes[i], 9 + i);
        dsa_expect_pattern(&t, dst + 0x200000, sizes[i], 9 + i);
    }
    dsa_stop(&t);
}

/* Reference implementation, one bit at a time */
static uint32_t plain_crc32c(const uint8_t *data, size_t len)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        }
    }
    return ~crc;
}

static uint32_t crc(DSATest *t, DSAOperation op, uint32_t flags, uint64_t src,
                    uint64_t dst, uint32_t size, uint32_t seed,
                    uint64_t seed_addr)
{
    QDSADesc desc;

    qdsa_desc(&desc, op, DSA_CR | flags, t->cr);
    qdsa_desc_data(&desc, src, dst, size);
    stl_le_p(desc.raw + DSA_DESC_CRC_SEED, seed);
    stq_le_p(desc.raw + DSA_DESC_CRC_SEED_ADDR, seed_addr);
    dsa_run(t, &desc, DSA_STATUS_SUCCESS);
    g_assert_cmphex(ldl_le_p(t->record + DSA_CR_CRC + 4), ==, 0);
    return ldl_le_p(t->record + DSA_CR_CRC);
}

/* 8.3.12, 8.3.13, Appendix A: CRC Generation, Copy with CRC */
static void test_crc(void)
{
    uint8_t data[70003];
    uint64_t src, dst;
    uint32_t first;
    DSATest t;

    dsa_start(&t);
    src = guest_alloc_zeroed(&t.alloc, t.qts, sizeof(data));
    dst = guest_alloc_zeroed(&t.alloc, t.qts, sizeof(data));
    qdsa_fill_pattern(data, sizeof(data), 3);
    qtest_memwrite(t.qts, src, data, sizeof(data));
    /* The CRC covers exactly the data, for all lengths modulo 4 */
    for (int i = 0; i < 5; i++) {
        g_assert_cmphex(crc(&t, DSA_OP_CRC, 0, src, 0, sizeof(data) - i, 0, 0),
                        ==, plain_crc32c(data, sizeof(data) - i));
    }
    /* RFC 3720, B.4: 32 bytes of zeroes */
    g_assert_cmphex(crc(&t, DSA_OP_CRC, 0, dst, 0, 32, 0, 0), ==, 0x8a9136aa);
    /* Two parts, the second with a seed in memory */
    first = crc(&t, DSA_OP_CRC, 0, src, 0, 40000, 0, 0);
    qtest_writel(t.qts, dst, first);
    g_assert_cmphex(crc(&t, DSA_OP_CRC, 0, src + 40000, 0, 30000, first, 0),
                    ==, plain_crc32c(data, 70000));
    g_assert_cmphex(crc(&t, DSA_OP_CRC, DSA_FLAG_READ_CRC_SEED, src + 40000, 0,
                        30000, 0, dst), ==, plain_crc32c(data, 70000));

    g_assert_cmphex(crc(&t, DSA_OP_COPY_CRC, 0, src, dst, sizeof(data), 0, 0),
                    ==, plain_crc32c(data, sizeof(data)));
    dsa_expect_memory(&t, dst, data, sizeof(data));

    /* Without inversion the CRC of zeroes is 0; without data reflection */
    qtest_memset(t.qts, dst, 0, 16);
    g_assert_cmphex(crc(&t, DSA_OP_CRC, DSA_FLAG_BYPASS_CRC_INVERSION, dst, 0,
                        16, 0, 0), ==, 0);
    qtest_writeb(t.qts, dst + 15, 0x80);
    g_assert_cmphex(crc(&t, DSA_OP_CRC, DSA_FLAG_BYPASS_CRC_INVERSION, dst, 0,
                        16, 0, 0), ==, 0x1edc6f41);
    qtest_writeb(t.qts, dst + 15, 0x01);
    g_assert_cmphex(crc(&t, DSA_OP_CRC, DSA_FLAG_BYPASS_CRC_INVERSION |
                        DSA_FLAG_BYPASS_DATA_REFLECTION, dst, 0, 16, 0, 0),
                    ==, 0x1edc6f41);
    dsa_stop(&t);
}

static uint16_t plain_crc16(const uint8_t *data, size_t len)
{
    uint16_t crc = 0;

    for (size_t i = 0; i < len; i++) {
        crc ^= data[i] << 8;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc << 1 ^ (crc & 0x8000 ? 0x8bb7 : 0);
        }
    }
    return crc;
}

typedef struct DIFTags {
    uint32_t ref;
    uint16_t app_mask;
    uint16_t app;
} DIFTags;

static void dif_tags(uint8_t *p, DIFTags tags)
{
    stl_le_p(p, tags.ref);
    stw_le_p(p + 4, tags.app_mask);
    stw_le_p(p + 6, tags.app);
}

static void dif(DSATest *t, DSAOperation op, uint64_t src, uint64_t dst,
                uint32_t size, uint8_t src_flags, uint8_t dst_flags,
                const DIFTags *src_tags, const DIFTags *dst_tags,
                uint8_t status)
{
    QDSADesc desc;

    qdsa_desc(&desc, op, DSA_CR, t->cr);
    qdsa_desc_data(&desc, src, dst, size);
    desc.raw[DSA_DESC_SRC_DIF_FLAGS] = src_flags;
    desc.raw[DSA_DESC_DST_DIF_FLAGS] = dst_flags;
    if (src_tags) {
        dif_tags(desc.raw + DSA_DESC_SRC_DIF_TAGS, *src_tags);
    }
    if (dst_tags) {
        dif_tags(desc.raw + DSA_DESC_DST_DIF_TAGS, *dst_tags);
    }
    dsa_run(t, &desc, status);
}

/* 8.3.14 to 8.3.17, Appendix B: blocks of 512 bytes */
static void test_dif(void)
{
    const DIFTags tags = { .ref = 0x12345678, .app_mask = 0, .app = 0xabcd };
    const DIFTags dst_tags = { .ref = 7, .app_mask = 0xff00, .app = 0x1234 };
    const unsigned n = 100;
    uint8_t block[512], expected[8];
    uint64_t raw, with, out;
    DSATest t;

    dsa_start(&t);
    raw = guest_alloc_zeroed(&t.alloc, t.qts, n * 512);
    with = guest_alloc_zeroed(&t.alloc, t.qts, n * 520);
    out = guest_alloc_zeroed(&t.alloc, t.qts, n * 520);
    dsa_put_pattern(&t, raw, n * 512, 0);
    dif(&t, DSA_OP_DIF_INSERT, raw, with, n * 512, 0, 0, NULL, &tags,
        DSA_STATUS_SUCCESS);
    g_assert_cmphex(ldl_le_p(t.record + DSA_CR_DST_DIF_TAGS), ==,
                    tags.ref + n);
    qtest_memread(t.qts, raw + 512, block, sizeof(block));
    stw_be_p(expected, plain_crc16(block, sizeof(block)));
    stw_be_p(expected + 2, tags.app);
    stl_be_p(expected + 4, tags.ref + 1);
    dsa_expect_memory(&t, with + 520, block, sizeof(block));
    dsa_expect_memory(&t, with + 520 + 512, expected, sizeof(expected));

    dif(&t, DSA_OP_DIF_CHECK, with, 0, n * 520, 0, 0, &tags, NULL,
        DSA_STATUS_SUCCESS);
    g_assert_cmphex(ldl_le_p(t.record + DSA_CR_SRC_DIF_TAGS), ==,
                    tags.ref + n);
    dif(&t, DSA_OP_DIF_STRIP, with, out, n * 520, 0, 0, &tags, NULL,
        DSA_STATUS_SUCCESS);
    compare(&t, DSA_OP_COMPARE, 0, raw, out, n * 512, 0, DSA_STATUS_SUCCESS);
    expect_result(&t, 0, 0);

    dif(&t, DSA_OP_DIF_UPDATE, with, out, n * 520, 0,
        R_DSA_DST_DIF_REF_FIXED_MASK, &tags, &dst_tags, DSA_STATUS_SUCCESS);
    stw_be_p(expected + 2, 0x0034);
    stl_be_p(expected + 4, 7);
    dsa_expect_memory(&t, out + 520 + 512, expected, sizeof(expected));
    g_assert_cmphex(ldl_le_p(t.record + DSA_CR_DST_DIF_TAGS), ==, 7);

    /* Errors in the data and in both tags of block 50 */
    qtest_writeb(t.qts, with + 50 * 520, ~qtest_readb(t.qts, with + 50 * 520));
    dif(&t, DSA_OP_DIF_CHECK, with, 0, n * 520, 0, 0, &tags, NULL,
        DSA_STATUS_DIF_ERROR);
    expect_result(&t, DSA_DIF_STATUS_GUARD, 50 * 520);
    qtest_writel(t.qts, with + 50 * 520 + 514, 0);
    qtest_writel(t.qts, with + 50 * 520 + 516, 0);
    dif(&t, DSA_OP_DIF_STRIP, with, out, n * 520,
        R_DSA_SRC_DIF_NO_GUARD_CHECK_MASK, 0, &tags, NULL,
        DSA_STATUS_DIF_ERROR);
    expect_result(&t, DSA_DIF_STATUS_APP | DSA_DIF_STATUS_REF, 50 * 520);
    dsa_stop(&t);
}

/* 8.3.26: Cache Flush and cache control have no visible effect */
static void test_cache_flush(void)
{
    uint64_t addr;
    DSATest t;

    dsa_start(&t);
    addr = guest_alloc_zeroed(&t.alloc, t.qts, 0x10000);
    dsa_submit_data(&t, DSA_OP_CACHE_FLUSH, 0, 0, addr + 1, 0xfff0,
                    DSA_STATUS_SUCCESS);
    dsa_submit_data(&t, DSA_OP_FILL, DSA_FLAG_CACHE_CONTROL |
                    DSA_FLAG_DEST_READBACK | DSA_FLAG_STRICT_ORDERING, ~0ULL,
                    addr, 8, DSA_STATUS_SUCCESS);
    g_assert_cmphex(qtest_readq(t.qts, addr), ==, ~0ULL);
    dsa_stop(&t);
}

int main(int argc, char **argv)
{
    if (!qdsa_test_init(&argc, &argv)) {
        return 0;
    }
    qtest_add_func("/dsa/memory-move", test_move);
    qtest_add_func("/dsa/fill", test_fill);
    qtest_add_func("/dsa/compare", test_compare);
    qtest_add_func("/dsa/delta", test_delta);
    qtest_add_func("/dsa/dualcast", test_dualcast);
    qtest_add_func("/dsa/crc", test_crc);
    qtest_add_func("/dsa/dif", test_dif);
    qtest_add_func("/dsa/cache-flush", test_cache_flush);
    return g_test_run();
}
