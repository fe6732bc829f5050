/*
 * QTest testcase for the command buffer of amd-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00; registers are named by their MMIO
 * offsets.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "hw/i386/amd_iommu.h"

/* Guest physical addresses */
#define DEVTAB      0x1000000ULL
#define STATUS      0x1200000ULL
#define EVENTS      0x1300000ULL
#define BUFFER      0x1400000ULL

/* ComLen (MMIO 0008h) of the largest buffer, and of the smallest */
#define LARGEST     15
#define SMALLEST    8

/* Store data of COMPLETION_WAIT */
#define DONE        0x600d600d600d600dULL

/* How long a buffer may take before the test takes it for stuck, in seconds */
#define STUCK       600

/* 2.4.1: the i and s bits of COMPLETION_WAIT */
#define WAIT_STORE      (1ULL << 0)
#define WAIT_INTERRUPT  (1ULL << 1)

#define COMMAND(name)   ((uint64_t)AMDVI_CMD_ ## name << 60)

/**
 * struct Buffer - the command buffer of an emulator
 * @qts: the emulator
 * @entries: the size of the buffer, in commands
 * @tail: index of the next free entry
 */
typedef struct Buffer {
    QTestState *qts;
    unsigned entries;
    unsigned tail;
} Buffer;

/* 2.4: one of each command that does not complete with a trace */
static const uint64_t commands[][2] = {
    { COMMAND(COMPLETION_WAIT) },
    { COMMAND(COMPLETION_WAIT) | WAIT_INTERRUPT },
    { COMMAND(INVAL_DEVTAB_ENTRY) },
    { COMMAND(INVAL_AMDVI_PAGES), 0x7ffffffffffff001 },
    { COMMAND(INVAL_IOTLB_PAGES), 0x7ffffffffffff001 },
    { COMMAND(INVAL_INTR_TABLE) },
    { COMMAND(PREFETCH_AMDVI_PAGES) },
    { COMMAND(COMPLETE_PPR_REQUEST) },
    { COMMAND(INVAL_AMDVI_ALL) },
};

static const uint64_t *const plain_wait = commands[0];

static uint64_t reg_read(Buffer *b, uint64_t reg)
{
    return qtest_readq(b->qts, AMDVI_BASE_ADDR + reg);
}

static void reg_write(Buffer *b, uint64_t reg, uint64_t val)
{
    qtest_writeq(b->qts, AMDVI_BASE_ADDR + reg, val);
}

/* MMIO 0018h */
static void enable(Buffer *b)
{
    reg_write(b, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_AMDVIEN |
              AMDVI_MMIO_CONTROL_EVENTLOGEN | AMDVI_MMIO_CONTROL_CMDBUFLEN);
}

static void disable(Buffer *b)
{
    reg_write(b, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_AMDVIEN);
}

/* MMIO 0008h: an empty buffer */
static void set_base(Buffer *b, uint64_t base, unsigned com_len)
{
    b->entries = 1u << com_len;
    b->tail = 0;
    reg_write(b, AMDVI_MMIO_COMMAND_BASE, base | (uint64_t)com_len << 56);
}

static void setup(Buffer *b, unsigned com_len)
{
    reg_write(b, AMDVI_MMIO_DEVICE_TABLE, DEVTAB);
    reg_write(b, AMDVI_MMIO_EVENT_BASE, EVENTS | (uint64_t)SMALLEST << 56);
    set_base(b, BUFFER, com_len);
    enable(b);
    qtest_writeq(b->qts, STATUS, 0);
}

/* A machine type that has all commands that the table above lists */
static void start(Buffer *b, unsigned com_len)
{
    *b = (Buffer) {
        .qts = qtest_init("-M pc-q35-9.2 -m 128 -nodefaults "
                          "-device amd-iommu"),
    };
    setup(b, com_len);
}

/* Append @n commands, without telling the IOMMU */
static void put_many(Buffer *b, const uint64_t cmd[2], unsigned n)
{
    g_autofree uint64_t *buf = g_new(uint64_t, n * 2);

    g_assert_cmpuint(b->tail + n, <=, b->entries);
    for (unsigned i = 0; i < n * 2; i++) {
        buf[i] = cpu_to_le64(cmd[i % 2]);
    }
    qtest_memwrite(b->qts, BUFFER + b->tail * AMDVI_COMMAND_SIZE, buf,
                   n * AMDVI_COMMAND_SIZE);
    b->tail = (b->tail + n) % b->entries;
}

/* A command that stores @val at @addr */
static void put_store(Buffer *b, uint64_t addr, uint64_t val)
{
    const uint64_t cmd[2] = {
        COMMAND(COMPLETION_WAIT) | WAIT_STORE | addr, val,
    };

    put_many(b, cmd, 1);
}

static void put_wait(Buffer *b)
{
    put_store(b, STATUS, DONE);
}

