/*
 * QTest testcase for the ATS, PASID and Page Request capabilities
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The rules of configuration space, and the checks of the PCI layer before it
 * calls the IOMMU. Section numbers are those of the PCI Express Base
 * Specification 5.0.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/pci_regs.h"
#include "libqos/pci-ats-testdev.h"

#define DEV_BDF     QATD_BDF(0, 4, 0)
#define PORT_BDF    QATD_BDF(0, 5, 0)

static QTestState *start(const char *fmt, ...) G_GNUC_PRINTF(1, 2);

static QTestState *start(const char *fmt, ...)
{
    g_autofree char *args = NULL;
    QTestState *qts;
    va_list ap;

    va_start(ap, fmt);
    args = g_strdup_vprintf(fmt, ap);
    va_end(ap);
    qts = qtest_initf("-M q35 -nodefaults %s", args);
    qecam_enable(qts);
    return qts;
}

/* Start with a device on the root bus, with the properties @props */
static void start_dev(QATD *d, const char *props)
{
    QTestState *qts = start("-device pci-ats-testdev,addr=4%s", props);

    qatd_init(d, qts, DEV_BDF, 0);
}

/* Start with a device below a root port, which can be unplugged */
static void start_below_port(QATD *d, const char *args)
{
    QTestState *qts = start("%s -device pcie-root-port,id=rp,addr=5,chassis=1,"
                            "power_controller_present=off "
                            "-device pci-ats-testdev,id=dev,bus=rp,addr=0",
                            args);

    qecam_setup_bridge(qts, PORT_BDF, 1, 1);
    qatd_init(d, qts, QATD_BDF(1, 0, 0), 0);
}

static uint16_t readw(QATD *d, uint16_t reg)
{
    return qecam_readw(d->qts, d->bdf, reg);
}

static uint32_t readl(QATD *d, uint16_t reg)
{
    return qecam_readl(d->qts, d->bdf, reg);
}

static void writew(QATD *d, uint16_t reg, uint16_t val)
{
    qecam_writew(d->qts, d->bdf, reg, val);
}

static void writel(QATD *d, uint16_t reg, uint32_t val)
{
    qecam_writel(d->qts, d->bdf, reg, val);
}

static uint16_t pri_status(QATD *d)
{
    return readw(d, d->pri + PCI_PRI_STATUS);
}

static uint64_t enables(QATD *d)
{
    return qatd_read(d, ATD_ENABLES);
}

/* 7.8.8: header and capability register */
static void test_pasid_capability(void)
{
    static const struct {
        const char *props;
        uint16_t cap;
    } cases[] = {
        { "", 20 << 8 | PCI_PASID_CAP_EXEC | PCI_PASID_CAP_PRIV },
        { ",pasid-width=0", PCI_PASID_CAP_EXEC | PCI_PASID_CAP_PRIV },
        { ",pasid-width=8,pasid-exec=off", 8 << 8 | PCI_PASID_CAP_PRIV },
        { ",pasid-width=1,pasid-priv=off", 1 << 8 | PCI_PASID_CAP_EXEC },
        { ",pasid-width=20,pasid-exec=off,pasid-priv=off", 20 << 8 },
    };
    QATD d;
    int i;

    for (i = 0; i < ARRAY_SIZE(cases); i++) {
        start_dev(&d, cases[i].props);
        g_assert_cmphex(PCI_EXT_CAP_VER(readl(&d, d.pasid)), ==, 1);
        g_assert_cmphex(readw(&d, d.pasid + PCI_PASID_CAP), ==, cases[i].cap);
        /* 7.8.8.2: read-only */
        writew(&d, d.pasid + PCI_PASID_CAP, ~cases[i].cap);
        g_assert_cmphex(readw(&d, d.pasid + PCI_PASID_CAP), ==, cases[i].cap);
        /* 7.8.8.3: an enable bit whose capability is missing is 0 */
        g_assert_cmphex(readw(&d, d.pasid + PCI_PASID_CTRL), ==, 0);
        writew(&d, d.pasid + PCI_PASID_CTRL, 0xffff);
        g_assert_cmphex(readw(&d, d.pasid + PCI_PASID_CTRL), ==,
                        PCI_PASID_CTRL_ENABLE |
                        (cases[i].cap & (PCI_PASID_CAP_EXEC |
                                         PCI_PASID_CAP_PRIV)));
        qtest_quit(d.qts);
    }
}

/* 7.8.8.3: the other bits only apply with PASID Enable */
static void test_pasid_enables(void)
{
    uint64_t mask = ATD_ENABLE_PASID | ATD_ENABLE_EXEC | ATD_ENABLE_PRIV;
    QATD d;

    start_dev(&d, "");
    g_assert_cmphex(enables(&d) & mask, ==, 0);
    writew(&d, d.pasid + PCI_PASID_CTRL,
           PCI_PASID_CTRL_EXEC | PCI_PASID_CTRL_PRIV);
    g_assert_cmphex(enables(&d) & mask, ==, 0);
    writew(&d, d.pasid + PCI_PASID_CTRL,
           PCI_PASID_CTRL_ENABLE | PCI_PASID_CTRL_EXEC);
    g_assert_cmphex(enables(&d) & mask, ==, ATD_ENABLE_PASID | ATD_ENABLE_EXEC);
    writew(&d, d.pasid + PCI_PASID_CTRL,
           PCI_PASID_CTRL_ENABLE | PCI_PASID_CTRL_PRIV);
    g_assert_cmphex(enables(&d) & mask, ==, ATD_ENABLE_PASID | ATD_ENABLE_PRIV);
    qtest_quit(d.qts);
}

