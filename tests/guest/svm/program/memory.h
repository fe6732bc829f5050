/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The kinds of memory that a program can pass to a device.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stddef.h>

#define KIB		((size_t)1 << 10)
#define MIB		((size_t)1 << 20)
#define GIB		((size_t)1 << 30)
#define PAGE		(4 * KIB)

/** map: Map anonymous private memory; never fails. */
void *map(size_t size);

/** map_at: The same at a fixed address, which must be free. */
void *map_at(void *addr, size_t size);

/**
 * map_huge: Map anonymous memory in pages of 2 MiB or 1 GiB (hugetlbfs).
 *
 * Requests more such pages from the kernel if there are too few.  Returns NULL
 * if it has none.
 */
void *map_huge(size_t size, size_t page);

/** map_file: Map a new, unlinked file below /tmp or $SVM_FILES. */
void *map_file(size_t size, int flags, int *file);

/** page_is_swapped: Returns the state from /proc/self/pagemap. */
bool page_is_swapped(const volatile void *addr);

/** have_swap: Returns whether the system has free swap space. */
bool have_swap(void);

#endif
