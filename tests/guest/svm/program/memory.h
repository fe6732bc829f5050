/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Memory of every kind that a program can hand to a device.
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

/** map: Anonymous private memory; never fails. */
void *map(size_t size);

/** map_at: The same at a fixed address that is free. */
void *map_at(void *addr, size_t size);

/**
 * map_huge: Anonymous memory in pages of 2 MiB or 1 GiB (hugetlbfs).
 *
 * Asks the kernel for more such pages when there are too few.  Returns NULL
 * when it has none.
 */
void *map_huge(size_t size, size_t page);

/** map_file: A file of @size bytes below /tmp or $SVM_FILES, unlinked. */
void *map_file(size_t size, int flags, int *file);

/** page_is_swapped: From /proc/self/pagemap. */
bool page_is_swapped(const volatile void *addr);

/** have_swap: Whether the system has any swap space left. */
bool have_swap(void);

#endif
