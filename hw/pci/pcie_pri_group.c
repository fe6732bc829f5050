/*
 * Page request groups of a function: the ledger
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The ledger finds groups by PASID and index.  Each PASID has its own buckets,
 * because a guest or a stream chooses the PASIDs and indices: groups of one
 * PASID cannot make lookups for another PASID slow.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "pcie_pri_group.h"

/* An index that a PASID uses, and its groups; only the last can be SENDING */
struct PRIIndex {
    PRIPasid *pasid;
    uint16_t prgi;
    PRIGroupList groups;
    QTAILQ_ENTRY(PRIIndex) in_bucket;
    QTAILQ_ENTRY(PRIIndex) of_function;
    union {
        QLIST_ENTRY(PRIIndex) of_pasid;
        QSLIST_ENTRY(PRIIndex) free;    /* if it has no groups */
    };
};

/* ---- Indices ---- */

static PRIIndex *pri_index_find(const PRIPasid *p, uint16_t prgi)
{
    PRIIndex *index;

    QTAILQ_FOREACH(index, &p->buckets[prgi % PRI_PASID_BUCKETS], in_bucket) {
        if (index->prgi == prgi) {
            return index;
        }
    }
    return NULL;
}

static PRIIndex *pri_index_new(PRILedger *l, PRIPasid *p, uint16_t prgi)
{
    PRIIndex *index = QSLIST_FIRST(&l->free_indices);

    if (index) {
        QSLIST_REMOVE_HEAD(&l->free_indices, free);
    } else {
        index = g_new0(PRIIndex, 1);
    }
    index->pasid = p;
    index->prgi = prgi;
    QTAILQ_INIT(&index->groups);
    QTAILQ_INSERT_TAIL(&p->buckets[prgi % PRI_PASID_BUCKETS], index, in_bucket);
    QLIST_INSERT_HEAD(&p->indices, index, of_pasid);
    if (p->pasid == PCI_NO_PASID) {
        QTAILQ_INSERT_HEAD(&l->users[prgi], index, of_function);
    } else {
        QTAILQ_INSERT_TAIL(&l->users[prgi], index, of_function);
    }
    set_bit(prgi, l->used);
    return index;
}

static void pri_index_free(PRILedger *l, PRIIndex *index)
{
    PRIPasid *p = index->pasid;

    QTAILQ_REMOVE(&p->buckets[index->prgi % PRI_PASID_BUCKETS], index,
                  in_bucket);
    QLIST_REMOVE(index, of_pasid);
    QTAILQ_REMOVE(&l->users[index->prgi], index, of_function);
    QSLIST_INSERT_HEAD(&l->free_indices, index, free);
    if (QTAILQ_EMPTY(&l->users[index->prgi])) {
        clear_bit(index->prgi, l->used);
    }
}

/* ---- Groups ---- */

static void pri_count(PRILedger *l, PRIPasid *p, PRIGroupState state, int n)
{
    if (state != PRI_GROUP_FREE) {
        p->num[state] += n;
        qatomic_set(&l->num[state], l->num[state] + n);
    }
}

static bool pri_is_droppable(const PRIGroup *g)
{
    return g->state == PRI_GROUP_SENDING && !g->owner;
}

static void pri_group_set_state(PRILedger *l, PRIGroup *g, PRIGroupState state)
{
    pri_count(l, g->index->pasid, g->state, -1);
    pri_count(l, g->index->pasid, state, 1);
    if (pri_is_droppable(g)) {
        QTAILQ_REMOVE(&l->sending, g, sending);
    }
    g->state = state;
    if (pri_is_droppable(g)) {
        QTAILQ_INSERT_TAIL(&l->sending, g, sending);
    }
}

/* Changes a group, and updates all counters and lists that depend on it */
static void pri_group_set(PRILedger *l, PRIGroup *g, PRIGroupState state,
                          uint32_t requests, uint32_t kept)
{
    qatomic_set(&l->outstanding, l->outstanding + requests - g->requests);
    qatomic_set(&l->kept, l->kept + kept - g->kept);
    if (g->state == PRI_GROUP_SENDING) {
        l->unclosed -= g->requests;
    }
    if (state == PRI_GROUP_SENDING) {
        l->unclosed += requests;
    }
    if (state != g->state) {
        pri_group_set_state(l, g, state);
    }
    g->requests = requests;
    g->kept = kept;
}

