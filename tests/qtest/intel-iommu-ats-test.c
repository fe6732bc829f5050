/*
 * QTest testcase for device-TLBs and PASIDs of intel-iommu
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
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd.h"

#define DEV     QATD_BDF(0, 4, 0)
#define DEV2    QATD_BDF(0, 5, 0)
#define DOMAIN  1
#define PASID   5

#define KIB4    0x1000ULL
#define MIB2    0x200000ULL
#define GIB1    0x40000000ULL
#define IOVA    0x12340000ULL

/* Permissions in the results (IOMMUAccessFlags) */
#define R       1
#define W       2
#define PRIV    8
#define U       32

/* First-stage entries (9.7), second-stage entries (9.8) */
#define FS      (VTD_FL_P | VTD_FL_RW | VTD_FL_US)
#define SS      (VTD_SL_R | VTD_SL_W)
#define FS_EA   (1ULL << 10)

/* PASID-table entries (9.6) */
#define PE_P            VTD_PASID_ENTRY_P
#define PE_AW_48        (2ULL << 2)
#define PE_DID          1ULL
#define PE_FSPM_5       (1ULL << 2)
#define PE_FIRST        (PE_P | VTD_SM_PASID_ENTRY_FLT)
#define PE_SECOND       (PE_P | VTD_SM_PASID_ENTRY_SLT | PE_AW_48)
#define PE_NESTED       (PE_P | VTD_SM_PASID_ENTRY_NESTED | PE_AW_48)
#define PE_PASS         (PE_P | VTD_SM_PASID_ENTRY_PT)
#define PE1             (PE_DID | VTD_SM_PASID_ENTRY_PWSNP)

#define CE_ATS          VTD_SM_CONTEXT_ENTRY_DTE
#define CE_PASID        VTD_SM_CONTEXT_ENTRY_PASIDE

typedef struct Test {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QATD dev;
    QATD dev2;
    uint64_t table;             /* second stage, in legacy mode */
    uint64_t dir;               /* PASID directory in scalable mode */
    QATDResult r[16];
} Test;

static void start(Test *t, const char *iommu)
{
    *t = (Test) { };
    t->qts = qtest_initf("-M q35 -nodefaults -device intel-iommu,%s "
                         "-device pci-ats-testdev,addr=4 "
                         "-device pci-ats-testdev,addr=5", iommu);
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    qatd_init(&t->dev, t->qts, DEV, 0);
    qatd_init(&t->dev2, t->qts, DEV2, 1);
    qatd_enable_all(&t->dev, 32);
    qatd_enable_all(&t->dev2, 32);
}

static void start_legacy(Test *t)
{
    start(t, "device-iotlb=on");
    t->table = qvtd_new_table(&t->vtd);
    qvtd_attach(&t->vtd, DEV, DOMAIN, t->table, true);
    qvtd_attach(&t->vtd, DEV2, DOMAIN, t->table, true);
    qvtd_enable(&t->vtd);
}

static void start_scalable(Test *t)
{
    start(t, "device-iotlb=on,x-scalable-mode=on,x-flts=on,x-pasid-mode=on");
    t->vtd.scalable = true;
    t->dir = qvtd_sm_attach(&t->vtd, DEV, CE_ATS | CE_PASID, 0);
    qvtd_enable(&t->vtd);
}

