/*
 * Unit tests of the VT-d page table walker
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
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
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/intel_iommu_fault.h"
#include "intel-iommu-walk-model.h"
#include "walk-random.h"

#define MAX_RESULTS     8192

AddressSpace address_space_memory;

static VTDWalkRsvd rsvd;

static VTDWalkConfig config(VTDWalkType type)
{
    return (VTDWalkConfig) {
        .type = type,
        .reasons = vtd_walk_reasons(true),
        .fs_levels = 4,
        .fs_root = 0,
        .ss_levels = 4,
        .ss_width = 48,
        .ss_root = PAGE,
        .haw = 48,
        .rsvd = &rsvd,
    };
}

/* Random tables */

static uint64_t random_entry(bool second)
{
    uint64_t e = (uint64_t)below(WALK_MEMORY_PAGES) * PAGE;

    if (one_in(12)) {
        return 0;
    }
    e |= second ? SR | SW : P | RW | US;
    for (unsigned bit = 0; bit < 3; bit++) {
        if (one_in(10)) {
            e ^= 1ull << bit;
        }
    }
    if (one_in(5)) {
        e = (e & 0xfff) | PS | (uint64_t)below(8) << 30 |
            (one_in(2) ? 0 : (uint64_t)below(512) << 21);
    }
    if (!second) {
        e |= one_in(2) ? A : 0;
        e |= one_in(4) ? D : 0;
        e |= one_in(4) ? EA : 0;
    }
    if (one_in(20)) {
        e |= 1ull << (48 + below(16));
    }
    if (one_in(30)) {
        e |= 1ull << (8 + below(14));
    }
    if (one_in(20)) {
        e = (e & 0xfff) | 0xfee00000ull | (uint64_t)below(512) << 12;
    }
    return e;
}

/* Fills a table with runs of leaf entries, so that results can be merged */
static void random_table(uint64_t *entry, bool second)
{
    uint64_t e = random_entry(second);

    for (unsigned i = 0; i < 512; i++) {
        if (one_in(6)) {
            e = random_entry(second);
        } else {
            e += PAGE;
        }
        entry[i] = e;
    }
}

static void random_memory(WalkMemory *m, const VTDWalkConfig *cfg)
{
    for (unsigned i = 0; i < WALK_MEMORY_PAGES; i++) {
        random_table(&m->entry[i * 512], (i & 1) != 0 ||
                     cfg->type == VTD_WALK_SECOND_STAGE);
    }
    /* Most root entries are present, else half of all results were holes. */
    for (unsigned i = 0; i < 512; i++) {
        uint64_t *fs = &m->entry[cfg->fs_root / 8 + i];
        uint64_t *ss = &m->entry[cfg->ss_root / 8 + i];

        if (cfg->type != VTD_WALK_SECOND_STAGE && !one_in(4)) {
            *fs = P | RW | US |
                  (uint64_t)below(WALK_MEMORY_PAGES / 2) * 2 * PAGE;
        }
        if (!one_in(4)) {
            *ss = SR | SW |
                  (uint64_t)(below(WALK_MEMORY_PAGES / 2) * 2 + 1) * PAGE;
        }
    }
    if (cfg->type == VTD_WALK_NESTED && !one_in(4)) {
        /* A second stage that maps the tables of the first */
        uint64_t pdpt = 3 * PAGE, pd = 5 * PAGE;

        m->entry[cfg->ss_root / 8] = pdpt | SR | SW;
        m->entry[pdpt / 8] = pd | SR | SW;
        m->entry[pd / 8] = one_in(2) ? PS | SR | SW : 7 * PAGE | SR | SW;
        for (unsigned i = 0; i < 512; i++) {
            m->entry[7 * 512 + i] = (i * PAGE) | SR | (one_in(9) ? 0 : SW);
        }
    }
}

static void random_request(IOMMUWalkRequest *req, const VTDWalkConfig *cfg)
{
    uint64_t pages = one_in(3) ? 1 + below(4) : 1 + below(2000);
    uint64_t first = rnd();

    first &= one_in(2) ? (1ull << 57) - 1 : (1ull << (22 + below(26))) - 1;
    first &= -PAGE;
    if (one_in(8)) {
        first |= 0xffffull << 48;
    }
    req->first = first;
    req->last = first + pages * PAGE - 1;
    if (req->last < first) {
        req->last = UINT64_MAX;
    }
    req->priv = cfg->type != VTD_WALK_SECOND_STAGE && one_in(3);
    req->untranslated = one_in(4);
    if (req->untranslated) {
        req->want = one_in(2) ? IOMMU_RO : IOMMU_WO;
        req->last = first + PAGE - 1;
    } else {
        req->want = one_in(3) ? IOMMU_RO : IOMMU_RW;
    }
    req->pasid = rnd() & 0xfffff;
}

