/*
 * VT-d: checks of the state in the migration stream
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The registers in csr[] may have any value: a command of the guest masks the
 * registers that it uses, and only the guest reads the others.  Commands have
 * copied masked values to other fields of the state.  This file checks these
 * fields.
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/bswap.h"
#include "qemu/error-report.h"
#include "qemu/host-utils.h"
#include "hw/qdev-core.h"
#include "migration/vmstate-invalid.h"
#include "system/runstate.h"
#include "intel_iommu_internal.h"
#include "intel_iommu_load.h"
#include "intel_iommu_svm.h"

/*
 * Entries of an invalidation queue: at most 32768 descriptors of 128 bits, at
 * least 128 descriptors of 256 bits
 */
#define QUEUE_MAX_SIZE  32768
#define QUEUE_MIN_SIZE  128
#define TABLE_MAX_SIZE  65536

static void drop(IntelIOMMUState *s)
{
    s->load_pending = false;
    device_cold_reset(DEVICE(s));
}

/* Resets the IOMMU if a load has failed before the check of the fields. */
static void vm_state_changed(void *opaque, bool running, RunState state)
{
    IntelIOMMUState *s = opaque;

    if (running && s->load_pending) {
        warn_report("intel-iommu: loading its state failed, resetting it");
        drop(s);
    }
}

void vtd_load_init(IntelIOMMUState *s)
{
    qemu_add_vm_change_state_handler(vm_state_changed, s);
}

int vtd_load_begin(void *opaque)
{
    IntelIOMMUState *s = opaque;

    s->load_pending = true;
    return 0;
}

static bool check(const char *name, uint64_t val, bool valid)
{
    if (!valid) {
        g_autofree char *field = g_strdup_printf("%s: 0x%" PRIx64, name, val);

        vmstate_report_invalid("intel-iommu", field);
    }
    return valid;
}

/*
 * Accepts pages beyond the host address width, too: a read of a page that does
 * not exist is a fault.
 */
static bool check_address(const char *name, uint64_t addr)
{
    return check(name, addr, !(addr & ~MAKE_64BIT_MASK(12, 52 - 12)));
}

/* Checks a flag against the bit of GSTS that reports it (11.4.4.2). */
static bool check_enabled(const IntelIOMMUState *s, const char *name,
                          bool enabled, uint32_t bit)
{
    uint32_t gsts = ldl_le_p(&s->csr[DMAR_GSTS_REG]);

    return check(name, enabled, enabled == !!(gsts & bit));
}

static bool check_queue(const IntelIOMMUState *s)
{
    bool sized = is_power_of_2(s->iq_size) && s->iq_size >= QUEUE_MIN_SIZE;

    return check_address("iq", s->iq) &&
           check("iq_size", s->iq_size,
                 sized || (!s->iq_size && !s->qi_enabled)) &&
           check("iq_head", s->iq_head,
                 s->iq_head < s->iq_size || !s->iq_head) &&
           /* A tail behind the end is an error that the guest can see. */
           check("iq_tail", s->iq_tail, s->iq_tail < QUEUE_MAX_SIZE) &&
           check("iq_last_desc_type", s->iq_last_desc_type,
                 s->iq_last_desc_type <= VTD_INV_DESC_TYPE(UINT64_MAX));
}

static bool check_interrupt_table(const IntelIOMMUState *s)
{
    return check_address("intr_root", s->intr_root) &&
           check("intr_size", s->intr_size,
                 !s->intr_size || (is_power_of_2(s->intr_size) &&
                                   s->intr_size > 1 &&
                                   s->intr_size <= TABLE_MAX_SIZE));
}

static bool fields_valid(const IntelIOMMUState *s)
{
    return check_address("root", s->root) &&
           check_enabled(s, "dmar_enabled", s->dmar_enabled, VTD_GSTS_TES) &&
           check_enabled(s, "qi_enabled", s->qi_enabled, VTD_GSTS_QIES) &&
           check_enabled(s, "intr_enabled", s->intr_enabled, VTD_GSTS_IRES) &&
           check("next_frcd_reg", s->next_frcd_reg,
                 s->next_frcd_reg < DMAR_FRCD_REG_NR) &&
           check_queue(s) && check_interrupt_table(s);
}

int vtd_load_check(IntelIOMMUState *s)
{
    if (vtd_svm_check_incoming(s) || !fields_valid(s)) {
        drop(s);
        return -EINVAL;
    }
    s->load_pending = false;
    return 0;
}
