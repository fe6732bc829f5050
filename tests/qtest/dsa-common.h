/*
 * QTest testcases for the Intel Data Streaming Accelerator (DSA): the machine
 * and the descriptors that the tests share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef DSA_COMMON_H
#define DSA_COMMON_H

#include "libqtest.h"
#include "libqos/dsa.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd.h"

#define DSA_DEV     QATD_BDF(0, 4, 0)
#define DSA_PASID   5
#define PAGE        0x1000

/* Flags of most descriptors */
#define DSA_CR      (DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR)

/**
 * struct DSATest - a machine with a DSA
 * @qts: the emulator
 * @alloc: allocator of guest memory
 * @dsa: the device, at DSA_DEV
 * @vtd: the IOMMU, for tests that initialize it
 * @dir: guest physical address of the PASID directory, likewise
 * @cr: guest physical address of completion records, a page
 * @record: the last completion record
 */
typedef struct DSATest {
    QTestState *qts;
    QGuestAllocator alloc;
    QDSA dsa;
    QVtd vtd;
    uint64_t dir;
    uint64_t cr;
    uint8_t record[DSA_CR_SIZE];
} DSATest;

/**
 * dsa_start_with() - start a machine
 * @t: the test to fill in
 * @args: further arguments of the emulator, with the device
 */
void dsa_start_with(DSATest *t, const char *args);

/* Start a machine without IOMMU, and enable WQ 0 */
void dsa_start(DSATest *t);

/* Quit the emulator and free the test */
void dsa_stop(DSATest *t);

/**
 * dsa_run() - submit a descriptor to WQ 0, and wait for its completion record
 * @t: the test; sets @record
 * @desc: the descriptor, with a record at @cr
 * @status: the expected status
 */
void dsa_run(DSATest *t, const QDSADesc *desc, uint8_t status);

/**
 * dsa_submit_data() - run a descriptor with a source and a destination
 * @t: the test; sets @record
 * @op: the operation
 * @flags: further flags of the descriptor
 * @src: first address of the descriptor
 * @dst: second address of the descriptor
 * @size: transfer size
 * @status: the expected status
 */
void dsa_submit_data(DSATest *t, DSAOperation op, uint32_t flags, uint64_t src,
                     uint64_t dst, uint32_t size, uint8_t status);

/* Returns Bytes Completed of the last completion record */
uint32_t dsa_bytes_completed(DSATest *t);

/* Write the pattern of qdsa_fill_pattern() to guest memory */
void dsa_put_pattern(DSATest *t, uint64_t addr, size_t len, unsigned seed);

/* Check that guest memory holds @len bytes of @data */
void dsa_expect_memory(DSATest *t, uint64_t addr, const void *data, size_t len);

/* Check that guest memory holds what dsa_put_pattern() writes */
void dsa_expect_pattern(DSATest *t, uint64_t addr, size_t len, unsigned seed);

#endif
