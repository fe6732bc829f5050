/*
 * Fault injection for device models with ATS
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Fault injection provides faults of real links and devices for tests of a
 * guest.  The user requests them by properties of the device, at any time, and
 * the DMA engine of the function (pci_ats_dma.h) injects them.
 */

#ifndef HW_PCI_PCI_ATS_INJECT_H
#define HW_PCI_PCI_ATS_INJECT_H

#include "hw/pci/pci_ats_dma.h"
#include "qom/object.h"

/**
 * struct PCIATSInject: the faults to inject
 *
 * The setters of the properties write the members, and any thread reads them,
 * both atomically.
 *
 * @drop_responses: property "x-drop-responses": number of responses to page
 *     requests that the function loses from now on.  A transfer that waits for
 *     one waits until it is cancelled.
 * @delay_responses: property "x-delay-responses": milliseconds of the virtual
 *     clock by which responses to page requests take effect later
 * @deny_requests: property "x-deny-requests": number of page request groups,
 *     from now on, that are not sent; the function continues as if the response
 *     were Invalid Request
 * @ignore_invalidations: property "x-ignore-invalidations": the ATC keeps
 *     invalidated translations, and the function continues to use them
 */
typedef struct PCIATSInject {
    uint32_t drop_responses;
    uint32_t delay_responses;
    uint32_t deny_requests;
    uint32_t ignore_invalidations;
} PCIATSInject;

/**
 * pci_ats_inject_add_properties: add the properties to an object
 *
 * Called in instance_init.
 *
 * @obj: the device
 * @inject: the values, part of @obj; all are initially 0
 */
void pci_ats_inject_add_properties(Object *obj, PCIATSInject *inject);

/**
 * pci_ats_dma_set_inject: inject faults into the DMA of a function
 *
 * Called once, directly after pci_ats_dma_new(), with the BQL held.
 *
 * @dma: from pci_ats_dma_new()
 * @inject: the faults; must stay allocated until pci_ats_dma_close()
 */
void pci_ats_dma_set_inject(PCIATSDMA *dma, PCIATSInject *inject);

/**
 * pci_ats_dma_flood: send page requests without regard to the allocation
 *
 * Each request forms its own group, for reading one page.  The responses have
 * no effect.
 *
 * Called with the BQL held.
 *
 * @dma: from pci_ats_dma_new()
 * @pasid: 0 to 0xfffff, or PCI_NO_PASID
 * @addr: address of the first page; the other pages follow it
 * @n: number of page requests
 *
 * Returns: the number of requests that the IOMMU accepted; 0 while ATS or PRI
 * is off, or if @pasid cannot be registered.
 */
uint32_t pci_ats_dma_flood(PCIATSDMA *dma, uint32_t pasid, hwaddr addr,
                           uint32_t n);

#endif
