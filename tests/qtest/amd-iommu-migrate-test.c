/*
 * QTest testcase for the migration of amd-iommu with svm=on
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
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/misc/svm-demo.h"
#include "libqos/amdvi.h"
#include "libqos/dsa.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/stream.h"

#define IOMMU       "-M q35 -nodefaults -m 64M -device amd-iommu,svm=on "
#define TESTDEVS    "-device pci-ats-testdev,addr=4,pri-capacity=512 " \
                    "-device pci-ats-testdev,addr=5 "
#define DEV         QATD_BDF(0, 4, 0)
#define DEV2        QATD_BDF(0, 5, 0)
#define DEVICE      DEV

#define DOMAIN      0x1234
#define PASID       5
#define NONE        QATD_NO_PASID
#define PAGE        AMDVI_PAGE_SIZE
#define IOVA        0x40000000ULL
#define DONE        0x600d600d600d600dULL

/* PPR of the device table entry (2.2.2.1) */
#define DTE_PPR     (1ULL << 52)

/* Entries of guest tables that map pages */
#define GUEST       (QAMDVI_GPTE_RW | QAMDVI_GPTE_A | QAMDVI_GPTE_D)

/* PPR log: 2^8 and 2^1 entries (MMIO 0038h) */
#define LENGTH      (8ULL << 56)
#define TWO_ENTRIES (1ULL << 56)

/* Page requests, and responses (PCIe 5.0, 10.4.2.1) */
#define LAST_READ   (ATD_FLAG_LAST | ATD_FLAG_READ)
#define SUCCESS     0
#define INVALID     1

/* The largest command buffer (MMIO 0008h) */
#define COMMANDS    32768

/* COMPLETION_WAIT: store, and COMPLETE_PPR_REQUEST: the PASID is valid */
#define WAIT_STORE  (1ULL << 0)
#define GN          (1ULL << 2)

typedef struct Fixture {
    const char *devices;
    QTestState *qts;
    QGuestAllocator alloc;
    QAMDVI iommu;
    QATD dev;
    QATD dev2;
    QDSA dsa;
    uint64_t gcr3;
    uint64_t ppr_log;
} Fixture;

/* An entry of the PPR log (2.6) */
typedef struct Request {
    uint16_t devid;
    uint32_t pasid;
    uint16_t prgi;
    bool last;
    bool read;
    bool write;
    uint64_t addr;
} Request;

/* ---- Machine ---- */

static uint64_t reg(Fixture *f, unsigned offset)
{
    return qamdvi_read(&f->iommu, offset);
}

static void set_reg(Fixture *f, unsigned offset, uint64_t val)
{
    qamdvi_write(&f->iommu, offset, val);
}

static uint64_t new_page(Fixture *f)
{
    return qamdvi_new_page(&f->iommu);
}

/* 2.2.6: guest tables of 4 levels, without host tables */
static void attach(Fixture *f, uint16_t bdf)
{
    const QAMDVIDTE dte = {
        .lo = QAMDVI_DTE_ON | QAMDVI_DTE_GIOV | QAMDVI_DTE_GV | DTE_PPR,
        .hi = QAMDVI_DTE_I,
        .domain = DOMAIN,
        .gcr3_levels = 1,
        .gcr3 = f->gcr3,
        .guest_levels = 4,
    };

    qamdvi_attach(&f->iommu, bdf, &dte);
}

static void enable(Fixture *f, uint64_t control)
{
    qamdvi_enable(&f->iommu, AMDVI_MMIO_CONTROL_GTEN | control);
}

static void fixture_start(Fixture *f, const char *devices)
{
    *f = (Fixture) { .devices = devices };
    f->qts = qtest_initf(IOMMU "%s", devices);
    qecam_enable(f->qts);
    pc_alloc_init(&f->alloc, f->qts, ALLOC_NO_FLAGS);
    qamdvi_init(&f->iommu, f->qts, &f->alloc);
    f->gcr3 = new_page(f);
    f->ppr_log = new_page(f);
    attach(f, DEV);
    attach(f, DEV2);
    set_reg(f, AMDVI_MMIO_PPR_BASE, f->ppr_log | LENGTH);
    enable(f, AMDVI_MMIO_CONTROL_PPREN | AMDVI_MMIO_CONTROL_PPRLOGEN);
}

static void add_testdev(Fixture *f, QATD *d, uint16_t bdf, unsigned index)
{
    static const uint32_t pasids[] = { PASID, PASID + 1, NONE };

    qatd_init(d, f->qts, bdf, index);
    qatd_enable_all(d, 512);
    for (unsigned i = 0; i < ARRAY_SIZE(pasids); i++) {
        g_assert_cmpint(qatd_command(d, ATD_CMD_REGISTER_PRI, pasids[i], 0, 0,
                                     0), ==, 0);
    }
}

static void start_testdevs(Fixture *f)
{
    fixture_start(f, TESTDEVS);
    add_testdev(f, &f->dev, DEV, 32);
    add_testdev(f, &f->dev2, DEV2, 33);
}

