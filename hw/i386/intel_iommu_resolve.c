/*
 * VT-d: find the tables that translate the requests of a source and PASID
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/rcu.h"
#include "hw/pci/pci_bus.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_resolve.h"

/* Stands for the PASID of translated requests; no PASID is that large */
#define VTD_PASID_CONTEXT_ONLY  (PCI_NO_PASID - 1)

/* The registers that control address translation */
struct VTDRootConfig {
    struct rcu_head rcu;
    hwaddr addr;
    bool enabled;
    bool scalable;
    /* RTA.1: the mode is reserved, or not supported */
    bool bad_mode;
};

/* A lookup in progress */
typedef struct Lookup {
    const VTDResolver *r;
    const VTDRootConfig *root;
    uint32_t pasid;
    VTDTarget *t;
    uint64_t ce[4];             /* context entry */
    uint64_t pe[8];             /* PASID-table entry */
} Lookup;

static uint64_t haw_rsvd(const VTDResolver *r)
{
    return ~VTD_HAW_MASK(r->s->aw_bits);
}

static bool sagaw_supported(const VTDResolver *r, unsigned aw)
{
    return r->s->cap & VTD_CAP_SAGAW_MASK &
           (1ull << (aw + VTD_CAP_SAGAW_SHIFT));
}

/* Root table (9.1, 9.2) */

static uint8_t lookup_root(Lookup *l, uint64_t *table)
{
    bool scalable = l->root->scalable;
    bool upper = scalable && (l->t->sid & VTD_DEVFN_CHECK_MASK);
    hwaddr addr = l->root->addr +
                  VTD_SID_TO_BUS(l->t->sid) * sizeof(VTDRootEntry);
    uint64_t re[2];
    uint64_t rsvd = VTD_ROOT_ENTRY_RSVD(l->r->s->aw_bits);

    if (!iommu_ram_read(&l->r->ram, addr, re, 2)) {
        return vtd_fault_for_mode(VTD_FR_ROOT_TABLE_INV, scalable);
    }
    if (!(re[upper] & VTD_ROOT_ENTRY_P)) {
        return vtd_fault_for_mode(VTD_FR_ROOT_ENTRY_P, scalable);
    }
    if (scalable) {
        if (re[upper] & rsvd) {
            return VTD_FR_SM_ROOT_ENTRY_RSVD;
        }
    } else if ((re[0] & rsvd) || re[1]) {
        return VTD_FR_ROOT_ENTRY_RSVD;
    }
    *table = re[upper] & VTD_ROOT_ENTRY_CTP;
    return 0;
}

/* Legacy mode (3.4.2, 9.3) */

static uint8_t legacy_context_check(const Lookup *l)
{
    const IntelIOMMUState *s = l->r->s;

    if (!(l->ce[0] & VTD_CONTEXT_ENTRY_P)) {
        return VTD_FR_CONTEXT_ENTRY_P;
    }
    if ((l->ce[0] & VTD_CONTEXT_ENTRY_RSVD_LO(s->aw_bits)) ||
        (l->ce[1] & VTD_CONTEXT_ENTRY_RSVD_HI)) {
        return VTD_FR_CONTEXT_ENTRY_RSVD;
    }
    if (!sagaw_supported(l->r, l->ce[1] & VTD_CONTEXT_ENTRY_AW)) {
        return VTD_FR_CONTEXT_ENTRY_INV;
    }
    switch (l->ce[0] & VTD_CONTEXT_ENTRY_TT) {
    case VTD_CONTEXT_TT_MULTI_LEVEL:
        return 0;
    case VTD_CONTEXT_TT_DEV_IOTLB:
        return s->ecap & VTD_ECAP_DT ? 0 : VTD_FR_CONTEXT_ENTRY_INV;
    case VTD_CONTEXT_TT_PASS_THROUGH:
        return s->ecap & VTD_ECAP_PT ? 0 : VTD_FR_CONTEXT_ENTRY_INV;
    default:
        return VTD_FR_CONTEXT_ENTRY_INV;
    }
}

