/*
 * QTest testcase for direct stores of 64 bytes and enqueue stores
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Destinations of the stores: the rules of include/hw/direct_store.h, and
 * those of the Intel SDM volume 2, "ENQCMD".
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "hw/misc/direct-store-testdev.h"
#include "libqos/pci.h"
#include "libqos/pci-pc.h"
#include "standard-headers/linux/pci_regs.h"

#define RAM     0x100000
#define NOWHERE 0xc0000000

typedef struct Test {
    QTestState *qts;
    QPCIBus *bus;
    QPCIDevice *dev;
    uint64_t bar;
    uint8_t data[64];
} Test;

static void start(Test *t)
{
    QPCIBar bar;

    t->qts = qtest_init("-nodefaults -device direct-store-testdev,addr=4");
    t->bus = qpci_new_pc(t->qts, NULL);
    t->dev = qpci_device_find(t->bus, QPCI_DEVFN(4, 0));
    g_assert_nonnull(t->dev);
    qpci_device_enable(t->dev);
    bar = qpci_iomap(t->dev, 0, NULL);
    t->bar = bar.addr;
    for (int i = 0; i < sizeof(t->data); i++) {
        t->data[i] = 0x80 + i;
    }
}

static void stop(Test *t)
{
    g_free(t->dev);
    qpci_free_pc(t->bus);
    qtest_quit(t->qts);
}

static uint32_t reg(Test *t, uint64_t offset)
{
    return qtest_readl(t->qts, t->bar + offset);
}

/* Check the numbers of stores, and offset and data of the last one */
static void check(Test *t, unsigned direct, unsigned enqueue, uint64_t offset)
{
    uint8_t data[sizeof(t->data)];

    qtest_memread(t->qts, t->bar + DST_DATA, data, sizeof(data));
    g_assert_cmpuint(reg(t, DST_DIRECT_STORES), ==, direct);
    g_assert_cmpuint(reg(t, DST_ENQUEUE_STORES), ==, enqueue);
    g_assert_cmpuint(reg(t, DST_WRITES), ==, 0);
    g_assert_cmphex(reg(t, DST_LAST_OFFSET), ==, offset);
    g_assert_cmpmem(data, sizeof(data), t->data, sizeof(t->data));
}

static void test_direct_store(void)
{
    Test t;

    start(&t);
    qtest_direct_store(t.qts, t.bar + 0x40, t.data);
    check(&t, 1, 0, 0x40);
    qtest_direct_store(t.qts, t.bar + 0xfc0, t.data);
    check(&t, 2, 0, 0xfc0);
    stop(&t);
}

/* Stores are accepted while there are credits, and have to be retried then */
static void test_enqueue_store(void)
{
    Test t;

    start(&t);
    qtest_writel(t.qts, t.bar + DST_CREDITS, 2);
    g_assert_true(qtest_enqueue_store(t.qts, t.bar, t.data));
    check(&t, 0, 1, 0);
    g_assert_true(qtest_enqueue_store(t.qts, t.bar + 0x80, t.data));
    check(&t, 0, 2, 0x80);
    g_assert_false(qtest_enqueue_store(t.qts, t.bar + 0xc0, t.data));
    check(&t, 0, 3, 0xc0);
    qtest_writel(t.qts, t.bar + DST_CREDITS, 1);
    g_assert_true(qtest_enqueue_store(t.qts, t.bar, t.data));
    check(&t, 0, 4, 0);
    stop(&t);
}

/* RAM accepts direct stores, but no enqueue stores */
static void test_ram(void)
{
    static const uint8_t zero[64];
    uint8_t data[64];
    Test t;

    start(&t);
    g_assert_false(qtest_enqueue_store(t.qts, RAM, t.data));
    qtest_memread(t.qts, RAM, data, sizeof(data));
    g_assert_cmpmem(data, sizeof(data), zero, sizeof(zero));

    qtest_direct_store(t.qts, RAM, t.data);
    qtest_memread(t.qts, RAM, data, sizeof(data));
    g_assert_cmpmem(data, sizeof(data), t.data, sizeof(t.data));
    stop(&t);
}

