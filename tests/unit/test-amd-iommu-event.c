/*
 * Unit tests of the event log of AMD-Vi
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * amd-iommu-event-test covers what plain amd-iommu can cause.  The rest is
 * here: events with a PASID and of translation requests, events of threads,
 * and random sequences.
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00; registers are named by their MMIO
 * offsets.
 *
 * Environment:
 *   EVENT_TEST_SEED    seed of the random sequences (printed; default: the
 *                      time)
 *   EVENT_TEST_STEPS   number of steps
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/bitops.h"
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "system/runstate.h"
#include "hw/i386/amd_iommu_event.h"
#include "test-random.h"

#define LOG         0x100000ull
#define LOG_ENTRIES 256
#define LOG_LENGTH  (8ull << 56)

/* More events than the queue between the threads and the main loop holds */
#define EVENTS      40
#define QUEUE       16

#define RUNNING     (AMDVI_MMIO_CONTROL_AMDVIEN | AMDVI_MMIO_CONTROL_EVENTLOGEN)

static AMDVIState *iommu;
static MemReentrancyGuard guard;
static uint64_t memory[LOG_ENTRIES][2];
static unsigned writes;

/* ---- Replacements for functions that the code under test calls ---- */

AddressSpace address_space_memory;

MemTxResult address_space_write(AddressSpace *as, hwaddr addr,
                                MemTxAttrs attrs, const void *buf, hwaddr len)
{
    g_assert_true(bql_locked());
    g_assert_true(attrs.memory);
    g_assert_cmpuint(len, ==, 16);
    g_assert_cmpuint(addr, >=, LOG);
    g_assert_cmpuint(addr, <, LOG + sizeof(memory));
    memcpy(memory[(addr - LOG) / 16], buf, 16);
    writes++;
    return MEMTX_OK;
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

void amdvi_set_status(AMDVIState *s, uint64_t bits)
{
    amdvi_assign_orq(s, AMDVI_MMIO_STATUS, bits);
}

static bool running;
static VMChangeStateHandler *vm_changed;
static void *vm_changed_opaque;

VMChangeStateEntry *qemu_add_vm_change_state_handler(VMChangeStateHandler *cb,
                                                     void *opaque)
{
    vm_changed = cb;
    vm_changed_opaque = opaque;
    return NULL;
}

bool runstate_is_running(void)
{
    return running;
}

/* ---- Helpers ---- */

static void set_running(bool now)
{
    running = now;
    vm_changed(vm_changed_opaque, now,
               now ? RUN_STATE_RUNNING : RUN_STATE_PAUSED);
}

static uint64_t reg(unsigned addr)
{
    return amdvi_readq(iommu, addr);
}

static uint64_t status(void)
{
    return reg(AMDVI_MMIO_STATUS);
}

static void write_control(uint64_t val)
{
    amdvi_writeq_raw(iommu, AMDVI_MMIO_CONTROL, val);
    amdvi_event_write_control(iommu);
}

static void write_base(uint64_t val)
{
    amdvi_writeq_raw(iommu, AMDVI_MMIO_EVENT_BASE, val);
    amdvi_event_write_base(iommu);
}

static void write_head(uint64_t val)
{
    amdvi_writeq_raw(iommu, AMDVI_MMIO_EVENT_HEAD, val);
    amdvi_event_write_head(iommu);
}

static void write_tail(uint64_t val)
{
    amdvi_writeq_raw(iommu, AMDVI_MMIO_EVENT_TAIL, val);
    amdvi_event_write_tail(iommu);
}

static void start(void)
{
    memset(iommu->mmior, 0, sizeof(iommu->mmior));
    memset(iommu->pci->dev.config, 0, PCI_CONFIG_SPACE_SIZE);
    amdvi_event_reset(iommu);
    set_running(true);
    write_base(LOG | LOG_LENGTH);
    write_control(RUNNING);
    writes = 0;
}

static bool aborted(void)
{
    return pci_get_word(iommu->pci->dev.config + PCI_STATUS) &
           PCI_STATUS_SIG_TARGET_ABORT;
}

static int setup(void **state)
{
    qemu_init_main_loop(&error_abort);
    iommu = g_new0(AMDVIState, 1);
    iommu->pci = g_new0(AMDVIPCIState, 1);
    iommu->pci->dev.config = g_malloc0(PCI_CONFIG_SPACE_SIZE);
    amdvi_event_init(iommu, &guard);
    return 0;
}

static int each_setup(void **state)
{
    bql_lock();
    start();
    return 0;
}

static int each_teardown(void **state)
{
    bql_unlock();
    return 0;
}

static void run_main_loop(void)
{
    main_loop_wait(true);
}

/* ---- Formats ---- */

/* The only event in the log, which is emptied */
static void expect(uint64_t lo, uint64_t hi, bool abort)
{
    assert_int_equal(writes, 1);
    assert_true(le64_to_cpu(memory[0][0]) == lo);
    assert_true(le64_to_cpu(memory[0][1]) == hi);
    assert_int_equal(aborted(), abort);
    start();
}

#define PLAIN   { .devid = 0xbeef, .domid = 0xabcd, .pasid = PCI_NO_PASID, \
                  .addr = 0xfedcba9876543213 }
