/*
 * QTest testcase for how intel-iommu drains requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A thread of a device continuously accesses a page of 2 MiB without ATS. The
 * test replaces the page, invalidates the translation, and waits for
 * completion. From then on the device must not access the old page (VT-d
 * 6.5.4). The test acts as the guest, and maps guest memory from a file that
 * it shares with QEMU, so that it is as fast as a vCPU.
 *
 * QTEST_DRAIN_TRIALS is the number of trials of each case.
 */

#include "qemu/osdep.h"
#include <sys/mman.h>
#include "qemu/bswap.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/misc/pci-ats-testdev.h"
#include "libqos/dsa.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd.h"

#define DSA         QATD_BDF(0, 4, 0)
#define TESTDEV     QATD_BDF(0, 5, 0)
#define RAM_SIZE    (256 * MiB)
#define PAGE        0x1000
#define BIG_PAGE    (2 * MiB)
#define TRIALS      200

#define DOMAIN      1
#define PASID       5

/* Drain Writes, Drain Reads (6.5.2.3) */
#define IOTLB_DRAIN (3ULL << 6)

/* Input addresses of the page that is replaced, and of a constant page */
#define IOVA_MOVING 0x40000000ULL
#define IOVA_FIXED  0x40200000ULL
/* Bytes that the device copies, and a value that only the test writes */
#define CONTENT     0x11
#define MARK        0xeeeeeeeeeeeeeeeeULL

/* Descriptors per batch: the batch record reports errors soon enough */
#define BATCH       16

typedef struct Test Test;

typedef struct Case {
    const char *name;
    bool scalable;              /* with PASID */
    /* Map @page[@to] at IOVA_MOVING, and invalidate */
    void (*move)(Test *t, unsigned to);
    void (*begin)(Test *t);     /* starts accesses of the device */
    /* Keep the accesses going, and check their results so far */
    void (*go_on)(Test *t);
    bool is_write;
} Case;

struct Test {
    const Case *c;
    QTestState *qts;
    QGuestAllocator alloc;
    char *path;
    uint8_t *ram;
    QVtd vtd;
    QDSA dsa;
    QATD atd;
    uint16_t bdf;
    uint64_t page[2];           /* one of them is at IOVA_MOVING */
    uint64_t fixed;
    uint64_t root[2];           /* tables that map page[0] and page[1] */
    uint64_t leaf; /* address of the entry of root[0] for IOVA_MOVING */
    uint64_t entry; /* address of the context or PASID entry for root[] */
    uint64_t cr;
    uint64_t list;
};

static uint64_t alloc_pages(Test *t, size_t size, size_t align)
{
    uint64_t addr = guest_alloc(&t->alloc, size + align);

    return ROUND_UP(addr, align);
}

static uint64_t *word(Test *t, uint64_t gpa)
{
    return (uint64_t *)(t->ram + gpa);
}

/* ---- Translation ---- */

static uint64_t leaf_bits(const Test *t)
{
    return t->c->scalable ? VTD_FL_P | VTD_FL_RW | VTD_FL_US
                          : VTD_SL_R | VTD_SL_W;
}

static uint64_t map(Test *t, uint64_t root, uint64_t iova, uint64_t gpa,
                    uint64_t size)
{
    return qvtd_map_entry(&t->vtd, root, 4, iova, size, gpa | leaf_bits(t),
                          leaf_bits(t));
}

static void map_all(Test *t, unsigned i)
{
    uint64_t leaf;

    t->root[i] = qvtd_new_table(&t->vtd);
    leaf = map(t, t->root[i], IOVA_MOVING, t->page[i], BIG_PAGE);
    t->leaf = i ? t->leaf : leaf;
    map(t, t->root[i], IOVA_FIXED, t->fixed, BIG_PAGE);
    map(t, t->root[i], t->cr, t->cr, PAGE);
    map(t, t->root[i], t->list, t->list, PAGE);
}

static void attach_legacy(Test *t)
{
    uint64_t table;

    qvtd_attach(&t->vtd, t->bdf, DOMAIN, t->root[0], true);
    table = qtest_readq(t->qts, t->vtd.root) & VTD_ROOT_ENTRY_CTP;
    t->entry = table + (t->bdf & 0xff) * 16;
}

