/*
 * VT-d: page requests and page group responses
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Functions keep track of their outstanding groups.  Like hardware, the IOMMU
 * stores nothing about a request but its descriptor.
 */

#include "qemu/osdep.h"
#include "qemu/drain.h"
#include "qemu/log.h"
#include "qemu/rcu.h"
#include "hw/pci/pci_bus.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_fault.h"
#include "intel_iommu_pri.h"
#include "intel_iommu_prq.h"
#include "intel_iommu_resolve.h"
#include "iommu_pri.h"
#include "iommu_ram.h"
#include "trace.h"

struct VTDPageRequests {
    IntelIOMMUState *s;
    VTDPageRequestQueue *queue;
    IOMMUPRIResponders *responders;
    /* Requests that have been received and not been delivered (7.7) */
    Drain *receiving;
};

/* A page request message */
typedef struct PageRequest {
    IntelIOMMUState *s;
    PCIBus *bus;
    uint8_t devfn;
    uint16_t sid;
    uint32_t pasid;
    bool priv;
    bool exec;
    hwaddr addr;
    bool lpig;
    uint16_t prgi;
    bool is_read;
    bool is_write;
} PageRequest;

/* ---- Responders ---- */

int vtd_pri_register_notifier(PCIBus *bus, void *opaque, int devfn,
                              uint32_t pasid, IOMMUPRINotifier *notifier)
{
    IntelIOMMUState *s = opaque;

    if (!(s->ecap & VTD_ECAP_PRS)) {
        return -ENODEV;
    }
    return iommu_pri_register(s->pri->responders, bus, devfn, pasid, notifier);
}

void vtd_pri_unregister_notifier(PCIBus *bus, void *opaque, int devfn,
                                 uint32_t pasid)
{
    IntelIOMMUState *s = opaque;

    iommu_pri_unregister(s->pri->responders, bus, devfn, pasid);
}

/* ---- Page requests (7.4.1) ---- */

static void build_descriptor(const PageRequest *rq,
                             uint64_t desc[VTD_PRQ_DESC_QUADS])
{
    desc[0] = VTD_PAGE_REQ_TYPE | VTD_PAGE_REQ_RID(rq->sid);
    if (rq->pasid != PCI_NO_PASID) {
        desc[0] |= VTD_PAGE_REQ_PP | VTD_PAGE_REQ_PASID(rq->pasid) |
                   (rq->exec ? VTD_PAGE_REQ_EXR : 0) |
                   (rq->priv ? VTD_PAGE_REQ_PMR : 0);
    }
    desc[1] = VTD_PAGE_REQ_ADDR(rq->addr) | VTD_PAGE_REQ_PRGI(rq->prgi) |
              (rq->lpig ? VTD_PAGE_REQ_LPIG : 0) |
              (rq->is_write ? VTD_PAGE_REQ_WRR : 0) |
              (rq->is_read ? VTD_PAGE_REQ_RDR : 0);
    desc[2] = 0;
    desc[3] = 0;
}

static bool write_descriptor(void *opaque, hwaddr addr, const uint64_t *desc)
{
    VTDPageRequests *pri = opaque;

    return iommu_ram_write(&pri->s->resolver->ram, addr, desc,
                           VTD_PRQ_DESC_QUADS);
}

/* Checks whether the tables allow page requests (table 30). */
static bool check_tables(const PageRequest *rq)
{
    VTDResolver *r = rq->s->resolver;
    VTDTarget scratch;
    const VTDTarget *t;
    VTDFault fault = {
        .sid = rq->sid,
        .at = VTD_AT_PAGE_REQUEST,
        .addr = rq->addr,
        .pasid = rq->pasid,
        .priv = rq->priv,
        .exec = rq->exec,
    };

    /* As for translation requests (4.2.1), not a remapping fault */
    if (!vtd_resolver_enabled(r)) {
        return false;
    }
    t = vtd_resolve(r, rq->sid, rq->pasid, VTD_AT_PAGE_REQUEST, &scratch);
    if (t->fault) {
        fault.reason = t->fault;
        vtd_fault_report_unless(rq->s, &fault, t->fpd);
    }
    return !t->fault;
}

