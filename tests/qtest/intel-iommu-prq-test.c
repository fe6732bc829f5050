/*
 * QTest testcase for page requests of intel-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10; condition codes such as SCT.8
 * are those of its table 30.
 */

#include "qemu/osdep.h"
#include "intel-iommu-prq-common.h"

/* Above the end of RAM */
#define NO_RAM  (1ULL << 40)

/* ---- Registers ---- */

static bool queue_error(PrqTest *t)
{
    return prq_readl(t, DMAR_FSTS_REG) & VTD_FSTS_IQE;
}

/* Expect the fault of a page request: T1 is clear and T2 is set (11.4.7.6) */
static void fault(PrqTest *t, uint8_t reason, uint32_t pasid, uint64_t addr)
{
    QVtdFault fault = qvtd_take_fault(t->qts);

    g_assert_cmphex(fault.reason, ==, reason);
    g_assert_false(fault.t1);
    g_assert_true(fault.t2);
    g_assert_cmphex(fault.at, ==, 0);
    g_assert_cmphex(fault.sid, ==, PRQ_DEV);
    g_assert_cmpint(fault.has_pasid, ==, pasid != PRQ_NONE);
    g_assert_cmphex(fault.pasid, ==, pasid != PRQ_NONE ? pasid : 0);
    g_assert_cmphex(fault.addr, ==, addr & ~(KIB4 - 1));
    prq_no_fault(t);
}

/* 11.4.11: default values, and writable bits */
static void test_registers(void)
{
    static const struct {
        uint64_t reg;
        unsigned size;
        uint64_t reset;
        uint64_t written;       /* the value after all ones are written */
    } regs[] = {
        { DMAR_PQH_REG, 8, 0, 0x7ffe0 },
        { DMAR_PQT_REG, 8, 0, 0x7ffe0 },
        { DMAR_PQA_REG, 8, 0, 0xfffffffff007 },
        { 0xd8, 4, 0, 0 },
        { DMAR_PRS_REG, 4, 0, 0 },
        { DMAR_PECTL_REG, 4, 0x80000000, 0x80000000 },
        { DMAR_PEDATA_REG, 4, 0, 0xffff },
        { DMAR_PEADDR_REG, 4, 0, 0xfffffffc },
        { DMAR_PEUADDR_REG, 4, 0, 0 },
    };
    PrqTest t;

    prq_start_with(&t, "svm=on");
    for (int i = 0; i < ARRAY_SIZE(regs); i++) {
        uint64_t reg = regs[i].reg;

        if (regs[i].size == 8) {
            g_assert_cmphex(prq_readq(&t, reg), ==, regs[i].reset);
            prq_writeq(&t, reg, UINT64_MAX);
            g_assert_cmphex(prq_readq(&t, reg), ==, regs[i].written);
            prq_writeq(&t, reg, 0);
            /* Write both halves (11.2) */
            prq_writel(&t, reg, UINT32_MAX);
            g_assert_cmphex(prq_readq(&t, reg), ==, (uint32_t)regs[i].written);
            prq_writel(&t, reg + 4, UINT32_MAX);
            g_assert_cmphex(prq_readq(&t, reg), ==, regs[i].written);
            g_assert_cmphex(prq_readl(&t, reg + 4), ==, regs[i].written >> 32);
        } else {
            g_assert_cmphex(prq_readl(&t, reg), ==, regs[i].reset);
            prq_writel(&t, reg, UINT32_MAX);
            g_assert_cmphex(prq_readl(&t, reg), ==, regs[i].written);
        }
    }
    /* A quadword access writes two registers of 32 bits */
    prq_writeq(&t, DMAR_PECTL_REG, 0x123400000000);
    g_assert_cmphex(prq_readl(&t, DMAR_PECTL_REG), ==, 0);
    g_assert_cmphex(prq_readl(&t, DMAR_PEDATA_REG), ==, 0x1234);
    prq_writeq(&t, DMAR_PEADDR_REG, 0xfee01000);
    g_assert_cmphex(prq_readq(&t, DMAR_PEADDR_REG), ==, 0xfee01000);
    /* A reset restores the default values */
    qtest_system_reset(t.qts);
    for (int i = 0; i < ARRAY_SIZE(regs); i++) {
        g_assert_cmphex(prq_readl(&t, regs[i].reg), ==,
                        (uint32_t)regs[i].reset);
    }
    prq_stop(&t);
}

