/*
 * QTest testcase for the demo device for shared virtual memory
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * docs/specs/svm.rst describes the interface. The test acts as the guest: it
 * sets up the page tables of the process, and responds to page requests.
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/intel_iommu_prq.h"
#include "hw/misc/svm-demo.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd-prq.h"

#define DEV         QATD_BDF(0, 4, 0)
#define PORT        QATD_BDF(0, 4, 0)
#define BEHIND_PORT QATD_BDF(1, 0, 0)
#define PASID       5
#define DOMAIN      1
#define REGS        0xd0000000ULL

#define KIB4        0x1000ULL
#define MIB2        0x200000ULL
#define ADDR        0x7f0012345000ULL

/* First-stage entry (VT-d 9.7) */
#define FS          (VTD_FL_P | VTD_FL_RW | VTD_FL_US)

/* Address of MSIs: a page that is mapped for requests without PASID */
#define MSI_IOVA    0x5000ULL
#define MSI_DATA    0x4321

/* For begin_and_fault(): a vCPU runs SHORT operations, the worker LONG ones */
#define SHORT       64
#define LONG        (KIB4 + 64)
static uint64_t fault_size = SHORT;

#define MACHINE     "-M q35 -nodefaults -device intel-iommu,svm=on "       \
                    "-device svm,addr=4,id=svm0 "

typedef struct Test {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QVtdPrq prq;
    uint16_t bdf;
    uint64_t root;              /* tables of PASID */
    uint64_t msi;               /* address of MSIs */
    uint16_t ats;
    uint16_t pasid;
    uint16_t pri;
} Test;

/* ---- The device ---- */

static void wr(Test *t, unsigned reg, uint64_t val)
{
    if (reg == SVM_DEMO_REG_PASID) {
        qtest_writel(t->qts, REGS + reg, val);
    } else {
        qtest_writeq(t->qts, REGS + reg, val);
    }
}

static uint64_t rd(Test *t, unsigned reg)
{
    return qtest_readq(t->qts, REGS + reg);
}

static uint64_t result(Test *t)
{
    return rd(t, SVM_DEMO_REG_ADDR);
}

static uint16_t conf_readw(Test *t, uint16_t reg)
{
    return qecam_readw(t->qts, t->bdf, reg);
}

static void conf_writew(Test *t, uint16_t reg, uint16_t val)
{
    qecam_writew(t->qts, t->bdf, reg, val);
}

static void conf_enable_msi(Test *t)
{
    uint8_t msi = qecam_cap(t->qts, t->bdf, PCI_CAP_ID_MSI);

    qecam_writel(t->qts, t->bdf, msi + PCI_MSI_ADDRESS_LO, MSI_IOVA);
    qecam_writel(t->qts, t->bdf, msi + PCI_MSI_ADDRESS_HI, 0);
    conf_writew(t, msi + PCI_MSI_DATA_64, MSI_DATA);
    conf_writew(t, msi + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE);
}

