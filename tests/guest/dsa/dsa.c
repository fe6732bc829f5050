/*
 * A program that shares its memory with a DSA
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cases.h"
#include "faults.h"
#include "queue.h"
#include "show.h"

static int usage(void)
{
    fputs("usage: dsa test QUEUE\n"
          "           test one queue, such as /dev/dsa/wq0.0\n"
          "       dsa log QUEUE\n"
          "           test one without page requests, with an event log\n"
          "       dsa share QUEUE...\n"
          "           test with a process for each, all at the same time\n"
          "       dsa show QUEUE MIB\n"
          "           the program of scripts/demo-dsa\n"
          "       dsa faults QUEUE\n"
          "           measure the cost of missing pages\n"
          "       dsa busy QUEUE\n"
          "           keep it busy and print that, until SIGTERM\n", stderr);
    return 2;
}

/* ---- busy ---- */

#define BUSY_SIZE   (256 << 10)

static volatile sig_atomic_t stop;

static void on_term(int sig)
{
    (void)sig;
    stop = 1;
}

struct slot {
    struct work work;
    uint64_t *src, *dst;
};

static void slot_submit(struct queue *queue, struct slot *slot, uint64_t seed)
{
    for (size_t i = 0; i < BUSY_SIZE / 8; i++) {
        slot->src[i] = seed + i;
    }
    if (queue->block) {
        madvise(slot->dst, BUSY_SIZE, MADV_DONTNEED);
    } else {
        memset(slot->dst, 0, BUSY_SIZE);
    }
    work_init(&slot->work, DSA_OPCODE_MEMMOVE,
              queue->block ? IDXD_OP_FLAG_BOF : 0, slot->src, slot->dst,
              BUSY_SIZE);
    queue_submit(queue, &slot->work);
}

static bool slot_finish(struct slot *slot)
{
    int status = work_wait(&slot->work);

    if (status != DSA_COMP_SUCCESS) {
        printf("status %#x at %#llx\n", status,
               (unsigned long long)slot->work.record.fault_addr);
        return false;
    }
    if (memcmp(slot->src, slot->dst, BUSY_SIZE)) {
        printf("wrong data\n");
        return false;
    }
    return true;
}

/* At least QUEUE_DEPTH - 1 descriptors are outstanding */
static int busy(const char *path)
{
    static struct slot slots[QUEUE_DEPTH];
    struct queue queue;
    uint64_t rounds;

    signal(SIGTERM, on_term);
    queue_open(&queue, path);
    for (int i = 0; i < QUEUE_DEPTH; i++) {
        slots[i].src = mmap(NULL, 2 * BUSY_SIZE, PROT_READ | PROT_WRITE,
                            MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        if (slots[i].src == MAP_FAILED) {
            perror("memory");
            return 2;
        }
        slots[i].dst = slots[i].src + BUSY_SIZE / 8;
        slot_submit(&queue, &slots[i], i);
    }
    for (rounds = 0; !stop; rounds++) {
        struct slot *slot = &slots[rounds % QUEUE_DEPTH];

        if (!slot_finish(slot)) {
            return 1;
        }
        if (rounds == QUEUE_DEPTH) {
            puts("busy");
            fflush(stdout);
        }
        slot_submit(&queue, slot, rounds << 32);
    }
    for (int i = 0; i < QUEUE_DEPTH; i++) {
        if (!slot_finish(&slots[i])) {
            return 1;
        }
    }
    printf("right\n");
    return 0;
}

int main(int argc, char **argv)
{
    if (argc == 3 && !strcmp(argv[1], "test")) {
        return !cases_queue(argv[2]);
    }
    if (argc == 3 && !strcmp(argv[1], "log")) {
        return !cases_log(argv[2]);
    }
    if (argc >= 3 && !strcmp(argv[1], "share")) {
        return !cases_processes(argv + 2, argc - 2);
    }
    if (argc == 4 && !strcmp(argv[1], "show")) {
        return !show(argv[2], strtoul(argv[3], NULL, 10) << 20);
    }
    if (argc == 3 && !strcmp(argv[1], "faults")) {
        return !faults(argv[2]);
    }
    if (argc == 3 && !strcmp(argv[1], "busy")) {
        return busy(argv[2]);
    }
    return usage();
}
