/*
 * Unit tests of the DMA engine with ATS: inline transfers
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Short transfers that run in the thread that submits them, or in the response
 * of the guest.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include "pci-ats-dma-steps.h"

/* Only short transfers run inline, and only with the BQL held */
static void test_inline(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Inline *a = g_new0(Inline, 1);

    qemu_sem_init(&a->sem, 0);
    map(1, PAGE, IOMMU_RO);
    map(2, 2 * PAGE, IOMMU_RO);
    bql_lock();
    inline_start(a, dma, 1, PAGE);
    assert_int_equal(qemu_sem_timedwait(&a->sem, 0), 0);
    assert_true(qemu_thread_is_self(&a->thread));
    assert_int_equal(a->ret, 0);
    assert_memory_equal(a->buf, fake.ram + PAGE, PAGE);

    inline_start(a, dma, 1, PAGE + 1);
    bql_unlock();
    qemu_sem_wait(&a->sem);
    assert_false(qemu_thread_is_self(&a->thread));
    assert_int_equal(a->ret, 0);

    inline_start(a, dma, 1, PAGE);
    qemu_sem_wait(&a->sem);
    assert_false(qemu_thread_is_self(&a->thread));
    assert_int_equal(a->ret, 0);
    qemu_sem_destroy(&a->sem);
    dma_stop(dma);
}

/* A response with the BQL held ends the transfer inline, others do not */
static void test_inline_page_request(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Inline *a = g_new0(Inline, 1);

    qemu_sem_init(&a->sem, 0);
    for (unsigned page = 0; page < 2; page++) {
        qatomic_set(&guest.has_bql, !page);
        bql_lock();
        inline_start(a, dma, page, 64);
        bql_unlock();
        qemu_sem_wait(&a->sem);
        assert_int_equal(a->with_bql, !page);
        assert_int_equal(qemu_thread_is_self(&a->thread), false);
        assert_int_equal(a->ret, 0);
        assert_memory_equal(a->buf, fake.ram + page * PAGE, 64);
    }
    assert_int_equal(guest.requests_seen, 2);
    qemu_sem_destroy(&a->sem);
    dma_stop(dma);
}

/*
 * 10.5.2.2: a reset ends a transfer, but not in the thread that resets the
 * function
 */
static void test_inline_reset(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Inline *a = g_new0(Inline, 1);

    qemu_sem_init(&a->sem, 0);
    guest.ignored_page = 0;
    bql_lock();
    inline_start(a, dma, 0, 64);
    assert_int_equal(guest.requests_seen, 1);
    qatomic_set(&fake.pri_on, false);
    reset_groups(1);
    bql_unlock();
    qemu_sem_wait(&a->sem);
    assert_int_equal(a->ret, -ECANCELED);
    assert_false(qemu_thread_is_self(&a->thread));
    assert_false(a->with_bql);
    qemu_sem_destroy(&a->sem);
    dma_stop(dma);
}

/* The worker continues an inline transfer that is delayed */
static void test_inline_delayed(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Inline *a = g_new0(Inline, 1);

    qemu_sem_init(&a->sem, 0);
    guest.refuse = 5;
    bql_lock();
    inline_start(a, dma, 0, 64);
    bql_unlock();
    qemu_sem_wait(&a->sem);
    assert_int_equal(a->ret, 0);
    qemu_sem_destroy(&a->sem);
    dma_stop(dma);
}

/* Concurrent responses, invalidations, cancellations and new transfers */
static void test_inline_race(void **state)
{
    const unsigned n = 8;
    PCIATSDMA *dma = dma_start();
    g_autofree Inline *a = g_new0(Inline, n);

    for (unsigned i = 0; i < n; i++) {
        qemu_sem_init(&a[i].sem, 0);
    }
    for (unsigned round = 0; round < 100; round++) {
        qatomic_set(&guest.has_bql, round % 3);
        for (unsigned i = 0; i < n; i++) {
            BQL_LOCK_GUARD();
            map(i, 0, IOMMU_NONE);
            invalidate(1, i);
            inline_start(&a[i], dma, i, 64 + i % 2 * PAGE);
            if ((round + i) % 11 == 0) {
                pci_ats_dma_cancel(dma);
            }
        }
        for (unsigned i = 0; i < n; i++) {
            qemu_sem_wait(&a[i].sem);
            assert_true(!a[i].ret || a[i].ret == -ECANCELED);
        }
    }
    for (unsigned i = 0; i < n; i++) {
        qemu_sem_destroy(&a[i].sem);
    }
    dma_stop(dma);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_inline),
        cmocka_unit_test(test_inline_page_request),
        cmocka_unit_test(test_inline_reset),
        cmocka_unit_test(test_inline_delayed),
        cmocka_unit_test(test_inline_race),
    };

    dma_init();
    return cmocka_run_group_tests_name("pci-ats-dma-inline", tests, NULL, NULL);
}
