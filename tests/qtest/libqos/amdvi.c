/*
 * libqos driver for amd-iommu: registers, command buffer, event log, interrupt
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "standard-headers/linux/pci_regs.h"
#include "amdvi.h"
#include "malloc-zeroed.h"
#include "pci-ats-testdev.h"

#define IOMMU_ID    0x14191022

/* 256 entries (MMIO 0008h, 0010h) */
#define LENGTH      (8ULL << 56)

#define MESSAGE     0x5a5a
#define DONE        0x600d600d600d600dULL

/* 2.4.1 */
#define WAIT_STORE  1ULL

/* Size, and guest address: bits of the second quadword (2.4.3, 2.4.4) */
#define RANGE_S     (1ULL << 0)
#define RANGE_GN    (1ULL << 2)

#define PAGE_MASK   (~(AMDVI_PAGE_SIZE - 1))
/* Bits 51:12 of an entry */
#define ENTRY_ADDR  (PAGE_MASK & GENMASK64(51, 0))

static uint16_t find_iommu(QTestState *qts)
{
    for (uint16_t bdf = 0; bdf < 256; bdf++) {
        if (qecam_readl(qts, bdf, PCI_VENDOR_ID) == IOMMU_ID) {
            return bdf;
        }
    }
    g_assert_not_reached();
}

void qamdvi_init(QAMDVI *a, QTestState *qts, QGuestAllocator *alloc)
{
    *a = (QAMDVI) {
        .qts = qts,
        .alloc = alloc,
        .bdf = find_iommu(qts),
        .devtab = guest_alloc_zeroed(alloc, qts,
                                     256 * AMDVI_DEVTAB_ENTRY_SIZE),
        .commands = guest_alloc_zeroed(alloc, qts,
                                       QAMDVI_ENTRIES * AMDVI_COMMAND_SIZE),
        .events = guest_alloc_zeroed(alloc, qts,
                                     QAMDVI_ENTRIES * AMDVI_EVENT_LEN),
        .message = guest_alloc_zeroed(alloc, qts, AMDVI_PAGE_SIZE),
    };
    /* Two pages (MMIO 0000h) */
    qamdvi_write(a, AMDVI_MMIO_DEVICE_TABLE, a->devtab | 1);
    qamdvi_write(a, AMDVI_MMIO_COMMAND_BASE, a->commands | LENGTH);
    qamdvi_write(a, AMDVI_MMIO_EVENT_BASE, a->events | LENGTH);
}

uint64_t qamdvi_read(QAMDVI *a, unsigned reg)
{
    return qtest_readq(a->qts, AMDVI_BASE_ADDR + reg);
}

void qamdvi_write(QAMDVI *a, unsigned reg, uint64_t val)
{
    qtest_writeq(a->qts, AMDVI_BASE_ADDR + reg, val);
}

void qamdvi_enable(QAMDVI *a, uint64_t control)
{
    qamdvi_write(a, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_AMDVIEN |
                 AMDVI_MMIO_CONTROL_EVENTLOGEN |
                 AMDVI_MMIO_CONTROL_CMDBUFLEN | control);
}

void qamdvi_enable_msi(QAMDVI *a)
{
    qecam_enable_msi(a->qts, a->bdf, a->message, MESSAGE);
}

bool qamdvi_take_msi(QAMDVI *a)
{
    bool arrived = qtest_readl(a->qts, a->message) == MESSAGE;

    qtest_writel(a->qts, a->message, 0);
    return arrived;
}

uint64_t qamdvi_dte_addr(QAMDVI *a, uint16_t bdf)
{
    return a->devtab + bdf * AMDVI_DEVTAB_ENTRY_SIZE;
}

uint64_t qamdvi_put(QAMDVI *a, uint64_t lo, uint64_t hi)
{
    uint64_t addr = a->commands + a->tail * AMDVI_COMMAND_SIZE;

    qtest_writeq(a->qts, addr, lo);
    qtest_writeq(a->qts, addr + 8, hi);
    a->tail = (a->tail + 1) % QAMDVI_ENTRIES;
    return addr;
}

void qamdvi_ring(QAMDVI *a)
{
    qamdvi_write(a, AMDVI_MMIO_COMMAND_TAIL, a->tail * AMDVI_COMMAND_SIZE);
}