static void attach_process(Test *t)
{
    uint64_t dir = qvtd_sm_attach(&t->vtd, t->bdf,
                                  VTD_SM_CONTEXT_ENTRY_PASIDE, 0);

    t->entry = qvtd_sm_pasid(&t->vtd, dir, PASID,
                             VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT,
                             DOMAIN | VTD_SM_PASID_ENTRY_PWSNP, t->root[0]);
    t->entry += 16;
}

static void set_leaf(Test *t, unsigned to)
{
    uint64_t bits = *word(t, t->leaf) & 0xfff;

    qatomic_set(word(t, t->leaf), t->page[to] | bits);
}

static void set_root(Test *t, unsigned to)
{
    uint64_t bits = *word(t, t->entry) & 0xfff;

    qatomic_set(word(t, t->entry), t->root[to] | bits);
}

/* ---- Invalidation ---- */

static void put_desc(Test *t, uint64_t lo, uint64_t hi)
{
    unsigned size = t->vtd.scalable ? 32 : 16;
    uint64_t *desc = word(t, t->vtd.iq + t->vtd.iq_tail * size);

    memset(desc, 0, size);
    desc[0] = lo;
    desc[1] = hi;
    t->vtd.iq_tail = (t->vtd.iq_tail + 1) % (PAGE / size);
}

/* Wait for the status write */
static void invalidate(Test *t, uint64_t lo, uint64_t hi)
{
    unsigned size = t->vtd.scalable ? 32 : 16;

    put_desc(t, lo, hi);
    t->vtd.seq++;
    put_desc(t, VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_SW |
             (uint64_t)t->vtd.seq << VTD_INV_DESC_WAIT_DATA_SHIFT,
             t->vtd.status);
    qvtd_writeq(t->qts, DMAR_IQT_REG, t->vtd.iq_tail * size);
    while (qatomic_read((uint32_t *)word(t, t->vtd.status)) != t->vtd.seq) {
        continue;
    }
}

/* 6.5.2.3 */
static void move_iotlb(Test *t, unsigned to)
{
    set_leaf(t, to);
    invalidate(t, VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_PAGE | IOTLB_DRAIN |
               DOMAIN << 16, IOVA_MOVING | 9);
}

/* 6.5.2.4: always drains */
static void move_piotlb(Test *t, unsigned to)
{
    set_leaf(t, to);
    invalidate(t, VTD_INV_DESC_PIOTLB | VTD_INV_DESC_PIOTLB_PSI_IN_PASID |
               DOMAIN << 16 | (uint64_t)PASID << 32, IOVA_MOVING | 9);
}

/* 6.5.2.1, device-selective */
static void move_context(Test *t, unsigned to)
{
    set_root(t, to);
    invalidate(t, VTD_INV_DESC_CC | VTD_INV_DESC_CC_DEVICE | DOMAIN << 16 |
               (uint64_t)t->bdf << 32, 0);
}

/* 6.5.2.2, PASID-selective within the domain */
static void move_pasid(Test *t, unsigned to)
{
    set_root(t, to);
    invalidate(t, VTD_INV_DESC_PC | 1 << 4 | DOMAIN << 16 |
               (uint64_t)PASID << 32, 0);
}

/* Use a register, and wait until the hardware clears @busy */
static void command(Test *t, unsigned reg, uint64_t busy, uint64_t val)
{
    qvtd_writel(t->qts, DMAR_GCMD_REG, VTD_GCMD_TE);
    qvtd_writeq(t->qts, reg, busy | val);
    while (qvtd_readq(t->qts, reg) & busy) {
        continue;
    }
}

/* 11.4.8.1 */
static void move_iotlb_register(Test *t, unsigned to)
{
    set_leaf(t, to);
    command(t, DMAR_IOTLB_REG, VTD_TLB_IVT, VTD_TLB_GLOBAL_FLUSH | 3ULL << 48);
}

/* 11.4.6.1 */
static void move_context_register(Test *t, unsigned to)
{
    set_root(t, to);
    command(t, DMAR_CCMD_REG, VTD_CCMD_ICC, VTD_CCMD_GLOBAL_INVL);
}

/* ---- Accesses of the DSA ---- */

