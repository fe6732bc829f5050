/*
 * Unit tests of the VT-d page request queue
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 *
 * Environment:
 *   PRQ_TEST_SEED    seed of the random sequences (printed; default: the time)
 *   PRQ_TEST_STEPS   number of steps
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/bitops.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "qapi/error.h"
#include "hw/pci/msi.h"
#include "system/runstate.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/intel_iommu_prq.h"
#include "test-random.h"

#define HAW         48

/* Guest memory: a queue of the largest size, and the memory after it */
#define MEM_FIRST   0x100000ull
#define MEM_SIZE    (2 * 0x80000)

static uint64_t memory[MEM_SIZE / 8];

/* Without and with Extended Interrupt Mode */
static VTDPageRequestQueue *queues[2];

static bool write_memory(void *opaque, hwaddr addr, const uint64_t *desc)
{
    uint64_t *mem = opaque;

    assert_int_equal(addr % VTD_PRQ_DESC_SIZE, 0);
    if (addr < MEM_FIRST || addr >= MEM_FIRST + MEM_SIZE) {
        return false;
    }
    memcpy(&mem[(addr - MEM_FIRST) / 8], desc, VTD_PRQ_DESC_SIZE);
    return true;
}

/* ---- Replacements for functions that the code under test calls ---- */

VMChangeStateEntry *qemu_add_vm_change_state_handler(VMChangeStateHandler *cb,
                                                     void *opaque)
{
    return NULL;
}

void vtd_send_msi(MSIMessage *msi)
{
    g_assert_not_reached();
}

/* ---- A plain model, with registers as in the specification ---- */

typedef struct Model {
    bool eim;
    uint64_t pqh;
    uint64_t pqt;
    uint64_t pqa;
    bool ppr;
    bool pro;
    bool im;
    bool ip;
    uint16_t data;
    uint32_t addr;
    uint32_t upper;
    uint64_t memory[MEM_SIZE / 8];
} Model;

static Model model;

static uint32_t model_read(const Model *m, hwaddr reg)
{
    switch (reg) {
    case DMAR_PQH_REG:
        return m->pqh;
    case DMAR_PQT_REG:
        return m->pqt;
    case DMAR_PQA_REG:
        return m->pqa;
    case DMAR_PQA_REG_HI:
        return m->pqa >> 32;
    case DMAR_PRS_REG:
        return m->pro * 2 + m->ppr;
    case DMAR_PECTL_REG:
        return (uint32_t)m->im << 31 | (uint32_t)m->ip << 30;
    case DMAR_PEDATA_REG:
        return m->data;
    case DMAR_PEADDR_REG:
        return m->addr;
    case DMAR_PEUADDR_REG:
        return m->upper;
    default:
        return 0;
    }
}

static void model_write(Model *m, hwaddr reg, uint32_t val)
{
    switch (reg) {
    case DMAR_PQH_REG:
        m->pqh = val % 0x80000 / 32 * 32;
        break;
    case DMAR_PQT_REG:
        m->pqt = val % 0x80000 / 32 * 32;
        break;
    case DMAR_PQA_REG:
        m->pqa = m->pqa >> 32 << 32 | val / 0x1000 * 0x1000 | val % 8;
        break;
    case DMAR_PQA_REG_HI:
        m->pqa = (m->pqa & UINT32_MAX) | (uint64_t)(val % 0x10000) << 32;
        break;
    case DMAR_PRS_REG:
        m->ppr = m->ppr && !(val & 1);
        m->pro = m->pro && !(val & 2);
        m->ip = m->ip && (m->ppr || m->pro);
        break;
    case DMAR_PECTL_REG:
        m->im = val >> 31;
        break;
    case DMAR_PEDATA_REG:
        m->data = val;
        break;
    case DMAR_PEADDR_REG:
        m->addr = val / 4 * 4;
        break;
    case DMAR_PEUADDR_REG:
        m->upper = m->eim ? val : 0;
        break;
    }
}

static VTDPRQResult model_put(Model *m, const uint64_t *desc)
{
    uint64_t base = m->pqa / 0x1000 * 0x1000;
    uint64_t entries = 128 << m->pqa % 8;
    uint64_t head = m->pqh / 32 % entries;
    uint64_t tail = m->pqt / 32 % entries;
    bool was_set = m->ppr || m->pro;

    if (!base) {
        return VTD_PRQ_NO_QUEUE;
    }
    if (m->pro) {
        return VTD_PRQ_OVERFLOW;
    }
    if ((tail + 1) % entries == head) {
        m->pro = true;
        m->ip |= !was_set;
        return VTD_PRQ_OVERFLOW;
    }
    if (!write_memory(m->memory, base + tail * 32, desc)) {
        return VTD_PRQ_NO_QUEUE;
    }
    m->pqt = (tail + 1) % entries * 32;
    m->ppr = true;
    m->ip |= !was_set;
    return VTD_PRQ_DELIVERED;
}

