/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ATC info of the IOTLB of a vhost back-end, for query-pci-ats
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * All functions are called with the BQL held.
 */
#ifndef HW_VIRTIO_VHOST_PCI_ATS_H
#define HW_VIRTIO_VHOST_PCI_ATS_H

#include "hw/virtio/vhost.h"

/**
 * vhost_pci_ats_start() - register the back-end's IOTLB with the monitor
 * @dev: vhost device that is being started, after vhost_iotlb_reset()
 *
 * Does nothing if @dev is not a PCI device.
 */
void vhost_pci_ats_start(struct vhost_dev *dev);

/**
 * vhost_pci_ats_stop() - undo vhost_pci_ats_start()
 * @dev: vhost device
 *
 * Does nothing if the IOTLB of @dev is not registered.
 */
void vhost_pci_ats_stop(struct vhost_dev *dev);

#endif
