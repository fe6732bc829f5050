/*
 * Page request groups of a function: the ledger
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The ledger knows every page request group of a function that is outstanding,
 * and how much of the Outstanding Page Request Allocation the groups use.  It
 * is a plain data structure: it takes no lock, calls nothing, and the caller
 * serializes all calls.  The members of PRILedger and PRIPasid that are marked
 * "read anywhere" are written atomically, for readers without the lock.
 *
 * States of a group, and the events that change them:
 *
 *   state      response   events
 *   FREE       no         send: SENDING; send the last request: CLOSED;
 *                         load: LOADED or ABANDONED
 *   SENDING    no         send: SENDING; send the last request: CLOSED;
 *                         forget, abandon: FREE
 *   CLOSED     due        undo the last request: SENDING; abandon: ABANDONED
 *   LOADED     due        abandon: ABANDONED
 *   ABANDONED  due        -
 *
 * A response or a reset frees a group of any state, and so does undoing its
 * only request.
 *
 * A PASID can use an index again before the response to the group that has it.
 * Its groups are answered in the order in which they were closed.  An index is
 * not used again while the group that has it is LOADED or ABANDONED: no
 * requester expects that response (PCIe 5.0, 10.4.1).
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#ifndef HW_PCI_PCIE_PRI_GROUP_H
#define HW_PCI_PCIE_PRI_GROUP_H

#include "qemu/queue.h"
#include "hw/pci/pci_iommu.h"

/* A limit for what the guest allocates, and for what a stream brings */
#define PRI_OUTSTANDING_MAX (1 << 16)

/* A bucket has at most 16 indices */
#define PRI_PASID_BUCKETS   32

typedef enum PRIGroupState {
    PRI_GROUP_FREE,
    PRI_GROUP_SENDING,          /* the last request has not been sent */
    PRI_GROUP_CLOSED,           /* the last request has been sent */
    PRI_GROUP_LOADED,           /* closed, came with the migration stream */
    PRI_GROUP_ABANDONED,        /* closed, its requester is gone */
    PRI_GROUP_STATES
} PRIGroupState;

typedef struct PRIIndex PRIIndex;

typedef struct PRIGroup {
    uint64_t id;                /* unique in the ledger, not 0 */
    PRIGroupState state;
    uint32_t requests;          /* outstanding */
    PRIIndex *index;
    /* By age; or in the list of free groups */
    QTAILQ_ENTRY(PRIGroup) of_index;
    QTAILQ_ENTRY(PRIGroup) sending;
} PRIGroup;

typedef QTAILQ_HEAD(, PRIGroup) PRIGroupList;

typedef QLIST_HEAD(, PRIIndex) PRIIndexList;

/* The groups of one PASID. Zeroed when new. */
typedef struct PRIPasid {
    uint32_t pasid;             /* constant */
    /* Of the requester whose groups these are but for ABANDONED ones, or 0 */
    uint32_t user;
    unsigned num_groups;
    unsigned num[PRI_GROUP_STATES];
    PRIIndexList indices;
    PRIIndexList buckets[PRI_PASID_BUCKETS];
} PRIPasid;

typedef struct PRILedger {
    uint32_t outstanding;       /* requests; read anywhere */
    uint32_t unclosed;          /* of them: in groups that are SENDING */
    unsigned num_groups;
    unsigned num[PRI_GROUP_STATES];     /* read anywhere */
    uint64_t last_id;
    PRIGroupList sending;       /* by the time of the first request */
    /* Kept, so that a request allocates no memory in the long run */
    PRIGroupList free_groups;
    PRIIndexList free_indices;
} PRILedger;

/* A group that a reset has ended, and whose requester expects a response */
typedef struct PRIDroppedGroup {
    PRIPasid *pasid;
    uint32_t user;              /* of @pasid */
    uint16_t prgi;
} PRIDroppedGroup;

/* The groups of a PASID with the same index, as they are in the stream */
typedef struct PRISavedGroup {
    uint32_t pasid;
    uint32_t prgi;
    uint32_t requests;
    uint32_t last_requests;     /* groups; each sent one last request */
    uint32_t abandoned;         /* of @last_requests */
} PRISavedGroup;

