/*
 * QTest testcase for the Intel Data Streaming Accelerator (DSA): submission,
 * batches, interrupts and errors
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel DSA Architecture Specification,
 * revision 3.0.
 */

#include "qemu/osdep.h"
#include "qemu/bswap.h"
#include "standard-headers/linux/pci_regs.h"
#include "libqos/malloc-zeroed.h"
#include "dsa-common.h"

static void clear_swerror(DSATest *t)
{
    qdsa_writeq(&t->dsa, A_DSA_SWERROR,
                R_DSA_SWERROR_VALID_MASK | R_DSA_SWERROR_OVERFLOW_MASK);
}

/* ---- Submission ---- */

/* 5.3, Table 9-11: stores that a portal accepts */
static void test_portals(void)
{
    DSATest t;
    QDSA *d = &t.dsa;
    QDSADesc desc;

    dsa_start(&t);
    qdsa_desc(&desc, DSA_OP_NOOP, DSA_CR, t.cr);
    dsa_run(&t, &desc, DSA_STATUS_SUCCESS);

    /* Any offset in the page, and the unlimited portal */
    qtest_writeb(t.qts, t.cr, 0);
    qtest_direct_store(t.qts, qdsa_portal(d, 0, DSA_PORTAL_UNLIMITED) + 0xfc0,
                       desc.raw);
    qdsa_wait(d, t.cr, t.record);

    /* Deferrable writes to a dedicated, a disabled and a missing WQ */
    g_assert_false(qtest_enqueue_store(t.qts, qdsa_portal(d, 0, 0), desc.raw));
    g_assert_false(qtest_enqueue_store(t.qts, qdsa_portal(d, 1, 0), desc.raw));
    g_assert_false(qtest_enqueue_store(t.qts, qdsa_portal(d, 0, 2), desc.raw));

    /* Smaller writes, IMS portals and disabled WQs are ignored */
    qtest_writeb(t.qts, t.cr, 0);
    qtest_memwrite(t.qts, qdsa_portal(d, 0, 0), desc.raw, sizeof(desc.raw));
    qtest_direct_store(t.qts, qdsa_portal(d, 0, DSA_PORTAL_IMS), desc.raw);
    qtest_direct_store(t.qts, qdsa_portal(d, 1, 0), desc.raw);
    g_assert_cmphex(qtest_readq(t.qts, qdsa_portal(d, 0, 0)), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DRAIN_ALL, 0), ==, 0);
    g_assert_cmphex(qtest_readb(t.qts, t.cr), ==, 0);
    g_assert_cmphex(qdsa_swerror(&t.dsa), ==, 0);

    g_assert_cmphex(qdsa_command(d, DSA_CMD_DISABLE_WQ, 1), ==, 0);
    qdsa_submit(d, &desc);
    g_assert_cmphex(qtest_readb(t.qts, t.cr), ==, 0);
    dsa_stop(&t);
}

/* ---- Errors ---- */

