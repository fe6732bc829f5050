/*
 * PCI Express: Page Request extended capability
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * This file implements the registers, and requests.  The groups are in the
 * ledger, see pcie_pri_group.h; pcie_pri_listener.c receives responses.
 *
 * Requests and responses come from any thread, while the BQL protects
 * configuration space.  Therefore the status register is kept in PCIEPRIState,
 * protected by its lock, and is copied to configuration space before that is
 * read or saved.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pci_bus.h"
#include "pci-internal.h"
#include "pcie_pri_internal.h"
#include "trace.h"

#define PRI_STATUS_RW1C (PCI_PRI_STATUS_RF | PCI_PRI_STATUS_UPRGI)

/* ---- Registers (PCIe 5.0, 10.5.2) ---- */

void pcie_pri_init(PCIDevice *dev, uint16_t offset,
                   uint32_t outstanding_pr_cap, bool prg_response_pasid_req)
{
    PCIEPRIState *pri = g_new0(PCIEPRIState, 1);

    pcie_add_capability(dev, PCI_EXT_CAP_ID_PRI, PCI_PRI_VER, offset,
                        PCI_EXT_CAP_PRI_SIZEOF);
    dev->exp.pri_cap = offset;
    dev->exp.pri = pri;
    pri->dev = dev;

    qemu_mutex_init(&pri->registration);
    qemu_mutex_init(&pri->lock);
    qemu_cond_init(&pri->idle);
    pri->listeners = g_hash_table_new(NULL, NULL);
    pri_ledger_init(&pri->ledger);
    pri->response_pasid = prg_response_pasid_req;
    pri->status = prg_response_pasid_req ? PCI_PRI_STATUS_PASID : 0;
    pcie_pri_update(pri);

    pcie_pri_sync_config(dev);
    pci_set_long(dev->config + offset + PCI_PRI_MAX_REQ, outstanding_pr_cap);

    /* Reset is writable so that pcie_pri_write_config() sees it; it reads 0. */
    pci_set_word(dev->wmask + offset + PCI_PRI_CTRL,
                 PCI_PRI_CTRL_ENABLE | PCI_PRI_CTRL_RESET);
    pci_set_word(dev->w1cmask + offset + PCI_PRI_STATUS, PRI_STATUS_RW1C);
    pci_set_long(dev->wmask + offset + PCI_PRI_ALLOC_REQ, UINT32_MAX);
    /* Stopped changes by itself, so that a stream may have either value. */
    pci_word_test_and_clear_mask(dev->cmask + offset + PCI_PRI_STATUS,
                                 PCI_PRI_STATUS_STOPPED);
}

void pcie_pri_sync_config(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;

    if (pri) {
        QEMU_LOCK_GUARD(&pri->lock);
        pci_set_word(dev->config + dev->exp.pri_cap + PCI_PRI_STATUS,
                     pri->status);
    }
}

bool pcie_pri_enabled(const PCIDevice *dev)
{
    return dev->exp.pri && qatomic_read(&dev->exp.pri->enabled);
}

uint32_t pcie_pri_get_req_alloc(const PCIDevice *dev)
{
    return dev->exp.pri ? qatomic_read(&dev->exp.pri->req_alloc) : 0;
}

/*
 * Read the allocation.  The register keeps the value that the guest writes,
 * but the function can use at most its capacity (10.5.2.4).  Called with @lock
 * held.
 */
static void pri_load_req_alloc(PCIDevice *dev)
{
    const uint8_t *cap = dev->config + dev->exp.pri_cap;

    qatomic_set(&dev->exp.pri->req_alloc,
                MIN(pci_get_long(cap + PCI_PRI_ALLOC_REQ),
                    pci_get_long(cap + PCI_PRI_MAX_REQ)));
}

uint32_t pcie_pri_outstanding(const PCIDevice *dev)
{
    return dev->exp.pri ? qatomic_read(&dev->exp.pri->ledger.outstanding) : 0;
}

