/*
 * Unit tests of the lookup of the VT-d tables for a request
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tests run hw/i386/intel_iommu_resolve.c with one context entry and one
 * PASID-table entry in guest memory.  intel-iommu does not offer all
 * combinations of capabilities; the tests clear each capability separately, so
 * that each field that depends on it becomes reserved, or a type that is not
 * supported.
 *
 * Section numbers, and names of faults, are those of the Intel Virtualization
 * Technology for Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/rcu.h"
#include "hw/pci/pci.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/intel_iommu_resolve.h"
#include "fake-memory.h"

#define PAGE        4096ULL
#define SID         0x10
#define PASID       3
#define RID_PASID   2

/* Pages of guest memory */
enum { ROOT = 1, CONTEXT, DIRECTORY, TABLE, TABLES };

static IntelIOMMUState *iommu;

static uint64_t *word(unsigned page, unsigned index)
{
    return &fake_memory[page * 512 + index];
}

/* Quadwords of the context entry, and of the PASID-table entry of PASID */
static uint64_t *ce(unsigned n)
{
    unsigned size = iommu->root_scalable ? 4 : 2;

    return word(CONTEXT, SID * size + n);
}

static uint64_t *pe(unsigned n)
{
    return word(TABLE, PASID * 8 + n);
}

#define CAPABILITIES (VTD_ECAP_DT | VTD_ECAP_PASID | VTD_ECAP_PSS(20) |     \
                      VTD_ECAP_PRS | VTD_ECAP_FLTS | VTD_ECAP_SLTS |        \
                      VTD_ECAP_NEST | VTD_ECAP_PT | VTD_ECAP_SRS |          \
                      VTD_ECAP_SMPWC | VTD_ECAP_SC | VTD_ECAP_EAFS)

static const uint64_t good_ce = DIRECTORY * PAGE | VTD_SM_CONTEXT_ENTRY_DTE |
                                VTD_SM_CONTEXT_ENTRY_PASIDE |
                                VTD_SM_CONTEXT_ENTRY_PRE | 1;
static const uint64_t good_pe[3] = {
    VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT | 2 << 2, 1, TABLES * PAGE,
};

static void fill_scalable(void)
{
    memset(fake_memory, 0, sizeof(fake_memory));
    *word(ROOT, 0) = CONTEXT * PAGE | 1;
    *ce(0) = good_ce;
    *ce(1) = RID_PASID;
    *word(DIRECTORY, 0) = TABLE * PAGE | 1;
    for (unsigned i = 0; i < 3; i++) {
        *pe(i) = good_pe[i];
        *word(TABLE, RID_PASID * 8 + i) = good_pe[i];
    }
}

/* An IOMMU is never freed: all tests use the same one */
static int setup_group(void **state)
{
    iommu = g_new0(IntelIOMMUState, 1);
    iommu->aw_bits = 48;
    iommu->flts = true;
    iommu->scalable_mode = true;
    iommu->dmar_enabled = true;
    iommu->root = ROOT * PAGE;
    iommu->resolver = vtd_resolver_new(iommu);
    fake_memory_map(FAKE_MEMORY_PAGES, 0);
    return 0;
}

static void start(bool scalable)
{
    iommu->scalable_mode = true;
    iommu->root_scalable = scalable;
    iommu->cap = VTD_CAP_SAGAW_48bit;
    iommu->ecap = CAPABILITIES;
    stq_le_p(&iommu->csr[DMAR_RTADDR_REG],
             iommu->root | (scalable ? VTD_RTADDR_SMT : 0));
    vtd_resolver_update(iommu->resolver);
}

static int setup_scalable(void **state)
{
    start(true);
    fill_scalable();
    return 0;
}

static int setup_legacy(void **state)
{
    start(false);
    memset(fake_memory, 0, sizeof(fake_memory));
    *word(ROOT, 0) = CONTEXT * PAGE | 1;
    *ce(0) = TABLES * PAGE | VTD_CONTEXT_TT_DEV_IOTLB | 1;
    *ce(1) = 2;
    return 0;
}

/* Returns the fault of a lookup without cached targets */
static uint8_t fault_of(uint32_t pasid, VTDAddressType at)
{
    VTDTarget scratch;
    uint8_t fault;

    rcu_read_lock();
    vtd_resolver_invalidate(iommu->resolver);
    fault = vtd_resolve(iommu->resolver, SID, pasid, at, &scratch)->fault;
    rcu_read_unlock();
    return fault;
}

static uint8_t fault_of_pasid(void)
{
    return fault_of(PASID, VTD_AT_UNTRANSLATED);
}

