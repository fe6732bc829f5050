/*
 * Intel Data Streaming Accelerator (DSA): migration
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The machine is stopped, and no engine executes a descriptor: a descriptor
 * that was suspended is saved in its phase, and continues there.
 *
 * A stream may hold any values, and end anywhere.  Therefore it is loaded into
 * an image of the device, which load.c checks.  The device itself does not
 * change before the complete image has been found valid.
 */

#include "qemu/osdep.h"
#include "hw/pci/msix.h"
#include "migration/vmstate-invalid.h"
#include "dsa-internal.h"

/* ---- Descriptors ---- */

static const VMStateDescription vmstate_dsa_work = {
    .name = "dsa/work",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_BUFFER(raw, DSAWork),
        VMSTATE_UINT64(seq, DSAWork),
        VMSTATE_UINT32(pasid, DSAWork),
        VMSTATE_BOOL(priv, DSAWork),
        VMSTATE_BOOL(shared, DSAWork),
        VMSTATE_BOOL(block_on_fault, DSAWork),
        VMSTATE_BOOL(user_int, DSAWork),
        VMSTATE_UINT8(wq, DSAWork),
        VMSTATE_UINT8(max_transfer, DSAWork),
        VMSTATE_UINT8(max_batch, DSAWork),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_dsa_job = {
    .name = "dsa/job",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_BUFFER(desc.raw, DSAJob),
        VMSTATE_UINT16(batch_index, DSAJob),
        VMSTATE_UINT8(phase, DSAJob),
        VMSTATE_UINT32(crc, DSAJob),
        VMSTATE_UINT32(delta, DSAJob),
        VMSTATE_BOOL(batch_failed, DSAJob),
        VMSTATE_UINT8(status, DSAJob),
        VMSTATE_BOOL(fault_write, DSAJob),
        VMSTATE_UINT8(result, DSAJob),
        VMSTATE_UINT32(bytes_completed, DSAJob),
        VMSTATE_UINT64(fault_addr, DSAJob),
        VMSTATE_BUFFER(specific, DSAJob),
        VMSTATE_END_OF_LIST()
    }
};

/* ---- Engines ---- */

static const VMStateDescription vmstate_dsa_engine = {
    .name = "dsa/engine",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_BOOL(busy, DSAEngine),
        VMSTATE_STRUCT(work, DSAEngine, 1, vmstate_dsa_work, DSAWork),
        VMSTATE_STRUCT(job, DSAEngine, 1, vmstate_dsa_job, DSAJob),
        VMSTATE_BOOL(has_child, DSAEngine),
        VMSTATE_STRUCT(child, DSAEngine, 1, vmstate_dsa_job, DSAJob),
        VMSTATE_END_OF_LIST()
    }
};

/* ---- Groups and work queues ---- */

static const VMStateDescription vmstate_dsa_group = {
    .name = "dsa/group",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64_ARRAY(wqs, DSAGroup, 4),
        VMSTATE_UINT64(engines, DSAGroup),
        VMSTATE_UINT64(flags, DSAGroup),
        VMSTATE_END_OF_LIST()
    }
};

/* Let the ring begin with its first entry, as the stream holds it */
static int wq_pre_save(void *opaque)
{
    DSAWQ *wq = opaque;
    g_autofree DSAWork *ring = NULL;
    uint32_t i;

    if (!wq->head) {
        return 0;
    }
    ring = g_new(DSAWork, wq->capacity);
    for (i = 0; i < wq->capacity; i++) {
        ring[i] = wq->ring[(wq->head + i) % wq->capacity];
    }
    memcpy(wq->ring, ring, wq->capacity * sizeof(*ring));
    wq->head = 0;
    return 0;
}

static bool wq_occupancy_is_valid(void *opaque, int version_id)
{
    DSAWQ *wq = opaque;

    return wq->occupancy <= wq->capacity;
}

static const VMStateDescription vmstate_dsa_wq = {
    .name = "dsa/wq",
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = wq_pre_save,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64_ARRAY(cfg, DSAWQ, DSA_WQCFG_QWORDS),
        VMSTATE_UINT32(state, DSAWQ),
        VMSTATE_UINT32(occupancy, DSAWQ),
        VMSTATE_VALIDATE("Occupancy", wq_occupancy_is_valid),
        VMSTATE_STRUCT_VARRAY_POINTER_UINT32(ring, DSAWQ, occupancy,
                                             vmstate_dsa_work, DSAWork),
        VMSTATE_END_OF_LIST()
    }
};

/* ---- Commands ---- */

static const VMStateDescription vmstate_dsa_command = {
    .name = "dsa/command",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(reg, DSACommand),
        VMSTATE_BOOL(waits, DSACommand),
        VMSTATE_BOOL(done, DSACommand),
        VMSTATE_UINT64(filter.wqs, DSACommand),
        VMSTATE_UINT32(filter.pasid, DSACommand),
        VMSTATE_BOOL(filter.by_pasid, DSACommand),
        VMSTATE_UINT64(filter.end, DSACommand),
        VMSTATE_END_OF_LIST()
    }
};

/* ---- The device ---- */

