/*
 * libqos driver for amd-iommu: registers, command buffer, event log, interrupt
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00; registers are named by their MMIO
 * offsets.
 */

#ifndef LIBQOS_AMDVI_H
#define LIBQOS_AMDVI_H

#include "../libqtest.h"
#include "libqos-malloc.h"
#include "hw/i386/amd_iommu.h"

/* Commands and events that fit into the buffer and the log of the driver */
#define QAMDVI_ENTRIES      256

#define QAMDVI_COMMAND(name)    ((uint64_t)AMDVI_CMD_ ## name << 60)

#define QAMDVI_NO_PASID     UINT32_MAX
/* The size of an invalidation of all addresses */
#define QAMDVI_EVERYTHING   0ULL

/* Bits of the first quadword of device table entries (2.2.2.1) */
#define QAMDVI_DTE_V        (1ULL << 0)
#define QAMDVI_DTE_TV       (1ULL << 1)
#define QAMDVI_DTE_GIOV     (1ULL << 54)
#define QAMDVI_DTE_GV       (1ULL << 55)
#define QAMDVI_DTE_IR       (1ULL << 61)
#define QAMDVI_DTE_IW       (1ULL << 62)
/* An entry that translates, and allows reads and writes */
#define QAMDVI_DTE_ON       (QAMDVI_DTE_V | QAMDVI_DTE_TV | \
                             QAMDVI_DTE_IR | QAMDVI_DTE_IW)
/* Bits of the second quadword: the function may have a TLB */
#define QAMDVI_DTE_I        (1ULL << 32)

/* Entries of host tables (2.2.3) */
#define QAMDVI_PTE_PR       (1ULL << 0)
#define QAMDVI_PTE_NEXT(n)  ((uint64_t)(n) << 9)
#define QAMDVI_PTE_U        (1ULL << 59)
#define QAMDVI_PTE_IR       (1ULL << 61)
#define QAMDVI_PTE_IW       (1ULL << 62)
#define QAMDVI_PTE_RW       (QAMDVI_PTE_PR | QAMDVI_PTE_IR | QAMDVI_PTE_IW)

/* Entries of guest tables (2.2.6), and of the GCR3 table (2.2.6) */
#define QAMDVI_GPTE_P       (1ULL << 0)
#define QAMDVI_GPTE_W       (1ULL << 1)
#define QAMDVI_GPTE_US      (1ULL << 2)
#define QAMDVI_GPTE_A       (1ULL << 5)
#define QAMDVI_GPTE_D       (1ULL << 6)
#define QAMDVI_GPTE_PS      (1ULL << 7)
#define QAMDVI_GPTE_NX      (1ULL << 63)
#define QAMDVI_GPTE_RW      (QAMDVI_GPTE_P | QAMDVI_GPTE_W | QAMDVI_GPTE_US)
#define QAMDVI_GCR3_V       (1ULL << 0)

/**
 * struct QAMDVI - the driver of the amd-iommu of a q35 machine
 * @qts: the emulator
 * @alloc: allocator of guest memory
 * @bdf: bus, device and function number of the IOMMU
 * @devtab: guest physical address of the device table, which has entries for
 *     all functions of bus 0
 * @commands: guest physical address of the command buffer
 * @tail: index of the next free command
 * @events: guest physical address of the event log
 * @head: index of the next event
 * @message: guest physical address at which interrupts arrive
 */
typedef struct QAMDVI {
    QTestState *qts;
    QGuestAllocator *alloc;
    uint16_t bdf;
    uint64_t devtab;
    uint64_t commands;
    unsigned tail;
    uint64_t events;
    unsigned head;
    uint64_t message;
} QAMDVI;

/**
 * struct QAMDVIDTE - a device table entry (2.2.2.1)
 * @lo: bits of the first quadword, QAMDVI_DTE_V to QAMDVI_DTE_IW
 * @hi: bits of the second quadword, QAMDVI_DTE_I
 * @domain: DomainID
 * @mode: levels of the host tables, or 0 for none
 * @root: guest physical address of the host root table
 * @gcr3_levels: levels of the GCR3 table, 1 to 4
 * @gcr3: guest physical address of its root table
 * @guest_levels: levels of the guest tables, 4 to 7
 *
 * @gcr3_levels and @guest_levels matter only with QAMDVI_DTE_GV.
 */
