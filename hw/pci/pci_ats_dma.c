/*
 * DMA for device models with ATS, PASID and page requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The API, and the threads that run transfers; pci_ats_dma_internal.h names the
 * other parts, and the locks.
 *
 * The caller runs a synchronous transfer, and the worker an asynchronous one.
 * If the device model permits, the thread that submits a short transfer with
 * the BQL held, or that receives its response with the BQL held, runs it, so
 * that the transfer need not wait for the worker.
 *
 * The worker holds a reference to the PCIATSDMA and is not joined: it may wait
 * for the BQL to report the end of a transfer while the function is being
 * unrealized, or it may itself unrealize the function.  After
 * pci_ats_dma_close() has returned, the worker only reports the ends of the
 * remaining transfers.
 *
 * The guest removes an address space when the function reports that it no
 * longer uses it.  By then the guest must have responded to all page requests
 * (PCIe 5.0, 6.20.1): its handling of a request must not outlive the address
 * space.  Therefore a transfer that has ended settles before its end is
 * reported.  This includes responses to loaded groups.
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "qemu/units.h"
#include "pci_ats_dma_internal.h"

/* Maximum length of an inline transfer, in bytes */
#define INLINE_MAX          (4 * KiB)

/* ---- Lists of transfers ---- */

/*
 * Called with @lock held.  As soon as the transfer is RUNNABLE and @lock is
 * released, another thread may run it.
 */
static void transfer_put(DMATransfer *t, DMAPlace place)
{
    PCIATSDMA *dma = t->dma;

    if (t->place != DMA_RUNNING) {
        QTAILQ_REMOVE(&dma->list[t->place], t, entry);
    }
    t->place = place;
    if (place != DMA_RUNNING) {
        QTAILQ_INSERT_TAIL(&dma->list[place], t, entry);
    }
    if (place == DMA_RUNNABLE || place == DMA_DELAYED) {
        qemu_cond_signal(&dma->work);
    }
}

/* Called with @lock held */
static void dma_make_runnable(PCIATSDMA *dma, DMAPlace place)
{
    DMATransfer *t;

    while ((t = QTAILQ_FIRST(&dma->list[place]))) {
        transfer_put(t, DMA_RUNNABLE);
    }
}

/* Wake a transfer that waits.  Called with @lock held. */
static void transfer_wake(DMATransfer *t)
{
    t->awaited = NULL;
    if (t->place == DMA_PARKED) {
        transfer_put(t, DMA_RUNNABLE);
    }
    qemu_cond_broadcast(&t->dma->responded);
}

/* Wake threads in pci_ats_dma_settle().  Called with @lock held. */
static void dma_wake_settling(PCIATSDMA *dma)
{
    if (dma->settling) {
        qemu_cond_broadcast(&dma->responded);
    }
}

/*
 * Wake transfers that only settle, since a loaded group has got its response,
 * or will not get any.  @listener is NULL for all listeners.  Called with @lock
 * held.
 */
static void dma_wake_ended(PCIATSDMA *dma, DMAListener *listener)
{
    DMATransfer *t, *next;

    QTAILQ_FOREACH_SAFE(t, &dma->list[DMA_PARKED], entry, next) {
        if (qatomic_read(&t->phase) != DMA_MOVING &&
            (!listener || t->listener == listener)) {
            transfer_wake(t);
        }
    }
}

/* ---- Synchronous transfers ---- */

/* Wait in the thread of the caller */
static void transfer_wait(DMATransfer *t, DMAStep step)
{
    if (step == DMA_STEP_DELAYED) {
        g_usleep(DMA_BACKOFF_MS * 1000);
        return;
    }
    QEMU_LOCK_GUARD(&t->dma->lock);
    while (t->awaited) {
        qemu_cond_wait(&t->dma->responded, &t->dma->lock);
    }
}

static bool dma_guest_can_respond(PCIATSDMA *dma)
{
    return pcie_pri_enabled(dma->dev) && qatomic_read(&dma->life) == DMA_OPEN;
}

/* Called with @lock held */
static bool transfer_is_due_responses(DMATransfer *t)
{
    for (unsigned i = 0; i < t->num_ranges; i++) {
        if (dma_group_is_due(&t->range[i])) {
            return true;
        }
    }
    return false;
}

