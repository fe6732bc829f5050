/*
 * QTest testcase for device-TLBs and PASIDs of intel-iommu: translated and
 * untranslated requests, and requests of threads
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
#include "standard-headers/linux/pci_regs.h"
#include "intel-iommu-ats-common.h"

/* 4.2.5: translated requests in legacy mode */
static void test_translated_legacy(void)
{
    uint64_t data;
    VatsTest t;

    vats_start_legacy(&t);
    data = vats_new_page(&t);
    qtest_writel(t.qts, data, 0x11223344);
    qtest_writel(t.qts, t.dev.data, 0);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, data,
                             ATD_FLAG_TRANSLATED), ==, 0);
    g_assert_cmphex(qtest_readl(t.qts, t.dev.data), ==, 0x11223344);
    vats_no_fault(&t);
    /* LGN.4 */
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_WRITE, QATD_NO_PASID, 0xfee01000,
                             ATD_FLAG_TRANSLATED), !=, 0);
    vats_fault(&t, VTD_FR_INTERRUPT_ADDR, 2, QATD_NO_PASID, 0xfee01000, true);
    /* LCT.5 */
    qvtd_attach(&t.vtd, VATS_DEV, VATS_DOMAIN, t.table, false);
    qvtd_inv_global(&t.vtd);
    qtest_writel(t.qts, t.dev.data, 0x55667788);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_WRITE, QATD_NO_PASID, data,
                             ATD_FLAG_TRANSLATED), !=, 0);
    g_assert_cmphex(qtest_readl(t.qts, data), ==, 0x11223344);
    vats_fault(&t, VTD_FR_CONTEXT_ENTRY_TT, 2, QATD_NO_PASID, data, true);
    vats_stop(&t);
}

/* Expect that a translated request is blocked, and writes nothing */
static void translated_blocked(VatsTest *t, uint64_t data)
{
    qtest_writel(t->qts, data, 0x11223344);
    qtest_writel(t->qts, t->dev.data, 0x55667788);
    g_assert_cmpint(vats_dma(t, ATD_CMD_DMA_WRITE, QATD_NO_PASID, data,
                             ATD_FLAG_TRANSLATED), !=, 0);
    g_assert_cmphex(qtest_readl(t->qts, data), ==, 0x11223344);
    g_assert_cmpint(vats_dma(t, ATD_CMD_DMA_READ, QATD_NO_PASID, data,
                             ATD_FLAG_TRANSLATED), !=, 0);
    g_assert_cmphex(qtest_readl(t->qts, t->dev.data), ==, 0x55667788);
}

/* 4.2.1: Unsupported Request and no fault while translation is disabled */
static void test_translated_disabled(void)
{
    uint64_t data;
    VatsTest t;

    vats_start_legacy(&t);
    data = vats_new_page(&t);
    qvtd_writel(t.qts, DMAR_GCMD_REG, VTD_GCMD_QIE);
    translated_blocked(&t, data);
    vats_no_fault(&t);
    /* Untranslated requests are not blocked */
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, data, 0), ==,
                    0);
    vats_stop(&t);
}

/* LCT.5: pass-through (TT is 10b) blocks all but untranslated requests */
static void test_translated_pass_through(void)
{
    uint64_t data, ce;
    VatsTest t;

    vats_start_legacy(&t);
    data = vats_new_page(&t);
    ce = (qtest_readq(t.qts, t.vtd.root) & ~(KIB4 - 1)) + VATS_DEV * 16;
    qtest_writeq(t.qts, ce, VTD_CONTEXT_TT_PASS_THROUGH | VTD_CONTEXT_ENTRY_P);
    qvtd_inv_global(&t.vtd);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, data, 0), ==,
                    0);
    vats_no_fault(&t);
    translated_blocked(&t, data);
    vats_fault(&t, VTD_FR_CONTEXT_ENTRY_TT, 2, QATD_NO_PASID, data, true);
    vats_stop(&t);
}

