/*
 * Benchmarks of amd-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "hw/i386/amd_iommu.h"
#include "iommu-bench.h"
#include "libqos/amdvi.h"
#include "libqos/malloc-zeroed.h"

#define DOMAIN          1
#define RW              (AMDVI_DEV_PERM_READ | AMDVI_DEV_PERM_WRITE)

/* Guest tables have the format of the CPU: P, R/W, U/S, and PS */
#define GUEST           7
#define LARGE           (1 << 7)

/* Host tables: PR, IR and IW, Next Level (2.2.3) */
#define HOST            (1 | RW)
#define NEXT_LEVEL(n)   ((uint64_t)(n) << 9)

/* Device table entry: PPR, GV, and in the second quadword I (2.2.2.1) */
#define DTE_MODE(n)     ((uint64_t)(n) << AMDVI_DEV_MODE_RSHIFT)
#define DTE_PPR         (1ULL << 52)
#define DTE_GV          (1ULL << 55)
#define DTE_I           (1ULL << 32)

#define GCR3_V          1

/* Six buses of 256 functions (MMIO 0000h) */
#define DEVTAB_SIZE     (6 * 256 * AMDVI_DEVTAB_ENTRY_SIZE)
#define DEVTAB_PAGES    (DEVTAB_SIZE / (4 * KiB))

/* A log of 8192 entries (MMIO 0038h) */
#define PPR_LENGTH      13
#define PPR_ENTRY       16
#define PPR_SIZE        ((PPR_ENTRY << PPR_LENGTH))

/* Control register (MMIO 0018h) */
#define CONTROL_PPR     (1 << 13 | 1 << 15)
#define CONTROL_GT      (1 << 16)

/* Commands with an address: S and GN; the size is in the address (2.4.3) */
#define ADDR_S          1
#define ADDR_GN         4
#define SIZE_2M         0xff000
#define SIZE_ALL        0x7ffffffffffff000

QEMU_BUILD_BUG_ON(BENCH_PAGE_REQUESTS >= 1 << PPR_LENGTH);

static QAMDVI amdvi;
static uint64_t gcr3;

static void set_dte(Bench *b, unsigned mode, uint64_t host_root)
{
    const uint64_t dte[4] = {
        AMDVI_DEV_VALID | AMDVI_DEV_TRANSLATION_VALID | RW | DTE_MODE(mode) |
        host_root | DTE_PPR | DTE_GV | extract64(gcr3, 12, 3) << 58,
        DOMAIN | DTE_I | extract64(gcr3, 15, 16) << 16 |
        extract64(gcr3, 31, 21) << 43,
    };

    for (unsigned i = 0; i < b->num_devs; i++) {
        uint64_t addr = qamdvi_dte_addr(&amdvi, bench_bdf(i));

        for (unsigned j = 0; j < ARRAY_SIZE(dte); j++) {
            qtest_writeq(b->qts, addr + j * 8, dte[j]);
        }
    }
}

static void amdvi_submit(Bench *b, unsigned n)
{
    amdvi.tail = (amdvi.tail + n) % QAMDVI_ENTRIES;
    g_assert_true(qamdvi_completes(&amdvi));
}

static void amdvi_invalidate_all(Bench *b)
{
    qamdvi_put(&amdvi, QAMDVI_COMMAND(INVAL_AMDVI_ALL), 0);
    g_assert_true(qamdvi_completes(&amdvi));
}

static void amdvi_start(Bench *b)
{
    qamdvi_init(&amdvi, b->qts, &b->alloc);
    amdvi.devtab = guest_alloc_zeroed(&b->alloc, b->qts, DEVTAB_SIZE);
    qamdvi_write(&amdvi, AMDVI_MMIO_DEVICE_TABLE,
                 amdvi.devtab | (DEVTAB_PAGES - 1));
    gcr3 = bench_new_table(b);
    set_dte(b, 0, 0);
    qamdvi_enable(&amdvi, CONTROL_GT);
}

static uint64_t amdvi_table_bits(BenchStage stage, unsigned level)
{
    return stage == BENCH_SECOND ? HOST | NEXT_LEVEL(level - 1) : GUEST;
}

