/*
 * Intel Data Streaming Accelerator (DSA): Descriptor Checks (5.4, 5.5)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "hw/pci/pcie_ats.h"
#include "dsa-internal.h"
#include "dif.h"

/* Create and Apply Delta Record (8.3.8, 8.3.9) */
#define DELTA_MAX_TRANSFER      (512 * KiB)
#define DELTA_MIN_CREATE        80
#define DELTA_MIN_APPLY         10

/* Flags allowed for each operation */
#define COMMON  (DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR |             \
                 DSA_FLAG_REQUEST_INT | DSA_FLAG_CR_TC)
#define READS   (DSA_FLAG_BLOCK_ON_FAULT | DSA_FLAG_ADDR1_TC)
#define WRITES  (DSA_FLAG_BLOCK_ON_FAULT | DSA_FLAG_ADDR2_TC |              \
                 DSA_FLAG_CACHE_CONTROL | DSA_FLAG_STRICT_ORDERING |        \
                 DSA_FLAG_DEST_READBACK)
#define DRAINS  (DSA_FLAG_ADDR1_TC | DSA_FLAG_ADDR2_TC |                    \
                 DSA_FLAG_READBACK1_VALID | DSA_FLAG_READBACK2_VALID |      \
                 DSA_FLAG_SUPPRESS_READBACK_A | DSA_FLAG_SUPPRESS_READBACK_B)
#define CRCS    (DSA_FLAG_READ_CRC_SEED | DSA_FLAG_BYPASS_CRC_INVERSION |   \
                 DSA_FLAG_BYPASS_DATA_REFLECTION | DSA_FLAG_ADDR3_TC)

/* A bit for each byte of the descriptor from @from to @to, inclusive */
#define BYTES(from, to) MAKE_64BIT_MASK(from, (to) - (from) + 1)

typedef struct OperationRules {
    bool exists;
    bool needs_cr;
    bool has_size;
    uint32_t flags;
    uint64_t reserved;          /* BYTES(); Table 5-3 */
} OperationRules;

static const OperationRules rules[DSA_OP_COUNT] = {
    [DSA_OP_NOOP] = {
        .exists = true,
        .flags = 0,
        .reserved = BYTES(16, 35) | BYTES(38, 63),
    },
    [DSA_OP_BATCH] = {
        .exists = true,
        .flags = DSA_FLAG_ADDR1_TC,
        .reserved = BYTES(24, 31) | BYTES(38, 63),
    },
    [DSA_OP_DRAIN] = {
        .exists = true,
        .flags = DRAINS,
        .reserved = BYTES(32, 35) | BYTES(38, 63),
    },
    [DSA_OP_MEMORY_MOVE] = {
        .exists = true,
        .has_size = true,
        .flags = READS | WRITES,
        .reserved = BYTES(38, 63),
    },
    [DSA_OP_FILL] = {
        .exists = true,
        .has_size = true,
        .flags = WRITES,
        .reserved = BYTES(38, 63),
    },
    [DSA_OP_COMPARE] = {
        .exists = true,
        .needs_cr = true,
        .has_size = true,
        .flags = READS | DSA_FLAG_ADDR2_TC | DSA_FLAG_CHECK_RESULT,
        .reserved = BYTES(38, 39) | BYTES(41, 63),
    },
    [DSA_OP_COMPARE_PATTERN] = {
        .exists = true,
        .needs_cr = true,
        .has_size = true,
        .flags = READS | DSA_FLAG_CHECK_RESULT,
        .reserved = BYTES(38, 39) | BYTES(41, 63),
    },
    [DSA_OP_CREATE_DELTA] = {
        .exists = true,
        .needs_cr = true,
        .has_size = true,
        .flags = READS | WRITES | DSA_FLAG_ADDR3_TC | DSA_FLAG_CHECK_RESULT,
        .reserved = BYTES(38, 39) | BYTES(52, 55) | BYTES(57, 63),
    },
    [DSA_OP_APPLY_DELTA] = {
        .exists = true,
        .has_size = true,
        .flags = READS | WRITES,
        .reserved = BYTES(38, 39) | BYTES(44, 63),
    },
    [DSA_OP_DUALCAST] = {
        .exists = true,
        .has_size = true,
        .flags = READS | WRITES | DSA_FLAG_ADDR3_TC,
        .reserved = BYTES(38, 39) | BYTES(48, 63),
    },
    [DSA_OP_CRC] = {
        .exists = true,
        .needs_cr = true,
        .has_size = true,
        .flags = READS | CRCS,
        .reserved = BYTES(24, 31) | BYTES(38, 39) | BYTES(44, 47) |
                    BYTES(56, 63),
    },
    [DSA_OP_COPY_CRC] = {
        .exists = true,
        .needs_cr = true,
        .has_size = true,
        .flags = READS | WRITES | CRCS,
        .reserved = BYTES(38, 39) | BYTES(44, 47) | BYTES(56, 63),
    },
    [DSA_OP_DIF_CHECK] = {
        .exists = true,
        .needs_cr = true,
        .has_size = true,
        .flags = READS,
        .reserved = BYTES(24, 31) | BYTES(38, 39) | BYTES(41, 41) |
                    BYTES(43, 47) | BYTES(56, 63),
    },
    [DSA_OP_DIF_INSERT] = {
        .exists = true,
        .has_size = true,
        .flags = READS | WRITES,
        .reserved = BYTES(38, 40) | BYTES(43, 55),
    },
    [DSA_OP_DIF_STRIP] = {
        .exists = true,
        .has_size = true,
        .flags = READS | WRITES,
        .reserved = BYTES(38, 39) | BYTES(41, 41) | BYTES(43, 47) |
                    BYTES(56, 63),
    },
    [DSA_OP_DIF_UPDATE] = {
        .exists = true,
        .has_size = true,
        .flags = READS | WRITES,
        .reserved = BYTES(38, 39) | BYTES(43, 47),
    },
    [DSA_OP_CACHE_FLUSH] = {
        .exists = true,
        .has_size = true,
        .flags = DSA_FLAG_BLOCK_ON_FAULT | DSA_FLAG_ADDR2_TC |
                 DSA_FLAG_STRICT_ORDERING | DSA_FLAG_DEST_READBACK,
        .reserved = BYTES(16, 23) | BYTES(38, 63),
    },
};

