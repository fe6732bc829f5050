/*
 * libqos driver for amd-iommu: registers, command buffer, event log, interrupt
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
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
    uint8_t cap = qecam_cap(a->qts, a->bdf, PCI_CAP_ID_MSI);

    qecam_writel(a->qts, a->bdf, cap + PCI_MSI_ADDRESS_LO, a->message);
    qecam_writel(a->qts, a->bdf, cap + PCI_MSI_ADDRESS_HI, a->message >> 32);
    qecam_writew(a->qts, a->bdf, cap + PCI_MSI_DATA_64, MESSAGE);
    qecam_writew(a->qts, a->bdf, cap + PCI_MSI_FLAGS, PCI_MSI_FLAGS_ENABLE);
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