static void stop(Test *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

static uint64_t page(Test *t)
{
    return qvtd_new_table(&t->vtd);
}

static uint64_t map_second(Test *t, uint64_t root, uint64_t addr, uint64_t size,
                           uint64_t entry)
{
    return qvtd_map_entry(&t->vtd, root, 4, addr, size, entry, SS);
}

static uint64_t map_first(Test *t, uint64_t root, uint64_t addr, uint64_t size,
                          uint64_t entry)
{
    return qvtd_map_entry(&t->vtd, root, 4, addr, size, entry, FS);
}

/* A PASID with empty first-stage tables; returns their root */
static uint64_t first_stage_bits(Test *t, uint32_t pasid, uint64_t pe2)
{
    uint64_t root = page(t);

    qvtd_sm_pasid(&t->vtd, t->dir, pasid, PE_FIRST, PE1, root | pe2);
    return root;
}

static uint64_t first_stage(Test *t, uint32_t pasid)
{
    return first_stage_bits(t, pasid, 0);
}

/* Expect @n results for a translation request, @errors without permission */
static void translate(Test *t, uint32_t pasid, uint64_t addr, uint64_t length,
                      uint64_t flags, int64_t n, uint64_t errors)
{
    memset(t->r, 0xff, sizeof(t->r));
    g_assert_cmpint(qatd_translate(&t->dev, pasid, addr, length, flags, t->r,
                                   ARRAY_SIZE(t->r)), ==, n);
    g_assert_cmpuint(qatd_read(&t->dev, ATD_ERR_COUNT), ==, errors);
    for (int i = 0; i < n; i++) {
        g_assert_cmphex(t->r[i].pasid, ==, pasid);
    }
}

static void check(Test *t, int i, uint64_t iova, uint64_t out, uint64_t size,
                  uint32_t perm)
{
    g_assert_cmphex(t->r[i].iova, ==, iova);
    g_assert_cmphex(t->r[i].addr_mask, ==, size - 1);
    g_assert_cmphex(t->r[i].perm, ==, perm);
    if (perm & (R | W) && !(perm & U)) {
        g_assert_cmphex(t->r[i].translated_addr, ==, out);
    }
}

/* Request the translation of one page, and expect one result */
static void translate_page(Test *t, uint32_t pasid, uint64_t addr,
                           uint64_t flags, uint64_t out, uint64_t size,
                           uint32_t perm)
{
    translate(t, pasid, addr, KIB4, flags, 1, !(perm & (R | W)));
    check(t, 0, addr & ~(size - 1), out, size, perm);
}

static void no_fault(Test *t)
{
    g_assert_cmphex(qvtd_readl(t->qts, DMAR_FSTS_REG) & 0x7f, ==, 0);
}

/* Expect a fault (11.4.7.6), and clear it */
static void fault(Test *t, uint8_t reason, unsigned at, uint32_t pasid,
                  uint64_t addr, bool is_write)
{
    QVtdFault fault;

    g_assert_cmphex(qvtd_readl(t->qts, DMAR_FSTS_REG) & VTD_FSTS_PPF, ==,
                    VTD_FSTS_PPF);
    fault = qvtd_take_fault(t->qts);
    g_assert_cmphex(fault.reason, ==, reason);
    g_assert_cmphex(fault.at, ==, at);
    g_assert_cmphex(fault.sid, ==, DEV);
    g_assert_cmpint(fault.has_pasid, ==, pasid != QATD_NO_PASID);
    if (pasid != QATD_NO_PASID) {
        g_assert_cmphex(fault.pasid, ==, pasid);
    }
    g_assert_cmpint(fault.t1, ==, !is_write);
    g_assert_cmphex(fault.addr, ==, addr & ~(KIB4 - 1));
    qvtd_writel(t->qts, DMAR_FSTS_REG, 0x71);
    no_fault(t);
}

/* Request a translation that is not available; expect a fault with @reason */
static void translate_blocked(Test *t, uint32_t pasid, uint64_t addr,
                              uint8_t reason)
{
    translate(t, pasid, addr, KIB4, 0, 1, 1);
    fault(t, reason, 1, pasid, addr, false);
}

static int64_t dma(Test *t, unsigned command, uint32_t pasid, uint64_t addr,
                   uint64_t flags)
{
    return qatd_command(&t->dev, command, pasid, addr, 4, flags);
}

/* 3.7.1, 4.2.3: permissions and sizes of second-stage pages */
static void test_second_stage(void)
{
    Test t;

    start_legacy(&t);
    map_second(&t, t.table, IOVA, KIB4, 0x5000 | SS);
    map_second(&t, t.table, IOVA + KIB4, KIB4, 0x9000 | VTD_SL_R);
    map_second(&t, t.table, IOVA + 2 * KIB4, KIB4, 0xb000 | VTD_SL_W);
    map_second(&t, t.table, 4 * GIB1, MIB2, 6 * MIB2 | SS);
    map_second(&t, t.table, 8 * GIB1, GIB1, 2 * GIB1 | SS);

    translate_page(&t, QATD_NO_PASID, IOVA, 0, 0x5000, KIB4, R | W);
    translate_page(&t, QATD_NO_PASID, IOVA, ATD_FLAG_NO_WRITE, 0x5000, KIB4, R);
    /* LGN.2, LGN.3: the result lacks the missing permission, not the others */
    translate_page(&t, QATD_NO_PASID, IOVA + KIB4, 0, 0x9000, KIB4, R);
    translate_page(&t, QATD_NO_PASID, IOVA + 2 * KIB4, 0, 0xb000, KIB4, W);
    translate_page(&t, QATD_NO_PASID, IOVA + 2 * KIB4, ATD_FLAG_NO_WRITE, 0,
                   KIB4, 0);
    translate_page(&t, QATD_NO_PASID, 4 * GIB1 + 0x3000, 0, 6 * MIB2, MIB2,
                   R | W);
    translate_page(&t, QATD_NO_PASID, 8 * GIB1 + MIB2, 0, 2 * GIB1, GIB1,
                   R | W);
    /* The result for an address that is not present has the size of the hole */
    translate_page(&t, QATD_NO_PASID, IOVA + 3 * KIB4, 0, 0, KIB4, 0);
    translate_page(&t, QATD_NO_PASID, IOVA + MIB2, 0, 0, MIB2, 0);
    translate_page(&t, QATD_NO_PASID, 5 * GIB1, 0, 0, GIB1, 0);
    /* LGN.1.1: above the address width */
    translate_page(&t, QATD_NO_PASID, 1ULL << 48, 0, 0, 1ULL << 48, 0);
    no_fault(&t);
    stop(&t);
}

/* 4.2.3.2: translations of a range */
static void test_range(void)
{
    Test t;

    start_legacy(&t);
    for (int i = 0; i < 512; i++) {
        map_second(&t, t.table, i * KIB4, KIB4, (MIB2 + i * KIB4) | SS);
    }
    translate(&t, QATD_NO_PASID, 0, MIB2, 0, 1, 0);
    check(&t, 0, 0, MIB2, MIB2, R | W);

    map_second(&t, t.table, 4 * KIB4, KIB4, 0);
    map_second(&t, t.table, 6 * KIB4, KIB4, 0x7000 | VTD_SL_R);
    /* The request need not be aligned */
    translate(&t, QATD_NO_PASID, 2 * KIB4 + 1, 6 * KIB4 - 1, 0, 5, 1);
    check(&t, 0, 2 * KIB4, MIB2 + 2 * KIB4, 2 * KIB4, R | W);
    check(&t, 1, 4 * KIB4, 0, KIB4, 0);
    check(&t, 2, 5 * KIB4, MIB2 + 5 * KIB4, KIB4, R | W);
    check(&t, 3, 6 * KIB4, 0x7000, KIB4, R);
    check(&t, 4, 7 * KIB4, MIB2 + 7 * KIB4, KIB4, R | W);

    /* The buffer is too short: it holds the first results */
    g_assert_cmpint(qatd_translate(&t.dev, QATD_NO_PASID, 2 * KIB4, 6 * KIB4, 0,
                                   t.r, 2), ==, -ENOMEM);
    check(&t, 0, 2 * KIB4, MIB2 + 2 * KIB4, 2 * KIB4, R | W);
    check(&t, 1, 4 * KIB4, 0, KIB4, 0);

    /* The last page of the address space */
    translate(&t, QATD_NO_PASID, -KIB4, KIB4, 0, 1, 1);
    no_fault(&t);
    stop(&t);
}

/* S.1, S.2: the interrupt range of requests without PASID */
static void test_interrupt_range(void)
{
    Test t;

    start_legacy(&t);
    map_second(&t, t.table, 3 * GIB1, GIB1, GIB1 | SS);
    translate_page(&t, QATD_NO_PASID, 0xfee01000, 0, 0, 0x100000, W | U);
    translate_page(&t, QATD_NO_PASID, 0xfee01000, ATD_FLAG_NO_WRITE, 0,
                   0x100000, 0);
    /* A large page that contains the range does not hide it */
    translate(&t, QATD_NO_PASID, 0xfedff000, 0x102000, 0, 3, 0);
    check(&t, 0, 0xfec00000, GIB1 + 0x3ec00000, MIB2, R | W);
    check(&t, 1, 0xfee00000, 0, 0x100000, W | U);
    check(&t, 2, 0xfef00000, GIB1 + 0x3ef00000, 0x100000, R | W);
    no_fault(&t);
    /* LGN.4: an output address in the range blocks the request */
    map_second(&t, t.table, IOVA, KIB4, 0xfee00000 | SS);
    translate_page(&t, QATD_NO_PASID, IOVA, 0, 0, KIB4, 0);
    fault(&t, VTD_FR_INTERRUPT_ADDR, 1, QATD_NO_PASID, IOVA, false);
    stop(&t);
}

/* Faults of legacy mode that block translation requests */
static void test_legacy_faults(void)
{
    Test t;
    uint64_t table;

    start_legacy(&t);
    /* RTA.2: no PASIDs in legacy mode; PV and PP are reserved without PASID */
    translate(&t, PASID, IOVA, KIB4, 0, 1, 1);
    fault(&t, VTD_FR_RTADDR_LEGACY_PASID, 1, QATD_NO_PASID, IOVA, false);
    /* LSS.2 */
    map_second(&t, t.table, IOVA, KIB4, 0x5000 | SS | 1ULL << 11);
    translate_page(&t, QATD_NO_PASID, IOVA, 0, 0, KIB4, 0);
    fault(&t, VTD_FR_PAGING_ENTRY_RSVD, 1, QATD_NO_PASID, IOVA, false);
    /* LSS.1: the table is not in memory */
    qvtd_map_entry(&t.vtd, t.table, 4, 9 * GIB1, GIB1, 0, SS);
    table = qtest_readq(t.qts, t.table) & ~(KIB4 - 1);
    qtest_writeq(t.qts, table + 9 * 8, (1ULL << 40) | SS);
    translate_page(&t, QATD_NO_PASID, 9 * GIB1, 0, 0, GIB1, 0);
    fault(&t, VTD_FR_PAGING_ENTRY_INV, 1, QATD_NO_PASID, 9 * GIB1, false);
    /* LCT.4.3 */
    qvtd_attach(&t.vtd, DEV, DOMAIN, 1ULL << 40, true);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, QATD_NO_PASID, IOVA, VTD_FR_CONTEXT_ENTRY_INV);
    /* LCT.5 */
    qvtd_attach(&t.vtd, DEV, DOMAIN, t.table, false);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, QATD_NO_PASID, IOVA, VTD_FR_CONTEXT_ENTRY_TT);
    /* LCT.2 */
    table = qtest_readq(t.qts, t.vtd.root) & ~(KIB4 - 1);
    qtest_memset(t.qts, table + DEV * 16, 0, 16);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, QATD_NO_PASID, IOVA, VTD_FR_CONTEXT_ENTRY_P);
    /* 9.3: FPD applies even if the entry is not present */
    qtest_writeq(t.qts, table + DEV * 16, VTD_CONTEXT_ENTRY_FPD);
    qvtd_inv_global(&t.vtd);
    translate(&t, QATD_NO_PASID, IOVA, KIB4, 0, 1, 1);
    no_fault(&t);
    /* LRT.2, which is not qualified by FPD */
    qtest_writeq(t.qts, t.vtd.root, 0);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, QATD_NO_PASID, IOVA, VTD_FR_ROOT_ENTRY_P);
    /* 4.2.1: Unsupported Request and no fault without translation */
    qvtd_writel(t.qts, DMAR_GCMD_REG, VTD_GCMD_QIE);
    translate(&t, QATD_NO_PASID, IOVA, KIB4, 0, 1, 1);
    no_fault(&t);
    stop(&t);
}

