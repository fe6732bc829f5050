/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The IOTLB of a vhost backend, in query-pci-ats
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * All functions must be called with the BQL held.
 */
#ifndef HW_VIRTIO_VHOST_PCI_ATS_H
#define HW_VIRTIO_VHOST_PCI_ATS_H

#include "hw/virtio/vhost.h"

/**
 * vhost_pci_ats_start() - list the backend's IOTLB with the PCI function
 * @dev: vhost device that is being started, after vhost_iotlb_reset(); one
 *       that is not a PCI device is fine
 */
void vhost_pci_ats_start(struct vhost_dev *dev);

/**
 * vhost_pci_ats_stop() - undo vhost_pci_ats_start()
 * @dev: vhost device; one that is not listed is fine
 */
void vhost_pci_ats_stop(struct vhost_dev *dev);

#endif