bool pcie_pri_prg_response_has_pasid(const PCIDevice *dev)
{
    return dev->exp.pri && dev->exp.pri->response_pasid;
}

static void pri_set_status(PCIDevice *dev, uint16_t bit)
{
    PCIEPRIState *pri = dev->exp.pri;

    QEMU_LOCK_GUARD(&pri->lock);
    pri->status |= bit;
    pcie_pri_update(pri);
}

void pcie_pri_response_failed(PCIDevice *dev)
{
    pri_set_status(dev, PCI_PRI_STATUS_RF);
}

void pcie_pri_unexpected_prgi(PCIDevice *dev)
{
    pri_set_status(dev, PCI_PRI_STATUS_UPRGI);
}

/* Called with @lock held */
static void pri_set_enable(PCIEPRIState *pri, bool enable)
{
    if (enable && !pri->enable) {
        /* Enabling clears the status flags (10.5.2.2). */
        pri->status &= ~(PRI_STATUS_RW1C | PCI_PRI_STATUS_STOPPED);
    }
    pri->enable = enable;
    pcie_pri_update(pri);
}

static void pri_write_control(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    uint8_t *reg = dev->config + dev->exp.pri_cap + PCI_PRI_CTRL;
    uint16_t ctrl = pci_get_word(reg);

    pci_set_word(reg, ctrl & ~PCI_PRI_CTRL_RESET);
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        pri_set_enable(pri, ctrl & PCI_PRI_CTRL_ENABLE);
    }
    /*
     * Reset is honoured if Enable is clear or is being cleared by the same
     * write (10.5.2.2).
     */
    if ((ctrl & PCI_PRI_CTRL_RESET) && !(ctrl & PCI_PRI_CTRL_ENABLE)) {
        trace_pcie_pri_reset(dev->name, dev->devfn);
        pcie_pri_drop_groups(dev);
    }
}

void pcie_pri_write_config(PCIDevice *dev, uint32_t addr, uint32_t val,
                           int len)
{
    PCIEPRIState *pri = dev->exp.pri;
    uint16_t cap = dev->exp.pri_cap;
    int i;

    if (!pri || !ranges_overlap(addr, len, cap, PCI_EXT_CAP_PRI_SIZEOF)) {
        return;
    }
    for (i = 0; i < len; i++) {
        /* Both RW1C bits are in the low byte of the status register */
        if (addr + i == cap + PCI_PRI_STATUS) {
            QEMU_LOCK_GUARD(&pri->lock);
            pri->status &= ~((val >> (8 * i)) & PRI_STATUS_RW1C);
            pcie_pri_update(pri);
        }
    }
    if (range_covers_byte(addr, len, cap + PCI_PRI_CTRL)) {
        pri_write_control(dev);
    }
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        pri_load_req_alloc(dev);
    }
    pcie_pri_sync_config(dev);
}

void pcie_pri_reset(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    uint16_t cap = dev->exp.pri_cap;

    if (!pri) {
        return;
    }
    pci_set_word(dev->config + cap + PCI_PRI_CTRL, 0);
    pci_set_long(dev->config + cap + PCI_PRI_ALLOC_REQ, 0);
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        qatomic_set(&pri->req_alloc, 0);
        pri->status &= ~PRI_STATUS_RW1C;
        pri_set_enable(pri, false);
    }
    pcie_pri_drop_groups(dev);
    pcie_pri_sync_config(dev);
}

void pcie_pri_post_load(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;
    uint8_t *cap = dev->config + dev->exp.pri_cap;

    if (!pri) {
        return;
    }
    /* Reads as 0 always */
    pci_word_test_and_clear_mask(cap + PCI_PRI_CTRL, PCI_PRI_CTRL_RESET);
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        pri->enable = pci_get_word(cap + PCI_PRI_CTRL) & PCI_PRI_CTRL_ENABLE;
        pri->status = pci_get_word(cap + PCI_PRI_STATUS);
        pri_load_req_alloc(dev);
        pcie_pri_update(pri);
    }
    pcie_pri_listen_for_groups(dev);
}

