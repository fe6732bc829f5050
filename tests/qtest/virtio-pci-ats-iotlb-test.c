/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-pci's "ats" property: the IOTLB of the back-end
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * The test acts as the guest: it programs the ATS capability (PCIe 5.0,
 * 10.5.1) and the IOMMU. The device is a vhost-user device whose back-end is
 * part of the test, too, and caches translations.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "hw/i386/intel_iommu_internal.h"
#include "standard-headers/linux/virtio_pci.h"
#include "virtio-pci-ats-common.h"

/*
 * The first miss of the back-end prefetches its buffers: those in the rings,
 * including chains and indirect tables, so that no packet is lost
 * (docs/devel/vhost-user-iotlb.rst).
 */
#define BUFFERS     0x50000000ULL
#define NUM_BUFFERS 8

static uint64_t buffer(unsigned i)
{
    return BUFFERS + i * SIZE_2M;
}

static void map_buffers(AtsGuest *g)
{
    /* Two pages each, which are contiguous in memory */
    for (unsigned i = 0; i < NUM_BUFFERS; i++) {
        uint64_t page = guest_alloc(&g->alloc, 2 * SIZE_4K);

        qvtd_map(&g->vtd, g->sspt, buffer(i), page, SIZE_4K);
        qvtd_map(&g->vtd, g->sspt, buffer(i) + SIZE_4K, page + SIZE_4K,
                 SIZE_4K);
    }
}

static uint32_t add_buffer(AtsGuest *g, QVirtQueue *vq, unsigned i, bool write,
                           bool next)
{
    return qvirtqueue_add(g->qts, vq, buffer(i) + 16, SIZE_4K, write, next);
}

static void check_fetched(AtsGuest *g, unsigned i, bool fetched)
{
    g_assert_cmpint(qvhost_user_iotlb_has(g->be, buffer(i)), ==, fetched);
    g_assert_cmpint(qvhost_user_iotlb_has(g->be, buffer(i) + SIZE_4K), ==,
                    fetched);
}

/* The rings are in the first large page, above the hole below 1 MiB */
static AtsGuest *guest_with_buffers(void)
{
    AtsGuest *g = ats_guest_new(ATS_VTD, 1);

    ats_guest_setup_vtd(g, true);
    map_buffers(g);
    ats_driver_start(g);
    return g;
}

static void test_prefetch(void)
{
    AtsGuest *g = guest_with_buffers();
    QVirtQueue *rx = g->vqs->pdata[0], *tx = g->vqs->pdata[1];
    QVRingIndirectDesc *indirect;
    uint32_t head;

    head = add_buffer(g, rx, 0, true, false);
    qvirtqueue_kick(g->qts, &g->dev->vdev, rx, head);
    head = add_buffer(g, rx, 1, true, true);
    add_buffer(g, rx, 2, true, false);
    qvirtqueue_kick(g->qts, &g->dev->vdev, rx, head);
    head = add_buffer(g, tx, 3, false, true);
    add_buffer(g, tx, 4, true, false);
    qvirtqueue_kick(g->qts, &g->dev->vdev, tx, head);
    tx->indirect = true;
    indirect = qvring_indirect_desc_setup(g->qts, &g->dev->vdev, &g->alloc, 2);
    qvring_indirect_desc_add(&g->dev->vdev, g->qts, indirect, buffer(5) + 16,
                             SIZE_4K, false);
    qvring_indirect_desc_add(&g->dev->vdev, g->qts, indirect, buffer(6) + 16,
                             SIZE_4K, true);
    head = qvirtqueue_add_indirect(g->qts, tx, indirect);
    qvirtqueue_kick(g->qts, &g->dev->vdev, tx, head);

    g_assert_cmphex(rx->desc, <, SIZE_2M);
    g_assert_cmphex(qvhost_user_iotlb_fetch(g->be, rx->desc), ==, rx->desc);
    ats_fetch(g);
    for (unsigned i = 0; i <= 6; i++) {
        check_fetched(g, i, true);
    }
    /* This buffer is in no ring */
    check_fetched(g, 7, false);
    g_free(indirect);
    ats_guest_free(g);
}

/*
 * A back-end goes on as soon as it has the translation that it misses, so that
 * this one must be the last: the others would be missed, too. For the same
 * reason the translations of a ring arrive in reverse order.
 */
