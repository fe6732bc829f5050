/*
 * Requesters of an IOMMU, and their faults
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "hw/pci/pci_bus.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/iommu_dev_tlb.h"
#include "hw/i386/intel_iommu_fault.h"
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

void iommu_dev_tlb_register(IOMMUDevTLB *dt, PCIBus *bus, int devfn,
                            uint32_t pasid, IOMMUNotifier *n)
{
}

void iommu_dev_tlb_unregister(IOMMUDevTLB *dt, PCIBus *bus, int devfn,
                              uint32_t pasid, IOMMUNotifier *n)
{
}

bool vtd_is_qualified_fault(VTDFaultReason fault)
{
    return fault != FAKE_UNQUALIFIED_FAULT;
}

unsigned fake_faults;

void vtd_fault_report(IntelIOMMUState *s, const VTDFault *fault)
{
    qatomic_inc(&fake_faults);
}
