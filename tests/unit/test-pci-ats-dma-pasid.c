/*
 * Unit tests of the DMA engine with ATS: PASIDs
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Transfers with more PASIDs than can be registered at once.
 */

#include "qemu/osdep.h"
#include "pci-ats-dma-steps.h"

/* More PASIDs than can be registered at once */
static void test_many_pasids(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[16];
    int i;

    /* Use all pages, so that the ATC has room for all translations. */
    for (i = 0; i < NR_PAGES; i++) {
        map(i, 0, IOMMU_RO);
    }
    for (i = 0; i < 300; i++) {
        unsigned page = i % NR_PAGES;

        assert_int_equal(dma_read_at(dma, i, IOVA + page * PAGE, buf, 16), 0);
        assert_int_equal(registered(), MIN(i + 1, 256));
    }
    /* Translations of unregistered PASIDs are not cached. */
    for (i = 0; i < 10; i++) {
        map(i, 8 * PAGE, IOMMU_RO);
        assert_int_equal(dma_read_at(dma, i, IOVA + i * PAGE, buf, 16), 0);
        assert_memory_equal(buf, fake.ram + 8 * PAGE, 16);
    }
    dma_stop(dma);
}

/* While all PASIDs that can be registered are in use, another PASID fails */
static void test_all_pasids_in_use(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Async *a = g_new0(Async, 256);
    uint8_t buf[16];
    int i;

    guest.ignored_page = 0;
    fake.allocation = 300;
    for (i = 0; i < 256; i++) {
        async_start(&a[i], dma, i, 0);
    }
    while (qatomic_read(&guest.requests_seen) < 256) {
        g_usleep(1000);
    }
    map(1, 0, IOMMU_RO);
    assert_int_equal(dma_read_at(dma, 300, IOVA + PAGE, buf, 16), -EBUSY);
    dma_stop(dma);
    for (i = 0; i < 256; i++) {
        qemu_sem_wait(&a[i].sem);
        assert_int_equal(a[i].ret, -ECANCELED);
        qemu_sem_destroy(&a[i].sem);
    }
}

/* A transfer whose end waits for a transfer of another thread */
typedef struct Nested {
    Inline a;
    PCIATSDMA *dma;
    Background b;
    bool ended;                 /* the other transfer ended in time */
} Nested;

static void nested_done(void *opaque, int ret)
{
    Nested *n = opaque;

    background_start(&n->b, background_read, n->dma, 300, 1, 16);
    n->ended = !qemu_sem_timedwait(&n->b.ended, 2000);
    inline_done(&n->a, ret);
}

/*
 * A PASID whose notifier runs is not unregistered in favour of another PASID:
 * the notifier may unplug the function, which waits for the other transfer
 */
static void test_no_unregister_in_notifier(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Nested *n = g_new0(Nested, 1);
    uint8_t buf[16];

    n->dma = dma;
    qemu_sem_init(&n->a.sem, 0);
    qatomic_set(&guest.has_bql, true);
    guest_hold(true);
    map(1, 0, IOMMU_RO);
    bql_lock();
    submit_read(dma, 0, PCI_ATS_DMA_INLINE, 0, n->a.buf, 64, nested_done, n);
    bql_unlock();
    for (unsigned pasid = 1; pasid < 256; pasid++) {
        assert_int_equal(dma_read_at(dma, pasid, IOVA + PAGE, buf, 16), 0);
    }
    guest_hold(false);
    qemu_sem_wait(&n->a.sem);
    assert_true(n->a.with_bql);
    assert_int_equal(background_join(&n->b), 0);
    assert_true(n->ended);
    qemu_sem_destroy(&n->a.sem);
    dma_stop(dma);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_many_pasids),
        cmocka_unit_test(test_all_pasids_in_use),
        cmocka_unit_test(test_no_unregister_in_notifier),
    };

    dma_init();
    return cmocka_run_group_tests_name("pci-ats-dma-pasid", tests, NULL, NULL);
}
