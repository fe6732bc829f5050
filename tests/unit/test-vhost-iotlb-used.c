/*
 * Unit tests of the IOTLB record of vhost: buffers that the device has used
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A driver unmaps the buffers of the used ring one after another, in their
 * order.  With the first of them, the record drops those of the others.
 *
 * Section numbers are those of VIRTIO 1.3; "record" refers to
 * docs/devel/vhost-user-iotlb.rst.
 */

#include "qemu/osdep.h"
#include "fake-vhost.h"

#define BUFFERS     5
#define USED        3

/* The device has used the buffer at @head (2.7.8) */
static void use(int n, uint16_t head)
{
    uint16_t idx = le16_to_cpu(used(n)->idx);

    used(n)->ring[idx % QUEUE_SIZE].id = cpu_to_le32(head);
    used(n)->idx = cpu_to_le16(idx + 1);
}

static void post_and_fetch(int n, unsigned page, uint16_t flags)
{
    for (unsigned i = 0; i < BUFFERS; i++) {
        map_apart(page + i, flags ? IOMMU_RW : IOMMU_RO);
        post(n, i, IOVA_OF(page + i) + 100, 200, flags);
    }
    assert_int_equal(miss(page, flags), 0);
}

static void check_cached(unsigned page, unsigned first)
{
    for (unsigned i = 0; i < BUFFERS; i++) {
        assert_int_equal(!!cached_perm(page + i), i >= first);
    }
}

static void unmap_used(unsigned page)
{
    forget_sent();
    unmap(page);
    assert_int_equal(invalidate(page, 1), 0);
}

/* Of buffers that the device reads and of those that it writes */
static void check_used(uint16_t flags)
{
    start_queue(0);
    post_and_fetch(0, 10, flags);
    for (unsigned i = 0; i < USED; i++) {
        use(0, i);
    }
    unmap_used(10);
    check_cached(10, USED);
    /* Nothing remains to be done for the others */
    for (unsigned i = 1; i < USED; i++) {
        unmap_used(10 + i);
        assert_int_equal(fake.sent->len, 0);
    }
    assert_int_equal(stats().dropped, USED);
    check_cached(10, USED);

    /* The same for those that the device uses next */
    use(0, 3);
    use(0, 4);
    unmap_used(13);
    check_cached(10, BUFFERS);
}

static void test_used_read(void **state)
{
    check_used(0);
}

static void test_used_written(void **state)
{
    check_used(VRING_DESC_F_WRITE);
}

/* All buffers of a chain, and the indirect table (2.7.5.3) */
static void test_used_chain(void **state)
{
    struct vring_desc *d;

    start_queue(0);
    for (unsigned page = 10; page < 16; page++) {
        map_apart(page, IOMMU_RO);
    }
    post(0, 0, IOVA_OF(10), PAGE, 0);
    d = descs(0);
    set_desc(&d[1], IOVA_OF(11), PAGE, VRING_DESC_F_NEXT, 2);
    set_desc(&d[2], IOVA_OF(12), PAGE, 0, 0);
    make_available(0, 1);
    d = (struct vring_desc *)(fake.ram + fake.table[13].page * PAGE);
    set_desc(&d[0], IOVA_OF(14), PAGE, VRING_DESC_F_NEXT, 1);
    set_desc(&d[1], IOVA_OF(15), PAGE, 0, 0);
    post(0, 3, IOVA_OF(13), 2 * sizeof(*d), VRING_DESC_F_INDIRECT);
    assert_int_equal(miss(10, false), 0);
    for (unsigned page = 10; page < 16; page++) {
        assert_int_equal(cached_perm(page), VHOST_ACCESS_RO);
    }
    use(0, 0);
    use(0, 1);
    use(0, 3);
    unmap_used(10);
    for (unsigned page = 10; page < 16; page++) {
        assert_int_equal(cached_perm(page), 0);
    }
}

