/*
 * Unit tests for the ATS and PASID capabilities of VFs
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * hw/pci/pcie_ats.c with a fake PF and a fake VF: a VF has an ATS capability of
 * its own and uses the PASID capability of its PF.  Section numbers are those
 * of the PCI Express Base Specification 5.0.  pci-ats-test covers functions
 * without VFs.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "hw/pci/pci-internal.h"
#include "fake-pci.h"

#define ATS     FAKE_PCI_CAP
#define PASID   (ATS + PCI_EXT_CAP_ATS_SIZEOF)
#define SRIOV   (PASID + PCI_EXT_CAP_PASID_SIZEOF)

static PCIDevice *function_new(PCIDevice *pf)
{
    PCIDevice *dev = fake_pci_new(pf, NULL);

    dev->exp.ats_cap = ATS;
    if (!pf) {
        pcie_pasid_init(dev, PASID, 12, true, true);
    }
    return dev;
}

static void set(PCIDevice *dev, uint16_t reg, uint16_t val)
{
    pci_set_word(dev->config + reg, val);
    pcie_ats_update(dev);
}

/* 9.3.7.14: VFs share the PASID configuration of their PF */
static void test_pasid(void **state)
{
    PCIDevice *pf = function_new(NULL);
    PCIDevice *vf = function_new(pf);

    assert_false(pcie_pasid_enabled(vf));
    assert_int_equal(pcie_pasid_width(vf), 12);
    set(pf, PASID + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE);
    assert_true(pcie_pasid_enabled(vf));
    assert_false(pcie_pasid_exec_enabled(vf));
    assert_false(pcie_pasid_priv_enabled(vf));
    set(pf, PASID + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE |
        PCI_PASID_CTRL_EXEC | PCI_PASID_CTRL_PRIV);
    assert_true(pcie_pasid_exec_enabled(vf));
    assert_true(pcie_pasid_priv_enabled(vf));
    /* FLR of the VF does not change it. */
    pcie_pasid_reset(vf);
    assert_true(pcie_pasid_enabled(vf));
    pcie_pasid_reset(pf);
    assert_false(pcie_pasid_enabled(vf));
    fake_pci_free(vf);
    fake_pci_free(pf);
}

/* Each function has an ATS Enable of its own; 10.5.1.3: VFs have no STU */
static void test_ats(void **state)
{
    PCIDevice *pf = function_new(NULL);
    PCIDevice *vf = function_new(pf);

    set(pf, ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 3);
    assert_true(pcie_ats_enabled(pf));
    assert_false(pcie_ats_enabled(vf));
    set(vf, ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 5);
    assert_true(pcie_ats_enabled(vf));
    assert_int_equal(pcie_ats_stu(pf), 15);
    assert_int_equal(pcie_ats_stu(vf), 15);
    set(vf, PCI_COMMAND, 0);
    assert_false(pcie_bus_master_enabled(vf));
    assert_true(pcie_bus_master_enabled(pf));
    fake_pci_free(vf);
    fake_pci_free(pf);
}

/* 10.5.1.3: a new STU has no effect while ATS is enabled */
static void test_stu(void **state)
{
    PCIDevice *pf = function_new(NULL);
    PCIDevice *vf = function_new(pf);

    set(pf, ATS + PCI_ATS_CTRL, 4);
    assert_int_equal(pcie_ats_stu(pf), 16);
    set(pf, ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 1);
    assert_int_equal(pcie_ats_stu(pf), 13);
    set(pf, ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 31);
    assert_int_equal(pcie_ats_stu(pf), 13);
    set(pf, PCI_COMMAND, 0);
    assert_int_equal(pcie_ats_stu(pf), 13);
    set(pf, ATS + PCI_ATS_CTRL, 2);
    set(vf, ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    set(pf, ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 31);
    assert_int_equal(pcie_ats_stu(pf), 43);
    assert_int_equal(pcie_ats_stu(vf), 14);
    set(vf, PCI_COMMAND, 0);
    assert_int_equal(pcie_ats_stu(vf), 14);
    fake_pci_free(vf);
    fake_pci_free(pf);
}

/* Migration: VFs use the STU of their PF although they are loaded before it */
static void test_load(void **state)
{
    PCIDevice *pf = function_new(NULL);
    PCIDevice *vf = function_new(pf);

    pf->exp.sriov_cap = SRIOV;
    pf->exp.sriov_pf.vf = &vf;
    pci_set_word(pf->config + SRIOV + PCI_SRIOV_TOTAL_VF, 1);
    pci_set_word(vf->config + ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    pcie_ats_post_load(vf);
    pci_set_word(pf->config + ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 7);
    pcie_ats_post_load(pf);
    assert_true(pcie_ats_enabled(pf));
    assert_true(pcie_ats_enabled(vf));
    assert_int_equal(pcie_ats_stu(pf), 19);
    assert_int_equal(pcie_ats_stu(vf), 19);
    /* Load again into the same machine. */
    pci_set_word(pf->config + ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 3);
    pcie_ats_post_load(pf);
    assert_int_equal(pcie_ats_stu(vf), 15);
    fake_pci_free(vf);
    fake_pci_free(pf);
}

/* 10.5.1.3: translations of VFs are void when the PF switches PASIDs off */
static void test_epoch(void **state)
{
    PCIDevice *pf = function_new(NULL);
    PCIDevice *vf = function_new(pf);
    uint32_t epoch = pcie_ats_epoch(vf);

    set(vf, ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    set(pf, PASID + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE);
    assert_int_equal(pcie_ats_epoch(vf), epoch);
    set(pf, PASID + PCI_PASID_CTRL, 0);
    assert_int_not_equal(pcie_ats_epoch(vf), epoch);
    epoch = pcie_ats_epoch(vf);
    set(vf, ATS + PCI_ATS_CTRL, 0);
    assert_int_not_equal(pcie_ats_epoch(vf), epoch);
    /* VFs do not affect their PF. */
    assert_int_equal(pcie_ats_epoch(pf), 1);
    fake_pci_free(vf);
    fake_pci_free(pf);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pasid),
        cmocka_unit_test(test_ats),
        cmocka_unit_test(test_stu),
        cmocka_unit_test(test_load),
        cmocka_unit_test(test_epoch),
    };

    return cmocka_run_group_tests_name("pcie-ats", tests, NULL, NULL);
}
