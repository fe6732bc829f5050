/*
 * Unit tests of the record of the IOTLB of a vhost back-end
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Tests hw/virtio/vhost-iotlb.c with a fake IOMMU that has one page table, a
 * fake driver with split virtqueues, and a fake back-end that caches updates
 * and processes invalidations like DPDK: it drops more than requested, and
 * takes an update of a cached page for a repetition.
 *
 * Section numbers are those of VIRTIO 1.3; "DPDK" and "record" refer to
 * docs/devel/vhost-user-iotlb.rst.
 *
 * Environment:
 * seed of the random sequence (printed; default: the time)
 *   IOTLB_TEST_STEPS  its length (default 20000)
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "exec/address-spaces.h"
#include "exec/memory.h"
#include "hw/virtio/vhost.h"
#include "hw/virtio/vhost-backend.h"
#include "hw/virtio/vhost-iotlb.h"
#include "standard-headers/linux/vhost_types.h"
#include "standard-headers/linux/virtio_ring.h"
#include "test-random.h"

#define PAGE            4096ULL
#define NR_PAGES        4096
/* I/O virtual address of page 0 */
#define IOVA            0x100000000ULL
#define IOVA_OF(page)   (IOVA + (page) * PAGE)
#define LAST_PAGE       (UINT64_MAX - (PAGE - 1))

/* Capacity of a record, and the share of it that prefetching may use */
#define CAPACITY        2048
#define MAX_PREFETCH    (CAPACITY / 4 * 3)

/* Each part of queue @n has a page of its own */
#define QUEUES          2
#define QUEUE_SIZE      8
#define DESC_PAGE(n)    (NR_PAGES - 6 + 3 * (n))
#define AVAIL_PAGE(n)   (DESC_PAGE(n) + 1)
#define USED_PAGE(n)    (DESC_PAGE(n) + 2)

/* ---- The IOMMU, and the memory behind it ---- */

AddressSpace address_space_memory;
static AddressSpace other_memory;
static uint8_t ram[NR_PAGES * PAGE] __attribute__((aligned(PAGE)));
/* A range without memory, unless both are 0 */
static uint64_t hole, hole_end;

static struct Mapping {
    unsigned page;              /* of RAM */
    IOMMUAccessFlags perm;      /* IOMMU_NONE: not mapped */
} table[NR_PAGES];

/* Replaces @table in its range, unless it is empty */
static IOMMUTLBEntry large;
static uint64_t large_size;

static bool can_peek;
static unsigned peeks;

/* Contents of the address space of the device: an IOMMU, or RAM and ROM */
static IOMMUMemoryRegion iommu_mr = { .parent_obj.is_iommu = true };
static uint64_t iommu_offset;
static MemoryRegion ram_mr = { .ram = true };
static MemoryRegion mmio_mr;
static MemoryRegion root;
static AddressSpace dma_as = { .root = &root };
static bool passthrough;
/* A range without a region in pass-through mode, although there is memory */
static uint64_t gap, gap_size;
static int references;

static IOMMUTLBEntry translate(uint64_t iova)
{
    IOMMUTLBEntry entry = {
        .target_as = &address_space_memory,
        .iova = iova & ~(PAGE - 1),
        .addr_mask = PAGE - 1,
    };
    uint64_t page = (iova - IOVA) / PAGE;

    if (iova - large.iova < large_size) {
        return large;
    }
    if (iova >= LAST_PAGE) {
        entry.perm = IOMMU_RW;
    } else if (page < NR_PAGES) {
        entry.translated_addr = table[page].page * PAGE;
        entry.perm = table[page].perm;
    }
    return entry;
}

IOMMUTLBEntry address_space_get_iotlb_entry(AddressSpace *as, hwaddr addr,
                                            bool is_write, MemTxAttrs attrs)
{
    IOMMUTLBEntry entry = translate(addr);

    g_assert_true(as == &dma_as);
    if (!(entry.perm & (is_write ? IOMMU_WO : IOMMU_RO))) {
        entry.target_as = NULL;
    }
    return entry;
}

bool memory_region_iommu_peek(IOMMUMemoryRegion *mr, hwaddr addr,
                              IOMMUTLBEntry *entry)
{
    g_assert_true(mr == &iommu_mr);
    peeks++;
    *entry = translate(addr - iommu_offset);
    return can_peek && entry->perm != IOMMU_NONE;
}

/*
 * Pass-through: RAM, then the same amount of ROM, then a hole before registers
 */
MemoryRegionSection memory_region_find(MemoryRegion *mr, hwaddr addr,
                                       uint64_t size)
{
    MemoryRegionSection s = { .offset_within_address_space = addr };

    g_assert_true(mr == &root);
    if (!passthrough) {
        s.mr = &iommu_mr.parent_obj;
        s.offset_within_region = addr + iommu_offset;
    } else if (addr - gap < gap_size) {
        s.mr = &ram_mr;
        s.offset_within_address_space = gap + gap_size;
        s.size = int128_make64(sizeof(ram) / 2 - gap - gap_size);
    } else if (addr < sizeof(ram)) {
        s.mr = &ram_mr;
        s.readonly = addr >= sizeof(ram) / 2;
        s.size = int128_make64((s.readonly ? sizeof(ram) : sizeof(ram) / 2) -
                               addr);
    } else if (addr < IOVA + PAGE) {
        s.mr = &mmio_mr;
        s.offset_within_address_space = MAX(addr, IOVA);
        s.size = int128_make64(PAGE);
    }
    if (s.mr) {
        references++;
    }
    return s;
}

void memory_region_unref(MemoryRegion *mr)
{
    references--;
}

int vhost_memory_region_lookup(struct vhost_dev *dev, uint64_t gpa,
                               uint64_t *uaddr, uint64_t *len)
{
    uint64_t end = gpa < hole ? hole : sizeof(ram);

    if (gpa >= end || (gpa >= hole && gpa < hole_end)) {
        return -EFAULT;
    }
    *uaddr = (uintptr_t)ram + gpa;
    *len = end - gpa;
    return 0;
}

