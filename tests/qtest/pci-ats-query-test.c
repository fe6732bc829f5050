/*
 * QTest testcase for query-pci-ats and info pci-ats
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each test checks the fields of the reply after actions of a pci-ats-testdev.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qobject/qbool.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "qobject/qnum.h"
#include "qobject/qstring.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd.h"

#define DEV         QATD_BDF(0, 4, 0)
#define PORT        QATD_BDF(0, 5, 0)
#define PXB_PORT    QATD_BDF(64, 0, 0)

#define PAGE        0x1000ULL
#define IOVA        0x12340000ULL
#define PASID       5
#define FS          (VTD_FL_P | VTD_FL_RW | VTD_FL_US)

#define DEVICE      "-device pci-ats-testdev,id=dev,addr=4"
#define IOMMU       "-device intel-iommu,device-iotlb=on,x-scalable-mode=on," \
                    "x-flts=on,x-pasid-mode=on "

typedef struct Test {
    QTestState *qts;
    QATD dev;
    QGuestAllocator alloc;
    QVtd vtd;
    uint64_t dir;
    QDict *reply;
} Test;

static void start(Test *t, const char *args)
{
    *t = (Test) { };
    t->qts = qtest_initf("-M q35 -nodefaults %s", args);
    qecam_enable(t->qts);
}

static void start_dev(Test *t, const char *args)
{
    start(t, args);
    qatd_init(&t->dev, t->qts, DEV, 0);
}

/* Start behind an IOMMU, with PASIDs; RID_PASID is 0 */
static void start_iommu(Test *t, const char *device)
{
    g_autofree char *args = g_strconcat(IOMMU, device, NULL);

    start_dev(t, args);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    t->vtd.scalable = true;
    t->dir = qvtd_sm_attach(&t->vtd, DEV, VTD_SM_CONTEXT_ENTRY_DTE |
                            VTD_SM_CONTEXT_ENTRY_PASIDE, 0);
    qvtd_enable(&t->vtd);
    qatd_enable_all(&t->dev, 16);
}

static void stop(Test *t)
{
    qobject_unref(t->reply);
    qtest_quit(t->qts);
    if (t->vtd.alloc) {
        alloc_destroy(&t->alloc);
    }
}

/* Set up a PASID with @n pages, which are not contiguous in memory */
static uint64_t map_pasid(Test *t, uint32_t pasid, unsigned n)
{
    uint64_t root = qvtd_new_table(&t->vtd);

    qvtd_sm_pasid(&t->vtd, t->dir, pasid,
                  VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT,
                  1 | VTD_SM_PASID_ENTRY_PWSNP, root);
    for (unsigned i = 0; i < n; i++) {
        qvtd_map_entry(&t->vtd, root, 4, IOVA + i * PAGE, PAGE,
                       (0x100000 + i * 2 * PAGE) | FS, FS);
    }
    return root;
}

static int64_t svm_read(Test *t, uint32_t pasid, unsigned page, unsigned n)
{
    return qatd_command(&t->dev, ATD_CMD_SVM_READ, pasid, IOVA + page * PAGE,
                        n * PAGE, 0);
}

static int64_t translate(Test *t, uint32_t pasid, unsigned page, unsigned n,
                         unsigned max_results)
{
    QATDResult r[16];

    return qatd_translate(&t->dev, pasid, IOVA + page * PAGE, n * PAGE, 0, r,
                          max_results);
}

static void inv_pasid(Test *t, uint32_t pasid, bool global)
{
    qvtd_submit(&t->vtd, VTD_INV_DESC_DEV_PIOTLB | (uint64_t)pasid << 32 |
                         (uint64_t)DEV << 16, IOVA | global);
}

/* ---- Reading the reply ---- */

static void query(Test *t)
{
    qobject_unref(t->reply);
    t->reply = qtest_qmp(t->qts, "{ 'execute': 'query-pci-ats' }");
    g_assert(qdict_haskey(t->reply, "return"));
}

