/*
 * Unit tests of the IOTLB record of vhost: misses
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each miss of the back-end gets one answer, also from IOMMUs that cannot be
 * queried without side effects.
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "fake-vhost.h"

static void test_miss(void **state)
{
    map(3, 7, IOMMU_RW);
    assert_int_equal(miss(3, true), 0);
    assert_int_equal(fake.sent->len, 1);
    expect_sent(0, VHOST_IOTLB_UPDATE, IOVA_OF(3), PAGE);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
    assert_int_equal(stats().misses, 1);
    assert_int_equal(stats().sent_misses, 0);
    assert_int_equal(stats().updates, 1);
}

static void test_miss_read_only(void **state)
{
    map(3, 7, IOMMU_RO);
    assert_int_equal(miss(3, false), 0);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RO);

    /* The record has no write permission, and neither have the tables */
    assert_int_equal(miss(3, true), -EFAULT);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RO);
    assert_int_equal(stats().faults, 1);

    /* An invalidation must precede an update with more permissions */
    map(3, 7, IOMMU_RW);
    forget_sent();
    assert_int_equal(miss(3, true), 0);
    expect_sent(0, VHOST_IOTLB_INVALIDATE, IOVA_OF(3), PAGE - 1);
    expect_sent(1, VHOST_IOTLB_UPDATE, IOVA_OF(3), PAGE);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
}

/* Back-ends request both permissions when they write */
static void test_miss_write_only(void **state)
{
    map(3, 7, IOMMU_WO);
    assert_int_equal(miss(3, true), 0);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
    unmap(3);
    assert_int_equal(miss(3, true), 0);
    assert_int_equal(stats().faults, 0);
}

static void test_miss_not_mapped(void **state)
{
    assert_int_equal(miss(3, false), -EFAULT);
    assert_int_equal(fake.sent->len, 0);
    assert_int_equal(stats().entries, 0);
}

/* The translated address is not in memory */
static void test_miss_no_memory(void **state)
{
    map(3, NR_PAGES, IOMMU_RW);
    assert_int_equal(miss(3, true), -EFAULT);
    assert_int_equal(fake.sent->len, 0);
    assert_int_equal(stats().faults, 1);
}

static void test_miss_no_record(void **state)
{
    vhost_iotlb_cleanup(&fake.dev);
    map(3, 7, IOMMU_RW);
    assert_int_equal(miss(3, true), -EINVAL);
    assert_int_equal(fake.sent->len, 0);
}

static void test_miss_last_page(void **state)
{
    assert_int_equal(vhost_device_iotlb_miss(&fake.dev, UINT64_MAX, true), 0);
    expect_sent(0, VHOST_IOTLB_UPDATE, LAST_PAGE, PAGE);
    assert_int_equal(vhost_iotlb_drop(&fake.dev, 0, UINT64_MAX), 0);
    expect_sent(1, VHOST_IOTLB_INVALIDATE, LAST_PAGE, PAGE - 1);
}

static void test_miss_large_page(void **state)
{
    map_large(2 * MiB, 4 * MiB, 2 * MiB);
    assert_int_equal(vhost_device_iotlb_miss(&fake.dev, 3 * MiB + 5, true), 0);
    assert_int_equal(fake.sent->len, 1);
    expect_sent(0, VHOST_IOTLB_UPDATE, 2 * MiB, 2 * MiB);
    assert_int_equal(find_cached(3 * MiB, 3 * MiB)->uaddr, (uintptr_t)fake.ram +
                     4 * MiB);
}

/* The page has holes in memory: the back-end gets the requested part */
static void test_miss_large_page_pieces(void **state)
{
    Cached *c;

    fake.hole = 4 * MiB;
    fake.hole_end = 5 * MiB;
    map_large(GiB, 0, GiB);
    assert_int_equal(vhost_device_iotlb_miss(&fake.dev, GiB + 7 * MiB + 5,
                                             true), 0);
    c = find_cached(GiB + 7 * MiB, GiB + 7 * MiB);
    assert_non_null(c);
    assert_int_equal(c->uaddr, (uintptr_t)fake.ram + 7 * MiB);
    assert_int_equal(c->last, GiB + sizeof(fake.ram) - 1);

    assert_int_equal(vhost_device_iotlb_miss(&fake.dev, GiB + MiB, true), 0);
    c = find_cached(GiB + MiB, GiB + MiB);
    assert_non_null(c);
    assert_int_equal(c->uaddr, (uintptr_t)fake.ram);
    assert_int_equal(c->last, GiB + 4 * MiB - 1);

    assert_int_equal(vhost_device_iotlb_miss(&fake.dev, GiB + 4 * MiB, true),
                     -EFAULT);
    assert_int_equal(vhost_device_iotlb_miss(&fake.dev, GiB + sizeof(fake.ram),
                                             true), -EFAULT);
}

