/*
 * VT-d: walks of first-stage, second-stage and nested page tables
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A range is walked by descending into each table once and going through its
 * entries there.  Results are merged as they are stored, so that a range that
 * is contiguous costs one element however small its pages are.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_fault.h"
#include "intel_iommu_walk.h"

#define WALK_PAGE_SIZE          (1ull << VTD_PAGE_SHIFT_4K)
#define WALK_INDEX_MASK         (VTD_PT_ENTRY_NR - 1)
/* Bits 51:12; those from the host address width on are reserved */
#define WALK_ADDR_MASK          0x000ffffffffff000ull
/* Keeps addr_mask + 1 from overflowing, merging doubles it once at most */
#define WALK_MAX_BLOCK          (1ull << 62)

/* Extended-accessed flag of a first-stage entry (9.7) */
#define WALK_FS_EA              (1ull << 10)

/* What the second stage says about a guest physical address, for nesting */
typedef struct SSPage {
    uint64_t base;
    uint64_t size;
    hwaddr out;
    IOMMUAccessFlags perm;
} SSPage;

/* What of the second stage was used last, for nesting */
typedef struct SSRecent {
    /* Table of 4 KiB pages, or NULL */
    uint64_t *table;
    uint64_t region;
    IOMMUAccessFlags perm;
    /* Of size 0 for none */
    SSPage page;
} SSRecent;

typedef struct Walk {
    const IOMMUWalkMem *mem;
    const VTDWalkConfig *cfg;
    VTDWalkRequest *req;
    VTDWalkStatus status;
    unsigned budget;
    /* Results below this index are not merged with */
    size_t merge_floor;
    /* Results must not reach beyond these input addresses */
    uint64_t limit_first;
    uint64_t limit_last;
    SSRecent *ss;
} Walk;

static inline unsigned walk_shift(unsigned level)
{
    return VTD_PAGE_SHIFT_4K + (level - 1) * VTD_LEVEL_BITS;
}

static inline uint64_t walk_size(unsigned level)
{
    return 1ull << walk_shift(level);
}

static bool walk_overlaps_interrupts(uint64_t first, uint64_t last)
{
    return first <= VTD_INTERRUPT_ADDR_LAST &&
           last >= VTD_INTERRUPT_ADDR_FIRST;
}

static inline bool walk_spend(Walk *w)
{
    if (unlikely(!w->budget)) {
        w->status = VTD_WALK_EXHAUSTED;
        return false;
    }
    w->budget--;
    return true;
}

static void walk_note(Walk *w, uint64_t addr, uint8_t reason)
{
    VTDWalkRequest *req = w->req;

    if (!req->fault) {
        req->fault = reason;
    }
    if (!req->error && vtd_fault_blocks_ats(reason)) {
        req->error = reason;
        req->error_addr = addr;
    }
}

/* Results */

static inline bool walk_mergeable(const IOMMUTLBEntry *low, uint64_t iova,
                                  hwaddr out, uint64_t mask,
                                  IOMMUAccessFlags perm)
{
    uint64_t size = mask + 1;

    if (low->addr_mask != mask || low->perm != perm || size > WALK_MAX_BLOCK) {
        return false;
    }
    if ((low->iova & size) || low->iova + size != iova) {
        return false;
    }
    return !(perm & IOMMU_RW) ||
           (!(low->translated_addr & size) &&
            low->translated_addr + size == out);
}

static bool walk_push(Walk *w, uint64_t iova, hwaddr out, uint64_t mask,
                      IOMMUAccessFlags perm)
{
    VTDWalkRequest *req = w->req;
    size_t n = req->num_results;

    while (n > w->merge_floor &&
           walk_mergeable(&req->result[n - 1], iova, out, mask, perm)) {
        n--;
        iova = req->result[n].iova;
        out = req->result[n].translated_addr;
        mask = mask * 2 + 1;
    }
    if (n == req->max_results) {
        w->status = VTD_WALK_FULL;
        return false;
    }
    req->result[n] = (IOMMUTLBEntry) {
        .target_as = &address_space_memory,
        .iova = iova,
        .translated_addr = out,
        .addr_mask = mask,
        .perm = perm,
        .pasid = req->pasid,
    };
    req->num_results = n + 1;
    return true;
}

/*
 * The largest naturally aligned block around @at that stays within
 * [@first, @last].
 */
static uint64_t walk_block(uint64_t at, uint64_t first, uint64_t last)
{
    uint64_t size = WALK_PAGE_SIZE;

    while (size < WALK_MAX_BLOCK && (at & ~(size * 2 - 1)) >= first &&
           (at | (size * 2 - 1)) <= last) {
        size *= 2;
    }
    return size;
}

/*
 * Store what is known about the input addresses [@first, @last], as far as
 * [@at, @stop] needs it.  @out is the output address for @first.
 */
