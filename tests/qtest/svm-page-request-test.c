/*
 * QTest testcase for the demo device for shared virtual memory: page requests
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

/*
 * 10.4: the device requests a missing page; the response resumes the operation
 */
static void test_page_request(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    svm_begin(&t, SVM_DEMO_START_WRITE, SVM_ADDR + 5, 16);
    svm_expect_request(&t, SVM_ADDR, true, &rq);
    g_assert_true(rq.last);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    g_assert_false(svm_msi_arrived(&t, 0));
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa + 5, 16, 0);
    g_assert_cmpuint(qvtd_prq_count(&t.prq), ==, 0);
    svm_stop(&t);
}

/* A write to a read-only page requests write permission */
static void test_page_request_permission(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    gpa = svm_map(&t, SVM_ADDR, VTD_FL_P | VTD_FL_US);
    svm_begin(&t, SVM_DEMO_START_WRITE, SVM_ADDR, 16);
    svm_expect_request(&t, SVM_ADDR, true, &rq);
    svm_check_untouched(&t, gpa, 16);
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, 16, 0);

    svm_write(&t, SVM_DEMO_REG_CRC, 0);
    svm_begin(&t, SVM_DEMO_START_READ, SVM_ADDR + KIB4, 16);
    svm_expect_request(&t, SVM_ADDR + KIB4, false, &rq);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_INVALID);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_ERROR);
    svm_stop(&t);
}

/* 10.4.2.1: every response but Success ends the operation */
static void test_failed_response(void)
{
    static const unsigned codes[] = {
        VTD_PAGE_RESP_INVALID, VTD_PAGE_RESP_FAILURE, 7,
    };
    QVtdPageReq rq;
    SvmTest t;

    svm_start(&t);
    for (int i = 0; i < ARRAY_SIZE(codes); i++) {
        svm_begin_and_fault(&t, &rq);
        qvtd_prq_respond(&t.prq, &rq, codes[i]);
        g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_ERROR);
        /* Response Failure has disabled the interface: enable it again */
        svm_conf_writew(&t, t.pri + PCI_PRI_CTRL, 0);
        svm_conf_writew(&t, t.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    }
    svm_check_alive(&t);
    svm_stop(&t);
}

/* The page is still missing after Success: the device requests it again */
static void test_success_without_page(void)
{
    QVtdPageReq rq;
    uint64_t gpa;
    SvmTest t;

    svm_start(&t);
    svm_begin_and_fault(&t, &rq);
    for (int i = 0; i < 40; i++) {
        qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
        svm_expect_request(&t, SVM_ADDR, true, &rq);
    }
    gpa = svm_map(&t, SVM_ADDR, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_OK);
    svm_check_pattern(&t, gpa, 64, 0);
    svm_stop(&t);
}

/*
 * While the device waits for pages, it has requested all missing ones, and has
 * written those that are present.
 */
static void test_progress_while_waiting(void)
{
    QVtdPageReq rq[2];
    uint64_t gpa[5];
    SvmTest t;

    svm_start(&t);
    gpa[0] = svm_map(&t, SVM_ADDR, SVM_FS);
    gpa[2] = svm_map(&t, SVM_ADDR + 2 * KIB4, SVM_FS);
    gpa[4] = svm_map(&t, SVM_ADDR + 4 * KIB4, SVM_FS);
    svm_begin(&t, SVM_DEMO_START_WRITE, SVM_ADDR, 5 * KIB4);
    svm_expect_request(&t, SVM_ADDR + KIB4, true, &rq[0]);
    svm_expect_request(&t, SVM_ADDR + 3 * KIB4, true, &rq[1]);
    svm_wait_until(&t, svm_page_has_pattern, gpa[0]);
    svm_check_pattern(&t, gpa[0], KIB4, 0);

    gpa[3] = svm_map(&t, SVM_ADDR + 3 * KIB4, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq[1], VTD_PAGE_RESP_SUCCESS);
    gpa[1] = svm_map(&t, SVM_ADDR + KIB4, SVM_FS);
    qvtd_prq_respond(&t.prq, &rq[0], VTD_PAGE_RESP_SUCCESS);
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_OK);
    for (int i = 0; i < 5; i++) {
        svm_check_pattern(&t, gpa[i], KIB4, i * KIB4);
    }
    g_assert_cmpuint(qvtd_prq_count(&t.prq), ==, 0);
    svm_stop(&t);
}

/*
 * 10.5.2.5: the device has no more requests outstanding than the allocation
 * permits. Consecutive pages form one group.
 */
