/*
 * QTest testcase for device-TLBs and PASIDs of amd-iommu: translation requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#include "qemu/osdep.h"
#include "amd-iommu-ats-common.h"

#define RW      (PERM_R | PERM_W)
#define NONE    QATD_NO_PASID

/* ---- Host tables (2.2.3) ---- */

/* Permissions and sizes of pages, and of holes */
static void test_host(void)
{
    AATSTest t;

    aats_start_host(&t);
    aats_map_host(&t, AATS_IOVA, 1, 0x5000 | HOST);
    aats_map_host(&t, AATS_IOVA + KIB4, 1,
                  0x9000 | QAMDVI_PTE_PR | QAMDVI_PTE_IR);
    aats_map_host(&t, AATS_IOVA + 2 * KIB4, 1,
                  0xb000 | QAMDVI_PTE_PR | QAMDVI_PTE_IW);
    aats_map_host(&t, 4 * GIB1, 2, 6 * MIB2 | HOST);
    aats_map_host(&t, 8 * GIB1, 3, 2 * GIB1 | HOST);
    /* U: the translation must not be used by translated requests */
    aats_map_host(&t, AATS_IOVA + 4 * KIB4, 1, 0xd000 | HOST | QAMDVI_PTE_U);

    aats_translate_page(&t, NONE, AATS_IOVA, 0, 0x5000, KIB4, RW);
    aats_translate_page(&t, NONE, AATS_IOVA, ATD_FLAG_NO_WRITE, 0x5000, KIB4,
                        PERM_R);
    aats_translate_page(&t, NONE, AATS_IOVA + KIB4, 0, 0x9000, KIB4, PERM_R);
    aats_translate_page(&t, NONE, AATS_IOVA + 2 * KIB4, 0, 0xb000, KIB4,
                        PERM_W);
    aats_translate_page(&t, NONE, AATS_IOVA + 2 * KIB4, ATD_FLAG_NO_WRITE, 0,
                        KIB4, 0);
    aats_translate_page(&t, NONE, 4 * GIB1 + 0x3000, 0, 6 * MIB2, MIB2, RW);
    aats_translate_page(&t, NONE, 8 * GIB1 + MIB2, 0, 2 * GIB1, GIB1, RW);
    aats_translate_page(&t, NONE, AATS_IOVA + 4 * KIB4, 0, 0xd000, KIB4,
                        RW | PERM_U);
    aats_translate_page(&t, NONE, AATS_IOVA + 3 * KIB4, 0, 0, KIB4, 0);
    aats_translate_page(&t, NONE, AATS_IOVA + MIB2, 0, 0, MIB2, 0);
    aats_translate_page(&t, NONE, 5 * GIB1, 0, 0, GIB1, 0);
    /* Beyond the width that Mode selects */
    aats_translate_page(&t, NONE, 1ULL << 48, 0, 0, 1ULL << 48, 0);
    aats_stop(&t);
}

/* Page sizes that the address encodes (Next Level 7h) */
static void test_host_sizes(void)
{
    static const struct {
        unsigned level;
        uint64_t size;
    } cases[] = {
        { 1, 2 * KIB4 }, { 1, 4 * KIB4 }, { 1, MIB2 / 2 },
        { 2, 2 * MIB2 }, { 2, GIB1 / 2 }, { 3, 2 * GIB1 },
        { 3, 256 * GIB1 },
    };
    const uint64_t iova = 512 * GIB1;
    AATSTest t;

    aats_start_host(&t);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t size = cases[i].size;

        /* All entries of the page are the same; only the first one is read */
        aats_map_host(&t, iova, cases[i].level, HOST | QAMDVI_PTE_NEXT(7) |
                      512 * GIB1 | ((size / 2 - 1) & ~(KIB4 - 1)));
        qamdvi_inval_all(&t.iommu);
        aats_translate_page(&t, NONE, iova, 0, 512 * GIB1, size, RW);
        qtest_memset(t.qts, t.dte.root, 0, KIB4);
    }
    aats_stop(&t);
}

