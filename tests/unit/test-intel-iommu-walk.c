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
#include "qemu/bswap.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/intel_iommu_walk.h"

#define PAGE            4096ull
#define PAGES           64
#define MAX_RESULTS     8192

/* First-stage entry bits (9.7) */
#define P   (1ull << 0)
#define RW  (1ull << 1)
#define US  (1ull << 2)
#define A   (1ull << 5)
#define D   (1ull << 6)
#define PS  (1ull << 7)
#define EA  (1ull << 10)
/* Second-stage entry bits (9.8) */
#define SR  (1ull << 0)
#define SW  (1ull << 1)

AddressSpace address_space_memory;

/* Guest memory is PAGES tables from address 0 on, the last quarter read-only */
typedef struct Memory {
    VTDWalkMem mem;
    uint64_t entry[PAGES * 512];
    bool dirty[PAGES * 512];
} Memory;

static bool is_writable(hwaddr addr)
{
    return addr < PAGES * PAGE * 3 / 4;
}

static uint64_t *map_table(const VTDWalkMem *mem, hwaddr addr, bool *writable)
{
    Memory *m = container_of(mem, Memory, mem);

    assert_int_equal(addr % PAGE, 0);
    if (addr >= PAGES * PAGE) {
        return NULL;
    }
    *writable = is_writable(addr);
    return &m->entry[addr / 8];
}

static void mark_dirty(const VTDWalkMem *mem, uint64_t *table,
                       unsigned first, unsigned last)
{
    Memory *m = container_of(mem, Memory, mem);
    size_t index = table - m->entry;

    assert_true(first <= last && last < 512);
    memset(&m->dirty[index + first], true, last - first + 1);
}

static Memory *memory_new(void)
{
    Memory *m = g_new0(Memory, 1);

    m->mem.map_table = map_table;
    m->mem.mark_dirty = mark_dirty;
    return m;
}

/* splitmix64 */
static uint64_t seed;