static bool walk_region(Walk *w, uint64_t at, uint64_t stop, uint64_t first,
                        uint64_t last, hwaddr out, IOMMUAccessFlags perm)
{
    uint64_t low = MAX(first, w->limit_first);
    uint64_t high = MIN(last, w->limit_last);
    uint64_t size = last - first + 1;

    if (likely(low == first && high == last && is_power_of_2(size) &&
               size <= WALK_MAX_BLOCK && !(first & (size - 1)))) {
        return walk_push(w, first, out, size - 1, perm);
    }
    for (;;) {
        uint64_t block = walk_block(at, low, high);
        uint64_t base = at & ~(block - 1);

        if (!walk_push(w, base, perm & IOMMU_RW ? out + (base - first) : 0,
                       block - 1, perm)) {
            return false;
        }
        at = base | (block - 1);
        if (at >= stop) {
            return true;
        }
        at++;
    }
}

static bool walk_hole(Walk *w, uint64_t at, uint64_t stop, uint64_t first,
                      uint64_t last, uint8_t reason)
{
    walk_note(w, at, reason);
    return walk_region(w, at, stop, first, last, 0, IOMMU_NONE);
}

/*
 * Merge what was stored from index @from on with what is before it, after it
 * had been kept apart.
 */
static void walk_merge_from(Walk *w, size_t from)
{
    VTDWalkRequest *req = w->req;
    size_t end = req->num_results;

    req->num_results = from;
    for (size_t i = from; i < end; i++) {
        IOMMUTLBEntry e = req->result[i];

        /* There is room: never more than there was */
        walk_push(w, e.iova, e.translated_addr, e.addr_mask, e.perm);
    }
}

/*
 * What the permissions @have of a page mean for the request: the permissions
 * to give out, or a fault reason.
 */
static uint8_t walk_grant(const Walk *w, IOMMUAccessFlags have,
                          IOMMUAccessFlags *grant)
{
    const VTDWalkRequest *req = w->req;
    bool scalable = w->cfg->scalable;
    IOMMUAccessFlags missing = req->want & ~have;

    *grant = have & req->want;
    if (req->untranslated ? !missing : *grant != IOMMU_NONE) {
        return 0;
    }
    *grant = IOMMU_NONE;
    if (missing & IOMMU_WO) {
        return scalable ? VTD_FR_SM_WRITE : VTD_FR_WRITE;
    }
    return scalable ? VTD_FR_SM_READ : VTD_FR_READ;
}

static uint8_t walk_interrupt_fault(const Walk *w)
{
    return w->cfg->scalable ? VTD_FR_SM_INTERRUPT_ADDR : VTD_FR_INTERRUPT_ADDR;
}

/* LGN.4 and SGN.8 (3.15): no output address in the interrupt range */
static uint8_t walk_check_output(const Walk *w, hwaddr out, uint64_t size)
{
    return likely(!walk_overlaps_interrupts(out, out + size - 1)) ? 0 :
           walk_interrupt_fault(w);
}

/*
 * An untranslated request is for one 4 KiB page.  When the page that maps it
 * is larger and reaches into the interrupt range, only what the request
 * touches matters.
 */
static void walk_narrow(const Walk *w, uint64_t at, uint64_t *base,
                        uint64_t *size, hwaddr *out)
{
    if (w->req->untranslated &&
        walk_overlaps_interrupts(*out, *out + *size - 1)) {
        uint64_t page = at & ~(WALK_PAGE_SIZE - 1);

        *out += page - *base;
        *base = page;
        *size = WALK_PAGE_SIZE;
    }
}

/* Second stage (3.7) */

typedef enum SSError {
    SS_NO_ACCESS,
    SS_NO_ROOT_ACCESS,
    SS_NOT_PRESENT,
    SS_RESERVED,
    SS_TOO_WIDE,
} SSError;

static uint8_t ss_reason(const Walk *w, SSError error)
{
    bool write = !(w->req->want & IOMMU_RO);

    switch (error) {
    case SS_NO_ACCESS:
        return w->cfg->scalable ? VTD_FR_SS_PAGING_ENTRY_INV :
                                  VTD_FR_PAGING_ENTRY_INV;
    case SS_NO_ROOT_ACCESS:
        return w->cfg->scalable ? VTD_FR_SS_ROOT_INV :
                                  VTD_FR_CONTEXT_ENTRY_INV;
    case SS_NOT_PRESENT:
        if (w->cfg->scalable) {
            return VTD_FR_SS_PAGING_ENTRY_P;
        }
        return write ? VTD_FR_WRITE : VTD_FR_READ;
    case SS_RESERVED:
        return w->cfg->scalable ? VTD_FR_SS_PAGING_ENTRY_RSVD :
                                  VTD_FR_PAGING_ENTRY_RSVD;
    case SS_TOO_WIDE:
        if (w->cfg->type == VTD_WALK_NESTED) {
            return VTD_FR_FS_ADDR_BEYOND_MGAW;
        }
        return w->cfg->scalable ? VTD_FR_SM_ADDR_BEYOND_MGAW :
                                  VTD_FR_ADDR_BEYOND_MGAW;
    default:
        g_assert_not_reached();
    }
}