static void dsa_submit_batch(Test *t)
{
    QDSADesc desc;

    qatomic_set(word(t, t->cr), 0);
    qdsa_desc(&desc, DSA_OP_BATCH,
              DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR, t->cr);
    stq_le_p(desc.raw + DSA_DESC_SRC, t->list);
    stl_le_p(desc.raw + DSA_DESC_TRANSFER_SIZE, BATCH);
    qdsa_submit(&t->dsa, &desc);
}

/* Wait for the batch to end; Compare must not find a difference */
static void dsa_finish(Test *t)
{
    uint8_t record[DSA_CR_SIZE];

    g_assert_cmphex(qdsa_wait(&t->dsa, t->cr, record), ==, DSA_STATUS_SUCCESS);
}

static void dsa_go_on(Test *t)
{
    if (qatomic_read(t->ram + t->cr + DSA_CR_STATUS)) {
        dsa_finish(t);
        dsa_submit_batch(t);
    }
}

static void dsa_begin(Test *t, DSAOperation op, uint32_t flags, uint64_t src,
                      uint64_t dst)
{
    for (unsigned i = 0; i < BATCH; i++) {
        QDSADesc desc;

        qdsa_desc(&desc, op, flags | DSA_FLAG_CR_ADDR_VALID |
                  DSA_FLAG_REQUEST_CR, t->cr + DSA_CR_SIZE);
        qdsa_desc_data(&desc, src, dst, BIG_PAGE);
        memcpy(t->ram + t->list + i * DSA_DESC_SIZE, desc.raw, DSA_DESC_SIZE);
    }
    qdsa_start(&t->dsa, t->c->scalable ?
               R_DSA_WQCFG1_PASID_EN_MASK | PASID << R_DSA_WQCFG1_PASID_SHIFT :
               0);
    dsa_submit_batch(t);
}

static void dsa_begin_move(Test *t)
{
    dsa_begin(t, DSA_OP_MEMORY_MOVE, 0, IOVA_FIXED, IOVA_MOVING);
}

static void dsa_begin_compare(Test *t)
{
    dsa_begin(t, DSA_OP_COMPARE, DSA_FLAG_CHECK_RESULT, IOVA_MOVING,
              IOVA_FIXED);
}

/* ---- Accesses of the test device ---- */

static void atd_begin(Test *t, unsigned op)
{
    g_autofree uint8_t *data = g_malloc(ATD_BUFFER_SIZE);

    memset(data, CONTENT, ATD_BUFFER_SIZE);
    qtest_memwrite(t->qts, t->atd.data, data, ATD_BUFFER_SIZE);
    qatd_write(&t->atd, ATD_REPEAT, UINT64_MAX);
    qatd_start(&t->atd, op, t->c->scalable ? PASID : QATD_NO_PASID, IOVA_MOVING,
               ATD_BUFFER_SIZE, ATD_FLAG_THREAD);
}

static void atd_begin_dma(Test *t)
{
    atd_begin(t, ATD_CMD_DMA_WRITE);
}

static void atd_begin_svm(Test *t)
{
    atd_begin(t, ATD_CMD_SVM_WRITE);
}

/* A fault would end the command */
static void atd_go_on(Test *t)
{
    g_assert_cmpuint(qatd_read(&t->atd, ATD_BUSY), ==, 1);
}

/* ---- Trials ---- */

static void mark(Test *t, unsigned i)
{
    for (unsigned n = 0; n < BIG_PAGE; n += PAGE) {
        qatomic_set(word(t, t->page[i] + n), MARK);
    }
}

/* Returns the number of lost marks, and removes the marks */
static unsigned take_marks(Test *t, unsigned i)
{
    unsigned lost = 0;

    for (unsigned n = 0; n < BIG_PAGE; n += PAGE) {
        lost += qatomic_read(word(t, t->page[i] + n)) != MARK;
        memset(word(t, t->page[i] + n), CONTENT, sizeof(uint64_t));
    }
    return lost;
}

/* Wait until the device has written to the page at IOVA_MOVING */
static void await_write(Test *t, unsigned i)
{
    uint64_t content;

    memset(&content, CONTENT, sizeof(content));
    while (t->c->is_write && qatomic_read(word(t, t->page[i])) != content) {
        t->c->go_on(t);
    }
}

