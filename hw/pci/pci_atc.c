/*
 * PCIe address translation cache (ATC) for device models
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The table is set associative.  A set occupies two cache lines and has a
 * sequence counter.  An entry consists of three words:
 *
 *   key    input address, order (log2 of the size in 4 KiB pages), Priv
 *   tag    PASID and generation, 0 for a free way
 *   value  translated address, PCIATCFlags
 *
 * Consecutive pages are in consecutive sets, so that the entries of a range do
 * not displace each other and lie next to each other in memory.  An entry for
 * an address has a different place for each order, so that a lookup has to
 * look for each order that is in use.
 *
 * PASIDs share PASID_BUCKETS buckets; requests without PASID have their own.
 * A bucket has a generation.  Entries of older generations are dead, so that
 * an increment of the generation flushes the bucket.  A bucket also records
 * the orders of its entries.
 *
 * Locks:
 *
 *  - atc->lock protects all changes of the table, of buckets and of the log.
 *    It is held for a time bounded by the size of the table or by the number
 *    of entries filled, and never together with another lock of the ATC.
 *  - A thread that waits for accesses may hold the BQL and IOMMU locks; within
 *    an access no lock is taken except atc->lock (commit).
 *
 * Ordering:
 *
 *  - Lookups take no lock.  They read words with relaxed atomics, under the
 *    sequence counter of the set.
 *  - A thread drops entries, then waits for accesses in drain_wait().  An
 *    access enters the drain, then looks up.  Therefore either drain_wait()
 *    waits for the access, or the access does not see the entries.  An access
 *    may also use entries that have been evicted since.  Therefore
 *    drain_wait() is called even if no entry was dropped.
 *  - atc->inv_seq is incremented before entries are dropped, and read before
 *    the translation is requested.  A commit compares it with atc->lock held:
 *    the log contains the invalidations since then, unless there were too many
 *    for it.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bitops.h"
#include "qemu/drain.h"
#include "qemu/host-utils.h"
#include "qemu/memalign.h"
#include "qemu/processor.h"
#include "qemu/seqlock.h"
#include "qemu/stats64.h"
#include "qemu/thread.h"
#include "hw/pci/pci_atc.h"
#include "hw/pci/pci_bus.h"

#define ATC_PAGE_BITS   12
#define ATC_MAX_ORDER   (64 - ATC_PAGE_BITS)
#define ATC_FLAGS       MAKE_64BIT_MASK(0, 6)

#define PASID_BITS      20
#define SPACE_NO_PASID  (1u << PASID_BITS)
#define SPACE_BITS      (PASID_BITS + 1)
#define SPACE_ANY       UINT32_MAX

#define GEN_MAX         MAKE_64BIT_MASK(0, 32 - SPACE_BITS)

#define PASID_BUCKETS   64
#define BUCKET_NO_PASID PASID_BUCKETS

/*
 * Entries of different PASIDs for one page are spread over this many adjacent
 * sets.  An invalidation for all PASIDs looks at all of them.
 */
#define PASID_SKEWS     8

/* An invalidation that would have to look at more sets flushes the bucket. */
#define MAX_VISITS      1024

#define INV_LOG_SIZE    64
#define CACHE_LINE      64

/* A lookup that a writer disturbs this often gives up and counts as a miss. */
#define SEQ_RETRIES     256

#define KEY_PRIV        (1u << 6)

typedef struct ATCSet {
    QemuSeqLock seq;
    uint8_t used;               /* ways that were hit since the hand passed */
    uint8_t hand;               /* next candidate for eviction */
    uint32_t tags[PCI_ATC_WAYS];
    aligned_uint64_t keys[PCI_ATC_WAYS];
    aligned_uint64_t values[PCI_ATC_WAYS];
} QEMU_ALIGNED(2 * CACHE_LINE) ATCSet;

QEMU_BUILD_BUG_ON(sizeof(ATCSet) != 2 * CACHE_LINE);

typedef struct ATCBucket {
    aligned_uint64_t orders;    /* bit n: entries of order n may exist */
    uint32_t generation;        /* 1 to GEN_MAX */
    uint32_t live;              /* entries of this generation */
    uint64_t last_inv;          /* inv_seq of the last one of its PASIDs */
} ATCBucket;

typedef struct ATCInvalidation {
    uint32_t space;
    hwaddr first;
    hwaddr last;
} ATCInvalidation;