static uint8_t lookup_legacy_context(Lookup *l)
{
    uint64_t table;
    uint8_t fault = lookup_root(l, &table);

    if (fault) {
        return fault;
    }
    if (!iommu_ram_read(&l->r->ram, table + VTD_SID_TO_DEVFN(l->t->sid) *
                                    VTD_CTX_ENTRY_LEGACY_SIZE, l->ce, 2)) {
        return VTD_FR_CONTEXT_TABLE_INV;
    }
    l->t->fpd = l->ce[0] & VTD_CONTEXT_ENTRY_FPD;
    fault = legacy_context_check(l);
    l->t->ats = (l->ce[0] & VTD_CONTEXT_ENTRY_TT) == VTD_CONTEXT_TT_DEV_IOTLB;
    return fault;
}

static uint8_t lookup_legacy(Lookup *l, VTDAddressType at)
{
    const IntelIOMMUState *s = l->r->s;
    VTDWalkConfig *walk = &l->t->walk;
    unsigned aw;
    uint8_t fault;

    if (at == VTD_AT_PAGE_REQUEST) {
        return VTD_FR_RTADDR_LEGACY_PRS;
    }
    /* RTA.2: requests with PASID are blocked before the root table is read */
    if (l->pasid != PCI_NO_PASID) {
        return VTD_FR_RTADDR_LEGACY_PASID;
    }
    fault = lookup_legacy_context(l);
    if (fault) {
        return fault;
    }
    if (at == VTD_AT_TRANSLATION && !l->t->ats) {
        return VTD_FR_CONTEXT_ENTRY_TT;
    }
    l->t->domain = VTD_CONTEXT_ENTRY_DID(l->ce[1]);
    aw = l->ce[1] & VTD_CONTEXT_ENTRY_AW;
    walk->type = (l->ce[0] & VTD_CONTEXT_ENTRY_TT) ==
                 VTD_CONTEXT_TT_PASS_THROUGH ? VTD_WALK_PASS_THROUGH :
                                               VTD_WALK_SECOND_STAGE;
    walk->ss_levels = aw + 2;
    walk->ss_width = MIN(30 + 9 * aw, s->aw_bits);
    walk->ss_root = l->ce[0] & VTD_CONTEXT_ENTRY_SLPTPTR;
    return 0;
}

/* Scalable mode (3.4.3) */

/* Returns the number of PASIDs that the PASID directory can describe (9.4) */
static uint64_t pasid_limit(const Lookup *l)
{
    unsigned pdts = extract64(l->ce[0], 9, 3);

    return 1ull << (pdts + 7 + 6);
}

static uint8_t scalable_context_check(const Lookup *l)
{
    uint64_t ecap = l->r->s->ecap;
    uint64_t rsvd = VTD_SM_CONTEXT_ENTRY_RSVD_LO | haw_rsvd(l->r);

    if (!(l->ce[0] & VTD_CONTEXT_ENTRY_P)) {
        return VTD_FR_SM_CONTEXT_ENTRY_P;
    }
    rsvd |= ecap & VTD_ECAP_DT ? 0 : VTD_SM_CONTEXT_ENTRY_DTE;
    rsvd |= ecap & VTD_ECAP_PASID ? 0 : VTD_SM_CONTEXT_ENTRY_PASIDE;
    rsvd |= ecap & VTD_ECAP_PRS ? 0 : VTD_SM_CONTEXT_ENTRY_PRE;
    if ((l->ce[0] & rsvd) || (l->ce[1] & VTD_SM_CONTEXT_ENTRY_RSVD_HI) ||
        l->ce[2] || l->ce[3]) {
        return VTD_FR_SM_CONTEXT_ENTRY_RSVD;
    }
    if ((l->ce[0] & VTD_SM_CONTEXT_ENTRY_PRE) &&
        !(l->ce[0] & VTD_SM_CONTEXT_ENTRY_DTE)) {
        return VTD_FR_SM_CONTEXT_ENTRY_INV;
    }
    if ((l->ce[1] & VTD_SM_CONTEXT_ENTRY_RID2PASID_MASK) >= pasid_limit(l)) {
        return VTD_FR_SM_CONTEXT_ENTRY_INV;
    }
    return 0;
}

