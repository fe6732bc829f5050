/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libqos VT-d driver: tables of legacy and scalable mode, invalidation queue
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * Section numbers are those of the Intel VT-d specification, revision 5.
 */

#ifndef LIBQOS_VTD_H
#define LIBQOS_VTD_H

#include "../libqtest.h"
#include "libqos-malloc.h"

/**
 * struct QVtd - the driver of a VT-d unit
 * @qts: the emulator; a test may set it to the destination of a migration
 * @alloc: allocator of guest memory for the tables
 * @root: guest physical address of the root table
 * @iq: guest physical address of the invalidation queue
 * @iq_tail: index of the next free descriptor
 * @status: guest physical address of the status of wait descriptors
 * @seq: status data of the last wait descriptor
 * @scalable: use scalable mode; a test sets it before qvtd_enable()
 *
 * The driver is not thread-safe.
 */
typedef struct QVtd {
    QTestState *qts;
    QGuestAllocator *alloc;
    uint64_t root;
    uint64_t iq;
    unsigned iq_tail;
    uint64_t status;
    uint32_t seq;
    bool scalable;
} QVtd;

/**
 * qvtd_init() - prepare the driver of the VT-d unit of a q35 machine
 * @vtd: the driver to fill in
 * @qts: the emulator
 * @alloc: allocator of guest memory, which is never freed
 *
 * Allocates an empty root table and an invalidation queue.  Does not access
 * registers.
 */
void qvtd_init(QVtd *vtd, QTestState *qts, QGuestAllocator *alloc);

/*
 * qvtd_read*(), qvtd_write*() - access a register of a q35 machine's VT-d unit
 * @qts: the emulator
 * @reg: offset, DMAR_*_REG
 */
uint32_t qvtd_readl(QTestState *qts, unsigned reg);
uint64_t qvtd_readq(QTestState *qts, unsigned reg);
void qvtd_writel(QTestState *qts, unsigned reg, uint32_t val);
void qvtd_writeq(QTestState *qts, unsigned reg, uint64_t val);

/**
 * struct QVtdFault - a fault that the unit has recorded (11.4.7.6)
 * @reason: fault reason
 * @at: address type of the request
 * @sid: source id
 * @has_pasid: the request had a PASID
 * @pasid: the PASID, 0 without one
 * @addr: address of the page
 * @t1: T1, clear for a write or a page request
 * @t2: T2, set for a page request
 */
typedef struct QVtdFault {
    uint8_t reason;
    unsigned at;
    uint16_t sid;
    bool has_pasid;
    uint32_t pasid;
    uint64_t addr;
    bool t1;
    bool t2;
} QVtdFault;

/**
 * qvtd_take_fault() - read fault recording register 0 and clear it
 * @qts: the emulator
 *
 * Returns: the fault.  The test fails if none has been recorded.
 */
QVtdFault qvtd_take_fault(QTestState *qts);

/**
 * qvtd_set_root() - use another root table while translation is enabled
 * @qts: the emulator
 * @root: value of RTADDR_REG (11.4.5)
 *
 * Nothing is invalidated.
 */
void qvtd_set_root(QTestState *qts, uint64_t root);

/**
 * qvtd_enable() - switch on queued invalidation and translation
 * @vtd: the driver
 *
 * Programs RTADDR_REG and IQA_REG and sets SRTP, QIE and TE (11.4.4).
 */
void qvtd_enable(QVtd *vtd);

/**
 * qvtd_new_table() - allocate an empty page for a table
 * @vtd: the driver
 *
 * Returns: the guest physical address of the page; all entries are 0.
 */
uint64_t qvtd_new_table(QVtd *vtd);

/**
 * qvtd_attach() - write the context entry of a function (9.3)
 * @vtd: the driver
 * @bdf: bus, device and function number
 * @did: domain id, 1 to 65535
 * @sspt: guest physical address of a 4-level second-stage table
 * @device_tlb: true for translation type 01b (translation requests are
 *              permitted), false for 00b
 *
 * The context cache is not invalidated.
 */
void qvtd_attach(QVtd *vtd, uint16_t bdf, uint16_t did, uint64_t sspt,
                 bool device_tlb);

/**
 * qvtd_map() - map a page in a 4-level second-stage table (9.8)
 * @vtd: the driver
 * @sspt: guest physical address of the table
 * @iova: input address, below 2^48, a multiple of @size
 * @gpa: guest physical address, a multiple of @size
 * @size: 4 KiB or 2 MiB, in bytes
 *
 * The page is readable and writable.  Nothing is invalidated.
 */
void qvtd_map(QVtd *vtd, uint64_t sspt, uint64_t iova, uint64_t gpa,
              uint64_t size);

/**
 * qvtd_unmap() - remove a page from the table to which qvtd_map() has added it
 * @vtd: the driver
 * @sspt: guest physical address of the table
 * @iova: any address in the page
 *
 * Nothing is invalidated.
 */
void qvtd_unmap(QVtd *vtd, uint64_t sspt, uint64_t iova);

/**
 * qvtd_inv_global() - invalidate all of the context cache, PASID cache and
 * IOTLB
 * @vtd: the driver
 *
 * This function and the functions below submit descriptors (6.5.2) followed by
 * a wait descriptor.  The test fails if the wait descriptor does not complete.
 */
void qvtd_inv_global(QVtd *vtd);

