/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread that keeps the device at work on one buffer.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#ifndef WORKER_H
#define WORKER_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct worker {
	pthread_t thread;
	int fd;
	uint8_t *memory;
	size_t size;
	bool read;		/* with the checksum crc; else write */
	uint8_t crc;
	atomic_bool stop;
	atomic_ulong good;	/* operations that ended with success */
	atomic_ulong errors;	/* with an error */
	atomic_int other;	/* what else the last one returned, or 0 */
};

/** worker_start: Fields fd, memory, size, read and crc are set. */
void worker_start(struct worker *worker);

/** worker_wait: Until @count more operations began and ended. */
void worker_wait(struct worker *worker, unsigned long count);

/** worker_wait_good: Until one succeeded that began after the call. */
void worker_wait_good(struct worker *worker);

/** worker_stop: After the operation that is at work. */
void worker_stop(struct worker *worker);

#endif
