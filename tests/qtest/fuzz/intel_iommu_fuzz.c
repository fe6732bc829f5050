/*
 * Fuzzing target of device-TLBs and PASIDs of intel-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The input controls a hostile guest: it sets up valid tables and a queue,
 * corrupts both, submits descriptors, writes registers and configuration
 * space, and makes two pci-ats-testdev devices issue any call, also in their
 * threads.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"

#include "qemu/main-loop.h"
#include "hw/i386/intel_iommu_internal.h"
#include "tests/qtest/libqos/libqos-malloc.h"
#include "tests/qtest/libqos/pci-ats-testdev.h"
#include "tests/qtest/libqos/vtd.h"
#include "fuzz.h"

#define DEV             QATD_BDF(0, 4, 0)
#define DEV2            QATD_BDF(0, 5, 0)
#define PASIDS          4
#define IOVA            0x12340000ULL

/* Addresses of the tables */
#define ARENA           0x200000ULL
#define ARENA_PAGES     512
#define ARENA_SIZE      (ARENA_PAGES * 0x1000ULL)
/* Each can take four tables */
#define MAX_MAPS        64

#define FS              (VTD_FL_P | VTD_FL_RW | VTD_FL_US)
#define SS              (VTD_SL_R | VTD_SL_W)

typedef struct Guest {
    QTestState *qts;
    const unsigned char *data;
    size_t size;
    QGuestAllocator alloc;
    QVtd vtd;
    QATD dev[2];
    uint64_t dir;               /* PASID directory */
    uint64_t first;             /* first-stage tables */
    uint64_t second;            /* second-stage tables */
    unsigned maps;
    bool threads;               /* a thread may be running a command */
} Guest;

/* Returns a little-endian number from the input, or 0 at its end */
static uint64_t take(Guest *g, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes && g->size; i++, g->size--) {
        value |= (uint64_t)*g->data++ << (8 * i);
    }
    return value;
}

static uint64_t csr(uint64_t offset)
{
    return Q35_HOST_BRIDGE_IOMMU_ADDR + offset;
}

/* ---- Setup of a valid guest ---- */

static void start_tables(Guest *g, bool nested)
{
    uint64_t pe0 = VTD_PASID_ENTRY_P | (2 << 2) | g->second;

    pe0 |= nested ? VTD_SM_PASID_ENTRY_NESTED : VTD_SM_PASID_ENTRY_FLT;
    if (!g->vtd.scalable) {
        qvtd_attach(&g->vtd, DEV, 1, g->second, true);
        qvtd_attach(&g->vtd, DEV2, 1, g->second, true);
        return;
    }
    g->dir = qvtd_sm_attach(&g->vtd, DEV, VTD_SM_CONTEXT_ENTRY_DTE |
                            VTD_SM_CONTEXT_ENTRY_PASIDE, 0);
    for (uint32_t pasid = 0; pasid < PASIDS; pasid++) {
        qvtd_sm_pasid(&g->vtd, g->dir, pasid, pe0,
                      1 | VTD_SM_PASID_ENTRY_PWSNP, g->first);
    }
}

static void start_devices(Guest *g)
{
    qecam_enable(g->qts);
    qatd_init(&g->dev[0], g->qts, DEV, 0);
    qatd_init(&g->dev[1], g->qts, DEV2, 1);
}

static void start(Guest *g, QTestState *s)
{
    uint8_t kind = take(g, 1);

    g->qts = s;
    qtest_memset(s, ARENA, 0, ARENA_SIZE);
    alloc_init(&g->alloc, 0, ARENA, ARENA + ARENA_SIZE, 0x1000);
    qvtd_init(&g->vtd, s, &g->alloc);
    start_devices(g);
    qatd_enable_all(&g->dev[0], 32);
    qatd_enable_all(&g->dev[1], 32);
    g->vtd.scalable = kind & 1;
    g->first = qvtd_new_table(&g->vtd);
    g->second = qvtd_new_table(&g->vtd);
    qvtd_map_entry(&g->vtd, g->first, 4, IOVA, 0x1000, ARENA | FS, FS);
    qvtd_map_entry(&g->vtd, g->second, 4, IOVA, 0x1000, ARENA | SS, SS);
    /* The tables of the first stage, for nested translation */
    qvtd_map_entry(&g->vtd, g->second, 4, ARENA, 0x200000, ARENA | SS, SS);
    start_tables(g, kind & 2);
    qvtd_enable(&g->vtd);
}

