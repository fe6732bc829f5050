/*
 * QTests of how IOMMUs drain requests: the machine, and the accesses of a
 * device thread
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/bswap.h"
#include "standard-headers/linux/pci_regs.h"
#include "drain-common.h"

#define TRIALS      200
/* Bytes that the device copies, and a value that only the test writes */
#define CONTENT     0x11
#define MARK        0xeeeeeeeeeeeeeeeeULL

/* Descriptors per batch: the batch record reports errors soon enough */
#define BATCH       16

uint64_t *drain_word(DrainTest *t, uint64_t gpa)
{
    return (uint64_t *)(t->ram + gpa);
}

/* ---- Accesses of the DSA ---- */

static void dsa_submit_batch(DrainTest *t)
{
    QDSADesc desc;

    qatomic_set(drain_word(t, t->cr), 0);
    qdsa_desc(&desc, DSA_OP_BATCH,
              DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR, t->cr);
    stq_le_p(desc.raw + DSA_DESC_SRC, t->list);
    stl_le_p(desc.raw + DSA_DESC_TRANSFER_SIZE, BATCH);
    qdsa_submit(&t->dsa, &desc);
}

static uint8_t dsa_wait(DrainTest *t)
{
    uint8_t record[DSA_CR_SIZE];

    return qdsa_wait(&t->dsa, t->cr, record);
}

static void dsa_end(DrainTest *t)
{
    dsa_wait(t);
}

/* Compare must not find a difference. */
static void dsa_go_on(DrainTest *t)
{
    if (qatomic_read(t->ram + t->cr + DSA_CR_STATUS)) {
        g_assert_cmphex(dsa_wait(t), ==, DSA_STATUS_SUCCESS);
        dsa_submit_batch(t);
    }
}

static void dsa_begin(DrainTest *t, DSAOperation op, uint32_t flags,
                      uint64_t src, uint64_t dst)
{
    for (unsigned i = 0; i < BATCH; i++) {
        QDSADesc desc;

        qdsa_desc(&desc, op, flags | DSA_FLAG_CR_ADDR_VALID |
                  DSA_FLAG_REQUEST_CR, t->cr + DSA_CR_SIZE);
        qdsa_desc_data(&desc, src, dst, DRAIN_BIG_PAGE);
        memcpy(t->ram + t->list + i * DSA_DESC_SIZE, desc.raw, DSA_DESC_SIZE);
    }
    if (!t->dsa_started) {
        qdsa_start(&t->dsa, t->pasid ?
                   R_DSA_WQCFG1_PASID_EN_MASK |
                   DRAIN_PASID << R_DSA_WQCFG1_PASID_SHIFT : 0);
        t->dsa_started = true;
    }
    dsa_submit_batch(t);
}

static void dsa_begin_move(DrainTest *t)
{
    dsa_begin(t, DSA_OP_MEMORY_MOVE, 0, DRAIN_IOVA_FIXED, DRAIN_IOVA_MOVING);
}

static void dsa_begin_compare(DrainTest *t)
{
    dsa_begin(t, DSA_OP_COMPARE, DSA_FLAG_CHECK_RESULT, DRAIN_IOVA_MOVING,
              DRAIN_IOVA_FIXED);
}

const DrainAccess drain_dsa_move = {
    DRAIN_DSA, true, dsa_begin_move, dsa_go_on, dsa_end
};
const DrainAccess drain_dsa_compare = {
    DRAIN_DSA, false, dsa_begin_compare, dsa_go_on, dsa_end
};

/* ---- Accesses of the test device ---- */

void drain_fill_buffer(DrainTest *t)
{
    g_autofree uint8_t *data = g_malloc(ATD_BUFFER_SIZE);

    memset(data, CONTENT, ATD_BUFFER_SIZE);
    qtest_memwrite(t->qts, t->atd.data, data, ATD_BUFFER_SIZE);
}

static void atd_begin(DrainTest *t, unsigned op)
{
    drain_fill_buffer(t);
    qatd_write(&t->atd, ATD_REPEAT, UINT64_MAX);
    qatd_start(&t->atd, op, t->pasid ? DRAIN_PASID : QATD_NO_PASID,
               DRAIN_IOVA_MOVING, ATD_BUFFER_SIZE, ATD_FLAG_THREAD);
}

static void atd_begin_dma(DrainTest *t)
{
    atd_begin(t, ATD_CMD_DMA_WRITE);
}

static void atd_begin_svm(DrainTest *t)
{
    atd_begin(t, ATD_CMD_SVM_WRITE);
}

/* A fault would end the command */
static void atd_go_on(DrainTest *t)
{
    g_assert_cmpuint(qatd_read(&t->atd, ATD_BUSY), ==, 1);
}

