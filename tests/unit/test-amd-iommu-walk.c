/*
 * Unit tests of the page table walker of the AMD IOMMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 *
 * Environment:
 *   WALK_TEST_SEED   seed of the random tables (printed; default: the time)
 *   WALK_TEST_STEPS  number of random tables
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/thread.h"
#include "hw/pci/pci.h"
#include "amd-iommu-walk-model.h"
#include "walk-random.h"

#define MAX_RESULTS     8192

/* Tables of the host are at odd pages, those of the guest at even pages */
#define HOST_ROOT       PAGE
#define GUEST_ROOT      0

AddressSpace address_space_memory;

static AMDVIWalkConfig host_config(unsigned mode)
{
    return (AMDVIWalkConfig) {
        .mode = mode,
        .perm = IOMMU_RW,
        .host_root = HOST_ROOT,
    };
}

static AMDVIWalkConfig guest_config(unsigned mode, unsigned levels)
{
    AMDVIWalkConfig cfg = host_config(mode);

    cfg.guest = true;
    cfg.guest_levels = levels;
    cfg.guest_root = GUEST_ROOT;
    return cfg;
}

static IOMMUWalkStatus walk(WalkMemory *m, const AMDVIWalkConfig *cfg,
                            IOMMUWalkRequest *req)
{
    hwaddr unreachable = 0;

    return amdvi_walk(&m->mem, cfg, req, &unreachable);
}

/* ---- Random tables ---- */

static uint64_t random_host_entry(bool sized)
{
    uint64_t e = PR | IR | IW;

    if (one_in(12)) {
        return 0;
    }
    if (one_in(12)) {
        e ^= one_in(2) ? IR : IW;
    }
    if (one_in(3)) {
        e |= NEXT(1 + below(6)) |
             (uint64_t)(below(WALK_MEMORY_PAGES / 2) * 2 + 1) * PAGE;
    } else if (sized && one_in(8)) {
        unsigned ones = below(one_in(2) ? 5 : 40);

        e |= NEXT(7) | (uint64_t)below(64) << (13 + ones) |
             ((1ull << ones) - 1) << 12;
    } else {
        e |= (uint64_t)below(WALK_MEMORY_PAGES) << (one_in(3) ? 21 : 12);
    }
    if (one_in(20)) {
        e |= 1ull << (52 + below(9));
    }
    if (one_in(8)) {
        e |= 1ull << (1 + below(8));
    }
    if (one_in(16)) {
        e |= U;
    }
    return e & ~(one_in(25) ? PR : 0);
}

static uint64_t random_guest_entry(void)
{
    uint64_t e = (uint64_t)below(WALK_MEMORY_PAGES) * PAGE | P | RW | US;

    if (one_in(12)) {
        return 0;
    }
    for (unsigned bit = 0; bit < 3; bit++) {
        if (one_in(10)) {
            e ^= 1ull << bit;
        }
    }
    if (one_in(5)) {
        e = (e & 0xfff) | PS | (uint64_t)below(8) << 30 |
            (one_in(2) ? 0 : (uint64_t)below(512) << 21);
    }
    e |= one_in(2) ? A : 0;
    e |= one_in(4) ? D : 0;
    if (one_in(30)) {
        e |= 1ull << (8 + below(14));
    }
    return e;
}

/* Runs of entries, so that results can be merged */
static void random_table(uint64_t *entry, bool host, bool sized)
{
    uint64_t e = 0;

    for (unsigned i = 0; i < 512; i++) {
        if (i == 0 || one_in(6)) {
            e = host ? random_host_entry(sized) : random_guest_entry();
        } else if (!host || !(e & NEXT(7))) {
            e += PAGE;
        }
        entry[i] = e;
    }
}

/* An aligned group of equal entries for one page of level 1 or 2 */
static void random_group(uint64_t *entry)
{
    unsigned bits = 1 + below(8);
    unsigned level = 1 + below(2);
    unsigned ones = 9 * (level - 1) + bits - 1;
    unsigned first = below(512 >> bits) << bits;
    uint64_t e = PR | IR | (one_in(4) ? 0 : IW) | NEXT(7) |
                 (uint64_t)below(64) << (13 + ones) |
                 ((1ull << ones) - 1) << 12;

    for (unsigned i = 0; i < 1u << bits; i++) {
        entry[first + i] = e;
    }
}

/* Most entries of a root table are tables, else half of all were holes */
static void random_root(WalkMemory *m, const AMDVIWalkConfig *cfg)
{
    for (unsigned i = 0; i < 512; i++) {
        uint64_t *guest = &m->entry[cfg->guest_root / 8 + i];
        uint64_t *host = &m->entry[cfg->host_root / 8 + i];
        uint64_t page = below(WALK_MEMORY_PAGES / 2) * 2;

        if (cfg->guest && !one_in(4)) {
            *guest = P | RW | US | page * PAGE;
        }
        if (cfg->mode > 1 && !one_in(4)) {
            *host = PR | IR | IW | (page + 1) * PAGE |
                    NEXT(one_in(8) ? 1 + below(cfg->mode - 1) : cfg->mode - 1);
        }
    }
}

/* Host tables that map the memory with the guest tables to itself */
static void map_identity(WalkMemory *m, const AMDVIWalkConfig *cfg)
{
    hwaddr table = cfg->host_root;

    for (unsigned level = cfg->mode; level > 1; level--) {
        m->entry[table / 8] = PR | IR | IW | NEXT(level - 1) |
                              (table + 2 * PAGE);
        table += 2 * PAGE;
    }
    for (unsigned i = 0; i < 512; i++) {
        m->entry[table / 8 + i] = i * PAGE | PR | IR | (one_in(9) ? 0 : IW);
    }
}

/*
 * The second stage of a nested walk may use any entry of a page, and that must
 * not matter.  Therefore no group changes after that, or overlaps another one.
 */
static void random_memory(WalkMemory *m, const AMDVIWalkConfig *cfg)
{
    bool nested = cfg->guest && cfg->mode;
    unsigned first = 0;

    for (unsigned i = 0; i < WALK_MEMORY_PAGES; i++) {
        bool host = !cfg->guest || (i & 1);

        random_table(&m->entry[i * 512], host, !cfg->guest);
    }
    random_root(m, cfg);
    if (nested && !one_in(4)) {
        map_identity(m, cfg);
        first = 2 * cfg->mode;
    }
    for (unsigned i = first; i < WALK_MEMORY_PAGES; i++) {
        if (!cfg->guest || (i & 1)) {
            for (unsigned j = below(nested ? 2 : 8); j; j--) {
                random_group(&m->entry[i * 512]);
            }
        }
    }
}