static void map_large(uint64_t iova, uint64_t gpa, uint64_t size)
{
    large = (IOMMUTLBEntry) {
        .target_as = &address_space_memory,
        .iova = iova,
        .translated_addr = gpa,
        .addr_mask = size - 1,
        .perm = IOMMU_RW,
    };
    large_size = size;
}

static void map(unsigned page, unsigned ram_page, IOMMUAccessFlags perm)
{
    table[page] = (struct Mapping) { .page = ram_page, .perm = perm };
}

/* Adjacent pages are not adjacent in memory, so that each has its own entry */
static void map_apart(unsigned page, IOMMUAccessFlags perm)
{
    map(page, NR_PAGES - 1 - page, perm);
}

static void unmap(unsigned page)
{
    table[page].perm = IOMMU_NONE;
}

/* ---- The main loop ---- */

static QEMUBHFunc *turn;
static bool turn_is_due;

QEMUBH *qemu_bh_new_full(QEMUBHFunc *cb, void *opaque, const char *name,
                         MemReentrancyGuard *guard)
{
    g_assert_null(turn);
    turn = cb;
    return (QEMUBH *)&turn;
}

void qemu_bh_schedule(QEMUBH *bh)
{
    turn_is_due = true;
}

static void take_turn(void)
{
    if (turn_is_due) {
        turn_is_due = false;
        turn(NULL);
    }
}

/* ---- The driver ---- */

static struct {
    bool ready;
    uint16_t next;
} queues[QUEUES];

static struct vring_desc *descs(int n)
{
    return (void *)(ram + table[DESC_PAGE(n)].page * PAGE);
}

static struct vring_avail *avail(int n)
{
    return (void *)(ram + table[AVAIL_PAGE(n)].page * PAGE);
}

static struct vring_used *used(int n)
{
    return (void *)(ram + table[USED_PAGE(n)].page * PAGE);
}

hwaddr virtio_queue_get_desc_addr(VirtIODevice *vdev, int n)
{
    return n < QUEUES && queues[n].ready ? IOVA_OF(DESC_PAGE(n)) : 0;
}

hwaddr virtio_queue_get_avail_addr(VirtIODevice *vdev, int n)
{
    return IOVA_OF(AVAIL_PAGE(n));
}

hwaddr virtio_queue_get_used_addr(VirtIODevice *vdev, int n)
{
    return IOVA_OF(USED_PAGE(n));
}

hwaddr virtio_queue_get_desc_size(VirtIODevice *vdev, int n)
{
    return QUEUE_SIZE * sizeof(struct vring_desc);
}

hwaddr virtio_queue_get_avail_size(VirtIODevice *vdev, int n)
{
    return offsetof(struct vring_avail, ring[QUEUE_SIZE]);
}

hwaddr virtio_queue_get_used_size(VirtIODevice *vdev, int n)
{
    return offsetof(struct vring_used, ring[QUEUE_SIZE]);
}

int virtio_queue_get_num(VirtIODevice *vdev, int n)
{
    return QUEUE_SIZE;
}

static void start_queue(int n)
{
    for (unsigned page = DESC_PAGE(n); page <= USED_PAGE(n); page++) {
        map_apart(page, IOMMU_RW);
        memset(ram + table[page].page * PAGE, 0, PAGE);
    }
    queues[n].ready = true;
}

static void set_desc(struct vring_desc *d, uint64_t addr, uint32_t len,
                     uint16_t flags, uint16_t next)
{
    d->addr = cpu_to_le64(addr);
    d->len = cpu_to_le32(len);
    d->flags = cpu_to_le16(flags);
    d->next = cpu_to_le16(next);
}

static void make_available(int n, uint16_t head)
{
    avail(n)->ring[queues[n].next % QUEUE_SIZE] = cpu_to_le16(head);
    avail(n)->idx = cpu_to_le16(++queues[n].next);
}

/* Make a buffer of one descriptor available */
static void post(int n, uint16_t head, uint64_t addr, uint32_t len,
                 uint16_t flags)
{
    set_desc(&descs(n)[head], addr, len, flags, 0);
    make_available(n, head);
}

/* ---- The back-end ---- */

typedef struct Cached {
    uint64_t first;
    uint64_t last;
    uint64_t uaddr;
    uint8_t perm;
} Cached;

static GArray *cache;           /* of Cached */
static GArray *sent;            /* struct vhost_iotlb_msg, as received */
static int backend_status;

static Cached *find_cached(uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < cache->len; i++) {
        Cached *c = &g_array_index(cache, Cached, i);

        if (c->first <= last && c->last >= first) {
            return c;
        }
    }
    return NULL;
}

static void take_update(const struct vhost_iotlb_msg *msg)
{
    Cached new = {
        .first = msg->iova,
        .last = msg->iova + (msg->size - 1),
        .uaddr = msg->uaddr,
        .perm = msg->perm,
    };

    assert_true(msg->size > 0 && new.last >= new.first);
    if (!find_cached(new.first, new.last)) {
        g_array_append_val(cache, new);
    }
}

/* Also drops an entry that starts directly after the range; must not wrap */
static void take_invalidation(const struct vhost_iotlb_msg *msg)
{
    uint64_t end = msg->iova + msg->size;
    Cached *c;

    assert_true(end >= msg->iova);
    while ((c = find_cached(msg->iova, end))) {
        g_array_remove_index_fast(cache, c - (Cached *)cache->data);
    }
}

int vhost_backend_send_device_iotlb_msgs(struct vhost_dev *dev,
                                         const struct vhost_iotlb_msg *msgs,
                                         size_t n)
{
    g_array_append_vals(sent, msgs, n);
    for (size_t i = 0; i < n; i++) {
        if (msgs[i].type == VHOST_IOTLB_UPDATE) {
            take_update(&msgs[i]);
        } else {
            assert_int_equal(msgs[i].type, VHOST_IOTLB_INVALIDATE);
            take_invalidation(&msgs[i]);
        }
    }
    return backend_status;
}

static unsigned late_misses;
static void (*late_miss)(void);

static void handle_misses(struct vhost_dev *dev)
{
    late_misses++;
    if (late_miss) {
        late_miss();
    }
}

static const VhostOps quiet_backend;
static const VhostOps backend = { .vhost_handle_iotlb_misses = handle_misses };

