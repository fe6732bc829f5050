/*
 * QTest testcase for virtio-iommu: invalid requests, and requests of threads
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Sections are those of VIRTIO 1.3.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "standard-headers/linux/virtio_iommu.h"
#include "standard-headers/linux/virtio_pci.h"
#include "standard-headers/linux/virtio_ring.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/viommu.h"

#define IOMMU_DEVFN QPCI_DEVFN(7, 0)
#define DEVICE      QATD_BDF(0, 4, 0)
#define PORT        QATD_BDF(0, 5, 0)
#define DOMAIN      1
#define IOVA        0x40000000ULL
#define PAGE        0x1000ULL
#define MARK        0x5a5a5a5a5a5a5a5aULL

#define MACHINE     "-M q35 -nodefaults -m 256M " \
                    "-device virtio-iommu-pci,addr=7 "
#define ON_ROOT_BUS "-device pci-ats-testdev,addr=4 "
#define BELOW_PORT  "-device pcie-root-port,id=rp,addr=5,chassis=1 " \
                    "-device pci-ats-testdev,bus=rp,addr=0 "

typedef struct Fixture {
    QTestState *qts;
    QGuestAllocator alloc;
    QViommu iommu;
    QATD dev;
    uint64_t pages;             /* three pages */
} Fixture;

static void fixture_start(Fixture *f, const char *args, uint16_t bdf)
{
    f->qts = qtest_initf(MACHINE "%s", args);
    qecam_enable(f->qts);
    pc_alloc_init(&f->alloc, f->qts, ALLOC_NO_FLAGS);
    if (bdf >> 8) {
        qecam_setup_bridge(f->qts, PORT, bdf >> 8, bdf >> 8);
    }
    qatd_init(&f->dev, f->qts, bdf, 0);
    qviommu_init(&f->iommu, f->qts, &f->alloc, IOMMU_DEVFN);
    f->pages = guest_alloc(&f->alloc, 3 * PAGE);
}

static void fixture_stop(Fixture *f)
{
    guest_free(&f->alloc, f->pages);
    qviommu_cleanup(&f->iommu);
    qtest_quit(f->qts);
    alloc_destroy(&f->alloc);
}

/* Attach an endpoint to the domain */
static void attach(Fixture *f, uint16_t bdf)
{
    g_assert_cmpuint(qviommu_attach(&f->iommu, DOMAIN, bdf, 0), ==,
                     VIRTIO_IOMMU_S_OK);
}

/* Map the page at IOVA */
static void map_page(Fixture *f, uint64_t phys)
{
    g_assert_cmpuint(qviommu_map(&f->iommu, DOMAIN, IOVA, IOVA + PAGE - 1,
                                 phys), ==, VIRTIO_IOMMU_S_OK);
}

/* Returns whether the device can read @len bytes at @iova */
static bool reads(Fixture *f, uint64_t iova, uint64_t len)
{
    return qatd_command(&f->dev, ATD_CMD_DMA_READ, QATD_NO_PASID, iova, len,
                        0) == 0;
}

/* 5.13.6.5: virt_end is greater than virt_start */
static void test_map_inverted(void)
{
    Fixture f;

    fixture_start(&f, ON_ROOT_BUS, DEVICE);
    attach(&f, DEVICE);
    g_assert_cmpuint(qviommu_map(&f.iommu, DOMAIN, 0x2000, 0xfff, f.pages),
                     ==, VIRTIO_IOMMU_S_INVAL);
    g_assert_cmpuint(qviommu_map(&f.iommu, DOMAIN, UINT64_MAX, 0, f.pages),
                     ==, VIRTIO_IOMMU_S_INVAL);
    g_assert_cmpuint(qviommu_map(&f.iommu, DOMAIN, 0x2000, 0x2000, f.pages),
                     ==, VIRTIO_IOMMU_S_INVAL);
    /* An interval that does not equal itself would never be removed */
    g_assert_cmpuint(qviommu_unmap(&f.iommu, DOMAIN, 0, UINT64_MAX), ==,
                     VIRTIO_IOMMU_S_OK);
    g_assert_cmpuint(qviommu_unmap(&f.iommu, DOMAIN, 0x2000, 0xfff), ==,
                     VIRTIO_IOMMU_S_INVAL);
    map_page(&f, f.pages);
    g_assert_true(reads(&f, IOVA, 8));
    fixture_stop(&f);
}

