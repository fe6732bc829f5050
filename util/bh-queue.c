/*
 * BH queue: events of threads, which the main loop handles
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bh-queue.h"
#include "qemu/lockable.h"
#include "qemu/thread.h"

struct BHQueue {
    BHQueueHandler *handler;
    void *opaque;
    QEMUBH *bh;
    size_t event_size;
    unsigned capacity;
    QemuMutex lock;
    /* The members below are protected by @lock: a ring of events */
    unsigned first;
    unsigned n;
    uint8_t *events;
};

/* Called with @lock held */
static void *bh_queue_event(BHQueue *q, unsigned i)
{
    return q->events + (q->first + i) % q->capacity * q->event_size;
}

static bool bh_queue_take(BHQueue *q, void *event)
{
    QEMU_LOCK_GUARD(&q->lock);
    if (!q->n) {
        return false;
    }
    memcpy(event, bh_queue_event(q, 0), q->event_size);
    q->first = (q->first + 1) % q->capacity;
    q->n--;
    return true;
}

/* Events that are put meanwhile schedule the bottom half again. */
static void bh_queue_run(void *opaque)
{
    BHQueue *q = opaque;
    uint64_t event[BH_QUEUE_EVENT_SIZE / sizeof(uint64_t)];

    for (unsigned i = 0; i < q->capacity && bh_queue_take(q, event); i++) {
        q->handler(q->opaque, event);
    }
}

BHQueue *bh_queue_new(size_t event_size, unsigned capacity,
                      BHQueueHandler *handler, void *opaque,
                      MemReentrancyGuard *guard)
{
    BHQueue *q = g_new0(BHQueue, 1);

    assert(event_size <= BH_QUEUE_EVENT_SIZE);
    q->handler = handler;
    q->opaque = opaque;
    q->bh = qemu_bh_new_guarded(bh_queue_run, q, guard);
    q->event_size = event_size;
    q->capacity = capacity;
    qemu_mutex_init(&q->lock);
    q->events = g_malloc(event_size * capacity);
    return q;
}

void bh_queue_free(BHQueue *q)
{
    if (q) {
        qemu_bh_delete(q->bh);
        qemu_mutex_destroy(&q->lock);
        g_free(q->events);
        g_free(q);
    }
}

bool bh_queue_put(BHQueue *q, const void *event)
{
    WITH_QEMU_LOCK_GUARD(&q->lock) {
        if (q->n == q->capacity) {
            return false;
        }
        memcpy(bh_queue_event(q, q->n), event, q->event_size);
        q->n++;
    }
    qemu_bh_schedule(q->bh);
    return true;
}

void bh_queue_clear(BHQueue *q)
{
    QEMU_LOCK_GUARD(&q->lock);
    q->n = 0;
}
