/*
 * QTest testcase for the commands of amd-iommu
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
#include "libqtest.h"
#include "libqos/amdvi.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "libqos/pci-ats-testdev.h"

#define DEVICE      QATD_BDF(0, 4, 0)
#define OTHER       QATD_BDF(0, 5, 0)
#define DOMAIN      7
#define IOVA        0x40000000ULL
#define NOWHERE     0x1000000000ULL
#define MARK        0x5a5a5a5a5a5a5a5aULL
#define RW          (AMDVI_DEV_PERM_READ | AMDVI_DEV_PERM_WRITE)
#define MODE(level) ((uint64_t)(level) << AMDVI_DEV_MODE_RSHIFT)

/* Fields of the first quadword of events (2.5.6, 2.5.7) */
#define ILLEGAL_COMMAND     (5ULL << 60)
#define COMMAND_ERROR       (6ULL << 60 | 1ULL << 57)

/* COMPLETION_WAIT: the s, i and f bits (2.4.1) */
#define WAIT_STORE      (1ULL << 0)
#define WAIT_INTERRUPT  (1ULL << 1)
#define WAIT_FLUSH      (1ULL << 2)

/* Commands with an address: the S and GN bits */
#define ADDR_S          (1ULL << 0)
#define ADDR_GN         (1ULL << 2)

typedef struct Fixture {
    QTestState *qts;
    QGuestAllocator alloc;
    QAMDVI iommu;
    QATD dev;
    uint64_t pages;             /* two pages of data */
    uint64_t table;             /* a page table of level 1 */
} Fixture;

/* Reserved bits of each command (2.4) */
typedef struct Command {
    const char *name;
    uint64_t lo;
    uint64_t reserved_lo;
    uint64_t reserved_hi;
} Command;

static const Command commands[] = {
    { "COMPLETION_WAIT", QAMDVI_COMMAND(COMPLETION_WAIT),
      0x0ff0000000000000, 0 },
    { "INVALIDATE_DEVTAB_ENTRY", QAMDVI_COMMAND(INVAL_DEVTAB_ENTRY),
      0x0fffffffffff0000, UINT64_MAX },
    { "INVALIDATE_IOMMU_PAGES", QAMDVI_COMMAND(INVAL_AMDVI_PAGES),
      0x0fff0000fff00000, 0xff8 },
    { "INVALIDATE_IOTLB_PAGES", QAMDVI_COMMAND(INVAL_IOTLB_PAGES),
      0, 0xffa },
    { "INVALIDATE_INTERRUPT_TABLE", QAMDVI_COMMAND(INVAL_INTR_TABLE),
      0x0fffffffffff0000, UINT64_MAX },
    { "PREFETCH_IOMMU_PAGES", QAMDVI_COMMAND(PREFETCH_AMDVI_PAGES),
      0x0ff0000000ff0000, 0xfea },
    { "COMPLETE_PPR_REQUEST", QAMDVI_COMMAND(COMPLETE_PPR_REQUEST),
      0x0ff00000ffff0000, 0xffff0000fffffffb },
    { "INVALIDATE_IOMMU_ALL", QAMDVI_COMMAND(INVAL_AMDVI_ALL),
      0x0fffffffffffffff, UINT64_MAX },
};

/* A machine type that has all commands that the table above lists */
static void fixture_start(Fixture *f)
{
    f->qts = qtest_init("-M pc-q35-9.2 -nodefaults -m 256M -device amd-iommu "
                        "-device pci-ats-testdev,addr=4");
    qecam_enable(f->qts);
    pc_alloc_init(&f->alloc, f->qts, ALLOC_NO_FLAGS);
    qamdvi_init(&f->iommu, f->qts, &f->alloc);
    qatd_init(&f->dev, f->qts, DEVICE, 0);
    f->pages = guest_alloc_zeroed(&f->alloc, f->qts, 2 * AMDVI_PAGE_SIZE);
    f->table = 0;
    qamdvi_enable(&f->iommu, 0);
}

static void fixture_stop(Fixture *f)
{
    qtest_quit(f->qts);
    alloc_destroy(&f->alloc);
}

static bool runs(Fixture *f)
{
    return qamdvi_read(&f->iommu, AMDVI_MMIO_STATUS) &
           AMDVI_MMIO_STATUS_CMDBUF_RUN;
}

static uint64_t head(Fixture *f)
{
    return f->iommu.commands +
           qamdvi_read(&f->iommu, AMDVI_MMIO_COMMAND_HEAD);
}

