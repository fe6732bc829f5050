/*
 * QTest testcase for the invalidation queue of intel-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd.h"

#define LEGACY      "device-iotlb=on"
#define SCALABLE    "svm=on"

/* TTM of RTADDR_REG (11.4.5) */
#define TTM_LEGACY      (0ULL << 10)
#define TTM_SCALABLE    (1ULL << 10)
#define TTM_RESERVED    (2ULL << 10)
#define TTM_ABORT       (3ULL << 10)

/* Guest physical addresses */
#define ROOT        0x1000000ULL
#define STATUS      0x1100000ULL
#define QUEUE       0x1200000ULL
#define NOWHERE     0x1000000000ULL

/* Status data of wait descriptors */
#define DONE        0x600dULL

/**
 * struct Queue - the invalidation queue of a machine
 * @qts: the emulator
 * @dw: IQA_REG.DW, descriptors have 256 bits
 * @entries: the size of the queue, in descriptors
 * @tail: index of the next free descriptor
 */
typedef struct Queue {
    QTestState *qts;
    bool dw;
    unsigned entries;
    unsigned tail;
} Queue;

static unsigned desc_size(const Queue *q)
{
    return q->dw ? 32 : 16;
}

static uint64_t desc_addr(const Queue *q, unsigned index)
{
    return QUEUE + index * desc_size(q);
}

static void global_command(Queue *q, uint32_t bit)
{
    uint32_t on = qvtd_readl(q->qts, DMAR_GSTS_REG) &
                  ~(uint32_t)VTD_GSTS_RTPS;

    qvtd_writel(q->qts, DMAR_GCMD_REG, on | bit);
}

/* Set up the root table and the queue, which has 2^@qs pages (6.5.2) */
static void setup(Queue *q, QTestState *qts, uint64_t rtaddr, bool dw,
                  unsigned qs)
{
    *q = (Queue) { .qts = qts, .dw = dw, .entries = 1u << (8 + qs - dw) };
    qvtd_writeq(qts, DMAR_RTADDR_REG, rtaddr);
    global_command(q, VTD_GCMD_SRTP);
    qvtd_writeq(qts, DMAR_IQA_REG,
                QUEUE | (dw ? VTD_IQA_DW_MASK : 0) | qs);
    global_command(q, VTD_GCMD_QIE);
    g_assert_cmphex(qvtd_readl(qts, DMAR_GSTS_REG) & VTD_GSTS_QIES, ==,
                    VTD_GSTS_QIES);
    qtest_writel(qts, STATUS, 0);
}

static void start(Queue *q, const char *iommu, uint64_t ttm, bool dw)
{
    setup(q, qtest_initf("-M q35 -nodefaults -device intel-iommu,%s", iommu),
          ROOT | ttm, dw, 0);
}

/* Append a descriptor without a write of IQT; returns its index */
static unsigned put(Queue *q, const uint64_t val[4])
{
    unsigned index = q->tail;
    uint64_t addr = desc_addr(q, index);

    for (unsigned i = 0; i < desc_size(q) / 8; i++) {
        qtest_writeq(q->qts, addr + i * 8, val[i]);
    }
    q->tail = (index + 1) % q->entries;
    return index;
}

static void put_wait(Queue *q)
{
    uint64_t wait[4] = {
        VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_SW |
        DONE << VTD_INV_DESC_WAIT_DATA_SHIFT,
        STATUS,
    };

    put(q, wait);
}

static void ring(Queue *q)
{
    qvtd_writeq(q->qts, DMAR_IQT_REG, q->tail * desc_size(q));
}

static uint32_t status(Queue *q)
{
    return qtest_readl(q->qts, STATUS);
}

static unsigned head(Queue *q)
{
    return qvtd_readq(q->qts, DMAR_IQH_REG) / desc_size(q);
}

static void expect_error(Queue *q, unsigned at, VTDInvQueueError iqei)
{
    g_assert_cmphex(qvtd_readl(q->qts, DMAR_FSTS_REG), ==, VTD_FSTS_IQE);
    g_assert_cmpuint(head(q), ==, at);
    g_assert_cmphex(qvtd_readq(q->qts, DMAR_IQERCD_REG), ==, iqei);
}

static void clear_error(Queue *q)
{
    qvtd_writel(q->qts, DMAR_FSTS_REG, VTD_FSTS_IQE);
}