static void pri_free(PCIEPRIState *pri)
{
    pri_ledger_destroy(&pri->ledger);
    g_hash_table_destroy(pri->listeners);
    qemu_cond_destroy(&pri->idle);
    qemu_mutex_destroy(&pri->lock);
    qemu_mutex_destroy(&pri->registration);
    g_free(pri->saved_groups);
    g_free(pri);
}

void pcie_pri_exit(PCIDevice *dev)
{
    PCIEPRIState *pri = dev->exp.pri;

    if (!pri) {
        return;
    }
    WITH_QEMU_LOCK_GUARD(&pri->lock) {
        pcie_pri_discard_groups(pri);
    }
    pcie_pri_release_listeners(dev);
    /* The device model has to unregister its notifiers first. */
    assert(!g_hash_table_size(pri->listeners));
    dev->exp.pri = NULL;
    /* pri_call() may still access @pri to report the end of a call. */
    call_rcu(pri, pri_free, rcu);
}

/* ---- Requests (PCIe 5.0, 10.4.1) ---- */

/* A page request */
typedef struct PRIRequest {
    uint32_t pasid;
    bool priv_req;
    bool exec_req;
    bool last;
    bool reserved;              /* @ref is a reserved group */
    bool is_read;
    bool is_write;
    PRIGroupRef ref;            /* if not @reserved, @ref.prgi only */
} PRIRequest;

/* Find the listener of a PASID with a user.  Called with @lock held. */
static PRIListener *pri_find_user(PCIEPRIState *pri, uint32_t pasid)
{
    PRIListener *listener = pcie_pri_find_listener(pri, pasid);

    return listener && listener->user ? listener : NULL;
}

/* Account for a request before it is sent */
static int pri_account(PCIEPRIState *pri, PRIRequest *rq)
{
    PRIListener *listener;
    int ret;

    QEMU_LOCK_GUARD(&pri->lock);
    /* The guest may have disabled PRI since the check without @lock. */
    if (!pri->enabled) {
        return -EPERM;
    }
    listener = pri_find_user(pri, rq->pasid);
    if (!listener) {
        return -EINVAL;
    }
    if (rq->reserved) {
        ret = pri_ledger_send_reserved(&pri->ledger, &listener->groups,
                                       &rq->ref, rq->last) ? 0 : -EAGAIN;
    } else {
        ret = pri_ledger_send(&pri->ledger, &listener->groups, rq->ref.prgi,
                              rq->last, pri->req_alloc, &rq->ref);
    }
    if (!ret) {
        pri->stats.requests++;
        listener->stats.requests++;
    }
    return ret;
}

static void pri_count_refused(PCIEPRIStats *stats, int error)
{
    if (error == -ENOSPC) {
        stats->overflows++;
    } else {
        stats->refused++;
    }
}

/*
 * Undo pri_account() for a request that was not sent.  Returns false if its
 * group has ended meanwhile.
 */
static bool pri_undo(PCIEPRIState *pri, const PRIRequest *rq, int error)
{
    PRIListener *listener;
    bool undone;

    QEMU_LOCK_GUARD(&pri->lock);
    pri_count_refused(&pri->stats, error);
    listener = pcie_pri_find_listener(pri, rq->pasid);
    if (!listener) {
        return false;
    }
    pri_count_refused(&listener->stats, error);
    undone = pri_ledger_undo(&pri->ledger, &listener->groups, &rq->ref,
                             rq->last);
    pcie_pri_check_idle(pri, listener);
    pcie_pri_update(pri);
    return undone;
}

