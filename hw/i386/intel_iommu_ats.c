/*
 * VT-d: translation requests, translated requests, and requests with PASID
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
#include "iommu_dev_tlb.h"
#include "intel_iommu_fault.h"
#include "intel_iommu_resolve.h"
#include "trace.h"

/* A request, for the report of its fault */
typedef struct Request {
    IntelIOMMUState *s;
    uint16_t sid;
    uint32_t pasid;
    VTDAddressType at;
    bool is_write;
    bool priv;
    bool exec;
} Request;

static Request request(IntelIOMMUState *s, PCIBus *bus, int devfn,
                       uint32_t pasid, VTDAddressType at)
{
    return (Request) {
        .s = s,
        .sid = PCI_BUILD_BDF(pci_bus_num(bus), devfn),
        .pasid = pasid,
        .at = at,
    };
}

void vtd_fault_report_unless(IntelIOMMUState *s, const VTDFault *fault,
                             bool fpd)
{
    if (fpd && vtd_is_qualified_fault(fault->reason)) {
        trace_vtd_fault_disabled();
        return;
    }
    vtd_fault_report(s, fault);
}

static void request_fault(const Request *rq, uint8_t reason, bool fpd,
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

/* SPT.5, SPT.6: what the PASID-table entry does not let a request ask for */
static uint8_t request_check(const Request *rq, const VTDTarget *t)
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

static void entry_blocked(IOMMUTLBEntry *entry, uint32_t pasid, hwaddr addr)
{
    *entry = (IOMMUTLBEntry) {
        .target_as = &address_space_memory,
        .iova = addr & VTD_PAGE_MASK_4K,
        .addr_mask = ~VTD_PAGE_MASK_4K,
        .perm = IOMMU_NONE,
        .pasid = pasid,
    };
}

static void entry_identity(IOMMUTLBEntry *entry, uint32_t pasid, hwaddr addr,
                           hwaddr mask)
{
    *entry = (IOMMUTLBEntry) {
        .target_as = &address_space_memory,
        .iova = addr & ~mask,
        .translated_addr = addr & ~mask,
        .addr_mask = mask,
        .perm = IOMMU_RW,
        .pasid = pasid,
    };
}

/* Translation requests (4.2.3) */

/*
 * Elements without the permission asked for are those that give none: a
 * request for reading and writing is content with reading (table 30, SGN.6).
 */
static uint32_t count_errors(const IOMMUTLBEntry *result, size_t n)
{
    uint32_t errors = 0;

    for (size_t i = 0; i < n; i++) {
        errors += !(result[i].perm & IOMMU_RW);
    }
    return errors;
}

static void trace_results(const Request *rq, const IOMMUTLBEntry *result,
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

/* PRIV says whom the permissions are for (4.2.3) */
static void mark_privileged(IOMMUTLBEntry *result, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (result[i].perm & IOMMU_RW) {
            result[i].perm |= IOMMU_PRIV;
        }
    }
}

static VTDWalkStatus ats_walk(const Request *rq, VTDWalkRequest *walk)
{
    VTDResolver *r = rq->s->resolver;
    VTDTarget scratch;
    const VTDTarget *t;
    VTDWalkStatus status;
    uint8_t reason;

    /* 4.2.1: Unsupported Request, and not a remapping fault */
    if (!vtd_resolver_enabled(r)) {
        return vtd_walk_blocked(walk, VTD_FR_CONTEXT_ENTRY_TT);
    }
    t = vtd_resolve(r, rq->sid, rq->pasid, VTD_AT_TRANSLATION, &scratch);
    reason = request_check(rq, t);
    if (reason) {
        status = vtd_walk_blocked(walk, reason);
    } else {
        status = vtd_walk(&r->ram.mem, &t->walk, walk);
    }
    if (walk->error) {
        request_fault(rq, walk->error, t->fpd, walk->error_addr);
    }
    return status;
}

/* 6.2.4.1: only results without a fault, those that give all that is wanted */
static bool ats_may_keep(const VTDWalkRequest *walk, VTDWalkStatus status)
{
    return status == VTD_WALK_DONE && walk->num_results == 1 &&
           walk->result->perm == walk->want;
}

static VTDWalkStatus ats_answer(const Request *rq, VTDWalkRequest *walk)
{
    IOMMUAnswerCache *answers = rq->s->resolver->answers;
    IOMMUAnswerKey key = {
        .sid = rq->sid,
        .priv = rq->priv,
        .pasid = rq->pasid,
        .addr = walk->first,
    };
    uint64_t generation;
    VTDWalkStatus status;

    if (likely(!rq->exec && iommu_answers_find(answers, &key, walk->last,
                                               walk->want, walk->result))) {
        walk->num_results = 1;
        return VTD_WALK_DONE;
    }
    RCU_READ_LOCK_GUARD();
    generation = iommu_answers_generation(answers, &key);
    status = ats_walk(rq, walk);
    if (ats_may_keep(walk, status)) {
        iommu_answers_add(answers, generation, &key, walk->result);
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
    Request rq = request(opaque, bus, devfn, pasid, VTD_AT_TRANSLATION);
    VTDWalkRequest walk = {
        .first = addr & VTD_PAGE_MASK_4K,
        .last = addr + (length - 1),
        .want = no_write ? IOMMU_RO : IOMMU_RW,
        .priv = has_pasid && priv_req,
        .interrupt_input = !has_pasid,
        .pasid = pasid,
        .result = result,
        .max_results = result_length,
    };
    VTDWalkStatus status;

    rq.priv = walk.priv;
    rq.exec = has_pasid && exec_req;
    status = ats_answer(&rq, &walk);
    if (rq.priv) {
        mark_privileged(result, walk.num_results);
    }
    *err_count = count_errors(result, walk.num_results);
    trace_vtd_ats_request(rq.sid, pasid, addr, length, walk.num_results,
                          *err_count, walk.fault);
    trace_results(&rq, result, walk.num_results);
    return status == VTD_WALK_FULL ? -ENOMEM : walk.num_results;
}

int vtd_get_iotlb_info(void *opaque, uint8_t *addr_width,
                       uint32_t *min_page_size)
{
    IntelIOMMUState *s = opaque;

    if (!(s->ecap & VTD_ECAP_DT)) {
        return -ENODEV;
    }
    *addr_width = s->cap & VTD_CAP_FS5LP ? 57 : s->aw_bits;
    *min_page_size = VTD_PAGE_SIZE;
    return 0;
}

/* Invalidation notifiers */

void vtd_init_iotlb_notifier(PCIBus *bus, void *opaque, int devfn,
                             IOMMUNotifier *n, IOMMUNotify fn,
                             void *user_opaque)
{
    iommu_notifier_init(n, fn, IOMMU_NOTIFIER_DEVIOTLB_EVENTS, 0, HWADDR_MAX,
                        0);
    n->opaque = user_opaque;
}

void vtd_register_iotlb_notifier(PCIBus *bus, void *opaque, int devfn,
                                 uint32_t pasid, IOMMUNotifier *n)
{
    IntelIOMMUState *s = opaque;

    iommu_dev_tlb_register(s->dev_tlb, bus, devfn, pasid, n);
}

void vtd_unregister_iotlb_notifier(PCIBus *bus, void *opaque, int devfn,
                                   uint32_t pasid, IOMMUNotifier *n)
{
    IntelIOMMUState *s = opaque;

    iommu_dev_tlb_unregister(s->dev_tlb, bus, devfn, pasid, n);
}

/* Untranslated requests */

/* The walk for the page that holds @addr */
static VTDWalkRequest page_walk(const Request *rq, hwaddr addr,
                                IOMMUTLBEntry *entry)
{
    return (VTDWalkRequest) {
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

static bool untranslated_walk(const Request *rq, hwaddr addr,
                              IOMMUTLBEntry *entry)
{
    VTDResolver *r = rq->s->resolver;
    VTDWalkRequest walk = page_walk(rq, addr, entry);
    VTDTarget scratch;
    const VTDTarget *t;
    uint8_t reason;

    t = vtd_resolve(r, rq->sid, rq->pasid, VTD_AT_UNTRANSLATED, &scratch);
    reason = request_check(rq, t);
    if (!reason) {
        vtd_walk(&r->ram.mem, &t->walk, &walk);
        reason = walk.fault;
    }
    if (reason) {
        request_fault(rq, reason, t->fpd, addr);
        entry_blocked(entry, rq->pasid, addr);
        return false;
    }
    return true;
}

static bool untranslated(const Request *rq, hwaddr addr, IOMMUTLBEntry *entry)
{
    RCU_READ_LOCK_GUARD();
    if (!vtd_resolver_enabled(rq->s->resolver)) {
        entry_identity(entry, rq->pasid, addr, ~VTD_PAGE_MASK_4K);
        return true;
    }
    return untranslated_walk(rq, addr, entry);
}

bool vtd_translate_untranslated(IntelIOMMUState *s, PCIBus *bus, int devfn,
                                uint32_t pasid, hwaddr addr, bool is_write,
                                IOMMUTLBEntry *entry)
{
    Request rq = request(s, bus, devfn, pasid, VTD_AT_UNTRANSLATED);

    rq.is_write = is_write;
    return untranslated(&rq, addr, entry);
}

bool vtd_peek(IntelIOMMUState *s, PCIBus *bus, int devfn, uint32_t pasid,
              hwaddr addr, IOMMUTLBEntry *entry)
{
    Request rq = request(s, bus, devfn, pasid, VTD_AT_UNTRANSLATED);
    VTDResolver *r = s->resolver;
    VTDWalkRequest walk = page_walk(&rq, addr, entry);
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
    Request rq = request(opaque, bus, devfn, pasid, VTD_AT_UNTRANSLATED);
    bool ok;

    rq.is_write = is_write;
    rq.priv = priv_req;
    rq.exec = exec_req;
    ok = untranslated(&rq, addr, result);
    trace_vtd_pasid_request(rq.sid, pasid, priv_req, exec_req, addr, is_write,
                            result->translated_addr, result->perm);
    return ok;
}

/* Why a request is blocked that no table translates; 0 if it is not blocked */
static uint8_t untranslated_block_reason(const Request *rq, const VTDTarget *t,
                                         hwaddr addr)
{
    bool scalable = vtd_resolver_scalable(rq->s->resolver);

    /* Here requests do not get as far as the tables: 3.15 */
    if (vtd_is_interrupt_addr(addr)) {
        return t->fault ?: scalable ? VTD_FR_SM_INTERRUPT_ADDR :
                                      VTD_FR_INTERRUPT_ADDR;
    }
    /* 3.9 */
    if (!t->fault && t->walk.type == VTD_WALK_PASS_THROUGH &&
        rq->s->pt_check_haw && (addr & ~VTD_HAW_MASK(rq->s->aw_bits))) {
        return scalable ? VTD_FR_SM_ADDR_BEYOND_HAW : VTD_FR_ADDR_BEYOND_MGAW;
    }
    return 0;
}

void vtd_untranslated_blocked(PCIBus *bus, void *opaque, int devfn,
                              hwaddr addr, bool is_write)
{
    Request rq = request(opaque, bus, devfn, PCI_NO_PASID, VTD_AT_UNTRANSLATED);
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
    reason = untranslated_block_reason(&rq, t, addr);
    if (reason) {
        request_fault(&rq, reason, t->fpd, addr);
    }
}

/* Translated requests (4.2.5) */

static uint8_t translated_check(const Request *rq, bool ats_enabled,
                                hwaddr addr, bool *fpd)
{
    VTDResolver *r = rq->s->resolver;
    bool scalable = vtd_resolver_scalable(r);
    uint8_t reason = vtd_resolve_translated(r, rq->sid, rq->pasid, fpd);

    if (reason) {
        return reason;
    }
    if (!ats_enabled) {
        return scalable ? VTD_FR_SM_CONTEXT_ENTRY_DTE :
                          VTD_FR_CONTEXT_ENTRY_TT;
    }
    if (addr & ~VTD_HAW_MASK(rq->s->aw_bits)) {
        return scalable ? VTD_FR_SM_ADDR_BEYOND_HAW : VTD_FR_ADDR_BEYOND_MGAW;
    }
    return 0;
}

void vtd_block_translated_interrupt(IntelIOMMUState *s, uint16_t sid,
                                    hwaddr addr, bool is_write)
{
    Request rq = {
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
        reason = vtd_resolver_scalable(s->resolver) ?
                 VTD_FR_SM_INTERRUPT_ADDR : VTD_FR_INTERRUPT_ADDR;
    }
    request_fault(&rq, reason, fpd, addr);
}

static bool translated(const Request *rq, bool ats_enabled, hwaddr addr,
                       IOMMUTLBEntry *entry)
{
    bool fpd = false;
    uint8_t reason;

    RCU_READ_LOCK_GUARD();
    /* 4.2.1: Unsupported Request, and not a remapping fault */
    if (!vtd_resolver_enabled(rq->s->resolver)) {
        entry_blocked(entry, rq->pasid, addr);
        return false;
    }
    reason = translated_check(rq, ats_enabled, addr, &fpd);
    if (reason) {
        request_fault(rq, reason, fpd, addr);
        entry_blocked(entry, rq->pasid, addr);
        return false;
    }
    trace_vtd_translated_request(rq->sid, addr, rq->is_write);
    /* Blocks of this size cannot reach into the interrupt range */
    entry_identity(entry, rq->pasid, addr, VTD_INTERRUPT_ADDR_SIZE - 1);
    return true;
}

/* Only the requester itself is there as long as it sends requests */
static bool ats_enabled_at(PCIBus *bus, int devfn)
{
    PCIDevice *dev = pci_bus_is_express(bus) ? bus->devices[devfn] : NULL;

    return dev && pcie_ats_enabled(dev);
}

bool vtd_translate_translated(IntelIOMMUState *s, PCIBus *bus, int devfn,
                              uint32_t pasid, hwaddr addr, bool is_write,
                              IOMMUTLBEntry *entry)
{
    Request rq = request(s, bus, devfn, pasid, VTD_AT_TRANSLATED);

    rq.is_write = is_write;
    return translated(&rq, ats_enabled_at(bus, devfn), addr, entry);
}

bool vtd_translated_request(PCIBus *bus, void *opaque, int devfn,
                            bool ats_enabled, hwaddr addr, hwaddr *len,
                            bool is_write)
{
    IntelIOMMUState *s = opaque;
    Request rq = request(s, bus, devfn, PCI_NO_PASID, VTD_AT_TRANSLATED);
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
