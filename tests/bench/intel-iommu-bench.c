/*
 * Benchmarks of intel-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel VT-d specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "hw/i386/intel_iommu_internal.h"
#include "iommu-bench.h"
#include "libqos/vtd-prq.h"
#include "libqos/vtd.h"

#define FS              (VTD_FL_P | VTD_FL_RW | VTD_FL_US)
#define SS              (VTD_SL_R | VTD_SL_W)
#define LARGE           (1 << 7)
#define PE_AW_48        (2ULL << 2)
#define PE1             (1ULL | VTD_SM_PASID_ENTRY_PWSNP)
#define CE              (VTD_SM_CONTEXT_ENTRY_DTE | \
                         VTD_SM_CONTEXT_ENTRY_PASIDE | \
                         VTD_SM_CONTEXT_ENTRY_PRE)

/* 2^6 pages of page request descriptors */
#define PQS             6

/* Scalable mode has descriptors of 256 bits (11.4.9.3), in one page */
#define DESC_SIZE       32
#define DESCS           (4 * KiB / DESC_SIZE)

/* Size in the address of a device-TLB invalidation (6.5.2.6): bit 11 is S */
#define SIZE_2M         (1 << 11 | 0xff000)
#define SIZE_ALL        (INT64_MAX & ~(uint64_t)0x7ff)

static QVtd vtd;
static QVtdPrq prq;
static uint64_t pasid_dir;

static void vtd_start(Bench *b)
{
    uint64_t context;

    qvtd_init(&vtd, b->qts, &b->alloc);
    vtd.scalable = true;
    pasid_dir = qvtd_sm_attach(&vtd, bench_bdf(0), CE, 0);
    context = qtest_readq(b->qts, qvtd_sm_context(&vtd, bench_bdf(0)));
    for (unsigned i = 0; i < b->num_devs; i++) {
        /* All share the PASID directory of the first */
        qtest_writeq(b->qts, qvtd_sm_context(&vtd, bench_bdf(i)), context);
    }
    qvtd_enable(&vtd);
}

static uint64_t vtd_table_bits(BenchStage stage, unsigned level)
{
    return stage == BENCH_SECOND ? SS : FS;
}

static uint64_t vtd_page_bits(BenchStage stage, unsigned level)
{
    return vtd_table_bits(stage, level) | (level > 1 ? LARGE : 0);
}

static void vtd_set_tables(Bench *b, BenchStage stage, uint64_t root,
                           uint64_t second)
{
    switch (stage) {
    case BENCH_FIRST:
        qvtd_sm_pasid(&vtd, pasid_dir, BENCH_PASID,
                      VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT, PE1, root);
        break;
    case BENCH_SECOND:
        qvtd_sm_pasid(&vtd, pasid_dir, BENCH_PASID, VTD_PASID_ENTRY_P |
                      VTD_SM_PASID_ENTRY_SLT | PE_AW_48 | root, PE1, 0);
        break;
    case BENCH_NESTED:
        qvtd_sm_pasid(&vtd, pasid_dir, BENCH_PASID, VTD_PASID_ENTRY_P |
                      VTD_SM_PASID_ENTRY_NESTED | PE_AW_48 | second, PE1, root);
        break;
    }
    qvtd_inv_global(&vtd);
}

static void vtd_invalidate_all(Bench *b)
{
    qvtd_inv_global(&vtd);
}

static void put_desc(Bench *b, unsigned i, uint64_t lo, uint64_t hi)
{
    uint64_t desc[4] = { cpu_to_le64(lo), cpu_to_le64(hi) };

    qtest_memwrite(b->qts, vtd.iq + (vtd.iq_tail + i) % DESCS * DESC_SIZE,
                   desc, sizeof(desc));
}

static void vtd_put_invalidation(Bench *b, unsigned i, BenchInvalidation kind,
                                 uint16_t bdf, uint64_t addr)
{
    const uint64_t pasid = VTD_INV_DESC_DEV_PIOTLB |
                           (uint64_t)BENCH_PASID << 32 | bdf << 16;

    switch (kind) {
    case BENCH_INV_2M_PASID:
        put_desc(b, i, pasid, addr | SIZE_2M);
        break;
    case BENCH_INV_ALL_PASID:
        put_desc(b, i, pasid, SIZE_ALL);
        break;
    case BENCH_INV_4K_NO_PASID:
        put_desc(b, i, VTD_INV_DESC_DEVICE | (uint64_t)bdf << 32, addr);
        break;
    default:
        put_desc(b, i, pasid, addr);
    }
}

static void vtd_put_response(Bench *b, unsigned i, uint16_t bdf, uint16_t prgi)
{
    put_desc(b, i, VTD_INV_DESC_PAGE_RESPONSE | VTD_INV_DESC_PAGE_RESP_PP |
             bdf << 16 | (uint64_t)BENCH_PASID << 32, prgi << 3);
}

static void vtd_submit(Bench *b, unsigned n)
{
    vtd.iq_tail = (vtd.iq_tail + n) % DESCS;
    qvtd_submit(&vtd, VTD_INV_DESC_WAIT, 0);
}

static void vtd_start_queue(Bench *b)
{
    qvtd_prq_init(&prq, &vtd, PQS);
}

static unsigned vtd_queue_length(Bench *b)
{
    return qvtd_prq_count(&prq);
}

static void vtd_empty_queue(Bench *b)
{
    qtest_writeq(b->qts, Q35_HOST_BRIDGE_IOMMU_ADDR + DMAR_PQH_REG,
                 qtest_readq(b->qts, Q35_HOST_BRIDGE_IOMMU_ADDR +
                                     DMAR_PQT_REG));
}

const BenchIOMMU bench_iommu = {
    .prefix = "",
    .device = "intel-iommu,svm=on",
    .runs_variable = "INTEL_IOMMU_BENCH_RUNS",
    .start = vtd_start,
    .second_stage_pasid = BENCH_PASID,
    .table_bits = vtd_table_bits,
    .page_bits = vtd_page_bits,
    .set_tables = vtd_set_tables,
    .invalidate_all = vtd_invalidate_all,
    .put_invalidation = vtd_put_invalidation,
    .put_response = vtd_put_response,
    .submit = vtd_submit,
    .start_queue = vtd_start_queue,
    .queue_length = vtd_queue_length,
    .empty_queue = vtd_empty_queue,
};
