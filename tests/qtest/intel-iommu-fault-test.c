/*
 * QTest testcase for requests that intel-iommu blocks, and its fault reports
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
#define PEER    QATD_BDF(0, 5, 0)
#define WITH_PEER " -device pci-ats-testdev,addr=5"
#define IOVA    0x12340000ULL
#define PE_PASS (VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_PT)
#define MAGIC   0x12345678

typedef struct Test {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QATD dev;
    uint64_t table;             /* second stage, or PASID directory */
    uint64_t context;           /* context entry of the device */
    uint64_t pe;                /* its PASID-table entry for RID_PASID */
    uint64_t page;              /* memory for DMA, which contains MAGIC */
} Test;

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

static uint64_t legacy_context(Test *t, uint16_t bdf)
{
    uint64_t root = qtest_readq(t->qts, t->vtd.root + (bdf >> 8) * 16);

    return (root & VTD_ROOT_ENTRY_CTP) +
           (bdf & 0xff) * VTD_CTX_ENTRY_LEGACY_SIZE;
}

/* 9.4, 9.6: pass-through for requests without PASID */
static void start_pass_through(Test *t, const char *iommu)
{
    start(t, iommu);
    t->page = qvtd_new_table(&t->vtd);
    qtest_writel(t->qts, t->page, MAGIC);
    t->vtd.scalable = true;
    t->table = qvtd_sm_attach(&t->vtd, DEV, 0, 0);
    t->context = qvtd_sm_context(&t->vtd, DEV);
    t->pe = qvtd_sm_pasid(&t->vtd, t->table, 0, PE_PASS, 1, 0);
    qvtd_enable(&t->vtd);
}

/* 9.3: the same in legacy mode */
static void start_pass_through_legacy(Test *t, const char *iommu)
{
    start(t, iommu);
    t->page = qvtd_new_table(&t->vtd);
    qtest_writel(t->qts, t->page, MAGIC);
    qvtd_attach(&t->vtd, DEV, 1, 0, false);
    t->context = legacy_context(t, DEV);
    qtest_writeq(t->qts, t->context,
                 VTD_CONTEXT_ENTRY_P | VTD_CONTEXT_TT_PASS_THROUGH);
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
    return qvtd_readl(t->qts, DMAR_FSTS_REG);
}

static bool fault_event_pending(Test *t)
{
    return qvtd_readl(t->qts, DMAR_FECTL_REG) & VTD_FECTL_IP;
}

static void cause_fault(Test *t)
{
    g_assert_cmpint(dma_read(t, IOVA), !=, 0);
    g_assert_cmphex(fault_status(t) & VTD_FSTS_PPF, ==, VTD_FSTS_PPF);
}

/* 7.3, 11.4.7.2: clearing F clears the only status */
static void test_event_pending(void)
{
    Test t;

    start_legacy(&t, "");
    cause_fault(&t);
    g_assert_true(fault_event_pending(&t));
    qvtd_writeq(t.qts, DMAR_FRCD_REG_0_2, VTD_FRCD_F);
    g_assert_cmphex(fault_status(&t) & VTD_FSTS_PPF, ==, 0);
    g_assert_false(fault_event_pending(&t));

    cause_fault(&t);
    g_assert_true(fault_event_pending(&t));
    qvtd_writel(t.qts, DMAR_FRCD_REG_0_3, VTD_FRCD_F >> 32);
    g_assert_false(fault_event_pending(&t));
    stop(&t);
}

/* 7.3: another status keeps the interrupt pending */
static void test_event_pending_queue_error(void)
{
    uint64_t desc;
    Test t;

    start_legacy(&t, "");
    cause_fault(&t);
    desc = qvtd_submit_nowait(&t.vtd, 0xf, 0);
    g_assert_cmphex(fault_status(&t) & VTD_FSTS_IQE, ==, VTD_FSTS_IQE);
    qvtd_writeq(t.qts, DMAR_FRCD_REG_0_2, VTD_FRCD_F);
    g_assert_true(fault_event_pending(&t));

    qtest_writeq(t.qts, desc, VTD_INV_DESC_IEC);
    qvtd_writel(t.qts, DMAR_FSTS_REG, VTD_FSTS_IQE);
    g_assert_false(fault_event_pending(&t));
    stop(&t);
}