void dsa_descriptor_decode(DSADescriptor *desc, const uint8_t *raw)
{
    memcpy(desc->raw, raw, DSA_DESC_SIZE);
    desc->trusted = ldl_le_p(raw + DSA_DESC_TRUSTED);
    desc->flags = ldl_le_p(raw + DSA_DESC_FLAGS) & MAKE_64BIT_MASK(0, 24);
    desc->operation = raw[DSA_DESC_OPERATION];
    desc->completion_addr = ldq_le_p(raw + DSA_DESC_COMPLETION_ADDR);
    desc->src = ldq_le_p(raw + DSA_DESC_SRC);
    desc->dst = ldq_le_p(raw + DSA_DESC_DST);
    desc->size = ldl_le_p(raw + DSA_DESC_TRANSFER_SIZE);
    desc->int_handle = lduw_le_p(raw + DSA_DESC_INT_HANDLE);
}

uint64_t dsa_descriptor_dst_size(const DSADescriptor *desc)
{
    uint32_t block = dsa_dif_block_size(desc->raw[DSA_DESC_DIF_FLAGS]);
    uint64_t size = desc->size;

    switch (desc->operation) {
    case DSA_OP_DIF_INSERT:
        return size + size / block * DSA_DIF_SIZE;
    case DSA_OP_DIF_STRIP:
        return size - size / (block + DSA_DIF_SIZE) * DSA_DIF_SIZE;
    default:
        return size;
    }
}

/* ---- Operation and flags ---- */

static bool operation_exists(const DSAJob *job)
{
    uint8_t op = job->desc.operation;

    return op < DSA_OP_COUNT && rules[op].exists &&
           !(job->in_batch && (op == DSA_OP_BATCH || op == DSA_OP_DRAIN));
}

/* Conditions under which flags are reserved (Table 5-4) */
static uint32_t reserved_flags(const DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    const DSAWork *work = job->work;
    uint32_t flags = ~(rules[desc->operation].flags | COMMON | DSA_FLAG_FENCE);

    if (!job->in_batch) {
        flags |= DSA_FLAG_FENCE;
    }
    if (!work->block_on_fault) {
        flags |= DSA_FLAG_BLOCK_ON_FAULT;
    }
    if (!work->user_int && work->pasid != PCI_NO_PASID && !work->priv) {
        flags |= DSA_FLAG_REQUEST_INT;
    }
    if (!(desc->flags & DSA_FLAG_CR_ADDR_VALID)) {
        flags |= DSA_FLAG_REQUEST_CR | DSA_FLAG_CR_TC;
    }
    if (desc->operation == DSA_OP_DRAIN) {
        flags |= desc->flags & DSA_FLAG_READBACK1_VALID ? 0 : DSA_FLAG_ADDR1_TC;
        flags |= desc->flags & DSA_FLAG_READBACK2_VALID ? 0 : DSA_FLAG_ADDR2_TC;
    }
    if ((desc->operation == DSA_OP_CRC || desc->operation == DSA_OP_COPY_CRC) &&
        !(desc->flags & DSA_FLAG_READ_CRC_SEED)) {
        flags |= DSA_FLAG_ADDR3_TC;
    }
    return flags;
}

