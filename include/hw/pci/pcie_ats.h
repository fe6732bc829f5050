/*
 * PCI Express: ATS and PASID extended capabilities
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#ifndef HW_PCI_PCIE_ATS_H
#define HW_PCI_PCIE_ATS_H

/* PASIDs have at most 20 bits (PCIe 5.0, 6.20) */
#define PCI_PASID_WIDTH_MAX 20
#define PCI_EXT_CAP_PASID_MAX_WIDTH PCI_PASID_WIDTH_MAX

/* Version of the capability, and position of Max PASID Width (7.8.8) */
#define PCI_PASID_VER 1
#define PCI_PASID_CAP_WIDTH_SHIFT 8

/**
 * pcie_pasid_init: add a PASID extended capability (PCIe 5.0, 7.8.8)
 *
 * Call it while the function is being realized, with the BQL held.  Do not call
 * it for VFs, which use the capability of their PF (9.3.7.14).
 *
 * @dev: a PCI Express function.
 * @offset: offset of the capability in configuration space; it occupies
 *          PCI_EXT_CAP_PASID_SIZEOF bytes.
 * @pasid_width: Max PASID Width, in bits, 0 to 20.
 * @exec_perm: Execute Permission Supported.
 * @priv_mod: Privileged Mode Supported.
 */
void pcie_pasid_init(PCIDevice *dev, uint16_t offset, uint8_t pasid_width,
                     bool exec_perm, bool priv_mod);

/**
 * pcie_pasid_common_init: set up the registers of a PASID extended capability
 *
 * For capabilities that pcie_pasid_init() does not add, because they have been
 * added before.  The same rules apply.
 *
 * @dev: a PCI Express function.
 * @offset: offset of the capability in configuration space.
 * @pasid_width: Max PASID Width, in bits, 0 to 20.
 * @exec_perm: Execute Permission Supported.
 * @priv_mod: Privileged Mode Supported.
 */
void pcie_pasid_common_init(PCIDevice *dev, uint16_t offset,
                            uint8_t pasid_width, bool exec_perm, bool priv_mod);

/*
 * The functions below return the state that the guest has enabled.  They are
 * callable from any thread without a lock.  They return false if the function
 * does not have the capability.  For VFs, the functions for PASIDs read the
 * capability of the PF.
 */

/**
 * pcie_bus_master_enabled: check whether the function may issue memory
 * requests
 *
 * @dev: any PCI function.
 *
 * Returns: Bus Master Enable; false while the function has no power.
 */
bool pcie_bus_master_enabled(const PCIDevice *dev);

/**
 * pcie_ats_enabled: check whether the function may issue translation requests
 * and translated requests (PCIe 5.0, 10.5.1.3)
 *
 * @dev: any PCI function.
 *
 * Returns: ATS Enable.
 */
bool pcie_ats_enabled(const PCIDevice *dev);

/**
 * pcie_ats_stu: get the Smallest Translation Unit (PCIe 5.0, 10.5.1.3)
 *
 * A new value in the register takes effect when the guest enables ATS the next
 * time.  VFs use the STU of their PF.
 *
 * @dev: a function with an ATS capability.
 *
 * Returns: log2 of the unit in bytes, 12 to 43.
 */
unsigned pcie_ats_stu(const PCIDevice *dev);

/**
 * pcie_pasid_enabled: check whether the function may issue requests with PASID
 * (PCIe 5.0, 7.8.8.3)
 *
 * @dev: any PCI function.
 *
 * Returns: PASID Enable.
 */
bool pcie_pasid_enabled(const PCIDevice *dev);

/**
 * pcie_pasid_exec_enabled: check whether the function may request execute
 * permission
 *
 * @dev: any PCI function.
 *
 * Returns: PASID Enable and Execute Permission Enable.
 */
bool pcie_pasid_exec_enabled(const PCIDevice *dev);

/**
 * pcie_pasid_priv_enabled: check whether the function may request privileged
 * mode
 *
 * @dev: any PCI function.
 *
 * Returns: PASID Enable and Privileged Mode Enable.
 */
bool pcie_pasid_priv_enabled(const PCIDevice *dev);

/**
 * pcie_pasid_width: get the width of the PASIDs that the function can use
 *
 * @dev: any PCI function.
 *
 * Returns: the width in bits, 0 to 20; 0 without PASID capability.
 */
unsigned pcie_pasid_width(const PCIDevice *dev);

/**
 * pcie_ats_epoch: get a number that changes when ATS or PASID is disabled
 *
 * @dev: any PCI function.
 *
 * Returns: a number that changes whenever the guest, or a reset, disables ATS
 * or PASID in a VF or in its PF.  The function must no longer use translations
 * that it obtained earlier (PCIe 5.0, 10.5.1.3).
 */
uint32_t pcie_ats_epoch(const PCIDevice *dev);

/* hw/pci/pci.c calls the functions below, with the BQL held. */

/* Called when configuration space or the power state has changed */
void pcie_ats_update(PCIDevice *dev);

/* Called when configuration space has been loaded */
void pcie_ats_post_load(PCIDevice *dev);

/*
 * Called after pcie_ats_reset() by FLR, hot reset or reset of the bus: returns
 * PASID to its defaults
 */
void pcie_pasid_reset(PCIDevice *dev);

#endif