static void fixture_stop(Fixture *f)
{
    qtest_quit(f->qts);
    alloc_destroy(&f->alloc);
}

static void set_emulator(Fixture *f, QTestState *qts)
{
    f->qts = qts;
    f->iommu.qts = qts;
    f->dev.qts = qts;
    f->dev2.qts = qts;
    f->dsa.qts = qts;
}

/* Migrate a machine that runs into a second emulator */
static void migrate(Fixture *f)
{
    g_autofree char *path = qatd_save_machine(f->qts);

    set_emulator(f, qtest_initf(IOMMU "%s -incoming defer", f->devices));
    qatd_load_machine(f->qts, path);
}

static void machine(Fixture *f, const char *command)
{
    qtest_qmp_assert_success(f->qts, "{ 'execute': %s }", command);
}

/* The same for a machine that is stopped, and remains so */
static void migrate_stopped(Fixture *f)
{
    g_autofree char *path = qatd_save_machine(f->qts);
    g_autofree char *end = NULL;

    set_emulator(f, qtest_initf(IOMMU "%s -incoming defer", f->devices));
    end = qatd_try_load_machine(f->qts, path);
    g_assert_cmpstr(end, ==, "completed");
    unlink(path);
}

/* ---- Page requests and responses ---- */

static int64_t send_request(QATD *d, uint32_t pasid, uint16_t prgi,
                            uint64_t flags)
{
    return qatd_page_request(d, pasid, IOVA, prgi, flags);
}

static void request(QATD *d, uint32_t pasid, uint16_t prgi, uint64_t flags)
{
    g_assert_cmpint(send_request(d, pasid, prgi, flags), ==, 0);
}

static unsigned logged(Fixture *f)
{
    uint64_t head = reg(f, AMDVI_MMIO_PPR_HEAD);

    return ((reg(f, AMDVI_MMIO_PPR_TAIL) - head) & (PAGE - 1)) / 16;
}

static void next_request(Fixture *f, Request *rq)
{
    uint64_t head = reg(f, AMDVI_MMIO_PPR_HEAD);
    uint64_t lo = qtest_readq(f->qts, f->ppr_log + head);

    g_assert_cmpuint(logged(f), >, 0);
    g_assert_cmphex(lo >> 60, ==, 1);
    *rq = (Request) {
        .devid = extract64(lo, 0, 16),
        .pasid = extract64(lo, 56, 1) ? extract64(lo, 16, 16) : NONE,
        .prgi = extract64(lo, 32, 9),
        .last = extract64(lo, 41, 1),
        .read = extract64(lo, 50, 1),
        .write = extract64(lo, 53, 1),
        .addr = qtest_readq(f->qts, f->ppr_log + head + 8),
    };
    set_reg(f, AMDVI_MMIO_PPR_HEAD, (head + 16) & (PAGE - 1));
}

static void expect_request(Fixture *f, uint16_t devid, uint32_t pasid,
                           uint16_t prgi)
{
    Request rq;

    next_request(f, &rq);
    g_assert_cmphex(rq.devid, ==, devid);
    g_assert_cmphex(rq.pasid, ==, pasid);
    g_assert_cmphex(rq.prgi, ==, prgi);
    g_assert_true(rq.last);
    g_assert_true(rq.read);
    g_assert_false(rq.write);
    g_assert_cmphex(rq.addr, ==, IOVA);
}

/* A COMPLETE_PPR_REQUEST command (2.4.7) */
static void response(uint64_t cmd[2], uint16_t devid, uint32_t pasid,
                     uint16_t prgi, unsigned code)
{
    cmd[0] = QAMDVI_COMMAND(COMPLETE_PPR_REQUEST) | devid;
    cmd[1] = (uint64_t)prgi << 32 | (uint64_t)code << 44;
    if (pasid != NONE) {
        cmd[0] |= (uint64_t)pasid << 32;
        cmd[1] |= GN;
    }
}

static void respond(Fixture *f, uint16_t devid, uint32_t pasid, uint16_t prgi,
                    unsigned code)
{
    uint64_t cmd[2];

    response(cmd, devid, pasid, prgi, code);
    qamdvi_command(&f->iommu, cmd[0], cmd[1]);
}

/* The response @n, counted from 0, since the device was created or reset */
static void expect_response(QATD *d, unsigned n, uint32_t pasid, uint16_t prgi,
                            int code)
{
    g_assert_cmpuint(qatd_read(d, ATD_RESP_COUNT), ==, n + 1);
    qatd_write(d, ATD_RESP_INDEX, n);
    g_assert_cmphex(qatd_read(d, ATD_RESP_PASID), ==, pasid);
    g_assert_cmphex(qatd_read(d, ATD_RESP_PRGI), ==, prgi);
    g_assert_cmpint(qatd_read(d, ATD_RESP_CODE), ==, code);
}

/*
 * Each group of the function has had one response: none is outstanding, and
 * there was no response without a group (PCIe 5.0, 10.5.2.3).
 */
