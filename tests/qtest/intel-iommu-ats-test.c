/*
 * QTest testcase for device-TLBs and PASIDs of intel-iommu: translation
 * requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10; condition codes such as LCT.5
 * are those of its table 30.
 */

#include "qemu/osdep.h"
#include "intel-iommu-ats-common.h"

#define MIB2            0x200000ULL
#define GIB1            0x40000000ULL

/* Second-stage entries (9.8); Extended Access in first-stage entries (9.7) */
#define SS              (VTD_SL_R | VTD_SL_W)
#define FS_EA           (1ULL << 10)

/* PASID-table entries (9.6) */
#define PE_AW_48        (2ULL << 2)
#define PE_FSPM_5       (1ULL << 2)
#define PE_SECOND       (VATS_PE_P | VTD_SM_PASID_ENTRY_SLT | PE_AW_48)
#define PE_NESTED       (VATS_PE_P | VTD_SM_PASID_ENTRY_NESTED | PE_AW_48)

static uint64_t map_second(VatsTest *t, uint64_t root, uint64_t addr,
                           uint64_t size, uint64_t entry)
{
    return qvtd_map_entry(&t->vtd, root, 4, addr, size, entry, SS);
}

/* Request a translation that is not available; expect a fault with @reason */
static void translate_blocked(VatsTest *t, uint32_t pasid, uint64_t addr,
                              uint8_t reason)
{
    vats_translate(t, pasid, addr, KIB4, 0, 1, 1);
    vats_fault(t, reason, 1, pasid, addr, false);
}

/* 3.7.1, 4.2.3: permissions and sizes of second-stage pages */
static void test_second_stage(void)
{
    VatsTest t;

    vats_start_legacy(&t);
    map_second(&t, t.table, VATS_IOVA, KIB4, 0x5000 | SS);
    map_second(&t, t.table, VATS_IOVA + KIB4, KIB4, 0x9000 | VTD_SL_R);
    map_second(&t, t.table, VATS_IOVA + 2 * KIB4, KIB4, 0xb000 | VTD_SL_W);
    map_second(&t, t.table, 4 * GIB1, MIB2, 6 * MIB2 | SS);
    map_second(&t, t.table, 8 * GIB1, GIB1, 2 * GIB1 | SS);

    vats_translate_page(&t, QATD_NO_PASID, VATS_IOVA, 0, 0x5000, KIB4,
                        PERM_R | PERM_W);
    vats_translate_page(&t, QATD_NO_PASID, VATS_IOVA, ATD_FLAG_NO_WRITE, 0x5000,
                        KIB4, PERM_R);
    /* LGN.2, LGN.3: the result lacks the missing permission, not the others */
    vats_translate_page(&t, QATD_NO_PASID, VATS_IOVA + KIB4, 0, 0x9000, KIB4,
                        PERM_R);
    vats_translate_page(&t, QATD_NO_PASID, VATS_IOVA + 2 * KIB4, 0, 0xb000,
                        KIB4, PERM_W);
    vats_translate_page(&t, QATD_NO_PASID, VATS_IOVA + 2 * KIB4,
                        ATD_FLAG_NO_WRITE, 0, KIB4, 0);
    vats_translate_page(&t, QATD_NO_PASID, 4 * GIB1 + 0x3000, 0, 6 * MIB2, MIB2,
                        PERM_R | PERM_W);
    vats_translate_page(&t, QATD_NO_PASID, 8 * GIB1 + MIB2, 0, 2 * GIB1, GIB1,
                        PERM_R | PERM_W);
    /* The result for an address that is not present has the size of the hole */
    vats_translate_page(&t, QATD_NO_PASID, VATS_IOVA + 3 * KIB4, 0, 0, KIB4, 0);
    vats_translate_page(&t, QATD_NO_PASID, VATS_IOVA + MIB2, 0, 0, MIB2, 0);
    vats_translate_page(&t, QATD_NO_PASID, 5 * GIB1, 0, 0, GIB1, 0);
    /* LGN.1.1: above the address width */
    vats_translate_page(&t, QATD_NO_PASID, 1ULL << 48, 0, 0, 1ULL << 48, 0);
    vats_no_fault(&t);
    vats_stop(&t);
}

