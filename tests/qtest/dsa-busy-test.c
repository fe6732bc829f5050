/*
 * QTest testcase for the Intel Data Streaming Accelerator (DSA) while busy
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The machine stops or migrates, the device is reset or unplugged, or pages are
 * missing while descriptors are in progress or queued.  The test acts as the
 * guest: it owns the page tables of the process and responds to page requests.
 * Section numbers are those of the Intel DSA Architecture Specification,
 * revision 3.0.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/dsa.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd-prq.h"

#define DEV         QATD_BDF(0, 4, 0)
#define PORT        QATD_BDF(0, 4, 0)
#define BEHIND_PORT QATD_BDF(1, 0, 0)
#define PAGE        0x1000
#define PASID       5

/* Flags of most descriptors */
#define CR          (DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR)
#define BLOCK       (CR | DSA_FLAG_BLOCK_ON_FAULT)

/* Domain id of the process; first-stage entry (VT-d 9.7) */
#define DOMAIN      1
#define FS          (VTD_FL_P | VTD_FL_RW | VTD_FL_US)

#define MACHINE     "-M q35 -nodefaults -m 256 "
#define SVM_IOMMU   "-device intel-iommu,svm=on "

typedef struct Test {
    QTestState *qts;
    QGuestAllocator alloc;
    QDSA dsa;
    QVtd vtd;
    QVtdPrq prq;
    uint64_t root;              /* first-stage tables of PASID */
    uint64_t cr;                /* guest physical address of records, a page */
} Test;

/* ---- Setup ---- */

static void init_at(Test *t, uint16_t bdf)
{
    if (bdf == BEHIND_PORT) {
        qecam_setup_bridge(t->qts, PORT, 1, 1);
    }
    pc_alloc_init(&t->alloc, t->qts, 0);
    qdsa_init(&t->dsa, t->qts, bdf,
              guest_alloc_zeroed(&t->alloc, t->qts, PAGE));
    t->cr = guest_alloc_zeroed(&t->alloc, t->qts, PAGE);
}

static void start_at(Test *t, uint16_t bdf, const char *args)
{
    *t = (Test) { };
    t->qts = qtest_initf(MACHINE "%s", args);
    qecam_enable(t->qts);
    init_at(t, bdf);
}

/* Start a machine without IOMMU, and enable WQ 0 */
static void start(Test *t)
{
    start_at(t, DEV, "-device dsa,addr=4");
    qdsa_start(&t->dsa, 0);
}

static void attach_iommu(Test *t)
{
    uint64_t root0;

    qvtd_init(&t->vtd, t->qts, &t->alloc);
    t->root = qvtd_sm_attach_process(&t->vtd, t->dsa.bdf, PASID, DOMAIN,
                                     &root0);
    qvtd_enable(&t->vtd);
    qvtd_prq_init(&t->prq, &t->vtd, 2);
    qdsa_enable_ats(&t->dsa);
}

static uint64_t wq_bits(bool block)
{
    return R_DSA_WQCFG1_PASID_EN_MASK | PASID << R_DSA_WQCFG1_PASID_SHIFT |
           (block ? R_DSA_WQCFG1_BLOCK_ON_FAULT_MASK : 0);
}

