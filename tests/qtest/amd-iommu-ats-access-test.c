/*
 * QTest testcase for device-TLBs and PASIDs of amd-iommu: translated and
 * untranslated requests, and requests of threads
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#include "qemu/osdep.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/misc/svm-demo.h"
#include "libqos/dsa.h"
#include "libqos/malloc-zeroed.h"
#include "amd-iommu-ats-common.h"

#define NONE    QATD_NO_PASID
#define READ    ATD_CMD_DMA_READ
#define WRITE   ATD_CMD_DMA_WRITE

#define MARK    0x11223344

/* Expect that an access reads MARK from memory */
static void assert_reads(AATSTest *t, uint32_t pasid, uint64_t addr,
                         uint64_t flags)
{
    qtest_writel(t->qts, t->dev.data, 0);
    g_assert_true(aats_dma(t, READ, pasid, addr, flags));
    g_assert_cmphex(qtest_readl(t->qts, t->dev.data), ==, MARK);
}

/* Expect that an access is blocked, and causes an event */
static void assert_event(AATSTest *t, unsigned command, uint32_t pasid,
                         uint64_t addr, uint64_t flags, unsigned code,
                         uint64_t event)
{
    g_assert_false(aats_dma(t, command, pasid, addr, flags));
    aats_event(t, code, event, pasid, addr);
}

/* Returns a page that contains MARK */
static uint64_t new_data(AATSTest *t)
{
    uint64_t data = aats_new_page(t);

    qtest_writel(t->qts, data, MARK);
    return data;
}

/* ---- Translated requests (2.1.3) ---- */

/* Expect that translated requests are blocked, and write nothing */
static void translated_blocked(AATSTest *t, uint64_t data)
{
    qtest_writel(t->qts, t->dev.data, 0x55667788);
    g_assert_false(aats_dma(t, WRITE, NONE, data, ATD_FLAG_TRANSLATED));
    g_assert_cmphex(qtest_readl(t->qts, data), ==, MARK);
    g_assert_false(aats_dma(t, READ, NONE, data, ATD_FLAG_TRANSLATED));
    g_assert_cmphex(qtest_readl(t->qts, t->dev.data), ==, 0x55667788);
}

static void translated_event(AATSTest *t, uint64_t addr, unsigned code,
                             uint64_t event)
{
    assert_event(t, READ, NONE, addr, ATD_FLAG_TRANSLATED, code, event);
}

/* Allowed with I = 1, whatever the tables say */
static void test_translated(void)
{
    uint64_t data;
    AATSTest t;

    aats_start_host(&t);
    data = new_data(&t);
    assert_reads(&t, NONE, data, ATD_FLAG_TRANSLATED);
    qtest_writel(t.qts, t.dev.data, 0x55667788);
    g_assert_true(aats_dma(&t, WRITE, NONE, data, ATD_FLAG_TRANSLATED));
    g_assert_cmphex(qtest_readl(t.qts, data), ==, 0x55667788);
    /* Requests whose address is not translated are */
    assert_event(&t, READ, NONE, data, 0, EV_PAGE_FAULT, 0);
    aats_stop(&t);
}

/* 2.5.9: blocked with I = 0 or V = 0, and in the interrupt range */
static void test_translated_invalid(void)
{
    uint64_t data;
    AATSTest t;

    aats_start_host(&t);
    data = new_data(&t);
    translated_event(&t, 0xfee00000, EV_INVALID_REQUEST, EV_INTERRUPT);
    translated_event(&t, 0xfeeffffc, EV_INVALID_REQUEST, EV_INTERRUPT);
    t.dte.hi = 0;
    aats_attach(&t);
    translated_event(&t, data, EV_INVALID_REQUEST, EV_NO_ATS);
    translated_event(&t, 0xfee00000, EV_INVALID_REQUEST, EV_NO_ATS);
    qamdvi_write(&t.iommu, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_AMDVIEN |
                 AMDVI_MMIO_CONTROL_CMDBUFLEN);
    translated_blocked(&t, data);
    qamdvi_enable(&t.iommu, 0);
    t.dte.hi = QAMDVI_DTE_I;
    t.dte.lo &= ~QAMDVI_DTE_V;
    aats_attach(&t);
    translated_event(&t, data, EV_INVALID_REQUEST, EV_NO_ATS);
    aats_stop(&t);
}

