/*
 * QTest testcase for what intel-iommu blocks, and how it reports that
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
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd.h"

#define DEV     QATD_BDF(0, 4, 0)
#define IOVA    0x12340000ULL

typedef struct Test {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QATD dev;
    uint64_t table;             /* second stage, or PASID directory */
} Test;

static uint64_t csr(uint64_t offset)
{
    return Q35_HOST_BRIDGE_IOMMU_ADDR + offset;
}

static void start(Test *t, const char *iommu)
{
    *t = (Test) { };
    t->qts = qtest_initf("-M q35 -nodefaults -device intel-iommu%s "
                         "-device pci-ats-testdev,addr=4", iommu);
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    qatd_init(&t->dev, t->qts, DEV, 0);
}

static void start_legacy(Test *t, const char *iommu)
{
    start(t, iommu);
    t->table = qvtd_new_table(&t->vtd);
    qvtd_attach(&t->vtd, DEV, 1, t->table, false);
    qvtd_enable(&t->vtd);
}

static void stop(Test *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

static int64_t dma_read(Test *t, uint64_t addr)
{
    return qatd_command(&t->dev, ATD_CMD_DMA_READ, QATD_NO_PASID, addr, 4, 0);
}

static uint32_t fault_status(Test *t)
{
    return qtest_readl(t->qts, csr(DMAR_FSTS_REG));
}

static bool fault_event_pending(Test *t)
{
    return qtest_readl(t->qts, csr(DMAR_FECTL_REG)) & VTD_FECTL_IP;
}

static void cause_fault(Test *t)
{
    g_assert_cmpint(dma_read(t, IOVA), !=, 0);
    g_assert_cmphex(fault_status(t) & VTD_FSTS_PPF, ==, VTD_FSTS_PPF);
}

/* 7.3, 11.4.7.2: no status is left once F is clear */
static void test_event_pending(void)
{
    Test t;

    start_legacy(&t, "");
    cause_fault(&t);
    g_assert_true(fault_event_pending(&t));
    qtest_writeq(t.qts, csr(DMAR_FRCD_REG_0_2), VTD_FRCD_F);
    g_assert_cmphex(fault_status(&t) & VTD_FSTS_PPF, ==, 0);
    g_assert_false(fault_event_pending(&t));

    cause_fault(&t);
    g_assert_true(fault_event_pending(&t));
    qtest_writel(t.qts, csr(DMAR_FRCD_REG_0_3), VTD_FRCD_F >> 32);
    g_assert_false(fault_event_pending(&t));
    stop(&t);
}

/* The same: another status keeps the interrupt pending */
static void test_event_pending_queue_error(void)
{
    uint64_t desc;
    Test t;

    start_legacy(&t, "");
    cause_fault(&t);
    desc = qvtd_submit_nowait(&t.vtd, 0xf, 0);
    g_assert_cmphex(fault_status(&t) & VTD_FSTS_IQE, ==, VTD_FSTS_IQE);
    qtest_writeq(t.qts, csr(DMAR_FRCD_REG_0_2), VTD_FRCD_F);
    g_assert_true(fault_event_pending(&t));

    qtest_writeq(t.qts, desc, VTD_INV_DESC_IEC);
    qtest_writel(t.qts, csr(DMAR_FSTS_REG), VTD_FSTS_IQE);
    g_assert_false(fault_event_pending(&t));
    stop(&t);
}

/* 11.4.7.3, 11.4.9.6, 11.4.11.6: message data has 16 bits, the rest is 0 */
static void test_event_data(void)
{
    static const unsigned regs[] = {
        DMAR_FEDATA_REG, DMAR_IEDATA_REG, DMAR_PEDATA_REG
    };
    QTestState *qts = qtest_init("-M q35 -device intel-iommu,svm=on");

    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
        /* Behind the control register, and with it in one quadword (11.2) */
        qtest_writel(qts, csr(regs[i]), UINT32_MAX);
        g_assert_cmphex(qtest_readl(qts, csr(regs[i])), ==, UINT16_MAX);
        qtest_writeq(qts, csr(regs[i] - 4), 0xabcd1234ULL << 32);
        g_assert_cmphex(qtest_readl(qts, csr(regs[i])), ==, 0x1234);
    }
    qtest_quit(qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/vtd-fault/event/pending", test_event_pending);
    qtest_add_func("/vtd-fault/event/queue-error",
                   test_event_pending_queue_error);
    qtest_add_func("/vtd-fault/event/data", test_event_data);
    return g_test_run();
}