static PRIGroup *pri_group_new(PRILedger *l, PRIIndex *index, void *owner)
{
    PRIGroup *g = QSLIST_FIRST(&l->free_groups);

    if (g) {
        QSLIST_REMOVE_HEAD(&l->free_groups, free);
    } else {
        g = g_new0(PRIGroup, 1);
    }
    g->id = ++l->last_id;
    g->index = index;
    g->owner = owner;
    QTAILQ_INSERT_TAIL(&index->groups, g, of_index);
    index->pasid->num_groups++;
    l->num_groups++;
    return g;
}

static void pri_group_free(PRILedger *l, PRIGroup *g)
{
    PRIIndex *index = g->index;

    pri_group_set(l, g, PRI_GROUP_FREE, 0, 0);
    QTAILQ_REMOVE(&index->groups, g, of_index);
    QSLIST_INSERT_HEAD(&l->free_groups, g, free);
    index->pasid->num_groups--;
    l->num_groups--;
    if (QTAILQ_EMPTY(&index->groups)) {
        pri_index_free(l, index);
    }
}

static PRIGroup *pri_group_find(const PRIPasid *p, const PRIGroupRef *ref)
{
    PRIIndex *index = pri_index_find(p, ref->prgi);
    PRIGroup *g;

    if (index) {
        QTAILQ_FOREACH_REVERSE(g, &index->groups, of_index) {
            if (g->id == ref->id) {
                return g;
            }
        }
    }
    return NULL;
}

/* ---- The allocation ---- */

static bool pri_has_room(const PRILedger *l, int more, uint32_t alloc)
{
    return more <= 0 ||
           (uint64_t)l->outstanding + l->kept + more <= alloc;
}

/*
 * Drops groups other than @keep until the allocation suffices.  Returns false
 * if it must not drop groups.
 */
static bool pri_make_room(PRILedger *l, const PRIGroup *keep, int more,
                          uint32_t alloc)
{
    PRIGroup *g, *next;

    if (l->num[PRI_GROUP_LOADED] || l->num[PRI_GROUP_ABANDONED]) {
        return false;
    }
    QTAILQ_FOREACH_SAFE(g, &l->sending, sending, next) {
        if (pri_has_room(l, more, alloc)) {
            break;
        }
        if (g != keep) {
            pri_group_free(l, g);
        }
    }
    return true;
}

static bool pri_find_index(PRILedger *l, uint16_t *prgi)
{
    unsigned long n = find_next_zero_bit(l->used, PCI_PRGI_MAX + 1,
                                         l->next_prgi);

    if (n > PCI_PRGI_MAX) {
        n = find_first_zero_bit(l->used, PCI_PRGI_MAX + 1);
    }
    *prgi = n;
    return n <= PCI_PRGI_MAX;
}

bool pri_ledger_reserve(PRILedger *l, PRIPasid *p, uint32_t alloc, void *owner,
                        uint32_t *n, PRIGroupRef *ref)
{
    PRIGroup *g;

    alloc = MIN(alloc, PRI_OUTSTANDING_MAX);
    if (!pri_has_room(l, 1, alloc) &&
        !(pri_make_room(l, NULL, 1, alloc) && pri_has_room(l, 1, alloc))) {
        return false;
    }
    if (!pri_find_index(l, &ref->prgi)) {
        return false;
    }
    l->next_prgi = (ref->prgi + 1) % (PCI_PRGI_MAX + 1);
    *n = MIN(*n, alloc - l->outstanding - l->kept);
    g = pri_group_new(l, pri_index_new(l, p, ref->prgi), owner);
    pri_group_set(l, g, PRI_GROUP_RESERVED, 0, *n);
    ref->id = g->id;
    return true;
}

void pri_ledger_keep_last(PRILedger *l, PRIPasid *p, const PRIGroupRef *ref)
{
    PRIGroup *g = pri_group_find(p, ref);

    if (g) {
        pri_group_set(l, g, g->state, g->requests, MIN(g->kept, 1));
    }
}

/* ---- Requests ---- */

/* Returns the part of the allocation that a group keeps after this request */
static uint32_t pri_kept_after(const PRIGroup *g, bool last)
{
    return last ? 0 : g && g->kept > 1 ? g->kept - 1 : 1;
}

bool pri_ledger_send_reserved(PRILedger *l, PRIPasid *p, const PRIGroupRef *ref,
                              bool last)
{
    PRIGroup *g = pri_group_find(p, ref);

    if (g) {
        pri_group_set(l, g, last ? PRI_GROUP_CLOSED : PRI_GROUP_SENDING,
                      g->requests + 1, pri_kept_after(g, last));
    }
    return g;
}