/*
 * 7.2.1: faults that are not recorded, and events that are not sent, are a part
 * of normal operation, and no error of the emulator
 */
static void test_event_quiet(void)
{
    g_autofree char *errors = NULL;
    g_autofree char *path = qatd_temporary_file();
    g_autofree char *args = NULL;
    QATD peer;
    Test t;

    args = g_strdup_printf(WITH_PEER " 2>%s", path);
    start_legacy(&t, args);
    qatd_init(&peer, t.qts, PEER, 1);
    cause_fault(&t);
    cause_fault(&t);
    g_assert_cmphex(fault_status(&t) & VTD_FSTS_PFO, ==, 0);
    for (int i = 0; i < 2; i++) {
        g_assert_cmpint(qatd_command(&peer, ATD_CMD_DMA_READ, QATD_NO_PASID,
                                     IOVA, 4, 0), !=, 0);
        g_assert_cmphex(fault_status(&t) & VTD_FSTS_PFO, ==, VTD_FSTS_PFO);
    }
    stop(&t);

    g_assert_true(g_file_get_contents(path, &errors, NULL, NULL));
    g_assert_null(strstr(errors, "is not recorded"));
    g_assert_null(strstr(errors, "is not generated"));
    unlink(path);
}

/* 11.4.7.3, 11.4.9.6, 11.4.11.6: message data has 16 bits, the rest is 0 */
static void test_event_data(void)
{
    static const unsigned regs[] = {
        DMAR_FEDATA_REG, DMAR_IEDATA_REG, DMAR_PEDATA_REG
    };
    QTestState *qts = qtest_init("-M q35 -device intel-iommu,svm=on");

    for (unsigned i = 0; i < ARRAY_SIZE(regs); i++) {
        /* Alone, and in one quadword with the control register (11.2) */
        qvtd_writel(qts, regs[i], UINT32_MAX);
        g_assert_cmphex(qvtd_readl(qts, regs[i]), ==, UINT16_MAX);
        qvtd_writeq(qts, regs[i] - 4, 0xabcd1234ULL << 32);
        g_assert_cmphex(qvtd_readl(qts, regs[i]), ==, 0x1234);
    }
    qtest_quit(qts);
}

static void no_fault(Test *t)
{
    g_assert_cmphex(fault_status(t) & VTD_FSTS_PPF, ==, 0);
}

static void expect_fault(Test *t, uint8_t reason, bool is_write, uint64_t addr)
{
    QVtdFault fault = qvtd_take_fault(t->qts);

    g_assert_cmphex(fault.reason, ==, reason);
    g_assert_cmpint(fault.t1, ==, !is_write);
    g_assert_cmphex(fault.sid, ==, t->dev.bdf);
    g_assert_cmphex(fault.addr, ==, addr & VTD_PAGE_MASK_4K);
    no_fault(t);
}

/* The main loop reports the faults of other threads */
static void expect_fault_of_thread(Test *t, uint8_t reason, bool is_write,
                                   uint64_t addr)
{
    for (int i = 0; i < 5000 && !(fault_status(t) & VTD_FSTS_PPF); i++) {
        g_usleep(1000);
    }
    expect_fault(t, reason, is_write, addr);
}

static void expect_blocked(Test *t, uint8_t reason)
{
    g_assert_cmpint(dma_read(t, t->page), !=, 0);
    expect_fault(t, reason, false, t->page);
}

static void expect_pass(Test *t)
{
    qtest_writel(t->qts, t->dev.data, 0);
    g_assert_cmpint(dma_read(t, t->page), ==, 0);
    g_assert_cmphex(qtest_readl(t->qts, t->dev.data), ==, MAGIC);
    no_fault(t);
}

