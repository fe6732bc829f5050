/*
 * Statistics of a PCI function with ATS, PASID or PRI, for query-pci-ats
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_PCI_PCI_ATS_INFO_H
#define HW_PCI_PCI_ATS_INFO_H

#include "exec/hwaddr.h"
#include "qemu/queue.h"
#include "qemu/stats64.h"
#include "qemu/thread.h"

/* See pci_atc.h and qapi/pci-ats.json */
struct PCIATC;
struct PciAtsAtcInfo;

/**
 * struct PCIATSInfoATC: registration of an ATC with the monitor
 *
 * @atc: the ATC; NULL if it is not a PCIATC
 * @describe: if @atc is NULL, returns a description of the contents of the
 *     ATC.  Called with the BQL held.  The caller frees the result.
 */
typedef struct PCIATSInfoATC {
    struct PCIATC *atc;
    struct PciAtsAtcInfo *(*describe)(struct PCIATSInfoATC *atc);
    /* private: */
    QLIST_ENTRY(PCIATSInfoATC) next;
} PCIATSInfoATC;

/* Kinds of Invalidate Requests (PCIe 5.0, 10.3) */
typedef enum PCIATSInvalidation {
    PCI_ATS_INV_NO_PASID,       /* without PASID */
    PCI_ATS_INV_PASID,          /* with a PASID */
    PCI_ATS_INV_ALL_PASIDS,     /* Global Invalidate */
    PCI_ATS_INV_KINDS,
} PCIATSInvalidation;

/**
 * struct PCIATSRequests: statistics of translation requests
 *
 * @requests: number of requests
 * @failed: requests that failed with an error
 * @truncated: requests whose result did not hold all translations
 * @translations: translations in the results
 * @denied: translations that grant no permission; one that is read-only for a
 *     read-write request is not counted
 */
typedef struct PCIATSRequests {
    uint64_t requests;
    uint64_t failed;
    uint64_t truncated;
    uint64_t translations;
    uint64_t denied;
} PCIATSRequests;

/* A member of every PCIDevice */
typedef struct PCIATSInfo {
    /* Protected by the BQL */
    QLIST_HEAD(, PCIATSInfoATC) atcs;

    /*
     * Translation requests.  A request with a single translation that grants a
     * permission increments one counter only.
     */
    Stat64 requests;
    Stat64 failed;
    Stat64 truncated;
    Stat64 extra_translations;  /* beyond the first of each request */
    Stat64 denied;

    QemuMutex lock;
    /* Protected by @lock */
    uint64_t invalidations[PCI_ATS_INV_KINDS];
    GHashTable *pasids;         /* PASIDs with notifiers of invalidations */
} PCIATSInfo;

/**
 * pci_ats_info_add_atc: register an ATC of a function with the monitor
 *
 * pci_ats_dma_new() registers the ATC of the DMA engine itself.  Called with
 * the BQL held.
 *
 * @dev: the function
 * @atc: the ATC info, with PCIATSInfoATC.atc or PCIATSInfoATC.describe set.
 *     The caller removes it before it frees the ATC.
 */
void pci_ats_info_add_atc(PCIDevice *dev, PCIATSInfoATC *atc);

/**
 * pci_ats_info_remove_atc: undo pci_ats_info_add_atc()
 *
 * Called with the BQL held.  When it returns, the monitor no longer accesses
 * the ATC.
 *
 * @atc: the ATC info that pci_ats_info_add_atc() has registered
 */
void pci_ats_info_remove_atc(PCIATSInfoATC *atc);

/**
 * pci_ats_invalidate_requested: an IOMMU sends a function an Invalidate Request
 *
 * IOMMUs call this function once for each request, before they call the
 * notifiers.  Callable from any thread.
 *
 * @bus: bus of the requester
 * @devfn: device and function number of the requester.  The function does
 *     nothing if there is no PCI function at this address, as for requests
 *     that a bridge takes over.
 * @kind: kind of the request
 * @pasid: for PCI_ATS_INV_PASID the PASID, otherwise PCI_NO_PASID
 * @addr: first address of the range
 * @mask: size of the range - 1
 */
void pci_ats_invalidate_requested(PCIBus *bus, int devfn,
                                  PCIATSInvalidation kind, uint32_t pasid,
                                  hwaddr addr, hwaddr mask);

/* The functions below are for hw/pci only. */

/* Called with the BQL held */
void pci_ats_info_init(PCIDevice *dev);
void pci_ats_info_destroy(PCIDevice *dev);

/*
 * Counts a notifier of the invalidations of @pasid.  Callable from any thread.
 */
void pci_ats_info_add_notifier(PCIDevice *dev, uint32_t pasid);
/* Undoes pci_ats_info_add_notifier().  Callable from any thread. */
void pci_ats_info_remove_notifier(PCIDevice *dev, uint32_t pasid);

/**
 * pci_ats_info_count: count a translation request and its result
 *
 * @info: the statistics of the function
 * @translations: number of elements in the result, 0 after an error
 * @denied: number of elements that grant no permission; one that is read-only
 *     for a read-write request is not counted
 * @truncated: true if the result did not hold all translations
 */
static inline void pci_ats_info_count(PCIATSInfo *info, size_t translations,
                                      uint32_t denied, bool truncated)
{
    stat64_add(&info->requests, 1);
    if (!translations) {
        stat64_add(&info->failed, 1);
    } else if (translations > 1) {
        stat64_add(&info->extra_translations, translations - 1);
    }
    if (denied) {
        stat64_add(&info->denied, denied);
    }
    if (truncated) {
        stat64_add(&info->truncated, 1);
    }
}

/* Read the counters.  Callable from any thread. */
void pci_ats_info_get_requests(const PCIDevice *dev, PCIATSRequests *result);
void pci_ats_info_get_invalidations(PCIDevice *dev,
                                    uint64_t result[PCI_ATS_INV_KINDS]);

/*
 * Calls @fn for each PASID with notifiers.  @counts are the invalidations
 * since the registration of its first notifier.  Callable from any thread.
 * Calls @fn with PCIATSInfo.lock held: it must not call functions of this file.
 */
typedef void PCIATSInvalidationsFn(uint32_t pasid,
                                   const uint64_t counts[PCI_ATS_INV_KINDS],
                                   void *opaque);
void pci_ats_info_foreach_pasid(PCIDevice *dev, PCIATSInvalidationsFn *fn,
                                void *opaque);

#endif
