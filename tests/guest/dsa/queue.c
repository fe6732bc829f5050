/*
 * A work queue of a DSA that Linux assigns to programs
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <errno.h>
#include <fcntl.h>
#include <immintrin.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "queue.h"

static void attribute(const char *path, const char *name, char *value,
                      int size)
{
    char file[200];
    FILE *f;

    snprintf(file, sizeof(file), "/sys/bus/dsa/devices/%s/%s",
             strrchr(path, '/') + 1, name);
    f = fopen(file, "r");
    if (!f || !fgets(value, size, f)) {
        perror(file);
        exit(2);
    }
    fclose(f);
}

int queue_try_open(struct queue *queue, const char *path)
{
    char mode[20], block[20];

    queue->fd = open(path, O_RDWR);
    if (queue->fd < 0) {
        return errno;
    }
    queue->portal = mmap(NULL, 4096, PROT_WRITE, MAP_SHARED, queue->fd, 0);
    if (queue->portal == MAP_FAILED) {
        return errno;
    }
    attribute(path, "mode", mode, sizeof(mode));
    attribute(path, "block_on_fault", block, sizeof(block));
    queue->dedicated = mode[0] == 'd';
    queue->block = block[0] == '1';
    return 0;
}

void queue_open(struct queue *queue, const char *path)
{
    int tries = 10000;
    int error;

    while ((error = queue_try_open(queue, path)) == EBUSY && tries--) {
        usleep(1000);
    }
    if (error) {
        fprintf(stderr, "%s: %s\n", path, strerror(error));
        exit(2);
    }
}

void queue_submit(struct queue *queue, struct work *work)
{
    work->record.status = DSA_COMP_NONE;
    /* All data must be visible before the descriptor */
    _mm_sfence();
    if (queue->dedicated) {
        _movdir64b(queue->portal, &work->desc);
        return;
    }
    while (_enqcmd(queue->portal, &work->desc)) {
        sched_yield();
    }
}

int work_wait(struct work *work)
{
    while (work->record.status == DSA_COMP_NONE) {
        sched_yield();
    }
    return work->record.status;
}

int queue_do(struct queue *queue, struct work *work)
{
    queue_submit(queue, work);
    return work_wait(work);
}

void work_init(struct work *work, int opcode, unsigned flags, const void *src,
               void *dst, size_t size)
{
    memset(work, 0, sizeof(*work));
    work->desc.opcode = opcode;
    work->desc.flags = flags | IDXD_OP_FLAG_CRAV | IDXD_OP_FLAG_RCR;
    work->desc.completion_addr = (uintptr_t)&work->record;
    work->desc.src_addr = (uintptr_t)src;
    work->desc.dst_addr = (uintptr_t)dst;
    work->desc.xfer_size = size;
}
