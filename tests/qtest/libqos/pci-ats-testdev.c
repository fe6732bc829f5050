/*
 * libqos driver for pci-ats-testdev, and for PCIe topologies on q35
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/pci_regs.h"
#include "pci-ats-testdev.h"

#define ECAM_BASE       0xb0000000
#define Q35_PCIEXBAR    0x60
/* The window of all BARs, which every bridge forwards */
#define WINDOW_BASE     0xd0000000
#define WINDOW_LIMIT    0xdfffffff
#define BAR_STRIDE      0x00080000

void qecam_enable(QTestState *qts)
{
    qtest_outl(qts, 0xcf8, 0x80000000 | (Q35_PCIEXBAR + 4));
    qtest_outl(qts, 0xcfc, 0);
    qtest_outl(qts, 0xcf8, 0x80000000 | Q35_PCIEXBAR);
    qtest_outl(qts, 0xcfc, ECAM_BASE | 1);
}

uint64_t qecam_address(uint16_t bdf, uint16_t reg)
{
    return ECAM_BASE + ((uint64_t)bdf << 12) + reg;
}

uint8_t qecam_readb(QTestState *qts, uint16_t bdf, uint16_t reg)
{
    return qtest_readb(qts, qecam_address(bdf, reg));
}

uint16_t qecam_readw(QTestState *qts, uint16_t bdf, uint16_t reg)
{
    return qtest_readw(qts, qecam_address(bdf, reg));
}

uint32_t qecam_readl(QTestState *qts, uint16_t bdf, uint16_t reg)
{
    return qtest_readl(qts, qecam_address(bdf, reg));
}

void qecam_writeb(QTestState *qts, uint16_t bdf, uint16_t reg, uint8_t val)
{
    qtest_writeb(qts, qecam_address(bdf, reg), val);
}

void qecam_writew(QTestState *qts, uint16_t bdf, uint16_t reg, uint16_t val)
{
    qtest_writew(qts, qecam_address(bdf, reg), val);
}

void qecam_writel(QTestState *qts, uint16_t bdf, uint16_t reg, uint32_t val)
{
    qtest_writel(qts, qecam_address(bdf, reg), val);
}

uint8_t qecam_cap(QTestState *qts, uint16_t bdf, uint8_t id)
{
    uint8_t pos = qecam_readb(qts, bdf, PCI_CAPABILITY_LIST);

    while (pos && qecam_readb(qts, bdf, pos) != id) {
        pos = qecam_readb(qts, bdf, pos + PCI_CAP_LIST_NEXT);
    }
    g_assert_cmphex(pos, !=, 0);
    return pos;
}

void qecam_suspend(QTestState *qts)
{
    const uint16_t lpc = QATD_BDF(0, 31, 0);

    /* Firmware enables ACPI before a guest can suspend */
    qecam_writel(qts, lpc, 0x40, 0x600 | 1);    /* PMBASE */
    qecam_writeb(qts, lpc, 0x44, 0x80);         /* ACPI_CNTL: ACPI_EN */
    qtest_outw(qts, 0x604, 1 << 13 | 1 << 10);  /* PM1_CNT: SLP_EN, S3 */
    qtest_qmp_eventwait(qts, "SUSPEND");
}

void qecam_plug_while_suspended(QTestState *qts, const char *driver,
                                const char *id)
{
    qecam_suspend(qts);
    qtest_qmp_device_add(qts, driver, id, "{ 'bus': 'rp' }");
    qtest_qmp_assert_success(qts, "{ 'execute': 'system_wakeup' }");
    qtest_qmp_eventwait(qts, "WAKEUP");
    qecam_enable(qts);
}

void qecam_unplug(QTestState *qts, const char *id)
{
    qtest_qmp_device_del_send(qts, id);
    qtest_system_reset_nowait(qts);
    qtest_qmp_eventwait(qts, "DEVICE_DELETED");
}

