/*
 * VT-d: bounds on the shadow of a guest's page tables
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * With caching mode (6.1) the guest also invalidates pages that it maps
 * (6.5.2).  Each invalidation synchronizes the mappings that MAP notifiers have
 * received, the shadow, with the second-stage tables of the guest.  Such a walk
 * reads all entries of the tables, and the shadow grows with the mappings that
 * they describe.  The guest controls both: with tables that are referenced more
 * than once, a few pages describe 2^36 mappings.
 *
 * The bounds are in proportion to the RAM of the machine.  A guest that maps
 * all of its RAM in pages of 4 KiB stays below them.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#ifndef HW_I386_INTEL_IOMMU_SHADOW_H
#define HW_I386_INTEL_IOMMU_SHADOW_H

#include "hw/i386/intel_iommu.h"

enum {
    /*
     * Mappings that an address space may have besides one for each page of
     * RAM.  This is the default limit of VFIO on the host (dma_entry_limit).
     */
    VTD_SHADOW_EXTRA_MAPPINGS = 65536,
    /* Entries that a walk may read besides two for each page of RAM */
    VTD_SHADOW_EXTRA_ENTRIES = 1 << 20,
};

/**
 * struct VTDShadowWalk - the work of a walk, and its bounds
 * @as: the address space whose tables are walked
 * @entries: number of entries that have been read
 * @max_entries: maximum number of entries to read
 * @notifications: number of calls of notifiers
 * @max_mappings: maximum number of mappings of @as
 * @exceeded: a bound has been reached
 */
typedef struct VTDShadowWalk {
    VTDAddressSpace *as;
    uint64_t entries;
    uint64_t max_entries;
    uint64_t notifications;
    uint64_t max_mappings;
    bool exceeded;
} VTDShadowWalk;

/**
 * vtd_shadow_extend: extend a range to the mappings that it overlaps
 *
 * An invalidation of any page of a large mapping invalidates all of it
 * (6.5.2.3), and VFIO cannot unmap a part of a mapping.
 *
 * Called with the BQL held.
 *
 * @as: an address space with a MAP notifier
 * @addr: first address of the range, which does not wrap
 * @size: size of the range in bytes, at least 1
 */
void vtd_shadow_extend(VTDAddressSpace *as, hwaddr *addr, hwaddr *size);

/**
 * vtd_shadow_begin: begin a walk of the second-stage tables
 *
 * Called with the BQL held.
 *
 * @w: initialized here; lives on the stack until vtd_shadow_end()
 * @as: an address space with a MAP notifier
 */
void vtd_shadow_begin(VTDShadowWalk *w, VTDAddressSpace *as);

/**
 * vtd_shadow_read: account for an entry that is about to be read
 *
 * Called with the BQL held.
 *
 * @w: the walk
 *
 * Returns: false if the walk must end here
 */
bool vtd_shadow_read(VTDShadowWalk *w);

/**
 * vtd_shadow_map: account for a mapping that is about to be added
 *
 * Called with the BQL held.
 *
 * @w: the walk
 *
 * Returns: false if the walk must end here
 */
bool vtd_shadow_map(VTDShadowWalk *w);

/**
 * vtd_shadow_notify: account for a call of the notifiers
 *
 * Called with the BQL held.
 *
 * @w: the walk
 */
void vtd_shadow_notify(VTDShadowWalk *w);

/**
 * vtd_shadow_end: charge the invalidation queue for the walk
 *
 * The first walk that exceeds a bound is reported.  Called with the BQL held.
 *
 * @w: the walk
 *
 * Returns: false if a bound has been exceeded: the shadow is incomplete, and
 * the caller must remove all of it
 */
bool vtd_shadow_end(VTDShadowWalk *w);

#endif
