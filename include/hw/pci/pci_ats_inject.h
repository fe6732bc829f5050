/*
 * Faults on purpose in the ATS of a device model
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * What goes wrong on real links and in real devices, on demand, for the tests
 * of a guest: a function whose PCIATSDMA has been told of a PCIATSInject by
 * pci_ats_dma_set_inject() does what it says.  It consists of properties of
 * the device that can be changed at any time.
 */

#ifndef HW_PCI_PCI_ATS_INJECT_H
#define HW_PCI_PCI_ATS_INJECT_H

#include "qom/object.h"

/**
 * struct PCIATSInject: what shall go wrong
 *
 * Written by the setters of the properties, read by any thread, both
 * atomically.
 *
 * @drop_responses: property "x-drop-responses": so many of the next responses
 *     to page requests get lost in the function.  What waits for one waits
 *     until it is cancelled.
 * @delay_responses: property "x-delay-responses": a response to a page request
 *     takes effect so many milliseconds of the virtual clock later
 * @deny_requests: property "x-deny-requests": so many of the next page request
 *     groups are not sent; the function goes on as if the response to them had
 *     been Invalid Request
 * @ignore_invalidations: property "x-ignore-invalidations": the ATC keeps what
 *     the guest invalidates, and the function goes on using it
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
 * Call it in instance_init.
 *
 * @obj: the device
 * @inject: the values, part of @obj; all 0 to begin with
 */
void pci_ats_inject_add_properties(Object *obj, PCIATSInject *inject);

/**
 * pci_ats_inject_take: is one left of what is counted?
 *
 * Callable from any thread.
 *
 * @count: a counter of a PCIATSInject; one less if it is not 0
 *
 * Returns: whether it was not 0.
 */
bool pci_ats_inject_take(uint32_t *count);

#endif
