/*
 * QTest testcases for page requests of intel-iommu: the machine and the checks
 * that the tests share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#ifndef INTEL_IOMMU_PRQ_COMMON_H
#define INTEL_IOMMU_PRQ_COMMON_H

#include "libqtest.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/intel_iommu_prq.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd-prq.h"

#define PRQ_DEV     QATD_BDF(0, 4, 0)
#define PRQ_DEV2    QATD_BDF(0, 5, 0)
#define PRQ_PASID   5
#define PRQ_DOMAIN  1
#define PRQ_NONE    QATD_NO_PASID

#define KIB4        0x1000ULL
#define PRQ_ADDR    0x12340000ULL

/* Context entry (9.4), PASID-table entry (9.6) */
#define PRQ_CE      (VTD_SM_CONTEXT_ENTRY_DTE | VTD_SM_CONTEXT_ENTRY_PASIDE | \
                     VTD_SM_CONTEXT_ENTRY_PRE)
#define PRQ_PE0     (VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT)
#define PRQ_PE1     (PRQ_DOMAIN | VTD_SM_PASID_ENTRY_PWSNP)

#define PRQ_LAST    ATD_FLAG_LAST
#define PRQ_RD      ATD_FLAG_READ
#define PRQ_WR      ATD_FLAG_WRITE

/* IOMMUPRIResponseCode */
enum { PRQ_SUCCESS, PRQ_INVALID, PRQ_FAILURE };

/**
 * struct PrqTest - a machine with an Intel IOMMU and two functions
 * @qts: the emulator
 * @alloc: allocator of guest memory
 * @vtd: the IOMMU
 * @prq: its page request queue
 * @dev: the function PRQ_DEV
 * @dev2: the function PRQ_DEV2
 * @dir: guest physical address of the PASID directory of @dev
 * @dir2: the same for @dev2
 */
typedef struct PrqTest {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QVtdPrq prq;
    QATD dev;
    QATD dev2;
    uint64_t dir;
    uint64_t dir2;
} PrqTest;

/* Access a register of the IOMMU, DMAR_*_REG */
uint32_t prq_readl(PrqTest *t, uint64_t reg);
uint64_t prq_readq(PrqTest *t, uint64_t reg);
void prq_writel(PrqTest *t, uint64_t reg, uint32_t val);
void prq_writeq(PrqTest *t, uint64_t reg, uint64_t val);

/* ---- Setup ---- */

/**
 * prq_attach() - set up tables for PRQ_PASID, PRQ_PASID + 1, and no PASID
 * @t: the test
 * @bdf: bus, device and function number
 *
 * Returns: guest physical address of the PASID directory.
 */
uint64_t prq_attach(PrqTest *t, uint16_t bdf);

/* Register for responses with the PASIDs of prq_attach() */
void prq_register(QATD *d);

/**
 * prq_start_machine() - start an emulator with both functions
 * @iommu: properties of the IOMMU
 * @more: further arguments of the emulator
 *
 * Returns: the emulator.
 */
QTestState *prq_start_machine(const char *iommu, const char *more);

/**
 * prq_start_with() - start a machine, whose IOMMU is not enabled
 * @t: the test to fill in
 * @iommu: properties of the IOMMU
 */
void prq_start_with(PrqTest *t, const char *iommu);

/**
 * prq_start_pqs() - start a machine, and enable its IOMMU and both functions
 * @t: the test to fill in
 * @pqs: the page request queue has 2^@pqs pages of 4 KiB
 */
void prq_start_pqs(PrqTest *t, unsigned pqs);

/* The same with a queue of one page */
void prq_start(PrqTest *t);

/* Quit the emulator and free the test */
void prq_stop(PrqTest *t);

/* ---- Expectations ---- */

/**
 * prq_request() - send a page request, which succeeds
 * @d: the function
 * @pasid: the PASID, or PRQ_NONE
 * @addr: address
 * @prgi: page request group index
 * @flags: ATD_FLAG_*
 */
void prq_request(QATD *d, uint32_t pasid, uint64_t addr, uint16_t prgi,
                 uint64_t flags);

/* The same, but expect @error, which is negative */
void prq_request_fails(QATD *d, uint32_t pasid, uint64_t addr, uint16_t prgi,
                       uint64_t flags, int error);

/* Expect that the function has received @count responses */
void prq_expect_responses(QATD *d, unsigned count);

/**
 * prq_expect_response() - expect a response
 * @d: the function
 * @count: expected number of responses, of which this is the last
 * @pasid: expected PASID, or PRQ_NONE
 * @prgi: expected page request group index
 * @code: expected response code
 */
void prq_expect_response(QATD *d, unsigned count, uint32_t pasid, uint16_t prgi,
                         int code);

/* Expect @count descriptors in the queue */
void prq_expect_queued(PrqTest *t, unsigned count);

/* Remove a descriptor from the queue; expect that it equals @want */
void prq_next(PrqTest *t, QVtdPageReq *want);

/**
 * prq_expect_status() - check PRS_REG, and IP in PECTL_REG
 * @t: the test
 * @prs: expected value of PRS_REG
 * @pending: expected value of IP
 */
void prq_expect_status(PrqTest *t, uint32_t prs, bool pending);

/* Check that no fault has been recorded */
void prq_no_fault(PrqTest *t);

/* Send interrupts with vector @vector to the first processor */
void prq_set_vector(PrqTest *t, unsigned vector);

/* Returns whether the processor has received an interrupt with this vector */
bool prq_interrupted(PrqTest *t, unsigned vector);

#endif