static void test_random(void **state)
{
    unsigned steps = env_number("WALK_TEST_STEPS", 3000);
    WalkMemory *m = walk_memory_new();
    g_autofree uint64_t *before = g_malloc(sizeof(m->entry));
    g_autofree uint64_t *model = g_malloc(sizeof(m->entry));
    g_autofree IOMMUTLBEntry *result = g_new0(IOMMUTLBEntry, MAX_RESULTS);
    unsigned mapped = 0, merged = 0;

    for (unsigned step = 0; step < steps; step++) {
        VTDWalkConfig cfg = config(1 + below(3));

        cfg.fs_levels = 4 + below(2);
        cfg.ss_levels = 3 + below(3);
        cfg.ss_width = MIN(48u, 12 + 9 * cfg.ss_levels);
        cfg.write_protect = one_in(2);
        cfg.extended_accessed = one_in(3);
        cfg.no_flag_update = one_in(10);
        random_memory(m, &cfg);
        for (unsigned i = 0; i < 4; i++) {
            IOMMUWalkRequest req = {
                .result = result,
                .max_results = MAX_RESULTS,
            };

            memcpy(before, m->entry, sizeof(m->entry));
            memcpy(model, m->entry, sizeof(m->entry));
            memset(m->dirty, 0, sizeof(m->dirty));
            random_request(&req, &cfg);
            assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
            walk_check_shape(&req, IOMMU_WALK_DONE);
            walk_check_results(&cfg, &req, IOMMU_WALK_DONE, model, UINT64_MAX);
            /* Nested tables may map themselves: then the order matters. */
            if (cfg.type != VTD_WALK_NESTED || req.untranslated) {
                walk_check_memory(m, before, model);
            }
            for (size_t j = 0; j < req.num_results; j++) {
                mapped += !!result[j].perm;
                merged += result[j].perm && result[j].addr_mask != 0xfff;
            }
        }
    }
    /* The test needs enough mapped pages. */
    assert_true(mapped > steps);
    assert_true(merged > steps / 4);
    g_free(m);
}

/* Tests of single rules */

static unsigned next_page;
static IOMMUTLBEntry res[64];

/* Builds the tables for a 4 KiB page */
static uint64_t *map_page(WalkMemory *m, hwaddr root, unsigned levels,
                          uint64_t va, uint64_t e, uint64_t table_bits)
{
    hwaddr table = root;

    for (unsigned level = levels; level > 1; level--) {
        uint64_t *slot = &m->entry[table / 8 +
                                   (va / walk_entry_size(level)) % 512];

        if (!*slot) {
            *slot = (uint64_t)next_page++ * PAGE | table_bits;
        }
        table = *slot & ~0xfffull;
    }
    m->entry[table / 8 + (va / PAGE) % 512] = e;
    return &m->entry[table / 8 + (va / PAGE) % 512];
}

static uint64_t *map_first(WalkMemory *m, uint64_t va, uint64_t e)
{
    return map_page(m, 0, 4, va, e, P | RW | US);
}

static uint64_t *map_second(WalkMemory *m, uint64_t gpa, uint64_t e)
{
    return map_page(m, PAGE, 4, gpa, e, SR | SW);
}

static WalkMemory *rule_memory(void)
{
    next_page = 2;
    memset(res, 0, sizeof(res));
    return walk_memory_new();
}

/* 3.8: maps the tables of the first stage to themselves in the second stage */
static void map_tables_of_first(WalkMemory *m)
{
    next_page = 8;
    for (unsigned i = 0; i < 16; i++) {
        map_second(m, i * PAGE, i * PAGE | SR | SW);
    }
}

static IOMMUWalkRequest request_for(uint64_t first, uint64_t pages)
{
    return (IOMMUWalkRequest) {
        .first = first,
        .last = first + pages * PAGE - 1,
        .want = IOMMU_RW,
        .result = res,
        .max_results = ARRAY_SIZE(res),
    };
}

static void assert_result(unsigned i, uint64_t iova, hwaddr out, uint64_t size,
                          IOMMUAccessFlags perm)
{
    assert_int_equal(res[i].iova, iova);
    assert_int_equal(res[i].translated_addr, out);
    assert_int_equal(res[i].addr_mask, size - 1);
    assert_int_equal(res[i].perm, perm);
}

