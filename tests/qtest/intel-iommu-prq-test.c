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
#include "libqtest.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/intel_iommu_prq.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd-prq.h"

#define DEV     QATD_BDF(0, 4, 0)
#define DEV2    QATD_BDF(0, 5, 0)
#define PASID   5
#define DOMAIN  1
#define NONE    QATD_NO_PASID

#define KIB4    0x1000ULL
#define ADDR    0x12340000ULL
/* Above the end of RAM */
#define NO_RAM  (1ULL << 40)

/* Context entry (9.4), PASID-table entry (9.6) */
#define CE      (VTD_SM_CONTEXT_ENTRY_DTE | VTD_SM_CONTEXT_ENTRY_PASIDE | \
                 VTD_SM_CONTEXT_ENTRY_PRE)
#define PE0     (VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT)
#define PE1     (DOMAIN | VTD_SM_PASID_ENTRY_PWSNP)

#define LAST    ATD_FLAG_LAST
#define RD      ATD_FLAG_READ
#define WR      ATD_FLAG_WRITE

/* IOMMUPRIResponseCode */
enum { SUCCESS, INVALID, FAILURE };

typedef struct Test {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QVtdPrq prq;
    QATD dev;
    QATD dev2;
    uint64_t dir;
    uint64_t dir2;
} Test;

static uint32_t readl(Test *t, uint64_t reg)
{
    return qvtd_readl(t->qts, reg);
}

static uint64_t readq(Test *t, uint64_t reg)
{
    return qvtd_readq(t->qts, reg);
}

static void writel(Test *t, uint64_t reg, uint32_t val)
{
    qvtd_writel(t->qts, reg, val);
}

static void writeq(Test *t, uint64_t reg, uint64_t val)
{
    qvtd_writeq(t->qts, reg, val);
}

/* ---- Setup ---- */

/* Set up tables for PASID, PASID + 1, and requests without PASID */
static uint64_t attach(Test *t, uint16_t bdf)
{
    uint64_t dir = qvtd_sm_attach(&t->vtd, bdf, CE, 0);

    qvtd_sm_pasid(&t->vtd, dir, 0, PE0, PE1, qvtd_new_table(&t->vtd));
    qvtd_sm_pasid(&t->vtd, dir, PASID, PE0, PE1, qvtd_new_table(&t->vtd));
    qvtd_sm_pasid(&t->vtd, dir, PASID + 1, PE0, PE1, qvtd_new_table(&t->vtd));
    return dir;
}

static void register_pri(QATD *d)
{
    for (uint32_t pasid = PASID; pasid <= PASID + 1; pasid++) {
        g_assert_cmpint(qatd_command(d, ATD_CMD_REGISTER_PRI, pasid, 0, 0, 0),
                        ==, 0);
    }
    g_assert_cmpint(qatd_command(d, ATD_CMD_REGISTER_PRI, NONE, 0, 0, 0), ==,
                    0);
}

static QTestState *start_machine(const char *iommu, const char *more)
{
    return qtest_initf("-M q35 -nodefaults -device intel-iommu,%s "
                       "-device pci-ats-testdev,addr=4,pri-capacity=512 "
                       "-device pci-ats-testdev,addr=5 %s", iommu, more);
}

static void start_with(Test *t, const char *iommu)
{
    *t = (Test) { };
    t->qts = start_machine(iommu, "");
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    t->vtd.scalable = true;
    qatd_init(&t->dev, t->qts, DEV, 0);
    qatd_init(&t->dev2, t->qts, DEV2, 1);
    qatd_enable_all(&t->dev, 512);
    qatd_enable_all(&t->dev2, 32);
}

static void start_pqs(Test *t, unsigned pqs)
{
    start_with(t, "svm=on");
    t->dir = attach(t, DEV);
    t->dir2 = attach(t, DEV2);
    qvtd_enable(&t->vtd);
    qvtd_prq_init(&t->prq, &t->vtd, pqs);
    register_pri(&t->dev);
    register_pri(&t->dev2);
}

static void start(Test *t)
{
    start_pqs(t, 0);
}

