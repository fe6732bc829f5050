/*
 * The BQL for tests that are linked without QEMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "fake-bql.h"

static QemuMutex bql;
static __thread bool has_bql;

void fake_bql_init(void)
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
