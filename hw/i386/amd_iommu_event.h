/*
 * AMD-Vi: event log
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The IOMMU writes events into a ring in memory, from which software takes
 * them.  An event that does not fit is lost: EventOverflow is set, EventLogRun
 * is cleared, and nothing is logged until software clears EventOverflow and
 * then writes EventLogEn as 1 (MMIO 0018h, 2020h).
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00; registers are named by their MMIO
 * offsets.
 */

#ifndef HW_I386_AMD_IOMMU_EVENT_H
#define HW_I386_AMD_IOMMU_EVENT_H

#include "amd_iommu.h"

/**
 * struct AMDVIPageFault - a request that the IOMMU does not complete
 *
 * Describes the request in all events that a request causes, not only in an
 * I/O page fault.
 *
 * @devid: DeviceID of the source
 * @domid: domain of the device, for requests without PASID
 * @pasid: PASID of the request, or PCI_NO_PASID
 * @addr: address of the request
 * @write: RW, the request is a write
 * @interrupt: I, the request is an interrupt request
 * @translation: TR, the request is a translation request
 * @privilege: US is clear, the request is privileged; only with a PASID
 * @present: PR, the page is present, or RemapEn is set for the interrupt
 * @permission: PE, the page is present but does not permit the request
 * @reserved_bit: RZ, a reserved bit is not zero
 */
typedef struct AMDVIPageFault {
    uint16_t devid;
    uint16_t domid;
    uint32_t pasid;
    hwaddr addr;
    bool write;
    bool interrupt;
    bool translation;
    bool privilege;
    bool present;
    bool permission;
    bool reserved_bit;
} AMDVIPageFault;

/**
 * enum AMDVIInvalidRequest - Type of INVALID_DEVICE_REQUEST (2.5.9)
 *
 * @AMDVI_INVALID_REQUEST_ACCESS: a request that the device must not send
 * @AMDVI_INVALID_REQUEST_ATS: translated request (TR = 0) or translation
 *     request (TR = 1) of a device that may not send any
 * @AMDVI_INVALID_REQUEST_PORT_IO: request for port I/O that IoCtl does not
 *     allow
 * @AMDVI_INVALID_REQUEST_SYS_MGT_WRITE: write for system management that SysMgt
 *     does not allow
 * @AMDVI_INVALID_REQUEST_SYS_MGT_READ: the same for a read
 * @AMDVI_INVALID_REQUEST_INTERRUPT: request for the interrupt address range
 *     that is not an interrupt
 * @AMDVI_INVALID_REQUEST_INT_CTL: interrupt that IntCtl does not allow
 * @AMDVI_INVALID_REQUEST_RESERVED: write to the reserved interrupt address
 *     range
 * @AMDVI_INVALID_REQUEST_TRANSLATION: translation request (TR = 1) for a
 *     special address
 */
typedef enum AMDVIInvalidRequest {
    AMDVI_INVALID_REQUEST_ACCESS = 0,
    AMDVI_INVALID_REQUEST_ATS = 1,
    AMDVI_INVALID_REQUEST_PORT_IO = 2,
    AMDVI_INVALID_REQUEST_SYS_MGT_WRITE = 3,
    AMDVI_INVALID_REQUEST_SYS_MGT_READ = 4,
    AMDVI_INVALID_REQUEST_INTERRUPT = 4,
    AMDVI_INVALID_REQUEST_INT_CTL = 5,
    AMDVI_INVALID_REQUEST_RESERVED = 6,
    AMDVI_INVALID_REQUEST_TRANSLATION = 1,
} AMDVIInvalidRequest;

/**
 * amdvi_event_init: create the queue for events of threads
 *
 * Called once, with the BQL held.
 *
 * @s: the IOMMU
 * @guard: reentrancy guard of the IOMMU; it keeps events and interrupts from
 *     accessing the registers while the main loop logs them
 */
void amdvi_event_init(AMDVIState *s, MemReentrancyGuard *guard);

/**
 * amdvi_event_reset: forget the log and the events that are not logged yet
 *
 * Called with the BQL held.
 *
 * @s: the IOMMU
 */
void amdvi_event_reset(AMDVIState *s);

/**
 * amdvi_event_stop: stop the log, as an overflow does
 *
 * Called with the BQL held.
 *
 * @s: the IOMMU
 */
void amdvi_event_stop(AMDVIState *s);

/*
 * amdvi_event_write_*(): software has written a register
 *
 * MMIO 0018h, 0010h, 2010h and 2018h.  Called with the BQL held.
 */
void amdvi_event_write_control(AMDVIState *s);
void amdvi_event_write_base(AMDVIState *s);
void amdvi_event_write_head(AMDVIState *s);
void amdvi_event_write_tail(AMDVIState *s);

/**
 * amdvi_event_log: log an event
 *
 * Callable from any thread.  Without the BQL the event is logged later, by the
 * main loop, or when the machine stops.  While the machine is stopped, it waits
 * until the machine runs; it is not migrated.
 *
 * @s: the IOMMU
 * @lo: first quadword
 * @hi: second quadword
 * @abort: the event is a target abort, which the PCI Status register shows
 */
void amdvi_event_log(AMDVIState *s, uint64_t lo, uint64_t hi, bool abort);

/**
 * amdvi_event_illegal_dte: log ILLEGAL_DEV_TABLE_ENTRY (2.5.2)
 *
 * Callable from any thread, as all of the following.
 *
 * @s: the IOMMU
 * @fault: the request
 */
void amdvi_event_illegal_dte(AMDVIState *s, const AMDVIPageFault *fault);

/**
 * amdvi_event_io_page_fault: log IO_PAGE_FAULT (2.5.3)
 *
 * @s: the IOMMU
 * @fault: the request
 */
void amdvi_event_io_page_fault(AMDVIState *s, const AMDVIPageFault *fault);

/**
 * amdvi_event_dev_tab_error: log DEV_TAB_HARDWARE_ERROR (2.5.4)
 *
 * @s: the IOMMU
 * @fault: the request
 * @entry: address of the device table entry, which is not in memory
 */
void amdvi_event_dev_tab_error(AMDVIState *s, const AMDVIPageFault *fault,
                               hwaddr entry);

/**
 * amdvi_event_page_tab_error: log PAGE_TAB_HARDWARE_ERROR (2.5.5)
 *
 * @s: the IOMMU
 * @fault: the request
 * @entry: address of the page table entry, which is not in memory
 */
void amdvi_event_page_tab_error(AMDVIState *s, const AMDVIPageFault *fault,
                                hwaddr entry);

/**
 * amdvi_event_illegal_command: log ILLEGAL_COMMAND_ERROR (2.5.6)
 *
 * @s: the IOMMU
 * @command: address of the command
 */
void amdvi_event_illegal_command(AMDVIState *s, hwaddr command);

/**
 * amdvi_event_command_error: log COMMAND_HARDWARE_ERROR (2.5.7)
 *
 * @s: the IOMMU
 * @command: address of the command, which is not in memory
 */
void amdvi_event_command_error(AMDVIState *s, hwaddr command);

/**
 * amdvi_event_invalid_request: log INVALID_DEVICE_REQUEST (2.5.9)
 *
 * @s: the IOMMU
 * @fault: the request
 * @type: why it is invalid
 */
void amdvi_event_invalid_request(AMDVIState *s, const AMDVIPageFault *fault,
                                 AMDVIInvalidRequest type);

#endif
