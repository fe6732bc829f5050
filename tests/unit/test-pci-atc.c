/*
 * Unit tests of the PCIe address translation cache
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Environment:
 *   ATC_TEST_SEED   seed of the random sequences (printed; default: the time)
 *   ATC_TEST_STEPS  length of each random sequence
 *   ATC_TEST_MS     run time of each test with threads
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/host-utils.h"
#include "qemu/processor.h"
#include "qemu/thread.h"
#include "hw/pci/pci_atc.h"
#include "hw/pci/pci_bus.h"
#include "pci-atc-model.h"
#include "test-random.h"

#define KIB 1024ull
#define MIB (1024 * KIB)
#define GIB (1024 * MIB)

static uint64_t seed;

static uint32_t below(uint64_t *state, uint32_t n)
{
    return random64(state) % n;
}

/* Short forms of single calls */

static bool fill(PCIATC *atc, uint32_t pasid, hwaddr iova, hwaddr xlat,
                 hwaddr size, int perm)
{
    IOMMUTLBEntry e = entry(iova, xlat, size, perm);

    return pci_atc_fill_commit(atc, pci_atc_fill_begin(atc), pasid, &e, 1);
}

static bool cached(PCIATC *atc, uint32_t pasid, hwaddr addr, uint32_t need)
{
    PCIATCRun run;

    return lookup(atc, pasid, addr, 1, need, &run);
}

static void assert_run(PCIATC *atc, uint32_t pasid, hwaddr addr, hwaddr len,
                       uint32_t need, hwaddr xlat, hwaddr run_len,
                       uint32_t flags)
{
    PCIATCRun run;

    assert_true(lookup(atc, pasid, addr, len, need, &run));
    assert_int_equal(run.translated_addr, xlat);
    assert_int_equal(run.length, run_len);
    assert_int_equal(run.flags, flags);
}

/* Boundaries */

static void test_sizes(void **state)
{
    /* 10.2.3.2: with S = 1, any power of two from 8 KiB up */
    for (unsigned order = 0; order <= 52; order++) {
        hwaddr mask = order_mask(order);
        hwaddr base = (UINT64_MAX & ~mask) - (order < 51 ? mask + 1 : 0);
        hwaddr xlat = 0x123456789abcdef0ull & ~mask;
        PCIATC *atc = pci_atc_new(64);

        base &= ~mask;
        assert_false(cached(atc, 1, base, 0));
        /* Bits below the size are ignored. */
        assert_true(fill(atc, 1, base + 0x555, xlat + 0x555, mask + 1, R));
        assert_run(atc, 1, base, 1, R, xlat, 1, R);
        assert_run(atc, 1, base | mask, 1, R, xlat | mask, 1, R);
        assert_run(atc, 1, base + 0xabc, UINT64_MAX, R, xlat + 0xabc,
                   (base | mask) - (base + 0xabc) + 1, R);
        if (order < 52) {
            assert_false(cached(atc, 1, (base | mask) + 1, 0));
            assert_false(cached(atc, 1, base - 1, 0));
            /* The neighbouring pages are not part of the entry. */
            pci_atc_invalidate(atc, 1, (base | mask) + 1, (base | mask) + 1);
            pci_atc_invalidate(atc, 1, base - 1, base - 1);
            assert_true(cached(atc, 1, base, 0));
        }
        pci_atc_invalidate(atc, 1, base | mask, base | mask);
        assert_false(cached(atc, 1, base, 0));
        assert_int_equal(stats_of(atc).dropped, 1);
        pci_atc_free(atc);
    }
}

static void test_address_limits(void **state)
{
    PCIATC *atc = pci_atc_new(64);
    hwaddr top = UINT64_MAX - 0xfff;

    assert_true(fill(atc, 1, 0, 0, 4 * KIB, R));
    assert_true(fill(atc, 1, top, 0x5000, 4 * KIB, R));
    assert_run(atc, 1, 0, 1, R, 0, 1, R);
    /* A run ends at the top of the address space, and does not wrap to 0. */
    assert_run(atc, 1, top + 0xff0, 0x2000, R, 0x5ff0, 0x10, R);
    assert_run(atc, 1, UINT64_MAX, UINT64_MAX, R, 0x5fff, 1, R);
    pci_atc_invalidate(atc, 1, UINT64_MAX, UINT64_MAX);
    assert_false(cached(atc, 1, top, 0));
    assert_true(cached(atc, 1, 0, 0));
    pci_atc_invalidate(atc, 1, 0, 0);
    assert_false(cached(atc, 1, 0, 0));
    pci_atc_free(atc);
}

static void test_pasids(void **state)
{
    static const uint32_t pasids[] = {
        0, 1, 63, 64, 65, 0x80000, 0xfffff, PCI_NO_PASID
    };
    PCIATC *atc = pci_atc_new(4096);

    for (int i = 0; i < ARRAY_SIZE(pasids); i++) {
        assert_true(fill(atc, pasids[i], 0, (i + 1) * MIB, 4 * KIB, R));
    }
    for (int i = 0; i < ARRAY_SIZE(pasids); i++) {
        assert_run(atc, pasids[i], 0, 1, R, (i + 1) * MIB, 1, R);
    }
    /* Invalidate each PASID separately, by range. */
    for (int i = 0; i < ARRAY_SIZE(pasids); i++) {
        pci_atc_invalidate(atc, pasids[i], 0, 0xfff);
        for (int j = 0; j < ARRAY_SIZE(pasids); j++) {
            assert_int_equal(cached(atc, pasids[j], 0, 0), j > i);
        }
    }
    /* Values that are no PASIDs are never found, and have no effect. */
    for (uint32_t bad = 0x100000; bad; bad <<= 1) {
        assert_false(fill(atc, bad, 0, 0, 4 * KIB, R));
        assert_false(cached(atc, bad, 0, 0));
        pci_atc_invalidate(atc, bad, 0, UINT64_MAX);
    }
    assert_false(fill(atc, PCI_ATC_ANY_PASID, 0, 0, 4 * KIB, R));
    assert_false(cached(atc, PCI_ATC_ANY_PASID, 0, 0));
    assert_int_equal(stats_of(atc).rejected, 13);
    assert_int_equal(stats_of(atc).invalidations, ARRAY_SIZE(pasids));
    pci_atc_free(atc);
}

