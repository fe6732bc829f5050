/*
 * QTest testcase for the Intel Data Streaming Accelerator (DSA)
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
#include "libqtest.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/dsa.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd.h"

#define DEV         QATD_BDF(0, 4, 0)
#define PAGE        0x1000
#define PASID       5
#define PASID2      6

/* Flags of most descriptors */
#define CR          (DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR)

/* First-stage entries and PASID-table entries (VT-d 9.6, 9.7) */
#define FS          (VTD_FL_P | VTD_FL_RW | VTD_FL_US)
#define PE_FIRST    (VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT)
#define PE1         (1 | VTD_SM_PASID_ENTRY_PWSNP)

typedef struct Test {
    QTestState *qts;
    QGuestAllocator alloc;
    QDSA dsa;
    QVtd vtd;
    uint64_t dir;               /* PASID directory */
    uint64_t cr;                /* guest physical address of records */
    uint8_t record[DSA_CR_SIZE];
} Test;

static void start_with(Test *t, const char *args)
{
    *t = (Test) { };
    t->qts = qtest_initf("-M q35 -nodefaults -m 256 %s", args);
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qdsa_init(&t->dsa, t->qts, DEV,
              guest_alloc_zeroed(&t->alloc, t->qts, PAGE));
    t->cr = guest_alloc_zeroed(&t->alloc, t->qts, PAGE);
}

/* Start a machine without IOMMU, and enable WQ 0 */
static void start(Test *t)
{
    start_with(t, "-device dsa,addr=4");
    qdsa_start(&t->dsa, 0);
}

static void stop(Test *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

/* Submit a descriptor, wait for its record and expect @status */
static void run(Test *t, const QDSADesc *desc, uint8_t status)
{
    uint8_t zeroes[DSA_CR_SIZE] = { };

    qtest_memwrite(t->qts, t->cr, zeroes, sizeof(zeroes));
    qdsa_submit(&t->dsa, desc);
    g_assert_cmphex(qdsa_wait(&t->dsa, t->cr, t->record), ==, status);
}

static uint32_t bytes_completed(Test *t)
{
    return ldl_le_p(t->record + DSA_CR_BYTES_COMPLETED);
}

static void expect_result(Test *t, uint8_t result, uint32_t bytes)
{
    g_assert_cmpuint(t->record[DSA_CR_RESULT], ==, result);
    g_assert_cmpuint(bytes_completed(t), ==, bytes);
}

/* Fill @p with bytes that depend on the position and on @seed */
static void fill_pattern(uint8_t *p, size_t len, unsigned seed)
{
    for (size_t i = 0; i < len; i++) {
        p[i] = (i * 131 + seed) >> (i % 3);
    }
}

static void put_pattern(Test *t, uint64_t addr, size_t len, unsigned seed)
{
    g_autofree uint8_t *p = g_malloc(len);

    fill_pattern(p, len, seed);
    qtest_memwrite(t->qts, addr, p, len);
}

static void expect_memory(Test *t, uint64_t addr, const void *data, size_t len)
{
    g_autofree uint8_t *p = g_malloc(len);

    qtest_memread(t->qts, addr, p, len);
    g_assert_cmpmem(p, len, data, len);
}

static void expect_pattern(Test *t, uint64_t addr, size_t len, unsigned seed)
{
    g_autofree uint8_t *p = g_malloc(len);

    fill_pattern(p, len, seed);
    expect_memory(t, addr, p, len);
}

static void clear_swerror(Test *t)
{
    qdsa_writeq(&t->dsa, A_DSA_SWERROR,
                R_DSA_SWERROR_VALID_MASK | R_DSA_SWERROR_OVERFLOW_MASK);
}

/* ---- Registers and commands ---- */

/* 9.2.1 to 9.2.7: the capability registers reflect the properties */
static void test_capabilities(void)
{
    Test t;
    uint64_t offsets;

    start_with(&t, "-device dsa,addr=4,engines=3,groups=2,work-queues=5,"
               "work-queue-entries=77");
    g_assert_cmphex(qecam_readl(t.qts, DEV, PCI_VENDOR_ID), ==, 0x0b258086);
    g_assert_cmphex(qdsa_readl(&t.dsa, A_DSA_VERSION), ==, 0x100);
    g_assert_cmpuint(qdsa_readq(&t.dsa, A_DSA_ENGCAP), ==, 3);
    g_assert_cmpuint(qdsa_readq(&t.dsa, A_DSA_GRPCAP) & 0xff, ==, 2);
    g_assert_cmphex(qdsa_readl(&t.dsa, A_DSA_WQCAP), ==, 5 << 16 | 77);
    g_assert_cmphex(qdsa_readq(&t.dsa, A_DSA_OPCAP), ==, 0x1003f03ff);
    g_assert_cmphex(qdsa_readq(&t.dsa, A_DSA_CMDCAP), ==, 0x7ffe);
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
    stop(&t);
}

/* 9.2.2, 9.2.8, 9.2.23: registers that are writable only while disabled */
static void test_registers(void)
{
    const unsigned group = qdsa_grpcfg(1, 0);
    const unsigned beyond[] = {
        qdsa_grpcfg(4, 0), qdsa_wqcfg(8, 1), qdsa_msixperm(9), 0xc0,
    };
    uint64_t gencap;
    Test t;
    QDSA *d = &t.dsa;

    start_with(&t, "-device dsa,addr=4,groups=4,work-queues=8");
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
    stop(&t);
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
    Test t;
    QDSA *d = &t.dsa;

    start_with(&t, "-device dsa,addr=4");
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
    stop(&t);
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
    Test t;
    QDSA *d = &t.dsa;

    start_with(&t, "-device dsa,addr=4");
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
    stop(&t);
}

/* 5.1: if PRI is enabled, the allocation is from 1 to the capacity */
static void test_enable_pri(void)
{
    Test t;
    QDSA *d = &t.dsa;
    uint16_t pri;

    start_with(&t, "-device dsa,addr=4,pri-capacity=16");
    qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED);
    pri = qecam_ext_cap(t.qts, DEV, PCI_EXT_CAP_ID_PRI);
    for (unsigned alloc = 0; alloc < 18; alloc++) {
        bool ok = alloc >= 1 && alloc <= 16;

        qecam_writew(t.qts, DEV, pri + PCI_PRI_CTRL, 0);
        qecam_writel(t.qts, DEV, pri + PCI_PRI_ALLOC_REQ, alloc);
        g_assert_cmphex(try_device(d), ==, 0);
        qecam_writew(t.qts, DEV, pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
        g_assert_cmphex(try_device(d), ==, ok ? 0 : DSA_CMDERR_PRSREQALLOC);
    }
    stop(&t);
}

/* 5.2: a privileged work queue needs Privileged Mode Enable */
static void test_enable_privileged(void)
{
    const uint64_t bits = DSA_WQ_DEDICATED | R_DSA_WQCFG1_PASID_EN_MASK |
                          R_DSA_WQCFG1_PRIV_MASK;
    Test t;
    QDSA *d = &t.dsa;
    uint16_t pasid;

    start_with(&t, "-device intel-iommu,svm=on -device dsa,addr=4");
    qdsa_enable_ats(d);
    qdsa_configure_wq(d, 0, 16, bits);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_WQ, 0), ==,
                    DSA_CMDERR_WQ_PRIV);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DISABLE_DEVICE, 0), ==, 0);
    pasid = qecam_ext_cap(t.qts, DEV, PCI_EXT_CAP_ID_PASID);
    qecam_writew(t.qts, DEV, pasid + PCI_PASID_CTRL,
                 PCI_PASID_CTRL_ENABLE | PCI_PASID_CTRL_PRIV);
    qdsa_configure_wq(d, 0, 16, bits);
    qdsa_enable(d);
    stop(&t);
}