/* A range is translated as a whole; the results are merged */
static void test_range(void)
{
    AATSTest t;

    aats_start_host(&t);
    for (int i = 0; i < 512; i++) {
        aats_map_host(&t, i * KIB4, 1, (MIB2 + i * KIB4) | HOST);
    }
    aats_translate(&t, NONE, 0, MIB2, 0, 1, 0);
    aats_check(&t, 0, 0, MIB2, MIB2, RW);

    aats_map_host(&t, 4 * KIB4, 1, 0);
    aats_map_host(&t, 6 * KIB4, 1, 0x7000 | QAMDVI_PTE_PR | QAMDVI_PTE_IR);
    qamdvi_inval_all(&t.iommu);
    /* The request need not be aligned */
    aats_translate(&t, NONE, 2 * KIB4 + 1, 6 * KIB4 - 1, 0, 5, 1);
    aats_check(&t, 0, 2 * KIB4, MIB2 + 2 * KIB4, 2 * KIB4, RW);
    aats_check(&t, 1, 4 * KIB4, 0, KIB4, 0);
    aats_check(&t, 2, 5 * KIB4, MIB2 + 5 * KIB4, KIB4, RW);
    aats_check(&t, 3, 6 * KIB4, 0x7000, KIB4, PERM_R);
    aats_check(&t, 4, 7 * KIB4, MIB2 + 7 * KIB4, KIB4, RW);

    /* The buffer is too short: it holds the first results */
    g_assert_cmpint(qatd_translate(&t.dev, NONE, 2 * KIB4, 6 * KIB4, 0, t.r, 2),
                    ==, -ENOMEM);
    aats_check(&t, 0, 2 * KIB4, MIB2 + 2 * KIB4, 2 * KIB4, RW);
    aats_check(&t, 1, 4 * KIB4, 0, KIB4, 0);
    aats_stop(&t);
}

/* Mode 0: no tables; IR and IW apply */
static void test_identity(void)
{
    static const struct {
        uint64_t dte;
        uint32_t perm;
    } cases[] = {
        { QAMDVI_DTE_IR | QAMDVI_DTE_IW, RW },
        { QAMDVI_DTE_IR, PERM_R },
        { QAMDVI_DTE_IW, PERM_W },
        { 0, 0 },
    };
    AATSTest t;

    aats_start_host(&t);
    t.dte.mode = 0;
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        t.dte.lo = QAMDVI_DTE_V | QAMDVI_DTE_TV | cases[i].dte;
        aats_attach(&t);
        /* The block ends below the interrupt range */
        aats_translate_page(&t, NONE, AATS_IOVA, 0, 0, 2 * GIB1,
                            cases[i].perm);
        aats_translate_page(&t, NONE, 4 * GIB1 + AATS_IOVA, 0, 4 * GIB1,
                            4 * GIB1, cases[i].perm);
    }
    aats_stop(&t);
}

/* 2.1.2: the interrupt range is not translated; only writes go there */
static void test_interrupt_range(void)
{
    AATSTest t;

    aats_start_host(&t);
    aats_map_host(&t, 0xfee00000, 1, 0x5000 | HOST);
    aats_map_host(&t, 0xfedff000, 1, 0x6000 | HOST);
    aats_map_host(&t, 0xfef00000, 1, 0x7000 | HOST);
    aats_translate(&t, NONE, 0xfee00000, KIB4, 0, 1, 0);
    g_assert_cmphex(t.r[0].iova, ==, 0xfee00000);
    g_assert_cmphex(t.r[0].addr_mask, ==, 0xfffff);
    g_assert_cmphex(t.r[0].perm, ==, PERM_W | PERM_U);
    aats_translate_nothing(&t, NONE, 0xfee00000, ATD_FLAG_NO_WRITE);
    aats_translate(&t, NONE, 0xfedff000, 0x102000, 0, 3, 0);
    aats_check(&t, 0, 0xfedff000, 0x6000, KIB4, RW);
    g_assert_cmphex(t.r[1].perm, ==, PERM_W | PERM_U);
    aats_check(&t, 2, 0xfef00000, 0x7000, KIB4, RW);
    aats_stop(&t);
}

/* ---- Guest tables (2.2.6) ---- */

/* Permissions, sizes, accessed and dirty bits */
static void test_guest(void)
{
    uint64_t root, rw, ro, table;
    AATSTest t;

    aats_start_guest(&t);
    root = aats_add_pasid(&t, AATS_PASID);
    rw = aats_map_guest(&t, root, AATS_IOVA, 1, 0x5000 | GUEST);
    ro = aats_map_guest(&t, root, AATS_IOVA + KIB4, 1,
                        0x9000 | QAMDVI_GPTE_P | QAMDVI_GPTE_US);
    table = aats_map_guest(&t, root, 4 * GIB1, 2,
                           6 * MIB2 | GUEST | QAMDVI_GPTE_PS);
    aats_map_guest(&t, root, 8 * GIB1, 3, 2 * GIB1 | GUEST | QAMDVI_GPTE_PS);

    /* NW: the dirty bit stays clear */
    aats_translate_page(&t, AATS_PASID, AATS_IOVA, ATD_FLAG_NO_WRITE, 0x5000,
                        KIB4, PERM_R);
    g_assert_cmphex(qtest_readq(t.qts, rw), ==, 0x5000 | GUEST | GUEST_A);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA, 0, 0x5000, KIB4, RW);
    g_assert_cmphex(qtest_readq(t.qts, rw), ==, 0x5000 | GUEST | GUEST_AD);
    /* A page that cannot be written is not dirty */
    aats_translate_page(&t, AATS_PASID, AATS_IOVA + KIB4, 0, 0x9000, KIB4,
                        PERM_R);
    g_assert_cmphex(qtest_readq(t.qts, ro), ==,
                    0x9000 | QAMDVI_GPTE_P | QAMDVI_GPTE_US | GUEST_A);
    aats_translate_page(&t, AATS_PASID, 4 * GIB1 + KIB4, 0, 6 * MIB2, MIB2, RW);
    g_assert_cmphex(qtest_readq(t.qts, table), ==,
                    6 * MIB2 | GUEST | QAMDVI_GPTE_PS | GUEST_AD);
    aats_translate_page(&t, AATS_PASID, 8 * GIB1 + MIB2, 0, 2 * GIB1, GIB1, RW);
    /* Entries of directories get the accessed bit */
    g_assert_cmphex(qtest_readq(t.qts, root) & 0xfff, ==, GUEST | GUEST_A);
    /* Canonical addresses of the upper half */
    aats_map_guest(&t, root, -GIB1, 1, 0xd000 | GUEST);
    aats_translate_page(&t, AATS_PASID, -GIB1, 0, 0xd000, KIB4, RW);
    aats_stop(&t);
}

