/*
 * Unit tests of an IOMMU's view of guest RAM
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tests run hw/i386/iommu_ram.c with various memory maps, and check the
 * ranges that it treats as RAM, and accesses to them.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/rcu.h"
#include "exec/address-spaces.h"
#include "hw/i386/iommu_ram.h"

#define PAGE        4096ULL
#define RAM_PAGES   16

/* ---- The memory API ---- */

AddressSpace address_space_memory;
static uint64_t memory[RAM_PAGES * PAGE / 8] __attribute__((aligned(PAGE)));
static MemoryRegion ram_mr, rom_mr, device_mr, io_mr;
static MemoryListener *listener;
static int references;
static uint64_t *dirty;
static unsigned dirty_bytes;

void memory_listener_register(MemoryListener *l, AddressSpace *as)
{
    listener = l;
}

bool memory_region_is_ram_device(MemoryRegion *mr)
{
    return mr == &device_mr;
}

void *memory_region_get_ram_ptr(MemoryRegion *mr)
{
    return memory;
}

void memory_region_ref(MemoryRegion *mr)
{
    qatomic_inc(&references);
}

void memory_region_unref(MemoryRegion *mr)
{
    qatomic_dec(&references);
}

MemoryRegion *memory_region_from_host(void *ptr, ram_addr_t *offset)
{
    return &ram_mr;
}

void address_space_unmap(AddressSpace *as, void *buffer, hwaddr len,
                         bool is_write, hwaddr access_len)
{
    assert_true(is_write);
    dirty = buffer;
    dirty_bytes = access_len;
    memory_region_unref(&ram_mr);
}

/* ---- Memory maps ---- */

static IOMMURam *ram;

/* Maps @offset of @mr, which uses @memory, at guest physical address @addr */
static void add(MemoryRegion *mr, uint64_t addr, uint64_t offset, uint64_t size,
                bool readonly)
{
    MemoryRegionSection section = {
        .mr = mr,
        .offset_within_address_space = addr,
        .offset_within_region = offset,
        .size = int128_make64(size),
        .readonly = readonly,
    };

    listener->region_add(listener, &section);
}

static int setup(void **state)
{
    ram_mr = (MemoryRegion) { .ram = true };
    rom_mr = (MemoryRegion) { .ram = true, .readonly = true };
    device_mr = (MemoryRegion) { .ram = true };
    io_mr = (MemoryRegion) { };
    for (unsigned i = 0; i < ARRAY_SIZE(memory); i++) {
        memory[i] = cpu_to_le64(i);
    }
    dirty = NULL;
    dirty_bytes = 0;
    ram = g_new0(IOMMURam, 1);
    iommu_ram_init(ram);
    listener->begin(listener);
    return 0;
}

static int teardown(void **state)
{
    listener->begin(listener);
    listener->commit(listener);
    drain_call_rcu();
    assert_int_equal(references, 0);
    g_free(ram->map);
    g_free(ram);
    return 0;
}

/* Checks that the quadword at @addr is the one at @offset of @memory */
static bool reads(uint64_t addr, uint64_t offset)
{
    uint64_t val;

    return iommu_ram_read(ram, addr, &val, 1) && val == offset / 8;
}

static bool is_ram(uint64_t addr)
{
    uint64_t val;

    return iommu_ram_read(ram, addr, &val, 1);
}

/* ---- Lookups ---- */

