/*
 * VT-d: reporting of address translation faults
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "hw/pci/pci_bus.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_fault.h"
#include "trace.h"

#define VTD_FAULT_QUEUE_SIZE    16

typedef struct VTDFaultRecord {
    uint16_t sid;
    uint64_t hi;
    uint64_t lo;
} VTDFaultRecord;

struct VTDFaultQueue {
    IntelIOMMUState *s;
    QEMUBH *bh;
    QemuMutex lock;
    /* Protected by @lock */
    unsigned n;
    VTDFaultRecord record[VTD_FAULT_QUEUE_SIZE];
};

static void vtd_fault_bh(void *opaque)
{
    VTDFaultQueue *queue = opaque;
    VTDFaultRecord record[VTD_FAULT_QUEUE_SIZE];
    unsigned n;

    WITH_QEMU_LOCK_GUARD(&queue->lock) {
        n = queue->n;
        memcpy(record, queue->record, n * sizeof(record[0]));
        queue->n = 0;
    }
    for (unsigned i = 0; i < n; i++) {
        vtd_record_fault(queue->s, record[i].sid, record[i].hi, record[i].lo);
    }
}

VTDFaultQueue *vtd_fault_queue_new(IntelIOMMUState *s)
{
    VTDFaultQueue *queue = g_new0(VTDFaultQueue, 1);

    queue->s = s;
    queue->bh = qemu_bh_new(vtd_fault_bh, queue);
    qemu_mutex_init(&queue->lock);
    return queue;
}

void vtd_fault_queue_clear(VTDFaultQueue *queue)
{
    QEMU_LOCK_GUARD(&queue->lock);
    queue->n = 0;
}

void vtd_fault_log(IntelIOMMUState *s, uint16_t sid, uint64_t hi, uint64_t lo)
{
    VTDFaultQueue *queue = s->fault_queue;

    if (bql_locked()) {
        vtd_record_fault(s, sid, hi, lo);
        return;
    }
    WITH_QEMU_LOCK_GUARD(&queue->lock) {
        if (queue->n == VTD_FAULT_QUEUE_SIZE) {
            trace_vtd_fault_dropped(sid);
            return;
        }
        queue->record[queue->n++] = (VTDFaultRecord) { sid, hi, lo };
    }
    qemu_bh_schedule(queue->bh);
}

/* T1, T2 and AT (11.4.7.6) */
static uint64_t vtd_fault_kind(IntelIOMMUState *s, const VTDFault *fault)
{
    uint64_t hi;

    if (fault->at == VTD_AT_PAGE_REQUEST) {
        return VTD_FRCD_T2;
    }
    hi = fault->is_write ? 0 : VTD_FRCD_T;
    /* Reserved without device-TLBs */
    return s->ecap & VTD_ECAP_DT ? hi | VTD_FRCD_AT(fault->at) : hi;
}

void vtd_fault_report(IntelIOMMUState *s, const VTDFault *fault)
{
    bool has_pasid = fault->pasid != PCI_NO_PASID;
    uint64_t hi = VTD_FRCD_SID(fault->sid) | VTD_FRCD_FR(fault->reason) |
                  vtd_fault_kind(s, fault);

    trace_vtd_dmar_fault(fault->sid, fault->reason, fault->addr,
                         fault->is_write);
    trace_vtd_fault_request(fault->sid, fault->reason, fault->at, fault->pasid,
                            fault->priv, fault->exec);

    /* Reserved without PASIDs (11.4.7.6) */
    if (has_pasid && (s->ecap & VTD_ECAP_PASID)) {
        hi |= VTD_FRCD_PP(1) | VTD_FRCD_PV(fault->pasid);
        hi |= fault->priv ? VTD_FRCD_PRIV : 0;
        hi |= fault->exec ? VTD_FRCD_EXE : 0;
    }
    vtd_fault_log(s, fault->sid, hi, VTD_FRCD_FI(fault->addr));
}
