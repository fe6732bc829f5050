/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * IOTLB of a vhost back-end, as seen from QEMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * docs/devel/vhost-user-iotlb.rst has the reasons.  In short: a back-end that
 * polls, like DPDK, does not wait for the reply to a miss.  If it has no
 * translation of a receive buffer when a packet arrives, it drops the packet.
 * Therefore QEMU must send translations before the back-end needs them, and
 * must not invalidate them while they are valid.
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/interval-tree.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/timer.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "hw/iommu_batch.h"
#include "hw/virtio/vhost.h"
#include "hw/virtio/vhost-backend.h"
#include "hw/virtio/vhost-iotlb.h"
#include "hw/virtio/vhost-iotlb-rings.h"
#include "hw/virtio/virtio.h"
#include "standard-headers/linux/vhost_types.h"
#include "trace.h"

#define IOTLB_PAGE_SIZE     4096ULL
#define IOTLB_PAGE_MASK     (~(IOTLB_PAGE_SIZE - 1))

/*
 * Capacity of back-ends: DPDK has 2048 entries for each virtqueue, Linux' vhost
 * 2048 for each device.  Prefetch leaves a quarter of them free, so that it
 * never evicts entries that the back-end has requested itself.
 */
#define IOTLB_MAX_ENTRIES   2048
#define IOTLB_MAX_PREFETCH  (IOTLB_MAX_ENTRIES / 4 * 3)

/*
 * Limit of the lookups that one miss or one invalidation may cause.  Without it
 * a guest could keep the main loop busy with huge descriptors or with tables
 * full of single pages that are contiguous by chance.
 */
#define IOTLB_MAX_LOOKUPS   (IOTLB_MAX_ENTRIES * 4)

/*
 * Limit of the lookups that invalidations of all devices together may cause in
 * one iteration of the main loop.  A guest may queue thousands of them.
 */
#define IOTLB_TURN_LOOKUPS  (IOTLB_MAX_LOOKUPS * 2)

/*
 * Share of the lookups of an invalidation that may prefetch.  The others are
 * for the invalidations that follow, which drop valid entries without lookups.
 */
#define IOTLB_INV_PREFETCH  1024

/*
 * Largest range, in bytes, of an invalidation for a buffer that the driver has
 * mapped or unmapped.  Larger ranges are those of domains.
 */
#define IOTLB_MAX_BUFFER    (64 * IOTLB_PAGE_SIZE)

/* With more messages than these, there are few round trips anyway */
#define IOTLB_MAX_UNMAPS    16

/* Pages of rings and tables that one scan looks up only once */
#define IOTLB_SEEN          4

/**
 * struct IOTLBEntry - a translation that the back-end may have cached
 * @node: first and last I/O virtual address; entries never overlap
 * @uaddr: address of @node.start in QEMU's address space
 * @perm: access that the back-end is allowed
 * @epoch: value of vhost_iotlb.epoch when QEMU sent the translation
 * @requested: the back-end has requested the translation
 */
typedef struct IOTLBEntry {
    IntervalTreeNode node;
    uint64_t uaddr;
    IOMMUAccessFlags perm;
    uint32_t epoch;
    bool requested;
} IOTLBEntry;

/**
 * struct vhost_iotlb - record of the translations sent to the back-end
 * @dev: the device
 * @entries: tree of IOTLBEntry
 * @n_entries: number of entries in @entries
 * @lookups: number of lookups that iotlb_lookup() may still do
 * @invalidating: @lookups have been taken from turn_lookups
 * @batch: the IOMMU processes a queue, and some of @msgs wait for its end
 * @epoch: incremented when the back-end has lost entries; prefetch sends
 *         entries of an earlier epoch again
 * @msgs: messages (struct vhost_iotlb_msg) to be sent, in this order
 * @wide: an invalidation among @msgs was not for a single buffer
 * @stats: statistics; vhost_iotlb_get_stats() sets @capacity and @entries
 * @seen: the latest lookups of vhost_iotlb_read() in this scan
 * @n_seen: number of these lookups, including those that later ones replaced
 * @rings: for each virtqueue, the part of its ring to be prefetched
 */
struct vhost_iotlb {
    struct vhost_dev *dev;
    IntervalTreeRoot entries;
    unsigned int n_entries;
    unsigned int lookups;
    bool invalidating;
    IOMMUBatchUser batch;
    uint32_t epoch;
    GArray *msgs;
    bool wide;
    VhostIotlbStats stats;
    IOTLBEntry seen[IOTLB_SEEN];
    unsigned int n_seen;
    VhostIotlbRing rings[VIRTIO_QUEUE_MAX];
};

/* Remaining lookups in this iteration of the main loop; protected by the BQL */
static unsigned int turn_lookups = IOTLB_TURN_LOOKUPS;
static QEMUBH *turn_bh;

static void iotlb_next_turn(void *opaque)
{
    turn_lookups = IOTLB_TURN_LOOKUPS;
}

