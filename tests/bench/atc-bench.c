/*
 * Cost of the PCIe address translation cache, in nanoseconds per operation
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The figures are for one thread and for two threads at once, with an empty and
 * with a full ATC.  Each is the median of many short slices, so that other load
 * on the machine has little influence.  Prints a line for each figure, for
 * tests/bench/run-bench: group, series, column and nanoseconds, separated by
 * tabs.  ATC_BENCH_MS sets the time for each figure (default 100),
 * ATC_BENCH_ENTRIES the size (default 4096).
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/cutils.h"
#include "qemu/thread.h"
#include "hw/pci/pci_atc.h"
#include "hw/pci/pci_bus.h"
#include "../unit/test-random.h"

#define PAGE 4096ull
#define MIB (1ull << 20)
#define BATCH 64
#define RANGE_PAGES 512
#define MAX_THREADS 2
#define SLICE_NS 100000
#define MAX_SLICES 10000

typedef struct Bench {
    PCIATC *atc;
    uint32_t pasid;
    uint32_t pages;                 /* cached for the PASID */
    uint32_t next;
    IOMMUTLBEntry entries[RANGE_PAGES];
} Bench;

/* Executes an operation several times; returns the number */
typedef uint64_t (*Operation)(Bench *b);

typedef struct Worker {
    QemuThread thread;
    Operation op;
    Bench bench;
    double ns;
} Worker;

static uint32_t entries;
static uint64_t run_ns;
static uint32_t waiting;

/* One access around each lookup, as for a DMA of a page */
static uint64_t lookups(Bench *b, hwaddr base)
{
    PCIATCAccess access;
    PCIATCRun run;

    for (int i = 0; i < BATCH; i++) {
        /* The stride avoids any pattern that speeds up lookups */
        b->next = (b->next + 373) % b->pages;
        pci_atc_access_begin(b->atc, &access);
        pci_atc_lookup(&access, b->pasid, base + b->next * PAGE, PAGE,
                       PCI_ATC_READ, &run);
        pci_atc_access_end(&access);
    }
    return BATCH;
}

static uint64_t op_hit(Bench *b)
{
    return lookups(b, 0);
}

static uint64_t op_miss(Bench *b)
{
    return lookups(b, 1ull << 40);
}

static uint64_t op_lookup_only(Bench *b)
{
    PCIATCAccess access;
    PCIATCRun run;

    pci_atc_access_begin(b->atc, &access);
    for (int i = 0; i < BATCH; i++) {
        b->next = (b->next + 373) % b->pages;
        pci_atc_lookup(&access, b->pasid, b->next * PAGE, PAGE,
                       PCI_ATC_READ, &run);
    }
    pci_atc_access_end(&access);
    return BATCH;
}

static uint64_t op_run(Bench *b)
{
    PCIATCAccess access;
    PCIATCRun run = {};

    pci_atc_access_begin(b->atc, &access);
    pci_atc_lookup(&access, b->pasid, 0, b->pages * PAGE, PCI_ATC_READ, &run);
    pci_atc_access_end(&access);
    return MAX(run.length / PAGE, 1);
}

static void set_entries(Bench *b, hwaddr base)
{
    for (int i = 0; i < RANGE_PAGES; i++) {
        b->entries[i] = (IOMMUTLBEntry) {
            .iova = base + i * PAGE,
            .translated_addr = base + i * PAGE,
            .addr_mask = PAGE - 1,
            .perm = PCI_ATC_READ | PCI_ATC_WRITE,
        };
    }
}

static uint64_t op_fill_range(Bench *b)
{
    /* Always new pages: in a full ATC each replaces another */
    b->next++;
    set_entries(b, ((hwaddr)b->next * RANGE_PAGES * PAGE) % (1ull << 45));
    pci_atc_fill_commit(b->atc, pci_atc_fill_begin(b->atc), b->pasid,
                        b->entries, RANGE_PAGES);
    return RANGE_PAGES;
}

static uint64_t op_fill_flushed(Bench *b)
{
    pci_atc_drop(b->atc, b->pasid, 0, UINT64_MAX);
    pci_atc_fill_commit(b->atc, pci_atc_fill_begin(b->atc), b->pasid,
                        b->entries, RANGE_PAGES);
    return RANGE_PAGES;
}

static uint64_t op_fill_one(Bench *b)
{
    for (int i = 0; i < BATCH; i++) {
        b->next++;
        b->entries[i].iova = (hwaddr)b->next * PAGE;
        pci_atc_fill_commit(b->atc, pci_atc_fill_begin(b->atc), b->pasid,
                            &b->entries[i], 1);
    }
    return BATCH;
}

static void invalidate(Bench *b, uint32_t pasid, hwaddr size)
{
    for (int i = 0; i < BATCH; i++) {
        hwaddr addr = (1ull << 40) + ++b->next * size;

        pci_atc_invalidate(b->atc, pasid, addr, addr + size - 1);
    }
}

static uint64_t op_inv_page(Bench *b)
{
    invalidate(b, b->pasid, PAGE);
    return BATCH;
}

static uint64_t op_inv_2m(Bench *b)
{
    invalidate(b, b->pasid, 2 * MIB);
    return BATCH;
}

static uint64_t op_inv_1g(Bench *b)
{
    invalidate(b, b->pasid, 1024 * MIB);
    return BATCH;
}