static void stop(Test *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

/* ---- Expectations ---- */

static void request(QATD *d, uint32_t pasid, uint64_t addr, uint16_t prgi,
                    uint64_t flags)
{
    g_assert_cmpint(qatd_page_request(d, pasid, addr, prgi, flags), ==, 0);
}

static void request_fails(QATD *d, uint32_t pasid, uint64_t addr,
                          uint16_t prgi, uint64_t flags, int error)
{
    g_assert_cmpint(qatd_page_request(d, pasid, addr, prgi, flags), ==, error);
}

static void responses(QATD *d, unsigned count)
{
    g_assert_cmpuint(qatd_read(d, ATD_RESP_COUNT), ==, count);
}

/* Expect that the device has received @count responses, this as the last */
static void response(QATD *d, unsigned count, uint32_t pasid, uint16_t prgi,
                     int code)
{
    responses(d, count);
    qatd_write(d, ATD_RESP_INDEX, count - 1);
    g_assert_cmphex(qatd_read(d, ATD_RESP_PASID), ==, pasid);
    g_assert_cmphex(qatd_read(d, ATD_RESP_PRGI), ==, prgi);
    g_assert_cmpint(qatd_read(d, ATD_RESP_CODE), ==, code);
}

static void queued(Test *t, unsigned count)
{
    g_assert_cmpuint(qvtd_prq_count(&t->prq), ==, count);
}

static void next(Test *t, QVtdPageReq *want)
{
    QVtdPageReq req;

    qvtd_prq_next(&t->prq, &req);
    g_assert_cmphex(req.sid, ==, want->sid);
    g_assert_cmphex(req.pasid, ==, want->pasid);
    g_assert_cmphex(req.addr, ==, want->addr);
    g_assert_cmphex(req.prgi, ==, want->prgi);
    g_assert_cmpint(req.last, ==, want->last);
    g_assert_cmpint(req.read, ==, want->read);
    g_assert_cmpint(req.write, ==, want->write);
    g_assert_cmpint(req.exec, ==, want->exec);
    g_assert_cmpint(req.priv, ==, want->priv);
}

/* PRS_REG, and IP in PECTL_REG */
static void status(Test *t, uint32_t prs, bool pending)
{
    g_assert_cmphex(readl(t, DMAR_PRS_REG), ==, prs);
    g_assert_cmpint(!!(readl(t, DMAR_PECTL_REG) & VTD_PECTL_IP), ==, pending);
}

static bool queue_error(Test *t)
{
    return readl(t, DMAR_FSTS_REG) & VTD_FSTS_IQE;
}

static void no_fault(Test *t)
{
    g_assert_cmphex(readl(t, DMAR_FSTS_REG) & 0x7f, ==, 0);
}

/* Expect the fault of a page request: T1 is clear and T2 is set (11.4.7.6) */
static void fault(Test *t, uint8_t reason, uint32_t pasid, uint64_t addr)
{
    QVtdFault fault = qvtd_take_fault(t->qts);

    g_assert_cmphex(fault.reason, ==, reason);
    g_assert_false(fault.t1);
    g_assert_true(fault.t2);
    g_assert_cmphex(fault.at, ==, 0);
    g_assert_cmphex(fault.sid, ==, DEV);
    g_assert_cmpint(fault.has_pasid, ==, pasid != NONE);
    g_assert_cmphex(fault.pasid, ==, pasid != NONE ? pasid : 0);
    g_assert_cmphex(fault.addr, ==, addr & ~(KIB4 - 1));
    no_fault(t);
}

/* Send interrupts with vector @vector to the first processor */
static void set_vector(Test *t, unsigned vector)
{
    writel(t, DMAR_PEADDR_REG, 0xfee00000);
    writel(t, DMAR_PEDATA_REG, vector);
}

/* Returns whether the processor has received an interrupt with this vector */
static bool interrupted(Test *t, unsigned vector)
{
    g_autofree char *text = qtest_hmp(t->qts, "info lapic");
    g_autofree char *want = g_strdup_printf(" %u", vector);
    const char *irr = strstr(text, "\nIRR");
    g_autofree char *line = NULL;
    g_auto(GStrv) words = NULL;

    g_assert_nonnull(irr);
    line = g_strndup(irr + 1, strcspn(irr + 1, "\r\n"));
    words = g_strsplit_set(line, " \t", -1);
    return g_strv_contains((const char * const *)words, want + 1);
}

/* ---- Registers ---- */

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
    Test t;

    start_with(&t, "svm=on");
    for (int i = 0; i < ARRAY_SIZE(regs); i++) {
        uint64_t reg = regs[i].reg;

        if (regs[i].size == 8) {
            g_assert_cmphex(readq(&t, reg), ==, regs[i].reset);
            writeq(&t, reg, UINT64_MAX);
            g_assert_cmphex(readq(&t, reg), ==, regs[i].written);
            writeq(&t, reg, 0);
            /* Write both halves (11.2) */
            writel(&t, reg, UINT32_MAX);
            g_assert_cmphex(readq(&t, reg), ==, (uint32_t)regs[i].written);
            writel(&t, reg + 4, UINT32_MAX);
            g_assert_cmphex(readq(&t, reg), ==, regs[i].written);
            g_assert_cmphex(readl(&t, reg + 4), ==, regs[i].written >> 32);
        } else {
            g_assert_cmphex(readl(&t, reg), ==, regs[i].reset);
            writel(&t, reg, UINT32_MAX);
            g_assert_cmphex(readl(&t, reg), ==, regs[i].written);
        }
    }
    /* A quadword access writes two registers of 32 bits */
    writeq(&t, DMAR_PECTL_REG, 0x123400000000);
    g_assert_cmphex(readl(&t, DMAR_PECTL_REG), ==, 0);
    g_assert_cmphex(readl(&t, DMAR_PEDATA_REG), ==, 0x1234);
    writeq(&t, DMAR_PEADDR_REG, 0xfee01000);
    g_assert_cmphex(readq(&t, DMAR_PEADDR_REG), ==, 0xfee01000);
    /* A reset restores the default values */
    qtest_system_reset(t.qts);
    for (int i = 0; i < ARRAY_SIZE(regs); i++) {
        g_assert_cmphex(readl(&t, regs[i].reg), ==, (uint32_t)regs[i].reset);
    }
    stop(&t);
}

/* 11.4.11: RsvdZ without ECAP.PRS, which also excludes responses (7.6.1) */
static void test_not_supported(void)
{
    Test t;

    start_with(&t, "x-scalable-mode=on,x-flts=on,x-pasid-mode=on,"
                   "device-iotlb=on");
    for (uint64_t reg = DMAR_PQH_REG; reg <= DMAR_PEUADDR_REG; reg += 4) {
        writel(&t, reg, UINT32_MAX);
        g_assert_cmphex(readl(&t, reg), ==, 0);
    }
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_REGISTER_PRI, PASID, 0, 0, 0),
                    ==, -ENODEV);
    qvtd_enable(&t.vtd);
    qvtd_submit_nowait(&t.vtd, VTD_INV_DESC_PAGE_RESPONSE, 0);
    g_assert_true(queue_error(&t));
    stop(&t);
}

/* 6.5.2.9: PD is reserved without ECAP.PDS */
static void test_drain_not_supported(void)
{
    Test t;

    start_with(&t, "x-scalable-mode=on,x-flts=on,x-pasid-mode=on,"
                   "device-iotlb=on");
    qvtd_enable(&t.vtd);
    qvtd_submit_nowait(&t.vtd, VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_PD, 0);
    g_assert_true(queue_error(&t));
    stop(&t);
}

