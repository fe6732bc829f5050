/*
 * QTest testcase for the Intel Data Streaming Accelerator (DSA): PASIDs and
 * pages that are missing
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel DSA Architecture Specification,
 * revision 3.0.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-zeroed.h"
#include "dsa-common.h"

#define PASID2      6

/* First-stage entries and PASID-table entries (VT-d 9.6, 9.7) */
#define FS          (VTD_FL_P | VTD_FL_RW | VTD_FL_US)
#define PE_FIRST    (VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT)
#define PE1         (1 | VTD_SM_PASID_ENTRY_PWSNP)

static void start_iommu(DSATest *t)
{
    dsa_start_with(t, "-device intel-iommu,device-iotlb=on,x-scalable-mode=on,"
                   "x-flts=on,x-pasid-mode=on -device dsa,addr=4");
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    t->vtd.scalable = true;
    t->dir = qvtd_sm_attach(&t->vtd, DSA_DEV, VTD_SM_CONTEXT_ENTRY_DTE |
                            VTD_SM_CONTEXT_ENTRY_PASIDE, 0);
    qvtd_enable(&t->vtd);
    qdsa_enable_ats(&t->dsa);
}

/* Attach an empty address space for @pasid; returns its root table */
static uint64_t new_pasid(DSATest *t, uint32_t pasid)
{
    uint64_t root = qvtd_new_table(&t->vtd);

    qvtd_sm_pasid(&t->vtd, t->dir, pasid, PE_FIRST, PE1, root);
    return root;
}

static void map(DSATest *t, uint64_t root, uint64_t iova, uint64_t gpa,
                size_t size)
{
    for (size_t i = 0; i < size; i += PAGE) {
        qvtd_map_entry(&t->vtd, root, 4, iova + i, PAGE, (gpa + i) | FS, FS);
    }
}

#define IOVA_CR     0x10000000ULL
#define IOVA_SRC    0x20000000ULL
#define IOVA_DST    0x30000000ULL

static void expect_fault(DSATest *t, uint64_t addr, uint32_t bytes)
{
    g_assert_cmphex(ldq_le_p(t->record + DSA_CR_FAULT_ADDR) & -PAGE, ==, addr);
    g_assert_cmpuint(dsa_bytes_completed(t), ==, bytes);
}

/* 3.13.3: partial completion where pages are missing */
static void test_partial(void)
{
    const uint8_t fault = DSA_STATUS_PAGE_FAULT;
    const uint8_t wfault = DSA_STATUS_PAGE_FAULT | DSA_STATUS_WRITE;
    uint64_t root, src, dst;
    QDSADesc desc;
    DSATest t;
    QDSA *d = &t.dsa;

    start_iommu(&t);
    root = new_pasid(&t, DSA_PASID);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 0x10000);
    dst = guest_alloc_zeroed(&t.alloc, t.qts, 0x10000);
    dsa_put_pattern(&t, src, 0x10000, 4);
    map(&t, root, IOVA_CR, t.cr, PAGE);
    map(&t, root, IOVA_SRC, src, 0x8000);
    map(&t, root, IOVA_DST, dst, 0x4000);
    qdsa_start(d, R_DSA_WQCFG1_PASID_EN_MASK |
               DSA_PASID << R_DSA_WQCFG1_PASID_SHIFT);

    qdsa_desc(&desc, DSA_OP_MEMORY_MOVE, DSA_CR, IOVA_CR);
    qdsa_desc_data(&desc, IOVA_SRC, IOVA_DST, 0x4000);
    dsa_run(&t, &desc, DSA_STATUS_SUCCESS);
    dsa_expect_pattern(&t, dst, 0x4000, 4);

    qdsa_desc_data(&desc, IOVA_SRC + 1, IOVA_DST, 0x8000);
    dsa_run(&t, &desc, wfault);
    expect_fault(&t, IOVA_DST + 0x4000, 0x4000);
    qdsa_desc_data(&desc, IOVA_SRC + 0x6001, IOVA_DST, 0x4000);
    dsa_run(&t, &desc, fault);
    expect_fault(&t, IOVA_SRC + 0x8000, 0x1fff);

    /* Backward: Result is 1, and the end of the buffers is complete */
    map(&t, root, IOVA_SRC + 0x9000, src + 0x9000, 0x2000);
    qdsa_desc_data(&desc, IOVA_SRC + 0x7000, IOVA_SRC + 0x7800, 0x3000);
    dsa_run(&t, &desc, fault);
    expect_fault(&t, IOVA_SRC + 0x8000, 0x1000);
    g_assert_cmpuint(t.record[DSA_CR_RESULT], ==, 1);

    qdsa_desc(&desc, DSA_OP_FILL, DSA_CR, IOVA_CR);
    qdsa_desc_data(&desc, 0, IOVA_DST + 8, 0x4000);
    dsa_run(&t, &desc, wfault);
    expect_fault(&t, IOVA_DST + 0x4000, 0x3ff8);

    /* A batch whose list continues in a missing page */
    qdsa_desc(&desc, DSA_OP_BATCH, DSA_CR, IOVA_CR);
    qdsa_desc_data(&desc, IOVA_DST + 0x4000 - 16 * DSA_DESC_SIZE, 0, 32);
    dsa_run(&t, &desc, DSA_STATUS_BATCH_FAULT);
    expect_fault(&t, IOVA_DST + 0x4000, 16);

    /* A completion record in a missing page */
    qdsa_desc(&desc, DSA_OP_NOOP, DSA_CR, IOVA_CR + PAGE);
    qdsa_submit(d, &desc);
    qdsa_wait_swerror(&t.dsa, DSA_STATUS_CR_FAULT);
    g_assert_cmphex(FIELD_EX64(qdsa_swerror(&t.dsa), DSA_SWERROR, PASID),
                    ==, DSA_PASID);
    g_assert_cmphex(FIELD_EX64(qdsa_swerror(&t.dsa), DSA_SWERROR, RW), ==, 1);
    g_assert_cmphex(qdsa_readq(d, A_DSA_SWERROR + 16) & -PAGE, ==,
                    IOVA_CR + PAGE);
    dsa_stop(&t);
}