/* Returns the object at a path such as "0.caches.0.hits", or NULL */
static QObject *at(Test *t, const char *path)
{
    g_auto(GStrv) names = g_strsplit(path, ".", -1);
    QObject *obj = qdict_get(t->reply, "return");

    for (int i = 0; names[i] && obj; i++) {
        QList *list = qobject_to(QList, obj);

        if (list) {
            const QListEntry *e = qlist_first(list);

            for (int n = atoi(names[i]); n && e; n--) {
                e = qlist_next(e);
            }
            obj = e ? qlist_entry_obj(e) : NULL;
        } else {
            obj = qdict_get(qobject_to(QDict, obj), names[i]);
        }
    }
    return obj;
}

static uint64_t num(Test *t, const char *path)
{
    QNum *n = qobject_to(QNum, at(t, path));

    g_assert_nonnull(n);
    return qnum_get_uint(n);
}

static bool flag(Test *t, const char *path)
{
    QBool *b = qobject_to(QBool, at(t, path));

    g_assert_nonnull(b);
    return qbool_get_bool(b);
}

static const char *str(Test *t, const char *path)
{
    QString *s = qobject_to(QString, at(t, path));

    g_assert_nonnull(s);
    return qstring_get_str(s);
}

static bool absent(Test *t, const char *path)
{
    return !at(t, path);
}

/* Expect numbers: name, value, ..., NULL */
static void expect(Test *t, const char *prefix, ...) G_GNUC_NULL_TERMINATED;

static void expect(Test *t, const char *prefix, ...)
{
    const char *name;
    va_list ap;

    va_start(ap, prefix);
    while ((name = va_arg(ap, const char *))) {
        g_autofree char *path = g_strdup_printf("%s.%s", prefix, name);
        int value = va_arg(ap, int);

        if (num(t, path) != value) {
            g_error("%s is %" PRIu64 ", not %d", path, num(t, path), value);
        }
    }
    va_end(ap);
}

static char *info(Test *t)
{
    return qtest_hmp(t->qts, "info pci-ats");
}

/* ---- Tests ---- */

/* Functions without ATS, PASID and PRI are not listed */
static void test_no_capabilities(void)
{
    g_autofree char *text = NULL;
    Test t;

    start(&t, "-device pcie-pci-bridge,id=br,addr=5 "
              "-device pci-ats-testdev,bus=br,addr=1 "
              "-device pci-ats-testdev,addr=6,ats=off,pasid=off,pri=off");
    query(&t);
    g_assert_true(absent(&t, "0"));
    text = info(&t);
    g_assert_cmpstr(text, ==, "No PCI device has ATS, PASID or PRI\r\n");
    stop(&t);
}

/* Every function is listed once, on all buses */
static void test_identity(void)
{
    g_autofree char *text = NULL;
    int seen = 0;
    Test t;

    start(&t, "-device pcie-root-port,id=rp,addr=5,chassis=1 "
              "-device pxb-pcie,id=pxb,bus_nr=64,addr=6 "
              "-device pcie-root-port,id=rp2,bus=pxb,chassis=2,addr=0 "
              "-device pci-ats-testdev,bus=rp,id=below "
              "-device pci-ats-testdev,bus=rp2,id=beside "
              "-device pci-ats-testdev,bus=pcie.0,addr=4.3");
    qecam_setup_bridge(t.qts, PORT, 1, 1);
    qecam_setup_bridge(t.qts, PXB_PORT, 65, 65);
    query(&t);
    for (int i = 0; i < 3; i++) {
        g_autofree char *path = g_strdup_printf("%d", i);
        g_autofree char *type = g_strdup_printf("%d.type", i);
        g_autofree char *id = g_strdup_printf("%d.qdev-id", i);

        g_assert_cmpstr(str(&t, type), ==, "pci-ats-testdev");
        if (absent(&t, id)) {
            expect(&t, path, "bus", 0, "slot", 4, "function", 3, NULL);
            seen |= 1;
        } else if (g_str_equal(str(&t, id), "below")) {
            expect(&t, path, "bus", 1, "slot", 0, "function", 0, NULL);
            seen |= 2;
        } else {
            g_assert_cmpstr(str(&t, id), ==, "beside");
            expect(&t, path, "bus", 65, "slot", 0, "function", 0, NULL);
            seen |= 4;
        }
    }
    g_assert_cmpint(seen, ==, 7);
    g_assert_true(absent(&t, "3"));
    text = info(&t);
    g_assert_nonnull(strstr(text, "00:04.3 pci-ats-testdev\r\n"));
    g_assert_nonnull(strstr(text, "01:00.0 pci-ats-testdev \"below\"\r\n"));
    g_assert_nonnull(strstr(text, "41:00.0 pci-ats-testdev \"beside\"\r\n"));
    stop(&t);
}

