/*
 * Fuzzer of the device table entries and the page table walker of AMD-Vi
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The input fills memory, chooses device table entries and asks for ranges.
 * Each answer has to have the shape that IOMMUWalkRequest promises, in a
 * bounded number of steps, and to be that of the plain model, unless the tables
 * change during the walk, or are nested: then it matters which of the entries
 * for a page the walk reads.
 */

#include "qemu/osdep.h"
#include "hw/pci/pci.h"
#include "tests/fuzz/fuzz-input.h"
#include "tests/unit/amd-iommu-walk-model.h"

#define MAX_RESULTS     2048
#define MODEL_PAGES     512
/* Walks that use up IOMMU_WALK_BUDGET take long: so many in each input */
#define MAX_LONG_WALKS  1

AddressSpace address_space_memory;

typedef struct Fuzzer {
    FuzzInput in;
    WalkMemory *m;
    AMDVIDTE dte;
    AMDVIDTERules rules;
    uint32_t pasid;
    unsigned long_walks;
    unsigned next_page;
    uint64_t before[WALK_MEMORY_ENTRIES];
    uint64_t model[WALK_MEMORY_ENTRIES];
    IOMMUTLBEntry result[MAX_RESULTS];
} Fuzzer;

/* Most tables are in memory, some are not */
static hwaddr take_table(FuzzInput *in)
{
    return fuzz_take(in, 1) % (WALK_MEMORY_PAGES + 2) * PAGE;
}

/* The limit can be below the base. */
static void take_exclusion(Fuzzer *f)
{
    uint8_t how = fuzz_take(&f->in, 1);

    f->rules.exclude = fuzz_flag(how, 0);
    f->rules.exclude_all = fuzz_flag(how, 1);
    f->rules.exclude_first = fuzz_take(&f->in, fuzz_flag(how, 2) ? 2 : 5) *
                             PAGE;
    f->rules.exclude_last = f->rules.exclude_first +
                            fuzz_take(&f->in, 2) * PAGE - 1;
}

/* Pages at which ranges begin that are treated in different ways */
static uint64_t near_limit(const Fuzzer *f, uint64_t page)
{
    const uint64_t limits[] = {
        0xfee00, 0xfef00, 0xfd00000, 0xfdf8000, 0xfdf9000, 0xfdf9100,
        0xfdf9200, 0xfdfc000, 0xfdfe000, f->rules.exclude_first / PAGE,
        f->rules.exclude_last / PAGE + 1,
    };

    return limits[page % ARRAY_SIZE(limits)] - (page >> 8) % 64;
}

/* Any quadwords, most with pointers to tables in memory */
static void take_dte(Fuzzer *f)
{
    uint8_t how = fuzz_take(&f->in, 1);
    uint64_t quad[AMDVI_DTE_QUADS];

    for (unsigned i = 0; i < AMDVI_DTE_QUADS; i++) {
        quad[i] = fuzz_take(&f->in, 8);
    }
    if (how & 1) {
        quad[0] = (quad[0] & ~0x000ffffffffff07cull) | 3 | take_table(&f->in);
        quad[1] &= 0x3ff0000ffff;
        quad[1] |= (fuzz_take(&f->in, 1) % 8) << 16;
    }
    amdvi_dte_decode(&f->dte, quad);
    f->rules = (AMDVIDTERules) {
        .max_mode = fuzz_flag(how, 1) ? 4 : 6,
        .had = fuzz_flag(how, 2),
        .guest = !fuzz_flag(how, 3),
        .max_glx = fuzz_flag(how, 4) ? 1 : 2,
        .max_guest_levels = fuzz_flag(how, 5) ? 4 : 5,
        .max_pasid = 0x3ffff,
    };
    take_exclusion(f);
    f->pasid = fuzz_flag(how, 6) ? PCI_NO_PASID :
                                   fuzz_take(&f->in, 3) & 0xfffff;
    amdvi_dte_check_interrupt(&f->dte, fuzz_flag(how, 7));
}

/* An entry that looks like one, or any number */
static uint64_t take_entry(FuzzInput *in, uint8_t how)
{
    uint64_t e;

    if (how & 1) {
        return fuzz_take(in, 8);
    }
    e = fuzz_take(in, 2) & 0xfff;
    e |= (how & 8 ? IR | IW : 0) | PR;
    return e | take_table(in) | (how & 16 ? fuzz_take(in, 2) << 21 : 0);
}

/* Entries in a row that go on from each other, or are the same */
static void fill(Fuzzer *f, uint8_t how)
{
    unsigned index = fuzz_take(&f->in, 2);
    unsigned run = how & 2 ? 1 + fuzz_take(&f->in, 1) * 2 : 1;
    uint64_t e = take_entry(&f->in, how);
    uint64_t step = how & 4 ? 0 : PAGE;

    for (unsigned i = 0; i < run; i++, e += step) {
        f->m->entry[(index + i) % WALK_MEMORY_ENTRIES] = e;
    }
}

