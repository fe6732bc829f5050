/*
 * PCI Express: ATS and PASID extended capabilities
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * pcie_ats_init() and pcie_ats_reset() are older than this file and stay in
 * pcie.c.
 *
 * One word, exp.request_enables, holds the enable bits that the guest has set,
 * so that a thread of a device model can read them while a vCPU writes
 * configuration space.  All writers hold the BQL.
 *
 * A new STU takes effect when Enable is set: software must not change the
 * register while ATS is enabled (10.5.1.3), and the STU must stay constant
 * during page requests and prefetches.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "hw/pci/pci_device.h"

#define ENABLE_BUS_MASTER   (1u << 0)
#define ENABLE_ATS          (1u << 1)
#define ENABLE_PASID        (1u << 2)
#define ENABLE_EXEC         (1u << 3)
#define ENABLE_PRIV         (1u << 4)
#define STU_SHIFT           8
#define STU_MASK            0x1fu
#define PASID_WIDTH_SHIFT   16
#define PASID_WIDTH_MASK    0x1f

static uint32_t request_enables(const PCIDevice *dev)
{
    return qatomic_read(&dev->exp.request_enables);
}

/* VFs share the PASID configuration of their PF (9.3.7.14). */
static uint32_t pasid_enables(const PCIDevice *dev)
{
    return request_enables(pci_is_vf(dev) ? dev->exp.sriov_vf.pf : dev);
}

void pcie_pasid_init(PCIDevice *dev, uint16_t offset, uint8_t pasid_width,
                     bool exec_perm, bool priv_mod)
{
    pcie_add_capability(dev, PCI_EXT_CAP_ID_PASID, PCI_PASID_VER, offset,
                        PCI_EXT_CAP_PASID_SIZEOF);
    pcie_pasid_common_init(dev, offset, pasid_width, exec_perm, priv_mod);
}

void pcie_pasid_common_init(PCIDevice *dev, uint16_t offset,
                            uint8_t pasid_width, bool exec_perm, bool priv_mod)
{
    uint16_t supported = (exec_perm ? PCI_PASID_CAP_EXEC : 0) |
                         (priv_mod ? PCI_PASID_CAP_PRIV : 0);

    assert(pasid_width <= PCI_PASID_WIDTH_MAX);
    assert(!pci_is_vf(dev));
    QEMU_BUILD_BUG_ON(PCI_PASID_CAP_EXEC != PCI_PASID_CTRL_EXEC ||
                      PCI_PASID_CAP_PRIV != PCI_PASID_CTRL_PRIV);
    QEMU_BUILD_BUG_ON(PCI_PASID_CAP_WIDTH >> PCI_PASID_CAP_WIDTH_SHIFT != 0x1f);

    dev->exp.pasid_cap = offset;

    pci_set_word(dev->config + offset + PCI_PASID_CAP,
                 pasid_width << PCI_PASID_CAP_WIDTH_SHIFT | supported);
    /* An enable bit is read-only zero without its capability (7.8.8.3). */
    pci_set_word(dev->wmask + offset + PCI_PASID_CTRL,
                 PCI_PASID_CTRL_ENABLE | supported);
    pcie_ats_update(dev);
}

bool pcie_bus_master_enabled(const PCIDevice *dev)
{
    return request_enables(dev) & ENABLE_BUS_MASTER;
}

bool pcie_ats_enabled(const PCIDevice *dev)
{
    return request_enables(dev) & ENABLE_ATS;
}

unsigned pcie_ats_stu(const PCIDevice *dev)
{
    return PCI_ATS_MIN_STU + ((request_enables(dev) >> STU_SHIFT) & STU_MASK);
}

bool pcie_pasid_enabled(const PCIDevice *dev)
{
    return pasid_enables(dev) & ENABLE_PASID;
}

bool pcie_pasid_exec_enabled(const PCIDevice *dev)
{
    return pasid_enables(dev) & ENABLE_EXEC;
}

bool pcie_pasid_priv_enabled(const PCIDevice *dev)
{
    return pasid_enables(dev) & ENABLE_PRIV;
}

