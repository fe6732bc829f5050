/*
 * Cost of translation requests, invalidations and page requests of an IOMMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Runs the emulator with pci-ats-testdev, which measures its requests.  Prints
 * a line for each figure: group, series, column and nanoseconds, separated by
 * tabs, for tests/bench/run-bench.  Each figure is the median of several runs.
 * Where the time of qtest has to be subtracted, it is the difference of the two
 * shortest runs.  Other load on the machine has little influence on either.
 * INTEL_IOMMU_BENCH_RUNS and AMD_IOMMU_BENCH_RUNS set the number of runs
 * (default 25).
 */

#include "qemu/osdep.h"
#include <math.h>
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "hw/pci/pci.h"
#include "iommu-bench.h"
#include "libqos/malloc-zeroed.h"

#define MAX_RUNS        101
#define TABLE_ENTRIES   512
#define CACHE_ENTRIES   1024        /* the device's default */

/* Start of the ranges, and of their memory */
#define IOVA            (64 * GiB)
#define TARGET          (16 * MiB)
#define TARGET_SIZE     (32 * MiB)

/* Number of pages at each distance */
#define PAGES_APART     64

/* Page requests of a device in a run, each a group; all fit into the queue */
#define GROUPS          256
#define PRQ_DEVICES     16

/* Long enough for the invalidations that are measured at the same time */
#define BUSY_REQUESTS   500

/* Descriptors in a queue of one page, without the wait descriptor */
#define BATCH           120

static const char *const stage_names[] = {
    [BENCH_FIRST] = "first-stage",
    [BENCH_SECOND] = "second-stage",
    [BENCH_NESTED] = "nested",
};

static const char *const invalidation_names[] = {
    [BENCH_INV_4K_PASID] = "4 KiB of a PASID",
    [BENCH_INV_2M_PASID] = "2 MiB of a PASID",
    [BENCH_INV_ALL_PASID] = "all of a PASID",
    [BENCH_INV_4K_NO_PASID] = "4 KiB without PASID",
};

QEMU_BUILD_BUG_ON(GROUPS * PRQ_DEVICES > BENCH_PAGE_REQUESTS);

static unsigned runs = 25;

static void report(const char *group, const char *series, const char *column,
                   double ns)
{
    printf("%s\t%s%s\t%s\t%.1f\n", group, bench_iommu.prefix, series, column,
           ns);
    fflush(stdout);
}

static int compare_doubles(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(double *values, unsigned n)
{
    qsort(values, n, sizeof(*values), compare_doubles);
    return values[n / 2];
}

static const char *size_name(uint64_t size)
{
    static char names[4][16];
    static unsigned next;
    char *name = names[next++ % ARRAY_SIZE(names)];

    if (size >= GiB) {
        snprintf(name, sizeof(names[0]), "%" PRIu64 " GiB", size / GiB);
    } else if (size >= MiB) {
        snprintf(name, sizeof(names[0]), "%" PRIu64 " MiB", size / MiB);
    } else {
        snprintf(name, sizeof(names[0]), "%" PRIu64 " KiB", size / KiB);
    }
    return name;
}

/*
 * Devices: slots 2 to 29 of the root bus, then buses behind root ports.  An
 * AMD IOMMU is in slot 1, and its I/O APIC in slot 14h.
 */
#define FIRST_SLOT      2
#define IOAPIC_SLOT     0x14
#define ROOT_DEVICES    (27 * 8)
#define NUM_BUSES       5

uint16_t bench_bdf(unsigned i)
{
    if (i < ROOT_DEVICES) {
        unsigned slot = FIRST_SLOT + i / 8;

        return QATD_BDF(0, slot < IOAPIC_SLOT ? slot : slot + 1, i % 8);
    }
    i -= ROOT_DEVICES;
    return QATD_BDF(1 + i / 8, 0, i % 8);
}

static void add_devices(GString *args, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint16_t bdf = bench_bdf(i);

        if (i >= ROOT_DEVICES && bdf % 8 == 0) {
            g_string_append_printf(args, " -device pcie-root-port,id=rp%d,"
                                   "chassis=%d,addr=1e.%d,multifunction=on",
                                   bdf >> 8, bdf >> 8, (bdf >> 8) - 1);
        }
        g_string_append(args, " -device pci-ats-testdev,multifunction=on,"
                        "pri-capacity=" stringify(GROUPS) ",");
        if (bdf >> 8) {
            g_string_append_printf(args, "bus=rp%d,", bdf >> 8);
        }
        g_string_append_printf(args, "addr=%x.%d", PCI_SLOT(bdf & 0xff),
                               PCI_FUNC(bdf));
    }
}