#define TAGGED  { .devid = 0xbeef, .domid = 0xabcd, .pasid = 0x54321, \
                  .addr = 0xfedcba9876543213 }

/* GN, PASID[19:16] in bits 19:16, PASID[15:0] in bits 47:32 */
#define PASID_BITS  (1ull << 48 | 0x50000 | 0x4321ull << 32)
#define DOMAIN_BITS (0xabcdull << 32)

/* 2.5.2 */
static void test_illegal_dte(void **state)
{
    AMDVIPageFault plain = PLAIN, tagged = TAGGED;

    amdvi_event_illegal_dte(iommu, &plain);
    expect(1ull << 60 | 0xbeef, 0xfedcba9876543210, false);
    amdvi_event_illegal_dte(iommu, &tagged);
    expect(1ull << 60 | PASID_BITS | 0xbeef, 0xfedcba9876543210, false);
    plain.interrupt = plain.write = true;
    amdvi_event_illegal_dte(iommu, &plain);
    expect(1ull << 60 | 1ull << 51 | 1ull << 53 | 0xbeef, 0xfedcba9876543210,
           false);
    tagged.translation = tagged.reserved_bit = true;
    amdvi_event_illegal_dte(iommu, &tagged);
    expect(1ull << 60 | PASID_BITS | 1ull << 55 | 1ull << 56 | 0xbeef,
           0xfedcba9876543210, false);
}

/* 2.5.3: every flag on its own */
static void test_io_page_fault(void **state)
{
    static const struct {
        size_t offset;
        uint64_t bit;
    } flags[] = {
        { offsetof(AMDVIPageFault, interrupt), 1ull << 51 },
        { offsetof(AMDVIPageFault, present), 1ull << 52 },
        { offsetof(AMDVIPageFault, write), 1ull << 53 },
        { offsetof(AMDVIPageFault, permission), 1ull << 54 },
        { offsetof(AMDVIPageFault, reserved_bit), 1ull << 55 },
        { offsetof(AMDVIPageFault, translation), 1ull << 56 },
    };
    const uint64_t code = 2ull << 60 | 0xbeef;
    const uint64_t addr = 0xfedcba9876543213;
    AMDVIPageFault privileged = TAGGED;

    for (unsigned i = 0; i < ARRAY_SIZE(flags); i++) {
        AMDVIPageFault plain = PLAIN, tagged = TAGGED;

        *(bool *)((char *)&plain + flags[i].offset) = true;
        amdvi_event_io_page_fault(iommu, &plain);
        expect(code | DOMAIN_BITS | flags[i].bit, addr, true);
        *(bool *)((char *)&tagged + flags[i].offset) = true;
        amdvi_event_io_page_fault(iommu, &tagged);
        /* US, bit 50, unless the request is privileged */
        expect(code | PASID_BITS | 1ull << 50 | flags[i].bit, addr, true);
    }
    privileged.privilege = true;
    amdvi_event_io_page_fault(iommu, &privileged);
    expect(code | PASID_BITS, addr, true);
}

