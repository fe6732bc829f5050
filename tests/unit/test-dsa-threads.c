/*
 * Unit tests of the threads of the DSA model
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Engines, work queues, commands and portals, with fake memory, a fake main
 * loop and fake processors. Processors submit descriptors during commands,
 * resets, halts and stops of the machine. Each completion record has a number,
 * and must be written at most once; the device must not access memory while it
 * is suspended. Errors of invalid descriptors go to the event log, from which
 * the processors remove them.
 *
 * Environment:
 *   DSA_TEST_SEED  seed of the random choices (printed; default: the time)
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/rcu.h"
#include "hw/pci/msix.h"
#include "hw/dma/dsa/dsa-internal.h"

#define PROCESSORS      2
#define ENGINES         3
#define WQS             2
#define WQ_SIZE         8
#define RECORDS         (1 << 20)
#define PIECE           4096
/* Memory after the records contains zeroes, and from ONES on ones */
#define DATA            0x10000000
#define ONES            0x40000000

static uint8_t config_space[PCIE_CONFIG_SPACE_SIZE];
static DSAState dsa;
static uint32_t seed;

/* ---- Fake memory ---- */

/* Number of writes to the first quadword of each completion record */
static int records[RECORDS];
static int accesses;            /* in progress */
static bool suspended;
static int interrupts;
/* One-byte reads, as for Destination Readback */
static hwaddr readbacks[4];
static unsigned nr_readbacks;
static bool has_outstanding_requests;
/* Reads block while it is set, until requests are suspended */
static bool slow;
static int slow_accesses;
static int settles;

static bool access_begin(void)
{
    qatomic_inc(&accesses);
    smp_mb__after_rmw();
    if (qatomic_read(&suspended)) {
        qatomic_dec(&accesses);
        return false;
    }
    return true;
}

static void access_end(void)
{
    qatomic_dec(&accesses);
}

void pci_ats_dma_suspend(PCIATSDMA *dma)
{
    qatomic_set_mb(&suspended, true);
    while (qatomic_read(&accesses)) {
        g_usleep(1);
    }
}

void pci_ats_dma_resume(PCIATSDMA *dma)
{
    qatomic_set(&suspended, false);
}

bool pci_ats_dma_settle(PCIATSDMA *dma, uint32_t pasid)
{
    qatomic_inc(&settles);
    while (qatomic_read(&has_outstanding_requests)) {
        if (qatomic_read(&suspended)) {
            return false;
        }
        g_usleep(10);
    }
    return true;
}

/* Descriptors, lists and completion records */
static int fake_copy(hwaddr addr, void *buf, size_t len, DMADirection dir,
                     size_t *moved)
{
    if (qatomic_read(&slow)) {
        qatomic_inc(&slow_accesses);
        while (qatomic_read(&slow) && !qatomic_read(&suspended)) {
            g_usleep(10);
        }
    }
    if (!access_begin()) {
        return -ECANCELED;
    }
    if (dir == DMA_DIRECTION_TO_DEVICE) {
        /* The data may be a descriptor list, which contains No-ops */
        memset(buf, addr >= ONES ? 0xff : 0, len);
        if (len == 1) {
            unsigned n = qatomic_fetch_inc(&nr_readbacks);

            qatomic_set(&readbacks[n % ARRAY_SIZE(readbacks)], addr);
        }
    } else if (len == 8 && addr < DATA) {
        qatomic_inc(&records[addr / DSA_CR_SIZE]);
    }
    *moved = len;
    access_end();
    return 0;
}

static int fake_visit(const PCIATSDMATransfer *transfer, size_t *visited)
{
    uint8_t memory[PCI_ATS_DMA_RANGES][PIECE] = { };
    void *const data[] = { memory[0], memory[1], memory[2] };
    bool more = true;

    while (more && *visited < transfer->len) {
        size_t piece = MIN(transfer->len - *visited, PIECE);

        if (!access_begin()) {
            return -ECANCELED;
        }
        more = transfer->visit(transfer->opaque, data, piece);
        *visited += piece;
        access_end();
    }
    return 0;
}

