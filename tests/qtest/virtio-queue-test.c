/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of the size and the memory of virtqueues
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "libqos/pci-pc.h"
#include "libqos/virtio-pci.h"
#include "libqos/vtd.h"

#define SLOT        5
#define RAM_SIZE    (64 * MiB)
#define SIZE_4K     0x1000ULL
#define SIZE_2M     0x200000ULL
#define DOMAIN      1
#define BUFFER_SIZE 8
#define TIMEOUT_US  (30 * G_USEC_PER_SEC)

#define MACHINE "-M q35 -m 64 -nodefaults " \
                "-object rng-builtin,id=rng "
#define RNG     "-device virtio-rng-pci,addr=5.0,rng=rng,disable-legacy=on"

typedef struct Guest {
    QTestState *qts;
    QGuestAllocator alloc;
    QPCIBus *pci;
    QVirtioPCIDevice *dev;
} Guest;

static void guest_start(Guest *g, const char *args)
{
    QPCIAddress addr = { .devfn = QPCI_DEVFN(SLOT, 0) };

    g->qts = qtest_init(args);
    pc_alloc_init(&g->alloc, g->qts, ALLOC_NO_FLAGS);
    g->pci = qpci_new_pc(g->qts, &g->alloc);
    g->dev = virtio_pci_new(g->pci, &addr);
    g_assert_nonnull(g->dev);
    qvirtio_pci_device_enable(g->dev);
    qvirtio_start_device(&g->dev->vdev);
}

static void guest_stop(Guest *g)
{
    qvirtio_pci_device_disable(g->dev);
    g_free(g->dev->pdev);
    g_free(g->dev);
    qpci_free_pc(g->pci);
    alloc_destroy(&g->alloc);
    qtest_quit(g->qts);
}

/* VIRTIO 1.3, 4.1.4.3: queue_size holds the maximum after reset */
static void check_queue_size(const char *args, uint16_t expected)
{
    Guest g;
    QVirtioDevice *vdev;

    guest_start(&g, args);
    vdev = &g.dev->vdev;
    vdev->bus->queue_select(vdev, 0);
    g_assert_cmpuint(vdev->bus->get_queue_size(vdev), ==, expected);
    qvirtio_reset(vdev);
    vdev->bus->queue_select(vdev, 0);
    g_assert_cmpuint(vdev->bus->get_queue_size(vdev), ==, expected);
    guest_stop(&g);
}

static void test_size_default(void)
{
    check_queue_size(MACHINE RNG, 1024);
}

static void test_size_limited(void)
{
    check_queue_size(MACHINE RNG ",max-queue-size=256", 256);
}

/* VIRTIO 1.3, 2.7: the size of a split virtqueue is a power of 2 */
static void test_size_invalid(void)
{
    static const int sizes[] = { 0, 100, 2048 };
    QTestState *qts = qtest_init(MACHINE "-device pcie-root-port,id=rp0");
    size_t i;

    for (i = 0; i < ARRAY_SIZE(sizes); i++) {
        QDict *reply = qtest_qmp(qts,
                                 "{ 'execute': 'device_add', 'arguments': {"
                                 " 'driver': 'virtio-rng-pci', 'rng': 'rng',"
                                 " 'bus': 'rp0', 'max-queue-size': %d } }",
                                 sizes[i]);
        QDict *error = qdict_get_qdict(reply, "error");

        g_assert_nonnull(error);
        g_assert_nonnull(strstr(qdict_get_str(error, "desc"),
                                "max-queue-size must be a power of 2"));
        qobject_unref(reply);
    }
    qtest_quit(qts);
}

/* Map RAM one to one, except for the page @iova, which maps to @gpa */
static void map_but_one(Guest *g, QVtd *vtd, uint64_t iova, uint64_t gpa)
{
    uint64_t sspt = qvtd_new_table(vtd);
    uint64_t large = iova & ~(SIZE_2M - 1);
    uint64_t addr;

    for (addr = 0; addr < RAM_SIZE; addr += SIZE_2M) {
        if (addr != large) {
            qvtd_map(vtd, sspt, addr, addr, SIZE_2M);
        }
    }
    for (addr = large; addr < large + SIZE_2M; addr += SIZE_4K) {
        qvtd_map(vtd, sspt, addr, addr == iova ? gpa : addr, SIZE_4K);
    }
    qvtd_attach(vtd, QPCI_DEVFN(SLOT, 0), DOMAIN, sspt, false);
    qvtd_enable(vtd);
}

static void wait_used_idx(Guest *g, QVirtQueue *vq, uint16_t idx)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    while (qtest_readw(g->qts, vq->used + offsetof(struct vring_used, idx)) !=
           idx) {
        g_assert(g_get_monotonic_time() < end);
        qtest_clock_step(g->qts, 100);
    }
}

