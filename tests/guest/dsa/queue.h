/*
 * A work queue of a DSA that Linux assigns to programs
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef QUEUE_H
#define QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <linux/idxd.h>

/* Number of descriptors that may be outstanding; also the size of the queue */
#define QUEUE_DEPTH 8

struct queue {
    int fd;
    void *portal;
    bool dedicated;
    bool block;         /* whether Block on Fault is enabled */
};

/* A descriptor and its completion record */
struct work {
    struct dsa_hw_desc desc __attribute__((aligned(64)));
    struct dsa_completion_record record __attribute__((aligned(32)));
};

/* Open @path, such as /dev/dsa/wq0.1; returns 0 or an errno */
int queue_try_open(struct queue *queue, const char *path);

/*
 * Open @path, or exit the program. After a process with a dedicated queue has
 * been killed, Linux only closes the queue when it has released the memory of
 * the process: while Linux handles page faults for the device, this may be
 * some time after the end of the process. The function waits up to ten
 * seconds.
 */
void queue_open(struct queue *queue, const char *path);

/* Submit @work to the device; waits while the queue is full */
void queue_submit(struct queue *queue, struct work *work);

/* Wait until @work is complete; returns its status */
int work_wait(struct work *work);

/* Submit @work, and wait; returns its status */
int queue_do(struct queue *queue, struct work *work);

/* Fill in an operation with a completion record and these DSA flags */
void work_init(struct work *work, int opcode, unsigned flags, const void *src,
               void *dst, size_t size);

#endif
