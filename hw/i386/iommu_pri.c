/*
 * Responders of page requests: listeners by function and PASID
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/lockable.h"
#include "qemu/queue.h"
#include "qemu/thread.h"
#include "hw/pci/pci_bus.h"
#include "iommu_pri.h"

/* A notifier of a function and PASID */
typedef struct Responder {
    PCIBus *bus;
    IOMMUPRINotifier *notifier;
    QLIST_ENTRY(Responder) next;
    QLIST_ENTRY(Responder) of_function;
} Responder;

/* Responders with equal device and function number and PASID, on any bus */
typedef QLIST_HEAD(, Responder) ResponderList;

/* A function with at least one responder */
typedef struct Function {
    PCIBus *bus;
    QLIST_HEAD(, Responder) responders;
    QLIST_ENTRY(Function) next;
} Function;

struct IOMMUPRIResponders {
    /* Protects all members.  No notifier is called with @lock held. */
    QemuMutex lock;
    GHashTable *by_key;         /* responder_key() -> ResponderList */
    /* By device and function number */
    QLIST_HEAD(, Function) functions[PCI_DEVFN_MAX];
};

/* Bus numbers are not part of the key, since a guest may change them. */
static uint64_t responder_key(uint8_t devfn, uint32_t pasid)
{
    return (uint64_t)devfn << 32 | pasid;
}

/* Returns NULL if there are none */
static ResponderList *list_locked(IOMMUPRIResponders *responders,
                                  uint8_t devfn, uint32_t pasid)
{
    uint64_t key = responder_key(devfn, pasid);

    return g_hash_table_lookup(responders->by_key, &key);
}

static Responder *find_locked(IOMMUPRIResponders *responders, PCIBus *bus,
                              uint8_t devfn, uint32_t pasid)
{
    ResponderList *list = list_locked(responders, devfn, pasid);
    Responder *r;

    if (list) {
        QLIST_FOREACH(r, list, next) {
            if (r->bus == bus) {
                return r;
            }
        }
    }
    return NULL;
}

static Responder *find_sid_locked(IOMMUPRIResponders *responders, uint16_t sid,
                                  uint32_t pasid)
{
    ResponderList *list = list_locked(responders, PCI_BDF_TO_DEVFN(sid),
                                      pasid);
    Responder *r;

    if (list) {
        QLIST_FOREACH(r, list, next) {
            if (pci_bus_num(r->bus) == PCI_BUS_NUM(sid)) {
                return r;
            }
        }
    }
    return NULL;
}

static Function *find_function_locked(IOMMUPRIResponders *responders,
                                      PCIBus *bus, uint8_t devfn)
{
    Function *f;

    QLIST_FOREACH(f, &responders->functions[devfn], next) {
        if (f->bus == bus) {
            return f;
        }
    }
    return NULL;
}

/* Finds any responder of the function with a source id */
static Responder *find_any_locked(IOMMUPRIResponders *responders, uint16_t sid)
{
    Function *f;

    QLIST_FOREACH(f, &responders->functions[PCI_BDF_TO_DEVFN(sid)], next) {
        if (pci_bus_num(f->bus) == PCI_BUS_NUM(sid)) {
            return QLIST_FIRST(&f->responders);
        }
    }
    return NULL;
}

static void add_to_function_locked(IOMMUPRIResponders *responders,
                                   Responder *r, uint8_t devfn)
{
    Function *f = find_function_locked(responders, r->bus, devfn);

    if (!f) {
        f = g_new0(Function, 1);
        f->bus = r->bus;
        QLIST_INSERT_HEAD(&responders->functions[devfn], f, next);
    }
    QLIST_INSERT_HEAD(&f->responders, r, of_function);
}

static void remove_from_function_locked(IOMMUPRIResponders *responders,
                                        Responder *r, uint8_t devfn)
{
    Function *f = find_function_locked(responders, r->bus, devfn);

    QLIST_REMOVE(r, of_function);
    if (QLIST_EMPTY(&f->responders)) {
        QLIST_REMOVE(f, next);
        g_free(f);
    }
}