static void random_request(IOMMUWalkRequest *req, const AMDVIWalkConfig *cfg)
{
    /* Where special ranges (2.1.2) begin or end */
    static const uint64_t special[] = {
        0xfd00000000, 0xfdf8000000, 0xfdf9000000, 0xfdf9100000, 0xfdf9200000,
        0xfdfc000000, 0xfdfe000000,
    };
    uint64_t pages = one_in(3) ? 1 + below(4) : 1 + below(2000);
    unsigned bits = cfg->guest ? 48 : MIN(62, 12 + 9 * MAX(cfg->mode, 1));
    uint64_t first = rnd();

    if (!one_in(20)) {
        first &= (1ull << (one_in(3) ? bits : 22 + below(bits - 20))) - 1;
    }
    first &= -PAGE;
    if (cfg->guest && one_in(8)) {
        first |= 0xffffull << 48;
    }
    if (one_in(10)) {
        first = 0xfee00000 - below(600) * PAGE;
    } else if (cfg->special && one_in(4)) {
        first = special[below(ARRAY_SIZE(special))] - below(600) * PAGE;
    } else if (cfg->exclude && one_in(2)) {
        first = cfg->exclude_first - below(600) * PAGE;
    }
    req->first = first;
    req->last = first + pages * PAGE - 1;
    if (req->last < first) {
        req->last = UINT64_MAX;
    }
    req->priv = cfg->guest && one_in(3);
    req->interrupt_input = one_in(2);
    req->untranslated = one_in(4);
    if (req->untranslated) {
        req->want = one_in(2) ? IOMMU_RO : IOMMU_WO;
        req->last = first + PAGE - 1;
    } else {
        req->want = one_in(3) ? IOMMU_RO : IOMMU_RW;
    }
    req->pasid = rnd() & 0xfffff;
}

static AMDVIWalkConfig random_config(void)
{
    AMDVIWalkConfig cfg;

    if (one_in(2)) {
        cfg = host_config(below(7));
    } else {
        cfg = guest_config(one_in(2) ? 0 : 1 + below(6), 4 + below(2));
        cfg.no_flag_update = one_in(10);
    }
    if (one_in(10)) {
        cfg.perm = 1 + below(2);
    }
    cfg.special = one_in(2);
    cfg.int_abort = one_in(2);
    cfg.sys_mgt = below(4);
    cfg.port_io = below(4);
    if (one_in(2)) {
        cfg.exclude = true;
        cfg.exclude_first = one_in(8) ? 0xfdf9180000 :
                            rnd() >> (18 + below(30)) & -PAGE;
        cfg.exclude_last = cfg.exclude_first + (1 + below(1200)) * PAGE - 1;
    }
    return cfg;
}

static void random_walks(WalkMemory *m, const AMDVIWalkConfig *cfg,
                         IOMMUTLBEntry *result, unsigned *mapped,
                         unsigned *merged)
{
    g_autofree uint64_t *before = g_malloc(sizeof(m->entry));
    g_autofree uint64_t *model = g_malloc(sizeof(m->entry));

    for (unsigned i = 0; i < 4; i++) {
        IOMMUWalkRequest req = {
            .result = result,
            .max_results = MAX_RESULTS,
        };

        memcpy(before, m->entry, sizeof(m->entry));
        memcpy(model, m->entry, sizeof(m->entry));
        memset(m->dirty, 0, sizeof(m->dirty));
        random_request(&req, cfg);
        assert_int_equal(walk(m, cfg, &req), IOMMU_WALK_DONE);
        walk_check_shape(&req, IOMMU_WALK_DONE);
        assert_true(walk_check_results(cfg, &req, IOMMU_WALK_DONE, model,
                                       UINT64_MAX));
        /* Nested tables may map themselves: then the order matters. */
        if (!cfg->guest || !cfg->mode || req.untranslated) {
            walk_check_memory(m, before, model);
        }
        for (size_t j = 0; j < req.num_results; j++) {
            *mapped += !!(result[j].perm & IOMMU_RW);
            *merged += result[j].perm && result[j].addr_mask != 0xfff;
        }
    }
}

static void test_random(void **state)
{
    unsigned steps = env_number("WALK_TEST_STEPS", 3000);
    g_autofree WalkMemory *m = walk_memory_new();
    g_autofree IOMMUTLBEntry *result = g_new0(IOMMUTLBEntry, MAX_RESULTS);
    unsigned mapped = 0, merged = 0;

    for (unsigned step = 0; step < steps; step++) {
        AMDVIWalkConfig cfg = random_config();

        random_memory(m, &cfg);
        random_walks(m, &cfg, result, &mapped, &merged);
    }
    /* The test needs enough mapped pages. */
    assert_true(mapped > steps);
    assert_true(merged > steps / 4);
}

/* ---- Tests of single rules ---- */

#define SPECIAL(reason)     AMDVI_FAULT_SPECIAL_ ## reason

static unsigned next_page;
static IOMMUTLBEntry res[64];

static WalkMemory *rule_memory(void)
{
    next_page = 3;
    memset(res, 0, sizeof(res));
    return walk_memory_new();
}

/* Returns the entry of @level for @addr, with the tables above it */
static uint64_t *host_entry(WalkMemory *m, unsigned mode, unsigned level,
                            uint64_t addr)
{
    hwaddr table = HOST_ROOT;

    for (unsigned at = mode; at > level; at--) {
        uint64_t *slot = &m->entry[table / 8 +
                                   (addr / walk_entry_size(at)) % 512];

        if (!*slot) {
            *slot = next_page * PAGE | NEXT(at - 1) | PR | IR | IW;
            next_page += 2;
        }
        table = *slot & 0x000ffffffffff000ull;
    }
    return &m->entry[table / 8 + (addr / walk_entry_size(level)) % 512];
}

static IOMMUWalkRequest ask(uint64_t first, uint64_t pages)
{
    return (IOMMUWalkRequest) {
        .first = first,
        .last = first + (pages * PAGE - 1),
        .want = IOMMU_RW,
        .result = res,
        .max_results = ARRAY_SIZE(res),
    };
}

