/*
 * Walks of IOMMU page tables: requests, results, and access to memory
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The first part of this file is for code that requests translations.  The
 * second part is for the walkers of the table formats: each finds pages and
 * holes, and stores them with these functions.  They merge neighbouring
 * results, so that a contiguous range takes one element however small its pages
 * are.  The functions of the second part that run for each page are inline.
 *
 * A walker describes a fault as an IOMMUWalkFault.  The IOMMU provides its own
 * reason for each of them, and decides which of its reasons are errors.
 */

#ifndef HW_I386_IOMMU_WALK_H
#define HW_I386_IOMMU_WALK_H

#include "qemu/host-utils.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"

/*
 * Maximum number of paging entries that one request reads.  A guest can point
 * every entry at the same table, so the size of the range alone is no bound.
 */
#define IOMMU_WALK_BUDGET       (1u << 21)

typedef struct IOMMUWalkMem IOMMUWalkMem;

/**
 * struct IOMMUWalkMem: access to paging entries in guest memory
 *
 * All calls for one walk come from one thread, within one RCU read-side
 * critical section.
 */
struct IOMMUWalkMem {
    /**
     * @map_table: find a page of paging entries
     *
     * @mem: this structure
     * @addr: guest physical address, a multiple of 4 KiB
     * @writable: set to true if the entries may be changed
     *
     * Returns: the 4 KiB in host memory, valid until the end of the RCU
     * read-side critical section, or NULL if @addr is not RAM or ROM
     */
    uint64_t *(*map_table)(const IOMMUWalkMem *mem, hwaddr addr,
                           bool *writable);
    /**
     * @mark_dirty: report changes to entries of a page from @map_table
     *
     * @mem: this structure
     * @table: the page from @map_table
     * @first: index of the first changed entry, 0 to 511
     * @last: index of the last changed entry, @first to 511
     */
    void (*mark_dirty)(const IOMMUWalkMem *mem, uint64_t *table,
                       unsigned first, unsigned last);
};

/**
 * struct IOMMUWalkRequest: a request for the translation of a range
 *
 * @first: first address, a multiple of 4 KiB
 * @last: last address, @first to UINT64_MAX
 * @want: permissions to grant where the tables allow them: IOMMU_RO, IOMMU_WO
 *        or IOMMU_RW.  Granting IOMMU_WO sets the dirty bit.
 * @untranslated: the request is an untranslated request with the access @want.
 *                It is a fault if a part of @want is not allowed.  The result
 *                may also grant permissions that set no dirty bit.
 * @priv: privileged request
 * @interrupt_input: addresses 0xfeexxxxx are not translated: the result is
 *                   IOMMU_UNTRANSLATED_ONLY or a hole, depending on @want
 * @pasid: copied to the results
 * @result: array of results
 * @max_results: length of @result, at least 1
 * @num_results: out: number of results.  They are in order of address, without
 *               gaps, each a naturally aligned power of two in size; the first
 *               contains @first and may begin before it.  Neighbours that one
 *               element can describe are merged.
 * @fault: out: the reason for the first hole or for the failure of the
 *         request, or 0
 * @error: out: like @fault, but only for reasons that block a translation
 *         request, not for reasons that cause a completion without permissions
 * @error_addr: out: the address that caused @error
 */
typedef struct IOMMUWalkRequest {
    uint64_t first;
    uint64_t last;
    IOMMUAccessFlags want;
    bool untranslated;
    bool priv;
    bool interrupt_input;
    uint32_t pasid;
    IOMMUTLBEntry *result;
    size_t max_results;
    size_t num_results;
    uint8_t fault;
    uint8_t error;
    uint64_t error_addr;
} IOMMUWalkRequest;

typedef enum IOMMUWalkStatus {
    IOMMU_WALK_DONE,        /* the results cover the whole range */
    IOMMU_WALK_FULL,        /* there is no room for the rest of the range */
    IOMMU_WALK_EXHAUSTED,   /* IOMMU_WALK_BUDGET does not suffice for it */
} IOMMUWalkStatus;

/**
 * iommu_walk_blocked: complete a request for which no tables are walked
 *
 * Callable from any thread.
 *
 * @req: the request; gets holes that cover the range
 * @reason: the reason of the IOMMU for the fault, not 0
 * @blocks: checks whether a reason blocks a translation request
 *
 * Returns: the extent of the results
 */
IOMMUWalkStatus iommu_walk_blocked(IOMMUWalkRequest *req, uint8_t reason,
                                   bool (*blocks)(uint8_t reason));

