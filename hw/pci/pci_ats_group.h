/*
 * Page request groups of the DMA engine
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A page request group is opened for a range of a transfer, and ends with its
 * response.  If the transfer ends first, the group is abandoned: it keeps its
 * PRG index and its part of the Outstanding Page Request Allocation until the
 * response comes (PCIe 5.0, 10.4.2).
 *
 * All functions are called with PCIATSDMA.lock held.
 */

#ifndef HW_PCI_PCI_ATS_GROUP_H
#define HW_PCI_PCI_ATS_GROUP_H

#include "exec/hwaddr.h"
#include "hw/pci/pci_iommu.h"

typedef struct DMAListener DMAListener;
typedef struct DMARange DMARange;

/*
 * Where the response to a group is.  Fault injection takes it from AWAITED to
 * DELAYED or DROPPED; the group leaves DELAYED when the time has come, and
 * DROPPED when its transfer ends.
 */
typedef enum DMAResponse {
    DMA_RESPONSE_AWAITED,       /* the guest has not responded */
    DMA_RESPONSE_DELAYED,       /* takes effect at DMAGroup.due */
    DMA_RESPONSE_DROPPED,       /* takes no effect */
} DMAResponse;

/*
 * A group from its opening to the end of its response.  Its state follows from
 * the two pointers:
 *
 *   free:      no @listener
 *   open:      @listener and @range.  The last request has not been sent if the
 *              group is DMARange.unclosed, and the response is due otherwise.
 *   abandoned: @listener only; the response is due
 *
 * free -> open -> abandoned -> free, or open -> free.
 */
typedef struct DMAGroup {
    DMAListener *listener;
    DMARange *range;
    hwaddr first;
    hwaddr last;
    unsigned requests;          /* one for each unit from @first to @last */
    bool demand;                /* for the page at which @range stops only */
    DMAResponse response;
    int64_t due;                /* if DMA_RESPONSE_DELAYED */
    IOMMUPRIResponseCode code;  /* likewise */
} DMAGroup;

/* All groups of a function */
typedef struct DMAGroups {
    DMAGroup group[PCI_PRGI_MAX + 1];
    unsigned next_prgi;
    uint32_t outstanding;       /* requests; read without the lock, too */
    unsigned starved;           /* ranges; see dma_group_set_starved() */
} DMAGroups;

/**
 * dma_group_open: reserve a PRG index, and a part of the allocation
 *
 * Prefetch finds none while a range is starved.
 *
 * @groups: the groups of the function
 * @range: the range that waits for the response
 * @listener: of the transfer; keeps its registration while the group exists
 * @first: address of the first page
 * @unit: size of a page in bytes
 * @n: number of pages, at least 1; the group has as many of them as the
 *     allocation has room for
 * @alloc: the Outstanding Page Request Allocation
 * @demand: for the page at which @range stops, and nothing else.  If there is
 *          no room, the range is starved from here on.
 *
 * Returns: the group; or NULL, if there is no room.
 */
DMAGroup *dma_group_open(DMAGroups *groups, DMARange *range,
                         DMAListener *listener, hwaddr first, hwaddr unit,
                         unsigned n, uint32_t alloc, bool demand);

/**
 * dma_group_cut: only some requests of a group could be sent, not the last
 *
 * A group without any is closed; otherwise it becomes DMARange.unclosed, and
 * keeps its part of the allocation for the request that closes it.
 *
 * @groups: the groups of the function
 * @group: from dma_group_open(); a reset may have ended it meanwhile
 * @range: the range that it has been opened for
 * @sent: number of requests that have been sent
 */
void dma_group_cut(DMAGroups *groups, DMAGroup *group, DMARange *range,
                   unsigned sent);

/**
 * dma_group_respond: end a group with a response
 *
 * @groups: the groups of the function
 * @group: open or abandoned
 * @code: the Response Code
 *
 * Returns: the range that can continue, or ends; NULL if none does.
 */
DMARange *dma_group_respond(DMAGroups *groups, DMAGroup *group,
                            IOMMUPRIResponseCode code);

/**
 * dma_group_abandon: the transfer of a range has ended
 *
 * Groups that are due become abandoned, others are closed.
 *
 * @groups: the groups of the function
 * @range: the range; has no groups when this returns
 */
void dma_group_abandon(DMAGroups *groups, DMARange *range);

/**
 * dma_group_find: find the open group of a range for an address
 *
 * @groups: the groups of the function
 * @range: the range
 * @addr: the address
 *
 * Returns: the group, or NULL.
 */
DMAGroup *dma_group_find(DMAGroups *groups, const DMARange *range,
                         hwaddr addr);

/**
 * dma_group_is_due: is a response to a group of the range still to come?
 *
 * @groups: the groups of the function
 * @range: the range
 */
bool dma_group_is_due(DMAGroups *groups, const DMARange *range);

/**
 * dma_group_next: go through all groups that are open or abandoned
 *
 * @groups: the groups of the function
 * @group: the group before, or NULL to begin
 *
 * Returns: the group, or NULL after the last one.
 */
DMAGroup *dma_group_next(DMAGroups *groups, const DMAGroup *group);

/**
 * dma_group_set_starved: say whether a demand page request found no room
 *
 * Demand page requests go before prefetch.
 *
 * @groups: the groups of the function
 * @range: the range
 * @starved: the new state
 */
void dma_group_set_starved(DMAGroups *groups, DMARange *range, bool starved);

/* The PRG index of a group */
static inline uint16_t dma_group_prgi(const DMAGroups *groups,
                                      const DMAGroup *group)
{
    return group - groups->group;
}

#endif
