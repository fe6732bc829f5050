/*
 * A plain model of page table walks of the AMD IOMMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "amd-iommu-walk-model.h"

#define ADDR    0x000ffffffffff000ull

/* One 4 KiB page, directly from the specification */
typedef struct Page {
    uint8_t fault;
    IOMMUAccessFlags perm;
    hwaddr out;
} Page;

/* A page of a host table; the fault is for all of it */
typedef struct HostPage {
    uint8_t fault;
    IOMMUAccessFlags perm;
    uint64_t base;
    uint64_t size;
    hwaddr out;
    bool untranslated_only;
} HostPage;

typedef struct Model {
    const AMDVIWalkConfig *cfg;
    const IOMMUWalkRequest *req;
    uint64_t *entry;
    /* The page that was found last */
    HostPage recent;
} Model;

static bool in_memory(hwaddr table)
{
    return table < WALK_MEMORY_PAGES * PAGE;
}

static uint8_t denied(const Model *m, IOMMUAccessFlags perm)
{
    IOMMUAccessFlags missing = m->req->want & ~perm;

    if (m->req->untranslated ? !missing : missing != m->req->want) {
        return 0;
    }
    return missing & IOMMU_WO ? AMDVI_FAULT_HOST_NO_WRITE :
                                AMDVI_FAULT_HOST_NO_READ;
}

/* Host tables (2.2.3) */

/* Returns the size of the page that an entry maps, 0 if it is not valid */
static uint64_t host_page_size(uint64_t e, unsigned level)
{
    unsigned bit = 12;

    if (level == 6) {
        return 0;
    }
    if (e & NEXT(7)) {
        while (bit < 52 && (e >> bit & 1)) {
            bit++;
        }
        bit++;
    } else {
        bit = 12 + 9 * (level - 1);
    }
    if (e & NEXT(7) && (bit <= 12 + 9 * (level - 1) || bit >= 12 + 9 * level)) {
        return 0;
    }
    return 1ull << bit;
}

/* Returns the number of address bits that a table of @level translates */
static unsigned width(unsigned level)
{
    return level == 6 ? 64 : 12 + 9 * level;
}

static bool fits(uint64_t addr, unsigned bits)
{
    return bits == 64 || !(addr >> bits);
}

/* As a second stage, the permissions are up to the caller */
static HostPage host_lookup(const Model *m, uint64_t addr, bool second)
{
    HostPage page = { .perm = m->cfg->perm };
    unsigned level = m->cfg->mode;
    hwaddr table = m->cfg->host_root;

    if (!fits(addr, width(level))) {
        page.fault = AMDVI_FAULT_HOST_TOO_WIDE;
        return page;
    }
    for (;;) {
        unsigned next;
        uint64_t e;

        page.fault = second ? 0 : denied(m, page.perm);
        if (page.fault) {
            return page;
        }
        if (!in_memory(table)) {
            page.fault = AMDVI_FAULT_HOST_UNREACHABLE;
            return page;
        }
        e = m->entry[table / 8 + (addr >> (12 + 9 * (level - 1))) % 512];
        next = e >> 9 & 7;
        if (!(e & PR)) {
            page.fault = AMDVI_FAULT_HOST_NOT_PRESENT;
            return page;
        }
        if (e & (next == 0 || next == 7 ? 0x07f0000000000000ull :
                                          0x1ff0000000000000ull)) {
            page.fault = AMDVI_FAULT_HOST_RESERVED;
            return page;
        }
        if (next == 0 || next == 7 ? !host_page_size(e, level) :
                                     next >= level) {
            page.fault = AMDVI_FAULT_HOST_LEVEL;
            return page;
        }
        page.perm &= (e & IR ? IOMMU_RO : 0) | (e & IW ? IOMMU_WO : 0);
        if (next == 0 || next == 7) {
            page.fault = second ? 0 : denied(m, page.perm);
            page.size = host_page_size(e, level);
            page.base = addr & -page.size;
            page.out = e & ADDR & -page.size;
            page.untranslated_only = e & U;
            return page;
        }
        page.fault = second ? 0 : denied(m, page.perm);
        if (page.fault) {
            return page;
        }
        if (!fits(addr % (1ull << (12 + 9 * (level - 1))), width(next))) {
            page.fault = AMDVI_FAULT_HOST_SKIPPED;
            return page;
        }
        table = e & ADDR;
        level = next;
    }
}

static Page model_host(Model *m, uint64_t addr)
{
    HostPage *host = &m->recent;
    Page page;

    /* An entry is for its whole page. */
    if (!host->size || addr - host->base >= host->size) {
        *host = host_lookup(m, addr, false);
    }
    page.fault = host->fault;
    page.out = host->out + (addr - host->base);
    page.perm = host->perm;
    if (!m->req->untranslated) {
        page.perm &= m->req->want;
        page.perm |= host->untranslated_only ? IOMMU_UNTRANSLATED_ONLY : 0;
    }
    return page;
}