static void test_allocation(void)
{
    const unsigned alloc = 7, pages = 20;
    QVtdPageReq rq;
    SvmTest t;

    svm_start_with(&t, alloc, "");
    svm_begin(&t, SVM_DEMO_START_WRITE, SVM_ADDR, pages * KIB4);
    for (unsigned done = 0; done < pages; ) {
        unsigned n = MIN(alloc, pages - done);

        for (unsigned i = 0; i < n; i++) {
            svm_expect_request(&t, SVM_ADDR + (done + i) * KIB4, true, &rq);
            g_assert_cmpint(rq.last, ==, i == n - 1);
        }
        g_assert_false(svm_has_requests(&t, 1));
        for (unsigned i = 0; i < n; i++) {
            svm_map(&t, SVM_ADDR + (done + i) * KIB4, SVM_FS);
        }
        qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
        done += n;
    }
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_OK);
    svm_stop(&t);
}

/* Several groups are outstanding; the responses come in any order */
static void test_groups(void)
{
    const unsigned pages = 100;
    QVtdPageReq last[100];
    uint64_t gpa[100];
    unsigned groups = 0;
    SvmTest t;

    svm_start_with(&t, 2048, "");
    svm_begin(&t, SVM_DEMO_START_WRITE, SVM_ADDR, pages * KIB4);
    for (unsigned i = 0; i < pages; i++) {
        svm_expect_request(&t, SVM_ADDR + i * KIB4, true, &last[groups]);
        groups += last[groups].last;
        gpa[i] = svm_map(&t, SVM_ADDR + i * KIB4, SVM_FS);
    }
    g_assert_cmpuint(groups, >, 1);
    while (groups) {
        g_assert_false(svm_msi_arrived(&t, 0));
        qvtd_prq_respond(&t.prq, &last[--groups], VTD_PAGE_RESP_SUCCESS);
    }
    g_assert_cmphex(svm_finish(&t), ==, SVM_DEMO_RESULT_OK);
    g_assert_false(svm_has_requests(&t, 1));
    for (unsigned i = 0; i < pages; i++) {
        svm_check_pattern(&t, gpa[i], KIB4, i * KIB4);
    }
    svm_stop(&t);
}

/*
 * The queue overflows in the middle of a group: the device requests the lost
 * pages again when there is space.
 */
static void test_overflow(void)
{
    const unsigned room = (KIB4 << 2) / VTD_PRQ_DESC_SIZE - 1;
    int64_t deadline = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;
    QVtdPageReq rq;
    uint64_t gpa[40] = { };
    uint64_t i;
    SvmTest t;

    svm_start_with(&t, 2048, "");
    svm_write(&t, SVM_DEMO_REG_ADDR, SVM_ADDR + 1000 * KIB4);
    svm_inject(&t, "x-flood", room - 10);
    svm_begin(&t, SVM_DEMO_START_WRITE, SVM_ADDR, ARRAY_SIZE(gpa) * KIB4);
    svm_wait_until(&t, svm_has_requests, room);
    while (!svm_msi_arrived(&t, 0)) {
        while (svm_has_requests(&t, 1)) {
            qvtd_prq_next(&t.prq, &rq);
            i = (rq.addr - SVM_ADDR) / KIB4;
            /* Skip the injected ones, which may have the same indices */
            if (!rq.last || i >= ARRAY_SIZE(gpa)) {
                continue;
            }
            /* The page is mapped only for the last request of a group */
            if (!gpa[i]) {
                gpa[i] = svm_map(&t, rq.addr, SVM_FS);
            }
            qvtd_prq_respond(&t.prq, &rq, VTD_PAGE_RESP_SUCCESS);
        }
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        qvtd_writel(t.qts, DMAR_PRS_REG,
                    VTD_PRS_PRO);
        g_usleep(100);
    }
    g_assert_cmphex(svm_result(&t), ==, SVM_DEMO_RESULT_OK);
    for (i = 0; i < ARRAY_SIZE(gpa); i++) {
        svm_check_pattern(&t, gpa[i], KIB4, i * KIB4);
    }
    svm_stop(&t);
}

/* Without allocation the device cannot request pages */
static void test_no_allocation(void)
{
    SvmTest t;

    svm_start_with(&t, 0, "");
    g_assert_cmphex(svm_run_write(&t, SVM_ADDR, 64), ==, SVM_DEMO_RESULT_ERROR);
    g_assert_false(svm_has_requests(&t, 1));
    svm_check_alive(&t);
    svm_stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/svm/page-request", test_page_request);
    qtest_add_func("/svm/page-request/permission",
                   test_page_request_permission);
    qtest_add_func("/svm/page-request/failed-response", test_failed_response);
    qtest_add_func("/svm/page-request/success-without-page",
                   test_success_without_page);
    qtest_add_func("/svm/page-request/progress-while-waiting",
                   test_progress_while_waiting);
    qtest_add_func("/svm/page-request/allocation", test_allocation);
    qtest_add_func("/svm/page-request/no-allocation", test_no_allocation);
    qtest_add_func("/svm/page-request/groups", test_groups);
    qtest_add_func("/svm/page-request/overflow", test_overflow);
    return g_test_run();
}
