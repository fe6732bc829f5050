/*
 * What the parts of the DMA engine for device models with ATS share
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
 * Calls go down this list.  They go up in two places only: the IOMMU calls
 * dma_response(), and the timer of delayed responses is one of pci_ats_dma.c.
 *
 * Locks, in the order in which they are taken; no function outside of these
 * files but those of pcie_pri_requester.h is called with @lock held:
 *
 *   PCIATSDMA.listener_lock  the table of listeners.  Held while notifiers are
 *                            registered and unregistered.  A notifier takes it
 *                            only to run a transfer, which keeps its listener
 *                            registered.  A listener whose notifier runs is
 *                            not unregistered to make room for another.
 *   PCIATSDMA.lock           groups, lists of transfers, life, and all that is
 *                            marked below as written under @lock
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
 * Which page requests a range sends: AFTER_FAULT -> ON when a page of the
 * transfer is missing, before any group is opened; ON -> DEMAND_ONLY when the
 * guest has refused what was prefetched.  Ranges of transfers that are not
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
    DMAGroup *unclosed;         /* whose last request found no room, or NULL */
    int error;                  /* that a response brought */
};

/* Which threads run a transfer; constant */
typedef enum DMAMode {
    DMA_SYNC,                   /* the caller */
    DMA_SYNC_BQL,               /* the caller, who cannot wait for the guest */
    DMA_ASYNC,                  /* the worker */
    DMA_ASYNC_INLINE,           /* threads with the BQL, else the worker */
} DMAMode;

/*
 * How far a transfer is: MOVING -> SETTLING or SETTLING_LOADED when it has
 * ended with DMATransfer.ret, while responses are due; SETTLING_LOADED ->
 * SETTLING when none is due to a loaded group of its PASID.
 */
typedef enum DMAPhase {
    DMA_MOVING,
    DMA_SETTLING,
    DMA_SETTLING_LOADED,
} DMAPhase;

/*
 * Where an asynchronous transfer is.  The worker, or a thread with the BQL,
 * takes it: RUNNABLE or PARKED -> RUNNING.  After a step it leaves it as
 * RUNNABLE, DELAYED or PARKED, or reports its end.  DELAYED -> RUNNABLE when
 * DMA_BACKOFF_MS have passed, PARKED -> RUNNABLE when a response has come.
 */
typedef enum DMAPlace {
    DMA_RUNNING,                /* in no list; synchronous ones stay here */
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
    uint8_t *buf;               /* NULL if @visit is the device model's */
    DMAListener *listener;      /* NULL until it needs one */
    size_t moved;
    size_t left;                /* of each range */
    unsigned num_ranges;
    unsigned stalled;           /* the range that keeps it from continuing */
    DMARange range[PCI_ATS_DMA_RANGES];
    int ret;
    bool requested_pages;       /* other threads may access it until it ends */
    /* Written under @lock */
    DMAGroup *awaited;          /* that it cannot continue without, or NULL */
    DMAPlace place;
    DMAPhase phase;             /* written by the thread that runs it */
    /* Asynchronous transfers */
    PCIATSDMADone *done;
    void *done_opaque;
    QTAILQ_ENTRY(DMATransfer) entry;
};

typedef QTAILQ_HEAD(, DMATransfer) DMATransferList;

/* pci_ats_dma_close() goes from one to the next */
typedef enum DMALife {
    DMA_OPEN,
    DMA_CLOSING,                /* transfers end as soon as they can */
    DMA_CLOSED,                 /* @dev, its listeners and groups are gone */
} DMALife;

/*
 * State of the worker.  The first asynchronous transfer starts it (NONE ->
 * IDLE); it alternates between IDLE and RUNNING, and ends when it is IDLE and
 * has reported the end of the last transfer (IDLE -> NONE).
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
    PCIATSInfoATC info;         /* @atc, as the monitor sees it */
    uint32_t epoch;             /* of ATS, when @atc was last flushed */
    uint32_t cancels;           /* number of pci_ats_dma_cancel() */
    bool suspended;             /* written with the BQL */
    Drain *calls;               /* see dma_transfer_begin_call() */
    PCIATSInject *inject;       /* or NULL */
    QEMUTimer *delay_timer;     /* of delayed responses, if there is @inject */

    QemuMutex listener_lock;
    IOMMUNotifier iotlb;        /* of all PASIDs */
    bool has_iotlb;             /* it is registered */
    GHashTable *listeners;      /* by PASID */
    QTAILQ_HEAD(, DMAListener) lru;

    QemuMutex lock;
    QemuCond responded;         /* a synchronous transfer may continue */
    QemuCond work;              /* for the worker */
    DMAGroups groups;
    unsigned settling;          /* threads in pci_ats_dma_settle() */
    DMATransferList list[DMA_PLACES];   /* none for DMA_RUNNING */
    DMALife life;               /* written under @lock, read at any time */
    DMAWorker worker;           /* leaves DMA_WORKER_RUNNING without @lock */
};

/* How long a transfer rests when there is no room for its page requests */
#define DMA_BACKOFF_MS      1

typedef enum DMAStep {
    DMA_STEP_ENDED,             /* with DMATransfer.ret */
    DMA_STEP_CONTINUES,
    DMA_STEP_WAITS,             /* for the response to DMATransfer.awaited */
    DMA_STEP_DELAYED,           /* until DMA_BACKOFF_MS have passed */
} DMAStep;

/* Set up a transfer, which is not moved in memory from here on */
void dma_transfer_init(DMATransfer *t, PCIATSDMA *dma, DMAMode mode,
                       const PCIATSDMATransfer *transfer);

/* Run a transfer as far as possible without waiting; never CONTINUES */
DMAStep dma_transfer_step(DMATransfer *t);

/*
 * Send the last request of each group that lacks it.  Returns false if there is
 * no room for it now.
 */
bool dma_transfer_send_last(DMATransfer *t);

/* Let others have the room that its demand page requests did not find */
void dma_transfer_end_starving(DMATransfer *t);

/* The transfer has ended; nothing refers to it when this returns */
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

/*
 * Find or register the listener of a PASID, and use it.  Returns 0; the error
 * of pci_iommu_check_pasid() or of the registration; or -EBUSY, when all PASIDs
 * that can be registered are in use.
 */
int dma_listener_get(PCIATSDMA *dma, uint32_t pasid, DMAListener **listener);

/* Stop using a listener */
void dma_listener_put(DMAListener *listener);

/* Register for responses, too; returns whether it is */
bool dma_listener_add_pri(DMAListener *listener);

/*
 * Is a response due to a loaded group of the PASID?  Then @listener, which is
 * got if it is NULL, receives it.
 */
bool dma_listener_has_loaded_groups(PCIATSDMA *dma, uint32_t pasid,
                                    DMAListener **listener);

/* Unregister all; no response or invalidation arrives when this returns */
void dma_listener_free_all(PCIATSDMA *dma);

/* A response to a group of a listener; called by the IOMMU in any thread */
void dma_response(IOMMUPRINotifier *notifier, IOMMUPRIResponse *response);

/* ---- Fault injection ---- */

/* Is a group to be refused in place of being sent? */
bool dma_inject_refusal(PCIATSDMA *dma, uint32_t pasid, hwaddr addr);

/*
 * Drop or delay a response, if that is wanted; returns whether it is.  Called
 * with @lock held.
 */
bool dma_inject_response(PCIATSDMA *dma, DMAGroup *group,
                         IOMMUPRIResponseCode code);

/* Is an invalidation to be ignored? */
bool dma_inject_ignores_invalidation(PCIATSDMA *dma);

#endif