/* 5.4, 5.5: one descriptor for each check, otherwise valid */
static void test_descriptor_checks(void)
{
    static const struct {
        DSAOperation op;
        uint32_t flags;
        uint32_t size;
        int offset;             /* offset of a byte that is set to @val */
        uint8_t val;
        uint8_t status;
    } cases[] = {
        { 0x0a, 0, 8, 0, 0, DSA_STATUS_OPERATION },
        { 0x21, 0, 8, 0, 0, DSA_STATUS_OPERATION },
        { 0xff, 0, 8, 0, 0, DSA_STATUS_OPERATION },
        { DSA_OP_MEMORY_MOVE, DSA_FLAG_FENCE, 8, 0, 0, DSA_STATUS_FLAGS },
        { DSA_OP_MEMORY_MOVE, DSA_FLAG_BLOCK_ON_FAULT, 8, 0, 0,
          DSA_STATUS_FLAGS },
        { DSA_OP_MEMORY_MOVE, 1 << 5, 8, 0, 0, DSA_STATUS_FLAGS },
        { DSA_OP_MEMORY_MOVE, 1 << 16, 8, 0, 0, DSA_STATUS_FLAGS },
        { DSA_OP_MEMORY_MOVE, DSA_FLAG_CHECK_RESULT, 8, 0, 0,
          DSA_STATUS_FLAGS },
        { DSA_OP_COMPARE, DSA_FLAG_CACHE_CONTROL, 8, 0, 0, DSA_STATUS_FLAGS },
        { DSA_OP_DRAIN, DSA_FLAG_ADDR1_TC, 0, 0, 0, DSA_STATUS_FLAGS },
        { DSA_OP_MEMORY_MOVE, 0, 8, 36, 1, DSA_STATUS_RESERVED },
        { DSA_OP_MEMORY_MOVE, 0, 8, 38, 1, DSA_STATUS_RESERVED },
        { DSA_OP_MEMORY_MOVE, 0, 8, 63, 1, DSA_STATUS_RESERVED },
        { DSA_OP_COMPARE, 0, 8, 41, 1, DSA_STATUS_RESERVED },
        { DSA_OP_CRC, 0, 8, 48, 4, DSA_STATUS_RESERVED },
        { DSA_OP_DIF_CHECK, 0, 520, 42, 0x10, DSA_STATUS_RESERVED },
        { DSA_OP_DIF_INSERT, 0, 512, 41, 0x01, DSA_STATUS_RESERVED },
        { DSA_OP_MEMORY_MOVE, 0, 0, 0, 0, DSA_STATUS_TRANSFER_SIZE },
        { DSA_OP_MEMORY_MOVE, 0, 0x80000001, 0, 0, DSA_STATUS_TRANSFER_SIZE },
        { DSA_OP_DIF_CHECK, 0, 512, 0, 0, DSA_STATUS_TRANSFER_SIZE },
        { DSA_OP_CREATE_DELTA, 0, 0x80008, 48, 80, DSA_STATUS_TRANSFER_SIZE },
        { DSA_OP_CREATE_DELTA, 0, 8, 48, 79, DSA_STATUS_DELTA_SIZE },
        { DSA_OP_CREATE_DELTA, 0, 9, 48, 80, DSA_STATUS_ALIGN },
        { DSA_OP_APPLY_DELTA, 0, 8, 40, 9, DSA_STATUS_DELTA_SIZE },
        { DSA_OP_APPLY_DELTA, 0, 12, 40, 10, DSA_STATUS_ALIGN },
        { DSA_OP_COPY_CRC, 0, 0x2000, 0, 0, DSA_STATUS_OVERLAP },
        { DSA_OP_DUALCAST, 0, 8, 40, 1, DSA_STATUS_DUALCAST },
        { DSA_OP_CRC, DSA_FLAG_READ_CRC_SEED, 8, 48, 2, DSA_STATUS_ALIGN },
        { DSA_OP_BATCH, 0, 1, 0, 0, DSA_STATUS_DESC_COUNT },
        { DSA_OP_BATCH, 0, 1025, 0, 0, DSA_STATUS_DESC_COUNT },
        { DSA_OP_BATCH, 0, 2, 16, 32, DSA_STATUS_LIST_ALIGN },
        { DSA_OP_MEMORY_MOVE, DSA_FLAG_REQUEST_INT, 8, 36, 9,
          DSA_STATUS_INT_HANDLE },
        { DSA_OP_MEMORY_MOVE, DSA_FLAG_REQUEST_INT, 8, 37, 1,
          DSA_STATUS_INT_HANDLE },
    };
    uint64_t src;
    DSATest t;

    dsa_start(&t);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 2 * PAGE);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        DSAOperation op = cases[i].op;
        bool has_dst = op != DSA_OP_BATCH && op != DSA_OP_CRC &&
                       op != DSA_OP_DIF_CHECK && op != DSA_OP_DRAIN;
        QDSADesc desc;

        g_test_message("case %d", i);
        qdsa_desc(&desc, op, DSA_CR | cases[i].flags, t.cr);
        qdsa_desc_data(&desc, op == DSA_OP_DRAIN ? 0 : src,
                       has_dst ? src + PAGE : 0, cases[i].size);
        if (cases[i].offset) {
            desc.raw[cases[i].offset] = cases[i].val;
        }
        dsa_run(&t, &desc, cases[i].status);
        if (cases[i].status == DSA_STATUS_FLAGS) {
            /* 8.2.6: the invalid flags */
            g_assert_cmphex(ldl_le_p(t.record + DSA_CR_INVALID_FLAGS), ==,
                            cases[i].flags);
        }
    }
    dsa_stop(&t);
}