/* Set @bits of the entry at @addr, and expect that DMA is blocked */
static void broken(Test *t, uint64_t addr, uint64_t bits, uint8_t reason)
{
    uint64_t good = qtest_readq(t->qts, addr);

    g_test_message("0x%" PRIx64 " set: fault 0x%x", bits, reason);
    qtest_writeq(t->qts, addr, good | bits);
    qvtd_inv_global(&t->vtd);
    expect_blocked(t, reason);
    qtest_writeq(t->qts, addr, good);
    qvtd_inv_global(&t->vtd);
    expect_pass(t);
}

/* 11.4.5, 11.4.4: set the root table while translation is enabled */
static void set_root(Test *t, uint64_t root)
{
    qvtd_set_root(t->qts, root);
    /* An invalid mode makes all descriptors invalid (6.5.2.11, table 26) */
    if (!(root & (2 << 10))) {
        qvtd_inv_global(&t->vtd);
    }
}

/* LRT.3, LCT.3, LCT.4: pass-through in legacy mode checks the entries, too */
static void test_pass_legacy(void)
{
    Test t;

    start_pass_through_legacy(&t, "");
    expect_pass(&t);
    broken(&t, t.vtd.root, 1 << 4, VTD_FR_ROOT_ENTRY_RSVD);
    broken(&t, t.context, 1 << 4, VTD_FR_CONTEXT_ENTRY_RSVD);
    broken(&t, t.context, 1ULL << 48, VTD_FR_CONTEXT_ENTRY_RSVD);
    broken(&t, t.context + 8, 1 << 7, VTD_FR_CONTEXT_ENTRY_RSVD);
    broken(&t, t.context + 8, 7, VTD_FR_CONTEXT_ENTRY_INV);
    broken(&t, t.context, VTD_CONTEXT_ENTRY_TT, VTD_FR_CONTEXT_ENTRY_INV);
    /* SSIRWE is not supported, so that only TTM counts (RTA.1) */
    set_root(&t, t.vtd.root | 2 << 10);
    expect_blocked(&t, VTD_FR_RTADDR_INV_TTM);
    set_root(&t, t.vtd.root | 3 << 10);
    expect_blocked(&t, VTD_FR_RTADDR_INV_TTM);
    set_root(&t, t.vtd.root);
    expect_pass(&t);
    stop(&t);
}

/* With second-stage, with first-stage tables, with PASIDs and device-TLBs */
static const char *const scalable_modes[] = {
    ",x-scalable-mode=on", ",x-scalable-mode=on,x-flts=on", ",svm=on",
};

/* SRT.3, SCT.3, SCT.4: 9.1, 9.4 */
static void test_pass_context(void)
{
    Test t;

    for (unsigned i = 0; i < ARRAY_SIZE(scalable_modes); i++) {
        bool prs;

        start_pass_through(&t, scalable_modes[i]);
        prs = qvtd_readq(t.qts, DMAR_ECAP_REG) & VTD_ECAP_PRS;
        expect_pass(&t);
        broken(&t, t.vtd.root, 1 << 4, VTD_FR_SM_ROOT_ENTRY_RSVD);
        broken(&t, t.context, 1 << 5, VTD_FR_SM_CONTEXT_ENTRY_RSVD);
        /* RPRIVS, and a reserved bit */
        broken(&t, t.context + 8, 1 << 20, VTD_FR_SM_CONTEXT_ENTRY_RSVD);
        broken(&t, t.context + 8, 1 << 21, VTD_FR_SM_CONTEXT_ENTRY_RSVD);
        broken(&t, t.context + 24, 1, VTD_FR_SM_CONTEXT_ENTRY_RSVD);
        /* PRE without DTE is reserved, or an invalid combination */
        broken(&t, t.context, VTD_SM_CONTEXT_ENTRY_PRE,
               prs ? VTD_FR_SM_CONTEXT_ENTRY_INV :
                     VTD_FR_SM_CONTEXT_ENTRY_RSVD);
        /* RID_PASID exceeds the size of the directory */
        broken(&t, t.context + 8, 8192, VTD_FR_SM_CONTEXT_ENTRY_INV);
        stop(&t);
    }
}