static int pri_request_check(const PCIDevice *dev, const PRIRequest *rq)
{
    int ret;

    if (!pcie_bus_master_enabled(dev) || !pcie_pri_enabled(dev)) {
        return -EPERM;
    }
    ret = pci_iommu_check_pasid(dev, rq->pasid, rq->priv_req, rq->exec_req);
    if (ret) {
        return ret;
    }
    if (rq->ref.prgi > PCI_PRGI_MAX) {
        return -EINVAL;
    }
    /* A Stop Marker has L set, R and W clear, and a PASID (10.4.1.2.1) */
    if (!rq->is_read && !rq->is_write &&
        (!rq->last || rq->pasid == PCI_NO_PASID)) {
        return -EINVAL;
    }
    return pcie_pri_ops(dev) ? 0 : -ENODEV;
}

static int pri_request_page(PCIDevice *dev, PRIRequest *rq, hwaddr addr)
{
    const PCIIOMMUBinding *b = &dev->iommu;
    bool has_response = rq->is_read || rq->is_write;
    int ret = pri_request_check(dev, rq);

    if (!ret && has_response) {
        ret = pri_account(dev->exp.pri, rq);
    }
    if (!ret) {
        ret = b->ops->pri_request_page(b->bus, b->opaque, b->devfn, rq->pasid,
                                       rq->priv_req, rq->exec_req, addr,
                                       rq->last, rq->ref.prgi, rq->is_read,
                                       rq->is_write);
        if (ret && has_response) {
            ret = pri_undo(dev->exp.pri, rq, ret) ? ret : 0;
            pcie_pri_release_listeners(dev);
        }
    }
    trace_pci_pri_request_page(dev->name, dev->devfn, rq->pasid, rq->priv_req,
                               rq->exec_req, addr, rq->last, rq->ref.prgi,
                               IOMMU_ACCESS_FLAG(rq->is_read, rq->is_write),
                               ret);
    return ret;
}

int pci_pri_request_page(PCIDevice *dev, uint32_t pasid, bool priv_req,
                         bool exec_req, hwaddr addr, bool lpig,
                         uint16_t prgi, bool is_read, bool is_write)
{
    PRIRequest rq = {
        .pasid = pasid,
        .priv_req = priv_req,
        .exec_req = exec_req,
        .last = lpig,
        .ref.prgi = prgi,
        .is_read = is_read,
        .is_write = is_write,
    };

    return pri_request_page(dev, &rq, addr);
}

/* ---- Groups with reserved indices ---- */

int pcie_pri_send(PCIDevice *dev, uint32_t pasid, bool priv_req, bool exec_req,
                  hwaddr addr, bool last, const PRIGroupRef *ref,
                  bool is_write)
{
    PRIRequest rq = {
        .pasid = pasid,
        .priv_req = priv_req,
        .exec_req = exec_req,
        .last = last,
        .reserved = true,
        .ref = *ref,
        .is_read = !is_write,
        .is_write = is_write,
    };

    return pri_request_page(dev, &rq, addr);
}

bool pcie_pri_reserve(PCIDevice *dev, uint32_t pasid, void *owner, uint32_t *n,
                      PRIGroupRef *ref)
{
    PCIEPRIState *pri = dev->exp.pri;
    PRIListener *listener;

    QEMU_LOCK_GUARD(&pri->lock);
    listener = pri_find_user(pri, pasid);
    return listener && pri_ledger_reserve(&pri->ledger, &listener->groups,
                                          pri->req_alloc, owner, n, ref);
}

void pcie_pri_keep_last(PCIDevice *dev, uint32_t pasid, const PRIGroupRef *ref)
{
    PCIEPRIState *pri = dev->exp.pri;
    PRIListener *listener;

    QEMU_LOCK_GUARD(&pri->lock);
    listener = pri_find_user(pri, pasid);
    if (listener) {
        pri_ledger_keep_last(&pri->ledger, &listener->groups, ref);
    }
}

