/*
 * Intel Data Streaming Accelerator (DSA): Data Integrity Field (Appendix B)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "hw/dma/dsa-regs.h"
#include "crc.h"
#include "dif.h"

/* Offsets in a DIF, whose fields are big-endian */
#define DIF_GUARD   0
#define DIF_APP     2
#define DIF_REF     4

uint32_t dsa_dif_block_size(uint8_t flags)
{
    static const uint16_t sizes[] = { 512, 520, 4096, 4104 };

    return sizes[FIELD_EX8(flags, DSA_DIF, BLOCK_SIZE)];
}

QEMU_BUILD_BUG_ON((int)R_DSA_SRC_DIF_REF_FIXED_MASK !=
                  (int)R_DSA_DST_DIF_REF_FIXED_MASK);
QEMU_BUILD_BUG_ON((int)R_DSA_SRC_DIF_APP_INCREMENT_MASK !=
                  (int)R_DSA_DST_DIF_APP_INCREMENT_MASK);

DSADIFTags dsa_dif_tags(const DSADIFTags *first, uint8_t flags, uint32_t index)
{
    DSADIFTags tags = *first;

    tags.ref += FIELD_EX8(flags, DSA_SRC_DIF, REF_FIXED) ? 0 : index;
    tags.app += FIELD_EX8(flags, DSA_SRC_DIF, APP_INCREMENT) ? index : 0;
    return tags;
}

static uint16_t dif_guard(const DSADIFConfig *config, const uint8_t *data)
{
    uint16_t seed = FIELD_EX8(config->flags, DSA_DIF, INVERT_SEED)
                    ? UINT16_MAX : 0;
    uint16_t crc = dsa_crc16_t10(seed, data,
                                 dsa_dif_block_size(config->flags));

    return FIELD_EX8(config->flags, DSA_DIF, INVERT_CRC) ? ~crc : crc;
}

/* "F Detect condition" (8.3.17.4) */
static bool dif_f_detected(uint8_t flags, const uint8_t *dif)
{
    bool app = lduw_be_p(dif + DIF_APP) == UINT16_MAX;
    bool ref = (uint32_t)ldl_be_p(dif + DIF_REF) == UINT32_MAX;
    bool guard = lduw_be_p(dif + DIF_GUARD) == UINT16_MAX;

    return (FIELD_EX8(flags, DSA_SRC_DIF, ALL_F) && guard && app && ref) ||
           (FIELD_EX8(flags, DSA_SRC_DIF, APP_F) && app) ||
           (FIELD_EX8(flags, DSA_SRC_DIF, APP_REF_F) && app && ref);
}

static bool dif_all_f_error(uint8_t flags, const uint8_t *dif)
{
    return FIELD_EX8(flags, DSA_SRC_DIF, ALL_F) &&
           FIELD_EX8(flags, DSA_SRC_DIF, ALL_F_ERROR) &&
           ldq_be_p(dif) == UINT64_MAX;
}

uint8_t dsa_dif_check(const DSADIFConfig *config, const uint8_t *block,
                      uint32_t index)
{
    const uint8_t *dif = block + dsa_dif_block_size(config->flags);
    uint8_t flags = config->src_flags;
    DSADIFTags tags = dsa_dif_tags(&config->src, flags, index);
    uint8_t status = 0;

    if (dif_all_f_error(flags, dif)) {
        return DSA_DIF_STATUS_ALL_F;
    }
    if (dif_f_detected(flags, dif)) {
        return 0;
    }
    if (!FIELD_EX8(flags, DSA_SRC_DIF, NO_GUARD_CHECK) &&
        dif_guard(config, block) != lduw_be_p(dif + DIF_GUARD)) {
        status |= DSA_DIF_STATUS_GUARD;
    }
    if ((tags.app ^ lduw_be_p(dif + DIF_APP)) & ~tags.app_mask & UINT16_MAX) {
        status |= DSA_DIF_STATUS_APP;
    }
    if (!FIELD_EX8(flags, DSA_SRC_DIF, NO_REF_CHECK) &&
        tags.ref != (uint32_t)ldl_be_p(dif + DIF_REF)) {
        status |= DSA_DIF_STATUS_REF;
    }
    return status;
}

void dsa_dif_generate(const DSADIFConfig *config, const uint8_t *data,
                      const uint8_t *src_dif, uint32_t index, uint8_t *dif)
{
    DSADIFTags tags = dsa_dif_tags(&config->dst, config->dst_flags, index);
    uint8_t pass = src_dif ? config->dst_flags : 0;

    if (FIELD_EX8(pass, DSA_DST_DIF, GUARD_PASS)) {
        memcpy(dif + DIF_GUARD, src_dif + DIF_GUARD, 2);
    } else {
        stw_be_p(dif + DIF_GUARD, dif_guard(config, data));
    }
    if (FIELD_EX8(pass, DSA_DST_DIF, APP_PASS)) {
        memcpy(dif + DIF_APP, src_dif + DIF_APP, 2);
    } else {
        stw_be_p(dif + DIF_APP, tags.app & ~tags.app_mask);
    }
    if (FIELD_EX8(pass, DSA_DST_DIF, REF_PASS)) {
        memcpy(dif + DIF_REF, src_dif + DIF_REF, 4);
    } else {
        stl_be_p(dif + DIF_REF, tags.ref);
    }
}
