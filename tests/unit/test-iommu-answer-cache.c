/*
 * Unit tests of the cache of answers to translation requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tests check that hw/i386/iommu_answer_cache.c finds answers in every
 * slot, and that it finds none of them after an invalidation.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/memalign.h"
#include "qemu/units.h"
#include "exec/address-spaces.h"
#include "hw/pci/pci.h"
#include "hw/i386/iommu_answer_cache.h"

#define PAGE        4096ULL
#define SID         0x20
#define PASID       1

AddressSpace address_space_memory;
static IOMMUAnswerCache *cache;

static int setup(void **state)
{
    cache = iommu_answers_new();
    return 0;
}

static int teardown(void **state)
{
    qemu_vfree(cache);
    return 0;
}

static IOMMUAnswerKey key(uint64_t addr)
{
    return (IOMMUAnswerKey) { .sid = SID, .pasid = PASID, .addr = addr };
}

/* Adds an answer for the whole page, which depends on the key only */
static void add(IOMMUAnswerKey k)
{
    IOMMUTLBEntry entry = {
        .translated_addr = ~k.addr & ~(PAGE - 1),
        .addr_mask = PAGE - 1,
        .perm = IOMMU_RW,
    };

    iommu_answers_add(cache, iommu_answers_generation(cache, &k), &k, &entry);
}

static bool find(IOMMUAnswerKey k)
{
    IOMMUTLBEntry entry;

    if (!iommu_answers_find(cache, &k, k.addr + PAGE - 1, IOMMU_RW, &entry)) {
        return false;
    }
    assert_int_equal(entry.iova, k.addr);
    assert_int_equal(entry.translated_addr, ~k.addr & ~(PAGE - 1));
    assert_int_equal(entry.pasid, k.pasid);
    return true;
}

/* ---- Lookups ---- */

/* A request that differs in length, permissions or key finds no answer */
static void test_key(void **state)
{
    IOMMUAnswerKey k = key(5 * PAGE), other;
    IOMMUTLBEntry entry = {
        .translated_addr = 7 * PAGE,
        .addr_mask = PAGE - 1,
        .perm = IOMMU_RO,
    };

    iommu_answers_add(cache, iommu_answers_generation(cache, &k), &k, &entry);
    assert_true(iommu_answers_find(cache, &k, 6 * PAGE - 1, IOMMU_RO, &entry));
    assert_false(iommu_answers_find(cache, &k, 6 * PAGE, IOMMU_RO, &entry));
    assert_false(iommu_answers_find(cache, &k, 6 * PAGE - 1, IOMMU_RW,
                                    &entry));
    add(k);
    assert_true(find(k));
    other = k;
    other.priv = true;
    assert_false(find(other));
    /* Some of these keys share the slot. */
    other = k;
    for (other.sid = 0; other.sid < 64 * 256; other.sid++) {
        assert_true(other.sid == SID || !find(other));
    }
    other = k;
    for (other.pasid = 0; other.pasid < 64 * 256; other.pasid++) {
        assert_true(other.pasid == PASID || !find(other));
    }
}

/* Neighbouring pages have different slots, wherever they begin */
static void test_neighbours(void **state)
{
    const unsigned n = IOMMU_ANSWER_CACHE_SIZE / 2;

    for (uint64_t first = 0; first < 8 * MiB; first += 37 * PAGE) {
        for (unsigned i = 0; i < n; i++) {
            add(key(first + i * PAGE));
        }
        for (unsigned i = 0; i < n; i++) {
            assert_true(find(key(first + i * PAGE)));
        }
    }
}

static const uint64_t distances[] = {
    PAGE, 64 * KiB, MiB, 2 * MiB, 4 * MiB, 32 * MiB, GiB, 4 * GiB, 512 * GiB,
};

static uint64_t place(int distance, unsigned i)
{
    return GiB + i * distances[distance];
}

