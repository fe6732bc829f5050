/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IOTLB of a vhost backend, as seen from QEMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * A vhost backend of a device behind an IOMMU keeps a cache of translations
 * (its IOTLB), which QEMU fills and invalidates with IOTLB messages.  The
 * functions here keep a record of what the backend was told.  With it they
 *
 * - send the translations that the backend is about to need, together with
 *   the answer to the first miss, instead of one page per miss;
 * - invalidate only what the IOMMU does not translate to the same memory any
 *   more, so that a domain-wide invalidation does not take the rings and the
 *   posted buffers away from the backend.
 *
 * The record always holds at least what the backend has cached.  It is bounded.
 *
 * All functions must be called with the BQL held.
 */
#ifndef HW_VIRTIO_VHOST_IOTLB_H
#define HW_VIRTIO_VHOST_IOTLB_H

#include "hw/virtio/vhost.h"

/**
 * vhost_iotlb_reset() - the backend's IOTLB is empty or out of use
 * @dev: vhost device that is behind an IOMMU and is being started or stopped
 *
 * Forgets what the backend was told, without sending anything.
 */
void vhost_iotlb_reset(struct vhost_dev *dev);

/**
 * vhost_iotlb_cleanup() - free the record
 * @dev: vhost device; one that never had a record is fine
 */
void vhost_iotlb_cleanup(struct vhost_dev *dev);

/**
 * vhost_iotlb_invalidate() - the guest invalidated a range
 * @dev: vhost device
 * @iova: first I/O virtual address of the range, in bytes
 * @last: last I/O virtual address of the range (inclusive), in bytes
 *
 * Sends invalidations for what the backend has cached in the range and is not
 * translated to the same memory with the same permissions any more.  When it
 * returns successfully the backend has acknowledged them.  Where the IOMMU has
 * no lookup without side effects, all that is cached in the range goes, and so
 * it does when invalidations have caused so many lookups that the main loop
 * has to have a turn first.
 *
 * Returns: 0, or a negative errno when the backend could not be told or
 * refused.
 */
int vhost_iotlb_invalidate(struct vhost_dev *dev, uint64_t iova,
                           uint64_t last);

/**
 * vhost_iotlb_drop() - a range is translated by something else from now on
 * @dev: vhost device
 * @iova: first I/O virtual address of the range, in bytes
 * @last: last I/O virtual address of the range (inclusive), in bytes
 *
 * Like vhost_iotlb_invalidate(), but without asking the IOMMU: for changes of
 * the address space, during which neither the old nor the new answer is the
 * right one.
 *
 * Returns: 0, or a negative errno when the backend could not be told or
 * refused.
 */
int vhost_iotlb_drop(struct vhost_dev *dev, uint64_t iova, uint64_t last);

/**
 * struct VhostIotlbStats - what happened to the record since it was created
 * @capacity: how many translations it can hold
 * @entries: how many it holds
 * @misses: translations that the backend asked for
 * @faults: how many of them failed
 * @updates: translations that the backend was sent
 * @invalidations: calls of vhost_iotlb_invalidate()
 * @kept: translations that these found still valid
 * @dropped: translations that went, for whatever reason
 */
typedef struct VhostIotlbStats {
    uint64_t capacity;
    uint64_t entries;
    uint64_t misses;
    uint64_t faults;
    uint64_t updates;
    uint64_t invalidations;
    uint64_t kept;
    uint64_t dropped;
} VhostIotlbStats;

/**
 * vhost_iotlb_get_stats() - read the statistics
 * @dev: vhost device that has a record
 * @stats: the result
 */
void vhost_iotlb_get_stats(struct vhost_dev *dev, VhostIotlbStats *stats);

#endif
