/*
 * A guest that responds to page requests in a thread of its own
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "hw/pci/pcie_pri_requester.h"
#include "fake-ats-guest.h"

FakeGuest guest;

#define MAX_PASIDS      512

/* Of the function, under @lock of the guest */
static IOMMUPRINotifier *pri_notifiers[MAX_PASIDS];
static PRILedger ledger;
static PRIPasid ledger_pasids[MAX_PASIDS];
static uint32_t resets;

/* Of the guest, under its @lock */
static QemuThread thread;
static QemuCond arrived;
static unsigned queue_head, queue_tail;
static bool holding;
static bool stopping;
/* The thread is in a notifier, of this PASID */
static bool responding;
static uint32_t responding_pasid;
static QemuCond responded;

/* Groups that the guest refuses, by PRG index; only its thread uses it */
static bool refused[PCI_PRGI_MAX + 1];

/* ---- Page Request capability ---- */

int pcie_pri_register(PCIDevice *dev, uint32_t pasid,
                      IOMMUPRINotifier *notifier)
{
    QEMU_LOCK_GUARD(&guest.lock);
    assert(!pri_notifiers[pasid]);
    pri_notifiers[pasid] = notifier;
    return 0;
}

void pci_pri_unregister_notifier(PCIDevice *dev, uint32_t pasid)
{
    QEMU_LOCK_GUARD(&guest.lock);
    pri_notifiers[pasid] = NULL;
    pri_ledger_abandon_all(&ledger, &ledger_pasids[pasid]);
    /* Wait for a call in progress, unless this thread is in the call. */
    while (responding && !qemu_thread_is_self(&thread)) {
        qemu_cond_wait(&responded, &guest.lock);
    }
}

bool pcie_pri_reserve(PCIDevice *dev, uint32_t pasid, void *owner, uint32_t *n,
                      PRIGroupRef *ref)
{
    assert(!qatomic_read(&fake.gone));
    QEMU_LOCK_GUARD(&guest.lock);
    assert(pri_notifiers[pasid]);
    return pri_ledger_reserve(&ledger, &ledger_pasids[pasid], fake.allocation,
                              owner, n, ref);
}

void pcie_pri_keep_last(PCIDevice *dev, uint32_t pasid, const PRIGroupRef *ref)
{
    assert(!qatomic_read(&fake.gone));
    QEMU_LOCK_GUARD(&guest.lock);
    pri_ledger_keep_last(&ledger, &ledger_pasids[pasid], ref);
}

bool pcie_pri_abandon(PCIDevice *dev, uint32_t pasid, const PRIGroupRef *ref)
{
    assert(!qatomic_read(&fake.gone));
    QEMU_LOCK_GUARD(&guest.lock);
    return pri_ledger_abandon(&ledger, &ledger_pasids[pasid], ref);
}

uint32_t pcie_pri_get_resets(const PCIDevice *dev)
{
    return qatomic_read(&resets);
}

uint32_t pcie_pri_get_room(const PCIDevice *dev)
{
    uint64_t used;

    QEMU_LOCK_GUARD(&guest.lock);
    used = (uint64_t)ledger.outstanding + ledger.kept;
    return fake.allocation - MIN(fake.allocation, used);
}

bool pcie_pri_is_busy(PCIDevice *dev, uint32_t pasid)
{
    QEMU_LOCK_GUARD(&guest.lock);
    return ledger_pasids[pasid].num_groups ||
           (responding && responding_pasid == pasid);
}

bool pcie_pri_has_to_settle(PCIDevice *dev, uint32_t pasid)
{
    assert(!qatomic_read(&fake.gone));
    QEMU_LOCK_GUARD(&guest.lock);
    return (pasid == 1 && qatomic_read(&fake.loaded_groups)) ||
           ledger_pasids[pasid].num[PRI_GROUP_ABANDONED];
}

/* For pci_ats_dma_flood() only, which these tests do not cover */
int pci_pri_request_page(PCIDevice *dev, uint32_t pasid, bool priv_req,
                         bool exec_req, hwaddr addr, bool lpig, uint16_t prgi,
                         bool is_read, bool is_write)
{
    g_assert_not_reached();
}

int pcie_pri_send(PCIDevice *dev, uint32_t pasid, bool priv_req, bool exec_req,
                  hwaddr addr, bool last, const PRIGroupRef *ref,
                  bool is_write)
{
    assert(!qatomic_read(&fake.gone));
    QEMU_LOCK_GUARD(&guest.lock);
    if (guest.accepted) {
        guest.accepted--;
    } else if (guest.refuse) {
        guest.refuse--;
        return -ENOSPC;
    }
    if (!pri_ledger_send_reserved(&ledger, &ledger_pasids[pasid], ref, last)) {
        return -EAGAIN;
    }
    if (qatomic_fetch_inc(&guest.requests_seen) == 1 && guest.set_in_group) {
        qatomic_set(guest.set_in_group, true);
    }
    if ((addr - IOVA) / PAGE != guest.ignored_page) {
        guest.queue[queue_tail++ % ARRAY_SIZE(guest.queue)] = (PageRequest) {
            pasid, addr, ref->prgi, is_write, last
        };
        guest.most_unanswered = MAX(guest.most_unanswered, ++guest.unanswered);
        qemu_cond_signal(&arrived);
    } else {
        guest.ignored_prgi = ref->prgi;
    }
    return 0;
}

