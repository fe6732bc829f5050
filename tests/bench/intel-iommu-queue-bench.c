/*
 * Cost of full invalidation queues of intel-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fills the largest queue with descriptors of one kind.  Measures the time that
 * the emulator needs for all of them, and the time for which it delays other
 * accesses: the write of IQT itself and the reads of IQH that follow.  The
 * latter is the longest time for which the BQL is held, plus the time of qtest.
 * Prints a line for each figure: group, series, column and value, separated by
 * tabs, for tests/bench/run-bench.  Each figure is that of the best run,
 * because other load on the machine can only add to it.
 * INTEL_IOMMU_BENCH_RUNS sets the number of runs (default 25).
 */

#include "qemu/osdep.h"
#include <math.h>
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd.h"

#define DEV         QATD_BDF(0, 4, 0)
#define IOVA        (1 * GiB)

/* Address and size of the queue: 2^7 pages, 256-bit descriptors (11.4.9.3) */
#define QUEUE       (64 * MiB)
#define QS          7
#define ENTRIES     (1u << (7 + QS))
#define DESC_SIZE   32

#define MAX_RUNS    101

#define FS          (VTD_FL_P | VTD_FL_RW | VTD_FL_US)
#define PE0         (VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT)
#define PE1         (1ULL | VTD_SM_PASID_ENTRY_PWSNP)

typedef struct Bench {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QATD dev;
    unsigned pasids;
    unsigned tail;
} Bench;

/* Invalidations of ranges drop nothing: the cost of the search */
static const struct {
    const char *name;
    uint64_t desc[4];
} kinds[] = {
    { "wait", { VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_FN } },
    { "device-TLB, 4 KiB",
      { VTD_INV_DESC_DEVICE | (uint64_t)DEV << 32, 16 * IOVA } },
    { "device-TLB, 2^51 bytes",
      { VTD_INV_DESC_DEVICE | (uint64_t)DEV << 32,
        1ULL << 52 | MAKE_64BIT_MASK(12, 38) | 1 } },
    { "device-TLB, everything",
      { VTD_INV_DESC_DEVICE | (uint64_t)DEV << 32, ~0xffeULL } },
    { "device-TLB, 4 KiB of a PASID",
      { VTD_INV_DESC_DEV_PIOTLB | DEV << 16 | 1ULL << 32, 16 * IOVA } },
    { "IOTLB, everything", { VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_GLOBAL } },
    { "IOTLB, all of a PASID",
      { VTD_INV_DESC_PIOTLB | VTD_INV_DESC_PIOTLB_ALL_IN_PASID | 1ULL << 32 } },
    { "PASID cache", { VTD_INV_DESC_PC | 3 << 4 } },
    { "context cache", { VTD_INV_DESC_CC | VTD_INV_DESC_CC_GLOBAL } },
};

static unsigned runs = 25;

static uint64_t csr(uint64_t offset)
{
    return Q35_HOST_BRIDGE_IOMMU_ADDR + offset;
}

static void enable(Bench *b)
{
    qtest_writeq(b->qts, csr(DMAR_RTADDR_REG), b->vtd.root | VTD_RTADDR_SMT);
    qtest_writel(b->qts, csr(DMAR_GCMD_REG), VTD_GCMD_SRTP);
    qtest_writeq(b->qts, csr(DMAR_IQA_REG), QUEUE | VTD_IQA_DW_MASK | QS);
    qtest_writel(b->qts, csr(DMAR_GCMD_REG), VTD_GCMD_QIE);
    qtest_writel(b->qts, csr(DMAR_GCMD_REG), VTD_GCMD_QIE | VTD_GCMD_TE);
}