/**
 * iommu_entry_blocked: describe a page without permissions
 *
 * @entry: set to the description
 * @pasid: PASID of the request, or PCI_NO_PASID
 * @addr: any address in the page of 4 KiB
 */
static inline void iommu_entry_blocked(IOMMUTLBEntry *entry, uint32_t pasid,
                                       hwaddr addr)
{
    *entry = (IOMMUTLBEntry) {
        .target_as = &address_space_memory,
        .iova = addr & ~0xfffull,
        .addr_mask = 0xfff,
        .perm = IOMMU_NONE,
        .pasid = pasid,
    };
}

/**
 * iommu_entry_identity: describe a block that is mapped to itself
 *
 * @entry: set to the description, with all permissions
 * @pasid: PASID of the request, or PCI_NO_PASID
 * @addr: any address in the block
 * @mask: size of the block in bytes, a power of two, minus 1
 */
static inline void iommu_entry_identity(IOMMUTLBEntry *entry, uint32_t pasid,
                                        hwaddr addr, hwaddr mask)
{
    *entry = (IOMMUTLBEntry) {
        .target_as = &address_space_memory,
        .iova = addr & ~mask,
        .translated_addr = addr & ~mask,
        .addr_mask = mask,
        .perm = IOMMU_RW,
        .pasid = pasid,
    };
}

/* ---- For walkers ---- */

#define IOMMU_WALK_PAGE_SHIFT   12
#define IOMMU_WALK_PAGE_SIZE    (1ull << IOMMU_WALK_PAGE_SHIFT)
#define IOMMU_WALK_LEVEL_BITS   9
#define IOMMU_WALK_ENTRIES      (1u << IOMMU_WALK_LEVEL_BITS)
/* The largest result.  Keeps addr_mask + 1 from overflowing. */
#define IOMMU_WALK_MAX_BLOCK    (1ull << 62)

/* Conditions that end a walk with a fault */
typedef enum IOMMUWalkFault {
    /* The address is beyond the width of the tables, or of their input */
    IOMMU_WALK_TOO_WIDE,
    IOMMU_WALK_NOT_CANONICAL,
    /* The root table, or another table, is not in memory */
    IOMMU_WALK_ROOT_UNREACHABLE,
    IOMMU_WALK_TABLE_UNREACHABLE,
    /* The second stage does not permit reading the root or another table */
    IOMMU_WALK_ROOT_UNREADABLE,
    IOMMU_WALK_TABLE_UNREADABLE,
    IOMMU_WALK_NOT_PRESENT,
    /* A reserved bit of an entry is set */
    IOMMU_WALK_RESERVED,
    /* An unprivileged request for a supervisor page */
    IOMMU_WALK_PRIVILEGE,
    IOMMU_WALK_NO_READ,
    IOMMU_WALK_NO_WRITE,
    /* The output address is in a range where none may be */
    IOMMU_WALK_FORBIDDEN_OUTPUT,
    /* Accessed and dirty bits must not be updated */
    IOMMU_WALK_NO_FLAG_UPDATE,
    /* The second stage does not permit writing the table to update them */
    IOMMU_WALK_TABLE_UNWRITABLE,
    /* The table is in read-only memory */
    IOMMU_WALK_TABLE_READ_ONLY,
    IOMMU_WALK_FAULTS
} IOMMUWalkFault;

/**
 * struct IOMMUWalkPage: the translation of a range of addresses
 *
 * @base: first input address, a multiple of @size
 * @size: number of bytes, a power of two and at least 4 KiB
 * @out: output address for @base
 * @perm: IOMMU_RO, IOMMU_WO or both
 */
typedef struct IOMMUWalkPage {
    uint64_t base;
    uint64_t size;
    hwaddr out;
    IOMMUAccessFlags perm;
} IOMMUWalkPage;

/**
 * struct IOMMUWalk: a walk in progress
 *
 * @mem: guest memory
 * @req: the request
 * @blocks: checks whether a reason blocks a translation request
 * @status: result of the walk
 * @budget: number of paging entries that the walk may still read
 * @merge_floor: new results are not merged with results below this index
 * @limit_first: first input address that results may include
 * @limit_last: last input address that results may include
 * @forbidden_first: first output address that is not allowed
 * @forbidden_end: the address after the last one that is not allowed, or 0
 */
