/*
 * Translation requests while a guest changes tables and invalidates
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The test compares hw/i386/intel_iommu_ats.c, with the caches and walkers that
 * it uses, with a plain model of a walk.  An answer has to agree with the
 * present tables.  It may also agree with the tables at any time since the last
 * invalidation, if it grants all requested permissions.  Section numbers are
 * those of the Intel Virtualization Technology for Directed I/O specification,
 * revision 5.10.
 *
 *   ATS_TEST_SEED    seed of the random sequence (printed; default: the time)
 *   ATS_TEST_STEPS   its length
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/bswap.h"
#include "qemu/rcu.h"
#include "hw/pci/pci_bus.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/intel_iommu_ats.h"
#include "hw/i386/intel_iommu_resolve.h"
#include "hw/i386/intel_iommu_untranslated.h"
#include "fake-fault.h"
#include "fake-memory.h"
#include "fake-requester.h"
#include "intel-iommu-walk-model.h"

#define DEVFNS      2
#define STATES      16          /* states of the tables between invalidations */
#define LEAVES      4           /* used entries of a leaf table */
#define ALL         (P | RW | US)

/* Pages of guest memory */
enum {
    ROOT = 1, CONTEXT, DIRECTORY, TABLE,
    FIRST,                      /* page tables: four levels, two leaf tables */
    SECOND = FIRST + 6,
    NESTED = SECOND + 6,
    UNDER = NESTED + 6,         /* second stage for NESTED: identity mapping */
    END = UNDER + 4,
};

static IntelIOMMUState *iommu;
static GRand *random_source;

static unsigned below(unsigned n)
{
    return g_rand_int_range(random_source, 0, n);
}

static uint64_t *slot(unsigned table, unsigned index)
{
    return &fake_memory[table * 512 + index];
}

static void store(unsigned table, unsigned index, uint64_t value)
{
    *slot(table, index) = cpu_to_le64(value);
}

/* ---- Address spaces ---- */

/* Space i is that of PASID i + 1; requests without PASID use space 0 */
static const struct {
    unsigned tables;
    bool second;
    uint64_t pe[3];
    VTDWalkConfig walk;
} spaces[] = {
    {
        .tables = FIRST,
        .pe = { VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT,
                VTD_SM_PASID_ENTRY_PWSNP,
                FIRST * PAGE | VTD_SM_PASID_ENTRY_SRE },
        .walk = { .type = VTD_WALK_FIRST_STAGE, .fs_root = FIRST * PAGE },
    }, {
        .tables = SECOND,
        .second = true,
        .pe = { VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_SLT | 2 << 2 |
                SECOND * PAGE, VTD_SM_PASID_ENTRY_PWSNP,
                VTD_SM_PASID_ENTRY_SRE },
        .walk = { .type = VTD_WALK_SECOND_STAGE, .ss_root = SECOND * PAGE },
    }, {
        .tables = NESTED,
        .pe = { VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_NESTED | 2 << 2 |
                UNDER * PAGE, VTD_SM_PASID_ENTRY_PWSNP,
                NESTED * PAGE | VTD_SM_PASID_ENTRY_SRE |
                VTD_SM_PASID_ENTRY_WPE },
        .walk = { .type = VTD_WALK_NESTED, .fs_root = NESTED * PAGE,
                  .ss_root = UNDER * PAGE, .write_protect = true },
    },
};

static VTDWalkConfig space_config(unsigned space)
{
    VTDWalkConfig cfg = spaces[space].walk;

    cfg.reasons = vtd_walk_reasons(true);
    cfg.fs_levels = cfg.ss_levels = 4;
    cfg.haw = cfg.ss_width = 48;
    cfg.rsvd = &iommu->resolver->rsvd;
    return cfg;
}

/* Returns an entry of a leaf table: mostly a page, with random permissions */
static uint64_t random_leaf(bool second)
{
    uint64_t out = (uint64_t)(0x100 + below(64)) << 12;
    uint64_t bits = second ? SR | SW : ALL;

    switch (below(6)) {
    case 0:
        return 0;
    case 1:
        return out | (bits & ~(second ? SW : RW));
    case 2:
        return out | (bits & ~(second ? SR : US));
    default:
        return out | bits;
    }
}

