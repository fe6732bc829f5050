/*
 * Unit tests of direct stores of 64 bytes and enqueue stores
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Tests hw/core/direct_store.c and the commands of
 * hw/i386/direct_store_qtest.c with a fake address space and devices that
 * accept all, some or none of these stores, against the rules of
 * include/hw/direct_store.h.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "exec/memory.h"
#include "hw/core/cpu.h"
#include "hw/direct_store.h"
#include "system/qtest.h"

#define ADDR        0x1000
#define DIGITS      (2 * DIRECT_STORE_SIZE)

/* ---- The address space: one region at all addresses ---- */

static MemoryRegion region;
static Object *owner;
static hwaddr room;             /* from each address to the end of @region */
static unsigned plain_writes;
static uint8_t data[DIRECT_STORE_SIZE];

MemoryRegion *flatview_translate(FlatView *fv, hwaddr addr, hwaddr *xlat,
                                 hwaddr *len, bool is_write, MemTxAttrs attrs)
{
    *xlat = addr;
    *len = MIN(*len, room);
    return &region;
}

Object *memory_region_owner(MemoryRegion *mr)
{
    assert_ptr_equal(mr, &region);
    return owner;
}

MemTxResult address_space_write(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                                const void *buf, hwaddr len)
{
    assert_int_equal(len, DIRECT_STORE_SIZE);
    memcpy(data, buf, len);
    plain_writes++;
    return MEMTX_DECODE_ERROR;
}

/* ---- Devices ---- */

#define TYPE_TAKES_BOTH     "takes-both"
#define TYPE_TAKES_ENQUEUE  "takes-enqueue"
#define TYPE_TAKES_NONE     "takes-none"

static unsigned direct_stores, enqueue_stores;
static bool accepts;

static bool take(MemoryRegion *mr, hwaddr addr, const void *buf)
{
    assert_true(bql_locked());
    assert_ptr_equal(mr, &region);
    assert_int_equal(addr, ADDR);
    memcpy(data, buf, sizeof(data));
    return accepts;
}

static bool take_direct(DirectStoreTarget *target, MemoryRegion *mr,
                        hwaddr addr, const void *buf, MemTxAttrs attrs)
{
    direct_stores++;
    return take(mr, addr, buf);
}

static bool take_enqueue(DirectStoreTarget *target, MemoryRegion *mr,
                         hwaddr addr, const void *buf, MemTxAttrs attrs)
{
    enqueue_stores++;
    return take(mr, addr, buf);
}

static void enqueue_class_init(ObjectClass *klass, void *opaque)
{
    DIRECT_STORE_TARGET_CLASS(klass)->enqueue_store = take_enqueue;
}

static void both_class_init(ObjectClass *klass, void *opaque)
{
    enqueue_class_init(klass, opaque);
    DIRECT_STORE_TARGET_CLASS(klass)->direct_store = take_direct;
}

static const InterfaceInfo target[] = { { TYPE_DIRECT_STORE_TARGET }, { } };

static const TypeInfo types[] = {
    {
        .name = TYPE_TAKES_BOTH,
        .parent = TYPE_OBJECT,
        .class_init = both_class_init,
        .interfaces = (InterfaceInfo *)target,
    }, {
        .name = TYPE_TAKES_ENQUEUE,
        .parent = TYPE_OBJECT,
        .class_init = enqueue_class_init,
        .interfaces = (InterfaceInfo *)target,
    }, {
        .name = TYPE_TAKES_NONE,
        .parent = TYPE_OBJECT,
    }
};

static int setup(void **state)
{
    region.ram = false;
    room = UINT64_MAX;
    owner = object_new(TYPE_TAKES_BOTH);
    accepts = true;
    plain_writes = 0;
    direct_stores = 0;
    enqueue_stores = 0;
    memset(data, 0, sizeof(data));
    return 0;
}

static int teardown(void **state)
{
    object_unref(owner);
    return 0;
}

static void set_owner(const char *type)
{
    object_unref(owner);
    owner = object_new(type);
}

static void check(unsigned direct, unsigned enqueue, unsigned plain)
{
    assert_int_equal(direct_stores, direct);
    assert_int_equal(enqueue_stores, enqueue);
    assert_int_equal(plain_writes, plain);
}

/* ---- Destinations of stores ---- */

static AddressSpace as;
static const MemTxAttrs attrs;
static const uint8_t command[DIRECT_STORE_SIZE] = { 1, 2, 3, [63] = 0x63 };

static void test_accepted(void **state)
{
    assert_int_equal(direct_store(&as, ADDR, command, attrs), MEMTX_OK);
    assert_memory_equal(data, command, sizeof(command));
    assert_true(enqueue_store(&as, ADDR, command, attrs));
    check(1, 1, 0);
}

/* A direct store becomes an ordinary write then, an enqueue store is retried */
static void test_rejected(void **state)
{
    accepts = false;
    assert_int_equal(direct_store(&as, ADDR, command, attrs),
                     MEMTX_DECODE_ERROR);
    assert_memory_equal(data, command, sizeof(command));
    assert_false(enqueue_store(&as, ADDR, command, attrs));
    check(1, 1, 1);
}

