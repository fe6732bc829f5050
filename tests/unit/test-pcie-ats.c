/*
 * Unit tests for the ATS and PASID capabilities of VFs
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * hw/pci/pcie_ats.c with a fake PF and a fake VF: a VF has an ATS capability of
 * its own and uses the PASID capability of its PF.  Section numbers are those
 * of the PCI Express Base Specification 5.0.  What a function without VFs does
 * is tested by pci-ats-test.
 */

#include "qemu/osdep.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pci-internal.h"

#define ATS     0x100
#define PASID   0x110

void pcie_add_capability(PCIDevice *dev, uint16_t cap_id, uint8_t cap_ver,
                         uint16_t offset, uint16_t size)
{
}

static PCIDevice *function_new(PCIDevice *pf)
{
    PCIDevice *dev = g_new0(PCIDevice, 1);

    dev->config = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    dev->wmask = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    dev->enabled = true;
    dev->exp.sriov_vf.pf = pf;
    dev->exp.ats_cap = ATS;
    if (!pf) {
        pcie_pasid_init(dev, PASID, 12, true, true);
    }
    return dev;
}

static void function_free(PCIDevice *dev)
{
    g_free(dev->config);
    g_free(dev->wmask);
    g_free(dev);
}

static void set(PCIDevice *dev, uint16_t reg, uint16_t val)
{
    pci_set_word(dev->config + reg, val);
    pcie_ats_update(dev);
}

/* 9.3.7.14: the PASID configuration of the PF is that of its VFs */
static void test_pasid(void)
{
    PCIDevice *pf = function_new(NULL);
    PCIDevice *vf = function_new(pf);

    g_assert_false(pcie_pasid_enabled(vf));
    g_assert_cmpuint(pcie_pasid_width(vf), ==, 12);
    set(pf, PASID + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE);
    g_assert_true(pcie_pasid_enabled(vf));
    g_assert_false(pcie_pasid_exec_enabled(vf));
    g_assert_false(pcie_pasid_priv_enabled(vf));
    set(pf, PASID + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE |
        PCI_PASID_CTRL_EXEC | PCI_PASID_CTRL_PRIV);
    g_assert_true(pcie_pasid_exec_enabled(vf));
    g_assert_true(pcie_pasid_priv_enabled(vf));
    /* FLR of the VF leaves it alone */
    pcie_pasid_reset(vf);
    g_assert_true(pcie_pasid_enabled(vf));
    pcie_pasid_reset(pf);
    g_assert_false(pcie_pasid_enabled(vf));
    function_free(vf);
    function_free(pf);
}

/* Each function has an ATS capability of its own */
static void test_ats(void)
{
    PCIDevice *pf = function_new(NULL);
    PCIDevice *vf = function_new(pf);

    set(pf, ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 3);
    g_assert_true(pcie_ats_enabled(pf));
    g_assert_false(pcie_ats_enabled(vf));
    set(vf, ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 5);
    g_assert_true(pcie_ats_enabled(vf));
    g_assert_cmpuint(pcie_ats_stu(pf), ==, 15);
    g_assert_cmpuint(pcie_ats_stu(vf), ==, 17);
    set(pf, PCI_COMMAND, PCI_COMMAND_MASTER);
    g_assert_false(pcie_bus_master_enabled(vf));
    function_free(vf);
    function_free(pf);
}

/* 10.5.1.3: what a VF obtained is void when the PF's PASIDs are switched off */
static void test_epoch(void)
{
    PCIDevice *pf = function_new(NULL);
    PCIDevice *vf = function_new(pf);
    uint32_t epoch = pcie_ats_epoch(vf);

    set(vf, ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    set(pf, PASID + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE);
    g_assert_cmpuint(pcie_ats_epoch(vf), ==, epoch);
    set(pf, PASID + PCI_PASID_CTRL, 0);
    g_assert_cmpuint(pcie_ats_epoch(vf), !=, epoch);
    epoch = pcie_ats_epoch(vf);
    set(vf, ATS + PCI_ATS_CTRL, 0);
    g_assert_cmpuint(pcie_ats_epoch(vf), !=, epoch);
    /* Not the other way round */
    g_assert_cmpuint(pcie_ats_epoch(pf), ==, 1);
    function_free(vf);
    function_free(pf);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pcie-ats/vf/pasid", test_pasid);
    g_test_add_func("/pcie-ats/vf/ats", test_ats);
    g_test_add_func("/pcie-ats/vf/epoch", test_epoch);
    return g_test_run();
}
