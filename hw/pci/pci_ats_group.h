/*
 * Page request groups of the DMA engine
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The Page Request capability owns the groups: it allocates their PRG indices,
 * accounts for the allocation, and knows which responses are due, see
 * pcie_pri_requester.h.  A DMAGroup is the owner of such a group, and says
 * which range waits for which pages.
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
 * Where the response to a group is.  Fault injection takes it from AWAITED to
 * DELAYED or DROPPED; the group leaves DELAYED when the time has come, and
 * DROPPED when its transfer ends.
 */
typedef enum DMAResponse {
    DMA_RESPONSE_AWAITED,       /* the group has not ended */
    DMA_RESPONSE_DELAYED,       /* takes effect at DMAGroup.due */
    DMA_RESPONSE_DROPPED,       /* takes no effect */
} DMAResponse;

/*
 * Exists from dma_group_open() to the response, or to the end of the transfer.
 * If both come at once, the response finds it without a range.
 */
typedef struct DMAGroup {
    DMARange *range;            /* or NULL, see above */
    PRIGroupRef ref;
    hwaddr first;
    hwaddr last;
    unsigned requests;          /* one for each unit from @first to @last */
    bool demand;                /* for the page at which @range stops only */
    DMAResponse response;
    int64_t due;                /* if DMA_RESPONSE_DELAYED */
    IOMMUPRIResponseCode code;  /* likewise */
    QLIST_ENTRY(DMAGroup) of_range;
    QLIST_ENTRY(DMAGroup) next; /* in one of the lists of DMAGroups */
} DMAGroup;

typedef QLIST_HEAD(, DMAGroup) DMAGroupList;

/* All groups of the engine */
typedef struct DMAGroups {
    DMAGroupList list;
    DMAGroupList free;          /* kept, so that a transfer allocates none */
    unsigned starved;           /* ranges; see dma_group_set_starved() */
} DMAGroups;

/**
 * dma_group_open: open a group for a range
 *
 * Prefetch finds no room while a range is starved.
 *
 * @range: the range that waits for the response; the listener of its transfer
 *         is registered for responses
 * @first: address of the first page
 * @unit: size of a page in bytes
 * @n: number of pages, at least 1; the group has as many of them as the
 *     allocation has room for
 * @demand: for the page at which @range stops, and nothing else.  If there is
 *          no room, the range is starved from here on.
 *
 * Returns: the group; or NULL, if there is no room.
 */
DMAGroup *dma_group_open(DMARange *range, hwaddr first, hwaddr unit, unsigned n,
                         bool demand);

/**
 * dma_group_cut: only some requests of a group could be sent, not the last
 *
 * A group without any ends; otherwise it becomes DMARange.unclosed, and keeps
 * its part of the allocation for the request that closes it.
 *
 * @group: from dma_group_open(); a reset may have ended it meanwhile
 * @range: the range that it has been opened for
 * @sent: number of requests that have been sent
 */
void dma_group_cut(DMAGroup *group, DMARange *range, unsigned sent);

/**
 * dma_group_refuse: refuse a group in place of sending its requests
 *
 * @group: from dma_group_open(); a reset may have ended it meanwhile
 * @range: the range that it has been opened for
 */
void dma_group_refuse(DMAGroup *group, DMARange *range);

/**
 * dma_group_respond: a group ends with a response
 *
 * @groups: the groups of the function
 * @group: PCIEPRIResponse.owner, or one whose response was delayed
 * @code: the Response Code
 *
 * Returns: the range that can continue, or ends; NULL if none does.
 */
DMARange *dma_group_respond(DMAGroups *groups, DMAGroup *group,
                            IOMMUPRIResponseCode code);

/**
 * dma_group_abandon: the transfer of a range has ended
 *
 * @range: the range; has no groups when this returns
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
 * dma_group_is_due: is a response to a group of the range still to come?
 *
 * @range: the range
 */
bool dma_group_is_due(const DMARange *range);

/**
 * dma_group_set_starved: say whether a demand page request found no room
 *
 * Demand page requests go before prefetch.
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