static uint8_t lookup_scalable_context(Lookup *l)
{
    uint64_t table;
    uint8_t fault = lookup_root(l, &table);
    unsigned index = l->t->sid & (VTD_DEVFN_CHECK_MASK - 1);

    if (fault) {
        return fault;
    }
    if (!iommu_ram_read(&l->r->ram, table + index * VTD_CTX_ENTRY_SCALABLE_SIZE,
                        l->ce, 4)) {
        return VTD_FR_SM_CONTEXT_TABLE_INV;
    }
    l->t->fpd = l->ce[0] & VTD_CONTEXT_ENTRY_FPD;
    fault = scalable_context_check(l);
    l->t->ats = l->ce[0] & VTD_SM_CONTEXT_ENTRY_DTE;
    l->t->page_requests = l->ce[0] & VTD_SM_CONTEXT_ENTRY_PRE;
    return fault;
}

/* Check whether the context entry allows the PASID */
static uint8_t pasid_check(const Lookup *l)
{
    unsigned pss = VTD_ECAP_GET_PSS(l->r->s->ecap);

    if (!(l->ce[0] & VTD_SM_CONTEXT_ENTRY_PASIDE)) {
        return VTD_FR_SM_CONTEXT_ENTRY_PASIDE;
    }
    if (l->pasid >> (pss + 1)) {
        return VTD_FR_SM_PASID_BEYOND_PSS;
    }
    if (l->pasid >= pasid_limit(l)) {
        return VTD_FR_SM_PASID_TOO_LARGE;
    }
    if (l->pasid == (l->ce[1] & VTD_SM_CONTEXT_ENTRY_RID2PASID_MASK)) {
        return VTD_FR_SM_PASID_IS_RID_PASID;
    }
    return 0;
}

static uint8_t lookup_pasid_entry(Lookup *l, uint32_t pasid)
{
    const IOMMURam *ram = &l->r->ram;
    hwaddr addr = (l->ce[0] & VTD_PASID_DIR_BASE_ADDR_MASK) +
                  VTD_PASID_DIR_INDEX(pasid) * VTD_PASID_DIR_ENTRY_SIZE;
    uint64_t pde;

    if (!iommu_ram_read(ram, addr, &pde, 1)) {
        return VTD_FR_PASID_DIR_ACCESS_ERR;
    }
    l->t->fpd |= !!(pde & VTD_PASID_DIR_FPD);
    if (!(pde & VTD_PASID_ENTRY_P)) {
        return VTD_FR_PASID_DIR_ENTRY_P;
    }
    if (pde & (VTD_PASID_DIR_RSVD | haw_rsvd(l->r))) {
        return VTD_FR_PASID_DIR_ENTRY_RSVD;
    }
    addr = (pde & VTD_PASID_TABLE_BASE_ADDR_MASK) +
           VTD_PASID_TABLE_INDEX(pasid) * VTD_PASID_ENTRY_SIZE;
    if (!iommu_ram_read(ram, addr, l->pe, 8)) {
        return VTD_FR_PASID_TABLE_ACCESS_ERR;
    }
    l->t->fpd |= !!(l->pe[0] & VTD_PASID_ENTRY_FPD);
    return l->pe[0] & VTD_PASID_ENTRY_P ? 0 : VTD_FR_PASID_ENTRY_P;
}

/*
 * Reserved bits of a PASID-table entry (9.6).  AW and SSPTPTR are not among
 * them when second-stage translation is not supported: Linux fills in AW
 * for first-stage translation too.
 */
static bool pasid_entry_rsvd(const Lookup *l)
{
    uint64_t ecap = l->r->s->ecap;
    uint64_t haw = haw_rsvd(l->r);
    uint64_t rsvd[3] = {
        VTD_SM_PASID_ENTRY_RSVD0 | haw,
        VTD_SM_PASID_ENTRY_RSVD1,
        VTD_SM_PASID_ENTRY_RSVD2 | haw,
    };

    rsvd[1] |= ecap & VTD_ECAP_SMPWC ? 0 : VTD_SM_PASID_ENTRY_PWSNP;
    rsvd[1] |= ecap & VTD_ECAP_SC ? 0 : VTD_SM_PASID_ENTRY_PGSNP;
    rsvd[2] |= ecap & VTD_ECAP_SRS ? 0 : VTD_SM_PASID_ENTRY_SRE;
    rsvd[2] |= ecap & VTD_ECAP_EAFS ? 0 : VTD_SM_PASID_ENTRY_EAFE;
    for (unsigned i = 0; i < ARRAY_SIZE(rsvd); i++) {
        if (l->pe[i] & rsvd[i]) {
            return true;
        }
    }
    for (unsigned i = ARRAY_SIZE(rsvd); i < ARRAY_SIZE(l->pe); i++) {
        if (l->pe[i]) {
            return true;
        }
    }
    return false;
}

