/*
 * QTest testcase for the translation of requests by amd-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Which requests the IOMMU blocks, and which it translates to what.  Sections
 * are those of the AMD I/O Virtualization Technology (IOMMU) Specification,
 * 48882, revision 3.00.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/amd_iommu.h"
#include "libqos/amdvi.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "libqos/pci-ats-testdev.h"

#define DEVICE      QATD_BDF(0, 4, 0)
#define OTHER       QATD_BDF(0, 5, 0)
/* The first DeviceID that a table of one page does not have */
#define BEYOND      QATD_BDF(0, 16, 0)

#define IOVA        0x40000000ULL
#define PAGE        0x1000ULL
#define MARK        0x5a5a5a5a5a5a5a5aULL
#define OTHER_MARK  0xa5a5a5a5a5a5a5a5ULL

/* 2.2.2.1 and 2.2.3: bits of device table entries and of page table entries */
#define V           AMDVI_DEV_VALID
#define TV          AMDVI_DEV_TRANSLATION_VALID
#define MODE(n)     ((uint64_t)(n) << AMDVI_DEV_MODE_RSHIFT)
#define EX          (1ULL << 39)        /* bit 103 */
#define IV          AMDVI_IR_REMAP_ENABLE
#define PR          1ULL
#define NEXT(n)     ((uint64_t)(n) << AMDVI_DEV_MODE_RSHIFT)
#define IR          AMDVI_DEV_PERM_READ
#define IW          AMDVI_DEV_PERM_WRITE
#define RW          (IR | IW)

/* Data of interrupt messages: the delivery modes */
#define INT_FIXED       0
#define INT_ARBITRATED  (1 << 8)
#define INT_NMI         (4 << 8)

#define MAX_LEVEL   6

typedef struct Fixture {
    QTestState *qts;
    QGuestAllocator alloc;
    QATD dev, other, beyond;
    QAMDVI iommu;
    uint64_t page;              /* starts with MARK */
    uint64_t other_page;        /* starts with OTHER_MARK */
    uint64_t table[MAX_LEVEL + 1];      /* by level */
} Fixture;

static uint64_t zeroed(Fixture *f, uint64_t size)
{
    return guest_alloc_zeroed(&f->alloc, f->qts, size);
}

#define MACHINE     "-M q35 -nodefaults -m 256M %s " \
                    "-device pci-ats-testdev,addr=4 " \
                    "-device pci-ats-testdev,addr=5 " \
                    "-device pci-ats-testdev,addr=10"

static void fixture_start_with(Fixture *f, const char *iommu)
{
    f->qts = qtest_initf(MACHINE, iommu);
    qecam_enable(f->qts);
    pc_alloc_init(&f->alloc, f->qts, ALLOC_NO_FLAGS);
    qatd_init(&f->dev, f->qts, DEVICE, 0);
    qatd_init(&f->other, f->qts, OTHER, 1);
    qatd_init(&f->beyond, f->qts, BEYOND, 2);
    for (unsigned level = 1; level <= MAX_LEVEL; level++) {
        f->table[level] = zeroed(f, PAGE);
    }
    f->page = zeroed(f, PAGE);
    f->other_page = zeroed(f, PAGE);
    qtest_writeq(f->qts, f->page, MARK);
    qtest_writeq(f->qts, f->other_page, OTHER_MARK);
    qamdvi_init(&f->iommu, f->qts, &f->alloc);
    /* One page */
    qamdvi_write(&f->iommu, AMDVI_MMIO_DEVICE_TABLE, f->iommu.devtab);
    qamdvi_enable(&f->iommu, 0);
}

static void fixture_start(Fixture *f)
{
    fixture_start_with(f, "-device amd-iommu");
}

static void fixture_stop(Fixture *f)
{
    qtest_quit(f->qts);
    alloc_destroy(&f->alloc);
}

static void set_dte(Fixture *f, uint16_t bdf, unsigned quad, uint64_t val)
{
    qtest_writeq(f->qts, qamdvi_dte_addr(&f->iommu, bdf) + quad * 8, val);
    qamdvi_inval_all(&f->iommu);
}

/* Set the entry for @addr in the table of @level */
static void set_entry(Fixture *f, unsigned level, uint64_t addr, uint64_t val)
{
    uint64_t index = addr >> (3 + 9 * level) & 0x1ff;

    qtest_writeq(f->qts, f->table[level] + index * 8, val);
    qamdvi_inval_all(&f->iommu);
}

/* An entry that refers to the table of the next lower level, or to the page */
static uint64_t plain_entry(Fixture *f, unsigned level)
{
    return PR | RW | NEXT(level - 1) |
           (level > 1 ? f->table[level - 1] : f->page);
}

static uint64_t plain_dte(Fixture *f, unsigned mode)
{
    return V | TV | RW | MODE(mode) | f->table[mode];
}

