/*
 * QTest testcase for the event log of amd-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00; registers are named by their MMIO
 * offsets.  Sources disagree about the position of fields: here they are where
 * the Linux driver reads them.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "libqos/amdvi.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "libqos/pci-ats-testdev.h"

#define DEVICE      QATD_BDF(0, 4, 0)
#define DOMAIN      0x1234
#define IOVA        0x40000000ULL
#define NOWHERE     0x1000000000ULL
#define RW          (AMDVI_DEV_PERM_READ | AMDVI_DEV_PERM_WRITE)
#define MODE(level) ((uint64_t)(level) << AMDVI_DEV_MODE_RSHIFT)
#define ATTACHED    (AMDVI_DEV_VALID | AMDVI_DEV_TRANSLATION_VALID)

/* Bits 97 and 98 of the device table entry */
#define SE          (1ULL << 33)
#define SA          (1ULL << 34)

/* Bit 133 of the entry; bit 1 of an entry for interrupts (2.2.5) */
#define IG              (1ULL << 5)
#define SUP_IOPF        (1U << 1)

/* Data of interrupt messages: fixed, with index 0; NMI */
#define INT_FIXED       0
#define INT_NMI         (4 << 8)

/* Fields of the first quadword of events */
#define CODE(code)      ((uint64_t)(code) << 60)
#define DOMAIN_FIELD    ((uint64_t)DOMAIN << 32)
#define FLAG_I          (1ULL << 51)
#define FLAG_PR         (1ULL << 52)
#define FLAG_RW         (1ULL << 53)
#define FLAG_PE         (1ULL << 54)
#define FLAG_RZ         (1ULL << 55)
#define MASTER_ABORT    (1ULL << 57)

#define PAGE_FAULT      (CODE(2) | DOMAIN_FIELD | DEVICE)

typedef struct Fixture {
    QTestState *qts;
    QGuestAllocator alloc;
    QAMDVI iommu;
    QATD dev;
    uint64_t root;              /* an empty page table of level 3 */
} Fixture;

/* 2.2.2.1: attach the device to DOMAIN */
static void attach(Fixture *f, uint64_t quad0)
{
    const uint64_t dte[4] = { quad0, DOMAIN };

    qamdvi_set_dte(&f->iommu, DEVICE, dte);
}

static void fixture_start(Fixture *f)
{
    f->qts = qtest_init("-M q35 -nodefaults -m 256M -device amd-iommu "
                        "-device pci-ats-testdev,addr=4");
    qecam_enable(f->qts);
    pc_alloc_init(&f->alloc, f->qts, ALLOC_NO_FLAGS);
    qamdvi_init(&f->iommu, f->qts, &f->alloc);
    qatd_init(&f->dev, f->qts, DEVICE, 0);
    f->root = guest_alloc_zeroed(&f->alloc, f->qts, AMDVI_PAGE_SIZE);
    attach(f, ATTACHED | RW | MODE(3) | f->root);
    qamdvi_enable(&f->iommu, 0);
}

static void fixture_stop(Fixture *f)
{
    qtest_quit(f->qts);
    alloc_destroy(&f->alloc);
}

static uint64_t status(Fixture *f)
{
    return qamdvi_read(&f->iommu, AMDVI_MMIO_STATUS);
}

static unsigned tail(Fixture *f)
{
    return qamdvi_read(&f->iommu, AMDVI_MMIO_EVENT_TAIL) / AMDVI_EVENT_LEN;
}

static void set_root_entry(Fixture *f, uint64_t entry)
{
    qtest_writeq(f->qts, f->root + (IOVA >> 30) * 8, entry);
}

/* Four bytes, since a longer access that is blocked is split */
static void blocked_read(Fixture *f, uint64_t addr)
{
    g_assert_cmpint(qatd_command(&f->dev, ATD_CMD_DMA_READ, QATD_NO_PASID,
                                 addr, 4, 0), !=, 0);
}

static void blocked_write(Fixture *f, uint64_t addr)
{
    g_assert_cmpint(qatd_command(&f->dev, ATD_CMD_DMA_WRITE, QATD_NO_PASID,
                                 addr, 4, 0), !=, 0);
}

/* ---- Formats ---- */

