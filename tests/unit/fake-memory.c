/*
 * Guest RAM for code with a listener on the system address space
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "exec/address-spaces.h"
#include "fake-memory.h"

#define PAGE    4096

AddressSpace address_space_memory;
uint64_t fake_memory[FAKE_MEMORY_ENTRIES] __attribute__((aligned(PAGE)));

void (*fake_memory_changed)(void);

static MemoryRegion region = { .ram = true };
static MemoryListener *listener;
static int references;

static void map(hwaddr first, hwaddr size, bool readonly)
{
    MemoryRegionSection section = {
        .size = int128_make64(size),
        .mr = &region,
        .offset_within_region = first,
        .offset_within_address_space = first,
        .readonly = readonly,
    };

    if (size) {
        listener->region_add(listener, &section);
    }
}

void fake_memory_map(unsigned pages, unsigned rom_pages)
{
    hwaddr ram_size = (hwaddr)(pages - rom_pages) * PAGE;

    g_assert_cmpuint(pages, <=, FAKE_MEMORY_PAGES);
    listener->begin(listener);
    map(0, ram_size, false);
    map(ram_size, (hwaddr)rom_pages * PAGE, true);
    listener->commit(listener);
}

int fake_memory_references(void)
{
    return qatomic_read(&references);
}

/* ---- The memory API ---- */

void memory_listener_register(MemoryListener *l, AddressSpace *as)
{
    listener = l;
    fake_memory_map(FAKE_MEMORY_PAGES, 0);
}

bool memory_region_is_ram_device(MemoryRegion *mr)
{
    return false;
}

void *memory_region_get_ram_ptr(MemoryRegion *mr)
{
    return fake_memory;
}

void memory_region_ref(MemoryRegion *mr)
{
    qatomic_inc(&references);
}

void memory_region_unref(MemoryRegion *mr)
{
    g_assert_cmpint(qatomic_fetch_dec(&references), >, 0);
}

MemoryRegion *memory_region_from_host(void *ptr, ram_addr_t *offset)
{
    *offset = (uint8_t *)ptr - (uint8_t *)fake_memory;
    g_assert_cmpuint(*offset, <, sizeof(fake_memory));
    return &region;
}

void address_space_unmap(AddressSpace *as, void *buffer, hwaddr len,
                         bool is_write, hwaddr access_len)
{
    uint8_t *end = (uint8_t *)(fake_memory + FAKE_MEMORY_ENTRIES);

    g_assert_true((uint8_t *)buffer >= (uint8_t *)fake_memory &&
                  access_len <= end - (uint8_t *)buffer);
    memory_region_unref(&region);
    if (fake_memory_changed) {
        fake_memory_changed();
    }
}