static void stop(Test *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

static void stop_machine(Test *t)
{
    qtest_qmp_assert_success(t->qts, "{ 'execute': 'stop' }");
}

static void cont_machine(Test *t)
{
    qtest_qmp_assert_success(t->qts, "{ 'execute': 'cont' }");
}

/* ---- The address space of the process ---- */

#define IOVA_CR     0x10000000ULL
#define IOVA_DATA   0x20000000ULL

static void map(Test *t, uint64_t iova, uint64_t gpa, size_t size)
{
    for (size_t i = 0; i < size; i += PAGE) {
        qvtd_map_entry(&t->vtd, t->root, 4, iova + i, PAGE, (gpa + i) | FS, FS);
    }
}

static void unmap_page(Test *t, uint64_t iova)
{
    qvtd_map_entry(&t->vtd, t->root, 4, iova, PAGE, 0, FS);
    qvtd_inv_pasid_pages(&t->vtd, DOMAIN, PASID, iova, 0);
    qvtd_submit(&t->vtd, VTD_INV_DESC_DEV_PIOTLB | (uint64_t)PASID << 32 |
                (uint64_t)t->dsa.bdf << 16, iova);
}

/* ---- Page requests ---- */

static void next_request(Test *t, QVtdPageReq *rq)
{
    qvtd_prq_wait(&t->prq, 60, rq);
    g_assert_cmphex(rq->pasid, ==, PASID);
    g_assert_true(rq->read != rq->write);
}

static void expect_any_request(Test *t, QVtdPageReq *rq)
{
    next_request(t, rq);
    g_assert_true(rq->last);
}

/* Expect one group with requests for @n pages; sets @rq to the last request */
static void expect_group(Test *t, uint64_t iova, unsigned n, bool is_write,
                         QVtdPageReq *rq)
{
    for (unsigned i = 0; i < n; i++) {
        next_request(t, rq);
        g_assert_cmphex(rq->addr, ==, iova + i * PAGE);
        g_assert_cmpint(rq->write, ==, is_write);
        g_assert_cmpint(rq->last, ==, i == n - 1);
    }
}

static void expect_request(Test *t, uint64_t iova, bool is_write,
                           QVtdPageReq *rq)
{
    expect_any_request(t, rq);
    g_assert_cmphex(rq->addr, ==, iova & -PAGE);
    g_assert_cmpint(rq->write, ==, is_write);
}

/* ---- Descriptors ---- */

static uint8_t wait_record(Test *t, unsigned n, uint8_t *record)
{
    return qdsa_wait(&t->dsa, t->cr + n * DSA_CR_SIZE, record);
}

static void expect_record(Test *t, unsigned n, uint8_t status, uint32_t bytes,
                          uint64_t fault_page)
{
    uint8_t record[DSA_CR_SIZE];

    g_assert_cmphex(wait_record(t, n, record), ==, status);
    g_assert_cmpuint(ldl_le_p(record + DSA_CR_BYTES_COMPLETED), ==, bytes);
    g_assert_cmphex(ldq_le_p(record + DSA_CR_FAULT_ADDR) & -PAGE, ==,
                    fault_page);
    qtest_memset(t->qts, t->cr + n * DSA_CR_SIZE, 0, DSA_CR_SIZE);
}

static void expect_no_record(Test *t, unsigned n)
{
    g_assert_cmphex(qtest_readb(t->qts, t->cr + n * DSA_CR_SIZE), ==, 0);
}

/* Submit a descriptor with completion record @n to WQ 0 */
static void submit(Test *t, unsigned n, DSAOperation op, uint32_t flags,
                   uint64_t src, uint64_t dst, uint32_t size)
{
    uint64_t cr = (t->root ? IOVA_CR : t->cr) + n * DSA_CR_SIZE;
    QDSADesc desc;

    qdsa_desc(&desc, op, flags, cr);
    qdsa_desc_data(&desc, src, dst, size);
    qdsa_submit(&t->dsa, &desc);
}

static unsigned occupancy(Test *t)
{
    return FIELD_EX64(qdsa_readq(&t->dsa, qdsa_wqcfg(0, 3)), DSA_WQCFG3,
                      OCCUPANCY);
}

/* ---- Block on Fault ---- */

typedef struct BlockTest {
    Test t;
    uint64_t data;              /* guest physical, of IOVA_DATA, 4 pages */
} BlockTest;

/* Map the page at IOVA_DATA, but not the pages behind it */
static void start_block(BlockTest *b, bool block)
{
    Test *t = &b->t;

    start_at(t, DEV, SVM_IOMMU "-device dsa,addr=4,id=dsa0");
    attach_iommu(t);
    b->data = guest_alloc_zeroed(&t->alloc, t->qts, 4 * PAGE);
    map(t, IOVA_CR, t->cr, PAGE);
    map(t, IOVA_DATA, b->data, PAGE);
    qdsa_start(&t->dsa, wq_bits(block));
}

static void expect_filled(Test *t, uint64_t addr, uint64_t pattern,
                          unsigned phase, size_t len)
{
    g_autofree uint8_t *p = g_malloc(len);
    g_autofree uint8_t *expected = g_malloc(len);

    for (size_t i = 0; i < len; i++) {
        expected[i] = pattern >> (phase + i) % 8 * 8;
    }
    qtest_memread(t->qts, addr, p, len);
    g_assert_cmpmem(p, len, expected, len);
}

#define PATTERN 0x0123456789abcdefULL

/* Let an engine wait for the second of two pages */
static void begin_block(BlockTest *b, QVtdPageReq *rq)
{
    start_block(b, true);
    submit(&b->t, 0, DSA_OP_FILL, BLOCK, PATTERN, IOVA_DATA, 2 * PAGE);
    expect_request(&b->t, IOVA_DATA + PAGE, true, rq);
}

/* 3.13.2: with Block on Fault the engine waits for missing pages */
static void test_block(void)
{
    QVtdPageReq rq;
    BlockTest b;
    Test *t = &b.t;

    start_block(&b, true);
    submit(t, 0, DSA_OP_FILL, BLOCK, PATTERN, IOVA_DATA + 4, 2 * PAGE);
    expect_group(t, IOVA_DATA + PAGE, 2, true, &rq);
    expect_no_record(t, 0);
    map(t, IOVA_DATA + PAGE, b.data + PAGE, 2 * PAGE);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    expect_record(t, 0, DSA_STATUS_SUCCESS, 0, 0);
    g_assert_cmpuint(qvtd_prq_count(&t->prq), ==, 0);
    expect_filled(t, b.data + 4, PATTERN, 0, 2 * PAGE);

    /* A read operation requests read permission */
    unmap_page(t, IOVA_DATA + PAGE);
    submit(t, 0, DSA_OP_CRC, BLOCK, IOVA_DATA, 0, 2 * PAGE);
    expect_request(t, IOVA_DATA + PAGE, false, &rq);
    map(t, IOVA_DATA + PAGE, b.data + PAGE, PAGE);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    expect_record(t, 0, DSA_STATUS_SUCCESS, 0, 0);
    stop(&b.t);
}

/*
 * Operations that copy their data prefetch many pages at once, and repeat the
 * requests when the machine continues.
 */
static void test_block_copied(void)
{
    static const struct {
        DSAOperation op;
        uint32_t dst;
        uint32_t size;
        unsigned pages;
    } ops[] = {
        /* Backward: the source, and the page behind it */
        { DSA_OP_MEMORY_MOVE, PAGE, 16 * PAGE, 16 },
        { DSA_OP_DIF_INSERT, 32 * PAGE, 16 * PAGE, 16 },
        { DSA_OP_DIF_CHECK, 0, 520 * 128, 17 },
        { DSA_OP_APPLY_DELTA, 32 * PAGE, 16 * PAGE, 16 },
        { DSA_OP_CREATE_DELTA, 32 * PAGE, 16 * PAGE, 16 },
    };

    for (int i = 0; i < ARRAY_SIZE(ops); i++) {
        uint64_t dst = ops[i].dst ? IOVA_DATA + ops[i].dst : 0;
        QVtdPageReq rq;
        QDSADesc desc;
        BlockTest b;
        Test *t = &b.t;

        g_test_message("case %d", i);
        start_block(&b, true);
        unmap_page(t, IOVA_DATA);
        qdsa_desc(&desc, ops[i].op, BLOCK, IOVA_CR);
        qdsa_desc_data(&desc, IOVA_DATA, dst, ops[i].size);
        if (ops[i].op == DSA_OP_CREATE_DELTA) {
            stq_le_p(desc.raw + DSA_DESC_DELTA_ADDR, IOVA_DATA + 64 * PAGE);
            stl_le_p(desc.raw + DSA_DESC_MAX_DELTA_SIZE, 80);
        } else if (ops[i].op == DSA_OP_APPLY_DELTA) {
            stl_le_p(desc.raw + DSA_DESC_DELTA_SIZE, 16 * PAGE);
        }
        qdsa_submit(&t->dsa, &desc);
        expect_group(t, IOVA_DATA, ops[i].pages, false, &rq);
        stop_machine(t);
        qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
        cont_machine(t);
        expect_group(t, IOVA_DATA, ops[i].pages, false, &rq);
        stop(t);
    }
}

/* 3.13.3, 5.8.1: without it, partial completion and no page requests */
static void test_no_block(void)
{
    BlockTest b;
    Test *t = &b.t;

    start_block(&b, true);
    submit(t, 0, DSA_OP_FILL, CR, PATTERN, IOVA_DATA + 4, 2 * PAGE);
    expect_record(t, 0, DSA_STATUS_PAGE_FAULT | DSA_STATUS_WRITE, PAGE - 4,
                  IOVA_DATA + PAGE);
    submit(t, 0, DSA_OP_CRC, CR, IOVA_DATA + 4, 0, 2 * PAGE);
    expect_record(t, 0, DSA_STATUS_PAGE_FAULT, PAGE - 4, IOVA_DATA + PAGE);
    g_assert_cmpuint(qvtd_prq_count(&t->prq), ==, 0);
    stop(&b.t);

    /* The flag is reserved if the WQ does not allow it (Table 5-4) */
    start_block(&b, false);
    submit(t, 0, DSA_OP_FILL, BLOCK, PATTERN, IOVA_DATA, 2 * PAGE);
    expect_record(t, 0, DSA_STATUS_FLAGS, 0, 0);
    stop(&b.t);
}

/*
 * 3.13.2, 5.8.1: responses other than Success.  After a failed response to a
 * group, demand page requests find the page that is invalid.
 */
static void test_block_refused(void)
{
    QVtdPageReq rq;
    BlockTest b;
    Test *t = &b.t;

    start_block(&b, true);
    submit(t, 0, DSA_OP_FILL, BLOCK, PATTERN, IOVA_DATA + 4, 3 * PAGE);
    expect_group(t, IOVA_DATA + PAGE, 3, true, &rq);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_INVALID);
    expect_request(t, IOVA_DATA + PAGE, true, &rq);
    map(t, IOVA_DATA + PAGE, b.data + PAGE, PAGE);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    expect_request(t, IOVA_DATA + 2 * PAGE, true, &rq);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_INVALID);
    expect_record(t, 0, DSA_STATUS_PAGE_FAULT_IR | DSA_STATUS_WRITE,
                  2 * PAGE - 4, IOVA_DATA + 2 * PAGE);
    unmap_page(t, IOVA_DATA + PAGE);
    submit(t, 0, DSA_OP_CRC, BLOCK, IOVA_DATA, 0, 2 * PAGE);
    expect_request(t, IOVA_DATA + PAGE, false, &rq);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_INVALID);
    expect_record(t, 0, DSA_STATUS_PAGE_FAULT_IR, PAGE, IOVA_DATA + PAGE);
    submit(t, 0, DSA_OP_FILL, BLOCK, PATTERN, IOVA_DATA, 2 * PAGE);
    expect_request(t, IOVA_DATA + PAGE, true, &rq);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_FAILURE);
    expect_record(t, 0, DSA_STATUS_TRANSLATION, PAGE, IOVA_DATA + PAGE);
    /* 5.7: PRI Enable has not changed, so that the device does not halt */
    qecam_writew(t->qts, t->dsa.bdf, PCI_CACHE_LINE_SIZE, 0);
    g_assert_cmphex(qdsa_readl(&t->dsa, A_DSA_GENSTS), ==, DSA_ENABLED);
    stop(&b.t);
}