static void expect_settled(QATD *d)
{
    uint16_t status = qecam_readw(d->qts, d->bdf, d->pri + PCI_PRI_STATUS);

    g_assert_cmpuint(qatd_read(d, ATD_OUTSTANDING), ==, 0);
    g_assert_cmphex(status & (PCI_PRI_STATUS_RF | PCI_PRI_STATUS_UPRGI), ==, 0);
}

/* ---- Registers and requests ---- */

static const unsigned saved_regs[] = {
    AMDVI_MMIO_DEVICE_TABLE, AMDVI_MMIO_COMMAND_BASE, AMDVI_MMIO_EVENT_BASE,
    AMDVI_MMIO_CONTROL, AMDVI_MMIO_EXCL_BASE, AMDVI_MMIO_EXCL_LIMIT,
    AMDVI_MMIO_EXT_FEATURES, AMDVI_MMIO_PPR_BASE, AMDVI_MMIO_COMMAND_HEAD,
    AMDVI_MMIO_COMMAND_TAIL, AMDVI_MMIO_EVENT_HEAD, AMDVI_MMIO_EVENT_TAIL,
    AMDVI_MMIO_STATUS, AMDVI_MMIO_PPR_HEAD, AMDVI_MMIO_PPR_TAIL,
};

static void read_regs(Fixture *f, uint64_t *val)
{
    for (unsigned i = 0; i < ARRAY_SIZE(saved_regs); i++) {
        val[i] = reg(f, saved_regs[i]);
    }
}

/* Migrate, and expect that software reads the same registers as before */
static void migrate_and_compare(Fixture *f)
{
    uint64_t before[ARRAY_SIZE(saved_regs)], after[ARRAY_SIZE(saved_regs)];

    read_regs(f, before);
    migrate(f);
    read_regs(f, after);
    for (unsigned i = 0; i < ARRAY_SIZE(saved_regs); i++) {
        g_test_message("MMIO %04xh", saved_regs[i]);
        g_assert_cmphex(after[i], ==, before[i]);
    }
}

/*
 * 2.6 and 2.4.7: software reads the entries of the log that it has not read,
 * and responds to all groups, once each
 */
static void test_requests(void)
{
    Fixture f;

    start_testdevs(&f);
    qamdvi_enable_msi(&f.iommu);
    set_reg(&f, AMDVI_MMIO_EXCL_BASE, 0x123000);
    set_reg(&f, AMDVI_MMIO_EXCL_LIMIT, 0x456000);
    request(&f.dev, PASID, 1, LAST_READ);
    request(&f.dev2, NONE, 2, LAST_READ);
    request(&f.dev, PASID + 1, 3, LAST_READ);
    expect_request(&f, DEV, PASID, 1);
    migrate_and_compare(&f);

    g_assert_cmpuint(logged(&f), ==, 2);
    g_assert_cmpuint(qatd_read(&f.dev, ATD_OUTSTANDING), ==, 2);
    g_assert_cmpuint(qatd_read(&f.dev2, ATD_OUTSTANDING), ==, 1);
    expect_request(&f, DEV2, NONE, 2);
    expect_request(&f, DEV, PASID + 1, 3);
    respond(&f, DEV, PASID + 1, 3, SUCCESS);
    expect_response(&f.dev, 0, PASID + 1, 3, IOMMU_PRI_RESP_SUCCESS);
    respond(&f, DEV, PASID, 1, INVALID);
    expect_response(&f.dev, 1, PASID, 1, IOMMU_PRI_RESP_INVALID_REQUEST);
    respond(&f, DEV2, NONE, 2, SUCCESS);
    expect_response(&f.dev2, 0, NONE, 2, IOMMU_PRI_RESP_SUCCESS);
    expect_settled(&f.dev);
    expect_settled(&f.dev2);

    request(&f.dev, PASID, 1, LAST_READ);
    expect_request(&f, DEV, PASID, 1);
    respond(&f, DEV, PASID, 1, SUCCESS);
    expect_settled(&f.dev);
    qamdvi_expect_no_event(&f.iommu);
    fixture_stop(&f);
}

/* MMIO 2020h: PPRInt is set, and interrupts when software sets PPRIntEn */
static void test_interrupt(void)
{
    Fixture f;

    start_testdevs(&f);
    qamdvi_enable_msi(&f.iommu);
    request(&f.dev, PASID, 1, LAST_READ);
    migrate(&f);
    g_assert_false(qamdvi_take_msi(&f.iommu));
    enable(&f, AMDVI_MMIO_CONTROL_PPREN | AMDVI_MMIO_CONTROL_PPRLOGEN |
           AMDVI_MMIO_CONTROL_PPRINTEN);
    g_assert_true(qamdvi_take_msi(&f.iommu));

    /* It does not interrupt again before software clears it */
    migrate(&f);
    g_assert_false(qamdvi_take_msi(&f.iommu));
    set_reg(&f, AMDVI_MMIO_STATUS, AMDVI_MMIO_STATUS_PPR_INT);
    request(&f.dev, PASID, 2, LAST_READ);
    g_assert_true(qamdvi_take_msi(&f.iommu));
    fixture_stop(&f);
}