static inline bool ss_is_leaf(uint64_t pte, unsigned level)
{
    return level == VTD_PT_LEVEL || (pte & VTD_PT_PAGE_SIZE_MASK);
}

/*
 * Check an entry, and reduce @perm to what it and its parents allow.  R and W
 * are in the bits of IOMMU_RO and IOMMU_WO.
 */
static inline uint8_t ss_check(const Walk *w, uint64_t pte, unsigned level,
                               IOMMUAccessFlags *perm)
{
    const VTDWalkRsvd *rsvd = w->cfg->rsvd;
    uint64_t mask;

    if (!(pte & VTD_SL_RW_MASK)) {
        return ss_reason(w, SS_NOT_PRESENT);
    }
    mask = level > VTD_PT_LEVEL && (pte & VTD_PT_PAGE_SIZE_MASK) ?
           rsvd->ss_page[level] : rsvd->ss_table[level];
    if (unlikely(pte & mask)) {
        return ss_reason(w, SS_RESERVED);
    }
    *perm &= pte & VTD_SL_RW_MASK;
    return *perm ? 0 : ss_reason(w, SS_NOT_PRESENT);
}

static inline uint64_t *ss_map(const Walk *w, hwaddr addr)
{
    bool writable;

    return w->mem->map_table(w->mem, addr, &writable);
}

static bool ss_leaf(Walk *w, uint64_t at, uint64_t end, uint64_t base,
                    unsigned level, uint64_t pte, IOMMUAccessFlags perm)
{
    uint64_t size = walk_size(level);
    hwaddr out = pte & WALK_ADDR_MASK & ~(size - 1);
    IOMMUAccessFlags grant;
    uint8_t reason;

    walk_narrow(w, at, &base, &size, &out);
    reason = walk_grant(w, perm, &grant);
    if (!reason) {
        reason = walk_check_output(w, out, size);
    }
    if (unlikely(reason)) {
        return walk_hole(w, at, end, base, base + size - 1, reason);
    }
    /* There is no dirty bit that the other permission could cost (3.7.2) */
    if (w->req->untranslated) {
        grant = perm;
    }
    return walk_region(w, at, end, base, base + size - 1, out, grant);
}

static bool ss_table(Walk *w, unsigned level, hwaddr addr, uint64_t at,
                     uint64_t last, IOMMUAccessFlags perm)
{
    unsigned shift = walk_shift(level);
    uint64_t size = walk_size(level);
    uint64_t *table = ss_map(w, addr);

    if (!table) {
        uint64_t span = size << VTD_LEVEL_BITS;
        uint64_t base = at & ~(span - 1);

        return walk_hole(w, at, last, base, base + span - 1,
                         ss_reason(w, level == w->cfg->ss_levels ?
                                      SS_NO_ROOT_ACCESS : SS_NO_ACCESS));
    }
    for (;;) {
        uint64_t base = at & ~(size - 1);
        uint64_t end = MIN(base | (size - 1), last);
        uint64_t *slot = &table[(at >> shift) & WALK_INDEX_MASK];
        uint64_t pte = le64_to_cpu(qatomic_read__nocheck(slot));
        IOMMUAccessFlags entry_perm = perm;
        uint8_t reason;
        bool more;

        if (!walk_spend(w)) {
            return false;
        }
        reason = ss_check(w, pte, level, &entry_perm);
        if (unlikely(reason)) {
            more = walk_hole(w, at, end, base, base + size - 1, reason);
        } else if (ss_is_leaf(pte, level)) {
            more = ss_leaf(w, at, end, base, level, pte, entry_perm);
        } else {
            more = ss_table(w, level - 1, pte & WALK_ADDR_MASK, at, end,
                            entry_perm);
        }
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
        uint64_t end = MIN(last, limit), limit_last = w->limit_last;

        /* The root table may have room for more than that */
        w->limit_last = MIN(limit_last, limit);
        if (!ss_table(w, w->cfg->ss_levels, w->cfg->ss_root, at, end,
                      IOMMU_RW)) {
            return false;
        }
        w->limit_last = limit_last;
        if (end == last) {
            return true;
        }
        at = end + 1;
    }
    return walk_hole(w, at, last, limit + 1, UINT64_MAX,
                     ss_reason(w, SS_TOO_WIDE));
}