/* 3.13.1: page requests for batch lists and records ignore the flag */
static void test_block_record(void)
{
    QVtdPageReq rq;
    BlockTest b;
    Test *t = &b.t;

    start_block(&b, false);
    unmap_page(t, IOVA_CR);
    submit(t, 0, DSA_OP_NOOP, CR, 0, 0, 0);
    expect_request(t, IOVA_CR, true, &rq);
    map(t, IOVA_CR, t->cr, PAGE);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    expect_record(t, 0, DSA_STATUS_SUCCESS, 0, 0);

    submit(t, 0, DSA_OP_BATCH, CR, IOVA_DATA + PAGE, 0, 2);
    expect_request(t, IOVA_DATA + PAGE, false, &rq);
    map(t, IOVA_DATA + PAGE, b.data + PAGE, PAGE);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    expect_record(t, 0, DSA_STATUS_SUCCESS, 2, 0);

    submit(t, 0, DSA_OP_BATCH, CR, IOVA_DATA + 2 * PAGE, 0, 2);
    expect_request(t, IOVA_DATA + 2 * PAGE, false, &rq);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_INVALID);
    expect_record(t, 0, DSA_STATUS_BATCH_FAULT, 0, IOVA_DATA + 2 * PAGE);
    stop(&b.t);
}

/* ---- Every operation in progress ---- */

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
    Test t;
    uint64_t area[CASES];       /* guest physical address */
    uint8_t record[CASES][DSA_CR_SIZE];
    uint8_t memory[CASES][AREA_SIZE];
} EveryTest;

static void put_batch(uint8_t *list, uint64_t area)
{
    QDSADesc desc;

    qdsa_desc(&desc, DSA_OP_FILL, CR, area + 0x1000);
    qdsa_desc_data(&desc, 0x1111111111111111ULL, area + 0x4000, 0x100);
    memcpy(list, desc.raw, DSA_DESC_SIZE);
    qdsa_desc(&desc, DSA_OP_FILL, BLOCK, area + 0x1020);
    qdsa_desc_data(&desc, PATTERN, area + 0x5005, 0x2000);
    memcpy(list + DSA_DESC_SIZE, desc.raw, DSA_DESC_SIZE);
    qdsa_desc(&desc, DSA_OP_COMPARE, CR | DSA_FLAG_FENCE, area + 0x1040);
    qdsa_desc_data(&desc, area + 0x4000, area + 0x5000, 0x100);
    memcpy(list + 2 * DSA_DESC_SIZE, desc.raw, DSA_DESC_SIZE);
}

