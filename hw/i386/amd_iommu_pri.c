/*
 * AMD-Vi: page requests and their completion
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Functions keep track of their outstanding groups.  Like hardware, the IOMMU
 * stores nothing about a request but its entry in the log.
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/drain.h"
#include "qemu/rcu.h"
#include "amd_iommu_event.h"
#include "amd_iommu_ppr.h"
#include "amd_iommu_pri.h"
#include "amd_iommu_resolve.h"
#include "iommu_pri.h"
#include "trace.h"

/* The Completion Tag contains the PRG index and the response code (2.4.7) */
#define TAG_PRGI(tag)   extract32(tag, 0, 9)
#define TAG_CODE(tag)   extract32(tag, 12, 4)

/* INVALID_PPR_REQUEST: where Linux's driver reads these flags (2.5.10) */
#define EVENT_RX        (1ULL << 48)
#define EVENT_GN        (1ULL << 57)

/* PCIe 5.0, 10.4.2.1; other codes than these mean failure */
#define CODE_SUCCESS    0x0
#define CODE_INVALID    0x1

struct AMDVIPageRequests {
    IOMMUPRIResponders *responders;
    /* Requests that have been received and not been logged */
    Drain *receiving;
};

/* A page request message */
typedef struct PageRequest {
    AMDVIState *s;
    PCIBus *bus;
    uint8_t devfn;
    uint16_t devid;
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

int amdvi_pri_register_notifier(PCIBus *bus, void *opaque, int devfn,
                                uint32_t pasid, IOMMUPRINotifier *notifier)
{
    AMDVIState *s = opaque;

    if (!s->pri) {
        return -ENODEV;
    }
    return iommu_pri_register(s->pri->responders, bus, devfn, pasid, notifier);
}

void amdvi_pri_unregister_notifier(PCIBus *bus, void *opaque, int devfn,
                                   uint32_t pasid)
{
    AMDVIState *s = opaque;

    if (s->pri) {
        iommu_pri_unregister(s->pri->responders, bus, devfn, pasid);
    }
}

/* ---- Page requests (2.6) ---- */

static uint16_t request_tag(const PageRequest *rq)
{
    return rq->prgi | (rq->lpig ? AMDVI_PPR_TAG_LAST : 0);
}

static void build_entry(const PageRequest *rq, uint64_t entry[2])
{
    entry[0] = AMDVI_PPR_CODE |
               amdvi_ppr_source(rq->devid, rq->pasid, request_tag(rq)) |
               (rq->is_read ? AMDVI_PPR_READ : 0) |
               (rq->is_write ? AMDVI_PPR_WRITE : 0);
    if (rq->pasid != PCI_NO_PASID) {
        entry[0] |= AMDVI_PPR_GN | (rq->exec ? AMDVI_PPR_EXEC : 0) |
                    (rq->priv ? 0 : AMDVI_PPR_US);
    }
    entry[1] = AMDVI_PPR_ADDR(rq->addr);
}

/*
 * Logs INVALID_PPR_REQUEST (2.5.10).  RX tells software not to respond to the
 * request, since the IOMMU does so.
 */
static void report_invalid(const PageRequest *rq)
{
    uint64_t lo = (uint64_t)AMDVI_EVENT_INVALID_PPR_REQUEST << 48 |
                  amdvi_ppr_source(rq->devid, rq->pasid, request_tag(rq)) |
                  EVENT_RX | (rq->pasid != PCI_NO_PASID ? EVENT_GN : 0);

    amdvi_event_log(rq->s, lo, AMDVI_PPR_ADDR(rq->addr), false);
}

/*
 * Checks whether the device table lets the device send the request.  An entry
 * that is not in memory or illegal has an event of its own.  The GCR3 table
 * does not matter: software decides about page faults.
 */
static bool check_dte(const PageRequest *rq)
{
    AMDVITarget scratch;
    const AMDVITarget *t = amdvi_resolve(rq->s->resolver, rq->devid, rq->pasid,
                                         &scratch);
    AMDVIRequest request = {
        .s = rq->s,
        .devid = rq->devid,
        .pasid = rq->pasid,
        .is_write = rq->is_write,
        .priv = rq->priv,
        .exec = rq->exec,
    };

    switch (t->fault) {
    case AMDVI_FAULT_DTE_UNREACHABLE:
    case AMDVI_FAULT_DTE_RESERVED:
    case AMDVI_FAULT_DTE_LEVEL:
        amdvi_request_fault(&request, &t->dte, t->fault, rq->addr,
                            t->unreachable);
        return false;
    case AMDVI_FAULT_DEVICE_ID:
    case AMDVI_FAULT_NO_TRANSLATION:
    case AMDVI_FAULT_NO_GUEST:
        break;
    default:
        if (t->dte.valid && t->dte.page_requests) {
            return true;
        }
    }
    report_invalid(rq);
    return false;
}

/*
 * The IOMMU caches nothing that the request makes invalid: answers that grant
 * less than what was requested are not cached.
 */
static AMDVIPPRResult deliver(const PageRequest *rq)
{
    AMDVIPageRequests *pri = rq->s->pri;
    AMDVIPPRResult result = AMDVI_PPR_DISABLED;
    uint64_t entry[2];
    unsigned token = drain_enter(pri->receiving);

    if (amdvi_resolver_enabled(rq->s->resolver) && check_dte(rq)) {
        build_entry(rq, entry);
        result = amdvi_ppr_put(rq->s, entry);
        if (result == AMDVI_PPR_DISABLED) {
            report_invalid(rq);
        }
    }
    drain_leave(pri->receiving, token);
    amdvi_ppr_raise_interrupt(rq->s);
    return result;
}

/*
 * An automatic response.  The function receives it for its group whether or not
 * the message has a PASID (GPRP of the device table entry).
 */
static void respond(const PageRequest *rq, IOMMUPRIResponseCode code)
{
    trace_amdvi_pri_auto_response(rq->devid, rq->pasid, rq->prgi, code);
    iommu_pri_respond(rq->s->pri->responders, rq->bus, rq->devfn, rq->pasid,
                      rq->prgi, code);
}

/*
 * Drops a request.  The IOMMU responds to the last request of a group, except
 * to a Stop Marker.  For other requests the function gets an error.  After
 * Success, the function finds the page missing and requests it again.
 */
static int drop(const PageRequest *rq, AMDVIPPRResult result)
{
    bool overflow = result == AMDVI_PPR_OVERFLOW;

    if (rq->lpig && (rq->is_read || rq->is_write)) {
        respond(rq, overflow ? IOMMU_PRI_RESP_SUCCESS :
                               IOMMU_PRI_RESP_INVALID_REQUEST);
        return 0;
    }
    trace_amdvi_pri_request_dropped(rq->devid, rq->pasid, rq->addr, rq->prgi,
                                    overflow);
    return overflow ? -ENOSPC : -EFAULT;
}

int amdvi_pri_request_page(PCIBus *bus, void *opaque, int devfn,
                           uint32_t pasid, bool priv_req, bool exec_req,
                           hwaddr addr, bool lpig, uint16_t prgi, bool is_read,
                           bool is_write)
{
    PageRequest rq = {
        .s = opaque,
        .bus = bus,
        .devfn = devfn,
        .devid = PCI_BUILD_BDF(pci_bus_num(bus), devfn),
        .pasid = pasid,
        .priv = priv_req,
        .exec = exec_req,
        .addr = addr,
        .lpig = lpig,
        .prgi = prgi,
        .is_read = is_read,
        .is_write = is_write,
    };
    AMDVIPPRResult result;

    if (!rq.s->pri) {
        return -ENODEV;
    }
    RCU_READ_LOCK_GUARD();
    result = deliver(&rq);
    if (result != AMDVI_PPR_LOGGED) {
        return drop(&rq, result);
    }
    trace_amdvi_pri_request_logged(rq.devid, pasid, addr, lpig, prgi,
                                   IOMMU_ACCESS_FLAG(is_read, is_write));
    return 0;
}

/* ---- COMPLETE_PPR_REQUEST (2.4.7) ---- */

static IOMMUPRIResponseCode response_code(unsigned code)
{
    switch (code) {
    case CODE_SUCCESS:
        return IOMMU_PRI_RESP_SUCCESS;
    case CODE_INVALID:
        return IOMMU_PRI_RESP_INVALID_REQUEST;
    default:
        return IOMMU_PRI_RESP_FAILURE;
    }
}

/*
 * With GN = 0 the message has no PASID.  Linux sends such responses also to
 * requests with PASID: always if the default domain is an identity domain
 * (7.3), or if the function does not set PRG Response PASID Required (6.12).
 *
 * PASID 0 stands for requests without PASID: so does Linux 7.3 respond to them
 * with v2 page tables.
 */
static bool complete(IOMMUPRIResponders *responders,
                     const AMDVICommand *command)
{
    uint16_t prgi = TAG_PRGI(command->tag);
    IOMMUPRIResponseCode code = response_code(TAG_CODE(command->tag));

    if (command->pasid != PCI_NO_PASID &&
        iommu_pri_respond_sid(responders, command->devid, command->pasid, prgi,
                              code)) {
        return true;
    }
    if (command->pasid == 0) {
        return iommu_pri_respond_sid(responders, command->devid, PCI_NO_PASID,
                                     prgi, code);
    }
    return command->pasid == PCI_NO_PASID &&
           iommu_pri_respond_any_pasid(responders, command->devid, prgi, code);
}

void amdvi_pri_complete(AMDVIState *s, const AMDVICommand *command)
{
    bool awaited;

    if (!s->pri) {
        return;
    }
    RCU_READ_LOCK_GUARD();
    awaited = complete(s->pri->responders, command);
    trace_amdvi_pri_complete(command->devid, command->pasid, command->tag,
                             awaited);
}

void amdvi_pri_drain(AMDVIState *s)
{
    if (s->pri) {
        drain_wait(s->pri->receiving);
    }
}

/* ---- Life ---- */

void amdvi_pri_init(AMDVIState *s)
{
    AMDVIPageRequests *pri = g_new0(AMDVIPageRequests, 1);

    pri->responders = iommu_pri_new();
    pri->receiving = drain_new();
    s->pri = pri;
}
