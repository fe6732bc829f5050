/*
 * Unit tests of queues of events that the main loop handles
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qapi/error.h"
#include "qemu/atomic.h"
#include "qemu/bh-queue.h"
#include "qemu/thread.h"
#include "hw/qdev-core.h"

#define CAPACITY    8
#define THREADS     4
#define EVENTS      20000       /* of each thread */

typedef struct Event {
    uint32_t thread;
    uint32_t number;
    uint64_t check;
} Event;

static BHQueue *queue;
static MemReentrancyGuard guard;
/* Called by the handler of each event, unless NULL */
static void (*handler_hook)(const Event *event);

static unsigned handled;
static int64_t last[THREADS];   /* number of the last event of each thread */

static Event event_new(uint32_t thread, uint32_t number)
{
    return (Event) { thread, number, ((uint64_t)thread << 32 | number) * 3 };
}

/* Events of a thread arrive intact and in order, with the BQL held */
static void handle(void *opaque, const void *data)
{
    const Event *event = data;

    assert_ptr_equal(opaque, &queue);
    assert_true(bql_locked());
    assert_true(guard.engaged_in_io);
    assert_int_equal(event->check,
                     event_new(event->thread, event->number).check);
    assert_true(event->number > last[event->thread]);
    last[event->thread] = event->number;
    handled++;
    if (handler_hook) {
        handler_hook(event);
    }
}

static bool put(uint32_t number)
{
    Event event = event_new(0, number);

    return bh_queue_put(queue, &event);
}

static void run_main_loop(void)
{
    bql_lock();
    main_loop_wait(true);
    bql_unlock();
}

static int setup(void **state)
{
    handler_hook = NULL;
    handled = 0;
    for (int i = 0; i < THREADS; i++) {
        last[i] = -1;
    }
    queue = bh_queue_new(sizeof(Event), CAPACITY, handle, &queue, &guard);
    return 0;
}

static int teardown(void **state)
{
    bql_lock();
    bh_queue_free(queue);
    bql_unlock();
    /* The bottom half does not run any more. */
    run_main_loop();
    return 0;
}

/* Without the BQL and with it, an event is handled later */
static void test_order(void **state)
{
    assert_true(put(0));
    assert_true(put(1));
    bql_lock();
    assert_true(put(2));
    bql_unlock();
    assert_int_equal(handled, 0);
    run_main_loop();
    assert_int_equal(handled, 3);
    run_main_loop();
    assert_int_equal(handled, 3);
}

/* The queue keeps the first events, and has room again later */
static void test_full(void **state)
{
    for (unsigned round = 0; round < 3; round++) {
        /* The ring wraps around at another place each time. */
        assert_true(put(100 * round));
        run_main_loop();
        for (unsigned i = 0; i < CAPACITY; i++) {
            assert_true(put(100 * round + 1 + i));
        }
        assert_false(put(100 * round + 50));
        run_main_loop();
        assert_int_equal(last[0], 100 * round + CAPACITY);
        assert_int_equal(handled, (round + 1) * (CAPACITY + 1));
    }
}

static void test_clear(void **state)
{
    put(0);
    put(1);
    bh_queue_clear(queue);
    run_main_loop();
    assert_int_equal(handled, 0);
    assert_true(put(2));
    run_main_loop();
    assert_int_equal(last[0], 2);
}

static void clear_queue(const Event *event)
{
    bh_queue_clear(queue);
}

/* A reset during the report of an event drops the events that follow */
static void test_clear_in_handler(void **state)
{
    put(0);
    put(1);
    handler_hook = clear_queue;
    run_main_loop();
    assert_int_equal(handled, 1);
}

static void put_next(const Event *event)
{
    assert_true(put(event->number + 1));
}

/* Each event causes another: the main loop gets its turn all the same */
static void test_put_in_handler(void **state)
{
    unsigned before;

    put(0);
    handler_hook = put_next;
    for (unsigned i = 0; i < 3; i++) {
        before = handled;
        run_main_loop();
        assert_in_range(handled - before, 1, CAPACITY);
    }
}

static void test_free_pending(void **state)
{
    put(0);
    teardown(state);
    assert_int_equal(handled, 0);
    setup(state);
}

static uint32_t busy_threads;

static void *put_events(void *opaque)
{
    uint32_t thread = GPOINTER_TO_UINT(opaque);

    for (unsigned i = 0; i < EVENTS; i++) {
        Event event = event_new(thread, i);

        /* The last one arrives, so that the test sees how the thread ends. */
        while (!bh_queue_put(queue, &event) && i == EVENTS - 1) {
            sched_yield();
        }
    }
    qatomic_dec(&busy_threads);
    return NULL;
}

static void test_threads(void **state)
{
    QemuThread threads[THREADS];

    busy_threads = THREADS;
    for (unsigned i = 0; i < THREADS; i++) {
        qemu_thread_create(&threads[i], "put", put_events, GUINT_TO_POINTER(i),
                           QEMU_THREAD_JOINABLE);
    }
    while (qatomic_read(&busy_threads)) {
        run_main_loop();
    }
    for (unsigned i = 0; i < THREADS; i++) {
        qemu_thread_join(&threads[i]);
    }
    run_main_loop();
    for (unsigned i = 0; i < THREADS; i++) {
        assert_int_equal(last[i], EVENTS - 1);
    }
    assert_in_range(handled, THREADS, THREADS * EVENTS);
}

int main(int argc, char **argv)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_ ## name, setup, \
                                                   teardown)
    static const struct CMUnitTest tests[] = {
        TEST(order),
        TEST(full),
        TEST(clear),
        TEST(clear_in_handler),
        TEST(put_in_handler),
        TEST(free_pending),
        TEST(threads),
    };
#undef TEST

    bql_lock();
    qemu_init_main_loop(&error_abort);
    bql_unlock();
    return cmocka_run_group_tests_name("bh-queue", tests, NULL, NULL);
}
