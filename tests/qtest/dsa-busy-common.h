/*
 * QTest testcases for the Intel Data Streaming Accelerator (DSA) while busy:
 * the machine, the process and the descriptors that the tests share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef DSA_BUSY_COMMON_H
#define DSA_BUSY_COMMON_H

#include "libqtest.h"
#include "libqos/dsa.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd-prq.h"

#define BUSY_DEV            QATD_BDF(0, 4, 0)
#define BUSY_PORT           QATD_BDF(0, 4, 0)
#define BUSY_BEHIND_PORT    QATD_BDF(1, 0, 0)
#define BUSY_PASID          5
#define PAGE                0x1000

/* Flags of most descriptors */
#define BUSY_CR             (DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR)
#define BUSY_BLOCK          (BUSY_CR | DSA_FLAG_BLOCK_ON_FAULT)

/* Addresses of the completion records and of data in the process */
#define BUSY_IOVA_CR        0x10000000ULL
#define BUSY_IOVA_DATA      0x20000000ULL

#define BUSY_PATTERN        0x0123456789abcdefULL

#define BUSY_MACHINE        "-M q35 -nodefaults -m 256 "
#define BUSY_IOMMU          "-device intel-iommu,svm=on "

/**
 * struct BusyTest - a machine with a DSA
 * @qts: the emulator
 * @alloc: allocator of guest memory
 * @dsa: the device
 * @vtd: the IOMMU, after busy_attach_iommu()
 * @prq: its page request queue
 * @root: guest physical address of the tables of BUSY_PASID, or 0
 * @cr: guest physical address of completion records, a page
 */
typedef struct BusyTest {
    QTestState *qts;
    QGuestAllocator alloc;
    QDSA dsa;
    QVtd vtd;
    QVtdPrq prq;
    uint64_t root;
    uint64_t cr;
} BusyTest;

/**
 * struct BusyBlockTest - a machine whose DSA may wait for pages of a process
 * @t: the machine
 * @data: guest physical address of four pages for BUSY_IOVA_DATA
 */
typedef struct BusyBlockTest {
    BusyTest t;
    uint64_t data;
} BusyBlockTest;

/* ---- Setup ---- */

/**
 * busy_test_init() - start a test program
 * @argc: arguments of the program
 * @argv: likewise
 *
 * Returns: false if the emulator has no DSA or no Intel IOMMU; the program is
 * skipped then.
 */
bool busy_test_init(int *argc, char ***argv);

/**
 * busy_init_at() - initialize the drivers of a machine that runs
 * @t: the test, with @qts set
 * @bdf: BUSY_DEV or BUSY_BEHIND_PORT
 */
void busy_init_at(BusyTest *t, uint16_t bdf);

/**
 * busy_start_at() - start a machine
 * @t: the test to fill in
 * @bdf: BUSY_DEV or BUSY_BEHIND_PORT
 * @args: further arguments of the emulator, with the device
 */
void busy_start_at(BusyTest *t, uint16_t bdf, const char *args);

/* Start a machine without IOMMU, and enable WQ 0 */
void busy_start(BusyTest *t);

/* Attach an empty address space for BUSY_PASID, and enable ATS */
void busy_attach_iommu(BusyTest *t);

/* Returns WQCFG bits for BUSY_PASID; @block allows Block on Fault */
uint64_t busy_wq_bits(bool block);

/* Quit the emulator and free the test */
void busy_stop(BusyTest *t);

/* Stop the machine, and let it continue */
void busy_stop_machine(BusyTest *t);
void busy_cont_machine(BusyTest *t);

/**
 * busy_start_incoming() - start the emulator that loads a machine
 * @t: the test, whose emulator has quit
 * @args: further arguments of the emulator, as for busy_start_at()
 */
void busy_start_incoming(BusyTest *t, const char *args);

/**
 * busy_load() - load a machine that qatd_save_machine() has saved
 * @t: the test, whose emulator has quit
 * @path: path of the file
 * @args: further arguments of the emulator, as for busy_start_at()
 */
void busy_load(BusyTest *t, const char *path, const char *args);