/* Mode 0 */
static Page model_identity(const Model *m, uint64_t addr)
{
    return (Page) {
        .fault = denied(m, m->cfg->perm),
        .perm = m->cfg->perm & (m->req->untranslated ? IOMMU_RW : m->req->want),
        .out = addr,
    };
}

/* The second stage of guest tables */
static Page model_second(const Model *m, uint64_t addr)
{
    HostPage host;

    if (m->cfg->mode == 0) {
        return (Page) { .perm = m->cfg->perm, .out = addr };
    }
    host = host_lookup(m, addr, true);
    return (Page) {
        .fault = host.fault,
        .perm = host.perm,
        .out = host.out + (addr - host.base),
    };
}

/* Guest tables (2.2.6) */

static bool large(uint64_t e, unsigned level)
{
    return level > 1 && (e & PS);
}

static bool reserved(uint64_t e, unsigned level)
{
    if (!large(e, level)) {
        return false;
    }
    return level > 3 || (e & (walk_entry_size(level) - 1) & ~0x1fffull);
}

/*
 * Sets @addr to the address of a table, and @no_update to the reason if flags
 * cannot be set, or 0.  Returns the reason for a fault, or 0.
 */
static uint8_t model_table(const Model *m, hwaddr *addr, uint8_t *no_update)
{
    Page page = model_second(m, *addr);

    *no_update = 0;
    if (page.fault) {
        return page.fault;
    }
    if (!(page.perm & IOMMU_RO)) {
        return AMDVI_FAULT_GUEST_TABLE_UNREADABLE;
    }
    if (!in_memory(page.out)) {
        return AMDVI_FAULT_GUEST_UNREACHABLE;
    }
    if (!(page.perm & IOMMU_WO)) {
        *no_update = AMDVI_FAULT_GUEST_TABLE_UNWRITABLE;
    } else if (!walk_memory_is_writable(page.out)) {
        *no_update = AMDVI_FAULT_GUEST_FLAGS;
    }
    if (m->cfg->no_flag_update) {
        *no_update = AMDVI_FAULT_GUEST_FLAGS;
    }
    *addr = page.out;
    return 0;
}

static Page model_guest_page(const Model *m, uint64_t va, uint64_t *e,
                             unsigned level, bool write, uint8_t no_update)
{
    uint64_t size = walk_entry_size(level);
    bool was_dirty = *e & D;
    Page page = model_second(m, (*e & ADDR & -size) + va % size);
    IOMMUAccessFlags have;

    if (page.fault) {
        return page;
    }
    page.perm &= write ? IOMMU_RW : IOMMU_RO;
    have = page.perm;
    page.perm &= m->req->want;
    switch (denied(m, have)) {
    case AMDVI_FAULT_HOST_NO_READ:
        page.fault = AMDVI_FAULT_GUEST_NO_READ;
        return page;
    case AMDVI_FAULT_HOST_NO_WRITE:
        page.fault = AMDVI_FAULT_GUEST_NO_WRITE;
        return page;
    }
    page.fault = walk_model_flags(e, A | (page.perm & IOMMU_WO ? D : 0),
                                  no_update);
    if (m->req->untranslated) {
        page.perm |= have & (was_dirty ? IOMMU_RW : IOMMU_RO);
    }
    return page;
}

static Page model_guest(const Model *m, uint64_t va)
{
    unsigned levels = m->cfg->guest_levels;
    unsigned bits = 12 + 9 * levels;
    int64_t extended = (int64_t)(va << (64 - bits)) >> (64 - bits);
    hwaddr table = m->cfg->guest_root;
    bool write = true;

    if ((uint64_t)extended != va) {
        return (Page) { .fault = AMDVI_FAULT_GUEST_NOT_CANONICAL };
    }
    for (unsigned level = levels; ; level--) {
        uint8_t no_update;
        Page page = { .fault = model_table(m, &table, &no_update) };
        uint64_t *e;

        if (page.fault) {
            return page;
        }
        e = &m->entry[table / 8 + (va / walk_entry_size(level)) % 512];
        page.fault = !(*e & P) ? AMDVI_FAULT_GUEST_NOT_PRESENT :
                     reserved(*e, level) ? AMDVI_FAULT_GUEST_RESERVED :
                     !(*e & US) && !m->req->priv ?
                     AMDVI_FAULT_GUEST_PRIVILEGE : 0;
        if (page.fault) {
            return page;
        }
        write = write && (*e & RW);
        if (level == 1 || large(*e, level)) {
            return model_guest_page(m, va, e, level, write, no_update);
        }
        page.fault = walk_model_flags(e, A, no_update);
        if (page.fault) {
            return page;
        }
        table = *e & ADDR;
    }
}

static Page model_tables(Model *m, uint64_t va)
{
    if (m->cfg->guest) {
        return model_guest(m, va);
    }
    return m->cfg->mode ? model_host(m, va) : model_identity(m, va);
}

