/*
 * QTest testcase for how intel-iommu drains requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The test replaces the page that a device thread accesses, invalidates the
 * translation, and waits for completion: drain-common.h describes it (VT-d
 * 6.5.4).
 */

#include "qemu/osdep.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/vtd.h"
#include "drain-common.h"

#define DOMAIN      1

/* Drain Writes, Drain Reads (6.5.2.3) */
#define IOTLB_DRAIN (3ULL << 6)

typedef struct Test Test;

typedef struct Case {
    const char *name;
    bool scalable;              /* with PASID */
    /* Map @page[@to] at DRAIN_IOVA_MOVING, and invalidate */
    void (*move)(Test *t, unsigned to);
    const DrainAccess *access;
} Case;

struct Test {
    DrainTest drain;
    const Case *c;
    QVtd vtd;
    uint64_t root[2];           /* tables that map page[0] and page[1] */
    uint64_t leaf; /* address of the entry of root[0] for DRAIN_IOVA_MOVING */
    uint64_t entry; /* address of the context or PASID entry for root[] */
};

static uint64_t *word(Test *t, uint64_t gpa)
{
    return drain_word(&t->drain, gpa);
}

static uint16_t bdf(const Test *t)
{
    return t->c->access->bdf;
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
    const DrainTest *d = &t->drain;
    uint64_t leaf;

    t->root[i] = qvtd_new_table(&t->vtd);
    leaf = map(t, t->root[i], DRAIN_IOVA_MOVING, d->page[i], DRAIN_BIG_PAGE);
    t->leaf = i ? t->leaf : leaf;
    map(t, t->root[i], DRAIN_IOVA_FIXED, d->fixed, DRAIN_BIG_PAGE);
    map(t, t->root[i], d->cr, d->cr, DRAIN_PAGE);
    map(t, t->root[i], d->list, d->list, DRAIN_PAGE);
}

static void attach_legacy(Test *t)
{
    uint64_t table;

    qvtd_attach(&t->vtd, bdf(t), DOMAIN, t->root[0], true);
    table = qtest_readq(t->vtd.qts, t->vtd.root) & VTD_ROOT_ENTRY_CTP;
    t->entry = table + (bdf(t) & 0xff) * 16;
}

static void attach_process(Test *t)
{
    uint64_t dir = qvtd_sm_attach(&t->vtd, bdf(t),
                                  VTD_SM_CONTEXT_ENTRY_PASIDE, 0);

    t->entry = qvtd_sm_pasid(&t->vtd, dir, DRAIN_PASID,
                             VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT,
                             DOMAIN | VTD_SM_PASID_ENTRY_PWSNP, t->root[0]);
    t->entry += 16;
}

static void set_leaf(Test *t, unsigned to)
{
    uint64_t bits = *word(t, t->leaf) & 0xfff;

    qatomic_set(word(t, t->leaf), t->drain.page[to] | bits);
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
    t->vtd.iq_tail = (t->vtd.iq_tail + 1) % (DRAIN_PAGE / size);
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
    qvtd_writeq(t->vtd.qts, DMAR_IQT_REG, t->vtd.iq_tail * size);
    while (qatomic_read((uint32_t *)word(t, t->vtd.status)) != t->vtd.seq) {
        continue;
    }
}

/* 6.5.2.3 */
static void move_iotlb(Test *t, unsigned to)
{
    set_leaf(t, to);
    invalidate(t, VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_PAGE | IOTLB_DRAIN |
               DOMAIN << 16, DRAIN_IOVA_MOVING | 9);
}

/* 6.5.2.4: always drains */
static void move_piotlb(Test *t, unsigned to)
{
    set_leaf(t, to);
    invalidate(t, VTD_INV_DESC_PIOTLB | VTD_INV_DESC_PIOTLB_PSI_IN_PASID |
               DOMAIN << 16 | (uint64_t)DRAIN_PASID << 32,
               DRAIN_IOVA_MOVING | 9);
}

/* 6.5.2.1, device-selective */
static void move_context(Test *t, unsigned to)
{
    set_root(t, to);
    invalidate(t, VTD_INV_DESC_CC | VTD_INV_DESC_CC_DEVICE | DOMAIN << 16 |
               (uint64_t)bdf(t) << 32, 0);
}

/* 6.5.2.2, PASID-selective within the domain */
static void move_pasid(Test *t, unsigned to)
{
    set_root(t, to);
    invalidate(t, VTD_INV_DESC_PC | 1 << 4 | DOMAIN << 16 |
               (uint64_t)DRAIN_PASID << 32, 0);
}

