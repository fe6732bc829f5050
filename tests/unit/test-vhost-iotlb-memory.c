/*
 * Unit tests of the IOTLB record of vhost: memory that is plugged and unplugged
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The guest need not invalidate translations of memory that is gone, and the
 * back-end must not access it ("record").
 */

#include "qemu/osdep.h"
#include "fake-vhost.h"

#define RAM_SIZE    sizeof(fake.ram)
#define HALF        (RAM_SIZE / 2)
/* A page of RAM below HALF, and those around it */
#define MIDDLE      (HALF / PAGE / 2)

/* Pages 0 to 4 of the IOMMU refer to these pages of RAM */
static const unsigned ram_page[] = {
    0, MIDDLE - 1, MIDDLE, MIDDLE + 1, HALF / PAGE,
};

static void fill_cache(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(ram_page); i++) {
        map(i, ram_page[i], IOMMU_RW);
        assert_int_equal(miss(i, true), 0);
    }
    forget_sent();
}

static void check_cached(const bool *cached)
{
    for (unsigned i = 0; i < ARRAY_SIZE(ram_page); i++) {
        assert_int_equal(cached_perm(i), cached[i] ? VHOST_ACCESS_RW : 0);
    }
}

static void change(uint64_t offset, int ret)
{
    MemoryRegionSection old[] = {
        ram_section(offset, 0, HALF),
        ram_section(HALF, HALF, HALF),
    };

    assert_int_equal(vhost_iotlb_memory_changed(&fake.dev, old,
                                                ARRAY_SIZE(old)), ret);
}

/* All memory stays: no message */
static void test_memory_same(void **state)
{
    fill_cache();
    change(0, 0);
    assert_int_equal(fake.sent->len, 0);
    check_cached((bool []) { true, true, true, true, true });
}

/* The end of a section is gone; the other section stays */
static void test_memory_gone(void **state)
{
    fill_cache();
    fake.hole = MIDDLE * PAGE;
    fake.hole_end = HALF;
    change(0, 0);
    check_cached((bool []) { true, true, false, false, true });
    /* The answer to the next miss is not the recorded one */
    assert_int_equal(miss(3, true), -EFAULT);
}

/* Other memory is at the addresses of a section */
static void test_memory_moved(void **state)
{
    fill_cache();
    change(MIDDLE * PAGE, 0);
    check_cached((bool []) { true, true, false, false, false });
}

/* An entry that contains the first byte that is gone */
static void test_memory_large(void **state)
{
    map_large(IOVA, 0, HALF);
    assert_int_equal(vhost_device_iotlb_miss(&fake.dev, IOVA, true), 0);
    assert_int_equal(find_cached(IOVA, IOVA)->last, IOVA + HALF - 1);
    fake.hole = MIDDLE * PAGE;
    fake.hole_end = HALF;
    change(0, 0);
    assert_null(find_cached(IOVA, IOVA + HALF - 1));
}

/* The back-end rejects the invalidation */
static void test_memory_error(void **state)
{
    fill_cache();
    fake.hole = MIDDLE * PAGE;
    fake.hole_end = HALF;
    fake.status = -EIO;
    change(0, -EIO);
}

/* A device without an IOMMU has no record */
static void test_memory_no_record(void **state)
{
    vhost_iotlb_cleanup(&fake.dev);
    change(0, 0);
    assert_int_equal(fake.sent->len, 0);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(memory_same),
        TEST(memory_gone),
        TEST(memory_moved),
        TEST(memory_large),
        TEST(memory_error),
        TEST(memory_no_record),
    };

    return cmocka_run_group_tests_name("vhost-iotlb-memory", tests, NULL,
                                       NULL);
}
