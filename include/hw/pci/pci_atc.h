/*
 * PCIe address translation cache (ATC) for device models
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An ATC holds the translations that the translation agent (the IOMMU) has
 * returned to the translation requests of one PCIe function, until the IOMMU
 * invalidates them (PCIe 5.0, chapter 10).  All functions of this file are
 * callable from any thread, concurrently, with or without the BQL.
 *
 * A DMA proceeds as follows:
 *
 *     for (;;) {
 *         pci_atc_access_begin(atc, &access);
 *         if (pci_atc_lookup(&access, pasid, addr, len, PCI_ATC_READ, &run)) {
 *             ... access guest RAM at run.translated_addr, run.length bytes
 *             pci_atc_access_end(&access);
 *             break;
 *         }
 *         pci_atc_access_end(&access);
 *
 *         token = pci_atc_fill_begin(atc);
 *         n = ... send a translation request; its result goes to entries[]
 *         pci_atc_fill_commit(atc, token, pasid, entries, n);
 *         ... if nothing was granted: page request, or give up
 *     }
 *
 * A function drops all entries when ATS is switched off in its configuration
 * space, and when it is reset (10.3.7, implicit invalidation events).
 *
 * The caller may use the result of a lookup until pci_atc_access_end(), but
 * not longer.  pci_atc_invalidate(), called by the invalidation notifier,
 * waits until the accesses that began earlier have ended.  Therefore the IOMMU
 * may report the completion of the invalidation when it returns (PCIe 5.0,
 * 10.3.3: a function completes an invalidation only when no request that uses
 * the old translation is outstanding).
 *
 * The notifier runs in a vCPU thread that holds the BQL, and perhaps a lock
 * of the IOMMU.  Therefore, between begin and end, a thread must not
 *  - take the BQL or wait for a thread that takes it;
 *  - call into the IOMMU (translation request, page request);
 *  - access anything but RAM: MMIO takes the BQL, and MMIO of the IOMMU
 *    itself can start an invalidation in this very thread;
 *  - invalidate or drain the same ATC.
 * To access MMIO, end the access, take the BQL, begin, look up again, end,
 * and access MMIO with the BQL held: IOMMUs invalidate with the BQL held only,
 * so that no invalidation can happen in between.
 */

#ifndef HW_PCI_PCI_ATC_H
#define HW_PCI_PCI_ATC_H

#include "exec/memory.h"

/*
 * Argument of pci_atc_invalidate(): all PASIDs (PCIe 5.0, 10.3.8, Global
 * Invalidate), and requests without PASID.
 */
#define PCI_ATC_ANY_PASID (UINT32_MAX - 1)

/* This many entries, at any addresses, never displace each other. */
#define PCI_ATC_WAYS 6

/* Upper bound of the capacity that pci_atc_new() accepts. */
#define PCI_ATC_MAX_ENTRIES (1u << 16)

/**
 * enum PCIATCFlags: fields of a translation completion (PCIe 5.0, 10.2.3)
 *
 * The values are those of IOMMUAccessFlags, so that IOMMUTLBEntry.perm can
 * carry them.
 *
 * @PCI_ATC_READ: R, read permission
 * @PCI_ATC_WRITE: W, write permission
 * @PCI_ATC_EXEC: Exe, execute permission; meaningless without R
 * @PCI_ATC_PRIV: Priv, the permissions are those of privileged requests
 * @PCI_ATC_GLOBAL: Global, the mapping is the same for all PASIDs
 * @PCI_ATC_UNTRANSLATED: U, the function may use untranslated requests only
 */
typedef enum PCIATCFlags {
    PCI_ATC_READ         = 1 << 0,
    PCI_ATC_WRITE        = 1 << 1,
    PCI_ATC_EXEC         = 1 << 2,
    PCI_ATC_PRIV         = 1 << 3,
    PCI_ATC_GLOBAL       = 1 << 4,
    PCI_ATC_UNTRANSLATED = 1 << 5,
} PCIATCFlags;

typedef struct PCIATC PCIATC;

/**
 * struct PCIATCAccess: an access that has begun
 *
 * The struct is opaque.  The caller allocates it on its stack.
 */
typedef struct PCIATCAccess {
    /* private: */
    PCIATC *atc;
    unsigned token;
    uint32_t hits;
    uint32_t misses;
} PCIATCAccess;

