/*
 * PCIe test device for ATS, PRI and PASID
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The registers expose every call that a device model can make to its IOMMU.
 * docs/specs/pci-ats-testdev.rst describes the interface.
 *
 * The thread is joined with the BQL held when the device is unrealized.
 * Therefore no command in the thread may wait for the BQL, and
 * pci_ats_dma_suspend() ends commands that wait for the guest.
 */

#include "qemu/osdep.h"
#include "qemu/drain.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "qemu/timer.h"
#include "qemu/units.h"
#include "hw/misc/pci-ats-testdev.h"
#include "hw/pci/pci_ats_dma.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_device.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include "migration/vmstate-invalid.h"
#include "qapi/error.h"
#include "qom/object.h"
#include "pci-ats-testdev-map.h"

#define TYPE_PCI_ATS_TESTDEV "pci-ats-testdev"
OBJECT_DECLARE_TYPE(PCIATSTestDev, PCIATSTestDevClass, PCI_ATS_TESTDEV)

struct PCIATSTestDevClass {
    PCIDeviceClass parent_class;
    DeviceRealize parent_dc_realize;
};

/* The command and its arguments */
typedef struct ATDRequest {
    uint32_t command;
    uint32_t pasid;
    uint64_t addr;
    uint64_t length;
    uint64_t flags;
    uint64_t prgi;
    uint64_t max_results;
    uint64_t repeat;
    uint64_t step;
} ATDRequest;

/* Records the invalidations or responses of a PASID */
typedef struct ATDListener {
    struct PCIATSTestDev *dev;
    uint32_t pasid;
    uint32_t has_iotlb;
    uint32_t has_pri;
    IOMMUNotifier iotlb;
    IOMMUPRINotifier pri;
} ATDListener;

/* The migrated part of a listener, which is checked before it is registered */
typedef struct ATDSavedListener {
    uint32_t pasid;
    uint32_t has_iotlb;
    uint32_t has_pri;
} ATDSavedListener;

typedef struct ATDInvalidation {
    uint64_t addr;
    uint64_t mask;
    uint64_t pasid;
} ATDInvalidation;

typedef struct ATDResponse {
    uint64_t pasid;
    uint64_t prgi;
    uint64_t code;
} ATDResponse;

struct PCIATSTestDev {
    PCIDevice parent_obj;
    MemoryRegion regs;
    MemoryRegion data_region;

    bool has_ats;
    bool has_pasid;
    bool has_pri;
    uint8_t pasid_width;
    bool pasid_exec;
    bool pasid_priv;
    uint32_t pri_capacity;
    bool pri_response_pasid;
    uint32_t atc_entries;

    /* Written by the guest; protected by the BQL */
    ATDRequest req;
    uint64_t inv_index;
    uint64_t resp_index;

    ATDMap *map;                /* protected by the BQL */

    /* Results of the last command */
    int64_t ret;
    uint64_t err_count;
    uint64_t addr_width;
    uint64_t min_page_size;
    uint64_t nanoseconds;
    IOMMUTLBEntry *results;
    uint8_t *data;

    /* Protects @listeners, which the thread and the main loop change */
    QemuMutex listeners_lock;
    ATDListener listeners[ATD_LISTENERS];
    PCIATSDMA *dma;
    Drain *accesses;            /* of the thread that do not use @dma */
    /*
     * A reset has ended the command.  The thread may start a transfer for it
     * afterwards, when the guest has enabled the function again: the transfer
     * checks this, too.  Written with the BQL held.
     */
    bool cancelled;

    QemuThread thread;
    QemuCond cond;
    /* Protects the fields below, and the results while @busy */
    QemuMutex lock;
    bool busy;
    bool stopping;
    bool thread_has_req;
    ATDRequest thread_req;
    uint64_t inv_count;
    ATDInvalidation inv[ATD_LOG];
    uint64_t resp_count;
    ATDResponse resp[ATD_LOG];

    /* For migration only */
    ATDSavedListener saved[ATD_LISTENERS];
};

/* ---- Notifications ---- */

static void atd_invalidated(IOMMUNotifier *n, IOMMUTLBEntry *entry)
{
    ATDListener *l = n->opaque;
    PCIATSTestDev *d = l->dev;

    QEMU_LOCK_GUARD(&d->lock);
    d->inv[d->inv_count++ % ATD_LOG] = (ATDInvalidation) {
        .addr = entry->iova,
        .mask = entry->addr_mask,
        .pasid = l->pasid,
    };
}

static void atd_responded(IOMMUPRINotifier *n, IOMMUPRIResponse *response)
{
    ATDListener *l = container_of(n, ATDListener, pri);
    PCIATSTestDev *d = l->dev;

    QEMU_LOCK_GUARD(&d->lock);
    d->resp[d->resp_count++ % ATD_LOG] = (ATDResponse) {
        .pasid = l->pasid,
        .prgi = response->prgi,
        .code = response->response_code,
    };
}

