/*
 * Stores of 64 bytes in one piece: direct stores and enqueue stores
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An accelerator receives a command as 64 bytes in one piece, more than
 * MemoryRegionOps can carry.  There are two kinds of these stores:
 *
 * - a direct store is posted: the processor gets no completion (MOVDIR64B; on
 *   PCIe a memory write of 64 bytes);
 * - an enqueue store completes with the status "accepted" or "retry" (ENQCMD
 *   and ENQCMDS; on PCIe a deferrable memory write).
 *
 * A device that accepts these stores implements TYPE_DIRECT_STORE_TARGET and
 * owns the memory regions that they address.
 */

#ifndef HW_DIRECT_STORE_H
#define HW_DIRECT_STORE_H

#include "exec/hwaddr.h"
#include "exec/memattrs.h"
#include "qom/object.h"

/* Size and alignment of a direct store or an enqueue store, in bytes */
#define DIRECT_STORE_SIZE 64

#define TYPE_DIRECT_STORE_TARGET "direct-store-target"

typedef struct DirectStoreTarget DirectStoreTarget;
typedef struct DirectStoreTargetClass DirectStoreTargetClass;
DECLARE_CLASS_CHECKERS(DirectStoreTargetClass, DIRECT_STORE_TARGET,
                       TYPE_DIRECT_STORE_TARGET)
#define DIRECT_STORE_TARGET(obj) \
    INTERFACE_CHECK(DirectStoreTarget, (obj), TYPE_DIRECT_STORE_TARGET)

/*
 * Both methods are called for every I/O region whose owner implements the
 * interface, with the BQL held and inside an RCU critical section, like the
 * callbacks of MemoryRegionOps.  @mr is the region, @addr the offset in it in
 * bytes, a multiple of DIRECT_STORE_SIZE; @data has DIRECT_STORE_SIZE bytes
 * and is valid during the call only.
 */
struct DirectStoreTargetClass {
    InterfaceClass parent_class;

    /*
     * A direct store arrives.  Returns false if the registers at @addr do not
     * accept 64 bytes in one piece; ordinary writes then replace the store.
     * NULL if no register of the device accepts direct stores.
     */
    bool (*direct_store)(DirectStoreTarget *target, MemoryRegion *mr,
                         hwaddr addr, const void *data, MemTxAttrs attrs);

    /*
     * An enqueue store arrives.  The first four bytes of @data hold the PASID
     * (bits 19:0) and the privilege (bit 31).  Returns true if the device has
     * accepted the command, false if the issuer has to retry, or if @addr is
     * not an enqueue register.  NULL if the device has no enqueue registers.
     */
    bool (*enqueue_store)(DirectStoreTarget *target, MemoryRegion *mr,
                          hwaddr addr, const void *data, MemTxAttrs attrs);
};

/**
 * direct_store: carry out a direct store
 *
 * A region that does not accept 64 bytes in one piece, RAM included, gets
 * ordinary writes of eight bytes, or of the maximum size of the region.
 *
 * Callable from any thread, with or without the BQL.  Takes the BQL to call a
 * target; must not be called within a drain.
 *
 * @as: the address space of the store
 * @addr: destination, a multiple of DIRECT_STORE_SIZE
 * @data: DIRECT_STORE_SIZE bytes
 * @attrs: the attributes of the store
 *
 * Returns: MEMTX_OK if a TYPE_DIRECT_STORE_TARGET has accepted the store;
 * otherwise the result of address_space_write().
 */
MemTxResult direct_store(AddressSpace *as, hwaddr addr, const void *data,
                         MemTxAttrs attrs);

/**
 * enqueue_store: carry out an enqueue store
 *
 * A store to a destination without an enqueue register, RAM included, is
 * dropped and completes with "retry" (Intel SDM volume 2, "ENQCMD").
 *
 * Callable from any thread, with or without the BQL.  Takes the BQL to call a
 * target; must not be called within a drain.
 *
 * @as: the address space of the store
 * @addr: destination, a multiple of DIRECT_STORE_SIZE
 * @data: the command, DIRECT_STORE_SIZE bytes, with PASID and privilege
 * @attrs: the attributes of the store
 *
 * Returns: true if a device has accepted the command, false for "retry".
 */
bool enqueue_store(AddressSpace *as, hwaddr addr, const void *data,
                   MemTxAttrs attrs);

#endif /* HW_DIRECT_STORE_H */