/* The buffer has stopped at the command, and the event tells why */
static void expect_stopped(Fixture *f, uint64_t addr, uint64_t event)
{
    qamdvi_expect_event(&f->iommu, event, addr);
    g_assert_false(runs(f));
    g_assert_cmphex(head(f), ==, addr);
}

static void expect_legal(Fixture *f, uint64_t lo, uint64_t hi)
{
    qamdvi_command(&f->iommu, lo, hi);
    g_assert_true(qamdvi_completes(&f->iommu));
    qamdvi_expect_no_event(&f->iommu);
}

static void expect_illegal(Fixture *f, uint64_t lo, uint64_t hi)
{
    expect_stopped(f, qamdvi_command(&f->iommu, lo, hi), ILLEGAL_COMMAND);
    qamdvi_restart(&f->iommu);
}

/* 2.4: all opcodes, those without a command are illegal (2.5.6) */
static void test_opcodes(void)
{
    Fixture f;

    fixture_start(&f);
    for (uint64_t opcode = 0; opcode < 16; opcode++) {
        if (opcode >= AMDVI_CMD_COMPLETION_WAIT &&
            opcode <= AMDVI_CMD_INVAL_AMDVI_ALL) {
            expect_legal(&f, opcode << 60, 0);
        } else {
            expect_illegal(&f, opcode << 60, 0);
            expect_illegal(&f, opcode << 60, AMDVI_CMD_COMPLETION_WAIT);
        }
    }
    fixture_stop(&f);
}

/* 2.4: all bits that are not reserved are legal */
static void test_fields(void)
{
    Fixture f;

    fixture_start(&f);
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        const Command *c = &commands[i];
        uint64_t fields = MAKE_64BIT_MASK(0, 60) & ~c->reserved_lo;

        g_test_message("%s", c->name);
        if (i == 0) {
            /* The store goes somewhere else */
            fields &= ~WAIT_STORE;
        }
        expect_legal(&f, c->lo | fields, ~c->reserved_hi);
    }
    fixture_stop(&f);
}

/* 2.5.6: each reserved bit is illegal */
static void test_reserved(void)
{
    Fixture f;

    fixture_start(&f);
    for (unsigned i = 0; i < ARRAY_SIZE(commands); i++) {
        const Command *c = &commands[i];

        g_test_message("%s", c->name);
        for (unsigned bit = 0; bit < 64; bit++) {
            if (c->reserved_lo >> bit & 1) {
                expect_illegal(&f, c->lo | 1ULL << bit, 0);
            }
            if (c->reserved_hi >> bit & 1) {
                expect_illegal(&f, c->lo, 1ULL << bit);
            }
        }
    }
    fixture_stop(&f);
}

/* 2.4.1: the store, of 8 bytes */
static void test_store(void)
{
    uint64_t addr;
    Fixture f;

    fixture_start(&f);
    addr = f.pages + 0x10;
    qamdvi_command(&f.iommu, QAMDVI_COMMAND(COMPLETION_WAIT) | addr, MARK);
    g_assert_cmphex(qtest_readq(f.qts, addr), ==, 0);
    qamdvi_command(&f.iommu, QAMDVI_COMMAND(COMPLETION_WAIT) | WAIT_STORE |
                   WAIT_FLUSH | addr, 0x0123456789abcdefULL);
    g_assert_cmphex(qtest_readq(f.qts, addr), ==, 0x0123456789abcdefULL);
    g_assert_cmphex(qtest_readq(f.qts, addr - 8), ==, 0);
    g_assert_cmphex(qtest_readq(f.qts, addr + 8), ==, 0);
    fixture_stop(&f);
}

/* 2.5.6: an illegal COMPLETION_WAIT neither stores nor sets ComWaitInt */
static void test_illegal_has_no_effect(void)
{
    uint64_t addr;
    Fixture f;

    fixture_start(&f);
    addr = qamdvi_put(&f.iommu, QAMDVI_COMMAND(COMPLETION_WAIT) | WAIT_STORE |
                      WAIT_INTERRUPT | 1ULL << 52 | f.pages, MARK);
    /* Nor does what is behind it have any effect. */
    qamdvi_put(&f.iommu, QAMDVI_COMMAND(COMPLETION_WAIT) | WAIT_STORE |
               (f.pages + 8), MARK);
    qamdvi_ring(&f.iommu);
    expect_stopped(&f, addr, ILLEGAL_COMMAND);
    g_assert_cmphex(qtest_readq(f.qts, f.pages), ==, 0);
    g_assert_cmphex(qtest_readq(f.qts, f.pages + 8), ==, 0);
    g_assert_false(qamdvi_read(&f.iommu, AMDVI_MMIO_STATUS) &
                   AMDVI_MMIO_STATUS_COMP_INT);
    fixture_stop(&f);
}