/* PCIe 5.0, 10.5.1: ATS */
static void test_ats(void)
{
    Test t;

    start_dev(&t, DEVICE ",pasid=off,pri=off");
    query(&t);
    g_assert_false(flag(&t, "0.ats.enabled"));
    expect(&t, "0.ats", "stu", 4096, NULL);
    g_assert_true(flag(&t, "0.bus-master"));
    g_assert_true(absent(&t, "0.pasid"));
    g_assert_true(absent(&t, "0.pri"));
    g_assert_true(absent(&t, "0.page-requests"));

    qecam_writew(t.qts, DEV, t.dev.ats + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE | 9);
    qecam_writew(t.qts, DEV, PCI_COMMAND, PCI_COMMAND_MEMORY);
    query(&t);
    g_assert_true(flag(&t, "0.ats.enabled"));
    expect(&t, "0.ats", "stu", 2 * 1024 * 1024, NULL);
    g_assert_false(flag(&t, "0.bus-master"));
    stop(&t);
}

/* PCIe 5.0, 7.8.8: PASID */
static void test_pasid(void)
{
    Test t;

    start_dev(&t, DEVICE ",ats=off,pri=off,pasid-width=8,pasid-exec=off");
    query(&t);
    g_assert_true(absent(&t, "0.ats"));
    expect(&t, "0.pasid", "width", 8, NULL);
    g_assert_false(flag(&t, "0.pasid.enabled"));
    g_assert_false(flag(&t, "0.pasid.exec-supported"));
    g_assert_true(flag(&t, "0.pasid.priv-supported"));
    g_assert_false(flag(&t, "0.pasid.priv-enabled"));
    qecam_writew(t.qts, DEV, t.dev.pasid + PCI_PASID_CTRL,
                 PCI_PASID_CTRL_ENABLE | PCI_PASID_CTRL_EXEC |
                 PCI_PASID_CTRL_PRIV);
    query(&t);
    g_assert_true(flag(&t, "0.pasid.enabled"));
    g_assert_false(flag(&t, "0.pasid.exec-enabled"));
    g_assert_true(flag(&t, "0.pasid.priv-enabled"));
    stop(&t);

    start_dev(&t, DEVICE ",pasid-priv=off");
    qatd_enable_all(&t.dev, 1);
    query(&t);
    expect(&t, "0.pasid", "width", 20, NULL);
    g_assert_true(flag(&t, "0.pasid.exec-supported"));
    g_assert_true(flag(&t, "0.pasid.exec-enabled"));
    g_assert_false(flag(&t, "0.pasid.priv-supported"));
    g_assert_false(flag(&t, "0.pasid.priv-enabled"));
    stop(&t);
}

