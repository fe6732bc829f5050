/*
 * pci-ats-testdev: a mirror of the mappings of the device
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/iova-tree.h"
#include "hw/pci/pci_device.h"
#include "pci-ats-testdev-map.h"

/* Parts of an address space that have a notifier at once */
#define MAX_PARTS   4

/* A part of the memory region of an IOMMU */
typedef struct ATDMapPart {
    ATDMap *map;
    MemoryRegion *mr;           /* counted reference */
    IOMMUNotifier notifier;
} ATDMapPart;

struct ATDMap {
    PCIDevice *dev;
    ATDMapPart parts[MAX_PARTS];
    unsigned num_parts;         /* 0 if it is not registered */
    IOVATree *mappings;
    uint64_t count;
    uint64_t errors;
    uint64_t entries;
};

static void drop_mappings(ATDMap *map, const DMAMap *range)
{
    const DMAMap *mapping;

    while ((mapping = iova_tree_find(map->mappings, range))) {
        iova_tree_remove(map->mappings, *mapping);
        map->entries--;
    }
}

/* Like VFIO, the mirror refuses to unmap a part of a mapping */
static bool splits_mapping(ATDMap *map, const DMAMap *range)
{
    const DMAMap first = { .iova = range->iova };
    const DMAMap last = { .iova = range->iova + range->size };
    const DMAMap *at_first = iova_tree_find(map->mappings, &first);
    const DMAMap *at_last = iova_tree_find(map->mappings, &last);

    return (at_first && at_first->iova < first.iova) ||
           (at_last && at_last->iova + at_last->size > last.iova);
}

static void mapping_changed(IOMMUNotifier *n, IOMMUTLBEntry *entry)
{
    ATDMap *map = container_of(n, ATDMapPart, notifier)->map;
    const DMAMap mapping = {
        .iova = entry->iova,
        .translated_addr = entry->translated_addr,
        .size = entry->addr_mask,
        .perm = entry->perm,
    };

    if (entry->perm == IOMMU_NONE) {
        if (splits_mapping(map, &mapping)) {
            map->errors++;
        } else {
            drop_mappings(map, &mapping);
        }
        return;
    }
    map->count++;
    if (iova_tree_insert(map->mappings, &mapping) == IOVA_OK) {
        map->entries++;
    } else {
        map->errors++;
    }
}

ATDMap *atd_map_new(PCIDevice *dev)
{
    ATDMap *map = g_new0(ATDMap, 1);

    map->dev = dev;
    map->mappings = iova_tree_new();
    return map;
}

int atd_map_unregister(ATDMap *map)
{
    const DMAMap all = { .size = HWADDR_MAX };

    if (!map->num_parts) {
        return -ENOENT;
    }
    while (map->num_parts) {
        ATDMapPart *part = &map->parts[--map->num_parts];

        memory_region_unregister_iommu_notifier(part->mr, &part->notifier);
        memory_region_unref(part->mr);
    }
    drop_mappings(map, &all);
    return 0;
}

void atd_map_free(ATDMap *map)
{
    atd_map_unregister(map);
    iova_tree_destroy(map->mappings);
    g_free(map);
}

/* Takes over the reference of @section */
static int register_part(ATDMap *map, const MemoryRegionSection *section)
{
    ATDMapPart *part = &map->parts[map->num_parts];
    IOMMUMemoryRegion *iommu_mr = IOMMU_MEMORY_REGION(section->mr);
    hwaddr start = section->offset_within_region;
    hwaddr end = start + int128_get64(section->size) - 1;
    int ret;

    part->map = map;
    part->mr = section->mr;
    iommu_notifier_init(&part->notifier, mapping_changed,
                        IOMMU_NOTIFIER_IOTLB_EVENTS, start, end,
                        memory_region_iommu_attrs_to_index(
                            iommu_mr, MEMTXATTRS_UNSPECIFIED));
    ret = memory_region_register_iommu_notifier(part->mr, &part->notifier,
                                                NULL);
    if (ret) {
        memory_region_unref(part->mr);
        return ret;
    }
    map->num_parts++;
    memory_region_iommu_replay(iommu_mr, &part->notifier);
    return 0;
}

int atd_map_register(ATDMap *map)
{
    MemoryRegion *root = pci_device_iommu_address_space(map->dev)->root;
    hwaddr addr = 0;

    if (map->num_parts) {
        return -EEXIST;
    }
    map->count = map->errors = 0;
    do {
        MemoryRegionSection section = memory_region_find(root, addr,
                                                         HWADDR_MAX - addr);
        int ret = 0;

        if (!section.mr) {
            break;
        }
        if (!memory_region_is_iommu(section.mr)) {
            memory_region_unref(section.mr);
        } else {
            ret = register_part(map, &section);
        }
        if (ret) {
            atd_map_unregister(map);
            return ret;
        }
        addr = section.offset_within_address_space +
               int128_get64(section.size);
    } while (addr < HWADDR_MAX && map->num_parts < MAX_PARTS);
    return map->num_parts ? 0 : -ENODEV;
}

uint64_t atd_map_count(const ATDMap *map)
{
    return map->count;
}

uint64_t atd_map_errors(const ATDMap *map)
{
    return map->errors;
}

uint64_t atd_map_entries(const ATDMap *map)
{
    return map->entries;
}

uint64_t atd_map_translate(const ATDMap *map, hwaddr addr)
{
    const DMAMap at = { .iova = addr };
    const DMAMap *mapping = iova_tree_find(map->mappings, &at);

    return mapping ? mapping->translated_addr + (addr - mapping->iova)
                   : UINT64_MAX;
}
