/*
 * VT-d: walks of first-stage, second-stage and nested page tables
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_walk.h"

/* Bits 51:12.  Bits at and above the host address width are reserved. */
#define WALK_ADDR_MASK          0x000ffffffffff000ull

/* Extended-accessed flag of a first-stage entry (9.7) */
#define WALK_FS_EA              (1ull << 10)

typedef struct Walk {
    IOMMUWalk iw;
    const VTDWalkConfig *cfg;
} Walk;

/* ---- Second stage (3.7) ---- */

/* The second stage of a nested walk, and the table that was read last */
typedef struct NestedStage {
    X86SecondStage parent;
    const Walk *w;
    /* Table of 4 KiB pages, or NULL; its input range, and its permissions */
    uint64_t *table;
    uint64_t region;
    IOMMUAccessFlags perm;
} NestedStage;

static uint8_t ss_reason(const Walk *w, IOMMUWalkFault fault)
{
    return w->cfg->reasons->second_stage[fault];
}

/* Legacy mode has no separate reason for entries that are not present. */
static uint8_t ss_not_present(const Walk *w)
{
    IOMMUAccessFlags want = w->iw.req->want;

    return ss_reason(w, IOMMU_WALK_NOT_PRESENT) ?:
           ss_reason(w, want & IOMMU_RO ? IOMMU_WALK_NO_READ :
                                          IOMMU_WALK_NO_WRITE);
}

static uint8_t ss_unreachable(const Walk *w, unsigned level)
{
    return ss_reason(w, level == w->cfg->ss_levels ?
                        IOMMU_WALK_ROOT_UNREACHABLE :
                        IOMMU_WALK_TABLE_UNREACHABLE);
}

static inline bool ss_is_leaf(uint64_t pte, unsigned level)
{
    return level == VTD_PT_LEVEL || (pte & VTD_PT_PAGE_SIZE_MASK);
}

/*
 * Checks an entry, and reduces @perm to the permissions that the entry and its
 * parents grant.  R and W are the bits of IOMMU_RO and IOMMU_WO.
 */
static inline uint8_t ss_check(const Walk *w, uint64_t pte, unsigned level,
                               IOMMUAccessFlags *perm)
{
    const VTDWalkRsvd *rsvd = w->cfg->rsvd;
    uint64_t mask;

    if (!(pte & VTD_SL_RW_MASK)) {
        return ss_not_present(w);
    }
    mask = level > VTD_PT_LEVEL && (pte & VTD_PT_PAGE_SIZE_MASK) ?
           rsvd->ss_page[level] : rsvd->ss_table[level];
    if (unlikely(pte & mask)) {
        return ss_reason(w, IOMMU_WALK_RESERVED);
    }
    *perm &= pte & VTD_SL_RW_MASK;
    return *perm ? 0 : ss_not_present(w);
}

static inline uint64_t *ss_map(const Walk *w, hwaddr addr)
{
    bool writable;

    return w->iw.mem->map_table(w->iw.mem, addr, &writable);
}

static bool ss_leaf(Walk *w, uint64_t at, uint64_t end, IOMMUWalkPage page)
{
    IOMMUAccessFlags grant;
    uint8_t reason = iommu_walk_check_page(&w->iw,
                                           w->cfg->reasons->second_stage, at,
                                           &page, &grant);

    if (unlikely(reason)) {
        return iommu_walk_hole(&w->iw, at, end, page.base,
                               page.base + page.size - 1, reason);
    }
    /* The other permission sets no dirty bit (3.7.2). */
    if (w->iw.req->untranslated) {
        grant = page.perm;
    }
    return iommu_walk_region(&w->iw, at, end, page.base,
                             page.base + page.size - 1, page.out, grant);
}

static bool ss_table(Walk *w, unsigned level, hwaddr addr, uint64_t at,
                     uint64_t last, IOMMUAccessFlags perm);

static bool ss_entry(Walk *w, unsigned level, uint64_t pte, uint64_t at,
                     uint64_t end, IOMMUAccessFlags perm)
{
    uint64_t size = iommu_walk_size(level);
    uint64_t base = at & ~(size - 1);
    uint8_t reason = ss_check(w, pte, level, &perm);

    if (unlikely(reason)) {
        return iommu_walk_hole(&w->iw, at, end, base, base + size - 1, reason);
    }
    if (ss_is_leaf(pte, level)) {
        IOMMUWalkPage page = {
            .base = base,
            .size = size,
            .out = pte & WALK_ADDR_MASK & ~(size - 1),
            .perm = perm,
        };

        return ss_leaf(w, at, end, page);
    }
    return ss_table(w, level - 1, pte & WALK_ADDR_MASK, at, end, perm);
}