/* 5.13.6: requests for addresses outside of input_range fail */
static void test_map_beyond_input_range(void)
{
    Fixture f;
    const uint64_t end = 1ULL << 39;

    fixture_start(&f, ON_ROOT_BUS
                  "-global virtio-iommu-pci.aw-bits=39 ", DEVICE);
    attach(&f, DEVICE);
    g_assert_cmpuint(qviommu_map(&f.iommu, DOMAIN, end - PAGE, end + PAGE - 1,
                                 f.pages), ==, VIRTIO_IOMMU_S_RANGE);
    g_assert_false(reads(&f, end - PAGE, 8));
    g_assert_cmpuint(qviommu_map(&f.iommu, DOMAIN, end - PAGE, end - 1,
                                 f.pages), ==, VIRTIO_IOMMU_S_OK);
    g_assert_true(reads(&f, end - PAGE, 8));
    fixture_stop(&f);
}

/* 5.13.6.3: the device rejects requests with reserved bits */
static void test_attach_reserved(void)
{
    Fixture f;

    fixture_start(&f, ON_ROOT_BUS, DEVICE);
    g_assert_cmpuint(qviommu_attach(&f.iommu, DOMAIN, DEVICE, 1), ==,
                     VIRTIO_IOMMU_S_INVAL);
    g_assert_cmpuint(qviommu_detach(&f.iommu, DOMAIN, DEVICE), ==,
                     VIRTIO_IOMMU_S_NOENT);
    fixture_stop(&f);
}

/* 5.13.6.3: an endpoint ID only consists of bus, device and function */
static void test_attach_beyond_bdf(void)
{
    Fixture f;

    fixture_start(&f, ON_ROOT_BUS, DEVICE);
    g_assert_cmpuint(qviommu_attach(&f.iommu, DOMAIN, 0x10000 | DEVICE, 0), ==,
                     VIRTIO_IOMMU_S_NOENT);
    fixture_stop(&f);
}

/*
 * 5.13.6.5: addresses before a mapping are not mapped, including the last byte
 */
static void test_translate_below_mapping(void)
{
    Fixture f;

    fixture_start(&f, ON_ROOT_BUS
                  "-global virtio-iommu-pci.aw-bits=64 ", DEVICE);
    attach(&f, DEVICE);
    map_page(&f, f.pages + PAGE);
    g_assert_true(reads(&f, IOVA, PAGE));
    g_assert_false(reads(&f, IOVA - 1, 1));
    g_assert_false(reads(&f, IOVA + PAGE, 1));
    g_assert_cmpuint(qviommu_map(&f.iommu, DOMAIN, UINT64_MAX - PAGE + 1,
                                 UINT64_MAX, f.pages), ==, VIRTIO_IOMMU_S_OK);
    g_assert_true(reads(&f, UINT64_MAX - 7, 8));
    g_assert_true(reads(&f, UINT64_MAX, 1));
    fixture_stop(&f);
}

/*
 * A guest may renumber buses while an endpoint is attached. No endpoint is
 * attached under the new number, and bypass is on (5.13.6).
 */
static void test_renumber_attached(void)
{
    Fixture f;
    const uint16_t old = QATD_BDF(1, 0, 0), new = QATD_BDF(2, 0, 0);

    fixture_start(&f, BELOW_PORT, old);
    qtest_writeq(f.qts, f.pages, MARK);
    attach(&f, old);
    map_page(&f, f.pages);
    g_assert_true(reads(&f, IOVA, 8));

    qecam_setup_bridge(f.qts, PORT, new >> 8, new >> 8);
    g_assert_true(reads(&f, f.pages, 8));
    g_assert_cmphex(qtest_readq(f.qts, f.dev.data), ==, MARK);

    attach(&f, new);
    g_assert_cmpuint(qviommu_attach(&f.iommu, DOMAIN + 1, QATD_BDF(3, 0, 0),
                                    0), ==, VIRTIO_IOMMU_S_NOENT);
    /*
     * The endpoint with this number has been attached, but does not exist any
     * more
     */
    g_assert_cmpuint(qviommu_detach(&f.iommu, DOMAIN, old), ==,
                     VIRTIO_IOMMU_S_OK);
    g_assert_cmpuint(qviommu_attach(&f.iommu, DOMAIN, old, 0), ==,
                     VIRTIO_IOMMU_S_NOENT);
    fixture_stop(&f);
}

