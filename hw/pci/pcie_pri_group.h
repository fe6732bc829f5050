/*
 * Page request groups of a function: the ledger
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The ledger is the one owner of the page request groups of a function: it
 * allocates their PRG indices, knows their states, and accounts for their parts
 * of the Outstanding Page Request Allocation.  It is a plain data structure: it
 * takes no lock and calls no callbacks; the caller serializes all calls.
 * Members that are marked "read anywhere" are written atomically, for readers
 * without the lock of the caller.
 *
 * There are two kinds of groups.  The ledger allocates the index of a reserved
 * group, which is unique in the function; such a group has an owner, for which
 * the ledger keeps a pointer.  The requesters choose the indices of other
 * groups, possibly the index of another group: then responses end the groups of
 * a PASID in the order in which they were closed.
 *
 * States of a group, and the events that change them:
 *
 *   state      response  event: next state
 *   FREE       -         reserve: RESERVED; send: SENDING;
 *                        send the last request: CLOSED;
 *                        load: LOADED or ABANDONED
 *   RESERVED   not due   send: SENDING; send the last request: CLOSED;
 *                        abandon: FREE
 *   SENDING    not due   send the last request: CLOSED; abandon: FREE;
 *                        undo the only request: RESERVED or FREE;
 *                        drop, if it was not reserved: FREE
 *   CLOSED     due       undo the last request: SENDING, RESERVED or FREE;
 *                        abandon: ABANDONED
 *   LOADED     due       abandon: ABANDONED
 *   ABANDONED  due       undo the last request: FREE
 *
 * A response frees a group in any state but RESERVED; a reset frees all groups.
 * An index is not used again while it has a group that was reserved, or one
 * that is LOADED or ABANDONED: no other requester expects that response (PCIe
 * 5.0, 10.4.1).
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#ifndef HW_PCI_PCIE_PRI_GROUP_H
#define HW_PCI_PCIE_PRI_GROUP_H

#include "qemu/bitmap.h"
#include "qemu/queue.h"
#include "hw/pci/pci_iommu.h"

/* Limit of requests, for the guest's allocation and for groups in a stream */
#define PRI_OUTSTANDING_MAX (1 << 16)

/* A bucket has at most 16 indices */
#define PRI_PASID_BUCKETS   32

typedef enum PRIGroupState {
    PRI_GROUP_FREE,
    PRI_GROUP_RESERVED,         /* no request has been sent */
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
    uint32_t kept;              /* part of the allocation for later requests */
    void *owner;                /* NULL: it was not reserved, or is ABANDONED */
    PRIIndex *index;
    QTAILQ_ENTRY(PRIGroup) of_index;    /* by age */
    union {
        QTAILQ_ENTRY(PRIGroup) sending; /* if SENDING, and not reserved */
        QSLIST_ENTRY(PRIGroup) free;    /* if FREE */
    };
} PRIGroup;

typedef QTAILQ_HEAD(, PRIGroup) PRIGroupList;

/* Identifies a group of a PASID, even after it has ended */
typedef struct PRIGroupRef {
    uint64_t id;
    uint16_t prgi;
} PRIGroupRef;

typedef QLIST_HEAD(, PRIIndex) PRIIndexList;

/* Oldest first, as guests tend to respond in the order of the requests */
typedef QTAILQ_HEAD(, PRIIndex) PRIIndexQueue;

/* The groups of one PASID */
typedef struct PRIPasid {
    uint32_t pasid;             /* constant */
    /* Id of the requester of all groups except ABANDONED ones, or 0 */
    uint32_t user;
    unsigned num_groups;
    unsigned num[PRI_GROUP_STATES];
    PRIIndexList indices;
    PRIIndexQueue buckets[PRI_PASID_BUCKETS];
} PRIPasid;

