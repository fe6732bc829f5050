/*
 * Device-TLBs of an IOMMU, and their invalidation
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "qemu/lockable.h"
#include "qemu/queue.h"
#include "qemu/thread.h"
#include "hw/pci/pci_ats_info.h"
#include "hw/pci/pci_bus.h"
#include "iommu_dev_tlb.h"
#include "trace.h"

#define PAGE_SHIFT      12
#define SID_CACHE_SIZE  256

/* Pages that a notifier looks up in its ATC in one unit of work */
#define PAGES_PER_WORK  8

/* Sources that a search checks in one unit of work */
#define SOURCES_PER_WORK 8

/* A notifier or a memory region; neither is set after unregistering */
typedef struct Listener {
    IOMMUNotifier *n;
    IOMMUMemoryRegion *mr;
    uint32_t pasid;
    QLIST_ENTRY(Listener) of_device;
    QLIST_ENTRY(Listener) of_pasid;
} Listener;

typedef QLIST_HEAD(, Listener) ListenerList;

/* A source.  Its id changes when the guest assigns bus numbers. */
typedef struct Source {
    PCIBus *bus;
    uint8_t devfn;
    ListenerList listeners;
    GHashTable *by_pasid;       /* PASID -> ListenerList */
    unsigned n;
    /* Source id of the last lookup that found this source */
    uint16_t cached_sid;
} Source;

struct IOMMUDevTLB {
    /* Recursive, so that a notifier may register and unregister */
    QemuRecMutex lock;
    GHashTable *sources;
    Source *by_sid[SID_CACHE_SIZE];
    /* Invalidations in progress, and whether listeners are to be freed */
    unsigned depth;
    bool dead;
};

static guint source_hash(gconstpointer v)
{
    const Source *src = v;

    return g_direct_hash(src->bus) * 31 + src->devfn;
}

static gboolean source_equal(gconstpointer a, gconstpointer b)
{
    const Source *x = a, *y = b;

    return x->bus == y->bus && x->devfn == y->devfn;
}

static void source_free(gpointer v)
{
    Source *src = v;

    g_hash_table_destroy(src->by_pasid);
    g_free(src);
}

IOMMUDevTLB *iommu_dev_tlb_new(void)
{
    IOMMUDevTLB *dt = g_new0(IOMMUDevTLB, 1);

    qemu_rec_mutex_init(&dt->lock);
    dt->sources = g_hash_table_new_full(source_hash, source_equal, NULL,
                                        source_free);
    return dt;
}

static Source *source_get(IOMMUDevTLB *dt, PCIBus *bus, int devfn)
{
    Source key = { .bus = bus, .devfn = devfn };

    return g_hash_table_lookup(dt->sources, &key);
}

static Source *source_add(IOMMUDevTLB *dt, PCIBus *bus, int devfn)
{
    Source *src = source_get(dt, bus, devfn);

    if (!src) {
        src = g_new0(Source, 1);
        src->bus = bus;
        src->devfn = devfn;
        QLIST_INIT(&src->listeners);
        src->by_pasid = g_hash_table_new_full(NULL, NULL, NULL, g_free);
        g_hash_table_add(dt->sources, src);
    }
    return src;
}

static bool source_has_sid(const Source *src, uint16_t sid)
{
    return src->devfn == PCI_BDF_TO_DEVFN(sid) &&
           pci_bus_num(src->bus) == PCI_BUS_NUM(sid);
}

static Source **sid_slot(IOMMUDevTLB *dt, uint16_t sid)
{
    return &dt->by_sid[(sid ^ sid >> 8) % SID_CACHE_SIZE];
}

/* Cache a source under @sid, and under no other source id */
static void source_cache(IOMMUDevTLB *dt, Source *src, uint16_t sid)
{
    Source **old = sid_slot(dt, src->cached_sid);

    if (*old == src) {
        *old = NULL;
    }
    *sid_slot(dt, sid) = src;
    src->cached_sid = sid;
}

/* Adds the work of the search to @work */
static Source *source_find(IOMMUDevTLB *dt, uint16_t sid, unsigned *work)
{
    Source *src = *sid_slot(dt, sid);
    GHashTableIter iter;

    if (src && source_has_sid(src, sid)) {
        return src;
    }
    *work += g_hash_table_size(dt->sources) / SOURCES_PER_WORK;
    g_hash_table_iter_init(&iter, dt->sources);
    while (g_hash_table_iter_next(&iter, (gpointer *)&src, NULL)) {
        if (source_has_sid(src, sid)) {
            source_cache(dt, src, sid);
            return src;
        }
    }
    return NULL;
}

