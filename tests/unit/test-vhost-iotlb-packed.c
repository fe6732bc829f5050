/*
 * Unit tests of the IOTLB record of vhost: prefetching from packed virtqueues
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of VIRTIO 1.3; "record" refers to
 * docs/devel/vhost-user-iotlb.rst.
 */

#include "qemu/osdep.h"
#include "fake-vhost.h"

/* Pages for buffers, each of which has its own entry */
#define BUFFER  10

static int setup_packed(void **state)
{
    setup(state);
    fake.vdev.guest_features = BIT_ULL(VIRTIO_F_RING_PACKED);
    start_queue(0);
    for (unsigned page = 0; page < 100; page++) {
        map_apart(page, IOMMU_RW);
    }
    return 0;
}

#define PACKED_TEST(name) cmocka_unit_test_setup_teardown(test_ ## name, \
                                                  setup_packed, teardown)

/* Any invalidation makes QEMU look at the rings */
static void look(void)
{
    assert_int_equal(invalidate(200, 1), 0);
}

static bool has(unsigned page)
{
    return cached_perm(page) == VHOST_ACCESS_RW;
}

/* 2.8.1: the buffers that are available and not used, in order */
static void test_available(void **state)
{
    post_packed(0, IOVA_OF(BUFFER), PAGE, 0);
    post_packed(0, IOVA_OF(BUFFER + 1), PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), true), 0);
    assert_true(has(AVAIL_PAGE(0)));
    assert_true(has(USED_PAGE(0)));
    assert_true(has(BUFFER));
    assert_true(has(BUFFER + 1));
    assert_true(find_cached(IOVA_OF(BUFFER + 1), IOVA_OF(BUFFER + 1)) <
                find_cached(IOVA_OF(BUFFER), IOVA_OF(BUFFER)));
    assert_false(has(BUFFER + 2));
}

/* The wrap counter changes with each round (2.8.1) */
static void test_rounds(void **state)
{
    assert_int_equal(miss(DESC_PAGE(0), true), 0);
    for (unsigned i = 0; i < 5 * QUEUE_SIZE; i++) {
        post_packed(0, IOVA_OF(BUFFER + i), PAGE, VRING_DESC_F_WRITE);
        forget_sent();
        look();
        assert_true(has(BUFFER + i));
        assert_int_equal(fake.sent->len, 1);
        use_packed(0, i);
    }
    assert_int_equal(stats().misses, 1);
}

/* A whole round at once, and none between two looks */
static void test_full_round(void **state)
{
    assert_int_equal(miss(DESC_PAGE(0), true), 0);
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < QUEUE_SIZE; i++) {
            post_packed(0, IOVA_OF(BUFFER + round * QUEUE_SIZE + i), PAGE,
                        VRING_DESC_F_WRITE);
        }
        look();
        look();
        for (unsigned i = 0; i < QUEUE_SIZE; i++) {
            assert_true(has(BUFFER + round * QUEUE_SIZE + i));
            use_packed(0, round * QUEUE_SIZE + i);
        }
    }
}

/* The device has been used before QEMU first looks */
static void test_late_start(void **state)
{
    for (unsigned i = 0; i < 13; i++) {
        post_packed(0, IOVA_OF(BUFFER + i), PAGE, VRING_DESC_F_WRITE);
        if (i < 10) {
            use_packed(0, i);
        }
    }
    assert_int_equal(miss(DESC_PAGE(0), true), 0);
    for (unsigned i = 0; i < 13; i++) {
        assert_int_equal(has(BUFFER + i), i >= 10);
    }
    post_packed(0, IOVA_OF(BUFFER + 13), PAGE, VRING_DESC_F_WRITE);
    look();
    assert_true(has(BUFFER + 13));
}

/*
 * The driver gets a round ahead while QEMU does not look.  The next miss finds
 * its position.
 */
