/*
 * What a PCI function does with ATS, PASID and page requests, for those who
 * watch: query-pci-ats
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
 * @atc: the ATC; or NULL if it is not a PCIATC
 * @describe: if @atc is NULL, returns a description of its contents.  Called
 *     with the BQL held; the caller frees the result.
 */
typedef struct PCIATSInfoATC {
    struct PCIATC *atc;
    struct PciAtsAtcInfo *(*describe)(struct PCIATSInfoATC *atc);
    /* private: */
    QLIST_ENTRY(PCIATSInfoATC) next;
} PCIATSInfoATC;

/* Which translations an Invalidate Request is for (PCIe 5.0, 10.3) */
typedef enum PCIATSInvalidation {
    PCI_ATS_INV_NO_PASID,       /* without PASID */
    PCI_ATS_INV_PASID,          /* of one PASID */
    PCI_ATS_INV_ALL_PASIDS,     /* Global Invalidate */
    PCI_ATS_INV_KINDS,
} PCIATSInvalidation;

/**
 * struct PCIATSRequests: translation requests, and the answers to them
 *
 * @requests: number of requests
 * @failed: answered with an error
 * @truncated: answered in part, for want of room in the result
 * @translations: translations in the answers
 * @denied: translations without the permission asked for
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
     * Translation requests.  One that is answered with one translation that
     * grants what it asks for costs one addition.
     */
    Stat64 requests;
    Stat64 failed;
    Stat64 truncated;
    Stat64 extra_translations;  /* beyond the first of each request */
    Stat64 denied;

    QemuMutex lock;
    /* Protected by @lock */
    uint64_t invalidations[PCI_ATS_INV_KINDS];
    GHashTable *pasids;         /* those with notifiers of invalidations */
} PCIATSInfo;

/**
 * pci_ats_info_add_atc: register an ATC of a function with the monitor
 *
 * pci_ats_dma_new() registers its own.  Called with the BQL held.
 *
 * @dev: the function
 * @atc: with PCIATSInfoATC.atc or PCIATSInfoATC.describe set; removed before
 *     the ATC is freed
 */
void pci_ats_info_add_atc(PCIDevice *dev, PCIATSInfoATC *atc);

/**
 * pci_ats_info_remove_atc: undo pci_ats_info_add_atc()
 *
 * Called with the BQL held.  When it returns, the monitor does not access the
 * ATC any more.
 *
 * @atc: from pci_ats_info_add_atc()
 */
void pci_ats_info_remove_atc(PCIATSInfoATC *atc);

/**
 * pci_ats_invalidate_requested: an IOMMU sends a function an Invalidate Request
 *
 * For IOMMUs; called once for each request, from any thread, before the
 * notifiers are.
 *
 * @bus: bus of the requester
 * @devfn: device and function number of the requester; nothing happens if
 *     there is no function, as behind a bridge that takes over its requests
 * @kind: which translations
 * @pasid: the PASID of PCI_ATS_INV_PASID, otherwise PCI_NO_PASID
 * @addr: first address of the range
 * @mask: size of the range - 1
 */
void pci_ats_invalidate_requested(PCIBus *bus, int devfn,
                                  PCIATSInvalidation kind, uint32_t pasid,
                                  hwaddr addr, hwaddr mask);

/* For hw/pci */

void pci_ats_info_init(PCIDevice *dev);
void pci_ats_info_destroy(PCIDevice *dev);

/* A notifier of the invalidations of @pasid has been or will be registered */
void pci_ats_info_add_notifier(PCIDevice *dev, uint32_t pasid);
/* It is no longer registered */
void pci_ats_info_remove_notifier(PCIDevice *dev, uint32_t pasid);

/**
 * pci_ats_info_count: a translation request has been answered
 *
 * @info: of the function
 * @translations: elements in the answer, 0 after an error
 * @denied: how many of them do not grant what was asked for
 * @truncated: there was no room for more
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

/* What has been counted; from any thread */
void pci_ats_info_get_requests(const PCIDevice *dev, PCIATSRequests *result);
void pci_ats_info_get_invalidations(PCIDevice *dev,
                                    uint64_t result[PCI_ATS_INV_KINDS]);

/*
 * Calls @fn for each PASID with notifiers, with the invalidations since the
 * first of them came; @fn must not call into this file
 */
typedef void PCIATSInvalidationsFn(uint32_t pasid,
                                   const uint64_t counts[PCI_ATS_INV_KINDS],
                                   void *opaque);
void pci_ats_info_foreach_pasid(PCIDevice *dev, PCIATSInvalidationsFn *fn,
                                void *opaque);

#endif