int iommu_pri_register(IOMMUPRIResponders *responders, PCIBus *bus, int devfn,
                       uint32_t pasid, IOMMUPRINotifier *notifier)
{
    uint64_t key = responder_key(devfn, pasid);
    ResponderList *list;
    Responder *r;

    QEMU_LOCK_GUARD(&responders->lock);
    if (find_locked(responders, bus, devfn, pasid)) {
        return -EBUSY;
    }
    list = list_locked(responders, devfn, pasid);
    if (!list) {
        list = g_new0(ResponderList, 1);
        g_hash_table_insert(responders->by_key, g_memdup2(&key, sizeof(key)),
                            list);
    }
    r = g_new0(Responder, 1);
    r->bus = bus;
    r->notifier = notifier;
    QLIST_INSERT_HEAD(list, r, next);
    add_to_function_locked(responders, r, devfn);
    return 0;
}

void iommu_pri_unregister(IOMMUPRIResponders *responders, PCIBus *bus,
                          int devfn, uint32_t pasid)
{
    uint64_t key = responder_key(devfn, pasid);
    Responder *r;

    QEMU_LOCK_GUARD(&responders->lock);
    r = find_locked(responders, bus, devfn, pasid);
    if (!r) {
        return;
    }
    QLIST_REMOVE(r, next);
    remove_from_function_locked(responders, r, devfn);
    g_free(r);
    if (QLIST_EMPTY(list_locked(responders, devfn, pasid))) {
        g_hash_table_remove(responders->by_key, &key);
    }
}

static bool notify(IOMMUPRINotifier *notifier, uint16_t prgi,
                   IOMMUPRIResponseCode code, bool any_pasid)
{
    IOMMUPRIResponse response = {
        .response_code = code,
        .prgi = prgi,
        .any_pasid = any_pasid,
    };

    if (notifier) {
        notifier->notify(notifier, &response);
    }
    return notifier != NULL;
}

bool iommu_pri_respond(IOMMUPRIResponders *responders, PCIBus *bus, int devfn,
                       uint32_t pasid, uint16_t prgi,
                       IOMMUPRIResponseCode code)
{
    IOMMUPRINotifier *notifier = NULL;

    WITH_QEMU_LOCK_GUARD(&responders->lock) {
        Responder *r = find_locked(responders, bus, devfn, pasid);

        notifier = r ? r->notifier : NULL;
    }
    return notify(notifier, prgi, code, false);
}

bool iommu_pri_respond_sid(IOMMUPRIResponders *responders, uint16_t sid,
                           uint32_t pasid, uint16_t prgi,
                           IOMMUPRIResponseCode code)
{
    IOMMUPRINotifier *notifier = NULL;

    WITH_QEMU_LOCK_GUARD(&responders->lock) {
        Responder *r = find_sid_locked(responders, sid, pasid);

        notifier = r ? r->notifier : NULL;
    }
    return notify(notifier, prgi, code, false);
}

bool iommu_pri_respond_any_pasid(IOMMUPRIResponders *responders, uint16_t sid,
                                 uint16_t prgi, IOMMUPRIResponseCode code)
{
    IOMMUPRINotifier *notifier = NULL;

    WITH_QEMU_LOCK_GUARD(&responders->lock) {
        Responder *r = find_any_locked(responders, sid);

        notifier = r ? r->notifier : NULL;
    }
    return notify(notifier, prgi, code, true);
}

IOMMUPRIResponders *iommu_pri_new(void)
{
    IOMMUPRIResponders *responders = g_new0(IOMMUPRIResponders, 1);

    qemu_mutex_init(&responders->lock);
    responders->by_key = g_hash_table_new_full(g_int64_hash, g_int64_equal,
                                               g_free, g_free);
    return responders;
}