/* 4.2.3.2: translations of a range */
static void test_range(void)
{
    VatsTest t;

    vats_start_legacy(&t);
    for (int i = 0; i < 512; i++) {
        map_second(&t, t.table, i * KIB4, KIB4, (MIB2 + i * KIB4) | SS);
    }
    vats_translate(&t, QATD_NO_PASID, 0, MIB2, 0, 1, 0);
    vats_check(&t, 0, 0, MIB2, MIB2, PERM_R | PERM_W);

    map_second(&t, t.table, 4 * KIB4, KIB4, 0);
    map_second(&t, t.table, 6 * KIB4, KIB4, 0x7000 | VTD_SL_R);
    /* The request need not be aligned */
    vats_translate(&t, QATD_NO_PASID, 2 * KIB4 + 1, 6 * KIB4 - 1, 0, 5, 1);
    vats_check(&t, 0, 2 * KIB4, MIB2 + 2 * KIB4, 2 * KIB4, PERM_R | PERM_W);
    vats_check(&t, 1, 4 * KIB4, 0, KIB4, 0);
    vats_check(&t, 2, 5 * KIB4, MIB2 + 5 * KIB4, KIB4, PERM_R | PERM_W);
    vats_check(&t, 3, 6 * KIB4, 0x7000, KIB4, PERM_R);
    vats_check(&t, 4, 7 * KIB4, MIB2 + 7 * KIB4, KIB4, PERM_R | PERM_W);

    /* The buffer is too short: it holds the first results */
    g_assert_cmpint(qatd_translate(&t.dev, QATD_NO_PASID, 2 * KIB4, 6 * KIB4, 0,
                                   t.r, 2), ==, -ENOMEM);
    vats_check(&t, 0, 2 * KIB4, MIB2 + 2 * KIB4, 2 * KIB4, PERM_R | PERM_W);
    vats_check(&t, 1, 4 * KIB4, 0, KIB4, 0);

    /* The last page of the address space */
    vats_translate(&t, QATD_NO_PASID, -KIB4, KIB4, 0, 1, 1);
    vats_no_fault(&t);
    vats_stop(&t);
}

/* S.1, S.2: the interrupt range of requests without PASID */
static void test_interrupt_range(void)
{
    VatsTest t;

    vats_start_legacy(&t);
    map_second(&t, t.table, 3 * GIB1, GIB1, GIB1 | SS);
    vats_translate_page(&t, QATD_NO_PASID, 0xfee01000, 0, 0, 0x100000,
                        PERM_W | PERM_U);
    vats_translate_page(&t, QATD_NO_PASID, 0xfee01000, ATD_FLAG_NO_WRITE, 0,
                        0x100000, 0);
    /* A large page that contains the range does not hide it */
    vats_translate(&t, QATD_NO_PASID, 0xfedff000, 0x102000, 0, 3, 0);
    vats_check(&t, 0, 0xfec00000, GIB1 + 0x3ec00000, MIB2, PERM_R | PERM_W);
    vats_check(&t, 1, 0xfee00000, 0, 0x100000, PERM_W | PERM_U);
    vats_check(&t, 2, 0xfef00000, GIB1 + 0x3ef00000, 0x100000, PERM_R | PERM_W);
    vats_no_fault(&t);
    /* LGN.4: an output address in the range blocks the request */
    map_second(&t, t.table, VATS_IOVA, KIB4, 0xfee00000 | SS);
    vats_translate_page(&t, QATD_NO_PASID, VATS_IOVA, 0, 0, KIB4, 0);
    vats_fault(&t, VTD_FR_INTERRUPT_ADDR, 1, QATD_NO_PASID, VATS_IOVA, false);
    vats_stop(&t);
}