/* Statistics of the accesses with one token of the drain */
typedef struct ATCStripe {
    Stat64 hits;
    Stat64 misses;
} QEMU_ALIGNED(CACHE_LINE) ATCStripe;

struct PCIATC {
    /* Read without a lock, rarely written */
    ATCSet *sets;
    uint32_t set_bits;
    uint32_t set_mask;
    Drain *accesses;
    ATCBucket buckets[PASID_BUCKETS + 1] QEMU_ALIGNED(CACHE_LINE);

    ATCStripe stripes[DRAIN_TOKENS];

    /* Protected by @lock; not in the cache lines of the members above */
    QemuMutex lock;
    aligned_uint64_t inv_seq;       /* also read without @lock */
    ATCInvalidation log[INV_LOG_SIZE];
    uint64_t last_inv_any;
    PCIATCStats stats;
};

QEMU_BUILD_BUG_ON((int)PCI_ATC_READ != IOMMU_RO);
QEMU_BUILD_BUG_ON((int)PCI_ATC_WRITE != IOMMU_WO);

/* Address arithmetic */

static inline hwaddr order_mask(unsigned order)
{
    return UINT64_MAX >> (ATC_MAX_ORDER - order);
}

static inline uint64_t make_key(hwaddr addr, unsigned order, bool priv)
{
    return (addr & ~order_mask(order)) | order | (priv ? KEY_PRIV : 0);
}

/* The tag of an entry contains the space of its PASID. */
static inline bool pasid_to_space(uint32_t pasid, uint32_t *space)
{
    if (pasid == PCI_NO_PASID) {
        *space = SPACE_NO_PASID;
        return true;
    }
    *space = pasid;
    return pasid < SPACE_NO_PASID;
}

static inline ATCBucket *space_bucket(PCIATC *atc, uint32_t space)
{
    return &atc->buckets[space == SPACE_NO_PASID ? BUCKET_NO_PASID
                                                 : space % PASID_BUCKETS];
}

static inline uint32_t make_tag(uint32_t space, uint32_t generation)
{
    return generation << SPACE_BITS | space;
}

static inline uint32_t tag_space(uint32_t tag)
{
    return extract32(tag, 0, SPACE_BITS);
}

/*
 * Returns the set of a page for spaces with skew 0.  The sets for the other
 * skews follow it.
 */
static inline uint32_t page_set(const PCIATC *atc, hwaddr addr, unsigned order)
{
    uint64_t page = addr >> ATC_PAGE_BITS >> order;
    uint64_t window = (page >> atc->set_bits) ^ ((uint64_t)order << 54);

    return page + (window * 0x9e3779b97f4a7c15ull >> 40);
}

static inline ATCSet *find_set(const PCIATC *atc, uint32_t space,
                               hwaddr addr, unsigned order)
{
    uint32_t index = page_set(atc, addr, order) + space % PASID_SKEWS;

    return &atc->sets[index & atc->set_mask];
}

/* Lookup */

static bool set_lookup(ATCSet *set, uint64_t key, uint32_t tag,
                       uint64_t *value)
{
    for (unsigned try = 0; try < SEQ_RETRIES; try++) {
        unsigned seq = seqlock_read_begin(&set->seq);
        unsigned way;

        for (way = 0; way < PCI_ATC_WAYS; way++) {
            if (qatomic_read(&set->tags[way]) == tag &&
                qatomic_read_u64(&set->keys[way]) == key) {
                *value = qatomic_read_u64(&set->values[way]);
                break;
            }
        }
        if (likely(!seqlock_read_retry(&set->seq, seq))) {
            if (way < PCI_ATC_WAYS) {
                /* This is a hint: threads may overwrite each other's bits. */
                uint8_t used = qatomic_read(&set->used);
                if (!(used & (1 << way))) {
                    qatomic_set(&set->used, used | (1 << way));
                }
            }
            return way < PCI_ATC_WAYS;
        }
        cpu_relax();
    }
    return false;
}

/*
 * Looks for an entry of order @order first, then for the other orders, the
 * largest first.  The search goes on after an entry that does not grant
 * @need: an IOMMU can extend permissions without an invalidation, and then
 * the new permissions can be in an entry of another size.
 */