/*
 * Take lookups for one invalidation.  Without lookups all entries in the
 * invalidated range are dropped, and none is prefetched: this is always
 * correct.
 */
static void iotlb_begin_invalidation(struct vhost_iotlb *t)
{
    t->invalidating = true;
    t->lookups = MIN(turn_lookups, IOTLB_MAX_LOOKUPS);
    turn_lookups -= t->lookups;
}

/* Waking the main loop is expensive, so it must be worth it. */
static void iotlb_end_invalidation(struct vhost_iotlb *t)
{
    turn_lookups += t->lookups;
    t->invalidating = false;
    if (turn_lookups < IOTLB_TURN_LOOKUPS / 2) {
        if (!turn_bh) {
            turn_bh = qemu_bh_new(iotlb_next_turn, NULL);
        }
        qemu_bh_schedule(turn_bh);
    }
}

/* Leave few lookups for prefetching.  Returns the others. */
static unsigned int iotlb_reserve(struct vhost_iotlb *t)
{
    unsigned int rest = t->lookups - MIN(t->lookups, IOTLB_INV_PREFETCH);

    t->lookups -= rest;
    return rest;
}

static IOTLBEntry *iotlb_find(struct vhost_iotlb *t, uint64_t first,
                              uint64_t last)
{
    IntervalTreeNode *node = interval_tree_iter_first(&t->entries, first, last);

    return node ? container_of(node, IOTLBEntry, node) : NULL;
}

/* Find an entry that contains @e and has the same memory and permissions. */
static IOTLBEntry *iotlb_find_same(struct vhost_iotlb *t, const IOTLBEntry *e)
{
    IOTLBEntry *old = iotlb_find(t, e->node.start, e->node.last);

    if (old && old->node.start <= e->node.start &&
        old->node.last >= e->node.last && old->perm == e->perm &&
        old->uaddr + (e->node.start - old->node.start) == e->uaddr) {
        return old;
    }
    return NULL;
}

static void iotlb_queue_update(struct vhost_iotlb *t, IOTLBEntry *e)
{
    struct vhost_iotlb_msg msg = {
        .type = VHOST_IOTLB_UPDATE,
        .iova = e->node.start,
        .size = e->node.last - e->node.start + 1,
        .uaddr = e->uaddr,
        .perm = e->perm == IOMMU_RO ? VHOST_ACCESS_RO : VHOST_ACCESS_RW,
    };

    e->epoch = t->epoch;
    t->stats.updates++;
    g_array_append_val(t->msgs, msg);
}

/*
 * Back-ends drop an entry if any byte of it is in the range.  Entries consist
 * of whole pages, so that the range need not include the last byte.  DPDK also
 * drops the entry that starts at iova + size, which is valid and may be the
 * next receive buffer.
 */
static uint64_t iotlb_invalidate_size(uint64_t first, uint64_t last)
{
    return last - first;
}

/* The latest message, if it invalidates the addresses that end at @first */
static struct vhost_iotlb_msg *iotlb_previous(struct vhost_iotlb *t,
                                              uint64_t first)
{
    struct vhost_iotlb_msg *msg;

    if (!t->msgs->len) {
        return NULL;
    }
    msg = &g_array_index(t->msgs, struct vhost_iotlb_msg, t->msgs->len - 1);
    if (msg->type != VHOST_IOTLB_INVALIDATE || msg->iova >= first ||
        msg->size != iotlb_invalidate_size(msg->iova, first - 1)) {
        return NULL;
    }
    return msg;
}

static void iotlb_queue_invalidate(struct vhost_iotlb *t, uint64_t first,
                                   uint64_t last)
{
    struct vhost_iotlb_msg *previous = iotlb_previous(t, first);
    struct vhost_iotlb_msg msg = {
        .type = VHOST_IOTLB_INVALIDATE,
        .iova = first,
        .size = iotlb_invalidate_size(first, last),
    };

    if (previous) {
        previous->size = iotlb_invalidate_size(previous->iova, last);
    } else {
        g_array_append_val(t->msgs, msg);
    }
}

static bool iotlb_must_wait(struct vhost_iotlb *t)
{
    unsigned int i;

    for (i = 0; i < t->msgs->len; i++) {
        if (g_array_index(t->msgs, struct vhost_iotlb_msg, i).type !=
            VHOST_IOTLB_UPDATE) {
            return true;
        }
    }
    return false;
}

/* Wait for the back-end only if there are invalidations among the messages. */
static int iotlb_send(struct vhost_iotlb *t)
{
    bool wait = iotlb_must_wait(t);
    int64_t begin;
    int ret;

    if (!t->msgs->len) {
        return 0;
    }
    begin = get_clock();
    ret = vhost_backend_send_device_iotlb_msgs(t->dev,
                                     (struct vhost_iotlb_msg *)t->msgs->data,
                                     t->msgs->len);
    g_array_set_size(t->msgs, 0);
    t->wide = false;
    if (wait) {
        t->stats.round_trips++;
        t->stats.wait_ns += get_clock() - begin;
    }
    return ret;
}

