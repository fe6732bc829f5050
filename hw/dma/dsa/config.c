/*
 * Intel Data Streaming Accelerator (DSA): registers and their configuration
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dsa-internal.h"

#define GRPFLAGS_WRITABLE                                                   \
    (R_DSA_GRPFLAGS_TC_A_MASK | R_DSA_GRPFLAGS_TC_B_MASK |                  \
     R_DSA_GRPFLAGS_USE_READ_BUFFER_LIMIT_MASK |                            \
     R_DSA_GRPFLAGS_READ_BUFFERS_RESERVED_MASK |                            \
     R_DSA_GRPFLAGS_READ_BUFFERS_ALLOWED_MASK)

#define MSIXPERM_WRITABLE                                                   \
    (R_DSA_MSIXPERM_IGNORE_MASK | R_DSA_MSIXPERM_PASID_EN_MASK |            \
     R_DSA_MSIXPERM_PASID_MASK)

/* WQCFG (Table 9-7), fields that are read-write while the WQ is disabled */
#define WQCFG1_WRITABLE                                                     \
    (R_DSA_WQCFG1_MODE_MASK | R_DSA_WQCFG1_BLOCK_ON_FAULT_MASK |            \
     R_DSA_WQCFG1_ATS_DISABLE_MASK | R_DSA_WQCFG1_PRS_DISABLE_MASK |        \
     R_DSA_WQCFG1_PRIORITY_MASK | R_DSA_WQCFG1_PASID_MASK |                 \
     R_DSA_WQCFG1_PASID_EN_MASK | R_DSA_WQCFG1_PRIV_MASK |                  \
     R_DSA_WQCFG1_MAX_TRANSFER_MASK | R_DSA_WQCFG1_MAX_BATCH_MASK)

#define WQCFG2_WRITABLE_DISABLED                                            \
    (R_DSA_WQCFG2_OCC_INT_HANDLE_MASK | R_DSA_WQCFG2_OCC_INT_TABLE_MASK)

/* The writable bits of WQCFG; Occupancy and State are not stored there */
static const uint64_t wqcfg_bits[DSA_WQCFG_QWORDS] = {
    R_DSA_WQCFG0_SIZE_MASK | R_DSA_WQCFG0_THRESHOLD_MASK,
    WQCFG1_WRITABLE,
    WQCFG2_WRITABLE_DISABLED | R_DSA_WQCFG2_OCC_LIMIT_MASK |
    R_DSA_WQCFG2_OCC_INT_EN_MASK,
    R_DSA_WQCFG3_OCC_INT_MASK,
};

unsigned dsa_num_vectors(const DSAState *s)
{
    return s->num_wqs + 1;
}

/* Without Request Interrupt Handle, a handle is the index of a vector (3.7) */
bool dsa_int_handle_valid(const DSAState *s, uint32_t handle)
{
    return handle < dsa_num_vectors(s);
}

/* ---- Initial values ---- */

void dsa_config_reset_wq(DSAState *s, unsigned index)
{
    DSAWQ *wq = &s->wqs[index];
    uint64_t size = wq->cfg[0] & R_DSA_WQCFG0_SIZE_MASK;

    memset(wq->cfg, 0, sizeof(wq->cfg));
    wq->cfg[0] = size;
}

void dsa_config_reset(DSAState *s)
{
    unsigned i;

    s->gencfg = DSA_READ_BUFFERS;
    s->genctrl = 0;
    s->intcause = 0;
    dsa_event_log_reset_config(s);
    memset(s->msixperm, 0, sizeof(s->msixperm));
    for (i = 0; i < s->num_groups; i++) {
        s->groups[i] = (DSAGroup) {
            .flags = (uint64_t)DSA_READ_BUFFERS <<
                     R_DSA_GRPFLAGS_READ_BUFFERS_ALLOWED_SHIFT,
        };
    }
    for (i = 0; i < s->num_wqs; i++) {
        memset(s->wqs[i].cfg, 0, sizeof(s->wqs[i].cfg));
    }
}

/* ---- Reading ---- */