/* A hole has the size of the entry that is not present */
static void test_hole_size(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_FIRST_STAGE);
    IOMMUWalkRequest req = request_for(0x40000000 + 0x3000, 1);

    map_first(m, 0x5000, 0x123000 | P | RW | US);
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(req.num_results, 1);
    assert_result(0, 0x40000000, 0, 1ull << 30, IOMMU_NONE);

    req = request_for(0x200000, 1);
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
    assert_result(0, 0x200000, 0, 1ull << 21, IOMMU_NONE);

    /* SGN.1 */
    req = request_for(1ull << 47, 1);
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(req.fault, VTD_FR_FS_NON_CANONICAL);
    assert_result(0, 1ull << 47, 0, 1ull << 47, IOMMU_NONE);
}

/* Contiguous small pages become one element, if aligned */
static void test_merge(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_FIRST_STAGE);
    IOMMUWalkRequest req = request_for(0, 16);

    for (unsigned i = 0; i < 16; i++) {
        map_first(m, i * PAGE, (0x100000 + i * PAGE) | P | RW | US);
    }
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(req.num_results, 1);
    assert_result(0, 0, 0x100000, 16 * PAGE, IOMMU_RW);

    req = request_for(PAGE, 3);
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(req.num_results, 2);
    assert_result(0, PAGE, 0x101000, PAGE, IOMMU_RW);
    assert_result(1, 2 * PAGE, 0x102000, 2 * PAGE, IOMMU_RW);

    /* If the result is full, its elements are valid. */
    req = request_for(PAGE, 3);
    req.max_results = 1;
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_FULL);
    assert_int_equal(req.num_results, 1);
    assert_result(0, PAGE, 0x101000, PAGE, IOMMU_RW);
}

/* 3.6.2: A is set after the permission check, D whenever W is granted */
static void test_accessed_dirty(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_FIRST_STAGE);
    uint64_t *user = map_first(m, 0, 0x100000 | P | RW | US | A);
    uint64_t *super = map_first(m, PAGE, 0x101000 | P | RW);
    IOMMUWalkRequest req = request_for(0, 1);

    req.want = IOMMU_RO;
    vtd_walk(&m->mem, &cfg, &req);
    assert_result(0, 0, 0x100000, PAGE, IOMMU_RO);
    assert_false(*user & D);

    /* A was set before: D must be set nevertheless. */
    req = request_for(0, 1);
    vtd_walk(&m->mem, &cfg, &req);
    assert_result(0, 0, 0x100000, PAGE, IOMMU_RW);
    assert_true(*user & D);

    req = request_for(PAGE, 1);
    vtd_walk(&m->mem, &cfg, &req);
    assert_int_equal(req.fault, VTD_FR_FS_PAGING_ENTRY_US);
    assert_false(*super & (A | D));

    req = request_for(PAGE, 1);
    req.priv = true;
    cfg.extended_accessed = true;
    vtd_walk(&m->mem, &cfg, &req);
    assert_int_equal(*super & (A | D | EA), A | D | EA);
}

/* Table 30, S.1 and S.2: the interrupt range of requests without PASID */
static void test_interrupt_input(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_PASS_THROUGH);
    IOMMUWalkRequest req = request_for(0xfedff000, 0x102);

    req.interrupt_input = true;
    vtd_walk(&m->mem, &cfg, &req);
    assert_int_equal(req.num_results, 3);
    assert_result(0, 0xfec00000, 0xfec00000, 0x200000, IOMMU_RW);
    assert_result(1, 0xfee00000, 0, 0x100000,
                  IOMMU_WO | IOMMU_UNTRANSLATED_ONLY);
    assert_result(2, 0xfef00000, 0xfef00000, 0x100000, IOMMU_RW);
    assert_int_equal(req.error, 0);

    req = request_for(0xfee00000, 1);
    req.interrupt_input = true;
    req.want = IOMMU_RO;
    vtd_walk(&m->mem, &cfg, &req);
    assert_result(0, 0xfee00000, 0, 0x100000, IOMMU_NONE);
    assert_int_equal(req.error, 0);

    /* S.3: with PASID, too, if addresses pass through */
    req = request_for(0xfee00000, 1);
    vtd_walk(&m->mem, &cfg, &req);
    assert_result(0, 0xfee00000, 0, 0x100000, IOMMU_NONE);
    assert_int_equal(req.fault, VTD_FR_SM_INTERRUPT_ADDR);

    /* A result next to the range is not affected. */
    req = request_for(0xfedff000, 1);
    req.interrupt_input = req.untranslated = true;
    req.want = IOMMU_RO;
    vtd_walk(&m->mem, &cfg, &req);
    assert_int_equal(req.num_results, 1);
    assert_result(0, 0xfec00000, 0xfec00000, 0x200000, IOMMU_RW);

    /* SGN.4: host address width */
    req = request_for(1ull << 48, 1);
    vtd_walk(&m->mem, &cfg, &req);
    assert_int_equal(req.fault, VTD_FR_SM_ADDR_BEYOND_HAW);
    assert_int_equal(req.error, 0);
}

