/*
 * VT-d: walks of first-stage, second-stage and nested page tables
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The walker knows tables and nothing else: no registers, no context entries
 * and no devices.  Guest memory comes through IOMMUWalkMem, what to walk through
 * VTDWalkConfig, and the answer is an array of IOMMUTLBEntry.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#ifndef HW_I386_INTEL_IOMMU_WALK_H
#define HW_I386_INTEL_IOMMU_WALK_H

#include "exec/address-spaces.h"
#include "exec/memory.h"

#define VTD_WALK_MAX_LEVELS     5

/*
 * Paging entries that one request may look at.  A guest can point every entry
 * at the same table, so the size of the range alone bounds nothing.
 */
#define VTD_WALK_BUDGET         (1u << 21)

typedef struct IOMMUWalkMem IOMMUWalkMem;

/**
 * struct IOMMUWalkMem: how the walker reaches guest memory
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
     * @writable: set to whether the entries may be changed
     *
     * Returns: the 4 KiB in host memory, good until the end of the RCU
     * read-side critical section, or NULL if @addr is not RAM or ROM
     */
    uint64_t *(*map_table)(const IOMMUWalkMem *mem, hwaddr addr, bool *writable);
    /**
     * @mark_dirty: entries of a page that @map_table returned were changed
     *
     * @mem: this structure
     * @table: what @map_table returned
     * @first: index of the first changed entry, 0 to 511
     * @last: index of the last changed entry, @first to 511
     */
    void (*mark_dirty)(const IOMMUWalkMem *mem, uint64_t *table,
                       unsigned first, unsigned last);
};

/* What the tables are for: the PGTT field of a PASID-table entry, 9.6 */
typedef enum VTDWalkType {
    VTD_WALK_FIRST_STAGE = 1,
    VTD_WALK_SECOND_STAGE = 2,
    VTD_WALK_NESTED = 3,
    VTD_WALK_PASS_THROUGH = 4,
} VTDWalkType;

/**
 * struct VTDWalkRsvd: reserved bits of paging entries, by level
 *
 * Indexed by level, 1 being the level of 4 KiB pages.  Filled in by
 * vtd_walk_rsvd_init(), constant afterwards.
 *
 * @fs_table: first-stage entry that refers to a table or maps 4 KiB
 * @fs_page: first-stage entry that maps a larger page
 * @ss_table: second-stage entry that refers to a table or maps 4 KiB
 * @ss_page: second-stage entry that maps a larger page
 */
typedef struct VTDWalkRsvd {
    uint64_t fs_table[VTD_WALK_MAX_LEVELS + 1];
    uint64_t fs_page[VTD_WALK_MAX_LEVELS + 1];
    uint64_t ss_table[VTD_WALK_MAX_LEVELS + 1];
    uint64_t ss_page[VTD_WALK_MAX_LEVELS + 1];
} VTDWalkRsvd;

/**
 * vtd_walk_rsvd_init: compute the reserved bits (3.6, 3.7, tables 34 to 47)
 *
 * @rsvd: what to fill in
 * @haw: host address width in bits, 32 to 52
 * @fs_1g: 1 GiB pages in first-stage tables (CAP.FS1GP)
 * @snoop: the SNP bit of second-stage leaf entries has a meaning (ECAP.SC)
 * @transient: bit 62 of second-stage leaf entries is ignored: it was Transient
 *             Mapping until revision 3.2 of the specification
 */
void vtd_walk_rsvd_init(VTDWalkRsvd *rsvd, unsigned haw, bool fs_1g,
                        bool snoop, bool transient);

