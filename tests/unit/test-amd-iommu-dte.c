/*
 * Unit tests of device table entries of the AMD IOMMU
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
#include "hw/i386/amd_iommu_dte.h"

static const AMDVIDTERules rules = {
    .max_mode = 6,
    .had = true,
    .guest = true,
    .max_glx = 2,
    .max_guest_levels = 5,
};

static AMDVIDTE decode(uint64_t q0, uint64_t q1, uint64_t q2, uint64_t q3)
{
    const uint64_t quad[AMDVI_DTE_QUADS] = { q0, q1, q2, q3 };
    AMDVIDTE dte;

    amdvi_dte_decode(&dte, quad);
    return dte;
}

static AMDVIDTE with_bit(unsigned bit)
{
    uint64_t quad[AMDVI_DTE_QUADS] = { };
    AMDVIDTE dte;

    quad[bit / 64] = 1ull << (bit % 64);
    amdvi_dte_decode(&dte, quad);
    return dte;
}

/* 2.2.2.1: the position of each field of one bit */
static void test_bits(void **state)
{
    assert_true(with_bit(0).valid);
    assert_true(with_bit(1).translate);
    assert_true(with_bit(52).page_requests);
    assert_true(with_bit(53).prg_pasid);
    assert_true(with_bit(54).guest_io);
    assert_true(with_bit(55).guest);
    assert_true(with_bit(61).read);
    assert_true(with_bit(62).write);
    assert_true(with_bit(96).iotlb);
    assert_true(with_bit(97).suppress);
    assert_true(with_bit(98).suppress_all);
    assert_true(with_bit(101).cache);
    assert_true(with_bit(102).no_snoop);
    assert_true(with_bit(103).exclude);
    assert_true(with_bit(128).int_valid);
    assert_true(with_bit(133).int_ignore);
    assert_true(with_bit(184).init_pass);
    assert_true(with_bit(185).eint_pass);
    assert_true(with_bit(186).nmi_pass);
    assert_true(with_bit(190).lint0_pass);
    assert_true(with_bit(191).lint1_pass);
}

/* 2.2.2.1: the fields of several bits */
static void test_fields(void **state)
{
    const uint64_t addr = 0x000fedcba9876000ull;
    AMDVIDTE dte;

    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(decode((uint64_t)i << 7, 0, 0, 0).had, i);
        assert_int_equal(decode((uint64_t)i << 56, 0, 0, 0).glx, i);
        assert_int_equal(decode(0, (uint64_t)i << 35, 0, 0).port_io, i);
        assert_int_equal(decode(0, (uint64_t)i << 40, 0, 0).sys_mgt, i);
        assert_int_equal(decode(0, 0, (uint64_t)i << 60, 0).int_control, i);
        assert_int_equal(decode(0, 0, (uint64_t)i << 54, 0).guest_levels,
                         4 + i);
    }
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(decode((uint64_t)i << 9, 0, 0, 0).mode, i);
    }
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(decode(0, 0, (uint64_t)i << 1, 0).int_tab_len, i);
    }
    assert_int_equal(decode(addr, 0, 0, 0).host_root, addr);
    assert_int_equal(decode(0, 0x1234, 0, 0).domain, 0x1234);
    assert_int_equal(decode(0, 0, addr | 0xfff, 0).int_root, addr | 0xfc0);

    /* As Linux's driver writes them, the pieces of the GCR3 root */
    dte = decode((addr >> 12 & 7) << 58,
                 (addr >> 15 & 0xffff) << 16 | (addr >> 31 & 0x1fffff) << 43,
                 0, 0);
    assert_int_equal(dte.gcr3_root, addr);
    dte = decode(~(7ull << 58), ~(0xffffull << 16 | 0x1fffffull << 43),
                 ~0ull, ~0ull);
    assert_int_equal(dte.gcr3_root, 0);
}

