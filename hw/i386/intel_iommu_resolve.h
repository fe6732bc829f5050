/*
 * VT-d: find the tables that translate the requests of a source and PASID
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The resolver looks up root, context, PASID-directory and PASID-table entries.
 * It caches present and valid results by source and PASID, and drops them on
 * context-cache and PASID-cache invalidations and on changes of the root table,
 * together with the answers to translation requests that depend on them.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#ifndef HW_I386_INTEL_IOMMU_RESOLVE_H
#define HW_I386_INTEL_IOMMU_RESOLVE_H

#include "hw/i386/intel_iommu.h"
#include "hw/pci/pci_bus.h"
#include "iommu_answer_cache.h"
#include "intel_iommu_fault.h"
#include "iommu_ram.h"
#include "intel_iommu_walk.h"

/**
 * struct VTDRequest: a request of a function
 *
 * @s: the IOMMU
 * @sid: source id
 * @pasid: PASID, or PCI_NO_PASID
 * @at: kind of request
 * @is_write: true for a write, false for a read
 * @priv: privileged mode is requested
 * @exec: execute permission is requested
 */
typedef struct VTDRequest {
    IntelIOMMUState *s;
    uint16_t sid;
    uint32_t pasid;
    VTDAddressType at;
    bool is_write;
    bool priv;
    bool exec;
} VTDRequest;

/**
 * struct VTDTarget: how requests of one source with one PASID are handled
 *
 * @rcu: frees it
 * @sid: source id
 * @pasid: PASID of the request, or PCI_NO_PASID
 * @gen: generation of the caches to which the target belongs
 * @fault: VTDFaultReason why requests are blocked, or 0
 * @fpd: a Fault Processing Disable bit is set: qualified faults are not
 *       reported
 * @ats: translation requests and translated requests are allowed
 * @page_requests: page requests are allowed (PRE)
 * @privileged: privileged requests are allowed (SRE)
 * @domain: domain id that tags cached translations (6.2.1)
 * @tag_pasid: PASID that tags cached translations: the PASID of the request, or
 *             RID_PASID; PCI_NO_PASID in legacy mode
 * @walk: the tables, unless @fault
 */
typedef struct VTDTarget {
    struct rcu_head rcu;
    uint16_t sid;
    uint32_t pasid;
    uint32_t gen;
    uint8_t fault;
    bool fpd;
    bool ats;
    bool page_requests;
    bool privileged;
    uint16_t domain;
    uint32_t tag_pasid;
    VTDWalkConfig walk;
} VTDTarget;

/*
 * Callers of vtd_resolve() have one on the stack, where -ftrivial-auto-var-init
 * clears it.  For a larger one, GCC emits REP STOS, which is much slower.
 */
QEMU_BUILD_BUG_ON(sizeof(VTDTarget) > 80);

/* Number of targets in the cache; a power of two */
#define VTD_TARGET_CACHE_SIZE   1024

typedef struct VTDRootConfig VTDRootConfig;

/**
 * struct VTDResolver: looks up and caches targets
 *
 * @s: the IOMMU
 * @ram: guest memory
 * @root: the contents of the registers, read under RCU
 * @gen: incremented to drop all cached targets
 * @rsvd: reserved bits of paging entries
 * @cache: cached targets by hash of source and PASID, read under RCU
 * @answers: answers to translation requests
 * @walks: translation requests that read tables, and set flags in them.  An
 *     invalidation is reported as complete only after these have ended: the
 *     guest may reuse the tables then.
 */
struct VTDResolver {
    IntelIOMMUState *s;
    IOMMURam ram;
    VTDRootConfig *root;
    uint32_t gen;
    VTDWalkRsvd rsvd;
    VTDTarget *cache[VTD_TARGET_CACHE_SIZE];
    IOMMUAnswerCache *answers;
    Drain *walks;
};

/**
 * vtd_resolver_new: create a resolver, with translation disabled
 *
 * Called once, with the BQL held.
 *
 * @s: the IOMMU, with its properties set
 *
 * Returns: the resolver; it lives as long as the IOMMU
 */
VTDResolver *vtd_resolver_new(IntelIOMMUState *s);

/**
 * vtd_resolver_update: read the registers
 *
 * Called with the BQL held after a change of the root table pointer, the
 * translation table mode or the translation enable status.  Requests that begin
 * after this has returned use the new values.
 *
 * @r: the resolver
 */
