/*
 * Unit tests of the IOTLB record of vhost: pass-through
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Without an IOMMU between the device and memory, an entry of the record is a
 * memory region.
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "fake-vhost.h"

static void set_regions(uint64_t first, uint64_t second)
{
    fake.dev.mem->nregions = 2;
    fake.dev.mem->regions[0].memory_size = first;
    fake.dev.mem->regions[1].guest_phys_addr = first;
    fake.dev.mem->regions[1].memory_size = second;
}

/* Each memory region becomes one entry; the second is read-only */
static void test_passthrough(void **state)
{
    fake.passthrough = true;
    set_regions(sizeof(fake.ram) / 2, sizeof(fake.ram) / 2);
    map_large(5 * PAGE, 5 * PAGE, PAGE);
    assert_int_equal(vhost_device_iotlb_miss(&fake.dev, 5 * PAGE, true), 0);
    assert_int_equal(find_cached(0, 0)->last, sizeof(fake.ram) / 2 - 1);
    assert_int_equal(find_cached(0, 0)->perm, VHOST_ACCESS_RW);
    assert_int_equal(find_cached(sizeof(fake.ram) / 2, UINT64_MAX)->last,
                     sizeof(fake.ram) - 1);
    assert_int_equal(find_cached(sizeof(fake.ram) / 2, UINT64_MAX)->perm,
                     VHOST_ACCESS_RO);
}

/* Regions that are split in the address space are not sent as a whole */
static void test_passthrough_pieces(void **state)
{
    fake.passthrough = true;
    set_regions(sizeof(fake.ram) / 4, sizeof(fake.ram) / 2);
    map_large(0, 0, PAGE);
    assert_int_equal(vhost_device_iotlb_miss(&fake.dev, 0, true), 0);
    assert_int_equal(fake.sent->len, 1);
    expect_sent(0, VHOST_IOTLB_UPDATE, 0, sizeof(fake.ram) / 2);
}

/*
 * The entry begins with its piece of memory, so that a miss at a lower address
 * does not replace it
 */
static void test_passthrough_upwards(void **state)
{
    const uint64_t half = sizeof(fake.ram) / 2;

    fake.passthrough = true;
    fake.gap = 2 * PAGE;
    fake.gap_size = PAGE;
    for (int page = 9; page >= 4; page--) {
        map_large(page * PAGE, page * PAGE, PAGE);
        assert_int_equal(vhost_device_iotlb_miss(&fake.dev, page * PAGE, true),
                         0);
    }
    for (guint i = 0; i < fake.sent->len; i++) {
        expect_sent(i, VHOST_IOTLB_UPDATE, 3 * PAGE, half - 3 * PAGE);
    }
    /* Another piece */
    forget_sent();
    map_large(PAGE, PAGE, PAGE);
    assert_int_equal(vhost_device_iotlb_miss(&fake.dev, PAGE, true), 0);
    expect_sent(fake.sent->len - 1, VHOST_IOTLB_UPDATE, 0, 2 * PAGE);
    assert_int_equal(stats().dropped, 0);
}

/* A write to read-only memory: only the translation of the IOMMU is sent */
static void test_passthrough_read_only(void **state)
{
    fake.passthrough = true;
    map_large(sizeof(fake.ram) / 2, sizeof(fake.ram) / 2, PAGE);
    assert_int_equal(vhost_device_iotlb_miss(&fake.dev, sizeof(fake.ram) / 2,
                                             true), 0);
    assert_int_equal(fake.sent->len, 1);
    expect_sent(0, VHOST_IOTLB_UPDATE, sizeof(fake.ram) / 2, PAGE);
}

/* No region, a region at a higher address, and registers are not memory */
static void test_passthrough_holes(void **state)
{
    const uint64_t holes[] = { sizeof(fake.ram), IOVA, IOVA + 16 * PAGE, MiB };

    fake.passthrough = true;
    fake.gap = MiB;
    fake.gap_size = MiB;
    for (int i = 0; i < ARRAY_SIZE(holes); i++) {
        map_large(holes[i], 0, PAGE);
        forget_sent();
        assert_int_equal(vhost_device_iotlb_miss(&fake.dev, holes[i], true), 0);
        assert_int_equal(fake.sent->len, 1);
        expect_sent(0, VHOST_IOTLB_UPDATE, holes[i], PAGE);
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(passthrough),
        TEST(passthrough_pieces),
        TEST(passthrough_upwards),
        TEST(passthrough_read_only),
        TEST(passthrough_holes),
    };

    return cmocka_run_group_tests_name("vhost-iotlb-passthrough", tests, NULL,
                                       NULL);
}
