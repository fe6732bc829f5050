/*
 * AMD-Vi: walks of host, guest and nested page tables
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "hw/pci/pci.h"
#include "amd_iommu_walk.h"

/* Entries of host tables, 2.2.3 */
#define PTE_PR              BIT_ULL(0)
#define PTE_ADDR            MAKE_64BIT_MASK(12, 40)
#define PTE_U               BIT_ULL(59)
#define PTE_PERM_SHIFT      61          /* IR and IW: IOMMU_RO and IOMMU_WO */
#define PTE_RESERVED        MAKE_64BIT_MASK(52, 7)
#define PDE_RESERVED        MAKE_64BIT_MASK(52, 9)

/* Next Level: the level of the next table, or these */
#define NEXT_PAGE           0           /* a page of the default size */
#define NEXT_PAGE_SIZED     7           /* the address encodes the size */

/* Page Table Level Parameters: there are no pages at the highest level */
#define LEVEL_MAX           6

/* Entries of GCR3 tables, 2.2.6 */
#define GCR3_V              BIT_ULL(0)
#define GCR3_RESERVED       (MAKE_64BIT_MASK(1, 11) | MAKE_64BIT_MASK(52, 12))

/*
 * A walk of guest tables reads through @mem, which notes the address of the
 * first table that is not in memory.
 */
typedef struct Walk {
    IOMMUWalk iw;
    IOMMUWalkMem mem;
    const IOMMUWalkMem *inner;
    const AMDVIWalkConfig *cfg;
    bool missing;
    hwaddr unreachable;
} Walk;

static void note_missing(Walk *w, hwaddr addr)
{
    if (!w->missing) {
        w->missing = true;
        w->unreachable = addr;
    }
}

static uint64_t *walk_map_table(const IOMMUWalkMem *mem, hwaddr addr,
                                bool *writable)
{
    Walk *w = container_of(mem, Walk, mem);
    uint64_t *table = w->inner->map_table(w->inner, addr, writable);

    if (unlikely(!table)) {
        note_missing(w, addr);
    }
    return table;
}

static void walk_mark_dirty(const IOMMUWalkMem *mem, uint64_t *table,
                            unsigned first, unsigned last)
{
    const Walk *w = container_of(mem, Walk, mem);

    w->inner->mark_dirty(w->inner, table, first, last);
}

/* ---- Entries of host tables (2.2.3) ---- */

static inline unsigned next_level(uint64_t pte)
{
    return extract64(pte, 9, 3);
}

static inline bool is_page(uint64_t pte)
{
    unsigned next = next_level(pte);

    return next == NEXT_PAGE || next == NEXT_PAGE_SIZED;
}

/*
 * Page Size Encodings: the lowest bit that is 0, from bit 12 on, gives the
 * size.  Bits 63:52 of the address are 0.
 */
static inline uint64_t page_size(uint64_t pte, unsigned level)
{
    if (next_level(pte) == NEXT_PAGE) {
        return iommu_walk_size(level);
    }
    return 2ull << (12 + cto64((pte & PTE_ADDR) >> 12));
}

/* A page has at least the default size of its level, but not of the next */
static inline bool level_is_valid(uint64_t pte, unsigned level)
{
    switch (next_level(pte)) {
    case NEXT_PAGE:
        return level < LEVEL_MAX;
    case NEXT_PAGE_SIZED:
        return level < LEVEL_MAX &&
               page_size(pte, level) > iommu_walk_size(level) &&
               page_size(pte, level) < iommu_walk_size(level + 1);
    default:
        return next_level(pte) < level;
    }
}

/*
 * Checks an entry, and reduces @perm to the permissions that the entry and its
 * parents grant.
 */
static inline AMDVIFault check_entry(uint64_t pte, unsigned level,
                                     IOMMUAccessFlags *perm)
{
    if (!(pte & PTE_PR)) {
        return AMDVI_FAULT_HOST_NOT_PRESENT;
    }
    if (unlikely(pte & (is_page(pte) ? PTE_RESERVED : PDE_RESERVED))) {
        return AMDVI_FAULT_HOST_RESERVED;
    }
    if (unlikely(!level_is_valid(pte, level))) {
        return AMDVI_FAULT_HOST_LEVEL;
    }
    *perm &= pte >> PTE_PERM_SHIFT;
    return AMDVI_FAULT_NONE;
}

