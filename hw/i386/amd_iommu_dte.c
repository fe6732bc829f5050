/*
 * AMD-Vi: device table entries
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Positions of fields are those of the Device Table Entry Format, 2.2.2.1.
 * Where revisions of the specification differ about reserved bits, a bit is
 * reserved only if all of them say so.
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "amd_iommu_dte.h"

/* Bits 51:12 and 51:6 of an address */
#define DTE_PAGE_ADDR           MAKE_64BIT_MASK(12, 40)
#define DTE_INT_ADDR            MAKE_64BIT_MASK(6, 46)

/* Reserved bits, by quadword; those of the last two are for IV = 1 */
#define DTE_RESERVED_0          (MAKE_64BIT_MASK(2, 5) | BIT_ULL(63))
#define DTE_RESERVED_2          MAKE_64BIT_MASK(52, 2)
#define DTE_RESERVED_3          (MAKE_64BIT_MASK(0, 15) | \
                                 MAKE_64BIT_MASK(48, 6))

/* The GCR3 Table Root Pointer is in three pieces. */
static hwaddr gcr3_root(const uint64_t *quad)
{
    return extract64(quad[0], 58, 3) << 12 |
           extract64(quad[1], 16, 16) << 15 |
           extract64(quad[1], 43, 21) << 31;
}

static void decode_translation(AMDVIDTE *dte, const uint64_t *quad)
{
    dte->had = extract64(quad[0], 7, 2);
    dte->mode = extract64(quad[0], 9, 3);
    dte->host_root = quad[0] & DTE_PAGE_ADDR;
    dte->guest_io = extract64(quad[0], 54, 1);
    dte->guest = extract64(quad[0], 55, 1);
    dte->glx = extract64(quad[0], 56, 2);
    dte->gcr3_root = gcr3_root(quad);
    dte->guest_levels = 4 + extract64(quad[2], 54, 2);
    dte->read = extract64(quad[0], 61, 1);
    dte->write = extract64(quad[0], 62, 1);
}

static void decode_requests(AMDVIDTE *dte, const uint64_t *quad)
{
    dte->page_requests = extract64(quad[0], 52, 1);
    dte->prg_pasid = extract64(quad[0], 53, 1);
    dte->domain = extract64(quad[1], 0, 16);
    dte->iotlb = extract64(quad[1], 32, 1);
    dte->suppress = extract64(quad[1], 33, 1);
    dte->suppress_all = extract64(quad[1], 34, 1);
    dte->port_io = extract64(quad[1], 35, 2);
    dte->cache = extract64(quad[1], 37, 1);
    dte->no_snoop = extract64(quad[1], 38, 1);
    dte->exclude = extract64(quad[1], 39, 1);
    dte->sys_mgt = extract64(quad[1], 40, 2);
}

static void decode_interrupts(AMDVIDTE *dte, const uint64_t *quad)
{
    dte->int_valid = extract64(quad[2], 0, 1);
    dte->int_tab_len = extract64(quad[2], 1, 4);
    dte->int_ignore = extract64(quad[2], 5, 1);
    dte->int_root = quad[2] & DTE_INT_ADDR;
    dte->init_pass = extract64(quad[2], 56, 1);
    dte->eint_pass = extract64(quad[2], 57, 1);
    dte->nmi_pass = extract64(quad[2], 58, 1);
    dte->int_control = extract64(quad[2], 60, 2);
    dte->lint0_pass = extract64(quad[2], 62, 1);
    dte->lint1_pass = extract64(quad[2], 63, 1);
    dte->int_reserved = (quad[2] & DTE_RESERVED_2) ||
                        (quad[3] & DTE_RESERVED_3);
}

void amdvi_dte_decode(AMDVIDTE *dte, const uint64_t quad[AMDVI_DTE_QUADS])
{
    dte->valid = extract64(quad[0], 0, 1);
    dte->translate = extract64(quad[0], 1, 1);
    dte->reserved = quad[0] & DTE_RESERVED_0;
    decode_translation(dte, quad);
    decode_requests(dte, quad);
    decode_interrupts(dte, quad);
}

static AMDVIFault check_guest(const AMDVIDTE *dte, const AMDVIDTERules *rules)
{
    if (dte->glx > rules->max_glx ||
        dte->guest_levels > rules->max_guest_levels) {
        return AMDVI_FAULT_DTE_LEVEL;
    }
    return AMDVI_FAULT_NONE;
}

AMDVIFault amdvi_dte_check_memory(const AMDVIDTE *dte,
                                  const AMDVIDTERules *rules)
{
    if (!dte->valid) {
        return AMDVI_FAULT_NONE;
    }
    if (dte->reserved) {
        return AMDVI_FAULT_DTE_RESERVED;
    }
    if (!dte->translate) {
        return AMDVI_FAULT_NONE;
    }
    if (rules->had && dte->had == AMDVI_DTE_HAD_RESERVED) {
        return AMDVI_FAULT_DTE_RESERVED;
    }
    if (dte->mode > rules->max_mode || (!rules->max_mode && dte->host_root)) {
        return AMDVI_FAULT_DTE_LEVEL;
    }
    return rules->guest && dte->guest ? check_guest(dte, rules) :
                                        AMDVI_FAULT_NONE;
}

AMDVIFault amdvi_dte_check_interrupt(const AMDVIDTE *dte, bool fixed)
{
    if (!dte->int_valid) {
        return AMDVI_FAULT_NONE;
    }
    if (dte->int_reserved) {
        return AMDVI_FAULT_DTE_RESERVED;
    }
    if (fixed && dte->int_control == AMDVI_DTE_INT_RESERVED) {
        return AMDVI_FAULT_DTE_RESERVED;
    }
    if (fixed && dte->int_control == AMDVI_DTE_INT_REMAP &&
        dte->int_tab_len > AMDVI_DTE_INT_TAB_MAX) {
        return AMDVI_FAULT_DTE_RESERVED;
    }
    return AMDVI_FAULT_NONE;
}