bool pcie_pri_abandon(PCIDevice *dev, uint32_t pasid, const PRIGroupRef *ref)
{
    PCIEPRIState *pri = dev->exp.pri;
    PRIListener *listener;
    bool abandoned;

    QEMU_LOCK_GUARD(&pri->lock);
    listener = pri_find_user(pri, pasid);
    abandoned = listener && pri_ledger_abandon(&pri->ledger, &listener->groups,
                                               ref);
    pcie_pri_update(pri);
    return abandoned;
}

uint32_t pcie_pri_get_resets(const PCIDevice *dev)
{
    return dev->exp.pri ? qatomic_read(&dev->exp.pri->resets) : 0;
}

uint32_t pcie_pri_get_room(const PCIDevice *dev)
{
    const PCIEPRIState *pri = dev->exp.pri;
    uint64_t used, alloc;

    if (!pri) {
        return 0;
    }
    used = (uint64_t)qatomic_read(&pri->ledger.outstanding) +
           qatomic_read(&pri->ledger.kept);
    alloc = qatomic_read(&pri->req_alloc);
    return alloc - MIN(alloc, used);
}

/* ---- Query ---- */

void pcie_pri_get_stats(PCIDevice *dev, PCIEPRIStats *stats)
{
    PCIEPRIState *pri = dev->exp.pri;

    QEMU_LOCK_GUARD(&pri->lock);
    *stats = pri->stats;
    stats->groups_open = pri->ledger.num_groups -
                         pri->ledger.num[PRI_GROUP_RESERVED];
}

void pcie_pri_foreach_pasid(PCIDevice *dev, PCIEPRIPasidFn *fn, void *opaque)
{
    PCIEPRIState *pri = dev->exp.pri;
    GHashTableIter iter;
    gpointer value;

    QEMU_LOCK_GUARD(&pri->lock);
    g_hash_table_iter_init(&iter, pri->listeners);
    while (g_hash_table_iter_next(&iter, NULL, &value)) {
        const PRIListener *listener = value;
        PCIEPRIStats stats = listener->stats;

        if (listener->user) {
            stats.groups_open = listener->groups.num_groups -
                                listener->groups.num[PRI_GROUP_RESERVED];
            fn(listener->groups.pasid, &stats, opaque);
        }
    }
}

bool pcie_pri_has_loaded_groups(const PCIDevice *dev, uint32_t pasid)
{
    PCIEPRIState *pri = dev->exp.pri;
    const PRIListener *listener;

    if (!pri || !qatomic_read(&pri->ledger.num[PRI_GROUP_LOADED])) {
        return false;
    }
    QEMU_LOCK_GUARD(&pri->lock);
    listener = pcie_pri_find_listener(pri, pasid);
    return listener && listener->groups.num[PRI_GROUP_LOADED];
}

bool pcie_pri_has_to_settle(PCIDevice *dev, uint32_t pasid)
{
    PCIEPRIState *pri = dev->exp.pri;
    const PRIListener *listener;

    if (!pri || (!qatomic_read(&pri->ledger.num[PRI_GROUP_LOADED]) &&
                 !qatomic_read(&pri->ledger.num[PRI_GROUP_ABANDONED]))) {
        return false;
    }
    QEMU_LOCK_GUARD(&pri->lock);
    listener = pcie_pri_find_listener(pri, pasid);
    return listener && (listener->groups.num[PRI_GROUP_LOADED] ||
                        listener->groups.num[PRI_GROUP_ABANDONED]);
}

bool pcie_pri_is_busy(PCIDevice *dev, uint32_t pasid)
{
    PCIEPRIState *pri = dev->exp.pri;
    const PRIListener *listener;

    if (!pri) {
        return false;
    }
    QEMU_LOCK_GUARD(&pri->lock);
    listener = pcie_pri_find_listener(pri, pasid);
    return listener && (listener->groups.num_groups || listener->due ||
                        qatomic_read(&listener->running));
}