static void iotlb_remove(struct vhost_iotlb *t, IOTLBEntry *e)
{
    interval_tree_remove(&e->node, &t->entries);
    t->n_entries--;
    g_free(e);
}

static void iotlb_clear(struct vhost_iotlb *t)
{
    IOTLBEntry *e;

    while ((e = iotlb_find(t, 0, UINT64_MAX))) {
        iotlb_remove(t, e);
    }
    memset(t->rings, 0, sizeof(t->rings));
    iommu_batch_cancel(&t->batch);
    g_array_set_size(t->msgs, 0);
    t->wide = false;
}

/* Drop all entries that overlap with the range, with one message. */
static void iotlb_drop(struct vhost_iotlb *t, uint64_t first, uint64_t last)
{
    IOTLBEntry *e = iotlb_find(t, first, last);
    uint64_t start, end;

    if (!e) {
        return;
    }
    start = e->node.start;
    do {
        end = e->node.last;
        iotlb_remove(t, e);
        t->stats.dropped++;
        e = iotlb_find(t, first, last);
    } while (e);
    iotlb_queue_invalidate(t, start, end);
}

/*
 * Record a translation and queue it for the back-end.  Invalidate the entries
 * that the back-end has cached for these addresses first: back-ends ignore an
 * update of an address for which they have an entry.
 */
static IOTLBEntry *iotlb_add(struct vhost_iotlb *t, const IOTLBEntry *new)
{
    IOTLBEntry *e = iotlb_find_same(t, new);

    if (!e) {
        iotlb_drop(t, new->node.start, new->node.last);
        if (t->n_entries >= IOTLB_MAX_ENTRIES) {
            iotlb_drop(t, 0, UINT64_MAX);
            memset(t->rings, 0, sizeof(t->rings));
        }
        e = g_new(IOTLBEntry, 1);
        *e = (IOTLBEntry) {
            .node = { .start = new->node.start, .last = new->node.last },
            .uaddr = new->uaddr,
            .perm = new->perm,
        };
        interval_tree_insert(&e->node, &t->entries);
        t->n_entries++;
    }
    iotlb_queue_update(t, e);
    return e;
}

/*
 * Write-only pages become read-write.  Back-ends request both permissions
 * whenever they write (DPDK), and cannot use a write-only translation.
 */
static IOMMUAccessFlags iotlb_perm(IOMMUAccessFlags perm)
{
    return perm & IOMMU_WO ? IOMMU_RW : IOMMU_RO;
}

/*
 * Find @iova, which is page aligned, in QEMU's memory.  @offset is the offset
 * of @iova in its page of the IOMMU, which can have any size.  If this page is
 * contiguous in QEMU's memory, the entry covers the page, otherwise the
 * contiguous part of it that begins at @iova.
 */
static bool iotlb_find_memory(struct vhost_dev *dev, uint64_t iova,
                              const IOMMUTLBEntry *iotlb, uint64_t offset,
                              IOTLBEntry *e)
{
    uint64_t gpa = iotlb->translated_addr & ~iotlb->addr_mask;
    uint64_t size = iotlb->addr_mask;
    uint64_t len;

    if (offset > iova ||
        vhost_memory_region_lookup(dev, gpa, &e->uaddr, &len) ||
        len <= offset) {
        if (vhost_memory_region_lookup(dev, gpa + offset, &e->uaddr, &len)) {
            return false;
        }
        size -= offset;
        offset = 0;
    }
    e->node.start = iova - offset;
    e->node.last = e->node.start + MIN(size, len - 1);
    return true;
}

static bool iotlb_lookup_iommu(struct vhost_dev *dev, IOMMUMemoryRegion *mr,
                               hwaddr offset, uint64_t iova, IOTLBEntry *e)
{
    IOMMUTLBEntry iotlb;

    if (!memory_region_iommu_peek(mr, offset, &iotlb) ||
        iotlb.target_as != &address_space_memory ||
        !iotlb_find_memory(dev, iova, &iotlb, offset & iotlb.addr_mask, e)) {
        return false;
    }
    e->perm = iotlb_perm(iotlb.perm);
    return true;
}

/*
 * Whether memory from @start on belongs to the same piece as @e: the same
 * permissions and contiguous at the back-end, up to the start of @e.
 */
static bool iotlb_same_memory(struct vhost_dev *dev, uint64_t start,
                              const IOTLBEntry *e)
{
    uint64_t size = e->node.start - start + IOTLB_PAGE_SIZE;
    uint64_t uaddr, len;
    MemoryRegionSection s = memory_region_find(dev->vdev->dma_as->root, start,
                                               size);
    bool same;

    if (!s.mr) {
        return false;
    }
    same = memory_region_is_ram(s.mr) &&
           s.offset_within_address_space == start &&
           int128_get64(s.size) == size &&
           (s.readonly ? IOMMU_RO : IOMMU_RW) == e->perm &&
           !vhost_memory_region_lookup(dev, start, &uaddr, &len) &&
           len >= size && uaddr == e->uaddr - (e->node.start - start);
    memory_region_unref(s.mr);
    return same;
}

