/*
 * QTest testcase for the Intel Data Streaming Accelerator (DSA): registers,
 * Enable Checks and commands
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel DSA Architecture Specification,
 * revision 3.0.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/pci_regs.h"
#include "dsa-common.h"

/* 9.2.1 to 9.2.7: the capability registers reflect the properties */
static void test_capabilities(void)
{
    DSATest t;
    uint64_t offsets;

    dsa_start_with(&t, "-device dsa,addr=4,engines=3,groups=2,work-queues=5,"
                   "work-queue-entries=77");
    g_assert_cmphex(qecam_readl(t.qts, DSA_DEV, PCI_VENDOR_ID), ==, 0x0b258086);
    g_assert_cmphex(qdsa_readl(&t.dsa, A_DSA_VERSION), ==, 0x100);
    g_assert_cmpuint(qdsa_readq(&t.dsa, A_DSA_ENGCAP), ==, 3);
    g_assert_cmpuint(qdsa_readq(&t.dsa, A_DSA_GRPCAP) & 0xff, ==, 2);
    g_assert_cmphex(qdsa_readl(&t.dsa, A_DSA_WQCAP), ==, 5 << 16 | 77);
    g_assert_cmphex(qdsa_readq(&t.dsa, A_DSA_OPCAP), ==, 0x1003f03ff);
    g_assert_cmphex(qdsa_readq(&t.dsa, A_DSA_CMDCAP), ==, 0x1ffe);
    offsets = qdsa_readq(&t.dsa, A_DSA_OFFSETS);
    g_assert_cmphex(FIELD_EX64(offsets, DSA_OFFSETS, GRPCFG) * 0x100, ==,
                    DSA_GRPCFG_OFFSET);
    g_assert_cmphex(FIELD_EX64(offsets, DSA_OFFSETS, WQCFG) * 0x100, ==,
                    DSA_WQCFG_OFFSET);
    g_assert_cmphex(FIELD_EX64(offsets, DSA_OFFSETS, MSIXPERM) * 0x100, ==,
                    DSA_MSIXPERM_OFFSET);
    /* Every part of a register is readable */
    g_assert_cmphex(qtest_readb(t.qts, t.dsa.regs + A_DSA_WQCAP + 2), ==, 5);
    g_assert_cmphex(qtest_readw(t.qts, t.dsa.regs + A_DSA_WQCAP), ==, 77);
    g_assert_cmphex(qdsa_readl(&t.dsa, A_DSA_GENSTS), ==, DSA_DISABLED);
    dsa_stop(&t);
}

