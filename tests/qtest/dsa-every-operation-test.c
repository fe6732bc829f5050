/*
 * QTest testcase for the Intel Data Streaming Accelerator (DSA): every
 * operation in progress
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * All operations wait for a page at the same time when the machine stops or
 * migrates.  The records and the memory must be those of operations that were
 * not disturbed.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-zeroed.h"
#include "dsa-busy-common.h"

#define AREA_SIZE   0x10000
#define AREA(i)     (0x4000000000ULL + (i) * 0x100000ULL)

/* An operation on an area in which one page is temporarily missing */
typedef struct Case {
    DSAOperation op;
    uint32_t src;
    uint32_t dst;
    uint32_t size;
    uint32_t missing;
} Case;

static const Case cases[] = {
    { DSA_OP_MEMORY_MOVE, 3, 0x5005, 0x3123, 0x6000 },
    /* Backward */
    { DSA_OP_MEMORY_MOVE, 0x800, 0x1100, 0x3000, 0x2000 },
    { DSA_OP_FILL, 0, 0x5004, 0x2123, 0x6000 },
    { DSA_OP_COMPARE, 1, 0x5001, 0x3000, 0x6000 },
    { DSA_OP_COMPARE_PATTERN, 5, 0, 0x3001, 0x2000 },
    /* The delta record is at 0x8000 */
    { DSA_OP_CREATE_DELTA, 0, 0x4000, 0x3000, 0x9000 },
    { DSA_OP_CREATE_DELTA, 0, 0x4000, 0x3000, 0x5000 },
    { DSA_OP_APPLY_DELTA, 0x8000, 0x4000, 0x3000, 0x5000 },
    /* The second destination is 0x4000 above the first one */
    { DSA_OP_DUALCAST, 7, 0x4008, 0x2800, 0x9000 },
    { DSA_OP_CRC, 3, 0, 0x2fff, 0x2000 },
    { DSA_OP_COPY_CRC, 3, 0x4001, 0x2fff, 0x5000 },
    { DSA_OP_DIF_CHECK, 0, 0, 16 * 520, 0x1000 },
    { DSA_OP_DIF_INSERT, 0, 0x4000, 16 * 512, 0x5000 },
    { DSA_OP_DIF_STRIP, 0, 0x4000, 16 * 520, 0x5000 },
    { DSA_OP_DIF_UPDATE, 0, 0x4000, 16 * 520, 0x1000 },
    { DSA_OP_CACHE_FLUSH, 0, 0x4000, 0x3000, 0x6000 },
    /* Three descriptors, see put_batch(); a page of the second is missing */
    { DSA_OP_BATCH, 0, 0, 3, 0x6000 },
    /* The completion record is in the area, too */
    { DSA_OP_NOOP, 0, 0, 0, 0x6000 },
};

#define CASES ARRAY_SIZE(cases)

typedef struct EveryTest {
    BusyTest t;
    uint64_t area[CASES];       /* guest physical address */
    uint8_t record[CASES][DSA_CR_SIZE];
    uint8_t memory[CASES][AREA_SIZE];
} EveryTest;

static void put_batch(uint8_t *list, uint64_t area)
{
    QDSADesc desc;

    qdsa_desc(&desc, DSA_OP_FILL, BUSY_CR, area + 0x1000);
    qdsa_desc_data(&desc, 0x1111111111111111ULL, area + 0x4000, 0x100);
    memcpy(list, desc.raw, DSA_DESC_SIZE);
    qdsa_desc(&desc, DSA_OP_FILL, BUSY_BLOCK, area + 0x1020);
    qdsa_desc_data(&desc, BUSY_PATTERN, area + 0x5005, 0x2000);
    memcpy(list + DSA_DESC_SIZE, desc.raw, DSA_DESC_SIZE);
    qdsa_desc(&desc, DSA_OP_COMPARE, BUSY_CR | DSA_FLAG_FENCE, area + 0x1040);
    qdsa_desc_data(&desc, area + 0x4000, area + 0x5000, 0x100);
    memcpy(list + 2 * DSA_DESC_SIZE, desc.raw, DSA_DESC_SIZE);
}

/* Initial contents of an area */
static void every_fill_area(uint8_t *p, int i)
{
    const Case *c = &cases[i];

    qdsa_fill_pattern(p, AREA_SIZE, i);
    switch (c->op) {
    case DSA_OP_COMPARE:
        memcpy(p + c->dst, p + c->src, c->size);
        break;
    case DSA_OP_COMPARE_PATTERN:
        busy_fill_pattern(p + c->src, c->size);
        break;
    case DSA_OP_APPLY_DELTA:
        busy_fill_delta_offsets(p + c->src, 600);
        break;
    case DSA_OP_BATCH:
        put_batch(p, AREA(i));
        break;
    default:
        break;
    }
}