/* Fill the buffer, with a store as the last command */
static void fill(Buffer *b, const uint64_t cmd[2])
{
    put_many(b, cmd, b->entries - 2);
    put_wait(b);
}

/* MMIO 2008h */
static void ring(Buffer *b)
{
    reg_write(b, AMDVI_MMIO_COMMAND_TAIL, b->tail * AMDVI_COMMAND_SIZE);
}

static unsigned head(Buffer *b)
{
    return reg_read(b, AMDVI_MMIO_COMMAND_HEAD) / AMDVI_COMMAND_SIZE;
}

static uint64_t status(Buffer *b)
{
    return qtest_readq(b->qts, STATUS);
}

static bool runs(Buffer *b)
{
    return reg_read(b, AMDVI_MMIO_STATUS) & AMDVI_MMIO_STATUS_CMDBUF_RUN;
}

static void expect_done(Buffer *b)
{
    g_assert_cmpuint(head(b), ==, b->tail);
    g_assert_cmphex(status(b), ==, DONE);
    qtest_writeq(b->qts, STATUS, 0);
}

static void machine(Buffer *b, const char *command)
{
    qtest_qmp_assert_success(b->qts, "{ 'execute': %s }", command);
}

/* The monitor answers, and the machine is in the state */
static void expect_machine(Buffer *b, const char *state)
{
    QDict *rsp = qtest_qmp(b->qts, "{ 'execute': 'query-status' }");

    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "return"), "status"),
                    ==, state);
    qobject_unref(rsp);
}