static bool ss_table(Walk *w, unsigned level, hwaddr addr, uint64_t at,
                     uint64_t last, IOMMUAccessFlags perm)
{
    uint64_t size = iommu_walk_size(level);
    uint64_t *table = ss_map(w, addr);

    if (!table) {
        uint64_t span = size << IOMMU_WALK_LEVEL_BITS;
        uint64_t base = at & ~(span - 1);

        return iommu_walk_hole(&w->iw, at, last, base, base + span - 1,
                               ss_unreachable(w, level));
    }
    for (;;) {
        uint64_t end = MIN(at | (size - 1), last);
        uint64_t *slot = &table[iommu_walk_index(at, level)];
        uint64_t pte = le64_to_cpu(qatomic_read__nocheck(slot));
        bool more;

        if (!iommu_walk_spend(&w->iw)) {
            return false;
        }
        more = ss_entry(w, level, pte, at, end, perm);
        if (!more || end == last) {
            return more;
        }
        at = end + 1;
    }
}

static bool ss_walk(Walk *w, uint64_t at, uint64_t last)
{
    uint64_t limit = (1ull << w->cfg->ss_width) - 1;

    if (at <= limit) {
        uint64_t end = MIN(last, limit), limit_last = w->iw.limit_last;

        /* The root table may have entries beyond the width. */
        w->iw.limit_last = MIN(limit_last, limit);
        if (!ss_table(w, w->cfg->ss_levels, w->cfg->ss_root, at, end,
                      IOMMU_RW)) {
            return false;
        }
        w->iw.limit_last = limit_last;
        if (end == last) {
            return true;
        }
        at = end + 1;
    }
    return iommu_walk_hole(&w->iw, at, last, limit + 1, UINT64_MAX,
                           ss_reason(w, IOMMU_WALK_TOO_WIDE));
}

/* ---- First stage (3.6), alone or nested in a second stage (3.8) ---- */

static void page_set_size(IOMMUWalkPage *page, uint64_t addr, uint64_t size)
{
    page->base = addr & ~(size - 1);
    page->size = size;
}

/* The table of @level at @addr, or the recent one; NULL if it is not memory */
static inline uint64_t *nested_table(NestedStage *ns, uint64_t gpa,
                                     unsigned level, hwaddr addr,
                                     IOMMUAccessFlags perm)
{
    uint64_t *table = ss_map(ns->w, addr);

    if (table && level == VTD_PT_LEVEL) {
        ns->table = table;
        ns->region = gpa >> iommu_walk_shift(VTD_PD_LEVEL);
        ns->perm = perm;
    }
    return table;
}

static inline uint8_t nested_descend(NestedStage *ns, uint64_t gpa,
                                     unsigned level, uint64_t *table,
                                     IOMMUWalkPage *page)
{
    const Walk *w = ns->w;

    for (;; level--) {
        uint64_t size = iommu_walk_size(level);
        uint64_t pte;
        uint8_t reason;

        if (!table) {
            page_set_size(page, gpa, size << IOMMU_WALK_LEVEL_BITS);
            return ss_unreachable(w, level);
        }
        page_set_size(page, gpa, size);
        pte = le64_to_cpu(qatomic_read__nocheck(
                  &table[iommu_walk_index(gpa, level)]));
        reason = ss_check(w, pte, level, &page->perm);
        if (reason) {
            return reason;
        }
        if (ss_is_leaf(pte, level)) {
            page->out = pte & WALK_ADDR_MASK & ~(size - 1);
            return 0;
        }
        table = nested_table(ns, gpa, level - 1, pte & WALK_ADDR_MASK,
                             page->perm);
    }
}

static uint8_t nested_translate(X86SecondStage *ss, uint64_t gpa,
                                IOMMUWalkPage *page)
{
    NestedStage *ns = container_of(ss, NestedStage, parent);
    const VTDWalkConfig *cfg = ns->w->cfg;

    if (gpa >> cfg->ss_width) {
        page_set_size(page, gpa, 1ull << cfg->ss_width);
        return cfg->reasons->first_stage[IOMMU_WALK_TOO_WIDE];
    }
    if (ns->table && ns->region == gpa >> iommu_walk_shift(VTD_PD_LEVEL)) {
        page->perm = ns->perm;
        return nested_descend(ns, gpa, VTD_PT_LEVEL, ns->table, page);
    }
    page->perm = IOMMU_RW;
    return nested_descend(ns, gpa, cfg->ss_levels,
                          nested_table(ns, gpa, cfg->ss_levels, cfg->ss_root,
                                       IOMMU_RW), page);
}

static bool fs_walk(Walk *w, X86SecondStage *ss, uint64_t at, uint64_t last)
{
    const VTDWalkConfig *cfg = w->cfg;
    X86PageTables tables = {
        .levels = cfg->fs_levels,
        .write_protect = cfg->write_protect,
        .no_flag_update = cfg->no_flag_update,
        .accessed = X86_PTE_A | (cfg->extended_accessed ? WALK_FS_EA : 0),
        .root = cfg->fs_root,
        .rsvd = &cfg->rsvd->fs,
        .reasons = cfg->reasons->first_stage,
    };

    return x86_page_walk(&w->iw, &tables, ss, at, last);
}