/*
 * ---- Listeners ----
 *
 * Called with @listeners_lock held, or after the thread has ended.
 */

/* Returns the listener of @pasid; else a free listener if @add; else NULL */
static ATDListener *atd_listener(PCIATSTestDev *d, uint32_t pasid, bool add)
{
    ATDListener *unused = NULL;
    int i;

    for (i = 0; i < ATD_LISTENERS; i++) {
        ATDListener *l = &d->listeners[i];

        if (!l->has_iotlb && !l->has_pri) {
            unused = unused ?: l;
        } else if (l->pasid == pasid) {
            return l;
        }
    }
    if (add && unused) {
        unused->dev = d;
        unused->pasid = pasid;
        return unused;
    }
    return NULL;
}

static int atd_register_iotlb(PCIATSTestDev *d, ATDListener *l)
{
    PCIDevice *pci = PCI_DEVICE(d);
    int ret = pci_iommu_init_iotlb_notifier(pci, &l->iotlb, atd_invalidated, l);

    if (!ret) {
        ret = pci_iommu_register_iotlb_notifier(pci, l->pasid, &l->iotlb);
    }
    l->has_iotlb = !ret;
    return ret;
}

static int atd_register_pri(PCIATSTestDev *d, ATDListener *l)
{
    int ret;

    l->pri.notify = atd_responded;
    ret = pci_pri_register_notifier(PCI_DEVICE(d), l->pasid, &l->pri);
    l->has_pri = !ret;
    return ret;
}

static int atd_unregister_iotlb(PCIATSTestDev *d, ATDListener *l)
{
    l->has_iotlb = false;
    return pci_iommu_unregister_iotlb_notifier(PCI_DEVICE(d), l->pasid,
                                               &l->iotlb);
}

static void atd_unregister_pri(PCIATSTestDev *d, ATDListener *l)
{
    l->has_pri = false;
    pci_pri_unregister_notifier(PCI_DEVICE(d), l->pasid);
}

static void atd_unregister_all(PCIATSTestDev *d)
{
    int i;

    for (i = 0; i < ATD_LISTENERS; i++) {
        ATDListener *l = &d->listeners[i];

        if (l->has_iotlb) {
            atd_unregister_iotlb(d, l);
        }
        if (l->has_pri) {
            atd_unregister_pri(d, l);
        }
    }
}

/* ---- Mappings ---- */

static int64_t atd_map_command(PCIATSTestDev *d, const ATDRequest *req)
{
    if (!bql_locked()) {
        return -EINVAL;
    }
    if (req->command == ATD_CMD_REGISTER_MAP) {
        return atd_map_register(d->map);
    }
    return atd_map_unregister(d->map);
}

static uint64_t atd_map_read(PCIATSTestDev *d, hwaddr addr)
{
    switch (addr) {
    case ATD_MAP_COUNT:
        return atd_map_count(d->map);
    case ATD_MAP_ERRORS:
        return atd_map_errors(d->map);
    case ATD_MAP_ENTRIES:
        return atd_map_entries(d->map);
    default:
        return atd_map_translate(d->map, d->req.addr);
    }
}

/* ---- Commands ---- */

static int64_t atd_notifier_command(PCIATSTestDev *d, const ATDRequest *req)
{
    bool add = req->command == ATD_CMD_REGISTER_IOTLB ||
               req->command == ATD_CMD_REGISTER_PRI;
    ATDListener *l;

    QEMU_LOCK_GUARD(&d->listeners_lock);
    l = atd_listener(d, req->pasid, add);
    if (!l) {
        return add ? -ENOMEM : -ENOENT;
    }
    switch (req->command) {
    case ATD_CMD_REGISTER_IOTLB:
        return l->has_iotlb ? -EEXIST : atd_register_iotlb(d, l);
    case ATD_CMD_UNREGISTER_IOTLB:
        return l->has_iotlb ? atd_unregister_iotlb(d, l) : -ENOENT;
    case ATD_CMD_REGISTER_PRI:
        return l->has_pri ? -EEXIST : atd_register_pri(d, l);
    default:
        if (!l->has_pri) {
            return -ENOENT;
        }
        atd_unregister_pri(d, l);
        return 0;
    }
}

static int64_t atd_iotlb_info(PCIATSTestDev *d)
{
    uint8_t addr_width;
    uint32_t min_page_size;
    int ret = pci_iommu_get_iotlb_info(PCI_DEVICE(d), &addr_width,
                                       &min_page_size);

    if (!ret) {
        d->addr_width = addr_width;
        d->min_page_size = min_page_size;
    }
    return ret;
}