/* Special addresses (2.1.2) */

typedef enum Special { NONE, RESERVED, INTERRUPT, SYS_MGT, PORT_IO } Special;

static Special special(const Model *m, uint64_t va)
{
    if (!m->cfg->special || va < 0xfd00000000 || va > 0xfdfdffffff) {
        return NONE;
    }
    switch (va >> 24) {
    case 0xfdf8:
        return INTERRUPT;
    case 0xfdf9:
        return va >> 20 == 0xfdf91 ? SYS_MGT : NONE;
    case 0xfdfa ... 0xfdfb:
        return NONE;
    case 0xfdfc ... 0xfdfd:
        return PORT_IO;
    default:
        return RESERVED;
    }
}

/* @pass: what becomes a message, which nothing receives */
static Page model_message(const Model *m, uint8_t fault, IOMMUAccessFlags pass)
{
    if (m->req->untranslated && !(m->req->want & ~pass)) {
        fault = 0;
    }
    return (Page) { .fault = fault };
}

static Page model_special(Model *m, uint64_t va)
{
    const AMDVIWalkConfig *cfg = m->cfg;

    switch (special(m, va)) {
    case RESERVED:
        return model_message(m, AMDVI_FAULT_SPECIAL_RESERVED, IOMMU_NONE);
    case INTERRUPT:
        return model_message(m, AMDVI_FAULT_SPECIAL_INTERRUPT,
                             cfg->int_abort ? IOMMU_NONE : IOMMU_WO);
    case SYS_MGT:
        return cfg->sys_mgt == 3 ? model_tables(m, va) :
               model_message(m, AMDVI_FAULT_SPECIAL_SYS_MGT,
                             cfg->sys_mgt == 1 ? IOMMU_WO : IOMMU_NONE);
    case PORT_IO:
        return cfg->port_io == 2 ? model_tables(m, va) :
               model_message(m, AMDVI_FAULT_SPECIAL_PORT_IO,
                             cfg->port_io == 1 ? IOMMU_RW : IOMMU_NONE);
    case NONE:
        break;
    }
    g_assert_not_reached();
}

static bool is_excluded(const Model *m, uint64_t va)
{
    return m->cfg->exclude && va >= m->cfg->exclude_first &&
           va <= m->cfg->exclude_last;
}

static Page model_excluded(const Model *m, uint64_t va)
{
    return (Page) {
        .perm = m->req->untranslated ? IOMMU_RW :
                m->req->want | IOMMU_UNTRANSLATED_ONLY,
        .out = va,
    };
}

static bool is_interrupt(uint64_t va)
{
    return va >= 0xfee00000 && va <= 0xfeefffff;
}

/* A walk does not use an entry for addresses in different ranges. */
static bool same_range(const Model *m, uint64_t a, uint64_t b)
{
    return is_interrupt(a) == is_interrupt(b) &&
           special(m, a) == special(m, b) &&
           is_excluded(m, a) == is_excluded(m, b);
}

static Page model_page(Model *m, uint64_t va)
{
    if (!m->req->interrupt_input) {
        return model_tables(m, va);
    }
    if (!same_range(m, va, va - PAGE)) {
        m->recent.size = 0;
    }
    if (is_interrupt(va)) {
        return m->req->want & IOMMU_WO ?
               (Page) { .perm = IOMMU_WO | IOMMU_UNTRANSLATED_ONLY } :
               (Page) { .fault = AMDVI_FAULT_INTERRUPT_RANGE };
    }
    if (special(m, va)) {
        return model_special(m, va);
    }
    return is_excluded(m, va) ? model_excluded(m, va) : model_tables(m, va);
}

/* Checks */

static void check_page(const IOMMUTLBEntry *e, const Page *page, uint64_t va)
{
    if (page->fault || !page->perm) {
        g_assert_cmphex(e->perm, ==, IOMMU_NONE);
        return;
    }
    g_assert_cmphex(e->perm, ==, page->perm);
    if (!(e->perm & IOMMU_UNTRANSLATED_ONLY)) {
        g_assert_cmphex(e->translated_addr + (va - e->iova), ==,
                        page->out & -PAGE);
    }
}

bool walk_check_results(const AMDVIWalkConfig *cfg,
                        const IOMMUWalkRequest *req, IOMMUWalkStatus status,
                        uint64_t *entry, uint64_t max_pages)
{
    Model m = { .cfg = cfg, .req = req, .entry = entry };
    uint8_t fault = 0, error = 0;
    const IOMMUTLBEntry *e = req->result;
    const IOMMUTLBEntry *end = e + req->num_results - 1;
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
        fault = fault ? fault : page.fault;
        if (!error && amdvi_fault_blocks_ats(page.fault)) {
            error = page.fault;
        }
        if ((va | (PAGE - 1)) >= MIN(req->last, end->iova + end->addr_mask)) {
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
