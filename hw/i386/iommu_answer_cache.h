/*
 * Cache of an IOMMU's answers to translation requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Holds answers that consist of a single element, so that the same request
 * needs no page walk again.  An IOMMU has to drop answers before it invalidates
 * the same translations in device-TLBs.  The cache does not serve untranslated
 * requests.
 *
 * All functions are callable from any thread, concurrently; none takes a lock
 * or waits.
 */

#ifndef HW_I386_IOMMU_ANSWER_CACHE_H
#define HW_I386_IOMMU_ANSWER_CACHE_H

#include "iommu_walk.h"

/* Number of answers in a cache; a power of two */
#define IOMMU_ANSWER_CACHE_SIZE      1024

typedef struct IOMMUAnswerCache IOMMUAnswerCache;

/**
 * struct IOMMUAnswerKey: the part of a request that selects its answer
 *
 * @sid: source id
 * @priv: privileged request
 * @pasid: PASID, or PCI_NO_PASID
 * @addr: first address of the request, a multiple of 4 KiB
 */
typedef struct IOMMUAnswerKey {
    uint16_t sid;
    bool priv;
    uint32_t pasid;
    uint64_t addr;
} IOMMUAnswerKey;

/**
 * iommu_answers_new: create a cache without answers
 *
 * Returns: the cache; it lives as long as the IOMMU
 */
IOMMUAnswerCache *iommu_answers_new(void);

/**
 * iommu_answers_invalidate: drop all answers
 *
 * For invalidations of every granularity, and for every other change that
 * affects answers.  The cost does not depend on the contents of the cache.
 * Requests that begin after this has returned get no answer from tables that
 * were read before; an answer that is computed meanwhile is not found later.
 *
 * The caller first invalidates its own caches that answers are computed from,
 * such as cached entries of device and PASID tables.
 *
 * @cache: the cache
 */
void iommu_answers_invalidate(IOMMUAnswerCache *cache);

/**
 * iommu_answers_invalidate_pasid: drop all answers for a PASID
 *
 * Like iommu_answers_invalidate(), for invalidations of one PASID.  Also drops
 * answers to requests without PASID, since the IOMMU may translate these with
 * the tables of the PASID.
 *
 * @cache: the cache
 * @pasid: the PASID
 */
void iommu_answers_invalidate_pasid(IOMMUAnswerCache *cache, uint32_t pasid);

/**
 * iommu_answers_find: look up an answer
 *
 * @cache: the cache
 * @key: the request
 * @last: last address of the request, not below that of @key
 * @want: permissions that the request wants, IOMMU_RO or IOMMU_RW: the answer
 *        grants these and no others.  A cached answer with fewer permissions is
 *        not used, since the tables may allow more by now.
 * @entry: set to the answer, which covers the whole request; undefined if there
 *         is none
 *
 * Returns: true if there is an answer
 */
bool iommu_answers_find(const IOMMUAnswerCache *cache,
                        const IOMMUAnswerKey *key, uint64_t last,
                        IOMMUAccessFlags want, IOMMUTLBEntry *entry);

/**
 * iommu_answers_generation: get the generation for iommu_answers_add()
 *
 * Called before the caller reads the data from which it computes the answer.
 *
 * @cache: the cache
 * @key: the request
 *
 * Returns: a number that changes whenever the answer is dropped
 */
uint64_t iommu_answers_generation(const IOMMUAnswerCache *cache,
                                  const IOMMUAnswerKey *key);

/**
 * iommu_answers_add: add an answer
 *
 * Replaces another answer.  Does nothing while another thread adds an answer in
 * the same slot.
 *
 * @cache: the cache
 * @generation: from iommu_answers_generation() for @key; the answer is never
 *              found if it has been dropped since
 * @key: the request
 * @entry: the answer, with at least one permission; accessed and dirty bits are
 *         set as the permissions require
 */
void iommu_answers_add(IOMMUAnswerCache *cache, uint64_t generation,
                       const IOMMUAnswerKey *key, const IOMMUTLBEntry *entry);

/**
 * IOMMUAnswerWalk: walk the tables for a translation request
 *
 * Called within an RCU read-side critical section.
 *
 * @opaque: from iommu_answers_get()
 * @walk: the request, and its results
 *
 * Returns: the extent of the results
 */
typedef IOMMUWalkStatus IOMMUAnswerWalk(const void *opaque,
                                        IOMMUWalkRequest *walk);

/**
 * iommu_answers_get: answer a translation request from the cache or the tables
 *
 * Adds answers that grant all requested permissions without a fault.
 *
 * @cache: the cache
 * @sid: source id
 * @exec: execute permission is requested: the cache does not serve the request
 * @walk: the request, and its results
 * @fn: walks the tables if the cache has no answer
 * @opaque: passed to @fn
 *
 * Returns: the extent of the results
 */
IOMMUWalkStatus iommu_answers_get(IOMMUAnswerCache *cache, uint16_t sid,
                                  bool exec, IOMMUWalkRequest *walk,
                                  IOMMUAnswerWalk *fn, const void *opaque);

/**
 * iommu_answers_finish: set the Priv bits of an answer, and count its errors
 *
 * The Priv bit of a completion repeats that of the request.  Elements without
 * permissions are errors.  An element that grants only read permission to a
 * request for reading and writing is no error.
 *
 * @walk: the request, with its results
 *
 * Returns: the number of errors
 */
uint32_t iommu_answers_finish(IOMMUWalkRequest *walk);

#endif
