/*
 * VT-d: bounds on the shadow of a guest's page tables
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "hw/boards.h"
#include "hw/pci/pci_bus.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_inv_queue.h"
#include "intel_iommu_shadow.h"
#include "sliced_queue.h"

/* Work of the invalidation queue: see intel_iommu_inv_queue.h */
#define ENTRIES_PER_WORK        2
#define WORK_PER_NOTIFICATION   16

static uint64_t ram_pages(void)
{
    const MachineState *ms = current_machine;
    uint64_t size = ms->ram_size;

    if (ms->device_memory) {
        size += ms->device_memory->used_region_size;
    }
    return size >> VTD_PAGE_SHIFT_4K;
}

void vtd_shadow_extend(VTDAddressSpace *as, hwaddr *addr, hwaddr *size)
{
    hwaddr first = *addr, last = *addr + (*size - 1);
    const DMAMap at_first = { .iova = first }, at_last = { .iova = last };
    const DMAMap *mapping = iova_tree_find(as->iova_tree, &at_first);

    if (mapping) {
        first = mapping->iova;
    }
    mapping = iova_tree_find(as->iova_tree, &at_last);
    if (mapping) {
        last = mapping->iova + mapping->size;
    }
    *addr = first;
    *size = last - first + 1;
}

void vtd_shadow_begin(VTDShadowWalk *w, VTDAddressSpace *as)
{
    uint64_t pages = ram_pages();

    *w = (VTDShadowWalk) {
        .as = as,
        .max_entries = VTD_SHADOW_EXTRA_ENTRIES + 2 * pages,
        .max_mappings = VTD_SHADOW_EXTRA_MAPPINGS + pages,
    };
}

bool vtd_shadow_read(VTDShadowWalk *w)
{
    if (w->entries == w->max_entries) {
        w->exceeded = true;
        return false;
    }
    w->entries++;
    return true;
}

bool vtd_shadow_map(VTDShadowWalk *w)
{
    if (iova_tree_size(w->as->iova_tree) >= w->max_mappings) {
        w->exceeded = true;
        return false;
    }
    return true;
}

void vtd_shadow_notify(VTDShadowWalk *w)
{
    w->notifications++;
}

bool vtd_shadow_end(VTDShadowWalk *w)
{
    uint64_t work = w->entries / ENTRIES_PER_WORK +
                    w->notifications * WORK_PER_NOTIFICATION;

    vtd_inv_queue_charge(w->as->iommu_state->inv_queue,
                         MIN(work, SLICED_QUEUE_WORK));
    if (w->exceeded) {
        error_report_once("intel-iommu: the page tables of device %02x:%02x.%x "
                          "have too many entries for the RAM of the machine: "
                          "the device has no mappings until they are changed "
                          "and invalidated", pci_bus_num(w->as->bus),
                          VTD_PCI_SLOT(w->as->devfn),
                          VTD_PCI_FUNC(w->as->devfn));
    }
    return !w->exceeded;
}
