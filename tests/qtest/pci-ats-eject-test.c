/*
 * QTest testcase for devices with ATS that are unplugged while they are busy
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The slot of a root port with one of the devices svm, dsa and pci-ats-testdev
 * is powered off (PCIe 5.0, 6.7.1.8): by the test, or by an interrupt message
 * of the device itself, which the guest directs to Slot Control of the port
 * (7.5.3.10) in extended configuration space.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/misc/svm-demo.h"
#include "libqos/dsa.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd-prq.h"

#define PORT        QATD_BDF(0, 4, 0)
#define DEV         QATD_BDF(1, 0, 0)
#define REGS        0xd0000000ULL
#define PASID       5
#define DOMAIN      1
#define SECONDS     30

#define KIB4        0x1000ULL
#define ADDR        0x7f0012345000ULL
#define MSI_IOVA    0x5000ULL

/* First-stage entry (VT-d 9.7) */
#define FS          (VTD_FL_P | VTD_FL_RW | VTD_FL_US)

/* Slot Control: power off, both indicators off */
#define SLOT_OFF    (PCI_EXP_SLTCTL_PWR_OFF | PCI_EXP_SLTCTL_PWR_IND_OFF | \
                     PCI_EXP_SLTCTL_ATTN_IND_OFF)

#define SLOT_ON     (PCI_EXP_SLTCTL_PWR_IND_ON | PCI_EXP_SLTCTL_ATTN_IND_OFF)

/* Operations of svm: a short one ends in the vCPU, a long one in the worker */
#define SHORT       64
#define LONG        (KIB4 + 64)

typedef struct Test {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QVtdPrq prq;
    uint64_t root;              /* tables of PASID */
    uint64_t root0;             /* of requests without PASID */
    uint16_t slot_control;      /* Slot Control of the port */
} Test;

/* Root ports control their slots, not ACPI */
#define NATIVE \
    "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off "

/* ---- Setup ---- */

static void start(Test *t, const char *args)
{
    *t = (Test) { };
    t->qts = qtest_initf("-M q35 -nodefaults "
                         "-device pcie-root-port,id=rp,addr=4,chassis=1 "
                         "-device pcie-root-port,id=rp2,addr=5,chassis=2 %s",
                         args);
    qecam_enable(t->qts);
    qecam_setup_bridge(t->qts, PORT, 1, 1);
    t->slot_control = qecam_cap(t->qts, PORT, PCI_CAP_ID_EXP) + PCI_EXP_SLTCTL;
    pc_alloc_init(&t->alloc, t->qts, 0);
}

/* Start with an IOMMU; MSI_IOVA is the configuration space of the port */
static void start_iommu(Test *t, const char *args)
{
    g_autofree char *all = g_strdup_printf("-device intel-iommu,svm=on %s",
                                           args);

    start(t, all);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    t->root = qvtd_sm_attach_process(&t->vtd, DEV, PASID, DOMAIN, &t->root0);
    qvtd_map_entry(&t->vtd, t->root0, 4, MSI_IOVA, KIB4,
                   qecam_address(PORT, 0) | FS, FS);
    qvtd_enable(&t->vtd);
    qvtd_prq_init(&t->prq, &t->vtd, 2);
}