/* ---- Fake event log ---- */

#define LOG             0x50000000
#define LOG_SIZE        64

/* Engines write to the log, processors read it: only the lock protects it */
static uint8_t event_log[LOG_SIZE][DSA_EVENT_SIZE];
static int events, bad_events;

static int fake_log(hwaddr addr, const void *buf, size_t len)
{
    if (!access_begin()) {
        return -ECANCELED;
    }
    memcpy(event_log[(addr - LOG) / DSA_EVENT_SIZE], buf, len);
    access_end();
    return 0;
}

int pci_ats_dma_run(PCIATSDMA *dma, const PCIATSDMATransfer *transfer,
                    PCIATSDMAResult *result)
{
    hwaddr addr = transfer->range[0].addr;
    size_t moved = 0;
    int ret;

    if (!transfer->buf) {
        ret = fake_visit(transfer, &moved);
    } else if (result) {
        ret = fake_copy(addr, transfer->buf, transfer->len,
                        transfer->range[0].dir, &moved);
    } else {
        ret = fake_log(addr, transfer->buf, transfer->len);
    }
    if (result) {
        *result = (PCIATSDMAResult) { .moved = moved };
    }
    return ret;
}

/* Read the log as an interrupt handler does */
static void take_events(void)
{
    uint64_t status, head;

    QEMU_LOCK_GUARD(&dsa.lock);
    status = dsa_config_read(&dsa, A_DSA_EVLSTATUS);
    head = FIELD_EX64(status, DSA_EVLSTATUS, HEAD);
    while (head != FIELD_EX64(status, DSA_EVLSTATUS, TAIL)) {
        events++;
        bad_events += event_log[head][1] != DSA_STATUS_CR_ALIGN;
        memset(event_log[head], 0, DSA_EVENT_SIZE);
        head = (head + 1) % LOG_SIZE;
    }
    dsa_config_write(&dsa, A_DSA_EVLSTATUS, head, UINT16_MAX);
}

/* ---- Fake function ---- */

static const TypeInfo types[] = {
    {
        .name = TYPE_PCI_DEVICE,
        .parent = TYPE_OBJECT,
        .instance_size = sizeof(PCIDevice),
    }, {
        .name = TYPE_DSA,
        .parent = TYPE_PCI_DEVICE,
        .instance_size = sizeof(DSAState),
    },
};

bool pcie_bus_master_enabled(const PCIDevice *dev)
{
    return true;
}

bool pcie_ats_enabled(const PCIDevice *dev)
{
    return true;
}

bool pcie_pasid_enabled(const PCIDevice *dev)
{
    return true;
}

bool pcie_pasid_priv_enabled(const PCIDevice *dev)
{
    return true;
}

bool pcie_pri_enabled(const PCIDevice *dev)
{
    return true;
}

void msix_notify(PCIDevice *dev, unsigned vector)
{
    interrupts++;
}

void memory_region_init_io(MemoryRegion *mr, Object *owner,
                           const MemoryRegionOps *ops, void *opaque,
                           const char *name, uint64_t size)
{
}

/* ---- Fake main loop, and the BQL ---- */

static QemuMutex bql;
static QemuMutex loop_lock;
static QemuCond loop_cond;
static bool loop_scheduled, loop_stop;
static QemuThread loop_thread;

void qemu_bh_schedule(QEMUBH *bh)
{
    QEMU_LOCK_GUARD(&loop_lock);
    loop_scheduled = true;
    qemu_cond_signal(&loop_cond);
}

static bool loop_next(void)
{
    QEMU_LOCK_GUARD(&loop_lock);
    while (!loop_scheduled && !loop_stop) {
        qemu_cond_wait(&loop_cond, &loop_lock);
    }
    loop_scheduled = false;
    return !loop_stop;
}

static void *loop(void *opaque)
{
    while (loop_next()) {
        QEMU_LOCK_GUARD(&bql);
        dsa_bh(&dsa);
    }
    return NULL;
}

static void loop_end(void)
{
    WITH_QEMU_LOCK_GUARD(&loop_lock) {
        loop_stop = true;
        qemu_cond_signal(&loop_cond);
    }
    qemu_thread_join(&loop_thread);
}

