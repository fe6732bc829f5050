/*
 * libqos driver for the Intel Data Streaming Accelerator (DSA)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef LIBQOS_DSA_H
#define LIBQOS_DSA_H

#include "../libqtest.h"
#include "hw/dma/dsa-regs.h"

/* Data of the interrupt message of a vector, which is a write to RAM */
#define QDSA_MSI_DATA(vector) (0xd5a00000 | (vector))

/**
 * struct QDSA - the driver of a DSA
 * @qts: the emulator
 * @bdf: bus, device and function number
 * @regs: guest physical address of BAR 0
 * @portals: guest physical address of BAR 2
 * @msi: guest physical address of the interrupt messages, 8 bytes per vector
 */
typedef struct QDSA {
    QTestState *qts;
    uint16_t bdf;
    uint64_t regs;
    uint64_t portals;
    uint64_t msi;
} QDSA;

/* A descriptor, which qdsa_desc() and qdsa_desc_data() fill in */
typedef struct QDSADesc {
    uint8_t raw[DSA_DESC_SIZE];
} QDSADesc;

/**
 * qdsa_test_init() - start a test program
 * @argc: arguments of the program
 * @argv: likewise
 *
 * Returns: false if the emulator has no DSA; the program is skipped then.
 */
bool qdsa_test_init(int *argc, char ***argv);

/**
 * qdsa_init() - map the BARs, enable bus mastering and MSI-X
 * @d: the driver to fill in
 * @qts: the emulator, after qecam_enable()
 * @bdf: bus, device and function number
 * @msi: guest physical address for interrupt messages, 8 bytes per vector
 */
void qdsa_init(QDSA *d, QTestState *qts, uint16_t bdf, uint64_t msi);

/**
 * qdsa_enable_ats() - enable PASID, page requests and ATS
 * @d: the driver
 */
void qdsa_enable_ats(QDSA *d);

uint32_t qdsa_readl(QDSA *d, unsigned reg);
uint64_t qdsa_readq(QDSA *d, unsigned reg);
void qdsa_writel(QDSA *d, unsigned reg, uint32_t val);
void qdsa_writeq(QDSA *d, unsigned reg, uint64_t val);

/* Offsets of table entries */
unsigned qdsa_wqcfg(unsigned wq, unsigned qword);
unsigned qdsa_grpcfg(unsigned group, unsigned offset);
unsigned qdsa_msixperm(unsigned vector);

/**
 * qdsa_command() - issue an administrative command and wait for its end
 * @d: the driver
 * @code: DSA_CMD_*
 * @operand: operand of the command
 *
 * Returns: CMDSTATUS.  The test fails after ten seconds.
 */
uint32_t qdsa_command(QDSA *d, DSACommandCode code, uint32_t operand);

/* Wait for the end of the last command; returns CMDSTATUS */
uint32_t qdsa_wait_command(QDSA *d);

/* The first quadword of the software error register (SWERROR) */
uint64_t qdsa_swerror(QDSA *d);

/**
 * qdsa_wait_swerror() - wait until the device has recorded an error
 * @d: the driver
 * @code: the expected error code
 *
 * The test fails after ten seconds.
 */
void qdsa_wait_swerror(QDSA *d, uint8_t code);

/**
 * qdsa_configure_wq() - configure a WQ in group 0, which has engine 0
 * @d: the driver
 * @wq: index of the WQ
 * @size: size of the WQ, in entries
 * @bits: bits of the second quadword of WQCFG, to which the function adds
 *        transfers up to 2 GiB, batches up to 1024 and priority 1
 */
void qdsa_configure_wq(QDSA *d, unsigned wq, unsigned size, uint64_t bits);

/**
 * qdsa_enable() - enable the device and WQ 0, which are configured
 * @d: the driver
 */
void qdsa_enable(QDSA *d);

/**
 * qdsa_start() - configure WQ 0 for dedicated mode, enable the device and WQ 0
 * @d: the driver
 * @bits: further bits of the second quadword of WQCFG
 */
void qdsa_start(QDSA *d, uint64_t bits);

/**
 * qdsa_portal() - get the guest physical address of a portal
 * @d: the driver
 * @wq: index of the WQ
 * @kind: DSA_PORTAL_*
 */
uint64_t qdsa_portal(QDSA *d, unsigned wq, unsigned kind);

/* Initialize a descriptor; set its addresses and its transfer size */
void qdsa_desc(QDSADesc *desc, DSAOperation op, uint32_t flags, uint64_t cr);
void qdsa_desc_data(QDSADesc *desc, uint64_t src, uint64_t dst, uint32_t size);

/* Disable all checks of a source with DIFs, which then need not be right */
void qdsa_desc_no_dif_checks(QDSADesc *desc);

/**
 * qdsa_fill_pattern() - fill a buffer with a pattern
 * @p: the buffer
 * @len: its length, in bytes
 * @seed: the bytes depend on their position and on @seed
 */
void qdsa_fill_pattern(uint8_t *p, size_t len, unsigned seed);

/**
 * qdsa_submit() - submit a descriptor to WQ 0, which is dedicated
 * @d: the driver
 * @desc: the descriptor
 */
void qdsa_submit(QDSA *d, const QDSADesc *desc);

/**
 * qdsa_wait() - wait for a completion record, which was 0 before
 * @d: the driver
 * @cr: guest physical address of the record
 * @record: set to the record, DSA_CR_SIZE bytes
 *
 * Returns: the status.  The test fails after ten seconds.
 */
uint8_t qdsa_wait(QDSA *d, uint64_t cr, uint8_t *record);

/**
 * qdsa_wait_msi() - wait for the interrupt message of a vector, and clear it
 * @d: the driver
 * @vector: the vector
 */
void qdsa_wait_msi(QDSA *d, unsigned vector);

#endif