/* The last address of the range of a table that begins at an address */
static inline uint64_t table_last(uint64_t addr, unsigned level)
{
    return level < LEVEL_MAX ? addr | (iommu_walk_size(level + 1) - 1) :
                               UINT64_MAX;
}

static inline uint64_t table_first(uint64_t addr, unsigned level)
{
    return level < LEVEL_MAX ? addr & ~(iommu_walk_size(level + 1) - 1) : 0;
}

static inline uint64_t *map_host(Walk *w, unsigned level, hwaddr addr,
                                 uint64_t input)
{
    bool writable;
    uint64_t *table = w->inner->map_table(w->inner, addr, &writable);

    if (unlikely(!table)) {
        note_missing(w, addr + iommu_walk_index(input, level) * 8);
    }
    return table;
}

static inline uint64_t read_entry(const uint64_t *table, uint64_t addr,
                                  unsigned level)
{
    return le64_to_cpu(qatomic_read__nocheck(
                           &table[iommu_walk_index(addr, level)]));
}

/* ---- Host tables, for ranges ---- */

static const uint8_t host_reasons[IOMMU_WALK_FAULTS] = {
    [IOMMU_WALK_NO_READ] = AMDVI_FAULT_HOST_NO_READ,
    [IOMMU_WALK_NO_WRITE] = AMDVI_FAULT_HOST_NO_WRITE,
};

/* The permissions to grant, or the reason why there are none */
static inline uint8_t host_grant(const Walk *w, IOMMUAccessFlags have,
                                 IOMMUAccessFlags *grant)
{
    return iommu_walk_check_output(&w->iw, host_reasons, 0, 1, have, grant);
}

static bool host_page(Walk *w, unsigned level, uint64_t pte, uint64_t at,
                      uint64_t *end, IOMMUAccessFlags have)
{
    const IOMMUWalkRequest *req = w->iw.req;
    uint64_t size = page_size(pte, level);
    uint64_t base = at & ~(size - 1);
    uint64_t page_last = base | (size - 1);
    /* Other entries may have mapped the addresses before @at. */
    uint64_t first = req->num_results ? at : base;
    hwaddr out = pte & PTE_ADDR & ~(size - 1);
    IOMMUAccessFlags grant;
    uint8_t reason = host_grant(w, have, &grant);

    *end = MIN(page_last, *end);
    if (unlikely(reason)) {
        return iommu_walk_hole(&w->iw, at, *end, first, page_last, reason);
    }
    if (req->untranslated) {
        grant = have;
    } else if (pte & PTE_U) {
        grant |= IOMMU_UNTRANSLATED_ONLY;
    }
    return iommu_walk_region(&w->iw, at, *end, first, page_last,
                             out + (first - base), grant);
}

static bool host_table(Walk *w, unsigned level, hwaddr addr, uint64_t at,
                       uint64_t last, IOMMUAccessFlags perm);

/*
 * Walks a table that translates the addresses up to @reach.  Those beyond, up
 * to @beyond, have no translation for @reason.
 */
static bool host_part(Walk *w, unsigned level, hwaddr addr, uint64_t at,
                      uint64_t last, uint64_t reach, uint64_t beyond,
                      AMDVIFault reason, IOMMUAccessFlags perm)
{
    if (at <= reach) {
        uint64_t end = MIN(last, reach);
        bool more = host_table(w, level, addr, at, end, perm);

        if (!more || end == last) {
            return more;
        }
        at = end + 1;
    }
    return iommu_walk_hole(&w->iw, at, last, reach + 1, beyond, reason);
}

/*
 * Translates the addresses of an entry from @at on, at most to *@end.  Sets
 * @end to the last address for which there is a result.
 */