/* PGTT, and whether it is supported (SPT.4.2) */
static bool pasid_entry_type(const Lookup *l, uint8_t *type)
{
    uint64_t ecap = l->r->s->ecap;

    switch (l->pe[0] & VTD_SM_PASID_ENTRY_PGTT) {
    case VTD_SM_PASID_ENTRY_FLT:
        *type = VTD_WALK_FIRST_STAGE;
        return ecap & VTD_ECAP_FLTS;
    case VTD_SM_PASID_ENTRY_SLT:
        *type = VTD_WALK_SECOND_STAGE;
        return ecap & VTD_ECAP_SLTS;
    case VTD_SM_PASID_ENTRY_NESTED:
        *type = VTD_WALK_NESTED;
        return ecap & VTD_ECAP_NEST;
    case VTD_SM_PASID_ENTRY_PT:
        *type = VTD_WALK_PASS_THROUGH;
        return ecap & VTD_ECAP_PT;
    default:
        return false;
    }
}

static bool pasid_entry_second_stage(Lookup *l, VTDWalkConfig *walk)
{
    unsigned aw = (l->pe[0] >> 2) & VTD_SM_PASID_ENTRY_AW;

    walk->ss_levels = aw + 2;
    walk->ss_width = MIN(30 + 9 * aw, l->r->s->aw_bits);
    walk->ss_root = l->pe[0] & VTD_SM_PASID_ENTRY_SLPTPTR;
    return sagaw_supported(l->r, aw);
}

static bool pasid_entry_first_stage(Lookup *l, VTDWalkConfig *walk)
{
    unsigned mode = (l->pe[2] >> 2) & VTD_SM_PASID_ENTRY_FLPM;

    walk->fs_levels = 4 + mode;
    walk->fs_root = l->pe[2] & VTD_SM_PASID_ENTRY_FLPTPTR;
    walk->write_protect = l->pe[2] & VTD_SM_PASID_ENTRY_WPE;
    walk->extended_accessed = l->pe[2] & VTD_SM_PASID_ENTRY_EAFE;
    /* 3.10: without ECAP.SMPWC, QEMU has always updated the flags. */
    walk->no_flag_update = (l->r->s->ecap & VTD_ECAP_SMPWC) &&
                           !(l->pe[1] & VTD_SM_PASID_ENTRY_PWSNP);
    return mode == 0 || (mode == 1 && (l->r->s->cap & VTD_CAP_FS5LP));
}

/* Fill in the target from a present PASID-table entry */
static uint8_t use_pasid_entry(Lookup *l)
{
    VTDWalkConfig *walk = &l->t->walk;

    if (pasid_entry_rsvd(l)) {
        return VTD_FR_PASID_ENTRY_RSVD;
    }
    if (!pasid_entry_type(l, &walk->type)) {
        return VTD_FR_PASID_TABLE_ENTRY_INV;
    }
    /* PGTT has a bit for each of the stages that are used */
    if ((walk->type & VTD_WALK_SECOND_STAGE) &&
        !pasid_entry_second_stage(l, walk)) {
        return VTD_FR_PASID_TABLE_ENTRY_INV;
    }
    if ((walk->type & VTD_WALK_FIRST_STAGE) &&
        !pasid_entry_first_stage(l, walk)) {
        return VTD_FR_PASID_TABLE_ENTRY_INV;
    }
    /* SPT.4.4 */
    if (walk->type == VTD_WALK_NESTED && walk->fs_root >> walk->ss_width) {
        return VTD_FR_PASID_TABLE_ENTRY_INV;
    }
    l->t->privileged = l->pe[2] & VTD_SM_PASID_ENTRY_SRE;
    l->t->domain = VTD_SM_PASID_ENTRY_DID(l->pe[1]);
    return 0;
}