/*
 * Wait for the responses to the page requests of a transfer that has ended,
 * unless the guest cannot respond now.
 */
static void transfer_settle(DMATransfer *t)
{
    PCIATSDMA *dma = t->dma;

    dma_transfer_end_starving(t);
    while (!dma_transfer_send_last(t)) {
        g_usleep(DMA_BACKOFF_MS * 1000);
    }
    QEMU_LOCK_GUARD(&dma->lock);
    qatomic_set(&t->phase, DMA_SETTLING);
    while (!qatomic_read(&dma->suspended) && dma_guest_can_respond(dma) &&
           transfer_is_due_responses(t)) {
        qemu_cond_wait(&dma->responded, &dma->lock);
    }
}

int pci_ats_dma_run(PCIATSDMA *dma, const PCIATSDMATransfer *transfer,
                    PCIATSDMAResult *result)
{
    DMATransfer t;
    DMAStep step;

    dma_transfer_init(&t, dma, bql_locked() ? DMA_SYNC_BQL : DMA_SYNC,
                      transfer);
    while ((step = dma_transfer_step(&t)) != DMA_STEP_ENDED) {
        transfer_wait(&t, step);
    }
    if (t.requested_pages) {
        transfer_settle(&t);
    }
    dma_transfer_release(&t);
    if (result) {
        *result = (PCIATSDMAResult) { t.moved, t.stalled };
    }
    return t.ret;
}

/* ---- Asynchronous transfers ---- */

/*
 * Report the end of a transfer.  It may cause the device model to call
 * pci_ats_dma_close().  After this returns, a thread without a reference to the
 * PCIATSDMA does not access it.
 */
static void transfer_report(DMATransfer *t)
{
    t->done(t->done_opaque, t->ret);
    g_free(t);
}

/* Called with @lock held */
static bool transfer_has_to_settle(DMATransfer *t)
{
    PCIATSDMA *dma = t->dma;

    return dma_guest_can_respond(dma) &&
           (transfer_is_due_responses(t) ||
            (t->phase == DMA_SETTLING_LOADED &&
             pcie_pri_has_loaded_groups(dma->dev, t->pasid)));
}

/*
 * Put a transfer into the list in which it continues; returns false if it does
 * not continue.  Called with @lock held.
 */
static bool transfer_keep(DMATransfer *t, DMAStep step)
{
    bool ended = t->phase != DMA_MOVING;

    if (t->dma->life != DMA_OPEN) {
        t->ret = ended ? t->ret : -ECANCELED;
        return false;
    }
    if (step == DMA_STEP_DELAYED) {
        transfer_put(t, DMA_DELAYED);
    } else if (ended ? transfer_has_to_settle(t) : !!t->awaited) {
        transfer_put(t, DMA_PARKED);
    } else if (ended) {
        return false;
    } else {
        transfer_put(t, DMA_RUNNABLE);
    }
    return true;
}

/* Determine whether a transfer that has ended has to wait for responses */
static DMAStep transfer_settle_step(DMATransfer *t)
{
    bool loaded = dma_listener_has_loaded_groups(t->dma, t->pasid,
                                                 &t->listener);

    dma_transfer_end_starving(t);
    qatomic_set(&t->phase, loaded ? DMA_SETTLING_LOADED : DMA_SETTLING);
    return dma_transfer_send_last(t) ? DMA_STEP_ENDED : DMA_STEP_DELAYED;
}

/*
 * Run an asynchronous transfer as far as possible.  Returns true if the caller
 * has to report its end.
 */
static bool transfer_run_step(DMATransfer *t)
{
    DMAStep step = t->phase == DMA_MOVING ? dma_transfer_step(t)
                                          : DMA_STEP_ENDED;

    if (step == DMA_STEP_ENDED) {
        step = transfer_settle_step(t);
    }
    /* A response that arrives after this finds the transfer parked. */
    WITH_QEMU_LOCK_GUARD(&t->dma->lock) {
        if (transfer_keep(t, step)) {
            return false;
        }
    }
    dma_transfer_release(t);
    return true;
}

/* Called with the BQL held, so that pci_ats_dma_close() cannot run meanwhile */
static void transfer_run_inline(DMATransfer *t)
{
    if (transfer_run_step(t)) {
        transfer_report(t);
    }
}