/* Faults of legacy mode that block translation requests */
static void test_legacy_faults(void)
{
    VatsTest t;
    uint64_t table;

    vats_start_legacy(&t);
    /* RTA.2: no PASIDs in legacy mode; PV and PP are reserved without PASID */
    vats_translate(&t, VATS_PASID, VATS_IOVA, KIB4, 0, 1, 1);
    vats_fault(&t, VTD_FR_RTADDR_LEGACY_PASID, 1, QATD_NO_PASID, VATS_IOVA,
               false);
    /* LSS.2 */
    map_second(&t, t.table, VATS_IOVA, KIB4, 0x5000 | SS | 1ULL << 11);
    vats_translate_page(&t, QATD_NO_PASID, VATS_IOVA, 0, 0, KIB4, 0);
    vats_fault(&t, VTD_FR_PAGING_ENTRY_RSVD, 1, QATD_NO_PASID, VATS_IOVA,
               false);
    /* LSS.1: the table is not in memory */
    qvtd_map_entry(&t.vtd, t.table, 4, 9 * GIB1, GIB1, 0, SS);
    table = qtest_readq(t.qts, t.table) & ~(KIB4 - 1);
    qtest_writeq(t.qts, table + 9 * 8, (1ULL << 40) | SS);
    vats_translate_page(&t, QATD_NO_PASID, 9 * GIB1, 0, 0, GIB1, 0);
    vats_fault(&t, VTD_FR_PAGING_ENTRY_INV, 1, QATD_NO_PASID, 9 * GIB1, false);
    /* LCT.4.3 */
    qvtd_attach(&t.vtd, VATS_DEV, VATS_DOMAIN, 1ULL << 40, true);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, QATD_NO_PASID, VATS_IOVA, VTD_FR_CONTEXT_ENTRY_INV);
    /* LCT.5 */
    qvtd_attach(&t.vtd, VATS_DEV, VATS_DOMAIN, t.table, false);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, QATD_NO_PASID, VATS_IOVA, VTD_FR_CONTEXT_ENTRY_TT);
    /* LCT.2 */
    table = qtest_readq(t.qts, t.vtd.root) & ~(KIB4 - 1);
    qtest_memset(t.qts, table + VATS_DEV * 16, 0, 16);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, QATD_NO_PASID, VATS_IOVA, VTD_FR_CONTEXT_ENTRY_P);
    /* 9.3: FPD applies even if the entry is not present */
    qtest_writeq(t.qts, table + VATS_DEV * 16, VTD_CONTEXT_ENTRY_FPD);
    qvtd_inv_global(&t.vtd);
    vats_translate(&t, QATD_NO_PASID, VATS_IOVA, KIB4, 0, 1, 1);
    vats_no_fault(&t);
    /* LRT.2, which is not qualified by FPD */
    qtest_writeq(t.qts, t.vtd.root, 0);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, QATD_NO_PASID, VATS_IOVA, VTD_FR_ROOT_ENTRY_P);
    /* 4.2.1: Unsupported Request and no fault without translation */
    qvtd_writel(t.qts, DMAR_GCMD_REG, VTD_GCMD_QIE);
    vats_translate(&t, QATD_NO_PASID, VATS_IOVA, KIB4, 0, 1, 1);
    vats_no_fault(&t);
    vats_stop(&t);
}

/* LCT.3 is qualified: FPD suppresses its report (9.3) */
static void test_context_reserved(void)
{
    uint64_t ce;
    VatsTest t;

    vats_start_legacy(&t);
    ce = (qtest_readq(t.qts, t.vtd.root) & ~(KIB4 - 1)) + VATS_DEV * 16;
    qtest_writeq(t.qts, ce + 8, qtest_readq(t.qts, ce + 8) | 1ULL << 63);
    qvtd_inv_global(&t.vtd);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, VATS_IOVA,
                             0), !=, 0);
    vats_fault(&t, VTD_FR_CONTEXT_ENTRY_RSVD, 0, QATD_NO_PASID, VATS_IOVA,
               false);
    qtest_writeq(t.qts, ce, qtest_readq(t.qts, ce) | VTD_CONTEXT_ENTRY_FPD);
    qvtd_inv_global(&t.vtd);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, VATS_IOVA,
                             0), !=, 0);
    vats_translate(&t, QATD_NO_PASID, VATS_IOVA, KIB4, 0, 1, 1);
    vats_no_fault(&t);
    vats_stop(&t);
}

