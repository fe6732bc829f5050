/*
 * AMD-Vi: walks of host, guest and nested page tables
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The walker depends on device table entries and page tables only, not on
 * registers or devices.  Host tables (v1) translate device virtual addresses or
 * guest physical addresses.  Guest tables (v2) are x86 page tables, see
 * x86_page_walk.h; a table of their roots, the GCR3 table, is indexed by PASID.
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#ifndef HW_I386_AMD_IOMMU_WALK_H
#define HW_I386_AMD_IOMMU_WALK_H

#include "amd_iommu_dte.h"
#include "iommu_walk.h"
#include "x86_page_walk.h"

/**
 * struct AMDVIWalkConfig: which tables to walk, and by which rules
 *
 * @mode: number of levels of the host tables, 0 to 6; 0 if there are none
 * @perm: permissions that the device table entry grants: IR and IW
 * @host_root: physical address of the host root table, a multiple of 4 KiB
 * @guest: there are guest tables
 * @no_flag_update: do not set accessed and dirty bits of guest tables: it is a
 *                  fault if they are needed
 * @guest_levels: 4 or 5
 * @guest_root: physical address of the guest root table, a multiple of 4 KiB;
 *              in the input address space of the host tables if there are any
 * @special: special addresses (2.1.2) depend on the following
 * @int_abort: interrupts are blocked (IntCtl)
 * @sys_mgt: SysMgt
 * @port_io: IoCtl
 * @exclude: there is an exclusion range: requests for it are neither translated
 *           nor checked
 * @exclude_first: first address of the exclusion range, a multiple of 4 KiB
 * @exclude_last: last address of the exclusion range
 *
 * Special addresses and the exclusion range are for requests with
 * @interrupt_input.  A special address is not in the exclusion range.
 */
typedef struct AMDVIWalkConfig {
    uint8_t mode;
    IOMMUAccessFlags perm;
    hwaddr host_root;
    bool guest;
    bool no_flag_update;
    uint8_t guest_levels;
    hwaddr guest_root;
    bool special;
    bool int_abort;
    uint8_t sys_mgt;
    uint8_t port_io;
    bool exclude;
    hwaddr exclude_first;
    hwaddr exclude_last;
} AMDVIWalkConfig;

/**
 * amdvi_walk_setup: find the tables for the requests of a function
 *
 * Reads the GCR3 table (2.2.6) if the request needs it.  The physical addresses
 * in the GCR3 table are not translated, those of guest root tables are.
 *
 * Callable from any thread, within an RCU read-side critical section; takes no
 * locks.
 *
 * @cfg: set to the tables
 * @mem: physical memory
 * @dte: the device table entry, which amdvi_dte_check_memory() has accepted
 * @rules: what the IOMMU supports
 * @pasid: PASID of the requests, or PCI_NO_PASID
 * @unreachable: set to the physical address of the entry of the GCR3 table if
 *               that is not in memory
 *
 * Returns: AMDVI_FAULT_NONE, or why the IOMMU blocks the requests
 */
AMDVIFault amdvi_walk_setup(AMDVIWalkConfig *cfg, const IOMMUWalkMem *mem,
                            const AMDVIDTE *dte, const AMDVIDTERules *rules,
                            uint32_t pasid, hwaddr *unreachable);

/**
 * amdvi_walk: translate a range
 *
 * Sets accessed and dirty bits of guest tables by compare-and-exchange, those
 * of entries that map pages after all permission checks.
 *
 * An entry of a host table that maps a page applies to the whole page, from the
 * first address of the range on, even if the page has other entries with other
 * contents.
 *
 * Callable from any thread, within an RCU read-side critical section; takes no
 * locks.
 *
 * @mem: physical memory
 * @cfg: the tables and rules, from amdvi_walk_setup()
 * @req: the request, and its results; the reasons are AMDVIFault
 * @unreachable: set to the physical address of the first entry that is not in
 *               memory; of its table, if it is a guest table
 *
 * Returns: the extent of the results; unless IOMMU_WALK_DONE, the results cover
 * the beginning of the range
 */
IOMMUWalkStatus amdvi_walk(const IOMMUWalkMem *mem, const AMDVIWalkConfig *cfg,
                           IOMMUWalkRequest *req, hwaddr *unreachable);

#endif
