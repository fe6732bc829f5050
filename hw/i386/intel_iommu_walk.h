/*
 * VT-d: walks of first-stage, second-stage and nested page tables
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The walker depends on page tables only, not on registers, context entries or
 * devices.  First-stage tables are x86 page tables, see x86_page_walk.h.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#ifndef HW_I386_INTEL_IOMMU_WALK_H
#define HW_I386_INTEL_IOMMU_WALK_H

#include "iommu_walk.h"
#include "x86_page_walk.h"

#define VTD_WALK_MAX_LEVELS     5

/* Type of translation: the PGTT field of a PASID-table entry, 9.6 */
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
 * @fs: first-stage entries
 * @ss_table: second-stage entry that refers to a table or maps 4 KiB
 * @ss_page: second-stage entry that maps a larger page
 */
typedef struct VTDWalkRsvd {
    X86PageRsvd fs;
    uint64_t ss_table[VTD_WALK_MAX_LEVELS + 1];
    uint64_t ss_page[VTD_WALK_MAX_LEVELS + 1];
} VTDWalkRsvd;

/**
 * vtd_walk_rsvd_init: compute the reserved bits (3.6, 3.7, tables 34 to 47)
 *
 * @rsvd: set to the reserved bits
 * @haw: host address width in bits, 32 to 52
 * @fs_1g: 1 GiB pages in first-stage tables (CAP.FS1GP)
 * @snoop: the SNP bit of second-stage leaf entries has a meaning (ECAP.SC)
 * @transient: bit 62 of second-stage leaf entries is ignored: it was Transient
 *             Mapping until revision 3.2 of the specification
 */
void vtd_walk_rsvd_init(VTDWalkRsvd *rsvd, unsigned haw, bool fs_1g,
                        bool snoop, bool transient);

/**
 * struct VTDWalkReasons: the fault reasons of a translation table mode
 *
 * The arrays are indexed by IOMMUWalkFault and have values of VTDFaultReason.
 * Faults with the value 0 do not occur, except as described.
 *
 * @first_stage: of first-stage tables; IOMMU_WALK_TOO_WIDE is an address that
 *               is too wide for the second stage
 * @second_stage: of second-stage tables.  If IOMMU_WALK_NOT_PRESENT is 0, the
 *                reason is the one for the missing permission.
 * @host_width: pass-through of an address beyond the host address width
 * @blocks: checks whether a reason blocks a translation request (table 30)
 */
typedef struct VTDWalkReasons {
    uint8_t first_stage[IOMMU_WALK_FAULTS];
    uint8_t second_stage[IOMMU_WALK_FAULTS];
    uint8_t host_width;
    bool (*blocks)(uint8_t reason);
} VTDWalkReasons;

/**
 * struct VTDWalkConfig: which tables to walk, and by which rules
 *
 * @type: kind of translation, a VTDWalkType
 * @fs_levels: 4 or 5
 * @ss_levels: 3, 4 or 5
 * @ss_width: width of a second-stage input address in bits, at most 57
 * @haw: host address width in bits, 32 to 52
 * @write_protect: WPE, a privileged write needs R/W as well (3.6.1)
 * @extended_accessed: EAFE, maintain bit 10 of first-stage entries (3.6.2)
 * @no_flag_update: accessed and dirty bits must have been set by software,
 *                  because the walk does not snoop caches (3.10, SFS.9)
 * @fs_root: guest physical address of the first-stage root, a multiple of
 *           4 KiB; in the input address space of the second stage if nested
 * @ss_root: guest physical address of the second-stage root, a multiple of
 *           4 KiB
 * @rsvd: reserved bits, owned by the caller
 * @reasons: fault reasons of the translation table mode
 */
typedef struct VTDWalkConfig {
    uint8_t type;
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
    const VTDWalkReasons *reasons;
} VTDWalkConfig;

/**
 * vtd_walk: translate a range
 *
 * Sets accessed and dirty bits of first-stage tables in guest memory by
 * compare-and-exchange, those of leaf entries after all permission checks.
 *
 * Callable from any thread, within an RCU read-side critical section; takes no
 * locks.
 *
 * @mem: guest memory
 * @cfg: the tables and rules; assertions check it, and the caller has to ensure
 *       that no guest can make them fail
 * @req: the request, and its results; the reasons are VTDFaultReason
 *
 * Returns: the extent of the results; unless IOMMU_WALK_DONE, the results cover
 * the beginning of the range
 */
IOMMUWalkStatus vtd_walk(const IOMMUWalkMem *mem, const VTDWalkConfig *cfg,
                         IOMMUWalkRequest *req);

#endif