/* 2.5.3: PR = 0, the page is not present */
static void test_not_present(void)
{
    Fixture f;

    fixture_start(&f);
    blocked_read(&f, IOVA + 0x48);
    qamdvi_expect_event(&f.iommu, PAGE_FAULT, IOVA + 0x48);
    blocked_write(&f, IOVA + 0x1000);
    qamdvi_expect_event(&f.iommu, PAGE_FAULT | FLAG_RW, IOVA + 0x1000);

    /* The entry has all bits but PR. */
    set_root_entry(&f, UINT64_MAX & ~1ULL);
    blocked_read(&f, IOVA);
    qamdvi_expect_event(&f.iommu, PAGE_FAULT, IOVA);
    g_assert_true(qecam_readw(f.qts, f.iommu.bdf, PCI_STATUS) &
                  PCI_STATUS_SIG_TARGET_ABORT);
    fixture_stop(&f);
}

/* 2.5.3: PR = 1 and PE = 1, the page is present but the access not allowed */
static void test_permission(void)
{
    Fixture f;

    fixture_start(&f);
    attach(&f, ATTACHED | AMDVI_DEV_PERM_READ | MODE(3) | f.root);
    blocked_write(&f, IOVA);
    qamdvi_expect_event(&f.iommu, PAGE_FAULT | FLAG_RW | FLAG_PR | FLAG_PE,
                        IOVA);
    attach(&f, ATTACHED | AMDVI_DEV_PERM_WRITE | MODE(3) | f.root);
    blocked_read(&f, IOVA);
    qamdvi_expect_event(&f.iommu, PAGE_FAULT | FLAG_PR | FLAG_PE, IOVA);
    fixture_stop(&f);
}

/* 2.5.3: RZ = 0, PR = 1 and PE = 0, the level is not valid */
static void test_level(void)
{
    Fixture f;

    fixture_start(&f);
    set_root_entry(&f, 1 | RW | MODE(3) | f.root);
    blocked_read(&f, IOVA);
    qamdvi_expect_event(&f.iommu, PAGE_FAULT | FLAG_PR, IOVA);
    fixture_stop(&f);
}

/* 2.5.2: the address is that of the request, bits 1:0 are reserved */
static void test_illegal_dte(void)
{
    Fixture f;

    fixture_start(&f);
    attach(&f, ATTACHED | RW | MODE(3) | f.root | 1ULL << 63);
    blocked_read(&f, IOVA + 0x10);
    qamdvi_expect_event(&f.iommu, CODE(1) | FLAG_RZ | DEVICE, IOVA + 0x10);
    g_assert_cmpint(qatd_command(&f.dev, ATD_CMD_DMA_WRITE, QATD_NO_PASID,
                                 IOVA + 0x13, 1, 0), !=, 0);
    qamdvi_expect_event(&f.iommu, CODE(1) | FLAG_RZ | FLAG_RW | DEVICE,
                        IOVA + 0x10);
    fixture_stop(&f);
}

/* 2.5.4: the address is that of the device table entry */
static void test_dev_tab_error(void)
{
    Fixture f;

    fixture_start(&f);
    qamdvi_write(&f.iommu, AMDVI_MMIO_DEVICE_TABLE, NOWHERE);
    blocked_write(&f, IOVA);
    qamdvi_expect_event(&f.iommu, CODE(3) | MASTER_ABORT | FLAG_RW | DEVICE,
                        NOWHERE + DEVICE * AMDVI_DEVTAB_ENTRY_SIZE);
    fixture_stop(&f);
}

/* 2.5.5: the address is that of the page table entry */
static void test_page_tab_error(void)
{
    Fixture f;

    fixture_start(&f);
    attach(&f, ATTACHED | RW | MODE(3) | NOWHERE);
    blocked_read(&f, IOVA);
    qamdvi_expect_event(&f.iommu,
                        CODE(4) | MASTER_ABORT | DOMAIN_FIELD | DEVICE,
                        NOWHERE + (IOVA >> 30) * 8);
    fixture_stop(&f);
}

/* ---- Special addresses, 2.1.2 and 2.5.9 ---- */

#define INVALID_REQUEST(type)   (CODE(8) | (uint64_t)(type) << 57 | DEVICE)
#define IO_CTL(val)             ((uint64_t)(val) << 35)
#define SYS_MGT(val)            ((uint64_t)(val) << 40)
#define IV                      AMDVI_IR_REMAP_ENABLE
#define INT_CTL(val)            ((uint64_t)(val) << AMDVI_IR_INTCTL_SHIFT)