static void expect_done(Queue *q)
{
    g_assert_cmphex(qvtd_readl(q->qts, DMAR_FSTS_REG), ==, 0);
    g_assert_cmpuint(head(q), ==, q->tail);
    g_assert_cmphex(status(q), ==, DONE);
    qtest_writel(q->qts, STATUS, 0);
}

/*
 * 6.5.2.11: a bad descriptor stops the queue; the next ones are processed
 * after the descriptor is corrected and IQE is cleared
 */
static void check_bad(Queue *q, const uint64_t bad[4], VTDInvQueueError iqei)
{
    static const uint64_t fence[4] = {
        VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_FN,
    };
    unsigned tail, at;

    at = put(q, bad);
    put_wait(q);
    ring(q);
    expect_error(q, at, iqei);
    g_assert_cmphex(status(q), ==, 0);
    tail = q->tail;
    q->tail = at;
    put(q, fence);
    q->tail = tail;
    clear_error(q);
    expect_done(q);
}

static void check_good(Queue *q, const uint64_t good[4])
{
    put(q, good);
    put_wait(q);
    ring(q);
    expect_done(q);
}

/* Check that all bits of @mask in quadword @i of a descriptor are reserved */
static void check_reserved(Queue *q, const uint64_t good[4], unsigned i,
                           uint64_t mask)
{
    for (; mask; mask &= mask - 1) {
        uint64_t bad[4];

        memcpy(bad, good, sizeof(bad));
        bad[i] |= mask & -mask;
        check_bad(q, bad, VTD_IQEI_RSVD);
    }
}

/* A valid descriptor of each type, and its reserved bits */
static const struct {
    uint64_t good[4];
    uint64_t reserved[2];
} types[] = {
    /* 6.5.2.1: context-cache, global */
    { { VTD_INV_DESC_CC | VTD_INV_DESC_CC_GLOBAL },
      { 0xfffc00000000f1c0, UINT64_MAX } },
    /* 6.5.2.3: IOTLB, global */
    { { VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_GLOBAL },
      { 0xffffffff0000f100, 0xf80 } },
    /* 6.5.2.5: device-TLB; PFSID is reserved without ECAP.DIT */
    { { VTD_INV_DESC_DEVICE }, { 0xffff0000ffe0f1f0, 0xffe } },
    /* 6.5.2.8: interrupt entry cache, global */
    { { VTD_INV_DESC_IEC }, { 0xffff000007fff1e0, UINT64_MAX } },
    /* 6.5.2.9: wait; PD is checked elsewhere */
    { { VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_SW, STATUS },
      { 0xfffff100, 3 } },
    /* 6.5.2.4: PASID-based IOTLB, all of a PASID */
    { { VTD_INV_DESC_PIOTLB | VTD_INV_DESC_PIOTLB_ALL_IN_PASID },
      { 0xfff000000000f1c0, 0xf80 } },
    /* 6.5.2.2: PASID-cache, global */
    { { VTD_INV_DESC_PC | 3ULL << 4 }, { 0xfff000000000f1c0, UINT64_MAX } },
    /* 6.5.2.6: PASID-based device-TLB */
    { { VTD_INV_DESC_DEV_PIOTLB }, { 0xfff000000000f000, 0x7fe } },
    /* 7.6.1: page group response */
    { { VTD_INV_DESC_PAGE_RESPONSE }, { 0xfff00000000001e0,
                                        0xfffffffffffff003 } },
};

/* 6.5.2: reserved bits of every descriptor, and the padding to 256 bits */
static void test_reserved(void)
{
    Queue q;

    start(&q, SCALABLE, TTM_SCALABLE, true);
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        check_good(&q, types[i].good);
        check_reserved(&q, types[i].good, 0, types[i].reserved[0]);
        check_reserved(&q, types[i].good, 1, types[i].reserved[1]);
        for (unsigned quad = 2; quad < 4; quad++) {
            check_reserved(&q, types[i].good, quad, 1ULL << 0 | 1ULL << 63);
        }
    }
    qtest_quit(q.qts);
}

/* 6.5.2: the same with descriptors of 128 bits */
static void test_reserved_legacy(void)
{
    Queue q;

    start(&q, LEGACY, TTM_LEGACY, false);
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        if (VTD_INV_DESC_TYPE(types[i].good[0]) <= VTD_INV_DESC_WAIT) {
            check_good(&q, types[i].good);
            check_reserved(&q, types[i].good, 0, types[i].reserved[0]);
            check_reserved(&q, types[i].good, 1, types[i].reserved[1]);
        }
    }
    qtest_quit(q.qts);
}

