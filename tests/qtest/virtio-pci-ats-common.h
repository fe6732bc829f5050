/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTests of virtio-pci's "ats" property: the guest and the checks that they
 * share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */

#ifndef VIRTIO_PCI_ATS_COMMON_H
#define VIRTIO_PCI_ATS_COMMON_H

#include "libqtest.h"
#include "qemu/units.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vhost-user-iotlb.h"
#include "libqos/virtio-pci.h"
#include "libqos/vtd.h"

#define ATS_PORT        (4 << 3)
#define ATS_DEVICE      0x100

/* BARs in the window of the root port */
#define ATS_PORT_BARS   0xe1000000

#define ATS_RAM_SIZE    (64 * MiB)
#define SIZE_4K         0x1000
#define SIZE_2M         0x200000
#define ATS_DOMAIN      1

/* Two pages that the driver uses, below and above 4 GiB */
#define ATS_IOVA        0x40000000ULL
#define ATS_IOVA_HIGH   0x140000000ULL

#define ATS_MACHINE \
    "-M q35,memory-backend=mem -m 64 -nodefaults " \
    "-object memory-backend-memfd,id=mem,size=64M,share=on " \
    "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off " \
    "-device pcie-root-port,id=rp0,bus=pcie.0,chassis=1,addr=4.0 "

#define ATS_VTD         "-device intel-iommu,device-iotlb=on "
#define ATS_NET \
    "-device virtio-net-pci,id=dev,bus=rp0,netdev=net,romfile=," \
    "disable-legacy=on,iommu_platform=on"

/**
 * struct AtsGuest - a guest with one vhost-user device, which has ATS
 * @qts: the emulator
 * @alloc: allocator of guest memory
 * @pci: the PCI bus
 * @be: the back-end
 * @vtd: the IOMMU, after ats_guest_map_vtd()
 * @sspt: guest physical address of its second-stage tables
 * @page: guest physical address of the page of the driver
 * @dev: the driver, NULL before ats_driver_start()
 * @vqs: its virtqueues
 * @num_vqs: how many it sets up
 * @num_rings: how many of these the back-end starts
 * @features: further features that the driver requires
 * @ats: offset of the ATS capability
 */
typedef struct AtsGuest {
    QTestState *qts;
    QGuestAllocator alloc;
    QPCIBus *pci;
    QVhostUserIotlb *be;
    QVtd vtd;
    uint64_t sspt;
    uint64_t page;
    QVirtioPCIDevice *dev;
    GPtrArray *vqs;
    unsigned num_vqs;
    unsigned num_rings;
    uint64_t features;
    uint16_t ats;
} AtsGuest;

/* Returns the guest physical address of a byte of configuration space */
uint64_t ats_config(uint16_t bdf, uint16_t offset);

/**
 * ats_platform_setup() - set up configuration space and the root port
 * @qts: the emulator, started with ATS_MACHINE
 *
 * As firmware does: enables MMCONFIG, and bus 1 behind the root port.
 */
void ats_platform_setup(QTestState *qts);

/* Returns the address of the ATS Control register of the device */
uint64_t ats_ctrl(AtsGuest *g);

/* Set or clear Enable in the ATS Control register */
void ats_set(AtsGuest *g, bool on);

/* Set up the driver and its virtqueues, but do not set DRIVER_OK */
void ats_driver_setup(AtsGuest *g);

/* Start the driver, and wait until the back-end has started the rings */
void ats_driver_start(AtsGuest *g);

/* Release the driver of a device that has been reset or unplugged */
void ats_driver_forget(AtsGuest *g);

/**
 * ats_guest_boot() - set up the machine and find the device
 * @g: the guest, with @be, @num_vqs and @num_rings set
 * @qts: the emulator
 */
void ats_guest_boot(AtsGuest *g, QTestState *qts);

/**
 * ats_guest_map_vtd() - initialize the tables of the Intel IOMMU
 * @g: the guest; sets @vtd and @sspt
 *
 * Maps RAM one to one, and the two pages of the driver.  Nothing is enabled.
 */
void ats_guest_map_vtd(AtsGuest *g);

/**
 * ats_guest_setup_vtd() - the same, and attach the device and enable the IOMMU
 * @g: the guest
 * @device_tlb: whether translation requests are permitted
 */
void ats_guest_setup_vtd(AtsGuest *g, bool device_tlb);

/**
 * ats_slot_power() - switch the power of the slot behind the root port
 * @g: the guest
 * @on: false ejects the device if its removal has been requested
 */
void ats_slot_power(AtsGuest *g, bool on);

/**
 * ats_start_net() - start an emulator with a vhost-user network device
 * @be: the back-end
 * @queue_pairs: number of queue pairs
 * @iommu: arguments for the IOMMU
 * @props: further properties of the device
 *
 * Returns: the emulator.
 */
QTestState *ats_start_net(QVhostUserIotlb *be, unsigned queue_pairs,
                          const char *iommu, const char *props);

/**
 * ats_guest_new() - start a guest with a network device that has ats=on
 * @iommu: arguments for the IOMMU
 * @queue_pairs: number of queue pairs
 *
 * Returns: the guest, without a driver; free it with ats_guest_free().
 */
AtsGuest *ats_guest_new(const char *iommu, unsigned queue_pairs);

/* The same with an Intel IOMMU with device-TLBs, and start the driver */
AtsGuest *ats_guest_new_vtd(unsigned queue_pairs);

/* Quit the emulator and free the guest */
void ats_guest_free(AtsGuest *g);

/* Returns how often QEMU has waited for the back-end (query-pci-ats) */
int64_t ats_round_trips(AtsGuest *g);

/* Let the back-end cache the translation of ATS_IOVA */
void ats_fetch(AtsGuest *g);

/* Unmap the pages of the driver: the back-end must only drop unmapped pages */
void ats_unmap_pages(AtsGuest *g);

/* Map the pages of the driver again */
void ats_map_pages(AtsGuest *g);

/**
 * ats_check_unmap() - check the effect of an IOTLB invalidation
 * @g: the guest, with an Intel IOMMU
 * @drops: whether the back-end drops the translation of ATS_IOVA
 */
void ats_check_unmap(AtsGuest *g, bool drops);

/**
 * ats_check_device_tlb() - check the effect of a device-TLB invalidation
 * @g: the guest, with an Intel IOMMU
 * @drops: whether the back-end drops the translation of ATS_IOVA
 */
void ats_check_device_tlb(AtsGuest *g, bool drops);

/**
 * ats_check() - check which invalidations reach the back-end
 * @g: the guest, with an Intel IOMMU
 * @on: whether ATS is enabled
 *
 * VT-d 6.5.2.3 and 6.5.2.5: an IOTLB invalidation does not affect device-TLBs,
 * and a device-TLB invalidation only affects these.
 */
void ats_check(AtsGuest *g, bool on);

#endif