static void migrate(Fixture *f, const char *args)
{
    g_autofree char *path = qatd_save_machine(f->qts);

    f->qts = qtest_initf(MACHINE "%s -incoming defer", args);
    f->dev.qts = f->iommu.qts = f->iommu.pci->qts = f->qts;
    qatd_load_machine(f->qts, path);
}

/* Endpoints are found by their bus numbers when they are loaded (5.13.6) */
static void test_migrate_below_port(void)
{
    Fixture f;
    const uint16_t bdf = QATD_BDF(1, 0, 0);

    fixture_start(&f, BELOW_PORT, bdf);
    qtest_writeq(f.qts, f.pages, MARK);
    attach(&f, bdf);
    map_page(&f, f.pages);
    migrate(&f, BELOW_PORT);
    g_assert_true(reads(&f, IOVA, 8));
    g_assert_cmphex(qtest_readq(f.qts, f.dev.data), ==, MARK);
    g_assert_false(reads(&f, f.pages, 8));

    g_assert_cmpuint(qviommu_unmap(&f.iommu, DOMAIN, IOVA, IOVA + PAGE - 1),
                     ==, VIRTIO_IOMMU_S_OK);
    g_assert_false(reads(&f, IOVA, 8));
    g_assert_cmpuint(qviommu_detach(&f.iommu, DOMAIN, bdf), ==,
                     VIRTIO_IOMMU_S_OK);
    g_assert_true(reads(&f, f.pages, 8));
    fixture_stop(&f);
}

/* The same for an endpoint whose number no device has any more */
static void test_migrate_renumbered(void)
{
    Fixture f;
    const uint16_t old = QATD_BDF(1, 0, 0), new = QATD_BDF(2, 0, 0);

    fixture_start(&f, BELOW_PORT, old);
    qtest_writeq(f.qts, f.pages, MARK);
    attach(&f, old);
    qecam_setup_bridge(f.qts, PORT, new >> 8, new >> 8);
    migrate(&f, BELOW_PORT);
    g_assert_true(reads(&f, f.pages, 8));
    g_assert_cmphex(qtest_readq(f.qts, f.dev.data), ==, MARK);

    map_page(&f, f.pages);
    g_assert_cmpuint(qviommu_attach(&f.iommu, DOMAIN, old, 0), ==,
                     VIRTIO_IOMMU_S_NOENT);
    g_assert_cmpuint(qviommu_detach(&f.iommu, DOMAIN, old), ==,
                     VIRTIO_IOMMU_S_OK);
    fixture_stop(&f);
}

/* ---- Requests of a thread of the device, without the BQL ---- */

static int64_t thread_command(Fixture *f, unsigned command, uint64_t iova)
{
    return qatd_command(&f->dev, command, QATD_NO_PASID, iova, 8,
                        ATD_FLAG_THREAD);
}

/* Check that the device reads @value at @iova, in a thread */
static void expect_read(Fixture *f, unsigned command, uint64_t iova,
                        uint64_t value)
{
    qtest_writeq(f->qts, f->dev.data, 0);
    g_assert_cmpint(thread_command(f, command, iova), ==, 0);
    g_assert_cmphex(qtest_readq(f->qts, f->dev.data), ==, value);
}

/* 5.13.6.5: a thread uses mappings, by itself and through the DMA engine */
static void test_thread_mapped(void)
{
    Fixture f;

    fixture_start(&f, ON_ROOT_BUS, DEVICE);
    qtest_writeq(f.qts, f.pages, MARK);
    attach(&f, DEVICE);
    map_page(&f, f.pages);
    expect_read(&f, ATD_CMD_DMA_READ, IOVA, MARK);
    expect_read(&f, ATD_CMD_SVM_READ, IOVA, MARK);

    qtest_writeq(f.qts, f.dev.data, 5);
    g_assert_cmpint(thread_command(&f, ATD_CMD_DMA_WRITE, IOVA + 8), ==, 0);
    g_assert_cmpint(thread_command(&f, ATD_CMD_SVM_WRITE, IOVA + 16), ==, 0);
    g_assert_cmphex(qtest_readq(f.qts, f.pages + 8), ==, 5);
    g_assert_cmphex(qtest_readq(f.qts, f.pages + 16), ==, 5);
    fixture_stop(&f);
}

