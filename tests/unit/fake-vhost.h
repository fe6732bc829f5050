/*
 * The IOMMU, the driver and the back-end of a vhost device, for tests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tests of hw/virtio/vhost-iotlb.c share a fake IOMMU that has one page
 * table, a fake driver with split virtqueues, and a fake back-end that caches
 * updates and processes invalidations like DPDK: it drops more than requested,
 * and takes an update of a cached page for a repetition.
 *
 * In these tests, section numbers are those of VIRTIO 1.3; "DPDK" and "record"
 * refer to docs/devel/vhost-user-iotlb.rst.
 */

#ifndef TESTS_UNIT_FAKE_VHOST_H
#define TESTS_UNIT_FAKE_VHOST_H

#include <setjmp.h>
#include <cmocka.h>
#include "exec/memory.h"
#include "hw/virtio/vhost.h"
#include "hw/virtio/vhost-backend.h"
#include "hw/virtio/vhost-iotlb.h"
#include "standard-headers/linux/vhost_types.h"
#include "standard-headers/linux/virtio_ring.h"

#define PAGE            4096ULL
#define NR_PAGES        4096
/* I/O virtual address of page 0 */
#define IOVA            0x100000000ULL
#define IOVA_OF(page)   (IOVA + (page) * PAGE)
#define LAST_PAGE       (UINT64_MAX - (PAGE - 1))

/* Capacity of a record, and the share of it that prefetching may use */
#define CAPACITY        2048
#define MAX_PREFETCH    (CAPACITY / 4 * 3)

/* Each part of queue @n has a page of its own */
#define QUEUES          2
#define QUEUE_SIZE      8
#define DESC_PAGE(n)    (NR_PAGES - 6 + 3 * (n))
#define AVAIL_PAGE(n)   (DESC_PAGE(n) + 1)
#define USED_PAGE(n)    (DESC_PAGE(n) + 2)

/* An entry of the back-end's cache */
typedef struct Cached {
    uint64_t first;
    uint64_t last;
    uint64_t uaddr;
    uint8_t perm;
} Cached;

/* Translation of one page of the IOMMU */
typedef struct Mapping {
    unsigned page;              /* of RAM */
    IOMMUAccessFlags perm;      /* IOMMU_NONE: not mapped */
} Mapping;

/**
 * FakeVhost: settings and records of the machine around the record
 *
 * setup() restarts everything except the contents of @ram.
 */
typedef struct FakeVhost {
    /* ---- The IOMMU, and the memory behind it ---- */

    uint8_t ram[NR_PAGES * PAGE] __attribute__((aligned(PAGE)));
    /* A range without memory, unless both are 0 */
    uint64_t hole, hole_end;
    Mapping table[NR_PAGES];
    /* Replaces @table in its range, unless it is empty; see map_large() */
    IOMMUTLBEntry large;
    uint64_t large_size;
    /* The IOMMU implements memory_region_iommu_peek(), with @peeks calls */
    bool can_peek;
    unsigned peeks;
    /* Address in the IOMMU's region that address 0 of the device has */
    uint64_t iommu_offset;
    /* The address space of the device contains RAM and ROM, not an IOMMU */
    bool passthrough;
    /* A range without a region in pass-through mode, although it has memory */
    uint64_t gap, gap_size;

    /* ---- The driver ---- */

    struct {
        bool ready;
        uint16_t next;
    } queues[QUEUES];

    /* ---- The back-end ---- */

    GArray *cache;              /* of Cached */
    GArray *sent;               /* struct vhost_iotlb_msg, as received */
    int status;                 /* the result of each message */
    /* Number of calls to handle misses that have arrived, and a hook in it */
    unsigned late_misses;
    void (*late_miss)(void);

    /* ---- The device ---- */

    VirtIODevice vdev;
    struct vhost_dev dev;
} FakeVhost;

extern FakeVhost fake;

/* A back-end that reports no misses, as vhost-vdpa; for dev.vhost_ops */
extern const VhostOps quiet_backend;

/* ---- Setup ---- */

/* Before each test: an empty record, no mapping, no queue */
int setup(void **state);

/* After each test: frees the record, and checks that nothing leaks */
int teardown(void **state);

/* A case of a test program, for the function test_NAME() */
#define TEST(name) cmocka_unit_test_setup_teardown(test_ ## name, setup, \
                                                   teardown)

/* ---- The IOMMU ---- */

/* Maps a range of any size; it replaces the last such range */
void map_large(uint64_t iova, uint64_t gpa, uint64_t size);

/* Maps a page of the IOMMU to a page of RAM; the record is not notified */
void map(unsigned page, unsigned ram_page, IOMMUAccessFlags perm);

/* Adjacent pages are not adjacent in memory, so that each has its own entry */
void map_apart(unsigned page, IOMMUAccessFlags perm);

/* Removes a mapping; the record is not notified */
void unmap(unsigned page);

/* A section of RAM, from @offset on, which is at @gpa */
MemoryRegionSection ram_section(uint64_t offset, uint64_t gpa, uint64_t size);

/* Lets the main loop run, if that is due: a new slice of invalidations */
void take_turn(void);

/* ---- The driver ---- */

/* The parts of queue @n in RAM */
struct vring_desc *descs(int n);
struct vring_avail *avail(int n);
struct vring_used *used(int n);

/* Maps the parts of queue @n, clears them, and makes the queue ready */
void start_queue(int n);

/* Fills in a descriptor */
void set_desc(struct vring_desc *d, uint64_t addr, uint32_t len,
              uint16_t flags, uint16_t next);

/* Makes the chain from descriptor @head on available */
void make_available(int n, uint16_t head);

/*
 * Writes the next descriptor of packed queue @n, and makes it available.  The
 * device must have used the descriptor that it replaces.
 */
void post_packed(int n, uint64_t addr, uint32_t len, uint16_t flags);

/* The device has used the buffer at position @pos of packed queue @n (2.8.1) */
void use_packed(int n, unsigned pos);

/* Makes a buffer of one descriptor available */
void post(int n, uint16_t head, uint64_t addr, uint32_t len, uint16_t flags);

/* ---- The back-end ---- */

/* Returns an entry of the back-end that overlaps a range, or NULL */
Cached *find_cached(uint64_t first, uint64_t last);

/*
 * Returns the permissions VHOST_ACCESS_* for the page, or 0, and checks its
 * address
 */
int cached_perm(unsigned page);

/* The back-end misses a page; returns the result of the record */
int miss(unsigned page, bool write);

/* Maps pages apart from each other; the back-end misses each of them */
void fill(unsigned from, unsigned n);

/* The IOMMU invalidates @n pages; returns the result of the record */
int invalidate(unsigned page, unsigned n);

/* Checks message @i since the last call of forget_sent() */
void expect_sent(unsigned i, uint8_t type, uint64_t iova, uint64_t size);

/* Forgets the messages that the back-end has received */
void forget_sent(void);

/* Returns the statistics of the record */
VhostIotlbStats stats(void);

#endif