static uint64_t rnd(void)
{
    uint64_t z = (seed += 0x9e3779b97f4a7c15ull);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static unsigned below(unsigned n)
{
    return rnd() % n;
}

static bool one_in(unsigned n)
{
    return below(n) == 0;
}

static VTDWalkRsvd rsvd;

static VTDWalkConfig config(VTDWalkType type)
{
    return (VTDWalkConfig) {
        .type = type,
        .scalable = true,
        .fs_levels = 4,
        .fs_root = 0,
        .ss_levels = 4,
        .ss_width = 48,
        .ss_root = PAGE,
        .haw = 48,
        .rsvd = &rsvd,
    };
}

/* The plain model: one 4 KiB page at a time, straight from the specification */

typedef struct Page {
    uint8_t fault;
    IOMMUAccessFlags perm;
    hwaddr out;
} Page;

typedef struct Model {
    const VTDWalkConfig *cfg;
    uint64_t *entry;
    bool priv;
    bool untranslated;
    IOMMUAccessFlags want;
} Model;

static bool in_interrupts(hwaddr first, uint64_t size)
{
    return first < 0xfef00000 && first + size > 0xfee00000;
}

static bool large(uint64_t e, unsigned level)
{
    return level > 1 && (e & PS);
}

static uint64_t size_of(unsigned level)
{
    return 1ull << (12 + 9 * (level - 1));
}

static bool reserved(uint64_t e, unsigned level, bool second)
{
    uint64_t mask = 0x000f000000000000ull;

    if (large(e, level)) {
        if (level > 3) {
            return true;
        }
        mask |= (size_of(level) - 1) & ~0xfffull;
        if (!second) {
            mask &= ~0x1000ull;
        }
    } else if (second && level > 1) {
        mask |= 1ull << 11;
    }
    if (second) {
        mask |= 1ull << 62;
    }
    return e & mask;
}

/* Second stage (3.7); @size is set to the size of the page found */
static Page model_second(const Model *m, uint64_t gpa, uint64_t *size)
{
    Page page = { .perm = IOMMU_RW };
    hwaddr table = m->cfg->ss_root;

    if (gpa >> m->cfg->ss_width) {
        page.fault = m->cfg->type == VTD_WALK_NESTED ? 0x74 : 0x84;
        return page;
    }
    for (unsigned level = m->cfg->ss_levels; ; level--) {
        uint64_t e;

        if (table >= PAGES * PAGE) {
            page.fault = level == m->cfg->ss_levels ? 0x7b : 0x78;
            return page;
        }
        e = m->entry[table / 8 + (gpa / size_of(level)) % 512];
        if (!(e & (SR | SW))) {
            page.fault = 0x79;
            return page;
        }
        if (reserved(e, level, true)) {
            page.fault = 0x7a;
            return page;
        }
        page.perm &= e & 3;
        if (!page.perm) {
            page.fault = 0x79;
            return page;
        }
        if (level == 1 || large(e, level)) {
            *size = size_of(level);
            page.out = (e & 0x000ffffffffff000ull & -*size) +
                       gpa % *size;
            return page;
        }
        table = e & 0x000ffffffffff000ull;
    }
}

/* What a request gets from a page, or why it does not (SGN.6, SGN.7, SGN.8) */
static void model_grant(const Model *m, Page *page, uint64_t size)
{
    IOMMUAccessFlags missing = m->want & ~page->perm;
    IOMMUAccessFlags grant = m->want & page->perm;

    if (m->untranslated ? missing : !grant) {
        page->fault = missing & IOMMU_WO ? 0x85 : 0x86;
    } else if (in_interrupts(m->untranslated ? page->out & -PAGE :
                             page->out & -size,
                             m->untranslated ? PAGE : size)) {
        page->fault = 0x87;
    }
    page->perm = grant;
}

/* Where a first-stage table is, and why its flags cannot be set (3.8.1) */
static uint8_t model_table(const Model *m, bool root, hwaddr *addr,
                           uint8_t *no_update)
{
    *no_update = 0;
    if (m->cfg->type == VTD_WALK_NESTED) {
        uint64_t size;
        Page page = model_second(m, *addr, &size);

        if (page.fault) {
            return page.fault;
        }
        if (!(page.perm & IOMMU_RO)) {
            return root ? 0x75 : 0x76;
        }
        if (!(page.perm & IOMMU_WO)) {
            *no_update = 0x77;
        }
        *addr = page.out;
    }
    if (*addr >= PAGES * PAGE) {
        return root ? 0x73 : 0x70;
    }
    if (!*no_update && !is_writable(*addr)) {
        *no_update = 0x91;
    }
    if (m->cfg->no_flag_update) {
        *no_update = 0x90;
    }
    return 0;
}

static uint8_t model_flags(uint64_t *e, uint64_t flags, uint8_t no_update)
{
    if (flags & ~*e) {
        if (no_update) {
            return no_update;
        }
        *e |= flags;
    }
    return 0;
}

static Page model_first_leaf(const Model *m, uint64_t va, uint64_t *e,
                             unsigned level, bool write, uint8_t no_update)
{
    uint64_t size = size_of(level);
    bool was_dirty = *e & D;
    uint64_t flags = A | (m->cfg->extended_accessed ? EA : 0);
    Page page = {
        .perm = write ? IOMMU_RW : IOMMU_RO,
        .out = (*e & 0x000ffffffffff000ull & -size) + va % size,
    };
    IOMMUAccessFlags have;

    if (m->cfg->type == VTD_WALK_NESTED) {
        uint64_t ss_size;
        Page second = model_second(m, page.out, &ss_size);

        if (second.fault) {
            return second;
        }
        size = MIN(size, ss_size);
        page.perm &= second.perm;
        page.out = second.out;
    }
    have = page.perm;
    model_grant(m, &page, size);
    if (page.fault) {
        return page;
    }
    page.fault = model_flags(e, flags | (page.perm & IOMMU_WO ? D : 0),
                             no_update);
    if (m->untranslated) {
        page.perm |= have & (was_dirty ? IOMMU_RW : IOMMU_RO);
    }
    return page;
}

/* First stage (3.6), nested or not (3.8) */
static Page model_first(const Model *m, uint64_t va)
{
    unsigned levels = m->cfg->fs_levels;
    unsigned width = 12 + 9 * levels;
    int64_t extended = (int64_t)(va << (64 - width)) >> (64 - width);
    hwaddr table = m->cfg->fs_root;
    bool write = true;

    if ((uint64_t)extended != va) {
        return (Page) { .fault = 0x80 };
    }
    for (unsigned level = levels; ; level--) {
        uint8_t no_update;
        Page page = {
            .fault = model_table(m, level == levels, &table, &no_update),
        };
        uint64_t *e;

        if (page.fault) {
            return page;
        }
        e = &m->entry[table / 8 + (va / size_of(level)) % 512];
        page.fault = !(*e & P) ? 0x71 : reserved(*e, level, false) ? 0x72 :
                     !(*e & US) && !m->priv ? 0x81 : 0;
        if (page.fault) {
            return page;
        }
        if (!(*e & RW) && (!m->priv || m->cfg->write_protect)) {
            write = false;
        }
        if (level == 1 || large(*e, level)) {
            return model_first_leaf(m, va, e, level, write, no_update);
        }
        page.fault = model_flags(e, A | (m->cfg->extended_accessed ? EA : 0),
                                 no_update);
        if (page.fault) {
            return page;
        }
        table = *e & 0x000ffffffffff000ull;
    }
}

static Page model_page(const Model *m, uint64_t va)
{
    Page page;
    uint64_t size = PAGE;
    IOMMUAccessFlags have;

    if (m->cfg->type != VTD_WALK_SECOND_STAGE) {
        return model_first(m, va);
    }
    page = model_second(m, va, &size);
    if (!page.fault) {
        have = page.perm;
        model_grant(m, &page, size);
        if (m->untranslated) {
            page.perm = have;
        }
    }
    return page;
}

/* Random tables */

static uint64_t random_entry(bool second)
{
    uint64_t e = (uint64_t)below(PAGES) * PAGE;

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

/* Leaf entries with runs, so that there is something to merge */
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

static void random_memory(Memory *m, const VTDWalkConfig *cfg)
{
    for (unsigned i = 0; i < PAGES; i++) {
        random_table(&m->entry[i * 512], (i & 1) != 0 ||
                     cfg->type == VTD_WALK_SECOND_STAGE);
    }
    /* Get beyond the root now and then: without, half of all would be holes */
    for (unsigned i = 0; i < 512; i++) {
        uint64_t *fs = &m->entry[cfg->fs_root / 8 + i];
        uint64_t *ss = &m->entry[cfg->ss_root / 8 + i];

        if (cfg->type != VTD_WALK_SECOND_STAGE && !one_in(4)) {
            *fs = P | RW | US | (uint64_t)below(PAGES / 2) * 2 * PAGE;
        }
        if (!one_in(4)) {
            *ss = SR | SW | (uint64_t)(below(PAGES / 2) * 2 + 1) * PAGE;
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

static void random_request(VTDWalkRequest *req, const VTDWalkConfig *cfg)
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

static void check_shape(const VTDWalkRequest *req)
{
    uint64_t at = req->first;

    assert_true(req->num_results > 0);
    for (size_t i = 0; i < req->num_results; i++) {
        const IOMMUTLBEntry *e = &req->result[i];
        uint64_t end = e->iova + e->addr_mask;

        assert_int_equal(e->pasid, req->pasid);
        assert_true(is_power_of_2(e->addr_mask + 1));
        assert_int_equal(e->iova & e->addr_mask, 0);
        assert_int_equal(e->translated_addr & e->addr_mask, 0);
        assert_true(e->iova <= at && end >= at);
        assert_true(i == 0 || e->iova == at);
        at = end + 1;
    }
    assert_true(at > req->last || at == 0);
}

static void check_against_model(const VTDWalkConfig *cfg,
                                const VTDWalkRequest *req, uint64_t *entry)
{
    Model m = {
        .cfg = cfg,
        .entry = entry,
        .priv = req->priv,
        .untranslated = req->untranslated,
        .want = req->want,
    };
    uint8_t fault = 0, error = 0;
    size_t i = 0;

    for (uint64_t va = req->first; ; va += PAGE) {
        Page page = model_page(&m, va);
        const IOMMUTLBEntry *e;

        while (req->result[i].iova + req->result[i].addr_mask < va) {
            i++;
        }
        e = &req->result[i];
        if (page.fault) {
            fault = fault ? fault : page.fault;
            if (!error && vtd_fault_blocks_ats(page.fault)) {
                error = page.fault;
            }
            assert_int_equal(e->perm, IOMMU_NONE);
        } else {
            assert_int_equal(e->perm, page.perm);
            assert_int_equal(e->translated_addr + (va - e->iova),
                             page.out & -PAGE);
        }
        if (va + PAGE - 1 >= req->last) {
            break;
        }
    }
    assert_int_equal(req->fault, fault);
    assert_int_equal(req->error, error);
}

static void check_memory(const Memory *m, const uint64_t *before,
                         const uint64_t *model)
{
    for (size_t i = 0; i < ARRAY_SIZE(m->entry); i++) {
        assert_int_equal(m->entry[i], model[i]);
        if (m->entry[i] != before[i]) {
            assert_true(m->dirty[i]);
        }
    }
}

static void test_random(void **state)
{
    const char *env = getenv("WALK_TEST_STEPS");
    unsigned steps = env ? atoi(env) : 3000;
    Memory *m = memory_new();
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
            VTDWalkRequest req = {
                .result = result,
                .max_results = MAX_RESULTS,
            };

            memcpy(before, m->entry, sizeof(m->entry));
            memcpy(model, m->entry, sizeof(m->entry));
            memset(m->dirty, 0, sizeof(m->dirty));
            random_request(&req, &cfg);
            assert_int_equal(vtd_walk(&m->mem, &cfg, &req), VTD_WALK_DONE);
            check_shape(&req);
            check_against_model(&cfg, &req, model);
            /* Nested tables may map themselves, the order then matters */
            if (cfg.type != VTD_WALK_NESTED || req.untranslated) {
                check_memory(m, before, model);
            }
            for (size_t j = 0; j < req.num_results; j++) {
                mapped += !!result[j].perm;
                merged += result[j].perm && result[j].addr_mask != 0xfff;
            }
        }
    }
    /* The model is of no use if hardly anything is mapped */
    assert_true(mapped > steps);
    assert_true(merged > steps / 4);
    g_free(m);
}

/* Rules one by one */

static unsigned next_page;
static IOMMUTLBEntry res[64];

/* Build the tables for a 4 KiB page */
static uint64_t *map_page(Memory *m, hwaddr root, unsigned levels, uint64_t va,
                          uint64_t e, uint64_t table_bits)
{
    hwaddr table = root;

    for (unsigned level = levels; level > 1; level--) {
        uint64_t *slot = &m->entry[table / 8 + (va / size_of(level)) % 512];

        if (!*slot) {
            *slot = (uint64_t)next_page++ * PAGE | table_bits;
        }
        table = *slot & ~0xfffull;
    }
    m->entry[table / 8 + (va / PAGE) % 512] = e;
    return &m->entry[table / 8 + (va / PAGE) % 512];
}

static uint64_t *map_first(Memory *m, uint64_t va, uint64_t e)
{
    return map_page(m, 0, 4, va, e, P | RW | US);
}

static uint64_t *map_second(Memory *m, uint64_t gpa, uint64_t e)
{
    return map_page(m, PAGE, 4, gpa, e, SR | SW);
}

static Memory *rule_memory(void)
{
    next_page = 2;
    memset(res, 0, sizeof(res));
    return memory_new();
}

static VTDWalkRequest ask(uint64_t first, uint64_t pages)
{
    return (VTDWalkRequest) {
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

/* A hole comes with the size of the entry that is not present */
static void test_hole_size(void **state)
{
    g_autofree Memory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_FIRST_STAGE);
    VTDWalkRequest req = ask(0x40000000 + 0x3000, 1);

    map_first(m, 0x5000, 0x123000 | P | RW | US);
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), VTD_WALK_DONE);
    assert_int_equal(req.num_results, 1);
    assert_result(0, 0x40000000, 0, 1ull << 30, IOMMU_NONE);

    req = ask(0x200000, 1);
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), VTD_WALK_DONE);
    assert_result(0, 0x200000, 0, 1ull << 21, IOMMU_NONE);

    /* SGN.1 */
    req = ask(1ull << 47, 1);
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), VTD_WALK_DONE);
    assert_int_equal(req.fault, VTD_FR_FS_NON_CANONICAL);
    assert_result(0, 1ull << 47, 0, 1ull << 47, IOMMU_NONE);
}