/*
 * There is no need for an implicit invalidation (6.5.3.1): the answer that made
 * the function send the request grants less than the function requested, and
 * such answers are not cached (6.2.4).
 */
static VTDPRQResult deliver(const PageRequest *rq)
{
    VTDPageRequests *pri = rq->s->pri;
    uint64_t desc[VTD_PRQ_DESC_QUADS];
    VTDPRQResult result = VTD_PRQ_NO_QUEUE;
    bool event = false;
    unsigned token = drain_enter(pri->receiving);

    if (check_tables(rq)) {
        build_descriptor(rq, desc);
        result = vtd_prq_put(pri->queue, desc, &event);
    }
    drain_leave(pri->receiving, token);
    if (event) {
        vtd_prq_raise_event(pri->queue);
    }
    return result;
}

/* The response that the IOMMU generates (table 31) */
static void respond(const PageRequest *rq, IOMMUPRIResponseCode code)
{
    trace_vtd_pri_auto_response(rq->sid, rq->pasid, rq->prgi, code);
    iommu_pri_respond(rq->s->pri->responders, rq->bus, rq->devfn, rq->pasid,
                      rq->prgi, code);
}

/*
 * Drops a request.  The IOMMU responds to the last request of a group, except
 * to a Stop Marker.  For other requests the function gets an error.
 */
static int drop(const PageRequest *rq, VTDPRQResult result)
{
    bool overflow = result == VTD_PRQ_OVERFLOW;

    if (rq->lpig && (rq->is_read || rq->is_write)) {
        respond(rq, overflow ? IOMMU_PRI_RESP_SUCCESS :
                               IOMMU_PRI_RESP_INVALID_REQUEST);
        return 0;
    }
    trace_vtd_pri_request_dropped(rq->sid, rq->pasid, rq->addr, rq->prgi,
                                  overflow);
    return overflow ? -ENOSPC : -EFAULT;
}

int vtd_pri_request_page(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                         bool priv_req, bool exec_req, hwaddr addr, bool lpig,
                         uint16_t prgi, bool is_read, bool is_write)
{
    PageRequest rq = {
        .s = opaque,
        .bus = bus,
        .devfn = devfn,
        .sid = PCI_BUILD_BDF(pci_bus_num(bus), devfn),
        .pasid = pasid,
        .priv = priv_req,
        .exec = exec_req,
        .addr = addr,
        .lpig = lpig,
        .prgi = prgi,
        .is_read = is_read,
        .is_write = is_write,
    };
    VTDPRQResult result;

    if (!(rq.s->ecap & VTD_ECAP_PRS)) {
        return -ENODEV;
    }
    RCU_READ_LOCK_GUARD();
    result = deliver(&rq);
    if (result != VTD_PRQ_DELIVERED) {
        return drop(&rq, result);
    }
    trace_vtd_pri_request_queued(rq.sid, pasid, addr, lpig, prgi,
                                 IOMMU_ACCESS_FLAG(is_read, is_write));
    return 0;
}

/* ---- Page group responses (7.6.1) ---- */

/* Reserved codes mean failure (PCIe 5.0, 10.4.2.1) */
static IOMMUPRIResponseCode response_code(unsigned rc)
{
    switch (rc) {
    case VTD_PAGE_RESP_SUCCESS:
        return IOMMU_PRI_RESP_SUCCESS;
    case VTD_PAGE_RESP_INVALID:
        return IOMMU_PRI_RESP_INVALID_REQUEST;
    default:
        return IOMMU_PRI_RESP_FAILURE;
    }
}