/* A run of pages, with the host tables on the way to them */
static void fill_path(Fuzzer *f)
{
    uint64_t at = fuzz_take(&f->in, 6) * PAGE;
    uint8_t how = fuzz_take(&f->in, 1);
    unsigned level = f->dte.mode, leaf = 1 + (how & 3) % 3;
    hwaddr table = f->dte.host_root;
    unsigned index;

    if (level < leaf || level > 6) {
        return;
    }
    for (; table < WALK_MEMORY_PAGES * PAGE; level--) {
        uint64_t *e;

        index = table / 8 + (at / walk_entry_size(level)) % 512;
        if (level == leaf) {
            break;
        }
        e = &f->m->entry[index];
        if (!*e) {
            *e = (uint64_t)(f->next_page++ % WALK_MEMORY_PAGES) * PAGE |
                 PR | IR | IW | NEXT(level - 1);
        }
        table = *e & 0xffffffff000ull;
    }
    if (table < WALK_MEMORY_PAGES * PAGE) {
        unsigned bits = how >> 5;
        uint64_t size = walk_entry_size(leaf);
        uint64_t e = PR | IR | (how & 4 ? IW : 0) | (how & 8 ? U : 0) |
                     fuzz_take(&f->in, 1) * size * 128;

        if (bits) {
            e |= NEXT(7) | ((size << bits) / 2 - PAGE);
            index &= -(1u << bits);
        }
        for (unsigned i = 0; i < 1u << bits; i++) {
            f->m->entry[(index + i) % WALK_MEMORY_ENTRIES] = e;
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

static void take_request(Fuzzer *f, IOMMUWalkRequest *req, bool guest)
{
    uint8_t flags = fuzz_take(&f->in, 1);
    uint8_t size = fuzz_take(&f->in, 1);
    uint64_t page = fuzz_take(&f->in, 7);
    uint64_t first = fuzz_flag(flags, 7) ? near_limit(f, page) : page;
    uint64_t pages = size < 0xc0 ? size : 1ull << (size - 0xc0) % 53;

    *req = (IOMMUWalkRequest) {
        .first = first << 12,
        .want = fuzz_flag(flags, 0) ? IOMMU_RO : IOMMU_RW,
        .untranslated = fuzz_flag(flags, 1) && fuzz_flag(flags, 2),
        .priv = fuzz_flag(flags, 3) && guest,
        .interrupt_input = fuzz_flag(flags, 4),
        .pasid = f->pasid,
        .result = f->result,
        .max_results = fuzz_flag(flags, 5) ? MAX_RESULTS : 1 + (size & 15),
    };
    if (req->untranslated) {
        req->want = fuzz_flag(flags, 0) ? IOMMU_RO : IOMMU_WO;
        req->max_results = 1;
        req->last = req->first + (PAGE - 1);
        return;
    }
    req->last = req->first + (MAX(pages, 1) * PAGE - 1);
    if (req->last < req->first || fuzz_flag(flags, 6)) {
        req->last = MAX(req->first | (PAGE - 1), UINT64_MAX - size * PAGE);
    }
    if (req->last - req->first >= MODEL_PAGES * PAGE &&
        f->long_walks++ >= MAX_LONG_WALKS) {
        req->last = req->first + (MODEL_PAGES * PAGE - 1);
    }
}

static void check_walk(Fuzzer *f, const AMDVIWalkConfig *cfg)
{
    WalkMemory *m = f->m;
    uint64_t tables = m->tables;
    bool changes = m->change_at > tables;
    hwaddr unreachable = 0;
    IOMMUWalkRequest req;
    IOMMUWalkStatus status;

    take_request(f, &req, cfg->guest);
    memcpy(f->before, m->entry, sizeof(m->entry));
    memcpy(f->model, m->entry, sizeof(m->entry));
    memset(m->dirty, 0, sizeof(m->dirty));

    status = amdvi_walk(&m->mem, cfg, &req, &unreachable);
    walk_check_shape(&req, status);
    /* Each entry asks for its table, and for that through a second stage */
    g_assert_cmpuint(m->tables - tables, <=,
                     2 * 6 * (IOMMU_WALK_BUDGET + 8ull));
    if (changes) {
        m->change_at = 0;
    } else if (!cfg->guest || !cfg->mode) {
        if (walk_check_results(cfg, &req, status, f->model, MODEL_PAGES)) {
            walk_check_memory(m, f->before, f->model);
        }
    }
}

static void walk(Fuzzer *f)
{
    hwaddr unreachable = 0;
    AMDVIWalkConfig cfg;

    if (!amdvi_dte_check_memory(&f->dte, &f->rules) &&
        !amdvi_walk_setup(&cfg, &f->m->mem, &f->dte, &f->rules, f->pasid,
                          &unreachable)) {
        check_walk(f, &cfg);
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
    take_dte(f);
    while (f->in.size) {
        uint8_t op = fuzz_take(&f->in, 1);

        switch (op & 7) {
        case 0:
            take_change(f);
            break;
        case 1:
            take_dte(f);
            break;
        case 2:
        case 3:
            fill_path(f);
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
