/*
 * AMD-Vi: processing of the command buffer in slices
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "amd_iommu_cmdbuf.h"
#include "trace.h"

/* COMPLETION_WAIT: store, and send an interrupt (2.4.1) */
#define COMPLETION_WAIT_S       (1ULL << 0)
#define COMPLETION_WAIT_I       (1ULL << 1)

static bool has_work(void *opaque)
{
    const AMDVIState *s = opaque;

    return s->cmdbuf_enabled && s->cmdbuf_head != s->cmdbuf_tail;
}

static void process(void *opaque)
{
    amdvi_cmdbuf_process(opaque);
}

static const SlicedQueueOps slice_ops = {
    .has_work = has_work,
    .process = process,
};

void amdvi_cmdbuf_init(AMDVIState *s)
{
    s->cmdbuf_slices = sliced_queue_new(&slice_ops, s,
                                        &DEVICE(s)->mem_reentrancy_guard);
}

void amdvi_cmdbuf_reset(AMDVIState *s)
{
    sliced_queue_stop(s->cmdbuf_slices);
}

void amdvi_cmdbuf_run(AMDVIState *s)
{
    if (s->cmdbuf_enabled) {
        sliced_queue_run(s->cmdbuf_slices);
    } else {
        trace_amdvi_command_error(ldq_le_p(&s->mmior[AMDVI_MMIO_CONTROL]));
        sliced_queue_stop(s->cmdbuf_slices);
    }
}

bool amdvi_cmdbuf_next(AMDVIState *s)
{
    return s->cmdbuf_head != s->cmdbuf_tail &&
           sliced_queue_next(s->cmdbuf_slices);
}

void amdvi_cmdbuf_charge(AMDVIState *s, unsigned work)
{
    sliced_queue_charge(s->cmdbuf_slices, work);
}

void amdvi_cmdbuf_charge_command(AMDVIState *s, uint64_t lo)
{
    unsigned work = 0;

    switch (extract64(lo, 60, 4)) {
    case AMDVI_CMD_COMPLETION_WAIT:
        /* The store may go to the registers of a device, too. */
        if (lo & (COMPLETION_WAIT_S | COMPLETION_WAIT_I)) {
            work += SLICED_WORK_MESSAGE;
        }
        break;
    case AMDVI_CMD_COMPLETE_PPR_REQUEST:
        work += SLICED_WORK_MESSAGE;
        break;
    case AMDVI_CMD_INVAL_INTR_TABLE:
    case AMDVI_CMD_INVAL_AMDVI_ALL:
        work += SLICED_WORK_INTERRUPTS;
        break;
    }
    amdvi_cmdbuf_charge(s, work);
}
