/*
 * Unit tests of the log of peripheral page requests of AMD-Vi
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00; registers are named by their MMIO
 * offsets.
 *
 * Environment:
 *   PPR_TEST_SEED    seed of the random sequences (printed; default: the time)
 *   PPR_TEST_STEPS   number of steps
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/bitops.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "system/runstate.h"
#include "hw/i386/amd_iommu_ppr.h"
#include "hw/i386/iommu_ram.h"
#include "test-random.h"

/* Guest memory: a log of the largest size, and the memory after it */
#define MEM_FIRST   0x100000ull
#define MEM_SIZE    (2 * 0x80000)

#define IOMMU_EN    (1ull << 0)
#define LOG_EN      (1ull << 13)
#define INT_EN      (1ull << 14)
#define PPR_EN      (1ull << 15)
#define ALL_EN      (IOMMU_EN | LOG_EN | INT_EN | PPR_EN)

#define OVERFLOW    (1u << 5)
#define INT         (1u << 6)
#define RUN         (1u << 7)

/* 2^8 entries */
#define LENGTH      (8ull << 56)
#define ENTRIES     256

static AMDVIState *iommu;
static MemReentrancyGuard guard;
static unsigned interrupts;

/* ---- Replacements for functions that the code under test calls ---- */

static uint64_t memory[MEM_SIZE / 8];

static bool write_memory(uint64_t *mem, hwaddr addr, const uint64_t *entry)
{
    if (addr < MEM_FIRST || addr >= MEM_FIRST + MEM_SIZE) {
        return false;
    }
    memcpy(&mem[(addr - MEM_FIRST) / 8], entry, 16);
    return true;
}

bool iommu_ram_write(const IOMMURam *ram, hwaddr addr, const uint64_t *val,
                     unsigned n)
{
    g_assert_cmpuint(n, ==, 2);
    g_assert_cmpuint(addr % 16, ==, 0);
    return write_memory(memory, addr, val);
}

uint64_t amdvi_readq(AMDVIState *s, hwaddr addr)
{
    return ldq_le_p(&s->mmior[addr]);
}

void amdvi_writeq_raw(AMDVIState *s, hwaddr addr, uint64_t val)
{
    g_assert_true(bql_locked());
    stq_le_p(&s->mmior[addr], val);
}

void amdvi_assign_orq(AMDVIState *s, hwaddr addr, uint64_t val)
{
    amdvi_writeq_raw(s, addr, amdvi_readq(s, addr) | val);
}

void amdvi_assign_andq(AMDVIState *s, hwaddr addr, uint64_t val)
{
    amdvi_writeq_raw(s, addr, amdvi_readq(s, addr) & val);
}

void amdvi_generate_ppr_interrupt(AMDVIState *s)
{
    g_assert_true(bql_locked());
    interrupts++;
}

static VMChangeStateHandler *vm_changed;
static void *vm_changed_opaque;

VMChangeStateEntry *qemu_add_vm_change_state_handler(VMChangeStateHandler *cb,
                                                     void *opaque)
{
    vm_changed = cb;
    vm_changed_opaque = opaque;
    return NULL;
}

/* ---- Registers, as amd_iommu.c accesses them ---- */

static uint64_t read_reg(hwaddr reg)
{
    amdvi_ppr_sync(iommu);
    return amdvi_readq(iommu, reg);
}

static uint64_t status(void)
{
    return read_reg(AMDVI_MMIO_STATUS);
}

static uint64_t tail(void)
{
    return read_reg(AMDVI_MMIO_PPR_TAIL);
}

static void write_control(uint64_t val)
{
    amdvi_writeq_raw(iommu, AMDVI_MMIO_CONTROL, val);
    amdvi_ppr_write_control(iommu);
}

static void write_base(uint64_t val)
{
    amdvi_writeq_raw(iommu, AMDVI_MMIO_PPR_BASE,
                     val & AMDVI_MMIO_RING_BASE_WRITABLE);
    amdvi_ppr_write_base(iommu);
}

static void write_head(uint64_t val)
{
    amdvi_writeq_raw(iommu, AMDVI_MMIO_PPR_HEAD,
                     val & AMDVI_MMIO_PPRLOG_HEAD_MASK);
    amdvi_ppr_write_head(iommu);
}

