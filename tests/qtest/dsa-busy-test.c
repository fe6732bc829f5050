/*
 * QTest testcase for the Intel Data Streaming Accelerator (DSA) while busy
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The machine stops, or the device is reset or unplugged, while descriptors are
 * in progress or queued.
 * Section numbers are those of the Intel DSA Architecture Specification,
 * revision 3.0.
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "hw/i386/intel_iommu_internal.h"
#include "standard-headers/linux/pci_regs.h"
#include "libqos/malloc-zeroed.h"
#include "dsa-busy-common.h"

/* ---- Jobs that are abandoned while parked ---- */

/* 3.15: an aborted job sends no further requests and settles the others */
static void test_abort(void)
{
    QVtdPageReq rq;
    BusyBlockTest b;
    BusyTest *t = &b.t;

    busy_start_block(&b, true);
    busy_submit(t, 0, DSA_OP_FILL, BUSY_BLOCK, BUSY_PATTERN, BUSY_IOVA_DATA,
                65 * PAGE);
    busy_expect_group(t, BUSY_IOVA_DATA + PAGE, 32, true, &rq);
    qdsa_writel(&t->dsa, A_DSA_CMD, DSA_CMD_ABORT_ALL << R_DSA_CMD_CODE_SHIFT);
    g_assert_cmphex(qdsa_readl(&t->dsa, A_DSA_CMDSTATUS), ==,
                    R_DSA_CMDSTATUS_ACTIVE_MASK);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(qdsa_wait_command(&t->dsa), ==, 0);
    busy_expect_no_record(t, 0);
    g_assert_cmpuint(qvtd_prq_count(&t->prq), ==, 0);
    busy_stop(t);
}

/* The machine stops or migrates before the response to an aborted job */
static void abort_and_stop(bool migrates)
{
    g_autofree char *path = NULL;
    QVtdPageReq rq;
    BusyBlockTest b;
    BusyTest *t = &b.t;

    busy_begin_block(&b, &rq);
    qdsa_writel(&t->dsa, A_DSA_CMD, DSA_CMD_ABORT_ALL << R_DSA_CMD_CODE_SHIFT);
    if (migrates) {
        path = qatd_save_machine(t->qts);
        busy_load(t, path, BUSY_IOMMU "-device dsa,addr=4,id=dsa0");
    } else {
        busy_stop_machine(t);
        busy_cont_machine(t);
    }
    /* The page is mapped now, but the response is still missing */
    busy_map(t, BUSY_IOVA_DATA + PAGE, b.data + PAGE, PAGE);
    g_assert_cmphex(qdsa_readl(&t->dsa, A_DSA_CMDSTATUS), ==,
                    R_DSA_CMDSTATUS_ACTIVE_MASK);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(qdsa_wait_command(&t->dsa), ==, 0);
    busy_expect_no_record(t, 0);
    busy_stop(t);
}

static void test_abort_stop(void)
{
    abort_and_stop(false);
}

static void test_abort_migrate(void)
{
    abort_and_stop(true);
}

/* ---- Reset Device while a descriptor waits for a page ---- */

static void write_reset_command(BusyTest *t)
{
    qdsa_writel(&t->dsa, A_DSA_CMD,
                DSA_CMD_RESET_DEVICE << R_DSA_CMD_CODE_SHIFT);
}

/* After Reset Device, a late response to @rq has no effect */
static void expect_late_response_ignored(BusyBlockTest *b,
                                         const QVtdPageReq *rq)
{
    BusyTest *t = &b->t;
    uint16_t pri = qecam_ext_cap(t->qts, BUSY_DEV, PCI_EXT_CAP_ID_PRI);
    QVtdPageReq next;

    g_assert_cmphex(qdsa_wait_command(&t->dsa), ==, 0);
    g_assert_cmphex(qdsa_readl(&t->dsa, A_DSA_GENSTS), ==, DSA_DISABLED);
    qdsa_start(&t->dsa, busy_wq_bits(true));
    busy_submit(t, 1, DSA_OP_FILL, BUSY_BLOCK, BUSY_PATTERN,
                BUSY_IOVA_DATA + 2 * PAGE, PAGE);
    busy_expect_request(t, BUSY_IOVA_DATA + 2 * PAGE, true, &next);
    g_assert_cmpuint(next.prgi, !=, rq->prgi);
    busy_map(t, BUSY_IOVA_DATA + PAGE, b->data + PAGE, 2 * PAGE);
    qvtd_prq_respond(&t->prq, rq, VTD_PAGE_RESP_INVALID);
    busy_expect_no_record(t, 1);
    qvtd_prq_respond(&t->prq, &next, VTD_PAGE_RESP_SUCCESS);
    busy_expect_record(t, 1, DSA_STATUS_SUCCESS, 0, 0);
    busy_expect_filled(t, b->data + 2 * PAGE, BUSY_PATTERN, 0, PAGE);

    /* Nothing happens to the descriptor that was reset */
    busy_expect_no_record(t, 0);
    busy_expect_filled(t, b->data + PAGE, 0, 0, PAGE);
    g_assert_cmphex(qecam_readw(t->qts, BUSY_DEV, pri + PCI_PRI_STATUS) &
                    (PCI_PRI_STATUS_RF | PCI_PRI_STATUS_UPRGI), ==, 0);
}

