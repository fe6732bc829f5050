/*
 * AMD-Vi: device table entries
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#ifndef HW_I386_AMD_IOMMU_DTE_H
#define HW_I386_AMD_IOMMU_DTE_H

#include "exec/hwaddr.h"
#include "amd_iommu_fault.h"

#define AMDVI_DTE_QUADS         4

/* Mode: the number of levels, or no host translation */
#define AMDVI_DTE_MODE_NONE     0
#define AMDVI_DTE_MODE_MAX      6

/* HAD: which bits of host tables the IOMMU sets */
#define AMDVI_DTE_HAD_NONE      0
#define AMDVI_DTE_HAD_A         1
#define AMDVI_DTE_HAD_RESERVED  2
#define AMDVI_DTE_HAD_A_AND_D   3

/* IntCtl: fixed and arbitrated interrupts */
#define AMDVI_DTE_INT_ABORT     0
#define AMDVI_DTE_INT_PASS      1
#define AMDVI_DTE_INT_REMAP     2
#define AMDVI_DTE_INT_RESERVED  3

/* IoCtl: memory requests for the range of port I/O */
#define AMDVI_DTE_IO_ABORT      0
#define AMDVI_DTE_IO_PASS       1
#define AMDVI_DTE_IO_TRANSLATE  2

/* SysMgt: memory requests for the range of system management messages */
#define AMDVI_DTE_SYS_MGT_ABORT     0
#define AMDVI_DTE_SYS_MGT_MESSAGES  1
#define AMDVI_DTE_SYS_MGT_INTX      2
#define AMDVI_DTE_SYS_MGT_TRANSLATE 3

/* IntTabLen: the logarithm of the number of entries, and its maximum */
#define AMDVI_DTE_INT_TAB_MAX   11

/**
 * struct AMDVIDTE: the fields of a device table entry, 2.2.2.1
 *
 * Valid if V = 1; those from @mode to @guest_levels need TV = 1, too:
 *
 * @valid: V, the entry describes memory requests
 * @translate: TV, translation information is valid
 * @had: HAD, host accessed and dirty bits
 * @mode: Mode, the number of levels of the host tables
 * @host_root: Page Table Root Pointer
 * @read: IR, read permission
 * @write: IW, write permission
 * @guest: GV, there are guest tables
 * @guest_io: GIoV, requests without PASID use the guest tables of PASID 0
 * @glx: GLX, levels of the GCR3 table, minus 1
 * @gcr3_root: GCR3 Table Root Pointer
 * @guest_levels: GuestPagingMode, the number of levels of the guest tables
 * @domain: DomainID
 * @page_requests: PPR, page requests are served
 * @prg_pasid: GPRP, responses to page requests carry the PASID
 * @iotlb: I, the function may have a TLB
 * @suppress: SE, do not log more than one I/O page fault
 * @suppress_all: SA, log no I/O page fault
 * @port_io: IoCtl, requests in the range of port I/O
 * @cache: Cache, a hint
 * @no_snoop: SD, do not snoop
 * @exclude: EX, the exclusion range is for this function
 * @sys_mgt: SysMgt, system management messages
 * @reserved: a reserved bit is set
 *
 * Valid if IV = 1:
 *
 * @int_valid: IV, the entry describes interrupts
 * @int_tab_len: IntTabLen
 * @int_ignore: IG, do not log unmapped interrupts
 * @int_root: Interrupt Table Root Pointer
 * @int_control: IntCtl
 * @init_pass: INITPass
 * @eint_pass: EIntPass
 * @nmi_pass: NMIPass
 * @lint0_pass: Lint0Pass
 * @lint1_pass: Lint1Pass
 * @int_reserved: a reserved bit is set
 */
typedef struct AMDVIDTE {
    bool valid;
    bool translate;
    uint8_t had;
    uint8_t mode;
    hwaddr host_root;
    bool read;
    bool write;
    bool guest;
    bool guest_io;
    uint8_t glx;
    hwaddr gcr3_root;
    uint8_t guest_levels;
    uint16_t domain;
    bool page_requests;
    bool prg_pasid;
    bool iotlb;
    bool suppress;
    bool suppress_all;
    uint8_t port_io;
    bool cache;
    bool no_snoop;
    bool exclude;
    uint8_t sys_mgt;
    bool reserved;

    bool int_valid;
    uint8_t int_tab_len;
    bool int_ignore;
    hwaddr int_root;
    uint8_t int_control;
    bool init_pass;
    bool eint_pass;
    bool nmi_pass;
    bool lint0_pass;
    bool lint1_pass;
    bool int_reserved;
} AMDVIDTE;

/**
 * struct AMDVIDTERules: what the IOMMU supports, and the exclusion range
 *
 * @max_mode: highest value of Mode (EFR.HATS); 0 means that there are no host
 *            tables (HATDis, 5.2), so that the root pointer must be 0, too
 * @had: HAD has a meaning (EFR.HASup)
 * @guest: guest translation is supported and enabled (EFR.GTSup and GTEn);
 *         otherwise its fields are ignored
 * @max_glx: highest value of GLX (EFR.GLXSup)
 * @max_guest_levels: maximum number of levels of guest tables (EFR.GATS)
 * @max_pasid: highest PASID (EFR.PASmax)
 * @exclude: the exclusion range is enabled (ExEn)
 * @exclude_all: it is for all functions (Allow)
 * @exclude_first: first address of the exclusion range
 * @exclude_last: last address of the exclusion range
 */
typedef struct AMDVIDTERules {
    uint8_t max_mode;
    bool had;
    bool guest;
    uint8_t max_glx;
    uint8_t max_guest_levels;
    uint32_t max_pasid;
    bool exclude;
    bool exclude_all;
    hwaddr exclude_first;
    hwaddr exclude_last;
} AMDVIDTERules;

/**
 * amdvi_dte_decode: split an entry into its fields
 *
 * @dte: set to the fields, whether they are valid or not
 * @quad: the entry, in host byte order
 */
void amdvi_dte_decode(AMDVIDTE *dte, const uint64_t quad[AMDVI_DTE_QUADS]);

/**
 * amdvi_dte_check_memory: validate an entry for a memory request
 *
 * If V = 0, the IOMMU ignores everything else.  If TV = 0, it ignores the
 * fields that describe tables, but the reserved bits must be 0.
 *
 * @dte: the entry
 * @rules: what the IOMMU supports
 *
 * Returns: AMDVI_FAULT_NONE, or why the IOMMU blocks the request and reports
 * an illegal device table entry
 */
AMDVIFault amdvi_dte_check_memory(const AMDVIDTE *dte,
                                  const AMDVIDTERules *rules);

/**
 * amdvi_dte_check_interrupt: validate an entry for an interrupt
 *
 * If IV = 0, the IOMMU ignores all fields that describe interrupts.
 *
 * @dte: the entry
 * @fixed: the interrupt is fixed or arbitrated: IntCtl applies to it, and if
 *         that says so, the interrupt remapping table
 *
 * Returns: AMDVI_FAULT_NONE, or why the IOMMU blocks the interrupt and reports
 * an illegal device table entry
 */
AMDVIFault amdvi_dte_check_interrupt(const AMDVIDTE *dte, bool fixed);

#endif