/* 11.4.11.8: the upper address exists with Extended Interrupt Mode */
static void test_upper_address(void)
{
    Test t;

    start_with(&t, "svm=on,intremap=on,eim=on");
    writel(&t, DMAR_PEUADDR_REG, UINT32_MAX);
    g_assert_cmphex(readl(&t, DMAR_PEUADDR_REG), ==, UINT32_MAX);
    stop(&t);
}

/* ---- Requests ---- */

/* 7.4.1.1: the fields of a descriptor */
static void test_descriptor(void)
{
    Test t;

    start(&t);
    queued(&t, 0);
    request(&t.dev, NONE, ADDR + 0x123, 0x1ff, LAST | RD);
    request(&t.dev2, PASID, -KIB4, 0, WR);
    request(&t.dev, PASID + 1, 0, 0x155, LAST | RD | WR | ATD_FLAG_PRIV);
    request(&t.dev, PASID, ADDR, 1, RD | ATD_FLAG_EXEC);
    queued(&t, 4);
    next(&t, &(QVtdPageReq) { .sid = DEV, .pasid = NONE, .addr = ADDR,
                              .prgi = 0x1ff, .last = true, .read = true });
    next(&t, &(QVtdPageReq) { .sid = DEV2, .pasid = PASID, .addr = -KIB4,
                              .write = true });
    next(&t, &(QVtdPageReq) { .sid = DEV, .pasid = PASID + 1, .prgi = 0x155,
                              .last = true, .read = true, .write = true,
                              .priv = true });
    next(&t, &(QVtdPageReq) { .sid = DEV, .pasid = PASID, .addr = ADDR,
                              .prgi = 1, .read = true, .exec = true });
    queued(&t, 0);
    no_fault(&t);
    responses(&t.dev, 0);
    responses(&t.dev2, 0);
    stop(&t);
}

/* 11.4.11.3: size of the queue; PQH and PQT wrap */
static void test_sizes(void)
{
    for (unsigned pqs = 0; pqs <= 1; pqs++) {
        unsigned entries = 128 << pqs;
        Test t;

        start_pqs(&t, pqs);
        writeq(&t, DMAR_PQH_REG, (entries - 2) * 32);
        writeq(&t, DMAR_PQT_REG, (entries - 2) * 32);
        for (int i = 0; i < 4; i++) {
            request(&t.dev, PASID, ADDR + i * KIB4, i, LAST | RD);
        }
        g_assert_cmphex(readq(&t, DMAR_PQT_REG), ==, 2 * 32);
        for (int i = 0; i < 4; i++) {
            next(&t, &(QVtdPageReq) { .sid = DEV, .pasid = PASID,
                                      .addr = ADDR + i * KIB4, .prgi = i,
                                      .last = true, .read = true });
        }
        g_assert_cmphex(readq(&t, DMAR_PQH_REG), ==, 2 * 32);
        stop(&t);
    }
}

/* PQH and PQT beyond the end of the queue, as the guest may write them */
static void test_offsets_too_large(void)
{
    uint64_t after;
    Test t;

    start(&t);
    after = t.prq.base + t.prq.size;
    qtest_memset(t.qts, after, 0, KIB4);
    writeq(&t, DMAR_PQT_REG, 0x7ffe0);
    writeq(&t, DMAR_PQH_REG, 0x40000);
    /* The offsets wrap to the first and the last entry: the queue is full */
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    response(&t.dev, 1, PASID, 1, SUCCESS);
    status(&t, VTD_PRS_PRO, true);
    writel(&t, DMAR_PRS_REG, VTD_PRS_PRO);
    writeq(&t, DMAR_PQH_REG, 0x40020);
    request(&t.dev, PASID, ADDR, 2, LAST | RD);
    g_assert_cmphex(readq(&t, DMAR_PQT_REG), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, t.prq.base + 127 * 32), !=, 0);
    g_assert_cmphex(qtest_readq(t.qts, after), ==, 0);
    stop(&t);
}

/* PCIe 5.0, 10.4.1.2.1: a Stop Marker is queued, and has no response */
static void test_stop_marker(void)
{
    Test t;

    start(&t);
    request(&t.dev, PASID, 0, 0, LAST);
    next(&t, &(QVtdPageReq) { .sid = DEV, .pasid = PASID, .last = true });
    /* Nor does the hardware respond to it on an error (table 31) */
    writeq(&t, DMAR_PQA_REG, 0);
    request_fails(&t.dev, PASID, 0, 0, LAST, -EFAULT);
    writeq(&t, DMAR_PQA_REG, t.prq.base);
    writeq(&t, DMAR_PQH_REG, 0x20);
    writeq(&t, DMAR_PQT_REG, 0);
    request_fails(&t.dev, PASID, 0, 0, LAST, -ENOSPC);
    status(&t, VTD_PRS_PRO | VTD_PRS_PPR, true);
    responses(&t.dev, 0);
    stop(&t);
}

/* ---- Responses ---- */

/* Table 32: response codes; reserved ones mean Response Failure */
static void test_response_codes(void)
{
    Test t;

    start(&t);
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    qvtd_page_response(&t.vtd, DEV, PASID, 1, VTD_PAGE_RESP_SUCCESS);
    response(&t.dev, 1, PASID, 1, SUCCESS);
    request(&t.dev, PASID, ADDR, 2, LAST | RD);
    qvtd_page_response(&t.vtd, DEV, PASID, 2, VTD_PAGE_RESP_INVALID);
    response(&t.dev, 2, PASID, 2, INVALID);
    request(&t.dev, PASID, ADDR, 3, LAST | RD);
    request(&t.dev, PASID, ADDR, 4, LAST | RD);
    qvtd_page_response(&t.vtd, DEV, PASID, 3, VTD_PAGE_RESP_FAILURE);
    response(&t.dev, 3, PASID, 3, FAILURE);
    qvtd_page_response(&t.vtd, DEV, PASID, 4, 2);
    response(&t.dev, 4, PASID, 4, FAILURE);
    stop(&t);
}

