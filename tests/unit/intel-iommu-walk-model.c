/*
 * A plain model of VT-d page table walks
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/i386/intel_iommu_fault.h"
#include "intel-iommu-walk-model.h"

/* The plain model: one 4 KiB page at a time, directly from the specification */

typedef struct Page {
    uint8_t fault;
    uint8_t hole;               /* like @fault, but never an error */
    IOMMUAccessFlags perm;
    hwaddr out;
} Page;

typedef struct Model {
    const VTDWalkConfig *cfg;
    uint64_t *entry;
    bool priv;
    bool untranslated;
    bool interrupt_input;
    IOMMUAccessFlags want;
} Model;

static bool in_interrupts(hwaddr first, uint64_t size)
{
    return first < 0xfef00000 && first + size > 0xfee00000;
}

static bool large(uint64_t e, unsigned level)
{
    return level > 1 && (e & PS);
}

static bool reserved(uint64_t e, unsigned level, bool second)
{
    uint64_t mask = 0x000f000000000000ull;

    if (large(e, level)) {
        if (level > 3) {
            return true;
        }
        mask |= (walk_entry_size(level) - 1) & ~0xfffull;
        if (!second) {
            mask &= ~0x1000ull;
        }
    } else if (second && level > 1) {
        mask |= 1ull << 11;
    }
    if (second) {
        mask |= 1ull << 62;
    }
    return e & mask;
}

/* Second stage (3.7); sets @size to the size of the page */
static Page model_second(const Model *m, uint64_t gpa, uint64_t *size)
{
    Page page = { .perm = IOMMU_RW };
    hwaddr table = m->cfg->ss_root;

    if (gpa >> m->cfg->ss_width) {
        page.fault = m->cfg->type == VTD_WALK_NESTED ? 0x74 : 0x84;
        return page;
    }
    for (unsigned level = m->cfg->ss_levels; ; level--) {
        uint64_t e;

        if (table >= WALK_MEMORY_PAGES * PAGE) {
            page.fault = level == m->cfg->ss_levels ? 0x7b : 0x78;
            return page;
        }
        e = m->entry[table / 8 + (gpa / walk_entry_size(level)) % 512];
        if (!(e & (SR | SW))) {
            page.fault = 0x79;
            return page;
        }
        if (reserved(e, level, true)) {
            page.fault = 0x7a;
            return page;
        }
        page.perm &= e & 3;
        if (!page.perm) {
            page.fault = 0x79;
            return page;
        }
        if (level == 1 || large(e, level)) {
            *size = walk_entry_size(level);
            page.out = (e & 0x000ffffffffff000ull & -*size) +
                       gpa % *size;
            return page;
        }
        table = e & 0x000ffffffffff000ull;
    }
}

/* Grant a request permissions, or set the fault reason (SGN.6, SGN.7, SGN.8) */
static void model_grant(const Model *m, Page *page, uint64_t size)
{
    IOMMUAccessFlags missing = m->want & ~page->perm;
    IOMMUAccessFlags grant = m->want & page->perm;

    if (m->untranslated ? missing : !grant) {
        page->fault = missing & IOMMU_WO ? 0x85 : 0x86;
    } else if (in_interrupts(m->untranslated ? page->out & -PAGE :
                             page->out & -size,
                             m->untranslated ? PAGE : size)) {
        page->fault = 0x87;
    }
    page->perm = grant;
}

/*
 * Sets @addr to the address of a first-stage table, and @no_update to the
 * reason if flags cannot be set, or 0 (3.8.1).  Returns the reason for a fault,
 * or 0.
 */
static uint8_t model_table(const Model *m, bool root, hwaddr *addr,
                           uint8_t *no_update)
{
    *no_update = 0;
    if (m->cfg->type == VTD_WALK_NESTED) {
        uint64_t size;
        Page page = model_second(m, *addr, &size);

        if (page.fault) {
            return page.fault;
        }
        if (!(page.perm & IOMMU_RO)) {
            return root ? 0x75 : 0x76;
        }
        if (!(page.perm & IOMMU_WO)) {
            *no_update = 0x77;
        }
        *addr = page.out;
    }
    if (*addr >= WALK_MEMORY_PAGES * PAGE) {
        return root ? 0x73 : 0x70;
    }
    if (!*no_update && !walk_memory_is_writable(*addr)) {
        *no_update = 0x91;
    }
    if (m->cfg->no_flag_update) {
        *no_update = 0x90;
    }
    return 0;
}

/* The bits that an access sets in an entry */
static uint64_t accessed(const Model *m)
{
    return A | (m->cfg->extended_accessed ? EA : 0);
}

static Page model_first_leaf(const Model *m, uint64_t va, uint64_t *e,
                             unsigned level, bool write, uint8_t no_update)
{
    uint64_t size = walk_entry_size(level);
    bool was_dirty = *e & D;
    Page page = {
        .perm = write ? IOMMU_RW : IOMMU_RO,
        .out = (*e & 0x000ffffffffff000ull & -size) + va % size,
    };
    IOMMUAccessFlags have;

    if (m->cfg->type == VTD_WALK_NESTED) {
        uint64_t ss_size;
        Page second = model_second(m, page.out, &ss_size);

        if (second.fault) {
            return second;
        }
        size = MIN(size, ss_size);
        page.perm &= second.perm;
        page.out = second.out;
    }
    have = page.perm;
    model_grant(m, &page, size);
    if (page.fault) {
        return page;
    }
    page.fault = walk_model_flags(e, accessed(m) |
                                  (page.perm & IOMMU_WO ? D : 0), no_update);
    if (m->untranslated) {
        page.perm |= have & (was_dirty ? IOMMU_RW : IOMMU_RO);
    }
    return page;
}

