/*
 * Unit tests for the Page Request capability: groups and their responses
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * hw/pci/pcie_pri.c between a fake function and a fake IOMMU.  Section numbers
 * are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include "qemu/atomic.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/pci/pci_device.h"
#include "io/channel-buffer.h"
#include "migration/qemu-file-types.h"
#include "migration/vmstate.h"
#include "qemu/module.h"
#include "migration/qemu-file.h"
#include "migration/savevm.h"
#include "hw/pci/pci-internal.h"

#define CAP 0x100

/* ---- What hw/pci/pcie_pri.c calls ---- */

void pcie_add_capability(PCIDevice *dev, uint16_t cap_id, uint8_t cap_ver,
                         uint16_t offset, uint16_t size)
{
}

int pci_iommu_check_pasid(const PCIDevice *dev, uint32_t pasid, bool priv_req,
                          bool exec_req)
{
    return 0;
}

bool pcie_bus_master_enabled(const PCIDevice *dev)
{
    return true;
}

/* ---- The fake IOMMU: one notifier per PASID below MAX_PASIDS ---- */

#define MAX_PASIDS 8

static IOMMUPRINotifier *notifiers[MAX_PASIDS];
static int register_error;
static int request_error;
static int requests_seen;
/* Answer every request at once, before pri_request_page returns */
static bool respond_at_once;

static void respond(uint32_t pasid, uint16_t prgi, IOMMUPRIResponseCode code)
{
    IOMMUPRIResponse response = { .response_code = code, .prgi = prgi };
    IOMMUPRINotifier *n;

    RCU_READ_LOCK_GUARD();
    n = qatomic_rcu_read(&notifiers[pasid]);
    if (n) {
        n->notify(n, &response);
    }
}

static int fake_register(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                         IOMMUPRINotifier *notifier)
{
    if (!register_error) {
        g_assert_null(notifiers[pasid]);
        qatomic_rcu_set(&notifiers[pasid], notifier);
    }
    return register_error;
}

static void fake_unregister(PCIBus *bus, void *opaque, int devfn,
                            uint32_t pasid)
{
    g_assert_nonnull(notifiers[pasid]);
    qatomic_rcu_set(&notifiers[pasid], NULL);
}

static int fake_request(PCIBus *bus, void *opaque, int devfn, uint32_t pasid,
                        bool priv_req, bool exec_req, hwaddr addr, bool lpig,
                        uint16_t prgi, bool is_read, bool is_write)
{
    qatomic_inc(&requests_seen);
    if (respond_at_once && lpig && (is_read || is_write)) {
        respond(pasid, prgi, IOMMU_PRI_RESP_SUCCESS);
    }
    return request_error;
}

static const PCIIOMMUOps fake_ops = {
    .pri_register_notifier = fake_register,
    .pri_unregister_notifier = fake_unregister,
    .pri_request_page = fake_request,
};

/* ---- The fake function ---- */

typedef struct User {
    IOMMUPRINotifier notifier;
    int responses;
    uint16_t prgi;
    IOMMUPRIResponseCode code;
    void (*hook)(struct User *user);
    PCIDevice *dev;
    uint32_t pasid;
} User;

static void user_notify(IOMMUPRINotifier *n, IOMMUPRIResponse *response)
{
    User *user = container_of(n, User, notifier);

    user->prgi = response->prgi;
    user->code = response->response_code;
    qatomic_inc(&user->responses);
    if (user->hook) {
        user->hook(user);
    }
}

static PCIDevice *dev_new(void)
{
    PCIDevice *dev = g_new0(PCIDevice, 1);

    dev->config = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    dev->wmask = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    dev->w1cmask = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    dev->cmask = g_malloc0(PCIE_CONFIG_SPACE_SIZE);
    dev->iommu.ops = &fake_ops;
    pcie_pri_init(dev, CAP, 32, true);
    memset(notifiers, 0, sizeof(notifiers));
    register_error = 0;
    request_error = 0;
    requests_seen = 0;
    respond_at_once = false;
    return dev;
}

static void dev_free(PCIDevice *dev)
{
    pcie_pri_exit(dev);
    g_free(dev->config);
    g_free(dev->wmask);
    g_free(dev->w1cmask);
    g_free(dev->cmask);
    g_free(dev);
}