/* The driver unmaps something else */
static void test_used_other(void **state)
{
    start_queue(0);
    start_queue(1);
    post_and_fetch(0, 10, 0);
    fill(20, 1);
    use(0, 0);
    use(0, 1);
    unmap_used(20);
    check_cached(10, 0);
    /* A later buffer of the ring */
    unmap_used(11);
    assert_int_equal(cached_perm(10), VHOST_ACCESS_RO);
    /* This one is the first */
    use(0, 2);
    unmap_used(10);
    check_cached(10, 3);
}

/* Each queue on its own */
static void test_used_queues(void **state)
{
    start_queue(0);
    start_queue(1);
    post_and_fetch(0, 10, 0);
    post_and_fetch(1, 20, VRING_DESC_F_WRITE);
    for (unsigned i = 0; i < USED; i++) {
        use(0, i);
        use(1, i);
    }
    unmap_used(20);
    check_cached(10, 0);
    check_cached(20, USED);
    unmap_used(10);
    check_cached(10, USED);
}

/* The driver keeps a mapping that is larger than the buffer */
static void test_used_kept(void **state)
{
    start_queue(0);
    map_apart(10, IOMMU_RW);
    map(12, 40, IOMMU_RW);
    map(13, 41, IOMMU_RW);
    post(0, 1, IOVA_OF(12), 2 * PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(10, true), 0);
    post(0, 0, IOVA_OF(10), PAGE, VRING_DESC_F_WRITE);
    post(0, 2, IOVA_OF(12), PAGE, VRING_DESC_F_WRITE);
    use(0, 0);
    use(0, 2);
    unmap_used(10);
    assert_int_equal(cached_perm(12), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(13), VHOST_ACCESS_RW);
}

static unsigned late_calls;

static void second_late_miss(void)
{
    if (++late_calls == 2) {
        assert_int_equal(miss(11, false), 0);
    }
}

/*
 * record: a miss that the back-end sent before it received the translation has
 * an answer, although the driver has unmapped the buffer
 */
static void test_used_late_miss(void **state)
{
    start_queue(0);
    post_and_fetch(0, 10, 0);
    use(0, 0);
    use(0, 1);
    late_calls = 0;
    fake.late_miss = second_late_miss;
    unmap(11);
    unmap_used(10);
    fake.late_miss = NULL;
    assert_int_equal(late_calls, 2);
    check_cached(10, 2);
    assert_int_equal(stats().faults, 0);
}

/* More used elements than the queue has: the driver does not unmap them */
static void test_used_backlog(void **state)
{
    start_queue(0);
    post_and_fetch(0, 10, 0);
    use(0, 0);
    used(0)->idx = cpu_to_le16(QUEUE_SIZE + 1);
    unmap_used(10);
    check_cached(10, 1);
}

/* Elements that have no translation any more do not hold up the others */
static void test_used_gone(void **state)
{
    start_queue(0);
    post_and_fetch(0, 10, 0);
    assert_int_equal(vhost_iotlb_drop(&fake.dev, IOVA_OF(10), IOVA_OF(11)), 0);
    for (unsigned i = 0; i < BUFFERS; i++) {
        use(0, i);
    }
    unmap_used(10);
    check_cached(10, 2);
    unmap_used(12);
    check_cached(10, BUFFERS);
}

/*
 * The driver announces a mapping (VT-d 11.4.2, CAP.CM), and the device uses the
 * buffer before the next pass, which does not send its translation again
 */
static void test_used_before_scan(void **state)
{
    start_queue(0);
    post_and_fetch(0, 10, 0);
    map_apart(20, IOMMU_RO);
    assert_int_equal(invalidate(20, 1), 0);
    assert_int_equal(cached_perm(20), VHOST_ACCESS_RO);
    for (unsigned i = 0; i < BUFFERS; i++) {
        use(0, i);
    }
    post(0, BUFFERS, IOVA_OF(20), PAGE, 0);
    use(0, BUFFERS);
    unmap_used(10);
    assert_int_equal(cached_perm(20), 0);
}

/*
 * Two receive buffers share a page, which is mapped as a whole: the device has
 * used one of them, and the other one is available
 */