/*
 * 2.4.7: a response without PASID belongs to the group that has used the index
 * for the longest time, also after a migration
 */
static void test_any_pasid(void)
{
    static const uint32_t orders[][2] = {
        { PASID, PASID + 1 }, { PASID + 1, PASID },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(orders); i++) {
        const uint32_t *pasids = orders[i];
        Fixture f;

        start_testdevs(&f);
        request(&f.dev, pasids[0], 7, LAST_READ);
        request(&f.dev, pasids[1], 7, LAST_READ);
        migrate(&f);
        for (unsigned n = 0; n < 2; n++) {
            respond(&f, DEV, NONE, 7, SUCCESS);
            expect_response(&f.dev, n, pasids[n], 7, IOMMU_PRI_RESP_SUCCESS);
        }
        expect_settled(&f.dev);
        fixture_stop(&f);
    }
}

/* ---- Overflow (2.6) ---- */

static uint64_t ppr_status(Fixture *f)
{
    return reg(f, AMDVI_MMIO_STATUS) & (AMDVI_MMIO_STATUS_PPR_RUN |
                                        AMDVI_MMIO_STATUS_PPR_OVF);
}

/* The IOMMU responds to groups, and reports other requests as lost */
static void expect_overflow(Fixture *f, QATD *d)
{
    unsigned n = qatd_read(d, ATD_RESP_COUNT);
    unsigned outstanding = qatd_read(d, ATD_OUTSTANDING);

    g_assert_cmpint(send_request(d, PASID, 9, ATD_FLAG_READ), ==, -ENOSPC);
    request(d, PASID, 10, LAST_READ);
    expect_response(d, n, PASID, 10, IOMMU_PRI_RESP_SUCCESS);
    g_assert_cmpuint(qatd_read(d, ATD_OUTSTANDING), ==, outstanding);
    g_assert_cmphex(ppr_status(f), ==, AMDVI_MMIO_STATUS_PPR_OVF);
}

/* A log that holds one entry, which overflows */
static void start_overflow(Fixture *f)
{
    start_testdevs(f);
    enable(f, 0);
    set_reg(f, AMDVI_MMIO_PPR_BASE, f->ppr_log | TWO_ENTRIES);
    enable(f, AMDVI_MMIO_CONTROL_PPREN | AMDVI_MMIO_CONTROL_PPRLOGEN);
    request(&f->dev, PASID, 1, LAST_READ);
    g_assert_cmphex(ppr_status(f), ==, AMDVI_MMIO_STATUS_PPR_RUN);
    expect_overflow(f, &f->dev2);
}

/* Software empties the log, and restarts it */
static void restart_log(Fixture *f)
{
    set_reg(f, AMDVI_MMIO_PPR_HEAD, reg(f, AMDVI_MMIO_PPR_TAIL));
    set_reg(f, AMDVI_MMIO_STATUS, AMDVI_MMIO_STATUS_PPR_OVF);
    enable(f, AMDVI_MMIO_CONTROL_PPREN | AMDVI_MMIO_CONTROL_PPRLOGEN);
    g_assert_cmphex(ppr_status(f), ==, AMDVI_MMIO_STATUS_PPR_RUN);
    request(&f->dev2, PASID, 11, LAST_READ);
    g_assert_cmphex(qtest_readq(f->qts, f->ppr_log + 16) & 0xffff, ==, DEV2);
    respond(f, DEV2, PASID, 11, SUCCESS);
    respond(f, DEV, PASID, 1, SUCCESS);
    expect_settled(&f->dev);
    expect_settled(&f->dev2);
}

static void test_overflow(void)
{
    Fixture f;

    start_overflow(&f);
    migrate_and_compare(&f);
    expect_overflow(&f, &f.dev2);
    restart_log(&f);
    fixture_stop(&f);
}

/* Software has cleared PPROverflow, and not restarted the log yet */
static void test_overflow_cleared(void)
{
    Fixture f;

    start_overflow(&f);
    set_reg(&f, AMDVI_MMIO_STATUS, AMDVI_MMIO_STATUS_PPR_OVF);
    g_assert_cmphex(ppr_status(&f), ==, 0);
    migrate_and_compare(&f);
    /* The log has room, but does not run */
    set_reg(&f, AMDVI_MMIO_PPR_HEAD, reg(&f, AMDVI_MMIO_PPR_TAIL));
    expect_overflow(&f, &f.dev2);
    restart_log(&f);
    fixture_stop(&f);
}

/* ---- Command buffer (2.4) ---- */

/* A command buffer that is larger than a slice, and has not been enabled */
typedef struct Buffer {
    uint64_t addr;
    uint64_t done;
    uint64_t (*cmd)[2];
} Buffer;

