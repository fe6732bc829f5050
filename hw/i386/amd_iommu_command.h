/*
 * AMD-Vi: formats of commands
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#ifndef HW_I386_AMD_IOMMU_COMMAND_H
#define HW_I386_AMD_IOMMU_COMMAND_H

#include "amd_iommu.h"

/**
 * struct AMDVICommand - the fields of a command (2.4)
 *
 * Fields that the command does not have are 0.
 *
 * @opcode: AMDVI_CMD_*
 * @devid: DeviceID
 * @domid: DomainID
 * @pasid: PASID if GN is set, PCI_NO_PASID otherwise
 * @addr: PREFETCH_IOMMU_PAGES: address of the first page; INVALIDATE_*: first
 *     address of a range that is aligned to its size
 * @addr_mask: INVALIDATE_*: size of the range minus 1
 * @store: COMPLETION_WAIT: s, store @data at @store_addr
 * @interrupt: COMPLETION_WAIT: i, set ComWaitInt
 * @store_addr: COMPLETION_WAIT: Store Address
 * @data: COMPLETION_WAIT: Store Data
 * @max_pend: INVALIDATE_IOTLB_PAGES: Maxpend, 0 to 255
 * @queue_id: INVALIDATE_IOTLB_PAGES: QueueID
 * @count: PREFETCH_IOMMU_PAGES: PFCount
 * @inval: PREFETCH_IOMMU_PAGES: invalidate the pages before
 * @tag: COMPLETE_PPR_REQUEST: Completion Tag, which contains the response code
 */
struct AMDVICommand {
    uint8_t opcode;
    uint16_t devid;
    uint16_t domid;
    uint32_t pasid;
    hwaddr addr;
    hwaddr addr_mask;
    bool store;
    bool interrupt;
    hwaddr store_addr;
    uint64_t data;
    uint8_t max_pend;
    uint16_t queue_id;
    uint8_t count;
    bool inval;
    uint16_t tag;
};

/**
 * amdvi_command_decode: check a command and split it into its fields
 *
 * Callable from any thread.
 *
 * @cmd: the command, in host byte order
 * @features: the Extended Feature Register (MMIO 0030h)
 * @command: set to the fields, even if the command is illegal
 *
 * Returns: false if the command is illegal: if there is no such command, if it
 * is not among the features, or if a reserved bit is set (2.5.6)
 */
bool amdvi_command_decode(const uint64_t cmd[2], uint64_t features,
                          AMDVICommand *command);

#endif