/*
 * Let an entry without an IOMMU begin where its piece of memory does.  If it
 * began at the address that was looked up, a miss below that would replace it.
 * The back-end would lose the rest of the entry for a moment, and with the
 * rings a packet.
 */
static void iotlb_extend_down(struct vhost_iotlb *t, IOTLBEntry *e)
{
    uint64_t low = 0, high = e->node.start;

    while (low < high && t->lookups) {
        uint64_t mid = (low + (high - low) / 2) & IOTLB_PAGE_MASK;

        t->lookups--;
        if (iotlb_same_memory(t->dev, mid, e)) {
            high = mid;
        } else {
            low = mid + IOTLB_PAGE_SIZE;
        }
    }
    e->uaddr -= e->node.start - high;
    e->node.start = high;
}

/*
 * Look up the present translation of @iova, which is page aligned, without
 * side effects: this reports no faults, sets no accessed bits, and adds no
 * entries to the IOMMU's caches.
 */
static bool iotlb_lookup(struct vhost_iotlb *t, uint64_t iova, IOTLBEntry *e)
{
    struct vhost_dev *dev = t->dev;
    MemoryRegionSection s;
    IOMMUMemoryRegion *iommu_mr;
    uint64_t len;
    bool hit = false;

    if (!t->lookups) {
        return false;
    }
    t->lookups--;

    s = memory_region_find(dev->vdev->dma_as->root, iova,
                           UINT64_MAX - iova);
    if (!s.mr) {
        return false;
    }
    if (s.offset_within_address_space == iova) {
        iommu_mr = memory_region_get_iommu(s.mr);
        if (iommu_mr) {
            hit = iotlb_lookup_iommu(dev, iommu_mr, s.offset_within_region,
                                     iova, e);
        } else if (memory_region_is_ram(s.mr) &&
                   !vhost_memory_region_lookup(dev, iova, &e->uaddr, &len)) {
            e->node.start = iova;
            e->node.last = iova + MIN(len, int128_get64(s.size)) - 1;
            e->perm = s.readonly ? IOMMU_RO : IOMMU_RW;
            iotlb_extend_down(t, e);
            hit = true;
        }
    }
    memory_region_unref(s.mr);
    return hit;
}

/*
 * Check whether the IOMMU still translates the part of @e in the range to the
 * same memory with the same permissions.
 */
static bool iotlb_still_valid(struct vhost_iotlb *t, const IOTLBEntry *e,
                              uint64_t first, uint64_t last)
{
    uint64_t pos = MAX(first, e->node.start) & IOTLB_PAGE_MASK;
    IOTLBEntry cur;

    last = MIN(last, e->node.last);
    while (iotlb_lookup(t, pos, &cur) && cur.perm == e->perm &&
           cur.uaddr - cur.node.start == e->uaddr - e->node.start) {
        if (cur.node.last >= last) {
            return true;
        }
        pos = cur.node.last + 1;
    }
    return false;
}

int vhost_iotlb_drop(struct vhost_dev *dev, uint64_t iova, uint64_t last)
{
    if (!dev->iotlb) {
        return 0;
    }
    iotlb_drop(dev->iotlb, iova, last);
    return iotlb_send(dev->iotlb);
}

/* Drop the entries that refer to a range of QEMU's memory. */
static void iotlb_drop_memory(struct vhost_iotlb *t, uint64_t uaddr,
                              uint64_t size)
{
    IntervalTreeNode *node, *next;

    for (node = interval_tree_iter_first(&t->entries, 0, UINT64_MAX); node;
         node = next) {
        uint64_t start = container_of(node, IOTLBEntry, node)->uaddr;
        uint64_t last = start + (node->last - node->start);

        next = interval_tree_iter_next(node, 0, UINT64_MAX);
        if (last >= uaddr && start <= uaddr + (size - 1)) {
            iotlb_drop(t, node->start, node->last);
        }
    }
}

/* Drop the entries for a section, from the first address that has changed on */
static void iotlb_check_section(struct vhost_iotlb *t,
                                const MemoryRegionSection *s)
{
    uint64_t gpa = s->offset_within_address_space;
    uint64_t uaddr = (uintptr_t)memory_region_get_ram_ptr(s->mr) +
                     s->offset_within_region;
    uint64_t left = int128_get64(s->size), now, len;

    while (left && !vhost_memory_region_lookup(t->dev, gpa, &now, &len) &&
           now == uaddr) {
        len = MIN(len, left);
        gpa += len;
        uaddr += len;
        left -= len;
    }
    if (left) {
        iotlb_drop_memory(t, uaddr, left);
    }
}