/* 11.4.11: RsvdZ without ECAP.PRS, which also excludes responses (7.6.1) */
static void test_not_supported(void)
{
    PrqTest t;

    prq_start_with(&t, "x-scalable-mode=on,x-flts=on,x-pasid-mode=on,"
                   "device-iotlb=on");
    for (uint64_t reg = DMAR_PQH_REG; reg <= DMAR_PEUADDR_REG; reg += 4) {
        prq_writel(&t, reg, UINT32_MAX);
        g_assert_cmphex(prq_readl(&t, reg), ==, 0);
    }
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_REGISTER_PRI, PRQ_PASID, 0, 0,
                                 0),
                    ==, -ENODEV);
    qvtd_enable(&t.vtd);
    qvtd_submit_nowait(&t.vtd, VTD_INV_DESC_PAGE_RESPONSE, 0);
    g_assert_true(queue_error(&t));
    prq_stop(&t);
}

/* 6.5.2.9: PD is reserved without ECAP.PDS */
static void test_drain_not_supported(void)
{
    PrqTest t;

    prq_start_with(&t, "x-scalable-mode=on,x-flts=on,x-pasid-mode=on,"
                   "device-iotlb=on");
    qvtd_enable(&t.vtd);
    qvtd_submit_nowait(&t.vtd, VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_PD, 0);
    g_assert_true(queue_error(&t));
    prq_stop(&t);
}

/* 11.4.11.8: the upper address exists with Extended Interrupt Mode */
static void test_upper_address(void)
{
    PrqTest t;

    prq_start_with(&t, "svm=on,intremap=on,eim=on");
    prq_writel(&t, DMAR_PEUADDR_REG, UINT32_MAX);
    g_assert_cmphex(prq_readl(&t, DMAR_PEUADDR_REG), ==, UINT32_MAX);
    prq_stop(&t);
}

/* ---- Requests ---- */

/* 7.4.1.1: the fields of a descriptor */
static void test_descriptor(void)
{
    PrqTest t;

    prq_start(&t);
    prq_expect_queued(&t, 0);
    prq_request(&t.dev, PRQ_NONE, PRQ_ADDR + 0x123, 0x1ff, PRQ_LAST | PRQ_RD);
    prq_request(&t.dev2, PRQ_PASID, -KIB4, 0, PRQ_WR);
    prq_request(&t.dev, PRQ_PASID + 1, 0, 0x155,
                PRQ_LAST | PRQ_RD | PRQ_WR | ATD_FLAG_PRIV);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_RD | ATD_FLAG_EXEC);
    prq_expect_queued(&t, 4);
    prq_next(&t, &(QVtdPageReq) { .sid = PRQ_DEV, .pasid = PRQ_NONE,
                                  .addr = PRQ_ADDR, .prgi = 0x1ff, .last = true,
                                  .read = true });
    prq_next(&t, &(QVtdPageReq) { .sid = PRQ_DEV2, .pasid = PRQ_PASID,
                                  .addr = -KIB4, .write = true });
    prq_next(&t, &(QVtdPageReq) { .sid = PRQ_DEV, .pasid = PRQ_PASID + 1,
                                  .prgi = 0x155, .last = true, .read = true,
                                  .write = true, .priv = true });
    prq_next(&t, &(QVtdPageReq) { .sid = PRQ_DEV, .pasid = PRQ_PASID,
                                  .addr = PRQ_ADDR, .prgi = 1, .read = true,
                                  .exec = true });
    prq_expect_queued(&t, 0);
    prq_no_fault(&t);
    prq_expect_responses(&t.dev, 0);
    prq_expect_responses(&t.dev2, 0);
    prq_stop(&t);
}

/* 11.4.11.3: size of the queue; PQH and PQT wrap */
static void test_sizes(void)
{
    for (unsigned pqs = 0; pqs <= 1; pqs++) {
        unsigned entries = 128 << pqs;
        PrqTest t;

        prq_start_pqs(&t, pqs);
        prq_writeq(&t, DMAR_PQH_REG, (entries - 2) * 32);
        prq_writeq(&t, DMAR_PQT_REG, (entries - 2) * 32);
        for (int i = 0; i < 4; i++) {
            prq_request(&t.dev, PRQ_PASID, PRQ_ADDR + i * KIB4, i,
                        PRQ_LAST | PRQ_RD);
        }
        g_assert_cmphex(prq_readq(&t, DMAR_PQT_REG), ==, 2 * 32);
        for (int i = 0; i < 4; i++) {
            prq_next(&t, &(QVtdPageReq) { .sid = PRQ_DEV, .pasid = PRQ_PASID,
                                          .addr = PRQ_ADDR + i * KIB4,
                                          .prgi = i, .last = true,
                                          .read = true });
        }
        g_assert_cmphex(prq_readq(&t, DMAR_PQH_REG), ==, 2 * 32);
        prq_stop(&t);
    }
}