/* Pages that are not available, which is not an event (2.1.3.2) */
static void test_guest_holes(void)
{
    uint64_t root, sup;
    AATSTest t;

    aats_start_guest(&t);
    root = aats_add_pasid(&t, AATS_PASID);
    sup = aats_map_guest(&t, root, AATS_IOVA, 1,
                         0xb000 | QAMDVI_GPTE_P | QAMDVI_GPTE_W);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA, 0, 0, KIB4, 0);
    /* A is only set after the permission check */
    g_assert_cmphex(qtest_readq(t.qts, sup), ==,
                    0xb000 | QAMDVI_GPTE_P | QAMDVI_GPTE_W);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA + KIB4, 0, 0, KIB4, 0);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA + MIB2, 0, 0, MIB2, 0);
    aats_translate_page(&t, AATS_PASID, 1ULL << 47, 0, 0, 1ULL << 47, 0);
    /* Reserved bits: the address of a large page, PS in level 4 */
    aats_map_guest(&t, root, 4 * GIB1, 2,
                   0x2000 | GUEST | QAMDVI_GPTE_PS);
    aats_translate_page(&t, AATS_PASID, 4 * GIB1, 0, 0, MIB2, 0);
    aats_map_guest(&t, root, 512 * GIB1, 4,
                   root | GUEST | QAMDVI_GPTE_PS);
    aats_translate_page(&t, AATS_PASID, 512 * GIB1, 0, 0, 512 * GIB1, 0);
    aats_stop(&t);
}

/* Privileged and execute requests */
static void test_privilege(void)
{
    uint64_t root;
    AATSTest t;

    aats_start_guest(&t);
    root = aats_add_pasid(&t, AATS_PASID);
    aats_map_guest(&t, root, AATS_IOVA, 1,
                   0x5000 | QAMDVI_GPTE_P | QAMDVI_GPTE_W);
    aats_map_guest(&t, root, AATS_IOVA + KIB4, 1, 0x7000 | GUEST);
    aats_map_guest(&t, root, AATS_IOVA + 2 * KIB4, 1,
                   0x9000 | QAMDVI_GPTE_P);
    aats_map_guest(&t, root, AATS_IOVA + 3 * KIB4, 1,
                   0xb000 | GUEST | QAMDVI_GPTE_NX);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA, ATD_FLAG_PRIV, 0x5000, KIB4,
                        RW | PERM_PRIV);
    aats_translate_nothing(&t, AATS_PASID, AATS_IOVA, 0);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA + KIB4, ATD_FLAG_PRIV, 0x7000,
                        KIB4, RW | PERM_PRIV);
    /* Privileged requests cannot write read-only pages, either */
    aats_translate_page(&t, AATS_PASID, AATS_IOVA + 2 * KIB4, ATD_FLAG_PRIV,
                        0x9000, KIB4, PERM_R | PERM_PRIV);
    /* NX matters to execute requests only, which are never granted */
    aats_translate_page(&t, AATS_PASID, AATS_IOVA + 3 * KIB4, 0, 0xb000, KIB4,
                        RW);
    aats_translate_nothing(&t, AATS_PASID, AATS_IOVA + KIB4, ATD_FLAG_EXEC);
    aats_translate_nothing(&t, AATS_PASID, AATS_IOVA + 3 * KIB4,
                           ATD_FLAG_EXEC);
    aats_stop(&t);
}

static void test_five_levels(void)
{
    uint64_t root, iova = 1ULL << 52;
    AATSTest t;

    aats_start_guest(&t);
    t.dte.guest_levels = 5;
    aats_attach(&t);
    root = aats_add_pasid(&t, AATS_PASID);
    aats_map_guest(&t, root, iova, 1, 0x5000 | GUEST);
    aats_translate_page(&t, AATS_PASID, iova, 0, 0x5000, KIB4, RW);
    aats_translate_page(&t, AATS_PASID, 1ULL << 56, 0, 0, 1ULL << 56, 0);
    aats_stop(&t);
}