/* Map IOVA to the page, with tables of @mode levels */
static void map_page(Fixture *f, unsigned mode)
{
    for (unsigned level = 1; level <= mode; level++) {
        set_entry(f, level, IOVA, plain_entry(f, level));
    }
    set_dte(f, DEVICE, 0, plain_dte(f, mode));
}

static bool reads(QATD *dev, uint64_t addr)
{
    return qatd_command(dev, ATD_CMD_DMA_READ, QATD_NO_PASID, addr, 8, 0) == 0;
}

static bool writes(QATD *dev, uint64_t addr)
{
    return qatd_command(dev, ATD_CMD_DMA_WRITE, QATD_NO_PASID, addr, 8, 0) == 0;
}

/* Assert that the device reads @mark at an address */
static void assert_reads(Fixture *f, QATD *dev, uint64_t addr, uint64_t mark)
{
    qtest_writeq(f->qts, dev->data, 0);
    g_assert_true(reads(dev, addr));
    g_assert_cmphex(qtest_readq(f->qts, dev->data), ==, mark);
}

/* Returns whether an access was aborted since the last call, 2.5.3 */
static bool target_abort(Fixture *f)
{
    uint16_t bdf = f->iommu.bdf;
    uint16_t status = qecam_readw(f->qts, bdf, PCI_STATUS);

    qecam_writew(f->qts, bdf, PCI_STATUS, status);
    return status & PCI_STATUS_SIG_TARGET_ABORT;
}

/* An I/O page fault */
static void assert_blocked(Fixture *f, uint64_t addr)
{
    target_abort(f);
    g_assert_false(reads(&f->dev, addr));
    g_assert_true(target_abort(f));
    g_assert_false(writes(&f->dev, addr));
    g_assert_true(target_abort(f));
}

/* ---- Page tables, 2.2.3 ---- */

/* PR = 0: not present, also in an entry that maps a page */
static void test_not_present(void)
{
    Fixture f;

    fixture_start(&f);
    map_page(&f, 4);
    assert_reads(&f, &f.dev, IOVA, MARK);
    for (unsigned level = 1; level <= 4; level++) {
        set_entry(&f, level, IOVA, plain_entry(&f, level) & ~PR);
        assert_blocked(&f, IOVA);
        set_entry(&f, level, IOVA, plain_entry(&f, level));
    }
    assert_reads(&f, &f.dev, IOVA, MARK);
    fixture_stop(&f);
}

/* Check accesses in both orders, since the first one is cached */
static void assert_permissions(Fixture *f, uint64_t perm)
{
    qamdvi_inval_all(&f->iommu);
    g_assert_cmpint(reads(&f->dev, IOVA), ==, !!(perm & IR));
    g_assert_cmpint(writes(&f->dev, IOVA), ==, !!(perm & IW));
    qamdvi_inval_all(&f->iommu);
    g_assert_cmpint(writes(&f->dev, IOVA), ==, !!(perm & IW));
    g_assert_cmpint(reads(&f->dev, IOVA), ==, !!(perm & IR));
}

/*
 * An access needs IR or IW in the device table entry and in the entries of all
 * levels.
 */
static void test_permissions(void)
{
    static const uint64_t perms[] = { 0, IR, IW, RW };
    Fixture f;

    fixture_start(&f);
    map_page(&f, 4);
    for (unsigned i = 0; i < ARRAY_SIZE(perms); i++) {
        for (unsigned level = 1; level <= 4; level++) {
            set_entry(&f, level, IOVA,
                      (plain_entry(&f, level) & ~RW) | perms[i]);
            assert_permissions(&f, perms[i]);
            set_entry(&f, level, IOVA, plain_entry(&f, level));
        }
        set_dte(&f, DEVICE, 0, (plain_dte(&f, 4) & ~RW) | perms[i]);
        assert_permissions(&f, perms[i]);
        set_dte(&f, DEVICE, 0, plain_dte(&f, 4));
    }
    /* Different permissions at different levels */
    set_entry(&f, 1, IOVA, plain_entry(&f, 1) & ~IR);
    set_entry(&f, 3, IOVA, plain_entry(&f, 3) & ~IW);
    assert_permissions(&f, 0);
    fixture_stop(&f);
}

/* Mode 0: there are no tables, but IR and IW apply */
static void test_mode_0(void)
{
    Fixture f;

    fixture_start(&f);
    set_dte(&f, DEVICE, 0, V | TV | RW);
    assert_reads(&f, &f.dev, f.page, MARK);
    set_dte(&f, DEVICE, 0, V | TV | IR);
    assert_reads(&f, &f.dev, f.page, MARK);
    g_assert_false(writes(&f.dev, f.page));
    set_dte(&f, DEVICE, 0, V | TV);
    assert_blocked(&f, f.page);
    fixture_stop(&f);
}

