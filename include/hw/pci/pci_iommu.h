/*
 * Requests of a PCI function to its IOMMU: ATS translation, DMA with PASID
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All functions of this file are callable from any thread, with or without the
 * BQL, and concurrently, unless their comments say otherwise.  Callbacks run in
 * the thread in which the IOMMU works: with the BQL held when an invalidation
 * or a page response of the guest triggers them, without it when another
 * thread of a device model does.  They must be short and must not wait for the
 * BQL.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#ifndef HW_PCI_PCI_IOMMU_H
#define HW_PCI_PCI_IOMMU_H

#include "exec/memattrs.h"
#include "exec/memory.h"
#include "qemu/drain.h"
#include "system/dma.h"

/* The PASID argument for a request without PASID TLP Prefix */
#define PCI_NO_PASID UINT32_MAX

/* In invalidations: every PASID, and requests without PASID */
#define PCI_ANY_PASID (UINT32_MAX - 1)

/* A PASID has up to 20 bits (PCIe 5.0, 6.20) */
#define PCI_PASID_MAX 0xfffff

/* A page request group index has 9 bits (PCIe 5.0, 10.4.1) */
#define PCI_PRGI_MAX 0x1ff
#define PCI_PRI_PRGI_MASK PCI_PRGI_MAX

/*
 * Address Type of a memory request, for MemTxAttrs.address_type
 * (PCIe 5.0, 10.2.1).  QEMU does not model translation requests as memory
 * transactions: see pci_ats_request_translation().
 */
typedef enum PCIAddressType {
    PCI_AT_UNTRANSLATED = 0,
    PCI_AT_TRANSLATED   = 1,
} PCIAddressType;

/* Response Code of a PRG Response Message (PCIe 5.0, 10.4.2.1) */
typedef enum IOMMUPRIResponseCode {
    /* All pages of the group are present, or can be requested again */
    IOMMU_PRI_RESP_SUCCESS,
    /* At least one page does not exist or does not permit the access */
    IOMMU_PRI_RESP_INVALID_REQUEST,
    /* Catastrophic error: the function's page request interface is disabled */
    IOMMU_PRI_RESP_FAILURE,
} IOMMUPRIResponseCode;

/**
 * struct IOMMUPRIResponse: a PRG Response Message (PCIe 5.0, 10.4.2)
 *
 * @response_code: Response Code
 * @prgi: PRG index
 * @any_pasid: the message has no PASID, so that the index alone identifies the
 *             group; the IOMMU may call any notifier of the function
 */
typedef struct IOMMUPRIResponse {
    IOMMUPRIResponseCode response_code;
    uint16_t prgi;
    bool any_pasid;
} IOMMUPRIResponse;

struct IOMMUPRINotifier;

/* The type of IOMMUPRINotifier.notify */
typedef void (*IOMMUPRINotify)(struct IOMMUPRINotifier *notifier,
                               IOMMUPRIResponse *response);

/**
 * struct IOMMUPRINotifier: receives the responses to page request groups
 *
 * @notify: called once for the response to each group.  @response is valid
 * during the call only.
 */
typedef struct IOMMUPRINotifier {
    IOMMUPRINotify notify;
} IOMMUPRINotifier;

/**
 * pci_iommu_get_iotlb_info: get properties of the IOMMU's address translation
 *
 * @dev: the function.
 * @addr_width: set to the width of an input address, in bits.
 * @min_page_size: set to the smallest page, in bytes, a power of two.
 *
 * Returns: 0; -ENODEV when no IOMMU that supports translation requests
 * translates for @dev.
 */
int pci_iommu_get_iotlb_info(PCIDevice *dev, uint8_t *addr_width,
                             uint32_t *min_page_size);

/**
 * pci_iommu_is_thread_safe: check whether the IOMMU can translate without the
 * BQL
 *
 * @dev: the function.
 *
 * An IOMMU that drains untranslated requests of threads can translate them in
 * any thread (PCIIOMMUOps.get_untranslated_drain).  Other IOMMUs change their
 * caches, report faults, and take the BQL while they translate.
 *
 * Returns: true if threads without the BQL may use the IOMMU, or if no IOMMU
 * translates for @dev.
 */
