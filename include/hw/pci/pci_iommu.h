/*
 * Requests of a PCI function to its IOMMU: ATS translation, DMA with PASID
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Everything here may be called from any thread, with or without the BQL,
 * and from several threads at once, unless the function says otherwise.
 * Callbacks run in whatever thread the IOMMU works in: with the BQL when a
 * guest's invalidation or page response triggers them, without it when
 * another thread of a device does.  They must be short and must not wait for
 * the BQL.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#ifndef HW_PCI_PCI_IOMMU_H
#define HW_PCI_PCI_IOMMU_H

#include "exec/memattrs.h"
#include "exec/memory.h"
#include "qemu/drain.h"
#include "system/dma.h"

/* The PASID argument of a request that carries no PASID TLP Prefix */
#define PCI_NO_PASID UINT32_MAX

/* In invalidations: every PASID, and requests without PASID */
#define PCI_ANY_PASID (UINT32_MAX - 1)

/* A PASID has up to 20 bits (PCIe 5.0, 6.20) */
#define PCI_PASID_MAX 0xfffff

/* A page request group index has 9 bits (PCIe 5.0, 10.4.1) */
#define PCI_PRGI_MAX 0x1ff

/*
 * Address Type of a memory request, for MemTxAttrs.address_type
 * (PCIe 5.0, 10.2.1).  Translation requests are not memory transactions here:
 * see pci_ats_request_translation().
 */
typedef enum PCIAddressType {
    PCI_AT_UNTRANSLATED = 0,
    PCI_AT_TRANSLATED   = 1,
} PCIAddressType;

/* Response Code of a PRG Response Message (PCIe 5.0, 10.4.2.1) */
typedef enum IOMMUPRIResponseCode {
    /* All pages of the group are there, or may be asked for again */
    IOMMU_PRI_RESP_SUCCESS,
    /* At least one page of the group does not exist or may not be accessed */
    IOMMU_PRI_RESP_INVALID_REQUEST,
    /* Catastrophic error: the function's page request interface is disabled */
    IOMMU_PRI_RESP_FAILURE,
} IOMMUPRIResponseCode;

typedef struct IOMMUPRIResponse {
    IOMMUPRIResponseCode response_code;
    uint16_t prgi;
} IOMMUPRIResponse;

/**
 * struct IOMMUPRINotifier: receives the responses to page request groups
 *
 * @notify: called once per answered group.  @response is valid during the
 * call only.
 */
typedef struct IOMMUPRINotifier {
    void (*notify)(struct IOMMUPRINotifier *notifier,
                   IOMMUPRIResponse *response);
} IOMMUPRINotifier;

/**
 * pci_iommu_get_iotlb_info: properties of the IOMMU's address translation
 *
 * @dev: the function.
 * @addr_width: set to the width of an input address, in bits.
 * @min_page_size: set to the smallest page, in bytes, a power of two.
 *
 * Returns: 0; -ENODEV when no IOMMU that answers translation requests
 * translates for @dev.
 */
int pci_iommu_get_iotlb_info(PCIDevice *dev, uint8_t *addr_width,
                             uint32_t *min_page_size);

/**
 * pci_iommu_is_thread_safe: may threads without the BQL have it translate?
 *
 * @dev: the function.
 *
 * An IOMMU that offers the calls of this file in its PCIIOMMUOps may be used
 * from any thread.  Others change what they cache, report faults, and take the
 * BQL while they translate.
 *
 * Returns: whether they may; true if no IOMMU translates for @dev.
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
 *      span the range to drop; @addr_mask may be all ones.
 * @opaque: stored in @n->opaque for @fn.
 *
 * Returns: 0; -ENODEV when no IOMMU that answers translation requests
 * translates for @dev.
 */
int pci_iommu_init_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n,
                                  IOMMUNotify fn, void *opaque);

/**
 * pci_iommu_register_iotlb_notifier: be told of invalidations of translations
 *
 * Register before the first translation request: only entries obtained
 * after registering are certain to be invalidated.  A function receives
 * Invalidate Requests whatever its ATS Enable says (PCIe 5.0, 10.3.1), so
 * ATS need not be enabled here.
 *
 * @dev: the function.
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID.
 * @n: a notifier set up by pci_iommu_init_iotlb_notifier(); it must stay
 *     allocated until it is unregistered.
 *
 * Returns: 0; -EPERM when @pasid is not PCI_NO_PASID and PASID is not
 * enabled in the function; -EINVAL when @pasid is wider than the function's
 * PASID capability; -ENODEV when no IOMMU that answers translation requests
 * translates for @dev.
 */