static void conf_enable(Test *t, uint32_t pri_alloc)
{
    qecam_writel(t->qts, t->bdf, PCI_BASE_ADDRESS_0, REGS);
    conf_writew(t, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    t->ats = qecam_ext_cap(t->qts, t->bdf, PCI_EXT_CAP_ID_ATS);
    t->pasid = qecam_ext_cap(t->qts, t->bdf, PCI_EXT_CAP_ID_PASID);
    t->pri = qecam_ext_cap(t->qts, t->bdf, PCI_EXT_CAP_ID_PRI);
    conf_writew(t, t->pasid + PCI_PASID_CTRL,
                PCI_PASID_CTRL_ENABLE | PCI_PASID_CTRL_PRIV);
    qecam_writel(t->qts, t->bdf, t->pri + PCI_PRI_ALLOC_REQ, pri_alloc);
    conf_writew(t, t->pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    conf_writew(t, t->ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    conf_enable_msi(t);
    wr(t, SVM_DEMO_REG_PASID, PASID);
}

/* ---- Setup ---- */

static void guest_init(Test *t, uint32_t pri_alloc)
{
    uint64_t root0;

    t->root = qvtd_sm_attach_process(&t->vtd, t->bdf, PASID, DOMAIN, &root0);
    t->msi = qvtd_new_table(&t->vtd);
    qvtd_map_entry(&t->vtd, root0, 4, MSI_IOVA, KIB4, t->msi | FS, FS);
    qvtd_enable(&t->vtd);
    qvtd_prq_init(&t->prq, &t->vtd, 2);
    conf_enable(t, pri_alloc);
}

static void boot(Test *t, uint32_t pri_alloc)
{
    qecam_enable(t->qts);
    if (t->bdf == BEHIND_PORT) {
        qecam_setup_bridge(t->qts, PORT, 1, 1);
    }
    pc_alloc_init(&t->alloc, t->qts, 0);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    guest_init(t, pri_alloc);
}

static void start_with(Test *t, uint32_t pri_alloc, const char *args)
{
    *t = (Test) { .bdf = DEV };
    t->qts = qtest_initf(MACHINE "%s", args);
    boot(t, pri_alloc);
}

static void start(Test *t)
{
    start_with(t, 32, "");
}

static void stop(Test *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

/* ---- The address space of the process ---- */

static uint64_t page(Test *t)
{
    return qvtd_new_table(&t->vtd);
}

/* Returns the guest physical address of the page */
static uint64_t map(Test *t, uint64_t addr, uint64_t bits)
{
    uint64_t gpa = page(t);

    qvtd_map_entry(&t->vtd, t->root, 4, addr, KIB4, gpa | bits, FS);
    return gpa;
}

static void unmap(Test *t, uint64_t addr)
{
    qvtd_map_entry(&t->vtd, t->root, 4, addr, KIB4, 0, FS);
    qvtd_inv_pasid_pages(&t->vtd, DOMAIN, PASID, addr & ~(KIB4 - 1), 0);
    qvtd_submit(&t->vtd, VTD_INV_DESC_DEV_PIOTLB | (uint64_t)PASID << 32 |
                         (uint64_t)t->bdf << 16, addr);
}

static uint8_t pattern(uint64_t pos)
{
    return pos % SVM_DEMO_PATTERN_PERIOD;
}

/* Bit by bit, as in the definition */
static uint8_t crc8(uint8_t crc, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = (crc >> 1) ^ (crc & 1 ? SVM_DEMO_CRC8_POLYNOMIAL : 0);
        }
    }
    return crc;
}

/* Check that [gpa, gpa + len) holds the pattern from @pos on */
static void check_pattern(Test *t, uint64_t gpa, size_t len, uint64_t pos)
{
    g_autofree uint8_t *buf = g_malloc(len);

    qtest_memread(t->qts, gpa, buf, len);
    for (size_t i = 0; i < len; i++) {
        g_assert_cmphex(buf[i], ==, pattern(pos + i));
    }
}

static void check_untouched(Test *t, uint64_t gpa, size_t len)
{
    g_autofree uint8_t *buf = g_malloc(len);

    qtest_memread(t->qts, gpa, buf, len);
    g_assert_true(buffer_is_zero(buf, len));
}

/* ---- Operations ---- */

static void begin(Test *t, unsigned command, uint64_t addr, uint64_t size)
{
    qtest_writel(t->qts, t->msi, 0);
    wr(t, SVM_DEMO_REG_ADDR, addr);
    wr(t, SVM_DEMO_REG_SIZE, size);
    wr(t, SVM_DEMO_REG_START, command);
}

static void wait_until(Test *t, bool (*done)(Test *t, uint64_t arg),
                       uint64_t arg)
{
    int64_t deadline = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;

    while (!done(t, arg)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(100);
    }
}

static bool msi_arrived(Test *t, uint64_t arg)
{
    uint32_t data = qtest_readl(t->qts, t->msi);

    g_assert_true(!data || data == MSI_DATA);
    return data;
}

/* The worker sends MSIs: give it time to send one too early */
static void check_no_msi(Test *t)
{
    for (int i = 0; i < 200; i++) {
        g_assert_false(msi_arrived(t, 0));
    }
}

/* Wait for the MSI; returns the result */
static uint64_t finish(Test *t)
{
    wait_until(t, msi_arrived, 0);
    return result(t);
}

static bool has_failed(Test *t, uint64_t arg)
{
    return result(t) == SVM_DEMO_RESULT_ERROR;
}

static uint64_t run(Test *t, unsigned command, uint64_t addr, uint64_t size)
{
    begin(t, command, addr, size);
    return finish(t);
}

static uint64_t run_write(Test *t, uint64_t addr, uint64_t size)
{
    return run(t, SVM_DEMO_START_WRITE, addr, size);
}

/* ---- Page requests ---- */

static bool has_requests(Test *t, uint64_t n)
{
    return qvtd_prq_count(&t->prq) >= n;
}

static void expect_request(Test *t, uint64_t addr, bool is_write,
                           QVtdPageReq *rq)
{
    wait_until(t, has_requests, 1);
    qvtd_prq_next(&t->prq, rq);
    g_assert_cmphex(rq->sid, ==, t->bdf);
    g_assert_cmphex(rq->pasid, ==, PASID);
    g_assert_cmphex(rq->addr, ==, addr & ~(KIB4 - 1));
    g_assert_cmpint(rq->write, ==, is_write);
    g_assert_cmpint(rq->read, ==, !is_write);
    g_assert_false(rq->exec);
}

/* Start a write at ADDR, which is not mapped, and take the page request */
static void begin_and_fault(Test *t, QVtdPageReq *rq)
{
    if (fault_size > KIB4) {
        map(t, ADDR + KIB4, FS);
    }
    begin(t, SVM_DEMO_START_WRITE, ADDR, fault_size);
    expect_request(t, ADDR, true, rq);
    g_assert_false(msi_arrived(t, 0));
}

/* The device works after all that happened before */
static void check_alive(Test *t)
{
    uint64_t gpa = map(t, ADDR + 64 * KIB4, FS);

    g_assert_cmphex(run_write(t, ADDR + 64 * KIB4 + 8, 300), ==,
                    SVM_DEMO_RESULT_OK);
    check_pattern(t, gpa + 8, 300, 0);
    unmap(t, ADDR + 64 * KIB4);
}

/* ---- Fault injection ---- */

static void inject(Test *t, const char *name, unsigned value)
{
    qtest_qmp_assert_success(t->qts, "{ 'execute': 'qom-set', 'arguments': "
                             "{ 'path': 'svm0', 'property': %s, 'value': %u } "
                             "}", name, value);
}

static QDict *get_property(Test *t, const char *name)
{
    return qtest_qmp(t->qts, "{ 'execute': 'qom-get', 'arguments': "
                     "{ 'path': 'svm0', 'property': %s } }", name);
}

static unsigned injected(Test *t, const char *name)
{
    g_autoptr(QDict) rsp = get_property(t, name);

    return qdict_get_int(rsp, "return");
}

static bool injected_bool(Test *t, const char *name)
{
    g_autoptr(QDict) rsp = get_property(t, name);

    return qdict_get_bool(rsp, "return");
}

/* ---- Configuration space and registers ---- */

static void test_config(void)
{
    uint8_t msi;
    Test t;

    start(&t);
    g_assert_cmphex(qecam_readl(t.qts, DEV, PCI_VENDOR_ID), ==, 0x0b111234);
    g_assert_cmphex(qecam_readl(t.qts, DEV, PCI_CLASS_REVISION), ==,
                    0x00ff0010);
    msi = qecam_cap(t.qts, t.bdf, PCI_CAP_ID_MSI);
    g_assert_cmphex(conf_readw(&t, msi + PCI_MSI_FLAGS) &
                    (PCI_MSI_FLAGS_64BIT | PCI_MSI_FLAGS_QMASK), ==,
                    PCI_MSI_FLAGS_64BIT);
    g_assert_cmphex(conf_readw(&t, t.pasid + PCI_PASID_CAP), ==,
                    20 << 8 | PCI_PASID_CAP_PRIV);
    g_assert_cmphex(conf_readw(&t, t.ats + PCI_ATS_CAP) &
                    PCI_ATS_CAP_PAGE_ALIGNED, !=, 0);
    g_assert_cmphex(conf_readw(&t, t.pri + PCI_PRI_STATUS) &
                    PCI_PRI_STATUS_PASID, !=, 0);
    g_assert_cmpuint(qecam_readl(t.qts, DEV, t.pri + PCI_PRI_MAX_REQ), ==,
                     2048);
    qecam_writel(t.qts, DEV, PCI_BASE_ADDRESS_0, 0xffffffff);
    g_assert_cmphex(qecam_readl(t.qts, DEV, PCI_BASE_ADDRESS_0), ==,
                    0xfff00000);
    stop(&t);
}

/* Registers ignore accesses of another width */
static void test_access_width(void)
{
    uint64_t gpa;
    Test t;

    start(&t);
    gpa = map(&t, ADDR, FS);
    g_assert_cmphex(rd(&t, SVM_DEMO_REG_START), ==, SVM_DEMO_ID);
    g_assert_cmphex(qtest_readl(t.qts, REGS + SVM_DEMO_REG_START), ==, 0);
    g_assert_cmphex(qtest_readl(t.qts, REGS + SVM_DEMO_REG_START + 4), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, REGS + SVM_DEMO_REG_PASID), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, REGS + SVM_DEMO_REGS_SIZE - 8), ==, 0);
    /* Write-only registers read as 0 */
    g_assert_cmphex(rd(&t, SVM_DEMO_REG_CRC), ==, 0);
    wr(&t, SVM_DEMO_REG_SIZE, 16);
    g_assert_cmphex(rd(&t, SVM_DEMO_REG_SIZE), ==, 0);

    wr(&t, SVM_DEMO_REG_ADDR, ADDR);
    wr(&t, SVM_DEMO_REG_SIZE, 16);
    qtest_writel(t.qts, REGS + SVM_DEMO_REG_ADDR, 0);
    qtest_writel(t.qts, REGS + SVM_DEMO_REG_SIZE, 0);
    qtest_writew(t.qts, REGS + SVM_DEMO_REG_SIZE, 0);
    qtest_writeb(t.qts, REGS + SVM_DEMO_REG_SIZE, 0);
    qtest_writeq(t.qts, REGS + SVM_DEMO_REG_PASID, 0);
    qtest_writew(t.qts, REGS + SVM_DEMO_REG_PASID, 0);
    qtest_writel(t.qts, REGS + SVM_DEMO_REG_START, SVM_DEMO_START_WRITE);
    qtest_writeq(t.qts, REGS + SVM_DEMO_REG_START + 4, SVM_DEMO_START_WRITE);
    wr(&t, SVM_DEMO_REG_START, SVM_DEMO_START_WRITE);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, 16, 0);
    check_untouched(&t, gpa + 16, 16);
    stop(&t);
}

/* ---- Data ---- */

/* Any size and alignment; consecutive pages are not contiguous in memory */
static void test_write(void)
{
    const uint64_t addr = ADDR + 0xff3;
    const uint64_t size = 13 + 2 * KIB4 + 77;
    uint64_t gpa[4];
    Test t;

    start(&t);
    for (int i = 3; i >= 0; i--) {
        gpa[i] = map(&t, ADDR + i * KIB4, FS);
    }
    g_assert_cmphex(run_write(&t, addr, size), ==, SVM_DEMO_RESULT_OK);
    check_untouched(&t, gpa[0], 0xff3);
    check_pattern(&t, gpa[0] + 0xff3, 13, 0);
    check_pattern(&t, gpa[1], KIB4, 13);
    check_pattern(&t, gpa[2], KIB4, 13 + KIB4);
    check_pattern(&t, gpa[3], 77, 13 + 2 * KIB4);
    check_untouched(&t, gpa[3] + 77, KIB4 - 77);
    /* One byte */
    g_assert_cmphex(run_write(&t, ADDR + 77, 1), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa[0] + 77, 1, 0);
    stop(&t);
}