/* PCIe 5.0, 10.5.2: the page request interface */
static void test_pri(void)
{
    Test t;

    start_dev(&t, DEVICE ",ats=off,pasid=off,pri-capacity=77");
    query(&t);
    g_assert_false(flag(&t, "0.pri.enabled"));
    g_assert_true(flag(&t, "0.pri.stopped"));
    g_assert_false(flag(&t, "0.pri.response-failure"));
    g_assert_false(flag(&t, "0.pri.unexpected-prgi"));
    g_assert_true(flag(&t, "0.pri.response-pasid"));
    expect(&t, "0.pri", "capacity", 77, "allocation", 0, "outstanding", 0,
           NULL);

    qecam_writel(t.qts, DEV, t.dev.pri + PCI_PRI_ALLOC_REQ, 33);
    qecam_writew(t.qts, DEV, t.dev.pri + PCI_PRI_CTRL, PCI_PRI_CTRL_ENABLE);
    qatd_command(&t.dev, ATD_CMD_RESPONSE_FAILURE, 0, 0, 0, 0);
    query(&t);
    g_assert_true(flag(&t, "0.pri.enabled"));
    g_assert_false(flag(&t, "0.pri.stopped"));
    g_assert_true(flag(&t, "0.pri.response-failure"));
    g_assert_false(flag(&t, "0.pri.unexpected-prgi"));
    expect(&t, "0.pri", "allocation", 33, NULL);
    qatd_command(&t.dev, ATD_CMD_UNEXPECTED_PRGI, 0, 0, 0, 0);
    query(&t);
    g_assert_true(flag(&t, "0.pri.unexpected-prgi"));
    expect(&t, "0.page-requests", "groups-open", 0, "requests", 0,
           "overflows", 0, "refused", 0, "success", 0, "invalid-request", 0,
           "failure", 0, "dropped", 0, "unexpected", 0, NULL);
    stop(&t);

    start_dev(&t, DEVICE ",pri-response-pasid=off");
    query(&t);
    g_assert_false(flag(&t, "0.pri.response-pasid"));
    stop(&t);
}

/*
 * PCIe 5.0, 10.4.2: page requests are counted by PASID while it has a notifier
 */
static void test_page_requests(void)
{
    g_autofree char *text = NULL;
    Test t;

    start_dev(&t, "-device intel-iommu,svm=on " DEVICE);
    qatd_enable_all(&t.dev, 16);
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_REGISTER_PRI, PASID, 0, 0, 0),
                    ==, 0);
    /* There is no queue, so that the response is Invalid Request */
    g_assert_cmpint(qatd_page_request(&t.dev, PASID, IOVA, 3,
                                      ATD_FLAG_LAST | ATD_FLAG_READ), ==, 0);
    query(&t);
    expect(&t, "0.pasids.0", "pasid", PASID, NULL);
    expect(&t, "0.pasids.0.page-requests", "groups-open", 0, "requests", 1,
           "success", 0, "invalid-request", 1, "unexpected", 0, NULL);
    text = info(&t);
    g_assert_nonnull(strstr(text, "page requests"));
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_UNREGISTER_PRI, PASID, 0, 0,
                                 0), ==, 0);
    query(&t);
    g_assert_true(absent(&t, "0.pasids.0"));
    stop(&t);
}

/* PCIe 5.0, 10.2: translation requests */
static void test_translations(void)
{
    Test t;

    start_iommu(&t, DEVICE);
    map_pasid(&t, PASID, 4);
    /*
     * The function sends no request with length 0, or a PASID beyond the width
     */
    g_assert_cmpint(translate(&t, PASID, 0, 0, 4), ==, -EINVAL);
    query(&t);
    expect(&t, "0.translations", "requests", 1, "failed", 1, "truncated", 0,
           "translations", 0, "denied", 0, NULL);
    g_assert_cmpint(translate(&t, PASID, 0, 1, 4), ==, 1);
    g_assert_cmpint(translate(&t, PASID, 2, 3, 4), ==, 3);
    query(&t);
    expect(&t, "0.translations", "requests", 3, "failed", 1, "truncated", 0,
           "translations", 4, "denied", 1, NULL);
    g_assert_cmpint(translate(&t, PASID, 0, 4, 2), ==, -ENOMEM);
    query(&t);
    expect(&t, "0.translations", "requests", 4, "failed", 1, "truncated", 1,
           "translations", 6, "denied", 1, NULL);
    stop(&t);
}

