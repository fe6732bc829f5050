/*
 * Unit tests for the Page Request capability: the allocation
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which groups use up the allocation, and groups that reserve a part of it
 * before they send requests.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/module.h"
#include "fake-pri.h"

/* 10.5.2.5: groups that are never closed do not use up the allocation */
static void test_unclosed_allocation(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User users[MAX_PASIDS];

    write_alloc(dev, 4);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    for (uint32_t pasid = 1; pasid < MAX_PASIDS; pasid++) {
        user_start(&users[pasid], dev, pasid);
    }
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(send_request(dev, 1 + i % (MAX_PASIDS - 1), i, false),
                         0);
        assert_in_range(pcie_pri_outstanding(dev), 1, 4);
        assert_in_range(function_stats(dev).groups_open, 1, 4);
    }
    /* The oldest group was dropped first; a new request begins it again. */
    assert_int_equal(send_request(dev, 1 + 99 % (MAX_PASIDS - 1), 99, true), 0);
    assert_int_equal(send_request(dev, 1, 0, true), 0);
    fake_respond(1, 0, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(users[1].responses, 1);
    fake_respond(1 + 99 % (MAX_PASIDS - 1), 99, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(read_status(dev), 0);

    /* 10.5.2.3: Stopped does not wait for such a group. */
    assert_int_equal(send_request(dev, 1, 0, false), 0);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    write_ctrl(dev, 0);
    assert_int_equal(read_status(dev), PCI_PRI_STATUS_STOPPED);
    for (uint32_t pasid = 1; pasid < MAX_PASIDS; pasid++) {
        pci_pri_unregister_notifier(dev, pasid);
    }
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    fake_pri_free(dev);
}

/* 10.5.2.5: requests without a user count in the allocation */
static void test_allocation(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    write_alloc(dev, 2);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    assert_int_equal(send_request(dev, 1, 6, true), 0);
    /* A device model counts its own requests; this one exceeds the limit. */
    assert_int_equal(send_request(dev, 1, 7, true), 0);
    fake_respond(1, 7, IOMMU_PRI_RESP_SUCCESS);
    pci_pri_unregister_notifier(dev, 1);
    user_start(&a, dev, 2);
    assert_int_equal(send_request(dev, 2, 5, true), -ENOSPC);
    assert_int_equal(fake_iommu.requests_seen, 3);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(send_request(dev, 2, 5, true), 0);
    assert_int_equal(send_request(dev, 2, 6, true), -ENOSPC);
    fake_respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(send_request(dev, 2, 6, true), 0);
    fake_respond(2, 5, IOMMU_PRI_RESP_SUCCESS);
    fake_respond(2, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(a.responses, 2);
    assert_int_equal(read_status(dev), 0);
    pci_pri_unregister_notifier(dev, 2);
    fake_pri_free(dev);
}

/* The rest of the allocation is kept for the last request */
static void test_allocation_last(void **state)
{
    PCIDevice *dev = fake_pri_new();
    User a;

    write_alloc(dev, 4);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(send_request(dev, 1, 5, true), 0);
    pci_pri_unregister_notifier(dev, 1);
    user_start(&a, dev, 2);
    assert_int_equal(send_request(dev, 2, 5, false), 0);
    assert_int_equal(send_request(dev, 2, 5, false), 0);
    assert_int_equal(send_request(dev, 2, 5, false), -ENOSPC);
    assert_int_equal(send_request(dev, 2, 5, true), 0);
    assert_int_equal(pcie_pri_outstanding(dev), 4);
    fake_respond(2, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(a.responses, 1);
    fake_respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    pci_pri_unregister_notifier(dev, 2);
    fake_pri_free(dev);
}

/* ---- Groups with reserved indices ---- */

typedef struct Requester {
    IOMMUPRINotifier notifier;
    PCIDevice *dev;
    uint32_t pasid;
    int responses;
    PCIEPRIResponse last;
    /* Has groups that end together with those of this one, unless NULL */
    const struct Requester *other;
} Requester;

static void requester_notify(IOMMUPRINotifier *n, IOMMUPRIResponse *response)
{
    Requester *r = container_of(n, Requester, notifier);

    /* The PASID is busy until the end of the call for its last group. */
    assert_true(pcie_pri_is_busy(r->dev, r->pasid));
    if (r->other && !r->other->responses) {
        assert_true(pcie_pri_is_busy(r->dev, r->other->pasid));
    }
    r->last = *container_of(response, PCIEPRIResponse, response);
    r->responses++;
}

static void requester_start_pasid(Requester *r, PCIDevice *dev, uint32_t pasid)
{
    *r = (Requester) {
        .notifier.notify = requester_notify,
        .dev = dev,
        .pasid = pasid,
    };
    assert_int_equal(pcie_pri_register(dev, pasid, &r->notifier), 0);
}

static void requester_start(Requester *r, PCIDevice *dev)
{
    requester_start_pasid(r, dev, 1);
}

/* Sends a group of one request, with the owner @r */
static PRIGroupRef reserve_and_send(Requester *r)
{
    PRIGroupRef ref;
    uint32_t n = 1;

    assert_true(pcie_pri_reserve(r->dev, r->pasid, r, &n, &ref));
    assert_int_equal(pcie_pri_send(r->dev, r->pasid, false, false, 0x1000, true,
                                   &ref, false), 0);
    return ref;
}

/* 10.5.2.5: a group has its part of the allocation before it sends requests */
static void test_reserved(void **state)
{
    PCIDevice *dev = fake_pri_new();
    PRIGroupRef ref, other;
    uint32_t n = 40;
    Requester r;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    assert_false(pcie_pri_reserve(dev, 1, &r, &n, &ref));
    requester_start(&r, dev);
    assert_true(pcie_pri_reserve(dev, 1, &r, &n, &ref));
    assert_int_equal(n, 32);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(pcie_pri_get_room(dev), 0);
    assert_false(pcie_pri_reserve(dev, 1, &r, &n, &other));

    fake_iommu.request_error = -ENOSPC;
    assert_int_equal(pcie_pri_send(dev, 1, false, false, 0x1000, false, &ref,
                                   false), -ENOSPC);
    fake_iommu.request_error = 0;
    assert_int_equal(pcie_pri_get_room(dev), 0);
    assert_int_equal(pcie_pri_send(dev, 1, false, false, 0x1000, false, &ref,
                                   false), 0);
    pcie_pri_keep_last(dev, 1, &ref);
    assert_int_equal(pcie_pri_get_room(dev), 30);
    /* 10.4.1: no other group can use the index. */
    assert_int_equal(send_request(dev, 1, ref.prgi, true), -ENOSPC);
    assert_int_equal(pcie_pri_send(dev, 1, false, false, 0x2000, true, &ref,
                                   true), 0);
    assert_int_equal(pcie_pri_outstanding(dev), 2);
    fake_respond(1, ref.prgi, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(r.responses, 1);
    assert_ptr_equal(r.last.owner, &r);
    assert_false(r.last.reset);
    assert_int_equal(pcie_pri_send(dev, 1, false, false, 0x2000, true, &ref,
                                   true), -EAGAIN);
    assert_int_equal(pcie_pri_get_room(dev), 32);
    assert_false(pcie_pri_is_busy(dev, 1));
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
}

/* 10.4.2: the response to an abandoned group is due; the notifier gets it */
static void test_reserved_abandoned(void **state)
{
    PCIDevice *dev = fake_pri_new();
    PRIGroupRef ref;
    uint32_t n = 1;
    Requester r;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    requester_start(&r, dev);
    assert_true(pcie_pri_reserve(dev, 1, &r, &n, &ref));
    assert_true(pcie_pri_abandon(dev, 1, &ref));
    assert_false(pcie_pri_is_busy(dev, 1));

    ref = reserve_and_send(&r);
    assert_false(pcie_pri_has_to_settle(dev, 1));
    assert_true(pcie_pri_abandon(dev, 1, &ref));
    assert_true(pcie_pri_has_to_settle(dev, 1));
    assert_false(pcie_pri_has_to_settle(dev, 2));
    assert_true(pcie_pri_is_busy(dev, 1));
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    fake_respond(1, ref.prgi, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(r.responses, 1);
    assert_null(r.last.owner);
    assert_false(pcie_pri_has_to_settle(dev, 1));
    assert_false(pcie_pri_abandon(dev, 1, &ref));
    assert_int_equal(read_status(dev), 0);
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
}

/* 10.5.2.2: a reset ends groups of all states, with one call for each */
static void test_reserved_reset(void **state)
{
    PCIDevice *dev = fake_pri_new();
    PRIGroupRef ref, reserved;
    uint32_t n = 2;
    Requester r;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    requester_start(&r, dev);
    ref = reserve_and_send(&r);
    assert_true(pcie_pri_abandon(dev, 1, &ref));
    ref = reserve_and_send(&r);
    assert_true(pcie_pri_reserve(dev, 1, &r, &n, &reserved));
    assert_int_equal(function_stats(dev).groups_open, 2);
    write_ctrl(dev, PCI_PRI_CTRL_RESET);
    assert_int_equal(r.responses, 3);
    assert_true(r.last.reset);
    assert_int_equal(r.last.response.response_code, IOMMU_PRI_RESP_FAILURE);
    assert_int_equal(function_stats(dev).dropped, 2);
    assert_false(pcie_pri_abandon(dev, 1, &ref));
    assert_false(pcie_pri_is_busy(dev, 1));
    assert_int_equal(pcie_pri_send(dev, 1, false, false, 0, true, &reserved,
                                   true), -EPERM);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    assert_int_equal(pcie_pri_send(dev, 1, false, false, 0, true, &reserved,
                                   true), -EAGAIN);
    pci_pri_unregister_notifier(dev, 1);
    assert_int_equal(pcie_pri_get_room(dev), 32);
    fake_pri_free(dev);
}

/* 10.5.2.2: a PASID is busy until its user knows that a reset has ended groups */
static void test_reserved_reset_two(void **state)
{
    PCIDevice *dev = fake_pri_new();
    Requester a, b;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    requester_start_pasid(&a, dev, 1);
    requester_start_pasid(&b, dev, 2);
    a.other = &b;
    b.other = &a;
    reserve_and_send(&a);
    reserve_and_send(&b);
    write_ctrl(dev, PCI_PRI_CTRL_RESET);
    assert_int_equal(a.responses, 1);
    assert_int_equal(b.responses, 1);
    assert_false(pcie_pri_is_busy(dev, 1));
    assert_false(pcie_pri_is_busy(dev, 2));
    pci_pri_unregister_notifier(dev, 1);
    pci_pri_unregister_notifier(dev, 2);
    fake_pri_free(dev);
}

/*
 * 10.5.2.3: Response Failure disables the interface.  Users that wait for
 * responses get to know it, even if the group that failed has no user.
 */
static void test_reserved_failure(void **state)
{
    PCIDevice *dev = fake_pri_new();
    PRIGroupRef ref;
    Requester r;
    User other;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&other, dev, 2);
    assert_int_equal(send_request(dev, 2, 5, true), 0);
    pci_pri_unregister_notifier(dev, 2);
    requester_start(&r, dev);
    ref = reserve_and_send(&r);
    fake_respond(2, 5, IOMMU_PRI_RESP_FAILURE);
    assert_int_equal(read_status(dev) & PCI_PRI_STATUS_RF, PCI_PRI_STATUS_RF);
    assert_int_equal(other.responses, 0);
    assert_int_equal(r.responses, 1);
    assert_int_equal(r.last.response.response_code, IOMMU_PRI_RESP_FAILURE);
    assert_null(r.last.owner);
    assert_false(r.last.reset);
    /* The group is outstanding still. */
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    fake_respond(1, ref.prgi, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(r.responses, 2);
    assert_ptr_equal(r.last.owner, &r);
    pci_pri_unregister_notifier(dev, 1);
    fake_pri_free(dev);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_unclosed_allocation),
        cmocka_unit_test(test_allocation),
        cmocka_unit_test(test_allocation_last),
        cmocka_unit_test(test_reserved),
        cmocka_unit_test(test_reserved_abandoned),
        cmocka_unit_test(test_reserved_reset),
        cmocka_unit_test(test_reserved_reset_two),
        cmocka_unit_test(test_reserved_failure),
    };

    module_call_init(MODULE_INIT_QOM);
    return cmocka_run_group_tests_name("pcie-pri-allocation", tests, NULL,
                                       NULL);
}