int pri_ledger_send(PRILedger *l, PRIPasid *p, uint16_t prgi, bool last,
                    uint32_t alloc, PRIGroupRef *ref)
{
    /* Most indices are not in use. */
    PRIIndex *index = test_bit(prgi, l->used) ? pri_index_find(p, prgi) : NULL;
    PRIGroup *g = index ? QTAILQ_LAST(&index->groups) : NULL;
    uint32_t kept;
    int more;

    if (g && (g->owner || g->state == PRI_GROUP_LOADED ||
              g->state == PRI_GROUP_ABANDONED)) {
        return -ENOSPC;
    }
    if (g && g->state != PRI_GROUP_SENDING) {
        g = NULL;
    }
    kept = pri_kept_after(g, last);
    more = 1 + kept - (g ? g->kept : 0);
    if (l->outstanding >= PRI_OUTSTANDING_MAX ||
        (!pri_has_room(l, more, alloc) &&
         !pri_make_room(l, g, more, alloc))) {
        return -ENOSPC;
    }
    if (!g) {
        g = pri_group_new(l, index ?: pri_index_new(l, p, prgi), NULL);
    }
    pri_group_set(l, g, last ? PRI_GROUP_CLOSED : PRI_GROUP_SENDING,
                  g->requests + 1, kept);
    *ref = (PRIGroupRef) { .id = g->id, .prgi = prgi };
    return 0;
}

/*
 * Undoes the last request of a group.  The next request with the index belongs
 * to the group again, unless another request has begun a group meanwhile: then
 * the requests become part of that group, as for the guest.
 */
static void pri_reopen(PRILedger *l, PRIGroup *g, uint32_t requests)
{
    PRIGroupList *groups = &g->index->groups;
    PRIGroup *youngest = QTAILQ_LAST(groups);

    if (youngest->state == PRI_GROUP_SENDING) {
        pri_group_set(l, youngest, PRI_GROUP_SENDING,
                      youngest->requests + requests, youngest->kept);
        pri_group_free(l, g);
        return;
    }
    QTAILQ_REMOVE(groups, g, of_index);
    QTAILQ_INSERT_TAIL(groups, g, of_index);
    pri_group_set(l, g, PRI_GROUP_SENDING, requests, 1);
}

bool pri_ledger_undo(PRILedger *l, PRIPasid *p, const PRIGroupRef *ref,
                     bool last)
{
    PRIGroup *g = pri_group_find(p, ref);
    uint32_t requests;

    if (!g) {
        return false;
    }
    requests = g->requests - 1;
    if (g->owner && !requests) {
        pri_group_set(l, g, PRI_GROUP_RESERVED, 0, g->kept + 1);
    } else if (!requests || (last && g->state == PRI_GROUP_ABANDONED)) {
        pri_group_free(l, g);
    } else if (last) {
        pri_reopen(l, g, requests);
    } else {
        pri_group_set(l, g, g->state, requests, g->kept + !!g->owner);
    }
    return true;
}

/* ---- Ends of groups ---- */

/* @ended may be NULL */
static void pri_group_end(PRILedger *l, PRIGroup *g, PRIEndedGroup *ended)
{
    if (ended) {
        ended->pasid = g->index->pasid;
        ended->user = g->index->pasid->user;
        ended->state = g->state;
        ended->prgi = g->index->prgi;
        ended->owner = g->owner;
    }
    pri_group_free(l, g);
}

bool pri_ledger_respond(PRILedger *l, PRIPasid *p, uint16_t prgi,
                        PRIEndedGroup *ended)
{
    PRIIndex *index = pri_index_find(p, prgi);
    PRIGroup *g = index ? QTAILQ_FIRST(&index->groups) : NULL;

    if (!g || g->state == PRI_GROUP_RESERVED) {
        return false;
    }
    pri_group_end(l, g, ended);
    return true;
}

PRIPasid *pri_ledger_find(const PRILedger *l, uint16_t prgi)
{
    PRIIndex *index;

    QTAILQ_FOREACH(index, &l->users[prgi], of_function) {
        PRIGroupState state = QTAILQ_FIRST(&index->groups)->state;

        if (state != PRI_GROUP_RESERVED && state != PRI_GROUP_SENDING) {
            return index->pasid;
        }
    }
    return NULL;
}

