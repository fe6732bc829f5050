/*
 * Drain: wait until concurrent users of a resource have left
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Many threads use a resource, such as a translation, for short times.  From
 * time to time another thread revokes the resource and has to know when the
 * last use has ended.  A thread enters the drain before it checks that it may
 * use the resource, and leaves the drain afterwards.  The revoking thread first
 * revokes the resource and then waits.
 *
 * Entering and leaving take no lock and never wait.  A waiter waits for all
 * threads that have entered before, but not for those that enter meanwhile.
 */

#ifndef QEMU_DRAIN_H
#define QEMU_DRAIN_H

typedef struct Drain Drain;

/* drain_enter() returns a token less than this */
#define DRAIN_TOKENS 16

/**
 * drain_new: create a drain
 *
 * Returns: the drain, which no thread has entered; free it with drain_free().
 */
Drain *drain_new(void);

/**
 * drain_free: free a drain
 *
 * All calls of drain_enter(), drain_leave() and drain_wait() must have
 * returned.  A drain_leave() may still be running when drain_wait() returns.
 *
 * @d: the drain, or NULL
 */
void drain_free(Drain *d);

/**
 * drain_enter: begin to use the resource
 *
 * Callable from any thread, without any lock, by many threads concurrently, and
 * more than once by the same thread.  Until the thread leaves, it must neither
 * call drain_wait() nor wait for anything that a thread in drain_wait() may
 * hold, such as the BQL.
 *
 * After this call the thread sees all writes that precede a drain_wait() of
 * another thread, or that drain_wait() waits for this thread.
 *
 * @d: the drain
 *
 * Returns: a token for drain_leave(), less than %DRAIN_TOKENS.  Concurrent
 * threads tend to have different tokens.
 */
unsigned drain_enter(Drain *d);

/**
 * drain_leave: stop using the resource
 *
 * All previous reads and writes of the thread happen before the return of a
 * drain_wait() that waits for this thread.  Callable from any thread.
 *
 * @d: the drain
 * @token: the token from drain_enter()
 */
void drain_leave(Drain *d, unsigned token);

/**
 * drain_wait: wait until all threads that have entered have left
 *
 * Callable from any thread that has not entered the drain, by many threads
 * concurrently, with or without the BQL.  Threads that enter meanwhile do not
 * prolong the wait.
 *
 * @d: the drain
 */
void drain_wait(Drain *d);

#endif