static uint64_t op_inv_page_all(Bench *b)
{
    invalidate(b, PCI_ATC_ANY_PASID, PAGE);
    return BATCH;
}

/* Adds an entry each time, so that there is something to flush */
static uint64_t flush(Bench *b, uint32_t pasid)
{
    for (int i = 0; i < BATCH; i++) {
        pci_atc_fill_commit(b->atc, pci_atc_fill_begin(b->atc), b->pasid,
                            b->entries, 1);
        pci_atc_invalidate(b->atc, pasid, 0, UINT64_MAX);
    }
    return BATCH;
}

static uint64_t op_flush_pasid(Bench *b)
{
    return flush(b, b->pasid);
}

static uint64_t op_flush_all(Bench *b)
{
    return flush(b, PCI_ATC_ANY_PASID);
}

static uint64_t now_ns(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);
    return ts.tv_sec * 1000000000ull + ts.tv_nsec;
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double slice(Worker *w)
{
    uint64_t start = now_ns(), end, done = 0;

    do {
        done += w->op(&w->bench);
        end = now_ns();
    } while (end - start < SLICE_NS);
    return (double)(end - start) / done;
}

static void *worker_thread(void *opaque)
{
    double *slices = g_new(double, MAX_SLICES);
    uint64_t start;
    Worker *w = opaque;
    int n = 0;

    qatomic_dec(&waiting);
    while (qatomic_load_acquire(&waiting)) {
        /* start together */
    }
    start = now_ns();
    do {
        slices[n++] = slice(w);
    } while (now_ns() - start < run_ns && n < MAX_SLICES);
    qsort(slices, n, sizeof(*slices), compare_doubles);
    w->ns = slices[n / 2];
    g_free(slices);
    return NULL;
}

static double measure(Operation op, int threads, bool full)
{
    PCIATC *atc = pci_atc_new(entries);
    Worker *w = g_new0(Worker, MAX_THREADS);
    PCIATCStats stats;
    double ns = 0;

    pci_atc_get_stats(atc, &stats);
    for (int t = 0; t < threads; t++) {
        Bench *b = &w[t].bench;

        w[t].op = op;
        b->atc = atc;
        b->pasid = t + 1;
        b->pages = stats.capacity / PCI_ATC_WAYS / RANGE_PAGES * RANGE_PAGES;
        b->pages = MAX(b->pages, RANGE_PAGES);
        for (uint32_t p = 0; full && p < b->pages; p += RANGE_PAGES) {
            set_entries(b, p * PAGE);
            pci_atc_fill_commit(atc, pci_atc_fill_begin(atc), b->pasid,
                                b->entries, RANGE_PAGES);
        }
        set_entries(b, 0);
    }
    /* The rest belongs to other PASIDs. */
    for (uint32_t pasid = MAX_THREADS + 1; full; pasid++) {
        pci_atc_get_stats(atc, &stats);
        if (stats.entries + RANGE_PAGES > stats.capacity ||
            stats.evictions) {
            break;
        }
        pci_atc_fill_commit(atc, pci_atc_fill_begin(atc), pasid,
                            w[0].bench.entries, RANGE_PAGES);
    }
    qatomic_set(&waiting, threads);
    for (int t = 0; t < threads; t++) {
        qemu_thread_create(&w[t].thread, "bench", worker_thread, &w[t],
                           QEMU_THREAD_JOINABLE);
    }
    for (int t = 0; t < threads; t++) {
        qemu_thread_join(&w[t].thread);
        ns += w[t].ns / threads;
    }
    g_free(w);
    pci_atc_free(atc);
    return ns;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        Operation op;
        bool empty, full;
    } ops[] = {
        { "access with one lookup, hit", op_hit, false, true },
        { "access with one lookup, miss", op_miss, true, true },
        { "lookup alone, hit", op_lookup_only, false, true },
        { "lookup of a run, per page", op_run, false, true },
        { "flush, fill 512, per page", op_fill_flushed, true, true },
        { "fill 512 new pages, per page", op_fill_range, false, true },
        { "fill of one page", op_fill_one, false, true },
        { "invalidate 4 KiB", op_inv_page, true, true },
        { "invalidate 2 MiB", op_inv_2m, true, true },
        { "invalidate 1 GiB", op_inv_1g, true, true },
        { "invalidate 4 KiB, all PASIDs", op_inv_page_all, true, true },
        { "fill one, flush its PASID", op_flush_pasid, true, true },
        { "fill one, flush everything", op_flush_all, true, true },
    };

    run_ns = env_number("ATC_BENCH_MS", 100) * 1000 * 1000;
    entries = env_number("ATC_BENCH_ENTRIES", 4096);
    for (int i = 0; i < ARRAY_SIZE(ops); i++) {
        for (int threads = 1; threads <= MAX_THREADS; threads++) {
            for (int full = 0; full < 2; full++) {
                if (full ? ops[i].full : ops[i].empty) {
                    printf("cache of %u entries, ns per operation\t%s\t"
                           "%d thread%s, %s\t%.1f\n", entries, ops[i].name,
                           threads, threads > 1 ? "s" : "",
                           full ? "full" : "empty",
                           measure(ops[i].op, threads, full));
                    fflush(stdout);
                }
            }
        }
    }
    return 0;
}
