/*
 * QTest testcase for the Intel Data Streaming Accelerator (DSA): every
 * operation with a missing page in each of its operands
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The first, a middle or the last page of an operand is missing.  Each case
 * runs alone and as a member of a batch:
 * - with Block on Fault, and a response Success to the page request,
 * - with Block on Fault, and responses Invalid Request,
 * - without Block on Fault.
 * Section numbers are those of the Intel DSA Architecture Specification,
 * revision 3.0.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-zeroed.h"
#include "dsa-busy-common.h"

#define OPERANDS        3
#define OPERAND_SIZE    0x8000
#define OPERAND(i)      (BUSY_IOVA_DATA + (i) * 0x100000ULL)
/* The operands begin here, so that their first page is not whole */
#define OFFSET          0x400

#define SIZE            0x3800
#define UNITS           (SIZE / 8)          /* of a delta */
#define BLOCKS          27                  /* of 512 bytes, for DIF */
#define DELTAS          1400
#define APPLY_SIZE      (DELTAS * 16)

/* Records, in the page at BUSY_IOVA_CR; behind them is the list of a batch */
#define MEMBER          0
#define BATCH           1
#define LIST            0x800

/* How Bytes Completed depends on the bytes before the missing page */
typedef enum Progress {
    EACH_BYTE,
    NOTHING,
    DIF_SOURCE,                 /* blocks of 520 bytes, both operands */
    DIF_INSERTED,               /* the destination of DIF Insert */
    DIF_STRIPPED,               /* the destination of DIF Strip */
    DELTA_CREATED,              /* a record in which each unit differs */
    DELTA_READ,
    DELTA_APPLIED,              /* every other unit of the destination */
    BACKWARD,                   /* the destination is a page after the source */
} Progress;

/* In the order src, dst, third address */
typedef struct Operand {
    uint32_t size;              /* or 0 if the operation has no such operand */
    bool write;
    Progress progress;
} Operand;

typedef struct Operation {
    DSAOperation op;
    uint32_t size;
    Operand operands[OPERANDS];
} Operation;

static const Operation operations[] = {
    { DSA_OP_MEMORY_MOVE, SIZE, { { SIZE }, { SIZE, true } } },
    { DSA_OP_MEMORY_MOVE, SIZE, { { SIZE + PAGE, true, BACKWARD } } },
    { DSA_OP_FILL, SIZE, { { }, { SIZE, true } } },
    { DSA_OP_COMPARE, SIZE, { { SIZE }, { SIZE } } },
    { DSA_OP_COMPARE_PATTERN, SIZE, { { SIZE } } },
    { DSA_OP_CREATE_DELTA, SIZE,
      { { SIZE }, { SIZE }, { UNITS * 10, true, DELTA_CREATED } } },
    { DSA_OP_APPLY_DELTA, APPLY_SIZE,
      { { DELTAS * 10, false, DELTA_READ },
        { APPLY_SIZE - 8, true, DELTA_APPLIED } } },
    { DSA_OP_DUALCAST, SIZE, { { SIZE }, { SIZE, true }, { SIZE, true } } },
    { DSA_OP_CRC, SIZE, { { SIZE }, { }, { 4, false, NOTHING } } },
    { DSA_OP_COPY_CRC, SIZE,
      { { SIZE }, { SIZE, true }, { 4, false, NOTHING } } },
    { DSA_OP_DIF_CHECK, BLOCKS * 520,
      { { BLOCKS * 520, false, DIF_SOURCE } } },
    { DSA_OP_DIF_INSERT, BLOCKS * 512,
      { { BLOCKS * 512, false, DIF_STRIPPED },
        { BLOCKS * 520, true, DIF_INSERTED } } },
    { DSA_OP_DIF_STRIP, BLOCKS * 520,
      { { BLOCKS * 520, false, DIF_SOURCE },
        { BLOCKS * 512, true, DIF_STRIPPED } } },
    { DSA_OP_DIF_UPDATE, BLOCKS * 520,
      { { BLOCKS * 520, false, DIF_SOURCE },
        { BLOCKS * 520, true, DIF_SOURCE } } },
    { DSA_OP_CACHE_FLUSH, SIZE, { { }, { SIZE } } },
};

/* An operation, and the page that it lacks */
typedef struct Case {
    const Operation *o;
    unsigned operand;
    uint32_t page;              /* offset in the operand's area */
    bool batch;
    bool block;
} Case;