typedef struct IOMMUWalk {
    const IOMMUWalkMem *mem;
    IOMMUWalkRequest *req;
    bool (*blocks)(uint8_t reason);
    IOMMUWalkStatus status;
    unsigned budget;
    size_t merge_floor;
    uint64_t limit_first;
    uint64_t limit_last;
    uint64_t forbidden_first;
    uint64_t forbidden_end;
} IOMMUWalk;

/**
 * iommu_walk_begin: begin a walk
 *
 * @w: set up with no results, no limits and no forbidden range
 * @mem: guest memory, or NULL if no table is read
 * @req: the request; its results are reset
 * @blocks: checks whether a reason blocks a translation request
 */
static inline void iommu_walk_begin(IOMMUWalk *w, const IOMMUWalkMem *mem,
                                    IOMMUWalkRequest *req,
                                    bool (*blocks)(uint8_t reason))
{
    assert(req->max_results);
    req->num_results = 0;
    req->fault = 0;
    req->error = 0;
    req->error_addr = 0;
    *w = (IOMMUWalk) {
        .mem = mem,
        .req = req,
        .blocks = blocks,
        .status = IOMMU_WALK_DONE,
        .budget = IOMMU_WALK_BUDGET,
        .limit_last = UINT64_MAX,
    };
}

/**
 * iommu_walk_note: record a fault without a result
 *
 * @w: the walk
 * @addr: the input address that caused the fault
 * @reason: the reason of the IOMMU, not 0
 */
void iommu_walk_note(IOMMUWalk *w, uint64_t addr, uint8_t reason);

/**
 * iommu_walk_merge_from: merge results that @merge_floor has kept apart
 *
 * @w: the walk, with @merge_floor at its former value
 * @from: index of the first result that was kept apart
 */
void iommu_walk_merge_from(IOMMUWalk *w, size_t from);

/* The range to which devices write message signalled interrupts */
#define IOMMU_WALK_INTERRUPT_FIRST  0xfee00000ull
#define IOMMU_WALK_INTERRUPT_LAST   0xfeefffffull

/**
 * iommu_walk_split: translate a range in parts: before, within and after the
 * interrupt range
 *
 * @w: the walk
 * @at: first address
 * @last: last address
 * @tables: translates a part outside the interrupt range; results do not extend
 *          into it.  Returns false if the walk ended early.
 * @interrupts: stores a result for a part of the interrupt range.  Returns
 *              false if there is no room.
 */
void iommu_walk_split(IOMMUWalk *w, uint64_t at, uint64_t last,
                      bool (*tables)(IOMMUWalk *w, uint64_t at, uint64_t last),
                      bool (*interrupts)(IOMMUWalk *w, uint64_t at,
                                         uint64_t last));

/* For iommu_walk_region(): the limits cut the region, or it is not a block */
bool iommu_walk_region_cut(IOMMUWalk *w, uint64_t at, uint64_t stop,
                           uint64_t first, uint64_t last, hwaddr out,
                           IOMMUAccessFlags perm);

static inline unsigned iommu_walk_shift(unsigned level)
{
    return IOMMU_WALK_PAGE_SHIFT + (level - 1) * IOMMU_WALK_LEVEL_BITS;
}

/* Bytes that an entry of @level translates; level 1 is that of 4 KiB pages */
static inline uint64_t iommu_walk_size(unsigned level)
{
    return 1ull << iommu_walk_shift(level);
}

static inline unsigned iommu_walk_index(uint64_t addr, unsigned level)
{
    return (addr >> iommu_walk_shift(level)) & (IOMMU_WALK_ENTRIES - 1);
}

/* Account for one entry; false if the budget does not allow it */
static inline bool iommu_walk_spend(IOMMUWalk *w)
{
    if (unlikely(!w->budget)) {
        w->status = IOMMU_WALK_EXHAUSTED;
        return false;
    }
    w->budget--;
    return true;
}

static inline bool iommu_walk_mergeable(const IOMMUTLBEntry *low,
                                        uint64_t iova, hwaddr out,
                                        uint64_t mask, IOMMUAccessFlags perm)
{
    uint64_t size = mask + 1;

    if (low->addr_mask != mask || low->perm != perm ||
        size > IOMMU_WALK_MAX_BLOCK) {
        return false;
    }
    if ((low->iova & size) || low->iova + size != iova) {
        return false;
    }
    return !(perm & IOMMU_RW) ||
           (!(low->translated_addr & size) &&
            low->translated_addr + size == out);
}

