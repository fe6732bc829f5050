/*
 * Fuzzer of the VT-d page table walker
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The input chooses the configuration, fills guest memory and asks for
 * ranges.  Each answer has to have the shape that IOMMUWalkRequest promises, in
 * a bounded number of steps, and to be that of the plain model, unless the
 * tables change during the walk.
 */

#include "qemu/osdep.h"
#include "tests/fuzz/fuzz-input.h"
#include "tests/unit/intel-iommu-walk-model.h"
#include "hw/i386/intel_iommu_fault.h"

#define MAX_RESULTS     2048
#define MODEL_PAGES     512
/* Walks that use up IOMMU_WALK_BUDGET take long: so many in each input */
#define MAX_LONG_WALKS  1

AddressSpace address_space_memory;

typedef struct Fuzzer {
    FuzzInput in;
    WalkMemory *m;
    VTDWalkConfig cfg;
    VTDWalkRsvd rsvd;
    unsigned long_walks;
    unsigned next_page;
    uint64_t before[WALK_MEMORY_ENTRIES];
    uint64_t model[WALK_MEMORY_ENTRIES];
    IOMMUTLBEntry result[MAX_RESULTS];
} Fuzzer;

/* Most tables are in memory, some are not */
static hwaddr take_root(FuzzInput *in)
{
    return fuzz_take(in, 1) % (WALK_MEMORY_PAGES + 2) * PAGE;
}

static void take_config(Fuzzer *f)
{
    uint8_t kind = fuzz_take(&f->in, 1);
    uint8_t flags = fuzz_take(&f->in, 1);
    unsigned ss_levels = 3 + (flags >> 4) % 3;

    vtd_walk_rsvd_init(&f->rsvd, 48, true, true, false);
    f->cfg = (VTDWalkConfig) {
        .type = VTD_WALK_FIRST_STAGE + kind % VTD_WALK_PASS_THROUGH,
        .reasons = vtd_walk_reasons(true),
        .fs_levels = 4 + fuzz_flag(kind, 2),
        .ss_levels = ss_levels,
        .ss_width = MIN(48u, 12 + 9 * ss_levels),
        .haw = 48,
        .write_protect = fuzz_flag(flags, 0),
        .extended_accessed = fuzz_flag(flags, 1),
        .no_flag_update = fuzz_flag(flags, 2),
        .fs_root = take_root(&f->in),
        .ss_root = take_root(&f->in),
        .rsvd = &f->rsvd,
    };
}

/* An entry that looks like one, or any number */
static uint64_t take_entry(FuzzInput *in, uint8_t how)
{
    uint64_t e;

    if (how & 1) {
        return fuzz_take(in, 8);
    }
    e = fuzz_take(in, 2) & 0xfff;
    if (e & PS) {
        return e | (fuzz_take(in, 2) << 21);
    }
    return e | (fuzz_take(in, 1) * PAGE);
}

/* Entries in a row that go on from each other */
static void fill(Fuzzer *f, uint8_t how)
{
    unsigned index = fuzz_take(&f->in, 2);
    unsigned run = how & 2 ? 1 + fuzz_take(&f->in, 1) * 2 : 1;
    uint64_t e = take_entry(&f->in, how);
    uint64_t step = how & 4 ? fuzz_take(&f->in, 1) * PAGE : PAGE;

    for (unsigned i = 0; i < run; i++, e += step) {
        f->m->entry[(index + i) % WALK_MEMORY_ENTRIES] = e;
    }
}

/* A table that maps all of a level, one entry for each page of memory */
static void fill_identity(Fuzzer *f)
{
    unsigned page = fuzz_take(&f->in, 1) % WALK_MEMORY_PAGES;
    uint64_t flags = fuzz_take(&f->in, 1);

    for (unsigned i = 0; i < 512; i++) {
        f->m->entry[page * 512 + i] = i * PAGE | flags;
    }
}

/* A run of pages, with the tables on the way to them */
static void fill_path(Fuzzer *f, bool second)
{
    uint64_t at = fuzz_take(&f->in, 6) * PAGE;
    uint8_t how = fuzz_take(&f->in, 1);
    uint64_t bits = second ? SR | SW : P | RW | US;
    unsigned level = second ? f->cfg.ss_levels : f->cfg.fs_levels;
    unsigned leaf = 1 + (how & 3) % 3;
    hwaddr table = second ? f->cfg.ss_root : f->cfg.fs_root;
    unsigned index;

    for (; table < WALK_MEMORY_PAGES * PAGE; level--) {
        uint64_t *e;

        index = table / 8 + (at / walk_entry_size(level)) % 512;
        if (level == leaf) {
            break;
        }
        e = &f->m->entry[index];
        if (!*e) {
            *e = (uint64_t)(f->next_page++ % WALK_MEMORY_PAGES) * PAGE | bits;
        }
        table = *e & 0xffffffff000ull;
    }
    if (table < WALK_MEMORY_PAGES * PAGE) {
        uint64_t e = bits | (leaf > 1 ? PS : 0) | A | (how & 4 ? D : 0) |
                     fuzz_take(&f->in, 1) % 16 * walk_entry_size(leaf);

        for (unsigned i = 0; i <= how >> 3; i++) {
            f->m->entry[(index + i) % WALK_MEMORY_ENTRIES] =
                e + i * walk_entry_size(leaf);
        }
    }
}

