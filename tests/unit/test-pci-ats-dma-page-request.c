/*
 * Unit tests of the DMA engine with ATS: page requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Page requests, the responses of the guest, and transfers that end before the
 * guest has responded.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include "hw/pci/pci_ats_dma_internal.h"
#include "pci-ats-dma-steps.h"

/* The engine requests all missing pages within the allocation */
static void test_page_requests(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree uint8_t *buf = g_malloc(RAM_SIZE);

    fake.allocation = 3;
    map(5, 5 * PAGE, IOMMU_RO);
    assert_int_equal(dma_read(dma, 0, buf, RAM_SIZE), 0);
    assert_memory_equal(buf, fake.ram, RAM_SIZE);
    assert_int_equal(guest.requests_seen, NR_PAGES - 1);
    assert_int_equal(guest.most_unanswered, 3);
    dma_stop(dma);
}

/* A write to a page that is mapped read-only sends a page request */
static void test_page_request_write(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[16] = { 1, 2, 3 };

    assert_int_equal(dma_read(dma, 7, buf, 16), 0);
    assert_int_equal(guest.requests_seen, 1);
    memset(buf, 0x77, sizeof(buf));
    assert_int_equal(dma_write(dma, 7, buf, 16), 0);
    assert_int_equal(guest.requests_seen, 2);
    assert_memory_equal(fake.ram + 7 * PAGE, buf, 16);
    dma_stop(dma);
}

static void test_page_request_responses(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[16];

    guest.answer = IOMMU_PRI_RESP_INVALID_REQUEST;
    assert_int_equal(dma_read(dma, 1, buf, 16), -EFAULT);
    guest.answer = IOMMU_PRI_RESP_FAILURE;
    assert_int_equal(dma_read(dma, 1, buf, 16), -ECANCELED);
    /* Success, but the page is still missing: the engine requests it again. */
    guest.answer = IOMMU_PRI_RESP_SUCCESS;
    guest.false_successes = 40;
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    assert_int_equal(guest.false_successes, 0);
    /* The page request queue is full for a while. */
    guest.refuse = 10;
    assert_int_equal(dma_read(dma, 2, buf, 16), 0);
    assert_int_equal(guest.refuse, 0);
    dma_stop(dma);
}

/* 10.4.1: the engine closes a group whose last requests overflow the queue */
static void test_group_overflow(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[8 * PAGE];

    guest.accepted = 3;
    guest.refuse = 4;
    assert_int_equal(dma_read(dma, 1, buf, sizeof(buf)), 0);
    assert_memory_equal(buf, fake.ram + PAGE, sizeof(buf));
    assert_int_equal(guest.accepted + guest.refuse, 0);
    dma_stop(dma);
}

/* Copies one piece only: the first page */
static void *background_copy(void *opaque)
{
    Background *b = opaque;
    unsigned failed;
    Copy copy = { .last = 1 };

    b->ret = copy_pages(b->dma, b->pasid, 0, b->page, b->page + 10, b->len,
                        &copy, &b->moved, &failed);
    qemu_sem_post(&b->ended);
    return NULL;
}

static void *background_settle(void *opaque)
{
    Background *b = opaque;

    b->ret = pci_ats_dma_settle(b->dma, b->pasid);
    qemu_sem_post(&b->ended);
    return NULL;
}

static void wait_until_starved(PCIATSDMA *dma)
{
    unsigned starved;

    do {
        g_usleep(100);
        qemu_mutex_lock(&dma->lock);
        starved = dma->groups.starved;
        qemu_mutex_unlock(&dma->lock);
    } while (!starved);
}

/* A demand page request has precedence over prefetch of other transfers */
static void test_starved(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Background *b = g_new(Background, 2);

    fake.allocation = 4;
    guest_hold(true);
    background_start(&b[0], background_read, dma, 1, 0, 32 * PAGE);
    wait_for_requests(4);
    background_start(&b[1], background_read, dma, 2, 40, 16);
    wait_until_starved(dma);
    guest_hold(false);
    assert_int_equal(background_join(&b[0]), 0);
    assert_int_equal(background_join(&b[1]), 0);
    /* Until then, the first transfer requests one page at a time. */
    for (int i = 4; guest.queue[i].pasid != 2; i++) {
        assert_true(guest.queue[i].last);
    }
    assert_int_equal(guest.most_unanswered, 4);
    dma_stop(dma);
}

