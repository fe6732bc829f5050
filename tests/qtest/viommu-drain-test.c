/*
 * QTest testcase for how virtio-iommu drains requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The test ends the translation of the page that a device thread accesses, and
 * waits for the completion of that request: drain-common.h describes it.
 *
 * Section numbers are those of VIRTIO 1.3.
 */

#include "qemu/osdep.h"
#include "standard-headers/linux/virtio_iommu.h"
#include "libqos/viommu.h"
#include "drain-common.h"

#define IOMMU_DEVFN QPCI_DEVFN(7, 0)
#define DOMAIN      1
#define OTHER       2

typedef struct Test Test;

typedef struct Case {
    const char *name;
    /* End the translations of the device, and begin them again */
    void (*forbid)(Test *t);
    void (*allow)(Test *t);
    const DrainAccess *access;
} Case;

struct Test {
    DrainTest drain;
    const Case *c;
    QViommu iommu;
};

static void expect_ok(uint8_t status)
{
    g_assert_cmpuint(status, ==, VIRTIO_IOMMU_S_OK);
}

static void map(Test *t, uint64_t iova, uint64_t gpa, uint64_t size)
{
    expect_ok(qviommu_map(&t->iommu, DOMAIN, iova, iova + size - 1, gpa));
}

static void map_moving(Test *t)
{
    map(t, DRAIN_IOVA_MOVING, t->drain.page[0], DRAIN_BIG_PAGE);
}

static void map_all(Test *t)
{
    const DrainTest *d = &t->drain;

    map_moving(t);
    map(t, DRAIN_IOVA_FIXED, d->fixed, DRAIN_BIG_PAGE);
    map(t, d->cr, d->cr, DRAIN_PAGE);
    map(t, d->list, d->list, DRAIN_PAGE);
}

static void attach_to(Test *t, uint32_t domain)
{
    expect_ok(qviommu_attach(&t->iommu, domain, t->c->access->bdf, 0));
}

static void attach(Test *t)
{
    attach_to(t, DOMAIN);
    map_all(t);
}

/* 5.13.6.6 */
static void unmap(Test *t)
{
    expect_ok(qviommu_unmap(&t->iommu, DOMAIN, DRAIN_IOVA_MOVING,
                            DRAIN_IOVA_MOVING + DRAIN_BIG_PAGE - 1));
}

/* 5.13.6.4: the endpoint cannot access the domain any more */
static void detach(Test *t)
{
    expect_ok(qviommu_detach(&t->iommu, DOMAIN, t->c->access->bdf));
}

/* 5.13.6.3: the device is detached from its domain first */
static void attach_to_other(Test *t)
{
    attach_to(t, OTHER);
}

/* The page is free for other uses from now on */
static void completed(void *opaque)
{
    drain_mark(opaque, 0);
}

/* 5.13.5: after a reset no endpoint has a domain */
static void reset(Test *t)
{
    qvirtio_reset(&t->iommu.dev->vdev);
    completed(&t->drain);
}

static void restart(Test *t)
{
    qviommu_restart(&t->iommu);
    attach(t);
}

static unsigned trials(Test *t, unsigned n)
{
    unsigned failures = 0;

    for (unsigned i = 0; i < n; i++) {
        drain_forget_write(&t->drain, 0);
        t->c->access->begin(&t->drain);
        drain_await_write(&t->drain, 0);
        qviommu_on_completion(&t->iommu, t->drain.ram, completed, &t->drain);
        t->c->forbid(t);
        qviommu_on_completion(&t->iommu, NULL, NULL, NULL);
        g_usleep(i % 300);
        t->c->access->end(&t->drain);
        failures += !!drain_take_marks(&t->drain, 0);
        t->c->allow(t);
    }
    return failures;
}

static void test_drain(const void *data)
{
    Test t = { .c = data };

    t.drain.access = t.c->access;
    drain_test_start(&t.drain, "virtio-iommu-pci,addr=7");
    qviommu_init(&t.iommu, t.drain.qts, &t.drain.alloc, IOMMU_DEVFN);
    attach(&t);
    g_assert_cmpuint(trials(&t, drain_trials()), ==, 0);
    qviommu_cleanup(&t.iommu);
    drain_test_stop(&t.drain);
}

static const Case cases[] = {
    { "unmap/dsa", unmap, map_moving, &drain_dsa_move },
    { "unmap/thread", unmap, map_moving, &drain_atd_dma },
    { "unmap/svm", unmap, map_moving, &drain_atd_svm },
    { "detach/svm", detach, attach, &drain_atd_svm },
    { "attach/svm", attach_to_other, attach, &drain_atd_svm },
    { "reset/svm", reset, restart, &drain_atd_svm },
};

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_device("dsa") || !qtest_has_device("virtio-iommu-pci") ||
        !qtest_has_device("pci-ats-testdev")) {
        g_test_skip("no dsa, virtio-iommu-pci or pci-ats-testdev device");
        return 0;
    }
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("/viommu/drain/%s",
                                                cases[i].name);

        qtest_add_data_func(path, &cases[i], test_drain);
    }
    return g_test_run();
}
