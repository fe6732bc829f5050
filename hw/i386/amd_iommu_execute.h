/*
 * AMD-Vi: execution of commands
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * amdvi_cmdbuf_process() fetches commands, checks them, and executes each in a
 * small function.  A command that is illegal has no effect at all.
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#ifndef HW_I386_AMD_IOMMU_EXECUTE_H
#define HW_I386_AMD_IOMMU_EXECUTE_H

#include "amd_iommu_command.h"

/**
 * typedef AMDVICommandHook - what a command does for device TLBs and PASIDs
 *
 * AMDVIState.command_hook is called with the BQL held, for every legal command,
 * after its effect on the caches of the IOMMU, and before the store and the
 * interrupt of COMPLETION_WAIT.
 *
 * @s: the IOMMU
 * @command: the command
 */
typedef void AMDVICommandHook(AMDVIState *s, const AMDVICommand *command);

#endif