/* Lookups find the largest range, others before and after it, and no holes */
static void test_ranges(void **state)
{
    const struct {
        uint64_t addr, offset, pages;
    } ranges[] = {
        { 0, PAGE, 1 },
        { 3 * PAGE, 5 * PAGE, 2 },
        { 0x100000, 0, 8 },
        { 0x200000, 9 * PAGE, 1 },
        { 0x201000, 8 * PAGE, 1 },
        { 0x100000000, 12 * PAGE, 3 },
        { UINT64_MAX - PAGE + 1, 15 * PAGE, 1 },
    };

    assert_false(is_ram(0));
    for (int i = 0; i < ARRAY_SIZE(ranges); i++) {
        add(&ram_mr, ranges[i].addr, ranges[i].offset, ranges[i].pages * PAGE,
            false);
    }
    listener->commit(listener);
    for (int i = 0; i < ARRAY_SIZE(ranges); i++) {
        uint64_t size = ranges[i].pages * PAGE;

        assert_true(reads(ranges[i].addr, ranges[i].offset));
        assert_true(reads(ranges[i].addr + size - 8,
                          ranges[i].offset + size - 8));
    }
    assert_false(is_ram(PAGE));
    assert_false(is_ram(3 * PAGE - 8));
    assert_false(is_ram(5 * PAGE));
    assert_false(is_ram(0x100000 - 8));
    assert_false(is_ram(0x108000));
    assert_false(is_ram(0x202000));
    assert_false(is_ram(UINT64_MAX - PAGE + 1 - 8));
}

/* Memory that needs memory transactions, and parts of pages, are no RAM */
static void test_not_ram(void **state)
{
    add(&io_mr, 0x10000, 0, PAGE, false);
    add(&device_mr, 0x20000, 0, PAGE, false);
    add(&ram_mr, 0x30000, 0x100, PAGE, false);
    add(&ram_mr, 0x40100, 0, PAGE, false);
    add(&ram_mr, 0x50000, 0, PAGE - 1, false);
    add(&ram_mr, 0x60000, 0, 2 * PAGE - 1, false);
    listener->commit(listener);
    assert_false(is_ram(0x10000));
    assert_false(is_ram(0x20000));
    assert_false(is_ram(0x30000));
    assert_false(is_ram(0x40100));
    assert_false(is_ram(0x50000));
    assert_true(is_ram(0x60000));
    assert_false(is_ram(0x61000));
    assert_int_equal(references, 1);
}

/* A new map replaces the old one as a whole */
static void test_change(void **state)
{
    add(&ram_mr, 0, 0, 2 * PAGE, false);
    listener->commit(listener);
    listener->begin(listener);
    add(&ram_mr, PAGE, 4 * PAGE, PAGE, false);
    assert_true(reads(PAGE, PAGE));
    listener->commit(listener);
    assert_true(reads(PAGE, 4 * PAGE));
    assert_false(is_ram(0));
    drain_call_rcu();
    assert_int_equal(references, 1);
}

/* ---- Accesses ---- */

/* Accesses do not cross the end of a range, even if another range follows */
static void test_bounds(void **state)
{
    uint64_t words[512];
    const unsigned fits[] = { 1, 2, 4, 8, 511, 512 };

    add(&ram_mr, 0x10000, 0, 2 * PAGE, false);
    add(&ram_mr, 0x12000, 4 * PAGE, PAGE, false);
    listener->commit(listener);
    for (int i = 0; i < ARRAY_SIZE(fits); i++) {
        unsigned n = fits[i];
        uint64_t end = 0x12000 - 8 * n, end_of_all = 0x13000 - 8 * n;

        assert_true(iommu_ram_read(ram, end, words, n));
        assert_int_equal(words[0], 1024 - n);
        assert_int_equal(words[n - 1], 1023);
        assert_true(iommu_ram_write(ram, end, words, n));
        assert_true(iommu_ram_read(ram, end_of_all, words, n));
        assert_false(iommu_ram_read(ram, end_of_all + 8, words, n));
        dirty = NULL;
        assert_false(iommu_ram_write(ram, end_of_all + 8, words, n));
        if (n > 1) {
            assert_false(iommu_ram_read(ram, end + 8, words, n));
            assert_false(iommu_ram_write(ram, end + 8, words, n));
        }
        assert_null(dirty);
    }
}

