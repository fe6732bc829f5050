/*
 * Drain: wait until concurrent users of a resource have left
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Threads inside the drain are counted in one of two phases.  A waiter switches
 * to the other phase, which counts all later entries, and waits until the count
 * of the previous phase is zero.  Each phase has several counters, so that
 * threads do not contend for one cache line.  A thread leaves by the counter by
 * which it has entered.
 *
 * Ordering.  drain_wait() guarantees that a thread which enters either sees the
 * preceding writes of the waiter, or is waited for.
 *
 *  - The thread increments its counter, issues a full barrier, then reads.  The
 *    waiter writes, issues a full barrier, then reads the counters of both
 *    phases.  Therefore one of the two sees the other: if the thread does not
 *    read the write, its increment precedes each read of its counter by the
 *    waiter.
 *  - The waiter returns only after it has read 0 from each counter.  A 0 that
 *    follows the increment of the thread also follows its decrement.  The
 *    decrement is a release, all changes of a counter are atomic
 *    read-modify-write operations, and the read of the waiter is an acquire.
 *    Therefore the read synchronizes with each preceding decrement, and the
 *    accesses of the thread inside the drain happen before the return of the
 *    waiter.
 *
 * This guarantee does not depend on the phases, which ensure that the wait
 * ends: no thread that reads @phase after the switch is counted in the phase
 * for which the waiter waits.  A thread that reads @phase before the switch but
 * increments its counter after it may be counted there, once.  Therefore the
 * other phase may hold a few late threads of the last switch when a waiter
 * arrives, and the waiter waits for that phase first.
 *
 * The same barriers order @sleeping and the counters: the waiter sets the flag
 * and then reads the counter; the thread decrements the counter and then reads
 * the flag.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/drain.h"
#include "qemu/lockable.h"
#include "qemu/memalign.h"
#include "qemu/processor.h"
#include "qemu/thread.h"

#define PHASES      2
#define STRIPES     (DRAIN_TOKENS / PHASES)
#define CACHE_LINE  64

/* Number of reads of a counter before the waiter sleeps */
#define SPINS       1000

typedef struct DrainStripe {
    uint32_t inside[PHASES];
} QEMU_ALIGNED(CACHE_LINE) DrainStripe;

struct Drain {
    DrainStripe stripes[STRIPES];
    /* Read by all threads, written with @wait_lock held */
    QEMU_ALIGNED(CACHE_LINE) uint32_t phase;
    bool sleeping;
    /* Serializes waiters; a thread inside the drain never takes it */
    QemuMutex wait_lock;
    QemuEvent left;
};

static uint32_t next_stripe;
static __thread uint32_t my_stripe = STRIPES;

static uint32_t *drain_counter(Drain *d, unsigned token)
{
    return &d->stripes[token / PHASES].inside[token % PHASES];
}

unsigned drain_enter(Drain *d)
{
    unsigned token;

    if (unlikely(my_stripe == STRIPES)) {
        my_stripe = qatomic_fetch_inc(&next_stripe) % STRIPES;
    }
    token = my_stripe * PHASES + qatomic_read(&d->phase);
    qatomic_inc(drain_counter(d, token));
    smp_mb__after_rmw();
    return token;
}

void drain_leave(Drain *d, unsigned token)
{
    qatomic_dec(drain_counter(d, token));
    smp_mb__after_rmw();
    if (unlikely(qatomic_read(&d->sleeping))) {
        qemu_event_set(&d->left);
    }
}

static bool drain_counter_is_zero(Drain *d, unsigned token)
{
    return !qatomic_load_acquire(drain_counter(d, token));
}

/* Called with @wait_lock held */
static void drain_wait_for_counter(Drain *d, unsigned token)
{
    for (unsigned i = 0; i < SPINS; i++) {
        if (drain_counter_is_zero(d, token)) {
            return;
        }
        cpu_relax();
    }
    qatomic_set_mb(&d->sleeping, true);
    qemu_event_reset(&d->left);
    while (!drain_counter_is_zero(d, token)) {
        qemu_event_wait(&d->left);
        qemu_event_reset(&d->left);
    }
    qatomic_set(&d->sleeping, false);
}

/* Called with @wait_lock held */
static void drain_wait_for_phase(Drain *d, unsigned phase)
{
    for (unsigned i = 0; i < STRIPES; i++) {
        drain_wait_for_counter(d, i * PHASES + phase);
    }
}

static bool drain_is_empty(Drain *d)
{
    for (unsigned token = 0; token < DRAIN_TOKENS; token++) {
        if (!drain_counter_is_zero(d, token)) {
            return false;
        }
    }
    return true;
}

void drain_wait(Drain *d)
{
    /* Order the writes of the caller before the reads of the counters */
    smp_mb();
    if (drain_is_empty(d)) {
        return;
    }
    QEMU_LOCK_GUARD(&d->wait_lock);
    drain_wait_for_phase(d, !d->phase);
    qatomic_set_mb(&d->phase, !d->phase);
    drain_wait_for_phase(d, !d->phase);
}

Drain *drain_new(void)
{
    Drain *d = qemu_memalign(CACHE_LINE, sizeof(*d));

    memset(d, 0, sizeof(*d));
    qemu_mutex_init(&d->wait_lock);
    qemu_event_init(&d->left, false);
    return d;
}

void drain_free(Drain *d)
{
    if (d) {
        qemu_event_destroy(&d->left);
        qemu_mutex_destroy(&d->wait_lock);
        qemu_vfree(d);
    }
}
