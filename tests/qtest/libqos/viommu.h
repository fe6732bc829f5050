/*
 * libqos driver for virtio-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of VIRTIO 1.3.  Every function that sends a request
 * returns the status of the request, VIRTIO_IOMMU_S_*.
 */

#ifndef LIBQOS_VIOMMU_H
#define LIBQOS_VIOMMU_H

#include "virtio-pci.h"

typedef struct QViommu {
    QTestState *qts;
    QGuestAllocator *alloc;
    QPCIBus *pci;
    QVirtioPCIDevice *dev;
    QVirtQueue *vq;
    QVirtQueue *events;
    uint64_t event;             /* the buffer of qviommu_add_event_buffer() */
    /* Arguments of qviommu_on_completion() */
    const uint8_t *ram;
    void (*completed)(void *opaque);
    void *opaque;
} QViommu;

/**
 * qviommu_init() - start the driver
 * @v: the driver to fill in
 * @qts: a q35 machine
 * @alloc: allocator of guest memory
 * @devfn: device and function number of the virtio-iommu-pci
 */
void qviommu_init(QViommu *v, QTestState *qts, QGuestAllocator *alloc,
                  int devfn);

/**
 * qviommu_cleanup() - free the driver, before the emulator quits
 * @v: the driver
 */
void qviommu_cleanup(QViommu *v);

/**
 * qviommu_restart() - start the driver again, after the test has reset the
 * device
 * @v: the driver
 */
void qviommu_restart(QViommu *v);

/**
 * qviommu_on_completion() - call a function at the end of each request
 * @v: the driver
 * @ram: guest memory, which the test has mapped, at guest physical address 0
 * @completed: called as soon as the device has completed a request; or NULL
 * @opaque: argument of @completed
 */
void qviommu_on_completion(QViommu *v, const uint8_t *ram,
                           void (*completed)(void *opaque), void *opaque);

/**
 * qviommu_attach() - send an ATTACH request (5.13.6.3)
 * @v: the driver
 * @domain: the domain
 * @endpoint: bus, device and function number
 * @reserved: value of the reserved field
 */
uint8_t qviommu_attach(QViommu *v, uint32_t domain, uint32_t endpoint,
                       uint32_t reserved);

/**
 * qviommu_detach() - send a DETACH request (5.13.6.4)
 * @v: the driver
 * @domain: the domain
 * @endpoint: bus, device and function number
 */
uint8_t qviommu_detach(QViommu *v, uint32_t domain, uint32_t endpoint);

/**
 * qviommu_map() - send a MAP request for reading and writing (5.13.6.5)
 * @v: the driver
 * @domain: the domain
 * @start: first virtual address
 * @end: last virtual address
 * @phys: first physical address
 */
uint8_t qviommu_map(QViommu *v, uint32_t domain, uint64_t start, uint64_t end,
                    uint64_t phys);

/**
 * qviommu_unmap() - send an UNMAP request (5.13.6.6)
 * @v: the driver
 * @domain: the domain
 * @start: first virtual address
 * @end: last virtual address
 */
uint8_t qviommu_unmap(QViommu *v, uint32_t domain, uint64_t start,
                      uint64_t end);

/**
 * qviommu_set_bypass() - write the field bypass of configuration space (5.13.4)
 * @v: the driver
 * @bypass: whether endpoints without a domain bypass the IOMMU
 */
void qviommu_set_bypass(QViommu *v, bool bypass);

/**
 * qviommu_add_event_buffer() - provide a buffer for the next event
 * @v: the driver, whose previous buffer has been used
 */
void qviommu_add_event_buffer(QViommu *v);

/**
 * qviommu_has_event() - check for an event
 * @v: the driver, with a buffer for events
 *
 * Returns: whether the IOMMU has used the buffer.
 */
bool qviommu_has_event(QViommu *v);

/**
 * qviommu_expect_fault() - wait for the report of a fault (5.13.6.9)
 * @v: the driver, with a buffer for events
 * @reason: expected reason, VIRTIO_IOMMU_FAULT_R_*
 * @flags: expected flags, VIRTIO_IOMMU_FAULT_F_*
 * @endpoint: expected endpoint
 * @address: expected address
 *
 * The test fails after 30 seconds.  Uses up the buffer.
 */
void qviommu_expect_fault(QViommu *v, uint8_t reason, uint32_t flags,
                          uint32_t endpoint, uint64_t address);

#endif