/* 5.1: Device Enable Checks */
static void test_enable_device(void)
{
    Test t;
    QDSA *d = &t.dsa;

    start_with(&t, "-device dsa,addr=4");
    qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED);

    qecam_writew(t.qts, DEV, PCI_COMMAND, PCI_COMMAND_MEMORY);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ENABLE_DEVICE, 0), ==,
                    DSA_CMDERR_BUS_MASTER);
    qecam_writew(t.qts, DEV, PCI_COMMAND,
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
    stop(&t);
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
    Test t;
    QDSA *d = &t.dsa;
    uint64_t cfg;

    start_with(&t, "-device dsa,addr=4");
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
    stop(&t);
}

/* 9.2.12, 9.2.13: codes, reserved bits, command interrupt, handles */
static void test_commands(void)
{
    Test t;
    QDSA *d = &t.dsa;

    start(&t);
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

    g_assert_cmphex(qdsa_command(d, DSA_CMD_REQUEST_INT_HANDLE, 9), ==,
                    DSA_CMDERR_INVALID_INT_INDEX);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_REQUEST_INT_HANDLE, 1 << 16), ==,
                    DSA_CMDERR_INVALID_INT_INDEX);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_REQUEST_INT_HANDLE, 1 << 17), ==,
                    DSA_CMDERR_RESERVED);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_RELEASE_INT_HANDLE, 3), ==,
                    DSA_CMDERR_INVALID_INT_INDEX);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_REQUEST_INT_HANDLE, 3), ==, 3 << 8);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_RELEASE_INT_HANDLE, 3), ==, 0);

    g_assert_cmphex(qdsa_command(d, DSA_CMD_DRAIN_PASID, PASID), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ABORT_PASID, PASID), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DRAIN_WQ, 1), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ABORT_WQ, 1), ==, 0);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_ABORT_ALL, 0), ==, 0);
    stop(&t);
}

/* ---- Submission ---- */

/* 5.3, Table 9-11: stores that a portal accepts */
static void test_portals(void)
{
    Test t;
    QDSA *d = &t.dsa;
    QDSADesc desc;

    start(&t);
    qdsa_desc(&desc, DSA_OP_NOOP, CR, t.cr);
    run(&t, &desc, DSA_STATUS_SUCCESS);

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
    stop(&t);
}

/* ---- Operations ---- */

static void submit_data(Test *t, DSAOperation op, uint32_t flags, uint64_t src,
                        uint64_t dst, uint32_t size, uint8_t status)
{
    QDSADesc desc;

    qdsa_desc(&desc, op, CR | flags, t->cr);
    qdsa_desc_data(&desc, src, dst, size);
    run(t, &desc, status);
}

/* 8.3.4: all sizes and alignments, overlapping or not */
static void test_move(void)
{
    static const struct {
        int32_t distance;
        uint32_t size;
    } cases[] = {
        { 0x100000, 1 }, { 0x100003, 4099 }, { 0x100000, 0x80001 },
        { 1, 70000 }, { -1, 70000 }, { 5000, 70000 }, { -5000, 70000 },
        { 0, 100 }, { 69999, 70000 }, { 70000, 70000 },
    };
    Test t;
    uint64_t src;

    start(&t);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 0x300000) + 0x10000;
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        put_pattern(&t, src, cases[i].size, i);
        submit_data(&t, DSA_OP_MEMORY_MOVE, 0, src, src + cases[i].distance,
                    cases[i].size, DSA_STATUS_SUCCESS);
        expect_result(&t, 0, 0);
        expect_pattern(&t, src + cases[i].distance, cases[i].size, i);
    }
    stop(&t);
}

/* 8.3.5: Fill */
static void test_fill(void)
{
    const uint64_t pattern = 0x0123456789abcdefULL;
    uint8_t expected[70001];
    uint64_t dst;
    Test t;

    start(&t);
    dst = guest_alloc_zeroed(&t.alloc, t.qts, sizeof(expected) + PAGE) + 5;
    for (int i = 0; i < sizeof(expected) - 1; i++) {
        expected[i] = pattern >> (i % 8 * 8);
    }
    expected[sizeof(expected) - 1] = 0;
    submit_data(&t, DSA_OP_FILL, 0, pattern, dst, sizeof(expected) - 1,
                DSA_STATUS_SUCCESS);
    expect_memory(&t, dst, expected, sizeof(expected));
    stop(&t);
}

static void compare(Test *t, DSAOperation op, uint32_t flags, uint64_t src,
                    uint64_t src2, uint32_t size, uint8_t expected,
                    uint8_t status)
{
    QDSADesc desc;

    qdsa_desc(&desc, op, CR | flags, t->cr);
    qdsa_desc_data(&desc, src, src2, size);
    desc.raw[DSA_DESC_EXPECTED_RESULT] = expected;
    run(t, &desc, status);
}