static VirtIODevice vdev = { .dma_as = &dma_as };
static struct vhost_dev dev = { .vdev = &vdev };

/*
 * Returns the permissions VHOST_ACCESS_* for the page, or 0, and checks its
 * address
 */
static int cached_perm(unsigned page)
{
    Cached *c = find_cached(IOVA_OF(page), IOVA_OF(page) + (PAGE - 1));

    if (!c) {
        return 0;
    }
    assert_int_equal(c->uaddr + (IOVA_OF(page) - c->first),
                     (uintptr_t)ram + table[page].page * PAGE);
    return c->perm;
}

static int miss(unsigned page, bool write)
{
    return vhost_device_iotlb_miss(&dev, IOVA_OF(page) + 0x123, write);
}

static int invalidate(unsigned page, unsigned n)
{
    return vhost_iotlb_invalidate(&dev, IOVA_OF(page), IOVA_OF(page + n) - 1);
}

static void expect_sent(unsigned i, uint8_t type, uint64_t iova, uint64_t size)
{
    struct vhost_iotlb_msg *msg;

    assert_in_range(i, 0, (int)sent->len - 1);
    msg = &g_array_index(sent, struct vhost_iotlb_msg, i);
    assert_int_equal(msg->type, type);
    assert_int_equal(msg->iova, iova);
    assert_int_equal(msg->size, size);
}

static void forget_sent(void)
{
    g_array_set_size(sent, 0);
}

static VhostIotlbStats stats(void)
{
    VhostIotlbStats s;

    vhost_iotlb_get_stats(&dev, &s);
    return s;
}

static int setup(void **state)
{
    memset(table, 0, sizeof(table));
    memset(queues, 0, sizeof(queues));
    large_size = 0;
    hole = 0;
    hole_end = 0;
    iommu_offset = 0;
    passthrough = false;
    gap_size = 0;
    can_peek = true;
    take_turn();
    peeks = 0;
    backend_status = 0;
    late_misses = 0;
    late_miss = NULL;
    vdev.guest_features = 0;
    dev.mem = g_malloc0(offsetof(struct vhost_memory, regions[2]));
    dev.vhost_ops = &backend;
    dev.vq_index = 0;
    dev.nvqs = QUEUES;
    cache = g_array_new(false, false, sizeof(Cached));
    sent = g_array_new(false, false, sizeof(struct vhost_iotlb_msg));
    vhost_iotlb_reset(&dev);
    return 0;
}

static int teardown(void **state)
{
    vhost_iotlb_cleanup(&dev);
    assert_null(dev.iotlb);
    assert_int_equal(references, 0);
    g_array_unref(cache);
    g_array_unref(sent);
    g_free(dev.mem);
    return 0;
}

/* ---- Misses ---- */

static void test_miss(void **state)
{
    map(3, 7, IOMMU_RW);
    assert_int_equal(miss(3, true), 0);
    assert_int_equal(sent->len, 1);
    expect_sent(0, VHOST_IOTLB_UPDATE, IOVA_OF(3), PAGE);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
    assert_int_equal(stats().misses, 1);
    assert_int_equal(stats().updates, 1);
}

static void test_miss_read_only(void **state)
{
    map(3, 7, IOMMU_RO);
    assert_int_equal(miss(3, false), 0);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RO);

    /* The record has no write permission, and neither have the tables */
    assert_int_equal(miss(3, true), -EFAULT);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RO);
    assert_int_equal(stats().faults, 1);

    /* An invalidation must precede an update with more permissions */
    map(3, 7, IOMMU_RW);
    forget_sent();
    assert_int_equal(miss(3, true), 0);
    expect_sent(0, VHOST_IOTLB_INVALIDATE, IOVA_OF(3), PAGE - 1);
    expect_sent(1, VHOST_IOTLB_UPDATE, IOVA_OF(3), PAGE);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
}

/* Back-ends request both permissions when they write */
static void test_miss_write_only(void **state)
{
    map(3, 7, IOMMU_WO);
    assert_int_equal(miss(3, true), 0);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
    unmap(3);
    assert_int_equal(miss(3, true), 0);
    assert_int_equal(stats().faults, 0);
}

static void test_miss_not_mapped(void **state)
{
    assert_int_equal(miss(3, false), -EFAULT);
    assert_int_equal(sent->len, 0);
    assert_int_equal(stats().entries, 0);
}

/* The translated address is not in memory */
static void test_miss_no_memory(void **state)
{
    map(3, NR_PAGES, IOMMU_RW);
    assert_int_equal(miss(3, true), -EFAULT);
    assert_int_equal(sent->len, 0);
    assert_int_equal(stats().faults, 1);
}

static void test_miss_no_record(void **state)
{
    vhost_iotlb_cleanup(&dev);
    map(3, 7, IOMMU_RW);
    assert_int_equal(miss(3, true), -EINVAL);
    assert_int_equal(sent->len, 0);
}

static void test_miss_last_page(void **state)
{
    assert_int_equal(vhost_device_iotlb_miss(&dev, UINT64_MAX, true), 0);
    expect_sent(0, VHOST_IOTLB_UPDATE, LAST_PAGE, PAGE);
    assert_int_equal(vhost_iotlb_drop(&dev, 0, UINT64_MAX), 0);
    expect_sent(1, VHOST_IOTLB_INVALIDATE, LAST_PAGE, PAGE - 1);
}

static void test_miss_large_page(void **state)
{
    map_large(2 * MiB, 4 * MiB, 2 * MiB);
    assert_int_equal(vhost_device_iotlb_miss(&dev, 3 * MiB + 5, true), 0);
    assert_int_equal(sent->len, 1);
    expect_sent(0, VHOST_IOTLB_UPDATE, 2 * MiB, 2 * MiB);
    assert_int_equal(find_cached(3 * MiB, 3 * MiB)->uaddr,
                     (uintptr_t)ram + 4 * MiB);
}

