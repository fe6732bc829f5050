/*
 * AMD-Vi: find the tables that translate the requests of a device and PASID
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The resolver looks up the device table entry and the entry of the GCR3 table.
 * It caches valid results by DeviceID and PASID, and drops them when software
 * invalidates device table entries or translations, and when it changes the
 * registers.
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#ifndef HW_I386_AMD_IOMMU_RESOLVE_H
#define HW_I386_AMD_IOMMU_RESOLVE_H

#include "hw/pci/pci_bus.h"
#include "amd_iommu.h"
#include "amd_iommu_event.h"
#include "amd_iommu_walk.h"
#include "iommu_answer_cache.h"
#include "iommu_ram.h"

/**
 * struct AMDVITarget: how requests of one device with one PASID are handled
 *
 * @rcu: frees it
 * @devid: DeviceID
 * @pasid: PASID of the requests, or PCI_NO_PASID
 * @generation: generation of the cache to which the target belongs
 * @dte_fault: why the device table entry blocks all requests, or
 *             AMDVI_FAULT_NONE
 * @fault: why untranslated and translation requests are blocked, or
 *         AMDVI_FAULT_NONE
 * @unreachable: address of the entry that is not in memory, see @fault
 * @dte: the device table entry; all fields are 0 if it could not be read
 * @walk: the tables, unless @fault
 */
typedef struct AMDVITarget {
    struct rcu_head rcu;
    uint16_t devid;
    uint32_t pasid;
    uint32_t generation;
    AMDVIFault dte_fault;
    AMDVIFault fault;
    hwaddr unreachable;
    AMDVIDTE dte;
    AMDVIWalkConfig walk;
} AMDVITarget;

/**
 * struct AMDVIRequest: a request of a function
 *
 * @s: the IOMMU
 * @devid: DeviceID
 * @pasid: PASID, or PCI_NO_PASID
 * @is_write: true for a write, false for a read
 * @priv: privileged mode is requested
 * @exec: execute permission is requested
 * @translation: the request is a translation request
 */
typedef struct AMDVIRequest {
    AMDVIState *s;
    uint16_t devid;
    uint32_t pasid;
    bool is_write;
    bool priv;
    bool exec;
    bool translation;
} AMDVIRequest;

/**
 * amdvi_resolver_new: create a resolver, with the IOMMU disabled
 *
 * Called once, with the BQL held.
 *
 * @s: the IOMMU, with its properties set
 *
 * Returns: the resolver; it lives as long as the IOMMU
 */
AMDVIResolver *amdvi_resolver_new(AMDVIState *s);

/**
 * amdvi_resolver_update: read the registers
 *
 * Called with the BQL held after a change of the Device Table Base Address,
 * Control, Exclusion Base or Exclusion Limit register (MMIO 0000h, 0018h,
 * 0020h, 0028h).  Requests that begin after this has returned use the new
 * values.
 *
 * @r: the resolver
 */
void amdvi_resolver_update(AMDVIResolver *r);

/**
 * amdvi_resolver_invalidate: drop all cached targets, and answers
 *
 * The cost does not depend on the contents of the caches.  Callable from any
 * thread.
 *
 * @r: the resolver
 */
void amdvi_resolver_invalidate(AMDVIResolver *r);

/**
 * amdvi_resolver_invalidate_device: forget the device table entry of a device
 *
 * Drops all cached targets, and answers.  The next page fault of the device is
 * logged even if SE is set and one has been logged before.  Callable from any
 * thread.
 *
 * @r: the resolver
 * @devid: DeviceID
 */
void amdvi_resolver_invalidate_device(AMDVIResolver *r, uint16_t devid);

/**
 * amdvi_resolver_invalidate_devices: forget all device table entries
 *
 * As amdvi_resolver_invalidate_device() for each device.
 *
 * @r: the resolver
 */
void amdvi_resolver_invalidate_devices(AMDVIResolver *r);