/* The monitor answers for as long as the buffer is being processed */
static void wait_head(Buffer *b, unsigned at)
{
    gint64 end = g_get_monotonic_time() + STUCK * G_TIME_SPAN_SECOND;

    while (head(b) != at) {
        expect_machine(b, "running");
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

/* Nothing goes on */
static void expect_halted(Buffer *b, const char *state, unsigned at)
{
    for (unsigned i = 0; i < 20; i++) {
        expect_machine(b, state);
        g_assert_cmpuint(head(b), ==, at);
        g_assert_cmphex(status(b), ==, 0);
    }
}

/*
 * Let a machine that is stopped take the first slice of a full buffer, so that
 * the test sees what is left; returns the index of that
 */
static unsigned ring_first_slice(Buffer *b)
{
    unsigned at;

    ring(b);
    at = head(b);
    g_assert_cmpuint(at, >, 0);
    g_assert_cmpuint(at, <, b->tail - 1);
    expect_halted(b, "paused", at);
    return at;
}

static unsigned first_slice(Buffer *b)
{
    machine(b, "stop");
    fill(b, plain_wait);
    return ring_first_slice(b);
}

static void finish(Buffer *b)
{
    wait_head(b, b->tail);
    expect_done(b);
}

/* MMIO 2008h: a write of the tail does not wait for the buffer to be empty */
static void test_slices(void)
{
    Buffer b;

    start(&b, LARGEST);
    first_slice(&b);
    machine(&b, "cont");
    finish(&b);
    qtest_quit(b.qts);
}

/* 2.4: whatever is in the buffer, the first slice leaves some of it */
static void test_slices_commands(void)
{
    Buffer b;

    start(&b, LARGEST);
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        machine(&b, "stop");
        fill(&b, commands[i]);
        ring_first_slice(&b);
        machine(&b, "cont");
        finish(&b);
        disable(&b);
        setup(&b, LARGEST);
    }
    qtest_quit(b.qts);
}

/* 2.4.1: a store may be to a device, so that it costs more than others do */
static void test_slices_stores(void)
{
    const uint64_t store[2] = {
        COMMAND(COMPLETION_WAIT) | WAIT_STORE | (STATUS + 8), DONE,
    };
    Buffer b;

    start(&b, LARGEST);
    machine(&b, "stop");
    fill(&b, store);
    g_assert_cmpuint(ring_first_slice(&b), <, 512);
    machine(&b, "cont");
    finish(&b);
    qtest_quit(b.qts);
}

/*
 * 2.4.1: after an invalidation, COMPLETION_WAIT waits for the threads of
 * devices, so that it costs more than others do
 */
static void test_slices_drains(void)
{
    const uint64_t *const pair[] = { commands[2], plain_wait };
    Buffer b;

    start(&b, LARGEST);
    machine(&b, "stop");
    while (b.tail < 2048) {
        put_many(&b, pair[b.tail % 2], 1);
    }
    put_wait(&b);
    g_assert_cmpuint(ring_first_slice(&b), <, 1024);
    machine(&b, "cont");
    finish(&b);
    qtest_quit(b.qts);
}

/* 2.5.6: no further slice follows a command that is illegal */
static void test_slices_illegal(void)
{
    const uint64_t illegal[2] = { 15ULL << 60 };
    unsigned at;
    Buffer b;

    start(&b, LARGEST);
    machine(&b, "stop");
    put_many(&b, plain_wait, b.entries - 3);
    at = b.tail;
    put_many(&b, illegal, 1);
    put_wait(&b);
    ring_first_slice(&b);
    g_assert_true(runs(&b));
    machine(&b, "cont");
    wait_head(&b, at);
    expect_halted(&b, "running", at);
    g_assert_false(runs(&b));
    qtest_quit(b.qts);
}

/* A short buffer is empty when the write of the tail returns */
static void test_short(void)
{
    Buffer b;

    start(&b, SMALLEST);
    for (unsigned turn = 0; turn < 2 * b.entries / 32; turn++) {
        for (unsigned i = 0; i < 31; i++) {
            put_many(&b, commands[i % 3], 1);
        }
        put_wait(&b);
        ring(&b);
        expect_done(&b);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        put_many(&b, commands[i], 1);
        put_wait(&b);
        ring(&b);
        expect_done(&b);
    }
    qtest_quit(b.qts);
}

/* 2.4.1: COMPLETION_WAIT completes after what is ahead of it, and not before */
static void test_order(void)
{
    const unsigned step = 1024;
    unsigned at;
    Buffer b;

    start(&b, LARGEST);
    machine(&b, "stop");
    qtest_memset(b.qts, STATUS + 8, 0, b.entries / step * 8);
    while (b.tail + step < b.entries) {
        put_many(&b, plain_wait, step - 1);
        put_store(&b, STATUS + b.tail / step * 8 + 8, DONE);
    }
    put_wait(&b);
    at = ring_first_slice(&b);
    for (unsigned i = 0; i < b.tail / step; i++) {
        g_assert_cmphex(qtest_readq(b.qts, STATUS + i * 8 + 8), ==,
                        (i + 1) * step <= at ? DONE : 0);
    }
    machine(&b, "cont");
    finish(&b);
    for (unsigned i = 0; i < b.tail / step; i++) {
        g_assert_cmphex(qtest_readq(b.qts, STATUS + i * 8 + 8), ==, DONE);
    }
    qtest_quit(b.qts);
}

/* MMIO 2008h: a write of the tail adds to what is outstanding */
static void test_extend(void)
{
    unsigned at;
    Buffer b;

    start(&b, LARGEST);
    machine(&b, "stop");
    put_many(&b, plain_wait, b.entries / 2);
    at = ring_first_slice(&b);
    put_many(&b, plain_wait, b.entries / 2 - 2);
    put_wait(&b);
    ring(&b);
    expect_halted(&b, "paused", at);
    machine(&b, "cont");
    finish(&b);
    qtest_quit(b.qts);
}

/* MMIO 2008h: the same beyond the end of the buffer */
static void test_wrap(void)
{
    unsigned at;
    Buffer b;

    start(&b, LARGEST);
    machine(&b, "stop");
    put_many(&b, plain_wait, b.entries - 1);
    at = ring_first_slice(&b);
    put_many(&b, plain_wait, 1);
    put_many(&b, plain_wait, at - 2);
    put_wait(&b);
    g_assert_cmpuint(b.tail, ==, at - 1);
    ring(&b);
    expect_halted(&b, "paused", at);
    machine(&b, "cont");
    finish(&b);
    qtest_quit(b.qts);
}

/*
 * MMIO 0018h: CmdBufEn = 0 ends the fetching of commands at once, and
 * CmdBufEn = 1 goes on with those that are left
 */
static void test_disable(void)
{
    unsigned at;
    Buffer b;

    start(&b, LARGEST);
    at = first_slice(&b);
    disable(&b);
    g_assert_false(runs(&b));
    machine(&b, "cont");
    expect_halted(&b, "running", at);
    ring(&b);
    expect_halted(&b, "running", at);
    enable(&b);
    g_assert_true(runs(&b));
    finish(&b);
    qtest_quit(b.qts);
}

/* MMIO 0018h: the same by IommuEn */
static void test_disable_iommu(void)
{
    unsigned at;
    Buffer b;

    start(&b, LARGEST);
    at = first_slice(&b);
    reg_write(&b, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_CMDBUFLEN);
    g_assert_false(runs(&b));
    machine(&b, "cont");
    expect_halted(&b, "running", at);
    qtest_quit(b.qts);
}

/* MMIO 0008h: another buffer, of which nothing is outstanding */
static void test_base(void)
{
    Buffer b;

    start(&b, LARGEST);
    first_slice(&b);
    disable(&b);
    set_base(&b, BUFFER, SMALLEST);
    g_assert_cmpuint(head(&b), ==, 0);
    g_assert_cmphex(reg_read(&b, AMDVI_MMIO_COMMAND_TAIL), ==, 0);
    enable(&b);
    machine(&b, "cont");
    expect_halted(&b, "running", 0);
    put_wait(&b);
    ring(&b);
    expect_done(&b);
    qtest_quit(b.qts);
}

/* The same while the buffer is enabled, which software must not do */
static void test_base_enabled(void)
{
    Buffer b;

    start(&b, LARGEST);
    first_slice(&b);
    set_base(&b, BUFFER, SMALLEST);
    machine(&b, "cont");
    expect_halted(&b, "running", 0);
    put_wait(&b);
    ring(&b);
    finish(&b);
    qtest_quit(b.qts);
}

/* MMIO 2000h: software moves the head */
static void test_head(void)
{
    Buffer b;

    start(&b, LARGEST);
    first_slice(&b);
    disable(&b);
    reg_write(&b, AMDVI_MMIO_COMMAND_HEAD,
              (b.tail - 1) * AMDVI_COMMAND_SIZE);
    enable(&b);
    expect_done(&b);
    machine(&b, "cont");
    expect_halted(&b, "running", b.tail);
    qtest_quit(b.qts);
}

/* MMIO 2000h: the same while the buffer is enabled, to where it is empty */
static void test_head_enabled(void)
{
    Buffer b;

    start(&b, LARGEST);
    first_slice(&b);
    reg_write(&b, AMDVI_MMIO_COMMAND_HEAD, b.tail * AMDVI_COMMAND_SIZE);
    machine(&b, "cont");
    expect_halted(&b, "running", b.tail);
    put_wait(&b);
    ring(&b);
    expect_done(&b);
    qtest_quit(b.qts);
}

/* After a system reset nothing of the buffer is left */
static void test_system_reset(void)
{
    Buffer b;

    start(&b, LARGEST);
    first_slice(&b);
    machine(&b, "cont");
    qtest_system_reset(b.qts);
    g_assert_false(runs(&b));
    g_assert_cmpuint(head(&b), ==, 0);
    setup(&b, LARGEST);
    expect_halted(&b, "running", 0);
    put_wait(&b);
    ring(&b);
    expect_done(&b);
    put_many(&b, plain_wait, b.entries - 2);
    put_wait(&b);
    ring(&b);
    finish(&b);
    qtest_quit(b.qts);
}

/* A store to a register of the IOMMU has no effect, in whichever slice it is */
static void test_store_to_registers(void)
{
    static const uint64_t regs[] = {
        AMDVI_MMIO_CONTROL, AMDVI_MMIO_COMMAND_BASE,
        AMDVI_MMIO_COMMAND_HEAD, AMDVI_MMIO_COMMAND_TAIL,
    };
    unsigned i;
    Buffer b;

    start(&b, LARGEST);
    machine(&b, "stop");
    for (i = 0; i < ARRAY_SIZE(regs); i++) {
        put_store(&b, AMDVI_BASE_ADDR + regs[i], 0);
    }
    put_many(&b, plain_wait, b.entries / 2);
    for (i = 0; i < ARRAY_SIZE(regs); i++) {
        put_store(&b, AMDVI_BASE_ADDR + regs[i], 0);
    }
    put_many(&b, plain_wait, b.entries / 2 - 10);
    put_wait(&b);
    ring_first_slice(&b);
    machine(&b, "cont");
    finish(&b);
    g_assert_cmphex(reg_read(&b, AMDVI_MMIO_COMMAND_TAIL), ==,
                    b.tail * AMDVI_COMMAND_SIZE);
    g_assert_true(runs(&b));
    qtest_quit(b.qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-iommu/queue/slices", test_slices);
    qtest_add_func("/amd-iommu/queue/slices-commands", test_slices_commands);
    qtest_add_func("/amd-iommu/queue/slices-stores", test_slices_stores);
    qtest_add_func("/amd-iommu/queue/slices-drains", test_slices_drains);
    qtest_add_func("/amd-iommu/queue/slices-illegal", test_slices_illegal);
    qtest_add_func("/amd-iommu/queue/short", test_short);
    qtest_add_func("/amd-iommu/queue/order", test_order);
    qtest_add_func("/amd-iommu/queue/extend", test_extend);
    qtest_add_func("/amd-iommu/queue/wrap", test_wrap);
    qtest_add_func("/amd-iommu/queue/disable", test_disable);
    qtest_add_func("/amd-iommu/queue/disable-iommu", test_disable_iommu);
    qtest_add_func("/amd-iommu/queue/base", test_base);
    qtest_add_func("/amd-iommu/queue/base-enabled", test_base_enabled);
    qtest_add_func("/amd-iommu/queue/head", test_head);
    qtest_add_func("/amd-iommu/queue/head-enabled", test_head_enabled);
    qtest_add_func("/amd-iommu/queue/system-reset", test_system_reset);
    qtest_add_func("/amd-iommu/queue/store-to-registers",
                   test_store_to_registers);
    return g_test_run();
}