static void write_tail(uint64_t val)
{
    amdvi_writeq_raw(iommu, AMDVI_MMIO_PPR_TAIL,
                     val & AMDVI_MMIO_PPRLOG_TAIL_MASK);
    amdvi_ppr_write_tail(iommu);
}

static AMDVIPPRResult put(uint64_t lo, uint64_t hi)
{
    const uint64_t entry[2] = { lo, hi };
    AMDVIPPRResult result = amdvi_ppr_put(iommu, entry);

    amdvi_ppr_raise_interrupt(iommu);
    return result;
}

static void reset(void)
{
    memset(iommu->mmior, 0, sizeof(iommu->mmior));
    amdvi_ppr_reset(iommu);
    interrupts = 0;
}

static void start(void)
{
    reset();
    write_base(MEM_FIRST | LENGTH);
    write_control(ALL_EN);
}

/* Fills the log; the next entry does not fit */
static void fill(void)
{
    for (int i = 0; i < ENTRIES - 1; i++) {
        assert_int_equal(put(i, ~i), AMDVI_PPR_LOGGED);
    }
}

/* ---- Rules ---- */

/* MMIO 0018h: which bits enable page requests, and which let the log run */
static void test_enable(void **state)
{
    static const struct {
        uint64_t control;
        AMDVIPPRResult result;
        uint64_t status;
    } cases[] = {
        { 0, AMDVI_PPR_DISABLED, 0 },
        { LOG_EN | PPR_EN, AMDVI_PPR_DISABLED, 0 },
        { IOMMU_EN | LOG_EN, AMDVI_PPR_DISABLED, RUN },
        { IOMMU_EN | PPR_EN, AMDVI_PPR_OVERFLOW, 0 },
        { IOMMU_EN | PPR_EN | LOG_EN, AMDVI_PPR_LOGGED, RUN | INT },
        { ALL_EN, AMDVI_PPR_LOGGED, RUN | INT },
    };

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        start();
        write_control(cases[i].control);
        assert_int_equal(put(1, 2), cases[i].result);
        assert_int_equal(status(), cases[i].status);
        assert_int_equal(interrupts, cases[i].control == ALL_EN);
        assert_int_equal(tail() == 16, cases[i].result == AMDVI_PPR_LOGGED);
    }
}

/* 2.6: the log holds one entry less than its length */
static void test_ring(void **state)
{
    start();
    fill();
    for (int i = 0; i < ENTRIES - 1; i++) {
        assert_int_equal(memory[2 * i], i);
        assert_int_equal(memory[2 * i + 1], ~i);
    }
    assert_int_equal(tail(), (ENTRIES - 1) * 16);
    write_head(16);
    assert_int_equal(put(1, 2), AMDVI_PPR_LOGGED);
    assert_int_equal(tail(), 0);
    assert_int_equal(status(), RUN | INT);
}

/* MMIO 0038h: a write sets the pointers to 0; lengths, and pointers beyond */
static void test_length(void **state)
{
    for (unsigned length = 0; length < 16; length++) {
        uint64_t size = 16ull << length;

        start();
        write_tail(UINT64_MAX);
        write_head(UINT64_MAX);
        assert_int_equal(tail(), 0x7fff0);
        write_base(MEM_FIRST | (uint64_t)length << 56);
        assert_int_equal(tail(), 0);
        assert_int_equal(read_reg(AMDVI_MMIO_PPR_HEAD), 0);
        if (!length) {
            /* One entry holds nothing */
            assert_int_equal(put(1, 2), AMDVI_PPR_OVERFLOW);
            continue;
        }
        write_tail(UINT64_MAX);
        assert_int_equal(put(1, 2), AMDVI_PPR_OVERFLOW);
        start();
        write_base(MEM_FIRST | (uint64_t)length << 56);
        write_head(16);
        write_tail(UINT64_MAX);
        assert_int_equal(put(length, 2), AMDVI_PPR_LOGGED);
        assert_int_equal(memory[(size - 16) / 8], length);
        assert_int_equal(tail(), 0);
    }
}

