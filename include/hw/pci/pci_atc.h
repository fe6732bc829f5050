/*
 * PCIe address translation cache (ATC) for device models
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An ATC holds what the translation agent (the IOMMU) answered to the
 * translation requests of one PCIe function, until the IOMMU invalidates it
 * (PCIe 5.0, chapter 10).  All functions can be called from any thread, at
 * once, with or without the BQL.
 *
 * A DMA looks like this:
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
 *         n = ... ask the IOMMU for a translation, into entries[]
 *         pci_atc_fill_commit(atc, token, pasid, entries, n);
 *         ... if nothing was granted: page request, or give up
 *     }
 *
 * A device drops everything when ATS is switched off in its configuration
 * space, and when it is reset (10.3.7, implicit invalidation events).
 *
 * What a lookup returns may be used until pci_atc_access_end(), no longer.
 * pci_atc_invalidate(), called by the invalidation notifier, waits for
 * accesses that are under way; this is what allows the invalidation
 * completion to be sent when it returns (PCIe 5.0, 10.3.3: a function
 * completes an invalidation only when no request that uses the old
 * translation is outstanding).
 *
 * The notifier runs in a vCPU thread that holds the BQL, and perhaps a lock
 * of the IOMMU.  Therefore, between begin and end, a thread must not
 *  - take the BQL or wait for somebody who does;
 *  - call into the IOMMU (translation request, page request);
 *  - access anything but RAM: MMIO takes the BQL, and MMIO of the IOMMU
 *    itself can start an invalidation in this very thread;
 *  - invalidate or drain the same ATC.
 * To access MMIO, end the access, take the BQL, begin, look up again, end,
 * and do the access while holding the BQL: all invalidations come with the
 * BQL held, so that none can come in between.
 */

#ifndef HW_PCI_PCI_ATC_H
#define HW_PCI_PCI_ATC_H

#include "exec/memory.h"

/*
 * In pci_atc_invalidate(): all PASIDs (PCIe 5.0, 10.3.8, Global Invalidate),
 * and requests without a PASID.
 */
#define PCI_ATC_ANY_PASID (UINT32_MAX - 1)

/* Entries that never displace each other, whatever their addresses. */
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
 * @PCI_ATC_EXEC: Exe, execute permission; means nothing without R
 * @PCI_ATC_PRIV: Priv, the permissions are those of privileged requests
 * @PCI_ATC_GLOBAL: Global, the mapping is the same in all PASIDs
 * @PCI_ATC_UNTRANSLATED: U, only untranslated requests may be used
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
 * struct PCIATCAccess: a DMA under way; opaque, on the stack of the caller
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
 * @translated_addr: where the first byte is.  With PCI_ATC_UNTRANSLATED in
 *     @flags this is the input address, to be sent as untranslated.
 * @length: bytes, from there on, that are contiguous and allowed; at least 1
 *     and at most what was asked for
 * @flags: PCIATCFlags that hold for all of these bytes
 */
typedef struct PCIATCRun {
    hwaddr translated_addr;
    hwaddr length;
    uint32_t flags;
} PCIATCRun;

/**
 * struct PCIATCStats: what an ATC did since it was created
 *
 * Always: @fills == @entries + @evictions + @dropped.
 *
 * @capacity: number of entries that the ATC can hold
 * @entries: number of entries that it holds
 * @hits: entries that lookups returned; a run counts each of its entries
 * @misses: lookups that returned nothing
 * @fills: entries added
 * @updates: entries that replaced one of the same page
 * @refused: entries not taken because an invalidation came meanwhile
 * @rejected: entries not taken because they cannot be cached: no permission
 *     at all, size that is not a power of two of at least 4 KiB, bad PASID
 * @evictions: entries displaced to make room
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
 * All memory is allocated here: about 4 KiB, and 21.3 bytes per entry.
 *
 * @entries: how many entries it should be able to hold at least, 1 to
 *     %PCI_ATC_MAX_ENTRIES; what is outside this range is clamped to it.
 *     Rounded up to a power of two times %PCI_ATC_WAYS.
 *
 * Returns: the ATC, to be freed with pci_atc_free().
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
 * pci_atc_access_begin: begin an access, the frame around lookups and DMA
 *
 * Never blocks.  Accesses can be nested.  See the rules for the time until
 * pci_atc_access_end() at the top of this file.
 *
 * @atc: the ATC
 * @access: to be handed to pci_atc_lookup() and pci_atc_access_end(); need
 *     not be initialised
 */
void pci_atc_access_begin(PCIATC *atc, PCIATCAccess *access);

/**
 * pci_atc_access_end: end an access
 *
 * From here on the results of its lookups must not be used any more.  May be
 * called by a different thread than the one that began the access, if the
 * two are synchronised.
 *
 * @access: the access
 */
void pci_atc_access_end(PCIATCAccess *access);

