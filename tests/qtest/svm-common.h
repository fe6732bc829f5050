/*
 * QTest testcases for the demo device for shared virtual memory: the machine
 * and the operations that the tests share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * docs/specs/svm.rst describes the interface of the device.
 */

#ifndef SVM_COMMON_H
#define SVM_COMMON_H

#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/misc/svm-demo.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd-prq.h"

#define SVM_DEV         QATD_BDF(0, 4, 0)
#define SVM_PORT        QATD_BDF(0, 4, 0)
#define SVM_BEHIND_PORT QATD_BDF(1, 0, 0)
#define SVM_PASID       5
#define SVM_DOMAIN      1
#define SVM_REGS        0xd0000000ULL

#define KIB4            0x1000ULL
#define SVM_ADDR        0x7f0012345000ULL

/* First-stage entry (VT-d 9.7) */
#define SVM_FS          (VTD_FL_P | VTD_FL_RW | VTD_FL_US)

/* Address of MSIs: a page that is mapped for requests without PASID */
#define SVM_MSI_IOVA    0x5000ULL

/* Sizes of svm_begin_and_fault(): a vCPU runs short ones, a thread long ones */
#define SVM_SHORT       64
#define SVM_LONG        (KIB4 + 64)

#define SVM_MACHINE     "-M q35 -nodefaults -device intel-iommu,svm=on "       \
                        "-device svm,addr=4,id=svm0 "

/**
 * struct SvmTest - a machine with a demo device and the process that uses it
 * @qts: the emulator
 * @alloc: allocator of guest memory
 * @vtd: the IOMMU
 * @prq: its page request queue
 * @bdf: bus, device and function number of the device
 * @root: guest physical address of the tables of SVM_PASID
 * @msi: guest physical address of MSIs
 * @ats: offset of the ATS capability of the device
 * @pasid: offset of its PASID capability
 * @pri: offset of its PRI capability
 */
typedef struct SvmTest {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QVtdPrq prq;
    uint16_t bdf;
    uint64_t root;
    uint64_t msi;
    uint16_t ats;
    uint16_t pasid;
    uint16_t pri;
} SvmTest;

/* ---- The device ---- */

/* Access a register, SVM_DEMO_REG_* */
void svm_write(SvmTest *t, unsigned reg, uint64_t val);
uint64_t svm_read(SvmTest *t, unsigned reg);

/* Returns the result of the last operation, SVM_DEMO_RESULT_* */
uint64_t svm_result(SvmTest *t);

/* Access configuration space of the device */
uint16_t svm_conf_readw(SvmTest *t, uint16_t reg);
void svm_conf_writew(SvmTest *t, uint16_t reg, uint16_t val);

/**
 * svm_conf_enable() - enable the device, with ATS, PRI, PASID and its MSI
 * @t: the test
 * @pri_alloc: Outstanding Page Request Allocation
 */
void svm_conf_enable(SvmTest *t, uint32_t pri_alloc);

/* ---- Setup ---- */

/**
 * svm_guest_init() - set up the IOMMU and the device, as a booting guest does
 * @t: the test, after svm_boot()
 * @pri_alloc: Outstanding Page Request Allocation
 */
void svm_guest_init(SvmTest *t, uint32_t pri_alloc);

/**
 * svm_boot() - set up the machine for the first time
 * @t: the test, with @qts and @bdf set
 * @pri_alloc: Outstanding Page Request Allocation
 */
void svm_boot(SvmTest *t, uint32_t pri_alloc);

/**
 * svm_start_with() - start a machine with the device at SVM_DEV
 * @t: the test to fill in
 * @pri_alloc: Outstanding Page Request Allocation
 * @args: further arguments of the emulator
 */
void svm_start_with(SvmTest *t, uint32_t pri_alloc, const char *args);

/* The same with an allocation of 32 requests, and without further arguments */
void svm_start(SvmTest *t);

/* Quit the emulator and free the test */
void svm_stop(SvmTest *t);

/* ---- The address space of the process ---- */

/* Returns the guest physical address of a new page, which is zeroed */
uint64_t svm_new_page(SvmTest *t);

