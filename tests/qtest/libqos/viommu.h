/*
 * libqos driver for virtio-iommu, requests only
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

#endif
