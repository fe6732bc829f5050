/*
 * QTest testcase for invalid requests to virtio-iommu
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
    return g_test_run();
}