/* PQH and PQT beyond the end of the queue, as the guest may write them */
static void test_offsets_too_large(void)
{
    uint64_t after;
    PrqTest t;

    prq_start(&t);
    after = t.prq.base + t.prq.size;
    qtest_memset(t.qts, after, 0, KIB4);
    prq_writeq(&t, DMAR_PQT_REG, 0x7ffe0);
    prq_writeq(&t, DMAR_PQH_REG, 0x40000);
    /* The offsets wrap to the first and the last entry: the queue is full */
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    prq_expect_response(&t.dev, 1, PRQ_PASID, 1, PRQ_SUCCESS);
    prq_expect_status(&t, VTD_PRS_PRO, true);
    prq_writel(&t, DMAR_PRS_REG, VTD_PRS_PRO);
    prq_writeq(&t, DMAR_PQH_REG, 0x40020);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 2, PRQ_LAST | PRQ_RD);
    g_assert_cmphex(prq_readq(&t, DMAR_PQT_REG), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, t.prq.base + 127 * 32), !=, 0);
    g_assert_cmphex(qtest_readq(t.qts, after), ==, 0);
    prq_stop(&t);
}

/* PCIe 5.0, 10.4.1.2.1: a Stop Marker is queued, and has no response */
static void test_stop_marker(void)
{
    PrqTest t;

    prq_start(&t);
    prq_request(&t.dev, PRQ_PASID, 0, 0, PRQ_LAST);
    prq_next(&t, &(QVtdPageReq) { .sid = PRQ_DEV, .pasid = PRQ_PASID,
                                  .last = true });
    /* Nor does the hardware respond to it on an error (table 31) */
    prq_writeq(&t, DMAR_PQA_REG, 0);
    prq_request_fails(&t.dev, PRQ_PASID, 0, 0, PRQ_LAST, -EFAULT);
    prq_writeq(&t, DMAR_PQA_REG, t.prq.base);
    prq_writeq(&t, DMAR_PQH_REG, 0x20);
    prq_writeq(&t, DMAR_PQT_REG, 0);
    prq_request_fails(&t.dev, PRQ_PASID, 0, 0, PRQ_LAST, -ENOSPC);
    prq_expect_status(&t, VTD_PRS_PRO | VTD_PRS_PPR, true);
    prq_expect_responses(&t.dev, 0);
    prq_stop(&t);
}

/* ---- Responses ---- */

/* Table 32: response codes; reserved ones mean Response Failure */
static void test_response_codes(void)
{
    PrqTest t;

    prq_start(&t);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID, 1, VTD_PAGE_RESP_SUCCESS);
    prq_expect_response(&t.dev, 1, PRQ_PASID, 1, PRQ_SUCCESS);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 2, PRQ_LAST | PRQ_RD);
    qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID, 2, VTD_PAGE_RESP_INVALID);
    prq_expect_response(&t.dev, 2, PRQ_PASID, 2, PRQ_INVALID);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 3, PRQ_LAST | PRQ_RD);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 4, PRQ_LAST | PRQ_RD);
    qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID, 3, VTD_PAGE_RESP_FAILURE);
    prq_expect_response(&t.dev, 3, PRQ_PASID, 3, PRQ_FAILURE);
    qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID, 4, 2);
    prq_expect_response(&t.dev, 4, PRQ_PASID, 4, PRQ_FAILURE);
    prq_stop(&t);
}

