/*
 * AMD-Vi: untranslated requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/rcu.h"
#include "amd_iommu_resolve.h"
#include "amd_iommu_untranslated.h"
#include "trace.h"

/* The walk for the page that contains @addr */
static IOMMUWalkRequest page_walk(const AMDVIRequest *rq, hwaddr addr,
                                  IOMMUTLBEntry *entry)
{
    return (IOMMUWalkRequest) {
        .first = addr & AMDVI_PAGE_MASK_4K,
        .last = addr | ~AMDVI_PAGE_MASK_4K,
        .want = rq->is_write ? IOMMU_WO : IOMMU_RO,
        .untranslated = true,
        .priv = rq->priv,
        .interrupt_input = rq->pasid == PCI_NO_PASID,
        .pasid = rq->pasid,
        .result = entry,
        .max_results = 1,
    };
}

static AMDVIFault untranslated_check(const AMDVIRequest *rq,
                                     const AMDVITarget *t)
{
    return t->fault ?: rq->exec ? AMDVI_FAULT_NO_EXECUTE : AMDVI_FAULT_NONE;
}

static bool untranslated_walk(const AMDVIRequest *rq, hwaddr addr,
                              IOMMUTLBEntry *entry)
{
    IOMMUWalkRequest walk = page_walk(rq, addr, entry);
    AMDVITarget scratch;
    const AMDVITarget *t;
    hwaddr unreachable;
    AMDVIFault fault;

    t = amdvi_resolve(rq->s->resolver, rq->devid, rq->pasid, &scratch);
    unreachable = t->unreachable;
    fault = untranslated_check(rq, t);
    if (!fault) {
        amdvi_walk(&rq->s->ram->mem, &t->walk, &walk, &unreachable);
        fault = walk.fault;
    }
    if (fault) {
        amdvi_request_fault(rq, &t->dte, fault, addr, unreachable);
        iommu_entry_blocked(entry, rq->pasid, addr);
        return false;
    }
    return true;
}

static bool untranslated(const AMDVIRequest *rq, hwaddr addr,
                         IOMMUTLBEntry *entry)
{
    RCU_READ_LOCK_GUARD();
    if (!amdvi_resolver_enabled(rq->s->resolver)) {
        iommu_entry_identity(entry, rq->pasid, addr, ~AMDVI_PAGE_MASK_4K);
        return true;
    }
    return untranslated_walk(rq, addr, entry);
}

void amdvi_translate_untranslated(AMDVIState *s, PCIBus *bus, int devfn,
                                  hwaddr addr, bool is_write,
                                  IOMMUTLBEntry *entry)
{
    AMDVIRequest rq = amdvi_request(s, bus, devfn, PCI_NO_PASID);

    rq.is_write = is_write;
    untranslated(&rq, addr, entry);
    trace_amdvi_translation_result(PCI_BUS_NUM(rq.devid), PCI_SLOT(devfn),
                                   PCI_FUNC(devfn), addr,
                                   entry->translated_addr);
}

static bool peek_access(AMDVIState *s, const AMDVIWalkConfig *cfg,
                        IOMMUWalkRequest walk, IOMMUAccessFlags want)
{
    hwaddr unreachable;

    walk.want = want;
    amdvi_walk(&s->ram->mem, cfg, &walk, &unreachable);
    return !walk.fault && walk.result->perm != IOMMU_NONE;
}

bool amdvi_peek(AMDVIState *s, PCIBus *bus, int devfn, hwaddr addr,
                IOMMUTLBEntry *entry)
{
    AMDVIRequest rq = amdvi_request(s, bus, devfn, PCI_NO_PASID);
    IOMMUWalkRequest walk = page_walk(&rq, addr, entry);
    AMDVIWalkConfig cfg;
    AMDVITarget scratch;
    const AMDVITarget *t;

    RCU_READ_LOCK_GUARD();
    if (!amdvi_resolver_enabled(s->resolver)) {
        return false;
    }
    t = amdvi_resolve(s->resolver, rq.devid, PCI_NO_PASID, &scratch);
    if (t->fault) {
        return false;
    }
    cfg = t->walk;
    cfg.no_flag_update = true;
    /* Host tables may allow only writes, to buffers that a device fills. */
    return peek_access(s, &cfg, walk, IOMMU_RO) ||
           peek_access(s, &cfg, walk, IOMMU_WO);
}

bool amdvi_pasid_translate(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                           bool priv_req, bool exec_req, hwaddr addr,
                           bool is_write, IOMMUTLBEntry *result)
{
    AMDVIRequest rq = amdvi_request(opaque, bus, devfn, pasid);
    bool ok;

    rq.is_write = is_write;
    rq.priv = priv_req;
    rq.exec = exec_req;
    ok = untranslated(&rq, addr, result);
    trace_amdvi_pasid_request(rq.devid, pasid, priv_req, exec_req, addr,
                              is_write, result->translated_addr, result->perm);
    return ok;
}

bool amdvi_block_interrupt_range(AMDVIState *s, uint16_t devid, hwaddr addr,
                                 bool is_write)
{
    const AMDVIRequest rq = {
        .s = s,
        .devid = devid,
        .pasid = PCI_NO_PASID,
        .is_write = is_write,
    };
    AMDVITarget scratch;
    const AMDVITarget *t;

    RCU_READ_LOCK_GUARD();
    if (!amdvi_resolver_enabled(s->resolver)) {
        return false;
    }
    t = amdvi_resolve(s->resolver, devid, PCI_NO_PASID, &scratch);
    amdvi_request_fault(&rq, &t->dte, t->fault ?: AMDVI_FAULT_INTERRUPT_RANGE,
                        addr, t->unreachable);
    return true;
}

/*
 * Other blocked requests have been reported when they were translated.  Writes
 * to the interrupt range that are not interrupts are reported like reads.
 */
void amdvi_untranslated_blocked(PCIBus *bus, void *opaque, int devfn,
                                hwaddr addr, bool is_write)
{
    if (amdvi_is_interrupt_addr(addr)) {
        amdvi_block_interrupt_range(opaque,
                                    PCI_BUILD_BDF(pci_bus_num(bus), devfn),
                                    addr, is_write);
    }
}
