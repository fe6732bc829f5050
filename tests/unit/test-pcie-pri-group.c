/*
 * Unit tests for the ledger of page request groups
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * hw/pci/pcie_pri_group.c against a plain model: an array of groups, searched
 * from its beginning.  Section numbers are those of the PCI Express Base
 * Specification 5.0.
 *
 * Environment:
 *   PRI_TEST_SEED  seed of the random sequences (printed; default: the time)
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "hw/pci/pcie_pri_group.h"
#include "test-random.h"

#define PASIDS      3
#define GROUPS_MAX  4096
#define ALLOC       16

/* PRG indices, some of which share a bucket */
static const uint16_t indices[] = {
    0, 1, 1 + PRI_PASID_BUCKETS, 1 + 2 * PRI_PASID_BUCKETS, PCI_PRGI_MAX
};

/* ---- The model ---- */

typedef struct Group {
    unsigned pasid;
    uint16_t prgi;
    PRIGroupState state;
    uint32_t requests;
    uint32_t kept;
    uint64_t id;
    void *owner;
    unsigned since;             /* time at which it became SENDING */
} Group;

typedef struct Model {
    Group groups[GROUPS_MAX];   /* in the order of responses */
    unsigned n;
    unsigned time;
} Model;

static Model model;
static PRILedger ledger;
static PRIPasid pasids[PASIDS];

static bool foreign(const Group *g)
{
    return g->state == PRI_GROUP_LOADED || g->state == PRI_GROUP_ABANDONED;
}

static void model_remove(Group *g)
{
    memmove(g, g + 1, (model.groups + model.n - (g + 1)) * sizeof(*g));
    model.n--;
}

static Group *model_add(unsigned pasid, uint16_t prgi)
{
    Group *g = &model.groups[model.n++];

    assert_in_range(model.n, 1, GROUPS_MAX);
    *g = (Group) { .pasid = pasid, .prgi = prgi };
    return g;
}

static unsigned model_requests(void)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < model.n; i++) {
        sum += model.groups[i].requests;
    }
    return sum;
}

static unsigned model_kept(void)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < model.n; i++) {
        sum += model.groups[i].kept;
    }
    return sum;
}

static unsigned model_count(PRIGroupState state)
{
    unsigned sum = 0;

    for (unsigned i = 0; i < model.n; i++) {
        sum += model.groups[i].state == state;
    }
    return sum;
}

/* Finds the first group with the index in @state; %PRI_GROUP_FREE is any */
static Group *model_find(unsigned pasid, uint16_t prgi, PRIGroupState state)
{
    for (unsigned i = 0; i < model.n; i++) {
        Group *g = &model.groups[i];

        if (g->pasid == pasid && g->prgi == prgi &&
            (state == PRI_GROUP_FREE || g->state == state)) {
            return g;
        }
    }
    return NULL;
}

static Group *model_find_id(uint64_t id)
{
    for (unsigned i = 0; i < model.n; i++) {
        if (model.groups[i].id == id) {
            return &model.groups[i];
        }
    }
    return NULL;
}

/* Finds the first group to drop, other than @keep */
static Group *model_oldest(uint64_t keep)
{
    Group *oldest = NULL;

    for (unsigned i = 0; i < model.n; i++) {
        Group *g = &model.groups[i];

        if (g->state == PRI_GROUP_SENDING && !g->owner && g->id != keep &&
            (!oldest || g->since < oldest->since)) {
            oldest = g;
        }
    }
    return oldest;
}

static bool model_has_room(unsigned more, uint32_t alloc)
{
    return !more || model_requests() + model_kept() + more <= alloc;
}

/* Drops groups until the requests fit; returns false if it must not */
static bool model_make_room(unsigned more, uint32_t alloc, uint64_t keep)
{
    Group *oldest;

    if (!model_has_room(more, alloc) &&
        model_count(PRI_GROUP_LOADED) + model_count(PRI_GROUP_ABANDONED)) {
        return false;
    }
    while (!model_has_room(more, alloc) && (oldest = model_oldest(keep))) {
        model_remove(oldest);
    }
    return true;
}