typedef struct PRILedger {
    uint32_t outstanding;       /* requests; read anywhere */
    uint32_t unclosed;          /* requests of groups that are SENDING */
    uint32_t kept;              /* sum of all groups; read anywhere */
    unsigned num_groups;
    unsigned num[PRI_GROUP_STATES];     /* read anywhere */
    uint64_t last_id;
    PRIGroupList sending;       /* by the time of the first request */
    unsigned next_prgi;         /* where the search for an index begins */
    DECLARE_BITMAP(used, PCI_PRGI_MAX + 1);     /* indices */
    /* The uses of an index by PASIDs; first the one without PASID */
    PRIIndexQueue users[PCI_PRGI_MAX + 1];
    /* Free objects, so that a request allocates no memory in the long run */
    QSLIST_HEAD(, PRIGroup) free_groups;
    QSLIST_HEAD(, PRIIndex) free_indices;
} PRILedger;

/* A group that a response or a reset has ended */
typedef struct PRIEndedGroup {
    PRIPasid *pasid;
    uint32_t user;              /* of @pasid */
    PRIGroupState state;        /* state before its end */
    uint16_t prgi;
    void *owner;
} PRIEndedGroup;

/* Representation in the stream of the groups of a PASID with the same index */
typedef struct PRISavedGroup {
    uint32_t pasid;
    uint32_t prgi;
    uint32_t requests;
    uint32_t last_requests;     /* number of groups with their last request */
    uint32_t abandoned;         /* of @last_requests */
} PRISavedGroup;

/**
 * pri_ledger_init: initialize a ledger without groups
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
 * pri_pasid_init: initialize a PASID without groups
 *
 * @p: the PASID, zeroed; it need not be destroyed
 * @pasid: its value
 */
void pri_pasid_init(PRIPasid *p, uint32_t pasid);

/**
 * pri_ledger_reserve: allocate an index, and a part of the allocation
 *
 * Drops SENDING groups that were not reserved, oldest first, if otherwise the
 * allocation does not permit any request, unless there are LOADED or ABANDONED
 * groups.
 *
 * @l: the ledger
 * @p: the PASID of the requests
 * @alloc: Outstanding Page Request Allocation
 * @owner: not NULL
 * @n: number of requests that the owner wants to send, at least 1; reduced to
 *     the number that the allocation permits
 * @ref: set to the group, which is RESERVED
 *
 * Returns: true; false if the allocation permits no request, or all indices are
 * in use
 */
bool pri_ledger_reserve(PRILedger *l, PRIPasid *p, uint32_t alloc, void *owner,
                        uint32_t *n, PRIGroupRef *ref);

/**
 * pri_ledger_keep_last: keep only the part of the allocation for the last
 * request of a reserved group
 *
 * Gives back the part for other requests, which the owner does not send.
 *
 * @l: the ledger
 * @p: the PASID
 * @ref: from pri_ledger_reserve()
 */
void pri_ledger_keep_last(PRILedger *l, PRIPasid *p, const PRIGroupRef *ref);

/**
 * pri_ledger_send_reserved: account for a request of a reserved group, before
 * it is sent (10.4.1)
 *
 * @l: the ledger
 * @p: the PASID of the request
 * @ref: from pri_ledger_reserve(); not CLOSED
 * @last: this is the last request of the group
 *
 * Returns: true; false if a response or a reset has ended the group.
 */
bool pri_ledger_send_reserved(PRILedger *l, PRIPasid *p, const PRIGroupRef *ref,
                              bool last);

/**
 * pri_ledger_send: account for a request with an index that its requester has
 * chosen, before it is sent (10.4.1)
 *
 * The request belongs to the SENDING group of @p that has the index, or else
 * begins a group.  Each SENDING group keeps a part of the allocation for its
 * last request.  When the allocation is exhausted, the ledger drops other
 * SENDING groups that were not reserved, oldest first.  If this is not enough,
 * it accepts the request nevertheless: the requester has to observe the
 * allocation.  However, the requester does not know LOADED and ABANDONED
 * groups; while there are any, the ledger refuses the request.
 *
 * @l: the ledger
 * @p: the PASID of the request
 * @prgi: 0 to PCI_PRGI_MAX
 * @last: this is the last request of the group
 * @alloc: Outstanding Page Request Allocation
 * @ref: set to the group
 *
 * Returns: 0; -ENOSPC if the index belongs to a group that is LOADED, ABANDONED
 * or was reserved, the allocation is exhausted as described above, or
 * PRI_OUTSTANDING_MAX requests are outstanding
 */