/* 10.5.1.3: ATS Enable and Smallest Translation Unit */
static void test_ats_enables(void)
{
    QATD d;

    start_dev(&d, "");
    g_assert_cmphex(enables(&d) & ATD_ENABLE_ATS, ==, 0);
    g_assert_cmphex((uint8_t)(enables(&d) >> ATD_ENABLE_STU_SHIFT), ==, 12);
    writew(&d, d.ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 9);
    g_assert_cmphex(enables(&d) & ATD_ENABLE_ATS, ==, ATD_ENABLE_ATS);
    g_assert_cmphex((uint8_t)(enables(&d) >> ATD_ENABLE_STU_SHIFT), ==, 21);
    /*
     * STU is read-write; the value in use does not change while ATS is enabled
     */
    writew(&d, d.ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 31);
    g_assert_cmphex(readw(&d, d.ats + PCI_ATS_CTRL), ==,
                    PCI_ATS_CTRL_ENABLE | 31);
    g_assert_cmphex((uint8_t)(enables(&d) >> ATD_ENABLE_STU_SHIFT), ==, 21);
    qtest_quit(d.qts);
}

/* Bus Master Enable (7.5.1.1.3) */
static void test_bus_master(void)
{
    QATD d;

    start_dev(&d, "");
    g_assert_cmphex(enables(&d) & ATD_ENABLE_BUS_MASTER, !=, 0);
    writew(&d, PCI_COMMAND, PCI_COMMAND_MEMORY);
    g_assert_cmphex(enables(&d) & ATD_ENABLE_BUS_MASTER, ==, 0);
    qtest_quit(d.qts);
}

/* 10.5.2: header, capacity and allocation */
static void test_pri_capability(void)
{
    QATD d;

    start_dev(&d, ",pri-capacity=77");
    g_assert_cmphex(PCI_EXT_CAP_VER(readl(&d, d.pri)), ==, 1);
    /* 10.5.2.4: read-only */
    g_assert_cmpint(readl(&d, d.pri + PCI_PRI_MAX_REQ), ==, 77);
    writel(&d, d.pri + PCI_PRI_MAX_REQ, 1);
    g_assert_cmpint(readl(&d, d.pri + PCI_PRI_MAX_REQ), ==, 77);
    /* 10.5.2.5: read-write, default 0; 10.5.2.4: the capacity is the limit */
    g_assert_cmpint(readl(&d, d.pri + PCI_PRI_ALLOC_REQ), ==, 0);
    writel(&d, d.pri + PCI_PRI_ALLOC_REQ, 0x12345678);
    g_assert_cmphex(readl(&d, d.pri + PCI_PRI_ALLOC_REQ), ==, 0x12345678);
    g_assert_cmpint(enables(&d) >> ATD_ENABLE_ALLOC_SHIFT, ==, 77);
    writel(&d, d.pri + PCI_PRI_ALLOC_REQ, 76);
    g_assert_cmpint(enables(&d) >> ATD_ENABLE_ALLOC_SHIFT, ==, 76);
    qtest_quit(d.qts);
}

/* 10.5.2.3: PRG Response PASID Required is constant */
static void test_pri_response_pasid(void)
{
    QATD d;

    start_dev(&d, "");
    g_assert_cmphex(pri_status(&d), ==,
                    PCI_PRI_STATUS_PASID | PCI_PRI_STATUS_STOPPED);
    g_assert_cmphex(enables(&d) & ATD_ENABLE_PRG_PASID, !=, 0);
    writew(&d, d.pri + PCI_PRI_STATUS, 0xffff);
    g_assert_cmphex(pri_status(&d), ==,
                    PCI_PRI_STATUS_PASID | PCI_PRI_STATUS_STOPPED);
    qtest_quit(d.qts);

    start_dev(&d, ",pri-response-pasid=off");
    g_assert_cmphex(pri_status(&d), ==, PCI_PRI_STATUS_STOPPED);
    g_assert_cmphex(enables(&d) & ATD_ENABLE_PRG_PASID, ==, 0);
    qtest_quit(d.qts);
}