int pci_iommu_register_iotlb_notifier(PCIDevice *dev, uint32_t pasid,
                                      IOMMUNotifier *n);

/**
 * pci_iommu_register_any_iotlb_notifier: be told of all invalidations
 *
 * For a function that keeps the translations of all its PASIDs in one cache:
 * @n is called once for each Invalidate Request, whichever PASIDs it is for.
 * @pasid of the entry tells: it is a PASID, or %PCI_ANY_PASID for requests of
 * every PASID and those without.  Undone by
 * pci_iommu_unregister_any_iotlb_notifier().
 *
 * @dev: the function.
 * @n: as for pci_iommu_register_iotlb_notifier().
 *
 * Returns: 0; -ENODEV when no IOMMU that answers translation requests
 * translates for @dev.
 */
int pci_iommu_register_any_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n);

/**
 * pci_iommu_unregister_any_iotlb_notifier: undo the registration
 *
 * As pci_iommu_unregister_iotlb_notifier().
 *
 * @dev: the function.
 * @n: the notifier.
 */
void pci_iommu_unregister_any_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n);

/**
 * pci_iommu_unregister_iotlb_notifier: undo the registration
 *
 * Works whatever the function's configuration space says by now.  After it
 * returned, @n is not being called and will not be, unless it is @n->notify
 * itself that unregisters @n.
 *
 * @dev: the function.
 * @pasid: the PASID that @n was registered with.
 * @n: the notifier.
 *
 * Returns: 0; -ENODEV when no IOMMU that answers translation requests
 * translates for @dev.
 */
int pci_iommu_unregister_iotlb_notifier(PCIDevice *dev, uint32_t pasid,
                                        IOMMUNotifier *n);

/**
 * pci_ats_request_translation: issue an ATS Translation Request
 *
 * Translates the pages that overlap [@addr, @addr + @length).  Each element
 * of @result describes one range: @iova and @addr_mask the range itself,
 * @translated_addr and @perm what it translates to.  @perm without
 * IOMMU_RO and IOMMU_WO says that there is no translation: use
 * pci_pri_request_page() for it, see hw/pci/pcie_pri.h.  With
 * IOMMU_UNTRANSLATED_ONLY the range must be accessed with untranslated
 * requests.  The translated address is used with MemTxAttrs.address_type =
 * PCI_AT_TRANSLATED.  (PCIe 5.0, 10.2.2 and 10.2.3)
 *
 * @dev: the function.
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID.
 * @priv_req: Privileged Mode Requested; needs a PASID.
 * @exec_req: Execute Requested; needs a PASID.
 * @addr: first address, any alignment.
 * @length: in bytes, at least 1.
 * @no_write: only read access is wanted (NW); write permission need not be
 *            given and no page is marked dirty.
 * @result: filled from the first address on.
 * @result_length: elements in @result.
 * @err_count: set to the number of elements without the permission asked for.
 *
 * Returns: the number of elements filled in; -EPERM when bus mastering or ATS
 * is off, PASID is off and @pasid is not PCI_NO_PASID, privileged mode is off
 * and @priv_req is set, or execute permission is off and @exec_req is set;
 * -EINVAL when @length is 0, the range wraps around the end of the address
 * space, or @pasid is wider than the function's PASID capability; -ENOSPC when
 * @result_length is 0; -ENODEV when no IOMMU that answers translation requests
 * translates for @dev; -ENOMEM when @result_length is too small for the
 * range: @result is filled with @result_length valid elements then.
 */
ssize_t pci_ats_request_translation(PCIDevice *dev, uint32_t pasid,
                                    bool priv_req, bool exec_req,
                                    hwaddr addr, size_t length,
                                    bool no_write, IOMMUTLBEntry *result,
                                    size_t result_length,
                                    uint32_t *err_count);

/**
 * pci_untranslated_begin: a thread begins with untranslated requests
 *
 * An invalidation of the IOMMU is complete only when the untranslated requests
 * that were translated before have reached memory.  A thread that does not hold
 * the BQL therefore encloses the translation and the access to memory with this
 * and pci_untranslated_end().  In between it must access RAM only
 * (MemTxAttrs.memory), and must neither take the BQL nor wait for somebody who
 * may hold it.  It should be short, some 100 KiB of data: a vCPU may wait.
 *
 * With the BQL there is no need for it.  pci_pasid_dma_rw() and the functions
 * of pci_ats_dma.h do this themselves.
 *
 * @dev: the function.
 *
 * Returns: a token for pci_untranslated_end().
 */
unsigned pci_untranslated_begin(PCIDevice *dev);