static void write_ctrl(PCIDevice *dev, uint16_t val)
{
    /* As pci_default_write_config() does */
    pci_set_word(dev->config + CAP + PCI_PRI_CTRL,
                 val & pci_get_word(dev->wmask + CAP + PCI_PRI_CTRL));
    pcie_pri_write_config(dev, CAP + PCI_PRI_CTRL, val, 2);
}

static uint16_t status(PCIDevice *dev)
{
    pcie_pri_sync_config(dev);
    return pci_get_word(dev->config + CAP + PCI_PRI_STATUS) &
           ~PCI_PRI_STATUS_PASID;
}

static void user_start(User *user, PCIDevice *dev, uint32_t pasid)
{
    *user = (User) {
        .notifier.notify = user_notify,
        .dev = dev,
        .pasid = pasid,
    };
    g_assert_cmpint(pci_pri_register_notifier(dev, pasid, &user->notifier), ==,
                    0);
}

static int request(PCIDevice *dev, uint32_t pasid, uint16_t prgi, bool last)
{
    return pci_pri_request_page(dev, pasid, false, false, 0x1000, last, prgi,
                                true, false);
}

/* ---- Tests ---- */

/* 10.4.2: the response closes all of the group, of that PASID only */
static void test_group(void)
{
    PCIDevice *dev = dev_new();
    User a, b;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    user_start(&b, dev, 2);
    g_assert_cmpint(request(dev, 1, 5, false), ==, 0);
    g_assert_cmpint(request(dev, 1, 5, false), ==, 0);
    g_assert_cmpint(request(dev, 1, 5, true), ==, 0);
    g_assert_cmpint(request(dev, 2, 5, true), ==, 0);
    g_assert_cmpint(pcie_pri_outstanding(dev), ==, 4);

    respond(1, 5, IOMMU_PRI_RESP_INVALID_REQUEST);
    g_assert_cmpint(pcie_pri_outstanding(dev), ==, 1);
    g_assert_cmpint(a.responses, ==, 1);
    g_assert_cmpint(a.prgi, ==, 5);
    g_assert_cmpint(a.code, ==, IOMMU_PRI_RESP_INVALID_REQUEST);
    g_assert_cmpint(b.responses, ==, 0);
    respond(2, 5, IOMMU_PRI_RESP_SUCCESS);
    g_assert_cmpint(pcie_pri_outstanding(dev), ==, 0);
    g_assert_cmpint(b.responses, ==, 1);
    g_assert_cmphex(status(dev), ==, 0);

    pci_pri_unregister_notifier(dev, 1);
    pci_pri_unregister_notifier(dev, 2);
    dev_free(dev);
}

/* An index that is used again before the response has one for each group */
static void test_group_index_reused(void)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    g_assert_cmpint(request(dev, 1, 5, true), ==, 0);
    g_assert_cmpint(request(dev, 1, 5, true), ==, 0);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    g_assert_cmpint(pcie_pri_outstanding(dev), ==, 1);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    g_assert_cmpint(pcie_pri_outstanding(dev), ==, 0);
    g_assert_cmpint(a.responses, ==, 2);
    g_assert_cmphex(status(dev), ==, 0);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* 10.5.2.3: a response without a request sets UPRGI and is ignored */
static void test_unexpected(void)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    respond(1, 5, IOMMU_PRI_RESP_FAILURE);
    g_assert_cmpint(a.responses, ==, 0);
    g_assert_cmphex(status(dev), ==, PCI_PRI_STATUS_UPRGI);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* 10.4.2.1: Response Failure disables the interface until it is cleared */
static void test_failure(void)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    g_assert_cmpint(request(dev, 1, 5, true), ==, 0);
    g_assert_cmpint(request(dev, 1, 6, true), ==, 0);
    respond(1, 5, IOMMU_PRI_RESP_FAILURE);
    g_assert_cmphex(status(dev), ==, PCI_PRI_STATUS_RF);
    g_assert_cmpint(a.code, ==, IOMMU_PRI_RESP_FAILURE);
    g_assert_false(pcie_pri_enabled(dev));
    g_assert_cmpint(request(dev, 1, 7, true), ==, -EPERM);
    g_assert_cmpint(requests_seen, ==, 2);
    /* "Other groups will be satisfied at the convenience of the host" */
    respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    g_assert_cmpint(a.responses, ==, 2);

    pcie_pri_write_config(dev, CAP + PCI_PRI_STATUS, PCI_PRI_STATUS_RF, 2);
    g_assert_cmphex(status(dev), ==, 0);
    g_assert_cmpint(request(dev, 1, 7, true), ==, 0);
    respond(1, 7, IOMMU_PRI_RESP_SUCCESS);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* 10.5.2.3: Stopped waits for the last response */
