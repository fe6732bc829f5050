/*
 * Fuzzer of the lookup of VT-d root, context and PASID entries
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The input spoils working tables, changes registers and the memory map, and
 * makes requests.  A plain model, in the order of table 30, tells what a
 * request has to meet; entries that have not been invalidated since they were
 * used may still be in use.  What is found is walked.
 *
 * Section numbers and condition codes are those of the Intel Virtualization
 * Technology for Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/rcu.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/intel_iommu_resolve.h"
#include "tests/fuzz/fuzz-input.h"
#include "tests/unit/fake-memory.h"

#define PAGE            4096ull
#define HAW             48
#define ABOVE_HAW       (~0ull << HAW)
#define MAX_CACHED      256

/* The tables of a guest that works, by page */
enum { ROOT = 1, CONTEXT, UPPER, DIRECTORY, TABLE, FIRST, SECOND };

typedef struct Fuzzer {
    FuzzInput in;
    IntelIOMMUState *s;
    VTDResolver *r;
    unsigned pages;
    unsigned mode;              /* TTM of the root table address register */
    /* What has been used since the last invalidation */
    VTDTarget cached[MAX_CACHED];
    unsigned n_cached;
} Fuzzer;

static const uint16_t sids[] = { 0x0020, 0x00a0, 0x0120 };

/* ---- The model ---- */

static bool read_words(const Fuzzer *f, hwaddr addr, uint64_t *val, unsigned n)
{
    if (addr >= f->pages * PAGE) {
        return false;
    }
    memcpy(val, &fake_memory[addr / 8], n * 8);
    return true;
}

static bool has(const Fuzzer *f, uint64_t ecap)
{
    return f->s->ecap & ecap;
}

/* The second stage's AW field: 39 and 48 bits are supported */
static bool second_stage(VTDWalkConfig *walk, uint64_t aw, uint64_t root)
{
    walk->ss_levels = aw + 2;
    walk->ss_width = aw == 1 ? 39 : 48;
    walk->ss_root = root;
    return aw == 1 || aw == 2;
}

static uint8_t model_root(const Fuzzer *f, uint16_t sid, uint64_t *table)
{
    bool scalable = f->s->root_scalable;
    uint64_t re[2];
    unsigned half = scalable && (sid & 0x80);

    if (!read_words(f, f->s->root + (sid >> 8) * 16, re, 2)) {
        return scalable ? VTD_FR_SM_ROOT_TABLE_INV : VTD_FR_ROOT_TABLE_INV;
    }
    if (!(re[half] & 1)) {
        return scalable ? VTD_FR_SM_ROOT_ENTRY_P : VTD_FR_ROOT_ENTRY_P;
    }
    if ((re[half] & (0xffe | ABOVE_HAW)) || (!scalable && re[1])) {
        return scalable ? VTD_FR_SM_ROOT_ENTRY_RSVD : VTD_FR_ROOT_ENTRY_RSVD;
    }
    *table = re[half] & ~0xfffull;
    return 0;
}

static uint8_t model_legacy_context(const Fuzzer *f, uint16_t sid,
                                    VTDTarget *t)
{
    uint64_t table, ce[2];
    uint8_t fault = model_root(f, sid, &table);

    if (fault) {
        return fault;
    }
    if (!read_words(f, table + (sid & 0xff) * 16, ce, 2)) {
        return VTD_FR_CONTEXT_TABLE_INV;
    }
    t->fpd = ce[0] & 2;
    t->ats = (ce[0] >> 2 & 3) == 1;
    if (!(ce[0] & 1)) {
        return VTD_FR_CONTEXT_ENTRY_P;
    }
    if ((ce[0] & (0xff0 | ABOVE_HAW)) || (ce[1] & 0xffffffffff000080ull)) {
        return VTD_FR_CONTEXT_ENTRY_RSVD;
    }
    if (!second_stage(&t->walk, ce[1] & 7, ce[0] & ~0xfffull)) {
        return VTD_FR_CONTEXT_ENTRY_INV;
    }
    t->walk.type = (ce[0] >> 2 & 3) == 2 ? VTD_WALK_PASS_THROUGH :
                                           VTD_WALK_SECOND_STAGE;
    t->domain = ce[1] >> 8 & 0xffff;
    switch (ce[0] >> 2 & 3) {
    case 0:
        return 0;
    case 1:
        return has(f, VTD_ECAP_DT) ? 0 : VTD_FR_CONTEXT_ENTRY_INV;
    case 2:
        return has(f, VTD_ECAP_PT) ? 0 : VTD_FR_CONTEXT_ENTRY_INV;
    default:
        return VTD_FR_CONTEXT_ENTRY_INV;
    }
}