static void test_prefetch_order(void)
{
    AtsGuest *g = guest_with_buffers();
    QVirtQueue *rx = g->vqs->pdata[0], *tx = g->vqs->pdata[1];
    uint32_t head;

    ats_fetch(g);
    head = add_buffer(g, rx, 0, true, false);
    qvirtqueue_kick(g->qts, &g->dev->vdev, rx, head);
    head = add_buffer(g, rx, 1, true, false);
    qvirtqueue_kick(g->qts, &g->dev->vdev, rx, head);
    head = add_buffer(g, tx, 2, false, true);
    add_buffer(g, tx, 3, false, false);
    qvirtqueue_kick(g->qts, &g->dev->vdev, tx, head);
    head = add_buffer(g, tx, 4, false, false);
    qvirtqueue_kick(g->qts, &g->dev->vdev, tx, head);
    qvhost_user_iotlb_updates(g->be);

    qvhost_user_iotlb_fetch(g->be, buffer(2));
    g_assert_cmpuint(qvhost_user_iotlb_later(g->be, buffer(2)), ==, 0);
    g_assert_cmpuint(qvhost_user_iotlb_later(g->be, buffer(3)), ==, 1);
    g_assert_cmpuint(qvhost_user_iotlb_later(g->be, buffer(4)), ==, 2);
    g_assert_cmpuint(qvhost_user_iotlb_later(g->be, buffer(0)), ==, 3);
    g_assert_cmpuint(qvhost_user_iotlb_later(g->be, buffer(1)), ==, 4);
    g_assert_cmpuint(qvhost_user_iotlb_updates(g->be), ==, 5);
    ats_guest_free(g);
}

/*
 * An invalidation gives QEMU the chance to send the translations of what has
 * been posted since. The back-end need not ask.
 */
static void test_prefetch_invalidation(void)
{
    AtsGuest *g = guest_with_buffers();
    QVirtQueue *rx = g->vqs->pdata[0], *tx = g->vqs->pdata[1];
    uint32_t head;

    ats_fetch(g);
    qvtd_inv_domain(&g->vtd, ATS_DOMAIN);
    qvhost_user_iotlb_updates(g->be);

    head = add_buffer(g, rx, 0, true, false);
    qvirtqueue_kick(g->qts, &g->dev->vdev, rx, head);
    head = add_buffer(g, tx, 1, false, false);
    qvirtqueue_kick(g->qts, &g->dev->vdev, tx, head);
    qvtd_inv_domain(&g->vtd, ATS_DOMAIN);
    qvhost_user_iotlb_sync(g->be, buffer(1));
    check_fetched(g, 0, true);
    check_fetched(g, 1, true);
    check_fetched(g, 2, false);
    g_assert_cmpuint(qvhost_user_iotlb_updates(g->be), ==, 2);
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 0);

    /* What the back-end has is not sent again */
    qvtd_inv_domain(&g->vtd, ATS_DOMAIN);
    qvhost_user_iotlb_fetch(g->be, buffer(7));
    g_assert_cmpuint(qvhost_user_iotlb_updates(g->be), ==, 1);
    ats_guest_free(g);
}

/* VT-d 11.4.2, CAP.CM: the guest invalidates after it has mapped a page */
static void test_prefetch_caching_mode(void)
{
    AtsGuest *g = ats_guest_new("-device intel-iommu,caching-mode=on ", 1);

    ats_guest_setup_vtd(g, false);
    ats_driver_start(g);
    ats_fetch(g);
    map_buffers(g);
    qvtd_inv_pages(&g->vtd, ATS_DOMAIN, buffer(0), 1);
    qvhost_user_iotlb_sync(g->be, buffer(0));
    check_fetched(g, 0, true);
    check_fetched(g, 1, false);
    ats_guest_free(g);
}

/* query-pci-ats: the IOTLB of the back-end, as QEMU knows it */

/* Call @check with the caches of the function, one per back-end */
static void query_caches(AtsGuest *g,
                         void (*check)(QList *caches, void *opaque),
                         void *opaque)
{
    QDict *reply = qtest_qmp(g->qts, "{ 'execute': 'query-pci-ats' }");
    QList *functions = qdict_get_qlist(reply, "return");
    QDict *function = qobject_to(QDict, qlist_peek(functions));

    g_assert_cmpuint(qlist_size(functions), ==, 1);
    g_assert_cmpstr(qdict_get_str(function, "qdev-id"), ==, "dev");
    check(qdict_get_qlist(function, "caches"), opaque);
    qobject_unref(reply);
}