/* A device whose DMA uses PASIDs 1 to @pasids */
static void start(Bench *b, unsigned pasids)
{
    uint64_t dir, root;

    *b = (Bench) { .pasids = pasids };
    b->qts = qtest_init("-M q35 -m 128 -nodefaults -device intel-iommu,svm=on "
                        "-device pci-ats-testdev,addr=4");
    qecam_enable(b->qts);
    pc_alloc_init(&b->alloc, b->qts, 0);
    qvtd_init(&b->vtd, b->qts, &b->alloc);
    b->vtd.scalable = true;
    dir = qvtd_sm_attach(&b->vtd, DEV, VTD_SM_CONTEXT_ENTRY_DTE |
                         VTD_SM_CONTEXT_ENTRY_PASIDE, 0);
    root = qvtd_new_table(&b->vtd);
    qvtd_map_entry(&b->vtd, root, 4, IOVA, 4 * KiB,
                   qvtd_new_table(&b->vtd) | FS, FS);
    for (unsigned i = 1; i <= pasids; i++) {
        qvtd_sm_pasid(&b->vtd, dir, i, PE0, PE1, root);
    }
    enable(b);
    qatd_init(&b->dev, b->qts, DEV, 0);
    qatd_enable_all(&b->dev, 32);
}

static void stop(Bench *b)
{
    qtest_quit(b->qts);
    alloc_destroy(&b->alloc);
}

/* All PASIDs have a translation in the ATC */
static void fill_cache(Bench *b)
{
    for (unsigned i = 1; i <= b->pasids; i++) {
        g_assert_cmpint(qatd_command(&b->dev, ATD_CMD_SVM_READ, i, IOVA, 4, 0),
                        ==, 0);
    }
}

static void fill_queue(Bench *b, const uint64_t desc[4])
{
    g_autofree uint64_t *buf = g_new(uint64_t, ENTRIES * 4);

    for (unsigned i = 0; i < ENTRIES * 4; i++) {
        buf[i] = cpu_to_le64(desc[i % 4]);
    }
    qtest_memwrite(b->qts, QUEUE, buf, ENTRIES * DESC_SIZE);
}

static double elapsed(gint64 *since)
{
    gint64 now = g_get_monotonic_time();
    double result = now - *since;

    *since = now;
    return result;
}

/* Returns: microseconds for the queue; @longest for a single access */
static double run(Bench *b, double *longest)
{
    gint64 since = g_get_monotonic_time();
    double total, t;

    b->tail = (b->tail + ENTRIES - 1) % ENTRIES;
    qtest_writeq(b->qts, csr(DMAR_IQT_REG), b->tail * DESC_SIZE);
    total = *longest = elapsed(&since);
    while (qtest_readq(b->qts, csr(DMAR_IQH_REG)) != b->tail * DESC_SIZE) {
        t = elapsed(&since);
        total += t;
        *longest = MAX(*longest, t);
    }
    return total + elapsed(&since);
}

static void bench(Bench *b, const char *name, const uint64_t desc[4])
{
    g_autofree char *column = g_strdup_printf("%u PASID%s", b->pasids,
                                              b->pasids > 1 ? "s" : "");
    double best = INFINITY, wait = INFINITY, longest;

    fill_queue(b, desc);
    for (unsigned i = 0; i < runs; i++) {
        fill_cache(b);
        best = MIN(best, run(b, &longest));
        wait = MIN(wait, longest);
    }
    g_assert_cmphex(qtest_readl(b->qts, csr(DMAR_FSTS_REG)), ==, 0);
    printf("full queue, ns per descriptor\t%s\t%s\t%.1f\n", name, column,
           best * 1000 / (ENTRIES - 1));
    printf("full queue, longest wait in us\t%s\t%s\t%.1f\n", name, column,
           wait);
    fflush(stdout);
}

int main(void)
{
    static const unsigned counts[] = { 1, 256 };
    const char *text = g_getenv("INTEL_IOMMU_BENCH_RUNS");

    if (text && (qemu_strtoui(text, NULL, 0, &runs) || !runs ||
                 runs > MAX_RUNS)) {
        fprintf(stderr, "INTEL_IOMMU_BENCH_RUNS: 1 to %d\n", MAX_RUNS);
        return 1;
    }
    for (int i = 0; i < ARRAY_SIZE(counts); i++) {
        Bench b;

        start(&b, counts[i]);
        for (int k = 0; k < ARRAY_SIZE(kinds); k++) {
            bench(&b, kinds[k].name, kinds[k].desc);
        }
        stop(&b);
    }
    return 0;
}