/* A vCPU that changes an entry while the walk is under way */
static void take_change(Fuzzer *f)
{
    f->m->change_at = f->m->tables + 1 + fuzz_take(&f->in, 1);
    f->m->change_entry = fuzz_take(&f->in, 2) % WALK_MEMORY_ENTRIES;
    f->m->change = fuzz_take(&f->in, 3);
}

static void take_request(Fuzzer *f, IOMMUWalkRequest *req)
{
    uint8_t flags = fuzz_take(&f->in, 1);
    uint8_t size = fuzz_take(&f->in, 1);
    uint64_t page = fuzz_take(&f->in, 6);
    uint64_t pages = size < 0xc0 ? size : 1ull << (size - 0xc0) % 53;

    *req = (IOMMUWalkRequest) {
        .first = page << 12,
        .want = fuzz_flag(flags, 0) ? IOMMU_RO : IOMMU_RW,
        .untranslated = fuzz_flag(flags, 1) && fuzz_flag(flags, 2),
        .priv = fuzz_flag(flags, 3) && f->cfg.type != VTD_WALK_SECOND_STAGE,
        .interrupt_input = fuzz_flag(flags, 4),
        .pasid = fuzz_take(&f->in, 3),
        .result = f->result,
        .max_results = fuzz_flag(flags, 5) ? MAX_RESULTS : 1 + (size & 15),
    };
    if (req->untranslated) {
        req->want = fuzz_flag(flags, 0) ? IOMMU_RO : IOMMU_WO;
        req->interrupt_input = false;
        req->max_results = 1;
        req->last = req->first + (PAGE - 1);
        return;
    }
    req->last = req->first + (MAX(pages, 1) * PAGE - 1);
    if (req->last < req->first || fuzz_flag(flags, 6)) {
        req->last = MAX(req->first, UINT64_MAX - (req->pasid & 0xff) * PAGE);
    }
    if (req->last - req->first >= MODEL_PAGES * PAGE &&
        f->long_walks++ >= MAX_LONG_WALKS) {
        req->last = req->first + (MODEL_PAGES * PAGE - 1);
    }
}

static void walk(Fuzzer *f)
{
    WalkMemory *m = f->m;
    IOMMUWalkRequest req;
    IOMMUWalkStatus status;
    uint64_t tables = m->tables;
    bool changes = m->change_at > tables;
    bool all;

    take_request(f, &req);
    memcpy(f->before, m->entry, sizeof(m->entry));
    memcpy(f->model, m->entry, sizeof(m->entry));
    memset(m->dirty, 0, sizeof(m->dirty));

    status = vtd_walk(&m->mem, &f->cfg, &req);
    walk_check_shape(&req, status);
    /* Each entry asks for its table, and for that through a second stage */
    g_assert_cmpuint(m->tables - tables, <=,
                     2 * VTD_WALK_MAX_LEVELS * (IOMMU_WALK_BUDGET + 8ull));
    if (changes) {
        m->change_at = 0;
        return;
    }
    all = walk_check_results(&f->cfg, &req, status, f->model, MODEL_PAGES);
    /* Nested tables may map themselves, the order then matters */
    if (all && (f->cfg.type != VTD_WALK_NESTED || req.untranslated)) {
        walk_check_memory(m, f->before, f->model);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Fuzzer *f;

    if (!f) {
        f = g_new0(Fuzzer, 1);
        f->m = walk_memory_new();
    }
    f->in = (FuzzInput) { data, size };
    f->long_walks = 0;
    f->next_page = 0;
    f->m->change_at = 0;
    memset(f->m->entry, 0, sizeof(f->m->entry));
    take_config(f);
    while (f->in.size) {
        uint8_t op = fuzz_take(&f->in, 1);

        switch (op & 7) {
        case 0:
            take_change(f);
            break;
        case 1:
            fill_identity(f);
            break;
        case 2:
        case 3:
            fill_path(f, op & 1);
            break;
        case 4:
        case 5:
            fill(f, op >> 3);
            break;
        default:
            walk(f);
            break;
        }
    }
    return 0;
}