int vhost_iotlb_memory_changed(struct vhost_dev *dev,
                               const MemoryRegionSection *old, unsigned int n)
{
    struct vhost_iotlb *t = dev->iotlb;
    uint64_t dropped;

    if (!t) {
        return 0;
    }
    dropped = t->stats.dropped;
    for (unsigned int i = 0; i < n && t->n_entries; i++) {
        iotlb_check_section(t, &old[i]);
    }
    return t->stats.dropped == dropped ? 0 : iotlb_send(t);
}

VirtIODevice *vhost_iotlb_vdev(struct vhost_iotlb *t)
{
    return t->dev->vdev;
}

bool vhost_iotlb_has_room(struct vhost_iotlb *t)
{
    return t->n_entries < IOTLB_MAX_PREFETCH && t->lookups;
}

/* Find an entry for @iova that the back-end still has. */
static IOTLBEntry *iotlb_find_sent(struct vhost_iotlb *t, uint64_t iova)
{
    IOTLBEntry *e = iotlb_find(t, iova, iova);

    return e && e->epoch == t->epoch ? e : NULL;
}

/*
 * Append @cur to the range @e that is to be sent, or send that and begin with
 * @cur.  Pages that are contiguous in QEMU's memory, too, become one entry;
 * guests map and unmap such a range as a whole.
 */
static void iotlb_prefetch_page(struct vhost_iotlb *t, IOTLBEntry *e,
                                const IOTLBEntry *cur)
{
    if (e->perm && cur->node.start == e->node.last + 1 &&
        cur->perm == e->perm &&
        cur->uaddr == e->uaddr + (cur->node.start - e->node.start)) {
        e->node.last = cur->node.last;
        return;
    }
    if (e->perm) {
        iotlb_add(t, e);
    }
    *e = *cur;
}

void vhost_iotlb_prefetch(struct vhost_iotlb *t, uint64_t iova, uint64_t size)
{
    uint64_t pos = iova & IOTLB_PAGE_MASK;
    uint64_t last = iova + (size - 1);
    IOTLBEntry e = { .perm = IOMMU_NONE }, cur, *old;
    uint64_t end;

    if (!size || last < iova) {
        return;
    }
    while (vhost_iotlb_has_room(t)) {
        old = iotlb_find_sent(t, pos);
        if (old) {
            t->lookups--;
            end = old->node.last;
        } else if (iotlb_lookup(t, pos, &cur)) {
            end = cur.node.last;
            iotlb_prefetch_page(t, &e, &cur);
        } else {
            break;
        }
        if (end >= last) {
            break;
        }
        pos = end + 1;
    }
    if (e.perm) {
        iotlb_add(t, &e);
    }
}

/* Look up a page of a ring or a table, which a scan reads many times. */
static const IOTLBEntry *iotlb_see(struct vhost_iotlb *t, uint64_t iova)
{
    IOTLBEntry *e;
    unsigned int i;

    for (i = 0; i < MIN(t->n_seen, IOTLB_SEEN); i++) {
        e = &t->seen[i];
        if (iova >= e->node.start && iova <= e->node.last) {
            /* A read is work, too: there may be no end of it */
            return t->lookups && t->lookups-- ? e : NULL;
        }
    }
    e = &t->seen[t->n_seen % IOTLB_SEEN];
    if (!iotlb_lookup(t, iova & IOTLB_PAGE_MASK, e) || e->node.last < iova) {
        e->node.start = 1;
        e->node.last = 0;
        return NULL;
    }
    t->n_seen++;
    return e;
}

bool vhost_iotlb_read(struct vhost_iotlb *t, uint64_t iova, void *buf,
                      size_t size)
{
    uint8_t *p = buf;
    const IOTLBEntry *e;
    size_t n;

    while (size) {
        e = iotlb_see(t, iova);
        if (!e) {
            return false;
        }
        n = MIN(size - 1, e->node.last - iova) + 1;
        memcpy(p, (void *)(uintptr_t)(e->uaddr + (iova - e->node.start)), n);
        p += n;
        iova += n;
        size -= n;
    }
    return true;
}

/* A migration stream may hold a size that no driver can set */
static bool iotlb_queue_ready(struct vhost_iotlb *t, int n)
{
    int num = virtio_queue_get_num(t->dev->vdev, n);

    return virtio_queue_get_desc_addr(t->dev->vdev, n) &&
           num > 0 && num <= VIRTQUEUE_MAX_SIZE;
}

static void iotlb_prefetch_rings(struct vhost_iotlb *t, int n)
{
    VirtIODevice *vdev = t->dev->vdev;

    vhost_iotlb_prefetch(t, virtio_queue_get_desc_addr(vdev, n),
                         virtio_queue_get_desc_size(vdev, n));
    vhost_iotlb_prefetch(t, virtio_queue_get_avail_addr(vdev, n),
                         virtio_queue_get_avail_size(vdev, n));
    vhost_iotlb_prefetch(t, virtio_queue_get_used_addr(vdev, n),
                         virtio_queue_get_used_size(vdev, n));
}

