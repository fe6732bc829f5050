/*
 * Unit tests of the IOTLB record of vhost: invalidations
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which entries an invalidation, a reset and a full record drop, and how many
 * lookups that takes.
 *
 * Section numbers are those of VIRTIO 1.3; "DPDK" and "record" refer to
 * docs/devel/vhost-user-iotlb.rst.
 */

#include "qemu/osdep.h"
#include "hw/iommu_batch.h"
#include "fake-vhost.h"

/* Unchanged translations are kept, and changed ones are dropped once */
static void test_invalidate(void **state)
{
    for (unsigned page = 0; page < 8; page++) {
        map_apart(page, IOMMU_RW);
        assert_int_equal(miss(page, true), 0);
    }
    unmap(1);
    unmap(2);
    map(4, 100, IOMMU_RW);
    map_apart(6, IOMMU_RO);
    forget_sent();
    assert_int_equal(invalidate(0, 8), 0);

    /* DPDK: the page after a range is kept; adjacent pages share a message */
    assert_int_equal(fake.sent->len, 3);
    expect_sent(0, VHOST_IOTLB_INVALIDATE, IOVA_OF(1), 2 * PAGE - 1);
    expect_sent(1, VHOST_IOTLB_INVALIDATE, IOVA_OF(4), PAGE - 1);
    expect_sent(2, VHOST_IOTLB_INVALIDATE, IOVA_OF(6), PAGE - 1);
    for (unsigned page = 0; page < 8; page++) {
        bool gone = page == 1 || page == 2 || page == 4 || page == 6;

        assert_int_equal(cached_perm(page), gone ? 0 : VHOST_ACCESS_RW);
    }
    assert_int_equal(stats().kept, 4);
    assert_int_equal(stats().dropped, 4);
    assert_int_equal(stats().invalidations, 1);
}

/*
 * Pages that share an entry are looked up separately, to the end of the range
 */