/* 3.6.1, 3.6.2, 4.2.3.1: permissions, accessed and dirty bits */
static void test_first_stage(void)
{
    uint64_t root, rw, ro, sup;
    VatsTest t;

    vats_start_scalable(&t);
    root = vats_first_stage(&t, VATS_PASID);
    rw = vats_map_first(&t, root, VATS_IOVA, KIB4, 0x5000 | VATS_FS | VTD_FL_A);
    ro = vats_map_first(&t, root, VATS_IOVA + KIB4, KIB4,
                        0x9000 | VTD_FL_P | VTD_FL_US);
    sup = vats_map_first(&t, root, VATS_IOVA + 2 * KIB4, KIB4,
                         0xb000 | VTD_FL_P | VTD_FL_RW);
    vats_map_first(&t, root, 4 * GIB1, MIB2, 6 * MIB2 | VATS_FS);
    vats_map_first(&t, root, 8 * GIB1, GIB1, 2 * GIB1 | VATS_FS);

    vats_translate_page(&t, VATS_PASID, VATS_IOVA, ATD_FLAG_NO_WRITE, 0x5000,
                        KIB4, PERM_R);
    g_assert_cmphex(qtest_readq(t.qts, rw), ==, 0x5000 | VATS_FS | VTD_FL_A);
    /* A write permission sets D, even if A is already set */
    vats_translate_page(&t, VATS_PASID, VATS_IOVA, 0, 0x5000, KIB4,
                        PERM_R | PERM_W);
    g_assert_cmphex(qtest_readq(t.qts, rw), ==,
                    0x5000 | VATS_FS | VTD_FL_A | VTD_FL_D);
    /* SGN.6: a read-only page is not an error */
    vats_translate_page(&t, VATS_PASID, VATS_IOVA + KIB4, 0, 0x9000, KIB4,
                        PERM_R);
    g_assert_cmphex(qtest_readq(t.qts, ro), ==,
                    0x9000 | VTD_FL_P | VTD_FL_US | VTD_FL_A);
    /* SGN.2: A is only set after the permission check */
    vats_translate_page(&t, VATS_PASID, VATS_IOVA + 2 * KIB4, 0, 0, KIB4, 0);
    g_assert_cmphex(qtest_readq(t.qts, sup), ==,
                    0xb000 | VTD_FL_P | VTD_FL_RW);
    vats_translate_page(&t, VATS_PASID, 4 * GIB1, 0, 6 * MIB2, MIB2,
                        PERM_R | PERM_W);
    vats_translate_page(&t, VATS_PASID, 8 * GIB1, 0, 2 * GIB1, GIB1,
                        PERM_R | PERM_W);
    /* SFS.2, SGN.1 */
    vats_translate_page(&t, VATS_PASID, VATS_IOVA + 3 * KIB4, 0, 0, KIB4, 0);
    vats_translate_page(&t, VATS_PASID, 1ULL << 47, 0, 0, 1ULL << 47, 0);
    /* SFS.3 */
    vats_map_first(&t, root, VATS_IOVA + 3 * KIB4, KIB4,
                   0x5000 | VATS_FS | 1ULL << 51);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA + 3 * KIB4, 0, 0, KIB4, 0);
    vats_no_fault(&t);
    /* Canonical addresses of the upper half */
    vats_map_first(&t, root, -GIB1, KIB4, 0xd000 | VATS_FS);
    vats_translate_page(&t, VATS_PASID, -GIB1, 0, 0xd000, KIB4,
                        PERM_R | PERM_W);
    /*
     * RID_PASID is for requests without PASID; results have the PASID of the
     * request
     */
    root = vats_first_stage(&t, 0);
    vats_map_first(&t, root, VATS_IOVA, KIB4, 0xf000 | VATS_FS);
    vats_translate_page(&t, QATD_NO_PASID, VATS_IOVA, 0, 0xf000, KIB4,
                        PERM_R | PERM_W);
    vats_no_fault(&t);
    vats_stop(&t);
}

/* 3.6, SGN.1: 5-level tables */
static void test_five_levels(void)
{
    uint64_t root, iova = 1ULL << 52;
    VatsTest t;

    vats_start_scalable(&t);
    root = vats_first_stage_bits(&t, VATS_PASID, PE_FSPM_5);
    qvtd_map_entry(&t.vtd, root, 5, iova, KIB4, 0x5000 | VATS_FS, VATS_FS);
    vats_translate_page(&t, VATS_PASID, iova, 0, 0x5000, KIB4, PERM_R | PERM_W);
    vats_translate_page(&t, VATS_PASID, 1ULL << 56, 0, 0, 1ULL << 56, 0);
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_IOTLB_INFO, 0, 0, 0, 0), ==,
                    0);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_ADDR_WIDTH), ==, 57);
    vats_no_fault(&t);
    vats_stop(&t);
}

