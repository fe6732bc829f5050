/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IOTLB of a vhost back-end, as seen from QEMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * A vhost back-end of a device behind an IOMMU has a cache of translations
 * (its IOTLB), which QEMU fills and invalidates with IOTLB messages.  The
 * functions of this file record the translations that QEMU has sent to the
 * back-end.  With this record they
 *
 * - send the translations that the back-end will need next, together with the
 *   reply to the first miss or when the guest invalidates others, instead of
 *   one page per miss;
 * - invalidate only translations that the IOMMU no longer translates to the
 *   same memory, so that a domain-wide invalidation does not remove the rings
 *   and the posted buffers from the IOTLB of the back-end.
 *
 * The record always contains at least the translations that the back-end has
 * cached.  Its size is bounded.
 *
 * All functions are called with the BQL held.
 */
#ifndef HW_VIRTIO_VHOST_IOTLB_H
#define HW_VIRTIO_VHOST_IOTLB_H

#include "hw/virtio/vhost.h"

/**
 * vhost_iotlb_reset() - clear the record
 * @dev: vhost device that is behind an IOMMU and is being started or stopped
 *
 * Call it when the back-end's IOTLB is empty or out of use.  Sends no messages.
 */
void vhost_iotlb_reset(struct vhost_dev *dev);

/**
 * vhost_iotlb_cleanup() - free the record
 * @dev: vhost device
 *
 * Does nothing if @dev has no record.
 */
void vhost_iotlb_cleanup(struct vhost_dev *dev);

/**
 * vhost_iotlb_invalidate() - process an invalidation by the guest
 * @dev: vhost device
 * @iova: first I/O virtual address of the range, in bytes
 * @last: last I/O virtual address of the range (inclusive), in bytes
 *
 * Sends invalidations for the translations in the range that the back-end has
 * cached, and that the IOMMU no longer translates to the same memory with the
 * same permissions.  When it returns successfully, the back-end has
 * acknowledged them.  While the IOMMU processes a queue, it has acknowledged
 * them only after iommu_batch_flush().  The function drops all translations in
 * the range if the IOMMU has no lookup without side effects, or if
 * invalidations have used up the lookups of this iteration of the main loop.
 *
 * Prefetches the buffers that the driver has posted since the last call or
 * miss, and a small range that has been mapped.
 *
 * Returns: 0, or a negative errno when QEMU could not send the invalidations or
 * the back-end rejected them.
 */
int vhost_iotlb_invalidate(struct vhost_dev *dev, uint64_t iova,
                           uint64_t last);

/**
 * vhost_iotlb_drop() - drop all translations in a range
 * @dev: vhost device
 * @iova: first I/O virtual address of the range, in bytes
 * @last: last I/O virtual address of the range (inclusive), in bytes
 *
 * Like vhost_iotlb_invalidate(), but without lookups in the IOMMU: for changes
 * of the address space, during which neither a lookup in the old nor in the new
 * address space would be correct.
 *
 * Returns: 0, or a negative errno when QEMU could not send the invalidations or
 * the back-end rejected them.
 */
int vhost_iotlb_drop(struct vhost_dev *dev, uint64_t iova, uint64_t last);

/**
 * vhost_iotlb_memory_changed() - drop the translations of memory that is gone
 * @dev: vhost device, with the new memory table in vhost_dev.mem
 * @old: the sections of the previous table, which still have references
 * @n: number of these sections
 *
 * Call it before the references of @old are dropped, after which their host
 * memory may be freed.  Drops the translations to memory that has no longer the
 * same guest physical address; the others stay.  The guest need not invalidate
 * translations of memory that it unplugs.
 *
 * Returns: 0, or a negative errno when QEMU could not send the invalidations or
 * the back-end rejected them.
 */
int vhost_iotlb_memory_changed(struct vhost_dev *dev,
                               const MemoryRegionSection *old, unsigned int n);

/**
 * struct VhostIotlbStats - statistics of a record since its creation
 * @capacity: number of translations that the record can hold
 * @entries: number of translations that it holds
 * @misses: misses that the back-end has sent
 * @write_misses: those of them that request write permission
 * @sent_misses: those whose translation QEMU had sent before
 * @faults: misses that failed
 * @updates: translations that QEMU has sent to the back-end
 * @invalidations: calls of vhost_iotlb_invalidate()
 * @kept: translations that these calls have found still valid
 * @dropped: translations that were dropped, for any reason
 * @round_trips: times that QEMU has waited for the back-end
 * @wait_ns: total duration of these waits, with the BQL held
 */
typedef struct VhostIotlbStats {
    uint64_t capacity;
    uint64_t entries;
    uint64_t misses;
    uint64_t write_misses;
    uint64_t sent_misses;
    uint64_t faults;
    uint64_t updates;
    uint64_t invalidations;
    uint64_t kept;
    uint64_t dropped;
    uint64_t round_trips;
    uint64_t wait_ns;
} VhostIotlbStats;

/**
 * vhost_iotlb_get_stats() - read the statistics
 * @dev: vhost device that has a record
 * @stats: the result
 */
void vhost_iotlb_get_stats(struct vhost_dev *dev, VhostIotlbStats *stats);

#endif