/* ---- The driver; called with the BQL held, as for register accesses ---- */

static void command_begin(DSACommandCode code, uint32_t operand)
{
    QEMU_LOCK_GUARD(&dsa.lock);
    dsa_command_submit(&dsa, code << R_DSA_CMD_CODE_SHIFT | operand);
}

static uint32_t read_register(hwaddr addr)
{
    QEMU_LOCK_GUARD(&dsa.lock);
    return dsa_config_read(&dsa, addr);
}

/* Releases the BQL temporarily: the end of a command needs it */
static uint32_t command_wait(void)
{
    uint32_t status;

    while ((status = read_register(A_DSA_CMDSTATUS)) &
           R_DSA_CMDSTATUS_ACTIVE_MASK) {
        qemu_mutex_unlock(&bql);
        g_usleep(10);
        qemu_mutex_lock(&bql);
    }
    return status;
}

static uint32_t command(DSACommandCode code, uint32_t operand)
{
    command_begin(code, operand);
    return command_wait();
}

static void write_register(hwaddr addr, uint64_t val)
{
    QEMU_LOCK_GUARD(&dsa.lock);
    dsa_config_write(&dsa, addr, val, UINT64_MAX);
}

/* WQ 0 is dedicated, WQ 1 shared; all engines process both */
static void enable(void)
{
    write_register(A_DSA_EVLCFG, LOG);
    write_register(A_DSA_EVLCFG + 8, LOG_SIZE);
    write_register(A_DSA_GENCFG,
                   DSA_READ_BUFFERS | R_DSA_GENCFG_EVENT_LOG_MASK);
    write_register(DSA_GRPCFG_OFFSET + DSA_GRPCFG_WQS, 3);
    write_register(DSA_GRPCFG_OFFSET + DSA_GRPCFG_ENGINES,
                   MAKE_64BIT_MASK(0, ENGINES));
    for (unsigned i = 0; i < WQS; i++) {
        unsigned wq = DSA_WQCFG_OFFSET + i * DSA_WQCFG_SIZE;

        write_register(wq, WQ_SIZE |
                       (uint64_t)WQ_SIZE << R_DSA_WQCFG0_THRESHOLD_SHIFT);
        write_register(wq + 8, (i ? DSA_WQ_SHARED : DSA_WQ_DEDICATED) |
                       R_DSA_WQCFG1_PASID_EN_MASK |
                       1 << R_DSA_WQCFG1_PRIORITY_SHIFT |
                       31ULL << R_DSA_WQCFG1_MAX_TRANSFER_SHIFT |
                       10ULL << R_DSA_WQCFG1_MAX_BATCH_SHIFT);
    }
    assert_int_equal(command(DSA_CMD_ENABLE_DEVICE, 0), 0);
    for (unsigned i = 0; i < WQS; i++) {
        assert_int_equal(command(DSA_CMD_ENABLE_WQ, i), 0);
    }
}

/* ---- Processors ---- */

static int next_record;
static int taken[RECORDS];      /* the device has accepted the descriptor */
static bool processors_stop;
static QemuThread processor_thread[PROCESSORS];

