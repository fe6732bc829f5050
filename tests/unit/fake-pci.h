/*
 * PCI functions for tests that link without the emulator
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Stands in for hw/pci/pci.c, pcie.c and pci_iommu.c in tests of the files
 * beside them; needs hw/pci/pcie_ats.c.
 */

#ifndef TESTS_UNIT_FAKE_PCI_H
#define TESTS_UNIT_FAKE_PCI_H

#include "hw/pci/pci_device.h"

/* What a test uses for the one capability of its functions */
#define FAKE_PCI_CAP    0x100

/* Called by each check of a PASID, which it may fail, unless it is NULL */
extern int (*fake_pci_check)(void);

/**
 * fake_pci_new: a function that has power and may issue requests
 *
 * @pf: its PF if it is a VF, otherwise NULL.
 * @ops: what its IOMMU does, or NULL; called without bus and opaque pointer
 *       unless the test adds them to @iommu of the function.
 *
 * Returns: the function, with configuration space and no capability.
 */
PCIDevice *fake_pci_new(PCIDevice *pf, const PCIIOMMUOps *ops);

/* The capabilities are gone already */
void fake_pci_free(PCIDevice *dev);

/**
 * fake_pci_write: what a guest's write makes of configuration space
 *
 * As pci_default_write_config() does, without telling any capability.
 *
 * @dev: the function.
 * @addr: of the first byte.
 * @val: the value.
 * @len: in bytes, 1, 2 or 4.
 */
void fake_pci_write(PCIDevice *dev, uint32_t addr, uint32_t val, unsigned len);

#endif