typedef struct EntriesQuery {
    uint32_t pasid;
    uint64_t entries;
} EntriesQuery;

static void collect_entries(uint32_t pasid, uint64_t entries, void *opaque)
{
    EntriesQuery *q = opaque;

    assert_true(entries > 0);
    if (pasid == q->pasid) {
        assert_int_equal(q->entries, 0);
        q->entries = entries;
    }
}

static uint64_t entries_of(PCIATC *atc, uint32_t pasid)
{
    EntriesQuery q = { .pasid = pasid };

    pci_atc_foreach_pasid(atc, collect_entries, &q);
    return q.entries;
}

/* pci_atc_foreach_pasid() counts the present entries of each PASID */
static void test_entries_of_pasids(void **state)
{
    PCIATC *atc = pci_atc_new(4096);

    assert_int_equal(entries_of(atc, 0), 0);
    for (int i = 0; i < 5; i++) {
        assert_true(fill(atc, 0xfffff, i * 4 * KIB, 0, 4 * KIB, R));
    }
    /* PASIDs 7 and 71 share a bucket. */
    assert_true(fill(atc, 7, 0, 0, 4 * KIB, R));
    assert_true(fill(atc, 71, 0, 0, 2 * MIB, R));
    assert_true(fill(atc, PCI_NO_PASID, 0, 0, 4 * KIB, R));
    assert_true(fill(atc, PCI_NO_PASID, 0, 0, 4 * KIB, R));
    assert_int_equal(entries_of(atc, 0xfffff), 5);
    assert_int_equal(entries_of(atc, 7), 1);
    assert_int_equal(entries_of(atc, 71), 1);
    assert_int_equal(entries_of(atc, PCI_NO_PASID), 1);

    pci_atc_drop(atc, 0xfffff, 0, 0);
    pci_atc_drop(atc, PCI_NO_PASID, 0, UINT64_MAX);
    assert_int_equal(entries_of(atc, 0xfffff), 4);
    assert_int_equal(entries_of(atc, PCI_NO_PASID), 0);
    pci_atc_drop(atc, PCI_ATC_ANY_PASID, 0, UINT64_MAX);
    assert_int_equal(entries_of(atc, 0xfffff), 0);
    pci_atc_free(atc);
}

static void test_bad_entries(void **state)
{
    static const hwaddr bad_masks[] = {
        0, 1, 0x7ff, 0xffe, 0x1000, 0x1ffe, 0x2fff, 0xfffff000,
        UINT64_MAX - 1, UINT64_MAX - 0xfff, 1ull << 63,
    };
    PCIATC *atc = pci_atc_new(64);
    IOMMUTLBEntry e[3];

    for (int i = 0; i < ARRAY_SIZE(bad_masks); i++) {
        assert_false(fill(atc, 1, 0x1000, 0, bad_masks[i] + 1, R | W));
    }
    /* R = W = 0 grants nothing, and is not cached. */
    assert_false(fill(atc, 1, 0x1000, 0, 4 * KIB, 0));
    assert_false(fill(atc, 1, 0x1000, 0, 4 * KIB, X | PRIV | GLOBAL | U));
    assert_false(cached(atc, 1, 0x1000, 0));
    assert_int_equal(stats_of(atc).rejected, ARRAY_SIZE(bad_masks) + 2);

    /* A rejected entry does not affect the others. */
    e[0] = entry(0x1000, 0x11000, 4 * KIB, R);
    e[1] = entry(0x2000, 0x12000, 5 * KIB, R);
    e[2] = entry(0x3000, 0x13000, 4 * KIB, R);
    assert_int_equal(
        pci_atc_fill_commit(atc, pci_atc_fill_begin(atc), 1, e, 3), 2);
    assert_true(cached(atc, 1, 0x1000, R));
    assert_false(cached(atc, 1, 0x2000, 0));
    assert_true(cached(atc, 1, 0x3000, R));
    assert_int_equal(
        pci_atc_fill_commit(atc, pci_atc_fill_begin(atc), 1, NULL, 0), 0);

    /* Bits of perm that are no flags do not change the address. */
    assert_true(fill(atc, 1, 0x5000, 0x15000, 4 * KIB, 0xfc0 | R));
    assert_run(atc, 1, 0x5000, 1, R, 0x15000, 1, R);

    /* Length 0; a range that ends before it begins stands for all addresses. */
    assert_false(lookup(atc, 1, 0x1000, 0, R, &(PCIATCRun) {}));
    pci_atc_invalidate(atc, 1, 0x9000, 0x8fff);
    assert_int_equal(stats_of(atc).entries, 0);
    pci_atc_free(atc);
}