/* The address bits of levels that an entry skips are 0 */
static void test_skipped_levels(void)
{
    unsigned level, next;

    for (level = 2; level <= MAX_LEVEL; level++) {
        for (next = 1; next + 1 < level; next++) {
            uint64_t skipped;
            Fixture f;

            fixture_start(&f);
            map_page(&f, MAX_LEVEL);
            for (unsigned l = 1; l <= MAX_LEVEL; l++) {
                set_entry(&f, l, 0, plain_entry(&f, l));
            }
            set_entry(&f, level, 0, PR | RW | NEXT(next) | f.table[next]);
            assert_reads(&f, &f.dev, 0, MARK);
            for (skipped = next + 1; skipped < level; skipped++) {
                assert_blocked(&f, 1ULL << (3 + 9 * skipped));
                assert_blocked(&f, 1ULL << (11 + 9 * skipped));
            }
            fixture_stop(&f);
        }
    }
}

/* Mode selects the width of addresses: 2.2.2.1 */
static void test_width(void)
{
    unsigned mode;

    for (mode = 1; mode < MAX_LEVEL; mode++) {
        Fixture f;

        fixture_start(&f);
        for (unsigned level = 1; level <= mode; level++) {
            set_entry(&f, level, 0, plain_entry(&f, level));
        }
        set_dte(&f, DEVICE, 0, plain_dte(&f, mode));
        assert_reads(&f, &f.dev, 0, MARK);
        assert_blocked(&f, 1ULL << (12 + 9 * mode));
        assert_blocked(&f, 1ULL << 62);
        fixture_stop(&f);
    }
}

/* Bits 58:52 of an entry that maps a page, bits 60:52 of one that does not */
static void test_reserved(void)
{
    unsigned bit;
    Fixture f;

    fixture_start(&f);
    map_page(&f, 3);
    for (bit = 52; bit <= 60; bit++) {
        set_entry(&f, 1, IOVA, plain_entry(&f, 1) | 1ULL << bit);
        if (bit <= 58) {
            assert_blocked(&f, IOVA);
        } else {
            assert_reads(&f, &f.dev, IOVA, MARK);
        }
        set_entry(&f, 1, IOVA, plain_entry(&f, 1));
        set_entry(&f, 2, IOVA, plain_entry(&f, 2) | 1ULL << bit);
        assert_blocked(&f, IOVA);
        set_entry(&f, 2, IOVA, plain_entry(&f, 2));
    }
    /* Bits 8:1 and 63 are ignored or have a meaning */
    set_entry(&f, 1, IOVA, plain_entry(&f, 1) | 0x1fe | 1ULL << 63);
    set_entry(&f, 2, IOVA, plain_entry(&f, 2) | 0x1fe | 1ULL << 63);
    assert_reads(&f, &f.dev, IOVA, MARK);
    fixture_stop(&f);
}

/* Page Table Level Parameters: the default sizes of pages */
static void test_default_sizes(void)
{
    unsigned level;
    Fixture f;

    fixture_start(&f);
    for (level = 1; level <= MAX_LEVEL; level++) {
        uint64_t size = 1ULL << (3 + 9 * level);

        map_page(&f, MAX_LEVEL);
        set_entry(&f, level, IOVA, PR | RW | (f.page & -size));
        if (level == MAX_LEVEL) {
            assert_blocked(&f, IOVA);
        } else {
            assert_reads(&f, &f.dev, (IOVA & -size) | (f.page & (size - 1)),
                         MARK);
        }
    }
    fixture_stop(&f);
}

/* Example Page Size Encodings: with Next Level 7, the address has the size */
static void test_encoded_sizes(void)
{
    unsigned level, bits;
    Fixture f;

    fixture_start(&f);
    for (level = 1; level <= MAX_LEVEL; level++) {
        map_page(&f, MAX_LEVEL);
        for (bits = 13; bits <= 40; bits++) {
            uint64_t size = 1ULL << bits;
            uint64_t entry = PR | RW | NEXT(7) | (f.page & -size) |
                             (size / 2 - PAGE);
            /* One of the addresses of the page, which has several entries */
            uint64_t addr = (IOVA & -size) | (f.page & (size - 1));

            if (level < MAX_LEVEL && bits > 12 + 9 * (level - 1) &&
                bits < 12 + 9 * level) {
                set_entry(&f, level, addr, entry);
                assert_reads(&f, &f.dev, addr, MARK);
            } else {
                set_entry(&f, level, IOVA, entry);
                assert_blocked(&f, IOVA);
            }
        }
    }
    fixture_stop(&f);
}

/* PAGE_TAB_HARDWARE_ERROR: a table that is not in memory */
static void test_no_memory(void)
{
    Fixture f;

    fixture_start(&f);
    map_page(&f, 3);
    set_entry(&f, 2, IOVA, PR | RW | NEXT(1) | 0x7000000000ULL);
    assert_blocked(&f, IOVA);
    set_dte(&f, DEVICE, 0, V | TV | RW | MODE(3) | 0x7000000000ULL);
    assert_blocked(&f, IOVA);
    fixture_stop(&f);
}

/* ---- Device table, 2.2.2 ---- */

