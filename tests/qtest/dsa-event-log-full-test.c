/*
 * QTest testcase for the event log of the Data Streaming Accelerator (DSA)
 * while it is full
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel DSA Architecture Specification,
 * revision 3.0.
 */

#include "qemu/osdep.h"
#include "standard-headers/linux/pci_regs.h"
#include "libqos/malloc-zeroed.h"
#include "dsa-event-log-common.h"

/* ---- Full log ---- */

/* Cause one error more than the log has room for */
static void fill_log(LogTest *t)
{
    for (unsigned i = 1; i < LOG_SIZE; i++) {
        log_submit_error(t);
        log_wait_tail(t, i);
    }
    log_submit_noop(t, 0, t->cr + 16);
}

static unsigned occupancy(LogTest *t)
{
    return FIELD_EX64(qdsa_readq(&t->dsa, qdsa_wqcfg(0, 3)), DSA_WQCFG3,
                      OCCUPANCY);
}

/* 5.9: the device waits for software; no entry is lost */
static void test_full(void)
{
    int64_t end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;
    LogTest t;

    log_start(&t);
    fill_log(&t);
    log_submit_noop(&t, 0, t.cr);
    log_submit_noop(&t, 0, t.cr);
    /* The engine holds the first error, the others wait in the queue */
    while (occupancy(&t) != 2) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(100);
    }
    log_expect_no_record(&t, 0);
    g_assert_cmpuint(log_tail(&t), ==, LOG_SIZE - 1);
    log_set_head(&t, 1);
    log_expect_event(&t, LOG_SIZE - 1, DSA_STATUS_CR_ALIGN, DSA_OP_NOOP);
    g_assert_cmphex(log_wait_record(&t, 0), ==, DSA_STATUS_SUCCESS);
    g_assert_cmphex(qdsa_swerror(&t.dsa), ==, 0);
    /* The log starts over */
    log_set_head(&t, 2);
    log_submit_noop(&t, 0, t.cr + 16);
    log_expect_event(&t, 0, DSA_STATUS_CR_ALIGN, DSA_OP_NOOP);
    log_stop(&t);
}

static void expect_swerror(LogTest *t, uint8_t code)
{
    qdsa_wait_swerror(&t->dsa, code);
    qdsa_writeq(&t->dsa, A_DSA_SWERROR, R_DSA_SWERROR_VALID_MASK |
                R_DSA_SWERROR_OVERFLOW_MASK);
}

/* 5.8.2, 9.2.12: errors outside of the execution of a descriptor do not wait */
static void test_swerror(void)
{
    LogTest t;
    QDSA *d = &t.dsa;

    log_start(&t);
    fill_log(&t);
    /* The queue has 16 entries, and the engine may have taken one more */
    for (int i = 0; i < 18; i++) {
        log_submit_noop(&t, 0, t.cr);
    }
    expect_swerror(&t, DSA_SWERROR_WQ_FULL);
    qdsa_writel(d, A_DSA_CMD, DSA_CMD_DRAIN_ALL << R_DSA_CMD_CODE_SHIFT);
    qdsa_writel(d, A_DSA_CMD, DSA_CMD_DRAIN_ALL << R_DSA_CMD_CODE_SHIFT);
    expect_swerror(&t, DSA_SWERROR_CMD_ACTIVE);
    qecam_writew(t.qts, LOG_DEV, PCI_COMMAND, PCI_COMMAND_MEMORY);
    expect_swerror(&t, DSA_SWERROR_PCI_CONFIG);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENSTS) & 3, ==, DSA_HALTED);
    g_assert_cmpuint(log_tail(&t), ==, LOG_SIZE - 1);
    log_stop(&t);
}

static void abort_wq(LogTest *t)
{
    g_assert_cmphex(qdsa_command(&t->dsa, DSA_CMD_ABORT_WQ, 1), ==, 0);
}

static void reset_device(LogTest *t)
{
    g_assert_cmphex(qdsa_command(&t->dsa, DSA_CMD_RESET_DEVICE, 0), ==, 0);
}

static void flr(LogTest *t)
{
    qecam_writew(t->qts, LOG_DEV, 0x40 + PCI_EXP_DEVCTL,
                 PCI_EXP_DEVCTL_BCR_FLR);
    qdsa_init(&t->dsa, t->qts, LOG_DEV, t->dsa.msi);
}

static void master_off(LogTest *t)
{
    qecam_writew(t->qts, LOG_DEV, PCI_COMMAND, PCI_COMMAND_MEMORY);
    qdsa_wait_swerror(&t->dsa, DSA_SWERROR_PCI_CONFIG);
}

/* 3.15: the events that end descriptors also end those that wait for the log */
static void test_full_abort(void)
{
    static void (*const enders[])(LogTest *t) = {
        abort_wq, reset_device, master_off, flr,
    };
    LogTest t;

    for (int i = 0; i < ARRAY_SIZE(enders); i++) {
        g_test_message("case %d", i);
        log_start(&t);
        fill_log(&t);
        enders[i](&t);
        g_assert_cmpuint(log_tail(&t), ==,
                         enders[i] == flr ? 0 : LOG_SIZE - 1);
        if (enders[i] == abort_wq) {
            log_submit_noop(&t, 0, t.cr);
            g_assert_cmphex(log_wait_record(&t, 0), ==, DSA_STATUS_SUCCESS);
        }
        log_stop(&t);
    }
}

