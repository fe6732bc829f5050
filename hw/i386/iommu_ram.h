/*
 * Guest RAM for tables and queues of an IOMMU, without locks
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A walk touches one page per level and must not pay for a memory transaction
 * each time.  This keeps a short sorted list of the RAM in the system address
 * space, replaced as a whole when the memory map changes and read under RCU.
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
 * @listener: keeps @map up to date
 * @map: what is there, read under RCU
 * @next: what will be there, while a transaction of the memory map is open
 */
typedef struct IOMMURam {
    IOMMUWalkMem mem;
    MemoryListener listener;
    IOMMURamMap *map;
    IOMMURamMap *next;
} IOMMURam;

/**
 * iommu_ram_init: start following the system address space
 *
 * Called once, with the BQL; there is no counterpart, as an IOMMU lives as long
 * as the machine.
 *
 * @ram: what to initialize
 */
void iommu_ram_init(IOMMURam *ram);

/**
 * iommu_ram_read: read quadwords of a translation structure
 *
 * Each quadword is read at once, and converted from little endian.  Callable
 * from any thread, within an RCU read-side critical section.
 *
 * @ram: view of guest RAM
 * @addr: guest physical address; may have any value
 * @val: where to put the quadwords
 * @n: their number, from 1 to 512
 *
 * Returns: false, with nothing read, if @addr is not a multiple of 8, or if
 * any byte of the quadwords is not RAM or ROM.  Quadwords that lie in two
 * memory regions are not read either.
 */
bool iommu_ram_read(const IOMMURam *ram, hwaddr addr, uint64_t *val,
                    unsigned n);

/**
 * iommu_ram_write: write quadwords
 *
 * Each quadword is written at once, in little endian.  Callable from any
 * thread, within an RCU read-side critical section.
 *
 * @ram: view of guest RAM
 * @addr: guest physical address; may have any value
 * @val: the quadwords
 * @n: their number, from 1 to 512
 *
 * Returns: false, with nothing written, if @addr is not a multiple of 8, or if
 * any byte of the quadwords is not RAM, or read-only.  Quadwords that lie in
 * two memory regions are not written either.
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
 * @old: what the entry was when it was read
 * @flags: bits to set
 *
 * Returns: 0, also if the bits were set in @old; -EAGAIN if the entry is not
 * @old any more; -EFAULT if @addr is not a multiple of 8, not RAM, or read-only
 */
int iommu_ram_set_flags(const IOMMURam *ram, hwaddr addr, uint64_t old,
                        uint64_t flags);

#endif
