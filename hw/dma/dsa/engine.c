/*
 * Intel Data Streaming Accelerator (DSA): engines
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each engine is a thread that takes descriptors from the WQs of its group.
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
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

bool dsa_job_aborted(DSAJob *job)
{
    job->abandoned |= qatomic_read(&job->engine->abort);
    return job->abandoned;
}

static void engine_run(DSAEngine *engine)
{
    DSAJob job = {
        .s = engine->s,
        .engine = engine,
        .work = &engine->work,
    };

    dsa_descriptor_decode(&job.desc, engine->work.raw);
    dsa_job_execute(&job);
}

/* With the lock */
static void engine_done(DSAEngine *engine)
{
    DSAState *s = engine->s;

    engine->busy = false;
    if (s->drains) {
        qemu_cond_broadcast(&s->completed);
    }
    dsa_command_poll(s);
}

/* With the lock */
static bool engine_get_work(DSAEngine *engine)
{
    DSAState *s = engine->s;

    while (!s->stopping) {
        if (dsa_wq_pop(s, engine)) {
            engine->busy = true;
            qatomic_set(&engine->abort, false);
            return true;
        }
        engine->idle = true;
        qemu_cond_wait(&engine->wakeup, &s->lock);
        engine->idle = false;
    }
    return false;
}

static void *engine_thread(void *opaque)
{
    DSAEngine *engine = opaque;
    DSAState *s = engine->s;

    rcu_register_thread();
    qemu_mutex_lock(&s->lock);
    while (engine_get_work(engine)) {
        qemu_mutex_unlock(&s->lock);
        engine_run(engine);
        qemu_mutex_lock(&s->lock);
        engine_done(engine);
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
    pci_ats_dma_cancel(s->dma);

    /* An engine may be waiting for the BQL */
    bql_unlock();
    for (i = 0; i < s->num_engines; i++) {
        qemu_thread_join(&s->engines[i].thread);
    }
    bql_lock();
    for (i = 0; i < s->num_engines; i++) {
        qemu_cond_destroy(&s->engines[i].wakeup);
        qemu_vfree(s->engines[i].buf[0]);
        qemu_vfree(s->engines[i].buf[1]);
    }
}