/**
 * svm_map() - map a new page for the process
 * @t: the test
 * @addr: address in the process
 * @bits: permissions of the page, VTD_FL_*
 *
 * Returns: the guest physical address of the page.
 */
uint64_t svm_map(SvmTest *t, uint64_t addr, uint64_t bits);

/**
 * svm_unmap() - unmap a page, and invalidate the IOTLB and the device-TLB
 * @t: the test
 * @addr: address in the process
 */
void svm_unmap(SvmTest *t, uint64_t addr);

/**
 * svm_check_pattern() - check that memory holds what the device writes
 * @t: the test
 * @gpa: guest physical address
 * @len: length, in bytes
 * @pos: position of the first byte in the operation
 */
void svm_check_pattern(SvmTest *t, uint64_t gpa, size_t len, uint64_t pos);

/* Check that the guest physical range [gpa, gpa + len) is still zeroed */
void svm_check_untouched(SvmTest *t, uint64_t gpa, size_t len);

/* For svm_wait_until(): the device has written the page at @gpa */
bool svm_page_has_pattern(SvmTest *t, uint64_t gpa);

/* ---- Operations ---- */

/**
 * svm_begin() - start an operation
 * @t: the test
 * @command: SVM_DEMO_START_*
 * @addr: address in the process
 * @size: size, in bytes
 */
void svm_begin(SvmTest *t, unsigned command, uint64_t addr, uint64_t size);

/**
 * svm_wait_until() - wait for a condition; the test fails after 30 seconds
 * @t: the test
 * @done: returns whether the condition is true
 * @arg: second argument of @done
 */
void svm_wait_until(SvmTest *t, bool (*done)(SvmTest *t, uint64_t arg),
                    uint64_t arg);

/* Conditions for svm_wait_until(), which ignore @arg */
bool svm_msi_arrived(SvmTest *t, uint64_t arg);
bool svm_has_failed(SvmTest *t, uint64_t arg);

/* Check that no MSI arrives soon: the worker sends MSIs, maybe one too early */
void svm_check_no_msi(SvmTest *t);

/* Wait for the MSI of the operation; returns the result */
uint64_t svm_finish(SvmTest *t);

/* Run an operation; returns the result */
uint64_t svm_run(SvmTest *t, unsigned command, uint64_t addr, uint64_t size);

/* The same for SVM_DEMO_START_WRITE */
uint64_t svm_run_write(SvmTest *t, uint64_t addr, uint64_t size);

/* ---- Page requests ---- */

/* For svm_wait_until(): the queue holds @n requests or more */
bool svm_has_requests(SvmTest *t, uint64_t n);

/**
 * svm_expect_request() - wait for a page request and check it
 * @t: the test
 * @addr: expected address; its offset into the page does not matter
 * @is_write: whether the request asks for write permission, or for read
 * @rq: filled in
 */
void svm_expect_request(SvmTest *t, uint64_t addr, bool is_write,
                        QVtdPageReq *rq);

/**
 * svm_begin_and_fault() - start a write at SVM_ADDR and take its page request
 * @t: the test; the page at SVM_ADDR is not mapped
 * @rq: filled in
 *
 * The size is SVM_SHORT, or SVM_LONG in the long tests of svm_add_both().
 */
void svm_begin_and_fault(SvmTest *t, QVtdPageReq *rq);

/* Check that the device works after all that happened before */
void svm_check_alive(SvmTest *t);

/* ---- Fault injection ---- */

/**
 * svm_inject() - set a property of the device that injects a fault
 * @t: the test, with the device svm0
 * @name: name of the property
 * @value: the value
 */
void svm_inject(SvmTest *t, const char *name, unsigned value);

/* ---- Short and long operations ---- */

/**
 * svm_add_both() - add a test twice, as @name/short and @name/long
 * @name: path of the test
 * @test: the test, which uses svm_begin_and_fault()
 *
 * The vCPU that starts an operation runs it as far as it is short, a worker
 * thread runs the long ones.
 */
void svm_add_both(const char *name, void (*test)(void));

#endif