/* 9.2.2, 9.2.8, 9.2.23: registers that are writable only while disabled */
static void test_registers(void)
{
    const unsigned group = qdsa_grpcfg(1, 0);
    const unsigned beyond[] = {
        qdsa_grpcfg(4, 0), qdsa_wqcfg(8, 1), qdsa_msixperm(9), 0xc0,
    };
    uint64_t gencap;
    DSATest t;
    QDSA *d = &t.dsa;

    dsa_start_with(&t, "-device dsa,addr=4,groups=4,work-queues=8");
    gencap = qdsa_readq(d, A_DSA_GENCAP);
    g_assert_cmpuint(FIELD_EX64(gencap, DSA_GENCAP, MAX_TRANSFER), ==, 31);
    g_assert_cmpuint(FIELD_EX64(gencap, DSA_GENCAP, MAX_BATCH), ==, 10);
    g_assert_cmpuint(FIELD_EX64(gencap, DSA_GENCAP, CONFIG), ==, 1);
    g_assert_cmpuint(FIELD_EX64(gencap, DSA_GENCAP, IMS_SIZE), ==, 0);

    qdsa_writel(d, A_DSA_GENCFG, UINT32_MAX);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENCFG), ==, 0x10ff);
    qdsa_writel(d, A_DSA_GENCFG, 0);
    qdsa_writeq(d, group + DSA_GRPCFG_WQS + 24, 0x1234);
    qdsa_writeq(d, group + DSA_GRPCFG_ENGINES, 0x5678);
    qdsa_writeq(d, group + DSA_GRPCFG_FLAGS, 0x100011);
    qdsa_writeq(d, group + DSA_GRPCFG_FLAGS + 8, UINT64_MAX);
    g_assert_cmphex(qdsa_readq(d, group + DSA_GRPCFG_WQS + 24), ==, 0x1234);
    g_assert_cmphex(qdsa_readq(d, group + DSA_GRPCFG_ENGINES), ==, 0x5678);
    g_assert_cmphex(qdsa_readq(d, group + DSA_GRPCFG_FLAGS), ==, 0x100011);
    g_assert_cmphex(qdsa_readq(d, group + DSA_GRPCFG_FLAGS + 8), ==, 0);
    qdsa_writeq(d, group + DSA_GRPCFG_WQS + 24, 0);
    qdsa_writeq(d, group + DSA_GRPCFG_ENGINES, 0);

    /* Addresses behind the tables read as 0 */
    for (int i = 0; i < ARRAY_SIZE(beyond); i++) {
        qdsa_writeq(d, beyond[i], UINT64_MAX);
        g_assert_cmphex(qdsa_readq(d, beyond[i]), ==, 0);
    }
    for (unsigned wq = 8; qdsa_wqcfg(wq, 0) < DSA_MSIXPERM_OFFSET; wq++) {
        for (unsigned qword = 0; qword < 4; qword++) {
            g_assert_cmphex(qdsa_readq(d, qdsa_wqcfg(wq, qword)), ==, 0);
        }
    }

    qdsa_start(d, 0);
    qdsa_writel(d, A_DSA_GENCFG, 0x10);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENCFG), ==, 0);
    qdsa_writeq(d, group + DSA_GRPCFG_ENGINES, 0x5678);
    g_assert_cmphex(qdsa_readq(d, group + DSA_GRPCFG_ENGINES), ==, 0);
    /* 9.2.12: CMD ignores accesses of less than 32 bits */
    qtest_writew(t.qts, d->regs + A_DSA_CMD + 2,
                 DSA_CMD_DISABLE_DEVICE << (R_DSA_CMD_CODE_SHIFT - 16));
    qtest_writew(t.qts, d->regs + A_DSA_CMD, 1);
    g_assert_cmphex(qdsa_readl(d, A_DSA_CMDSTATUS), ==, 0);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENSTS), ==, DSA_ENABLED);
    dsa_stop(&t);
}

/* docs/system/devices/dsa.rst: ranges of the properties */
static void test_properties(void)
{
    static const struct {
        const char *name;
        unsigned max;
    } properties[] = {
        { "engines", 64 }, { "groups", 64 }, { "work-queues", 64 },
        { "work-queue-entries", 65535 }, { "pri-capacity", 512 },
    };
    QTestState *qts = qtest_init("-M q35 -nodefaults "
                                 "-device pcie-root-port,id=rp,chassis=1");

    for (int i = 0; i < ARRAY_SIZE(properties); i++) {
        g_autofree char *why = g_strdup_printf("%s must be from 1 to %u",
                                               properties[i].name,
                                               properties[i].max);
        unsigned values[] = { 0, properties[i].max + 1 };

        for (int j = 0; j < ARRAY_SIZE(values); j++) {
            g_autofree char *json = g_strdup_printf(
                "{ 'execute': 'device_add', 'arguments': { 'driver': 'dsa', "
                "'id': 'dsa0', 'bus': 'rp', '%s': %u } }", properties[i].name,
                values[j]);
            QDict *error = qtest_qmp_assert_failure_ref(qts, json, NULL);

            g_assert_cmpstr(qdict_get_str(error, "desc"), ==, why);
            qobject_unref(error);
        }
    }
    qtest_qmp_device_add(qts, "dsa", "dsa0", "{ 'bus': 'rp' }");
    qtest_quit(qts);
}

/* Try to enable the device, and disable it again */
static uint32_t try_device(QDSA *d)
{
    uint32_t status = qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0);

    if (!status) {
        g_assert_cmphex(qdsa_command(d, DSA_CMD_DISABLE_DEVICE, 0), ==, 0);
    }
    return status;
}

static uint32_t try_group(QDSA *d, unsigned group, unsigned offset,
                          uint64_t val)
{
    uint64_t old = qdsa_readq(d, qdsa_grpcfg(group, offset));
    uint32_t status;

    qdsa_writeq(d, qdsa_grpcfg(group, offset), val);
    status = try_device(d);
    qdsa_writeq(d, qdsa_grpcfg(group, offset), old);
    return status;
}