/* Store a block that continues the results; false if there is no room */
static inline bool iommu_walk_push(IOMMUWalk *w, uint64_t iova, hwaddr out,
                                   uint64_t mask, IOMMUAccessFlags perm)
{
    IOMMUWalkRequest *req = w->req;
    size_t n = req->num_results;

    while (n > w->merge_floor &&
           iommu_walk_mergeable(&req->result[n - 1], iova, out, mask, perm)) {
        n--;
        iova = req->result[n].iova;
        out = req->result[n].translated_addr;
        mask = mask * 2 + 1;
    }
    if (n == req->max_results) {
        w->status = IOMMU_WALK_FULL;
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

/**
 * iommu_walk_region: store a result for the input addresses of a region
 *
 * @w: the walk
 * @at: first address that the request needs, in the region
 * @stop: last address that the request needs, in the region
 * @first: first address of the region
 * @last: last address of the region
 * @out: output address for @first
 * @perm: permissions; without IOMMU_RO and IOMMU_WO there is no output address
 *
 * Returns: false if there is no room
 */
static inline bool iommu_walk_region(IOMMUWalk *w, uint64_t at, uint64_t stop,
                                     uint64_t first, uint64_t last, hwaddr out,
                                     IOMMUAccessFlags perm)
{
    uint64_t size = last - first + 1;

    if (likely(first >= w->limit_first && last <= w->limit_last &&
               is_power_of_2(size) && size <= IOMMU_WALK_MAX_BLOCK &&
               !(first & (size - 1)))) {
        return iommu_walk_push(w, first, out, size - 1, perm);
    }
    return iommu_walk_region_cut(w, at, stop, first, last, out, perm);
}

/* As iommu_walk_region(), for a region without permissions */
static inline bool iommu_walk_hole(IOMMUWalk *w, uint64_t at, uint64_t stop,
                                   uint64_t first, uint64_t last,
                                   uint8_t reason)
{
    iommu_walk_note(w, at, reason);
    return iommu_walk_region(w, at, stop, first, last, 0, IOMMU_NONE);
}

static inline bool iommu_walk_is_forbidden(const IOMMUWalk *w, hwaddr out,
                                           uint64_t size)
{
    return out < w->forbidden_end && out + size > w->forbidden_first;
}

/**
 * iommu_walk_check_output: compute the permissions that a request gets
 *
 * @w: the walk
 * @reasons: the reasons of the IOMMU, by IOMMUWalkFault
 * @out: output address of the page
 * @size: size of the page in bytes
 * @have: permissions of the page
 * @grant: set to the permissions to grant
 *
 * Returns: 0, or the reason why the request gets none
 */
static inline uint8_t iommu_walk_check_output(const IOMMUWalk *w,
                                              const uint8_t *reasons,
                                              hwaddr out, uint64_t size,
                                              IOMMUAccessFlags have,
                                              IOMMUAccessFlags *grant)
{
    const IOMMUWalkRequest *req = w->req;
    IOMMUAccessFlags missing = req->want & ~have;

    *grant = have & req->want;
    if (unlikely(req->untranslated ? missing : *grant == IOMMU_NONE)) {
        *grant = IOMMU_NONE;
        return reasons[missing & IOMMU_WO ? IOMMU_WALK_NO_WRITE :
                                            IOMMU_WALK_NO_READ];
    }
    return unlikely(iommu_walk_is_forbidden(w, out, size)) ?
           reasons[IOMMU_WALK_FORBIDDEN_OUTPUT] : 0;
}

/**
 * iommu_walk_check_page: compute the permissions that a request gets of a page
 *
 * An untranslated request is for one 4 KiB page.  If a larger page extends into
 * the forbidden range, only the part that the request accesses matters.
 *
 * @w: the walk
 * @reasons: the reasons of the IOMMU, by IOMMUWalkFault
 * @at: first address that the request needs, in the page
 * @page: the page; reduced to that part if necessary
 * @grant: set to the permissions to grant
 *
 * Returns: 0, or the reason why the request gets none
 */
static inline uint8_t iommu_walk_check_page(const IOMMUWalk *w,
                                            const uint8_t *reasons,
                                            uint64_t at, IOMMUWalkPage *page,
                                            IOMMUAccessFlags *grant)
{
    if (w->req->untranslated &&
        iommu_walk_is_forbidden(w, page->out, page->size)) {
        uint64_t base = at & ~(IOMMU_WALK_PAGE_SIZE - 1);

        page->out += base - page->base;
        page->base = base;
        page->size = IOMMU_WALK_PAGE_SIZE;
    }
    return iommu_walk_check_output(w, reasons, page->out, page->size,
                                   page->perm, grant);
}

#endif
