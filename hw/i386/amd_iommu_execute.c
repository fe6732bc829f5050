/*
 * AMD-Vi: execution of commands
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * amdvi_cmdbuf_process() fetches commands, checks them, and executes each in a
 * small function.  A command that is illegal has no effect at all.
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#include "qemu/osdep.h"
#include "amd_iommu_cmdbuf.h"
#include "amd_iommu_command.h"
#include "amd_iommu_event.h"
#include "hw/iommu_batch.h"
#include "trace.h"

/* ---- Commands (2.4) ---- */

/*
 * Commands ahead of this one have been executed, since they are in order.
 * Requests that they concern may still be under way.
 */
static void completion_wait(AMDVIState *s, const AMDVICommand *command)
{
    uint64_t data = cpu_to_le64(command->data);

    iommu_batch_flush();
    amdvi_drain(s);
    if (command->store &&
        dma_memory_write(&address_space_memory, command->store_addr, &data,
                         AMDVI_COMPLETION_DATA_SIZE, MEMTXATTRS_UNSPECIFIED)) {
        trace_amdvi_completion_wait_fail(command->store_addr);
    }
    if (command->interrupt) {
        amdvi_set_status(s, AMDVI_MMIO_STATUS_COMP_INT);
    }
    trace_amdvi_completion_wait(command->store_addr, command->data);
}

static void inval_devtab_entry(AMDVIState *s, const AMDVICommand *command)
{
    trace_amdvi_devtab_inval(PCI_BUS_NUM(command->devid),
                             PCI_SLOT(command->devid),
                             PCI_FUNC(command->devid));
    amdvi_inval_device(s, command->devid);
}

static void inval_pages(AMDVIState *s, const AMDVICommand *command)
{
    if (command->pasid == PCI_NO_PASID) {
        amdvi_inval_domain(s, command->domid, command->addr,
                           command->addr_mask);
    } else {
        amdvi_inval_pasid(s, command->domid, command->pasid, command->addr,
                          command->addr_mask);
    }
    trace_amdvi_pages_inval(command->domid);
}

static void inval_iotlb(AMDVIState *s, const AMDVICommand *command)
{
    amdvi_inval_device_tlb(s, command->devid, command->pasid, command->addr,
                           command->addr_mask);
    trace_amdvi_iotlb_inval();
}

static void inval_intr_table(AMDVIState *s, const AMDVICommand *command)
{
    x86_iommu_iec_notify_all(X86_IOMMU_DEVICE(s), true, 0, 0);
    trace_amdvi_intr_inval();
}

/* A hint, except for Inval */
static void prefetch(AMDVIState *s, const AMDVICommand *command)
{
    if (command->inval) {
        amdvi_inval_device(s, command->devid);
    }
    trace_amdvi_prefetch_pages();
}

static void complete_ppr(AMDVIState *s, const AMDVICommand *command)
{
    trace_amdvi_ppr_exec();
    amdvi_complete_ppr(s, command);
}

static void inval_all(AMDVIState *s, const AMDVICommand *command)
{
    x86_iommu_iec_notify_all(X86_IOMMU_DEVICE(s), true, 0, 0);
    amdvi_inval_everything(s);
    trace_amdvi_all_inval();
}

static void (*const functions[])(AMDVIState *, const AMDVICommand *) = {
    [AMDVI_CMD_COMPLETION_WAIT] = completion_wait,
    [AMDVI_CMD_INVAL_DEVTAB_ENTRY] = inval_devtab_entry,
    [AMDVI_CMD_INVAL_AMDVI_PAGES] = inval_pages,
    [AMDVI_CMD_INVAL_IOTLB_PAGES] = inval_iotlb,
    [AMDVI_CMD_INVAL_INTR_TABLE] = inval_intr_table,
    [AMDVI_CMD_PREFETCH_AMDVI_PAGES] = prefetch,
    [AMDVI_CMD_COMPLETE_PPR_REQUEST] = complete_ppr,
    [AMDVI_CMD_INVAL_AMDVI_ALL] = inval_all,
};

/* ---- Command buffer ---- */

/* Returns false if the command is in error. */
static bool execute(AMDVIState *s, hwaddr addr)
{
    /* Registers of devices are not memory that can contain commands. */
    const MemTxAttrs attrs = { .memory = 1 };
    uint64_t cmd[2];
    AMDVICommand command;

    if (dma_memory_read(&address_space_memory, addr, cmd, AMDVI_COMMAND_SIZE,
                        attrs)) {
        trace_amdvi_command_read_fail(s->cmdbuf, s->cmdbuf_head);
        amdvi_event_command_error(s, addr);
        return false;
    }
    cmd[0] = le64_to_cpu(cmd[0]);
    cmd[1] = le64_to_cpu(cmd[1]);
    if (!amdvi_command_decode(cmd, amdvi_readq(s, AMDVI_MMIO_EXT_FEATURES),
                              &command)) {
        trace_amdvi_unhandled_command(command.opcode);
        amdvi_event_illegal_command(s, addr);
        return false;
    }
    amdvi_cmdbuf_charge_command(s, cmd[0]);
    functions[command.opcode](s, &command);
    return true;
}

void amdvi_cmdbuf_stop(AMDVIState *s)
{
    s->cmdbuf_enabled = false;
    amdvi_assign_andq(s, AMDVI_MMIO_STATUS, ~AMDVI_MMIO_STATUS_CMDBUF_RUN);
}

void amdvi_cmdbuf_process(AMDVIState *s)
{
    while (s->cmdbuf_enabled && amdvi_cmdbuf_next(s)) {
        trace_amdvi_command_exec(s->cmdbuf_head, s->cmdbuf_tail, s->cmdbuf);
        if (execute(s, s->cmdbuf + s->cmdbuf_head)) {
            s->cmdbuf_head = (s->cmdbuf_head + AMDVI_COMMAND_SIZE) %
                             (s->cmdbuf_len * AMDVI_COMMAND_SIZE);
            amdvi_writeq_raw(s, AMDVI_MMIO_COMMAND_HEAD, s->cmdbuf_head);
        } else {
            /* The head pointer stays at the command. */
            amdvi_cmdbuf_stop(s);
        }
    }
}