/* Registers of the same device that do not accept 64 bytes */
static void test_other_registers(void)
{
    Test t;

    start(&t);
    qtest_writel(t.qts, t.bar + DST_CREDITS, 5);
    g_assert_false(qtest_enqueue_store(t.qts, t.bar + DST_REGS, t.data));
    g_assert_cmpuint(reg(&t, DST_CREDITS), ==, 5);
    g_assert_cmpuint(reg(&t, DST_ENQUEUE_STORES), ==, 0);

    /* The store is split: CREDITS gets the fourth of its 32-bit words */
    qtest_direct_store(t.qts, t.bar + DST_REGS, t.data);
    g_assert_cmphex(reg(&t, DST_CREDITS), ==, 0x8f8e8d8c);
    g_assert_cmpuint(reg(&t, DST_DIRECT_STORES), ==, 0);
    stop(&t);
}

/* No device, and a device with its memory space disabled */
static void test_no_destination(void)
{
    Test t;

    start(&t);
    g_assert_false(qtest_enqueue_store(t.qts, NOWHERE, t.data));
    qtest_direct_store(t.qts, NOWHERE, t.data);

    qtest_writel(t.qts, t.bar + DST_CREDITS, 1);
    qpci_config_writew(t.dev, PCI_COMMAND, 0);
    g_assert_false(qtest_enqueue_store(t.qts, t.bar, t.data));
    qtest_direct_store(t.qts, t.bar, t.data);
    qpci_config_writew(t.dev, PCI_COMMAND, PCI_COMMAND_MEMORY);
    g_assert_cmpuint(reg(&t, DST_DIRECT_STORES), ==, 0);
    g_assert_cmpuint(reg(&t, DST_ENQUEUE_STORES), ==, 0);
    g_assert_cmpuint(reg(&t, DST_CREDITS), ==, 1);
    stop(&t);
}

/* An ordinary write is neither of them */
static void test_plain_write(void)
{
    Test t;

    start(&t);
    qtest_writeq(t.qts, t.bar + 0x40, 0x1122334455667788);
    g_assert_cmpuint(reg(&t, DST_WRITES), ==, 1);
    g_assert_cmpuint(reg(&t, DST_DIRECT_STORES), ==, 0);
    g_assert_cmphex(reg(&t, DST_DATA), ==, 0x55667788);
    stop(&t);
}

/*
 * docs/specs/direct-store-testdev.rst: registers that read as zero or are
 * read-only
 */
static void test_registers(void)
{
    static const uint16_t read_only[] = {
        DST_DIRECT_STORES, DST_ENQUEUE_STORES, DST_WRITES, DST_LAST_OFFSET,
        DST_DATA, DST_DATA + 60, DST_LAST_OFFSET + 4, DST_DATA + 64,
    };
    Test t;

    start(&t);
    qtest_writeq(t.qts, t.bar + 0x40, UINT64_MAX);
    g_assert_cmphex(qtest_readq(t.qts, t.bar + 0x40), ==, 0);
    g_assert_cmphex(reg(&t, DST_WRITES), ==, 1);
    for (int i = 0; i < ARRAY_SIZE(read_only); i++) {
        uint32_t old = reg(&t, read_only[i]);

        qtest_writel(t.qts, t.bar + read_only[i], 0x123);
        g_assert_cmphex(reg(&t, read_only[i]), ==, old);
    }
    g_assert_cmphex(reg(&t, DST_LAST_OFFSET + 4), ==, 0);
    g_assert_cmphex(reg(&t, DST_DATA + 64), ==, 0);
    g_assert_cmphex(reg(&t, DST_CREDITS), ==, 0);
    stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("direct-store/direct-store", test_direct_store);
    qtest_add_func("direct-store/enqueue-store", test_enqueue_store);
    qtest_add_func("direct-store/ram", test_ram);
    qtest_add_func("direct-store/other-registers", test_other_registers);
    qtest_add_func("direct-store/no-destination", test_no_destination);
    qtest_add_func("direct-store/plain-write", test_plain_write);
    qtest_add_func("direct-store/registers", test_registers);
    return g_test_run();
}