typedef struct IotlbInfo {
    int64_t entries;
    int64_t misses;
    int64_t updates;
    int64_t invalidations;
    int64_t kept;
    int64_t dropped;
} IotlbInfo;

static void check_one_cache(QList *caches, void *opaque)
{
    QDict *cache = qobject_to(QDict, qlist_peek(caches));
    IotlbInfo *info = opaque;

    g_assert_cmpuint(qlist_size(caches), ==, 1);
    g_assert_cmpstr(qdict_get_str(cache, "type"), ==, "vhost");
    g_assert_cmpint(qdict_get_int(cache, "capacity"), >=,
                    qdict_get_int(cache, "entries"));
    g_assert_cmpint(qdict_get_int(cache, "faults"), ==, 0);
    *info = (IotlbInfo) {
        .entries = qdict_get_int(cache, "entries"),
        .misses = qdict_get_int(cache, "misses"),
        .updates = qdict_get_int(cache, "updates"),
        .invalidations = qdict_get_int(cache, "invalidations"),
        .kept = qdict_get_int(cache, "kept"),
        .dropped = qdict_get_int(cache, "dropped"),
    };
}

static IotlbInfo query_one_cache(AtsGuest *g)
{
    IotlbInfo info;

    query_caches(g, check_one_cache, &info);
    return info;
}

static void check_no_caches(QList *caches, void *opaque)
{
    g_assert_true(qlist_empty(caches));
}

static void test_query(void)
{
    g_autofree char *text = NULL;
    AtsGuest *g = ats_guest_new_vtd(1);
    IotlbInfo before, after;

    ats_set(g, true);
    before = query_one_cache(g);
    ats_fetch(g);
    after = query_one_cache(g);
    g_assert_cmpint(after.misses, ==, before.misses + 1);
    g_assert_cmpint(after.entries, >, before.entries);
    g_assert_cmpint(after.updates - before.updates, >=,
                    after.entries - before.entries);

    /* Mapped pages are kept, and unmapped ones dropped */
    before = after;
    qvtd_inv_device_tlb(&g->vtd, ATS_DEVICE, ATS_IOVA, false);
    after = query_one_cache(g);
    g_assert_cmpint(after.invalidations, ==, before.invalidations + 1);
    g_assert_cmpint(after.kept, ==, before.kept + 1);
    g_assert_cmpint(after.dropped, ==, before.dropped);
    ats_unmap_pages(g);
    qvtd_inv_device_tlb(&g->vtd, ATS_DEVICE, ATS_IOVA, false);
    after = query_one_cache(g);
    g_assert_cmpint(after.dropped, ==, before.dropped + 1);
    g_assert_cmpint(after.entries, ==, before.entries - 1);

    text = qtest_hmp(g->qts, "info pci-ats");
    g_assert_nonnull(strstr(text, "\"dev\""));
    g_assert_nonnull(strstr(text, "  vhost IOTLB: "));

    /* A device that does not run has no cache */
    qvirtio_reset(&g->dev->vdev);
    query_caches(g, check_no_caches, NULL);
    ats_guest_free(g);
}

static void check_two_caches(QList *caches, void *opaque)
{
    g_assert_cmpuint(qlist_size(caches), ==, 2);
}

/* Each queue pair has its own back-end */
static void test_query_multiqueue(void)
{
    AtsGuest *g = ats_guest_new_vtd(2);

    query_caches(g, check_two_caches, NULL);
    ats_guest_free(g);
}

/*
 * VT-d 6.5.2.9: a wait descriptor completes when the back-end has acknowledged
 * all invalidations ahead of it. These travel together.
 */