typedef struct MissingTest {
    BusyTest t;
    uint64_t area[OPERANDS];    /* guest physical addresses */
    uint8_t before[OPERANDS][OPERAND_SIZE];
    uint8_t after[OPERANDS][OPERAND_SIZE];
    uint8_t record[DSA_CR_SIZE];
} MissingTest;

/* ---- Memory ---- */

static void fill_operands(MissingTest *m, const Operation *o)
{
    uint8_t *src = m->before[0] + OFFSET, *dst = m->before[1] + OFFSET;

    for (int i = 0; i < OPERANDS; i++) {
        qdsa_fill_pattern(m->before[i], OPERAND_SIZE, i);
    }
    switch (o->op) {
    case DSA_OP_COMPARE:
        memcpy(dst, src, o->size);
        break;
    case DSA_OP_COMPARE_PATTERN:
        busy_fill_pattern(src, o->size);
        break;
    case DSA_OP_CREATE_DELTA:
        for (int i = 0; i < UNITS; i++) {
            stq_le_p(dst + i * 8, ~ldq_le_p(src + i * 8));
        }
        break;
    case DSA_OP_APPLY_DELTA:
        busy_fill_delta_offsets(src, DELTAS);
        break;
    default:
        break;
    }
}

static void write_operands(MissingTest *m)
{
    for (int i = 0; i < OPERANDS; i++) {
        qtest_memwrite(m->t.qts, m->area[i], m->before[i], OPERAND_SIZE);
    }
}

static void read_operands(MissingTest *m, uint8_t operands[][OPERAND_SIZE])
{
    for (int i = 0; i < OPERANDS; i++) {
        qtest_memread(m->t.qts, m->area[i], operands[i], OPERAND_SIZE);
    }
}

static void check_operands(MissingTest *m)
{
    g_autofree uint8_t *now = g_malloc(OPERANDS * OPERAND_SIZE);

    read_operands(m, (void *)now);
    g_assert_cmpmem(now, OPERANDS * OPERAND_SIZE, m->after, sizeof(m->after));
}

/* ---- Descriptors ---- */

static void describe(const Case *c, QDSADesc *desc)
{
    const Operation *o = c->o;
    uint64_t src = OPERAND(0) + OFFSET, dst = OPERAND(1) + OFFSET;
    uint64_t third = OPERAND(2) + OFFSET;

    qdsa_desc(desc, o->op, c->block ? BUSY_BLOCK : BUSY_CR,
              BUSY_IOVA_CR + MEMBER * DSA_CR_SIZE);
    switch (o->op) {
    case DSA_OP_MEMORY_MOVE:
        dst = o->operands[1].size ? dst : src + PAGE;
        break;
    case DSA_OP_FILL:
        src = BUSY_PATTERN;
        break;
    case DSA_OP_COMPARE_PATTERN:
        dst = BUSY_PATTERN;
        break;
    case DSA_OP_CREATE_DELTA:
        stq_le_p(desc->raw + DSA_DESC_DELTA_ADDR, third);
        stl_le_p(desc->raw + DSA_DESC_MAX_DELTA_SIZE, UNITS * 10);
        break;
    case DSA_OP_APPLY_DELTA:
        stl_le_p(desc->raw + DSA_DESC_DELTA_SIZE, DELTAS * 10);
        break;
    case DSA_OP_DUALCAST:
        stq_le_p(desc->raw + DSA_DESC_DST2, third);
        break;
    case DSA_OP_CRC:
    case DSA_OP_COPY_CRC:
        stl_le_p(desc->raw + DSA_DESC_FLAGS,
                 ldl_le_p(desc->raw + DSA_DESC_FLAGS) | DSA_FLAG_READ_CRC_SEED);
        stq_le_p(desc->raw + DSA_DESC_CRC_SEED_ADDR, third);
        dst = o->op == DSA_OP_CRC ? 0 : dst;
        break;
    case DSA_OP_DIF_CHECK:
    case DSA_OP_DIF_STRIP:
    case DSA_OP_DIF_UPDATE:
        qdsa_desc_no_dif_checks(desc);
        dst = o->op == DSA_OP_DIF_CHECK ? 0 : dst;
        break;
    case DSA_OP_CACHE_FLUSH:
        src = 0;
        break;
    default:
        break;
    }
    qdsa_desc_data(desc, src, dst, o->size);
}