static uint8_t model_scalable_context(const Fuzzer *f, uint16_t sid,
                                      VTDTarget *t, uint64_t *ce)
{
    uint64_t table, limit;
    uint8_t fault = model_root(f, sid, &table);

    if (fault) {
        return fault;
    }
    if (!read_words(f, table + (sid & 0x7f) * 32, ce, 4)) {
        return VTD_FR_SM_CONTEXT_TABLE_INV;
    }
    t->fpd = ce[0] & 2;
    t->ats = ce[0] & 4;
    if (!(ce[0] & 1)) {
        return VTD_FR_SM_CONTEXT_ENTRY_P;
    }
    if ((ce[0] & (0x1e0 | ABOVE_HAW)) || ce[1] >> 20 || ce[2] || ce[3] ||
        ((ce[0] & 4) && !has(f, VTD_ECAP_DT)) ||
        ((ce[0] & 8) && !has(f, VTD_ECAP_PASID)) ||
        ((ce[0] & 16) && !has(f, VTD_ECAP_PRS))) {
        return VTD_FR_SM_CONTEXT_ENTRY_RSVD;
    }
    limit = 1ull << ((ce[0] >> 9 & 7) + 13);
    if (((ce[0] & 16) && !(ce[0] & 4)) || (ce[1] & 0xfffff) >= limit) {
        return VTD_FR_SM_CONTEXT_ENTRY_INV;
    }
    return 0;
}

static bool model_pasid_rsvd(const Fuzzer *f, const uint64_t *pe)
{
    return (pe[0] & (0xe20 | ABOVE_HAW)) ||
           (pe[1] & 0xfffffffffe7f0000ull) ||
           ((pe[1] & 1 << 23) && !has(f, VTD_ECAP_SMPWC)) ||
           ((pe[1] & 1 << 24) && !has(f, VTD_ECAP_SC)) ||
           (pe[2] & (0xf02 | ABOVE_HAW)) ||
           ((pe[2] & 1) && !has(f, VTD_ECAP_SRS)) ||
           ((pe[2] & 1 << 7) && !has(f, VTD_ECAP_EAFS)) ||
           pe[3] || pe[4] || pe[5] || pe[6] || pe[7];
}

/* SPT.3, SPT.4 */
static uint8_t model_pasid_entry(const Fuzzer *f, const uint64_t *pe,
                                 VTDTarget *t)
{
    static const uint64_t needs[] = {
        0, VTD_ECAP_FLTS, VTD_ECAP_SLTS, VTD_ECAP_NEST, VTD_ECAP_PT,
    };
    unsigned type = pe[0] >> 6 & 7;
    unsigned mode = pe[2] >> 2 & 3;
    VTDWalkConfig *walk = &t->walk;

    if (model_pasid_rsvd(f, pe)) {
        return VTD_FR_PASID_ENTRY_RSVD;
    }
    if (type < VTD_WALK_FIRST_STAGE || type > VTD_WALK_PASS_THROUGH ||
        !has(f, needs[type])) {
        return VTD_FR_PASID_TABLE_ENTRY_INV;
    }
    walk->type = type;
    if ((type == VTD_WALK_SECOND_STAGE || type == VTD_WALK_NESTED) &&
        !second_stage(walk, pe[0] >> 2 & 7, pe[0] & ~0xfffull)) {
        return VTD_FR_PASID_TABLE_ENTRY_INV;
    }
    if (type == VTD_WALK_FIRST_STAGE || type == VTD_WALK_NESTED) {
        walk->fs_levels = 4 + mode;
        walk->fs_root = pe[2] & ~0xfffull;
        walk->write_protect = pe[2] & 16;
        walk->extended_accessed = pe[2] & 1 << 7;
        walk->no_flag_update = has(f, VTD_ECAP_SMPWC) && !(pe[1] & 1 << 23);
        if (mode > 1 || (mode && !(f->s->cap & VTD_CAP_FS5LP))) {
            return VTD_FR_PASID_TABLE_ENTRY_INV;
        }
    }
    if (type == VTD_WALK_NESTED && walk->fs_root >> walk->ss_width) {
        return VTD_FR_PASID_TABLE_ENTRY_INV;
    }
    t->privileged = pe[2] & 1;
    t->domain = pe[1] & 0xffff;
    return 0;
}

