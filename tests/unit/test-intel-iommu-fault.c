/*
 * Unit tests of VT-d faults of requests from threads of device models
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qapi/error.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/intel_iommu_fault.h"

/* More faults than the queue between the threads and the main loop holds */
#define FAULTS  40

static IntelIOMMUState *iommu;
static unsigned recorded;
static uint64_t last_hi, last_lo;

/* Replacements for functions that hw/i386/intel_iommu_fault.c calls */
void vtd_record_fault(IntelIOMMUState *s, uint64_t source_id, uint64_t hi,
                      uint64_t lo)
{
    g_assert_true(bql_locked());
    g_assert_cmpint(source_id, ==, recorded);
    recorded++;
    last_hi = hi;
    last_lo = lo;
}

static void run_main_loop(void)
{
    bql_lock();
    main_loop_wait(true);
    bql_unlock();
}

static void *fault_thread(void *opaque)
{
    g_assert_false(bql_locked());
    for (unsigned i = 0; i < GPOINTER_TO_UINT(opaque); i++) {
        vtd_fault_log(iommu, i, i, 0);
    }
    return NULL;
}

static void log_in_thread(unsigned faults)
{
    QemuThread thread;

    recorded = 0;
    qemu_thread_create(&thread, "fault", fault_thread,
                       GUINT_TO_POINTER(faults), QEMU_THREAD_JOINABLE);
    qemu_thread_join(&thread);
    assert_int_equal(recorded, 0);
}

/* The BQL protects the registers: the main loop records faults, in order */
static void test_order(void **state)
{
    log_in_thread(3);
    run_main_loop();
    assert_int_equal(recorded, 3);
    run_main_loop();
    assert_int_equal(recorded, 3);
}

/*
 * 7.2.1: when faults arrive faster than the main loop records them, the first
 * ones are recorded; no guest can make the queue grow
 */
static void test_overflow(void **state)
{
    unsigned first;

    log_in_thread(FAULTS);
    run_main_loop();
    first = recorded;
    assert_in_range(first, 1, FAULTS - 1);
    /* The queue has room again. */
    log_in_thread(FAULTS);
    run_main_loop();
    assert_int_equal(recorded, first);
}

/* A reset drops faults that have not been recorded */
static void test_reset(void **state)
{
    log_in_thread(3);
    bh_queue_clear(iommu->fault_queue);
    run_main_loop();
    assert_int_equal(recorded, 0);
}

/* If the caller holds the BQL, vtd_fault_log() records the fault itself */
static void test_record_with_bql(void **state)
{
    recorded = 0;
    bql_lock();
    vtd_fault_log(iommu, 0, 0, 0);
    assert_int_equal(recorded, 1);
    bql_unlock();
}

/* 11.4.7.6: fields of the registers, also without PASIDs and device-TLBs */
static void test_fields(void **state)
{
    VTDFault fault = {
        .reason = VTD_FR_SM_READ,
        .at = VTD_AT_TRANSLATION,
        .addr = 0x123456,
        .pasid = 5,
        .priv = true,
        .exec = true,
    };

    bql_lock();
    recorded = 0;
    iommu->ecap = VTD_ECAP_PASID | VTD_ECAP_DT;
    vtd_fault_report(iommu, &fault);
    assert_int_equal(last_lo, 0x123000);
    assert_int_equal(last_hi, VTD_FRCD_FR(VTD_FR_SM_READ) | VTD_FRCD_T |
                              VTD_FRCD_AT(VTD_AT_TRANSLATION) |
                              VTD_FRCD_PP(1) | VTD_FRCD_PV(5ULL) |
                              VTD_FRCD_PRIV | VTD_FRCD_EXE);
    recorded = 0;
    iommu->ecap = 0;
    fault.is_write = true;
    vtd_fault_report(iommu, &fault);
    assert_int_equal(last_hi, VTD_FRCD_FR(VTD_FR_SM_READ));
    recorded = 0;
    fault.at = VTD_AT_PAGE_REQUEST;
    vtd_fault_report(iommu, &fault);
    assert_int_equal(last_hi, VTD_FRCD_FR(VTD_FR_SM_READ) | VTD_FRCD_T2);
    bql_unlock();
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_overflow),
        cmocka_unit_test(test_reset),
        cmocka_unit_test(test_record_with_bql),
        cmocka_unit_test(test_fields),
    };

    bql_lock();
    qemu_init_main_loop(&error_abort);
    /* Lives as long as the machine */
    iommu = g_new0(IntelIOMMUState, 1);
    iommu->fault_queue = vtd_fault_queue_new(iommu);
    bql_unlock();
    return cmocka_run_group_tests_name("intel-iommu-fault", tests, NULL, NULL);
}
