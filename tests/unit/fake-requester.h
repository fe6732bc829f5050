/*
 * Requesters of an IOMMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Replaces PCI code in tests of hw/i386/intel_iommu_ats.c.
 */

#ifndef TESTS_UNIT_FAKE_REQUESTER_H
#define TESTS_UNIT_FAKE_REQUESTER_H

#include "hw/pci/pci.h"

/* Bus 0; @fake_bus_express is true if it is a PCI Express bus */
extern PCIBus fake_bus;
extern bool fake_bus_express;

/* True if ATS is enabled in all functions */
extern bool fake_ats_enabled;

#endif