/* An entry that cannot be written changes nothing */
static void test_unreachable(void **state)
{
    start();
    write_base((MEM_FIRST + MEM_SIZE) | LENGTH);
    assert_int_equal(put(1, 2), AMDVI_PPR_UNREACHABLE);
    assert_int_equal(tail(), 0);
    assert_int_equal(status(), RUN);
    assert_int_equal(interrupts, 0);
}

/* MMIO 2020h: PPROverflow, and how Linux's driver restarts the log */
static void test_overflow(void **state)
{
    start();
    fill();
    assert_int_equal(interrupts, 1);
    assert_int_equal(put(1, 2), AMDVI_PPR_OVERFLOW);
    assert_int_equal(status(), OVERFLOW | INT);
    /* PPROverflow is a cause of its own. */
    assert_int_equal(interrupts, 2);
    /* Nothing is logged, whatever software does but restart the log. */
    write_head(tail());
    assert_int_equal(put(1, 2), AMDVI_PPR_OVERFLOW);
    write_control(ALL_EN);
    assert_int_equal(put(1, 2), AMDVI_PPR_OVERFLOW);
    amdvi_ppr_write_status(iommu, OVERFLOW | INT);
    assert_int_equal(status(), 0);
    assert_int_equal(interrupts, 2);
    /* The driver may have missed the flag: the next request sets it again. */
    assert_int_equal(put(1, 2), AMDVI_PPR_OVERFLOW);
    assert_int_equal(status(), OVERFLOW);
    assert_int_equal(interrupts, 3);
    amdvi_ppr_write_status(iommu, OVERFLOW);
    /* iommu_feature_disable() and _enable() change one bit at a time. */
    write_control(ALL_EN & ~LOG_EN);
    write_control(ALL_EN & ~(LOG_EN | INT_EN));
    amdvi_ppr_write_status(iommu, OVERFLOW);
    write_control(ALL_EN & ~LOG_EN);
    assert_int_equal(put(1, 2), AMDVI_PPR_OVERFLOW);
    assert_int_equal(status(), 0);
    write_control(ALL_EN);
    assert_int_equal(status(), RUN);
    assert_int_equal(put(1, 2), AMDVI_PPR_LOGGED);
    assert_int_equal(interrupts, 4);
}

/* A flag interrupts when it is set, and when its interrupt becomes enabled */
static void test_interrupt(void **state)
{
    start();
    assert_int_equal(put(1, 2), AMDVI_PPR_LOGGED);
    assert_int_equal(put(1, 2), AMDVI_PPR_LOGGED);
    assert_int_equal(interrupts, 1);
    assert_true(amdvi_ppr_has_cause(iommu));
    amdvi_ppr_write_status(iommu, ~(uint64_t)INT);
    assert_int_equal(status(), RUN | INT);
    amdvi_ppr_write_status(iommu, INT);
    assert_false(amdvi_ppr_has_cause(iommu));
    assert_int_equal(put(1, 2), AMDVI_PPR_LOGGED);
    assert_int_equal(interrupts, 2);
    write_control(ALL_EN & ~INT_EN);
    assert_false(amdvi_ppr_has_cause(iommu));
    write_control(ALL_EN);
    assert_int_equal(interrupts, 3);
}

/* Other bits of the Status register belong to others */
static void test_status_bits(void **state)
{
    start();
    amdvi_writeq_raw(iommu, AMDVI_MMIO_STATUS, ~(uint64_t)0xe0);
    assert_int_equal(status(), ~(uint64_t)0xe0 | RUN);
    write_control(0);
    assert_int_equal(status(), ~(uint64_t)0xe0);
}

/* Without svm=on there is no log, and the registers have no effect */
static void test_no_log(void **state)
{
    AMDVIPPRLog *log = iommu->ppr_log;

    iommu->ppr_log = NULL;
    start();
    write_head(0x20);
    write_tail(0x40);
    assert_int_equal(read_reg(AMDVI_MMIO_PPR_BASE), MEM_FIRST | LENGTH);
    assert_int_equal(read_reg(AMDVI_MMIO_PPR_HEAD), 0x20);
    assert_int_equal(tail(), 0x40);
    assert_int_equal(put(1, 2), AMDVI_PPR_DISABLED);
    amdvi_ppr_write_status(iommu, UINT64_MAX);
    assert_int_equal(status(), 0);
    assert_false(amdvi_ppr_has_cause(iommu));
    assert_int_equal(interrupts, 0);
    assert_false(amdvi_vmstate_ppr.needed(iommu));
    assert_int_equal(amdvi_vmstate_ppr.pre_load(iommu), -EINVAL);
    iommu->ppr_log = log;
}