/*
 * 2.2.6: GCR3 tables of 1 to 3 levels, and PASIDs beyond; no table serves
 * PASIDs beyond PASmax (MMIO 0030h)
 */
static void test_gcr3_levels(void)
{
    static const uint32_t pasids[] = { 0, 1, 511, 512, 0xffff, 0x10000, 0x3ffff,
                                       0x40000, 0xfffff };
    AATSTest t;

    aats_start_guest(&t);
    for (t.dte.gcr3_levels = 1; t.dte.gcr3_levels <= 3; t.dte.gcr3_levels++) {
        t.dte.gcr3 = aats_new_page(&t);
        aats_attach(&t);
        for (unsigned i = 0; i < ARRAY_SIZE(pasids); i++) {
            uint64_t root;

            if (pasids[i] >> (9 * t.dte.gcr3_levels)) {
                aats_translate_nothing(&t, pasids[i], AATS_IOVA, 0);
                continue;
            }
            aats_translate_nothing(&t, pasids[i], AATS_IOVA, 0);
            root = aats_add_pasid(&t, pasids[i]);
            aats_map_guest(&t, root, AATS_IOVA, 1,
                           (0x100000 + i * KIB4) | GUEST);
            if (pasids[i] > AATS_PASID_MAX) {
                aats_translate_nothing(&t, pasids[i], AATS_IOVA, 0);
                continue;
            }
            aats_translate_page(&t, pasids[i], AATS_IOVA, 0,
                                0x100000 + i * KIB4, KIB4, RW);
        }
    }
    aats_stop(&t);
}

/* Entries of the GCR3 table with reserved bits, and high roots of it */
static void test_gcr3_entries(void)
{
    static const uint64_t reserved[] = {
        1ULL << 1, 1ULL << 11, 1ULL << 52, 1ULL << 63,
    };
    uint64_t root;
    AATSTest t;

    aats_start_guest(&t);
    root = aats_add_pasid(&t, AATS_PASID);
    aats_map_guest(&t, root, AATS_IOVA, 1, 0x5000 | GUEST);
    for (unsigned i = 0; i < ARRAY_SIZE(reserved); i++) {
        qamdvi_set_gcr3(&t.iommu, t.dte.gcr3, 1, AATS_PASID,
                        root | QAMDVI_GCR3_V | reserved[i]);
        aats_translate_nothing(&t, AATS_PASID, AATS_IOVA, 0);
    }
    qamdvi_set_gcr3(&t.iommu, t.dte.gcr3, 1, AATS_PASID, root | QAMDVI_GCR3_V);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA, 0, 0x5000, KIB4, RW);
    aats_stop(&t);
}

/* GIoV: PASID 0 translates requests without PASID */
static void test_giov(void)
{
    uint64_t root;
    AATSTest t;

    aats_start_guest(&t);
    root = aats_add_pasid(&t, 0);
    aats_map_guest(&t, root, AATS_IOVA, 1, 0x5000 | GUEST);
    /* Guest tables translate the interrupt range for PASIDs only */
    aats_map_guest(&t, root, 0xfee00000, 1, 0x7000 | GUEST);
    /* Without GIoV there are no tables for it */
    aats_translate_page(&t, NONE, AATS_IOVA, 0, 0, 2 * GIB1, RW);
    t.dte.lo |= QAMDVI_DTE_GIOV;
    aats_attach(&t);
    aats_translate_page(&t, NONE, AATS_IOVA, 0, 0x5000, KIB4, RW);
    aats_translate_page(&t, 0, AATS_IOVA, 0, 0x5000, KIB4, RW);
    aats_translate(&t, NONE, 0xfee00000, KIB4, 0, 1, 0);
    g_assert_cmphex(t.r[0].perm, ==, PERM_W | PERM_U);
    aats_translate_page(&t, 0, 0xfee00000, 0, 0x7000, KIB4, RW);
    aats_translate_nothing(&t, NONE, AATS_IOVA + KIB4, 0);
    aats_stop(&t);
}

/* IR of the device table entry, which applies to guest tables, too */
static void test_guest_no_read(void)
{
    uint64_t root;
    AATSTest t;

    aats_start_guest(&t);
    root = aats_add_pasid(&t, AATS_PASID);
    aats_map_guest(&t, root, AATS_IOVA, 1, 0x5000 | GUEST);
    t.dte.lo &= ~QAMDVI_DTE_IR;
    aats_attach(&t);
    aats_translate_nothing(&t, AATS_PASID, AATS_IOVA, 0);
    aats_stop(&t);
}

/* ---- Nested tables: guest tables over host tables ---- */

/* Maps RAM to itself, with pages of 2 MiB, with permissions @bits */
static void map_ram(AATSTest *t, uint64_t bits)
{
    for (uint64_t addr = 0; addr < GIB1; addr += MIB2) {
        aats_map_host(t, addr, 2, addr | bits);
    }
}