static bool find_entry(PCIATC *atc, uint32_t space, hwaddr addr,
                       uint32_t need, unsigned *order, uint64_t *value)
{
    ATCBucket *bucket = space_bucket(atc, space);
    uint32_t tag = make_tag(space, qatomic_read(&bucket->generation));
    uint64_t orders = qatomic_read_u64(&bucket->orders);
    bool priv = need & PCI_ATC_PRIV;
    unsigned o = *order;

    while (orders) {
        if (!(orders & BIT_ULL(o))) {
            o = 63 - clz64(orders);
        }
        if (set_lookup(find_set(atc, space, addr, o), make_key(addr, o, priv),
                       tag, value) &&
            (*value & need) == need) {
            *order = o;
            return true;
        }
        orders &= ~BIT_ULL(o);
    }
    return false;
}

bool pci_atc_lookup(PCIATCAccess *access, uint32_t pasid, hwaddr addr,
                    hwaddr len, uint32_t need, PCIATCRun *run)
{
    PCIATC *atc = access->atc;
    hwaddr last = addr + MIN(len - 1, UINT64_MAX - addr);
    unsigned order = ATC_MAX_ORDER;
    hwaddr mask, next, pos = addr;
    uint64_t value;
    uint32_t space;

    if (!len || !pasid_to_space(pasid, &space) ||
        !find_entry(atc, space, addr, need, &order, &value)) {
        access->misses++;
        return false;
    }
    mask = order_mask(order);
    run->flags = value & ATC_FLAGS;
    run->translated_addr = (value & ~ATC_FLAGS & ~mask) | (addr & mask);
    next = run->translated_addr;

    for (;;) {
        access->hits++;
        run->flags &= value & ATC_FLAGS;
        next += (pos | mask) - pos + 1;
        pos |= mask;
        if (pos >= last) {
            pos = last;
            break;
        }
        if (!next || !find_entry(atc, space, pos + 1, need, &order, &value)) {
            break;
        }
        mask = order_mask(order);
        if ((((value & ~ATC_FLAGS & ~mask) | ((pos + 1) & mask)) != next) ||
            ((value ^ run->flags) & PCI_ATC_UNTRANSLATED)) {
            break;
        }
        pos++;
    }
    run->length = pos - addr + 1;
    return true;
}

/* Accesses */

void pci_atc_access_begin(PCIATC *atc, PCIATCAccess *access)
{
    access->atc = atc;
    access->token = drain_enter(atc->accesses);
    access->hits = 0;
    access->misses = 0;
}

void pci_atc_access_end(PCIATCAccess *access)
{
    PCIATC *atc = access->atc;
    ATCStripe *stripe = &atc->stripes[access->token];

    if (access->hits) {
        stat64_add(&stripe->hits, access->hits);
    }
    if (access->misses) {
        stat64_add(&stripe->misses, access->misses);
    }
    drain_leave(atc->accesses, access->token);
}

void pci_atc_drain(PCIATC *atc)
{
    drain_wait(atc->accesses);
}

/* Changes of the table.  These functions are called with atc->lock held. */

static inline bool tag_live(PCIATC *atc, uint32_t tag)
{
    return tag >> SPACE_BITS == space_bucket(atc, tag_space(tag))->generation;
}

static void bucket_remove(ATCBucket *bucket)
{
    if (--bucket->live == 0) {
        qatomic_set_u64(&bucket->orders, 0);
    }
}

static void clear_way(PCIATC *atc, ATCSet *set, unsigned way)
{
    uint32_t tag = set->tags[way];

    seqlock_write_begin(&set->seq);
    qatomic_set(&set->tags[way], 0);
    seqlock_write_end(&set->seq);
    if (tag_live(atc, tag)) {
        bucket_remove(space_bucket(atc, tag_space(tag)));
        atc->stats.dropped++;
    }
}

static void flush_bucket(PCIATC *atc, ATCBucket *bucket)
{
    uint32_t generation = bucket->generation + 1;

    if (!bucket->live) {
        return;
    }
    atc->stats.dropped += bucket->live;
    bucket->live = 0;
    qatomic_set_u64(&bucket->orders, 0);
    if (generation > GEN_MAX) {
        /*
         * The table may still contain tags of the first generations: remove
         * them before these generations are used again.  No tag has
         * generation 0.
         */
        qatomic_set(&bucket->generation, 0);
        for (uint32_t i = 0; i <= atc->set_mask; i++) {
            for (unsigned way = 0; way < PCI_ATC_WAYS; way++) {
                uint32_t tag = atc->sets[i].tags[way];
                if (tag && space_bucket(atc, tag_space(tag)) == bucket) {
                    clear_way(atc, &atc->sets[i], way);
                }
            }
        }
        generation = 1;
    }
    qatomic_set(&bucket->generation, generation);
}

