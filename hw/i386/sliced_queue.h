/*
 * Processing of a queue in slices
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A guest may queue as many entries as a queue holds, and choose those that
 * are expensive.  They are processed in slices of bounded work, each with the
 * BQL held.  The first slice runs in the register write that makes work
 * available, so that short queues are empty when the write returns.  The main
 * loop runs the others, and releases the BQL between them.
 *
 * The user of a sliced queue owns the entries and the registers.  What is left
 * to do is known from them alone: a sliced queue has no state to migrate.
 */

#ifndef HW_I386_SLICED_QUEUE_H
#define HW_I386_SLICED_QUEUE_H

#include "hw/qdev-core.h"

/*
 * The work of a slice, in units of about 100 ns: what the cheapest entry costs.
 * A slice ends with the entry that brings its work to this.
 */
#define SLICED_QUEUE_WORK   8192

typedef struct SlicedQueue SlicedQueue;

/**
 * struct SlicedQueueOps - what the user of a sliced queue does
 *
 * All are called with the BQL held.
 *
 * @has_work: returns whether entries are going to be processed: false if the
 *     queue is empty, disabled, or stopped by an error
 * @process: process entries, one for each time that sliced_queue_next() returns
 *     true, until it returns false or @has_work would
 * @drained: optional; a slice has been processed, or was due, and no work is
 *     left
 */
typedef struct SlicedQueueOps {
    bool (*has_work)(void *opaque);
    void (*process)(void *opaque);
    void (*drained)(void *opaque);
} SlicedQueueOps;

/**
 * sliced_queue_new: create a sliced queue
 *
 * Called with the BQL held.
 *
 * @ops: what the user does
 * @opaque: passed to @ops
 * @guard: of the device that has the queue; keeps its entries from reaching its
 *     registers while the main loop processes them
 *
 * Returns: the sliced queue, which lives as long as the emulator
 */
SlicedQueue *sliced_queue_new(const SlicedQueueOps *ops, void *opaque,
                              MemReentrancyGuard *guard);

/**
 * sliced_queue_run: process entries if there are any
 *
 * Called with the BQL held, when @has_work may have become true.  When this
 * returns, the first slice has been processed.  If slices of earlier entries
 * are outstanding, new entries are left to them.  While the machine is stopped
 * there is no slice but the first; the others follow when it runs.
 *
 * @q: the sliced queue
 */
void sliced_queue_run(SlicedQueue *q);

/**
 * sliced_queue_stop: drop the slices that are still to come
 *
 * Called with the BQL held, not from within @process.
 *
 * @q: the sliced queue
 */
void sliced_queue_stop(SlicedQueue *q);

/**
 * sliced_queue_next: account for another entry in this slice
 *
 * Called with the BQL held, from within @process.  Costs one unit of work.
 *
 * @q: the sliced queue
 *
 * Returns: false if the slice is used up, and the entry is left to another
 */
bool sliced_queue_next(SlicedQueue *q);

/**
 * sliced_queue_charge: account for the work of an entry
 *
 * Called with the BQL held.  Outside of @process it has no effect.
 *
 * @q: the sliced queue
 * @work: beyond the unit of sliced_queue_next(); a single call never exceeds
 *     what one entry can cause
 */
void sliced_queue_charge(SlicedQueue *q, unsigned work);

#endif