static const VMStateDescription vmstate_dsa_engine_log = {
    .name = "dsa/engine-log",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_BOOL(job.error_logged, DSAEngine),
        VMSTATE_BOOL(job.record_logged, DSAEngine),
        VMSTATE_BOOL(job.record_written, DSAEngine),
        VMSTATE_BOOL(child.record_written, DSAEngine),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_dsa_event_log_image = {
    .name = "dsa/event-log-image",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64_ARRAY(event_log.cfg, DSAState, DSA_EVLCFG_QWORDS),
        VMSTATE_UINT64(event_log.status, DSAState),
        VMSTATE_STRUCT_VARRAY_UINT32(engines, DSAState, num_engines, 1,
                                     vmstate_dsa_engine_log, DSAEngine),
        VMSTATE_END_OF_LIST()
    }
};

static bool event_log_needed(void *opaque)
{
    return DSA(opaque)->has_event_log;
}

static int event_log_post_load(void *opaque, int version_id)
{
    DSA(opaque)->image->event_log.loaded = true;
    return 0;
}

static const VMStateDescription vmstate_dsa_event_log = {
    .name = "dsa/event-log",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = event_log_needed,
    .post_load = event_log_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_STRUCT_POINTER(image, DSAState, vmstate_dsa_event_log_image,
                               DSAState),
        VMSTATE_END_OF_LIST()
    }
};

static const VMStateDescription vmstate_dsa_image = {
    .name = "dsa/image",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT32(state, DSAState),
        VMSTATE_UINT32(reset_type, DSAState),
        VMSTATE_UINT32(gencfg, DSAState),
        VMSTATE_UINT32(genctrl, DSAState),
        VMSTATE_UINT32(intcause, DSAState),
        VMSTATE_UINT32(cmdstatus, DSAState),
        VMSTATE_UINT64_ARRAY(swerror, DSAState, DSA_SWERROR_QWORDS),
        VMSTATE_UINT32_ARRAY(msixperm, DSAState, DSA_MAX_VECTORS),
        VMSTATE_UNUSED(DSA_MAX_VECTORS),
        VMSTATE_BOOL_ARRAY(raised, DSAState, DSA_MAX_VECTORS),
        VMSTATE_STRUCT(cmd, DSAState, 1, vmstate_dsa_command, DSACommand),
        VMSTATE_UINT64(next_seq, DSAState),
        VMSTATE_STRUCT_VARRAY_UINT32(groups, DSAState, num_groups, 1,
                                     vmstate_dsa_group, DSAGroup),
        VMSTATE_STRUCT_VARRAY_UINT32(wqs, DSAState, num_wqs, 1,
                                     vmstate_dsa_wq, DSAWQ),
        VMSTATE_STRUCT_VARRAY_UINT32(engines, DSAState, num_engines, 1,
                                     vmstate_dsa_engine, DSAEngine),
        VMSTATE_END_OF_LIST()
    }
};

void dsa_image_free(DSAState *s)
{
    DSAState *image = s->image;
    unsigned i;

    s->image = NULL;
    if (!image || image == s) {
        return;
    }
    for (i = 0; i < image->num_wqs; i++) {
        g_free(image->wqs[i].ring);
    }
    g_free(image);
}

static DSAState *image_new(const DSAState *s)
{
    DSAState *image = g_new0(DSAState, 1);
    unsigned i;

    image->num_engines = s->num_engines;
    image->num_groups = s->num_groups;
    image->num_wqs = s->num_wqs;
    image->total_wq_size = s->total_wq_size;
    image->has_event_log = s->has_event_log;
    for (i = 0; i < s->num_wqs; i++) {
        image->wqs[i].capacity = s->wqs[i].capacity;
        image->wqs[i].ring = g_new0(DSAWork, s->wqs[i].capacity);
    }
    return image;
}

static int dsa_pre_save(void *opaque)
{
    DSAState *s = opaque;

    dsa_image_free(s);
    s->image = s;
    return 0;
}

static int dsa_post_save(void *opaque)
{
    dsa_image_free(opaque);
    return 0;
}

static int dsa_pre_load(void *opaque)
{
    DSAState *s = opaque;

    dsa_image_free(s);
    s->image = image_new(s);
    return 0;
}

static int dsa_post_load(void *opaque, int version_id)
{
    DSAState *s = opaque;
    const char *invalid = dsa_load_check(s->image);
    int ret = invalid ? vmstate_report_invalid(TYPE_DSA, invalid) : 0;

    if (!ret) {
        QEMU_LOCK_GUARD(&s->lock);
        dsa_load_commit(s, s->image);
    }
    dsa_image_free(s);
    return ret;
}

const VMStateDescription vmstate_dsa = {
    .name = TYPE_DSA,
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = dsa_pre_save,
    .post_save = dsa_post_save,
    .pre_load = dsa_pre_load,
    .post_load = dsa_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, DSAState),
        VMSTATE_MSIX(parent_obj, DSAState),
        VMSTATE_UINT32_EQUAL(num_engines, DSAState, "property engines differs"),
        VMSTATE_UINT32_EQUAL(num_groups, DSAState, "property groups differs"),
        VMSTATE_UINT32_EQUAL(num_wqs, DSAState,
                             "property work-queues differs"),
        VMSTATE_UINT32_EQUAL(total_wq_size, DSAState,
                             "property work-queue-entries differs"),
        VMSTATE_STRUCT_POINTER(image, DSAState, vmstate_dsa_image, DSAState),
        VMSTATE_END_OF_LIST()
    },
    .subsections = (const VMStateDescription *const []) {
        &vmstate_dsa_event_log,
        NULL
    }
};
