/*
 * Stores of 64 bytes in one piece: direct stores and enqueue stores
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/main-loop.h"
#include "qemu/rcu.h"
#include "exec/memory.h"
#include "hw/direct_store.h"

/*
 * Returns the device that may accept a store of 64 bytes to @addr, or NULL.
 * Called within an RCU critical section, which keeps the device and the region
 * alive.
 */
static DirectStoreTarget *find_target(AddressSpace *as, hwaddr addr,
                                      MemTxAttrs attrs, MemoryRegion **mr,
                                      hwaddr *offset)
{
    hwaddr len = DIRECT_STORE_SIZE;
    Object *owner;

    *mr = address_space_translate(as, addr, offset, &len, true, attrs);
    owner = memory_region_owner(*mr);
    if (len < DIRECT_STORE_SIZE || memory_region_is_ram(*mr)) {
        return NULL;
    }
    return (DirectStoreTarget *)object_dynamic_cast(owner,
                                                    TYPE_DIRECT_STORE_TARGET);
}

/* Returns false if no device has accepted the store */
static bool store_to_target(AddressSpace *as, hwaddr addr, const void *data,
                            MemTxAttrs attrs, bool enqueue)
{
    DirectStoreTargetClass *class;
    DirectStoreTarget *target;
    MemoryRegion *mr;
    hwaddr offset;
    bool (*store)(DirectStoreTarget *target, MemoryRegion *mr, hwaddr addr,
                  const void *data, MemTxAttrs attrs);

    RCU_READ_LOCK_GUARD();

    target = find_target(as, addr, attrs, &mr, &offset);
    if (!target) {
        return false;
    }
    class = DIRECT_STORE_TARGET_GET_CLASS(target);
    store = enqueue ? class->enqueue_store : class->direct_store;
    if (!store) {
        return false;
    }

    BQL_LOCK_GUARD();
    return store(target, mr, offset, data, attrs);
}

MemTxResult direct_store(AddressSpace *as, hwaddr addr, const void *data,
                         MemTxAttrs attrs)
{
    if (store_to_target(as, addr, data, attrs, false)) {
        return MEMTX_OK;
    }
    return address_space_write(as, addr, attrs, data, DIRECT_STORE_SIZE);
}

bool enqueue_store(AddressSpace *as, hwaddr addr, const void *data,
                   MemTxAttrs attrs)
{
    return store_to_target(as, addr, data, attrs, true);
}

static const TypeInfo direct_store_target_info = {
    .name = TYPE_DIRECT_STORE_TARGET,
    .parent = TYPE_INTERFACE,
    .class_size = sizeof(DirectStoreTargetClass),
};

static void direct_store_register_types(void)
{
    type_register_static(&direct_store_target_info);
}

type_init(direct_store_register_types)
