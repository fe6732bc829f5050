/*
 * Page request groups of the DMA engine
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * See pci_ats_group.h.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "pci_ats_dma_internal.h"

void dma_group_set_starved(DMARange *range, bool starved)
{
    range->transfer->dma->groups.starved += starved - range->starved;
    range->starved = starved;
}

static DMAGroup *group_new(DMAGroups *groups)
{
    DMAGroup *group = QLIST_FIRST(&groups->free);

    if (group) {
        QLIST_REMOVE(group, next);
    } else {
        group = g_new0(DMAGroup, 1);
    }
    QLIST_INSERT_HEAD(&groups->list, group, next);
    return group;
}

static void group_free(DMAGroups *groups, DMAGroup *group)
{
    QLIST_REMOVE(group, next);
    QLIST_INSERT_HEAD(&groups->free, group, next);
}

/* Returns the range that the group had */
static DMARange *group_leave_range(DMAGroup *group)
{
    DMARange *range = group->range;

    if (range) {
        QLIST_REMOVE(group, of_range);
        if (range->unclosed == group) {
            qatomic_set(&range->unclosed, NULL);
        }
        group->range = NULL;
    }
    return range;
}

/* Returns false if a response or a reset has ended the group */
static bool group_end(DMAGroup *group)
{
    const DMATransfer *t = group->range->transfer;

    return pcie_pri_abandon(t->dma->dev, t->pasid, &group->ref);
}

DMAGroup *dma_group_open(DMARange *range, hwaddr first, hwaddr unit, unsigned n,
                         bool demand)
{
    const DMATransfer *t = range->transfer;
    DMAGroups *groups = &t->dma->groups;
    uint32_t resets = pcie_pri_get_resets(t->dma->dev);
    DMAGroup *group = NULL;
    PRIGroupRef ref;

    if (demand || !groups->starved) {
        group = group_new(groups);
        if (!pcie_pri_reserve(t->dma->dev, t->pasid, group, &n, &ref)) {
            group_free(groups, group);
            group = NULL;
        }
    }
    if (demand) {
        dma_group_set_starved(range, !group);
    }
    if (group) {
        group->range = range;
        group->ref = ref;
        group->resets = resets;
        group->first = first;
        group->last = first + n * unit - 1;
        group->requests = n;
        group->demand = demand;
        group->response = DMA_RESPONSE_AWAITED;
        QLIST_INSERT_HEAD(&range->groups, group, of_range);
    }
    return group;
}

/* The transfer no longer waits for the group */
static void group_abandon(DMAGroup *group)
{
    DMAGroups *groups = &group->range->transfer->dma->groups;
    /* Otherwise the thread that delivers the response frees the group. */
    bool ended = group->response != DMA_RESPONSE_AWAITED || group_end(group);

    group_leave_range(group);
    if (ended) {
        group_free(groups, group);
    }
}

void dma_group_cut(DMAGroup *group, DMARange *range, unsigned sent)
{
    const DMATransfer *t = range->transfer;

    if (group->range != range) {
        return;
    }
    if (!sent) {
        /* Otherwise other groups use the allocation that it needs. */
        dma_group_set_starved(range, group->demand);
        group_abandon(group);
        return;
    }
    pcie_pri_keep_last(t->dma->dev, t->pasid, &group->ref);
    qatomic_set(&range->unclosed, group);
}

void dma_group_refuse(DMAGroup *group, DMARange *range)
{
    if (group->range == range && group_end(group)) {
        dma_group_respond(&range->transfer->dma->groups, group,
                          IOMMU_PRI_RESP_INVALID_REQUEST);
    }
}

/*
 * Handle the refusal of a group.  An exact transfer ends at the page at which
 * its data stops: only the response to a demand page request ends it.
 */
static void range_take_refusal(DMARange *range, bool demand)
{
    if ((range->transfer->flags & PCI_ATS_DMA_EXACT) && !demand) {
        qatomic_set(&range->prefetch, DMA_PREFETCH_DEMAND_ONLY);
    } else if (!range->error) {
        qatomic_set(&range->error, -EFAULT);
    }
}

DMARange *dma_group_respond(DMAGroups *groups, DMAGroup *group,
                            IOMMUPRIResponseCode code)
{
    DMARange *range = group_leave_range(group);
    bool demand = group->demand;
    DMATransfer *t;

    group_free(groups, group);
    if (!range) {
        return NULL;
    }
    if (code == IOMMU_PRI_RESP_FAILURE) {
        qatomic_set(&range->error, -ECANCELED);
    } else if (code != IOMMU_PRI_RESP_SUCCESS) {
        range_take_refusal(range, demand);
    }
    t = range->transfer;
    return t->awaited == group || range->error ||
           qatomic_read(&t->phase) != DMA_MOVING ? range : NULL;
}

void dma_group_abandon(DMARange *range)
{
    DMAGroup *group;

    while ((group = QLIST_FIRST(&range->groups))) {
        group_abandon(group);
    }
}

DMAGroup *dma_group_find(const DMARange *range, hwaddr addr)
{
    DMAGroup *group;

    QLIST_FOREACH(group, &range->groups, of_range) {
        if (group->first <= addr && addr <= group->last) {
            return group;
        }
    }
    return NULL;
}

/* Determine whether a response will still end the group */
static bool group_is_due(const DMAGroup *group)
{
    const DMARange *range = group->range;

    switch (group->response) {
    case DMA_RESPONSE_AWAITED:
        return range->unclosed != group;
    case DMA_RESPONSE_DELAYED:
        /* The capability has given up the group: a reset does not end it. */
        return group->resets == pcie_pri_get_resets(range->transfer->dma->dev);
    default:
        return false;
    }
}

bool dma_group_is_due(const DMARange *range)
{
    const DMAGroup *group;

    QLIST_FOREACH(group, &range->groups, of_range) {
        if (group_is_due(group)) {
            return true;
        }
    }
    return false;
}

void dma_groups_destroy(DMAGroups *groups)
{
    DMAGroup *group;

    while ((group = QLIST_FIRST(&groups->list))) {
        group_free(groups, group);
    }
    while ((group = QLIST_FIRST(&groups->free))) {
        QLIST_REMOVE(group, next);
        g_free(group);
    }
}