static void start(Bench *b, unsigned num_devs)
{
    g_autoptr(GString) args = g_string_new("-M q35 -m 128 -nodefaults");

    g_string_append_printf(args, " -device %s", bench_iommu.device);
    *b = (Bench) { .num_devs = num_devs };
    add_devices(args, num_devs);
    b->qts = qtest_init(args->str);
    qecam_enable(b->qts);
    pc_alloc_init(&b->alloc, b->qts, 0);
    for (unsigned bus = 1; num_devs > ROOT_DEVICES && bus <= NUM_BUSES; bus++) {
        qecam_setup_bridge(b->qts, QATD_BDF(0, 30, bus - 1), bus, bus);
    }
    bench_iommu.start(b);
    for (unsigned i = 0; i < num_devs; i++) {
        qatd_init(&b->devs[i], b->qts, bench_bdf(i), i);
        qatd_enable_all(&b->devs[i], GROUPS);
    }
}

static void stop(Bench *b)
{
    qtest_quit(b->qts);
    alloc_destroy(&b->alloc);
}

/* Tables */

uint64_t bench_new_table(Bench *b)
{
    return guest_alloc_zeroed(&b->alloc, b->qts, 4 * KiB);
}

static unsigned level_of(uint64_t size)
{
    return size == 4 * KiB ? 1 : size == 2 * MiB ? 2 : 3;
}

/* Returns: address of the entry for a page, in tables of 4 levels */
static uint64_t find_entry(Bench *b, BenchStage stage, uint64_t table,
                           uint64_t addr, uint64_t size)
{
    for (unsigned level = 4; ; level--) {
        uint64_t slot = table + (addr >> (3 + 9 * level) & 0x1ff) * 8;

        if (level == level_of(size)) {
            return slot;
        }
        table = qtest_readq(b->qts, slot) & MAKE_64BIT_MASK(12, 40);
        if (!table) {
            table = bench_new_table(b);
            qtest_writeq(b->qts, slot,
                         table | bench_iommu.table_bits(stage, level));
        }
    }
}

/* Entries of a leaf table from @addr on, without accessed and dirty bits */
static void write_leaves(Bench *b, BenchStage stage, uint64_t slot,
                         uint64_t addr, uint64_t length, uint64_t size)
{
    uint64_t entries[TABLE_ENTRIES];
    unsigned n = MIN(length / size, TABLE_ENTRIES);
    uint64_t bits = bench_iommu.page_bits(stage, level_of(size));

    for (unsigned i = 0; i < n; i++) {
        uint64_t out = size > TARGET_SIZE ? 0 :
                       TARGET + (addr + i * size) % TARGET_SIZE;

        entries[i] = cpu_to_le64(out | bits);
    }
    qtest_memwrite(b->qts, slot, entries, n * sizeof(*entries));
}

static void map_range(Bench *b, BenchStage stage, uint64_t root,
                      uint64_t length, uint64_t size)
{
    uint64_t step = size * TABLE_ENTRIES;

    for (uint64_t done = 0; done < length; done += step) {
        write_leaves(b, stage,
                     find_entry(b, stage, root, IOVA + done, size),
                     IOVA + done, MIN(step, length - done), size);
    }
}

/* Second-stage tables that map the memory of the machine to itself */
static uint64_t identity(Bench *b)
{
    uint64_t root = bench_new_table(b);
    uint64_t bits = bench_iommu.page_bits(BENCH_SECOND, 2);

    for (uint64_t addr = 0; addr < 128 * MiB; addr += 2 * MiB) {
        qtest_writeq(b->qts,
                     find_entry(b, BENCH_SECOND, root, addr, 2 * MiB),
                     addr | bits);
    }
    return root;
}

/* The first stage of nested tables is like the only stage */
static BenchStage table_format(BenchStage stage)
{
    return stage == BENCH_SECOND ? BENCH_SECOND : BENCH_FIRST;
}