static void flush_space(PCIATC *atc, uint32_t space)
{
    if (space != SPACE_ANY) {
        flush_bucket(atc, space_bucket(atc, space));
        return;
    }
    for (int i = 0; i <= PASID_BUCKETS; i++) {
        flush_bucket(atc, &atc->buckets[i]);
    }
}

static void drop_in_set(PCIATC *atc, ATCSet *set, uint32_t space,
                        hwaddr first, hwaddr last)
{
    for (unsigned way = 0; way < PCI_ATC_WAYS; way++) {
        uint32_t tag = set->tags[way];
        uint64_t key = set->keys[way];
        hwaddr mask = order_mask(extract64(key, 0, 6));

        if (tag && (space == SPACE_ANY || tag_space(tag) == space) &&
            (key & ~mask) <= last && (key | mask) >= first) {
            clear_way(atc, set, way);
        }
    }
}

static void drop_pages(PCIATC *atc, uint32_t space, unsigned order,
                       hwaddr first, hwaddr last)
{
    unsigned skew = space == SPACE_ANY ? 0 : space % PASID_SKEWS;
    unsigned skews = space == SPACE_ANY ? PASID_SKEWS : 1;
    unsigned shift = ATC_PAGE_BITS + order;
    hwaddr mask = order_mask(order);
    uint64_t pages = order == ATC_MAX_ORDER ? 1
                     : (last >> shift) - (first >> shift) + 1;
    hwaddr addr = first & ~mask;

    for (; pages; pages--, addr += mask + 1) {
        uint32_t index = page_set(atc, addr, order) + skew;

        for (unsigned i = 0; i < skews; i++) {
            drop_in_set(atc, &atc->sets[(index + i) & atc->set_mask], space,
                        first, last);
        }
    }
}

static uint64_t orders_in_use(PCIATC *atc, uint32_t space)
{
    uint64_t orders = 0;

    if (space != SPACE_ANY) {
        return space_bucket(atc, space)->orders;
    }
    for (int i = 0; i <= PASID_BUCKETS; i++) {
        orders |= atc->buckets[i].orders;
    }
    return orders;
}

/*
 * Drops a range in the cheapest of three ways: looks for each page of the
 * range; looks at each set; or flushes, if both would take too many steps.
 */
static void drop_range(PCIATC *atc, uint32_t space, hwaddr first, hwaddr last)
{
    unsigned skews = space == SPACE_ANY ? PASID_SKEWS : 1;
    uint64_t sets = (uint64_t)atc->set_mask + 1;
    uint64_t limit = MIN(sets, MAX_VISITS);
    uint64_t orders = orders_in_use(atc, space);
    uint64_t visits = 0;

    for (uint64_t left = orders; left; left &= left - 1) {
        /* At most 53 orders with at most 2^52 visits each: cannot wrap */
        visits += ((last - first) >> ATC_PAGE_BITS >> ctz64(left)) + 2;
    }
    visits *= skews;
    if (visits <= limit) {
        for (; orders; orders &= orders - 1) {
            drop_pages(atc, space, ctz64(orders), first, last);
        }
    } else if (sets <= MAX_VISITS) {
        for (uint64_t i = 0; i < sets; i++) {
            drop_in_set(atc, &atc->sets[i], space, first, last);
        }
    } else {
        flush_space(atc, space);
    }
}

static void log_invalidation(PCIATC *atc, uint32_t space, hwaddr first,
                             hwaddr last)
{
    uint64_t seq = atc->inv_seq + 1;

    atc->log[seq % INV_LOG_SIZE] = (ATCInvalidation) {
        .space = space,
        .first = first,
        .last = last,
    };
    if (space == SPACE_ANY) {
        atc->last_inv_any = seq;
    } else {
        space_bucket(atc, space)->last_inv = seq;
    }
    /*
     * A thread that reads the new value also reads the guest's new page
     * tables.
     */
    smp_mb_release();
    qatomic_set_u64(&atc->inv_seq, seq);
}

void pci_atc_drop(PCIATC *atc, uint32_t pasid, hwaddr first, hwaddr last)
{
    uint32_t space = SPACE_ANY;

    if (pasid != PCI_ATC_ANY_PASID && !pasid_to_space(pasid, &space)) {
        return;
    }
    if (last < first) {
        first = 0;
        last = UINT64_MAX;
    }
    QEMU_LOCK_GUARD(&atc->lock);
    atc->stats.invalidations++;
    log_invalidation(atc, space, first, last);
    if (first == 0 && last == UINT64_MAX) {
        flush_space(atc, space);
    } else {
        drop_range(atc, space, first, last);
    }
}