static void test_stopped(void)
{
    PCIDevice *dev = dev_new();
    User a;

    g_assert_cmphex(status(dev), ==, PCI_PRI_STATUS_STOPPED);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    g_assert_cmpint(request(dev, 1, 5, true), ==, 0);
    g_assert_cmpint(request(dev, 1, 6, true), ==, 0);
    write_ctrl(dev, 0);
    g_assert_cmphex(status(dev), ==, 0);
    g_assert_cmpint(request(dev, 1, 7, true), ==, -EPERM);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    g_assert_cmphex(status(dev), ==, 0);
    respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    g_assert_cmphex(status(dev), ==, PCI_PRI_STATUS_STOPPED);
    g_assert_cmpint(a.responses, ==, 2);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* 10.5.2.2: Reset forgets the groups, but only while Enable is clear */
static void test_reset_bit(void)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    g_assert_cmpint(request(dev, 1, 5, true), ==, 0);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE | PCI_PRI_CTRL_RESET);
    g_assert_cmpint(pcie_pri_outstanding(dev), ==, 1);
    g_assert_cmpint(a.responses, ==, 0);

    /* In the write that clears Enable; the device is told */
    write_ctrl(dev, PCI_PRI_CTRL_RESET);
    g_assert_cmpint(pcie_pri_outstanding(dev), ==, 0);
    g_assert_cmpint(a.responses, ==, 1);
    g_assert_cmpint(a.code, ==, IOMMU_PRI_RESP_FAILURE);
    g_assert_cmphex(status(dev), ==, PCI_PRI_STATUS_STOPPED);

    /* A response that comes late has no request any more */
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    g_assert_cmpint(a.responses, ==, 1);
    g_assert_cmphex(status(dev), ==,
                    PCI_PRI_STATUS_STOPPED | PCI_PRI_STATUS_UPRGI);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* 6.6.2: FLR and hot reset */
static void test_function_reset(void)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    g_assert_cmpint(request(dev, 1, 5, false), ==, 0);
    pcie_pri_unexpected_prgi(dev);
    pcie_pri_reset(dev);
    g_assert_cmpint(a.responses, ==, 1);
    g_assert_cmpint(a.code, ==, IOMMU_PRI_RESP_FAILURE);
    g_assert_cmphex(status(dev), ==, PCI_PRI_STATUS_STOPPED);
    g_assert_false(pcie_pri_enabled(dev));
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* A request that was not sent is not outstanding */
static void test_request_error(void)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    g_assert_cmpint(request(dev, 1, 5, false), ==, 0);
    request_error = -ENOSPC;
    g_assert_cmpint(request(dev, 1, 5, true), ==, -ENOSPC);
    g_assert_cmpint(request(dev, 1, 6, true), ==, -ENOSPC);
    g_assert_cmpint(pcie_pri_outstanding(dev), ==, 1);
    request_error = 0;
    g_assert_cmpint(request(dev, 1, 5, true), ==, 0);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    g_assert_cmpint(pcie_pri_outstanding(dev), ==, 0);
    respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    g_assert_cmphex(status(dev), ==, PCI_PRI_STATUS_UPRGI);
    pci_pri_unregister_notifier(dev, 1);
    dev_free(dev);
}

/* Nobody would receive the response */
static void test_no_notifier(void)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    g_assert_cmpint(request(dev, 1, 5, true), ==, -EINVAL);
    register_error = -ENOMEM;
    g_assert_cmpint(pci_pri_register_notifier(dev, 1, &a.notifier), ==,
                    -ENOMEM);
    g_assert_cmpint(request(dev, 1, 5, true), ==, -EINVAL);
    register_error = 0;
    user_start(&a, dev, 1);
    g_assert_cmpint(pci_pri_register_notifier(dev, 1, &a.notifier), ==, -EBUSY);
    pci_pri_unregister_notifier(dev, 1);
    pci_pri_unregister_notifier(dev, 1);
    g_assert_cmpint(requests_seen, ==, 0);
    dev_free(dev);
}

