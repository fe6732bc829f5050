/*
 * Invalidations of an IOMMU that take effect together
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An IOMMU processes a queue of invalidations and, with each, calls notifiers.
 * A notifier whose translations are in another process needs a round trip to
 * this process.  It may put that off until the IOMMU is about to report to the
 * guest that the invalidations are complete.  All round trips of one user then
 * become one.
 *
 * All functions are called with the BQL held.  Between iommu_batch_begin() and
 * iommu_batch_end(), this thread puts invalidations off, and no other thread
 * does.
 */

#ifndef HW_IOMMU_BATCH_H
#define HW_IOMMU_BATCH_H

#include "qemu/queue.h"

/**
 * struct IOMMUBatchUser - a user of notifiers that can put invalidations off
 *
 * @flush: complete all invalidations that the user has put off; called once
 *     for each sequence of iommu_batch_defer()
 */
typedef struct IOMMUBatchUser {
    void (*flush)(struct IOMMUBatchUser *user);
    /* Private */
    bool deferred;
    QTAILQ_ENTRY(IOMMUBatchUser) next;
} IOMMUBatchUser;

/**
 * iommu_batch_begin: an IOMMU begins to process a queue
 *
 * May be nested, if a command in a queue accesses another IOMMU.
 */
void iommu_batch_begin(void);

/**
 * iommu_batch_flush: complete all invalidations so far
 *
 * Call it before the guest may learn that they are complete.
 */
void iommu_batch_flush(void);

/**
 * iommu_batch_end: the IOMMU has processed the queue, or a part of it
 *
 * Includes iommu_batch_flush().
 */
void iommu_batch_end(void);

/**
 * iommu_batch_defer: put an invalidation off
 *
 * @user: the user, whose @flush will be called
 *
 * Returns: false if the invalidation does not come from a queue: the user must
 * complete it at once
 */
bool iommu_batch_defer(IOMMUBatchUser *user);

/**
 * iommu_batch_cancel: forget what a user has put off
 *
 * @user: the user; does nothing if it has put nothing off
 */
void iommu_batch_cancel(IOMMUBatchUser *user);

#endif
