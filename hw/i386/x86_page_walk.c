/*
 * Walks of x86 page tables with 4 or 5 levels
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "x86_page_walk.h"

typedef struct Walk {
    IOMMUWalk *iw;
    const X86PageTables *tables;
    X86SecondStage *ss;         /* NULL unless nested */
} Walk;

/* A table, and the range of its changed entries */
typedef struct Table {
    uint64_t *entries;
    /* Reason if accessed and dirty bits cannot be set in this table, or 0 */
    uint8_t no_update;
    unsigned first_dirty;
    unsigned last_dirty;
} Table;

/* An entry that maps a page; if nested, @page.out is for the second stage */
typedef struct PageEntry {
    Table *table;
    unsigned index;
    uint64_t pte;
    IOMMUWalkPage page;
} PageEntry;

typedef enum Result {
    NEXT,           /* continue behind the entry */
    RETRY,          /* the entry has changed: read it again */
    STOP,           /* no room, or no budget */
} Result;

static inline bool is_leaf(uint64_t pte, unsigned level)
{
    return level == 1 || (pte & X86_PTE_PS);
}

static inline uint8_t reason_for(const Walk *w, IOMMUWalkFault fault)
{
    return w->tables->reasons[fault];
}

static Result hole(Walk *w, uint64_t at, uint64_t end, uint64_t base,
                   uint64_t size, uint8_t reason)
{
    return iommu_walk_hole(w->iw, at, end, base, base + size - 1, reason) ?
           NEXT : STOP;
}

/* Returns the reason for a fault, or 0.  Always sets @page->base and @size. */
static inline uint8_t second_stage(Walk *w, uint64_t addr,
                                   IOMMUWalkPage *page)
{
    X86SecondStage *ss = w->ss;
    uint8_t reason;

    if (addr - ss->recent.base < ss->recent.size) {
        *page = ss->recent;
        return 0;
    }
    reason = ss->translate(ss, addr, page);
    if (!reason) {
        ss->recent = *page;
    }
    return reason;
}

/* ---- Tables ---- */

static uint8_t table_no_update(const Walk *w, bool ss_writable, bool writable)
{
    if (w->tables->no_flag_update) {
        return reason_for(w, IOMMU_WALK_NO_FLAG_UPDATE);
    }
    if (!ss_writable) {
        return reason_for(w, IOMMU_WALK_TABLE_UNWRITABLE);
    }
    return writable ? 0 : reason_for(w, IOMMU_WALK_TABLE_READ_ONLY);
}

static uint8_t table_map(Walk *w, hwaddr addr, bool root, Table *table)
{
    const IOMMUWalkMem *mem = w->iw->mem;
    bool writable;
    bool ss_writable = true;

    if (w->ss) {
        IOMMUWalkPage page;
        uint8_t reason = second_stage(w, addr, &page);

        if (reason) {
            return reason;
        }
        if (!(page.perm & IOMMU_RO)) {
            return reason_for(w, root ? IOMMU_WALK_ROOT_UNREADABLE :
                                        IOMMU_WALK_TABLE_UNREADABLE);
        }
        ss_writable = page.perm & IOMMU_WO;
        addr = page.out + (addr - page.base);
    }
    table->entries = mem->map_table(mem, addr, &writable);
    if (!table->entries) {
        return reason_for(w, root ? IOMMU_WALK_ROOT_UNREACHABLE :
                                    IOMMU_WALK_TABLE_UNREACHABLE);
    }
    table->no_update = table_no_update(w, ss_writable, writable);
    table->first_dirty = IOMMU_WALK_ENTRIES;
    table->last_dirty = 0;
    return 0;
}

static void table_unmap(Walk *w, Table *table)
{
    const IOMMUWalkMem *mem = w->iw->mem;

    if (table->first_dirty <= table->last_dirty) {
        mem->mark_dirty(mem, table->entries, table->first_dirty,
                        table->last_dirty);
    }
}

/*
 * Set flags in an entry.  A vCPU may change it at the same time, so that a
 * plain store would undo the change of the vCPU.
 */
static Result set_flags(Table *table, unsigned index, uint64_t pte,
                        uint64_t flags, uint8_t *reason)
{
    uint64_t old = cpu_to_le64(pte);

    *reason = 0;
    if (!(flags & ~pte)) {
        return NEXT;
    }
    if (table->no_update) {
        *reason = table->no_update;
        return NEXT;
    }
    if (qatomic_cmpxchg__nocheck(&table->entries[index], old,
                                 cpu_to_le64(pte | flags)) != old) {
        return RETRY;
    }
    table->first_dirty = MIN(table->first_dirty, index);
    table->last_dirty = MAX(table->last_dirty, index);
    return NEXT;
}