/**
 * pci_atc_lookup: look for a translation
 *
 * Never blocks.  An ATC may forget anything at any time: a caller whose
 * lookup fails after a fill has to ask the IOMMU again.
 *
 * If the first byte is translated, the result extends over following
 * entries, of any size, as long as their translated addresses are contiguous,
 * they grant @need, and they agree in PCI_ATC_UNTRANSLATED.
 *
 * @access: the access under way
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID; nothing is found for other values
 * @addr: input address of the first byte
 * @len: number of bytes wanted; nothing is found for 0, and what is beyond
 *     the top of the address space is cut off
 * @need: PCI_ATC_READ, PCI_ATC_WRITE and PCI_ATC_EXEC that entries must
 *     grant, 0 for any entry; PCI_ATC_PRIV for a privileged request, which
 *     uses only entries for privileged requests, and others use only others
 * @run: the result, unchanged if there is none
 *
 * Returns: true if at least the first byte is translated.
 */
bool pci_atc_lookup(PCIATCAccess *access, uint32_t pasid, hwaddr addr,
                    hwaddr len, uint32_t need, PCIATCRun *run);

/**
 * pci_atc_fill_begin: announce a translation request
 *
 * To be called before the IOMMU is asked.  Nothing needs to be undone if
 * pci_atc_fill_commit() is not called afterwards.
 *
 * @atc: the ATC
 *
 * Returns: a token for pci_atc_fill_commit()
 */
uint64_t pci_atc_fill_begin(PCIATC *atc);

/**
 * pci_atc_fill_commit: enter the result of a translation request
 *
 * Entries that overlap with an invalidation of the same PASID (or of any)
 * that came after pci_atc_fill_begin() are refused.  When so many
 * invalidations came meanwhile that the ATC does not remember the ranges of
 * all of them, it refuses more than it has to.
 *
 * Takes a lock of the ATC for a time proportional to @n.  May be called
 * within an access.
 *
 * @atc: the ATC
 * @token: from pci_atc_fill_begin()
 * @pasid: of the request, 0 to 0xfffff, or PCI_NO_PASID; other values are
 *     rejected
 * @entries: completions.  iova, translated_addr and addr_mask describe one
 *     page: addr_mask is its size - 1, and a size that is not a power of two
 *     of at least 4 KiB is rejected; address bits below the size are
 *     ignored.  perm holds PCIATCFlags; an entry with neither
 *     PCI_ATC_READ nor PCI_ATC_WRITE is rejected.  If the ATC holds an entry
 *     for the same page and the same translated address, the permissions of
 *     both are united, otherwise the new one replaces it.
 * @n: number of elements of @entries, may be 0
 *
 * Returns: how many were taken
 */
size_t pci_atc_fill_commit(PCIATC *atc, uint64_t token, uint32_t pasid,
                           const IOMMUTLBEntry *entries, size_t n);

/**
 * pci_atc_drop: drop entries, without waiting for accesses
 *
 * When this returns, no lookup finds what was dropped, and no translation
 * request that began before can bring it back; but accesses that began
 * before can still use it, until pci_atc_drain() returns.  To process
 * several invalidations, call this for each and pci_atc_drain() once.
 *
 * Drops all entries of which any byte is in the range, privileged or not.
 * It may drop more, in particular all of a PASID for a range that holds a
 * great many pages.
 *
 * @atc: the ATC
 * @pasid: 0 to 0xfffff, PCI_NO_PASID, or %PCI_ATC_ANY_PASID.  For other
 *     values there is nothing to be dropped.
 * @first: first input address of the range
 * @last: last input address of the range (inclusive).  If it is below
 *     @first, all entries of @pasid are dropped.
 */
void pci_atc_drop(PCIATC *atc, uint32_t pasid, hwaddr first, hwaddr last);

/**
 * pci_atc_drain: wait for all accesses that began before
 *
 * May be called with the BQL held, not within an access.
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

/* Called for a PASID, or PCI_NO_PASID, that has entries */
typedef void PCIATCEntriesFn(uint32_t pasid, uint64_t entries, void *opaque);

/**
 * pci_atc_foreach_pasid: count the entries of each PASID
 *
 * Holds the lock that pci_atc_fill_commit() takes while it looks at the table.
 *
 * @atc: the ATC
 * @fn: called, without a lock, for each PASID that has entries
 * @opaque: for @fn
 */
void pci_atc_foreach_pasid(PCIATC *atc, PCIATCEntriesFn *fn, void *opaque);

/**
 * pci_atc_get_stats: read the statistics
 *
 * Exact if no other thread uses the ATC; accesses under way count their hits
 * and misses when they end.
 *
 * @atc: the ATC
 * @stats: the result
 */
void pci_atc_get_stats(PCIATC *atc, PCIATCStats *stats);

#endif
