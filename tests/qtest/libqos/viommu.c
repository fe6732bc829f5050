/*
 * libqos driver for virtio-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "../libqtest.h"
#include "pci-pc.h"
#include "viommu.h"
#include "standard-headers/linux/virtio_iommu.h"

#define TIMEOUT_US  (30 * G_USEC_PER_SEC)

static void start_driver(QViommu *v)
{
    QVirtioDevice *vdev = &v->dev->vdev;

    qvirtio_start_device(vdev);
    qvirtio_set_features(vdev, qvirtio_get_features(vdev) &
                               ~(QVIRTIO_F_BAD_FEATURE |
                                 (1ULL << VIRTIO_RING_F_INDIRECT_DESC) |
                                 (1ULL << VIRTIO_RING_F_EVENT_IDX)));
    v->vq = qvirtqueue_setup(vdev, v->alloc, 0);
    v->events = qvirtqueue_setup(vdev, v->alloc, 1);
    qvirtio_set_driver_ok(vdev);
}

static void free_queues(QViommu *v)
{
    qvirtqueue_cleanup(v->dev->vdev.bus, v->events, v->alloc);
    qvirtqueue_cleanup(v->dev->vdev.bus, v->vq, v->alloc);
}

void qviommu_init(QViommu *v, QTestState *qts, QGuestAllocator *alloc,
                  int devfn)
{
    QPCIAddress addr = { .devfn = devfn };

    *v = (QViommu) { .qts = qts, .alloc = alloc };
    v->pci = qpci_new_pc(qts, alloc);
    v->dev = virtio_pci_new(v->pci, &addr);
    g_assert_nonnull(v->dev);
    qvirtio_pci_device_enable(v->dev);
    v->event = guest_alloc(alloc, sizeof(struct virtio_iommu_fault));
    start_driver(v);
}

void qviommu_restart(QViommu *v)
{
    free_queues(v);
    start_driver(v);
}

void qviommu_cleanup(QViommu *v)
{
    free_queues(v);
    guest_free(v->alloc, v->event);
    qvirtio_pci_device_disable(v->dev);
    g_free(v->dev->pdev);
    g_free(v->dev);
    qpci_free_pc(v->pci);
}

void qviommu_on_completion(QViommu *v, const uint8_t *ram,
                           void (*completed)(void *opaque), void *opaque)
{
    v->ram = ram;
    v->completed = completed;
    v->opaque = opaque;
}

/* Wait for the next used element, as fast as a vCPU */
static void poll_used(QViommu *v)
{
    uint64_t idx = v->vq->used + offsetof(struct vring_used, idx);

    while (qatomic_read((const uint16_t *)(v->ram + idx)) ==
           v->vq->last_used_idx) {
        continue;
    }
    v->completed(v->opaque);
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
    if (v->completed) {
        poll_used(v);
    }
    qvirtio_wait_used_elem(v->qts, &v->dev->vdev, v->vq, head, NULL,
                           TIMEOUT_US);
    qvirtqueue_reset_pool(v->vq);
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

void qviommu_set_bypass(QViommu *v, bool bypass)
{
    uint64_t reg = offsetof(struct virtio_iommu_config, bypass);

    qpci_io_writeb(v->dev->pdev, v->dev->bar, v->dev->device_cfg_offset + reg,
                   bypass);
}

void qviommu_add_event_buffer(QViommu *v)
{
    uint32_t head;

    qvirtqueue_reset_pool(v->events);
    head = qvirtqueue_add(v->qts, v->events, v->event,
                          sizeof(struct virtio_iommu_fault), true, false);
    qvirtqueue_kick(v->qts, &v->dev->vdev, v->events, head);
}

bool qviommu_has_event(QViommu *v)
{
    uint64_t idx = v->events->used + offsetof(struct vring_used, idx);

    return qtest_readw(v->qts, idx) != v->events->last_used_idx;
}

void qviommu_expect_fault(QViommu *v, uint8_t reason, uint32_t flags,
                          uint32_t endpoint, uint64_t address)
{
    int64_t deadline = g_get_monotonic_time() + TIMEOUT_US;
    struct virtio_iommu_fault fault;

    while (!qvirtqueue_get_buf(v->qts, v->events, NULL, NULL)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(100);
    }
    qtest_memread(v->qts, v->event, &fault, sizeof(fault));
    g_assert_cmpuint(fault.reason, ==, reason);
    g_assert_cmphex(le32_to_cpu(fault.flags), ==, flags);
    g_assert_cmphex(le32_to_cpu(fault.endpoint), ==, endpoint);
    g_assert_cmphex(le64_to_cpu(fault.address), ==, address);
}
