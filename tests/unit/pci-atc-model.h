/*
 * A plain model of the PCIe address translation cache, and sequences of calls
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The unit test and the fuzzer of hw/pci/pci_atc.c use it.  The checks abort on
 * failure.
 */

#ifndef TESTS_UNIT_PCI_ATC_MODEL_H
#define TESTS_UNIT_PCI_ATC_MODEL_H

#include "hw/pci/pci_atc.h"

#define R  PCI_ATC_READ
#define W  PCI_ATC_WRITE
#define X  PCI_ATC_EXEC
#define PRIV PCI_ATC_PRIV
#define GLOBAL PCI_ATC_GLOBAL
#define U  PCI_ATC_UNTRANSLATED

/* Wrappers for single calls */

static inline hwaddr order_mask(unsigned order)
{
    return UINT64_MAX >> (52 - order);
}

static inline IOMMUTLBEntry entry(hwaddr iova, hwaddr xlat, hwaddr size,
                                  int perm)
{
    return (IOMMUTLBEntry) {
        .iova = iova,
        .translated_addr = xlat,
        .addr_mask = size - 1,
        .perm = perm,
    };
}

static inline bool lookup(PCIATC *atc, uint32_t pasid, hwaddr addr, hwaddr len,
                   uint32_t need, PCIATCRun *run)
{
    PCIATCAccess access;
    bool found;

    pci_atc_access_begin(atc, &access);
    found = pci_atc_lookup(&access, pasid, addr, len, need, run);
    pci_atc_access_end(&access);
    return found;
}

static inline PCIATCStats stats_of(PCIATC *atc)
{
    PCIATCStats s;

    pci_atc_get_stats(atc, &s);
    g_assert_cmpuint(s.fills, ==, s.entries + s.evictions + s.dropped);
    g_assert_cmpuint(s.entries, <=, s.capacity);
    return s;
}

/**
 * ATCModelTake: the source of random decisions
 *
 * @opaque: from atc_model_new()
 * @bytes: number of bytes that the caller uses, 1 to 8
 *
 * Returns: any number
 */
typedef uint64_t ATCModelTake(void *opaque, unsigned bytes);

typedef struct ATCModel ATCModel;

/**
 * atc_model_new: create an ATC and its model
 *
 * @size: as for pci_atc_new()
 * @exact: never add so many entries that the ATC has to evict one, and check
 *         that it does not evict any
 * @take: the source of decisions
 * @opaque: for @take
 */
ATCModel *atc_model_new(uint32_t size, bool exact, ATCModelTake *take,
                        void *opaque);

/**
 * atc_model_step: call a random function of the ATC, and check its effects
 *
 * @m: the model
 */
void atc_model_step(ATCModel *m);

/**
 * atc_model_free: check the statistics, and free ATC and model
 *
 * @m: the model
 *
 * Returns: the statistics
 */
PCIATCStats atc_model_free(ATCModel *m);

#endif