/* V = 0: everything passes; V = 1 and TV = 0: nothing does */
static void test_valid(void)
{
    Fixture f;

    fixture_start(&f);
    set_dte(&f, DEVICE, 0, 0);
    assert_reads(&f, &f.dev, f.page, MARK);
    g_assert_true(writes(&f.dev, f.other_page));
    set_dte(&f, DEVICE, 0, RW | TV | MODE(3));
    assert_reads(&f, &f.dev, f.page, MARK);
    set_dte(&f, DEVICE, 0, V | RW);
    assert_blocked(&f, f.page);
    map_page(&f, 3);
    assert_reads(&f, &f.dev, IOVA, MARK);
    set_dte(&f, DEVICE, 0, plain_dte(&f, 3) & ~TV);
    assert_blocked(&f, IOVA);
    fixture_stop(&f);
}

/* Mode 7 is reserved */
static void test_mode_7(void)
{
    Fixture f;

    fixture_start(&f);
    set_dte(&f, DEVICE, 0, V | TV | RW | MODE(7) | f.table[6]);
    g_assert_false(reads(&f.dev, f.page));
    g_assert_false(writes(&f.dev, f.page));
    fixture_stop(&f);
}

/* Reserved bits of the part that V makes valid, and of other parts */
static void test_reserved_memory(void)
{
    static const unsigned bits[] = { 2, 3, 4, 5, 6, 63 };
    Fixture f;

    fixture_start(&f);
    map_page(&f, 3);
    for (unsigned i = 0; i < ARRAY_SIZE(bits); i++) {
        set_dte(&f, DEVICE, 0, plain_dte(&f, 3) | 1ULL << bits[i]);
        g_assert_false(reads(&f.dev, IOVA));
        g_assert_false(writes(&f.dev, IOVA));
        set_dte(&f, DEVICE, 0, (plain_dte(&f, 3) | 1ULL << bits[i]) & ~V);
        assert_reads(&f, &f.dev, f.page, MARK);
    }
    set_dte(&f, DEVICE, 0, plain_dte(&f, 3));
    set_dte(&f, DEVICE, 2, ~IV);
    set_dte(&f, DEVICE, 3, UINT64_MAX);
    assert_reads(&f, &f.dev, IOVA, MARK);
    /* Memory requests do not depend on the part for interrupts */
    set_dte(&f, DEVICE, 2, UINT64_MAX);
    assert_reads(&f, &f.dev, IOVA, MARK);
    set_dte(&f, DEVICE, 0, 0);
    assert_reads(&f, &f.dev, f.page, MARK);
    fixture_stop(&f);
}

/* Returns whether a message signalled interrupt passes */
static bool interrupts(Fixture *f)
{
    return qatd_command(&f->dev, ATD_CMD_DMA_WRITE, QATD_NO_PASID,
                        AMDVI_INT_ADDR_FIRST, 4, 0) == 0;
}

/* Reserved bits of the part that IV makes valid, and of other parts */
static void test_reserved_interrupts(void)
{
    Fixture f;

    fixture_start(&f);
    g_assert_true(interrupts(&f));
    set_dte(&f, DEVICE, 2, ~IV);
    set_dte(&f, DEVICE, 3, UINT64_MAX);
    g_assert_true(interrupts(&f));
    set_dte(&f, DEVICE, 0, ~V & ~TV);
    g_assert_true(interrupts(&f));

    set_dte(&f, DEVICE, 2, IV | 1ULL << AMDVI_IR_INTCTL_SHIFT);
    set_dte(&f, DEVICE, 3, 0);
    g_assert_true(interrupts(&f));
    set_dte(&f, DEVICE, 2, IV | 1ULL << AMDVI_IR_INTCTL_SHIFT | 1ULL << 52);
    g_assert_false(interrupts(&f));
    set_dte(&f, DEVICE, 2, IV | 1ULL << AMDVI_IR_INTCTL_SHIFT);
    set_dte(&f, DEVICE, 3, 1);
    g_assert_false(interrupts(&f));
    fixture_stop(&f);
}

/* IntTabLen limits the entries of the interrupt remapping table, 2.2.5 */
static void test_interrupt_table_length(void)
{
    const uint64_t remap = IV | 2ULL << AMDVI_IR_INTCTL_SHIFT;
    uint64_t table;
    Fixture f;

    fixture_start(&f);
    table = zeroed(&f, PAGE);
    /* RemapEn of two entries */
    qtest_writel(f.qts, table, 1);
    qtest_writel(f.qts, table + 4, 1);
    set_dte(&f, DEVICE, 2, remap | table);
    qtest_writel(f.qts, f.dev.data, 0);
    g_assert_true(interrupts(&f));
    qtest_writel(f.qts, f.dev.data, 1);
    g_assert_false(interrupts(&f));
    set_dte(&f, DEVICE, 2, remap | table | 1 << 1);
    g_assert_true(interrupts(&f));
    fixture_stop(&f);
}