static void start_nested(AATSTest *t)
{
    aats_start_guest(t);
    t->dte.mode = 4;
    t->dte.root = aats_new_page(t);
    map_ram(t, HOST);
    aats_attach(t);
}

static void test_nested(void)
{
    uint64_t root, entry, large;
    AATSTest t;

    start_nested(&t);
    aats_map_host(&t, 4 * GIB1, 1, 0x5000 | QAMDVI_PTE_PR | QAMDVI_PTE_IR);
    aats_map_host(&t, 4 * GIB1 + KIB4, 1, 0x8000 | HOST);
    aats_map_host(&t, 4 * GIB1 + 3 * KIB4, 1,
                  0xa000 | HOST | QAMDVI_PTE_NEXT(0));
    root = aats_add_pasid(&t, AATS_PASID);
    entry = aats_map_guest(&t, root, AATS_IOVA, 1, (4 * GIB1) | GUEST);
    aats_map_guest(&t, root, AATS_IOVA + KIB4, 1, (4 * GIB1 + KIB4) | GUEST);
    aats_map_guest(&t, root, AATS_IOVA + 2 * KIB4, 1,
                   (4 * GIB1 + 2 * KIB4) | GUEST);
    large = aats_map_guest(&t, root, 2 * GIB1, 2,
                           (4 * GIB1) | GUEST | QAMDVI_GPTE_PS);

    /* Both kinds of tables must grant the permission */
    aats_translate_page(&t, AATS_PASID, AATS_IOVA, 0, 0x5000, KIB4, PERM_R);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==, (4 * GIB1) | GUEST |
                    GUEST_A);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA + KIB4, 0, 0x8000, KIB4, RW);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA + 2 * KIB4, 0, 0, KIB4, 0);
    /* The result has the size of the smaller page */
    aats_translate(&t, AATS_PASID, 2 * GIB1, 4 * KIB4, 0, 4, 1);
    aats_check(&t, 0, 2 * GIB1, 0x5000, KIB4, PERM_R);
    aats_check(&t, 1, 2 * GIB1 + KIB4, 0x8000, KIB4, RW);
    aats_check(&t, 2, 2 * GIB1 + 2 * KIB4, 0, KIB4, 0);
    aats_check(&t, 3, 2 * GIB1 + 3 * KIB4, 0xa000, KIB4, RW);
    g_assert_cmphex(qtest_readq(t.qts, large), ==, (4 * GIB1) | GUEST |
                    QAMDVI_GPTE_PS | GUEST_AD);
    /* Requests without PASID use the host tables only */
    aats_translate_page(&t, NONE, 4 * GIB1 + KIB4, 0, 0x8000, KIB4, RW);
    aats_translate_nothing(&t, NONE, AATS_IOVA + 2 * GIB1, 0);
    aats_stop(&t);
}

/* Host tables that do not allow to read guest tables, or to set flags there */
static void test_nested_tables(void)
{
    uint64_t root, entry;
    AATSTest t;

    start_nested(&t);
    aats_map_host(&t, 4 * GIB1, 1, 0x5000 | HOST);
    root = aats_add_pasid(&t, AATS_PASID);
    entry = aats_map_guest(&t, root, AATS_IOVA, 1, (4 * GIB1) | GUEST);
    map_ram(&t, QAMDVI_PTE_PR | QAMDVI_PTE_IR);
    qamdvi_inval_all(&t.iommu);
    aats_translate_nothing(&t, AATS_PASID, AATS_IOVA, 0);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==, (4 * GIB1) | GUEST);
    /* Let the IOMMU set the flags, so that none is missing */
    map_ram(&t, HOST);
    qamdvi_inval_all(&t.iommu);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA, 0, 0x5000, KIB4, RW);
    map_ram(&t, QAMDVI_PTE_PR | QAMDVI_PTE_IR);
    qamdvi_inval_all(&t.iommu);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA, 0, 0x5000, KIB4, RW);
    map_ram(&t, QAMDVI_PTE_PR | QAMDVI_PTE_IW);
    qamdvi_inval_all(&t.iommu);
    aats_translate_nothing(&t, AATS_PASID, AATS_IOVA, 0);
    aats_stop(&t);
}

/* ---- Requests that cause events (2.5) ---- */

/* Request a translation that is blocked; expect an event */
static void translate_event(AATSTest *t, uint32_t pasid, unsigned code,
                            uint64_t flags, uint64_t addr)
{
    aats_translate(t, pasid, AATS_IOVA, KIB4, 0, 1, 1);
    g_assert_cmphex(t->r[0].perm, ==, 0);
    aats_event(t, code, flags | EV_TR, pasid, addr);
}

