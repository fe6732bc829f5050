/*
 * A plain model of VT-d page table walks, and memory to walk through
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * For the unit test and the fuzzer of hw/i386/intel_iommu_walk.c.  The checks
 * abort when they fail.  Section numbers are those of the Intel Virtualization
 * Technology for Directed I/O specification, revision 5.10.
 */

#ifndef TESTS_UNIT_INTEL_IOMMU_WALK_MODEL_H
#define TESTS_UNIT_INTEL_IOMMU_WALK_MODEL_H

#include "hw/i386/intel_iommu_walk.h"

#define PAGE    4096ull

/* First-stage entry bits (9.7) */
#define P       (1ull << 0)
#define RW      (1ull << 1)
#define US      (1ull << 2)
#define A       (1ull << 5)
#define D       (1ull << 6)
#define PS      (1ull << 7)
#define EA      (1ull << 10)
/* Second-stage entry bits (9.8) */
#define SR      (1ull << 0)
#define SW      (1ull << 1)

#define WALK_MEMORY_PAGES       64
#define WALK_MEMORY_ENTRIES     (WALK_MEMORY_PAGES * 512)

/**
 * struct WalkMemory: guest memory, from address 0 on, the last quarter
 * read-only
 *
 * @mem: for vtd_walk()
 * @entry: the contents
 * @dirty: which of them the walk said it changed
 * @tables: how many tables the walk has asked for
 * @change_at: when @tables gets there, @change is flipped in @change_entry,
 *             as a vCPU does that runs meanwhile; 0 for never
 */
typedef struct WalkMemory {
    VTDWalkMem mem;
    uint64_t entry[WALK_MEMORY_ENTRIES];
    bool dirty[WALK_MEMORY_ENTRIES];
    uint64_t tables;
    uint64_t change_at;
    unsigned change_entry;
    uint64_t change;
} WalkMemory;

/* Empty memory; g_free() it */
WalkMemory *walk_memory_new(void);

/* The input addresses that an entry of a level stands for, in bytes */
static inline uint64_t walk_entry_size(unsigned level)
{
    return 1ull << (12 + 9 * (level - 1));
}

/**
 * walk_check_shape: check the results against the rules of VTDWalkRequest
 *
 * @req: the request
 * @status: what vtd_walk() returned for it
 */
void walk_check_shape(const VTDWalkRequest *req, VTDWalkStatus status);

/**
 * walk_check_results: check results against the model
 *
 * The host address width is 48 bits, and 1 GiB pages and the snoop bit are
 * supported.
 *
 * @cfg: the configuration of the walk
 * @req: the request
 * @status: what vtd_walk() returned for it
 * @entry: what guest memory held before; the model changes it as the walk
 *         should have
 * @max_pages: check so many pages of the range, from its beginning
 *
 * Returns: whether that was all of the range
 */
bool walk_check_results(const VTDWalkConfig *cfg, const VTDWalkRequest *req,
                        VTDWalkStatus status, uint64_t *entry,
                        uint64_t max_pages);

/**
 * walk_model_page: what the model answers to a translation request
 *
 * @cfg: the configuration of the walk
 * @entry: what guest memory holds; changed as the walk should change it
 * @addr: any address in the page
 * @want: see VTDWalkRequest, like
 * @priv: and
 * @interrupt_input
 * @out: set to the address that the page is mapped to, if it is
 *
 * Returns: the permissions
 */
IOMMUAccessFlags walk_model_page(const VTDWalkConfig *cfg, uint64_t *entry,
                                 uint64_t addr, IOMMUAccessFlags want,
                                 bool priv, bool interrupt_input, hwaddr *out);

/**
 * walk_check_memory: check what the walk did to guest memory
 *
 * @m: guest memory
 * @before: what it was before
 * @model: what it should be now
 */
void walk_check_memory(const WalkMemory *m, const uint64_t *before,
                       const uint64_t *model);

#endif
