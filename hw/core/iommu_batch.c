/*
 * Invalidations of an IOMMU that take effect together
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/iommu_batch.h"

/* Protected by the BQL */
static QTAILQ_HEAD(, IOMMUBatchUser) deferred =
    QTAILQ_HEAD_INITIALIZER(deferred);

/* Nested batches of this thread: only it puts off what belongs to its queue */
static __thread unsigned depth;

void iommu_batch_begin(void)
{
    depth++;
}

void iommu_batch_flush(void)
{
    IOMMUBatchUser *user;

    while ((user = QTAILQ_FIRST(&deferred))) {
        iommu_batch_cancel(user);
        user->flush(user);
    }
}

void iommu_batch_end(void)
{
    assert(depth);
    iommu_batch_flush();
    depth--;
}

bool iommu_batch_defer(IOMMUBatchUser *user)
{
    if (!depth) {
        return false;
    }
    if (!user->deferred) {
        user->deferred = true;
        QTAILQ_INSERT_TAIL(&deferred, user, next);
    }
    return true;
}

void iommu_batch_cancel(IOMMUBatchUser *user)
{
    if (user->deferred) {
        user->deferred = false;
        QTAILQ_REMOVE(&deferred, user, next);
    }
}
