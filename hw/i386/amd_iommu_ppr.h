/*
 * AMD-Vi: log of peripheral page requests (PPR log)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The IOMMU writes page requests into a ring in memory, from which software
 * takes them.  A request that does not fit is not logged: PPROverflow is set,
 * PPRLogRun is cleared, and nothing is logged until software clears PPROverflow
 * and then writes PPRLogEn as 1 (MMIO 0018h, 2020h).  Another request before
 * that sets PPROverflow again.  The caller is responsible for the contents of
 * entries and for responses.
 *
 * Threads of device models add entries without the BQL, while the guest
 * accesses the registers.  Therefore the log owns its registers, MMIO 0038h,
 * 2030h and 2038h, and its bits of the Status register, MMIO 2020h.
 * AMDVIState.mmior has copies, see amdvi_ppr_sync().
 *
 * All functions but amdvi_ppr_init() do nothing if there is no log
 * (AMDVIState.ppr_log is NULL), unless their descriptions say otherwise.
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00; registers are named by their MMIO
 * offsets.
 */

#ifndef HW_I386_AMD_IOMMU_PPR_H
#define HW_I386_AMD_IOMMU_PPR_H

#include "hw/pci/pci_iommu.h"
#include "migration/vmstate.h"
#include "amd_iommu.h"

#define AMDVI_PPR_ENTRY_LEN     16

/*
 * PAGE_SERVICE_REQUEST (2.6), first quadword: where Linux's driver reads the
 * fields
 */
#define AMDVI_PPR_CODE          (1ULL << 60)
#define AMDVI_PPR_GN            (1ULL << 56)
#define AMDVI_PPR_US            (1ULL << 54)
#define AMDVI_PPR_WRITE         (1ULL << 53)
#define AMDVI_PPR_READ          (1ULL << 50)
#define AMDVI_PPR_EXEC          (1ULL << 49)
/* Second quadword */
#define AMDVI_PPR_ADDR(addr)    ((addr) & ~0xfffULL)

/* Tag of a request: PRG index, and whether this is the last of its group */
#define AMDVI_PPR_TAG_LAST      (1u << 9)

/**
 * amdvi_ppr_source: describe the source of a page request
 *
 * INVALID_PPR_REQUEST (2.5.10) has these fields at the same positions as
 * PAGE_SERVICE_REQUEST (2.6).
 *
 * @devid: DeviceID
 * @pasid: PASID, or PCI_NO_PASID
 * @tag: PRG index, and AMDVI_PPR_TAG_LAST for the last request of a group
 *
 * Returns: bits 45:0 of the first quadword
 */
static inline uint64_t amdvi_ppr_source(uint16_t devid, uint32_t pasid,
                                        uint16_t tag)
{
    uint64_t bits = devid | (uint64_t)tag << 32;

    if (pasid != PCI_NO_PASID) {
        bits |= (uint64_t)extract32(pasid, 0, 16) << 16 |
                (uint64_t)extract32(pasid, 16, 4) << 42;
    }
    return bits;
}

/**
 * enum AMDVIPPRResult: result of adding an entry
 *
 * @AMDVI_PPR_LOGGED: the entry is in the log
 * @AMDVI_PPR_DISABLED: page requests are disabled: IommuEn or PPREn is clear,
 *                      or there is no log
 * @AMDVI_PPR_OVERFLOW: the log is full or does not run
 * @AMDVI_PPR_UNREACHABLE: the log is not in memory that can be written
 */
typedef enum AMDVIPPRResult {
    AMDVI_PPR_LOGGED,
    AMDVI_PPR_DISABLED,
    AMDVI_PPR_OVERFLOW,
    AMDVI_PPR_UNREACHABLE,
} AMDVIPPRResult;

/**
 * amdvi_ppr_init: create the log, with the registers as after reset
 *
 * Called once, with the BQL held.
 *
 * @s: the IOMMU
 * @guard: reentrancy guard of the IOMMU; it keeps interrupts from accessing the
 *     registers while the main loop sends them
 */
void amdvi_ppr_init(AMDVIState *s, MemReentrancyGuard *guard);

/**
 * amdvi_ppr_reset: give the registers their values after reset
 *
 * Does not change AMDVIState.mmior.  Called with the BQL held.
 *
 * @s: the IOMMU
 */
void amdvi_ppr_reset(AMDVIState *s);

/**
 * amdvi_ppr_sync: copy the registers of the log to AMDVIState.mmior
 *
 * Called with the BQL held before software reads or writes a register.
 *
 * @s: the IOMMU
 */
void amdvi_ppr_sync(AMDVIState *s);

/*
 * amdvi_ppr_write_*(): software has written a register
 *
 * MMIO 0018h, 0038h, 2030h and 2038h: the new value is in AMDVIState.mmior.
 * Called with the BQL held, as all functions down to amdvi_ppr_has_cause().
 */
void amdvi_ppr_write_control(AMDVIState *s);
void amdvi_ppr_write_base(AMDVIState *s);
void amdvi_ppr_write_head(AMDVIState *s);
void amdvi_ppr_write_tail(AMDVIState *s);

/**
 * amdvi_ppr_write_status: software has written the Status register, 2020h
 *
 * @s: the IOMMU
 * @ones: the bits that were written as 1; those of PPROverflow and PPRInt clear
 *        these flags
 */
void amdvi_ppr_write_status(AMDVIState *s, uint64_t ones);

/**
 * amdvi_ppr_has_cause: check whether a flag asks for an interrupt
 *
 * @s: the IOMMU
 *
 * Returns: true if PPROverflow or PPRInt is set, and PPRIntEn is
 */
bool amdvi_ppr_has_cause(AMDVIState *s);

/**
 * amdvi_ppr_put: add an entry (2.6)
 *
 * The entry is in memory when the tail pointer shows it.  May make an interrupt
 * due, see amdvi_ppr_raise_interrupt().  Callable from any thread, within an
 * RCU read-side critical section.
 *
 * @s: the IOMMU
 * @entry: two quadwords, in host byte order
 *
 * Returns: the result
 */
AMDVIPPRResult amdvi_ppr_put(AMDVIState *s, const uint64_t entry[2]);

/**
 * amdvi_ppr_raise_interrupt: send the interrupt if it is due, or let the main
 * loop do so
 *
 * Interrupts need the BQL, for which threads of device models must not wait: if
 * the caller does not hold it, the main loop sends the interrupt.  Callable
 * from any thread.
 *
 * @s: the IOMMU
 */
void amdvi_ppr_raise_interrupt(AMDVIState *s);

/*
 * Subsection of the state of the IOMMU: the registers, and whether an interrupt
 * is due
 */
extern const VMStateDescription amdvi_vmstate_ppr;

#endif
