/*
 * QTest testcase for devices with threads behind virtio-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The devices svm and dsa send untranslated requests, since virtio-iommu does
 * not support ATS.
 *
 * Section numbers are those of VIRTIO 1.3.
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "standard-headers/linux/virtio_iommu.h"
#include "hw/misc/svm-demo.h"
#include "libqos/dsa.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/viommu.h"

#define IOMMU_DEVFN QPCI_DEVFN(7, 0)
#define DSA         QATD_BDF(0, 4, 0)
#define SVM         QATD_BDF(0, 5, 0)
#define SVM_REGS    0xd1000000ULL
#define DOMAIN      1
#define IOVA        0x40000000ULL
/* Not mapped */
#define NOWHERE     0x50000000ULL
#define PAGE        0x1000ULL
#define SIZE        (1 * MiB)

typedef struct Fixture {
    QTestState *qts;
    QGuestAllocator alloc;
    QViommu iommu;
    QDSA dsa;
    uint64_t data;              /* 2 * SIZE, mapped at IOVA in reverse order */
    uint64_t cr;
    uint64_t msi;               /* address of the MSI of svm */
} Fixture;

static uint64_t alloc_pages(Fixture *f, size_t size)
{
    return ROUND_UP(guest_alloc(&f->alloc, size + PAGE), PAGE);
}

static void map(Fixture *f, uint64_t iova, uint64_t gpa, uint64_t size)
{
    g_assert_cmpuint(qviommu_map(&f->iommu, DOMAIN, iova, iova + size - 1, gpa),
                     ==, VIRTIO_IOMMU_S_OK);
}

/* Map single pages, which are not contiguous in memory, and half of it whole */
static void map_data(Fixture *f)
{
    for (uint64_t pos = 0; pos < SIZE; pos += PAGE) {
        map(f, IOVA + pos, f->data + SIZE - PAGE - pos, PAGE);
    }
    map(f, IOVA + SIZE, f->data + SIZE, SIZE);
}

/* Returns the guest physical address for an address of the device */
static uint64_t gpa_of(Fixture *f, uint64_t iova)
{
    uint64_t pos = iova - IOVA;

    return pos < SIZE ? f->data + SIZE - PAGE - (pos & ~(PAGE - 1)) +
                        (pos & (PAGE - 1))
                      : f->data + pos;
}

static void svm_write(Fixture *f, unsigned reg, uint64_t val)
{
    qtest_writeq(f->qts, SVM_REGS + reg, val);
}

static void svm_enable_msi(Fixture *f)
{
    qecam_enable_msi(f->qts, SVM, f->msi, 1);
}