static void test_capacity(void **state)
{
    static const struct {
        uint32_t entries, capacity;
    } sizes[] = {
        { 0, 6 }, { 1, 6 }, { 6, 6 }, { 7, 12 }, { 64, 96 }, { 4096, 6144 },
        { PCI_ATC_MAX_ENTRIES, 98304 }, { UINT32_MAX, 98304 },
    };

    for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
        PCIATC *atc = pci_atc_new(sizes[i].entries);
        uint32_t n = sizes[i].capacity;

        assert_int_equal(stats_of(atc).capacity, n);
        /* All entries of a range as large as the ATC fit into the ATC. */
        for (uint32_t j = 0; j < n / PCI_ATC_WAYS; j++) {
            fill(atc, 5, j * 4 * KIB, j * 4 * KIB, 4 * KIB, R);
        }
        assert_run(atc, 5, 0, n * GIB, R, 0, n / PCI_ATC_WAYS * 4 * KIB, R);
        assert_int_equal(stats_of(atc).evictions, 0);
        /* Twice as many entries do not fit: the ATC evicts some. */
        for (uint32_t j = 0; j < 2 * n; j++) {
            assert_true(fill(atc, 5, j * 4 * KIB, 0, 4 * KIB, R));
            assert_true(cached(atc, 5, j * 4 * KIB, R));
        }
        assert_int_equal(stats_of(atc).entries, n);
        assert_int_equal(stats_of(atc).evictions, n);
        pci_atc_free(atc);
    }
    pci_atc_free(NULL);
}

static void test_ways(void **state)
{
    /* PCI_ATC_WAYS entries never displace each other, even in one set. */
    PCIATC *atc = pci_atc_new(1);

    for (int i = 0; i < PCI_ATC_WAYS; i++) {
        assert_true(fill(atc, i, (1 + i) * GIB, i * GIB, 4 * KIB << i, R));
    }
    for (int i = 0; i < PCI_ATC_WAYS; i++) {
        assert_run(atc, i, (1 + i) * GIB, 1, R, i * GIB, 1, R);
    }
    /* An entry that is in use stays while others are added and evicted. */
    pci_atc_invalidate(atc, PCI_ATC_ANY_PASID, 0, UINT64_MAX);
    assert_true(fill(atc, 1, 0, 0x1000, 4 * KIB, R));
    for (int i = 1; i < 100; i++) {
        assert_true(cached(atc, 1, 0, R));
        assert_true(fill(atc, 1, i * 4 * KIB, 0, 4 * KIB, R));
    }
    assert_true(cached(atc, 1, 0, R));
    pci_atc_free(atc);
}

static void test_permissions(void **state)
{
    PCIATC *atc = pci_atc_new(64);

    /* 10.2.3: Exe is meaningless without R. */
    assert_true(fill(atc, 1, 0, 0x8000, 4 * KIB, W | X));
    assert_run(atc, 1, 0, 1, W, 0x8000, 1, W);
    assert_false(cached(atc, 1, 0, R));
    assert_false(cached(atc, 1, 0, X));

    /* Same page, same translated address: the permissions are united. */
    assert_true(fill(atc, 1, 0, 0x8000, 4 * KIB, R | X | GLOBAL));
    assert_run(atc, 1, 0, 1, R | W | X, 0x8000, 1, R | W | X | GLOBAL);
    assert_int_equal(stats_of(atc).updates, 1);
    /* Another translated address: the new entry replaces the old one. */
    assert_true(fill(atc, 1, 0, 0x9000, 4 * KIB, R));
    assert_run(atc, 1, 0, 1, R, 0x9000, 1, R);
    assert_false(cached(atc, 1, 0, W));

    /* Privileged requests have entries of their own. */
    assert_false(cached(atc, 1, 0, R | PRIV));
    assert_true(fill(atc, 1, 0, 0xa000, 4 * KIB, R | W | PRIV));
    assert_run(atc, 1, 0, 1, W | PRIV, 0xa000, 1, R | W | PRIV);
    assert_run(atc, 1, 0, 1, R, 0x9000, 1, R);
    assert_false(cached(atc, 1, 0, W));
    pci_atc_invalidate(atc, 1, 0, 0);
    assert_false(cached(atc, 1, 0, PRIV));
    assert_false(cached(atc, 1, 0, 0));

    /* Untranslated access only: the address is the input address. */
    assert_true(fill(atc, 1, 0x4000, 0xdead0000, 4 * KIB, R | U));
    assert_run(atc, 1, 0x4123, 1, R, 0x4123, 1, R | U);
    assert_true(fill(atc, 1, 0x4000, 0x4000, 4 * KIB, R | W));
    assert_run(atc, 1, 0x4123, 1, R, 0x4123, 1, R | W);
    pci_atc_free(atc);
}