/* 10.5.2.2 and 10.5.2.3: Enable, Stopped and Reset */
static void test_pri_enable(void)
{
    QATD d;

    start_dev(&d, "");
    g_assert_cmphex(readw(&d, d.pri + PCI_PRI_CTRL), ==, 0);
    writew(&d, d.pri + PCI_PRI_CTRL, 0xffff);
    /* Reset and the reserved bits read as 0 */
    g_assert_cmphex(readw(&d, d.pri + PCI_PRI_CTRL), ==, PCI_PRI_CTRL_ENABLE);
    g_assert_cmphex(pri_status(&d) & PCI_PRI_STATUS_STOPPED, ==, 0);
    g_assert_cmphex(enables(&d) & ATD_ENABLE_PRI, !=, 0);
    /* The interface stops immediately if no request is outstanding */
    writew(&d, d.pri + PCI_PRI_CTRL, 0);
    g_assert_cmphex(pri_status(&d) & PCI_PRI_STATUS_STOPPED, !=, 0);
    g_assert_cmphex(enables(&d) & ATD_ENABLE_PRI, ==, 0);
    /* Byte accesses */
    qecam_writeb(d.qts, d.bdf, d.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    g_assert_cmphex(pri_status(&d) & PCI_PRI_STATUS_STOPPED, ==, 0);
    qecam_writeb(d.qts, d.bdf, d.pri + PCI_PRI_CTRL + 1, 0xff);
    g_assert_cmphex(readw(&d, d.pri + PCI_PRI_CTRL), ==, PCI_PRI_CTRL_ENABLE);
    writew(&d, d.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_RESET);
    g_assert_cmphex(readw(&d, d.pri + PCI_PRI_CTRL), ==, 0);
    g_assert_cmphex(pri_status(&d) & PCI_PRI_STATUS_STOPPED, !=, 0);
    qtest_quit(d.qts);
}

/* 10.5.2.3: Response Failure and Unexpected PRG Index are RW1C */
static void test_pri_rw1c(void)
{
    QATD d;

    start_dev(&d, "");
    writew(&d, d.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    qatd_command(&d, ATD_CMD_RESPONSE_FAILURE, 0, 0, 0, 0);
    qatd_command(&d, ATD_CMD_UNEXPECTED_PRGI, 0, 0, 0, ATD_FLAG_THREAD);
    g_assert_cmphex(pri_status(&d), ==, PCI_PRI_STATUS_PASID |
                    PCI_PRI_STATUS_RF | PCI_PRI_STATUS_UPRGI);
    /* 10.4.2.1: Response Failure disables the interface */
    g_assert_cmphex(readw(&d, d.pri + PCI_PRI_CTRL), ==, PCI_PRI_CTRL_ENABLE);
    g_assert_cmphex(enables(&d) & ATD_ENABLE_PRI, ==, 0);

    /* Zeroes clear no bit, a one clears only its own */
    writew(&d, d.pri + PCI_PRI_STATUS, 0);
    g_assert_cmphex(pri_status(&d), ==, PCI_PRI_STATUS_PASID |
                    PCI_PRI_STATUS_RF | PCI_PRI_STATUS_UPRGI);
    writew(&d, d.pri + PCI_PRI_STATUS, PCI_PRI_STATUS_UPRGI);
    g_assert_cmphex(pri_status(&d), ==, PCI_PRI_STATUS_PASID |
                    PCI_PRI_STATUS_RF);
    /* One access writes the status and the control register */
    writel(&d, d.pri + PCI_PRI_CTRL,
           PCI_PRI_CTRL_ENABLE | PCI_PRI_STATUS_RF << 16);
    g_assert_cmphex(pri_status(&d), ==, PCI_PRI_STATUS_PASID);
    g_assert_cmphex(enables(&d) & ATD_ENABLE_PRI, !=, 0);
    /* Ones do not set bits */
    writew(&d, d.pri + PCI_PRI_STATUS, 0xffff);
    g_assert_cmphex(pri_status(&d), ==, PCI_PRI_STATUS_PASID);
    qtest_quit(d.qts);
}

/* 10.5.2.2: enabling clears the status flags, if PRI was disabled before */
static void test_pri_enable_clears_status(void)
{
    QATD d;

    start_dev(&d, "");
    qatd_command(&d, ATD_CMD_RESPONSE_FAILURE, 0, 0, 0, 0);
    qatd_command(&d, ATD_CMD_UNEXPECTED_PRGI, 0, 0, 0, 0);
    g_assert_cmphex(pri_status(&d), ==,
                    PCI_PRI_STATUS_PASID | PCI_PRI_STATUS_STOPPED |
                    PCI_PRI_STATUS_RF | PCI_PRI_STATUS_UPRGI);
    writew(&d, d.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    g_assert_cmphex(pri_status(&d), ==, PCI_PRI_STATUS_PASID);

    qatd_command(&d, ATD_CMD_UNEXPECTED_PRGI, 0, 0, 0, 0);
    writew(&d, d.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    g_assert_cmphex(pri_status(&d), ==,
                    PCI_PRI_STATUS_PASID | PCI_PRI_STATUS_UPRGI);
    qtest_quit(d.qts);
}

static void assert_reset(QATD *d)
{
    g_assert_cmphex(readw(d, d->ats + PCI_ATS_CTRL), ==, 0);
    g_assert_cmphex(readw(d, d->pasid + PCI_PASID_CTRL), ==, 0);
    g_assert_cmphex(readw(d, d->pri + PCI_PRI_CTRL), ==, 0);
    g_assert_cmphex(pri_status(d), ==,
                    PCI_PRI_STATUS_PASID | PCI_PRI_STATUS_STOPPED);
    g_assert_cmphex(readl(d, d->pri + PCI_PRI_ALLOC_REQ), ==, 0);
    g_assert_cmphex(readl(d, d->pri + PCI_PRI_MAX_REQ), ==, 32);
    /* Place the BARs again, from the device's point of view */
    qatd_init(d, d->qts, d->bdf, 0);
    g_assert_cmphex(enables(d), ==, ATD_ENABLE_BUS_MASTER |
                    ATD_ENABLE_PRG_PASID | 12 << ATD_ENABLE_STU_SHIFT);
}

static void make_dirty(QATD *d)
{
    qatd_enable_all(d, 5);
    qatd_command(d, ATD_CMD_RESPONSE_FAILURE, 0, 0, 0, 0);
    qatd_command(d, ATD_CMD_UNEXPECTED_PRGI, 0, 0, 0, 0);
    g_assert_cmphex(enables(d) & (ATD_ENABLE_ATS | ATD_ENABLE_PASID), ==,
                    ATD_ENABLE_ATS | ATD_ENABLE_PASID);
    g_assert_cmphex(pri_status(d), ==, PCI_PRI_STATUS_PASID |
                    PCI_PRI_STATUS_RF | PCI_PRI_STATUS_UPRGI);
}

/* 6.6.2: Function Level Reset */
static void test_flr(void)
{
    uint8_t exp = 0x80;
    QATD d;

    start_dev(&d, "");
    g_assert_cmphex(readl(&d, exp + PCI_EXP_DEVCAP) & PCI_EXP_DEVCAP_FLR, !=,
                    0);
    make_dirty(&d);
    writew(&d, exp + PCI_EXP_DEVCTL, PCI_EXP_DEVCTL_BCR_FLR);
    assert_reset(&d);
    qtest_quit(d.qts);
}

/* 6.6.1: hot reset, by Secondary Bus Reset of the port above */
static void test_hot_reset(void)
{
    QATD d;

    start_below_port(&d, "");
    make_dirty(&d);
    qecam_writew(d.qts, PORT_BDF, PCI_BRIDGE_CONTROL, PCI_BRIDGE_CTL_BUS_RESET);
    qecam_writew(d.qts, PORT_BDF, PCI_BRIDGE_CONTROL, 0);
    assert_reset(&d);
    qtest_quit(d.qts);
}

/* 6.6.1: fundamental reset */
static void test_system_reset(void)
{
    QATD d;

    start_dev(&d, "");
    make_dirty(&d);
    qtest_qmp_assert_success(d.qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(d.qts, "RESET");
    qecam_enable(d.qts);
    assert_reset(&d);
    qtest_quit(d.qts);
}

/* Enable bits and status flags are migrated */
static void test_migration(void)
{
    g_autofree char *path = NULL;
    uint64_t enabled;
    uint16_t status;
    QATD d;

    start_dev(&d, "");
    qatd_enable_all(&d, 0x55);
    writew(&d, d.ats + PCI_ATS_CTRL, 0);
    writew(&d, d.ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 3);
    qatd_command(&d, ATD_CMD_UNEXPECTED_PRGI, 0, 0, 0, 0);
    enabled = enables(&d);
    g_assert_cmphex(enabled, ==, ATD_ENABLE_BUS_MASTER | ATD_ENABLE_ATS |
                    ATD_ENABLE_PRI | ATD_ENABLE_PASID | ATD_ENABLE_EXEC |
                    ATD_ENABLE_PRIV | ATD_ENABLE_PRG_PASID |
                    15 << ATD_ENABLE_STU_SHIFT |
                    32ULL << ATD_ENABLE_ALLOC_SHIFT);
    status = pri_status(&d);
    g_assert_cmphex(status, ==, PCI_PRI_STATUS_PASID | PCI_PRI_STATUS_UPRGI);
    path = qatd_save_machine(d.qts);

    d.qts = qtest_initf("-M q35 -nodefaults -device pci-ats-testdev,addr=4 "
                        "-incoming defer");
    qatd_load_machine(d.qts, path);
    g_assert_cmphex(enables(&d), ==, enabled);
    g_assert_cmphex(readl(&d, d.pri + PCI_PRI_ALLOC_REQ), ==, 0x55);
    g_assert_cmphex(pri_status(&d), ==, status);
    qtest_quit(d.qts);
}

static int64_t translate(QATD *d, uint32_t pasid, uint64_t length,
                         uint64_t flags, size_t max_results)
{
    QATDResult results[4];

    return qatd_translate(d, pasid, 0x1000, length, flags, results,
                          max_results);
}

static int64_t request_page(QATD *d, uint32_t pasid, uint64_t flags)
{
    return qatd_page_request(d, pasid, 0x1000, 1,
                             ATD_FLAG_LAST | ATD_FLAG_READ | flags);
}

/* With everything enabled, each call fails because there is no IOMMU */
static void assert_no_iommu(QATD *d)
{
    g_assert_cmpint(translate(d, QATD_NO_PASID, 1, 0, 1), ==, -ENODEV);
    g_assert_cmpint(translate(d, 1, 1, ATD_FLAG_EXEC | ATD_FLAG_PRIV, 1), ==,
                    -ENODEV);
    g_assert_cmpint(request_page(d, QATD_NO_PASID, 0), ==, -ENODEV);
    g_assert_cmpint(request_page(d, 1, ATD_FLAG_EXEC | ATD_FLAG_PRIV), ==,
                    -ENODEV);
    g_assert_cmpint(qatd_command(d, ATD_CMD_IOTLB_INFO, 0, 0, 0, 0), ==,
                    -ENODEV);
    g_assert_cmpint(qatd_command(d, ATD_CMD_REGISTER_IOTLB, 1, 0, 0, 0), ==,
                    -ENODEV);
    g_assert_cmpint(qatd_command(d, ATD_CMD_REGISTER_PRI, 1, 0, 0, 0), ==,
                    -ENODEV);
}

static void test_no_iommu(void)
{
    QATD d;

    start_dev(&d, "");
    qatd_enable_all(&d, 1);
    assert_no_iommu(&d);
    qtest_quit(d.qts);
}

/* 10.5.1.3: no translation requests while ATS is disabled */
static void test_eperm_ats(void)
{
    QATD d;

    start_dev(&d, "");
    qatd_enable_all(&d, 1);
    writew(&d, d.ats + PCI_ATS_CTRL, 0);
    g_assert_cmpint(translate(&d, QATD_NO_PASID, 1, 0, 1), ==, -EPERM);
    g_assert_cmpint(translate(&d, 1, 1, 0, 1), ==, -EPERM);
    qtest_quit(d.qts);

    start_dev(&d, ",ats=off");
    g_assert_cmphex(d.ats, ==, 0);
    g_assert_cmpint(translate(&d, QATD_NO_PASID, 1, 0, 1), ==, -EPERM);
    qtest_quit(d.qts);
}

/* 10.5.2.2: no page requests while PRI is disabled */
static void test_eperm_pri(void)
{
    QATD d;

    start_dev(&d, "");
    qatd_enable_all(&d, 1);
    writew(&d, d.pri + PCI_PRI_CTRL, 0);
    g_assert_cmpint(request_page(&d, QATD_NO_PASID, 0), ==, -EPERM);
    g_assert_cmpint(request_page(&d, 1, 0), ==, -EPERM);
    /* 10.4.2.1: the same after Response Failure */
    writew(&d, d.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    g_assert_cmpint(request_page(&d, 1, 0), ==, -ENODEV);
    qatd_command(&d, ATD_CMD_RESPONSE_FAILURE, 0, 0, 0, 0);
    g_assert_cmpint(request_page(&d, 1, 0), ==, -EPERM);
    qtest_quit(d.qts);

    start_dev(&d, ",pri=off");
    g_assert_cmphex(d.pri, ==, 0);
    g_assert_cmpint(request_page(&d, QATD_NO_PASID, 0), ==, -EPERM);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_PRI, QATD_NO_PASID, 0, 0,
                                 0), ==, -EPERM);
    qtest_quit(d.qts);
}

/* 7.8.8.3: no PASID prefix, and no flags in it, unless they are enabled */
static void test_eperm_pasid(void)
{
    static const uint64_t flags[] = { ATD_FLAG_EXEC, ATD_FLAG_PRIV };
    static const uint16_t bits[] = { PCI_PASID_CTRL_EXEC, PCI_PASID_CTRL_PRIV };
    QATD d;
    int i;

    start_dev(&d, "");
    qatd_enable_all(&d, 1);
    writew(&d, d.pasid + PCI_PASID_CTRL, 0);
    g_assert_cmpint(translate(&d, 1, 1, 0, 1), ==, -EPERM);
    g_assert_cmpint(request_page(&d, 1, 0), ==, -EPERM);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_PRI, 1, 0, 0, 0), ==,
                    -EPERM);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_DMA_READ, 1, 0, 4, 0), !=, 0);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_SVM_READ, 1, 0, 4, 0), ==, -EPERM);
    /* Requests without PASID are not affected */
    g_assert_cmpint(translate(&d, QATD_NO_PASID, 1, 0, 1), ==, -ENODEV);

    for (i = 0; i < ARRAY_SIZE(flags); i++) {
        writew(&d, d.pasid + PCI_PASID_CTRL,
               PCI_PASID_CTRL_ENABLE | bits[!i]);
        g_assert_cmpint(translate(&d, 1, 1, flags[i], 1), ==, -EPERM);
        g_assert_cmpint(translate(&d, 1, 1, flags[!i], 1), ==, -ENODEV);
        g_assert_cmpint(request_page(&d, 1, flags[i]), ==, -EPERM);
        g_assert_cmpint(request_page(&d, 1, flags[!i]), ==, -ENODEV);
        /* 6.20.2: both are fields of the prefix */
        g_assert_cmpint(translate(&d, QATD_NO_PASID, 1, flags[!i], 1), ==,
                        -EPERM);
        g_assert_cmpint(request_page(&d, QATD_NO_PASID, flags[!i]), ==,
                        -EPERM);
    }
    qtest_quit(d.qts);
}