/* SPD.3, SPT.3, SPT.4: 9.5, 9.6 */
static void test_pass_pasid_entry(void)
{
    static const unsigned reserved[] = { 5, 9, 80, 88, 129, 192, 511 };
    Test t;

    for (unsigned i = 0; i < ARRAY_SIZE(scalable_modes); i++) {
        start_pass_through(&t, scalable_modes[i]);
        expect_pass(&t);
        broken(&t, t.table, 1 << 2, VTD_FR_PASID_DIR_ENTRY_RSVD);
        broken(&t, t.table, 1ULL << 48, VTD_FR_PASID_DIR_ENTRY_RSVD);
        for (unsigned j = 0; j < ARRAY_SIZE(reserved); j++) {
            broken(&t, t.pe + reserved[j] / 64 * 8, 1ULL << reserved[j] % 64,
                   VTD_FR_PASID_ENTRY_RSVD);
        }
        /* PGTT = 101b */
        broken(&t, t.pe, 1 << 6, VTD_FR_PASID_TABLE_ENTRY_INV);
        stop(&t);
    }
}

/* RTA.1: abort-DMA mode is not supported (ADMS is 0) */
static void test_pass_invalid_mode(void)
{
    Test t;

    for (unsigned i = 0; i < ARRAY_SIZE(scalable_modes); i++) {
        start_pass_through(&t, scalable_modes[i]);
        set_root(&t, t.vtd.root | 2 << 10);
        expect_blocked(&t, VTD_FR_RTADDR_INV_TTM);
        set_root(&t, t.vtd.root | 3 << 10);
        expect_blocked(&t, VTD_FR_RTADDR_INV_TTM);
        set_root(&t, t.vtd.root | 1 << 10);
        expect_pass(&t);
        stop(&t);
    }
}

/* 7.1.1: FPD suppresses the report of a fault, which blocks nevertheless */
static void test_pass_fpd(void)
{
    Test t;

    start_pass_through(&t, ",x-scalable-mode=on");
    qtest_writeq(t.qts, t.pe, PE_PASS | VTD_PASID_ENTRY_FPD | 1 << 5);
    qvtd_inv_global(&t.vtd);
    g_assert_cmpint(dma_read(&t, t.page), !=, 0);
    no_fault(&t);
    qtest_writeq(t.qts, t.pe, PE_PASS | 1 << 5);
    qvtd_inv_global(&t.vtd);
    expect_blocked(&t, VTD_FR_PASID_ENTRY_RSVD);
    stop(&t);
}

static void enable(Test *t, bool on)
{
    qvtd_writel(t->qts, DMAR_GCMD_REG,
                VTD_GCMD_QIE | (on ? VTD_GCMD_TE : 0));
}

/*
 * 11.4.4: nothing is blocked while translation is disabled. The entry is read
 * again when translation is enabled, and at each invalidation of a cache that
 * holds it (6.5.2).
 */
static void test_pass_reread_entry(void)
{
    Test t;

    start_pass_through(&t, ",x-scalable-mode=on");
    enable(&t, false);
    qtest_writeq(t.qts, t.pe, PE_PASS | 1 << 5);
    expect_pass(&t);
    enable(&t, true);
    expect_blocked(&t, VTD_FR_PASID_ENTRY_RSVD);

    qtest_writeq(t.qts, t.pe, PE_PASS);
    qvtd_submit(&t.vtd, VTD_INV_DESC_PC | 3 << 4, 0);
    expect_pass(&t);
    qtest_writeq(t.qts, t.context + 8, 1 << 20);
    qvtd_submit(&t.vtd, VTD_INV_DESC_CC | VTD_INV_DESC_CC_DEVICE |
                (uint64_t)DEV << 32, 0);
    expect_blocked(&t, VTD_FR_SM_CONTEXT_ENTRY_RSVD);
    qtest_writeq(t.qts, t.context + 8, 0);
    qvtd_submit(&t.vtd, VTD_INV_DESC_CC | VTD_INV_DESC_CC_GLOBAL, 0);
    expect_pass(&t);

    /* A reset also disables translation */
    qtest_writeq(t.qts, t.pe, 0);
    qvtd_inv_global(&t.vtd);
    expect_blocked(&t, VTD_FR_PASID_ENTRY_P);
    qtest_system_reset(t.qts);
    qecam_enable(t.qts);
    qatd_init(&t.dev, t.qts, DEV, 0);
    expect_pass(&t);
    stop(&t);
}

