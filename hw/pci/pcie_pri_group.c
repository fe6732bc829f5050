/*
 * Page request groups of a function: the ledger
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Groups are found by PASID and index.  Each PASID has buckets of its own,
 * because a guest or a stream chooses the PASIDs: none of them can make those
 * of another PASID slow.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "pcie_pri_group.h"

/* An index that a PASID uses, and its groups: a SENDING one is the last */
struct PRIIndex {
    PRIPasid *pasid;
    uint16_t prgi;
    PRIGroupList groups;
    QLIST_ENTRY(PRIIndex) in_bucket;
    QLIST_ENTRY(PRIIndex) of_pasid;     /* or in the list of free ones */
};

/* ---- Indices ---- */

static PRIIndexList *pri_bucket(PRIPasid *p, uint16_t prgi)
{
    return &p->buckets[prgi % PRI_PASID_BUCKETS];
}

static PRIIndex *pri_index_find(const PRIPasid *p, uint16_t prgi)
{
    PRIIndex *index;

    QLIST_FOREACH(index, &p->buckets[prgi % PRI_PASID_BUCKETS], in_bucket) {
        if (index->prgi == prgi) {
            return index;
        }
    }
    return NULL;
}

static PRIIndex *pri_index_new(PRILedger *l, PRIPasid *p, uint16_t prgi)
{
    PRIIndex *index = QLIST_FIRST(&l->free_indices);

    if (index) {
        QLIST_REMOVE(index, of_pasid);
    } else {
        index = g_new0(PRIIndex, 1);
    }
    index->pasid = p;
    index->prgi = prgi;
    QTAILQ_INIT(&index->groups);
    QLIST_INSERT_HEAD(pri_bucket(p, prgi), index, in_bucket);
    QLIST_INSERT_HEAD(&p->indices, index, of_pasid);
    return index;
}

static void pri_index_free(PRILedger *l, PRIIndex *index)
{
    QLIST_REMOVE(index, in_bucket);
    QLIST_REMOVE(index, of_pasid);
    QLIST_INSERT_HEAD(&l->free_indices, index, of_pasid);
}

/* ---- Groups ---- */

static void pri_count(PRILedger *l, PRIPasid *p, PRIGroupState state, int n)
{
    if (state != PRI_GROUP_FREE) {
        p->num[state] += n;
        qatomic_set(&l->num[state], l->num[state] + n);
    }
}

/* Change a group, with all that follows from it */
static void pri_group_set(PRILedger *l, PRIGroup *g, PRIGroupState state,
                          uint32_t requests)
{
    qatomic_set(&l->outstanding, l->outstanding + requests - g->requests);
    if (g->state == PRI_GROUP_SENDING) {
        l->unclosed -= g->requests;
    }
    if (state == PRI_GROUP_SENDING) {
        l->unclosed += requests;
    }
    if (state != g->state) {
        if (g->state == PRI_GROUP_SENDING) {
            QTAILQ_REMOVE(&l->sending, g, sending);
        } else if (state == PRI_GROUP_SENDING) {
            QTAILQ_INSERT_TAIL(&l->sending, g, sending);
        }
        pri_count(l, g->index->pasid, g->state, -1);
        pri_count(l, g->index->pasid, state, 1);
    }
    g->state = state;
    g->requests = requests;
}

static PRIGroup *pri_group_new(PRILedger *l, PRIIndex *index)
{
    PRIGroup *g = QTAILQ_FIRST(&l->free_groups);

    if (g) {
        QTAILQ_REMOVE(&l->free_groups, g, of_index);
    } else {
        g = g_new0(PRIGroup, 1);
    }
    g->id = ++l->last_id;
    g->index = index;
    QTAILQ_INSERT_TAIL(&index->groups, g, of_index);
    index->pasid->num_groups++;
    l->num_groups++;
    return g;
}

static void pri_group_free(PRILedger *l, PRIGroup *g)
{
    PRIIndex *index = g->index;

    pri_group_set(l, g, PRI_GROUP_FREE, 0);
    QTAILQ_REMOVE(&index->groups, g, of_index);
    QTAILQ_INSERT_HEAD(&l->free_groups, g, of_index);
    index->pasid->num_groups--;
    l->num_groups--;
    if (QTAILQ_EMPTY(&index->groups)) {
        pri_index_free(l, index);
    }
}