/* Initial contents of an area */
static void every_fill_area(uint8_t *p, int i)
{
    const Case *c = &cases[i];

    for (int j = 0; j < AREA_SIZE; j++) {
        p[j] = (j * 131 + i) >> (j % 3);
    }
    switch (c->op) {
    case DSA_OP_COMPARE:
        memcpy(p + c->dst, p + c->src, c->size);
        break;
    case DSA_OP_COMPARE_PATTERN:
        for (int j = 0; j < c->size; j++) {
            p[c->src + j] = PATTERN >> j % 8 * 8;
        }
        break;
    case DSA_OP_APPLY_DELTA:
        for (int j = 0; j < 600; j++) {
            stw_le_p(p + c->src + j * 10, j * 2);
        }
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
    Test *t = &e->t;

    start_at(t, DEV, SVM_IOMMU "-device dsa,addr=4,engines=24");
    attach_iommu(t);
    map(t, IOVA_CR, t->cr, PAGE);
    for (int i = 0; i < CASES; i++) {
        e->area[i] = guest_alloc_zeroed(&t->alloc, t->qts, AREA_SIZE);
        map(t, AREA(i), e->area[i], AREA_SIZE);
    }
    qdsa_configure_wq(&t->dsa, 0, 32, DSA_WQ_DEDICATED | wq_bits(true));
    qdsa_writeq(&t->dsa, qdsa_grpcfg(0, DSA_GRPCFG_ENGINES),
                MAKE_64BIT_MASK(0, CASES + 2));
    qdsa_enable(&t->dsa);
    every_prepare(e);
}

static void every_submit(EveryTest *e, int i)
{
    const Case *c = &cases[i];
    uint64_t cr = c->op == DSA_OP_NOOP ? AREA(i) + c->missing
                                       : IOVA_CR + i * DSA_CR_SIZE;
    uint64_t src = AREA(i) + c->src, dst = AREA(i) + c->dst;
    QDSADesc desc;

    qdsa_desc(&desc, c->op, BLOCK, cr);
    switch (c->op) {
    case DSA_OP_NOOP:
        qdsa_desc(&desc, c->op, CR, cr);
        src = dst = 0;
        break;
    case DSA_OP_BATCH:
        qdsa_desc(&desc, c->op, CR, cr);
        dst = 0;
        break;
    case DSA_OP_FILL:
        src = PATTERN;
        break;
    case DSA_OP_COMPARE_PATTERN:
        dst = PATTERN;
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
        /* Disable all checks, as the data has no DIFs */
        desc.raw[DSA_DESC_SRC_DIF_FLAGS] = R_DSA_SRC_DIF_NO_GUARD_CHECK_MASK |
                                           R_DSA_SRC_DIF_NO_REF_CHECK_MASK;
        stw_le_p(desc.raw + DSA_DESC_SRC_DIF_TAGS + 4, 0xffff);
    }
    qdsa_desc_data(&desc, src, dst, c->size);
    qdsa_submit(&e->t.dsa, &desc);
}

static void every_wait(EveryTest *e, int i, uint8_t *record)
{
    if (cases[i].op == DSA_OP_NOOP) {
        qdsa_wait(&e->t.dsa, e->area[i] + cases[i].missing, record);
    } else {
        wait_record(&e->t, i, record);
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
        expect_any_request(&e->t, &rq[n]);
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
    Test *t = &e->t;

    every_prepare(e);
    for (int i = 0; i < CASES; i++) {
        if (cases[i].op == DSA_OP_NOOP) {
            qtest_memset(t->qts, e->area[i] + cases[i].missing, 0, PAGE);
        }
        unmap_page(t, AREA(i) + cases[i].missing);
        every_submit(e, i);
    }
    every_expect_requests(e, rq);
    submit(t, CASES, DSA_OP_DRAIN, CR, 0, 0, 0);
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
    Test *t = &e->t;

    for (int i = 0; i < CASES; i++) {
        map(t, AREA(i) + cases[i].missing, e->area[i] + cases[i].missing, PAGE);
    }
    g_assert_cmphex(qdsa_readl(&t->dsa, A_DSA_CMDSTATUS), ==,
                    R_DSA_CMDSTATUS_ACTIVE_MASK);
    expect_no_record(t, CASES);
    for (int n = 0; n < CASES; n++) {
        qvtd_prq_respond(&t->prq, &rq[n], VTD_PAGE_RESP_SUCCESS);
    }
    every_check(e);
    g_assert_cmphex(qdsa_readl(&t->dsa, A_DSA_CMDSTATUS), ==,
                    R_DSA_CMDSTATUS_ACTIVE_MASK);
    expect_no_record(t, CASES);
    for (int n = 0; n < n_old; n++) {
        qvtd_prq_respond(&t->prq, &old[n], VTD_PAGE_RESP_SUCCESS);
    }
    g_assert_cmphex(wait_record(t, CASES, record), ==, DSA_STATUS_SUCCESS);
    g_assert_cmphex(qdsa_wait_command(&t->dsa), ==, 0);
    g_assert_cmphex(qdsa_readq(&t->dsa, A_DSA_SWERROR), ==, 0);
}

/* After a stop, the page requests are repeated */
static void test_every_stop(void)
{
    g_autofree EveryTest *e = g_new0(EveryTest, 1);
    QVtdPageReq rq[CASES], old[CASES];
    Test *t = &e->t;

    every_start(e);
    every_learn(e);
    every_begin(e, old);
    stop_machine(t);
    /* Respond to all but one meanwhile */
    for (int n = 1; n < CASES; n++) {
        qvtd_prq_respond(&t->prq, &old[n], VTD_PAGE_RESP_SUCCESS);
    }
    cont_machine(t);
    every_expect_requests(e, rq);
    every_finish(e, rq, old, 1);
    stop(t);
}

static void load(Test *t, const char *path, const char *args)
{
    t->qts = qtest_initf(MACHINE "%s -incoming defer", args);
    t->dsa.qts = t->vtd.qts = t->qts;
    qatd_load_machine(t->qts, path);
}

static void test_every_migrate(void)
{
    g_autofree EveryTest *e = g_new0(EveryTest, 1);
    g_autofree char *path = NULL;
    QVtdPageReq rq[CASES], old[CASES];
    Test *t = &e->t;

    every_start(e);
    every_learn(e);
    every_begin(e, old);
    path = qatd_save_machine(t->qts);
    load(t, path, SVM_IOMMU "-device dsa,addr=4,engines=24");
    /* The allocation is too small for these and the repeated requests */
    for (int n = 1; n < CASES; n++) {
        qvtd_prq_respond(&t->prq, &old[n], VTD_PAGE_RESP_SUCCESS);
    }
    every_expect_requests(e, rq);
    every_finish(e, rq, old, 1);
    stop(t);
}

/* ---- Jobs that are abandoned while parked ---- */

/* 3.15: an aborted job sends no further requests and settles the others */
static void test_abort(void)
{
    QVtdPageReq rq;
    BlockTest b;
    Test *t = &b.t;

    start_block(&b, true);
    submit(t, 0, DSA_OP_FILL, BLOCK, PATTERN, IOVA_DATA, 65 * PAGE);
    expect_group(t, IOVA_DATA + PAGE, 32, true, &rq);
    qdsa_writel(&t->dsa, A_DSA_CMD, DSA_CMD_ABORT_ALL << R_DSA_CMD_CODE_SHIFT);
    g_assert_cmphex(qdsa_readl(&t->dsa, A_DSA_CMDSTATUS), ==,
                    R_DSA_CMDSTATUS_ACTIVE_MASK);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(qdsa_wait_command(&t->dsa), ==, 0);
    expect_no_record(t, 0);
    g_assert_cmpuint(qvtd_prq_count(&t->prq), ==, 0);
    stop(t);
}

/* The machine stops or migrates before the response to an aborted job */
static void abort_and_stop(bool migrates)
{
    g_autofree char *path = NULL;
    QVtdPageReq rq;
    BlockTest b;
    Test *t = &b.t;

    begin_block(&b, &rq);
    qdsa_writel(&t->dsa, A_DSA_CMD, DSA_CMD_ABORT_ALL << R_DSA_CMD_CODE_SHIFT);
    if (migrates) {
        path = qatd_save_machine(t->qts);
        load(t, path, SVM_IOMMU "-device dsa,addr=4,id=dsa0");
    } else {
        stop_machine(t);
        cont_machine(t);
    }
    /* The page is mapped now, but the response is still missing */
    map(t, IOVA_DATA + PAGE, b.data + PAGE, PAGE);
    g_assert_cmphex(qdsa_readl(&t->dsa, A_DSA_CMDSTATUS), ==,
                    R_DSA_CMDSTATUS_ACTIVE_MASK);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(qdsa_wait_command(&t->dsa), ==, 0);
    expect_no_record(t, 0);
    stop(t);
}

static void test_abort_stop(void)
{
    abort_and_stop(false);
}

static void test_abort_migrate(void)
{
    abort_and_stop(true);
}

/* ---- Stop and migration without an IOMMU ---- */

/* No data is written twice, or while the machine is stopped */
static void test_migrate_progress(void)
{
    g_autofree char *path = NULL;
    QVtdPageReq rq, old;
    BlockTest b;
    Test *t = &b.t;

    start_block(&b, true);
    submit(t, 0, DSA_OP_FILL, BLOCK, PATTERN, IOVA_DATA + 4, 2 * PAGE - 4);
    submit(t, 1, DSA_OP_NOOP, CR, 0, 0, 0);
    submit(t, 2, DSA_OP_NOOP, CR, 0, 0, 0);
    expect_request(t, IOVA_DATA + PAGE, true, &old);
    expect_filled(t, b.data + 4, PATTERN, 0, PAGE - 4);
    g_assert_cmpuint(occupancy(t), ==, 2);
    /* Detect whether the destination restarts the operation */
    qtest_memset(t->qts, b.data, 0, PAGE);
    path = qatd_save_machine(t->qts);

    load(t, path, SVM_IOMMU "-device dsa,addr=4,id=dsa0");
    g_assert_cmpuint(occupancy(t), ==, 2);
    expect_request(t, IOVA_DATA + PAGE, true, &rq);
    expect_filled(t, b.data, 0, 0, PAGE);
    map(t, IOVA_DATA + PAGE, b.data + PAGE, PAGE);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    expect_record(t, 0, DSA_STATUS_SUCCESS, 0, 0);
    qvtd_prq_respond(&t->prq, &old, VTD_PAGE_RESP_SUCCESS);
    expect_record(t, 1, DSA_STATUS_SUCCESS, 0, 0);
    expect_record(t, 2, DSA_STATUS_SUCCESS, 0, 0);
    expect_filled(t, b.data, 0, 0, PAGE);
    expect_filled(t, b.data + PAGE, PATTERN, PAGE - 4, PAGE);
    stop(&b.t);
}

/* Registers, tables, MSI-X and interrupt handles migrate */
static void test_migrate_idle(void)
{
    const uint32_t perm = PASID << R_DSA_MSIXPERM_PASID_SHIFT |
                          R_DSA_MSIXPERM_IGNORE_MASK;
    g_autofree char *path = NULL;
    uint64_t cfg[DSA_WQCFG_QWORDS];
    QDSADesc desc;
    Test t;
    QDSA *d = &t.dsa;

    start(&t);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_REQUEST_INT_HANDLE, 2), ==, 2 << 8);
    qdsa_writel(d, qdsa_msixperm(3), perm);
    qdsa_writel(d, A_DSA_GENCTRL, R_DSA_GENCTRL_SWERROR_INT_MASK);
    for (int i = 0; i < ARRAY_SIZE(cfg); i++) {
        cfg[i] = qdsa_readq(d, qdsa_wqcfg(0, i));
    }
    path = qatd_save_machine(t.qts);
    load(&t, path, "-device dsa,addr=4");

    g_assert_cmphex(qdsa_readl(d, A_DSA_GENSTS), ==, DSA_ENABLED);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENCTRL), ==,
                    R_DSA_GENCTRL_SWERROR_INT_MASK);
    g_assert_cmphex(qdsa_readl(d, qdsa_msixperm(3)), ==, perm);
    for (int i = 0; i < ARRAY_SIZE(cfg); i++) {
        g_assert_cmphex(qdsa_readq(d, qdsa_wqcfg(0, i)), ==, cfg[i]);
    }
    qdsa_desc(&desc, DSA_OP_NOOP, CR | DSA_FLAG_REQUEST_INT, t.cr);
    stw_le_p(desc.raw + DSA_DESC_INT_HANDLE, 2);
    qdsa_submit(d, &desc);
    expect_record(&t, 0, DSA_STATUS_SUCCESS, 0, 0);
    qdsa_wait_msi(d, 2);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DISABLE_WQ, 1), ==, 0);
    stop(&t);
}

