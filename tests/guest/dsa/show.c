/*
 * The program of scripts/demo-dsa: cost of a move by the DSA
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The program notifies the host before and after each move, so that the host
 * can count events in between (see tests/guest/init).
 */

#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "measure.h"
#include "queue.h"
#include "show.h"

/* Size of each part of the memory, every other one of which is unmapped */
#define PART    (64 << 10)

static void tell_host(void)
{
    char answer[80];

    puts("svm: ask mark");
    fflush(stdout);
    if (!fgets(answer, sizeof(answer), stdin)) {
        exit(2);
    }
}

static void take_half_back(uint8_t *memory, size_t size)
{
    for (size_t offset = 0; offset < size; offset += 2 * PART) {
        madvise(memory + offset, PART, MADV_DONTNEED);
    }
}

/* Destinations of the moves by the accelerator, and by the processor */
struct target {
    uint8_t *dsa;
    uint8_t *memcpy;
};

/* Move data that changes each time */
static bool pass(struct queue *queue, uint64_t *src, struct target *dst,
                 size_t size, uint64_t seed, bool half_back)
{
    static struct work work;
    double seconds, memcpy_seconds;
    bool right;
    int status;

    for (size_t i = 0; i < size / 8; i++) {
        src[i] = seed << 32 | i;
    }
    work_init(&work, DSA_OPCODE_MEMMOVE, IDXD_OP_FLAG_BOF, src, dst->dsa, size);
    if (half_back) {
        take_half_back(dst->dsa, size);
    }
    tell_host();
    seconds = now();
    status = queue_do(queue, &work);
    seconds = now() - seconds;
    tell_host();
    if (half_back) {
        take_half_back(dst->memcpy, size);
    }
    memcpy_seconds = now();
    memcpy(dst->memcpy, src, size);
    memcpy_seconds = now() - memcpy_seconds;
    right = status == DSA_COMP_SUCCESS && !memcmp(dst->dsa, dst->memcpy, size);
    printf("pass bytes %zu seconds %.9f memcpy %.9f status %d %s\n", size,
           seconds, memcpy_seconds, status, right ? "right" : "wrong");
    return right;
}

bool show(const char *path, size_t size)
{
    struct target dst = { map_small_pages(size), map_small_pages(size) };
    uint64_t *src = (uint64_t *)map_small_pages(size);
    struct queue queue;
    bool right;

    queue_open(&queue, path);
    printf("pointer %p\n", dst.dsa);
    right = pass(&queue, src, &dst, size, 1, false);
    right = pass(&queue, src, &dst, size, 2, false) && right;
    return pass(&queue, src, &dst, size, 3, true) && right;
}