static bool host_entry(Walk *w, unsigned level, uint64_t pte, uint64_t at,
                       uint64_t *end, IOMMUAccessFlags perm)
{
    uint64_t size = iommu_walk_size(level);
    uint64_t base = at & ~(size - 1), entry_last = base | (size - 1);
    unsigned next = next_level(pte);
    IOMMUAccessFlags grant;
    uint8_t reason = check_entry(pte, level, &perm);

    if (!reason && is_page(pte)) {
        return host_page(w, level, pte, at, end, perm);
    }
    *end = MIN(*end, entry_last);
    if (!reason) {
        reason = host_grant(w, perm, &grant);
    }
    if (unlikely(reason)) {
        return iommu_walk_hole(&w->iw, at, *end, base, entry_last, reason);
    }
    /* The address bits of skipped levels must be 0. */
    return host_part(w, next, pte & PTE_ADDR, at, *end, table_last(base, next),
                     entry_last, AMDVI_FAULT_HOST_SKIPPED, perm);
}

static bool host_table(Walk *w, unsigned level, hwaddr addr, uint64_t at,
                       uint64_t last, IOMMUAccessFlags perm)
{
    uint64_t *table = map_host(w, level, addr, at);

    if (!table) {
        return iommu_walk_hole(&w->iw, at, last, table_first(at, level),
                               table_last(at, level),
                               AMDVI_FAULT_HOST_UNREACHABLE);
    }
    for (;;) {
        uint64_t pte = read_entry(table, at, level);
        uint64_t end = last;

        if (!iommu_walk_spend(&w->iw) ||
            !host_entry(w, level, pte, at, &end, perm)) {
            return false;
        }
        if (end == last) {
            return true;
        }
        at = end + 1;
    }
}

/* Mode 0: IR and IW of the device table entry apply, but nothing is walked */
static bool host_identity(Walk *w, uint64_t at, uint64_t last)
{
    IOMMUAccessFlags have = w->cfg->perm, grant;
    uint8_t reason = host_grant(w, have, &grant);

    if (reason) {
        return iommu_walk_hole(&w->iw, at, last, 0, UINT64_MAX, reason);
    }
    return iommu_walk_region(&w->iw, at, last, 0, UINT64_MAX, 0,
                             w->iw.req->untranslated ? have : grant);
}

static bool host_walk(Walk *w, uint64_t at, uint64_t last)
{
    const AMDVIWalkConfig *cfg = w->cfg;
    uint64_t reach = table_last(0, cfg->mode);
    IOMMUAccessFlags grant;
    uint8_t reason = host_grant(w, cfg->perm, &grant);

    if (reason && at <= reach) {
        uint64_t end = MIN(last, reach);
        bool more = iommu_walk_hole(&w->iw, at, end, 0, reach, reason);

        if (!more || end == last) {
            return more;
        }
        at = end + 1;
    }
    return host_part(w, cfg->mode, cfg->host_root, at, last, reach, UINT64_MAX,
                     AMDVI_FAULT_HOST_TOO_WIDE, cfg->perm);
}

/* ---- Host tables, as the second stage of guest tables (2.2.6) ---- */

/* The second stage, and the table of level 1 that was read last */
typedef struct HostStage {
    X86SecondStage parent;
    Walk *w;
    uint64_t *table;
    uint64_t region;
    IOMMUAccessFlags perm;
} HostStage;

static void page_set_size(IOMMUWalkPage *page, uint64_t addr, uint64_t size)
{
    page->base = addr & ~(size - 1);
    page->size = size;
}

/* The range of a table, or half of it if its size has 65 bits */
static void page_set_table(IOMMUWalkPage *page, uint64_t addr, unsigned level)
{
    page_set_size(page, addr, level < LEVEL_MAX ? iommu_walk_size(level + 1) :
                                                  1ull << 63);
}

static inline uint64_t *stage_table(HostStage *hs, uint64_t gpa,
                                    unsigned level, hwaddr addr,
                                    IOMMUAccessFlags perm)
{
    uint64_t *table = map_host(hs->w, level, addr, gpa);

    if (table && level == 1) {
        hs->table = table;
        hs->region = table_first(gpa, level);
        hs->perm = perm;
    }
    return table;
}