/* Returns an entry of the level above: a leaf table, or a large page */
static uint64_t random_directory(unsigned tables, bool second)
{
    uint64_t bits = second ? SR | SW : ALL;

    switch (below(6)) {
    case 0:
        return below(2) ? 0 : 1ull << 50 | bits;
    case 1:
        return (uint64_t)(1 + below(8)) << 21 | PS | bits;
    default:
        return (tables + 4 + below(2)) * PAGE | bits;
    }
}

/* Changes one entry that requests use */
static void change_entry(unsigned space)
{
    unsigned tables = spaces[space].tables;
    bool second = spaces[space].second;

    if (below(4)) {
        store(tables + 4 + below(2), below(LEAVES), random_leaf(second));
    } else {
        store(tables + 2, below(2), random_directory(tables, second));
    }
}

static void fill_space(unsigned space)
{
    unsigned tables = spaces[space].tables;
    uint64_t bits = spaces[space].second ? SR | SW : ALL;

    store(tables, 0, (tables + 1) * PAGE | bits);
    store(tables + 1, 0, (tables + 2) * PAGE | bits);
    for (unsigned i = 0; i < 100; i++) {
        change_entry(space);
    }
    for (unsigned i = 0; i < 3; i++) {
        store(TABLE, (space + 1) * 8 + i, spaces[space].pe[i]);
    }
}

static void fill_memory(void)
{
    store(ROOT, 0, CONTEXT * PAGE | 1);
    for (unsigned devfn = 0; devfn < DEVFNS; devfn++) {
        store(CONTEXT, devfn * 4, DIRECTORY * PAGE | VTD_SM_CONTEXT_ENTRY_DTE |
                                  VTD_SM_CONTEXT_ENTRY_PASIDE | 1);
        /* RID_PASID 0 has the entry of the first space. */
        store(CONTEXT, devfn * 4 + 1, 0);
    }
    store(DIRECTORY, 0, TABLE * PAGE | 1);
    for (unsigned i = 0; i < 3; i++) {
        store(UNDER + i, 0, (UNDER + i + 1) * PAGE | SR | SW);
        store(TABLE, i, spaces[0].pe[i]);
    }
    for (unsigned i = 0; i < 512; i++) {
        store(UNDER + 3, i, i * PAGE | SR | SW);
    }
    for (unsigned i = 0; i < ARRAY_SIZE(spaces); i++) {
        fill_space(i);
    }
}

static int setup(void **state)
{
    const char *env = getenv("ATS_TEST_SEED");
    uint32_t seed = env ? g_ascii_strtoull(env, NULL, 0) : time(NULL);

    print_message("# ATS_TEST_SEED=0x%" PRIx32 "\n", seed);
    random_source = g_rand_new_with_seed(seed);
    iommu = g_new0(IntelIOMMUState, 1);
    iommu->aw_bits = 48;
    iommu->flts = iommu->fs1gp = true;
    iommu->scalable_mode = iommu->root_scalable = iommu->dmar_enabled = true;
    iommu->cap = VTD_CAP_SAGAW_48bit;
    iommu->ecap = VTD_ECAP_DT | VTD_ECAP_PASID | VTD_ECAP_PSS(20) |
                  VTD_ECAP_FLTS | VTD_ECAP_SLTS | VTD_ECAP_NEST |
                  VTD_ECAP_SRS | VTD_ECAP_SMPWC;
    iommu->root = ROOT * PAGE;
    stq_le_p(&iommu->csr[DMAR_RTADDR_REG], iommu->root | VTD_RTADDR_SMT);
    iommu->resolver = vtd_resolver_new(iommu);
    /* The model has the same read-only pages. */
    fake_memory_map(FAKE_MEMORY_PAGES, FAKE_MEMORY_PAGES / 4);
    fill_memory();
    return 0;
}

static int teardown(void **state)
{
    g_rand_free(random_source);
    return 0;
}

