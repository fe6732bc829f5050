/*
 * A plain model of VT-d page table walks
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The unit test and the fuzzer of hw/i386/intel_iommu_walk.c use it.  The
 * checks abort on failure.  Section numbers are those of the Intel
 * Virtualization Technology for Directed I/O specification, revision 5.10.
 */

#ifndef TESTS_UNIT_INTEL_IOMMU_WALK_MODEL_H
#define TESTS_UNIT_INTEL_IOMMU_WALK_MODEL_H

#include "hw/i386/intel_iommu_walk.h"
#include "walk-memory.h"

/* Extended accessed: bit of first-stage entries (9.7) */
#define EA      (1ull << 10)
/* Second-stage entry bits (9.8) */
#define SR      (1ull << 0)
#define SW      (1ull << 1)

/**
 * walk_check_results: check results against the model
 *
 * The host address width is 48 bits, and 1 GiB pages and the snoop bit are
 * supported.
 *
 * @cfg: the configuration of the walk
 * @req: the request
 * @status: the result of vtd_walk()
 * @entry: contents of guest memory before the walk; the model changes it like
 *         the walk
 * @max_pages: number of pages to check, from the beginning of the range
 *
 * Returns: true if it has checked the whole range
 */
bool walk_check_results(const VTDWalkConfig *cfg, const IOMMUWalkRequest *req,
                        IOMMUWalkStatus status, uint64_t *entry,
                        uint64_t max_pages);

/**
 * walk_model_page: process a translation request with the model
 *
 * @cfg: the configuration of the walk
 * @entry: contents of guest memory; the model changes it like the walk
 * @addr: any address in the page
 * @want: as in IOMMUWalkRequest
 * @priv: as in IOMMUWalkRequest
 * @interrupt_input: as in IOMMUWalkRequest
 * @out: set to the address of the page, if it is mapped
 *
 * Returns: the permissions
 */
IOMMUAccessFlags walk_model_page(const VTDWalkConfig *cfg, uint64_t *entry,
                                 uint64_t addr, IOMMUAccessFlags want,
                                 bool priv, bool interrupt_input, hwaddr *out);

#endif