static void change_notifier(Test *t, unsigned command, uint32_t pasid)
{
    g_assert_cmpint(qatd_command(&t->dev, command, pasid, 0, 0, 0), ==, 0);
}

/* PCIe 5.0, 10.3: invalidations are counted by kind, after registration */
static void test_invalidations(void)
{
    Test t;

    start_iommu(&t, DEVICE);
    change_notifier(&t, ATD_CMD_REGISTER_IOTLB, QATD_NO_PASID);
    change_notifier(&t, ATD_CMD_REGISTER_IOTLB, PASID);
    inv_pasid(&t, PASID, false);
    inv_pasid(&t, PASID + 1, false);
    inv_pasid(&t, PASID + 1, false);
    inv_pasid(&t, 0, true);
    qvtd_inv_device_tlb(&t.vtd, DEV, IOVA, false);
    change_notifier(&t, ATD_CMD_REGISTER_IOTLB, PASID + 1);
    qvtd_inv_device_tlb(&t.vtd, DEV, IOVA, false);
    inv_pasid(&t, PASID + 1, false);

    query(&t);
    expect(&t, "0.invalidations", "no-pasid", 2, "pasid", 4, "all-pasids", 1,
           NULL);
    g_assert_true(absent(&t, "0.pasids.0.pasid"));
    expect(&t, "0.pasids.0.invalidations", "no-pasid", 2, "pasid", 0,
           "all-pasids", 0, NULL);
    expect(&t, "0.pasids.1", "pasid", PASID, "entries", 0, NULL);
    expect(&t, "0.pasids.1.invalidations", "no-pasid", 2, "pasid", 1,
           "all-pasids", 1, NULL);
    expect(&t, "0.pasids.2", "pasid", PASID + 1, NULL);
    expect(&t, "0.pasids.2.invalidations", "no-pasid", 1, "pasid", 1,
           "all-pasids", 0, NULL);
    g_assert_true(absent(&t, "0.pasids.1.page-requests"));
    g_assert_true(absent(&t, "0.pasids.3"));

    change_notifier(&t, ATD_CMD_UNREGISTER_IOTLB, PASID);
    query(&t);
    expect(&t, "0.pasids.1", "pasid", PASID + 1, NULL);
    g_assert_true(absent(&t, "0.pasids.2"));
    stop(&t);
}

