/*
 * QTest testcase for how amd-iommu drains requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00. After COMPLETION_WAIT has stored, no
 * request uses what the commands before it have invalidated (2.4.1).
 */

#include "qemu/osdep.h"
#include "libqos/amdvi.h"
#include "drain-common.h"

#define DOMAIN      1

/* Data of COMPLETION_WAIT, and its flag for a store */
#define DONE        0x600d600d600d600dULL
#define WAIT_STORE  1ULL

typedef struct Test Test;

typedef struct Case {
    const char *name;
    bool pasid;
    /* Map @page[@to] at DRAIN_IOVA_MOVING, and invalidate */
    void (*move)(Test *t, unsigned to);
    const DrainAccess *access;
} Case;

struct Test {
    DrainTest drain;
    const Case *c;
    QAMDVI iommu;
    uint64_t gcr3;
    uint64_t root[2];           /* tables that map page[0] and page[1] */
    uint64_t leaf; /* address of the entry of root[0] for DRAIN_IOVA_MOVING */
};

/* ---- Translation ---- */

static uint64_t leaf_bits(const Test *t, unsigned level)
{
    if (t->c->pasid) {
        return QAMDVI_GPTE_RW | (level > 1 ? QAMDVI_GPTE_PS : 0);
    }
    return QAMDVI_PTE_RW;
}

static uint64_t map(Test *t, uint64_t root, uint64_t iova, uint64_t gpa,
                    unsigned level)
{
    uint64_t entry = gpa | leaf_bits(t, level);

    return t->c->pasid ?
           qamdvi_map_guest(&t->iommu, root, 4, iova, level, entry) :
           qamdvi_map_host(&t->iommu, root, 4, iova, level, entry);
}

static void map_all(Test *t, unsigned i)
{
    const DrainTest *d = &t->drain;
    uint64_t leaf;

    t->root[i] = qamdvi_new_page(&t->iommu);
    leaf = map(t, t->root[i], DRAIN_IOVA_MOVING, d->page[i], 2);
    t->leaf = i ? t->leaf : leaf;
    map(t, t->root[i], DRAIN_IOVA_FIXED, d->fixed, 2);
    map(t, t->root[i], d->cr, d->cr, 1);
    map(t, t->root[i], d->list, d->list, 1);
}

static void set_leaf(Test *t, unsigned to)
{
    qatomic_set(drain_word(&t->drain, t->leaf),
                t->drain.page[to] | leaf_bits(t, 2));
}

/* Let root[@to] translate the accesses, without an invalidation */
static void set_root(Test *t, unsigned to)
{
    QAMDVIDTE dte = { .lo = QAMDVI_DTE_ON, .domain = DOMAIN };

    if (t->c->pasid) {
        qamdvi_set_gcr3(&t->iommu, t->gcr3, 1, DRAIN_PASID,
                        t->root[to] | QAMDVI_GCR3_V);
        dte.lo |= QAMDVI_DTE_GV;
        dte.gcr3_levels = 1;
        dte.gcr3 = t->gcr3;
        dte.guest_levels = 4;
    } else {
        dte.mode = 4;
        dte.root = t->root[to];
    }
    qamdvi_store_dte(&t->iommu, t->c->access->bdf, &dte);
}

/* ---- Invalidation ---- */

static void put_command(Test *t, uint64_t lo, uint64_t hi)
{
    QAMDVI *a = &t->iommu;
    uint64_t *command = drain_word(&t->drain, a->commands +
                                   a->tail * AMDVI_COMMAND_SIZE);

    command[0] = lo;
    command[1] = hi;
    a->tail = (a->tail + 1) % QAMDVI_ENTRIES;
}

/* Wait for the store of COMPLETION_WAIT */
static void invalidate(Test *t, uint64_t lo, uint64_t hi)
{
    uint64_t *done = drain_word(&t->drain, t->iommu.message);

    qatomic_set(done, 0);
    put_command(t, lo, hi);
    put_command(t, QAMDVI_COMMAND(COMPLETION_WAIT) | WAIT_STORE |
                t->iommu.message, DONE);
    qamdvi_ring(&t->iommu);
    while (qatomic_read(done) != DONE) {
        continue;
    }
}

/* 2.4.3: 2 MiB, without and with PASID */
static void move_pages(Test *t, unsigned to)
{
    set_leaf(t, to);
    invalidate(t, QAMDVI_COMMAND(INVAL_AMDVI_PAGES) | (uint64_t)DOMAIN << 32,
               DRAIN_IOVA_MOVING | 0xff000 | 1);
}