static void atd_store_result(PCIATSTestDev *d, size_t i,
                             const IOMMUTLBEntry *entry)
{
    uint8_t *p = d->data + ATD_RESULTS_OFFSET + i * ATD_RESULT_SIZE;

    stq_le_p(p, entry->iova);
    stq_le_p(p + 8, entry->translated_addr);
    stq_le_p(p + 16, entry->addr_mask);
    stl_le_p(p + 24, entry->perm);
    stl_le_p(p + 28, entry->pasid);
}

static int64_t atd_translate(PCIATSTestDev *d, PCIDevice *pci,
                             const ATDRequest *req)
{
    uint32_t err_count = 0;
    ssize_t ret;

    ret = pci_ats_request_translation(pci, req->pasid,
                                      req->flags & ATD_FLAG_PRIV,
                                      req->flags & ATD_FLAG_EXEC, req->addr,
                                      req->length,
                                      req->flags & ATD_FLAG_NO_WRITE,
                                      d->results, req->max_results,
                                      &err_count);
    d->err_count = err_count;
    return ret;
}

static void atd_store_results(PCIATSTestDev *d, const ATDRequest *req,
                              int64_t ret)
{
    size_t i, n = ret == -ENOMEM ? req->max_results : MAX(ret, 0);

    for (i = 0; i < n; i++) {
        atd_store_result(d, i, &d->results[i]);
    }
}

static int64_t atd_dma_once(PCIATSTestDev *d, const ATDRequest *req,
                            DMADirection dir)
{
    PCIDevice *pci = PCI_DEVICE(d);
    MemTxAttrs attrs = {
        .requester_id = pci_requester_id(pci),
        .address_type = req->flags & ATD_FLAG_TRANSLATED ? PCI_AT_TRANSLATED
                                                         : PCI_AT_UNTRANSLATED,
        /* The thread must not wait for the BQL: see atd_wait_for_accesses() */
        .memory = !bql_locked(),
    };

    if (req->pasid == PCI_NO_PASID || (req->flags & ATD_FLAG_TRANSLATED)) {
        return pci_dma_rw(pci, req->addr, d->data, req->length, dir, attrs);
    }
    return pci_pasid_dma_rw(pci, req->pasid, req->flags & ATD_FLAG_PRIV,
                            req->flags & ATD_FLAG_EXEC, req->addr, d->data,
                            req->length, dir);
}

/*
 * Called by the thread.  Either the thread sees that the guest or a reset has
 * forbidden the access, or atd_wait_for_accesses() waits for the access.
 */
static int64_t atd_dma_in_thread(PCIATSTestDev *d, const ATDRequest *req,
                                 DMADirection dir)
{
    PCIDevice *pci = PCI_DEVICE(d);
    unsigned access = drain_enter(d->accesses);
    unsigned untranslated = pci_untranslated_begin(pci);
    int64_t ret;

    if (qatomic_read(&d->cancelled)) {
        ret = -ECANCELED;
    } else if (!pci_iommu_is_thread_safe(pci)) {
        ret = -ENODEV;
    } else {
        ret = atd_dma_once(d, req, dir);
    }
    pci_untranslated_end(pci, untranslated);
    drain_leave(d->accesses, access);
    return ret;
}

static int64_t atd_dma(PCIATSTestDev *d, const ATDRequest *req,
                       DMADirection dir)
{
    if (req->length > ATD_BUFFER_SIZE) {
        return -E2BIG;
    }
    return bql_locked() ? atd_dma_once(d, req, dir)
                        : atd_dma_in_thread(d, req, dir);
}

/* Returns when all accesses that are no longer permitted have ended */
static void atd_wait_for_accesses(PCIATSTestDev *d)
{
    pci_ats_dma_recheck(d->dma);
    drain_wait(d->accesses);
}

static PCIATSDMATransfer atd_svm_transfer(PCIATSTestDev *d,
                                          const ATDRequest *req)
{
    return (PCIATSDMATransfer) {
        .pasid = req->pasid,
        .flags = (req->flags & ATD_FLAG_PRIV ? PCI_ATS_DMA_PRIV : 0) |
                 (req->flags & ATD_FLAG_EXEC ? PCI_ATS_DMA_EXEC : 0),
        .num_ranges = 1,
        .range = {
            { req->addr, req->command == ATD_CMD_SVM_READ
                         ? DMA_DIRECTION_TO_DEVICE
                         : DMA_DIRECTION_FROM_DEVICE },
        },
        .len = req->length,
        .buf = d->data,
        .cancel = &d->cancelled,
    };
}

static int64_t atd_svm_dma(PCIATSTestDev *d, const ATDRequest *req)
{
    PCIATSDMATransfer transfer = atd_svm_transfer(d, req);

    if (req->length > ATD_BUFFER_SIZE) {
        return -E2BIG;
    }
    return pci_ats_dma_run(d->dma, &transfer, NULL);
}