/*
 * Take the next transfer to run; returns NULL if no more transfers run.  Called
 * with @lock held.
 */
static DMATransfer *dma_next(PCIATSDMA *dma)
{
    DMATransfer *t;

    while (dma->life == DMA_OPEN) {
        t = QTAILQ_FIRST(&dma->list[DMA_RUNNABLE]);
        if (t) {
            transfer_put(t, DMA_RUNNING);
            qatomic_set(&dma->worker, DMA_WORKER_RUNNING);
            return t;
        }
        if (QTAILQ_EMPTY(&dma->list[DMA_DELAYED])) {
            qemu_cond_wait(&dma->work, &dma->lock);
        } else {
            qemu_cond_timedwait(&dma->work, &dma->lock, DMA_BACKOFF_MS);
            dma_make_runnable(dma, DMA_DELAYED);
        }
    }
    return NULL;
}

/*
 * Report the ends of the transfers that pci_ats_dma_close() has left, and of
 * those that are submitted meanwhile.  Called with @lock held, which is
 * released for each report.
 */
static void dma_report_closed(PCIATSDMA *dma)
{
    DMATransfer *t;

    while (dma->life != DMA_CLOSED) {
        qemu_cond_wait(&dma->work, &dma->lock);
    }
    while ((t = QTAILQ_FIRST(&dma->list[DMA_RUNNABLE]))) {
        transfer_put(t, DMA_RUNNING);
        qemu_mutex_unlock(&dma->lock);
        t->ret = -ECANCELED;
        transfer_report(t);
        qemu_mutex_lock(&dma->lock);
    }
}

static void dma_unref(PCIATSDMA *dma)
{
    if (qatomic_fetch_dec(&dma->refs) > 1) {
        return;
    }
    g_hash_table_destroy(dma->listeners);
    dma_groups_destroy(&dma->groups);
    drain_free(dma->calls);
    pci_atc_free(dma->atc);
    qemu_cond_destroy(&dma->work);
    qemu_cond_destroy(&dma->responded);
    qemu_mutex_destroy(&dma->lock);
    qemu_mutex_destroy(&dma->listener_lock);
    g_free(dma);
}

static void *dma_worker(void *opaque)
{
    PCIATSDMA *dma = opaque;
    DMATransfer *t;

    rcu_register_thread();
    qemu_mutex_lock(&dma->lock);
    while ((t = dma_next(dma))) {
        bool ended;

        qemu_mutex_unlock(&dma->lock);
        ended = transfer_run_step(t);
        qatomic_store_release(&dma->worker, DMA_WORKER_IDLE);
        if (ended) {
            transfer_report(t);
        }
        qemu_mutex_lock(&dma->lock);
    }
    dma_report_closed(dma);
    qatomic_set(&dma->worker, DMA_WORKER_NONE);
    qemu_mutex_unlock(&dma->lock);
    dma_unref(dma);
    rcu_unregister_thread();
    return NULL;
}

/* Called with @lock held */
static void dma_start_worker(PCIATSDMA *dma)
{
    QemuThread thread;

    if (qatomic_read(&dma->worker) == DMA_WORKER_NONE) {
        qatomic_inc(&dma->refs);
        qatomic_set(&dma->worker, DMA_WORKER_IDLE);
        qemu_thread_create(&thread, "pci-ats-dma", dma_worker, dma,
                           QEMU_THREAD_DETACHED);
    }
}

void pci_ats_dma_submit(PCIATSDMA *dma, const PCIATSDMATransfer *transfer,
                        PCIATSDMADone *done, void *opaque)
{
    DMATransfer *t = g_new(DMATransfer, 1);
    bool is_inline = (transfer->flags & PCI_ATS_DMA_INLINE) &&
                     transfer->len <= INLINE_MAX && bql_locked();

    dma_transfer_init(t, dma, is_inline ? DMA_ASYNC_INLINE : DMA_ASYNC,
                      transfer);
    t->done = done;
    t->done_opaque = opaque;
    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        dma_start_worker(dma);
        if (!is_inline || dma->life != DMA_OPEN) {
            transfer_put(t, DMA_RUNNABLE);
            return;
        }
    }
    transfer_run_inline(t);
}