static void check_overlap(DSATest *t, DSAOperation op, uint64_t src,
                          uint64_t dst,
                          uint32_t size, uint64_t third, bool overlaps)
{
    QDSADesc desc;

    qdsa_desc(&desc, op, DSA_CR, t->cr);
    qdsa_desc_data(&desc, src, dst, size);
    if (op == DSA_OP_DUALCAST) {
        stq_le_p(desc.raw + DSA_DESC_DST2, third);
    } else {
        stq_le_p(desc.raw + DSA_DESC_DELTA_ADDR, third);
        stl_le_p(desc.raw + DSA_DESC_MAX_DELTA_SIZE, 80);
    }
    dsa_run(t, &desc, overlaps ? DSA_STATUS_OVERLAP : DSA_STATUS_SUCCESS);
}

/* 8.3.8, 8.3.10: destinations may adjoin sources, but not overlap them */
static void test_overlap(void)
{
    uint64_t a, b, c;
    DSATest t;

    dsa_start(&t);
    a = guest_alloc_zeroed(&t.alloc, t.qts, 3 * PAGE);
    b = a + PAGE;
    c = b + PAGE;
    for (int i = 0; i < 2; i++) {
        uint64_t near = i ? 80 : 72;

        check_overlap(&t, DSA_OP_CREATE_DELTA, a, b, 80, a + near, !i);
        check_overlap(&t, DSA_OP_CREATE_DELTA, a, b, 80, b + near, !i);
        check_overlap(&t, DSA_OP_DUALCAST, b + near, b, 80, c, !i);
        check_overlap(&t, DSA_OP_DUALCAST, c + near, b, 80, c, !i);
        check_overlap(&t, DSA_OP_DUALCAST, a, b, 80, i ? c : b, !i);
    }
    dsa_stop(&t);
}

/* 8.1.3, Table 5-5: required flags; errors in SWERROR (5.8.1) */
static void test_swerror(void)
{
    QDSADesc desc;
    DSATest t;
    QDSA *d = &t.dsa;
    uint64_t src;

    dsa_start(&t);
    src = guest_alloc_zeroed(&t.alloc, t.qts, PAGE);
    qdsa_writel(d, A_DSA_GENCTRL, R_DSA_GENCTRL_SWERROR_INT_MASK);

    /* Compare requires a completion record */
    qdsa_desc(&desc, DSA_OP_COMPARE, 0, 0);
    qdsa_desc_data(&desc, src, src, 8);
    qdsa_submit(d, &desc);
    qdsa_wait_swerror(&t.dsa, DSA_STATUS_FLAGS);
    qdsa_wait_msi(d, 0);
    g_assert_cmphex(qdsa_readl(d, A_DSA_INTCAUSE), ==,
                    R_DSA_INTCAUSE_SWERROR_MASK);
    g_assert_cmphex(FIELD_EX64(qdsa_swerror(&t.dsa), DSA_SWERROR, OPERATION),
                    ==, DSA_OP_COMPARE);
    g_assert_cmphex(qdsa_readq(d, A_DSA_SWERROR + 8) >> 32, ==, DSA_CR);

    /* Only the first error is recorded */
    qdsa_desc(&desc, 0xff, 0, 0);
    qdsa_submit(d, &desc);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DRAIN_WQ, 1), ==, 0);
    qdsa_wait_swerror(&t.dsa, DSA_STATUS_FLAGS);
    g_assert_cmphex(FIELD_EX64(qdsa_swerror(&t.dsa), DSA_SWERROR, OVERFLOW),
                    ==, 1);
    clear_swerror(&t);

    /* An unaligned completion record is not written */
    qdsa_desc(&desc, DSA_OP_NOOP, DSA_CR, t.cr + 16);
    qdsa_submit(d, &desc);
    qdsa_wait_swerror(&t.dsa, DSA_STATUS_CR_ALIGN);
    g_assert_cmphex(FIELD_EX64(qdsa_swerror(&t.dsa), DSA_SWERROR, OVERFLOW),
                    ==, 0);
    clear_swerror(&t);

    /* A no-op without completion record succeeds without any report */
    qdsa_desc(&desc, DSA_OP_NOOP, 0, 0);
    qdsa_submit(d, &desc);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DRAIN_WQ, 1), ==, 0);
    g_assert_cmphex(qdsa_swerror(&t.dsa) & R_DSA_SWERROR_VALID_MASK, ==, 0);
    dsa_stop(&t);
}