/* 5.13.6: a thread bypasses the IOMMU without a domain, if bypass is set */
static void test_thread_bypass(void)
{
    Fixture f;

    fixture_start(&f, ON_ROOT_BUS, DEVICE);
    qtest_writeq(f.qts, f.pages, MARK);
    expect_read(&f, ATD_CMD_DMA_READ, f.pages, MARK);
    expect_read(&f, ATD_CMD_SVM_READ, f.pages, MARK);

    qviommu_add_event_buffer(&f.iommu);
    qviommu_set_bypass(&f.iommu, false);
    g_assert_cmpint(thread_command(&f, ATD_CMD_SVM_READ, f.pages), <, 0);
    qviommu_expect_fault(&f.iommu, VIRTIO_IOMMU_FAULT_R_UNKNOWN,
                         VIRTIO_IOMMU_FAULT_F_ADDRESS, DEVICE, f.pages);
    qviommu_set_bypass(&f.iommu, true);
    expect_read(&f, ATD_CMD_SVM_READ, f.pages, MARK);
    fixture_stop(&f);
}

/* 5.13.6.9: the fault of a thread is reported */
static void test_thread_fault(void)
{
    static const unsigned commands[] = { ATD_CMD_DMA_READ, ATD_CMD_SVM_READ };
    Fixture f;

    fixture_start(&f, ON_ROOT_BUS, DEVICE);
    attach(&f, DEVICE);
    map_page(&f, f.pages);
    for (int i = 0; i < ARRAY_SIZE(commands); i++) {
        qviommu_add_event_buffer(&f.iommu);
        g_assert_cmpint(thread_command(&f, commands[i], IOVA + PAGE), !=, 0);
        qviommu_expect_fault(&f.iommu, VIRTIO_IOMMU_FAULT_R_MAPPING,
                             VIRTIO_IOMMU_FAULT_F_ADDRESS, DEVICE,
                             IOVA + PAGE);
    }
    /* Nothing else is reported. */
    qviommu_add_event_buffer(&f.iommu);
    expect_read(&f, ATD_CMD_SVM_READ, IOVA, 0);
    g_usleep(10000);
    g_assert_false(qviommu_has_event(&f.iommu));
    fixture_stop(&f);
}

/*
 * 5.13.6.9: more faults than buffers.  Those without a buffer are dropped, and
 * a later one with a buffer is reported.
 */
static void test_thread_fault_flood(void)
{
    Fixture f;

    fixture_start(&f, ON_ROOT_BUS, DEVICE);
    attach(&f, DEVICE);
    for (unsigned i = 0; i < 300; i++) {
        g_assert_cmpint(thread_command(&f, ATD_CMD_DMA_READ, IOVA), !=, 0);
    }
    /* The main loop takes the faults of the thread out of their queue. */
    g_usleep(10000);
    qviommu_add_event_buffer(&f.iommu);
    g_assert_cmpint(thread_command(&f, ATD_CMD_DMA_READ, IOVA + PAGE), !=, 0);
    qviommu_expect_fault(&f.iommu, VIRTIO_IOMMU_FAULT_R_MAPPING,
                         VIRTIO_IOMMU_FAULT_F_ADDRESS, DEVICE, IOVA + PAGE);
    fixture_stop(&f);
}

static void common_writel(QVirtioPCIDevice *dev, size_t reg, uint32_t val)
{
    qpci_io_writel(dev->pdev, dev->bar, dev->common_cfg_offset + reg, val);
}

static void common_writew(QVirtioPCIDevice *dev, size_t reg, uint16_t val)
{
    qpci_io_writew(dev->pdev, dev->bar, dev->common_cfg_offset + reg, val);
}