static void check_batch(bool ats)
{
    AtsGuest *g = guest_with_buffers();
    int64_t before;
    uint32_t seq;

    ats_set(g, ats);
    for (unsigned i = 0; i < NUM_BUFFERS; i++) {
        qvhost_user_iotlb_fetch(g->be, buffer(i));
    }
    qvhost_user_iotlb_invalidations(g->be);
    before = ats_round_trips(g);
    seq = g->vtd.seq;
    qvhost_user_iotlb_watch(g->be, g->vtd.status);
    for (unsigned i = 0; i < NUM_BUFFERS; i++) {
        qvtd_unmap(&g->vtd, g->sspt, buffer(i));
        qvtd_queue(&g->vtd, VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_PAGE |
                   ATS_DOMAIN << 16, buffer(i));
        if (ats) {
            qvtd_queue(&g->vtd, VTD_INV_DESC_DEVICE |
                       (uint64_t)ATS_DEVICE << 32, buffer(i));
        }
    }
    qvtd_wait(&g->vtd);
    for (unsigned i = 0; i < NUM_BUFFERS; i++) {
        g_assert_false(qvhost_user_iotlb_has(g->be, buffer(i)));
    }
    g_assert_cmpuint(qvhost_user_iotlb_watched(g->be, seq), ==, NUM_BUFFERS);
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, NUM_BUFFERS);
    g_assert_cmpint(ats_round_trips(g), ==, before + 1);

    /* What the back-end does not have is not sent */
    qvhost_user_iotlb_watch(g->be, 0);
    for (unsigned i = 0; i < NUM_BUFFERS; i++) {
        qvtd_inv_pages(&g->vtd, ATS_DOMAIN, buffer(i), 0);
        qvtd_inv_device_tlb(&g->vtd, ATS_DEVICE, buffer(i), false);
    }
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 0);
    g_assert_cmpint(ats_round_trips(g), ==, before + 1);
    ats_guest_free(g);
}

static void test_batch(void)
{
    check_batch(false);
}

static void test_batch_ats(void)
{
    check_batch(true);
}

/*
 * VT-d 6.5.2.2: the guest changes the PASID-table entry for the requests of the
 * device, and invalidates the PASID cache. Without ATS, the back-end must drop
 * the translations of the old tables. The guest's invalidations name the domain
 * of the old entry, which QEMU does not know any more. With ATS, the guest
 * invalidates the device-TLB (6.5.3.3).
 */

#define VTD_SCALABLE \
    "-device intel-iommu,device-iotlb=on,x-scalable-mode=on "
#define RID_PASID       0
#define OTHER_DOMAIN    (ATS_DOMAIN + 1)
#define PASID_CACHE(granularity, did, pasid) \
    (VTD_INV_DESC_PC | (granularity) | (uint64_t)(did) << 16 | \
     (uint64_t)(pasid) << 32)

typedef struct ScalableGuest {
    AtsGuest *g;
    uint64_t dir;
    uint64_t other_page;
    uint64_t other_sspt;
} ScalableGuest;

static void write_pasid_entry(ScalableGuest *sg, uint64_t sspt, uint16_t did)
{
    qvtd_sm_pasid(&sg->g->vtd, sg->dir, RID_PASID,
                  sspt | VTD_SM_PASID_ENTRY_SLT | VTD_PASID_ENTRY_P | 2 << 2,
                  did, 0);
}

static void scalable_guest_start(ScalableGuest *sg, bool ats)
{
    AtsGuest *g = sg->g = ats_guest_new(VTD_SCALABLE, 1);

    ats_guest_map_vtd(g);
    sg->other_page = guest_alloc(&g->alloc, SIZE_4K);
    sg->other_sspt = qvtd_new_table(&g->vtd);
    qvtd_map(&g->vtd, sg->other_sspt, 0, 0, SIZE_2M);
    qvtd_map(&g->vtd, sg->other_sspt, ATS_IOVA, sg->other_page, SIZE_4K);
    g->vtd.scalable = true;
    sg->dir = qvtd_sm_attach(&g->vtd, ATS_DEVICE, VTD_SM_CONTEXT_ENTRY_DTE,
                             RID_PASID);
    write_pasid_entry(sg, g->sspt, ATS_DOMAIN);
    qvtd_enable(&g->vtd);
    ats_driver_start(g);
    ats_set(g, ats);
}

