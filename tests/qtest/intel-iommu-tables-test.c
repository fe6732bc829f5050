/*
 * QTest testcase for invalid root, context and PASID tables
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tests cause every fault that the specification defines for an entry on
 * the way to a translation (Intel VT-d 5.10, 7.1.3 and table 30).
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd.h"

#define DEV         QATD_BDF(0, 4, 0)
#define PASID       5
#define IOVA        0x12340000ULL
/* Address of registers, which are not memory */
#define REGISTERS   Q35_HOST_BRIDGE_IOMMU_ADDR
/* Below the address width, without memory */
#define NOWHERE     (1ULL << 40)

#define PE_FIRST    (VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT)
#define PE_SECOND   (VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_SLT)
#define PE_NESTED   (VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_NESTED)
#define PE_AW(aw)   ((uint64_t)(aw) << 2)

/* Address types in the fault recording register (11.4.7.6) */
enum { AT_UNTRANSLATED, AT_TRANSLATION, AT_TRANSLATED };

typedef struct Test {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QATD dev;
    uint64_t table;             /* second stage, or PASID directory */
    uint64_t root;              /* root entry of the bus of the device */
    uint64_t context;           /* context entry of the device */
    bool bad_mode; /* the mode makes all descriptors invalid (6.5.2.11) */
} Test;

static void start(Test *t, const char *props)
{
    *t = (Test) { };
    t->qts = qtest_initf("-M q35 -nodefaults -device intel-iommu,"
                         "device-iotlb=on%s -device pci-ats-testdev,addr=4",
                         props);
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    qatd_init(&t->dev, t->qts, DEV, 0);
    qatd_enable_all(&t->dev, 1);
    t->root = t->vtd.root;
}

static void start_legacy(Test *t)
{
    start(t, "");
    t->table = qvtd_new_table(&t->vtd);
    qvtd_attach(&t->vtd, DEV, 1, t->table, true);
    t->context = (qtest_readq(t->qts, t->root) & VTD_ROOT_ENTRY_CTP) + DEV * 16;
    qvtd_enable(&t->vtd);
}

static void start_scalable(Test *t)
{
    start(t, ",x-scalable-mode=on,x-flts=on,x-pasid-mode=on");
    t->vtd.scalable = true;
    t->table = qvtd_sm_attach(&t->vtd, DEV, VTD_SM_CONTEXT_ENTRY_DTE |
                              VTD_SM_CONTEXT_ENTRY_PASIDE, 0);
    t->context = qvtd_sm_context(&t->vtd, DEV);
    qvtd_enable(&t->vtd);
}