/* 7.5.1.1.3: no requests without Bus Master Enable */
static void test_eperm_bus_master(void)
{
    QATD d;

    start_dev(&d, "");
    qatd_enable_all(&d, 1);
    writew(&d, PCI_COMMAND, PCI_COMMAND_MEMORY);
    g_assert_cmpint(translate(&d, QATD_NO_PASID, 1, 0, 1), ==, -EPERM);
    g_assert_cmpint(request_page(&d, QATD_NO_PASID, 0), ==, -EPERM);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_PRI, 1, 0, 0, 0), ==,
                    -EPERM);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_SVM_READ, QATD_NO_PASID, 0, 4, 0),
                    ==, -EPERM);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_DMA_READ, QATD_NO_PASID, 0, 4, 0),
                    !=, 0);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_DMA_READ, 1, 0, 4, 0), !=, 0);
    qtest_quit(d.qts);
}

/* Arguments that do not fit into a request */
static void test_einval(void)
{
    QATDResult r[1];
    QATD d;

    start_dev(&d, ",pasid-width=8");
    qatd_enable_all(&d, 1);
    g_assert_cmpint(translate(&d, 1, 0, 0, 1), ==, -EINVAL);
    g_assert_cmpint(qatd_translate(&d, 1, UINT64_MAX, 1, 0, r, 1), ==, -ENODEV);
    g_assert_cmpint(qatd_translate(&d, 1, UINT64_MAX, 2, 0, r, 1), ==, -EINVAL);
    g_assert_cmpint(qatd_translate(&d, 1, 1, UINT64_MAX, 0, r, 1), ==, -ENODEV);
    g_assert_cmpint(qatd_translate(&d, 1, 2, UINT64_MAX, 0, r, 1), ==, -EINVAL);
    g_assert_cmpint(translate(&d, 1, 1, 0, 0), ==, -ENOSPC);
    /* 6.20: a PASID wider than Max PASID Width */
    g_assert_cmpint(translate(&d, 0xff, 1, 0, 1), ==, -ENODEV);
    g_assert_cmpint(translate(&d, 0x100, 1, 0, 1), ==, -EINVAL);
    g_assert_cmpint(request_page(&d, 0x100, 0), ==, -EINVAL);
    /* 10.4.1: the PRG index has nine bits */
    g_assert_cmpint(qatd_page_request(&d, 1, 0, 0x1ff, ATD_FLAG_READ), ==,
                    -ENODEV);
    g_assert_cmpint(qatd_page_request(&d, 1, 0, 0x200, ATD_FLAG_READ), ==,
                    -EINVAL);
    /* 10.4.1.2.1: only a Stop Marker has neither read nor write set */
    g_assert_cmpint(qatd_page_request(&d, 1, 0, 1, ATD_FLAG_LAST), ==,
                    -ENODEV);
    g_assert_cmpint(qatd_page_request(&d, 1, 0, 1, 0), ==, -EINVAL);
    g_assert_cmpint(qatd_page_request(&d, QATD_NO_PASID, 0, 1, ATD_FLAG_LAST),
                    ==, -EINVAL);
    qtest_quit(d.qts);
}

