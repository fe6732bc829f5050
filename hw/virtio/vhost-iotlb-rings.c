/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Buffers that a driver has made available to a vhost back-end
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * Section numbers are those of VIRTIO 1.3.  Devices behind an IOMMU have no
 * legacy interface (VIRTIO_F_ACCESS_PLATFORM), so that all fields are little
 * endian.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "hw/virtio/virtio.h"
#include "hw/virtio/vhost-iotlb-rings.h"
#include "standard-headers/linux/virtio_ring.h"

#define PACKED_F_AVAIL  (1 << VRING_PACKED_DESC_F_AVAIL)
#define PACKED_F_USED   (1 << VRING_PACKED_DESC_F_USED)

/* Used elements whose translations one pass of invalidations may drop */
#define MAX_USED        64

static bool is_packed(struct vhost_iotlb *t)
{
    return virtio_vdev_has_feature(vhost_iotlb_vdev(t), VIRTIO_F_RING_PACKED);
}

static bool read16(struct vhost_iotlb *t, uint64_t iova, uint16_t *val)
{
    if (!vhost_iotlb_read(t, iova, val, sizeof(*val))) {
        return false;
    }
    *val = le16_to_cpu(*val);
    return true;
}

/* ---- Split virtqueues (2.7) ---- */

/* What a scan does with a buffer of @size bytes at @iova */
typedef void BufferFn(struct vhost_iotlb *t, uint64_t iova, uint64_t size);

/*
 * 2.7.5: follow a chain of the descriptor table at @table, and call @fn for its
 * buffers that the device writes or for the others.  A chain can be a loop: the
 * limit of the work ends it.
 */
static void split_scan_chain(struct vhost_iotlb *t, uint64_t table,
                             uint32_t num, uint16_t idx, bool writable,
                             bool indirect, BufferFn *fn)
{
    struct vring_desc d;
    uint64_t addr;
    uint32_t len;
    uint16_t flags;

    while (idx < num &&
           vhost_iotlb_read(t, table + idx * sizeof(d), &d, sizeof(d))) {
        addr = le64_to_cpu(d.addr);
        len = le32_to_cpu(d.len);
        flags = le16_to_cpu(d.flags);

        if (flags & VRING_DESC_F_INDIRECT) {
            if (indirect) {
                return;
            }
            if (!writable) {
                fn(t, addr, len);
            }
            split_scan_chain(t, addr, len / sizeof(d), 0, writable, true, fn);
        } else if (!!(flags & VRING_DESC_F_WRITE) == writable) {
            fn(t, addr, len);
        }
        if (!(flags & VRING_DESC_F_NEXT)) {
            return;
        }
        idx = le16_to_cpu(d.next);
    }
}

/* Follow the chain of queue @n that begins with descriptor @head */
static void split_scan_head(struct vhost_iotlb *t, int n, uint16_t head,
                            bool writable, BufferFn *fn)
{
    VirtIODevice *vdev = vhost_iotlb_vdev(t);

    split_scan_chain(t, virtio_queue_get_desc_addr(vdev, n),
                     virtio_queue_get_num(vdev, n), head, writable, false, fn);
}

static bool split_read_used_idx(struct vhost_iotlb *t, int n, uint16_t *idx)
{
    return read16(t, virtio_queue_get_used_addr(vhost_iotlb_vdev(t), n) +
                  offsetof(struct vring_used, idx), idx);
}

static void split_update(struct vhost_iotlb *t, VhostIotlbRing *ring, int n)
{
    VirtIODevice *vdev = vhost_iotlb_vdev(t);
    uint64_t avail = virtio_queue_get_avail_addr(vdev, n);
    uint16_t num = virtio_queue_get_num(vdev, n);
    uint16_t start, end;
    int i;

    if (!split_read_used_idx(t, n, &start)) {
        return;
    }
    /* What has been used was available before */
    smp_rmb();
    if (!read16(t, avail + offsetof(struct vring_avail, idx), &end)) {
        return;
    }
    if ((uint16_t)(end - start) > num) {
        start = end - num;
    }
    if (!ring->valid) {
        ring->next[0] = ring->next[1] = start;
        ring->used = ring->used_end = start;
        ring->valid = true;
    }
    /* Most devices use the buffers in order: leave those that they have used */
    for (i = 0; i < 2; i++) {
        if ((uint16_t)(end - ring->next[i]) > (uint16_t)(end - start)) {
            ring->next[i] = start;
        }
    }
    ring->end = end;
    /* 2.7.13.3: the driver writes the ring entries before the index */
    smp_rmb();
}

static bool split_scan_next(struct vhost_iotlb *t, int n, uint16_t next,
                            bool writable)
{
    VirtIODevice *vdev = vhost_iotlb_vdev(t);
    uint64_t entries = virtio_queue_get_avail_addr(vdev, n) +
                       offsetof(struct vring_avail, ring);
    uint16_t num = virtio_queue_get_num(vdev, n);
    uint16_t head;

    if (!read16(t, entries + (next % num) * sizeof(head), &head)) {
        return false;
    }
    split_scan_head(t, n, head, writable, vhost_iotlb_prefetch);
    return true;
}