/* 8.3.6, 8.3.7, Table 8-17: Compare and Compare Pattern */
static void test_compare(void)
{
    const uint64_t pattern = 0x1122334455667788ULL;
    const uint32_t check = DSA_FLAG_CHECK_RESULT;
    uint64_t a, b;
    Test t;

    start(&t);
    a = guest_alloc_zeroed(&t.alloc, t.qts, 0x20000);
    b = guest_alloc_zeroed(&t.alloc, t.qts, 0x20000) + 3;
    put_pattern(&t, a, 0x10000, 1);
    put_pattern(&t, b, 0x10000, 1);
    compare(&t, DSA_OP_COMPARE, 0, a, b, 0x10000, 0, DSA_STATUS_SUCCESS);
    expect_result(&t, 0, 0);
    compare(&t, DSA_OP_COMPARE, check, a, b, 0x10000, 0, DSA_STATUS_SUCCESS);
    compare(&t, DSA_OP_COMPARE, check, a, b, 0x10000, 1,
            DSA_STATUS_FALSE_PREDICATE);

    qtest_writeb(t.qts, b + 0x9001, ~qtest_readb(t.qts, b + 0x9001));
    compare(&t, DSA_OP_COMPARE, 0, a, b, 0x10000, 0, DSA_STATUS_SUCCESS);
    expect_result(&t, 1, 0x9001);
    compare(&t, DSA_OP_COMPARE, check, a, b, 0x10000, 0,
            DSA_STATUS_FALSE_PREDICATE);
    compare(&t, DSA_OP_COMPARE, check, a, b, 0x10000, 1, DSA_STATUS_SUCCESS);
    compare(&t, DSA_OP_COMPARE, 0, a, b, 0x9001, 0, DSA_STATUS_SUCCESS);
    expect_result(&t, 0, 0);

    submit_data(&t, DSA_OP_FILL, 0, pattern, a, 0xfffd, DSA_STATUS_SUCCESS);
    compare(&t, DSA_OP_COMPARE_PATTERN, check, a, pattern, 0xfffd, 0,
            DSA_STATUS_SUCCESS);
    expect_result(&t, 0, 0);
    qtest_writeb(t.qts, a + 0xfffc, 0);
    compare(&t, DSA_OP_COMPARE_PATTERN, check, a, pattern, 0xfffd, 0,
            DSA_STATUS_FALSE_PREDICATE);
    expect_result(&t, 1, 0xfffc);
    stop(&t);
}

static void create_delta(Test *t, uint32_t flags, uint64_t a, uint64_t b,
                         uint32_t size, uint64_t delta, uint32_t max_size,
                         uint8_t mask, uint8_t status)
{
    QDSADesc desc;

    qdsa_desc(&desc, DSA_OP_CREATE_DELTA, CR | flags, t->cr);
    qdsa_desc_data(&desc, a, b, size);
    stq_le_p(desc.raw + DSA_DESC_DELTA_ADDR, delta);
    stl_le_p(desc.raw + DSA_DESC_MAX_DELTA_SIZE, max_size);
    desc.raw[DSA_DESC_EXPECTED_MASK] = mask;
    run(t, &desc, status);
}

static void apply_delta(Test *t, uint64_t delta, uint32_t delta_size,
                        uint64_t dst, uint32_t size, uint8_t status)
{
    QDSADesc desc;

    qdsa_desc(&desc, DSA_OP_APPLY_DELTA, CR, t->cr);
    qdsa_desc_data(&desc, delta, dst, size);
    stl_le_p(desc.raw + DSA_DESC_DELTA_SIZE, delta_size);
    run(t, &desc, status);
}

/* 8.3.8, 8.3.9: Create and Apply Delta Record */
static void test_delta(void)
{
    const uint32_t check = DSA_FLAG_CHECK_RESULT, size = 0x80000;
    static const uint8_t first[10] = { 0x01, 0x00, 0xff };
    uint64_t a, b, delta;
    Test t;

    start(&t);
    a = guest_alloc_zeroed(&t.alloc, t.qts, size);
    b = guest_alloc_zeroed(&t.alloc, t.qts, size);
    delta = guest_alloc_zeroed(&t.alloc, t.qts, 0x100000);
    create_delta(&t, check, a, b, size, delta, 1000, 1, DSA_STATUS_SUCCESS);
    expect_result(&t, 0, 0);
    g_assert_cmpuint(ldl_le_p(t.record + DSA_CR_DELTA_SIZE), ==, 0);

    /* 100 differences, the last one in the last byte */
    for (int i = 0; i < 99; i++) {
        qtest_writeb(t.qts, b + 8 + i * 4000, 0xff - i);
    }
    qtest_writeb(t.qts, b + size - 1, 0x55);
    create_delta(&t, check, a, b, size, delta, 1000, 2, DSA_STATUS_SUCCESS);
    expect_result(&t, 1, 0);
    g_assert_cmpuint(ldl_le_p(t.record + DSA_CR_DELTA_SIZE), ==, 1000);
    expect_memory(&t, delta, first, sizeof(first));

    apply_delta(&t, delta, 1000, a, size, DSA_STATUS_SUCCESS);
    compare(&t, DSA_OP_COMPARE, 0, a, b, size, 0, DSA_STATUS_SUCCESS);
    expect_result(&t, 0, 0);

    /* The record has no space for the last but one difference */
    submit_data(&t, DSA_OP_FILL, 0, 0, a, size, DSA_STATUS_SUCCESS);
    create_delta(&t, check, a, b, size, delta, 989, 4, DSA_STATUS_SUCCESS);
    expect_result(&t, 2, 8 + 98 * 4000);
    g_assert_cmpuint(ldl_le_p(t.record + DSA_CR_DELTA_SIZE), ==, 980);
    create_delta(&t, check, a, b, size, delta, 989, 3,
                 DSA_STATUS_FALSE_PREDICATE);

    /* An offset beyond the buffer, and an offset that does not increase */
    apply_delta(&t, delta, 30, a, 16, DSA_STATUS_DELTA_OFFSET);
    g_assert_cmpuint(bytes_completed(&t), ==, 10);
    qtest_writew(t.qts, delta + 20, qtest_readw(t.qts, delta + 10));
    apply_delta(&t, delta, 30, a, size, DSA_STATUS_DELTA_ORDER);
    g_assert_cmpuint(bytes_completed(&t), ==, 20);
    stop(&t);
}