/* Flags that must be 1 and are not (Table 5-5) */
static uint32_t missing_flags(const DSAJob *job)
{
    const uint32_t cr = DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR;
    const uint32_t report = DSA_FLAG_REQUEST_CR | DSA_FLAG_REQUEST_INT;
    uint32_t flags = job->desc.flags;

    if (rules[job->desc.operation].needs_cr) {
        return cr & ~flags;
    }
    if (job->desc.operation == DSA_OP_DRAIN && !(flags & report)) {
        return report;
    }
    return 0;
}

static bool check_flags(DSAJob *job)
{
    uint32_t invalid = (job->desc.flags & reserved_flags(job)) |
                       missing_flags(job);

    if (invalid) {
        job->status = DSA_STATUS_FLAGS;
        stl_le_p(job->specific + DSA_CR_INVALID_FLAGS - DSA_CR_SPECIFIC,
                 invalid);
    }
    return !invalid;
}

/* ---- Reserved fields ---- */

static uint64_t reserved_bytes(const DSADescriptor *desc)
{
    uint64_t bytes = rules[desc->operation].reserved;

    if (!(desc->flags & DSA_FLAG_REQUEST_INT)) {
        bytes |= BYTES(36, 37);
    }
    if (!(desc->flags & DSA_FLAG_CR_ADDR_VALID)) {
        bytes |= BYTES(8, 15);
    }
    switch (desc->operation) {
    case DSA_OP_DRAIN:
        bytes |= desc->flags & DSA_FLAG_READBACK1_VALID ? 0 : BYTES(16, 23);
        bytes |= desc->flags & DSA_FLAG_READBACK2_VALID ? 0 : BYTES(24, 31);
        break;
    case DSA_OP_CRC:
    case DSA_OP_COPY_CRC:
        bytes |= desc->flags & DSA_FLAG_READ_CRC_SEED ? BYTES(40, 43)
                                                      : BYTES(48, 55);
        break;
    }
    return bytes;
}

static bool dif_flags_reserved(const DSADescriptor *desc)
{
    uint8_t dif = desc->raw[DSA_DESC_DIF_FLAGS];
    uint8_t dst = desc->raw[DSA_DESC_DST_DIF_FLAGS];

    switch (desc->operation) {
    case DSA_OP_DIF_INSERT:
    case DSA_OP_DIF_UPDATE:
        return FIELD_EX8(dif, DSA_DIF, RESERVED) ||
               FIELD_EX8(dst, DSA_DST_DIF, RESERVED);
    case DSA_OP_DIF_CHECK:
    case DSA_OP_DIF_STRIP:
        return FIELD_EX8(dif, DSA_DIF, RESERVED);
    default:
        return false;
    }
}

static DSAStatus check_reserved(const DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint64_t bytes = reserved_bytes(desc);
    int i;

    for (i = 0; i < DSA_DESC_SIZE; i++) {
        if (extract64(bytes, i, 1) && desc->raw[i]) {
            return DSA_STATUS_RESERVED;
        }
    }
    return dif_flags_reserved(desc) ? DSA_STATUS_RESERVED : 0;
}

/* ---- Fields of single operations ---- */

/* Ranges may wrap at the end of the address space */
static bool overlap(uint64_t a, uint64_t a_len, uint64_t b, uint64_t b_len)
{
    return b - a < a_len || a - b < b_len;
}

static DSAStatus check_size(const DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    bool delta = desc->operation == DSA_OP_CREATE_DELTA ||
                 desc->operation == DSA_OP_APPLY_DELTA;

    if (rules[desc->operation].has_size &&
        (!desc->size || desc->size > 1ULL << job->work->max_transfer ||
         (delta && desc->size > DELTA_MAX_TRANSFER))) {
        return DSA_STATUS_TRANSFER_SIZE;
    }
    return 0;
}

static DSAStatus check_batch(const DSAJob *job)
{
    if (job->desc.size < 2 || job->desc.size > 1u << job->work->max_batch) {
        return DSA_STATUS_DESC_COUNT;
    }
    return job->desc.src % DSA_DESC_SIZE ? DSA_STATUS_LIST_ALIGN : 0;
}

static DSAStatus check_create_delta(const DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint64_t delta = ldq_le_p(desc->raw + DSA_DESC_DELTA_ADDR);
    uint32_t max_size = ldl_le_p(desc->raw + DSA_DESC_MAX_DELTA_SIZE);

    if ((desc->src | desc->dst | desc->size) % 8) {
        return DSA_STATUS_ALIGN;
    }
    if (max_size < DELTA_MIN_CREATE ||
        max_size > 1ULL << job->work->max_transfer) {
        return DSA_STATUS_DELTA_SIZE;
    }
    if (overlap(desc->src, desc->size, delta, max_size) ||
        overlap(desc->dst, desc->size, delta, max_size)) {
        return DSA_STATUS_OVERLAP;
    }
    return 0;
}