/* ---- Migration ---- */

static const VMStateDescription *log_state(void)
{
    return amdvi_vmstate_ppr.fields[0].vmsd;
}

static void save(void)
{
    assert_true(amdvi_vmstate_ppr.needed(iommu));
    assert_int_equal(log_state()->pre_save(iommu->ppr_log), 0);
}

static void load(void)
{
    reset();
    assert_int_equal(amdvi_vmstate_ppr.pre_load(iommu), 0);
    assert_int_equal(log_state()->post_load(iommu->ppr_log, 1), 0);
}

static void *saved_field(unsigned i)
{
    return (char *)iommu->ppr_log + log_state()->fields[i].offset;
}

/* An interrupt that a thread has made due is sent at the destination */
static void test_migrate_interrupt(void **state)
{
    const uint64_t entry[2] = { 1, 2 };

    start();
    assert_int_equal(amdvi_ppr_put(iommu, entry), AMDVI_PPR_LOGGED);
    save();
    load();
    assert_int_equal(tail(), 16);
    assert_int_equal(status(), RUN | INT);
    assert_int_equal(interrupts, 0);
    vm_changed(vm_changed_opaque, false, RUN_STATE_PAUSED);
    assert_int_equal(interrupts, 0);
    vm_changed(vm_changed_opaque, true, RUN_STATE_RUNNING);
    assert_int_equal(interrupts, 1);
    vm_changed(vm_changed_opaque, true, RUN_STATE_RUNNING);
    assert_int_equal(interrupts, 1);
}

/* A stream with all bits set */
static void test_migrate_hostile(void **state)
{
    start();
    save();
    for (int i = 0; i < 5; i++) {
        *(uint64_t *)saved_field(i) = UINT64_MAX;
    }
    *(bool *)saved_field(5) = true;
    load();
    assert_int_equal(read_reg(AMDVI_MMIO_PPR_BASE),
                     AMDVI_MMIO_RING_BASE_WRITABLE);
    assert_int_equal(read_reg(AMDVI_MMIO_PPR_HEAD), 0x7fff0);
    assert_int_equal(tail(), 0x7fff0);
    /* The log does not run after an overflow. */
    assert_int_equal(status(), OVERFLOW | INT);
    assert_int_equal(put(1, 2), AMDVI_PPR_OVERFLOW);

    /* An interrupt needs a cause. */
    start();
    save();
    *(bool *)saved_field(5) = true;
    load();
    interrupts = 0;
    vm_changed(vm_changed_opaque, true, RUN_STATE_RUNNING);
    assert_int_equal(interrupts, 0);
}

/* ---- A plain model, with registers as in the specification ---- */

typedef struct Model {
    uint64_t base;
    uint64_t head;
    uint64_t tail;
    uint64_t control;
    bool overflow;
    bool interrupt;
    bool run;
    unsigned interrupts;
    uint64_t memory[MEM_SIZE / 8];
} Model;

static Model model;

static unsigned model_flags(void)
{
    return model.control & INT_EN ? model.overflow * 2 + model.interrupt : 0;
}

static void model_control(uint64_t val)
{
    unsigned old = model_flags();

    model.control = val;
    model.run = (val & IOMMU_EN) && (val & LOG_EN) && !model.overflow;
    model.interrupts += !!(model_flags() & ~old);
}

static AMDVIPPRResult model_put(uint64_t lo, uint64_t hi)
{
    const uint64_t entry[2] = { lo, hi };
    uint64_t entries = 1 << model.base / (1ull << 56) % 16;
    uint64_t base = model.base % (1ull << 52);
    uint64_t head = model.head / 16 % entries;
    uint64_t tail = model.tail / 16 % entries;

    if (!(model.control & IOMMU_EN) || !(model.control & PPR_EN)) {
        return AMDVI_PPR_DISABLED;
    }
    if (!(model.control & LOG_EN)) {
        return AMDVI_PPR_OVERFLOW;
    }
    if (!model.run || (tail + 1) % entries == head) {
        model.run = false;
        model.interrupts += !model.overflow && (model.control & INT_EN);
        model.overflow = true;
        return AMDVI_PPR_OVERFLOW;
    }
    if (!write_memory(model.memory, base + tail * 16, entry)) {
        return AMDVI_PPR_UNREACHABLE;
    }
    model.tail = (tail + 1) % entries * 16;
    model.interrupts += !model.interrupt && (model.control & INT_EN);
    model.interrupt = true;
    return AMDVI_PPR_LOGGED;
}