/* Contiguous small pages are one element, natural alignment permitting */
static void test_merge(void **state)
{
    g_autofree Memory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_FIRST_STAGE);
    VTDWalkRequest req = ask(0, 16);

    for (unsigned i = 0; i < 16; i++) {
        map_first(m, i * PAGE, (0x100000 + i * PAGE) | P | RW | US);
    }
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), VTD_WALK_DONE);
    assert_int_equal(req.num_results, 1);
    assert_result(0, 0, 0x100000, 16 * PAGE, IOMMU_RW);

    req = ask(PAGE, 3);
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), VTD_WALK_DONE);
    assert_int_equal(req.num_results, 2);
    assert_result(0, PAGE, 0x101000, PAGE, IOMMU_RW);
    assert_result(1, 2 * PAGE, 0x102000, 2 * PAGE, IOMMU_RW);

    /* No room: what is there is valid */
    req = ask(PAGE, 3);
    req.max_results = 1;
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), VTD_WALK_FULL);
    assert_int_equal(req.num_results, 1);
    assert_result(0, PAGE, 0x101000, PAGE, IOMMU_RW);
}

/* 3.6.2: A after the permission check, D whenever W is given out */
static void test_accessed_dirty(void **state)
{
    g_autofree Memory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_FIRST_STAGE);
    uint64_t *user = map_first(m, 0, 0x100000 | P | RW | US | A);
    uint64_t *super = map_first(m, PAGE, 0x101000 | P | RW);
    VTDWalkRequest req = ask(0, 1);

    req.want = IOMMU_RO;
    vtd_walk(&m->mem, &cfg, &req);
    assert_result(0, 0, 0x100000, PAGE, IOMMU_RO);
    assert_false(*user & D);

    /* A was set before: D must be set all the same */
    req = ask(0, 1);
    vtd_walk(&m->mem, &cfg, &req);
    assert_result(0, 0, 0x100000, PAGE, IOMMU_RW);
    assert_true(*user & D);

    req = ask(PAGE, 1);
    vtd_walk(&m->mem, &cfg, &req);
    assert_int_equal(req.fault, VTD_FR_FS_PAGING_ENTRY_US);
    assert_false(*super & (A | D));

    req = ask(PAGE, 1);
    req.priv = true;
    cfg.extended_accessed = true;
    vtd_walk(&m->mem, &cfg, &req);
    assert_int_equal(*super & (A | D | EA), A | D | EA);
}

