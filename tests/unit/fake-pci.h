/*
 * PCI functions for tests that are linked without QEMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Replaces hw/pci/pci.c, pcie.c and pci_iommu.c in tests of other files in
 * hw/pci; requires hw/pci/pcie_ats.c.
 */

#ifndef TESTS_UNIT_FAKE_PCI_H
#define TESTS_UNIT_FAKE_PCI_H

#include "hw/pci/pci_device.h"

/* Offset of a capability in configuration space */
#define FAKE_PCI_CAP    0x100

/* Called by each check of a PASID; returns 0 or an error; may be NULL */
extern int (*fake_pci_check)(void);

/**
 * fake_pci_new: create a function that is powered on, and a bus master
 *
 * @pf: PF of a VF, otherwise NULL.
 * @ops: callbacks of its IOMMU, or NULL; they get no bus and no opaque pointer
 *       unless the test sets these in @iommu of the function.
 *
 * Returns: the function, with configuration space, and without capabilities.
 */
PCIDevice *fake_pci_new(PCIDevice *pf, const PCIIOMMUOps *ops);

/* Frees a function; the caller has removed its capabilities */
void fake_pci_free(PCIDevice *dev);

/**
 * fake_pci_write: write to configuration space as a guest
 *
 * Like pci_default_write_config(), but does not notify any capability.
 *
 * @dev: the function.
 * @addr: address of the first byte.
 * @val: the value.
 * @len: length in bytes: 1, 2 or 4.
 */
void fake_pci_write(PCIDevice *dev, uint32_t addr, uint32_t val, unsigned len);

#endif