/* With an identity mapping, each memory region becomes one entry. */
static void iotlb_prefetch_identity(struct vhost_iotlb *t)
{
    struct vhost_memory *mem = t->dev->mem;
    IOTLBEntry e;
    int i;

    for (i = 0; i < mem->nregions; i++) {
        uint64_t gpa = mem->regions[i].guest_phys_addr;

        if (iotlb_lookup(t, gpa, &e) &&
            e.node.last - gpa == mem->regions[i].memory_size - 1) {
            vhost_iotlb_prefetch(t, gpa, mem->regions[i].memory_size);
        }
    }
}

/*
 * Returns the end of the virtqueues to be prefetched, from @first on.  The
 * first device of a vhost-user back-end receives the misses of all virtqueues.
 */
static int iotlb_queues(struct vhost_iotlb *t, int *first)
{
    struct vhost_dev *dev = t->dev;

    *first = dev->vq_index;
    if (dev->vhost_ops->backend_type == VHOST_BACKEND_TYPE_KERNEL) {
        return dev->vq_index + dev->nvqs;
    }
    return dev->vq_index ? 0 : MAX(dev->nvqs, dev->vq_index_end);
}

/*
 * Reverse the order of the updates that have been queued since there were
 * @begin messages, but not their order with respect to invalidations.  A
 * back-end that polls goes on as soon as it has the translation of its next
 * buffer.  If this came first, the back-end would report a miss for each of the
 * others, as it needs them before it has read them from its socket.
 */
static void iotlb_reverse_updates(struct vhost_iotlb *t, unsigned int begin)
{
    struct vhost_iotlb_msg *msgs = (struct vhost_iotlb_msg *)t->msgs->data;
    unsigned int first, last, end;

    for (; begin < t->msgs->len; begin = end + 1) {
        end = begin;
        while (end < t->msgs->len && msgs[end].type == VHOST_IOTLB_UPDATE) {
            end++;
        }
        for (first = begin, last = end; first + 1 < last; first++) {
            struct vhost_iotlb_msg tmp = msgs[first];

            msgs[first] = msgs[--last];
            msgs[last] = tmp;
        }
    }
}

static void iotlb_prefetch_ring(struct vhost_iotlb *t, int n, bool writable)
{
    unsigned int begin = t->msgs->len;

    vhost_iotlb_ring_scan(t, &t->rings[n], n, writable);
    iotlb_reverse_updates(t, begin);
}

/*
 * Queue the translations of buffers.  Buffers that the back-end writes come
 * before buffers that it reads, since a packet that the back-end reads can
 * cause a reply that needs a receive buffer.
 */
static void iotlb_prefetch_buffers(struct vhost_iotlb *t, bool resync)
{
    int first, end = iotlb_queues(t, &first);
    int n;

    t->n_seen = 0;
    for (n = first; n < end; n++) {
        if (iotlb_queue_ready(t, n)) {
            vhost_iotlb_ring_update(t, &t->rings[n], n, resync);
            iotlb_prefetch_ring(t, n, true);
        }
    }
    for (n = first; n < end; n++) {
        if (iotlb_queue_ready(t, n)) {
            iotlb_prefetch_ring(t, n, false);
        }
    }
}

/* Queue the translations that the back-end will need next. */
static void iotlb_prefetch_all(struct vhost_iotlb *t)
{
    int first, end = iotlb_queues(t, &first);
    int n;

    iotlb_prefetch_identity(t);
    for (n = first; n < end; n++) {
        if (iotlb_queue_ready(t, n)) {
            iotlb_prefetch_rings(t, n);
        }
    }
    iotlb_prefetch_buffers(t, true);
}

/*
 * With VT-d's caching mode (CAP.CM, 11.4.2), an invalidation may announce a
 * mapping, before its buffer is posted.  A record that is empty belongs to a
 * back-end that translates nothing.
 */
static void iotlb_prefetch_mapping(struct vhost_iotlb *t, uint64_t iova,
                                   uint64_t last)
{
    unsigned int rest = iotlb_reserve(t);

    if (t->n_entries && last - iova < IOTLB_MAX_BUFFER) {
        vhost_iotlb_prefetch(t, iova, last - iova + 1);
    }
    t->lookups += rest;
}

bool vhost_iotlb_is_dropped(struct vhost_iotlb *t, uint64_t iova)
{
    const struct vhost_iotlb_msg *msg;
    unsigned int i;

    for (i = 0; i < t->msgs->len; i++) {
        msg = &g_array_index(t->msgs, struct vhost_iotlb_msg, i);
        if (msg->type == VHOST_IOTLB_INVALIDATE &&
            iova - msg->iova <= msg->size) {
            return true;
        }
    }
    return false;
}

bool vhost_iotlb_is_recorded(struct vhost_iotlb *t, uint64_t iova)
{
    return iotlb_find(t, iova, iova);
}

