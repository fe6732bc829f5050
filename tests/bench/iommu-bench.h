/*
 * Benchmarks of an IOMMU: what differs between IOMMUs
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_BENCH_IOMMU_BENCH_H
#define TESTS_BENCH_IOMMU_BENCH_H

#include "libqtest.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"

#define BENCH_MAX_DEVICES   256
#define BENCH_PASID         5

/* Page requests of all devices that are in the queue at the same time */
#define BENCH_PAGE_REQUESTS 4096

typedef enum BenchStage {
    BENCH_FIRST,            /* page tables of the CPU's format */
    BENCH_SECOND,           /* page tables of the IOMMU's format */
    BENCH_NESTED,
} BenchStage;

typedef enum BenchInvalidation {
    BENCH_INV_4K_PASID,
    BENCH_INV_2M_PASID,
    BENCH_INV_ALL_PASID,
    BENCH_INV_4K_NO_PASID,
    BENCH_INV_KINDS,
} BenchInvalidation;

typedef struct Bench {
    QTestState *qts;
    QGuestAllocator alloc;
    QATD devs[BENCH_MAX_DEVICES];
    unsigned num_devs;
} Bench;

/**
 * struct BenchIOMMU: an IOMMU, as the benchmark sees it
 *
 * @prefix: of the names of series
 * @device: the -device option
 * @runs_variable: environment variable with the number of runs
 * @start: set up and enable the IOMMU, so that all functions of the bench
 *         share the tables of their PASIDs and may use ATS and page requests
 * @second_stage_pasid: PASID of the requests that only the second stage
 *                      translates
 * @table_bits: bits of an entry at @level that refers to a table
 * @page_bits: bits of an entry at @level that maps a page
 * @set_tables: let the tables translate, with @root as root table of the first
 *              stage or of the only stage; @second is that of the second stage
 *              for BENCH_NESTED; drop cached translations
 * @invalidate_all: drop all cached translations, and wait
 * @put_invalidation: write an invalidation of device-TLBs into slot @i after
 *                    the last one that was submitted
 * @put_response: write a successful response to a page request group there
 * @submit: submit @n slots and a wait for their completion, and wait
 * @start_queue: set up the queue of page requests
 * @queue_length: number of page requests in the queue
 * @empty_queue: remove all of them
 */
typedef struct BenchIOMMU {
    const char *prefix;
    const char *device;
    const char *runs_variable;
    void (*start)(Bench *b);
    uint32_t second_stage_pasid;
    uint64_t (*table_bits)(BenchStage stage, unsigned level);
    uint64_t (*page_bits)(BenchStage stage, unsigned level);
    void (*set_tables)(Bench *b, BenchStage stage, uint64_t root,
                       uint64_t second);
    void (*invalidate_all)(Bench *b);
    void (*put_invalidation)(Bench *b, unsigned i, BenchInvalidation kind,
                             uint16_t bdf, uint64_t addr);
    void (*put_response)(Bench *b, unsigned i, uint16_t bdf, uint16_t prgi);
    void (*submit)(Bench *b, unsigned n);
    void (*start_queue)(Bench *b);
    unsigned (*queue_length)(Bench *b);
    void (*empty_queue)(Bench *b);
} BenchIOMMU;

/* Defined by the file for each IOMMU */
extern const BenchIOMMU bench_iommu;

/* Returns: guest physical address of an empty table */
uint64_t bench_new_table(Bench *b);

/* Returns: the function of device @i */
uint16_t bench_bdf(unsigned i);

#endif
