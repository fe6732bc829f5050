/*
 * QTest testcase for amd-iommu with endless page tables and command buffers
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Sections are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/amd_iommu.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "libqos/pci-ats-testdev.h"

#define DEVICE      QATD_BDF(0, 4, 0)
#define IOMMU_ID    0x14191022
#define IOVA        0x40000000ULL
#define MARK        0x5a5a5a5a5a5a5a5aULL
#define MAX_LEVEL   6
#define PTE_PRESENT 1ULL
#define RW          (AMDVI_DEV_PERM_READ | AMDVI_DEV_PERM_WRITE)

typedef struct Fixture {
    QTestState *qts;
    QGuestAllocator alloc;
    QATD dev;
    uint64_t devtab;
    uint64_t table[MAX_LEVEL + 1];      /* by level; 0 is the data page */
} Fixture;

static uint64_t new_page(Fixture *f)
{
    return guest_alloc_zeroed(&f->alloc, f->qts, AMDVI_PAGE_SIZE);
}

static void reg_write(Fixture *f, uint64_t reg, uint64_t val)
{
    qtest_writeq(f->qts, AMDVI_BASE_ADDR + reg, val);
}

static void fixture_start(Fixture *f)
{
    int level;

    f->qts = qtest_init("-M q35 -nodefaults -m 256M -device amd-iommu "
                        "-device pci-ats-testdev,addr=4");
    qecam_enable(f->qts);
    pc_alloc_init(&f->alloc, f->qts, ALLOC_NO_FLAGS);
    qatd_init(&f->dev, f->qts, DEVICE, 0);
    for (level = 0; level <= MAX_LEVEL; level++) {
        f->table[level] = new_page(f);
    }
    f->devtab = new_page(f);
    reg_write(f, AMDVI_MMIO_DEVICE_TABLE, f->devtab);
}

static void fixture_stop(Fixture *f)
{
    qtest_quit(f->qts);
    alloc_destroy(&f->alloc);
}

/* 2.2.2.1: the device table entry, with a root table of @mode levels */
static void attach(Fixture *f, unsigned mode)
{
    qtest_writeq(f->qts, f->devtab + DEVICE * AMDVI_DEVTAB_ENTRY_SIZE,
                 AMDVI_DEV_VALID | AMDVI_DEV_TRANSLATION_VALID | RW |
                 (uint64_t)mode << AMDVI_DEV_MODE_RSHIFT | f->table[mode]);
}

/* 2.2.3: the entry for IOVA in the table of @level */
static void set_entry(Fixture *f, unsigned level, uint64_t addr, unsigned next)
{
    uint64_t index = IOVA >> (3 + 9 * level) & 0x1ff;

    qtest_writeq(f->qts, f->table[level] + index * 8,
                 PTE_PRESENT | RW | addr |
                 (uint64_t)next << AMDVI_DEV_MODE_RSHIFT);
}

/* A table that maps all addresses to itself, as a table of level @next */
static void fill_table(Fixture *f, uint64_t table, unsigned next)
{
    uint64_t entry;

    for (entry = table; entry < table + AMDVI_PAGE_SIZE; entry += 8) {
        qtest_writeq(f->qts, entry, PTE_PRESENT | RW | table |
                     (uint64_t)next << AMDVI_DEV_MODE_RSHIFT);
    }
}

static void enable(Fixture *f, uint64_t bits)
{
    reg_write(f, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_AMDVIEN | bits);
}

static bool reads(Fixture *f)
{
    return qatd_command(&f->dev, ATD_CMD_DMA_READ, QATD_NO_PASID, IOVA, 8,
                        0) == 0;
}

static uint16_t iommu_bdf(Fixture *f)
{
    uint16_t bdf;

    for (bdf = 0; bdf < 256; bdf++) {
        if (qecam_readl(f->qts, bdf, PCI_VENDOR_ID) == IOMMU_ID) {
            return bdf;
        }
    }
    g_assert_not_reached();
}

/* An I/O page fault ends with a target abort, 2.5.3 */
static bool target_abort(Fixture *f)
{
    return qecam_readw(f->qts, iommu_bdf(f), PCI_STATUS) &
           PCI_STATUS_SIG_TARGET_ABORT;
}

static void assert_reads_mark(Fixture *f)
{
    qtest_writeq(f->qts, f->dev.data, 0);
    g_assert_true(reads(f));
    g_assert_cmphex(qtest_readq(f->qts, f->dev.data), ==, MARK);
}

/* 2.2.3: the level decreases by one, or by more if the address bits are 0 */
static void test_levels_decrease(void)
{
    unsigned mode, level;
    Fixture f;

    fixture_start(&f);
    qtest_writeq(f.qts, f.table[0], MARK);
    for (level = 1; level <= MAX_LEVEL; level++) {
        set_entry(&f, level, f.table[level - 1], level - 1);
    }
    for (mode = 3; mode <= MAX_LEVEL; mode++) {
        attach(&f, mode);
        enable(&f, 0);
        assert_reads_mark(&f);
    }
    for (mode = 4; mode <= MAX_LEVEL; mode++) {
        set_entry(&f, mode, f.table[3], 3);
        attach(&f, mode);
        enable(&f, 0);
        assert_reads_mark(&f);
    }
    g_assert_false(target_abort(&f));
    fixture_stop(&f);
}

/*
 * 2.2.3: an entry whose Next Level is not lower than the level of its table is
 * an illegal level encoding, which causes an I/O page fault. Here the table
 * points to itself.
 */
static void test_levels_do_not_decrease(void)
{
    unsigned mode, next;

    for (mode = 1; mode <= MAX_LEVEL; mode++) {
        for (next = mode; next <= MAX_LEVEL; next++) {
            Fixture f;

            fixture_start(&f);
            enable(&f, 0);
            attach(&f, mode);
            fill_table(&f, f.table[mode], next);
            g_assert_false(reads(&f));
            g_assert_true(target_abort(&f));
            fixture_stop(&f);
        }
    }
}

/* 3.4.2: no command buffer is set up, so there is no command to execute */
static void test_no_command_buffer(void)
{
    Fixture f;

    fixture_start(&f);
    enable(&f, AMDVI_MMIO_CONTROL_CMDBUFLEN);
    reg_write(&f, AMDVI_MMIO_COMMAND_TAIL, AMDVI_COMMAND_SIZE);
    reg_write(&f, AMDVI_MMIO_COMMAND_HEAD, 2 * AMDVI_COMMAND_SIZE);
    g_assert_cmphex(qtest_readq(f.qts, AMDVI_BASE_ADDR +
                                AMDVI_MMIO_COMMAND_TAIL), ==,
                    AMDVI_COMMAND_SIZE);
    qtest_system_reset(f.qts);
    qecam_enable(f.qts);
    enable(&f, AMDVI_MMIO_CONTROL_CMDBUFLEN);
    reg_write(&f, AMDVI_MMIO_COMMAND_TAIL, AMDVI_COMMAND_SIZE);
    g_assert_cmphex(qtest_readq(f.qts, AMDVI_BASE_ADDR +
                                AMDVI_MMIO_COMMAND_HEAD), ==, 0);
    fixture_stop(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-iommu/walk/levels-decrease", test_levels_decrease);
    qtest_add_func("/amd-iommu/walk/levels-do-not-decrease",
                   test_levels_do_not_decrease);
    qtest_add_func("/amd-iommu/command-buffer/none", test_no_command_buffer);
    return g_test_run();
}
