/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libqos VT-d driver: page requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * Section numbers are those of the Intel VT-d specification, revision 5.10.
 */

#ifndef LIBQOS_VTD_PRQ_H
#define LIBQOS_VTD_PRQ_H

#include "vtd.h"

/* PASID of requests and responses without PASID */
#define QVTD_NO_PASID UINT32_MAX

/**
 * struct QVtdPrq - the page request queue of a VT-d unit
 * @vtd: the unit
 * @base: guest physical address of the queue
 * @size: size of the queue, in bytes
 */
typedef struct QVtdPrq {
    QVtd *vtd;
    uint64_t base;
    uint32_t size;
} QVtdPrq;

/**
 * struct QVtdPageReq - a page request descriptor (7.4.1.1)
 */
typedef struct QVtdPageReq {
    uint16_t sid;
    uint32_t pasid;             /* or QVTD_NO_PASID */
    uint64_t addr;
    uint16_t prgi;
    bool last;
    bool read;
    bool write;
    bool exec;
    bool priv;
} QVtdPageReq;

/**
 * qvtd_sm_attach_process() - attach the address space of a process
 * @vtd: the driver, which is set to scalable mode
 * @bdf: bus, device and function number
 * @pasid: 1 to 8191; requests with @pasid may be privileged
 * @domain: domain id of both address spaces
 * @root0: set to the first-stage tables of requests without PASID, which are
 *         empty and have 4 levels
 *
 * The function may use ATS, page requests and PASIDs (9.4).
 *
 * Returns: guest physical address of the first-stage tables of @pasid.
 */
uint64_t qvtd_sm_attach_process(QVtd *vtd, uint16_t bdf, uint32_t pasid,
                                uint16_t domain, uint64_t *root0);

/**
 * qvtd_prq_init() - allocate an empty queue and program PQH, PQT and PQA
 * @q: the driver to fill in
 * @vtd: the unit
 * @pqs: the queue has 2^@pqs pages of 4 KiB
 */
void qvtd_prq_init(QVtdPrq *q, QVtd *vtd, unsigned pqs);

/**
 * qvtd_prq_count() - count the descriptors between PQH and PQT
 * @q: the queue
 */
unsigned qvtd_prq_count(QVtdPrq *q);

/**
 * qvtd_prq_next() - remove the descriptor at PQH from the queue
 * @q: the queue; the test fails if it is empty
 * @req: filled in; the test fails if the type is not a page request, or if a
 *       reserved bit is set
 */
void qvtd_prq_next(QVtdPrq *q, QVtdPageReq *req);

/**
 * qvtd_prq_wait() - wait for a descriptor and remove it from the queue
 * @q: the queue
 * @seconds: timeout after which the test fails
 * @req: filled in, as by qvtd_prq_next()
 */
void qvtd_prq_wait(QVtdPrq *q, unsigned seconds, QVtdPageReq *req);

/**
 * qvtd_page_response() - submit a page group response descriptor (7.6.1)
 * @vtd: the unit
 * @sid: source id
 * @pasid: PASID, or QVTD_NO_PASID
 * @prgi: page request group index
 * @code: response code, 0 to 15
 */
void qvtd_page_response(QVtd *vtd, uint16_t sid, uint32_t pasid, uint16_t prgi,
                        unsigned code);

/**
 * qvtd_prq_respond() - respond to a page request group
 * @q: the queue
 * @req: the last request of the group
 * @code: response code, VTD_PAGE_RESP_*
 */
void qvtd_prq_respond(QVtdPrq *q, const QVtdPageReq *req, unsigned code);

/**
 * qvtd_prq_drain() - drain page requests and responses (7.10)
 * @q: the queue
 * @sid: source id
 * @pasid: PASID
 * @did: domain id of the PASID
 *
 * Submits a fence, an IOTLB and a device-TLB invalidation, and a wait
 * descriptor with Page-request Drain, as Linux does.
 */
void qvtd_prq_drain(QVtdPrq *q, uint16_t sid, uint32_t pasid, uint16_t did);

#endif