/* An untranslated request for a page */
static uint8_t touch(WalkMemory *m, const AMDVIWalkConfig *cfg, uint64_t addr,
                     IOMMUAccessFlags want)
{
    IOMMUWalkRequest req = ask(addr, 1);

    req.untranslated = true;
    req.want = want;
    assert_int_equal(walk(m, cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(req.num_results, 1);
    return req.fault;
}

static void assert_result(unsigned i, uint64_t iova, hwaddr out, uint64_t size,
                          IOMMUAccessFlags perm)
{
    assert_int_equal(res[i].iova, iova);
    assert_int_equal(res[i].translated_addr, out);
    assert_int_equal(res[i].addr_mask, size - 1);
    assert_int_equal(res[i].perm, perm);
}

/* 2.2.3, Page Table Level Parameters: default page sizes */
static void test_default_sizes(void **state)
{
    for (unsigned mode = 1; mode <= 6; mode++) {
        for (unsigned level = 1; level <= mode; level++) {
            g_autofree WalkMemory *m = rule_memory();
            AMDVIWalkConfig cfg = host_config(mode);
            uint64_t size = walk_entry_size(level);
            uint64_t va = 5 * size;

            *host_entry(m, mode, level, va) = PR | IR | IW |
                                              (3 * size & 0xffffffffff000ull);
            if (level == 6) {
                assert_int_equal(touch(m, &cfg, va, IOMMU_RO),
                                 AMDVI_FAULT_HOST_LEVEL);
                continue;
            }
            assert_int_equal(touch(m, &cfg, va + size - PAGE, IOMMU_RO), 0);
            assert_result(0, va, 3 * size & 0xffffffffff000ull, size, IOMMU_RW);
        }
    }
}

/* 2.2.3, Example Page Size Encodings: sizes with Next Level 7 */
static void test_encoded_sizes(void **state)
{
    for (unsigned level = 1; level <= 6; level++) {
        for (unsigned bits = 13; bits <= 53; bits++) {
            g_autofree WalkMemory *m = rule_memory();
            AMDVIWalkConfig cfg = host_config(6);
            uint64_t size = 1ull << bits;
            uint64_t ones = size / 2 - PAGE;
            uint64_t va = 2 * size;
            bool valid = level < 6 && bits > 12 + 9 * (level - 1) &&
                         bits < 12 + 9 * level;

            *host_entry(m, 6, level, va) = PR | IR | IW | NEXT(7) | ones |
                                           (size & 0xffffffffff000ull);
            assert_int_equal(touch(m, &cfg, va, IOMMU_WO),
                             valid ? 0 : AMDVI_FAULT_HOST_LEVEL);
            if (valid) {
                assert_result(0, va, size & 0xffffffffff000ull, size, IOMMU_RW);
            }
        }
    }
}

/* 2.2.3: Next Level has to decrease */
static void test_next_level(void **state)
{
    for (unsigned level = 1; level <= 6; level++) {
        for (unsigned next = 1; next <= 6; next++) {
            g_autofree WalkMemory *m = rule_memory();
            AMDVIWalkConfig cfg = host_config(6);

            *host_entry(m, 6, level, 0) = PR | IR | IW | NEXT(next) |
                                          (60 * PAGE);
            assert_int_equal(touch(m, &cfg, 0, IOMMU_RO),
                             next < level ? AMDVI_FAULT_HOST_NOT_PRESENT :
                                            AMDVI_FAULT_HOST_LEVEL);
        }
    }
}

/* 2.2.3: the address bits of skipped levels have to be 0 */
static void test_skipped_levels(void **state)
{
    for (unsigned level = 2; level <= 6; level++) {
        for (unsigned next = 1; next < level; next++) {
            g_autofree WalkMemory *m = rule_memory();
            AMDVIWalkConfig cfg = host_config(6);
            uint64_t base = 3 * walk_entry_size(level);
            uint64_t reach = walk_entry_size(next) * 512;

            *host_entry(m, 6, level, base) = PR | IR | IW | NEXT(next) |
                                             (60 * PAGE);
            m->entry[60 * 512 + 1] = PR | IR | IW | (uint64_t)7 << 48;
            assert_int_equal(touch(m, &cfg, base + walk_entry_size(next),
                                   IOMMU_RO), 0);
            for (uint64_t bit = reach; bit < walk_entry_size(level);
                 bit *= 2) {
                assert_int_equal(touch(m, &cfg,
                                       base + walk_entry_size(next) + bit,
                                       IOMMU_RO), AMDVI_FAULT_HOST_SKIPPED);
            }
        }
    }
}

/* The range of a table below skipped levels, and the rest, in one request */
static void test_skipped_range(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIWalkConfig cfg = host_config(3);
    IOMMUWalkRequest req = ask(0x1ff000, 2);

    m->entry[512] = 60 * PAGE | PR | IR | IW | NEXT(1);
    m->entry[60 * 512 + 511] = 0x123000 | PR | IR | IW;
    assert_int_equal(walk(m, &cfg, &req), IOMMU_WALK_DONE);
    walk_check_shape(&req, IOMMU_WALK_DONE);
    assert_int_equal(req.num_results, 2);
    assert_result(0, 0x1ff000, 0x123000, PAGE, IOMMU_RW);
    assert_result(1, 0x200000, 0, 0x200000, IOMMU_NONE);
    assert_int_equal(req.fault, AMDVI_FAULT_HOST_SKIPPED);
    assert_int_equal(req.error, 0);
}

/* 2.2.2.1: Mode selects the width of addresses */
static void test_width(void **state)
{
    for (unsigned mode = 1; mode <= 5; mode++) {
        g_autofree WalkMemory *m = rule_memory();
        AMDVIWalkConfig cfg = host_config(mode);
        uint64_t end = walk_entry_size(mode) * 512;
        IOMMUWalkRequest req = ask(end - PAGE, 2);

        for (unsigned i = 0; i < 512; i++) {
            m->entry[512 + i] = PR | IR | IW;
        }
        assert_int_equal(touch(m, &cfg, end - PAGE, IOMMU_RO), 0);
        for (uint64_t bit = end; bit; bit *= 2) {
            assert_int_equal(touch(m, &cfg, bit, IOMMU_RO),
                             AMDVI_FAULT_HOST_TOO_WIDE);
        }
        assert_int_equal(walk(m, &cfg, &req), IOMMU_WALK_DONE);
        assert_int_equal(req.num_results, 2);
        assert_result(1, end, 0, end, IOMMU_NONE);

        /* The device table entry grants no permission. */
        cfg.perm = IOMMU_NONE;
        req = ask(end - PAGE, 2);
        assert_int_equal(walk(m, &cfg, &req), IOMMU_WALK_DONE);
        walk_check_shape(&req, IOMMU_WALK_DONE);
        assert_int_equal(req.num_results, 1);
        assert_int_equal(res[0].perm, IOMMU_NONE);
        assert_int_equal(touch(m, &cfg, end - PAGE, IOMMU_RO),
                         AMDVI_FAULT_HOST_NO_READ);
        assert_int_equal(touch(m, &cfg, end, IOMMU_RO),
                         AMDVI_FAULT_HOST_TOO_WIDE);
    }
}

/* 2.2.3: IR and IW of the device table entry and of all levels are ANDed */
static void test_permissions(void **state)
{
    for (unsigned level = 1; level <= 5; level++) {
        for (unsigned perm = 0; perm < 4; perm++) {
            g_autofree WalkMemory *m = rule_memory();
            AMDVIWalkConfig cfg = host_config(4);
            uint64_t bits = (perm & 1 ? IR : 0) | (perm & 2 ? IW : 0);
            IOMMUWalkRequest req = ask(0, 1);

            *host_entry(m, 4, 1, 0) = 0x123000 | PR | IR | IW;
            if (level == 5) {
                cfg.perm = perm;
            } else {
                uint64_t *e = host_entry(m, 4, level, 0);

                *e = (*e & ~(IR | IW)) | bits;
            }
            assert_int_equal(touch(m, &cfg, 0, IOMMU_RO),
                             perm & 1 ? 0 : AMDVI_FAULT_HOST_NO_READ);
            assert_int_equal(touch(m, &cfg, 0, IOMMU_WO),
                             perm & 2 ? 0 : AMDVI_FAULT_HOST_NO_WRITE);
            walk(m, &cfg, &req);
            assert_int_equal(res[0].perm, perm);
        }
    }
}

/* 2.2.3: reserved bits of directory entries and of entries that map pages */
static void test_reserved(void **state)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        g_autofree WalkMemory *m = rule_memory();
        AMDVIWalkConfig cfg = host_config(2);
        uint64_t *page = host_entry(m, 2, 1, 0);
        uint64_t *dir = host_entry(m, 2, 2, 0);

        if (bit == 0 || (bit >= 9 && bit < 52) || bit == 61 || bit == 62) {
            continue;
        }
        *page = PR | IR | IW | 1ull << bit;
        assert_int_equal(touch(m, &cfg, 0, IOMMU_RO),
                         bit >= 52 && bit <= 58 ? AMDVI_FAULT_HOST_RESERVED :
                                                  0);
        *page = PR | IR | IW;
        *dir |= 1ull << bit;
        assert_int_equal(touch(m, &cfg, 0, IOMMU_RO),
                         bit >= 52 && bit <= 60 ? AMDVI_FAULT_HOST_RESERVED :
                                                  0);
    }
}