/* ---- Entries ---- */

static inline uint8_t check_entry(const Walk *w, uint64_t pte, unsigned level)
{
    const X86PageRsvd *rsvd = w->tables->rsvd;
    uint64_t mask;

    if (!(pte & X86_PTE_P)) {
        return reason_for(w, IOMMU_WALK_NOT_PRESENT);
    }
    mask = level > 1 && (pte & X86_PTE_PS) ? rsvd->page[level] :
                                             rsvd->table[level];
    if (unlikely(pte & mask)) {
        return reason_for(w, IOMMU_WALK_RESERVED);
    }
    if (!(pte & X86_PTE_US) && !w->iw->req->priv) {
        return reason_for(w, IOMMU_WALK_PRIVILEGE);
    }
    return 0;
}

/* A privileged write needs R/W only with write protection enabled */
static inline bool may_write(const Walk *w, uint64_t pte)
{
    return (pte & X86_PTE_RW) ||
           (w->iw->req->priv && !w->tables->write_protect);
}

static uint64_t page_flags(const Walk *w, IOMMUAccessFlags grant)
{
    return w->tables->accessed | (grant & IOMMU_WO ? X86_PTE_D : 0);
}

static Result set_page_flags(Walk *w, const PageEntry *e,
                             IOMMUAccessFlags grant, uint8_t *reason)
{
    return set_flags(e->table, e->index, e->pte, page_flags(w, grant), reason);
}

/* Stores @page, which @e maps, and which is contiguous in physical memory. */
static Result page_whole(Walk *w, const PageEntry *e, IOMMUWalkPage *page,
                         uint64_t at, uint64_t end)
{
    IOMMUAccessFlags grant;
    uint8_t reason = iommu_walk_check_page(w->iw, w->tables->reasons, at, page,
                                           &grant);

    if (!reason && set_page_flags(w, e, grant, &reason) == RETRY) {
        return RETRY;
    }
    if (reason) {
        return hole(w, at, end, page->base, page->size, reason);
    }
    if (w->iw->req->untranslated) {
        grant |= page->perm & (e->pte & X86_PTE_D ? IOMMU_RW : IOMMU_RO);
    }
    return iommu_walk_region(w->iw, at, end, page->base,
                             page->base + page->size - 1, page->out, grant) ?
           NEXT : STOP;
}

/*
 * Translates the part of a page that contains @at by the second stage.  Sets
 * @part and the permissions to grant, or returns the reason for a hole.
 */
static uint8_t page_part(Walk *w, const PageEntry *e, uint64_t at,
                         IOMMUWalkPage *part, IOMMUAccessFlags *grant)
{
    const IOMMUWalkPage *page = &e->page;
    uint64_t addr = page->out + (at - page->base);
    uint8_t reason = second_stage(w, addr, part);

    part->size = MIN(part->size, page->size);
    part->out += (addr & ~(part->size - 1)) - part->base;
    part->base = at & ~(part->size - 1);
    *grant = IOMMU_NONE;
    if (!reason) {
        reason = iommu_walk_check_output(w->iw, w->tables->reasons, part->out,
                                         part->size, page->perm & part->perm,
                                         grant);
    }
    /* If flags cannot be set, a part that needs more flags causes a fault. */
    if (!reason && (page_flags(w, *grant) & ~e->pte)) {
        reason = e->table->no_update;
    }
    return reason;
}

/* Stores the parts into which the second stage cuts [@at, @end] of a page. */
static bool page_parts(Walk *w, const PageEntry *e, uint64_t at, uint64_t end,
                       IOMMUAccessFlags *granted)
{
    /*
     * A part may begin at addresses for which results have been stored.  New
     * results begin at @low.
     */
    uint64_t low = e->page.base;

    *granted = IOMMU_NONE;
    for (;;) {
        IOMMUWalkPage part = { };
        IOMMUAccessFlags grant;
        uint8_t reason = page_part(w, e, at, &part, &grant);
        uint64_t first = MAX(part.base, low);
        uint64_t last = part.base + part.size - 1;
        uint64_t stop = MIN(last, end);
        bool more;

        if (!iommu_walk_spend(w->iw)) {
            return false;
        }
        if (reason) {
            more = iommu_walk_hole(w->iw, at, stop, first, last, reason);
        } else {
            *granted |= grant;
            more = iommu_walk_region(w->iw, at, stop, first, last,
                                     part.out + (first - part.base), grant);
        }
        if (!more || stop == end) {
            return more;
        }
        low = at = stop + 1;
    }
}