static int model_send(unsigned pasid, uint16_t prgi, bool last, uint32_t alloc,
                      uint64_t id)
{
    Group *g = model_find(pasid, prgi, PRI_GROUP_FREE);
    uint64_t keep;

    if (g && (foreign(g) || g->owner)) {
        return -ENOSPC;
    }
    g = model_find(pasid, prgi, PRI_GROUP_SENDING);
    keep = g ? g->id : 0;
    if (!model_make_room(!keep + !last, alloc, keep)) {
        return -ENOSPC;
    }
    g = keep ? model_find_id(keep) : model_add(pasid, prgi);
    if (!keep) {
        g->id = id;
        g->since = model.time++;
    }
    g->state = last ? PRI_GROUP_CLOSED : PRI_GROUP_SENDING;
    g->requests++;
    g->kept = !last;
    return 0;
}

static bool model_uses(uint16_t prgi)
{
    for (unsigned i = 0; i < model.n; i++) {
        if (model.groups[i].prgi == prgi) {
            return true;
        }
    }
    return false;
}

/* Checks the reservation of a group for @n requests, or its failure */
static void model_reserve(unsigned pasid, uint32_t alloc, uint32_t wanted,
                          bool found, uint32_t n, void *owner,
                          const PRIGroupRef *ref)
{
    bool has_room = model_make_room(1, alloc, 0) && model_has_room(1, alloc);
    Group *g;

    assert_int_equal(found, has_room);
    if (!found) {
        return;
    }
    assert_int_equal(n, MIN(wanted, alloc - model_requests() - model_kept()));
    assert_in_range(ref->prgi, 0, PCI_PRGI_MAX);
    assert_false(model_uses(ref->prgi));
    g = model_add(pasid, ref->prgi);
    g->state = PRI_GROUP_RESERVED;
    g->kept = n;
    g->id = ref->id;
    g->owner = owner;
}

static bool model_send_reserved(uint64_t id, bool last)
{
    Group *g = model_find_id(id);

    if (g) {
        g->state = last ? PRI_GROUP_CLOSED : PRI_GROUP_SENDING;
        g->requests++;
        g->kept = last ? 0 : MAX(g->kept - 1, 1);
    }
    return g;
}

static void model_reopen(Group *g)
{
    Group *other = model_find(g->pasid, g->prgi, PRI_GROUP_SENDING);
    Group reopened = *g;

    model_remove(g);
    if (other) {
        other = model_find(reopened.pasid, reopened.prgi, PRI_GROUP_SENDING);
        other->requests += reopened.requests;
        return;
    }
    reopened.state = PRI_GROUP_SENDING;
    reopened.kept = 1;
    reopened.since = model.time++;
    model.groups[model.n++] = reopened;
}

static bool model_undo(uint64_t id, bool last)
{
    Group *g = model_find_id(id);

    if (!g) {
        return false;
    }
    g->requests--;
    if (g->owner && !g->requests) {
        g->state = PRI_GROUP_RESERVED;
        g->kept++;
    } else if (!g->requests || (last && g->state == PRI_GROUP_ABANDONED)) {
        model_remove(g);
    } else if (last) {
        model_reopen(g);
    } else if (g->owner) {
        g->kept++;
    }
    return true;
}

/* Returns the group, or one without requests if there is none */
static Group model_respond(unsigned pasid, uint16_t prgi)
{
    Group *g = model_find(pasid, prgi, PRI_GROUP_FREE);
    Group ended = { };

    if (g && g->requests) {
        ended = *g;
        model_remove(g);
    }
    return ended;
}

static void model_abandon(Group *g)
{
    if (g->state == PRI_GROUP_SENDING || g->state == PRI_GROUP_RESERVED) {
        model_remove(g);
        return;
    }
    g->state = PRI_GROUP_ABANDONED;
    g->owner = NULL;
}