/* ---- Migration ---- */

#define BEHIND_PORT QATD_BDF(3, 0, 0)
#define PORT_ARGS   "-M q35 -nodefaults -device intel-iommu "              \
                    "-device pcie-root-port,id=rp,addr=5,chassis=1 "       \
                    "-device pci-ats-testdev,bus=rp,addr=0 "

static void start_behind_port(Test *t)
{
    *t = (Test) { };
    t->qts = qtest_init(PORT_ARGS);
    qecam_enable(t->qts);
    qecam_setup_bridge(t->qts, QATD_BDF(0, 5, 0), 3, 3);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    qatd_init(&t->dev, t->qts, BEHIND_PORT, 0);
    t->page = qvtd_new_table(&t->vtd);
    qtest_writel(t->qts, t->page, MAGIC);
    t->table = qvtd_new_table(&t->vtd);
    qvtd_attach(&t->vtd, BEHIND_PORT, 1, t->table, false);
    qvtd_attach(&t->vtd, BEHIND_PORT & 0xff, 1, t->table, false);
}

static void migrate(Test *t)
{
    g_autofree char *path = qatd_save_machine(t->qts);

    t->qts = qtest_init(PORT_ARGS "-incoming defer");
    t->vtd.qts = t->qts;
    t->dev.qts = t->qts;
    qatd_load_machine(t->qts, path);
}

/*
 * The destination reads the tables again, when bus numbers are known: 00:00.0
 * passes through, and is not the device.
 */
static void test_migration(void)
{
    Test t;

    start_behind_port(&t);
    qtest_writeq(t.qts, legacy_context(&t, BEHIND_PORT & 0xff),
                 VTD_CONTEXT_ENTRY_P | VTD_CONTEXT_TT_PASS_THROUGH);
    qvtd_enable(&t.vtd);
    expect_blocked(&t, VTD_FR_READ);
    migrate(&t);
    expect_blocked(&t, VTD_FR_READ);

    qtest_writeq(t.qts, legacy_context(&t, BEHIND_PORT),
                 VTD_CONTEXT_ENTRY_P | VTD_CONTEXT_TT_PASS_THROUGH);
    qvtd_inv_global(&t.vtd);
    expect_pass(&t);
    migrate(&t);
    expect_pass(&t);

    qtest_writeq(t.qts, legacy_context(&t, BEHIND_PORT),
                 VTD_CONTEXT_ENTRY_P | VTD_CONTEXT_TT_PASS_THROUGH | 1 << 4);
    migrate(&t);
    expect_blocked(&t, VTD_FR_CONTEXT_ENTRY_RSVD);
    stop(&t);
}

/* ---- The interrupt range (3.15) ---- */

#define INTERRUPT   (VTD_INTERRUPT_ADDR_FIRST + 0x1000)

static int64_t dma_write(Test *t, uint64_t addr, uint64_t length)
{
    return qatd_command(&t->dev, ATD_CMD_DMA_WRITE, QATD_NO_PASID, addr, length,
                        0);
}

static int64_t svm_read(Test *t, uint64_t addr)
{
    return qatd_command(&t->dev, ATD_CMD_SVM_READ, QATD_NO_PASID, addr, 4, 0);
}

/*
 * Accesses to the range are blocked with fault @reason, except for DWORD
 * writes
 */