/* ---- Batch, drain, interrupts ---- */

static void put_desc(DSATest *t, uint64_t list, unsigned i,
                     const QDSADesc *desc)
{
    qtest_memwrite(t->qts, list + i * DSA_DESC_SIZE, desc->raw,
                   sizeof(desc->raw));
}

static void batch(DSATest *t, uint64_t list, unsigned n, uint8_t status,
                  uint32_t completed)
{
    dsa_submit_data(t, DSA_OP_BATCH, 0, list, 0, n, status);
    g_assert_cmpuint(dsa_bytes_completed(t), ==, completed);
}

/* 3.8, 3.9, 8.3.2: Batch and Fence */
static void test_batch(void)
{
    const unsigned n = 40;
    uint64_t list, data;
    QDSADesc desc;
    DSATest t;

    dsa_start(&t);
    list = guest_alloc_zeroed(&t.alloc, t.qts, n * DSA_DESC_SIZE);
    data = guest_alloc_zeroed(&t.alloc, t.qts, PAGE);
    for (int i = 0; i < n; i++) {
        qdsa_desc(&desc, DSA_OP_FILL, 0, 0);
        qdsa_desc_data(&desc, i + 1, data + i * 8, 8);
        put_desc(&t, list, i, &desc);
    }
    batch(&t, list, n, DSA_STATUS_SUCCESS, n);
    g_assert_cmpuint(qtest_readq(t.qts, data + (n - 1) * 8), ==, n);

    /* One descriptor fails and reports its error; the others succeed */
    qdsa_desc(&desc, DSA_OP_DRAIN, DSA_CR, t.cr + 64);
    put_desc(&t, list, 5, &desc);
    batch(&t, list, n, DSA_STATUS_BATCH_ERROR, n);
    g_assert_cmphex(qtest_readb(t.qts, t.cr + 64), ==, DSA_STATUS_OPERATION);

    /* A fence after the failed descriptor ends the batch */
    qdsa_desc(&desc, DSA_OP_FILL, DSA_FLAG_FENCE, 0);
    qdsa_desc_data(&desc, 99, data, 8);
    put_desc(&t, list, 30, &desc);
    batch(&t, list, n, DSA_STATUS_BATCH_ERROR, 30);
    g_assert_cmpuint(qtest_readq(t.qts, data), ==, 1);

    /* A fence without a failed descriptor has no effect */
    qdsa_desc(&desc, DSA_OP_NOOP, 0, 0);
    put_desc(&t, list, 5, &desc);
    batch(&t, list, n, DSA_STATUS_SUCCESS, n);
    g_assert_cmpuint(qtest_readq(t.qts, data), ==, 99);

    /* A batch cannot contain a batch */
    qdsa_desc(&desc, DSA_OP_BATCH, DSA_CR, t.cr + 64);
    qdsa_desc_data(&desc, list, 0, 2);
    put_desc(&t, list, 0, &desc);
    batch(&t, list, n, DSA_STATUS_BATCH_ERROR, 30);
    g_assert_cmphex(qtest_readb(t.qts, t.cr + 64), ==, DSA_STATUS_OPERATION);
    dsa_stop(&t);
}

/* 3.12: a Drain ends after all descriptors that were submitted before it */
static void test_drain(void)
{
    const unsigned n = 8;
    const uint32_t size = 0x1000000;
    uint64_t src;
    QDSADesc desc;
    DSATest t;
    QDSA *d = &t.dsa;

    dsa_start_with(&t, "-device dsa,addr=4");
    qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED);
    qdsa_writeq(d, qdsa_grpcfg(0, DSA_GRPCFG_ENGINES), 0xf);
    qdsa_enable(d);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 2 * size);
    for (int i = 0; i < n; i++) {
        qdsa_desc(&desc, DSA_OP_MEMORY_MOVE, DSA_CR, t.cr + 32 * (i + 1));
        qdsa_desc_data(&desc, src, src + size, size);
        qdsa_submit(d, &desc);
    }
    qdsa_desc(&desc, DSA_OP_DRAIN, DSA_CR, t.cr);
    dsa_run(&t, &desc, DSA_STATUS_SUCCESS);
    for (int i = 0; i < n; i++) {
        g_assert_cmphex(qtest_readb(t.qts, t.cr + 32 * (i + 1)), ==,
                        DSA_STATUS_SUCCESS);
    }
    dsa_stop(&t);
}