static void check_tags(uint32_t pasid, uint16_t domain, uint32_t tag_pasid)
{
    VTDTarget scratch;
    const VTDTarget *t;

    rcu_read_lock();
    t = vtd_resolve(iommu->resolver, SID, pasid, VTD_AT_UNTRANSLATED, &scratch);
    assert_int_equal(t->fault, 0);
    assert_int_equal(t->domain, domain);
    assert_int_equal(t->tag_pasid, tag_pasid);
    rcu_read_unlock();
}

/* 6.2.1: tags of cached translations */
static void test_tags(void **state)
{
    *pe(1) = 0x1234;
    *word(TABLE, RID_PASID * 8 + 1) = 0x5678;
    vtd_resolver_invalidate(iommu->resolver);
    for (unsigned i = 0; i < 2; i++) {
        /* The target comes from the tables, then from the cache. */
        check_tags(PASID, 0x1234, PASID);
        check_tags(PCI_NO_PASID, 0x5678, RID_PASID);
    }
}

static void test_legacy_tags(void **state)
{
    *ce(1) |= 0x1234 << 8;
    vtd_resolver_invalidate(iommu->resolver);
    check_tags(PCI_NO_PASID, 0x1234, PCI_NO_PASID);
}

/* ---- Capabilities ---- */

/* Checks that @value in @place is valid with @capability, else a @fault */
static void check_capability(uint64_t *place, uint64_t value,
                             uint64_t capability, uint8_t fault)
{
    uint64_t old = *place;

    *place = value;
    assert_int_equal(fault_of_pasid(), 0);
    iommu->ecap &= ~capability;
    assert_int_equal(fault_of_pasid(), fault);
    iommu->ecap = CAPABILITIES;
    *place = old;
}

/* 9.3: DTE, PASIDE, and PRE with DTE, are reserved without their capability */
static void test_context_capabilities(void **state)
{
    check_capability(ce(0), good_ce, VTD_ECAP_PASID,
                     VTD_FR_SM_CONTEXT_ENTRY_RSVD);
    check_capability(ce(0), good_ce, VTD_ECAP_PRS,
                     VTD_FR_SM_CONTEXT_ENTRY_RSVD);
    check_capability(ce(0), good_ce & ~VTD_SM_CONTEXT_ENTRY_PRE, VTD_ECAP_DT,
                     VTD_FR_SM_CONTEXT_ENTRY_RSVD);
    *ce(0) = good_ce & ~VTD_SM_CONTEXT_ENTRY_DTE;
    assert_int_equal(fault_of_pasid(), VTD_FR_SM_CONTEXT_ENTRY_INV);
}

/* 9.6: fields that are reserved without a capability (SPT.3) */
static void test_entry_capabilities(void **state)
{
    check_capability(pe(1), good_pe[1] | VTD_SM_PASID_ENTRY_PWSNP,
                     VTD_ECAP_SMPWC, VTD_FR_PASID_ENTRY_RSVD);
    check_capability(pe(1), good_pe[1] | VTD_SM_PASID_ENTRY_PGSNP,
                     VTD_ECAP_SC, VTD_FR_PASID_ENTRY_RSVD);
    check_capability(pe(2), good_pe[2] | VTD_SM_PASID_ENTRY_SRE,
                     VTD_ECAP_SRS, VTD_FR_PASID_ENTRY_RSVD);
    check_capability(pe(2), good_pe[2] | VTD_SM_PASID_ENTRY_EAFE,
                     VTD_ECAP_EAFS, VTD_FR_PASID_ENTRY_RSVD);
}

static uint64_t with_type(uint64_t type)
{
    return (good_pe[0] & ~VTD_SM_PASID_ENTRY_PGTT) | type;
}

/* SPT.4.2: types of translation that need a capability */
static void test_type_capabilities(void **state)
{
    check_capability(pe(0), with_type(VTD_SM_PASID_ENTRY_FLT), VTD_ECAP_FLTS,
                     VTD_FR_PASID_TABLE_ENTRY_INV);
    check_capability(pe(0), with_type(VTD_SM_PASID_ENTRY_SLT), VTD_ECAP_SLTS,
                     VTD_FR_PASID_TABLE_ENTRY_INV);
    check_capability(pe(0), with_type(VTD_SM_PASID_ENTRY_NESTED),
                     VTD_ECAP_NEST, VTD_FR_PASID_TABLE_ENTRY_INV);
    check_capability(pe(0), with_type(VTD_SM_PASID_ENTRY_PT), VTD_ECAP_PT,
                     VTD_FR_PASID_TABLE_ENTRY_INV);
    for (uint64_t type = 0; type < 8; type++) {
        *pe(0) = with_type(type << 6);
        assert_int_equal(fault_of_pasid(), type >= 1 && type <= 4 ? 0 :
                         VTD_FR_PASID_TABLE_ENTRY_INV);
    }
}