/* 5.1: a work queue or an engine belongs to one group at most */
static void test_enable_groups(void)
{
    DSATest t;
    QDSA *d = &t.dsa;

    dsa_start_with(&t, "-device dsa,addr=4");
    qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED);
    g_assert_cmphex(try_device(d), ==, 0);
    for (unsigned i = 1; i < 4; i++) {
        g_assert_cmphex(try_group(d, 0, DSA_GRPCFG_WQS + 8 * i, 1), ==,
                        DSA_CMDERR_GROUP_WQS);
    }
    g_assert_cmphex(try_group(d, 0, DSA_GRPCFG_WQS, 1 | 1 << 8), ==,
                    DSA_CMDERR_GROUP_WQS);
    /* WQ 1 has no entries */
    g_assert_cmphex(try_group(d, 0, DSA_GRPCFG_WQS, 1 | 1 << 1), ==,
                    DSA_CMDERR_GROUP_WQS);
    g_assert_cmphex(try_group(d, 1, DSA_GRPCFG_ENGINES, 1), ==,
                    DSA_CMDERR_GROUP_ENGINES);
    g_assert_cmphex(try_group(d, 1, DSA_GRPCFG_ENGINES, 2), ==,
                    DSA_CMDERR_GROUP);
    g_assert_cmphex(try_device(d), ==, 0);
    dsa_stop(&t);
}

static uint64_t read_buffers(unsigned reserved, unsigned allowed)
{
    return reserved << R_DSA_GRPFLAGS_READ_BUFFERS_RESERVED_SHIFT |
           (uint64_t)allowed << R_DSA_GRPFLAGS_READ_BUFFERS_ALLOWED_SHIFT;
}

/* 5.1, 9.2.23: an engine needs four of the 96 read buffers */
static void test_enable_read_buffers(void)
{
    const uint64_t use_limit = R_DSA_GRPFLAGS_USE_READ_BUFFER_LIMIT_MASK;
    const struct {
        uint64_t flags;
        unsigned limit;
        bool ok;
    } checks[] = {
        { read_buffers(0, 4), 0, true },
        { read_buffers(0, 3), 0, false },
        { read_buffers(0, 96), 0, true },
        { read_buffers(0, 97), 0, false },
        { read_buffers(90, 96), 0, true },
        { read_buffers(96, 96), 0, true },
        { read_buffers(97, 97), 0, false },
        { read_buffers(50, 49), 0, false },
        { read_buffers(0, 4), 96, true },
        { read_buffers(0, 4), 97, false },
        { read_buffers(0, 4) | use_limit, 4, true },
        { read_buffers(0, 4) | use_limit, 3, false },
    };
    DSATest t;
    QDSA *d = &t.dsa;

    dsa_start_with(&t, "-device dsa,addr=4");
    qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED);
    for (int i = 0; i < ARRAY_SIZE(checks); i++) {
        qdsa_writel(d, A_DSA_GENCFG, checks[i].limit);
        g_test_message("case %d", i);
        g_assert_cmphex(try_group(d, 0, DSA_GRPCFG_FLAGS, checks[i].flags), ==,
                        checks[i].ok ? 0 : DSA_CMDERR_READ_BUFFERS);
    }

    /* All groups together reserve more than 96 buffers, or exactly 96 */
    qdsa_writel(d, A_DSA_GENCFG, 0);
    for (unsigned i = 0; i < 3; i++) {
        qdsa_configure_wq(d, i, 16, DSA_WQ_DEDICATED);
        qdsa_writeq(d, qdsa_grpcfg(i, DSA_GRPCFG_WQS), 1 << i);
        qdsa_writeq(d, qdsa_grpcfg(i, DSA_GRPCFG_ENGINES), 1 << i);
        qdsa_writeq(d, qdsa_grpcfg(i, DSA_GRPCFG_FLAGS), read_buffers(60, 60));
    }
    qdsa_writeq(d, qdsa_grpcfg(0, DSA_GRPCFG_WQS), 1);
    g_assert_cmphex(try_device(d), ==, DSA_CMDERR_READ_BUFFERS);
    for (unsigned i = 0; i < 3; i++) {
        qdsa_writeq(d, qdsa_grpcfg(i, DSA_GRPCFG_FLAGS), read_buffers(32, 32));
    }
    g_assert_cmphex(try_device(d), ==, 0);
    dsa_stop(&t);
}

