/*
 * QTest testcase for device-TLBs and PASIDs of intel-iommu: invalidations
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include "intel-iommu-ats-common.h"

/* 6.5.2.5: range and target of device-TLB invalidations */
static void test_dev_tlb(void)
{
    static const struct {
        uint64_t addr;
        bool s;
        uint64_t iova;
        uint64_t mask;
    } cases[] = {
        { VATS_IOVA, false, VATS_IOVA, 0xfff },
        { 0x10000000, true, 0x10000000, 0x1fff },
        { 0x10001000, true, 0x10000000, 0x3fff },
        { 0x1000f000, true, 0x10000000, 0x1ffff },
        { 0x100ff000, true, 0x10000000, 0x1fffff },
        /* Both encodings of the whole address space (6.5.3.3) */
        { 0x7ffffffffffff000, true, 0, UINT64_MAX },
        { 0xfffffffffffff000, true, 0, UINT64_MAX },
    };
    VatsTest t;

    vats_start_legacy(&t);
    qatd_command(&t.dev, ATD_CMD_REGISTER_IOTLB, QATD_NO_PASID, 0, 0, 0);
    qatd_command(&t.dev2, ATD_CMD_REGISTER_IOTLB, QATD_NO_PASID, 0, 0, 0);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        qvtd_inv_device_tlb(&t.vtd, VATS_DEV, cases[i].addr, cases[i].s);
        g_assert_cmpuint(qatd_read(&t.dev, ATD_INV_COUNT), ==, i + 1);
        qatd_write(&t.dev, ATD_INV_INDEX, i);
        g_assert_cmphex(qatd_read(&t.dev, ATD_INV_ADDR), ==, cases[i].iova);
        g_assert_cmphex(qatd_read(&t.dev, ATD_INV_MASK), ==, cases[i].mask);
    }
    g_assert_cmpuint(qatd_read(&t.dev2, ATD_INV_COUNT), ==, 0);
    qatd_command(&t.dev, ATD_CMD_UNREGISTER_IOTLB, QATD_NO_PASID, 0, 0, 0);
    qvtd_inv_device_tlb(&t.vtd, VATS_DEV, 0, false);
    qvtd_inv_device_tlb(&t.vtd, VATS_DEV2, 0, false);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_INV_COUNT), ==,
                     ARRAY_SIZE(cases));
    g_assert_cmpuint(qatd_read(&t.dev2, ATD_INV_COUNT), ==, 1);
    vats_stop(&t);
}

static void expect_inv(VatsTest *t, unsigned index, uint32_t pasid,
                       uint64_t addr, uint64_t mask)
{
    qatd_write(&t->dev, ATD_INV_INDEX, index);
    g_assert_cmphex(qatd_read(&t->dev, ATD_INV_PASID), ==, pasid);
    g_assert_cmphex(qatd_read(&t->dev, ATD_INV_ADDR), ==, addr);
    g_assert_cmphex(qatd_read(&t->dev, ATD_INV_MASK), ==, mask);
}

/* 6.5.2.6: PASID-based device-TLB invalidations */
static void test_dev_tlb_pasid(void)
{
    VatsTest t;

    vats_start_scalable(&t);
    qatd_command(&t.dev, ATD_CMD_REGISTER_IOTLB, QATD_NO_PASID, 0, 0, 0);
    qatd_command(&t.dev, ATD_CMD_REGISTER_IOTLB, VATS_PASID, 0, 0, 0);
    qatd_command(&t.dev, ATD_CMD_REGISTER_IOTLB, VATS_PASID + 1, 0, 0, 0);

    vats_inv_pasid(&t, VATS_PASID, VATS_IOVA);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_INV_COUNT), ==, 1);
    expect_inv(&t, 0, VATS_PASID, VATS_IOVA, 0xfff);
    /* S is bit 11 here */
    vats_inv_pasid(&t, VATS_PASID + 1, 0x7ffffffffffff000 | 1 << 11);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_INV_COUNT), ==, 2);
    expect_inv(&t, 1, VATS_PASID + 1, 0, UINT64_MAX);
    /* No notifier is registered for this PASID */
    vats_inv_pasid(&t, VATS_PASID + 2, VATS_IOVA);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_INV_COUNT), ==, 2);
    /* GI: all PASIDs */
    vats_inv_pasid(&t, 0, VATS_IOVA | 1);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_INV_COUNT), ==, 4);
    /* Without PASID: the same */
    qvtd_inv_device_tlb(&t.vtd, VATS_DEV, VATS_IOVA, false);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_INV_COUNT), ==, 7);
    vats_stop(&t);
}

/* 6.5.2.9: wait descriptors with every combination of flags */
static void test_wait(void)
{
    VatsTest t;

    for (int scalable = 0; scalable < 2; scalable++) {
        if (scalable) {
            vats_start_scalable(&t);
        } else {
            vats_start_legacy(&t);
        }
        for (unsigned flags = 0; flags < 8; flags++) {
            uint64_t lo = VTD_INV_DESC_WAIT | flags << 4 | 0xabcdULL << 32;
            uint64_t status = vats_new_page(&t);

            qvtd_submit(&t.vtd, lo, status);
            g_assert_cmphex(qtest_readl(t.qts, status), ==,
                            lo & VTD_INV_DESC_WAIT_SW ? 0xabcd : 0);
            g_assert_cmphex(qvtd_readl(t.qts, DMAR_ICS_REG), ==,
                            !!(lo & VTD_INV_DESC_WAIT_IF));
            qvtd_writel(t.qts, DMAR_ICS_REG, VTD_ICS_IWC);
        }
        vats_no_fault(&t);
        vats_stop(&t);
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
    VatsTest t;

    vats_start_scalable(&t);
    for (int i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t status = vats_new_page(&t);
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
        vats_no_fault(&t);
    }
    vats_stop(&t);
}

/* 11.2: a quadword access writes two registers of 32 bits */
static void test_register_width(void)
{
    VatsTest t;

    vats_start_legacy(&t);
    qvtd_writeq(t.qts, DMAR_FECTL_REG, 0x1234ULL << 32 | 0x80000000);
    g_assert_cmphex(qvtd_readl(t.qts, DMAR_FECTL_REG), ==, 0x80000000);
    g_assert_cmphex(qvtd_readl(t.qts, DMAR_FEDATA_REG), ==, 0x1234);
    qvtd_writeq(t.qts, DMAR_IECTL_REG, 0x5678ULL << 32);
    g_assert_cmphex(qvtd_readl(t.qts, DMAR_IECTL_REG), ==, 0);
    g_assert_cmphex(qvtd_readl(t.qts, DMAR_IEDATA_REG), ==, 0x5678);
    qvtd_writeq(t.qts, DMAR_IEADDR_REG, 0xfee00000);
    g_assert_cmphex(qvtd_readl(t.qts, DMAR_IEADDR_REG), ==, 0xfee00000);
    vats_stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtd-ats/dev-tlb", test_dev_tlb);
    qtest_add_func("/vtd-ats/dev-tlb-pasid", test_dev_tlb_pasid);
    qtest_add_func("/vtd-ats/wait", test_wait);
    qtest_add_func("/vtd-ats/queue-error", test_queue_error);
    qtest_add_func("/vtd-ats/register-width", test_register_width);
    return g_test_run();
}
