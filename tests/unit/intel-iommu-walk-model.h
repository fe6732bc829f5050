/*
 * A plain model of VT-d page table walks, and memory for their tables
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The unit test and the fuzzer of hw/i386/intel_iommu_walk.c use it.  The
 * checks abort on failure.  Section numbers are those of the Intel
 * Virtualization Technology for Directed I/O specification, revision 5.10.
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
 * @dirty: true if the walk has marked the entry as changed
 * @tables: number of tables that the walk has mapped
 * @change_at: when @tables reaches it, the bits @change in @change_entry are
 *             inverted, as if a vCPU changed the entry; 0 for never
 */
typedef struct WalkMemory {
    IOMMUWalkMem mem;
    uint64_t entry[WALK_MEMORY_ENTRIES];
    bool dirty[WALK_MEMORY_ENTRIES];
    uint64_t tables;
    uint64_t change_at;
    unsigned change_entry;
    uint64_t change;
} WalkMemory;

/* Returns empty memory; free it with g_free() */
WalkMemory *walk_memory_new(void);

/* Returns the size in bytes of the address range of an entry of @level */
static inline uint64_t walk_entry_size(unsigned level)
{
    return 1ull << (12 + 9 * (level - 1));
}

/**
 * walk_check_shape: check the results against the rules of IOMMUWalkRequest
 *
 * @req: the request
 * @status: the result of vtd_walk()
 */
void walk_check_shape(const IOMMUWalkRequest *req, IOMMUWalkStatus status);

/**
 * walk_check_results: check results against the model
 *
 * The host address width is 48 bits, and 1 GiB pages and the snoop bit are
 * supported.
 *
 * @cfg: the configuration of the walk
 * @req: the request
 * @status: the result of vtd_walk()
 * @entry: contents of guest memory before the walk; the model changes it like
 *         the walk
 * @max_pages: number of pages to check, from the beginning of the range
 *
 * Returns: true if it has checked the whole range
 */
bool walk_check_results(const VTDWalkConfig *cfg, const IOMMUWalkRequest *req,
                        IOMMUWalkStatus status, uint64_t *entry,
                        uint64_t max_pages);

/**
 * walk_model_page: process a translation request with the model
 *
 * @cfg: the configuration of the walk
 * @entry: contents of guest memory; the model changes it like the walk
 * @addr: any address in the page
 * @want: as in IOMMUWalkRequest
 * @priv: as in IOMMUWalkRequest
 * @interrupt_input: as in IOMMUWalkRequest
 * @out: set to the address of the page, if it is mapped
 *
 * Returns: the permissions
 */
IOMMUAccessFlags walk_model_page(const VTDWalkConfig *cfg, uint64_t *entry,
                                 uint64_t addr, IOMMUAccessFlags want,
                                 bool priv, bool interrupt_input, hwaddr *out);

/**
 * walk_check_memory: check the changes of the walk to guest memory
 *
 * @m: guest memory
 * @before: contents before the walk
 * @model: expected contents
 */
void walk_check_memory(const WalkMemory *m, const uint64_t *before,
                       const uint64_t *model);

#endif