static void move_pasid_pages(Test *t, unsigned to)
{
    set_leaf(t, to);
    invalidate(t, QAMDVI_COMMAND(INVAL_AMDVI_PAGES) | (uint64_t)DOMAIN << 32 |
               DRAIN_PASID, DRAIN_IOVA_MOVING | 0xff000 | 1 << 2 | 1);
}

/* 2.4.2 */
static void move_device(Test *t, unsigned to)
{
    set_root(t, to);
    invalidate(t, QAMDVI_COMMAND(INVAL_DEVTAB_ENTRY) | t->c->access->bdf, 0);
}

/* 2.4.8 */
static void move_all(Test *t, unsigned to)
{
    set_root(t, to);
    invalidate(t, QAMDVI_COMMAND(INVAL_AMDVI_ALL), 0);
}

/* ---- Trials ---- */

static void move(DrainTest *d, unsigned to)
{
    Test *t = container_of(d, Test, drain);

    t->c->move(t, to);
}

static void start(Test *t, const Case *c)
{
    *t = (Test) { .c = c, .drain.access = c->access, .drain.pasid = c->pasid };
    drain_test_start(&t->drain, "amd-iommu,svm=on");
    qamdvi_init(&t->iommu, t->drain.qts, &t->drain.alloc);
    t->gcr3 = qamdvi_new_page(&t->iommu);
    map_all(t, 0);
    map_all(t, 1);
    set_root(t, 0);
    qamdvi_enable(&t->iommu, AMDVI_MMIO_CONTROL_GTEN);
}

static void test_drain(const void *data)
{
    Test t;

    start(&t, data);
    if (t.c->pasid) {
        drain_enable_pasid(&t.drain);
    }
    t.c->access->begin(&t.drain);
    g_assert_cmpuint(drain_move_trials(&t.drain, move), ==, 0);
    if (t.c->access->bdf == DRAIN_DSA) {
        t.c->access->end(&t.drain);
    }
    drain_test_stop(&t.drain);
}

/*
 * 3.4.1 IommuEn: requests are not translated while it is 0.  Nothing is at the
 * address that they have then, which ends the accesses.
 */
static void test_disable(void)
{
    static const Case c = { "disable", false, NULL, &drain_atd_dma };
    unsigned failures = 0, n = drain_trials();
    Test t;

    start(&t, &c);
    for (unsigned i = 0; i < n; i++) {
        c.access->begin(&t.drain);
        drain_await_write(&t.drain, 0);
        qamdvi_write(&t.iommu, AMDVI_MMIO_CONTROL, 0);
        drain_mark(&t.drain, 0);
        c.access->end(&t.drain);
        failures += !!drain_take_marks(&t.drain, 0);
        drain_forget_write(&t.drain, 0);
        qamdvi_enable(&t.iommu, 0);
    }
    g_assert_cmpuint(failures, ==, 0);
    drain_test_stop(&t.drain);
}

static const Case cases[] = {
    { "pages/write", false, move_pages, &drain_dsa_move },
    { "pages/read", false, move_pages, &drain_dsa_compare },
    { "device/write", false, move_device, &drain_dsa_move },
    { "all/write", false, move_all, &drain_dsa_move },
    { "pasid-pages/write", true, move_pasid_pages, &drain_dsa_move },
    { "pasid-pages/read", true, move_pasid_pages, &drain_dsa_compare },
    { "pasid-device/write", true, move_device, &drain_dsa_move },
    { "pages/thread", false, move_pages, &drain_atd_dma },
    { "pages/svm", false, move_pages, &drain_atd_svm },
    { "pasid-pages/thread", true, move_pasid_pages, &drain_atd_dma },
    { "pasid-pages/svm", true, move_pasid_pages, &drain_atd_svm },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_device("dsa") || !qtest_has_device("amd-iommu") ||
        !qtest_has_device("pci-ats-testdev")) {
        g_test_skip("no dsa, amd-iommu or pci-ats-testdev device");
        return 0;
    }
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("/amd-iommu/drain/%s",
                                                cases[i].name);

        qtest_add_data_func(path, &cases[i], test_drain);
    }
    qtest_add_func("/amd-iommu/drain/disable", test_disable);
    return g_test_run();
}
