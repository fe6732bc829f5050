/*
 * VT-d: untranslated requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_resolve.h"
#include "intel_iommu_untranslated.h"
#include "trace.h"

/* The walk for the page that contains @addr */
static IOMMUWalkRequest page_walk(const VTDRequest *rq, hwaddr addr,
                                IOMMUTLBEntry *entry)
{
    return (IOMMUWalkRequest) {
        .first = addr & VTD_PAGE_MASK_4K,
        .last = addr | ~VTD_PAGE_MASK_4K,
        .want = rq->is_write ? IOMMU_WO : IOMMU_RO,
        .untranslated = true,
        .priv = rq->priv,
        .pasid = rq->pasid,
        .result = entry,
        .max_results = 1,
    };
}

static bool untranslated_walk(const VTDRequest *rq, hwaddr addr,
                              IOMMUTLBEntry *entry)
{
    VTDResolver *r = rq->s->resolver;
    IOMMUWalkRequest walk = page_walk(rq, addr, entry);
    VTDTarget scratch;
    const VTDTarget *t;
    uint8_t reason;

    t = vtd_resolve(r, rq->sid, rq->pasid, VTD_AT_UNTRANSLATED, &scratch);
    reason = vtd_request_check(rq, t);
    if (!reason) {
        vtd_walk(&r->ram.mem, &t->walk, &walk);
        reason = walk.fault;
    }
    if (reason) {
        vtd_request_fault(rq, reason, t->fpd, addr);
        iommu_entry_blocked(entry, rq->pasid, addr);
        return false;
    }
    return true;
}

static bool untranslated(const VTDRequest *rq, hwaddr addr,
                         IOMMUTLBEntry *entry)
{
    RCU_READ_LOCK_GUARD();
    if (!vtd_resolver_enabled(rq->s->resolver)) {
        iommu_entry_identity(entry, rq->pasid, addr, ~VTD_PAGE_MASK_4K);
        return true;
    }
    return untranslated_walk(rq, addr, entry);
}

bool vtd_translate_untranslated(IntelIOMMUState *s, PCIBus *bus, int devfn,
                                uint32_t pasid, hwaddr addr, bool is_write,
                                IOMMUTLBEntry *entry)
{
    VTDRequest rq = vtd_request(s, bus, devfn, pasid, VTD_AT_UNTRANSLATED);

    rq.is_write = is_write;
    return untranslated(&rq, addr, entry);
}

bool vtd_peek(IntelIOMMUState *s, PCIBus *bus, int devfn, uint32_t pasid,
              hwaddr addr, IOMMUTLBEntry *entry)
{
    VTDRequest rq = vtd_request(s, bus, devfn, pasid, VTD_AT_UNTRANSLATED);
    VTDResolver *r = s->resolver;
    IOMMUWalkRequest walk = page_walk(&rq, addr, entry);
    VTDTarget scratch;
    const VTDTarget *t;
    VTDWalkConfig cfg;

    RCU_READ_LOCK_GUARD();
    if (!vtd_resolver_enabled(r)) {
        return false;
    }
    t = vtd_resolve(r, rq.sid, pasid, rq.at, &scratch);
    if (t->fault) {
        return false;
    }
    cfg = t->walk;
    cfg.no_flag_update = true;
    vtd_walk(&r->ram.mem, &cfg, &walk);
    return !walk.fault;
}

bool vtd_pasid_translate(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                         bool priv_req, bool exec_req, hwaddr addr,
                         bool is_write, IOMMUTLBEntry *result)
{
    VTDRequest rq = vtd_request(opaque, bus, devfn, pasid, VTD_AT_UNTRANSLATED);
    bool ok;

    rq.is_write = is_write;
    rq.priv = priv_req;
    rq.exec = exec_req;
    ok = untranslated(&rq, addr, result);
    trace_vtd_pasid_request(rq.sid, pasid, priv_req, exec_req, addr, is_write,
                            result->translated_addr, result->perm);
    return ok;
}

/* Returns the reason to block a request that no table translates, or 0. */
static uint8_t block_reason(const VTDRequest *rq, const VTDTarget *t,
                            hwaddr addr)
{
    bool scalable = vtd_resolver_scalable(rq->s->resolver);

    /* 3.15: the interrupt range is not translated */
    if (vtd_is_interrupt_addr(addr)) {
        return t->fault ?: vtd_fault_for_mode(VTD_FR_INTERRUPT_ADDR, scalable);
    }
    /* 3.9 */
    if (!t->fault && t->walk.type == VTD_WALK_PASS_THROUGH &&
        rq->s->pt_check_haw && (addr & ~VTD_HAW_MASK(rq->s->aw_bits))) {
        return vtd_fault_host_width(scalable);
    }
    return 0;
}

void vtd_untranslated_blocked(PCIBus *bus, void *opaque, int devfn,
                              hwaddr addr, bool is_write)
{
    VTDRequest rq = vtd_request(opaque, bus, devfn, PCI_NO_PASID,
                                VTD_AT_UNTRANSLATED);
    VTDResolver *r = rq.s->resolver;
    VTDTarget scratch;
    const VTDTarget *t;
    uint8_t reason;

    rq.is_write = is_write;
    RCU_READ_LOCK_GUARD();
    if (!vtd_resolver_enabled(r)) {
        return;
    }
    t = vtd_resolve(r, rq.sid, PCI_NO_PASID, VTD_AT_UNTRANSLATED, &scratch);
    reason = block_reason(&rq, t, addr);
    if (reason) {
        vtd_request_fault(&rq, reason, t->fpd, addr);
    }
}
