/*
 * Demo device for shared virtual memory
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The device writes a pattern to memory, or checks the CRC of memory, at
 * addresses of a process.  docs/specs/svm.rst describes the interface.
 *
 * The BQL protects registers and operations.  An operation gives its data to
 * the PCIATSDMA of the device as a job.  A short job runs at once; otherwise
 * the thread of the PCIATSDMA runs the job, and takes the BQL to end the
 * operation.  An operation that is stopped abandons its job.
 *
 * A job holds a reference to the device, because it may end after the device
 * has been unplugged, and because its interrupt may unplug the device, if the
 * guest has aimed the interrupt at the hot-plug controller.
 *
 * The guest may destroy the address space when an operation has ended.
 * Therefore no page request may be outstanding then, not even one of an
 * abandoned job: an operation ends after all jobs have ended, and a job ends
 * after the responses to its page requests.
 */

#include "qemu/osdep.h"
#include "qemu/log.h"
#include "qemu/main-loop.h"
#include "qemu/module.h"
#include "hw/misc/svm-demo.h"
#include "hw/misc/svm-demo-data.h"
#include "hw/pci/msi.h"
#include "hw/pci/pci_ats_dma.h"
#include "hw/pci/pci_ats_inject.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci_device.h"
#include "hw/qdev-properties.h"
#include "migration/vmstate.h"
#include "migration/vmstate-invalid.h"
#include "qapi/error.h"
#include "qapi/visitor.h"
#include "qom/object.h"
#include "system/runstate.h"
#include "trace.h"

#define TYPE_SVM_DEMO "svm"
OBJECT_DECLARE_SIMPLE_TYPE(SVMDemoState, SVM_DEMO)

#define SVM_DEMO_PCIE_CAP       0x80
#define SVM_DEMO_PRI_CAPACITY   2048
/* Maximum number of page requests, as the BQL is held meanwhile */
#define SVM_DEMO_FLOOD_MAX      65536

/* The arguments and the progress of an operation */
typedef struct SVMDemoOperation {
    uint64_t command;           /* SVM_DEMO_START_*, or 0: no operation */
    uint32_t pasid;             /* or PCI_NO_PASID */
    uint64_t addr;
    uint64_t size;
    uint64_t options;
    uint64_t expected_crc;
    uint64_t pos;               /* completed bytes */
    uint8_t crc;                /* checksum of the completed bytes */
} SVMDemoOperation;

/* The data of an operation; the device and the PCIATSDMA hold a reference */
typedef struct SVMDemoJob {
    SVMDemoState *s;
    SVMDemoOperation op;
} SVMDemoJob;

/* The migrated state: registers and operation */
typedef struct SVMDemoGuestState {
    uint64_t addr;
    uint64_t crc;
    uint64_t size;
    uint64_t options;
    uint32_t pasid;
    uint64_t result;
    SVMDemoOperation op;
    bool ended;                 /* @op has ended with @ret; jobs may remain */
    int32_t ret;
} SVMDemoGuestState;

struct SVMDemoState {
    PCIDevice parent_obj;
    MemoryRegion regs;
    uint32_t atc_entries;
    PCIATSInject inject;
    uint32_t flooded;           /* page requests sent by the last flood */
    PCIATSDMA *dma;
    VMChangeStateEntry *vm_state;
    bool vm_running;

    SVMDemoGuestState live;
    bool cancelled;             /* @live.op was cancelled, but has not ended */
    SVMDemoJob *job;            /* of @live.op; NULL if ended or abandoned */
    unsigned jobs;              /* not ended, including abandoned jobs */

    /* For migration only: an incoming state is checked before it is @live */
    SVMDemoGuestState saved;
};

/* ---- Operations ---- */

static bool svm_demo_is_write(const SVMDemoOperation *op)
{
    return op->command == SVM_DEMO_START_WRITE;
}

/* Process a piece of the data */
static bool svm_demo_visit(void *opaque, void *const *data, size_t len)
{
    SVMDemoJob *job = opaque;
    SVMDemoOperation *op = &job->op;

    if (svm_demo_is_write(op)) {
        svm_demo_pattern_fill(data[0], len, op->pos);
    } else {
        op->crc = svm_demo_crc8(op->crc, data[0], len);
    }
    op->pos += len;
    return true;
}

