/*
 * Unit tests for the Page Request capability: requests that fail
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Requests that the function or the IOMMU refuses, and requests during which
 * the guest resets or disables the interface, or responds.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/module.h"
#include "fake-pri.h"

/* A request that was not sent is not outstanding */
static void test_request_error(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(send_request(dev, 1, 5, false), 0);
    fake_iommu.request_error = -ENOSPC;
    assert_int_equal(send_request(dev, 1, 5, true), -ENOSPC);
    assert_int_equal(send_request(dev, 1, 6, true), -ENOSPC);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    fake_iommu.request_error = 0;
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    fake_respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(read_status(dev), PCI_PRI_STATUS_UPRGI);
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
}

/* A page request needs a notifier that receives the response */
static void test_no_notifier(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    assert_int_equal(send_request(dev, 1, 5, true), -EINVAL);
    fake_iommu.register_error = -ENOMEM;
    assert_int_equal(pci_pri_register_notifier(dev, 1, &a.notifier), -ENOMEM);
    assert_int_equal(send_request(dev, 1, 5, true), -EINVAL);
    fake_iommu.register_error = 0;
    user_start(&a, dev, 1);
    assert_int_equal(pci_pri_register_notifier(dev, 1, &a.notifier), -EBUSY);
    pci_pri_unregister_notifier(dev, 1);
    pci_pri_unregister_notifier(dev, 1);
    assert_int_equal(fake_iommu.requests_seen, 0);
    fake_pri_free(dev);
}

/* 10.4.1.2.1: a Stop Marker has no response */
static void test_stop_marker(void **state)
{
    PCIDevice *dev = fake_pri_new();

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    assert_int_equal(pci_pri_request_page(dev, 1, false, false, 0, true, 0,
                                          false, false), 0);
    assert_int_equal(fake_iommu.requests_seen, 1);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    fake_pri_free(dev);
}

/* A reset during a request: the group ends once, by response or by error */
static PCIDevice *hook_dev;

static void reset_in_request(void)
{
    fake_iommu.request_hook = NULL;
    fake_iommu.request_error = 0;
    write_ctrl(hook_dev, PCI_PRI_CTRL_RESET);
    write_ctrl(hook_dev, PCI_PRI_CTRL_ENABLE);
    /* The hook uses the index again at once. */
    assert_int_equal(send_request(hook_dev, 1, 5, true), 0);
    fake_iommu.request_error = -ENOSPC;
}

static void test_reset_in_request(void **state)
{
    PCIDevice *dev = hook_dev = fake_pri_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    fake_iommu.request_hook = reset_in_request;
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    assert_int_equal(a.responses, 1);
    assert_int_equal(a.code, IOMMU_PRI_RESP_FAILURE);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(a.responses, 2);
    assert_int_equal(read_status(dev), 0);
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
}

/* 10.5.2.2: the guest disables the interface during the check of a request */
static int disable_in_check(void)
{
    write_ctrl(hook_dev, 0);
    return 0;
}

static int fail_check(void)
{
    return -EINVAL;
}

static void test_request_checks(void **state)
{
    PCIDevice *dev = hook_dev = fake_pri_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    fake_pci_check = fail_check;
    assert_int_equal(send_request(dev, 1, 5, true), -EINVAL);
    assert_int_equal(pci_pri_register_notifier(dev, 2, &a.notifier), -EINVAL);
    fake_pci_check = disable_in_check;
    assert_int_equal(send_request(dev, 1, 5, true), -EPERM);
    fake_pci_check = NULL;
    assert_int_equal(fake_iommu.requests_seen, 0);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    assert_int_equal(send_request(dev, 1, PCI_PRGI_MAX + 1, true), -EINVAL);
    fake_pci_write(dev, PCI_COMMAND, 0, 2);
    pcie_ats_update(dev);
    assert_int_equal(send_request(dev, 1, 5, true), -EPERM);
    assert_int_equal(pci_pri_register_notifier(dev, 2, &a.notifier), -EPERM);
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
}

/* A request that got its response returns 0, even if the IOMMU fails it */
static void respond_in_request(void)
{
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
}

static void test_response_before_error(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    fake_iommu.request_hook = respond_in_request;
    fake_iommu.request_error = -ENOSPC;
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    assert_int_equal(a.responses, 1);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    pci_pri_unregister_notifier(dev, 1);
    pcie_pri_exit(dev);
    /* There is no request to undo. */
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_request_error),
        cmocka_unit_test(test_no_notifier),
        cmocka_unit_test(test_stop_marker),
        cmocka_unit_test(test_reset_in_request),
        cmocka_unit_test(test_request_checks),
        cmocka_unit_test(test_response_before_error),
    };

    module_call_init(MODULE_INIT_QOM);
    return cmocka_run_group_tests_name("pcie-pri-request", tests, NULL, NULL);
}