static bool enqueue(DSATest *t, uint32_t pasid, unsigned kind, QDSADesc *desc)
{
    stl_le_p(desc->raw + DSA_DESC_TRUSTED, pasid);
    return qtest_enqueue_store(t->qts, qdsa_portal(&t->dsa, 0, kind),
                               desc->raw);
}

/* 3.3.1: each descriptor uses the address space of its PASID; threshold */
static void test_shared(void)
{
    uint64_t cr2, root;
    QDSADesc desc;
    DSATest t;
    QDSA *d = &t.dsa;

    start_iommu(&t);
    cr2 = guest_alloc_zeroed(&t.alloc, t.qts, PAGE);
    root = new_pasid(&t, DSA_PASID);
    map(&t, root, IOVA_CR, t.cr, PAGE);
    root = new_pasid(&t, PASID2);
    map(&t, root, IOVA_CR, cr2, PAGE);
    qdsa_configure_wq(d, 0, 16, R_DSA_WQCFG1_PASID_EN_MASK | DSA_WQ_SHARED);
    qdsa_enable(d);

    qdsa_desc(&desc, DSA_OP_NOOP, DSA_CR, IOVA_CR);
    g_assert_true(enqueue(&t, DSA_PASID, DSA_PORTAL_LIMITED, &desc));
    g_assert_true(enqueue(&t, PASID2, DSA_PORTAL_UNLIMITED, &desc));
    qdsa_wait(d, t.cr, t.record);
    qdsa_wait(d, cr2, t.record);

    /* A threshold of 0 closes only the limited portal */
    qdsa_writeq(d, qdsa_wqcfg(0, 0), 0);
    g_assert_false(enqueue(&t, DSA_PASID, DSA_PORTAL_LIMITED, &desc));
    g_assert_true(enqueue(&t, DSA_PASID, DSA_PORTAL_UNLIMITED, &desc));
    /* A posted write to a shared WQ is ignored */
    qdsa_submit(d, &desc);

    /* Priv requires Privileged Mode Enable, which is clear */
    g_assert_true(enqueue(&t, DSA_PASID | 1u << 31, DSA_PORTAL_UNLIMITED,
                          &desc));
    qdsa_wait_swerror(&t.dsa, DSA_STATUS_PRIV);
    dsa_stop(&t);
}

/* 3.13.2: Block on Fault without a page request queue */
static void test_block_on_fault(void)
{
    uint64_t root;
    QDSADesc desc;
    DSATest t;
    QDSA *d = &t.dsa;

    start_iommu(&t);
    root = new_pasid(&t, DSA_PASID);
    map(&t, root, IOVA_CR, t.cr, PAGE);
    qdsa_start(d, R_DSA_WQCFG1_PASID_EN_MASK |
               R_DSA_WQCFG1_BLOCK_ON_FAULT_MASK |
               DSA_PASID << R_DSA_WQCFG1_PASID_SHIFT);
    qdsa_desc(&desc, DSA_OP_FILL, DSA_CR | DSA_FLAG_BLOCK_ON_FAULT, IOVA_CR);
    qdsa_desc_data(&desc, 0, IOVA_DST, 8);
    dsa_run(&t, &desc, DSA_STATUS_PAGE_FAULT_IR | DSA_STATUS_WRITE);
    expect_fault(&t, IOVA_DST, 0);
    dsa_stop(&t);
}

int main(int argc, char **argv)
{
    if (!qdsa_test_init(&argc, &argv)) {
        return 0;
    }
    qtest_add_func("/dsa/partial-completion", test_partial);
    qtest_add_func("/dsa/shared-wq", test_shared);
    qtest_add_func("/dsa/block-on-fault", test_block_on_fault);
    return g_test_run();
}
