/*
 * QTest testcases for device-TLBs and PASIDs of intel-iommu: the machine and
 * the requests that the tests share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#ifndef INTEL_IOMMU_ATS_COMMON_H
#define INTEL_IOMMU_ATS_COMMON_H

#include "libqtest.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd.h"

#define VATS_DEV        QATD_BDF(0, 4, 0)
#define VATS_DEV2       QATD_BDF(0, 5, 0)
#define VATS_DOMAIN     1
#define VATS_PASID      5

#define KIB4            0x1000ULL
#define VATS_IOVA       0x12340000ULL

/* Permissions in the results (IOMMUAccessFlags) */
#define PERM_R          1
#define PERM_W          2
#define PERM_PRIV       8
#define PERM_U          32

/* First-stage entries (9.7) */
#define VATS_FS         (VTD_FL_P | VTD_FL_RW | VTD_FL_US)

/* PASID-table entries (9.6) */
#define VATS_PE_P       VTD_PASID_ENTRY_P
#define VATS_PE_DID     1ULL
#define VATS_PE_FIRST   (VATS_PE_P | VTD_SM_PASID_ENTRY_FLT)
#define VATS_PE_PASS    (VATS_PE_P | VTD_SM_PASID_ENTRY_PT)
#define VATS_PE1        (VATS_PE_DID | VTD_SM_PASID_ENTRY_PWSNP)

/* Context entries of scalable mode (9.4) */
#define VATS_CE_ATS     VTD_SM_CONTEXT_ENTRY_DTE
#define VATS_CE_PASID   VTD_SM_CONTEXT_ENTRY_PASIDE

/**
 * struct VatsTest - a machine with an Intel IOMMU and two functions
 * @qts: the emulator
 * @alloc: allocator of guest memory
 * @vtd: the IOMMU
 * @dev: the function VATS_DEV
 * @dev2: the function VATS_DEV2
 * @table: guest physical address of the second-stage tables, in legacy mode
 * @dir: guest physical address of the PASID directory, in scalable mode
 * @r: results of the last translation request
 */
typedef struct VatsTest {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QATD dev;
    QATD dev2;
    uint64_t table;
    uint64_t dir;
    QATDResult r[16];
} VatsTest;

/**
 * vats_start() - start a machine, whose IOMMU is not enabled
 * @t: the test to fill in
 * @iommu: properties of the IOMMU, and further arguments of the emulator
 */
void vats_start(VatsTest *t, const char *iommu);

/* The same in legacy mode, with empty second-stage tables for both functions */
void vats_start_legacy(VatsTest *t);

/* The same in scalable mode, with an empty PASID directory for VATS_DEV */
void vats_start_scalable(VatsTest *t);

/* Quit the emulator and free the test */
void vats_stop(VatsTest *t);

/* Returns the guest physical address of a new page, which is zeroed */
uint64_t vats_new_page(VatsTest *t);

/**
 * vats_map_first() - write an entry of a 4-level first-stage table
 * @t: the test
 * @root: guest physical address of the table
 * @addr: input address
 * @size: size of the page
 * @entry: the entry
 *
 * Returns: guest physical address of the entry.
 */
uint64_t vats_map_first(VatsTest *t, uint64_t root, uint64_t addr,
                        uint64_t size, uint64_t entry);

/**
 * vats_first_stage_bits() - write the entry of a PASID with first-stage tables
 * @t: the test, in scalable mode
 * @pasid: the PASID
 * @pe2: further bits of the third quadword of the entry
 *
 * Returns: guest physical address of the tables, which are empty.
 */
uint64_t vats_first_stage_bits(VatsTest *t, uint32_t pasid, uint64_t pe2);

/* The same without further bits */
uint64_t vats_first_stage(VatsTest *t, uint32_t pasid);

/**
 * vats_translate() - send a translation request from VATS_DEV
 * @t: the test; sets @r
 * @pasid: the PASID, or QATD_NO_PASID
 * @addr: first address
 * @length: in bytes
 * @flags: ATD_FLAG_*
 * @n: expected number of results, or an error
 * @errors: expected number of results without permission
 */
void vats_translate(VatsTest *t, uint32_t pasid, uint64_t addr, uint64_t length,
                    uint64_t flags, int64_t n, uint64_t errors);

/**
 * vats_check() - check a result of the last translation request
 * @t: the test
 * @i: index of the result
 * @iova: expected input address
 * @out: expected output address, unless there is no permission
 * @size: expected size, in bytes
 * @perm: expected permissions, PERM_*
 */
void vats_check(VatsTest *t, int i, uint64_t iova, uint64_t out, uint64_t size,
                uint32_t perm);

/**
 * vats_translate_page() - request the translation of a page, expect one result
 * @t: the test
 * @pasid: the PASID, or QATD_NO_PASID
 * @addr: an address in the page
 * @flags: ATD_FLAG_*
 * @out: expected output address, unless there is no permission
 * @size: expected size, in bytes
 * @perm: expected permissions, PERM_*
 */
void vats_translate_page(VatsTest *t, uint32_t pasid, uint64_t addr,
                         uint64_t flags, uint64_t out, uint64_t size,
                         uint32_t perm);

/* Check that no fault has been recorded */
void vats_no_fault(VatsTest *t);

/**
 * vats_fault() - expect a fault of VATS_DEV (11.4.7.6), and clear it
 * @t: the test
 * @reason: expected fault reason
 * @at: expected address type
 * @pasid: expected PASID, or QATD_NO_PASID
 * @addr: address of the request
 * @is_write: whether it was a write
 */
void vats_fault(VatsTest *t, uint8_t reason, unsigned at, uint32_t pasid,
                uint64_t addr, bool is_write);

/**
 * vats_dma() - access four bytes from VATS_DEV
 * @t: the test
 * @command: ATD_CMD_*
 * @pasid: the PASID, or QATD_NO_PASID
 * @addr: address
 * @flags: ATD_FLAG_*
 *
 * Returns: the result of the command.
 */
int64_t vats_dma(VatsTest *t, unsigned command, uint32_t pasid, uint64_t addr,
                 uint64_t flags);

/**
 * vats_inv_pasid() - submit a PASID-based device-TLB invalidation (6.5.2.6)
 * @t: the test
 * @pasid: the PASID
 * @hi: second quadword of the descriptor
 */
void vats_inv_pasid(VatsTest *t, uint32_t pasid, uint64_t hi);

#endif
