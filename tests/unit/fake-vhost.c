/*
 * The IOMMU, the driver and the back-end of a vhost device, for tests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "exec/address-spaces.h"
#include "fake-vhost.h"

/* ---- The IOMMU, and the memory behind it ---- */

AddressSpace address_space_memory;

/* Contents of the address space of the device: an IOMMU, or RAM and ROM */
static IOMMUMemoryRegion iommu_mr = { .parent_obj.is_iommu = true };
static MemoryRegion ram_mr = { .ram = true };
static MemoryRegion mmio_mr;
static MemoryRegion root;
static AddressSpace dma_as = { .root = &root };
static int references;

FakeVhost fake;

static IOMMUTLBEntry translate(uint64_t iova)
{
    IOMMUTLBEntry entry = {
        .target_as = &address_space_memory,
        .iova = iova & ~(PAGE - 1),
        .addr_mask = PAGE - 1,
    };
    uint64_t page = (iova - IOVA) / PAGE;

    if (iova - fake.large.iova < fake.large_size) {
        return fake.large;
    }
    if (iova >= LAST_PAGE) {
        entry.perm = IOMMU_RW;
    } else if (page < NR_PAGES) {
        entry.translated_addr = fake.table[page].page * PAGE;
        entry.perm = fake.table[page].perm;
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
    /* As system/physmem.c */
    entry.perm = IOMMU_RW;
    return entry;
}

bool memory_region_iommu_peek(IOMMUMemoryRegion *mr, hwaddr addr,
                              IOMMUTLBEntry *entry)
{
    g_assert_true(mr == &iommu_mr);
    fake.peeks++;
    *entry = translate(addr - fake.iommu_offset);
    return fake.can_peek && entry->perm != IOMMU_NONE;
}

/*
 * Pass-through: RAM, then the same amount of ROM, then a hole before registers
 */
MemoryRegionSection memory_region_find(MemoryRegion *mr, hwaddr addr,
                                       uint64_t size)
{
    MemoryRegionSection s = { .offset_within_address_space = addr };

    g_assert_true(mr == &root);
    if (!fake.passthrough) {
        s.mr = &iommu_mr.parent_obj;
        s.offset_within_region = addr + fake.iommu_offset;
    } else if (addr - fake.gap < fake.gap_size) {
        s.mr = &ram_mr;
        s.offset_within_address_space = fake.gap + fake.gap_size;
        s.size = int128_make64(sizeof(fake.ram) / 2 - fake.gap - fake.gap_size);
    } else if (addr < fake.gap) {
        s.mr = &ram_mr;
        s.size = int128_make64(fake.gap - addr);
    } else if (addr < sizeof(fake.ram)) {
        s.mr = &ram_mr;
        s.readonly = addr >= sizeof(fake.ram) / 2;
        s.size = int128_make64((s.readonly ? sizeof(fake.ram) :
                                sizeof(fake.ram) / 2) - addr);
    } else if (addr < IOVA + PAGE) {
        s.mr = &mmio_mr;
        s.offset_within_address_space = MAX(addr, IOVA);
        s.size = int128_make64(PAGE);
    }
    if (s.offset_within_address_space - addr >= size) {
        s.mr = NULL;
    }
    s.size = int128_min(s.size, int128_make64(
        size - (s.offset_within_address_space - addr)));
    if (s.mr) {
        references++;
    }
    return s;
}

void *memory_region_get_ram_ptr(MemoryRegion *mr)
{
    g_assert_true(mr == &ram_mr);
    return fake.ram;
}

MemoryRegionSection ram_section(uint64_t offset, uint64_t gpa, uint64_t size)
{
    return (MemoryRegionSection) {
        .mr = &ram_mr,
        .offset_within_region = offset,
        .offset_within_address_space = gpa,
        .size = int128_make64(size),
    };
}

void memory_region_unref(MemoryRegion *mr)
{
    references--;
}

int vhost_memory_region_lookup(struct vhost_dev *dev, uint64_t gpa,
                               uint64_t *uaddr, uint64_t *len)
{
    uint64_t end = gpa < fake.hole ? fake.hole : sizeof(fake.ram);

    if (gpa >= end || (gpa >= fake.hole && gpa < fake.hole_end)) {
        return -EFAULT;
    }
    *uaddr = (uintptr_t)fake.ram + gpa;
    *len = end - gpa;
    return 0;
}

void map_large(uint64_t iova, uint64_t gpa, uint64_t size)
{
    fake.large = (IOMMUTLBEntry) {
        .target_as = &address_space_memory,
        .iova = iova,
        .translated_addr = gpa,
        .addr_mask = size - 1,
        .perm = IOMMU_RW,
    };
    fake.large_size = size;
}

void map(unsigned page, unsigned ram_page, IOMMUAccessFlags perm)
{
    fake.table[page] = (Mapping) { .page = ram_page, .perm = perm };
}

void map_apart(unsigned page, IOMMUAccessFlags perm)
{
    map(page, NR_PAGES - 1 - page, perm);
}

void unmap(unsigned page)
{
    fake.table[page].perm = IOMMU_NONE;
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

void take_turn(void)
{
    if (turn_is_due) {
        turn_is_due = false;
        turn(NULL);
    }
}

/* ---- The driver ---- */

struct vring_desc *descs(int n)
{
    return (void *)(fake.ram + fake.table[DESC_PAGE(n)].page * PAGE);
}

struct vring_avail *avail(int n)
{
    return (void *)(fake.ram + fake.table[AVAIL_PAGE(n)].page * PAGE);
}

struct vring_used *used(int n)
{
    return (void *)(fake.ram + fake.table[USED_PAGE(n)].page * PAGE);
}

hwaddr virtio_queue_get_desc_addr(VirtIODevice *vdev, int n)
{
    return n < QUEUES && fake.queues[n].ready ? IOVA_OF(DESC_PAGE(n)) : 0;
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

void start_queue(int n)
{
    for (unsigned page = DESC_PAGE(n); page <= USED_PAGE(n); page++) {
        map_apart(page, IOMMU_RW);
        memset(fake.ram + fake.table[page].page * PAGE, 0, PAGE);
    }
    fake.queues[n].ready = true;
}

void set_desc(struct vring_desc *d, uint64_t addr, uint32_t len, uint16_t flags,
              uint16_t next)
{
    d->addr = cpu_to_le64(addr);
    d->len = cpu_to_le32(len);
    d->flags = cpu_to_le16(flags);
    d->next = cpu_to_le16(next);
}

void make_available(int n, uint16_t head)
{
    avail(n)->ring[fake.queues[n].next % QUEUE_SIZE] = cpu_to_le16(head);
    avail(n)->idx = cpu_to_le16(++fake.queues[n].next);
}

void post(int n, uint16_t head, uint64_t addr, uint32_t len, uint16_t flags)
{
    set_desc(&descs(n)[head], addr, len, flags, 0);
    make_available(n, head);
}

void post_packed(int n, uint64_t addr, uint32_t len, uint16_t flags)
{
    uint16_t pos = fake.queues[n].next++;
    struct vring_packed_desc *d = (void *)&descs(n)[pos % QUEUE_SIZE];

    flags |= pos / QUEUE_SIZE % 2 ? 1 << VRING_PACKED_DESC_F_USED :
                                    1 << VRING_PACKED_DESC_F_AVAIL;
    d->addr = cpu_to_le64(addr);
    d->len = cpu_to_le32(len);
    d->id = cpu_to_le16(pos % QUEUE_SIZE);
    d->flags = cpu_to_le16(flags);
}

void use_packed(int n, unsigned pos)
{
    struct vring_packed_desc *d = (void *)&descs(n)[pos % QUEUE_SIZE];

    d->addr = 0;
    d->len = 0;
    d->flags = cpu_to_le16(pos / QUEUE_SIZE % 2 ? 0 :
                           1 << VRING_PACKED_DESC_F_AVAIL |
                           1 << VRING_PACKED_DESC_F_USED);
}

/* ---- The back-end ---- */

Cached *find_cached(uint64_t first, uint64_t last)
{
    for (unsigned i = 0; i < fake.cache->len; i++) {
        Cached *c = &g_array_index(fake.cache, Cached, i);

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
        g_array_append_val(fake.cache, new);
    }
}

/* Also drops an entry that starts directly after the range; must not wrap */
static void take_invalidation(const struct vhost_iotlb_msg *msg)
{
    uint64_t end = msg->iova + msg->size;
    Cached *c;

    assert_true(end >= msg->iova);
    while ((c = find_cached(msg->iova, end))) {
        g_array_remove_index_fast(fake.cache, c - (Cached *)fake.cache->data);
    }
}

int vhost_backend_send_device_iotlb_msgs(struct vhost_dev *dev,
                                         const struct vhost_iotlb_msg *msgs,
                                         size_t n)
{
    g_array_append_vals(fake.sent, msgs, n);
    for (size_t i = 0; i < n; i++) {
        if (msgs[i].type == VHOST_IOTLB_UPDATE) {
            take_update(&msgs[i]);
        } else {
            assert_int_equal(msgs[i].type, VHOST_IOTLB_INVALIDATE);
            take_invalidation(&msgs[i]);
        }
    }
    return fake.status;
}

static void handle_misses(struct vhost_dev *dev)
{
    fake.late_misses++;
    if (fake.late_miss) {
        fake.late_miss();
    }
}

const VhostOps quiet_backend;
static const VhostOps backend = { .vhost_handle_iotlb_misses = handle_misses };

int cached_perm(unsigned page)
{
    Cached *c = find_cached(IOVA_OF(page), IOVA_OF(page) + (PAGE - 1));

    if (!c) {
        return 0;
    }
    assert_int_equal(c->uaddr + (IOVA_OF(page) - c->first),
                     (uintptr_t)fake.ram + fake.table[page].page * PAGE);
    return c->perm;
}

int miss(unsigned page, bool write)
{
    return vhost_device_iotlb_miss(&fake.dev, IOVA_OF(page) + 0x123, write);
}

void fill(unsigned from, unsigned n)
{
    for (unsigned page = from; page < from + n; page++) {
        map_apart(page, IOMMU_RW);
        assert_int_equal(miss(page, true), 0);
    }
}

int invalidate(unsigned page, unsigned n)
{
    return vhost_iotlb_invalidate(&fake.dev, IOVA_OF(page),
                                  IOVA_OF(page + n) - 1);
}

void expect_sent(unsigned i, uint8_t type, uint64_t iova, uint64_t size)
{
    struct vhost_iotlb_msg *msg;

    assert_in_range(i, 0, (int)fake.sent->len - 1);
    msg = &g_array_index(fake.sent, struct vhost_iotlb_msg, i);
    assert_int_equal(msg->type, type);
    assert_int_equal(msg->iova, iova);
    assert_int_equal(msg->size, size);
}

void forget_sent(void)
{
    g_array_set_size(fake.sent, 0);
}

VhostIotlbStats stats(void)
{
    VhostIotlbStats s;

    vhost_iotlb_get_stats(&fake.dev, &s);
    return s;
}

/* ---- Setup ---- */

int setup(void **state)
{
    memset(fake.table, 0, sizeof(fake.table));
    memset(fake.queues, 0, sizeof(fake.queues));
    fake.large_size = 0;
    fake.hole = 0;
    fake.hole_end = 0;
    fake.iommu_offset = 0;
    fake.passthrough = false;
    fake.gap_size = 0;
    fake.can_peek = true;
    take_turn();
    fake.peeks = 0;
    fake.status = 0;
    fake.late_misses = 0;
    fake.late_miss = NULL;
    fake.vdev.dma_as = &dma_as;
    fake.vdev.guest_features = 0;
    fake.dev.vdev = &fake.vdev;
    fake.dev.mem = g_malloc0(offsetof(struct vhost_memory, regions[2]));
    fake.dev.vhost_ops = &backend;
    fake.dev.vq_index = 0;
    fake.dev.nvqs = QUEUES;
    fake.cache = g_array_new(false, false, sizeof(Cached));
    fake.sent = g_array_new(false, false, sizeof(struct vhost_iotlb_msg));
    vhost_iotlb_reset(&fake.dev);
    return 0;
}

int teardown(void **state)
{
    vhost_iotlb_cleanup(&fake.dev);
    assert_null(fake.dev.iotlb);
    assert_int_equal(references, 0);
    g_array_unref(fake.cache);
    g_array_unref(fake.sent);
    g_free(fake.dev.mem);
    return 0;
}