/* 7.6.1: a response has a function and a PASID as its destination */
static void test_response_routing(void)
{
    Test t;

    start(&t);
    /* All groups use the same PRG index */
    request(&t.dev, NONE, ADDR, 7, LAST | RD);
    request(&t.dev, PASID, ADDR, 7, LAST | RD);
    request(&t.dev, PASID + 1, ADDR, 7, LAST | RD);
    request(&t.dev2, PASID, ADDR, 7, LAST | RD);
    qvtd_page_response(&t.vtd, DEV, PASID + 1, 7, VTD_PAGE_RESP_SUCCESS);
    response(&t.dev, 1, PASID + 1, 7, SUCCESS);
    responses(&t.dev2, 0);
    qvtd_page_response(&t.vtd, DEV2, PASID, 7, VTD_PAGE_RESP_INVALID);
    response(&t.dev2, 1, PASID, 7, INVALID);
    qvtd_page_response(&t.vtd, DEV, NONE, 7, VTD_PAGE_RESP_INVALID);
    response(&t.dev, 2, NONE, 7, INVALID);
    qvtd_page_response(&t.vtd, DEV, PASID, 7, VTD_PAGE_RESP_SUCCESS);
    response(&t.dev, 3, PASID, 7, SUCCESS);
    stop(&t);
}

/* PCIe 5.0, 10.4.2: unexpected responses are ignored */
static void test_response_unexpected(void)
{
    Test t;

    start(&t);
    qvtd_page_response(&t.vtd, DEV, PASID, 1, VTD_PAGE_RESP_SUCCESS);
    qvtd_page_response(&t.vtd, DEV, 1000, 1, VTD_PAGE_RESP_SUCCESS);
    qvtd_page_response(&t.vtd, 0xffff, PASID, 1, VTD_PAGE_RESP_SUCCESS);
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    qvtd_page_response(&t.vtd, DEV, PASID, 1, VTD_PAGE_RESP_SUCCESS);
    /* A second response */
    qvtd_page_response(&t.vtd, DEV, PASID, 1, VTD_PAGE_RESP_SUCCESS);
    response(&t.dev, 1, PASID, 1, SUCCESS);
    no_fault(&t);
    stop(&t);
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
    Test t;

    start(&t);
    request(&t.dev, NONE, ADDR, 0, LAST | RD);
    for (int i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t desc = qvtd_submit_all_nowait(&t.vtd, bad[i]);

        g_assert_true(queue_error(&t));
        responses(&t.dev, 0);
        /* Correct the descriptor, and resume the queue */
        qtest_memset(t.qts, desc, 0, 32);
        qtest_writeq(t.qts, desc, VTD_INV_DESC_WAIT);
        writel(&t, DMAR_FSTS_REG, VTD_FSTS_IQE);
        g_assert_false(queue_error(&t));
    }
    /* Bit 66 is ignored */
    qvtd_submit(&t.vtd, VTD_INV_DESC_PAGE_RESPONSE | DEV << 16, 1 << 2);
    response(&t.dev, 1, NONE, 0, SUCCESS);
    stop(&t);
}

/* 7.6: descriptors of 128 bits cannot hold responses */
static void test_response_width(void)
{
    Test t;

    start_with(&t, "svm=on");
    t.vtd.scalable = false;
    qvtd_enable(&t.vtd);
    qvtd_submit_nowait(&t.vtd, VTD_INV_DESC_PAGE_RESPONSE, 0);
    g_assert_true(queue_error(&t));
    stop(&t);
}

/* ---- The page request event ---- */

/* 7.5, 11.4.11.5: PPR, Interrupt Mask, Interrupt Pending */
static void test_event(void)
{
    Test t;

    start(&t);
    set_vector(&t, 0x41);
    status(&t, 0, false);
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    status(&t, VTD_PRS_PPR, true);
    g_assert_false(interrupted(&t, 0x41));
    /* The interrupt is pending until it is unmasked */
    writel(&t, DMAR_PECTL_REG, 0);
    status(&t, VTD_PRS_PPR, false);
    g_assert_true(interrupted(&t, 0x41));
    /* No second condition while PPR is set */
    set_vector(&t, 0x42);
    request(&t.dev, PASID, ADDR, 2, LAST | RD);
    status(&t, VTD_PRS_PPR, false);
    g_assert_false(interrupted(&t, 0x42));
    /* Clearing PPR, not reading the queue, enables the next event */
    writel(&t, DMAR_PRS_REG, VTD_PRS_PPR);
    status(&t, 0, false);
    request(&t.dev, PASID, ADDR, 3, LAST | RD);
    status(&t, VTD_PRS_PPR, false);
    g_assert_true(interrupted(&t, 0x42));
    stop(&t);
}

/*
 * 7.5: software services the last condition: the event is not pending any more
 */
static void test_event_serviced(void)
{
    Test t;

    start(&t);
    set_vector(&t, 0x43);
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    status(&t, VTD_PRS_PPR, true);
    writel(&t, DMAR_PRS_REG, VTD_PRS_PPR);
    status(&t, 0, false);
    writel(&t, DMAR_PECTL_REG, 0);
    g_assert_false(interrupted(&t, 0x43));
    stop(&t);
}

/* 7.5: interrupt remapping neither remaps nor blocks the event */
static void test_event_not_remapped(void)
{
    Test t;

    start_with(&t, "svm=on,intremap=on");
    t.dir = attach(&t, DEV);
    qvtd_enable(&t.vtd);
    qvtd_prq_init(&t.prq, &t.vtd, 0);
    register_pri(&t.dev);
    writeq(&t, DMAR_IRTA_REG, qvtd_new_table(&t.vtd));
    writel(&t, DMAR_GCMD_REG, VTD_GCMD_TE | VTD_GCMD_QIE | VTD_GCMD_SIRTP);
    writel(&t, DMAR_GCMD_REG, VTD_GCMD_TE | VTD_GCMD_QIE | VTD_GCMD_IRE);
    g_assert_cmphex(readl(&t, DMAR_GSTS_REG) & VTD_GSTS_IRES, !=, 0);
    set_vector(&t, 0x44);
    writel(&t, DMAR_PECTL_REG, 0);
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    status(&t, VTD_PRS_PPR, false);
    g_assert_true(interrupted(&t, 0x44));
    no_fault(&t);
    stop(&t);
}