/* So have pages at the same offset of buffers, tables or huge pages */
static void test_distances(void **state)
{
    const unsigned n = 64;

    for (int d = 0; d < ARRAY_SIZE(distances); d++) {
        for (unsigned i = 0; i < n; i++) {
            add(key(place(d, i)));
        }
        for (unsigned i = 0; i < n; i++) {
            assert_true(find(key(place(d, i))));
        }
    }
}

/* ---- Invalidations (6.5.2.3, 6.5.2.4) ---- */

/* Fills every slot of the cache, with answers for several requesters */
static void fill(void)
{
    for (unsigned i = 0; i < 8 * IOMMU_ANSWER_CACHE_SIZE; i++) {
        IOMMUAnswerKey k = key(i * PAGE);

        k.pasid += i % 3;
        add(k);
        k.pasid = PCI_NO_PASID;
        k.addr += GiB;
        add(k);
    }
    for (int d = 0; d < ARRAY_SIZE(distances); d++) {
        for (unsigned i = 0; i < 64; i++) {
            add(key(place(d, i)));
        }
    }
}

/* Counts the answers for @pasid, at all addresses of fill() */
static unsigned count(uint32_t pasid)
{
    IOMMUAnswerKey k;
    unsigned n = 0;

    for (unsigned i = 0; i < 8 * IOMMU_ANSWER_CACHE_SIZE; i++) {
        k = key(i * PAGE + (pasid == PCI_NO_PASID ? GiB : 0));
        k.pasid = pasid;
        n += find(k);
    }
    for (int d = 0; pasid == PASID && d < ARRAY_SIZE(distances); d++) {
        for (unsigned i = 0; i < 64; i++) {
            n += find(key(place(d, i)));
        }
    }
    return n;
}

static void test_invalidate(void **state)
{
    fill();
    assert_int_not_equal(count(PASID), 0);
    assert_int_not_equal(count(PASID + 1), 0);
    assert_int_not_equal(count(PCI_NO_PASID), 0);
    iommu_answers_invalidate(cache);
    assert_int_equal(count(PASID), 0);
    assert_int_equal(count(PASID + 1), 0);
    assert_int_equal(count(PCI_NO_PASID), 0);
    fill();
    assert_int_not_equal(count(PASID), 0);
}

/* 6.2.1: drops answers to requests without PASID, too: they use RID_PASID */
static void test_invalidate_pasid(void **state)
{
    unsigned others;

    fill();
    others = count(PASID + 1);
    iommu_answers_invalidate_pasid(cache, PASID);
    assert_int_equal(count(PASID), 0);
    assert_int_equal(count(PCI_NO_PASID), 0);
    assert_int_not_equal(others, 0);
    assert_int_equal(count(PASID + 1), others);
}

/* An answer that was computed before an invalidation is not added after it */
static void test_invalidate_meanwhile(void **state)
{
    IOMMUAnswerKey k = key(PAGE);
    IOMMUTLBEntry entry = { .addr_mask = PAGE - 1, .perm = IOMMU_RW };
    uint64_t generation = iommu_answers_generation(cache, &k);

    iommu_answers_invalidate_pasid(cache, PASID);
    iommu_answers_add(cache, generation, &k, &entry);
    assert_false(find(k));
    generation = iommu_answers_generation(cache, &k);
    iommu_answers_invalidate(cache);
    iommu_answers_add(cache, generation, &k, &entry);
    assert_false(find(k));
    add(k);
    assert_true(find(k));
}

/* A cache that was never filled has no answers, not even for address 0 */
static void test_empty(void **state)
{
    assert_false(find(key(0)));
    assert_false(find((IOMMUAnswerKey) { }));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_ ## name, setup, \
                                                   teardown)
    const struct CMUnitTest tests[] = {
        TEST(key),
        TEST(neighbours),
        TEST(distances),
        TEST(invalidate),
        TEST(invalidate_pasid),
        TEST(invalidate_meanwhile),
        TEST(empty),
    };
#undef TEST

    return cmocka_run_group_tests_name("intel-iommu-ats-cache", tests, NULL,
                                       NULL);
}