static void interrupt_range(Test *t, uint8_t reason)
{
    static const uint64_t lengths[] = { 1, 2, 4, 8, 64 };

    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        g_test_message("%" PRIu64 " bytes", lengths[i]);
        g_assert_cmpint(qatd_command(&t->dev, ATD_CMD_DMA_READ, QATD_NO_PASID,
                                     INTERRUPT, lengths[i], 0), !=, 0);
        expect_fault(t, reason, false, INTERRUPT);
        if (lengths[i] != 4) {
            g_assert_cmpint(dma_write(t, INTERRUPT, lengths[i]), !=, 0);
            expect_fault(t, reason, true, INTERRUPT);
        }
    }
    /* A DWORD that is not aligned crosses two */
    g_assert_cmpint(dma_write(t, INTERRUPT + 2, 4), !=, 0);
    expect_fault(t, reason, true, INTERRUPT);
    /* The first and the last address of the range */
    g_assert_cmpint(dma_read(t, VTD_INTERRUPT_ADDR_FIRST), !=, 0);
    expect_fault(t, reason, false, VTD_INTERRUPT_ADDR_FIRST);
    g_assert_cmpint(dma_read(t, VTD_INTERRUPT_ADDR_LAST - 3), !=, 0);
    expect_fault(t, reason, false, VTD_INTERRUPT_ADDR_LAST);
    /* An interrupt request */
    g_assert_cmpint(dma_write(t, INTERRUPT, 4), ==, 0);
    no_fault(t);
}

/*
 * A device with threads only accesses RAM, so that even a DWORD write is not
 * an interrupt request
 */
static void blocked_in_thread(Test *t, uint64_t addr, uint8_t reason)
{
    static const uint64_t flags[] = { 0, ATD_FLAG_THREAD, ATD_FLAG_ASYNC };
    static const uint64_t lengths[] = { 1, 4, 8, 0x2000 };

    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        for (unsigned j = 0; j < ARRAY_SIZE(lengths); j++) {
            g_test_message("flags 0x%" PRIx64 ", %" PRIu64 " bytes", flags[i],
                           lengths[j]);
            g_assert_cmpint(qatd_command(&t->dev, ATD_CMD_SVM_READ,
                                         QATD_NO_PASID, addr, lengths[j],
                                         flags[i]), ==, -EFAULT);
            expect_fault_of_thread(t, reason, false, addr);
            g_assert_cmpint(qatd_command(&t->dev, ATD_CMD_SVM_WRITE,
                                         QATD_NO_PASID, addr, lengths[j],
                                         flags[i]), ==, -EFAULT);
            expect_fault_of_thread(t, reason, true, addr);
        }
    }
}

/* LGN.4 */
static void test_interrupt_legacy(void)
{
    Test t;

    start_legacy(&t, "");
    interrupt_range(&t, VTD_FR_INTERRUPT_ADDR);
    /* LCT.2: the context entry blocks the request before that */
    qtest_writeq(t.qts, legacy_context(&t, DEV), 0);
    qvtd_inv_global(&t.vtd);
    g_assert_cmpint(dma_read(&t, INTERRUPT), !=, 0);
    expect_fault(&t, VTD_FR_CONTEXT_ENTRY_P, false, INTERRUPT);
    blocked_in_thread(&t, INTERRUPT, VTD_FR_CONTEXT_ENTRY_P);
    stop(&t);
}

static void test_interrupt_pass_legacy(void)
{
    Test t;

    start_pass_through_legacy(&t, "");
    interrupt_range(&t, VTD_FR_INTERRUPT_ADDR);
    blocked_in_thread(&t, INTERRUPT, VTD_FR_INTERRUPT_ADDR);
    expect_pass(&t);
    stop(&t);
}

/* SGN.8.1 */
static void test_interrupt_scalable(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(scalable_modes); i++) {
        bool first_stage = i > 0;
        Test t;

        start_pass_through(&t, scalable_modes[i]);
        interrupt_range(&t, VTD_FR_SM_INTERRUPT_ADDR);
        blocked_in_thread(&t, INTERRUPT, VTD_FR_SM_INTERRUPT_ADDR);

        qvtd_sm_pasid(&t.vtd, t.table, 0, VTD_PASID_ENTRY_P | 2 << 2 |
                      (first_stage ? VTD_SM_PASID_ENTRY_FLT :
                                     VTD_SM_PASID_ENTRY_SLT), 1, 0);
        qvtd_inv_global(&t.vtd);
        interrupt_range(&t, VTD_FR_SM_INTERRUPT_ADDR);
        blocked_in_thread(&t, INTERRUPT, VTD_FR_SM_INTERRUPT_ADDR);

        /* FPD: the request is blocked nevertheless (7.1.1) */
        qtest_writeq(t.qts, t.context, qtest_readq(t.qts, t.context) |
                     VTD_CONTEXT_ENTRY_FPD);
        qvtd_inv_global(&t.vtd);
        g_assert_cmpint(dma_read(&t, INTERRUPT), !=, 0);
        g_assert_cmpint(svm_read(&t, INTERRUPT), ==, -EFAULT);
        no_fault(&t);
        stop(&t);
    }
}