/* End the operation with a result and an interrupt */
static void svm_demo_end(SVMDemoState *s, int ret)
{
    PCIDevice *pci = PCI_DEVICE(s);
    SVMDemoOperation *op = &s->live.op;
    bool crc_differs = !svm_demo_is_write(op) && op->crc != op->expected_crc;

    s->live.result = ret || crc_differs ? SVM_DEMO_RESULT_ERROR
                                        : SVM_DEMO_RESULT_OK;
    trace_svm_demo_end(pci->name, pci->devfn, op->pasid, op->pos, op->crc, ret,
                       s->live.result);
    op->command = 0;
    s->cancelled = false;
    s->live.ended = false;
    if (msi_enabled(pci)) {
        msi_notify(pci, 0);
    }
}

/* End the operation if all jobs have ended and the machine runs */
static void svm_demo_end_when_idle(SVMDemoState *s)
{
    if (s->live.ended && !s->jobs && s->vm_running) {
        svm_demo_end(s, s->live.ret);
    }
}

/* The job has ended */
static void svm_demo_job_done(void *opaque, int ret)
{
    SVMDemoJob *job = opaque;
    SVMDemoState *s = job->s;
    BQL_LOCK_GUARD();

    s->jobs--;
    if (s->job == job) {
        s->live.op.pos = job->op.pos;
        s->live.op.crc = job->op.crc;
        s->job = NULL;
        if (!s->live.ended) {
            s->live.ended = true;
            s->live.ret = ret;
        }
        g_atomic_rc_box_release(job);
    }
    g_atomic_rc_box_release(job);
    svm_demo_end_when_idle(s);
    object_unref(OBJECT(s));
}

/*
 * Continue the operation, with @flags for the transfer.  If it has ended, only
 * wait for the responses to its page requests.
 */
static void svm_demo_run(SVMDemoState *s, unsigned flags)
{
    SVMDemoOperation *op = &s->live.op;
    SVMDemoJob *job = g_atomic_rc_box_new0(SVMDemoJob);

    job->s = s;
    object_ref(OBJECT(s));
    job->op = *op;
    s->job = g_atomic_rc_box_acquire(job);
    s->jobs++;
    if (op->options & SVM_DEMO_OPTION_PRIV) {
        flags |= PCI_ATS_DMA_PRIV;
    }
    if (!(op->options & SVM_DEMO_OPTION_UNTRANSLATED)) {
        flags |= PCI_ATS_DMA_TRANSLATED_ONLY;
    }
    pci_ats_dma_submit(s->dma, &(PCIATSDMATransfer) {
        .pasid = op->pasid,
        .flags = flags,
        .num_ranges = 1,
        .range = {
            { op->addr + op->pos,
              svm_demo_is_write(op) ? DMA_DIRECTION_FROM_DEVICE
                                    : DMA_DIRECTION_TO_DEVICE },
        },
        .len = s->live.ended ? 0 : op->size - op->pos,
        .visit = svm_demo_visit,
        .opaque = job,
    }, svm_demo_job_done, job);
}

/*
 * Abandon the job of the operation.  When this returns, all accesses to memory
 * have ended, and op.pos is the progress of the operation.
 */
static void svm_demo_halt(SVMDemoState *s)
{
    SVMDemoJob *job = s->job;

    s->job = NULL;
    if (job) {
        pci_ats_dma_cancel(s->dma);
        s->live.op.pos = job->op.pos;
        s->live.op.crc = job->op.crc;
        g_atomic_rc_box_release(job);
    }
}

static uint32_t svm_demo_pasid(const SVMDemoState *s)
{
    if (s->live.pasid == SVM_DEMO_PASID_NONE) {
        return PCI_NO_PASID;
    }
    /* A larger value, such as PCI_NO_PASID, is not a PASID: it fails. */
    return MIN(s->live.pasid, PCI_PASID_MAX + 1);
}

static void svm_demo_start(SVMDemoState *s, uint64_t command)
{
    PCIDevice *pci = PCI_DEVICE(s);

    if (s->live.op.command) {
        qemu_log_mask(LOG_GUEST_ERROR, "%s: start while busy\n", TYPE_SVM_DEMO);
        return;
    }
    if (command != SVM_DEMO_START_WRITE && command != SVM_DEMO_START_READ) {
        qemu_log_mask(LOG_GUEST_ERROR, "%s: no operation %" PRIu64 "\n",
                      TYPE_SVM_DEMO, command);
        return;
    }
    s->live.op = (SVMDemoOperation) {
        .command = command,
        .pasid = svm_demo_pasid(s),
        .addr = s->live.addr,
        .size = s->live.size,
        .options = s->live.options,
        .expected_crc = s->live.crc,
        .crc = SVM_DEMO_CRC8_INIT,
    };
    trace_svm_demo_start(pci->name, pci->devfn, command, s->live.op.pasid,
                         s->live.addr, s->live.size, s->live.options);
    if (!s->live.size) {
        svm_demo_end(s, -EINVAL);
    } else if (s->vm_running) {
        svm_demo_run(s, PCI_ATS_DMA_INLINE);
    }
}