typedef struct QAMDVIDTE {
    uint64_t lo;
    uint64_t hi;
    uint16_t domain;
    unsigned mode;
    uint64_t root;
    unsigned gcr3_levels;
    uint64_t gcr3;
    unsigned guest_levels;
} QAMDVIDTE;

/**
 * struct QAMDVIEvent - an entry of the event log (2.5)
 * @lo: first quadword
 * @hi: second quadword
 */
typedef struct QAMDVIEvent {
    uint64_t lo;
    uint64_t hi;
} QAMDVIEvent;

/**
 * qamdvi_init() - prepare the driver, and set the base registers
 * @a: the driver to fill in
 * @qts: the emulator, after qecam_enable()
 * @alloc: allocator of guest memory, which is never freed
 *
 * The device table, the command buffer and the event log are empty, and not
 * enabled yet.
 */
void qamdvi_init(QAMDVI *a, QTestState *qts, QGuestAllocator *alloc);

/* Access a register, AMDVI_MMIO_* */
uint64_t qamdvi_read(QAMDVI *a, unsigned reg);
void qamdvi_write(QAMDVI *a, unsigned reg, uint64_t val);

/**
 * qamdvi_enable() - enable the IOMMU, its command buffer and its event log
 * @a: the driver
 * @control: further bits of the control register (MMIO 0018h)
 */
void qamdvi_enable(QAMDVI *a, uint64_t control);

/**
 * qamdvi_enable_msi() - let interrupts of the IOMMU arrive in memory
 * @a: the driver
 */
void qamdvi_enable_msi(QAMDVI *a);

/**
 * qamdvi_take_msi() - check whether an interrupt has arrived
 * @a: the driver, after qamdvi_enable_msi()
 *
 * Returns: true if at least one has arrived since the last call
 */
bool qamdvi_take_msi(QAMDVI *a);

/**
 * qamdvi_set_dte() - write a device table entry, and invalidate it if the
 * command buffer runs
 * @a: the driver
 * @bdf: bus, device and function number; the bus is 0
 * @dte: the entry, in host byte order
 */
void qamdvi_set_dte(QAMDVI *a, uint16_t bdf, const uint64_t dte[4]);

/**
 * qamdvi_dte_addr() - return the guest physical address of an entry
 * @a: the driver
 * @bdf: bus, device and function number; the bus is 0
 */
uint64_t qamdvi_dte_addr(QAMDVI *a, uint16_t bdf);

/**
 * qamdvi_store_dte() - write a device table entry, without an invalidation
 * @a: the driver
 * @bdf: bus, device and function number; the bus is 0
 * @dte: the fields of the entry
 */
void qamdvi_store_dte(QAMDVI *a, uint16_t bdf, const QAMDVIDTE *dte);

/* The same, followed by INVALIDATE_DEVTAB_ENTRY if the command buffer runs */
void qamdvi_attach(QAMDVI *a, uint16_t bdf, const QAMDVIDTE *dte);

/* Returns the guest physical address of a new page, which is zeroed */
uint64_t qamdvi_new_page(QAMDVI *a);

/**
 * qamdvi_map_host() - write an entry of host tables (2.2.3)
 * @a: the driver
 * @root: guest physical address of the root table
 * @mode: levels of the tables, 1 to 6
 * @addr: input address
 * @level: level of the entry, 1 to @mode
 * @entry: the entry
 *
 * Creates tables with all permissions where none are present.
 *
 * Returns: guest physical address of the entry.
 */
uint64_t qamdvi_map_host(QAMDVI *a, uint64_t root, unsigned mode, uint64_t addr,
                         unsigned level, uint64_t entry);

/**
 * qamdvi_map_guest() - write an entry of guest tables (2.2.6)
 * @a: the driver
 * @root: guest physical address of the root table
 * @levels: levels of the tables, 4 or 5
 * @addr: input address
 * @level: level of the entry: 1, 2 and 3 for pages of 4 KiB, 2 MiB and 1 GiB
 * @entry: the entry
 *
 * Creates tables with all permissions where none are present.
 *
 * Returns: guest physical address of the entry.
 */
