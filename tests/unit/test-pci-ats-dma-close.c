/*
 * Unit tests of the DMA engine with ATS: close while transfers run
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The function is unrealized while transfers run: pci_ats_dma_close() ends
 * transfers of all kinds.
 */

#include "qemu/osdep.h"
#include "pci-ats-dma-steps.h"

static void async_done_with_bql(void *opaque, int ret)
{
    BQL_LOCK_GUARD();

    async_done(opaque, ret);
}

/* The worker may wait for the BQL that the caller of close holds */
static void test_close_with_bql(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Async *a = g_new0(Async, 1);

    map(1, MMIO, IOMMU_RW);
    bql_lock();
    qemu_sem_init(&a->sem, 0);
    submit_read(dma, 1, 0, 1, a->buf, PAGE, async_done_with_bql, a);
    /* Wait until the transfer has its translation, and will end soon. */
    while (!qatomic_read(&fake.translations)) {
        g_usleep(100);
    }
    dma_stop(dma);
    assert_true(bql_locked());
    bql_unlock();
    qemu_sem_wait(&a->sem);
    assert_true(a->ret == -EIO || a->ret == -ECANCELED);
    qemu_sem_destroy(&a->sem);
}

/* A transfer whose PCIATSDMADone waits for @let_go */
typedef struct Blocker {
    Async async;
    QemuSemaphore reached;
    QemuSemaphore let_go;
} Blocker;

static void blocker_done(void *opaque, int ret)
{
    Blocker *b = opaque;

    qemu_sem_post(&b->reached);
    qemu_sem_wait(&b->let_go);
    async_done(&b->async, ret);
}

/* Returns when the worker is in blocker_done() */
static void blocker_start(Blocker *b, PCIATSDMA *dma)
{
    qemu_sem_init(&b->async.sem, 0);
    qemu_sem_init(&b->reached, 0);
    qemu_sem_init(&b->let_go, 0);
    map(1, 0, IOMMU_RO);
    submit_read(dma, 1, 0, 1, b->async.buf, PAGE, blocker_done, b);
    qemu_sem_wait(&b->reached);
}

static void blocker_end(Blocker *b)
{
    qemu_sem_post(&b->let_go);
    qemu_sem_wait(&b->async.sem);
    assert_int_equal(b->async.ret, 0);
    qemu_sem_destroy(&b->async.sem);
    qemu_sem_destroy(&b->reached);
    qemu_sem_destroy(&b->let_go);
}

/* Close ends queued transfers, without waiting for the worker */
static void test_close_queued(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Blocker *b = g_new0(Blocker, 1);
    g_autofree Async *a = g_new0(Async, 3);

    blocker_start(b, dma);
    for (int i = 0; i < 3; i++) {
        async_start(&a[i], dma, i, 1);
    }
    bql_lock();
    dma_unplug(dma);
    bql_unlock();
    for (int i = 0; i < 3; i++) {
        assert_int_equal(qatomic_read(&a[i].ret), 1);
    }
    blocker_end(b);
    for (int i = 0; i < 3; i++) {
        qemu_sem_wait(&a[i].sem);
        assert_int_equal(a[i].ret, -ECANCELED);
        qemu_sem_destroy(&a[i].sem);
    }
    guest_stop();
}

static void wait_for_refusal(void)
{
    for (;;) {
        WITH_QEMU_LOCK_GUARD(&guest.lock) {
            if (guest.refuse < INT_MAX) {
                return;
            }
        }
        g_usleep(100);
    }
}

/* Close ends a parked transfer, a delayed one, and one that has just begun */
static void test_close_waiting(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Async *a = g_new0(Async, 3);

    guest.ignored_page = 0;
    async_start(&a[0], dma, 1, 0);
    wait_for_requests(1);
    WITH_QEMU_LOCK_GUARD(&guest.lock) {
        guest.refuse = INT_MAX;
    }
    async_start(&a[1], dma, 2, 1);
    wait_for_refusal();
    async_start(&a[2], dma, 3, 2);
    bql_lock();
    dma_unplug(dma);
    bql_unlock();
    for (int i = 0; i < 3; i++) {
        qemu_sem_wait(&a[i].sem);
        assert_int_equal(a[i].ret, -ECANCELED);
        qemu_sem_destroy(&a[i].sem);
    }
    guest_stop();
}

typedef struct Visit {
    Async async;
    bool inside;
    bool after;                 /* the visit was called again */
} Visit;

static bool slow_visit(void *opaque, void *const *data, size_t len)
{
    Visit *v = opaque;

    if (qatomic_read(&v->inside)) {
        v->after = true;
        return true;
    }
    qatomic_set(&v->inside, true);
    /* Wait until pci_ats_dma_close() has begun. */
    g_usleep(20 * 1000);
    memset(data[0], 0x5a, len);
    return true;
}

/* Close waits for a visit in progress; no access to memory follows */
static void test_close_running(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Visit *v = g_new0(Visit, 1);

    qemu_sem_init(&v->async.sem, 0);
    map(1, PAGE, IOMMU_RW);
    map(2, 5 * PAGE, IOMMU_RW);
    pci_ats_dma_submit(dma, &(PCIATSDMATransfer) {
        .pasid = 1,
        .flags = PCI_ATS_DMA_TRANSLATED_ONLY,
        .num_ranges = 1,
        .range = { { IOVA + PAGE, DMA_DIRECTION_FROM_DEVICE } },
        .len = 2 * PAGE,
        .visit = slow_visit,
        .opaque = v,
    }, async_done, v);
    while (!qatomic_read(&v->inside)) {
        g_usleep(100);
    }
    bql_lock();
    dma_unplug(dma);
    bql_unlock();
    assert_int_equal(fake.ram[PAGE], 0x5a);
    assert_int_equal(fake.ram[2 * PAGE - 1], 0x5a);
    qemu_sem_wait(&v->async.sem);
    assert_int_equal(v->async.ret, -ECANCELED);
    assert_false(v->after);
    qemu_sem_destroy(&v->async.sem);
    guest_stop();
}

