/*
 * PCI Express: Page Request extended capability
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The capability keeps count of the page request groups that are open, so that
 * its status bits need no help from the device model: Stopped is set when the
 * interface is disabled and the last response has come, Response Failure and
 * Unexpected Page Request Group Index when such a response comes.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#ifndef HW_PCI_PCIE_PRI_H
#define HW_PCI_PCIE_PRI_H

#include "hw/pci/pci_iommu.h"
#include "migration/vmstate.h"

typedef struct PCIEPRIState PCIEPRIState;

/**
 * pcie_pri_init: add a Page Request extended capability (PCIe 5.0, 10.5.2)
 *
 * Call it while the function is being realized, with the BQL.  Not for VFs:
 * they would share the capability of their PF (9.3.7.11), which is not
 * implemented, so that VFs have no page requests.
 *
 * @dev: a PCI Express function.
 * @offset: of the capability in configuration space; PCI_EXT_CAP_PRI_SIZEOF
 *          bytes are used.
 * @outstanding_pr_cap: Outstanding Page Request Capacity, in requests.
 * @prg_response_pasid_req: PRG Response PASID Required.
 */
void pcie_pri_init(PCIDevice *dev, uint16_t offset,
                   uint32_t outstanding_pr_cap, bool prg_response_pasid_req);

/*
 * The functions below may be called from any thread without a lock; without
 * the capability the answer is 0 or false.
 */

/**
 * pcie_pri_enabled: may the function issue page requests?
 *
 * @dev: any PCI function.
 *
 * Returns: Enable, unless a response with the code Response Failure has
 * disabled the interface (PCIe 5.0, 10.4.2.1) and the guest has not cleared
 * Response Failure since.
 */
bool pcie_pri_enabled(const PCIDevice *dev);

/**
 * pcie_pri_get_req_alloc: how many page requests may be outstanding at once
 *
 * @dev: any PCI function.
 *
 * Returns: Outstanding Page Request Allocation (PCIe 5.0, 10.5.2.5), or
 * Outstanding Page Request Capacity (10.5.2.4) if the guest allocates more.
 */
uint32_t pcie_pri_get_req_alloc(const PCIDevice *dev);

/**
 * pcie_pri_outstanding: how many page requests are outstanding
 *
 * @dev: any PCI function.
 *
 * Returns: the requests without a response, of all groups and PASIDs.
 */
uint32_t pcie_pri_outstanding(const PCIDevice *dev);

/**
 * pcie_pri_prg_response_has_pasid: do PRG responses carry a PASID?
 *
 * @dev: any PCI function.
 *
 * Returns: PRG Response PASID Required.
 */
bool pcie_pri_prg_response_has_pasid(const PCIDevice *dev);

/**
 * pcie_pri_response_failed: a response with code Response Failure has come
 *
 * Sets Response Failure, which disables the interface.  Responses that arrive
 * at a notifier of pci_pri_register_notifier() have been looked at already;
 * this is for an IOMMU or a device model that learns of a failure another way.
 *
 * @dev: a function with a PRI capability.
 */
void pcie_pri_response_failed(PCIDevice *dev);

/**
 * pcie_pri_unexpected_prgi: a response to a group that is not open has come
 *
 * Sets Unexpected Page Request Group Index.  Like pcie_pri_response_failed(),
 * for responses that do not pass through a notifier.
 *
 * @dev: a function with a PRI capability.
 */
void pcie_pri_unexpected_prgi(PCIDevice *dev);

/**
 * pci_pri_register_notifier: receive the responses to page request groups
 *
 * One notifier per function and PASID; each sees the responses for groups
 * opened with its PASID only.
 *
 * @dev: the function.
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID.
 * @notifier: must stay allocated until it is unregistered.
 *
 * Returns: 0; -EPERM when the function has no PRI capability, bus mastering is
 * off, or PASID is off and @pasid is not PCI_NO_PASID; -EINVAL when @pasid is
 * wider than the function's PASID capability; -EBUSY when a notifier is
 * registered for @pasid, or being unregistered; -ENODEV when no IOMMU that
 * takes page requests translates for @dev; or an error of the IOMMU.
 */
int pci_pri_register_notifier(PCIDevice *dev, uint32_t pasid,
                              IOMMUPRINotifier *notifier);

/**
 * pci_pri_unregister_notifier: undo the registration
 *
 * Works whatever the function's configuration space says by now.  After it
 * returned, the notifier is not being called and will not be, unless it is
 * the notifier itself that unregisters.  Groups whose last request was sent
 * stay open until their response arrives, and their requests outstanding;
 * nobody is told, not even a notifier that is registered for @pasid later.
 * Others are forgotten, since no response to them can come.
 *
 * @dev: the function.
 * @pasid: the PASID that the notifier was registered with.
 */
void pci_pri_unregister_notifier(PCIDevice *dev, uint32_t pasid);