/* 5.1: if PRI is enabled, the allocation is from 1 to the capacity */
static void test_enable_pri(void)
{
    DSATest t;
    QDSA *d = &t.dsa;
    uint16_t pri;

    dsa_start_with(&t, "-device dsa,addr=4,pri-capacity=16");
    qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED);
    pri = qecam_ext_cap(t.qts, DSA_DEV, PCI_EXT_CAP_ID_PRI);
    for (unsigned alloc = 0; alloc < 18; alloc++) {
        bool ok = alloc >= 1 && alloc <= 16;

        qecam_writew(t.qts, DSA_DEV, pri + PCI_PRI_CTRL, 0);
        qecam_writel(t.qts, DSA_DEV, pri + PCI_PRI_ALLOC_REQ, alloc);
        g_assert_cmphex(try_device(d), ==, 0);
        qecam_writew(t.qts, DSA_DEV, pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
        g_assert_cmphex(try_device(d), ==, ok ? 0 : DSA_CMDERR_PRSREQALLOC);
    }
    dsa_stop(&t);
}

/* 5.2: a privileged work queue needs Privileged Mode Enable */
static void test_enable_privileged(void)
{
    const uint64_t bits = DSA_WQ_DEDICATED | R_DSA_WQCFG1_PASID_EN_MASK |
                          R_DSA_WQCFG1_PRIV_MASK;
    DSATest t;
    QDSA *d = &t.dsa;
    uint16_t pasid;

    dsa_start_with(&t, "-device intel-iommu,svm=on -device dsa,addr=4");
    qdsa_enable_ats(d);
    qdsa_configure_wq(d, 0, 16, bits);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_WQ, 0), ==,
                    DSA_CMDERR_WQ_PRIV);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DISABLE_DEVICE, 0), ==, 0);
    pasid = qecam_ext_cap(t.qts, DSA_DEV, PCI_EXT_CAP_ID_PASID);
    qecam_writew(t.qts, DSA_DEV, pasid + PCI_PASID_CTRL,
                 PCI_PASID_CTRL_ENABLE | PCI_PASID_CTRL_PRIV);
    qdsa_configure_wq(d, 0, 16, bits);
    qdsa_enable(d);
    dsa_stop(&t);
}

/* 5.1: Device Enable Checks */
static void test_enable_device(void)
{
    DSATest t;
    QDSA *d = &t.dsa;

    dsa_start_with(&t, "-device dsa,addr=4");
    qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED);

    qecam_writew(t.qts, DSA_DEV, PCI_COMMAND, PCI_COMMAND_MEMORY);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==,
                    DSA_CMDERR_BUS_MASTER);
    qecam_writew(t.qts, DSA_DEV, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);

    qdsa_writeq(d, qdsa_wqcfg(0, 0), 129);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==,
                    DSA_CMDERR_WQ_SIZES);
    qdsa_writeq(d, qdsa_wqcfg(0, 0), 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==,
                    DSA_CMDERR_GROUP_WQS);
    qdsa_writeq(d, qdsa_wqcfg(0, 0), 16);

    qdsa_writeq(d, qdsa_grpcfg(0, DSA_GRPCFG_ENGINES), 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==,
                    DSA_CMDERR_GROUP);
    qdsa_writeq(d, qdsa_grpcfg(0, DSA_GRPCFG_ENGINES), 1 << 4);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==,
                    DSA_CMDERR_GROUP_ENGINES);
    qdsa_writeq(d, qdsa_grpcfg(0, DSA_GRPCFG_ENGINES), 1);

    qdsa_writeq(d, qdsa_grpcfg(1, DSA_GRPCFG_WQS), 1);
    qdsa_writeq(d, qdsa_grpcfg(1, DSA_GRPCFG_ENGINES), 2);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==,
                    DSA_CMDERR_GROUP_WQS);
    qdsa_writeq(d, qdsa_grpcfg(1, DSA_GRPCFG_WQS), 0);
    qdsa_writeq(d, qdsa_grpcfg(1, DSA_GRPCFG_ENGINES), 0);

    qdsa_writeq(d, qdsa_grpcfg(0, DSA_GRPCFG_FLAGS),
                3ULL << R_DSA_GRPFLAGS_READ_BUFFERS_ALLOWED_SHIFT);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==,
                    DSA_CMDERR_READ_BUFFERS);
    qdsa_writeq(d, qdsa_grpcfg(0, DSA_GRPCFG_FLAGS),
                4ULL << R_DSA_GRPFLAGS_READ_BUFFERS_ALLOWED_SHIFT);

    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_WQ, 0), ==,
                    DSA_CMDERR_DEVICE_NOT_ENABLED);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DISABLE_DEVICE, 0), ==,
                    DSA_CMDERR_DISABLE_NOT_ENABLED);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==, 0);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENSTS), ==, DSA_ENABLED);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==,
                    DSA_CMDERR_DEVICE_NOT_DISABLED);
    dsa_stop(&t);
}

