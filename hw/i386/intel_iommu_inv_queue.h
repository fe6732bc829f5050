/*
 * VT-d: processing of the invalidation queue in slices
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The IOMMU processes descriptors in the order of the queue, and advances IQH
 * after each, so that a wait descriptor completes after all descriptors ahead
 * of it (6.5.2.12), whichever slice processes it.  The registers alone
 * determine the remaining work, so that it survives migration.  See
 * sliced_queue.h.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#ifndef HW_I386_INTEL_IOMMU_INV_QUEUE_H
#define HW_I386_INTEL_IOMMU_INV_QUEUE_H

#include "hw/i386/intel_iommu.h"

/* The work of an update of the memory map, in the units of sliced_queue.h */
#define VTD_INV_WORK_MEMORY_MAP     1024

/**
 * vtd_inv_queue_new: create the sliced queue for the invalidation queue
 *
 * Called once, with the BQL held.
 *
 * @s: the IOMMU
 *
 * Returns: the queue; it lives as long as the IOMMU
 */
VTDInvQueue *vtd_inv_queue_new(IntelIOMMUState *s);

/**
 * vtd_inv_queue_reset: cancel the next slices
 *
 * Called with the BQL held, not from within a descriptor.
 *
 * @q: the queue
 */
void vtd_inv_queue_reset(VTDInvQueue *q);

/**
 * vtd_inv_queue_run: process descriptors if the conditions are met (6.5.2)
 *
 * Call it when one of the conditions may have become true: the guest has
 * written IQT, cleared IQE, or enabled the queue.  When this returns, the first
 * slice has been processed.  If slices for earlier descriptors are still to
 * come, they process the new descriptors, too.  While the machine is stopped,
 * only the first slice runs; the others follow when the machine runs.
 *
 * Called with the BQL held.
 *
 * @q: the queue
 */
void vtd_inv_queue_run(VTDInvQueue *q);

/**
 * vtd_inv_queue_has_work: check whether there are descriptors to process
 *
 * Called with the BQL held.
 *
 * @q: the queue
 *
 * Returns: false if the queue is empty, disabled, or stopped by an error
 */
bool vtd_inv_queue_has_work(const VTDInvQueue *q);

/**
 * vtd_inv_queue_next: check whether this slice includes another descriptor
 *
 * Called with the BQL held, while a slice is processed.  Accounts for one unit
 * of work.
 *
 * @q: the queue
 *
 * Returns: false if the queue is empty or the slice is used up
 */
bool vtd_inv_queue_next(VTDInvQueue *q);

/**
 * vtd_inv_queue_charge: account for work
 *
 * Called with the BQL held.  Outside of a slice it has no effect.
 *
 * @q: the queue
 * @work: in units, see above; a single call never exceeds what one descriptor
 *     can cause
 */
void vtd_inv_queue_charge(VTDInvQueue *q, unsigned work);

/**
 * vtd_inv_queue_charge_desc: account for a descriptor
 *
 * Does not include the unit of vtd_inv_queue_next(), drains of untranslated
 * requests, nor the work that iommu_dev_tlb_invalidate() returns.  Called with
 * the BQL held, while a slice is processed.
 *
 * @q: the queue
 * @lo: first quadword of the descriptor, in host byte order
 */
void vtd_inv_queue_charge_desc(VTDInvQueue *q, uint64_t lo);

#endif
