/*
 * QTest testcase for the demo device for shared virtual memory: what happens
 * to an operation that waits for a page
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
#include "qemu/bswap.h"
#include "svm-common.h"

/* ---- Misbehaviour ---- */

/* A second start, and other registers, do not affect a running operation */
static void test_start_while_busy(void)
{
    QVtdPageReq rq;
    uint64_t gpa, other;
    SvmTest t;

    svm_start(&t);
    other = svm_map(&t, SVM_ADDR + 2 * KIB4, SVM_FS);
    svm_begin_and_fault(&t, &rq);
    svm_write(&t, SVM_DEMO_REG_ADDR, SVM_ADDR + 2 * KIB4);
    svm_write(&t, SVM_DEMO_REG_SIZE, 1);
    svm_write(&t, SVM_DEMO_REG_OPTIONS, SVM_DEMO_OPTION_PRIV);
    svm_write(&t, SVM_DEMO_REG_START, SVM_DEMO_START_WRITE);
    svm_write(&t, SVM_DEMO_REG_START, SVM_DEMO_START_READ);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, 64, 0);
    svm_check_untouched(&t, other, 64);
    svm_stop(&t);
}

/* Changing the PASID ends the operation with an error and an MSI */
static void test_pasid_while_busy(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    svm_begin_and_fault(&t, &rq);
    svm_write(&t, SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    svm_write(&t, SVM_DEMO_REG_PASID, SVM_PASID + 1);
    /* The operation ends with the response (6.20.1), which comes too late */
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    svm_write(&t, SVM_DEMO_REG_PASID, SVM_PASID);
    svm_check_alive(&t);
    svm_check_untouched(&t, gpa, 64);
    svm_stop(&t);
}

/* 10.5.1.3, 10.5.2.2, 7.8.8.3, 7.5.1.1.3: the guest disables a capability */
static void check_disable_while_busy(SvmTest *t, uint16_t reg, uint16_t on)
{
    QVtdPageReq rq;
    uint64_t gpa;

    svm_begin_and_fault(t, &rq);
    svm_conf_writew(t, reg, 0);
    if (reg == t->pri + PCI_PRI_CTRL) {
        /*
         * The operation ends without response, even if the page is present
         * then
         */
        svm_wait_until(t, svm_has_failed, 0);
    }
    gpa = svm_map(t, SVM_ADDR, SVM_FS);
    qvtd_prq_respond(&t->prq, &rq, VTD_PAGE_RESP_SUCCESS);
    svm_wait_until(t, svm_has_failed, 0);
    svm_conf_writew(t, reg, on);
    svm_check_alive(t);
    svm_check_untouched(t, gpa, 64);
    svm_unmap(t, SVM_ADDR);
}

static void test_disable_while_busy(void)
{
    uint16_t command;
    SvmTest t;

    svm_start(&t);
    check_disable_while_busy(&t, t.ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    check_disable_while_busy(&t, t.pasid + PCI_PASID_CTRL,
                             PCI_PASID_CTRL_ENABLE | PCI_PASID_CTRL_PRIV);
    check_disable_while_busy(&t, t.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    /* Disable bus mastering, but not the access to the registers */
    command = svm_conf_readw(&t, PCI_COMMAND);
    {
        QVtdPageReq rq;

        svm_begin_and_fault(&t, &rq);
        svm_conf_writew(&t, PCI_COMMAND, command & ~PCI_COMMAND_MASTER);
        qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
        svm_wait_until(&t, svm_has_failed, 0);
        /* An MSI is a memory write: it is not sent, either */
        g_assert_false(svm_msi_arrived(&t, 0));
        svm_conf_writew(&t, PCI_COMMAND, command);
        svm_check_alive(&t);
    }
    svm_stop(&t);
}

/* 6.6.2: FLR ends the operation without a result */
static void test_flr_while_busy(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 0), ==, SVM_DEMO_RESULT_ERROR);
    svm_begin_and_fault(&t, &rq);
    svm_conf_writew(&t,
                    qecam_cap(t.qts, t.bdf, PCI_CAP_ID_EXP) + PCI_EXP_DEVCTL,
                    PCI_EXP_DEVCTL_BCR_FLR);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    qvtd_prq_drain(&t.prq, SVM_DEV, SVM_PASID, SVM_DOMAIN);
    svm_conf_enable(&t, 32);
    g_assert_cmphex(svm_result(&t), ==, SVM_DEMO_RESULT_OK);
    g_assert_false(svm_msi_arrived(&t, 0));
    /* All registers have their default values */
    svm_write(&t, SVM_DEMO_REG_START, SVM_DEMO_START_WRITE);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    svm_check_alive(&t);
    svm_check_untouched(&t, gpa, 64);
    svm_stop(&t);
}

static void test_reset_while_busy(void)
{
    QVtdPageReq rq;
    SvmTest t;

    svm_start(&t);
    svm_begin_and_fault(&t, &rq);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(t.qts, "RESET");
    qecam_enable(t.qts);
    t.vtd.iq_tail = 0;
    svm_guest_init(&t, 32);
    svm_check_alive(&t);
    svm_stop(&t);
}

static void test_unplug_while_busy(void)
{
    QVtdPageReq rq;
    SvmTest t;

    t = (SvmTest) { .bdf = SVM_BEHIND_PORT };
    t.qts = qtest_initf("-M q35 -nodefaults -device intel-iommu,svm=on "
                        "-device pcie-root-port,id=rp,addr=4,chassis=1 "
                        "-device svm,bus=rp,id=svm0");
    svm_boot(&t, 32);
    svm_begin_and_fault(&t, &rq);
    qecam_unplug(t.qts, "svm0");
    svm_stop(&t);
}

/* ---- Migration ---- */

static void migrate(SvmTest *t)
{
    g_autofree char *path = qatd_save_machine(t->qts);

    t->qts = qtest_init(SVM_MACHINE "-incoming defer");
    t->vtd.qts = t->qts;
    qatd_load_machine(t->qts, path);
}

/* The operation continues on the destination, and sends its MSI */
static void test_migration_while_busy(void)
{
    QVtdPageReq old, rq;
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    svm_begin(&t, SVM_DEMO_START_WRITE, SVM_ADDR, KIB4 + 64);
    svm_expect_request(&t, SVM_ADDR + KIB4, true, &old);
    svm_wait_until(&t, svm_page_has_pattern, gpa);
    /* Detects a destination that starts over */
    qtest_memset(t.qts, gpa, 0, KIB4);
    migrate(&t);
    svm_expect_request(&t, SVM_ADDR + KIB4, true, &rq);
    svm_check_untouched(&t, gpa, KIB4);
    gpa = svm_map(&t, SVM_ADDR + KIB4, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    /* The operation ends as if the machine had only been stopped */
    svm_check_no_msi(&t);
    qvtd_prq_respond(&t.prq, &old, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, 64, KIB4);
    svm_stop(&t);
}

/* The same for an operation that lost its address space before */
static void test_migration_cancelled(void)
{
    QVtdPageReq rq;
    SvmTest t;

    svm_start(&t);
    svm_begin_and_fault(&t, &rq);
    svm_write(&t, SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    migrate(&t);
    svm_check_no_msi(&t);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    svm_write(&t, SVM_DEMO_REG_PASID, SVM_PASID);
    svm_check_alive(&t);
    svm_stop(&t);
}

/* Returns the position of "svm/operation" of the device in a stream */
static char *find_operation(char *stream, size_t len)
{
    uint8_t key[20];

    stq_be_p(key, SVM_DEMO_START_WRITE);
    stl_be_p(key + 8, SVM_PASID);
    stq_be_p(key + 12, SVM_ADDR);
    for (size_t i = 0; i + sizeof(key) <= len; i++) {
        if (!memcmp(stream + i, key, sizeof(key))) {
            return stream + i;
        }
    }
    g_assert_not_reached();
}

static void expect_load(const char *path, const char *stream, size_t len,
                        const char *expected)
{
    qatd_expect_load(SVM_MACHINE "-incoming defer", path, stream, len,
                     expected);
}

/* The destination rejects streams with an invalid operation */
static void test_migration_hostile(void)
{
    g_autofree char *path = NULL, *stream = NULL;
    QVtdPageReq rq;
    size_t len;
    char *op;
    SvmTest t;

    svm_start(&t);
    svm_begin_and_fault(&t, &rq);
    /* Makes the stream contain "svm/ended", too */
    svm_write(&t, SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    path = qatd_save_machine(t.qts);
    g_assert_true(g_file_get_contents(path, &stream, &len, NULL));
    op = find_operation(stream, len);
    expect_load(path, stream, len, "completed");

    /* Invalid command; ended without an operation; position beyond the size */
    stq_be_p(op, SVM_DEMO_START_READ + 1);
    expect_load(path, stream, len, "failed");
    stq_be_p(op, 0);
    expect_load(path, stream, len, "failed");
    stq_be_p(op, SVM_DEMO_START_WRITE);
    stq_be_p(op + 44, SVM_SHORT + 1);
    expect_load(path, stream, len, "failed");
    stq_be_p(op + 44, SVM_SHORT);
    expect_load(path, stream, len, "completed");
    unlink(path);
    alloc_destroy(&t.alloc);
}

/* Suspending the machine stops the processors, but no device */
static void test_suspend_while_busy(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    svm_begin_and_fault(&t, &rq);
    qecam_suspend(t.qts);
    svm_check_no_msi(&t);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, 64, 0);
    svm_stop(&t);
}

/* Stopping the machine stops the device */
static void test_stop_while_busy(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    svm_begin_and_fault(&t, &rq);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'stop' }");
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    svm_check_untouched(&t, gpa, 64);
    g_assert_false(svm_msi_arrived(&t, 0));
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'cont' }");
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, 64, 0);
    svm_stop(&t);
}

