/*
 * Unit tests for the Page Request capability: the lifetime of notifiers
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Notifiers that are unregistered before, during and after a response, and
 * notifiers that several threads register.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/module.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "fake-pri.h"

static void unregister_self(User *user)
{
    pci_pri_unregister_notifier(user->dev, user->pasid);
}

static void request_again(User *user)
{
    if (user->responses < 3) {
        assert(send_request(user->dev, user->pasid, 5, true) == 0);
    }
}

/* A notifier may unregister itself, and may issue requests */
static void test_reentrant(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    fake_iommu.respond_at_once = true;
    user_start(&a, dev, 1);
    a.hook = request_again;
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    assert_int_equal(a.responses, 3);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    a.hook = unregister_self;
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    assert_int_equal(a.responses, 4);
    assert_int_equal(send_request(dev, 1, 5, true), -EINVAL);
    assert_int_equal(read_status(dev), 0);
    fake_pri_free(dev);
}

/* 10.4.2: requests are outstanding until the response, also without a user */
static void test_unregister_outstanding(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    assert_int_equal(send_request(dev, 1, 6, false), 0);
    pci_pri_unregister_notifier(dev, 1);
    /* There will be no response to the group that was not closed. */
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    assert_int_equal(send_request(dev, 1, 6, true), -EINVAL);
    write_ctrl(dev, 0);
    assert_int_equal(read_status(dev), 0);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(read_status(dev), PCI_PRI_STATUS_STOPPED);
    assert_int_equal(a.responses, 0);
    assert_null(fake_iommu.notifiers[1]);

    /* 10.5.2.2: requests are outstanding until a reset. */
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    pci_pri_unregister_notifier(dev, 1);
    write_ctrl(dev, PCI_PRI_CTRL_RESET);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(a.responses, 0);
    assert_null(fake_iommu.notifiers[1]);

    /* Requests are outstanding until the function is unrealized. */
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
    assert_null(fake_iommu.notifiers[1]);
}

/* A new notifier receives the responses to its own groups only */
static void test_register_again(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a, b;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    assert_int_equal(send_request(dev, 1, 6, true), 0);
    assert_int_equal(send_request(dev, 1, 7, false), 0);
    pci_pri_unregister_notifier(dev, 1);
    user_start(&b, dev, 1);
    /* 10.4.1: an index belongs to one group at a time */
    assert_int_equal(send_request(dev, 1, 5, true), -ENOSPC);
    assert_int_equal(send_request(dev, 1, 8, true), 0);
    fake_respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    fake_respond(1, 5, IOMMU_PRI_RESP_INVALID_REQUEST);
    assert_int_equal(b.responses, 0);
    fake_respond(1, 8, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(b.responses, 1);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(b.responses, 2);
    assert_int_equal(b.code, IOMMU_PRI_RESP_SUCCESS);
    /* For the guest the group continues; its first requests were dropped. */
    assert_int_equal(send_request(dev, 1, 7, true), 0);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    fake_respond(1, 7, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(b.responses, 3);
    assert_int_equal(a.responses, 0);
    assert_int_equal(read_status(dev), 0);
    pci_pri_unregister_notifier(dev, 1);
    assert_null(fake_iommu.notifiers[1]);
    fake_pri_free(dev);
}

/* 10.4.2: unregistering drops a group that is not closed: no response is due */
static void test_unclosed_unregister(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    for (uint32_t pasid = 1; pasid < MAX_PASIDS; pasid++) {
        user_start(&a, dev, pasid);
        assert_int_equal(send_request(dev, pasid, 5, false), 0);
        fake_iommu.request_error = -ENOSPC;
        assert_int_equal(send_request(dev, pasid, 5, false), -ENOSPC);
        assert_int_equal(send_request(dev, pasid, 5, true), -ENOSPC);
        fake_iommu.request_error = 0;
        pci_pri_unregister_notifier(dev, pasid);
        assert_int_equal(function_stats(dev).groups_open, 0);
        assert_int_equal(pcie_pri_outstanding(dev), 0);
        assert_null(fake_iommu.notifiers[pasid]);
    }

    /* The response to an earlier group with the same index is still due. */
    user_start(&a, dev, 1);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    assert_int_equal(send_request(dev, 1, 5, false), 0);
    pci_pri_unregister_notifier(dev, 1);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    assert_non_null(fake_iommu.notifiers[1]);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_null(fake_iommu.notifiers[1]);
    fake_pri_free(dev);
}

/* Unregistering waits for a call in another thread */
static QemuEvent in_hook;
static bool hook_ended;

static void slow_hook(User *user)
{
    qemu_event_set(&in_hook);
    g_usleep(50 * 1000);
    qatomic_set(&hook_ended, true);
}

static void *responder(void *opaque)
{
    rcu_register_thread();
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    rcu_unregister_thread();
    return NULL;
}

static void test_unregister_waits(void **state)
{
    PCIDevice *dev = fake_pri_new();
    QemuThread thread;
    User a;

    qemu_event_init(&in_hook, false);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    a.hook = slow_hook;
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    qemu_thread_create(&thread, "responder", responder, NULL,
                       QEMU_THREAD_JOINABLE);
    qemu_event_wait(&in_hook);
    pci_pri_unregister_notifier(dev, 1);
    assert_true(qatomic_read(&hook_ended));
    qemu_thread_join(&thread);
    qemu_event_destroy(&in_hook);
    fake_pri_free(dev);
}

/* All calls concurrently: every group ends exactly once */
#define STRESS_THREADS  4
#define STRESS_ROUNDS   20000

static PCIDevice *stress_dev;

static void *stress_thread(void *opaque)
{
    uint32_t pasid = GPOINTER_TO_UINT(opaque);
    int sent = 0, i;
    User a;

    rcu_register_thread();
    user_start(&a, stress_dev, pasid);
    for (i = 0; i < STRESS_ROUNDS; i++) {
        int ret = send_request(stress_dev, pasid, i & PCI_PRGI_MAX, true);

        assert(ret == 0 || ret == -EPERM);
        sent += !ret;
    }
    pci_pri_unregister_notifier(stress_dev, pasid);
    assert(a.responses == sent);
    rcu_unregister_thread();
    return NULL;
}

static void test_stress(void **state)
{
    PCIDevice *dev = stress_dev = fake_pri_new();
    QemuThread threads[STRESS_THREADS];
    int i;

    fake_iommu.respond_at_once = true;
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    for (i = 0; i < STRESS_THREADS; i++) {
        qemu_thread_create(&threads[i], "stress", stress_thread,
                           GUINT_TO_POINTER(i + 1), QEMU_THREAD_JOINABLE);
    }
    for (i = 0; i < 2000; i++) {
        write_ctrl(dev, 0);
        write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
        read_status(dev);
    }
    for (i = 0; i < STRESS_THREADS; i++) {
        qemu_thread_join(&threads[i]);
    }
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    write_ctrl(dev, 0);
    assert_int_equal(read_status(dev), PCI_PRI_STATUS_STOPPED);
    fake_pri_free(dev);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_reentrant),
        cmocka_unit_test(test_unregister_outstanding),
        cmocka_unit_test(test_register_again),
        cmocka_unit_test(test_unclosed_unregister),
        cmocka_unit_test(test_unregister_waits),
        cmocka_unit_test(test_stress),
    };

    module_call_init(MODULE_INIT_QOM);
    return cmocka_run_group_tests_name("pcie-pri-notifier", tests, NULL, NULL);
}
