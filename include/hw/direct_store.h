/*
 * Stores of 64 bytes in one piece: direct stores and enqueue stores
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * An accelerator takes its commands as 64 bytes that arrive in one piece,
 * more than MemoryRegionOps can carry.  There are two kinds of such stores:
 *
 * - a direct store is posted: the processor gets no answer (MOVDIR64B; on
 *   PCIe a memory write of 64 bytes);
 * - an enqueue store is answered by the device with "accepted" or "retry"
 *   (ENQCMD and ENQCMDS; on PCIe a deferrable memory write).
 *
 * A device that takes them implements TYPE_DIRECT_STORE_TARGET and is the
 * owner of the memory regions that they go to.
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
     * take 64 bytes in one piece; the store is then carried out as ordinary
     * writes.  NULL: none of the device's registers does.
     */
    bool (*direct_store)(DirectStoreTarget *target, MemoryRegion *mr,
                         hwaddr addr, const void *data, MemTxAttrs attrs);

    /*
     * An enqueue store arrives.  PASID (bits 19:0) and privilege (bit 31) are
     * in the first four bytes of @data.  Returns true if the command has been
     * accepted, false if the issuer has to try again, or if there is no
     * enqueue register at @addr.  NULL: the device has no enqueue registers.
     */
    bool (*enqueue_store)(DirectStoreTarget *target, MemoryRegion *mr,
                          hwaddr addr, const void *data, MemTxAttrs attrs);
};

/**
 * direct_store: carry out a direct store
 *
 * A region that does not take 64 bytes in one piece, RAM among them, gets
 * ordinary writes, eight bytes each or less where the region wants that.
 *
 * Any thread, with or without the BQL.
 *
 * @as: the address space of the store
 * @addr: where to, a multiple of DIRECT_STORE_SIZE
 * @data: DIRECT_STORE_SIZE bytes
 * @attrs: the attributes of the store
 *
 * Returns: what address_space_write() returns; MEMTX_OK if a
 * TYPE_DIRECT_STORE_TARGET took it.
 */
MemTxResult direct_store(AddressSpace *as, hwaddr addr, const void *data,
                         MemTxAttrs attrs);

/**
 * enqueue_store: carry out an enqueue store
 *
 * Where there is no enqueue register, RAM included, the store is dropped and
 * the answer is "retry" (Intel SDM volume 2, "ENQCMD").
 *
 * Any thread, with or without the BQL.
 *
 * @as: the address space of the store
 * @addr: where to, a multiple of DIRECT_STORE_SIZE
 * @data: the command, DIRECT_STORE_SIZE bytes, PASID and privilege filled in
 * @attrs: the attributes of the store
 *
 * Returns: true if a device accepted the command, false for "retry".
 */
bool enqueue_store(AddressSpace *as, hwaddr addr, const void *data,
                   MemTxAttrs attrs);

#endif /* HW_DIRECT_STORE_H */