static bool response_valid(const IntelIOMMUState *s, const uint64_t *desc)
{
    if ((s->ecap & VTD_ECAP_PRS) && s->iq_dw &&
        !(desc[0] & VTD_INV_DESC_PAGE_RESP_RSVD_LO) &&
        !(desc[1] & VTD_INV_DESC_PAGE_RESP_RSVD_HI) &&
        !desc[2] && !desc[3]) {
        return true;
    }
    qemu_log_mask(LOG_GUEST_ERROR, "intel-iommu: invalid page group response "
                  "descriptor: 0x%" PRIx64 " 0x%" PRIx64 "\n", desc[0],
                  desc[1]);
    return false;
}

bool vtd_pri_group_response(IntelIOMMUState *s, const uint64_t *desc)
{
    uint16_t sid = VTD_INV_DESC_PAGE_RESP_RID(desc[0]);
    uint32_t pasid = desc[0] & VTD_INV_DESC_PAGE_RESP_PP ?
                     VTD_INV_DESC_PAGE_RESP_PASID(desc[0]) : PCI_NO_PASID;
    uint16_t prgi = VTD_INV_DESC_PAGE_RESP_PRGI(desc[1]);
    unsigned rc = VTD_INV_DESC_PAGE_RESP_RC(desc[0]);
    bool awaited;

    if (!response_valid(s, desc)) {
        return false;
    }
    RCU_READ_LOCK_GUARD();
    awaited = iommu_pri_respond_sid(s->pri->responders, sid, pasid, prgi,
                                    response_code(rc));
    trace_vtd_pri_group_response(sid, pasid, prgi, rc, awaited);
    return true;
}

void vtd_pri_drain(IntelIOMMUState *s)
{
    trace_vtd_pri_drain();
    drain_wait(s->pri->receiving);
}

/* ---- Registers ---- */

bool vtd_pri_has_reg(const IntelIOMMUState *s, hwaddr reg)
{
    return reg >= VTD_PRQ_FIRST_REG && reg <= VTD_PRQ_LAST_REG &&
           (s->ecap & VTD_ECAP_PRS);
}

uint64_t vtd_pri_reg_read(IntelIOMMUState *s, hwaddr reg, unsigned size)
{
    vtd_prq_send_event(s->pri->queue);
    return vtd_prq_read(s->pri->queue, reg, size);
}

void vtd_pri_reg_write(IntelIOMMUState *s, hwaddr reg, uint64_t val,
                       unsigned size)
{
    vtd_prq_write(s->pri->queue, reg, val, size);
    vtd_prq_send_event(s->pri->queue);
}

/* ---- Life ---- */

VTDPageRequests *vtd_pri_new(IntelIOMMUState *s)
{
    VTDPageRequests *pri = g_new0(VTDPageRequests, 1);

    pri->s = s;
    pri->queue = vtd_prq_new(s->aw_bits, s->intr_eim == ON_OFF_AUTO_ON,
                             write_descriptor, pri);
    pri->responders = iommu_pri_new();
    pri->receiving = drain_new();
    return pri;
}

void vtd_pri_reset(VTDPageRequests *pri)
{
    vtd_prq_reset(pri->queue);
}

/* ---- Migration ---- */

static const VMStateDescription vmstate_page_requests = {
    .name = "iommu-intel/page-requests",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT_POINTER(queue, VTDPageRequests, vtd_vmstate_prq,
                               VTDPageRequestQueue),
        VMSTATE_END_OF_LIST()
    }
};

static bool pri_needed(void *opaque)
{
    const IntelIOMMUState *s = opaque;

    return s->ecap & VTD_ECAP_PRS;
}

const VMStateDescription vtd_vmstate_pri = {
    .name = "iommu-intel/pri",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = pri_needed,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT_POINTER(pri, IntelIOMMUState, vmstate_page_requests,
                               VTDPageRequests),
        VMSTATE_END_OF_LIST()
    }
};
