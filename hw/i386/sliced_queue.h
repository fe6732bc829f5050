/*
 * Processing of a queue in slices
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A guest may fill a queue with the most expensive entries.  They are processed
 * in slices of bounded work, each with the BQL held.  The first slice runs in
 * the register write that makes work available, so that short queues are empty
 * when the write returns.  The main loop runs the others, and releases the BQL
 * between them.
 *
 * Invalidations in a slice take effect together (hw/iommu_batch.h).  The user
 * calls iommu_batch_flush() before an entry reports that they are complete.
 *
 * The user of a sliced queue owns the entries and the registers.  These alone
 * determine the remaining work: a sliced queue has no state to migrate.
 */

#ifndef HW_I386_SLICED_QUEUE_H
#define HW_I386_SLICED_QUEUE_H

#include "hw/qdev-core.h"

/*
 * The work of a slice, in units of about 100 ns, which is the cost of the
 * cheapest entry.  A slice ends with the entry with which its work reaches this
 * limit.
 */
#define SLICED_QUEUE_WORK   8192

/* Estimates of the work that an IOMMU causes in other parts of the emulator */
enum {
    /* Read the tables of an address space again */
    SLICED_WORK_ADDRESS_SPACE = 8,
    /* Wake a device or wait for its threads, log an event, send an interrupt */
    SLICED_WORK_MESSAGE = 32,
    /* Call the notifiers of a memory region, which may wait for a back-end */
    SLICED_WORK_REGION = 128,
    /* Set up remapped interrupts again, which may require system calls */
    SLICED_WORK_INTERRUPTS = 512,
};

typedef struct SlicedQueue SlicedQueue;

/**
 * struct SlicedQueueOps - callbacks of the user of a sliced queue
 *
 * All are called with the BQL held.
 *
 * @has_work: returns true if there are entries to process: false if the queue
 *     is empty, disabled, or stopped by an error
 * @process: process entries, one for each time that sliced_queue_next() returns
 *     true, until it returns false or @has_work would return false
 * @drained: optional; called when a slice has been processed, or was due, and
 *     no work is left
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
 * @ops: callbacks of the user
 * @opaque: passed to @ops
 * @guard: reentrancy guard of the device with the queue; it keeps entries from
 *     accessing the device's registers while the main loop processes them
 *
 * Returns: the sliced queue, which lives as long as the emulator
 */
SlicedQueue *sliced_queue_new(const SlicedQueueOps *ops, void *opaque,
                              MemReentrancyGuard *guard);

/**
 * sliced_queue_run: process entries if there are any
 *
 * Called with the BQL held, when @has_work may have become true.  When this
 * returns, the first slice has been processed.  If slices for earlier entries
 * are still to come, they process the new entries, too.  While the machine is
 * stopped, only the first slice runs; the others follow when the machine runs.
 *
 * @q: the sliced queue
 */
void sliced_queue_run(SlicedQueue *q);

/**
 * sliced_queue_stop: cancel the next slices
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
 * Returns: false if the slice is used up: another slice processes the entry
 */
bool sliced_queue_next(SlicedQueue *q);

/**
 * sliced_queue_charge: account for the work of an entry
 *
 * Called with the BQL held.  Outside of @process it has no effect.
 *
 * @q: the sliced queue
 * @work: work beyond the unit of sliced_queue_next(); a single call never
 *     exceeds the work that one entry can cause
 */
void sliced_queue_charge(SlicedQueue *q, unsigned work);

#endif