/* 10.4.1.2.1: a Stop Marker has no response */
static void test_stop_marker(void)
{
    PCIDevice *dev = dev_new();

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    g_assert_cmpint(pci_pri_request_page(dev, 1, false, false, 0, true, 0,
                                         false, false), ==, 0);
    g_assert_cmpint(requests_seen, ==, 1);
    g_assert_cmpint(pcie_pri_outstanding(dev), ==, 0);
    dev_free(dev);
}

static void unregister_self(User *user)
{
    pci_pri_unregister_notifier(user->dev, user->pasid);
}

static void request_again(User *user)
{
    if (user->responses < 3) {
        g_assert_cmpint(request(user->dev, user->pasid, 5, true), ==, 0);
    }
}

/* A notifier may unregister itself, and may issue requests */
static void test_reentrant(void)
{
    PCIDevice *dev = dev_new();
    User a;

    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    respond_at_once = true;
    user_start(&a, dev, 1);
    a.hook = request_again;
    g_assert_cmpint(request(dev, 1, 5, true), ==, 0);
    g_assert_cmpint(a.responses, ==, 3);
    g_assert_cmpint(pcie_pri_outstanding(dev), ==, 0);
    a.hook = unregister_self;
    g_assert_cmpint(request(dev, 1, 5, true), ==, 0);
    g_assert_cmpint(a.responses, ==, 4);
    g_assert_cmpint(request(dev, 1, 5, true), ==, -EINVAL);
    g_assert_cmphex(status(dev), ==, 0);
    dev_free(dev);
}

/* Unregistering waits for a call that is running in another thread */
static QemuEvent in_hook;
static bool hook_ended;

static void slow_hook(User *user)
{
    qemu_event_set(&in_hook);
    g_usleep(50 * 1000);
    qatomic_set(&hook_ended, true);
}

static void *responder(void *opaque)
{
    rcu_register_thread();
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    rcu_unregister_thread();
    return NULL;
}

static void test_unregister_waits(void)
{
    PCIDevice *dev = dev_new();
    QemuThread thread;
    User a;

    qemu_event_init(&in_hook, false);
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    user_start(&a, dev, 1);
    a.hook = slow_hook;
    g_assert_cmpint(request(dev, 1, 5, true), ==, 0);
    qemu_thread_create(&thread, "responder", responder, NULL,
                       QEMU_THREAD_JOINABLE);
    qemu_event_wait(&in_hook);
    pci_pri_unregister_notifier(dev, 1);
    g_assert_true(qatomic_read(&hook_ended));
    qemu_thread_join(&thread);
    qemu_event_destroy(&in_hook);
    dev_free(dev);
}

/* Groups that are open when the guest migrates are open at the destination */
static void migrate(PCIDevice *from, PCIDevice *to, int expected)
{
    QIOChannelBuffer *bioc = qio_channel_buffer_new(4096);
    QEMUFile *out = qemu_file_new_output(QIO_CHANNEL(bioc));
    QEMUFile *in = qemu_file_new_input(QIO_CHANNEL(bioc));

    g_assert_cmpint(vmstate_save_state(out, &vmstate_pcie_pri, from, NULL), ==,
                    0);
    qemu_put_byte(out, QEMU_VM_EOF);
    qemu_fflush(out);
    qio_channel_io_seek(QIO_CHANNEL(bioc), 0, SEEK_SET, NULL);
    g_assert_cmpint(vmstate_load_state(in, &vmstate_pcie_pri, to, 1), ==,
                    expected);
    qemu_fclose(in);
    qemu_fclose(out);
    object_unref(OBJECT(bioc));
}