static void make_descriptor(GRand *rng, uint8_t *raw, unsigned record)
{
    static const uint8_t operations[] = {
        DSA_OP_NOOP, DSA_OP_BATCH, DSA_OP_DRAIN, DSA_OP_MEMORY_MOVE,
        DSA_OP_FILL, DSA_OP_COMPARE, DSA_OP_CRC, DSA_OP_CREATE_DELTA,
        DSA_OP_DIF_INSERT,
    };
    uint8_t op = operations[g_rand_int_range(rng, 0, ARRAY_SIZE(operations))];
    uint32_t size = g_rand_int_range(rng, 1, 200) * 512;

    memset(raw, 0, DSA_DESC_SIZE);
    stl_le_p(raw + DSA_DESC_FLAGS,
             DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR);
    raw[DSA_DESC_OPERATION] = op;
    stq_le_p(raw + DSA_DESC_COMPLETION_ADDR, (uint64_t)record * DSA_CR_SIZE);
    if (op == DSA_OP_NOOP || op == DSA_OP_DRAIN) {
        return;
    }
    stq_le_p(raw + DSA_DESC_SRC, 0x10000000);
    stq_le_p(raw + DSA_DESC_DST, 0x20000000);
    stl_le_p(raw + DSA_DESC_TRANSFER_SIZE, size);
    if (op == DSA_OP_BATCH) {
        stq_le_p(raw + DSA_DESC_DST, 0);
        stl_le_p(raw + DSA_DESC_TRANSFER_SIZE, size / 512 + 1);
    } else if (op == DSA_OP_CRC) {
        stq_le_p(raw + DSA_DESC_DST, 0);
    } else if (op == DSA_OP_CREATE_DELTA) {
        stq_le_p(raw + DSA_DESC_DELTA_ADDR, 0x30000000);
        stl_le_p(raw + DSA_DESC_MAX_DELTA_SIZE, 80);
    }
}

/* Submit only to a WQ with space: a posted write to a full one is lost */
static bool submit(const uint8_t *raw, unsigned wq)
{
    hwaddr portal = wq * DSA_PORTALS_PER_WQ * DSA_PORTAL_SIZE;

    if (wq) {
        return dsa_portal_enqueue_store((DirectStoreTarget *)&dsa, &dsa.portals,
                                        portal, raw, MEMTXATTRS_UNSPECIFIED);
    }
    dsa_portal_direct_store((DirectStoreTarget *)&dsa, &dsa.portals, portal,
                            raw, MEMTXATTRS_UNSPECIFIED);
    return false;
}

static void *processor(void *opaque)
{
    unsigned wq = GPOINTER_TO_UINT(opaque) % WQS;
    GRand *rng = g_rand_new_with_seed(qatomic_fetch_inc(&seed));
    uint8_t raw[DSA_DESC_SIZE];

    while (!qatomic_read(&processors_stop)) {
        unsigned record = qatomic_fetch_inc(&next_record);

        if (record >= RECORDS) {
            break;
        }
        make_descriptor(rng, raw, DSA_CR_SIZE);
        raw[DSA_DESC_COMPLETION_ADDR] = 1;
        submit(raw, wq);
        take_events();
        make_descriptor(rng, raw, record);
        if (submit(raw, wq)) {
            qatomic_set(&taken[record], 1);
        } else {
            g_usleep(1);
        }
    }
    g_rand_free(rng);
    return NULL;
}

/* ---- Setup ---- */

static void start_processors(void)
{
    for (unsigned i = 0; i < PROCESSORS; i++) {
        qemu_thread_create(&processor_thread[i], "processor", processor,
                           GUINT_TO_POINTER(i), QEMU_THREAD_JOINABLE);
    }
}

static void start(void)
{
    object_initialize(&dsa, sizeof(dsa), TYPE_DSA);
    dsa.num_engines = ENGINES;
    dsa.num_groups = 1;
    dsa.num_wqs = WQS;
    dsa.total_wq_size = WQS * WQ_SIZE;
    dsa.pri_capacity = 512;
    dsa.parent_obj.config = config_space;
    dsa.parent_obj.exp.pri_cap = PCI_CONFIG_SPACE_SIZE;
    pci_set_long(config_space + PCI_CONFIG_SPACE_SIZE + PCI_PRI_ALLOC_REQ,
                 dsa.pri_capacity);
    dsa.has_event_log = true;
    dsa.running = true;
    qemu_mutex_init(&dsa.lock);
    qemu_cond_init(&dsa.completed);
    for (unsigned i = 0; i < WQS; i++) {
        dsa.wqs[i].capacity = dsa.total_wq_size;
        dsa.wqs[i].ring = g_new0(DSAWork, dsa.total_wq_size);
    }
    memset(records, 0, sizeof(records));
    memset(taken, 0, sizeof(taken));
    next_record = 0;
    loop_stop = processors_stop = suspended = false;
    dsa_config_reset(&dsa);
    dsa_engines_start(&dsa);
    qemu_thread_create(&loop_thread, "loop", loop, NULL, QEMU_THREAD_JOINABLE);
    qemu_mutex_lock(&bql);
    enable();
}