/* Configure WQ 0 and try to enable it */
static uint32_t try_wq(QDSA *d, unsigned qword, uint64_t val)
{
    uint64_t old = qdsa_readq(d, qdsa_wqcfg(0, qword));
    uint32_t status;

    qdsa_writeq(d, qdsa_wqcfg(0, qword), val);
    status = qdsa_command(d, DSA_CMD_ENABLE_WQ, 0);
    qdsa_writeq(d, qdsa_wqcfg(0, qword), old);
    return status;
}

/* 5.2: WQ Enable Checks; Table 9-7: fields that are writable when enabled */
static void test_enable_wq(void)
{
    static const struct {
        unsigned qword;
        uint64_t clear;
        uint64_t set;
        DSACommandError error;
    } checks[] = {
        { 1, R_DSA_WQCFG1_PRIORITY_MASK, 0, DSA_CMDERR_WQ_PRIORITY },
        { 1, R_DSA_WQCFG1_MODE_MASK, 0, DSA_CMDERR_WQ_PASID },
        { 1, 0, R_DSA_WQCFG1_PASID_EN_MASK, DSA_CMDERR_WQ_PASID },
        { 1, 0, R_DSA_WQCFG1_BLOCK_ON_FAULT_MASK,
          DSA_CMDERR_WQ_BLOCK_ON_FAULT },
        { 1, R_DSA_WQCFG1_MAX_BATCH_MASK, 0, DSA_CMDERR_WQ_MAX_BATCH },
        { 1, 0, R_DSA_WQCFG1_MAX_BATCH_MASK, DSA_CMDERR_WQ_MAX_BATCH },
        { 1, 0, R_DSA_WQCFG1_ATS_DISABLE_MASK, DSA_CMDERR_WQ_ATS },
        { 1, 0, R_DSA_WQCFG1_PRS_DISABLE_MASK, DSA_CMDERR_WQ_PRS },
        { 2, 0, R_DSA_WQCFG2_OCC_INT_TABLE_MASK, DSA_CMDERR_WQ_OCC_INT },
    };
    DSATest t;
    QDSA *d = &t.dsa;
    uint64_t cfg;

    dsa_start_with(&t, "-device dsa,addr=4");
    qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED);
    cfg = qdsa_readq(d, qdsa_wqcfg(0, 1));
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==, 0);

    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_WQ, 8), ==,
                    DSA_CMDERR_INVALID_WQ);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_WQ, 1), ==,
                    DSA_CMDERR_WQ_SIZE);
    for (int i = 0; i < ARRAY_SIZE(checks); i++) {
        uint64_t val = qdsa_readq(d, qdsa_wqcfg(0, checks[i].qword));

        g_test_message("case %d", i);
        g_assert_cmphex(try_wq(d, checks[i].qword,
                               (val & ~checks[i].clear) | checks[i].set), ==,
                        checks[i].error);
    }
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DISABLE_WQ, 1), ==,
                    DSA_CMDERR_WQ_NOT_ENABLED);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DISABLE_WQ, 1 << 8), ==,
                    DSA_CMDERR_INVALID_WQ);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DISABLE_WQ, 1 << 16 | 1), ==,
                    DSA_CMDERR_INVALID_WQ);

    qdsa_writeq(d, qdsa_wqcfg(0, 1), cfg);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_WQ, 0), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_WQ, 0), ==,
                    DSA_CMDERR_WQ_NOT_DISABLED);
    g_assert_cmphex(FIELD_EX64(qdsa_readq(d, qdsa_wqcfg(0, 3)), DSA_WQCFG3,
                               STATE), ==, DSA_ENABLED);

    /* The second quadword, the size and the groups are now read-only */
    qdsa_writeq(d, qdsa_wqcfg(0, 1), 0);
    g_assert_cmphex(qdsa_readq(d, qdsa_wqcfg(0, 1)), ==, cfg);
    qdsa_writeq(d, qdsa_wqcfg(0, 0), 7 | 9ULL << 32);
    g_assert_cmphex(qdsa_readq(d, qdsa_wqcfg(0, 0)), ==, 16 | 9ULL << 32);
    qdsa_writeq(d, qdsa_grpcfg(0, DSA_GRPCFG_WQS), 2);
    g_assert_cmphex(qdsa_readq(d, qdsa_grpcfg(0, DSA_GRPCFG_WQS)), ==, 1);

    /* Reset WQ preserves only the size */
    g_assert_cmphex(qdsa_command(d, DSA_CMD_RESET_WQ, 1), ==, 0);
    g_assert_cmphex(qdsa_readq(d, qdsa_wqcfg(0, 0)), ==, 16);
    g_assert_cmphex(qdsa_readq(d, qdsa_wqcfg(0, 1)), ==, 0);
    g_assert_cmphex(qdsa_readq(d, qdsa_wqcfg(0, 3)), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DISABLE_DEVICE, 0), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_RESET_DEVICE, 0), ==, 0);
    g_assert_cmphex(qdsa_readq(d, qdsa_wqcfg(0, 0)), ==, 0);
    dsa_stop(&t);
}