/*
 * 3.7, Table 5-2: interrupt handle, permissions and Ignore.  A handle is the
 * index of a vector: CMDCAP has no Request Interrupt Handle.
 */
static void test_completion_interrupt(void)
{
    static const uint16_t handles[] = { 0, 1, 8, 2 };
    QDSADesc desc;
    DSATest t;
    QDSA *d = &t.dsa;
    unsigned i;

    dsa_start(&t);
    qdsa_desc(&desc, DSA_OP_NOOP, DSA_CR | DSA_FLAG_REQUEST_INT, t.cr);
    for (i = 0; i < ARRAY_SIZE(handles); i++) {
        stw_le_p(desc.raw + DSA_DESC_INT_HANDLE, handles[i]);
        dsa_run(&t, &desc, DSA_STATUS_SUCCESS);
        qdsa_wait_msi(d, handles[i]);
    }
    /* The default device has 9 vectors */
    stw_le_p(desc.raw + DSA_DESC_INT_HANDLE, 9);
    dsa_run(&t, &desc, DSA_STATUS_INT_HANDLE);
    qdsa_wait_swerror(&t.dsa, DSA_STATUS_INT_HANDLE);
    stw_le_p(desc.raw + DSA_DESC_INT_HANDLE, 2);

    /* An entry for a PASID does not permit a WQ without PASID */
    qdsa_writel(d, qdsa_msixperm(2), R_DSA_MSIXPERM_PASID_EN_MASK);
    dsa_run(&t, &desc, DSA_STATUS_INT_HANDLE);
    qdsa_wait_swerror(&t.dsa, DSA_STATUS_INT_HANDLE);

    qdsa_writel(d, qdsa_msixperm(2), R_DSA_MSIXPERM_IGNORE_MASK);
    dsa_run(&t, &desc, DSA_STATUS_SUCCESS);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DRAIN_WQ, 1), ==, 0);
    g_assert_cmphex(qtest_readl(t.qts, t.dsa.msi + 16), ==, 0);
    dsa_stop(&t);
}

/* 9.2.24: an interrupt while the WQ holds no more than Occupancy Limit */
static void test_occupancy_interrupt(void)
{
    DSATest t;
    QDSA *d = &t.dsa;
    const uint64_t enable = R_DSA_WQCFG2_OCC_INT_EN_MASK |
                            1ULL << R_DSA_WQCFG2_OCC_LIMIT_SHIFT | 1;

    dsa_start_with(&t, "-device dsa,addr=4");
    qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED);
    qdsa_writeq(d, qdsa_wqcfg(0, 2), enable);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==, 0);
    g_assert_cmphex(qtest_readl(t.qts, t.dsa.msi + 8), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_WQ, 0), ==, 0);
    qdsa_wait_msi(d, 1);
    g_assert_cmphex(qdsa_readq(d, qdsa_wqcfg(0, 3)) &
                    R_DSA_WQCFG3_OCC_INT_MASK, ==, R_DSA_WQCFG3_OCC_INT_MASK);
    /* The condition still holds after the acknowledgement */
    qdsa_writeq(d, qdsa_wqcfg(0, 3), R_DSA_WQCFG3_OCC_INT_MASK);
    qdsa_wait_msi(d, 1);
    dsa_stop(&t);
}