/* COMPLETION_WAIT after an invalidation, with a store at the end of all */
static void buffer_init(Buffer *b, Fixture *f)
{
    b->addr = guest_alloc(&f->alloc, COMMANDS * AMDVI_COMMAND_SIZE);
    b->done = new_page(f);
    b->cmd = g_malloc0(COMMANDS * AMDVI_COMMAND_SIZE);
    for (unsigned i = 0; i < COMMANDS - 1; i++) {
        b->cmd[i][0] = i % 2 ? QAMDVI_COMMAND(COMPLETION_WAIT) :
                               QAMDVI_COMMAND(INVAL_DEVTAB_ENTRY);
    }
    b->cmd[COMMANDS - 2][0] = QAMDVI_COMMAND(COMPLETION_WAIT) | WAIT_STORE |
                              b->done;
    b->cmd[COMMANDS - 2][1] = DONE;
}

/* MMIO 0008h, 0018h and 2008h */
static void buffer_ring(Buffer *b, Fixture *f)
{
    for (unsigned i = 0; i < COMMANDS; i++) {
        b->cmd[i][0] = cpu_to_le64(b->cmd[i][0]);
        b->cmd[i][1] = cpu_to_le64(b->cmd[i][1]);
    }
    qtest_memwrite(f->qts, b->addr, b->cmd, COMMANDS * AMDVI_COMMAND_SIZE);
    g_free(b->cmd);
    set_reg(f, AMDVI_MMIO_COMMAND_BASE, b->addr | 15ULL << 56);
    set_reg(f, AMDVI_MMIO_COMMAND_TAIL, (COMMANDS - 1) * AMDVI_COMMAND_SIZE);
}

static void buffer_wait(Buffer *b, Fixture *f)
{
    while (reg(f, AMDVI_MMIO_COMMAND_HEAD) !=
           (COMMANDS - 1) * AMDVI_COMMAND_SIZE) {
        g_usleep(1000);
    }
    g_assert_cmphex(qtest_readq(f->qts, b->done), ==, DONE);
}

/*
 * 2.4.1: the destination goes on with the commands that the source has not
 * executed, up to the COMPLETION_WAIT
 */
static void test_commands_stopped(void)
{
    uint64_t head;
    Fixture f;
    Buffer b;

    start_testdevs(&f);
    request(&f.dev, PASID, 1, LAST_READ);
    request(&f.dev, PASID, 2, LAST_READ);
    buffer_init(&b, &f);
    response(b.cmd[0], DEV, PASID, 1, SUCCESS);
    response(b.cmd[COMMANDS - 3], DEV, PASID, 2, SUCCESS);
    machine(&f, "stop");
    buffer_ring(&b, &f);
    head = reg(&f, AMDVI_MMIO_COMMAND_HEAD);
    g_assert_cmpuint(head, >, 0);
    g_assert_cmpuint(head, <, (COMMANDS - 3) * AMDVI_COMMAND_SIZE);
    expect_response(&f.dev, 0, PASID, 1, IOMMU_PRI_RESP_SUCCESS);

    migrate_stopped(&f);
    g_assert_cmphex(reg(&f, AMDVI_MMIO_COMMAND_HEAD), ==, head);
    g_assert_cmpuint(qatd_read(&f.dev, ATD_OUTSTANDING), ==, 1);
    g_assert_cmphex(qtest_readq(f.qts, b.done), ==, 0);
    machine(&f, "cont");
    buffer_wait(&b, &f);
    expect_response(&f.dev, 0, PASID, 2, IOMMU_PRI_RESP_SUCCESS);
    expect_settled(&f.dev);
    fixture_stop(&f);
}

/*
 * The same while the commands are executed: no response is lost, and none is
 * sent by both emulators
 */
static void test_commands_running(void)
{
    enum { GROUPS = 500, STEP = COMMANDS / GROUPS };
    Fixture f;
    Buffer b;

    start_testdevs(&f);
    enable(&f, 0);
    f.ppr_log = guest_alloc(&f.alloc, 2 * PAGE);
    set_reg(&f, AMDVI_MMIO_PPR_BASE, f.ppr_log | LENGTH | 1ULL << 56);
    enable(&f, AMDVI_MMIO_CONTROL_PPREN | AMDVI_MMIO_CONTROL_PPRLOGEN);
    buffer_init(&b, &f);
    for (unsigned i = 0; i < GROUPS; i++) {
        request(&f.dev, PASID, i, LAST_READ);
        response(b.cmd[i * STEP], DEV, PASID, i, SUCCESS);
    }
    buffer_ring(&b, &f);
    migrate(&f);
    g_test_message("command %u of %u",
                   (unsigned)reg(&f, AMDVI_MMIO_COMMAND_HEAD) /
                   AMDVI_COMMAND_SIZE, COMMANDS);
    buffer_wait(&b, &f);
    expect_settled(&f.dev);
    fixture_stop(&f);
}

/*
 * 2.5.6 and 2.5.7: an illegal command has stopped the buffer, and an event
 * that did not fit has stopped the log
 */