/*
 * The guest is about to destroy the address space.  When this returns, all
 * accesses to memory have ended.  The operation ends when the guest has
 * responded to all page requests.
 */
static void svm_demo_set_pasid(SVMDemoState *s, uint32_t pasid)
{
    s->live.pasid = pasid;
    if (s->live.op.command && !s->cancelled && !s->live.ended) {
        s->cancelled = true;
        pci_ats_dma_cancel(s->dma);
    }
}

/* The device does not access memory while the machine is stopped */
static void svm_demo_vm_state_change(void *opaque, bool running, RunState state)
{
    SVMDemoState *s = opaque;

    if (running == s->vm_running) {
        return;
    }
    s->vm_running = running;
    if (!running) {
        svm_demo_halt(s);
        if (s->cancelled && !s->live.ended) {
            s->live.ended = true;
            s->live.ret = -ECANCELED;
        }
    } else if (s->live.op.command) {
        svm_demo_run(s, 0);
    }
}

/*
 * ---- Registers ----
 *
 * A processor that has found the device before it was unrealized, and then
 * waited for the BQL, may access the registers until the object is finalized.
 */

static unsigned svm_demo_reg_width(hwaddr addr)
{
    switch (addr) {
    case SVM_DEMO_REG_START:
    case SVM_DEMO_REG_ADDR:
    case SVM_DEMO_REG_CRC:
    case SVM_DEMO_REG_SIZE:
    case SVM_DEMO_REG_OPTIONS:
        return 8;
    case SVM_DEMO_REG_PASID:
        return 4;
    default:
        return 0;
    }
}

static bool svm_demo_regs_accepts(void *opaque, hwaddr addr, unsigned size,
                                  bool is_write, MemTxAttrs attrs)
{
    return size == svm_demo_reg_width(addr);
}

static uint64_t svm_demo_regs_read(void *opaque, hwaddr addr, unsigned size)
{
    SVMDemoState *s = opaque;

    if (!DEVICE(s)->realized) {
        return UINT64_MAX;
    }
    switch (addr) {
    case SVM_DEMO_REG_START:
        return SVM_DEMO_ID;
    case SVM_DEMO_REG_ADDR:
        return s->live.result;
    default:
        return 0;
    }
}

static void svm_demo_regs_write(void *opaque, hwaddr addr, uint64_t val,
                                unsigned size)
{
    SVMDemoState *s = opaque;

    if (!DEVICE(s)->realized) {
        return;
    }
    switch (addr) {
    case SVM_DEMO_REG_START:
        svm_demo_start(s, val);
        break;
    case SVM_DEMO_REG_ADDR:
        s->live.addr = val;
        break;
    case SVM_DEMO_REG_CRC:
        s->live.crc = val;
        break;
    case SVM_DEMO_REG_SIZE:
        s->live.size = val;
        break;
    case SVM_DEMO_REG_OPTIONS:
        s->live.options = val;
        break;
    case SVM_DEMO_REG_PASID:
        svm_demo_set_pasid(s, val);
        break;
    }
}

static const MemoryRegionOps svm_demo_regs_ops = {
    .read = svm_demo_regs_read,
    .write = svm_demo_regs_write,
    .endianness = DEVICE_LITTLE_ENDIAN,
    .valid = {
        .min_access_size = 4,
        .max_access_size = 8,
        .accepts = svm_demo_regs_accepts,
    },
    .impl = {
        .min_access_size = 4,
        .max_access_size = 8,
    },
};

/* ---- Fault injection ---- */

static void svm_demo_get_flood(Object *obj, Visitor *v, const char *name,
                               void *opaque, Error **errp)
{
    visit_type_uint32(v, name, &SVM_DEMO(obj)->flooded, errp);
}

static void svm_demo_set_flood(Object *obj, Visitor *v, const char *name,
                               void *opaque, Error **errp)
{
    SVMDemoState *s = SVM_DEMO(obj);
    uint32_t n;

    if (!visit_type_uint32(v, name, &n, errp)) {
        return;
    }
    if (!DEVICE(s)->realized) {
        error_setg(errp, "%s: the device is not realized yet", name);
        return;
    }
    if (n > SVM_DEMO_FLOOD_MAX) {
        error_setg(errp, "%s: at most %d", name, SVM_DEMO_FLOOD_MAX);
        return;
    }
    s->flooded = pci_ats_dma_flood(s->dma, svm_demo_pasid(s), s->live.addr, n);
}

