/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Buffers that a driver has made available to a vhost back-end
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * The rings are those of an untrusted guest: they can contain anything, and
 * can change at any time.  A scan only reads them, through the functions at
 * the end of this file, which limit its work.
 *
 * All functions are called with the BQL held.
 */
#ifndef HW_VIRTIO_VHOST_IOTLB_RINGS_H
#define HW_VIRTIO_VHOST_IOTLB_RINGS_H

#include "hw/virtio/vhost.h"

/**
 * struct VhostIotlbRing - the part of a virtqueue that has been scanned
 * @valid: the other fields are valid
 * @next: the next available buffer to scan: [0] for buffers that the device
 *        reads, [1] for those that it writes
 * @end: end of the available buffers, as last read
 * @used: the next used element whose translations may be dropped; only in a
 *        split virtqueue
 * @used_end: end of the used elements, as last read
 *
 * In a split virtqueue these are values of the avail or used index.  In a
 * packed virtqueue of N descriptors they are positions from 0 to 2 * N - 1;
 * those from N are positions in rounds whose wrap counter is 0.
 */
typedef struct VhostIotlbRing {
    bool valid;
    uint16_t next[2];
    uint16_t end;
    uint16_t used;
    uint16_t used_end;
} VhostIotlbRing;

/**
 * vhost_iotlb_ring_update() - find the buffers available since the last scan
 * @t: the record to prefetch into
 * @ring: state of the virtqueue
 * @n: index of the virtqueue, which is ready
 * @resync: find out whether a packed virtqueue has overtaken @ring
 *
 * If @ring is not valid, this finds the buffers that the device has not used,
 * as far as the rings tell.
 */
void vhost_iotlb_ring_update(struct vhost_iotlb *t, VhostIotlbRing *ring,
                             int n, bool resync);

/**
 * vhost_iotlb_ring_scan() - prefetch the buffers that have been found
 * @t: the record to prefetch into
 * @ring: state of the virtqueue
 * @n: index of the virtqueue
 * @writable: prefetch the buffers that the device writes, otherwise the others
 *
 * It stops when the record takes no further translations or the work is at its
 * limit.  A later scan continues there.
 */
void vhost_iotlb_ring_scan(struct vhost_iotlb *t, VhostIotlbRing *ring, int n,
                           bool writable);

/**
 * vhost_iotlb_ring_find_used() - check whether used buffers will be unmapped
 * @t: the record, with invalidations queued
 * @ring: state of the virtqueue
 * @n: index of the virtqueue, which is ready
 *
 * Returns: true if the driver has just unmapped the first of the used buffers
 * that had a translation.  It will unmap the others next.
 */
bool vhost_iotlb_ring_find_used(struct vhost_iotlb *t, VhostIotlbRing *ring,
                                int n);

/**
 * vhost_iotlb_ring_retire() - drop the translations of some used buffers
 * @t: the record
 * @ring: state of the virtqueue, after vhost_iotlb_ring_find_used()
 * @n: index of the virtqueue
 */
void vhost_iotlb_ring_retire(struct vhost_iotlb *t, VhostIotlbRing *ring,
                             int n);

/* ---- Functions of vhost-iotlb.c for the functions above ---- */

/* Returns the device of a record */
VirtIODevice *vhost_iotlb_vdev(struct vhost_iotlb *t);

/* Returns whether prefetching may add entries to the record and do lookups */
bool vhost_iotlb_has_room(struct vhost_iotlb *t);

/**
 * vhost_iotlb_read() - read guest memory as the back-end does
 * @t: the record
 * @iova: I/O virtual address
 * @buf: where to store the data
 * @size: size in bytes
 *
 * Returns: false if the memory is not mapped, or the work is at its limit;
 * the contents of @buf are undefined then.
 */
bool vhost_iotlb_read(struct vhost_iotlb *t, uint64_t iova, void *buf,
                      size_t size);

/**
 * vhost_iotlb_prefetch() - send the translations of a range to the back-end
 * @t: the record
 * @iova: first I/O virtual address
 * @size: size in bytes
 *
 * Sends only what the back-end does not have, up to the first page that is not
 * mapped.
 */
void vhost_iotlb_prefetch(struct vhost_iotlb *t, uint64_t iova, uint64_t size);

/**
 * vhost_iotlb_is_dropped() - look up an address in the queued invalidations
 * @t: the record
 * @iova: I/O virtual address
 *
 * Returns: whether an invalidation of its page waits to be sent.
 */
bool vhost_iotlb_is_dropped(struct vhost_iotlb *t, uint64_t iova);

/* Returns whether the record has a translation of an address */
bool vhost_iotlb_is_recorded(struct vhost_iotlb *t, uint64_t iova);

/**
 * vhost_iotlb_retire() - drop the translations of a buffer
 * @t: the record
 * @iova: first I/O virtual address of the buffer
 * @size: size in bytes
 *
 * Keeps a translation that extends beyond the pages of the buffer, since it may
 * be that of a larger mapping that the driver keeps.
 */
void vhost_iotlb_retire(struct vhost_iotlb *t, uint64_t iova, uint64_t size);

#endif