static DSAStatus check_apply_delta(const DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint32_t delta_size = ldl_le_p(desc->raw + DSA_DESC_DELTA_SIZE);

    if ((desc->dst | desc->size) % 8) {
        return DSA_STATUS_ALIGN;
    }
    if (delta_size < DELTA_MIN_APPLY ||
        delta_size > 1ULL << job->work->max_transfer) {
        return DSA_STATUS_DELTA_SIZE;
    }
    return overlap(desc->src, delta_size, desc->dst, desc->size)
           ? DSA_STATUS_OVERLAP : 0;
}

static DSAStatus check_dualcast(const DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint64_t dst2 = ldq_le_p(desc->raw + DSA_DESC_DST2);

    if ((desc->dst ^ dst2) & 0xfff) {
        return DSA_STATUS_DUALCAST;
    }
    if (overlap(desc->src, desc->size, desc->dst, desc->size) ||
        overlap(desc->src, desc->size, dst2, desc->size) ||
        overlap(desc->dst, desc->size, dst2, desc->size)) {
        return DSA_STATUS_OVERLAP;
    }
    return 0;
}

static DSAStatus check_crc(const DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;

    if ((desc->flags & DSA_FLAG_READ_CRC_SEED) &&
        ldq_le_p(desc->raw + DSA_DESC_CRC_SEED_ADDR) % 4) {
        return DSA_STATUS_ALIGN;
    }
    return desc->operation == DSA_OP_COPY_CRC &&
           overlap(desc->src, desc->size, desc->dst, desc->size)
           ? DSA_STATUS_OVERLAP : 0;
}

static DSAStatus check_dif(const DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;
    uint32_t block = dsa_dif_block_size(desc->raw[DSA_DESC_DIF_FLAGS]);
    uint32_t dif = desc->operation == DSA_OP_DIF_INSERT ? 0 : DSA_DIF_SIZE;

    if (desc->size % (block + dif)) {
        return DSA_STATUS_TRANSFER_SIZE;
    }
    return desc->operation != DSA_OP_DIF_CHECK &&
           overlap(desc->src, desc->size, desc->dst,
                   dsa_descriptor_dst_size(desc)) ? DSA_STATUS_OVERLAP : 0;
}

static DSAStatus check_operation(const DSAJob *job)
{
    switch (job->desc.operation) {
    case DSA_OP_BATCH:
        return check_batch(job);
    case DSA_OP_CREATE_DELTA:
        return check_create_delta(job);
    case DSA_OP_APPLY_DELTA:
        return check_apply_delta(job);
    case DSA_OP_DUALCAST:
        return check_dualcast(job);
    case DSA_OP_CRC:
    case DSA_OP_COPY_CRC:
        return check_crc(job);
    case DSA_OP_DIF_CHECK ... DSA_OP_DIF_UPDATE:
        return check_dif(job);
    default:
        return 0;
    }
}

/* ---- Interrupt ---- */

bool dsa_descriptor_int_valid(const DSAJob *job)
{
    const DSAWork *work = job->work;
    bool pasid_en = work->pasid != PCI_NO_PASID;
    uint32_t perm;

    WITH_QEMU_LOCK_GUARD(&job->s->lock) {
        if (!dsa_int_handle_valid(job->s, job->desc.int_handle)) {
            return false;
        }
        perm = job->s->msixperm[job->desc.int_handle];
    }
    return FIELD_EX32(perm, DSA_MSIXPERM, PASID_EN) == pasid_en &&
           (!pasid_en ||
            FIELD_EX32(perm, DSA_MSIXPERM, PASID) == work->pasid);
}

static DSAStatus check_int_handle(const DSAJob *job)
{
    return (job->desc.flags & DSA_FLAG_REQUEST_INT) &&
           !dsa_descriptor_int_valid(job) ? DSA_STATUS_INT_HANDLE : 0;
}

bool dsa_descriptor_can_run(const DSAJob *job)
{
    return operation_exists(job) && !check_size(job) && !check_operation(job);
}

bool dsa_descriptor_check(DSAJob *job)
{
    const DSADescriptor *desc = &job->desc;

    if ((desc->flags & DSA_FLAG_CR_ADDR_VALID) &&
        desc->completion_addr % DSA_CR_SIZE) {
        job->status = DSA_STATUS_CR_ALIGN;
        return false;
    }
    if (job->work->shared && job->work->priv &&
        !pcie_pasid_priv_enabled(PCI_DEVICE(job->s))) {
        job->status = DSA_STATUS_PRIV;
        return false;
    }
    if (!operation_exists(job)) {
        job->status = DSA_STATUS_OPERATION;
        return false;
    }
    if (!check_flags(job)) {
        return false;
    }
    job->status = check_reserved(job) ?: check_int_handle(job) ?:
                  check_size(job) ?: check_operation(job);
    return !job->status;
}