/* 3.6.1: supervisor requests, SRE and WPE; EAFE */
static void test_privileged(void)
{
    uint64_t root, sup, bits = VTD_SM_PASID_ENTRY_SRE;
    VatsTest t;

    vats_start_scalable(&t);
    root = vats_first_stage(&t, VATS_PASID);
    sup = vats_map_first(&t, root, VATS_IOVA, KIB4, 0x5000 | VTD_FL_P);
    /* SPT.6 */
    vats_translate(&t, VATS_PASID, VATS_IOVA, KIB4, ATD_FLAG_PRIV, 1, 1);
    vats_no_fault(&t);
    /* SRE: user and supervisor pages; read-only pages without WPE */
    qvtd_sm_pasid(&t.vtd, t.dir, VATS_PASID, VATS_PE_FIRST, VATS_PE1,
                  root | bits);
    qvtd_inv_global(&t.vtd);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA, ATD_FLAG_PRIV, 0x5000, KIB4,
                        PERM_R | PERM_W | PERM_PRIV);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA, 0, 0, KIB4, 0);
    bits |= VTD_SM_PASID_ENTRY_WPE | VTD_SM_PASID_ENTRY_EAFE;
    qvtd_sm_pasid(&t.vtd, t.dir, VATS_PASID, VATS_PE_FIRST, VATS_PE1,
                  root | bits);
    qvtd_inv_global(&t.vtd);
    qtest_writeq(t.qts, sup, 0x5000 | VTD_FL_P);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA, ATD_FLAG_PRIV, 0x5000, KIB4,
                        PERM_R | PERM_PRIV);
    g_assert_cmphex(qtest_readq(t.qts, sup), ==,
                    0x5000 | VTD_FL_P | VTD_FL_A | FS_EA);
    /* SPT.5: execute requests are not supported */
    vats_translate(&t, VATS_PASID, VATS_IOVA, KIB4, ATD_FLAG_EXEC, 1, 1);
    vats_no_fault(&t);
    vats_stop(&t);
}

/* 3.7, 3.9: second stage and pass-through with PASID */
static void test_second_stage_pasid(void)
{
    uint64_t root;
    VatsTest t;

    vats_start_scalable(&t);
    root = vats_new_page(&t);
    map_second(&t, root, VATS_IOVA, KIB4, 0x5000 | VTD_SL_R);
    qvtd_sm_pasid(&t.vtd, t.dir, VATS_PASID, PE_SECOND | root, VATS_PE1, 0);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA, 0, 0x5000, KIB4, PERM_R);
    /* SSS.2 */
    vats_translate_page(&t, VATS_PASID, VATS_IOVA + KIB4, 0, 0, KIB4, 0);
    vats_no_fault(&t);
    /* SSS.3 blocks the request */
    map_second(&t, root, VATS_IOVA, KIB4, 0x5000 | SS | 1ULL << 51);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA, 0, 0, KIB4, 0);
    vats_fault(&t, VTD_FR_SS_PAGING_ENTRY_RSVD, 1, VATS_PASID, VATS_IOVA,
               false);

    qvtd_sm_pasid(&t.vtd, t.dir, VATS_PASID + 1, VATS_PE_PASS, VATS_PE1, 0);
    vats_translate(&t, VATS_PASID + 1, VATS_IOVA, KIB4, 0, 1, 0);
    g_assert_cmphex(t.r[0].iova, ==, t.r[0].translated_addr);
    g_assert_cmpuint(t.r[0].addr_mask, >=, GIB1 - 1);
    /* SGN.4.2 */
    vats_translate_page(&t, VATS_PASID + 1, 1ULL << 48, 0, 0, 1ULL << 48, 0);
    vats_no_fault(&t);
    vats_stop(&t);
}

