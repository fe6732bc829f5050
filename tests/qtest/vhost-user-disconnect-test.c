/*
 * QTest testcase for vhost-user back-ends that disconnect
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * QEMU handles a disconnect later, in a bottom half.  The guest accesses and
 * starts the device afterwards, and ejects it before and afterwards.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "standard-headers/linux/virtio_blk.h"
#include "standard-headers/linux/virtio_pci.h"
#include "virtio-pci-ats-common.h"

typedef struct Device {
    const char *driver;
    const char *props;
    bool has_config;
    unsigned num_vqs;           /* that the driver uses, at most 2 */
    unsigned num_rings;
} Device;

static const Device blk = {
    "vhost-user-blk-pci", "num-queues=1,disable-legacy=on", true, 1, 1
};
static const Device scsi = {
    "vhost-user-scsi-pci", "num_queues=1,disable-legacy=on", false, 2, 3
};
static const Device rng = { "vhost-user-rng-pci", "vectors=2", false, 1, 1 };

static bool is_connected(QTestState *qts)
{
    QDict *rsp = qtest_qmp(qts, "{ 'execute': 'query-chardev' }");
    bool connected = false;
    QListEntry *e;

    QLIST_FOREACH_ENTRY(qdict_get_qlist(rsp, "return"), e) {
        const QDict *chr = qobject_to(QDict, qlist_entry_obj(e));

        connected |= !strcmp(qdict_get_str(chr, "label"), "chr") &&
                     !g_str_has_prefix(qdict_get_str(chr, "filename"),
                                       "disconnected:");
    }
    qobject_unref(rsp);
    return connected;
}

/* A socket that reconnects is not connected before the main loop runs */
static AtsGuest *guest_new(const Device *d, const char *chardev_props)
{
    AtsGuest *g = g_new0(AtsGuest, 1);
    QTestState *qts;

    g->be = qvhost_user_iotlb_new(1, d->has_config);
    g->num_rings = d->num_rings;
    g->num_vqs = d->num_vqs;
    qts = qtest_initf("-preconfig " ATS_MACHINE
                      "-chardev socket,id=chr,path=%s%s -device %s,id=dev,"
                      "bus=rp0,chardev=chr,iommu_platform=on,ats=on,%s",
                      qvhost_user_iotlb_path(g->be), chardev_props, d->driver,
                      d->props);
    while (!is_connected(qts)) {
        continue;
    }
    qtest_qmp_assert_success(qts, "{ 'execute': 'x-exit-preconfig' }");
    ats_guest_boot(g, qts);
    return g;
}

/* Let the main loop run: it sees the disconnect, and handles it */
static void disconnect(AtsGuest *g)
{
    qvhost_user_iotlb_disconnect(g->be);
    while (is_connected(g->qts)) {
        continue;
    }
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'query-status' }");
}

/* The guest ejects the device */
static void unplug(AtsGuest *g)
{
    ats_slot_power(g, true);
    qtest_qmp_device_del_send(g->qts, "dev");
    ats_slot_power(g, false);
    qtest_qmp_eventwait(g->qts, "DEVICE_DELETED");
    ats_driver_forget(g);
}

/* The configuration space of a device without a back-end */
static void test_config(void)
{
    AtsGuest *g = guest_new(&blk, "");

    ats_driver_start(g);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'device-sync-config',"
                             "  'arguments': { 'id': 'dev' } }");
    disconnect(g);
    qobject_unref(qtest_qmp_assert_failure_ref(
                      g->qts, "{ 'execute': 'device-sync-config',"
                      "  'arguments': { 'id': 'dev' } }"));
    qpci_io_writeb(g->dev->pdev, g->dev->bar, g->dev->device_cfg_offset +
                   offsetof(struct virtio_blk_config, wce), 1);
    qvirtio_config_readb(&g->dev->vdev, 0);
    ats_guest_free(g);
}

/* The driver starts the device after a disconnect, and resets it */
static void test_start(const void *data)
{
    AtsGuest *g = guest_new(data, "");

    ats_driver_setup(g);
    disconnect(g);
    qvirtio_set_driver_ok(&g->dev->vdev);
    qvirtio_reset(&g->dev->vdev);
    unplug(g);
    ats_guest_free(g);
}

/* The device works with the next connection */
static void test_reconnect(const void *data)
{
    AtsGuest *g = guest_new(data, ",reconnect-ms=10");

    ats_driver_start(g);
    qvhost_user_iotlb_disconnect(g->be);
    while (qvhost_user_iotlb_connections(g->be) == 1) {
        g_usleep(1000);
    }
    qvhost_user_iotlb_wait_rings(g->be, g->num_rings);
    ats_guest_free(g);
}

/* The device is unplugged, and the back-end disconnects when it is stopped */
static void test_unplug(const void *data)
{
    AtsGuest *g = guest_new(data, "");

    ats_driver_start(g);
    qvhost_user_iotlb_disconnect_at_stop(g->be);
    unplug(g);
    qtest_qmp_assert_success(g->qts, "{ 'execute': 'query-status' }");
    ats_guest_free(g);
}

static void add(const char *test, const Device *d,
                void (*fn)(const void *data))
{
    g_autofree char *path = g_strdup_printf("/vhost-user-disconnect/%s/%s",
                                            test, d->driver);

    if (qtest_has_device(d->driver)) {
        qtest_add_data_func(path, d, fn);
    }
}

int main(int argc, char **argv)
{
    static const Device *const devices[] = { &blk, &scsi, &rng };

    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vhost-user-disconnect/config", test_config);
    for (unsigned i = 0; i < ARRAY_SIZE(devices); i++) {
        add("start", devices[i], test_start);
        add("reconnect", devices[i], test_reconnect);
        add("unplug", devices[i], test_unplug);
    }
    return g_test_run();
}