static void set_tables(Bench *b, BenchStage stage, uint64_t root)
{
    bench_iommu.set_tables(b, stage, root,
                           stage == BENCH_NESTED ? identity(b) : 0);
}

static uint32_t stage_pasid(BenchStage stage)
{
    return stage == BENCH_SECOND ? bench_iommu.second_stage_pasid :
                                   BENCH_PASID;
}

/* Requests */

static void start_requests(QATD *dev, uint32_t pasid, uint64_t length,
                           uint64_t step, uint64_t repeat)
{
    qatd_write(dev, ATD_MAX_RESULTS, ATD_RESULTS_MAX);
    qatd_write(dev, ATD_REPEAT, repeat);
    qatd_write(dev, ATD_STEP, step);
    qatd_start(dev, ATD_CMD_TRANSLATE, pasid, IOVA, length, ATD_FLAG_THREAD);
}

/* Returns: nanoseconds for each of @repeat requests */
static double finish_requests(QATD *dev, uint64_t repeat)
{
    int64_t ret = qatd_wait(dev);

    g_assert_cmpint(ret, >, 0);
    g_assert_cmpuint(qatd_read(dev, ATD_ERR_COUNT), ==, 0);
    return (double)qatd_read(dev, ATD_NANOSECONDS) / repeat;
}

/* The same page in a loop, by one device or by two at once */
static void bench_single(Bench *b)
{
    const uint64_t repeat = 5000;

    for (BenchStage stage = BENCH_FIRST; stage <= BENCH_NESTED; stage++) {
        uint64_t root = bench_new_table(b);

        map_range(b, table_format(stage), root, 4 * KiB, 4 * KiB);
        set_tables(b, stage, root);
        for (unsigned threads = 1; threads <= 2; threads++) {
            double ns[MAX_RUNS];

            for (unsigned run = 0; run < runs; run++) {
                ns[run] = 0;
                for (unsigned i = 0; i < threads; i++) {
                    start_requests(&b->devs[i], stage_pasid(stage), 4 * KiB, 0,
                                   repeat);
                }
                for (unsigned i = 0; i < threads; i++) {
                    ns[run] += finish_requests(&b->devs[i], repeat) / threads;
                }
            }
            report("translate one cached 4 KiB page, ns", stage_names[stage],
                   threads == 1 ? "1 thread" : "2 threads",
                   median(ns, runs));
        }
    }
}

/* The same distant pages in a loop: one page of each buffer */
static void bench_apart(Bench *b)
{
    const uint64_t distances[] = { 4 * KiB, 2 * MiB, 4 * MiB, GiB };
    uint64_t page = TARGET | bench_iommu.page_bits(BENCH_FIRST, 1);
    uint64_t root = bench_new_table(b);

    for (int i = 0; i < ARRAY_SIZE(distances); i++) {
        for (uint64_t n = 0; n < PAGES_APART; n++) {
            qtest_writeq(b->qts,
                         find_entry(b, BENCH_FIRST, root,
                                    IOVA + n * distances[i], 4 * KiB), page);
        }
    }
    set_tables(b, BENCH_FIRST, root);
    for (int i = 0; i < ARRAY_SIZE(distances); i++) {
        double ns[MAX_RUNS];

        for (unsigned run = 0; run < runs; run++) {
            start_requests(&b->devs[0], BENCH_PASID, 4 * KiB, distances[i],
                           PAGES_APART);
            finish_requests(&b->devs[0], PAGES_APART);
            start_requests(&b->devs[0], BENCH_PASID, 4 * KiB, distances[i],
                           PAGES_APART);
            ns[run] = finish_requests(&b->devs[0], PAGES_APART);
        }
        report("translate cached pages that lie apart, ns per page",
               stage_names[BENCH_FIRST], size_name(distances[i]), median(ns, runs));
    }
}

/* Ranges.  A request has as many pages as the device stores results. */

static double run_range(Bench *b, uint32_t pasid, uint64_t length,
                        uint64_t size)
{
    uint64_t chunk = MIN(length, ATD_RESULTS_MAX * size);
    uint64_t repeat = length / chunk;

    start_requests(&b->devs[0], pasid, chunk, chunk, repeat);
    return finish_requests(&b->devs[0], repeat) / (chunk / size);
}