/* 7.6.1: a response has a function and a PASID as its destination */
static void test_response_routing(void)
{
    PrqTest t;

    prq_start(&t);
    /* All groups use the same PRG index */
    prq_request(&t.dev, PRQ_NONE, PRQ_ADDR, 7, PRQ_LAST | PRQ_RD);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 7, PRQ_LAST | PRQ_RD);
    prq_request(&t.dev, PRQ_PASID + 1, PRQ_ADDR, 7, PRQ_LAST | PRQ_RD);
    prq_request(&t.dev2, PRQ_PASID, PRQ_ADDR, 7, PRQ_LAST | PRQ_RD);
    qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID + 1, 7,
                       VTD_PAGE_RESP_SUCCESS);
    prq_expect_response(&t.dev, 1, PRQ_PASID + 1, 7, PRQ_SUCCESS);
    prq_expect_responses(&t.dev2, 0);
    qvtd_page_response(&t.vtd, PRQ_DEV2, PRQ_PASID, 7, VTD_PAGE_RESP_INVALID);
    prq_expect_response(&t.dev2, 1, PRQ_PASID, 7, PRQ_INVALID);
    qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_NONE, 7, VTD_PAGE_RESP_INVALID);
    prq_expect_response(&t.dev, 2, PRQ_NONE, 7, PRQ_INVALID);
    qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID, 7, VTD_PAGE_RESP_SUCCESS);
    prq_expect_response(&t.dev, 3, PRQ_PASID, 7, PRQ_SUCCESS);
    prq_stop(&t);
}

/* PCIe 5.0, 10.4.2: unexpected responses are ignored */
static void test_response_unexpected(void)
{
    PrqTest t;

    prq_start(&t);
    qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID, 1, VTD_PAGE_RESP_SUCCESS);
    qvtd_page_response(&t.vtd, PRQ_DEV, 1000, 1, VTD_PAGE_RESP_SUCCESS);
    qvtd_page_response(&t.vtd, 0xffff, PRQ_PASID, 1, VTD_PAGE_RESP_SUCCESS);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID, 1, VTD_PAGE_RESP_SUCCESS);
    /* A second response */
    qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID, 1, VTD_PAGE_RESP_SUCCESS);
    prq_expect_response(&t.dev, 1, PRQ_PASID, 1, PRQ_SUCCESS);
    prq_no_fault(&t);
    prq_stop(&t);
}

/* 6.5.2.11: reserved bits of a response are an invalidation queue error */
static void test_response_invalid(void)
{
    static const uint64_t bad[][4] = {
        { VTD_INV_DESC_PAGE_RESPONSE | 1 << 5, 0, 0, 0 },
        { VTD_INV_DESC_PAGE_RESPONSE | 1 << 8, 0, 0, 0 },
        { VTD_INV_DESC_PAGE_RESPONSE | 1ULL << 52, 0, 0, 0 },
        { VTD_INV_DESC_PAGE_RESPONSE, 1 << 0, 0, 0 },
        { VTD_INV_DESC_PAGE_RESPONSE, 1 << 12, 0, 0 },
        { VTD_INV_DESC_PAGE_RESPONSE, 0, 1, 0 },
        { VTD_INV_DESC_PAGE_RESPONSE, 0, 0, 1ULL << 63 },
    };
    PrqTest t;

    prq_start(&t);
    prq_request(&t.dev, PRQ_NONE, PRQ_ADDR, 0, PRQ_LAST | PRQ_RD);
    for (int i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t desc = qvtd_submit_all_nowait(&t.vtd, bad[i]);

        g_assert_true(queue_error(&t));
        prq_expect_responses(&t.dev, 0);
        /* Correct the descriptor, and resume the queue */
        qtest_memset(t.qts, desc, 0, 32);
        qtest_writeq(t.qts, desc, VTD_INV_DESC_WAIT);
        prq_writel(&t, DMAR_FSTS_REG, VTD_FSTS_IQE);
        g_assert_false(queue_error(&t));
    }
    /* Bit 66 is ignored */
    qvtd_submit(&t.vtd, VTD_INV_DESC_PAGE_RESPONSE | PRQ_DEV << 16, 1 << 2);
    prq_expect_response(&t.dev, 1, PRQ_NONE, 0, PRQ_SUCCESS);
    prq_stop(&t);
}

/* 7.6: descriptors of 128 bits cannot hold responses */
static void test_response_width(void)
{
    PrqTest t;

    prq_start_with(&t, "svm=on");
    t.vtd.scalable = false;
    qvtd_enable(&t.vtd);
    qvtd_submit_nowait(&t.vtd, VTD_INV_DESC_PAGE_RESPONSE, 0);
    g_assert_true(queue_error(&t));
    prq_stop(&t);
}