/**
 * pci_pri_request_page: issue a Page Request Message (PCIe 5.0, 10.4.1)
 *
 * The response to the group arrives at the notifier registered for @pasid,
 * possibly before this function returns.  When the guest resets the page
 * request interface (Reset bit, FLR, hot reset) groups that are open are
 * answered with IOMMU_PRI_RESP_FAILURE.
 *
 * The function has to keep to pcie_pri_get_req_alloc() outstanding requests.
 * It need not count those of notifiers that have been unregistered, nor those
 * that came with migration: while they use a part of the allocation, requests
 * for which the rest has no room are refused, but never the last of a group of
 * several.  So are requests with an index that they, or a PCIATSDMA, use for
 * @pasid.  Where there is no room, requests of groups that were not closed are
 * forgotten, oldest group first, as if their group began with its next request.
 *
 * @is_read and @is_write both clear, with @lpig and a PASID, is a Stop Marker
 * (10.4.1.2); it has no response.
 *
 * @dev: the function.
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID.
 * @priv_req: Privileged Mode Requested; needs a PASID.
 * @exec_req: Execute Requested; needs a PASID.
 * @addr: an address in the page; the offset in the page is dropped.
 * @lpig: last request in its group.
 * @prgi: page request group index, 0 to 0x1ff.
 * @is_read: read access is wanted.
 * @is_write: write access is wanted.
 *
 * Returns: 0; -EPERM when bus mastering or PRI is off (PRI counts as off while
 * Response Failure is set), PASID is off and @pasid is not PCI_NO_PASID,
 * privileged mode is off and @priv_req is set, or execute permission is off and
 * @exec_req is set; -EINVAL when @prgi or @pasid is out of range, neither read
 * nor write is asked for in anything but a Stop Marker, or no notifier is
 * registered for @pasid; -ENODEV when no IOMMU that takes page requests
 * translates for @dev; -ENOSPC when the allocation or @prgi is used as above,
 * or the IOMMU's page request queue overflows; -EFAULT when the IOMMU does not
 * let @dev ask for this page.  VT-d answers the last request of a group in the
 * last two cases (with Success and with Invalid Request), so that it returns 0,
 * and these errors are for the other requests and for Stop Markers only; that a
 * request of the group was dropped does not relieve @dev of sending the last.
 * After an error there is no response for this request.
 */
int pci_pri_request_page(PCIDevice *dev, uint32_t pasid, bool priv_req,
                         bool exec_req, hwaddr addr, bool lpig,
                         uint16_t prgi, bool is_read, bool is_write);

/**
 * struct PCIEPRIStats: page requests, and the responses to groups of them
 *
 * @groups_open: groups that wait for a response
 * @requests: requests that were sent
 * @overflows: requests that the IOMMU did not take, as its queue was full
 * @refused: requests that the IOMMU did not take for another reason
 * @success: groups answered with Success
 * @invalid_request: groups answered with Invalid Request
 * @failure: groups answered with Response Failure
 * @dropped: groups that a reset ended
 * @unexpected: responses to groups that were not open
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
 * pcie_pri_has_loaded_groups: tell whether responses are due to groups that
 * came with migration
 *
 * They are not the requests of anybody at this end, but the function has to
 * wait for them before it tells the guest that it is done with an address space
 * (PCIe 5.0, 6.20.1).  The next notifier to be registered for the PASID hears
 * the responses.  Groups whose last request was not sent do not count.
 * Callable from any thread.
 *
 * @dev: a function with a PRI capability
 * @pasid: a PASID, or PCI_NO_PASID
 *
 * Returns: whether there are any
 */
bool pcie_pri_has_loaded_groups(const PCIDevice *dev, uint32_t pasid);

/**
 * pcie_pri_get_stats: what happened to the function's page requests
 *
 * Callable from any thread.
 *
 * @dev: a function with a PRI capability.
 * @stats: the result.
 */
void pcie_pri_get_stats(PCIDevice *dev, PCIEPRIStats *stats);

/* Called for each PASID with a notifier; must not call into the PRI layer */
typedef void PCIEPRIPasidFn(uint32_t pasid, const PCIEPRIStats *stats,
                            void *opaque);

/**
 * pcie_pri_foreach_pasid: the same for each PASID that has a notifier, since
 * it has been registered
 *
 * Callable from any thread.
 *
 * @dev: a function with a PRI capability.
 * @fn: called for each of them.
 * @opaque: for @fn.
 */
void pcie_pri_foreach_pasid(PCIDevice *dev, PCIEPRIPasidFn *fn, void *opaque);

/* For hw/pci/pci.c, with the BQL; all do nothing without PRI capability */

/* Bring the status register in configuration space up to date */
void pcie_pri_sync_config(PCIDevice *dev);

/* @len bytes of @val have been written at @addr */
void pcie_pri_write_config(PCIDevice *dev, uint32_t addr, uint32_t val,
                           int len);

/* FLR, hot reset or reset of the bus */
void pcie_pri_reset(PCIDevice *dev);

/* Configuration space and the open groups have been loaded */
void pcie_pri_post_load(PCIDevice *dev);

/* The function is being unrealized */
void pcie_pri_exit(PCIDevice *dev);

/* Subsection of vmstate_pci_device: page request groups that are open */
extern const VMStateDescription vmstate_pcie_pri;

#endif