static void model_reset(Model *m, bool eim)
{
    memset(m, 0, sizeof(*m));
    m->im = true;
    m->eim = eim;
}

/* ---- Random sequences ---- */

static GRand *rnd;

static uint32_t below(uint32_t n)
{
    return g_rand_int(rnd) % n;
}

/* Returns a value for a register, mostly a plausible one */
static uint64_t random_value(hwaddr reg)
{
    uint64_t any = (uint64_t)g_rand_int(rnd) << 32 | g_rand_int(rnd);

    if (!below(8)) {
        return any;
    }
    switch (reg) {
    case DMAR_PQH_REG:
        return below(2) ? model.pqt : any & 0x1fff;
    case DMAR_PQT_REG:
        return any & 0x1fff;
    case DMAR_PQA_REG:
        return MEM_FIRST + below(2) * 0x80000 + below(3);
    case DMAR_PQA_REG_HI:
        return 0;
    default:
        return any;
    }
}

static void check_registers(VTDPageRequestQueue *q)
{
    for (hwaddr reg = VTD_PRQ_FIRST_REG; reg <= VTD_PRQ_LAST_REG; reg += 4) {
        assert_int_equal(vtd_prq_read(q, reg, 4), model_read(&model, reg));
    }
}

static void step_write(VTDPageRequestQueue *q)
{
    unsigned size = below(2) ? 8 : 4;
    hwaddr reg = VTD_PRQ_FIRST_REG +
                 below((VTD_PRQ_LAST_REG + 1 - VTD_PRQ_FIRST_REG) / size) *
                 size;
    uint64_t val = random_value(reg);

    vtd_prq_write(q, reg, val, size);
    model_write(&model, reg, val);
    if (size == 8) {
        model_write(&model, reg + 4, val >> 32);
    }
    assert_int_equal(vtd_prq_read(q, reg & ~7ull, 8),
                     model_read(&model, reg & ~7ull) |
                     (uint64_t)model_read(&model, (reg & ~7ull) + 4) << 32);
}

static void step_put(VTDPageRequestQueue *q)
{
    uint64_t desc[VTD_PRQ_DESC_QUADS] = {
        g_rand_int(rnd), g_rand_int(rnd), g_rand_int(rnd), g_rand_int(rnd),
    };
    bool was_due = model.ip && !model.im;
    VTDPRQResult want = model_put(&model, desc);
    bool event = below(2);

    assert_int_equal(vtd_prq_put(q, desc, &event), want);
    assert_int_equal(event, !was_due && model.ip && !model.im);
}

static void step_take(VTDPageRequestQueue *q)
{
    uint64_t addr = 0;
    uint32_t data = 0;
    bool due = model.ip && !model.im;

    assert_int_equal(vtd_prq_take_event(q, &addr, &data), due);
    if (due) {
        assert_int_equal(addr, (uint64_t)model.upper << 32 | model.addr);
        assert_int_equal(data, model.data);
        model.ip = false;
    }
}

/* Saves and loads; a hostile source sets all reserved bits in the stream */
static void step_migrate(VTDPageRequestQueue *q, bool hostile)
{
    uint32_t words[VTD_PRQ_WORDS];

    vtd_prq_save(q, words);
    vtd_prq_reset(q);
    if (hostile) {
        words[1] = words[3] = words[6] = UINT32_MAX;
        words[0] |= 0xfff8001f;
        words[7] |= ~3u;
        words[8] |= 0x3fffffff;
    }
    vtd_prq_load(q, words);
}

static void test_random(void **state)
{
    VTDPageRequestQueue *q = queues[false];
    uint64_t count = env_number("PRQ_TEST_STEPS", 300000);
    unsigned results[2] = { };

    model_reset(&model, false);
    for (uint64_t i = 0; i < count; i++) {
        unsigned what = below(100);

        if (what < 8) {
            step_write(q);
        } else if (what < 12) {
            step_take(q);
        } else if (what < 13) {
            step_migrate(q, below(2));
        } else if (!below(1000)) {
            bool eim = below(2);

            q = queues[eim];
            vtd_prq_reset(q);
            model_reset(&model, eim);
            memset(memory, 0, sizeof(memory));
        } else {
            results[model.pro] += 1;
            step_put(q);
        }
        check_registers(q);
    }
    assert_memory_equal(memory, model.memory, sizeof(memory));
    /* The sequences must have had enough of these results. */
    assert_true(results[0] > 100 && results[1] > 100);
}