/*
 * PCIe 5.0, 6.20.1: all page requests must have responses before the function
 * stops using an address space, including those from before the machine was
 * stopped
 */
static void test_stop_and_repeat_request(void)
{
    QVtdPageReq old, rq;
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    svm_begin_and_fault(&t, &old);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'stop' }");
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'cont' }");
    svm_expect_request(&t, SVM_ADDR, true, &rq);
    g_assert_cmpint(rq.prgi, !=, old.prgi);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    svm_check_no_msi(&t);
    qvtd_prq_respond(&t.prq, &old, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, 64, 0);
    svm_stop(&t);
}

/* The same for an operation that loses its address space */
static void test_stop_cancelled(void)
{
    QVtdPageReq rq;
    SvmTest t;

    svm_start(&t);
    svm_begin_and_fault(&t, &rq);
    svm_write(&t, SVM_DEMO_REG_PASID, SVM_DEMO_PASID_NONE);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'stop' }");
    svm_check_no_msi(&t);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'cont' }");
    svm_check_no_msi(&t);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    svm_stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    svm_add_both("/svm/busy/start", test_start_while_busy);
    svm_add_both("/svm/busy/pasid", test_pasid_while_busy);
    svm_add_both("/svm/busy/disable", test_disable_while_busy);
    svm_add_both("/svm/busy/flr", test_flr_while_busy);
    svm_add_both("/svm/busy/reset", test_reset_while_busy);
    svm_add_both("/svm/busy/unplug", test_unplug_while_busy);
    svm_add_both("/svm/busy/migration", test_migration_while_busy);
    svm_add_both("/svm/busy/migration-cancelled", test_migration_cancelled);
    svm_add_both("/svm/busy/stop", test_stop_while_busy);
    svm_add_both("/svm/busy/stop-and-repeat-request",
                 test_stop_and_repeat_request);
    svm_add_both("/svm/busy/stop-cancelled", test_stop_cancelled);
    qtest_add_func("/svm/migration-hostile", test_migration_hostile);
    qtest_add_func("/svm/busy/suspend", test_suspend_while_busy);
    return g_test_run();
}
