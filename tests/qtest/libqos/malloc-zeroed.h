/*
 * libqos malloc support: guest memory that is zeroed
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBQOS_MALLOC_ZEROED_H
#define LIBQOS_MALLOC_ZEROED_H

#include "libqos-malloc.h"

/**
 * guest_alloc_zeroed() - allocate whole pages of guest memory and zero them
 * @alloc: the allocator
 * @qts: the emulator
 * @size: in bytes, rounded up to whole pages
 *
 * Returns: the guest physical address of the first page.
 */
static inline uint64_t guest_alloc_zeroed(QGuestAllocator *alloc,
                                          QTestState *qts, size_t size)
{
    uint64_t addr = guest_alloc(alloc, size);

    qtest_memset(qts, addr, 0, ROUND_UP(size, alloc->page_size));
    return addr;
}

#endif
