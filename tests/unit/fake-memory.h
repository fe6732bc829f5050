/*
 * Guest RAM for code with a listener on the system address space
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Replaces the memory API in tests of hw/i386/iommu_ram.c and of the
 * code that uses it.
 */

#ifndef TESTS_UNIT_FAKE_MEMORY_H
#define TESTS_UNIT_FAKE_MEMORY_H

#include "exec/memory.h"

#define FAKE_MEMORY_PAGES       64
#define FAKE_MEMORY_ENTRIES     (FAKE_MEMORY_PAGES * 512)

/* Guest physical memory, from address 0 on */
extern uint64_t fake_memory[FAKE_MEMORY_ENTRIES];

/**
 * fake_memory_map: change the memory map, and notify the listener
 *
 * @pages: number of pages from address 0 on, at most FAKE_MEMORY_PAGES
 * @rom_pages: number of read-only pages among them, at the end
 */
void fake_memory_map(unsigned pages, unsigned rom_pages);

/* Called after the code under test has changed memory, unless NULL */
extern void (*fake_memory_changed)(void);

/* Returns the number of references to the region */
int fake_memory_references(void);

#endif