static void switch_tables(ScalableGuest *sg, uint64_t sspt, uint16_t did,
                          uint64_t invalidation, bool ats)
{
    AtsGuest *g = sg->g;

    write_pasid_entry(sg, sspt, did);
    qvtd_submit(&g->vtd, invalidation, 0);
    g_assert_cmpint(qvhost_user_iotlb_has(g->be, ATS_IOVA), ==, ats);
    qvtd_inv_device_tlb(&g->vtd, ATS_DEVICE, ATS_IOVA, false);
    g_assert_cmphex(qvhost_user_iotlb_fetch(g->be, ATS_IOVA), ==,
                    sspt == g->sspt ? g->page : sg->other_page);
}

static void check_switched_tables(bool ats)
{
    static const uint64_t invalidations[] = {
        PASID_CACHE(VTD_INV_DESC_PASIDC_GLOBAL, 0, 0),
        PASID_CACHE(VTD_INV_DESC_PASIDC_DSI, ATS_DOMAIN, 0),
        PASID_CACHE(VTD_INV_DESC_PASIDC_PASID_SI, ATS_DOMAIN, RID_PASID),
    };
    ScalableGuest sg;

    scalable_guest_start(&sg, ats);
    ats_fetch(sg.g);
    for (unsigned i = 0; i < ARRAY_SIZE(invalidations); i++) {
        switch_tables(&sg, sg.other_sspt, OTHER_DOMAIN, invalidations[i], ats);
        switch_tables(&sg, sg.g->sspt, ATS_DOMAIN, invalidations[0], ats);
    }
    ats_guest_free(sg.g);
}

static void test_pasid_cache_tables(void)
{
    check_switched_tables(false);
}

static void test_pasid_cache_tables_ats(void)
{
    check_switched_tables(true);
}

static void invalidate_pasid(ScalableGuest *sg, uint32_t pasid)
{
    qvtd_submit(&sg->g->vtd, PASID_CACHE(VTD_INV_DESC_PASIDC_PASID_SI,
                                         ATS_DOMAIN, pasid), 0);
}

static void test_pasid_cache_teardown(void)
{
    ScalableGuest sg;

    scalable_guest_start(&sg, false);
    ats_fetch(sg.g);
    qvtd_sm_pasid(&sg.g->vtd, sg.dir, RID_PASID, 0, 0, 0);
    invalidate_pasid(&sg, RID_PASID);
    g_assert_false(qvhost_user_iotlb_has(sg.g->be, ATS_IOVA));
    ats_guest_free(sg.g);
}

/* The context entry that named the PASID is gone, too */
static void test_pasid_cache_no_context(void)
{
    ScalableGuest sg;

    scalable_guest_start(&sg, false);
    ats_fetch(sg.g);
    qtest_writeq(sg.g->qts, qvtd_sm_context(&sg.g->vtd, ATS_DEVICE), 0);
    invalidate_pasid(&sg, RID_PASID);
    g_assert_false(qvhost_user_iotlb_has(sg.g->be, ATS_IOVA));
    ats_guest_free(sg.g);
}

/* The PASID of another function does not concern the back-end */
static void test_pasid_cache_other_pasid(void)
{
    ScalableGuest sg;

    scalable_guest_start(&sg, false);
    ats_fetch(sg.g);
    qvhost_user_iotlb_invalidations(sg.g->be);
    ats_unmap_pages(sg.g);
    invalidate_pasid(&sg, RID_PASID + 1);
    g_assert_true(qvhost_user_iotlb_has(sg.g->be, ATS_IOVA));
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(sg.g->be), ==, 0);
    ats_guest_free(sg.g);
}

/*
 * The guest turns off a BAR that is memory, and does not invalidate the
 * translations of it: QEMU does, since the memory may be freed.
 */
#define SHM \
    "-object memory-backend-memfd,id=shm,size=1M,share=on " \
    "-device ivshmem-plain,memdev=shm,addr=6.0 "
#define SHM_BDF     0x30
#define SHM_BAR     0xe8000000ULL

static void shm_decode(AtsGuest *g, bool on)
{
    qtest_writew(g->qts, ats_config(SHM_BDF, PCI_COMMAND),
                 on ? PCI_COMMAND_MEMORY : 0);
}