/*
 * VIRTIO 1.3, 2.7.8: a used element has 8 bytes, and the first one is 4 bytes
 * into the ring, so that element 511 begins in the first page of the ring and
 * ends in the second. The IOMMU translates each page separately (VT-d 3.7).
 */
static void test_used_element_across_pages(void)
{
    const unsigned straddler = (SIZE_4K - 4) / sizeof(vring_used_elem_t);
    Guest g;
    QVtd vtd;
    QVirtioDevice *vdev;
    QVirtQueue *vq;
    uint64_t buffer, other, second;
    uint32_t head;
    unsigned i;

    guest_start(&g, MACHINE "-device intel-iommu " RNG ",iommu_platform=on");
    vdev = &g.dev->vdev;
    qvirtio_set_features(vdev, (1ULL << VIRTIO_F_VERSION_1) |
                               (1ULL << VIRTIO_F_IOMMU_PLATFORM));
    vq = qvirtqueue_setup(vdev, &g.alloc, 0);
    g_assert_cmpuint(vq->size, >, straddler);
    g_assert_cmphex(vq->used & (SIZE_4K - 1), ==, 0);

    second = vq->used + SIZE_4K;
    other = guest_alloc_zeroed(&g.alloc, g.qts, SIZE_4K);
    buffer = guest_alloc(&g.alloc, SIZE_4K);
    qvtd_init(&vtd, g.qts, &g.alloc);
    map_but_one(&g, &vtd, second, other);
    qvirtio_set_driver_ok(vdev);

    for (i = 0; i <= straddler; i++) {
        head = qvirtqueue_add(g.qts, vq, buffer, BUFFER_SIZE, true, false);
        qvirtqueue_kick(g.qts, vdev, vq, head);
    }
    wait_used_idx(&g, vq, straddler + 1);

    g_assert_cmphex(qtest_readl(g.qts, second - 4), ==, head);
    g_assert_cmphex(qtest_readl(g.qts, other), ==, BUFFER_SIZE);
    g_assert_cmphex(qtest_readl(g.qts, second), ==, 0);

    qvirtqueue_cleanup(vdev->bus, vq, &g.alloc);
    guest_stop(&g);
}

/* An address without memory: QEMU accesses a copy (a bounce buffer) */
#define NOWHERE     0xfe000000

static void expect_used(Guest *g, QVirtQueue *vq, uint64_t buffer)
{
    uint32_t head = qvirtqueue_add(g->qts, vq, buffer, SIZE_4K, true, false);

    qvirtqueue_kick(g->qts, &g->dev->vdev, vq, head);
    wait_used_idx(g, vq, 1);
}

static void expect_needs_reset(Guest *g)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    QVirtioDevice *vdev = &g->dev->vdev;

    while (!(vdev->bus->get_status(vdev) & VIRTIO_CONFIG_S_NEEDS_RESET)) {
        g_assert(g_get_monotonic_time() < end);
        qtest_clock_step(g->qts, 100);
    }
}

static QVirtQueue *start_queue(Guest *g)
{
    QVirtioDevice *vdev = &g->dev->vdev;
    QVirtQueue *vq;

    qvirtio_set_features(vdev, (1ULL << VIRTIO_F_VERSION_1) |
                               (1ULL << VIRTIO_F_IOMMU_PLATFORM));
    vq = qvirtqueue_setup(vdev, &g->alloc, 0);
    qvirtio_set_driver_ok(vdev);
    return vq;
}

/*
 * A buffer of 0 bytes makes the device request a reset (VIRTIO 1.3, 2.1.2).
 * Then it has released the bounce buffer of the descriptor before, the only
 * one it may have.
 */
static void test_bounce_buffer_of_bad_chain(void)
{
    Guest g;
    QVirtQueue *vq;
    uint32_t head;

    guest_start(&g, MACHINE RNG ",iommu_platform=on");
    vq = start_queue(&g);
    head = qvirtqueue_add(g.qts, vq, NOWHERE, SIZE_4K, true, true);
    qvirtqueue_add(g.qts, vq, NOWHERE, 0, true, false);
    qvirtqueue_kick(g.qts, &g.dev->vdev, vq, head);
    expect_needs_reset(&g);
    qvirtqueue_cleanup(g.dev->vdev.bus, vq, &g.alloc);

    qvirtio_start_device(&g.dev->vdev);
    vq = start_queue(&g);
    expect_used(&g, vq, NOWHERE);
    qvirtqueue_cleanup(g.dev->vdev.bus, vq, &g.alloc);
    guest_stop(&g);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/virtio-queue/size/default", test_size_default);
    qtest_add_func("/virtio-queue/size/limited", test_size_limited);
    qtest_add_func("/virtio-queue/size/invalid", test_size_invalid);
    qtest_add_func("/virtio-queue/used-element-across-pages",
                   test_used_element_across_pages);
    qtest_add_func("/virtio-queue/bounce-buffer-of-bad-chain",
                   test_bounce_buffer_of_bad_chain);
    return g_test_run();
}
