/*
 * QTest testcase for devices that share virtual memory behind amd-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00; registers are named by their MMIO
 * offsets.
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "libqtest.h"
#include "qobject/qdict.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/misc/svm-demo.h"
#include "libqos/amdvi.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "libqos/pci-ats-testdev.h"

#define MACHINE     "-M q35 -nodefaults -m 64M -device amd-iommu,svm=on "      \
                    "-device svm,addr=4 -device pci-ats-testdev,addr=5 "

#define SVM         QATD_BDF(0, 4, 0)
#define SVM_REGS    0xd0000000ULL
#define TESTDEV     QATD_BDF(0, 5, 0)

#define DOMAIN      0x1234
#define PASID       5
#define IOVA        0x3000000ULL
#define PAGE        AMDVI_PAGE_SIZE
#define VECTOR      0x41
#define ROUNDS      4
#define MARK        0x5a5a5a5a5a5a5a5aULL

/* Device table entry (2.2.2.1) */
#define DTE_ON      (AMDVI_DEV_VALID | AMDVI_DEV_TRANSLATION_VALID | \
                     AMDVI_DEV_PERM_READ | AMDVI_DEV_PERM_WRITE)
#define DTE_PPR     (1ULL << 52)
#define DTE_GIOV    (1ULL << 54)
#define DTE_GV      (1ULL << 55)
#define DTE1_I      (1ULL << 32)

/* Entries of guest tables: P, R/W, U/S, A, D; of GCR3 tables: V */
#define GUEST_RW    0x67ULL
#define GCR3_V      1ULL

/* Commands with an address (2.4.3, 2.4.4, 2.4.7) */
#define GN          (1ULL << 2)
#define RESPONSE_FAILURE    (0xfULL << 44)

typedef struct Fixture {
    QTestState *qts;
    QGuestAllocator alloc;
    QAMDVI iommu;
    uint64_t gcr3;
    uint64_t ppr_log;
} Fixture;

static uint64_t new_page(Fixture *f)
{
    return guest_alloc_zeroed(&f->alloc, f->qts, PAGE);
}

/* 2.2.6: one level of GCR3 tables, without host tables */
static void attach(Fixture *f, uint16_t bdf)
{
    const uint64_t dte[4] = {
        DTE_ON | DTE_PPR | DTE_GIOV | DTE_GV |
        extract64(f->gcr3, 12, 3) << 58,
        DOMAIN | DTE1_I | extract64(f->gcr3, 15, 16) << 16 |
        extract64(f->gcr3, 31, 21) << 43,
    };

    qamdvi_set_dte(&f->iommu, bdf, dte);
}

static void fixture_start(Fixture *f)
{
    *f = (Fixture) { .qts = qtest_init(MACHINE) };
    qecam_enable(f->qts);
    pc_alloc_init(&f->alloc, f->qts, ALLOC_NO_FLAGS);
    qamdvi_init(&f->iommu, f->qts, &f->alloc);
    f->gcr3 = new_page(f);
    f->ppr_log = new_page(f);
    attach(f, SVM);
    attach(f, TESTDEV);
    /* 256 entries */
    qamdvi_write(&f->iommu, AMDVI_MMIO_PPR_BASE, f->ppr_log | 8ULL << 56);
    qamdvi_enable(&f->iommu, AMDVI_MMIO_CONTROL_GTEN |
                  AMDVI_MMIO_CONTROL_PPREN | AMDVI_MMIO_CONTROL_PPRLOGEN);
}

static void fixture_stop(Fixture *f)
{
    qtest_quit(f->qts);
    alloc_destroy(&f->alloc);
}

/* Returns the address of empty guest tables for @pasid */
static uint64_t add_pasid(Fixture *f, uint32_t pasid)
{
    uint64_t root = new_page(f);

    qtest_writeq(f->qts, f->gcr3 + pasid * 8, root | GCR3_V);
    return root;
}

/* Map IOVA to @page; returns the address of the entry of level 1 */
static uint64_t map(Fixture *f, uint64_t root, uint64_t page)
{
    uint64_t table = root, entry;

    for (unsigned level = 4; level > 1; level--) {
        uint64_t below = new_page(f);

        entry = table + extract64(IOVA, 3 + 9 * level, 9) * 8;
        qtest_writeq(f->qts, entry, below | GUEST_RW);
        table = below;
    }
    entry = table + extract64(IOVA, 12, 9) * 8;
    qtest_writeq(f->qts, entry, page | GUEST_RW);
    return entry;
}

/* ---- Interrupts while the IOMMU executes a command ---- */

