/*
 * A function with ATS, its memory and its IOMMU, for tests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Replaces the memory API, hw/pci/pci.c, pcie_ats.c and pci_iommu.c in tests of
 * the DMA engine.  The IOMMU has one page table for all PASIDs.
 */

#ifndef TESTS_UNIT_FAKE_ATS_H
#define TESTS_UNIT_FAKE_ATS_H

#include "hw/pci/pci_device.h"

#define PAGE            4096
#define NR_PAGES        64
#define RAM_SIZE        (NR_PAGES * PAGE)
/* Input address of page 0; page 16 begins another unit of the largest STU */
#define STU_MAX         43
#define IOVA            ((1ULL << STU_MAX) - 16 * PAGE)
/* An address without RAM */
#define MMIO            0xf0000000ULL

/**
 * FakeATS: settings and records of the function, its memory and its IOMMU
 */
typedef struct FakeATS {
    /* ---- Memory ---- */

    uint8_t ram[RAM_SIZE];
    /* Number of accesses to input addresses */
    int untranslated_accesses;
    /* Number of threads between pci_untranslated_begin() and _end() */
    int untranslated_users;
    /* Arguments of the last call of pci_untranslated_blocked() */
    hwaddr blocked_addr;
    bool blocked_write;

    /* ---- Function ---- */

    PCIDevice device;
    /* pci_ats_dma_close() has returned: the engine does not use the function */
    bool gone;
    bool ats_on;
    bool pri_on;
    bool master_on;
    unsigned stu;
    uint32_t epoch;
    /* The allocation of the Page Request capability */
    uint32_t allocation;
    /* PASID 1 has groups of a migration stream */
    bool loaded_groups;
    /* Number of calls that ask for such groups */
    int loaded_questions;

    /* ---- IOMMU ---- */

    bool thread_safe;
    /* The IOMMU blocks translated requests */
    bool blocked;
    /* The notifier that is registered, or NULL */
    IOMMUNotifier *iotlb_notifier;
    /* Number of translation requests, and the length of the last one */
    int translations;
    size_t translation_length;
    /* 0, or the errors that the IOMMU returns */
    int register_error, translation_error;
    /* Called after the page walk, before the translation request returns */
    void (*answer_hook)(void);
} FakeATS;

extern FakeATS fake;

/* Called once, before the other functions */
void fake_ats_init(void);

/*
 * Begins a test: ATS and PRI are enabled, the page table is empty, and each
 * page of RAM has other contents
 */
void fake_ats_start(void);

/* Maps a page to an address, without an invalidation */
void map(unsigned page, hwaddr target, IOMMUAccessFlags perm);

/* Invalidates a page in the ATC of the function */
void invalidate(uint32_t pasid, unsigned page);

/* Returns the number of PASIDs that the monitor lists */
int registered(void);

#endif