static uint64_t amdvi_page_bits(BenchStage stage, unsigned level)
{
    if (stage == BENCH_SECOND) {
        return HOST;
    }
    return GUEST | (level > 1 ? LARGE : 0);
}

static void amdvi_set_tables(Bench *b, BenchStage stage, uint64_t root,
                             uint64_t second)
{
    uint64_t host = stage == BENCH_SECOND ? root : second;

    qtest_writeq(b->qts, gcr3 + BENCH_PASID * 8,
                 stage == BENCH_SECOND ? 0 : root | GCR3_V);
    set_dte(b, host ? 4 : 0, host);
    amdvi_invalidate_all(b);
}

static void put_command(Bench *b, unsigned i, uint64_t lo, uint64_t hi)
{
    uint64_t command[2] = { cpu_to_le64(lo), cpu_to_le64(hi) };
    unsigned slot = (amdvi.tail + i) % QAMDVI_ENTRIES;

    qtest_memwrite(b->qts, amdvi.commands + slot * AMDVI_COMMAND_SIZE, command,
                   sizeof(command));
}

/* 2.4.4: PASID[7:0] is in bits 55:48 */
static void amdvi_put_invalidation(Bench *b, unsigned i, BenchInvalidation kind,
                                   uint16_t bdf, uint64_t addr)
{
    const uint64_t device = QAMDVI_COMMAND(INVAL_IOTLB_PAGES) | bdf;
    const uint64_t pasid = device | (uint64_t)BENCH_PASID << 48;

    switch (kind) {
    case BENCH_INV_2M_PASID:
        put_command(b, i, pasid, addr | SIZE_2M | ADDR_S | ADDR_GN);
        break;
    case BENCH_INV_ALL_PASID:
        put_command(b, i, pasid, SIZE_ALL | ADDR_S | ADDR_GN);
        break;
    case BENCH_INV_4K_NO_PASID:
        put_command(b, i, device, addr);
        break;
    default:
        put_command(b, i, pasid, addr | ADDR_GN);
    }
}

/* 2.4.7 */
static void amdvi_put_response(Bench *b, unsigned i, uint16_t bdf,
                               uint16_t prgi)
{
    put_command(b, i, QAMDVI_COMMAND(COMPLETE_PPR_REQUEST) | bdf |
                (uint64_t)BENCH_PASID << 32, ADDR_GN | (uint64_t)prgi << 32);
}

static void amdvi_start_queue(Bench *b)
{
    uint64_t log = guest_alloc_zeroed(&b->alloc, b->qts, PPR_SIZE);

    qamdvi_write(&amdvi, AMDVI_MMIO_PPR_BASE,
                 log | (uint64_t)PPR_LENGTH << 56);
    qamdvi_enable(&amdvi, CONTROL_GT | CONTROL_PPR);
}

static unsigned amdvi_queue_length(Bench *b)
{
    uint64_t head = qamdvi_read(&amdvi, AMDVI_MMIO_PPR_HEAD);
    uint64_t tail = qamdvi_read(&amdvi, AMDVI_MMIO_PPR_TAIL);

    return (tail - head) % PPR_SIZE / PPR_ENTRY;
}

static void amdvi_empty_queue(Bench *b)
{
    qamdvi_write(&amdvi, AMDVI_MMIO_PPR_HEAD,
                 qamdvi_read(&amdvi, AMDVI_MMIO_PPR_TAIL));
}

const BenchIOMMU bench_iommu = {
    .prefix = "AMD, ",
    .device = "amd-iommu,svm=on",
    .runs_variable = "AMD_IOMMU_BENCH_RUNS",
    .start = amdvi_start,
    .second_stage_pasid = QATD_NO_PASID,
    .table_bits = amdvi_table_bits,
    .page_bits = amdvi_page_bits,
    .set_tables = amdvi_set_tables,
    .invalidate_all = amdvi_invalidate_all,
    .put_invalidation = amdvi_put_invalidation,
    .put_response = amdvi_put_response,
    .submit = amdvi_submit,
    .start_queue = amdvi_start_queue,
    .queue_length = amdvi_queue_length,
    .empty_queue = amdvi_empty_queue,
};