/* All engines log a batch of errors at the same time: no entry is lost */
static void test_concurrent_engines(void)
{
    enum { ENGINES = 4, MEMBERS = 500, SIZE = 4096, ROUNDS = 3 };
    QDSADesc desc;
    uint64_t list;
    LogTest t;
    QDSA *d = &t.dsa;

    log_start_with(&t, LOG_DSA);
    list = guest_alloc_zeroed(&t.alloc, t.qts, MEMBERS * DSA_DESC_SIZE);
    qdsa_desc(&desc, DSA_OP_NOOP, LOG_CR, t.cr + 16);
    for (int i = 0; i < MEMBERS; i++) {
        qtest_memwrite(t.qts, list + i * DSA_DESC_SIZE, desc.raw,
                       sizeof(desc.raw));
    }
    qdsa_desc(&desc, DSA_OP_BATCH, 0, 0);
    qdsa_desc_data(&desc, list, 0, MEMBERS);
    for (int round = 0; round < ROUNDS; round++) {
        unsigned seen[MEMBERS] = { };

        t.log = guest_alloc_zeroed(&t.alloc, t.qts, SIZE * DSA_EVENT_SIZE);
        log_configure(&t, t.log, SIZE);
        qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED);
        qdsa_writeq(d, qdsa_grpcfg(0, DSA_GRPCFG_ENGINES), 0xf);
        qdsa_enable(d);
        /* The log is full, so that the engines wait for each other */
        log_set_head(&t, 1);
        for (int i = 0; i < ENGINES; i++) {
            qdsa_submit(d, &desc);
        }
        log_set_head(&t, 0);
        log_wait_tail(&t, ENGINES * MEMBERS);
        for (int i = 0; i < ENGINES * MEMBERS; i++) {
            LogEvent e = log_event(&t, i);

            g_assert_cmphex(EVENT_FIELD(&e, ERROR), ==, DSA_STATUS_CR_ALIGN);
            seen[FIELD_EX64(e.q[1], DSA_SWERROR1, BATCH_INDEX) % MEMBERS]++;
        }
        for (int i = 0; i < MEMBERS; i++) {
            g_assert_cmpuint(seen[i], ==, ENGINES);
        }
        g_assert_cmphex(qdsa_command(d, DSA_CMD_RESET_DEVICE, 0), ==, 0);
    }
    g_assert_cmphex(qdsa_swerror(&t.dsa), ==, 0);
    log_stop(&t);
}

/* The head is outside of the log; QEMU exits while the engine waits */
static void test_bad_head(void)
{
    LogTest t;

    log_start(&t);
    log_set_head(&t, LOG_SIZE);
    for (unsigned i = 0; i < 3 * LOG_SIZE; i++) {
        log_submit_error(&t);
        log_wait_tail(&t, (i + 1) % LOG_SIZE);
    }
    log_set_head(&t, 1);
    log_submit_error(&t);
    log_stop(&t);
}

/* A reset recovers from every configuration and head */
static void test_random(void)
{
    GRand *rng = g_rand_new_with_seed(1);
    LogTest t;
    QDSA *d = &t.dsa;

    log_start_with(&t, LOG_DSA);
    for (int i = 0; i < 100; i++) {
        uint64_t base = (uint64_t)g_rand_int_range(rng, 0, 4) <<
                        g_rand_int_range(rng, 12, 63);

        log_configure(&t, base,
                      g_rand_int_range(rng, 0, 4) * 32);
        qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED |
                          (g_rand_boolean(rng) ? LOG_PRS_DISABLE : 0));
        qdsa_writel(d, A_DSA_GENCTRL, g_rand_int(rng));
        qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0);
        qdsa_command(d, DSA_CMD_ENABLE_WQ, 0);
        log_set_head(&t, g_rand_int_range(rng, 0, 4));
        for (int n = 0; n < 8; n++) {
            log_submit_error(&t);
            log_submit_drain(&t, base);
        }
        if (g_rand_boolean(rng)) {
            qdsa_command(d, DSA_CMD_RESET_DEVICE, 0);
        }
        flr(&t);
    }
    log_configure(&t, t.log, LOG_SIZE);
    qdsa_start(d, 0);
    log_submit_error(&t);
    log_expect_event(&t, 0, DSA_STATUS_FLAGS, DSA_OP_COMPARE);
    g_rand_free(rng);
    log_stop(&t);
}

/* ---- Stop ---- */

/* An engine that waits for the log goes on waiting after stop and cont */
static void test_stop(void)
{
    LogTest t;

    log_start(&t);
    fill_log(&t);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'stop' }");
    qtest_memset(t.qts, t.log, 0, PAGE);
    log_set_head(&t, 1);
    g_assert_cmpuint(log_tail(&t), ==, LOG_SIZE - 1);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'cont' }");
    log_expect_event(&t, LOG_SIZE - 1, DSA_STATUS_CR_ALIGN, DSA_OP_NOOP);
    log_stop(&t);
}

int main(int argc, char **argv)
{
    if (!qdsa_test_init(&argc, &argv)) {
        return 0;
    }
    qtest_add_func("/dsa/event-log/full", test_full);
    qtest_add_func("/dsa/event-log/swerror", test_swerror);
    qtest_add_func("/dsa/event-log/full-abort", test_full_abort);
    qtest_add_func("/dsa/event-log/concurrent-engines",
                   test_concurrent_engines);
    qtest_add_func("/dsa/event-log/bad-head", test_bad_head);
    qtest_add_func("/dsa/event-log/random", test_random);
    qtest_add_func("/dsa/event-log/stop", test_stop);
    return g_test_run();
}
