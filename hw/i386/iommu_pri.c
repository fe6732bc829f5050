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
} Responder;

/* Responders with equal device and function number and PASID, on any bus */
typedef QLIST_HEAD(, Responder) ResponderList;

struct IOMMUPRIResponders {
    /* Protects @by_key.  No notifier is called with @lock held. */
    QemuMutex lock;
    GHashTable *by_key;         /* responder_key() -> ResponderList */
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
    g_free(r);
    if (QLIST_EMPTY(list_locked(responders, devfn, pasid))) {
        g_hash_table_remove(responders->by_key, &key);
    }
}

static bool notify(IOMMUPRINotifier *notifier, uint16_t prgi,
                   IOMMUPRIResponseCode code)
{
    IOMMUPRIResponse response = { .response_code = code, .prgi = prgi };

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
    return notify(notifier, prgi, code);
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
    return notify(notifier, prgi, code);
}

IOMMUPRIResponders *iommu_pri_new(void)
{
    IOMMUPRIResponders *responders = g_new0(IOMMUPRIResponders, 1);

    qemu_mutex_init(&responders->lock);
    responders->by_key = g_hash_table_new_full(g_int64_hash, g_int64_equal,
                                               g_free, g_free);
    return responders;
}
