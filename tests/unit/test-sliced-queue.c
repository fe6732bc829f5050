/*
 * Unit tests for sliced queues
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The test replaces the main loop and the state of the machine.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "system/runstate.h"
#include "hw/i386/sliced_queue.h"

/* ---- Main loop ---- */

static struct {
    QEMUTimer *timer;
    bool armed;
    QEMUBHFunc *bh_cb;
    void *bh_opaque;
    bool scheduled;
    MemReentrancyGuard *guard;
    VMChangeStateHandler *state_cb;
    void *state_opaque;
    bool running;
} loop;

void timer_init_full(QEMUTimer *ts, QEMUTimerListGroup *group,
                     QEMUClockType type, int scale, int attributes,
                     QEMUTimerCB *cb, void *opaque)
{
    ts->cb = cb;
    ts->opaque = opaque;
    loop.timer = ts;
}

int64_t qemu_clock_get_ns(QEMUClockType type)
{
    assert_int_equal(type, QEMU_CLOCK_REALTIME);
    return 1000;
}

void timer_mod(QEMUTimer *ts, int64_t expire)
{
    assert_ptr_equal(ts, loop.timer);
    assert_true(expire > 1000);
    loop.armed = true;
}

void timer_del(QEMUTimer *ts)
{
    assert_ptr_equal(ts, loop.timer);
    loop.armed = false;
}

QEMUBH *qemu_bh_new_full(QEMUBHFunc *cb, void *opaque, const char *name,
                         MemReentrancyGuard *guard)
{
    loop.bh_cb = cb;
    loop.bh_opaque = opaque;
    loop.guard = guard;
    return (QEMUBH *)&loop;
}

void qemu_bh_schedule(QEMUBH *bh)
{
    assert_ptr_equal(bh, &loop);
    loop.scheduled = true;
}

void qemu_bh_cancel(QEMUBH *bh)
{
    assert_ptr_equal(bh, &loop);
    loop.scheduled = false;
}

VMChangeStateEntry *qemu_add_vm_change_state_handler(VMChangeStateHandler *cb,
                                                     void *opaque)
{
    loop.state_cb = cb;
    loop.state_opaque = opaque;
    return NULL;
}

bool runstate_is_running(void)
{
    return loop.running;
}

static void loop_init(void)
{
    g_free(loop.timer);
    memset(&loop, 0, sizeof(loop));
    loop.running = true;
}

/* Runs one iteration of the main loop, long after the previous one */
static void loop_turn(void)
{
    if (loop.armed) {
        loop.armed = false;
        loop.timer->cb(loop.timer->opaque);
    }
    if (loop.scheduled) {
        loop.scheduled = false;
        loop.bh_cb(loop.bh_opaque);
    }
}

static bool loop_idle(void)
{
    return !loop.armed && !loop.scheduled;
}

static void loop_set_running(bool running)
{
    loop.running = running;
    loop.state_cb(loop.state_opaque, running,
                  running ? RUN_STATE_RUNNING : RUN_STATE_PAUSED);
}

/* ---- A queue of entries that cost the same ---- */

typedef struct Queue {
    SlicedQueue *slices;
    unsigned left;
    bool enabled;
    unsigned extra;             /* work of an entry, beyond one unit */
    unsigned processed;         /* entries processed since the last check */
    unsigned drained;           /* calls of @drained since the last check */
    bool rings;                 /* each entry runs the queue */
} Queue;

static bool queue_has_work(void *opaque)
{
    Queue *q = opaque;

    return q->enabled && q->left;
}

static void queue_process(void *opaque)
{
    Queue *q = opaque;

    while (q->left && sliced_queue_next(q->slices)) {
        q->left--;
        q->processed++;
        sliced_queue_charge(q->slices, q->extra);
        if (q->rings) {
            sliced_queue_run(q->slices);
        }
    }
}

static void queue_drained(void *opaque)
{
    Queue *q = opaque;

    q->drained++;
}

static const SlicedQueueOps queue_ops = {
    .has_work = queue_has_work,
    .process = queue_process,
    .drained = queue_drained,
};

static MemReentrancyGuard guard;

static void queue_start(Queue *q)
{
    loop_init();
    *q = (Queue) { .enabled = true };
    q->slices = sliced_queue_new(&queue_ops, q, &guard);
    assert_ptr_equal(loop.guard, &guard);
}

static void queue_end(Queue *q)
{
    g_free(q->slices);
}

static void queue_ring(Queue *q, unsigned n)
{
    q->left += n;
    sliced_queue_run(q->slices);
}

static void expect(Queue *q, unsigned processed, unsigned drained)
{
    assert_int_equal(q->processed, processed);
    assert_int_equal(q->drained, drained);
    q->processed = q->drained = 0;
}