/* 7.5: a read of a queue register returns after outstanding interrupts */
static void test_event_from_thread(void)
{
    Test t;

    start(&t);
    writel(&t, DMAR_PECTL_REG, 0);
    for (unsigned vector = 0x50; vector < 0x60; vector++) {
        set_vector(&t, vector);
        writel(&t, DMAR_PRS_REG, VTD_PRS_PPR);
        request(&t.dev, PASID, ADDR, 1, LAST | RD | ATD_FLAG_THREAD);
        g_assert_cmphex(readl(&t, DMAR_PRS_REG), ==, VTD_PRS_PPR);
        g_assert_true(interrupted(&t, vector));
        status(&t, VTD_PRS_PPR, false);
        qvtd_page_response(&t.vtd, DEV, PASID, 1, VTD_PAGE_RESP_SUCCESS);
    }
    stop(&t);
}

/* ---- Overflow ---- */

/* 7.4.1, table 31: full queue, PRO, and responses of the hardware */
static void test_overflow(void)
{
    Test t;

    start(&t);
    set_vector(&t, 0x45);
    for (int i = 0; i < 127; i++) {
        request(&t.dev, PASID, ADDR, i, LAST | RD);
    }
    status(&t, VTD_PRS_PPR, true);
    queued(&t, 127);
    responses(&t.dev, 0);
    /* The queue is full with one entry unused */
    writel(&t, DMAR_PRS_REG, VTD_PRS_PPR);
    writel(&t, DMAR_PECTL_REG, 0);
    request(&t.dev, PASID, ADDR, 127, LAST | RD);
    status(&t, VTD_PRS_PRO, false);
    g_assert_true(interrupted(&t, 0x45));
    response(&t.dev, 1, PASID, 127, SUCCESS);
    queued(&t, 127);
    /* No response without LPIG, but the device gets an error */
    request_fails(&t.dev, PASID, ADDR, 128, RD, -ENOSPC);
    responses(&t.dev, 1);
    /* PRO blocks requests even if there is space, and sends no second event */
    set_vector(&t, 0x46);
    writeq(&t, DMAR_PQH_REG, readq(&t, DMAR_PQT_REG));
    request(&t.dev, PASID, ADDR, 129, LAST | RD);
    response(&t.dev, 2, PASID, 129, SUCCESS);
    status(&t, VTD_PRS_PRO, false);
    g_assert_false(interrupted(&t, 0x46));
    queued(&t, 0);
    /* Requests are accepted again after PRO is cleared */
    writel(&t, DMAR_PRS_REG, VTD_PRS_PRO);
    request(&t.dev, PASID, ADDR, 130, LAST | RD);
    status(&t, VTD_PRS_PPR, false);
    g_assert_true(interrupted(&t, 0x46));
    queued(&t, 1);
    no_fault(&t);
    stop(&t);
}

/* Table 31: one response ends a group that is only partly in the queue */
static void test_overflow_group(void)
{
    Test t;

    start(&t);
    writeq(&t, DMAR_PQH_REG, 0x40);
    request(&t.dev, PASID, ADDR, 1, RD);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_OUTSTANDING), ==, 1);
    request(&t.dev, PASID, ADDR + KIB4, 1, LAST | RD);
    response(&t.dev, 1, PASID, 1, SUCCESS);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_OUTSTANDING), ==, 0);
    stop(&t);
}

/* ---- Errors ---- */

/* 11.4.11.3: the queue is not set up, or not in memory */
static void test_no_queue(void)
{
    Test t;

    start(&t);
    writeq(&t, DMAR_PQA_REG, 0);
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    response(&t.dev, 1, PASID, 1, INVALID);
    request_fails(&t.dev, PASID, ADDR, 2, RD, -EFAULT);
    writeq(&t, DMAR_PQA_REG, NO_RAM);
    request(&t.dev, PASID, ADDR, 3, LAST | RD);
    response(&t.dev, 2, PASID, 3, INVALID);
    /* The end of the queue exceeds the address space */
    writeq(&t, DMAR_PQA_REG, 0xfffffffff007);
    writeq(&t, DMAR_PQT_REG, 0x7ffc0);
    request(&t.dev, PASID, ADDR, 4, LAST | RD);
    response(&t.dev, 3, PASID, 4, INVALID);
    status(&t, 0, false);
    no_fault(&t);
    stop(&t);
}

/* Table 30 requires Invalid Request for the request, and a fault */
static void refused(Test *t, unsigned count, uint32_t pasid, uint8_t reason)
{
    qvtd_inv_global(&t->vtd);
    request(&t->dev, pasid, ADDR, 1, LAST | RD);
    response(&t->dev, count, pasid, 1, INVALID);
    fault(t, reason, pasid, ADDR);
    /* Without Last there is no response (7.1.3), but the same fault */
    request_fails(&t->dev, pasid, ADDR, 1, RD, -EFAULT);
    fault(t, reason, pasid, ADDR);
    responses(&t->dev, count);
    queued(t, 0);
}

