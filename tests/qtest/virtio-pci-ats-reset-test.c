/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-pci's "ats" property: resets, hot-unplug and migration
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * The test acts as the guest: it programs the ATS capability (PCIe 5.0,
 * 10.5.1) and the IOMMU. The device is a vhost-user device whose back-end is
 * part of the test, too, and caches translations; those that are left after an
 * invalidation show which invalidations reach the back-end.
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "hw/pci/pci_regs.h"
#include "virtio-pci-ats-common.h"

/* Resets: PCIe 5.0, 10.5.1.3 with 6.6: Enable and STU are reset to 0 */

static void check_reset(AtsGuest *g)
{
    g_assert_cmphex(qtest_readw(g->qts, ats_ctrl(g)), ==, 0);
    ats_driver_forget(g);
    ats_driver_start(g);
    ats_check(g, false);
    ats_set(g, true);
    ats_check(g, true);
}

static AtsGuest *guest_new_enabled(void)
{
    AtsGuest *g = ats_guest_new_vtd(1);

    qtest_writew(g->qts, ats_ctrl(g), PCI_ATS_CTRL_ENABLE | 0x1f);
    ats_check(g, true);
    return g;
}

/* PCIe 5.0, 6.6.2 */
static void test_reset_flr(void)
{
    AtsGuest *g = guest_new_enabled();
    uint8_t cap = qecam_cap(g->qts, ATS_DEVICE, PCI_CAP_ID_EXP);

    qtest_writew(g->qts, ats_config(ATS_DEVICE, cap + PCI_EXP_DEVCTL),
                 PCI_EXP_DEVCTL_BCR_FLR);
    check_reset(g);
    ats_guest_free(g);
}

/* PCIe 5.0, 7.5.1.3.13: Secondary Bus Reset */
static void test_reset_bus(void)
{
    AtsGuest *g = guest_new_enabled();
    uint64_t ctl = ats_config(ATS_PORT, PCI_BRIDGE_CONTROL);

    qtest_writew(g->qts, ctl, PCI_BRIDGE_CTL_BUS_RESET);
    qtest_writew(g->qts, ctl, 0);
    check_reset(g);
    ats_guest_free(g);
}

static void test_reset_machine(void)
{
    AtsGuest *g = guest_new_enabled();

    qtest_system_reset(g->qts);
    ats_platform_setup(g->qts);
    g->vtd.iq_tail = 0;
    qvtd_enable(&g->vtd);
    check_reset(g);
    ats_guest_free(g);
}

/*
 * PCIe 5.0, 7.5.1.1.3: Bus Master Enable disables requests but resets nothing;
 * virtio 1.3, 2.1: nor does a reset of the virtio device reset the function.
 */
static void test_reset_preserved(void)
{
    AtsGuest *g = guest_new_enabled();
    uint64_t command = ats_config(ATS_DEVICE, PCI_COMMAND);

    qtest_writew(g->qts, command, PCI_COMMAND_MEMORY);
    qvhost_user_iotlb_wait_rings(g->be, 0);
    g_assert_cmphex(qtest_readw(g->qts, ats_ctrl(g)), ==,
                    PCI_ATS_CTRL_ENABLE | 0x1f);

    ats_driver_forget(g);
    ats_driver_start(g);
    ats_check(g, true);
    ats_guest_free(g);
}

/* Hot-unplug and re-plug */

/* PCIe 5.0, 6.7.1: ATS is disabled in the new function */
static void test_replug(void)
{
    AtsGuest *g = guest_new_enabled();

    /* The slot is powered on */
    ats_slot_power(g, true);
    qtest_qmp_device_del_send(g->qts, "dev");
    ats_slot_power(g, false);
    qtest_qmp_eventwait(g->qts, "DEVICE_DELETED");
    g_assert_cmphex(qtest_readl(g->qts, ats_config(ATS_DEVICE, PCI_VENDOR_ID)),
                    ==, UINT32_MAX);
    qvhost_user_iotlb_wait_rings(g->be, 0);
    /* The device has no notifiers any more */
    qvtd_inv_device_tlb(&g->vtd, ATS_DEVICE, ATS_IOVA, false);

    qtest_qmp_device_add(g->qts, "virtio-net-pci", "dev",
                         "{ 'bus': 'rp0', 'netdev': 'net', 'romfile': '',"
                         "  'disable-legacy': 'on', 'iommu_platform': true,"
                         "  'ats': true }");
    ats_slot_power(g, true);
    check_reset(g);
    ats_guest_free(g);
}

/* Migration with ATS enabled and disabled */

static void migrate(QTestState *from, QTestState *to, const char *uri)
{
    QDict *rsp = qtest_qmp(from, "{ 'execute': 'migrate',"
                           "  'arguments': { 'uri': %s } }", uri);

    g_assert(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
    qtest_qmp_eventwait(from, "STOP");
    qtest_qmp_eventwait(to, "RESUME");
}

static void check_migration(bool on)
{
    AtsGuest *g = ats_guest_new_vtd(1);
    QVhostUserIotlb *be = qvhost_user_iotlb_new(1, false);
    g_autofree char *dir = g_dir_make_tmp("qtest-migrate-XXXXXX", NULL);
    g_autofree char *sock = g_strdup_printf("%s/sock", dir);
    g_autofree char *uri = g_strdup_printf("unix:%s", sock);
    g_autofree char *props = g_strdup_printf(",ats=on -incoming %s", uri);
    QTestState *to = ats_start_net(be, 1, ATS_VTD, props);

    ats_set(g, on);
    ats_check(g, on);
    migrate(g->qts, to, uri);
    qtest_quit(g->qts);
    qvhost_user_iotlb_free(g->be);
    unlink(sock);
    rmdir(dir);

    g->qts = g->pci->qts = g->vtd.qts = to;
    g->be = be;
    qvhost_user_iotlb_wait_rings(be, g->num_rings);
    g_assert_cmphex(qtest_readw(to, ats_ctrl(g)), ==,
                    on ? PCI_ATS_CTRL_ENABLE : 0);
    ats_check(g, on);
    ats_set(g, !on);
    ats_check(g, !on);
    ats_guest_free(g);
}

static void test_migrate_on(void)
{
    check_migration(true);
}

static void test_migrate_off(void)
{
    check_migration(false);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/virtio-pci-ats/reset/flr", test_reset_flr);
    qtest_add_func("/virtio-pci-ats/reset/bus", test_reset_bus);
    qtest_add_func("/virtio-pci-ats/reset/machine", test_reset_machine);
    qtest_add_func("/virtio-pci-ats/reset/preserved", test_reset_preserved);
    qtest_add_func("/virtio-pci-ats/replug", test_replug);
    qtest_add_func("/virtio-pci-ats/migrate/on", test_migrate_on);
    qtest_add_func("/virtio-pci-ats/migrate/off", test_migrate_off);

    return g_test_run();
}