/* 3.8: nested translation */
static void test_nested(void)
{
    uint64_t fs = 0, ss, entry, ss_entry;
    VatsTest t;

    vats_start_scalable(&t);
    ss = vats_new_page(&t);
    /* Identity mapping, except for the pages below */
    map_second(&t, ss, 0, GIB1, SS);
    map_second(&t, ss, 4 * GIB1, KIB4, 0x5000 | VTD_SL_R);
    map_second(&t, ss, 4 * GIB1 + KIB4, KIB4, 0x8000 | SS);
    fs = vats_new_page(&t);
    entry = vats_map_first(&t, fs, VATS_IOVA, KIB4, (4 * GIB1) | VATS_FS);
    vats_map_first(&t, fs, VATS_IOVA + KIB4, KIB4, (4 * GIB1 + KIB4) | VATS_FS);
    vats_map_first(&t, fs, VATS_IOVA + 2 * KIB4, KIB4,
                   (4 * GIB1 + 2 * KIB4) | VATS_FS);
    vats_map_first(&t, fs, 2 * GIB1, MIB2, (4 * GIB1) | VATS_FS);
    qvtd_sm_pasid(&t.vtd, t.dir, VATS_PASID, PE_NESTED | ss, VATS_PE1, fs);

    /* Both stages must grant the permission */
    vats_translate_page(&t, VATS_PASID, VATS_IOVA, 0, 0x5000, KIB4, PERM_R);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==,
                    (4 * GIB1) | VATS_FS | VTD_FL_A);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA + KIB4, 0, 0x8000, KIB4,
                        PERM_R | PERM_W);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA + 2 * KIB4, 0, 0, KIB4, 0);
    /* The result has the size of the smaller page */
    vats_translate(&t, VATS_PASID, 2 * GIB1, 3 * KIB4, 0, 3, 1);
    vats_check(&t, 0, 2 * GIB1, 0x5000, KIB4, PERM_R);
    vats_check(&t, 1, 2 * GIB1 + KIB4, 0x8000, KIB4, PERM_R | PERM_W);
    vats_check(&t, 2, 2 * GIB1 + 2 * KIB4, 0, KIB4, 0);
    vats_no_fault(&t);
    /* SFS.8: accessed bits in a table that the second stage write-protects */
    ss_entry = map_second(&t, ss, 0, GIB1, VTD_SL_R);
    qvtd_inv_domain(&t.vtd, VATS_PE_DID);
    vats_map_first(&t, fs, VATS_IOVA + KIB4, KIB4, (4 * GIB1 + KIB4) | VATS_FS);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA + KIB4, 0, 0, KIB4, 0);
    vats_map_first(&t, fs, VATS_IOVA + KIB4, KIB4,
                   (4 * GIB1 + KIB4) | VATS_FS | VTD_FL_A | VTD_FL_D);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA + KIB4, 0, 0x8000, KIB4,
                        PERM_R | PERM_W);
    vats_no_fault(&t);
    /* SSS.3 for the address of a first-stage table */
    qtest_writeq(t.qts, ss_entry, SS | 1ULL << 7 | 1ULL << 12);
    qvtd_inv_domain(&t.vtd, VATS_PE_DID);
    translate_blocked(&t, VATS_PASID, VATS_IOVA, VTD_FR_SS_PAGING_ENTRY_RSVD);
    vats_stop(&t);
}

/* 3.15: requests with PASID: the interrupt range is only special as output */
static void test_interrupt_range_pasid(void)
{
    uint64_t root;
    VatsTest t;

    vats_start_scalable(&t);
    root = vats_first_stage(&t, VATS_PASID);
    vats_map_first(&t, root, 0xfee00000, KIB4, 0x5000 | VATS_FS);
    vats_map_first(&t, root, VATS_IOVA, KIB4, 0xfee00000 | VATS_FS);
    vats_translate_page(&t, VATS_PASID, 0xfee00000, 0, 0x5000, KIB4,
                        PERM_R | PERM_W);
    vats_no_fault(&t);
    /* SGN.8.2 */
    vats_translate_page(&t, VATS_PASID, VATS_IOVA, 0, 0, KIB4, 0);
    vats_fault(&t, VTD_FR_SM_INTERRUPT_ADDR, 1, VATS_PASID, VATS_IOVA, false);
    /* S.3 */
    qvtd_sm_pasid(&t.vtd, t.dir, VATS_PASID, VATS_PE_PASS, VATS_PE1, 0);
    qvtd_inv_global(&t.vtd);
    vats_translate_page(&t, VATS_PASID, 0xfee01000, 0, 0, 0x100000, 0);
    vats_no_fault(&t);
    vats_stop(&t);
}

