/*
 * QTest testcase for the examples of devices with shared virtual memory
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * docs/devel/pci-ats.rst shows pci-ats-example and its registers, which
 * pci-ats-port has, too.  The test is the guest: it owns the page tables of the
 * process and answers page requests.
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/intel_iommu_prq.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd-prq.h"

#define PORT        QATD_BDF(0, 4, 0)
#define DEV         QATD_BDF(1, 0, 0)
#define REGS        0xd0000000ULL
#define PASID       5
#define DOMAIN      1
#define KIB4        0x1000ULL
#define ADDR        0x7f0012345000ULL
#define DATA        0x0123456789abcdefULL

/* First-stage entry (VT-d 9.7) */
#define FS          (VTD_FL_P | VTD_FL_RW | VTD_FL_US)

#define SECONDS     30

enum { REG_PASID, REG_DATA, REG_LOAD, REG_STORE, REG_STATUS };
enum { DONE, BUSY, FAILED };

typedef struct Test {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QVtdPrq prq;
    uint64_t root;              /* page tables of the process */
} Test;

/* ---- Setup ---- */

static uint16_t ext_cap(Test *t, uint16_t id)
{
    uint16_t cap = qecam_ext_cap(t->qts, DEV, id);

    g_assert_cmphex(cap, !=, 0);
    return cap;
}

