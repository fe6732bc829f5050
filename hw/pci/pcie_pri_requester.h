/*
 * PCI Express: page request groups with reserved indices
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This interface of the Page Request capability serves the DMA engine of device
 * models with ATS.  The caller of pci_pri_request_page() chooses the index of a
 * group, and keeps to the Outstanding Page Request Allocation.  Here, the
 * capability does both before the first request of a group is sent.
 *
 * A group has an owner, a pointer that comes back when the group ends.  Either
 * pcie_pri_abandon() returns true, or the notifier of the PASID is called with
 * PCIEPRIResponse.owner, but not both.  The notifier is not called for groups
 * that are left when pci_pri_unregister_notifier() returns.
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
 * struct PCIEPRIResponse: the response that a notifier of pcie_pri_register()
 * gets, which is called with a pointer to @response
 *
 * @response: code and index
 * @owner: of the group; NULL if it was not reserved, or is abandoned
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
 * is also called when abandoned groups end.  pci_pri_unregister_notifier()
 * undoes it, and waits for calls that are running: its caller must not hold
 * locks that the notifier takes, unless pcie_pri_is_busy() is false.
 *
 * @dev: the function
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID
 * @notifier: stays allocated until it is unregistered
 *
 * Returns: as pci_pri_register_notifier()
 */
int pcie_pri_register(PCIDevice *dev, uint32_t pasid,
                      IOMMUPRINotifier *notifier);

/**
 * pcie_pri_reserve: reserve an index, and a part of the allocation, for a group
 *
 * @dev: a function with a PRI capability
 * @pasid: has a notifier of pcie_pri_register()
 * @owner: not NULL
 * @n: how many requests are wanted, at least 1; set to how many have room
 * @ref: set to the group
 *
 * Returns: true; false if there is no room, no index, or no notifier.
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
 * @is_write: write access is wanted, else read access
 *
 * Returns: 0; -EAGAIN if a response or a reset has ended the group; or an error
 * of pci_pri_request_page(), when the request has not been sent.
 */
int pcie_pri_send(PCIDevice *dev, uint32_t pasid, bool priv_req, bool exec_req,
                  hwaddr addr, bool last, const PRIGroupRef *ref,
                  bool is_write);

/**
 * pcie_pri_keep_last: give back what is reserved for a group, but for its last
 * request
 *
 * @dev: the function
 * @pasid: that of the group
 * @ref: from pcie_pri_reserve()
 */
void pcie_pri_keep_last(PCIDevice *dev, uint32_t pasid, const PRIGroupRef *ref);

/**
 * pcie_pri_abandon: end a group as far as its owner is concerned
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
 * pcie_pri_get_room: how many requests does the allocation have room for?
 *
 * @dev: any PCI function; there is no room without PRI capability
 *
 * Returns: the allocation without requests that are outstanding or reserved
 */
uint32_t pcie_pri_get_room(const PCIDevice *dev);

/**
 * pcie_pri_is_busy: does a PASID have groups, or is its notifier being called?
 *
 * @dev: any PCI function
 * @pasid: a PASID, or PCI_NO_PASID
 */
bool pcie_pri_is_busy(PCIDevice *dev, uint32_t pasid);

/**
 * pcie_pri_has_to_settle: are responses due to abandoned or loaded groups?
 *
 * See pcie_pri_has_loaded_groups().  The notifier of @pasid is called when one
 * of them ends.
 *
 * @dev: any PCI function
 * @pasid: a PASID, or PCI_NO_PASID
 */
bool pcie_pri_has_to_settle(PCIDevice *dev, uint32_t pasid);

#endif