/* Returns a fault reason, or 0; @page->base and @page->size are set always */
static uint8_t ss_descend(Walk *w, uint64_t gpa, SSPage *page)
{
    const VTDWalkConfig *cfg = w->cfg;
    unsigned level = cfg->ss_levels;
    hwaddr addr = cfg->ss_root;
    uint64_t *table = NULL;

    page->out = 0;
    page->perm = IOMMU_RW;
    if (gpa >> cfg->ss_width) {
        page->size = 1ull << cfg->ss_width;
        page->base = gpa & ~(page->size - 1);
        return ss_reason(w, SS_TOO_WIDE);
    }
    if (w->ss->table && w->ss->region == gpa >> walk_shift(VTD_PD_LEVEL)) {
        table = w->ss->table;
        level = VTD_PT_LEVEL;
        page->perm = w->ss->perm;
    }
    for (;; level--) {
        uint64_t pte;
        uint8_t reason;

        page->size = walk_size(level);
        page->base = gpa & ~(page->size - 1);
        if (!table) {
            table = ss_map(w, addr);
        }
        if (!table) {
            page->size <<= VTD_LEVEL_BITS;
            page->base = gpa & ~(page->size - 1);
            return ss_reason(w, level == cfg->ss_levels ? SS_NO_ROOT_ACCESS :
                                                          SS_NO_ACCESS);
        }
        if (level == VTD_PT_LEVEL) {
            w->ss->table = table;
            w->ss->region = gpa >> walk_shift(VTD_PD_LEVEL);
            w->ss->perm = page->perm;
        }
        pte = le64_to_cpu(qatomic_read__nocheck(
                  &table[(gpa >> walk_shift(level)) & WALK_INDEX_MASK]));
        reason = ss_check(w, pte, level, &page->perm);
        if (reason) {
            return reason;
        }
        if (ss_is_leaf(pte, level)) {
            page->out = pte & WALK_ADDR_MASK & ~(page->size - 1);
            return 0;
        }
        addr = pte & WALK_ADDR_MASK;
        table = NULL;
    }
}

static inline uint8_t ss_lookup(Walk *w, uint64_t gpa, SSPage *page)
{
    uint8_t reason;

    if (gpa - w->ss->page.base < w->ss->page.size) {
        *page = w->ss->page;
        return 0;
    }
    reason = ss_descend(w, gpa, page);
    if (!reason) {
        w->ss->page = *page;
    }
    return reason;
}

/* First stage (3.6), alone or nested in a second stage (3.8) */

/* A table, and its entries that were changed */
typedef struct FSTable {
    uint64_t *entries;
    /* Why accessed and dirty bits cannot be set here, or 0 */
    uint8_t no_update;
    unsigned first_dirty;
    unsigned last_dirty;
} FSTable;

typedef enum FSResult {
    FS_NEXT,        /* go on behind the entry */
    FS_RETRY,       /* the entry changed meanwhile: look at it again */
    FS_STOP,        /* no room, or no budget */
} FSResult;

static uint8_t fs_map(Walk *w, hwaddr addr, bool root, FSTable *table)
{
    bool writable;
    bool ss_writable = true;

    if (w->cfg->type == VTD_WALK_NESTED) {
        SSPage page;
        uint8_t reason = ss_lookup(w, addr, &page);

        if (reason) {
            return reason;
        }
        if (!(page.perm & IOMMU_RO)) {
            return root ? VTD_FR_FS_ROOT_READ : VTD_FR_FS_PAGING_ENTRY_READ;
        }
        ss_writable = page.perm & IOMMU_WO;
        addr = page.out + (addr - page.base);
    }
    table->entries = w->mem->map_table(w->mem, addr, &writable);
    if (!table->entries) {
        return root ? VTD_FR_PASID_ENTRY_FSPTPTR_INV :
                      VTD_FR_FS_PAGING_ENTRY_INV;
    }
    table->no_update = w->cfg->no_flag_update ? VTD_FR_FS_BIT_UPDATE_NO_SNOOP :
                       !ss_writable ? VTD_FR_FS_PAGING_ENTRY_WRITE :
                       !writable ? VTD_FR_FS_BIT_UPDATE_FAILED : 0;
    table->first_dirty = VTD_PT_ENTRY_NR;
    table->last_dirty = 0;
    return 0;
}

static void fs_unmap(Walk *w, FSTable *table)
{
    if (table->first_dirty <= table->last_dirty) {
        w->mem->mark_dirty(w->mem, table->entries, table->first_dirty,
                           table->last_dirty);
    }
}

/*
 * Set flags in an entry (3.6.2).  A vCPU may change it at the same time, so
 * that a plain store would undo what the vCPU did.
 */