/* No fault is reported while translation is disabled */
static void test_interrupt_translation_disabled(void)
{
    Test t;

    start(&t, "");
    dma_read(&t, INTERRUPT);
    g_assert_cmpint(dma_write(&t, INTERRUPT, 4), ==, 0);
    g_assert_cmpint(svm_read(&t, INTERRUPT), ==, -EFAULT);
    no_fault(&t);
    stop(&t);
}

/*
 * 5.1.3: the interrupt index is the sum of handle and subhandle.  It exceeds
 * the largest table here, whose entries are not present.
 */
static void test_interrupt_index(void)
{
    const unsigned entries = 1 << 16, handle = entries - 1;
    QVtdFault fault;
    uint64_t table;
    Test t;

    start(&t, "");
    table = guest_alloc(&t.alloc, entries * sizeof(VTD_IR_TableEntry));
    qtest_memset(t.qts, table, 0, entries * sizeof(VTD_IR_TableEntry));
    qvtd_writeq(t.qts, DMAR_IRTA_REG, table | VTD_IRTA_SIZE_MASK);
    qvtd_writel(t.qts, DMAR_GCMD_REG, VTD_GCMD_SIRTP);
    qvtd_writel(t.qts, DMAR_GCMD_REG, VTD_GCMD_IRE);
    for (unsigned subhandle = 0; subhandle < 3; subhandle++) {
        qtest_writel(t.qts, t.dev.data, subhandle);
        /* Remappable format, with a subhandle (5.1.2.2) */
        dma_write(&t, VTD_INTERRUPT_ADDR_FIRST | (handle & 0x7fff) << 5 |
                  1 << 4 | 1 << 3 | handle >> 15 << 2, 4);
        fault = qvtd_take_fault(t.qts);
        g_assert_cmphex(fault.reason, ==, subhandle ? VTD_FR_IR_INDEX_OVER :
                                                      VTD_FR_IR_ENTRY_P);
    }
    stop(&t);
}

/* ---- The host address width (3.9) ---- */

/* Place BAR 2 of the second device at @addr, to use it as memory */
static void place_peer(Test *t, uint64_t addr)
{
    QATD peer;

    qatd_init(&peer, t->qts, PEER, 1);
    qecam_writel(t->qts, PEER, PCI_BASE_ADDRESS_2, addr);
    qecam_writel(t->qts, PEER, PCI_BASE_ADDRESS_3, addr >> 32);
    qtest_writel(t->qts, addr, MAGIC);
    g_assert_cmphex(qtest_readl(t->qts, addr), ==, MAGIC);
}

static void beyond(Test *t, uint64_t addr, uint8_t reason)
{
    static const uint64_t lengths[] = { 1, 2, 4, 8, 64 };

    for (unsigned i = 0; i < ARRAY_SIZE(lengths); i++) {
        g_assert_cmpint(qatd_command(&t->dev, ATD_CMD_DMA_READ, QATD_NO_PASID,
                                     addr, lengths[i], 0), !=, 0);
        expect_fault(t, reason, false, addr);
        g_assert_cmpint(dma_write(t, addr, lengths[i]), !=, 0);
        expect_fault(t, reason, true, addr);
    }
}