/* INVALID_DEVICE_REQUEST (2.5.9): the device may not send the request */
static void test_invalid_request(void)
{
    AATSTest t;

    aats_start_guest(&t);
    aats_map_guest(&t, aats_add_pasid(&t, AATS_PASID), AATS_IOVA, 1,
                   0x5000 | GUEST);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA, 0, 0x5000, KIB4, RW);
    t.dte.hi = 0;
    aats_attach(&t);
    translate_event(&t, AATS_PASID, EV_INVALID_REQUEST, EV_NO_ATS, AATS_IOVA);
    translate_event(&t, NONE, EV_INVALID_REQUEST, EV_NO_ATS, AATS_IOVA);
    t.dte.hi = QAMDVI_DTE_I;
    t.dte.lo &= ~QAMDVI_DTE_GV;
    aats_attach(&t);
    translate_event(&t, AATS_PASID, EV_INVALID_REQUEST, EV_NO_GUEST, AATS_IOVA);
    t.dte.lo &= ~QAMDVI_DTE_V;
    aats_attach(&t);
    translate_event(&t, NONE, EV_INVALID_REQUEST, EV_NO_ATS, AATS_IOVA);
    aats_stop(&t);
}

/*
 * 2.1.2: special addresses cannot be translated in advance, unless IoCtl lets
 * the IOMMU translate them, or the request has a PASID
 */
static void test_special(void)
{
    const uint64_t port_io = 0xfdfc000000, io_ctl_translate = 2ULL << 35;
    static const uint64_t addrs[] = {
        0xfd00000000, 0xfdf8000000, 0xfdf9100000, 0xfdfc000000,
    };
    AATSTest t;

    aats_start_guest(&t);
    aats_map_guest(&t, aats_add_pasid(&t, AATS_PASID), port_io, 1,
                   0x5000 | GUEST);
    for (unsigned i = 0; i < ARRAY_SIZE(addrs); i++) {
        aats_translate(&t, NONE, addrs[i], KIB4, 0, 1, 1);
        g_assert_cmphex(t.r[0].perm, ==, 0);
        aats_event(&t, EV_INVALID_REQUEST, EV_TYPE(1) | EV_TR, NONE, addrs[i]);
    }
    aats_translate_page(&t, AATS_PASID, port_io, 0, 0x5000, KIB4, RW);
    t.dte.hi |= io_ctl_translate;
    aats_attach(&t);
    aats_translate_page(&t, NONE, port_io, 0, port_io, 16 * MIB2, RW);
    aats_stop(&t);
}

/* MMIO 0018h: without GTEn, GV, GIoV and GLX are ignored */
static void test_guest_disabled(void)
{
    AATSTest t;

    aats_start_guest(&t);
    t.dte.lo |= QAMDVI_DTE_GIOV;
    t.dte.gcr3_levels = 4;
    aats_attach(&t);
    qamdvi_enable(&t.iommu, 0);
    translate_event(&t, AATS_PASID, EV_INVALID_REQUEST, EV_NO_GUEST, AATS_IOVA);
    aats_translate_page(&t, NONE, AATS_IOVA, 0, 0, 2 * GIB1, RW);
    qamdvi_enable(&t.iommu, AMDVI_MMIO_CONTROL_GTEN);
    translate_event(&t, NONE, EV_ILLEGAL_DTE, 0, AATS_IOVA);
    aats_stop(&t);
}

/* The IOMMU is disabled: Unsupported Request, without an event */
static void test_disabled(void)
{
    AATSTest t;

    aats_start_guest(&t);
    aats_map_guest(&t, aats_add_pasid(&t, AATS_PASID), AATS_IOVA, 1,
                   0x5000 | GUEST);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA, 0, 0x5000, KIB4, RW);
    aats_translate_page(&t, NONE, AATS_IOVA, 0, 0, 2 * GIB1, RW);
    qamdvi_write(&t.iommu, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_GTEN |
                 AMDVI_MMIO_CONTROL_EVENTLOGEN);
    aats_translate_nothing(&t, AATS_PASID, AATS_IOVA, 0);
    aats_translate_nothing(&t, NONE, AATS_IOVA, 0);
    aats_stop(&t);
}

/* 2.2.2: a DeviceID beyond the device table */
static void test_device_id(void)
{
    AATSTest t;

    aats_start_guest(&t);
    aats_attach(&t);
    qamdvi_attach(&t.iommu, AATS_DEV2, &t.dte);
    g_assert_cmpint(qatd_translate(&t.dev2, NONE, AATS_IOVA, KIB4, 0, t.r, 1),
                    ==, 1);
    g_assert_cmphex(t.r[0].perm, ==, RW);
    /* One page, 128 entries (MMIO 0000h) */
    qamdvi_write(&t.iommu, AMDVI_MMIO_DEVICE_TABLE, t.iommu.devtab);
    aats_translate_page(&t, NONE, AATS_IOVA, 0, 0, 2 * GIB1, RW);
    /* IO_PAGE_FAULT is not reported for translation requests (2.1.3.2) */
    g_assert_cmpint(qatd_translate(&t.dev2, NONE, AATS_IOVA, KIB4, 0, t.r, 1),
                    ==, 1);
    g_assert_cmphex(t.r[0].perm, ==, 0);
    aats_stop(&t);
}