/* Types of events: those of writes, and those of reads */
#define NO_EVENT                8
#define PAGE_FAULT_EVENT        9

static void expect_special_event(Fixture *f, unsigned type, uint64_t rw,
                                 uint64_t addr)
{
    switch (type) {
    case NO_EVENT:
        qamdvi_expect_no_event(&f->iommu);
        break;
    case PAGE_FAULT_EVENT:
        qamdvi_expect_event(&f->iommu, PAGE_FAULT | rw, addr);
        break;
    default:
        qamdvi_expect_event(&f->iommu, INVALID_REQUEST(type), addr);
    }
}

/*
 * The values of Type are those of Solaris' driver.  A write to FDF8000000h by
 * a device with IntCtl = 00b has Type 5 in events of hardware, too.
 */
static void test_special(void)
{
    static const struct {
        uint64_t addr;
        uint64_t quad1, quad2;
        unsigned write, read;
    } cases[] = {
        { 0xfcfffffffc, 0, IV, PAGE_FAULT_EVENT, PAGE_FAULT_EVENT },
        { 0xfd00000000, 0, 0, 6, 0 },
        { 0xfdf7fffffc, 0, 0, 6, 0 },
        { 0xfdf8000000, 0, IV | INT_CTL(0), 5, 0 },
        { 0xfdf8fffffc, 0, IV | INT_CTL(1), NO_EVENT, 0 },
        { 0xfdf8000000, 0, 0, NO_EVENT, 0 },
        { 0xfdf9000000, 0, IV, PAGE_FAULT_EVENT, PAGE_FAULT_EVENT },
        { 0xfdf9100000, SYS_MGT(0), 0, 3, 4 },
        { 0xfdf91ffffc, SYS_MGT(1), 0, NO_EVENT, 4 },
        { 0xfdf9100000, SYS_MGT(2), 0, 3, 4 },
        { 0xfdf9100000, SYS_MGT(3), 0, PAGE_FAULT_EVENT, PAGE_FAULT_EVENT },
        { 0xfdf9200000, 0, IV, PAGE_FAULT_EVENT, PAGE_FAULT_EVENT },
        { 0xfdfc000000, IO_CTL(0), 0, 2, 2 },
        { 0xfdfdfffffc, IO_CTL(1), 0, NO_EVENT, NO_EVENT },
        { 0xfdfc000000, IO_CTL(2), 0, PAGE_FAULT_EVENT, PAGE_FAULT_EVENT },
        { 0xfdfe000000, 0, IV, PAGE_FAULT_EVENT, PAGE_FAULT_EVENT },
    };
    Fixture f;

    fixture_start(&f);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        const uint64_t dte[4] = {
            ATTACHED | RW | MODE(4) | f.root, DOMAIN | cases[i].quad1,
            cases[i].quad2,
        };

        qamdvi_set_dte(&f.iommu, DEVICE, dte);
        blocked_write(&f, cases[i].addr);
        expect_special_event(&f, cases[i].write, FLAG_RW, cases[i].addr);
        blocked_read(&f, cases[i].addr);
        expect_special_event(&f, cases[i].read, 0, cases[i].addr);
    }
    fixture_stop(&f);
}

/* ---- Suppression, 2.2.2.1 ---- */

/* Attach the device with bits of the second quadword */
static void attach_with(Fixture *f, uint64_t quad0, uint64_t flags)
{
    const uint64_t dte[4] = { quad0, DOMAIN | flags };

    qamdvi_set_dte(&f->iommu, DEVICE, dte);
}