static void test_huge_page(void)
{
    const uint64_t addr = 0x40000000 + MIB2 - 300;
    uint64_t huge, small;
    Test t;

    start(&t);
    huge = QEMU_ALIGN_UP(guest_alloc(&t.alloc, 2 * MIB2), MIB2);
    qtest_memset(t.qts, huge, 0, MIB2);
    small = page(&t);
    /* 4 KiB, 2 MiB, 4 KiB */
    qvtd_map_entry(&t.vtd, t.root, 4, addr & ~(KIB4 - 1), KIB4, small | FS, FS);
    qvtd_map_entry(&t.vtd, t.root, 4, addr + 300, MIB2, huge | FS, FS);
    qvtd_map_entry(&t.vtd, t.root, 4, addr + 300 + MIB2, KIB4, page(&t) | FS,
                   FS);
    g_assert_cmphex(run_write(&t, addr, 300 + MIB2 + 5), ==,
                    SVM_DEMO_RESULT_OK);
    check_pattern(&t, small + KIB4 - 300, 300, 0);
    check_pattern(&t, huge, MIB2, 300);
    stop(&t);
}

static void test_read(void)
{
    uint8_t buf[2 * KIB4];
    uint64_t gpa[2];
    uint8_t crc;
    Test t;

    start(&t);
    for (int i = 0; i < sizeof(buf); i++) {
        buf[i] = i * 7 + (i >> 5);
    }
    for (int i = 1; i >= 0; i--) {
        /* Read permission is enough */
        gpa[i] = map(&t, ADDR + i * KIB4, VTD_FL_P | VTD_FL_US);
        qtest_memwrite(t.qts, gpa[i], buf + i * KIB4, KIB4);
    }
    crc = crc8(SVM_DEMO_CRC8_INIT, buf + 3, 5000);
    wr(&t, SVM_DEMO_REG_CRC, crc);
    g_assert_cmphex(run(&t, SVM_DEMO_START_READ, ADDR + 3, 5000), ==,
                    SVM_DEMO_RESULT_OK);
    wr(&t, SVM_DEMO_REG_CRC, crc ^ 0x10);
    g_assert_cmphex(run(&t, SVM_DEMO_START_READ, ADDR + 3, 5000), ==,
                    SVM_DEMO_RESULT_ERROR);
    /* The CRC covers all bits of the register */
    wr(&t, SVM_DEMO_REG_CRC, crc | 0x100);
    g_assert_cmphex(run(&t, SVM_DEMO_START_READ, ADDR + 3, 5000), ==,
                    SVM_DEMO_RESULT_ERROR);
    /* A known CRC: that of 0x00 */
    qtest_memset(t.qts, gpa[0], 0, 1);
    wr(&t, SVM_DEMO_REG_CRC, crc8(SVM_DEMO_CRC8_INIT, (const uint8_t *)"", 1));
    g_assert_cmphex(run(&t, SVM_DEMO_START_READ, ADDR, 1), ==,
                    SVM_DEMO_RESULT_OK);
    stop(&t);
}

/* The result stays until the next operation ends */
static void test_result(void)
{
    Test t;

    start(&t);
    map(&t, ADDR, FS);
    g_assert_cmphex(result(&t), ==, SVM_DEMO_RESULT_OK);
    g_assert_cmphex(run_write(&t, ADDR, 0), ==, SVM_DEMO_RESULT_ERROR);
    wr(&t, SVM_DEMO_REG_START, 0);
    wr(&t, SVM_DEMO_REG_START, 3);
    g_assert_cmphex(result(&t), ==, SVM_DEMO_RESULT_ERROR);
    g_assert_cmphex(run_write(&t, ADDR, 1), ==, SVM_DEMO_RESULT_OK);
    stop(&t);
}

static void test_invalid_range(void)
{
    uint64_t gpa;
    Test t;

    start(&t);
    gpa = map(&t, 0xfffffffffffff000ULL, FS);
    g_assert_cmphex(run_write(&t, ADDR, 0), ==, SVM_DEMO_RESULT_ERROR);
    g_assert_cmphex(run_write(&t, UINT64_MAX - 15, 17), ==,
                    SVM_DEMO_RESULT_ERROR);
    g_assert_cmphex(run_write(&t, 2, UINT64_MAX), ==, SVM_DEMO_RESULT_ERROR);
    check_untouched(&t, gpa, KIB4);
    /* The range may end at the last byte */
    g_assert_cmphex(run_write(&t, UINT64_MAX - 15, 16), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa + KIB4 - 16, 16, 0);
    check_alive(&t);
    stop(&t);
}