/* Fault conditions of scalable mode in root, context and PASID tables */
static void test_scalable_faults(void)
{
    uint64_t root, pe, ce;
    VatsTest t;

    vats_start_scalable(&t);
    root = vats_first_stage(&t, VATS_PASID);
    vats_map_first(&t, root, VATS_IOVA, KIB4, 0x5000 | VATS_FS);
    ce = qvtd_sm_context(&t.vtd, VATS_DEV);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA, 0, 0x5000, KIB4,
                        PERM_R | PERM_W);

    /* SPT.2, SPD.2: the PASID is not present, which is not a fault */
    vats_translate(&t, VATS_PASID + 1, VATS_IOVA, KIB4, 0, 1, 1);
    vats_translate(&t, 1000, VATS_IOVA, KIB4, 0, 1, 1);
    vats_no_fault(&t);
    /* SPT.3, SPT.4.2, SPT.4.3 */
    pe = qvtd_sm_pasid(&t.vtd, t.dir, VATS_PASID + 1, VATS_PE_FIRST | 1 << 5,
                       VATS_PE1, root);
    translate_blocked(&t, VATS_PASID + 1, VATS_IOVA, VTD_FR_PASID_ENTRY_RSVD);
    qtest_writeq(t.qts, pe, VATS_PE_P | 5ULL << 6);
    translate_blocked(&t, VATS_PASID + 1, VATS_IOVA,
                      VTD_FR_PASID_TABLE_ENTRY_INV);
    qvtd_sm_pasid(&t.vtd, t.dir, VATS_PASID + 1, VATS_PE_FIRST, VATS_PE1,
                  root | 2 << 2);
    translate_blocked(&t, VATS_PASID + 1, VATS_IOVA,
                      VTD_FR_PASID_TABLE_ENTRY_INV);
    /* SFS.4 does not block, like all conditions after the PASID entry */
    qvtd_sm_pasid(&t.vtd, t.dir, VATS_PASID + 1, VATS_PE_FIRST, VATS_PE1,
                  1ULL << 40);
    vats_translate(&t, VATS_PASID + 1, VATS_IOVA, KIB4, 0, 1, 1);
    vats_no_fault(&t);
    /* SCT.7, SCT.9 */
    translate_blocked(&t, 8192, VATS_IOVA, VTD_FR_SM_PASID_TOO_LARGE);
    translate_blocked(&t, 0, VATS_IOVA, VTD_FR_SM_PASID_IS_RID_PASID);
    /* SCT.6 */
    qtest_writeq(t.qts, ce, t.dir | VATS_CE_ATS | 1);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, VATS_PASID, VATS_IOVA,
                      VTD_FR_SM_CONTEXT_ENTRY_PASIDE);
    /* SCT.5, for translation requests and translated requests */
    qtest_writeq(t.qts, ce, t.dir | VATS_CE_PASID | 1);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, VATS_PASID, VATS_IOVA, VTD_FR_SM_CONTEXT_ENTRY_DTE);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, 0x5000,
                             ATD_FLAG_TRANSLATED), !=, 0);
    vats_fault(&t, VTD_FR_SM_CONTEXT_ENTRY_DTE, 2, QATD_NO_PASID, 0x5000,
               false);
    /* SCT.3: PRE is reserved if page requests are not supported */
    qtest_writeq(t.qts, ce, t.dir | VATS_CE_ATS | VATS_CE_PASID | 1 << 8 | 1);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, VATS_PASID, VATS_IOVA, VTD_FR_SM_CONTEXT_ENTRY_RSVD);
    /* SCT.2, SRT.2 */
    qtest_writeq(t.qts, ce, 0);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, VATS_PASID, VATS_IOVA, VTD_FR_SM_CONTEXT_ENTRY_P);
    qtest_writeq(t.qts, t.vtd.root, 0);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, VATS_PASID, VATS_IOVA, VTD_FR_SM_ROOT_ENTRY_P);
    vats_stop(&t);
}

