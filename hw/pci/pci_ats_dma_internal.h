/*
 * Shared definitions of the DMA engine for device models with ATS
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 *   pci_ats_dma.c       the API; the threads that run transfers; responses
 *   pci_ats_transfer.c  the steps of a transfer: requests, data, prefetch
 *   pci_ats_listener.c  the PASIDs that are registered with the IOMMU
 *   pci_ats_group.c     page request groups and their responses
 *   pci_ats_inject.c    fault injection
 *
 * Each file calls only functions of files below it in this list, with two
 * exceptions: the IOMMU calls dma_response(), and the timer of delayed
 * responses calls a function of pci_ats_dma.c.
 *
 * Locks, in the order in which they are taken.  With @lock held, these files
 * call only their own functions and functions of pcie_pri_requester.h:
 *
 *   PCIATSDMA.listener_lock  the table of listeners.  Held while notifiers are
 *                            registered and unregistered.  A notifier takes it
 *                            only to run a transfer, which keeps its listener
 *                            registered.  A listener whose notifier runs is
 *                            not unregistered in favour of another.
 *   PCIATSDMA.lock           groups, lists of transfers, life, and all members
 *                            that are marked below as written under @lock
 */

#ifndef HW_PCI_PCI_ATS_DMA_INTERNAL_H
#define HW_PCI_PCI_ATS_DMA_INTERNAL_H

#include "qemu/drain.h"
#include "qemu/queue.h"
#include "qemu/thread.h"
#include "hw/pci/pci_ats_dma.h"
#include "hw/pci/pci_ats_info.h"
#include "hw/pci/pci_ats_inject.h"
#include "hw/pci/pci_device.h"
#include "pci_ats_group.h"

typedef struct DMAListener DMAListener;
typedef struct DMATransfer DMATransfer;

/* ---- Transfers ---- */

/*
 * State of prefetch of a range: AFTER_FAULT -> ON when a page of the transfer
 * is missing, before any group is opened; ON -> DEMAND_ONLY when the guest has
 * refused a prefetched page.  Ranges of transfers that are not
 * %PCI_ATS_DMA_EXACT begin, and stay, with ON.
 */
typedef enum DMAPrefetch {
    DMA_PREFETCH_AFTER_FAULT,
    DMA_PREFETCH_ON,
    DMA_PREFETCH_DEMAND_ONLY,
} DMAPrefetch;

/* The part of an address range that is still to be moved */
struct DMARange {
    DMATransfer *transfer;
    hwaddr addr;
    DMADirection dir;
    size_t prefetched;          /* bytes from @addr on */
    unsigned attempts;          /* translation requests since data moved */
    bool starved;               /* see dma_group_set_starved() */
    /* Written under @lock */
    DMAGroupList groups;
    DMAPrefetch prefetch;
    DMAGroup *unclosed;         /* group without its last request, or NULL */
    int error;                  /* reported by a response */
};

/* Which threads run a transfer; constant */
typedef enum DMAMode {
    DMA_SYNC,                   /* the caller */
    DMA_SYNC_BQL,               /* the caller, which must not wait */
    DMA_ASYNC,                  /* the worker */
    DMA_ASYNC_INLINE,           /* threads that hold the BQL, or the worker */
} DMAMode;

/*
 * Phase of a transfer: MOVING -> SETTLING or SETTLING_LOADED when it has ended
 * with DMATransfer.ret, while responses are due; SETTLING_LOADED -> SETTLING
 * when no response is due to a loaded group of its PASID.
 */
typedef enum DMAPhase {
    DMA_MOVING,
    DMA_SETTLING,
    DMA_SETTLING_LOADED,
} DMAPhase;

/*
 * State of an asynchronous transfer.  RUNNABLE or PARKED -> RUNNING when the
 * worker, or a thread that holds the BQL, takes it.  After a step that thread
 * makes it RUNNABLE, DELAYED or PARKED, or reports its end.  DELAYED ->
 * RUNNABLE when DMA_BACKOFF_MS have passed, PARKED -> RUNNABLE when a response
 * has arrived.
 */
typedef enum DMAPlace {
    DMA_RUNNING,                /* in no list; all synchronous transfers */
    DMA_RUNNABLE,
    DMA_DELAYED,
    DMA_PARKED,
    DMA_PLACES
} DMAPlace;

struct DMATransfer {
    PCIATSDMA *dma;
    uint32_t pasid;
    unsigned flags;
    DMAMode mode;
    const bool *cancel;         /* or NULL */
    uint32_t cancels;           /* PCIATSDMA.cancels when it began */
    PCIATSDMAVisit *visit;
    void *visit_opaque;
    uint8_t *buf;               /* NULL if the device model provides @visit */
    DMAListener *listener;      /* NULL until the transfer needs a listener */
    size_t moved;
    size_t left;                /* remaining bytes of each range */
    unsigned num_ranges;
    unsigned stalled;           /* the range at which the transfer stops */
    DMARange range[PCI_ATS_DMA_RANGES];
    int ret;
    bool requested_pages;       /* other threads may access it until it ends */
    /* Written under @lock */
    DMAGroup *awaited;          /* group for whose response it waits, or NULL */
    DMAPlace place;
    DMAPhase phase;             /* written by the thread that runs it */
    /* Asynchronous transfers */
    PCIATSDMADone *done;
    void *done_opaque;
    QTAILQ_ENTRY(DMATransfer) entry;
};

typedef QTAILQ_HEAD(, DMATransfer) DMATransferList;