static FSResult fs_set_flags(FSTable *table, unsigned index, uint64_t pte,
                             uint64_t flags, uint8_t *reason)
{
    uint64_t old = cpu_to_le64(pte);

    *reason = 0;
    if (!(flags & ~pte)) {
        return FS_NEXT;
    }
    if (table->no_update) {
        *reason = table->no_update;
        return FS_NEXT;
    }
    if (qatomic_cmpxchg__nocheck(&table->entries[index], old,
                                 cpu_to_le64(pte | flags)) != old) {
        return FS_RETRY;
    }
    table->first_dirty = MIN(table->first_dirty, index);
    table->last_dirty = MAX(table->last_dirty, index);
    return FS_NEXT;
}

static inline uint64_t fs_accessed(const Walk *w)
{
    return VTD_FL_A | (w->cfg->extended_accessed ? WALK_FS_EA : 0);
}

static inline uint8_t fs_check(const Walk *w, uint64_t pte, unsigned level)
{
    const VTDWalkRsvd *rsvd = w->cfg->rsvd;
    uint64_t mask;

    if (!(pte & VTD_FL_P)) {
        return VTD_FR_FS_PAGING_ENTRY_P;
    }
    mask = level > VTD_PT_LEVEL && (pte & VTD_PT_PAGE_SIZE_MASK) ?
           rsvd->fs_page[level] : rsvd->fs_table[level];
    if (unlikely(pte & mask)) {
        return VTD_FR_FS_PAGING_ENTRY_RSVD;
    }
    if (!(pte & VTD_FL_US) && !w->req->priv) {
        return VTD_FR_FS_PAGING_ENTRY_US;
    }
    return 0;
}

/* 3.6.1: a privileged write needs R/W only with write protection enabled */
static inline bool fs_may_write(const Walk *w, uint64_t pte)
{
    return (pte & VTD_FL_RW) || (w->req->priv && !w->cfg->write_protect);
}

/* A page of the first stage that is being answered */
typedef struct FSPage {
    FSTable *table;
    unsigned index;
    uint64_t pte;
    uint64_t base;
    uint64_t size;
    hwaddr out;                 /* guest physical when nested */
    IOMMUAccessFlags perm;
} FSPage;

static uint64_t fs_page_bits(const Walk *w, IOMMUAccessFlags grant)
{
    return fs_accessed(w) | (grant & IOMMU_WO ? VTD_FL_D : 0);
}

static FSResult fs_page_flags(Walk *w, const FSPage *p, IOMMUAccessFlags grant,
                              uint8_t *reason)
{
    return fs_set_flags(p->table, p->index, p->pte, fs_page_bits(w, grant),
                        reason);
}

/* Answer a page whose host physical address range is contiguous */
static FSResult fs_page_whole(Walk *w, const FSPage *p, uint64_t at,
                              uint64_t end, hwaddr out, IOMMUAccessFlags perm)
{
    uint64_t base = p->base, size = p->size;
    IOMMUAccessFlags grant;
    uint8_t reason;

    walk_narrow(w, at, &base, &size, &out);
    reason = walk_grant(w, perm, &grant);
    if (!reason) {
        reason = walk_check_output(w, out, size);
    }
    if (!reason) {
        if (fs_page_flags(w, p, grant, &reason) == FS_RETRY) {
            return FS_RETRY;
        }
    }
    if (reason) {
        return walk_hole(w, at, end, base, base + size - 1, reason) ?
               FS_NEXT : FS_STOP;
    }
    if (w->req->untranslated) {
        grant |= perm & (p->pte & VTD_FL_D ? IOMMU_RW : IOMMU_RO);
    }
    return walk_region(w, at, end, base, base + size - 1, out, grant) ?
           FS_NEXT : FS_STOP;
}

/* Store the parts that the second stage cuts [@at, @end] of a page into */
static bool fs_page_parts(Walk *w, const FSPage *p, uint64_t at, uint64_t end,
                          IOMMUAccessFlags *granted)
{
    /* What is below has been stored, should a later part reach back there */
    uint64_t low = p->base;

    *granted = IOMMU_NONE;
    for (;;) {
        SSPage page;
        uint64_t gpa = p->out + (at - p->base);
        uint8_t reason = ss_lookup(w, gpa, &page);
        uint64_t size = MIN(page.size, p->size);
        uint64_t base = at & ~(size - 1);
        hwaddr out = page.out + ((gpa & ~(size - 1)) - page.base);
        uint64_t stop = MIN(base | (size - 1), end);
        uint64_t first = MAX(base, low);
        IOMMUAccessFlags grant = IOMMU_NONE;
        bool more;

        if (!walk_spend(w)) {
            return false;
        }
        if (!reason) {
            reason = walk_grant(w, p->perm & page.perm, &grant);
        }
        if (!reason) {
            reason = walk_check_output(w, out, size);
        }
        /* Where flags cannot be set, this depends on what each part needs */
        if (!reason && (fs_page_bits(w, grant) & ~p->pte)) {
            reason = p->table->no_update;
        }
        if (reason) {
            more = walk_hole(w, at, stop, first, base + size - 1, reason);
        } else {
            *granted |= grant;
            more = walk_region(w, at, stop, first, base + size - 1,
                               out + (first - base), grant);
        }
        if (!more || stop == end) {
            return more;
        }
        low = at = stop + 1;
    }
}