/* 4.2.5: translated requests in legacy mode */
static void test_translated_legacy(void)
{
    uint64_t data;
    Test t;

    start_legacy(&t);
    data = page(&t);
    qtest_writel(t.qts, data, 0x11223344);
    qtest_writel(t.qts, t.dev.data, 0);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, data,
                        ATD_FLAG_TRANSLATED), ==, 0);
    g_assert_cmphex(qtest_readl(t.qts, t.dev.data), ==, 0x11223344);
    no_fault(&t);
    /* LGN.4 */
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_WRITE, QATD_NO_PASID, 0xfee01000,
                        ATD_FLAG_TRANSLATED), !=, 0);
    fault(&t, VTD_FR_INTERRUPT_ADDR, 2, QATD_NO_PASID, 0xfee01000, true);
    /* LCT.5 */
    qvtd_attach(&t.vtd, DEV, DOMAIN, t.table, false);
    qvtd_inv_global(&t.vtd);
    qtest_writel(t.qts, t.dev.data, 0x55667788);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_WRITE, QATD_NO_PASID, data,
                        ATD_FLAG_TRANSLATED), !=, 0);
    g_assert_cmphex(qtest_readl(t.qts, data), ==, 0x11223344);
    fault(&t, VTD_FR_CONTEXT_ENTRY_TT, 2, QATD_NO_PASID, data, true);
    stop(&t);
}

/* Expect that a translated request is blocked, and writes nothing */
static void translated_blocked(Test *t, uint64_t data)
{
    qtest_writel(t->qts, data, 0x11223344);
    qtest_writel(t->qts, t->dev.data, 0x55667788);
    g_assert_cmpint(dma(t, ATD_CMD_DMA_WRITE, QATD_NO_PASID, data,
                        ATD_FLAG_TRANSLATED), !=, 0);
    g_assert_cmphex(qtest_readl(t->qts, data), ==, 0x11223344);
    g_assert_cmpint(dma(t, ATD_CMD_DMA_READ, QATD_NO_PASID, data,
                        ATD_FLAG_TRANSLATED), !=, 0);
    g_assert_cmphex(qtest_readl(t->qts, t->dev.data), ==, 0x55667788);
}

/* 4.2.1: Unsupported Request and no fault while translation is disabled */
static void test_translated_disabled(void)
{
    uint64_t data;
    Test t;

    start_legacy(&t);
    data = page(&t);
    qvtd_writel(t.qts, DMAR_GCMD_REG, VTD_GCMD_QIE);
    translated_blocked(&t, data);
    no_fault(&t);
    /* Untranslated requests are not blocked */
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, data, 0), ==, 0);
    stop(&t);
}

/* LCT.5: pass-through (TT is 10b) blocks all but untranslated requests */
static void test_translated_pass_through(void)
{
    uint64_t data, ce;
    Test t;

    start_legacy(&t);
    data = page(&t);
    ce = (qtest_readq(t.qts, t.vtd.root) & ~(KIB4 - 1)) + DEV * 16;
    qtest_writeq(t.qts, ce, VTD_CONTEXT_TT_PASS_THROUGH | VTD_CONTEXT_ENTRY_P);
    qvtd_inv_global(&t.vtd);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, data, 0), ==, 0);
    no_fault(&t);
    translated_blocked(&t, data);
    fault(&t, VTD_FR_CONTEXT_ENTRY_TT, 2, QATD_NO_PASID, data, true);
    stop(&t);
}

/* 4.2.5: with PGTT 100b the context entry and ATS Enable decide */
static void test_translated_pass_through_scalable(void)
{
    uint64_t data, ce;
    Test t;

    start_scalable(&t);
    data = page(&t);
    ce = qvtd_sm_context(&t.vtd, DEV);
    qvtd_sm_pasid(&t.vtd, t.dir, 0, PE_PASS, PE_DID, 0);
    qvtd_inv_global(&t.vtd);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, data,
                        ATD_FLAG_TRANSLATED), ==, 0);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, 0xfee01000,
                        ATD_FLAG_TRANSLATED), !=, 0);
    fault(&t, VTD_FR_SM_INTERRUPT_ADDR, 2, QATD_NO_PASID, 0xfee01000, false);
    /* ATS is disabled in the function */
    qecam_writew(t.qts, DEV, t.dev.ats + PCI_ATS_CTRL, 0);
    translated_blocked(&t, data);
    fault(&t, VTD_FR_SM_CONTEXT_ENTRY_DTE, 2, QATD_NO_PASID, data, true);
    /* SCT.5 */
    qecam_writew(t.qts, DEV, t.dev.ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    qtest_writeq(t.qts, ce, t.dir | CE_PASID | 1);
    qvtd_inv_global(&t.vtd);
    translated_blocked(&t, data);
    fault(&t, VTD_FR_SM_CONTEXT_ENTRY_DTE, 2, QATD_NO_PASID, data, true);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, data, 0), ==, 0);
    no_fault(&t);
    stop(&t);
}

/* LCT.3 is qualified: FPD suppresses its report (9.3) */
static void test_context_reserved(void)
{
    uint64_t ce;
    Test t;

    start_legacy(&t);
    ce = (qtest_readq(t.qts, t.vtd.root) & ~(KIB4 - 1)) + DEV * 16;
    qtest_writeq(t.qts, ce + 8, qtest_readq(t.qts, ce + 8) | 1ULL << 63);
    qvtd_inv_global(&t.vtd);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, IOVA, 0), !=, 0);
    fault(&t, VTD_FR_CONTEXT_ENTRY_RSVD, 0, QATD_NO_PASID, IOVA, false);
    qtest_writeq(t.qts, ce, qtest_readq(t.qts, ce) | VTD_CONTEXT_ENTRY_FPD);
    qvtd_inv_global(&t.vtd);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, IOVA, 0), !=, 0);
    translate(&t, QATD_NO_PASID, IOVA, KIB4, 0, 1, 1);
    no_fault(&t);
    stop(&t);
}

/* 6.5.2.5: range and target of device-TLB invalidations */
static void test_dev_tlb(void)
{
    static const struct {
        uint64_t addr;
        bool s;
        uint64_t iova;
        uint64_t mask;
    } cases[] = {
        { IOVA, false, IOVA, 0xfff },
        { 0x10000000, true, 0x10000000, 0x1fff },
        { 0x10001000, true, 0x10000000, 0x3fff },
        { 0x1000f000, true, 0x10000000, 0x1ffff },
        { 0x100ff000, true, 0x10000000, 0x1fffff },
        /* Both encodings of the whole address space (6.5.3.3) */
        { 0x7ffffffffffff000, true, 0, UINT64_MAX },
        { 0xfffffffffffff000, true, 0, UINT64_MAX },
    };
    Test t;

    start_legacy(&t);
    qatd_command(&t.dev, ATD_CMD_REGISTER_IOTLB, QATD_NO_PASID, 0, 0, 0);
    qatd_command(&t.dev2, ATD_CMD_REGISTER_IOTLB, QATD_NO_PASID, 0, 0, 0);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        qvtd_inv_device_tlb(&t.vtd, DEV, cases[i].addr, cases[i].s);
        g_assert_cmpuint(qatd_read(&t.dev, ATD_INV_COUNT), ==, i + 1);
        qatd_write(&t.dev, ATD_INV_INDEX, i);
        g_assert_cmphex(qatd_read(&t.dev, ATD_INV_ADDR), ==, cases[i].iova);
        g_assert_cmphex(qatd_read(&t.dev, ATD_INV_MASK), ==, cases[i].mask);
    }
    g_assert_cmpuint(qatd_read(&t.dev2, ATD_INV_COUNT), ==, 0);
    qatd_command(&t.dev, ATD_CMD_UNREGISTER_IOTLB, QATD_NO_PASID, 0, 0, 0);
    qvtd_inv_device_tlb(&t.vtd, DEV, 0, false);
    qvtd_inv_device_tlb(&t.vtd, DEV2, 0, false);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_INV_COUNT), ==,
                     ARRAY_SIZE(cases));
    g_assert_cmpuint(qatd_read(&t.dev2, ATD_INV_COUNT), ==, 1);
    stop(&t);
}