static int64_t atd_run(PCIATSTestDev *d, const ATDRequest *req)
{
    PCIDevice *pci = PCI_DEVICE(d);

    switch (req->command) {
    case ATD_CMD_IOTLB_INFO:
        return atd_iotlb_info(d);
    case ATD_CMD_REGISTER_IOTLB:
    case ATD_CMD_UNREGISTER_IOTLB:
    case ATD_CMD_REGISTER_PRI:
    case ATD_CMD_UNREGISTER_PRI:
        return atd_notifier_command(d, req);
    case ATD_CMD_TRANSLATE:
        return atd_translate(d, pci, req);
    case ATD_CMD_PAGE_REQUEST:
        return pci_pri_request_page(pci, req->pasid,
                                    req->flags & ATD_FLAG_PRIV,
                                    req->flags & ATD_FLAG_EXEC, req->addr,
                                    req->flags & ATD_FLAG_LAST, req->prgi,
                                    req->flags & ATD_FLAG_READ,
                                    req->flags & ATD_FLAG_WRITE);
    case ATD_CMD_DMA_READ:
        return atd_dma(d, req, DMA_DIRECTION_TO_DEVICE);
    case ATD_CMD_DMA_WRITE:
        return atd_dma(d, req, DMA_DIRECTION_FROM_DEVICE);
    case ATD_CMD_SVM_READ:
    case ATD_CMD_SVM_WRITE:
        return atd_svm_dma(d, req);
    case ATD_CMD_RESPONSE_FAILURE:
    case ATD_CMD_UNEXPECTED_PRGI:
        if (!d->has_pri) {
            return -ENODEV;
        }
        if (req->command == ATD_CMD_RESPONSE_FAILURE) {
            pcie_pri_response_failed(pci);
        } else {
            pcie_pri_unexpected_prgi(pci);
        }
        return 0;
    case ATD_CMD_REGISTER_MAP:
    case ATD_CMD_UNREGISTER_MAP:
        return atd_map_command(d, req);
    default:
        qemu_log_mask(LOG_GUEST_ERROR, "%s: no command %" PRIu32 "\n",
                      TYPE_PCI_ATS_TESTDEV, req->command);
        return -EINVAL;
    }
}

static bool atd_has_failed(const ATDRequest *req, int64_t ret)
{
    /* DMA returns a MemTxResult */
    bool is_dma = req->command == ATD_CMD_DMA_READ ||
                  req->command == ATD_CMD_DMA_WRITE;

    return is_dma ? ret != MEMTX_OK : ret < 0;
}

/* Repeat the command as requested, until it fails */
static int64_t atd_run_repeatedly(PCIATSTestDev *d, ATDRequest req)
{
    int64_t start = get_clock();
    int64_t ret;

    for (;;) {
        ret = atd_run(d, &req);
        if (atd_has_failed(&req, ret) || req.repeat <= 1 ||
            qatomic_read(&d->stopping) || qatomic_read(&d->cancelled)) {
            break;
        }
        req.repeat--;
        req.addr += req.step;
        req.prgi = (req.prgi + 1) & PCI_PRGI_MAX;
    }
    d->nanoseconds = get_clock() - start;
    if (req.command == ATD_CMD_TRANSLATE) {
        atd_store_results(d, &req, ret);
    }
    return ret;
}

static void atd_finish(PCIATSTestDev *d, int64_t ret)
{
    QEMU_LOCK_GUARD(&d->lock);
    d->ret = ret;
    d->busy = false;
}

/* Called by the thread of @dma; the device may have been unrealized */
static void atd_svm_done(void *opaque, int ret)
{
    PCIATSTestDev *d = opaque;
    BQL_LOCK_GUARD();

    atd_finish(d, ret);
    object_unref(OBJECT(d));
}

static void *atd_thread(void *opaque)
{
    PCIATSTestDev *d = opaque;

    rcu_register_thread();
    qemu_mutex_lock(&d->lock);
    while (!d->stopping) {
        if (d->thread_has_req) {
            ATDRequest req = d->thread_req;

            d->thread_has_req = false;
            qemu_mutex_unlock(&d->lock);
            atd_finish(d, atd_run_repeatedly(d, req));
            qemu_mutex_lock(&d->lock);
        } else {
            qemu_cond_wait(&d->cond, &d->lock);
        }
    }
    qemu_mutex_unlock(&d->lock);
    rcu_unregister_thread();
    return NULL;
}