typedef struct Chain {
    Async async;
    PCIATSDMA *dma;
    int ends;
    int canceled;
} Chain;

/* Starts another transfer when one has ended */
static void chain_done(void *opaque, int ret)
{
    Chain *c = opaque;

    c->canceled += ret == -ECANCELED;
    if (c->canceled == 3) {
        async_done(&c->async, ret);
        return;
    }
    submit_read(c->dma, 1, 0, 1, c->async.buf, PAGE, chain_done, c);
    qatomic_inc(&c->ends);
}

static void test_close_while_resubmitting(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Chain *c = g_new0(Chain, 1);

    c->dma = dma;
    map(1, 0, IOMMU_RO);
    qemu_sem_init(&c->async.sem, 0);
    chain_done(c, 0);
    while (qatomic_read(&c->ends) < 10) {
        g_usleep(100);
    }
    bql_lock();
    dma_unplug(dma);
    bql_unlock();
    qemu_sem_wait(&c->async.sem);
    qemu_sem_destroy(&c->async.sem);
    guest_stop();
}

typedef struct Unplugger {
    Async async;
    PCIATSDMA *dma;
} Unplugger;

/* Unplugs the function, as an interrupt message to the hot-plug controller */
static void unplugger_done(void *opaque, int ret)
{
    Unplugger *u = opaque;
    BQL_LOCK_GUARD();

    dma_unplug(u->dma);
    async_done(&u->async, ret);
}

static void close_in_done_with_bql(Unplugger *u)
{
    qemu_sem_init(&u->async.sem, 0);
    bql_lock();
    submit_read(u->dma, 1, PCI_ATS_DMA_INLINE, 1, u->async.buf, 64,
                unplugger_done, u);
    bql_unlock();
    qemu_sem_wait(&u->async.sem);
    assert_int_equal(u->async.ret, 0);
    qemu_sem_destroy(&u->async.sem);
    guest_stop();
}

/* The end of an inline transfer unplugs the function, in the caller's thread */
static void test_close_in_done_inline(void **state)
{
    g_autofree Unplugger *u = g_new0(Unplugger, 1);

    u->dma = dma_start();
    map(1, 0, IOMMU_RO);
    close_in_done_with_bql(u);
}

/* The end of an inline transfer unplugs the function, in a response */
static void test_close_in_done_response(void **state)
{
    g_autofree Unplugger *u = g_new0(Unplugger, 1);

    u->dma = dma_start();
    qatomic_set(&guest.has_bql, true);
    close_in_done_with_bql(u);
}

/* The end of a transfer unplugs the function in the worker; others wait */
static void test_close_in_done(void **state)
{
    g_autofree Unplugger *u = g_new0(Unplugger, 1);
    g_autofree Async *a = g_new0(Async, 1);

    u->dma = dma_start();
    qemu_sem_init(&u->async.sem, 0);
    guest.ignored_page = 0;
    async_start(a, u->dma, 1, 0);
    wait_for_requests(1);
    map(1, 0, IOMMU_RO);
    submit_read(u->dma, 1, 0, 1, u->async.buf, PAGE, unplugger_done, u);
    qemu_sem_wait(&u->async.sem);
    qemu_sem_wait(&a->sem);
    assert_int_equal(u->async.ret, 0);
    assert_int_equal(a->ret, -ECANCELED);
    qemu_sem_destroy(&u->async.sem);
    qemu_sem_destroy(&a->sem);
    guest_stop();
}

/* Close at random times, with transfers of all kinds */
static void test_close_race(void **state)
{
    const unsigned n = 8;
    g_autofree Inline *a = g_new0(Inline, n);

    for (unsigned round = 0; round < 100; round++) {
        PCIATSDMA *dma = dma_start();

        qatomic_set(&guest.has_bql, round % 3);
        for (unsigned i = 0; i < n; i++) {
            BQL_LOCK_GUARD();
            qemu_sem_init(&a[i].sem, 0);
            if (i % 3) {
                map(i, 0, IOMMU_RO);
            }
            inline_start(&a[i], dma, i, 64 + i % 2 * PAGE);
        }
        g_usleep(round * 37 % 1500);
        bql_lock();
        dma_unplug(dma);
        bql_unlock();
        for (unsigned i = 0; i < n; i++) {
            qemu_sem_wait(&a[i].sem);
            assert_true(!a[i].ret || a[i].ret == -ECANCELED);
            qemu_sem_destroy(&a[i].sem);
        }
        guest_stop();
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_close_with_bql),
        cmocka_unit_test(test_close_queued),
        cmocka_unit_test(test_close_waiting),
        cmocka_unit_test(test_close_running),
        cmocka_unit_test(test_close_while_resubmitting),
        cmocka_unit_test(test_close_in_done_inline),
        cmocka_unit_test(test_close_in_done_response),
        cmocka_unit_test(test_close_in_done),
        cmocka_unit_test(test_close_race),
    };

    dma_init();
    return cmocka_run_group_tests_name("pci-ats-dma-close", tests, NULL, NULL);
}
