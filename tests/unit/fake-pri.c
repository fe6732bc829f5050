/*
 * A function with a Page Request capability, between a user and an IOMMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/rcu.h"
#include "fake-pri.h"

FakeIOMMU fake_iommu;

static void fake_notify(uint32_t pasid, IOMMUPRIResponse *response)
{
    IOMMUPRINotifier *n;

    RCU_READ_LOCK_GUARD();
    n = qatomic_rcu_read(&fake_iommu.notifiers[pasid]);
    if (n) {
        n->notify(n, response);
    }
}

void fake_respond(uint32_t pasid, uint16_t prgi, IOMMUPRIResponseCode code)
{
    IOMMUPRIResponse response = { .response_code = code, .prgi = prgi };

    fake_notify(pasid, &response);
}

void fake_respond_any_pasid(uint32_t pasid, uint16_t prgi,
                            IOMMUPRIResponseCode code)
{
    IOMMUPRIResponse response = {
        .response_code = code,
        .prgi = prgi,
        .any_pasid = true,
    };

    fake_notify(pasid, &response);
}

static int fake_register(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                         IOMMUPRINotifier *notifier)
{
    if (!fake_iommu.register_error) {
        assert(!fake_iommu.notifiers[pasid]);
        qatomic_rcu_set(&fake_iommu.notifiers[pasid], notifier);
    }
    return fake_iommu.register_error;
}

static void fake_unregister(PCIBus *bus, void *opaque, int devfn,
                            uint32_t pasid)
{
    assert(fake_iommu.notifiers[pasid]);
    qatomic_rcu_set(&fake_iommu.notifiers[pasid], NULL);
}

static int fake_request(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                        bool priv_req, bool exec_req, hwaddr addr, bool lpig,
                        uint16_t prgi, bool is_read, bool is_write)
{
    qatomic_inc(&fake_iommu.requests_seen);
    if (fake_iommu.respond_at_once && lpig && (is_read || is_write)) {
        fake_respond(pasid, prgi, IOMMU_PRI_RESP_SUCCESS);
    }
    if (fake_iommu.request_hook) {
        fake_iommu.request_hook();
    }
    return fake_iommu.request_error;
}

static const PCIIOMMUOps fake_ops = {
    .pri_register_notifier = fake_register,
    .pri_unregister_notifier = fake_unregister,
    .pri_request_page = fake_request,
};

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

void write_alloc(PCIDevice *dev, uint32_t val)
{
    fake_pci_write(dev, CAP + PCI_PRI_ALLOC_REQ, val, 4);
    pcie_pri_write_config(dev, CAP + PCI_PRI_ALLOC_REQ, val, 4);
}

PCIDevice *fake_pri_new(void)
{
    PCIDevice *dev = fake_pci_new(NULL, &fake_ops);

    pcie_pri_init(dev, CAP, 32, true);
    fake_iommu = (FakeIOMMU) { };
    write_alloc(dev, 32);
    return dev;
}

void fake_pri_free(PCIDevice *dev)
{
    pcie_pri_exit(dev);
    fake_pci_free(dev);
}

void write_ctrl(PCIDevice *dev, uint16_t val)
{
    fake_pci_write(dev, CAP + PCI_PRI_CTRL, val, 2);
    pcie_pri_write_config(dev, CAP + PCI_PRI_CTRL, val, 2);
}

uint16_t read_status(PCIDevice *dev)
{
    pcie_pri_sync_config(dev);
    return pci_get_word(dev->config + CAP + PCI_PRI_STATUS) &
           ~PCI_PRI_STATUS_PASID;
}

void user_start(User *user, PCIDevice *dev, uint32_t pasid)
{
    *user = (User) {
        .notifier.notify = user_notify,
        .dev = dev,
        .pasid = pasid,
    };
    assert(pci_pri_register_notifier(dev, pasid, &user->notifier) == 0);
}

int send_request(PCIDevice *dev, uint32_t pasid, uint16_t prgi, bool last)
{
    return pci_pri_request_page(dev, pasid, false, false, 0x1000, last, prgi,
                                true, false);
}

PCIEPRIStats function_stats(PCIDevice *dev)
{
    PCIEPRIStats stats;

    pcie_pri_get_stats(dev, &stats);
    return stats;
}