/* Properties that are visible to the guest must match */
static void test_migrate_mismatch(void)
{
    static const char *const args[] = {
        "engines=5", "groups=3", "work-queues=9", "work-queue-entries=64",
    };

    for (int i = 0; i < ARRAY_SIZE(args); i++) {
        g_autofree char *path = NULL, *end = NULL;
        Test t;

        start(&t);
        path = qatd_save_machine(t.qts);
        t.qts = qtest_initf(MACHINE "-device dsa,addr=4,%s -incoming defer",
                            args[i]);
        end = qatd_try_load_machine(t.qts, path);
        g_assert_cmpstr(end, ==, "failed");
        unlink(path);
        stop(&t);
    }
}

/* Find the descriptor with completion record @n in a stream */
static size_t find_descriptor(const char *stream, size_t len, unsigned n,
                              DSAOperation op)
{
    uint8_t key[9] = { op };

    stq_le_p(key + 1, IOVA_CR + n * DSA_CR_SIZE);
    for (size_t i = 0; i + sizeof(key) <= len; i++) {
        if (!memcmp(stream + i, key, sizeof(key))) {
            return i - DSA_DESC_OPERATION;
        }
    }
    g_assert_not_reached();
}

static void expect_load(const char *path, const char *stream, size_t len,
                        const char *expected)
{
    qatd_expect_load(MACHINE SVM_IOMMU "-device dsa,addr=4,id=dsa0 "
                     "-incoming defer", path, stream, len, expected);
}