void pci_atc_invalidate(PCIATC *atc, uint32_t pasid, hwaddr first,
                        hwaddr last)
{
    pci_atc_drop(atc, pasid, first, last);
    pci_atc_drain(atc);
}

/* Fill */

uint64_t pci_atc_fill_begin(PCIATC *atc)
{
    uint64_t token = qatomic_read_u64(&atc->inv_seq);

    /* The IOMMU reads its tables after this. */
    smp_mb_acquire();
    return token;
}

static bool fill_raced(PCIATC *atc, uint64_t token, uint32_t space,
                       hwaddr first, hwaddr last)
{
    uint64_t count = atc->inv_seq - token;

    if (count > INV_LOG_SIZE) {
        return atc->last_inv_any > token ||
               space_bucket(atc, space)->last_inv > token;
    }
    while (count--) {
        ATCInvalidation *inv = &atc->log[(token + count + 1) % INV_LOG_SIZE];

        if ((inv->space == SPACE_ANY || inv->space == space) &&
            inv->first <= last && inv->last >= first) {
            return true;
        }
    }
    return false;
}

/* Returns a free or dead way, or else evicts one that was not used lately. */
static unsigned choose_way(PCIATC *atc, ATCSet *set)
{
    uint8_t used = qatomic_read(&set->used);
    unsigned way;

    for (way = 0; way < PCI_ATC_WAYS; way++) {
        if (!tag_live(atc, set->tags[way])) {
            qatomic_set(&set->used, used & ~(1 << way));
            return way;
        }
    }
    if (used == MAKE_64BIT_MASK(0, PCI_ATC_WAYS)) {
        used = 0;
    }
    for (way = set->hand; used & (1 << way); way = (way + 1) % PCI_ATC_WAYS) {
        used &= ~(1 << way);
    }
    qatomic_set(&set->used, used);
    set->hand = (way + 1) % PCI_ATC_WAYS;
    bucket_remove(space_bucket(atc, tag_space(set->tags[way])));
    atc->stats.evictions++;
    return way;
}

static void insert(PCIATC *atc, ATCSet *set, uint32_t tag, uint64_t key,
                   uint64_t value)
{
    ATCBucket *bucket = space_bucket(atc, tag_space(tag));
    unsigned way;

    for (way = 0; way < PCI_ATC_WAYS; way++) {
        if (set->tags[way] == tag && set->keys[way] == key) {
            uint64_t old = set->values[way];

            /* The IOMMU has granted both and invalidated neither. */
            if (!((old ^ value) & (~ATC_FLAGS | PCI_ATC_UNTRANSLATED))) {
                value |= old;
            }
            atc->stats.updates++;
            break;
        }
    }
    if (way == PCI_ATC_WAYS) {
        way = choose_way(atc, set);
        bucket->live++;
        atc->stats.fills++;
    }
    if (!(bucket->orders & BIT_ULL(extract64(key, 0, 6)))) {
        qatomic_set_u64(&bucket->orders,
                        bucket->orders | BIT_ULL(extract64(key, 0, 6)));
    }
    seqlock_write_begin(&set->seq);
    qatomic_set(&set->tags[way], tag);
    qatomic_set_u64(&set->keys[way], key);
    qatomic_set_u64(&set->values[way], value);
    seqlock_write_end(&set->seq);
}

static bool commit_one(PCIATC *atc, uint64_t token, uint32_t space,
                       const IOMMUTLBEntry *entry)
{
    ATCBucket *bucket = space_bucket(atc, space);
    hwaddr mask = entry->addr_mask;
    hwaddr addr = entry->iova & ~mask;
    uint64_t value = entry->perm & ATC_FLAGS;
    unsigned order;

    /*
     * R = W = 0 grants no access, and the IOMMU can grant access later without
     * an invalidation.
     */
    if ((mask & (mask + 1)) || mask < MAKE_64BIT_MASK(0, ATC_PAGE_BITS) ||
        !(value & (PCI_ATC_READ | PCI_ATC_WRITE))) {
        atc->stats.rejected++;
        return false;
    }
    if (fill_raced(atc, token, space, addr, addr | mask)) {
        atc->stats.refused++;
        return false;
    }
    if (!(value & PCI_ATC_READ)) {
        value &= ~PCI_ATC_EXEC;
    }
    /* With U = 1, the translated address of a completion is undefined. */
    value |= (value & PCI_ATC_UNTRANSLATED ? addr
                                           : entry->translated_addr & ~mask);
    order = 64 - clz64(mask) - ATC_PAGE_BITS;
    insert(atc, find_set(atc, space, addr, order),
           make_tag(space, bucket->generation),
           make_key(addr, order, value & PCI_ATC_PRIV), value);
    return true;
}