static void test_memory_gone(void)
{
    AtsGuest *g = ats_guest_new(ATS_VTD SHM, 1);

    qtest_writel(g->qts, ats_config(SHM_BDF, PCI_BASE_ADDRESS_2), SHM_BAR);
    qtest_writel(g->qts, ats_config(SHM_BDF, PCI_BASE_ADDRESS_3), 0);
    shm_decode(g, true);
    ats_guest_setup_vtd(g, true);
    qvtd_map(&g->vtd, g->sspt, BUFFERS, SHM_BAR, SIZE_4K);
    ats_driver_start(g);
    ats_fetch(g);
    g_assert_cmphex(qvhost_user_iotlb_fetch(g->be, BUFFERS), ==, SHM_BAR);
    shm_decode(g, false);
    g_assert_false(qvhost_user_iotlb_has(g->be, BUFFERS));
    g_assert_true(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    ats_guest_free(g);
}

/* Move the used ring of virtqueue 0; VIRTIO 1.3, 4.1.4.3 */
static void set_used_ring(AtsGuest *g, uint64_t iova)
{
    QPCIDevice *pci = g->dev->pdev;
    QPCIBar bar = g->dev->bar;
    uint32_t common = g->dev->common_cfg_offset;

    qpci_io_writew(pci, bar, common + VIRTIO_PCI_COMMON_Q_SELECT, 0);
    qpci_io_writel(pci, bar, common + VIRTIO_PCI_COMMON_Q_USEDLO, iova);
    qpci_io_writel(pci, bar, common + VIRTIO_PCI_COMMON_Q_USEDHI, iova >> 32);
    qpci_io_writew(pci, bar, common + VIRTIO_PCI_COMMON_Q_ENABLE, 1);
}

static unsigned count_descriptors(AtsGuest *g)
{
    g_autofree char *path = g_strdup_printf("/proc/%d/fd", qtest_pid(g->qts));
    g_autoptr(GDir) dir = g_dir_open(path, 0, NULL);
    unsigned n = 0;

    g_assert_nonnull(dir);
    while (g_dir_read_name(dir)) {
        n++;
    }
    return n;
}

/*
 * QEMU cannot start the back-end if a used ring is not mapped.  It stops all
 * rings, so that no invalidation is missed, and keeps nothing of the attempt.
 */
static void test_failed_start(void)
{
    AtsGuest *g = ats_guest_new(ATS_VTD, 1);
    unsigned descriptors[3];

    ats_guest_setup_vtd(g, true);
    for (size_t i = 0; i < ARRAY_SIZE(descriptors); i++) {
        ats_driver_setup(g);
        set_used_ring(g, BUFFERS);
        qvirtio_set_driver_ok(&g->dev->vdev);
        qvhost_user_iotlb_wait_rings(g->be, 0);
        ats_driver_forget(g);
        descriptors[i] = count_descriptors(g);
    }
    g_assert_cmpuint(descriptors[2], ==, descriptors[1]);
    ats_driver_start(g);
    ats_set(g, true);
    ats_check(g, true);
    ats_guest_free(g);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/virtio-pci-ats/prefetch", test_prefetch);
    qtest_add_func("/virtio-pci-ats/prefetch/order", test_prefetch_order);
    qtest_add_func("/virtio-pci-ats/prefetch/invalidation",
                   test_prefetch_invalidation);
    qtest_add_func("/virtio-pci-ats/prefetch/caching-mode",
                   test_prefetch_caching_mode);
    qtest_add_func("/virtio-pci-ats/batch/unmap", test_batch);
    qtest_add_func("/virtio-pci-ats/batch/ats", test_batch_ats);
    qtest_add_func("/virtio-pci-ats/memory-gone", test_memory_gone);
    qtest_add_func("/virtio-pci-ats/failed-start", test_failed_start);
    qtest_add_func("/virtio-pci-ats/query/cache", test_query);
    qtest_add_func("/virtio-pci-ats/query/multiqueue", test_query_multiqueue);
    qtest_add_func("/virtio-pci-ats/pasid-cache/tables",
                   test_pasid_cache_tables);
    qtest_add_func("/virtio-pci-ats/pasid-cache/tables-ats",
                   test_pasid_cache_tables_ats);
    qtest_add_func("/virtio-pci-ats/pasid-cache/teardown",
                   test_pasid_cache_teardown);
    qtest_add_func("/virtio-pci-ats/pasid-cache/no-context",
                   test_pasid_cache_no_context);
    qtest_add_func("/virtio-pci-ats/pasid-cache/other-pasid",
                   test_pasid_cache_other_pasid);

    return g_test_run();
}