void deliver(uint32_t pasid, const IOMMUPRIResponse *response)
{
    PCIEPRIResponse r = { .response = *response };
    IOMMUPRINotifier *notifier;
    PRIEndedGroup ended = { };

    WITH_QEMU_LOCK_GUARD(&guest.lock) {
        pri_ledger_respond(&ledger, &ledger_pasids[pasid], response->prgi,
                           &ended);
        notifier = pri_notifiers[pasid];
    }
    r.owner = ended.owner;
    if (notifier) {
        notifier->notify(notifier, &r.response);
    }
}

void reset_groups(uint32_t pasid)
{
    g_autofree PRIEndedGroup *ended = g_new(PRIEndedGroup, PCI_PRGI_MAX + 1);
    IOMMUPRINotifier *notifier;
    unsigned n;

    WITH_QEMU_LOCK_GUARD(&guest.lock) {
        qatomic_set(&resets, resets + 1);
        n = pri_ledger_drop(&ledger, &ledger_pasids[pasid], ended);
        notifier = pri_notifiers[pasid];
    }
    for (unsigned i = 0; i < n; i++) {
        PCIEPRIResponse r = {
            .response.response_code = IOMMU_PRI_RESP_FAILURE,
            .response.prgi = ended[i].prgi,
            .owner = ended[i].owner,
            .reset = true,
        };

        notifier->notify(notifier, &r.response);
    }
}

static void start_ledger(void)
{
    memset(&ledger, 0, sizeof(ledger));
    memset(ledger_pasids, 0, sizeof(ledger_pasids));
    pri_ledger_init(&ledger);
    for (unsigned i = 0; i < MAX_PASIDS; i++) {
        pri_pasid_init(&ledger_pasids[i], i);
    }
}

static void stop_ledger(void)
{
    for (unsigned i = 0; i < MAX_PASIDS; i++) {
        pri_ledger_drop(&ledger, &ledger_pasids[i], NULL);
    }
    pri_ledger_destroy(&ledger);
}

/* ---- Guest ---- */

static void respond(uint32_t pasid, const IOMMUPRIResponse *response)
{
    WITH_QEMU_LOCK_GUARD(&guest.lock) {
        responding_pasid = pasid;
        responding = true;
    }
    deliver(pasid, response);
    WITH_QEMU_LOCK_GUARD(&guest.lock) {
        responding = false;
        qemu_cond_broadcast(&responded);
    }
}

static void handle(const PageRequest *rq)
{
    unsigned page = (rq->addr - IOVA) / PAGE;
    IOMMUPRIResponse response = {
        .prgi = rq->prgi,
        .response_code = guest.answer,
    };

    refused[rq->prgi] |= page == guest.refused_page;
    if (rq->last && refused[rq->prgi]) {
        response.response_code = IOMMU_PRI_RESP_INVALID_REQUEST;
        refused[rq->prgi] = false;
    }
    if (guest.false_successes) {
        guest.false_successes--;
    } else if (page == guest.refused_page) {
        ;
    } else if (guest.answer == IOMMU_PRI_RESP_SUCCESS) {
        map(page, page * PAGE, rq->is_write ? IOMMU_RW : IOMMU_RO);
    }
    WITH_QEMU_LOCK_GUARD(&guest.lock) {
        guest.unanswered--;
    }
    if (rq->last && qatomic_read(&guest.has_bql)) {
        BQL_LOCK_GUARD();
        respond(rq->pasid, &response);
    } else if (rq->last) {
        respond(rq->pasid, &response);
    }
}

static void *guest_main(void *opaque)
{
    rcu_register_thread();
    qemu_mutex_lock(&guest.lock);
    while (!stopping) {
        if (queue_head == queue_tail || holding) {
            qemu_cond_wait(&arrived, &guest.lock);
        } else {
            PageRequest rq =
                guest.queue[queue_head++ % ARRAY_SIZE(guest.queue)];

            qemu_mutex_unlock(&guest.lock);
            /* Let more requests arrive first. */
            g_usleep(1000);
            handle(&rq);
            qemu_mutex_lock(&guest.lock);
        }
    }
    qemu_mutex_unlock(&guest.lock);
    rcu_unregister_thread();
    return NULL;
}

void guest_hold(bool holds)
{
    QEMU_LOCK_GUARD(&guest.lock);
    holding = holds;
    qemu_cond_signal(&arrived);
}

void wait_for_requests(int n)
{
    while (qatomic_read(&guest.requests_seen) < n) {
        g_usleep(100);
    }
}

void guest_init(void)
{
    qemu_mutex_init(&guest.lock);
    qemu_cond_init(&arrived);
    qemu_cond_init(&responded);
}

void guest_start(void)
{
    guest.requests_seen = 0;
    guest.accepted = guest.refuse = guest.false_successes = 0;
    guest.unanswered = guest.most_unanswered = 0;
    guest.ignored_page = guest.refused_page = -1;
    guest.set_in_group = NULL;
    guest.answer = IOMMU_PRI_RESP_SUCCESS;
    guest.has_bql = false;
    holding = false;
    stopping = false;
    start_ledger();
    qemu_thread_create(&thread, "guest", guest_main, NULL,
                       QEMU_THREAD_JOINABLE);
}

void guest_stop(void)
{
    WITH_QEMU_LOCK_GUARD(&guest.lock) {
        stopping = true;
        qemu_cond_signal(&arrived);
    }
    qemu_thread_join(&thread);
    queue_head = queue_tail = 0;
    stop_ledger();
}