static PRIGroup *pri_group_find(const PRIPasid *p, uint16_t prgi, uint64_t id)
{
    PRIIndex *index = pri_index_find(p, prgi);
    PRIGroup *g;

    if (index) {
        QTAILQ_FOREACH_REVERSE(g, &index->groups, of_index) {
            if (g->id == id) {
                return g;
            }
        }
    }
    return NULL;
}

static bool pri_is_foreign(const PRIGroup *g)
{
    return g->state == PRI_GROUP_LOADED || g->state == PRI_GROUP_ABANDONED;
}

/* ---- Requests ---- */

/*
 * Does the allocation have room for a request of @g, which is NULL if the
 * request begins a group?
 */
static bool pri_has_room(const PRILedger *l, const PRIGroup *g, bool last,
                         uint32_t alloc)
{
    unsigned more = !last + !g;

    return !more || (uint64_t)l->outstanding + l->num[PRI_GROUP_SENDING] +
                    more <= alloc;
}

/* Forget SENDING groups, but not @keep.  False if a requester has to wait. */
static bool pri_make_room(PRILedger *l, const PRIGroup *keep, bool last,
                          uint32_t alloc)
{
    PRIGroup *g, *next;

    if (l->num[PRI_GROUP_LOADED] || l->num[PRI_GROUP_ABANDONED]) {
        return false;
    }
    QTAILQ_FOREACH_SAFE(g, &l->sending, sending, next) {
        if (g != keep) {
            pri_group_free(l, g);
            if (pri_has_room(l, keep, last, alloc)) {
                break;
            }
        }
    }
    return true;
}

int pri_ledger_send(PRILedger *l, PRIPasid *p, uint16_t prgi, bool last,
                    uint32_t alloc, uint64_t *id)
{
    PRIIndex *index = pri_index_find(p, prgi);
    PRIGroup *g = index ? QTAILQ_LAST(&index->groups) : NULL;

    if ((g && pri_is_foreign(g)) || l->outstanding >= PRI_OUTSTANDING_MAX) {
        return -ENOSPC;
    }
    if (g && g->state != PRI_GROUP_SENDING) {
        g = NULL;
    }
    if (!pri_has_room(l, g, last, alloc) &&
        !pri_make_room(l, g, last, alloc)) {
        return -ENOSPC;
    }
    if (!g) {
        g = pri_group_new(l, index ?: pri_index_new(l, p, prgi));
    }
    pri_group_set(l, g, last ? PRI_GROUP_CLOSED : PRI_GROUP_SENDING,
                  g->requests + 1);
    *id = g->id;
    return 0;
}

/*
 * The last request of a group was not sent.  The next request with the index
 * belongs to it then, unless others have begun a group meanwhile: then that
 * gets its requests, as the guest sees it.
 */
static void pri_reopen(PRILedger *l, PRIGroup *g, uint32_t requests)
{
    PRIGroupList *groups = &g->index->groups;
    PRIGroup *youngest = QTAILQ_LAST(groups);

    if (youngest->state == PRI_GROUP_SENDING) {
        pri_group_set(l, youngest, PRI_GROUP_SENDING,
                      youngest->requests + requests);
        pri_group_free(l, g);
        return;
    }
    QTAILQ_REMOVE(groups, g, of_index);
    QTAILQ_INSERT_TAIL(groups, g, of_index);
    pri_group_set(l, g, PRI_GROUP_SENDING, requests);
}

bool pri_ledger_undo(PRILedger *l, PRIPasid *p, uint16_t prgi, bool last,
                     uint64_t id)
{
    PRIGroup *g = pri_group_find(p, prgi, id);
    uint32_t requests;

    if (!g) {
        return false;
    }
    requests = g->requests - 1;
    if (!requests || (last && g->state == PRI_GROUP_ABANDONED)) {
        pri_group_free(l, g);
    } else if (last) {
        pri_reopen(l, g, requests);
    } else {
        pri_group_set(l, g, g->state, requests);
    }
    return true;
}

/* ---- Ends of groups ---- */