/* 3.8: a page of the first stage that the second stage cuts into pieces */
static void test_nested_cut(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_NESTED);
    uint64_t *pde = &m->entry[2 * 512];
    IOMMUWalkRequest req = request_for(0, 4);

    map_tables_of_first(m);
    m->entry[0] = 4 * PAGE | P | RW | US;
    m->entry[4 * 512] = 2 * PAGE | P | RW | US;
    *pde = 0x400000 | P | RW | US | PS;
    map_second(m, 0x400000, 0x900000 | SR);
    map_second(m, 0x401000, 0x901000 | SR);
    map_second(m, 0x402000, 0x950000 | SR | SW);

    req.want = IOMMU_RW;
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(req.num_results, 3);
    assert_result(0, 0, 0x900000, 2 * PAGE, IOMMU_RO);
    assert_result(1, 2 * PAGE, 0x950000, PAGE, IOMMU_RW);
    assert_result(2, 3 * PAGE, 0, PAGE, IOMMU_NONE);
    assert_int_equal(req.fault, VTD_FR_SS_PAGING_ENTRY_P);
    assert_int_equal(req.error, 0);
    assert_int_equal(*pde & (A | D), A | D);
}

/*
 * 3.6.2: flags are set by a locked operation.  It must not undo a vCPU's
 * protection of the page after the walk has read the entry.
 */
static void test_entry_change(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_NESTED);
    IOMMUWalkRequest req = request_for(0, 1);
    uint64_t *entry;

    map_tables_of_first(m);
    map_second(m, 0x40000000, 0x900000 | SR | SW);
    entry = map_first(m, 0, 0x40000000 | P | RW | US);
    vtd_walk(&m->mem, &cfg, &req);
    assert_result(0, 0, 0x900000, PAGE, IOMMU_RW);

    /* The last table of the walk is one of the second stage for the page. */
    *entry = 0x40000000 | P | RW | US;
    m->change_at = 2 * m->tables;
    m->change_entry = entry - m->entry;
    m->change = RW;
    req = request_for(0, 1);
    vtd_walk(&m->mem, &cfg, &req);
    assert_result(0, 0, 0x900000, PAGE, IOMMU_RO);
    assert_int_equal(*entry, 0x40000000 | P | US | A);
}

/* The second stage loses a table while it cuts a page of the first stage */
static void test_nested_change(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_NESTED);
    IOMMUWalkRequest req = request_for(0, 512);
    uint64_t tables;

    map_tables_of_first(m);
    m->entry[0] = 4 * PAGE | P | RW | US;
    m->entry[4 * 512] = 0x40000000 | P | RW | US | PS;
    map_second(m, 0x40000000, 0x900000 | SR | SW);
    vtd_walk(&m->mem, &cfg, &req);
    tables = m->tables;

    /* After twice as many tables, half of the range has its results. */
    m->change_at = 2 * tables + 1;
    m->change_entry = (m->entry[512] & -PAGE) / 8 + 1;
    m->change = SR | SW;
    req = request_for(0, 1024);
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
    assert_true(m->tables > m->change_at);
    walk_check_shape(&req, IOMMU_WALK_DONE);
    assert_result(0, 0, 0x900000, PAGE, IOMMU_RW);
}

/* 3.7: the input width may end within the root table */
static void test_second_stage_width(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_SECOND_STAGE);
    IOMMUWalkRequest req = request_for((1ull << 48) - PAGE, 2);

    cfg.ss_levels = 5;
    cfg.ss_root = WALK_MEMORY_PAGES * PAGE;
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
    walk_check_shape(&req, IOMMU_WALK_DONE);
    assert_int_equal(req.fault, VTD_FR_SS_ROOT_INV);
}