/* Streams with invalid fields are refused */
static void test_migrate_hostile(void)
{
    /* Offsets from the descriptor in execution, as vmstate.c saves it */
    static const struct {
        unsigned offset;
        uint8_t val;
    } bytes[] = {
        { 64 + 7, 2 },          /* sequence number, not assigned yet */
        { 80, 200 },            /* WQ */
        { 81, 40 },             /* Maximum Transfer Size */
        { 83 + DSA_DESC_OPERATION, 0xff },
        { 83 + DSA_DESC_OPERATION, 0x0f },
        { 83 + DSA_DESC_OPERATION, DSA_OP_NOOP },
        { 83 + DSA_DESC_TRANSFER_SIZE + 3, 0xff },
        { 149, 5 },             /* phase */
        { 162, 0xff },          /* Bytes Completed */
        /* A job with progress is not in phase CHECK */
        { 149, 0 },
        /* A job in phase RUN has no error */
        { 159, 1 },             /* status */
        { 160, 1 },             /* direction of the fault */
        { 161, 1 },             /* Result */
        { 166, 1 },             /* Fault Address */
    };
    g_autofree char *path = NULL, *stream = NULL;
    size_t len, place;
    QVtdPageReq rq;
    BlockTest b;
    Test *t = &b.t;

    begin_block(&b, &rq);
    submit(t, 1, DSA_OP_NOOP, CR, 0, 0, 0);
    path = qatd_save_machine(t->qts);
    g_assert_true(g_file_get_contents(path, &stream, &len, NULL));
    expect_load(path, stream, len, "completed");
    place = find_descriptor(stream, len, 0, DSA_OP_FILL);
    for (int i = 0; i < ARRAY_SIZE(bytes); i++) {
        uint8_t old = stream[place + bytes[i].offset];

        g_test_message("case %d", i);
        stream[place + bytes[i].offset] = bytes[i].val;
        expect_load(path, stream, len, "failed");
        stream[place + bytes[i].offset] = old;
    }
    /* The Occupancy precedes the first entry of the WQ */
    place = find_descriptor(stream, len, 1, DSA_OP_NOOP);
    g_assert_cmphex(ldl_be_p(stream + place - 4), ==, 1);
    stl_be_p(stream + place - 4, 129);
    expect_load(path, stream, len, "failed");
    unlink(path);
    alloc_destroy(&t->alloc);
}

/* Bytes Completed of delta operations is a multiple of their unit */
static void test_migrate_hostile_delta(void)
{
    /* The operations wait for their first page */
    static const struct {
        DSAOperation op;
        uint8_t bytes;
        const char *expected;
    } cases[] = {
        { DSA_OP_CREATE_DELTA, 8, "completed" },
        { DSA_OP_CREATE_DELTA, 12, "failed" },
        { DSA_OP_APPLY_DELTA, 10, "completed" },
        { DSA_OP_APPLY_DELTA, 15, "failed" },
    };

    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = NULL, *stream = NULL;
        size_t len, place;
        QVtdPageReq rq;
        QDSADesc desc;
        BlockTest b;
        Test *t = &b.t;

        g_test_message("case %d", i);
        start_block(&b, true);
        qdsa_desc(&desc, cases[i].op, BLOCK, IOVA_CR);
        qdsa_desc_data(&desc, IOVA_DATA + PAGE, IOVA_DATA, 16);
        if (cases[i].op == DSA_OP_CREATE_DELTA) {
            stq_le_p(desc.raw + DSA_DESC_DELTA_ADDR, IOVA_DATA + 64);
            stl_le_p(desc.raw + DSA_DESC_MAX_DELTA_SIZE, 80);
        } else {
            stl_le_p(desc.raw + DSA_DESC_DELTA_SIZE, 19);
        }
        qdsa_submit(&t->dsa, &desc);
        expect_request(t, IOVA_DATA + PAGE, false, &rq);
        path = qatd_save_machine(t->qts);
        g_assert_true(g_file_get_contents(path, &stream, &len, NULL));
        place = find_descriptor(stream, len, 0, cases[i].op);
        stream[place + 165] = cases[i].bytes;
        expect_load(path, stream, len, cases[i].expected);
        unlink(path);
        alloc_destroy(&t->alloc);
    }
}

/* A command cannot end before the descriptors for which it waits */
static void test_migrate_hostile_command(void)
{
    /* Offsets from Reset Device, as vmstate.c saves it */
    static const struct {
        unsigned offset;
        uint8_t val;
    } bytes[] = {
        { 5, 1 },               /* done */
        { 6, 0 },               /* WQs */
        { 18, 1 },              /* by PASID */
        { 26, 0 },              /* end */
        { 26, 2 },
        { 34, 2 },              /* the next sequence number */
    };
    uint8_t key[14] = { };
    g_autofree char *path = NULL, *stream = NULL;
    size_t len, place;
    QVtdPageReq rq;
    BlockTest b;
    Test *t = &b.t;

    begin_block(&b, &rq);
    qdsa_writel(&t->dsa, A_DSA_CMD,
                DSA_CMD_RESET_DEVICE << R_DSA_CMD_CODE_SHIFT);
    path = qatd_save_machine(t->qts);
    g_assert_true(g_file_get_contents(path, &stream, &len, NULL));
    expect_load(path, stream, len, "completed");
    stl_be_p(key, DSA_CMD_RESET_DEVICE << R_DSA_CMD_CODE_SHIFT);
    key[4] = true;
    memset(key + 6, 0xff, 8);
    for (place = 0; memcmp(stream + place, key, sizeof(key)); place++) {
        g_assert_cmpuint(place + sizeof(key), <, len);
    }
    for (int i = 0; i < ARRAY_SIZE(bytes); i++) {
        uint8_t old = stream[place + bytes[i].offset];

        g_test_message("case %d", i);
        stream[place + bytes[i].offset] = bytes[i].val;
        expect_load(path, stream, len, "failed");
        stream[place + bytes[i].offset] = old;
    }
    /* Drain All cannot wait for sequence numbers that are not assigned */
    stream[place + 1] = DSA_CMD_DRAIN_ALL << (R_DSA_CMD_CODE_SHIFT - 16);
    expect_load(path, stream, len, "completed");
    stream[place + 26] = 2;
    expect_load(path, stream, len, "failed");
    stream[place + 26] = 1;
    /* The next sequence number is below 2^63 */
    stream[place + 19] = stream[place + 27] = 0x80;
    expect_load(path, stream, len, "failed");
    unlink(path);
    alloc_destroy(&t->alloc);
}