static void every_prepare(EveryTest *e)
{
    g_autofree uint8_t *p = g_malloc(AREA_SIZE);

    for (int i = 0; i < CASES; i++) {
        every_fill_area(p, i);
        qtest_memwrite(e->t.qts, e->area[i], p, AREA_SIZE);
    }
    qtest_memset(e->t.qts, e->t.cr, 0, PAGE);
}

static void every_start(EveryTest *e)
{
    BusyTest *t = &e->t;

    busy_start_at(t, BUSY_DEV, BUSY_IOMMU "-device dsa,addr=4,engines=24");
    busy_attach_iommu(t);
    busy_map(t, BUSY_IOVA_CR, t->cr, PAGE);
    for (int i = 0; i < CASES; i++) {
        e->area[i] = guest_alloc_zeroed(&t->alloc, t->qts, AREA_SIZE);
        busy_map(t, AREA(i), e->area[i], AREA_SIZE);
    }
    qdsa_configure_wq(&t->dsa, 0, 32, DSA_WQ_DEDICATED | busy_wq_bits(true));
    qdsa_writeq(&t->dsa, qdsa_grpcfg(0, DSA_GRPCFG_ENGINES),
                MAKE_64BIT_MASK(0, CASES + 2));
    qdsa_enable(&t->dsa);
    every_prepare(e);
}

static void every_submit(EveryTest *e, int i)
{
    const Case *c = &cases[i];
    uint64_t cr = c->op == DSA_OP_NOOP ? AREA(i) + c->missing
                                       : BUSY_IOVA_CR + i * DSA_CR_SIZE;
    uint64_t src = AREA(i) + c->src, dst = AREA(i) + c->dst;
    QDSADesc desc;

    qdsa_desc(&desc, c->op, BUSY_BLOCK, cr);
    switch (c->op) {
    case DSA_OP_NOOP:
        qdsa_desc(&desc, c->op, BUSY_CR, cr);
        src = dst = 0;
        break;
    case DSA_OP_BATCH:
        qdsa_desc(&desc, c->op, BUSY_CR, cr);
        dst = 0;
        break;
    case DSA_OP_FILL:
        src = BUSY_PATTERN;
        break;
    case DSA_OP_COMPARE_PATTERN:
        dst = BUSY_PATTERN;
        break;
    case DSA_OP_CREATE_DELTA:
        stq_le_p(desc.raw + DSA_DESC_DELTA_ADDR, AREA(i) + 0x8000);
        stl_le_p(desc.raw + DSA_DESC_MAX_DELTA_SIZE, 0x4000);
        break;
    case DSA_OP_APPLY_DELTA:
        stl_le_p(desc.raw + DSA_DESC_DELTA_SIZE, 6000);
        break;
    case DSA_OP_DUALCAST:
        stq_le_p(desc.raw + DSA_DESC_DST2, dst + 0x4000);
        break;
    case DSA_OP_CRC:
    case DSA_OP_DIF_CHECK:
        dst = 0;
        break;
    case DSA_OP_CACHE_FLUSH:
        src = 0;
        break;
    default:
        break;
    }
    if (c->op == DSA_OP_DIF_CHECK || c->op == DSA_OP_DIF_STRIP ||
        c->op == DSA_OP_DIF_UPDATE) {
        qdsa_desc_no_dif_checks(&desc);
    }
    qdsa_desc_data(&desc, src, dst, c->size);
    qdsa_submit(&e->t.dsa, &desc);
}

static void every_wait(EveryTest *e, int i, uint8_t *record)
{
    if (cases[i].op == DSA_OP_NOOP) {
        qdsa_wait(&e->t.dsa, e->area[i] + cases[i].missing, record);
    } else {
        busy_wait_record(&e->t, i, record);
    }
}

/* Record the results of the operations without missing pages */
static void every_learn(EveryTest *e)
{
    for (int i = 0; i < CASES; i++) {
        if (cases[i].op == DSA_OP_NOOP) {
            qtest_memset(e->t.qts, e->area[i] + cases[i].missing, 0, PAGE);
        }
        every_submit(e, i);
        every_wait(e, i, e->record[i]);
        g_assert_cmphex(e->record[i][0], ==, DSA_STATUS_SUCCESS);
        qtest_memread(e->t.qts, e->area[i], e->memory[i], AREA_SIZE);
    }
}

static void every_check(EveryTest *e)
{
    g_autofree uint8_t *memory = g_malloc(AREA_SIZE);
    uint8_t record[DSA_CR_SIZE];

    for (int i = 0; i < CASES; i++) {
        g_test_message("case %d", i);
        every_wait(e, i, record);
        g_assert_cmpmem(record, DSA_CR_SIZE, e->record[i], DSA_CR_SIZE);
        qtest_memread(e->t.qts, e->area[i], memory, AREA_SIZE);
        g_assert_cmpmem(memory, AREA_SIZE, e->memory[i], AREA_SIZE);
    }
}