/* ---- The page request event ---- */

/* 7.5, 11.4.11.5: PPR, Interrupt Mask, Interrupt Pending */
static void test_event(void)
{
    PrqTest t;

    prq_start(&t);
    prq_set_vector(&t, 0x41);
    prq_expect_status(&t, 0, false);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    prq_expect_status(&t, VTD_PRS_PPR, true);
    g_assert_false(prq_interrupted(&t, 0x41));
    /* The interrupt is pending until it is unmasked */
    prq_writel(&t, DMAR_PECTL_REG, 0);
    prq_expect_status(&t, VTD_PRS_PPR, false);
    g_assert_true(prq_interrupted(&t, 0x41));
    /* No second condition while PPR is set */
    prq_set_vector(&t, 0x42);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 2, PRQ_LAST | PRQ_RD);
    prq_expect_status(&t, VTD_PRS_PPR, false);
    g_assert_false(prq_interrupted(&t, 0x42));
    /* Clearing PPR, not reading the queue, enables the next event */
    prq_writel(&t, DMAR_PRS_REG, VTD_PRS_PPR);
    prq_expect_status(&t, 0, false);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 3, PRQ_LAST | PRQ_RD);
    prq_expect_status(&t, VTD_PRS_PPR, false);
    g_assert_true(prq_interrupted(&t, 0x42));
    prq_stop(&t);
}

/*
 * 7.5: software services the last condition: the event is not pending any more
 */
static void test_event_serviced(void)
{
    PrqTest t;

    prq_start(&t);
    prq_set_vector(&t, 0x43);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    prq_expect_status(&t, VTD_PRS_PPR, true);
    prq_writel(&t, DMAR_PRS_REG, VTD_PRS_PPR);
    prq_expect_status(&t, 0, false);
    prq_writel(&t, DMAR_PECTL_REG, 0);
    g_assert_false(prq_interrupted(&t, 0x43));
    prq_stop(&t);
}

/* 7.5: interrupt remapping neither remaps nor blocks the event */
static void test_event_not_remapped(void)
{
    PrqTest t;

    prq_start_with(&t, "svm=on,intremap=on");
    t.dir = prq_attach(&t, PRQ_DEV);
    qvtd_enable(&t.vtd);
    qvtd_prq_init(&t.prq, &t.vtd, 0);
    prq_register(&t.dev);
    prq_writeq(&t, DMAR_IRTA_REG, qvtd_new_table(&t.vtd));
    prq_writel(&t, DMAR_GCMD_REG, VTD_GCMD_TE | VTD_GCMD_QIE | VTD_GCMD_SIRTP);
    prq_writel(&t, DMAR_GCMD_REG, VTD_GCMD_TE | VTD_GCMD_QIE | VTD_GCMD_IRE);
    g_assert_cmphex(prq_readl(&t, DMAR_GSTS_REG) & VTD_GSTS_IRES, !=, 0);
    prq_set_vector(&t, 0x44);
    prq_writel(&t, DMAR_PECTL_REG, 0);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    prq_expect_status(&t, VTD_PRS_PPR, false);
    g_assert_true(prq_interrupted(&t, 0x44));
    prq_no_fault(&t);
    prq_stop(&t);
}

/* 7.5: a read of a queue register returns after outstanding interrupts */
static void test_event_from_thread(void)
{
    PrqTest t;

    prq_start(&t);
    prq_writel(&t, DMAR_PECTL_REG, 0);
    for (unsigned vector = 0x50; vector < 0x60; vector++) {
        prq_set_vector(&t, vector);
        prq_writel(&t, DMAR_PRS_REG, VTD_PRS_PPR);
        prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1,
                    PRQ_LAST | PRQ_RD | ATD_FLAG_THREAD);
        g_assert_cmphex(prq_readl(&t, DMAR_PRS_REG), ==, VTD_PRS_PPR);
        g_assert_true(prq_interrupted(&t, vector));
        prq_expect_status(&t, VTD_PRS_PPR, false);
        qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID, 1,
                           VTD_PAGE_RESP_SUCCESS);
    }
    prq_stop(&t);
}

/* ---- Overflow ---- */