/* ---- Random sequences ---- */

static GRand *rnd;

static uint32_t below(uint32_t n)
{
    return g_rand_int(rnd) % n;
}

static uint64_t any(void)
{
    return (uint64_t)g_rand_int(rnd) << 32 | g_rand_int(rnd);
}

static void check_registers(void)
{
    assert_int_equal(read_reg(AMDVI_MMIO_PPR_BASE), model.base);
    assert_int_equal(read_reg(AMDVI_MMIO_PPR_HEAD), model.head);
    assert_int_equal(tail(), model.tail);
    assert_int_equal(status(), model.overflow << 5 | model.interrupt << 6 |
                     model.run << 7);
    assert_int_equal(interrupts, model.interrupts);
}

static void step_write(void)
{
    uint64_t val = any();

    switch (below(5)) {
    case 0:
        val = below(4) ? ALL_EN : val;
        write_control(val);
        model_control(val);
        break;
    case 1:
        if (below(8)) {
            val = MEM_FIRST + below(2) * 0x80000 + ((uint64_t)below(10) << 56);
        }
        write_base(val);
        model.base = val & 0x0f0ffffffffff000;
        model.head = model.tail = 0;
        break;
    case 2:
        val = below(4) ? model.tail : val;
        write_head(val);
        model.head = val & 0x7fff0;
        break;
    case 3:
        write_tail(val);
        model.tail = val & 0x7fff0;
        break;
    case 4:
        amdvi_ppr_write_status(iommu, val);
        model.overflow &= !(val & OVERFLOW);
        model.interrupt &= !(val & INT);
        break;
    }
}

/* Saves and loads; a hostile source sets reserved bits in the stream */
static void step_migrate(bool hostile)
{
    unsigned sent = interrupts;

    save();
    if (hostile) {
        *(uint64_t *)saved_field(0) |= 0xf0f0000000000fff;
        *(uint64_t *)saved_field(1) |= ~(uint64_t)0x7fff0;
        *(uint64_t *)saved_field(2) |= ~(uint64_t)0x7fff0;
        *(uint64_t *)saved_field(3) |= ~(uint64_t)ALL_EN;
        *(uint64_t *)saved_field(4) |= ~(uint64_t)(OVERFLOW | INT | RUN);
    }
    load();
    interrupts = sent;
}

static void test_random(void **state)
{
    uint64_t count = env_number("PPR_TEST_STEPS", 300000);
    unsigned results[4] = { };

    reset();
    memset(&model, 0, sizeof(model));
    memset(memory, 0, sizeof(memory));
    for (uint64_t i = 0; i < count; i++) {
        unsigned what = below(100);

        if (what < 10) {
            step_write();
        } else if (what < 11) {
            step_migrate(below(2));
        } else {
            uint64_t lo = any(), hi = any();
            AMDVIPPRResult want = model_put(lo, hi);

            assert_int_equal(put(lo, hi), want);
            results[want]++;
        }
        check_registers();
    }
    assert_memory_equal(memory, model.memory, sizeof(memory));
    /* The sequences must have had enough of these results. */
    for (int i = 0; i < ARRAY_SIZE(results); i++) {
        assert_true(results[i] > 100 || count < 100000);
    }
}

/* ---- Threads ---- */

#define THREADS     4
#define PER_THREAD  20000

/* A thread that does not hold the BQL leaves the interrupt to the main loop */
static void *interrupt_thread(void *opaque)
{
    g_assert_false(bql_locked());
    g_assert_cmpint(put(1, 2), ==, AMDVI_PPR_LOGGED);
    return NULL;
}