/* 4.2.5: with PGTT 100b the context entry and ATS Enable decide */
static void test_translated_pass_through_scalable(void)
{
    uint64_t data, ce;
    VatsTest t;

    vats_start_scalable(&t);
    data = vats_new_page(&t);
    ce = qvtd_sm_context(&t.vtd, VATS_DEV);
    qvtd_sm_pasid(&t.vtd, t.dir, 0, VATS_PE_PASS, VATS_PE_DID, 0);
    qvtd_inv_global(&t.vtd);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, data,
                             ATD_FLAG_TRANSLATED), ==, 0);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, 0xfee01000,
                             ATD_FLAG_TRANSLATED), !=, 0);
    vats_fault(&t, VTD_FR_SM_INTERRUPT_ADDR, 2, QATD_NO_PASID, 0xfee01000,
               false);
    /* ATS is disabled in the function */
    qecam_writew(t.qts, VATS_DEV, t.dev.ats + PCI_ATS_CTRL, 0);
    translated_blocked(&t, data);
    vats_fault(&t, VTD_FR_SM_CONTEXT_ENTRY_DTE, 2, QATD_NO_PASID, data, true);
    /* SCT.5 */
    qecam_writew(t.qts, VATS_DEV, t.dev.ats + PCI_ATS_CTRL,
                 PCI_ATS_CTRL_ENABLE);
    qtest_writeq(t.qts, ce, t.dir | VATS_CE_PASID | 1);
    qvtd_inv_global(&t.vtd);
    translated_blocked(&t, data);
    vats_fault(&t, VTD_FR_SM_CONTEXT_ENTRY_DTE, 2, QATD_NO_PASID, data, true);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, data, 0), ==,
                    0);
    vats_no_fault(&t);
    vats_stop(&t);
}

/* Untranslated requests, with and without PASID */
static void test_untranslated(void)
{
    uint64_t root, data, entry;
    VatsTest t;

    vats_start_scalable(&t);
    data = vats_new_page(&t);
    root = vats_first_stage(&t, 0);
    entry = vats_map_first(&t, root, VATS_IOVA, KIB4, data | VATS_FS);
    qvtd_sm_pasid(&t.vtd, t.dir, VATS_PASID, VATS_PE_FIRST, VATS_PE1, root);

    /* 3.6.2: a read sets A, a later write sets D */
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, VATS_IOVA,
                             0), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==, data | VATS_FS | VTD_FL_A);
    qtest_writel(t.qts, t.dev.data, 0x12345678);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_WRITE, QATD_NO_PASID, VATS_IOVA,
                             0), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==,
                    data | VATS_FS | VTD_FL_A | VTD_FL_D);
    g_assert_cmphex(qtest_readl(t.qts, data), ==, 0x12345678);
    qtest_writel(t.qts, t.dev.data, 0xcafe);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_WRITE, VATS_PASID, VATS_IOVA,
                             0), ==, 0);
    g_assert_cmphex(qtest_readl(t.qts, data), ==, 0xcafe);
    vats_no_fault(&t);
    /* SFS.2 and SGN.6 are faults for untranslated requests */
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID,
                             VATS_IOVA + KIB4, 0),
                    !=, 0);
    vats_fault(&t, VTD_FR_FS_PAGING_ENTRY_P, 0, QATD_NO_PASID, VATS_IOVA + KIB4,
               false);
    vats_map_first(&t, root, VATS_IOVA + KIB4, KIB4,
                   data | VTD_FL_P | VTD_FL_US);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_WRITE, VATS_PASID,
                             VATS_IOVA + KIB4, 0), !=, 0);
    vats_fault(&t, VTD_FR_SM_WRITE, 0, VATS_PASID, VATS_IOVA + KIB4, true);
    /* With PASID, the interrupt range is translated */
    vats_map_first(&t, root, 0xfee00000, KIB4, data | VATS_FS);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, VATS_PASID, 0xfee00000,
                             0), ==, 0);
    vats_no_fault(&t);
    vats_stop(&t);
}

/* Without PASID support, the tables of both stages still work */
static void test_untranslated_dirty(void)
{
    uint64_t root, data, entry;
    VatsTest t;

    vats_start(&t, "x-scalable-mode=on,x-flts=on");
    t.vtd.scalable = true;
    t.dir = qvtd_sm_attach(&t.vtd, VATS_DEV, 0, 0);
    root = vats_new_page(&t);
    qvtd_sm_pasid(&t.vtd, t.dir, 0, VATS_PE_FIRST, VATS_PE_DID, root);
    qvtd_enable(&t.vtd);
    data = vats_new_page(&t);
    entry = vats_map_first(&t, root, VATS_IOVA, KIB4, data | VATS_FS);
    /*
     * 3.6.2: the write hits the translation that the read has cached, and sets
     * D
     */
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, VATS_IOVA,
                             0), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==, data | VATS_FS | VTD_FL_A);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_WRITE, QATD_NO_PASID, VATS_IOVA,
                             0), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==,
                    data | VATS_FS | VTD_FL_A | VTD_FL_D);
    /* The fault has no PASID, like the request */
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID,
                             VATS_IOVA + KIB4, 0),
                    !=, 0);
    vats_fault(&t, VTD_FR_FS_PAGING_ENTRY_P, 0, QATD_NO_PASID, VATS_IOVA + KIB4,
               false);
    /* SCT.2, not the fault reason of legacy mode */
    qtest_writeq(t.qts, qvtd_sm_context(&t.vtd, VATS_DEV), 0);
    qvtd_inv_global(&t.vtd);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, VATS_IOVA,
                             0), !=, 0);
    vats_fault(&t, VTD_FR_SM_CONTEXT_ENTRY_P, 0, QATD_NO_PASID, VATS_IOVA,
               false);
    vats_stop(&t);
}

