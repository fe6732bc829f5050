/*
 * A plain model of the PCIe address translation cache, and sequences of calls
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "hw/pci/pci_bus.h"
#include "pci-atc-model.h"

#define MODEL_MAX 400
#define PENDING 4

typedef struct ModelEntry {
    uint32_t pasid;
    hwaddr first, last, xlat;
    uint32_t flags;
} ModelEntry;

typedef struct PendingFill {
    bool active;
    uint64_t token;
    uint32_t pasid;
    unsigned n;
    unsigned invalidations;         /* since the fill began */
    IOMMUTLBEntry entries[16];
    bool raced[16];
} PendingFill;

struct ATCModel {
    PCIATC *atc;
    ATCModelTake *take;
    void *opaque;
    bool exact;                     /* the ATC must not evict entries */
    ModelEntry entries[MODEL_MAX];
    unsigned n;
    PendingFill pending[PENDING];
    PCIATCStats expect;
    uint64_t offered, taken, lookups;
};

static uint32_t below(ATCModel *m, uint32_t n)
{
    return m->take(m->opaque, n > UINT16_MAX ? 4 : n > UINT8_MAX ? 2 : 1) % n;
}

static bool entry_ok(const IOMMUTLBEntry *e)
{
    return e->addr_mask >= 0xfff && is_power_of_2(e->addr_mask / 2 + 1) &&
           (e->addr_mask & 1) && (e->perm & (R | W)) &&
           ctpop64(e->addr_mask) == 64 - clz64(e->addr_mask);
}

static bool pasid_ok(uint32_t pasid)
{
    return pasid < 0x100000 || pasid == PCI_NO_PASID;
}

static void model_add(ATCModel *m, uint32_t pasid, const IOMMUTLBEntry *e)
{
    ModelEntry new = {
        .pasid = pasid,
        .first = e->iova & ~e->addr_mask,
        .last = e->iova | e->addr_mask,
        .xlat = e->translated_addr & ~e->addr_mask,
        .flags = e->perm & 0x3f,
    };

    if (!(new.flags & R)) {
        new.flags &= ~X;
    }
    if (new.flags & U) {
        new.xlat = new.first;
    }
    for (unsigned i = 0; i < m->n; i++) {
        ModelEntry *old = &m->entries[i];

        if (old->pasid == pasid && old->first == new.first &&
            old->last == new.last && !((old->flags ^ new.flags) & PRIV)) {
            if (old->xlat == new.xlat && !((old->flags ^ new.flags) & U)) {
                new.flags |= old->flags;
            }
            *old = new;
            return;
        }
    }
    g_assert_true(m->n < MODEL_MAX);
    m->entries[m->n++] = new;
}

static void step_invalidate(ATCModel *m, uint32_t pasid, hwaddr first,
                            hwaddr last)
{
    unsigned left = 0;

    pci_atc_invalidate(m->atc, pasid, first, last);
    if (pasid != PCI_ATC_ANY_PASID && !pasid_ok(pasid)) {
        return;
    }
    m->expect.invalidations++;
    if (last < first) {
        first = 0;
        last = UINT64_MAX;
    }
    for (unsigned i = 0; i < m->n; i++) {
        ModelEntry *e = &m->entries[i];

        if ((pasid != PCI_ATC_ANY_PASID && pasid != e->pasid) ||
            e->first > last || e->last < first) {
            m->entries[left++] = *e;
        }
    }
    m->n = left;
    for (PendingFill *f = m->pending; f < m->pending + PENDING; f++) {
        f->invalidations++;
        for (unsigned i = 0; i < f->n; i++) {
            IOMMUTLBEntry *e = &f->entries[i];

            if ((pasid == PCI_ATC_ANY_PASID || pasid == f->pasid) &&
                (e->iova & ~e->addr_mask) <= last &&
                (e->iova | e->addr_mask) >= first) {
                f->raced[i] = true;
            }
        }
    }
}