/* SE: one page fault until the entry is invalidated, whatever its reason */
static void test_suppress(void)
{
    Fixture f;

    fixture_start(&f);
    for (unsigned i = 0; i < 2; i++) {
        attach_with(&f, ATTACHED | RW | MODE(3) | f.root, SE);
        blocked_read(&f, IOVA);
        qamdvi_expect_event(&f.iommu, PAGE_FAULT, IOVA);
        blocked_read(&f, IOVA);
        blocked_write(&f, 1ULL << 50);
        /* Translations are not the entry. */
        qamdvi_command(&f.iommu, QAMDVI_COMMAND(INVAL_AMDVI_PAGES) |
                       DOMAIN_FIELD, 0x7ffffffffffff001);
        blocked_read(&f, IOVA);
        qamdvi_expect_no_event(&f.iommu);
    }
    qamdvi_command(&f.iommu, QAMDVI_COMMAND(INVAL_AMDVI_ALL), 0);
    blocked_read(&f, IOVA);
    qamdvi_expect_event(&f.iommu, PAGE_FAULT, IOVA);
    /* Entries that are not cached, with TV = 0 */
    attach_with(&f, AMDVI_DEV_VALID, SE);
    blocked_read(&f, IOVA);
    qamdvi_expect_event(&f.iommu, PAGE_FAULT, IOVA);
    blocked_read(&f, IOVA);
    qamdvi_expect_no_event(&f.iommu);
    fixture_stop(&f);
}

/* SA: no page fault, but other events */
static void test_suppress_all(void)
{
    Fixture f;

    fixture_start(&f);
    attach_with(&f, ATTACHED | RW | MODE(3) | f.root, SA);
    blocked_read(&f, IOVA);
    blocked_write(&f, IOVA);
    qamdvi_expect_no_event(&f.iommu);
    attach_with(&f, ATTACHED | RW | MODE(7) | f.root, SA);
    blocked_read(&f, IOVA);
    qamdvi_expect_event(&f.iommu, CODE(1) | DEVICE, IOVA);
    attach_with(&f, ATTACHED | RW | MODE(3) | NOWHERE, SA);
    blocked_read(&f, IOVA);
    qamdvi_expect_event(&f.iommu, CODE(4) | MASTER_ABORT | DOMAIN_FIELD |
                        DEVICE, NOWHERE + (IOVA >> 30) * 8);
    fixture_stop(&f);
}

/* ---- Ring ---- */

/* Event number @n is the page fault for page @n */
static void cause_events(Fixture *f, unsigned first, unsigned n)
{
    for (unsigned i = first; i < first + n; i++) {
        blocked_read(f, IOVA + i * AMDVI_PAGE_SIZE);
    }
}

static void expect_events(Fixture *f, unsigned first, unsigned n)
{
    QAMDVIEvent event;

    for (unsigned i = first; i < first + n; i++) {
        g_assert_true(qamdvi_next_event(&f->iommu, &event));
        g_assert_cmphex(event.lo, ==, PAGE_FAULT);
        g_assert_cmphex(event.hi, ==, IOVA + i * AMDVI_PAGE_SIZE);
    }
}

/* MMIO 2018h: the tail pointer wraps around at the end of the log */
static void test_wrap(void)
{
    Fixture f;

    fixture_start(&f);
    for (unsigned i = 0; i < 3; i++) {
        cause_events(&f, i * 100, 100);
        g_assert_cmpuint(tail(&f), ==, (i + 1) * 100 % QAMDVI_ENTRIES);
        expect_events(&f, i * 100, 100);
        qamdvi_expect_no_event(&f.iommu);
    }
    g_assert_false(status(&f) & AMDVI_MMIO_STATUS_EVT_OVF);
    fixture_stop(&f);
}

/*
 * MMIO 2020h: the event that does not fit sets EventOverflow and clears
 * EventLogRun.  No further ones are logged, even if there is space again.
 */
static void overflow(Fixture *f)
{
    const unsigned space = QAMDVI_ENTRIES - 1;

    cause_events(f, 0, space);
    g_assert_cmpuint(tail(f), ==, space);
    g_assert_false(status(f) & AMDVI_MMIO_STATUS_EVT_OVF);
    g_assert_true(status(f) & AMDVI_MMIO_STATUS_EVT_RUN);
    cause_events(f, space, 1);
    g_assert_cmpuint(tail(f), ==, space);
    g_assert_true(status(f) & AMDVI_MMIO_STATUS_EVT_OVF);
    g_assert_false(status(f) & AMDVI_MMIO_STATUS_EVT_RUN);
    expect_events(f, 0, space);
    cause_events(f, space, 1);
    qamdvi_expect_no_event(&f->iommu);
}