static void test_mixed_sizes(void **state)
{
    PCIATC *atc = pci_atc_new(4096);

    /* Large page, small page, invalidation of both, new entry. */
    assert_true(fill(atc, 1, 4 * MIB, 64 * MIB, 2 * MIB, R));
    assert_true(fill(atc, 1, 4 * MIB, 64 * MIB, 4 * KIB, R));
    pci_atc_invalidate(atc, 1, 4 * MIB, 4 * MIB + 0xfff);
    assert_false(cached(atc, 1, 4 * MIB, 0));
    assert_false(cached(atc, 1, 5 * MIB, 0));
    assert_true(fill(atc, 1, 4 * MIB, 80 * MIB, 4 * KIB, R));
    assert_run(atc, 1, 4 * MIB, 8 * KIB, R, 80 * MIB, 4 * KIB, R);
    assert_false(cached(atc, 1, 4 * MIB + 0x1000, 0));

    /* An invalidation of a large range drops the small pages in it. */
    assert_true(fill(atc, 1, 4 * MIB + 0x3000, 0, 4 * KIB, R));
    assert_true(fill(atc, 1, 6 * MIB, 0, 4 * KIB, R));
    pci_atc_invalidate(atc, 1, 4 * MIB, 6 * MIB - 1);
    assert_false(cached(atc, 1, 4 * MIB, 0));
    assert_false(cached(atc, 1, 4 * MIB + 0x3000, 0));
    assert_true(cached(atc, 1, 6 * MIB, 0));

    /*
     * An IOMMU may extend permissions without an invalidation: an old entry of
     * another size must not hide a new one, whichever is larger.
     */
    assert_true(fill(atc, 2, 0, 64 * MIB, 2 * MIB, R));
    assert_true(fill(atc, 2, 0x1000, 64 * MIB + 0x1000, 4 * KIB, R | W));
    assert_run(atc, 2, 0x1000, 0x1000, W, 64 * MIB + 0x1000, 0x1000, R | W);
    assert_run(atc, 2, 0x2000, 0x1000, R, 64 * MIB + 0x2000, 0x1000, R);
    assert_true(fill(atc, 3, 0x1000, 64 * MIB + 0x1000, 4 * KIB, R));
    assert_true(fill(atc, 3, 0, 64 * MIB, 2 * MIB, R | W));
    assert_run(atc, 3, 0x1000, 0x1000, W, 64 * MIB + 0x1000, 0x1000, R | W);
    pci_atc_free(atc);
}

static void test_runs(void **state)
{
    PCIATC *atc = pci_atc_new(4096);
    IOMMUTLBEntry e[512];

    for (int i = 0; i < 512; i++) {
        e[i] = entry(i * 4 * KIB, GIB + i * 4 * KIB, 4 * KIB, R | W);
    }
    assert_int_equal(
        pci_atc_fill_commit(atc, pci_atc_fill_begin(atc), 7, e, 512), 512);
    assert_run(atc, 7, 0, 2 * MIB, W, GIB, 2 * MIB, R | W);
    assert_int_equal(stats_of(atc).hits, 512);
    assert_run(atc, 7, 0x1800, 0x1000, W, GIB + 0x1800, 0x1000, R | W);
    assert_run(atc, 7, 0x1800, 4 * MIB, W, GIB + 0x1800, 2 * MIB - 0x1800,
               R | W);

    /* A run continues in larger pages, with the permissions that all have. */
    assert_true(fill(atc, 7, 2 * MIB, GIB + 2 * MIB, 2 * MIB, R | X));
    assert_true(fill(atc, 7, 4 * MIB, GIB + 4 * MIB, 64 * KIB, R | W));
    assert_run(atc, 7, 0, 16 * MIB, R, GIB, 4 * MIB + 64 * KIB, R);
    assert_run(atc, 7, 0, 16 * MIB, W, GIB, 2 * MIB, R | W);
    assert_run(atc, 7, 2 * MIB, 16 * MIB, R, GIB + 2 * MIB,
               2 * MIB + 64 * KIB, R);

    /* A missing page, another translated address, and a change of U end it. */
    pci_atc_invalidate(atc, 7, 0x8000, 0x8000);
    assert_run(atc, 7, 0, 2 * MIB, R, GIB, 0x8000, R | W);
    assert_true(fill(atc, 7, 0x8000, GIB, 4 * KIB, R | W));
    assert_run(atc, 7, 0, 2 * MIB, R, GIB, 0x8000, R | W);
    /* The end of the translated address space ends a run, too. */
    assert_true(fill(atc, 9, 0, UINT64_MAX, 4 * KIB, R));
    assert_true(fill(atc, 9, 0x1000, 0, 4 * KIB, R));
    assert_run(atc, 9, 0, 2 * MIB, R, UINT64_MAX - 0xfff, 0x1000, R);
    assert_true(fill(atc, 8, 0, 0, 4 * KIB, R));
    assert_true(fill(atc, 8, 0x1000, 0, 4 * KIB, R | U));
    assert_true(fill(atc, 8, 0x2000, 0, 4 * KIB, R | U));
    assert_true(fill(atc, 8, 0x3000, 0x3000, 4 * KIB, R));
    assert_run(atc, 8, 0, 2 * MIB, R, 0, 0x1000, R);
    assert_run(atc, 8, 0x1000, 2 * MIB, R, 0x1000, 0x2000, R | U);
    pci_atc_free(atc);
}

/* Invalidation */

static void test_invalidate_all_pasids(void **state)
{
    PCIATC *atc = pci_atc_new(4096);
    uint32_t n = 0;

    /* 10.3.8: Global Invalidate, every skew and every bucket */
    for (uint32_t pasid = 0; pasid < 130; pasid++) {
        assert_true(fill(atc, pasid, pasid * 4 * KIB, 0, 4 * KIB, R));
        assert_true(fill(atc, pasid, GIB, 0, 4 * KIB, R));
        n += 2;
    }
    assert_true(fill(atc, PCI_NO_PASID, GIB, 0, 2 * MIB, R));
    n++;
    n -= stats_of(atc).evictions;
    assert_int_equal(stats_of(atc).entries, n);
    pci_atc_invalidate(atc, PCI_ATC_ANY_PASID, GIB, GIB + 0xfff);
    for (uint32_t pasid = 0; pasid < 130; pasid++) {
        assert_false(cached(atc, pasid, GIB, 0));
    }
    assert_false(cached(atc, PCI_NO_PASID, GIB, 0));
    assert_true(cached(atc, 0, 0, 0));
    assert_true(cached(atc, 129, 129 * 4 * KIB, 0));

    pci_atc_invalidate(atc, PCI_ATC_ANY_PASID, 0, UINT64_MAX);
    assert_int_equal(stats_of(atc).entries, 0);
    for (uint32_t pasid = 0; pasid < 130; pasid++) {
        assert_false(cached(atc, pasid, pasid * 4 * KIB, 0));
    }
    pci_atc_free(atc);
}

