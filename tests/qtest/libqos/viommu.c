/*
 * libqos driver for virtio-iommu, requests only
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "../libqtest.h"
#include "pci-pc.h"
#include "viommu.h"
#include "standard-headers/linux/virtio_iommu.h"

#define TIMEOUT_US  (30 * G_USEC_PER_SEC)

void qviommu_init(QViommu *v, QTestState *qts, QGuestAllocator *alloc,
                  int devfn)
{
    QPCIAddress addr = { .devfn = devfn };
    QVirtioDevice *vdev;

    v->qts = qts;
    v->alloc = alloc;
    v->pci = qpci_new_pc(qts, alloc);
    v->dev = virtio_pci_new(v->pci, &addr);
    g_assert_nonnull(v->dev);
    qvirtio_pci_device_enable(v->dev);
    vdev = &v->dev->vdev;
    qvirtio_start_device(vdev);
    qvirtio_set_features(vdev, qvirtio_get_features(vdev) &
                               ~(QVIRTIO_F_BAD_FEATURE |
                                 (1ULL << VIRTIO_RING_F_INDIRECT_DESC) |
                                 (1ULL << VIRTIO_RING_F_EVENT_IDX)));
    v->vq = qvirtqueue_setup(vdev, alloc, 0);
    qvirtio_set_driver_ok(vdev);
}

void qviommu_cleanup(QViommu *v)
{
    qvirtqueue_cleanup(v->dev->vdev.bus, v->vq, v->alloc);
    qvirtio_pci_device_disable(v->dev);
    g_free(v->dev->pdev);
    g_free(v->dev);
    qpci_free_pc(v->pci);
}

/* @request ends with a tail, which the device writes */
static uint8_t request_send(QViommu *v, const void *request, size_t size)
{
    struct virtio_iommu_req_tail tail;
    size_t out = size - sizeof(tail);
    uint64_t buf = guest_alloc(v->alloc, size);
    uint32_t head;

    qtest_memwrite(v->qts, buf, request, size);
    head = qvirtqueue_add(v->qts, v->vq, buf, out, false, true);
    qvirtqueue_add(v->qts, v->vq, buf + out, sizeof(tail), true, false);
    qvirtqueue_kick(v->qts, &v->dev->vdev, v->vq, head);
    qvirtio_wait_used_elem(v->qts, &v->dev->vdev, v->vq, head, NULL,
                           TIMEOUT_US);
    qtest_memread(v->qts, buf + out, &tail, sizeof(tail));
    guest_free(v->alloc, buf);
    return tail.status;
}

uint8_t qviommu_attach(QViommu *v, uint32_t domain, uint32_t endpoint,
                       uint32_t reserved)
{
    struct virtio_iommu_req_attach req = {
        .head.type = VIRTIO_IOMMU_T_ATTACH,
        .domain = cpu_to_le32(domain),
        .endpoint = cpu_to_le32(endpoint),
    };

    stl_le_p(req.reserved, reserved);
    return request_send(v, &req, sizeof(req));
}

uint8_t qviommu_detach(QViommu *v, uint32_t domain, uint32_t endpoint)
{
    struct virtio_iommu_req_detach req = {
        .head.type = VIRTIO_IOMMU_T_DETACH,
        .domain = cpu_to_le32(domain),
        .endpoint = cpu_to_le32(endpoint),
    };

    return request_send(v, &req, sizeof(req));
}

uint8_t qviommu_map(QViommu *v, uint32_t domain, uint64_t start, uint64_t end,
                    uint64_t phys)
{
    struct virtio_iommu_req_map req = {
        .head.type = VIRTIO_IOMMU_T_MAP,
        .domain = cpu_to_le32(domain),
        .virt_start = cpu_to_le64(start),
        .virt_end = cpu_to_le64(end),
        .phys_start = cpu_to_le64(phys),
        .flags = cpu_to_le32(VIRTIO_IOMMU_MAP_F_READ |
                             VIRTIO_IOMMU_MAP_F_WRITE),
    };

    return request_send(v, &req, sizeof(req));
}

uint8_t qviommu_unmap(QViommu *v, uint32_t domain, uint64_t start,
                      uint64_t end)
{
    struct virtio_iommu_req_unmap req = {
        .head.type = VIRTIO_IOMMU_T_UNMAP,
        .domain = cpu_to_le32(domain),
        .virt_start = cpu_to_le64(start),
        .virt_end = cpu_to_le64(end),
    };

    return request_send(v, &req, sizeof(req));
}