/* A cancelled transfer sends no further page requests, and ends */
static void test_cancel_one(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Background *b = g_new(Background, 2);

    fake.allocation = 1;
    guest_hold(true);
    background_start(&b[0], background_read, dma, 1, 0, 8 * PAGE);
    wait_for_requests(1);
    qatomic_set(&b[0].cancel, true);
    assert_int_equal(qemu_sem_timedwait(&b[0].ended, 20), -1);
    guest_hold(false);
    assert_int_equal(background_join(&b[0]), -ECANCELED);
    assert_int_equal(b[0].moved, 0);
    assert_int_equal(guest.requests_seen, 1);
    /* The other transfers continue. */
    background_start(&b[1], background_read, dma, 1, 0, 8 * PAGE);
    assert_int_equal(background_join(&b[1]), 0);
    dma_stop(dma);
}

/* 10.4.1: a cancelled transfer still sends the last request of its group */
static void test_cancel_in_group(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Background *b = g_new(Background, 1);

    guest.set_in_group = &b->cancel;
    background_start(b, background_read, dma, 1, 0, 8 * PAGE);
    assert_int_equal(background_join(b), -ECANCELED);
    assert_int_equal(guest.requests_seen, 8);
    assert_true(guest.queue[7].last);
    dma_stop(dma);
}

/* 6.20.1: a transfer that ends early waits for outstanding responses */
static void test_end_waits_for_responses(void **state)
{
    IOMMUPRIResponse response = { };
    PCIATSDMA *dma = dma_start();
    g_autofree Background *b = g_new(Background, 1);

    /* The groups are page 0, pages 2 to 8, page 10, and pages 12 to 18. */
    map(1, PAGE, IOMMU_RW);
    map(11, 11 * PAGE, IOMMU_RW);
    guest.ignored_page = 8;
    background_start(b, background_copy, dma, 1, 0, 8 * PAGE);
    wait_for_requests(16);
    assert_int_equal(qemu_sem_timedwait(&b->ended, 20), -1);
    WITH_QEMU_LOCK_GUARD(&guest.lock) {
        response.prgi = guest.ignored_prgi;
    }
    deliver(1, &response);
    assert_int_equal(background_join(b), 0);
    assert_true(b->moved < 8 * PAGE);
    dma_stop(dma);
}

static void suspend(PCIATSDMA *dma)
{
    BQL_LOCK_GUARD();
    pci_ats_dma_suspend(dma);
}

static void resume(PCIATSDMA *dma)
{
    BQL_LOCK_GUARD();
    pci_ats_dma_resume(dma);
}

/* 6.20.1: pci_ats_dma_settle() waits for the outstanding groups of a PASID */
static void test_settle(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Background *b = g_new(Background, 1);

    assert_true(pci_ats_dma_settle(dma, 1));
    guest_hold(true);
    background_start(b, background_read, dma, 1, 0, 8 * PAGE);
    wait_for_requests(8);
    suspend(dma);
    assert_int_equal(background_join(b), -ECANCELED);
    assert_false(pci_ats_dma_settle(dma, 1));
    assert_true(pci_ats_dma_settle(dma, 2));
    resume(dma);
    assert_true(pci_ats_dma_settle(dma, 2));

    background_start(b, background_settle, dma, 1, 0, 0);
    assert_int_equal(qemu_sem_timedwait(&b->ended, 20), -1);
    suspend(dma);
    assert_false(background_join(b));
    resume(dma);
    background_start(b, background_settle, dma, 1, 0, 0);
    guest_hold(false);
    assert_true(background_join(b));
    assert_int_equal(guest.unanswered, 0);

    /* It does not wait when the guest cannot respond any more. */
    guest_hold(true);
    background_start(b, background_read, dma, 1, 10, 16);
    wait_for_requests(9);
    suspend(dma);
    assert_int_equal(background_join(b), -ECANCELED);
    resume(dma);
    qatomic_set(&fake.pri_on, false);
    assert_true(pci_ats_dma_settle(dma, 1));
    dma_stop(dma);
}