/* 11.4.11: default values after reset */
static void test_reset(void **state)
{
    VTDPageRequestQueue *q = queues[true];

    for (hwaddr reg = VTD_PRQ_FIRST_REG; reg <= VTD_PRQ_LAST_REG; reg += 8) {
        vtd_prq_write(q, reg, UINT64_MAX, 8);
    }
    vtd_prq_reset(q);
    model_reset(&model, true);
    check_registers(q);
}

/* 7.5: migration leaves an event that is due to the destination */
static void test_save_event(void **state)
{
    const uint64_t desc[VTD_PRQ_DESC_QUADS] = { 1 };
    VTDPageRequestQueue *q = queues[false];
    bool event;
    uint64_t addr;
    uint32_t data;

    vtd_prq_reset(q);
    vtd_prq_write(q, DMAR_PQA_REG, MEM_FIRST, 8);
    vtd_prq_write(q, DMAR_PECTL_REG, 0, 4);
    assert_int_equal(vtd_prq_put(q, desc, &event), VTD_PRQ_DELIVERED);
    assert_true(event);
    assert_int_equal(vtd_vmstate_prq.pre_save(q), 0);
    vtd_prq_reset(q);
    assert_int_equal(vtd_vmstate_prq.post_load(q, 1), 0);
    assert_true(vtd_prq_take_event(q, &addr, &data));
    vtd_prq_reset(q);
    memset(memory, 0, sizeof(memory));
}

/* ---- Threads ---- */

#define THREADS     4
#define PER_THREAD  20000

static unsigned running;

/* Adds numbers to the queue, in order; tries dropped ones again */
static void *producer(void *opaque)
{
    uint64_t id = (uintptr_t)opaque;
    bool event;

    for (uint64_t i = 0; i < PER_THREAD; i++) {
        uint64_t desc[VTD_PRQ_DESC_QUADS] = { id << 32 | i, ~i, id, i };

        while (vtd_prq_put(queues[false], desc, &event) == VTD_PRQ_OVERFLOW) {
            g_thread_yield();
        }
    }
    qatomic_dec(&running);
    return NULL;
}

/* 7.4.1: several threads add descriptors while a guest empties the queue */
static void test_producers(void **state)
{
    QemuThread thread[THREADS];
    uint64_t next[THREADS] = { };
    uint64_t head = 0, sum = 0;

    vtd_prq_reset(queues[false]);
    vtd_prq_write(queues[false], DMAR_PQA_REG, MEM_FIRST, 8);
    running = THREADS;
    for (uintptr_t i = 0; i < THREADS; i++) {
        qemu_thread_create(&thread[i], "producer", producer, (void *)i,
                           QEMU_THREAD_JOINABLE);
    }
    while (sum < THREADS * PER_THREAD) {
        uint64_t tail = vtd_prq_read(queues[false], DMAR_PQT_REG, 8);

        for (; head != tail; head = (head + 32) % 0x1000) {
            uint64_t *desc = &memory[head / 8];
            uint64_t val = desc[0];

            assert_true(val >> 32 < THREADS);
            assert_int_equal((uint32_t)val, next[val >> 32]++);
            assert_int_equal(desc[1], ~(val & UINT32_MAX));
            assert_int_equal(desc[3], val & UINT32_MAX);
            sum++;
        }
        vtd_prq_write(queues[false], DMAR_PQH_REG, head, 8);
        vtd_prq_write(queues[false], DMAR_PRS_REG,
                      VTD_PRS_PRO | VTD_PRS_PPR, 4);
    }
    for (int i = 0; i < THREADS; i++) {
        qemu_thread_join(&thread[i]);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_save_event),
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_producers),
    };
    int ret;

    bql_lock();
    qemu_init_main_loop(&error_abort);
    rnd = g_rand_new_with_seed(env_seed("PRQ_TEST_SEED"));
    for (int eim = 0; eim < 2; eim++) {
        queues[eim] = vtd_prq_new(HAW, eim, write_memory, memory);
    }
    ret = cmocka_run_group_tests(tests, NULL, NULL);
    g_rand_free(rnd);
    return ret;
}