bool pci_iommu_is_thread_safe(const PCIDevice *dev);

/**
 * pci_iommu_init_iotlb_notifier: prepare a notifier of invalidations
 *
 * Fills in @n so that pci_iommu_register_iotlb_notifier() accepts it.
 *
 * @dev: the function.
 * @n: the notifier.
 * @fn: called for each invalidation, with an entry whose @iova and @addr_mask
 *      span the invalidated range; @addr_mask may be all ones.
 * @opaque: stored in @n->opaque for @fn.
 *
 * Returns: 0; -ENODEV when no IOMMU that supports translation requests
 * translates for @dev.
 */
int pci_iommu_init_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n,
                                  IOMMUNotify fn, void *opaque);

/**
 * pci_iommu_register_iotlb_notifier: register a notifier of invalidations
 *
 * Register the notifier before the first translation request: the IOMMU calls
 * it for translations obtained after the registration, but not necessarily for
 * earlier ones.  A function receives Invalidate Requests even while ATS Enable
 * is clear (PCIe 5.0, 10.3.1), so that ATS need not be enabled here.
 *
 * @dev: the function.
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID.
 * @n: a notifier set up by pci_iommu_init_iotlb_notifier(); it must stay
 *     allocated until it is unregistered.
 *
 * Returns: 0; -EPERM when @pasid is not PCI_NO_PASID and PASID is not
 * enabled in the function; -EINVAL when @pasid is wider than the function's
 * PASID capability; -ENODEV when no IOMMU that supports translation requests
 * translates for @dev.
 */
int pci_iommu_register_iotlb_notifier(PCIDevice *dev, uint32_t pasid,
                                      IOMMUNotifier *n);

/**
 * pci_iommu_register_any_iotlb_notifier: register a notifier of all
 * invalidations
 *
 * For a function with one ATC for all its PASIDs: the IOMMU calls @n once for
 * each Invalidate Request, for any PASID.  @pasid of the entry is the
 * PASID of the invalidated translations; %PCI_ANY_PASID stands for all PASIDs
 * and for requests without PASID.  pci_iommu_unregister_any_iotlb_notifier()
 * undoes the registration.
 *
 * @dev: the function.
 * @n: as for pci_iommu_register_iotlb_notifier().
 *
 * Returns: 0; -ENODEV when no IOMMU that supports translation requests
 * translates for @dev.
 */
int pci_iommu_register_any_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n);

/**
 * pci_iommu_unregister_any_iotlb_notifier: undo the registration
 *
 * The rules of pci_iommu_unregister_iotlb_notifier() apply.
 *
 * @dev: the function.
 * @n: the notifier.
 */
void pci_iommu_unregister_any_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n);

/**
 * pci_iommu_unregister_iotlb_notifier: undo the registration
 *
 * Succeeds even if the guest has changed the configuration space of the
 * function in the meantime.  When it returns, no call of @n is in progress and
 * none will follow, unless @n->notify itself unregisters @n.  Waits for such
 * calls: the caller must not hold a lock that the notifier takes.
 *
 * @dev: the function.
 * @pasid: the PASID that @n was registered with.
 * @n: the notifier.
 *
 * Returns: 0; -ENODEV when no IOMMU that supports translation requests
 * translates for @dev.
 */
int pci_iommu_unregister_iotlb_notifier(PCIDevice *dev, uint32_t pasid,
                                        IOMMUNotifier *n);

