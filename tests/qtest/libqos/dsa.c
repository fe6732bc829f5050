/*
 * libqos driver for the Intel Data Streaming Accelerator (DSA)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "standard-headers/linux/pci_regs.h"
#include "pci-ats-testdev.h"
#include "dsa.h"

#define REGS_BASE       0xd0000000
#define PORTALS_BASE    0xd0800000
#define TIMEOUT_US      (10 * G_USEC_PER_SEC)

static void enable_msix(QDSA *d)
{
    uint8_t pos = qecam_cap(d->qts, d->bdf, PCI_CAP_ID_MSIX);
    uint16_t flags = qecam_readw(d->qts, d->bdf, pos + PCI_MSIX_FLAGS);
    uint32_t table = qecam_readl(d->qts, d->bdf, pos + PCI_MSIX_TABLE);
    unsigned i;

    g_assert_cmpuint(table & PCI_MSIX_TABLE_BIR, ==, DSA_MMIO_BAR);
    for (i = 0; i <= (flags & PCI_MSIX_FLAGS_QSIZE); i++) {
        unsigned entry = table + i * PCI_MSIX_ENTRY_SIZE;

        qdsa_writel(d, entry + PCI_MSIX_ENTRY_LOWER_ADDR, d->msi + 8 * i);
        qdsa_writel(d, entry + PCI_MSIX_ENTRY_UPPER_ADDR, 0);
        qdsa_writel(d, entry + PCI_MSIX_ENTRY_DATA, QDSA_MSI_DATA(i));
        qdsa_writel(d, entry + PCI_MSIX_ENTRY_VECTOR_CTRL, 0);
        qtest_writeq(d->qts, d->msi + 8 * i, 0);
    }
    qecam_writew(d->qts, d->bdf, pos + PCI_MSIX_FLAGS,
                 flags | PCI_MSIX_FLAGS_ENABLE);
}

bool qdsa_test_init(int *argc, char ***argv)
{
    g_test_init(argc, argv, NULL);
    if (qtest_has_device("dsa")) {
        return true;
    }
    g_test_skip("no dsa device");
    return false;
}

void qdsa_init(QDSA *d, QTestState *qts, uint16_t bdf, uint64_t msi)
{
    d->qts = qts;
    d->bdf = bdf;
    d->regs = REGS_BASE;
    d->portals = PORTALS_BASE;
    d->msi = msi;
    qecam_writel(qts, bdf, PCI_BASE_ADDRESS_0, d->regs);
    qecam_writel(qts, bdf, PCI_BASE_ADDRESS_1, 0);
    qecam_writel(qts, bdf, PCI_BASE_ADDRESS_2, d->portals);
    qecam_writel(qts, bdf, PCI_BASE_ADDRESS_3, 0);
    qecam_writew(qts, bdf, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    enable_msix(d);
}

void qdsa_enable_ats(QDSA *d)
{
    qecam_enable_ats(d->qts, d->bdf, 0, 32);
}

uint32_t qdsa_readl(QDSA *d, unsigned reg)
{
    return qtest_readl(d->qts, d->regs + reg);
}

uint64_t qdsa_readq(QDSA *d, unsigned reg)
{
    return qtest_readq(d->qts, d->regs + reg);
}

void qdsa_writel(QDSA *d, unsigned reg, uint32_t val)
{
    qtest_writel(d->qts, d->regs + reg, val);
}

void qdsa_writeq(QDSA *d, unsigned reg, uint64_t val)
{
    qtest_writeq(d->qts, d->regs + reg, val);
}

unsigned qdsa_wqcfg(unsigned wq, unsigned qword)
{
    return DSA_WQCFG_OFFSET + wq * DSA_WQCFG_SIZE + qword * 8;
}

unsigned qdsa_grpcfg(unsigned group, unsigned offset)
{
    return DSA_GRPCFG_OFFSET + group * DSA_GRPCFG_SIZE + offset;
}

unsigned qdsa_msixperm(unsigned vector)
{
    return DSA_MSIXPERM_OFFSET + vector * 8;
}

uint32_t qdsa_wait_command(QDSA *d)
{
    int64_t end = g_get_monotonic_time() + TIMEOUT_US;
    uint32_t status;

    do {
        status = qdsa_readl(d, A_DSA_CMDSTATUS);
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    } while (status & R_DSA_CMDSTATUS_ACTIVE_MASK);
    return status;
}

uint64_t qdsa_swerror(QDSA *d)
{
    return qdsa_readq(d, A_DSA_SWERROR);
}

void qdsa_wait_swerror(QDSA *d, uint8_t code)
{
    int64_t end = g_get_monotonic_time() + TIMEOUT_US;

    while (!(qdsa_swerror(d) & R_DSA_SWERROR_VALID_MASK)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
        g_usleep(100);
    }
    g_assert_cmphex(FIELD_EX64(qdsa_swerror(d), DSA_SWERROR, ERROR), ==, code);
}

uint32_t qdsa_command(QDSA *d, DSACommandCode code, uint32_t operand)
{
    qdsa_writel(d, A_DSA_CMD, code << R_DSA_CMD_CODE_SHIFT | operand);
    return qdsa_wait_command(d);
}

void qdsa_configure_wq(QDSA *d, unsigned wq, unsigned size, uint64_t bits)
{
    uint64_t wqs = qdsa_readq(d, qdsa_grpcfg(0, DSA_GRPCFG_WQS));

    qdsa_writeq(d, qdsa_grpcfg(0, DSA_GRPCFG_WQS), wqs | 1ULL << wq);
    qdsa_writeq(d, qdsa_grpcfg(0, DSA_GRPCFG_ENGINES), 1);
    qdsa_writeq(d, qdsa_wqcfg(wq, 0),
                size | (uint64_t)size << R_DSA_WQCFG0_THRESHOLD_SHIFT);
    qdsa_writeq(d, qdsa_wqcfg(wq, 1),
                bits | 1 << R_DSA_WQCFG1_PRIORITY_SHIFT |
                31ULL << R_DSA_WQCFG1_MAX_TRANSFER_SHIFT |
                10ULL << R_DSA_WQCFG1_MAX_BATCH_SHIFT);
}

void qdsa_enable(QDSA *d)
{
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_WQ, 0), ==, 0);
}

void qdsa_start(QDSA *d, uint64_t bits)
{
    qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED | bits);
    qdsa_enable(d);
}

uint64_t qdsa_portal(QDSA *d, unsigned wq, unsigned kind)
{
    return d->portals + (wq * DSA_PORTALS_PER_WQ + kind) * DSA_PORTAL_SIZE;
}

void qdsa_desc(QDSADesc *desc, DSAOperation op, uint32_t flags, uint64_t cr)
{
    memset(desc, 0, sizeof(*desc));
    stl_le_p(desc->raw + DSA_DESC_FLAGS, flags);
    desc->raw[DSA_DESC_OPERATION] = op;
    stq_le_p(desc->raw + DSA_DESC_COMPLETION_ADDR, cr);
}

void qdsa_desc_data(QDSADesc *desc, uint64_t src, uint64_t dst, uint32_t size)
{
    stq_le_p(desc->raw + DSA_DESC_SRC, src);
    stq_le_p(desc->raw + DSA_DESC_DST, dst);
    stl_le_p(desc->raw + DSA_DESC_TRANSFER_SIZE, size);
}

void qdsa_desc_no_dif_checks(QDSADesc *desc)
{
    desc->raw[DSA_DESC_SRC_DIF_FLAGS] = R_DSA_SRC_DIF_NO_GUARD_CHECK_MASK |
                                        R_DSA_SRC_DIF_NO_REF_CHECK_MASK;
    stw_le_p(desc->raw + DSA_DESC_SRC_DIF_TAGS + 4, 0xffff);
}

void qdsa_fill_pattern(uint8_t *p, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        p[i] = (i * 131 + seed) >> (i % 3);
    }
}

void qdsa_submit(QDSA *d, const QDSADesc *desc)
{
    qtest_direct_store(d->qts, qdsa_portal(d, 0, DSA_PORTAL_LIMITED),
                       desc->raw);
}

uint8_t qdsa_wait(QDSA *d, uint64_t cr, uint8_t *record)
{
    int64_t end = g_get_monotonic_time() + TIMEOUT_US;

    while (!qtest_readb(d->qts, cr + DSA_CR_STATUS)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    qtest_memread(d->qts, cr, record, DSA_CR_SIZE);
    return record[DSA_CR_STATUS];
}

void qdsa_wait_msi(QDSA *d, unsigned vector)
{
    int64_t end = g_get_monotonic_time() + TIMEOUT_US;
    uint64_t addr = d->msi + 8 * vector;

    while (!qtest_readl(d->qts, addr)) {
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    g_assert_cmphex(qtest_readl(d->qts, addr), ==, QDSA_MSI_DATA(vector));
    qtest_writel(d->qts, addr, 0);
}