/* ---- Steps ---- */

static uint64_t take_addr(Guest *g)
{
    uint8_t kind = take(g, 1);

    switch (kind & 3) {
    case 0:
        return IOVA + (kind >> 2) * 0x1000;
    case 1:
        return ARENA + take(g, 2) * 8;
    case 2:
        return ~take(g, 3);
    default:
        return take(g, 8);
    }
}

static uint64_t take_length(Guest *g)
{
    uint8_t kind = take(g, 1);

    return kind < 0xc0 ? kind * 0x100 : 1ULL << (kind & 63);
}

static uint32_t take_pasid(Guest *g)
{
    uint8_t kind = take(g, 1);

    return kind < 0x40 ? QATD_NO_PASID :
           kind < 0xf0 ? kind % (PASIDS + 1) : take(g, 4);
}

static void map(Guest *g)
{
    static const uint64_t sizes[] = { 0x1000, 0x200000, 0x40000000 };
    uint8_t kind = take(g, 1);
    bool second = kind & 4;
    uint64_t size = sizes[(kind & 3) % ARRAY_SIZE(sizes)];
    uint64_t addr = take_addr(g) & ((1ULL << 47) - 1) & -size;
    uint64_t entry = take(g, 2) << 12 | (second ? SS : FS);

    /* Upper entries must still refer to tables, for qvtd_map_entry() */
    if (g->maps++ < MAX_MAPS) {
        uint64_t root = qvtd_new_table(&g->vtd);

        qvtd_map_entry(&g->vtd, root, 4, addr, size, entry,
                       second ? SS : FS);
        qtest_writeq(g->qts, (second ? g->second : g->first) +
                     extract64(addr, 39, 9) * 8,
                     qtest_readq(g->qts, root + extract64(addr, 39, 9) * 8));
    }
}

static void spoil(Guest *g)
{
    uint64_t at = ARENA + take(g, 2) % (ARENA_SIZE / 8) * 8;
    uint64_t bits = take(g, 1);

    qtest_writeq(g->qts, at, qtest_readq(g->qts, at) ^ 1ULL << (bits & 63));
}

static void store(Guest *g)
{
    uint64_t at = ARENA + take(g, 2) % (ARENA_SIZE / 8) * 8;

    qtest_writeq(g->qts, at, take(g, 8));
}

/* Submit a descriptor (6.5.2) that may be valid, often one for devices */
static void submit(Guest *g)
{
    static const uint8_t types[] = { 3, 5, 8, 9 };
    uint8_t kind = take(g, 1);
    uint64_t lo = kind & 0x40 ? kind & 15 : types[kind % ARRAY_SIZE(types)];
    uint64_t hi;

    if (kind & 0x80) {
        lo |= take(g, 8) & ~15ULL;
        hi = take(g, 8);
    } else {
        lo |= take(g, 1) << 4 | (kind & 0x20 ? DEV : DEV2) << 16 |
              take(g, 1) % (PASIDS + 1) << 32;
        hi = take_addr(g) & ~0xfffULL;
        hi |= kind & 0x10 ? 1 : 0;
    }
    qvtd_submit_nowait(&g->vtd, lo, hi);
    if (kind & 8) {
        /* Correct the descriptor, and resume the queue */
        qtest_writel(g->qts, csr(DMAR_FSTS_REG), VTD_FSTS_IQE);
    }
}

static void check_results(Guest *g, const QATD *dev, int64_t n)
{
    uint64_t p = dev->data + ATD_RESULTS_OFFSET;
    uint64_t next = 0;

    for (int64_t i = 0; i < n; i++, p += ATD_RESULT_SIZE) {
        uint64_t iova = qtest_readq(g->qts, p);
        uint64_t mask = qtest_readq(g->qts, p + 16);

        g_assert_cmphex(mask & (mask + 1), ==, 0);
        g_assert_cmphex(iova & mask, ==, 0);
        if (i) {
            g_assert_cmphex(iova, ==, next);
        }
        next = iova + mask + 1;
    }
}

