/*
 * Unit tests for the Page Request capability: groups and their responses
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Responses and resets end groups and set status bits; each event is counted.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/module.h"
#include "fake-pri.h"

/* 10.4.2: a response ends all requests of its group, for its PASID only */
static void test_group(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a, b;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    user_start(&b, dev, 2);
    assert_int_equal(send_request(dev, 1, 5, false), 0);
    assert_int_equal(send_request(dev, 1, 5, false), 0);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    assert_int_equal(send_request(dev, 2, 5, true), 0);
    assert_int_equal(pcie_pri_outstanding(dev), 4);

    fake_respond(1, 5, IOMMU_PRI_RESP_INVALID_REQUEST);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    assert_int_equal(a.responses, 1);
    assert_int_equal(a.prgi, 5);
    assert_int_equal(a.code, IOMMU_PRI_RESP_INVALID_REQUEST);
    assert_int_equal(b.responses, 0);
    fake_respond(2, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(b.responses, 1);
    assert_int_equal(read_status(dev), 0);

    pci_pri_unregister_notifier(dev, 1);
    pci_pri_unregister_notifier(dev, 2);
    fake_pri_free(dev);
}

/*
 * 10.5.2.3: a response without PASID, as to a function that does not set PRG
 * Response PASID Required, belongs to the group with the index
 */
static void test_any_pasid(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a, b;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    user_start(&b, dev, 2);
    assert_int_equal(send_request(dev, 2, 5, true), 0);
    fake_respond_any_pasid(1, 5, IOMMU_PRI_RESP_INVALID_REQUEST);
    assert_int_equal(a.responses, 0);
    assert_int_equal(b.responses, 1);
    assert_int_equal(b.prgi, 5);
    assert_int_equal(b.code, IOMMU_PRI_RESP_INVALID_REQUEST);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(read_status(dev), 0);

    /* Two groups with the same index get their responses in turn. */
    assert_int_equal(send_request(dev, 2, 5, true), 0);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    fake_respond_any_pasid(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(b.responses, 2);
    fake_respond_any_pasid(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(a.responses, 1);
    assert_int_equal(read_status(dev), 0);

    /* No response is due. */
    assert_int_equal(send_request(dev, 2, 5, false), 0);
    fake_respond_any_pasid(1, 5, IOMMU_PRI_RESP_FAILURE);
    assert_int_equal(read_status(dev), PCI_PRI_STATUS_UPRGI);
    assert_int_equal(a.responses + b.responses, 3);

    pci_pri_unregister_notifier(dev, 1);
    pci_pri_unregister_notifier(dev, 2);
    fake_pri_free(dev);
}

/* Groups that use an index at the same time get one response each */
static void test_group_index_reused(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(a.responses, 2);
    assert_int_equal(read_status(dev), 0);
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
}

/* 10.5.2.3: a response without a request sets UPRGI and is ignored */
static void test_unexpected_prgi(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    fake_respond(1, 5, IOMMU_PRI_RESP_FAILURE);
    assert_int_equal(a.responses, 0);
    assert_int_equal(read_status(dev), PCI_PRI_STATUS_UPRGI);
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
}

/* 10.4.2.1: Response Failure disables the interface until it is cleared */
static void test_response_failure(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    assert_int_equal(send_request(dev, 1, 6, true), 0);
    fake_respond(1, 5, IOMMU_PRI_RESP_FAILURE);
    assert_int_equal(read_status(dev), PCI_PRI_STATUS_RF);
    assert_int_equal(a.code, IOMMU_PRI_RESP_FAILURE);
    assert_false(pcie_pri_enabled(dev));
    assert_int_equal(send_request(dev, 1, 7, true), -EPERM);
    assert_int_equal(fake_iommu.requests_seen, 2);
    /* "Other groups will be satisfied at the convenience of the host" */
    fake_respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(a.responses, 2);

    pcie_pri_write_config(dev, CAP + PCI_PRI_STATUS, PCI_PRI_STATUS_RF, 2);
    assert_int_equal(read_status(dev), 0);
    assert_int_equal(send_request(dev, 1, 7, true), 0);
    fake_respond(1, 7, IOMMU_PRI_RESP_SUCCESS);
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
}

/* 10.5.2.3: Stopped is set with the last response */
static void test_stopped(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    assert_int_equal(read_status(dev), PCI_PRI_STATUS_STOPPED);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    assert_int_equal(send_request(dev, 1, 6, true), 0);
    write_ctrl(dev, 0);
    assert_int_equal(read_status(dev), 0);
    assert_int_equal(send_request(dev, 1, 7, true), -EPERM);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(read_status(dev), 0);
    fake_respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(read_status(dev), PCI_PRI_STATUS_STOPPED);
    assert_int_equal(a.responses, 2);
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
}

/* 10.5.2.2: Reset ends all groups, but only while Enable is clear */
static void test_reset_bit(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE | PCI_PRI_CTRL_RESET);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    assert_int_equal(a.responses, 0);

    /* The write that clears Enable may reset; the notifier is called. */
    write_ctrl(dev, PCI_PRI_CTRL_RESET);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(a.responses, 1);
    assert_int_equal(a.code, IOMMU_PRI_RESP_FAILURE);
    assert_int_equal(read_status(dev), PCI_PRI_STATUS_STOPPED);

    /* A late response is unexpected. */
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(a.responses, 1);
    assert_int_equal(read_status(dev),
                     PCI_PRI_STATUS_STOPPED | PCI_PRI_STATUS_UPRGI);
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
}

/* 6.6.2: FLR and hot reset */
static void test_function_reset(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(send_request(dev, 1, 5, false), 0);
    pcie_pri_unexpected_prgi(dev);
    pcie_pri_reset(dev);
    assert_int_equal(a.responses, 1);
    assert_int_equal(a.code, IOMMU_PRI_RESP_FAILURE);
    assert_int_equal(read_status(dev), PCI_PRI_STATUS_STOPPED);
    assert_false(pcie_pri_enabled(dev));
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
}

/* A response ends the group that was closed, not the next one */
static void test_unclosed_response(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(send_request(dev, 1, 5, false), 0);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    assert_int_equal(send_request(dev, 1, 5, false), 0);
    assert_int_equal(pcie_pri_outstanding(dev), 3);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(a.responses, 2);
    assert_int_equal(read_status(dev), 0);
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
}

typedef struct PasidStats {
    PCIEPRIStats of[MAX_PASIDS];
    int n;
} PasidStats;

static void collect_stats(uint32_t pasid, const PCIEPRIStats *stats,
                          void *opaque)
{
    PasidStats *all = opaque;

    all->of[pasid] = *stats;
    all->n++;
}

static void check_stats(const PCIEPRIStats *stats, PCIEPRIStats expected)
{
    assert_memory_equal(stats, &expected, sizeof(expected));
}

/* Each event of a request or a group is counted once */
static void test_stats(void **state)
{
    PCIDevice *dev = fake_pri_new();
    PasidStats all = { .n = 0 };
    PCIEPRIStats sum;
    User a, b;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    user_start(&b, dev, 2);
    assert_int_equal(send_request(dev, 1, 1, false), 0);
    assert_int_equal(send_request(dev, 1, 1, true), 0);
    assert_int_equal(send_request(dev, 1, 2, true), 0);
    assert_int_equal(send_request(dev, 1, 3, true), 0);
    assert_int_equal(send_request(dev, 2, 1, true), 0);
    fake_iommu.request_error = -ENOSPC;
    assert_int_equal(send_request(dev, 2, 4, true), -ENOSPC);
    fake_iommu.request_error = -EIO;
    assert_int_equal(send_request(dev, 1, 4, true), -EIO);
    fake_iommu.request_error = 0;
    fake_respond(1, 1, IOMMU_PRI_RESP_SUCCESS);
    fake_respond(1, 2, IOMMU_PRI_RESP_INVALID_REQUEST);
    fake_respond(1, 7, IOMMU_PRI_RESP_SUCCESS);

    sum = function_stats(dev);
    check_stats(&sum, (PCIEPRIStats) {
        .groups_open = 2, .requests = 7, .overflows = 1, .refused = 1,
        .success = 1, .invalid_request = 1, .unexpected = 1,
    });
    pcie_pri_foreach_pasid(dev, collect_stats, &all);
    assert_int_equal(all.n, 2);
    check_stats(&all.of[1], (PCIEPRIStats) {
        .groups_open = 1, .requests = 5, .refused = 1, .success = 1,
        .invalid_request = 1, .unexpected = 1,
    });
    check_stats(&all.of[2], (PCIEPRIStats) {
        .groups_open = 1, .requests = 2, .overflows = 1,
    });

    fake_respond(1, 3, IOMMU_PRI_RESP_FAILURE);
    pcie_pri_reset(dev);
    sum = function_stats(dev);
    assert_int_equal(sum.failure, 1);
    assert_int_equal(sum.dropped, 1);
    assert_int_equal(sum.groups_open, 0);
    pcie_pri_foreach_pasid(dev, collect_stats, &all);
    assert_int_equal(all.of[1].failure, 1);
    assert_int_equal(all.of[1].dropped, 0);
    assert_int_equal(all.of[2].dropped, 1);

    /* Registration restarts the statistics of a PASID, not of the function. */
    pci_pri_unregister_notifier(dev, 2);
    user_start(&b, dev, 2);
    pcie_pri_foreach_pasid(dev, collect_stats, &all);
    check_stats(&all.of[2], (PCIEPRIStats) { });
    assert_int_equal(function_stats(dev).requests, 7);
    pci_pri_unregister_notifier(dev, 1);
    pci_pri_unregister_notifier(dev, 2);
    fake_pri_free(dev);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group),
        cmocka_unit_test(test_any_pasid),
        cmocka_unit_test(test_group_index_reused),
        cmocka_unit_test(test_unexpected_prgi),
        cmocka_unit_test(test_response_failure),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_reset_bit),
        cmocka_unit_test(test_function_reset),
        cmocka_unit_test(test_unclosed_response),
        cmocka_unit_test(test_stats),
    };

    module_call_init(MODULE_INIT_QOM);
    return cmocka_run_group_tests_name("pcie-pri-response", tests, NULL, NULL);
}