static void stop(Test *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

static void power_off(Test *t)
{
    qecam_writew(t->qts, PORT, t->slot_control, SLOT_OFF);
}

/*
 * After this no register access can keep a reference to the device. RCU frees
 * the mapping later, at a time that the test cannot observe.
 */
static void unmap_registers(Test *t)
{
    qecam_writew(t->qts, DEV, PCI_COMMAND, PCI_COMMAND_MASTER);
    g_usleep(200 * 1000);
}

/* Without consent of the guest, the next reset unplugs the device */
static void unplug(Test *t)
{
    qtest_qmp_device_del_send(t->qts, "dev");
    qtest_system_reset_nowait(t->qts);
}

/* The device is deleted, and the machine continues */
static void expect_gone(Test *t)
{
    qtest_qmp_eventwait(t->qts, "DEVICE_DELETED");
    qtest_qmp_assert_success(t->qts, "{ 'execute': 'query-status' }");
    qtest_qmp_device_add(t->qts, "svm", "other", "{ 'bus': 'rp2' }");
}

static void map(Test *t, uint64_t addr)
{
    qvtd_map_entry(&t->vtd, t->root, 4, addr, KIB4,
                   qvtd_new_table(&t->vtd) | FS, FS);
}

/* Map the page of the request, and respond */
static void respond(Test *t, const QVtdPageReq *rq)
{
    map(t, rq->addr);
    qvtd_prq_respond(&t->prq, rq, VTD_PAGE_RESP_SUCCESS);
}

/* ---- svm ---- */

/*
 * Direct the MSI to Slot Control of the port, whose configuration space is
 * @page
 */
static void svm_enable(Test *t, uint64_t page)
{
    qecam_writel(t->qts, DEV, PCI_BASE_ADDRESS_0, REGS);
    qecam_writew(t->qts, DEV, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    qecam_enable_msi(t->qts, DEV, page + t->slot_control, SLOT_OFF);
}

static void svm_begin(Test *t, uint32_t pasid, uint64_t addr, uint64_t size)
{
    qtest_writel(t->qts, REGS + SVM_DEMO_REG_PASID, pasid);
    qtest_writeq(t->qts, REGS + SVM_DEMO_REG_ADDR, addr);
    qtest_writeq(t->qts, REGS + SVM_DEMO_REG_SIZE, size);
    qtest_writeq(t->qts, REGS + SVM_DEMO_REG_START, SVM_DEMO_START_WRITE);
}

/*
 * The worker of the device sends the interrupt, or the vCPU during the access
 */
static void test_svm_own_interrupt(const void *opaque)
{
    Test t;

    start(&t, NATIVE "-device svm,bus=rp,id=dev");
    svm_enable(&t, qecam_address(PORT, 0));
    svm_begin(&t, SVM_DEMO_PASID_NONE, guest_alloc(&t.alloc, 2 * KIB4),
              GPOINTER_TO_UINT(opaque));
    expect_gone(&t);
    stop(&t);
}

static void svm_begin_and_fault(Test *t, uint64_t size, QVtdPageReq *rq)
{
    start_iommu(t, NATIVE "-device svm,bus=rp,id=dev");
    svm_enable(t, MSI_IOVA);
    qecam_enable_ats(t->qts, DEV, 0, 32);
    map(t, ADDR + KIB4);
    svm_begin(t, PASID, ADDR, size);
    qvtd_prq_wait(&t->prq, SECONDS, rq);
}

/* The response of the guest resumes and so ends the operation */
static void test_svm_response(const void *opaque)
{
    QVtdPageReq rq;
    Test t;

    svm_begin_and_fault(&t, GPOINTER_TO_UINT(opaque), &rq);
    respond(&t, &rq);
    expect_gone(&t);
    stop(&t);
}

/* The same while only the operation holds a reference to the device */
static void test_svm_response_unmapped(const void *opaque)
{
    QVtdPageReq rq;
    Test t;

    svm_begin_and_fault(&t, GPOINTER_TO_UINT(opaque), &rq);
    unmap_registers(&t);
    respond(&t, &rq);
    expect_gone(&t);
    stop(&t);
}

/* The device is unplugged without a response */
static void test_svm_parked(const void *opaque)
{
    QVtdPageReq rq;
    Test t;

    svm_begin_and_fault(&t, GPOINTER_TO_UINT(opaque), &rq);
    power_off(&t);
    expect_gone(&t);
    /* The response has no recipient */
    respond(&t, &rq);
    stop(&t);
}

static void test_svm_quit(const void *opaque)
{
    QVtdPageReq rq;
    Test t;

    svm_begin_and_fault(&t, GPOINTER_TO_UINT(opaque), &rq);
    stop(&t);
}

/* ---- pci-ats-testdev ---- */

static void testdev_begin_and_fault(Test *t, QATD *d, uint64_t flags,
                                    const char *args)
{
    QVtdPageReq rq;

    start_iommu(t, args);
    qatd_init(d, t->qts, DEV, 0);
    qatd_enable_all(d, 32);
    qatd_start(d, ATD_CMD_SVM_WRITE, PASID, ADDR, 64, flags);
    qvtd_prq_wait(&t->prq, SECONDS, &rq);
}

static void test_testdev_parked(const void *opaque)
{
    Test t;
    QATD d;

    testdev_begin_and_fault(&t, &d, GPOINTER_TO_UINT(opaque),
                            NATIVE "-device pci-ats-testdev,bus=rp,id=dev");
    power_off(&t);
    expect_gone(&t);
    stop(&t);
}

static void test_testdev_unplug(const void *opaque)
{
    Test t;
    QATD d;

    testdev_begin_and_fault(&t, &d, GPOINTER_TO_UINT(opaque),
                            "-device pci-ats-testdev,bus=rp,id=dev");
    unplug(&t);
    expect_gone(&t);
    stop(&t);
}

static void test_testdev_quit(const void *opaque)
{
    Test t;
    QATD d;

    testdev_begin_and_fault(&t, &d, GPOINTER_TO_UINT(opaque),
                            NATIVE "-device pci-ats-testdev,bus=rp,id=dev");
    stop(&t);
}

/* An endless command ends, too */
static void test_testdev_endless_command(void)
{
    Test t;
    QATD d;

    start(&t, NATIVE "-device pci-ats-testdev,bus=rp,id=dev");
    qatd_init(&d, t.qts, DEV, 0);
    qatd_write(&d, ATD_REPEAT, UINT64_MAX);
    qatd_start(&d, ATD_CMD_SVM_WRITE, QATD_NO_PASID,
               guest_alloc(&t.alloc, KIB4), KIB4, ATD_FLAG_THREAD);
    power_off(&t);
    expect_gone(&t);
    stop(&t);
}

/* A new device is plugged before RCU has freed the mapping of the old one */
static void test_testdev_plug_again(void)
{
    Test t;
    QATD d;

    start(&t, NATIVE "-device pci-ats-testdev,bus=rp,id=dev");
    for (int i = 0; i < 10; i++) {
        qecam_writew(t.qts, PORT, t.slot_control, SLOT_ON);
        qatd_init(&d, t.qts, DEV, 0);
        power_off(&t);
        qtest_qmp_device_add(t.qts, "pci-ats-testdev", "dev",
                             "{ 'bus': 'rp' }");
    }
    stop(&t);
}

/* ---- dsa ---- */

static void dsa_aim_vector(Test *t, QDSA *d, unsigned vector, uint64_t page)
{
    uint8_t pos = qecam_cap(t->qts, DEV, PCI_CAP_ID_MSIX);
    unsigned entry = qecam_readl(t->qts, DEV, pos + PCI_MSIX_TABLE) +
                     vector * PCI_MSIX_ENTRY_SIZE;

    qdsa_writel(d, entry + PCI_MSIX_ENTRY_LOWER_ADDR, page + t->slot_control);
    qdsa_writel(d, entry + PCI_MSIX_ENTRY_DATA, SLOT_OFF);
}

/*
 * A descriptor sends an interrupt, and a command that waits for the descriptor
 */
static void test_dsa_own_interrupt(void)
{
    QDSADesc desc;
    QDSA d;
    Test t;

    start(&t, NATIVE "-device dsa,bus=rp,id=dev");
    qdsa_init(&d, t.qts, DEV, guest_alloc(&t.alloc, KIB4));
    dsa_aim_vector(&t, &d, 1, qecam_address(PORT, 0));
    qdsa_start(&d, 0);
    qdsa_desc(&desc, DSA_OP_NOOP, DSA_FLAG_REQUEST_INT, 0);
    stl_le_p(desc.raw + DSA_DESC_INT_HANDLE, 1);
    qdsa_submit(&d, &desc);
    qdsa_writel(&d, A_DSA_CMD, DSA_CMD_DRAIN_ALL << R_DSA_CMD_CODE_SHIFT |
                               R_DSA_CMD_INT_MASK);
    expect_gone(&t);
    stop(&t);
}

/* A command that has ended sends an interrupt of each kind */
static void test_dsa_own_command_interrupt(void)
{
    QDSA d;
    Test t;

    start(&t, NATIVE "-device dsa,bus=rp,id=dev");
    qdsa_init(&d, t.qts, DEV, guest_alloc(&t.alloc, KIB4));
    dsa_aim_vector(&t, &d, 0, qecam_address(PORT, 0));
    qdsa_start(&d, 0);
    qdsa_writel(&d, A_DSA_CMD, DSA_CMD_DRAIN_ALL << R_DSA_CMD_CODE_SHIFT |
                               R_DSA_CMD_INT_MASK);
    expect_gone(&t);
    stop(&t);
}

static void dsa_begin_and_fault(Test *t, QDSA *d, QVtdPageReq *rq)
{
    QDSADesc desc;

    start_iommu(t, NATIVE "-device dsa,bus=rp,id=dev");
    qdsa_init(d, t->qts, DEV, guest_alloc(&t->alloc, KIB4));
    dsa_aim_vector(t, d, 1, MSI_IOVA);
    qdsa_enable_ats(d);
    qdsa_writel(d, A_DSA_GENCFG, R_DSA_GENCFG_USER_INT_MASK);
    qdsa_writel(d, qdsa_msixperm(1), R_DSA_MSIXPERM_PASID_EN_MASK |
                                     PASID << R_DSA_MSIXPERM_PASID_SHIFT);
    qdsa_start(d, R_DSA_WQCFG1_PASID_EN_MASK |
                  R_DSA_WQCFG1_BLOCK_ON_FAULT_MASK |
                  PASID << R_DSA_WQCFG1_PASID_SHIFT);
    map(t, ADDR + KIB4);
    qdsa_desc(&desc, DSA_OP_FILL, DSA_FLAG_BLOCK_ON_FAULT |
              DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_INT, ADDR + KIB4);
    stl_le_p(desc.raw + DSA_DESC_INT_HANDLE, 1);
    qdsa_desc_data(&desc, 0, ADDR, 64);
    qdsa_submit(d, &desc);
    qvtd_prq_wait(&t->prq, SECONDS, rq);
}

/*
 * Only the bottom half that sends the interrupt holds a reference to the
 * device
 */
static void test_dsa_response_unmapped(void)
{
    QVtdPageReq rq;
    QDSA d;
    Test t;

    dsa_begin_and_fault(&t, &d, &rq);
    unmap_registers(&t);
    respond(&t, &rq);
    expect_gone(&t);
    stop(&t);
}

static void test_dsa_parked(void)
{
    QVtdPageReq rq;
    QDSA d;
    Test t;

    dsa_begin_and_fault(&t, &d, &rq);
    power_off(&t);
    expect_gone(&t);
    stop(&t);
}

static void test_dsa_quit(void)
{
    QVtdPageReq rq;
    QDSA d;
    Test t;

    dsa_begin_and_fault(&t, &d, &rq);
    stop(&t);
}

/* ---- All devices ---- */

static const char *const devices[] = { "svm", "dsa", "pci-ats-testdev" };

/* device_add fails after the device has been realized */
static void test_failed_realize(void)
{
    Test t;

    start(&t, "");
    for (int i = 0; i < ARRAY_SIZE(devices); i++) {
        QDict *rsp = qtest_qmp(t.qts, "{ 'execute': 'device_add', "
                               "'arguments': { 'driver': %s, 'bus': 'rp', "
                               "'failover_pair_id': 'none' } }", devices[i]);

        g_assert_true(qdict_haskey(rsp, "error"));
        qobject_unref(rsp);
    }
    for (int i = 0; i < ARRAY_SIZE(devices); i++) {
        qtest_qmp_device_add(t.qts, devices[i], "dev", "{ 'bus': 'rp' }");
        unplug(&t);
        qtest_qmp_eventwait(t.qts, "DEVICE_DELETED");
    }
    stop(&t);
}

static void add_svm(const char *name, GTestDataFunc fn)
{
    g_autofree char *path = g_strdup_printf("/pci-ats-eject/svm/%s", name);
    g_autofree char *path_long = g_strdup_printf("%s-long", path);

    qtest_add_data_func(path, GUINT_TO_POINTER(SHORT), fn);
    qtest_add_data_func(path_long, GUINT_TO_POINTER(LONG), fn);
}

static void add_testdev(const char *name, GTestDataFunc fn)
{
    g_autofree char *path = g_strdup_printf("/pci-ats-eject/testdev/%s", name);
    g_autofree char *path_async = g_strdup_printf("%s-async", path);

    qtest_add_data_func(path, GUINT_TO_POINTER(ATD_FLAG_THREAD), fn);
    qtest_add_data_func(path_async, GUINT_TO_POINTER(ATD_FLAG_ASYNC), fn);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    add_svm("own-interrupt", test_svm_own_interrupt);
    add_svm("response", test_svm_response);
    add_svm("response-unmapped", test_svm_response_unmapped);
    add_svm("parked", test_svm_parked);
    add_svm("quit", test_svm_quit);
    add_testdev("parked", test_testdev_parked);
    add_testdev("unplug", test_testdev_unplug);
    add_testdev("quit", test_testdev_quit);
    qtest_add_func("/pci-ats-eject/testdev/endless-command",
                   test_testdev_endless_command);
    qtest_add_func("/pci-ats-eject/testdev/plug-again",
                   test_testdev_plug_again);
    qtest_add_func("/pci-ats-eject/dsa/own-interrupt", test_dsa_own_interrupt);
    qtest_add_func("/pci-ats-eject/dsa/own-command-interrupt",
                   test_dsa_own_command_interrupt);
    qtest_add_func("/pci-ats-eject/dsa/response-unmapped",
                   test_dsa_response_unmapped);
    qtest_add_func("/pci-ats-eject/dsa/parked", test_dsa_parked);
    qtest_add_func("/pci-ats-eject/dsa/quit", test_dsa_quit);
    qtest_add_func("/pci-ats-eject/failed-realize", test_failed_realize);
    return g_test_run();
}