/* The budget ends the walk of tables that refer to themselves */
static void test_bounded(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_FIRST_STAGE);
    IOMMUWalkRequest req = {
        .first = 0,
        .last = (1ull << 47) - 1,
        .want = IOMMU_RO,
        .result = res,
        .max_results = ARRAY_SIZE(res),
    };

    /* All entries of a table refer to the same one, up to holes of 4 KiB */
    for (unsigned i = 0; i < 512; i++) {
        m->entry[i] = 512 * 8 | P | US;
        m->entry[512 + i] = 2 * 512 * 8 | P | US;
        m->entry[2 * 512 + i] = 3 * 512 * 8 | P | US;
        m->entry[3 * 512 + i] = 0;
    }
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_EXHAUSTED);
    assert_true(req.num_results > 0);
    assert_int_equal(res[0].iova, 0);
}

/* 7.1.3: the same conditions have reasons of their own in legacy mode */
static void test_legacy_reasons(void **state)
{
    static const struct {
        uint64_t entry;
        IOMMUAccessFlags want;
        uint64_t first;
        VTDWalkType type;
        uint8_t legacy;
        uint8_t scalable;
    } cases[] = {
        { 0, IOMMU_RO, PAGE, VTD_WALK_SECOND_STAGE, VTD_FR_READ,
          VTD_FR_SS_PAGING_ENTRY_P },
        { 0, IOMMU_WO, PAGE, VTD_WALK_SECOND_STAGE, VTD_FR_WRITE,
          VTD_FR_SS_PAGING_ENTRY_P },
        { SR, IOMMU_WO, PAGE, VTD_WALK_SECOND_STAGE, VTD_FR_WRITE,
          VTD_FR_SM_WRITE },
        { SW, IOMMU_RO, PAGE, VTD_WALK_SECOND_STAGE, VTD_FR_READ,
          VTD_FR_SM_READ },
        { SR | 1ull << 51, IOMMU_RO, PAGE, VTD_WALK_SECOND_STAGE,
          VTD_FR_PAGING_ENTRY_RSVD, VTD_FR_SS_PAGING_ENTRY_RSVD },
        { SR | 0xfee00000, IOMMU_RO, PAGE, VTD_WALK_SECOND_STAGE,
          VTD_FR_INTERRUPT_ADDR, VTD_FR_SM_INTERRUPT_ADDR },
        { 0, IOMMU_RO, 1ull << 48, VTD_WALK_SECOND_STAGE,
          VTD_FR_ADDR_BEYOND_MGAW, VTD_FR_SM_ADDR_BEYOND_MGAW },
        { 0, IOMMU_RO, 1ull << 48, VTD_WALK_PASS_THROUGH,
          VTD_FR_ADDR_BEYOND_MGAW, VTD_FR_SM_ADDR_BEYOND_HAW },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases) * 2; i++) {
        g_autofree WalkMemory *m = rule_memory();
        VTDWalkConfig cfg = config(cases[i / 2].type);
        IOMMUWalkRequest req = request_for(cases[i / 2].first, 1);
        bool scalable = i & 1;

        map_second(m, PAGE, cases[i / 2].entry);
        cfg.reasons = vtd_walk_reasons(scalable);
        req.want = cases[i / 2].want;
        assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
        assert_int_equal(req.fault, scalable ? cases[i / 2].scalable :
                                               cases[i / 2].legacy);
    }
}

/* LCT.4.3, SSS.4, LSL.1 and SSS.1 (7.1.3): tables that cannot be read */
static void test_tables_beyond_memory(void **state)
{
    for (unsigned i = 0; i < 4; i++) {
        g_autofree WalkMemory *m = rule_memory();
        VTDWalkConfig cfg = config(VTD_WALK_SECOND_STAGE);
        IOMMUWalkRequest req = request_for(0, 1);
        bool root = i & 2, scalable = i & 1;

        cfg.reasons = vtd_walk_reasons(scalable);
        if (root) {
            cfg.ss_root = WALK_MEMORY_PAGES * PAGE;
        }
        m->entry[512] = WALK_MEMORY_PAGES * PAGE | SR | SW;
        vtd_walk(&m->mem, &cfg, &req);
        assert_int_equal(req.fault,
                         root ? (scalable ? VTD_FR_SS_ROOT_INV :
                                            VTD_FR_CONTEXT_ENTRY_INV) :
                                (scalable ? VTD_FR_SS_PAGING_ENTRY_INV :
                                            VTD_FR_PAGING_ENTRY_INV));
        assert_int_equal(req.error, req.fault);
    }
}