static uint32_t random_pasid(ATCModel *m)
{
    static const uint32_t exact[] = { 0, 1, 2, 0xfffff, PCI_NO_PASID };
    static const uint32_t any[] = {
        0, 1, 2, 64, 65, 0x40000, 0xfffff, PCI_NO_PASID, 0x100000,
        0x80000000, 1 | 1 << 20,
    };

    return m->exact ? exact[below(m, ARRAY_SIZE(exact))]
                    : any[below(m, ARRAY_SIZE(any))];
}

static unsigned random_order(ATCModel *m)
{
    static const uint8_t usual[] = { 0, 0, 0, 0, 4, 9, 9, 18 };
    unsigned i = below(m, ARRAY_SIZE(usual) + 1);

    return i < ARRAY_SIZE(usual) ? usual[i] : below(m, 53);
}

/*
 * Returns one of few addresses at both ends of the range, so that entries
 * overlap
 */
static hwaddr random_addr(ATCModel *m)
{
    hwaddr addr = (hwaddr)below(m, 24) << 12 |
                  (hwaddr)below(m, 3) << 21 |
                  (hwaddr)below(m, 2) << 30 |
                  below(m, 0x1000);

    return below(m, 4) ? addr : ~addr;
}

static void step_begin(ATCModel *m)
{
    PendingFill *f = &m->pending[below(m, PENDING)];
    unsigned order = random_order(m);
    hwaddr size = order_mask(order) + 1;
    hwaddr addr = random_addr(m);
    hwaddr xlat = m->take(m->opaque, 8);

    f->active = true;
    f->invalidations = 0;
    f->token = pci_atc_fill_begin(m->atc);
    f->pasid = random_pasid(m);
    f->n = 1 + below(m, m->exact ? 2 : 16);
    for (unsigned i = 0; i < f->n; i++) {
        f->raced[i] = false;
        f->entries[i] = entry(addr + i * size, xlat + i * size, size,
                              m->take(m->opaque, 8));
        if (below(m, 16) == 0) {
            f->entries[i].addr_mask ^= 1ull << below(m, 64);
        }
        if (below(m, 16) == 0) {
            xlat = m->take(m->opaque, 8);
        }
        if (below(m, 2)) {
            f->entries[i].perm |= R;
        }
    }
}

static void step_commit(ATCModel *m)
{
    PendingFill *f = &m->pending[below(m, PENDING)];
    unsigned good = 0;
    size_t taken;

    if (!f->active) {
        return;
    }
    if (m->exact && m->n + f->n > PCI_ATC_WAYS) {
        step_invalidate(m, PCI_ATC_ANY_PASID, 0, UINT64_MAX);
    }
    if (m->n + f->n > MODEL_MAX) {
        step_invalidate(m, PCI_ATC_ANY_PASID, 0, UINT64_MAX);
    }
    taken = pci_atc_fill_commit(m->atc, f->token, f->pasid, f->entries, f->n);
    m->offered += f->n;
    m->taken += taken;
    for (unsigned i = 0; i < f->n; i++) {
        if (!pasid_ok(f->pasid) || !entry_ok(&f->entries[i])) {
            m->expect.rejected++;
        } else if (!f->raced[i]) {
            good++;
            model_add(m, f->pasid, &f->entries[i]);
        }
    }
    if (f->invalidations <= 64) {
        g_assert_cmpuint(taken, ==, good);
    } else {
        g_assert_cmpuint(taken, <=, good);
        if (taken < good) {
            /*
             * The ATC has refused more entries than it had to, and may hold
             * entries that these would have replaced: start again with an
             * empty ATC.
             */
            step_invalidate(m, PCI_ATC_ANY_PASID, 0, UINT64_MAX);
        }
    }
    f->active = false;
    f->n = 0;
}

/* Returns the entry that contains @addr and has the highest end */
static ModelEntry *model_find(ATCModel *m, uint32_t pasid, hwaddr addr,
                              uint32_t need, const hwaddr *xlat, uint32_t u)
{
    ModelEntry *best = NULL;

    for (unsigned i = 0; i < m->n; i++) {
        ModelEntry *e = &m->entries[i];

        if (e->pasid == pasid && e->first <= addr && e->last >= addr &&
            (e->flags & need) == need && !((e->flags ^ need) & PRIV) &&
            (!xlat || (e->xlat + (addr - e->first) == *xlat &&
                       !((e->flags ^ u) & U))) &&
            (!best || e->last > best->last)) {
            best = e;
        }
    }
    return best;
}

