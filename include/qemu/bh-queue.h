/*
 * BH queue: events of threads, which the main loop handles
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A thread of a device does not hold the BQL and must not wait for it.  An
 * event of such a thread whose handler needs the BQL, such as a fault that an
 * IOMMU reports to the guest, goes into a queue.  A bottom half of the main
 * loop handles it.
 *
 * The capacity of a queue is fixed, because a guest may cause events faster
 * than the main loop handles them.  An event that finds the queue full is
 * dropped.
 */

#ifndef QEMU_BH_QUEUE_H
#define QEMU_BH_QUEUE_H

#include "qemu/main-loop.h"

typedef struct BHQueue BHQueue;

/* Maximum size of an event, in bytes */
#define BH_QUEUE_EVENT_SIZE 32

/**
 * BHQueueHandler: handle an event
 *
 * Called by the main loop with the BQL held, and without a lock of the queue:
 * it may call bh_queue_put() and bh_queue_clear().
 *
 * @opaque: from bh_queue_new()
 * @event: a copy of the event, valid during the call
 */
typedef void BHQueueHandler(void *opaque, const void *event);

/**
 * bh_queue_new: create a queue
 *
 * @event_size: size of an event in bytes, at most %BH_QUEUE_EVENT_SIZE
 * @capacity: number of events that can wait
 * @handler: called once for each event, in the order of bh_queue_put()
 * @opaque: passed to @handler
 * @guard: reentrancy guard of the device that handles the events, or NULL
 *
 * Returns: the queue; free it with bh_queue_free()
 */
BHQueue *bh_queue_new(size_t event_size, unsigned capacity,
                      BHQueueHandler *handler, void *opaque,
                      MemReentrancyGuard *guard);

/**
 * bh_queue_free: free a queue, and drop its events
 *
 * Called with the BQL held, but not by the handler.  No thread may be in a
 * function of the queue.
 *
 * @q: the queue, or NULL
 */
void bh_queue_free(BHQueue *q);

/**
 * bh_queue_put: add an event
 *
 * Callable from any thread, with or without the BQL, by many threads
 * concurrently.  Takes the lock of the queue only, which is never held for
 * long, and does not allocate memory.
 *
 * @q: the queue
 * @event: the event, which is copied
 *
 * Returns: false if the queue is full and the event is dropped
 */
bool bh_queue_put(BHQueue *q, const void *event);

/**
 * bh_queue_clear: drop all events
 *
 * Events that have been put before are not handled any more.  Called with the
 * BQL held.
 *
 * @q: the queue
 */
void bh_queue_clear(BHQueue *q);

#endif