/* ---- Requests, and the model ---- */

typedef struct Request {
    unsigned devfn;
    unsigned space;
    uint32_t pasid;
    bool priv;
    bool no_write;
    uint64_t addr;
} Request;

static IOMMUTLBEntry translate(const Request *a)
{
    IOMMUTLBEntry e;
    uint32_t errors;

    assert_int_equal(vtd_ats_request_translation(&fake_bus, iommu, a->devfn,
                                                 a->pasid, a->priv, false,
                                                 a->addr, 8, a->no_write, &e, 1,
                                                 &errors), 1);
    assert_int_equal(errors, !(e.perm & IOMMU_RW));
    assert_int_equal(e.pasid, a->pasid);
    assert_true(is_power_of_2(e.addr_mask + 1));
    assert_int_equal(e.iova & e.addr_mask, 0);
    assert_int_equal(a->addr & ~e.addr_mask, e.iova);
    return e;
}

static IOMMUAccessFlags wanted(const Request *a)
{
    return a->no_write ? IOMMU_RO : IOMMU_RW;
}

/* Compares @e with the model for the page at @addr, with guest memory @entry */
static bool model_says(const Request *a, const IOMMUTLBEntry *e, uint64_t addr,
                       uint64_t *entry)
{
    VTDWalkConfig cfg = space_config(a->space);
    bool priv = a->priv && a->pasid != PCI_NO_PASID;
    hwaddr out;
    IOMMUAccessFlags perm = walk_model_page(&cfg, entry, addr, wanted(a), priv,
                                            a->pasid == PCI_NO_PASID, &out);

    if (perm && priv) {
        perm |= IOMMU_PRIV;
    }
    return e->perm == perm &&
           (!perm || e->translated_addr + (addr & -PAGE) - e->iova == out);
}

/* Former states of guest memory, the oldest first */
static uint64_t states[STATES][FAKE_MEMORY_ENTRIES];
static unsigned num_states;
/* First valid state: [0] for requests without PASID, the others for PASIDs */
static unsigned first_state[1 + ARRAY_SIZE(spaces)];
static uint64_t scratch[FAKE_MEMORY_ENTRIES];

static bool state_says(const Request *a, const IOMMUTLBEntry *e, unsigned state)
{
    uint64_t other = e->iova + (below(512) * PAGE & e->addr_mask);

    memcpy(scratch, state == num_states ? fake_memory : states[state],
           sizeof(scratch));
    return model_says(a, e, a->addr, scratch) &&
           model_says(a, e, other, scratch);
}

/* Returns true if the answer agrees with a former state only */
static bool check_answer(const Request *a, const IOMMUTLBEntry *e)
{
    unsigned first = first_state[a->pasid == PCI_NO_PASID ? 0 : a->pasid];

    if (state_says(a, e, num_states)) {
        /* 6.2.4.1: all flags are set, if no flag has been cleared since. */
        if (first == num_states) {
            assert_memory_equal(scratch, fake_memory, sizeof(scratch));
        }
        return false;
    }
    /* 6.2.4: an answer with fewer permissions must agree with the tables. */
    assert_int_equal(e->perm & IOMMU_RW, wanted(a));
    for (unsigned i = num_states; !state_says(a, e, i); i--) {
        if (i == first) {
            fail_msg("no state of the tables gives 0x%" PRIx64 " for 0x%" PRIx64
                     " of space %u", e->translated_addr, a->addr, a->space);
        }
    }
    return true;
}

static void random_request(Request *a)
{
    bool has_pasid = below(4);

    a->devfn = below(DEVFNS);
    a->space = has_pasid ? below(ARRAY_SIZE(spaces)) : 0;
    a->pasid = has_pasid ? a->space + 1 : PCI_NO_PASID;
    a->priv = has_pasid && !below(4);
    a->no_write = !below(3);
    a->addr = (uint64_t)below(2) << 21 | below(LEAVES) * PAGE | below(512) * 8;
}

