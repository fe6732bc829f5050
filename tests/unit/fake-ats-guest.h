/*
 * A guest that responds to page requests in a thread of its own
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Replaces hw/pci/pcie_pri.c in tests of the DMA engine.  The Page Request
 * capability of the function in fake-ats.h has a real ledger.  The guest maps a
 * page that is requested to the page of RAM with the same number.
 */

#ifndef TESTS_UNIT_FAKE_ATS_GUEST_H
#define TESTS_UNIT_FAKE_ATS_GUEST_H

#include "qemu/thread.h"
#include "fake-ats.h"

/* A page request in the queue of the guest */
typedef struct PageRequest {
    uint32_t pasid;
    hwaddr addr;
    uint16_t prgi;
    bool is_write;
    bool last;
} PageRequest;

/**
 * FakeGuest: settings of the guest, and the page requests that it has received
 *
 * @lock protects the members below it.  A test changes the others with atomics,
 * or while the guest has no request to respond to, or is on hold.
 */
typedef struct FakeGuest {
    /* Number of page requests that the queue has accepted */
    int requests_seen;
    /* NULL, or a flag to set when the second request arrives */
    bool *set_in_group;
    /* The response of the guest, unless it refuses a page */
    IOMMUPRIResponseCode answer;
    /* The guest holds the BQL when it responds, as a vCPU does */
    bool has_bql;
    /*
     * The guest does not respond to requests for @ignored_page, and refuses
     * groups with @refused_page; -1: no page
     */
    int ignored_page, refused_page;
    /*
     * Number of page requests to which the guest responds with Success although
     * it does not map the page
     */
    int false_successes;

    QemuMutex lock;
    /*
     * Numbers of page requests: that the queue accepts before it is full, and
     * that it refuses because it is full
     */
    int accepted, refuse;
    /* The requests in the order of their arrival, except for ignored ones */
    PageRequest queue[1024];
    /* Number of requests in the queue, and the maximum of it */
    unsigned unanswered, most_unanswered;
    /* PRG index of the group whose request the guest ignored last */
    uint16_t ignored_prgi;
} FakeGuest;

extern FakeGuest guest;

/* Called once, before the other functions */
void guest_init(void);

/* Begins a test: the guest responds to all requests with Success */
void guest_start(void);

/* Ends the thread of the guest, and all groups */
void guest_stop(void);

/* While @holds is true, the guest accepts requests, but does not respond */
void guest_hold(bool holds);

/* Returns when the queue has accepted @n page requests in this test */
void wait_for_requests(int n);

/* Delivers a response of the guest.  Callable from any thread. */
void deliver(uint32_t pasid, const IOMMUPRIResponse *response);

/* 10.5.2.2: ends all groups of a PASID by reset.  Callable from any thread. */
void reset_groups(uint32_t pasid);

#endif