static void test_overflow(void)
{
    Fixture f;

    fixture_start(&f);
    overflow(&f);

    /* MMIO 0018h: EventLogEn has no effect while EventOverflow is set */
    qamdvi_enable(&f.iommu, 0);
    g_assert_false(status(&f) & AMDVI_MMIO_STATUS_EVT_RUN);
    cause_events(&f, 0, 1);
    qamdvi_expect_no_event(&f.iommu);

    /* Clearing EventOverflow does not restart the log either */
    qamdvi_write(&f.iommu, AMDVI_MMIO_STATUS, AMDVI_MMIO_STATUS_EVT_OVF);
    g_assert_false(status(&f) & AMDVI_MMIO_STATUS_EVT_OVF);
    g_assert_false(status(&f) & AMDVI_MMIO_STATUS_EVT_RUN);
    cause_events(&f, 0, 1);
    qamdvi_expect_no_event(&f.iommu);

    qamdvi_enable(&f.iommu, 0);
    g_assert_true(status(&f) & AMDVI_MMIO_STATUS_EVT_RUN);
    cause_events(&f, 7, 3);
    expect_events(&f, 7, 3);
    fixture_stop(&f);
}

/* The sequence of Linux, which clears EventLogEn and EventIntEn before */
static void test_overflow_linux(void)
{
    const uint64_t control = AMDVI_MMIO_CONTROL_AMDVIEN |
                             AMDVI_MMIO_CONTROL_CMDBUFLEN;
    const uint64_t interrupt = AMDVI_MMIO_CONTROL_EVENTINTEN;
    const uint64_t both = AMDVI_MMIO_STATUS_EVT_INT | AMDVI_MMIO_STATUS_EVT_OVF;
    Fixture f;

    fixture_start(&f);
    qamdvi_enable_msi(&f.iommu);
    qamdvi_enable(&f.iommu, interrupt);
    overflow(&f);
    g_assert_true(qamdvi_take_msi(&f.iommu));
    g_assert_cmphex(status(&f) & both, ==, both);
    qamdvi_write(&f.iommu, AMDVI_MMIO_STATUS, both);
    qamdvi_write(&f.iommu, AMDVI_MMIO_CONTROL, control | interrupt);
    qamdvi_write(&f.iommu, AMDVI_MMIO_CONTROL, control);
    qamdvi_write(&f.iommu, AMDVI_MMIO_STATUS, AMDVI_MMIO_STATUS_EVT_OVF);
    qamdvi_write(&f.iommu, AMDVI_MMIO_CONTROL, control | interrupt);
    qamdvi_enable(&f.iommu, interrupt);
    g_assert_false(qamdvi_take_msi(&f.iommu));
    g_assert_cmphex(status(&f) & both, ==, 0);
    g_assert_true(status(&f) & AMDVI_MMIO_STATUS_EVT_RUN);
    cause_events(&f, 3, 1);
    g_assert_true(qamdvi_take_msi(&f.iommu));
    expect_events(&f, 3, 1);
    fixture_stop(&f);
}

/* ---- Interrupts of devices ---- */

typedef struct BlockedInterrupt {
    const char *name;
    uint64_t quad2;             /* of the device table entry */
    bool table;                 /* it refers to the table */
    uint32_t entry;             /* of the table: low bits, for both formats */
    uint32_t data;
    uint64_t flags;             /* of IO_PAGE_FAULT */
} BlockedInterrupt;

static const BlockedInterrupt blocked_interrupts[] = {
    { "IntCtl", IV, false, 0, INT_FIXED, 0 },
    { "NMIPass", IV | INT_CTL(1), false, 0, INT_NMI, 0 },
    { "IntTabLen", IV | INT_CTL(2) | 1 << 1, true, 1, 2, 0 },
    { "RemapEn", IV | INT_CTL(2) | 1 << 1, true, 0, 1, 0 },
    { "IntType", IV | INT_CTL(2) | 1 << 1, true, 1 | 2 << 2, 1,
      FLAG_PR | FLAG_RZ },
    { "GuestMode", IV | INT_CTL(2) | 1 << 1, true, 1 | 1 << 7, 1,
      FLAG_PR | FLAG_RZ },
};

