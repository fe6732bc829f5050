/*
 * Cache of an IOMMU's answers to translation requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The cache is a table with one slot for each hash.  An answer belongs to the
 * generation that was current before it was computed, and is valid while that
 * generation is current.  A generation is the sum of two counters: one counts
 * drops of all answers, the other drops of the answers for the PASID.  Neither
 * counter decreases, so that equal sums mean equal counters.  An invalidation
 * therefore is one or two additions, regardless of the contents of the cache.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/memalign.h"
#include "qemu/rcu.h"
#include "qemu/seqlock.h"
#include "exec/address-spaces.h"
#include "hw/pci/pci.h"
#include "iommu_answer_cache.h"

#define CACHE_LINE      64
#define CACHE_PASIDS    256

/*
 * An answer.  A writer owns the slot from making an even @lock odd until it
 * makes it even again.  A reader uses the other fields only if @lock was even
 * before it read them, and the same afterwards.
 */
typedef struct Answer {
    QemuSeqLock lock;
    uint32_t perm;
    aligned_uint64_t generation;
    aligned_uint64_t page;      /* address; bit 0 is set if privileged */
    aligned_uint64_t source;    /* source id and PASID */
    aligned_uint64_t mask;
    aligned_uint64_t out;
} QEMU_ALIGNED(CACHE_LINE) Answer;

struct IOMMUAnswerCache {
    /* A slot that has never been used grants no permission */
    Answer answers[IOMMU_ANSWER_CACHE_SIZE];
    aligned_uint64_t drops;
    /* Indexed by the low bits of the PASID; PCI_NO_PASID shares the last one */
    aligned_uint64_t pasid_drops[CACHE_PASIDS];
};

static inline uint64_t key_page(const IOMMUAnswerKey *key)
{
    return key->addr | key->priv;
}

static inline uint64_t key_source(const IOMMUAnswerKey *key)
{
    return (uint64_t)key->sid << 32 | key->pasid;
}

/*
 * Neighbouring pages of one source have different slots.  So do pages whose
 * distance is a large page, a buffer or a table: all bits of the address count.
 */
static inline unsigned key_index(const IOMMUAnswerKey *key)
{
    uint64_t hash = key_source(key) * 0x9e3779b97f4a7c15ull;
    uint64_t page = key->addr >> 12;

    return (page + (page >> 10) + (page >> 20) + (page >> 30) + (hash >> 32) +
            key->priv) & (IOMMU_ANSWER_CACHE_SIZE - 1);
}

bool iommu_answers_find(const IOMMUAnswerCache *cache,
                        const IOMMUAnswerKey *key, uint64_t last,
                        IOMMUAccessFlags want, IOMMUTLBEntry *entry)
{
    const Answer *a = &cache->answers[key_index(key)];
    unsigned seq = seqlock_read_begin(&a->lock);
    uint64_t mask;

    if (qatomic_read__nocheck(&a->page) != key_page(key) ||
        qatomic_read__nocheck(&a->source) != key_source(key) ||
        (want & ~qatomic_read(&a->perm))) {
        return false;
    }
    mask = qatomic_read__nocheck(&a->mask);
    if (last > (key->addr | mask)) {
        return false;
    }
    entry->target_as = &address_space_memory;
    entry->iova = key->addr & ~mask;
    entry->translated_addr = qatomic_read__nocheck(&a->out);
    entry->addr_mask = mask;
    entry->perm = want;
    entry->pasid = key->pasid;
    if (qatomic_read__nocheck(&a->generation) !=
        iommu_answers_generation(cache, key)) {
        return false;
    }
    return !seqlock_read_retry(&a->lock, seq);
}

void iommu_answers_add(IOMMUAnswerCache *cache, uint64_t generation,
                       const IOMMUAnswerKey *key, const IOMMUTLBEntry *entry)
{
    Answer *a = &cache->answers[key_index(key)];
    unsigned seq = qatomic_read(&a->lock.sequence);

    if ((seq & 1) ||
        qatomic_cmpxchg(&a->lock.sequence, seq, seq + 1) != seq) {
        return;
    }
    /* As in seqlock_write_begin() */
    smp_wmb();
    qatomic_set__nocheck(&a->generation, generation);
    qatomic_set__nocheck(&a->page, key_page(key));
    qatomic_set__nocheck(&a->source, key_source(key));
    qatomic_set__nocheck(&a->mask, entry->addr_mask);
    qatomic_set__nocheck(&a->out, entry->translated_addr);
    qatomic_set(&a->perm, entry->perm & IOMMU_RW);
    /* As in seqlock_write_end(), which does not support several writers */
    qatomic_store_release(&a->lock.sequence, seq + 2);
}

uint64_t iommu_answers_generation(const IOMMUAnswerCache *cache,
                                  const IOMMUAnswerKey *key)
{
    unsigned i = key->pasid % CACHE_PASIDS;
    uint64_t generation = qatomic_read__nocheck(&cache->drops) +
                          qatomic_read__nocheck(&cache->pasid_drops[i]);

    /* Pairs with qatomic_inc() in the invalidations */
    smp_mb_acquire();
    return generation;
}

void iommu_answers_invalidate(IOMMUAnswerCache *cache)
{
    qatomic_inc(&cache->drops);
}

void iommu_answers_invalidate_pasid(IOMMUAnswerCache *cache, uint32_t pasid)
{
    qatomic_inc(&cache->pasid_drops[pasid % CACHE_PASIDS]);
    qatomic_inc(&cache->pasid_drops[PCI_NO_PASID % CACHE_PASIDS]);
}

IOMMUAnswerCache *iommu_answers_new(void)
{
    IOMMUAnswerCache *cache = qemu_memalign(CACHE_LINE, sizeof(*cache));

    return memset(cache, 0, sizeof(*cache));
}

static bool is_cacheable(const IOMMUWalkRequest *walk, IOMMUWalkStatus status)
{
    return status == IOMMU_WALK_DONE && walk->num_results == 1 &&
           walk->result->perm == walk->want;
}

IOMMUWalkStatus iommu_answers_get(IOMMUAnswerCache *cache, uint16_t sid,
                                  bool exec, IOMMUWalkRequest *walk,
                                  IOMMUAnswerWalk *fn, const void *opaque)
{
    IOMMUAnswerKey key = {
        .sid = sid,
        .priv = walk->priv,
        .pasid = walk->pasid,
        .addr = walk->first,
    };
    uint64_t generation;
    IOMMUWalkStatus status;

    if (likely(!exec && iommu_answers_find(cache, &key, walk->last, walk->want,
                                           walk->result))) {
        walk->num_results = 1;
        return IOMMU_WALK_DONE;
    }
    RCU_READ_LOCK_GUARD();
    generation = iommu_answers_generation(cache, &key);
    status = fn(opaque, walk);
    if (is_cacheable(walk, status)) {
        iommu_answers_add(cache, generation, &key, walk->result);
    }
    return status;
}

uint32_t iommu_answers_finish(IOMMUWalkRequest *walk)
{
    uint32_t errors = 0;

    for (size_t i = 0; i < walk->num_results; i++) {
        IOMMUTLBEntry *entry = &walk->result[i];

        if (!(entry->perm & IOMMU_RW)) {
            errors++;
        } else if (walk->priv) {
            entry->perm |= IOMMU_PRIV;
        }
    }
    return errors;
}
