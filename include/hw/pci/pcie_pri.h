/*
 * PCI Express: Page Request extended capability
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The capability counts the outstanding page request groups, so that it
 * maintains its status bits without the device model: it sets Stopped when the
 * interface is disabled and the last response has arrived, Response Failure
 * when a response with that code arrives, and Unexpected Page Request Group
 * Index when a response arrives for a group that is not outstanding.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#ifndef HW_PCI_PCIE_PRI_H
#define HW_PCI_PCIE_PRI_H

#include "hw/pci/pci_iommu.h"
#include "migration/vmstate.h"

/* Version of the capability (PCIe 5.0, 10.5.2) */
#define PCI_PRI_VER 1

typedef struct PCIEPRIState PCIEPRIState;

/**
 * pcie_pri_init: add a Page Request extended capability (PCIe 5.0, 10.5.2)
 *
 * Call it while the function is being realized, with the BQL held.  Do not call
 * it for VFs: they would share the capability of their PF (9.3.7.11), which is
 * not implemented, so that VFs cannot issue page requests.
 *
 * @dev: a PCI Express function.
 * @offset: offset of the capability in configuration space; it occupies
 *          PCI_EXT_CAP_PRI_SIZEOF bytes.
 * @outstanding_pr_cap: Outstanding Page Request Capacity, in requests.
 * @prg_response_pasid_req: PRG Response PASID Required.
 */
void pcie_pri_init(PCIDevice *dev, uint16_t offset,
                   uint32_t outstanding_pr_cap, bool prg_response_pasid_req);

/*
 * The functions below are callable from any thread, and need no lock.  Those up
 * to pcie_pri_prg_response_has_pasid() return 0 or false if the function does
 * not have the capability.
 */

/**
 * pcie_pri_enabled: check whether the function may issue page requests
 *
 * @dev: any PCI function.
 *
 * Returns: Enable, unless a response with the code Response Failure has
 * disabled the interface (PCIe 5.0, 10.4.2.1) and the guest has not cleared
 * Response Failure since.
 */
bool pcie_pri_enabled(const PCIDevice *dev);

/**
 * pcie_pri_get_req_alloc: get the allocation of outstanding page requests
 *
 * @dev: any PCI function.
 *
 * Returns: Outstanding Page Request Allocation (PCIe 5.0, 10.5.2.5), or
 * Outstanding Page Request Capacity (10.5.2.4) if the guest allocates more.
 */
uint32_t pcie_pri_get_req_alloc(const PCIDevice *dev);

/**
 * pcie_pri_outstanding: get the number of outstanding page requests
 *
 * @dev: any PCI function.
 *
 * Returns: the number of outstanding requests of all groups and PASIDs.
 */
uint32_t pcie_pri_outstanding(const PCIDevice *dev);

/**
 * pcie_pri_prg_response_has_pasid: check whether responses carry a PASID
 *
 * @dev: any PCI function.
 *
 * Returns: PRG Response PASID Required.
 */
bool pcie_pri_prg_response_has_pasid(const PCIDevice *dev);

/**
 * pcie_pri_response_failed: record a response with code Response Failure
 *
 * Sets Response Failure, which disables the interface.  The PRI layer calls it
 * itself for responses to a notifier of pci_pri_register_notifier().  IOMMUs
 * and device models call it for a failure that they learn of in another way.
 *
 * @dev: a function with a PRI capability.
 */
void pcie_pri_response_failed(PCIDevice *dev);

/**
 * pcie_pri_unexpected_prgi: record a response to a group that is not
 * outstanding
 *
 * Sets Unexpected Page Request Group Index.  Like pcie_pri_response_failed(),
 * it is for responses that do not pass through a notifier.
 *
 * @dev: a function with a PRI capability.
 */
void pcie_pri_unexpected_prgi(PCIDevice *dev);

/**
 * pci_pri_register_notifier: register a notifier of the responses to page
 * request groups
 *
 * A function can have one notifier for each PASID.  It receives the responses
 * to groups with this PASID only.
 *
 * @dev: the function.
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID.
 * @notifier: the notifier; it must stay allocated until it is unregistered.
 *
 * Returns: 0; -EPERM when the function has no PRI capability, bus mastering is
 * off, or PASID is off and @pasid is not PCI_NO_PASID; -EINVAL when @pasid is
 * wider than the function's PASID capability; -EBUSY when a notifier is
 * registered for @pasid, or being unregistered; -ENODEV when no IOMMU that
 * supports page requests translates for @dev; or an error of the IOMMU.
 */
int pci_pri_register_notifier(PCIDevice *dev, uint32_t pasid,
                              IOMMUPRINotifier *notifier);

/**
 * pci_pri_unregister_notifier: undo the registration
 *
 * Succeeds even if the guest has changed the configuration space of the
 * function in the meantime.  When it returns, no call of the notifier is in
 * progress and none will follow, unless the notifier itself unregisters.  Waits
 * for such calls: the caller must not hold a lock that the notifier takes.
 *
 * Groups whose last request was sent, and their requests, stay outstanding
 * until their response arrives; no notifier receives this response, not even
 * one that is registered for @pasid later.  Groups whose last request was not
 * sent are dropped, since there will be no response to them.
 *
 * @dev: the function.
 * @pasid: the PASID that the notifier was registered with.
 */
void pci_pri_unregister_notifier(PCIDevice *dev, uint32_t pasid);