/**
 * pri_ledger_init: begin without groups
 *
 * @l: the ledger, zeroed
 */
void pri_ledger_init(PRILedger *l);

/**
 * pri_ledger_destroy: free the memory of a ledger
 *
 * @l: the ledger; it has no groups
 */
void pri_ledger_destroy(PRILedger *l);

/**
 * pri_ledger_send: account for one request, before it is sent (10.4.1)
 *
 * The request belongs to the SENDING group of @p that has the index, or else
 * begins a group.  Each SENDING group has a place in the allocation for its
 * last request.  Where the allocation is exhausted, SENDING groups are
 * forgotten, oldest first, but not the one that gets this request.  If this is
 * not enough the request counts all the same: the requester chooses how much it
 * sends.  However, it does not know LOADED and ABANDONED groups; while there
 * are any the request is refused instead.
 *
 * @l: the ledger
 * @p: the PASID of the request
 * @prgi: 0 to PCI_PRGI_MAX
 * @last: this is the last request of the group
 * @alloc: Outstanding Page Request Allocation
 * @id: set to the id of the group
 *
 * Returns: 0; -ENOSPC if a LOADED or ABANDONED group has the index or the
 * allocation is exhausted as above, or PRI_OUTSTANDING_MAX requests are
 * outstanding
 */
int pri_ledger_send(PRILedger *l, PRIPasid *p, uint16_t prgi, bool last,
                    uint32_t alloc, uint64_t *id);

/**
 * pri_ledger_undo: a request could not be sent after all
 *
 * @l: the ledger
 * @p: the PASID of the request
 * @prgi: as for pri_ledger_send()
 * @last: as for pri_ledger_send()
 * @id: the group, from pri_ledger_send()
 *
 * Returns: true; false if the group is gone: a response, a reset, or
 * pri_ledger_send() for another request has ended it.
 */
bool pri_ledger_undo(PRILedger *l, PRIPasid *p, uint16_t prgi, bool last,
                     uint64_t id);

/**
 * pri_ledger_respond: end the group that a response is for (10.4.2)
 *
 * That is the oldest with the index.
 *
 * @l: the ledger
 * @p: the PASID of the response
 * @prgi: 0 to PCI_PRGI_MAX
 *
 * Returns: the state that the group was in; %PRI_GROUP_FREE if there is none.
 */
PRIGroupState pri_ledger_respond(PRILedger *l, PRIPasid *p, uint16_t prgi);

/**
 * pri_ledger_abandon: the requester of a PASID is gone
 *
 * Forgets SENDING groups, and abandons the others.
 *
 * @l: the ledger
 * @p: the PASID
 */
void pri_ledger_abandon(PRILedger *l, PRIPasid *p);

/**
 * pri_ledger_drop: end all groups of a PASID
 *
 * @l: the ledger
 * @p: the PASID
 * @dropped: filled in with those that were not ABANDONED; has room for
 *     @p->num_groups.  NULL if nobody needs them.
 *
 * Returns: how many elements were filled in
 */
unsigned pri_ledger_drop(PRILedger *l, PRIPasid *p, PRIDroppedGroup *dropped);

/**
 * pri_ledger_save: describe the groups of a PASID to whose responses the
 * destination has to listen
 *
 * SENDING groups are none of them: nobody closes them there.
 *
 * @p: the PASID
 * @saved: filled in; has room for @p->num_groups
 *
 * Returns: how many elements were filled in
 */
unsigned pri_ledger_save(const PRIPasid *p, PRISavedGroup *saved);

/**
 * pri_ledger_check: can these groups come with a stream?
 *
 * @l: the ledger
 * @p: the PASID @saved->pasid; NULL if it has no groups
 * @saved: the groups
 *
 * Returns: NULL, or the name of a field that no function can have saved
 */
const char *pri_ledger_check(const PRILedger *l, const PRIPasid *p,
                             const PRISavedGroup *saved);

/**
 * pri_ledger_load: take over groups from a stream
 *
 * @l: the ledger
 * @p: the PASID @saved->pasid
 * @saved: the groups, for which pri_ledger_check() returns NULL
 */
void pri_ledger_load(PRILedger *l, PRIPasid *p, const PRISavedGroup *saved);

#endif
