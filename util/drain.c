/*
 * Wait until those who are inside have left
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Who is inside is counted, in one of two phases.  A waiter turns to the other
 * phase, in which newcomers are counted from then on, and waits until none is
 * left in the one before.  Each phase has several counters, so that threads do
 * not contend for one cache line; a thread leaves by the counter that it has
 * entered by.
 *
 * Ordering.  drain_wait() promises: a thread that enters sees what the waiter
 * wrote before, or is waited for.
 *
 *  - The thread counts itself, issues a full barrier, then reads.  The waiter
 *    writes, issues a full barrier, then reads the counters, those of both
 *    phases.  One of the two sees the other: if the thread does not read what
 *    was written, its increment comes before each read of that counter by the
 *    waiter.
 *  - The waiter returns only after it has read 0 from each counter.  A 0 that
 *    comes after the thread's increment comes after its decrement, too.  That
 *    is a release, and all changes of a counter are atomic read-modify-write
 *    operations, so that the waiter's load, an acquire, synchronizes with each
 *    decrement before it: what the thread did inside happened before.
 *
 * This does not depend on the phases.  They see to it that waiting ends: no
 * thread that reads @phase after the turn is counted in the phase that is
 * waited for.  A thread that has read it before the turn, but counts itself
 * only afterwards, may be; it does so once.  Thus the other phase may hold such
 * stragglers of the last turn when a waiter comes, and is waited for first.
 *
 * The same barriers order @sleeping and the counters: the waiter sets the flag
 * and then reads the counter, the thread decrements it and then reads the flag.
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

/* Times to look at a counter before sleeping */
#define SPINS       1000

typedef struct DrainStripe {
    uint32_t inside[PHASES];
} QEMU_ALIGNED(CACHE_LINE) DrainStripe;

struct Drain {
    DrainStripe stripes[STRIPES];
    /* Read by everyone, written by who holds @wait_lock */
    QEMU_ALIGNED(CACHE_LINE) uint32_t phase;
    bool sleeping;
    /* Held while waiting; taken by nobody who is inside */
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

/* With @wait_lock */
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

/* With @wait_lock */
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
    /* What the caller has written comes before the counters are read */
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
