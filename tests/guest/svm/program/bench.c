// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Benchmarks of the svm device, from the point of view of a program.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * Each result is the best of several rounds, because other load on the machine
 * can only make a round slower.
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

#define OPERATION_ROUNDS	20
#define OPERATIONS		500
#define FAULT_ROUNDS		20
#define FAULTS			200
#define BATCH_ROUNDS		4
#define BATCHED_FAULTS		16384
#define PAGE_ROUNDS		3
#define WARM_ROUNDS		4

/* Seconds of the best round */
struct throughput {
	double write_new;	/* no page is present */
	double write_cold;	/* only translations are missing */
	double write_warm;	/* all pages and translations are present */
	double read_cold;
	double read_warm;
	double memcpy;		/* by the program */
};

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void result(const char *name, double value, const char *unit)
{
	printf("bench %s %.3f %s\n", name, value, unit);
	fflush(stdout);
}

static void must(int outcome)
{
	if (outcome != DEVICE_OK) {
		fprintf(stderr, "svm: an operation failed (%d)\n", outcome);
		exit(1);
	}
}

/* Keep the time since @begin if it is the best one; 0 means none yet. */
static void improve(double *best, double begin)
{
	double seconds = now() - begin;

	if (!*best || seconds < *best) {
		*best = seconds;
	}
}

/* ---- Throughput ---- */

static void measure_writes(uint8_t *memory, size_t size, struct throughput *t)
{
	int fd = device_open();
	double begin = now();

	must(device_write(fd, memory, size));
	improve(&t->write_new, begin);
	close(fd);

	/* Use a new PASID, whose translations are not cached by the device. */
	fd = device_open();
	begin = now();
	must(device_write(fd, memory, size));
	improve(&t->write_cold, begin);
	for (int round = 0; round < WARM_ROUNDS; round++) {
		begin = now();
		must(device_write(fd, memory, size));
		improve(&t->write_warm, begin);
	}
	close(fd);
}

static void measure_reads(uint8_t *memory, size_t size, uint8_t crc,
			  struct throughput *t)
{
	int fd = device_open();
	double begin = now();

	must(device_read(fd, memory, size, crc));
	improve(&t->read_cold, begin);
	for (int round = 0; round < WARM_ROUNDS; round++) {
		begin = now();
		must(device_read(fd, memory, size, crc));
		improve(&t->read_warm, begin);
	}
	close(fd);
}

/* Copy from one half to the other, twice: as much as the device moves. */
static void measure_memcpy(uint8_t *memory, size_t size, struct throughput *t)
{
	double begin = now();

	memcpy(memory, memory + size / 2, size / 2);
	memcpy(memory + size / 2, memory, size / 2);
	improve(&t->memcpy, begin);
}

static void print_throughput(const char *pages, size_t size,
			     const struct throughput *t)
{
	const struct {
		const char *name;
		double seconds;
	} lines[] = {
		{ "write-new", t->write_new },
		{ "write-cold", t->write_cold },
		{ "write-warm", t->write_warm },
		{ "read-cold", t->read_cold },
		{ "read-warm", t->read_warm },
		{ "memcpy", t->memcpy },
	};
	char name[64];

	for (size_t i = 0; i < sizeof(lines) / sizeof(lines[0]); i++) {
		snprintf(name, sizeof(name), "%s-%s", lines[i].name, pages);
		result(name, size / lines[i].seconds / 1e9, "GB/s");
	}
}

/* Use pages of the size @page, or small ones if it is 0. */
static void bench_pages(const char *pages, size_t size, size_t page)
{
	struct throughput t = { 0 };
	uint8_t crc = 0;

	for (int round = 0; round < PAGE_ROUNDS; round++) {
		uint8_t *memory = page ? map_huge(size, page) : map(size);

		if (!memory) {
			printf("skipped %s: the kernel has too few such pages\n",
			       pages);
			return;
		}
		if (!page) {
			madvise(memory, size, MADV_NOHUGEPAGE);
		}
		measure_writes(memory, size, &t);
		if (!round) {
			crc = crc8(memory, size);
		}
		measure_reads(memory, size, crc, &t);
		measure_memcpy(memory, size, &t);
		munmap(memory, size);
	}
	print_throughput(pages, size, &t);
}

static size_t round_up(size_t size, size_t page)
{
	return (size + page - 1) / page * page;
}

/* ---- Operations and faults ---- */

static void bench_operations(void)
{
	uint8_t *memory = map(PAGE);
	int fd = device_open();
	double best = 0;

	must(device_write(fd, memory, 64));
	for (int round = 0; round < OPERATION_ROUNDS; round++) {
		double begin = now();

		for (int i = 0; i < OPERATIONS; i++) {
			must(device_write(fd, memory, 64));
		}
		improve(&best, begin);
	}
	result("operations-64-bytes", OPERATIONS / best, "per second");
	close(fd);
	munmap(memory, PAGE);
}

static void bench_single_faults(void)
{
	uint8_t *memory = map(FAULT_ROUNDS * FAULTS * PAGE);
	uint8_t *next = memory;
	int fd = device_open();
	double best = 0;

	madvise(memory, FAULT_ROUNDS * FAULTS * PAGE, MADV_NOHUGEPAGE);
	for (int round = 0; round < FAULT_ROUNDS; round++) {
		double begin = now();

		for (int i = 0; i < FAULTS; i++, next += PAGE) {
			must(device_write(fd, next, 64));
		}
		improve(&best, begin);
	}
	result("faults-single", FAULTS / best, "per second");
	close(fd);
	munmap(memory, FAULT_ROUNDS * FAULTS * PAGE);
}

static void bench_batched_faults(void)
{
	const size_t size = BATCHED_FAULTS * PAGE;
	int fd = device_open();
	double best = 0;

	for (int round = 0; round < BATCH_ROUNDS; round++) {
		uint8_t *memory = map(size);
		double begin;

		madvise(memory, size, MADV_NOHUGEPAGE);
		begin = now();
		must(device_write(fd, memory, size));
		improve(&best, begin);
		munmap(memory, size);
	}
	result("faults-batched", BATCHED_FAULTS / best, "per second");
	close(fd);
}

int bench(size_t size)
{
	bench_operations();
	bench_single_faults();
	bench_batched_faults();
	bench_pages("4K", round_up(size, PAGE), 0);
	bench_pages("2M", round_up(size, 2 * MIB), 2 * MIB);
	bench_pages("1G", round_up(size, GIB), GIB);
	return 0;
}
