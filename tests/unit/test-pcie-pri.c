/*
 * Unit tests for the Page Request capability: groups and their responses
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tests run hw/pci/pcie_pri.c between a fake function and a fake IOMMU.
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "io/channel-buffer.h"
#include "migration/qemu-file-types.h"
#include "migration/vmstate.h"
#include "qemu/module.h"
#include "migration/qemu-file.h"
#include "migration/savevm.h"
#include "hw/pci/pci-internal.h"
#include "hw/pci/pcie_pri_requester.h"
#include "fake-pci.h"

#define CAP FAKE_PCI_CAP

/* ---- The fake IOMMU: one notifier per PASID below MAX_PASIDS ---- */

#define MAX_PASIDS 8

static IOMMUPRINotifier *notifiers[MAX_PASIDS];
static int register_error;
static int request_error;
static int requests_seen;
/* Respond to every group at once, before pri_request_page returns */
static bool respond_at_once;
/* Called before pri_request_page returns, unless NULL */
static void (*request_hook)(void);

static void respond(uint32_t pasid, uint16_t prgi, IOMMUPRIResponseCode code)
{
    IOMMUPRIResponse response = { .response_code = code, .prgi = prgi };
    IOMMUPRINotifier *n;

    RCU_READ_LOCK_GUARD();
    n = qatomic_rcu_read(&notifiers[pasid]);
    if (n) {
        n->notify(n, &response);
    }
}

static int fake_register(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                         IOMMUPRINotifier *notifier)
{
    if (!register_error) {
        assert(!notifiers[pasid]);
        qatomic_rcu_set(&notifiers[pasid], notifier);
    }
    return register_error;
}

static void fake_unregister(PCIBus *bus, void *opaque, int devfn,
                            uint32_t pasid)
{
    assert(notifiers[pasid]);
    qatomic_rcu_set(&notifiers[pasid], NULL);
}

static int fake_request(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                        bool priv_req, bool exec_req, hwaddr addr, bool lpig,
                        uint16_t prgi, bool is_read, bool is_write)
{
    qatomic_inc(&requests_seen);
    if (respond_at_once && lpig && (is_read || is_write)) {
        respond(pasid, prgi, IOMMU_PRI_RESP_SUCCESS);
    }
    if (request_hook) {
        request_hook();
    }
    return request_error;
}

static const PCIIOMMUOps fake_ops = {
    .pri_register_notifier = fake_register,
    .pri_unregister_notifier = fake_unregister,
    .pri_request_page = fake_request,
};

/* ---- The fake function ---- */

typedef struct User {
    IOMMUPRINotifier notifier;
    int responses;
    uint16_t prgi;
    IOMMUPRIResponseCode code;
    void (*hook)(struct User *user);
    PCIDevice *dev;
    uint32_t pasid;
} User;

static void user_notify(IOMMUPRINotifier *n, IOMMUPRIResponse *response)
{
    User *user = container_of(n, User, notifier);

    user->prgi = response->prgi;
    user->code = response->response_code;
    qatomic_inc(&user->responses);
    if (user->hook) {
        user->hook(user);
    }
}

static void write_alloc(PCIDevice *dev, uint32_t val)
{
    fake_pci_write(dev, CAP + PCI_PRI_ALLOC_REQ, val, 4);
    pcie_pri_write_config(dev, CAP + PCI_PRI_ALLOC_REQ, val, 4);
}

static PCIDevice *dev_new(void)
{
    PCIDevice *dev = fake_pci_new(NULL, &fake_ops);

    pcie_pri_init(dev, CAP, 32, true);
    memset(notifiers, 0, sizeof(notifiers));
    register_error = 0;
    request_error = 0;
    requests_seen = 0;
    respond_at_once = false;
    request_hook = NULL;
    write_alloc(dev, 32);
    return dev;
}

static void dev_free(PCIDevice *dev)
{
    pcie_pri_exit(dev);
    fake_pci_free(dev);
}

static void write_ctrl(PCIDevice *dev, uint16_t val)
{
    fake_pci_write(dev, CAP + PCI_PRI_CTRL, val, 2);
    pcie_pri_write_config(dev, CAP + PCI_PRI_CTRL, val, 2);
}

static uint16_t status(PCIDevice *dev)
{
    pcie_pri_sync_config(dev);
    return pci_get_word(dev->config + CAP + PCI_PRI_STATUS) &
           ~PCI_PRI_STATUS_PASID;
}

static void user_start(User *user, PCIDevice *dev, uint32_t pasid)
{
    *user = (User) {
        .notifier.notify = user_notify,
        .dev = dev,
        .pasid = pasid,
    };
    assert(pci_pri_register_notifier(dev, pasid, &user->notifier) == 0);
}

static int request(PCIDevice *dev, uint32_t pasid, uint16_t prgi, bool last)
{
    return pci_pri_request_page(dev, pasid, false, false, 0x1000, last, prgi,
                                true, false);
}

static PCIEPRIStats function_stats(PCIDevice *dev)
{
    PCIEPRIStats stats;

    pcie_pri_get_stats(dev, &stats);
    return stats;
}

/* ---- Tests ---- */