/**
 * struct PCIATCRun: result of a lookup
 *
 * @translated_addr: address of the first byte.  With PCI_ATC_UNTRANSLATED in
 *     @flags this is the input address, for an untranslated request.
 * @length: number of bytes from @translated_addr on that are contiguous and
 *     that the function may access; at least 1 and at most the requested
 *     length
 * @flags: the PCIATCFlags that all of these bytes have
 */
typedef struct PCIATCRun {
    hwaddr translated_addr;
    hwaddr length;
    uint32_t flags;
} PCIATCRun;

/**
 * struct PCIATCStats: statistics of an ATC since its creation
 *
 * At all times @fills == @entries + @evictions + @dropped.
 *
 * @capacity: number of entries that the ATC can hold
 * @entries: number of entries that the ATC holds
 * @hits: entries that lookups returned; each entry of a run counts
 * @misses: lookups that returned no entry
 * @fills: entries added
 * @updates: entries that replaced an entry for the same page
 * @refused: entries not added because the IOMMU invalidated them after the
 *     translation request began
 * @rejected: entries not added because they cannot be cached: they grant no
 *     permission, their size is not a power of two of at least 4 KiB, or
 *     their PASID is out of range
 * @evictions: entries displaced by others
 * @invalidations: number of invalidations
 * @dropped: entries that invalidations dropped
 */
typedef struct PCIATCStats {
    uint64_t capacity;
    uint64_t entries;
    uint64_t hits;
    uint64_t misses;
    uint64_t fills;
    uint64_t updates;
    uint64_t refused;
    uint64_t rejected;
    uint64_t evictions;
    uint64_t invalidations;
    uint64_t dropped;
} PCIATCStats;

/**
 * pci_atc_new: create an empty ATC
 *
 * This function allocates all memory of the ATC: about 4 KiB, and 21.3 bytes
 * per entry.
 *
 * @entries: minimum capacity in entries, 1 to %PCI_ATC_MAX_ENTRIES; values
 *     outside this range are clamped to it.  The capacity is rounded up to a
 *     power of two times %PCI_ATC_WAYS.
 *
 * Returns: the ATC; the caller frees it with pci_atc_free().
 */
PCIATC *pci_atc_new(uint32_t entries);

/**
 * pci_atc_free: free an ATC
 *
 * All calls of the other functions must have returned.
 *
 * @atc: the ATC, or NULL
 */
void pci_atc_free(PCIATC *atc);

/**
 * pci_atc_access_begin: begin an access, which encloses lookups and DMA
 *
 * Never blocks.  Accesses can be nested.  The top of this file has the rules
 * for the time until pci_atc_access_end().
 *
 * @atc: the ATC
 * @access: the access, for pci_atc_lookup() and pci_atc_access_end(); the
 *     caller need not initialize it
 */
void pci_atc_access_begin(PCIATC *atc, PCIATCAccess *access);

/**
 * pci_atc_access_end: end an access
 *
 * After this call the caller must no longer use the results of the lookups.
 * A different thread than the one that began the access may end it, if the two
 * threads are synchronized.
 *
 * @access: the access
 */
void pci_atc_access_end(PCIATCAccess *access);

/**
 * pci_atc_lookup: look for a translation
 *
 * Never blocks.  An ATC may evict any entry at any time: a caller whose lookup
 * fails after a fill has to send another translation request.
 *
 * If the ATC translates the first byte, the result extends over the following
 * entries, of any size, as long as their translated addresses are contiguous,
 * they grant @need, and they agree in PCI_ATC_UNTRANSLATED.
 *
 * @access: the access, begun with pci_atc_access_begin()
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID; the lookup fails for other values
 * @addr: input address of the first byte
 * @len: requested length in bytes; the lookup fails for 0, and the result ends
 *     at the top of the address space
 * @need: PCI_ATC_READ, PCI_ATC_WRITE and PCI_ATC_EXEC that entries must
 *     grant, 0 for any entry; PCI_ATC_PRIV for a privileged request.
 *     Privileged requests use only entries with PCI_ATC_PRIV, other requests
 *     only entries without it.
 * @run: the result; unchanged if the lookup fails
 *
 * Returns: true if the ATC translates at least the first byte.
 */
bool pci_atc_lookup(PCIATCAccess *access, uint32_t pasid, hwaddr addr,
                    hwaddr len, uint32_t need, PCIATCRun *run);