static void atd_start(PCIATSTestDev *d)
{
    ATDRequest once;
    const ATDRequest *req = &d->req;

    WITH_QEMU_LOCK_GUARD(&d->lock) {
        if (d->busy) {
            qemu_log_mask(LOG_GUEST_ERROR, "%s: command while busy\n",
                          TYPE_PCI_ATS_TESTDEV);
            return;
        }
        d->busy = true;
        qatomic_set(&d->cancelled, false);
        if (req->flags & ATD_FLAG_THREAD) {
            d->thread_req = *req;
            d->thread_has_req = true;
            qemu_cond_signal(&d->cond);
            return;
        }
    }
    if ((req->flags & ATD_FLAG_ASYNC) && req->length <= ATD_BUFFER_SIZE &&
        (req->command == ATD_CMD_SVM_READ ||
         req->command == ATD_CMD_SVM_WRITE)) {
        PCIATSDMATransfer transfer = atd_svm_transfer(d, req);

        object_ref(OBJECT(d));
        pci_ats_dma_submit(d->dma, &transfer, atd_svm_done, d);
        return;
    }
    /* The BQL is held: do not repeat the command */
    once = *req;
    once.repeat = 1;
    atd_finish(d, atd_run_repeatedly(d, once));
}

/*
 * ---- Registers ----
 *
 * A processor that has found the device before it was unrealized, and then
 * waited for the BQL, may access the registers until the object is finalized.
 */

static uint64_t atd_enables(PCIATSTestDev *d)
{
    const PCIDevice *pci = PCI_DEVICE(d);

    return (pcie_bus_master_enabled(pci) ? ATD_ENABLE_BUS_MASTER : 0) |
           (pcie_ats_enabled(pci) ? ATD_ENABLE_ATS : 0) |
           (pcie_pri_enabled(pci) ? ATD_ENABLE_PRI : 0) |
           (pcie_pasid_enabled(pci) ? ATD_ENABLE_PASID : 0) |
           (pcie_pasid_exec_enabled(pci) ? ATD_ENABLE_EXEC : 0) |
           (pcie_pasid_priv_enabled(pci) ? ATD_ENABLE_PRIV : 0) |
           (pcie_pri_prg_response_has_pasid(pci) ? ATD_ENABLE_PRG_PASID : 0) |
           (uint64_t)pcie_ats_stu(pci) << ATD_ENABLE_STU_SHIFT |
           (uint64_t)pcie_pri_get_req_alloc(pci) << ATD_ENABLE_ALLOC_SHIFT;
}

static uint64_t atd_stat(PCIATSTestDev *d, hwaddr addr)
{
    PCIATCStats stats;

    pci_ats_dma_get_stats(d->dma, &stats);
    switch (addr) {
    case ATD_ATC_ENTRIES:
        return stats.entries;
    case ATD_ATC_HITS:
        return stats.hits;
    case ATD_ATC_MISSES:
        return stats.misses;
    default:
        return stats.invalidations;
    }
}

static uint64_t atd_log_read(PCIATSTestDev *d, hwaddr addr)
{
    const ATDInvalidation *inv = &d->inv[d->inv_index % ATD_LOG];
    const ATDResponse *resp = &d->resp[d->resp_index % ATD_LOG];

    QEMU_LOCK_GUARD(&d->lock);
    switch (addr) {
    case ATD_INV_COUNT:
        return d->inv_count;
    case ATD_INV_ADDR:
        return inv->addr;
    case ATD_INV_MASK:
        return inv->mask;
    case ATD_INV_PASID:
        return inv->pasid;
    case ATD_RESP_COUNT:
        return d->resp_count;
    case ATD_RESP_PASID:
        return resp->pasid;
    case ATD_RESP_PRGI:
        return resp->prgi;
    default:
        return resp->code;
    }
}

static uint64_t atd_result_read(PCIATSTestDev *d, hwaddr addr)
{
    QEMU_LOCK_GUARD(&d->lock);
    switch (addr) {
    case ATD_BUSY:
        return d->busy;
    case ATD_RETURN:
        return d->ret;
    case ATD_ERR_COUNT:
        return d->err_count;
    case ATD_ADDR_WIDTH:
        return d->addr_width;
    case ATD_MIN_PAGE_SIZE:
        return d->min_page_size;
    default:
        return d->nanoseconds;
    }
}