static void model_abandon_all(unsigned pasid)
{
    for (unsigned i = model.n; i-- > 0;) {
        if (model.groups[i].pasid == pasid) {
            model_abandon(&model.groups[i]);
        }
    }
}

/* Returns the number of dropped groups */
static unsigned model_drop(unsigned pasid)
{
    unsigned n = 0;

    for (unsigned i = model.n; i-- > 0;) {
        if (model.groups[i].pasid == pasid) {
            n++;
            model_remove(&model.groups[i]);
        }
    }
    return n;
}

/* ---- Comparison of the ledger with the model ---- */

/* Returns true if a response to the oldest group of a PASID and index is due */
static bool model_due(unsigned pasid, uint16_t prgi)
{
    const Group *g = model_find(pasid, prgi, PRI_GROUP_FREE);

    return g && g->state >= PRI_GROUP_CLOSED;
}

/* 10.5.2.3: responses without PASID; the last PASID is PCI_NO_PASID */
static void check_find(uint16_t prgi)
{
    const PRIPasid *found = pri_ledger_find(&ledger, prgi);
    bool due = false;

    for (unsigned i = 0; i < PASIDS; i++) {
        due |= model_due(i, prgi);
    }
    if (!due) {
        assert_null(found);
    } else if (model_due(PASIDS - 1, prgi)) {
        assert_ptr_equal(found, &pasids[PASIDS - 1]);
    } else {
        assert_non_null(found);
        assert_true(model_due(found - pasids, prgi));
    }
}

static void check(void)
{
    uint32_t unclosed = 0;

    for (unsigned i = 0; i < model.n; i++) {
        if (model.groups[i].state == PRI_GROUP_SENDING) {
            unclosed += model.groups[i].requests;
        }
    }
    assert_int_equal(ledger.outstanding, model_requests());
    assert_int_equal(ledger.unclosed, unclosed);
    assert_int_equal(ledger.kept, model_kept());
    assert_int_equal(ledger.num_groups, model.n);
    for (PRIGroupState s = PRI_GROUP_RESERVED; s < PRI_GROUP_STATES; s++) {
        unsigned sum = 0;

        for (unsigned i = 0; i < PASIDS; i++) {
            sum += pasids[i].num[s];
        }
        assert_int_equal(ledger.num[s], model_count(s));
        assert_int_equal(sum, model_count(s));
    }
    for (unsigned i = 0; i < ARRAY_SIZE(indices); i++) {
        check_find(indices[i]);
    }
}

static void start(void)
{
    memset(&ledger, 0, sizeof(ledger));
    memset(pasids, 0, sizeof(pasids));
    memset(&model, 0, sizeof(model));
    pri_ledger_init(&ledger);
    for (unsigned i = 0; i < PASIDS; i++) {
        pri_pasid_init(&pasids[i], i == 2 ? PCI_NO_PASID : i);
        pasids[i].user = 100 + i;
    }
}

static void drop(unsigned pasid)
{
    unsigned max = pasids[pasid].num_groups;
    g_autofree PRIEndedGroup *ended = g_new(PRIEndedGroup, max);
    unsigned n = pri_ledger_drop(&ledger, &pasids[pasid], ended);

    for (unsigned i = 0; i < n; i++) {
        Group *g = model_find(pasid, ended[i].prgi, ended[i].state);

        assert_ptr_equal(ended[i].pasid, &pasids[pasid]);
        assert_int_equal(ended[i].user, pasids[pasid].user);
        assert_non_null(g);
        assert_ptr_equal(ended[i].owner, g->owner);
    }
    assert_int_equal(n, model_drop(pasid));
}

static void stop(void)
{
    for (unsigned i = 0; i < PASIDS; i++) {
        drop(i);
    }
    check();
    pri_ledger_destroy(&ledger);
}