static void test_atc(void)
{
    Test t;

    start_iommu(&t, DEVICE ",pri=off,atc-entries=6");
    map_pasid(&t, 0, 1);
    map_pasid(&t, PASID, 8);
    query(&t);
    g_assert_cmpstr(str(&t, "0.caches.0.type"), ==, "atc");
    expect(&t, "0.caches.0", "capacity", 6, "entries", 0, NULL);

    g_assert_cmpint(svm_read(&t, PASID, 0, 2), ==, 0);
    g_assert_cmpint(svm_read(&t, PASID, 0, 1), ==, 0);
    g_assert_cmpint(svm_read(&t, QATD_NO_PASID, 0, 1), ==, 0);
    query(&t);
    expect(&t, "0.caches.0", "entries", 3, "hits", 4, "misses", 2, "fills", 3,
           "updates", 0, "rejected", 0, "evictions", 0, "invalidations", 0,
           "dropped", 0, NULL);
    g_assert_true(absent(&t, "0.pasids.0.pasid"));
    expect(&t, "0.pasids.0", "entries", 1, NULL);
    expect(&t, "0.pasids.1", "pasid", PASID, "entries", 2, NULL);

    /* A second request for the page adds the write permission */
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_SVM_WRITE, PASID, IOVA, 4, 0),
                    ==, 0);
    /* The page after the last one is not present */
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_SVM_READ, PASID,
                                 IOVA + 7 * PAGE, 2 * PAGE, 0), ==, -EFAULT);
    query(&t);
    expect(&t, "0.caches.0", "updates", 1, "fills", 4, "rejected", 2, NULL);
    /* The ATC has space for six pages */
    g_assert_cmpint(svm_read(&t, PASID, 0, 8), ==, 0);
    query(&t);
    expect(&t, "0.caches.0", "entries", 6, NULL);
    g_assert_cmpint(num(&t, "0.caches.0.evictions"), >=, 3);
    g_assert_cmpint(num(&t, "0.caches.0.fills"), ==,
                    num(&t, "0.caches.0.entries") +
                    num(&t, "0.caches.0.evictions"));
    expect(&t, "0.caches.0", "refused", 0, NULL);

    qvtd_inv_device_tlb(&t.vtd, DEV, UINT64_MAX - 0xfff, true);
    query(&t);
    /* One invalidation, although the device listens for several PASIDs */
    expect(&t, "0.caches.0", "entries", 0, "invalidations", 1, "dropped", 6,
           NULL);
    expect(&t, "0.pasids.1", "pasid", PASID, "entries", 0, NULL);
    stop(&t);
}

/* query-pci-ats works while threads of the device are running */
static void test_threads(void)
{
    Test t;

    start_iommu(&t, DEVICE);
    map_pasid(&t, PASID, 16);
    for (int i = 0; i < 200; i++) {
        if (i & 1) {
            qatd_start(&t.dev, ATD_CMD_SVM_READ, PASID, IOVA, 16 * PAGE,
                       ATD_FLAG_ASYNC);
        } else {
            qatd_start(&t.dev, ATD_CMD_TRANSLATE, PASID, IOVA, 16 * PAGE,
                       ATD_FLAG_THREAD);
        }
        query(&t);
        g_assert_cmpint(num(&t, "0.translations.requests"), <=, i + 1);
        qatd_wait(&t.dev);
        inv_pasid(&t, PASID, false);
    }
    stop(&t);
}

/* Unplugging a function removes its entry */
static void test_unplug(void)
{
    Test t;

    start(&t, "-device pcie-root-port,id=rp,addr=5,chassis=1,"
              "power_controller_present=off "
              "-device pci-ats-testdev,id=dev,bus=rp,addr=0");
    query(&t);
    g_assert_false(absent(&t, "0"));
    qecam_unplug(t.qts, "dev");
    query(&t);
    g_assert_true(absent(&t, "0"));
    stop(&t);
}

/*
 * Returns the example in docs/system/devices/pci-ats.rst after the line
 * "(qemu) info pci-ats", without its indentation
 */
static char *example(const char *dir)
{
    g_autofree char *path = NULL;
    g_autofree char *doc = NULL;
    GString *text = g_string_new(NULL);
    g_auto(GStrv) lines = NULL;
    bool inside = false;

    path = g_build_filename(dir, "../../docs/system/devices/pci-ats.rst", NULL);
    g_assert_true(g_file_get_contents(path, &doc, NULL, NULL));
    lines = g_strsplit(doc, "\n", -1);
    for (int i = 0; lines[i]; i++) {
        if (g_str_equal(lines[i], "  (qemu) info pci-ats")) {
            inside = true;
        } else if (inside && g_str_has_prefix(lines[i], "  ")) {
            g_string_append_printf(text, "%s\r\n", lines[i] + 2);
        } else if (inside) {
            break;
        }
    }
    return g_string_free(text, false);
}