void vhost_iotlb_retire(struct vhost_iotlb *t, uint64_t iova, uint64_t size)
{
    uint64_t first = iova & IOTLB_PAGE_MASK;
    uint64_t last = (iova + (size - 1)) | ~IOTLB_PAGE_MASK;
    IntervalTreeNode *node, *next;

    if (!size || last < iova) {
        return;
    }
    for (node = interval_tree_iter_first(&t->entries, first, last); node;
         node = next) {
        next = interval_tree_iter_next(node, first, last);
        if (node->start >= first && node->last <= last) {
            iotlb_drop(t, node->start, node->last);
        }
    }
}

/*
 * A driver that unmaps each used buffer on its own invalidates once for each.
 * With the first of them, drop the translations of the others, too, so that
 * they cause no further round trips.  An IOMMU may drop a translation at any
 * time.
 *
 * The back-end may have sent misses for translations that it received and used
 * in the meantime.  Handle these misses before their translations are dropped,
 * but after the used index has been read.
 */
static void iotlb_retire_used(struct vhost_iotlb *t)
{
    int first, end = iotlb_queues(t, &first);
    unsigned long retire[BITS_TO_LONGS(VIRTIO_QUEUE_MAX)] = { };
    int n;

    if (!t->msgs->len || t->msgs->len > IOTLB_MAX_UNMAPS || t->wide) {
        return;
    }
    t->n_seen = 0;
    for (n = first; n < end; n++) {
        if (iotlb_queue_ready(t, n) &&
            vhost_iotlb_ring_find_used(t, &t->rings[n], n)) {
            set_bit(n, retire);
        }
    }
    if (find_first_bit(retire, end) >= end) {
        return;
    }
    if (t->dev->vhost_ops->vhost_handle_iotlb_misses) {
        t->dev->vhost_ops->vhost_handle_iotlb_misses(t->dev);
    }
    t->n_seen = 0;
    for (n = first; n < end; n++) {
        if (test_bit(n, retire)) {
            vhost_iotlb_ring_retire(t, &t->rings[n], n);
        }
    }
}

/*
 * Complete the invalidations that have been queued.  They give QEMU the chance
 * to send what the driver has posted in the meantime, too.
 */
static int iotlb_complete(struct vhost_iotlb *t)
{
    unsigned int rest = iotlb_reserve(t);

    if (t->n_entries && t->lookups) {
        iotlb_retire_used(t);
        iotlb_prefetch_buffers(t, false);
    }
    t->lookups += rest;
    return iotlb_send(t);
}

static void iotlb_flush(IOMMUBatchUser *user)
{
    struct vhost_iotlb *t = container_of(user, struct vhost_iotlb, batch);

    iotlb_begin_invalidation(t);
    if (iotlb_complete(t)) {
        error_report_once("Fail to invalidate device iotlb");
    }
    iotlb_end_invalidation(t);
}

/* Translate for a miss of the back-end, and report faults to the guest. */
static int iotlb_translate(struct vhost_dev *dev, uint64_t iova, bool write,
                           IOTLBEntry *e)
{
    IOMMUTLBEntry iotlb;

    iotlb = address_space_get_iotlb_entry(dev->vdev->dma_as, iova, write,
                                          MEMTXATTRS_UNSPECIFIED);
    if (!iotlb.target_as) {
        return -EFAULT;
    }
    iova &= IOTLB_PAGE_MASK;
    if (!iotlb_find_memory(dev, iova, &iotlb, iova & iotlb.addr_mask, e)) {
        error_report_once("vhost: no memory for the device at 0x%" PRIx64,
                          iotlb.translated_addr + (iova & iotlb.addr_mask));
        return -EFAULT;
    }
    /* iotlb.perm has both permissions, but only @write has been checked. */
    e->perm = write ? IOMMU_RW : IOMMU_RO;
    return 0;
}

/*
 * The back-end sends a miss for a translation that is on record.  Either it
 * sent the miss before it received the translation; the guest may have unmapped
 * the buffer since, so that the miss must not report a fault.  Or it has
 * evicted the translation, and may have evicted others.  In both cases the
 * translation is valid until the guest invalidates it, and the back-end waits
 * for it.
 */
static void iotlb_repeat(struct vhost_iotlb *t, IOTLBEntry *e)
{
    if (e->requested) {
        t->epoch++;
        memset(t->rings, 0, sizeof(t->rings));
        iotlb_prefetch_all(t);
    }
}

