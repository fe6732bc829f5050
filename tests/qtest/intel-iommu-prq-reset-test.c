/*
 * QTest testcase for page requests of intel-iommu: resets, unplugging and
 * migration
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include "standard-headers/linux/pci_regs.h"
#include "libqos/malloc-pc.h"
#include "intel-iommu-prq-common.h"

/* ---- Terminal conditions (7.9) ---- */

/* A response of the guest after that is discarded */
static void late_response(PrqTest *t)
{
    g_assert_cmpuint(qatd_read(&t->dev, ATD_OUTSTANDING), ==, 0);
    qvtd_page_response(&t->vtd, PRQ_DEV, PRQ_PASID, 1, VTD_PAGE_RESP_SUCCESS);
    prq_expect_response(&t->dev, 1, PRQ_PASID, 1, PRQ_FAILURE);
    prq_no_fault(t);
}

/* PCIe 5.0, 10.5.2.2: reset of the page request interface */
static void test_pri_reset(void)
{
    PrqTest t;

    prq_start(&t);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    qecam_writew(t.qts, PRQ_DEV, t.dev.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_RESET);
    prq_expect_response(&t.dev, 1, PRQ_PASID, 1, PRQ_FAILURE);
    late_response(&t);
    /* The interface is disabled now */
    prq_request_fails(&t.dev, PRQ_PASID, PRQ_ADDR, 2, PRQ_LAST | PRQ_RD,
                      -EPERM);
    qecam_writew(t.qts, PRQ_DEV, t.dev.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 2, PRQ_LAST | PRQ_RD);
    qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID, 2, VTD_PAGE_RESP_SUCCESS);
    prq_expect_response(&t.dev, 2, PRQ_PASID, 2, PRQ_SUCCESS);
    prq_stop(&t);
}