/* Returns whether the interrupt passes, and expects an event if it does not */
static bool legal_interrupt(Fixture *f, uint32_t data)
{
    /* ILLEGAL_DEV_TABLE_ENTRY with I and RZ (2.5.2) */
    const uint64_t event = 1ULL << 60 | 1ULL << 55 | 1ULL << 51 | DEVICE;

    qtest_writel(f->qts, f->dev.data, data);
    if (interrupts(f)) {
        qamdvi_expect_no_event(&f->iommu);
        return true;
    }
    qamdvi_expect_event(&f->iommu, event, AMDVI_INT_ADDR_FIRST);
    return false;
}

/*
 * 2.2.2.1: reserved values of IntCtl, and of IntTabLen, which matters if IntCtl
 * is 10b, block interrupts that are fixed or arbitrated, but no others
 */
static void test_reserved_int_control(void)
{
    const uint64_t nmi_pass = 1ULL << 58;
    uint64_t table;
    Fixture f;

    fixture_start(&f);
    table = zeroed(&f, PAGE);
    qtest_writel(f.qts, table, 1);
    for (uint64_t len = 0; len < 16; len++) {
        set_dte(&f, DEVICE, 2, IV | table | len << 1 |
                2ULL << AMDVI_IR_INTCTL_SHIFT);
        g_assert_cmpint(legal_interrupt(&f, INT_FIXED), ==, len <= 11);
        set_dte(&f, DEVICE, 2, IV | table | len << 1 |
                1ULL << AMDVI_IR_INTCTL_SHIFT);
        g_assert_true(legal_interrupt(&f, INT_FIXED));
    }
    set_dte(&f, DEVICE, 2, IV | nmi_pass | 3ULL << AMDVI_IR_INTCTL_SHIFT);
    g_assert_false(legal_interrupt(&f, INT_FIXED));
    g_assert_false(legal_interrupt(&f, INT_ARBITRATED));
    g_assert_true(legal_interrupt(&f, INT_NMI));
    fixture_stop(&f);
}

/*
 * The interrupt remapping table must be in memory.  The Control register (MMIO
 * 0018h) looks like an entry with RemapEn.
 */
static void test_interrupt_table_in_registers(void)
{
    const uint64_t remap = IV | 2ULL << AMDVI_IR_INTCTL_SHIFT;
    uint64_t table;
    Fixture f;

    fixture_start(&f);
    table = zeroed(&f, PAGE);
    qtest_writel(f.qts, table + AMDVI_MMIO_CONTROL,
                 qamdvi_read(&f.iommu, AMDVI_MMIO_CONTROL));
    qtest_writel(f.qts, f.dev.data, AMDVI_MMIO_CONTROL / 4);
    set_dte(&f, DEVICE, 2, remap | 4 << 1 | table);
    g_assert_true(interrupts(&f));
    set_dte(&f, DEVICE, 2, remap | 4 << 1 | AMDVI_BASE_ADDR);
    g_assert_false(interrupts(&f));
    fixture_stop(&f);
}

/* Nothing is remapped while IommuEn = 0 (MMIO 0018h), also no interrupt */
static void test_interrupts_disabled(void)
{
    Fixture f;

    fixture_start(&f);
    set_dte(&f, DEVICE, 2, IV);         /* IntCtl = 00b: blocked */
    g_assert_false(interrupts(&f));
    qamdvi_write(&f.iommu, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_CMDBUFLEN);
    g_assert_true(interrupts(&f));
    qamdvi_enable(&f.iommu, 0);
    g_assert_false(interrupts(&f));
    fixture_stop(&f);
}

/*
 * INVALIDATE_DEVTAB_ENTRY, 2.4.2: the next request uses the new entry, also if
 * the translation of the page is cached
 */
static void test_cached_entry(void)
{
    Fixture f;

    fixture_start(&f);
    map_page(&f, 3);
    assert_reads(&f, &f.dev, IOVA, MARK);
    qtest_writeq(f.qts, qamdvi_dte_addr(&f.iommu, DEVICE), V);
    qamdvi_inval_device(&f.iommu, DEVICE);
    g_assert_false(reads(&f.dev, IOVA));
    fixture_stop(&f);
}

/* The device table has entries for as many DeviceIDs as Size says, 3.4.1 */
static void test_beyond_table(void)
{
    Fixture f;

    fixture_start(&f);
    map_page(&f, 3);
    set_dte(&f, BEYOND, 0, plain_dte(&f, 3));
    g_assert_false(reads(&f.beyond, IOVA));
    g_assert_true(target_abort(&f));
    g_assert_false(writes(&f.beyond, IOVA));
    g_assert_false(reads(&f.beyond, f.page));
    g_assert_cmpint(qatd_command(&f.beyond, ATD_CMD_DMA_WRITE, QATD_NO_PASID,
                                 AMDVI_INT_ADDR_FIRST, 4, 0), !=, 0);
    qamdvi_write(&f.iommu, AMDVI_MMIO_DEVICE_TABLE, f.iommu.devtab | 1);
    assert_reads(&f, &f.beyond, IOVA, MARK);
    fixture_stop(&f);
}