/* The function has ATS disabled, or the IOMMU does not support it */
static void test_translated_ats_disabled(void)
{
    uint64_t data;
    AATSTest t;

    aats_start_host(&t);
    data = new_data(&t);
    qecam_writew(t.qts, AATS_DEV, t.dev.ats + PCI_ATS_CTRL, 0);
    translated_event(&t, data, EV_INVALID_REQUEST, EV_NO_ATS);
    qecam_writew(t.qts, AATS_DEV, t.dev.ats + PCI_ATS_CTRL,
                 PCI_ATS_CTRL_ENABLE);
    assert_reads(&t, NONE, data, ATD_FLAG_TRANSLATED);
    aats_stop(&t);

    aats_start(&t, "device-iotlb=off", 0);
    translated_event(&t, new_data(&t), EV_INVALID_REQUEST, EV_NO_ATS);
    aats_stop(&t);
}

/* Device table entries that cannot be used (2.5.2, 2.5.3, 2.5.4) */
static void test_translated_entry(void)
{
    uint64_t data;
    AATSTest t;

    aats_start_host(&t);
    data = new_data(&t);
    t.dte.mode = 7;
    aats_attach(&t);
    translated_event(&t, data, EV_ILLEGAL_DTE, 0);
    qamdvi_write(&t.iommu, AMDVI_MMIO_DEVICE_TABLE, AATS_NO_RAM);
    g_assert_false(aats_dma(&t, READ, NONE, data, ATD_FLAG_TRANSLATED));
    aats_event(&t, EV_DEV_TAB_ERROR, EV_ABORT, NONE,
               AATS_NO_RAM + AATS_DEV * AMDVI_DEVTAB_ENTRY_SIZE);
    aats_stop(&t);
}

/* MMIO 0018h: Unsupported Request, without an event, with IommuEn = 0 */
static void test_translated_disabled(void)
{
    uint64_t data;
    AATSTest t;

    aats_start_host(&t);
    data = new_data(&t);
    qamdvi_write(&t.iommu, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_EVENTLOGEN);
    translated_blocked(&t, data);
    /* Untranslated requests pass */
    assert_reads(&t, NONE, data, 0);
    aats_stop(&t);
}

/* ---- Untranslated requests ---- */

/* With PASID: data, accessed and dirty bits */
static void test_pasid(void)
{
    uint64_t root, data, entry;
    AATSTest t;

    aats_start_guest(&t);
    data = new_data(&t);
    root = aats_add_pasid(&t, AATS_PASID);
    entry = aats_map_guest(&t, root, AATS_IOVA, 1, data | GUEST);
    assert_reads(&t, AATS_PASID, AATS_IOVA, 0);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==, data | GUEST | GUEST_A);
    qtest_writel(t.qts, t.dev.data, 0xcafe);
    g_assert_true(aats_dma(&t, WRITE, AATS_PASID, AATS_IOVA, 0));
    g_assert_cmphex(qtest_readl(t.qts, data), ==, 0xcafe);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==, data | GUEST | GUEST_AD);
    /* Without PASID there is no table */
    qtest_writel(t.qts, data, MARK);
    assert_reads(&t, NONE, data, 0);
    aats_stop(&t);
}

/* Faults with PASID: PASID and flags of IO_PAGE_FAULT (2.5.3) */
static void test_pasid_faults(void)
{
    static const struct {
        uint64_t entry;
        unsigned command;
        uint64_t flags;
        uint64_t event;
    } cases[] = {
        { 0, READ, 0, EV_US },
        { 0, WRITE, 0, EV_US | EV_RW },
        { 0, READ, ATD_FLAG_PRIV, 0 },
        /* A supervisor page, and a read-only page */
        { QAMDVI_GPTE_P | QAMDVI_GPTE_W, READ, 0, EV_US | EV_PR | EV_PE },
        { QAMDVI_GPTE_P | QAMDVI_GPTE_US, WRITE, 0,
          EV_US | EV_RW | EV_PR | EV_PE },
        { QAMDVI_GPTE_P, WRITE, ATD_FLAG_PRIV, EV_RW | EV_PR | EV_PE },
        /* Execute permission is never granted */
        { GUEST, READ, ATD_FLAG_EXEC, EV_US | EV_PR | EV_PE },
    };
    uint64_t root, data;
    AATSTest t;

    aats_start_guest(&t);
    data = new_data(&t);
    root = aats_add_pasid(&t, AATS_PASID);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t bits = cases[i].entry;

        aats_map_guest(&t, root, AATS_IOVA, 1, bits ? data | bits : 0);
        assert_event(&t, cases[i].command, AATS_PASID, AATS_IOVA,
                     cases[i].flags, EV_PAGE_FAULT, cases[i].event);
    }
    /* A reserved bit, and an address that is not canonical */
    aats_map_guest(&t, root, AATS_IOVA, 2,
                   0x2000 | GUEST | QAMDVI_GPTE_PS);
    assert_event(&t, READ, AATS_PASID, AATS_IOVA, 0, EV_PAGE_FAULT,
                 EV_US | EV_PR | EV_RZ);
    assert_event(&t, READ, AATS_PASID, 1ULL << 47, 0, EV_PAGE_FAULT, EV_US);
    aats_stop(&t);
}

