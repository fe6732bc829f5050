/*
 * Intel Data Streaming Accelerator (DSA): administrative commands (3.15)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A command that waits for descriptors stays active until all of them have
 * ended and their interrupts have been sent.  The bottom half then finishes the
 * command.  Reset Device does not wait for the responses to page requests: the
 * bottom half ends its descriptors first.
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/main-loop.h"
#include "dsa-internal.h"

#define OPERAND(cmd) FIELD_EX32((cmd)->reg, DSA_CMD, OPERAND)

static void command_end(DSAState *s, DSACommandError error)
{
    s->cmdstatus = error;
    s->cmd.waits = s->cmd.done = false;
    if (FIELD_EX32(s->cmd.reg, DSA_CMD, INT)) {
        dsa_raise_cause(s, R_DSA_INTCAUSE_CMD_MASK);
    }
}

/* Sets @wqs to the WQs of the operand; false if one of them does not exist */
static bool command_wqs(DSAState *s, uint64_t *wqs)
{
    unsigned first = FIELD_EX32(OPERAND(&s->cmd), DSA_CMD_WQS, GROUP) * 16;
    uint64_t mask = FIELD_EX32(OPERAND(&s->cmd), DSA_CMD_WQS, MASK);

    if (mask && (first >= DSA_MAX_WQS ||
                 ((mask << first) & ~MAKE_64BIT_MASK(0, s->num_wqs)))) {
        return false;
    }
    *wqs = mask ? mask << first : 0;
    return true;
}

static void set_wq_states(DSAState *s, uint64_t wqs, DSADeviceState from,
                          DSADeviceState to)
{
    unsigned i;

    for (i = 0; i < s->num_wqs; i++) {
        if (extract64(wqs, i, 1) && s->wqs[i].state == from) {
            s->wqs[i].state = to;
        }
    }
}

static bool all_wqs_enabled(DSAState *s, uint64_t wqs)
{
    unsigned i;

    for (i = 0; i < s->num_wqs; i++) {
        if (extract64(wqs, i, 1) && s->wqs[i].state != DSA_ENABLED) {
            return false;
        }
    }
    return true;
}

/* ---- Commands that do not wait ---- */

static void command_enable_device(DSAState *s)
{
    DSACommandError error = dsa_enable_check_device(s);

    if (!error) {
        s->state = DSA_ENABLED;
        dsa_enable_assign_groups(s);
        dsa_event_log_start(s);
    }
    command_end(s, error);
}

static void command_enable_wq(DSAState *s)
{
    unsigned wq = OPERAND(&s->cmd);
    DSACommandError error = DSA_CMDERR_INVALID_WQ;

    if (wq < s->num_wqs) {
        error = dsa_enable_check_wq(s, wq);
    }
    if (!error) {
        s->wqs[wq].state = DSA_ENABLED;
        dsa_wq_check_occupancy_int(s, wq);
    }
    command_end(s, error);
}

/* ---- Commands that wait ---- */

/* Returns whether the bottom half has interrupts to send */
static bool interrupts_pending(const DSAState *s)
{
    return !buffer_is_zero(s->raised, sizeof(s->raised));
}

bool dsa_command_discards(const DSAState *s)
{
    return s->cmd.waits && !s->cmd.done &&
           FIELD_EX32(s->cmd.reg, DSA_CMD, CODE) == DSA_CMD_RESET_DEVICE;
}

static void command_wait(DSAState *s, uint64_t wqs, bool abort)
{
    s->cmd.filter.wqs = wqs;
    s->cmd.filter.end = s->next_seq;
    if (abort) {
        dsa_wq_abort(s, &s->cmd.filter);
    }
    if (dsa_wq_outstanding(s, &s->cmd.filter)) {
        s->cmd.waits = true;
        if (dsa_command_discards(s)) {
            qemu_bh_schedule(s->bh);
        }
    } else if (interrupts_pending(s)) {
        s->cmd.waits = s->cmd.done = true;
    } else {
        dsa_command_finish(s);
    }
}

static void command_disable_device(DSAState *s, bool reset)
{
    if (!reset && s->state != DSA_ENABLED) {
        command_end(s, DSA_CMDERR_DISABLE_NOT_ENABLED);
        return;
    }
    s->state = DSA_DRAINING;
    set_wq_states(s, UINT64_MAX, DSA_ENABLED, DSA_DRAINING);
    command_wait(s, UINT64_MAX, reset);
}