static void inv_pasid(Test *t, uint32_t pasid, uint64_t hi)
{
    qvtd_submit(&t->vtd, VTD_INV_DESC_DEV_PIOTLB | (uint64_t)pasid << 32 |
                         (uint64_t)DEV << 16, hi);
}

static void expect_inv(Test *t, unsigned index, uint32_t pasid, uint64_t addr,
                       uint64_t mask)
{
    qatd_write(&t->dev, ATD_INV_INDEX, index);
    g_assert_cmphex(qatd_read(&t->dev, ATD_INV_PASID), ==, pasid);
    g_assert_cmphex(qatd_read(&t->dev, ATD_INV_ADDR), ==, addr);
    g_assert_cmphex(qatd_read(&t->dev, ATD_INV_MASK), ==, mask);
}

/* 6.5.2.6: PASID-based device-TLB invalidations */
static void test_dev_tlb_pasid(void)
{
    Test t;

    start_scalable(&t);
    qatd_command(&t.dev, ATD_CMD_REGISTER_IOTLB, QATD_NO_PASID, 0, 0, 0);
    qatd_command(&t.dev, ATD_CMD_REGISTER_IOTLB, PASID, 0, 0, 0);
    qatd_command(&t.dev, ATD_CMD_REGISTER_IOTLB, PASID + 1, 0, 0, 0);

    inv_pasid(&t, PASID, IOVA);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_INV_COUNT), ==, 1);
    expect_inv(&t, 0, PASID, IOVA, 0xfff);
    /* S is bit 11 here */
    inv_pasid(&t, PASID + 1, 0x7ffffffffffff000 | 1 << 11);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_INV_COUNT), ==, 2);
    expect_inv(&t, 1, PASID + 1, 0, UINT64_MAX);
    /* No notifier is registered for this PASID */
    inv_pasid(&t, PASID + 2, IOVA);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_INV_COUNT), ==, 2);
    /* GI: all PASIDs */
    inv_pasid(&t, 0, IOVA | 1);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_INV_COUNT), ==, 4);
    /* Without PASID: the same */
    qvtd_inv_device_tlb(&t.vtd, DEV, IOVA, false);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_INV_COUNT), ==, 7);
    stop(&t);
}

/* 6.5.2.9: wait descriptors with every combination of flags */
static void test_wait(void)
{
    Test t;

    for (int scalable = 0; scalable < 2; scalable++) {
        if (scalable) {
            start_scalable(&t);
        } else {
            start_legacy(&t);
        }
        for (unsigned flags = 0; flags < 8; flags++) {
            uint64_t lo = VTD_INV_DESC_WAIT | flags << 4 | 0xabcdULL << 32;
            uint64_t status = page(&t);

            qvtd_submit(&t.vtd, lo, status);
            g_assert_cmphex(qtest_readl(t.qts, status), ==,
                            lo & VTD_INV_DESC_WAIT_SW ? 0xabcd : 0);
            g_assert_cmphex(qvtd_readl(t.qts, DMAR_ICS_REG), ==,
                            !!(lo & VTD_INV_DESC_WAIT_IF));
            qvtd_writel(t.qts, DMAR_ICS_REG, VTD_ICS_IWC);
        }
        no_fault(&t);
        stop(&t);
    }
}

/* 6.5.2.11: the queue stops at an error, and resumes when it is corrected */
static void test_queue_error(void)
{
    static const uint64_t bad[][2] = {
        /* Invalid type */
        { 0xf, 0 },
        /* Reserved bits */
        { VTD_INV_DESC_DEVICE | 1ULL << 4, 0 },
        { VTD_INV_DESC_DEVICE, 2 },
        { VTD_INV_DESC_DEV_PIOTLB | 1ULL << 52, 0 },
        { VTD_INV_DESC_DEV_PIOTLB, 2 },
        { VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_FN | 1ULL << 8, 0 },
        /* Reserved without page request draining */
        { VTD_INV_DESC_WAIT | 1ULL << 7, 0 },
    };
    Test t;

    start_scalable(&t);
    for (int i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t status = page(&t);
        uint64_t at = qvtd_submit_nowait(&t.vtd, bad[i][0], bad[i][1]);
        uint64_t head = qvtd_readq(t.qts, DMAR_IQH_REG);

        g_assert_cmphex(qvtd_readl(t.qts, DMAR_FSTS_REG), ==,
                        VTD_FSTS_IQE);
        g_assert_cmphex(t.vtd.iq + head, ==, at);
        /* Writing the tail does not resume the queue */
        qvtd_submit_nowait(&t.vtd, VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_SW |
                           7ULL << 32, status);
        g_assert_cmphex(qtest_readl(t.qts, status), ==, 0);
        /* Clearing IQE resumes the corrected queue */
        qtest_writeq(t.qts, at, VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_FN);
        qtest_writeq(t.qts, at + 8, 0);
        qvtd_writel(t.qts, DMAR_FSTS_REG, VTD_FSTS_IQE);
        g_assert_cmphex(qtest_readl(t.qts, status), ==, 7);
        no_fault(&t);
    }
    stop(&t);
}

/* 11.2: a quadword access writes two registers of 32 bits */
static void test_register_width(void)
{
    Test t;

    start_legacy(&t);
    qvtd_writeq(t.qts, DMAR_FECTL_REG, 0x1234ULL << 32 | 0x80000000);
    g_assert_cmphex(qvtd_readl(t.qts, DMAR_FECTL_REG), ==, 0x80000000);
    g_assert_cmphex(qvtd_readl(t.qts, DMAR_FEDATA_REG), ==, 0x1234);
    qvtd_writeq(t.qts, DMAR_IECTL_REG, 0x5678ULL << 32);
    g_assert_cmphex(qvtd_readl(t.qts, DMAR_IECTL_REG), ==, 0);
    g_assert_cmphex(qvtd_readl(t.qts, DMAR_IEDATA_REG), ==, 0x5678);
    qvtd_writeq(t.qts, DMAR_IEADDR_REG, 0xfee00000);
    g_assert_cmphex(qvtd_readl(t.qts, DMAR_IEADDR_REG), ==, 0xfee00000);
    stop(&t);
}

