/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libqos VT-d driver: page requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */

#include "qemu/osdep.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/intel_iommu_prq.h"
#include "malloc-zeroed.h"
#include "vtd-prq.h"

#define PAGE_SIZE_4K 0x1000u

/* Address of a device-TLB invalidation of the whole address space */
#define ALL_ADDRESSES 0x7ffffffffffff000ULL

/* Supervisor Request Enable, in the third quadword of a PASID entry (9.6) */
#define PE2_SRE 1ULL

uint64_t qvtd_sm_attach_process(QVtd *vtd, uint16_t bdf, uint32_t pasid,
                                uint16_t domain, uint64_t *root0)
{
    const uint64_t pe0 = VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT;
    const uint64_t pe1 = domain | VTD_SM_PASID_ENTRY_PWSNP;
    uint64_t dir, root = qvtd_new_table(vtd);

    *root0 = qvtd_new_table(vtd);
    vtd->scalable = true;
    dir = qvtd_sm_attach(vtd, bdf, VTD_SM_CONTEXT_ENTRY_DTE |
                         VTD_SM_CONTEXT_ENTRY_PASIDE |
                         VTD_SM_CONTEXT_ENTRY_PRE, 0);
    qvtd_sm_pasid(vtd, dir, 0, pe0, pe1, *root0);
    qvtd_sm_pasid(vtd, dir, pasid, pe0, pe1, root | PE2_SRE);
    return root;
}

void qvtd_prq_init(QVtdPrq *q, QVtd *vtd, unsigned pqs)
{
    QTestState *qts = vtd->qts;

    q->vtd = vtd;
    q->size = PAGE_SIZE_4K << pqs;
    q->base = guest_alloc_zeroed(vtd->alloc, qts, q->size);
    qvtd_writeq(qts, DMAR_PQH_REG, 0);
    qvtd_writeq(qts, DMAR_PQT_REG, 0);
    qvtd_writeq(qts, DMAR_PQA_REG, q->base | pqs);
}

unsigned qvtd_prq_count(QVtdPrq *q)
{
    uint64_t head = qvtd_readq(q->vtd->qts, DMAR_PQH_REG);
    uint64_t tail = qvtd_readq(q->vtd->qts, DMAR_PQT_REG);

    return ((tail - head) & (q->size - 1)) / VTD_PRQ_DESC_SIZE;
}

void qvtd_prq_next(QVtdPrq *q, QVtdPageReq *req)
{
    QTestState *qts = q->vtd->qts;
    uint64_t head = qvtd_readq(qts, DMAR_PQH_REG);
    uint64_t d[VTD_PRQ_DESC_QUADS];

    g_assert_cmpuint(qvtd_prq_count(q), >, 0);
    for (unsigned i = 0; i < VTD_PRQ_DESC_QUADS; i++) {
        d[i] = qtest_readq(qts, q->base + head + i * 8);
    }
    qvtd_writeq(qts, DMAR_PQH_REG,
                (head + VTD_PRQ_DESC_SIZE) & (q->size - 1));

    /* RsvdZ bits, and fields that are undefined without PASID */
    g_assert_cmphex(d[0] & 0xffc000000000fe00ULL, ==, 0);
    g_assert_cmphex(d[0] & 0xff, ==, 1);
    g_assert_cmphex(d[2], ==, 0);
    g_assert_cmphex(d[3], ==, 0);
    *req = (QVtdPageReq) {
        .sid = extract64(d[0], 16, 16),
        .pasid = extract64(d[0], 8, 1) ? extract64(d[0], 32, 20) :
                                         QVTD_NO_PASID,
        .exec = extract64(d[0], 52, 1),
        .priv = extract64(d[0], 53, 1),
        .read = extract64(d[1], 0, 1),
        .write = extract64(d[1], 1, 1),
        .last = extract64(d[1], 2, 1),
        .prgi = extract64(d[1], 3, 9),
        .addr = d[1] & ~0xfffULL,
    };
}

void qvtd_prq_wait(QVtdPrq *q, unsigned seconds, QVtdPageReq *req)
{
    int64_t end = g_get_monotonic_time() + seconds * G_USEC_PER_SEC;

    while (!qvtd_prq_count(q)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(100);
    }
    qvtd_prq_next(q, req);
}

void qvtd_page_response(QVtd *vtd, uint16_t sid, uint32_t pasid, uint16_t prgi,
                        unsigned code)
{
    uint64_t lo = VTD_INV_DESC_PAGE_RESPONSE |
                  (uint64_t)code << 12 | (uint64_t)sid << 16;

    if (pasid != QVTD_NO_PASID) {
        lo |= VTD_INV_DESC_PAGE_RESP_PP | (uint64_t)pasid << 32;
    }
    qvtd_submit(vtd, lo, (uint64_t)prgi << 3);
}

void qvtd_prq_respond(QVtdPrq *q, const QVtdPageReq *req, unsigned code)
{
    qvtd_page_response(q->vtd, req->sid, req->pasid, req->prgi, code);
}

void qvtd_prq_drain(QVtdPrq *q, uint16_t sid, uint32_t pasid, uint16_t did)
{
    QVtd *vtd = q->vtd;

    vtd->seq++;
    qvtd_submit_nowait(vtd, VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_FN, 0);
    qvtd_submit_nowait(vtd, VTD_INV_DESC_PIOTLB |
                            VTD_INV_DESC_PIOTLB_ALL_IN_PASID |
                            (uint64_t)did << 16 | (uint64_t)pasid << 32, 0);
    qvtd_submit_nowait(vtd, VTD_INV_DESC_DEV_PIOTLB | (uint64_t)sid << 16 |
                            (uint64_t)pasid << 32, ALL_ADDRESSES | 1 << 11);
    qvtd_submit_nowait(vtd, VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_PD |
                            VTD_INV_DESC_WAIT_SW |
                            (uint64_t)vtd->seq << VTD_INV_DESC_WAIT_DATA_SHIFT,
                       vtd->status);
    g_assert_cmpuint(qtest_readl(vtd->qts, vtd->status), ==, vtd->seq);
}