static void test_stopped_by_errors(void)
{
    Fixture f;

    start_testdevs(&f);
    qamdvi_command(&f.iommu, 15ULL << 60, 0);
    set_reg(&f, AMDVI_MMIO_EVENT_HEAD, 2 * AMDVI_EVENT_LEN);
    /* A request that is blocked: there are no tables for requests without it */
    qatd_command(&f.dev, ATD_CMD_DMA_READ, NONE, IOVA, 4, 0);
    g_assert_cmphex(reg(&f, AMDVI_MMIO_STATUS) &
                    (AMDVI_MMIO_STATUS_CMDBUF_RUN | AMDVI_MMIO_STATUS_EVT_RUN |
                     AMDVI_MMIO_STATUS_EVT_OVF), ==, AMDVI_MMIO_STATUS_EVT_OVF);
    migrate_and_compare(&f);

    g_assert_false(qamdvi_completes(&f.iommu));
    qatd_command(&f.dev, ATD_CMD_DMA_READ, NONE, IOVA, 4, 0);
    g_assert_cmphex(reg(&f, AMDVI_MMIO_EVENT_TAIL), ==, AMDVI_EVENT_LEN);
    set_reg(&f, AMDVI_MMIO_STATUS, AMDVI_MMIO_STATUS_EVT_OVF);
    set_reg(&f, AMDVI_MMIO_EVENT_HEAD, AMDVI_EVENT_LEN);
    qamdvi_restart(&f.iommu);
    enable(&f, 0);
    g_assert_true(qamdvi_completes(&f.iommu));
    qatd_command(&f.dev, ATD_CMD_DMA_READ, NONE, IOVA, 4, 0);
    g_assert_cmphex(reg(&f, AMDVI_MMIO_EVENT_TAIL), ==, 2 * AMDVI_EVENT_LEN);
    fixture_stop(&f);
}

/* ---- Snapshots ---- */

/* Older groups are outstanding again, and newer ones have ended */
static void test_snapshot(void)
{
    g_autofree char *path = qatd_temporary_file();
    unsigned tail;
    Fixture f;

    start_testdevs(&f);
    qatd_add_snapshot_disk(f.qts, path);
    request(&f.dev, PASID, 1, LAST_READ);
    tail = f.iommu.tail;
    qatd_snapshot(f.qts, "snapshot-save");
    request(&f.dev, PASID, 2, LAST_READ);
    respond(&f, DEV, PASID, 1, SUCCESS);
    expect_request(&f, DEV, PASID, 1);
    qatd_snapshot(f.qts, "snapshot-load");
    f.iommu.tail = tail;
    g_assert_cmpuint(qatd_read(&f.dev, ATD_OUTSTANDING), ==, 1);
    g_assert_cmpuint(logged(&f), ==, 1);
    expect_request(&f, DEV, PASID, 1);
    respond(&f, DEV, PASID, 1, SUCCESS);
    expect_settled(&f.dev);
    respond(&f, DEV, PASID, 2, SUCCESS);
    g_assert_cmphex(qecam_readw(f.qts, DEV, f.dev.pri + PCI_PRI_STATUS) &
                    PCI_PRI_STATUS_UPRGI, ==, PCI_PRI_STATUS_UPRGI);
    fixture_stop(&f);
    unlink(path);
}

/* ---- Streams that the destination rejects ---- */

/*
 * MMIO 0030h: other features.  The machine can go on after a snapshot is
 * rejected, with an IOMMU that has been reset.
 */
static void test_features(void)
{
    g_autofree char *path = qatd_temporary_file();
    Fixture f;

    start_testdevs(&f);
    qatd_add_snapshot_disk(f.qts, path);
    request(&f.dev, PASID, 1, LAST_READ);
    qatd_snapshot(f.qts, "snapshot-save");
    qtest_quit(f.qts);

    set_emulator(&f, qtest_init("-M q35 -nodefaults -m 64M -device "
                                "amd-iommu,svm=on,xtsup=on " TESTDEVS));
    qatd_attach_snapshot_disk(f.qts, path);
    g_assert_false(qatd_try_snapshot(f.qts, "snapshot-load"));
    machine(&f, "cont");
    for (unsigned i = 0; i < ARRAY_SIZE(saved_regs); i++) {
        if (saved_regs[i] != AMDVI_MMIO_EXT_FEATURES) {
            g_test_message("MMIO %04xh", saved_regs[i]);
            g_assert_cmphex(reg(&f, saved_regs[i]), ==, 0);
        }
    }
    fixture_stop(&f);
    unlink(path);
}