/* 9.2.9, 9.2.11: INTCAUSE has the causes of interrupts of vector 0 */
static void test_interrupt_causes(void)
{
    DSATest t;
    QDSA *d = &t.dsa;

    dsa_start_with(&t, "-device dsa,addr=4");
    qdsa_writel(d, A_DSA_GENCTRL, R_DSA_GENCTRL_HALT_INT_MASK);
    qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED);
    qdsa_writeq(d, qdsa_wqcfg(0, 2), R_DSA_WQCFG2_OCC_INT_EN_MASK);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==, 0);
    g_assert_cmphex(qdsa_readl(d, A_DSA_INTCAUSE), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_WQ, 0), ==, 0);
    qdsa_wait_msi(d, 0);
    g_assert_cmphex(qdsa_readl(d, A_DSA_INTCAUSE), ==,
                    R_DSA_INTCAUSE_OCCUPANCY_MASK);
    qdsa_writel(d, A_DSA_INTCAUSE, UINT32_MAX);
    g_assert_cmphex(qdsa_readl(d, A_DSA_INTCAUSE), ==, 0);

    /* 5.7: the interrupt itself cannot be sent without bus mastering */
    qecam_writew(t.qts, DSA_DEV, PCI_COMMAND, PCI_COMMAND_MEMORY);
    g_assert_cmphex(qdsa_readl(d, A_DSA_INTCAUSE) & R_DSA_INTCAUSE_HALT_MASK,
                    ==, R_DSA_INTCAUSE_HALT_MASK);
    dsa_stop(&t);
}

/* ---- While busy ---- */

static void submit_moves(DSATest *t, unsigned n, uint64_t src, uint32_t size)
{
    QDSADesc desc;

    for (int i = 0; i < n; i++) {
        qdsa_desc(&desc, DSA_OP_MEMORY_MOVE, DSA_CR, t->cr + 32 * i);
        qdsa_desc_data(&desc, src, src + size, size);
        qdsa_submit(&t->dsa, &desc);
    }
}

/* 5.7: clearing Bus Master Enable halts the device until an FLR */
static void test_halt(void)
{
    QDSADesc desc;
    DSATest t;
    QDSA *d = &t.dsa;
    uint64_t src;

    dsa_start(&t);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 0x4000000);
    submit_moves(&t, 16, src, 0x2000000);
    qecam_writew(t.qts, DSA_DEV, PCI_COMMAND, PCI_COMMAND_MEMORY);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENSTS), ==,
                    DSA_HALTED | DSA_RESET_FLR << 2);
    /* An engine may have failed to write a completion record before */
    g_assert_true(qdsa_swerror(&t.dsa) & R_DSA_SWERROR_VALID_MASK);
    if (FIELD_EX64(qdsa_swerror(&t.dsa), DSA_SWERROR, ERROR) ==
        DSA_STATUS_CR_FAULT) {
        g_assert_true(qdsa_swerror(&t.dsa) & R_DSA_SWERROR_OVERFLOW_MASK);
    } else {
        qdsa_wait_swerror(&t.dsa, DSA_SWERROR_PCI_CONFIG);
    }
    qecam_writew(t.qts, DSA_DEV, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_RESET_DEVICE, 0), ==,
                    DSA_CMDERR_HALTED);

    /* Initiate FLR: Device Control of the capability at 0x40 */
    qecam_writew(t.qts, DSA_DEV, 0x40 + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
    qdsa_init(d, t.qts, DSA_DEV, t.dsa.msi);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENSTS), ==, DSA_DISABLED);
    g_assert_cmphex(qdsa_swerror(&t.dsa), ==, 0);
    qdsa_start(d, 0);
    qdsa_desc(&desc, DSA_OP_NOOP, DSA_CR, t.cr);
    dsa_run(&t, &desc, DSA_STATUS_SUCCESS);
    dsa_stop(&t);
}

/* 3.15: abort and reset commands, and quitting, while engines are busy */
static void test_busy(void)
{
    DSATest t;
    QDSA *d = &t.dsa;
    uint64_t src;

    dsa_start(&t);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 0x4000000);
    submit_moves(&t, 16, src, 0x2000000);
    /* The WQ is full: 16 entries, in addition to those that the engine took */
    do {
        submit_moves(&t, 1, src, 0x2000000);
    } while (!(qdsa_swerror(&t.dsa) & R_DSA_SWERROR_VALID_MASK));
    qdsa_wait_swerror(&t.dsa, DSA_SWERROR_WQ_FULL);
    clear_swerror(&t);

    /* A second command is refused, and the first one completes */
    qdsa_writel(d, A_DSA_CMD, DSA_CMD_DRAIN_ALL << R_DSA_CMD_CODE_SHIFT);
    qdsa_writel(d, A_DSA_CMD, DSA_CMD_ABORT_ALL << R_DSA_CMD_CODE_SHIFT);
    qdsa_wait_swerror(&t.dsa, DSA_SWERROR_CMD_ACTIVE);
    qdsa_wait_command(d);
    submit_moves(&t, 16, src, 0x2000000);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ABORT_WQ, 1), ==, 0);
    submit_moves(&t, 16, src, 0x2000000);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_RESET_DEVICE, 0), ==, 0);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENSTS), ==, DSA_DISABLED);
    qdsa_start(d, 0);
    submit_moves(&t, 16, src, 0x2000000);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'system_reset' }");
    dsa_stop(&t);
}