/*
 * MMIO 0018h: writing CmdBufEn as 1 restarts the buffer, at the command that
 * the head pointer names
 */
static void test_restart(void)
{
    uint64_t addr;
    Fixture f;

    fixture_start(&f);
    addr = qamdvi_command(&f.iommu, 15ULL << 60, 0);
    expect_stopped(&f, addr, ILLEGAL_COMMAND);

    /* New commands do not restart it */
    g_assert_false(qamdvi_completes(&f.iommu));
    qamdvi_expect_no_event(&f.iommu);

    qamdvi_enable(&f.iommu, 0);
    expect_stopped(&f, addr, ILLEGAL_COMMAND);

    qtest_writeq(f.qts, addr, QAMDVI_COMMAND(COMPLETION_WAIT));
    qamdvi_enable(&f.iommu, 0);
    g_assert_true(runs(&f));
    g_assert_cmphex(head(&f), ==,
                    f.iommu.commands + f.iommu.tail * AMDVI_COMMAND_SIZE);
    g_assert_true(qamdvi_completes(&f.iommu));
    qamdvi_expect_no_event(&f.iommu);
    fixture_stop(&f);
}

/* The same without an event log: the buffer stops all the same */
static void test_stop_without_log(void)
{
    uint64_t addr;
    Fixture f;

    fixture_start(&f);
    qamdvi_write(&f.iommu, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_AMDVIEN |
                 AMDVI_MMIO_CONTROL_CMDBUFLEN);
    addr = qamdvi_command(&f.iommu, 15ULL << 60, 0);
    qamdvi_expect_no_event(&f.iommu);
    g_assert_false(runs(&f));
    g_assert_cmphex(head(&f), ==, addr);
    fixture_stop(&f);
}

/* 2.5.7: no memory is where the buffer is */
static void test_fetch(void)
{
    Fixture f;

    fixture_start(&f);
    qamdvi_write(&f.iommu, AMDVI_MMIO_COMMAND_BASE, NOWHERE | 8ULL << 56);
    qamdvi_write(&f.iommu, AMDVI_MMIO_COMMAND_HEAD, 5 * AMDVI_COMMAND_SIZE);
    qamdvi_write(&f.iommu, AMDVI_MMIO_COMMAND_TAIL, 9 * AMDVI_COMMAND_SIZE);
    qamdvi_expect_event(&f.iommu, COMMAND_ERROR,
                        NOWHERE + 5 * AMDVI_COMMAND_SIZE);
    g_assert_false(runs(&f));
    g_assert_cmphex(qamdvi_read(&f.iommu, AMDVI_MMIO_COMMAND_HEAD), ==,
                    5 * AMDVI_COMMAND_SIZE);
    fixture_stop(&f);
}

/* 2.4.1: ComWaitInt is set before the error behind it stops the buffer */
static void test_order(void)
{
    uint64_t addr;
    Fixture f;

    fixture_start(&f);
    qamdvi_put(&f.iommu, QAMDVI_COMMAND(COMPLETION_WAIT) | WAIT_STORE |
               WAIT_INTERRUPT | f.pages, MARK);
    addr = qamdvi_put(&f.iommu, 0, 0);
    qamdvi_ring(&f.iommu);
    expect_stopped(&f, addr, ILLEGAL_COMMAND);
    g_assert_cmphex(qtest_readq(f.qts, f.pages), ==, MARK);
    g_assert_true(qamdvi_read(&f.iommu, AMDVI_MMIO_STATUS) &
                  AMDVI_MMIO_STATUS_COMP_INT);
    fixture_stop(&f);
}

/* ---- Invalidation of what the IOMMU caches ---- */

/* 2.2.3: map IOVA, in a table of level 2 and one of level 1 */
static void map(Fixture *f, uint64_t phys)
{
    uint64_t root;
    const uint64_t index = IOVA >> 12 & 0x1ff;

    if (!f->table) {
        uint64_t dte[4] = { 0, DOMAIN };
        uint64_t middle;

        root = guest_alloc_zeroed(&f->alloc, f->qts, AMDVI_PAGE_SIZE);
        middle = guest_alloc_zeroed(&f->alloc, f->qts, AMDVI_PAGE_SIZE);
        f->table = guest_alloc_zeroed(&f->alloc, f->qts, AMDVI_PAGE_SIZE);
        qtest_writeq(f->qts, root + (IOVA >> 30) * 8,
                     1 | RW | MODE(2) | middle);
        qtest_writeq(f->qts, middle + (IOVA >> 21 & 0x1ff) * 8,
                     1 | RW | MODE(1) | f->table);
        dte[0] = AMDVI_DEV_VALID | AMDVI_DEV_TRANSLATION_VALID | RW | MODE(3) |
                 root;
        qamdvi_set_dte(&f->iommu, DEVICE, dte);
    }
    qtest_writeq(f->qts, f->table + index * 8, 1 | RW | phys);
}