/**
 * pci_untranslated_end: the requests have reached memory
 *
 * @dev: the function.
 * @token: from pci_untranslated_begin()
 */
void pci_untranslated_end(PCIDevice *dev, unsigned token);

/**
 * pci_untranslated_blocked: report a request that has not reached memory
 *
 * A thread without the BQL accesses RAM only.  It does not call the memory
 * regions with which an IOMMU blocks and reports addresses that it does not
 * translate, such as the interrupt range.  When an untranslated request without
 * PASID finds no RAM at an address, the thread calls this, so that the IOMMU
 * records the fault, if its specification names one.
 *
 * Callable from any thread, between pci_untranslated_begin() and
 * pci_untranslated_end().
 *
 * @dev: the function.
 * @addr: first address that has not been reached
 * @is_write: a write, else a read
 */
void pci_untranslated_blocked(PCIDevice *dev, dma_addr_t addr, bool is_write);

/**
 * pci_pasid_target: find where a request with a PASID TLP Prefix goes to
 *
 * Callable from any thread; one without the BQL calls it, and accesses memory,
 * between pci_untranslated_begin() and pci_untranslated_end().  A blocked
 * request is recorded by the IOMMU, as far as its specification says so.
 *
 * @dev: #PCIDevice doing the memory access
 * @pasid: 0 to 0xfffff
 * @priv_req: Privileged Mode Requested
 * @exec_req: Execute Requested, for reads
 * @addr: first address
 * @is_write: a write, else a read
 * @xlat: set to the address in the address space that is returned
 * @len: length in bytes, at least 1; reduced to what one translation covers
 *
 * Returns: the address space, or NULL if the request is blocked
 */
AddressSpace *pci_pasid_target(PCIDevice *dev, uint32_t pasid, bool priv_req,
                               bool exec_req, dma_addr_t addr, bool is_write,
                               dma_addr_t *xlat, dma_addr_t *len);

/**
 * pci_pasid_dma_rw: memory request with a PASID TLP Prefix, untranslated
 *
 * The counterpart of pci_dma_rw() for requests with PASID: the IOMMU
 * translates each page with the tables of @pasid, and records a fault for what
 * it blocks.  Without the BQL only RAM can be accessed.
 *
 * @dev: the function.
 * @pasid: 0 to 0xfffff, not PCI_NO_PASID.
 * @priv_req: Privileged Mode Requested.
 * @exec_req: Execute Requested; for reads only.
 * @addr: first address, any alignment.
 * @buf: the data.
 * @len: in bytes; 0 does nothing.
 * @dir: DMA_DIRECTION_TO_DEVICE reads memory into @buf.
 *
 * Returns: MEMTX_OK; MEMTX_ACCESS_ERROR when bus mastering, PASID, or the
 * privileged or execute permission asked for is off, when @pasid is out of
 * range, the range wraps, the IOMMU blocks a page, or the BQL is not held and
 * the address is not one of RAM; MEMTX_DECODE_ERROR when no IOMMU that takes
 * requests with PASID translates for @dev; or what the memory answers.  Pages
 * before the one that failed have been transferred.
 */
MemTxResult pci_pasid_dma_rw(PCIDevice *dev, uint32_t pasid, bool priv_req,
                             bool exec_req, dma_addr_t addr, void *buf,
                             dma_addr_t len, DMADirection dir);

/**
 * pci_translated_target: find where a translated request goes
 *
 * For pci_dma_target(), which is what to use.  Asks the IOMMU whether the
 * request may pass, so that it is blocked also where requests of the function
 * bypass the IOMMU's memory region.
 *
 * @dev: the function.
 * @addr: first address, any alignment.
 * @len: in bytes.
 * @is_write: a write, else a read.
 *
 * Returns: the address space, or NULL when bus mastering is off, the range
 * wraps, or the IOMMU blocks any part of it.
 */
AddressSpace *pci_translated_target(PCIDevice *dev, dma_addr_t addr,
                                    dma_addr_t len, bool is_write);

/*
 * The IOMMU that translates for a function, and the source that it sees.  Kept
 * in the function so that its threads need not walk the bus topology.
 */
typedef struct PCIIOMMUBinding {
    const struct PCIIOMMUOps *ops;      /* NULL: no IOMMU */
    /* The same, or NULL if it does not answer translation requests */
    const struct PCIIOMMUOps *ats_ops;
    void *opaque;                       /* for @ops */
    PCIBus *bus;                        /* of the requester, after aliasing */
    int devfn;                          /* of the requester, after aliasing */
    /* Of untranslated requests by threads; NULL: nobody waits for them */
    Drain *untranslated;
} PCIIOMMUBinding;

#endif