/* ILLEGAL_DEV_TABLE_ENTRY (2.5.2): reserved bits and encodings */
static void test_illegal_entry(void)
{
    static const struct {
        uint64_t bits;
        unsigned mode;
        unsigned gcr3_levels;
        unsigned guest_levels;
        uint64_t flags;
    } cases[] = {
        { 1ULL << 2, 0, 1, 4, EV_RZ },
        { 1ULL << 63, 0, 1, 4, EV_RZ },
        { 0, 7, 1, 4, 0 },
        /* GLX is 3, GuestPagingMode is 2 and 3 */
        { 0, 0, 4, 4, 0 },
        { 0, 0, 1, 6, 0 },
        { 0, 0, 1, 7, 0 },
    };
    AATSTest t;

    aats_start_guest(&t);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        QAMDVIDTE dte = t.dte;

        t.dte.lo |= cases[i].bits;
        t.dte.mode = cases[i].mode;
        t.dte.gcr3_levels = cases[i].gcr3_levels;
        t.dte.guest_levels = cases[i].guest_levels;
        aats_attach(&t);
        translate_event(&t, NONE, EV_ILLEGAL_DTE, cases[i].flags, AATS_IOVA);
        translate_event(&t, AATS_PASID, EV_ILLEGAL_DTE, cases[i].flags,
                        AATS_IOVA);
        t.dte = dte;
    }
    aats_stop(&t);
}

/* 2.5.4, 2.5.5: tables that are not in memory */
static void test_no_memory(void)
{
    uint64_t root, dte;
    AATSTest t;

    aats_start_guest(&t);
    root = aats_add_pasid(&t, AATS_PASID);
    aats_map_guest(&t, root, AATS_IOVA, 1, 0x5000 | GUEST);
    /* A guest table, and the guest root table: the address of the table */
    aats_map_guest(&t, root, AATS_IOVA, 4, AATS_NO_RAM | GUEST);
    translate_event(&t, AATS_PASID, EV_PAGE_TAB_ERROR, EV_ABORT, AATS_NO_RAM);
    qamdvi_set_gcr3(&t.iommu, t.dte.gcr3, 1, AATS_PASID,
                    AATS_NO_RAM | QAMDVI_GCR3_V);
    qamdvi_inval_device(&t.iommu, AATS_DEV);
    translate_event(&t, AATS_PASID, EV_PAGE_TAB_ERROR, EV_ABORT, AATS_NO_RAM);
    /* The GCR3 table: the address of the entry */
    t.dte.gcr3 = AATS_NO_RAM;
    aats_attach(&t);
    translate_event(&t, AATS_PASID, EV_PAGE_TAB_ERROR, EV_ABORT,
                    AATS_NO_RAM + AATS_PASID * 8);
    /* A host table: the address of the entry */
    t.dte.mode = 4;
    t.dte.root = AATS_NO_RAM;
    aats_attach(&t);
    translate_event(&t, NONE, EV_PAGE_TAB_ERROR, EV_ABORT,
                    AATS_NO_RAM + (AATS_IOVA >> 39) * 8);
    /* The device table */
    qamdvi_write(&t.iommu, AMDVI_MMIO_DEVICE_TABLE, AATS_NO_RAM);
    dte = AATS_NO_RAM + AATS_DEV * AMDVI_DEVTAB_ENTRY_SIZE;
    translate_event(&t, NONE, EV_DEV_TAB_ERROR, EV_ABORT, dte);
    translate_event(&t, AATS_PASID, EV_DEV_TAB_ERROR, EV_ABORT, dte);
    aats_stop(&t);
}

/* Guest tables at an address that the host tables do not map, or not to RAM */
static void test_nested_no_memory(void)
{
    AATSTest t;

    start_nested(&t);
    aats_map_host(&t, 4 * GIB1, 1, AATS_NO_RAM | HOST);
    qamdvi_set_gcr3(&t.iommu, t.dte.gcr3, 1, AATS_PASID,
                    4 * GIB1 | QAMDVI_GCR3_V);
    translate_event(&t, AATS_PASID, EV_PAGE_TAB_ERROR, EV_ABORT, AATS_NO_RAM);
    qamdvi_set_gcr3(&t.iommu, t.dte.gcr3, 1, AATS_PASID + 1,
                    (4 * GIB1 + KIB4) | QAMDVI_GCR3_V);
    aats_translate_nothing(&t, AATS_PASID + 1, AATS_IOVA, 0);
    aats_stop(&t);
}

/* ---- Properties ---- */

static void test_info(void)
{
    AATSTest t;

    aats_start(&t, "svm=on", 0);
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_IOTLB_INFO, 0, 0, 0, 0), ==,
                    0);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_ADDR_WIDTH), ==, 64);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_MIN_PAGE_SIZE), ==, KIB4);
    aats_stop(&t);

    aats_start(&t, "device-iotlb=off", 0);
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_IOTLB_INFO, 0, 0, 0, 0), ==,
                    -ENODEV);
    g_assert_cmpint(qatd_translate(&t.dev, NONE, AATS_IOVA, KIB4, 0, t.r, 1),
                    ==, -ENODEV);
    aats_stop(&t);
}