static void command_pasid(DSAState *s, bool abort)
{
    s->cmd.filter.by_pasid = true;
    s->cmd.filter.pasid = OPERAND(&s->cmd);
    command_wait(s, UINT64_MAX, abort);
}

static void command_some_wqs(DSAState *s, DSACommandCode code)
{
    bool abort = code == DSA_CMD_ABORT_WQ || code == DSA_CMD_RESET_WQ;
    uint64_t wqs;

    if (!command_wqs(s, &wqs)) {
        command_end(s, DSA_CMDERR_INVALID_WQ);
        return;
    }
    if (code != DSA_CMD_RESET_WQ && !all_wqs_enabled(s, wqs)) {
        command_end(s, DSA_CMDERR_WQ_NOT_ENABLED);
        return;
    }
    if (code == DSA_CMD_DISABLE_WQ || code == DSA_CMD_RESET_WQ) {
        set_wq_states(s, wqs, DSA_ENABLED, DSA_DRAINING);
    }
    command_wait(s, wqs, abort);
}

/* ---- Starting and finishing ---- */

static void command_start(DSAState *s, DSACommandCode code)
{
    switch (code) {
    case DSA_CMD_ENABLE_DEVICE:
        command_enable_device(s);
        break;
    case DSA_CMD_DISABLE_DEVICE:
    case DSA_CMD_RESET_DEVICE:
        command_disable_device(s, code == DSA_CMD_RESET_DEVICE);
        break;
    case DSA_CMD_DRAIN_ALL:
    case DSA_CMD_ABORT_ALL:
        command_wait(s, UINT64_MAX, code == DSA_CMD_ABORT_ALL);
        break;
    case DSA_CMD_ENABLE_WQ:
        command_enable_wq(s);
        break;
    case DSA_CMD_DISABLE_WQ ... DSA_CMD_RESET_WQ:
        command_some_wqs(s, code);
        break;
    case DSA_CMD_DRAIN_PASID:
    case DSA_CMD_ABORT_PASID:
        command_pasid(s, code == DSA_CMD_ABORT_PASID);
        break;
    default:
        command_end(s, DSA_CMDERR_INVALID_COMMAND);
        break;
    }
}

void dsa_command_submit(DSAState *s, uint32_t val)
{
    if (FIELD_EX32(s->cmdstatus, DSA_CMDSTATUS, ACTIVE)) {
        dsa_swerror(s, DSA_SWERROR_CMD_ACTIVE, -1);
        return;
    }
    s->cmd = (DSACommand) { .reg = val };
    s->cmdstatus = R_DSA_CMDSTATUS_ACTIVE_MASK;
    if (FIELD_EX32(val, DSA_CMD, RESERVED)) {
        command_end(s, DSA_CMDERR_RESERVED);
    } else if (s->state == DSA_HALTED) {
        command_end(s, DSA_CMDERR_HALTED);
    } else {
        command_start(s, FIELD_EX32(val, DSA_CMD, CODE));
    }
}

void dsa_command_poll(DSAState *s)
{
    if (s->cmd.waits && !s->cmd.done &&
        !dsa_wq_outstanding(s, &s->cmd.filter)) {
        s->cmd.done = true;
        qemu_bh_schedule(s->bh);
    }
}

static void command_finish_wqs(DSAState *s, uint64_t wqs, bool reset)
{
    unsigned i;

    set_wq_states(s, wqs, DSA_DRAINING, DSA_DISABLED);
    for (i = 0; reset && i < s->num_wqs; i++) {
        if (extract64(wqs, i, 1)) {
            dsa_config_reset_wq(s, i);
        }
    }
}

void dsa_command_finish(DSAState *s)
{
    DSACommandCode code = FIELD_EX32(s->cmd.reg, DSA_CMD, CODE);

    if (s->state == DSA_HALTED) {
        command_end(s, DSA_CMDERR_HALTED);
        return;
    }
    switch (code) {
    case DSA_CMD_DISABLE_DEVICE:
    case DSA_CMD_RESET_DEVICE:
        command_finish_wqs(s, UINT64_MAX, false);
        s->state = DSA_DISABLED;
        if (code == DSA_CMD_RESET_DEVICE) {
            dsa_config_reset(s);
        }
        break;
    case DSA_CMD_DISABLE_WQ:
    case DSA_CMD_RESET_WQ:
        command_finish_wqs(s, s->cmd.filter.wqs, code == DSA_CMD_RESET_WQ);
        break;
    default:
        break;
    }
    command_end(s, DSA_CMDERR_SUCCESS);
}
