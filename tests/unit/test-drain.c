/*
 * Unit tests of util/drain.c
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/drain.h"
#include "qemu/thread.h"

/* Number of threads, which exceeds the number of counters */
#define MANY        20
#define PAGES       4
#define PAGE_WORDS  64
#define TURNS       4000

/* Returns the phase in which new threads are counted */
static unsigned current_phase(Drain *d)
{
    unsigned token = drain_enter(d);

    drain_leave(d, token);
    return token % 2;
}

typedef struct Waiter {
    QemuThread thread;
    Drain *drain;
    bool returned;
} Waiter;

static void *waiter(void *opaque)
{
    Waiter *w = opaque;

    drain_wait(w->drain);
    qatomic_store_release(&w->returned, true);
    return NULL;
}

static void waiter_start(Waiter *w, Drain *d)
{
    *w = (Waiter) { .drain = d };
    qemu_thread_create(&w->thread, "waiter", waiter, w, QEMU_THREAD_JOINABLE);
}

/* Wait until the waiter has changed the phase */
static void waiter_await_turn(const Waiter *w, unsigned before)
{
    while (current_phase(w->drain) == before) {
        g_usleep(10);
    }
}

static void test_empty(void **state)
{
    Drain *d = drain_new();

    drain_wait(d);
    drain_leave(d, drain_enter(d));
    drain_wait(d);
    drain_free(d);
    drain_free(NULL);
}

/* A waiter waits until a thread has left as often as it entered, and sleeps */
static void test_wait(void **state)
{
    Drain *d = drain_new();
    unsigned token[3], phase = current_phase(d);
    Waiter w;

    for (int i = 0; i < ARRAY_SIZE(token); i++) {
        token[i] = drain_enter(d);
        assert_in_range(token[i], 0, DRAIN_TOKENS - 1);
    }
    waiter_start(&w, d);
    waiter_await_turn(&w, phase);
    for (int i = 0; i < ARRAY_SIZE(token); i++) {
        g_usleep(10000);
        assert_false(qatomic_load_acquire(&w.returned));
        drain_leave(d, token[i]);
    }
    qemu_thread_join(&w.thread);
    drain_free(d);
}

/* A waiter does not wait for threads that enter later */
static void test_later_thread(void **state)
{
    Drain *d = drain_new();

    for (int i = 0; i < 3; i++) {
        unsigned phase = current_phase(d);
        unsigned before = drain_enter(d), later;
        Waiter w;

        waiter_start(&w, d);
        waiter_await_turn(&w, phase);
        later = drain_enter(d);
        drain_leave(d, before);
        qemu_thread_join(&w.thread);
        drain_leave(d, later);
    }
    drain_free(d);
}

/* A later waiter waits for these threads */
static void test_later_waiter(void **state)
{
    Drain *d = drain_new();
    unsigned phase = current_phase(d);
    unsigned first = drain_enter(d), second;
    Waiter w[3];

    waiter_start(&w[0], d);
    waiter_await_turn(&w[0], phase);
    second = drain_enter(d);
    waiter_start(&w[1], d);
    waiter_start(&w[2], d);
    drain_leave(d, first);
    qemu_thread_join(&w[0].thread);
    g_usleep(10000);
    assert_false(qatomic_load_acquire(&w[1].returned));
    assert_false(qatomic_load_acquire(&w[2].returned));
    drain_leave(d, second);
    qemu_thread_join(&w[1].thread);
    qemu_thread_join(&w[2].thread);
    drain_free(d);
}

/* ---- Many threads whose page is replaced ---- */

typedef struct Stress {
    Drain *drain;
    uint64_t *page;             /* current page, published atomically */
    bool stop;
    uint64_t stays;
} Stress;

/* Only the drain protects the words of a page */
static void *stress_user(void *opaque)
{
    Stress *s = opaque;
    unsigned word = 1;

    while (!qatomic_read(&s->stop)) {
        unsigned token = drain_enter(s->drain);
        uint64_t *page = qatomic_load_acquire(&s->page);

        for (unsigned i = 0; i < PAGE_WORDS; i++) {
            qatomic_set(&page[i], word);
            if (i == PAGE_WORDS / 2 && word % 2 == 0) {
                sched_yield();
            }
        }
        drain_leave(s->drain, token);
        word++;
        qatomic_inc(&s->stays);
        /* Yield here: the waiter does not wait for this thread now */
        sched_yield();
    }
    return NULL;
}

static bool page_is_clear(const uint64_t *page)
{
    for (unsigned i = 0; i < PAGE_WORDS; i++) {
        if (page[i]) {
            return false;
        }
    }
    return true;
}