static AMDVIFault stage_descend(HostStage *hs, uint64_t gpa, unsigned level,
                                uint64_t *table, IOMMUWalkPage *page)
{
    for (;;) {
        unsigned next;
        uint64_t pte;
        AMDVIFault reason;

        if (!table) {
            page_set_table(page, gpa, level);
            return AMDVI_FAULT_HOST_UNREACHABLE;
        }
        pte = read_entry(table, gpa, level);
        page_set_size(page, gpa, iommu_walk_size(level));
        reason = check_entry(pte, level, &page->perm);
        if (reason) {
            return reason;
        }
        if (is_page(pte)) {
            page_set_size(page, gpa, page_size(pte, level));
            page->out = pte & PTE_ADDR & ~(page->size - 1);
            return AMDVI_FAULT_NONE;
        }
        next = next_level(pte);
        if (gpa > table_last(page->base, next)) {
            page_set_table(page, gpa, next);
            return AMDVI_FAULT_HOST_SKIPPED;
        }
        table = stage_table(hs, gpa, next, pte & PTE_ADDR, page->perm);
        level = next;
    }
}

static uint8_t stage_translate(X86SecondStage *ss, uint64_t gpa,
                               IOMMUWalkPage *page)
{
    HostStage *hs = container_of(ss, HostStage, parent);
    const AMDVIWalkConfig *cfg = hs->w->cfg;

    page->perm = cfg->perm;
    if (cfg->mode == AMDVI_DTE_MODE_NONE) {
        page_set_size(page, gpa, IOMMU_WALK_MAX_BLOCK);
        page->out = page->base;
        return AMDVI_FAULT_NONE;
    }
    if (gpa > table_last(0, cfg->mode)) {
        page_set_table(page, gpa, cfg->mode);
        return AMDVI_FAULT_HOST_TOO_WIDE;
    }
    if (hs->table && hs->region == table_first(gpa, 1)) {
        page->perm = hs->perm;
        return stage_descend(hs, gpa, 1, hs->table, page);
    }
    return stage_descend(hs, gpa, cfg->mode,
                         stage_table(hs, gpa, cfg->mode, cfg->host_root,
                                     cfg->perm), page);
}

/* ---- Guest tables (2.2.6) ---- */

static const uint8_t guest_reasons[IOMMU_WALK_FAULTS] = {
    [IOMMU_WALK_NOT_CANONICAL] = AMDVI_FAULT_GUEST_NOT_CANONICAL,
    [IOMMU_WALK_ROOT_UNREACHABLE] = AMDVI_FAULT_GUEST_UNREACHABLE,
    [IOMMU_WALK_TABLE_UNREACHABLE] = AMDVI_FAULT_GUEST_UNREACHABLE,
    [IOMMU_WALK_ROOT_UNREADABLE] = AMDVI_FAULT_GUEST_TABLE_UNREADABLE,
    [IOMMU_WALK_TABLE_UNREADABLE] = AMDVI_FAULT_GUEST_TABLE_UNREADABLE,
    [IOMMU_WALK_NOT_PRESENT] = AMDVI_FAULT_GUEST_NOT_PRESENT,
    [IOMMU_WALK_RESERVED] = AMDVI_FAULT_GUEST_RESERVED,
    [IOMMU_WALK_PRIVILEGE] = AMDVI_FAULT_GUEST_PRIVILEGE,
    [IOMMU_WALK_NO_READ] = AMDVI_FAULT_GUEST_NO_READ,
    [IOMMU_WALK_NO_WRITE] = AMDVI_FAULT_GUEST_NO_WRITE,
    [IOMMU_WALK_NO_FLAG_UPDATE] = AMDVI_FAULT_GUEST_FLAGS,
    [IOMMU_WALK_TABLE_UNWRITABLE] = AMDVI_FAULT_GUEST_TABLE_UNWRITABLE,
    [IOMMU_WALK_TABLE_READ_ONLY] = AMDVI_FAULT_GUEST_FLAGS,
};

