/*
 * VT-d: page request queue
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The registers PQH_REG to PEUADDR_REG (11.4.11), the ring in guest memory that
 * they describe, and the page request event (7.5).  The caller is responsible
 * for the contents of descriptors and for responses.
 *
 * Threads of device models add descriptors while a guest accesses the
 * registers.  All functions are callable from any thread, with or without the
 * BQL, unless their descriptions say otherwise.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#ifndef HW_I386_INTEL_IOMMU_PRQ_H
#define HW_I386_INTEL_IOMMU_PRQ_H

#include "exec/hwaddr.h"
#include "migration/vmstate.h"

/* The block of registers, and how many words of 32 bits it has */
#define VTD_PRQ_FIRST_REG   0xc0
#define VTD_PRQ_LAST_REG    0xef
#define VTD_PRQ_WORDS       ((VTD_PRQ_LAST_REG + 1 - VTD_PRQ_FIRST_REG) / 4)

/* PQH_REG, PQT_REG: offset in the queue */
#define VTD_PRQ_OFFSET_MASK 0x7ffe0u

/* PQA_REG */
#define VTD_PQA_PQS         0x7ULL

/* PRS_REG */
#define VTD_PRS_PPR         (1u << 0)
#define VTD_PRS_PRO         (1u << 1)

/* PECTL_REG */
#define VTD_PECTL_IP        (1u << 30)
#define VTD_PECTL_IM        (1u << 31)

/* A descriptor has 256 bits (7.4.1) */
#define VTD_PRQ_DESC_SIZE   32
#define VTD_PRQ_DESC_QUADS  (VTD_PRQ_DESC_SIZE / 8)

/* Page request descriptor (7.4.1.1) */
#define VTD_PAGE_REQ_TYPE           0x1ULL
#define VTD_PAGE_REQ_PP             (1ULL << 8)
#define VTD_PAGE_REQ_RID(sid)       ((uint64_t)(sid) << 16)
#define VTD_PAGE_REQ_PASID(pasid)   ((uint64_t)(pasid) << 32)
#define VTD_PAGE_REQ_EXR            (1ULL << 52)
#define VTD_PAGE_REQ_PMR            (1ULL << 53)
/* Second quadword */
#define VTD_PAGE_REQ_RDR            (1ULL << 0)
#define VTD_PAGE_REQ_WRR            (1ULL << 1)
#define VTD_PAGE_REQ_LPIG           (1ULL << 2)
#define VTD_PAGE_REQ_PRGI(prgi)     ((uint64_t)(prgi) << 3)
#define VTD_PAGE_REQ_ADDR(addr)     ((addr) & ~0xfffULL)

typedef struct VTDPageRequestQueue VTDPageRequestQueue;

/**
 * VTDPRQWrite: write a descriptor to guest memory
 *
 * Called with the lock of the queue held, from any thread.
 *
 * @opaque: from vtd_prq_new()
 * @addr: guest physical address, a multiple of VTD_PRQ_DESC_SIZE
 * @desc: VTD_PRQ_DESC_QUADS quadwords, in host byte order
 *
 * Returns: false if @addr is not memory that can be written
 */
typedef bool VTDPRQWrite(void *opaque, hwaddr addr, const uint64_t *desc);

/**
 * enum VTDPRQResult: result of adding a descriptor
 *
 * @VTD_PRQ_DELIVERED: the descriptor is in the queue
 * @VTD_PRQ_OVERFLOW: dropped, the queue is full or PRO is set
 * @VTD_PRQ_NO_QUEUE: dropped, PQA_REG is as after reset or does not contain the
 *                    address of memory
 */
typedef enum VTDPRQResult {
    VTD_PRQ_DELIVERED,
    VTD_PRQ_OVERFLOW,
    VTD_PRQ_NO_QUEUE,
} VTDPRQResult;

/**
 * vtd_prq_new: create a queue, with the registers as after reset
 *
 * Called with the BQL held.
 *
 * @haw: host address width, in bits; bits of PQA_REG above are not implemented
 * @eim: Extended Interrupt Mode is supported: PEUADDR_REG is implemented
 * @write: writes descriptors to guest memory
 * @opaque: for @write
 *
 * Returns: the queue; it lives as long as the machine
 */
VTDPageRequestQueue *vtd_prq_new(unsigned haw, bool eim, VTDPRQWrite *write,
                                 void *opaque);

/**
 * vtd_prq_reset: give the registers their default values
 *
 * @q: the queue
 */
void vtd_prq_reset(VTDPageRequestQueue *q);

/**
 * vtd_prq_read: read one or two registers (11.2)
 *
 * @q: the queue
 * @reg: offset, VTD_PRQ_FIRST_REG to VTD_PRQ_LAST_REG, a multiple of @size
 * @size: 4 or 8 bytes
 *
 * Returns: the value; 0 where there is no register
 */
uint64_t vtd_prq_read(VTDPageRequestQueue *q, hwaddr reg, unsigned size);

/**
 * vtd_prq_write: write one or two registers (11.2)
 *
 * May make an event due, see vtd_prq_take_event().
 *
 * @q: the queue
 * @reg: offset, VTD_PRQ_FIRST_REG to VTD_PRQ_LAST_REG, a multiple of @size
 * @val: the value
 * @size: 4 or 8 bytes
 */
void vtd_prq_write(VTDPageRequestQueue *q, hwaddr reg, uint64_t val,
                   unsigned size);

/**
 * vtd_prq_save: take a snapshot of all registers, for migration
 *
 * @q: the queue
 * @words: filled in
 */
void vtd_prq_save(VTDPageRequestQueue *q, uint32_t words[VTD_PRQ_WORDS]);

/**
 * vtd_prq_load: set all registers to values from vtd_prq_save()
 *
 * Ignores bits that are not implemented.  May make an event due.
 *
 * @q: the queue
 * @words: the registers
 */
void vtd_prq_load(VTDPageRequestQueue *q, const uint32_t words[VTD_PRQ_WORDS]);

/**
 * vtd_prq_put: add a descriptor (7.4.1)
 *
 * @q: the queue
 * @desc: VTD_PRQ_DESC_QUADS quadwords
 * @event: set to true if an event is due now, see vtd_prq_take_event()
 *
 * Returns: the result
 */
VTDPRQResult vtd_prq_put(VTDPageRequestQueue *q, const uint64_t *desc,
                         bool *event);

/**
 * vtd_prq_take_event: begin to send the page request event (7.5)
 *
 * An event is due while Interrupt Pending is set and Interrupt Mask is clear.
 * Clears Interrupt Pending; the caller has to send the interrupt.
 *
 * @q: the queue
 * @addr: set to the address of the message
 * @data: set to the data of the message
 *
 * Returns: false if none is due
 */
bool vtd_prq_take_event(VTDPageRequestQueue *q, uint64_t *addr, uint32_t *data);

/**
 * vtd_prq_send_event: send the page request event if it is due (7.5)
 *
 * Called with the BQL held.
 *
 * @q: the queue
 */
void vtd_prq_send_event(VTDPageRequestQueue *q);

/**
 * vtd_prq_raise_event: send the page request event, or let the main loop do so
 *
 * Interrupts need the BQL, for which threads of device models must not wait: if
 * the caller does not hold it, the main loop sends the event.  If the caller
 * holds the BQL, this function may access guest memory, and thereby registers
 * of the IOMMU.
 *
 * @q: the queue
 */
void vtd_prq_raise_event(VTDPageRequestQueue *q);

/* The registers; an event that is due is sent before they are saved */
extern const VMStateDescription vtd_vmstate_prq;

#endif
