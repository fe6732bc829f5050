/*
 * Unit tests of the IOTLB record of vhost: random sequences
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Misses, invalidations, new and used buffers in random order.
 *
 * Environment:
 *   IOTLB_TEST_SEED   seed of the random sequence (printed; default: the time)
 *   IOTLB_TEST_STEPS  its length (default 20000)
 */

#include "qemu/osdep.h"
#include "hw/iommu_batch.h"
#include "hw/virtio/vhost-iotlb-rings.h"
#include "fake-vhost.h"
#include "test-random.h"

#define RANDOM_PAGES    64

/* The record contains all entries of the back-end, and none is stale */
static void check_backend(void)
{
    assert_in_range(stats().entries, 0, CAPACITY);
    for (unsigned page = 0; page < RANDOM_PAGES; page++) {
        int perm = cached_perm(page);

        if (perm) {
            assert_true(vhost_iotlb_is_recorded(fake.dev.iotlb,
                                                IOVA_OF(page)));
            assert_int_not_equal(fake.table[page].perm, IOMMU_NONE);
        }
        if (perm == VHOST_ACCESS_RW) {
            assert_true(fake.table[page].perm & IOMMU_WO);
        }
    }
}

static uint64_t seed;

/* Misses that have arrived before an invalidation is processed */
static void late_miss(void)
{
    uint64_t r = random64(&seed);

    if (!(r & 3)) {
        miss((r >> 8) % RANDOM_PAGES, r >> 24 & 1);
    }
}

/* The device uses some of the available buffers, and names random ones */
static void use_some(uint64_t r)
{
    uint16_t idx = le16_to_cpu(used(0)->idx);
    uint16_t end = le16_to_cpu(avail(0)->idx);

    for (; idx != end && r & 7; r >>= 3) {
        used(0)->ring[idx++ % QUEUE_SIZE].id = cpu_to_le32(r >> 3 & 15);
    }
    used(0)->idx = cpu_to_le16(idx);
}

static void test_random(void **state)
{
    uint64_t steps = env_number("IOTLB_TEST_STEPS", 20000);
    bool batch = false;

    seed = env_seed("IOTLB_TEST_SEED");
    fake.late_miss = late_miss;
    start_queue(0);
    while (steps--) {
        uint64_t r = random64(&seed);
        unsigned page = (r >> 8) % RANDOM_PAGES;
        unsigned n = 1 + (r >> 16) % 8;
        bool write = r >> 24 & 1;
        bool fits = write ? fake.table[page].perm & IOMMU_WO :
                            fake.table[page].perm & IOMMU_RO;
        int ret;

        n = MIN(n, RANDOM_PAGES - page);
        switch (r % 5) {
        case 0:
        case 1:
            ret = miss(page, write);
            assert_int_equal(ret, fits ? 0 : -EFAULT);
            break;
        case 2:
            if ((uint16_t)(fake.queues[0].next -
                           le16_to_cpu(used(0)->idx)) < QUEUE_SIZE) {
                post(0, (r >> 32) % QUEUE_SIZE, IOVA_OF(page) + (r >> 52),
                     n * PAGE / 2, write ? VRING_DESC_F_WRITE : 0);
            }
            use_some(random64(&seed));
            break;
        case 3:
            for (unsigned i = 0; i < n; i++) {
                map(page + i, (r >> 40) % 512 + i,
                    r >> 30 & 1 ? IOMMU_RW : IOMMU_RO);
            }
            assert_int_equal(invalidate(page, n), 0);
            break;
        case 4:
            for (unsigned i = 0; i < n; i++) {
                unmap(page + i);
            }
            assert_int_equal(invalidate(page, n), 0);
            break;
        }
        /* The guest does not know what is complete during a batch */
        if (!(r >> 44 & 7)) {
            if (batch) {
                iommu_batch_end();
            } else {
                iommu_batch_begin();
            }
            batch = !batch;
        }
        if (!batch) {
            check_backend();
        }
    }
    if (batch) {
        iommu_batch_end();
    }
    check_backend();
    fake.late_miss = NULL;
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        TEST(random),
    };

    return cmocka_run_group_tests_name("vhost-iotlb-random", tests, NULL, NULL);
}