/* PCIe 5.0, 6.6.2: Function Level Reset, of this function only */
static void test_flr(void)
{
    PrqTest t;

    prq_start(&t);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    prq_request(&t.dev2, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    qecam_writew(t.qts, PRQ_DEV,
                 qecam_cap(t.qts, PRQ_DEV, PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL,
                 PCI_EXP_DEVCTL_BCR_FLR);
    g_assert_cmpuint(qatd_read(&t.dev2, ATD_OUTSTANDING), ==, 1);
    qatd_init(&t.dev, t.qts, PRQ_DEV, 0);
    prq_expect_response(&t.dev, 1, PRQ_PASID, 1, PRQ_FAILURE);
    qatd_enable_all(&t.dev, 512);
    late_response(&t);
    qvtd_page_response(&t.vtd, PRQ_DEV2, PRQ_PASID, 1, VTD_PAGE_RESP_SUCCESS);
    prq_expect_response(&t.dev2, 1, PRQ_PASID, 1, PRQ_SUCCESS);
    prq_no_fault(&t);
    prq_stop(&t);
}

/* Unplug a function while its request is in the queue */
static void test_unplug(void)
{
    const uint16_t port = QATD_BDF(0, 6, 0), bdf = QATD_BDF(1, 0, 0);
    QATD plugged;
    PrqTest t;

    t = (PrqTest) { };
    t.qts = prq_start_machine("svm=on", "-global ICH9-LPC."
                              "acpi-pci-hotplug-with-bridge-support=off "
                              "-device pcie-root-port,id=rp,addr=6,chassis=1 "
                              "-device pci-ats-testdev,id=dev,bus=rp,addr=0");
    pc_alloc_init(&t.alloc, t.qts, 0);
    qvtd_init(&t.vtd, t.qts, &t.alloc);
    t.vtd.scalable = true;
    qecam_enable(t.qts);
    qecam_setup_bridge(t.qts, port, 1, 1);
    qatd_init(&plugged, t.qts, bdf, 0);
    qatd_enable_all(&plugged, 32);
    prq_attach(&t, bdf);
    qvtd_enable(&t.vtd);
    qvtd_prq_init(&t.prq, &t.vtd, 0);
    prq_register(&plugged);
    prq_request(&plugged, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    qtest_qmp_device_del_send(t.qts, "dev");
    /* The guest powers off the slot (PCIe 5.0, 6.7.1) */
    qecam_writew(t.qts, port,
                 qecam_cap(t.qts, port, PCI_CAP_ID_EXP) + PCI_EXP_SLTCTL,
                 PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF);
    qtest_qmp_eventwait(t.qts, "DEVICE_DELETED");
    prq_expect_queued(&t, 1);
    qvtd_page_response(&t.vtd, bdf, PRQ_PASID, 1, VTD_PAGE_RESP_SUCCESS);
    prq_no_fault(&t);
    prq_stop(&t);
}

/* A system reset empties the queue and cancels the event */
static void test_system_reset(void)
{
    PrqTest t;

    prq_start(&t);
    prq_set_vector(&t, 0x47);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    prq_expect_status(&t, VTD_PRS_PPR, true);
    qtest_system_reset(t.qts);
    prq_expect_status(&t, 0, false);
    g_assert_cmphex(prq_readl(&t, DMAR_PECTL_REG), ==, VTD_PECTL_IM);
    g_assert_cmphex(prq_readq(&t, DMAR_PQT_REG), ==, 0);
    g_assert_cmphex(prq_readq(&t, DMAR_PQA_REG), ==, 0);
    prq_stop(&t);
}

/* ---- Migration ---- */

static void migrate(PrqTest *t)
{
    g_autofree char *path = qatd_save_machine(t->qts);

    t->qts = prq_start_machine("svm=on", "-incoming defer");
    t->vtd.qts = t->qts;
    t->dev.qts = t->qts;
    t->dev2.qts = t->qts;
    qatd_load_machine(t->qts, path);
}

/*
 * Requests in the queue, outstanding groups, a pending event: all are migrated
 */
static void test_migration(void)
{
    QVtdPageReq first = { .sid = PRQ_DEV, .pasid = PRQ_PASID, .addr = PRQ_ADDR,
                          .prgi = 1, .last = true, .read = true };
    QVtdPageReq second = { .sid = PRQ_DEV2, .pasid = PRQ_NONE, .addr = PRQ_ADDR,
                           .prgi = 2, .last = true, .write = true };
    uint64_t regs[6];
    PrqTest t;

    prq_start(&t);
    prq_set_vector(&t, 0x48);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    prq_request(&t.dev2, PRQ_NONE, PRQ_ADDR, 2, PRQ_LAST | PRQ_WR);
    prq_next(&t, &first);
    for (int i = 0; i < ARRAY_SIZE(regs); i++) {
        regs[i] = prq_readq(&t, DMAR_PQH_REG + i * 8);
    }
    migrate(&t);
    for (int i = 0; i < ARRAY_SIZE(regs); i++) {
        g_assert_cmphex(prq_readq(&t, DMAR_PQH_REG + i * 8), ==, regs[i]);
    }
    prq_expect_status(&t, VTD_PRS_PPR, true);
    g_assert_false(prq_interrupted(&t, 0x48));
    prq_writel(&t, DMAR_PECTL_REG, 0);
    g_assert_true(prq_interrupted(&t, 0x48));
    prq_expect_queued(&t, 1);
    prq_next(&t, &second);
    prq_expect_responses(&t.dev, 0);
    prq_expect_responses(&t.dev2, 0);
    for (int i = 0; i < 2; i++) {
        qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID, 1,
                           VTD_PAGE_RESP_SUCCESS);
        qvtd_page_response(&t.vtd, PRQ_DEV2, PRQ_NONE, 2,
                           VTD_PAGE_RESP_INVALID);
    }
    prq_expect_response(&t.dev, 1, PRQ_PASID, 1, PRQ_SUCCESS);
    prq_expect_response(&t.dev2, 1, PRQ_NONE, 2, PRQ_INVALID);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_OUTSTANDING), ==, 0);
    g_assert_cmpuint(qatd_read(&t.dev2, ATD_OUTSTANDING), ==, 0);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    prq_expect_queued(&t, 1);
    prq_no_fault(&t);
    prq_stop(&t);
}

/* PRO is migrated, and an event that was raised before is delivered */
static void test_migration_overflow(void)
{
    PrqTest t;

    prq_start(&t);
    prq_set_vector(&t, 0x49);
    prq_writel(&t, DMAR_PECTL_REG, 0);
    prq_writeq(&t, DMAR_PQH_REG, 0x20);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1,
                PRQ_LAST | PRQ_RD | ATD_FLAG_THREAD);
    migrate(&t);
    g_assert_true(prq_interrupted(&t, 0x49));
    prq_expect_status(&t, VTD_PRS_PRO, false);
    prq_writeq(&t, DMAR_PQH_REG, 0);
    prq_request_fails(&t.dev, PRQ_PASID, PRQ_ADDR, 2, PRQ_RD, -ENOSPC);
    prq_writel(&t, DMAR_PRS_REG, VTD_PRS_PRO);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 2, PRQ_RD);
    prq_stop(&t);
}

