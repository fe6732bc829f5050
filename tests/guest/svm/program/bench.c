// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Figures of the svm device, from a program's point of view.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#define _GNU_SOURCE
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "device.h"
#include "memory.h"

#define SMALL_OPERATIONS	5000
#define SINGLE_FAULTS		2000
#define BATCHED_FAULTS		16384
#define WARM_ROUNDS		4

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void result(const char *name, double value, const char *unit)
{
	printf("bench %s %.3f %s\n", name, value, unit);
}

static void must(int outcome)
{
	if (outcome != DEVICE_OK) {
		fprintf(stderr, "svm: an operation failed (%d)\n", outcome);
		exit(1);
	}
}

static void throughput(const char *pages, const char *what, size_t size,
		       double seconds)
{
	char name[64];

	snprintf(name, sizeof(name), "%s-%s", what, pages);
	result(name, size / seconds / 1e9, "GB/s");
}

/* new: no page is there; cold: only no translation is; warm: all is there. */
static void bench_pages(const char *pages, uint8_t *memory, size_t size)
{
	int fd = device_open();
	double begin = now();
	uint8_t crc;

	must(device_write(fd, memory, size));
	throughput(pages, "write-new", size, now() - begin);
	close(fd);
	crc = crc8(memory, size);

	/* A new PASID: the device's cache knows nothing of it. */
	fd = device_open();
	begin = now();
	must(device_write(fd, memory, size));
	throughput(pages, "write-cold", size, now() - begin);
	begin = now();
	for (int round = 0; round < WARM_ROUNDS; round++) {
		must(device_write(fd, memory, size));
	}
	throughput(pages, "write-warm", WARM_ROUNDS * size, now() - begin);
	close(fd);

	fd = device_open();
	begin = now();
	must(device_read(fd, memory, size, crc));
	throughput(pages, "read-cold", size, now() - begin);
	begin = now();
	for (int round = 0; round < WARM_ROUNDS; round++) {
		must(device_read(fd, memory, size, crc));
	}
	throughput(pages, "read-warm", WARM_ROUNDS * size, now() - begin);
	close(fd);
}

static void bench_operations(void)
{
	uint8_t *memory = map(PAGE);
	int fd = device_open();
	double begin;

	must(device_write(fd, memory, 64));
	begin = now();
	for (int i = 0; i < SMALL_OPERATIONS; i++) {
		must(device_write(fd, memory, 64));
	}
	result("operations-64-bytes", SMALL_OPERATIONS / (now() - begin),
	       "per second");
	close(fd);
}

static void bench_faults(void)
{
	uint8_t *memory = map(SINGLE_FAULTS * PAGE);
	uint8_t *batch = map(BATCHED_FAULTS * PAGE);
	int fd = device_open();
	double begin;

	madvise(memory, SINGLE_FAULTS * PAGE, MADV_NOHUGEPAGE);
	madvise(batch, BATCHED_FAULTS * PAGE, MADV_NOHUGEPAGE);
	begin = now();
	for (int i = 0; i < SINGLE_FAULTS; i++) {
		must(device_write(fd, memory + i * PAGE, 64));
	}
	result("faults-single", SINGLE_FAULTS / (now() - begin), "per second");
	begin = now();
	must(device_write(fd, batch, BATCHED_FAULTS * PAGE));
	result("faults-batched", BATCHED_FAULTS / (now() - begin),
	       "per second");
	close(fd);
	munmap(memory, SINGLE_FAULTS * PAGE);
	munmap(batch, BATCHED_FAULTS * PAGE);
}

static void bench_huge(const char *pages, size_t size, size_t page)
{
	uint8_t *memory;

	size = (size + page - 1) / page * page;
	memory = map_huge(size, page);
	if (!memory) {
		printf("skipped %s: the kernel has too few such pages\n", pages);
		return;
	}
	bench_pages(pages, memory, size);
	munmap(memory, size);
}

int bench(size_t size)
{
	uint8_t *memory = map(size);

	bench_operations();
	bench_faults();
	madvise(memory, size, MADV_NOHUGEPAGE);
	bench_pages("4K", memory, size);
	munmap(memory, size);
	bench_huge("2M", size, 2 * MIB);
	bench_huge("1G", size, GIB);
	return 0;
}