/* Table 30: fault conditions up to the PASID-table entry */
static void test_table_errors(void)
{
    uint64_t ce, pde;
    Test t;

    start(&t);
    ce = qvtd_sm_context(&t.vtd, DEV);
    /* SPT.2, SPT.3, SPT.4.2 */
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_REGISTER_PRI, 9, 0, 0, 0), ==,
                    0);
    refused(&t, 1, 9, VTD_FR_PASID_ENTRY_P);
    qvtd_sm_pasid(&t.vtd, t.dir, 9, PE0 | 1 << 5, PE1, 0);
    refused(&t, 2, 9, VTD_FR_PASID_ENTRY_RSVD);
    qvtd_sm_pasid(&t.vtd, t.dir, 9, VTD_PASID_ENTRY_P, PE1, 0);
    refused(&t, 3, 9, VTD_FR_PASID_TABLE_ENTRY_INV);
    /* SPT.1, SPD.3, SPD.2 */
    pde = qtest_readq(t.qts, t.dir);
    qtest_writeq(t.qts, t.dir, NO_RAM | 1);
    refused(&t, 4, PASID, VTD_FR_PASID_TABLE_ACCESS_ERR);
    qtest_writeq(t.qts, t.dir, pde | 1 << 2);
    refused(&t, 5, PASID, VTD_FR_PASID_DIR_ENTRY_RSVD);
    qtest_writeq(t.qts, t.dir, 0);
    refused(&t, 6, PASID, VTD_FR_PASID_DIR_ENTRY_P);
    refused(&t, 7, NONE, VTD_FR_PASID_DIR_ENTRY_P);
    qtest_writeq(t.qts, t.dir, pde);
    /* SCT.8: page requests are disabled */
    qtest_writeq(t.qts, ce, t.dir | 1 | (CE & ~VTD_SM_CONTEXT_ENTRY_PRE));
    refused(&t, 8, PASID, VTD_FR_SM_CONTEXT_ENTRY_PRE);
    refused(&t, 9, NONE, VTD_FR_SM_CONTEXT_ENTRY_PRE);
    /* SCT.4.1: the device-TLB is disabled, page requests are enabled */
    qtest_writeq(t.qts, ce, t.dir | 1 | (CE & ~VTD_SM_CONTEXT_ENTRY_DTE));
    refused(&t, 10, PASID, VTD_FR_SM_CONTEXT_ENTRY_INV);
    /* SCT.6 */
    qtest_writeq(t.qts, ce, t.dir | 1 | (CE & ~VTD_SM_CONTEXT_ENTRY_PASIDE));
    refused(&t, 11, PASID, VTD_FR_SM_CONTEXT_ENTRY_PASIDE);
    /* SCT.2, SRT.2 */
    qtest_writeq(t.qts, ce, 0);
    refused(&t, 12, PASID, VTD_FR_SM_CONTEXT_ENTRY_P);
    qtest_writeq(t.qts, t.vtd.root, 0);
    refused(&t, 13, PASID, VTD_FR_SM_ROOT_ENTRY_P);
    stop(&t);
}

/* 7.1.1: FPD suppresses the report, not the response */
static void test_fpd(void)
{
    Test t;

    start(&t);
    qtest_writeq(t.qts, qvtd_sm_context(&t.vtd, DEV),
                 t.dir | 1 | VTD_CONTEXT_ENTRY_FPD);
    qvtd_inv_global(&t.vtd);
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    response(&t.dev, 1, PASID, 1, INVALID);
    no_fault(&t);
    stop(&t);
}

/* RTA.3: page requests need scalable mode, and enabled translation */
static void test_legacy_mode(void)
{
    Test t;

    start_with(&t, "svm=on");
    register_pri(&t.dev);
    t.vtd.scalable = false;
    qvtd_prq_init(&t.prq, &t.vtd, 0);
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    response(&t.dev, 1, PASID, 1, INVALID);
    no_fault(&t);
    qvtd_enable(&t.vtd);
    refused(&t, 2, NONE, VTD_FR_RTADDR_LEGACY_PRS);
    refused(&t, 3, PASID, VTD_FR_RTADDR_LEGACY_PRS);
    stop(&t);
}

/* ---- Draining (7.7, 7.10, 7.11) ---- */

/* The sequence with which Linux unbinds a process leaves no request */
static void test_unbind(void)
{
    uint64_t pe;
    Test t;

    start(&t);
    request(&t.dev, PASID, ADDR, 1, LAST | RD | ATD_FLAG_THREAD);
    /* Drain, and respond to the request */
    qvtd_prq_drain(&t.prq, DEV, PASID, DOMAIN);
    queued(&t, 1);
    next(&t, &(QVtdPageReq) { .sid = DEV, .pasid = PASID, .addr = ADDR,
                              .prgi = 1, .last = true, .read = true });
    qvtd_page_response(&t.vtd, DEV, PASID, 1, VTD_PAGE_RESP_INVALID);
    response(&t.dev, 1, PASID, 1, INVALID);
    /* Remove the PASID, and invalidate its entry */
    pe = (qtest_readq(t.qts, t.dir) & ~0xfffULL) + PASID * 64;
    qtest_writeq(t.qts, pe, VTD_PASID_ENTRY_FPD);
    qvtd_submit(&t.vtd, VTD_INV_DESC_PC | 1ULL << 4 | DOMAIN << 16 |
                        (uint64_t)PASID << 32, 0);
    request(&t.dev, PASID, ADDR, 2, LAST | RD | ATD_FLAG_THREAD);
    response(&t.dev, 2, PASID, 2, INVALID);
    /* Drain again */
    qvtd_prq_drain(&t.prq, DEV, PASID, DOMAIN);
    queued(&t, 0);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_OUTSTANDING), ==, 0);
    g_assert_cmphex(readl(&t, DMAR_PRS_REG) & VTD_PRS_PRO, ==, 0);
    no_fault(&t);
    stop(&t);
}

/* ---- Terminal conditions (7.9) ---- */

/* A response of the guest after that is discarded */
static void late_response(Test *t)
{
    g_assert_cmpuint(qatd_read(&t->dev, ATD_OUTSTANDING), ==, 0);
    qvtd_page_response(&t->vtd, DEV, PASID, 1, VTD_PAGE_RESP_SUCCESS);
    response(&t->dev, 1, PASID, 1, FAILURE);
    no_fault(t);
}