/* Load a snapshot: older groups are outstanding again, newer ones have ended */
static void test_snapshot(void)
{
    g_autofree char *path = qatd_temporary_file();
    PrqTest t;

    prq_start(&t);
    qatd_add_snapshot_disk(t.qts, path);
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 1, PRQ_LAST | PRQ_RD);
    qatd_snapshot(t.qts, "snapshot-save");
    prq_request(&t.dev, PRQ_PASID, PRQ_ADDR, 2, PRQ_LAST | PRQ_RD);
    qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID, 1, VTD_PAGE_RESP_SUCCESS);
    prq_expect_status(&t, VTD_PRS_PPR, true);
    prq_writel(&t, DMAR_PRS_REG, VTD_PRS_PPR);
    qatd_snapshot(t.qts, "snapshot-load");
    prq_expect_status(&t, VTD_PRS_PPR, true);
    prq_expect_queued(&t, 1);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_OUTSTANDING), ==, 1);
    /* The invalidation queue is in the state of the snapshot, too */
    t.vtd.iq_tail -= 2;
    t.vtd.seq--;
    for (int i = 0; i < 2; i++) {
        unsigned count = qatd_read(&t.dev, ATD_RESP_COUNT);

        qvtd_page_response(&t.vtd, PRQ_DEV, PRQ_PASID, 1,
                           VTD_PAGE_RESP_SUCCESS);
        g_assert_cmpuint(qatd_read(&t.dev, ATD_RESP_COUNT), ==, count + !i);
    }
    /* The notifiers of the device are registered */
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_UNREGISTER_PRI, PRQ_PASID, 0,
                                 0, 0), ==, 0);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_OUTSTANDING), ==, 0);
    prq_no_fault(&t);
    prq_stop(&t);
    unlink(path);
}

/* ---- Stress ---- */

/*
 * Two devices send requests in threads, and the guest responds late, to the
 * wrong function, twice, or not at all until it resets the interface.
 */
static void test_stress(void)
{
    enum { ROUNDS = 300 };
    QATD *devs[2];
    unsigned sent[2] = { };
    PrqTest t;

    prq_start(&t);
    devs[0] = &t.dev;
    devs[1] = &t.dev2;
    for (unsigned i = 0; i < ROUNDS; i++) {
        for (int d = 0; d < 2; d++) {
            qatd_wait(devs[d]);
            if (qatd_read(devs[d], ATD_OUTSTANDING) >= 16) {
                continue;
            }
            qatd_write(devs[d], ATD_PRGI, sent[d]++ % 512);
            qatd_start(devs[d], ATD_CMD_PAGE_REQUEST, PRQ_PASID, PRQ_ADDR, 0,
                       PRQ_LAST | PRQ_RD | ATD_FLAG_THREAD);
        }
        if (i % 5 == 4) {
            for (unsigned n = qvtd_prq_count(&t.prq); n; n--) {
                QVtdPageReq req;

                qvtd_prq_next(&t.prq, &req);
                if (n % 7 == 3) {
                    continue;
                }
                if (n % 7 == 4) {
                    qvtd_page_response(&t.vtd, req.sid ^ 0x800, req.pasid,
                                       req.prgi, VTD_PAGE_RESP_SUCCESS);
                }
                if (n % 7 == 5) {
                    qvtd_page_response(&t.vtd, req.sid, req.pasid, req.prgi,
                                       VTD_PAGE_RESP_INVALID);
                }
                qvtd_page_response(&t.vtd, req.sid, req.pasid, req.prgi,
                                   VTD_PAGE_RESP_INVALID);
            }
            prq_writel(&t, DMAR_PRS_REG, VTD_PRS_PPR | VTD_PRS_PRO);
        }
    }
    /* End all groups: each has had exactly one response */
    for (int d = 0; d < 2; d++) {
        g_assert_cmpint(qatd_wait(devs[d]), ==, 0);
        qecam_writew(t.qts, devs[d]->bdf, devs[d]->pri + PCI_PRI_CTRL,
                     PCI_PRI_CTRL_RESET);
        g_assert_cmpuint(qatd_read(devs[d], ATD_OUTSTANDING), ==, 0);
        prq_expect_responses(devs[d], sent[d]);
    }
    prq_no_fault(&t);
    prq_stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtd-prq/pri-reset", test_pri_reset);
    qtest_add_func("/vtd-prq/flr", test_flr);
    qtest_add_func("/vtd-prq/unplug", test_unplug);
    qtest_add_func("/vtd-prq/system-reset", test_system_reset);
    qtest_add_func("/vtd-prq/migration", test_migration);
    qtest_add_func("/vtd-prq/migration-overflow", test_migration_overflow);
    qtest_add_func("/vtd-prq/snapshot", test_snapshot);
    qtest_add_func("/vtd-prq/stress", test_stress);
    return g_test_run();
}