/* 7.4.1, table 31: full queue, PRO, and responses of the hardware */
static void test_overflow(void)
{
    PrqTest t;

    prq_start(&t);
    prq_set_vector(&t, 0x45);
    for (int i = 0; i < 127; i++) {
        prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, i, PRQ_LAST | PRQ_RD);
    }
    prq_expect_status(&t, VTD_PRS_PPR, true);
    prq_expect_queued(&t, 127);
    prq_expect_responses(&t.dev, 0);
    /* The queue is full with one entry unused */
    prq_writel(&t, DMAR_PRS_REG, VTD_PRS_PPR);
    prq_writel(&t, DMAR_PECTL_REG, 0);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 127, PRQ_LAST | PRQ_RD);
    prq_expect_status(&t, VTD_PRS_PRO, false);
    g_assert_true(prq_interrupted(&t, 0x45));
    prq_expect_response(&t.dev, 1, PRQ_PASID, 127, PRQ_SUCCESS);
    prq_expect_queued(&t, 127);
    /* No response without LPIG, but the device gets an error */
    prq_request_fails(&t.dev, PRQ_PASID, PRQ_ADDR, 128, PRQ_RD, -ENOSPC);
    prq_expect_responses(&t.dev, 1);
    /* PRO blocks requests even if there is space, and sends no second event */
    prq_set_vector(&t, 0x46);
    prq_writeq(&t, DMAR_PQH_REG, prq_readq(&t, DMAR_PQT_REG));
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 129, PRQ_LAST | PRQ_RD);
    prq_expect_response(&t.dev, 2, PRQ_PASID, 129, PRQ_SUCCESS);
    prq_expect_status(&t, VTD_PRS_PRO, false);
    g_assert_false(prq_interrupted(&t, 0x46));
    prq_expect_queued(&t, 0);
    /* Requests are accepted again after PRO is cleared */
    prq_writel(&t, DMAR_PRS_REG, VTD_PRS_PRO);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 130, PRQ_LAST | PRQ_RD);
    prq_expect_status(&t, VTD_PRS_PPR, false);
    g_assert_true(prq_interrupted(&t, 0x46));
    prq_expect_queued(&t, 1);
    prq_no_fault(&t);
    prq_stop(&t);
}

/* Table 31: one response ends a group that is only partly in the queue */
static void test_overflow_group(void)
{
    PrqTest t;

    prq_start(&t);
    prq_writeq(&t, DMAR_PQH_REG, 0x40);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_RD);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_OUTSTANDING), ==, 1);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR + KIB4, 1, PRQ_LAST | PRQ_RD);
    prq_expect_response(&t.dev, 1, PRQ_PASID, 1, PRQ_SUCCESS);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_OUTSTANDING), ==, 0);
    prq_stop(&t);
}

/* ---- Errors ---- */

/* 11.4.11.3: the queue is not set up, or not in memory */
static void test_no_queue(void)
{
    PrqTest t;

    prq_start(&t);
    prq_writeq(&t, DMAR_PQA_REG, 0);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    prq_expect_response(&t.dev, 1, PRQ_PASID, 1, PRQ_INVALID);
    prq_request_fails(&t.dev, PRQ_PASID, PRQ_ADDR, 2, PRQ_RD, -EFAULT);
    prq_writeq(&t, DMAR_PQA_REG, NO_RAM);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 3, PRQ_LAST | PRQ_RD);
    prq_expect_response(&t.dev, 2, PRQ_PASID, 3, PRQ_INVALID);
    /* The end of the queue exceeds the address space */
    prq_writeq(&t, DMAR_PQA_REG, 0xfffffffff007);
    prq_writeq(&t, DMAR_PQT_REG, 0x7ffc0);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 4, PRQ_LAST | PRQ_RD);
    prq_expect_response(&t.dev, 3, PRQ_PASID, 4, PRQ_INVALID);
    prq_expect_status(&t, 0, false);
    prq_no_fault(&t);
    prq_stop(&t);
}

