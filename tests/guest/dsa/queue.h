/*
 * A work queue of a DSA, as Linux hands it to programs
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

/* Descriptors that may be under way at once; the queue has room for as many */
#define QUEUE_DEPTH 8

struct queue {
    int fd;
    void *portal;
    bool dedicated;
    bool block;         /* on page faults: is it allowed? */
};

/* A descriptor and its completion record */
struct work {
    struct dsa_hw_desc desc __attribute__((aligned(64)));
    struct dsa_completion_record record __attribute__((aligned(32)));
};

/* Open @path, as in /dev/dsa/wq0.1; 0 or an errno */
int queue_try_open(struct queue *queue, const char *path);

/*
 * The same; the program ends if that fails.  When a process was killed that had
 * a dedicated queue, Linux closes it only when it has let go of the process's
 * memory: where it handles page faults for the device, this may be some time
 * after the process has ended.  So this waits, ten seconds at most.
 */
void queue_open(struct queue *queue, const char *path);

/* Give the device @work; waits while the queue is full */
void queue_submit(struct queue *queue, struct work *work);

/* Wait for the end of @work; returns its status */
int work_wait(struct work *work);

/* Submit and wait */
int queue_do(struct queue *queue, struct work *work);

/* Fill in an operation with a completion record and these DSA flags */
void work_init(struct work *work, int opcode, unsigned flags, const void *src,
               void *dst, size_t size);

#endif