/**
 * pci_ats_request_translation: issue an ATS Translation Request
 *
 * Translates the pages that overlap with [@addr, @addr + @length).  Each
 * element of @result describes one range: @iova and @addr_mask are the range
 * itself, @translated_addr and @perm its translation.  If @perm contains
 * neither IOMMU_RO nor IOMMU_WO, there is no translation: request the page with
 * pci_pri_request_page(), see hw/pci/pcie_pri.h.  If it contains
 * IOMMU_UNTRANSLATED_ONLY, access the range with untranslated requests.
 * Otherwise access the translated address with MemTxAttrs.address_type =
 * PCI_AT_TRANSLATED.  (PCIe 5.0, 10.2.2 and 10.2.3)
 *
 * @dev: the function.
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID.
 * @priv_req: Privileged Mode Requested; needs a PASID.
 * @exec_req: Execute Requested; needs a PASID.
 * @addr: first address, with any alignment.
 * @length: length in bytes, at least 1.
 * @no_write: the function requests read access only (NW); the IOMMU need not
 *            grant write permission, and it marks no page dirty.
 * @result: the translations, in the order of their addresses.
 * @result_length: number of elements in @result.
 * @err_count: set to the number of elements that grant no permission; an
 *             element that is read-only for a read-write request is not
 *             counted.
 *
 * Returns: the number of elements filled in; -EPERM when bus mastering or ATS
 * is off, PASID is off and @pasid is not PCI_NO_PASID, privileged mode is off
 * and @priv_req is set, execute permission is off and @exec_req is set, or
 * @priv_req or @exec_req is set and @pasid is PCI_NO_PASID; -EINVAL when
 * @length is 0, the range wraps around the end of the address space, or @pasid
 * is wider than the function's PASID capability; -ENOSPC when @result_length is
 * 0; -ENODEV when no IOMMU that supports translation requests translates for
 * @dev; -ENOMEM when @result_length is too small for the range: then @result
 * contains @result_length valid elements.
 */
ssize_t pci_ats_request_translation(PCIDevice *dev, uint32_t pasid,
                                    bool priv_req, bool exec_req,
                                    hwaddr addr, size_t length,
                                    bool no_write, IOMMUTLBEntry *result,
                                    size_t result_length,
                                    uint32_t *err_count);

/**
 * pci_untranslated_begin: begin untranslated requests in a thread without the
 * BQL
 *
 * An invalidation of the IOMMU is complete only when the untranslated requests
 * that it translated earlier have reached memory.  A thread that does not hold
 * the BQL therefore encloses the translation and the access to memory with this
 * function and pci_untranslated_end().  In between it must access RAM only
 * (MemTxAttrs.memory), and must neither take the BQL nor wait for a thread that
 * may hold it.  It should access no more than 256 KiB of data, since a vCPU may
 * wait for it.
 *
 * A thread that holds the BQL need not call it.  pci_pasid_dma_rw() and the
 * functions of pci_ats_dma.h call it themselves.
 *
 * @dev: the function.
 *
 * Returns: a token for pci_untranslated_end().
 */
unsigned pci_untranslated_begin(PCIDevice *dev);

/**
 * pci_untranslated_end: end untranslated requests, which have reached memory
 *
 * @dev: the function.
 * @token: from pci_untranslated_begin()
 */
void pci_untranslated_end(PCIDevice *dev, unsigned token);

/**
 * pci_untranslated_blocked: report a request that has not reached memory
 *
 * A thread without the BQL accesses RAM only.  It does not access the memory
 * regions with which an IOMMU blocks and reports requests to addresses that it
 * does not translate, such as the interrupt range.  When an untranslated
 * request without PASID finds no RAM at an address, the thread calls this
 * function, so that the IOMMU records the fault, if its specification defines
 * one.
 *
 * Callable from any thread, between pci_untranslated_begin() and
 * pci_untranslated_end().
 *
 * @dev: the function.
 * @addr: first address that the request has not reached
 * @is_write: true for a write, false for a read
 */
void pci_untranslated_blocked(PCIDevice *dev, dma_addr_t addr, bool is_write);