/* As for the processor, with physical addresses of 52 bits */
static const X86PageRsvd guest_rsvd = {
    .page = {
        [2] = MAKE_64BIT_MASK(13, 8),
        [3] = MAKE_64BIT_MASK(13, 17),
        [4] = X86_PTE_PS,
        [5] = X86_PTE_PS,
    },
};

static bool guest_walk(Walk *w, uint64_t at, uint64_t last)
{
    const AMDVIWalkConfig *cfg = w->cfg;
    X86PageTables tables = {
        .levels = cfg->guest_levels,
        .write_protect = true,
        .no_flag_update = cfg->no_flag_update,
        .accessed = X86_PTE_A,
        .root = cfg->guest_root,
        .rsvd = &guest_rsvd,
        .reasons = guest_reasons,
    };
    HostStage hs = {
        .parent.translate = stage_translate,
        .w = w,
    };
    bool nested = cfg->mode != AMDVI_DTE_MODE_NONE || cfg->perm != IOMMU_RW;

    return x86_page_walk(&w->iw, &tables, nested ? &hs.parent : NULL, at, last);
}

/* The entry of the GCR3 table for a PASID, or a reason */
static AMDVIFault gcr3_lookup(const IOMMUWalkMem *mem, const AMDVIDTE *dte,
                              uint32_t pasid, hwaddr *root,
                              hwaddr *unreachable)
{
    hwaddr addr = dte->gcr3_root;

    if ((uint64_t)pasid >> (IOMMU_WALK_LEVEL_BITS * (dte->glx + 1))) {
        return AMDVI_FAULT_GCR3_PASID;
    }
    for (int level = dte->glx; level >= 0; level--) {
        unsigned index = extract64(pasid, IOMMU_WALK_LEVEL_BITS * level,
                                   IOMMU_WALK_LEVEL_BITS);
        bool writable;
        uint64_t *table = mem->map_table(mem, addr, &writable);
        uint64_t entry;

        if (!table) {
            *unreachable = addr + index * 8;
            return AMDVI_FAULT_GCR3_UNREACHABLE;
        }
        entry = le64_to_cpu(qatomic_read__nocheck(&table[index]));
        if (!(entry & GCR3_V)) {
            return AMDVI_FAULT_GCR3_NOT_PRESENT;
        }
        if (entry & GCR3_RESERVED) {
            return AMDVI_FAULT_GCR3_RESERVED;
        }
        addr = entry & PTE_ADDR;
    }
    *root = addr;
    return AMDVI_FAULT_NONE;
}

/* ---- Requests ---- */

/* MMIO 0020h and 0028h: the limit can be below the base. */
static void setup_exclusion(AMDVIWalkConfig *cfg, const AMDVIDTE *dte,
                            const AMDVIDTERules *rules)
{
    cfg->exclude = rules->exclude && (rules->exclude_all || dte->exclude) &&
                   rules->exclude_first <= rules->exclude_last;
    cfg->exclude_first = rules->exclude_first;
    cfg->exclude_last = rules->exclude_last;
}

static void setup_special(AMDVIWalkConfig *cfg, const AMDVIDTE *dte)
{
    cfg->special = true;
    cfg->int_abort = dte->int_valid && dte->int_control == AMDVI_DTE_INT_ABORT;
    cfg->sys_mgt = dte->sys_mgt;
    cfg->port_io = dte->port_io;
}

AMDVIFault amdvi_walk_setup(AMDVIWalkConfig *cfg, const IOMMUWalkMem *mem,
                            const AMDVIDTE *dte, const AMDVIDTERules *rules,
                            uint32_t pasid, hwaddr *unreachable)
{
    bool guest = rules->guest && dte->guest;

    *cfg = (AMDVIWalkConfig) { .perm = IOMMU_RW };
    if (!dte->valid) {
        return pasid == PCI_NO_PASID ? AMDVI_FAULT_NONE : AMDVI_FAULT_NO_GUEST;
    }
    if (!dte->translate) {
        return AMDVI_FAULT_NO_TRANSLATION;
    }
    cfg->mode = dte->mode;
    cfg->perm = IOMMU_ACCESS_FLAG(dte->read, dte->write);
    cfg->host_root = dte->host_root;
    if (pasid == PCI_NO_PASID) {
        setup_special(cfg, dte);
        setup_exclusion(cfg, dte, rules);
        if (!guest || !dte->guest_io) {
            return AMDVI_FAULT_NONE;
        }
        pasid = 0;
    }
    if (!guest) {
        return AMDVI_FAULT_NO_GUEST;
    }
    if (pasid > rules->max_pasid) {
        return AMDVI_FAULT_GCR3_PASID;
    }
    cfg->guest = true;
    cfg->guest_levels = dte->guest_levels;
    return gcr3_lookup(mem, dte, pasid, &cfg->guest_root, unreachable);
}