uint64_t qamdvi_command(QAMDVI *a, uint64_t lo, uint64_t hi)
{
    uint64_t addr = qamdvi_put(a, lo, hi);

    qamdvi_ring(a);
    return addr;
}

void qamdvi_set_dte(QAMDVI *a, uint16_t bdf, const uint64_t dte[4])
{
    for (unsigned i = 0; i < 4; i++) {
        qtest_writeq(a->qts, qamdvi_dte_addr(a, bdf) + i * 8, dte[i]);
    }
    if (qamdvi_read(a, AMDVI_MMIO_STATUS) & AMDVI_MMIO_STATUS_CMDBUF_RUN) {
        qamdvi_command(a, QAMDVI_COMMAND(INVAL_DEVTAB_ENTRY) | bdf, 0);
    }
}

void qamdvi_restart(QAMDVI *a)
{
    qamdvi_write(a, AMDVI_MMIO_CONTROL, AMDVI_MMIO_CONTROL_AMDVIEN |
                 AMDVI_MMIO_CONTROL_EVENTLOGEN);
    qamdvi_write(a, AMDVI_MMIO_COMMAND_HEAD, 0);
    qamdvi_write(a, AMDVI_MMIO_COMMAND_TAIL, 0);
    a->tail = 0;
    qamdvi_enable(a, 0);
}

/* ---- Device table, page tables ---- */

/* The GCR3 Table Root Pointer is in three pieces. */
static void fill_dte(const QAMDVIDTE *dte, uint64_t quad[4])
{
    quad[0] = dte->lo | (uint64_t)dte->mode << 9 | dte->root;
    quad[1] = dte->hi | dte->domain;
    quad[2] = 0;
    quad[3] = 0;
    if (dte->lo & QAMDVI_DTE_GV) {
        quad[0] |= (dte->gcr3_levels - 1ULL) << 56 |
                   extract64(dte->gcr3, 12, 3) << 58;
        quad[1] |= extract64(dte->gcr3, 15, 16) << 16 |
                   extract64(dte->gcr3, 31, 21) << 43;
        quad[2] |= (dte->guest_levels - 4ULL) << 54;
    }
}

void qamdvi_store_dte(QAMDVI *a, uint16_t bdf, const QAMDVIDTE *dte)
{
    uint64_t quad[4];

    fill_dte(dte, quad);
    for (unsigned i = 0; i < 4; i++) {
        qtest_writeq(a->qts, qamdvi_dte_addr(a, bdf) + i * 8, quad[i]);
    }
}

void qamdvi_attach(QAMDVI *a, uint16_t bdf, const QAMDVIDTE *dte)
{
    uint64_t quad[4];

    fill_dte(dte, quad);
    qamdvi_set_dte(a, bdf, quad);
}

uint64_t qamdvi_new_page(QAMDVI *a)
{
    return guest_alloc_zeroed(a->alloc, a->qts, AMDVI_PAGE_SIZE);
}

/* Returns the table that the entry at @at refers to; creates it if needed */
static uint64_t next_table(QAMDVI *a, uint64_t at, uint64_t bits)
{
    uint64_t entry = qtest_readq(a->qts, at);

    if (!(entry & 1)) {
        entry = qamdvi_new_page(a) | bits;
        qtest_writeq(a->qts, at, entry);
    }
    return entry & ENTRY_ADDR;
}

/* Address of the entry of level @level, 1 to 6, for @addr */
static uint64_t entry_at(uint64_t table, uint64_t addr, unsigned level)
{
    return table + extract64(addr, 3 + 9 * level, level < 6 ? 9 : 7) * 8;
}

uint64_t qamdvi_map_host(QAMDVI *a, uint64_t root, unsigned mode, uint64_t addr,
                         unsigned level, uint64_t entry)
{
    uint64_t at;

    for (unsigned l = mode; l > level; l--) {
        root = next_table(a, entry_at(root, addr, l),
                          QAMDVI_PTE_RW | QAMDVI_PTE_NEXT(l - 1));
    }
    at = entry_at(root, addr, level);
    qtest_writeq(a->qts, at, entry);
    return at;
}

uint64_t qamdvi_map_guest(QAMDVI *a, uint64_t root, unsigned levels,
                          uint64_t addr, unsigned level, uint64_t entry)
{
    uint64_t at;

    for (unsigned l = levels; l > level; l--) {
        root = next_table(a, entry_at(root, addr, l), QAMDVI_GPTE_RW);
    }
    at = entry_at(root, addr, level);
    qtest_writeq(a->qts, at, entry);
    return at;
}