/* A class that has only one of the methods */
static void test_no_method(void **state)
{
    set_owner(TYPE_TAKES_ENQUEUE);
    assert_int_equal(direct_store(&as, ADDR, command, attrs),
                     MEMTX_DECODE_ERROR);
    assert_true(enqueue_store(&as, ADDR, command, attrs));
    check(0, 1, 1);
}

static void expect_not_accepted(void)
{
    assert_int_equal(direct_store(&as, ADDR, command, attrs),
                     MEMTX_DECODE_ERROR);
    assert_memory_equal(data, command, sizeof(command));
    assert_false(enqueue_store(&as, ADDR, command, attrs));
    check(0, 0, 1);
}

static void test_no_methods(void **state)
{
    set_owner(TYPE_TAKES_NONE);
    expect_not_accepted();
}

static void test_no_owner(void **state)
{
    object_unref(owner);
    owner = NULL;
    expect_not_accepted();
}

/* RAM of a device that accepts such stores at other addresses */
static void test_ram(void **state)
{
    region.ram = true;
    expect_not_accepted();
}

/* The 64 bytes must lie within the region */
static void test_end_of_region(void **state)
{
    room = DIRECT_STORE_SIZE - 1;
    expect_not_accepted();
    room = DIRECT_STORE_SIZE;
    assert_true(enqueue_store(&as, ADDR, command, attrs));
}

/* ---- qtest commands ---- */

static bool (*run_command)(CharBackend *chr, gchar **words);
static char *reply;

void qtest_set_command_cb(bool (*pc_cb)(CharBackend *chr, gchar **words))
{
    run_command = pc_cb;
}

void qtest_sendf(CharBackend *chr, const char *fmt, ...)
{
    va_list ap;

    va_start(ap, fmt);
    g_free(reply);
    reply = g_strdup_vprintf(fmt, ap);
    va_end(ap);
}

static CPUState cpu = { .as = &as };
CPUTailQ cpus_queue = QTAILQ_HEAD_INITIALIZER(cpus_queue);

/* Returns whether the line is a command of the code under test */
static bool run(const char *line)
{
    g_auto(GStrv) words = g_strsplit(line, " ", 0);

    g_clear_pointer(&reply, g_free);
    return run_command(NULL, words);
}

static void test_qtest(void **state)
{
    g_autoptr(GString) digits = g_string_new("0x");
    g_autofree char *direct = NULL, *enqueue = NULL;

    for (int i = 0; i < DIRECT_STORE_SIZE; i++) {
        g_string_append_printf(digits, i & 1 ? "%02x" : "%02X", command[i]);
    }
    direct = g_strdup_printf("direct_store 0x1000 %s", digits->str);
    enqueue = g_strdup_printf("enqueue_store 4096 %s", digits->str);

    assert_true(run(direct));
    assert_string_equal(reply, "OK\n");
    assert_memory_equal(data, command, sizeof(command));
    assert_true(run(enqueue));
    assert_string_equal(reply, "OK 1\n");
    accepts = false;
    assert_true(run(enqueue));
    assert_string_equal(reply, "OK 0\n");
    check(1, 2, 0);
}

/* Each command fails with an error message, and stores nothing */
static void test_qtest_malformed(void **state)
{
    g_autofree char *good = g_strnfill(DIGITS, '5');
    char *lines[] = {
        g_strdup("direct_store"),
        g_strdup("direct_store 0x1000"),
        g_strdup("enqueue_store 0x1000 0x55"),
        g_strdup_printf("direct_store here 0x%s", good),
        g_strdup_printf("direct_store 0x1020 0x%s", good),
        g_strdup_printf("direct_store 0x1000 0x%s5", good),
        g_strdup_printf("direct_store 0x1000 0x5g%s", good + 2),
        g_strdup_printf("direct_store 0x1000 0xg5%s", good + 2),
    };

    for (int i = 0; i < ARRAY_SIZE(lines); i++) {
        assert_true(run(lines[i]));
        assert_true(g_str_has_prefix(reply, "ERR "));
        g_free(lines[i]);
    }
    check(0, 0, 0);
}

static void test_qtest_unknown(void **state)
{
    assert_false(run("readb 0x1000"));
    assert_null(reply);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_ ## name, setup, \
                                                   teardown)
    const struct CMUnitTest tests[] = {
        TEST(accepted),
        TEST(rejected),
        TEST(no_method),
        TEST(no_methods),
        TEST(no_owner),
        TEST(ram),
        TEST(end_of_region),
        TEST(qtest),
        TEST(qtest_malformed),
        TEST(qtest_unknown),
    };
#undef TEST

    QTAILQ_INSERT_TAIL(&cpus_queue, &cpu, node);
    module_call_init(MODULE_INIT_QOM);
    type_register_static_array(types, ARRAY_SIZE(types));
    return cmocka_run_group_tests_name("direct-store", tests, NULL, NULL);
}
