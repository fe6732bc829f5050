/*
 * Intel Data Streaming Accelerator (DSA): enable checks (5.1, 5.2)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/pci/pcie_ats.h"
#include "hw/pci/pcie_pri.h"
#include "dsa-internal.h"

/* Minimum number of Read Buffers per engine (4.3) */
#define READ_BUFFERS_PER_ENGINE 4

/* ---- Device Enable Checks (5.1) ---- */

static DSACommandError check_sizes(DSAState *s)
{
    unsigned i, sum = 0;

    for (i = 0; i < s->num_wqs; i++) {
        sum += DSA_WQ_FIELD(&s->wqs[i], 0, SIZE);
    }
    return sum > s->total_wq_size ? DSA_CMDERR_WQ_SIZES : 0;
}

static DSACommandError check_groups(DSAState *s)
{
    uint64_t valid_wqs = MAKE_64BIT_MASK(0, s->num_wqs);
    uint64_t valid_engines = MAKE_64BIT_MASK(0, s->num_engines);
    uint64_t wqs = 0, engines = 0, active = 0;
    unsigned i;

    for (i = 0; i < s->num_groups; i++) {
        const DSAGroup *group = &s->groups[i];

        if ((group->wqs[0] & ~valid_wqs) || (group->wqs[0] & wqs) ||
            group->wqs[1] || group->wqs[2] || group->wqs[3]) {
            return DSA_CMDERR_GROUP_WQS;
        }
        if ((group->engines & ~valid_engines) || (group->engines & engines)) {
            return DSA_CMDERR_GROUP_ENGINES;
        }
        if (!group->wqs[0] != !group->engines) {
            return DSA_CMDERR_GROUP;
        }
        wqs |= group->wqs[0];
        engines |= group->engines;
    }
    for (i = 0; i < s->num_wqs; i++) {
        if (DSA_WQ_FIELD(&s->wqs[i], 0, SIZE)) {
            active |= 1ULL << i;
        }
    }
    return wqs != active ? DSA_CMDERR_GROUP_WQS : 0;
}

static DSACommandError check_read_buffers(DSAState *s)
{
    unsigned limit = FIELD_EX32(s->gencfg, DSA_GENCFG,
                                GLOBAL_READ_BUFFER_LIMIT);
    unsigned reserved = 0, limited = 0;
    unsigned i;

    for (i = 0; i < s->num_groups; i++) {
        const DSAGroup *group = &s->groups[i];

        if (group->engines) {
            reserved += FIELD_EX64(group->flags, DSA_GRPFLAGS,
                                   READ_BUFFERS_RESERVED);
        }
        if (FIELD_EX64(group->flags, DSA_GRPFLAGS, USE_READ_BUFFER_LIMIT)) {
            limited += ctpop64(group->engines) * READ_BUFFERS_PER_ENGINE;
        }
    }
    if (reserved > DSA_READ_BUFFERS || limit > DSA_READ_BUFFERS ||
        limit < limited) {
        return DSA_CMDERR_READ_BUFFERS;
    }
    for (i = 0; i < s->num_groups; i++) {
        const DSAGroup *group = &s->groups[i];
        unsigned own = FIELD_EX64(group->flags, DSA_GRPFLAGS,
                                  READ_BUFFERS_RESERVED);
        unsigned allowed = FIELD_EX64(group->flags, DSA_GRPFLAGS,
                                      READ_BUFFERS_ALLOWED);

        if (group->engines &&
            (allowed < ctpop64(group->engines) * READ_BUFFERS_PER_ENGINE ||
             allowed < own ||
             allowed > own + (DSA_READ_BUFFERS - reserved))) {
            return DSA_CMDERR_READ_BUFFERS;
        }
    }
    return DSA_CMDERR_SUCCESS;
}

DSACommandError dsa_enable_check_groups(DSAState *s)
{
    return check_sizes(s) ?: check_groups(s);
}

/* Reads the register, as pcie_pri_get_req_alloc() never exceeds the capacity */
static bool check_allocation(const DSAState *s)
{
    const PCIDevice *pci = &s->parent_obj;
    uint32_t alloc = pci_get_long(pci->config + pci->exp.pri_cap +
                                  PCI_PRI_ALLOC_REQ);

    return alloc && alloc <= s->pri_capacity;
}

