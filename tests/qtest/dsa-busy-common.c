/*
 * QTest testcases for the Intel Data Streaming Accelerator (DSA) while busy:
 * the machine, the process and the descriptors that the tests share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "dsa-busy-common.h"

/* Domain id of the process; first-stage entry (VT-d 9.7) */
#define DOMAIN      1
#define FS          (VTD_FL_P | VTD_FL_RW | VTD_FL_US)

/* ---- Setup ---- */

bool busy_test_init(int *argc, char ***argv)
{
    g_test_init(argc, argv, NULL);
    if (qtest_has_device("dsa") && qtest_has_device("intel-iommu")) {
        return true;
    }
    g_test_skip("no dsa or intel-iommu device");
    return false;
}

void busy_init_at(BusyTest *t, uint16_t bdf)
{
    if (bdf == BUSY_BEHIND_PORT) {
        qecam_setup_bridge(t->qts, BUSY_PORT, 1, 1);
    }
    pc_alloc_init(&t->alloc, t->qts, 0);
    qdsa_init(&t->dsa, t->qts, bdf,
              guest_alloc_zeroed(&t->alloc, t->qts, PAGE));
    t->cr = guest_alloc_zeroed(&t->alloc, t->qts, PAGE);
}

void busy_start_at(BusyTest *t, uint16_t bdf, const char *args)
{
    *t = (BusyTest) { };
    t->qts = qtest_initf(BUSY_MACHINE "%s", args);
    qecam_enable(t->qts);
    busy_init_at(t, bdf);
}

void busy_start(BusyTest *t)
{
    busy_start_at(t, BUSY_DEV, "-device dsa,addr=4");
    qdsa_start(&t->dsa, 0);
}

void busy_attach_iommu(BusyTest *t)
{
    uint64_t root0;

    qvtd_init(&t->vtd, t->qts, &t->alloc);
    t->root = qvtd_sm_attach_process(&t->vtd, t->dsa.bdf, BUSY_PASID, DOMAIN,
                                     &root0);
    qvtd_enable(&t->vtd);
    qvtd_prq_init(&t->prq, &t->vtd, 2);
    qdsa_enable_ats(&t->dsa);
}

uint64_t busy_wq_bits(bool block)
{
    return R_DSA_WQCFG1_PASID_EN_MASK | BUSY_PASID << R_DSA_WQCFG1_PASID_SHIFT |
           (block ? R_DSA_WQCFG1_BLOCK_ON_FAULT_MASK : 0);
}