/* PASIDs without tables (2.2.6, 2.5.9) */
static void test_pasid_tables(void)
{
    AATSTest t;

    aats_start_guest(&t);
    t.dte.gcr3_levels = 2;
    aats_attach(&t);
    /* Not present, beyond the table, reserved bits */
    assert_event(&t, READ, 0x123, AATS_IOVA, 0, EV_PAGE_FAULT, EV_US);
    assert_event(&t, READ, 0x51234, AATS_IOVA, 0, EV_PAGE_FAULT, EV_US);
    qamdvi_set_gcr3(&t.iommu, t.dte.gcr3, 2, AATS_PASID,
                    0x5000 | QAMDVI_GCR3_V | 2);
    assert_event(&t, WRITE, AATS_PASID, AATS_IOVA, 0, EV_PAGE_FAULT,
                 EV_US | EV_RW | EV_PR | EV_RZ);
    /* Beyond PASmax (MMIO 0030h): the entry in the table does not matter */
    aats_map_guest(&t, aats_add_pasid(&t, AATS_PASID_MAX + 1), AATS_IOVA, 1,
                   0x5000 | GUEST_AD | GUEST);
    assert_event(&t, READ, AATS_PASID_MAX + 1, AATS_IOVA, 0, EV_PAGE_FAULT,
                 EV_US);
    aats_map_guest(&t, aats_add_pasid(&t, AATS_PASID_MAX), AATS_IOVA, 1,
                   0x5000 | GUEST_AD | GUEST);
    g_assert_true(aats_dma(&t, READ, AATS_PASID_MAX, AATS_IOVA, 0));
    /* Not in memory */
    qamdvi_set_gcr3(&t.iommu, t.dte.gcr3, 2, AATS_PASID,
                    AATS_NO_RAM | QAMDVI_GCR3_V);
    g_assert_false(aats_dma(&t, READ, AATS_PASID, AATS_IOVA, 0));
    aats_event(&t, EV_PAGE_TAB_ERROR, EV_ABORT, AATS_PASID, AATS_NO_RAM);
    /* GV = 0, V = 0 */
    t.dte.lo &= ~QAMDVI_DTE_GV;
    aats_attach(&t);
    assert_event(&t, WRITE, AATS_PASID, AATS_IOVA, 0, EV_INVALID_REQUEST,
                 EV_NO_GUEST);
    t.dte.lo &= ~QAMDVI_DTE_V;
    aats_attach(&t);
    assert_event(&t, READ, AATS_PASID, AATS_IOVA, 0, EV_INVALID_REQUEST,
                 EV_NO_GUEST);
    /* TV = 0 */
    t.dte.lo |= QAMDVI_DTE_V | QAMDVI_DTE_GV;
    t.dte.lo &= ~QAMDVI_DTE_TV;
    aats_attach(&t);
    assert_event(&t, READ, AATS_PASID, AATS_IOVA, 0, EV_PAGE_FAULT, EV_US);
    aats_stop(&t);
}

/* The device table entry need not have I set (2.2.2.1) */
static void test_pasid_no_iotlb(void)
{
    uint64_t root;
    AATSTest t;

    aats_start_guest(&t);
    t.dte.hi = 0;
    aats_attach(&t);
    root = aats_add_pasid(&t, AATS_PASID);
    aats_map_guest(&t, root, AATS_IOVA, 1, new_data(&t) | GUEST);
    assert_reads(&t, AATS_PASID, AATS_IOVA, 0);
    aats_stop(&t);
}