/* 2.2.3: an entry with PR = 0 is not present, whatever else it says */
static void test_not_present(void **state)
{
    for (unsigned level = 1; level <= 4; level++) {
        g_autofree WalkMemory *m = rule_memory();
        AMDVIWalkConfig cfg = host_config(4);
        IOMMUWalkRequest req = ask(0, 1);

        *host_entry(m, 4, 1, 0) = PR | IR | IW;
        *host_entry(m, 4, level, 0) &= ~PR;
        assert_int_equal(touch(m, &cfg, 0, IOMMU_RO),
                         AMDVI_FAULT_HOST_NOT_PRESENT);
        /* A hole has the size of the entry */
        walk(m, &cfg, &req);
        assert_result(0, 0, 0, walk_entry_size(level), IOMMU_NONE);
    }
}

/* 2.2.3: U: translated requests must not be used */
static void test_untranslated_only(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIWalkConfig cfg = host_config(1);
    IOMMUWalkRequest req = ask(0, 2);

    m->entry[512] = 0x100000 | PR | IR | IW | U;
    m->entry[513] = 0x101000 | PR | IR | IW;
    walk(m, &cfg, &req);
    assert_int_equal(req.num_results, 2);
    assert_int_equal(res[0].perm, IOMMU_RW | IOMMU_UNTRANSLATED_ONLY);
    assert_int_equal(res[1].perm, IOMMU_RW);
    assert_int_equal(touch(m, &cfg, 0, IOMMU_RO), 0);
    assert_int_equal(res[0].perm, IOMMU_RW);
}

