/*
 * Cost of translation requests, invalidations and page requests of intel-iommu
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
 * INTEL_IOMMU_BENCH_RUNS sets the number of runs (default 25).
 */

#include "qemu/osdep.h"
#include <math.h>
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd-prq.h"
#include "libqos/vtd.h"

#define IOMMU "intel-iommu,svm=on"

#define MAX_DEVICES     256
#define MAX_RUNS        101
#define PASID           5
#define TABLE_ENTRIES   512
#define CACHE_ENTRIES   1024        /* the device's default */

/* Start of the ranges, and of their memory */
#define IOVA            (64 * GiB)
#define TARGET          (16 * MiB)
#define TARGET_SIZE     (32 * MiB)

#define FS              (VTD_FL_P | VTD_FL_RW | VTD_FL_US)
#define SS              (VTD_SL_R | VTD_SL_W)
#define PE_AW_48        (2ULL << 2)
#define PE1             (1ULL | VTD_SM_PASID_ENTRY_PWSNP)
#define CE              (VTD_SM_CONTEXT_ENTRY_DTE | \
                         VTD_SM_CONTEXT_ENTRY_PASIDE | \
                         VTD_SM_CONTEXT_ENTRY_PRE)

/* Number of pages at each distance */
#define PAGES_APART     64

/* Page requests of a device in a run, each a group; all fit into the queue */
#define GROUPS          256
#define PRQ_DEVICES     16
#define PQS             6           /* 2^6 pages */

/* Long enough for the invalidations that are measured at the same time */
#define BUSY_REQUESTS   500

/* Descriptors in a queue of one page, without the wait descriptor */
#define BATCH           120

typedef enum Stage {
    FIRST,
    SECOND,
    NESTED,
} Stage;

static const char *const stage_names[] = {
    [FIRST] = "first-stage",
    [SECOND] = "second-stage",
    [NESTED] = "nested",
};

typedef struct Bench {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QATD devs[MAX_DEVICES];
    unsigned num_devs;
    uint64_t dir;
} Bench;

static unsigned runs = 25;

