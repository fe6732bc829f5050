/*
 * VT-d: page requests and page group responses
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which groups are open is for the functions to know.  The IOMMU keeps nothing
 * about a request but its descriptor, as hardware does.
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/queue.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/pci/msi.h"
#include "hw/pci/pci_bus.h"
#include "system/runstate.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_ats.h"
#include "intel_iommu_pri.h"
#include "intel_iommu_prq.h"
#include "iommu_ram.h"
#include "intel_iommu_resolve.h"
#include "trace.h"

/* A notifier of a function and PASID */
typedef struct Responder {
    PCIBus *bus;
    IOMMUPRINotifier *notifier;
    QLIST_ENTRY(Responder) next;
} Responder;

/* Those with the same device and function number and PASID on any bus */
typedef QLIST_HEAD(, Responder) ResponderList;

struct VTDPageRequests {
    IntelIOMMUState *s;
    VTDPageRequestQueue *queue;
    QEMUBH *event_bh;
    /* Protects @responders; no notifier is called with it held */
    QemuMutex responders_lock;
    GHashTable *responders;     /* responder_key() -> ResponderList */
    /* For migration only */
    uint32_t saved_regs[VTD_PRQ_WORDS];
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

/* Bus numbers are not part of the key, since a guest may change them */
static uint64_t responder_key(uint8_t devfn, uint32_t pasid)
{
    return (uint64_t)devfn << 32 | pasid;
}

/* With the lock; NULL if there are none */
static ResponderList *responder_list(VTDPageRequests *pri, uint8_t devfn,
                                     uint32_t pasid)
{
    uint64_t key = responder_key(devfn, pasid);

    return g_hash_table_lookup(pri->responders, &key);
}

/* With the lock */
static Responder *responder_find(VTDPageRequests *pri, PCIBus *bus,
                                 uint8_t devfn, uint32_t pasid)
{
    ResponderList *list = responder_list(pri, devfn, pasid);
    Responder *r;

    if (list) {
        QLIST_FOREACH(r, list, next) {
            if (r->bus == bus) {
                return r;
            }
        }
    }
    return NULL;
}

/* With the lock */
static Responder *responder_find_sid(VTDPageRequests *pri, uint16_t sid,
                                     uint32_t pasid)
{
    ResponderList *list = responder_list(pri, VTD_SID_TO_DEVFN(sid), pasid);
    Responder *r;

    if (list) {
        QLIST_FOREACH(r, list, next) {
            if (pci_bus_num(r->bus) == VTD_SID_TO_BUS(sid)) {
                return r;
            }
        }
    }
    return NULL;
}

int vtd_pri_register_notifier(PCIBus *bus, void *opaque, int devfn,
                              uint32_t pasid, IOMMUPRINotifier *notifier)
{
    IntelIOMMUState *s = opaque;
    VTDPageRequests *pri = s->pri;
    uint64_t key = responder_key(devfn, pasid);
    ResponderList *list;
    Responder *r;

    if (!(s->ecap & VTD_ECAP_PRS)) {
        return -ENODEV;
    }
    QEMU_LOCK_GUARD(&pri->responders_lock);
    /* Functions behind a bridge may share a source id */
    if (responder_find(pri, bus, devfn, pasid)) {
        return -EBUSY;
    }
    list = responder_list(pri, devfn, pasid);
    if (!list) {
        list = g_new0(ResponderList, 1);
        g_hash_table_insert(pri->responders, g_memdup2(&key, sizeof(key)),
                            list);
    }
    r = g_new0(Responder, 1);
    r->bus = bus;
    r->notifier = notifier;
    QLIST_INSERT_HEAD(list, r, next);
    return 0;
}

void vtd_pri_unregister_notifier(PCIBus *bus, void *opaque, int devfn,
                                 uint32_t pasid)
{
    IntelIOMMUState *s = opaque;
    VTDPageRequests *pri = s->pri;
    uint64_t key = responder_key(devfn, pasid);
    Responder *r;

    QEMU_LOCK_GUARD(&pri->responders_lock);
    r = responder_find(pri, bus, devfn, pasid);
    if (!r) {
        return;
    }
    QLIST_REMOVE(r, next);
    g_free(r);
    if (QLIST_EMPTY(responder_list(pri, devfn, pasid))) {
        g_hash_table_remove(pri->responders, &key);
    }
}

static void notify(IOMMUPRINotifier *notifier, uint16_t prgi,
                   IOMMUPRIResponseCode code)
{
    IOMMUPRIResponse response = { .response_code = code, .prgi = prgi };

    notifier->notify(notifier, &response);
}

/* ---- Page request event (7.5) ---- */

/* It is never subject to interrupt remapping.  With the BQL. */
static void send_event(VTDPageRequests *pri)
{
    uint64_t addr;
    uint32_t data;

    if (vtd_prq_take_event(pri->queue, &addr, &data)) {
        MSIMessage msi = { .address = addr, .data = data };

        vtd_send_msi(&msi);
    }
}

static void event_bh(void *opaque)
{
    send_event(opaque);
}

/* Interrupts need the BQL, and a thread of a device must not wait for it */
static void raise_event(VTDPageRequests *pri)
{
    if (bql_locked()) {
        send_event(pri);
    } else {
        qemu_bh_schedule(pri->event_bh);
    }
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

/* Is there a translation that the request can be about? (table 30) */
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
 * There is no implicit invalidation (6.5.3.1): what made the function ask, an
 * answer that gives less than was asked for, is not kept (6.2.4).
 */
static VTDPRQResult deliver(const PageRequest *rq)
{
    VTDPageRequests *pri = rq->s->pri;
    uint64_t desc[VTD_PRQ_DESC_QUADS];
    VTDPRQResult result = VTD_PRQ_NO_QUEUE;
    bool event = false;
    unsigned token = vtd_prq_enter(pri->queue);

    if (check_tables(rq)) {
        build_descriptor(rq, desc);
        result = vtd_prq_put(pri->queue, desc, &event);
    }
    vtd_prq_leave(pri->queue, token);
    if (event) {
        raise_event(pri);
    }
    return result;
}

/* The response that the IOMMU makes itself (table 31) */
static void answer(const PageRequest *rq, IOMMUPRIResponseCode code)
{
    VTDPageRequests *pri = rq->s->pri;
    IOMMUPRINotifier *notifier = NULL;
    Responder *r;

    trace_vtd_pri_auto_response(rq->sid, rq->pasid, rq->prgi, code);
    WITH_QEMU_LOCK_GUARD(&pri->responders_lock) {
        r = responder_find(pri, rq->bus, rq->devfn, rq->pasid);
        notifier = r ? r->notifier : NULL;
    }
    if (notifier) {
        notify(notifier, rq->prgi, code);
    }
}

/*
 * A request that did not get into the queue.  The last of a group is answered,
 * but for a Stop Marker; of another the function learns by the error.
 */
static int drop(const PageRequest *rq, VTDPRQResult result)
{
    bool overflow = result == VTD_PRQ_OVERFLOW;

    if (rq->lpig && (rq->is_read || rq->is_write)) {
        answer(rq, overflow ? IOMMU_PRI_RESP_SUCCESS :
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

/* Codes that are not used count as failure (PCIe 5.0, 10.4.2.1) */
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
    VTDPageRequests *pri = s->pri;
    uint16_t sid = VTD_INV_DESC_PAGE_RESP_RID(desc[0]);
    uint32_t pasid = desc[0] & VTD_INV_DESC_PAGE_RESP_PP ?
                     VTD_INV_DESC_PAGE_RESP_PASID(desc[0]) : PCI_NO_PASID;
    uint16_t prgi = VTD_INV_DESC_PAGE_RESP_PRGI(desc[1]);
    unsigned rc = VTD_INV_DESC_PAGE_RESP_RC(desc[0]);
    IOMMUPRINotifier *notifier = NULL;
    Responder *r;

    if (!response_valid(s, desc)) {
        return false;
    }
    RCU_READ_LOCK_GUARD();
    WITH_QEMU_LOCK_GUARD(&pri->responders_lock) {
        r = responder_find_sid(pri, sid, pasid);
        notifier = r ? r->notifier : NULL;
    }
    trace_vtd_pri_group_response(sid, pasid, prgi, rc, notifier != NULL);
    if (notifier) {
        notify(notifier, prgi, response_code(rc));
    }
    return true;
}

void vtd_pri_drain(IntelIOMMUState *s)
{
    trace_vtd_pri_drain();
    vtd_prq_drain(s->pri->queue);
}

/* ---- Registers ---- */

bool vtd_pri_has_reg(const IntelIOMMUState *s, hwaddr reg)
{
    return reg >= VTD_PRQ_FIRST_REG && reg <= VTD_PRQ_LAST_REG &&
           (s->ecap & VTD_ECAP_PRS);
}

uint64_t vtd_pri_reg_read(IntelIOMMUState *s, hwaddr reg, unsigned size)
{
    send_event(s->pri);
    return vtd_prq_read(s->pri->queue, reg, size);
}

void vtd_pri_reg_write(IntelIOMMUState *s, hwaddr reg, uint64_t val,
                       unsigned size)
{
    vtd_prq_write(s->pri->queue, reg, val, size);
    send_event(s->pri);
}

/* ---- Life ---- */

/* Only now is the state of the APICs what has been loaded */
static void vm_state_changed(void *opaque, bool running, RunState state)
{
    if (running) {
        send_event(opaque);
    }
}

VTDPageRequests *vtd_pri_new(IntelIOMMUState *s)
{
    VTDPageRequests *pri = g_new0(VTDPageRequests, 1);

    pri->s = s;
    pri->queue = vtd_prq_new(s->aw_bits, s->intr_eim == ON_OFF_AUTO_ON,
                             write_descriptor, pri);
    pri->event_bh = qemu_bh_new(event_bh, pri);
    qemu_add_vm_change_state_handler(vm_state_changed, pri);
    qemu_mutex_init(&pri->responders_lock);
    pri->responders = g_hash_table_new_full(g_int64_hash, g_int64_equal,
                                            g_free, g_free);
    return pri;
}

void vtd_pri_reset(VTDPageRequests *pri)
{
    vtd_prq_reset(pri->queue);
}

/* ---- Migration ---- */

/* What this sends is part of the state of the APICs, which is saved later */
static int pri_pre_save(void *opaque)
{
    VTDPageRequests *pri = opaque;

    send_event(pri);
    vtd_prq_save(pri->queue, pri->saved_regs);
    return 0;
}

static int pri_post_load(void *opaque, int version_id)
{
    VTDPageRequests *pri = opaque;

    vtd_prq_load(pri->queue, pri->saved_regs);
    return 0;
}

static const VMStateDescription vmstate_page_requests = {
    .name = "iommu-intel/page-requests",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = pri_pre_save,
    .post_load = pri_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32_ARRAY(saved_regs, VTDPageRequests, VTD_PRQ_WORDS),
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