/* An invalid command ends, also in the thread of the device */
static void test_invalid_command(void)
{
    static const unsigned commands[] = { 0, 1000 };
    QATD d;
    int i;

    start_dev(&d, "");
    for (i = 0; i < ARRAY_SIZE(commands); i++) {
        g_assert_cmpint(qatd_command(&d, commands[i], 1, 0, 0, 0), ==, -EINVAL);
        g_assert_cmpint(qatd_command(&d, commands[i], 1, 0, 0,
                                     ATD_FLAG_THREAD), ==, -EINVAL);
    }
    qtest_quit(d.qts);
}

/* Notifiers, with an IOMMU that supports them */
static void test_notifiers(void)
{
    QTestState *qts = start("-device intel-iommu,device-iotlb=on "
                            "-device pci-ats-testdev,addr=4,pasid-width=8");
    QATD d;
    int i;

    qatd_init(&d, qts, DEV_BDF, 0);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_IOTLB_INFO, 0, 0, 0, 0), ==, 0);
    g_assert_cmpint(qatd_read(&d, ATD_MIN_PAGE_SIZE), ==, 4096);
    g_assert_cmpint(qatd_read(&d, ATD_ADDR_WIDTH), >=, 39);

    /*
     * 7.8.8.3: a PASID must be enabled; a notifier without PASID needs no ATS
     */
    g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_IOTLB, 1, 0, 0, 0), ==,
                    -EPERM);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_IOTLB, QATD_NO_PASID, 0,
                                 0, 0), ==, 0);
    qatd_enable_all(&d, 1);
    /* 6.20: Max PASID Width */
    g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_IOTLB, 0x100, 0, 0, 0),
                    ==, -EINVAL);
    /* Register some in a thread without the BQL */
    for (i = 0; i < 20; i++) {
        g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_IOTLB, 0xff - i, 0, 0,
                                     i & 1 ? ATD_FLAG_THREAD : 0), ==, 0);
    }
    /* Unregistering works after PASID has been disabled */
    writew(&d, d.pasid + PCI_PASID_CTRL, 0);
    for (i = 0; i < 20; i++) {
        g_assert_cmpint(qatd_command(&d, ATD_CMD_UNREGISTER_IOTLB, 0xff - i, 0,
                                     0, i & 2 ? ATD_FLAG_THREAD : 0), ==, 0);
    }
    qtest_quit(qts);
}

