/*
 * Intel Data Streaming Accelerator (DSA): engines
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each engine is a thread that takes descriptors from the WQs of its group.  An
 * engine keeps the descriptor in execution while the machine is stopped.
 */

#include "qemu/osdep.h"
#include "qemu/memalign.h"
#include "qemu/rcu.h"
#include "dsa-internal.h"

void dsa_engine_wake(DSAState *s, int group)
{
    unsigned i;

    for (i = 0; i < s->num_engines; i++) {
        DSAEngine *engine = &s->engines[i];

        if (engine->group == group && engine->idle) {
            engine->idle = false;
            qemu_cond_signal(&engine->wakeup);
            return;
        }
    }
}

/* Called with DSAState.lock held */
static void engine_done(DSAEngine *engine)
{
    DSAState *s = engine->s;

    engine->busy = false;
    /* The end of another descriptor does not end the command. */
    if (dsa_filter_matches(&s->cmd.filter, &engine->work)) {
        dsa_command_poll(s);
    }
}

/*
 * Execute the descriptor, then settle the page requests that were outstanding
 * when it was suspended.  Returns whether both are complete.
 */
static bool engine_work(DSAEngine *engine)
{
    DSAJob *job = &engine->job;

    if (job->phase != DSA_PHASE_SETTLE && !dsa_job_execute(job)) {
        return false;
    }
    job->phase = DSA_PHASE_SETTLE;
    return !engine->was_suspended ||
           pci_ats_dma_settle(engine->s->dma, engine->work.pasid);
}

/* Called with DSAState.lock held, which is released meanwhile */
static void engine_execute(DSAEngine *engine)
{
    DSAState *s = engine->s;
    bool ended;

    engine->executing = true;
    qemu_mutex_unlock(&s->lock);
    ended = engine_work(engine);
    qemu_mutex_lock(&s->lock);
    engine->executing = false;
    if (ended) {
        engine_done(engine);
    } else {
        engine->was_suspended = true;
    }
    qemu_cond_broadcast(&s->completed);
}

/* Keep only the page requests of the descriptor.  Called with the lock held. */
static void engine_abandon(DSAEngine *engine)
{
    engine->job.phase = DSA_PHASE_SETTLE;
    engine->has_child = false;
    qatomic_set(&engine->abort, false);
    qemu_cond_broadcast(&engine->s->completed);
}

/* Called with DSAState.lock held */
static bool engine_get_work(DSAEngine *engine)
{
    if (!engine->s->running || engine->s->paused) {
        return false;
    }
    if (!engine->busy && dsa_wq_pop(engine->s, engine)) {
        engine->job = (DSAJob) {
            .s = engine->s,
            .engine = engine,
            .work = &engine->work,
        };
        dsa_descriptor_decode(&engine->job.desc, engine->work.raw);
        engine->has_child = false;
        engine->list_len = 0;
        engine->busy = true;
        engine->was_suspended = false;
        qatomic_set(&engine->abort, false);
    }
    return engine->busy;
}

static void *engine_thread(void *opaque)
{
    DSAEngine *engine = opaque;
    DSAState *s = engine->s;

    rcu_register_thread();
    qemu_mutex_lock(&s->lock);
    while (!s->stopping) {
        if (engine->busy && engine->abort) {
            engine_abandon(engine);
        } else if (engine_get_work(engine)) {
            engine_execute(engine);
        } else {
            engine->idle = !engine->busy;
            qemu_cond_wait(&engine->wakeup, &s->lock);
            engine->idle = false;
        }
    }
    qemu_mutex_unlock(&s->lock);
    rcu_unregister_thread();
    return NULL;
}

void dsa_engines_start(DSAState *s)
{
    unsigned i;

    for (i = 0; i < s->num_engines; i++) {
        DSAEngine *engine = &s->engines[i];
        g_autofree char *name = g_strdup_printf("dsa-engine%u", i);

        engine->s = s;
        engine->group = -1;
        engine->buf[0] = qemu_memalign(64, DSA_CHUNK);
        engine->buf[1] = qemu_memalign(64, DSA_CHUNK);
        qemu_cond_init(&engine->wakeup);
        qemu_thread_create(&engine->thread, name, engine_thread, engine,
                           QEMU_THREAD_JOINABLE);
    }
}

/* Called with DSAState.lock held */
static bool engine_is_settled(const DSAEngine *engine)
{
    return !engine->executing && !(engine->busy && engine->abort);
}

void dsa_engines_pause(DSAState *s)
{
    unsigned i;

    WITH_QEMU_LOCK_GUARD(&s->lock) {
        s->paused = true;
    }
    pci_ats_dma_suspend(s->dma);
    QEMU_LOCK_GUARD(&s->lock);
    for (i = 0; i < s->num_engines; i++) {
        while (!engine_is_settled(&s->engines[i])) {
            qemu_cond_wait(&s->completed, &s->lock);
        }
    }
}

void dsa_engines_resume(DSAState *s)
{
    unsigned i;

    if (!s->running) {
        return;
    }
    pci_ats_dma_resume(s->dma);
    QEMU_LOCK_GUARD(&s->lock);
    s->paused = false;
    for (i = 0; i < s->num_engines; i++) {
        qemu_cond_signal(&s->engines[i].wakeup);
    }
}

void dsa_engines_discard(DSAState *s)
{
    unsigned i;

    for (i = 0; i < s->num_engines; i++) {
        s->engines[i].busy = false;
    }
}

void dsa_engines_stop(DSAState *s)
{
    unsigned i;

    WITH_QEMU_LOCK_GUARD(&s->lock) {
        s->stopping = true;
        for (i = 0; i < s->num_engines; i++) {
            qatomic_set(&s->engines[i].abort, true);
            qemu_cond_signal(&s->engines[i].wakeup);
        }
        qemu_cond_broadcast(&s->completed);
    }
    pci_ats_dma_suspend(s->dma);
    for (i = 0; i < s->num_engines; i++) {
        DSAEngine *engine = &s->engines[i];

        qemu_thread_join(&engine->thread);
        qemu_cond_destroy(&engine->wakeup);
        qemu_vfree(engine->buf[0]);
        qemu_vfree(engine->buf[1]);
    }
}