/* 10.4.2.1: the guest responds to no group after Response Failure */
static void test_response_failure(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Async *a = g_new0(Async, 2);
    int i;

    guest.ignored_page = 0;
    async_start(&a[0], dma, 1, 0);
    wait_for_requests(1);
    guest_hold(true);
    async_start(&a[1], dma, 2, 1);
    wait_for_requests(2);
    guest.answer = IOMMU_PRI_RESP_FAILURE;
    /* The response sets RF. */
    qatomic_set(&fake.pri_on, false);
    guest_hold(false);
    for (i = 0; i < 2; i++) {
        qemu_sem_wait(&a[i].sem);
        assert_int_equal(a[i].ret, -ECANCELED);
        qemu_sem_destroy(&a[i].sem);
    }
    dma_stop(dma);
}

/*
 * A cancelled transfer ends when the guest has responded, or cannot respond any
 * more; later transfers work
 */
static void test_cancel(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Async *a = g_new0(Async, 1);
    uint8_t buf[16];

    guest.ignored_page = 0;
    async_start(a, dma, 1, 0);
    while (!qatomic_read(&guest.requests_seen)) {
        g_usleep(1000);
    }
    bql_lock();
    pci_ats_dma_cancel(dma);
    bql_unlock();
    assert_int_equal(qemu_sem_timedwait(&a->sem, 20), -1);
    qatomic_set(&fake.pri_on, false);
    bql_lock();
    pci_ats_dma_recheck(dma);
    bql_unlock();
    qemu_sem_wait(&a->sem);
    assert_int_equal(a->ret, -ECANCELED);
    qatomic_set(&fake.pri_on, true);
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    dma_stop(dma);
    qemu_sem_destroy(&a->sem);
}

/* 6.20.1: a transfer does not end before the responses to loaded groups */
static void test_loaded_groups(void **state)
{
    IOMMUPRIResponse response = { .prgi = 7 };
    PCIATSDMA *dma = dma_start();
    g_autofree Async *a = g_new0(Async, 2);
    g_autofree Background *b = g_new(Background, 1);

    map(1, PAGE, IOMMU_RW);
    fake.loaded_groups = true;
    async_start(&a[0], dma, 1, 1);
    async_start(&a[1], dma, 2, 1);
    qemu_sem_wait(&a[1].sem);
    assert_int_equal(a[1].ret, 0);
    assert_int_equal(qemu_sem_timedwait(&a[0].sem, 20), -1);
    background_start(b, background_settle, dma, 1, 0, 0);
    assert_int_equal(qemu_sem_timedwait(&b->ended, 20), -1);
    qatomic_set(&fake.loaded_groups, false);
    deliver(1, &response);
    qemu_sem_wait(&a[0].sem);
    assert_int_equal(a[0].ret, 0);
    assert_true(background_join(b));
    qemu_sem_destroy(&a[0].sem);
    qemu_sem_destroy(&a[1].sem);
    /* Without loaded groups, each transfer checks for them once. */
    qatomic_set(&fake.loaded_questions, 0);
    async_start(&a[0], dma, 1, 1);
    qemu_sem_wait(&a[0].sem);
    assert_int_equal(qatomic_read(&fake.loaded_questions), 1);
    qemu_sem_destroy(&a[0].sem);
    dma_stop(dma);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_page_requests),
        cmocka_unit_test(test_page_request_write),
        cmocka_unit_test(test_page_request_responses),
        cmocka_unit_test(test_group_overflow),
        cmocka_unit_test(test_starved),
        cmocka_unit_test(test_cancel_one),
        cmocka_unit_test(test_cancel_in_group),
        cmocka_unit_test(test_end_waits_for_responses),
        cmocka_unit_test(test_settle),
        cmocka_unit_test(test_response_failure),
        cmocka_unit_test(test_cancel),
        cmocka_unit_test(test_loaded_groups),
    };

    dma_init();
    return cmocka_run_group_tests_name("pci-ats-dma-page-request", tests, NULL,
                                       NULL);
}