/* The main loop records the faults of other threads, with the BQL held */
static void wait_fault(VatsTest *t)
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
    VatsTest t;

    vats_start_scalable(&t);
    data = vats_new_page(&t);
    root = vats_first_stage(&t, VATS_PASID);
    vats_map_first(&t, root, VATS_IOVA, KIB4, data | VATS_FS);
    /* The fault event interrupt is not masked */
    qvtd_writel(t.qts, DMAR_FEADDR_REG, 0xfee00000);
    qvtd_writel(t.qts, DMAR_FECTL_REG, 0);
    vats_translate_page(&t, VATS_PASID, VATS_IOVA, ATD_FLAG_THREAD, data, KIB4,
                        PERM_R | PERM_W);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_WRITE, QATD_NO_PASID, data,
                             ATD_FLAG_TRANSLATED | ATD_FLAG_THREAD), ==, 0);
    vats_no_fault(&t);
    vats_translate(&t, 8192, VATS_IOVA, KIB4, ATD_FLAG_THREAD, 1, 1);
    wait_fault(&t);
    vats_fault(&t, VTD_FR_SM_PASID_TOO_LARGE, 1, 8192, VATS_IOVA, false);
    vats_stop(&t);
}

/*
 * The ATC of a device. 3.6.2: a write sets D, even if a read has cached the
 * translation and set A before. 6.5.2.5: a descriptor without PASID
 * invalidates translations with PASID, too, as Linux expects.
 */
static void test_atc(void)
{
    uint64_t root, data, other, entry;
    VatsTest t;

    vats_start_scalable(&t);
    data = vats_new_page(&t);
    other = vats_new_page(&t);
    root = vats_first_stage(&t, VATS_PASID);
    entry = vats_map_first(&t, root, VATS_IOVA, KIB4, data | VATS_FS);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_SVM_READ, VATS_PASID, VATS_IOVA,
                             0), ==, 0);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==, data | VATS_FS | VTD_FL_A);
    qtest_writel(t.qts, t.dev.data, 0x12345678);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_SVM_WRITE, VATS_PASID, VATS_IOVA,
                             0), ==, 0);
    g_assert_cmphex(qtest_readl(t.qts, data), ==, 0x12345678);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==,
                    data | VATS_FS | VTD_FL_A | VTD_FL_D);

    qtest_writeq(t.qts, entry, other | VATS_FS);
    qvtd_inv_pasid_pages(&t.vtd, VATS_PE_DID, VATS_PASID, VATS_IOVA, 0);
    qvtd_inv_device_tlb(&t.vtd, VATS_DEV, VATS_IOVA, false);
    qtest_writel(t.qts, t.dev.data, 0xcafe);
    g_assert_cmpint(vats_dma(&t, ATD_CMD_SVM_WRITE, VATS_PASID, VATS_IOVA,
                             0), ==, 0);
    g_assert_cmphex(qtest_readl(t.qts, other), ==, 0xcafe);
    g_assert_cmphex(qtest_readl(t.qts, data), ==, 0x12345678);
    vats_no_fault(&t);
    vats_stop(&t);
}

/* Start a command in the thread of an idle device */
static void work(QATD *d, unsigned command, uint64_t length)
{
    if (!qatd_read(d, ATD_BUSY)) {
        qatd_start(d, command, VATS_PASID, VATS_IOVA, length, ATD_FLAG_THREAD);
    }
}

/*
 * 6.5.2.6, 6.5.2.9: after a wait descriptor has completed, no thread of a
 * device uses translations that were invalidated before it.
 */