static void test_overtaken(void **state)
{
    for (unsigned rounds = 1; rounds < 4; rounds++) {
        vhost_iotlb_reset(&fake.dev);
        g_array_set_size(fake.cache, 0);
        memset(descs(0), 0, PAGE);
        fake.queues[0].next = 0;
        assert_int_equal(miss(DESC_PAGE(0), true), 0);
        for (unsigned i = 0; i < rounds * QUEUE_SIZE + 3; i++) {
            post_packed(0, IOVA_OF(BUFFER + i), PAGE, VRING_DESC_F_WRITE);
            if (i < rounds * QUEUE_SIZE) {
                use_packed(0, i);
            }
        }
        look();
        assert_int_equal(miss(1, true), 0);
        for (unsigned i = 0; i < 3; i++) {
            assert_true(has(BUFFER + rounds * QUEUE_SIZE + i));
        }
        assert_false(has(BUFFER));
    }
}

/* 2.8.7: an indirect table, which has no chains */
static void test_indirect(void **state)
{
    struct vring_packed_desc *d =
        (void *)(fake.ram + fake.table[BUFFER].page * PAGE);

    d[0] = (struct vring_packed_desc) {
        .addr = cpu_to_le64(IOVA_OF(BUFFER + 1)), .len = cpu_to_le32(16),
    };
    d[1] = (struct vring_packed_desc) {
        .addr = cpu_to_le64(IOVA_OF(BUFFER + 2)), .len = cpu_to_le32(16),
        .flags = cpu_to_le16(VRING_DESC_F_WRITE),
    };
    d[2].addr = cpu_to_le64(IOVA_OF(BUFFER + 3));
    d[2].len = cpu_to_le32(16);
    post_packed(0, IOVA_OF(BUFFER), 2 * sizeof(*d), VRING_DESC_F_INDIRECT);
    assert_int_equal(miss(DESC_PAGE(0), true), 0);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(has(BUFFER + i));
    }
    assert_false(has(BUFFER + 3));
}

/* record: whatever is in the ring, the work is limited */
static void test_lies(void **state)
{
    const uint16_t flags[] = {
        0, 0xffff, 1 << VRING_PACKED_DESC_F_AVAIL,
        1 << VRING_PACKED_DESC_F_USED,
        1 << VRING_PACKED_DESC_F_AVAIL | VRING_DESC_F_INDIRECT,
    };

    assert_int_equal(miss(DESC_PAGE(0), true), 0);
    for (unsigned i = 0; i < 200; i++) {
        for (unsigned pos = 0; pos < QUEUE_SIZE; pos++) {
            struct vring_packed_desc *d = (void *)&descs(0)[pos];

            d->addr = cpu_to_le64(i % 3 ? IOVA_OF(i % 100) : -PAGE);
            d->len = cpu_to_le32(-(i & 1));
            d->flags = cpu_to_le16(flags[(i * 7 + pos * i) %
                                         ARRAY_SIZE(flags)]);
        }
        fake.peeks = 0;
        look();
        assert_in_range(fake.peeks, 0, 1100);
        fake.peeks = 0;
        assert_int_equal(miss(i % 50, true), 0);
        assert_in_range(fake.peeks, 0, 8192);
        take_turn();
    }
}

/* The descriptors are not mapped (any more) */
static void test_ring_gone(void **state)
{
    post_packed(0, IOVA_OF(BUFFER), PAGE, VRING_DESC_F_WRITE);
    unmap(DESC_PAGE(0));
    assert_int_equal(miss(1, true), 0);
    assert_false(has(BUFFER));
    map_apart(DESC_PAGE(0), IOMMU_RW);
    assert_int_equal(miss(2, true), 0);
    assert_true(has(BUFFER));
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        PACKED_TEST(available),
        PACKED_TEST(rounds),
        PACKED_TEST(full_round),
        PACKED_TEST(late_start),
        PACKED_TEST(overtaken),
        PACKED_TEST(indirect),
        PACKED_TEST(lies),
        PACKED_TEST(ring_gone),
    };

    return cmocka_run_group_tests_name("vhost-iotlb-packed", tests, NULL,
                                       NULL);
}