static void bench_range(Bench *b, BenchStage stage, uint64_t size, uint64_t length)
{
    g_autofree char *series = g_strdup_printf("%s, %s pages",
                                              stage_names[stage],
                                              size_name(size));
    uint64_t root = bench_new_table(b);
    uint32_t pasid = stage_pasid(stage);
    double cold[MAX_RUNS], cached[MAX_RUNS];

    map_range(b, table_format(stage), root, length, size);
    set_tables(b, stage, root);
    for (unsigned run = 0; run < runs; run++) {
        map_range(b, table_format(stage), root, length, size);
        bench_iommu.invalidate_all(b);
        cold[run] = run_range(b, pasid, length, size);
        cached[run] = run_range(b, pasid, length, size);
    }
    report("translate a cold range, ns per page", series, size_name(length),
           median(cold, runs));
    report("translate a cached range, ns per page", series, size_name(length),
           median(cached, runs));
}

static void bench_ranges(Bench *b)
{
    static const uint64_t sizes[] = { 4 * KiB, 2 * MiB, GiB };
    static const uint64_t lengths[] = {
        4 * KiB, 64 * KiB, 2 * MiB, 64 * MiB, GiB
    };

    for (BenchStage stage = BENCH_FIRST; stage <= BENCH_NESTED; stage++) {
        for (int s = 0; s < ARRAY_SIZE(sizes); s++) {
            /* The identity map of a nested walk ends where memory ends */
            if (stage == BENCH_NESTED && sizes[s] == GiB) {
                continue;
            }
            for (int l = 0; l < ARRAY_SIZE(lengths); l++) {
                if (lengths[l] >= sizes[s]) {
                    bench_range(b, stage, sizes[s], lengths[l]);
                }
            }
        }
    }
}

/* Invalidations */

/* Returns: nanoseconds until @n entries and a wait have completed */
static double submit(Bench *b, unsigned n)
{
    int64_t begin = g_get_monotonic_time();

    bench_iommu.submit(b, n);
    return (g_get_monotonic_time() - begin) * 1000.0;
}

static double submit_batch(Bench *b, unsigned n, BenchInvalidation kind,
                           uint64_t addr)
{
    for (unsigned i = 0; i < n; i++) {
        bench_iommu.put_invalidation(b, i, kind, bench_bdf(0), addr);
    }
    return submit(b, n);
}

/* Every device uses the PASID, and caches one page or as many as it can */
static void fill_caches(Bench *b, bool full)
{
    for (unsigned i = 0; i < b->num_devs; i++) {
        QATD *dev = &b->devs[i];

        qatd_write(dev, ATD_REPEAT, full ? CACHE_ENTRIES : 1);
        qatd_write(dev, ATD_STEP, 4 * KiB);
        g_assert_cmpint(qatd_command(dev, ATD_CMD_SVM_READ, BENCH_PASID, IOVA, 8,
                                     ATD_FLAG_THREAD), ==, 0);
        g_assert_cmpuint(qatd_read(dev, ATD_ATC_ENTRIES), >=,
                         full ? CACHE_ENTRIES / 2 : 1);
    }
}

/* With @busy, a thread of another device translates at the same time */
static void bench_invalidation(Bench *b, BenchInvalidation kind, bool full,
                               bool busy, uint64_t addr)
{
    g_autofree char *series = g_strdup_printf("%s, %s cache%s",
                                              invalidation_names[kind],
                                              full ? "full" : "empty",
                                              busy ? ", 2 threads" : "");
    g_autofree char *column = g_strdup_printf("%u device%s", b->num_devs,
                                              b->num_devs > 1 ? "s" : "");
    double base = INFINITY, batch = INFINITY;

    for (unsigned run = 0; run < runs; run++) {
        fill_caches(b, full);
        if (busy) {
            start_requests(&b->devs[1], BENCH_PASID, 2 * MiB, 0,
                           BUSY_REQUESTS);
        }
        base = MIN(base, submit(b, 0));
        batch = MIN(batch, submit_batch(b, BATCH, kind, addr));
        if (busy) {
            finish_requests(&b->devs[1], BUSY_REQUESTS);
        }
    }
    report("invalidate, ns per descriptor", series, column,
           (batch - base) / BATCH);
}