unsigned pcie_pasid_width(const PCIDevice *dev)
{
    return (pasid_enables(dev) >> PASID_WIDTH_SHIFT) & PASID_WIDTH_MASK;
}

uint32_t pcie_ats_epoch(const PCIDevice *dev)
{
    uint32_t epoch = qatomic_read(&dev->exp.ats_epoch);

    if (pci_is_vf(dev)) {
        epoch += qatomic_read(&dev->exp.sriov_vf.pf->exp.ats_epoch);
    }
    return epoch;
}

static uint16_t ats_ctrl(const PCIDevice *dev)
{
    return dev->exp.ats_cap ? pci_get_word(dev->config + dev->exp.ats_cap +
                                           PCI_ATS_CTRL) : 0;
}

/* VFs use the STU of their PF (10.5.1.3). */
static uint32_t stu_bits(const PCIDevice *dev)
{
    uint16_t ctrl = ats_ctrl(pci_is_vf(dev) ? dev->exp.sriov_vf.pf : dev);

    return PCI_ATS_CTRL_STU(ctrl) << STU_SHIFT;
}

static uint32_t ats_bits(const PCIDevice *dev)
{
    uint32_t before = request_enables(dev);

    if (!(ats_ctrl(dev) & PCI_ATS_CTRL_ENABLE)) {
        return stu_bits(dev);
    }
    return ENABLE_ATS |
           (before & ENABLE_ATS ? before & STU_MASK << STU_SHIFT
                                : stu_bits(dev));
}

static uint32_t pasid_bits(const PCIDevice *dev)
{
    uint16_t cap, ctrl;
    uint32_t bits;

    if (!dev->exp.pasid_cap) {
        return 0;
    }
    cap = pci_get_word(dev->config + dev->exp.pasid_cap + PCI_PASID_CAP);
    ctrl = pci_get_word(dev->config + dev->exp.pasid_cap + PCI_PASID_CTRL);
    bits = ((cap & PCI_PASID_CAP_WIDTH) >> ctz32(PCI_PASID_CAP_WIDTH))
           << PASID_WIDTH_SHIFT;
    if (ctrl & PCI_PASID_CTRL_ENABLE) {
        bits |= ENABLE_PASID |
                (ctrl & PCI_PASID_CTRL_EXEC ? ENABLE_EXEC : 0) |
                (ctrl & PCI_PASID_CTRL_PRIV ? ENABLE_PRIV : 0);
    }
    return bits;
}

void pcie_ats_update(PCIDevice *dev)
{
    uint16_t command = pci_get_word(dev->config + PCI_COMMAND);
    uint32_t bits = ats_bits(dev) | pasid_bits(dev);

    if ((command & PCI_COMMAND_MASTER) && dev->enabled) {
        bits |= ENABLE_BUS_MASTER;
    }
    if (request_enables(dev) & ~bits & (ENABLE_ATS | ENABLE_PASID)) {
        qatomic_set(&dev->exp.ats_epoch, dev->exp.ats_epoch + 1);
    }
    qatomic_set(&dev->exp.request_enables, bits);
}

static void ats_load(PCIDevice *dev)
{
    qatomic_set(&dev->exp.request_enables, 0);
    pcie_ats_update(dev);
}

void pcie_ats_post_load(PCIDevice *dev)
{
    unsigned vfs = dev->exp.sriov_cap ?
                   pci_get_word(dev->config + dev->exp.sriov_cap +
                                PCI_SRIOV_TOTAL_VF) : 0;

    ats_load(dev);
    /*
     * VFs are loaded before their PF, so that the STU of the PF was not known
     * when they were loaded.
     */
    for (unsigned i = 0; i < vfs; i++) {
        ats_load(dev->exp.sriov_pf.vf[i]);
    }
}

void pcie_pasid_reset(PCIDevice *dev)
{
    if (dev->exp.pasid_cap) {
        pci_set_word(dev->config + dev->exp.pasid_cap + PCI_PASID_CTRL, 0);
    }
    pcie_ats_update(dev);
}
