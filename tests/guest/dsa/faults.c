/*
 * Cost of missing pages, with and without page requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "faults.h"
#include "measure.h"
#include "queue.h"

#define PAGE    4096
#define TOTAL   (16 << 20)

/* Time in seconds, and its parts */
struct cost {
    double device;              /* from a submission to its completion */
    double touch;               /* page faults of the processor */
    unsigned submissions;
};

static void touch(const struct dsa_completion_record *record)
{
    /* The access itself is the purpose */
    volatile uint8_t *byte = (volatile uint8_t *)record->fault_addr;

    if (record->status & DSA_COMP_STATUS_WRITE) {
        *byte = 0;
    } else {
        (void)*byte;
    }
}

/* Move a buffer; touch each page that the device reports, and continue */
static bool move(struct queue *queue, uint8_t *src, uint8_t *dst, size_t size,
                 struct cost *cost)
{
    unsigned flags = queue->block ? IDXD_OP_FLAG_BOF : 0;
    static struct work work;
    size_t done = 0;

    while (true) {
        double begin = now(), end;
        int status;

        work_init(&work, DSA_OPCODE_MEMMOVE, flags, src + done, dst + done,
                  size - done);
        status = queue_do(queue, &work);
        end = now();
        cost->submissions++;
        cost->device += end - begin;
        if (DSA_COMP_STATUS(status) != DSA_COMP_PAGE_FAULT_NOBOF) {
            return status == DSA_COMP_SUCCESS;
        }
        done += work.record.bytes_completed;
        touch(&work.record);
        cost->touch += now() - end;
    }
}

/* Move TOTAL bytes in buffers of a size, all or none of which are missing */
static bool pass(struct queue *queue, uint8_t *src, uint8_t *dst, size_t size,
                 bool missing)
{
    struct cost cost = { };
    double seconds;

    if (missing) {
        madvise(src, TOTAL, MADV_DONTNEED);
        madvise(dst, TOTAL, MADV_DONTNEED);
    }
    seconds = now();
    for (size_t i = 0; i < TOTAL; i += size) {
        if (!move(queue, src + i, dst + i, size, &cost)) {
            return false;
        }
    }
    seconds = now() - seconds;
    printf("faults block %d missing %d size %zu submissions %u GB/s %.3f "
           "device-us %.2f touch-us %.2f\n", queue->block, missing, size,
           cost.submissions, TOTAL / seconds / 1e9,
           cost.device / cost.submissions * 1e6,
           cost.touch / cost.submissions * 1e6);
    return !memcmp(src, dst, TOTAL);
}

bool faults(const char *path)
{
    static const size_t sizes[] = { PAGE, 64 << 10, 1 << 20 };
    uint8_t *src = map_small_pages(TOTAL), *dst = map_small_pages(TOTAL);
    struct queue queue;
    bool right = true;

    queue_open(&queue, path);
    for (size_t i = 0; i < sizeof(sizes) / sizeof(sizes[0]); i++) {
        right = pass(&queue, src, dst, sizes[i], true) && right;
        right = pass(&queue, src, dst, sizes[i], false) && right;
    }
    return right;
}