/* 2.5.4, 2.5.5: Type 58:57 is 01b, a master abort */
static void test_table_errors(void **state)
{
    AMDVIPageFault plain = PLAIN, tagged = TAGGED;

    amdvi_event_dev_tab_error(iommu, &plain, 0x123456789abe0);
    expect(3ull << 60 | 1ull << 57 | 0xbeef, 0x123456789abe0, true);
    tagged.translation = true;
    amdvi_event_dev_tab_error(iommu, &tagged, 0x123456789abe0);
    expect(3ull << 60 | 1ull << 57 | 1ull << 56 | 0xbeef, 0x123456789abe0,
           true);
    amdvi_event_page_tab_error(iommu, &tagged, 0x123456789abc8);
    expect(4ull << 60 | 1ull << 57 | 1ull << 56 | PASID_BITS | 0xbeef,
           0x123456789abc8, true);
    plain.write = true;
    amdvi_event_page_tab_error(iommu, &plain, 0x123456789abc8);
    expect(4ull << 60 | 1ull << 57 | 1ull << 53 | DOMAIN_BITS | 0xbeef,
           0x123456789abc8, true);
}

/* 2.5.6, 2.5.7 */
static void test_commands(void **state)
{
    amdvi_event_illegal_command(iommu, 0x123456789abc0);
    expect(5ull << 60, 0x123456789abc0, false);
    amdvi_event_command_error(iommu, 0x123456789abc0);
    expect(6ull << 60 | 1ull << 57, 0x123456789abc0, true);
}

/* 2.5.9: Type is in bits 59:57 */
static void test_invalid_request(void **state)
{
    AMDVIPageFault plain = PLAIN, tagged = TAGGED;

    plain.write = plain.interrupt = true;
    amdvi_event_invalid_request(iommu, &plain, AMDVI_INVALID_REQUEST_ACCESS);
    expect(8ull << 60 | 0xbeef, plain.addr, false);
    tagged.translation = true;
    amdvi_event_invalid_request(iommu, &tagged, AMDVI_INVALID_REQUEST_ATS);
    expect(8ull << 60 | 1ull << 57 | 1ull << 56 | PASID_BITS | 0xbeef,
           plain.addr, false);
}

/* ---- Events of threads ---- */

static void *event_thread(void *opaque)
{
    g_assert_false(bql_locked());
    for (unsigned i = 0; i < GPOINTER_TO_UINT(opaque); i++) {
        amdvi_event_log(iommu, i, ~i, i == 2);
    }
    return NULL;
}

/* Called with the BQL held, which the thread does not need */
static void log_in_thread(unsigned events)
{
    QemuThread thread;

    qemu_thread_create(&thread, "event", event_thread,
                       GUINT_TO_POINTER(events), QEMU_THREAD_JOINABLE);
    qemu_thread_join(&thread);
    assert_int_equal(writes, 0);
    assert_false(aborted());
}

/* The BQL protects the registers: the main loop logs events, in order */
static void test_thread_order(void **state)
{
    log_in_thread(3);
    run_main_loop();
    assert_int_equal(writes, 3);
    assert_true(aborted());
    for (unsigned i = 0; i < 3; i++) {
        assert_int_equal(le64_to_cpu(memory[i][0]), i);
    }
    run_main_loop();
    assert_int_equal(writes, 3);
}

/* No device can make the queue grow */
static void test_thread_many(void **state)
{
    log_in_thread(EVENTS);
    run_main_loop();
    assert_int_equal(writes, QUEUE);
    assert_int_equal(reg(AMDVI_MMIO_EVENT_TAIL), QUEUE * 16);
    assert_int_equal(le64_to_cpu(memory[QUEUE - 1][0]), QUEUE - 1);
    start();
    log_in_thread(1);
    run_main_loop();
    assert_int_equal(writes, 1);
}

/* A reset forgets events that are not logged yet */
static void test_thread_reset(void **state)
{
    log_in_thread(5);
    start();
    run_main_loop();
    assert_int_equal(writes, 0);
    assert_int_equal(reg(AMDVI_MMIO_EVENT_TAIL), 0);
}