static uint8_t model_scalable(const Fuzzer *f, uint16_t sid, uint32_t pasid,
                              VTDAddressType at, VTDTarget *t)
{
    uint64_t ce[4], pde, pe[8];
    uint8_t fault = model_scalable_context(f, sid, t, ce);

    if (fault) {
        return fault;
    }
    if (at == VTD_AT_TRANSLATION && !t->ats) {
        return VTD_FR_SM_CONTEXT_ENTRY_DTE;
    }
    if (pasid == PCI_NO_PASID) {
        pasid = ce[1] & 0xfffff;
        t->tag_pasid = pasid;
    } else if (!(ce[0] & 8)) {
        return VTD_FR_SM_CONTEXT_ENTRY_PASIDE;
    } else if (pasid >> 20) {
        return VTD_FR_SM_PASID_BEYOND_PSS;
    } else if (pasid >= 1u << ((ce[0] >> 9 & 7) + 13)) {
        return VTD_FR_SM_PASID_TOO_LARGE;
    } else if (pasid == (ce[1] & 0xfffff)) {
        return VTD_FR_SM_PASID_IS_RID_PASID;
    }
    if (!read_words(f, (ce[0] & ~0xfffull) + (pasid >> 6) * 8, &pde, 1)) {
        return VTD_FR_PASID_DIR_ACCESS_ERR;
    }
    t->fpd |= !!(pde & 2);
    if (!(pde & 1)) {
        return VTD_FR_PASID_DIR_ENTRY_P;
    }
    if (pde & (0xffc | ABOVE_HAW)) {
        return VTD_FR_PASID_DIR_ENTRY_RSVD;
    }
    if (!read_words(f, (pde & ~0xfffull) + (pasid & 63) * 64, pe, 8)) {
        return VTD_FR_PASID_TABLE_ACCESS_ERR;
    }
    t->fpd |= !!(pe[0] & 2);
    if (!(pe[0] & 1)) {
        return VTD_FR_PASID_ENTRY_P;
    }
    return model_pasid_entry(f, pe, t);
}

static bool bad_mode(const Fuzzer *f)
{
    return f->mode > 1 || (f->mode == 1 && !f->s->scalable_mode);
}

static uint8_t model(const Fuzzer *f, uint16_t sid, uint32_t pasid,
                     VTDAddressType at, VTDTarget *t)
{
    uint8_t fault;

    *t = (VTDTarget) { .sid = sid, .pasid = pasid, .tag_pasid = pasid };
    t->walk.haw = HAW;
    t->walk.reasons = vtd_walk_reasons(f->s->root_scalable);
    if (bad_mode(f)) {
        return VTD_FR_RTADDR_INV_TTM;
    }
    if (f->s->root_scalable) {
        return model_scalable(f, sid, pasid, at, t);
    }
    if (pasid != PCI_NO_PASID) {
        return VTD_FR_RTADDR_LEGACY_PASID;
    }
    fault = model_legacy_context(f, sid, t);
    return !fault && at == VTD_AT_TRANSLATION && !t->ats ?
           VTD_FR_CONTEXT_ENTRY_TT : fault;
}

/* ---- Requests ---- */

static bool same_walk(const VTDWalkConfig *a, const VTDWalkConfig *b)
{
    bool first = b->type == VTD_WALK_FIRST_STAGE || b->type == VTD_WALK_NESTED;
    bool second = b->type == VTD_WALK_SECOND_STAGE ||
                  b->type == VTD_WALK_NESTED;

    return a->type == b->type && a->reasons == b->reasons &&
           a->haw == b->haw &&
           (!first || (a->fs_levels == b->fs_levels &&
                       a->fs_root == b->fs_root &&
                       a->write_protect == b->write_protect &&
                       a->extended_accessed == b->extended_accessed &&
                       a->no_flag_update == b->no_flag_update)) &&
           (!second || (a->ss_levels == b->ss_levels &&
                        a->ss_width == b->ss_width &&
                        a->ss_root == b->ss_root));
}

static bool same(const VTDTarget *a, const VTDTarget *b)
{
    return a->fault == b->fault && a->fpd == b->fpd && a->ats == b->ats &&
           a->sid == b->sid && a->pasid == b->pasid &&
           (a->fault || (a->privileged == b->privileged &&
                         a->domain == b->domain &&
                         a->tag_pasid == b->tag_pasid &&
                         same_walk(&a->walk, &b->walk)));
}

static bool is_cached(const Fuzzer *f, const VTDTarget *t)
{
    for (unsigned i = 0; i < f->n_cached; i++) {
        if (same(t, &f->cached[i])) {
            return true;
        }
    }
    return false;
}