/* 6.5.2.1 to 6.5.2.4: valid and reserved granularities */
static void test_granularity(void)
{
    static const struct {
        unsigned type;
        unsigned reserved;      /* bitmap of granularities */
    } cases[] = {
        { VTD_INV_DESC_CC, 1 << 0 },
        { VTD_INV_DESC_PC, 1 << 2 },
        { VTD_INV_DESC_IOTLB, 1 << 0 },
        { VTD_INV_DESC_PIOTLB, 1 << 0 | 1 << 1 },
    };
    Queue q;

    start(&q, SCALABLE, TTM_SCALABLE, true);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        for (unsigned g = 0; g < 4; g++) {
            uint64_t desc[4] = { cases[i].type | g << 4 };

            if (cases[i].reserved & 1 << g) {
                check_bad(&q, desc, VTD_IQEI_RSVD);
            } else {
                check_good(&q, desc);
            }
        }
    }
    qtest_quit(q.qts);
}

/* No type is valid: the queue stops at its first descriptor */
static void check_none(const char *iommu, uint64_t ttm, bool dw,
                       VTDInvQueueError iqei)
{
    Queue q;

    start(&q, iommu, ttm, dw);
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        qtest_memset(q.qts, QUEUE, 0, 32);
        q.tail = 0;
        put(&q, types[i].good);
        ring(&q);
        expect_error(&q, 0, iqei);
        clear_error(&q);
        expect_error(&q, 0, iqei);
    }
    qtest_quit(q.qts);
}

/* Check that only types 1 to @last are valid */
static void check_types(const char *iommu, uint64_t ttm, bool dw, unsigned last)
{
    Queue q;

    start(&q, iommu, ttm, dw);
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        if (VTD_INV_DESC_TYPE(types[i].good[0]) <= last) {
            check_good(&q, types[i].good);
        } else {
            check_bad(&q, types[i].good, VTD_IQEI_TYPE);
        }
    }
    for (unsigned type = 0; type < 0x80; type++) {
        uint64_t desc[4] = { (type & 0xf) | (type & 0x70) << 5 };

        if (!type || type > VTD_INV_DESC_PAGE_RESPONSE) {
            check_bad(&q, desc, VTD_IQEI_TYPE);
        }
    }
    qtest_quit(q.qts);
}

/* 6.5.2.11, table 26: valid types for each mode and width */
static void test_types(void)
{
    check_types(SCALABLE, TTM_SCALABLE, true, VTD_INV_DESC_PAGE_RESPONSE);
    check_types(SCALABLE, TTM_LEGACY, true, VTD_INV_DESC_WAIT);
    check_types(SCALABLE, TTM_LEGACY, false, VTD_INV_DESC_WAIT);
    check_types(LEGACY, TTM_LEGACY, false, VTD_INV_DESC_WAIT);
}

/* 6.5.2.11, table 26; 11.4.9.9: modes in which no type is valid */
static void test_invalid_mode(void)
{
    check_none(SCALABLE, TTM_SCALABLE, false, VTD_IQEI_WIDTH);
    check_none(SCALABLE, TTM_RESERVED, true, VTD_IQEI_TTM);
    check_none(SCALABLE, TTM_RESERVED, false, VTD_IQEI_TTM);
    /* ECAP.ADMS is clear */
    check_none(SCALABLE, TTM_ABORT, true, VTD_IQEI_TTM);
    check_none(SCALABLE, TTM_ABORT, false, VTD_IQEI_TTM);
    /* ECAP.SMTS is clear */
    check_none(LEGACY, TTM_SCALABLE, false, VTD_IQEI_TTM);
    check_none(LEGACY, TTM_RESERVED, false, VTD_IQEI_TTM);
}

/* 11.4.9.3: 256-bit descriptors where ECAP.SMTS is clear */
static void test_width_unsupported(void)
{
    static const uint64_t iec[4] = { VTD_INV_DESC_IEC };
    Queue q;

    start(&q, LEGACY, TTM_LEGACY, false);
    qvtd_writeq(q.qts, DMAR_IQA_REG, QUEUE | VTD_IQA_DW_MASK);
    put(&q, iec);
    ring(&q);
    expect_error(&q, 0, VTD_IQEI_WIDTH);
    qtest_quit(q.qts);
}

