/*
 * A function with a Page Request capability, between a user and an IOMMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tests of hw/pci/pcie_pri.c share the fake IOMMU, the functions that are
 * connected to it, and the users that receive the responses.
 */

#ifndef TESTS_UNIT_FAKE_PRI_H
#define TESTS_UNIT_FAKE_PRI_H

#include "hw/pci/pcie_pri_requester.h"
#include "fake-pci.h"

/* Offset of the Page Request capability */
#define CAP         FAKE_PCI_CAP
/* The fake IOMMU has one notifier per PASID below it */
#define MAX_PASIDS  8

/**
 * FakeIOMMU: settings and records of the fake IOMMU
 *
 * fake_pri_new() sets all of them to 0.
 */
typedef struct FakeIOMMU {
    /* The notifiers that are registered; RCU protects them */
    IOMMUPRINotifier *notifiers[MAX_PASIDS];
    /* 0, or the error of each registration */
    int register_error;
    /* 0, or the error of each page request */
    int request_error;
    /* Number of page requests; accessed atomically */
    int requests_seen;
    /* Respond to every group at once, before pri_request_page returns */
    bool respond_at_once;
    /* Called before pri_request_page returns, unless NULL */
    void (*request_hook)(void);
} FakeIOMMU;

extern FakeIOMMU fake_iommu;

/* Responds to a group as the guest does; callable from any thread */
void fake_respond(uint32_t pasid, uint16_t prgi, IOMMUPRIResponseCode code);

/* As fake_respond(), with a message without PASID; @pasid is the listener's */
void fake_respond_any_pasid(uint32_t pasid, uint16_t prgi,
                            IOMMUPRIResponseCode code);

/**
 * fake_pri_new: create a function with a Page Request capability
 *
 * The capability is disabled; 32 requests are allocated to the function.  All
 * functions share the fake IOMMU, which starts again.
 */
PCIDevice *fake_pri_new(void);

/* Frees a function, also its capability */
void fake_pri_free(PCIDevice *dev);

/* Writes to the Outstanding Page Request Allocation register as the guest */
void write_alloc(PCIDevice *dev, uint32_t val);

/* Writes to the Page Request Control register as the guest */
void write_ctrl(PCIDevice *dev, uint16_t val);

/* Returns the Page Request Status register, without its constant bit */
uint16_t read_status(PCIDevice *dev);

/* Sends a page request for reading; returns the result of the function */
int send_request(PCIDevice *dev, uint32_t pasid, uint16_t prgi, bool last);

/* Returns the statistics of all PASIDs of a function */
PCIEPRIStats function_stats(PCIDevice *dev);

/**
 * User: a part of a device model that sends page requests for one PASID
 *
 * @responses: number of responses that it has received; accessed atomically.
 * @prgi: PRG index of the last response.
 * @code: response code of the last response.
 * @hook: called by each response, unless NULL.
 * @dev: its function.
 * @pasid: its PASID.
 */
typedef struct User {
    IOMMUPRINotifier notifier;
    int responses;
    uint16_t prgi;
    IOMMUPRIResponseCode code;
    void (*hook)(struct User *user);
    PCIDevice *dev;
    uint32_t pasid;
} User;

/* Registers a user, without a hook */
void user_start(User *user, PCIDevice *dev, uint32_t pasid);

#endif