/* Expect one request for each operation, in any order */
static void every_expect_requests(EveryTest *e, QVtdPageReq *rq)
{
    for (int n = 0; n < CASES; n++) {
        busy_expect_any_request(&e->t, &rq[n]);
    }
    for (int i = 0; i < CASES; i++) {
        bool found = false;

        for (int n = 0; n < CASES; n++) {
            found |= rq[n].addr == AREA(i) + cases[i].missing;
        }
        g_assert_true(found);
    }
}

/* Let all operations wait for a page, and a drain and a command for them */
static void every_begin(EveryTest *e, QVtdPageReq *rq)
{
    BusyTest *t = &e->t;

    every_prepare(e);
    for (int i = 0; i < CASES; i++) {
        if (cases[i].op == DSA_OP_NOOP) {
            qtest_memset(t->qts, e->area[i] + cases[i].missing, 0, PAGE);
        }
        busy_unmap_page(t, AREA(i) + cases[i].missing);
        every_submit(e, i);
    }
    every_expect_requests(e, rq);
    busy_submit(t, CASES, DSA_OP_DRAIN, BUSY_CR, 0, 0, 0);
    qdsa_writel(&t->dsa, A_DSA_CMD, DSA_CMD_DRAIN_ALL << R_DSA_CMD_CODE_SHIFT);
    g_assert_cmphex(qdsa_readl(&t->dsa, A_DSA_CMDSTATUS), ==,
                    R_DSA_CMDSTATUS_ACTIVE_MASK);
}

/*
 * Respond to @rq, for which the operations wait, and to the earlier requests
 * @old, for which the drain and the command wait, too.
 */
static void every_finish(EveryTest *e, QVtdPageReq *rq, QVtdPageReq *old,
                         unsigned n_old)
{
    uint8_t record[DSA_CR_SIZE];
    BusyTest *t = &e->t;

    for (int i = 0; i < CASES; i++) {
        busy_map(t, AREA(i) + cases[i].missing, e->area[i] + cases[i].missing,
                 PAGE);
    }
    g_assert_cmphex(qdsa_readl(&t->dsa, A_DSA_CMDSTATUS), ==,
                    R_DSA_CMDSTATUS_ACTIVE_MASK);
    busy_expect_no_record(t, CASES);
    for (int n = 0; n < CASES; n++) {
        qvtd_prq_respond(&t->prq, &rq[n], VTD_PAGE_RESP_SUCCESS);
    }
    every_check(e);
    g_assert_cmphex(qdsa_readl(&t->dsa, A_DSA_CMDSTATUS), ==,
                    R_DSA_CMDSTATUS_ACTIVE_MASK);
    busy_expect_no_record(t, CASES);
    for (int n = 0; n < n_old; n++) {
        qvtd_prq_respond(&t->prq, &old[n], VTD_PAGE_RESP_SUCCESS);
    }
    g_assert_cmphex(busy_wait_record(t, CASES, record), ==, DSA_STATUS_SUCCESS);
    g_assert_cmphex(qdsa_wait_command(&t->dsa), ==, 0);
    g_assert_cmphex(qdsa_readq(&t->dsa, A_DSA_SWERROR), ==, 0);
}

/* After a stop, the page requests are repeated */
static void test_every_stop(void)
{
    g_autofree EveryTest *e = g_new0(EveryTest, 1);
    QVtdPageReq rq[CASES], old[CASES];
    BusyTest *t = &e->t;

    every_start(e);
    every_learn(e);
    every_begin(e, old);
    busy_stop_machine(t);
    /* Respond to all but one meanwhile */
    for (int n = 1; n < CASES; n++) {
        qvtd_prq_respond(&t->prq, &old[n], VTD_PAGE_RESP_SUCCESS);
    }
    busy_cont_machine(t);
    every_expect_requests(e, rq);
    every_finish(e, rq, old, 1);
    busy_stop(t);
}

static void test_every_migrate(void)
{
    g_autofree EveryTest *e = g_new0(EveryTest, 1);
    g_autofree char *path = NULL;
    QVtdPageReq rq[CASES], old[CASES];
    BusyTest *t = &e->t;

    every_start(e);
    every_learn(e);
    every_begin(e, old);
    path = qatd_save_machine(t->qts);
    busy_load(t, path, BUSY_IOMMU "-device dsa,addr=4,engines=24");
    /* The allocation is too small for these and the repeated requests */
    for (int n = 1; n < CASES; n++) {
        qvtd_prq_respond(&t->prq, &old[n], VTD_PAGE_RESP_SUCCESS);
    }
    every_expect_requests(e, rq);
    every_finish(e, rq, old, 1);
    busy_stop(t);
}

int main(int argc, char **argv)
{
    if (!busy_test_init(&argc, &argv)) {
        return 0;
    }
    qtest_add_func("/dsa/busy/every-operation/stop", test_every_stop);
    qtest_add_func("/dsa/busy/every-operation/migrate", test_every_migrate);
    return g_test_run();
}