static void test_invalidate_merged(void **state)
{
    start_queue(0);
    for (unsigned page = 10; page < 14; page++) {
        map(page, page, IOMMU_RW);
    }
    post(0, 1, IOVA_OF(10), 4 * PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(find_cached(IOVA_OF(10), IOVA_OF(10))->last,
                     IOVA_OF(14) - 1);

    /* A change outside of the range is kept until that is invalidated, too */
    unmap(13);
    assert_int_equal(invalidate(11, 2), 0);
    assert_non_null(find_cached(IOVA_OF(10), IOVA_OF(10)));
    assert_int_equal(invalidate(12, 2), 0);
    assert_int_equal(cached_perm(10), 0);
    assert_int_equal(cached_perm(13), 0);
    /* This page is fetched again: its mapping may be new */
    assert_int_equal(cached_perm(12), VHOST_ACCESS_RW);
}

/*
 * VT-d 11.4.2, CAP.CM: an invalidation announces a mapping, also of a buffer
 * that is not posted yet
 */
static void test_invalidate_announces(void **state)
{
    fill(0, 1);
    map(10, 10, IOMMU_RW);
    map(11, 11, IOMMU_RW);
    map_apart(12, IOMMU_RO);
    map_apart(14, IOMMU_RW);
    forget_sent();
    assert_int_equal(invalidate(10, 8), 0);
    assert_int_equal(fake.sent->len, 2);
    expect_sent(0, VHOST_IOTLB_UPDATE, IOVA_OF(10), 2 * PAGE);
    expect_sent(1, VHOST_IOTLB_UPDATE, IOVA_OF(12), PAGE);
    assert_int_equal(stats().round_trips, 0);

    /* The back-end has them */
    forget_sent();
    assert_int_equal(invalidate(10, 8), 0);
    assert_int_equal(fake.sent->len, 0);

    /* The range of a domain announces nothing */
    for (unsigned page = 100; page < 400; page++) {
        map_apart(page, IOMMU_RW);
    }
    assert_int_equal(invalidate(100, 300), 0);
    assert_int_equal(fake.sent->len, 0);

    /* A back-end that translates nothing needs nothing */
    unmap(0);
    vhost_iotlb_reset(&fake.dev);
    assert_int_equal(invalidate(100, 8), 0);
    assert_int_equal(fake.sent->len, 0);
}

/* Translations follow the invalidations, which alone are worth waiting for */
static void test_invalidate_and_prefetch(void **state)
{
    start_queue(0);
    fill(0, 2);
    map_apart(3, IOMMU_RW);
    post(0, 1, IOVA_OF(3), PAGE, VRING_DESC_F_WRITE);
    unmap(0);
    forget_sent();
    assert_int_equal(invalidate(0, 1), 0);
    assert_int_equal(fake.sent->len, 2);
    expect_sent(0, VHOST_IOTLB_INVALIDATE, IOVA_OF(0), PAGE - 1);
    expect_sent(1, VHOST_IOTLB_UPDATE, IOVA_OF(3), PAGE);
    assert_int_equal(stats().round_trips, 1);

    /* The back-end does not have the range, but gets what has been posted */
    map_apart(4, IOMMU_RO);
    post(0, 2, IOVA_OF(4), PAGE, 0);
    forget_sent();
    assert_int_equal(invalidate(0, 1), 0);
    assert_int_equal(fake.sent->len, 1);
    expect_sent(0, VHOST_IOTLB_UPDATE, IOVA_OF(4), PAGE);
    assert_int_equal(stats().round_trips, 1);
    assert_int_equal(stats().misses, 2);
    assert_int_equal(stats().write_misses, 2);

    /* Nothing new: nothing is sent */
    forget_sent();
    assert_int_equal(invalidate(0, 1), 0);
    assert_int_equal(fake.sent->len, 0);
}

/*
 * VT-d 6.5.2.9: a wait descriptor completes after the invalidations ahead of
 * it, which share one round trip, and the translations that follow them.
 */
static void test_invalidate_batch(void **state)
{
    start_queue(0);
    fill(0, 8);
    map_apart(20, IOMMU_RW);
    post(0, 1, IOVA_OF(20), PAGE, VRING_DESC_F_WRITE);
    unmap(1);
    unmap(5);
    forget_sent();
    iommu_batch_begin();
    assert_int_equal(invalidate(1, 1), 0);
    assert_int_equal(invalidate(5, 1), 0);
    assert_int_equal(invalidate(6, 1), 0);
    assert_int_equal(fake.sent->len, 0);
    iommu_batch_flush();
    assert_int_equal(fake.sent->len, 3);
    expect_sent(0, VHOST_IOTLB_INVALIDATE, IOVA_OF(1), PAGE - 1);
    expect_sent(1, VHOST_IOTLB_INVALIDATE, IOVA_OF(5), PAGE - 1);
    expect_sent(2, VHOST_IOTLB_UPDATE, IOVA_OF(20), PAGE);
    assert_int_equal(stats().round_trips, 1);

    /* No round trip for what the back-end does not have */
    forget_sent();
    assert_int_equal(invalidate(1, 1), 0);
    assert_int_equal(invalidate(5, 1), 0);
    iommu_batch_end();
    assert_int_equal(fake.sent->len, 0);
    assert_int_equal(stats().round_trips, 1);
}

/* Pages that are invalidated one after the other become one range */
static void test_invalidate_batch_merges(void **state)
{
    fill(0, 8);
    for (unsigned page = 1; page < 7; page++) {
        unmap(page);
    }
    forget_sent();
    iommu_batch_begin();
    for (unsigned page = 1; page < 4; page++) {
        assert_int_equal(invalidate(page, 1), 0);
    }
    assert_int_equal(invalidate(6, 1), 0);
    assert_int_equal(invalidate(5, 1), 0);
    iommu_batch_end();
    assert_int_equal(fake.sent->len, 3);
    expect_sent(0, VHOST_IOTLB_INVALIDATE, IOVA_OF(1), 3 * PAGE - 1);
    expect_sent(1, VHOST_IOTLB_INVALIDATE, IOVA_OF(6), PAGE - 1);
    expect_sent(2, VHOST_IOTLB_INVALIDATE, IOVA_OF(5), PAGE - 1);
    assert_int_equal(cached_perm(0), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(7), VHOST_ACCESS_RW);

    /* The last page and the first are not adjacent */
    assert_int_equal(vhost_device_iotlb_miss(&fake.dev, UINT64_MAX, true), 0);
    map_large(0, 0, PAGE);
    assert_int_equal(vhost_device_iotlb_miss(&fake.dev, 0, true), 0);
    map_large(0, 0, 0);
    forget_sent();
    iommu_batch_begin();
    fake.can_peek = false;
    assert_int_equal(vhost_iotlb_invalidate(&fake.dev, LAST_PAGE, UINT64_MAX),
                     0);
    assert_int_equal(vhost_iotlb_invalidate(&fake.dev, 0, PAGE - 1), 0);
    iommu_batch_end();
    assert_int_equal(fake.sent->len, 2);
    expect_sent(0, VHOST_IOTLB_INVALIDATE, LAST_PAGE, PAGE - 1);
    expect_sent(1, VHOST_IOTLB_INVALIDATE, 0, PAGE - 1);
}

/* Messages of a miss come after the invalidations that have been put off */
static void test_invalidate_batch_order(void **state)
{
    fill(0, 2);
    unmap(0);
    forget_sent();
    iommu_batch_begin();
    assert_int_equal(invalidate(0, 1), 0);
    map(0, 50, IOMMU_RW);
    assert_int_equal(miss(0, true), 0);
    assert_int_equal(fake.sent->len, 2);
    expect_sent(0, VHOST_IOTLB_INVALIDATE, IOVA_OF(0), PAGE - 1);
    expect_sent(1, VHOST_IOTLB_UPDATE, IOVA_OF(0), PAGE);
    iommu_batch_end();
    assert_int_equal(cached_perm(0), VHOST_ACCESS_RW);
}

/* The device stops in the middle */
static void test_invalidate_batch_reset(void **state)
{
    fill(0, 2);
    unmap(0);
    forget_sent();
    iommu_batch_begin();
    assert_int_equal(invalidate(0, 1), 0);
    vhost_iotlb_reset(&fake.dev);
    iommu_batch_end();
    assert_int_equal(fake.sent->len, 0);
}

/* An error is not lost, and nothing is sent twice */
static void test_invalidate_batch_refused(void **state)
{
    fill(0, 2);
    unmap(0);
    forget_sent();
    fake.status = -EIO;
    iommu_batch_begin();
    assert_int_equal(invalidate(0, 1), 0);
    iommu_batch_end();
    assert_int_equal(fake.sent->len, 1);
    iommu_batch_begin();
    iommu_batch_end();
    assert_int_equal(fake.sent->len, 1);
}

static void test_invalidate_nothing(void **state)
{
    assert_int_equal(invalidate(0, NR_PAGES), 0);
    assert_int_equal(fake.sent->len, 0);
    vhost_iotlb_cleanup(&fake.dev);
    assert_int_equal(invalidate(0, NR_PAGES), 0);
    assert_int_equal(vhost_iotlb_drop(&fake.dev, 0, UINT64_MAX), 0);
    assert_int_equal(fake.sent->len, 0);
}

/* vhost-vdpa has no misses */
static void test_invalidate_no_misses(void **state)
{
    fake.dev.vhost_ops = &quiet_backend;
    map(3, 7, IOMMU_RW);
    assert_int_equal(miss(3, true), 0);
    unmap(3);
    assert_int_equal(invalidate(3, 1), 0);
    assert_int_equal(cached_perm(3), 0);
}

/* The address space changes: entries are dropped without lookups */
static void test_drop(void **state)
{
    for (unsigned page = 0; page < 8; page += 2) {
        map_apart(page, IOMMU_RW);
        assert_int_equal(miss(page, true), 0);
    }
    fake.peeks = 0;
    forget_sent();
    assert_int_equal(vhost_iotlb_drop(&fake.dev, IOVA_OF(2), IOVA_OF(6)), 0);
    assert_int_equal(fake.peeks, 0);
    assert_int_equal(fake.sent->len, 1);
    expect_sent(0, VHOST_IOTLB_INVALIDATE, IOVA_OF(2), 5 * PAGE - 1);
    assert_int_equal(cached_perm(0), VHOST_ACCESS_RW);
    assert_int_equal(stats().entries, 1);
    assert_int_equal(stats().dropped, 3);
}

/* Each call returns the error, and nothing is sent twice */
static void test_backend_refuses(void **state)
{
    map_apart(3, IOMMU_RW);
    map_apart(4, IOMMU_RW);
    fake.status = -EIO;
    assert_int_equal(miss(3, true), -EIO);
    assert_int_equal(miss(4, true), -EIO);
    unmap(3);
    forget_sent();
    assert_int_equal(invalidate(3, 1), -EIO);
    assert_int_equal(fake.sent->len, 1);
    assert_int_equal(vhost_iotlb_drop(&fake.dev, 0, UINT64_MAX), -EIO);
    assert_int_equal(fake.sent->len, 2);
    fake.status = 0;
    assert_int_equal(vhost_iotlb_drop(&fake.dev, 0, UINT64_MAX), 0);
    assert_int_equal(fake.sent->len, 2);
}

/* The back-end's cache is empty after the device stops and starts */
static void test_reset(void **state)
{
    map(3, 7, IOMMU_RW);
    assert_int_equal(miss(3, true), 0);
    forget_sent();
    vhost_iotlb_reset(&fake.dev);
    assert_int_equal(fake.sent->len, 0);
    assert_int_equal(stats().entries, 0);
    assert_int_equal(invalidate(3, 1), 0);
    assert_int_equal(fake.sent->len, 0);
}

/* The back-end has dropped random entries, so that the record drops all */
static void test_full(void **state)
{
    fill(0, CAPACITY);
    assert_int_equal(stats().capacity, CAPACITY);
    assert_int_equal(stats().entries, CAPACITY);
    forget_sent();

    fill(CAPACITY, 1);
    assert_int_equal(stats().entries, 1);
    assert_int_equal(fake.sent->len, 2);
    expect_sent(0, VHOST_IOTLB_INVALIDATE, IOVA, CAPACITY * PAGE - 1);
    expect_sent(1, VHOST_IOTLB_UPDATE, IOVA_OF(CAPACITY), PAGE);
    assert_int_equal(fake.cache->len, 1);
}

/* record: an entry of single pages, each of which needs a lookup */
static void fill_with_pages(void)
{
    start_queue(0);
    for (unsigned page = 0; page < DESC_PAGE(0); page++) {
        map(page, page, IOMMU_RW);
    }
    post(0, 0, IOVA, DESC_PAGE(0) * PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(DESC_PAGE(0) - 1), VHOST_ACCESS_RW);
}

/*
 * record: invalidations between two turns of the main loop do a limited number
 * of lookups, and drop all other entries
 */
static void test_invalidate_many(void **state)
{
    fill_with_pages();
    fake.peeks = 0;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(invalidate(0, NR_PAGES), 0);
    }
    assert_in_range(fake.peeks, NR_PAGES, 16384);
    assert_int_equal(stats().entries, 0);
    assert_int_equal(cached_perm(0), 0);
    /* Misses still have answers, and later invalidations do lookups again */
    assert_int_equal(miss(5, true), 0);
    assert_int_equal(cached_perm(5), VHOST_ACCESS_RW);
    take_turn();
    assert_int_equal(invalidate(0, NR_PAGES), 0);
    assert_int_equal(cached_perm(5), VHOST_ACCESS_RW);
}

static void late_prefetch(void)
{
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
}

/* record: misses that are handled by invalidations count */
static void test_invalidate_many_misses(void **state)
{
    fill_with_pages();
    fake.late_miss = late_prefetch;
    fake.peeks = 0;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(invalidate(DESC_PAGE(1), 1), 0);
    }
    assert_in_range(fake.peeks, 1, 16384);
    fake.late_miss = NULL;
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(invalidate),
        TEST(invalidate_merged),
        TEST(invalidate_announces),
        TEST(invalidate_batch),
        TEST(invalidate_batch_merges),
        TEST(invalidate_batch_order),
        TEST(invalidate_batch_reset),
        TEST(invalidate_batch_refused),
        TEST(invalidate_and_prefetch),
        TEST(invalidate_nothing),
        TEST(invalidate_no_misses),
        TEST(drop),
        TEST(backend_refuses),
        TEST(reset),
        TEST(full),
        TEST(invalidate_many),
        TEST(invalidate_many_misses),
    };

    return cmocka_run_group_tests_name("vhost-iotlb-invalidate", tests, NULL,
                                       NULL);
}