/* Use a register, and wait until the hardware clears @busy */
static void command(Test *t, unsigned reg, uint64_t busy, uint64_t val)
{
    qvtd_writel(t->vtd.qts, DMAR_GCMD_REG, VTD_GCMD_TE);
    qvtd_writeq(t->vtd.qts, reg, busy | val);
    while (qvtd_readq(t->vtd.qts, reg) & busy) {
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

/* ---- Trials ---- */

static void move(DrainTest *d, unsigned to)
{
    Test *t = container_of(d, Test, drain);

    t->c->move(t, to);
}

static void start(Test *t, const Case *c)
{
    *t = (Test) { .c = c, .drain.access = c->access,
                  .drain.pasid = c->scalable };
    drain_test_start(&t->drain, "intel-iommu,svm=on");
    qvtd_init(&t->vtd, t->drain.qts, &t->drain.alloc);
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

static void test_drain(const void *data)
{
    Test t;

    start(&t, data);
    if (t.c->scalable) {
        drain_enable_pasid(&t.drain);
    }
    t.c->access->begin(&t.drain);
    g_assert_cmpuint(drain_move_trials(&t.drain, move), ==, 0);
    if (bdf(&t) == DRAIN_DSA) {
        t.c->access->end(&t.drain);
    }
    drain_test_stop(&t.drain);
}

/* ---- Accesses that configuration or a reset forbids ---- */

static void master_off(Test *t)
{
    qecam_writew(t->drain.qts, bdf(t), PCI_COMMAND, PCI_COMMAND_MEMORY);
}

static void ats_off(Test *t)
{
    qecam_writew(t->drain.qts, bdf(t), t->drain.atd.ats + PCI_ATS_CTRL, 0);
}

static void flr(Test *t)
{
    qecam_writew(t->drain.qts, bdf(t), 0x80 + PCI_EXP_DEVCTL,
                 PCI_EXP_DEVCTL_BCR_FLR);
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
    uint64_t *first = word(t, t->drain.page[0]);

    qatd_init(&t->drain.atd, t->drain.qts, DRAIN_TESTDEV, 16);
    if (f->ats) {
        qecam_writew(t->drain.qts, bdf(t), t->drain.atd.ats + PCI_ATS_CTRL,
                     PCI_ATS_CTRL_ENABLE);
    }
    *first = 0;
    qatd_write(&t->drain.atd, ATD_REPEAT, UINT64_MAX);
    qatd_start(&t->drain.atd, f->op, QATD_NO_PASID,
               f->flags & ATD_FLAG_TRANSLATED ? t->drain.page[0]
                                              : DRAIN_IOVA_MOVING,
               ATD_BUFFER_SIZE, ATD_FLAG_THREAD | f->flags);
    while (!qatomic_read(first)) {
        continue;
    }
}

static unsigned forbid_trial(Test *t, const Forbid *f)
{
    forbid_begin(t, f);
    f->forbid(t);
    drain_mark(&t->drain, 0);
    g_usleep(1000);
    if (f->forbid == flr) {
        /* FLR has cleared the BARs */
        qatd_init(&t->drain.atd, t->drain.qts, DRAIN_TESTDEV, 16);
    }
    qatd_wait(&t->drain.atd);
    return !!drain_take_marks(&t->drain, 0);
}

/* PCIe 5.0, 7.5.1.1.3, 10.5.1.3 and 6.6.2: no access afterwards */
static void test_forbid(const void *data)
{
    static const Case c = { .access = &drain_atd_svm };
    unsigned failures = 0;
    Test t;

    start(&t, &c);
    drain_fill_buffer(&t.drain);
    for (unsigned i = 0; i < drain_trials(); i++) {
        failures += forbid_trial(&t, data);
    }
    g_assert_cmpuint(failures, ==, 0);
    drain_test_stop(&t.drain);
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
    { "iotlb/write", false, move_iotlb, &drain_dsa_move },
    { "iotlb/read", false, move_iotlb, &drain_dsa_compare },
    { "iotlb-register/write", false, move_iotlb_register, &drain_dsa_move },
    { "context/write", false, move_context, &drain_dsa_move },
    { "context-register/read", false, move_context_register,
      &drain_dsa_compare },
    { "piotlb/write", true, move_piotlb, &drain_dsa_move },
    { "piotlb/read", true, move_piotlb, &drain_dsa_compare },
    { "pasid/write", true, move_pasid, &drain_dsa_move },
    { "pasid/read", true, move_pasid, &drain_dsa_compare },
    { "iotlb/thread", false, move_iotlb, &drain_atd_dma },
    { "iotlb/svm", false, move_iotlb, &drain_atd_svm },
    { "piotlb/thread", true, move_piotlb, &drain_atd_dma },
    { "piotlb/svm", true, move_piotlb, &drain_atd_svm },
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