/* SPT.4.3: AW not supported by CAP.SAGAW; FSPM not supported by CAP.FS5LP */
static void test_levels(void **state)
{
    for (uint64_t aw = 0; aw < 8; aw++) {
        *pe(0) = (with_type(VTD_SM_PASID_ENTRY_SLT) & ~(7ULL << 2)) | aw << 2;
        assert_int_equal(fault_of_pasid(),
                         aw == 2 ? 0 : VTD_FR_PASID_TABLE_ENTRY_INV);
    }
    *pe(0) = good_pe[0];
    for (uint64_t mode = 0; mode < 4; mode++) {
        *pe(2) = good_pe[2] | mode << 2;
        iommu->cap &= ~VTD_CAP_FS5LP;
        assert_int_equal(fault_of_pasid(),
                         mode == 0 ? 0 : VTD_FR_PASID_TABLE_ENTRY_INV);
        iommu->cap |= VTD_CAP_FS5LP;
        assert_int_equal(fault_of_pasid(),
                         mode <= 1 ? 0 : VTD_FR_PASID_TABLE_ENTRY_INV);
    }
}

/* ---- Reserved bits ---- */

static void check_bits(uint64_t *place, uint64_t reserved, uint8_t fault)
{
    for (unsigned bit = 0; bit < 64; bit++) {
        if (reserved >> bit & 1) {
            *place ^= 1ULL << bit;
            assert_int_equal(fault_of_pasid(), fault);
            *place ^= 1ULL << bit;
        }
    }
    assert_int_equal(fault_of_pasid(), 0);
}

/* SRT.3, SCT.3, SPD.3, SPT.3: every bit, and those above the address width */
static void test_reserved(void **state)
{
    const uint64_t high = MAKE_64BIT_MASK(48, 16);

    check_bits(word(ROOT, 0), high | 0xffe, VTD_FR_SM_ROOT_ENTRY_RSVD);
    check_bits(ce(0), high | 0x1e0, VTD_FR_SM_CONTEXT_ENTRY_RSVD);
    check_bits(ce(1), MAKE_64BIT_MASK(20, 44), VTD_FR_SM_CONTEXT_ENTRY_RSVD);
    check_bits(ce(2), UINT64_MAX, VTD_FR_SM_CONTEXT_ENTRY_RSVD);
    check_bits(ce(3), UINT64_MAX, VTD_FR_SM_CONTEXT_ENTRY_RSVD);
    check_bits(word(DIRECTORY, 0), high | 0xffc, VTD_FR_PASID_DIR_ENTRY_RSVD);
    check_bits(pe(0), high | 0xe20, VTD_FR_PASID_ENTRY_RSVD);
    check_bits(pe(2), high | 0xf02, VTD_FR_PASID_ENTRY_RSVD);
    for (unsigned i = 3; i < 8; i++) {
        check_bits(pe(i), UINT64_MAX, VTD_FR_PASID_ENTRY_RSVD);
    }
}

/* ---- Permission to send requests ---- */

/* SCT.5, SCT.8: cached targets do not allow blocked kinds of requests */
static void test_request_kinds(void **state)
{
    assert_int_equal(fault_of(PASID, VTD_AT_TRANSLATION), 0);
    assert_int_equal(fault_of(PASID, VTD_AT_PAGE_REQUEST), 0);
    *ce(0) = good_ce & ~VTD_SM_CONTEXT_ENTRY_PRE;
    assert_int_equal(fault_of(PASID, VTD_AT_PAGE_REQUEST),
                     VTD_FR_SM_CONTEXT_ENTRY_PRE);
    *ce(0) &= ~VTD_SM_CONTEXT_ENTRY_DTE;
    assert_int_equal(fault_of(PASID, VTD_AT_TRANSLATION),
                     VTD_FR_SM_CONTEXT_ENTRY_DTE);
    assert_int_equal(fault_of(PASID, VTD_AT_UNTRANSLATED), 0);
}

