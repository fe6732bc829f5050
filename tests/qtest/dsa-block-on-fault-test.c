/*
 * QTest testcase for the Intel Data Streaming Accelerator (DSA): Block on Fault
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The test acts as the guest: it owns the page tables of the process and
 * responds to page requests.
 * Section numbers are those of the Intel DSA Architecture Specification,
 * revision 3.0.
 */

#include "qemu/osdep.h"
#include "hw/i386/intel_iommu_internal.h"
#include "standard-headers/linux/pci_regs.h"
#include "dsa-busy-common.h"

/* 3.13.2: with Block on Fault the engine waits for missing pages */
static void test_block(void)
{
    QVtdPageReq rq;
    BusyBlockTest b;
    BusyTest *t = &b.t;

    busy_start_block(&b, true);
    busy_submit(t, 0, DSA_OP_FILL, BUSY_BLOCK, BUSY_PATTERN, BUSY_IOVA_DATA + 4,
                2 * PAGE);
    busy_expect_group(t, BUSY_IOVA_DATA + PAGE, 2, true, &rq);
    busy_expect_no_record(t, 0);
    busy_map(t, BUSY_IOVA_DATA + PAGE, b.data + PAGE, 2 * PAGE);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    busy_expect_record(t, 0, DSA_STATUS_SUCCESS, 0, 0);
    g_assert_cmpuint(qvtd_prq_count(&t->prq), ==, 0);
    busy_expect_filled(t, b.data + 4, BUSY_PATTERN, 0, 2 * PAGE);

    /* A read operation requests read permission */
    busy_unmap_page(t, BUSY_IOVA_DATA + PAGE);
    busy_submit(t, 0, DSA_OP_CRC, BUSY_BLOCK, BUSY_IOVA_DATA, 0, 2 * PAGE);
    busy_expect_request(t, BUSY_IOVA_DATA + PAGE, false, &rq);
    busy_map(t, BUSY_IOVA_DATA + PAGE, b.data + PAGE, PAGE);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    busy_expect_record(t, 0, DSA_STATUS_SUCCESS, 0, 0);
    busy_stop(&b.t);
}

/*
 * Operations that copy their data prefetch many pages at once, and repeat the
 * requests when the machine continues.
 */
static void test_block_copied(void)
{
    static const struct {
        DSAOperation op;
        uint32_t dst;
        uint32_t size;
        unsigned pages;
    } ops[] = {
        /* Backward: the source, and the page behind it */
        { DSA_OP_MEMORY_MOVE, PAGE, 16 * PAGE, 16 },
        { DSA_OP_DIF_INSERT, 32 * PAGE, 16 * PAGE, 16 },
        { DSA_OP_DIF_CHECK, 0, 520 * 128, 17 },
        { DSA_OP_APPLY_DELTA, 32 * PAGE, 16 * PAGE, 16 },
        { DSA_OP_CREATE_DELTA, 32 * PAGE, 16 * PAGE, 16 },
    };

    for (int i = 0; i < ARRAY_SIZE(ops); i++) {
        uint64_t dst = ops[i].dst ? BUSY_IOVA_DATA + ops[i].dst : 0;
        QVtdPageReq rq;
        QDSADesc desc;
        BusyBlockTest b;
        BusyTest *t = &b.t;

        g_test_message("case %d", i);
        busy_start_block(&b, true);
        busy_unmap_page(t, BUSY_IOVA_DATA);
        qdsa_desc(&desc, ops[i].op, BUSY_BLOCK, BUSY_IOVA_CR);
        qdsa_desc_data(&desc, BUSY_IOVA_DATA, dst, ops[i].size);
        busy_desc_delta(&desc, ops[i].op, BUSY_IOVA_DATA + 64 * PAGE,
                        16 * PAGE);
        qdsa_submit(&t->dsa, &desc);
        busy_expect_group(t, BUSY_IOVA_DATA, ops[i].pages, false, &rq);
        busy_stop_machine(t);
        qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
        busy_cont_machine(t);
        busy_expect_group(t, BUSY_IOVA_DATA, ops[i].pages, false, &rq);
        busy_stop(t);
    }
}

/* 3.13.3, 5.8.1: without it, partial completion and no page requests */
static void test_no_block(void)
{
    BusyBlockTest b;
    BusyTest *t = &b.t;

    busy_start_block(&b, true);
    busy_submit(t, 0, DSA_OP_FILL, BUSY_CR, BUSY_PATTERN, BUSY_IOVA_DATA + 4,
                2 * PAGE);
    busy_expect_record(t, 0, DSA_STATUS_PAGE_FAULT | DSA_STATUS_WRITE, PAGE - 4,
                       BUSY_IOVA_DATA + PAGE);
    busy_submit(t, 0, DSA_OP_CRC, BUSY_CR, BUSY_IOVA_DATA + 4, 0, 2 * PAGE);
    busy_expect_record(t, 0, DSA_STATUS_PAGE_FAULT, PAGE - 4,
                       BUSY_IOVA_DATA + PAGE);
    g_assert_cmpuint(qvtd_prq_count(&t->prq), ==, 0);
    busy_stop(&b.t);

    /* The flag is reserved if the WQ does not allow it (Table 5-4) */
    busy_start_block(&b, false);
    busy_submit(t, 0, DSA_OP_FILL, BUSY_BLOCK, BUSY_PATTERN, BUSY_IOVA_DATA,
                2 * PAGE);
    busy_expect_record(t, 0, DSA_STATUS_FLAGS, 0, 0);
    busy_stop(&b.t);
}

