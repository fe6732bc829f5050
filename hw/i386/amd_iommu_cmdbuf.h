/*
 * AMD-Vi: processing of the command buffer in slices
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The IOMMU executes commands in the order of the buffer, and advances the head
 * pointer after each, so that COMPLETION_WAIT completes after all commands
 * ahead of it (2.4.1), whichever slice executes it.  See sliced_queue.h.
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#ifndef HW_I386_AMD_IOMMU_CMDBUF_H
#define HW_I386_AMD_IOMMU_CMDBUF_H

#include "amd_iommu.h"
#include "sliced_queue.h"

/**
 * amdvi_cmdbuf_init: create the sliced queue for the command buffer
 *
 * Called once, with the BQL held.
 *
 * @s: the IOMMU
 */
void amdvi_cmdbuf_init(AMDVIState *s);

/**
 * amdvi_cmdbuf_reset: cancel the next slices
 *
 * Called with the BQL held, not from within a command.
 *
 * @s: the IOMMU
 */
void amdvi_cmdbuf_reset(AMDVIState *s);

/**
 * amdvi_cmdbuf_run: execute commands if the buffer is enabled, or else stop
 *
 * Called with the BQL held, when the guest has written the control register or
 * one of the pointers (MMIO 0018h, 2000h, 2008h), not from within a command.
 * When this returns, the first slice has been processed, or the next slices
 * have been cancelled.  If slices for earlier commands are still to come, they
 * execute the new commands, too.
 *
 * @s: the IOMMU
 */
void amdvi_cmdbuf_run(AMDVIState *s);

/**
 * amdvi_cmdbuf_next: check whether this slice includes another command
 *
 * Called with the BQL held, from within amdvi_cmdbuf_process().
 *
 * @s: the IOMMU
 *
 * Returns: false if the buffer is empty or the slice is used up
 */
bool amdvi_cmdbuf_next(AMDVIState *s);

/**
 * amdvi_cmdbuf_charge: account for work
 *
 * Called with the BQL held, from within amdvi_cmdbuf_process().
 *
 * @s: the IOMMU
 * @work: in the units of sliced_queue.h
 */
void amdvi_cmdbuf_charge(AMDVIState *s, unsigned work);

/**
 * amdvi_cmdbuf_charge_command: account for a command
 *
 * Does not include events, drains, nor work that depends on address spaces.
 * Called with the BQL held, from within amdvi_cmdbuf_process().
 *
 * @s: the IOMMU
 * @lo: first quadword of the command, in host byte order
 */
void amdvi_cmdbuf_charge_command(AMDVIState *s, uint64_t lo);

#endif
