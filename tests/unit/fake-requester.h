/*
 * Requesters of an IOMMU, and what becomes of their faults
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Stands in for PCI and for the rest of the IOMMU in tests of
 * hw/i386/intel_iommu_ats.c.  Faults are counted.
 */

#ifndef TESTS_UNIT_FAKE_REQUESTER_H
#define TESTS_UNIT_FAKE_REQUESTER_H

#include "hw/pci/pci.h"

/* Bus 0, and whether it is of PCI Express */
extern PCIBus fake_bus;
extern bool fake_bus_express;

/* Whether all functions have ATS enabled */
extern bool fake_ats_enabled;

/* That have been reported */
extern unsigned fake_faults;

/* The only reason that is not qualified */
#define FAKE_UNQUALIFIED_FAULT  VTD_FR_ROOT_ENTRY_P

#endif