/* 3.6.1, 3.6.2, 4.2.3.1: permissions, accessed and dirty bits */
static void test_first_stage(void)
{
    uint64_t root, rw, ro, sup;
    Test t;

    start_scalable(&t);
    root = first_stage(&t, PASID);
    rw = map_first(&t, root, IOVA, KIB4, 0x5000 | FS | VTD_FL_A);
    ro = map_first(&t, root, IOVA + KIB4, KIB4,
                   0x9000 | VTD_FL_P | VTD_FL_US);
    sup = map_first(&t, root, IOVA + 2 * KIB4, KIB4,
                    0xb000 | VTD_FL_P | VTD_FL_RW);
    map_first(&t, root, 4 * GIB1, MIB2, 6 * MIB2 | FS);
    map_first(&t, root, 8 * GIB1, GIB1, 2 * GIB1 | FS);

    translate_page(&t, PASID, IOVA, ATD_FLAG_NO_WRITE, 0x5000, KIB4, R);
    g_assert_cmphex(qtest_readq(t.qts, rw), ==, 0x5000 | FS | VTD_FL_A);
    /* A write permission sets D, even if A is already set */
    translate_page(&t, PASID, IOVA, 0, 0x5000, KIB4, R | W);
    g_assert_cmphex(qtest_readq(t.qts, rw), ==,
                    0x5000 | FS | VTD_FL_A | VTD_FL_D);
    /* SGN.6: a read-only page is not an error */
    translate_page(&t, PASID, IOVA + KIB4, 0, 0x9000, KIB4, R);
    g_assert_cmphex(qtest_readq(t.qts, ro), ==,
                    0x9000 | VTD_FL_P | VTD_FL_US | VTD_FL_A);
    /* SGN.2: A is only set after the permission check */
    translate_page(&t, PASID, IOVA + 2 * KIB4, 0, 0, KIB4, 0);
    g_assert_cmphex(qtest_readq(t.qts, sup), ==,
                    0xb000 | VTD_FL_P | VTD_FL_RW);
    translate_page(&t, PASID, 4 * GIB1, 0, 6 * MIB2, MIB2, R | W);
    translate_page(&t, PASID, 8 * GIB1, 0, 2 * GIB1, GIB1, R | W);
    /* SFS.2, SGN.1 */
    translate_page(&t, PASID, IOVA + 3 * KIB4, 0, 0, KIB4, 0);
    translate_page(&t, PASID, 1ULL << 47, 0, 0, 1ULL << 47, 0);
    /* SFS.3 */
    map_first(&t, root, IOVA + 3 * KIB4, KIB4, 0x5000 | FS | 1ULL << 51);
    translate_page(&t, PASID, IOVA + 3 * KIB4, 0, 0, KIB4, 0);
    no_fault(&t);
    /* Canonical addresses of the upper half */
    map_first(&t, root, -GIB1, KIB4, 0xd000 | FS);
    translate_page(&t, PASID, -GIB1, 0, 0xd000, KIB4, R | W);
    /*
     * RID_PASID is for requests without PASID; results have the PASID of the
     * request
     */
    root = first_stage(&t, 0);
    map_first(&t, root, IOVA, KIB4, 0xf000 | FS);
    translate_page(&t, QATD_NO_PASID, IOVA, 0, 0xf000, KIB4, R | W);
    no_fault(&t);
    stop(&t);
}

/* 3.6, SGN.1: 5-level tables */
static void test_five_levels(void)
{
    uint64_t root, iova = 1ULL << 52;
    Test t;

    start_scalable(&t);
    root = first_stage_bits(&t, PASID, PE_FSPM_5);
    qvtd_map_entry(&t.vtd, root, 5, iova, KIB4, 0x5000 | FS, FS);
    translate_page(&t, PASID, iova, 0, 0x5000, KIB4, R | W);
    translate_page(&t, PASID, 1ULL << 56, 0, 0, 1ULL << 56, 0);
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_IOTLB_INFO, 0, 0, 0, 0), ==,
                    0);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_ADDR_WIDTH), ==, 57);
    no_fault(&t);
    stop(&t);
}

/* 3.6.1: supervisor requests, SRE and WPE; EAFE */
static void test_privileged(void)
{
    uint64_t root, sup, bits = VTD_SM_PASID_ENTRY_SRE;
    Test t;

    start_scalable(&t);
    root = first_stage(&t, PASID);
    sup = map_first(&t, root, IOVA, KIB4, 0x5000 | VTD_FL_P);
    /* SPT.6 */
    translate(&t, PASID, IOVA, KIB4, ATD_FLAG_PRIV, 1, 1);
    no_fault(&t);
    /* SRE: user and supervisor pages; read-only pages without WPE */
    qvtd_sm_pasid(&t.vtd, t.dir, PASID, PE_FIRST, PE1, root | bits);
    qvtd_inv_global(&t.vtd);
    translate_page(&t, PASID, IOVA, ATD_FLAG_PRIV, 0x5000, KIB4, R | W | PRIV);
    translate_page(&t, PASID, IOVA, 0, 0, KIB4, 0);
    bits |= VTD_SM_PASID_ENTRY_WPE | VTD_SM_PASID_ENTRY_EAFE;
    qvtd_sm_pasid(&t.vtd, t.dir, PASID, PE_FIRST, PE1, root | bits);
    qvtd_inv_global(&t.vtd);
    qtest_writeq(t.qts, sup, 0x5000 | VTD_FL_P);
    translate_page(&t, PASID, IOVA, ATD_FLAG_PRIV, 0x5000, KIB4, R | PRIV);
    g_assert_cmphex(qtest_readq(t.qts, sup), ==,
                    0x5000 | VTD_FL_P | VTD_FL_A | FS_EA);
    /* SPT.5: execute requests are not supported */
    translate(&t, PASID, IOVA, KIB4, ATD_FLAG_EXEC, 1, 1);
    no_fault(&t);
    stop(&t);
}

/* 3.7, 3.9: second stage and pass-through with PASID */
static void test_second_stage_pasid(void)
{
    uint64_t root;
    Test t;

    start_scalable(&t);
    root = page(&t);
    map_second(&t, root, IOVA, KIB4, 0x5000 | VTD_SL_R);
    qvtd_sm_pasid(&t.vtd, t.dir, PASID, PE_SECOND | root, PE1, 0);
    translate_page(&t, PASID, IOVA, 0, 0x5000, KIB4, R);
    /* SSS.2 */
    translate_page(&t, PASID, IOVA + KIB4, 0, 0, KIB4, 0);
    no_fault(&t);
    /* SSS.3 blocks the request */
    map_second(&t, root, IOVA, KIB4, 0x5000 | SS | 1ULL << 51);
    translate_page(&t, PASID, IOVA, 0, 0, KIB4, 0);
    fault(&t, VTD_FR_SS_PAGING_ENTRY_RSVD, 1, PASID, IOVA, false);

    qvtd_sm_pasid(&t.vtd, t.dir, PASID + 1, PE_PASS, PE1, 0);
    translate(&t, PASID + 1, IOVA, KIB4, 0, 1, 0);
    g_assert_cmphex(t.r[0].iova, ==, t.r[0].translated_addr);
    g_assert_cmpuint(t.r[0].addr_mask, >=, GIB1 - 1);
    /* SGN.4.2 */
    translate_page(&t, PASID + 1, 1ULL << 48, 0, 0, 1ULL << 48, 0);
    no_fault(&t);
    stop(&t);
}