/* 6.5.2.5, 6.5.2.6, 7.6.1: types that require ECAP.DT or ECAP.PRS */
static void test_unsupported_types(void)
{
    static const uint64_t dev[4] = { VTD_INV_DESC_DEVICE };
    static const uint64_t dev_pasid[4] = { VTD_INV_DESC_DEV_PIOTLB };
    static const uint64_t response[4] = { VTD_INV_DESC_PAGE_RESPONSE };
    Queue q;

    start(&q, "x-scalable-mode=on", TTM_SCALABLE, true);
    check_bad(&q, dev, VTD_IQEI_TYPE);
    check_bad(&q, dev_pasid, VTD_IQEI_TYPE);
    check_bad(&q, response, VTD_IQEI_TYPE);
    qtest_quit(q.qts);

    start(&q, "x-scalable-mode=on,device-iotlb=on", TTM_SCALABLE, true);
    check_good(&q, dev);
    check_good(&q, dev_pasid);
    check_bad(&q, response, VTD_IQEI_TYPE);
    qtest_quit(q.qts);
}

/* 11.4.9.2, 11.4.9.9: invalid tails */
static void test_invalid_tail(void)
{
    static const uint64_t iec[4] = { VTD_INV_DESC_IEC };
    Queue q;

    start(&q, SCALABLE, TTM_SCALABLE, true);
    put(&q, iec);
    put_wait(&q);
    /* Beyond the end of the queue */
    qvtd_writeq(q.qts, DMAR_IQT_REG, q.entries * desc_size(&q));
    expect_error(&q, 0, VTD_IQEI_TAIL);
    g_assert_cmphex(status(&q), ==, 0);
    ring(&q);
    g_assert_cmphex(status(&q), ==, 0);
    clear_error(&q);
    expect_done(&q);
    /* In the middle of a descriptor */
    put(&q, iec);
    put_wait(&q);
    qvtd_writeq(q.qts, DMAR_IQT_REG, q.tail * desc_size(&q) - 16);
    expect_error(&q, 2, VTD_IQEI_TAIL_ALIGN);
    clear_error(&q);
    ring(&q);
    expect_done(&q);
    qtest_quit(q.qts);
}

/* 11.4.9.9: the descriptor cannot be read */
static void test_fetch_error(void)
{
    Queue q;

    start(&q, SCALABLE, TTM_SCALABLE, true);
    /* Quiesce the queue, and move it to an address without memory */
    put_wait(&q);
    ring(&q);
    expect_done(&q);
    qvtd_writel(q.qts, DMAR_GCMD_REG, 0);
    g_assert_cmphex(qvtd_readl(q.qts, DMAR_GSTS_REG) & VTD_GSTS_QIES, ==,
                    0);
    qvtd_writeq(q.qts, DMAR_IQT_REG, 0);
    qvtd_writeq(q.qts, DMAR_IQA_REG, NOWHERE | VTD_IQA_DW_MASK);
    global_command(&q, VTD_GCMD_QIE);
    qvtd_writeq(q.qts, DMAR_IQT_REG, desc_size(&q));
    expect_error(&q, 0, VTD_IQEI_FETCH);
    qtest_quit(q.qts);
}

/* ---- Long queues ---- */

#define MACHINE     "-M q35 -m 128 -nodefaults -device intel-iommu," SCALABLE \
                    " -device pci-ats-testdev,addr=4"
#define MACHINE_CACHING \
    "-M q35 -m 128 -nodefaults -device intel-iommu,caching-mode=on," SCALABLE \
    " -device pci-ats-testdev,addr=4"
#define DEV         QATD_BDF(0, 4, 0)
#define IOVA        0x40000000ULL

/* Number of PASIDs that are in use */
#define PASIDS      256

/* 2^7 pages */
#define LARGEST     7

/* PASID-table entry: first stage, domain 1 (9.6) */
#define PE0         (VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT)
#define PE1         (1ULL | VTD_SM_PASID_ENTRY_PWSNP)
#define FS          (VTD_FL_P | VTD_FL_RW | VTD_FL_US)

/* Time limit for a queue, in seconds */
#define STUCK       600

typedef struct Long {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QATD dev;
    Queue q;
} Long;

/*
 * 6.5.2.5: 2^51 bytes without PASID, which are not cached: the device-TLB is
 * searched each time
 */
static const uint64_t dev_tlb[4] = {
    VTD_INV_DESC_DEVICE | (uint64_t)DEV << 32,
    1ULL << 52 | MAKE_64BIT_MASK(12, 38) | 1,
};