/* ---- Ranges of addresses ---- */

static bool walk_interrupts(Walk *w, uint64_t at, uint64_t last)
{
    if (w->iw.req->want & IOMMU_WO) {
        return iommu_walk_region(&w->iw, at, last, IOMMU_WALK_INTERRUPT_FIRST,
                                 IOMMU_WALK_INTERRUPT_LAST, 0,
                                 IOMMU_WO | IOMMU_UNTRANSLATED_ONLY);
    }
    return iommu_walk_hole(&w->iw, at, last, IOMMU_WALK_INTERRUPT_FIRST,
                           IOMMU_WALK_INTERRUPT_LAST,
                           AMDVI_FAULT_INTERRUPT_RANGE);
}

/* Translated requests for the exclusion range would need no translation. */
static bool walk_excluded(Walk *w, uint64_t at, uint64_t last)
{
    const AMDVIWalkConfig *cfg = w->cfg;
    const IOMMUWalkRequest *req = w->iw.req;

    return iommu_walk_region(&w->iw, at, last, cfg->exclude_first,
                             cfg->exclude_last, cfg->exclude_first,
                             req->untranslated ? IOMMU_RW :
                             req->want | IOMMU_UNTRANSLATED_ONLY);
}

static bool walk_tables(Walk *w, uint64_t at, uint64_t last)
{
    if (w->cfg->guest) {
        return guest_walk(w, at, last);
    }
    return w->cfg->mode == AMDVI_DTE_MODE_NONE ? host_identity(w, at, last) :
                                                 host_walk(w, at, last);
}

/* ---- Special addresses, of HyperTransport (2.1.2) ---- */

/*
 * Requests that pass become messages, which nothing in the machine receives:
 * they fail without a fault.  In particular, they do not reach memory that is
 * at these addresses.  Devices cannot translate the addresses in advance.
 */
static bool special_pass(Walk *w, uint64_t at, uint64_t last,
                         IOMMUAccessFlags perm, AMDVIFault fault)
{
    const IOMMUWalkRequest *req = w->iw.req;
    uint64_t first = w->iw.limit_first, end = w->iw.limit_last;

    if (!req->untranslated || (req->want & ~perm)) {
        return iommu_walk_hole(&w->iw, at, last, first, end, fault);
    }
    return iommu_walk_region(&w->iw, at, last, first, end, 0, IOMMU_NONE);
}

static bool special_reserved(Walk *w, uint64_t at, uint64_t last)
{
    return special_pass(w, at, last, IOMMU_NONE, AMDVI_FAULT_SPECIAL_RESERVED);
}

static bool special_interrupt(Walk *w, uint64_t at, uint64_t last)
{
    return special_pass(w, at, last,
                        w->cfg->int_abort ? IOMMU_NONE : IOMMU_WO,
                        AMDVI_FAULT_SPECIAL_INTERRUPT);
}

/* With SysMgt = 10b only INTx messages pass, which are not memory requests. */
static bool special_sys_mgt(Walk *w, uint64_t at, uint64_t last)
{
    switch (w->cfg->sys_mgt) {
    case AMDVI_DTE_SYS_MGT_TRANSLATE:
        return walk_tables(w, at, last);
    case AMDVI_DTE_SYS_MGT_MESSAGES:
        return special_pass(w, at, last, IOMMU_WO, AMDVI_FAULT_SPECIAL_SYS_MGT);
    default:
        return special_pass(w, at, last, IOMMU_NONE,
                            AMDVI_FAULT_SPECIAL_SYS_MGT);
    }
}