/* 7.8.8.3: the PASID must be enabled, and has 20 bits */
static void test_pasid(void)
{
    uint64_t gpa;
    Test t;

    start(&t);
    gpa = map(&t, ADDR, FS);
    wr(&t, SVM_DEMO_REG_PASID, PASID + (1u << 21));
    g_assert_cmphex(run_write(&t, ADDR, 16), ==, SVM_DEMO_RESULT_ERROR);
    wr(&t, SVM_DEMO_REG_PASID, PASID);
    conf_writew(&t, t.pasid + PCI_PASID_CTRL, 0);
    g_assert_cmphex(run_write(&t, ADDR, 16), ==, SVM_DEMO_RESULT_ERROR);
    check_untouched(&t, gpa, 16);
    /* Without PASID, the tables of the function are used */
    wr(&t, SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    g_assert_cmphex(run_write(&t, MSI_IOVA + 64, 16), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, t.msi + 64, 16, 0);
    stop(&t);
}

static void test_privileged(void)
{
    uint64_t gpa;
    QVtdPageReq rq;
    Test t;

    start(&t);
    gpa = map(&t, ADDR, VTD_FL_P | VTD_FL_RW);
    begin(&t, SVM_DEMO_START_WRITE, ADDR, 16);
    expect_request(&t, ADDR, true, &rq);
    g_assert_false(rq.priv);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_INVALID);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    check_untouched(&t, gpa, 16);

    wr(&t, SVM_DEMO_REG_OPTIONS, SVM_DEMO_OPTION_PRIV);
    g_assert_cmphex(run_write(&t, ADDR, 16), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, 16, 0);
    /* 7.8.8.3: Privileged Mode Enable */
    conf_writew(&t, t.ats + PCI_ATS_CTRL, 0);
    conf_writew(&t, t.pasid + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE);
    conf_writew(&t, t.ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    g_assert_cmphex(run_write(&t, ADDR, 16), ==, SVM_DEMO_RESULT_ERROR);
    stop(&t);
}

/* 10.5.1.3: without ATS, the device cannot access memory */
static void test_ats_disabled(void)
{
    uint64_t gpa;
    Test t;

    start(&t);
    gpa = map(&t, ADDR, FS);
    conf_writew(&t, t.ats + PCI_ATS_CTRL, 0);
    g_assert_cmphex(run_write(&t, ADDR, 16), ==, SVM_DEMO_RESULT_ERROR);
    check_untouched(&t, gpa, 16);
    conf_writew(&t, t.ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    g_assert_cmphex(run_write(&t, ADDR, 16), ==, SVM_DEMO_RESULT_OK);
    stop(&t);
}

/* Only RAM: neither the device's own registers, nor the interrupt range */
static void test_mmio_address(void)
{
    Test t;

    start(&t);
    qvtd_map_entry(&t.vtd, t.root, 4, ADDR, KIB4, REGS | FS, FS);
    g_assert_cmphex(run_write(&t, ADDR, 64), ==, SVM_DEMO_RESULT_ERROR);
    g_assert_cmphex(rd(&t, SVM_DEMO_REG_START), ==, SVM_DEMO_ID);
    wr(&t, SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    g_assert_cmphex(run_write(&t, 0xfee00000, 4), ==, SVM_DEMO_RESULT_ERROR);
    wr(&t, SVM_DEMO_REG_PASID, PASID);
    check_alive(&t);
    stop(&t);
}

/* ---- Page requests ---- */

/*
 * 10.4: the device requests a missing page; the response resumes the operation
 */
static void test_page_request(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    Test t;

    start(&t);
    begin(&t, SVM_DEMO_START_WRITE, ADDR + 5, 16);
    expect_request(&t, ADDR, true, &rq);
    g_assert_true(rq.last);
    gpa = map(&t, ADDR, FS);
    g_assert_false(msi_arrived(&t, 0));
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa + 5, 16, 0);
    g_assert_cmpuint(qvtd_prq_count(&t.prq), ==, 0);
    stop(&t);
}

/* A write to a read-only page requests write permission */
static void test_page_request_permission(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    Test t;

    start(&t);
    gpa = map(&t, ADDR, VTD_FL_P | VTD_FL_US);
    begin(&t, SVM_DEMO_START_WRITE, ADDR, 16);
    expect_request(&t, ADDR, true, &rq);
    check_untouched(&t, gpa, 16);
    gpa = map(&t, ADDR, FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, 16, 0);

    wr(&t, SVM_DEMO_REG_CRC, 0);
    begin(&t, SVM_DEMO_START_READ, ADDR + KIB4, 16);
    expect_request(&t, ADDR + KIB4, false, &rq);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_INVALID);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    stop(&t);
}

/* 10.4.2.1: every response but Success ends the operation */
static void test_failed_response(void)
{
    static const unsigned codes[] = {
        VTD_PAGE_RESP_INVALID, VTD_PAGE_RESP_FAILURE, 7,
    };
    QVtdPageReq rq;
    Test t;

    start(&t);
    for (int i = 0; i < ARRAY_SIZE(codes); i++) {
        begin_and_fault(&t, &rq);
        qvtd_prq_respond(&t.prq, &rq, codes[i]);
        g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_ERROR);
        /* Response Failure has disabled the interface: enable it again */
        conf_writew(&t, t.pri + PCI_PRI_CTRL, 0);
        conf_writew(&t, t.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    }
    check_alive(&t);
    stop(&t);
}

/* The page is still missing after Success: the device requests it again */
static void test_success_without_page(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    Test t;

    start(&t);
    begin_and_fault(&t, &rq);
    for (int i = 0; i < 40; i++) {
        qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
        expect_request(&t, ADDR, true, &rq);
    }
    gpa = map(&t, ADDR, FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, 64, 0);
    stop(&t);
}

static bool page_has_pattern(Test *t, uint64_t gpa)
{
    return qtest_readb(t->qts, gpa + KIB4 - 1) != 0;
}

/*
 * While the device waits for pages, it has requested all missing ones, and has
 * written those that are present.
 */
static void test_progress_while_waiting(void)
{
    QVtdPageReq rq[2];
    uint64_t gpa[5];
    Test t;

    start(&t);
    gpa[0] = map(&t, ADDR, FS);
    gpa[2] = map(&t, ADDR + 2 * KIB4, FS);
    gpa[4] = map(&t, ADDR + 4 * KIB4, FS);
    begin(&t, SVM_DEMO_START_WRITE, ADDR, 5 * KIB4);
    expect_request(&t, ADDR + KIB4, true, &rq[0]);
    expect_request(&t, ADDR + 3 * KIB4, true, &rq[1]);
    wait_until(&t, page_has_pattern, gpa[0]);
    check_pattern(&t, gpa[0], KIB4, 0);

    gpa[3] = map(&t, ADDR + 3 * KIB4, FS);
    qvtd_prq_respond(&t.prq, &rq[1], VTD_PAGE_RESP_SUCCESS);
    gpa[1] = map(&t, ADDR + KIB4, FS);
    qvtd_prq_respond(&t.prq, &rq[0], VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_OK);
    for (int i = 0; i < 5; i++) {
        check_pattern(&t, gpa[i], KIB4, i * KIB4);
    }
    g_assert_cmpuint(qvtd_prq_count(&t.prq), ==, 0);
    stop(&t);
}

/*
 * 10.5.2.5: the device has no more requests outstanding than the allocation
 * permits. Consecutive pages form one group.
 */
static void test_allocation(void)
{
    const unsigned alloc = 7, pages = 20;
    QVtdPageReq rq;
    Test t;

    start_with(&t, alloc, "");
    begin(&t, SVM_DEMO_START_WRITE, ADDR, pages * KIB4);
    for (unsigned done = 0; done < pages; ) {
        unsigned n = MIN(alloc, pages - done);

        for (unsigned i = 0; i < n; i++) {
            expect_request(&t, ADDR + (done + i) * KIB4, true, &rq);
            g_assert_cmpint(rq.last, ==, i == n - 1);
        }
        g_assert_false(has_requests(&t, 1));
        for (unsigned i = 0; i < n; i++) {
            map(&t, ADDR + (done + i) * KIB4, FS);
        }
        qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
        done += n;
    }
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_OK);
    stop(&t);
}

/* Several groups are outstanding; the responses come in any order */
static void test_groups(void)
{
    const unsigned pages = 100;
    QVtdPageReq last[100];
    uint64_t gpa[100];
    unsigned groups = 0;
    Test t;

    start_with(&t, 2048, "");
    begin(&t, SVM_DEMO_START_WRITE, ADDR, pages * KIB4);
    for (unsigned i = 0; i < pages; i++) {
        expect_request(&t, ADDR + i * KIB4, true, &last[groups]);
        groups += last[groups].last;
        gpa[i] = map(&t, ADDR + i * KIB4, FS);
    }
    g_assert_cmpuint(groups, >, 1);
    while (groups) {
        g_assert_false(msi_arrived(&t, 0));
        qvtd_prq_respond(&t.prq, &last[--groups], VTD_PAGE_RESP_SUCCESS);
    }
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_OK);
    g_assert_false(has_requests(&t, 1));
    for (unsigned i = 0; i < pages; i++) {
        check_pattern(&t, gpa[i], KIB4, i * KIB4);
    }
    stop(&t);
}

/*
 * The queue overflows in the middle of a group: the device requests the lost
 * pages again when there is space.
 */
static void test_overflow(void)
{
    const unsigned room = (KIB4 << 2) / VTD_PRQ_DESC_SIZE - 1;
    int64_t deadline = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;
    QVtdPageReq rq;
    uint64_t gpa[40] = { };
    uint64_t i;
    Test t;

    start_with(&t, 2048, "");
    wr(&t, SVM_DEMO_REG_ADDR, ADDR + 1000 * KIB4);
    inject(&t, "x-flood", room - 10);
    begin(&t, SVM_DEMO_START_WRITE, ADDR, ARRAY_SIZE(gpa) * KIB4);
    wait_until(&t, has_requests, room);
    while (!msi_arrived(&t, 0)) {
        while (has_requests(&t, 1)) {
            qvtd_prq_next(&t.prq, &rq);
            i = (rq.addr - ADDR) / KIB4;
            /* Skip the injected ones, which may have the same indices */
            if (!rq.last || i >= ARRAY_SIZE(gpa)) {
                continue;
            }
            /* The page is mapped only for the last request of a group */
            if (!gpa[i]) {
                gpa[i] = map(&t, rq.addr, FS);
            }
            qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
        }
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        qvtd_writel(t.qts, DMAR_PRS_REG,
                    VTD_PRS_PRO);
        g_usleep(100);
    }
    g_assert_cmphex(result(&t), ==, SVM_DEMO_RESULT_OK);
    for (i = 0; i < ARRAY_SIZE(gpa); i++) {
        check_pattern(&t, gpa[i], KIB4, i * KIB4);
    }
    stop(&t);
}

