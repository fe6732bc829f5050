/*
 * AMD-Vi: page requests and their completion
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The IOMMU adds the page requests of functions to the PPR log, or responds to
 * them itself, and passes on the responses of the guest.
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#ifndef HW_I386_AMD_IOMMU_PRI_H
#define HW_I386_AMD_IOMMU_PRI_H

#include "hw/pci/pci.h"
#include "amd_iommu_command.h"

/*
 * Members of PCIIOMMUOps, see there; @opaque is the AMDVIState.  They fail with
 * -ENODEV unless svm=on.
 */
int amdvi_pri_register_notifier(PCIBus *bus, void *opaque, int devfn,
                                uint32_t pasid, IOMMUPRINotifier *notifier);
void amdvi_pri_unregister_notifier(PCIBus *bus, void *opaque, int devfn,
                                   uint32_t pasid);
int amdvi_pri_request_page(PCIBus *bus, void *opaque, int devfn,
                           uint32_t pasid, bool priv_req, bool exec_req,
                           hwaddr addr, bool lpig, uint16_t prgi, bool is_read,
                           bool is_write);

/**
 * amdvi_pri_init: create the unit that handles page requests
 *
 * Called once, with the BQL held, with svm=on only.
 *
 * @s: the IOMMU, with its properties set
 */
void amdvi_pri_init(AMDVIState *s);

/**
 * amdvi_pri_complete: execute COMPLETE_PPR_REQUEST (2.4.7)
 *
 * A response without a registered notifier is ignored.  Called with the BQL
 * held.
 *
 * @s: the IOMMU
 * @command: the fields of the command
 */
void amdvi_pri_complete(AMDVIState *s, const AMDVICommand *command);

/**
 * amdvi_pri_drain: wait until the page requests in progress are in the log
 *
 * For COMPLETION_WAIT (2.4.1) after an invalidation: requests that the IOMMU
 * has received before are in the log, or are answered without it.  Called with
 * the BQL held.
 *
 * @s: the IOMMU
 */
void amdvi_pri_drain(AMDVIState *s);

#endif