static ListenerList *source_pasid(Source *src, uint32_t pasid)
{
    return g_hash_table_lookup(src->by_pasid, GUINT_TO_POINTER(pasid));
}

static void listener_add(IOMMUDevTLB *dt, PCIBus *bus, int devfn,
                         uint32_t pasid, IOMMUNotifier *n,
                         IOMMUMemoryRegion *mr)
{
    Listener *l = g_new0(Listener, 1);
    ListenerList *list;
    Source *src;

    l->n = n;
    l->mr = mr;
    l->pasid = pasid;

    qemu_rec_mutex_lock(&dt->lock);
    src = source_add(dt, bus, devfn);
    list = source_pasid(src, pasid);
    if (!list) {
        list = g_new0(ListenerList, 1);
        g_hash_table_insert(src->by_pasid, GUINT_TO_POINTER(pasid), list);
    }
    QLIST_INSERT_HEAD(&src->listeners, l, of_device);
    QLIST_INSERT_HEAD(list, l, of_pasid);
    src->n++;
    qemu_rec_mutex_unlock(&dt->lock);
}

/* Not called while an invalidation traverses the lists */
static void listener_free(IOMMUDevTLB *dt, Source *src, Listener *l)
{
    ListenerList *list = source_pasid(src, l->pasid);

    QLIST_REMOVE(l, of_device);
    QLIST_REMOVE(l, of_pasid);
    if (QLIST_EMPTY(list)) {
        g_hash_table_remove(src->by_pasid, GUINT_TO_POINTER(l->pasid));
    }
    g_free(l);
    src->n--;
}

static gboolean source_sweep(gpointer key, gpointer value, gpointer opaque)
{
    IOMMUDevTLB *dt = opaque;
    Source *src = key;
    Source **slot = sid_slot(dt, src->cached_sid);
    Listener *l, *next;

    QLIST_FOREACH_SAFE(l, &src->listeners, of_device, next) {
        if (!l->n && !l->mr) {
            listener_free(dt, src, l);
        }
    }
    if (src->n) {
        return false;
    }
    if (*slot == src) {
        *slot = NULL;
    }
    return true;
}

static void dev_tlb_sweep(IOMMUDevTLB *dt, Source *src)
{
    if (source_sweep(src, NULL, dt)) {
        g_hash_table_remove(dt->sources, src);
    }
}

static void listener_remove(IOMMUDevTLB *dt, PCIBus *bus, int devfn,
                            uint32_t pasid, IOMMUNotifier *n,
                            IOMMUMemoryRegion *mr)
{
    ListenerList *list;
    Listener *l;
    Source *src;

    QEMU_LOCK_GUARD(&dt->lock);
    src = source_get(dt, bus, devfn);
    list = src ? source_pasid(src, pasid) : NULL;
    if (!list) {
        return;
    }
    QLIST_FOREACH(l, list, of_pasid) {
        if (l->n == n && l->mr == mr) {
            l->n = NULL;
            l->mr = NULL;
            break;
        }
    }
    if (!dt->depth) {
        dev_tlb_sweep(dt, src);
    } else {
        dt->dead = true;
    }
}

void iommu_dev_tlb_init_notifier(PCIBus *bus, void *opaque, int devfn,
                                 IOMMUNotifier *n, IOMMUNotify fn,
                                 void *user_opaque)
{
    iommu_notifier_init(n, fn, IOMMU_NOTIFIER_DEVIOTLB_EVENTS, 0, HWADDR_MAX,
                        0);
    n->opaque = user_opaque;
}

void iommu_dev_tlb_register(IOMMUDevTLB *dt, PCIBus *bus, int devfn,
                            uint32_t pasid, IOMMUNotifier *n)
{
    listener_add(dt, bus, devfn, pasid, n, NULL);
}

void iommu_dev_tlb_unregister(IOMMUDevTLB *dt, PCIBus *bus, int devfn,
                              uint32_t pasid, IOMMUNotifier *n)
{
    listener_remove(dt, bus, devfn, pasid, n, NULL);
}

void iommu_dev_tlb_register_region(IOMMUDevTLB *dt, PCIBus *bus, int devfn,
                                   uint32_t pasid, IOMMUMemoryRegion *mr)
{
    listener_add(dt, bus, devfn, pasid, NULL, mr);
}

void iommu_dev_tlb_unregister_region(IOMMUDevTLB *dt, PCIBus *bus, int devfn,
                                     uint32_t pasid, IOMMUMemoryRegion *mr)
{
    listener_remove(dt, bus, devfn, pasid, NULL, mr);
}