/* GIoV: requests without PASID use PASID 0; events have the domain */
static void test_giov(void)
{
    uint64_t root, data, entry;
    AATSTest t;

    aats_start_guest(&t);
    data = new_data(&t);
    root = aats_add_pasid(&t, 0);
    entry = aats_map_guest(&t, root, AATS_IOVA, 1, data | GUEST);
    t.dte.lo |= QAMDVI_DTE_GIOV;
    aats_attach(&t);
    assert_reads(&t, NONE, AATS_IOVA, 0);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==, data | GUEST | GUEST_A);
    assert_event(&t, READ, NONE, AATS_IOVA + KIB4, 0, EV_PAGE_FAULT, 0);
    aats_stop(&t);
}

/* 2.1.2: reads of the interrupt range, whatever the tables say */
static void test_interrupt_range(void)
{
    AATSTest t;

    aats_start_host(&t);
    aats_map_host(&t, 0xfee00000, 1, new_data(&t) | HOST);
    assert_event(&t, READ, NONE, 0xfee00000, 0, EV_PAGE_FAULT, 0);
    assert_event(&t, READ, NONE, 0xfeeffffc, 0, EV_PAGE_FAULT, 0);
    t.dte.mode = 0;
    aats_attach(&t);
    assert_event(&t, READ, NONE, 0xfee00000, 0, EV_PAGE_FAULT, 0);
    t.dte.lo &= ~QAMDVI_DTE_TV;
    t.dte.mode = 7;
    aats_attach(&t);
    assert_event(&t, READ, NONE, 0xfee00000, 0, EV_PAGE_FAULT, 0);
    t.dte.lo |= QAMDVI_DTE_TV;
    aats_attach(&t);
    assert_event(&t, READ, NONE, 0xfee00000, 0, EV_ILLEGAL_DTE, 0);
    qamdvi_write(&t.iommu, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_EVENTLOGEN);
    g_assert_true(aats_dma(&t, READ, NONE, 0xfee00000, 0));
    aats_stop(&t);
}

/* Guest tables that the host tables do not map (2.5.3) */
static void test_nested_faults(void)
{
    uint64_t root, data;
    AATSTest t;

    aats_start_guest(&t);
    data = new_data(&t);
    root = aats_add_pasid(&t, AATS_PASID);
    aats_map_guest(&t, root, AATS_IOVA, 1, data | GUEST);
    t.dte.mode = 4;
    t.dte.root = aats_new_page(&t);
    aats_attach(&t);
    assert_event(&t, READ, AATS_PASID, AATS_IOVA, 0, EV_PAGE_FAULT, EV_US);
    for (uint64_t addr = 0; addr < GIB1; addr += MIB2) {
        aats_map_host(&t, addr, 2, addr | HOST);
    }
    qamdvi_inval_all(&t.iommu);
    assert_reads(&t, AATS_PASID, AATS_IOVA, 0);
    aats_map_host(&t, 4 * GIB1, 1, data | QAMDVI_PTE_PR | QAMDVI_PTE_IR);
    aats_map_guest(&t, root, AATS_IOVA, 1, (4 * GIB1) | GUEST);
    assert_reads(&t, AATS_PASID, AATS_IOVA, 0);
    assert_event(&t, WRITE, AATS_PASID, AATS_IOVA, 0, EV_PAGE_FAULT,
                 EV_US | EV_RW | EV_PR | EV_PE);
    aats_stop(&t);
}

/* ---- Threads ---- */

/* The main loop logs the events of other threads, with the BQL held */
static void wait_event(AATSTest *t)
{
    for (int i = 0; i < 10000; i++) {
        if (qamdvi_read(&t->iommu, AMDVI_MMIO_EVENT_TAIL) !=
            t->iommu.head * AMDVI_EVENT_LEN) {
            return;
        }
        g_usleep(1000);
    }
}