/**
 * amdvi_resolver_invalidate_pasid: drop all cached targets, and the answers for
 * one PASID
 *
 * Also drops answers to requests without PASID.  Callable from any thread.
 *
 * @r: the resolver
 * @pasid: the PASID
 */
void amdvi_resolver_invalidate_pasid(AMDVIResolver *r, uint32_t pasid);

/**
 * amdvi_resolver_enabled: check whether the IOMMU translates
 *
 * Callable from any thread, within an RCU read-side critical section.
 *
 * @r: the resolver
 *
 * Returns: IommuEn (MMIO 0018h) as of the last amdvi_resolver_update()
 */
bool amdvi_resolver_enabled(const AMDVIResolver *r);

/**
 * amdvi_resolver_answers: get the cache of answers to translation requests
 *
 * Callable from any thread.
 *
 * @r: the resolver
 *
 * Returns: the cache
 */
IOMMUAnswerCache *amdvi_resolver_answers(AMDVIResolver *r);

/**
 * amdvi_resolver_walks: get the drain of translation requests that walk
 *
 * They read tables, and set flags in them.  An invalidation is reported as
 * complete only after they have ended: the guest may reuse the tables then.
 *
 * Callable from any thread.
 *
 * @r: the resolver
 *
 * Returns: the drain
 */
Drain *amdvi_resolver_walks(AMDVIResolver *r);

/**
 * amdvi_resolve: find the target of a request
 *
 * Does not check whether the device may send translation or page requests: see
 * AMDVIDTE.iotlb and AMDVIDTE.page_requests.
 *
 * Callable from any thread, within an RCU read-side critical section.
 *
 * @r: the resolver
 * @devid: DeviceID of the request
 * @pasid: PASID, or PCI_NO_PASID
 * @scratch: buffer for a result that is not cached
 *
 * Returns: the target, valid until the end of the critical section, and no
 * longer than @scratch.  Its @fault is AMDVI_FAULT_NONE unless the request is
 * blocked.
 */
const AMDVITarget *amdvi_resolve(AMDVIResolver *r, uint16_t devid,
                                 uint32_t pasid, AMDVITarget *scratch);

/**
 * amdvi_request: describe an unprivileged request to read
 *
 * @s: the IOMMU
 * @bus: bus of the requester
 * @devfn: device and function number of the requester
 * @pasid: PASID, or PCI_NO_PASID
 *
 * Returns: the request
 */
static inline AMDVIRequest amdvi_request(AMDVIState *s, PCIBus *bus, int devfn,
                                         uint32_t pasid)
{
    return (AMDVIRequest) {
        .s = s,
        .devid = PCI_BUILD_BDF(pci_bus_num(bus), devfn),
        .pasid = pasid,
    };
}

/**
 * amdvi_report_fault: log the event for a request or an interrupt that is
 * blocked
 *
 * Callable from any thread.
 *
 * @s: the IOMMU
 * @request: the request; its members @present, @permission and @reserved_bit
 *           are ignored
 * @fault: the reason
 * @unreachable: address of the entry that is not in memory, if that is the
 *               reason
 */
void amdvi_report_fault(AMDVIState *s, const AMDVIPageFault *request,
                        AMDVIFault fault, hwaddr unreachable);

/**
 * amdvi_request_fault: log the event for a request that is blocked
 *
 * Does not log page faults that SE or SA suppresses (2.2.2.1): with SE, one is
 * logged after the device table entry was invalidated, or the IOMMU enabled.
 *
 * Callable from any thread.
 *
 * @rq: the request
 * @dte: the device table entry; all fields are 0 if it could not be read
 * @fault: the reason
 * @addr: address of the request
 * @unreachable: address of the entry that is not in memory, if that is the
 *               reason
 */
void amdvi_request_fault(const AMDVIRequest *rq, const AMDVIDTE *dte,
                         AMDVIFault fault, hwaddr addr, hwaddr unreachable);

#endif