static uint64_t config_gencap(DSAState *s)
{
    return R_DSA_GENCAP_BLOCK_ON_FAULT_MASK |
           R_DSA_GENCAP_OVERLAPPING_COPY_MASK |
           R_DSA_GENCAP_CACHE_CONTROL_MASK | R_DSA_GENCAP_CMDCAP_MASK |
           R_DSA_GENCAP_DEST_READBACK_MASK |
           R_DSA_GENCAP_DRAIN_READBACK_MASK |
           DSA_MAX_TRANSFER << R_DSA_GENCAP_MAX_TRANSFER_SHIFT |
           DSA_MAX_BATCH << R_DSA_GENCAP_MAX_BATCH_SHIFT |
           (uint64_t)R_DSA_GENCAP_CONFIG_MASK |
           /* Entries of 64 bytes; a full log does not overflow */
           (uint64_t)s->has_event_log << R_DSA_GENCAP_EVENT_LOG_SHIFT;
}

static uint64_t config_wqcap(DSAState *s)
{
    return s->total_wq_size |
           (uint64_t)s->num_wqs << R_DSA_WQCAP_NUM_WQS_SHIFT |
           R_DSA_WQCAP_SHARED_MASK | R_DSA_WQCAP_DEDICATED_MASK |
           R_DSA_WQCAP_PRIORITY_MASK | R_DSA_WQCAP_OCCUPANCY_MASK |
           R_DSA_WQCAP_OCCUPANCY_INT_MASK |
           (uint64_t)s->has_event_log << R_DSA_WQCAP_PRS_SHIFT;
}

static uint64_t config_grpcap(DSAState *s)
{
    return s->num_groups |
           DSA_READ_BUFFERS << R_DSA_GRPCAP_TOTAL_READ_BUFFERS_SHIFT |
           R_DSA_GRPCAP_READ_BUFFER_CONTROLS_MASK |
           R_DSA_GRPCAP_GLOBAL_READ_BUFFER_LIMIT_MASK;
}

static uint64_t config_opcap(void)
{
    return MAKE_64BIT_MASK(DSA_OP_NOOP, DSA_OP_DUALCAST + 1) |
           MAKE_64BIT_MASK(DSA_OP_CRC, DSA_OP_DIF_UPDATE - DSA_OP_CRC + 1) |
           1ULL << DSA_OP_CACHE_FLUSH;
}

static uint64_t config_offsets(void)
{
    return (uint64_t)DSA_GRPCFG_OFFSET / DSA_TABLE_MULTIPLIER |
           (uint64_t)DSA_WQCFG_OFFSET / DSA_TABLE_MULTIPLIER
           << R_DSA_OFFSETS_WQCFG_SHIFT |
           (uint64_t)DSA_MSIXPERM_OFFSET / DSA_TABLE_MULTIPLIER
           << R_DSA_OFFSETS_MSIXPERM_SHIFT;
}

static uint64_t config_read_group(DSAState *s, hwaddr offset)
{
    DSAGroup *group = &s->groups[offset / DSA_GRPCFG_SIZE];

    switch (offset % DSA_GRPCFG_SIZE) {
    case DSA_GRPCFG_WQS ... DSA_GRPCFG_ENGINES - 1:
        return group->wqs[offset % DSA_GRPCFG_SIZE / 8];
    case DSA_GRPCFG_ENGINES:
        return group->engines;
    case DSA_GRPCFG_FLAGS:
        return group->flags;
    default:
        return 0;
    }
}

static uint64_t config_read_wq(DSAState *s, hwaddr offset)
{
    DSAWQ *wq = &s->wqs[offset / DSA_WQCFG_SIZE];
    unsigned n = offset % DSA_WQCFG_SIZE / 8;
    uint64_t val = wq->cfg[n];

    if (n == 3) {
        val = FIELD_DP64(val, DSA_WQCFG3, OCCUPANCY, wq->occupancy);
        val = FIELD_DP64(val, DSA_WQCFG3, STATE, wq->state);
    }
    return val;
}

static uint64_t config_read_table(DSAState *s, hwaddr addr)
{
    if (addr >= DSA_MSIXPERM_OFFSET) {
        addr -= DSA_MSIXPERM_OFFSET;
        return addr / 8 < dsa_num_vectors(s) ? s->msixperm[addr / 8] : 0;
    }
    if (addr >= DSA_WQCFG_OFFSET) {
        addr -= DSA_WQCFG_OFFSET;
        return addr / DSA_WQCFG_SIZE < s->num_wqs ? config_read_wq(s, addr) : 0;
    }
    addr -= DSA_GRPCFG_OFFSET;
    return addr / DSA_GRPCFG_SIZE < s->num_groups ? config_read_group(s, addr)
                                                  : 0;
}