/* The page has holes in memory: the back-end gets the requested part */
static void test_miss_large_page_pieces(void **state)
{
    Cached *c;

    hole = 4 * MiB;
    hole_end = 5 * MiB;
    map_large(GiB, 0, GiB);
    assert_int_equal(vhost_device_iotlb_miss(&dev, GiB + 7 * MiB + 5, true), 0);
    c = find_cached(GiB + 7 * MiB, GiB + 7 * MiB);
    assert_non_null(c);
    assert_int_equal(c->uaddr, (uintptr_t)ram + 7 * MiB);
    assert_int_equal(c->last, GiB + sizeof(ram) - 1);

    assert_int_equal(vhost_device_iotlb_miss(&dev, GiB + MiB, true), 0);
    c = find_cached(GiB + MiB, GiB + MiB);
    assert_non_null(c);
    assert_int_equal(c->uaddr, (uintptr_t)ram);
    assert_int_equal(c->last, GiB + 4 * MiB - 1);

    assert_int_equal(vhost_device_iotlb_miss(&dev, GiB + 4 * MiB, true),
                     -EFAULT);
    assert_int_equal(vhost_device_iotlb_miss(&dev, GiB + sizeof(ram), true),
                     -EFAULT);
}

/* A back-end that repeats a miss has lost the entry, and perhaps others */
static void test_miss_twice(void **state)
{
    start_queue(0);
    map_apart(3, IOMMU_RW);
    post(0, 1, IOVA_OF(3), PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
    g_array_set_size(cache, 0);

    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(DESC_PAGE(0)), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(USED_PAGE(0)), VHOST_ACCESS_RW);
    /* The buffer is available, and not used yet */
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
}

/* A late miss for a prefetched page is not a fault */
static void test_miss_late(void **state)
{
    start_queue(0);
    map_apart(3, IOMMU_RW);
    post(0, 1, IOVA_OF(3), PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);

    unmap(3);
    forget_sent();
    assert_int_equal(miss(3, true), 0);
    assert_int_equal(sent->len, 1);
    expect_sent(0, VHOST_IOTLB_UPDATE, IOVA_OF(3), PAGE);
    assert_int_equal(stats().faults, 0);
}

static void late_miss_of_3(void)
{
    assert_int_equal(miss(3, true), 0);
}

/* Misses that have arrived are handled before the invalidation */
static void test_misses_before_invalidation(void **state)
{
    map(3, 7, IOMMU_RW);
    assert_int_equal(miss(3, true), 0);
    unmap(3);
    late_miss = late_miss_of_3;
    assert_int_equal(invalidate(3, 1), 0);
    assert_int_equal(late_misses, 1);
    assert_int_equal(stats().faults, 0);
    assert_int_equal(cached_perm(3), 0);
}

/* ---- IOMMUs without lookup that is free of side effects ---- */

static void test_no_peek(void **state)
{
    can_peek = false;
    start_queue(0);
    map_apart(3, IOMMU_RW);
    map_apart(4, IOMMU_RW);
    post(0, 1, IOVA_OF(4), PAGE, VRING_DESC_F_WRITE);

    /* Each miss is answered separately */
    assert_int_equal(miss(3, true), 0);
    assert_int_equal(miss(4, true), 0);
    assert_int_equal(sent->len, 2);

    /* An invalidation drops all entries in the range, without lookups */
    assert_int_equal(invalidate(4, 100), 0);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(4), 0);
    assert_int_equal(stats().kept, 0);
    assert_int_equal(stats().dropped, 1);
}

