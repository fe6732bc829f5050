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

static void group_set_outstanding(DMAGroups *groups, uint32_t n)
{
    qatomic_set(&groups->outstanding, n);
}

void dma_group_set_starved(DMAGroups *groups, DMARange *range, bool starved)
{
    groups->starved += starved - range->starved;
    range->starved = starved;
}

static DMAGroup *group_find_free(DMAGroups *groups)
{
    for (int i = 0; i <= PCI_PRGI_MAX; i++) {
        DMAGroup *group = &groups->group[groups->next_prgi++ & PCI_PRGI_MAX];

        if (!group->listener) {
            return group;
        }
    }
    return NULL;
}

DMAGroup *dma_group_open(DMAGroups *groups, DMARange *range,
                         DMAListener *listener, hwaddr first, hwaddr unit,
                         unsigned n, uint32_t alloc, bool demand)
{
    DMAGroup *group = NULL;

    if (demand || !groups->starved) {
        group = groups->outstanding < alloc ? group_find_free(groups) : NULL;
    }
    if (demand) {
        dma_group_set_starved(groups, range, !group);
    }
    if (!group) {
        return NULL;
    }
    n = MIN(n, alloc - groups->outstanding);
    *group = (DMAGroup) {
        .listener = listener,
        .range = range,
        .first = first,
        .last = first + n * unit - 1,
        .requests = n,
        .demand = demand,
    };
    listener->groups++;
    range->groups++;
    group_set_outstanding(groups, groups->outstanding + n);
    return group;
}

/* Returns the range of the group, or NULL if it was abandoned */
static DMARange *group_close(DMAGroups *groups, DMAGroup *group)
{
    DMARange *range = group->range;

    group->listener->groups--;
    group_set_outstanding(groups, groups->outstanding - group->requests);
    if (range) {
        range->groups--;
        if (range->unclosed == group) {
            qatomic_set(&range->unclosed, NULL);
        }
    } else {
        group->listener->abandoned--;
    }
    *group = (DMAGroup) { };
    return range;
}

void dma_group_cut(DMAGroups *groups, DMAGroup *group, DMARange *range,
                   unsigned sent)
{
    if (group->range != range) {
        return;
    }
    if (!sent) {
        /* Others take the room that it needs otherwise */
        dma_group_set_starved(groups, range, group->demand);
        group_close(groups, group);
        return;
    }
    group_set_outstanding(groups, groups->outstanding -
                                  (group->requests - (sent + 1)));
    group->requests = sent + 1;
    qatomic_set(&range->unclosed, group);
}

/*
 * The guest has refused a group.  An exact transfer ends at the page at which
 * its data stops, which only a demand page request can tell.
 */
static void group_refuse(DMARange *range, bool demand)
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
    bool demand = group->demand;
    DMARange *range = group_close(groups, group);
    DMATransfer *t;

    if (!range) {
        return NULL;
    }
    if (code == IOMMU_PRI_RESP_FAILURE) {
        qatomic_set(&range->error, -ECANCELED);
    } else if (code != IOMMU_PRI_RESP_SUCCESS) {
        group_refuse(range, demand);
    }
    t = range->transfer;
    return t->awaited == group || range->error ||
           qatomic_read(&t->phase) != DMA_MOVING ? range : NULL;
}

static void group_abandon(DMAGroups *groups, DMAGroup *group)
{
    DMARange *range = group->range;

    if (group->response == DMA_RESPONSE_DROPPED || range->unclosed == group) {
        group_close(groups, group);
        return;
    }
    group->range = NULL;
    group->listener->abandoned++;
    range->groups--;
}

void dma_group_abandon(DMAGroups *groups, DMARange *range)
{
    for (int i = 0; range->groups && i <= PCI_PRGI_MAX; i++) {
        if (groups->group[i].range == range) {
            group_abandon(groups, &groups->group[i]);
        }
    }
}

DMAGroup *dma_group_find(DMAGroups *groups, const DMARange *range, hwaddr addr)
{
    for (int i = 0; range->groups && i <= PCI_PRGI_MAX; i++) {
        DMAGroup *group = &groups->group[i];

        if (group->range == range && group->first <= addr &&
            addr <= group->last) {
            return group;
        }
    }
    return NULL;
}

bool dma_group_is_due(DMAGroups *groups, const DMARange *range)
{
    for (int i = 0; range->groups && i <= PCI_PRGI_MAX; i++) {
        const DMAGroup *group = &groups->group[i];

        if (group->range == range && range->unclosed != group &&
            group->response != DMA_RESPONSE_DROPPED) {
            return true;
        }
    }
    return false;
}

DMAGroup *dma_group_next(DMAGroups *groups, const DMAGroup *group)
{
    unsigned i = group ? dma_group_prgi(groups, group) + 1 : 0;

    for (; i <= PCI_PRGI_MAX; i++) {
        if (groups->group[i].listener) {
            return &groups->group[i];
        }
    }
    return NULL;
}
