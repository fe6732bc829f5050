/*
 * Memory for page tables, and checks of the results of walks
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The unit tests and fuzzers of the walkers of page tables use it.  The checks
 * abort on failure.
 */

#ifndef TESTS_UNIT_WALK_MEMORY_H
#define TESTS_UNIT_WALK_MEMORY_H

#include "hw/i386/iommu_walk.h"

#define PAGE    4096ull

/* Bits of entries of x86 page tables */
#define P       (1ull << 0)
#define RW      (1ull << 1)
#define US      (1ull << 2)
#define A       (1ull << 5)
#define D       (1ull << 6)
#define PS      (1ull << 7)

#define WALK_MEMORY_PAGES       64
#define WALK_MEMORY_ENTRIES     (WALK_MEMORY_PAGES * 512)

/**
 * struct WalkMemory: guest memory, from address 0 on, the last quarter
 * read-only
 *
 * @mem: for the walk
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

/* Returns whether an address is in the part that can be written */
bool walk_memory_is_writable(hwaddr addr);

/* Returns empty memory; free it with g_free() */
WalkMemory *walk_memory_new(void);

/* Returns the size in bytes of the address range of an entry of @level */
static inline uint64_t walk_entry_size(unsigned level)
{
    return 1ull << (12 + 9 * (level - 1));
}

/**
 * walk_model_flags: set accessed and dirty bits in a model
 *
 * @e: the entry
 * @flags: the bits
 * @no_update: the reason for which bits cannot be set, or 0
 *
 * Returns: 0, or @no_update if a bit is clear
 */
uint8_t walk_model_flags(uint64_t *e, uint64_t flags, uint8_t no_update);

/**
 * walk_check_shape: check the results against the rules of IOMMUWalkRequest
 *
 * @req: the request
 * @status: the result of the walk
 */
void walk_check_shape(const IOMMUWalkRequest *req, IOMMUWalkStatus status);

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