static bool special_port_io(Walk *w, uint64_t at, uint64_t last)
{
    switch (w->cfg->port_io) {
    case AMDVI_DTE_IO_TRANSLATE:
        return walk_tables(w, at, last);
    case AMDVI_DTE_IO_PASS:
        return special_pass(w, at, last, IOMMU_RW, AMDVI_FAULT_SPECIAL_PORT_IO);
    default:
        return special_pass(w, at, last, IOMMU_NONE,
                            AMDVI_FAULT_SPECIAL_PORT_IO);
    }
}

/* A range of addresses, and how they are translated */
typedef struct WalkRange {
    uint64_t first;
    uint64_t last;
    bool (*walk)(Walk *w, uint64_t at, uint64_t last);
} WalkRange;

static const WalkRange special_ranges[] = {
    { 0xfd00000000, 0xfdf7ffffff, special_reserved },
    { 0xfdf8000000, 0xfdf8ffffff, special_interrupt },
    { 0xfdf9100000, 0xfdf91fffff, special_sys_mgt },
    { 0xfdfc000000, 0xfdfdffffff, special_port_io },
};

#define SPECIAL_FIRST   0xfd00000000ull
#define SPECIAL_LAST    0xfdfdffffffull

/*
 * Reduces @range, which contains @at, to its part within or outside [@first,
 * @last].  Returns true if that is within.
 */
static inline bool range_cut(WalkRange *range, uint64_t at, uint64_t first,
                             uint64_t last)
{
    if (at < first) {
        range->last = MIN(range->last, first - 1);
        return false;
    }
    if (at > last) {
        range->first = MAX(range->first, last + 1);
        return false;
    }
    range->first = MAX(range->first, first);
    range->last = MIN(range->last, last);
    return true;
}

/* The same, for a part of @range that is special; in the other parts, false */
static bool range_cut_special(WalkRange *range, uint64_t at)
{
    if (!range_cut(range, at, SPECIAL_FIRST, SPECIAL_LAST)) {
        return false;
    }
    for (size_t i = 0; i < ARRAY_SIZE(special_ranges); i++) {
        const WalkRange *special = &special_ranges[i];

        if (range_cut(range, at, special->first, special->last)) {
            range->walk = special->walk;
            return true;
        }
    }
    return false;
}

static WalkRange range_at(const AMDVIWalkConfig *cfg, uint64_t at)
{
    WalkRange range = { 0, UINT64_MAX, walk_tables };

    if (range_cut(&range, at, IOMMU_WALK_INTERRUPT_FIRST,
                  IOMMU_WALK_INTERRUPT_LAST)) {
        range.walk = walk_interrupts;
    } else if (cfg->special && range_cut_special(&range, at)) {
        return range;
    } else if (cfg->exclude && range_cut(&range, at, cfg->exclude_first,
                                         cfg->exclude_last)) {
        range.walk = walk_excluded;
    }
    return range;
}

/* Results do not extend beyond their range. */
static void walk_ranges(Walk *w, uint64_t at, uint64_t last)
{
    for (;;) {
        WalkRange range = range_at(w->cfg, at);
        uint64_t end = MIN(last, range.last);

        w->iw.limit_first = range.first;
        w->iw.limit_last = range.last;
        if (!range.walk(w, at, end) || end == last) {
            return;
        }
        at = end + 1;
    }
}

IOMMUWalkStatus amdvi_walk(const IOMMUWalkMem *mem, const AMDVIWalkConfig *cfg,
                           IOMMUWalkRequest *req, hwaddr *unreachable)
{
    Walk w = {
        .mem = { walk_map_table, walk_mark_dirty },
        .inner = mem,
        .cfg = cfg,
    };

    iommu_walk_begin(&w.iw, &w.mem, req, amdvi_fault_blocks_ats);
    if (req->interrupt_input) {
        walk_ranges(&w, req->first, req->last);
    } else {
        walk_tables(&w, req->first, req->last);
    }
    if (w.missing) {
        *unreachable = w.unreachable;
    }
    return w.iw.status;
}