/* 6.2: entries are cached until an invalidation */
static void test_entry_caches(void)
{
    uint64_t root, pe;
    VatsTest t;

    vats_start_scalable(&t);
    root = vats_first_stage(&t, VATS_PASID);
    vats_map_first(&t, root, VATS_IOVA, KIB4, 0x5000 | VATS_FS);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA, 0, 0x5000, KIB4,
                        PERM_R | PERM_W);
    root = vats_new_page(&t);
    vats_map_first(&t, root, VATS_IOVA, KIB4, 0x7000 | VATS_FS);
    pe = qvtd_sm_pasid(&t.vtd, t.dir, VATS_PASID, VATS_PE_FIRST, VATS_PE1,
                       root);
    /* PASID-selective PASID-cache invalidation (6.5.2.2) */
    qvtd_submit(&t.vtd, VTD_INV_DESC_PC | 1ULL << 4 | VATS_PE_DID << 16 |
                        (uint64_t)VATS_PASID << 32, 0);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA, 0, 0x7000, KIB4,
                        PERM_R | PERM_W);
    /* Entries that are not present are not cached (CAP.CM is 0) */
    qtest_writeq(t.qts, pe, 0);
    qvtd_inv_global(&t.vtd);
    vats_translate(&t, VATS_PASID, VATS_IOVA, KIB4, 0, 1, 1);
    qtest_writeq(t.qts, pe, VATS_PE_FIRST);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA, 0, 0x7000, KIB4,
                        PERM_R | PERM_W);
    vats_no_fault(&t);
    vats_stop(&t);
}

/* 11.4.2, 11.4.3: capabilities, which depend on both properties */
static void test_capabilities(void)
{
    const uint64_t ecap_new = VTD_ECAP_PSS(20) | VTD_ECAP_NWFS |
                              VTD_ECAP_SMPWC | VTD_ECAP_RPS | VTD_ECAP_EAFS |
                              VTD_ECAP_NEST;
    uint64_t cap, ecap;
    VatsTest t;

    vats_start_scalable(&t);
    cap = qvtd_readq(t.qts, DMAR_CAP_REG);
    ecap = qvtd_readq(t.qts, DMAR_ECAP_REG);
    g_assert_cmphex(cap & VTD_CAP_FS5LP, ==, VTD_CAP_FS5LP);
    g_assert_cmphex(ecap & ecap_new, ==, ecap_new);
    g_assert_cmphex(ecap & (VTD_ECAP_SLTS | VTD_ECAP_FLTS | VTD_ECAP_SRS), ==,
                    VTD_ECAP_SLTS | VTD_ECAP_FLTS | VTD_ECAP_SRS);
    vats_stop(&t);

    vats_start(&t, "x-scalable-mode=on,x-flts=on,x-pasid-mode=on");
    g_assert_cmphex(qvtd_readq(t.qts, DMAR_ECAP_REG) & ecap_new, ==, 0);
    g_assert_cmphex(qvtd_readq(t.qts, DMAR_CAP_REG) & VTD_CAP_FS5LP, ==,
                    0);
    /* No translation requests without device-TLBs */
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_IOTLB_INFO, 0, 0, 0, 0), ==,
                    -ENODEV);
    vats_stop(&t);

    vats_start(&t, "x-scalable-mode=on,x-flts=on,device-iotlb=on");
    g_assert_cmphex(qvtd_readq(t.qts, DMAR_ECAP_REG) & ecap_new, ==, 0);
    vats_stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtd-ats/second-stage", test_second_stage);
    qtest_add_func("/vtd-ats/range", test_range);
    qtest_add_func("/vtd-ats/interrupt-range", test_interrupt_range);
    qtest_add_func("/vtd-ats/legacy-faults", test_legacy_faults);
    qtest_add_func("/vtd-ats/context-reserved", test_context_reserved);
    qtest_add_func("/vtd-ats/first-stage", test_first_stage);
    qtest_add_func("/vtd-ats/five-levels", test_five_levels);
    qtest_add_func("/vtd-ats/privileged", test_privileged);
    qtest_add_func("/vtd-ats/second-stage-pasid", test_second_stage_pasid);
    qtest_add_func("/vtd-ats/nested", test_nested);
    qtest_add_func("/vtd-ats/interrupt-range-pasid",
                   test_interrupt_range_pasid);
    qtest_add_func("/vtd-ats/scalable-faults", test_scalable_faults);
    qtest_add_func("/vtd-ats/entry-caches", test_entry_caches);
    qtest_add_func("/vtd-ats/capabilities", test_capabilities);
    return g_test_run();
}