uint16_t qecam_ext_cap(QTestState *qts, uint16_t bdf, uint16_t id)
{
    uint16_t pos = 0x100;

    while (pos) {
        uint32_t header = qecam_readl(qts, bdf, pos);

        if (!header || header == UINT32_MAX) {
            return 0;
        }
        if (PCI_EXT_CAP_ID(header) == id) {
            return pos;
        }
        pos = PCI_EXT_CAP_NEXT(header);
    }
    return 0;
}

void qecam_enable_ats(QTestState *qts, uint16_t bdf, uint16_t pasid_ctrl,
                      uint32_t pri_alloc)
{
    uint16_t ats = qecam_ext_cap(qts, bdf, PCI_EXT_CAP_ID_ATS);
    uint16_t pasid = qecam_ext_cap(qts, bdf, PCI_EXT_CAP_ID_PASID);
    uint16_t pri = qecam_ext_cap(qts, bdf, PCI_EXT_CAP_ID_PRI);

    g_assert_cmphex(ats, !=, 0);
    g_assert_cmphex(pasid, !=, 0);
    g_assert_cmphex(pri, !=, 0);
    /* PASID must not be changed while ATS is enabled (PCIe 5.0, 7.8.8.3) */
    qecam_writew(qts, bdf, pasid + PCI_PASID_CTRL,
                 PCI_PASID_CTRL_ENABLE | pasid_ctrl);
    qecam_writel(qts, bdf, pri + PCI_PRI_ALLOC_REQ, pri_alloc);
    qecam_writew(qts, bdf, pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    qecam_writew(qts, bdf, ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
}

void qecam_enable_msi(QTestState *qts, uint16_t bdf, uint64_t addr,
                      uint16_t data)
{
    uint8_t msi = qecam_cap(qts, bdf, PCI_CAP_ID_MSI);

    qecam_writel(qts, bdf, msi + PCI_MSI_ADDRESS_LO, addr);
    qecam_writel(qts, bdf, msi + PCI_MSI_ADDRESS_HI, addr >> 32);
    qecam_writew(qts, bdf, msi + PCI_MSI_DATA_64, data);
    qecam_writew(qts, bdf, msi + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE);
}

void qecam_setup_bridge(QTestState *qts, uint16_t bdf, uint8_t secondary,
                        uint8_t subordinate)
{
    qecam_writeb(qts, bdf, PCI_PRIMARY_BUS, bdf >> 8);
    qecam_writeb(qts, bdf, PCI_SECONDARY_BUS, secondary);
    qecam_writeb(qts, bdf, PCI_SUBORDINATE_BUS, subordinate);
    qecam_writew(qts, bdf, PCI_MEMORY_BASE, WINDOW_BASE >> 16);
    qecam_writew(qts, bdf, PCI_MEMORY_LIMIT, WINDOW_LIMIT >> 16);
    qecam_writew(qts, bdf, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

void qatd_init(QATD *d, QTestState *qts, uint16_t bdf, unsigned index)
{
    d->qts = qts;
    d->bdf = bdf;
    g_assert_cmphex(qecam_readl(qts, bdf, PCI_VENDOR_ID), ==,
                    ATD_DEVICE_ID << 16 | 0x1234);

    d->regs = WINDOW_BASE + index * BAR_STRIDE;
    d->data = d->regs + BAR_STRIDE / 2;
    qecam_writel(qts, bdf, PCI_BASE_ADDRESS_0, d->regs);
    qecam_writel(qts, bdf, PCI_BASE_ADDRESS_1, 0);
    qecam_writel(qts, bdf, PCI_BASE_ADDRESS_2, d->data);
    qecam_writel(qts, bdf, PCI_BASE_ADDRESS_3, 0);
    qecam_writew(qts, bdf, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);

    d->ats = qecam_ext_cap(qts, bdf, PCI_EXT_CAP_ID_ATS);
    d->pasid = qecam_ext_cap(qts, bdf, PCI_EXT_CAP_ID_PASID);
    d->pri = qecam_ext_cap(qts, bdf, PCI_EXT_CAP_ID_PRI);
    g_assert_cmphex(qatd_read(d, ATD_ID), ==, ATD_ID_VALUE);
}

void qatd_enable_all(QATD *d, uint32_t pri_alloc)
{
    /* PASID must not be changed while ATS is enabled (PCIe 5.0, 7.8.8.3) */
    if (d->pasid) {
        qecam_writew(d->qts, d->bdf, d->pasid + PCI_PASID_CTRL,
                     PCI_PASID_CTRL_ENABLE | PCI_PASID_CTRL_EXEC |
                     PCI_PASID_CTRL_PRIV);
    }
    if (d->pri) {
        qecam_writel(d->qts, d->bdf, d->pri + PCI_PRI_ALLOC_REQ, pri_alloc);
        qecam_writew(d->qts, d->bdf, d->pri + PCI_PRI_CTRL,
                     PCI_PRI_CTRL_ENABLE);
    }
    if (d->ats) {
        qecam_writew(d->qts, d->bdf, d->ats + PCI_ATS_CTRL,
                     PCI_ATS_CTRL_ENABLE);
    }
}

uint64_t qatd_read(QATD *d, unsigned reg)
{
    return qtest_readq(d->qts, d->regs + reg);
}

void qatd_write(QATD *d, unsigned reg, uint64_t val)
{
    qtest_writeq(d->qts, d->regs + reg, val);
}

void qatd_start(QATD *d, unsigned command, uint32_t pasid, uint64_t addr,
                uint64_t length, uint64_t flags)
{
    qatd_write(d, ATD_PASID, pasid);
    qatd_write(d, ATD_ADDR, addr);
    qatd_write(d, ATD_LENGTH, length);
    qatd_write(d, ATD_FLAGS, flags);
    qatd_write(d, ATD_COMMAND, command);
}

int64_t qatd_wait(QATD *d)
{
    int64_t deadline = g_get_monotonic_time() + 10 * G_USEC_PER_SEC;

    while (qatd_read(d, ATD_BUSY)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(100);
    }
    return qatd_read(d, ATD_RETURN);
}

int64_t qatd_command(QATD *d, unsigned command, uint32_t pasid, uint64_t addr,
                     uint64_t length, uint64_t flags)
{
    qatd_start(d, command, pasid, addr, length, flags);
    return qatd_wait(d);
}

int64_t qatd_translate(QATD *d, uint32_t pasid, uint64_t addr, uint64_t length,
                       uint64_t flags, QATDResult *results, size_t max_results)
{
    int64_t ret, n;
    int i;

    qatd_write(d, ATD_MAX_RESULTS, max_results);
    ret = qatd_command(d, ATD_CMD_TRANSLATE, pasid, addr, length, flags);
    n = ret == -ENOMEM ? (int64_t)max_results : MAX(ret, 0);
    for (i = 0; i < n; i++) {
        uint64_t p = d->data + ATD_RESULTS_OFFSET + i * ATD_RESULT_SIZE;

        results[i].iova = qtest_readq(d->qts, p);
        results[i].translated_addr = qtest_readq(d->qts, p + 8);
        results[i].addr_mask = qtest_readq(d->qts, p + 16);
        results[i].perm = qtest_readl(d->qts, p + 24);
        results[i].pasid = qtest_readl(d->qts, p + 28);
    }
    return ret;
}

int64_t qatd_page_request(QATD *d, uint32_t pasid, uint64_t addr,
                          uint16_t prgi, uint64_t flags)
{
    qatd_write(d, ATD_PRGI, prgi);
    return qatd_command(d, ATD_CMD_PAGE_REQUEST, pasid, addr, 0, flags);
}

/* Wait for the end of a migration, and return its status */
static char *migration_end(QTestState *qts)
{
    char *end = NULL;

    while (!end) {
        QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-migrate' }");
        const char *status = qdict_get_try_str(qdict_get_qdict(rsp, "return"),
                                               "status");

        if (!g_strcmp0(status, "completed") || !g_strcmp0(status, "failed")) {
            end = g_strdup(status);
        }
        qobject_unref(rsp);
        g_usleep(1000);
    }
    return end;
}

char *qatd_temporary_file(void)
{
    char *path = NULL;
    int fd = g_file_open_tmp("qtest-XXXXXX", &path, NULL);

    g_assert_cmpint(fd, >=, 0);
    close(fd);
    return path;
}

char *qatd_save_machine(QTestState *qts)
{
    char *path = qatd_temporary_file();
    g_autofree char *uri = g_strdup_printf("file:%s", path);
    g_autofree char *end = NULL;

    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate', "
                             "'arguments': { 'uri': %s } }", uri);
    end = migration_end(qts);
    g_assert_cmpstr(end, ==, "completed");
    qtest_quit(qts);
    return path;
}

char *qatd_try_load_machine(QTestState *qts, const char *path)
{
    g_autofree char *uri = g_strdup_printf("file:%s", path);

    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate-incoming', "
                             "'arguments': { 'uri': %s, "
                             "'exit-on-error': false } }", uri);
    return migration_end(qts);
}

void qatd_expect_load(const char *args, const char *path, const char *stream,
                      size_t len, const char *expected)
{
    QTestState *qts = qtest_init(args);
    g_autofree char *end = NULL;

    g_assert_true(g_file_set_contents(path, stream, len, NULL));
    end = qatd_try_load_machine(qts, path);
    g_assert_cmpstr(end, ==, expected);
    qtest_quit(qts);
}

void qatd_load_machine(QTestState *qts, const char *path)
{
    g_autofree char *uri = g_strdup_printf("file:%s", path);

    qtest_qmp_assert_success(qts, "{ 'execute': 'migrate-incoming', "
                             "'arguments': { 'uri': %s } }", uri);
    qtest_qmp_eventwait(qts, "RESUME");
    unlink(path);
}

/* Wait for the end of the job; returns whether it has succeeded */
static bool finish_job(QTestState *qts)
{
    bool concluded = false, failed = false;

    while (!concluded) {
        QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-jobs' }");
        QList *jobs = qdict_get_qlist(rsp, "return");
        QDict *job = qobject_to(QDict, qlist_peek(jobs));

        failed = qdict_haskey(job, "error");
        concluded = g_str_equal(qdict_get_str(job, "status"), "concluded");
        qobject_unref(rsp);
        g_usleep(1000);
    }
    qtest_qmp_assert_success(qts, "{ 'execute': 'job-dismiss', "
                             "'arguments': { 'id': 'job' } }");
    return !failed;
}

void qatd_attach_snapshot_disk(QTestState *qts, const char *path)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-add', 'arguments': "
                             "{ 'driver': 'qcow2', 'node-name': 'disk', "
                             "'file': { 'driver': 'file', 'filename': %s } } }",
                             path);
}

void qatd_add_snapshot_disk(QTestState *qts, const char *path)
{
    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-add', 'arguments': "
                             "{ 'driver': 'file', 'node-name': 'file', "
                             "'filename': %s } }", path);
    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-create', "
                             "'arguments': { 'job-id': 'job', 'options': "
                             "{ 'driver': 'qcow2', 'file': 'file', "
                             "'size': 1048576 } } }");
    g_assert_true(finish_job(qts));
    qtest_qmp_assert_success(qts, "{ 'execute': 'blockdev-del', "
                             "'arguments': { 'node-name': 'file' } }");
    qatd_attach_snapshot_disk(qts, path);
}

bool qatd_try_snapshot(QTestState *qts, const char *command)
{
    qtest_qmp_assert_success(qts, "{ 'execute': %s, 'arguments': "
                             "{ 'job-id': 'job', 'tag': 'one', "
                             "'vmstate': 'disk', 'devices': [ 'disk' ] } }",
                             command);
    return finish_job(qts);
}

void qatd_snapshot(QTestState *qts, const char *command)
{
    g_assert_true(qatd_try_snapshot(qts, command));
}