/* Mode 0: no tables, but IR and IW apply */
static void test_identity(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIWalkConfig cfg = host_config(0);
    IOMMUWalkRequest req = ask(0xfedff000, 0x102);

    req.interrupt_input = true;
    assert_int_equal(walk(m, &cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(req.num_results, 3);
    assert_result(0, 0xfec00000, 0xfec00000, 0x200000, IOMMU_RW);
    assert_result(1, 0xfee00000, 0, 0x100000,
                  IOMMU_WO | IOMMU_UNTRANSLATED_ONLY);
    assert_result(2, 0xfef00000, 0xfef00000, 0x100000, IOMMU_RW);

    cfg.perm = IOMMU_RO;
    assert_int_equal(touch(m, &cfg, PAGE, IOMMU_RO), 0);
    assert_int_equal(touch(m, &cfg, PAGE, IOMMU_WO), AMDVI_FAULT_HOST_NO_WRITE);
    req = ask(UINT64_MAX - PAGE + 1, 1);
    assert_int_equal(walk(m, &cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(res[0].perm, IOMMU_RO);
}

/* Reads in the interrupt range */
static void test_interrupt_range(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIWalkConfig cfg = host_config(0);
    IOMMUWalkRequest req = ask(0xfee00000, 1);

    req.interrupt_input = true;
    req.want = IOMMU_RO;
    walk(m, &cfg, &req);
    assert_int_equal(req.fault, AMDVI_FAULT_INTERRUPT_RANGE);
    assert_result(0, 0xfee00000, 0, 0x100000, IOMMU_NONE);
}

/*
 * MMIO 0020h and 0028h: addresses in the exclusion range are neither translated
 * nor checked, and a device must not use them translated
 */
static void test_exclusion(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIWalkConfig cfg = host_config(2);
    IOMMUWalkRequest req = ask(0x201000, 4);

    /* A page around the range, which is not a block */
    m->entry[512 + 1] = 0x600000 | PR | IR | IW;
    cfg.exclude = true;
    cfg.exclude_first = 0x202000;
    cfg.exclude_last = 0x204fff;
    req.interrupt_input = true;
    assert_int_equal(walk(m, &cfg, &req), IOMMU_WALK_DONE);
    walk_check_shape(&req, IOMMU_WALK_DONE);
    assert_int_equal(req.fault, 0);
    assert_int_equal(req.num_results, 3);
    assert_result(0, 0x200000, 0x600000, 0x2000, IOMMU_RW);
    assert_result(1, 0x202000, 0x202000, 0x2000,
                  IOMMU_RW | IOMMU_UNTRANSLATED_ONLY);
    assert_result(2, 0x204000, 0x204000, PAGE,
                  IOMMU_RW | IOMMU_UNTRANSLATED_ONLY);

    cfg.perm = IOMMU_NONE;
    req = ask(0x203000, 1);
    req.interrupt_input = req.untranslated = true;
    req.want = IOMMU_WO;
    assert_int_equal(walk(m, &cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(req.fault, 0);
    assert_result(0, 0x202000, 0x202000, 0x2000, IOMMU_RW);
    req.interrupt_input = false;
    walk(m, &cfg, &req);
    assert_int_equal(req.fault, AMDVI_FAULT_HOST_NO_WRITE);

    /* Everything, up to the end */
    cfg.exclude_first = 0;
    cfg.exclude_last = UINT64_MAX;
    req = ask(-PAGE, 1);
    req.interrupt_input = true;
    assert_int_equal(walk(m, &cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(res[0].perm, IOMMU_RW | IOMMU_UNTRANSLATED_ONLY);
    req = ask(0xfee00000, 1);
    req.interrupt_input = true;
    walk(m, &cfg, &req);
    assert_result(0, 0xfee00000, 0, 0x100000,
                  IOMMU_WO | IOMMU_UNTRANSLATED_ONLY);
}

/* The fault of a request for a special address that is not mapped */
static uint8_t special(const AMDVIWalkConfig *cfg, uint64_t addr,
                       IOMMUAccessFlags want, bool untranslated)
{
    g_autofree WalkMemory *m = rule_memory();
    IOMMUWalkRequest req = ask(addr, 1);

    req.interrupt_input = true;
    req.want = want;
    req.untranslated = untranslated;
    assert_int_equal(walk(m, cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(req.num_results, 1);
    assert_int_equal(res[0].perm, IOMMU_NONE);
    assert_int_equal(req.error, req.fault == AMDVI_FAULT_HOST_NOT_PRESENT ?
                                0 : req.fault);
    return req.fault;
}

/* 2.1.2: special addresses, and the controls of the device table entry */
static void test_special(void **state)
{
    const uint8_t tables = AMDVI_FAULT_HOST_NOT_PRESENT;
    const struct {
        uint64_t first, last;
        bool int_abort;
        uint8_t sys_mgt, port_io;
        uint8_t read, write, translation;
    } cases[] = {
        { 0xfcfffff000, 0xfcfffff000, true, 0, 0, tables, tables, tables },
        { 0xfd00000000, 0xfdf7fff000, false, 3, 2, SPECIAL(RESERVED),
          SPECIAL(RESERVED), SPECIAL(RESERVED) },
        { 0xfdf8000000, 0xfdf8fff000, false, 3, 2, SPECIAL(INTERRUPT), 0,
          SPECIAL(INTERRUPT) },
        { 0xfdf8000000, 0xfdf8fff000, true, 3, 2, SPECIAL(INTERRUPT),
          SPECIAL(INTERRUPT), SPECIAL(INTERRUPT) },
        { 0xfdf9000000, 0xfdf90ff000, true, 0, 0, tables, tables, tables },
        { 0xfdf9100000, 0xfdf91ff000, false, 0, 2, SPECIAL(SYS_MGT),
          SPECIAL(SYS_MGT), SPECIAL(SYS_MGT) },
        { 0xfdf9100000, 0xfdf91ff000, false, 1, 2, SPECIAL(SYS_MGT), 0,
          SPECIAL(SYS_MGT) },
        { 0xfdf9100000, 0xfdf91ff000, false, 2, 2, SPECIAL(SYS_MGT),
          SPECIAL(SYS_MGT), SPECIAL(SYS_MGT) },
        { 0xfdf9100000, 0xfdf91ff000, true, 3, 0, tables, tables, tables },
        { 0xfdf9200000, 0xfdfbfff000, true, 0, 0, tables, tables, tables },
        { 0xfdfc000000, 0xfdfdfff000, false, 3, 0, SPECIAL(PORT_IO),
          SPECIAL(PORT_IO), SPECIAL(PORT_IO) },
        { 0xfdfc000000, 0xfdfdfff000, false, 3, 1, 0, 0, SPECIAL(PORT_IO) },
        { 0xfdfc000000, 0xfdfdfff000, true, 0, 2, tables, tables, tables },
        { 0xfdfc000000, 0xfdfdfff000, false, 3, 3, SPECIAL(PORT_IO),
          SPECIAL(PORT_IO), SPECIAL(PORT_IO) },
        { 0xfdfe000000, 0xfffffff000, true, 0, 0, tables, tables, tables },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        AMDVIWalkConfig cfg = host_config(4);

        cfg.special = true;
        cfg.int_abort = cases[i].int_abort;
        cfg.sys_mgt = cases[i].sys_mgt;
        cfg.port_io = cases[i].port_io;
        for (unsigned end = 0; end < 2; end++) {
            uint64_t addr = end ? cases[i].last : cases[i].first;

            assert_int_equal(special(&cfg, addr, IOMMU_RO, true),
                             cases[i].read);
            assert_int_equal(special(&cfg, addr, IOMMU_WO, true),
                             cases[i].write);
            assert_int_equal(special(&cfg, addr, IOMMU_RW, false),
                             cases[i].translation);
        }
        cfg.special = false;
        assert_int_equal(special(&cfg, cases[i].first, IOMMU_RO, true), tables);
    }
}

/* PAGE_TAB_HARDWARE_ERROR: the address of the entry that is not in memory */
static void test_unreachable(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIWalkConfig cfg = host_config(2);
    hwaddr gone = WALK_MEMORY_PAGES * PAGE, unreachable = 0;
    IOMMUWalkRequest req = ask(3 * PAGE, 1);

    m->entry[512] = gone | PR | IR | IW | NEXT(1);
    amdvi_walk(&m->mem, &cfg, &req, &unreachable);
    assert_int_equal(req.fault, AMDVI_FAULT_HOST_UNREACHABLE);
    assert_int_equal(req.error, AMDVI_FAULT_HOST_UNREACHABLE);
    assert_int_equal(unreachable, gone + 3 * 8);
    assert_result(0, 0, 0, 0x200000, IOMMU_NONE);

    cfg.host_root = gone + PAGE;
    req = ask(3 * PAGE, 1);
    amdvi_walk(&m->mem, &cfg, &req, &unreachable);
    assert_int_equal(unreachable, gone + PAGE);
    /* A table of level 6 is for all addresses. */
    cfg = host_config(6);
    cfg.host_root = gone;
    req = ask(1ull << 63, 1);
    amdvi_walk(&m->mem, &cfg, &req, &unreachable);
    assert_int_equal(unreachable, gone + 64 * 8);
    assert_int_equal(res[0].perm, IOMMU_NONE);
    cfg = guest_config(0, 4);
    cfg.guest_root = gone;
    req = ask(0, 1);
    amdvi_walk(&m->mem, &cfg, &req, &unreachable);
    assert_int_equal(req.fault, AMDVI_FAULT_GUEST_UNREACHABLE);
    assert_int_equal(unreachable, gone);
}

/* An entry for a page is used from the first address of the range on */
static void test_inconsistent_group(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIWalkConfig cfg = host_config(1);
    IOMMUWalkRequest req = ask(0, 4);

    /* The second entry is for all four pages, the first for itself. */
    m->entry[512] = 0x900000 | PR | IR | IW;
    m->entry[513] = 0x100000 | PAGE | PR | IR | IW | NEXT(7);
    assert_int_equal(walk(m, &cfg, &req), IOMMU_WALK_DONE);
    walk_check_shape(&req, IOMMU_WALK_DONE);
    assert_int_equal(req.num_results, 3);
    assert_result(0, 0, 0x900000, PAGE, IOMMU_RW);
    assert_result(1, PAGE, 0x101000, PAGE, IOMMU_RW);
    assert_result(2, 2 * PAGE, 0x102000, 2 * PAGE, IOMMU_RW);
}

/* The result is full at a page, at a hole and beyond the width */
static void test_result_full(void **state)
{
    static const uint64_t entries[] = { PR | IR | IW | 0x100000, 0 };

    for (unsigned i = 0; i < ARRAY_SIZE(entries); i++) {
        g_autofree WalkMemory *m = rule_memory();
        AMDVIWalkConfig cfg = host_config(1);
        IOMMUWalkRequest req = ask(0, 2);

        m->entry[512] = 0x900000 | PR | IR;
        m->entry[513] = entries[i];
        req.max_results = 1;
        assert_int_equal(walk(m, &cfg, &req), IOMMU_WALK_FULL);
        assert_result(0, 0, 0x900000, PAGE, IOMMU_RO);
        req = ask(511 * PAGE, 2);
        req.max_results = 1;
        assert_int_equal(walk(m, &cfg, &req), IOMMU_WALK_FULL);

        /* Behind the interrupt range, without permissions */
        cfg = host_config(3);
        cfg.perm = IOMMU_NONE;
        req = ask(0xfeeff000, 2);
        req.interrupt_input = true;
        req.max_results = 1;
        assert_int_equal(walk(m, &cfg, &req), IOMMU_WALK_FULL);
        assert_int_equal(req.num_results, 1);
    }
}

/* A guest can point every entry at the same table */
static void test_bounded(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIWalkConfig cfg = host_config(4);
    IOMMUWalkRequest req = ask(0, 1ull << 36);

    req.want = IOMMU_RO;
    for (unsigned i = 0; i < 512; i++) {
        m->entry[512 + i] = 3 * PAGE | PR | IR | NEXT(3);
        m->entry[3 * 512 + i] = 5 * PAGE | PR | IR | NEXT(2);
        m->entry[5 * 512 + i] = 7 * PAGE | PR | IR | NEXT(1);
    }
    assert_int_equal(walk(m, &cfg, &req), IOMMU_WALK_EXHAUSTED);
    assert_true(req.num_results > 0);
}

/* 2.2.6: guest tables, with accessed and dirty bits */
static void test_guest(void **state)
{
    for (unsigned levels = 4; levels <= 5; levels++) {
        g_autofree WalkMemory *m = rule_memory();
        AMDVIWalkConfig cfg = guest_config(0, levels);
        uint64_t *e = m->entry;

        for (unsigned level = levels; level > 1; level--) {
            *e = (2 * level) * PAGE | P | RW | US;
            e = &m->entry[2 * level * 512];
        }
        *e = 0x100000 | P | RW | US;
        assert_int_equal(touch(m, &cfg, 0, IOMMU_RO), 0);
        assert_int_equal(*e & (A | D), A);
        assert_result(0, 0, 0x100000, PAGE, IOMMU_RO);
        assert_int_equal(touch(m, &cfg, 0, IOMMU_WO), 0);
        assert_int_equal(*e & (A | D), A | D);
        assert_int_equal(touch(m, &cfg, PAGE, IOMMU_RO),
                         AMDVI_FAULT_GUEST_NOT_PRESENT);
        assert_int_equal(touch(m, &cfg, 1ull << (11 + 9 * levels), IOMMU_RO),
                         AMDVI_FAULT_GUEST_NOT_CANONICAL);
        *e &= ~US;
        assert_int_equal(touch(m, &cfg, 0, IOMMU_RO),
                         AMDVI_FAULT_GUEST_PRIVILEGE);
        *e = 0x100000 | P | US;
        assert_int_equal(touch(m, &cfg, 0, IOMMU_WO),
                         AMDVI_FAULT_GUEST_NO_WRITE);
        assert_int_equal(*e & (A | D), 0);
        cfg.no_flag_update = true;
        assert_int_equal(touch(m, &cfg, 0, IOMMU_RO), AMDVI_FAULT_GUEST_FLAGS);
    }
}

/* IR and IW of the device table entry apply to guest tables in Mode 0, too */
static void test_guest_permissions(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIWalkConfig cfg = guest_config(0, 4);

    m->entry[0] = 2 * PAGE | P | RW | US | A;
    m->entry[2 * 512] = P | RW | US | PS | A;
    cfg.perm = IOMMU_RO;
    assert_int_equal(touch(m, &cfg, 0, IOMMU_RO), 0);
    assert_int_equal(touch(m, &cfg, 0, IOMMU_WO), AMDVI_FAULT_GUEST_NO_WRITE);
    cfg.perm = IOMMU_WO;
    assert_int_equal(touch(m, &cfg, 0, IOMMU_WO),
                     AMDVI_FAULT_GUEST_TABLE_UNREADABLE);
}

/* A page of the guest that pages of the host of several sizes cut */
static void test_nested(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIWalkConfig cfg = guest_config(2, 4);
    IOMMUWalkRequest req = ask(0, 8);

    map_identity(m, &cfg);
    for (unsigned i = 0; i < 512; i++) {
        m->entry[3 * 512 + i] |= IW;
    }
    m->entry[0] = 2 * PAGE | P | RW | US;
    m->entry[2 * 512] = 4 * PAGE | P | RW | US;
    m->entry[4 * 512] = 0x200000 | P | RW | US | PS;
    m->entry[512 + 1] = 5 * PAGE | PR | IR | IW | NEXT(1);
    for (unsigned i = 0; i < 4; i++) {
        m->entry[5 * 512 + i] = 0x900000 | PAGE | PR | IR | IW | NEXT(7);
    }
    m->entry[5 * 512 + 4] = 0xa00000 | PR | IR;
    assert_int_equal(walk(m, &cfg, &req), IOMMU_WALK_DONE);
    walk_check_shape(&req, IOMMU_WALK_DONE);
    assert_result(0, 0, 0x900000, 4 * PAGE, IOMMU_RW);
    assert_result(1, 4 * PAGE, 0xa00000, PAGE, IOMMU_RO);
    assert_int_equal(res[2].perm, IOMMU_NONE);
    assert_int_equal(req.fault, AMDVI_FAULT_HOST_NOT_PRESENT);
    assert_int_equal(m->entry[4 * 512] & (A | D), A | D);

    m->entry[4 * 512] = 0x40000000 | P | RW | US | PS;
    assert_int_equal(touch(m, &cfg, 0, IOMMU_RO), AMDVI_FAULT_HOST_TOO_WIDE);

    for (unsigned mode = 1; mode <= 6; mode++) {
        hwaddr unreachable = 0;

        cfg = guest_config(mode, 4);
        cfg.host_root = WALK_MEMORY_PAGES * PAGE;
        req = ask(0, 1);
        amdvi_walk(&m->mem, &cfg, &req, &unreachable);
        assert_int_equal(req.fault, AMDVI_FAULT_HOST_UNREACHABLE);
        assert_int_equal(unreachable, cfg.host_root);
    }
}

/* ---- Device table entry and GCR3 table ---- */

static const AMDVIDTERules rules = {
    .max_mode = 6,
    .guest = true,
    .max_glx = 2,
    .max_guest_levels = 5,
    .max_pasid = PCI_PASID_MAX,
};

static AMDVIFault setup(WalkMemory *m, const AMDVIDTE *dte, uint32_t pasid,
                        AMDVIWalkConfig *cfg)
{
    hwaddr unreachable;

    return amdvi_walk_setup(cfg, &m->mem, dte, &rules, pasid, &unreachable);
}

/* 2.2.2.1: V, TV, and GV Fields in Device Table Entry */
static void test_setup_valid(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIDTE dte = { .mode = 3, .read = true, .host_root = 0x5000 };
    AMDVIWalkConfig cfg;

    /* V = 0: everything passes */
    assert_int_equal(setup(m, &dte, PCI_NO_PASID, &cfg), AMDVI_FAULT_NONE);
    assert_int_equal(cfg.mode, 0);
    assert_int_equal(cfg.perm, IOMMU_RW);
    assert_int_equal(setup(m, &dte, 1, &cfg), AMDVI_FAULT_NO_GUEST);
    /* V = 1, TV = 0: nothing passes */
    dte.valid = true;
    assert_int_equal(setup(m, &dte, PCI_NO_PASID, &cfg),
                     AMDVI_FAULT_NO_TRANSLATION);
    /* V = 1, TV = 1, GV = 0 */
    dte.translate = true;
    assert_int_equal(setup(m, &dte, PCI_NO_PASID, &cfg), AMDVI_FAULT_NONE);
    assert_int_equal(cfg.mode, 3);
    assert_int_equal(cfg.perm, IOMMU_RO);
    assert_int_equal(cfg.host_root, 0x5000);
    assert_false(cfg.guest);
    assert_int_equal(setup(m, &dte, 1, &cfg), AMDVI_FAULT_NO_GUEST);
}

/* MMIO 0020h and 0028h: the exclusion range of a function */
static void test_setup_exclusion(void **state)
{
    for (unsigned bits = 0; bits < 16; bits++) {
        bool enabled = bits & 1, all = bits & 2, entry = bits & 4;
        bool guest = bits & 8;
        g_autofree WalkMemory *m = rule_memory();
        AMDVIDTERules r = rules;
        AMDVIDTE dte = {
            .valid = true, .translate = true, .exclude = entry,
            .guest = guest, .guest_io = guest, .gcr3_root = 2 * PAGE,
            .guest_levels = 4,
        };
        AMDVIWalkConfig cfg;
        hwaddr unreachable;

        m->entry[2 * 512] = 4 * PAGE | 1;
        r.exclude = enabled;
        r.exclude_all = all;
        r.exclude_first = r.exclude_last = 0x5000;
        r.exclude_last += 0xfff;
        assert_int_equal(amdvi_walk_setup(&cfg, &m->mem, &dte, &r,
                                          PCI_NO_PASID, &unreachable),
                         AMDVI_FAULT_NONE);
        assert_int_equal(cfg.exclude, enabled && (all || entry));
        assert_int_equal(cfg.exclude_first, 0x5000);
        assert_int_equal(cfg.exclude_last, 0x5fff);
        r.exclude_last -= PAGE;
        amdvi_walk_setup(&cfg, &m->mem, &dte, &r, PCI_NO_PASID, &unreachable);
        assert_false(cfg.exclude);
    }
}

/* IoCtl and SysMgt need V, IntCtl needs IV; none is for requests with PASID */
static void test_setup_special(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIDTE dte = {
        .translate = true, .guest = true, .gcr3_root = 2 * PAGE,
        .guest_levels = 4, .sys_mgt = 2, .port_io = 1,
    };
    AMDVIWalkConfig cfg;

    m->entry[2 * 512] = 4 * PAGE | 1;
    assert_int_equal(setup(m, &dte, PCI_NO_PASID, &cfg), AMDVI_FAULT_NONE);
    assert_false(cfg.special);
    dte.valid = true;
    assert_int_equal(setup(m, &dte, PCI_NO_PASID, &cfg), AMDVI_FAULT_NONE);
    assert_true(cfg.special);
    assert_false(cfg.int_abort);
    assert_int_equal(cfg.sys_mgt, 2);
    assert_int_equal(cfg.port_io, 1);
    for (unsigned control = 0; control < 4; control++) {
        dte.int_valid = true;
        dte.int_control = control;
        assert_int_equal(setup(m, &dte, PCI_NO_PASID, &cfg), AMDVI_FAULT_NONE);
        assert_int_equal(cfg.int_abort, control == AMDVI_DTE_INT_ABORT);
    }
    assert_int_equal(setup(m, &dte, 0, &cfg), AMDVI_FAULT_NONE);
    assert_false(cfg.special);
}

/* 2.2.6: GCR3 tables of 1 to 3 levels */
static void test_gcr3_levels(void **state)
{
    for (unsigned glx = 0; glx <= 2; glx++) {
        for (unsigned bit = 0; bit < 20; bit++) {
            g_autofree WalkMemory *m = rule_memory();
            AMDVIDTE dte = {
                .valid = true, .translate = true, .guest = true,
                .glx = glx, .gcr3_root = 2 * PAGE, .guest_levels = 5,
            };
            uint32_t pasid = 1u << bit;
            hwaddr table = 2 * PAGE;
            AMDVIWalkConfig cfg;

            for (int level = glx; level >= 0; level--) {
                unsigned index = pasid >> (9 * level) & 0x1ff;

                m->entry[table / 8 + index] = (table + 2 * PAGE) | 1;
                table += 2 * PAGE;
            }
            if (bit >= 9 * (glx + 1)) {
                assert_int_equal(setup(m, &dte, pasid, &cfg),
                                 AMDVI_FAULT_GCR3_PASID);
                continue;
            }
            assert_int_equal(setup(m, &dte, pasid, &cfg), AMDVI_FAULT_NONE);
            assert_true(cfg.guest);
            assert_int_equal(cfg.guest_levels, 5);
            assert_int_equal(cfg.guest_root, table);
            assert_int_equal(setup(m, &dte, pasid ^ 3, &cfg),
                             AMDVI_FAULT_GCR3_NOT_PRESENT);
        }
    }
}

/* MMIO 0030h: PASmax limits PASIDs also if the GCR3 table has more entries */
static void test_pasid_limit(void **state)
{
    for (unsigned bits = 1; bits <= 20; bits++) {
        g_autofree WalkMemory *m = rule_memory();
        AMDVIDTERules r = rules;
        AMDVIDTE dte = {
            .valid = true, .translate = true, .guest = true,
            .glx = 2, .gcr3_root = 2 * PAGE, .guest_levels = 4,
        };
        AMDVIWalkConfig cfg;
        hwaddr unreachable;

        /* All PASIDs have tables. */
        for (unsigned i = 0; i < 512; i++) {
            m->entry[2 * 512 + i] = 3 * PAGE | 1;
            m->entry[3 * 512 + i] = 4 * PAGE | 1;
            m->entry[4 * 512 + i] = 5 * PAGE | 1;
        }
        r.max_pasid = (1u << bits) - 1;
        assert_int_equal(amdvi_walk_setup(&cfg, &m->mem, &dte, &r, r.max_pasid,
                                          &unreachable), AMDVI_FAULT_NONE);
        assert_int_equal(amdvi_walk_setup(&cfg, &m->mem, &dte, &r,
                                          r.max_pasid + 1, &unreachable),
                         AMDVI_FAULT_GCR3_PASID);
    }
}

static void test_gcr3_entries(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIDTE dte = {
        .valid = true, .translate = true, .guest = true,
        .glx = 1, .gcr3_root = 2 * PAGE, .guest_levels = 4,
    };
    AMDVIWalkConfig cfg;
    hwaddr unreachable = 0;

    m->entry[2 * 512] = 4 * PAGE | 1;
    for (unsigned bit = 1; bit < 64; bit++) {
        m->entry[4 * 512 + 7] = 1 | 1ull << bit;
        assert_int_equal(setup(m, &dte, 7, &cfg),
                         bit < 12 || bit > 51 ? AMDVI_FAULT_GCR3_RESERVED :
                                                AMDVI_FAULT_NONE);
    }
    m->entry[2 * 512] = WALK_MEMORY_PAGES * PAGE | 1;
    assert_int_equal(amdvi_walk_setup(&cfg, &m->mem, &dte, &rules, 7,
                                      &unreachable),
                     AMDVI_FAULT_GCR3_UNREACHABLE);
    assert_int_equal(unreachable, WALK_MEMORY_PAGES * PAGE + 7 * 8);
}

/* GIoV: requests without PASID are those of PASID 0 */
static void test_guest_io(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIDTE dte = {
        .valid = true, .translate = true, .guest = true, .guest_levels = 4,
        .gcr3_root = 2 * PAGE,
    };
    AMDVIDTERules none = { .max_mode = 6 };
    AMDVIWalkConfig cfg;
    hwaddr unreachable;

    m->entry[2 * 512] = 4 * PAGE | 1;
    assert_int_equal(setup(m, &dte, PCI_NO_PASID, &cfg), AMDVI_FAULT_NONE);
    assert_false(cfg.guest);
    dte.guest_io = true;
    assert_int_equal(setup(m, &dte, PCI_NO_PASID, &cfg), AMDVI_FAULT_NONE);
    assert_true(cfg.guest);
    assert_int_equal(cfg.guest_root, 4 * PAGE);

    /* Without guest translation, its fields are ignored */
    assert_int_equal(amdvi_walk_setup(&cfg, &m->mem, &dte, &none, PCI_NO_PASID,
                                      &unreachable), AMDVI_FAULT_NONE);
    assert_false(cfg.guest);
    assert_int_equal(amdvi_walk_setup(&cfg, &m->mem, &dte, &none, 0,
                                      &unreachable), AMDVI_FAULT_NO_GUEST);
}

/* A vCPU's writes to an entry of the guest are preserved */
#define WALKS           200000
#define IGNORED_BIT     (1ull << 52)

static bool walks_done;

static void *flip_thread(void *opaque)
{
    uint64_t *entry = opaque;

    for (unsigned i = 0; !qatomic_read(&walks_done); i++) {
        uint64_t old = qatomic_fetch_xor(entry, IGNORED_BIT);

        g_assert_cmpint(!!(old & IGNORED_BIT), ==, i & 1);
        qatomic_and(entry, ~A);
    }
    return NULL;
}

/* A vCPU that maps and unmaps a page of the host */
static void *map_thread(void *opaque)
{
    uint64_t *entry = opaque;

    while (!qatomic_read(&walks_done)) {
        qatomic_xor(entry, PR);
    }
    return NULL;
}

static void test_concurrent(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    AMDVIWalkConfig guest = guest_config(0, 4), host = host_config(1);
    QemuThread flip, map;

    m->entry[0] = 2 * PAGE | P | RW | US;
    m->entry[2 * 512] = P | RW | US | PS;
    m->entry[512] = 0x100000 | PR | IR | IW;
    walks_done = false;
    qemu_thread_create(&flip, "flip", flip_thread, &m->entry[0],
                       QEMU_THREAD_JOINABLE);
    qemu_thread_create(&map, "map", map_thread, &m->entry[512],
                       QEMU_THREAD_JOINABLE);
    for (unsigned i = 0; i < WALKS; i++) {
        uint8_t fault;

        assert_int_equal(touch(m, &guest, 0, IOMMU_RO), 0);
        fault = touch(m, &host, 0, IOMMU_RO);
        assert_true(!fault || fault == AMDVI_FAULT_HOST_NOT_PRESENT);
    }
    qatomic_set(&walks_done, true);
    qemu_thread_join(&flip);
    qemu_thread_join(&map);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_default_sizes),
        cmocka_unit_test(test_encoded_sizes),
        cmocka_unit_test(test_next_level),
        cmocka_unit_test(test_skipped_levels),
        cmocka_unit_test(test_skipped_range),
        cmocka_unit_test(test_width),
        cmocka_unit_test(test_permissions),
        cmocka_unit_test(test_reserved),
        cmocka_unit_test(test_not_present),
        cmocka_unit_test(test_untranslated_only),
        cmocka_unit_test(test_identity),
        cmocka_unit_test(test_interrupt_range),
        cmocka_unit_test(test_exclusion),
        cmocka_unit_test(test_special),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_inconsistent_group),
        cmocka_unit_test(test_result_full),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_guest),
        cmocka_unit_test(test_guest_permissions),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_setup_valid),
        cmocka_unit_test(test_setup_exclusion),
        cmocka_unit_test(test_setup_special),
        cmocka_unit_test(test_gcr3_levels),
        cmocka_unit_test(test_pasid_limit),
        cmocka_unit_test(test_gcr3_entries),
        cmocka_unit_test(test_guest_io),
        cmocka_unit_test(test_concurrent),
        cmocka_unit_test(test_random),
    };

    seed = env_seed("WALK_TEST_SEED");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