static uint64_t atd_regs_read(void *opaque, hwaddr addr, unsigned size)
{
    PCIATSTestDev *d = opaque;

    if (!DEVICE(d)->realized) {
        return UINT64_MAX;
    }
    switch (addr) {
    case ATD_ID:
        return ATD_ID_VALUE;
    case ATD_ENABLES:
        return atd_enables(d);
    case ATD_PASID:
        return d->req.pasid;
    case ATD_ADDR:
        return d->req.addr;
    case ATD_LENGTH:
        return d->req.length;
    case ATD_FLAGS:
        return d->req.flags;
    case ATD_PRGI:
        return d->req.prgi;
    case ATD_MAX_RESULTS:
        return d->req.max_results;
    case ATD_REPEAT:
        return d->req.repeat;
    case ATD_STEP:
        return d->req.step;
    case ATD_BUSY ... ATD_MIN_PAGE_SIZE:
    case ATD_NANOSECONDS:
        return atd_result_read(d, addr);
    case ATD_OUTSTANDING:
        return pcie_pri_outstanding(PCI_DEVICE(d));
    case ATD_INV_INDEX:
        return d->inv_index;
    case ATD_RESP_INDEX:
        return d->resp_index;
    case ATD_INV_COUNT:
    case ATD_INV_ADDR ... ATD_INV_PASID:
    case ATD_RESP_COUNT:
    case ATD_RESP_PASID ... ATD_RESP_CODE:
        return atd_log_read(d, addr);
    case ATD_ATC_ENTRIES ... ATD_ATC_INVALIDATIONS:
        return atd_stat(d, addr);
    case ATD_MAP_COUNT ... ATD_MAP_TRANSLATED:
        return atd_map_read(d, addr);
    default:
        qemu_log_mask(LOG_GUEST_ERROR, "%s: no register 0x%" HWADDR_PRIx "\n",
                      TYPE_PCI_ATS_TESTDEV, addr);
        return 0;
    }
}

static void atd_regs_write(void *opaque, hwaddr addr, uint64_t val,
                           unsigned size)
{
    PCIATSTestDev *d = opaque;

    if (!DEVICE(d)->realized) {
        return;
    }
    switch (addr) {
    case ATD_PASID:
        d->req.pasid = val;
        break;
    case ATD_ADDR:
        d->req.addr = val;
        break;
    case ATD_LENGTH:
        d->req.length = val;
        break;
    case ATD_FLAGS:
        d->req.flags = val;
        break;
    case ATD_PRGI:
        d->req.prgi = val & UINT16_MAX;
        break;
    case ATD_MAX_RESULTS:
        d->req.max_results = MIN(val, ATD_RESULTS_MAX);
        break;
    case ATD_REPEAT:
        d->req.repeat = val;
        break;
    case ATD_STEP:
        d->req.step = val;
        break;
    case ATD_COMMAND:
        d->req.command = val;
        atd_start(d);
        break;
    case ATD_INV_INDEX:
        d->inv_index = val;
        break;
    case ATD_RESP_INDEX:
        d->resp_index = val;
        break;
    default:
        qemu_log_mask(LOG_GUEST_ERROR,
                      "%s: no writable register 0x%" HWADDR_PRIx "\n",
                      TYPE_PCI_ATS_TESTDEV, addr);
        break;
    }
}

static const MemoryRegionOps atd_regs_ops = {
    .read = atd_regs_read,
    .write = atd_regs_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {
        .min_access_size = 8,
        .max_access_size = 8,
    },
    .impl = {
        .min_access_size = 8,
        .max_access_size = 8,
    },
};

/* ---- Life cycle ---- */

static void atd_add_capabilities(PCIATSTestDev *d)
{
    PCIDevice *pci = PCI_DEVICE(d);
    uint16_t offset = PCI_CONFIG_SPACE_SIZE;

    pcie_endpoint_cap_init(pci, 0x80);
    pcie_cap_flr_init(pci);
    if (d->has_ats) {
        pcie_ats_init(pci, offset, true);
        offset += PCI_EXT_CAP_ATS_SIZEOF;
    }
    if (d->has_pasid) {
        pcie_pasid_init(pci, offset, d->pasid_width, d->pasid_exec,
                        d->pasid_priv);
        offset += PCI_EXT_CAP_PASID_SIZEOF;
    }
    if (d->has_pri) {
        pcie_pri_init(pci, offset, d->pri_capacity, d->pri_response_pasid);
    }
}

static void atd_realize(PCIDevice *pci, Error **errp)
{
    PCIATSTestDev *d = PCI_ATS_TESTDEV(pci);
    void *data;

    if (d->pasid_width > PCI_PASID_WIDTH_MAX) {
        error_setg(errp, "pasid-width must be at most %d", PCI_PASID_WIDTH_MAX);
        return;
    }
    qemu_mutex_init(&d->listeners_lock);
    if (!memory_region_init_ram(&d->data_region, OBJECT(d),
                                "pci-ats-testdev-data", ATD_DATA_SIZE, errp)) {
        return;
    }
    data = memory_region_get_ram_ptr(&d->data_region);
    d->data = data;
    memory_region_init_io(&d->regs, OBJECT(d), &atd_regs_ops, d,
                          "pci-ats-testdev-regs", ATD_REGS_SIZE);
    pci_register_bar(pci, 0, PCI_BASE_ADDRESS_SPACE_MEMORY |
                     PCI_BASE_ADDRESS_MEM_TYPE_64, &d->regs);
    pci_register_bar(pci, 2, PCI_BASE_ADDRESS_SPACE_MEMORY |
                     PCI_BASE_ADDRESS_MEM_TYPE_64, &d->data_region);
    if (pci_is_express(pci)) {
        atd_add_capabilities(d);
    } else {
        /* The capabilities are in extended configuration space */
        d->has_ats = d->has_pasid = d->has_pri = false;
    }

    d->results = g_new(IOMMUTLBEntry, ATD_RESULTS_MAX);
    d->map = atd_map_new(pci);
    d->dma = pci_ats_dma_new(pci, d->atc_entries);
    d->accesses = drain_new();
    qemu_thread_create(&d->thread, TYPE_PCI_ATS_TESTDEV, atd_thread, d,
                       QEMU_THREAD_JOINABLE);
}