/* ---- Responses ---- */

/* Called with @lock held; returns a transfer to run in this thread, or NULL */
static DMATransfer *transfer_wake_inline(DMATransfer *t)
{
    if (t->place == DMA_PARKED && t->mode == DMA_ASYNC_INLINE && bql_locked()) {
        t->awaited = NULL;
        transfer_put(t, DMA_RUNNING);
        return t;
    }
    transfer_wake(t);
    return NULL;
}

/*
 * Response Failure: the guest need not respond to the other requests of the
 * function (PCIe 5.0, 10.4.2.1).  Called with @lock held.
 */
static void dma_fail_groups(PCIATSDMA *dma)
{
    DMAGroup *group;

    QLIST_FOREACH(group, &dma->groups.list, next) {
        if (group->range) {
            qatomic_set(&group->range->error, -ECANCELED);
            transfer_wake(group->range->transfer);
        }
    }
    dma_wake_ended(dma, NULL);
}

/*
 * Returns a transfer to run in this thread, or NULL.  Called with @lock held.
 * A reset happens within the device model, which must not see transfers end
 * before the reset does.
 */
static DMATransfer *dma_take_response(PCIATSDMA *dma, const PCIEPRIResponse *r)
{
    IOMMUPRIResponseCode code = r->response.response_code;
    DMAGroup *group = r->owner;
    DMARange *range;

    if (!r->reset && dma_inject_response(dma, group, code)) {
        return NULL;
    }
    range = dma_group_respond(&dma->groups, group, code);
    if (range && r->reset) {
        transfer_wake(range->transfer);
        return NULL;
    }
    return range ? transfer_wake_inline(range->transfer) : NULL;
}

void dma_response(IOMMUPRINotifier *notifier, IOMMUPRIResponse *response)
{
    DMAListener *listener = container_of(notifier, DMAListener, pri);
    PCIATSDMA *dma = listener->dma;
    PCIEPRIResponse *r = container_of(response, PCIEPRIResponse, response);
    DMATransfer *t = NULL;

    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        if (r->owner) {
            t = dma_take_response(dma, r);
        }
        /* Transfers that settle may wait for a loaded group. */
        dma_wake_ended(dma, listener);
        dma_wake_settling(dma);
        if (response->response_code == IOMMU_PRI_RESP_FAILURE) {
            dma_fail_groups(dma);
        }
    }
    if (t) {
        transfer_run_inline(t);
    }
}

/* ---- Events that transfers have to notice ---- */

bool pci_ats_dma_settle(PCIATSDMA *dma, uint32_t pasid)
{
    DMAListener *listener = NULL;
    bool settles, due = false;

    /* A PASID that cannot be registered has no groups. */
    if (dma_listener_get(dma, pasid, &listener)) {
        return true;
    }
    settles = pcie_pri_has_to_settle(dma->dev, pasid) &&
              dma_listener_add_pri(listener);
    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        dma->settling++;
        while (settles &&
               (due = dma_guest_can_respond(dma) &&
                      pcie_pri_has_to_settle(dma->dev, pasid)) &&
               !qatomic_read(&dma->suspended)) {
            qemu_cond_wait(&dma->responded, &dma->lock);
        }
        dma->settling--;
    }
    dma_listener_put(listener);
    return !due;
}

void pci_ats_dma_recheck(PCIATSDMA *dma)
{
    DMAGroup *group;

    pci_atc_drain(dma->atc);
    drain_wait(dma->calls);
    QEMU_LOCK_GUARD(&dma->lock);
    QLIST_FOREACH(group, &dma->groups.list, next) {
        if (group->range) {
            transfer_wake(group->range->transfer);
        }
    }
    dma_wake_ended(dma, NULL);
    dma_wake_settling(dma);
}

void pci_ats_dma_cancel(PCIATSDMA *dma)
{
    qatomic_inc(&dma->cancels);
    pci_ats_dma_recheck(dma);
}

void pci_ats_dma_suspend(PCIATSDMA *dma)
{
    qatomic_set(&dma->suspended, true);
    pci_ats_dma_cancel(dma);
}

void pci_ats_dma_resume(PCIATSDMA *dma)
{
    /* Transfers that were submitted meanwhile do not run either. */
    qatomic_inc(&dma->cancels);
    qatomic_set(&dma->suspended, false);
}