/* 10.4.2: a response ends all requests of its group, for its PASID only */
static void test_group(void **state)
{
    PCIDevice *dev = dev_new();
    User a, b;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    user_start(&b, dev, 2);
    assert_int_equal(request(dev, 1, 5, false), 0);
    assert_int_equal(request(dev, 1, 5, false), 0);
    assert_int_equal(request(dev, 1, 5, true), 0);
    assert_int_equal(request(dev, 2, 5, true), 0);
    assert_int_equal(pcie_pri_outstanding(dev), 4);

    respond(1, 5, IOMMU_PRI_RESP_INVALID_REQUEST);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    assert_int_equal(a.responses, 1);
    assert_int_equal(a.prgi, 5);
    assert_int_equal(a.code, IOMMU_PRI_RESP_INVALID_REQUEST);
    assert_int_equal(b.responses, 0);
    respond(2, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(b.responses, 1);
    assert_int_equal(status(dev), 0);

    pci_pri_unregister_notifier(dev, 1);
    pci_pri_unregister_notifier(dev, 2);
    dev_free(dev);
}

/* Groups that use an index at the same time get one response each */
static void test_group_index_reused(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(request(dev, 1, 5, true), 0);
    assert_int_equal(request(dev, 1, 5, true), 0);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(a.responses, 2);
    assert_int_equal(status(dev), 0);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* 10.5.2.3: a response without a request sets UPRGI and is ignored */
static void test_unexpected_prgi(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    respond(1, 5, IOMMU_PRI_RESP_FAILURE);
    assert_int_equal(a.responses, 0);
    assert_int_equal(status(dev), PCI_PRI_STATUS_UPRGI);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* 10.4.2.1: Response Failure disables the interface until it is cleared */
static void test_response_failure(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(request(dev, 1, 5, true), 0);
    assert_int_equal(request(dev, 1, 6, true), 0);
    respond(1, 5, IOMMU_PRI_RESP_FAILURE);
    assert_int_equal(status(dev), PCI_PRI_STATUS_RF);
    assert_int_equal(a.code, IOMMU_PRI_RESP_FAILURE);
    assert_false(pcie_pri_enabled(dev));
    assert_int_equal(request(dev, 1, 7, true), -EPERM);
    assert_int_equal(requests_seen, 2);
    /* "Other groups will be satisfied at the convenience of the host" */
    respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(a.responses, 2);

    pcie_pri_write_config(dev, CAP + PCI_PRI_STATUS, PCI_PRI_STATUS_RF, 2);
    assert_int_equal(status(dev), 0);
    assert_int_equal(request(dev, 1, 7, true), 0);
    respond(1, 7, IOMMU_PRI_RESP_SUCCESS);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* 10.5.2.3: Stopped is set with the last response */
static void test_stopped(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    assert_int_equal(status(dev), PCI_PRI_STATUS_STOPPED);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(request(dev, 1, 5, true), 0);
    assert_int_equal(request(dev, 1, 6, true), 0);
    write_ctrl(dev, 0);
    assert_int_equal(status(dev), 0);
    assert_int_equal(request(dev, 1, 7, true), -EPERM);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(status(dev), 0);
    respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(status(dev), PCI_PRI_STATUS_STOPPED);
    assert_int_equal(a.responses, 2);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* 10.5.2.2: Reset ends all groups, but only while Enable is clear */
static void test_reset_bit(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(request(dev, 1, 5, true), 0);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE | PCI_PRI_CTRL_RESET);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    assert_int_equal(a.responses, 0);

    /* The write that clears Enable may reset; the notifier is called. */
    write_ctrl(dev, PCI_PRI_CTRL_RESET);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(a.responses, 1);
    assert_int_equal(a.code, IOMMU_PRI_RESP_FAILURE);
    assert_int_equal(status(dev), PCI_PRI_STATUS_STOPPED);

    /* A late response is unexpected. */
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(a.responses, 1);
    assert_int_equal(status(dev),
                     PCI_PRI_STATUS_STOPPED | PCI_PRI_STATUS_UPRGI);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* 6.6.2: FLR and hot reset */
static void test_function_reset(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(request(dev, 1, 5, false), 0);
    pcie_pri_unexpected_prgi(dev);
    pcie_pri_reset(dev);
    assert_int_equal(a.responses, 1);
    assert_int_equal(a.code, IOMMU_PRI_RESP_FAILURE);
    assert_int_equal(status(dev), PCI_PRI_STATUS_STOPPED);
    assert_false(pcie_pri_enabled(dev));
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* A request that was not sent is not outstanding */
static void test_request_error(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(request(dev, 1, 5, false), 0);
    request_error = -ENOSPC;
    assert_int_equal(request(dev, 1, 5, true), -ENOSPC);
    assert_int_equal(request(dev, 1, 6, true), -ENOSPC);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    request_error = 0;
    assert_int_equal(request(dev, 1, 5, true), 0);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(status(dev), PCI_PRI_STATUS_UPRGI);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* A page request needs a notifier that receives the response */
static void test_no_notifier(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    assert_int_equal(request(dev, 1, 5, true), -EINVAL);
    register_error = -ENOMEM;
    assert_int_equal(pci_pri_register_notifier(dev, 1, &a.notifier), -ENOMEM);
    assert_int_equal(request(dev, 1, 5, true), -EINVAL);
    register_error = 0;
    user_start(&a, dev, 1);
    assert_int_equal(pci_pri_register_notifier(dev, 1, &a.notifier), -EBUSY);
    pci_pri_unregister_notifier(dev, 1);
    pci_pri_unregister_notifier(dev, 1);
    assert_int_equal(requests_seen, 0);
    dev_free(dev);
}

/* 10.4.1.2.1: a Stop Marker has no response */
static void test_stop_marker(void **state)
{
    PCIDevice *dev = dev_new();

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    assert_int_equal(pci_pri_request_page(dev, 1, false, false, 0, true, 0,
                                          false, false), 0);
    assert_int_equal(requests_seen, 1);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    dev_free(dev);
}

static void unregister_self(User *user)
{
    pci_pri_unregister_notifier(user->dev, user->pasid);
}

static void request_again(User *user)
{
    if (user->responses < 3) {
        assert(request(user->dev, user->pasid, 5, true) == 0);
    }
}

/* A notifier may unregister itself, and may issue requests */
static void test_reentrant(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    respond_at_once = true;
    user_start(&a, dev, 1);
    a.hook = request_again;
    assert_int_equal(request(dev, 1, 5, true), 0);
    assert_int_equal(a.responses, 3);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    a.hook = unregister_self;
    assert_int_equal(request(dev, 1, 5, true), 0);
    assert_int_equal(a.responses, 4);
    assert_int_equal(request(dev, 1, 5, true), -EINVAL);
    assert_int_equal(status(dev), 0);
    dev_free(dev);
}

/* 10.4.2: requests are outstanding until the response, also without a user */
static void test_unregister_outstanding(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(request(dev, 1, 5, true), 0);
    assert_int_equal(request(dev, 1, 6, false), 0);
    pci_pri_unregister_notifier(dev, 1);
    /* There will be no response to the group that was not closed. */
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    assert_int_equal(request(dev, 1, 6, true), -EINVAL);
    write_ctrl(dev, 0);
    assert_int_equal(status(dev), 0);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(status(dev), PCI_PRI_STATUS_STOPPED);
    assert_int_equal(a.responses, 0);
    assert_null(notifiers[1]);

    /* 10.5.2.2: requests are outstanding until a reset. */
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(request(dev, 1, 5, true), 0);
    pci_pri_unregister_notifier(dev, 1);
    write_ctrl(dev, PCI_PRI_CTRL_RESET);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(a.responses, 0);
    assert_null(notifiers[1]);

    /* Requests are outstanding until the function is unrealized. */
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(request(dev, 1, 5, true), 0);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
    assert_null(notifiers[1]);
}

/* A new notifier receives the responses to its own groups only */
static void test_register_again(void **state)
{
    PCIDevice *dev = dev_new();
    User a, b;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(request(dev, 1, 5, true), 0);
    assert_int_equal(request(dev, 1, 6, true), 0);
    assert_int_equal(request(dev, 1, 7, false), 0);
    pci_pri_unregister_notifier(dev, 1);
    user_start(&b, dev, 1);
    /* 10.4.1: an index belongs to one group at a time */
    assert_int_equal(request(dev, 1, 5, true), -ENOSPC);
    assert_int_equal(request(dev, 1, 8, true), 0);
    respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    respond(1, 5, IOMMU_PRI_RESP_INVALID_REQUEST);
    assert_int_equal(b.responses, 0);
    respond(1, 8, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(b.responses, 1);
    assert_int_equal(request(dev, 1, 5, true), 0);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(b.responses, 2);
    assert_int_equal(b.code, IOMMU_PRI_RESP_SUCCESS);
    /* For the guest the group continues; its first requests were dropped. */
    assert_int_equal(request(dev, 1, 7, true), 0);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    respond(1, 7, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(b.responses, 3);
    assert_int_equal(a.responses, 0);
    assert_int_equal(status(dev), 0);
    pci_pri_unregister_notifier(dev, 1);
    assert_null(notifiers[1]);
    dev_free(dev);
}

/* 10.4.2: unregistering drops a group that is not closed: no response is due */
static void test_unclosed_unregister(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    for (uint32_t pasid = 1; pasid < MAX_PASIDS; pasid++) {
        user_start(&a, dev, pasid);
        assert_int_equal(request(dev, pasid, 5, false), 0);
        request_error = -ENOSPC;
        assert_int_equal(request(dev, pasid, 5, false), -ENOSPC);
        assert_int_equal(request(dev, pasid, 5, true), -ENOSPC);
        request_error = 0;
        pci_pri_unregister_notifier(dev, pasid);
        assert_int_equal(function_stats(dev).groups_open, 0);
        assert_int_equal(pcie_pri_outstanding(dev), 0);
        assert_null(notifiers[pasid]);
    }

    /* The response to an earlier group with the same index is still due. */
    user_start(&a, dev, 1);
    assert_int_equal(request(dev, 1, 5, true), 0);
    assert_int_equal(request(dev, 1, 5, false), 0);
    pci_pri_unregister_notifier(dev, 1);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    assert_non_null(notifiers[1]);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_null(notifiers[1]);
    dev_free(dev);
}

/* A response ends the group that was closed, not the next one */
static void test_unclosed_response(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(request(dev, 1, 5, false), 0);
    assert_int_equal(request(dev, 1, 5, true), 0);
    assert_int_equal(request(dev, 1, 5, false), 0);
    assert_int_equal(pcie_pri_outstanding(dev), 3);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    assert_int_equal(request(dev, 1, 5, true), 0);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    assert_int_equal(a.responses, 2);
    assert_int_equal(status(dev), 0);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* 10.5.2.5: groups that are never closed do not use up the allocation */
static void test_unclosed_allocation(void **state)
{
    PCIDevice *dev = dev_new();
    User users[MAX_PASIDS];

    write_alloc(dev, 4);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    for (uint32_t pasid = 1; pasid < MAX_PASIDS; pasid++) {
        user_start(&users[pasid], dev, pasid);
    }
    for (unsigned i = 0; i < 100; i++) {
        assert_int_equal(request(dev, 1 + i % (MAX_PASIDS - 1), i, false), 0);
        assert_in_range(pcie_pri_outstanding(dev), 1, 4);
        assert_in_range(function_stats(dev).groups_open, 1, 4);
    }
    /* The oldest group was dropped first; a new request begins it again. */
    assert_int_equal(request(dev, 1 + 99 % (MAX_PASIDS - 1), 99, true), 0);
    assert_int_equal(request(dev, 1, 0, true), 0);
    respond(1, 0, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(users[1].responses, 1);
    respond(1 + 99 % (MAX_PASIDS - 1), 99, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(status(dev), 0);

    /* 10.5.2.3: Stopped does not wait for such a group. */
    assert_int_equal(request(dev, 1, 0, false), 0);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    write_ctrl(dev, 0);
    assert_int_equal(status(dev), PCI_PRI_STATUS_STOPPED);
    for (uint32_t pasid = 1; pasid < MAX_PASIDS; pasid++) {
        pci_pri_unregister_notifier(dev, pasid);
    }
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    dev_free(dev);
}

/* 10.5.2.5: requests without a user count in the allocation */
static void test_allocation(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    write_alloc(dev, 2);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(request(dev, 1, 5, true), 0);
    assert_int_equal(request(dev, 1, 6, true), 0);
    /* A device model counts its own requests; this one exceeds the limit. */
    assert_int_equal(request(dev, 1, 7, true), 0);
    respond(1, 7, IOMMU_PRI_RESP_SUCCESS);
    pci_pri_unregister_notifier(dev, 1);
    user_start(&a, dev, 2);
    assert_int_equal(request(dev, 2, 5, true), -ENOSPC);
    assert_int_equal(requests_seen, 3);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(request(dev, 2, 5, true), 0);
    assert_int_equal(request(dev, 2, 6, true), -ENOSPC);
    respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(request(dev, 2, 6, true), 0);
    respond(2, 5, IOMMU_PRI_RESP_SUCCESS);
    respond(2, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(a.responses, 2);
    assert_int_equal(status(dev), 0);
    pci_pri_unregister_notifier(dev, 2);
    dev_free(dev);
}

/* The rest of the allocation is kept for the last request */
static void test_allocation_last(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    write_alloc(dev, 4);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    assert_int_equal(request(dev, 1, 5, true), 0);
    pci_pri_unregister_notifier(dev, 1);
    user_start(&a, dev, 2);
    assert_int_equal(request(dev, 2, 5, false), 0);
    assert_int_equal(request(dev, 2, 5, false), 0);
    assert_int_equal(request(dev, 2, 5, false), -ENOSPC);
    assert_int_equal(request(dev, 2, 5, true), 0);
    assert_int_equal(pcie_pri_outstanding(dev), 4);
    respond(2, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(a.responses, 1);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    pci_pri_unregister_notifier(dev, 2);
    dev_free(dev);
}

/* A reset during a request: the group ends once, by response or by error */
static PCIDevice *hook_dev;

static void reset_in_request(void)
{
    request_hook = NULL;
    request_error = 0;
    write_ctrl(hook_dev, PCI_PRI_CTRL_RESET);
    write_ctrl(hook_dev, PCI_PRI_CTRL_ENABLE);
    /* The hook uses the index again at once. */
    assert_int_equal(request(hook_dev, 1, 5, true), 0);
    request_error = -ENOSPC;
}

static void test_reset_in_request(void **state)
{
    PCIDevice *dev = hook_dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    request_hook = reset_in_request;
    assert_int_equal(request(dev, 1, 5, true), 0);
    assert_int_equal(a.responses, 1);
    assert_int_equal(a.code, IOMMU_PRI_RESP_FAILURE);
    assert_int_equal(pcie_pri_outstanding(dev), 1);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(a.responses, 2);
    assert_int_equal(status(dev), 0);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
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
    PCIDevice *dev = hook_dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    fake_pci_check = fail_check;
    assert_int_equal(request(dev, 1, 5, true), -EINVAL);
    assert_int_equal(pci_pri_register_notifier(dev, 2, &a.notifier), -EINVAL);
    fake_pci_check = disable_in_check;
    assert_int_equal(request(dev, 1, 5, true), -EPERM);
    fake_pci_check = NULL;
    assert_int_equal(requests_seen, 0);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    assert_int_equal(request(dev, 1, PCI_PRGI_MAX + 1, true), -EINVAL);
    fake_pci_write(dev, PCI_COMMAND, 0, 2);
    pcie_ats_update(dev);
    assert_int_equal(request(dev, 1, 5, true), -EPERM);
    assert_int_equal(pci_pri_register_notifier(dev, 2, &a.notifier), -EPERM);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* A request that got its response returns 0, even if the IOMMU fails it */
static void respond_in_request(void)
{
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
}

static void test_response_before_error(void **state)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    request_hook = respond_in_request;
    request_error = -ENOSPC;
    assert_int_equal(request(dev, 1, 5, true), 0);
    assert_int_equal(a.responses, 1);
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    pci_pri_unregister_notifier(dev, 1);
    pcie_pri_exit(dev);
    /* There is no request to undo. */
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
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
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    rcu_unregister_thread();
    return NULL;
}

static void test_unregister_waits(void **state)
{
    PCIDevice *dev = dev_new();
    QemuThread thread;
    User a;

    qemu_event_init(&in_hook, false);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    a.hook = slow_hook;
    assert_int_equal(request(dev, 1, 5, true), 0);
    qemu_thread_create(&thread, "responder", responder, NULL,
                       QEMU_THREAD_JOINABLE);
    qemu_event_wait(&in_hook);
    pci_pri_unregister_notifier(dev, 1);
    assert_true(qatomic_read(&hook_ended));
    qemu_thread_join(&thread);
    qemu_event_destroy(&in_hook);
    dev_free(dev);
}

/* ---- Groups with reserved indices ---- */

typedef struct Requester {
    IOMMUPRINotifier notifier;
    PCIDevice *dev;
    int responses;
    PCIEPRIResponse last;
} Requester;

static void requester_notify(IOMMUPRINotifier *n, IOMMUPRIResponse *response)
{
    Requester *r = container_of(n, Requester, notifier);

    /* The PASID is busy during the call for its last group, too. */
    assert_true(pcie_pri_is_busy(r->dev, 1));
    r->last = *container_of(response, PCIEPRIResponse, response);
    r->responses++;
}

static void requester_start(Requester *r, PCIDevice *dev)
{
    *r = (Requester) { .notifier.notify = requester_notify, .dev = dev };
    assert_int_equal(pcie_pri_register(dev, 1, &r->notifier), 0);
}

/* Sends a group of one request, with the owner @r */
static PRIGroupRef reserve_and_send(Requester *r)
{
    PRIGroupRef ref;
    uint32_t n = 1;

    assert_true(pcie_pri_reserve(r->dev, 1, r, &n, &ref));
    assert_int_equal(pcie_pri_send(r->dev, 1, false, false, 0x1000, true, &ref,
                                   false), 0);
    return ref;
}

/* 10.5.2.5: a group has its part of the allocation before it sends requests */
static void test_reserved(void **state)
{
    PCIDevice *dev = dev_new();
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

    request_error = -ENOSPC;
    assert_int_equal(pcie_pri_send(dev, 1, false, false, 0x1000, false, &ref,
                                   false), -ENOSPC);
    request_error = 0;
    assert_int_equal(pcie_pri_get_room(dev), 0);
    assert_int_equal(pcie_pri_send(dev, 1, false, false, 0x1000, false, &ref,
                                   false), 0);
    pcie_pri_keep_last(dev, 1, &ref);
    assert_int_equal(pcie_pri_get_room(dev), 30);
    /* 10.4.1: no other group can use the index. */
    assert_int_equal(request(dev, 1, ref.prgi, true), -ENOSPC);
    assert_int_equal(pcie_pri_send(dev, 1, false, false, 0x2000, true, &ref,
                                   true), 0);
    assert_int_equal(pcie_pri_outstanding(dev), 2);
    respond(1, ref.prgi, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(r.responses, 1);
    assert_ptr_equal(r.last.owner, &r);
    assert_false(r.last.reset);
    assert_int_equal(pcie_pri_send(dev, 1, false, false, 0x2000, true, &ref,
                                   true), -EAGAIN);
    assert_int_equal(pcie_pri_get_room(dev), 32);
    assert_false(pcie_pri_is_busy(dev, 1));
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* 10.4.2: the response to an abandoned group is due; the notifier gets it */
static void test_reserved_abandoned(void **state)
{
    PCIDevice *dev = dev_new();
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
    respond(1, ref.prgi, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(r.responses, 1);
    assert_null(r.last.owner);
    assert_false(pcie_pri_has_to_settle(dev, 1));
    assert_false(pcie_pri_abandon(dev, 1, &ref));
    assert_int_equal(status(dev), 0);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* 10.5.2.2: a reset ends groups of all states, with one call for each */
static void test_reserved_reset(void **state)
{
    PCIDevice *dev = dev_new();
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
    dev_free(dev);
}

/* ---- Statistics ---- */

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
    PCIDevice *dev = dev_new();
    PasidStats all = { .n = 0 };
    PCIEPRIStats sum;
    User a, b;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    user_start(&b, dev, 2);
    assert_int_equal(request(dev, 1, 1, false), 0);
    assert_int_equal(request(dev, 1, 1, true), 0);
    assert_int_equal(request(dev, 1, 2, true), 0);
    assert_int_equal(request(dev, 1, 3, true), 0);
    assert_int_equal(request(dev, 2, 1, true), 0);
    request_error = -ENOSPC;
    assert_int_equal(request(dev, 2, 4, true), -ENOSPC);
    request_error = -EIO;
    assert_int_equal(request(dev, 1, 4, true), -EIO);
    request_error = 0;
    respond(1, 1, IOMMU_PRI_RESP_SUCCESS);
    respond(1, 2, IOMMU_PRI_RESP_INVALID_REQUEST);
    respond(1, 7, IOMMU_PRI_RESP_SUCCESS);

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

    respond(1, 3, IOMMU_PRI_RESP_FAILURE);
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
    dev_free(dev);
}

/* ---- Migration ---- */

/* The words of a group in the stream */
enum {
    SAVED_PASID,
    SAVED_PRGI,
    SAVED_REQUESTS,
    SAVED_LAST_REQUESTS,
    SAVED_ABANDONED,
    SAVED_WORDS
};

/* Saves and loads; changes @word of the last group, unless it is SAVED_WORDS */
static int migrate_changed(PCIDevice *from, PCIDevice *to, unsigned word,
                           uint32_t value)
{
    QIOChannelBuffer *bioc = qio_channel_buffer_new(4096);
    QEMUFile *out = qemu_file_new_output(QIO_CHANNEL(bioc));
    QEMUFile *in = qemu_file_new_input(QIO_CHANNEL(bioc));
    int ret;

    assert_int_equal(vmstate_save_state(out, &vmstate_pcie_pri, from, NULL), 0);
    qemu_put_byte(out, QEMU_VM_EOF);
    qemu_fflush(out);
    if (word < SAVED_WORDS) {
        stl_be_p(bioc->data + bioc->usage - 1 - (SAVED_WORDS - word) * 4,
                 value);
    }
    qio_channel_io_seek(QIO_CHANNEL(bioc), 0, SEEK_SET, NULL);
    ret = vmstate_load_state(in, &vmstate_pcie_pri, to, 1);
    qemu_fclose(in);
    qemu_fclose(out);
    object_unref(OBJECT(bioc));
    return ret;
}

static int migrate(PCIDevice *from, PCIDevice *to)
{
    return migrate_changed(from, to, SAVED_WORDS, 0);
}

/* Creates a function that will migrate, with a user of PASID 1 */
static PCIDevice *migration_source(User *user)
{
    PCIDevice *dev = dev_new();

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(user, dev, 1);
    return dev;
}

/* Ends the source, since both functions share the fake IOMMU */
static void finish_migration(PCIDevice *from, PCIDevice *to)
{
    pcie_pri_sync_config(from);
    memcpy(to->config, from->config, PCIE_CONFIG_SPACE_SIZE);
    pcie_pri_reset(from);
    pci_pri_unregister_notifier(from, 1);
    pcie_pri_post_load(to);
}

/* Groups that are outstanding at the source are so at the destination */
static void test_migration(void **state)
{
    PCIDevice *to = dev_new();
    User a, b;
    PCIDevice *from = migration_source(&a);

    assert_false(vmstate_pcie_pri.needed(from));
    assert_int_equal(request(from, 1, 5, true), 0);
    assert_int_equal(request(from, 1, 6, false), 0);
    assert_int_equal(request(from, 1, 6, true), 0);
    write_ctrl(from, 0);
    assert_true(vmstate_pcie_pri.needed(from));

    assert_int_equal(migrate(from, to), 0);
    finish_migration(from, to);
    assert_int_equal(pcie_pri_outstanding(to), 3);
    assert_int_equal(status(to), 0);

    user_start(&b, to, 1);
    respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(to), 1);
    assert_int_equal(status(to), 0);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(status(to), PCI_PRI_STATUS_STOPPED);
    assert_int_equal(b.responses, 2);
    pci_pri_unregister_notifier(to, 1);

    /* A function without the capability refuses the subsection. */
    pcie_pri_exit(to);
    assert_int_equal(migrate(from, to), -EINVAL);
    dev_free(from);
    dev_free(to);
}

/* 10.5.2.3: Stopped is set also if no user registers after the migration */
static void test_migration_without_user(void **state)
{
    PCIDevice *to = dev_new();
    User a;
    PCIDevice *from = migration_source(&a);

    assert_int_equal(request(from, 1, 5, true), 0);
    assert_int_equal(request(from, 1, 6, true), 0);
    write_ctrl(from, 0);
    assert_int_equal(migrate(from, to), 0);
    finish_migration(from, to);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(to), 0);
    assert_int_equal(status(to), PCI_PRI_STATUS_STOPPED);
    assert_null(notifiers[1]);
    dev_free(from);
    dev_free(to);
}

/* 10.5.2.5: requests of loaded groups count in the allocation */
static void test_migration_allocation(void **state)
{
    PCIDevice *to = dev_new();
    User a;
    PCIDevice *from = migration_source(&a);

    write_alloc(from, 2);
    assert_int_equal(request(from, 1, 5, true), 0);
    assert_int_equal(request(from, 1, 6, true), 0);
    assert_int_equal(migrate(from, to), 0);
    finish_migration(from, to);
    assert_true(pcie_pri_has_loaded_groups(to, 1));
    assert_false(pcie_pri_has_loaded_groups(to, 2));
    user_start(&a, to, 1);
    assert_int_equal(request(to, 1, 7, true), -ENOSPC);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(request(to, 1, 6, true), -ENOSPC);
    assert_int_equal(request(to, 1, 7, true), 0);
    assert_int_equal(request(to, 1, 8, true), -ENOSPC);
    assert_true(pcie_pri_has_loaded_groups(to, 1));
    respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_false(pcie_pri_has_loaded_groups(to, 1));
    respond(1, 7, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(to), 0);
    pci_pri_unregister_notifier(to, 1);
    dev_free(from);
    dev_free(to);
}

/*
 * While there are loaded groups, groups that are being sent are not dropped for
 * others
 */
static void test_migration_sending(void **state)
{
    PCIDevice *to = dev_new();
    User a;
    PCIDevice *from = migration_source(&a);

    write_alloc(from, 4);
    assert_int_equal(request(from, 1, 5, true), 0);
    assert_int_equal(request(from, 1, 6, true), 0);
    assert_int_equal(migrate(from, to), 0);
    finish_migration(from, to);
    user_start(&a, to, 1);
    assert_int_equal(request(to, 1, 7, false), 0);
    assert_int_equal(request(to, 1, 8, true), -ENOSPC);
    assert_int_equal(request(to, 1, 7, true), 0);
    respond(1, 7, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(to), 2);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(pcie_pri_outstanding(to), 0);
    pci_pri_unregister_notifier(to, 1);
    dev_free(from);
    dev_free(to);
}

/* The stream does not contain groups that are not closed: no response is due */
static void test_migration_unclosed(void **state)
{
    PCIDevice *to = dev_new();
    User a;
    PCIDevice *from = migration_source(&a);

    assert_int_equal(request(from, 1, 6, false), 0);
    assert_false(vmstate_pcie_pri.needed(from));
    assert_int_equal(request(from, 1, 5, true), 0);
    assert_int_equal(request(from, 1, 5, false), 0);
    assert_true(vmstate_pcie_pri.needed(from));
    write_ctrl(from, 0);
    assert_int_equal(migrate(from, to), 0);
    assert_int_equal(pcie_pri_outstanding(from), 3);
    assert_int_equal(pcie_pri_outstanding(to), 1);
    finish_migration(from, to);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    assert_int_equal(status(to), PCI_PRI_STATUS_STOPPED);
    assert_null(notifiers[1]);
    dev_free(from);
    dev_free(to);
}

/* If the IOMMU refuses a listener, no response is due */
static void test_migration_refused(void **state)
{
    PCIDevice *to = dev_new();
    User a;
    PCIDevice *from = migration_source(&a);

    assert_int_equal(request(from, 1, 5, true), 0);
    write_ctrl(from, 0);
    assert_int_equal(migrate(from, to), 0);
    register_error = -ENODEV;
    finish_migration(from, to);
    assert_int_equal(pcie_pri_outstanding(to), 0);
    assert_int_equal(status(to), PCI_PRI_STATUS_STOPPED);
    dev_free(from);
    dev_free(to);
}

/* A stream with impossible groups */
static void test_migration_invalid(void **state)
{
    PCIDevice *to = dev_new();
    User a;
    PCIDevice *from = migration_source(&a);

    assert_int_equal(request(from, 1, 5, true), 0);
    assert_int_equal(migrate_changed(from, to, SAVED_PASID, PCI_PASID_MAX + 1),
                     -EINVAL);
    assert_int_equal(migrate_changed(from, to, SAVED_PASID, PCI_NO_PASID - 1),
                     -EINVAL);
    assert_int_equal(migrate_changed(from, to, SAVED_PRGI, PCI_PRGI_MAX + 1),
                     -EINVAL);
    assert_int_equal(migrate_changed(from, to, SAVED_REQUESTS, 0), -EINVAL);
    assert_int_equal(migrate_changed(from, to, SAVED_LAST_REQUESTS, 2),
                     -EINVAL);
    assert_int_equal(migrate_changed(from, to, SAVED_ABANDONED, 2), -EINVAL);
    assert_int_equal(pcie_pri_outstanding(to), 0);
    /* Too many requests, and the same group twice */
    assert_int_equal(request(from, 1, 6, true), 0);
    assert_int_equal(migrate_changed(from, to, SAVED_REQUESTS, UINT32_MAX),
                     -EINVAL);
    assert_int_equal(migrate_changed(from, to, SAVED_LAST_REQUESTS, 0), 0);
    assert_int_equal(migrate_changed(from, to, SAVED_PRGI, 5) +
                     migrate_changed(from, to, SAVED_PRGI, 6), -EINVAL);
    pcie_pri_reset(from);
    pci_pri_unregister_notifier(from, 1);
    dev_free(from);
    dev_free(to);
}

/* The maximum number of groups in a stream, with PASIDs that it chooses */
#define MANY_GROUPS     65536
#define MANY_SECONDS    5

/* Chooses indices so that a single hash over PASID and index is constant */
static uint32_t many_prgi(uint32_t pasid)
{
    return -(pasid * 0x9e3779b1u >> 16) & PCI_PRGI_MAX;
}

static void put_group(QEMUFile *f, uint32_t pasid, uint32_t prgi)
{
    qemu_put_be32(f, pasid);
    qemu_put_be32(f, prgi);
    qemu_put_be32(f, 1);        /* requests */
    qemu_put_be32(f, 1);        /* last_requests */
    qemu_put_be32(f, 0);        /* abandoned */
}

static void test_migration_many(void **state)
{
    QIOChannelBuffer *bioc = qio_channel_buffer_new(MANY_GROUPS * 20 + 8);
    QEMUFile *out = qemu_file_new_output(QIO_CHANNEL(bioc));
    QEMUFile *in = qemu_file_new_input(QIO_CHANNEL(bioc));
    PCIDevice *to = dev_new();
    int64_t begin;

    qemu_put_be32(out, MANY_GROUPS);
    for (uint32_t pasid = 0; pasid < MANY_GROUPS; pasid++) {
        put_group(out, pasid, many_prgi(pasid));
    }
    qemu_put_byte(out, QEMU_VM_EOF);
    qemu_fflush(out);
    qio_channel_io_seek(QIO_CHANNEL(bioc), 0, SEEK_SET, NULL);
    begin = g_get_monotonic_time();
    assert_int_equal(vmstate_load_state(in, &vmstate_pcie_pri, to, 1), 0);
    assert_int_equal(pcie_pri_outstanding(to), MANY_GROUPS);
    pcie_pri_reset(to);
    assert_int_equal(pcie_pri_outstanding(to), 0);
    assert_true(g_get_monotonic_time() - begin <
                MANY_SECONDS * G_TIME_SPAN_SECOND);
    qemu_fclose(in);
    qemu_fclose(out);
    object_unref(OBJECT(bioc));
    dev_free(to);
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
        int ret = request(stress_dev, pasid, i & PCI_PRGI_MAX, true);

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
    PCIDevice *dev = stress_dev = dev_new();
    QemuThread threads[STRESS_THREADS];
    int i;

    respond_at_once = true;
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    for (i = 0; i < STRESS_THREADS; i++) {
        qemu_thread_create(&threads[i], "stress", stress_thread,
                           GUINT_TO_POINTER(i + 1), QEMU_THREAD_JOINABLE);
    }
    for (i = 0; i < 2000; i++) {
        write_ctrl(dev, 0);
        write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
        status(dev);
    }
    for (i = 0; i < STRESS_THREADS; i++) {
        qemu_thread_join(&threads[i]);
    }
    assert_int_equal(pcie_pri_outstanding(dev), 0);
    write_ctrl(dev, 0);
    assert_int_equal(status(dev), PCI_PRI_STATUS_STOPPED);
    dev_free(dev);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_group),
        cmocka_unit_test(test_group_index_reused),
        cmocka_unit_test(test_unexpected_prgi),
        cmocka_unit_test(test_response_failure),
        cmocka_unit_test(test_stopped),
        cmocka_unit_test(test_reset_bit),
        cmocka_unit_test(test_function_reset),
        cmocka_unit_test(test_request_error),
        cmocka_unit_test(test_no_notifier),
        cmocka_unit_test(test_stop_marker),
        cmocka_unit_test(test_reentrant),
        cmocka_unit_test(test_unregister_outstanding),
        cmocka_unit_test(test_register_again),
        cmocka_unit_test(test_unclosed_unregister),
        cmocka_unit_test(test_unclosed_response),
        cmocka_unit_test(test_unclosed_allocation),
        cmocka_unit_test(test_allocation),
        cmocka_unit_test(test_allocation_last),
        cmocka_unit_test(test_reset_in_request),
        cmocka_unit_test(test_request_checks),
        cmocka_unit_test(test_response_before_error),
        cmocka_unit_test(test_unregister_waits),
        cmocka_unit_test(test_reserved),
        cmocka_unit_test(test_reserved_abandoned),
        cmocka_unit_test(test_reserved_reset),
        cmocka_unit_test(test_stats),
        cmocka_unit_test(test_migration),
        cmocka_unit_test(test_migration_without_user),
        cmocka_unit_test(test_migration_allocation),
        cmocka_unit_test(test_migration_sending),
        cmocka_unit_test(test_migration_unclosed),
        cmocka_unit_test(test_migration_refused),
        cmocka_unit_test(test_migration_invalid),
        cmocka_unit_test(test_migration_many),
        cmocka_unit_test(test_stress),
    };

    module_call_init(MODULE_INIT_QOM);
    return cmocka_run_group_tests_name("pcie-pri", tests, NULL, NULL);
}