/* pci_ats_dma_close() changes the state from each value to the next */
typedef enum DMALife {
    DMA_OPEN,
    DMA_CLOSING,                /* transfers end as soon as they can */
    DMA_CLOSED,                 /* no access to @dev, listeners or groups */
} DMALife;

/*
 * State of the worker.  The first asynchronous transfer starts it (NONE ->
 * IDLE).  The worker alternates between IDLE and RUNNING, and terminates when
 * it is IDLE and has reported the end of the last transfer (IDLE -> NONE).
 */
typedef enum DMAWorker {
    DMA_WORKER_NONE,
    DMA_WORKER_IDLE,            /* it waits, or reports the end of a transfer */
    DMA_WORKER_RUNNING,         /* it may access @dev, the IOMMU and memory */
} DMAWorker;

struct PCIATSDMA {
    unsigned refs;              /* the device model's and the worker's */
    PCIDevice *dev;
    PCIATC *atc;
    PCIATSInfoATC info;         /* ATC info of @atc */
    uint32_t epoch;             /* pcie_ats_epoch() at the last flush of @atc */
    uint32_t cancels;           /* number of pci_ats_dma_cancel() calls */
    bool suspended;             /* written with the BQL held */
    Drain *calls;               /* see dma_transfer_begin_call() */
    PCIATSInject *inject;       /* or NULL */
    QEMUTimer *delay_timer;     /* of delayed responses, if there is @inject */

    QemuMutex listener_lock;
    IOMMUNotifier iotlb;        /* of all PASIDs */
    bool has_iotlb;             /* @iotlb is registered */
    GHashTable *listeners;      /* by PASID */
    QTAILQ_HEAD(, DMAListener) lru;

    QemuMutex lock;
    QemuCond responded;         /* a synchronous transfer may continue */
    QemuCond work;              /* for the worker */
    DMAGroups groups;
    unsigned settling;          /* threads in pci_ats_dma_settle() */
    DMATransferList list[DMA_PLACES];   /* DMA_RUNNING has no list */
    DMALife life;               /* written under @lock, read at any time */
    DMAWorker worker;           /* leaves DMA_WORKER_RUNNING without @lock */
};

/* Delay of a transfer when the allocation does not permit its page requests */
#define DMA_BACKOFF_MS      1

typedef enum DMAStep {
    DMA_STEP_ENDED,             /* with DMATransfer.ret */
    DMA_STEP_CONTINUES,
    DMA_STEP_WAITS,             /* for the response to DMATransfer.awaited */
    DMA_STEP_DELAYED,           /* until DMA_BACKOFF_MS have passed */
} DMAStep;

/* The functions of this section are called without @lock. */

/* Set up a transfer; afterwards the caller must not move it in memory */
void dma_transfer_init(DMATransfer *t, PCIATSDMA *dma, DMAMode mode,
                       const PCIATSDMATransfer *transfer);

/* Run a transfer as far as possible without waiting; never returns CONTINUES */
DMAStep dma_transfer_step(DMATransfer *t);

/*
 * Send the last request of each unclosed group.  Returns false if the
 * allocation does not permit this now.
 */
bool dma_transfer_send_last(DMATransfer *t);

/* Clear the starved state of its ranges, so that others may prefetch */
void dma_transfer_end_starving(DMATransfer *t);

/* Release a transfer that has ended; no references remain on return */
void dma_transfer_release(DMATransfer *t);

/* ---- Listeners ---- */

/* A PASID that is registered with the IOMMU */
struct DMAListener {
    PCIATSDMA *dma;
    uint32_t pasid;
    unsigned users;             /* under @listener_lock */
    bool has_pri;               /* @pri is registered; see listener_lock */
    IOMMUPRINotifier pri;
    QTAILQ_ENTRY(DMAListener) lru;
};

/* The functions of this section are called without @lock. */

/*
 * Find or register the listener of a PASID, and use it.  Returns 0; the error
 * of pci_iommu_check_pasid() or of the registration; or -EBUSY, when all PASIDs
 * that can be registered are in use.
 */
int dma_listener_get(PCIATSDMA *dma, uint32_t pasid, DMAListener **listener);

/* Stop using a listener */
void dma_listener_put(DMAListener *listener);

/* Register for responses, too; returns true if it is registered */
bool dma_listener_add_pri(DMAListener *listener);

/*
 * Check whether a response to a loaded group of the PASID is due, and find the
 * listener that receives it if @listener is NULL.
 */
bool dma_listener_has_loaded_groups(PCIATSDMA *dma, uint32_t pasid,
                                    DMAListener **listener);

/* Unregister all; after this no response or invalidation arrives */
void dma_listener_free_all(PCIATSDMA *dma);

/* A response to a group of a listener; called by the IOMMU in any thread */
void dma_response(IOMMUPRINotifier *notifier, IOMMUPRIResponse *response);

/* ---- Fault injection ---- */

/* Called without @lock, except as noted */

/* Check whether to refuse a group instead of sending it */
bool dma_inject_refusal(PCIATSDMA *dma, uint32_t pasid, hwaddr addr);

/*
 * Drop or delay a response if the user has requested it; returns true if so.
 * Called with @lock held.
 */
bool dma_inject_response(PCIATSDMA *dma, DMAGroup *group,
                         IOMMUPRIResponseCode code);

/* Check whether to ignore an invalidation */
bool dma_inject_ignores_invalidation(PCIATSDMA *dma);

#endif