/* 2.7.8: read an element of the used ring */
static bool split_read_used(struct vhost_iotlb *t, int n, uint16_t pos,
                            uint16_t *head)
{
    VirtIODevice *vdev = vhost_iotlb_vdev(t);
    uint64_t elements = virtio_queue_get_used_addr(vdev, n) +
                        offsetof(struct vring_used, ring);
    uint16_t num = virtio_queue_get_num(vdev, n);
    struct vring_used_elem e;

    if (!vhost_iotlb_read(t, elements + (pos % num) * sizeof(e), &e,
                          sizeof(e))) {
        return false;
    }
    *head = MIN(le32_to_cpu(e.id), UINT16_MAX);
    return true;
}

/* Read the first descriptor of a used chain */
static bool split_read_first(struct vhost_iotlb *t, int n, uint16_t pos,
                             struct vring_desc *d)
{
    VirtIODevice *vdev = vhost_iotlb_vdev(t);
    uint64_t table = virtio_queue_get_desc_addr(vdev, n);
    uint16_t head;

    return split_read_used(t, n, pos, &head) &&
           head < virtio_queue_get_num(vdev, n) &&
           vhost_iotlb_read(t, table + head * sizeof(*d), d, sizeof(*d));
}

/* ---- Packed virtqueues (2.8) ---- */

static uint64_t packed_desc(struct vhost_iotlb *t, int n, uint32_t pos)
{
    VirtIODevice *vdev = vhost_iotlb_vdev(t);

    return virtio_queue_get_desc_addr(vdev, n) +
           pos % virtio_queue_get_num(vdev, n) *
           sizeof(struct vring_packed_desc);
}

static bool packed_read_flags(struct vhost_iotlb *t, int n, uint32_t pos,
                              uint16_t *flags)
{
    return read16(t, packed_desc(t, n, pos) +
                  offsetof(struct vring_packed_desc, flags), flags);
}

/*
 * 2.8.1: the driver writes the wrap counter of the round to the available bit.
 * A device that marks a descriptor as used does not change it.
 */
static bool packed_is_written(struct vhost_iotlb *t, int n, uint32_t pos)
{
    uint32_t num = virtio_queue_get_num(vhost_iotlb_vdev(t), n);
    uint16_t flags;

    return packed_read_flags(t, n, pos, &flags) &&
           !!(flags & PACKED_F_AVAIL) == (pos < num);
}

/*
 * Find the position at which the driver writes next.  All descriptors ahead of
 * it in the ring have the same available bit, and the others have the opposite
 * bit, so that this is a binary search.  It ends with some position, whatever
 * the ring contains.
 */
static bool packed_find_end(struct vhost_iotlb *t, int n, uint16_t *end)
{
    uint32_t num = virtio_queue_get_num(vhost_iotlb_vdev(t), n);
    uint32_t low = 0, high = num, middle;
    uint16_t first, flags;

    if (!packed_read_flags(t, n, 0, &first)) {
        return false;
    }
    while (high - low > 1) {
        middle = low + (high - low) / 2;
        if (!packed_read_flags(t, n, middle, &flags)) {
            return false;
        }
        if ((flags ^ first) & PACKED_F_AVAIL) {
            high = middle;
        } else {
            low = middle;
        }
    }
    *end = (first & PACKED_F_AVAIL ? high : high + num) % (2 * num);
    return true;
}

/* Continue with the whole ring ahead of the position of the driver */
static void packed_restart(struct vhost_iotlb *t, VhostIotlbRing *ring, int n)
{
    uint32_t num = virtio_queue_get_num(vhost_iotlb_vdev(t), n);
    uint16_t end;

    if (packed_find_end(t, n, &end) && (!ring->valid || end != ring->end)) {
        ring->valid = true;
        ring->end = end;
        ring->next[0] = ring->next[1] = (end + num) % (2 * num);
    }
}

static void packed_update(struct vhost_iotlb *t, VhostIotlbRing *ring, int n,
                          bool resync)
{
    uint32_t num = virtio_queue_get_num(vhost_iotlb_vdev(t), n);
    uint32_t added = 0;
    int i;

    if (MAX(ring->end, MAX(ring->next[0], ring->next[1])) >= 2 * num) {
        /* The driver has changed the size of a running queue */
        ring->valid = false;
    }
    if (ring->valid) {
        while (added < num &&
               packed_is_written(t, n, (ring->end + added) % (2 * num))) {
            added++;
        }
        for (i = 0; i < 2; i++) {
            uint32_t old = (ring->end + 2 * num - ring->next[i]) % (2 * num);

            if (old + added > num) {
                ring->next[i] = (ring->end + added + num) % (2 * num);
            }
        }
        ring->end = (ring->end + added) % (2 * num);
    }
    if (!ring->valid || (resync && !added)) {
        packed_restart(t, ring, n);
    }
}