static void atd_exit(PCIDevice *pci)
{
    PCIATSTestDev *d = PCI_ATS_TESTDEV(pci);

    WITH_QEMU_LOCK_GUARD(&d->lock) {
        qatomic_set(&d->stopping, true);
        qemu_cond_signal(&d->cond);
    }
    pci_ats_dma_suspend(d->dma);
    qemu_thread_join(&d->thread);
    /* Another device may be realized while this RAM is still in use */
    vmstate_unregister_ram(&d->data_region, DEVICE(d));
    pci_ats_dma_close(d->dma);
    drain_free(d->accesses);
    g_free(d->results);
    atd_unregister_all(d);
    atd_map_free(d->map);
    if (pci_is_express(pci)) {
        pcie_cap_exit(pci);
    }
    qemu_mutex_destroy(&d->listeners_lock);
}

static void atd_write_config(PCIDevice *pci, uint32_t addr, uint32_t val,
                             int len)
{
    pci_default_write_config(pci, addr, val, len);
    if (pci_is_express(pci)) {
        pcie_cap_flr_write_config(pci, addr, val, len);
    }
    atd_wait_for_accesses(PCI_ATS_TESTDEV(pci));
}

/* Listeners stay registered, to record the responses to dropped requests */
static void atd_reset(DeviceState *qdev)
{
    PCIATSTestDev *d = PCI_ATS_TESTDEV(qdev);

    /* The control registers are reset afterwards */
    qatomic_set(&d->cancelled, true);
    pci_ats_dma_cancel(d->dma);
    atd_wait_for_accesses(d);

    memset(&d->req, 0, sizeof(d->req));
    d->req.pasid = PCI_NO_PASID;
    d->inv_index = 0;
    d->resp_index = 0;
    QEMU_LOCK_GUARD(&d->lock);
    d->inv_count = 0;
    d->resp_count = 0;
}

static void atd_dc_realize(DeviceState *qdev, Error **errp)
{
    PCIATSTestDevClass *k = PCI_ATS_TESTDEV_GET_CLASS(qdev);
    PCIDevice *pci = PCI_DEVICE(qdev);

    if (pci_bus_is_express(pci_get_bus(pci))) {
        pci->cap_present |= QEMU_PCI_CAP_EXPRESS;
    }
    k->parent_dc_realize(qdev, errp);
}

static int atd_pre_save(void *opaque)
{
    PCIATSTestDev *d = opaque;
    int i;

    QEMU_LOCK_GUARD(&d->listeners_lock);
    for (i = 0; i < ATD_LISTENERS; i++) {
        d->saved[i] = (ATDSavedListener) {
            .pasid = d->listeners[i].pasid,
            .has_iotlb = d->listeners[i].has_iotlb,
            .has_pri = d->listeners[i].has_pri,
        };
    }
    return 0;
}

/* Drop the listeners of the state before loadvm */
static int atd_pre_load(void *opaque)
{
    PCIATSTestDev *d = opaque;

    atd_map_unregister(d->map);
    QEMU_LOCK_GUARD(&d->listeners_lock);
    atd_unregister_all(d);
    return 0;
}

static bool atd_saved_is_used(const ATDSavedListener *saved)
{
    return saved->has_iotlb || saved->has_pri;
}

/* Each PASID has one listener at most */
static bool atd_saved_pasid_is_valid(const PCIATSTestDev *d, int i)
{
    uint32_t pasid = d->saved[i].pasid;
    int j;

    if (!atd_saved_is_used(&d->saved[i])) {
        return true;
    }
    for (j = 0; j < i; j++) {
        if (atd_saved_is_used(&d->saved[j]) && d->saved[j].pasid == pasid) {
            return false;
        }
    }
    return pasid <= PCI_PASID_MAX || pasid == PCI_NO_PASID;
}

/* Returns the name of a field that is invalid, or NULL */
static const char *atd_check_saved(const PCIATSTestDev *d)
{
    int i;

    for (i = 0; i < ATD_LISTENERS; i++) {
        if (d->saved[i].has_iotlb > 1) {
            return "has_iotlb";
        }
        if (d->saved[i].has_pri > 1) {
            return "has_pri";
        }
        if (!atd_saved_pasid_is_valid(d, i)) {
            return "pasid";
        }
    }
    return NULL;
}

