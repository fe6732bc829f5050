/*
 * Guest RAM for code that follows the system address space
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Stands in for the memory API in tests of hw/i386/intel_iommu_ram.c and what
 * is above it.
 */

#ifndef TESTS_UNIT_FAKE_MEMORY_H
#define TESTS_UNIT_FAKE_MEMORY_H

#include "exec/memory.h"

#define FAKE_MEMORY_PAGES       64
#define FAKE_MEMORY_ENTRIES     (FAKE_MEMORY_PAGES * 512)

/* Guest physical memory from address 0 on */
extern uint64_t fake_memory[FAKE_MEMORY_ENTRIES];

/**
 * fake_memory_map: change the memory map, and tell the listener
 *
 * @pages: how many pages there are from address 0 on, at most
 *         FAKE_MEMORY_PAGES
 * @rom_pages: how many of them, at the end, cannot be written
 */
void fake_memory_map(unsigned pages, unsigned rom_pages);

/* Called when code under test has changed memory, unless NULL */
extern void (*fake_memory_changed)(void);

/* References to the region that have not been dropped */
int fake_memory_references(void);

#endif