static void atd_end(DrainTest *t)
{
    qatd_wait(&t->atd);
}

const DrainAccess drain_atd_dma = {
    DRAIN_TESTDEV, true, atd_begin_dma, atd_go_on, atd_end
};
const DrainAccess drain_atd_svm = {
    DRAIN_TESTDEV, true, atd_begin_svm, atd_go_on, atd_end
};

/* ---- Trials ---- */

unsigned drain_trials(void)
{
    const char *number = getenv("QTEST_DRAIN_TRIALS");

    return number ? atoi(number) : TRIALS;
}

void drain_mark(DrainTest *t, unsigned page)
{
    for (unsigned n = 0; n < DRAIN_BIG_PAGE; n += DRAIN_PAGE) {
        qatomic_set(drain_word(t, t->page[page] + n), MARK);
    }
}

unsigned drain_take_marks(DrainTest *t, unsigned page)
{
    unsigned lost = 0;

    for (unsigned n = 0; n < DRAIN_BIG_PAGE; n += DRAIN_PAGE) {
        uint64_t *word = drain_word(t, t->page[page] + n);

        lost += qatomic_read(word) != MARK;
        memset(word, CONTENT, sizeof(*word));
    }
    return lost;
}

void drain_await_write(DrainTest *t, unsigned page)
{
    uint64_t content;

    memset(&content, CONTENT, sizeof(content));
    while (t->access->is_write &&
           qatomic_read(drain_word(t, t->page[page])) != content) {
        t->access->go_on(t);
    }
}

void drain_forget_write(DrainTest *t, unsigned page)
{
    if (t->access->is_write) {
        qatomic_set(drain_word(t, t->page[page]), 0);
    }
}

unsigned drain_move_trials(DrainTest *t,
                           void (*move)(DrainTest *t, unsigned to))
{
    unsigned failures = 0, n = drain_trials();

    for (unsigned i = 1; i <= n; i++) {
        unsigned to = i % 2;

        move(t, to);
        drain_mark(t, !to);
        t->access->go_on(t);
        drain_await_write(t, to);
        g_usleep(i % 300);
        failures += !!drain_take_marks(t, !to);
        drain_forget_write(t, !to);
    }
    return failures;
}

/* ---- The machine ---- */

static uint64_t alloc_pages(DrainTest *t, size_t size)
{
    return ROUND_UP(guest_alloc(&t->alloc, 2 * size), size);
}

static void start_memory(DrainTest *t)
{
    int fd = g_file_open_tmp("drain-test-XXXXXX", &t->path, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, DRAIN_RAM_SIZE), ==, 0);
    t->ram = mmap(NULL, DRAIN_RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                  0);
    g_assert(t->ram != MAP_FAILED);
    close(fd);
}

static void start_devices(DrainTest *t, const char *iommu)
{
    t->qts = qtest_initf("-M q35,memory-backend=ram -nodefaults -m 256 "
                         "-object memory-backend-file,id=ram,size=256M,"
                         "share=on,mem-path=%s -device %s "
                         "-device dsa,addr=4 -device pci-ats-testdev,addr=5",
                         t->path, iommu);
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qdsa_init(&t->dsa, t->qts, DRAIN_DSA, alloc_pages(t, DRAIN_PAGE));
    qatd_init(&t->atd, t->qts, DRAIN_TESTDEV, 16);
}

void drain_test_start(DrainTest *t, const char *iommu)
{
    start_memory(t);
    start_devices(t, iommu);
    t->cr = alloc_pages(t, DRAIN_PAGE);
    t->list = alloc_pages(t, DRAIN_PAGE);
    for (int i = 0; i < 2; i++) {
        t->page[i] = alloc_pages(t, DRAIN_BIG_PAGE);
        memset(t->ram + t->page[i], CONTENT, DRAIN_BIG_PAGE);
    }
    t->fixed = alloc_pages(t, DRAIN_BIG_PAGE);
    memset(t->ram + t->fixed, CONTENT, DRAIN_BIG_PAGE);
}

void drain_test_stop(DrainTest *t)
{
    qtest_quit(t->qts);
    munmap(t->ram, DRAIN_RAM_SIZE);
    unlink(t->path);
    g_free(t->path);
    alloc_destroy(&t->alloc);
}

void drain_enable_pasid(DrainTest *t)
{
    uint16_t bdf = t->access->bdf;
    uint16_t pasid = qecam_ext_cap(t->qts, bdf, PCI_EXT_CAP_ID_PASID);

    qecam_writew(t->qts, bdf, pasid + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE);
}