static int send_alloc(unsigned pasid, uint16_t prgi, bool last, uint32_t alloc,
                      PRIGroupRef *ref)
{
    int ret = pri_ledger_send(&ledger, &pasids[pasid], prgi, last, alloc, ref);

    assert_int_equal(ret, model_send(pasid, prgi, last, alloc, ref->id));
    check();
    return ret;
}

static int send_one(unsigned pasid, uint16_t prgi, bool last)
{
    PRIGroupRef ref = { };

    return send_alloc(pasid, prgi, last, ALLOC, &ref);
}

static PRIGroupState respond(unsigned pasid, uint16_t prgi)
{
    PRIEndedGroup ended = { };
    bool found = pri_ledger_respond(&ledger, &pasids[pasid], prgi, &ended);
    Group g = model_respond(pasid, prgi);

    assert_int_equal(found, g.requests > 0);
    assert_int_equal(ended.state, g.state);
    assert_ptr_equal(ended.owner, g.owner);
    check();
    return ended.state;
}

static void abandon_all(unsigned pasid)
{
    pri_ledger_abandon_all(&ledger, &pasids[pasid]);
    model_abandon_all(pasid);
    check();
}

static bool undo(unsigned pasid, bool last, PRIGroupRef ref)
{
    bool undone = pri_ledger_undo(&ledger, &pasids[pasid], &ref, last);

    assert_int_equal(undone, model_undo(ref.id, last));
    check();
    return undone;
}

/* Used for unique pointers to owners */
static unsigned owners;

static bool reserve(unsigned pasid, uint32_t alloc, uint32_t wanted,
                    PRIGroupRef *ref)
{
    void *owner = GUINT_TO_POINTER(++owners);
    uint32_t n = wanted;
    bool found = pri_ledger_reserve(&ledger, &pasids[pasid], alloc, owner, &n,
                                    ref);

    model_reserve(pasid, alloc, wanted, found, n, owner, ref);
    check();
    return found;
}

static bool send_reserved(unsigned pasid, PRIGroupRef ref, bool last)
{
    bool found = pri_ledger_send_reserved(&ledger, &pasids[pasid], &ref, last);

    assert_int_equal(found, model_send_reserved(ref.id, last));
    check();
    return found;
}

static bool abandon(unsigned pasid, PRIGroupRef ref)
{
    bool found = pri_ledger_abandon(&ledger, &pasids[pasid], &ref);
    Group *g = model_find_id(ref.id);

    assert_int_equal(found, g != NULL);
    if (g) {
        model_abandon(g);
    }
    check();
    return found;
}

static void keep_last(unsigned pasid, PRIGroupRef ref)
{
    Group *g = model_find_id(ref.id);

    pri_ledger_keep_last(&ledger, &pasids[pasid], &ref);
    if (g) {
        g->kept = MIN(g->kept, 1);
    }
    check();
}

/*
 * Saves all groups, drops them, and loads them again.  Responses without PASID
 * belong to the same PASIDs as before.
 */
static void migrate(void)
{
    g_autofree PRISavedGroup *saved = g_new(PRISavedGroup, model.n);
    const PRIPasid *found[PCI_PRGI_MAX + 1];
    unsigned n = pri_ledger_save(&ledger, saved);

    for (unsigned i = 0; i <= PCI_PRGI_MAX; i++) {
        found[i] = pri_ledger_find(&ledger, i);
    }
    for (unsigned i = 0; i < PASIDS; i++) {
        drop(i);
    }
    for (unsigned i = 0; i < n; i++) {
        unsigned pasid = MIN(saved[i].pasid, PASIDS - 1);

        assert_null(pri_ledger_check(&ledger, &pasids[pasid], &saved[i]));
        pri_ledger_load(&ledger, &pasids[pasid], &saved[i]);
        assert_string_equal(pri_ledger_check(&ledger, &pasids[pasid],
                                             &saved[i]), "prgi");
        for (unsigned j = 0; j < saved[i].last_requests; j++) {
            Group *g = model_add(pasid, saved[i].prgi);

            g->state = j < saved[i].abandoned ? PRI_GROUP_ABANDONED
                                              : PRI_GROUP_LOADED;
            g->requests = j < saved[i].last_requests - 1 ? 1 :
                          saved[i].requests - j;
        }
    }
    check();
    for (unsigned i = 0; i <= PCI_PRGI_MAX; i++) {
        assert_ptr_equal(pri_ledger_find(&ledger, i), found[i]);
    }
}