static void command(Guest *g)
{
    uint8_t kind = take(g, 1);
    QATD *dev = &g->dev[kind >> 7];
    uint32_t pasid = take_pasid(g);
    uint64_t addr = take_addr(g);
    uint64_t length = take_length(g);
    uint64_t flags = take(g, 2);
    /* Otherwise a thread is running, and the command is ignored */
    bool idle = !qatd_read(dev, ATD_BUSY);

    qatd_write(dev, ATD_PRGI, take(g, 1));
    qatd_write(dev, ATD_MAX_RESULTS, kind & 0x40 ? 3 : 64);
    qatd_start(dev, kind & 15, pasid, addr, length, flags);
    if (flags & (ATD_FLAG_THREAD | ATD_FLAG_ASYNC)) {
        /* The thread needs the BQL at times */
        g->threads = true;
        flush_events(g->qts);
    } else if (idle && (kind & 15) == ATD_CMD_TRANSLATE) {
        check_results(g, dev, qatd_read(dev, ATD_RETURN));
    }
}

static void write_register(Guest *g)
{
    uint64_t offset = take(g, 2) & 0xfff;
    uint8_t kind = take(g, 1);

    if (kind & 1) {
        qtest_writeq(g->qts, csr(offset & ~7ULL), take(g, 8));
    } else {
        qtest_writel(g->qts, csr(offset & ~3ULL), take(g, 4));
    }
}

/* Write GCMD, mostly with the usual bits (11.4.4) */
static void global_command(Guest *g)
{
    qtest_writel(g->qts, csr(DMAR_GCMD_REG), take(g, 1) << 24);
}

static void config_write(Guest *g)
{
    uint8_t kind = take(g, 1);
    uint16_t bdf = kind & 1 ? DEV : DEV2;
    uint16_t offset = kind & 2 ? PCI_CFG_SPACE_SIZE + (take(g, 1) & 0x3f) :
                                 0x80 + (take(g, 1) & 0x3f);

    if (kind & 4) {
        qecam_writeb(g->qts, bdf, offset, take(g, 1));
    } else if (kind & 8) {
        qecam_writew(g->qts, bdf, offset & ~1, take(g, 2));
    } else {
        qecam_writel(g->qts, bdf, offset & ~3, take(g, 4));
    }
}

static void step(Guest *g)
{
    switch (take(g, 1) & 15) {
    case 0:
        map(g);
        break;
    case 1:
    case 2:
        spoil(g);
        break;
    case 3:
        store(g);
        break;
    case 4:
        write_register(g);
        break;
    case 5:
        global_command(g);
        break;
    case 6:
        config_write(g);
        break;
    case 7 ... 10:
        submit(g);
        break;
    default:
        command(g);
        break;
    }
}

static bool busy(Guest *g)
{
    return qatd_read(&g->dev[0], ATD_BUSY) || qatd_read(&g->dev[1], ATD_BUSY);
}

/* A reset ends all page requests, so that commands cannot take forever */
static void stop(Guest *g)
{
    fuzz_reset(g->qts);
    if (g->threads) {
        start_devices(g);
    }
    while (g->threads && busy(g)) {
        bql_unlock();
        g_usleep(10);
        bql_lock();
        flush_events(g->qts);
    }
    alloc_destroy(&g->alloc);
}

static void intel_iommu_fuzz(QTestState *s, const unsigned char *data,
                             size_t size)
{
    Guest g = { .data = data, .size = size };

    start(&g, s);
    while (g.size) {
        step(&g);
    }
    flush_events(s);
    stop(&g);
}

static GString *intel_iommu_argv(FuzzTarget *t)
{
    return g_string_new(TARGET_NAME " -machine q35,accel=qtest -m 64 "
                        "-nodefaults -display none "
                        "-device intel-iommu,svm=on "
                        "-device pci-ats-testdev,addr=4 "
                        "-device pci-ats-testdev,addr=5");
}

static void register_intel_iommu_fuzz_target(void)
{
    fuzz_add_target(&(FuzzTarget) {
        .name = "intel-iommu-ats-fuzz",
        .description = "Fuzz device-TLBs and PASIDs of intel-iommu with "
                       "pci-ats-testdev, rebooting after each run",
        .get_init_cmdline = intel_iommu_argv,
        .fuzz = intel_iommu_fuzz,
    });
}

fuzz_target_init(register_intel_iommu_fuzz_target);