static void random_invalidation(void)
{
    uint32_t pasid = 1 + below(ARRAY_SIZE(spaces));

    switch (num_states < STATES ? below(4) : below(3)) {
    case 3:
        iommu_answers_invalidate_pasid(iommu->resolver->answers, pasid);
        first_state[pasid] = first_state[0] = num_states;
        return;
    case 0:
        iommu_answers_invalidate(iommu->resolver->answers);
        break;
    case 1:
        vtd_resolver_invalidate(iommu->resolver);
        break;
    default:
        vtd_resolver_update(iommu->resolver);
        break;
    }
    num_states = 0;
    memset(first_state, 0, sizeof(first_state));
}

static void test_random(void **state)
{
    const char *env = getenv("ATS_TEST_STEPS");
    unsigned steps = env ? atoi(env) : 20000, old = 0, given = 0;

    for (unsigned step = 0; step < steps; step++) {
        Request a;
        IOMMUTLBEntry e;

        if (!below(8)) {
            if (num_states == STATES || !below(10)) {
                random_invalidation();
            }
            memcpy(states[num_states++], fake_memory, sizeof(fake_memory));
            change_entry(below(ARRAY_SIZE(spaces)));
        }
        random_request(&a);
        e = translate(&a);
        old += check_answer(&a, &e);
        given += !!e.perm;
    }
    print_message("# %u of %u have an answer, %u that of the past\n", given,
                  steps, old);
    /* The test needs enough mapped pages, and enough cached answers. */
    assert_true(given > steps / 4);
    assert_true(old > steps / 100);
}

/* Replaces the page that a request has just found, and invalidates it */
static void take_away_leaf(void)
{
    fake_memory_changed = NULL;
    store(FIRST + 4, 0, 0x200 * PAGE | ALL);
    iommu_answers_invalidate_pasid(iommu->resolver->answers, 1);
}

/* Replaces the tables of the PASID, and invalidates them */
static void take_away_tables(void)
{
    fake_memory_changed = NULL;
    store(TABLE, 8 + 2, NESTED * PAGE | VTD_SM_PASID_ENTRY_SRE);
    vtd_resolver_invalidate(iommu->resolver);
}

/*
 * 6.5.2.4, 6.5.2.2: if an invalidation happens while a request is translated,
 * the answer is not cached.
 */
static void test_invalidation_during_request(void **state)
{
    const Request a = { .space = 0, .pasid = 1 };

    fill_memory();
    vtd_resolver_invalidate(iommu->resolver);
    store(FIRST + 2, 0, (FIRST + 4) * PAGE | ALL);
    store(FIRST + 4, 0, 0x100 * PAGE | ALL);
    fake_memory_changed = take_away_leaf;
    assert_int_equal(translate(&a).translated_addr, 0x100 * PAGE);
    assert_null(fake_memory_changed);
    assert_int_equal(translate(&a).translated_addr, 0x200 * PAGE);

    iommu_answers_invalidate(iommu->resolver->answers);
    store(FIRST + 4, 0, 0x100 * PAGE | ALL);
    store(NESTED + 2, 0, (NESTED + 4) * PAGE | ALL);
    store(NESTED + 4, 0, 0x300 * PAGE | ALL);
    fake_memory_changed = take_away_tables;
    assert_int_equal(translate(&a).translated_addr, 0x100 * PAGE);
    assert_null(fake_memory_changed);
    assert_int_equal(translate(&a).translated_addr, 0x300 * PAGE);
    fill_memory();
    vtd_resolver_invalidate(iommu->resolver);
}

/* Table 30: FPD suppresses qualified faults only */
static void test_fault_disabled(void **state)
{
    const VTDFault qualified = { .reason = VTD_FR_CONTEXT_ENTRY_P };
    const VTDFault other = { .reason = VTD_FR_ROOT_ENTRY_P };

    fake_faults = 0;
    vtd_fault_report_unless(iommu, &qualified, true);
    assert_int_equal(fake_faults, 0);
    vtd_fault_report_unless(iommu, &qualified, false);
    assert_int_equal(fake_faults, 1);
    vtd_fault_report_unless(iommu, &other, true);
    assert_int_equal(fake_faults, 2);
}