static void bench_invalidations(Bench *b)
{
    /* Pages that no device has cached: the cost of the search */
    const uint64_t addr = IOVA + 16 * GiB;
    uint64_t root = bench_new_table(b);

    map_range(b, BENCH_FIRST, root, 8 * MiB, 4 * KiB);
    set_tables(b, BENCH_FIRST, root);
    for (int full = 0; full < 2; full++) {
        for (BenchInvalidation kind = 0; kind < BENCH_INV_KINDS; kind++) {
            bench_invalidation(b, kind, full, false, addr);
        }
        if (b->num_devs > 1) {
            bench_invalidation(b, BENCH_INV_4K_PASID, full, true, addr);
        }
    }
}

/* Page requests */

static void start_page_requests(QATD *dev)
{
    qatd_write(dev, ATD_REPEAT, GROUPS);
    qatd_write(dev, ATD_STEP, 4 * KiB);
    qatd_write(dev, ATD_PRGI, 0);
    qatd_start(dev, ATD_CMD_PAGE_REQUEST, BENCH_PASID, IOVA, 0,
               ATD_FLAG_THREAD | ATD_FLAG_READ | ATD_FLAG_LAST);
}

/* Returns: nanoseconds for each response */
static double answer_groups(Bench *b, QATD *dev)
{
    double batch = 0;

    for (unsigned done = 0; done < GROUPS; done += GROUPS / 4) {
        double base = submit(b, 0);

        for (unsigned i = 0; i < GROUPS / 4; i++) {
            bench_iommu.put_response(b, i, dev->bdf, done + i);
        }
        batch += submit(b, GROUPS / 4) - base;
    }
    g_assert_cmpuint(qatd_read(dev, ATD_OUTSTANDING), ==, 0);
    return batch / GROUPS;
}

static void bench_page_requests(Bench *b)
{
    g_autofree char *column = g_strdup_printf("%u device%s", b->num_devs,
                                              b->num_devs > 1 ? "s" : "");
    double request[MAX_RUNS], response[MAX_RUNS];

    set_tables(b, BENCH_FIRST, bench_new_table(b));
    bench_iommu.start_queue(b);
    for (unsigned i = 0; i < b->num_devs; i++) {
        g_assert_cmpint(qatd_command(&b->devs[i], ATD_CMD_REGISTER_PRI,
                                     BENCH_PASID, 0, 0, 0), ==, 0);
    }
    for (unsigned run = 0; run < runs; run++) {
        request[run] = 0;
        response[run] = 0;
        for (unsigned i = 0; i < b->num_devs; i++) {
            start_page_requests(&b->devs[i]);
        }
        for (unsigned i = 0; i < b->num_devs; i++) {
            g_assert_cmpint(qatd_wait(&b->devs[i]), ==, 0);
            request[run] += (double)qatd_read(&b->devs[i], ATD_NANOSECONDS) /
                            GROUPS / b->num_devs;
        }
        g_assert_cmpuint(bench_iommu.queue_length(b), ==,
                         GROUPS * b->num_devs);
        bench_iommu.empty_queue(b);
        for (unsigned i = 0; i < b->num_devs; i++) {
            response[run] += answer_groups(b, &b->devs[i]) / b->num_devs;
        }
    }
    report("page requests, ns", "request: device to queue", column,
           median(request, runs));
    report("page requests, ns", "response: descriptor to notifier", column,
           median(response, runs));
}

int main(void)
{
    static const unsigned counts[] = { 1, 16, BENCH_MAX_DEVICES };
    const char *text = getenv(bench_iommu.runs_variable);
    Bench *b = g_new(Bench, 1);

    if (text && (qemu_strtoui(text, NULL, 0, &runs) || !runs ||
                 runs > MAX_RUNS)) {
        fprintf(stderr, "%s: 1 to %d\n", bench_iommu.runs_variable, MAX_RUNS);
        return 1;
    }
    start(b, 2);
    bench_single(b);
    bench_apart(b);
    bench_ranges(b);
    stop(b);
    for (int i = 0; i < ARRAY_SIZE(counts); i++) {
        start(b, counts[i]);
        bench_invalidations(b);
        stop(b);
    }
    for (unsigned n = 1; n <= PRQ_DEVICES; n *= PRQ_DEVICES) {
        start(b, n);
        bench_page_requests(b);
        stop(b);
    }
    g_free(b);
    return 0;
}