/* A translation to memory other than system memory is not prefetched */
static void test_peek_other_memory(void **state)
{
    map_large(2 * MiB, 0, 2 * MiB);
    large.target_as = &other_memory;
    start_queue(0);
    post(0, 1, 2 * MiB, PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_null(find_cached(2 * MiB, 4 * MiB - 1));
}

/* An IOMMU page that begins below address 0 of the device */
static void test_peek_below_zero(void **state)
{
    iommu_offset = MiB;
    map_large(0, 4 * MiB, 2 * MiB);
    start_queue(0);
    post(0, 1, PAGE, PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_null(find_cached(0, 0));
    assert_int_equal(find_cached(PAGE, PAGE)->first, PAGE);
    assert_int_equal(find_cached(PAGE, PAGE)->last, MiB - 1);
    assert_int_equal(find_cached(PAGE, PAGE)->uaddr,
                     (uintptr_t)ram + 5 * MiB + PAGE);
}

/* ---- Pass-through ---- */

static void set_regions(uint64_t first, uint64_t second)
{
    dev.mem->nregions = 2;
    dev.mem->regions[0].memory_size = first;
    dev.mem->regions[1].guest_phys_addr = first;
    dev.mem->regions[1].memory_size = second;
}

/* Each memory region becomes one entry; the second is read-only */
static void test_passthrough(void **state)
{
    passthrough = true;
    set_regions(sizeof(ram) / 2, sizeof(ram) / 2);
    map_large(5 * PAGE, 5 * PAGE, PAGE);
    assert_int_equal(vhost_device_iotlb_miss(&dev, 5 * PAGE, true), 0);
    assert_int_equal(find_cached(0, 0)->last, sizeof(ram) / 2 - 1);
    assert_int_equal(find_cached(0, 0)->perm, VHOST_ACCESS_RW);
    assert_int_equal(find_cached(sizeof(ram) / 2, UINT64_MAX)->last,
                     sizeof(ram) - 1);
    assert_int_equal(find_cached(sizeof(ram) / 2, UINT64_MAX)->perm,
                     VHOST_ACCESS_RO);
}

/* Regions that are split in the address space are not sent as a whole */
static void test_passthrough_pieces(void **state)
{
    passthrough = true;
    set_regions(sizeof(ram) / 4, sizeof(ram) / 2);
    map_large(0, 0, PAGE);
    assert_int_equal(vhost_device_iotlb_miss(&dev, 0, true), 0);
    assert_int_equal(sent->len, 1);
    expect_sent(0, VHOST_IOTLB_UPDATE, 0, sizeof(ram) / 2);
}

/* A write to read-only memory: only the translation of the IOMMU is sent */
static void test_passthrough_read_only(void **state)
{
    passthrough = true;
    map_large(sizeof(ram) / 2, sizeof(ram) / 2, PAGE);
    assert_int_equal(vhost_device_iotlb_miss(&dev, sizeof(ram) / 2, true), 0);
    assert_int_equal(sent->len, 1);
    expect_sent(0, VHOST_IOTLB_UPDATE, sizeof(ram) / 2, PAGE);
}

/* No region, a region at a higher address, and registers are not memory */
static void test_passthrough_holes(void **state)
{
    const uint64_t holes[] = { sizeof(ram), IOVA, IOVA + 16 * PAGE, MiB };

    passthrough = true;
    gap = MiB;
    gap_size = MiB;
    for (int i = 0; i < ARRAY_SIZE(holes); i++) {
        map_large(holes[i], 0, PAGE);
        forget_sent();
        assert_int_equal(vhost_device_iotlb_miss(&dev, holes[i], true), 0);
        assert_int_equal(sent->len, 1);
        expect_sent(0, VHOST_IOTLB_UPDATE, holes[i], PAGE);
    }
}

/* ---- Invalidations ---- */

/* Unchanged translations are kept, and changed ones are dropped once */
static void test_invalidate(void **state)
{
    for (unsigned page = 0; page < 8; page++) {
        map_apart(page, IOMMU_RW);
        assert_int_equal(miss(page, true), 0);
    }
    unmap(1);
    unmap(2);
    map(4, 100, IOMMU_RW);
    map_apart(6, IOMMU_RO);
    forget_sent();
    assert_int_equal(invalidate(0, 8), 0);

    /* DPDK: the page after a range is kept; adjacent pages share a message */
    assert_int_equal(sent->len, 3);
    expect_sent(0, VHOST_IOTLB_INVALIDATE, IOVA_OF(1), 2 * PAGE - 1);
    expect_sent(1, VHOST_IOTLB_INVALIDATE, IOVA_OF(4), PAGE - 1);
    expect_sent(2, VHOST_IOTLB_INVALIDATE, IOVA_OF(6), PAGE - 1);
    for (unsigned page = 0; page < 8; page++) {
        bool gone = page == 1 || page == 2 || page == 4 || page == 6;

        assert_int_equal(cached_perm(page), gone ? 0 : VHOST_ACCESS_RW);
    }
    assert_int_equal(stats().kept, 4);
    assert_int_equal(stats().dropped, 4);
    assert_int_equal(stats().invalidations, 1);
}

/*
 * Pages that share an entry are looked up separately, to the end of the range
 */
static void test_invalidate_merged(void **state)
{
    start_queue(0);
    for (unsigned page = 10; page < 14; page++) {
        map(page, page, IOMMU_RW);
    }
    post(0, 1, IOVA_OF(10), 4 * PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(find_cached(IOVA_OF(10), IOVA_OF(10))->last,
                     IOVA_OF(14) - 1);

    /* A change outside of the range is kept until that is invalidated, too */
    unmap(13);
    assert_int_equal(invalidate(11, 2), 0);
    assert_non_null(find_cached(IOVA_OF(10), IOVA_OF(10)));
    assert_int_equal(invalidate(12, 2), 0);
    assert_null(find_cached(IOVA_OF(10), IOVA_OF(14) - 1));
}

static void test_invalidate_nothing(void **state)
{
    assert_int_equal(invalidate(0, NR_PAGES), 0);
    assert_int_equal(sent->len, 0);
    vhost_iotlb_cleanup(&dev);
    assert_int_equal(invalidate(0, NR_PAGES), 0);
    assert_int_equal(vhost_iotlb_drop(&dev, 0, UINT64_MAX), 0);
    assert_int_equal(sent->len, 0);
}

/* vhost-vdpa has no misses */
static void test_invalidate_no_misses(void **state)
{
    dev.vhost_ops = &quiet_backend;
    map(3, 7, IOMMU_RW);
    assert_int_equal(miss(3, true), 0);
    unmap(3);
    assert_int_equal(invalidate(3, 1), 0);
    assert_int_equal(cached_perm(3), 0);
}

/* The address space changes: entries are dropped without lookups */
static void test_drop(void **state)
{
    for (unsigned page = 0; page < 8; page += 2) {
        map_apart(page, IOMMU_RW);
        assert_int_equal(miss(page, true), 0);
    }
    peeks = 0;
    forget_sent();
    assert_int_equal(vhost_iotlb_drop(&dev, IOVA_OF(2), IOVA_OF(6)), 0);
    assert_int_equal(peeks, 0);
    assert_int_equal(sent->len, 1);
    expect_sent(0, VHOST_IOTLB_INVALIDATE, IOVA_OF(2), 5 * PAGE - 1);
    assert_int_equal(cached_perm(0), VHOST_ACCESS_RW);
    assert_int_equal(stats().entries, 1);
    assert_int_equal(stats().dropped, 3);
}

/* Each call returns the error, and nothing is sent twice */
static void test_backend_refuses(void **state)
{
    map_apart(3, IOMMU_RW);
    map_apart(4, IOMMU_RW);
    backend_status = -EIO;
    assert_int_equal(miss(3, true), -EIO);
    assert_int_equal(miss(4, true), -EIO);
    unmap(3);
    forget_sent();
    assert_int_equal(invalidate(3, 1), -EIO);
    assert_int_equal(sent->len, 1);
    assert_int_equal(vhost_iotlb_drop(&dev, 0, UINT64_MAX), -EIO);
    assert_int_equal(sent->len, 2);
    backend_status = 0;
    assert_int_equal(vhost_iotlb_drop(&dev, 0, UINT64_MAX), 0);
    assert_int_equal(sent->len, 2);
}

/* The back-end's cache is empty after the device stops and starts */
static void test_reset(void **state)
{
    map(3, 7, IOMMU_RW);
    assert_int_equal(miss(3, true), 0);
    forget_sent();
    vhost_iotlb_reset(&dev);
    assert_int_equal(sent->len, 0);
    assert_int_equal(stats().entries, 0);
    assert_int_equal(invalidate(3, 1), 0);
    assert_int_equal(sent->len, 0);
}

/* ---- Full record ---- */

static void fill(unsigned from, unsigned n)
{
    for (unsigned page = from; page < from + n; page++) {
        map_apart(page, IOMMU_RW);
        assert_int_equal(miss(page, true), 0);
    }
}

/* The back-end has dropped random entries, so that the record drops all */
static void test_full(void **state)
{
    fill(0, CAPACITY);
    assert_int_equal(stats().capacity, CAPACITY);
    assert_int_equal(stats().entries, CAPACITY);
    forget_sent();

    fill(CAPACITY, 1);
    assert_int_equal(stats().entries, 1);
    assert_int_equal(sent->len, 2);
    expect_sent(0, VHOST_IOTLB_INVALIDATE, IOVA, CAPACITY * PAGE - 1);
    expect_sent(1, VHOST_IOTLB_UPDATE, IOVA_OF(CAPACITY), PAGE);
    assert_int_equal(cache->len, 1);
}

/* Prefetching evicts no entries of misses, and continues later */
static void test_prefetch_leaves_room(void **state)
{
    start_queue(0);
    fill(0, MAX_PREFETCH - 4);
    for (unsigned page = 2000; page < 2016; page++) {
        map_apart(page, IOMMU_RW);
    }
    post(0, 1, IOVA_OF(2000), 8 * PAGE, VRING_DESC_F_WRITE);
    post(0, 2, IOVA_OF(2008), PAGE, VRING_DESC_F_WRITE);
    fill(2020, 1);
    assert_in_range(stats().entries, MAX_PREFETCH, MAX_PREFETCH + 2);
    assert_int_equal(cached_perm(2000), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(2002), 0);

    for (unsigned page = 0; page < 100; page++) {
        unmap(page);
    }
    assert_int_equal(invalidate(0, 100), 0);
    fill(2021, 1);
    for (unsigned page = 2000; page <= 2008; page++) {
        assert_int_equal(cached_perm(page), VHOST_ACCESS_RW);
    }
}

/* ---- Virtqueues ---- */

/* A miss for one queue prefetches the pages of all queues */
static void test_prefetch_queues(void **state)
{
    start_queue(0);
    start_queue(1);
    map_apart(3, IOMMU_RO);
    map_apart(4, IOMMU_RW);
    post(0, 5, IOVA_OF(3), PAGE, 0);
    post(1, 6, IOVA_OF(4) + 100, 200, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    for (int n = 0; n < QUEUES; n++) {
        assert_int_equal(cached_perm(DESC_PAGE(n)), VHOST_ACCESS_RW);
        assert_int_equal(cached_perm(AVAIL_PAGE(n)), VHOST_ACCESS_RW);
        assert_int_equal(cached_perm(USED_PAGE(n)), VHOST_ACCESS_RW);
    }
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RO);
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RW);

    /* Writable buffers come first */
    assert_true(find_cached(IOVA_OF(4), IOVA_OF(4)) <
                find_cached(IOVA_OF(3), IOVA_OF(3)));

    /* The next miss does not send the same entries again */
    forget_sent();
    fill(5, 1);
    assert_int_equal(sent->len, 1);
}

/* A vhost device serves the queues of several (vq_index_end) */
static void test_prefetch_all_queues(void **state)
{
    dev.nvqs = 1;
    dev.vq_index_end = QUEUES;
    start_queue(1);
    map_apart(3, IOMMU_RW);
    assert_int_equal(miss(3, true), 0);
    assert_int_equal(cached_perm(USED_PAGE(1)), VHOST_ACCESS_RW);
    dev.vq_index_end = 0;
}

/* Buffers that were used before the first miss are not prefetched (2.7.8) */
static void test_prefetch_from_used(void **state)
{
    start_queue(0);
    map_apart(3, IOMMU_RW);
    map_apart(4, IOMMU_RW);
    post(0, 1, IOVA_OF(3), PAGE, VRING_DESC_F_WRITE);
    used(0)->idx = cpu_to_le16(1);
    post(0, 2, IOVA_OF(4), PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(3), 0);
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RW);
}

/* Without both rings, buffers are not prefetched */
static void test_prefetch_rings_gone(void **state)
{
    const unsigned gone[] = { AVAIL_PAGE(0), USED_PAGE(0) };

    for (int i = 0; i < ARRAY_SIZE(gone); i++) {
        vhost_iotlb_cleanup(&dev);
        vhost_iotlb_reset(&dev);
        g_array_set_size(cache, 0);
        memset(queues, 0, sizeof(queues));
        start_queue(0);
        map_apart(3, IOMMU_RW);
        post(0, 1, IOVA_OF(3), PAGE, VRING_DESC_F_WRITE);
        unmap(gone[i]);
        assert_int_equal(miss(DESC_PAGE(0), false), 0);
        assert_int_equal(cached_perm(3), 0);

        /* The buffers are prefetched once the ring is mapped */
        map_apart(gone[i], IOMMU_RW);
        fill(4, 1);
        assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
    }
}

/*
 * The index must not exceed the last one by more than the queue size (2.7.13)
 */
static void test_prefetch_index_jumps(void **state)
{
    start_queue(0);
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        map_apart(i, IOMMU_RW);
        post(0, i, IOVA_OF(i), PAGE, VRING_DESC_F_WRITE);
    }
    avail(0)->idx = cpu_to_le16(0xfff0);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    for (unsigned i = 0; i < QUEUE_SIZE; i++) {
        assert_int_equal(cached_perm(i), VHOST_ACCESS_RW);
    }
    /* The rings, the repeated miss, and each entry of the ring once */
    assert_int_equal(stats().entries, 3 + QUEUE_SIZE);
    assert_in_range(peeks, 1, 100);
}

