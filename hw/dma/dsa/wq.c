/*
 * Intel Data Streaming Accelerator (DSA): work queues and group arbiters
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dsa-internal.h"

static DSAWork *wq_entry(DSAWQ *wq, unsigned i)
{
    return &wq->ring[(wq->head + i) % wq->capacity];
}

/* Derive the fields that depend on a configuration that cannot change */
static void wq_apply(DSAState *s, DSAWork *work)
{
    work->event_log = s->state != DSA_DISABLED && dsa_event_log_enabled(s);
    work->prs_disabled = DSA_WQ_FIELD(&s->wqs[work->wq], 1, PRS_DISABLE);
}

/* Copy the configuration of the WQ that the execution needs */
static void wq_fill_work(DSAState *s, unsigned index, DSAWork *work)
{
    DSAWQ *wq = &s->wqs[index];
    uint32_t trusted = ldl_le_p(work->raw + DSA_DESC_TRUSTED);

    work->seq = s->next_seq++;
    work->wq = index;
    work->shared = DSA_WQ_FIELD(wq, 1, MODE) == DSA_WQ_SHARED;
    if (work->shared) {
        work->pasid = FIELD_EX32(trusted, DSA_TRUSTED, PASID);
        work->priv = FIELD_EX32(trusted, DSA_TRUSTED, PRIV);
    } else if (DSA_WQ_FIELD(wq, 1, PASID_EN)) {
        work->pasid = DSA_WQ_FIELD(wq, 1, PASID);
        work->priv = DSA_WQ_FIELD(wq, 1, PRIV);
    } else {
        work->pasid = PCI_NO_PASID;
        work->priv = false;
    }
    work->block_on_fault = DSA_WQ_FIELD(wq, 1, BLOCK_ON_FAULT);
    work->user_int = FIELD_EX32(s->gencfg, DSA_GENCFG, USER_INT);
    work->max_transfer = DSA_WQ_FIELD(wq, 1, MAX_TRANSFER);
    work->max_batch = DSA_WQ_FIELD(wq, 1, MAX_BATCH);
    wq_apply(s, work);
}

void dsa_wq_load(DSAState *s)
{
    unsigned i, j;

    for (i = 0; i < s->num_wqs; i++) {
        for (j = 0; j < s->wqs[i].occupancy; j++) {
            wq_apply(s, wq_entry(&s->wqs[i], j));
        }
    }
    for (i = 0; i < s->num_engines; i++) {
        if (s->engines[i].busy) {
            wq_apply(s, &s->engines[i].work);
        }
    }
}

bool dsa_wq_push(DSAState *s, unsigned index, const void *raw)
{
    DSAWQ *wq = &s->wqs[index];
    DSAWork *work;

    if (wq->occupancy >= MIN(DSA_WQ_FIELD(wq, 0, SIZE), wq->capacity)) {
        return false;
    }
    work = wq_entry(wq, wq->occupancy++);
    memcpy(work->raw, raw, DSA_DESC_SIZE);
    wq_fill_work(s, index, work);
    dsa_engine_wake(s, wq->group);
    return true;
}

void dsa_wq_check_occupancy_int(DSAState *s, unsigned index)
{
    DSAWQ *wq = &s->wqs[index];
    unsigned handle = DSA_WQ_FIELD(wq, 2, OCC_INT_HANDLE);

    if (wq->state == DSA_ENABLED && DSA_WQ_FIELD(wq, 2, OCC_INT_EN) &&
        !DSA_WQ_FIELD(wq, 3, OCC_INT) &&
        wq->occupancy <= DSA_WQ_FIELD(wq, 2, OCC_LIMIT) &&
        dsa_int_handle_valid(s, handle)) {
        wq->cfg[3] = FIELD_DP64(wq->cfg[3], DSA_WQCFG3, OCC_INT, 1);
        if (handle) {
            dsa_raise(s, handle);
        } else {
            dsa_raise_cause(s, R_DSA_INTCAUSE_OCCUPANCY_MASK);
        }
    }
}

/* Returns the next WQ of the group (4.1), or -1 */
static int group_next_wq(DSAState *s, DSAGroup *group)
{
    unsigned i;

    for (i = 0; i < s->num_wqs; i++) {
        unsigned index = (group->next_wq + i) % s->num_wqs;
        DSAWQ *wq = &s->wqs[index];

        if (extract64(group->wqs[0], index, 1) && wq->occupancy &&
            wq->credit) {
            return index;
        }
    }
    return -1;
}

static void group_renew_credits(DSAState *s, DSAGroup *group)
{
    unsigned i;

    for (i = 0; i < s->num_wqs; i++) {
        if (extract64(group->wqs[0], i, 1)) {
            s->wqs[i].credit = DSA_WQ_FIELD(&s->wqs[i], 1, PRIORITY);
        }
    }
}

bool dsa_wq_pop(DSAState *s, DSAEngine *engine)
{
    DSAGroup *group;
    DSAWQ *wq;
    int index;

    if (engine->group < 0) {
        return false;
    }
    group = &s->groups[engine->group];
    index = group_next_wq(s, group);
    if (index < 0) {
        group_renew_credits(s, group);
        index = group_next_wq(s, group);
    }
    if (index < 0) {
        return false;
    }
    wq = &s->wqs[index];
    engine->work = *wq_entry(wq, 0);
    wq->head = (wq->head + 1) % wq->capacity;
    wq->occupancy--;
    wq->credit--;
    group->next_wq = (index + 1) % s->num_wqs;
    dsa_wq_check_occupancy_int(s, index);
    return true;
}

bool dsa_filter_matches(const DSAFilter *filter, const DSAWork *work)
{
    return extract64(filter->wqs, work->wq, 1) && work->seq < filter->end &&
           (!filter->by_pasid || filter->pasid == work->pasid);
}

bool dsa_wq_outstanding(DSAState *s, const DSAFilter *filter)
{
    unsigned i, j;

    for (i = 0; i < s->num_engines; i++) {
        if (s->engines[i].busy &&
            dsa_filter_matches(filter, &s->engines[i].work)) {
            return true;
        }
    }
    for (i = 0; i < s->num_wqs; i++) {
        DSAWQ *wq = &s->wqs[i];

        for (j = 0; extract64(filter->wqs, i, 1) && j < wq->occupancy; j++) {
            const DSAWork *work = wq_entry(wq, j);

            if (dsa_filter_matches(filter, work)) {
                return true;
            }
            /* The entries are in the order of @seq. */
            if (work->seq >= filter->end) {
                break;
            }
        }
    }
    return false;
}

static void wq_discard(DSAWQ *wq, const DSAFilter *filter)
{
    unsigned i, kept = 0;

    for (i = 0; i < wq->occupancy; i++) {
        DSAWork *work = wq_entry(wq, i);

        if (!dsa_filter_matches(filter, work)) {
            *wq_entry(wq, kept++) = *work;
        }
    }
    wq->occupancy = kept;
}

void dsa_wq_abort(DSAState *s, const DSAFilter *filter)
{
    unsigned i;

    for (i = 0; i < s->num_wqs; i++) {
        wq_discard(&s->wqs[i], filter);
        dsa_wq_check_occupancy_int(s, i);
    }
    for (i = 0; i < s->num_engines; i++) {
        DSAEngine *engine = &s->engines[i];

        if (engine->busy && dsa_filter_matches(filter, &engine->work)) {
            qatomic_set(&engine->abort, true);
            qemu_cond_signal(&engine->wakeup);
        }
    }
    qemu_cond_broadcast(&s->completed);
}
