/*
 * Guest RAM for tables and queues of an IOMMU, without locks
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "qemu/rcu.h"
#include "exec/address-spaces.h"
#include "iommu_ram.h"

#define PAGE_SIZE   4096ull

/* A range of guest physical addresses in host memory */
typedef struct IOMMURamRange {
    hwaddr first;
    hwaddr last;
    uint8_t *host;
    bool writable;
    MemoryRegion *mr;
} IOMMURamRange;

struct IOMMURamMap {
    struct rcu_head rcu;
    size_t n;
    /* Index of the largest range, which holds most tables */
    size_t largest;
    IOMMURamRange range[];
};

static IOMMURamMap *iommu_ram_map_new(size_t n)
{
    IOMMURamMap *map = g_malloc0(sizeof(*map) + n * sizeof(map->range[0]));

    map->n = n;
    return map;
}

/* Called when no reader has a pointer into the ranges */
static void iommu_ram_map_free(IOMMURamMap *map)
{
    for (size_t i = 0; i < map->n; i++) {
        memory_region_unref(map->range[i].mr);
    }
    g_free(map);
}

static IOMMURam *iommu_ram_from_listener(MemoryListener *listener)
{
    return container_of(listener, IOMMURam, listener);
}

static void iommu_ram_begin(MemoryListener *listener)
{
    iommu_ram_from_listener(listener)->next = iommu_ram_map_new(0);
}

/*
 * Memory that needs a memory transaction for each access is not suitable for
 * translation structures.
 */
static bool iommu_ram_usable(const MemoryRegionSection *section)
{
    return memory_region_is_ram(section->mr) &&
           !memory_region_is_ram_device(section->mr) &&
           QEMU_IS_ALIGNED(section->offset_within_region, PAGE_SIZE) &&
           QEMU_IS_ALIGNED(section->offset_within_address_space,
                           PAGE_SIZE) &&
           int128_ge(section->size, int128_make64(PAGE_SIZE));
}

static void iommu_ram_add(MemoryListener *listener,
                          MemoryRegionSection *section)
{
    IOMMURam *ram = iommu_ram_from_listener(listener);
    IOMMURamMap *map = ram->next;
    IOMMURamRange *range;

    if (!iommu_ram_usable(section)) {
        return;
    }
    map = g_realloc(map, sizeof(*map) + (map->n + 1) * sizeof(*range));
    range = &map->range[map->n++];
    range->first = section->offset_within_address_space;
    range->last = range->first +
                  (int128_get64(section->size) & ~(PAGE_SIZE - 1)) - 1;
    range->host = (uint8_t *)memory_region_get_ram_ptr(section->mr) +
                  section->offset_within_region;
    range->writable = !section->readonly && !section->mr->readonly;
    range->mr = section->mr;
    memory_region_ref(range->mr);
    if (range->last - range->first >
        map->range[map->largest].last - map->range[map->largest].first) {
        map->largest = map->n - 1;
    }
    ram->next = map;
}

static void iommu_ram_commit(MemoryListener *listener)
{
    IOMMURam *ram = iommu_ram_from_listener(listener);
    IOMMURamMap *old = ram->map;

    qatomic_rcu_set(&ram->map, ram->next);
    ram->next = NULL;
    call_rcu(old, iommu_ram_map_free, rcu);
}

static inline bool iommu_ram_holds(const IOMMURamRange *range, hwaddr addr)
{
    return addr >= range->first && addr <= range->last;
}

/* Returns the range that contains @addr, or NULL */
static const IOMMURamRange *iommu_ram_find_byte(const IOMMURam *ram,
                                                hwaddr addr)
{
    const IOMMURamMap *map = qatomic_rcu_read(&ram->map);
    size_t low = 0, high = map->n;

    if (likely(high && iommu_ram_holds(&map->range[map->largest], addr))) {
        return &map->range[map->largest];
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        const IOMMURamRange *range = &map->range[middle];

        if (addr < range->first) {
            high = middle;
        } else if (addr > range->last) {
            low = middle + 1;
        } else {
            return range;
        }
    }
    return NULL;
}