/* Program the registers of the function as a driver does */
static void enable_device(Test *t)
{
    qecam_writel(t->qts, DEV, PCI_BASE_ADDRESS_0, REGS);
    qecam_writew(t->qts, DEV, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    qecam_enable_ats(t->qts, DEV, 0, 32);
}

static void init_guest(Test *t)
{
    uint64_t root0;

    qecam_enable(t->qts);
    qecam_setup_bridge(t->qts, PORT, 1, 1);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    t->root = qvtd_sm_attach_process(&t->vtd, DEV, PASID, DOMAIN, &root0);
    qvtd_enable(&t->vtd);
    qvtd_prq_init(&t->prq, &t->vtd, 2);
    enable_device(t);
    qtest_writeq(t->qts, REGS + 8 * REG_PASID, PASID);
}

#define MACHINE     "-M q35 -nodefaults -device intel-iommu,svm=on " \
                    "-device pcie-root-port,id=rp,addr=4,chassis=1 " \
                    "-device %s,bus=rp,id=example"

static void start(Test *t, const char *device)
{
    t->qts = qtest_initf(MACHINE, device);
    pc_alloc_init(&t->alloc, t->qts, 0);
    init_guest(t);
}

static void stop(Test *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

/* ---- The process and the device ---- */

/* Returns the guest physical address that @addr is mapped to */
static uint64_t map(Test *t, uint64_t addr)
{
    uint64_t gpa = qvtd_new_table(&t->vtd);

    qvtd_map_entry(&t->vtd, t->root, 4, addr, KIB4, gpa | FS, FS);
    return gpa;
}

static void unmap(Test *t, uint64_t addr)
{
    qvtd_map_entry(&t->vtd, t->root, 4, addr, KIB4, 0, FS);
    qvtd_inv_pasid_pages(&t->vtd, DOMAIN, PASID, addr, 0);
    qvtd_submit(&t->vtd, VTD_INV_DESC_DEV_PIOTLB | (uint64_t)PASID << 32 |
                         DEV << 16, addr);
}

static uint64_t read_reg(Test *t, unsigned reg)
{
    return qtest_readq(t->qts, REGS + 8 * reg);
}

static void write_reg(Test *t, unsigned reg, uint64_t val)
{
    qtest_writeq(t->qts, REGS + 8 * reg, val);
}

/* Wait for the end of an access; returns its status */
static uint64_t finish(Test *t)
{
    int64_t deadline = g_get_monotonic_time() + SECONDS * G_USEC_PER_SEC;

    while (read_reg(t, REG_STATUS) == BUSY) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(100);
    }
    return read_reg(t, REG_STATUS);
}

static uint64_t load(Test *t, uint64_t addr)
{
    write_reg(t, REG_LOAD, addr);
    return finish(t);
}

static uint64_t store(Test *t, uint64_t addr, uint64_t data)
{
    write_reg(t, REG_DATA, data);
    write_reg(t, REG_STORE, addr);
    return finish(t);
}

/* Load from a page that is not there; @rq is the page request */
static void load_and_fault(Test *t, QVtdPageReq *rq)
{
    write_reg(t, REG_LOAD, ADDR + 16);
    qvtd_prq_wait(&t->prq, SECONDS, rq);
    g_assert_cmphex(rq->sid, ==, DEV);
    g_assert_cmphex(rq->pasid, ==, PASID);
    g_assert_cmphex(rq->addr, ==, ADDR);
    g_assert_true(rq->read && rq->last);
    g_assert_cmpint(read_reg(t, REG_STATUS), ==, BUSY);
}

static void respond(Test *t, const QVtdPageReq *rq, unsigned code)
{
    qvtd_page_response(&t->vtd, rq->sid, rq->pasid, rq->prgi, code);
}

/* ---- Cases ---- */

static void test_load_and_store(const void *device)
{
    uint64_t gpa;
    Test t;

    start(&t, device);
    gpa = map(&t, ADDR);
    g_assert_cmpint(store(&t, ADDR + 8, DATA), ==, DONE);
    g_assert_cmphex(qtest_readq(t.qts, gpa + 8), ==, DATA);
    write_reg(&t, REG_DATA, 0);
    g_assert_cmpint(load(&t, ADDR + 8), ==, DONE);
    g_assert_cmphex(read_reg(&t, REG_DATA), ==, DATA);
    g_assert_cmpint(qvtd_prq_count(&t.prq), ==, 0);
    stop(&t);
}

/* 10.4: the guest brings the page in */
static void test_page_request(const void *device)
{
    QVtdPageReq rq;
    uint64_t gpa;
    Test t;

    start(&t, device);
    load_and_fault(&t, &rq);
    /* An access is in progress: registers keep their values */
    write_reg(&t, REG_PASID, 6);
    g_assert_cmphex(read_reg(&t, REG_PASID), ==, PASID);
    gpa = map(&t, ADDR);
    qtest_writeq(t.qts, gpa + 16, DATA);
    respond(&t, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmpint(finish(&t), ==, DONE);
    g_assert_cmphex(read_reg(&t, REG_DATA), ==, DATA);
    stop(&t);
}

/* 10.4.2: the guest refuses; the device works afterwards */
static void test_invalid_request(const void *device)
{
    QVtdPageReq rq;
    Test t;

    start(&t, device);
    load_and_fault(&t, &rq);
    respond(&t, &rq, VTD_PAGE_RESP_INVALID);
    g_assert_cmpint(finish(&t), ==, FAILED);
    map(&t, ADDR);
    g_assert_cmpint(store(&t, ADDR, DATA), ==, DONE);
    stop(&t);
}

/* 10.3: the device does not use a translation that has been invalidated */
static void test_invalidation(const void *device)
{
    uint64_t before, after;
    Test t;

    start(&t, device);
    before = map(&t, ADDR);
    g_assert_cmpint(store(&t, ADDR, 1), ==, DONE);
    unmap(&t, ADDR);
    after = map(&t, ADDR);
    g_assert_cmpint(store(&t, ADDR, 2), ==, DONE);
    g_assert_cmphex(qtest_readq(t.qts, before), ==, 1);
    g_assert_cmphex(qtest_readq(t.qts, after), ==, 2);
    stop(&t);
}

/* 7.8.8.3, 10.5.1.3: the guest disables what an access needs */
static void test_disabled(const void *device)
{
    uint16_t ats, pasid;
    Test t;

    start(&t, device);
    map(&t, ADDR);
    ats = ext_cap(&t, PCI_EXT_CAP_ID_ATS) + PCI_ATS_CTRL;
    pasid = ext_cap(&t, PCI_EXT_CAP_ID_PASID) + PCI_PASID_CTRL;
    qecam_writew(t.qts, DEV, PCI_COMMAND, PCI_COMMAND_MEMORY);
    g_assert_cmpint(load(&t, ADDR), ==, FAILED);
    qecam_writew(t.qts, DEV, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    g_assert_cmpint(load(&t, ADDR), ==, DONE);
    /* PASID Enable must not change while ATS is enabled */
    qecam_writew(t.qts, DEV, ats, 0);
    qecam_writew(t.qts, DEV, pasid, 0);
    g_assert_cmpint(load(&t, ADDR), ==, FAILED);
    stop(&t);
}

/* Bus mastering ends while an access waits for a response */
static void test_disabled_while_busy(const void *device)
{
    QVtdPageReq rq;
    Test t;

    start(&t, device);
    load_and_fault(&t, &rq);
    qecam_writew(t.qts, DEV, PCI_COMMAND, PCI_COMMAND_MEMORY);
    respond(&t, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmpint(finish(&t), ==, FAILED);
    stop(&t);
}

static void test_reset_while_busy(const void *device)
{
    QVtdPageReq rq;
    Test t;

    start(&t, device);
    load_and_fault(&t, &rq);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(t.qts, "RESET");
    init_guest(&t);
    g_assert_cmpint(read_reg(&t, REG_STATUS), ==, DONE);
    g_assert_cmphex(read_reg(&t, REG_DATA), ==, 0);
    map(&t, ADDR);
    g_assert_cmpint(store(&t, ADDR, DATA), ==, DONE);
    stop(&t);
}

static void test_unplug_while_busy(const void *device)
{
    QVtdPageReq rq;
    Test t;

    start(&t, device);
    load_and_fault(&t, &rq);
    /* No guest agrees to the removal, so the next reset unplugs the device */
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'device_del', "
                             "'arguments': { 'id': 'example' } }");
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'system_reset' }");
    qtest_qmp_eventwait(t.qts, "DEVICE_DELETED");
    stop(&t);
}

/* ---- Migration of pci-ats-port ---- */

#define PORT_DEVICE "pci-ats-port"

static void test_migrate(void)
{
    g_autofree char *path = NULL;
    Test t;

    start(&t, PORT_DEVICE);
    map(&t, ADDR);
    g_assert_cmpint(store(&t, ADDR, DATA), ==, DONE);
    path = qatd_save_machine(t.qts);
    t.qts = qtest_initf(MACHINE " -incoming defer", PORT_DEVICE);
    qatd_load_machine(t.qts, path);
    g_assert_cmphex(read_reg(&t, REG_PASID), ==, PASID);
    g_assert_cmphex(read_reg(&t, REG_DATA), ==, DATA);
    write_reg(&t, REG_DATA, 0);
    g_assert_cmpint(load(&t, ADDR), ==, DONE);
    g_assert_cmphex(read_reg(&t, REG_DATA), ==, DATA);
    stop(&t);
}

/* Returns the error of a migration that has failed, or NULL */
static char *migration_error(QTestState *qts)
{
    QDict *info = qtest_qmp_assert_success_ref(qts, "{ 'execute': "
                                               "'query-migrate' }");
    const char *status = qdict_get_try_str(info, "status");
    char *error = NULL;

    g_assert_false(status && g_str_equal(status, "completed"));
    if (status && g_str_equal(status, "failed")) {
        error = g_strdup(qdict_get_str(info, "error-desc"));
    }
    qobject_unref(info);
    return error;
}

/* The device cannot be saved during an access, and goes on */
static void test_migrate_busy(void)
{
    g_autofree char *error = NULL;
    QVtdPageReq rq;
    Test t;

    start(&t, PORT_DEVICE);
    load_and_fault(&t, &rq);
    qtest_qmp_assert_success(t.qts, "{ 'execute': 'migrate', 'arguments': "
                             "{ 'uri': 'exec:cat > /dev/null' } }");
    while (!(error = migration_error(t.qts))) {
        g_usleep(1000);
    }
    g_assert_nonnull(strstr(error, "an access waits for a page"));
    map(&t, ADDR);
    respond(&t, &rq, VTD_PAGE_RESP_SUCCESS);
    g_assert_cmpint(finish(&t), ==, DONE);
    stop(&t);
}

static void add_cases(const char *device)
{
    static const struct {
        const char *name;
        void (*test)(const void *device);
    } cases[] = {
        { "load-and-store", test_load_and_store },
        { "page-request", test_page_request },
        { "invalid-request", test_invalid_request },
        { "invalidation", test_invalidation },
        { "disabled", test_disabled },
        { "disabled-while-busy", test_disabled_while_busy },
        { "reset-while-busy", test_reset_while_busy },
        { "unplug-while-busy", test_unplug_while_busy },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("/%s/%s", device,
                                                cases[i].name);

        qtest_add_data_func(path, device, cases[i].test);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    if (!qtest_has_device("intel-iommu") ||
        !qtest_has_device("pci-ats-example")) {
        g_test_skip("intel-iommu or pci-ats-example is missing");
        return g_test_run();
    }
    add_cases("pci-ats-example");
    add_cases(PORT_DEVICE);
    qtest_add_func("/pci-ats-port/migrate", test_migrate);
    qtest_add_func("/pci-ats-port/migrate-busy", test_migrate_busy);
    return g_test_run();
}