uint64_t dsa_config_read(DSAState *s, hwaddr addr)
{
    switch (addr) {
    case A_DSA_VERSION:
        return (s->has_event_log ? 2 : 1) << R_DSA_VERSION_MAJOR_SHIFT;
    case A_DSA_GENCAP:
        return config_gencap(s);
    case A_DSA_WQCAP:
        return config_wqcap(s);
    case A_DSA_GRPCAP:
        return config_grpcap(s);
    case A_DSA_ENGCAP:
        return s->num_engines;
    case A_DSA_OPCAP:
        return config_opcap();
    case A_DSA_OFFSETS:
        return config_offsets();
    case A_DSA_GENCFG:
        return s->gencfg;
    case A_DSA_GENCTRL:
        return s->genctrl;
    case A_DSA_GENSTS:
        return s->state | s->reset_type << R_DSA_GENSTS_RESET_TYPE_SHIFT;
    case A_DSA_INTCAUSE:
        return s->intcause;
    case A_DSA_CMDSTATUS:
        return s->cmdstatus;
    case A_DSA_CMDCAP:
        return MAKE_64BIT_MASK(DSA_CMD_ENABLE_DEVICE, DSA_CMD_ABORT_PASID);
    case A_DSA_SWERROR ... A_DSA_SWERROR + 8 * DSA_SWERROR_QWORDS - 1:
        return s->swerror[(addr - A_DSA_SWERROR) / 8];
    case A_DSA_EVLCFG ... A_DSA_EVLSTATUS:
        return dsa_event_log_read(s, addr);
    default:
        return addr >= DSA_GRPCFG_OFFSET ? config_read_table(s, addr) : 0;
    }
}

/* ---- Writing ---- */

static uint64_t config_merge(uint64_t old, uint64_t val, uint64_t mask)
{
    return (old & ~mask) | (val & mask);
}

static uint32_t gencfg_writable(DSAState *s)
{
    return R_DSA_GENCFG_GLOBAL_READ_BUFFER_LIMIT_MASK |
           R_DSA_GENCFG_USER_INT_MASK |
           (s->has_event_log ? R_DSA_GENCFG_EVENT_LOG_MASK : 0);
}

static uint32_t genctrl_writable(DSAState *s)
{
    return R_DSA_GENCTRL_SWERROR_INT_MASK | R_DSA_GENCTRL_HALT_INT_MASK |
           (s->has_event_log ? R_DSA_GENCTRL_EVENT_LOG_INT_MASK : 0);
}

static void config_write_group(DSAState *s, hwaddr offset, uint64_t val,
                               uint64_t mask)
{
    DSAGroup *group = &s->groups[offset / DSA_GRPCFG_SIZE];
    unsigned n = offset % DSA_GRPCFG_SIZE / 8;

    if (s->state != DSA_DISABLED) {
        return;
    }
    switch (offset % DSA_GRPCFG_SIZE) {
    case DSA_GRPCFG_WQS ... DSA_GRPCFG_ENGINES - 1:
        group->wqs[n] = config_merge(group->wqs[n], val, mask);
        break;
    case DSA_GRPCFG_ENGINES:
        group->engines = config_merge(group->engines, val, mask);
        break;
    case DSA_GRPCFG_FLAGS:
        group->flags = config_merge(group->flags, val,
                                    mask & GRPFLAGS_WRITABLE);
        break;
    }
}

static void config_write_wq(DSAState *s, hwaddr offset, uint64_t val,
                            uint64_t mask)
{
    unsigned index = offset / DSA_WQCFG_SIZE;
    unsigned n = offset % DSA_WQCFG_SIZE / 8;
    DSAWQ *wq = &s->wqs[index];
    bool disabled = wq->state == DSA_DISABLED;
    uint64_t writable = 0;

    switch (n) {
    case 0:
        writable = R_DSA_WQCFG0_THRESHOLD_MASK |
                   (s->state == DSA_DISABLED ? R_DSA_WQCFG0_SIZE_MASK : 0);
        break;
    case 1:
        writable = disabled ? WQCFG1_WRITABLE : 0;
        break;
    case 2:
        writable = R_DSA_WQCFG2_OCC_INT_EN_MASK |
                   (disabled ? WQCFG2_WRITABLE_DISABLED : 0) |
                   (DSA_WQ_FIELD(wq, 2, OCC_INT_EN)
                    ? 0 : R_DSA_WQCFG2_OCC_LIMIT_MASK);
        break;
    case 3:
        wq->cfg[3] &= ~(val & mask & R_DSA_WQCFG3_OCC_INT_MASK);
        break;
    }
    wq->cfg[n] = config_merge(wq->cfg[n], val, mask & writable);
    dsa_wq_check_occupancy_int(s, index);
}