/* Enable the demo device, whose MSI goes to the first processor */
static void start_svm(Fixture *f)
{
    qecam_writel(f->qts, SVM, PCI_BASE_ADDRESS_0, SVM_REGS);
    qecam_writew(f->qts, SVM, PCI_COMMAND,
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
    qecam_enable_ats(f->qts, SVM, 0, 32);
    qecam_enable_msi(f->qts, SVM, AMDVI_INT_ADDR_FIRST, VECTOR);
}

/* Whether the interrupt request register of the processor has the vector */
static bool interrupt_arrived(Fixture *f)
{
    g_autofree char *lapic = qtest_hmp(f->qts, "info lapic");
    g_autofree char *vector = g_strdup_printf(" %u", VECTOR);
    char *irr = strstr(lapic, "IRR");

    g_assert_nonnull(irr);
    irr[strcspn(irr, "\r\n")] = 0;
    return strstr(irr, vector);
}

/*
 * A device that receives a response to its page request (2.4.7) completes its
 * work at once, and sends an interrupt.
 */
static void test_interrupt_during_response(void)
{
    uint64_t entry;
    Fixture f;

    fixture_start(&f);
    add_pasid(&f, PASID);
    start_svm(&f);
    qtest_writel(f.qts, SVM_REGS + SVM_DEMO_REG_PASID, PASID);
    qtest_writeq(f.qts, SVM_REGS + SVM_DEMO_REG_ADDR, IOVA);
    qtest_writeq(f.qts, SVM_REGS + SVM_DEMO_REG_SIZE, 64);
    qtest_writeq(f.qts, SVM_REGS + SVM_DEMO_REG_START, SVM_DEMO_START_WRITE);
    g_assert_cmphex(qamdvi_read(&f.iommu, AMDVI_MMIO_PPR_TAIL), ==, 16);
    g_assert_false(interrupt_arrived(&f));

    entry = qtest_readq(f.qts, f.ppr_log);
    qamdvi_command(&f.iommu, QAMDVI_COMMAND(COMPLETE_PPR_REQUEST) | SVM |
                   (uint64_t)PASID << 32,
                   GN | extract64(entry, 32, 9) << 32 | RESPONSE_FAILURE);
    g_assert_cmphex(qtest_readq(f.qts, SVM_REGS + SVM_DEMO_REG_ADDR), ==,
                    SVM_DEMO_RESULT_ERROR);
    g_assert_true(interrupt_arrived(&f));
    fixture_stop(&f);
}

/* ---- Invalidation of translations without PASID (GIoV) ---- */

/*
 * The tables of PASID 0 translate requests without PASID.  Linux's driver
 * invalidates them, and what device-TLBs have of them, with GN = 1 and PASID 0.
 */
static void test_invalidate_giov(void)
{
    Fixture f;
    QATD d;
    uint64_t first, second, entry;

    fixture_start(&f);
    first = new_page(&f);
    second = new_page(&f);
    qtest_writeq(f.qts, first, 1);
    qtest_writeq(f.qts, second, 2);
    entry = map(&f, add_pasid(&f, 0), first);
    qatd_init(&d, f.qts, TESTDEV, 1);
    qatd_enable_all(&d, 8);

    g_assert_cmpint(qatd_command(&d, ATD_CMD_SVM_READ, QATD_NO_PASID, IOVA, 8,
                                 0), ==, 0);
    g_assert_cmphex(qtest_readq(f.qts, d.data), ==, 1);

    qtest_writeq(f.qts, entry, second | GUEST_RW);
    qamdvi_command(&f.iommu, QAMDVI_COMMAND(INVAL_AMDVI_PAGES) |
                   (uint64_t)DOMAIN << 32, GN | IOVA);
    qamdvi_command(&f.iommu, QAMDVI_COMMAND(INVAL_IOTLB_PAGES) | TESTDEV,
                   GN | IOVA);
    g_assert_true(qamdvi_completes(&f.iommu));
    g_assert_cmpint(qatd_command(&d, ATD_CMD_SVM_READ, QATD_NO_PASID, IOVA, 8,
                                 0), ==, 0);
    g_assert_cmphex(qtest_readq(f.qts, d.data), ==, 2);
    fixture_stop(&f);
}

/* ---- Reset ---- */

/*
 * A reset ends the requests of a device before it disables the IOMMU, which
 * then lets all requests pass: the device never writes to the memory at its
 * input address.
 */
static void test_reset_order(void)
{
    uint64_t page;
    Fixture f;
    QATD d;

    fixture_start(&f);
    page = new_page(&f);
    map(&f, add_pasid(&f, 0), page);
    qatd_init(&d, f.qts, TESTDEV, 1);
    qtest_writeq(f.qts, d.data, MARK);
    qatd_write(&d, ATD_REPEAT, UINT64_MAX);
    qatd_start(&d, ATD_CMD_DMA_WRITE, QATD_NO_PASID, IOVA, 8, ATD_FLAG_THREAD);
    while (qtest_readq(f.qts, page) != MARK) {
        g_usleep(100);
    }
    qtest_writeq(f.qts, IOVA, 0);
    qtest_system_reset(f.qts);
    g_assert_cmphex(qtest_readq(f.qts, IOVA), ==, 0);
    fixture_stop(&f);
}

/* ---- Migration ---- */

#define LOG_SIZE    0x80000ULL      /* 32768 entries (MMIO 0010h) */
#define MEMORY_SIZE 0x40000ULL
#define CHECKED     64ULL           /* the youngest events, which are checked */

static uint64_t event_addr(QTestState *qts, uint64_t log, uint64_t at)
{
    return qtest_readq(qts, log + at % LOG_SIZE + 8);
}

static bool is_migrated(QTestState *qts)
{
    QDict *info = qtest_qmp_assert_success_ref(qts, "{ 'execute': "
                                               "'query-migrate' }");
    const char *status = qdict_get_try_str(info, "status");
    bool end = status && g_str_equal(status, "completed");

    g_assert_false(status && g_str_equal(status, "failed"));
    qobject_unref(info);
    return end;
}

/*
 * Until the machine has been migrated, let the log have room, and let the
 * last part of the memory have so many pages behind the log that the log is in
 * the stream before the state of the devices.
 */
static void empty_log_until_migrated(Fixture *f)
{
    uint64_t memory = guest_alloc(&f->alloc, MEMORY_SIZE);

    for (unsigned i = 1; i % 16 || !is_migrated(f->qts); i++) {
        qtest_memset(f->qts, memory, i % 255 + 1, MEMORY_SIZE);
        qamdvi_write(&f->iommu, AMDVI_MMIO_EVENT_HEAD,
                     qamdvi_read(&f->iommu, AMDVI_MMIO_EVENT_TAIL));
    }
}

/* Migrate the machine, while a thread causes events */
static void migrate(Fixture *f)
{
    g_autofree char *uri = NULL;
    g_autofree char *path = qatd_temporary_file();

    uri = g_strdup_printf("file:%s", path);
    qtest_qmp_assert_success(f->qts, "{ 'execute': 'migrate', "
                             "'arguments': { 'uri': %s } }", uri);
    empty_log_until_migrated(f);
    qtest_quit(f->qts);
    f->qts = f->iommu.qts = qtest_init(MACHINE "-incoming defer");
    qatd_load_machine(f->qts, path);
}

/* The addresses of the events ascend */
static void check_events(Fixture *f, uint64_t log)
{
    uint64_t tail = qamdvi_read(&f->iommu, AMDVI_MMIO_EVENT_TAIL) + LOG_SIZE;
    uint64_t last = event_addr(f->qts, log, tail - CHECKED * AMDVI_EVENT_LEN);

    for (unsigned i = CHECKED - 1; i > 0; i--) {
        uint64_t addr = event_addr(f->qts, log, tail - i * AMDVI_EVENT_LEN);

        g_assert_cmphex(addr, >, last);
        last = addr;
    }
}

/*
 * A thread causes an event with each translation request, also while the
 * machine is stopped and saved.  All events that the tail pointer of the
 * destination shows are in its memory.
 */
static void test_migrate_events(void)
{
    uint64_t log;
    Fixture f;
    QATD d;

    fixture_start(&f);
    log = guest_alloc_zeroed(&f.alloc, f.qts, LOG_SIZE);
    qamdvi_write(&f.iommu, AMDVI_MMIO_EVENT_BASE, log | 15ULL << 56);
    /* I = 0: INVALID_DEVICE_REQUEST (2.5.9) */
    qamdvi_set_dte(&f.iommu, TESTDEV, (const uint64_t[4]) { DTE_ON, DOMAIN });
    qatd_init(&d, f.qts, TESTDEV, 1);
    qatd_enable_all(&d, 8);
    qatd_write(&d, ATD_MAX_RESULTS, 1);
    qatd_write(&d, ATD_REPEAT, UINT64_MAX);
    qatd_write(&d, ATD_STEP, PAGE);
    qatd_start(&d, ATD_CMD_TRANSLATE, QATD_NO_PASID, 0, 8, ATD_FLAG_THREAD);
    while (qamdvi_read(&f.iommu, AMDVI_MMIO_EVENT_TAIL) <
           CHECKED * AMDVI_EVENT_LEN) {
        g_usleep(100);
    }
    migrate(&f);
    check_events(&f, log);
    fixture_stop(&f);
}

/* For faults that occur by chance */
static void add_rounds(const char *name, void (*test)(void))
{
    for (unsigned i = 0; i < ROUNDS; i++) {
        g_autofree char *path = g_strdup_printf("/amd-iommu/svm-device/%s/%u",
                                                name, i);

        qtest_add_func(path, test);
    }
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-iommu/svm-device/interrupt-during-response",
                   test_interrupt_during_response);
    qtest_add_func("/amd-iommu/svm-device/invalidate-giov",
                   test_invalidate_giov);
    add_rounds("reset-order", test_reset_order);
    add_rounds("migrate-events", test_migrate_events);
    return g_test_run();
}