static void test_invalidate_large_range(void **state)
{
    /* One set, few sets (the ATC looks at each), very many (flush) */
    static const uint32_t sizes[] = { 1, 64, 1024, PCI_ATC_MAX_ENTRIES };

    for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
        PCIATC *atc = pci_atc_new(sizes[i]);
        bool exact = sizes[i] < PCI_ATC_MAX_ENTRIES;

        fill(atc, 1, 16 * GIB, 0, 4 * KIB, R);
        fill(atc, 1, 48 * GIB - 4 * KIB, 0, 4 * KIB, R);
        fill(atc, 1, 48 * GIB, 0, 4 * KIB, R);
        fill(atc, 2, 16 * GIB, 0, 4 * KIB, R);
        pci_atc_invalidate(atc, 1, 16 * GIB, 48 * GIB - 1);
        assert_false(cached(atc, 1, 16 * GIB, 0));
        assert_false(cached(atc, 1, 48 * GIB - 4 * KIB, 0));
        assert_int_equal(cached(atc, 1, 48 * GIB, 0), exact);
        assert_true(cached(atc, 2, 16 * GIB, 0));
        fill(atc, 1, 16 * GIB, 0, 4 * KIB, R);
        pci_atc_invalidate(atc, PCI_ATC_ANY_PASID, 16 * GIB, 48 * GIB - 1);
        assert_false(cached(atc, 1, 16 * GIB, 0));
        assert_false(cached(atc, 2, 16 * GIB, 0));
        pci_atc_free(atc);
    }
}

static void test_generations(void **state)
{
    /*
     * A flush of a PASID leaves dead entries in the table.  They must not
     * become valid when the generations of the PASID start again, after any
     * number of flushes.
     */
    for (uint32_t pasid = 5; pasid; pasid = pasid == 5 ? PCI_NO_PASID : 0) {
        PCIATC *atc = pci_atc_new(4096);

        assert_true(fill(atc, pasid, 0, 0, 4 * KIB, R));
        for (int i = 0; i < 10000; i++) {
            pci_atc_invalidate(atc, pasid, 0, UINT64_MAX);
            assert_true(fill(atc, pasid, 0x1000, 0, 4 * KIB, R));
            assert_false(cached(atc, pasid, 0, 0));
        }
        assert_int_equal(stats_of(atc).dropped, 10000);
        pci_atc_free(atc);
    }
}

static void test_flush_neighbour(void **state)
{
    PCIATC *atc = pci_atc_new(4096);

    /* A flush of a PASID keeps entries of other PASIDs and without PASID. */
    for (uint32_t pasid = 0; pasid < 64; pasid++) {
        assert_true(fill(atc, pasid, pasid * GIB, 0, 4 * KIB, R));
    }
    assert_true(fill(atc, PCI_NO_PASID, 0, 0, 4 * KIB, R));
    pci_atc_invalidate(atc, 0, 0, UINT64_MAX);
    assert_false(cached(atc, 0, 0, 0));
    for (uint32_t pasid = 1; pasid < 64; pasid++) {
        assert_true(cached(atc, pasid, pasid * GIB, 0));
    }
    assert_true(cached(atc, PCI_NO_PASID, 0, 0));
    pci_atc_invalidate(atc, PCI_NO_PASID, 0, UINT64_MAX);
    assert_false(cached(atc, PCI_NO_PASID, 0, 0));
    assert_int_equal(stats_of(atc).entries, 63);
    pci_atc_free(atc);
}

/* Fill against invalidation */

static void test_fill_race(void **state)
{
    static const struct {
        uint32_t pasid;
        hwaddr first, last;
        bool taken;
    } cases[] = {
        { 1, 0x5000, 0x5fff, false },
        { 1, 0x5fff, 0x5fff, false },
        { 1, 0x4000, 0x5000, false },
        { 1, 0, UINT64_MAX, false },
        { 1, 0x9000, 0x8000, false },       /* ends before it begins: all */
        { PCI_ATC_ANY_PASID, 0x5000, 0x5fff, false },
        { PCI_ATC_ANY_PASID, 0, UINT64_MAX, false },
        { 1, 0x6000, 0x6fff, true },
        { 1, 0x4000, 0x4fff, true },
        { 2, 0, UINT64_MAX, true },
        { 65, 0, UINT64_MAX, true },        /* shares the bucket */
        { PCI_NO_PASID, 0, UINT64_MAX, true },
        { PCI_ATC_ANY_PASID, 0x6000, UINT64_MAX, true },
        { 0x100000, 0, UINT64_MAX, true },
    };

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        PCIATC *atc = pci_atc_new(64);
        IOMMUTLBEntry e = entry(0x5000, 0x15000, 4 * KIB, R);
        uint64_t token = pci_atc_fill_begin(atc);

        pci_atc_invalidate(atc, cases[i].pasid, cases[i].first,
                           cases[i].last);
        assert_int_equal(pci_atc_fill_commit(atc, token, 1, &e, 1),
                         cases[i].taken);
        assert_int_equal(cached(atc, 1, 0x5000, 0), cases[i].taken);
        assert_int_equal(stats_of(atc).refused, !cases[i].taken);
        /* The next attempt succeeds. */
        token = pci_atc_fill_begin(atc);
        assert_int_equal(pci_atc_fill_commit(atc, token, 1, &e, 1), 1);
        pci_atc_free(atc);
    }
}

