/*
 * Unit tests of batches of invalidations
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "hw/iommu_batch.h"

typedef struct User {
    IOMMUBatchUser batch;
    unsigned flushed;
    struct User *then;      /* puts something off while this one is flushed */
} User;

static void flush(IOMMUBatchUser *batch)
{
    User *user = container_of(batch, User, batch);

    user->flushed++;
    if (user->then) {
        assert_true(iommu_batch_defer(&user->then->batch));
    }
}

static void test_outside(void **state)
{
    User user = { .batch.flush = flush };

    assert_false(iommu_batch_defer(&user.batch));
    iommu_batch_flush();
    assert_int_equal(user.flushed, 0);
}

static void test_once(void **state)
{
    User a = { .batch.flush = flush }, b = { .batch.flush = flush };

    iommu_batch_begin();
    assert_true(iommu_batch_defer(&a.batch));
    assert_true(iommu_batch_defer(&b.batch));
    assert_true(iommu_batch_defer(&a.batch));
    assert_int_equal(a.flushed, 0);
    iommu_batch_flush();
    assert_int_equal(a.flushed, 1);
    assert_int_equal(b.flushed, 1);
    assert_true(iommu_batch_defer(&b.batch));
    iommu_batch_end();
    assert_int_equal(a.flushed, 1);
    assert_int_equal(b.flushed, 2);
    assert_false(iommu_batch_defer(&a.batch));
}

/* The end of an inner batch completes everything: its guest may be waiting */
static void test_nested(void **state)
{
    User a = { .batch.flush = flush };

    iommu_batch_begin();
    iommu_batch_begin();
    assert_true(iommu_batch_defer(&a.batch));
    iommu_batch_end();
    assert_int_equal(a.flushed, 1);
    assert_true(iommu_batch_defer(&a.batch));
    iommu_batch_end();
    assert_int_equal(a.flushed, 2);
}

static void test_defer_in_flush(void **state)
{
    User a = { .batch.flush = flush };
    User b = { .batch.flush = flush, .then = &a };

    iommu_batch_begin();
    assert_true(iommu_batch_defer(&b.batch));
    iommu_batch_end();
    assert_int_equal(a.flushed, 1);
    assert_int_equal(b.flushed, 1);
}

static void *defer_in_thread(void *opaque)
{
    User *user = opaque;

    assert_false(iommu_batch_defer(&user->batch));
    return NULL;
}

/* Another thread gets the BQL in between: what it does is not put off */
static void test_other_thread(void **state)
{
    User a = { .batch.flush = flush };

    iommu_batch_begin();
    g_thread_join(g_thread_new("other", defer_in_thread, &a));
    assert_true(iommu_batch_defer(&a.batch));
    iommu_batch_end();
    assert_int_equal(a.flushed, 1);
}

static void test_cancel(void **state)
{
    User a = { .batch.flush = flush };

    iommu_batch_cancel(&a.batch);
    iommu_batch_begin();
    assert_true(iommu_batch_defer(&a.batch));
    iommu_batch_cancel(&a.batch);
    iommu_batch_end();
    assert_int_equal(a.flushed, 0);
}

int main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_outside),
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_nested),
        cmocka_unit_test(test_defer_in_flush),
        cmocka_unit_test(test_other_thread),
        cmocka_unit_test(test_cancel),
    };

    return cmocka_run_group_tests_name("iommu-batch", tests, NULL, NULL);
}