static void test_migration(void)
{
    PCIDevice *from = dev_new();
    PCIDevice *to = dev_new();
    User a, b;

    g_assert_false(vmstate_pcie_pri.needed(from));
    write_ctrl(from, PCI_PRI_CTRL_ENABLE);
    user_start(&a, from, 1);
    g_assert_cmpint(request(from, 1, 5, true), ==, 0);
    g_assert_cmpint(request(from, 1, 6, false), ==, 0);
    g_assert_cmpint(request(from, 1, 6, true), ==, 0);
    write_ctrl(from, 0);
    g_assert_true(vmstate_pcie_pri.needed(from));
    pcie_pri_sync_config(from);

    migrate(from, to, 0);
    memcpy(to->config, from->config, PCIE_CONFIG_SPACE_SIZE);
    pcie_pri_post_load(to);
    pci_pri_unregister_notifier(from, 1);
    g_assert_cmpint(pcie_pri_outstanding(to), ==, 3);
    g_assert_cmphex(status(to), ==, 0);

    user_start(&b, to, 1);
    respond(1, 6, IOMMU_PRI_RESP_SUCCESS);
    g_assert_cmpint(pcie_pri_outstanding(to), ==, 1);
    g_assert_cmphex(status(to), ==, 0);
    respond(1, 5, IOMMU_PRI_RESP_SUCCESS);
    g_assert_cmphex(status(to), ==, PCI_PRI_STATUS_STOPPED);
    g_assert_cmpint(b.responses, ==, 2);
    pci_pri_unregister_notifier(to, 1);

    /* A stream for a function that has the capability, into one without */
    pcie_pri_exit(to);
    migrate(from, to, -EINVAL);
    dev_free(from);
    dev_free(to);
}

/* Everything at once: every group gets exactly one answer */
#define STRESS_THREADS  4
#define STRESS_ROUNDS   20000

static PCIDevice *stress_dev;

static void *stress_thread(void *opaque)
{
    uint32_t pasid = GPOINTER_TO_UINT(opaque);
    int sent = 0, i;
    User a;

    rcu_register_thread();
    user_start(&a, stress_dev, pasid);
    for (i = 0; i < STRESS_ROUNDS; i++) {
        int ret = request(stress_dev, pasid, i & PCI_PRGI_MAX, true);

        g_assert_true(ret == 0 || ret == -EPERM);
        sent += !ret;
    }
    pci_pri_unregister_notifier(stress_dev, pasid);
    g_assert_cmpint(a.responses, ==, sent);
    rcu_unregister_thread();
    return NULL;
}

static void test_stress(void)
{
    PCIDevice *dev = stress_dev = dev_new();
    QemuThread threads[STRESS_THREADS];
    int i;

    respond_at_once = true;
    write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
    for (i = 0; i < STRESS_THREADS; i++) {
        qemu_thread_create(&threads[i], "stress", stress_thread,
                           GUINT_TO_POINTER(i + 1), QEMU_THREAD_JOINABLE);
    }
    for (i = 0; i < 2000; i++) {
        write_ctrl(dev, 0);
        write_ctrl(dev, PCI_PRI_CTRL_ENABLE);
        status(dev);
    }
    for (i = 0; i < STRESS_THREADS; i++) {
        qemu_thread_join(&threads[i]);
    }
    g_assert_cmpint(pcie_pri_outstanding(dev), ==, 0);
    write_ctrl(dev, 0);
    g_assert_cmphex(status(dev), ==, PCI_PRI_STATUS_STOPPED);
    dev_free(dev);
}

int main(int argc, char **argv)
{
    module_call_init(MODULE_INIT_QOM);
    g_test_init(&argc, &argv, NULL);
    g_test_add_func("/pcie-pri/group", test_group);
    g_test_add_func("/pcie-pri/group-index-reused", test_group_index_reused);
    g_test_add_func("/pcie-pri/unexpected", test_unexpected);
    g_test_add_func("/pcie-pri/failure", test_failure);
    g_test_add_func("/pcie-pri/stopped", test_stopped);
    g_test_add_func("/pcie-pri/reset-bit", test_reset_bit);
    g_test_add_func("/pcie-pri/function-reset", test_function_reset);
    g_test_add_func("/pcie-pri/request-error", test_request_error);
    g_test_add_func("/pcie-pri/no-notifier", test_no_notifier);
    g_test_add_func("/pcie-pri/stop-marker", test_stop_marker);
    g_test_add_func("/pcie-pri/reentrant", test_reentrant);
    g_test_add_func("/pcie-pri/unregister-waits", test_unregister_waits);
    g_test_add_func("/pcie-pri/migration", test_migration);
    g_test_add_func("/pcie-pri/stress", test_stress);
    return g_test_run();
}
