/*
 * QTest testcases for device-TLBs and PASIDs of amd-iommu: the machine and the
 * requests that the tests share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#ifndef AMD_IOMMU_ATS_COMMON_H
#define AMD_IOMMU_ATS_COMMON_H

#include "libqtest.h"
#include "hw/i386/amd_iommu.h"
#include "libqos/amdvi.h"
#include "libqos/pci-ats-testdev.h"

#define AATS_DEV        QATD_BDF(0, 4, 0)
/* The first DeviceID that a device table of one page does not have */
#define AATS_DEV2       QATD_BDF(0, 16, 0)
#define AATS_DOMAIN     0x1234
#define AATS_PASID      5
/* The highest PASID that the Extended Feature Register announces */
#define AATS_PASID_MAX  0xffff

#define KIB4            0x1000ULL
#define MIB2            0x200000ULL
#define GIB1            0x40000000ULL
#define AATS_IOVA       0x12340000ULL
/* An address that is neither RAM nor ROM */
#define AATS_NO_RAM     0xfd000000ULL

/* Permissions in the results (IOMMUAccessFlags) */
#define PERM_R          1
#define PERM_W          2
#define PERM_PRIV       8
#define PERM_U          32

#define GUEST           QAMDVI_GPTE_RW
#define GUEST_A         QAMDVI_GPTE_A
#define GUEST_AD        (QAMDVI_GPTE_A | QAMDVI_GPTE_D)
#define HOST            QAMDVI_PTE_RW

/* Codes of events, and flags (2.5) */
#define EV_ILLEGAL_DTE      1
#define EV_PAGE_FAULT       2
#define EV_DEV_TAB_ERROR    3
#define EV_PAGE_TAB_ERROR   4
#define EV_INVALID_REQUEST  8
#define EV_US           (1ULL << 50)
#define EV_PR           (1ULL << 52)
#define EV_RW           (1ULL << 53)
#define EV_PE           (1ULL << 54)
#define EV_RZ           (1ULL << 55)
#define EV_TR           (1ULL << 56)
#define EV_TYPE(n)      ((uint64_t)(n) << 57)
/* Type of hardware errors: no memory is there */
#define EV_ABORT        EV_TYPE(1)
/* Types of INVALID_DEVICE_REQUEST: no guest tables, I = 0, interrupt range */
#define EV_NO_GUEST     EV_TYPE(0)
#define EV_NO_ATS       EV_TYPE(1)
#define EV_INTERRUPT    EV_TYPE(4)

/**
 * struct AATSTest - a machine with an AMD IOMMU and two functions
 * @qts: the emulator
 * @alloc: allocator of guest memory
 * @iommu: the IOMMU
 * @dev: the function AATS_DEV
 * @dev2: the function AATS_DEV2
 * @dte: device table entry of @dev, see aats_attach()
 * @r: results of the last translation request
 */
typedef struct AATSTest {
    QTestState *qts;
    QGuestAllocator alloc;
    QAMDVI iommu;
    QATD dev;
    QATD dev2;
    QAMDVIDTE dte;
    QATDResult r[16];
} AATSTest;

/**
 * aats_start() - start a machine, whose IOMMU is enabled with an empty device
 * table
 * @t: the test to fill in
 * @iommu: properties of the IOMMU, and further arguments of the emulator
 * @control: further bits of the Control register (MMIO 0018h)
 */
void aats_start(AATSTest *t, const char *iommu, uint64_t control);

/* The same: AATS_DEV may use ATS, and has empty host tables of 4 levels */
void aats_start_host(AATSTest *t);

/*
 * The same with svm=on: AATS_DEV has a GCR3 table of one level, which is empty,
 * and guest tables of 4 levels without host tables
 */
void aats_start_guest(AATSTest *t);

/* The same, with further arguments of the emulator */
void aats_start_guest_with(AATSTest *t, const char *args);

/* Quit the emulator and free the test */
void aats_stop(AATSTest *t);