/* 3.8: nested translation */
static void test_nested(void)
{
    uint64_t fs = 0, ss, entry, ss_entry;
    Test t;

    start_scalable(&t);
    ss = page(&t);
    /* Identity mapping, except for the pages below */
    map_second(&t, ss, 0, GIB1, SS);
    map_second(&t, ss, 4 * GIB1, KIB4, 0x5000 | VTD_SL_R);
    map_second(&t, ss, 4 * GIB1 + KIB4, KIB4, 0x8000 | SS);
    fs = page(&t);
    entry = map_first(&t, fs, IOVA, KIB4, (4 * GIB1) | FS);
    map_first(&t, fs, IOVA + KIB4, KIB4, (4 * GIB1 + KIB4) | FS);
    map_first(&t, fs, IOVA + 2 * KIB4, KIB4, (4 * GIB1 + 2 * KIB4) | FS);
    map_first(&t, fs, 2 * GIB1, MIB2, (4 * GIB1) | FS);
    qvtd_sm_pasid(&t.vtd, t.dir, PASID, PE_NESTED | ss, PE1, fs);

    /* Both stages must grant the permission */
    translate_page(&t, PASID, IOVA, 0, 0x5000, KIB4, R);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==, (4 * GIB1) | FS | VTD_FL_A);
    translate_page(&t, PASID, IOVA + KIB4, 0, 0x8000, KIB4, R | W);
    translate_page(&t, PASID, IOVA + 2 * KIB4, 0, 0, KIB4, 0);
    /* The result has the size of the smaller page */
    translate(&t, PASID, 2 * GIB1, 3 * KIB4, 0, 3, 1);
    check(&t, 0, 2 * GIB1, 0x5000, KIB4, R);
    check(&t, 1, 2 * GIB1 + KIB4, 0x8000, KIB4, R | W);
    check(&t, 2, 2 * GIB1 + 2 * KIB4, 0, KIB4, 0);
    no_fault(&t);
    /* SFS.8: accessed bits in a table that the second stage write-protects */
    ss_entry = map_second(&t, ss, 0, GIB1, VTD_SL_R);
    qvtd_inv_domain(&t.vtd, PE_DID);
    map_first(&t, fs, IOVA + KIB4, KIB4, (4 * GIB1 + KIB4) | FS);
    translate_page(&t, PASID, IOVA + KIB4, 0, 0, KIB4, 0);
    map_first(&t, fs, IOVA + KIB4, KIB4,
              (4 * GIB1 + KIB4) | FS | VTD_FL_A | VTD_FL_D);
    translate_page(&t, PASID, IOVA + KIB4, 0, 0x8000, KIB4, R | W);
    no_fault(&t);
    /* SSS.3 for the address of a first-stage table */
    qtest_writeq(t.qts, ss_entry, SS | 1ULL << 7 | 1ULL << 12);
    qvtd_inv_domain(&t.vtd, PE_DID);
    translate_blocked(&t, PASID, IOVA, VTD_FR_SS_PAGING_ENTRY_RSVD);
    stop(&t);
}

/* 3.15: requests with PASID: the interrupt range is only special as output */
static void test_interrupt_range_pasid(void)
{
    uint64_t root;
    Test t;

    start_scalable(&t);
    root = first_stage(&t, PASID);
    map_first(&t, root, 0xfee00000, KIB4, 0x5000 | FS);
    map_first(&t, root, IOVA, KIB4, 0xfee00000 | FS);
    translate_page(&t, PASID, 0xfee00000, 0, 0x5000, KIB4, R | W);
    no_fault(&t);
    /* SGN.8.2 */
    translate_page(&t, PASID, IOVA, 0, 0, KIB4, 0);
    fault(&t, VTD_FR_SM_INTERRUPT_ADDR, 1, PASID, IOVA, false);
    /* S.3 */
    qvtd_sm_pasid(&t.vtd, t.dir, PASID, PE_PASS, PE1, 0);
    qvtd_inv_global(&t.vtd);
    translate_page(&t, PASID, 0xfee01000, 0, 0, 0x100000, 0);
    no_fault(&t);
    stop(&t);
}

/* Fault conditions of scalable mode in root, context and PASID tables */
static void test_scalable_faults(void)
{
    uint64_t root, pe, ce;
    Test t;

    start_scalable(&t);
    root = first_stage(&t, PASID);
    map_first(&t, root, IOVA, KIB4, 0x5000 | FS);
    ce = qvtd_sm_context(&t.vtd, DEV);
    translate_page(&t, PASID, IOVA, 0, 0x5000, KIB4, R | W);

    /* SPT.2, SPD.2: the PASID is not present, which is not a fault */
    translate(&t, PASID + 1, IOVA, KIB4, 0, 1, 1);
    translate(&t, 1000, IOVA, KIB4, 0, 1, 1);
    no_fault(&t);
    /* SPT.3, SPT.4.2, SPT.4.3 */
    pe = qvtd_sm_pasid(&t.vtd, t.dir, PASID + 1, PE_FIRST | 1 << 5, PE1, root);
    translate_blocked(&t, PASID + 1, IOVA, VTD_FR_PASID_ENTRY_RSVD);
    qtest_writeq(t.qts, pe, PE_P | 5ULL << 6);
    translate_blocked(&t, PASID + 1, IOVA, VTD_FR_PASID_TABLE_ENTRY_INV);
    qvtd_sm_pasid(&t.vtd, t.dir, PASID + 1, PE_FIRST, PE1, root | 2 << 2);
    translate_blocked(&t, PASID + 1, IOVA, VTD_FR_PASID_TABLE_ENTRY_INV);
    /* SFS.4 does not block, like all conditions after the PASID entry */
    qvtd_sm_pasid(&t.vtd, t.dir, PASID + 1, PE_FIRST, PE1, 1ULL << 40);
    translate(&t, PASID + 1, IOVA, KIB4, 0, 1, 1);
    no_fault(&t);
    /* SCT.7, SCT.9 */
    translate_blocked(&t, 8192, IOVA, VTD_FR_SM_PASID_TOO_LARGE);
    translate_blocked(&t, 0, IOVA, VTD_FR_SM_PASID_IS_RID_PASID);
    /* SCT.6 */
    qtest_writeq(t.qts, ce, t.dir | CE_ATS | 1);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, PASID, IOVA, VTD_FR_SM_CONTEXT_ENTRY_PASIDE);
    /* SCT.5, for translation requests and translated requests */
    qtest_writeq(t.qts, ce, t.dir | CE_PASID | 1);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, PASID, IOVA, VTD_FR_SM_CONTEXT_ENTRY_DTE);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, 0x5000,
                        ATD_FLAG_TRANSLATED), !=, 0);
    fault(&t, VTD_FR_SM_CONTEXT_ENTRY_DTE, 2, QATD_NO_PASID, 0x5000, false);
    /* SCT.3: PRE is reserved if page requests are not supported */
    qtest_writeq(t.qts, ce, t.dir | CE_ATS | CE_PASID | 1 << 8 | 1);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, PASID, IOVA, VTD_FR_SM_CONTEXT_ENTRY_RSVD);
    /* SCT.2, SRT.2 */
    qtest_writeq(t.qts, ce, 0);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, PASID, IOVA, VTD_FR_SM_CONTEXT_ENTRY_P);
    qtest_writeq(t.qts, t.vtd.root, 0);
    qvtd_inv_global(&t.vtd);
    translate_blocked(&t, PASID, IOVA, VTD_FR_SM_ROOT_ENTRY_P);
    stop(&t);
}

/* 6.2: entries are cached until an invalidation */
static void test_entry_caches(void)
{
    uint64_t root, pe;
    Test t;

    start_scalable(&t);
    root = first_stage(&t, PASID);
    map_first(&t, root, IOVA, KIB4, 0x5000 | FS);
    translate_page(&t, PASID, IOVA, 0, 0x5000, KIB4, R | W);
    root = page(&t);
    map_first(&t, root, IOVA, KIB4, 0x7000 | FS);
    pe = qvtd_sm_pasid(&t.vtd, t.dir, PASID, PE_FIRST, PE1, root);
    /* PASID-selective PASID-cache invalidation (6.5.2.2) */
    qvtd_submit(&t.vtd, VTD_INV_DESC_PC | 1ULL << 4 | PE_DID << 16 |
                        (uint64_t)PASID << 32, 0);
    translate_page(&t, PASID, IOVA, 0, 0x7000, KIB4, R | W);
    /* Entries that are not present are not cached (CAP.CM is 0) */
    qtest_writeq(t.qts, pe, 0);
    qvtd_inv_global(&t.vtd);
    translate(&t, PASID, IOVA, KIB4, 0, 1, 1);
    qtest_writeq(t.qts, pe, PE_FIRST);
    translate_page(&t, PASID, IOVA, 0, 0x7000, KIB4, R | W);
    no_fault(&t);
    stop(&t);
}