/* Table 30, S.1 and S.2: the interrupt range of requests without PASID */
static void test_interrupt_input(void **state)
{
    g_autofree Memory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_PASS_THROUGH);
    VTDWalkRequest req = ask(0xfedff000, 0x102);

    req.interrupt_input = true;
    vtd_walk(&m->mem, &cfg, &req);
    assert_int_equal(req.num_results, 3);
    assert_result(0, 0xfec00000, 0xfec00000, 0x200000, IOMMU_RW);
    assert_result(1, 0xfee00000, 0, 0x100000,
                  IOMMU_WO | IOMMU_UNTRANSLATED_ONLY);
    assert_result(2, 0xfef00000, 0xfef00000, 0x100000, IOMMU_RW);
    assert_int_equal(req.error, 0);

    req = ask(0xfee00000, 1);
    req.interrupt_input = true;
    req.want = IOMMU_RO;
    vtd_walk(&m->mem, &cfg, &req);
    assert_result(0, 0xfee00000, 0, 0x100000, IOMMU_NONE);
    assert_int_equal(req.error, 0);

    /* SGN.4: host address width */
    req = ask(1ull << 48, 1);
    vtd_walk(&m->mem, &cfg, &req);
    assert_int_equal(req.fault, VTD_FR_SM_ADDR_BEYOND_HAW);
    assert_int_equal(req.error, 0);
}