PRIGroupState pri_ledger_respond(PRILedger *l, PRIPasid *p, uint16_t prgi)
{
    PRIIndex *index = pri_index_find(p, prgi);
    PRIGroupState state = PRI_GROUP_FREE;

    if (index) {
        PRIGroup *g = QTAILQ_FIRST(&index->groups);

        state = g->state;
        pri_group_free(l, g);
    }
    return state;
}

void pri_ledger_abandon(PRILedger *l, PRIPasid *p)
{
    PRIIndex *index, *next_index;
    PRIGroup *g, *next;

    QLIST_FOREACH_SAFE(index, &p->indices, of_pasid, next_index) {
        QTAILQ_FOREACH_SAFE(g, &index->groups, of_index, next) {
            if (g->state == PRI_GROUP_SENDING) {
                pri_group_free(l, g);
            } else {
                pri_group_set(l, g, PRI_GROUP_ABANDONED, g->requests);
            }
        }
    }
}

unsigned pri_ledger_drop(PRILedger *l, PRIPasid *p, PRIDroppedGroup *dropped)
{
    unsigned n = 0;
    PRIIndex *index;

    while ((index = QLIST_FIRST(&p->indices))) {
        PRIGroup *g = QTAILQ_FIRST(&index->groups);

        if (dropped && g->state != PRI_GROUP_ABANDONED) {
            dropped[n++] = (PRIDroppedGroup) {
                .pasid = p,
                .user = p->user,
                .prgi = index->prgi,
            };
        }
        pri_group_free(l, g);
    }
    return n;
}

/* ---- Migration ---- */

unsigned pri_ledger_save(const PRIPasid *p, PRISavedGroup *saved)
{
    unsigned n = 0;
    PRIIndex *index;
    PRIGroup *g;

    QLIST_FOREACH(index, &p->indices, of_pasid) {
        PRISavedGroup s = { .pasid = p->pasid, .prgi = index->prgi };

        QTAILQ_FOREACH(g, &index->groups, of_index) {
            if (g->state != PRI_GROUP_SENDING) {
                s.requests += g->requests;
                s.last_requests++;
                s.abandoned += g->state == PRI_GROUP_ABANDONED;
            }
        }
        if (s.last_requests) {
            saved[n++] = s;
        }
    }
    return n;
}

const char *pri_ledger_check(const PRILedger *l, const PRIPasid *p,
                             const PRISavedGroup *saved)
{
    if (saved->pasid > PCI_PASID_MAX && saved->pasid != PCI_NO_PASID) {
        return "pasid";
    }
    if (saved->prgi > PCI_PRGI_MAX || (p && pri_index_find(p, saved->prgi))) {
        return "prgi";
    }
    if (!saved->requests ||
        (uint64_t)l->outstanding + saved->requests > PRI_OUTSTANDING_MAX) {
        return "requests";
    }
    if (saved->last_requests > saved->requests) {
        return "last_requests";
    }
    return saved->abandoned > saved->last_requests ? "abandoned" : NULL;
}

void pri_ledger_load(PRILedger *l, PRIPasid *p, const PRISavedGroup *saved)
{
    uint32_t requests = saved->requests;
    PRIIndex *index;

    /* There is no response to others */
    if (!saved->last_requests) {
        return;
    }
    index = pri_index_new(l, p, saved->prgi);
    for (uint32_t i = 0; i < saved->last_requests; i++) {
        bool is_last = i == saved->last_requests - 1;

        /* The stream does not say which group has how many of them */
        pri_group_set(l, pri_group_new(l, index),
                      i < saved->abandoned ? PRI_GROUP_ABANDONED
                                           : PRI_GROUP_LOADED,
                      is_last ? requests : 1);
        requests--;
    }
}

/* ---- Life ---- */

void pri_ledger_init(PRILedger *l)
{
    QTAILQ_INIT(&l->sending);
    QTAILQ_INIT(&l->free_groups);
}

void pri_ledger_destroy(PRILedger *l)
{
    PRIIndex *index;
    PRIGroup *g;

    while ((g = QTAILQ_FIRST(&l->free_groups))) {
        QTAILQ_REMOVE(&l->free_groups, g, of_index);
        g_free(g);
    }
    while ((index = QLIST_FIRST(&l->free_indices))) {
        QLIST_REMOVE(index, of_pasid);
        g_free(index);
    }
}