static void blocked_interrupt(Fixture *f, uint64_t quad2, uint32_t data)
{
    const uint64_t dte[4] = { 0, DOMAIN, quad2 };

    qamdvi_set_dte(&f->iommu, DEVICE, dte);
    qtest_writel(f->qts, f->dev.data, data);
    blocked_write(f, AMDVI_INT_ADDR_FIRST);
}

static void check_blocked_interrupt(Fixture *f, const BlockedInterrupt *c,
                                    uint64_t table, unsigned entry_size)
{
    uint64_t quad2 = c->quad2 | (c->table ? table : 0);
    uint64_t entry = table + entry_size;

    g_test_message("%s", c->name);
    qtest_writel(f->qts, entry, c->entry);
    blocked_interrupt(f, quad2, c->data);
    qamdvi_expect_event(&f->iommu, PAGE_FAULT | FLAG_I | c->flags,
                        AMDVI_INT_ADDR_FIRST);
    blocked_interrupt(f, quad2 | IG, c->data);
    qamdvi_expect_no_event(&f->iommu);
    if (c->table && c->data == 1) {
        qtest_writel(f->qts, entry, c->entry | SUP_IOPF);
        blocked_interrupt(f, quad2, c->data);
        qamdvi_expect_no_event(&f->iommu);
    }
}

/*
 * 2.5.3: interrupts that the device table entry or the entry of the interrupt
 * remapping table blocks.  IG of the former, and SupIOPF of the latter,
 * suppress the event.
 */
static void test_blocked_interrupts(void)
{
    static const struct {
        uint64_t control;
        unsigned entry_size;
    } formats[] = { { 0, 4 }, { AMDVI_MMIO_CONTROL_GAEN, 16 } };

    for (unsigned i = 0; i < ARRAY_SIZE(formats); i++) {
        uint64_t table;
        Fixture f;

        fixture_start(&f);
        table = guest_alloc_zeroed(&f.alloc, f.qts, AMDVI_PAGE_SIZE);
        qamdvi_enable(&f.iommu, formats[i].control);
        for (unsigned n = 0; n < ARRAY_SIZE(blocked_interrupts); n++) {
            check_blocked_interrupt(&f, &blocked_interrupts[n], table,
                                    formats[i].entry_size);
        }
        fixture_stop(&f);
    }
}

/* 2.5.5: the interrupt remapping table is not in memory, which is an error */
static void test_interrupt_table_error(void)
{
    const uint64_t quad2 = IV | INT_CTL(2) | 3 << 1 | NOWHERE;
    Fixture f;

    fixture_start(&f);
    blocked_interrupt(&f, quad2, 5);
    qamdvi_expect_event(&f.iommu, CODE(4) | DOMAIN_FIELD | DEVICE | FLAG_I |
                        MASTER_ABORT, NOWHERE + 5 * 4);
    blocked_interrupt(&f, quad2 | IG, 5);
    qamdvi_expect_event(&f.iommu, CODE(4) | DOMAIN_FIELD | DEVICE | FLAG_I |
                        MASTER_ABORT, NOWHERE + 5 * 4);
    fixture_stop(&f);
}

/* MMIO 0018h, 2020h: EventLogInt, and an interrupt only with EventIntEn */
static void test_interrupt(void)
{
    Fixture f;

    fixture_start(&f);
    qamdvi_enable_msi(&f.iommu);
    qamdvi_enable(&f.iommu, AMDVI_MMIO_CONTROL_COMWAITINTEN);
    cause_events(&f, 0, 1);
    g_assert_cmphex(status(&f) & AMDVI_MMIO_STATUS_W1C_MASK, ==,
                    AMDVI_MMIO_STATUS_EVT_INT);
    g_assert_false(qamdvi_take_msi(&f.iommu));
    qamdvi_enable(&f.iommu, AMDVI_MMIO_CONTROL_EVENTINTEN);
    g_assert_true(qamdvi_take_msi(&f.iommu));
    for (unsigned i = 0; i < 3; i++) {
        cause_events(&f, 0, 1);
        g_assert_false(qamdvi_take_msi(&f.iommu));
        qamdvi_write(&f.iommu, AMDVI_MMIO_STATUS, AMDVI_MMIO_STATUS_EVT_INT);
        g_assert_false(qamdvi_take_msi(&f.iommu));
        cause_events(&f, 0, 1);
        g_assert_true(qamdvi_take_msi(&f.iommu));
    }
    fixture_stop(&f);
}