/* Table 30 requires Invalid Request for the request, and a fault */
static void refused(PrqTest *t, unsigned count, uint32_t pasid, uint8_t reason)
{
    qvtd_inv_global(&t->vtd);
    prq_request(&t->dev, pasid, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    prq_expect_response(&t->dev, count, pasid, 1, PRQ_INVALID);
    fault(t, reason, pasid, PRQ_ADDR);
    /* Without Last there is no response (7.1.3), but the same fault */
    prq_request_fails(&t->dev, pasid, PRQ_ADDR, 1, PRQ_RD, -EFAULT);
    fault(t, reason, pasid, PRQ_ADDR);
    prq_expect_responses(&t->dev, count);
    prq_expect_queued(t, 0);
}

/* Table 30: fault conditions up to the PASID-table entry */
static void test_table_errors(void)
{
    uint64_t ce, pde;
    PrqTest t;

    prq_start(&t);
    ce = qvtd_sm_context(&t.vtd, PRQ_DEV);
    /* SPT.2, SPT.3, SPT.4.2 */
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_REGISTER_PRI, 9, 0, 0, 0), ==,
                    0);
    refused(&t, 1, 9, VTD_FR_PASID_ENTRY_P);
    qvtd_sm_pasid(&t.vtd, t.dir, 9, PRQ_PE0 | 1 << 5, PRQ_PE1, 0);
    refused(&t, 2, 9, VTD_FR_PASID_ENTRY_RSVD);
    qvtd_sm_pasid(&t.vtd, t.dir, 9, VTD_PASID_ENTRY_P, PRQ_PE1, 0);
    refused(&t, 3, 9, VTD_FR_PASID_TABLE_ENTRY_INV);
    /* SPT.1, SPD.3, SPD.2 */
    pde = qtest_readq(t.qts, t.dir);
    qtest_writeq(t.qts, t.dir, NO_RAM | 1);
    refused(&t, 4, PRQ_PASID, VTD_FR_PASID_TABLE_ACCESS_ERR);
    qtest_writeq(t.qts, t.dir, pde | 1 << 2);
    refused(&t, 5, PRQ_PASID, VTD_FR_PASID_DIR_ENTRY_RSVD);
    qtest_writeq(t.qts, t.dir, 0);
    refused(&t, 6, PRQ_PASID, VTD_FR_PASID_DIR_ENTRY_P);
    refused(&t, 7, PRQ_NONE, VTD_FR_PASID_DIR_ENTRY_P);
    qtest_writeq(t.qts, t.dir, pde);
    /* SCT.8: page requests are disabled */
    qtest_writeq(t.qts, ce, t.dir | 1 | (PRQ_CE & ~VTD_SM_CONTEXT_ENTRY_PRE));
    refused(&t, 8, PRQ_PASID, VTD_FR_SM_CONTEXT_ENTRY_PRE);
    refused(&t, 9, PRQ_NONE, VTD_FR_SM_CONTEXT_ENTRY_PRE);
    /* SCT.4.1: the device-TLB is disabled, page requests are enabled */
    qtest_writeq(t.qts, ce, t.dir | 1 | (PRQ_CE & ~VTD_SM_CONTEXT_ENTRY_DTE));
    refused(&t, 10, PRQ_PASID, VTD_FR_SM_CONTEXT_ENTRY_INV);
    /* SCT.6 */
    qtest_writeq(t.qts, ce,
                 t.dir | 1 | (PRQ_CE & ~VTD_SM_CONTEXT_ENTRY_PASIDE));
    refused(&t, 11, PRQ_PASID, VTD_FR_SM_CONTEXT_ENTRY_PASIDE);
    /* SCT.2, SRT.2 */
    qtest_writeq(t.qts, ce, 0);
    refused(&t, 12, PRQ_PASID, VTD_FR_SM_CONTEXT_ENTRY_P);
    qtest_writeq(t.qts, t.vtd.root, 0);
    refused(&t, 13, PRQ_PASID, VTD_FR_SM_ROOT_ENTRY_P);
    prq_stop(&t);
}

/* 7.1.1: FPD suppresses the report, not the response */
static void test_fpd(void)
{
    PrqTest t;

    prq_start(&t);
    qtest_writeq(t.qts, qvtd_sm_context(&t.vtd, PRQ_DEV),
                 t.dir | 1 | VTD_CONTEXT_ENTRY_FPD);
    qvtd_inv_global(&t.vtd);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    prq_expect_response(&t.dev, 1, PRQ_PASID, 1, PRQ_INVALID);
    prq_no_fault(&t);
    prq_stop(&t);
}