/* Requests of a thread, without the BQL, and their events */
static void test_thread(void)
{
    uint64_t root, data;
    AATSTest t;

    aats_start_guest(&t);
    data = new_data(&t);
    root = aats_add_pasid(&t, AATS_PASID);
    aats_map_guest(&t, root, AATS_IOVA, 1, data | GUEST);
    aats_translate_page(&t, AATS_PASID, AATS_IOVA, ATD_FLAG_THREAD, data, KIB4,
                        PERM_R | PERM_W);
    assert_reads(&t, NONE, data, ATD_FLAG_TRANSLATED | ATD_FLAG_THREAD);
    assert_reads(&t, AATS_PASID, AATS_IOVA, ATD_FLAG_THREAD);
    assert_reads(&t, NONE, data, ATD_FLAG_THREAD);
    qamdvi_expect_no_event(&t.iommu);
    g_assert_false(aats_dma(&t, WRITE, AATS_PASID, AATS_IOVA + KIB4,
                            ATD_FLAG_THREAD));
    wait_event(&t);
    aats_event(&t, EV_PAGE_FAULT, EV_US | EV_RW, AATS_PASID, AATS_IOVA + KIB4);
    t.dte.hi = 0;
    aats_attach(&t);
    aats_translate(&t, AATS_PASID, AATS_IOVA, KIB4, ATD_FLAG_THREAD, 1, 1);
    wait_event(&t);
    aats_event(&t, EV_INVALID_REQUEST, EV_NO_ATS | EV_TR, AATS_PASID,
               AATS_IOVA);
    aats_stop(&t);
}

/* The ATC of a device; 2.4.4: invalidations with and without PASID */
static void test_atc(void)
{
    uint64_t root, frame[3], entry;
    AATSTest t;

    aats_start_guest(&t);
    for (unsigned i = 0; i < 3; i++) {
        frame[i] = aats_new_page(&t);
    }
    root = aats_add_pasid(&t, AATS_PASID);
    entry = aats_map_guest(&t, root, AATS_IOVA, 1, frame[0] | GUEST);
    for (unsigned i = 0; i < 3; i++) {
        qtest_writeq(t.qts, entry, frame[i] | GUEST);
        qamdvi_inval_pages(&t.iommu, AATS_DOMAIN, AATS_PASID, AATS_IOVA, KIB4);
        qamdvi_inval_iotlb(&t.iommu, AATS_DEV,
                           i == 1 ? AATS_PASID : QAMDVI_NO_PASID,
                           AATS_IOVA, KIB4);
        g_assert_true(aats_dma(&t, ATD_CMD_SVM_READ, AATS_PASID, AATS_IOVA, 0));
        g_assert_cmphex(qtest_readq(t.qts, entry), ==,
                        frame[i] | GUEST | GUEST_A);
        qtest_writel(t.qts, t.dev.data, 0x1000 + i);
        /* The write sets D, although the read has cached the translation */
        g_assert_true(aats_dma(&t, ATD_CMD_SVM_WRITE, AATS_PASID, AATS_IOVA,
                               0));
        g_assert_cmphex(qtest_readq(t.qts, entry), ==,
                        frame[i] | GUEST | GUEST_AD);
    }
    for (unsigned i = 0; i < 3; i++) {
        g_assert_cmphex(qtest_readl(t.qts, frame[i]), ==, 0x1000 + i);
    }
    aats_stop(&t);
}

/* Start a command in the thread of an idle device */
static void work(QATD *d, unsigned command, uint64_t length)
{
    if (!qatd_read(d, ATD_BUSY)) {
        qatd_start(d, command, AATS_PASID, AATS_IOVA, length, ATD_FLAG_THREAD);
    }
}

/*
 * 2.4.1, 2.4.4: after COMPLETION_WAIT no thread of a device uses translations
 * that were invalidated before it.
 */