/* MMIO 2020h: an interrupt for the overflow, though EventLogInt is set */
static void test_interrupt_overflow(void)
{
    Fixture f;

    fixture_start(&f);
    qamdvi_enable_msi(&f.iommu);
    qamdvi_enable(&f.iommu, AMDVI_MMIO_CONTROL_EVENTINTEN);
    cause_events(&f, 0, QAMDVI_ENTRIES - 1);
    g_assert_true(qamdvi_take_msi(&f.iommu));
    cause_events(&f, 0, 1);
    g_assert_true(qamdvi_take_msi(&f.iommu));
    cause_events(&f, 0, 1);
    g_assert_false(qamdvi_take_msi(&f.iommu));
    fixture_stop(&f);
}

/*
 * The message of the interrupt reaches memory, but no register: an interrupt in
 * the middle of a request must not unplug the device that has sent the request
 */
static void test_interrupt_register(void)
{
    Fixture f;

    fixture_start(&f);
    qecam_writeb(f.qts, DEVICE, PCI_INTERRUPT_LINE, 0);
    f.iommu.message = qecam_address(DEVICE, PCI_INTERRUPT_LINE);
    qamdvi_enable_msi(&f.iommu);
    qamdvi_enable(&f.iommu, AMDVI_MMIO_CONTROL_EVENTINTEN);
    cause_events(&f, 0, 1);
    g_assert_cmphex(status(&f) & AMDVI_MMIO_STATUS_W1C_MASK, ==,
                    AMDVI_MMIO_STATUS_EVT_INT);
    g_assert_cmphex(qecam_readb(f.qts, DEVICE, PCI_INTERRUPT_LINE), ==, 0);
    fixture_stop(&f);
}

/* MMIO 0018h: EventLogEn = 0 */
static void test_disabled(void)
{
    Fixture f;

    fixture_start(&f);
    qamdvi_write(&f.iommu, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_AMDVIEN);
    cause_events(&f, 0, 1);
    g_assert_cmpuint(tail(&f), ==, 0);
    g_assert_cmphex(status(&f), ==, 0);
    qamdvi_enable(&f.iommu, 0);
    cause_events(&f, 1, 1);
    expect_events(&f, 1, 1);
    qamdvi_expect_no_event(&f.iommu);
    fixture_stop(&f);
}

/* MMIO 0010h: another log, which is empty */
static void test_base(void)
{
    Fixture f;

    fixture_start(&f);
    cause_events(&f, 0, 5);
    expect_events(&f, 0, 2);
    f.iommu.events = guest_alloc_zeroed(&f.alloc, f.qts, 2 * AMDVI_PAGE_SIZE);
    /* 512 entries */
    qamdvi_write(&f.iommu, AMDVI_MMIO_EVENT_BASE,
                 f.iommu.events | 9ULL << 56);
    f.iommu.head = 0;
    g_assert_cmphex(qamdvi_read(&f.iommu, AMDVI_MMIO_EVENT_HEAD), ==, 0);
    g_assert_cmpuint(tail(&f), ==, 0);
    cause_events(&f, 0, 400);
    g_assert_cmpuint(tail(&f), ==, 400);
    expect_events(&f, 0, QAMDVI_ENTRIES - 1);
    fixture_stop(&f);
}

/* MMIO 2018h: software sets the tail of a disabled log, as Linux does */
static void test_tail(void)
{
    Fixture f;

    fixture_start(&f);
    cause_events(&f, 0, 5);
    qamdvi_write(&f.iommu, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_AMDVIEN);
    qamdvi_write(&f.iommu, AMDVI_MMIO_EVENT_HEAD, 0);
    qamdvi_write(&f.iommu, AMDVI_MMIO_EVENT_TAIL, 0);
    qamdvi_enable(&f.iommu, 0);
    qamdvi_expect_no_event(&f.iommu);
    cause_events(&f, 9, 2);
    expect_events(&f, 9, 2);
    qamdvi_expect_no_event(&f.iommu);
    fixture_stop(&f);
}

