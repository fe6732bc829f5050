/*
 * Guest RAM for tables and queues of an IOMMU, without locks
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A walk reads one page per level, and a memory transaction for each would be
 * too slow.  The view is a short sorted list of the RAM in the system address
 * space; it is replaced as a whole when the memory map changes, and read under
 * RCU.
 */

#ifndef HW_I386_IOMMU_RAM_H
#define HW_I386_IOMMU_RAM_H

#include "exec/memory.h"
#include "iommu_walk.h"

typedef struct IOMMURamMap IOMMURamMap;

/**
 * struct IOMMURam: view of guest RAM
 *
 * @mem: for walks of page tables
 * @listener: updates @map
 * @map: the current list, read under RCU
 * @next: the new list, during a transaction of the memory map
 */
typedef struct IOMMURam {
    IOMMUWalkMem mem;
    MemoryListener listener;
    IOMMURamMap *map;
    IOMMURamMap *next;
} IOMMURam;

/**
 * iommu_ram_init: create a view of the system address space
 *
 * Called once, with the BQL held.  There is no counterpart, since an IOMMU
 * lives as long as the machine.
 *
 * @ram: the view
 */
void iommu_ram_init(IOMMURam *ram);

/**
 * iommu_ram_read: read quadwords of a translation structure
 *
 * Each quadword is read atomically, and converted from little endian.  Callable
 * from any thread, within an RCU read-side critical section.
 *
 * @ram: view of guest RAM
 * @addr: guest physical address; may have any value
 * @val: set to the quadwords
 * @n: their number, from 1 to 512
 *
 * Returns: false, with nothing read, if @addr is not a multiple of 8, or if
 * any byte of the quadwords is not RAM or ROM, or if they are in two memory
 * regions
 */
bool iommu_ram_read(const IOMMURam *ram, hwaddr addr, uint64_t *val,
                    unsigned n);

/**
 * iommu_ram_write: write quadwords
 *
 * Each quadword is written atomically, in little endian.  Callable from any
 * thread, within an RCU read-side critical section.
 *
 * @ram: view of guest RAM
 * @addr: guest physical address; may have any value
 * @val: the quadwords
 * @n: their number, from 1 to 512
 *
 * Returns: false, with nothing written, if @addr is not a multiple of 8, or if
 * any byte of the quadwords is not RAM or is read-only, or if they are in two
 * memory regions
 */
bool iommu_ram_write(const IOMMURam *ram, hwaddr addr, const uint64_t *val,
                     unsigned n);

/**
 * iommu_ram_set_flags: set bits in a paging entry, unless it has changed
 *
 * Callable from any thread, within an RCU read-side critical section.
 *
 * @ram: view of guest RAM
 * @addr: guest physical address of the entry; may have any value
 * @old: the entry as it was read before
 * @flags: bits to set
 *
 * Returns: 0, even if the bits are set in @old; -EAGAIN if the entry differs
 * from @old; -EFAULT if @addr is not a multiple of 8, not RAM, or read-only
 */
int iommu_ram_set_flags(const IOMMURam *ram, hwaddr addr, uint64_t old,
                        uint64_t flags);

#endif