#define BIG_SIZE    0x2000000

/* Check one page of each MiB */
static void expect_big(Test *t, uint64_t addr, uint8_t byte)
{
    for (size_t i = 0; i < BIG_SIZE; i += MiB) {
        expect_filled(t, addr + i, byte * 0x0101010101010101ULL, 0, PAGE);
    }
}

static void submit_moves(Test *t, uint64_t src)
{
    for (int i = 0; i < 16; i++) {
        submit(t, i, DSA_OP_MEMORY_MOVE, CR, src, src + BIG_SIZE, BIG_SIZE);
    }
}

/* No descriptor is lost, or executed while the machine is stopped */
static void test_stop(void)
{
    uint64_t src;
    Test t;

    start(&t);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 2 * BIG_SIZE);
    qtest_memset(t.qts, src, 0x5a, BIG_SIZE);
    for (int round = 0; round < 3; round++) {
        submit_moves(&t, src);
        stop_machine(&t);
        qtest_memset(t.qts, src + BIG_SIZE, 0xa5, BIG_SIZE);
        expect_big(&t, src + BIG_SIZE, 0xa5);
        cont_machine(&t);
        for (int i = 0; i < 16; i++) {
            expect_record(&t, i, DSA_STATUS_SUCCESS, 0, 0);
        }
        /* The first round may have ended before the machine stopped */
        submit(&t, 0, DSA_OP_MEMORY_MOVE, CR, src, src + BIG_SIZE, BIG_SIZE);
        expect_record(&t, 0, DSA_STATUS_SUCCESS, 0, 0);
        expect_big(&t, src + BIG_SIZE, 0x5a);
    }
    stop(&t);
}

/* ---- Reset, bus mastering and unplug ---- */

static void flr(Test *t)
{
    qecam_writew(t->qts, t->dsa.bdf, 0x40 + PCI_EXP_DEVCTL,
                 PCI_EXP_DEVCTL_BCR_FLR);
}

static void master_off(Test *t)
{
    qecam_writew(t->qts, t->dsa.bdf, PCI_COMMAND, PCI_COMMAND_MEMORY);
}

