/*
 * A plain model of page table walks of the AMD IOMMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The checks abort on failure.  Section numbers are those of the AMD I/O
 * Virtualization Technology (IOMMU) Specification, 48882, revision 3.00.
 */

#ifndef TESTS_UNIT_AMD_IOMMU_WALK_MODEL_H
#define TESTS_UNIT_AMD_IOMMU_WALK_MODEL_H

#include "hw/i386/amd_iommu_walk.h"
#include "walk-memory.h"

/* Entries of host tables (2.2.3) */
#define PR              (1ull << 0)
#define NEXT(level)     ((uint64_t)(level) << 9)
#define U               (1ull << 59)
#define IR              (1ull << 61)
#define IW              (1ull << 62)

/**
 * walk_check_results: check results against the model
 *
 * @cfg: the tables and rules of the walk
 * @req: the request
 * @status: the result of amdvi_walk()
 * @entry: contents of memory before the walk; the model changes it like the
 *         walk
 * @max_pages: number of pages to check, from the beginning of the range
 *
 * Returns: true if it has checked the whole range
 */
bool walk_check_results(const AMDVIWalkConfig *cfg,
                        const IOMMUWalkRequest *req, IOMMUWalkStatus status,
                        uint64_t *entry, uint64_t max_pages);

#endif