/* DEV_TAB_HARDWARE_ERROR: the device table is not in memory */
static void test_no_table(void)
{
    Fixture f;

    fixture_start(&f);
    qamdvi_write(&f.iommu, AMDVI_MMIO_DEVICE_TABLE, 0x7000000000ULL);
    assert_blocked(&f, f.page);
    fixture_stop(&f);
}

/* ---- Exclusion range ---- */

static void set_exclusion(Fixture *f, uint64_t first, uint64_t last,
                          uint64_t flags)
{
    qamdvi_write(&f->iommu, AMDVI_MMIO_EXCL_LIMIT, last);
    qamdvi_write(&f->iommu, AMDVI_MMIO_EXCL_BASE, first | flags);
}

#define EXEN        AMDVI_MMIO_EXCL_ENABLED_MASK
#define ALLOW       AMDVI_MMIO_EXCL_ALLOW_MASK

/* MMIO 0020h and 0028h, and EX (2.2.2.1): who may access the range */
static void test_exclusion_enabled(void)
{
    static const struct {
        uint64_t flags;
        uint64_t dte;
        bool excluded;
    } cases[] = {
        { 0, EX, false },
        { ALLOW, EX, false },
        { EXEN, 0, false },
        { EXEN, EX, true },
        { EXEN | ALLOW, 0, true },
        { EXEN | ALLOW, EX, true },
    };
    Fixture f;

    fixture_start(&f);
    map_page(&f, 3);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        set_exclusion(&f, f.page, f.page, cases[i].flags);
        set_dte(&f, DEVICE, 1, cases[i].dte);
        if (cases[i].excluded) {
            assert_reads(&f, &f.dev, f.page, MARK);
            g_assert_true(writes(&f.dev, f.page));
        } else {
            assert_blocked(&f, f.page);
        }
        assert_reads(&f, &f.dev, IOVA, MARK);
    }
    fixture_stop(&f);
}

/* The range ends with the page at the limit, and can be empty */
static void test_exclusion_limits(void)
{
    Fixture f;

    fixture_start(&f);
    map_page(&f, 3);
    set_exclusion(&f, f.page, f.page + PAGE, EXEN | ALLOW);
    assert_blocked(&f, f.page - 8);
    assert_reads(&f, &f.dev, f.page, MARK);
    g_assert_true(reads(&f.dev, f.page + 2 * PAGE - 8));
    assert_blocked(&f, f.page + 2 * PAGE);
    /* Writes of halves take effect */
    qtest_writel(f.qts, AMDVI_BASE_ADDR + AMDVI_MMIO_EXCL_LIMIT, f.page);
    assert_blocked(&f, f.page + PAGE);
    set_exclusion(&f, f.page, f.page - PAGE, EXEN | ALLOW);
    assert_blocked(&f, f.page - PAGE);
    assert_blocked(&f, f.page);
    fixture_stop(&f);
}

/*
 * Requests for the range are not checked either: permissions of the entry, and
 * pages that are larger than the range, do not matter.
 */
static void test_exclusion_checks(void)
{
    Fixture f;

    fixture_start(&f);
    set_dte(&f, DEVICE, 0, V | TV);
    set_exclusion(&f, f.page, f.page, EXEN | ALLOW);
    assert_reads(&f, &f.dev, f.page, MARK);
    g_assert_true(writes(&f.dev, f.page));
    assert_blocked(&f, f.page + PAGE);

    /* A page of 2 MiB, which maps the other page, around an excluded page */
    map_page(&f, 3);
    set_entry(&f, 2, IOVA, PR | RW | (f.other_page & -0x200000ULL));
    set_exclusion(&f, IOVA + PAGE, IOVA + PAGE, EXEN | ALLOW);
    assert_reads(&f, &f.dev, IOVA + (f.other_page & 0x1fffff), OTHER_MARK);
    set_exclusion(&f, IOVA + (f.other_page & 0x1ff000),
                  IOVA + (f.other_page & 0x1ff000), EXEN | ALLOW);
    qtest_writeq(f.qts, f.dev.data, 0);
    reads(&f.dev, IOVA + (f.other_page & 0x1fffff));
    g_assert_cmphex(qtest_readq(f.qts, f.dev.data), !=, OTHER_MARK);
    fixture_stop(&f);
}

/* ---- Cached translations ---- */

/*
 * Translations of different functions are cached apart, also those of addresses
 * beyond 48 bits.
 */