static void test_empty(void **state)
{
    Queue q;

    queue_start(&q);
    queue_ring(&q, 0);
    expect(&q, 0, 0);
    assert_true(loop_idle());
    queue_end(&q);
}

/* Entries that fit into one slice are processed in the register write */
static void test_one_slice(void **state)
{
    Queue q;

    queue_start(&q);
    queue_ring(&q, SLICED_QUEUE_WORK);
    expect(&q, SLICED_QUEUE_WORK, 1);
    assert_true(loop_idle());
    queue_ring(&q, 1);
    expect(&q, 1, 1);
    queue_end(&q);
}

static void test_slices(void **state)
{
    Queue q;

    queue_start(&q);
    queue_ring(&q, 2 * SLICED_QUEUE_WORK + 1);
    expect(&q, SLICED_QUEUE_WORK, 0);
    loop_turn();
    expect(&q, SLICED_QUEUE_WORK, 0);
    /* The next slice begins with a pause. */
    assert_true(loop.armed);
    assert_false(loop.scheduled);
    loop_turn();
    expect(&q, 1, 1);
    assert_true(loop_idle());
    queue_end(&q);
}

/* An entry that costs more than a slice forms its own slice */
static void test_charge(void **state)
{
    Queue q;

    queue_start(&q);
    q.extra = 3;
    queue_ring(&q, SLICED_QUEUE_WORK);
    expect(&q, SLICED_QUEUE_WORK / 4, 0);
    q.extra = 2 * SLICED_QUEUE_WORK;
    loop_turn();
    expect(&q, 1, 0);
    queue_end(&q);
}

/* Slices for earlier entries process new entries, too */
static void test_run_while_pending(void **state)
{
    Queue q;

    queue_start(&q);
    queue_ring(&q, SLICED_QUEUE_WORK + 1);
    expect(&q, SLICED_QUEUE_WORK, 0);
    queue_ring(&q, 1);
    expect(&q, 0, 0);
    loop_turn();
    expect(&q, 2, 1);
    queue_end(&q);
}

static void test_run_while_running(void **state)
{
    Queue q;

    queue_start(&q);
    q.rings = true;
    queue_ring(&q, SLICED_QUEUE_WORK + 1);
    expect(&q, SLICED_QUEUE_WORK, 0);
    loop_turn();
    expect(&q, 1, 1);
    queue_end(&q);
}

static void test_stop(void **state)
{
    Queue q;

    queue_start(&q);
    queue_ring(&q, SLICED_QUEUE_WORK + 2);
    expect(&q, SLICED_QUEUE_WORK, 0);
    sliced_queue_stop(q.slices);
    assert_true(loop_idle());
    loop_turn();
    expect(&q, 0, 0);
    queue_ring(&q, 0);
    expect(&q, 2, 1);
    queue_end(&q);
}

/* There is no work left when the next slice is due */
static void test_disable(void **state)
{
    Queue q;

    queue_start(&q);
    queue_ring(&q, SLICED_QUEUE_WORK + 2);
    expect(&q, SLICED_QUEUE_WORK, 0);
    q.enabled = false;
    loop_turn();
    expect(&q, 0, 1);
    assert_true(loop_idle());
    q.enabled = true;
    queue_ring(&q, 0);
    expect(&q, 2, 1);
    queue_end(&q);
}

/* In a stopped machine only the first slice runs */
static void test_stopped_machine(void **state)
{
    Queue q;

    queue_start(&q);
    queue_ring(&q, SLICED_QUEUE_WORK + 2);
    expect(&q, SLICED_QUEUE_WORK, 0);
    loop_set_running(false);
    loop_turn();
    loop_turn();
    queue_ring(&q, 1);
    expect(&q, 0, 0);
    loop_set_running(true);
    expect(&q, 0, 0);
    loop_turn();
    expect(&q, 3, 1);
    assert_true(loop_idle());
    queue_end(&q);
}

/* The machine starts with entries from a migration stream */
static void test_loaded(void **state)
{
    Queue q;

    queue_start(&q);
    loop_set_running(false);
    q.left = 2;
    loop_set_running(true);
    expect(&q, 0, 0);
    loop_turn();
    expect(&q, 2, 1);
    loop_set_running(false);
    loop_set_running(true);
    assert_true(loop_idle());
    queue_end(&q);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_empty),
        cmocka_unit_test(test_one_slice),
        cmocka_unit_test(test_slices),
        cmocka_unit_test(test_charge),
        cmocka_unit_test(test_run_while_pending),
        cmocka_unit_test(test_run_while_running),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_disable),
        cmocka_unit_test(test_stopped_machine),
        cmocka_unit_test(test_loaded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