/* An IOMMU without device-TLBs does not support translation requests */
static void test_no_device_iotlb(void)
{
    QTestState *qts = start("-device intel-iommu "
                            "-device pci-ats-testdev,addr=4");
    QATDResult r[1];
    QATD d;

    qatd_init(&d, qts, DEV_BDF, 0);
    qatd_enable_all(&d, 1);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_IOTLB_INFO, 0, 0, 0, 0), ==,
                    -ENODEV);
    g_assert_cmpint(qatd_translate(&d, QATD_NO_PASID, 0, 1, 0, r, 1), ==,
                    -ENODEV);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_IOTLB, QATD_NO_PASID, 0,
                                 0, 0), ==, -ENODEV);
    /* Requests are sent untranslated instead */
    qtest_writel(qts, d.data, 0x1234);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_SVM_WRITE, QATD_NO_PASID,
                                 0x100000, 4, 0), ==, 0);
    g_assert_cmphex(qtest_readl(qts, 0x100000), ==, 0x1234);
    qtest_quit(qts);
}

/* DMA without IOMMU */
static void test_dma_no_iommu(void)
{
    static const unsigned modes[] = { 0, ATD_FLAG_THREAD, ATD_FLAG_ASYNC };
    QATD d;
    int i;

    start_dev(&d, "");
    qatd_enable_all(&d, 1);
    for (i = 0; i < ARRAY_SIZE(modes); i++) {
        qtest_writel(d.qts, d.data, 0x1000 + i);
        g_assert_cmpint(qatd_command(&d, ATD_CMD_SVM_WRITE, QATD_NO_PASID,
                                     0x100000, 4, modes[i]), ==, 0);
        g_assert_cmphex(qtest_readl(d.qts, 0x100000), ==, 0x1000 + i);
        qtest_writel(d.qts, 0x100000, 0x2000 + i);
        g_assert_cmpint(qatd_command(&d, ATD_CMD_SVM_READ, QATD_NO_PASID,
                                     0x100000, 4, modes[i]), ==, 0);
        g_assert_cmphex(qtest_readl(d.qts, d.data), ==, 0x2000 + i);
        /* No address space has a PASID */
        g_assert_cmpint(qatd_command(&d, ATD_CMD_SVM_READ, 1, 0x100000, 4,
                                     modes[i]), ==, -EFAULT);
        g_assert_cmpint(qatd_command(&d, ATD_CMD_SVM_READ, QATD_NO_PASID,
                                     UINT64_MAX, 2, modes[i]), ==, -EINVAL);
    }
    qtest_quit(d.qts);
}

/* A conventional bus has no extended configuration space (7.8) */
static void test_conventional_bus(void)
{
    QTestState *qts = start("-device pcie-pci-bridge,id=br,addr=5 "
                            "-device pci-ats-testdev,bus=br,addr=1");
    QATD d;

    qecam_setup_bridge(qts, PORT_BDF, 1, 1);
    qatd_init(&d, qts, QATD_BDF(1, 1, 0), 0);
    g_assert_cmphex(d.ats | d.pasid | d.pri, ==, 0);
    g_assert_cmpint(translate(&d, QATD_NO_PASID, 1, 0, 1), ==, -EPERM);
    g_assert_cmpint(request_page(&d, QATD_NO_PASID, 0), ==, -EPERM);
    qtest_writel(qts, d.data, 0x1234);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_SVM_WRITE, QATD_NO_PASID,
                                 0x100000, 4, 0), ==, 0);
    g_assert_cmphex(qtest_readl(qts, 0x100000), ==, 0x1234);
    qtest_quit(qts);
}

/* Unplug a device while a command is in progress */
static void test_unplug(void)
{
    QATD d;

    start_below_port(&d, "");
    qatd_enable_all(&d, 1);
    qatd_start(&d, ATD_CMD_SVM_READ, QATD_NO_PASID, 0x100000, 0x10000,
               ATD_FLAG_ASYNC);
    qecam_unplug(d.qts, "dev");
    qtest_quit(d.qts);
}