/* First stage (3.6), optionally nested (3.8) */
static Page model_first(const Model *m, uint64_t va)
{
    unsigned levels = m->cfg->fs_levels;
    unsigned width = 12 + 9 * levels;
    int64_t extended = (int64_t)(va << (64 - width)) >> (64 - width);
    hwaddr table = m->cfg->fs_root;
    bool write = true;

    if ((uint64_t)extended != va) {
        return (Page) { .fault = 0x80 };
    }
    for (unsigned level = levels; ; level--) {
        uint8_t no_update;
        Page page = {
            .fault = model_table(m, level == levels, &table, &no_update),
        };
        uint64_t *e;

        if (page.fault) {
            return page;
        }
        e = &m->entry[table / 8 + (va / walk_entry_size(level)) % 512];
        page.fault = !(*e & P) ? 0x71 : reserved(*e, level, false) ? 0x72 :
                     !(*e & US) && !m->priv ? 0x81 : 0;
        if (page.fault) {
            return page;
        }
        if (!(*e & RW) && (!m->priv || m->cfg->write_protect)) {
            write = false;
        }
        if (level == 1 || large(*e, level)) {
            return model_first_leaf(m, va, e, level, write, no_update);
        }
        page.fault = walk_model_flags(e, accessed(m), no_update);
        if (page.fault) {
            return page;
        }
        table = *e & 0x000ffffffffff000ull;
    }
}

/* Pass-through (3.9) */
static Page model_pass_through(const Model *m, uint64_t va)
{
    if (va >> m->cfg->haw) {
        return (Page) { .fault = 0x83 };
    }
    return (Page) {
        .perm = m->untranslated ? IOMMU_RW : m->want,
        .out = va,
    };
}

/* S.1 to S.3: the interrupt range (3.15) */
static Page model_interrupts(const Model *m)
{
    if (m->interrupt_input && (m->want & IOMMU_WO)) {
        return (Page) { .perm = IOMMU_WO | IOMMU_UNTRANSLATED_ONLY };
    }
    return (Page) { .hole = 0x87 };
}

static Page model_page(const Model *m, uint64_t va)
{
    Page page;
    uint64_t size = PAGE;
    IOMMUAccessFlags have;

    if ((m->interrupt_input || m->cfg->type == VTD_WALK_PASS_THROUGH) &&
        in_interrupts(va, PAGE)) {
        return model_interrupts(m);
    }
    if (m->cfg->type == VTD_WALK_PASS_THROUGH) {
        return model_pass_through(m, va);
    }
    if (m->cfg->type != VTD_WALK_SECOND_STAGE) {
        return model_first(m, va);
    }
    page = model_second(m, va, &size);
    if (!page.fault) {
        have = page.perm;
        model_grant(m, &page, size);
        if (m->untranslated) {
            page.perm = have;
        }
    }
    return page;
}

/* Checks */

static uint64_t covered(const IOMMUWalkRequest *req)
{
    const IOMMUTLBEntry *e = &req->result[req->num_results - 1];

    return MIN(req->last, e->iova + e->addr_mask);
}

static void check_page(const IOMMUTLBEntry *e, const Page *page, uint64_t va)
{
    if (page->fault || page->hole) {
        g_assert_cmphex(e->perm, ==, IOMMU_NONE);
        return;
    }
    g_assert_cmphex(e->perm, ==, page->perm);
    if (!(e->perm & IOMMU_UNTRANSLATED_ONLY)) {
        g_assert_cmphex(e->translated_addr + (va - e->iova), ==,
                        page->out & -PAGE);
    }
}

bool walk_check_results(const VTDWalkConfig *cfg, const IOMMUWalkRequest *req,
                        IOMMUWalkStatus status, uint64_t *entry,
                        uint64_t max_pages)
{
    Model m = {
        .cfg = cfg,
        .entry = entry,
        .priv = req->priv,
        .untranslated = req->untranslated,
        .interrupt_input = req->interrupt_input,
        .want = req->want,
    };
    uint8_t fault = 0, error = 0;
    const IOMMUTLBEntry *e = req->result;
    uint64_t va = req->first;

    if (!req->num_results) {
        return false;
    }
    for (; max_pages; max_pages--, va += PAGE) {
        Page page = model_page(&m, va);

        while (e->iova + e->addr_mask < va) {
            e++;
        }
        check_page(e, &page, va);
        fault = fault ? fault : page.fault ? page.fault : page.hole;
        if (!error && vtd_fault_blocks_ats(page.fault)) {
            error = page.fault;
        }
        if ((va | (PAGE - 1)) >= covered(req)) {
            break;
        }
    }
    if (!max_pages || status != IOMMU_WALK_DONE) {
        return false;
    }
    g_assert_cmphex(req->fault, ==, fault);
    g_assert_cmphex(req->error, ==, error);
    return true;
}

IOMMUAccessFlags walk_model_page(const VTDWalkConfig *cfg, uint64_t *entry,
                                 uint64_t addr, IOMMUAccessFlags want,
                                 bool priv, bool interrupt_input, hwaddr *out)
{
    Model m = {
        .cfg = cfg,
        .entry = entry,
        .priv = priv,
        .interrupt_input = interrupt_input,
        .want = want,
    };
    Page page = model_page(&m, addr & -PAGE);

    *out = page.out & -PAGE;
    return page.fault || page.hole ? IOMMU_NONE : page.perm;
}