/* PCIe 5.0, 10.5.2.2: reset of the page request interface */
static void test_pri_reset(void)
{
    Test t;

    start(&t);
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    qecam_writew(t.qts, DEV, t.dev.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_RESET);
    response(&t.dev, 1, PASID, 1, FAILURE);
    late_response(&t);
    /* The interface is disabled now */
    request_fails(&t.dev, PASID, ADDR, 2, LAST | RD, -EPERM);
    qecam_writew(t.qts, DEV, t.dev.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    request(&t.dev, PASID, ADDR, 2, LAST | RD);
    qvtd_page_response(&t.vtd, DEV, PASID, 2, VTD_PAGE_RESP_SUCCESS);
    response(&t.dev, 2, PASID, 2, SUCCESS);
    stop(&t);
}

/* PCIe 5.0, 6.6.2: Function Level Reset, of this function only */
static void test_flr(void)
{
    Test t;

    start(&t);
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    request(&t.dev2, PASID, ADDR, 1, LAST | RD);
    qecam_writew(t.qts, DEV,
                 qecam_cap(t.qts, DEV, PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL,
                 PCI_EXP_DEVCTL_BCR_FLR);
    g_assert_cmpuint(qatd_read(&t.dev2, ATD_OUTSTANDING), ==, 1);
    qatd_init(&t.dev, t.qts, DEV, 0);
    response(&t.dev, 1, PASID, 1, FAILURE);
    qatd_enable_all(&t.dev, 512);
    late_response(&t);
    qvtd_page_response(&t.vtd, DEV2, PASID, 1, VTD_PAGE_RESP_SUCCESS);
    response(&t.dev2, 1, PASID, 1, SUCCESS);
    no_fault(&t);
    stop(&t);
}

/* Unplug a function while its request is in the queue */
static void test_unplug(void)
{
    const uint16_t port = QATD_BDF(0, 6, 0), bdf = QATD_BDF(1, 0, 0);
    QATD plugged;
    Test t;

    t = (Test) { };
    t.qts = start_machine("svm=on", "-global ICH9-LPC."
                          "acpi-pci-hotplug-with-bridge-support=off "
                          "-device pcie-root-port,id=rp,addr=6,chassis=1 "
                          "-device pci-ats-testdev,id=dev,bus=rp,addr=0");
    pc_alloc_init(&t.alloc, t.qts, 0);
    qvtd_init(&t.vtd, t.qts, &t.alloc);
    t.vtd.scalable = true;
    qecam_enable(t.qts);
    qecam_setup_bridge(t.qts, port, 1, 1);
    qatd_init(&plugged, t.qts, bdf, 0);
    qatd_enable_all(&plugged, 32);
    attach(&t, bdf);
    qvtd_enable(&t.vtd);
    qvtd_prq_init(&t.prq, &t.vtd, 0);
    register_pri(&plugged);
    request(&plugged, PASID, ADDR, 1, LAST | RD);
    qtest_qmp_device_del_send(t.qts, "dev");
    /* The guest powers off the slot (PCIe 5.0, 6.7.1) */
    qecam_writew(t.qts, port,
                 qecam_cap(t.qts, port, PCI_CAP_ID_EXP) + PCI_EXP_SLTCTL,
                 PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF);
    qtest_qmp_eventwait(t.qts, "DEVICE_DELETED");
    queued(&t, 1);
    qvtd_page_response(&t.vtd, bdf, PASID, 1, VTD_PAGE_RESP_SUCCESS);
    no_fault(&t);
    stop(&t);
}

/* A system reset empties the queue and cancels the event */
static void test_system_reset(void)
{
    Test t;

    start(&t);
    set_vector(&t, 0x47);
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    status(&t, VTD_PRS_PPR, true);
    qtest_system_reset(t.qts);
    status(&t, 0, false);
    g_assert_cmphex(readl(&t, DMAR_PECTL_REG), ==, VTD_PECTL_IM);
    g_assert_cmphex(readq(&t, DMAR_PQT_REG), ==, 0);
    g_assert_cmphex(readq(&t, DMAR_PQA_REG), ==, 0);
    stop(&t);
}

/* ---- Migration ---- */

static void migrate(Test *t)
{
    g_autofree char *path = qatd_save_machine(t->qts);

    t->qts = start_machine("svm=on", "-incoming defer");
    t->vtd.qts = t->qts;
    t->dev.qts = t->qts;
    t->dev2.qts = t->qts;
    qatd_load_machine(t->qts, path);
}

/*
 * Requests in the queue, outstanding groups, a pending event: all are migrated
 */
static void test_migration(void)
{
    QVtdPageReq first = { .sid = DEV, .pasid = PASID, .addr = ADDR, .prgi = 1,
                          .last = true, .read = true };
    QVtdPageReq second = { .sid = DEV2, .pasid = NONE, .addr = ADDR,
                           .prgi = 2, .last = true, .write = true };
    uint64_t regs[6];
    Test t;

    start(&t);
    set_vector(&t, 0x48);
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    request(&t.dev2, NONE, ADDR, 2, LAST | WR);
    next(&t, &first);
    for (int i = 0; i < ARRAY_SIZE(regs); i++) {
        regs[i] = readq(&t, DMAR_PQH_REG + i * 8);
    }
    migrate(&t);
    for (int i = 0; i < ARRAY_SIZE(regs); i++) {
        g_assert_cmphex(readq(&t, DMAR_PQH_REG + i * 8), ==, regs[i]);
    }
    status(&t, VTD_PRS_PPR, true);
    g_assert_false(interrupted(&t, 0x48));
    writel(&t, DMAR_PECTL_REG, 0);
    g_assert_true(interrupted(&t, 0x48));
    queued(&t, 1);
    next(&t, &second);
    responses(&t.dev, 0);
    responses(&t.dev2, 0);
    for (int i = 0; i < 2; i++) {
        qvtd_page_response(&t.vtd, DEV, PASID, 1, VTD_PAGE_RESP_SUCCESS);
        qvtd_page_response(&t.vtd, DEV2, NONE, 2, VTD_PAGE_RESP_INVALID);
    }
    response(&t.dev, 1, PASID, 1, SUCCESS);
    response(&t.dev2, 1, NONE, 2, INVALID);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_OUTSTANDING), ==, 0);
    g_assert_cmpuint(qatd_read(&t.dev2, ATD_OUTSTANDING), ==, 0);
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    queued(&t, 1);
    no_fault(&t);
    stop(&t);
}