/* docs/specs/pci-ats-testdev.rst: read-write and read-only registers */
static void test_device_registers(void)
{
    static const uint16_t read_write[] = {
        ATD_PASID, ATD_ADDR, ATD_LENGTH, ATD_FLAGS, ATD_PRGI, ATD_MAX_RESULTS,
        ATD_REPEAT, ATD_STEP, ATD_INV_INDEX, ATD_RESP_INDEX,
    };
    static const uint16_t read_only_zero[] = {
        ATD_OUTSTANDING, ATD_RESP_COUNT, ATD_RESP_PASID, ATD_RESP_PRGI,
        ATD_RESP_CODE, ATD_ATC_ENTRIES, ATD_ATC_HITS, ATD_ATC_MISSES,
        ATD_ATC_INVALIDATIONS, ATD_NANOSECONDS, 0x7f8,
    };
    QATD d;
    int i;

    start_dev(&d, "");
    for (i = 0; i < ARRAY_SIZE(read_write); i++) {
        qatd_write(&d, read_write[i], 0x120 + i);
        g_assert_cmphex(qatd_read(&d, read_write[i]), ==, 0x120 + i);
    }
    for (i = 0; i < ARRAY_SIZE(read_only_zero); i++) {
        qatd_write(&d, read_only_zero[i], 1);
        g_assert_cmphex(qatd_read(&d, read_only_zero[i]), ==, 0);
    }
    qtest_quit(d.qts);
}

static unsigned written_words(QATD *d)
{
    unsigned n = 0;

    for (uint64_t addr = 0x100000; addr < 0x110000; addr += 0x1000) {
        n += qtest_readl(d->qts, addr) == 0x1234;
        qtest_writel(d->qts, addr, 0);
    }
    return n;
}

/* Commands are repeated in the thread only, until one fails */
static void test_device_repeat(void)
{
    QATD d;

    start_dev(&d, "");
    qtest_writel(d.qts, d.data, 0x1234);
    qatd_write(&d, ATD_REPEAT, 5);
    qatd_write(&d, ATD_STEP, 0x1000);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_SVM_WRITE, QATD_NO_PASID,
                                 0x100000, 4, 0), ==, 0);
    g_assert_cmpuint(written_words(&d), ==, 1);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_SVM_WRITE, QATD_NO_PASID,
                                 0x100000, 4, ATD_FLAG_THREAD), ==, 0);
    g_assert_cmpuint(written_words(&d), ==, 5);
    /* The address of the second command wraps */
    qatd_write(&d, ATD_STEP, UINT64_MAX - 1 - 0x100000);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_SVM_WRITE, QATD_NO_PASID,
                                 0x100000, 4, ATD_FLAG_THREAD), ==, -EINVAL);
    g_assert_cmpuint(written_words(&d), ==, 1);
    qtest_quit(d.qts);
}

/* A second command does not affect the first; unplugging ends that */
static void test_device_busy(void)
{
    QATD d;

    start_below_port(&d, "");
    qatd_write(&d, ATD_REPEAT, UINT64_MAX);
    qatd_start(&d, ATD_CMD_SVM_READ, QATD_NO_PASID, 0x100000, 4,
               ATD_FLAG_THREAD);
    qtest_writel(d.qts, 0x200000, 0);
    qtest_writel(d.qts, d.data, 0x1234);
    qatd_start(&d, ATD_CMD_DMA_WRITE, QATD_NO_PASID, 0x200000, 4, 0);
    g_assert_cmpuint(qatd_read(&d, ATD_BUSY), ==, 1);
    g_assert_cmphex(qtest_readl(d.qts, 0x200000), ==, 0);
    qecam_unplug(d.qts, "dev");
    qtest_quit(d.qts);
}

/* Commands that do not exist, or are not possible */
static void test_device_commands(void)
{
    static const unsigned dma[] = {
        ATD_CMD_DMA_READ, ATD_CMD_DMA_WRITE, ATD_CMD_SVM_READ,
        ATD_CMD_SVM_WRITE,
    };
    QATD d;
    int i;

    start_dev(&d, "");
    g_assert_cmpint(qatd_command(&d, 99, 0, 0, 0, 0), ==, -EINVAL);
    for (i = 0; i < ARRAY_SIZE(dma); i++) {
        g_assert_cmpint(qatd_command(&d, dma[i], QATD_NO_PASID, 0x100000,
                                     ATD_BUFFER_SIZE + 1, 0), ==, -E2BIG);
    }
    g_assert_cmpint(qatd_command(&d, ATD_CMD_UNREGISTER_IOTLB, 1, 0, 0, 0), ==,
                    -ENOENT);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_UNREGISTER_PRI, 1, 0, 0, 0), ==,
                    -ENOENT);
    qtest_quit(d.qts);

    start_dev(&d, ",pri=off");
    g_assert_cmpint(qatd_command(&d, ATD_CMD_RESPONSE_FAILURE, 0, 0, 0, 0), ==,
                    -ENODEV);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_UNEXPECTED_PRGI, 0, 0, 0, 0), ==,
                    -ENODEV);
    qtest_quit(d.qts);
}

static void test_device_properties(void)
{
    QTestState *qts = start("-device pcie-root-port,id=rp,addr=5,chassis=1");
    QDict *error;

    error = qtest_qmp_assert_failure_ref(qts, "{ 'execute': 'device_add', "
        "'arguments': { 'driver': 'pci-ats-testdev', 'bus': 'rp', "
        "'pasid-width': 21 } }");
    g_assert_cmpstr(qdict_get_str(error, "desc"), ==,
                    "pasid-width must be at most 20");
    qobject_unref(error);
    qtest_quit(qts);
}