static void stop_processors(void)
{
    qatomic_set(&processors_stop, true);
    for (unsigned i = 0; i < PROCESSORS; i++) {
        qemu_thread_join(&processor_thread[i]);
    }
}

static void stop(void)
{
    dsa_engines_stop(&dsa);
    qemu_mutex_unlock(&bql);
    loop_end();
    assert_int_equal(accesses, 0);
    assert_int_equal(bad_events, 0);
    for (unsigned i = 0; i < WQS; i++) {
        g_free(dsa.wqs[i].ring);
    }
    qemu_cond_destroy(&dsa.completed);
    qemu_mutex_destroy(&dsa.lock);
    object_unref(OBJECT(&dsa));
}

/* Returns the number of written records; none may be written twice */
static unsigned count_records(void)
{
    unsigned n = 0;

    for (unsigned i = 0; i < MIN(next_record, RECORDS); i++) {
        unsigned written = qatomic_read(&records[i]);

        assert_in_range(written, 0, 1);
        n += written;
    }
    return n;
}

/* Wait until the processors have submitted more descriptors */
static void wait_for_processors(void)
{
    int before = qatomic_read(&next_record);

    while (qatomic_read(&next_record) < MIN(before + 10, RECORDS)) {
        g_usleep(10);
    }
}

static void expect_quiet(void)
{
    assert_int_equal(qatomic_read(&accesses), 0);
    for (unsigned i = 0; i < ENGINES; i++) {
        assert_false(dsa.engines[i].executing);
    }
}

/* ---- Tests ---- */

/* The machine is stopped and continued during drains: no descriptor is lost */
static void test_stop(void **state)
{
    start();
    start_processors();
    for (int i = 0; i < 300; i++) {
        wait_for_processors();
        command_begin(i % 2 ? DSA_CMD_DRAIN_ALL : DSA_CMD_DRAIN_PASID, 0);
        dsa_set_running(&dsa, false);
        expect_quiet();
        dsa_set_running(&dsa, true);
        assert_int_equal(command_wait(), 0);
    }
    stop_processors();
    assert_int_equal(command(DSA_CMD_DISABLE_DEVICE, 0), 0);
    for (unsigned i = 0; i < MIN(next_record, RECORDS); i++) {
        assert_true(records[i] >= taken[i]);
    }
    assert_true(count_records() > 0);
    assert_true(events > 0);
    stop();
}

static void disturb(GRand *rng)
{
    switch (g_rand_int_range(rng, 0, 9)) {
    case 0:
        command(DSA_CMD_ABORT_ALL, 0);
        break;
    case 1:
        command(DSA_CMD_RESET_WQ, 3);
        command(DSA_CMD_RESET_DEVICE, 0);
        enable();
        break;
    case 2:
        command(DSA_CMD_DISABLE_WQ, 1);
        command(DSA_CMD_ENABLE_WQ, 0);
        break;
    case 3:
        /* While a command is in progress */
        command_begin(DSA_CMD_DRAIN_ALL, 0);
        dsa_reset_state(&dsa);
        expect_quiet();
        enable();
        break;
    case 4:
        command_begin(DSA_CMD_ABORT_WQ, 2);
        dsa_halt(&dsa);
        assert_int_equal(read_register(A_DSA_GENSTS) & 3, DSA_HALTED);
        command_wait();
        dsa_reset_state(&dsa);
        enable();
        break;
    case 5:
        dsa_set_running(&dsa, false);
        expect_quiet();
        dsa_reset_state(&dsa);
        dsa_set_running(&dsa, true);
        enable();
        break;
    case 6:
        write_register(DSA_WQCFG_OFFSET + 24, R_DSA_WQCFG3_OCC_INT_MASK);
        break;
    default:
        dsa_set_running(&dsa, false);
        expect_quiet();
        dsa_set_running(&dsa, true);
        break;
    }
}

/*
 * Submit a descriptor whose record is number @record, and wait for the record
 */