/*
 * Finds the @n quadwords at @addr in host memory, and whether they are
 * writable.  Returns NULL if @addr is not a multiple of 8, which atomic
 * accesses require, or if the range of the first quadword does not contain all
 * of them.
 */
static uint64_t *iommu_ram_find(const IOMMURam *ram, hwaddr addr, unsigned n,
                                bool *writable)
{
    const IOMMURamRange *range;

    if (!QEMU_IS_ALIGNED(addr, sizeof(uint64_t))) {
        return NULL;
    }
    range = iommu_ram_find_byte(ram, addr);
    if (!range || range->last - addr < n * sizeof(uint64_t) - 1) {
        return NULL;
    }
    *writable = range->writable;
    return (uint64_t *)(range->host + (addr - range->first));
}

static uint64_t *iommu_ram_map_table(const IOMMUWalkMem *mem, hwaddr addr,
                                     bool *writable)
{
    return iommu_ram_find(container_of(mem, IOMMURam, mem), addr,
                          PAGE_SIZE / sizeof(uint64_t), writable);
}

/*
 * Notify migration, and TCG if the page contains code.  Unmapping does both,
 * and drops a reference that mapping would have taken.
 */
static void iommu_ram_mark_dirty(const IOMMUWalkMem *mem, uint64_t *table,
                                 unsigned first, unsigned last)
{
    ram_addr_t offset;
    hwaddr len = (last - first + 1) * sizeof(*table);
    MemoryRegion *mr = memory_region_from_host(&table[first], &offset);

    memory_region_ref(mr);
    address_space_unmap(&address_space_memory, &table[first], len, true, len);
}

bool iommu_ram_read(const IOMMURam *ram, hwaddr addr, uint64_t *val, unsigned n)
{
    bool writable;
    const uint64_t *from = iommu_ram_find(ram, addr, n, &writable);

    if (!from) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        val[i] = le64_to_cpu(qatomic_read__nocheck(&from[i]));
    }
    return true;
}

/* As iommu_ram_find(), but returns NULL also if the quadwords are read-only */
static uint64_t *iommu_ram_find_writable(const IOMMURam *ram, hwaddr addr,
                                         unsigned n)
{
    bool writable;
    uint64_t *to = iommu_ram_find(ram, addr, n, &writable);

    return to && writable ? to : NULL;
}

bool iommu_ram_write(const IOMMURam *ram, hwaddr addr, const uint64_t *val,
                     unsigned n)
{
    uint64_t *to = iommu_ram_find_writable(ram, addr, n);

    if (!to) {
        return false;
    }
    for (unsigned i = 0; i < n; i++) {
        qatomic_set__nocheck(&to[i], cpu_to_le64(val[i]));
    }
    iommu_ram_mark_dirty(&ram->mem, to, 0, n - 1);
    return true;
}

int iommu_ram_set_flags(const IOMMURam *ram, hwaddr addr, uint64_t old,
                        uint64_t flags)
{
    uint64_t *entry;

    if (!(flags & ~old)) {
        return 0;
    }
    entry = iommu_ram_find_writable(ram, addr, 1);
    if (!entry) {
        return -EFAULT;
    }
    if (qatomic_cmpxchg__nocheck(entry, cpu_to_le64(old),
                                 cpu_to_le64(old | flags)) !=
        cpu_to_le64(old)) {
        return -EAGAIN;
    }
    iommu_ram_mark_dirty(&ram->mem, entry, 0, 0);
    return 0;
}

void iommu_ram_init(IOMMURam *ram)
{
    ram->map = iommu_ram_map_new(0);
    ram->mem = (IOMMUWalkMem) {
        .map_table = iommu_ram_map_table,
        .mark_dirty = iommu_ram_mark_dirty,
    };
    ram->listener = (MemoryListener) {
        .name = "iommu-ram",
        .begin = iommu_ram_begin,
        .region_add = iommu_ram_add,
        .region_nop = iommu_ram_add,
        .commit = iommu_ram_commit,
    };
    memory_listener_register(&ram->listener, &address_space_memory);
}
