/*
 * Unit tests of the IOTLB record of vhost: prefetching from virtqueues
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A miss prefetches the rings of all queues, and the available buffers.
 *
 * Section numbers are those of VIRTIO 1.3; "DPDK" and "record" refer to
 * docs/devel/vhost-user-iotlb.rst.
 */

#include "qemu/osdep.h"
#include "fake-vhost.h"

/* Prefetching evicts no entries of misses, and continues later */
static void test_prefetch_leaves_room(void **state)
{
    start_queue(0);
    fill(0, MAX_PREFETCH - 4);
    for (unsigned page = 2000; page < 2016; page++) {
        map_apart(page, IOMMU_RW);
    }
    post(0, 1, IOVA_OF(2000), 8 * PAGE, VRING_DESC_F_WRITE);
    post(0, 2, IOVA_OF(2008), PAGE, VRING_DESC_F_WRITE);
    fill(2020, 1);
    assert_in_range(stats().entries, MAX_PREFETCH, MAX_PREFETCH + 2);
    assert_int_equal(cached_perm(2000), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(2002), 0);

    for (unsigned page = 0; page < 100; page++) {
        unmap(page);
    }
    assert_int_equal(invalidate(0, 100), 0);
    fill(2021, 1);
    for (unsigned page = 2000; page <= 2008; page++) {
        assert_int_equal(cached_perm(page), VHOST_ACCESS_RW);
    }
}

/* A miss for one queue prefetches the pages of all queues */
static void test_prefetch_queues(void **state)
{
    start_queue(0);
    start_queue(1);
    map_apart(3, IOMMU_RO);
    map_apart(4, IOMMU_RW);
    post(0, 5, IOVA_OF(3), PAGE, 0);
    post(1, 6, IOVA_OF(4) + 100, 200, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    for (int n = 0; n < QUEUES; n++) {
        assert_int_equal(cached_perm(DESC_PAGE(n)), VHOST_ACCESS_RW);
        assert_int_equal(cached_perm(AVAIL_PAGE(n)), VHOST_ACCESS_RW);
        assert_int_equal(cached_perm(USED_PAGE(n)), VHOST_ACCESS_RW);
    }
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RO);
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RW);

    /* Writable buffers come first */
    assert_true(find_cached(IOVA_OF(4), IOVA_OF(4)) <
                find_cached(IOVA_OF(3), IOVA_OF(3)));

    /* The next miss does not send the same entries again */
    forget_sent();
    fill(5, 1);
    assert_int_equal(fake.sent->len, 1);
}

/* A vhost device serves the queues of several (vq_index_end) */
static void test_prefetch_all_queues(void **state)
{
    fake.dev.nvqs = 1;
    fake.dev.vq_index_end = QUEUES;
    start_queue(1);
    map_apart(3, IOMMU_RW);
    assert_int_equal(miss(3, true), 0);
    assert_int_equal(cached_perm(USED_PAGE(1)), VHOST_ACCESS_RW);
    fake.dev.vq_index_end = 0;
}

/* Buffers that were used before the first miss are not prefetched (2.7.8) */
static void test_prefetch_from_used(void **state)
{
    start_queue(0);
    map_apart(3, IOMMU_RW);
    map_apart(4, IOMMU_RW);
    post(0, 1, IOVA_OF(3), PAGE, VRING_DESC_F_WRITE);
    used(0)->idx = cpu_to_le16(1);
    post(0, 2, IOVA_OF(4), PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(3), 0);
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RW);
}

/* Without both rings, buffers are not prefetched */
static void test_prefetch_rings_gone(void **state)
{
    const unsigned gone[] = { AVAIL_PAGE(0), USED_PAGE(0) };

    for (int i = 0; i < ARRAY_SIZE(gone); i++) {
        vhost_iotlb_cleanup(&fake.dev);
        vhost_iotlb_reset(&fake.dev);
        g_array_set_size(fake.cache, 0);
        memset(fake.queues, 0, sizeof(fake.queues));
        start_queue(0);
        map_apart(3, IOMMU_RW);
        post(0, 1, IOVA_OF(3), PAGE, VRING_DESC_F_WRITE);
        unmap(gone[i]);
        assert_int_equal(miss(DESC_PAGE(0), false), 0);
        assert_int_equal(cached_perm(3), 0);

        /* The buffers are prefetched once the ring is mapped */
        map_apart(gone[i], IOMMU_RW);
        fill(4, 1);
        assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
    }
}

/*
 * The index must not exceed the last one by more than the queue size (2.7.13)
 */
static void test_prefetch_index_jumps(void **state)
{
    start_queue(0);
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        map_apart(i, IOMMU_RW);
        post(0, i, IOVA_OF(i), PAGE, VRING_DESC_F_WRITE);
    }
    avail(0)->idx = cpu_to_le16(0xfff0);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        assert_int_equal(cached_perm(i), VHOST_ACCESS_RW);
    }
    /* The rings, the repeated miss, and each entry of the ring once */
    assert_int_equal(stats().entries, 3 + QUEUE_SIZE);
    assert_in_range(fake.peeks, 1, 100);
}

static const VhostOps user_backend = {
    .backend_type = VHOST_BACKEND_TYPE_USER,
};
static const VhostOps kernel_backend = {
    .backend_type = VHOST_BACKEND_TYPE_KERNEL,
};

/*
 * The vhost devices of a vhost-user device share a back-end, whose misses the
 * first of them receives.  Those of the kernel have one each.
 */
static void test_prefetch_own_queues(void **state)
{
    start_queue(0);
    start_queue(1);
    fake.dev.vq_index = 1;
    fake.dev.nvqs = 1;
    fake.dev.vhost_ops = &user_backend;
    assert_int_equal(miss(DESC_PAGE(1), false), 0);
    assert_int_equal(cached_perm(USED_PAGE(0)), 0);
    assert_int_equal(cached_perm(USED_PAGE(1)), 0);
    fake.dev.vhost_ops = &kernel_backend;
    assert_int_equal(miss(AVAIL_PAGE(1), false), 0);
    assert_int_equal(cached_perm(USED_PAGE(0)), 0);
    assert_int_equal(cached_perm(USED_PAGE(1)), VHOST_ACCESS_RW);
}

/* record: prefetching leaves lookups for later invalidations */
static void test_prefetch_leaves_lookups(void **state)
{
    start_queue(0);
    fill(0, 1);
    for (unsigned page = 100; page < NR_PAGES - 8; page++) {
        map(page, page, IOMMU_RW);
    }
    post(0, 0, IOVA_OF(100), 3900 * PAGE, VRING_DESC_F_WRITE);
    fake.peeks = 0;
    assert_int_equal(invalidate(2, 1), 0);
    assert_in_range(fake.peeks, 1, 1024);
    /* A later scan continues */
    for (unsigned i = 0; i < 8; i++) {
        assert_int_equal(invalidate(2, 1), 0);
    }
    assert_int_equal(cached_perm(3999), VHOST_ACCESS_RW);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(prefetch_leaves_room),
        TEST(prefetch_queues),
        TEST(prefetch_all_queues),
        TEST(prefetch_from_used),
        TEST(prefetch_rings_gone),
        TEST(prefetch_index_jumps),
        TEST(prefetch_own_queues),
        TEST(prefetch_leaves_lookups),
    };

    return cmocka_run_group_tests_name("vhost-iotlb-prefetch", tests, NULL,
                                       NULL);
}