static void run(uint8_t *raw, unsigned record)
{
    submit(raw, 0);
    while (!qatomic_read(&records[record])) {
        g_usleep(10);
    }
}

static void make_one(uint8_t *raw, DSAOperation op, uint32_t flags,
                     unsigned record)
{
    memset(raw, 0, DSA_DESC_SIZE);
    stl_le_p(raw + DSA_DESC_FLAGS,
             DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR | flags);
    raw[DSA_DESC_OPERATION] = op;
    stq_le_p(raw + DSA_DESC_COMPLETION_ADDR, (uint64_t)record * DSA_CR_SIZE);
}

/* 3.15: a drain waits for the interrupts of earlier descriptors */
static void test_drain_interrupt(void **state)
{
    uint8_t raw[DSA_DESC_SIZE];

    start();
    make_one(raw, DSA_OP_NOOP, DSA_FLAG_REQUEST_INT, 0);
    stw_le_p(raw + DSA_DESC_INT_HANDLE, 1);
    interrupts = 0;
    write_register(DSA_MSIXPERM_OFFSET + 8,
                   R_DSA_MSIXPERM_PASID_EN_MASK);
    WITH_QEMU_LOCK_GUARD(&dsa.lock) {
        dsa.gencfg |= R_DSA_GENCFG_USER_INT_MASK;
    }
    submit(raw, 0);
    /* The bottom half cannot run: it needs the BQL */
    for (bool raised = false; !raised; ) {
        QEMU_LOCK_GUARD(&dsa.lock);
        raised = dsa.raised[1] && !dsa.engines[0].busy &&
                 !dsa.engines[1].busy && !dsa.engines[2].busy;
    }
    command_begin(DSA_CMD_DRAIN_ALL, 0);
    assert_int_equal(interrupts, 0);
    assert_int_equal(read_register(A_DSA_CMDSTATUS),
                     R_DSA_CMDSTATUS_ACTIVE_MASK);
    assert_int_equal(command_wait(), 0);
    assert_int_equal(interrupts, 1);
    stop();
}

/* 3.15: a drain waits for responses to page requests from before a stop */
static void test_drain_requests(void **state)
{
    uint8_t raw[DSA_DESC_SIZE];
    int before;

    start();
    make_one(raw, DSA_OP_BATCH, 0, 0);
    stq_le_p(raw + DSA_DESC_SRC, 0x10000000);
    stl_le_p(raw + DSA_DESC_TRANSFER_SIZE, 1024);
    qatomic_set(&slow, true);
    submit(raw, 0);
    while (!qatomic_read(&slow_accesses)) {
        g_usleep(10);
    }
    qatomic_set(&has_outstanding_requests, true);
    dsa_set_running(&dsa, false);
    expect_quiet();
    qatomic_set(&slow, false);
    before = qatomic_read(&settles);
    dsa_set_running(&dsa, true);
    command_begin(DSA_CMD_ABORT_ALL, 0);
    /* The same if the machine is stopped again */
    while (qatomic_read(&settles) == before) {
        g_usleep(10);
    }
    dsa_set_running(&dsa, false);
    expect_quiet();
    before = qatomic_read(&settles);
    dsa_set_running(&dsa, true);
    while (qatomic_read(&settles) == before) {
        g_usleep(10);
    }
    assert_int_equal(read_register(A_DSA_CMDSTATUS),
                     R_DSA_CMDSTATUS_ACTIVE_MASK);
    qatomic_set(&has_outstanding_requests, false);
    assert_int_equal(command_wait(), 0);
    stop();
}