/* Registers with any value are accepted, and do not disturb the machine */
static void test_any_registers(void)
{
    static const uint64_t patterns[] = {
        UINT64_MAX, 0xaaaaaaaaaaaaaaaa, 0x5555555555555555, 0xf << 8, 0,
    };
    static const char *const fields[] = {
        "base", "head", "tail", "control", "status",
    };

    for (unsigned i = 0; i < ARRAY_SIZE(patterns); i++) {
        g_autofree char *path = NULL;
        QStream *s;
        uint8_t *p;
        Fixture f;

        g_test_message("0x%" PRIx64, patterns[i]);
        start_testdevs(&f);
        request(&f.dev, PASID, 1, LAST_READ);
        s = qstream_save(f.qts);
        p = qstream_field(s, "amd-iommu", "saved_regs");
        /* The first one is the Extended Feature Register */
        for (unsigned n = 1; n < AMDVI_SAVED_REGS; n++) {
            stq_be_p(p + n * 8, patterns[i]);
        }
        for (unsigned n = 0; n < ARRAY_SIZE(fields); n++) {
            g_autofree char *field = g_strdup_printf(
                "amd-iommu/ppr:ppr_log:saved.%s", fields[n]);

            stq_be_p(qstream_field(s, "amd-iommu", field), patterns[i]);
        }
        path = g_strdup("amd-iommu-migrate-test.stream");
        g_assert_true(g_file_set_contents(path, (char *)s->data, s->len, NULL));
        qstream_free(s);
        set_emulator(&f, qtest_initf(IOMMU "%s -incoming defer", f.devices));
        qatd_load_machine(f.qts, path);

        send_request(&f.dev, PASID, 2, LAST_READ);
        qatd_command(&f.dev, ATD_CMD_DMA_WRITE, NONE, IOVA, 4, 0);
        set_reg(&f, AMDVI_MMIO_COMMAND_TAIL, 16);
        set_reg(&f, AMDVI_MMIO_CONTROL, 0);
        qtest_system_reset(f.qts);
        g_assert_cmphex(reg(&f, AMDVI_MMIO_STATUS), ==, 0);
        g_assert_cmphex(reg(&f, AMDVI_MMIO_PPR_TAIL), ==, 0);
        fixture_stop(&f);
    }
}

/* ---- The demo device ---- */

#define SVM         "-device svm,addr=4 "
#define SVM_REGS    0xd0000000ULL
#define MSI_IOVA    0x5000ULL
#define MSI_DATA    0x4321

static uint64_t add_pasid(Fixture *f, uint32_t pasid)
{
    uint64_t root = new_page(f);

    qamdvi_set_gcr3(&f->iommu, f->gcr3, 1, pasid, root | QAMDVI_GCR3_V);
    return root;
}

static void map(Fixture *f, uint64_t root, uint64_t iova, uint64_t gpa)
{
    qamdvi_map_guest(&f->iommu, root, 4, iova, 1, gpa | GUEST);
}

/* Wait for a group of one page request of the process */
static void await_request(Fixture *f, uint64_t iova, Request *rq)
{
    while (!logged(f)) {
        g_usleep(1000);
    }
    next_request(f, rq);
    g_assert_cmphex(rq->devid, ==, DEVICE);
    g_assert_cmphex(rq->pasid, ==, PASID);
    g_assert_cmphex(rq->addr, ==, iova);
    g_assert_true(rq->last);
    g_assert_true(rq->write);
}

static void answer(Fixture *f, const Request *rq)
{
    respond(f, rq->devid, rq->pasid, rq->prgi, SUCCESS);
}

static void svm_write(Fixture *f, unsigned offset, uint64_t val)
{
    qtest_writeq(f->qts, SVM_REGS + offset, val);
}

/* Enable the device; its MSI is a write to MSI_IOVA */
static void svm_enable(Fixture *f)
{
    qecam_writel(f->qts, DEVICE, PCI_BASE_ADDRESS_0, SVM_REGS);
    qecam_writew(f->qts, DEVICE, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    qecam_enable_ats(f->qts, DEVICE, 0, 32);
    qecam_enable_msi(f->qts, DEVICE, MSI_IOVA, MSI_DATA);
    qtest_writel(f->qts, SVM_REGS + SVM_DEMO_REG_PASID, PASID);
}

static bool svm_has_ended(Fixture *f, uint64_t msi)
{
    return qtest_readl(f->qts, msi) == MSI_DATA;
}

static void check_pattern(Fixture *f, uint64_t gpa, size_t len, uint64_t pos)
{
    g_autofree uint8_t *buf = g_malloc(len);

    qtest_memread(f->qts, gpa, buf, len);
    for (size_t i = 0; i < len; i++) {
        g_assert_cmphex(buf[i], ==, (pos + i) % SVM_DEMO_PATTERN_PERIOD);
    }
}

/*
 * An operation of the demo device waits for its second page.  The destination
 * requests the page again, continues there, and ends when both groups have a
 * response.
 */
static void test_svm(void)
{
    uint64_t root, msi, first, second;
    Request old, rq;
    Fixture f;

    fixture_start(&f, SVM);
    root = add_pasid(&f, PASID);
    msi = new_page(&f);
    first = new_page(&f);
    second = new_page(&f);
    map(&f, add_pasid(&f, 0), MSI_IOVA, msi);
    map(&f, root, IOVA, first);
    svm_enable(&f);
    svm_write(&f, SVM_DEMO_REG_ADDR, IOVA);
    svm_write(&f, SVM_DEMO_REG_SIZE, PAGE + 64);
    svm_write(&f, SVM_DEMO_REG_START, SVM_DEMO_START_WRITE);
    await_request(&f, IOVA + PAGE, &old);
    while (!qtest_readb(f.qts, first + PAGE - 1)) {
        g_usleep(1000);
    }
    check_pattern(&f, first, PAGE, 0);
    /* Detects a destination that starts over */
    qtest_memset(f.qts, first, 0, PAGE);
    migrate(&f);

    await_request(&f, IOVA + PAGE, &rq);
    g_assert_cmpuint(rq.prgi, !=, old.prgi);
    map(&f, root, IOVA + PAGE, second);
    answer(&f, &rq);
    for (unsigned i = 0; i < 200; i++) {
        g_assert_false(svm_has_ended(&f, msi));
    }
    answer(&f, &old);
    while (!svm_has_ended(&f, msi)) {
        g_usleep(1000);
    }
    g_assert_cmphex(qtest_readq(f.qts, SVM_REGS + SVM_DEMO_REG_ADDR), ==,
                    SVM_DEMO_RESULT_OK);
    check_pattern(&f, second, 64, PAGE);
    g_assert_cmphex(qtest_readq(f.qts, first), ==, 0);
    g_assert_cmpuint(logged(&f), ==, 0);
    qamdvi_expect_no_event(&f.iommu);
    fixture_stop(&f);
}

/* ---- DSA ---- */

#define DSA         "-device dsa,addr=4 "
#define PATTERN     0x0123456789abcdefULL
#define CR_IOVA     0x10000000ULL
#define DSA_FLAGS   (DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR | \
                     DSA_FLAG_BLOCK_ON_FAULT)