/* A back-end that repeats a miss has lost the entry, and perhaps others */
static void test_miss_twice(void **state)
{
    start_queue(0);
    map_apart(3, IOMMU_RW);
    post(0, 1, IOVA_OF(3), PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
    g_array_set_size(fake.cache, 0);

    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(DESC_PAGE(0)), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(USED_PAGE(0)), VHOST_ACCESS_RW);
    /* The buffer is available, and not used yet */
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
}

/* A late miss for a prefetched page is not a fault */
static void test_miss_late(void **state)
{
    start_queue(0);
    map_apart(3, IOMMU_RW);
    post(0, 1, IOVA_OF(3), PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);

    unmap(3);
    forget_sent();
    assert_int_equal(miss(3, true), 0);
    assert_int_equal(fake.sent->len, 1);
    expect_sent(0, VHOST_IOTLB_UPDATE, IOVA_OF(3), PAGE);
    assert_int_equal(stats().faults, 0);
}

static void late_miss_of_3(void)
{
    assert_int_equal(miss(3, true), 0);
}

/* Misses that have arrived are handled before the invalidation */
static void test_misses_before_invalidation(void **state)
{
    map(3, 7, IOMMU_RW);
    assert_int_equal(miss(3, true), 0);
    unmap(3);
    fake.late_miss = late_miss_of_3;
    assert_int_equal(invalidate(3, 1), 0);
    assert_int_equal(fake.late_misses, 1);
    assert_int_equal(stats().sent_misses, 1);
    assert_int_equal(stats().faults, 0);
    assert_int_equal(cached_perm(3), 0);
}

/* ---- IOMMUs without lookup that is free of side effects ---- */

static void test_no_peek(void **state)
{
    fake.can_peek = false;
    start_queue(0);
    map_apart(3, IOMMU_RW);
    map_apart(4, IOMMU_RW);
    post(0, 1, IOVA_OF(4), PAGE, VRING_DESC_F_WRITE);

    /* Each miss is answered separately */
    assert_int_equal(miss(3, true), 0);
    assert_int_equal(miss(4, true), 0);
    assert_int_equal(fake.sent->len, 2);

    /* An invalidation drops all entries in the range, without lookups */
    assert_int_equal(invalidate(4, 100), 0);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(4), 0);
    assert_int_equal(stats().kept, 0);
    assert_int_equal(stats().dropped, 1);
}

static AddressSpace other_memory;

/* A translation to memory other than system memory is not prefetched */
static void test_peek_other_memory(void **state)
{
    map_large(2 * MiB, 0, 2 * MiB);
    fake.large.target_as = &other_memory;
    start_queue(0);
    post(0, 1, 2 * MiB, PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_null(find_cached(2 * MiB, 4 * MiB - 1));
}

/* An IOMMU page that begins below address 0 of the device */
static void test_peek_below_zero(void **state)
{
    fake.iommu_offset = MiB;
    map_large(0, 4 * MiB, 2 * MiB);
    start_queue(0);
    post(0, 1, PAGE, PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_null(find_cached(0, 0));
    assert_int_equal(find_cached(PAGE, PAGE)->first, PAGE);
    assert_int_equal(find_cached(PAGE, PAGE)->last, MiB - 1);
    assert_int_equal(find_cached(PAGE, PAGE)->uaddr, (uintptr_t)fake.ram +
                     5 * MiB + PAGE);
}

/*
 * Without lookups in the IOMMU a miss gets only the permission that it has
 * requested: the other one has not been checked.
 */
static void test_permission_of_translation(void **state)
{
    fake.can_peek = false;
    map(3, 7, IOMMU_RO);
    assert_int_equal(miss(3, false), 0);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RO);
    assert_int_equal(miss(3, true), -EFAULT);
    map(4, 9, IOMMU_RW);
    assert_int_equal(miss(4, false), 0);
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RO);
    assert_int_equal(miss(4, true), 0);
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RW);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(miss),
        TEST(miss_read_only),
        TEST(miss_write_only),
        TEST(miss_not_mapped),
        TEST(miss_no_memory),
        TEST(miss_no_record),
        TEST(miss_last_page),
        TEST(miss_large_page),
        TEST(miss_large_page_pieces),
        TEST(miss_twice),
        TEST(miss_late),
        TEST(misses_before_invalidation),
        TEST(no_peek),
        TEST(peek_other_memory),
        TEST(peek_below_zero),
        TEST(permission_of_translation),
    };

    return cmocka_run_group_tests_name("vhost-iotlb-miss", tests, NULL, NULL);
}