/* 8.1.3: Destination Readback reads the last byte of each destination */
static void test_readback(void **state)
{
    static const struct {
        DSAOperation op;
        uint64_t dst;
        uint32_t size;
        unsigned offset;        /* of another address in the descriptor */
        uint64_t address;
        unsigned size_offset;   /* and of another size */
        uint32_t size2;
        unsigned n;
        hwaddr expected[2];
    } cases[] = {
        { DSA_OP_MEMORY_MOVE, 0x20000000, 0x123, 0, 0, 0, 0, 1,
          { 0x20000122 } },
        { DSA_OP_FILL, 0x20000000, 0x3000, 0, 0, 0, 0, 1, { 0x20002fff } },
        { DSA_OP_DUALCAST, 0x20000000, 0x1000, DSA_DESC_DST2, 0x30000000, 0, 0,
          2, { 0x20000fff, 0x30000fff } },
        /* No deltas, and 8 deltas */
        { DSA_OP_CREATE_DELTA, 0x20000000, 0x40, DSA_DESC_DELTA_ADDR,
          0x30000000, DSA_DESC_MAX_DELTA_SIZE, 80, 0 },
        { DSA_OP_CREATE_DELTA, ONES, 0x40, DSA_DESC_DELTA_ADDR,
          0x30000000, DSA_DESC_MAX_DELTA_SIZE, 100, 1, { 0x3000004f } },
        /* One delta with offset 0 */
        { DSA_OP_APPLY_DELTA, 0x20000000, 0x1000, 0, 0, DSA_DESC_DELTA_SIZE, 10,
          1, { 0x20000007 } },
        { DSA_OP_COPY_CRC, 0x20000000, 0x77, 0, 0, 0, 0, 1, { 0x20000076 } },
        { DSA_OP_DIF_INSERT, 0x20000000, 2 * 512, 0, 0, 0, 0, 1,
          { 0x2000040f } },
        { DSA_OP_CACHE_FLUSH, 0x20000000, 0x10, 0, 0, 0, 0, 1,
          { 0x2000000f } },
    };
    uint8_t raw[DSA_DESC_SIZE];

    start();
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        make_one(raw, cases[i].op, DSA_FLAG_DEST_READBACK, i);
        if (cases[i].op != DSA_OP_CACHE_FLUSH) {
            stq_le_p(raw + DSA_DESC_SRC, DATA);
        }
        stq_le_p(raw + DSA_DESC_DST, cases[i].dst);
        stl_le_p(raw + DSA_DESC_TRANSFER_SIZE, cases[i].size);
        if (cases[i].offset) {
            stq_le_p(raw + cases[i].offset, cases[i].address);
        }
        if (cases[i].size_offset) {
            stl_le_p(raw + cases[i].size_offset, cases[i].size2);
        }
        qatomic_set(&nr_readbacks, 0);
        run(raw, i);
        assert_int_equal(qatomic_read(&nr_readbacks), cases[i].n);
        for (unsigned j = 0; j < cases[i].n; j++) {
            assert_int_equal(qatomic_read(&readbacks[j]), cases[i].expected[j]);
        }
    }
    stop();
}

/* Random commands and resets: no record is written twice, and nothing hangs */
static void test_random_commands(void **state)
{
    GRand *rng = g_rand_new_with_seed(qatomic_fetch_inc(&seed));

    start();
    start_processors();
    for (int i = 0; i < 1000; i++) {
        wait_for_processors();
        disturb(rng);
    }
    stop_processors();
    count_records();
    stop();
    g_rand_free(rng);
}

/* Unplug the device while all threads are busy */
static void test_unplug(void **state)
{
    for (int i = 0; i < 30; i++) {
        start();
        start_processors();
        g_usleep(i * 10);
        dsa_engines_pause(&dsa);
        stop_processors();
        dsa_engines_resume(&dsa);
        stop();
        count_records();
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_drain_interrupt),
        cmocka_unit_test(test_drain_requests),
        cmocka_unit_test(test_readback),
        cmocka_unit_test(test_stop),
        cmocka_unit_test(test_random_commands),
        cmocka_unit_test(test_unplug),
    };
    const char *from = getenv("DSA_TEST_SEED");

    seed = from ? strtoul(from, NULL, 0) : time(NULL);
    fprintf(stderr, "# DSA_TEST_SEED=%" PRIu32 "\n", seed);
    module_call_init(MODULE_INIT_QOM);
    type_register_static_array(types, ARRAY_SIZE(types));
    qemu_mutex_init(&bql);
    qemu_mutex_init(&loop_lock);
    qemu_cond_init(&loop_cond);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