static void test_threads(void)
{
    uint64_t root, dir, frame[2];
    VatsTest t;

    vats_start_scalable(&t);
    dir = qvtd_sm_attach(&t.vtd, VATS_DEV2, VATS_CE_ATS | VATS_CE_PASID, 0);
    root = vats_first_stage(&t, VATS_PASID);
    qvtd_sm_pasid(&t.vtd, dir, VATS_PASID, VATS_PE_FIRST, VATS_PE1, root);
    qvtd_inv_global(&t.vtd);
    frame[0] = vats_new_page(&t);
    frame[1] = vats_new_page(&t);
    vats_map_first(&t, root, VATS_IOVA, KIB4, frame[0] | VATS_FS);
    vats_map_first(&t, root, VATS_IOVA + KIB4, KIB4, frame[0] | VATS_FS);
    qatd_write(&t.dev2, ATD_MAX_RESULTS, 4);
    qtest_memset(t.qts, t.dev.data, 0x11, 2 * KIB4);
    for (int i = 0; i < 200; i++) {
        uint64_t old = frame[i % 2];

        work(&t.dev, ATD_CMD_SVM_WRITE, 2 * KIB4);
        work(&t.dev2, i % 3 == 0 ? ATD_CMD_TRANSLATE :
             i % 3 == 1 ? ATD_CMD_REGISTER_IOTLB : ATD_CMD_UNREGISTER_IOTLB,
             2 * KIB4);
        vats_map_first(&t, root, VATS_IOVA, KIB4, frame[!(i % 2)] | VATS_FS);
        vats_map_first(&t, root, VATS_IOVA + KIB4, KIB4,
                       frame[!(i % 2)] | VATS_FS);
        qvtd_inv_pasid_pages(&t.vtd, VATS_PE_DID, VATS_PASID, VATS_IOVA, 1);
        vats_inv_pasid(&t, VATS_PASID, VATS_IOVA | 1 << 11);
        /* No thread writes to the old page any more */
        qtest_writel(t.qts, old, 0xa5a5a5a5);
        work(&t.dev, ATD_CMD_SVM_WRITE, 2 * KIB4);
        g_assert_cmphex(qtest_readl(t.qts, old), ==, 0xa5a5a5a5);
    }
    g_assert_cmpint(qatd_wait(&t.dev), ==, 0);
    qatd_wait(&t.dev2);
    vats_no_fault(&t);
    vats_stop(&t);
}

/*
 * 7.3: the fault event of a request from a thread of the device. TCG does not
 * accept a fixed interrupt from a thread without the BQL; an NMI is delivered
 * although the APIC is disabled.
 */
static void test_thread_interrupt(void)
{
    VatsTest t;

    if (!qtest_has_accel("tcg")) {
        g_test_skip("TCG is not available");
        return;
    }
    vats_start(&t,
               "device-iotlb=on,x-scalable-mode=on,x-flts=on,x-pasid-mode=on "
              "-accel tcg -S");
    t.vtd.scalable = true;
    t.dir = qvtd_sm_attach(&t.vtd, VATS_DEV, VATS_CE_ATS | VATS_CE_PASID, 0);
    qvtd_enable(&t.vtd);
    qvtd_writel(t.qts, DMAR_FEADDR_REG, 0xfee00000);
    qvtd_writel(t.qts, DMAR_FEDATA_REG, 4 << 8);
    qvtd_writel(t.qts, DMAR_FECTL_REG, 0);
    vats_translate(&t, 8192, VATS_IOVA, KIB4, ATD_FLAG_THREAD, 1, 1);
    wait_fault(&t);
    vats_fault(&t, VTD_FR_SM_PASID_TOO_LARGE, 1, 8192, VATS_IOVA, false);
    vats_stop(&t);
}

/* 4.2.5: translated requests in scalable mode */
static void test_translated_scalable(void)
{
    uint64_t data;
    VatsTest t;

    vats_start_scalable(&t);
    data = vats_new_page(&t);
    /* The PASID table does not matter: RID_PASID has no entry */
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, data,
                             ATD_FLAG_TRANSLATED), ==, 0);
    vats_no_fault(&t);
    /* SGN.4.1 */
    g_assert_cmpint(vats_dma(&t, ATD_CMD_DMA_READ, QATD_NO_PASID, 1ULL << 48,
                             ATD_FLAG_TRANSLATED), !=, 0);
    vats_fault(&t, VTD_FR_SM_ADDR_BEYOND_HAW, 2, QATD_NO_PASID, 1ULL << 48,
               false);
    vats_stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtd-ats/translated-legacy", test_translated_legacy);
    qtest_add_func("/vtd-ats/translated-disabled", test_translated_disabled);
    qtest_add_func("/vtd-ats/translated-pass-through",
                   test_translated_pass_through);
    qtest_add_func("/vtd-ats/translated-pass-through-scalable",
                   test_translated_pass_through_scalable);
    qtest_add_func("/vtd-ats/untranslated", test_untranslated);
    qtest_add_func("/vtd-ats/untranslated-dirty", test_untranslated_dirty);
    qtest_add_func("/vtd-ats/thread", test_thread);
    qtest_add_func("/vtd-ats/thread-interrupt", test_thread_interrupt);
    qtest_add_func("/vtd-ats/threads", test_threads);
    qtest_add_func("/vtd-ats/atc", test_atc);
    qtest_add_func("/vtd-ats/translated-scalable", test_translated_scalable);
    return g_test_run();
}