static void report(const char *group, const char *series, const char *column,
                   double ns)
{
    printf("%s\t%s\t%s\t%.1f\n", group, series, column, ns);
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

/* Devices: slots 1 to 29 of the root bus, then three buses behind root ports */

#define ROOT_DEVICES    (29 * 8)

static uint16_t device_bdf(unsigned i)
{
    if (i < ROOT_DEVICES) {
        return 8 + i;
    }
    i -= ROOT_DEVICES;
    return QATD_BDF(1 + i / 8, 0, i % 8);
}

static void add_devices(GString *args, unsigned n)
{
    for (unsigned i = 0; i < n; i++) {
        uint16_t bdf = device_bdf(i);

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
    g_autoptr(GString) args = g_string_new("-M q35 -m 128 -nodefaults "
                                           "-device " IOMMU);
    uint64_t context;

    *b = (Bench) { .num_devs = num_devs };
    add_devices(args, num_devs);
    b->qts = qtest_init(args->str);
    qecam_enable(b->qts);
    pc_alloc_init(&b->alloc, b->qts, 0);
    qvtd_init(&b->vtd, b->qts, &b->alloc);
    b->vtd.scalable = true;
    for (unsigned bus = 1; num_devs > ROOT_DEVICES && bus <= 3; bus++) {
        qecam_setup_bridge(b->qts, QATD_BDF(0, 30, bus - 1), bus, bus);
    }
    b->dir = qvtd_sm_attach(&b->vtd, device_bdf(0), CE, 0);
    context = qtest_readq(b->qts, qvtd_sm_context(&b->vtd, device_bdf(0)));
    for (unsigned i = 0; i < num_devs; i++) {
        /* All share the PASID directory of the first */
        qtest_writeq(b->qts, qvtd_sm_context(&b->vtd, device_bdf(i)), context);
        qatd_init(&b->devs[i], b->qts, device_bdf(i), i);
        qatd_enable_all(&b->devs[i], GROUPS);
    }
    qvtd_enable(&b->vtd);
}

static void stop(Bench *b)
{
    qtest_quit(b->qts);
    alloc_destroy(&b->alloc);
}

/* Tables */

/* Entries of a leaf table from @addr on, without accessed and dirty bits */
static void write_leaves(Bench *b, uint64_t slot, uint64_t addr,
                         uint64_t length, uint64_t size, uint64_t bits)
{
    uint64_t entries[TABLE_ENTRIES];
    unsigned n = MIN(length / size, TABLE_ENTRIES);

    for (unsigned i = 0; i < n; i++) {
        uint64_t out = size > TARGET_SIZE ? 0 :
                       TARGET + (addr + i * size) % TARGET_SIZE;

        entries[i] = cpu_to_le64(out | bits | (size > 4 * KiB ? 1 << 7 : 0));
    }
    qtest_memwrite(b->qts, slot, entries, n * sizeof(*entries));
}

static void map_range(Bench *b, uint64_t root, uint64_t length, uint64_t size,
                      uint64_t bits)
{
    uint64_t step = size * TABLE_ENTRIES;

    for (uint64_t done = 0; done < length; done += step) {
        uint64_t slot = qvtd_map_entry(&b->vtd, root, 4, IOVA + done, size, 0,
                                       bits);

        write_leaves(b, slot, IOVA + done, MIN(step, length - done), size,
                     bits);
    }
}

/* Second-stage tables that map the memory of the machine to itself */
static uint64_t identity(Bench *b)
{
    uint64_t root = qvtd_new_table(&b->vtd);

    for (uint64_t addr = 0; addr < 128 * MiB; addr += 2 * MiB) {
        qvtd_map_entry(&b->vtd, root, 4, addr, 2 * MiB, addr | SS, SS);
    }
    return root;
}

static void set_pasid(Bench *b, Stage stage, uint64_t root)
{
    switch (stage) {
    case FIRST:
        qvtd_sm_pasid(&b->vtd, b->dir, PASID,
                      VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT, PE1, root);
        break;
    case SECOND:
        qvtd_sm_pasid(&b->vtd, b->dir, PASID, VTD_PASID_ENTRY_P |
                      VTD_SM_PASID_ENTRY_SLT | PE_AW_48 | root, PE1, 0);
        break;
    case NESTED:
        qvtd_sm_pasid(&b->vtd, b->dir, PASID, VTD_PASID_ENTRY_P |
                      VTD_SM_PASID_ENTRY_NESTED | PE_AW_48 | identity(b), PE1,
                      root);
        break;
    }
    qvtd_inv_global(&b->vtd);
}

static uint64_t stage_bits(Stage stage)
{
    return stage == SECOND ? SS : FS;
}

/* Requests */

static void start_requests(QATD *dev, uint64_t length, uint64_t step,
                           uint64_t repeat)
{
    qatd_write(dev, ATD_MAX_RESULTS, ATD_RESULTS_MAX);
    qatd_write(dev, ATD_REPEAT, repeat);
    qatd_write(dev, ATD_STEP, step);
    qatd_start(dev, ATD_CMD_TRANSLATE, PASID, IOVA, length, ATD_FLAG_THREAD);
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

    for (Stage stage = FIRST; stage <= NESTED; stage++) {
        uint64_t root = qvtd_new_table(&b->vtd);

        map_range(b, root, 4 * KiB, 4 * KiB, stage_bits(stage));
        set_pasid(b, stage, root);
        for (unsigned threads = 1; threads <= 2; threads++) {
            double ns[MAX_RUNS];

            for (unsigned run = 0; run < runs; run++) {
                ns[run] = 0;
                for (unsigned i = 0; i < threads; i++) {
                    start_requests(&b->devs[i], 4 * KiB, 0, repeat);
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
    uint64_t root = qvtd_new_table(&b->vtd);

    for (int i = 0; i < ARRAY_SIZE(distances); i++) {
        for (uint64_t n = 0; n < PAGES_APART; n++) {
            qvtd_map_entry(&b->vtd, root, 4, IOVA + n * distances[i], 4 * KiB,
                           TARGET | FS, FS);
        }
    }
    set_pasid(b, FIRST, root);
    for (int i = 0; i < ARRAY_SIZE(distances); i++) {
        double ns[MAX_RUNS];

        for (unsigned run = 0; run < runs; run++) {
            start_requests(&b->devs[0], 4 * KiB, distances[i], PAGES_APART);
            finish_requests(&b->devs[0], PAGES_APART);
            start_requests(&b->devs[0], 4 * KiB, distances[i], PAGES_APART);
            ns[run] = finish_requests(&b->devs[0], PAGES_APART);
        }
        report("translate cached pages that lie apart, ns per page",
               stage_names[FIRST], size_name(distances[i]), median(ns, runs));
    }
}

/* Ranges.  A request has as many pages as the device stores results. */

static double run_range(Bench *b, uint64_t length, uint64_t size)
{
    uint64_t chunk = MIN(length, ATD_RESULTS_MAX * size);
    uint64_t repeat = length / chunk;

    start_requests(&b->devs[0], chunk, chunk, repeat);
    return finish_requests(&b->devs[0], repeat) / (chunk / size);
}

static void bench_range(Bench *b, Stage stage, uint64_t size, uint64_t length)
{
    g_autofree char *series = g_strdup_printf("%s, %s pages",
                                              stage_names[stage],
                                              size_name(size));
    uint64_t root = qvtd_new_table(&b->vtd);
    double cold[MAX_RUNS], cached[MAX_RUNS];

    map_range(b, root, length, size, stage_bits(stage));
    set_pasid(b, stage, root);
    for (unsigned run = 0; run < runs; run++) {
        map_range(b, root, length, size, stage_bits(stage));
        qvtd_inv_global(&b->vtd);
        cold[run] = run_range(b, length, size);
        cached[run] = run_range(b, length, size);
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

    for (Stage stage = FIRST; stage <= NESTED; stage++) {
        for (int s = 0; s < ARRAY_SIZE(sizes); s++) {
            /* The identity map of a nested walk ends where memory ends */
            if (stage == NESTED && sizes[s] == GiB) {
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

/* Scalable mode has descriptors of 256 bits (11.4.9.3) */
static void put_desc(Bench *b, unsigned i, uint64_t lo, uint64_t hi)
{
    uint64_t desc[4] = { cpu_to_le64(lo), cpu_to_le64(hi) };
    uint64_t slots = 4 * KiB / sizeof(desc);

    qtest_memwrite(b->qts,
                   b->vtd.iq + (b->vtd.iq_tail + i) % slots * sizeof(desc),
                   desc, sizeof(desc));
}

/* Returns: nanoseconds until @n descriptors and a wait have completed */
static double run_batch(Bench *b, unsigned n)
{
    int64_t begin;

    b->vtd.iq_tail = (b->vtd.iq_tail + n) % (4 * KiB / 32);
    begin = g_get_monotonic_time();
    qvtd_submit(&b->vtd, VTD_INV_DESC_WAIT, 0);
    return (g_get_monotonic_time() - begin) * 1000.0;
}

static double submit_batch(Bench *b, unsigned n, uint64_t lo, uint64_t hi)
{
    for (unsigned i = 0; i < n; i++) {
        put_desc(b, i, lo, hi);
    }
    return run_batch(b, n);
}

/* Every device uses the PASID, and caches one page or as many as it can */
static void fill_caches(Bench *b, bool full)
{
    for (unsigned i = 0; i < b->num_devs; i++) {
        QATD *dev = &b->devs[i];

        qatd_write(dev, ATD_REPEAT, full ? CACHE_ENTRIES : 1);
        qatd_write(dev, ATD_STEP, 4 * KiB);
        g_assert_cmpint(qatd_command(dev, ATD_CMD_SVM_READ, PASID, IOVA, 8,
                                     ATD_FLAG_THREAD), ==, 0);
        g_assert_cmpuint(qatd_read(dev, ATD_ATC_ENTRIES), >=,
                         full ? CACHE_ENTRIES / 2 : 1);
    }
}

/* With @busy, a thread of another device translates at the same time */
static void bench_invalidation(Bench *b, const char *name, bool full,
                               bool busy, uint64_t lo, uint64_t hi)
{
    g_autofree char *series = g_strdup_printf("%s, %s cache%s", name,
                                              full ? "full" : "empty",
                                              busy ? ", 2 threads" : "");
    g_autofree char *column = g_strdup_printf("%u device%s", b->num_devs,
                                              b->num_devs > 1 ? "s" : "");
    double base = INFINITY, batch = INFINITY;

    for (unsigned run = 0; run < runs; run++) {
        fill_caches(b, full);
        if (busy) {
            start_requests(&b->devs[1], 2 * MiB, 0, BUSY_REQUESTS);
        }
        base = MIN(base, submit_batch(b, 0, 0, 0));
        batch = MIN(batch, submit_batch(b, BATCH, lo, hi));
        if (busy) {
            finish_requests(&b->devs[1], BUSY_REQUESTS);
        }
    }
    report("invalidate, ns per descriptor", series, column,
           (batch - base) / BATCH);
}

static void bench_invalidations(Bench *b)
{
    /* Size in the address (6.5.2.6): bit 11 is S */
    const uint64_t size_2m = 1 << 11 | 0xff000;
    const uint64_t all = INT64_MAX & ~(uint64_t)0x7ff;
    /* Pages that no device has cached: the cost of the search */
    const uint64_t addr = IOVA + 16 * GiB;
    const uint64_t sid = (uint64_t)device_bdf(0);
    const uint64_t dev = VTD_INV_DESC_DEVICE | sid << 32;
    const uint64_t pasid = VTD_INV_DESC_DEV_PIOTLB | (uint64_t)PASID << 32 |
                           sid << 16;
    uint64_t root = qvtd_new_table(&b->vtd);

    map_range(b, root, 8 * MiB, 4 * KiB, FS);
    set_pasid(b, FIRST, root);
    for (int full = 0; full < 2; full++) {
        bench_invalidation(b, "4 KiB of a PASID", full, false, pasid, addr);
        if (b->num_devs > 1) {
            bench_invalidation(b, "4 KiB of a PASID", full, true, pasid, addr);
        }
        bench_invalidation(b, "2 MiB of a PASID", full, false, pasid,
                           addr | size_2m);
        bench_invalidation(b, "all of a PASID", full, false, pasid, all);
        bench_invalidation(b, "4 KiB without PASID", full, false, dev, addr);
    }
}

/* Page requests */

static void start_page_requests(QATD *dev)
{
    qatd_write(dev, ATD_REPEAT, GROUPS);
    qatd_write(dev, ATD_STEP, 4 * KiB);
    qatd_write(dev, ATD_PRGI, 0);
    qatd_start(dev, ATD_CMD_PAGE_REQUEST, PASID, IOVA, 0,
               ATD_FLAG_THREAD | ATD_FLAG_READ | ATD_FLAG_LAST);
}

/* Returns: nanoseconds for each response */
static double answer_groups(Bench *b, QATD *dev)
{
    double batch = 0;

    for (unsigned done = 0; done < GROUPS; done += GROUPS / 4) {
        double base = submit_batch(b, 0, 0, 0);

        for (unsigned i = 0; i < GROUPS / 4; i++) {
            put_desc(b, i, VTD_INV_DESC_PAGE_RESPONSE |
                           VTD_INV_DESC_PAGE_RESP_PP | dev->bdf << 16 |
                           (uint64_t)PASID << 32, (done + i) << 3);
        }
        batch += run_batch(b, GROUPS / 4) - base;
    }
    g_assert_cmpuint(qatd_read(dev, ATD_OUTSTANDING), ==, 0);
    return batch / GROUPS;
}

static void bench_page_requests(Bench *b)
{
    g_autofree char *column = g_strdup_printf("%u device%s", b->num_devs,
                                              b->num_devs > 1 ? "s" : "");
    double request[MAX_RUNS], response[MAX_RUNS];
    QVtdPrq prq;

    set_pasid(b, FIRST, qvtd_new_table(&b->vtd));
    qvtd_prq_init(&prq, &b->vtd, PQS);
    for (unsigned i = 0; i < b->num_devs; i++) {
        g_assert_cmpint(qatd_command(&b->devs[i], ATD_CMD_REGISTER_PRI, PASID,
                                     0, 0, 0), ==, 0);
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
        g_assert_cmpuint(qvtd_prq_count(&prq), ==, GROUPS * b->num_devs);
        qtest_writeq(b->qts, Q35_HOST_BRIDGE_IOMMU_ADDR + DMAR_PQH_REG,
                     qtest_readq(b->qts, Q35_HOST_BRIDGE_IOMMU_ADDR +
                                         DMAR_PQT_REG));
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
    static const unsigned counts[] = { 1, 16, MAX_DEVICES };
    const char *text = getenv("INTEL_IOMMU_BENCH_RUNS");
    Bench *b = g_new(Bench, 1);

    if (text && (qemu_strtoui(text, NULL, 0, &runs) || !runs ||
                 runs > MAX_RUNS)) {
        fprintf(stderr, "INTEL_IOMMU_BENCH_RUNS: 1 to %d\n", MAX_RUNS);
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