/* Results for pass-through are cut at the bounds of special ranges */
static void test_pass_through_blocks(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_PASS_THROUGH);
    IOMMUWalkRequest req = request_for(0xfef00000, 0x1101);

    req.interrupt_input = true;
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(req.num_results, 3);
    assert_result(0, 0xfef00000, 0xfef00000, 0x100000, IOMMU_RW);
    assert_result(1, 0xff000000, 0xff000000, 0x1000000, IOMMU_RW);
    assert_result(2, 1ull << 32, 1ull << 32, 1ull << 32, IOMMU_RW);

    /* The result is full in each part of the range in turn. */
    req = request_for(0xfef00000, 0x1101);
    req.interrupt_input = true;
    req.max_results = 1;
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_FULL);
    assert_result(0, 0xfef00000, 0xfef00000, 0x100000, IOMMU_RW);
    for (unsigned room = 1; room <= 2; room++) {
        req = request_for(0xfedff000, 0x102);
        req.interrupt_input = true;
        req.max_results = room;
        assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_FULL);
        assert_int_equal(req.num_results, room);
    }

    /* SGN.4: the end of host addresses */
    req = request_for((1ull << 48) - PAGE, 2);
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(req.fault, VTD_FR_SM_ADDR_BEYOND_HAW);
    walk_check_shape(&req, IOMMU_WALK_DONE);
    assert_result(req.num_results - 1, 1ull << 48, 0, 1ull << 48, IOMMU_NONE);
}

/* S.2, S.3: the fault of an earlier address remains the first one */
static void test_interrupt_input_after_fault(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_SECOND_STAGE);
    IOMMUWalkRequest req = request_for(0xfedff000, 0x102);

    req.interrupt_input = true;
    req.want = IOMMU_RO;
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(req.fault, VTD_FR_SS_PAGING_ENTRY_P);
    walk_check_shape(&req, IOMMU_WALK_DONE);
}

/* SGN.1: a range over all addresses that are not canonical */
static void test_not_canonical_range(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_FIRST_STAGE);
    IOMMUWalkRequest req = {
        .first = (1ull << 47) - PAGE,
        .last = UINT64_MAX - PAGE,
        .want = IOMMU_RO,
        .result = res,
        .max_results = ARRAY_SIZE(res),
    };

    m->entry[511] = 2 * PAGE | P | RW | US;
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
    walk_check_shape(&req, IOMMU_WALK_DONE);
    assert_int_equal(req.fault, VTD_FR_FS_PAGING_ENTRY_P);
    req.first = 1ull << 47;
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
    assert_int_equal(req.fault, VTD_FR_FS_NON_CANONICAL);

    /* The result has no room for the addresses that are not canonical. */
    req.first = (1ull << 47) - PAGE;
    req.max_results = 1;
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_FULL);
    assert_int_equal(req.num_results, 1);
}

/* The result is full at a page or a hole, at any level of each stage */
static void test_result_full(void **state)
{
    static const struct {
        VTDWalkType type;
        uint64_t entries[2];
    } cases[] = {
        { VTD_WALK_FIRST_STAGE, { P | RW | US, PAGE | RW | US } },
        { VTD_WALK_FIRST_STAGE, { P | US, P | RW | US | 0x200000 } },
        { VTD_WALK_FIRST_STAGE, { P | RW | US, P | US | 0xfee00000 } },
        { VTD_WALK_SECOND_STAGE, { SR | SW, 0 } },
        { VTD_WALK_SECOND_STAGE, { SR, SR | SW } },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases) * 3; i++) {
        g_autofree WalkMemory *m = rule_memory();
        VTDWalkConfig cfg = config(cases[i / 3].type);
        uint64_t size = walk_entry_size(1 + i % 3);
        bool first_stage = cfg.type == VTD_WALK_FIRST_STAGE;
        hwaddr root = first_stage ? cfg.fs_root : cfg.ss_root;
        IOMMUWalkRequest req = request_for(0, 2 * size / PAGE);

        for (unsigned e = 0; e < 2; e++) {
            uint64_t entry = cases[i / 3].entries[e];
            hwaddr table = root;

            for (unsigned level = 4; level > 1 + i % 3; level--) {
                hwaddr next = (2 + level) * PAGE;

                m->entry[table / 8] = next |
                                      (first_stage ? P | RW | US : SR | SW);
                table = next;
            }
            m->entry[table / 8 + e] = i % 3 ? (entry & 0xfff) | PS : entry;
            m->entry[table / 8 + e] |= (hwaddr)e * 2 * size;
        }
        req.max_results = 1;
        assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_FULL);
        assert_int_equal(req.num_results, 1);
        assert_int_equal(res[0].addr_mask, size - 1);
    }
}