static uint8_t lookup_scalable(Lookup *l, VTDAddressType at)
{
    uint32_t pasid = l->pasid;
    uint8_t fault = lookup_scalable_context(l);

    if (fault) {
        return fault;
    }
    if (at == VTD_AT_TRANSLATION && !l->t->ats) {
        return VTD_FR_SM_CONTEXT_ENTRY_DTE;
    }
    if (at == VTD_AT_PAGE_REQUEST && !l->t->page_requests) {
        return VTD_FR_SM_CONTEXT_ENTRY_PRE;
    }
    if (pasid == PCI_NO_PASID) {
        pasid = l->ce[1] & VTD_SM_CONTEXT_ENTRY_RID2PASID_MASK;
    } else {
        fault = pasid_check(l);
        if (fault) {
            return fault;
        }
    }
    l->t->tag_pasid = pasid;
    fault = lookup_pasid_entry(l, pasid);
    return fault ? fault : use_pasid_entry(l);
}

static void lookup_init(Lookup *l, const VTDResolver *r, uint16_t sid,
                        uint32_t pasid, VTDTarget *t)
{
    *t = (VTDTarget) {
        .sid = sid,
        .pasid = pasid,
        .tag_pasid = PCI_NO_PASID,
        .gen = qatomic_load_acquire(&r->gen),
    };
    l->r = r;
    l->root = qatomic_rcu_read(&r->root);
    l->pasid = pasid;
    l->t = t;
    t->walk.reasons = vtd_walk_reasons(l->root->scalable);
    t->walk.haw = r->s->aw_bits;
    t->walk.rsvd = &r->rsvd;
}

/* Cache */

static VTDTarget **cache_slot(VTDResolver *r, uint16_t sid, uint32_t pasid)
{
    uint32_t hash = (sid * 0x9e3779b1u) ^ (pasid * 0x85ebca6bu);

    return &r->cache[(hash ^ hash >> 16) & (VTD_TARGET_CACHE_SIZE - 1)];
}

static const VTDTarget *cache_find(VTDResolver *r, uint16_t sid,
                                   uint32_t pasid)
{
    const VTDTarget *t = qatomic_rcu_read(cache_slot(r, sid, pasid));

    if (t && t->sid == sid && t->pasid == pasid &&
        t->gen == qatomic_read(&r->gen)) {
        return t;
    }
    return NULL;
}

/*
 * @t belongs to the generation that was current before its entries were read.
 * If they have been invalidated since, no lookup finds it.
 */
static void cache_insert(VTDResolver *r, const VTDTarget *t)
{
    VTDTarget *copy = g_memdup2(t, sizeof(*t));
    VTDTarget *old = qatomic_xchg(cache_slot(r, t->sid, t->pasid), copy);

    if (old) {
        g_free_rcu(old, rcu);
    }
}

static bool target_allows(const VTDTarget *t, VTDAddressType at)
{
    switch (at) {
    case VTD_AT_TRANSLATION:
        return t->ats;
    case VTD_AT_PAGE_REQUEST:
        return t->page_requests;
    default:
        return true;
    }
}

const VTDTarget *vtd_resolve(VTDResolver *r, uint16_t sid, uint32_t pasid,
                             VTDAddressType at, VTDTarget *scratch)
{
    const VTDTarget *t = cache_find(r, sid, pasid);
    Lookup l;

    if (likely(t && target_allows(t, at))) {
        return t;
    }
    lookup_init(&l, r, sid, pasid, scratch);
    if (l.root->bad_mode) {
        scratch->fault = VTD_FR_RTADDR_INV_TTM;
    } else if (l.root->scalable) {
        scratch->fault = lookup_scalable(&l, at);
    } else {
        scratch->fault = lookup_legacy(&l, at);
    }
    if (!scratch->fault) {
        cache_insert(r, scratch);
    }
    return scratch;
}

/* SPT.5, SPT.6: check for requests that the PASID-table entry does not allow */
uint8_t vtd_request_check(const VTDRequest *rq, const VTDTarget *t)
{
    if (t->fault) {
        return t->fault;
    }
    if (rq->exec) {
        return VTD_FR_PASID_ENTRY_EXEC;
    }
    if (rq->priv && !t->privileged) {
        return VTD_FR_PASID_ENTRY_SRE;
    }
    return 0;
}