/*
 * An ATC is searched for each page of a range, up to some number of pages, and
 * is cleared if the range is the whole address space.
 */
static unsigned notifier_work(hwaddr mask)
{
    hwaddr pages = mask >> PAGE_SHIFT;

    return IOMMU_INV_WORK_NOTIFIER +
           (mask == UINT64_MAX ? 0 : MIN(pages / PAGES_PER_WORK,
                                         IOMMU_INV_WORK_SEARCH));
}

/* Returns the work */
static unsigned listener_notify(Listener *l, uint32_t pasid,
                                IOMMUTLBEvent *event)
{
    event->entry.pasid = l->pasid == PCI_ANY_PASID ? pasid : l->pasid;
    if (l->n) {
        memory_region_notify_iommu_one(l->n, event);
        return notifier_work(event->entry.addr_mask);
    } else if (l->mr) {
        memory_region_notify_iommu(l->mr, 0, *event);
        return SLICED_WORK_REGION;
    }
    return 0;
}

/* Notify the listeners that are registered for @key of @pasid */
static unsigned source_notify_pasid(Source *src, uint32_t key, uint32_t pasid,
                                    IOMMUTLBEvent *event)
{
    ListenerList *list = source_pasid(src, key);
    unsigned work = 0;
    Listener *l;

    if (list) {
        QLIST_FOREACH(l, list, of_pasid) {
            work += listener_notify(l, pasid, event);
        }
    }
    return work;
}

static unsigned source_invalidate(Source *src, IOMMUDevTLBScope scope,
                                  uint32_t pasid, IOMMUTLBEvent *event)
{
    unsigned work = 0;
    Listener *l;

    if (scope == IOMMU_DEV_TLB_PASID) {
        return source_notify_pasid(src, pasid, pasid, event) +
               source_notify_pasid(src, PCI_ANY_PASID, pasid, event);
    }
    QLIST_FOREACH(l, &src->listeners, of_device) {
        if (scope == IOMMU_DEV_TLB_NO_PASID || l->pasid != PCI_NO_PASID) {
            work += listener_notify(l, PCI_ANY_PASID, event);
        }
    }
    return work;
}

/* The size encoding of ATS Invalidate Requests (PCIe 5.0, 10.3.1) */
static hwaddr dev_tlb_mask(hwaddr addr, bool size)
{
    unsigned shift = PAGE_SHIFT;

    if (size) {
        shift += 1 + cto64(addr >> PAGE_SHIFT);
    }
    return shift < 64 ? (1ULL << shift) - 1 : UINT64_MAX;
}

/* Count the Invalidate Request for the monitor */
static void source_count(const Source *src, IOMMUDevTLBScope scope,
                         uint32_t pasid, const IOMMUTLBEntry *entry)
{
    static const PCIATSInvalidation kinds[] = {
        [IOMMU_DEV_TLB_NO_PASID] = PCI_ATS_INV_NO_PASID,
        [IOMMU_DEV_TLB_PASID] = PCI_ATS_INV_PASID,
        [IOMMU_DEV_TLB_ALL_PASIDS] = PCI_ATS_INV_ALL_PASIDS,
    };

    pci_ats_invalidate_requested(src->bus, src->devfn, kinds[scope],
                                 scope == IOMMU_DEV_TLB_PASID ? pasid
                                                            : PCI_NO_PASID,
                                 entry->iova, entry->addr_mask);
}

unsigned iommu_dev_tlb_invalidate(IOMMUDevTLB *dt, uint16_t sid,
                                  IOMMUDevTLBScope scope, uint32_t pasid,
                                  hwaddr addr, bool size)
{
    hwaddr mask = dev_tlb_mask(addr, size);
    IOMMUTLBEvent event = {
        .type = IOMMU_NOTIFIER_DEVIOTLB_UNMAP,
        .entry = {
            .target_as = &address_space_memory,
            .iova = addr & ~mask,
            .addr_mask = mask,
            .perm = IOMMU_NONE,
        },
    };
    unsigned work = 0;
    Source *src;

    trace_iommu_dev_tlb_invalidate(sid, scope, pasid, event.entry.iova, mask);

    QEMU_LOCK_GUARD(&dt->lock);
    src = source_find(dt, sid, &work);
    if (!src) {
        return work;
    }
    source_count(src, scope, pasid, &event.entry);
    dt->depth++;
    work += source_invalidate(src, scope, pasid, &event);
    dt->depth--;
    if (!dt->depth && dt->dead) {
        dt->dead = false;
        g_hash_table_foreach_remove(dt->sources, source_sweep, dt);
    }
    return work;
}