/*
 * Memory of a stopped machine does not change, since migration has copied it:
 * events of threads are logged when the machine stops, or after it starts.
 */
static void test_thread_stop(void **state)
{
    log_in_thread(2);
    set_running(false);
    assert_int_equal(writes, 2);
    run_main_loop();
    assert_int_equal(writes, 2);

    start();
    set_running(false);
    log_in_thread(3);
    run_main_loop();
    assert_int_equal(writes, 0);
    set_running(true);
    assert_int_equal(writes, 3);
}

/* ---- A plain model, with the entries in a list (MMIO 0010h to 2020h) ---- */

typedef struct Model {
    bool enabled;
    bool run;
    bool overflow;
    unsigned head;
    unsigned tail;
} Model;

static void model_control(Model *m, uint64_t control)
{
    m->enabled = (control & RUNNING) == RUNNING;
    m->run = m->enabled && !m->overflow;
}

static void model_event(Model *m)
{
    if (!m->run) {
        return;
    }
    if ((m->tail + 1) % LOG_ENTRIES == m->head) {
        m->overflow = true;
        m->run = false;
    } else {
        m->tail = (m->tail + 1) % LOG_ENTRIES;
    }
}

static void random_step(Model *m, uint64_t *rnd, uint64_t step)
{
    unsigned last = m->tail, bits;

    switch (random64(rnd) % 40) {
    case 0:
        bits = random64(rnd);
        write_control((bits & 1 ? AMDVI_MMIO_CONTROL_AMDVIEN : 0) |
                      (bits & 2 ? AMDVI_MMIO_CONTROL_EVENTLOGEN : 0));
        model_control(m, reg(AMDVI_MMIO_CONTROL));
        break;
    case 1:
        write_control(RUNNING);
        model_control(m, RUNNING);
        break;
    case 2:
        amdvi_assign_andq(iommu, AMDVI_MMIO_STATUS,
                          ~(uint64_t)AMDVI_MMIO_STATUS_EVT_OVF);
        m->overflow = false;
        break;
    case 3:
        m->head = m->tail;
        write_head(m->head * 16);
        break;
    case 4:
        /* Also beyond the end of the log, where pointers wrap around */
        m->head = random64(rnd) % LOG_ENTRIES;
        write_head((m->head + LOG_ENTRIES * (random64(rnd) % 9)) * 16);
        break;
    case 5:
        if (random64(rnd) & 1) {
            m->tail = random64(rnd) % LOG_ENTRIES;
            write_tail(m->tail * 16);
        } else {
            m->head = m->tail = 0;
            write_base(LOG | LOG_LENGTH);
        }
        break;
    default:
        writes = 0;
        amdvi_event_log(iommu, step, ~step, false);
        model_event(m);
        if (m->tail != last) {
            assert_int_equal(writes, 1);
            assert_true(le64_to_cpu(memory[last][0]) == step);
            assert_true(le64_to_cpu(memory[last][1]) == ~step);
        } else {
            assert_int_equal(writes, 0);
        }
        break;
    }
}

static void test_random(void **state)
{
    uint64_t rnd = env_seed("EVENT_TEST_SEED");
    uint64_t steps = env_number("EVENT_TEST_STEPS", 200000);
    Model m = { .enabled = true, .run = true };

    for (uint64_t i = 0; i < steps; i++) {
        random_step(&m, &rnd, i);
        assert_int_equal(!!(status() & AMDVI_MMIO_STATUS_EVT_RUN), m.run);
        assert_int_equal(!!(status() & AMDVI_MMIO_STATUS_EVT_OVF),
                         m.overflow);
        assert_int_equal(reg(AMDVI_MMIO_EVENT_TAIL), m.tail * 16);
    }
}

#define TEST(name) \
    cmocka_unit_test_setup_teardown(name, each_setup, each_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(test_illegal_dte),
        TEST(test_io_page_fault),
        TEST(test_table_errors),
        TEST(test_commands),
        TEST(test_invalid_request),
        TEST(test_thread_order),
        TEST(test_thread_many),
        TEST(test_thread_reset),
        TEST(test_thread_stop),
        TEST(test_random),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