/* PRO is migrated, and an event that was raised before is delivered */
static void test_migration_overflow(void)
{
    Test t;

    start(&t);
    set_vector(&t, 0x49);
    writel(&t, DMAR_PECTL_REG, 0);
    writeq(&t, DMAR_PQH_REG, 0x20);
    request(&t.dev, PASID, ADDR, 1, LAST | RD | ATD_FLAG_THREAD);
    migrate(&t);
    g_assert_true(interrupted(&t, 0x49));
    status(&t, VTD_PRS_PRO, false);
    writeq(&t, DMAR_PQH_REG, 0);
    request_fails(&t.dev, PASID, ADDR, 2, RD, -ENOSPC);
    writel(&t, DMAR_PRS_REG, VTD_PRS_PRO);
    request(&t.dev, PASID, ADDR, 2, RD);
    stop(&t);
}

/* Load a snapshot: older groups are outstanding again, newer ones have ended */
static void test_snapshot(void)
{
    g_autofree char *path = NULL;
    int fd = g_file_open_tmp("qtest-snapshot-XXXXXX", &path, NULL);
    Test t;

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    start(&t);
    qatd_add_snapshot_disk(t.qts, path);
    request(&t.dev, PASID, ADDR, 1, LAST | RD);
    qatd_snapshot(t.qts, "snapshot-save");
    request(&t.dev, PASID, ADDR, 2, LAST | RD);
    qvtd_page_response(&t.vtd, DEV, PASID, 1, VTD_PAGE_RESP_SUCCESS);
    status(&t, VTD_PRS_PPR, true);
    writel(&t, DMAR_PRS_REG, VTD_PRS_PPR);
    qatd_snapshot(t.qts, "snapshot-load");
    status(&t, VTD_PRS_PPR, true);
    queued(&t, 1);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_OUTSTANDING), ==, 1);
    /* The invalidation queue is in the state of the snapshot, too */
    t.vtd.iq_tail -= 2;
    t.vtd.seq--;
    for (int i = 0; i < 2; i++) {
        unsigned count = qatd_read(&t.dev, ATD_RESP_COUNT);

        qvtd_page_response(&t.vtd, DEV, PASID, 1, VTD_PAGE_RESP_SUCCESS);
        g_assert_cmpuint(qatd_read(&t.dev, ATD_RESP_COUNT), ==, count + !i);
    }
    /* The notifiers of the device are registered */
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_UNREGISTER_PRI, PASID, 0, 0,
                                 0), ==, 0);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_OUTSTANDING), ==, 0);
    no_fault(&t);
    stop(&t);
    unlink(path);
}

/* ---- Stress ---- */

/*
 * Two devices send requests in threads, and the guest responds late, to the
 * wrong function, twice, or not at all until it resets the interface.
 */
static void test_stress(void)
{
    enum { ROUNDS = 300 };
    QATD *devs[2];
    unsigned sent[2] = { };
    Test t;

    start(&t);
    devs[0] = &t.dev;
    devs[1] = &t.dev2;
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (int d = 0; d < 2; d++) {
            qatd_wait(devs[d]);
            if (qatd_read(devs[d], ATD_OUTSTANDING) >= 16) {
                continue;
            }
            qatd_write(devs[d], ATD_PRGI, sent[d]++ % 512);
            qatd_start(devs[d], ATD_CMD_PAGE_REQUEST, PASID, ADDR, 0,
                       LAST | RD | ATD_FLAG_THREAD);
        }
        if (i % 5 == 4) {
            for (unsigned n = qvtd_prq_count(&t.prq); n; n--) {
                QVtdPageReq req;

                qvtd_prq_next(&t.prq, &req);
                if (n % 7 == 3) {
                    continue;
                }
                if (n % 7 == 4) {
                    qvtd_page_response(&t.vtd, req.sid ^ 0x800, req.pasid,
                                       req.prgi, VTD_PAGE_RESP_SUCCESS);
                }
                if (n % 7 == 5) {
                    qvtd_page_response(&t.vtd, req.sid, req.pasid, req.prgi,
                                       VTD_PAGE_RESP_INVALID);
                }
                qvtd_page_response(&t.vtd, req.sid, req.pasid, req.prgi,
                                   VTD_PAGE_RESP_INVALID);
            }
            writel(&t, DMAR_PRS_REG, VTD_PRS_PPR | VTD_PRS_PRO);
        }
    }
    /* End all groups: each has had exactly one response */
    for (int d = 0; d < 2; d++) {
        g_assert_cmpint(qatd_wait(devs[d]), ==, 0);
        qecam_writew(t.qts, devs[d]->bdf, devs[d]->pri + PCI_PRI_CTRL,
                     PCI_PRI_CTRL_RESET);
        g_assert_cmpuint(qatd_read(devs[d], ATD_OUTSTANDING), ==, 0);
        responses(devs[d], sent[d]);
    }
    no_fault(&t);
    stop(&t);
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
    qtest_add_func("/vtd-prq/pri-reset", test_pri_reset);
    qtest_add_func("/vtd-prq/flr", test_flr);
    qtest_add_func("/vtd-prq/unplug", test_unplug);
    qtest_add_func("/vtd-prq/system-reset", test_system_reset);
    qtest_add_func("/vtd-prq/migration", test_migration);
    qtest_add_func("/vtd-prq/migration-overflow", test_migration_overflow);
    qtest_add_func("/vtd-prq/snapshot", test_snapshot);
    qtest_add_func("/vtd-prq/stress", test_stress);
    return g_test_run();
}