/* SCT.6, SGN.10, SCT.7, SCT.9 */
static void test_pasids(void **state)
{
    assert_int_equal(fault_of(PCI_NO_PASID, VTD_AT_UNTRANSLATED), 0);
    assert_int_equal(fault_of(RID_PASID, VTD_AT_UNTRANSLATED),
                     VTD_FR_SM_PASID_IS_RID_PASID);
    assert_int_equal(fault_of(1 << 13, VTD_AT_UNTRANSLATED),
                     VTD_FR_SM_PASID_TOO_LARGE);
    iommu->ecap = (CAPABILITIES & ~VTD_ECAP_PSS(32)) | VTD_ECAP_PSS(8);
    assert_int_equal(fault_of((1 << 8) - 1, VTD_AT_UNTRANSLATED),
                     VTD_FR_PASID_DIR_ENTRY_P);
    assert_int_equal(fault_of(1 << 8, VTD_AT_UNTRANSLATED),
                     VTD_FR_SM_PASID_BEYOND_PSS);
    iommu->ecap = CAPABILITIES;
    *ce(0) &= ~VTD_SM_CONTEXT_ENTRY_PASIDE;
    assert_int_equal(fault_of_pasid(), VTD_FR_SM_CONTEXT_ENTRY_PASIDE);
    assert_int_equal(fault_of(PCI_NO_PASID, VTD_AT_UNTRANSLATED), 0);
    /* 9.3: RID_PASID exceeds the PASID directory. */
    *ce(1) = 1 << 13;
    assert_int_equal(fault_of(PCI_NO_PASID, VTD_AT_UNTRANSLATED),
                     VTD_FR_SM_CONTEXT_ENTRY_INV);
}

static uint8_t translated(uint32_t pasid, bool *fpd)
{
    uint8_t fault;

    *fpd = false;
    rcu_read_lock();
    fault = vtd_resolve_translated(iommu->resolver, SID, pasid, fpd);
    rcu_read_unlock();
    return fault;
}

/* SCT.10, SCT.5; the second lookup uses the cache */
static void test_translated(void **state)
{
    bool fpd;

    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(translated(PCI_NO_PASID, &fpd), 0);
        assert_int_equal(translated(PASID, &fpd), VTD_FR_SM_TRANSLATED_PASID);
    }
    *ce(0) = (good_ce & ~(VTD_SM_CONTEXT_ENTRY_DTE |
                          VTD_SM_CONTEXT_ENTRY_PRE)) | VTD_CONTEXT_ENTRY_FPD;
    assert_int_equal(translated(PCI_NO_PASID, &fpd), 0);
    vtd_resolver_invalidate(iommu->resolver);
    assert_int_equal(translated(PCI_NO_PASID, &fpd),
                     VTD_FR_SM_CONTEXT_ENTRY_DTE);
    assert_true(fpd);
}

/* RTA.1 */
static void test_modes(void **state)
{
    bool fpd;

    for (uint64_t mode = 2; mode < 4; mode++) {
        stq_le_p(&iommu->csr[DMAR_RTADDR_REG], iommu->root | mode << 10);
        vtd_resolver_update(iommu->resolver);
        assert_int_equal(fault_of_pasid(), VTD_FR_RTADDR_INV_TTM);
        assert_int_equal(translated(PCI_NO_PASID, &fpd),
                         VTD_FR_RTADDR_INV_TTM);
    }
    stq_le_p(&iommu->csr[DMAR_RTADDR_REG], iommu->root | VTD_RTADDR_SMT);
    vtd_resolver_update(iommu->resolver);
    assert_int_equal(fault_of_pasid(), 0);
    /* Scalable mode, where ECAP.SMTS is clear */
    iommu->scalable_mode = false;
    vtd_resolver_update(iommu->resolver);
    assert_int_equal(fault_of_pasid(), VTD_FR_RTADDR_INV_TTM);
}

/* ---- Cached targets ---- */

/* Targets without a fault are cached by source and PASID until invalidated */
static void test_cache(void **state)
{
    VTDResolver *r = iommu->resolver;
    VTDTarget scratch[2];
    const VTDTarget *t;

    rcu_read_lock();
    *pe(0) = 0;
    t = vtd_resolve(r, SID, PASID, VTD_AT_UNTRANSLATED, &scratch[0]);
    assert_int_equal(t->fault, VTD_FR_PASID_ENTRY_P);
    *pe(0) = good_pe[0];
    t = vtd_resolve(r, SID, PASID, VTD_AT_UNTRANSLATED, &scratch[0]);
    assert_int_equal(t->fault, 0);
    *pe(0) = 0;
    t = vtd_resolve(r, SID, PASID, VTD_AT_UNTRANSLATED, &scratch[0]);
    assert_int_equal(t->fault, 0);
    assert_ptr_not_equal(t, &scratch[0]);
    /* Some of these PASIDs and sources share the slot. */
    for (unsigned pasid = PASID + 1; pasid < 1 << 16; pasid++) {
        t = vtd_resolve(r, SID, pasid, VTD_AT_UNTRANSLATED, &scratch[1]);
        assert_int_not_equal(t->fault, 0);
    }
    for (unsigned sid = SID + 1; sid < 1 << 16; sid++) {
        t = vtd_resolve(r, sid, PASID, VTD_AT_UNTRANSLATED, &scratch[1]);
        assert_int_not_equal(t->fault, 0);
    }
    t = vtd_resolve(r, SID + 1, PASID, VTD_AT_UNTRANSLATED, &scratch[1]);
    assert_int_equal(t->fault, VTD_FR_SM_CONTEXT_ENTRY_P);
    vtd_resolver_invalidate(r);
    t = vtd_resolve(r, SID, PASID, VTD_AT_UNTRANSLATED, &scratch[0]);
    assert_int_equal(t->fault, VTD_FR_PASID_ENTRY_P);
    rcu_read_unlock();
}