static void packed_scan_indirect(struct vhost_iotlb *t, uint64_t table,
                                 uint32_t size, bool writable)
{
    struct vring_packed_desc d;
    uint64_t end = table + size / sizeof(d) * sizeof(d);

    for (; table < end && vhost_iotlb_read(t, table, &d, sizeof(d));
         table += sizeof(d)) {
        if (!!(le16_to_cpu(d.flags) & VRING_DESC_F_WRITE) == writable) {
            vhost_iotlb_prefetch(t, le64_to_cpu(d.addr), le32_to_cpu(d.len));
        }
    }
}

/*
 * 2.8.6: the elements of a chain follow each other.  The device marks only the
 * first one as used, so that the others of a used chain look available.  They
 * have been available, and are prefetched only if they are still mapped.
 */
static bool packed_scan_next(struct vhost_iotlb *t, int n, uint16_t next,
                             bool writable)
{
    struct vring_packed_desc d;
    uint64_t addr;
    uint32_t len;
    uint16_t flags;

    if (!packed_read_flags(t, n, next, &flags)) {
        return false;
    }
    if (!(flags & PACKED_F_AVAIL) == !(flags & PACKED_F_USED)) {
        return true;
    }
    /* 2.8.21: the driver writes the flags last */
    smp_rmb();
    if (!vhost_iotlb_read(t, packed_desc(t, n, next), &d, sizeof(d))) {
        return false;
    }
    addr = le64_to_cpu(d.addr);
    len = le32_to_cpu(d.len);
    if (flags & VRING_DESC_F_INDIRECT) {
        if (!writable) {
            vhost_iotlb_prefetch(t, addr, len);
        }
        packed_scan_indirect(t, addr, len, writable);
    } else if (!!(flags & VRING_DESC_F_WRITE) == writable) {
        vhost_iotlb_prefetch(t, addr, len);
    }
    return true;
}

/* ---- Both ---- */

void vhost_iotlb_ring_update(struct vhost_iotlb *t, VhostIotlbRing *ring,
                             int n, bool resync)
{
    if (is_packed(t)) {
        packed_update(t, ring, n, resync);
    } else {
        split_update(t, ring, n);
    }
}

void vhost_iotlb_ring_scan(struct vhost_iotlb *t, VhostIotlbRing *ring, int n,
                           bool writable)
{
    uint32_t num = virtio_queue_get_num(vhost_iotlb_vdev(t), n);
    bool packed = is_packed(t);
    uint32_t period = packed ? 2 * num : 1 << 16;
    uint16_t *next = &ring->next[writable];

    while (ring->valid && *next != ring->end) {
        if (!(packed ? packed_scan_next : split_scan_next)(t, n, *next,
                                                           writable) ||
            !vhost_iotlb_has_room(t)) {
            return;
        }
        *next = (*next + 1) % period;
    }
}

/* 2.7.8: with VIRTIO_F_IN_ORDER, not each used buffer has a used element */
static bool has_used_elements(struct vhost_iotlb *t)
{
    return !is_packed(t) &&
           !virtio_vdev_has_feature(vhost_iotlb_vdev(t), VIRTIO_F_IN_ORDER);
}

bool vhost_iotlb_ring_find_used(struct vhost_iotlb *t, VhostIotlbRing *ring,
                                int n)
{
    struct vring_desc d;
    int i;

    if (!ring->valid || !has_used_elements(t) ||
        !split_read_used_idx(t, n, &ring->used_end)) {
        return false;
    }
    /* 2.7.14: the device writes the elements before the index */
    smp_rmb();
    if ((uint16_t)(ring->used_end - ring->used) >
        virtio_queue_get_num(vhost_iotlb_vdev(t), n)) {
        /* The driver does not unmap what has been used, or not in this way */
        ring->used = ring->used_end;
    }
    /* Elements that the driver has unmapped already have no translations */
    for (i = 0; i < MAX_USED && ring->used != ring->used_end &&
         split_read_first(t, n, ring->used, &d); i++) {
        if (vhost_iotlb_is_dropped(t, le64_to_cpu(d.addr))) {
            return true;
        }
        if (vhost_iotlb_is_recorded(t, le64_to_cpu(d.addr))) {
            return false;
        }
        ring->used++;
    }
    return false;
}

void vhost_iotlb_ring_retire(struct vhost_iotlb *t, VhostIotlbRing *ring, int n)
{
    struct vring_desc first = { };
    uint16_t head;
    int i;

    split_read_first(t, n, ring->used, &first);
    for (i = 0; i < MAX_USED && ring->used != ring->used_end &&
         split_read_used(t, n, ring->used, &head); i++) {
        split_scan_head(t, n, head, false, vhost_iotlb_retire);
        split_scan_head(t, n, head, true, vhost_iotlb_retire);
        ring->used++;
    }
    /* Receive buffers that are available may share pages with those */
    if ((le16_to_cpu(first.flags) & VRING_DESC_F_WRITE) &&
        (uint16_t)(ring->end - ring->next[1]) <
        (uint16_t)(ring->end - ring->used_end)) {
        ring->next[1] = ring->used_end;
    }
}