static void master_off_on(Test *t)
{
    master_off(t);
    qecam_writew(t->qts, t->dsa.bdf, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static void hot_reset(Test *t)
{
    qecam_writew(t->qts, PORT, PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_BUS_RESET);
    qecam_writew(t->qts, PORT, PCI_BRIDGE_CONTROL, 0);
}

static void system_reset(Test *t)
{
    qtest_qmp_assert_success(t->qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(t->qts, "RESET");
}

static void unplug(Test *t)
{
    qecam_unplug(t->qts, "dsa0");
}

static void (*const takers[])(Test *t) = {
    flr, master_off, master_off_on, hot_reset, system_reset, unplug,
};

/* The device does not write to memory after the guest's access returns */
static void test_taken_away(void)
{
    uint64_t src;
    Test t;

    for (int i = 0; i < ARRAY_SIZE(takers); i++) {
        g_test_message("case %d", i);
        start_at(&t, BEHIND_PORT, "-device pcie-root-port,id=rp,addr=4,"
                 "chassis=1 -device dsa,bus=rp,id=dsa0");
        qdsa_start(&t.dsa, 0);
        src = guest_alloc_zeroed(&t.alloc, t.qts, 2 * BIG_SIZE);
        submit_moves(&t, src);
        takers[i](&t);
        qtest_memset(t.qts, src + BIG_SIZE, 0xa5, BIG_SIZE);
        qtest_memset(t.qts, t.cr, 0xa5, PAGE);
        expect_big(&t, src + BIG_SIZE, 0xa5);
        expect_filled(&t, t.cr, 0xa5a5a5a5a5a5a5a5ULL, 0, PAGE);
        stop(&t);
    }
}

/* After a reset the device works, and has dropped all earlier work */
static void expect_forgotten(BlockTest *b)
{
    Test *t = &b->t;

    qdsa_init(&t->dsa, t->qts, DEV, t->dsa.msi);
    qdsa_enable_ats(&t->dsa);
    qdsa_start(&t->dsa, wq_bits(true));
    submit(t, 1, DSA_OP_NOOP, CR, 0, 0, 0);
    expect_record(t, 1, DSA_STATUS_SUCCESS, 0, 0);
    expect_no_record(t, 0);
    expect_filled(t, b->data, 0, 0, 2 * PAGE);
}

/* Reset, or bus mastering cleared, while an engine waits for a page */
static void test_taken_away_blocked(void)
{
    QVtdPageReq rq;
    BlockTest b;
    Test *t = &b.t;

    for (int i = 0; i < 3; i++) {
        begin_block(&b, &rq);
        takers[i](t);
        qtest_memset(t->qts, b.data, 0, PAGE);
        map(t, IOVA_DATA + PAGE, b.data + PAGE, PAGE);
        qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
        flr(t);
        expect_forgotten(&b);
        stop(t);
    }
}

/*
 * PCIe 5.0, 10.5.1.3 and 10.5.2.5: the largest STU, an allocation above the
 * capacity, and a move from missing pages that crosses an STU boundary
 */
static void begin_extreme(BlockTest *b)
{
    Test *t = &b->t;
    uint64_t unit = 1ULL << 43;
    uint16_t ats, pri;

    start_at(t, DEV, SVM_IOMMU "-device dsa,addr=4,id=dsa0");
    attach_iommu(t);
    ats = qecam_ext_cap(t->qts, DEV, PCI_EXT_CAP_ID_ATS);
    qecam_writew(t->qts, DEV, ats + PCI_ATS_CTRL, 0);
    qecam_writew(t->qts, DEV, ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 31);
    b->data = guest_alloc_zeroed(&t->alloc, t->qts, 4 * PAGE);
    map(t, IOVA_CR, t->cr, PAGE);
    qdsa_start(&t->dsa, wq_bits(true));
    pri = qecam_ext_cap(t->qts, DEV, PCI_EXT_CAP_ID_PRI);
    qecam_writel(t->qts, DEV, pri + PCI_PRI_ALLOC_REQ, 1 << 22);
    submit(t, 0, DSA_OP_MEMORY_MOVE, BLOCK, unit - PAGE, IOVA_DATA, 2 * MiB);
}

static void test_extreme(void)
{
    QVtdPageReq rq;
    BlockTest b;
    Test *t = &b.t;

    begin_extreme(&b);
    flr(t);
    qtest_qmp_assert_success(t->qts, "{ 'execute': 'query-status' }");
    expect_forgotten(&b);
    stop(t);

    begin_extreme(&b);
    while (!qtest_readb(t->qts, t->cr)) {
        if (!qvtd_prq_count(&t->prq)) {
            continue;
        }
        next_request(t, &rq);
        if (rq.last) {
            qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_INVALID);
        }
    }
    expect_record(t, 0, DSA_STATUS_PAGE_FAULT_IR, 0, (1ULL << 43) - PAGE);
    stop(t);
}

/* 3.15: a reset while the machine is stopped and descriptors are suspended */
static void test_stop_reset(void)
{
    QVtdPageReq rq;
    BlockTest b;
    Test *t = &b.t;

    begin_block(&b, &rq);
    stop_machine(t);
    qtest_memset(t->qts, b.data, 0, PAGE);
    flr(t);
    cont_machine(t);
    expect_forgotten(&b);
    stop(t);
}

/* ---- MMIO ---- */

#define ECAM        0xb0000000ULL
#define BRIDGE_CTL  (ECAM + ((uint64_t)PORT << 12) + PCI_BRIDGE_CONTROL)

/*
 * An engine does not access MMIO: if it reset or unplugged its own device, it
 * would wait for itself.
 */
static void test_not_ram(void)
{
    uint64_t src, mmio[3];
    Test t;

    start_at(&t, BEHIND_PORT, "-device pcie-root-port,id=rp,addr=4,chassis=1 "
             "-device dsa,bus=rp,id=dsa0");
    qdsa_start(&t.dsa, 0);
    src = guest_alloc_zeroed(&t.alloc, t.qts, PAGE);
    qtest_writew(t.qts, src, PCI_BRIDGE_CTL_BUS_RESET);
    mmio[0] = BRIDGE_CTL;
    mmio[1] = t.dsa.regs + A_DSA_CMD;
    mmio[2] = t.dsa.portals;
    for (int i = 0; i < ARRAY_SIZE(mmio); i++) {
        submit(&t, i, DSA_OP_MEMORY_MOVE, CR, src, mmio[i], 2);
        expect_record(&t, i, DSA_STATUS_WRITE_ERROR, 0, mmio[i] & -PAGE);
        submit(&t, i, DSA_OP_MEMORY_MOVE, CR, mmio[i], src, 2);
        expect_record(&t, i, DSA_STATUS_READ_ERROR, 0, mmio[i] & -PAGE);
    }
    g_assert_cmphex(qdsa_readl(&t.dsa, A_DSA_GENSTS), ==, DSA_ENABLED);
    stop(&t);
}

/* A device that is plugged while the machine is suspended works afterwards */
static void test_plug_while_suspended(void)
{
    Test t = { };

    t.qts = qtest_initf(MACHINE "-device pcie-root-port,id=rp,addr=4,"
                        "chassis=1");
    qecam_enable(t.qts);
    qecam_plug_while_suspended(t.qts, "dsa", "dsa0");
    init_at(&t, BEHIND_PORT);
    qdsa_start(&t.dsa, 0);
    submit(&t, 0, DSA_OP_NOOP, CR, 0, 0, 0);
    expect_record(&t, 0, DSA_STATUS_SUCCESS, 0, 0);
    stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_device("dsa") || !qtest_has_device("intel-iommu")) {
        g_test_skip("no dsa or intel-iommu device");
        return 0;
    }
    qtest_add_func("/dsa/block-on-fault/success", test_block);
    qtest_add_func("/dsa/block-on-fault/prefetch-copied-data",
                   test_block_copied);
    qtest_add_func("/dsa/block-on-fault/off", test_no_block);
    qtest_add_func("/dsa/block-on-fault/failed-response", test_block_refused);
    qtest_add_func("/dsa/block-on-fault/record-and-list", test_block_record);
    qtest_add_func("/dsa/busy/every-operation/stop", test_every_stop);
    qtest_add_func("/dsa/busy/every-operation/migrate", test_every_migrate);
    qtest_add_func("/dsa/busy/abort", test_abort);
    qtest_add_func("/dsa/busy/abort-stop", test_abort_stop);
    qtest_add_func("/dsa/busy/abort-migrate", test_abort_migrate);
    qtest_add_func("/dsa/busy/migrate", test_migrate_progress);
    qtest_add_func("/dsa/busy/stop", test_stop);
    qtest_add_func("/dsa/busy/stop-reset", test_stop_reset);
    qtest_add_func("/dsa/busy/reset-or-unplug", test_taken_away);
    qtest_add_func("/dsa/busy/reset-while-parked", test_taken_away_blocked);
    qtest_add_func("/dsa/busy/largest-stu", test_extreme);
    qtest_add_func("/dsa/migrate/idle", test_migrate_idle);
    qtest_add_func("/dsa/migrate/mismatch", test_migrate_mismatch);
    qtest_add_func("/dsa/migrate/hostile", test_migrate_hostile);
    qtest_add_func("/dsa/migrate/hostile-delta", test_migrate_hostile_delta);
    qtest_add_func("/dsa/migrate/hostile-command",
                   test_migrate_hostile_command);
    qtest_add_func("/dsa/mmio-operand", test_not_ram);
    qtest_add_func("/dsa/plug-while-suspended", test_plug_while_suspended);
    return g_test_run();
}