int pri_ledger_send(PRILedger *l, PRIPasid *p, uint16_t prgi, bool last,
                    uint32_t alloc, PRIGroupRef *ref);

/**
 * pri_ledger_undo: undo the account of a request that could not be sent
 *
 * @l: the ledger
 * @p: the PASID of the request
 * @ref: from pri_ledger_send(), or as for pri_ledger_send_reserved()
 * @last: as for the function that has accounted for the request
 *
 * Returns: true; false if a response, a reset, or pri_ledger_send() for another
 * request has ended the group.
 */
bool pri_ledger_undo(PRILedger *l, PRIPasid *p, const PRIGroupRef *ref,
                     bool last);

/**
 * pri_ledger_respond: end the group to which a response belongs (10.4.2)
 *
 * It belongs to the oldest group with the index.
 *
 * @l: the ledger
 * @p: the PASID of the response
 * @prgi: 0 to PCI_PRGI_MAX
 * @ended: set to the group
 *
 * Returns: true if there is such a group, and it has requests
 */
bool pri_ledger_respond(PRILedger *l, PRIPasid *p, uint16_t prgi,
                        PRIEndedGroup *ended);

/**
 * pri_ledger_find: find the PASID to which a response without PASID belongs
 *
 * The response belongs to a request without PASID, or else to the PASID that
 * has used the index for the longest time, if a response is due.
 *
 * @l: the ledger
 * @prgi: 0 to PCI_PRGI_MAX
 *
 * Returns: the PASID, for pri_ledger_respond(); NULL if no response is due
 */
PRIPasid *pri_ledger_find(const PRILedger *l, uint16_t prgi);

/**
 * pri_ledger_abandon: abandon a group, whose owner does not expect a response
 *
 * @l: the ledger
 * @p: the PASID
 * @ref: from pri_ledger_reserve()
 *
 * Returns: true; false if a response or a reset has ended the group
 */
bool pri_ledger_abandon(PRILedger *l, PRIPasid *p, const PRIGroupRef *ref);

/**
 * pri_ledger_abandon_all: abandon all groups of a PASID, which has lost its
 * requester
 *
 * @l: the ledger
 * @p: the PASID
 */
void pri_ledger_abandon_all(PRILedger *l, PRIPasid *p);

/**
 * pri_ledger_drop: end all groups of a PASID
 *
 * @l: the ledger
 * @p: the PASID
 * @ended: filled in, unless NULL; has room for @p->num_groups
 *
 * Returns: the number of groups that ended
 */
unsigned pri_ledger_drop(PRILedger *l, PRIPasid *p, PRIEndedGroup *ended);

/**
 * pri_ledger_save: describe the groups whose responses the destination will
 * receive
 *
 * No response is due to RESERVED and SENDING groups: no requester closes them
 * at the destination.
 *
 * @l: the ledger
 * @saved: filled in; has room for @l->num_groups
 *
 * Returns: the number of elements filled in
 */
unsigned pri_ledger_save(const PRILedger *l, PRISavedGroup *saved);

/**
 * pri_ledger_check: check whether groups in a stream are valid
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
 * pri_ledger_load: add groups from a stream
 *
 * Called in the order in which pri_ledger_save() has described the groups, so
 * that pri_ledger_find() finds the same PASID as before.
 *
 * @l: the ledger
 * @p: the PASID @saved->pasid
 * @saved: the groups, for which pri_ledger_check() returns NULL
 */
void pri_ledger_load(PRILedger *l, PRIPasid *p, const PRISavedGroup *saved);

#endif