uint64_t qamdvi_set_gcr3(QAMDVI *a, uint64_t gcr3, unsigned levels,
                         uint32_t pasid, uint64_t entry)
{
    uint64_t at;

    for (unsigned l = levels - 1; l > 0; l--) {
        gcr3 = next_table(a, gcr3 + extract32(pasid, 9 * l, 9) * 8,
                          QAMDVI_GCR3_V);
    }
    at = gcr3 + extract32(pasid, 0, 9) * 8;
    qtest_writeq(a->qts, at, entry);
    return at;
}

/* ---- Invalidations ---- */

/* With S set, the lowest bit that is 0 tells the size, from bit 12 on. */
static uint64_t range(uint32_t pasid, uint64_t addr, uint64_t size)
{
    uint64_t hi = pasid == QAMDVI_NO_PASID ? 0 : RANGE_GN;

    if (size != AMDVI_PAGE_SIZE) {
        hi |= RANGE_S | ((size / 2 - 1) & PAGE_MASK);
    }
    return hi | addr;
}

void qamdvi_inval_pages(QAMDVI *a, uint16_t domain, uint32_t pasid,
                        uint64_t addr, uint64_t size)
{
    qamdvi_command(a, QAMDVI_COMMAND(INVAL_AMDVI_PAGES) |
                   (uint64_t)domain << 32 |
                   (pasid == QAMDVI_NO_PASID ? 0 : pasid),
                   range(pasid, addr, size));
}

void qamdvi_inval_iotlb(QAMDVI *a, uint16_t bdf, uint32_t pasid, uint64_t addr,
                        uint64_t size)
{
    uint64_t bits = 0;

    /* The PASID is in three pieces. */
    if (pasid != QAMDVI_NO_PASID) {
        bits = (uint64_t)extract32(pasid, 0, 8) << 48 |
               (uint64_t)extract32(pasid, 8, 8) << 16 |
               (uint64_t)extract32(pasid, 16, 4) << 56;
    }
    /* Linux copies the queue depth of the function to Maxpend, 31:24. */
    qamdvi_command(a, QAMDVI_COMMAND(INVAL_IOTLB_PAGES) | bits | 32 << 24 | bdf,
                   range(pasid, addr, size));
}

void qamdvi_inval_device(QAMDVI *a, uint16_t bdf)
{
    qamdvi_command(a, QAMDVI_COMMAND(INVAL_DEVTAB_ENTRY) | bdf, 0);
}

void qamdvi_inval_all(QAMDVI *a)
{
    qamdvi_command(a, QAMDVI_COMMAND(INVAL_AMDVI_ALL), 0);
}

bool qamdvi_completes(QAMDVI *a)
{
    uint64_t store = a->message + 8;

    qtest_writeq(a->qts, store, 0);
    qamdvi_command(a, QAMDVI_COMMAND(COMPLETION_WAIT) | WAIT_STORE | store,
                   DONE);
    return qtest_readq(a->qts, store) == DONE;
}

bool qamdvi_next_event(QAMDVI *a, QAMDVIEvent *event)
{
    uint64_t addr = a->events + a->head * AMDVI_EVENT_LEN;

    if (qamdvi_read(a, AMDVI_MMIO_EVENT_TAIL) == a->head * AMDVI_EVENT_LEN) {
        return false;
    }
    event->lo = qtest_readq(a->qts, addr);
    event->hi = qtest_readq(a->qts, addr + 8);
    a->head = (a->head + 1) % QAMDVI_ENTRIES;
    qamdvi_write(a, AMDVI_MMIO_EVENT_HEAD, a->head * AMDVI_EVENT_LEN);
    return true;
}

void qamdvi_expect_event(QAMDVI *a, uint64_t lo, uint64_t hi)
{
    QAMDVIEvent event;

    g_assert_true(qamdvi_next_event(a, &event));
    g_assert_cmphex(event.lo, ==, lo);
    g_assert_cmphex(event.hi, ==, hi);
    qamdvi_expect_no_event(a);
}

void qamdvi_expect_no_event(QAMDVI *a)
{
    QAMDVIEvent event;

    g_assert_false(qamdvi_next_event(a, &event));
}