/*
 * 3.15: Reset Device may abandon a descriptor that has begun.  It abandons one
 * that waits for the response to a page request: no software may respond, as
 * in a crash kernel that does not use the IOMMU.
 */
static void test_reset_command(void)
{
    QVtdPageReq rq;
    BusyBlockTest b;

    busy_begin_block(&b, &rq);
    write_reset_command(&b.t);
    expect_late_response_ignored(&b, &rq);
    busy_stop(&b.t);
}

/* The bottom half that ends the command runs only while the machine does */
static void reset_command_while_stopped(bool migrates)
{
    g_autofree char *path = NULL, *result = NULL;
    QVtdPageReq rq;
    BusyBlockTest b;
    BusyTest *t = &b.t;

    busy_begin_block(&b, &rq);
    busy_stop_machine(t);
    write_reset_command(t);
    g_assert_cmphex(qdsa_readl(&t->dsa, A_DSA_CMDSTATUS), ==,
                    R_DSA_CMDSTATUS_ACTIVE_MASK);
    if (migrates) {
        path = qatd_save_machine(t->qts);
        busy_start_incoming(t, BUSY_IOMMU "-device dsa,addr=4,id=dsa0");
        result = qatd_try_load_machine(t->qts, path);
        g_assert_cmpstr(result, ==, "completed");
        unlink(path);
    }
    busy_cont_machine(t);
    expect_late_response_ignored(&b, &rq);
    busy_stop(t);
}

static void test_reset_command_stop(void)
{
    reset_command_while_stopped(false);
}

static void test_reset_command_migrate(void)
{
    reset_command_while_stopped(true);
}

/* ---- Long moves in progress ---- */

#define BIG_SIZE    0x2000000

/* Check one page of each MiB */
static void expect_big(BusyTest *t, uint64_t addr, uint8_t byte)
{
    for (size_t i = 0; i < BIG_SIZE; i += MiB) {
        busy_expect_filled(t, addr + i, byte * 0x0101010101010101ULL, 0, PAGE);
    }
}

static void submit_moves(BusyTest *t, uint64_t src)
{
    for (int i = 0; i < 16; i++) {
        busy_submit(t, i, DSA_OP_MEMORY_MOVE, BUSY_CR, src, src + BIG_SIZE,
                    BIG_SIZE);
    }
}

/* No descriptor is lost, or executed while the machine is stopped */
static void test_stop(void)
{
    uint64_t src;
    BusyTest t;

    busy_start(&t);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 2 * BIG_SIZE);
    qtest_memset(t.qts, src, 0x5a, BIG_SIZE);
    for (int round = 0; round < 3; round++) {
        submit_moves(&t, src);
        busy_stop_machine(&t);
        qtest_memset(t.qts, src + BIG_SIZE, 0xa5, BIG_SIZE);
        expect_big(&t, src + BIG_SIZE, 0xa5);
        busy_cont_machine(&t);
        for (int i = 0; i < 16; i++) {
            busy_expect_record(&t, i, DSA_STATUS_SUCCESS, 0, 0);
        }
        /* The first round may have ended before the machine stopped */
        busy_submit(&t, 0, DSA_OP_MEMORY_MOVE, BUSY_CR, src, src + BIG_SIZE,
                    BIG_SIZE);
        busy_expect_record(&t, 0, DSA_STATUS_SUCCESS, 0, 0);
        expect_big(&t, src + BIG_SIZE, 0x5a);
    }
    busy_stop(&t);
}

/* ---- Reset, bus mastering and unplug ---- */

static void flr(BusyTest *t)
{
    qecam_writew(t->qts, t->dsa.bdf, 0x40 + PCI_EXP_DEVCTL,
                 PCI_EXP_DEVCTL_BCR_FLR);
}

static void master_off(BusyTest *t)
{
    qecam_writew(t->qts, t->dsa.bdf, PCI_COMMAND, PCI_COMMAND_MEMORY);
}