/**
 * pci_pasid_target: find the target of a request with a PASID TLP Prefix
 *
 * Callable from any thread.  A thread without the BQL calls it, and accesses
 * memory, between pci_untranslated_begin() and pci_untranslated_end().  The
 * IOMMU records a fault for a blocked request if its specification defines one.
 *
 * @dev: the function
 * @pasid: 0 to 0xfffff
 * @priv_req: Privileged Mode Requested
 * @exec_req: Execute Requested, for reads only
 * @addr: first address
 * @is_write: true for a write, false for a read
 * @xlat: set to the address in the returned address space
 * @len: length in bytes, at least 1; reduced to the length that one
 *     translation covers
 *
 * Returns: the address space; NULL when bus mastering, PASID or a requested
 * permission is off, @pasid is out of range, no IOMMU that supports requests
 * with PASID translates for @dev, or the IOMMU blocks the request.  @xlat and
 * @len are unchanged then.
 */
AddressSpace *pci_pasid_target(PCIDevice *dev, uint32_t pasid, bool priv_req,
                               bool exec_req, dma_addr_t addr, bool is_write,
                               dma_addr_t *xlat, dma_addr_t *len);

/**
 * pci_pasid_dma_rw: issue an untranslated request with a PASID TLP Prefix
 *
 * The counterpart of pci_dma_rw() for requests with PASID: the IOMMU
 * translates each page with the tables of @pasid, and records a fault for each
 * page that it blocks.  A thread without the BQL can access RAM only.
 *
 * @dev: the function.
 * @pasid: 0 to 0xfffff, not PCI_NO_PASID.
 * @priv_req: Privileged Mode Requested.
 * @exec_req: Execute Requested; for reads only.
 * @addr: first address, with any alignment.
 * @buf: the data.
 * @len: length in bytes; the function does nothing for 0.
 * @dir: DMA_DIRECTION_TO_DEVICE reads memory into @buf.
 *
 * Returns: MEMTX_OK; MEMTX_ACCESS_ERROR when bus mastering, PASID, or the
 * requested privileged or execute permission is off, when @pasid is out of
 * range, the range wraps, the IOMMU blocks a page, or the BQL is not held and
 * the address is not one of RAM; MEMTX_DECODE_ERROR when no IOMMU that supports
 * requests with PASID translates for @dev; or the result of the memory access.
 * Pages before the one that failed have been transferred.
 */
MemTxResult pci_pasid_dma_rw(PCIDevice *dev, uint32_t pasid, bool priv_req,
                             bool exec_req, dma_addr_t addr, void *buf,
                             dma_addr_t len, DMADirection dir);

/**
 * pci_translated_target: find the target of a translated request
 *
 * Device models call pci_dma_target(), which calls this function.  It checks
 * with the IOMMU whether the request may pass, so that the IOMMU can block it
 * even if requests of the function bypass the IOMMU's memory region.  If no
 * IOMMU checks translated requests, returns the address space of @dev without
 * any check.
 *
 * @dev: the function.
 * @addr: first address, with any alignment.
 * @len: length in bytes.
 * @is_write: true for a write, false for a read.
 *
 * Returns: the address space, or NULL when bus mastering is off, the range
 * wraps, or the IOMMU blocks any part of it.
 */
AddressSpace *pci_translated_target(PCIDevice *dev, dma_addr_t addr,
                                    dma_addr_t len, bool is_write);

/*
 * The IOMMU that translates for a function, and the requester that the IOMMU
 * sees.  Each function has one, so that its threads need not walk the bus
 * topology.
 */
typedef struct PCIIOMMUBinding {
    const struct PCIIOMMUOps *ops;      /* NULL: no IOMMU */
    /* The same as @ops, or NULL without support for translation requests */
    const struct PCIIOMMUOps *ats_ops;
    void *opaque;                       /* for @ops */
    PCIBus *bus;                        /* of the requester, after aliasing */
    int devfn;                          /* of the requester, after aliasing */
    /* Untranslated requests of threads; NULL: they must not use the IOMMU */
    Drain *untranslated;
} PCIIOMMUBinding;

#endif