void vtd_resolver_update(VTDResolver *r);

/**
 * vtd_resolver_invalidate: drop all cached targets, and answers
 *
 * For context-cache and PASID-cache invalidations of every granularity: an
 * IOMMU may drop more than the guest requests (6.5.2.1, 6.5.2.2).  The cost
 * does not depend on the contents of the caches.  Callable from any thread.
 *
 * @r: the resolver
 */
void vtd_resolver_invalidate(VTDResolver *r);

/**
 * vtd_resolver_enabled: check whether DMA remapping is enabled
 *
 * Callable from any thread, within an RCU read-side critical section.
 *
 * @r: the resolver
 *
 * Returns: GSTS.TES (11.4.4.2) as of the last vtd_resolver_update()
 */
bool vtd_resolver_enabled(const VTDResolver *r);

/**
 * vtd_resolver_scalable: check whether the root table is one of scalable mode
 *
 * Callable from any thread, within an RCU read-side critical section.
 *
 * @r: the resolver
 *
 * Returns: whether the translation table mode (TTM, 11.4.5) is scalable mode
 */
bool vtd_resolver_scalable(const VTDResolver *r);

/**
 * vtd_resolver_mode_valid: check whether the mode of the root table is
 * supported
 *
 * Called with the BQL held.
 *
 * @r: the resolver
 *
 * Returns: false if the guest has set a TTM that is reserved, or that the
 * capability registers do not announce (11.4.5)
 */
bool vtd_resolver_mode_valid(const VTDResolver *r);

/**
 * vtd_resolve: find the target of an untranslated, translation or page request
 *
 * Callable from any thread, within an RCU read-side critical section.
 *
 * @r: the resolver
 * @sid: source id of the request
 * @pasid: PASID, or PCI_NO_PASID
 * @at: VTD_AT_UNTRANSLATED, VTD_AT_TRANSLATION or VTD_AT_PAGE_REQUEST
 * @scratch: buffer for a result that is not cached
 *
 * Returns: the target, valid until the end of the critical section, and no
 * longer than @scratch.  Its @fault is 0 unless the request is blocked.
 */
const VTDTarget *vtd_resolve(VTDResolver *r, uint16_t sid, uint32_t pasid,
                             VTDAddressType at, VTDTarget *scratch);

/**
 * vtd_resolve_translated: check whether translated requests are allowed
 *
 * Translated requests bypass the tables: only the context entry can block them
 * (4.2.5).  Callable from any thread, within an RCU read-side critical section.
 *
 * @r: the resolver
 * @sid: source id of the request
 * @pasid: PASID, or PCI_NO_PASID
 * @fpd: set to whether a Fault Processing Disable bit is set
 *
 * Returns: 0, or the VTDFaultReason why the request is blocked
 */
uint8_t vtd_resolve_translated(VTDResolver *r, uint16_t sid, uint32_t pasid,
                               bool *fpd);

/**
 * vtd_request: describe an unprivileged request to read
 *
 * @s: the IOMMU
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: PASID, or PCI_NO_PASID
 * @at: kind of request
 *
 * Returns: the request
 */
static inline VTDRequest vtd_request(IntelIOMMUState *s, PCIBus *bus, int devfn,
                                     uint32_t pasid, VTDAddressType at)
{
    return (VTDRequest) {
        .s = s,
        .sid = PCI_BUILD_BDF(pci_bus_num(bus), devfn),
        .pasid = pasid,
        .at = at,
    };
}

/**
 * vtd_request_check: check whether a target blocks a request
 *
 * @rq: the request
 * @t: its target
 *
 * Returns: 0, or the VTDFaultReason why the request is blocked
 */
uint8_t vtd_request_check(const VTDRequest *rq, const VTDTarget *t);

/**
 * vtd_request_fault: record the fault of a request, unless it is disabled
 *
 * Callable from any thread.
 *
 * @rq: the request
 * @reason: VTDFaultReason
 * @fpd: a Fault Processing Disable bit is set in the entries that the request
 *       used
 * @addr: input address
 */
void vtd_request_fault(const VTDRequest *rq, uint8_t reason, bool fpd,
                       hwaddr addr);

#endif