/* 6.5.2.9: a fence completes without a status write */
static const uint64_t fence[4] = {
    VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_FN,
};

static void long_setup_queue(Long *t, unsigned qs)
{
    setup(&t->q, t->qts, t->vtd.root | TTM_SCALABLE, true, qs);
    global_command(&t->q, VTD_GCMD_TE);
}

/* Start a device that uses PASIDs 1 to @pasids for DMA, and an empty queue */
static void long_start(Long *t, unsigned pasids)
{
    uint64_t root, dir;

    *t = (Long) { .qts = qtest_init(MACHINE) };
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    t->vtd.scalable = true;
    dir = qvtd_sm_attach(&t->vtd, DEV, VTD_SM_CONTEXT_ENTRY_DTE |
                         VTD_SM_CONTEXT_ENTRY_PASIDE, 0);
    root = qvtd_new_table(&t->vtd);
    qvtd_map_entry(&t->vtd, root, 4, IOVA, 4096,
                   qvtd_new_table(&t->vtd) | FS, FS);
    for (unsigned i = 1; i <= pasids; i++) {
        qvtd_sm_pasid(&t->vtd, dir, i, PE0, PE1, root);
    }
    long_setup_queue(t, LARGEST);
    qatd_init(&t->dev, t->qts, DEV, 0);
    qatd_enable_all(&t->dev, 32);
    for (unsigned i = 1; i <= pasids; i++) {
        g_assert_cmpint(qatd_command(&t->dev, ATD_CMD_SVM_READ, i, IOVA, 4, 0),
                        ==, 0);
    }
}