/* Replace the page repeatedly: no thread writes to the old page afterwards */
static void stress_take(Stress *s, uint64_t (*pages)[PAGE_WORDS])
{
    for (unsigned turn = 1; turn <= TURNS; turn++) {
        uint64_t *old = s->page, stays = qatomic_read(&s->stays);

        while (qatomic_read(&s->stays) == stays) {
            sched_yield();
        }
        qatomic_store_release(&s->page, pages[turn % PAGES]);
        drain_wait(s->drain);
        /*
         * Not atomic, so that ThreadSanitizer detects a thread that still
         * writes
         */
        memset(old, 0, sizeof(pages[0]));
        assert_true(page_is_clear(pages[(turn + 1) % PAGES]));
    }
}

static void test_stress(void **state)
{
    static uint64_t pages[PAGES][PAGE_WORDS];
    Stress s = { .drain = drain_new(), .page = pages[0] };
    QemuThread threads[MANY];

    for (unsigned i = 0; i < MANY; i++) {
        qemu_thread_create(&threads[i], "user", stress_user, &s,
                           QEMU_THREAD_JOINABLE);
    }
    stress_take(&s, pages);
    qatomic_set(&s.stop, true);
    for (unsigned i = 0; i < MANY; i++) {
        qemu_thread_join(&threads[i]);
    }
    /* The threads must have used the pages */
    assert_true(s.stays > MANY);
    drain_free(s.drain);
}

/* ---- Several waiters, some of which hold a lock such as the BQL ---- */

typedef struct Locked {
    Stress *s;
    QemuMutex *lock;
} Locked;

static void *locked_waiter(void *opaque)
{
    Locked *l = opaque;

    for (unsigned i = 0; i < TURNS / 20; i++) {
        if (l->lock) {
            qemu_mutex_lock(l->lock);
        }
        drain_wait(l->s->drain);
        if (l->lock) {
            qemu_mutex_unlock(l->lock);
        }
    }
    return NULL;
}

static void test_stress_waiters(void **state)
{
    static uint64_t page[PAGE_WORDS];
    Stress s = { .drain = drain_new(), .page = page };
    QemuMutex lock;
    Locked locked[] = { { &s, &lock }, { &s, &lock }, { &s, NULL } };
    QemuThread users[4], waiters[ARRAY_SIZE(locked)];

    qemu_mutex_init(&lock);
    for (unsigned i = 0; i < ARRAY_SIZE(users); i++) {
        qemu_thread_create(&users[i], "user", stress_user, &s,
                           QEMU_THREAD_JOINABLE);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(locked); i++) {
        qemu_thread_create(&waiters[i], "waiter", locked_waiter, &locked[i],
                           QEMU_THREAD_JOINABLE);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(locked); i++) {
        qemu_thread_join(&waiters[i]);
    }
    qatomic_set(&s.stop, true);
    for (unsigned i = 0; i < ARRAY_SIZE(users); i++) {
        qemu_thread_join(&users[i]);
    }
    qemu_mutex_destroy(&lock);
    drain_free(s.drain);
}

/* ---- Many threads that deliver items ---- */

#define THREADS     4
#define PER_THREAD  20000

static unsigned running;

/* Numbers of the items that threads have begun, and delivered */
static uint64_t begun[THREADS];
static uint64_t delivered[THREADS];
static Drain *receiving;

static void *receiver(void *opaque)
{
    uint64_t id = (uintptr_t)opaque;

    for (uint64_t i = 1; i <= PER_THREAD; i++) {
        unsigned token = drain_enter(receiving);

        qatomic_set(&begun[id], i);
        if (i % 64 == 0) {
            g_thread_yield();
        }
        qatomic_store_release(&delivered[id], i);
        drain_leave(receiving, token);
    }
    qatomic_dec(&running);
    return NULL;
}

/* VT-d 7.7: when the wait ends, items that were begun earlier are delivered */
static void test_delivery(void **state)
{
    QemuThread thread[THREADS];

    receiving = drain_new();
    drain_wait(receiving);
    running = THREADS;
    for (uintptr_t i = 0; i < THREADS; i++) {
        qemu_thread_create(&thread[i], "receiver", receiver, (void *)i,
                           QEMU_THREAD_JOINABLE);
    }
    while (qatomic_read(&running)) {
        uint64_t seen[THREADS];

        for (int i = 0; i < THREADS; i++) {
            seen[i] = qatomic_read(&begun[i]);
        }
        drain_wait(receiving);
        for (int i = 0; i < THREADS; i++) {
            assert_true(qatomic_load_acquire(&delivered[i]) >= seen[i]);
        }
    }
    for (int i = 0; i < THREADS; i++) {
        qemu_thread_join(&thread[i]);
    }
    drain_wait(receiving);
    drain_free(receiving);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_wait),
        cmocka_unit_test(test_later_thread),
        cmocka_unit_test(test_later_waiter),
        cmocka_unit_test(test_stress),
        cmocka_unit_test(test_stress_waiters),
        cmocka_unit_test(test_delivery),
    };

    return cmocka_run_group_tests_name("drain", tests, NULL, NULL);
}