/**
 * pci_atc_fill_begin: announce a translation request
 *
 * Call it before pci_ats_request_translation().  It has no effect that would
 * have to be undone if pci_atc_fill_commit() does not follow.
 *
 * @atc: the ATC
 *
 * Returns: a token for pci_atc_fill_commit()
 */
uint64_t pci_atc_fill_begin(PCIATC *atc);

/**
 * pci_atc_fill_commit: enter the result of a translation request
 *
 * The ATC refuses entries that overlap with an invalidation of the same PASID
 * (or of all PASIDs) that happened after pci_atc_fill_begin().  If there are so
 * many invalidations that the ATC does not store the ranges of all of them, it
 * may refuse other entries, too.
 *
 * Holds a lock of the ATC for a time proportional to @n.  Callable within an
 * access.
 *
 * @atc: the ATC
 * @token: from pci_atc_fill_begin()
 * @pasid: PASID of the request, 0 to 0xfffff, or PCI_NO_PASID; the ATC rejects
 *     other values
 * @entries: translation completions.  iova, translated_addr and addr_mask
 *     describe one page: addr_mask is its size - 1.  The ATC rejects a size
 *     that is not a power of two of at least 4 KiB, and ignores address bits
 *     below the size.  perm holds PCIATCFlags; the ATC rejects an entry with
 *     neither PCI_ATC_READ nor PCI_ATC_WRITE.  If the ATC holds an entry for
 *     the same page with the same translated address, it unites the
 *     permissions of both, otherwise the new entry replaces the old one.
 * @n: number of elements of @entries, may be 0
 *
 * Returns: the number of entries added or updated
 */
size_t pci_atc_fill_commit(PCIATC *atc, uint64_t token, uint32_t pasid,
                           const IOMMUTLBEntry *entries, size_t n);

/**
 * pci_atc_drop: drop entries, without waiting for accesses
 *
 * When this returns, no lookup finds the dropped entries, and no translation
 * request that began earlier can add them again; but accesses that began
 * earlier can still use them until pci_atc_drain() returns.  To process
 * several invalidations, call this for each and pci_atc_drain() once.
 *
 * Drops all entries that overlap with the range, privileged or not.  It may
 * drop more entries, in particular all entries of a PASID if the range
 * contains a great many pages.
 *
 * @atc: the ATC
 * @pasid: 0 to 0xfffff, PCI_NO_PASID, or %PCI_ATC_ANY_PASID.  For other
 *     values the function does nothing.
 * @first: first input address of the range
 * @last: last input address of the range (inclusive).  If it is below
 *     @first, all entries of @pasid are dropped.
 */
void pci_atc_drop(PCIATC *atc, uint32_t pasid, hwaddr first, hwaddr last);

/**
 * pci_atc_drain: wait until all accesses that began earlier have ended
 *
 * Callable with or without the BQL, but not within an access.
 *
 * @atc: the ATC
 */
void pci_atc_drain(PCIATC *atc);

/**
 * pci_atc_invalidate: drop entries and wait for accesses that may use them
 *
 * pci_atc_drop() and then pci_atc_drain().
 *
 * @atc: the ATC
 * @pasid: as for pci_atc_drop()
 * @first: as for pci_atc_drop()
 * @last: as for pci_atc_drop()
 */
void pci_atc_invalidate(PCIATC *atc, uint32_t pasid, hwaddr first,
                        hwaddr last);

/* Called for each PASID, or PCI_NO_PASID, that has entries */
typedef void PCIATCEntriesFn(uint32_t pasid, uint64_t entries, void *opaque);

/**
 * pci_atc_foreach_pasid: count the entries of each PASID
 *
 * Holds the lock that pci_atc_fill_commit() takes while it counts.
 *
 * @atc: the ATC
 * @fn: called, without a lock, for each PASID that has entries
 * @opaque: argument of @fn
 */
void pci_atc_foreach_pasid(PCIATC *atc, PCIATCEntriesFn *fn, void *opaque);

/**
 * pci_atc_get_stats: read the statistics
 *
 * The result is exact if no other thread uses the ATC; an access adds its hits
 * and misses when it ends.
 *
 * @atc: the ATC
 * @stats: the result
 */
void pci_atc_get_stats(PCIATC *atc, PCIATCStats *stats);

#endif