/* The same for the DSA: it fills two pages, the second of which is missing */
static void test_dsa(void)
{
    uint8_t record[DSA_CR_SIZE];
    uint64_t root, cr, first, second;
    Request old, rq;
    QDSADesc desc;
    Fixture f;

    fixture_start(&f, DSA);
    root = add_pasid(&f, PASID);
    cr = new_page(&f);
    first = new_page(&f);
    second = new_page(&f);
    map(&f, root, CR_IOVA, cr);
    map(&f, root, IOVA, first);
    qdsa_init(&f.dsa, f.qts, DEVICE, new_page(&f));
    qdsa_enable_ats(&f.dsa);
    qdsa_start(&f.dsa, R_DSA_WQCFG1_PASID_EN_MASK |
               PASID << R_DSA_WQCFG1_PASID_SHIFT |
               R_DSA_WQCFG1_BLOCK_ON_FAULT_MASK);
    qdsa_desc(&desc, DSA_OP_FILL, DSA_FLAGS, CR_IOVA);
    qdsa_desc_data(&desc, PATTERN, IOVA, 2 * PAGE);
    qdsa_submit(&f.dsa, &desc);
    await_request(&f, IOVA + PAGE, &old);
    while (qtest_readq(f.qts, first + PAGE - 8) != PATTERN) {
        g_usleep(1000);
    }
    qtest_memset(f.qts, first, 0, PAGE);
    migrate(&f);

    await_request(&f, IOVA + PAGE, &rq);
    g_assert_cmpuint(rq.prgi, !=, old.prgi);
    map(&f, root, IOVA + PAGE, second);
    answer(&f, &rq);
    g_assert_cmphex(qdsa_wait(&f.dsa, cr, record), ==, DSA_STATUS_SUCCESS);
    answer(&f, &old);
    for (unsigned i = 0; i < PAGE; i += 8) {
        g_assert_cmphex(qtest_readq(f.qts, second + i), ==, PATTERN);
    }
    g_assert_cmphex(qtest_readq(f.qts, first), ==, 0);
    g_assert_cmpuint(logged(&f), ==, 0);
    qamdvi_expect_no_event(&f.iommu);
    fixture_stop(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-iommu/migrate/requests", test_requests);
    qtest_add_func("/amd-iommu/migrate/interrupt", test_interrupt);
    qtest_add_func("/amd-iommu/migrate/any-pasid", test_any_pasid);
    qtest_add_func("/amd-iommu/migrate/overflow", test_overflow);
    qtest_add_func("/amd-iommu/migrate/overflow-cleared",
                   test_overflow_cleared);
    qtest_add_func("/amd-iommu/migrate/commands-stopped",
                   test_commands_stopped);
    qtest_add_func("/amd-iommu/migrate/commands-running",
                   test_commands_running);
    qtest_add_func("/amd-iommu/migrate/stopped-by-errors",
                   test_stopped_by_errors);
    qtest_add_func("/amd-iommu/migrate/snapshot", test_snapshot);
    qtest_add_func("/amd-iommu/migrate/features", test_features);
    qtest_add_func("/amd-iommu/migrate/any-registers", test_any_registers);
    qtest_add_func("/amd-iommu/migrate/svm", test_svm);
    qtest_add_func("/amd-iommu/migrate/dsa", test_dsa);
    return g_test_run();
}
