/*
 * Page request groups of the DMA engine
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The Page Request capability owns the groups: it allocates their PRG indices,
 * accounts for the allocation, and keeps track of outstanding responses, see
 * pcie_pri_requester.h.  A DMAGroup is the owner of such a group, and names the
 * range that waits, and the pages.
 *
 * All functions are called with PCIATSDMA.lock held.
 */

#ifndef HW_PCI_PCI_ATS_GROUP_H
#define HW_PCI_PCI_ATS_GROUP_H

#include "exec/hwaddr.h"
#include "qemu/queue.h"
#include "pcie_pri_requester.h"

typedef struct DMARange DMARange;

/*
 * State of the response to a group.  Fault injection changes it from AWAITED to
 * DELAYED or DROPPED.  A DELAYED response takes effect at DMAGroup.due, which
 * ends the group, unless a reset has happened before; a group with a DROPPED
 * response ends with its transfer.
 */
typedef enum DMAResponse {
    DMA_RESPONSE_AWAITED,       /* the group has not ended */
    DMA_RESPONSE_DELAYED,       /* takes effect at DMAGroup.due */
    DMA_RESPONSE_DROPPED,       /* takes no effect */
} DMAResponse;

/*
 * A group of the DMA engine, which exists from dma_group_open() to the response
 * or to the end of the transfer.  If both happen at the same time, the response
 * finds the group without a range.
 */
typedef struct DMAGroup {
    DMARange *range;            /* or NULL, see above */
    PRIGroupRef ref;
    uint32_t resets;            /* pcie_pri_get_resets() before it was opened */
    hwaddr first;
    hwaddr last;
    unsigned requests;          /* one for each unit from @first to @last */
    bool demand;                /* a demand page request of @range */
    DMAResponse response;
    int64_t due;                /* time if DMA_RESPONSE_DELAYED */
    IOMMUPRIResponseCode code;  /* response if DMA_RESPONSE_DELAYED */
    QLIST_ENTRY(DMAGroup) of_range;
    QLIST_ENTRY(DMAGroup) next; /* in one of the lists of DMAGroups */
} DMAGroup;

typedef QLIST_HEAD(, DMAGroup) DMAGroupList;

/* All groups of the engine */
typedef struct DMAGroups {
    DMAGroupList list;
    DMAGroupList free;          /* free groups, for use without allocation */
    unsigned starved;           /* ranges; see dma_group_set_starved() */
} DMAGroups;

/**
 * dma_group_open: open a group for a range
 *
 * Prefetch gets no group while a range is starved.
 *
 * @range: the range that waits for the response; the listener of its transfer
 *         is registered for responses
 * @first: address of the first page
 * @unit: size of a page in bytes
 * @n: number of pages, at least 1; reduced to the number that the allocation
 *     permits
 * @demand: true for a demand page request.  If the allocation does not permit
 *          it, the range becomes starved.
 *
 * Returns: the group, or NULL if the allocation does not permit one.
 */
DMAGroup *dma_group_open(DMARange *range, hwaddr first, hwaddr unit, unsigned n,
                         bool demand);

/**
 * dma_group_cut: handle a group whose last request could not be sent
 *
 * If no request has been sent, the group ends; otherwise it becomes
 * DMARange.unclosed, and keeps its part of the allocation for the request that
 * closes it.
 *
 * @group: from dma_group_open(); a reset may have ended it meanwhile
 * @range: the range for which the group was opened
 * @sent: number of requests that have been sent
 */
void dma_group_cut(DMAGroup *group, DMARange *range, unsigned sent);

/**
 * dma_group_refuse: refuse a group instead of sending its requests
 *
 * @group: from dma_group_open(); a reset may have ended it meanwhile
 * @range: the range for which the group was opened
 */
void dma_group_refuse(DMAGroup *group, DMARange *range);

/**
 * dma_group_respond: end a group with a response
 *
 * @groups: the groups of the function
 * @group: PCIEPRIResponse.owner, or a group whose response was delayed
 * @code: the Response Code
 *
 * Returns: the range that can continue or has to end, or NULL.
 */
DMARange *dma_group_respond(DMAGroups *groups, DMAGroup *group,
                            IOMMUPRIResponseCode code);

/**
 * dma_group_abandon: abandon the groups of a range whose transfer has ended
 *
 * @range: the range; it has no groups when this returns
 */
void dma_group_abandon(DMARange *range);

/**
 * dma_group_find: find the group of a range for an address
 *
 * @range: the range
 * @addr: the address
 *
 * Returns: the group, or NULL.
 */
DMAGroup *dma_group_find(const DMARange *range, hwaddr addr);

/**
 * dma_group_is_due: check whether a response to a group of the range is due
 *
 * @range: the range
 *
 * Returns: true if one is due
 */
bool dma_group_is_due(const DMARange *range);

/**
 * dma_group_set_starved: set whether a demand page request found no allocation
 *
 * Demand page requests have precedence over prefetch.
 *
 * @range: the range
 * @starved: the new state
 */
void dma_group_set_starved(DMARange *range, bool starved);

/**
 * dma_groups_destroy: free the memory of all groups
 *
 * Called without the lock, when no response arrives and no transfer runs.
 *
 * @groups: the groups of the function
 */
void dma_groups_destroy(DMAGroups *groups);

#endif