/*
 * Answer a page that the second stage cuts into several parts.  The flags of
 * the entry depend on what all of them allow, so the parts are kept aside until
 * the flags are set.
 */
static FSResult fs_page_cut(Walk *w, const FSPage *p, uint64_t at, uint64_t end)
{
    VTDWalkRequest *req = w->req;
    size_t floor = w->merge_floor, from = req->num_results;
    uint8_t fault = req->fault, error = req->error, reason;
    IOMMUAccessFlags granted;
    bool more;

    w->merge_floor = from;
    more = fs_page_parts(w, p, at, end, &granted);
    w->merge_floor = floor;
    if (granted &&
        fs_page_flags(w, p, granted, &reason) == FS_RETRY) {
        req->num_results = from;
        req->fault = fault;
        req->error = error;
        w->status = VTD_WALK_DONE;
        return FS_RETRY;
    }
    walk_merge_from(w, from);
    return more ? FS_NEXT : FS_STOP;
}

static FSResult fs_page(Walk *w, const FSPage *p, uint64_t at, uint64_t end)
{
    SSPage page;
    uint64_t gpa;
    uint8_t reason;

    if (w->cfg->type != VTD_WALK_NESTED) {
        return fs_page_whole(w, p, at, end, p->out, p->perm);
    }
    gpa = p->out + (at - p->base);
    reason = ss_lookup(w, gpa, &page);
    if (reason) {
        if (page.size >= p->size) {
            return walk_hole(w, at, end, p->base, p->base + p->size - 1,
                             reason) ? FS_NEXT : FS_STOP;
        }
        return fs_page_cut(w, p, at, end);
    }
    if (page.size >= p->size) {
        return fs_page_whole(w, p, at, end, page.out + (p->out - page.base),
                             p->perm & page.perm);
    }
    if (w->req->untranslated) {
        FSPage part = *p;

        part.base = at & ~(page.size - 1);
        part.size = page.size;
        return fs_page_whole(w, &part, at, end, page.out,
                             p->perm & page.perm);
    }
    return fs_page_cut(w, p, at, end);
}

static bool fs_table(Walk *w, unsigned level, hwaddr addr, uint64_t at,
                     uint64_t last, bool write);

static FSResult fs_entry(Walk *w, FSTable *table, unsigned level, uint64_t pte,
                         uint64_t at, uint64_t end, bool write)
{
    uint64_t size = walk_size(level);
    uint64_t base = at & ~(size - 1);
    unsigned index = (at >> walk_shift(level)) & WALK_INDEX_MASK;
    uint8_t reason = fs_check(w, pte, level);

    if (!reason) {
        write = write && fs_may_write(w, pte);
        if (level == VTD_PT_LEVEL || (pte & VTD_PT_PAGE_SIZE_MASK)) {
            FSPage p = {
                .table = table,
                .index = index,
                .pte = pte,
                .base = base,
                .size = size,
                .out = pte & WALK_ADDR_MASK & ~(size - 1),
                .perm = IOMMU_ACCESS_FLAG(true, write),
            };

            return fs_page(w, &p, at, end);
        }
        if (fs_set_flags(table, index, pte, fs_accessed(w),
                         &reason) == FS_RETRY) {
            return FS_RETRY;
        }
    }
    if (reason) {
        return walk_hole(w, at, end, base, base + size - 1, reason) ?
               FS_NEXT : FS_STOP;
    }
    return fs_table(w, level - 1, pte & WALK_ADDR_MASK, at, end, write) ?
           FS_NEXT : FS_STOP;
}

/*
 * The bits that an entry for 4 KiB must have for the shortest way: the page
 * gives all that is wanted.  UINT64_MAX, which no entry can meet, when that way
 * does not apply.
 */
static uint64_t fs_plain_bits(const Walk *w, const FSTable *table,
                              unsigned level, bool write)
{
    const VTDWalkRequest *req = w->req;
    uint64_t bits = VTD_FL_P | (req->priv ? 0 : VTD_FL_US);

    if (level != VTD_PT_LEVEL || req->untranslated || table->no_update ||
        w->cfg->type == VTD_WALK_NESTED) {
        return UINT64_MAX;
    }
    if (req->want & IOMMU_WO) {
        return write ? bits | VTD_FL_RW : UINT64_MAX;
    }
    return bits;
}