/* 3.8: the result is full where the second stage has no page, or cuts one */
static void test_nested_result_full(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_NESTED);
    IOMMUWalkRequest req = request_for(0, 2);

    map_tables_of_first(m);
    map_second(m, 0x40000000, 0x900000 | SR | SW);
    map_first(m, 0, 0x40000000 | P | RW | US);
    map_first(m, PAGE, 0x40001000 | P | RW | US);
    req.max_results = 1;
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_FULL);
    assert_result(0, 0, 0x900000, PAGE, IOMMU_RW);

    m->entry[4 * 512] = 5 * PAGE | P | RW | US;
    m->entry[0] = 4 * PAGE | P | RW | US;
    m->entry[5 * 512] = 0x40000000 | P | RW | US | PS;
    req = request_for(0, 2);
    req.max_results = 1;
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_FULL);
    assert_result(0, 0, 0x900000, PAGE, IOMMU_RW);
}

/* 3.8: an untranslated request for a page that the second stage cuts */
static void test_nested_untranslated(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_NESTED);
    IOMMUWalkRequest req = request_for(PAGE, 1);

    map_tables_of_first(m);
    m->entry[0] = 4 * PAGE | P | RW | US;
    m->entry[4 * 512] = 5 * PAGE | P | RW | US;
    m->entry[5 * 512] = 0x40000000 | P | RW | US | PS;
    map_second(m, 0x40001000, 0x900000 | SR);
    req.untranslated = true;
    req.want = IOMMU_RO;
    vtd_walk(&m->mem, &cfg, &req);
    assert_int_equal(req.fault, 0);
    assert_result(0, PAGE, 0x900000, PAGE, IOMMU_RO);
    assert_int_equal(m->entry[5 * 512] & (A | D), A);

    req = request_for(PAGE, 1);
    req.untranslated = true;
    req.want = IOMMU_WO;
    vtd_walk(&m->mem, &cfg, &req);
    assert_int_equal(req.fault, VTD_FR_SM_WRITE);
    assert_int_equal(m->entry[5 * 512] & (A | D), A);
}

/* SFS.5: an output address of the first stage is too wide for the second */
static void test_nested_too_wide(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_NESTED);
    IOMMUWalkRequest req = request_for(0, 1);

    map_tables_of_first(m);
    map_first(m, 0, 1ull << 39 | P | RW | US);
    cfg.ss_width = 39;
    cfg.ss_levels = 3;
    /* The table of level 3 becomes the root. */
    cfg.ss_root = m->entry[512] & -PAGE;
    vtd_walk(&m->mem, &cfg, &req);
    assert_int_equal(req.fault, VTD_FR_FS_ADDR_BEYOND_MGAW);
    assert_int_equal(req.error, 0);
    assert_result(0, 0, 0, PAGE, IOMMU_NONE);
}

/* 3.6.2: the entry changes while the second stage cuts its page */
static void test_nested_cut_changed(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_NESTED);
    IOMMUWalkRequest req = request_for(0, 1024);
    uint64_t *pde = &m->entry[5 * 512];

    map_tables_of_first(m);
    m->entry[0] = 4 * PAGE | P | RW | US;
    m->entry[4 * 512] = 5 * PAGE | P | RW | US;
    *pde = 0x40000000 | P | RW | US | PS;
    m->entry[5 * 512 + 1] = 0;
    map_second(m, 0x40000000, 0x900000 | SR | SW);
    vtd_walk(&m->mem, &cfg, &req);
    assert_result(0, 0, 0x900000, PAGE, IOMMU_RW);
    assert_int_equal(*pde & (A | D), A | D);

    /* The vCPU clears write permission when the walk reads the last table. */
    *pde &= ~(A | D);
    m->change_at = 2 * m->tables;
    m->change_entry = pde - m->entry;
    m->change = RW;
    req = request_for(0, 1024);
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
    walk_check_shape(&req, IOMMU_WALK_DONE);
    assert_result(0, 0, 0x900000, PAGE, IOMMU_RO);
    assert_int_equal(*pde & (A | D | RW), A);
}

/* 3.6.2: a vCPU's writes to an entry that refers to a table are preserved */
#define WALKS           500000
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

static void test_flags_concurrent(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_FIRST_STAGE);
    QemuThread thread;

    map_first(m, 0, 0x100000 | P | RW | US);
    walks_done = false;
    qemu_thread_create(&thread, "flip", flip_thread, &m->entry[0],
                       QEMU_THREAD_JOINABLE);
    for (unsigned i = 0; i < WALKS; i++) {
        IOMMUWalkRequest req = request_for(0, 1);

        assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_DONE);
        assert_result(0, 0, 0x100000, PAGE, IOMMU_RW);
    }
    qatomic_set(&walks_done, true);
    qemu_thread_join(&thread);
}

