/*
 * Intel Data Streaming Accelerator (DSA): portals (9.3)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A descriptor arrives as a store of 64 bytes in one piece.  Other writes to a
 * portal are ignored, and portals read as 0.
 */

#include "qemu/osdep.h"
#include "qemu/host-utils.h"
#include "dsa-internal.h"

typedef struct DSAPortal {
    unsigned wq;
    bool limited;
} DSAPortal;

/* Returns false without a portal; interrupt message storage is not supported */
static bool portal_find(DSAState *s, hwaddr addr, DSAPortal *portal)
{
    unsigned kind = addr / DSA_PORTAL_SIZE % DSA_PORTALS_PER_WQ;

    portal->wq = addr / DSA_PORTAL_SIZE / DSA_PORTALS_PER_WQ;
    portal->limited = kind & DSA_PORTAL_LIMITED;
    return portal->wq < s->num_wqs && !(kind & DSA_PORTAL_IMS);
}

/* Descriptor Submission Checks (5.3) of a posted write */
bool dsa_portal_direct_store(DirectStoreTarget *target, MemoryRegion *mr,
                             hwaddr addr, const void *data, MemTxAttrs attrs)
{
    DSAState *s = DSA(target);
    DSAPortal portal;

    if (mr != &s->portals) {
        return false;
    }
    QEMU_LOCK_GUARD(&s->lock);
    if (!s->stopping && portal_find(s, addr, &portal) &&
        s->wqs[portal.wq].state == DSA_ENABLED &&
        DSA_WQ_FIELD(&s->wqs[portal.wq], 1, MODE) == DSA_WQ_DEDICATED &&
        !dsa_wq_push(s, portal.wq, data)) {
        dsa_swerror(s, DSA_SWERROR_WQ_FULL, portal.wq);
    }
    return true;
}

/* Descriptor Submission Checks (5.3) of a deferrable memory write */
bool dsa_portal_enqueue_store(DirectStoreTarget *target, MemoryRegion *mr,
                              hwaddr addr, const void *data, MemTxAttrs attrs)
{
    DSAState *s = DSA(target);
    DSAPortal portal;
    DSAWQ *wq;

    if (mr != &s->portals) {
        return false;
    }
    QEMU_LOCK_GUARD(&s->lock);
    if (s->stopping || !portal_find(s, addr, &portal)) {
        return false;
    }
    wq = &s->wqs[portal.wq];
    if (wq->state != DSA_ENABLED ||
        DSA_WQ_FIELD(wq, 1, MODE) != DSA_WQ_SHARED ||
        (portal.limited &&
         wq->occupancy >= DSA_WQ_FIELD(wq, 0, THRESHOLD))) {
        return false;
    }
    return dsa_wq_push(s, portal.wq, data);
}

static uint64_t portal_read(void *opaque, hwaddr addr, unsigned size)
{
    return 0;
}

static void portal_write(void *opaque, hwaddr addr, uint64_t val,
                         unsigned size)
{
}

static const MemoryRegionOps portal_ops = {
    .read = portal_read,
    .write = portal_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {
        .min_access_size = 1,
        .max_access_size = 8,
        .unaligned = true,
    },
    .impl = {
        .min_access_size = 1,
        .max_access_size = 8,
        .unaligned = true,
    },
};

void dsa_portal_init(DSAState *s)
{
    uint64_t size = s->num_wqs * DSA_PORTALS_PER_WQ * DSA_PORTAL_SIZE;

    memory_region_init_io(&s->portals, OBJECT(s), &portal_ops, s,
                          "dsa-portals", pow2ceil(size));
}