/* Submit the descriptor, or a batch of it and a No-op */
static void submit(MissingTest *m, const Case *c)
{
    BusyTest *t = &m->t;
    QDSADesc desc;

    describe(c, &desc);
    if (!c->batch) {
        qdsa_submit(&t->dsa, &desc);
        return;
    }
    qtest_memwrite(t->qts, t->cr + LIST, desc.raw, DSA_DESC_SIZE);
    qdsa_desc(&desc, DSA_OP_NOOP, 0, 0);
    qtest_memwrite(t->qts, t->cr + LIST + DSA_DESC_SIZE, desc.raw,
                   DSA_DESC_SIZE);
    busy_submit(t, BATCH, DSA_OP_BATCH, BUSY_CR, BUSY_IOVA_CR + LIST, 0, 2);
}

/* ---- Expectations ---- */

/* Bytes Completed if @done bytes of the operand precede the missing page */
static uint32_t expected_bytes(const Case *c, uint32_t done)
{
    uint32_t source_pages;

    switch (c->o->operands[c->operand].progress) {
    case EACH_BYTE:
        return done;
    case NOTHING:
        return 0;
    case DIF_SOURCE:
        return done / 520 * 520;
    case DIF_INSERTED:
        return done / 520 * 512;
    case DIF_STRIPPED:
        return done / 512 * (c->o->op == DSA_OP_DIF_INSERT ? 512 : 520);
    case DELTA_CREATED:
        return done / 10 * 8;
    case DELTA_READ:
        return done / 10 * 10;
    case DELTA_APPLIED:
        return done / 16 * 10;
    case BACKWARD:
        /* The pages behind the missing one, counted in the source */
        source_pages = ROUND_UP(OFFSET + SIZE, PAGE);
        return c->page + PAGE < source_pages
               ? OFFSET + SIZE - (c->page + PAGE) : 0;
    default:
        g_assert_not_reached();
    }
}

/* The access that finds the missing page */
static bool expected_write(const Case *c)
{
    const Operand *operand = &c->o->operands[c->operand];

    return operand->write &&
           (operand->progress != BACKWARD ||
            c->page >= ROUND_UP(OFFSET + SIZE, PAGE));
}

static uint32_t bytes_before(const Case *c)
{
    return c->page > OFFSET ? c->page - OFFSET : 0;
}

static void expect_batch(MissingTest *m, const Case *c, bool success)
{
    if (c->batch) {
        busy_expect_record(&m->t, BATCH, success ? DSA_STATUS_SUCCESS
                                                 : DSA_STATUS_BATCH_ERROR,
                           2, 0);
    }
}

static void expect_partial(MissingTest *m, const Case *c, uint8_t status)
{
    uint32_t done = bytes_before(c);
    uint8_t record[DSA_CR_SIZE];

    busy_wait_record(&m->t, MEMBER, record);
    busy_expect_record(&m->t, MEMBER,
                       status | (expected_write(c) ? DSA_STATUS_WRITE : 0),
                       expected_bytes(c, done), OPERAND(c->operand) + c->page);
    /* 8.3.8: Result, and the size of the record so far */
    if (c->o->op == DSA_OP_CREATE_DELTA) {
        uint32_t size = expected_bytes(c, done) / 8 * 10;

        g_assert_cmpuint(record[DSA_CR_RESULT], ==, size ? 1 : 0);
        g_assert_cmpuint(ldl_le_p(record + DSA_CR_DELTA_SIZE), ==, size);
    }
    expect_batch(m, c, false);
}

static void expect_success(MissingTest *m, const Case *c)
{
    uint8_t record[DSA_CR_SIZE];

    busy_wait_record(&m->t, MEMBER, record);
    g_assert_cmpmem(record, DSA_CR_SIZE, m->record, DSA_CR_SIZE);
    qtest_memset(m->t.qts, m->t.cr + MEMBER * DSA_CR_SIZE, 0, DSA_CR_SIZE);
    expect_batch(m, c, true);
    check_operands(m);
}

/* Record the result without missing pages */
static void learn(MissingTest *m, const Operation *o)
{
    Case c = { .o = o };

    fill_operands(m, o);
    write_operands(m);
    submit(m, &c);
    g_assert_cmphex(busy_wait_record(&m->t, MEMBER, m->record), ==,
                    DSA_STATUS_SUCCESS);
    qtest_memset(m->t.qts, m->t.cr + MEMBER * DSA_CR_SIZE, 0, DSA_CR_SIZE);
    read_operands(m, m->after);
}

/* ---- Cases ---- */