/* Addresses below and above 2^@width with pass-through, with memory at both */
static void host_address_width(Test *t, unsigned width, uint8_t reason)
{
    uint64_t limit = 1ULL << width;

    place_peer(t, limit / 2);
    g_assert_cmpint(dma_read(t, limit / 2), ==, 0);
    g_assert_cmphex(qtest_readl(t->qts, t->dev.data), ==, MAGIC);
    no_fault(t);

    place_peer(t, limit);
    beyond(t, limit, reason);
    beyond(t, limit * 2, reason);
    beyond(t, -0x1000ULL, reason);
    blocked_in_thread(t, limit, reason);
    blocked_in_thread(t, -0x2000ULL, reason);
    /* Registers below the limit are not accessible, which is not a fault */
    g_assert_cmpint(svm_read(t, Q35_HOST_BRIDGE_IOMMU_ADDR), ==, -EFAULT);
    no_fault(t);
    g_assert_cmphex(qtest_readl(t->qts, limit), ==, MAGIC);

    /* There is no limit while translation is disabled (11.4.4) */
    enable(t, false);
    g_assert_cmpint(dma_read(t, limit), ==, 0);
    g_assert_cmphex(qtest_readl(t->qts, t->dev.data), ==, MAGIC);
    no_fault(t);
    enable(t, true);
    beyond(t, limit, reason);
    expect_pass(t);
}

/* LGN.1.3 */
static void test_width_legacy(void)
{
    Test t;

    start_pass_through_legacy(&t, WITH_PEER);
    host_address_width(&t, 48, VTD_FR_ADDR_BEYOND_MGAW);
    stop(&t);

    start_pass_through_legacy(&t, ",aw-bits=39" WITH_PEER);
    /* AW: 39 bits, the largest supported width (9.3) */
    qtest_writeq(t.qts, t.context + 8, 1 << 8 | 1);
    qvtd_inv_global(&t.vtd);
    host_address_width(&t, 39, VTD_FR_ADDR_BEYOND_MGAW);
    stop(&t);
}

/* SGN.4.2 */
static void test_width_scalable(void)
{
    Test t;

    for (unsigned i = 0; i < ARRAY_SIZE(scalable_modes); i++) {
        g_autofree char *iommu = g_strconcat(scalable_modes[i], WITH_PEER,
                                             NULL);

        start_pass_through(&t, iommu);
        host_address_width(&t, 48, VTD_FR_SM_ADDR_BEYOND_HAW);
        stop(&t);
    }
    start_pass_through(&t, ",x-scalable-mode=on,aw-bits=39" WITH_PEER);
    host_address_width(&t, 39, VTD_FR_SM_ADDR_BEYOND_HAW);

    /* The condition is qualified (7.1.1) */
    qtest_writeq(t.qts, t.pe, PE_PASS | VTD_PASID_ENTRY_FPD);
    qvtd_inv_global(&t.vtd);
    g_assert_cmpint(dma_read(&t, 1ULL << 39), !=, 0);
    no_fault(&t);
    stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/vtd-fault/event/pending", test_event_pending);
    qtest_add_func("/vtd-fault/event/queue-error",
                   test_event_pending_queue_error);
    qtest_add_func("/vtd-fault/event/quiet", test_event_quiet);
    qtest_add_func("/vtd-fault/event/data", test_event_data);
    qtest_add_func("/vtd-fault/pass-through/legacy", test_pass_legacy);
    qtest_add_func("/vtd-fault/pass-through/context", test_pass_context);
    qtest_add_func("/vtd-fault/pass-through/pasid-entry",
                   test_pass_pasid_entry);
    qtest_add_func("/vtd-fault/pass-through/invalid-mode",
                   test_pass_invalid_mode);
    qtest_add_func("/vtd-fault/pass-through/fpd", test_pass_fpd);
    qtest_add_func("/vtd-fault/pass-through/reread-entry",
                   test_pass_reread_entry);
    qtest_add_func("/vtd-fault/interrupt-range/legacy", test_interrupt_legacy);
    qtest_add_func("/vtd-fault/interrupt-range/pass-legacy",
                   test_interrupt_pass_legacy);
    qtest_add_func("/vtd-fault/interrupt-range/scalable",
                   test_interrupt_scalable);
    qtest_add_func("/vtd-fault/interrupt-range/translation-disabled",
                   test_interrupt_translation_disabled);
    qtest_add_func("/vtd-fault/interrupt-index", test_interrupt_index);
    qtest_add_func("/vtd-fault/pass-through/migration", test_migration);
    qtest_add_func("/vtd-fault/host-address-width/legacy", test_width_legacy);
    qtest_add_func("/vtd-fault/host-address-width/scalable",
                   test_width_scalable);
    return g_test_run();
}