/* The device is limited in its listeners, and migrates them */
static void test_device_listeners(void)
{
    g_autofree char *path = NULL;
    const char *args = "-M q35 -nodefaults -device intel-iommu,device-iotlb=on "
                       "-device pci-ats-testdev,addr=4";
    QATD d;
    int i;

    d.qts = qtest_init(args);
    qecam_enable(d.qts);
    qatd_init(&d, d.qts, DEV_BDF, 0);
    qatd_enable_all(&d, 1);
    for (i = 0; i < ATD_LISTENERS; i++) {
        g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_IOTLB, i, 0, 0, 0),
                        ==, 0);
    }
    g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_IOTLB, i, 0, 0, 0), ==,
                    -ENOMEM);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_IOTLB, 0, 0, 0, 0), ==,
                    -EEXIST);
    /* The listener has only one kind of notifier */
    g_assert_cmpint(qatd_command(&d, ATD_CMD_UNREGISTER_PRI, 0, 0, 0, 0), ==,
                    -ENOENT);
    path = qatd_save_machine(d.qts);

    d.qts = qtest_initf("%s -incoming defer", args);
    qatd_load_machine(d.qts, path);
    for (i = 0; i < ATD_LISTENERS; i++) {
        g_assert_cmpint(qatd_command(&d, ATD_CMD_UNREGISTER_IOTLB, i, 0, 0, 0),
                        ==, 0);
    }
    qtest_quit(d.qts);
}

/* Each kind of notifier is registered and unregistered independently */
static void test_device_listener_kinds(void)
{
    QATD d;

    d.qts = start("-device intel-iommu,svm=on -device pci-ats-testdev,addr=4");
    qatd_init(&d, d.qts, DEV_BDF, 0);
    qatd_enable_all(&d, 1);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_PRI, 1, 0, 0, 0), ==, 0);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_PRI, 1, 0, 0, 0), ==,
                    -EEXIST);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_UNREGISTER_IOTLB, 1, 0, 0, 0), ==,
                    -ENOENT);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_IOTLB, 1, 0, 0, 0), ==,
                    0);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_UNREGISTER_PRI, 1, 0, 0, 0), ==,
                    0);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_UNREGISTER_PRI, 1, 0, 0, 0), ==,
                    -ENOENT);
    g_assert_cmpint(qatd_command(&d, ATD_CMD_UNREGISTER_IOTLB, 1, 0, 0, 0), ==,
                    0);
    qtest_quit(d.qts);
}

/* Unplug a device with registered notifiers */
static void test_unplug_listening(void)
{
    QATD d;

    start_below_port(&d, "-device intel-iommu,device-iotlb=on");
    g_assert_cmpint(qatd_command(&d, ATD_CMD_REGISTER_IOTLB, QATD_NO_PASID, 0,
                                 0, 0), ==, 0);
    qecam_unplug(d.qts, "dev");
    qtest_quit(d.qts);
}

/*
 * A thread writes to ROM by DMA. It must not wait for the BQL: a vCPU that
 * writes to configuration space holds the BQL while it waits for the thread.
 */
static void test_thread_rom(void)
{
    QATD d;

    start_dev(&d, "");
    for (int i = 0; i < 100; i++) {
        qatd_write(&d, ATD_REPEAT, UINT64_MAX);
        qatd_start(&d, ATD_CMD_DMA_WRITE, QATD_NO_PASID, 0xfffff000, 4096,
                   ATD_FLAG_THREAD);
        writew(&d, PCI_COMMAND, PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
        g_assert_cmpint(qatd_wait(&d), !=, 0);
    }
    qtest_quit(d.qts);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pci-ats/pasid/capability", test_pasid_capability);
    qtest_add_func("/pci-ats/pasid/enables", test_pasid_enables);
    qtest_add_func("/pci-ats/ats/enables", test_ats_enables);
    qtest_add_func("/pci-ats/bus-master", test_bus_master);
    qtest_add_func("/pci-ats/pri/capability", test_pri_capability);
    qtest_add_func("/pci-ats/pri/response-pasid", test_pri_response_pasid);
    qtest_add_func("/pci-ats/pri/enable", test_pri_enable);
    qtest_add_func("/pci-ats/pri/rw1c", test_pri_rw1c);
    qtest_add_func("/pci-ats/pri/enable-clears-status",
                   test_pri_enable_clears_status);
    qtest_add_func("/pci-ats/reset/flr", test_flr);
    qtest_add_func("/pci-ats/reset/hot", test_hot_reset);
    qtest_add_func("/pci-ats/reset/system", test_system_reset);
    qtest_add_func("/pci-ats/migration", test_migration);
    qtest_add_func("/pci-ats/error/no-iommu", test_no_iommu);
    qtest_add_func("/pci-ats/error/ats-disabled", test_eperm_ats);
    qtest_add_func("/pci-ats/error/pri-disabled", test_eperm_pri);
    qtest_add_func("/pci-ats/error/pasid-disabled", test_eperm_pasid);
    qtest_add_func("/pci-ats/error/bus-master-disabled", test_eperm_bus_master);
    qtest_add_func("/pci-ats/error/invalid-arguments", test_einval);
    qtest_add_func("/pci-ats/error/invalid-command", test_invalid_command);
    if (qtest_has_device("intel-iommu")) {
        qtest_add_func("/pci-ats/notifiers", test_notifiers);
        qtest_add_func("/pci-ats/error/no-device-iotlb", test_no_device_iotlb);
    }
    qtest_add_func("/pci-ats/dma/no-iommu", test_dma_no_iommu);
    qtest_add_func("/pci-ats/topology/conventional-bus", test_conventional_bus);
    qtest_add_func("/pci-ats/unplug", test_unplug);
    qtest_add_func("/pci-ats/device/registers", test_device_registers);
    qtest_add_func("/pci-ats/device/repeat", test_device_repeat);
    qtest_add_func("/pci-ats/device/busy", test_device_busy);
    qtest_add_func("/pci-ats/device/commands", test_device_commands);
    qtest_add_func("/pci-ats/device/properties", test_device_properties);
    qtest_add_func("/pci-ats/device/thread-rom", test_thread_rom);
    if (qtest_has_device("intel-iommu")) {
        qtest_add_func("/pci-ats/device/listeners", test_device_listeners);
        qtest_add_func("/pci-ats/device/listener-kinds",
                       test_device_listener_kinds);
        qtest_add_func("/pci-ats/unplug-listening", test_unplug_listening);
    }

    return g_test_run();
}