/**
 * struct VTDWalkConfig: which tables to walk, and by which rules
 *
 * @type: kind of translation
 * @scalable: report the faults of scalable mode, else those of legacy mode
 * @fs_levels: 4 or 5
 * @fs_root: guest physical address of the first-stage root, a multiple of
 *           4 KiB; in the input address space of the second stage if nested
 * @ss_levels: 3, 4 or 5
 * @ss_width: width of a second-stage input address in bits, at most 57
 * @ss_root: guest physical address of the second-stage root, a multiple of
 *           4 KiB
 * @haw: host address width in bits, 32 to 52
 * @write_protect: WPE, a privileged write needs R/W as well (3.6.1)
 * @extended_accessed: EAFE, maintain bit 10 of first-stage entries (3.6.2)
 * @no_flag_update: accessed and dirty bits must have been set by software,
 *                  because the walk does not snoop caches (3.10, SFS.9)
 * @rsvd: reserved bits, owned by the caller
 */
typedef struct VTDWalkConfig {
    VTDWalkType type;
    bool scalable;
    uint8_t fs_levels;
    uint8_t ss_levels;
    uint8_t ss_width;
    uint8_t haw;
    bool write_protect;
    bool extended_accessed;
    bool no_flag_update;
    hwaddr fs_root;
    hwaddr ss_root;
    const VTDWalkRsvd *rsvd;
} VTDWalkConfig;

/**
 * struct VTDWalkRequest: what is asked, and the answer
 *
 * @first: first address, a multiple of 4 KiB
 * @last: last address, @first to UINT64_MAX
 * @want: permissions to give out where the tables allow them: IOMMU_RO,
 *        IOMMU_WO or IOMMU_RW.  Giving out IOMMU_WO sets the dirty bit.
 * @untranslated: @want is what the request does, so that missing a part of it
 *                is a fault, and the answer may add what costs no dirty bit
 * @priv: privileged request
 * @interrupt_input: addresses 0xfeexxxxx are not translated (3.15): the answer
 *                   is IOMMU_UNTRANSLATED_ONLY or a hole, see @want
 * @pasid: copied to the results
 * @result: array of results
 * @max_results: its length, at least 1
 * @num_results: out: results stored.  They are in order of address, without
 *               gaps, each a naturally aligned power of two in size; the first
 *               holds @first and may begin before it.  Neighbours that one
 *               entry can describe have been merged.
 * @fault: out: reason of the first hole or of the request's failure, a
 *         VTDFaultReason, or 0
 * @error: out: like @fault, but only reasons that block a translation request
 *         (7.1.3, table 30), as opposed to those that answer R = W = 0
 * @error_addr: out: the address that met @error
 */
typedef struct VTDWalkRequest {
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
} VTDWalkRequest;

typedef enum VTDWalkStatus {
    VTD_WALK_DONE,          /* the whole range has been answered */
    VTD_WALK_FULL,          /* there was no room for the rest of the range */
    VTD_WALK_EXHAUSTED,     /* VTD_WALK_BUDGET was used up before its end */
} VTDWalkStatus;

/**
 * vtd_walk: translate a range
 *
 * Accessed and dirty bits of first-stage tables are set in guest memory by
 * compare-and-exchange, those of leaf entries after all permission checks.
 *
 * Callable from any thread, within an RCU read-side critical section; takes no
 * locks.
 *
 * @mem: guest memory
 * @cfg: what to walk; not checked, except by assertions that a caller can keep
 *       whatever the guest does
 * @req: the request, and its answer
 *
 * Returns: how far the answer goes; unless VTD_WALK_DONE, the results cover
 * the beginning of the range
 */
VTDWalkStatus vtd_walk(const IOMMUWalkMem *mem, const VTDWalkConfig *cfg,
                       VTDWalkRequest *req);

/**
 * vtd_walk_blocked: answer a range that is not translated at all
 *
 * @req: the request; gets holes that cover the range and fault @reason
 * @reason: VTDFaultReason
 *
 * Returns: as vtd_walk()
 */
VTDWalkStatus vtd_walk_blocked(VTDWalkRequest *req, uint8_t reason);

/* Describe the page of 4 KiB that @addr is in, without permissions */
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

/* Map the block of @mask + 1 bytes that @addr is in to itself */
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

#endif
