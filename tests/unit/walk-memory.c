/*
 * Memory for page tables, and checks of the results of walks
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "walk-memory.h"

bool walk_memory_is_writable(hwaddr addr)
{
    return addr < WALK_MEMORY_PAGES * PAGE * 3 / 4;
}

static uint64_t *map_table(const IOMMUWalkMem *mem, hwaddr addr, bool *writable)
{
    WalkMemory *m = container_of(mem, WalkMemory, mem);

    g_assert_cmphex(addr % PAGE, ==, 0);
    if (addr >= WALK_MEMORY_PAGES * PAGE) {
        return NULL;
    }
    *writable = walk_memory_is_writable(addr);
    if (++m->tables == m->change_at) {
        m->entry[m->change_entry] ^= m->change;
    }
    return &m->entry[addr / 8];
}

static void mark_dirty(const IOMMUWalkMem *mem, uint64_t *table,
                       unsigned first, unsigned last)
{
    WalkMemory *m = container_of(mem, WalkMemory, mem);
    size_t index = table - m->entry;

    g_assert_true(first <= last && last < 512);
    memset(&m->dirty[index + first], true, last - first + 1);
}

WalkMemory *walk_memory_new(void)
{
    WalkMemory *m = g_new0(WalkMemory, 1);

    m->mem.map_table = map_table;
    m->mem.mark_dirty = mark_dirty;
    return m;
}

uint8_t walk_model_flags(uint64_t *e, uint64_t flags, uint8_t no_update)
{
    if (flags & ~*e) {
        if (no_update) {
            return no_update;
        }
        *e |= flags;
    }
    return 0;
}

void walk_check_shape(const IOMMUWalkRequest *req, IOMMUWalkStatus status)
{
    uint64_t at = req->first;

    g_assert_cmpuint(req->num_results, <=, req->max_results);
    for (size_t i = 0; i < req->num_results; i++) {
        const IOMMUTLBEntry *e = &req->result[i];
        uint64_t end = e->iova + e->addr_mask;

        g_assert_cmphex(e->pasid, ==, req->pasid);
        g_assert_true(is_power_of_2(e->addr_mask + 1));
        g_assert_cmphex(e->addr_mask, >=, PAGE - 1);
        g_assert_cmphex(e->iova & e->addr_mask, ==, 0);
        g_assert_cmphex(e->translated_addr & e->addr_mask, ==, 0);
        g_assert_true(e->iova <= at && end >= at);
        g_assert_true(i == 0 || e->iova == at);
        if (!req->untranslated) {
            g_assert_cmphex(e->perm & IOMMU_RW & ~req->want, ==, 0);
        }
        at = end + 1;
    }
    g_assert_true(req->num_results || status != IOMMU_WALK_DONE);
    if (status == IOMMU_WALK_DONE) {
        g_assert_true(at > req->last || at == 0);
    } else if (status == IOMMU_WALK_FULL) {
        g_assert_cmpuint(req->num_results, ==, req->max_results);
    }
}

void walk_check_memory(const WalkMemory *m, const uint64_t *before,
                       const uint64_t *model)
{
    for (size_t i = 0; i < WALK_MEMORY_ENTRIES; i++) {
        g_assert_cmphex(m->entry[i], ==, model[i]);
        if (m->entry[i] != before[i]) {
            g_assert_true(m->dirty[i]);
        }
    }
}
