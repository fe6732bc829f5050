/*
 * Fuzzer of the PCIe address translation cache
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The input selects the operations of the model, for which the unit test uses
 * random numbers: fills, late commits, invalidations and lookups with ranges
 * of any kind.
 */

#include "qemu/osdep.h"
#include "tests/fuzz/fuzz-input.h"
#include "tests/unit/pci-atc-model.h"

static uint64_t take(void *opaque, unsigned bytes)
{
    return fuzz_take(opaque, bytes);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    /* The last one is large enough for whole PASIDs to be dropped at once */
    static const uint16_t sizes[] = { 1, 12, 200, 4096, 8192 };
    FuzzInput in = { data, size };
    uint8_t kind = fuzz_take(&in, 1);
    bool exact = kind & 1;
    unsigned choices = ARRAY_SIZE(sizes) - exact;
    ATCModel *m = atc_model_new(sizes[kind / 2 % choices], exact, take, &in);

    while (in.size) {
        atc_model_step(m);
    }
    atc_model_free(m);
    return 0;
}