void busy_stop(BusyTest *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

void busy_stop_machine(BusyTest *t)
{
    qtest_qmp_assert_success(t->qts, "{ 'execute': 'stop' }");
}

void busy_cont_machine(BusyTest *t)
{
    qtest_qmp_assert_success(t->qts, "{ 'execute': 'cont' }");
}

void busy_start_incoming(BusyTest *t, const char *args)
{
    t->qts = qtest_initf(BUSY_MACHINE "%s -incoming defer", args);
    t->dsa.qts = t->vtd.qts = t->qts;
}

void busy_load(BusyTest *t, const char *path, const char *args)
{
    busy_start_incoming(t, args);
    qatd_load_machine(t->qts, path);
}

/* ---- The address space of the process ---- */

void busy_map(BusyTest *t, uint64_t iova, uint64_t gpa, size_t size)
{
    for (size_t i = 0; i < size; i += PAGE) {
        qvtd_map_entry(&t->vtd, t->root, 4, iova + i, PAGE, (gpa + i) | FS, FS);
    }
}

void busy_unmap_page(BusyTest *t, uint64_t iova)
{
    qvtd_map_entry(&t->vtd, t->root, 4, iova, PAGE, 0, FS);
    qvtd_inv_pasid_pages(&t->vtd, DOMAIN, BUSY_PASID, iova, 0);
    qvtd_submit(&t->vtd, VTD_INV_DESC_DEV_PIOTLB | (uint64_t)BUSY_PASID << 32 |
                (uint64_t)t->dsa.bdf << 16, iova);
}

/* ---- Page requests ---- */

void busy_next_request(BusyTest *t, QVtdPageReq *rq)
{
    qvtd_prq_wait(&t->prq, 60, rq);
    g_assert_cmphex(rq->pasid, ==, BUSY_PASID);
    g_assert_true(rq->read != rq->write);
}

void busy_expect_any_request(BusyTest *t, QVtdPageReq *rq)
{
    busy_next_request(t, rq);
    g_assert_true(rq->last);
}

void busy_expect_group(BusyTest *t, uint64_t iova, unsigned n, bool is_write,
                       QVtdPageReq *rq)
{
    for (unsigned i = 0; i < n; i++) {
        busy_next_request(t, rq);
        g_assert_cmphex(rq->addr, ==, iova + i * PAGE);
        g_assert_cmpint(rq->write, ==, is_write);
        g_assert_cmpint(rq->last, ==, i == n - 1);
    }
}

void busy_expect_request(BusyTest *t, uint64_t iova, bool is_write,
                         QVtdPageReq *rq)
{
    busy_expect_any_request(t, rq);
    g_assert_cmphex(rq->addr, ==, iova & -PAGE);
    g_assert_cmpint(rq->write, ==, is_write);
}

/* ---- Descriptors ---- */

void busy_desc_delta(QDSADesc *desc, DSAOperation op, uint64_t record,
                     uint32_t size)
{
    if (op == DSA_OP_CREATE_DELTA) {
        stq_le_p(desc->raw + DSA_DESC_DELTA_ADDR, record);
        stl_le_p(desc->raw + DSA_DESC_MAX_DELTA_SIZE, 80);
    } else if (op == DSA_OP_APPLY_DELTA) {
        stl_le_p(desc->raw + DSA_DESC_DELTA_SIZE, size);
    }
}

uint8_t busy_wait_record(BusyTest *t, unsigned n, uint8_t *record)
{
    return qdsa_wait(&t->dsa, t->cr + n * DSA_CR_SIZE, record);
}

void busy_expect_record(BusyTest *t, unsigned n, uint8_t status, uint32_t bytes,
                        uint64_t fault_page)
{
    uint8_t record[DSA_CR_SIZE];

    g_assert_cmphex(busy_wait_record(t, n, record), ==, status);
    g_assert_cmpuint(ldl_le_p(record + DSA_CR_BYTES_COMPLETED), ==, bytes);
    g_assert_cmphex(ldq_le_p(record + DSA_CR_FAULT_ADDR) & -PAGE, ==,
                    fault_page);
    qtest_memset(t->qts, t->cr + n * DSA_CR_SIZE, 0, DSA_CR_SIZE);
}

void busy_expect_no_record(BusyTest *t, unsigned n)
{
    g_assert_cmphex(qtest_readb(t->qts, t->cr + n * DSA_CR_SIZE), ==, 0);
}

void busy_submit(BusyTest *t, unsigned n, DSAOperation op, uint32_t flags,
                 uint64_t src, uint64_t dst, uint32_t size)
{
    uint64_t cr = (t->root ? BUSY_IOVA_CR : t->cr) + n * DSA_CR_SIZE;
    QDSADesc desc;

    qdsa_desc(&desc, op, flags, cr);
    qdsa_desc_data(&desc, src, dst, size);
    qdsa_submit(&t->dsa, &desc);
}

/* ---- Operands ---- */

void busy_fill_pattern(uint8_t *p, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        p[i] = BUSY_PATTERN >> i % 8 * 8;
    }
}

void busy_fill_delta_offsets(uint8_t *record, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        stw_le_p(record + i * 10, i * 2);
    }
}

/* ---- Block on Fault ---- */

void busy_start_block(BusyBlockTest *b, bool block)
{
    BusyTest *t = &b->t;

    busy_start_at(t, BUSY_DEV, BUSY_IOMMU "-device dsa,addr=4,id=dsa0");
    busy_attach_iommu(t);
    b->data = guest_alloc_zeroed(&t->alloc, t->qts, 4 * PAGE);
    busy_map(t, BUSY_IOVA_CR, t->cr, PAGE);
    busy_map(t, BUSY_IOVA_DATA, b->data, PAGE);
    qdsa_start(&t->dsa, busy_wq_bits(block));
}

void busy_expect_filled(BusyTest *t, uint64_t addr, uint64_t pattern,
                        unsigned phase, size_t len)
{
    g_autofree uint8_t *p = g_malloc(len);
    g_autofree uint8_t *expected = g_malloc(len);

    for (size_t i = 0; i < len; i++) {
        expected[i] = pattern >> (phase + i) % 8 * 8;
    }
    qtest_memread(t->qts, addr, p, len);
    g_assert_cmpmem(p, len, expected, len);
}

void busy_begin_block(BusyBlockTest *b, QVtdPageReq *rq)
{
    busy_start_block(b, true);
    busy_submit(&b->t, 0, DSA_OP_FILL, BUSY_BLOCK, BUSY_PATTERN, BUSY_IOVA_DATA,
                2 * PAGE);
    busy_expect_request(&b->t, BUSY_IOVA_DATA + PAGE, true, rq);
}
