/*
 * AMD-Vi: translation requests and translated requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pcie_ats.h"
#include "amd_iommu_ats.h"
#include "amd_iommu_resolve.h"
#include "iommu_dev_tlb.h"
#include "trace.h"

/* ---- Device-TLBs ---- */

int amdvi_get_iotlb_info(void *opaque, uint8_t *addr_width,
                         uint32_t *min_page_size)
{
    AMDVIState *s = opaque;

    if (!X86_IOMMU_DEVICE(s)->dt_supported) {
        return -ENODEV;
    }
    *addr_width = 64;
    *min_page_size = AMDVI_PAGE_SIZE;
    return 0;
}

void amdvi_register_iotlb_notifier(PCIBus *bus, void *opaque, int devfn,
                                   uint32_t pasid, IOMMUNotifier *n)
{
    AMDVIState *s = opaque;

    iommu_dev_tlb_register(s->dev_tlb, bus, devfn, pasid, n);
}

void amdvi_unregister_iotlb_notifier(PCIBus *bus, void *opaque, int devfn,
                                     uint32_t pasid, IOMMUNotifier *n)
{
    AMDVIState *s = opaque;

    iommu_dev_tlb_unregister(s->dev_tlb, bus, devfn, pasid, n);
}

/* ---- Translation requests (2.1.3) ---- */

static void trace_results(const AMDVIRequest *rq, const IOMMUTLBEntry *result,
                          size_t n)
{
    if (!trace_event_get_state_backends(TRACE_AMDVI_ATS_RESULT)) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        trace_amdvi_ats_result(rq->devid, rq->pasid, result[i].iova,
                               result[i].addr_mask, result[i].translated_addr,
                               result[i].perm);
    }
}

static AMDVIFault ats_check(const AMDVIRequest *rq, const AMDVITarget *t)
{
    if (t->fault) {
        return t->fault;
    }
    if (!t->dte.valid || !t->dte.iotlb) {
        return AMDVI_FAULT_NO_ATS;
    }
    return rq->exec ? AMDVI_FAULT_NO_EXECUTE : AMDVI_FAULT_NONE;
}

static IOMMUWalkStatus ats_walk(const void *opaque, IOMMUWalkRequest *walk)
{
    const AMDVIRequest *rq = opaque;
    AMDVIResolver *r = rq->s->resolver;
    AMDVITarget scratch;
    const AMDVITarget *t;
    IOMMUWalkStatus status;
    hwaddr unreachable;
    AMDVIFault fault;
    unsigned token;

    /* Unsupported Request, without an event */
    if (!amdvi_resolver_enabled(r)) {
        return iommu_walk_blocked(walk, AMDVI_FAULT_NO_ATS,
                                  amdvi_fault_blocks_ats);
    }
    token = drain_enter(amdvi_resolver_walks(r));
    t = amdvi_resolve(r, rq->devid, rq->pasid, &scratch);
    unreachable = t->unreachable;
    fault = ats_check(rq, t);
    if (fault) {
        status = iommu_walk_blocked(walk, fault, amdvi_fault_blocks_ats);
    } else {
        status = amdvi_walk(&rq->s->ram->mem, &t->walk, walk, &unreachable);
    }
    drain_leave(amdvi_resolver_walks(r), token);
    if (walk->error) {
        amdvi_request_fault(rq, &t->dte, walk->error, walk->error_addr,
                            unreachable);
    }
    return status;
}

ssize_t amdvi_ats_request_translation(PCIBus *bus, void *opaque, int devfn,
                                      uint32_t pasid, bool priv_req,
                                      bool exec_req, hwaddr addr, size_t length,
                                      bool no_write, IOMMUTLBEntry *result,
                                      size_t result_length,
                                      uint32_t *err_count)
{
    bool has_pasid = pasid != PCI_NO_PASID;
    AMDVIRequest rq = amdvi_request(opaque, bus, devfn, pasid);
    IOMMUWalkRequest walk = {
        .first = addr & AMDVI_PAGE_MASK_4K,
        .last = addr + (length - 1),
        .want = no_write ? IOMMU_RO : IOMMU_RW,
        .priv = has_pasid && priv_req,
        .interrupt_input = !has_pasid,
        .pasid = pasid,
        .result = result,
        .max_results = result_length,
    };
    IOMMUWalkStatus status;

    rq.translation = true;
    rq.priv = walk.priv;
    rq.exec = has_pasid && exec_req;
    status = iommu_answers_get(amdvi_resolver_answers(rq.s->resolver),
                               rq.devid, rq.exec, &walk, ats_walk, &rq);
    *err_count = iommu_answers_finish(&walk);
    trace_amdvi_ats_request(rq.devid, pasid, addr, length, walk.num_results,
                            *err_count, walk.fault);
    trace_results(&rq, result, walk.num_results);
    return status == IOMMU_WALK_FULL ? -ENOMEM : walk.num_results;
}

/* ---- Translated requests (2.1.3) ---- */

static AMDVIFault translated_check(const AMDVIRequest *rq, bool ats_enabled,
                                   hwaddr addr, const AMDVITarget *t)
{
    /* Page tables do not apply to translated requests. */
    if (t->dte_fault) {
        return t->dte_fault;
    }
    if (!ats_enabled || !t->dte.valid || !t->dte.iotlb) {
        return AMDVI_FAULT_NO_ATS;
    }
    return amdvi_is_interrupt_addr(addr) ? AMDVI_FAULT_TRANSLATED_INTERRUPT :
                                           AMDVI_FAULT_NONE;
}

static bool translated(const AMDVIRequest *rq, bool ats_enabled, hwaddr addr,
                       IOMMUTLBEntry *entry)
{
    AMDVIResolver *r = rq->s->resolver;
    AMDVITarget scratch;
    const AMDVITarget *t;
    AMDVIFault fault;

    RCU_READ_LOCK_GUARD();
    /* Unsupported Request, without an event */
    if (!amdvi_resolver_enabled(r)) {
        iommu_entry_blocked(entry, rq->pasid, addr);
        return false;
    }
    t = amdvi_resolve(r, rq->devid, rq->pasid, &scratch);
    fault = translated_check(rq, ats_enabled, addr, t);
    if (fault) {
        amdvi_request_fault(rq, &t->dte, fault, addr, t->unreachable);
        iommu_entry_blocked(entry, rq->pasid, addr);
        return false;
    }
    trace_amdvi_translated_request(rq->devid, addr, rq->is_write);
    /* Blocks of this size cannot reach into the interrupt range. */
    iommu_entry_identity(entry, rq->pasid, addr, AMDVI_INT_ADDR_SIZE - 1);
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

void amdvi_translate_translated(AMDVIState *s, PCIBus *bus, int devfn,
                                hwaddr addr, bool is_write,
                                IOMMUTLBEntry *entry)
{
    AMDVIRequest rq = amdvi_request(s, bus, devfn, PCI_NO_PASID);

    rq.is_write = is_write;
    translated(&rq, ats_enabled_at(bus, devfn), addr, entry);
}

bool amdvi_translated_request(PCIBus *bus, void *opaque, int devfn,
                              bool ats_enabled, hwaddr addr, hwaddr *len,
                              bool is_write)
{
    AMDVIRequest rq = amdvi_request(opaque, bus, devfn, PCI_NO_PASID);
    IOMMUTLBEntry entry;
    hwaddr rest;

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