static void walk(Fuzzer *f, const VTDTarget *t)
{
    IOMMUTLBEntry result[4];
    IOMMUWalkRequest req = {
        .first = fuzz_take(&f->in, 6) << 12,
        .want = IOMMU_RW,
        .result = result,
        .max_results = ARRAY_SIZE(result),
    };

    req.last = req.first + (2 * PAGE - 1);
    if (req.last > req.first) {
        vtd_walk(&f->r->ram.mem, &t->walk, &req);
        g_assert_cmpuint(req.num_results, <=, ARRAY_SIZE(result));
    }
}

static uint32_t take_pasid(FuzzInput *in)
{
    static const uint32_t pasids[] = {
        PCI_NO_PASID, 0, 1, 63, 64, 8191, 8192, 0xfffff, 0x100000,
    };
    uint8_t i = fuzz_take(in, 1);

    return i < ARRAY_SIZE(pasids) ? pasids[i] : i < 128 ? i % 4 :
           fuzz_take(in, 3);
}

static void resolve(Fuzzer *f, VTDAddressType at)
{
    uint16_t sid = sids[fuzz_take(&f->in, 1) % ARRAY_SIZE(sids)];
    uint32_t pasid = take_pasid(&f->in);
    VTDTarget scratch, expect;
    const VTDTarget *t;

    RCU_READ_LOCK_GUARD();
    expect.fault = model(f, sid, pasid, at, &expect);
    t = vtd_resolve(f->r, sid, pasid, at, &scratch);
    g_assert_true(same(t, &expect) || is_cached(f, t));
    if (t->fault) {
        return;
    }
    g_assert_true(at != VTD_AT_TRANSLATION || t->ats);
    if (f->n_cached < MAX_CACHED) {
        f->cached[f->n_cached++] = *t;
    }
    walk(f, t);
}

/* The context entry alone decides about translated requests (4.2.5) */
static void resolve_translated(Fuzzer *f)
{
    uint16_t sid = sids[fuzz_take(&f->in, 1) % ARRAY_SIZE(sids)];
    uint32_t pasid = take_pasid(&f->in);
    bool scalable = f->s->root_scalable;
    bool fpd = false;
    uint64_t ce[4];
    VTDTarget t = { .fault = 0 };
    uint8_t fault, expect;

    if (bad_mode(f)) {
        expect = VTD_FR_RTADDR_INV_TTM;
    } else if (scalable) {
        expect = model_scalable_context(f, sid, &t, ce);
        expect = !expect && !t.ats ? VTD_FR_SM_CONTEXT_ENTRY_DTE : expect;
    } else {
        expect = model_legacy_context(f, sid, &t);
        expect = !expect && !t.ats ? VTD_FR_CONTEXT_ENTRY_TT : expect;
    }
    if (!expect && pasid != PCI_NO_PASID) {
        expect = scalable ? VTD_FR_SM_TRANSLATED_PASID :
                            VTD_FR_RTADDR_LEGACY_PASID;
    }
    RCU_READ_LOCK_GUARD();
    /* Without a PASID, what was allowed may be remembered */
    vtd_resolver_invalidate(f->r);
    f->n_cached = 0;
    fault = vtd_resolve_translated(f->r, sid, pasid, &fpd);
    g_assert_cmphex(fault, ==, expect);
    if (fault) {
        g_assert_cmpint(fpd, ==, t.fpd);
    }
}

/* ---- The guest ---- */

static uint64_t *take_word(Fuzzer *f)
{
    static const struct {
        unsigned page, first, words;
    } places[] = {
        { ROOT, 0, 4 }, { CONTEXT, 0x20 * 2, 2 }, { CONTEXT, 0x20 * 4, 4 },
        { UPPER, 0x20 * 4, 4 }, { DIRECTORY, 0, 2 }, { TABLE, 0, 32 },
    };
    uint8_t place = fuzz_take(&f->in, 1);
    unsigned i = place % (ARRAY_SIZE(places) + 1);

    if (i == ARRAY_SIZE(places)) {
        return &fake_memory[fuzz_take(&f->in, 2) % FAKE_MEMORY_ENTRIES];
    }
    return &fake_memory[places[i].page * 512 + places[i].first +
                        fuzz_take(&f->in, 1) % places[i].words];
}

static void update(Fuzzer *f)
{
    stq_le_p(&f->s->csr[DMAR_RTADDR_REG], (uint64_t)f->mode << 10);
    f->s->root_scalable = f->mode == 1 && f->s->scalable_mode;
    vtd_resolver_update(f->r);
    f->n_cached = 0;
}