/* ---- The address space of the process ---- */

/**
 * busy_map() - map pages
 * @t: the test
 * @iova: address in the process
 * @gpa: guest physical address
 * @size: a multiple of PAGE
 */
void busy_map(BusyTest *t, uint64_t iova, uint64_t gpa, size_t size);

/* Unmap a page, and invalidate the IOTLB and the device-TLB */
void busy_unmap_page(BusyTest *t, uint64_t iova);

/* ---- Page requests ---- */

/* Wait for a page request of BUSY_PASID */
void busy_next_request(BusyTest *t, QVtdPageReq *rq);

/* The same for a group of one request */
void busy_expect_any_request(BusyTest *t, QVtdPageReq *rq);

/**
 * busy_expect_group() - wait for a group of page requests and check it
 * @t: the test
 * @iova: address of the first page
 * @n: number of pages
 * @is_write: whether the requests ask for write permission
 * @rq: set to the last request
 */
void busy_expect_group(BusyTest *t, uint64_t iova, unsigned n, bool is_write,
                       QVtdPageReq *rq);

/* The same for one page; the offset of @iova into it does not matter */
void busy_expect_request(BusyTest *t, uint64_t iova, bool is_write,
                         QVtdPageReq *rq);

/* ---- Descriptors ---- */

/**
 * busy_submit() - submit a descriptor with completion record @n to WQ 0
 * @t: the test
 * @n: index of the record
 * @op: the operation
 * @flags: flags of the descriptor
 * @src: first address of the descriptor
 * @dst: second address of the descriptor
 * @size: transfer size
 */
void busy_submit(BusyTest *t, unsigned n, DSAOperation op, uint32_t flags,
                 uint64_t src, uint64_t dst, uint32_t size);

/**
 * busy_desc_delta() - set the delta record of a descriptor
 * @desc: the descriptor
 * @op: its operation; only delta operations have such fields
 * @record: address of the record that Create Delta Record writes, of which the
 *          maximum size is 80 bytes
 * @size: size of the record that Apply Delta Record reads
 */
void busy_desc_delta(QDSADesc *desc, DSAOperation op, uint64_t record,
                     uint32_t size);

/* Wait for completion record @n and copy it; returns the status */
uint8_t busy_wait_record(BusyTest *t, unsigned n, uint8_t *record);

/**
 * busy_expect_record() - wait for a completion record, check it and clear it
 * @t: the test
 * @n: index of the record
 * @status: expected status
 * @bytes: expected Bytes Completed
 * @fault_page: expected page of the Fault Address
 */
void busy_expect_record(BusyTest *t, unsigned n, uint8_t status, uint32_t bytes,
                        uint64_t fault_page);

/* Check that completion record @n has not been written */
void busy_expect_no_record(BusyTest *t, unsigned n);

/* ---- Operands ---- */

/* Fill a buffer with BUSY_PATTERN, which Compare Pattern finds there */
void busy_fill_pattern(uint8_t *p, size_t len);

/* Set the offsets of @n deltas in a record: every other unit */
void busy_fill_delta_offsets(uint8_t *record, unsigned n);

/* ---- Block on Fault ---- */

/**
 * busy_start_block() - start a machine with a process, and enable WQ 0
 * @b: the test to fill in
 * @block: whether the WQ allows Block on Fault
 *
 * Maps the page at BUSY_IOVA_DATA, but not the pages behind it.
 */
void busy_start_block(BusyBlockTest *b, bool block);

/**
 * busy_begin_block() - let an engine wait for the second of two pages
 * @b: the test to fill in
 * @rq: set to the page request
 */
void busy_begin_block(BusyBlockTest *b, QVtdPageReq *rq);

/**
 * busy_expect_filled() - check that memory holds a pattern of eight bytes
 * @t: the test
 * @addr: guest physical address
 * @pattern: the pattern
 * @phase: position of the first byte in the pattern
 * @len: length, in bytes
 */
void busy_expect_filled(BusyTest *t, uint64_t addr, uint64_t pattern,
                        unsigned phase, size_t len);

#endif