int vhost_iotlb_invalidate(struct vhost_dev *dev, uint64_t iova, uint64_t last)
{
    struct vhost_iotlb *t = dev->iotlb;
    IntervalTreeNode *node, *next;
    struct vhost_iotlb_msg *run = NULL;
    unsigned int kept = 0, dropped = 0;
    int ret = 0;

    if (!t) {
        return 0;
    }

    /*
     * The back-end may have sent a miss for a translation that it received and
     * used in the meantime.  Handle this miss while the translation is still
     * on record.
     */
    iotlb_begin_invalidation(t);
    if (iotlb_find(t, iova, last) &&
        dev->vhost_ops->vhost_handle_iotlb_misses) {
        dev->vhost_ops->vhost_handle_iotlb_misses(dev);
    }

    for (node = interval_tree_iter_first(&t->entries, iova, last); node;
         node = next) {
        IOTLBEntry *e = container_of(node, IOTLBEntry, node);

        next = interval_tree_iter_next(node, iova, last);
        if (iotlb_still_valid(t, e, iova, last)) {
            run = NULL;
            kept++;
            continue;
        }
        /*
         * Entries are sorted: one message covers the entries up to the next
         * one that stays.
         */
        if (!run) {
            iotlb_queue_invalidate(t, e->node.start, e->node.last);
            run = &g_array_index(t->msgs, struct vhost_iotlb_msg,
                                 t->msgs->len - 1);
        } else {
            run->size = iotlb_invalidate_size(run->iova, e->node.last);
        }
        iotlb_remove(t, e);
        dropped++;
    }
    t->wide |= dropped && last - iova >= IOTLB_MAX_BUFFER;
    iotlb_prefetch_mapping(t, iova, last);
    if (!iommu_batch_defer(&t->batch)) {
        ret = iotlb_complete(t);
    }
    iotlb_end_invalidation(t);
    t->stats.invalidations++;
    t->stats.kept += kept;
    t->stats.dropped += dropped;
    trace_vhost_iotlb_invalidate(dev, iova, last, kept, dropped);
    return ret;
}

/*
 * Queue the translation that the back-end waits for, behind all others: see
 * iotlb_reverse_updates().
 */
static void iotlb_answer(struct vhost_iotlb *t, const IOTLBEntry *new)
{
    struct vhost_iotlb_msg *msgs, *answer;
    IOTLBEntry *e = iotlb_add(t, new);
    unsigned int i;

    e->requested = true;
    msgs = (struct vhost_iotlb_msg *)t->msgs->data;
    answer = &msgs[t->msgs->len - 1];
    for (i = 0; &msgs[i] < answer; i++) {
        if (msgs[i].type == VHOST_IOTLB_UPDATE &&
            msgs[i].iova == answer->iova && msgs[i].size == answer->size) {
            g_array_remove_index(t->msgs, i);
            t->stats.updates--;
            break;
        }
    }
}

int vhost_device_iotlb_miss(struct vhost_dev *dev, uint64_t iova, int write)
{
    struct vhost_iotlb *t = dev->iotlb;
    IOTLBEntry e = {}, exact, *old;
    int ret;

    RCU_READ_LOCK_GUARD();

    trace_vhost_iotlb_miss(dev, 1);

    if (!t) {
        error_report_once("vhost: IOTLB miss of a device without an IOMMU");
        return -EINVAL;
    }

    t->stats.misses++;
    t->stats.write_misses += !!write;
    if (!t->invalidating) {
        t->lookups = IOTLB_MAX_LOOKUPS;
    }
    old = iotlb_find(t, iova, iova);
    if (old && (!write || old->perm == IOMMU_RW)) {
        e = *old;
        t->stats.sent_misses++;
        iotlb_repeat(t, old);
    } else {
        ret = iotlb_translate(dev, iova, write, &e);
        if (ret) {
            t->stats.faults++;
            trace_vhost_iotlb_miss(dev, 3);
            return ret;
        }
        if (iotlb_lookup(t, iova & IOTLB_PAGE_MASK, &exact) &&
            (!write || exact.perm == IOMMU_RW)) {
            e = exact;
            iotlb_prefetch_all(t);
        }
    }
    iotlb_answer(t, &e);

    ret = iotlb_send(t);
    if (ret) {
        trace_vhost_iotlb_miss(dev, 4);
        error_report("Fail to update device iotlb");
        return ret;
    }
    trace_vhost_iotlb_miss(dev, 2);
    return 0;
}

void vhost_iotlb_reset(struct vhost_dev *dev)
{
    if (!dev->iotlb) {
        dev->iotlb = g_new0(struct vhost_iotlb, 1);
        dev->iotlb->dev = dev;
        dev->iotlb->batch.flush = iotlb_flush;
        dev->iotlb->msgs = g_array_new(false, false,
                                       sizeof(struct vhost_iotlb_msg));
    }
    iotlb_clear(dev->iotlb);
}

void vhost_iotlb_cleanup(struct vhost_dev *dev)
{
    if (dev->iotlb) {
        iotlb_clear(dev->iotlb);
        g_array_free(dev->iotlb->msgs, true);
        g_free(dev->iotlb);
        dev->iotlb = NULL;
    }
}

void vhost_iotlb_get_stats(struct vhost_dev *dev, VhostIotlbStats *stats)
{
    struct vhost_iotlb *t = dev->iotlb;

    *stats = t->stats;
    stats->capacity = IOTLB_MAX_ENTRIES;
    stats->entries = t->n_entries;
}