static bool nested_walk(Walk *w, uint64_t at, uint64_t last)
{
    NestedStage ns = {
        .parent.translate = nested_translate,
        .w = w,
    };

    return fs_walk(w, &ns.parent, at, last);
}

/* ---- Pass-through (3.9) ---- */

static bool pt_walk(Walk *w, uint64_t at, uint64_t last)
{
    const IOMMUWalkRequest *req = w->iw.req;
    uint64_t limit = (1ull << w->cfg->haw) - 1;

    if (at <= limit) {
        uint64_t end = MIN(last, limit);

        if (!iommu_walk_region(&w->iw, at, end, 0, limit, 0,
                               req->untranslated ? IOMMU_RW : req->want)) {
            return false;
        }
        if (end == last) {
            return true;
        }
        at = end + 1;
    }
    return iommu_walk_hole(&w->iw, at, last, limit + 1, UINT64_MAX,
                           w->cfg->reasons->host_width);
}

/* ---- Ranges ---- */

/* Handles the special conditions of table 30. */
static bool walk_interrupts(IOMMUWalk *iw, uint64_t at, uint64_t last)
{
    Walk *w = container_of(iw, Walk, iw);
    IOMMUWalkRequest *req = iw->req;
    IOMMUAccessFlags perm = IOMMU_NONE;

    if (req->interrupt_input && (req->want & IOMMU_WO)) {
        /* S.1: the device sends its message signalled interrupts this way */
        perm = IOMMU_WO | IOMMU_UNTRANSLATED_ONLY;
    } else if (!req->fault) {
        /* S.2, and for a request with PASID S.3: R = W = 0, not an error */
        req->fault = ss_reason(w, IOMMU_WALK_FORBIDDEN_OUTPUT);
    }
    return iommu_walk_region(iw, at, last, VTD_INTERRUPT_ADDR_FIRST,
                             VTD_INTERRUPT_ADDR_LAST, 0, perm);
}

static bool walk_range(IOMMUWalk *iw, uint64_t at, uint64_t last)
{
    Walk *w = container_of(iw, Walk, iw);

    switch (w->cfg->type) {
    case VTD_WALK_FIRST_STAGE:
        return fs_walk(w, NULL, at, last);
    case VTD_WALK_NESTED:
        return nested_walk(w, at, last);
    case VTD_WALK_SECOND_STAGE:
        return ss_walk(w, at, last);
    case VTD_WALK_PASS_THROUGH:
        return pt_walk(w, at, last);
    default:
        g_assert_not_reached();
    }
}

IOMMUWalkStatus vtd_walk(const IOMMUWalkMem *mem, const VTDWalkConfig *cfg,
                         IOMMUWalkRequest *req)
{
    Walk w = { .cfg = cfg };

    iommu_walk_begin(&w.iw, mem, req, cfg->reasons->blocks);
    /* LGN.4 and SGN.8 (3.15): no output address in the interrupt range */
    w.iw.forbidden_first = VTD_INTERRUPT_ADDR_FIRST;
    w.iw.forbidden_end = VTD_INTERRUPT_ADDR_LAST + 1;
    if (req->interrupt_input || cfg->type == VTD_WALK_PASS_THROUGH) {
        iommu_walk_split(&w.iw, req->first, req->last, walk_range,
                         walk_interrupts);
    } else {
        walk_range(&w.iw, req->first, req->last);
    }
    return w.iw.status;
}

void vtd_walk_rsvd_init(VTDWalkRsvd *rsvd, unsigned haw, bool fs_1g,
                        bool snoop, bool transient)
{
    uint64_t high = WALK_ADDR_MASK & ~((1ull << haw) - 1);
    uint64_t snp = VTD_SPTE_SNP;
    uint64_t tm = transient ? 0 : VTD_SL_TM;

    x86_page_rsvd_init(&rsvd->fs, haw, fs_1g);
    for (unsigned level = 1; level <= VTD_WALK_MAX_LEVELS; level++) {
        uint64_t offset = (iommu_walk_size(level) - 1) & WALK_ADDR_MASK;

        rsvd->ss_table[level] = high | snp | VTD_SL_TM;
        rsvd->ss_page[level] = high | offset | (snoop ? 0 : snp) | tm;
        if (level > VTD_PDP_LEVEL) {
            rsvd->ss_page[level] |= VTD_PT_PAGE_SIZE_MASK;
        }
    }
    rsvd->ss_table[VTD_PT_LEVEL] = high | (snoop ? 0 : snp) | tm;
}
