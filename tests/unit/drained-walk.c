/*
 * An invalidation while a translation request walks tables
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/thread.h"
#include "drained-walk.h"
#include "fake-memory.h"

/* Time for an invalidation that does not wait; one that waits takes forever */
#define PAUSES      200
#define PAUSE_US    500

static struct {
    Drain *walks;
    QemuThread thread;
    unsigned changes;           /* of tables, by the walk */
    bool began, completed;
    bool early;                 /* completed during the walk */
} invalidation;

static void *invalidate(void *opaque)
{
    qatomic_set(&invalidation.began, true);
    drain_wait(invalidation.walks);
    qatomic_set(&invalidation.completed, true);
    return NULL;
}

/* The walk has just set flags, and may do so again. */
static void table_changed(void)
{
    if (invalidation.changes++) {
        return;
    }
    qemu_thread_create(&invalidation.thread, "invalidate", invalidate, NULL,
                       QEMU_THREAD_JOINABLE);
    while (!qatomic_read(&invalidation.began)) {
        g_usleep(PAUSE_US);
    }
    for (unsigned i = 0; i < PAUSES && !invalidation.early; i++) {
        g_usleep(PAUSE_US);
        invalidation.early = qatomic_read(&invalidation.completed);
    }
}

void drained_walk_check(Drain *walks, void (*request)(void))
{
    memset(&invalidation, 0, sizeof(invalidation));
    invalidation.walks = walks;
    fake_memory_changed = table_changed;
    request();
    fake_memory_changed = NULL;
    assert_true(invalidation.changes > 0);
    qemu_thread_join(&invalidation.thread);
    assert_true(invalidation.completed);
    assert_false(invalidation.early);
}