/* 9.2.12, 9.2.13: codes, reserved bits, command interrupt */
static void test_commands(void)
{
    DSATest t;
    QDSA *d = &t.dsa;

    dsa_start(&t);
    g_assert_cmphex(qdsa_command(d, 0, 0), ==, DSA_CMDERR_INVALID_COMMAND);
    g_assert_cmphex(qdsa_command(d, 15, 0), ==, DSA_CMDERR_INVALID_COMMAND);
    qdsa_writel(d, A_DSA_CMD, DSA_CMD_DRAIN_ALL << 20 | 1 << 25);
    g_assert_cmphex(qdsa_readl(d, A_DSA_CMDSTATUS), ==, DSA_CMDERR_RESERVED);

    qdsa_writel(d, A_DSA_CMD, R_DSA_CMD_INT_MASK | DSA_CMD_DRAIN_ALL << 20);
    qdsa_wait_msi(d, 0);
    g_assert_cmphex(qdsa_readl(d, A_DSA_CMDSTATUS), ==, 0);
    g_assert_cmphex(qdsa_readl(d, A_DSA_INTCAUSE), ==,
                    R_DSA_INTCAUSE_CMD_MASK);
    qdsa_writel(d, A_DSA_INTCAUSE, R_DSA_INTCAUSE_CMD_MASK);
    g_assert_cmphex(qdsa_readl(d, A_DSA_INTCAUSE), ==, 0);

    /* Table 9-6: codes 1 to 12 are the default, and there are no others */
    g_assert_cmphex(qdsa_command(d, DSA_CMD_REQUEST_INT_HANDLE, 3), ==,
                    DSA_CMDERR_INVALID_COMMAND);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_RELEASE_INT_HANDLE, 3), ==,
                    DSA_CMDERR_INVALID_COMMAND);

    g_assert_cmphex(qdsa_command(d, DSA_CMD_DRAIN_PASID, DSA_PASID), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ABORT_PASID, DSA_PASID), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DRAIN_WQ, 1), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ABORT_WQ, 1), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ABORT_ALL, 0), ==, 0);
    dsa_stop(&t);
}

int main(int argc, char **argv)
{
    if (!qdsa_test_init(&argc, &argv)) {
        return 0;
    }
    qtest_add_func("/dsa/capabilities", test_capabilities);
    qtest_add_func("/dsa/registers", test_registers);
    qtest_add_func("/dsa/properties", test_properties);
    qtest_add_func("/dsa/enable-device", test_enable_device);
    qtest_add_func("/dsa/enable-device/groups", test_enable_groups);
    qtest_add_func("/dsa/enable-device/read-buffers", test_enable_read_buffers);
    qtest_add_func("/dsa/enable-device/pri", test_enable_pri);
    qtest_add_func("/dsa/enable-wq/privileged", test_enable_privileged);
    qtest_add_func("/dsa/enable-wq", test_enable_wq);
    qtest_add_func("/dsa/commands", test_commands);
    return g_test_run();
}
