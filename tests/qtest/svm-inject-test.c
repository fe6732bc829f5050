/*
 * QTest testcase for the demo device for shared virtual memory: fault
 * injection
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
#include "qobject/qdict.h"
#include "hw/i386/intel_iommu_prq.h"
#include "svm-common.h"

/* ---- Fault injection ---- */

static QDict *get_property(SvmTest *t, const char *name)
{
    return qtest_qmp(t->qts, "{ 'execute': 'qom-get', 'arguments': "
                     "{ 'path': 'svm0', 'property': %s } }", name);
}

static unsigned injected(SvmTest *t, const char *name)
{
    g_autoptr(QDict) rsp = get_property(t, name);

    return qdict_get_int(rsp, "return");
}

static bool injected_bool(SvmTest *t, const char *name)
{
    g_autoptr(QDict) rsp = get_property(t, name);

    return qdict_get_bool(rsp, "return");
}

/* ---- Effects of fault injection ---- */

/* The opposite of test_invalidation(), which detects the fault */
static void test_inject_ignored_invalidation(void)
{
    uint64_t gpa;
    SvmTest t;

    svm_start_with(&t, 32, "-global svm.x-ignore-invalidations=on");
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 16), ==, SVM_DEMO_RESULT_OK);
    qtest_memset(t.qts, gpa, 0, KIB4);
    svm_unmap(&t, SVM_ADDR);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 16), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, 16, 0);
    svm_stop(&t);
}

static void test_inject_deny(void)
{
    QVtdPageReq rq;
    SvmTest t;

    svm_start(&t);
    svm_inject(&t, "x-deny-requests", 1);
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 16), ==, SVM_DEMO_RESULT_ERROR);
    g_assert_false(svm_has_requests(&t, 1));
    g_assert_cmpuint(injected(&t, "x-deny-requests"), ==, 0);
    /* The property affects only one request */
    svm_begin_and_fault(&t, &rq);
    svm_map(&t, SVM_ADDR, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_OK);
    svm_stop(&t);
}

static void test_inject_drop(void)
{
    QVtdPageReq rq;
    SvmTest t;

    svm_start(&t);
    svm_inject(&t, "x-drop-responses", 1);
    svm_begin_and_fault(&t, &rq);
    svm_map(&t, SVM_ADDR, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmpuint(injected(&t, "x-drop-responses"), ==, 0);
    /* The group has ended for the guest, but not for the device */
    g_assert_false(svm_msi_arrived(&t, 0));
    svm_write(&t, SVM_DEMO_REG_PASID, SVM_PASID);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    svm_check_alive(&t);
    svm_stop(&t);
}

static void test_inject_delay(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    /* A delay of more nanoseconds than 32 bits hold */
    svm_inject(&t, "x-delay-responses", 5000);
    svm_begin_and_fault(&t, &rq);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    /* The test controls the virtual clock */
    qtest_clock_step(t.qts, 4999LL * 1000 * 1000);
    svm_check_no_msi(&t);
    svm_check_untouched(&t, gpa, 64);
    qtest_clock_step(t.qts, 1000 * 1000);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, 64, 0);
    svm_stop(&t);
}

/*
 * PCIe 5.0, 6.6.1: a reset ends all page request groups, including those whose
 * responses are delayed: later operations do not wait for them
 */
static void test_inject_delay_and_reset(void)
{
    QVtdPageReq rq;
    SvmTest t;

    svm_start(&t);
    svm_inject(&t, "x-delay-responses", 5000);
    svm_begin_and_fault(&t, &rq);
    svm_map(&t, SVM_ADDR, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    svm_inject(&t, "x-delay-responses", 0);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(t.qts, "RESET");
    qecam_enable(t.qts);
    /* Otherwise the delayed response might end as long as PRI is disabled */
    svm_conf_writew(&t, t.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    t.vtd.iq_tail = 0;
    svm_guest_init(&t, 32);
    svm_check_alive(&t);
    svm_stop(&t);
}

static void test_inject_flood(void)
{
    const unsigned room = (KIB4 << 2) / VTD_PRQ_DESC_SIZE - 1;
    SvmTest t;

    svm_start(&t);
    svm_write(&t, SVM_DEMO_REG_ADDR, SVM_ADDR);
    svm_inject(&t, "x-flood", 10);
    g_assert_cmpuint(injected(&t, "x-flood"), ==, 10);
    g_assert_cmpuint(qvtd_prq_count(&t.prq), ==, 10);
    svm_inject(&t, "x-flood", 2000);
    g_assert_cmpuint(qvtd_prq_count(&t.prq), ==, room);
    g_assert_cmphex(qvtd_readl(t.qts,
                               DMAR_PRS_REG) & VTD_PRS_PRO, !=, 0);
    svm_check_alive(&t);
    svm_stop(&t);
}

/* Setting an invalid value fails, and the error message contains @why */
static void check_refused(QTestState *qts, const char *name, const char *value,
                          const char *why)
{
    g_autofree char *json = g_strdup_printf(
        "{ 'execute': 'qom-set', 'arguments': { 'path': 'svm0', "
        "'property': '%s', 'value': %s } }", name, value);
    QDict *error = qtest_qmp_assert_failure_ref(qts, json, NULL);

    g_assert_nonnull(strstr(qdict_get_str(error, "desc"), why));
    qobject_unref(error);
}

static void test_inject_properties(void)
{
    SvmTest t;

    svm_start(&t);
    check_refused(t.qts, "x-flood", "65537", "x-flood: at most 65536");
    check_refused(t.qts, "x-flood", "true", "x-flood");
    check_refused(t.qts, "x-drop-responses", "'many'", "x-drop-responses");
    check_refused(t.qts, "x-deny-requests", "-1", "x-deny-requests");
    check_refused(t.qts, "x-ignore-invalidations", "3",
                  "x-ignore-invalidations");
    g_assert_cmpuint(injected(&t, "x-drop-responses"), ==, 0);
    g_assert_cmpuint(injected(&t, "x-deny-requests"), ==, 0);
    g_assert_false(injected_bool(&t, "x-ignore-invalidations"));
    g_assert_cmpuint(qvtd_prq_count(&t.prq), ==, 0);

    qtest_qmp_assert_success(t.qts, "{ 'execute': 'qom-set', 'arguments': "
                             "{ 'path': 'svm0', 'value': true, "
                             "'property': 'x-ignore-invalidations' } }");
    g_assert_true(injected_bool(&t, "x-ignore-invalidations"));
    svm_stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/svm/inject/ignored-invalidation",
                   test_inject_ignored_invalidation);
    svm_add_both("/svm/inject/deny", test_inject_deny);
    svm_add_both("/svm/inject/drop", test_inject_drop);
    svm_add_both("/svm/inject/delay", test_inject_delay);
    svm_add_both("/svm/inject/delay-and-reset", test_inject_delay_and_reset);
    qtest_add_func("/svm/inject/flood", test_inject_flood);
    qtest_add_func("/svm/inject/properties", test_inject_properties);
    return g_test_run();
}
