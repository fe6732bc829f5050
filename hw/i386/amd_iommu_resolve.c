/*
 * AMD-Vi: find the tables that translate the requests of a device and PASID
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/bitops.h"
#include "qemu/rcu.h"
#include "amd_iommu_resolve.h"
#include "amd_iommu_svm.h"
#include "trace.h"

/* Number of targets in the cache; a power of two */
#define CACHE_SIZE  1024

#define DEVICE_IDS  (UINT16_MAX + 1)

/* The registers that control address translation */
typedef struct Registers {
    struct rcu_head rcu;
    hwaddr devtab;
    uint32_t devtab_len;        /* number of entries */
    bool enabled;
    AMDVIDTERules rules;
} Registers;

struct AMDVIResolver {
    AMDVIState *s;
    /* Read under RCU */
    Registers *regs;
    AMDVITarget *cache[CACHE_SIZE];
    /* Incremented to drop all cached targets */
    uint32_t generation;
    IOMMUAnswerCache *answers;
    Drain *walks;
    /* Devices with SE = 1 for which a page fault has been logged; atomic */
    unsigned long faulted[BITS_TO_LONGS(DEVICE_IDS)];
};

/* ---- Lookup ---- */

static hwaddr dte_addr(const Registers *regs, uint16_t devid)
{
    return regs->devtab + devid * AMDVI_DEVTAB_ENTRY_SIZE;
}

/* 2.2.2 */
static AMDVIFault lookup_dte(const AMDVIResolver *r, const Registers *regs,
                             AMDVITarget *t)
{
    uint64_t quad[AMDVI_DTE_QUADS];

    if (t->devid >= regs->devtab_len) {
        return AMDVI_FAULT_DEVICE_ID;
    }
    if (!iommu_ram_read(r->s->ram, dte_addr(regs, t->devid), quad,
                        AMDVI_DTE_QUADS)) {
        t->unreachable = dte_addr(regs, t->devid);
        return AMDVI_FAULT_DTE_UNREACHABLE;
    }
    amdvi_dte_decode(&t->dte, quad);
    return amdvi_dte_check_memory(&t->dte, &regs->rules);
}

static void lookup(const AMDVIResolver *r, AMDVITarget *t)
{
    const Registers *regs = qatomic_rcu_read(&r->regs);

    t->dte_fault = lookup_dte(r, regs, t);
    t->fault = t->dte_fault ?:
               amdvi_walk_setup(&t->walk, &r->s->ram->mem, &t->dte,
                                &regs->rules, t->pasid, &t->unreachable);
}

/* ---- Cache ---- */

static AMDVITarget **cache_slot(AMDVIResolver *r, uint16_t devid,
                                uint32_t pasid)
{
    uint32_t hash = (devid * 0x9e3779b1u) ^ (pasid * 0x85ebca6bu);

    return &r->cache[(hash ^ hash >> 16) & (CACHE_SIZE - 1)];
}

static const AMDVITarget *cache_find(AMDVIResolver *r, uint16_t devid,
                                     uint32_t pasid)
{
    const AMDVITarget *t = qatomic_rcu_read(cache_slot(r, devid, pasid));

    if (t && t->devid == devid && t->pasid == pasid &&
        t->generation == qatomic_read(&r->generation)) {
        return t;
    }
    return NULL;
}

/*
 * @t belongs to the generation that was current before its entries were read.
 * If they have been invalidated since, no lookup finds it.
 */
static void cache_insert(AMDVIResolver *r, const AMDVITarget *t)
{
    AMDVITarget *copy = g_memdup2(t, sizeof(*t));
    AMDVITarget *old = qatomic_xchg(cache_slot(r, t->devid, t->pasid), copy);

    if (old) {
        g_free_rcu(old, rcu);
    }
}

const AMDVITarget *amdvi_resolve(AMDVIResolver *r, uint16_t devid,
                                 uint32_t pasid, AMDVITarget *scratch)
{
    const AMDVITarget *t = cache_find(r, devid, pasid);

    if (likely(t)) {
        return t;
    }
    *scratch = (AMDVITarget) {
        .devid = devid,
        .pasid = pasid,
        .generation = qatomic_load_acquire(&r->generation),
    };
    lookup(r, scratch);
    /* As entries that are not present, those with V = 0 are not cached. */
    if (!scratch->fault && scratch->dte.valid) {
        cache_insert(r, scratch);
    }
    return scratch;
}

