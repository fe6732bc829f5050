/*
 * QTest testcases for the event log of the Data Streaming Accelerator (DSA):
 * the machine, the log and the descriptors that the tests share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef DSA_EVENT_LOG_COMMON_H
#define DSA_EVENT_LOG_COMMON_H

#include "libqtest.h"
#include "libqos/dsa.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd-prq.h"

#define LOG_DEV         QATD_BDF(0, 4, 0)
#define PAGE            0x1000
#define LOG_PROCESS     5       /* a PASID */
#define LOG_HANDLE      2
#define LOG_SIZE        64      /* entries: the minimum, which fills one page */

#define LOG_CR          (DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR)
#define LOG_PRS_DISABLE R_DSA_WQCFG1_PRS_DISABLE_MASK

#define LOG_MACHINE     "-M q35 -nodefaults -m 256 "
#define LOG_DSA         "-device dsa,addr=4,event-log=on "

/**
 * struct LogTest - a machine with a DSA that has an event log
 * @qts: the emulator
 * @alloc: allocator of guest memory
 * @dsa: the device, at LOG_DEV
 * @vtd: the IOMMU, for tests that initialize it
 * @prq: its page request queue
 * @root0: guest physical address of the tables of requests without PASID
 * @root: the same for LOG_PROCESS; 0 without an IOMMU
 * @cr: guest physical address of a page for completion records
 * @data: guest physical address of a page for data
 * @log: guest physical address of the log
 */
typedef struct LogTest {
    QTestState *qts;
    QGuestAllocator alloc;
    QDSA dsa;
    QVtd vtd;
    QVtdPrq prq;
    uint64_t root0, root;
    uint64_t cr;
    uint64_t data;
    uint64_t log;
} LogTest;

/**
 * log_start_with() - start a machine
 * @t: the test to fill in
 * @args: further arguments of the emulator, with the device
 */
void log_start_with(LogTest *t, const char *args);

/* Start a device without IOMMU, and enable its log and WQ 0 */
void log_start(LogTest *t);

/* Quit the emulator and free the test */
void log_stop(LogTest *t);

/* ---- The log ---- */

/**
 * log_configure() - enable the log of a device that is disabled
 * @t: the test
 * @base: value of the first quadword of EVLCFG: address of the log
 * @size: value of the second one: number of entries
 */
void log_configure(LogTest *t, uint64_t base, uint64_t size);

/* Returns EVLSTATUS, and its tail */
uint64_t log_status(LogTest *t);
unsigned log_tail(LogTest *t);

/* Write the head to EVLSTATUS, as software that has read the entries */
void log_set_head(LogTest *t, uint16_t head);

/* Wait until the device has advanced the tail to @tail */
void log_wait_tail(LogTest *t, unsigned tail);

/**
 * struct LogEvent - an entry of the log
 * @q: quadwords, as in SWERROR
 * @cr: the completion record
 */
typedef struct LogEvent {
    uint64_t q[4];
    uint8_t cr[DSA_CR_SIZE];
} LogEvent;

/* A field of the first quadword of an entry, with the name from SWERROR */
#define EVENT_FIELD(e, name) FIELD_EX64((e)->q[0], DSA_SWERROR, name)

/* Read entry @i */
LogEvent log_event(LogTest *t, unsigned i);

/**
 * log_expect_event() - wait for an entry and check the fields of every event
 * @t: the test
 * @i: index of the entry, which is the last one
 * @error: expected error code
 * @operation: expected operation
 *
 * Returns: the entry.
 */
LogEvent log_expect_event(LogTest *t, unsigned i, uint8_t error,
                          DSAOperation operation);

/* ---- Descriptors ---- */

/* Set the interrupt handle of a descriptor */
void log_desc_handle(QDSADesc *desc, uint16_t handle);

/* Compare without completion record: the device can only report the error */
void log_submit_error(LogTest *t);

/**
 * log_submit_noop() - submit a No-op with a completion record
 * @t: the test
 * @flags: further flags; the interrupt is that of LOG_HANDLE
 * @cr: address of the completion record
 */
void log_submit_noop(LogTest *t, uint32_t flags, uint64_t cr);

/* Submit a Drain with a completion record at @cr */
void log_submit_drain(LogTest *t, uint64_t cr);

/* Wait for completion record @n and clear it; returns the status */
uint8_t log_wait_record(LogTest *t, unsigned n);

/* Check that completion record @n has not been written */
void log_expect_no_record(LogTest *t, unsigned n);

#endif
