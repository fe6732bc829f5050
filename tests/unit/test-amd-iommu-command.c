/*
 * Unit tests of the formats of AMD-Vi commands
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/bitops.h"
#include "hw/i386/amd_iommu_command.h"

#define ALL_FEATURES    UINT64_MAX

#define ADDR_S          (1ull << 0)
#define ADDR_GN         (1ull << 2)

static uint64_t opcode(unsigned op)
{
    return (uint64_t)op << 60;
}

static AMDVICommand decode(uint64_t lo, uint64_t hi)
{
    const uint64_t cmd[2] = { lo, hi };
    AMDVICommand command;

    assert_true(amdvi_command_decode(cmd, ALL_FEATURES, &command));
    assert_int_equal(command.opcode, lo >> 60);
    return command;
}

static bool legal(uint64_t lo, uint64_t hi, uint64_t features)
{
    const uint64_t cmd[2] = { lo, hi };
    AMDVICommand command;

    return amdvi_command_decode(cmd, features, &command);
}

/* 2.4.1 */
static void test_completion_wait(void **state)
{
    AMDVICommand c = decode(opcode(1) | 0xfedcba9876548ull, 0x1122334455667788);

    assert_false(c.store);
    assert_false(c.interrupt);
    assert_true(c.store_addr == 0xfedcba9876548ull);
    assert_true(c.data == 0x1122334455667788);
    c = decode(opcode(1) | 0x1001, 0);
    assert_true(c.store);
    assert_false(c.interrupt);
    assert_int_equal(c.store_addr, 0x1000);
    c = decode(opcode(1) | 0x1006, 0);
    assert_false(c.store);
    assert_true(c.interrupt);
    assert_int_equal(c.store_addr, 0x1000);
}

/* 2.4.2, 2.4.5 */
static void test_device(void **state)
{
    AMDVICommand c = decode(opcode(2) | 0xbeef, 0);

    assert_int_equal(c.devid, 0xbeef);
    assert_int_equal(c.pasid, PCI_NO_PASID);
    c = decode(opcode(5) | 0xffff, 0);
    assert_int_equal(c.devid, 0xffff);
}

/* 2.4.3: PASID 19:0, DomainID 47:32; there is a PASID only if GN is set */
static void test_inval_pages(void **state)
{
    AMDVICommand c = decode(opcode(3) | 0xabcdull << 32 | 0x54321, 0x7000);

    assert_int_equal(c.domid, 0xabcd);
    assert_int_equal(c.pasid, PCI_NO_PASID);
    assert_int_equal(c.addr, 0x7000);
    assert_int_equal(c.addr_mask, 0xfff);
    c = decode(opcode(3) | 0xffffull << 32 | 0x54321, 0x7000 | ADDR_GN);
    assert_int_equal(c.domid, 0xffff);
    assert_int_equal(c.pasid, 0x54321);
    c = decode(opcode(3), ADDR_GN);
    assert_int_equal(c.domid, 0);
    assert_int_equal(c.pasid, 0);
}

/* 2.4.3: every size at every position of the address that it leaves */
static void check_ranges(unsigned op)
{
    for (unsigned bits = 13; bits < 64; bits++) {
        uint64_t mask = (1ull << bits) - 1;
        /* Zero at the top of the range, ones below: the size */
        uint64_t size = (mask >> 1) & ~0xfffull;

        for (unsigned bit = bits; bit < 64; bit++) {
            uint64_t addr = 1ull << bit | 1ull << 63;
            AMDVICommand c = decode(opcode(op), addr | size | ADDR_S);

            if (bits == 63) {
                addr = 1ull << 63;
            }
            assert_true(c.addr_mask == mask);
            assert_true(c.addr == addr);
        }
    }
}

static void check_everything(unsigned op)
{
    AMDVICommand c = decode(opcode(op), 0x7ffffffffffff000 | ADDR_S);

    assert_true(c.addr == 0);
    assert_true(c.addr_mask == UINT64_MAX);
    /* No bit of the page number is 0. */
    c = decode(opcode(op), 0xfffffffffffff000 | ADDR_S);
    assert_true(c.addr == 0);
    assert_true(c.addr_mask == UINT64_MAX);
    /* Without S, the same addresses are single pages. */
    c = decode(opcode(op), 0x7ffffffffffff000);
    assert_true(c.addr == 0x7ffffffffffff000);
    assert_true(c.addr_mask == 0xfff);
}

static void test_ranges(void **state)
{
    check_ranges(3);
    check_everything(3);
    check_ranges(4);
    check_everything(4);
}