/* Write @t->dte and invalidate the device table entry of AATS_DEV */
void aats_attach(AATSTest *t);

/* Returns the guest physical address of a new page, which is zeroed */
uint64_t aats_new_page(AATSTest *t);

/**
 * aats_map_host() - write an entry of the host tables in @t->dte
 * @t: the test
 * @addr: input address
 * @level: level of the entry
 * @entry: the entry
 *
 * Returns: guest physical address of the entry.
 */
uint64_t aats_map_host(AATSTest *t, uint64_t addr, unsigned level,
                       uint64_t entry);

/**
 * aats_add_pasid() - write the entry of a PASID in the GCR3 table in @t->dte
 * @t: the test
 * @pasid: the PASID
 *
 * Returns: guest physical address of its tables, which are empty.
 */
uint64_t aats_add_pasid(AATSTest *t, uint32_t pasid);

/**
 * aats_map_guest() - write an entry of guest tables
 * @t: the test
 * @root: guest physical address of the tables
 * @addr: input address
 * @level: level of the entry
 * @entry: the entry
 *
 * Returns: guest physical address of the entry.
 */
uint64_t aats_map_guest(AATSTest *t, uint64_t root, uint64_t addr,
                        unsigned level, uint64_t entry);

/**
 * aats_translate() - send a translation request from AATS_DEV
 * @t: the test; sets @r
 * @pasid: the PASID, or QATD_NO_PASID
 * @addr: first address
 * @length: in bytes
 * @flags: ATD_FLAG_*
 * @n: expected number of results, or an error
 * @errors: expected number of results without permission
 */
void aats_translate(AATSTest *t, uint32_t pasid, uint64_t addr, uint64_t length,
                    uint64_t flags, int64_t n, uint64_t errors);

/**
 * aats_check() - check a result of the last translation request
 * @t: the test
 * @i: index of the result
 * @iova: expected input address
 * @out: expected output address, unless there is no permission
 * @size: expected size, in bytes
 * @perm: expected permissions, PERM_*
 */
void aats_check(AATSTest *t, int i, uint64_t iova, uint64_t out, uint64_t size,
                uint32_t perm);

/**
 * aats_translate_page() - request the translation of a page, expect one result
 * @t: the test
 * @pasid: the PASID, or QATD_NO_PASID
 * @addr: an address in the page
 * @flags: ATD_FLAG_*
 * @out: expected output address, unless there is no permission
 * @size: expected size, in bytes
 * @perm: expected permissions, PERM_*
 */
void aats_translate_page(AATSTest *t, uint32_t pasid, uint64_t addr,
                         uint64_t flags, uint64_t out, uint64_t size,
                         uint32_t perm);

/**
 * aats_translate_nothing() - request the translation of a page, expect that it
 * is not available, without an event (2.1.3.2)
 * @t: the test
 * @pasid: the PASID, or QATD_NO_PASID
 * @addr: an address in the page
 * @flags: ATD_FLAG_*
 */
void aats_translate_nothing(AATSTest *t, uint32_t pasid, uint64_t addr,
                            uint64_t flags);

/**
 * aats_event() - expect an event of AATS_DEV, and no other one (2.5)
 * @t: the test
 * @code: EV_*
 * @flags: expected flags, EV_US to EV_TYPE()
 * @pasid: expected PASID, or QATD_NO_PASID
 * @addr: expected address
 */
void aats_event(AATSTest *t, unsigned code, uint64_t flags, uint32_t pasid,
                uint64_t addr);

/**
 * aats_dma() - access four bytes from AATS_DEV
 * @t: the test
 * @command: ATD_CMD_*
 * @pasid: the PASID, or QATD_NO_PASID
 * @addr: address
 * @flags: ATD_FLAG_*
 *
 * Returns: true if the access has succeeded.
 */
bool aats_dma(AATSTest *t, unsigned command, uint32_t pasid, uint64_t addr,
              uint64_t flags);

#endif
