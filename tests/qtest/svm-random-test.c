/*
 * QTest testcase for the demo device for shared virtual memory: random
 * actions
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * docs/specs/svm.rst describes the interface. The test acts as the guest: it
 * sets up the page tables of the process, and responds to page requests.
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include "hw/i386/intel_iommu_prq.h"
#include "svm-common.h"

#define RANDOM_PAGES     12
#define RANDOM_STEPS     4000

typedef struct RandomTest {
    SvmTest t;
    uint64_t mapped[RANDOM_PAGES];   /* guest physical, or 0 */
    uint64_t taken[RANDOM_PAGES];    /* guest physical, if unmapped */
} RandomTest;

static void random_start(RandomTest *c)
{
    uint64_t addr = SVM_ADDR + g_test_rand_int_range(0, RANDOM_PAGES * KIB4);
    uint64_t size = g_test_rand_int_range(0, RANDOM_PAGES * KIB4);

    svm_write(&c->t, SVM_DEMO_REG_ADDR,
              g_test_rand_int_range(0, 20) ? addr : UINT64_MAX);
    svm_write(&c->t, SVM_DEMO_REG_SIZE, size);
    svm_write(&c->t, SVM_DEMO_REG_START, g_test_rand_int_range(1, 3));
}

/* Pages that the guest has unmapped must not change */
static void random_map(RandomTest *c)
{
    int i = g_test_rand_int_range(0, RANDOM_PAGES);
    uint64_t addr = SVM_ADDR + i * KIB4;

    if (c->taken[i]) {
        svm_check_untouched(&c->t, c->taken[i], KIB4);
    }
    if (c->mapped[i]) {
        svm_unmap(&c->t, addr);
        qtest_memset(c->t.qts, c->mapped[i], 0, KIB4);
        c->taken[i] = c->mapped[i];
        c->mapped[i] = 0;
    } else {
        c->mapped[i] = c->taken[i] ?: svm_new_page(&c->t);
        c->taken[i] = 0;
        qvtd_map_entry(&c->t.vtd, c->t.root, 4, addr, KIB4,
                       c->mapped[i] | SVM_FS, SVM_FS);
    }
}

static void random_respond(RandomTest *c)
{
    QVtdPageReq rq;

    while (svm_has_requests(&c->t, 1)) {
        qvtd_prq_next(&c->t.prq, &rq);
        if (rq.last) {
            qvtd_prq_respond(&c->t.prq, &rq, g_test_rand_int_range(0, 8)
                             ? VTD_PAGE_RESP_SUCCESS
                             : VTD_PAGE_RESP_INVALID);
        }
    }
    qvtd_writel(c->t.qts, DMAR_PRS_REG,
                VTD_PRS_PRO);
}

static void random_switch(RandomTest *c)
{
    const uint16_t regs[] = {
        c->t.ats + PCI_ATS_CTRL, c->t.pasid + PCI_PASID_CTRL,
        c->t.pri + PCI_PRI_CTRL, PCI_COMMAND,
    };
    uint16_t reg = regs[g_test_rand_int_range(0, ARRAY_SIZE(regs))];
    uint16_t on = svm_conf_readw(&c->t, reg);

    svm_conf_writew(&c->t, reg,
                    reg == PCI_COMMAND ? on & ~PCI_COMMAND_MASTER : 0);
    svm_conf_writew(&c->t, reg, on);
}

static void random_flr(RandomTest *c)
{
    svm_conf_writew(&c->t, qecam_cap(c->t.qts, c->t.bdf, PCI_CAP_ID_EXP) +
                    PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
    svm_conf_enable(&c->t, g_test_rand_int_range(0, 64));
}

static void random_pause(RandomTest *c)
{
    qtest_qmp_assert_success(c->t.qts, "{ 'execute': 'stop' }");
    qtest_qmp_assert_success(c->t.qts, "{ 'execute': 'cont' }");
}

static void random_pasid(RandomTest *c)
{
    svm_write(&c->t, SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    svm_write(&c->t, SVM_DEMO_REG_PASID, SVM_PASID);
}

static void random_inject(RandomTest *c)
{
    static const char *const names[] = {
        "x-drop-responses", "x-delay-responses", "x-deny-requests", "x-flood",
    };

    svm_inject(&c->t, names[g_test_rand_int_range(0, ARRAY_SIZE(names))],
               g_test_rand_int_range(0, 3));
    qtest_clock_step(c->t.qts, 1000 * 1000);
}

static void test_random(void)
{
    static void (*const actions[])(RandomTest *c) = {
        random_start, random_start, random_start, random_start, random_map,
        random_map, random_map, random_map, random_respond, random_respond,
        random_respond, random_switch, random_pasid,
    };
    static void (*const rare[])(RandomTest *c) = {
        random_flr, random_pause, random_inject,
    };
    RandomTest c = { };

    svm_start(&c.t);
    for (int i = 0; i < RANDOM_STEPS; i++) {
        if (i % 50) {
            actions[g_test_rand_int_range(0, ARRAY_SIZE(actions))](&c);
        } else {
            rare[g_test_rand_int_range(0, ARRAY_SIZE(rare))](&c);
        }
    }
    for (int i = 0; i < RANDOM_PAGES; i++) {
        if (c.taken[i]) {
            svm_check_untouched(&c.t, c.taken[i], KIB4);
        }
    }
    svm_inject(&c.t, "x-deny-requests", 0);
    random_flr(&c);
    random_respond(&c);
    svm_check_alive(&c.t);
    svm_stop(&c.t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/svm/random-actions", test_random);
    return g_test_run();
}
