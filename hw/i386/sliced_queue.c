/*
 * Processing of a queue in slices
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/timer.h"
#include "hw/iommu_batch.h"
#include "system/runstate.h"
#include "sliced_queue.h"
#include "trace.h"

/*
 * Time for which the main loop leaves the BQL to vCPUs between two slices.  If
 * it released the mutex and took it again at once, waiting threads would not
 * get it.
 */
#define PAUSE_NS    (50 * SCALE_US)

/*
 * IDLE -> RUNNING      sliced_queue_run() finds work
 * RUNNING -> IDLE      nothing is left
 * RUNNING -> PENDING   the slice is used up
 * IDLE -> PENDING      the machine starts with work that has been loaded
 * PENDING -> RUNNING   the main loop takes the next slice
 * PENDING -> IDLE      sliced_queue_stop(), or an error or the guest has ended
 *                      the work
 *
 * While the machine is stopped, PENDING lasts.
 */
typedef enum SlicedQueueState {
    IDLE,
    RUNNING,                    /* a slice is running in this thread */
    PENDING,                    /* @pause and @bh start the next slice */
} SlicedQueueState;

/* All fields are protected by the BQL */
struct SlicedQueue {
    const SlicedQueueOps *ops;
    void *opaque;
    SlicedQueueState state;
    unsigned work;              /* done in this slice */
    QEMUTimer *pause;
    QEMUBH *bh;
};

bool sliced_queue_next(SlicedQueue *q)
{
    if (q->work >= SLICED_QUEUE_WORK) {
        return false;
    }
    q->work++;
    return true;
}

void sliced_queue_charge(SlicedQueue *q, unsigned work)
{
    q->work += work;
}

static bool has_work(const SlicedQueue *q)
{
    return q->ops->has_work(q->opaque);
}

static void drained(SlicedQueue *q)
{
    q->state = IDLE;
    if (q->ops->drained) {
        q->ops->drained(q->opaque);
    }
}

static void run_slice(SlicedQueue *q)
{
    q->state = RUNNING;
    q->work = 0;
    iommu_batch_begin();
    q->ops->process(q->opaque);
    iommu_batch_end();
    if (has_work(q)) {
        trace_sliced_queue_pause(q->opaque, q->work);
        q->state = PENDING;
        timer_mod(q->pause, qemu_clock_get_ns(QEMU_CLOCK_REALTIME) + PAUSE_NS);
    } else {
        drained(q);
    }
}

void sliced_queue_run(SlicedQueue *q)
{
    if (q->state == IDLE && has_work(q)) {
        run_slice(q);
    }
}

static void pause_over(void *opaque)
{
    SlicedQueue *q = opaque;

    qemu_bh_schedule(q->bh);
}

static void next_slice(void *opaque)
{
    SlicedQueue *q = opaque;

    /* The memory of a stopped machine must not change. */
    if (q->state == PENDING && runstate_is_running()) {
        if (has_work(q)) {
            run_slice(q);
        } else {
            drained(q);
        }
    }
}

/* The main loop starts the slice, when all devices run again. */
static void vm_state_changed(void *opaque, bool running, RunState state)
{
    SlicedQueue *q = opaque;

    if (running && (q->state == PENDING || has_work(q))) {
        q->state = PENDING;
        qemu_bh_schedule(q->bh);
    }
}

SlicedQueue *sliced_queue_new(const SlicedQueueOps *ops, void *opaque,
                              MemReentrancyGuard *guard)
{
    SlicedQueue *q = g_new0(SlicedQueue, 1);

    q->ops = ops;
    q->opaque = opaque;
    q->pause = timer_new_ns(QEMU_CLOCK_REALTIME, pause_over, q);
    q->bh = qemu_bh_new_guarded(next_slice, q, guard);
    qemu_add_vm_change_state_handler(vm_state_changed, q);
    return q;
}

void sliced_queue_stop(SlicedQueue *q)
{
    timer_del(q->pause);
    qemu_bh_cancel(q->bh);
    q->state = IDLE;
}