/* The example in the manual is the output after these steps */
static void test_example(void)
{
    const char *dir = g_getenv("G_TEST_SRCDIR");
    g_autofree char *expected = NULL;
    g_autofree char *text = NULL;
    Test t;

    if (!dir) {
        g_test_skip("G_TEST_SRCDIR is not set");
        return;
    }
    expected = example(dir);
    start_iommu(&t, DEVICE);
    map_pasid(&t, 0, 2);
    map_pasid(&t, PASID, 8);
    for (int i = 0; i < 4; i++) {
        g_assert_cmpint(svm_read(&t, PASID, 0, 8), ==, 0);
        g_assert_cmpint(svm_read(&t, QATD_NO_PASID, 0, 2), ==, 0);
    }
    g_assert_cmpint(translate(&t, PASID, 8, 1, 1), ==, 1);
    inv_pasid(&t, PASID, false);
    text = info(&t);
    g_assert_cmpstr(text, ==, expected);
    stop(&t);
}

/* The steps of requests and invalidations have trace events */
static void test_trace(void)
{
    static const char *const events[] = {
        "pci_ats_request_translation ", "pci_ats_translation ",
        "pci_ats_invalidate ", "pci_pasid_dma_rw ", "pci_pri_request_page ",
        "vtd_ats_request ", "vtd_ats_result ", "iommu_dev_tlb_invalidate ",
        "vtd_pasid_request ", "vtd_translated_request ", "vtd_dmar_fault ",
        "vtd_fault_request ",
    };
    g_autofree char *path = qatd_temporary_file();
    g_autofree char *device = NULL;
    g_autofree char *log = NULL;
    Test t;

    device = g_strdup_printf(DEVICE " -D %s -trace pci_ats_* "
                             "-trace pci_pasid_* -trace pci_pri_* "
                             "-trace vtd_ats_* -trace vtd_pasid_* "
                             "-trace vtd_translated_* -trace iommu_dev_tlb_* "
                             "-trace vtd_dmar_fault -trace vtd_fault_request",
                             path);
    start_iommu(&t, device);
    map_pasid(&t, PASID, 1);
    g_assert_cmpint(svm_read(&t, PASID, 0, 1), ==, 0);
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_DMA_READ, PASID, IOVA, 4, 0),
                    ==, 0);
    /* A missing page is a fault of an untranslated request */
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_DMA_READ, PASID, IOVA + PAGE,
                                 4, 0), !=, 0);
    qatd_page_request(&t.dev, PASID, IOVA, 0, ATD_FLAG_LAST | ATD_FLAG_READ);
    inv_pasid(&t, PASID, false);
    stop(&t);

    g_assert_true(g_file_get_contents(path, &log, NULL, NULL));
    unlink(path);
    if (!log[0]) {
        g_test_skip("this build does not write traces to the log");
        return;
    }
    for (int i = 0; i < ARRAY_SIZE(events); i++) {
        if (!strstr(log, events[i])) {
            g_error("trace event %s is missing: %s", events[i], log);
        }
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/pci-ats-query/no-capabilities", test_no_capabilities);
    qtest_add_func("/pci-ats-query/identity", test_identity);
    qtest_add_func("/pci-ats-query/ats", test_ats);
    qtest_add_func("/pci-ats-query/pasid", test_pasid);
    qtest_add_func("/pci-ats-query/pri", test_pri);
    qtest_add_func("/pci-ats-query/unplug", test_unplug);
    if (qtest_has_device("intel-iommu")) {
        qtest_add_func("/pci-ats-query/page-requests", test_page_requests);
        qtest_add_func("/pci-ats-query/translations", test_translations);
        qtest_add_func("/pci-ats-query/invalidations", test_invalidations);
        qtest_add_func("/pci-ats-query/atc", test_atc);
        qtest_add_func("/pci-ats-query/threads", test_threads);
        qtest_add_func("/pci-ats-query/example", test_example);
        qtest_add_func("/pci-ats-query/trace", test_trace);
    }
    return g_test_run();
}