static void stop(Test *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

static void no_fault(Test *t)
{
    g_assert_cmphex(qvtd_readl(t->qts, DMAR_FSTS_REG) & VTD_FSTS_PPF, ==, 0);
}

static void expect_fault(Test *t, uint8_t reason, unsigned at)
{
    QVtdFault fault = qvtd_take_fault(t->qts);

    g_assert_cmphex(fault.reason, ==, reason);
    g_assert_cmphex(fault.at, ==, at);
    g_assert_cmphex(fault.sid, ==, DEV);
    no_fault(t);
}

static void invalidate(Test *t)
{
    if (!t->bad_mode) {
        qvtd_inv_global(&t->vtd);
    }
}

/* Expect that a translation request gets no permission, and records a fault */
static void translation_faults(Test *t, uint32_t pasid, uint8_t reason)
{
    QATDResult r;

    invalidate(t);
    g_assert_cmpint(qatd_translate(&t->dev, pasid, IOVA, 4, 0, &r, 1), ==, 1);
    g_assert_cmphex(r.perm & 3, ==, 0);
    expect_fault(t, reason, AT_TRANSLATION);
}

static void translated_faults(Test *t, uint8_t reason)
{
    invalidate(t);
    g_assert_cmpint(qatd_command(&t->dev, ATD_CMD_DMA_READ, QATD_NO_PASID,
                                 t->table, 4, ATD_FLAG_TRANSLATED), !=, 0);
    expect_fault(t, reason, AT_TRANSLATED);
}

/* Expect the same fault for an untranslated request */
static void untranslated_faults(Test *t, uint8_t reason)
{
    invalidate(t);
    g_assert_cmpint(qatd_command(&t->dev, ATD_CMD_DMA_READ, QATD_NO_PASID, IOVA,
                                 4, 0), !=, 0);
    expect_fault(t, reason, AT_UNTRANSLATED);
}

/* Set the entry at @addr to @val for one request */
static void broken(Test *t, uint64_t addr, uint64_t val, uint32_t pasid,
                   uint8_t reason)
{
    uint64_t good = qtest_readq(t->qts, addr);

    qtest_writeq(t->qts, addr, val);
    translation_faults(t, pasid, reason);
    qtest_writeq(t->qts, addr, good);
}

/* 9.1, 9.3 */
static void test_legacy(void)
{
    uint64_t root, lo, hi;
    Test t;

    start_legacy(&t);
    root = qtest_readq(t.qts, t.root);
    lo = qtest_readq(t.qts, t.context);
    hi = qtest_readq(t.qts, t.context + 8);
    broken(&t, t.root, root | 1 << 4, QATD_NO_PASID, VTD_FR_ROOT_ENTRY_RSVD);
    broken(&t, t.root + 8, 1, QATD_NO_PASID, VTD_FR_ROOT_ENTRY_RSVD);
    broken(&t, t.root, NOWHERE | 1, QATD_NO_PASID, VTD_FR_CONTEXT_TABLE_INV);
    broken(&t, t.context, lo | 1 << 4, QATD_NO_PASID,
           VTD_FR_CONTEXT_ENTRY_RSVD);
    broken(&t, t.context + 8, hi | 1 << 7, QATD_NO_PASID,
           VTD_FR_CONTEXT_ENTRY_RSVD);
    broken(&t, t.context + 8, hi | 7, QATD_NO_PASID, VTD_FR_CONTEXT_ENTRY_INV);
    broken(&t, t.context, lo | VTD_CONTEXT_ENTRY_TT, QATD_NO_PASID,
           VTD_FR_CONTEXT_ENTRY_INV);
    /* Pass-through without device-TLB: the entry is valid for other requests */
    broken(&t, t.context, (lo & ~VTD_CONTEXT_ENTRY_TT) |
           VTD_CONTEXT_TT_PASS_THROUGH, QATD_NO_PASID, VTD_FR_CONTEXT_ENTRY_TT);
    qvtd_set_root(t.qts, NOWHERE);
    translation_faults(&t, QATD_NO_PASID, VTD_FR_ROOT_TABLE_INV);
    stop(&t);
}

/* 9.1, 9.4 */
static void test_scalable(void)
{
    uint64_t root, lo;
    Test t;

    start_scalable(&t);
    root = qtest_readq(t.qts, t.root);
    lo = qtest_readq(t.qts, t.context);
    broken(&t, t.root, root | 1 << 4, PASID, VTD_FR_SM_ROOT_ENTRY_RSVD);
    broken(&t, t.root, NOWHERE | 1, PASID, VTD_FR_SM_CONTEXT_TABLE_INV);
    broken(&t, t.context, lo | 1 << 5, PASID, VTD_FR_SM_CONTEXT_ENTRY_RSVD);
    broken(&t, t.context + 16, 1, PASID, VTD_FR_SM_CONTEXT_ENTRY_RSVD);
    /* RID_PASID exceeds the size of the directory */
    broken(&t, t.context + 8, 8192, PASID, VTD_FR_SM_CONTEXT_ENTRY_INV);
    qvtd_set_root(t.qts, NOWHERE | VTD_RTADDR_SMT);
    translation_faults(&t, PASID, VTD_FR_SM_ROOT_TABLE_INV);
    stop(&t);
}

/* 9.5, 9.6 */
static void test_pasid(void)
{
    uint64_t lo, dir, pde, pe;
    Test t;

    start_scalable(&t);
    lo = qtest_readq(t.qts, t.context);
    pe = qvtd_sm_pasid(&t.vtd, t.table, PASID, PE_FIRST, 1, NOWHERE);
    dir = t.table;
    pde = qtest_readq(t.qts, dir);
    broken(&t, t.context, (lo & 0xfff) | NOWHERE, PASID,
           VTD_FR_PASID_DIR_ACCESS_ERR);
    broken(&t, dir, pde | 1 << 2, PASID, VTD_FR_PASID_DIR_ENTRY_RSVD);
    broken(&t, dir, NOWHERE | 1, PASID, VTD_FR_PASID_TABLE_ACCESS_ERR);
    for (int i = 3; i < 8; i++) {
        broken(&t, pe + i * 8, 1, PASID, VTD_FR_PASID_ENTRY_RSVD);
    }
    /* SPT.4: address widths, and a first-stage table beyond the second stage */
    broken(&t, pe, PE_SECOND | PE_AW(7), PASID, VTD_FR_PASID_TABLE_ENTRY_INV);
    qtest_writeq(t.qts, pe + 16, 1ULL << 47);
    broken(&t, pe, PE_NESTED | PE_AW(1), PASID, VTD_FR_PASID_TABLE_ENTRY_INV);
    stop(&t);
}

/* 11.4.6: an invalid translation table mode */
static void test_invalid_mode(void)
{
    Test t;

    start_legacy(&t);
    qvtd_set_root(t.qts, t.vtd.root | 1 << 11);
    t.bad_mode = true;
    translation_faults(&t, QATD_NO_PASID, VTD_FR_RTADDR_INV_TTM);
    translated_faults(&t, VTD_FR_RTADDR_INV_TTM);
    stop(&t);
}

/* PCIe 5.0, 10.2.4: translated requests of a function with ATS disabled */
static void test_ats_disabled(void)
{
    Test t;

    start_legacy(&t);
    qecam_writew(t.qts, DEV, t.dev.ats + PCI_ATS_CTRL, 0);
    translated_faults(&t, VTD_FR_CONTEXT_ENTRY_TT);
    stop(&t);

    start_scalable(&t);
    qecam_writew(t.qts, DEV, t.dev.ats + PCI_ATS_CTRL, 0);
    translated_faults(&t, VTD_FR_SM_CONTEXT_ENTRY_DTE);
    stop(&t);
}

/* 4.2.1: no translation and no fault while translation is disabled */
static void test_translation_disabled(void)
{
    uint64_t page;
    Test t;

    start(&t, ",x-scalable-mode=on,x-flts=on,x-pasid-mode=on");
    page = qvtd_new_table(&t.vtd);
    qtest_writel(t.qts, page, 0x12345678);
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_DMA_READ, PASID, page, 4, 0),
                    ==, 0);
    g_assert_cmphex(qtest_readl(t.qts, t.dev.data), ==, 0x12345678);
    qatd_command(&t.dev, ATD_CMD_DMA_WRITE, QATD_NO_PASID, 0xfee00000, 4,
                 ATD_FLAG_TRANSLATED);
    no_fault(&t);
    stop(&t);
}