/*
 * Stores a page that the second stage cuts into several parts.  The flags of
 * the entry depend on the permissions of all parts.  Therefore the parts are
 * not merged with earlier results until the flags are set.
 */
static Result page_cut(Walk *w, const PageEntry *e, uint64_t at, uint64_t end)
{
    IOMMUWalkRequest *req = w->iw->req;
    size_t floor = w->iw->merge_floor, from = req->num_results;
    uint8_t fault = req->fault, error = req->error, reason;
    IOMMUAccessFlags granted;
    bool more;

    w->iw->merge_floor = from;
    more = page_parts(w, e, at, end, &granted);
    w->iw->merge_floor = floor;
    if (granted && set_page_flags(w, e, granted, &reason) == RETRY) {
        req->num_results = from;
        req->fault = fault;
        req->error = error;
        w->iw->status = IOMMU_WALK_DONE;
        return RETRY;
    }
    iommu_walk_merge_from(w->iw, from);
    return more ? NEXT : STOP;
}

static Result page_nested(Walk *w, const PageEntry *e, uint64_t at,
                          uint64_t end)
{
    const IOMMUWalkPage *page = &e->page;
    uint64_t addr = page->out + (at - page->base);
    IOMMUWalkPage out;
    uint8_t reason = second_stage(w, addr, &out);

    if (out.size < page->size && (reason || !w->iw->req->untranslated)) {
        return page_cut(w, e, at, end);
    }
    if (reason) {
        return hole(w, at, end, page->base, page->size, reason);
    }
    if (out.size < page->size) {
        out.base = at & ~(out.size - 1);
    } else {
        out.out += page->out - out.base;
        out.base = page->base;
        out.size = page->size;
    }
    out.perm &= page->perm;
    return page_whole(w, e, &out, at, end);
}

static bool walk_table(Walk *w, unsigned level, hwaddr addr, uint64_t at,
                       uint64_t last, bool write);

static Result walk_entry(Walk *w, Table *table, unsigned level, uint64_t pte,
                         uint64_t at, uint64_t end, bool write)
{
    uint64_t size = iommu_walk_size(level);
    uint64_t base = at & ~(size - 1);
    unsigned index = iommu_walk_index(at, level);
    uint8_t reason = check_entry(w, pte, level);

    write = write && may_write(w, pte);
    if (!reason && is_leaf(pte, level)) {
        PageEntry e = {
            .table = table,
            .index = index,
            .pte = pte,
            .page = {
                .base = base,
                .size = size,
                .out = pte & X86_PTE_ADDR & ~(size - 1),
                .perm = IOMMU_ACCESS_FLAG(true, write),
            },
        };

        return w->ss ? page_nested(w, &e, at, end) :
                       page_whole(w, &e, &e.page, at, end);
    }
    if (!reason && set_flags(table, index, pte, w->tables->accessed,
                             &reason) == RETRY) {
        return RETRY;
    }
    if (reason) {
        return hole(w, at, end, base, size, reason);
    }
    return walk_table(w, level - 1, pte & X86_PTE_ADDR, at, end, write) ?
           NEXT : STOP;
}

/* ---- Fast path for entries of 4 KiB pages ---- */

/* Entries that grant all requested permissions and need no other check */
typedef struct Plain {
    uint64_t mask;
    uint64_t bits;              /* required value of the bits in @mask */
    uint64_t flags;             /* flags to set */
} Plain;

static inline Plain plain_entries(const Walk *w, const Table *table,
                                  unsigned level, bool write)
{
    const IOMMUWalkRequest *req = w->iw->req;
    uint64_t bits = X86_PTE_P;

    if (level != 1 || req->untranslated || table->no_update || w->ss ||
        ((req->want & IOMMU_WO) && !write)) {
        /* No entry matches this. */
        return (Plain) { .bits = bits };
    }
    bits |= req->priv ? 0 : X86_PTE_US;
    bits |= req->want & IOMMU_WO ? X86_PTE_RW : 0;
    return (Plain) {
        .mask = bits | w->tables->rsvd->table[1],
        .bits = bits,
        .flags = page_flags(w, req->want),
    };
}