/* ---- Faults ---- */

/*
 * 2.5.9: the Type field of INVALID_DEVICE_REQUEST.  For special addresses, the
 * values are those that a driver of Solaris decodes, which agree with an event
 * of hardware: Type 5 for a write to FDF8000000h.
 */
static AMDVIInvalidRequest special_type(const AMDVIPageFault *request,
                                        AMDVIFault fault)
{
    if (request->translation) {
        return AMDVI_INVALID_REQUEST_TRANSLATION;
    }
    switch (fault) {
    case AMDVI_FAULT_SPECIAL_PORT_IO:
        return AMDVI_INVALID_REQUEST_PORT_IO;
    case AMDVI_FAULT_SPECIAL_SYS_MGT:
        return request->write ? AMDVI_INVALID_REQUEST_SYS_MGT_WRITE :
                                AMDVI_INVALID_REQUEST_SYS_MGT_READ;
    case AMDVI_FAULT_SPECIAL_INTERRUPT:
        return request->write ? AMDVI_INVALID_REQUEST_INT_CTL :
                                AMDVI_INVALID_REQUEST_ACCESS;
    default:
        return request->write ? AMDVI_INVALID_REQUEST_RESERVED :
                                AMDVI_INVALID_REQUEST_ACCESS;
    }
}

static AMDVIInvalidRequest invalid_type(const AMDVIPageFault *request,
                                        AMDVIFault fault)
{
    switch (fault) {
    case AMDVI_FAULT_SPECIAL_RESERVED:
    case AMDVI_FAULT_SPECIAL_INTERRUPT:
    case AMDVI_FAULT_SPECIAL_SYS_MGT:
    case AMDVI_FAULT_SPECIAL_PORT_IO:
        return special_type(request, fault);
    case AMDVI_FAULT_NO_ATS:
        return AMDVI_INVALID_REQUEST_ATS;
    case AMDVI_FAULT_TRANSLATED_INTERRUPT:
        return AMDVI_INVALID_REQUEST_INTERRUPT;
    default:
        return AMDVI_INVALID_REQUEST_ACCESS;
    }
}

void amdvi_report_fault(AMDVIState *s, const AMDVIPageFault *request,
                        AMDVIFault fault, hwaddr unreachable)
{
    const AMDVIFaultInfo *info = amdvi_fault_info(fault);
    AMDVIPageFault event = *request;

    event.present = info->present;
    event.permission = info->permission;
    event.reserved_bit = info->reserved;
    switch (info->kind) {
    case AMDVI_FAULT_ILLEGAL_DTE:
        trace_amdvi_invalid_dte(event.devid);
        amdvi_event_illegal_dte(s, &event);
        break;
    case AMDVI_FAULT_DEV_TAB_HARDWARE:
        amdvi_event_dev_tab_error(s, &event, unreachable);
        break;
    case AMDVI_FAULT_PAGE_TAB_HARDWARE:
        trace_amdvi_get_pte_hwerror(unreachable);
        amdvi_event_page_tab_error(s, &event, unreachable);
        break;
    case AMDVI_FAULT_INVALID_REQUEST:
        amdvi_event_invalid_request(s, &event, invalid_type(request, fault));
        break;
    case AMDVI_FAULT_IO_PAGE:
        amdvi_event_io_page_fault(s, &event);
        break;
    }
}

/* Called for each page fault: if SE = 1, the second one is suppressed. */
static bool suppress(AMDVIResolver *r, uint16_t devid, const AMDVIDTE *dte)
{
    unsigned long *faulted = &r->faulted[BIT_WORD(devid)];

    if (!dte->valid || !(dte->suppress || dte->suppress_all)) {
        return false;
    }
    return dte->suppress_all ||
           (qatomic_fetch_or(faulted, BIT_MASK(devid)) & BIT_MASK(devid));
}