static void test_threads(void)
{
    static const unsigned commands[] = {
        ATD_CMD_TRANSLATE, ATD_CMD_REGISTER_IOTLB, ATD_CMD_UNREGISTER_IOTLB,
    };
    uint64_t root, frame[2];
    AATSTest t;

    aats_start_guest(&t);
    qamdvi_attach(&t.iommu, AATS_DEV2, &t.dte);
    root = aats_add_pasid(&t, AATS_PASID);
    frame[0] = aats_new_page(&t);
    frame[1] = aats_new_page(&t);
    aats_map_guest(&t, root, AATS_IOVA, 1, frame[0] | GUEST);
    aats_map_guest(&t, root, AATS_IOVA + KIB4, 1, frame[0] | GUEST);
    qatd_write(&t.dev2, ATD_MAX_RESULTS, 4);
    qtest_memset(t.qts, t.dev.data, 0x11, 2 * KIB4);
    for (int i = 0; i < 200; i++) {
        uint64_t old = frame[i % 2], new = frame[!(i % 2)];

        work(&t.dev, ATD_CMD_SVM_WRITE, 2 * KIB4);
        work(&t.dev2, commands[i % 3], 2 * KIB4);
        aats_map_guest(&t, root, AATS_IOVA, 1, new | GUEST);
        aats_map_guest(&t, root, AATS_IOVA + KIB4, 1, new | GUEST);
        qamdvi_inval_pages(&t.iommu, AATS_DOMAIN, AATS_PASID, AATS_IOVA,
                           2 * KIB4);
        qamdvi_inval_iotlb(&t.iommu, AATS_DEV, AATS_PASID, AATS_IOVA, 2 * KIB4);
        g_assert_true(qamdvi_completes(&t.iommu));
        /* No thread writes to the old page any more */
        qtest_writel(t.qts, old, 0xa5a5a5a5);
        work(&t.dev, ATD_CMD_SVM_WRITE, 2 * KIB4);
        g_assert_cmphex(qtest_readl(t.qts, old), ==, 0xa5a5a5a5);
    }
    g_assert_cmpint(qatd_wait(&t.dev), ==, 0);
    qatd_wait(&t.dev2);
    aats_stop(&t);
}

/* ---- Devices with threads, without ATS and svm=on ---- */

#define SVM     QATD_BDF(0, 5, 0)
#define DSA     QATD_BDF(0, 6, 0)
#define SVM_REGS    0xd8000000ULL

/* Start a machine; host tables translate the requests of the function @bdf */
static void start_plain(AATSTest *t, const char *args, uint16_t bdf)
{
    aats_start(t, args, 0);
    t->dte = (QAMDVIDTE) {
        .lo = QAMDVI_DTE_ON,
        .hi = QAMDVI_DTE_I,
        .domain = AATS_DOMAIN,
        .mode = 3,
        .root = aats_new_page(t),
    };
    qamdvi_attach(&t->iommu, bdf, &t->dte);
}

static void test_testdev_plain(void)
{
    AATSTest t;

    start_plain(&t, "device-iotlb=off", AATS_DEV);
    aats_map_host(&t, AATS_IOVA, 1, new_data(&t) | HOST);
    assert_reads(&t, NONE, AATS_IOVA, ATD_FLAG_THREAD);
    qtest_writel(t.qts, t.dev.data, 0);
    g_assert_true(aats_dma(&t, ATD_CMD_SVM_READ, NONE, AATS_IOVA,
                           ATD_FLAG_THREAD));
    g_assert_cmphex(qtest_readl(t.qts, t.dev.data), ==, MARK);
    g_assert_false(aats_dma(&t, READ, NONE, AATS_IOVA + KIB4, ATD_FLAG_THREAD));
    wait_event(&t);
    aats_event(&t, EV_PAGE_FAULT, 0, NONE, AATS_IOVA + KIB4);
    /* 2.1.2: reads of the interrupt range */
    g_assert_false(aats_dma(&t, ATD_CMD_SVM_READ, NONE, 0xfee00000,
                            ATD_FLAG_THREAD));
    wait_event(&t);
    aats_event(&t, EV_PAGE_FAULT, 0, NONE, 0xfee00000);
    aats_stop(&t);
}