/* 8.3.10: Memory Copy with Dualcast */
static void test_dualcast(void)
{
    /* The second size needs several steps of the engine */
    const uint32_t sizes[] = { 0xffff, 0xfffff };
    uint64_t src, dst;
    QDSADesc desc;
    Test t;

    start(&t);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 0x100000);
    dst = guest_alloc_zeroed(&t.alloc, t.qts, 0x400000) + 77;
    for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
        put_pattern(&t, src, sizes[i], 9 + i);
        qdsa_desc(&desc, DSA_OP_DUALCAST, CR, t.cr);
        qdsa_desc_data(&desc, src, dst, sizes[i]);
        stq_le_p(desc.raw + DSA_DESC_DST2, dst + 0x200000);
        run(&t, &desc, DSA_STATUS_SUCCESS);
        expect_result(&t, 0, 0);
        expect_pattern(&t, dst, sizes[i], 9 + i);
        expect_pattern(&t, dst + 0x200000, sizes[i], 9 + i);
    }
    stop(&t);
}

/* Reference implementation, one bit at a time */
static uint32_t plain_crc32c(const uint8_t *data, size_t len)
{
    uint32_t crc = UINT32_MAX;

    for (size_t i = 0; i < len; i++) {
        crc ^= data[i];
        for (int bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0x82f63b78 : 0);
        }
    }
    return ~crc;
}

static uint32_t crc(Test *t, DSAOperation op, uint32_t flags, uint64_t src,
                    uint64_t dst, uint32_t size, uint32_t seed,
                    uint64_t seed_addr)
{
    QDSADesc desc;

    qdsa_desc(&desc, op, CR | flags, t->cr);
    qdsa_desc_data(&desc, src, dst, size);
    stl_le_p(desc.raw + DSA_DESC_CRC_SEED, seed);
    stq_le_p(desc.raw + DSA_DESC_CRC_SEED_ADDR, seed_addr);
    run(t, &desc, DSA_STATUS_SUCCESS);
    g_assert_cmphex(ldl_le_p(t->record + DSA_CR_CRC + 4), ==, 0);
    return ldl_le_p(t->record + DSA_CR_CRC);
}

/* 8.3.12, 8.3.13, Appendix A: CRC Generation, Copy with CRC */
static void test_crc(void)
{
    uint8_t data[70003];
    uint64_t src, dst;
    uint32_t first;
    Test t;

    start(&t);
    src = guest_alloc_zeroed(&t.alloc, t.qts, sizeof(data));
    dst = guest_alloc_zeroed(&t.alloc, t.qts, sizeof(data));
    fill_pattern(data, sizeof(data), 3);
    qtest_memwrite(t.qts, src, data, sizeof(data));
    /* The CRC covers exactly the data, for all lengths modulo 4 */
    for (int i = 0; i < 5; i++) {
        g_assert_cmphex(crc(&t, DSA_OP_CRC, 0, src, 0, sizeof(data) - i, 0, 0),
                        ==, plain_crc32c(data, sizeof(data) - i));
    }
    /* RFC 3720, B.4: 32 bytes of zeroes */
    g_assert_cmphex(crc(&t, DSA_OP_CRC, 0, dst, 0, 32, 0, 0), ==, 0x8a9136aa);
    /* Two parts, the second with a seed in memory */
    first = crc(&t, DSA_OP_CRC, 0, src, 0, 40000, 0, 0);
    qtest_writel(t.qts, dst, first);
    g_assert_cmphex(crc(&t, DSA_OP_CRC, 0, src + 40000, 0, 30000, first, 0),
                    ==, plain_crc32c(data, 70000));
    g_assert_cmphex(crc(&t, DSA_OP_CRC, DSA_FLAG_READ_CRC_SEED, src + 40000, 0,
                        30000, 0, dst), ==, plain_crc32c(data, 70000));

    g_assert_cmphex(crc(&t, DSA_OP_COPY_CRC, 0, src, dst, sizeof(data), 0, 0),
                    ==, plain_crc32c(data, sizeof(data)));
    expect_memory(&t, dst, data, sizeof(data));

    /* Without inversion the CRC of zeroes is 0; without data reflection */
    qtest_memset(t.qts, dst, 0, 16);
    g_assert_cmphex(crc(&t, DSA_OP_CRC, DSA_FLAG_BYPASS_CRC_INVERSION, dst, 0,
                        16, 0, 0), ==, 0);
    qtest_writeb(t.qts, dst + 15, 0x80);
    g_assert_cmphex(crc(&t, DSA_OP_CRC, DSA_FLAG_BYPASS_CRC_INVERSION, dst, 0,
                        16, 0, 0), ==, 0x1edc6f41);
    qtest_writeb(t.qts, dst + 15, 0x01);
    g_assert_cmphex(crc(&t, DSA_OP_CRC, DSA_FLAG_BYPASS_CRC_INVERSION |
                        DSA_FLAG_BYPASS_DATA_REFLECTION, dst, 0, 16, 0, 0),
                    ==, 0x1edc6f41);
    stop(&t);
}

static uint16_t plain_crc16(const uint8_t *data, size_t len)
{
    uint16_t crc = 0;

    for (size_t i = 0; i < len; i++) {
        crc ^= data[i] << 8;
        for (int bit = 0; bit < 8; bit++) {
            crc = crc << 1 ^ (crc & 0x8000 ? 0x8bb7 : 0);
        }
    }
    return crc;
}

typedef struct DIFTags {
    uint32_t ref;
    uint16_t app_mask;
    uint16_t app;
} DIFTags;

static void dif_tags(uint8_t *p, DIFTags tags)
{
    stl_le_p(p, tags.ref);
    stw_le_p(p + 4, tags.app_mask);
    stw_le_p(p + 6, tags.app);
}

static void dif(Test *t, DSAOperation op, uint64_t src, uint64_t dst,
                uint32_t size, uint8_t src_flags, uint8_t dst_flags,
                const DIFTags *src_tags, const DIFTags *dst_tags,
                uint8_t status)
{
    QDSADesc desc;

    qdsa_desc(&desc, op, CR, t->cr);
    qdsa_desc_data(&desc, src, dst, size);
    desc.raw[DSA_DESC_SRC_DIF_FLAGS] = src_flags;
    desc.raw[DSA_DESC_DST_DIF_FLAGS] = dst_flags;
    if (src_tags) {
        dif_tags(desc.raw + DSA_DESC_SRC_DIF_TAGS, *src_tags);
    }
    if (dst_tags) {
        dif_tags(desc.raw + DSA_DESC_DST_DIF_TAGS, *dst_tags);
    }
    run(t, &desc, status);
}