/*
 * 2.4.4: PASID[15:8] in 23:16 and PASID[7:0] in 55:48, as Linux writes it;
 * PASID[19:16] in 59:56
 */
static void test_inval_iotlb(void **state)
{
    AMDVICommand c = decode(opcode(4) | 0x1234, 0x9000);

    assert_int_equal(c.devid, 0x1234);
    assert_int_equal(c.pasid, PCI_NO_PASID);
    assert_int_equal(c.addr, 0x9000);
    assert_int_equal(c.addr_mask, 0xfff);
    assert_int_equal(c.max_pend, 0);
    c = decode(opcode(4) | 0xfull << 56 | 0x12ull << 48 | 0x4567ull << 32 |
               0x20ull << 24 | 0x34ull << 16 | 0xffff, ADDR_GN);
    assert_int_equal(c.devid, 0xffff);
    assert_int_equal(c.pasid, 0xf3412);
    assert_int_equal(c.max_pend, 0x20);
    assert_int_equal(c.queue_id, 0x4567);
}

/* 2.4.6: PFCount 31:24, PASID 51:32, Inval 68 */
static void test_prefetch(void **state)
{
    AMDVICommand c = decode(opcode(6) | 0xabcdeull << 32 | 0x80ull << 24 | 5,
                            0x123456789000 | ADDR_GN | ADDR_S);

    assert_int_equal(c.devid, 5);
    assert_int_equal(c.pasid, 0xabcde);
    assert_int_equal(c.count, 0x80);
    assert_int_equal(c.addr, 0x123456789000);
    assert_false(c.inval);
    c = decode(opcode(6) | 0xabcdeull << 32, 1 << 4);
    assert_int_equal(c.pasid, PCI_NO_PASID);
    assert_true(c.inval);
}

/* 2.4.7: PASID 51:32, Completion Tag 111:96 */
static void test_complete_ppr(void **state)
{
    AMDVICommand c = decode(opcode(7) | 0xfedcbull << 32 | 0x20,
                            0x1a5full << 32 | ADDR_GN);

    assert_int_equal(c.devid, 0x20);
    assert_int_equal(c.pasid, 0xfedcb);
    assert_int_equal(c.tag, 0x1a5f);
    c = decode(opcode(7) | 0x20, 0x1ffull << 32);
    assert_int_equal(c.pasid, PCI_NO_PASID);
    assert_int_equal(c.tag, 0x1ff);
}

/* 2.4.8 */
static void test_inval_all(void **state)
{
    decode(opcode(8), 0);
}

/* MMIO 0030h: PreFSup, PPRSup and IASup announce commands */
static void test_features(void **state)
{
    static const uint64_t feature[16] = {
        [6] = 1 << 0, [7] = 1 << 1, [8] = 1 << 6,
    };

    for (unsigned op = 0; op < 16; op++) {
        bool defined = op >= 1 && op <= 8;

        assert_int_equal(legal(opcode(op), 0, ALL_FEATURES), defined);
        assert_int_equal(legal(opcode(op), 0, feature[op]), defined);
        assert_int_equal(legal(opcode(op), 0, ~feature[op]),
                         defined && !feature[op]);
    }
}

/* 2.4: the reserved bits, one by one */
static void test_reserved(void **state)
{
    static const uint64_t reserved[][2] = {
        [1] = { 0x0ff0000000000000, 0 },
        [2] = { 0x0fffffffffff0000, UINT64_MAX },
        [3] = { 0x0fff0000fff00000, 0xff8 },
        [4] = { 0, 0xffa },
        [5] = { 0x0fffffffffff0000, UINT64_MAX },
        [6] = { 0x0ff0000000ff0000, 0xfea },
        [7] = { 0x0ff00000ffff0000, 0xffff0000fffffffb },
        [8] = { 0x0fffffffffffffff, UINT64_MAX },
    };

    for (unsigned op = 1; op <= 8; op++) {
        for (unsigned bit = 0; bit < 60; bit++) {
            assert_int_equal(legal(opcode(op) | 1ull << bit, 0, ALL_FEATURES),
                             !(reserved[op][0] >> bit & 1));
        }
        for (unsigned bit = 0; bit < 64; bit++) {
            assert_int_equal(legal(opcode(op), 1ull << bit, ALL_FEATURES),
                             !(reserved[op][1] >> bit & 1));
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_completion_wait),
        cmocka_unit_test(test_device),
        cmocka_unit_test(test_inval_pages),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_inval_iotlb),
        cmocka_unit_test(test_prefetch),
        cmocka_unit_test(test_complete_ppr),
        cmocka_unit_test(test_inval_all),
        cmocka_unit_test(test_features),
        cmocka_unit_test(test_reserved),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