static inline bool fs_is_plain(const Walk *w, uint64_t pte, uint64_t bits)
{
    hwaddr out = pte & WALK_ADDR_MASK;

    return (pte & bits) == bits &&
           !(pte & w->cfg->rsvd->fs_table[VTD_PT_LEVEL]) &&
           !walk_overlaps_interrupts(out, out);
}

static inline FSResult fs_plain_page(Walk *w, FSTable *table, unsigned index,
                                     uint64_t at, uint64_t pte, uint64_t flags)
{
    uint8_t no_reason;
    FSResult res = fs_set_flags(table, index, pte, flags, &no_reason);

    if (likely(res == FS_NEXT) &&
        !walk_push(w, at & ~(WALK_PAGE_SIZE - 1), pte & WALK_ADDR_MASK,
                   WALK_PAGE_SIZE - 1, w->req->want)) {
        return FS_STOP;
    }
    return res;
}

static bool fs_entries(Walk *w, FSTable *table, unsigned level, uint64_t at,
                       uint64_t last, bool write)
{
    uint64_t size = walk_size(level);
    uint64_t plain = fs_plain_bits(w, table, level, write);
    uint64_t flags = fs_page_bits(w, w->req->want);

    for (;;) {
        uint64_t end = MIN(at | (size - 1), last);
        unsigned index = (at >> walk_shift(level)) & WALK_INDEX_MASK;
        FSResult res;

        do {
            uint64_t pte = le64_to_cpu(qatomic_read__nocheck(
                                           &table->entries[index]));

            if (!walk_spend(w)) {
                return false;
            }
            if (fs_is_plain(w, pte, plain)) {
                res = fs_plain_page(w, table, index, at, pte, flags);
            } else {
                res = fs_entry(w, table, level, pte, at, end, write);
            }
        } while (unlikely(res == FS_RETRY));
        if (unlikely(res == FS_STOP)) {
            return false;
        }
        if (end == last) {
            return true;
        }
        at = end + 1;
    }
}

static bool fs_table(Walk *w, unsigned level, hwaddr addr, uint64_t at,
                     uint64_t last, bool write)
{
    bool root = level == w->cfg->fs_levels;
    FSTable table;
    uint8_t reason = fs_map(w, addr, root, &table);
    bool more;

    if (reason) {
        /* The root's top bit is the sign: half of it is contiguous (SGN.1) */
        uint64_t span = walk_size(level) << (VTD_LEVEL_BITS - (root ? 1 : 0));
        uint64_t base = at & ~(span - 1);

        return walk_hole(w, at, last, base, base + span - 1, reason);
    }
    more = fs_entries(w, &table, level, at, last, write);
    fs_unmap(w, &table);
    return more;
}

static bool fs_walk(Walk *w, uint64_t at, uint64_t last)
{
    const VTDWalkConfig *cfg = w->cfg;
    /* SGN.1: the addresses that are not canonical are in the middle */
    uint64_t half = walk_size(cfg->fs_levels + 1) >> 1;
    uint64_t end;

    if (at < half) {
        end = MIN(last, half - 1);
        if (!fs_table(w, cfg->fs_levels, cfg->fs_root, at, end, true)) {
            return false;
        }
        if (end == last) {
            return true;
        }
        at = end + 1;
    }
    if (at < -half) {
        end = MIN(last, -half - 1);
        if (!walk_hole(w, at, end, half, -half - 1, VTD_FR_FS_NON_CANONICAL)) {
            return false;
        }
        if (end == last) {
            return true;
        }
        at = end + 1;
    }
    return fs_table(w, cfg->fs_levels, cfg->fs_root, at, last, true);
}

/* Pass-through (3.9) */

static bool pt_walk(Walk *w, uint64_t at, uint64_t last)
{
    const VTDWalkRequest *req = w->req;
    uint64_t limit = (1ull << w->cfg->haw) - 1;

    if (at <= limit) {
        uint64_t end = MIN(last, limit);

        if (!walk_region(w, at, end, 0, limit, 0,
                         req->untranslated ? IOMMU_RW : req->want)) {
            return false;
        }
        if (end == last) {
            return true;
        }
        at = end + 1;
    }
    return walk_hole(w, at, last, limit + 1, UINT64_MAX,
                     w->cfg->scalable ? VTD_FR_SM_ADDR_BEYOND_HAW :
                                        VTD_FR_ADDR_BEYOND_MGAW);
}