/* Registration fails if the guest has disabled ATS, PRI or PASID since */
static void atd_load_listener(PCIATSTestDev *d, const ATDSavedListener *saved)
{
    ATDListener *l = atd_listener(d, saved->pasid, true);

    if (saved->has_iotlb) {
        atd_register_iotlb(d, l);
    }
    if (saved->has_pri) {
        atd_register_pri(d, l);
    }
}

static int atd_post_load(void *opaque, int version_id)
{
    PCIATSTestDev *d = opaque;
    const char *invalid = atd_check_saved(d);
    int i;

    if (invalid) {
        return vmstate_report_invalid(TYPE_PCI_ATS_TESTDEV, invalid);
    }
    QEMU_LOCK_GUARD(&d->listeners_lock);
    /* The thread may have registered listeners since atd_pre_load() */
    atd_unregister_all(d);
    for (i = 0; i < ATD_LISTENERS; i++) {
        if (atd_saved_is_used(&d->saved[i])) {
            atd_load_listener(d, &d->saved[i]);
        }
    }
    return 0;
}

static const VMStateDescription vmstate_atd_listener = {
    .name = "pci-ats-testdev/listener",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(pasid, ATDSavedListener),
        VMSTATE_UINT32(has_iotlb, ATDSavedListener),
        VMSTATE_UINT32(has_pri, ATDSavedListener),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_atd = {
    .name = TYPE_PCI_ATS_TESTDEV,
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = atd_pre_save,
    .pre_load = atd_pre_load,
    .post_load = atd_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, PCIATSTestDev),
        VMSTATE_STRUCT_ARRAY(saved, PCIATSTestDev, ATD_LISTENERS, 1,
                             vmstate_atd_listener, ATDSavedListener),
        VMSTATE_END_OF_LIST()
    }
};

/* Asynchronous DMA uses the lock after the device has been unrealized */
static void atd_instance_init(Object *obj)
{
    PCIATSTestDev *d = PCI_ATS_TESTDEV(obj);

    qemu_mutex_init(&d->lock);
    qemu_cond_init(&d->cond);
}

static void atd_instance_finalize(Object *obj)
{
    PCIATSTestDev *d = PCI_ATS_TESTDEV(obj);

    qemu_cond_destroy(&d->cond);
    qemu_mutex_destroy(&d->lock);
}

static const Property atd_properties[] = {
    DEFINE_PROP_BOOL("ats", PCIATSTestDev, has_ats, true),
    DEFINE_PROP_BOOL("pasid", PCIATSTestDev, has_pasid, true),
    DEFINE_PROP_UINT8("pasid-width", PCIATSTestDev, pasid_width,
                      PCI_PASID_WIDTH_MAX),
    DEFINE_PROP_BOOL("pasid-exec", PCIATSTestDev, pasid_exec, true),
    DEFINE_PROP_BOOL("pasid-priv", PCIATSTestDev, pasid_priv, true),
    DEFINE_PROP_BOOL("pri", PCIATSTestDev, has_pri, true),
    DEFINE_PROP_UINT32("pri-capacity", PCIATSTestDev, pri_capacity, 32),
    DEFINE_PROP_BOOL("pri-response-pasid", PCIATSTestDev, pri_response_pasid,
                     true),
    DEFINE_PROP_UINT32("atc-entries", PCIATSTestDev, atc_entries, 1024),
};

static void atd_class_init(ObjectClass *klass, void *opaque)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = atd_realize;
    k->exit = atd_exit;
    k->config_write = atd_write_config;
    k->vendor_id = PCI_VENDOR_ID_QEMU;
    k->device_id = ATD_DEVICE_ID;
    k->class_id = PCI_CLASS_OTHERS;
    dc->desc = "PCIe test device for ATS, PRI and PASID";
    dc->vmsd = &vmstate_atd;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_legacy_reset(dc, atd_reset);
    device_class_set_props(dc, atd_properties);
    device_class_set_parent_realize(dc, atd_dc_realize,
                                    &PCI_ATS_TESTDEV_CLASS(klass)
                                    ->parent_dc_realize);
}

static const TypeInfo atd_info = {
    .name          = TYPE_PCI_ATS_TESTDEV,
    .parent        = TYPE_PCI_DEVICE,
    .instance_size = sizeof(PCIATSTestDev),
    .class_size    = sizeof(PCIATSTestDevClass),
    .instance_init = atd_instance_init,
    .instance_finalize = atd_instance_finalize,
    .class_init    = atd_class_init,
    .interfaces = (InterfaceInfo[]) {
        { INTERFACE_CONVENTIONAL_PCI_DEVICE },
        { INTERFACE_PCIE_DEVICE },
        { },
    },
};

static void atd_register_types(void)
{
    type_register_static(&atd_info);
}

type_init(atd_register_types)