/* Accesses fail at unaligned addresses, which permit no atomic accesses */
static void test_alignment(void **state)
{
    uint64_t words[2] = { };

    add(&ram_mr, 0x10000, 0, PAGE, false);
    listener->commit(listener);
    for (unsigned i = 1; i < 8; i++) {
        assert_false(iommu_ram_read(ram, 0x10000 + i, words, 1));
        assert_false(iommu_ram_read(ram, 0x10ff8 + i, words, 1));
        assert_false(iommu_ram_write(ram, 0x10000 + i, words, 1));
        assert_false(iommu_ram_write(ram, 0x10ff0 + i, words, 2));
        assert_int_equal(iommu_ram_set_flags(ram, 0x10000 + i, 0, 1), -EFAULT);
        assert_int_equal(iommu_ram_set_flags(ram, 0x10ff8 + i, 511, 1 << 10),
                         -EFAULT);
    }
    assert_null(dirty);
    assert_true(reads(0x10000, 0));
    assert_true(reads(0x10ff8, 0xff8));
}

static void test_write(void **state)
{
    const uint64_t words[] = { 1001, 1002, 1003 };

    add(&ram_mr, 0x10000, 0, 2 * PAGE, false);
    listener->commit(listener);
    assert_true(iommu_ram_write(ram, 0x11008, words, 3));
    assert_int_equal(le64_to_cpu(memory[512]), 512);
    assert_int_equal(le64_to_cpu(memory[513]), 1001);
    assert_int_equal(le64_to_cpu(memory[515]), 1003);
    assert_int_equal(le64_to_cpu(memory[516]), 516);
    /* Exactly these bytes become dirty for migration and TCG. */
    assert_ptr_equal(dirty, &memory[513]);
    assert_int_equal(dirty_bytes, 24);
    assert_false(iommu_ram_write(ram, 0x12000, words, 1));
}

/* The region or the section makes memory read-only */
static void test_rom(void **state)
{
    const uint64_t word = 1001;

    add(&rom_mr, 0x10000, 0, PAGE, false);
    add(&ram_mr, 0x20000, PAGE, PAGE, true);
    listener->commit(listener);
    for (unsigned i = 0; i < 2; i++) {
        uint64_t addr = 0x10000 + i * 0x10000;

        assert_true(reads(addr, i * PAGE));
        assert_false(iommu_ram_write(ram, addr, &word, 1));
        assert_int_equal(iommu_ram_set_flags(ram, addr, i * 512, 1 << 10),
                         -EFAULT);
        assert_true(reads(addr, i * PAGE));
    }
    assert_null(dirty);
}

static void test_set_flags(void **state)
{
    add(&ram_mr, 0x10000, 0, PAGE, false);
    listener->commit(listener);
    assert_int_equal(iommu_ram_set_flags(ram, 0x10018, 3, 1 << 10), 0);
    assert_int_equal(le64_to_cpu(memory[3]), 3 | 1 << 10);
    assert_ptr_equal(dirty, &memory[3]);
    assert_int_equal(dirty_bytes, 8);

    /* The entry has changed meanwhile: no bits are set. */
    dirty = NULL;
    assert_int_equal(iommu_ram_set_flags(ram, 0x10018, 3, 1 << 11), -EAGAIN);
    assert_int_equal(le64_to_cpu(memory[3]), 3 | 1 << 10);
    /* The bits are set already: no write happens. */
    assert_int_equal(iommu_ram_set_flags(ram, 0x10018, 3 | 1 << 10, 1 << 10),
                     0);
    assert_null(dirty);
    assert_int_equal(iommu_ram_set_flags(ram, 0x11000, 0, 1), -EFAULT);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_ ## name, setup, \
                                                   teardown)
    const struct CMUnitTest tests[] = {
        TEST(ranges),
        TEST(not_ram),
        TEST(change),
        TEST(bounds),
        TEST(alignment),
        TEST(write),
        TEST(rom),
        TEST(set_flags),
    };
#undef TEST

    return cmocka_run_group_tests_name("intel-iommu-ram", tests, NULL, NULL);
}