/* The special conditions of table 30 */
static bool walk_interrupts(Walk *w, uint64_t at, uint64_t last)
{
    const VTDWalkRequest *req = w->req;

    if (req->interrupt_input && (req->want & IOMMU_WO)) {
        /* S.1: the device sends its message signalled interrupts this way */
        return walk_region(w, at, last, VTD_INTERRUPT_ADDR_FIRST,
                           VTD_INTERRUPT_ADDR_LAST, 0,
                           IOMMU_WO | IOMMU_UNTRANSLATED_ONLY);
    }
    if (!w->req->fault) {
        w->req->fault = walk_interrupt_fault(w);
    }
    /* S.2, and for a request with PASID S.3: R = W = 0, but not a fault */
    return walk_region(w, at, last, VTD_INTERRUPT_ADDR_FIRST,
                       VTD_INTERRUPT_ADDR_LAST, 0, IOMMU_NONE);
}

static bool nested_walk(Walk *w, uint64_t at, uint64_t last)
{
    SSRecent ss = { };

    w->ss = &ss;
    return fs_walk(w, at, last);
}

static bool walk_range(Walk *w, uint64_t at, uint64_t last)
{
    switch (w->cfg->type) {
    case VTD_WALK_FIRST_STAGE:
        return fs_walk(w, at, last);
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

static void walk_init(Walk *w, VTDWalkRequest *req)
{
    assert(req->max_results);
    req->num_results = 0;
    req->fault = 0;
    req->error = 0;
    req->error_addr = 0;
    w->req = req;
    w->status = VTD_WALK_DONE;
    w->budget = VTD_WALK_BUDGET;
    w->merge_floor = 0;
    w->limit_first = 0;
    w->limit_last = UINT64_MAX;
}

VTDWalkStatus vtd_walk(const IOMMUWalkMem *mem, const VTDWalkConfig *cfg,
                       VTDWalkRequest *req)
{
    bool split = req->interrupt_input || cfg->type == VTD_WALK_PASS_THROUGH;
    uint64_t at = req->first, last = req->last;
    bool more = true;
    Walk w = { .mem = mem, .cfg = cfg };

    walk_init(&w, req);
    if (likely(!split || at > VTD_INTERRUPT_ADDR_LAST)) {
        w.limit_first = split ? VTD_INTERRUPT_ADDR_LAST + 1 : 0;
        walk_range(&w, at, last);
        return w.status;
    }
    if (at < VTD_INTERRUPT_ADDR_FIRST) {
        uint64_t end = MIN(last, VTD_INTERRUPT_ADDR_FIRST - 1);

        w.limit_last = VTD_INTERRUPT_ADDR_FIRST - 1;
        more = walk_range(&w, at, end);
        w.limit_last = UINT64_MAX;
        at = end + 1;
    }
    if (more && at <= last && at <= VTD_INTERRUPT_ADDR_LAST) {
        uint64_t end = MIN(last, VTD_INTERRUPT_ADDR_LAST);

        more = walk_interrupts(&w, at, end);
        at = end + 1;
    }
    if (more && at <= last) {
        w.limit_first = VTD_INTERRUPT_ADDR_LAST + 1;
        walk_range(&w, at, last);
    }
    return w.status;
}

VTDWalkStatus vtd_walk_blocked(VTDWalkRequest *req, uint8_t reason)
{
    Walk w = { };

    walk_init(&w, req);
    walk_hole(&w, req->first, req->last, 0, UINT64_MAX, reason);
    return w.status;
}

void vtd_walk_rsvd_init(VTDWalkRsvd *rsvd, unsigned haw, bool fs_1g,
                        bool snoop, bool transient)
{
    uint64_t high = WALK_ADDR_MASK & ~((1ull << haw) - 1);
    uint64_t snp = VTD_SPTE_SNP;
    uint64_t tm = transient ? 0 : VTD_SL_TM;

    for (unsigned level = 1; level <= VTD_WALK_MAX_LEVELS; level++) {
        uint64_t offset = (walk_size(level) - 1) & WALK_ADDR_MASK;

        rsvd->fs_table[level] = high;
        /* Bit 12 is the PAT bit of larger pages (tables 36 and 38) */
        rsvd->fs_page[level] = high | (offset & ~(1ull << 12));
        rsvd->ss_table[level] = high | snp | VTD_SL_TM;
        rsvd->ss_page[level] = high | offset | (snoop ? 0 : snp) | tm;
        if (level > VTD_PDP_LEVEL) {
            rsvd->fs_page[level] |= VTD_PT_PAGE_SIZE_MASK;
            rsvd->ss_page[level] |= VTD_PT_PAGE_SIZE_MASK;
        }
    }
    rsvd->ss_table[VTD_PT_LEVEL] = high | (snoop ? 0 : snp) | tm;
    if (!fs_1g) {
        rsvd->fs_page[VTD_PDP_LEVEL] |= VTD_PT_PAGE_SIZE_MASK;
    }
}