size_t pci_atc_fill_commit(PCIATC *atc, uint64_t token, uint32_t pasid,
                           const IOMMUTLBEntry *entries, size_t n)
{
    size_t taken = 0;
    uint32_t space;

    QEMU_LOCK_GUARD(&atc->lock);
    if (!pasid_to_space(pasid, &space)) {
        atc->stats.rejected += n;
        return 0;
    }
    for (size_t i = 0; i < n; i++) {
        taken += commit_one(atc, token, space, &entries[i]);
    }
    return taken;
}

/* Statistics */

/* Counts the entries of each space.  Called with atc->lock held. */
static GHashTable *count_spaces(PCIATC *atc)
{
    GHashTable *counts = g_hash_table_new(NULL, NULL);

    for (uint32_t i = 0; i <= atc->set_mask; i++) {
        for (unsigned way = 0; way < PCI_ATC_WAYS; way++) {
            uint32_t tag = atc->sets[i].tags[way];
            gpointer space = GUINT_TO_POINTER(tag_space(tag));

            if (tag_live(atc, tag)) {
                gsize n = GPOINTER_TO_SIZE(g_hash_table_lookup(counts, space));

                g_hash_table_insert(counts, space, GSIZE_TO_POINTER(n + 1));
            }
        }
    }
    return counts;
}

void pci_atc_foreach_pasid(PCIATC *atc, PCIATCEntriesFn *fn, void *opaque)
{
    g_autoptr(GHashTable) counts = NULL;
    GHashTableIter iter;
    gpointer space, n;

    WITH_QEMU_LOCK_GUARD(&atc->lock) {
        counts = count_spaces(atc);
    }
    g_hash_table_iter_init(&iter, counts);
    while (g_hash_table_iter_next(&iter, &space, &n)) {
        uint32_t pasid = GPOINTER_TO_UINT(space);

        fn(pasid == SPACE_NO_PASID ? PCI_NO_PASID : pasid, GPOINTER_TO_SIZE(n),
           opaque);
    }
}

void pci_atc_get_stats(PCIATC *atc, PCIATCStats *stats)
{
    QEMU_LOCK_GUARD(&atc->lock);
    *stats = atc->stats;
    stats->capacity = ((uint64_t)atc->set_mask + 1) * PCI_ATC_WAYS;
    for (int i = 0; i <= PASID_BUCKETS; i++) {
        stats->entries += atc->buckets[i].live;
    }
    for (int i = 0; i < DRAIN_TOKENS; i++) {
        stats->hits += stat64_get(&atc->stripes[i].hits);
        stats->misses += stat64_get(&atc->stripes[i].misses);
    }
}

/* Life cycle */

PCIATC *pci_atc_new(uint32_t entries)
{
    PCIATC *atc = qemu_memalign(CACHE_LINE, sizeof(*atc));
    uint32_t sets;

    entries = MIN(MAX(entries, 1), PCI_ATC_MAX_ENTRIES);
    sets = pow2ceil(DIV_ROUND_UP(entries, PCI_ATC_WAYS));
    memset(atc, 0, sizeof(*atc));
    atc->set_bits = ctz32(sets);
    atc->set_mask = sets - 1;
    atc->sets = qemu_memalign(sizeof(ATCSet), sets * sizeof(ATCSet));
    memset(atc->sets, 0, sets * sizeof(ATCSet));
    for (int i = 0; i <= PASID_BUCKETS; i++) {
        atc->buckets[i].generation = 1;
    }
    qemu_mutex_init(&atc->lock);
    atc->accesses = drain_new();
    return atc;
}

void pci_atc_free(PCIATC *atc)
{
    if (!atc) {
        return;
    }
    drain_free(atc->accesses);
    qemu_mutex_destroy(&atc->lock);
    qemu_vfree(atc->sets);
    qemu_vfree(atc);
}
