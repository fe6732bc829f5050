/*
 * Walks of IOMMU page tables: results
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "iommu_walk.h"

void iommu_walk_note(IOMMUWalk *w, uint64_t addr, uint8_t reason)
{
    IOMMUWalkRequest *req = w->req;

    if (!req->fault) {
        req->fault = reason;
    }
    if (!req->error && w->blocks(reason)) {
        req->error = reason;
        req->error_addr = addr;
    }
}

/*
 * Returns the size of the largest naturally aligned block that contains @at and
 * is within [@first, @last].
 */
static uint64_t walk_block(uint64_t at, uint64_t first, uint64_t last)
{
    uint64_t size = IOMMU_WALK_PAGE_SIZE;

    while (size < IOMMU_WALK_MAX_BLOCK && (at & ~(size * 2 - 1)) >= first &&
           (at | (size * 2 - 1)) <= last) {
        size *= 2;
    }
    return size;
}

bool iommu_walk_region_cut(IOMMUWalk *w, uint64_t at, uint64_t stop,
                           uint64_t first, uint64_t last, hwaddr out,
                           IOMMUAccessFlags perm)
{
    uint64_t low = MAX(first, w->limit_first);
    uint64_t high = MIN(last, w->limit_last);

    for (;;) {
        uint64_t block = walk_block(at, low, high);
        uint64_t base = at & ~(block - 1);

        if (!iommu_walk_push(w, base,
                             perm & IOMMU_RW ? out + (base - first) : 0,
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

void iommu_walk_merge_from(IOMMUWalk *w, size_t from)
{
    IOMMUWalkRequest *req = w->req;
    size_t end = req->num_results;

    req->num_results = from;
    for (size_t i = from; i < end; i++) {
        IOMMUTLBEntry e = req->result[i];

        /* There is room, since a merge never needs more results than before. */
        iommu_walk_push(w, e.iova, e.translated_addr, e.addr_mask, e.perm);
    }
}

void iommu_walk_split(IOMMUWalk *w, uint64_t at, uint64_t last,
                      bool (*tables)(IOMMUWalk *w, uint64_t at, uint64_t last),
                      bool (*interrupts)(IOMMUWalk *w, uint64_t at,
                                         uint64_t last))
{
    bool more = true;

    if (at < IOMMU_WALK_INTERRUPT_FIRST) {
        uint64_t end = MIN(last, IOMMU_WALK_INTERRUPT_FIRST - 1);

        w->limit_last = IOMMU_WALK_INTERRUPT_FIRST - 1;
        more = tables(w, at, end);
        w->limit_last = UINT64_MAX;
        at = end + 1;
    }
    if (more && at <= last && at <= IOMMU_WALK_INTERRUPT_LAST) {
        uint64_t end = MIN(last, IOMMU_WALK_INTERRUPT_LAST);

        more = interrupts(w, at, end);
        at = end + 1;
    }
    if (more && at <= last) {
        w->limit_first = IOMMU_WALK_INTERRUPT_LAST + 1;
        tables(w, at, last);
    }
}

IOMMUWalkStatus iommu_walk_blocked(IOMMUWalkRequest *req, uint8_t reason,
                                   bool (*blocks)(uint8_t reason))
{
    IOMMUWalk w;

    iommu_walk_begin(&w, NULL, req, blocks);
    iommu_walk_hole(&w, req->first, req->last, 0, UINT64_MAX, reason);
    return w.status;
}