/* ---- Life cycle ---- */

static void svm_demo_add_ats_capabilities(PCIDevice *pci)
{
    uint16_t offset = PCI_CONFIG_SPACE_SIZE;

    pcie_ats_init(pci, offset, true);
    offset += PCI_EXT_CAP_ATS_SIZEOF;
    pcie_pasid_init(pci, offset, PCI_PASID_WIDTH_MAX, false, true);
    offset += PCI_EXT_CAP_PASID_SIZEOF;
    pcie_pri_init(pci, offset, SVM_DEMO_PRI_CAPACITY, true);
}

static void svm_demo_realize(PCIDevice *pci, Error **errp)
{
    SVMDemoState *s = SVM_DEMO(pci);

    if (!pci_bus_is_express(pci_get_bus(pci))) {
        error_setg(errp, "%s needs a PCI Express bus", TYPE_SVM_DEMO);
        return;
    }
    if (msi_init(pci, 0, 1, true, false, errp) < 0) {
        return;
    }
    /* Cannot fail: no other capability uses the offset */
    pcie_endpoint_cap_init(pci, SVM_DEMO_PCIE_CAP);
    pcie_cap_flr_init(pci);
    svm_demo_add_ats_capabilities(pci);

    memory_region_init_io(&s->regs, OBJECT(s), &svm_demo_regs_ops, s,
                          "svm-regs", SVM_DEMO_REGS_SIZE);
    pci_register_bar(pci, 0, PCI_BASE_ADDRESS_SPACE_MEMORY, &s->regs);

    s->dma = pci_ats_dma_new(pci, s->atc_entries);
    pci_ats_dma_set_inject(s->dma, &s->inject);
    /* A device plugged while suspended is not notified of the wakeup */
    s->vm_running = runstate_is_live(runstate_get());
    s->vm_state = qdev_add_vm_change_state_handler(DEVICE(s),
                                                   svm_demo_vm_state_change, s);
}

static void svm_demo_exit(PCIDevice *pci)
{
    SVMDemoState *s = SVM_DEMO(pci);

    qemu_del_vm_change_state_handler(s->vm_state);
    svm_demo_halt(s);
    s->live.ended = false;
    pci_ats_dma_close(s->dma);
    pcie_cap_exit(pci);
    msi_uninit(pci);
}

static void svm_demo_write_config(PCIDevice *pci, uint32_t addr, uint32_t val,
                                  int len)
{
    SVMDemoState *s = SVM_DEMO(pci);

    pci_default_write_config(pci, addr, val, len);
    pcie_cap_flr_write_config(pci, addr, val, len);
    pci_ats_dma_recheck(s->dma);
}

static void svm_demo_reset(DeviceState *qdev)
{
    SVMDemoState *s = SVM_DEMO(qdev);

    svm_demo_halt(s);
    s->live.op = (SVMDemoOperation) { };
    s->cancelled = false;
    s->live.ended = false;
    s->live.addr = 0;
    s->live.crc = 0;
    s->live.size = 0;
    s->live.options = 0;
    s->live.pasid = SVM_DEMO_PASID_NONE;
    s->live.result = SVM_DEMO_RESULT_OK;
}

static const VMStateDescription vmstate_svm_demo_operation = {
    .name = "svm/operation",
    .version_id = 1,
    .minimum_version_id = 1,
    .fields = (const VMStateField[]) {
        VMSTATE_UINT64(command, SVMDemoOperation),
        VMSTATE_UINT32(pasid, SVMDemoOperation),
        VMSTATE_UINT64(addr, SVMDemoOperation),
        VMSTATE_UINT64(size, SVMDemoOperation),
        VMSTATE_UINT64(options, SVMDemoOperation),
        VMSTATE_UINT64(expected_crc, SVMDemoOperation),
        VMSTATE_UINT64(pos, SVMDemoOperation),
        VMSTATE_UINT8(crc, SVMDemoOperation),
        VMSTATE_END_OF_LIST()
    }
};

static bool svm_demo_ended_needed(void *opaque)
{
    const SVMDemoState *s = opaque;

    return s->live.ended;
}

static const VMStateDescription vmstate_svm_demo_ended = {
    .name = "svm/ended",
    .version_id = 1,
    .minimum_version_id = 1,
    .needed = svm_demo_ended_needed,
    .fields = (const VMStateField[]) {
        VMSTATE_BOOL(saved.ended, SVMDemoState),
        VMSTATE_INT32(saved.ret, SVMDemoState),
        VMSTATE_END_OF_LIST()
    }
};