/*
 * Table 30, access errors: tables must be in memory. A thread that translates
 * must not access registers, which other threads may use.
 */
static void test_tables_in_mmio(void)
{
    uint64_t good;
    Test t;

    start_legacy(&t);
    qtest_writeq(t.qts, t.table, VTD_SL_RW_MASK | REGISTERS);
    untranslated_faults(&t, VTD_FR_PAGING_ENTRY_INV);

    good = qtest_readq(t.qts, t.root);
    qtest_writeq(t.qts, t.root, VTD_ROOT_ENTRY_P | REGISTERS);
    untranslated_faults(&t, VTD_FR_CONTEXT_TABLE_INV);
    qtest_writeq(t.qts, t.root, good);

    qvtd_set_root(t.qts, REGISTERS);
    untranslated_faults(&t, VTD_FR_ROOT_TABLE_INV);
    stop(&t);

    start_scalable(&t);
    good = qtest_readq(t.qts, t.context);
    qtest_writeq(t.qts, t.context, (good & 0xfff) | REGISTERS);
    untranslated_faults(&t, VTD_FR_PASID_DIR_ACCESS_ERR);
    qtest_writeq(t.qts, t.context, good);

    good = qtest_readq(t.qts, t.table);
    qtest_writeq(t.qts, t.table, VTD_PASID_ENTRY_P | REGISTERS);
    untranslated_faults(&t, VTD_FR_PASID_TABLE_ACCESS_ERR);
    stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/vtd-tables/legacy", test_legacy);
    qtest_add_func("/vtd-tables/scalable", test_scalable);
    qtest_add_func("/vtd-tables/pasid", test_pasid);
    qtest_add_func("/vtd-tables/invalid-mode", test_invalid_mode);
    qtest_add_func("/vtd-tables/ats-disabled", test_ats_disabled);
    qtest_add_func("/vtd-tables/translation-disabled",
                   test_translation_disabled);
    qtest_add_func("/vtd-tables/tables-in-mmio", test_tables_in_mmio);
    return g_test_run();
}