static inline bool is_plain(const Walk *w, const Plain *plain, uint64_t pte)
{
    return (pte & plain->mask) == plain->bits &&
           !iommu_walk_is_forbidden(w->iw, pte & X86_PTE_ADDR,
                                    IOMMU_WALK_PAGE_SIZE);
}

static inline Result plain_page(Walk *w, Table *table, unsigned index,
                                uint64_t at, uint64_t pte, uint64_t flags)
{
    uint8_t no_reason;
    Result res = set_flags(table, index, pte, flags, &no_reason);

    if (likely(res == NEXT) &&
        !iommu_walk_push(w->iw, at & ~(IOMMU_WALK_PAGE_SIZE - 1),
                         pte & X86_PTE_ADDR, IOMMU_WALK_PAGE_SIZE - 1,
                         w->iw->req->want)) {
        return STOP;
    }
    return res;
}

/* ---- Ranges ---- */

static bool walk_entries(Walk *w, Table *table, unsigned level, uint64_t at,
                         uint64_t last, bool write)
{
    uint64_t size = iommu_walk_size(level);
    Plain plain = plain_entries(w, table, level, write);

    for (;;) {
        uint64_t end = MIN(at | (size - 1), last);
        unsigned index = iommu_walk_index(at, level);
        Result res;

        do {
            uint64_t pte = le64_to_cpu(qatomic_read__nocheck(
                                           &table->entries[index]));

            if (!iommu_walk_spend(w->iw)) {
                return false;
            }
            if (is_plain(w, &plain, pte)) {
                res = plain_page(w, table, index, at, pte, plain.flags);
            } else {
                res = walk_entry(w, table, level, pte, at, end, write);
            }
        } while (unlikely(res == RETRY));
        if (unlikely(res == STOP)) {
            return false;
        }
        if (end == last) {
            return true;
        }
        at = end + 1;
    }
}

static bool walk_table(Walk *w, unsigned level, hwaddr addr, uint64_t at,
                       uint64_t last, bool write)
{
    bool root = level == w->tables->levels;
    Table table;
    uint8_t reason = table_map(w, addr, root, &table);
    bool more;

    if (reason) {
        /* The top bit of the root index is the sign: half is contiguous. */
        uint64_t span = iommu_walk_size(level) <<
                        (IOMMU_WALK_LEVEL_BITS - (root ? 1 : 0));

        return hole(w, at, last, at & ~(span - 1), span, reason) == NEXT;
    }
    more = walk_entries(w, &table, level, at, last, write);
    table_unmap(w, &table);
    return more;
}

bool x86_page_walk(IOMMUWalk *iw, const X86PageTables *tables,
                   X86SecondStage *ss, uint64_t at, uint64_t last)
{
    Walk w = { iw, tables, ss };
    /* The addresses that are not canonical are in the middle. */
    uint64_t half = iommu_walk_size(tables->levels + 1) >> 1;
    uint64_t end;

    if (at < half) {
        end = MIN(last, half - 1);
        if (!walk_table(&w, tables->levels, tables->root, at, end, true)) {
            return false;
        }
        if (end == last) {
            return true;
        }
        at = end + 1;
    }
    if (at < -half) {
        end = MIN(last, -half - 1);
        if (!iommu_walk_hole(iw, at, end, half, -half - 1,
                             reason_for(&w, IOMMU_WALK_NOT_CANONICAL))) {
            return false;
        }
        if (end == last) {
            return true;
        }
        at = end + 1;
    }
    return walk_table(&w, tables->levels, tables->root, at, last, true);
}

void x86_page_rsvd_init(X86PageRsvd *rsvd, unsigned width, bool page_1g)
{
    uint64_t high = X86_PTE_ADDR & ~((1ull << width) - 1);

    for (unsigned level = 1; level <= X86_PAGE_MAX_LEVELS; level++) {
        uint64_t offset = (iommu_walk_size(level) - 1) & X86_PTE_ADDR;

        rsvd->table[level] = high;
        rsvd->page[level] = high | (offset & ~X86_PTE_PAT_LARGE);
        if (level > 3 || (level == 3 && !page_1g)) {
            rsvd->page[level] |= X86_PTE_PS;
        }
    }
}