/* ---- Tests ---- */

/* 10.4.2: a response ends one group, the one with its PASID and index */
static void test_states(void **state)
{
    start();
    assert_int_equal(respond(0, 0), PRI_GROUP_FREE);
    assert_int_equal(send_one(0, 0, false), 0);
    assert_int_equal(pasids[0].num[PRI_GROUP_SENDING], 1);
    assert_int_equal(send_one(0, 0, true), 0);
    assert_int_equal(pasids[0].num[PRI_GROUP_CLOSED], 1);
    assert_int_equal(respond(1, 0), PRI_GROUP_FREE);
    assert_int_equal(respond(0, 1), PRI_GROUP_FREE);
    abandon_all(0);
    assert_int_equal(send_one(0, 0, true), -ENOSPC);
    assert_int_equal(respond(0, 0), PRI_GROUP_ABANDONED);
    assert_int_equal(send_one(0, 0, true), 0);
    assert_int_equal(respond(0, 0), PRI_GROUP_CLOSED);
    stop();
}

/* Responses end groups with the same index in turn, with all their requests */
static void test_same_index(void **state)
{
    start();
    for (unsigned n = 1; n <= 3; n++) {
        for (unsigned i = 1; i <= n; i++) {
            assert_int_equal(send_one(0, 7, i == n), 0);
        }
    }
    assert_int_equal(send_one(0, 7, false), 0);
    assert_int_equal(ledger.outstanding, 7);
    assert_int_equal(respond(0, 7), PRI_GROUP_CLOSED);
    assert_int_equal(ledger.outstanding, 6);
    assert_int_equal(respond(0, 7), PRI_GROUP_CLOSED);
    assert_int_equal(ledger.outstanding, 4);
    assert_int_equal(respond(0, 7), PRI_GROUP_CLOSED);
    assert_int_equal(ledger.outstanding, 1);
    assert_int_equal(respond(0, 7), PRI_GROUP_SENDING);
    stop();
}

/* Undo of a last request, with and without a new group of the same index */
static void test_undo(void **state)
{
    PRIGroupRef first, second, third;

    start();
    assert_int_equal(send_alloc(0, 7, false, ALLOC, &first), 0);
    assert_int_equal(send_alloc(0, 7, true, ALLOC, &first), 0);
    assert_true(undo(0, true, first));
    assert_int_equal(pasids[0].num[PRI_GROUP_SENDING], 1);
    assert_int_equal(send_alloc(0, 7, true, ALLOC, &second), 0);
    assert_int_equal(second.id, first.id);
    assert_int_equal(send_alloc(0, 7, false, ALLOC, &third), 0);
    assert_true(undo(0, true, first));
    assert_int_equal(ledger.num_groups, 1);
    assert_int_equal(ledger.outstanding, 2);
    assert_false(undo(0, true, first));
    assert_true(undo(0, false, third));
    assert_true(undo(0, false, third));
    assert_int_equal(ledger.num_groups, 0);
    /* The requester is gone, so that no request can close the group. */
    assert_int_equal(send_alloc(0, 7, false, ALLOC, &first), 0);
    assert_int_equal(send_alloc(0, 7, true, ALLOC, &first), 0);
    abandon_all(0);
    assert_true(undo(0, true, first));
    assert_int_equal(ledger.num_groups, 0);
    stop();
}