/* MMIO 0018h: without svm=on, GTEn has no effect */
static void test_no_svm(void)
{
    AATSTest t;

    aats_start(&t, "device-iotlb=on", AMDVI_MMIO_CONTROL_GTEN);
    t.dte = (QAMDVIDTE) {
        .lo = QAMDVI_DTE_ON | QAMDVI_DTE_GV | QAMDVI_DTE_GIOV,
        .hi = QAMDVI_DTE_I,
        .domain = AATS_DOMAIN,
        .gcr3_levels = 4,
        .gcr3 = AATS_NO_RAM,
        .guest_levels = 7,
    };
    aats_attach(&t);
    aats_translate_page(&t, NONE, AATS_IOVA, 0, 0, 2 * GIB1, RW);
    translate_event(&t, AATS_PASID, EV_INVALID_REQUEST, EV_NO_GUEST, AATS_IOVA);
    aats_stop(&t);
}

/* The steps of requests have trace events */
static void test_trace(void)
{
    static const char *const events[] = {
        "amdvi_ats_request ", "amdvi_ats_result ", "amdvi_pasid_request ",
        "amdvi_translated_request ", "amdvi_page_fault ",
    };
    g_autofree char *path = qatd_temporary_file();
    g_autofree char *args = NULL, *log = NULL;
    AATSTest t;

    args = g_strdup_printf("-D %s -trace amdvi_*", path);
    aats_start_guest_with(&t, args);
    aats_map_guest(&t, aats_add_pasid(&t, AATS_PASID), AATS_IOVA, 1,
                   0x5000 | GUEST);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA, 0, 0x5000, KIB4, RW);
    g_assert_true(aats_dma(&t, ATD_CMD_DMA_READ, AATS_PASID, AATS_IOVA, 0));
    g_assert_true(aats_dma(&t, ATD_CMD_DMA_READ, NONE, 0x5000,
                           ATD_FLAG_TRANSLATED));
    /* A page that is not present */
    g_assert_false(aats_dma(&t, ATD_CMD_DMA_READ, AATS_PASID, 0, 0));
    aats_event(&t, EV_PAGE_FAULT, EV_US, AATS_PASID, 0);
    aats_stop(&t);

    g_assert_true(g_file_get_contents(path, &log, NULL, NULL));
    unlink(path);
    if (!log[0]) {
        g_test_skip("this build does not write traces to the log");
        return;
    }
    for (unsigned i = 0; i < ARRAY_SIZE(events); i++) {
        if (!strstr(log, events[i])) {
            g_error("trace event %s is missing: %s", events[i], log);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-iommu/ats/host", test_host);
    qtest_add_func("/amd-iommu/ats/host-sizes", test_host_sizes);
    qtest_add_func("/amd-iommu/ats/range", test_range);
    qtest_add_func("/amd-iommu/ats/identity", test_identity);
    qtest_add_func("/amd-iommu/ats/interrupt-range", test_interrupt_range);
    qtest_add_func("/amd-iommu/ats/guest", test_guest);
    qtest_add_func("/amd-iommu/ats/guest-holes", test_guest_holes);
    qtest_add_func("/amd-iommu/ats/privilege", test_privilege);
    qtest_add_func("/amd-iommu/ats/five-levels", test_five_levels);
    qtest_add_func("/amd-iommu/ats/gcr3-levels", test_gcr3_levels);
    qtest_add_func("/amd-iommu/ats/gcr3-entries", test_gcr3_entries);
    qtest_add_func("/amd-iommu/ats/giov", test_giov);
    qtest_add_func("/amd-iommu/ats/guest-no-read", test_guest_no_read);
    qtest_add_func("/amd-iommu/ats/nested", test_nested);
    qtest_add_func("/amd-iommu/ats/nested-tables", test_nested_tables);
    qtest_add_func("/amd-iommu/ats/invalid-request", test_invalid_request);
    qtest_add_func("/amd-iommu/ats/special", test_special);
    qtest_add_func("/amd-iommu/ats/guest-disabled", test_guest_disabled);
    qtest_add_func("/amd-iommu/ats/disabled", test_disabled);
    qtest_add_func("/amd-iommu/ats/device-id", test_device_id);
    qtest_add_func("/amd-iommu/ats/illegal-entry", test_illegal_entry);
    qtest_add_func("/amd-iommu/ats/no-memory", test_no_memory);
    qtest_add_func("/amd-iommu/ats/nested-no-memory", test_nested_no_memory);
    qtest_add_func("/amd-iommu/ats/info", test_info);
    qtest_add_func("/amd-iommu/ats/no-svm", test_no_svm);
    qtest_add_func("/amd-iommu/ats/trace", test_trace);
    return g_test_run();
}
