/*
 * PCI functions for tests that are linked without QEMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "fake-pci.h"
#include "hw/pci/pci-internal.h"

int (*fake_pci_check)(void);

PCIDevice *fake_pci_new(PCIDevice *pf, const PCIIOMMUOps *ops)
{
    PCIDevice *dev = g_new0(PCIDevice, 1);

    dev->config = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    dev->wmask = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    dev->w1cmask = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    dev->cmask = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    dev->enabled = true;
    dev->exp.sriov_vf.pf = pf;
    dev->iommu.ops = ops;
    pci_set_word(dev->config + PCI_COMMAND, PCI_COMMAND_MASTER);
    pci_set_word(dev->wmask + PCI_COMMAND, PCI_COMMAND_MASTER);
    pcie_ats_update(dev);
    return dev;
}

void fake_pci_free(PCIDevice *dev)
{
    g_free(dev->config);
    g_free(dev->wmask);
    g_free(dev->w1cmask);
    g_free(dev->cmask);
    g_free(dev);
}

void fake_pci_write(PCIDevice *dev, uint32_t addr, uint32_t val, unsigned len)
{
    for (unsigned i = 0; i < len; i++) {
        uint8_t byte = val >> (8 * i);
        uint8_t mask = dev->wmask[addr + i];
        uint8_t *reg = dev->config + addr + i;

        *reg = (*reg & ~mask) | (byte & mask);
        *reg &= ~(byte & dev->w1cmask[addr + i]);
    }
}

/* ---- Functions that the code under test calls ---- */

void pcie_add_capability(PCIDevice *dev, uint16_t cap_id, uint8_t cap_ver,
                         uint16_t offset, uint16_t size)
{
}

/* Weak, for tests that link pci_iommu.c */
__attribute__((weak))
int pci_iommu_check_pasid(const PCIDevice *dev, uint32_t pasid, bool priv_req,
                          bool exec_req)
{
    return fake_pci_check ? fake_pci_check() : 0;
}
