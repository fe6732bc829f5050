/*
 * VT-d: translation requests and translated requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pcie_ats.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_ats.h"
#include "intel_iommu_resolve.h"
#include "trace.h"

/* Translation requests (4.2.3) */

static void trace_results(const VTDRequest *rq, const IOMMUTLBEntry *result,
                          size_t n)
{
    if (!trace_event_get_state_backends(TRACE_VTD_ATS_RESULT)) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        trace_vtd_ats_result(rq->sid, rq->pasid, result[i].iova,
                             result[i].addr_mask, result[i].translated_addr,
                             result[i].perm);
    }
}

static IOMMUWalkStatus ats_walk(const void *opaque, IOMMUWalkRequest *walk)
{
    const VTDRequest *rq = opaque;
    VTDResolver *r = rq->s->resolver;
    VTDTarget scratch;
    const VTDTarget *t;
    IOMMUWalkStatus status;
    unsigned token;
    uint8_t reason;

    /* 4.2.1: Unsupported Request, and not a remapping fault */
    if (!vtd_resolver_enabled(r)) {
        return iommu_walk_blocked(walk, VTD_FR_CONTEXT_ENTRY_TT,
                                  vtd_fault_blocks_ats);
    }
    token = drain_enter(r->walks);
    t = vtd_resolve(r, rq->sid, rq->pasid, VTD_AT_TRANSLATION, &scratch);
    reason = vtd_request_check(rq, t);
    if (reason) {
        status = iommu_walk_blocked(walk, reason, vtd_fault_blocks_ats);
    } else {
        status = vtd_walk(&r->ram.mem, &t->walk, walk);
    }
    drain_leave(r->walks, token);
    if (walk->error) {
        vtd_request_fault(rq, walk->error, t->fpd, walk->error_addr);
    }
    return status;
}

ssize_t vtd_ats_request_translation(PCIBus *bus, void *opaque, int devfn,
                                    uint32_t pasid, bool priv_req,
                                    bool exec_req, hwaddr addr, size_t length,
                                    bool no_write, IOMMUTLBEntry *result,
                                    size_t result_length, uint32_t *err_count)
{
    bool has_pasid = pasid != PCI_NO_PASID;
    VTDRequest rq = vtd_request(opaque, bus, devfn, pasid, VTD_AT_TRANSLATION);
    IOMMUWalkRequest walk = {
        .first = addr & VTD_PAGE_MASK_4K,
        .last = addr + (length - 1),
        .want = no_write ? IOMMU_RO : IOMMU_RW,
        .priv = has_pasid && priv_req,
        .interrupt_input = !has_pasid,
        .pasid = pasid,
        .result = result,
        .max_results = result_length,
    };
    IOMMUWalkStatus status;

    rq.priv = walk.priv;
    rq.exec = has_pasid && exec_req;
    /* 6.2.4.1, and the errors of table 30 (SGN.6) */
    status = iommu_answers_get(rq.s->resolver->answers, rq.sid, rq.exec,
                               &walk, ats_walk, &rq);
    *err_count = iommu_answers_finish(&walk);
    trace_vtd_ats_request(rq.sid, pasid, addr, length, walk.num_results,
                          *err_count, walk.fault);
    trace_results(&rq, result, walk.num_results);
    return status == IOMMU_WALK_FULL ? -ENOMEM : walk.num_results;
}

/* Translated requests (4.2.5) */

static uint8_t translated_check(const VTDRequest *rq, bool ats_enabled,
                                hwaddr addr, bool *fpd)
{
    VTDResolver *r = rq->s->resolver;
    bool scalable = vtd_resolver_scalable(r);
    uint8_t reason = vtd_resolve_translated(r, rq->sid, rq->pasid, fpd);

    if (reason) {
        return reason;
    }
    if (!ats_enabled) {
        return vtd_fault_for_mode(VTD_FR_CONTEXT_ENTRY_TT, scalable);
    }
    if (addr & ~VTD_HAW_MASK(rq->s->aw_bits)) {
        return vtd_fault_host_width(scalable);
    }
    return 0;
}

void vtd_block_translated_interrupt(IntelIOMMUState *s, uint16_t sid,
                                    hwaddr addr, bool is_write)
{
    VTDRequest rq = {
        .s = s,
        .sid = sid,
        .pasid = PCI_NO_PASID,
        .at = VTD_AT_TRANSLATED,
        .is_write = is_write,
    };
    bool fpd = false;
    uint8_t reason;

    RCU_READ_LOCK_GUARD();
    if (!vtd_resolver_enabled(s->resolver)) {
        return;
    }
    reason = vtd_resolve_translated(s->resolver, sid, PCI_NO_PASID, &fpd);
    if (!reason) {
        reason = vtd_fault_for_mode(VTD_FR_INTERRUPT_ADDR,
                                    vtd_resolver_scalable(s->resolver));
    }
    vtd_request_fault(&rq, reason, fpd, addr);
}

static bool translated(const VTDRequest *rq, bool ats_enabled, hwaddr addr,
                       IOMMUTLBEntry *entry)
{
    bool fpd = false;
    uint8_t reason;

    RCU_READ_LOCK_GUARD();
    /* 4.2.1: Unsupported Request, and not a remapping fault */
    if (!vtd_resolver_enabled(rq->s->resolver)) {
        iommu_entry_blocked(entry, rq->pasid, addr);
        return false;
    }
    reason = translated_check(rq, ats_enabled, addr, &fpd);
    if (reason) {
        vtd_request_fault(rq, reason, fpd, addr);
        iommu_entry_blocked(entry, rq->pasid, addr);
        return false;
    }
    trace_vtd_translated_request(rq->sid, addr, rq->is_write);
    /* Blocks of this size cannot reach into the interrupt range */
    iommu_entry_identity(entry, rq->pasid, addr, VTD_INTERRUPT_ADDR_SIZE - 1);
    return true;
}

/*
 * Checks whether there is a function at @bus and @devfn that has ATS enabled.
 * Such a function is the requester itself, which cannot be unplugged while it
 * sends requests.
 */
static bool ats_enabled_at(PCIBus *bus, int devfn)
{
    PCIDevice *dev = pci_bus_is_express(bus) ? bus->devices[devfn] : NULL;

    return dev && pcie_ats_enabled(dev);
}

bool vtd_translate_translated(IntelIOMMUState *s, PCIBus *bus, int devfn,
                              uint32_t pasid, hwaddr addr, bool is_write,
                              IOMMUTLBEntry *entry)
{
    VTDRequest rq = vtd_request(s, bus, devfn, pasid, VTD_AT_TRANSLATED);

    rq.is_write = is_write;
    return translated(&rq, ats_enabled_at(bus, devfn), addr, entry);
}

bool vtd_translated_request(PCIBus *bus, void *opaque, int devfn,
                            bool ats_enabled, hwaddr addr, hwaddr *len,
                            bool is_write)
{
    IntelIOMMUState *s = opaque;
    VTDRequest rq = vtd_request(s, bus, devfn, PCI_NO_PASID, VTD_AT_TRANSLATED);
    IOMMUTLBEntry entry;
    hwaddr rest;

    if (vtd_is_interrupt_addr(addr)) {
        vtd_block_translated_interrupt(s, rq.sid, addr, is_write);
        return false;
    }
    rq.is_write = is_write;
    if (!translated(&rq, ats_enabled, addr, &entry)) {
        return false;
    }
    rest = entry.addr_mask - (addr & entry.addr_mask);
    if (*len - 1 > rest) {
        *len = rest + 1;
    }
    return true;
}