/* Untranslated requests, with and without PASID */
static void test_untranslated(void)
{
    uint64_t root, data, entry;
    Test t;

    start_scalable(&t);
    data = page(&t);
    root = first_stage(&t, 0);
    entry = map_first(&t, root, IOVA, KIB4, data | FS);
    qvtd_sm_pasid(&t.vtd, t.dir, PASID, PE_FIRST, PE1, root);

    /* 3.6.2: a read sets A, a later write sets D */
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, IOVA, 0), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==, data | FS | VTD_FL_A);
    qtest_writel(t.qts, t.dev.data, 0x12345678);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_WRITE, QATD_NO_PASID, IOVA, 0), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==,
                    data | FS | VTD_FL_A | VTD_FL_D);
    g_assert_cmphex(qtest_readl(t.qts, data), ==, 0x12345678);
    qtest_writel(t.qts, t.dev.data, 0xcafe);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_WRITE, PASID, IOVA, 0), ==, 0);
    g_assert_cmphex(qtest_readl(t.qts, data), ==, 0xcafe);
    no_fault(&t);
    /* SFS.2 and SGN.6 are faults for untranslated requests */
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, IOVA + KIB4, 0),
                    !=, 0);
    fault(&t, VTD_FR_FS_PAGING_ENTRY_P, 0, QATD_NO_PASID, IOVA + KIB4, false);
    map_first(&t, root, IOVA + KIB4, KIB4, data | VTD_FL_P | VTD_FL_US);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_WRITE, PASID, IOVA + KIB4, 0), !=, 0);
    fault(&t, VTD_FR_SM_WRITE, 0, PASID, IOVA + KIB4, true);
    /* With PASID, the interrupt range is translated */
    map_first(&t, root, 0xfee00000, KIB4, data | FS);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, PASID, 0xfee00000, 0), ==, 0);
    no_fault(&t);
    stop(&t);
}

/* Without PASID support, the tables of both stages still work */
static void test_untranslated_dirty(void)
{
    uint64_t root, data, entry;
    Test t;

    start(&t, "x-scalable-mode=on,x-flts=on");
    t.vtd.scalable = true;
    t.dir = qvtd_sm_attach(&t.vtd, DEV, 0, 0);
    root = page(&t);
    qvtd_sm_pasid(&t.vtd, t.dir, 0, PE_FIRST, PE_DID, root);
    qvtd_enable(&t.vtd);
    data = page(&t);
    entry = map_first(&t, root, IOVA, KIB4, data | FS);
    /*
     * 3.6.2: the write hits the translation that the read has cached, and sets
     * D
     */
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, IOVA, 0), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==, data | FS | VTD_FL_A);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_WRITE, QATD_NO_PASID, IOVA, 0), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==,
                    data | FS | VTD_FL_A | VTD_FL_D);
    /* The fault has no PASID, like the request */
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, IOVA + KIB4, 0),
                    !=, 0);
    fault(&t, VTD_FR_FS_PAGING_ENTRY_P, 0, QATD_NO_PASID, IOVA + KIB4, false);
    /* SCT.2, not the fault reason of legacy mode */
    qtest_writeq(t.qts, qvtd_sm_context(&t.vtd, DEV), 0);
    qvtd_inv_global(&t.vtd);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, IOVA, 0), !=, 0);
    fault(&t, VTD_FR_SM_CONTEXT_ENTRY_P, 0, QATD_NO_PASID, IOVA, false);
    stop(&t);
}

/* The main loop records the faults of other threads, with the BQL held */
static void wait_fault(Test *t)
{
    for (int i = 0; i < 10000; i++) {
        if (qvtd_readl(t->qts, DMAR_FSTS_REG) & VTD_FSTS_PPF) {
            return;
        }
        g_usleep(1000);
    }
}

/* A thread of the device sends requests without the BQL */
static void test_thread(void)
{
    uint64_t root, data;
    Test t;

    start_scalable(&t);
    data = page(&t);
    root = first_stage(&t, PASID);
    map_first(&t, root, IOVA, KIB4, data | FS);
    /* The fault event interrupt is not masked */
    qvtd_writel(t.qts, DMAR_FEADDR_REG, 0xfee00000);
    qvtd_writel(t.qts, DMAR_FECTL_REG, 0);
    translate_page(&t, PASID, IOVA, ATD_FLAG_THREAD, data, KIB4, R | W);
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_WRITE, QATD_NO_PASID, data,
                        ATD_FLAG_TRANSLATED | ATD_FLAG_THREAD), ==, 0);
    no_fault(&t);
    translate(&t, 8192, IOVA, KIB4, ATD_FLAG_THREAD, 1, 1);
    wait_fault(&t);
    fault(&t, VTD_FR_SM_PASID_TOO_LARGE, 1, 8192, IOVA, false);
    stop(&t);
}

/*
 * The ATC of a device. 3.6.2: a write sets D, even if a read has cached the
 * translation and set A before. 6.5.2.5: a descriptor without PASID
 * invalidates translations with PASID, too, as Linux expects.
 */
static void test_atc(void)
{
    uint64_t root, data, other, entry;
    Test t;

    start_scalable(&t);
    data = page(&t);
    other = page(&t);
    root = first_stage(&t, PASID);
    entry = map_first(&t, root, IOVA, KIB4, data | FS);
    g_assert_cmpint(dma(&t, ATD_CMD_SVM_READ, PASID, IOVA, 0), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==, data | FS | VTD_FL_A);
    qtest_writel(t.qts, t.dev.data, 0x12345678);
    g_assert_cmpint(dma(&t, ATD_CMD_SVM_WRITE, PASID, IOVA, 0), ==, 0);
    g_assert_cmphex(qtest_readl(t.qts, data), ==, 0x12345678);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==,
                    data | FS | VTD_FL_A | VTD_FL_D);

    qtest_writeq(t.qts, entry, other | FS);
    qvtd_inv_pasid_pages(&t.vtd, PE_DID, PASID, IOVA, 0);
    qvtd_inv_device_tlb(&t.vtd, DEV, IOVA, false);
    qtest_writel(t.qts, t.dev.data, 0xcafe);
    g_assert_cmpint(dma(&t, ATD_CMD_SVM_WRITE, PASID, IOVA, 0), ==, 0);
    g_assert_cmphex(qtest_readl(t.qts, other), ==, 0xcafe);
    g_assert_cmphex(qtest_readl(t.qts, data), ==, 0x12345678);
    no_fault(&t);
    stop(&t);
}

/* Start a command in the thread of an idle device */
static void work(QATD *d, unsigned command, uint64_t length)
{
    if (!qatd_read(d, ATD_BUSY)) {
        qatd_start(d, command, PASID, IOVA, length, ATD_FLAG_THREAD);
    }
}

/*
 * 6.5.2.6, 6.5.2.9: after a wait descriptor has completed, no thread of a
 * device uses translations that were invalidated before it.
 */
