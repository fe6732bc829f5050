/*
 * QTest testcases for the event log of the Data Streaming Accelerator (DSA):
 * the machine, the log and the descriptors that the tests share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "dsa-event-log-common.h"

void log_start_with(LogTest *t, const char *args)
{
    *t = (LogTest) { };
    t->qts = qtest_initf(LOG_MACHINE "%s", args);
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qdsa_init(&t->dsa, t->qts, LOG_DEV,
              guest_alloc_zeroed(&t->alloc, t->qts, PAGE));
    t->cr = guest_alloc_zeroed(&t->alloc, t->qts, PAGE);
    t->data = guest_alloc_zeroed(&t->alloc, t->qts, PAGE);
    t->log = guest_alloc_zeroed(&t->alloc, t->qts, 2 * PAGE);
}

void log_stop(LogTest *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

/* ---- The log ---- */

void log_configure(LogTest *t, uint64_t base, uint64_t size)
{
    QDSA *d = &t->dsa;

    qdsa_writeq(d, A_DSA_EVLCFG, base);
    qdsa_writeq(d, A_DSA_EVLCFG + 8, size);
    qdsa_writel(d, A_DSA_GENCFG, qdsa_readl(d, A_DSA_GENCFG) |
                R_DSA_GENCFG_EVENT_LOG_MASK | R_DSA_GENCFG_USER_INT_MASK);
}

uint64_t log_status(LogTest *t)
{
    return qdsa_readq(&t->dsa, A_DSA_EVLSTATUS);
}

unsigned log_tail(LogTest *t)
{
    return FIELD_EX64(log_status(t), DSA_EVLSTATUS, TAIL);
}

void log_set_head(LogTest *t, uint16_t head)
{
    qdsa_writel(&t->dsa, A_DSA_EVLSTATUS, head);
}

void log_wait_tail(LogTest *t, unsigned tail)
{
    int64_t end = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (log_tail(t) != tail) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(100);
    }
}

LogEvent log_event(LogTest *t, unsigned i)
{
    uint8_t raw[DSA_EVENT_SIZE];
    LogEvent e;

    qtest_memread(t->qts, t->log + i * DSA_EVENT_SIZE, raw, sizeof(raw));
    for (int n = 0; n < ARRAY_SIZE(e.q); n++) {
        e.q[n] = ldq_le_p(raw + 8 * n);
    }
    memcpy(e.cr, raw + DSA_EVENT_CR, sizeof(e.cr));
    return e;
}

LogEvent log_expect_event(LogTest *t, unsigned i, uint8_t error,
                          DSAOperation operation)
{
    LogEvent e;

    log_wait_tail(t, (i + 1) % LOG_SIZE);
    e = log_event(t, i);
    g_assert_cmphex(EVENT_FIELD(&e, ERROR), ==, error);
    g_assert_cmphex(EVENT_FIELD(&e, OPERATION), ==, operation);
    g_assert_cmphex(EVENT_FIELD(&e, DESC_VALID), ==, 1);
    g_assert_cmphex(EVENT_FIELD(&e, WQ_VALID), ==, 1);
    g_assert_cmphex(EVENT_FIELD(&e, WQ), ==, 0);
    g_assert_cmphex(EVENT_FIELD(&e, PASID), ==, t->root ? LOG_PROCESS : 0);
    return e;
}

void log_start(LogTest *t)
{
    log_start_with(t, LOG_DSA);
    log_configure(t, t->log, LOG_SIZE);
    qdsa_start(&t->dsa, 0);
}

/* ---- Descriptors ---- */

void log_desc_handle(QDSADesc *desc, uint16_t handle)
{
    stw_le_p(desc->raw + DSA_DESC_INT_HANDLE, handle);
}

void log_submit_error(LogTest *t)
{
    QDSADesc desc;

    qdsa_desc(&desc, DSA_OP_COMPARE, 0, 0);
    qdsa_submit(&t->dsa, &desc);
}

void log_submit_noop(LogTest *t, uint32_t flags, uint64_t cr)
{
    QDSADesc desc;

    qdsa_desc(&desc, DSA_OP_NOOP, LOG_CR | flags, cr);
    if (flags & DSA_FLAG_REQUEST_INT) {
        log_desc_handle(&desc, LOG_HANDLE);
    }
    qdsa_submit(&t->dsa, &desc);
}

void log_submit_drain(LogTest *t, uint64_t cr)
{
    QDSADesc desc;

    qdsa_desc(&desc, DSA_OP_DRAIN, LOG_CR, cr);
    qdsa_submit(&t->dsa, &desc);
}

uint8_t log_wait_record(LogTest *t, unsigned n)
{
    uint8_t record[DSA_CR_SIZE];
    uint8_t status = qdsa_wait(&t->dsa, t->cr + n * DSA_CR_SIZE, record);

    qtest_memset(t->qts, t->cr + n * DSA_CR_SIZE, 0, DSA_CR_SIZE);
    return status;
}

void log_expect_no_record(LogTest *t, unsigned n)
{
    g_assert_cmphex(qtest_readb(t->qts, t->cr + n * DSA_CR_SIZE), ==, 0);
}