/* ---- Fault injection ---- */

/* Apply responses that fault injection has delayed */
static void dma_delay_expired(void *opaque)
{
    PCIATSDMA *dma = opaque;
    int64_t now = qemu_clock_get_ns(QEMU_CLOCK_VIRTUAL);
    DMAGroup *group, *next;

    QEMU_LOCK_GUARD(&dma->lock);
    QLIST_FOREACH_SAFE(group, &dma->groups.list, next, next) {
        if (group->response != DMA_RESPONSE_DELAYED) {
            continue;
        }
        if (group->due <= now) {
            DMARange *range = dma_group_respond(&dma->groups, group,
                                                group->code);

            if (range) {
                transfer_wake(range->transfer);
            }
        } else {
            timer_mod_anticipate_ns(dma->delay_timer, group->due);
        }
    }
    dma_wake_settling(dma);
}

void pci_ats_dma_set_inject(PCIATSDMA *dma, PCIATSInject *inject)
{
    dma->delay_timer = timer_new_ns(QEMU_CLOCK_VIRTUAL, dma_delay_expired, dma);
    dma->inject = inject;
}

uint32_t pci_ats_dma_flood(PCIATSDMA *dma, uint32_t pasid, hwaddr addr,
                           uint32_t n)
{
    hwaddr unit = 1ULL << pcie_ats_stu(dma->dev);
    DMAListener *listener;
    uint32_t sent = 0;

    if (!pcie_ats_enabled(dma->dev) ||
        dma_listener_get(dma, pasid, &listener)) {
        return 0;
    }
    if (pcie_pri_enabled(dma->dev) && dma_listener_add_pri(listener)) {
        for (uint32_t i = 0; i < n; i++) {
            sent += !pci_pri_request_page(dma->dev, pasid, false, false,
                                          addr + i * unit, true,
                                          i & PCI_PRGI_MAX, true, false);
        }
    }
    dma_listener_put(listener);
    return sent;
}

/* ---- Life ---- */

PCIATSDMA *pci_ats_dma_new(PCIDevice *dev, uint32_t atc_entries)
{
    PCIATSDMA *dma = g_new0(PCIATSDMA, 1);

    dma->refs = 1;
    dma->dev = dev;
    dma->atc = pci_atc_new(atc_entries);
    dma->calls = drain_new();
    dma->epoch = pcie_ats_epoch(dev);
    dma->info.atc = dma->atc;
    pci_ats_info_add_atc(dev, &dma->info);
    qemu_mutex_init(&dma->listener_lock);
    dma->listeners = g_hash_table_new(NULL, NULL);
    QTAILQ_INIT(&dma->lru);
    qemu_mutex_init(&dma->lock);
    qemu_cond_init(&dma->responded);
    qemu_cond_init(&dma->work);
    for (DMAPlace place = 0; place < DMA_PLACES; place++) {
        QTAILQ_INIT(&dma->list[place]);
    }
    return dma;
}

/*
 * Wait until the worker has ended its step.  This waits neither for the guest
 * nor for the BQL: a step does not wait, and ends while @life is not DMA_OPEN.
 */
static void dma_stop_running(PCIATSDMA *dma)
{
    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        qatomic_set(&dma->life, DMA_CLOSING);
        qemu_cond_signal(&dma->work);
    }
    while (qatomic_load_acquire(&dma->worker) == DMA_WORKER_RUNNING) {
        g_usleep(1);
    }
}

void pci_ats_dma_close(PCIATSDMA *dma)
{
    if (!dma) {
        return;
    }
    pci_ats_info_remove_atc(&dma->info);
    dma_stop_running(dma);
    dma_listener_free_all(dma);
    timer_free(dma->delay_timer);
    WITH_QEMU_LOCK_GUARD(&dma->lock) {
        dma_make_runnable(dma, DMA_PARKED);
        dma_make_runnable(dma, DMA_DELAYED);
        qatomic_set(&dma->life, DMA_CLOSED);
        qemu_cond_signal(&dma->work);
    }
    dma_unref(dma);
}

void pci_ats_dma_get_stats(PCIATSDMA *dma, PCIATCStats *stats)
{
    pci_atc_get_stats(dma->atc, stats);
}