/* A partly valid descriptor with random values in the other fields */
static void random_desc(GRand *rng, QDSADesc *desc, uint64_t cr)
{
    static const uint8_t operations[] = {
        0, 1, 3, 4, 5, 6, 7, 8, 9, 16, 17, 18, 19, 20, 21, 32, 255,
    };
    unsigned op = g_rand_int_range(rng, 0, ARRAY_SIZE(operations));
    unsigned i;

    qdsa_desc(desc, operations[op], DSA_CR, cr);
    for (i = 16; i < DSA_DESC_SIZE; i += 8) {
        /* Memory, registers of the device, interrupts, and unused addresses */
        static const uint64_t areas[] = {
            0x1000000, 0xd0000000, 0xd0800000, 0xfee00000, -PAGE, 0,
        };

        if (!g_rand_int_range(rng, 0, 3) || i < 40) {
            stq_le_p(desc->raw + i,
                     areas[g_rand_int_range(rng, 0, ARRAY_SIZE(areas))] +
                     g_rand_int_range(rng, 0, 2 * PAGE));
        }
    }
    stl_le_p(desc->raw + DSA_DESC_TRANSFER_SIZE,
             g_rand_int_range(rng, 0, 1 << g_rand_int_range(rng, 1, 18)));
    stw_le_p(desc->raw + DSA_DESC_INT_HANDLE, 0);
    for (i = g_rand_int_range(rng, 0, 3); i; i--) {
        desc->raw[g_rand_int_range(rng, 4, DSA_DESC_SIZE)] ^=
            1 << g_rand_int_range(rng, 0, 8);
    }
}

/* 5: the device survives any descriptor, or can be reset */
static void test_random(void)
{
    g_autoptr(GRand) rng = g_rand_new_with_seed(g_test_rand_int());
    QDSADesc desc;
    DSATest t;
    QDSA *d = &t.dsa;

    dsa_start(&t);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 100; i++) {
            random_desc(rng, &desc, t.cr + PAGE / 2);
            qdsa_submit(d, &desc);
        }
        /* A descriptor may have written to the registers */
        qecam_writew(t.qts, DSA_DEV, 0x40 + PCI_EXP_DEVCTL,
                     PCI_EXP_DEVCTL_BCR_FLR);
        qdsa_init(d, t.qts, DSA_DEV, d->msi);
        qdsa_start(d, 0);
        qdsa_desc(&desc, DSA_OP_NOOP, DSA_CR, t.cr);
        dsa_run(&t, &desc, DSA_STATUS_SUCCESS);
    }
    dsa_stop(&t);
}

int main(int argc, char **argv)
{
    if (!qdsa_test_init(&argc, &argv)) {
        return 0;
    }
    qtest_add_func("/dsa/portals", test_portals);
    qtest_add_func("/dsa/descriptor-checks", test_descriptor_checks);
    qtest_add_func("/dsa/overlap", test_overlap);
    qtest_add_func("/dsa/swerror", test_swerror);
    qtest_add_func("/dsa/batch", test_batch);
    qtest_add_func("/dsa/drain", test_drain);
    qtest_add_func("/dsa/completion-interrupt", test_completion_interrupt);
    qtest_add_func("/dsa/occupancy-interrupt", test_occupancy_interrupt);
    qtest_add_func("/dsa/interrupt-causes", test_interrupt_causes);
    qtest_add_func("/dsa/halt", test_halt);
    qtest_add_func("/dsa/abort-and-reset-while-busy", test_busy);
    qtest_add_func("/dsa/random-descriptors", test_random);
    return g_test_run();
}
