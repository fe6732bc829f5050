/*
 * Wait until those who are inside have left
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Many threads use something for a short time, such as a translation; now and
 * then somebody takes it away, and has to know when nobody uses it any more.
 * A thread enters the drain before it looks at what may be taken away, and
 * leaves when it has finished with it.  Who takes it away does so first, and
 * then waits.
 *
 * Entering and leaving take no lock and never wait.  A waiter waits for those
 * who entered before, and not for those who enter meanwhile.
 */

#ifndef QEMU_DRAIN_H
#define QEMU_DRAIN_H

typedef struct Drain Drain;

/* What drain_enter() returns is less than this */
#define DRAIN_TOKENS 16

/**
 * drain_new: create a drain
 *
 * Returns: the drain, with nobody inside; to be freed with drain_free().
 */
Drain *drain_new(void);

/**
 * drain_free: free a drain
 *
 * Every drain_enter(), drain_leave() and drain_wait() has to have returned:
 * that drain_wait() has returned says nothing about drain_leave().
 *
 * @d: the drain, or NULL
 */
void drain_free(Drain *d);

/**
 * drain_enter: begin to use what the drain is about
 *
 * Callable from any thread, without any lock, by many at once, and more than
 * once by the same thread.  Until it leaves, the thread must neither call
 * drain_wait(), nor wait for anything that a thread in drain_wait() may hold,
 * such as the BQL.
 *
 * What another thread has written before drain_wait() is seen from here on, or
 * else drain_wait() waits for this thread.
 *
 * @d: the drain
 *
 * Returns: a token for drain_leave(), less than %DRAIN_TOKENS.  Threads that
 * are inside at the same time tend to have different ones.
 */
unsigned drain_enter(Drain *d);

/**
 * drain_leave: stop using it
 *
 * What the thread has read and written so far is over, and seen, when a
 * drain_wait() that waits for it returns.
 *
 * @d: the drain
 * @token: from drain_enter()
 */
void drain_leave(Drain *d, unsigned token);

/**
 * drain_wait: wait until all have left who are inside now
 *
 * Callable from any thread that is not inside, by many at once, with or without
 * the BQL.  It takes as long as the longest stay of those who are inside.
 *
 * @d: the drain
 */
void drain_wait(Drain *d);

#endif
