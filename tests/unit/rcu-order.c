/*
 * RCU callbacks of which ThreadSanitizer knows the order
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * util/rcu.c passes callbacks to its thread with atomics and futexes, in a
 * library that is not instrumented.  ThreadSanitizer would report a race
 * between the accesses before call_rcu1() and the callback.  A test that links
 * this file with -Wl,--wrap=call_rcu1 passes them through a table with a lock.
 */

#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"

void __real_call_rcu1(struct rcu_head *head, RCUCBFunc *func);
void __wrap_call_rcu1(struct rcu_head *head, RCUCBFunc *func);

static QemuMutex lock;          /* protects callbacks */
static GHashTable *callbacks;   /* struct rcu_head * -> RCUCBFunc * */

/* Before the constructor of util/rcu.c creates its thread */
static __attribute__((constructor(101))) void rcu_order_init(void)
{
    qemu_mutex_init(&lock);
    callbacks = g_hash_table_new(NULL, NULL);
}

static void run_callback(struct rcu_head *head)
{
    RCUCBFunc *func;

    qemu_mutex_lock(&lock);
    func = g_hash_table_lookup(callbacks, head);
    g_hash_table_remove(callbacks, head);
    qemu_mutex_unlock(&lock);
    func(head);
}

void __wrap_call_rcu1(struct rcu_head *head, RCUCBFunc *func)
{
    qemu_mutex_lock(&lock);
    g_hash_table_insert(callbacks, head, func);
    qemu_mutex_unlock(&lock);
    __real_call_rcu1(head, run_callback);
}