/* 2.2.2.1: reserved bits matter if V or IV makes their part valid */
static void test_reserved(void **state)
{
    for (unsigned bit = 0; bit < 256; bit++) {
        uint64_t quad[AMDVI_DTE_QUADS] = { };
        bool memory = (bit >= 2 && bit <= 6) || bit == 63;
        bool interrupt = (bit >= 180 && bit <= 181) ||
                         (bit >= 192 && bit <= 206) ||
                         (bit >= 240 && bit <= 245);
        AMDVIDTE dte;

        quad[bit / 64] = 1ull << (bit % 64);
        quad[0] &= ~3ull;
        quad[2] &= ~1ull;
        amdvi_dte_decode(&dte, quad);
        assert_int_equal(amdvi_dte_check_memory(&dte, &rules),
                         AMDVI_FAULT_NONE);
        assert_int_equal(amdvi_dte_check_interrupt(&dte, true),
                         AMDVI_FAULT_NONE);

        quad[0] |= 1;
        amdvi_dte_decode(&dte, quad);
        assert_int_equal(amdvi_dte_check_memory(&dte, &rules),
                         memory ? AMDVI_FAULT_DTE_RESERVED : AMDVI_FAULT_NONE);
        assert_int_equal(amdvi_dte_check_interrupt(&dte, true),
                         AMDVI_FAULT_NONE);

        quad[0] &= ~1ull;
        quad[2] |= 1;
        amdvi_dte_decode(&dte, quad);
        assert_int_equal(amdvi_dte_check_memory(&dte, &rules),
                         AMDVI_FAULT_NONE);
        assert_int_equal(amdvi_dte_check_interrupt(&dte, true),
                         interrupt ? AMDVI_FAULT_DTE_RESERVED :
                                     AMDVI_FAULT_NONE);
    }
}

static AMDVIFault check_memory(const AMDVIDTERules *r, uint64_t q0, uint64_t q2)
{
    AMDVIDTE dte = decode(q0, 0, q2, 0);

    return amdvi_dte_check_memory(&dte, r);
}

/* 2.2.2.1: encodings of fields for TV = 1 */
static void test_levels(void **state)
{
    const uint64_t v = 1, tv = 2, gv = 1ull << 55;
    const uint64_t mode_6 = 6 << 9, mode_7 = 7 << 9, had_2 = 2 << 7;
    const uint64_t glx_2 = 2ull << 56, glx_3 = 3ull << 56;
    AMDVIDTERules r = rules;

    assert_int_equal(check_memory(&r, v | tv | mode_6, 0), AMDVI_FAULT_NONE);
    assert_int_equal(check_memory(&r, v | tv | mode_7, 0),
                     AMDVI_FAULT_DTE_LEVEL);
    assert_int_equal(check_memory(&r, v | mode_7, 0), AMDVI_FAULT_NONE);
    assert_int_equal(check_memory(&r, tv | mode_7, 0), AMDVI_FAULT_NONE);
    r.max_mode = 4;
    assert_int_equal(check_memory(&r, v | tv | mode_6, 0),
                     AMDVI_FAULT_DTE_LEVEL);
    assert_int_equal(check_memory(&r, v | tv | 1 << 12, 0), AMDVI_FAULT_NONE);
    /* 5.2: with HATDis, entries must not refer to host tables */
    r.max_mode = 0;
    assert_int_equal(check_memory(&r, v | tv, 0), AMDVI_FAULT_NONE);
    assert_int_equal(check_memory(&r, v | tv | 1 << 9, 0),
                     AMDVI_FAULT_DTE_LEVEL);
    assert_int_equal(check_memory(&r, v | tv | 1 << 12, 0),
                     AMDVI_FAULT_DTE_LEVEL);
    assert_int_equal(check_memory(&r, v | 1 << 12, 0), AMDVI_FAULT_NONE);

    assert_int_equal(check_memory(&r, v | tv | had_2, 0),
                     AMDVI_FAULT_DTE_RESERVED);
    r.had = false;
    assert_int_equal(check_memory(&r, v | tv | had_2, 0), AMDVI_FAULT_NONE);

    assert_int_equal(check_memory(&r, v | tv | gv | glx_2, 0),
                     AMDVI_FAULT_NONE);
    assert_int_equal(check_memory(&r, v | tv | gv | glx_3, 0),
                     AMDVI_FAULT_DTE_LEVEL);
    assert_int_equal(check_memory(&r, v | tv | glx_3, 0), AMDVI_FAULT_NONE);
    assert_int_equal(check_memory(&r, v | tv | gv, 1ull << 54),
                     AMDVI_FAULT_NONE);
    assert_int_equal(check_memory(&r, v | tv | gv, 2ull << 54),
                     AMDVI_FAULT_DTE_LEVEL);
    r.max_guest_levels = 4;
    assert_int_equal(check_memory(&r, v | tv | gv, 1ull << 54),
                     AMDVI_FAULT_DTE_LEVEL);
    r.guest = false;
    assert_int_equal(check_memory(&r, v | tv | gv | glx_3, 1ull << 54),
                     AMDVI_FAULT_NONE);
}