uint64_t qamdvi_map_guest(QAMDVI *a, uint64_t root, unsigned levels,
                          uint64_t addr, unsigned level, uint64_t entry);

/**
 * qamdvi_set_gcr3() - write the entry of a PASID in a GCR3 table (2.2.6)
 * @a: the driver
 * @gcr3: guest physical address of the root of the GCR3 table
 * @levels: its levels, 1 to 3
 * @pasid: the PASID
 * @entry: the entry
 *
 * Creates tables where none are present.
 *
 * Returns: guest physical address of the entry.
 */
uint64_t qamdvi_set_gcr3(QAMDVI *a, uint64_t gcr3, unsigned levels,
                         uint32_t pasid, uint64_t entry);

/**
 * qamdvi_inval_pages() - submit INVALIDATE_IOMMU_PAGES (2.4.3)
 * @a: the driver
 * @domain: DomainID
 * @pasid: the PASID, or QAMDVI_NO_PASID
 * @addr: first address, a multiple of @size
 * @size: in bytes, a power of two from 4 KiB on, or QAMDVI_EVERYTHING
 */
void qamdvi_inval_pages(QAMDVI *a, uint16_t domain, uint32_t pasid,
                        uint64_t addr, uint64_t size);

/**
 * qamdvi_inval_iotlb() - submit INVALIDATE_IOTLB_PAGES (2.4.4)
 * @a: the driver
 * @bdf: bus, device and function number of the device-TLB
 * @pasid: the PASID, or QAMDVI_NO_PASID
 * @addr: first address, a multiple of @size
 * @size: in bytes, a power of two from 4 KiB on, or QAMDVI_EVERYTHING
 */
void qamdvi_inval_iotlb(QAMDVI *a, uint16_t bdf, uint32_t pasid, uint64_t addr,
                        uint64_t size);

/* Submit INVALIDATE_DEVTAB_ENTRY (2.4.2) */
void qamdvi_inval_device(QAMDVI *a, uint16_t bdf);

/* Submit INVALIDATE_IOMMU_ALL (2.4.8) */
void qamdvi_inval_all(QAMDVI *a);

/**
 * qamdvi_put() - append a command to the buffer, without telling the IOMMU
 * @a: the driver
 * @lo: first quadword
 * @hi: second quadword
 *
 * Returns: guest physical address of the command
 */
uint64_t qamdvi_put(QAMDVI *a, uint64_t lo, uint64_t hi);

/**
 * qamdvi_ring() - tell the IOMMU about all commands of the buffer
 * @a: the driver
 */
void qamdvi_ring(QAMDVI *a);

/**
 * qamdvi_command() - append a command, and tell the IOMMU about it
 * @a: the driver
 * @lo: first quadword
 * @hi: second quadword
 *
 * Returns: guest physical address of the command
 */
uint64_t qamdvi_command(QAMDVI *a, uint64_t lo, uint64_t hi);

/**
 * qamdvi_restart() - empty the command buffer and enable it again
 * @a: the driver, whose event log is enabled, but no interrupts are
 */
void qamdvi_restart(QAMDVI *a);

/**
 * qamdvi_completes() - check whether COMPLETION_WAIT stores
 * @a: the driver
 */
bool qamdvi_completes(QAMDVI *a);

/**
 * qamdvi_next_event() - take an event from the log
 * @a: the driver
 * @event: set to the event
 *
 * Returns: false if the log is empty
 */
bool qamdvi_next_event(QAMDVI *a, QAMDVIEvent *event);

/**
 * qamdvi_expect_event() - take an event from the log, which must be the only
 * one
 * @a: the driver
 * @lo: first quadword
 * @hi: second quadword
 */
void qamdvi_expect_event(QAMDVI *a, uint64_t lo, uint64_t hi);

/**
 * qamdvi_expect_no_event() - check that the log is empty
 * @a: the driver
 */
void qamdvi_expect_no_event(QAMDVI *a);

#endif