/* 8.3.14 to 8.3.17, Appendix B: blocks of 512 bytes */
static void test_dif(void)
{
    const DIFTags tags = { .ref = 0x12345678, .app_mask = 0, .app = 0xabcd };
    const DIFTags dst_tags = { .ref = 7, .app_mask = 0xff00, .app = 0x1234 };
    const unsigned n = 100;
    uint8_t block[512], expected[8];
    uint64_t raw, with, out;
    Test t;

    start(&t);
    raw = guest_alloc_zeroed(&t.alloc, t.qts, n * 512);
    with = guest_alloc_zeroed(&t.alloc, t.qts, n * 520);
    out = guest_alloc_zeroed(&t.alloc, t.qts, n * 520);
    put_pattern(&t, raw, n * 512, 0);
    dif(&t, DSA_OP_DIF_INSERT, raw, with, n * 512, 0, 0, NULL, &tags,
        DSA_STATUS_SUCCESS);
    g_assert_cmphex(ldl_le_p(t.record + DSA_CR_DST_DIF_TAGS), ==,
                    tags.ref + n);
    qtest_memread(t.qts, raw + 512, block, sizeof(block));
    stw_be_p(expected, plain_crc16(block, sizeof(block)));
    stw_be_p(expected + 2, tags.app);
    stl_be_p(expected + 4, tags.ref + 1);
    expect_memory(&t, with + 520, block, sizeof(block));
    expect_memory(&t, with + 520 + 512, expected, sizeof(expected));

    dif(&t, DSA_OP_DIF_CHECK, with, 0, n * 520, 0, 0, &tags, NULL,
        DSA_STATUS_SUCCESS);
    g_assert_cmphex(ldl_le_p(t.record + DSA_CR_SRC_DIF_TAGS), ==,
                    tags.ref + n);
    dif(&t, DSA_OP_DIF_STRIP, with, out, n * 520, 0, 0, &tags, NULL,
        DSA_STATUS_SUCCESS);
    compare(&t, DSA_OP_COMPARE, 0, raw, out, n * 512, 0, DSA_STATUS_SUCCESS);
    expect_result(&t, 0, 0);

    dif(&t, DSA_OP_DIF_UPDATE, with, out, n * 520, 0,
        R_DSA_DST_DIF_REF_FIXED_MASK, &tags, &dst_tags, DSA_STATUS_SUCCESS);
    stw_be_p(expected + 2, 0x0034);
    stl_be_p(expected + 4, 7);
    expect_memory(&t, out + 520 + 512, expected, sizeof(expected));
    g_assert_cmphex(ldl_le_p(t.record + DSA_CR_DST_DIF_TAGS), ==, 7);

    /* Errors in the data and in both tags of block 50 */
    qtest_writeb(t.qts, with + 50 * 520, ~qtest_readb(t.qts, with + 50 * 520));
    dif(&t, DSA_OP_DIF_CHECK, with, 0, n * 520, 0, 0, &tags, NULL,
        DSA_STATUS_DIF_ERROR);
    expect_result(&t, DSA_DIF_STATUS_GUARD, 50 * 520);
    qtest_writel(t.qts, with + 50 * 520 + 514, 0);
    qtest_writel(t.qts, with + 50 * 520 + 516, 0);
    dif(&t, DSA_OP_DIF_STRIP, with, out, n * 520,
        R_DSA_SRC_DIF_NO_GUARD_CHECK_MASK, 0, &tags, NULL,
        DSA_STATUS_DIF_ERROR);
    expect_result(&t, DSA_DIF_STATUS_APP | DSA_DIF_STATUS_REF, 50 * 520);
    stop(&t);
}

/* 8.3.26: Cache Flush and cache control have no visible effect */
static void test_cache_flush(void)
{
    uint64_t addr;
    Test t;

    start(&t);
    addr = guest_alloc_zeroed(&t.alloc, t.qts, 0x10000);
    submit_data(&t, DSA_OP_CACHE_FLUSH, 0, 0, addr + 1, 0xfff0,
                DSA_STATUS_SUCCESS);
    submit_data(&t, DSA_OP_FILL, DSA_FLAG_CACHE_CONTROL |
                DSA_FLAG_DEST_READBACK | DSA_FLAG_STRICT_ORDERING, ~0ULL, addr,
                8, DSA_STATUS_SUCCESS);
    g_assert_cmphex(qtest_readq(t.qts, addr), ==, ~0ULL);
    stop(&t);
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
        { DSA_OP_MEMORY_MOVE, DSA_FLAG_REQUEST_INT, 8, 36, 1,
          DSA_STATUS_INT_HANDLE },
        { DSA_OP_MEMORY_MOVE, DSA_FLAG_REQUEST_INT, 8, 37, 1,
          DSA_STATUS_INT_HANDLE },
    };
    uint64_t src;
    Test t;

    start(&t);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 2 * PAGE);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        DSAOperation op = cases[i].op;
        bool has_dst = op != DSA_OP_BATCH && op != DSA_OP_CRC &&
                       op != DSA_OP_DIF_CHECK && op != DSA_OP_DRAIN;
        QDSADesc desc;

        g_test_message("case %d", i);
        qdsa_desc(&desc, op, CR | cases[i].flags, t.cr);
        qdsa_desc_data(&desc, op == DSA_OP_DRAIN ? 0 : src,
                       has_dst ? src + PAGE : 0, cases[i].size);
        if (cases[i].offset) {
            desc.raw[cases[i].offset] = cases[i].val;
        }
        run(&t, &desc, cases[i].status);
        if (cases[i].status == DSA_STATUS_FLAGS) {
            /* 8.2.6: the invalid flags */
            g_assert_cmphex(ldl_le_p(t.record + DSA_CR_INVALID_FLAGS), ==,
                            cases[i].flags);
        }
    }
    stop(&t);
}

static void check_overlap(Test *t, DSAOperation op, uint64_t src, uint64_t dst,
                          uint32_t size, uint64_t third, bool overlaps)
{
    QDSADesc desc;

    qdsa_desc(&desc, op, CR, t->cr);
    qdsa_desc_data(&desc, src, dst, size);
    if (op == DSA_OP_DUALCAST) {
        stq_le_p(desc.raw + DSA_DESC_DST2, third);
    } else {
        stq_le_p(desc.raw + DSA_DESC_DELTA_ADDR, third);
        stl_le_p(desc.raw + DSA_DESC_MAX_DELTA_SIZE, 80);
    }
    run(t, &desc, overlaps ? DSA_STATUS_OVERLAP : DSA_STATUS_SUCCESS);
}