/**
 * pci_pri_request_page: issue a Page Request Message (PCIe 5.0, 10.4.1)
 *
 * The notifier that is registered for @pasid receives the response to the
 * group, possibly before this function returns.  When the guest resets the page
 * request interface (Reset bit, FLR, hot reset), the notifier receives
 * IOMMU_PRI_RESP_FAILURE for outstanding groups.
 *
 * The device model must not send more requests than pcie_pri_get_req_alloc()
 * permits.  It need not count requests of notifiers that have been
 * unregistered, nor requests that came with the migration stream: while these
 * use a part of the allocation, requests that exceed the rest fail with
 * -ENOSPC, but never the last request of a group of several.  A request also
 * fails if one of these groups, or a PCIATSDMA, uses @prgi for @pasid.  When
 * the allocation is exhausted, the PRI layer drops requests of groups that were
 * not closed, oldest group first, as if their group began with its next
 * request.
 *
 * A request with neither @is_read nor @is_write, but with @lpig and a PASID, is
 * a Stop Marker (10.4.1.2).  It has no response.
 *
 * @dev: the function.
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID.
 * @priv_req: Privileged Mode Requested; needs a PASID.
 * @exec_req: Execute Requested; needs a PASID.
 * @addr: an address in the page; the offset in the page is ignored.
 * @lpig: Last Request in PRG.
 * @prgi: PRG index, 0 to 0x1ff.
 * @is_read: Read Access Requested.
 * @is_write: Write Access Requested.
 *
 * Returns: 0; -EPERM when bus mastering or PRI is off (PRI counts as off while
 * Response Failure is set), PASID is off and @pasid is not PCI_NO_PASID,
 * privileged mode is off and @priv_req is set, execute permission is off and
 * @exec_req is set, or @priv_req or @exec_req is set and @pasid is
 * PCI_NO_PASID; -EINVAL when @prgi or @pasid is out of range, the request is
 * not a Stop Marker and has neither @is_read nor @is_write, or no notifier is
 * registered for @pasid; -ENODEV when no IOMMU that supports page requests
 * translates for @dev; -ENOSPC when the allocation or @prgi is used as
 * described above, or the IOMMU's page request queue overflows; -EFAULT when
 * the IOMMU does not let @dev request this page.  In the last two cases the
 * IOMMU responds to the last request of a group (with Success or Invalid
 * Request), so that the function returns 0.  Therefore only other requests and
 * Stop Markers fail with these errors.  If the IOMMU has dropped a request of a
 * group, @dev still has to send the last request of the group.  After an error
 * there is no response to this request.
 */
int pci_pri_request_page(PCIDevice *dev, uint32_t pasid, bool priv_req,
                         bool exec_req, hwaddr addr, bool lpig,
                         uint16_t prgi, bool is_read, bool is_write);

/**
 * struct PCIEPRIStats: statistics of page requests and of the responses to page
 * request groups
 *
 * @groups_open: outstanding groups
 * @requests: requests that were sent
 * @overflows: requests that the IOMMU dropped because its queue was full
 * @refused: requests that the IOMMU did not accept for another reason
 * @success: groups with the response Success
 * @invalid_request: groups with the response Invalid Request
 * @failure: groups with the response Response Failure
 * @dropped: groups that a reset ended
 * @unexpected: responses to groups that were not outstanding
 */
typedef struct PCIEPRIStats {
    uint64_t groups_open;
    uint64_t requests;
    uint64_t overflows;
    uint64_t refused;
    uint64_t success;
    uint64_t invalid_request;
    uint64_t failure;
    uint64_t dropped;
    uint64_t unexpected;
} PCIEPRIStats;

/**
 * pcie_pri_has_loaded_groups: check whether groups that came with the migration
 * stream wait for their responses
 *
 * The device model on this host has not sent the requests of loaded groups, but
 * the function has to wait for the responses before it reports to the guest
 * that it no longer uses an address space (PCIe 5.0, 6.20.1).  The next
 * notifier that is registered for the PASID receives the responses.  Groups
 * whose last request was not sent do not count.  Callable from any thread.
 *
 * @dev: a function with a PRI capability
 * @pasid: a PASID, or PCI_NO_PASID
 *
 * Returns: true if there are such groups
 */
bool pcie_pri_has_loaded_groups(const PCIDevice *dev, uint32_t pasid);

/**
 * pcie_pri_get_stats: read the statistics of the function's page requests
 *
 * Callable from any thread.
 *
 * @dev: a function with a PRI capability.
 * @stats: the result.
 */
void pcie_pri_get_stats(PCIDevice *dev, PCIEPRIStats *stats);

/*
 * Called for each PASID with a notifier.  It must not call functions of the
 * PRI layer.
 */
typedef void PCIEPRIPasidFn(uint32_t pasid, const PCIEPRIStats *stats,
                            void *opaque);

/**
 * pcie_pri_foreach_pasid: read the statistics of each PASID that has a notifier
 *
 * The statistics begin with the registration of the notifier.  Callable from
 * any thread.
 *
 * @dev: a function with a PRI capability.
 * @fn: called for each of these PASIDs.
 * @opaque: argument of @fn.
 */
void pcie_pri_foreach_pasid(PCIDevice *dev, PCIEPRIPasidFn *fn, void *opaque);

/*
 * hw/pci/pci.c calls the functions below, with the BQL held.  They do nothing
 * for a function without PRI capability.
 */

/* Updates the status register in configuration space */
void pcie_pri_sync_config(PCIDevice *dev);

/* Called when the guest has written @len bytes of @val at @addr */
void pcie_pri_write_config(PCIDevice *dev, uint32_t addr, uint32_t val,
                           int len);

/* Called by FLR, hot reset or reset of the bus */
void pcie_pri_reset(PCIDevice *dev);

/* Called when configuration space and the groups have been loaded */
void pcie_pri_post_load(PCIDevice *dev);

/* Called while the function is being unrealized */
void pcie_pri_exit(PCIDevice *dev);

/* Subsection of vmstate_pci_device: outstanding page request groups */
extern const VMStateDescription vmstate_pcie_pri;

#endif