static unsigned trials(Test *t, unsigned n)
{
    unsigned failures = 0;

    for (unsigned i = 1; i <= n; i++) {
        unsigned to = i % 2;

        t->c->move(t, to);
        /* The old page is free for other uses from now on */
        mark(t, !to);
        t->c->go_on(t);
        await_write(t, to);
        g_usleep(i % 300);
        failures += !!take_marks(t, !to);
        if (t->c->is_write) {
            *word(t, t->page[!to]) = 0;
        }
    }
    return failures;
}

static void start_memory(Test *t)
{
    int fd = g_file_open_tmp("drain-test-XXXXXX", &t->path, NULL);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(ftruncate(fd, RAM_SIZE), ==, 0);
    t->ram = mmap(NULL, RAM_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    g_assert(t->ram != MAP_FAILED);
    close(fd);
}

static void start_devices(Test *t)
{
    t->qts = qtest_initf("-M q35,memory-backend=ram -nodefaults -m 256 "
                         "-object memory-backend-file,id=ram,size=256M,"
                         "share=on,mem-path=%s -device intel-iommu,svm=on "
                         "-device dsa,addr=4 -device pci-ats-testdev,addr=5",
                         t->path);
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qdsa_init(&t->dsa, t->qts, DSA, alloc_pages(t, PAGE, PAGE));
    qatd_init(&t->atd, t->qts, TESTDEV, 16);
    t->bdf = t->c->go_on == dsa_go_on ? DSA : TESTDEV;
}

static void start(Test *t, const Case *c)
{
    *t = (Test) { .c = c };
    start_memory(t);
    start_devices(t);
    t->cr = alloc_pages(t, PAGE, PAGE);
    t->list = alloc_pages(t, PAGE, PAGE);
    for (int i = 0; i < 2; i++) {
        t->page[i] = alloc_pages(t, BIG_PAGE, BIG_PAGE);
        memset(t->ram + t->page[i], CONTENT, BIG_PAGE);
    }
    t->fixed = alloc_pages(t, BIG_PAGE, BIG_PAGE);
    memset(t->ram + t->fixed, CONTENT, BIG_PAGE);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    t->vtd.scalable = c->scalable;
    map_all(t, 0);
    map_all(t, 1);
    if (c->scalable) {
        attach_process(t);
    } else {
        attach_legacy(t);
    }
    qvtd_enable(&t->vtd);
}

static void enable_pasid(Test *t)
{
    uint16_t pasid = qecam_ext_cap(t->qts, t->bdf, PCI_EXT_CAP_ID_PASID);

    qecam_writew(t->qts, t->bdf, pasid + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE);
}

static void stop(Test *t)
{
    qtest_quit(t->qts);
    munmap(t->ram, RAM_SIZE);
    unlink(t->path);
    g_free(t->path);
    alloc_destroy(&t->alloc);
}

static void test_drain(const void *data)
{
    const char *number = getenv("QTEST_DRAIN_TRIALS");
    Test t;

    start(&t, data);
    if (t.c->scalable) {
        enable_pasid(&t);
    }
    t.c->begin(&t);
    g_assert_cmpuint(trials(&t, number ? atoi(number) : TRIALS), ==, 0);
    if (t.bdf == DSA) {
        dsa_finish(&t);
    }
    stop(&t);
}

/* ---- Accesses that configuration or a reset forbids ---- */

static void master_off(Test *t)
{
    qecam_writew(t->qts, t->bdf, PCI_COMMAND, PCI_COMMAND_MEMORY);
}

static void ats_off(Test *t)
{
    qecam_writew(t->qts, t->bdf, t->atd.ats + PCI_ATS_CTRL, 0);
}

static void flr(Test *t)
{
    qecam_writew(t->qts, t->bdf, 0x80 + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
}

typedef struct Forbid {
    const char *name;
    unsigned op;
    uint64_t flags;
    bool ats;
    void (*forbid)(Test *t);
} Forbid;

static void forbid_begin(Test *t, const Forbid *f)
{
    uint64_t *first = word(t, t->page[0]);

    qatd_init(&t->atd, t->qts, TESTDEV, 16);
    if (f->ats) {
        qecam_writew(t->qts, t->bdf, t->atd.ats + PCI_ATS_CTRL,
                     PCI_ATS_CTRL_ENABLE);
    }
    *first = 0;
    qatd_write(&t->atd, ATD_REPEAT, UINT64_MAX);
    qatd_start(&t->atd, f->op, QATD_NO_PASID,
               f->flags & ATD_FLAG_TRANSLATED ? t->page[0] : IOVA_MOVING,
               ATD_BUFFER_SIZE, ATD_FLAG_THREAD | f->flags);
    while (!qatomic_read(first)) {
        continue;
    }
}

static unsigned forbid_trial(Test *t, const Forbid *f)
{
    forbid_begin(t, f);
    f->forbid(t);
    mark(t, 0);
    g_usleep(1000);
    if (f->forbid == flr) {
        /* FLR has cleared the BARs */
        qatd_init(&t->atd, t->qts, TESTDEV, 16);
    }
    qatd_wait(&t->atd);
    return !!take_marks(t, 0);
}

/* PCIe 5.0, 7.5.1.1.3, 10.5.1.3 and 6.6.2: no access afterwards */
static void test_forbid(const void *data)
{
    static const Case c = { .go_on = atd_go_on };
    g_autofree uint8_t *content = g_malloc(ATD_BUFFER_SIZE);
    unsigned failures = 0;
    Test t;

    start(&t, &c);
    memset(content, CONTENT, ATD_BUFFER_SIZE);
    qtest_memwrite(t.qts, t.atd.data, content, ATD_BUFFER_SIZE);
    for (unsigned i = 0; i < TRIALS; i++) {
        failures += forbid_trial(&t, data);
    }
    g_assert_cmpuint(failures, ==, 0);
    stop(&t);
}

static const Forbid forbids[] = {
    { "master/dma", ATD_CMD_DMA_WRITE, 0, false, master_off },
    { "master/svm", ATD_CMD_SVM_WRITE, 0, false, master_off },
    { "master/svm-ats", ATD_CMD_SVM_WRITE, 0, true, master_off },
    { "ats/translated", ATD_CMD_DMA_WRITE, ATD_FLAG_TRANSLATED, true, ats_off },
    { "flr/dma", ATD_CMD_DMA_WRITE, 0, false, flr },
    { "flr/svm", ATD_CMD_SVM_WRITE, 0, false, flr },
};

static const Case cases[] = {
    { "iotlb/write", false, move_iotlb, dsa_begin_move, dsa_go_on, true },
    { "iotlb/read", false, move_iotlb, dsa_begin_compare, dsa_go_on, false },
    { "iotlb-register/write", false, move_iotlb_register, dsa_begin_move,
      dsa_go_on, true },
    { "context/write", false, move_context, dsa_begin_move, dsa_go_on, true },
    { "context-register/read", false, move_context_register, dsa_begin_compare,
      dsa_go_on, false },
    { "piotlb/write", true, move_piotlb, dsa_begin_move, dsa_go_on, true },
    { "piotlb/read", true, move_piotlb, dsa_begin_compare, dsa_go_on, false },
    { "pasid/write", true, move_pasid, dsa_begin_move, dsa_go_on, true },
    { "pasid/read", true, move_pasid, dsa_begin_compare, dsa_go_on, false },
    { "iotlb/thread", false, move_iotlb, atd_begin_dma, atd_go_on, true },
    { "iotlb/svm", false, move_iotlb, atd_begin_svm, atd_go_on, true },
    { "piotlb/thread", true, move_piotlb, atd_begin_dma, atd_go_on, true },
    { "piotlb/svm", true, move_piotlb, atd_begin_svm, atd_go_on, true },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_device("dsa") || !qtest_has_device("intel-iommu") ||
        !qtest_has_device("pci-ats-testdev")) {
        g_test_skip("no dsa, intel-iommu or pci-ats-testdev device");
        return 0;
    }
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("/intel-iommu/drain/%s",
                                                cases[i].name);

        qtest_add_data_func(path, &cases[i], test_drain);
    }
    for (int i = 0; i < ARRAY_SIZE(forbids); i++) {
        g_autofree char *path = g_strdup_printf("/pci-ats-testdev/forbid/%s",
                                                forbids[i].name);

        qtest_add_data_func(path, &forbids[i], test_forbid);
    }
    return g_test_run();
}