static void take_registers(Fuzzer *f)
{
    uint8_t kind = fuzz_take(&f->in, 1);

    f->mode = kind & 3;
    f->s->root = kind & 4 ? fuzz_take(&f->in, 5) << 12 & ~ABOVE_HAW :
                            ROOT * PAGE;
    f->s->dmar_enabled = kind & 8;
    update(f);
    g_assert_cmpint(vtd_resolver_enabled(f->r), ==, f->s->dmar_enabled);
    g_assert_cmpint(vtd_resolver_scalable(f->r), ==, f->s->root_scalable);
}

static void take_memory_map(Fuzzer *f)
{
    f->pages = fuzz_take(&f->in, 1) % (FAKE_MEMORY_PAGES + 1);
    fake_memory_map(f->pages, MIN(f->pages, 4u));
    /* Tables that are cached are not affected */
}

static void fill_tables(bool scalable)
{
    uint64_t *root = &fake_memory[ROOT * 512];
    uint64_t *entry;

    memset(fake_memory, 0, sizeof(fake_memory));
    root[0] = CONTEXT * PAGE | 1;
    root[1] = scalable ? UPPER * PAGE | 1 : 0;
    for (unsigned page = CONTEXT; scalable && page <= UPPER; page++) {
        entry = &fake_memory[page * 512 + 0x20 * 4];
        entry[0] = DIRECTORY * PAGE | 1 | 4 | 8;
    }
    if (!scalable) {
        entry = &fake_memory[CONTEXT * 512 + 0x20 * 2];
        entry[0] = SECOND * PAGE | 4 | 1;
        entry[1] = 2;
    }
    fake_memory[DIRECTORY * 512] = TABLE * PAGE | 1;
    for (unsigned i = 0; i < 4; i++) {
        entry = &fake_memory[TABLE * 512 + i * 8];
        entry[0] = SECOND * PAGE | 2 << 2 | (i + 1) << 6 | 1;
        entry[1] = 1 << 23;
        entry[2] = FIRST * PAGE;
    }
    fake_memory[FIRST * 512] = FIRST * PAGE | 7;
    fake_memory[SECOND * 512] = SECOND * PAGE | 3;
}

static void start(Fuzzer *f, const uint8_t *data, size_t size)
{
    uint64_t optional = VTD_ECAP_DT | VTD_ECAP_PT | VTD_ECAP_PRS |
                        VTD_ECAP_NEST | VTD_ECAP_SRS | VTD_ECAP_EAFS |
                        VTD_ECAP_PASID | VTD_ECAP_SLTS | VTD_ECAP_FLTS |
                        VTD_ECAP_SMPWC | VTD_ECAP_SC;
    uint8_t kind;

    f->in = (FuzzInput) { data, size };
    kind = fuzz_take(&f->in, 1);
    f->s->ecap = optional | VTD_ECAP_PSS(20);
    if (kind & 2) {
        f->s->ecap ^= optional & fuzz_take(&f->in, 7);
    }
    f->s->cap = VTD_CAP_SAGAW_39bit | VTD_CAP_SAGAW_48bit |
                (kind & 4 ? VTD_CAP_FS5LP : 0);
    f->s->scalable_mode = !(kind & 8);
    f->s->root = ROOT * PAGE;
    f->s->dmar_enabled = true;
    f->mode = kind & 1;
    f->pages = FAKE_MEMORY_PAGES;
    fill_tables(f->mode == 1);
    fake_memory_map(f->pages, 0);
    update(f);
}

static void step(Fuzzer *f)
{
    uint8_t op = fuzz_take(&f->in, 1);

    switch (op & 15) {
    case 0:
    case 1:
    case 2:
        *take_word(f) ^= 1ull << (op >> 4 | (fuzz_take(&f->in, 1) & 3) << 4);
        break;
    case 3:
        *take_word(f) = fuzz_take(&f->in, 8);
        break;
    case 4:
        take_registers(f);
        break;
    case 5:
        take_memory_map(f);
        break;
    case 6:
    case 7:
    case 8:
        vtd_resolver_invalidate(f->r);
        f->n_cached = 0;
        break;
    case 9:
        resolve_translated(f);
        break;
    default:
        resolve(f, op & 1 ? VTD_AT_TRANSLATION : VTD_AT_UNTRANSLATED);
        break;
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static Fuzzer *f;

    if (!f) {
        f = g_new0(Fuzzer, 1);
        f->s = g_new0(IntelIOMMUState, 1);
        f->s->aw_bits = HAW;
        f->s->flts = f->s->fs1gp = true;
        f->r = vtd_resolver_new(f->s);
    }
    start(f, data, size);
    while (f->in.size) {
        step(f);
    }
    return 0;
}
