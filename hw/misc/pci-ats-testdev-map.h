/*
 * pci-ats-testdev: a mirror of the mappings of the device
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * VFIO and vhost-vdpa register notifiers of IOMMU_NOTIFIER_MAP, and mirror the
 * mappings of a device on the host.  The mirror of the test device registers
 * the same notifiers, and records the mappings.
 *
 * All functions are called with the BQL held.
 */

#ifndef HW_MISC_PCI_ATS_TESTDEV_MAP_H
#define HW_MISC_PCI_ATS_TESTDEV_MAP_H

#include "hw/pci/pci_device.h"

typedef struct ATDMap ATDMap;

/**
 * atd_map_new: create a mirror that is not registered
 *
 * @dev: the device
 *
 * Returns: the mirror; to be freed with atd_map_free()
 */
ATDMap *atd_map_new(PCIDevice *dev);

/**
 * atd_map_free: unregister and free a mirror
 *
 * @map: the mirror
 */
void atd_map_free(ATDMap *map);

/**
 * atd_map_register: mirror the mappings of the device from now on
 *
 * Registers a notifier for each part of the address space that the IOMMU
 * translates at this moment, and begins with the mappings that are there.
 *
 * @map: the mirror
 *
 * Returns: 0; -EEXIST if it is registered; -ENODEV if there is no such part; or
 * the error of the IOMMU, which may not support these notifiers
 */
int atd_map_register(ATDMap *map);

/**
 * atd_map_unregister: stop mirroring, and drop all mappings
 *
 * @map: the mirror
 *
 * Returns: 0, or -ENOENT if it is not registered
 */
int atd_map_unregister(ATDMap *map);

/**
 * atd_map_count: count the mappings of which the mirror has been notified
 *
 * @map: the mirror
 *
 * Returns: their number since atd_map_register()
 */
uint64_t atd_map_count(const ATDMap *map);

/**
 * atd_map_errors: count the mappings that overlapped with another one
 *
 * @map: the mirror
 *
 * Returns: their number since atd_map_register()
 */
uint64_t atd_map_errors(const ATDMap *map);

/**
 * atd_map_entries: count the mappings of the device
 *
 * @map: the mirror
 *
 * Returns: the present number
 */
uint64_t atd_map_entries(const ATDMap *map);

/**
 * atd_map_translate: look up an address
 *
 * @map: the mirror
 * @addr: the address
 *
 * Returns: the address that it is mapped to, or UINT64_MAX
 */
uint64_t atd_map_translate(const ATDMap *map, hwaddr addr);

#endif
