/*
 * Intel Data Streaming Accelerator (DSA): Data Integrity Field (Appendix B)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_DMA_DSA_DIF_H
#define HW_DMA_DSA_DIF_H

/* Guard, Application Tag and Reference Tag, which follow a block */
#define DSA_DIF_SIZE 8

typedef struct DSADIFTags {
    uint32_t ref;
    uint16_t app_mask;
    uint16_t app;
} DSADIFTags;

/* DIF fields of a descriptor; the tags are those of the first block */
typedef struct DSADIFConfig {
    uint8_t flags;
    uint8_t src_flags;
    uint8_t dst_flags;
    DSADIFTags src;
    DSADIFTags dst;
} DSADIFConfig;

/**
 * dsa_dif_block_size: size of a block without its DIF
 *
 * @flags: DIF Flags (8.3.17.1)
 *
 * Returns: 512, 520, 4096 or 4104.
 */
uint32_t dsa_dif_block_size(uint8_t flags);

/**
 * dsa_dif_tags: tags of a block whose tags are not passed through
 *
 * @first: tags of the first block
 * @flags: Source DIF Flags or Destination DIF Flags (8.3.17.2, 8.3.17.3), which
 *         share the flags that this function uses
 * @index: index of the block, 0 for the first
 *
 * Returns: the tags; the mask is not applied.
 */
DSADIFTags dsa_dif_tags(const DSADIFTags *first, uint8_t flags,
                        uint32_t index);

/**
 * dsa_dif_check: check the DIF of a block
 *
 * @config: the DIF fields of the descriptor
 * @block: dsa_dif_block_size() bytes of data, DSA_DIF_SIZE bytes of DIF
 * @index: index of the block, 0 for the first
 *
 * Returns: DSA_DIF_STATUS_*, 0 if there is no error.
 */
uint8_t dsa_dif_check(const DSADIFConfig *config, const uint8_t *block,
                      uint32_t index);

/**
 * dsa_dif_generate: generate the DIF of a block of the destination
 *
 * @config: the DIF fields of the descriptor
 * @data: the block, dsa_dif_block_size() bytes
 * @src_dif: DIF of the source, from which the flags select the fields that are
 *           passed through, or NULL
 * @index: index of the block, 0 for the first
 * @dif: set to the DIF, DSA_DIF_SIZE bytes
 */
void dsa_dif_generate(const DSADIFConfig *config, const uint8_t *data,
                      const uint8_t *src_dif, uint32_t index, uint8_t *dif);

#endif