/* 10.4.1: a reserved index is unique, and its part of the allocation is kept */
static void test_reserved(void **state)
{
    PRIGroupRef a, b, c;

    start();
    assert_int_equal(send_one(1, 0, true), 0);
    assert_true(reserve(0, ALLOC, 10, &a));
    assert_int_equal(ledger.kept, 10);
    assert_int_not_equal(a.prgi, 0);
    assert_true(reserve(0, ALLOC, 10, &b));
    assert_int_equal(ledger.kept, ALLOC - 1);
    assert_false(reserve(0, ALLOC, 1, &c));
    /* No request has been sent to which a response is due. */
    assert_int_equal(respond(0, a.prgi), PRI_GROUP_FREE);
    /* A request with a reserved index fails for the same PASID, too. */
    assert_int_equal(send_one(0, a.prgi, true), -ENOSPC);

    assert_true(send_reserved(0, a, false));
    keep_last(0, a);
    assert_int_equal(ledger.kept, 6);
    assert_true(send_reserved(0, a, true));
    assert_int_equal(respond(0, a.prgi), PRI_GROUP_CLOSED);
    assert_false(send_reserved(0, a, true));
    assert_false(abandon(0, a));

    assert_true(send_reserved(0, b, true));
    assert_true(undo(0, true, b));
    assert_int_equal(pasids[0].num[PRI_GROUP_RESERVED], 1);
    assert_true(send_reserved(0, b, true));
    assert_true(abandon(0, b));
    assert_int_equal(send_one(0, b.prgi, true), -ENOSPC);
    assert_int_equal(respond(0, b.prgi), PRI_GROUP_ABANDONED);
    assert_int_equal(send_one(0, b.prgi, true), 0);
    stop();
}

/* There cannot be more reserved groups than indices */
static void test_indices(void **state)
{
    PRIGroupRef ref, last;

    start();
    for (unsigned i = 0; i <= PCI_PRGI_MAX; i++) {
        assert_true(reserve(i % 2, 1024, 1, &ref));
    }
    assert_false(pri_ledger_reserve(&ledger, &pasids[0], 1024, &owners,
                                    &(uint32_t) { 1 }, &last));
    assert_true(abandon(PCI_PRGI_MAX % 2, ref));
    assert_true(reserve(0, 1024, 1, &last));
    assert_int_equal(last.prgi, ref.prgi);
    stop();
}

/* PRI_OUTSTANDING_MAX limits requests, whatever the guest allocates */
static void test_outstanding_max(void **state)
{
    PRIEndedGroup ended;
    PRIGroupRef ref;

    start();
    for (unsigned i = 0; i < PRI_OUTSTANDING_MAX; i++) {
        assert_int_equal(pri_ledger_send(&ledger, &pasids[0], 0, true,
                                         UINT32_MAX, &ref), 0);
    }
    assert_int_equal(pri_ledger_send(&ledger, &pasids[0], 0, true, UINT32_MAX,
                                     &ref), -ENOSPC);
    assert_false(pri_ledger_reserve(&ledger, &pasids[0], UINT32_MAX, &owners,
                                    &(uint32_t) { 1 }, &ref));
    pri_ledger_abandon_all(&ledger, &pasids[0]);
    for (unsigned i = 0; i < PRI_OUTSTANDING_MAX; i++) {
        assert_true(pri_ledger_respond(&ledger, &pasids[0], 0, &ended));
        assert_int_equal(ended.state, PRI_GROUP_ABANDONED);
    }
    stop();
}