static void pri_group_abandon(PRILedger *l, PRIGroup *g)
{
    if (g->state == PRI_GROUP_RESERVED || g->state == PRI_GROUP_SENDING) {
        pri_group_free(l, g);
        return;
    }
    pri_group_set(l, g, PRI_GROUP_ABANDONED, g->requests, 0);
    g->owner = NULL;
}

bool pri_ledger_abandon(PRILedger *l, PRIPasid *p, const PRIGroupRef *ref)
{
    PRIGroup *g = pri_group_find(p, ref);

    if (g) {
        pri_group_abandon(l, g);
    }
    return g;
}

void pri_ledger_abandon_all(PRILedger *l, PRIPasid *p)
{
    PRIIndex *index, *next_index;
    PRIGroup *g, *next;

    QLIST_FOREACH_SAFE(index, &p->indices, of_pasid, next_index) {
        QTAILQ_FOREACH_SAFE(g, &index->groups, of_index, next) {
            pri_group_abandon(l, g);
        }
    }
}

unsigned pri_ledger_drop(PRILedger *l, PRIPasid *p, PRIEndedGroup *ended)
{
    unsigned n = 0;
    PRIIndex *index;

    while ((index = QLIST_FIRST(&p->indices))) {
        pri_group_end(l, QTAILQ_FIRST(&index->groups),
                      ended ? &ended[n] : NULL);
        n++;
    }
    return n;
}

/* ---- Migration ---- */

/* Returns false if no response to the groups of the index is to come */
static bool pri_index_save(const PRIIndex *index, PRISavedGroup *saved)
{
    const PRIGroup *g;

    *saved = (PRISavedGroup) {
        .pasid = index->pasid->pasid,
        .prgi = index->prgi,
    };
    QTAILQ_FOREACH(g, &index->groups, of_index) {
        if (g->state != PRI_GROUP_RESERVED && g->state != PRI_GROUP_SENDING) {
            saved->requests += g->requests;
            saved->last_requests++;
            saved->abandoned += g->state == PRI_GROUP_ABANDONED;
        }
    }
    return saved->last_requests;
}

/*
 * The order is that in which PASIDs began to use an index, for which
 * pri_ledger_load() has no other information.
 */
unsigned pri_ledger_save(const PRILedger *l, PRISavedGroup *saved)
{
    unsigned long prgi = find_first_bit(l->used, PCI_PRGI_MAX + 1);
    unsigned n = 0;
    PRIIndex *index;

    while (prgi <= PCI_PRGI_MAX) {
        QTAILQ_FOREACH(index, &l->users[prgi], of_function) {
            n += pri_index_save(index, &saved[n]);
        }
        prgi = find_next_bit(l->used, PCI_PRGI_MAX + 1, prgi + 1);
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

    /* There is no response to groups without their last request. */
    if (!saved->last_requests) {
        return;
    }
    index = pri_index_new(l, p, saved->prgi);
    for (uint32_t i = 0; i < saved->last_requests; i++) {
        bool is_last = i == saved->last_requests - 1;

        /* The stream has the total of requests, not those of each group. */
        pri_group_set(l, pri_group_new(l, index, NULL),
                      i < saved->abandoned ? PRI_GROUP_ABANDONED
                                           : PRI_GROUP_LOADED,
                      is_last ? requests : 1, 0);
        requests--;
    }
}

/* ---- Life ---- */

void pri_ledger_init(PRILedger *l)
{
    QTAILQ_INIT(&l->sending);
    for (unsigned i = 0; i <= PCI_PRGI_MAX; i++) {
        QTAILQ_INIT(&l->users[i]);
    }
}

void pri_pasid_init(PRIPasid *p, uint32_t pasid)
{
    p->pasid = pasid;
    for (unsigned i = 0; i < PRI_PASID_BUCKETS; i++) {
        QTAILQ_INIT(&p->buckets[i]);
    }
}

void pri_ledger_destroy(PRILedger *l)
{
    PRIIndex *index;
    PRIGroup *g;

    while ((g = QSLIST_FIRST(&l->free_groups))) {
        QSLIST_REMOVE_HEAD(&l->free_groups, free);
        g_free(g);
    }
    while ((index = QSLIST_FIRST(&l->free_indices))) {
        QSLIST_REMOVE_HEAD(&l->free_indices, free);
        g_free(index);
    }
}