/* The demo device always uses ATS; its thread serves more than 4 KiB */
static void test_svm_plain(void)
{
    const uint64_t size = 3 * KIB4, msi_iova = 0x5000;
    uint64_t data, msi;
    AATSTest t;

    start_plain(&t, "device-iotlb=on -device svm,addr=5", SVM);
    data = guest_alloc_zeroed(&t.alloc, t.qts, size);
    msi = aats_new_page(&t);
    for (uint64_t n = 0; n < size; n += KIB4) {
        aats_map_host(&t, AATS_IOVA + n, 1, (data + n) | HOST);
    }
    aats_map_host(&t, msi_iova, 1, msi | HOST);
    qecam_writel(t.qts, SVM, PCI_BASE_ADDRESS_0, SVM_REGS);
    qecam_writew(t.qts, SVM, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    qecam_writew(t.qts, SVM, qecam_ext_cap(t.qts, SVM, PCI_EXT_CAP_ID_ATS) +
                 PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    qecam_enable_msi(t.qts, SVM, msi_iova, 0x4321);

    qtest_writel(t.qts, SVM_REGS + SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    qtest_writeq(t.qts, SVM_REGS + SVM_DEMO_REG_ADDR, AATS_IOVA);
    qtest_writeq(t.qts, SVM_REGS + SVM_DEMO_REG_SIZE, size);
    qtest_writeq(t.qts, SVM_REGS + SVM_DEMO_REG_START, SVM_DEMO_START_WRITE);
    for (int i = 0; i < 10000 && qtest_readl(t.qts, msi) != 0x4321; i++) {
        g_usleep(1000);
    }
    g_assert_cmphex(qtest_readl(t.qts, msi), ==, 0x4321);
    g_assert_cmphex(qtest_readq(t.qts, SVM_REGS + SVM_DEMO_REG_ADDR), ==,
                    SVM_DEMO_RESULT_OK);
    for (uint64_t n = 0; n < size; n++) {
        g_assert_cmphex(qtest_readb(t.qts, data + n), ==,
                        n % SVM_DEMO_PATTERN_PERIOD);
    }
    aats_stop(&t);
}

/* DSA copies within a page, and reports the page that is missing */
static void test_dsa_plain(void)
{
    const uint64_t cr = 0x400, copy = 0x200;
    uint8_t record[DSA_CR_SIZE] = { };
    uint64_t data;
    QDSADesc desc;
    QDSA dsa;
    AATSTest t;

    start_plain(&t, "device-iotlb=off -device dsa,addr=6", DSA);
    data = new_data(&t);
    aats_map_host(&t, AATS_IOVA, 1, data | HOST);
    qdsa_init(&dsa, t.qts, DSA, AATS_IOVA + 0x800);
    qdsa_start(&dsa, 0);
    qdsa_desc(&desc, DSA_OP_MEMORY_MOVE,
              DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR, AATS_IOVA + cr);
    qdsa_desc_data(&desc, AATS_IOVA, AATS_IOVA + copy, 0x100);
    qdsa_submit(&dsa, &desc);
    g_assert_cmphex(qdsa_wait(&dsa, data + cr, record), ==, DSA_STATUS_SUCCESS);
    g_assert_cmphex(qtest_readl(t.qts, data + copy), ==, MARK);
    qamdvi_expect_no_event(&t.iommu);

    qtest_memset(t.qts, data + cr, 0, DSA_CR_SIZE);
    qdsa_desc_data(&desc, AATS_IOVA + KIB4, AATS_IOVA + copy, 0x100);
    qdsa_submit(&dsa, &desc);
    g_assert_cmphex(qdsa_wait(&dsa, data + cr, record), !=, DSA_STATUS_SUCCESS);
    wait_event(&t);
    qamdvi_expect_event(&t.iommu, (uint64_t)EV_PAGE_FAULT << 60 |
                        (uint64_t)AATS_DOMAIN << 32 | DSA, AATS_IOVA + KIB4);
    aats_stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-iommu/access/translated", test_translated);
    qtest_add_func("/amd-iommu/access/translated-invalid",
                   test_translated_invalid);
    qtest_add_func("/amd-iommu/access/translated-ats-disabled",
                   test_translated_ats_disabled);
    qtest_add_func("/amd-iommu/access/translated-entry",
                   test_translated_entry);
    qtest_add_func("/amd-iommu/access/translated-disabled",
                   test_translated_disabled);
    qtest_add_func("/amd-iommu/access/pasid", test_pasid);
    qtest_add_func("/amd-iommu/access/pasid-faults", test_pasid_faults);
    qtest_add_func("/amd-iommu/access/pasid-tables", test_pasid_tables);
    qtest_add_func("/amd-iommu/access/pasid-no-iotlb", test_pasid_no_iotlb);
    qtest_add_func("/amd-iommu/access/giov", test_giov);
    qtest_add_func("/amd-iommu/access/interrupt-range", test_interrupt_range);
    qtest_add_func("/amd-iommu/access/nested-faults", test_nested_faults);
    qtest_add_func("/amd-iommu/access/thread", test_thread);
    qtest_add_func("/amd-iommu/access/atc", test_atc);
    qtest_add_func("/amd-iommu/access/threads", test_threads);
    qtest_add_func("/amd-iommu/access/testdev-plain", test_testdev_plain);
    qtest_add_func("/amd-iommu/access/svm-plain", test_svm_plain);
    qtest_add_func("/amd-iommu/access/dsa-plain", test_dsa_plain);
    return g_test_run();
}