/* record: an entry of single pages, each of which needs a lookup */
static void fill_with_pages(void)
{
    start_queue(0);
    for (unsigned page = 0; page < DESC_PAGE(0); page++) {
        map(page, page, IOMMU_RW);
    }
    post(0, 0, IOVA, DESC_PAGE(0) * PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(DESC_PAGE(0) - 1), VHOST_ACCESS_RW);
}

/*
 * record: invalidations between two turns of the main loop do a limited number
 * of lookups, and drop all other entries
 */
static void test_invalidate_many(void **state)
{
    fill_with_pages();
    peeks = 0;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(invalidate(0, NR_PAGES), 0);
    }
    assert_in_range(peeks, NR_PAGES, 16384);
    assert_int_equal(stats().entries, 0);
    assert_int_equal(cached_perm(0), 0);
    /* Misses still have answers, and later invalidations do lookups again */
    assert_int_equal(miss(5, true), 0);
    assert_int_equal(cached_perm(5), VHOST_ACCESS_RW);
    take_turn();
    assert_int_equal(invalidate(0, NR_PAGES), 0);
    assert_int_equal(cached_perm(5), VHOST_ACCESS_RW);
}

static void late_prefetch(void)
{
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
}

/* record: misses that are handled by invalidations count */
static void test_invalidate_many_misses(void **state)
{
    fill_with_pages();
    late_miss = late_prefetch;
    peeks = 0;
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(invalidate(DESC_PAGE(1), 1), 0);
    }
    assert_in_range(peeks, 1, 16384);
    late_miss = NULL;
}