/* ---- Legacy mode ---- */

/* LCT.4: types of translation; 9.3 */
static void test_legacy_types(void **state)
{
    const struct {
        uint64_t type, capability;
    } types[] = {
        { VTD_CONTEXT_TT_MULTI_LEVEL, 0 },
        { VTD_CONTEXT_TT_DEV_IOTLB, VTD_ECAP_DT },
        { VTD_CONTEXT_TT_PASS_THROUGH, VTD_ECAP_PT },
    };

    for (int i = 0; i < ARRAY_SIZE(types); i++) {
        bool ats = types[i].type == VTD_CONTEXT_TT_DEV_IOTLB;

        *ce(0) = TABLES * PAGE | types[i].type | 1;
        assert_int_equal(fault_of(PCI_NO_PASID, VTD_AT_UNTRANSLATED), 0);
        assert_int_equal(fault_of(PCI_NO_PASID, VTD_AT_TRANSLATION),
                         ats ? 0 : VTD_FR_CONTEXT_ENTRY_TT);
        iommu->ecap &= ~types[i].capability;
        assert_int_equal(fault_of(PCI_NO_PASID, VTD_AT_UNTRANSLATED),
                         types[i].capability ? VTD_FR_CONTEXT_ENTRY_INV : 0);
        iommu->ecap = CAPABILITIES;
    }
    *ce(0) = TABLES * PAGE | 3 << 2 | 1;
    assert_int_equal(fault_of(PCI_NO_PASID, VTD_AT_UNTRANSLATED),
                     VTD_FR_CONTEXT_ENTRY_INV);
}

static void test_legacy_levels(void **state)
{
    for (uint64_t aw = 0; aw < 8; aw++) {
        *ce(1) = aw;
        assert_int_equal(fault_of(PCI_NO_PASID, VTD_AT_UNTRANSLATED),
                         aw == 2 ? 0 : VTD_FR_CONTEXT_ENTRY_INV);
    }
}

/* RTA.2, RTA.3: requests that are blocked before the root table is read */
static void test_legacy_requests(void **state)
{
    bool fpd;

    assert_int_equal(translated(PCI_NO_PASID, &fpd), 0);
    assert_int_equal(translated(PASID, &fpd), VTD_FR_RTADDR_LEGACY_PASID);
    *word(ROOT, 0) = 0;
    assert_int_equal(fault_of(PASID, VTD_AT_UNTRANSLATED),
                     VTD_FR_RTADDR_LEGACY_PASID);
    assert_int_equal(fault_of(PCI_NO_PASID, VTD_AT_PAGE_REQUEST),
                     VTD_FR_RTADDR_LEGACY_PRS);
    assert_int_equal(fault_of(PCI_NO_PASID, VTD_AT_UNTRANSLATED),
                     VTD_FR_ROOT_ENTRY_P);
}

int main(void)
{
#define SCALABLE(name) cmocka_unit_test_setup(test_ ## name, setup_scalable)
#define LEGACY(name) cmocka_unit_test_setup(test_legacy_ ## name, setup_legacy)
    const struct CMUnitTest tests[] = {
        SCALABLE(context_capabilities),
        SCALABLE(entry_capabilities),
        SCALABLE(type_capabilities),
        SCALABLE(levels),
        SCALABLE(reserved),
        SCALABLE(request_kinds),
        SCALABLE(pasids),
        SCALABLE(translated),
        SCALABLE(modes),
        SCALABLE(cache),
        SCALABLE(tags),
        LEGACY(types),
        LEGACY(levels),
        LEGACY(requests),
        LEGACY(tags),
    };
#undef SCALABLE
#undef LEGACY

    return cmocka_run_group_tests_name("intel-iommu-resolve", tests,
                                       setup_group, NULL);
}