/* Without allocation the device cannot request pages */
static void test_no_allocation(void)
{
    Test t;

    start_with(&t, 0, "");
    g_assert_cmphex(run_write(&t, ADDR, 64), ==, SVM_DEMO_RESULT_ERROR);
    g_assert_false(has_requests(&t, 1));
    check_alive(&t);
    stop(&t);
}

/* ---- Short operations ---- */

/* A present page: the operation ends while the register is written */
static void test_inline(void)
{
    uint64_t gpa;
    Test t;

    start(&t);
    gpa = map(&t, ADDR, FS);
    begin(&t, SVM_DEMO_START_WRITE, ADDR, KIB4);
    g_assert_true(msi_arrived(&t, 0));
    g_assert_cmphex(result(&t), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, KIB4, 0);
    stop(&t);
}

/* A missing page: the operation ends while the response is processed */
static void test_inline_with_page_request(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    Test t;

    start(&t);
    begin(&t, SVM_DEMO_START_WRITE, ADDR, 64);
    g_assert_true(has_requests(&t, 1));
    qvtd_prq_next(&t.prq, &rq);
    gpa = map(&t, ADDR, FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_true(msi_arrived(&t, 0));
    g_assert_cmphex(result(&t), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, 64, 0);
    stop(&t);
}

/* The interrupt is remapped (VT-d 5.1) while the queue is processed */
static void test_inline_remapped(void)
{
    uint8_t msi;
    QVtdPageReq rq;
    Test t;

    start(&t);
    /* No entry of the table is present, so that a fault is recorded */
    qvtd_writeq(t.qts, DMAR_IRTA_REG, page(&t));
    qvtd_writel(t.qts, DMAR_GCMD_REG,
                VTD_GCMD_TE | VTD_GCMD_QIE | VTD_GCMD_SIRTP);
    qvtd_writel(t.qts, DMAR_GCMD_REG,
                VTD_GCMD_TE | VTD_GCMD_QIE | VTD_GCMD_IRE);
    msi = qecam_cap(t.qts, t.bdf, PCI_CAP_ID_MSI);
    qecam_writel(t.qts, t.bdf, msi + PCI_MSI_ADDRESS_LO,
                 VTD_INTERRUPT_ADDR_FIRST | 1 << 4);
    conf_writew(&t, msi + PCI_MSI_DATA_64, 0);

    begin_and_fault(&t, &rq);
    map(&t, ADDR, FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(result(&t), ==, SVM_DEMO_RESULT_OK);
    g_assert_cmphex(qvtd_readq(t.qts, DMAR_FRCD_REG_0_2), ==,
                    VTD_FRCD_F | VTD_FRCD_FR(VTD_FR_IR_ENTRY_P) |
                    VTD_FRCD_SID(DEV));
    stop(&t);
}

/* ---- Misbehaviour ---- */

/* A second start, and other registers, do not affect a running operation */
static void test_start_while_busy(void)
{
    QVtdPageReq rq;
    uint64_t gpa, other;
    Test t;

    start(&t);
    other = map(&t, ADDR + 2 * KIB4, FS);
    begin_and_fault(&t, &rq);
    wr(&t, SVM_DEMO_REG_ADDR, ADDR + 2 * KIB4);
    wr(&t, SVM_DEMO_REG_SIZE, 1);
    wr(&t, SVM_DEMO_REG_OPTIONS, SVM_DEMO_OPTION_PRIV);
    wr(&t, SVM_DEMO_REG_START, SVM_DEMO_START_WRITE);
    wr(&t, SVM_DEMO_REG_START, SVM_DEMO_START_READ);
    gpa = map(&t, ADDR, FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, 64, 0);
    check_untouched(&t, other, 64);
    stop(&t);
}

/* An operation ends without MSI, which is not sent later, either */
static void test_no_msi(void)
{
    uint8_t msi;
    Test t;

    start(&t);
    msi = qecam_cap(t.qts, t.bdf, PCI_CAP_ID_MSI);
    conf_writew(&t, msi + PCI_MSI_FLAGS, 0);
    begin(&t, SVM_DEMO_START_WRITE, ADDR, 0);
    wait_until(&t, has_failed, 0);
    conf_writew(&t, msi + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE);
    check_no_msi(&t);
    check_alive(&t);
    stop(&t);
}

/* Only 1 and 2 start an operation */
static void test_invalid_command(void)
{
    Test t;

    start(&t);
    wr(&t, SVM_DEMO_REG_SIZE, 0);
    wr(&t, SVM_DEMO_REG_START, 0);
    wr(&t, SVM_DEMO_REG_START, SVM_DEMO_START_READ + 1);
    check_no_msi(&t);
    g_assert_cmphex(result(&t), ==, SVM_DEMO_RESULT_OK);
    check_alive(&t);
    stop(&t);
}

/* Changing the PASID ends the operation with an error and an MSI */
static void test_pasid_while_busy(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    Test t;

    start(&t);
    begin_and_fault(&t, &rq);
    wr(&t, SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    wr(&t, SVM_DEMO_REG_PASID, PASID + 1);
    /* The operation ends with the response (6.20.1), which comes too late */
    gpa = map(&t, ADDR, FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    wr(&t, SVM_DEMO_REG_PASID, PASID);
    check_alive(&t);
    check_untouched(&t, gpa, 64);
    stop(&t);
}

/* 10.5.1.3, 10.5.2.2, 7.8.8.3, 7.5.1.1.3: the guest disables a capability */
static void check_disable_while_busy(Test *t, uint16_t reg, uint16_t on)
{
    QVtdPageReq rq;
    uint64_t gpa;

    begin_and_fault(t, &rq);
    conf_writew(t, reg, 0);
    if (reg == t->pri + PCI_PRI_CTRL) {
        /*
         * The operation ends without response, even if the page is present
         * then
         */
        wait_until(t, has_failed, 0);
    }
    gpa = map(t, ADDR, FS);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    wait_until(t, has_failed, 0);
    conf_writew(t, reg, on);
    check_alive(t);
    check_untouched(t, gpa, 64);
    unmap(t, ADDR);
}

static void test_disable_while_busy(void)
{
    uint16_t command;
    Test t;

    start(&t);
    check_disable_while_busy(&t, t.ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    check_disable_while_busy(&t, t.pasid + PCI_PASID_CTRL,
                             PCI_PASID_CTRL_ENABLE | PCI_PASID_CTRL_PRIV);
    check_disable_while_busy(&t, t.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    /* Disable bus mastering, but not the access to the registers */
    command = conf_readw(&t, PCI_COMMAND);
    {
        QVtdPageReq rq;

        begin_and_fault(&t, &rq);
        conf_writew(&t, PCI_COMMAND, command & ~PCI_COMMAND_MASTER);
        qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
        wait_until(&t, has_failed, 0);
        /* An MSI is a memory write: it is not sent, either */
        g_assert_false(msi_arrived(&t, 0));
        conf_writew(&t, PCI_COMMAND, command);
        check_alive(&t);
    }
    stop(&t);
}

/* 6.6.2: FLR ends the operation without a result */
static void test_flr_while_busy(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    Test t;

    start(&t);
    g_assert_cmphex(run_write(&t, ADDR, 0), ==, SVM_DEMO_RESULT_ERROR);
    begin_and_fault(&t, &rq);
    conf_writew(&t, qecam_cap(t.qts, t.bdf, PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL,
                PCI_EXP_DEVCTL_BCR_FLR);
    gpa = map(&t, ADDR, FS);
    qvtd_prq_drain(&t.prq, DEV, PASID, DOMAIN);
    conf_enable(&t, 32);
    g_assert_cmphex(result(&t), ==, SVM_DEMO_RESULT_OK);
    g_assert_false(msi_arrived(&t, 0));
    /* All registers have their default values */
    wr(&t, SVM_DEMO_REG_START, SVM_DEMO_START_WRITE);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    check_alive(&t);
    check_untouched(&t, gpa, 64);
    stop(&t);
}

static void test_reset_while_busy(void)
{
    QVtdPageReq rq;
    Test t;

    start(&t);
    begin_and_fault(&t, &rq);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(t.qts, "RESET");
    qecam_enable(t.qts);
    t.vtd.iq_tail = 0;
    guest_init(&t, 32);
    check_alive(&t);
    stop(&t);
}

static void test_unplug_while_busy(void)
{
    QVtdPageReq rq;
    Test t;

    t = (Test) { .bdf = BEHIND_PORT };
    t.qts = qtest_initf("-M q35 -nodefaults -device intel-iommu,svm=on "
                        "-device pcie-root-port,id=rp,addr=4,chassis=1 "
                        "-device svm,bus=rp,id=svm0");
    boot(&t, 32);
    begin_and_fault(&t, &rq);
    qecam_unplug(t.qts, "svm0");
    stop(&t);
}

/* ---- Invalidation ---- */

/* 10.3: the device does not use invalidated translations */
static void test_invalidation(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    Test t;

    start(&t);
    gpa = map(&t, ADDR, FS);
    g_assert_cmphex(run_write(&t, ADDR, 16), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, 16, 0);
    qtest_memset(t.qts, gpa, 0, KIB4);
    unmap(&t, ADDR);
    begin(&t, SVM_DEMO_START_WRITE, ADDR, 16);
    expect_request(&t, ADDR, true, &rq);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_INVALID);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    check_untouched(&t, gpa, 16);
    stop(&t);
}

/* ---- Effects of fault injection ---- */

/* The opposite of test_invalidation(), which detects the fault */
static void test_inject_ignored_invalidation(void)
{
    uint64_t gpa;
    Test t;

    start_with(&t, 32, "-global svm.x-ignore-invalidations=on");
    gpa = map(&t, ADDR, FS);
    g_assert_cmphex(run_write(&t, ADDR, 16), ==, SVM_DEMO_RESULT_OK);
    qtest_memset(t.qts, gpa, 0, KIB4);
    unmap(&t, ADDR);
    g_assert_cmphex(run_write(&t, ADDR, 16), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, 16, 0);
    stop(&t);
}

static void test_inject_deny(void)
{
    QVtdPageReq rq;
    Test t;

    start(&t);
    inject(&t, "x-deny-requests", 1);
    g_assert_cmphex(run_write(&t, ADDR, 16), ==, SVM_DEMO_RESULT_ERROR);
    g_assert_false(has_requests(&t, 1));
    g_assert_cmpuint(injected(&t, "x-deny-requests"), ==, 0);
    /* The property affects only one request */
    begin_and_fault(&t, &rq);
    map(&t, ADDR, FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_OK);
    stop(&t);
}

static void test_inject_drop(void)
{
    QVtdPageReq rq;
    Test t;

    start(&t);
    inject(&t, "x-drop-responses", 1);
    begin_and_fault(&t, &rq);
    map(&t, ADDR, FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmpuint(injected(&t, "x-drop-responses"), ==, 0);
    /* The group has ended for the guest, but not for the device */
    g_assert_false(msi_arrived(&t, 0));
    wr(&t, SVM_DEMO_REG_PASID, PASID);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    check_alive(&t);
    stop(&t);
}

static void test_inject_delay(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    Test t;

    start(&t);
    /* A delay of more nanoseconds than 32 bits hold */
    inject(&t, "x-delay-responses", 5000);
    begin_and_fault(&t, &rq);
    gpa = map(&t, ADDR, FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    /* The test controls the virtual clock */
    qtest_clock_step(t.qts, 4999LL * 1000 * 1000);
    check_no_msi(&t);
    check_untouched(&t, gpa, 64);
    qtest_clock_step(t.qts, 1000 * 1000);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, 64, 0);
    stop(&t);
}

/*
 * PCIe 5.0, 6.6.1: a reset ends all page request groups, including those whose
 * responses are delayed: later operations do not wait for them
 */
static void test_inject_delay_and_reset(void)
{
    QVtdPageReq rq;
    Test t;

    start(&t);
    inject(&t, "x-delay-responses", 5000);
    begin_and_fault(&t, &rq);
    map(&t, ADDR, FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    inject(&t, "x-delay-responses", 0);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(t.qts, "RESET");
    qecam_enable(t.qts);
    /* Otherwise the delayed response might end as long as PRI is disabled */
    conf_writew(&t, t.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    t.vtd.iq_tail = 0;
    guest_init(&t, 32);
    check_alive(&t);
    stop(&t);
}

static void test_inject_flood(void)
{
    const unsigned room = (KIB4 << 2) / VTD_PRQ_DESC_SIZE - 1;
    Test t;

    start(&t);
    wr(&t, SVM_DEMO_REG_ADDR, ADDR);
    inject(&t, "x-flood", 10);
    g_assert_cmpuint(injected(&t, "x-flood"), ==, 10);
    g_assert_cmpuint(qvtd_prq_count(&t.prq), ==, 10);
    inject(&t, "x-flood", 2000);
    g_assert_cmpuint(qvtd_prq_count(&t.prq), ==, room);
    g_assert_cmphex(qvtd_readl(t.qts,
                               DMAR_PRS_REG) & VTD_PRS_PRO, !=, 0);
    check_alive(&t);
    stop(&t);
}

/* Setting an invalid value fails, and the error message contains @why */
static void check_refused(QTestState *qts, const char *name, const char *value,
                          const char *why)
{
    g_autofree char *json = g_strdup_printf(
        "{ 'execute': 'qom-set', 'arguments': { 'path': 'svm0', "
        "'property': '%s', 'value': %s } }", name, value);
    QDict *error = qtest_qmp_assert_failure_ref(qts, json, NULL);

    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), why));
    qobject_unref(error);
}

static void test_inject_properties(void)
{
    Test t;

    start(&t);
    check_refused(t.qts, "x-flood", "65537", "x-flood: at most 65536");
    check_refused(t.qts, "x-flood", "true", "x-flood");
    check_refused(t.qts, "x-drop-responses", "'many'", "x-drop-responses");
    check_refused(t.qts, "x-deny-requests", "-1", "x-deny-requests");
    check_refused(t.qts, "x-ignore-invalidations", "3",
                  "x-ignore-invalidations");
    g_assert_cmpuint(injected(&t, "x-drop-responses"), ==, 0);
    g_assert_cmpuint(injected(&t, "x-deny-requests"), ==, 0);
    g_assert_false(injected_bool(&t, "x-ignore-invalidations"));
    g_assert_cmpuint(qvtd_prq_count(&t.prq), ==, 0);

    qtest_qmp_assert_success(t.qts, "{ 'execute': 'qom-set', 'arguments': "
                             "{ 'path': 'svm0', 'value': true, "
                             "'property': 'x-ignore-invalidations' } }");
    g_assert_true(injected_bool(&t, "x-ignore-invalidations"));
    stop(&t);
}

/* device_add fails with the message @why, and leaves no device behind */
static void check_no_device(QTestState *qts, const char *args, const char *why)
{
    g_autofree char *json = g_strdup_printf(
        "{ 'execute': 'device_add', 'arguments': { 'driver': 'svm', "
        "'id': 'svm0', %s } }", args);
    QDict *error = qtest_qmp_assert_failure_ref(qts, json, NULL);

    g_assert_cmpstr(qdict_get_str(error, "desc"), ==, why);
    qobject_unref(error);
}

static void test_realize(void)
{
    QTestState *qts = qtest_init("-M q35 -nodefaults "
                                 "-device pcie-pci-bridge,id=br "
                                 "-device pcie-root-port,id=rp,chassis=1");

    check_no_device(qts, "'bus': 'br', 'addr': '1'",
                    "svm needs a PCI Express bus");
    check_no_device(qts, "'bus': 'rp', 'x-flood': 1",
                    "x-flood: the device is not realized yet");
    qtest_qmp_device_add(qts, "svm", "svm0", "{ 'bus': 'rp' }");
    qtest_quit(qts);
}

/* ---- Migration ---- */

static void migrate(Test *t)
{
    g_autofree char *path = qatd_save_machine(t->qts);

    t->qts = qtest_init(MACHINE "-incoming defer");
    t->vtd.qts = t->qts;
    qatd_load_machine(t->qts, path);
}

/* The operation continues on the destination, and sends its MSI */
static void test_migration_while_busy(void)
{
    QVtdPageReq old, rq;
    uint64_t gpa;
    Test t;

    start(&t);
    gpa = map(&t, ADDR, FS);
    begin(&t, SVM_DEMO_START_WRITE, ADDR, KIB4 + 64);
    expect_request(&t, ADDR + KIB4, true, &old);
    wait_until(&t, page_has_pattern, gpa);
    /* Detects a destination that starts over */
    qtest_memset(t.qts, gpa, 0, KIB4);
    migrate(&t);
    expect_request(&t, ADDR + KIB4, true, &rq);
    check_untouched(&t, gpa, KIB4);
    gpa = map(&t, ADDR + KIB4, FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    /* The operation ends as if the machine had only been stopped */
    check_no_msi(&t);
    qvtd_prq_respond(&t.prq, &old, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, 64, KIB4);
    stop(&t);
}

/* The same for an operation that lost its address space before */
static void test_migration_cancelled(void)
{
    QVtdPageReq rq;
    Test t;

    start(&t);
    begin_and_fault(&t, &rq);
    wr(&t, SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    migrate(&t);
    check_no_msi(&t);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    wr(&t, SVM_DEMO_REG_PASID, PASID);
    check_alive(&t);
    stop(&t);
}

/* Returns the position of "svm/operation" of the device in a stream */
static char *find_operation(char *stream, size_t len)
{
    uint8_t key[20];

    stq_be_p(key, SVM_DEMO_START_WRITE);
    stl_be_p(key + 8, PASID);
    stq_be_p(key + 12, ADDR);
    for (size_t i = 0; i + sizeof(key) <= len; i++) {
        if (!memcmp(stream + i, key, sizeof(key))) {
            return stream + i;
        }
    }
    g_assert_not_reached();
}

static void expect_load(const char *path, const char *stream, size_t len,
                        const char *expected)
{
    qatd_expect_load(MACHINE "-incoming defer", path, stream, len, expected);
}

/* The destination rejects streams with an invalid operation */
static void test_migration_hostile(void)
{
    g_autofree char *path = NULL, *stream = NULL;
    QVtdPageReq rq;
    size_t len;
    char *op;
    Test t;

    start(&t);
    begin_and_fault(&t, &rq);
    /* Makes the stream contain "svm/ended", too */
    wr(&t, SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    path = qatd_save_machine(t.qts);
    g_assert_true(g_file_get_contents(path, &stream, &len, NULL));
    op = find_operation(stream, len);
    expect_load(path, stream, len, "completed");

    /* Invalid command; ended without an operation; position beyond the size */
    stq_be_p(op, SVM_DEMO_START_READ + 1);
    expect_load(path, stream, len, "failed");
    stq_be_p(op, 0);
    expect_load(path, stream, len, "failed");
    stq_be_p(op, SVM_DEMO_START_WRITE);
    stq_be_p(op + 44, SHORT + 1);
    expect_load(path, stream, len, "failed");
    stq_be_p(op + 44, SHORT);
    expect_load(path, stream, len, "completed");
    unlink(path);
    alloc_destroy(&t.alloc);
}

/* Suspending the machine stops the processors, but no device */
static void test_suspend_while_busy(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    Test t;

    start(&t);
    begin_and_fault(&t, &rq);
    qecam_suspend(t.qts);
    check_no_msi(&t);
    gpa = map(&t, ADDR, FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, 64, 0);
    stop(&t);
}

/* A device that is plugged while the machine is suspended works afterwards */
static void test_plug_while_suspended(void)
{
    uint64_t gpa;
    Test t;

    t = (Test) { .bdf = BEHIND_PORT };
    t.qts = qtest_initf("-M q35 -nodefaults -device intel-iommu,svm=on "
                        "-device pcie-root-port,id=rp,addr=4,chassis=1");
    qecam_enable(t.qts);
    qecam_plug_while_suspended(t.qts, "svm", "svm0");
    boot(&t, 32);
    gpa = map(&t, ADDR, FS);
    g_assert_cmphex(run_write(&t, ADDR, 64), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, 64, 0);
    stop(&t);
}

/* Stopping the machine stops the device */
static void test_stop_while_busy(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    Test t;

    start(&t);
    begin_and_fault(&t, &rq);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'stop' }");
    gpa = map(&t, ADDR, FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    check_untouched(&t, gpa, 64);
    g_assert_false(msi_arrived(&t, 0));
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'cont' }");
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, 64, 0);
    stop(&t);
}

/*
 * PCIe 5.0, 6.20.1: all page requests must have responses before the function
 * stops using an address space, including those from before the machine was
 * stopped
 */
static void test_stop_and_repeat_request(void)
{
    QVtdPageReq old, rq;
    uint64_t gpa;
    Test t;

    start(&t);
    begin_and_fault(&t, &old);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'stop' }");
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'cont' }");
    expect_request(&t, ADDR, true, &rq);
    g_assert_cmpint(rq.prgi, !=, old.prgi);
    gpa = map(&t, ADDR, FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    check_no_msi(&t);
    qvtd_prq_respond(&t.prq, &old, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&t, gpa, 64, 0);
    stop(&t);
}

/* The same for an operation that loses its address space */
static void test_stop_cancelled(void)
{
    QVtdPageReq rq;
    Test t;

    start(&t);
    begin_and_fault(&t, &rq);
    wr(&t, SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'stop' }");
    check_no_msi(&t);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'cont' }");
    check_no_msi(&t);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    stop(&t);
}

/* ---- Random actions ---- */

#define RANDOM_PAGES     12
#define RANDOM_STEPS     4000

typedef struct RandomTest {
    Test t;
    uint64_t mapped[RANDOM_PAGES];   /* guest physical, or 0 */
    uint64_t taken[RANDOM_PAGES];    /* guest physical, if unmapped */
} RandomTest;

static void random_start(RandomTest *c)
{
    uint64_t addr = ADDR + g_test_rand_int_range(0, RANDOM_PAGES * KIB4);
    uint64_t size = g_test_rand_int_range(0, RANDOM_PAGES * KIB4);

    wr(&c->t, SVM_DEMO_REG_ADDR,
       g_test_rand_int_range(0, 20) ? addr : UINT64_MAX);
    wr(&c->t, SVM_DEMO_REG_SIZE, size);
    wr(&c->t, SVM_DEMO_REG_START, g_test_rand_int_range(1, 3));
}

/* Pages that the guest has unmapped must not change */
static void random_map(RandomTest *c)
{
    int i = g_test_rand_int_range(0, RANDOM_PAGES);
    uint64_t addr = ADDR + i * KIB4;

    if (c->taken[i]) {
        check_untouched(&c->t, c->taken[i], KIB4);
    }
    if (c->mapped[i]) {
        unmap(&c->t, addr);
        qtest_memset(c->t.qts, c->mapped[i], 0, KIB4);
        c->taken[i] = c->mapped[i];
        c->mapped[i] = 0;
    } else {
        c->mapped[i] = c->taken[i] ?: page(&c->t);
        c->taken[i] = 0;
        qvtd_map_entry(&c->t.vtd, c->t.root, 4, addr, KIB4,
                       c->mapped[i] | FS, FS);
    }
}

static void random_respond(RandomTest *c)
{
    QVtdPageReq rq;

    while (has_requests(&c->t, 1)) {
        qvtd_prq_next(&c->t.prq, &rq);
        if (rq.last) {
            qvtd_prq_respond(&c->t.prq, &rq, g_test_rand_int_range(0, 8)
                             ? VTD_PAGE_RESP_SUCCESS
                             : VTD_PAGE_RESP_INVALID);
        }
    }
    qvtd_writel(c->t.qts, DMAR_PRS_REG,
                VTD_PRS_PRO);
}

static void random_switch(RandomTest *c)
{
    const uint16_t regs[] = {
        c->t.ats + PCI_ATS_CTRL, c->t.pasid + PCI_PASID_CTRL,
        c->t.pri + PCI_PRI_CTRL, PCI_COMMAND,
    };
    uint16_t reg = regs[g_test_rand_int_range(0, ARRAY_SIZE(regs))];
    uint16_t on = conf_readw(&c->t, reg);

    conf_writew(&c->t, reg, reg == PCI_COMMAND ? on & ~PCI_COMMAND_MASTER : 0);
    conf_writew(&c->t, reg, on);
}

static void random_flr(RandomTest *c)
{
    conf_writew(&c->t, qecam_cap(c->t.qts, c->t.bdf, PCI_CAP_ID_EXP) +
                PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
    conf_enable(&c->t, g_test_rand_int_range(0, 64));
}

static void random_pause(RandomTest *c)
{
    qtest_qmp_assert_success(c->t.qts, "{ 'execute': 'stop' }");
    qtest_qmp_assert_success(c->t.qts, "{ 'execute': 'cont' }");
}

static void random_pasid(RandomTest *c)
{
    wr(&c->t, SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    wr(&c->t, SVM_DEMO_REG_PASID, PASID);
}

static void random_inject(RandomTest *c)
{
    static const char *const names[] = {
        "x-drop-responses", "x-delay-responses", "x-deny-requests", "x-flood",
    };

    inject(&c->t, names[g_test_rand_int_range(0, ARRAY_SIZE(names))],
           g_test_rand_int_range(0, 3));
    qtest_clock_step(c->t.qts, 1000 * 1000);
}

static void test_random(void)
{
    static void (*const actions[])(RandomTest *c) = {
        random_start, random_start, random_start, random_start, random_map,
        random_map, random_map, random_map, random_respond, random_respond,
        random_respond, random_switch, random_pasid,
    };
    static void (*const rare[])(RandomTest *c) = {
        random_flr, random_pause, random_inject,
    };
    RandomTest c = { };

    start(&c.t);
    for (int i = 0; i < RANDOM_STEPS; i++) {
        if (i % 50) {
            actions[g_test_rand_int_range(0, ARRAY_SIZE(actions))](&c);
        } else {
            rare[g_test_rand_int_range(0, ARRAY_SIZE(rare))](&c);
        }
    }
    for (int i = 0; i < RANDOM_PAGES; i++) {
        if (c.taken[i]) {
            check_untouched(&c.t, c.taken[i], KIB4);
        }
    }
    inject(&c.t, "x-deny-requests", 0);
    random_flr(&c);
    random_respond(&c);
    check_alive(&c.t);
    stop(&c.t);
}

/* ---- Short and long operations ---- */

typedef struct Sized {
    uint64_t size;
    void (*test)(void);
} Sized;

static void run_sized(const void *data)
{
    const Sized *sized = data;

    fault_size = sized->size;
    sized->test();
    fault_size = SHORT;
}

static void add_sized(const char *name, const char *suffix, uint64_t size,
                      void (*test)(void))
{
    g_autofree char *path = g_strdup_printf("%s/%s", name, suffix);
    Sized *sized = g_new(Sized, 1);

    *sized = (Sized) { size, test };
    qtest_add_data_func_full(path, sized, run_sized, g_free);
}

/* Run @test with operations of the starting vCPU, and of the worker thread */
static void add_both(const char *name, void (*test)(void))
{
    add_sized(name, "short", SHORT, test);
    add_sized(name, "long", LONG, test);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/svm/config", test_config);
    qtest_add_func("/svm/access-width", test_access_width);
    qtest_add_func("/svm/write", test_write);
    qtest_add_func("/svm/huge-page", test_huge_page);
    qtest_add_func("/svm/read", test_read);
    qtest_add_func("/svm/result", test_result);
    qtest_add_func("/svm/invalid-range", test_invalid_range);
    qtest_add_func("/svm/no-msi", test_no_msi);
    qtest_add_func("/svm/invalid-command", test_invalid_command);
    qtest_add_func("/svm/pasid", test_pasid);
    qtest_add_func("/svm/privileged", test_privileged);
    qtest_add_func("/svm/ats-disabled", test_ats_disabled);
    qtest_add_func("/svm/mmio-address", test_mmio_address);
    qtest_add_func("/svm/page-request", test_page_request);
    qtest_add_func("/svm/page-request/permission",
                   test_page_request_permission);
    qtest_add_func("/svm/page-request/failed-response", test_failed_response);
    qtest_add_func("/svm/page-request/success-without-page",
                   test_success_without_page);
    qtest_add_func("/svm/page-request/progress-while-waiting",
                   test_progress_while_waiting);
    qtest_add_func("/svm/page-request/allocation", test_allocation);
    qtest_add_func("/svm/page-request/no-allocation", test_no_allocation);
    qtest_add_func("/svm/page-request/groups", test_groups);
    qtest_add_func("/svm/page-request/overflow", test_overflow);
    qtest_add_func("/svm/inline", test_inline);
    qtest_add_func("/svm/inline/page-request",
                   test_inline_with_page_request);
    qtest_add_func("/svm/inline/remapped", test_inline_remapped);
    add_both("/svm/busy/start", test_start_while_busy);
    add_both("/svm/busy/pasid", test_pasid_while_busy);
    add_both("/svm/busy/disable", test_disable_while_busy);
    add_both("/svm/busy/flr", test_flr_while_busy);
    add_both("/svm/busy/reset", test_reset_while_busy);
    add_both("/svm/busy/unplug", test_unplug_while_busy);
    add_both("/svm/busy/migration", test_migration_while_busy);
    add_both("/svm/busy/migration-cancelled", test_migration_cancelled);
    add_both("/svm/busy/stop", test_stop_while_busy);
    add_both("/svm/busy/stop-and-repeat-request", test_stop_and_repeat_request);
    add_both("/svm/busy/stop-cancelled", test_stop_cancelled);
    qtest_add_func("/svm/invalidation", test_invalidation);
    qtest_add_func("/svm/inject/ignored-invalidation",
                   test_inject_ignored_invalidation);
    add_both("/svm/inject/deny", test_inject_deny);
    add_both("/svm/inject/drop", test_inject_drop);
    add_both("/svm/inject/delay", test_inject_delay);
    add_both("/svm/inject/delay-and-reset", test_inject_delay_and_reset);
    qtest_add_func("/svm/inject/flood", test_inject_flood);
    qtest_add_func("/svm/inject/properties", test_inject_properties);
    qtest_add_func("/svm/realize", test_realize);
    qtest_add_func("/svm/migration-hostile", test_migration_hostile);
    qtest_add_func("/svm/busy/suspend", test_suspend_while_busy);
    qtest_add_func("/svm/plug-while-suspended", test_plug_while_suspended);
    qtest_add_func("/svm/random-actions", test_random);
    return g_test_run();
}