/* 3.8: a page of the first stage that the second stage cuts into pieces */
static void test_nested_cut(void **state)
{
    g_autofree Memory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_NESTED);
    uint64_t *pde = &m->entry[2 * 512];
    VTDWalkRequest req = ask(0, 4);

    /* The tables of the first stage are mapped one to one */
    next_page = 8;
    for (unsigned i = 0; i < 16; i++) {
        map_second(m, i * PAGE, i * PAGE | SR | SW);
    }
    m->entry[0] = 4 * PAGE | P | RW | US;
    m->entry[4 * 512] = 2 * PAGE | P | RW | US;
    *pde = 0x400000 | P | RW | US | PS;
    map_second(m, 0x400000, 0x900000 | SR);
    map_second(m, 0x401000, 0x901000 | SR);
    map_second(m, 0x402000, 0x950000 | SR | SW);

    req.want = IOMMU_RW;
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), VTD_WALK_DONE);
    assert_int_equal(req.num_results, 3);
    assert_result(0, 0, 0x900000, 2 * PAGE, IOMMU_RO);
    assert_result(1, 2 * PAGE, 0x950000, PAGE, IOMMU_RW);
    assert_result(2, 3 * PAGE, 0, PAGE, IOMMU_NONE);
    assert_int_equal(req.fault, VTD_FR_SS_PAGING_ENTRY_P);
    assert_int_equal(req.error, 0);
    assert_int_equal(*pde & (A | D), A | D);
}

/* Tables that refer to themselves end with the budget, not with the range */
static void test_bounded(void **state)
{
    g_autofree Memory *m = rule_memory();
    VTDWalkConfig cfg = config(VTD_WALK_FIRST_STAGE);
    VTDWalkRequest req = {
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
    assert_int_equal(vtd_walk(&m->mem, &cfg, &req), VTD_WALK_EXHAUSTED);
    assert_true(req.num_results > 0);
    assert_int_equal(res[0].iova, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_hole_size),
        cmocka_unit_test(test_merge),
        cmocka_unit_test(test_accessed_dirty),
        cmocka_unit_test(test_interrupt_input),
        cmocka_unit_test(test_nested_cut),
        cmocka_unit_test(test_bounded),
        cmocka_unit_test(test_random),
    };
    const char *env = getenv("WALK_TEST_SEED");

    seed = env ? g_ascii_strtoull(env, NULL, 0) : time(NULL);
    print_message("# WALK_TEST_SEED=%" PRIu64 "\n", seed);
    vtd_walk_rsvd_init(&rsvd, 48, true, true, false);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