/* 8.3.8, 8.3.10: destinations may adjoin sources, but not overlap them */
static void test_overlap(void)
{
    uint64_t a, b, c;
    Test t;

    start(&t);
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
    stop(&t);
}

/* 8.1.3, Table 5-5: required flags; errors in SWERROR (5.8.1) */
static void test_swerror(void)
{
    QDSADesc desc;
    Test t;
    QDSA *d = &t.dsa;
    uint64_t src;

    start(&t);
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
    g_assert_cmphex(qdsa_readq(d, A_DSA_SWERROR + 8) >> 32, ==, CR);

    /* Only the first error is recorded */
    qdsa_desc(&desc, 0xff, 0, 0);
    qdsa_submit(d, &desc);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DRAIN_WQ, 1), ==, 0);
    qdsa_wait_swerror(&t.dsa, DSA_STATUS_FLAGS);
    g_assert_cmphex(FIELD_EX64(qdsa_swerror(&t.dsa), DSA_SWERROR, OVERFLOW),
                    ==, 1);
    clear_swerror(&t);

    /* An unaligned completion record is not written */
    qdsa_desc(&desc, DSA_OP_NOOP, CR, t.cr + 16);
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
    stop(&t);
}

/* ---- Batch, drain, interrupts ---- */

static void put_desc(Test *t, uint64_t list, unsigned i, const QDSADesc *desc)
{
    qtest_memwrite(t->qts, list + i * DSA_DESC_SIZE, desc->raw,
                   sizeof(desc->raw));
}

static void batch(Test *t, uint64_t list, unsigned n, uint8_t status,
                  uint32_t completed)
{
    submit_data(t, DSA_OP_BATCH, 0, list, 0, n, status);
    g_assert_cmpuint(bytes_completed(t), ==, completed);
}

/* 3.8, 3.9, 8.3.2: Batch and Fence */
static void test_batch(void)
{
    const unsigned n = 40;
    uint64_t list, data;
    QDSADesc desc;
    Test t;

    start(&t);
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
    qdsa_desc(&desc, DSA_OP_DRAIN, CR, t.cr + 64);
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
    qdsa_desc(&desc, DSA_OP_BATCH, CR, t.cr + 64);
    qdsa_desc_data(&desc, list, 0, 2);
    put_desc(&t, list, 0, &desc);
    batch(&t, list, n, DSA_STATUS_BATCH_ERROR, 30);
    g_assert_cmphex(qtest_readb(t.qts, t.cr + 64), ==, DSA_STATUS_OPERATION);
    stop(&t);
}

/* 3.12: a Drain ends after all descriptors that were submitted before it */
static void test_drain(void)
{
    const unsigned n = 8;
    const uint32_t size = 0x1000000;
    uint64_t src;
    QDSADesc desc;
    Test t;
    QDSA *d = &t.dsa;

    start_with(&t, "-device dsa,addr=4");
    qdsa_configure_wq(d, 0, 16, DSA_WQ_DEDICATED);
    qdsa_writeq(d, qdsa_grpcfg(0, DSA_GRPCFG_ENGINES), 0xf);
    qdsa_enable(d);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 2 * size);
    for (int i = 0; i < n; i++) {
        qdsa_desc(&desc, DSA_OP_MEMORY_MOVE, CR, t.cr + 32 * (i + 1));
        qdsa_desc_data(&desc, src, src + size, size);
        qdsa_submit(d, &desc);
    }
    qdsa_desc(&desc, DSA_OP_DRAIN, CR, t.cr);
    run(&t, &desc, DSA_STATUS_SUCCESS);
    for (int i = 0; i < n; i++) {
        g_assert_cmphex(qtest_readb(t.qts, t.cr + 32 * (i + 1)), ==,
                        DSA_STATUS_SUCCESS);
    }
    stop(&t);
}

/* 3.7, Table 5-2: interrupt handle, permissions and Ignore */
static void test_completion_interrupt(void)
{
    QDSADesc desc;
    Test t;
    QDSA *d = &t.dsa;

    start(&t);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_REQUEST_INT_HANDLE, 2), ==, 2 << 8);
    qdsa_desc(&desc, DSA_OP_NOOP, CR | DSA_FLAG_REQUEST_INT, t.cr);
    stw_le_p(desc.raw + DSA_DESC_INT_HANDLE, 2);
    run(&t, &desc, DSA_STATUS_SUCCESS);
    qdsa_wait_msi(d, 2);

    /* An entry for a PASID does not permit a WQ without PASID */
    qdsa_writel(d, qdsa_msixperm(2), R_DSA_MSIXPERM_PASID_EN_MASK);
    run(&t, &desc, DSA_STATUS_INT_HANDLE);
    qdsa_wait_swerror(&t.dsa, DSA_STATUS_INT_HANDLE);

    qdsa_writel(d, qdsa_msixperm(2), R_DSA_MSIXPERM_IGNORE_MASK);
    run(&t, &desc, DSA_STATUS_SUCCESS);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_DRAIN_WQ, 1), ==, 0);
    g_assert_cmphex(qtest_readl(t.qts, t.dsa.msi + 16), ==, 0);
    stop(&t);
}

/* 9.2.24: an interrupt while the WQ holds no more than Occupancy Limit */
static void test_occupancy_interrupt(void)
{
    Test t;
    QDSA *d = &t.dsa;
    const uint64_t enable = R_DSA_WQCFG2_OCC_INT_EN_MASK |
                            1ULL << R_DSA_WQCFG2_OCC_LIMIT_SHIFT | 1;

    start_with(&t, "-device dsa,addr=4");
    g_assert_cmphex(qdsa_command(d, DSA_CMD_REQUEST_INT_HANDLE, 1), ==, 1 << 8);
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
    stop(&t);
}

/* 9.2.9, 9.2.11: INTCAUSE has the causes of interrupts of vector 0 */
static void test_interrupt_causes(void)
{
    Test t;
    QDSA *d = &t.dsa;

    start_with(&t, "-device dsa,addr=4");
    qdsa_writel(d, A_DSA_GENCTRL, R_DSA_GENCTRL_HALT_INT_MASK);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_REQUEST_INT_HANDLE, 0), ==, 0);
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
    qecam_writew(t.qts, DEV, PCI_COMMAND, PCI_COMMAND_MEMORY);
    g_assert_cmphex(qdsa_readl(d, A_DSA_INTCAUSE) & R_DSA_INTCAUSE_HALT_MASK,
                    ==, R_DSA_INTCAUSE_HALT_MASK);
    stop(&t);
}