static void test_threads(void)
{
    uint64_t root, dir, frame[2];
    Test t;

    start_scalable(&t);
    dir = qvtd_sm_attach(&t.vtd, DEV2, CE_ATS | CE_PASID, 0);
    root = first_stage(&t, PASID);
    qvtd_sm_pasid(&t.vtd, dir, PASID, PE_FIRST, PE1, root);
    qvtd_inv_global(&t.vtd);
    frame[0] = page(&t);
    frame[1] = page(&t);
    map_first(&t, root, IOVA, KIB4, frame[0] | FS);
    map_first(&t, root, IOVA + KIB4, KIB4, frame[0] | FS);
    qatd_write(&t.dev2, ATD_MAX_RESULTS, 4);
    qtest_memset(t.qts, t.dev.data, 0x11, 2 * KIB4);
    for (int i = 0; i < 200; i++) {
        uint64_t old = frame[i % 2];

        work(&t.dev, ATD_CMD_SVM_WRITE, 2 * KIB4);
        work(&t.dev2, i % 3 == 0 ? ATD_CMD_TRANSLATE :
             i % 3 == 1 ? ATD_CMD_REGISTER_IOTLB : ATD_CMD_UNREGISTER_IOTLB,
             2 * KIB4);
        map_first(&t, root, IOVA, KIB4, frame[!(i % 2)] | FS);
        map_first(&t, root, IOVA + KIB4, KIB4, frame[!(i % 2)] | FS);
        qvtd_inv_pasid_pages(&t.vtd, PE_DID, PASID, IOVA, 1);
        inv_pasid(&t, PASID, IOVA | 1 << 11);
        /* No thread writes to the old page any more */
        qtest_writel(t.qts, old, 0xa5a5a5a5);
        work(&t.dev, ATD_CMD_SVM_WRITE, 2 * KIB4);
        g_assert_cmphex(qtest_readl(t.qts, old), ==, 0xa5a5a5a5);
    }
    g_assert_cmpint(qatd_wait(&t.dev), ==, 0);
    qatd_wait(&t.dev2);
    no_fault(&t);
    stop(&t);
}

/*
 * 7.3: the fault event of a request from a thread of the device. TCG does not
 * accept a fixed interrupt from a thread without the BQL; an NMI is delivered
 * although the APIC is disabled.
 */
static void test_thread_interrupt(void)
{
    Test t;

    if (!qtest_has_accel("tcg")) {
        g_test_skip("TCG is not available");
        return;
    }
    start(&t, "device-iotlb=on,x-scalable-mode=on,x-flts=on,x-pasid-mode=on "
              "-accel tcg -S");
    t.vtd.scalable = true;
    t.dir = qvtd_sm_attach(&t.vtd, DEV, CE_ATS | CE_PASID, 0);
    qvtd_enable(&t.vtd);
    qvtd_writel(t.qts, DMAR_FEADDR_REG, 0xfee00000);
    qvtd_writel(t.qts, DMAR_FEDATA_REG, 4 << 8);
    qvtd_writel(t.qts, DMAR_FECTL_REG, 0);
    translate(&t, 8192, IOVA, KIB4, ATD_FLAG_THREAD, 1, 1);
    wait_fault(&t);
    fault(&t, VTD_FR_SM_PASID_TOO_LARGE, 1, 8192, IOVA, false);
    stop(&t);
}

/* 4.2.5: translated requests in scalable mode */
static void test_translated_scalable(void)
{
    uint64_t data;
    Test t;

    start_scalable(&t);
    data = page(&t);
    /* The PASID table does not matter: RID_PASID has no entry */
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, data,
                        ATD_FLAG_TRANSLATED), ==, 0);
    no_fault(&t);
    /* SGN.4.1 */
    g_assert_cmpint(dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, 1ULL << 48,
                        ATD_FLAG_TRANSLATED), !=, 0);
    fault(&t, VTD_FR_SM_ADDR_BEYOND_HAW, 2, QATD_NO_PASID, 1ULL << 48, false);
    stop(&t);
}

/* 11.4.2, 11.4.3: capabilities, which depend on both properties */
static void test_capabilities(void)
{
    const uint64_t ecap_new = VTD_ECAP_PSS(20) | VTD_ECAP_NWFS |
                              VTD_ECAP_SMPWC | VTD_ECAP_RPS | VTD_ECAP_EAFS |
                              VTD_ECAP_NEST;
    uint64_t cap, ecap;
    Test t;

    start_scalable(&t);
    cap = qvtd_readq(t.qts, DMAR_CAP_REG);
    ecap = qvtd_readq(t.qts, DMAR_ECAP_REG);
    g_assert_cmphex(cap & VTD_CAP_FS5LP, ==, VTD_CAP_FS5LP);
    g_assert_cmphex(ecap & ecap_new, ==, ecap_new);
    g_assert_cmphex(ecap & (VTD_ECAP_SLTS | VTD_ECAP_FLTS | VTD_ECAP_SRS), ==,
                    VTD_ECAP_SLTS | VTD_ECAP_FLTS | VTD_ECAP_SRS);
    stop(&t);

    start(&t, "x-scalable-mode=on,x-flts=on,x-pasid-mode=on");
    g_assert_cmphex(qvtd_readq(t.qts, DMAR_ECAP_REG) & ecap_new, ==, 0);
    g_assert_cmphex(qvtd_readq(t.qts, DMAR_CAP_REG) & VTD_CAP_FS5LP, ==,
                    0);
    /* No translation requests without device-TLBs */
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_IOTLB_INFO, 0, 0, 0, 0), ==,
                    -ENODEV);
    stop(&t);

    start(&t, "x-scalable-mode=on,x-flts=on,device-iotlb=on");
    g_assert_cmphex(qvtd_readq(t.qts, DMAR_ECAP_REG) & ecap_new, ==, 0);
    stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtd-ats/second-stage", test_second_stage);
    qtest_add_func("/vtd-ats/range", test_range);
    qtest_add_func("/vtd-ats/interrupt-range", test_interrupt_range);
    qtest_add_func("/vtd-ats/legacy-faults", test_legacy_faults);
    qtest_add_func("/vtd-ats/translated-legacy", test_translated_legacy);
    qtest_add_func("/vtd-ats/translated-disabled", test_translated_disabled);
    qtest_add_func("/vtd-ats/translated-pass-through",
                   test_translated_pass_through);
    qtest_add_func("/vtd-ats/translated-pass-through-scalable",
                   test_translated_pass_through_scalable);
    qtest_add_func("/vtd-ats/context-reserved", test_context_reserved);
    qtest_add_func("/vtd-ats/dev-tlb", test_dev_tlb);
    qtest_add_func("/vtd-ats/dev-tlb-pasid", test_dev_tlb_pasid);
    qtest_add_func("/vtd-ats/wait", test_wait);
    qtest_add_func("/vtd-ats/queue-error", test_queue_error);
    qtest_add_func("/vtd-ats/register-width", test_register_width);
    qtest_add_func("/vtd-ats/first-stage", test_first_stage);
    qtest_add_func("/vtd-ats/five-levels", test_five_levels);
    qtest_add_func("/vtd-ats/privileged", test_privileged);
    qtest_add_func("/vtd-ats/second-stage-pasid", test_second_stage_pasid);
    qtest_add_func("/vtd-ats/nested", test_nested);
    qtest_add_func("/vtd-ats/interrupt-range-pasid",
                   test_interrupt_range_pasid);
    qtest_add_func("/vtd-ats/scalable-faults", test_scalable_faults);
    qtest_add_func("/vtd-ats/entry-caches", test_entry_caches);
    qtest_add_func("/vtd-ats/untranslated", test_untranslated);
    qtest_add_func("/vtd-ats/untranslated-dirty", test_untranslated_dirty);
    qtest_add_func("/vtd-ats/thread", test_thread);
    qtest_add_func("/vtd-ats/thread-interrupt", test_thread_interrupt);
    qtest_add_func("/vtd-ats/threads", test_threads);
    qtest_add_func("/vtd-ats/atc", test_atc);
    qtest_add_func("/vtd-ats/translated-scalable", test_translated_scalable);
    qtest_add_func("/vtd-ats/capabilities", test_capabilities);
    return g_test_run();
}