/* VIRTIO_F_RING_PACKED (2.8): only the rings themselves are prefetched */
static void test_prefetch_packed(void **state)
{
    vdev.guest_features = BIT_ULL(VIRTIO_F_RING_PACKED);
    start_queue(0);
    map_apart(3, IOMMU_RW);
    post(0, 1, IOVA_OF(3), PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(USED_PAGE(0)), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(3), 0);
}

static void test_chain(void **state)
{
    start_queue(0);
    for (unsigned page = 3; page < 6; page++) {
        map_apart(page, IOMMU_RW);
    }
    set_desc(&descs(0)[1], IOVA_OF(3), 16, VRING_DESC_F_NEXT, 7);
    set_desc(&descs(0)[7], IOVA_OF(4), PAGE,
             VRING_DESC_F_NEXT | VRING_DESC_F_WRITE, 2);
    set_desc(&descs(0)[2], IOVA_OF(5), PAGE, VRING_DESC_F_WRITE, 0);
    make_available(0, 1);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    for (unsigned page = 3; page < 6; page++) {
        assert_int_equal(cached_perm(page), VHOST_ACCESS_RW);
    }
}

/*
 * 2.7.5: invalid descriptors of a hostile driver cost a limited number of
 * lookups
 */
static void test_chain_loops(void **state)
{
    start_queue(0);
    map_apart(3, IOMMU_RW);
    set_desc(&descs(0)[1], IOVA_OF(3), 16, VRING_DESC_F_NEXT, 2);
    set_desc(&descs(0)[2], IOVA_OF(3), 16, VRING_DESC_F_NEXT, 1);
    make_available(0, 1);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(DESC_PAGE(0)), VHOST_ACCESS_RW);
    assert_in_range(peeks, 1, 4 * CAPACITY);
}

static void test_chain_outside(void **state)
{
    start_queue(0);
    map_apart(3, IOMMU_RW);
    map_apart(4, IOMMU_RW);
    /* A head and a next index outside of the table */
    set_desc(&descs(0)[QUEUE_SIZE], IOVA_OF(3), PAGE, VRING_DESC_F_WRITE, 0);
    make_available(0, QUEUE_SIZE);
    set_desc(&descs(0)[1], IOVA_OF(4), PAGE,
             VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, QUEUE_SIZE);
    make_available(0, 1);
    assert_int_equal(miss(AVAIL_PAGE(0), false), 0);
    assert_int_equal(cached_perm(3), 0);
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RW);
}

/* Ranges that are empty, wrap, or are only partly mapped */
static void test_buffer_ranges(void **state)
{
    start_queue(0);
    map_apart(3, IOMMU_RW);
    map_apart(4, IOMMU_RW);
    map_large(0, 0, PAGE);
    post(0, 0, 0, 0, VRING_DESC_F_WRITE);
    post(0, 1, IOVA_OF(3), 0, VRING_DESC_F_WRITE);
    post(0, 2, UINT64_MAX - 1, PAGE, VRING_DESC_F_WRITE);
    post(0, 3, IOVA_OF(4), 3 * PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_null(find_cached(0, 0));
    assert_int_equal(cached_perm(3), 0);
    assert_null(find_cached(LAST_PAGE, UINT64_MAX));
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RW);
}

/*
 * Pages that are adjacent in memory, but differ in permissions, are two
 * entries
 */
static void test_buffer_permissions(void **state)
{
    start_queue(0);
    map(3, 10, IOMMU_RW);
    map(4, 11, IOMMU_RO);
    post(0, 1, IOVA_OF(3), 2 * PAGE, VRING_DESC_F_WRITE);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RO);
}

/* 2.7.5.3: an indirect table, which the device reads */
static void test_indirect(void **state)
{
    struct vring_desc *d = (void *)(ram + (NR_PAGES - 1 - 3) * PAGE);

    start_queue(0);
    for (unsigned page = 3; page < 7; page++) {
        map_apart(page, page == 3 ? IOMMU_RO : IOMMU_RW);
    }
    post(0, 1, IOVA_OF(3), 2 * sizeof(*d), VRING_DESC_F_INDIRECT);
    set_desc(&d[0], IOVA_OF(4), 16, VRING_DESC_F_NEXT, 1);
    set_desc(&d[1], IOVA_OF(5), PAGE,
             VRING_DESC_F_WRITE | VRING_DESC_F_NEXT, 2);
    /* A descriptor after the end of the table */
    set_desc(&d[2], IOVA_OF(6), PAGE, VRING_DESC_F_WRITE, 0);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(3), VHOST_ACCESS_RO);
    assert_int_equal(cached_perm(4), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(5), VHOST_ACCESS_RW);
    assert_int_equal(cached_perm(6), 0);
}

/* 2.7.5.3.1: a driver must not set the flag in an indirect table */
static void test_indirect_nested(void **state)
{
    struct vring_desc *d = (void *)(ram + (NR_PAGES - 1 - 3) * PAGE);

    start_queue(0);
    map_apart(3, IOMMU_RW);
    map_apart(4, IOMMU_RW);
    post(0, 1, IOVA_OF(3), sizeof(*d), VRING_DESC_F_INDIRECT);
    set_desc(&d[0], IOVA_OF(3) + sizeof(*d), sizeof(*d), VRING_DESC_F_INDIRECT,
             0);
    set_desc(&d[1], IOVA_OF(4), PAGE, VRING_DESC_F_WRITE, 0);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(4), 0);
}