static int svm_demo_pre_save(void *opaque)
{
    SVMDemoState *s = opaque;

    s->saved = s->live;
    return 0;
}

/* A stream may lack the subsection */
static int svm_demo_pre_load(void *opaque)
{
    SVM_DEMO(opaque)->saved = (SVMDemoGuestState) { };
    return 0;
}

/* Returns the name of a field that is invalid, or NULL */
static const char *svm_demo_check_saved(const SVMDemoGuestState *saved)
{
    const SVMDemoOperation *op = &saved->op;

    if (op->command > SVM_DEMO_START_READ) {
        return "op.command";
    }
    /* A complete operation may wait for the responses to page requests */
    if (op->pos > op->size) {
        return "op.pos";
    }
    if (op->command && !op->size) {
        return "op.size";
    }
    if (saved->ended && !op->command) {
        return "ended";
    }
    if (saved->result != SVM_DEMO_RESULT_OK &&
        saved->result != SVM_DEMO_RESULT_ERROR) {
        return "result";
    }
    return NULL;
}

/* The machine is stopped, so that the operation has no job */
static int svm_demo_post_load(void *opaque, int version_id)
{
    SVMDemoState *s = opaque;
    const char *invalid = svm_demo_check_saved(&s->saved);

    if (invalid) {
        return vmstate_report_invalid(TYPE_SVM_DEMO, invalid);
    }
    s->live = s->saved;
    s->cancelled = false;
    return 0;
}

static const VMStateDescription vmstate_svm_demo = {
    .name = TYPE_SVM_DEMO,
    .version_id = 1,
    .minimum_version_id = 1,
    .pre_save = svm_demo_pre_save,
    .pre_load = svm_demo_pre_load,
    .post_load = svm_demo_post_load,
    .fields = (const VMStateField[]) {
        VMSTATE_PCI_DEVICE(parent_obj, SVMDemoState),
        VMSTATE_UINT64(saved.addr, SVMDemoState),
        VMSTATE_UINT64(saved.crc, SVMDemoState),
        VMSTATE_UINT64(saved.size, SVMDemoState),
        VMSTATE_UINT64(saved.options, SVMDemoState),
        VMSTATE_UINT32(saved.pasid, SVMDemoState),
        VMSTATE_UINT64(saved.result, SVMDemoState),
        VMSTATE_STRUCT(saved.op, SVMDemoState, 1, vmstate_svm_demo_operation,
                       SVMDemoOperation),
        VMSTATE_END_OF_LIST()
    },
    .subsections = (const VMStateDescription * const []) {
        &vmstate_svm_demo_ended,
        NULL
    }
};

static const Property svm_demo_properties[] = {
    DEFINE_PROP_UINT32("atc-entries", SVMDemoState, atc_entries, 16384),
};

static void svm_demo_instance_init(Object *obj)
{
    pci_ats_inject_add_properties(obj, &SVM_DEMO(obj)->inject);
    object_property_add(obj, "x-flood", "uint32", svm_demo_get_flood,
                        svm_demo_set_flood, NULL, NULL);
}

static void svm_demo_class_init(ObjectClass *klass, void *opaque)
{
    DeviceClass *dc = DEVICE_CLASS(klass);
    PCIDeviceClass *k = PCI_DEVICE_CLASS(klass);

    k->realize = svm_demo_realize;
    k->exit = svm_demo_exit;
    k->config_write = svm_demo_write_config;
    k->vendor_id = PCI_VENDOR_ID_QEMU;
    k->device_id = SVM_DEMO_DEVICE_ID;
    k->revision = SVM_DEMO_REVISION;
    k->class_id = PCI_CLASS_OTHERS;
    dc->desc = "demo device for shared virtual memory";
    dc->vmsd = &vmstate_svm_demo;
    set_bit(DEVICE_CATEGORY_MISC, dc->categories);
    device_class_set_legacy_reset(dc, svm_demo_reset);
    device_class_set_props(dc, svm_demo_properties);
}

static const TypeInfo svm_demo_info = {
    .name          = TYPE_SVM_DEMO,
    .parent        = TYPE_PCI_DEVICE,
    .instance_size = sizeof(SVMDemoState),
    .instance_init = svm_demo_instance_init,
    .class_init    = svm_demo_class_init,
    .interfaces = (InterfaceInfo[]) {
        { INTERFACE_PCIE_DEVICE },
        { },
    },
};

static void svm_demo_register_types(void)
{
    type_register_static(&svm_demo_info);
}

type_init(svm_demo_register_types)