/* ---- While busy ---- */

static void submit_moves(Test *t, unsigned n, uint64_t src, uint32_t size)
{
    QDSADesc desc;

    for (int i = 0; i < n; i++) {
        qdsa_desc(&desc, DSA_OP_MEMORY_MOVE, CR, t->cr + 32 * i);
        qdsa_desc_data(&desc, src, src + size, size);
        qdsa_submit(&t->dsa, &desc);
    }
}

/* 5.7: clearing Bus Master Enable halts the device until an FLR */
static void test_halt(void)
{
    QDSADesc desc;
    Test t;
    QDSA *d = &t.dsa;
    uint64_t src;

    start(&t);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 0x4000000);
    submit_moves(&t, 16, src, 0x2000000);
    qecam_writew(t.qts, DEV, PCI_COMMAND, PCI_COMMAND_MEMORY);
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
    qecam_writew(t.qts, DEV, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    g_assert_cmphex(qdsa_command(d, DSA_CMD_RESET_DEVICE, 0), ==,
                    DSA_CMDERR_HALTED);

    /* Initiate FLR: Device Control of the capability at 0x40 */
    qecam_writew(t.qts, DEV, 0x40 + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
    qdsa_init(d, t.qts, DEV, t.dsa.msi);
    g_assert_cmphex(qdsa_readl(d, A_DSA_GENSTS), ==, DSA_DISABLED);
    g_assert_cmphex(qdsa_swerror(&t.dsa), ==, 0);
    qdsa_start(d, 0);
    qdsa_desc(&desc, DSA_OP_NOOP, CR, t.cr);
    run(&t, &desc, DSA_STATUS_SUCCESS);
    stop(&t);
}

/* 3.15: abort and reset commands, and quitting, while engines are busy */
static void test_busy(void)
{
    Test t;
    QDSA *d = &t.dsa;
    uint64_t src;

    start(&t);
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
    stop(&t);
}

/* A partly valid descriptor with random values in the other fields */
static void random_desc(GRand *rng, QDSADesc *desc, uint64_t cr)
{
    static const uint8_t operations[] = {
        0, 1, 3, 4, 5, 6, 7, 8, 9, 16, 17, 18, 19, 20, 21, 32, 255,
    };
    unsigned op = g_rand_int_range(rng, 0, ARRAY_SIZE(operations));
    unsigned i;

    qdsa_desc(desc, operations[op], CR, cr);
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
    Test t;
    QDSA *d = &t.dsa;

    start(&t);
    for (int round = 0; round < 20; round++) {
        for (int i = 0; i < 100; i++) {
            random_desc(rng, &desc, t.cr + PAGE / 2);
            qdsa_submit(d, &desc);
        }
        /* A descriptor may have written to the registers */
        qecam_writew(t.qts, DEV, 0x40 + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
        qdsa_init(d, t.qts, DEV, d->msi);
        qdsa_start(d, 0);
        qdsa_desc(&desc, DSA_OP_NOOP, CR, t.cr);
        run(&t, &desc, DSA_STATUS_SUCCESS);
    }
    stop(&t);
}

/* ---- Behind an IOMMU ---- */

static void start_iommu(Test *t)
{
    start_with(t, "-device intel-iommu,device-iotlb=on,x-scalable-mode=on,"
               "x-flts=on,x-pasid-mode=on -device dsa,addr=4");
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    t->vtd.scalable = true;
    t->dir = qvtd_sm_attach(&t->vtd, DEV, VTD_SM_CONTEXT_ENTRY_DTE |
                            VTD_SM_CONTEXT_ENTRY_PASIDE, 0);
    qvtd_enable(&t->vtd);
    qdsa_enable_ats(&t->dsa);
}

/* Attach an empty address space for @pasid; returns its root table */
static uint64_t new_pasid(Test *t, uint32_t pasid)
{
    uint64_t root = qvtd_new_table(&t->vtd);

    qvtd_sm_pasid(&t->vtd, t->dir, pasid, PE_FIRST, PE1, root);
    return root;
}

static void map(Test *t, uint64_t root, uint64_t iova, uint64_t gpa,
                size_t size)
{
    for (size_t i = 0; i < size; i += PAGE) {
        qvtd_map_entry(&t->vtd, root, 4, iova + i, PAGE, (gpa + i) | FS, FS);
    }
}

#define IOVA_CR     0x10000000ULL
#define IOVA_SRC    0x20000000ULL
#define IOVA_DST    0x30000000ULL

static void expect_fault(Test *t, uint64_t addr, uint32_t bytes)
{
    g_assert_cmphex(ldq_le_p(t->record + DSA_CR_FAULT_ADDR) & -PAGE, ==, addr);
    g_assert_cmpuint(bytes_completed(t), ==, bytes);
}

/* 3.13.3: partial completion where pages are missing */
static void test_partial(void)
{
    const uint8_t fault = DSA_STATUS_PAGE_FAULT;
    const uint8_t wfault = DSA_STATUS_PAGE_FAULT | DSA_STATUS_WRITE;
    uint64_t root, src, dst;
    QDSADesc desc;
    Test t;
    QDSA *d = &t.dsa;

    start_iommu(&t);
    root = new_pasid(&t, PASID);
    src = guest_alloc_zeroed(&t.alloc, t.qts, 0x10000);
    dst = guest_alloc_zeroed(&t.alloc, t.qts, 0x10000);
    put_pattern(&t, src, 0x10000, 4);
    map(&t, root, IOVA_CR, t.cr, PAGE);
    map(&t, root, IOVA_SRC, src, 0x8000);
    map(&t, root, IOVA_DST, dst, 0x4000);
    qdsa_start(d, R_DSA_WQCFG1_PASID_EN_MASK |
               PASID << R_DSA_WQCFG1_PASID_SHIFT);

    qdsa_desc(&desc, DSA_OP_MEMORY_MOVE, CR, IOVA_CR);
    qdsa_desc_data(&desc, IOVA_SRC, IOVA_DST, 0x4000);
    run(&t, &desc, DSA_STATUS_SUCCESS);
    expect_pattern(&t, dst, 0x4000, 4);

    qdsa_desc_data(&desc, IOVA_SRC + 1, IOVA_DST, 0x8000);
    run(&t, &desc, wfault);
    expect_fault(&t, IOVA_DST + 0x4000, 0x4000);
    qdsa_desc_data(&desc, IOVA_SRC + 0x6001, IOVA_DST, 0x4000);
    run(&t, &desc, fault);
    expect_fault(&t, IOVA_SRC + 0x8000, 0x1fff);

    /* Backward: Result is 1, and the end of the buffers is complete */
    map(&t, root, IOVA_SRC + 0x9000, src + 0x9000, 0x2000);
    qdsa_desc_data(&desc, IOVA_SRC + 0x7000, IOVA_SRC + 0x7800, 0x3000);
    run(&t, &desc, fault);
    expect_fault(&t, IOVA_SRC + 0x8000, 0x1000);
    g_assert_cmpuint(t.record[DSA_CR_RESULT], ==, 1);

    qdsa_desc(&desc, DSA_OP_FILL, CR, IOVA_CR);
    qdsa_desc_data(&desc, 0, IOVA_DST + 8, 0x4000);
    run(&t, &desc, wfault);
    expect_fault(&t, IOVA_DST + 0x4000, 0x3ff8);

    /* A batch whose list continues in a missing page */
    qdsa_desc(&desc, DSA_OP_BATCH, CR, IOVA_CR);
    qdsa_desc_data(&desc, IOVA_DST + 0x4000 - 16 * DSA_DESC_SIZE, 0, 32);
    run(&t, &desc, DSA_STATUS_BATCH_FAULT);
    expect_fault(&t, IOVA_DST + 0x4000, 16);

    /* A completion record in a missing page */
    qdsa_desc(&desc, DSA_OP_NOOP, CR, IOVA_CR + PAGE);
    qdsa_submit(d, &desc);
    qdsa_wait_swerror(&t.dsa, DSA_STATUS_CR_FAULT);
    g_assert_cmphex(FIELD_EX64(qdsa_swerror(&t.dsa), DSA_SWERROR, PASID),
                    ==, PASID);
    g_assert_cmphex(FIELD_EX64(qdsa_swerror(&t.dsa), DSA_SWERROR, RW), ==, 1);
    g_assert_cmphex(qdsa_readq(d, A_DSA_SWERROR + 16) & -PAGE, ==,
                    IOVA_CR + PAGE);
    stop(&t);
}

static bool enqueue(Test *t, uint32_t pasid, unsigned kind, QDSADesc *desc)
{
    stl_le_p(desc->raw + DSA_DESC_TRUSTED, pasid);
    return qtest_enqueue_store(t->qts, qdsa_portal(&t->dsa, 0, kind),
                               desc->raw);
}

/* 3.3.1: each descriptor uses the address space of its PASID; threshold */
static void test_shared(void)
{
    uint64_t cr2, root;
    QDSADesc desc;
    Test t;
    QDSA *d = &t.dsa;

    start_iommu(&t);
    cr2 = guest_alloc_zeroed(&t.alloc, t.qts, PAGE);
    root = new_pasid(&t, PASID);
    map(&t, root, IOVA_CR, t.cr, PAGE);
    root = new_pasid(&t, PASID2);
    map(&t, root, IOVA_CR, cr2, PAGE);
    qdsa_configure_wq(d, 0, 16, R_DSA_WQCFG1_PASID_EN_MASK | DSA_WQ_SHARED);
    qdsa_enable(d);

    qdsa_desc(&desc, DSA_OP_NOOP, CR, IOVA_CR);
    g_assert_true(enqueue(&t, PASID, DSA_PORTAL_LIMITED, &desc));
    g_assert_true(enqueue(&t, PASID2, DSA_PORTAL_UNLIMITED, &desc));
    qdsa_wait(d, t.cr, t.record);
    qdsa_wait(d, cr2, t.record);

    /* A threshold of 0 closes only the limited portal */
    qdsa_writeq(d, qdsa_wqcfg(0, 0), 0);
    g_assert_false(enqueue(&t, PASID, DSA_PORTAL_LIMITED, &desc));
    g_assert_true(enqueue(&t, PASID, DSA_PORTAL_UNLIMITED, &desc));
    /* A posted write to a shared WQ is ignored */
    qdsa_submit(d, &desc);

    /* Priv requires Privileged Mode Enable, which is clear */
    g_assert_true(enqueue(&t, PASID | 1u << 31, DSA_PORTAL_UNLIMITED, &desc));
    qdsa_wait_swerror(&t.dsa, DSA_STATUS_PRIV);
    stop(&t);
}

/* 3.13.2: Block on Fault without a page request queue */
static void test_block_on_fault(void)
{
    uint64_t root;
    QDSADesc desc;
    Test t;
    QDSA *d = &t.dsa;

    start_iommu(&t);
    root = new_pasid(&t, PASID);
    map(&t, root, IOVA_CR, t.cr, PAGE);
    qdsa_start(d, R_DSA_WQCFG1_PASID_EN_MASK |
               R_DSA_WQCFG1_BLOCK_ON_FAULT_MASK |
               PASID << R_DSA_WQCFG1_PASID_SHIFT);
    qdsa_desc(&desc, DSA_OP_FILL, CR | DSA_FLAG_BLOCK_ON_FAULT, IOVA_CR);
    qdsa_desc_data(&desc, 0, IOVA_DST, 8);
    run(&t, &desc, DSA_STATUS_PAGE_FAULT_IR | DSA_STATUS_WRITE);
    expect_fault(&t, IOVA_DST, 0);
    stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_device("dsa")) {
        g_test_skip("no dsa device");
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
    qtest_add_func("/dsa/portals", test_portals);
    qtest_add_func("/dsa/memory-move", test_move);
    qtest_add_func("/dsa/fill", test_fill);
    qtest_add_func("/dsa/compare", test_compare);
    qtest_add_func("/dsa/delta", test_delta);
    qtest_add_func("/dsa/dualcast", test_dualcast);
    qtest_add_func("/dsa/crc", test_crc);
    qtest_add_func("/dsa/dif", test_dif);
    qtest_add_func("/dsa/cache-flush", test_cache_flush);
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
    qtest_add_func("/dsa/partial-completion", test_partial);
    qtest_add_func("/dsa/shared-wq", test_shared);
    qtest_add_func("/dsa/block-on-fault", test_block_on_fault);
    return g_test_run();
}