/* Results of a request that is blocked as a whole (table 30) */
static void test_blocked(void **state)
{
    IOMMUWalkRequest req = request_for(5 * PAGE, 3);

    assert_int_equal(iommu_walk_blocked(&req, VTD_FR_PASID_ENTRY_P,
                                        vtd_fault_blocks_ats),
                     IOMMU_WALK_DONE);
    assert_int_equal(req.fault, VTD_FR_PASID_ENTRY_P);
    assert_int_equal(req.error, 0);
    walk_check_shape(&req, IOMMU_WALK_DONE);
    assert_int_equal(res[0].perm, IOMMU_NONE);
}

/* 9.7, 9.8: bits that are reserved without a capability */
static void test_reserved(void **state)
{
    VTDWalkRsvd r;

    vtd_walk_rsvd_init(&r, 39, false, false, true);
    assert_true(r.fs.page[3] & PS);
    assert_false(r.fs.page[2] & PS);
    assert_true(r.fs.table[1] & 1ull << 39);
    assert_false(r.fs.table[1] & 1ull << 38);
    assert_true(r.ss_page[2] & VTD_SPTE_SNP);
    assert_true(r.ss_table[1] & VTD_SPTE_SNP);
    assert_false(r.ss_page[2] & VTD_SL_TM);
    assert_true(r.ss_table[2] & VTD_SL_TM);
    vtd_walk_rsvd_init(&r, 39, true, true, false);
    assert_false(r.fs.page[3] & PS);
    assert_true(r.fs.page[4] & PS);
    assert_false(r.ss_page[2] & VTD_SPTE_SNP);
    assert_false(r.ss_table[1] & VTD_SPTE_SNP);
    assert_true(r.ss_table[2] & VTD_SPTE_SNP);
    assert_true(r.ss_page[2] & VTD_SL_TM);
}

/* The budget ends the walk of such tables in the second stage, too */
static void test_bounded_second_stage(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_SECOND_STAGE);
    IOMMUWalkRequest req = request_for(0, 1ull << 36);

    req.want = IOMMU_RO;
    for (unsigned i = 0; i < 512; i++) {
        m->entry[512 + i] = 2 * PAGE | SR;
        m->entry[2 * 512 + i] = 3 * PAGE | SR;
        m->entry[3 * 512 + i] = 4 * PAGE | SR;
    }
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_EXHAUSTED);
    assert_true(req.num_results > 0);
}

static void test_bounded_nested(void **state)
{
    g_autofree WalkMemory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_NESTED);
    IOMMUWalkRequest req = request_for(0, 1ull << 24);

    /* Pages of 1 GiB, for which the second stage has holes of 4 KiB */
    map_tables_of_first(m);
    m->entry[0] = 4 * PAGE | P | RW | US;
    for (unsigned i = 0; i < 512; i++) {
        m->entry[4 * 512 + i] = 0x40000000 | P | RW | US | PS;
        m->entry[20 * 512 + i] = 21 * PAGE | SR | SW;
    }
    m->entry[(m->entry[512] & -PAGE) / 8 + 1] = 20 * PAGE | SR | SW;
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), IOMMU_WALK_EXHAUSTED);
    assert_true(req.num_results > 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hole_size),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_accessed_dirty),
        cmocka_unit_test(test_interrupt_input),
        cmocka_unit_test(test_nested_cut),
        cmocka_unit_test(test_entry_change),
        cmocka_unit_test(test_nested_change),
        cmocka_unit_test(test_second_stage_width),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_bounded_second_stage),
        cmocka_unit_test(test_bounded_nested),
        cmocka_unit_test(test_legacy_reasons),
        cmocka_unit_test(test_tables_beyond_memory),
        cmocka_unit_test(test_pass_through_blocks),
        cmocka_unit_test(test_interrupt_input_after_fault),
        cmocka_unit_test(test_not_canonical_range),
        cmocka_unit_test(test_result_full),
        cmocka_unit_test(test_nested_result_full),
        cmocka_unit_test(test_nested_untranslated),
        cmocka_unit_test(test_nested_too_wide),
        cmocka_unit_test(test_nested_cut_changed),
        cmocka_unit_test(test_flags_concurrent),
        cmocka_unit_test(test_blocked),
        cmocka_unit_test(test_reserved),
        cmocka_unit_test(test_random),
    };

    seed = env_seed("WALK_TEST_SEED");
    vtd_walk_rsvd_init(&rsvd, 48, true, true, false);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