static void test_fill_race_many(void **state)
{
    IOMMUTLBEntry e = entry(0x5000, 0x15000, 4 * KIB, R);

    /* The ATC remembers a relevant invalidation, however many others follow. */
    for (int n = 0; n < 300; n++) {
        for (int when = -1; when < n; when++) {
            PCIATC *atc = pci_atc_new(1);
            uint64_t token = pci_atc_fill_begin(atc);
            size_t taken;

            for (int i = 0; i < n; i++) {
                hwaddr addr = i == when ? 0x5000 : (100 + i) * 4 * KIB;

                pci_atc_invalidate(atc, i % 3 ? 1 : i == when ? 1 : 2,
                                   addr, addr + 0xfff);
            }
            taken = pci_atc_fill_commit(atc, token, 1, &e, 1);
            if (when >= 0) {
                assert_int_equal(taken, 0);
            } else if (n <= 64) {
                assert_int_equal(taken, 1);
            }
            pci_atc_free(atc);
            if (when > 3 && when < n - 70) {
                when += 5;
            }
        }
    }
}

static void test_fill_other_pasids(void **state)
{
    /* An entry is added despite many invalidations of other PASIDs. */
    PCIATC *atc = pci_atc_new(64);
    IOMMUTLBEntry e = entry(0x5000, 0x15000, 4 * KIB, R);
    uint64_t token = pci_atc_fill_begin(atc);

    for (int i = 0; i < 100000; i++) {
        pci_atc_invalidate(atc, i % 2 ? 2 : PCI_NO_PASID, 0, UINT64_MAX);
    }
    assert_int_equal(pci_atc_fill_commit(atc, token, 1, &e, 1), 1);
    token = pci_atc_fill_begin(atc);
    pci_atc_invalidate(atc, PCI_ATC_ANY_PASID, 0x5000, 0x5000);
    for (int i = 0; i < 100000; i++) {
        pci_atc_invalidate(atc, 2, 0, UINT64_MAX);
    }
    assert_int_equal(pci_atc_fill_commit(atc, token, 1, &e, 1), 0);
    pci_atc_free(atc);
}

/* Random sequences against a model */

static uint64_t take_random(void *opaque, unsigned bytes)
{
    return random64(opaque);
}

static void run_model(uint64_t random, uint32_t size, bool exact)
{
    uint64_t steps = env_number("ATC_TEST_STEPS", 200000);
    ATCModel *m = atc_model_new(size, exact, take_random, &random);
    PCIATCStats s;

    while (steps--) {
        atc_model_step(m);
    }
    s = atc_model_free(m);
    assert_true(s.hits > 0 && s.refused > 0 && s.updates > 0);
}

static void test_model_exact(void **state)
{
    static const uint32_t sizes[] = { 1, 12, 200, 4096 };

    for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
        run_model(seed + i, sizes[i], true);
    }
}

static void test_model_evicting(void **state)
{
    static const uint32_t sizes[] = { 1, 12, 48, 200, 8192 };

    for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
        run_model(seed + 100 + i, sizes[i], false);
    }
}

/*
 * Threads: a guest with page tables and memory
 *
 * Each page of each PASID has a version, which is its translated address.
 * Version v uses frame v % 2 of the page.  To move a page the guest writes the
 * new frame, changes the version, invalidates, and overwrites the old frame.
 * The frames are plain memory, so that ThreadSanitizer detects a device that
 * still reads an old one.
 */

#define VM_PASIDS 2
#define VM_PAGES 48
#define VM_DEVICES 3

typedef struct VMPage {
    uint32_t version;               /* the page table entry */
    uint32_t oldest;                /* versions before this are invalidated */
    uint32_t frame[2];
} VMPage;

typedef struct VM {
    PCIATC *atc;
    bool stop;
    VMPage pages[VM_PASIDS][VM_PAGES];
    uint32_t stale, foreign, torn;
    uint64_t hits[VM_DEVICES], moves[VM_PASIDS];
} VM;

typedef struct VMThread {
    QemuThread thread;
    VM *vm;
    uint32_t index;
    uint64_t random;
} VMThread;

static const uint32_t vm_pasids[VM_PASIDS] = { 3, PCI_NO_PASID };

static void dawdle(uint64_t *random)
{
    switch (below(random, 64)) {
    case 0:
        g_usleep(below(random, 50));
        break;
    case 1 ... 4:
        g_thread_yield();
        break;
    default:
        for (uint32_t i = below(random, 64); i; i--) {
            cpu_relax();
        }
    }
}

static void device_fill(VMThread *t, uint32_t p, uint32_t page)
{
    uint64_t token = pci_atc_fill_begin(t->vm->atc);
    uint32_t n = 1 + below(&t->random, MIN(4, VM_PAGES - page));
    IOMMUTLBEntry e[4];

    for (uint32_t i = 0; i < n; i++) {
        VMPage *pg = &t->vm->pages[p][page + i];
        uint64_t version = qatomic_load_acquire(&pg->version);

        e[i] = entry((page + i) * 4 * KIB,
                     (version << 8 | p << 6 | (page + i)) << 12, 4 * KIB, R);
    }
    dawdle(&t->random);
    pci_atc_fill_commit(t->vm->atc, token, vm_pasids[p], e, n);
}