static AMDVIFault check_interrupt(uint64_t q2, bool fixed)
{
    AMDVIDTE dte = decode(0, 0, q2, 0);

    return amdvi_dte_check_interrupt(&dte, fixed);
}

/* 2.2.2.1: IntCtl and IntTabLen are for fixed and arbitrated interrupts */
static void test_interrupts(void **state)
{
    const uint64_t iv = 1, remap = 2ull << 60;

    for (unsigned i = 0; i < 4; i++) {
        assert_int_equal(check_interrupt(iv | (uint64_t)i << 60, true),
                         i == 3 ? AMDVI_FAULT_DTE_RESERVED : AMDVI_FAULT_NONE);
        assert_int_equal(check_interrupt(iv | (uint64_t)i << 60, false),
                         AMDVI_FAULT_NONE);
    }
    for (unsigned i = 0; i < 16; i++) {
        assert_int_equal(check_interrupt(iv | remap | i << 1, true),
                         i > 11 ? AMDVI_FAULT_DTE_RESERVED : AMDVI_FAULT_NONE);
        assert_int_equal(check_interrupt(iv | remap | i << 1, false),
                         AMDVI_FAULT_NONE);
        assert_int_equal(check_interrupt(iv | i << 1, true), AMDVI_FAULT_NONE);
    }
}

/* 2.5: each fault has an event; only errors block translation requests */
static void test_faults(void **state)
{
    assert_false(amdvi_fault_blocks_ats(AMDVI_FAULT_NONE));
    for (unsigned i = 1; i < AMDVI_FAULTS; i++) {
        const AMDVIFaultInfo *info = amdvi_fault_info(i);

        assert_int_equal(amdvi_fault_blocks_ats(i),
                         info->kind != AMDVI_FAULT_IO_PAGE);
        /* PE and RZ have a meaning only with PR */
        if (info->kind == AMDVI_FAULT_IO_PAGE && !info->present) {
            assert_false(info->permission || info->reserved);
        }
    }
    assert_int_equal(amdvi_fault_info(AMDVI_FAULT_DTE_RESERVED)->kind,
                     AMDVI_FAULT_ILLEGAL_DTE);
    assert_true(amdvi_fault_info(AMDVI_FAULT_DTE_RESERVED)->reserved);
    assert_false(amdvi_fault_info(AMDVI_FAULT_DTE_LEVEL)->reserved);
    assert_true(amdvi_fault_info(AMDVI_FAULT_HOST_NO_WRITE)->permission);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bits),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_reserved),
        cmocka_unit_test(test_levels),
        cmocka_unit_test(test_interrupts),
        cmocka_unit_test(test_faults),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