static uint64_t read_iova(Fixture *f)
{
    qtest_writeq(f->qts, f->dev.data, 0);
    g_assert_cmpint(qatd_command(&f->dev, ATD_CMD_DMA_READ, QATD_NO_PASID,
                                 IOVA, 8, 0), ==, 0);
    return qtest_readq(f->qts, f->dev.data);
}

/* The command lets the device see the page that IOVA is mapped to by now */
static void check_invalidates(Fixture *f, uint64_t lo, uint64_t hi)
{
    qtest_writeq(f->qts, f->pages, 1);
    qtest_writeq(f->qts, f->pages + AMDVI_PAGE_SIZE, 2);
    map(f, f->pages);
    expect_legal(f, QAMDVI_COMMAND(INVAL_AMDVI_ALL), 0);
    g_assert_cmphex(read_iova(f), ==, 1);
    map(f, f->pages + AMDVI_PAGE_SIZE);
    expect_legal(f, lo, hi);
    g_assert_cmphex(read_iova(f), ==, 2);
}

/* 2.4.3, 2.4.8: every size that includes the page, with all other fields */
static void test_invalidate_pages(void)
{
    const uint64_t pages = QAMDVI_COMMAND(INVAL_AMDVI_PAGES) |
                           (uint64_t)DOMAIN << 32;
    Fixture f;

    fixture_start(&f);
    check_invalidates(&f, QAMDVI_COMMAND(INVAL_AMDVI_ALL), 0);
    check_invalidates(&f, pages, IOVA);
    check_invalidates(&f, pages, IOVA | 2);
    check_invalidates(&f, pages | 0xfffff, IOVA | ADDR_GN);
    for (unsigned bits = 13; bits < 64; bits++) {
        uint64_t size = (1ULL << (bits - 1)) - AMDVI_PAGE_SIZE;

        check_invalidates(&f, pages, (IOVA & ~MAKE_64BIT_MASK(0, bits)) |
                          size | ADDR_S);
    }
    check_invalidates(&f, pages, 0x7ffffffffffff000 | ADDR_S);
    fixture_stop(&f);
}

/* 2.4.4: any device; amd-iommu-ats-test.c tests what is invalidated */
static void test_invalidate_iotlb(void)
{
    const uint64_t iotlb = QAMDVI_COMMAND(INVAL_IOTLB_PAGES);
    Fixture f;

    fixture_start(&f);
    check_invalidates(&f, iotlb | DEVICE, 0x7ffffffffffff000 | ADDR_S);
    check_invalidates(&f, iotlb | DEVICE, IOVA);
    expect_legal(&f, iotlb | OTHER, 0x7ffffffffffff000 | ADDR_S);
    fixture_stop(&f);
}

/* 2.4.6: with Inval and without */
static void test_prefetch(void)
{
    const uint64_t prefetch = QAMDVI_COMMAND(PREFETCH_AMDVI_PAGES);
    Fixture f;

    fixture_start(&f);
    check_invalidates(&f, prefetch | DEVICE, IOVA | 1 << 4);
    expect_legal(&f, prefetch | DEVICE, IOVA);
    fixture_stop(&f);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-iommu/command/opcodes", test_opcodes);
    qtest_add_func("/amd-iommu/command/fields", test_fields);
    qtest_add_func("/amd-iommu/command/reserved", test_reserved);
    qtest_add_func("/amd-iommu/command/store", test_store);
    qtest_add_func("/amd-iommu/command/illegal-has-no-effect",
                   test_illegal_has_no_effect);
    qtest_add_func("/amd-iommu/command/restart", test_restart);
    qtest_add_func("/amd-iommu/command/stop-without-log",
                   test_stop_without_log);
    qtest_add_func("/amd-iommu/command/fetch", test_fetch);
    qtest_add_func("/amd-iommu/command/order", test_order);
    qtest_add_func("/amd-iommu/command/invalidate-pages",
                   test_invalidate_pages);
    qtest_add_func("/amd-iommu/command/invalidate-iotlb",
                   test_invalidate_iotlb);
    qtest_add_func("/amd-iommu/command/prefetch", test_prefetch);
    return g_test_run();
}