DSACommandError dsa_enable_check_device(DSAState *s)
{
    const PCIDevice *pci = PCI_DEVICE(s);

    if (s->state != DSA_DISABLED) {
        return DSA_CMDERR_DEVICE_NOT_DISABLED;
    }
    if (!pcie_bus_master_enabled(pci)) {
        return DSA_CMDERR_BUS_MASTER;
    }
    if (pcie_pri_enabled(pci) && !check_allocation(s)) {
        return DSA_CMDERR_PRSREQALLOC;
    }
    return dsa_enable_check_groups(s) ?: check_read_buffers(s) ?:
           dsa_event_log_check(s);
}

void dsa_enable_assign_groups(DSAState *s)
{
    unsigned i, j;

    for (i = 0; i < s->num_engines; i++) {
        s->engines[i].group = -1;
    }
    for (i = 0; i < s->num_groups; i++) {
        for (j = 0; j < s->num_engines; j++) {
            if (extract64(s->groups[i].engines, j, 1)) {
                s->engines[j].group = i;
            }
        }
        for (j = 0; j < s->num_wqs; j++) {
            if (extract64(s->groups[i].wqs[0], j, 1)) {
                s->wqs[j].group = i;
                s->wqs[j].credit = 0;
            }
        }
    }
}

/* ---- WQ Enable Checks (5.2) ---- */

static DSACommandError check_wq_pasid(DSAState *s, const DSAWQ *wq)
{
    const PCIDevice *pci = PCI_DEVICE(s);
    bool dedicated = DSA_WQ_FIELD(wq, 1, MODE) == DSA_WQ_DEDICATED;
    bool pasid_en = DSA_WQ_FIELD(wq, 1, PASID_EN);

    if ((!dedicated && !pasid_en) || (pasid_en && !pcie_pasid_enabled(pci))) {
        return DSA_CMDERR_WQ_PASID;
    }
    if (dedicated && pasid_en && DSA_WQ_FIELD(wq, 1, PRIV) &&
        !pcie_pasid_priv_enabled(pci)) {
        return DSA_CMDERR_WQ_PRIV;
    }
    return DSA_CMDERR_SUCCESS;
}

DSACommandError dsa_enable_check_wq(DSAState *s, unsigned index)
{
    const DSAWQ *wq = &s->wqs[index];

    if (s->state != DSA_ENABLED) {
        return DSA_CMDERR_DEVICE_NOT_ENABLED;
    }
    if (wq->state != DSA_DISABLED) {
        return DSA_CMDERR_WQ_NOT_DISABLED;
    }
    if (!DSA_WQ_FIELD(wq, 0, SIZE)) {
        return DSA_CMDERR_WQ_SIZE;
    }
    if (!DSA_WQ_FIELD(wq, 1, PRIORITY)) {
        return DSA_CMDERR_WQ_PRIORITY;
    }
    if (DSA_WQ_FIELD(wq, 1, BLOCK_ON_FAULT) &&
        !pcie_pri_enabled(PCI_DEVICE(s))) {
        return DSA_CMDERR_WQ_BLOCK_ON_FAULT;
    }
    if (!DSA_WQ_FIELD(wq, 1, MAX_BATCH) ||
        DSA_WQ_FIELD(wq, 1, MAX_BATCH) > DSA_MAX_BATCH) {
        return DSA_CMDERR_WQ_MAX_BATCH;
    }
    if (DSA_WQ_FIELD(wq, 1, ATS_DISABLE)) {
        return DSA_CMDERR_WQ_ATS;
    }
    if (DSA_WQ_FIELD(wq, 1, PRS_DISABLE) &&
        (!dsa_event_log_enabled(s) || DSA_WQ_FIELD(wq, 1, BLOCK_ON_FAULT))) {
        return DSA_CMDERR_WQ_PRS;
    }
    if (DSA_WQ_FIELD(wq, 2, OCC_INT_TABLE) ||
        (DSA_WQ_FIELD(wq, 2, OCC_INT_EN) &&
         !dsa_int_handle_valid(s, DSA_WQ_FIELD(wq, 2, OCC_INT_HANDLE)))) {
        return DSA_CMDERR_WQ_OCC_INT;
    }
    return check_wq_pasid(s, wq);
}