static void test_interrupt_of_thread(void **state)
{
    QemuThread thread;

    for (int cleared = 0; cleared < 2; cleared++) {
        start();
        qemu_thread_create(&thread, "interrupt", interrupt_thread, NULL,
                           QEMU_THREAD_JOINABLE);
        qemu_thread_join(&thread);
        assert_int_equal(interrupts, 0);
        if (cleared) {
            /* Software has seen it. */
            amdvi_ppr_write_status(iommu, INT);
        }
        main_loop_wait(true);
        assert_int_equal(interrupts, !cleared);
        main_loop_wait(true);
        assert_int_equal(interrupts, !cleared);
    }
}

static unsigned running;

/* Adds numbers to the log, in order; tries those again that did not fit */
static void *producer(void *opaque)
{
    uint64_t id = (uintptr_t)opaque;

    for (uint64_t i = 0; i < PER_THREAD; i++) {
        for (;;) {
            AMDVIPPRResult result = put(id << 32 | i, ~i);

            if (result == AMDVI_PPR_LOGGED) {
                break;
            }
            g_assert_cmpint(result, ==, AMDVI_PPR_OVERFLOW);
            g_thread_yield();
        }
    }
    qatomic_dec(&running);
    return NULL;
}

static uint64_t next_number[THREADS];
static uint64_t sum;

/* As Linux's amd_iommu_poll_ppr_log() */
static void poll_log(void)
{
    uint64_t head = read_reg(AMDVI_MMIO_PPR_HEAD);
    uint64_t end = tail();

    while (head != end) {
        uint64_t *entry = &memory[head / 8];
        uint64_t id = entry[0] >> 32;

        assert_true(id < THREADS);
        assert_int_equal((uint32_t)entry[0], next_number[id]++);
        assert_int_equal(entry[1], ~(entry[0] & UINT32_MAX));
        entry[0] = entry[1] = UINT64_MAX;
        head = (head + 16) % (ENTRIES * 16);
        write_head(head);
        sum++;
    }
}

/* As Linux's amd_iommu_restart_log() */
static void restart_log(void)
{
    if (status() & RUN) {
        return;
    }
    write_control(ALL_EN & ~LOG_EN);
    write_control(ALL_EN & ~(LOG_EN | INT_EN));
    amdvi_ppr_write_status(iommu, OVERFLOW);
    write_control(ALL_EN & ~LOG_EN);
    write_control(ALL_EN);
}

/* As Linux's amd_iommu_handle_irq() */
static void handle_irq(void)
{
    uint64_t flags = status();

    while (flags & (OVERFLOW | INT)) {
        amdvi_ppr_write_status(iommu, OVERFLOW | INT);
        poll_log();
        if (flags & OVERFLOW) {
            restart_log();
        }
        flags = status();
    }
}

/*
 * Several threads add entries while a guest takes them, only when there is an
 * interrupt; the log overflows many times
 */
static void test_producers(void **state)
{
    QemuThread thread[THREADS];
    unsigned handled = 0;

    start();
    running = THREADS;
    for (uintptr_t i = 0; i < THREADS; i++) {
        qemu_thread_create(&thread[i], "producer", producer, (void *)i,
                           QEMU_THREAD_JOINABLE);
    }
    while (sum < THREADS * PER_THREAD) {
        main_loop_wait(true);
        if (interrupts != handled) {
            handled = interrupts;
            handle_irq();
        }
    }
    for (int i = 0; i < THREADS; i++) {
        qemu_thread_join(&thread[i]);
    }
    assert_int_equal(running, 0);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_enable),
        cmocka_unit_test(test_ring),
        cmocka_unit_test(test_length),
        cmocka_unit_test(test_unreachable),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_interrupt),
        cmocka_unit_test(test_status_bits),
        cmocka_unit_test(test_no_log),
        cmocka_unit_test(test_migrate_interrupt),
        cmocka_unit_test(test_migrate_hostile),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_interrupt_of_thread),
        cmocka_unit_test(test_producers),
    };
    int ret;

    bql_lock();
    qemu_init_main_loop(&error_abort);
    rnd = g_rand_new_with_seed(env_seed("PPR_TEST_SEED"));
    iommu = g_new0(AMDVIState, 1);
    amdvi_ppr_init(iommu, &guard);
    ret = cmocka_run_group_tests(tests, NULL, NULL);
    g_rand_free(rnd);
    return ret;
}
