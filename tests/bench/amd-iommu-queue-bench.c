/*
 * Cost of full command buffers of amd-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fills the largest command buffer with commands of one kind, and measures how
 * long the emulator takes for all of them, and how long it lets other accesses
 * wait meanwhile: the write of the tail pointer itself and the reads of the
 * head pointer that follow.  That is the longest time for which the BQL is
 * held, and the time of qtest.  Prints a line for each figure: group, series,
 * column and value, separated by tabs, for tests/bench/run-bench.  Each figure
 * is that of the best run: what else goes on in the machine can only add to it.
 * AMD_IOMMU_BENCH_RUNS sets how many there are (default 25).
 */

#include "qemu/osdep.h"
#include <math.h>
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "hw/i386/amd_iommu.h"

#define DEVTAB      (32 * MiB)

/* Where the buffer is, and its ComLen (MMIO 0008h) */
#define BUFFER      (64 * MiB)
#define COM_LEN     15
#define ENTRIES     (1u << COM_LEN)

#define MAX_RUNS    101

#define COMMAND(name)   ((uint64_t)AMDVI_CMD_ ## name << 60)

/* No device has a notifier, and nothing is cached: the cost of looking */
static const struct {
    const char *name;
    uint64_t cmd[2];
} kinds[] = {
    { "COMPLETION_WAIT", { COMMAND(COMPLETION_WAIT) } },
    { "INVALIDATE_DEVTAB_ENTRY", { COMMAND(INVAL_DEVTAB_ENTRY) } },
    { "INVALIDATE_IOMMU_PAGES, everything",
      { COMMAND(INVAL_AMDVI_PAGES), 0x7ffffffffffff001 } },
    { "INVALIDATE_INTERRUPT_TABLE", { COMMAND(INVAL_INTR_TABLE) } },
    { "INVALIDATE_IOMMU_ALL", { COMMAND(INVAL_AMDVI_ALL) } },
};

static QTestState *qts;
static unsigned runs = 25;

static void reg_write(uint64_t reg, uint64_t val)
{
    qtest_writeq(qts, AMDVI_BASE_ADDR + reg, val);
}

static void start(void)
{
    qts = qtest_init("-M q35 -m 128 -nodefaults -device amd-iommu");
    reg_write(AMDVI_MMIO_DEVICE_TABLE, DEVTAB);
    reg_write(AMDVI_MMIO_COMMAND_BASE, BUFFER | (uint64_t)COM_LEN << 56);
    reg_write(AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_AMDVIEN |
              AMDVI_MMIO_CONTROL_CMDBUFLEN);
}

static void fill_buffer(const uint64_t cmd[2])
{
    g_autofree uint64_t *buf = g_new(uint64_t, ENTRIES * 2);

    for (unsigned i = 0; i < ENTRIES * 2; i++) {
        buf[i] = cpu_to_le64(cmd[i % 2]);
    }
    qtest_memwrite(qts, BUFFER, buf, ENTRIES * AMDVI_COMMAND_SIZE);
}

static double elapsed(gint64 *since)
{
    gint64 now = g_get_monotonic_time();
    double result = now - *since;

    *since = now;
    return result;
}

/* Returns: microseconds for the buffer; @longest for a single access */
static double run(double *longest)
{
    static unsigned tail;
    gint64 since = g_get_monotonic_time();
    double total, t;

    tail = (tail + ENTRIES - 1) % ENTRIES;
    reg_write(AMDVI_MMIO_COMMAND_TAIL, tail * AMDVI_COMMAND_SIZE);
    total = *longest = elapsed(&since);
    while (qtest_readq(qts, AMDVI_BASE_ADDR + AMDVI_MMIO_COMMAND_HEAD) !=
           tail * AMDVI_COMMAND_SIZE) {
        t = elapsed(&since);
        total += t;
        *longest = MAX(*longest, t);
    }
    return total + elapsed(&since);
}

static void bench(const char *name, const uint64_t cmd[2])
{
    double best = INFINITY, wait = INFINITY, longest;

    fill_buffer(cmd);
    for (unsigned i = 0; i < runs; i++) {
        best = MIN(best, run(&longest));
        wait = MIN(wait, longest);
    }
    printf("full command buffer, ns per command\t%s\tamd-iommu\t%.1f\n", name,
           best * 1000 / (ENTRIES - 1));
    printf("full command buffer, longest wait in us\t%s\tamd-iommu\t%.1f\n",
           name, wait);
    fflush(stdout);
}

int main(void)
{
    const char *text = g_getenv("AMD_IOMMU_BENCH_RUNS");

    if (text && (qemu_strtoui(text, NULL, 0, &runs) || !runs ||
                 runs > MAX_RUNS)) {
        fprintf(stderr, "AMD_IOMMU_BENCH_RUNS: 1 to %d\n", MAX_RUNS);
        return 1;
    }
    start();
    for (int i = 0; i < ARRAY_SIZE(kinds); i++) {
        bench(kinds[i].name, kinds[i].cmd);
    }
    qtest_quit(qts);
    return 0;
}