/* vtd_peek() finds no translation where there is none, and records no fault */
static void test_peek(void **state)
{
    IOMMUTLBEntry entry;

    fill_memory();
    store(FIRST + 2, 0, (FIRST + 4) * PAGE | ALL);
    store(FIRST + 4, 0, 0x100 * PAGE | ALL | 1 << 5 | 1 << 6);
    for (unsigned level = 0; level < 3; level++) {
        *slot(FIRST + level, 0) |= cpu_to_le64(1 << 5);
    }
    vtd_resolver_invalidate(iommu->resolver);
    fake_faults = 0;
    assert_true(vtd_peek(iommu, &fake_bus, 0, 1, 0, &entry));
    assert_int_equal(entry.translated_addr, 0x100 * PAGE);
    /* A missing PASID, a missing page, and translation disabled */
    assert_false(vtd_peek(iommu, &fake_bus, 0, 7, 0, &entry));
    store(FIRST + 4, 0, 0);
    assert_false(vtd_peek(iommu, &fake_bus, 0, 1, 0, &entry));
    store(FIRST + 4, 0, 0x100 * PAGE | ALL | 1 << 5 | 1 << 6);
    iommu->dmar_enabled = false;
    vtd_resolver_update(iommu->resolver);
    assert_false(vtd_peek(iommu, &fake_bus, 0, 1, 0, &entry));
    iommu->dmar_enabled = true;
    vtd_resolver_update(iommu->resolver);
    assert_true(vtd_peek(iommu, &fake_bus, 0, 1, 0, &entry));
    assert_int_equal(fake_faults, 0);
}

static bool translated_request(bool ats_enabled)
{
    hwaddr len = 4;

    return vtd_translated_request(&fake_bus, iommu, 0, ats_enabled, 0, &len,
                                  false);
}

static bool translated_in_region(void)
{
    IOMMUTLBEntry entry;

    return vtd_translate_translated(iommu, &fake_bus, 0, PCI_NO_PASID, 0,
                                    false, &entry);
}

/* PCIe 5.0, 10.5.1.3: the requester must have ATS enabled */
static void test_translated_requester(void **state)
{
    PCIDevice *dev = g_new0(PCIDevice, 1);

    fake_faults = 0;
    assert_true(translated_request(true));
    assert_int_equal(fake_faults, 0);
    assert_false(translated_request(false));
    assert_int_equal(fake_faults, 1);

    /* No function, a function without ATS, and a function behind a bridge */
    assert_false(translated_in_region());
    fake_bus.devices[0] = dev;
    assert_true(translated_in_region());
    fake_ats_enabled = false;
    assert_false(translated_in_region());
    fake_ats_enabled = true;
    fake_bus_express = false;
    assert_false(translated_in_region());
    fake_bus_express = true;
    assert_int_equal(fake_faults, 4);
    fake_bus.devices[0] = NULL;
    g_free(dev);
}

/* SGN.4: above the host address width; and the last address below */
static void test_translated_width(void **state)
{
    IOMMUTLBEntry entry;
    PCIDevice *dev = g_new0(PCIDevice, 1);

    fake_bus.devices[0] = dev;
    fake_faults = 0;
    assert_true(vtd_translate_translated(iommu, &fake_bus, 0, PCI_NO_PASID,
                                         (1ULL << 48) - 1, false, &entry));
    assert_int_equal(fake_faults, 0);
    assert_false(vtd_translate_translated(iommu, &fake_bus, 0, PCI_NO_PASID,
                                          1ULL << 48, false, &entry));
    assert_int_equal(entry.perm, IOMMU_NONE);
    assert_int_equal(fake_faults, 1);
    fake_bus.devices[0] = NULL;
    g_free(dev);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_random),
        cmocka_unit_test(test_invalidation_during_request),
        cmocka_unit_test(test_fault_disabled),
        cmocka_unit_test(test_peek),
        cmocka_unit_test(test_translated_requester),
        cmocka_unit_test(test_translated_width),
    };

    return cmocka_run_group_tests(tests, setup, teardown);
}