void vtd_request_fault(const VTDRequest *rq, uint8_t reason, bool fpd,
                       hwaddr addr)
{
    VTDFault fault = {
        .sid = rq->sid,
        .reason = reason,
        .at = rq->at,
        .addr = addr,
        .pasid = rq->pasid,
        .is_write = rq->is_write,
        .priv = rq->priv,
        .exec = rq->exec,
    };

    vtd_fault_report_unless(rq->s, &fault, fpd);
}

static uint8_t lookup_translated(Lookup *l)
{
    uint8_t fault;

    if (l->root->bad_mode) {
        return VTD_FR_RTADDR_INV_TTM;
    }
    if (l->root->scalable) {
        fault = lookup_scalable_context(l);
        return fault ? fault :
               l->t->ats ? 0 : VTD_FR_SM_CONTEXT_ENTRY_DTE;
    }
    fault = lookup_legacy_context(l);
    return fault ? fault : l->t->ats ? 0 : VTD_FR_CONTEXT_ENTRY_TT;
}

uint8_t vtd_resolve_translated(VTDResolver *r, uint16_t sid, uint32_t pasid,
                               bool *fpd)
{
    const VTDTarget *cached = cache_find(r, sid, VTD_PASID_CONTEXT_ONLY);
    VTDTarget t;
    Lookup l;

    if (likely(cached && pasid == PCI_NO_PASID)) {
        *fpd = cached->fpd;
        return 0;
    }
    lookup_init(&l, r, sid, VTD_PASID_CONTEXT_ONLY, &t);
    t.fault = lookup_translated(&l);
    *fpd = t.fpd;
    if (!t.fault) {
        cache_insert(r, &t);
    }
    if (!t.fault && pasid != PCI_NO_PASID) {
        return l.root->scalable ? VTD_FR_SM_TRANSLATED_PASID :
                                  VTD_FR_RTADDR_LEGACY_PASID;
    }
    return t.fault;
}

bool vtd_resolver_enabled(const VTDResolver *r)
{
    return qatomic_rcu_read(&r->root)->enabled;
}

bool vtd_resolver_scalable(const VTDResolver *r)
{
    return qatomic_rcu_read(&r->root)->scalable;
}

bool vtd_resolver_mode_valid(const VTDResolver *r)
{
    return !r->root->bad_mode;
}

void vtd_resolver_invalidate(VTDResolver *r)
{
    qatomic_inc(&r->gen);
    /*
     * Drop the answers last: a thread that finds no answer must not use a stale
     * target to compute one.
     */
    iommu_answers_invalidate(r->answers);
}

static VTDRootConfig *root_config_new(const IntelIOMMUState *s)
{
    VTDRootConfig *root = g_new0(VTDRootConfig, 1);
    unsigned mode = extract64(ldq_le_p(&s->csr[DMAR_RTADDR_REG]), 10, 2);

    root->addr = s->root;
    root->enabled = s->dmar_enabled;
    root->scalable = s->root_scalable;
    root->bad_mode = mode > 1 || (mode == 1 && !s->scalable_mode);
    return root;
}

void vtd_resolver_update(VTDResolver *r)
{
    VTDRootConfig *old = r->root;

    qatomic_rcu_set(&r->root, root_config_new(r->s));
    vtd_resolver_invalidate(r);
    g_free_rcu(old, rcu);
}

VTDResolver *vtd_resolver_new(IntelIOMMUState *s)
{
    VTDResolver *r = g_new0(VTDResolver, 1);
    /* As for untranslated requests, see vtd_init() */
    bool snoop = s->scalable_mode || s->snoop_control;
    bool transient = s->x86_iommu.dt_supported && s->stale_tm;

    r->s = s;
    iommu_ram_init(&r->ram);
    vtd_walk_rsvd_init(&r->rsvd, s->aw_bits, s->flts && s->fs1gp, snoop,
                       transient);
    r->root = root_config_new(s);
    r->answers = iommu_answers_new();
    r->walks = drain_new();
    return r;
}
