/*
 * Walks of x86 page tables with 4 or 5 levels
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tables have the format of process page tables: IOMMUs share them with
 * CPUs.  A walk reads a table once for the whole range that it translates.
 *
 * Nested translation: a second stage, whose format the IOMMU knows, translates
 * the addresses of the tables, and the addresses in their entries.
 */

#ifndef HW_I386_X86_PAGE_WALK_H
#define HW_I386_X86_PAGE_WALK_H

#include "iommu_walk.h"

#define X86_PAGE_MAX_LEVELS     5

#define X86_PTE_P               (1ull << 0)
#define X86_PTE_RW              (1ull << 1)
#define X86_PTE_US              (1ull << 2)
#define X86_PTE_A               (1ull << 5)
#define X86_PTE_D               (1ull << 6)
#define X86_PTE_PS              (1ull << 7)
/* Bit of an entry that maps a page larger than 4 KiB */
#define X86_PTE_PAT_LARGE       (1ull << 12)
/* Bits 51:12.  Bits at and above the physical address width are reserved. */
#define X86_PTE_ADDR            0x000ffffffffff000ull

/**
 * struct X86PageRsvd: reserved bits of entries, by level
 *
 * Level 1 is that of 4 KiB pages.
 *
 * @table: of an entry that refers to a table or maps 4 KiB
 * @page: of an entry that maps a larger page
 */
typedef struct X86PageRsvd {
    uint64_t table[X86_PAGE_MAX_LEVELS + 1];
    uint64_t page[X86_PAGE_MAX_LEVELS + 1];
} X86PageRsvd;

/**
 * x86_page_rsvd_init: compute the reserved bits
 *
 * Callable from any thread.
 *
 * @rsvd: set to the reserved bits
 * @width: width of physical addresses in bits, 32 to 52
 * @page_1g: pages of 1 GiB are supported
 */
void x86_page_rsvd_init(X86PageRsvd *rsvd, unsigned width, bool page_1g);

typedef struct X86SecondStage X86SecondStage;

/**
 * struct X86SecondStage: the second stage of nested translation
 *
 * Belongs to one walk.
 *
 * @recent: the page that was translated last; initialized with size 0
 */
struct X86SecondStage {
    /**
     * @translate: translate an address of the first stage
     *
     * @ss: this structure
     * @addr: the address
     * @page: @base and @size are always set, to a range that contains @addr
     *        and has one translation or one fault; @out and @perm are set on
     *        success
     *
     * Returns: 0, or the reason of the IOMMU for a fault
     */
    uint8_t (*translate)(X86SecondStage *ss, uint64_t addr,
                         IOMMUWalkPage *page);
    IOMMUWalkPage recent;
};

/**
 * struct X86PageTables: the tables to walk, and the rules
 *
 * @levels: 4 or 5
 * @write_protect: a privileged write needs R/W, as with CR0.WP
 * @no_flag_update: software must have set accessed and dirty bits
 * @accessed: bits that an access sets in an entry: X86_PTE_A, and additional
 *            bits that an IOMMU defines
 * @root: physical address of the root table, a multiple of 4 KiB; an address
 *        of the first stage if nested
 * @rsvd: reserved bits
 * @reasons: the reasons of the IOMMU, by IOMMUWalkFault; not 0
 */
typedef struct X86PageTables {
    uint8_t levels;
    bool write_protect;
    bool no_flag_update;
    uint64_t accessed;
    hwaddr root;
    const X86PageRsvd *rsvd;
    const uint8_t *reasons;
} X86PageTables;

/**
 * x86_page_walk: translate a range
 *
 * Sets accessed and dirty bits in guest memory by compare-and-exchange, those
 * of entries that map pages after all permission checks.
 *
 * Callable from any thread, within an RCU read-side critical section; takes no
 * locks.
 *
 * @w: the walk; @req is the request, and contains the results
 * @tables: the tables
 * @ss: the second stage if nested, or NULL
 * @at: first address, a multiple of 4 KiB
 * @last: last address, @at to UINT64_MAX
 *
 * Returns: false if the walk ended early, see @status
 */
bool x86_page_walk(IOMMUWalk *w, const X86PageTables *tables,
                   X86SecondStage *ss, uint64_t at, uint64_t last);

#endif