static void test_check(void **state)
{
    static const struct {
        PRISavedGroup saved;
        const char *invalid;
    } cases[] = {
        { { 0, 0, 1, 1, 1 }, NULL },
        { { PCI_NO_PASID, PCI_PRGI_MAX, PRI_OUTSTANDING_MAX, 1, 0 }, NULL },
        { { PCI_PASID_MAX + 1, 0, 1, 1, 0 }, "pasid" },
        { { PCI_NO_PASID - 1, 0, 1, 1, 0 }, "pasid" },
        { { 0, PCI_PRGI_MAX + 1, 1, 1, 0 }, "prgi" },
        { { 0, 0, 0, 0, 0 }, "requests" },
        { { 0, 0, PRI_OUTSTANDING_MAX + 1, 1, 0 }, "requests" },
        { { 0, 0, 1, 2, 0 }, "last_requests" },
        { { 0, 0, 2, 1, 2 }, "abandoned" },
    };

    start();
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        const char *invalid = pri_ledger_check(&ledger, NULL, &cases[i].saved);

        if (cases[i].invalid) {
            assert_string_equal(invalid, cases[i].invalid);
        } else {
            assert_null(invalid);
        }
    }
    stop();
}

/* ---- Random sequences ---- */

/* A request that can be undone, or a reserved group */
typedef struct Sent {
    unsigned pasid;
    bool last;
    PRIGroupRef ref;
} Sent;

/* Calls a random function for a reserved group, which may have ended */
static void random_reserved(uint64_t r, Sent *s)
{
    const Group *g = model_find_id(s->ref.id);
    bool last = r & 8;
    Sent n;

    switch (r % 8) {
    case 0:
        n = *s;
        n.pasid = (r >> 8) % PASIDS;
        if (reserve(n.pasid, ALLOC, 1 + (r >> 16) % 8, &n.ref)) {
            *s = n;
        }
        break;
    case 1:
        abandon(s->pasid, s->ref);
        break;
    case 2:
        keep_last(s->pasid, s->ref);
        break;
    case 3:
        respond(s->pasid, s->ref.prgi);
        break;
    default:
        /* The owner sends no request after the last one. */
        if (!g || g->state < PRI_GROUP_CLOSED) {
            if (send_reserved(s->pasid, s->ref, last) && (r & 16)) {
                undo(s->pasid, last, s->ref);
            }
        }
        break;
    }
}

static void random_step(uint64_t *seed, Sent *sent, Sent *reserved, unsigned n)
{
    uint64_t r = random64(seed);
    unsigned pasid = (r >> 8) % PASIDS;
    uint16_t prgi = indices[(r >> 16) % ARRAY_SIZE(indices)];
    Sent *s = &sent[(r >> 24) % n];

    switch (r % 64) {
    case 0:
        drop(pasid);
        break;
    case 1:
        abandon_all(pasid);
        break;
    case 2:
        migrate();
        break;
    case 3 ... 9:
        /* Each request is undone at most once. */
        if (s->ref.id) {
            undo(s->pasid, s->last, s->ref);
            s->ref.id = 0;
        }
        break;
    case 10 ... 25:
        respond(pasid, prgi);
        break;
    case 26 ... 43:
        random_reserved(random64(seed), &reserved[(r >> 24) % n]);
        break;
    default:
        *s = (Sent) { .pasid = pasid, .last = r >> 63 };
        send_alloc(pasid, prgi, s->last, (r >> 32) % 4 ? ALLOC : 4, &s->ref);
        break;
    }
    check();
}

static void test_random(void **state)
{
    uint64_t seed = env_seed("PRI_TEST_SEED");

    for (unsigned i = 0; i < 200; i++) {
        Sent sent[4] = { };
        Sent reserved[4] = { };

        for (unsigned j = 0; j < ARRAY_SIZE(reserved); j++) {
            reserved[j].ref.id = UINT64_MAX;
        }
        start();
        for (unsigned j = 0; j < 1000; j++) {
            random_step(&seed, sent, reserved, ARRAY_SIZE(sent));
        }
        stop();
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_states),
        cmocka_unit_test(test_same_index),
        cmocka_unit_test(test_undo),
        cmocka_unit_test(test_reserved),
        cmocka_unit_test(test_indices),
        cmocka_unit_test(test_outstanding_max),
        cmocka_unit_test(test_check),
        cmocka_unit_test(test_random),
    };

    return cmocka_run_group_tests_name("pcie-pri-group", tests, NULL, NULL);
}
