/*
 * Responders of page requests: listeners by function and PASID
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An IOMMU passes the responses of the guest, and its own, to the notifier that
 * is registered for the function and PASID.  Functions keep track of their
 * outstanding page request groups.
 *
 * All functions are callable from any thread.
 */

#ifndef HW_I386_IOMMU_PRI_H
#define HW_I386_IOMMU_PRI_H

#include "hw/pci/pci.h"

typedef struct IOMMUPRIResponders IOMMUPRIResponders;

/**
 * iommu_pri_new: create a registry without listeners
 *
 * Returns: the registry; it lives as long as the IOMMU
 */
IOMMUPRIResponders *iommu_pri_new(void);

/**
 * iommu_pri_register: register a notifier
 *
 * @responders: the registry
 * @bus: bus of the function
 * @devfn: device and function number
 * @pasid: PASID, or PCI_NO_PASID
 * @notifier: the notifier; it is called without locks of the registry, so that
 *            it may register, unregister and send page requests
 *
 * Returns: 0, or -EBUSY if there is a notifier for the function and PASID.
 * Functions behind a bridge may share a source id: one of them per PASID can
 * register.
 */
int iommu_pri_register(IOMMUPRIResponders *responders, PCIBus *bus, int devfn,
                       uint32_t pasid, IOMMUPRINotifier *notifier);

/**
 * iommu_pri_unregister: undo iommu_pri_register()
 *
 * No call of the notifier begins after this has returned.  A call that has
 * begun earlier ends within an RCU grace period.  Does nothing if no notifier
 * is registered.
 *
 * @responders: the registry
 * @bus: bus of the function
 * @devfn: device and function number
 * @pasid: as registered
 */
void iommu_pri_unregister(IOMMUPRIResponders *responders, PCIBus *bus,
                          int devfn, uint32_t pasid);

/**
 * iommu_pri_respond: respond to a function
 *
 * For responses that the IOMMU generates.  Called within an RCU read-side
 * critical section.
 *
 * @responders: the registry
 * @bus: bus of the function
 * @devfn: device and function number
 * @pasid: PASID of the group, or PCI_NO_PASID
 * @prgi: PRG index of the group
 * @code: response code
 *
 * Returns: false if no notifier is registered
 */
bool iommu_pri_respond(IOMMUPRIResponders *responders, PCIBus *bus, int devfn,
                       uint32_t pasid, uint16_t prgi,
                       IOMMUPRIResponseCode code);

/**
 * iommu_pri_respond_sid: respond to the function with a source id
 *
 * For responses of the guest.  Called within an RCU read-side critical section.
 *
 * @responders: the registry
 * @sid: source id
 * @pasid: PASID of the group, or PCI_NO_PASID
 * @prgi: PRG index of the group
 * @code: response code
 *
 * Returns: false if no notifier is registered
 */
bool iommu_pri_respond_sid(IOMMUPRIResponders *responders, uint16_t sid,
                           uint32_t pasid, uint16_t prgi,
                           IOMMUPRIResponseCode code);

/**
 * iommu_pri_respond_any_pasid: respond to the function with a source id, with a
 * message without PASID
 *
 * The function finds the group by its index, even if its requests have a PASID:
 * a function that does not set PRG Response PASID Required expects no PASID
 * (PCIe 5.0, 10.5.2.3).  For responses of the guest.  Called within an RCU
 * read-side critical section.
 *
 * @responders: the registry
 * @sid: source id
 * @prgi: PRG index of the group
 * @code: response code
 *
 * Returns: false if no notifier is registered
 */
bool iommu_pri_respond_any_pasid(IOMMUPRIResponders *responders, uint16_t sid,
                                 uint16_t prgi, IOMMUPRIResponseCode code);

#endif