static bool device_access(VMThread *t, uint32_t p, uint32_t page)
{
    VM *vm = t->vm;
    VMPage *pg = &vm->pages[p][page];
    PCIATCAccess access;
    PCIATCRun run;
    uint32_t version, value;

    pci_atc_access_begin(vm->atc, &access);
    if (!pci_atc_lookup(&access, vm_pasids[p], page * 4 * KIB, 4 * KIB, R,
                        &run)) {
        pci_atc_access_end(&access);
        return false;
    }
    version = run.translated_addr >> 20;
    if ((run.translated_addr >> 12 & 0xff) != (p << 6 | page)) {
        qatomic_inc(&vm->foreign);
    }
    dawdle(&t->random);
    /* Synchronises with the guest's write to the frame */
    qatomic_load_acquire(&pg->version);
    value = pg->frame[version % 2];
    if (value != version) {
        qatomic_inc(&vm->torn);
    }
    /* The access uses the entry: its invalidation cannot have completed. */
    if (qatomic_load_acquire(&pg->oldest) > version) {
        qatomic_inc(&vm->stale);
    }
    pci_atc_access_end(&access);
    return true;
}

static void *device_thread(void *opaque)
{
    VMThread *t = opaque;

    while (!qatomic_read(&t->vm->stop)) {
        uint32_t p = below(&t->random, VM_PASIDS);
        uint32_t page = below(&t->random, VM_PAGES);

        if (device_access(t, p, page)) {
            t->vm->hits[t->index]++;
        } else {
            device_fill(t, p, page);
        }
    }
    return NULL;
}

static void guest_invalidate(VMThread *t, uint32_t first, uint32_t n)
{
    PCIATC *atc = t->vm->atc;
    uint32_t pasid = vm_pasids[t->index];

    switch (below(&t->random, 16)) {
    case 0:
        pci_atc_invalidate(atc, pasid, 0, UINT64_MAX);
        break;
    case 1:
        pci_atc_invalidate(atc, PCI_ATC_ANY_PASID, 0, UINT64_MAX);
        break;
    case 2:
        pci_atc_invalidate(atc, PCI_ATC_ANY_PASID, first * 4 * KIB,
                           (first + n) * 4 * KIB - 1);
        break;
    case 3:
        /* Drop the pages one by one, then drain once. */
        for (uint32_t i = 0; i < n; i++) {
            pci_atc_drop(atc, pasid, (first + i) * 4 * KIB,
                         (first + i) * 4 * KIB + 0xfff);
        }
        pci_atc_drain(atc);
        break;
    default:
        pci_atc_invalidate(atc, pasid, first * 4 * KIB,
                           (first + n) * 4 * KIB - 1);
    }
}

static void *guest_thread(void *opaque)
{
    VMThread *t = opaque;

    while (!qatomic_read(&t->vm->stop)) {
        uint32_t first = below(&t->random, VM_PAGES);
        uint32_t n = 1 + below(&t->random, MIN(8, VM_PAGES - first));
        VMPage *pages = &t->vm->pages[t->index][first];

        for (uint32_t i = 0; i < n; i++) {
            uint32_t version = pages[i].version + 1;

            pages[i].frame[version % 2] = version;
            qatomic_store_release(&pages[i].version, version);
        }
        guest_invalidate(t, first, n);
        for (uint32_t i = 0; i < n; i++) {
            qatomic_store_release(&pages[i].oldest, pages[i].version);
            pages[i].frame[!(pages[i].version % 2)] = UINT32_MAX;
        }
        qatomic_set(&t->vm->moves[t->index], t->vm->moves[t->index] + 1);
        dawdle(&t->random);
    }
    return NULL;
}

/* Checks that each event has happened; a busy machine may need longer. */
static bool vm_ran(VM *vm)
{
    PCIATCStats s;

    pci_atc_get_stats(vm->atc, &s);
    return s.hits > 0 && s.refused > 0 && s.dropped > 0 &&
           qatomic_read(&vm->moves[0]) > 0 && qatomic_read(&vm->moves[1]) > 0;
}

static void run_vm(uint32_t size, uint64_t random)
{
    VM *vm = g_new0(VM, 1);
    VMThread threads[VM_DEVICES + VM_PASIDS];
    PCIATCStats s;

    vm->atc = pci_atc_new(size);
    for (int i = 0; i < ARRAY_SIZE(threads); i++) {
        bool device = i < VM_DEVICES;

        threads[i].vm = vm;
        threads[i].index = device ? i : i - VM_DEVICES;
        threads[i].random = random + i;
        qemu_thread_create(&threads[i].thread, device ? "device" : "guest",
                           device ? device_thread : guest_thread,
                           &threads[i], QEMU_THREAD_JOINABLE);
    }
    g_usleep(env_number("ATC_TEST_MS", 1000) * 1000);
    for (int i = 0; i < 200 && !vm_ran(vm); i++) {
        g_usleep(100000);
    }
    qatomic_set(&vm->stop, true);
    for (int i = 0; i < ARRAY_SIZE(threads); i++) {
        qemu_thread_join(&threads[i].thread);
    }
    s = stats_of(vm->atc);
    print_message("# %u entries: %" PRIu64 " moves, %" PRIu64 " hits, %"
                  PRIu64 " misses, %" PRIu64 " fills, %" PRIu64 " refused, %"
                  PRIu64 " evicted, %" PRIu64 " dropped\n", size,
                  vm->moves[0] + vm->moves[1], s.hits, s.misses, s.fills,
                  s.refused, s.evictions, s.dropped);
    assert_int_equal(vm->stale, 0);
    assert_int_equal(vm->foreign, 0);
    assert_int_equal(vm->torn, 0);
    assert_int_equal(s.hits, vm->hits[0] + vm->hits[1] + vm->hits[2]);
    assert_true(vm_ran(vm));
    pci_atc_free(vm->atc);
    g_free(vm);
}

static void test_threads(void **state)
{
    run_vm(1, seed);                    /* one set, which overflows */
    run_vm(48, seed + 10);
    run_vm(4096, seed + 20);
}

/*
 * Threads look up an entry that another thread overwrites all the time: they
 * must never see a mixture of two entries.
 */