static void fixture_start(Fixture *f)
{
    f->qts = qtest_init("-M q35 -nodefaults -m 256M "
                        "-device virtio-iommu-pci,addr=7 "
                        "-device dsa,addr=4 -device svm,addr=5");
    qecam_enable(f->qts);
    pc_alloc_init(&f->alloc, f->qts, ALLOC_NO_FLAGS);
    qviommu_init(&f->iommu, f->qts, &f->alloc, IOMMU_DEVFN);
    qdsa_init(&f->dsa, f->qts, DSA, alloc_pages(f, PAGE));
    qecam_writel(f->qts, SVM, PCI_BASE_ADDRESS_0, SVM_REGS);
    qecam_writew(f->qts, SVM, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    f->data = alloc_pages(f, 2 * SIZE);
    qtest_memset(f->qts, f->data, 0, 2 * SIZE);
    f->cr = alloc_pages(f, PAGE);
    f->msi = alloc_pages(f, PAGE);
    svm_enable_msi(f);
    g_assert_cmpuint(qviommu_attach(&f->iommu, DOMAIN, DSA, 0), ==,
                     VIRTIO_IOMMU_S_OK);
    g_assert_cmpuint(qviommu_attach(&f->iommu, DOMAIN, SVM, 0), ==,
                     VIRTIO_IOMMU_S_OK);
    map_data(f);
    map(f, f->cr, f->cr, PAGE);
    map(f, f->msi, f->msi, PAGE);
}

static void fixture_stop(Fixture *f)
{
    qviommu_cleanup(&f->iommu);
    qtest_quit(f->qts);
    alloc_destroy(&f->alloc);
}

/* ---- svm ---- */

/* Write the pattern; returns SVM_DEMO_RESULT_* */
static uint64_t svm_run(Fixture *f, uint64_t options, uint64_t iova,
                        uint64_t size)
{
    int64_t deadline = g_get_monotonic_time() + 30 * G_USEC_PER_SEC;

    qtest_writel(f->qts, f->msi, 0);
    svm_write(f, SVM_DEMO_REG_OPTIONS, options);
    svm_write(f, SVM_DEMO_REG_ADDR, iova);
    svm_write(f, SVM_DEMO_REG_SIZE, size);
    svm_write(f, SVM_DEMO_REG_START, SVM_DEMO_START_WRITE);
    while (!qtest_readl(f->qts, f->msi)) {
        g_assert_cmpint(g_get_monotonic_time(), <, deadline);
        g_usleep(100);
    }
    return qtest_readq(f->qts, SVM_REGS + SVM_DEMO_REG_ADDR);
}

/* Check one byte of each page, at another offset each time */
static void check_pattern(Fixture *f, uint64_t iova, uint64_t size)
{
    for (uint64_t pos = 0; pos < size; pos += PAGE + 1) {
        g_assert_cmphex(qtest_readb(f->qts, gpa_of(f, iova + pos)), ==,
                        pos % SVM_DEMO_PATTERN_PERIOD);
    }
}

static void expect_fault(Fixture *f, uint16_t endpoint, uint64_t addr)
{
    qviommu_expect_fault(&f->iommu, VIRTIO_IOMMU_FAULT_R_MAPPING,
                         VIRTIO_IOMMU_FAULT_F_ADDRESS, endpoint, addr);
}

/* 5.13.6.5: the device writes through mappings, if untranslated is allowed */
static void test_svm(void)
{
    Fixture f;

    fixture_start(&f);
    g_assert_cmphex(svm_run(&f, SVM_DEMO_OPTION_UNTRANSLATED, IOVA + 16,
                            2 * SIZE - 32), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&f, IOVA + 16, 2 * SIZE - 32);
    g_assert_cmphex(qtest_readq(f.qts, gpa_of(&f, IOVA)), ==, 0);
    g_assert_cmphex(qtest_readq(f.qts, gpa_of(&f, IOVA + 2 * SIZE - 8)), ==, 0);
    g_assert_cmphex(svm_run(&f, 0, IOVA, 16), ==, SVM_DEMO_RESULT_ERROR);
    g_assert_cmphex(qtest_readq(f.qts, gpa_of(&f, IOVA)), ==, 0);
    fixture_stop(&f);
}

/*
 * 5.13.6.9: an operation fails where the mapping ends.  The processor that
 * starts a short operation runs it, a thread runs the others.
 */
static void test_svm_fault(void)
{
    static const uint64_t sizes[] = { 64, 3 * PAGE };
    const uint64_t end = IOVA + 2 * SIZE;
    Fixture f;

    fixture_start(&f);
    for (int i = 0; i < ARRAY_SIZE(sizes); i++) {
        qviommu_add_event_buffer(&f.iommu);
        g_assert_cmphex(svm_run(&f, SVM_DEMO_OPTION_UNTRANSLATED, end - 32,
                                sizes[i]), ==, SVM_DEMO_RESULT_ERROR);
        expect_fault(&f, SVM, end);
        check_pattern(&f, end - 32, 32);
    }
    fixture_stop(&f);
}

/* ---- dsa ---- */

/* Move memory; returns the status of the descriptor */
static uint8_t dsa_move(Fixture *f, uint64_t src, uint64_t dst, uint32_t size,
                        uint8_t *record)
{
    QDSADesc desc;

    qtest_memset(f->qts, f->cr, 0, DSA_CR_SIZE);
    qdsa_desc(&desc, DSA_OP_MEMORY_MOVE,
              DSA_FLAG_CR_ADDR_VALID | DSA_FLAG_REQUEST_CR, f->cr);
    qdsa_desc_data(&desc, src, dst, size);
    qdsa_submit(&f->dsa, &desc);
    return qdsa_wait(&f->dsa, f->cr, record);
}

/* 5.13.6.5: source, destination and completion record are mapped */
static void test_dsa(void)
{
    uint8_t record[DSA_CR_SIZE];
    Fixture f;

    fixture_start(&f);
    qdsa_start(&f.dsa, 0);
    g_assert_cmphex(svm_run(&f, SVM_DEMO_OPTION_UNTRANSLATED, IOVA, SIZE), ==,
                    SVM_DEMO_RESULT_OK);
    g_assert_cmphex(dsa_move(&f, IOVA, IOVA + SIZE, SIZE, record), ==,
                    DSA_STATUS_SUCCESS);
    check_pattern(&f, IOVA + SIZE, SIZE);
    fixture_stop(&f);
}

/* 5.13.6.9: an address that is not mapped */
static void test_dsa_fault(void)
{
    uint8_t record[DSA_CR_SIZE];
    Fixture f;

    fixture_start(&f);
    qdsa_start(&f.dsa, 0);
    qviommu_add_event_buffer(&f.iommu);
    g_assert_cmphex(dsa_move(&f, NOWHERE, IOVA, PAGE, record), !=,
                    DSA_STATUS_SUCCESS);
    expect_fault(&f, DSA, NOWHERE);
    fixture_stop(&f);
}

/* 5.13.6: without a domain the devices use guest physical addresses */
static void test_bypass(void)
{
    uint8_t record[DSA_CR_SIZE];
    Fixture f;

    fixture_start(&f);
    qviommu_detach(&f.iommu, DOMAIN, DSA);
    qviommu_detach(&f.iommu, DOMAIN, SVM);
    qdsa_start(&f.dsa, 0);
    g_assert_cmphex(svm_run(&f, SVM_DEMO_OPTION_UNTRANSLATED, f.data + SIZE,
                            PAGE), ==, SVM_DEMO_RESULT_OK);
    check_pattern(&f, IOVA + SIZE, PAGE);
    g_assert_cmphex(dsa_move(&f, f.data + SIZE, f.data + SIZE + PAGE, PAGE,
                             record), ==, DSA_STATUS_SUCCESS);
    check_pattern(&f, IOVA + SIZE + PAGE, PAGE);
    fixture_stop(&f);
}

int main(int argc, char **argv)
{
    if (!qdsa_test_init(&argc, &argv)) {
        return 0;
    }
    if (!qtest_has_device("svm") || !qtest_has_device("virtio-iommu-pci")) {
        g_test_skip("no svm or virtio-iommu-pci device");
        return 0;
    }
    qtest_add_func("/viommu/device/svm", test_svm);
    qtest_add_func("/viommu/device/svm-fault", test_svm_fault);
    qtest_add_func("/viommu/device/dsa", test_dsa);
    qtest_add_func("/viommu/device/dsa-fault", test_dsa_fault);
    qtest_add_func("/viommu/device/bypass", test_bypass);
    return g_test_run();
}
