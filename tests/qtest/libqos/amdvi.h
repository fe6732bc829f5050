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

/**
 * struct QAMDVI - the driver of the amd-iommu of a q35 machine
 * @qts: the emulator
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
    uint16_t bdf;
    uint64_t devtab;
    uint64_t commands;
    unsigned tail;
    uint64_t events;
    unsigned head;
    uint64_t message;
} QAMDVI;

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