#define TORN_PAGES 16

typedef struct Torn {
    PCIATC *atc;
    bool stop;
    uint32_t wrong;
} Torn;

static hwaddr torn_xlat(hwaddr page)
{
    return (page ^ 0x5555) << 20;
}

static void *torn_thread(void *opaque)
{
    Torn *t = opaque;
    hwaddr page = 0;

    while (!qatomic_read(&t->stop)) {
        PCIATCAccess access;
        PCIATCRun run;

        page = (page + 1) % TORN_PAGES;
        pci_atc_access_begin(t->atc, &access);
        if (pci_atc_lookup(&access, 1, page * 4 * KIB, 1, R, &run) &&
            run.translated_addr != torn_xlat(page)) {
            qatomic_inc(&t->wrong);
        }
        pci_atc_access_end(&access);
    }
    return NULL;
}

static void test_torn(void **state)
{
    uint64_t end = g_get_monotonic_time() +
                   env_number("ATC_TEST_MS", 1000) * 1000;
    Torn t = { .atc = pci_atc_new(1) };
    IOMMUTLBEntry e[TORN_PAGES];
    QemuThread threads[2];

    for (hwaddr i = 0; i < TORN_PAGES; i++) {
        e[i] = entry(i * 4 * KIB, torn_xlat(i), 4 * KIB, R);
    }
    for (int i = 0; i < ARRAY_SIZE(threads); i++) {
        qemu_thread_create(&threads[i], "lookup", torn_thread, &t,
                           QEMU_THREAD_JOINABLE);
    }
    while (g_get_monotonic_time() < end || stats_of(t.atc).hits == 0) {
        pci_atc_fill_commit(t.atc, pci_atc_fill_begin(t.atc), 1, e,
                            TORN_PAGES);
    }
    qatomic_set(&t.stop, true);
    for (int i = 0; i < ARRAY_SIZE(threads); i++) {
        qemu_thread_join(&threads[i]);
    }
    assert_int_equal(t.wrong, 0);
    assert_true(stats_of(t.atc).hits > 0);
    pci_atc_free(t.atc);
}

/* Waiting for accesses */

typedef struct Waiter {
    PCIATC *atc;
    uint32_t pasid;
    bool done;
} Waiter;

static void *waiter_thread(void *opaque)
{
    Waiter *w = opaque;

    pci_atc_invalidate(w->atc, w->pasid, 0x1000, 0x1fff);
    qatomic_store_release(&w->done, true);
    return NULL;
}

static bool waiter_done(Waiter *w, int ms)
{
    while (!qatomic_load_acquire(&w->done) && ms--) {
        g_usleep(1000);
    }
    return qatomic_load_acquire(&w->done);
}

static void test_drain_waits(void **state)
{
    int passed = 0;

    for (int i = 0; i < 20; i++) {
        Waiter w = { .atc = pci_atc_new(1), .pasid = i & 1 ? 1 : 2 };
        PCIATCAccess old, new;
        QemuThread thread;
        PCIATCRun run;

        /*
         * The entry in use may have been evicted, or the invalidation may be
         * for another PASID: the ATC does not know the entries that an access
         * uses.
         */
        assert_true(fill(w.atc, 1, 0x1000, 0, 4 * KIB, R));
        pci_atc_access_begin(w.atc, &old);
        assert_true(pci_atc_lookup(&old, 1, 0x1000, 1, R, &run));
        for (int j = 0; i & 2 && j < 2 * PCI_ATC_WAYS; j++) {
            fill(w.atc, 1, (10 + j) * 4 * KIB, 0, 4 * KIB, R);
        }
        qemu_thread_create(&thread, "waiter", waiter_thread, &w,
                           QEMU_THREAD_JOINABLE);
        while (stats_of(w.atc).invalidations == 0) {
            g_thread_yield();
        }
        assert_false(waiter_done(&w, 10));

        /* Accesses that begin later do not see the entry. */
        pci_atc_access_begin(w.atc, &new);
        if (w.pasid == 1) {
            assert_false(pci_atc_lookup(&new, 1, 0x1000, 1, R, &run));
        }
        assert_false(waiter_done(&w, 1));
        pci_atc_access_end(&old);
        /* The drain waits for them only if they began before the drain. */
        passed += waiter_done(&w, 500);
        pci_atc_access_end(&new);
        qemu_thread_join(&thread);
        /* No drain waits for an access that has ended. */
        pci_atc_drain(w.atc);
        pci_atc_free(w.atc);
    }
    assert_true(passed > 0);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_address_limits),
        cmocka_unit_test(test_pasids),
        cmocka_unit_test(test_entries_of_pasids),
        cmocka_unit_test(test_bad_entries),
        cmocka_unit_test(test_capacity),
        cmocka_unit_test(test_ways),
        cmocka_unit_test(test_permissions),
        cmocka_unit_test(test_mixed_sizes),
        cmocka_unit_test(test_runs),
        cmocka_unit_test(test_invalidate_all_pasids),
        cmocka_unit_test(test_invalidate_large_range),
        cmocka_unit_test(test_generations),
        cmocka_unit_test(test_flush_neighbour),
        cmocka_unit_test(test_fill_race),
        cmocka_unit_test(test_fill_race_many),
        cmocka_unit_test(test_fill_other_pasids),
        cmocka_unit_test(test_model_exact),
        cmocka_unit_test(test_model_evicting),
        cmocka_unit_test(test_drain_waits),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_torn),
    };

    seed = env_seed("ATC_TEST_SEED");
    return cmocka_run_group_tests_name("pci-atc", tests, NULL, NULL);
}