static void step_lookup(ATCModel *m)
{
    uint32_t pasid = random_pasid(m);
    uint32_t need = m->take(m->opaque, 8) & (R | W | X | PRIV);
    hwaddr addr = random_addr(m);
    hwaddr len = below(m, 4) ? 1 + below(m, 0x20000)
                                      : m->take(m->opaque, 8);
    PCIATCRun run;
    hwaddr pos = 0;

    need &= below(m, 2) ? R | PRIV : R | W | X | PRIV;
    m->lookups++;
    if (!lookup(m->atc, pasid, addr, len, need, &run)) {
        m->expect.misses++;
        if (m->exact && len) {
            g_assert_null(model_find(m, pasid, addr, need, NULL, 0));
        }
        return;
    }
    g_assert_true(run.length > 0 && run.length <= len);
    g_assert_true(addr + (run.length - 1) >= addr);
    g_assert_true(run.translated_addr + (run.length - 1) >=
                  run.translated_addr);
    g_assert_true((run.flags & need) == need);
    while (pos < run.length) {
        hwaddr xlat = run.translated_addr + pos;
        uint32_t flags = need | (run.flags & (R | W | X | PRIV));
        ModelEntry *e = model_find(m, pasid, addr + pos, flags, &xlat,
                                   run.flags);

        g_assert_nonnull(e);
        if (e->last - (addr + pos) >= run.length - pos) {
            break;
        }
        pos += e->last - (addr + pos) + 1;
    }
}

static void step_random_invalidate(ATCModel *m)
{
    uint32_t pasid = below(m, 8) ? random_pasid(m)
                                          : PCI_ATC_ANY_PASID;
    hwaddr mask = order_mask(random_order(m));
    hwaddr addr = random_addr(m);

    switch (below(m, 8)) {
    case 0:
        step_invalidate(m, pasid, 0, UINT64_MAX);
        break;
    case 1:
        step_invalidate(m, pasid, addr, random_addr(m));
        break;
    case 2:
        step_invalidate(m, pasid, addr, addr);
        break;
    case 3:
        for (unsigned i = below(m, 100); i; i--) {
            step_invalidate(m, pasid, addr & ~mask, addr | mask);
            addr += mask + 1;
        }
        break;
    default:
        step_invalidate(m, pasid, addr & ~mask, addr | mask);
    }
}

void atc_model_step(ATCModel *m)
{
    uint32_t kind = below(m, 100);

    if (kind < 15) {
        step_begin(m);
    } else if (kind < 35) {
        step_commit(m);
    } else if (kind < 45) {
        step_random_invalidate(m);
    } else {
        step_lookup(m);
    }
    if (m->exact) {
        g_assert_cmpuint(stats_of(m->atc).entries, ==, m->n);
    }
}

ATCModel *atc_model_new(uint32_t size, bool exact, ATCModelTake *take,
                        void *opaque)
{
    ATCModel *m = g_new0(ATCModel, 1);

    m->atc = pci_atc_new(size);
    m->exact = exact;
    m->take = take;
    m->opaque = opaque;
    return m;
}

PCIATCStats atc_model_free(ATCModel *m)
{
    PCIATCStats s = stats_of(m->atc);

    g_assert_cmpuint(s.invalidations, ==, m->expect.invalidations);
    g_assert_cmpuint(s.misses, ==, m->expect.misses);
    g_assert_cmpuint(s.hits, >=, m->lookups - s.misses);
    g_assert_cmpuint(s.rejected, ==, m->expect.rejected);
    g_assert_cmpuint(m->taken, ==, s.fills + s.updates);
    g_assert_cmpuint(m->offered, ==, m->taken + s.refused + s.rejected);
    if (m->exact) {
        g_assert_cmpuint(s.evictions, ==, 0);
    }
    pci_atc_free(m->atc);
    g_free(m);
    return s;
}
