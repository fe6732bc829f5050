/*
 * PCI Express: page request groups with reserved indices
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The DMA engine for device models with ATS uses this interface of the Page
 * Request capability.  The caller of pci_pri_request_page() chooses the index
 * of a group, and has to observe the Outstanding Page Request Allocation.  With
 * these functions, the capability does both before the owner sends the first
 * request of a group.
 *
 * A group has an owner, a pointer that comes back when the group ends.  Either
 * pcie_pri_abandon() returns true, or the notifier of the PASID is called with
 * PCIEPRIResponse.owner, but not both.  The notifier is not called for groups
 * that are outstanding when pci_pri_unregister_notifier() returns.
 *
 * All functions are callable from any thread.  Except for pcie_pri_register()
 * and pcie_pri_send(), they call no other code, so that the caller may hold
 * locks that the notifier takes.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#ifndef HW_PCI_PCIE_PRI_REQUESTER_H
#define HW_PCI_PCIE_PRI_REQUESTER_H

#include "hw/pci/pcie_pri.h"
#include "pcie_pri_group.h"

/**
 * struct PCIEPRIResponse: response for a notifier of pcie_pri_register()
 *
 * The notifier is called with a pointer to @response.
 *
 * @response: code and index
 * @owner: owner of the group; NULL if it was not reserved or is abandoned, and
 *         in a failure of a group of another PASID
 * @reset: a reset has ended the group; the guest has not responded
 */
typedef struct PCIEPRIResponse {
    IOMMUPRIResponse response;
    void *owner;
    bool reset;
} PCIEPRIResponse;

/**
 * pcie_pri_register: register a notifier for all groups of a PASID
 *
 * As pci_pri_register_notifier(), but the notifier gets a PCIEPRIResponse, and
 * is also called when abandoned groups end, and when the failure of a group
 * without a user disables the interface.  pci_pri_unregister_notifier() undoes
 * it, and waits for calls in progress: its caller must not hold locks
 * that the notifier takes, unless pcie_pri_is_busy() returns false.
 *
 * @dev: the function
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID
 * @notifier: the notifier; it must stay allocated until it is unregistered
 *
 * Returns: as pci_pri_register_notifier()
 */
int pcie_pri_register(PCIDevice *dev, uint32_t pasid,
                      IOMMUPRINotifier *notifier);

/**
 * pcie_pri_reserve: reserve an index, and a part of the allocation, for a group
 *
 * @dev: a function with a PRI capability
 * @pasid: a PASID with a notifier of pcie_pri_register()
 * @owner: not NULL
 * @n: number of requests that the owner wants to send, at least 1; reduced to
 *     the number that the allocation permits
 * @ref: set to the group
 *
 * Returns: true; false if the allocation permits no request, or there is no
 * free index or no notifier.
 */
bool pcie_pri_reserve(PCIDevice *dev, uint32_t pasid, void *owner, uint32_t *n,
                      PRIGroupRef *ref);

/**
 * pcie_pri_send: send a request of a reserved group (10.4.1)
 *
 * Calls the IOMMU.  The response may arrive before this returns.
 *
 * @dev: the function
 * @pasid: that of the group
 * @priv_req: Privileged Mode Requested; needs a PASID
 * @exec_req: Execute Requested; needs a PASID
 * @addr: an address in the page
 * @last: this is the last request of the group
 * @ref: from pcie_pri_reserve(); its last request has not been sent
 * @is_write: true to request write access, false for read access
 *
 * Returns: 0; -EAGAIN if a response or a reset has ended the group; or an error
 * of pci_pri_request_page(), when the request has not been sent.
 */
int pcie_pri_send(PCIDevice *dev, uint32_t pasid, bool priv_req, bool exec_req,
                  hwaddr addr, bool last, const PRIGroupRef *ref,
                  bool is_write);

/**
 * pcie_pri_keep_last: give back the allocation of a group, except for its last
 * request
 *
 * @dev: the function
 * @pasid: that of the group
 * @ref: from pcie_pri_reserve()
 */
void pcie_pri_keep_last(PCIDevice *dev, uint32_t pasid, const PRIGroupRef *ref);

/**
 * pcie_pri_abandon: abandon a group
 *
 * The group keeps its index and its part of the allocation until the response,
 * if one is due (10.4.2).
 *
 * @dev: the function
 * @pasid: that of the group
 * @ref: from pcie_pri_reserve()
 *
 * Returns: true; false if the group has ended, and the notifier is being called
 * for it or will be.
 */
bool pcie_pri_abandon(PCIDevice *dev, uint32_t pasid, const PRIGroupRef *ref);

/**
 * pcie_pri_get_resets: count the resets that have ended all groups
 *
 * @dev: any PCI function; the result is 0 without PRI capability
 *
 * Returns: the number of resets of the interface or the function, which wraps
 * around.  No response is due to a group that was reserved at another value.
 */
uint32_t pcie_pri_get_resets(const PCIDevice *dev);

/**
 * pcie_pri_get_room: get the unused part of the allocation
 *
 * @dev: any PCI function; the result is 0 without PRI capability
 *
 * Returns: the allocation minus requests that are outstanding or reserved
 */
uint32_t pcie_pri_get_room(const PCIDevice *dev);

/**
 * pcie_pri_is_busy: check whether a PASID has groups, or a call of its notifier
 * is in progress or due
 *
 * @dev: any PCI function
 * @pasid: a PASID, or PCI_NO_PASID
 *
 * Returns: true if it has groups, or a call is in progress or due; false
 * without PRI capability
 */
bool pcie_pri_is_busy(PCIDevice *dev, uint32_t pasid);

/**
 * pcie_pri_has_to_settle: check whether responses to abandoned or loaded groups
 * are due
 *
 * See pcie_pri_has_loaded_groups().  The notifier of @pasid is called when one
 * of them ends.
 *
 * @dev: any PCI function
 * @pasid: a PASID, or PCI_NO_PASID
 *
 * Returns: true if such a response is due; false without PRI capability
 */
bool pcie_pri_has_to_settle(PCIDevice *dev, uint32_t pasid);

#endif
