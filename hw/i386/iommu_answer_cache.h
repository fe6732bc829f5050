/*
 * VT-d: the part of the IOTLB that serves translation requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Answers to translation requests that a single element holds are kept, so that
 * asking for them again costs no walk.  Invalidations have to drop them before
 * they go on to device-TLBs (6.5.2.5, 6.5.2.6).  Untranslated requests have an
 * IOTLB of their own.
 *
 * All functions may be called from any thread and from several at once; none
 * takes a lock or waits.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#ifndef HW_I386_IOMMU_ANSWER_CACHE_H
#define HW_I386_IOMMU_ANSWER_CACHE_H

#include "exec/memory.h"

/* Answers that are kept; a power of two */
#define VTD_ATS_CACHE_SIZE      1024

typedef struct VTDATSCache VTDATSCache;

/**
 * struct VTDATSCacheKey: what an answer depends on (6.2.1), and is kept by
 *
 * @sid: source id
 * @pasid: PASID, or PCI_NO_PASID
 * @priv: privileged request
 * @addr: first address of the request, a multiple of 4 KiB
 */
typedef struct VTDATSCacheKey {
    uint16_t sid;
    bool priv;
    uint32_t pasid;
    uint64_t addr;
} VTDATSCacheKey;

/**
 * vtd_ats_cache_new: create a cache without answers
 */
VTDATSCache *vtd_ats_cache_new(void);

/**
 * vtd_ats_cache_invalidate: drop all answers
 *
 * For IOTLB invalidations of every granularity, and whenever anything else that
 * answers depend on has changed: coarser than asked for is allowed (6.5.2.3),
 * and the cost does not depend on what is kept.  Requests that begin after this
 * returned get no answer that was found in the tables before; nor does one that
 * is being worked out meanwhile stay.
 *
 * What answers are made from, like cached context and PASID-table entries, must
 * have been invalidated before this is called.
 *
 * @cache: the cache
 */
void vtd_ats_cache_invalidate(VTDATSCache *cache);

/**
 * vtd_ats_cache_invalidate_pasid: drop all answers of a PASID
 *
 * Like vtd_ats_cache_invalidate(), for PASID-based IOTLB invalidations of every
 * granularity (6.5.2.4).  Drops answers to requests without PASID as well: the
 * PASID may be the one that they are tagged with (6.2.1).
 *
 * @cache: the cache
 * @pasid: the PASID
 */
void vtd_ats_cache_invalidate_pasid(VTDATSCache *cache, uint32_t pasid);

/**
 * vtd_ats_cache_find: look for an answer
 *
 * @cache: the cache
 * @key: what is asked
 * @last: last address of the request, not below that of @key
 * @want: permissions that the answer has to give, and all that it gives:
 *        IOMMU_RO or IOMMU_RW.  What is kept with fewer is not used, since it
 *        is for the tables to say that they do not give more.
 * @entry: out: the answer, for all of the request; unspecified if there is none
 *
 * Returns: whether there is one
 */
bool vtd_ats_cache_find(const VTDATSCache *cache, const VTDATSCacheKey *key,
                        uint64_t last, IOMMUAccessFlags want,
                        IOMMUTLBEntry *entry);

/**
 * vtd_ats_cache_generation: what vtd_ats_cache_add() has to know
 *
 * Called before anything is read that an answer depends on.
 *
 * @cache: the cache
 * @key: what is asked
 *
 * Returns: a number that changes whenever the answer is dropped
 */
uint64_t vtd_ats_cache_generation(const VTDATSCache *cache,
                                  const VTDATSCacheKey *key);

/**
 * vtd_ats_cache_add: keep an answer
 *
 * Takes the place of another, and does nothing when a thread is adding one at
 * the same place.
 *
 * @cache: the cache
 * @generation: from vtd_ats_cache_generation() for @key; should there have been
 *              an invalidation since, nobody will find the answer
 * @key: what was asked
 * @entry: the answer; gives a permission, for which accessed and dirty bits are
 *         set (6.2.4.1)
 */
void vtd_ats_cache_add(VTDATSCache *cache, uint64_t generation,
                       const VTDATSCacheKey *key, const IOMMUTLBEntry *entry);

#endif