/*
 * 3.13.2, 5.8.1: responses other than Success.  After a failed response to a
 * group, demand page requests find the page that is invalid.
 */
static void test_block_refused(void)
{
    QVtdPageReq rq;
    BusyBlockTest b;
    BusyTest *t = &b.t;

    busy_start_block(&b, true);
    busy_submit(t, 0, DSA_OP_FILL, BUSY_BLOCK, BUSY_PATTERN, BUSY_IOVA_DATA + 4,
                3 * PAGE);
    busy_expect_group(t, BUSY_IOVA_DATA + PAGE, 3, true, &rq);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_INVALID);
    busy_expect_request(t, BUSY_IOVA_DATA + PAGE, true, &rq);
    busy_map(t, BUSY_IOVA_DATA + PAGE, b.data + PAGE, PAGE);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    busy_expect_request(t, BUSY_IOVA_DATA + 2 * PAGE, true, &rq);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_INVALID);
    busy_expect_record(t, 0, DSA_STATUS_PAGE_FAULT_IR | DSA_STATUS_WRITE,
                       2 * PAGE - 4, BUSY_IOVA_DATA + 2 * PAGE);
    busy_unmap_page(t, BUSY_IOVA_DATA + PAGE);
    busy_submit(t, 0, DSA_OP_CRC, BUSY_BLOCK, BUSY_IOVA_DATA, 0, 2 * PAGE);
    busy_expect_request(t, BUSY_IOVA_DATA + PAGE, false, &rq);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_INVALID);
    busy_expect_record(t, 0, DSA_STATUS_PAGE_FAULT_IR, PAGE,
                       BUSY_IOVA_DATA + PAGE);
    busy_submit(t, 0, DSA_OP_FILL, BUSY_BLOCK, BUSY_PATTERN, BUSY_IOVA_DATA,
                2 * PAGE);
    busy_expect_request(t, BUSY_IOVA_DATA + PAGE, true, &rq);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_FAILURE);
    busy_expect_record(t, 0, DSA_STATUS_TRANSLATION, PAGE,
                       BUSY_IOVA_DATA + PAGE);
    /* 5.7: PRI Enable has not changed, so that the device does not halt */
    qecam_writew(t->qts, t->dsa.bdf, PCI_CACHE_LINE_SIZE, 0);
    g_assert_cmphex(qdsa_readl(&t->dsa, A_DSA_GENSTS), ==, DSA_ENABLED);
    busy_stop(&b.t);
}

/* 3.13.1: page requests for batch lists and records ignore the flag */
static void test_block_record(void)
{
    QVtdPageReq rq;
    BusyBlockTest b;
    BusyTest *t = &b.t;

    busy_start_block(&b, false);
    busy_unmap_page(t, BUSY_IOVA_CR);
    busy_submit(t, 0, DSA_OP_NOOP, BUSY_CR, 0, 0, 0);
    busy_expect_request(t, BUSY_IOVA_CR, true, &rq);
    busy_map(t, BUSY_IOVA_CR, t->cr, PAGE);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    busy_expect_record(t, 0, DSA_STATUS_SUCCESS, 0, 0);

    busy_submit(t, 0, DSA_OP_BATCH, BUSY_CR, BUSY_IOVA_DATA + PAGE, 0, 2);
    busy_expect_request(t, BUSY_IOVA_DATA + PAGE, false, &rq);
    busy_map(t, BUSY_IOVA_DATA + PAGE, b.data + PAGE, PAGE);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    busy_expect_record(t, 0, DSA_STATUS_SUCCESS, 2, 0);

    busy_submit(t, 0, DSA_OP_BATCH, BUSY_CR, BUSY_IOVA_DATA + 2 * PAGE, 0, 2);
    busy_expect_request(t, BUSY_IOVA_DATA + 2 * PAGE, false, &rq);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_INVALID);
    busy_expect_record(t, 0, DSA_STATUS_BATCH_FAULT, 0,
                       BUSY_IOVA_DATA + 2 * PAGE);
    busy_stop(&b.t);
}

int main(int argc, char **argv)
{
    if (!busy_test_init(&argc, &argv)) {
        return 0;
    }
    qtest_add_func("/dsa/block-on-fault/success", test_block);
    qtest_add_func("/dsa/block-on-fault/prefetch-copied-data",
                   test_block_copied);
    qtest_add_func("/dsa/block-on-fault/off", test_no_block);
    qtest_add_func("/dsa/block-on-fault/failed-response", test_block_refused);
    qtest_add_func("/dsa/block-on-fault/record-and-list", test_block_record);
    return g_test_run();
}