static void master_off_on(BusyTest *t)
{
    master_off(t);
    qecam_writew(t->qts, t->dsa.bdf, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void hot_reset(BusyTest *t)
{
    qecam_writew(t->qts, BUSY_PORT, PCI_BRIDGE_CONTROL,
                 PCI_BRIDGE_CTL_BUS_RESET);
    qecam_writew(t->qts, BUSY_PORT, PCI_BRIDGE_CONTROL, 0);
}

static void system_reset(BusyTest *t)
{
    qtest_qmp_assert_success(t->qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(t->qts, "RESET");
}

static void unplug(BusyTest *t)
{
    qecam_unplug(t->qts, "dsa0");
}

static void (*const takers[])(BusyTest *t) = {
    flr, master_off, master_off_on, hot_reset, system_reset, unplug,
};

/* The device does not write to memory after the guest's access returns */
static void test_taken_away(void)
{
    uint64_t src;
    BusyTest t;

    for (int i = 0; i < ARRAY_SIZE(takers); i++) {
        g_test_message("case %d", i);
        busy_start_at(&t, BUSY_BEHIND_PORT,
                      "-device pcie-root-port,id=rp,addr=4,"
                      "chassis=1 -device dsa,bus=rp,id=dsa0");
        qdsa_start(&t.dsa, 0);
        src = guest_alloc_zeroed(&t.alloc, t.qts, 2 * BIG_SIZE);
        submit_moves(&t, src);
        takers[i](&t);
        qtest_memset(t.qts, src + BIG_SIZE, 0xa5, BIG_SIZE);
        qtest_memset(t.qts, t.cr, 0xa5, PAGE);
        expect_big(&t, src + BIG_SIZE, 0xa5);
        busy_expect_filled(&t, t.cr, 0xa5a5a5a5a5a5a5a5ULL, 0, PAGE);
        busy_stop(&t);
    }
}

/* After a reset the device works, and has dropped all earlier work */
static void expect_forgotten(BusyBlockTest *b)
{
    BusyTest *t = &b->t;

    qdsa_init(&t->dsa, t->qts, BUSY_DEV, t->dsa.msi);
    qdsa_enable_ats(&t->dsa);
    qdsa_start(&t->dsa, busy_wq_bits(true));
    busy_submit(t, 1, DSA_OP_NOOP, BUSY_CR, 0, 0, 0);
    busy_expect_record(t, 1, DSA_STATUS_SUCCESS, 0, 0);
    busy_expect_no_record(t, 0);
    busy_expect_filled(t, b->data, 0, 0, 2 * PAGE);
}

/* Reset, or bus mastering cleared, while an engine waits for a page */
static void test_taken_away_blocked(void)
{
    QVtdPageReq rq;
    BusyBlockTest b;
    BusyTest *t = &b.t;

    for (int i = 0; i < 3; i++) {
        busy_begin_block(&b, &rq);
        takers[i](t);
        qtest_memset(t->qts, b.data, 0, PAGE);
        busy_map(t, BUSY_IOVA_DATA + PAGE, b.data + PAGE, PAGE);
        qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
        flr(t);
        expect_forgotten(&b);
        busy_stop(t);
    }
}

/*
 * PCIe 5.0, 10.5.1.3 and 10.5.2.5: the largest STU, an allocation above the
 * capacity, and a move from missing pages that crosses an STU boundary
 */
static void begin_extreme(BusyBlockTest *b)
{
    BusyTest *t = &b->t;
    uint64_t unit = 1ULL << 43;
    uint16_t ats, pri;

    busy_start_at(t, BUSY_DEV, BUSY_IOMMU "-device dsa,addr=4,id=dsa0");
    busy_attach_iommu(t);
    ats = qecam_ext_cap(t->qts, BUSY_DEV, PCI_EXT_CAP_ID_ATS);
    qecam_writew(t->qts, BUSY_DEV, ats + PCI_ATS_CTRL, 0);
    qecam_writew(t->qts, BUSY_DEV, ats + PCI_ATS_CTRL,
                 PCI_ATS_CTRL_ENABLE | 31);
    b->data = guest_alloc_zeroed(&t->alloc, t->qts, 4 * PAGE);
    busy_map(t, BUSY_IOVA_CR, t->cr, PAGE);
    qdsa_start(&t->dsa, busy_wq_bits(true));
    pri = qecam_ext_cap(t->qts, BUSY_DEV, PCI_EXT_CAP_ID_PRI);
    qecam_writel(t->qts, BUSY_DEV, pri + PCI_PRI_ALLOC_REQ, 1 << 22);
    busy_submit(t, 0, DSA_OP_MEMORY_MOVE, BUSY_BLOCK, unit - PAGE,
                BUSY_IOVA_DATA, 2 * MiB);
}

static void test_extreme(void)
{
    QVtdPageReq rq;
    BusyBlockTest b;
    BusyTest *t = &b.t;

    begin_extreme(&b);
    flr(t);
    qtest_qmp_assert_success(t->qts, "{ 'execute': 'query-status' }");
    expect_forgotten(&b);
    busy_stop(t);

    begin_extreme(&b);
    while (!qtest_readb(t->qts, t->cr)) {
        if (!qvtd_prq_count(&t->prq)) {
            continue;
        }
        busy_next_request(t, &rq);
        if (rq.last) {
            qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_INVALID);
        }
    }
    busy_expect_record(t, 0, DSA_STATUS_PAGE_FAULT_IR, 0, (1ULL << 43) - PAGE);
    busy_stop(t);
}

/* 3.15: a reset while the machine is stopped and descriptors are suspended */
static void test_stop_reset(void)
{
    QVtdPageReq rq;
    BusyBlockTest b;
    BusyTest *t = &b.t;

    busy_begin_block(&b, &rq);
    busy_stop_machine(t);
    qtest_memset(t->qts, b.data, 0, PAGE);
    flr(t);
    busy_cont_machine(t);
    expect_forgotten(&b);
    busy_stop(t);
}

#define BRIDGE_CTL  qecam_address(BUSY_PORT, PCI_BRIDGE_CONTROL)

/* ---- MMIO ---- */

/*
 * An engine does not access MMIO: if it reset or unplugged its own device, it
 * would wait for itself.
 */
static void test_not_ram(void)
{
    uint64_t src, mmio[3];
    BusyTest t;

    busy_start_at(&t, BUSY_BEHIND_PORT,
                  "-device pcie-root-port,id=rp,addr=4,chassis=1 "
                  "-device dsa,bus=rp,id=dsa0");
    qdsa_start(&t.dsa, 0);
    src = guest_alloc_zeroed(&t.alloc, t.qts, PAGE);
    qtest_writew(t.qts, src, PCI_BRIDGE_CTL_BUS_RESET);
    mmio[0] = BRIDGE_CTL;
    mmio[1] = t.dsa.regs + A_DSA_CMD;
    mmio[2] = t.dsa.portals;
    for (int i = 0; i < ARRAY_SIZE(mmio); i++) {
        busy_submit(&t, i, DSA_OP_MEMORY_MOVE, BUSY_CR, src, mmio[i], 2);
        busy_expect_record(&t, i, DSA_STATUS_WRITE_ERROR, 0, mmio[i] & -PAGE);
        busy_submit(&t, i, DSA_OP_MEMORY_MOVE, BUSY_CR, mmio[i], src, 2);
        busy_expect_record(&t, i, DSA_STATUS_READ_ERROR, 0, mmio[i] & -PAGE);
    }
    g_assert_cmphex(qdsa_readl(&t.dsa, A_DSA_GENSTS), ==, DSA_ENABLED);
    busy_stop(&t);
}

/* A device that is plugged while the machine is suspended works afterwards */
static void test_plug_while_suspended(void)
{
    BusyTest t = { };

    t.qts = qtest_initf(BUSY_MACHINE "-device pcie-root-port,id=rp,addr=4,"
                        "chassis=1");
    qecam_enable(t.qts);
    qecam_plug_while_suspended(t.qts, "dsa", "dsa0");
    busy_init_at(&t, BUSY_BEHIND_PORT);
    qdsa_start(&t.dsa, 0);
    busy_submit(&t, 0, DSA_OP_NOOP, BUSY_CR, 0, 0, 0);
    busy_expect_record(&t, 0, DSA_STATUS_SUCCESS, 0, 0);
    busy_stop(&t);
}

int main(int argc, char **argv)
{
    if (!busy_test_init(&argc, &argv)) {
        return 0;
    }
    qtest_add_func("/dsa/busy/abort", test_abort);
    qtest_add_func("/dsa/busy/abort-stop", test_abort_stop);
    qtest_add_func("/dsa/busy/abort-migrate", test_abort_migrate);
    qtest_add_func("/dsa/busy/reset-command", test_reset_command);
    qtest_add_func("/dsa/busy/reset-command-stop", test_reset_command_stop);
    qtest_add_func("/dsa/busy/reset-command-migrate",
                   test_reset_command_migrate);
    qtest_add_func("/dsa/busy/stop", test_stop);
    qtest_add_func("/dsa/busy/stop-reset", test_stop_reset);
    qtest_add_func("/dsa/busy/reset-or-unplug", test_taken_away);
    qtest_add_func("/dsa/busy/reset-while-parked", test_taken_away_blocked);
    qtest_add_func("/dsa/busy/largest-stu", test_extreme);
    qtest_add_func("/dsa/mmio-operand", test_not_ram);
    qtest_add_func("/dsa/plug-while-suspended", test_plug_while_suspended);
    return g_test_run();
}