/* RTA.3: page requests need scalable mode, and enabled translation */
static void test_legacy_mode(void)
{
    PrqTest t;

    prq_start_with(&t, "svm=on");
    prq_register(&t.dev);
    t.vtd.scalable = false;
    qvtd_prq_init(&t.prq, &t.vtd, 0);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    prq_expect_response(&t.dev, 1, PRQ_PASID, 1, PRQ_INVALID);
    prq_no_fault(&t);
    qvtd_enable(&t.vtd);
    refused(&t, 2, PRQ_NONE, VTD_FR_RTADDR_LEGACY_PRS);
    refused(&t, 3, PRQ_PASID, VTD_FR_RTADDR_LEGACY_PRS);
    prq_stop(&t);
}

/* ---- Draining (7.7, 7.10, 7.11) ---- */

/* The sequence with which Linux unbinds a process leaves no request */
static void test_unbind(void)
{
    uint64_t pe;
    PrqTest t;

    prq_start(&t);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1,
                PRQ_LAST | PRQ_RD | ATD_FLAG_THREAD);
    /* Drain, and respond to the request */
    qvtd_prq_drain(&t.prq, PRQ_DEV, PRQ_PASID, PRQ_DOMAIN);
    prq_expect_queued(&t, 1);
    prq_next(&t, &(QVtdPageReq) { .sid = PRQ_DEV, .pasid = PRQ_PASID,
                                  .addr = PRQ_ADDR, .prgi = 1, .last = true,
                                  .read = true });
    qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID, 1, VTD_PAGE_RESP_INVALID);
    prq_expect_response(&t.dev, 1, PRQ_PASID, 1, PRQ_INVALID);
    /* Remove the PASID, and invalidate its entry */
    pe = (qtest_readq(t.qts, t.dir) & ~0xfffULL) + PRQ_PASID * 64;
    qtest_writeq(t.qts, pe, VTD_PASID_ENTRY_FPD);
    qvtd_submit(&t.vtd, VTD_INV_DESC_PC | 1ULL << 4 | PRQ_DOMAIN << 16 |
                        (uint64_t)PRQ_PASID << 32, 0);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 2,
                PRQ_LAST | PRQ_RD | ATD_FLAG_THREAD);
    prq_expect_response(&t.dev, 2, PRQ_PASID, 2, PRQ_INVALID);
    /* Drain again */
    qvtd_prq_drain(&t.prq, PRQ_DEV, PRQ_PASID, PRQ_DOMAIN);
    prq_expect_queued(&t, 0);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_OUTSTANDING), ==, 0);
    g_assert_cmphex(prq_readl(&t, DMAR_PRS_REG) & VTD_PRS_PRO, ==, 0);
    prq_no_fault(&t);
    prq_stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtd-prq/registers", test_registers);
    qtest_add_func("/vtd-prq/not-supported", test_not_supported);
    qtest_add_func("/vtd-prq/drain-not-supported", test_drain_not_supported);
    qtest_add_func("/vtd-prq/upper-address", test_upper_address);
    qtest_add_func("/vtd-prq/descriptor", test_descriptor);
    qtest_add_func("/vtd-prq/sizes", test_sizes);
    qtest_add_func("/vtd-prq/offsets-too-large", test_offsets_too_large);
    qtest_add_func("/vtd-prq/stop-marker", test_stop_marker);
    qtest_add_func("/vtd-prq/response-codes", test_response_codes);
    qtest_add_func("/vtd-prq/response-routing", test_response_routing);
    qtest_add_func("/vtd-prq/response-unexpected", test_response_unexpected);
    qtest_add_func("/vtd-prq/response-invalid", test_response_invalid);
    qtest_add_func("/vtd-prq/response-width", test_response_width);
    qtest_add_func("/vtd-prq/event", test_event);
    qtest_add_func("/vtd-prq/event-serviced", test_event_serviced);
    qtest_add_func("/vtd-prq/event-not-remapped", test_event_not_remapped);
    qtest_add_func("/vtd-prq/event-from-thread", test_event_from_thread);
    qtest_add_func("/vtd-prq/overflow", test_overflow);
    qtest_add_func("/vtd-prq/overflow-group", test_overflow_group);
    qtest_add_func("/vtd-prq/no-queue", test_no_queue);
    qtest_add_func("/vtd-prq/table-errors", test_table_errors);
    qtest_add_func("/vtd-prq/fpd", test_fpd);
    qtest_add_func("/vtd-prq/legacy-mode", test_legacy_mode);
    qtest_add_func("/vtd-prq/unbind", test_unbind);
    return g_test_run();
}