static void test_cached_apart(void)
{
    const uint64_t high = IOVA | (uint64_t)(DEVICE ^ OTHER) << 48;
    uint64_t root, low;
    Fixture f;

    fixture_start(&f);
    map_page(&f, 5);
    set_entry(&f, 5, high, plain_entry(&f, 5));
    /* One level for the other device, which maps everything to its page */
    low = zeroed(&f, PAGE);
    root = zeroed(&f, PAGE);
    qtest_writeq(f.qts, low, PR | RW | f.other_page);
    qtest_writeq(f.qts, root + (IOVA >> 30) * 8, PR | RW | NEXT(1) | low);
    set_dte(&f, OTHER, 0, V | TV | RW | MODE(3) | root);

    assert_reads(&f, &f.dev, high, MARK);
    assert_reads(&f, &f.other, IOVA, OTHER_MARK);
    assert_reads(&f, &f.dev, high, MARK);
    fixture_stop(&f);
}

/* ---- Events, 2.5 ---- */

#define DOMAIN          0x1234
#define ILLEGAL_DTE     (1ULL << 60 | DEVICE)
#define PAGE_FAULT      (2ULL << 60 | (uint64_t)DOMAIN << 32 | DEVICE)
#define FLAG_PR         (1ULL << 52)
#define FLAG_PE         (1ULL << 54)
#define FLAG_RZ         (1ULL << 55)

/* The flags that tell why a read at IOVA is blocked */
static void test_event_flags(void)
{
    static const struct {
        uint64_t dte;
        uint64_t entry;         /* in the table of the highest level */
        uint64_t event;
    } cases[] = {
        /* TV = 0 */
        { V | RW, 0, PAGE_FAULT },
        /* Mode 0 without permission */
        { V | TV | IW, 0, PAGE_FAULT | FLAG_PR | FLAG_PE },
        /* A reserved value of Mode, and a reserved bit */
        { V | TV | RW | MODE(7), 0, ILLEGAL_DTE },
        { V | TV | RW | MODE(3) | 4, 0, ILLEGAL_DTE | FLAG_RZ },
        /* An address beyond the width of Mode */
        { V | TV | RW | MODE(2), PR | RW, PAGE_FAULT },
        { V | TV | RW | MODE(3), 0, PAGE_FAULT },
        { V | TV | RW | MODE(3), PR | IW, PAGE_FAULT | FLAG_PR | FLAG_PE },
        { V | TV | RW | MODE(3), PR | RW | 1ULL << 52,
          PAGE_FAULT | FLAG_PR | FLAG_RZ },
        /* A page that is too small for its level */
        { V | TV | RW | MODE(3), PR | RW | NEXT(7), PAGE_FAULT | FLAG_PR },
        /* Address bits of a skipped level: bits 38:30 of IOVA are 1 */
        { V | TV | RW | MODE(4), PR | RW | NEXT(2), PAGE_FAULT | FLAG_PR },
    };
    QGuestAllocator alloc;
    QAMDVI iommu;
    QATD dev;
    uint64_t root;
    QTestState *qts = qtest_init("-M q35 -nodefaults -m 256M -device amd-iommu "
                                 "-device pci-ats-testdev,addr=4");

    qecam_enable(qts);
    pc_alloc_init(&alloc, qts, ALLOC_NO_FLAGS);
    qamdvi_init(&iommu, qts, &alloc);
    qatd_init(&dev, qts, DEVICE, 0);
    root = guest_alloc_zeroed(&alloc, qts, PAGE);
    qamdvi_enable(&iommu, 0);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        const uint64_t dte[4] = { cases[i].dte | root, DOMAIN };

        for (uint64_t e = root; e < root + PAGE; e += 8) {
            qtest_writeq(qts, e, cases[i].entry);
        }
        qamdvi_set_dte(&iommu, DEVICE, dte);
        g_assert_cmpint(qatd_command(&dev, ATD_CMD_DMA_READ, QATD_NO_PASID,
                                     IOVA, 4, 0), !=, 0);
        qamdvi_expect_event(&iommu, cases[i].event, IOVA);
    }
    qtest_quit(qts);
    alloc_destroy(&alloc);
}

/* ---- Properties ---- */

/* Nothing that the guest configures has an effect, except on interrupts */
static void test_no_remap(void)
{
    static const uint64_t entries[] = { 0, V | TV, V | TV | MODE(7), V | 4 };
    Fixture f;

    fixture_start_with(&f, "-device amd-iommu,dma-remap=off");
    map_page(&f, 4);
    assert_reads(&f, &f.dev, f.page, MARK);
    for (unsigned i = 0; i < ARRAY_SIZE(entries); i++) {
        set_dte(&f, DEVICE, 0, entries[i]);
        assert_reads(&f, &f.dev, f.page, MARK);
        g_assert_true(writes(&f.dev, f.page));
    }
    g_assert_false(target_abort(&f));
    qamdvi_expect_no_event(&f.iommu);
    /* Interrupts are remapped: IntCtl = 00b blocks them */
    g_assert_true(interrupts(&f));
    set_dte(&f, DEVICE, 2, IV);
    g_assert_false(interrupts(&f));
    fixture_stop(&f);
}

/* ILLEGAL_DEV_TABLE_ENTRY, 2.5.2 */
static void assert_illegal(Fixture *f, uint64_t addr)
{
    QAMDVIEvent event;

    g_assert_false(reads(&f->dev, addr));
    g_assert_true(qamdvi_next_event(&f->iommu, &event));
    g_assert_cmpuint(event.lo >> 60, ==, 1);
}