void amdvi_request_fault(const AMDVIRequest *rq, const AMDVIDTE *dte,
                         AMDVIFault fault, hwaddr addr, hwaddr unreachable)
{
    const AMDVIPageFault request = {
        .devid = rq->devid,
        .domid = dte->domain,
        .pasid = rq->pasid,
        .addr = addr,
        .write = rq->is_write,
        .privilege = rq->priv,
        .translation = rq->translation,
    };

    if (amdvi_fault_info(fault)->kind != AMDVI_FAULT_IO_PAGE ||
        !suppress(rq->s->resolver, rq->devid, dte)) {
        amdvi_report_fault(rq->s, &request, fault, unreachable);
    }
}

/* ---- Registers and life ---- */

bool amdvi_resolver_enabled(const AMDVIResolver *r)
{
    return qatomic_rcu_read(&r->regs)->enabled;
}

IOMMUAnswerCache *amdvi_resolver_answers(AMDVIResolver *r)
{
    return r->answers;
}

Drain *amdvi_resolver_walks(AMDVIResolver *r)
{
    return r->walks;
}

/*
 * Answers are dropped last: a thread that finds no answer must not use a stale
 * target to compute one.
 */
void amdvi_resolver_invalidate(AMDVIResolver *r)
{
    qatomic_inc(&r->generation);
    iommu_answers_invalidate(r->answers);
}

void amdvi_resolver_invalidate_device(AMDVIResolver *r, uint16_t devid)
{
    clear_bit_atomic(devid, r->faulted);
    amdvi_resolver_invalidate(r);
}

void amdvi_resolver_invalidate_devices(AMDVIResolver *r)
{
    for (size_t i = 0; i < ARRAY_SIZE(r->faulted); i++) {
        qatomic_set(&r->faulted[i], 0);
    }
    amdvi_resolver_invalidate(r);
}

void amdvi_resolver_invalidate_pasid(AMDVIResolver *r, uint32_t pasid)
{
    qatomic_inc(&r->generation);
    iommu_answers_invalidate_pasid(r->answers, pasid);
}

static Registers *read_registers(AMDVIState *s)
{
    uint64_t control = amdvi_readq(s, AMDVI_MMIO_CONTROL);
    uint64_t base = amdvi_readq(s, AMDVI_MMIO_EXCL_BASE);
    Registers *regs = g_new0(Registers, 1);

    regs->devtab = s->devtab;
    regs->devtab_len = s->devtab_len;
    regs->enabled = s->enabled;
    regs->rules = (AMDVIDTERules) {
        .max_mode = s->dma_translation ? AMDVI_DTE_MODE_MAX :
                                         AMDVI_DTE_MODE_NONE,
        .guest = s->svm && (control & AMDVI_MMIO_CONTROL_GTEN),
        .max_glx = AMDVI_SVM_MAX_GLX,
        .max_guest_levels = AMDVI_SVM_MAX_GUEST_LEVELS,
        .max_pasid = MAKE_64BIT_MASK(0, AMDVI_SVM_PASID_BITS),
        .exclude = base & AMDVI_MMIO_EXCL_ENABLED_MASK,
        .exclude_all = base & AMDVI_MMIO_EXCL_ALLOW_MASK,
        .exclude_first = base & AMDVI_MMIO_EXCL_BASE_MASK,
        .exclude_last = amdvi_readq(s, AMDVI_MMIO_EXCL_LIMIT) |
                        AMDVI_MMIO_EXCL_LIMIT_LOW,
    };
    return regs;
}

void amdvi_resolver_update(AMDVIResolver *r)
{
    Registers *old = r->regs;
    Registers *regs = read_registers(r->s);

    qatomic_rcu_set(&r->regs, regs);
    if (regs->enabled != old->enabled) {
        amdvi_resolver_invalidate_devices(r);
    } else {
        amdvi_resolver_invalidate(r);
    }
    g_free_rcu(old, rcu);
}

AMDVIResolver *amdvi_resolver_new(AMDVIState *s)
{
    AMDVIResolver *r = g_new0(AMDVIResolver, 1);

    r->s = s;
    r->regs = read_registers(s);
    r->answers = iommu_answers_new();
    r->walks = drain_new();
    return r;
}