static void config_write_table(DSAState *s, hwaddr addr, uint64_t val,
                               uint64_t mask)
{
    if (addr >= DSA_MSIXPERM_OFFSET) {
        addr -= DSA_MSIXPERM_OFFSET;
        if (addr / 8 < dsa_num_vectors(s)) {
            s->msixperm[addr / 8] = config_merge(s->msixperm[addr / 8], val,
                                                 mask & MSIXPERM_WRITABLE);
        }
    } else if (addr >= DSA_WQCFG_OFFSET) {
        addr -= DSA_WQCFG_OFFSET;
        if (addr / DSA_WQCFG_SIZE < s->num_wqs) {
            config_write_wq(s, addr, val, mask);
        }
    } else {
        addr -= DSA_GRPCFG_OFFSET;
        if (addr / DSA_GRPCFG_SIZE < s->num_groups) {
            config_write_group(s, addr, val, mask);
        }
    }
}

void dsa_config_write(DSAState *s, hwaddr addr, uint64_t val, uint64_t mask)
{
    switch (addr) {
    case A_DSA_GENCFG:
        if (s->state == DSA_DISABLED) {
            s->gencfg = config_merge(s->gencfg, val,
                                     mask & gencfg_writable(s));
        }
        break;
    case A_DSA_GENCTRL:
        s->genctrl = config_merge(s->genctrl, val, mask & genctrl_writable(s));
        break;
    case A_DSA_INTCAUSE:
        s->intcause &= ~(val & mask);
        break;
    case A_DSA_SWERROR:
        s->swerror[0] &= ~(val & mask & (R_DSA_SWERROR_VALID_MASK |
                                         R_DSA_SWERROR_OVERFLOW_MASK));
        break;
    case A_DSA_EVLCFG ... A_DSA_EVLSTATUS:
        dsa_event_log_write(s, addr, val, mask);
        break;
    default:
        if (addr >= DSA_GRPCFG_OFFSET) {
            config_write_table(s, addr, val, mask);
        }
        break;
    }
}

/* ---- Bits that software cannot set ---- */

static bool wq_has_reserved(const DSAWQ *wq)
{
    unsigned i;

    for (i = 0; i < DSA_WQCFG_QWORDS; i++) {
        if (wq->cfg[i] & ~wqcfg_bits[i]) {
            return true;
        }
    }
    return false;
}

static const char *config_reserved_in_tables(const DSAState *s)
{
    unsigned i;

    for (i = 0; i < s->num_groups; i++) {
        if (s->groups[i].flags & ~(uint64_t)GRPFLAGS_WRITABLE) {
            return "GRPFLAGS";
        }
    }
    for (i = 0; i < s->num_wqs; i++) {
        if (wq_has_reserved(&s->wqs[i])) {
            return "WQCFG";
        }
    }
    for (i = 0; i < DSA_MAX_VECTORS; i++) {
        if (s->msixperm[i] & ~MSIXPERM_WRITABLE) {
            return "MSIXPERM";
        }
    }
    return NULL;
}

const char *dsa_config_reserved(DSAState *s)
{
    const uint32_t intcause =
        R_DSA_INTCAUSE_SWERROR_MASK | R_DSA_INTCAUSE_CMD_MASK |
        R_DSA_INTCAUSE_OCCUPANCY_MASK | R_DSA_INTCAUSE_HALT_MASK |
        R_DSA_INTCAUSE_EVENT_LOG_MASK;
    const uint32_t cmdstatus =
        R_DSA_CMDSTATUS_ERROR_MASK | R_DSA_CMDSTATUS_RESULT_MASK |
        R_DSA_CMDSTATUS_ACTIVE_MASK;

    if (s->gencfg & ~gencfg_writable(s)) {
        return "GENCFG";
    }
    if (s->genctrl & ~genctrl_writable(s)) {
        return "GENCTRL";
    }
    if (s->intcause & ~intcause) {
        return "INTCAUSE";
    }
    if (s->cmdstatus & ~cmdstatus) {
        return "CMDSTATUS";
    }
    return config_reserved_in_tables(s);
}