/**
 * qvtd_inv_domain() - invalidate the IOTLB entries of a domain (6.5.2.3)
 * @vtd: the driver
 * @did: domain id
 */
void qvtd_inv_domain(QVtd *vtd, uint16_t did);

/**
 * qvtd_inv_pages() - invalidate IOTLB entries of a range (6.5.2.3)
 * @vtd: the driver
 * @did: domain id
 * @iova: start of the range, multiple of its size
 * @am: the range has 2^@am pages of 4 KiB; 0 to 18
 */
void qvtd_inv_pages(QVtd *vtd, uint16_t did, uint64_t iova, unsigned am);

/**
 * qvtd_inv_pasid() - invalidate the IOTLB entries of a PASID (6.5.2.4)
 * @vtd: the driver, in scalable mode
 * @did: domain id
 * @pasid: 0 to 0xfffff
 */
void qvtd_inv_pasid(QVtd *vtd, uint16_t did, uint32_t pasid);

/**
 * qvtd_inv_pasid_pages() - invalidate a range of a PASID in the IOTLB (6.5.2.4)
 * @vtd: the driver, in scalable mode
 * @did: domain id
 * @pasid: 0 to 0xfffff
 * @iova: start of the range, multiple of its size
 * @am: the range has 2^@am pages of 4 KiB; 0 to 63
 */
void qvtd_inv_pasid_pages(QVtd *vtd, uint16_t did, uint32_t pasid,
                          uint64_t iova, unsigned am);

/**
 * qvtd_inv_device_tlb() - invalidate a range in a device-TLB (6.5.2.5)
 * @vtd: the driver
 * @bdf: bus, device and function number
 * @addr: address field of the descriptor
 * @s: S bit of the descriptor: @addr encodes a size above 4 KiB
 */
void qvtd_inv_device_tlb(QVtd *vtd, uint16_t bdf, uint64_t addr, bool s);

/**
 * qvtd_submit() - submit a descriptor (6.5.2) and wait for its completion
 * @vtd: the driver
 * @lo: first quadword
 * @hi: second quadword
 */
void qvtd_submit(QVtd *vtd, uint64_t lo, uint64_t hi);

/**
 * qvtd_queue() - add a descriptor (6.5.2) to the queue, and do not submit it
 * @vtd: the driver
 * @lo: first quadword
 * @hi: second quadword
 *
 * qvtd_wait(), or the next function that submits a descriptor, submits this one
 * as well.
 *
 * Returns: the guest physical address of the descriptor.
 */
uint64_t qvtd_queue(QVtd *vtd, uint64_t lo, uint64_t hi);

/**
 * qvtd_wait() - submit the descriptors in the queue and wait for their
 * completion
 * @vtd: the driver
 */
void qvtd_wait(QVtd *vtd);

/**
 * qvtd_submit_nowait() - submit a descriptor without a wait descriptor
 * @vtd: the driver
 * @lo: first quadword
 * @hi: second quadword
 *
 * Returns: guest physical address of the descriptor.
 */
uint64_t qvtd_submit_nowait(QVtd *vtd, uint64_t lo, uint64_t hi);

/**
 * qvtd_submit_all_nowait() - submit a descriptor of 256 bits without waiting
 * @vtd: the driver, in scalable mode
 * @val: the descriptor
 *
 * Returns: guest physical address of the descriptor.
 */
uint64_t qvtd_submit_all_nowait(QVtd *vtd, const uint64_t val[4]);

/**
 * qvtd_map_entry() - write an entry of a paging structure (9.7, 9.8)
 * @vtd: the driver
 * @root: guest physical address of the top table
 * @levels: number of levels, 3 to 5
 * @addr: input address
 * @size: size of the page: 4 KiB, 2 MiB or 1 GiB
 * @entry: the entry, to which the page size bit is added
 * @table_bits: permission bits of entries for tables that have to be allocated
 *
 * Returns: guest physical address of the entry.
 */
uint64_t qvtd_map_entry(QVtd *vtd, uint64_t root, unsigned levels,
                        uint64_t addr, uint64_t size, uint64_t entry,
                        uint64_t table_bits);

/**
 * qvtd_sm_attach() - write the scalable-mode context entry of a function (9.4)
 * @vtd: the driver
 * @bdf: bus, device and function number
 * @bits: bits to set in the first quadword besides P
 * @rid_pasid: PASID of requests without PASID
 *
 * Returns: guest physical address of the PASID directory, for PASIDs up to 8191
 * (PDTS is 0).
 */
uint64_t qvtd_sm_attach(QVtd *vtd, uint16_t bdf, uint64_t bits,
                        uint32_t rid_pasid);

/**
 * qvtd_sm_context() - find the scalable-mode context entry of a function
 * @vtd: the driver
 * @bdf: bus, device and function number, after qvtd_sm_attach()
 *
 * Returns: guest physical address of the entry.
 */
uint64_t qvtd_sm_context(QVtd *vtd, uint16_t bdf);

/**
 * qvtd_sm_pasid() - write a PASID-table entry (9.6)
 * @vtd: the driver
 * @dir: guest physical address of the PASID directory
 * @pasid: 0 to 8191
 * @pe0: first quadword
 * @pe1: second quadword
 * @pe2: third quadword
 *
 * Returns: guest physical address of the entry.
 */
uint64_t qvtd_sm_pasid(QVtd *vtd, uint64_t dir, uint32_t pasid, uint64_t pe0,
                       uint64_t pe1, uint64_t pe2);

#endif
