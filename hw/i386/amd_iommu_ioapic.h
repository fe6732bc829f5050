/*
 * AMD-Vi: the PCI function that contains the I/O APIC
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The IVRS table names 00:14.0 as the source of the interrupts of the I/O APIC.
 * Linux remaps interrupts only if it knows that function as a southbridge:
 * Linux up to 6.12 by its DeviceID, and Linux 7.x by its class.
 */

#ifndef HW_I386_AMD_IOMMU_IOAPIC_H
#define HW_I386_AMD_IOMMU_IOAPIC_H

#include "hw/pci/pci.h"

/**
 * amdvi_add_ioapic_function: add a function of the class SMBus at 00:14.0
 *
 * The function has no registers.  Called once, with the BQL held, when the
 * IOMMU is realized.
 *
 * @bus: the root bus
 * @errp: set if another function is there
 *
 * Returns: true on success
 */
bool amdvi_add_ioapic_function(PCIBus *bus, Error **errp);

#endif
