/*
 * QTests of how IOMMUs drain requests: the machine, and the accesses of a
 * device thread
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A thread of a device continuously accesses a page of 2 MiB without ATS. The
 * test ends the translation of the page, and waits for completion. From then on
 * the device must not access the page. The test acts as the guest, and maps
 * guest memory from a file that it shares with QEMU, so that it is as fast as a
 * vCPU.
 */

#ifndef TESTS_QTEST_DRAIN_COMMON_H
#define TESTS_QTEST_DRAIN_COMMON_H

#include "libqtest.h"
#include "qemu/units.h"
#include "libqos/dsa.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"

#define DRAIN_DSA           QATD_BDF(0, 4, 0)
#define DRAIN_TESTDEV       QATD_BDF(0, 5, 0)
#define DRAIN_RAM_SIZE      (256 * MiB)
#define DRAIN_PAGE          0x1000
#define DRAIN_BIG_PAGE      (2 * MiB)
#define DRAIN_PASID         5

/* Input addresses of the page that the test moves, and of a constant page */
#define DRAIN_IOVA_MOVING   0x40000000ULL
#define DRAIN_IOVA_FIXED    0x40200000ULL

typedef struct DrainTest DrainTest;

/**
 * struct DrainAccess - how a device accesses the page at DRAIN_IOVA_MOVING
 * @bdf: the device
 * @is_write: whether the device writes to the page, or reads it
 * @begin: starts accesses
 * @go_on: keeps the accesses going, and checks their results so far
 * @end: waits until the accesses have ended because of a fault, or for the DSA
 *       also without a fault
 */
typedef struct DrainAccess {
    uint16_t bdf;
    bool is_write;
    void (*begin)(DrainTest *t);
    void (*go_on)(DrainTest *t);
    void (*end)(DrainTest *t);
} DrainAccess;

extern const DrainAccess drain_dsa_move;
extern const DrainAccess drain_dsa_compare;
extern const DrainAccess drain_atd_dma;
extern const DrainAccess drain_atd_svm;

/**
 * struct DrainTest - the machine
 * @access: how the device accesses memory
 * @pasid: whether it does so with DRAIN_PASID
 * @page: two large pages, one of which is at DRAIN_IOVA_MOVING
 * @fixed: a large page for DRAIN_IOVA_FIXED
 * @cr: a page for completion records, mapped one to one
 * @list: a page for descriptors, mapped one to one
 */
struct DrainTest {
    const DrainAccess *access;
    bool pasid;
    QTestState *qts;
    QGuestAllocator alloc;
    char *path;
    uint8_t *ram;
    QDSA dsa;
    bool dsa_started;
    QATD atd;
    uint64_t page[2];
    uint64_t fixed;
    uint64_t cr;
    uint64_t list;
};

/**
 * drain_test_start() - start a machine with both devices
 * @t: the test, with @access and @pasid set; the other members are filled in
 * @iommu: argument of -device for the IOMMU
 */
void drain_test_start(DrainTest *t, const char *iommu);

/* Quit the emulator, and free the test */
void drain_test_stop(DrainTest *t);

/* Number of trials: QTEST_DRAIN_TRIALS in the environment, or a default */
unsigned drain_trials(void);

/* Fill the buffer of the test device with what it writes */
void drain_fill_buffer(DrainTest *t);

/* Access the quadword at a guest physical address */
uint64_t *drain_word(DrainTest *t, uint64_t gpa);

/* Mark a page that is free for other uses from now on */
void drain_mark(DrainTest *t, unsigned page);

/* Returns the number of lost marks, and removes the marks */
unsigned drain_take_marks(DrainTest *t, unsigned page);

/**
 * drain_await_write() - wait until the device has written to a page
 * @t: the test, whose device may read instead: then there is no wait
 * @page: index of the page at DRAIN_IOVA_MOVING
 */
void drain_await_write(DrainTest *t, unsigned page);

/* Enable PASIDs in the device */
void drain_enable_pasid(DrainTest *t);

/**
 * drain_move_trials() - move the page while a device accesses it, many times
 * @t: the test; @access has begun, with @page[0] at DRAIN_IOVA_MOVING
 * @move: maps @page[@to] at DRAIN_IOVA_MOVING, and ends the old translation
 *
 * Returns: the number of trials in which the device has accessed the old page.
 */
unsigned drain_move_trials(DrainTest *t,
                           void (*move)(DrainTest *t, unsigned to));

/* Let drain_await_write() wait for the next write */
void drain_forget_write(DrainTest *t, unsigned page);

#endif