static void map_page(MissingTest *m, const Case *c)
{
    busy_map(&m->t, OPERAND(c->operand) + c->page,
             m->area[c->operand] + c->page, PAGE);
}

static void begin(MissingTest *m, const Case *c)
{
    write_operands(m);
    busy_unmap_page(&m->t, OPERAND(c->operand) + c->page);
    submit(m, c);
}

/* 3.13.2: the page is requested, and the operation succeeds */
static void run_block(MissingTest *m, const Case *c)
{
    QVtdPageReq rq;

    begin(m, c);
    busy_expect_request(&m->t, OPERAND(c->operand) + c->page,
                        expected_write(c), &rq);
    map_page(m, c);
    qvtd_prq_respond(&m->t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    expect_success(m, c);
    g_assert_cmpuint(qvtd_prq_count(&m->t.prq), ==, 0);
}

/* 5.8.1: code 0x04.  The first request may have been one ahead of the data. */
static void run_invalid(MissingTest *m, const Case *c)
{
    QVtdPageReq rq;

    begin(m, c);
    do {
        busy_expect_any_request(&m->t, &rq);
        g_assert_cmphex(rq.addr, ==, OPERAND(c->operand) + c->page);
        qvtd_prq_respond(&m->t.prq, &rq, VTD_PAGE_RESP_INVALID);
        while (!qtest_readb(m->t.qts, m->t.cr + MEMBER * DSA_CR_SIZE) &&
               !qvtd_prq_count(&m->t.prq)) {
            g_usleep(100);
        }
    } while (qvtd_prq_count(&m->t.prq));
    expect_partial(m, c, DSA_STATUS_PAGE_FAULT_IR);
    map_page(m, c);
}

/* 5.8.1: code 0x03 */
static void run_no_block(MissingTest *m, const Case *c)
{
    begin(m, c);
    expect_partial(m, c, DSA_STATUS_PAGE_FAULT);
    g_assert_cmpuint(qvtd_prq_count(&m->t.prq), ==, 0);
    map_page(m, c);
}

static void run_page(MissingTest *m, Case *c)
{
    for (int batch = 0; batch < 2; batch++) {
        c->batch = batch;
        c->block = true;
        run_block(m, c);
        run_invalid(m, c);
        c->block = false;
        run_no_block(m, c);
    }
}

static void run_operand(MissingTest *m, const Operation *o, unsigned operand)
{
    uint32_t last = (OFFSET + o->operands[operand].size - 1) & -PAGE;
    uint32_t pages[] = { 0, 2 * PAGE, last };

    for (int i = 0; i < ARRAY_SIZE(pages); i++) {
        Case c = { .o = o, .operand = operand, .page = pages[i] };

        if (i == 0 || (pages[i] > pages[i - 1] && pages[i] <= last)) {
            g_test_message("operand %u, page 0x%x", operand, pages[i]);
            run_page(m, &c);
        }
    }
}

static void run_operation(MissingTest *m, const Operation *o)
{
    learn(m, o);
    for (int i = 0; i < OPERANDS; i++) {
        if (o->operands[i].size) {
            run_operand(m, o, i);
        }
    }
}

static void test_missing_page(const void *opaque)
{
    g_autofree MissingTest *m = g_new0(MissingTest, 1);
    BusyTest *t = &m->t;

    busy_start_at(t, BUSY_DEV, BUSY_IOMMU "-device dsa,addr=4");
    busy_attach_iommu(t);
    busy_map(t, BUSY_IOVA_CR, t->cr, PAGE);
    for (int i = 0; i < OPERANDS; i++) {
        m->area[i] = guest_alloc_zeroed(&t->alloc, t->qts, OPERAND_SIZE);
        busy_map(t, OPERAND(i), m->area[i], OPERAND_SIZE);
    }
    qdsa_start(&t->dsa, busy_wq_bits(true));
    run_operation(m, opaque);
    g_assert_cmphex(qdsa_readq(&t->dsa, A_DSA_SWERROR), ==, 0);
    busy_stop(t);
}

int main(int argc, char **argv)
{
    if (!busy_test_init(&argc, &argv)) {
        return 0;
    }
    for (int i = 0; i < ARRAY_SIZE(operations); i++) {
        g_autofree char *name = g_strdup_printf("/dsa/missing-page/%d-0x%x", i,
                                                operations[i].op);

        qtest_add_data_func(name, &operations[i], test_missing_page);
    }
    return g_test_run();
}
