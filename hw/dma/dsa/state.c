/*
 * Intel Data Streaming Accelerator (DSA): state of the device as a whole
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The bottom half of the engines, and the events that stop engines.
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "hw/pci/msix.h"
#include "dsa-internal.h"

/* ---- The bottom half ---- */

void dsa_raise(DSAState *s, unsigned vector)
{
    s->raised[vector] = true;
    qemu_bh_schedule(s->bh);
}

void dsa_raise_cause(DSAState *s, uint32_t cause)
{
    s->intcause |= cause;
    dsa_raise(s, 0);
}

/*
 * End the descriptors that Reset Device has aborted (3.15).  Those that wait
 * for the response to a page request would end with it only, and a guest that
 * has not sent the requests does not respond: a crash kernel, for example.  The
 * Page Request capability keeps account of the requests, so that responses that
 * arrive later are expected, and have no effect.
 */
static void dsa_discard_aborted(DSAState *s)
{
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        if (!dsa_command_discards(s)) {
            return;
        }
        /* The stream of a command that was active may hold more descriptors */
        dsa_wq_abort(s, &s->cmd.filter);
    }
    dsa_engines_pause(s);
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        dsa_engines_discard(s);
        dsa_command_poll(s);
    }
    dsa_engines_resume(s);
}

void dsa_bh(void *opaque)
{
    DSAState *s = opaque;
    bool raised[DSA_MAX_VECTORS];
    bool done;
    unsigned i;

    /* No interrupts and no changes of registers while the machine is stopped */
    if (!s->running) {
        return;
    }
    dsa_discard_aborted(s);
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        memcpy(raised, s->raised, sizeof(raised));
        memset(s->raised, 0, sizeof(s->raised));
        done = s->cmd.done;
    }
    /* Each message may unplug the device */
    for (i = 0; i < dsa_num_vectors(s) && !s->stopping; i++) {
        if (raised[i]) {
            msix_notify(PCI_DEVICE(s), i);
        }
    }
    /* All interrupts of the descriptors of the command have been sent */
    QEMU_LOCK_GUARD(&s->lock);
    if (done && s->cmd.done && !s->stopping) {
        dsa_command_finish(s);
    }
}

/* ---- Halt and reset ---- */

static const DSAFilter dsa_everything = {
    .wqs = UINT64_MAX,
    .end = UINT64_MAX,
};

/* Called with DSAState.lock held */
static void dsa_discard(DSAState *s, DSADeviceState state)
{
    unsigned i;

    s->state = state;
    for (i = 0; i < s->num_wqs; i++) {
        s->wqs[i].state = DSA_DISABLED;
    }
    dsa_wq_abort(s, &dsa_everything);
}

/* Device Halt State (5.7) */
void dsa_halt(DSAState *s)
{
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        if (s->state == DSA_DISABLED || s->state == DSA_HALTED) {
            return;
        }
        dsa_discard(s, DSA_HALTED);
        s->reset_type = DSA_RESET_FLR;
        dsa_swerror(s, DSA_SWERROR_PCI_CONFIG, -1);
        if (FIELD_EX32(s->genctrl, DSA_GENCTRL, HALT_INT)) {
            dsa_raise_cause(s, R_DSA_INTCAUSE_HALT_MASK);
        }
        dsa_command_poll(s);
    }
    dsa_engines_pause(s);
    dsa_engines_resume(s);
}

void dsa_reset_state(DSAState *s)
{
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        dsa_discard(s, DSA_DISABLED);
    }
    /* Engines may report errors until they are paused, so clear errors later */
    dsa_engines_pause(s);
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        s->reset_type = 0;
        s->cmd = (DSACommand) { };
        s->cmdstatus = 0;
        memset(s->swerror, 0, sizeof(s->swerror));
        dsa_event_log_reset(s);
        dsa_config_reset(s);
        memset(s->raised, 0, sizeof(s->raised));
        /* The reset has dropped the page requests of the function */
        dsa_engines_discard(s);
    }
    dsa_engines_resume(s);
}

/* ---- Stop of the machine ---- */

void dsa_set_running(DSAState *s, bool running)
{
    if (running == s->running) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&s->lock) {
        qatomic_set(&s->running, running);
        qemu_cond_broadcast(&s->completed);
    }
    if (running) {
        dsa_engines_resume(s);
        /* The bottom half had no effect while the machine was stopped */
        qemu_bh_schedule(s->bh);
    } else {
        dsa_engines_pause(s);
    }
}
