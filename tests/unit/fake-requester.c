/*
 * Requesters of an IOMMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/pci/pci_bus.h"
#include "fake-requester.h"

PCIBus fake_bus;
bool fake_bus_express = true;
bool fake_ats_enabled = true;

int pci_bus_num(PCIBus *bus)
{
    return 0;
}

bool pcie_ats_enabled(const PCIDevice *dev)
{
    return fake_ats_enabled;
}

bool pci_bus_is_express(const PCIBus *bus)
{
    return fake_bus_express;
}