/* 5.2: with HATDis, entries that refer to host tables are illegal */
static void test_no_host_tables(void)
{
    Fixture f;

    fixture_start_with(&f, "-device amd-iommu,dma-translation=off");
    set_dte(&f, DEVICE, 0, V | TV | RW);
    assert_reads(&f, &f.dev, f.page, MARK);
    set_dte(&f, DEVICE, 0, V | TV | RW | f.table[4]);
    assert_illegal(&f, f.page);
    map_page(&f, 4);
    assert_illegal(&f, IOVA);
    fixture_stop(&f);
}

#define NAMED   "-device AMDVI-PCI,id=function,addr=6 " \
                "-device amd-iommu,pci-id=function"

/* The IOMMU uses the PCI function that the user has created */
static void test_pci_id(void)
{
    Fixture f;

    fixture_start_with(&f, NAMED);
    g_assert_cmphex(f.iommu.bdf, ==, QATD_BDF(0, 6, 0));
    map_page(&f, 4);
    assert_reads(&f, &f.dev, IOVA, MARK);
    set_entry(&f, 1, IOVA, 0);
    assert_blocked(&f, IOVA);
    fixture_stop(&f);
}

/* The state of the function is saved and loaded with that of the IOMMU */
static void test_pci_id_migrate(void)
{
    g_autofree char *path = NULL;
    uint64_t tail;
    Fixture f;

    fixture_start_with(&f, NAMED);
    map_page(&f, 4);
    target_abort(&f);
    g_assert_false(reads(&f.dev, IOVA + PAGE));
    tail = qamdvi_read(&f.iommu, AMDVI_MMIO_EVENT_TAIL);
    g_assert_cmpuint(tail, >, 0);
    path = qatd_save_machine(f.qts);
    f.qts = f.dev.qts = f.iommu.qts = qtest_initf(MACHINE " -incoming defer",
                                                  NAMED);
    qatd_load_machine(f.qts, path);
    g_assert_cmpuint(qamdvi_read(&f.iommu, AMDVI_MMIO_EVENT_TAIL), ==, tail);
    g_assert_true(target_abort(&f));
    assert_reads(&f, &f.dev, IOVA, MARK);
    fixture_stop(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-iommu/translate/not-present", test_not_present);
    qtest_add_func("/amd-iommu/translate/permissions", test_permissions);
    qtest_add_func("/amd-iommu/translate/mode-0", test_mode_0);
    qtest_add_func("/amd-iommu/translate/skipped-levels", test_skipped_levels);
    qtest_add_func("/amd-iommu/translate/width", test_width);
    qtest_add_func("/amd-iommu/translate/reserved", test_reserved);
    qtest_add_func("/amd-iommu/translate/default-sizes", test_default_sizes);
    qtest_add_func("/amd-iommu/translate/encoded-sizes", test_encoded_sizes);
    qtest_add_func("/amd-iommu/translate/no-memory", test_no_memory);
    qtest_add_func("/amd-iommu/device-table/valid", test_valid);
    qtest_add_func("/amd-iommu/device-table/mode-7", test_mode_7);
    qtest_add_func("/amd-iommu/device-table/reserved", test_reserved_memory);
    qtest_add_func("/amd-iommu/device-table/reserved-interrupts",
                   test_reserved_interrupts);
    qtest_add_func("/amd-iommu/device-table/interrupt-table-length",
                   test_interrupt_table_length);
    qtest_add_func("/amd-iommu/device-table/reserved-int-control",
                   test_reserved_int_control);
    qtest_add_func("/amd-iommu/device-table/interrupt-table-in-registers",
                   test_interrupt_table_in_registers);
    qtest_add_func("/amd-iommu/device-table/interrupts-disabled",
                   test_interrupts_disabled);
    qtest_add_func("/amd-iommu/device-table/cached", test_cached_entry);
    qtest_add_func("/amd-iommu/device-table/beyond", test_beyond_table);
    qtest_add_func("/amd-iommu/device-table/no-memory", test_no_table);
    qtest_add_func("/amd-iommu/exclusion/enabled", test_exclusion_enabled);
    qtest_add_func("/amd-iommu/exclusion/limits", test_exclusion_limits);
    qtest_add_func("/amd-iommu/exclusion/checks", test_exclusion_checks);
    qtest_add_func("/amd-iommu/cache/apart", test_cached_apart);
    qtest_add_func("/amd-iommu/event/flags", test_event_flags);
    qtest_add_func("/amd-iommu/dma-remap", test_no_remap);
    qtest_add_func("/amd-iommu/dma-translation", test_no_host_tables);
    qtest_add_func("/amd-iommu/pci-id/use", test_pci_id);
    qtest_add_func("/amd-iommu/pci-id/migrate", test_pci_id_migrate);
    return g_test_run();
}