/* Not a log: registers of the IOMMU, of the APIC, or no memory at all */
static void test_base_without_memory(void)
{
    static const uint64_t bases[] = {
        AMDVI_BASE_ADDR, AMDVI_BASE_ADDR + 0x2000, 0xfee00000, NOWHERE,
        0xffffffffff000,
    };
    Fixture f;

    fixture_start(&f);
    for (unsigned i = 0; i < ARRAY_SIZE(bases); i++) {
        uint64_t control = qamdvi_read(&f.iommu, AMDVI_MMIO_CONTROL);

        qamdvi_write(&f.iommu, AMDVI_MMIO_EVENT_BASE, bases[i] | 8ULL << 56);
        cause_events(&f, 0, QAMDVI_ENTRIES - 1);
        g_assert_cmpuint(tail(&f), ==, QAMDVI_ENTRIES - 1);
        g_assert_cmphex(qamdvi_read(&f.iommu, AMDVI_MMIO_CONTROL), ==,
                        control);
        g_assert_cmphex(qamdvi_read(&f.iommu, AMDVI_MMIO_EVENT_BASE), ==,
                        bases[i] | 8ULL << 56);
        g_assert_true(status(&f) & AMDVI_MMIO_STATUS_EVT_RUN);
    }
    fixture_stop(&f);
}

/* A length below 256 entries is reserved (MMIO 0010h): there is no space */
static void test_base_reserved_length(void)
{
    Fixture f;

    fixture_start(&f);
    qamdvi_write(&f.iommu, AMDVI_MMIO_EVENT_BASE, f.iommu.events);
    cause_events(&f, 0, 1);
    g_assert_cmpuint(tail(&f), ==, 0);
    g_assert_true(status(&f) & AMDVI_MMIO_STATUS_EVT_OVF);
    fixture_stop(&f);
}

/* After a system reset the log is disabled, and an overflow is forgotten */
static void test_system_reset(void)
{
    Fixture f;

    fixture_start(&f);
    overflow(&f);
    qtest_system_reset(f.qts);
    g_assert_cmphex(status(&f), ==, 0);
    g_assert_cmpuint(tail(&f), ==, 0);
    qecam_enable(f.qts);
    qamdvi_init(&f.iommu, f.qts, &f.alloc);
    qatd_init(&f.dev, f.qts, DEVICE, 0);
    attach(&f, ATTACHED | RW | MODE(3) | f.root);
    qamdvi_enable(&f.iommu, 0);
    cause_events(&f, 0, 1);
    expect_events(&f, 0, 1);
    fixture_stop(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-iommu/event/not-present", test_not_present);
    qtest_add_func("/amd-iommu/event/permission", test_permission);
    qtest_add_func("/amd-iommu/event/level", test_level);
    qtest_add_func("/amd-iommu/event/illegal-dte", test_illegal_dte);
    qtest_add_func("/amd-iommu/event/dev-tab-error", test_dev_tab_error);
    qtest_add_func("/amd-iommu/event/page-tab-error", test_page_tab_error);
    qtest_add_func("/amd-iommu/event/special", test_special);
    qtest_add_func("/amd-iommu/event/suppress", test_suppress);
    qtest_add_func("/amd-iommu/event/suppress-all", test_suppress_all);
    qtest_add_func("/amd-iommu/event/wrap", test_wrap);
    qtest_add_func("/amd-iommu/event/overflow", test_overflow);
    qtest_add_func("/amd-iommu/event/overflow-linux", test_overflow_linux);
    qtest_add_func("/amd-iommu/event/blocked-interrupts",
                   test_blocked_interrupts);
    qtest_add_func("/amd-iommu/event/interrupt-table-error",
                   test_interrupt_table_error);
    qtest_add_func("/amd-iommu/event/interrupt", test_interrupt);
    qtest_add_func("/amd-iommu/event/interrupt-register",
                   test_interrupt_register);
    qtest_add_func("/amd-iommu/event/interrupt-overflow",
                   test_interrupt_overflow);
    qtest_add_func("/amd-iommu/event/disabled", test_disabled);
    qtest_add_func("/amd-iommu/event/base", test_base);
    qtest_add_func("/amd-iommu/event/base-without-memory",
                   test_base_without_memory);
    qtest_add_func("/amd-iommu/event/base-reserved-length",
                   test_base_reserved_length);
    qtest_add_func("/amd-iommu/event/tail", test_tail);
    qtest_add_func("/amd-iommu/event/system-reset", test_system_reset);
    return g_test_run();
}