static void test_used_shared_page(void **state)
{
    start_queue(0);
    for (unsigned page = 20; page < 22; page++) {
        map_apart(page, IOMMU_RW);
        for (unsigned i = 0; i < 2; i++) {
            post(0, 2 * (page - 20) + i, IOVA_OF(page) + i * PAGE / 2, PAGE / 2,
                 VRING_DESC_F_WRITE);
        }
    }
    assert_int_equal(miss(20, true), 0);
    for (unsigned i = 0; i < 3; i++) {
        use(0, i);
    }
    unmap_used(20);
    assert_int_equal(cached_perm(20), 0);
    assert_int_equal(cached_perm(21), VHOST_ACCESS_RW);
}

/* A buffer whose first pages belong to a larger translation */
static void test_used_straddles(void **state)
{
    start_queue(0);
    map_apart(10, IOMMU_RW);
    for (unsigned page = 20; page < 22; page++) {
        map(page, 200 + page, IOMMU_RW);
    }
    map_apart(22, IOMMU_RW);
    post(0, 1, IOVA_OF(20), 2 * PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(10, true), 0);
    used(0)->idx = cpu_to_le16(1);
    post(0, 0, IOVA_OF(10), PAGE, VRING_DESC_F_WRITE);
    post(0, 2, IOVA_OF(21), 2 * PAGE, VRING_DESC_F_WRITE);
    fill(30, 1);
    use(0, 0);
    use(0, 2);
    unmap_used(10);
    assert_int_equal(cached_perm(20), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(22), 0);
}

/*
 * Lazy invalidations are those of a domain.  The heads of the used ring belong
 * to other buffers by then.
 */
static void test_used_lazy(void **state)
{
    start_queue(0);
    post_and_fetch(0, 10, VRING_DESC_F_WRITE);
    use(0, 0);
    use(0, 1);
    unmap(10);
    unmap(11);
    map_apart(31, IOMMU_RW);
    post(0, 1, IOVA_OF(31), PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(31, true), 0);
    forget_sent();
    assert_int_equal(invalidate(0, NR_PAGES), 0);
    assert_int_equal(fake.sent->len, 1);
    assert_int_equal(cached_perm(31), VHOST_ACCESS_RW);
}

/* 2.7.8: one used element for a batch of buffers; the others are old */
static void test_used_in_order(void **state)
{
    start_queue(0);
    fake.vdev.guest_features = BIT_ULL(VIRTIO_F_IN_ORDER);
    post_and_fetch(0, 10, 0);
    use(0, 0);
    use(0, 4);
    unmap_used(10);
    check_cached(10, 1);
}

/* Rings that lie: heads beyond the table, and a chain that is a loop */
static void test_used_lies(void **state)
{
    start_queue(0);
    post_and_fetch(0, 10, 0);
    use(0, 0);
    for (unsigned i = 1; i < QUEUE_SIZE; i++) {
        used(0)->ring[i].id = cpu_to_le32(i * 0x11110000 + QUEUE_SIZE + i);
    }
    used(0)->ring[2].id = cpu_to_le32(6);
    used(0)->ring[3].id = cpu_to_le32(2);
    set_desc(&descs(0)[6], IOVA_OF(11), 1, VRING_DESC_F_NEXT, 7);
    set_desc(&descs(0)[7], UINT64_MAX - 1, 200, VRING_DESC_F_NEXT, 6);
    used(0)->idx = cpu_to_le16(QUEUE_SIZE);
    unmap_used(10);
    /* The work was at its limit in the loop, so that 12 was not reached */
    assert_int_equal(cached_perm(11), 0);
    assert_int_equal(cached_perm(12), VHOST_ACCESS_RO);
    assert_int_equal(cached_perm(13), VHOST_ACCESS_RO);
    assert_int_equal(fake.sent->len, 1);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(used_read),
        TEST(used_written),
        TEST(used_chain),
        TEST(used_other),
        TEST(used_queues),
        TEST(used_kept),
        TEST(used_late_miss),
        TEST(used_backlog),
        TEST(used_gone),
        TEST(used_before_scan),
        TEST(used_shared_page),
        TEST(used_straddles),
        TEST(used_lazy),
        TEST(used_in_order),
        TEST(used_lies),
    };

    return cmocka_run_group_tests_name("vhost-iotlb-used", tests, NULL, NULL);
}
