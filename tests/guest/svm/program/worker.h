/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * A thread that keeps the device busy with one buffer.
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
	bool read;		/* with the checksum @crc; else write */
	uint8_t crc;
	atomic_bool stop;
	atomic_ulong good;	/* successful operations */
	atomic_ulong errors;	/* failed operations */
	atomic_int other;	/* another result of the last operation, or 0 */
};

/** worker_start: Start; fd, memory, size, read and crc must be set. */
void worker_start(struct worker *worker);

/** worker_wait: Wait until @count more operations have begun and ended. */
void worker_wait(struct worker *worker, unsigned long count);

/** worker_wait_good: Wait until an operation succeeds that began later. */
void worker_wait_good(struct worker *worker);

/** worker_stop: Stop after the operation in progress. */
void worker_stop(struct worker *worker);

#endif
