/*
 * QTest testcases for the Intel Data Streaming Accelerator (DSA): the machine
 * and the descriptors that the tests share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "dsa-common.h"

void dsa_start_with(DSATest *t, const char *args)
{
    *t = (DSATest) { };
    t->qts = qtest_initf("-M q35 -nodefaults -m 256 %s", args);
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qdsa_init(&t->dsa, t->qts, DSA_DEV,
              guest_alloc_zeroed(&t->alloc, t->qts, PAGE));
    t->cr = guest_alloc_zeroed(&t->alloc, t->qts, PAGE);
}

void dsa_start(DSATest *t)
{
    dsa_start_with(t, "-device dsa,addr=4");
    qdsa_start(&t->dsa, 0);
}

void dsa_stop(DSATest *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

void dsa_run(DSATest *t, const QDSADesc *desc, uint8_t status)
{
    uint8_t zeroes[DSA_CR_SIZE] = { };

    qtest_memwrite(t->qts, t->cr, zeroes, sizeof(zeroes));
    qdsa_submit(&t->dsa, desc);
    g_assert_cmphex(qdsa_wait(&t->dsa, t->cr, t->record), ==, status);
}

void dsa_submit_data(DSATest *t, DSAOperation op, uint32_t flags, uint64_t src,
                     uint64_t dst, uint32_t size, uint8_t status)
{
    QDSADesc desc;

    qdsa_desc(&desc, op, DSA_CR | flags, t->cr);
    qdsa_desc_data(&desc, src, dst, size);
    dsa_run(t, &desc, status);
}

uint32_t dsa_bytes_completed(DSATest *t)
{
    return ldl_le_p(t->record + DSA_CR_BYTES_COMPLETED);
}

void dsa_put_pattern(DSATest *t, uint64_t addr, size_t len, unsigned seed)
{
    g_autofree uint8_t *p = g_malloc(len);

    qdsa_fill_pattern(p, len, seed);
    qtest_memwrite(t->qts, addr, p, len);
}

void dsa_expect_memory(DSATest *t, uint64_t addr, const void *data, size_t len)
{
    g_autofree uint8_t *p = g_malloc(len);

    qtest_memread(t->qts, addr, p, len);
    g_assert_cmpmem(p, len, data, len);
}

void dsa_expect_pattern(DSATest *t, uint64_t addr, size_t len, unsigned seed)
{
    g_autofree uint8_t *p = g_malloc(len);

    qdsa_fill_pattern(p, len, seed);
    dsa_expect_memory(t, addr, p, len);
}
