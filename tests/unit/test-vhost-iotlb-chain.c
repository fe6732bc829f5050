/*
 * Unit tests of the IOTLB record of vhost: prefetching from descriptor chains
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Chains, buffers and indirect tables, also those of a hostile driver.
 *
 * Section numbers are those of VIRTIO 1.3; "DPDK" and "record" refer to
 * docs/devel/vhost-user-iotlb.rst.
 */

#include "qemu/osdep.h"
#include "fake-vhost.h"

static void test_chain(void **state)
{
    start_queue(0);
    for (unsigned page = 3; page < 6; page++) {
        map_apart(page, IOMMU_RW);
    }
    set_desc(&descs(0)[1], IOVA_OF(3), 16, VRING_DESC_F_NEXT, 7);
    set_desc(&descs(0)[7], IOVA_OF(4), PAGE,
             VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
    set_desc(&descs(0)[2], IOVA_OF(5), PAGE, VRING_DESC_F_WRITE, 0);
    make_available(0, 1);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    for (unsigned page = 3; page < 6; page++) {
        assert_int_equal(cached_perm(page), VHOST_ACCESS_RW);
    }
}

/*
 * 2.7.5: invalid descriptors of a hostile driver cost a limited number of
 * lookups
 */
static void test_chain_loops(void **state)
{
    start_queue(0);
    map_apart(3, IOMMU_RW);
    set_desc(&descs(0)[1], IOVA_OF(3), 16, VRING_DESC_F_NEXT, 2);
    set_desc(&descs(0)[2], IOVA_OF(3), 16, VRING_DESC_F_NEXT, 1);
    make_available(0, 1);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(DESC_PAGE(0)), VHOST_ACCESS_RW);
    assert_in_range(fake.peeks, 1, 4 * CAPACITY);
}

static void test_chain_outside(void **state)
{
    start_queue(0);
    map_apart(3, IOMMU_RW);
    map_apart(4, IOMMU_RW);
    /* A head and a next index outside of the table */
    set_desc(&descs(0)[QUEUE_SIZE], IOVA_OF(3), PAGE, VRING_DESC_F_WRITE, 0);
    make_available(0, QUEUE_SIZE);
    set_desc(&descs(0)[1], IOVA_OF(4), PAGE,
             VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, QUEUE_SIZE);
    make_available(0, 1);
    assert_int_equal(miss(AVAIL_PAGE(0), false), 0);
    assert_int_equal(cached_perm(3), 0);
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RW);
}

/* Ranges that are empty, wrap, or are only partly mapped */
static void test_buffer_ranges(void **state)
{
    start_queue(0);
    map_apart(3, IOMMU_RW);
    map_apart(4, IOMMU_RW);
    map_large(0, 0, PAGE);
    post(0, 0, 0, 0, VRING_DESC_F_WRITE);
    post(0, 1, IOVA_OF(3), 0, VRING_DESC_F_WRITE);
    post(0, 2, UINT64_MAX - 1, PAGE, VRING_DESC_F_WRITE);
    post(0, 3, IOVA_OF(4), 3 * PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_null(find_cached(0, 0));
    assert_int_equal(cached_perm(3), 0);
    assert_null(find_cached(LAST_PAGE, UINT64_MAX));
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RW);
}

/*
 * Pages that are adjacent in memory, but differ in permissions, are two
 * entries
 */
static void test_buffer_permissions(void **state)
{
    start_queue(0);
    map(3, 10, IOMMU_RW);
    map(4, 11, IOMMU_RO);
    post(0, 1, IOVA_OF(3), 2 * PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RO);
}

/* 2.7.5.3: an indirect table, which the device reads */
static void test_indirect(void **state)
{
    struct vring_desc *d = (void *)(fake.ram + (NR_PAGES - 1 - 3) * PAGE);

    start_queue(0);
    for (unsigned page = 3; page < 7; page++) {
        map_apart(page, page == 3 ? IOMMU_RO : IOMMU_RW);
    }
    post(0, 1, IOVA_OF(3), 2 * sizeof(*d), VRING_DESC_F_INDIRECT);
    set_desc(&d[0], IOVA_OF(4), 16, VRING_DESC_F_NEXT, 1);
    set_desc(&d[1], IOVA_OF(5), PAGE,
             VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2);
    /* A descriptor after the end of the table */
    set_desc(&d[2], IOVA_OF(6), PAGE, VRING_DESC_F_WRITE, 0);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RO);
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(5), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(6), 0);
}

/* 2.7.5.3.1: a driver must not set the flag in an indirect table */
static void test_indirect_nested(void **state)
{
    struct vring_desc *d = (void *)(fake.ram + (NR_PAGES - 1 - 3) * PAGE);

    start_queue(0);
    map_apart(3, IOMMU_RW);
    map_apart(4, IOMMU_RW);
    post(0, 1, IOVA_OF(3), sizeof(*d), VRING_DESC_F_INDIRECT);
    set_desc(&d[0], IOVA_OF(3) + sizeof(*d), sizeof(*d), VRING_DESC_F_INDIRECT,
             0);
    set_desc(&d[1], IOVA_OF(4), PAGE, VRING_DESC_F_WRITE, 0);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(4), 0);
}

/* Memory ends in the middle of the page of a table */
static void test_indirect_no_memory(void **state)
{
    uint64_t page = (NR_PAGES - 1 - 3) * PAGE;

    fake.hole = page + PAGE / 2;
    fake.hole_end = page + PAGE;
    start_queue(0);
    map_apart(3, IOMMU_RW);
    map_apart(4, IOMMU_RW);
    post(0, 1, IOVA_OF(3) + PAGE / 2 + 8, sizeof(struct vring_desc),
         VRING_DESC_F_INDIRECT);
    set_desc((void *)(fake.ram + fake.hole + 8), IOVA_OF(4), PAGE,
             VRING_DESC_F_WRITE, 0);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(4), 0);
}

/* Tables and rings that cross pages which are not adjacent in memory */
static void test_indirect_scattered(void **state)
{
    struct vring_desc *d = (void *)(fake.ram + (NR_PAGES - 1 - 3) * PAGE);
    struct vring_desc first;

    start_queue(0);
    for (unsigned page = 3; page < 6; page++) {
        map_apart(page, IOMMU_RW);
    }
    post(0, 1, IOVA_OF(4) - 8, sizeof(first), VRING_DESC_F_INDIRECT);
    set_desc(&first, IOVA_OF(5), PAGE, VRING_DESC_F_WRITE, 0);
    memcpy((uint8_t *)d + PAGE - 8, &first, 8);
    memcpy(fake.ram + (NR_PAGES - 1 - 4) * PAGE, (uint8_t *)&first + 8, 8);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(5), VHOST_ACCESS_RW);

    /* Without the second page there is no descriptor */
    unmap(4);
    unmap(5);
    assert_int_equal(invalidate(4, 2), 0);
    map_apart(5, IOMMU_RW);
    make_available(0, 1);
    assert_int_equal(miss(AVAIL_PAGE(0), false), 0);
    assert_int_equal(cached_perm(5), 0);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(chain),
        TEST(chain_loops),
        TEST(chain_outside),
        TEST(buffer_ranges),
        TEST(buffer_permissions),
        TEST(indirect),
        TEST(indirect_nested),
        TEST(indirect_no_memory),
        TEST(indirect_scattered),
    };

    return cmocka_run_group_tests_name("vhost-iotlb-chain", tests, NULL, NULL);
}
