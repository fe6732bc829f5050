// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * A thread that keeps the device busy with one buffer.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "device.h"
#include "worker.h"

static void *work(void *opaque)
{
	struct worker *worker = opaque;

	while (!worker->stop) {
		int result = worker->read
			? device_read(worker->fd, worker->memory, worker->size,
				      worker->crc)
			: device_write(worker->fd, worker->memory,
				       worker->size);

		if (result == DEVICE_OK) {
			worker->good++;
		} else if (result == DEVICE_ERROR) {
			worker->errors++;
		} else {
			worker->other = result;
			break;
		}
	}
	return NULL;
}

void worker_start(struct worker *worker)
{
	if (pthread_create(&worker->thread, NULL, work, worker)) {
		perror("svm: a thread");
		exit(2);
	}
}

void worker_wait(struct worker *worker, unsigned long count)
{
	/* The first operation that ends may have begun before the call. */
	unsigned long goal = worker->good + worker->errors + count + 1;

	while (worker->good + worker->errors < goal && !worker->other) {
		usleep(200);
	}
}

void worker_wait_good(struct worker *worker)
{
	unsigned long goal = worker->good + 2;

	while (worker->good < goal && !worker->other) {
		usleep(200);
	}
}

void worker_stop(struct worker *worker)
{
	worker->stop = true;
	pthread_join(worker->thread, NULL);
}