static void long_stop(Long *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

/* Append @n descriptors without a write of IQT */
static void put_many(Queue *q, const uint64_t val[4], unsigned n)
{
    unsigned quads = desc_size(q) / 8;
    g_autofree uint64_t *buf = g_new(uint64_t, n * quads);

    g_assert_cmpuint(q->tail + n, <=, q->entries);
    for (unsigned i = 0; i < n * quads; i++) {
        buf[i] = cpu_to_le64(val[i % quads]);
    }
    qtest_memwrite(q->qts, desc_addr(q, q->tail), buf, n * desc_size(q));
    q->tail = (q->tail + n) % q->entries;
}

/* Fill the queue; the last descriptor is a wait descriptor */
static void fill(Queue *q, const uint64_t val[4])
{
    put_many(q, val, q->entries - 2);
    put_wait(q);
}

static void machine(Long *t, const char *command)
{
    qtest_qmp_assert_success(t->qts, "{ 'execute': %s }", command);
}

/* Check that the monitor responds, and that the machine has this state */
static void expect_machine(Long *t, const char *status)
{
    QDict *rsp = qtest_qmp(t->qts, "{ 'execute': 'query-status' }");

    g_assert_cmpstr(qdict_get_str(qdict_get_qdict(rsp, "return"), "status"),
                    ==, status);
    qobject_unref(rsp);
}

/* Check that the monitor responds while the queue is processed */
static void wait_head(Long *t, unsigned at)
{
    gint64 end = g_get_monotonic_time() + STUCK * G_TIME_SPAN_SECOND;

    while (head(&t->q) != at) {
        expect_machine(t, "running");
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
}

static void wait_error(Long *t, unsigned at, VTDInvQueueError iqei)
{
    gint64 end = g_get_monotonic_time() + STUCK * G_TIME_SPAN_SECOND;

    while (!qvtd_readl(t->qts, DMAR_FSTS_REG)) {
        expect_machine(t, "running");
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    expect_error(&t->q, at, iqei);
    g_assert_cmphex(status(&t->q), ==, 0);
}

/* Check that a stopped machine does not process the queue */
static void expect_halted(Long *t, unsigned at)
{
    for (unsigned i = 0; i < 20; i++) {
        expect_machine(t, "paused");
        g_assert_cmpuint(head(&t->q), ==, at);
        g_assert_cmphex(status(&t->q), ==, 0);
    }
}

/*
 * Fill the queue of a stopped machine, so that only the first slice is
 * processed; returns the index of the next descriptor
 */
static unsigned first_slice(Long *t)
{
    unsigned at;

    machine(t, "stop");
    fill(&t->q, dev_tlb);
    ring(&t->q);
    at = head(&t->q);
    g_assert_cmpuint(at, >, 0);
    g_assert_cmpuint(at, <, t->q.tail - 1);
    expect_halted(t, at);
    return at;
}

/* 6.5.2: a write of IQT does not wait for the queue to become empty */
static void test_slices(void)
{
    Long t;

    long_start(&t, PASIDS);
    first_slice(&t);
    machine(&t, "cont");
    wait_head(&t, t.q.tail);
    expect_done(&t.q);
    long_stop(&t);
}

/* 11.4.9.3: the same in legacy mode, with 2^15 descriptors */
static void test_slices_legacy(void)
{
    Long t = { .qts = qtest_init("-M q35 -m 128 -nodefaults "
                                 "-device intel-iommu," LEGACY) };

    setup(&t.q, t.qts, ROOT | TTM_LEGACY, false, LARGEST);
    g_assert_cmpuint(t.q.entries, ==, 1 << 15);
    first_slice(&t);
    machine(&t, "cont");
    wait_head(&t, t.q.tail);
    expect_done(&t.q);
    qtest_quit(t.qts);
}

/* 6.5.2: every type has a cost that limits how many fit into the first slice */
static void test_slices_types(void)
{
    for (unsigned i = 0; i < ARRAY_SIZE(types); i++) {
        Long t = { };

        t.qts = qtest_init(MACHINE);
        setup(&t.q, t.qts, ROOT | TTM_SCALABLE, true, LARGEST);
        machine(&t, "stop");
        put_many(&t.q, types[i].good, t.q.entries - 1);
        ring(&t.q);
        g_assert_cmpuint(head(&t.q), >, 0);
        g_assert_cmpuint(head(&t.q), <, t.q.tail);
        machine(&t, "cont");
        wait_head(&t, t.q.tail);
        qtest_quit(t.qts);
    }
}

/* 6.5.2.1 to 6.5.2.4: notifiers of devices are work, too */
static void test_slices_notifiers(void)
{
    static const uint64_t invalidations[][4] = {
        { VTD_INV_DESC_CC | VTD_INV_DESC_CC_GLOBAL },
        { VTD_INV_DESC_PC | VTD_INV_DESC_PASIDC_GLOBAL },
        { VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_GLOBAL },
        { VTD_INV_DESC_PIOTLB | VTD_INV_DESC_PIOTLB_ALL_IN_PASID },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(invalidations); i++) {
        unsigned slice[2];

        for (unsigned notified = 0; notified < 2; notified++) {
            Long t = { .qts = qtest_init(MACHINE_CACHING) };

            qecam_enable(t.qts);
            setup(&t.q, t.qts, ROOT | TTM_SCALABLE, true, LARGEST);
            global_command(&t.q, VTD_GCMD_TE);
            qatd_init(&t.dev, t.qts, DEV, 0);
            if (notified) {
                g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_REGISTER_MAP,
                                             QATD_NO_PASID, 0, 0, 0), ==, 0);
            }
            machine(&t, "stop");
            put_many(&t.q, invalidations[i], t.q.entries - 1);
            ring(&t.q);
            slice[notified] = head(&t.q);
            g_assert_cmpuint(slice[notified], >, 0);
            qtest_quit(t.qts);
        }
        g_assert_cmpuint(slice[1], <, slice[0] / 2);
    }
}

/*
 * 6.5.4: after an invalidation, a wait descriptor waits for the threads of
 * devices, so that it costs more than others do
 */
static void test_slices_drains(void)
{
    static const uint64_t iotlb[4] = {
        VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_GLOBAL,
    };
    Long t = { .qts = qtest_init(MACHINE) };

    setup(&t.q, t.qts, ROOT | TTM_SCALABLE, true, LARGEST);
    machine(&t, "stop");
    while (t.q.tail < 2048) {
        put(&t.q, iotlb);
        put_wait(&t.q);
    }
    ring(&t.q);
    g_assert_cmpuint(head(&t.q), >, 0);
    g_assert_cmpuint(head(&t.q), <, 1024);
    machine(&t, "cont");
    wait_head(&t, t.q.tail);
    expect_done(&t.q);
    qtest_quit(t.qts);
}

/* The cost of an invalidation does not depend on the number of PASIDs */
static void test_cost_of_pasids(void)
{
    unsigned at;
    Long t;

    long_start(&t, 1);
    at = first_slice(&t);
    long_stop(&t);
    long_start(&t, PASIDS);
    g_assert_cmpuint(first_slice(&t), ==, at);
    long_stop(&t);
}

/* A short queue is empty after the write of IQT */
static void test_short_queue(void)
{
    static const uint64_t piotlb[4] = {
        VTD_INV_DESC_PIOTLB | VTD_INV_DESC_PIOTLB_ALL_IN_PASID,
    };
    Long t;

    long_start(&t, PASIDS);
    for (unsigned i = 0; i < 8; i++) {
        put(&t.q, piotlb);
        put(&t.q, dev_tlb);
    }
    put_wait(&t.q);
    ring(&t.q);
    expect_done(&t.q);
    long_stop(&t);
}

/* 11.4.9.2: a write of IQT adds to outstanding descriptors */
static void test_extend(void)
{
    unsigned at;
    Long t;

    long_start(&t, PASIDS);
    machine(&t, "stop");
    put_many(&t.q, dev_tlb, t.q.entries / 2);
    ring(&t.q);
    at = head(&t.q);
    put_many(&t.q, dev_tlb, t.q.entries / 2 - 2);
    put_wait(&t.q);
    ring(&t.q);
    expect_halted(&t, at);
    machine(&t, "cont");
    wait_head(&t, t.q.tail);
    expect_done(&t.q);
    long_stop(&t);
}

/* 6.5.2.11: an error in a later slice stops the queue until IQE is cleared */
static void test_error_in_later_slice(void)
{
    static const uint64_t bad[4] = { 0xf };
    unsigned at, tail;
    Long t;

    long_start(&t, PASIDS);
    put_many(&t.q, dev_tlb, t.q.entries / 2);
    at = put(&t.q, bad);
    put_many(&t.q, dev_tlb, t.q.entries / 2 - 3);
    put_wait(&t.q);
    ring(&t.q);
    wait_error(&t, at, VTD_IQEI_TYPE);
    tail = t.q.tail;
    t.q.tail = at;
    put(&t.q, fence);
    t.q.tail = tail;
    /* A write of IQT does not resume the queue */
    ring(&t.q);
    expect_error(&t.q, at, VTD_IQEI_TYPE);
    clear_error(&t.q);
    wait_head(&t, t.q.tail);
    expect_done(&t.q);
    long_stop(&t);
}

/* 11.4.9.9: IQT beyond the end of the queue while slices are outstanding */
static void test_tail_between_slices(void)
{
    unsigned at;
    Long t;

    long_start(&t, PASIDS);
    /* The largest queue has no index beyond its end: use a smaller one */
    put_wait(&t.q);
    ring(&t.q);
    expect_done(&t.q);
    qvtd_writel(t.qts, DMAR_GCMD_REG, 0);
    qvtd_writeq(t.qts, DMAR_IQT_REG, 0);
    long_setup_queue(&t, LARGEST - 1);

    at = first_slice(&t);
    qvtd_writeq(t.qts, DMAR_IQT_REG, t.q.entries * desc_size(&t.q));
    expect_halted(&t, at);
    machine(&t, "cont");
    wait_error(&t, at, VTD_IQEI_TAIL);
    ring(&t.q);
    clear_error(&t.q);
    wait_head(&t, t.q.tail);
    expect_done(&t.q);
    long_stop(&t);
}

/* 6.5.2: software disables a queue that is not empty */
static void test_disable(void)
{
    Long t;

    long_start(&t, PASIDS);
    first_slice(&t);
    qvtd_writel(t.qts, DMAR_GCMD_REG, VTD_GCMD_TE);
    g_assert_cmphex(qvtd_readl(t.qts, DMAR_GSTS_REG) & VTD_GSTS_QIES, ==,
                    VTD_GSTS_QIES);
    machine(&t, "cont");
    /* IQH is 0 when the queue is disabled */
    wait_head(&t, 0);
    g_assert_cmphex(qvtd_readl(t.qts, DMAR_GSTS_REG) & VTD_GSTS_QIES, ==,
                    0);
    g_assert_cmphex(status(&t.q), ==, DONE);
    long_stop(&t);
}

/* 6.5.2: a queue without a final wait descriptor is not quiesced */
static void test_disable_not_quiesced(void)
{
    Queue q;

    start(&q, SCALABLE, TTM_SCALABLE, true);
    put_wait(&q);
    put(&q, types[0].good);
    ring(&q);
    qvtd_writel(q.qts, DMAR_GCMD_REG, 0);
    g_assert_cmphex(qvtd_readl(q.qts, DMAR_GSTS_REG) & VTD_GSTS_QIES, ==,
                    VTD_GSTS_QIES);
    qtest_writel(q.qts, STATUS, 0);
    /* The command does not take effect later, either */
    put_wait(&q);
    ring(&q);
    expect_done(&q);
    g_assert_cmphex(qvtd_readl(q.qts, DMAR_GSTS_REG) & VTD_GSTS_QIES, ==,
                    VTD_GSTS_QIES);
    qtest_quit(q.qts);
}

/* A system reset empties the queue */
static void test_system_reset(void)
{
    Long t;

    long_start(&t, PASIDS);
    first_slice(&t);
    machine(&t, "cont");
    qtest_system_reset(t.qts);
    g_assert_cmphex(qvtd_readl(t.qts, DMAR_GSTS_REG), ==, 0);
    g_assert_cmpuint(head(&t.q), ==, 0);
    long_setup_queue(&t, LARGEST);
    put_wait(&t.q);
    ring(&t.q);
    expect_done(&t.q);
    fill(&t.q, fence);
    ring(&t.q);
    wait_head(&t, t.q.tail);
    expect_done(&t.q);
    long_stop(&t);
}

/* The destination processes the rest of the queue */
static void test_migration(void)
{
    g_autofree char *path = NULL, *end = NULL;
    unsigned at;
    Long t;

    long_start(&t, PASIDS);
    at = first_slice(&t);
    path = qatd_save_machine(t.qts);
    t.qts = t.dev.qts = t.vtd.qts = t.q.qts =
        qtest_init(MACHINE " -incoming defer");
    end = qatd_try_load_machine(t.qts, path);
    g_assert_cmpstr(end, ==, "completed");
    unlink(path);
    expect_halted(&t, at);
    machine(&t, "cont");
    wait_head(&t, t.q.tail);
    expect_done(&t.q);
    long_stop(&t);
}

/* The same with a snapshot: the rest is processed twice */
static void test_snapshot(void)
{
    g_autofree char *path = qatd_temporary_file();
    unsigned at;
    Long t;

    long_start(&t, PASIDS);
    qatd_add_snapshot_disk(t.qts, path);
    at = first_slice(&t);
    qatd_snapshot(t.qts, "snapshot-save");
    expect_halted(&t, at);
    machine(&t, "cont");
    wait_head(&t, t.q.tail);
    expect_done(&t.q);
    machine(&t, "stop");
    qatd_snapshot(t.qts, "snapshot-load");
    expect_halted(&t, at);
    machine(&t, "cont");
    wait_head(&t, t.q.tail);
    expect_done(&t.q);
    long_stop(&t);
    unlink(path);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtd-queue/reserved", test_reserved);
    qtest_add_func("/vtd-queue/reserved-legacy", test_reserved_legacy);
    qtest_add_func("/vtd-queue/granularity", test_granularity);
    qtest_add_func("/vtd-queue/types", test_types);
    qtest_add_func("/vtd-queue/invalid-mode", test_invalid_mode);
    qtest_add_func("/vtd-queue/width-unsupported", test_width_unsupported);
    qtest_add_func("/vtd-queue/unsupported-types", test_unsupported_types);
    qtest_add_func("/vtd-queue/invalid-tail", test_invalid_tail);
    qtest_add_func("/vtd-queue/fetch-error", test_fetch_error);
    qtest_add_func("/vtd-queue/slices", test_slices);
    qtest_add_func("/vtd-queue/slices-legacy", test_slices_legacy);
    qtest_add_func("/vtd-queue/slices-types", test_slices_types);
    qtest_add_func("/vtd-queue/slices-notifiers", test_slices_notifiers);
    qtest_add_func("/vtd-queue/slices-drains", test_slices_drains);
    qtest_add_func("/vtd-queue/cost-of-pasids", test_cost_of_pasids);
    qtest_add_func("/vtd-queue/short-queue", test_short_queue);
    qtest_add_func("/vtd-queue/extend", test_extend);
    qtest_add_func("/vtd-queue/error-in-later-slice",
                   test_error_in_later_slice);
    qtest_add_func("/vtd-queue/tail-between-slices", test_tail_between_slices);
    qtest_add_func("/vtd-queue/disable", test_disable);
    qtest_add_func("/vtd-queue/disable-not-quiesced",
                   test_disable_not_quiesced);
    qtest_add_func("/vtd-queue/system-reset", test_system_reset);
    qtest_add_func("/vtd-queue/migration", test_migration);
    qtest_add_func("/vtd-queue/snapshot", test_snapshot);
    return g_test_run();
}