/* Memory ends in the middle of the page of a table */
static void test_indirect_no_memory(void **state)
{
    uint64_t page = (NR_PAGES - 1 - 3) * PAGE;

    hole = page + PAGE / 2;
    hole_end = page + PAGE;
    start_queue(0);
    map_apart(3, IOMMU_RW);
    map_apart(4, IOMMU_RW);
    post(0, 1, IOVA_OF(3) + PAGE / 2 + 8, sizeof(struct vring_desc),
         VRING_DESC_F_INDIRECT);
    set_desc((void *)(ram + hole + 8), IOVA_OF(4), PAGE, VRING_DESC_F_WRITE, 0);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(4), 0);
}

/* Tables and rings that cross pages which are not adjacent in memory */
static void test_indirect_scattered(void **state)
{
    struct vring_desc *d = (void *)(ram + (NR_PAGES - 1 - 3) * PAGE);
    struct vring_desc first;

    start_queue(0);
    for (unsigned page = 3; page < 6; page++) {
        map_apart(page, IOMMU_RW);
    }
    post(0, 1, IOVA_OF(4) - 8, sizeof(first), VRING_DESC_F_INDIRECT);
    set_desc(&first, IOVA_OF(5), PAGE, VRING_DESC_F_WRITE, 0);
    memcpy((uint8_t *)d + PAGE - 8, &first, 8);
    memcpy(ram + (NR_PAGES - 1 - 4) * PAGE, (uint8_t *)&first + 8, 8);
    assert_int_equal(miss(DESC_PAGE(0), false), 0);
    assert_int_equal(cached_perm(5), VHOST_ACCESS_RW);

    /* Without the second page there is no descriptor */
    unmap(4);
    unmap(5);
    assert_int_equal(invalidate(4, 2), 0);
    map_apart(5, IOMMU_RW);
    make_available(0, 1);
    assert_int_equal(miss(AVAIL_PAGE(0), false), 0);
    assert_int_equal(cached_perm(5), 0);
}

/* ---- Random sequences ---- */

#define RANDOM_PAGES    64

/* The record contains all entries of the back-end, and none is stale */
static void check_backend(void)
{
    assert_in_range(stats().entries, 0, CAPACITY);
    for (unsigned page = 0; page < RANDOM_PAGES; page++) {
        int perm = cached_perm(page);

        if (perm) {
            assert_int_not_equal(table[page].perm, IOMMU_NONE);
        }
        if (perm == VHOST_ACCESS_RW) {
            assert_true(table[page].perm & IOMMU_WO);
        }
    }
}

static void test_random(void **state)
{
    uint64_t seed = env_seed("IOTLB_TEST_SEED");
    uint64_t steps = env_number("IOTLB_TEST_STEPS", 20000);

    start_queue(0);
    while (steps--) {
        uint64_t r = random64(&seed);
        unsigned page = (r >> 8) % RANDOM_PAGES;
        unsigned n = 1 + (r >> 16) % 8;
        bool write = r >> 24 & 1;
        bool fits = write ? table[page].perm & IOMMU_WO :
                            table[page].perm & IOMMU_RO;
        int ret;

        n = MIN(n, RANDOM_PAGES - page);
        switch (r % 5) {
        case 0:
        case 1:
            ret = miss(page, write);
            assert_int_equal(ret, fits ? 0 : -EFAULT);
            break;
        case 2:
            if ((uint16_t)(queues[0].next - le16_to_cpu(used(0)->idx)) <
                QUEUE_SIZE) {
                post(0, (r >> 32) % QUEUE_SIZE, IOVA_OF(page) + (r >> 52),
                     n * PAGE / 2, write ? VRING_DESC_F_WRITE : 0);
            }
            used(0)->idx = avail(0)->idx;
            break;
        case 3:
            for (unsigned i = 0; i < n; i++) {
                map(page + i, (r >> 40) % 512 + i,
                    r >> 30 & 1 ? IOMMU_RW : IOMMU_RO);
            }
            assert_int_equal(invalidate(page, n), 0);
            break;
        case 4:
            for (unsigned i = 0; i < n; i++) {
                unmap(page + i);
            }
            assert_int_equal(invalidate(page, n), 0);
            break;
        }
        check_backend();
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_ ## name, setup, \
                                                   teardown)
    const struct CMUnitTest tests[] = {
        TEST(miss),
        TEST(miss_read_only),
        TEST(miss_write_only),
        TEST(miss_not_mapped),
        TEST(miss_no_memory),
        TEST(miss_no_record),
        TEST(miss_last_page),
        TEST(miss_large_page),
        TEST(miss_large_page_pieces),
        TEST(miss_twice),
        TEST(miss_late),
        TEST(misses_before_invalidation),
        TEST(no_peek),
        TEST(peek_other_memory),
        TEST(peek_below_zero),
        TEST(passthrough),
        TEST(passthrough_pieces),
        TEST(passthrough_read_only),
        TEST(passthrough_holes),
        TEST(invalidate),
        TEST(invalidate_merged),
        TEST(invalidate_nothing),
        TEST(invalidate_no_misses),
        TEST(drop),
        TEST(backend_refuses),
        TEST(reset),
        TEST(full),
        TEST(prefetch_leaves_room),
        TEST(prefetch_queues),
        TEST(prefetch_all_queues),
        TEST(prefetch_from_used),
        TEST(prefetch_rings_gone),
        TEST(prefetch_index_jumps),
        TEST(prefetch_packed),
        TEST(invalidate_many),
        TEST(invalidate_many_misses),
        TEST(chain),
        TEST(chain_loops),
        TEST(chain_outside),
        TEST(buffer_ranges),
        TEST(buffer_permissions),
        TEST(indirect),
        TEST(indirect_nested),
        TEST(indirect_no_memory),
        TEST(indirect_scattered),
        TEST(random),
    };
#undef TEST

    return cmocka_run_group_tests_name("vhost-iotlb", tests, NULL, NULL);
}
