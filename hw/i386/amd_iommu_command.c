/*
 * AMD-Vi: formats of commands
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "qemu/host-utils.h"
#include "amd_iommu_command.h"

/* Bits of the second quadword of commands with an address */
#define ADDR_S      (1ULL << 0)
#define ADDR_GN     (1ULL << 2)
#define ADDR_INVAL  (1ULL << 4)

typedef struct Format {
    uint64_t reserved[2];
    uint64_t feature;       /* The command exists only with this feature */
    void (*decode)(const uint64_t cmd[2], AMDVICommand *command);
} Format;

static uint32_t with_gn(const uint64_t cmd[2], uint32_t pasid)
{
    return cmd[1] & ADDR_GN ? pasid : PCI_NO_PASID;
}

/*
 * With S set, the lowest 0 bit of the page number tells the size, from two
 * pages up to everything (2.4.3).
 */
static void decode_range(const uint64_t cmd[2], AMDVICommand *command)
{
    unsigned bits = AMDVI_PAGE_SHIFT;

    if (cmd[1] & ADDR_S) {
        bits += 1 + cto64(cmd[1] >> AMDVI_PAGE_SHIFT);
    }
    command->addr_mask = bits < 64 ? MAKE_64BIT_MASK(0, bits) : UINT64_MAX;
    command->addr = cmd[1] & ~command->addr_mask;
}

static void decode_device(const uint64_t cmd[2], AMDVICommand *command)
{
    command->devid = extract64(cmd[0], 0, 16);
}

/* 2.4.1 */
static void decode_completion_wait(const uint64_t cmd[2],
                                   AMDVICommand *command)
{
    command->store = extract64(cmd[0], 0, 1);
    command->interrupt = extract64(cmd[0], 1, 1);
    command->store_addr = cmd[0] & GENMASK64(51, 3);
    command->data = cmd[1];
}

/* 2.4.3 */
static void decode_inval_pages(const uint64_t cmd[2], AMDVICommand *command)
{
    command->domid = extract64(cmd[0], 32, 16);
    command->pasid = with_gn(cmd, extract64(cmd[0], 0, 20));
    decode_range(cmd, command);
}

/* 2.4.4: the PASID is in three parts; Linux uses 15:8 and 7:0 only */
static void decode_inval_iotlb(const uint64_t cmd[2], AMDVICommand *command)
{
    uint32_t pasid = extract64(cmd[0], 56, 4) << 16 |
                     extract64(cmd[0], 16, 8) << 8 |
                     extract64(cmd[0], 48, 8);

    decode_device(cmd, command);
    command->pasid = with_gn(cmd, pasid);
    command->max_pend = extract64(cmd[0], 24, 8);
    command->queue_id = extract64(cmd[0], 32, 16);
    decode_range(cmd, command);
}

/* 2.4.6 */
static void decode_prefetch(const uint64_t cmd[2], AMDVICommand *command)
{
    decode_device(cmd, command);
    command->pasid = with_gn(cmd, extract64(cmd[0], 32, 20));
    command->inval = cmd[1] & ADDR_INVAL;
    command->count = extract64(cmd[0], 24, 8);
    command->addr = cmd[1] & AMDVI_PAGE_MASK_4K;
}

/* 2.4.7 */
static void decode_complete_ppr(const uint64_t cmd[2], AMDVICommand *command)
{
    decode_device(cmd, command);
    command->pasid = with_gn(cmd, extract64(cmd[0], 32, 20));
    command->tag = extract64(cmd[1], 32, 16);
}

static void decode_nothing(const uint64_t cmd[2], AMDVICommand *command)
{
}

/* Other opcodes are reserved. */
static const Format formats[] = {
    [AMDVI_CMD_COMPLETION_WAIT] = {
        .reserved = { GENMASK64(59, 52), 0 },
        .decode = decode_completion_wait,
    },
    [AMDVI_CMD_INVAL_DEVTAB_ENTRY] = {
        .reserved = { GENMASK64(59, 16), UINT64_MAX },
        .decode = decode_device,
    },
    [AMDVI_CMD_INVAL_AMDVI_PAGES] = {
        .reserved = { GENMASK64(59, 48) | GENMASK64(31, 20),
                      GENMASK64(11, 3) },
        .decode = decode_inval_pages,
    },
    /* Type, bits 5:4, is reserved without InvIotlbTypeSup (MMIO 0030h). */
    [AMDVI_CMD_INVAL_IOTLB_PAGES] = {
        .reserved = { 0, GENMASK64(11, 3) | GENMASK64(1, 1) },
        .decode = decode_inval_iotlb,
    },
    [AMDVI_CMD_INVAL_INTR_TABLE] = {
        .reserved = { GENMASK64(59, 16), UINT64_MAX },
        .decode = decode_device,
    },
    [AMDVI_CMD_PREFETCH_AMDVI_PAGES] = {
        .reserved = { GENMASK64(59, 52) | GENMASK64(23, 16),
                      GENMASK64(11, 5) | GENMASK64(3, 3) | GENMASK64(1, 1) },
        .feature = AMDVI_FEATURE_PREFETCH,
        .decode = decode_prefetch,
    },
    [AMDVI_CMD_COMPLETE_PPR_REQUEST] = {
        .reserved = { GENMASK64(59, 52) | GENMASK64(31, 16),
                      GENMASK64(63, 48) | GENMASK64(31, 3) | GENMASK64(1, 0) },
        .feature = AMDVI_FEATURE_PPR,
        .decode = decode_complete_ppr,
    },
    [AMDVI_CMD_INVAL_AMDVI_ALL] = {
        .reserved = { GENMASK64(59, 0), UINT64_MAX },
        .feature = AMDVI_FEATURE_IA,
        .decode = decode_nothing,
    },
};

bool amdvi_command_decode(const uint64_t cmd[2], uint64_t features,
                          AMDVICommand *command)
{
    unsigned opcode = extract64(cmd[0], 60, 4);
    const Format *format;

    *command = (AMDVICommand) { .opcode = opcode, .pasid = PCI_NO_PASID };
    if (opcode >= ARRAY_SIZE(formats) || !formats[opcode].decode) {
        return false;
    }
    format = &formats[opcode];
    format->decode(cmd, command);
    return !(cmd[0] & format->reserved[0]) &&
           !(cmd[1] & format->reserved[1]) &&
           (features & format->feature) == format->feature;
}
