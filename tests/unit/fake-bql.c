/*
 * The BQL for tests that are linked without QEMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Replaces the functions of qemu/main-loop.h: bql_lock(), bql_unlock() and
 * bql_locked() have the same effect as in QEMU.
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"

static QemuMutex bql;
static __thread bool has_bql;

/*
 * Before the constructor of util/rcu.c creates a thread that takes the lock:
 * TSan sees that this thread starts after the initialization.
 */
static __attribute__((constructor(101))) void bql_init(void)
{
    qemu_mutex_init(&bql);
}

bool bql_locked(void)
{
    return has_bql;
}

void bql_lock_impl(const char *file, int line)
{
    g_assert_false(has_bql);
    qemu_mutex_lock(&bql);
    has_bql = true;
}

void bql_unlock(void)
{
    g_assert_true(has_bql);
    has_bql = false;
    qemu_mutex_unlock(&bql);
}