/*
 * Place the used ring of the event queue at configuration space of the device:
 * the id of the first element, which is 0, goes to the Command register.
 */
static void aim_event_at_device(Fixture *f)
{
    QVirtioPCIDevice *dev = f->iommu.dev;

    common_writew(dev, offsetof(struct virtio_pci_common_cfg, queue_select), 1);
    common_writel(dev, offsetof(struct virtio_pci_common_cfg, queue_used_lo),
                  qecam_address(DEVICE, PCI_COMMAND) -
                  offsetof(struct vring_used, ring));
    common_writel(dev, offsetof(struct virtio_pci_common_cfg, queue_used_hi),
                  0);
    common_writew(dev, offsetof(struct virtio_pci_common_cfg, queue_enable), 1);
}

/*
 * A write that disables bus mastering returns when the device has no request in
 * progress (PCIe 5.0, 7.5.1.1.3), including the one that has faulted.
 */
static void check_report_to_device(uint64_t flags)
{
    Fixture f;

    fixture_start(&f, ON_ROOT_BUS, DEVICE);
    attach(&f, DEVICE);
    qviommu_add_event_buffer(&f.iommu);
    aim_event_at_device(&f);
    qatd_start(&f.dev, ATD_CMD_SVM_READ, QATD_NO_PASID, IOVA, 8, flags);
    while (qecam_readw(f.qts, DEVICE, PCI_COMMAND) & PCI_COMMAND_MASTER) {
        g_usleep(100);
    }
    fixture_stop(&f);
}

static void test_report_to_device(void)
{
    check_report_to_device(0);
}

static void test_thread_report_to_device(void)
{
    check_report_to_device(ATD_FLAG_THREAD);
}

/* The guest changes everything that a thread uses at that time */
static void test_thread_changes(void)
{
    Fixture f;

    fixture_start(&f, ON_ROOT_BUS, DEVICE);
    attach(&f, DEVICE);
    map_page(&f, f.pages);
    for (unsigned i = 0; i < 100; i++) {
        qatd_write(&f.dev, ATD_REPEAT, 2000);
        qatd_start(&f.dev, i % 2 ? ATD_CMD_DMA_WRITE : ATD_CMD_SVM_WRITE,
                   QATD_NO_PASID, IOVA, PAGE, ATD_FLAG_THREAD);
        qviommu_unmap(&f.iommu, DOMAIN, IOVA, IOVA + PAGE - 1);
        qviommu_detach(&f.iommu, DOMAIN, DEVICE);
        qviommu_set_bypass(&f.iommu, i % 3);
        attach(&f, DEVICE);
        map_page(&f, f.pages + (i % 3) * PAGE);
        qatd_wait(&f.dev);
    }
    qatd_write(&f.dev, ATD_REPEAT, 0);
    qtest_writeq(f.qts, f.pages, MARK);
    expect_read(&f, ATD_CMD_SVM_READ, IOVA, MARK);
    fixture_stop(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/viommu/map/inverted", test_map_inverted);
    qtest_add_func("/viommu/map/beyond-input-range",
                   test_map_beyond_input_range);
    qtest_add_func("/viommu/attach/reserved", test_attach_reserved);
    qtest_add_func("/viommu/attach/beyond-bdf", test_attach_beyond_bdf);
    qtest_add_func("/viommu/translate/below-mapping",
                   test_translate_below_mapping);
    qtest_add_func("/viommu/translate/renumber", test_renumber_attached);
    qtest_add_func("/viommu/migrate/below-port", test_migrate_below_port);
    qtest_add_func("/viommu/migrate/renumbered", test_migrate_renumbered);
    qtest_add_func("/viommu/thread/mapped", test_thread_mapped);
    qtest_add_func("/viommu/thread/bypass", test_thread_bypass);
    qtest_add_func("/viommu/thread/fault", test_thread_fault);
    qtest_add_func("/viommu/thread/fault-flood", test_thread_fault_flood);
    qtest_add_func("/viommu/thread/changes", test_thread_changes);
    qtest_add_func("/viommu/thread/report-to-device",
                   test_thread_report_to_device);
    qtest_add_func("/viommu/report-to-device", test_report_to_device);
    return g_test_run();
}
