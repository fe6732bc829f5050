// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Pass pointers to the svm device, and report the results.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#define _GNU_SOURCE
#include <errno.h>
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "bench.h"
#include "cases.h"
#include "device.h"
#include "memory.h"

static const char usage[] =
"Usage: svm [--device=FILE] COMMAND [ARGUMENT...]\n"
"\n"
"Hand pointers of this program to the svm device, which reads and writes what\n"
"they point to: through the same page tables as the processor, asking the\n"
"kernel for pages that are not there.\n"
"\n"
"  show [SIZE]          write to untouched memory, and print details\n"
"  write [SIZE]         write the pattern and check it\n"
"  read [SIZE]          read memory and compare checksums\n"
"  fault CAUSE          provoke one fault: unmapped, read-only, kernel,\n"
"                       privileged or beyond\n"
"  test [CASE...]       run all cases, or those named; \"ok\", \"not ok\" or\n"
"                       \"skipped\" for each\n"
"  list                 name the cases\n"
"  bench [MIB]          throughput and page faults, with figures for each kind\n"
"                       of page\n"
"  busy [MIB]           keep the device at work until killed, and count\n"
"  wait [SECONDS]       wait until the device is there and can be opened\n"
"\n"
"SIZE is in bytes, optionally with the suffix K, M or G; default 1M.\n"
"Exit status: 0 success, 1 a case or an operation failed, 2 it cannot run.\n";

static size_t parse_size(const char *text)
{
	char *end;
	size_t size = strtoull(text, &end, 0);

	switch (*end) {
	case 'G': size *= KIB; /* fall through */
	case 'M': size *= KIB; /* fall through */
	case 'K': size *= KIB; end++;
	}
	if (end == text || *end || !size) {
		fprintf(stderr, "svm: \"%s\" is no size\n", text);
		exit(2);
	}
	return size;
}

static double now(void)
{
	struct timespec time;

	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec + time.tv_nsec / 1e9;
}

static void report(const char *what, size_t size, int result, double seconds)
{
	printf("%s %zu bytes: %s, %.3f ms, %.2f GB/s\n", what, size,
	       result == DEVICE_OK ? "done" :
	       result == DEVICE_ERROR ? "the device reports an error" :
	       strerror(-result), seconds * 1000, size / seconds / 1e9);
}

static int command_write(size_t size)
{
	uint8_t *memory = map(size);
	int fd = device_open(), result;
	double begin = now();

	result = device_write(fd, memory, size);
	report("wrote", size, result, now() - begin);
	if (result == DEVICE_OK && !pattern_ok(memory, size)) {
		printf("but the memory does not hold the pattern\n");
		return 1;
	}
	return result != DEVICE_OK;
}

static int command_read(size_t size)
{
	uint8_t *memory = map(size), crc;
	int fd = device_open(), result;
	double begin;

	for (size_t i = 0; i < size; i++) {
		memory[i] = i ^ i >> 12;
	}
	crc = crc8(memory, size);
	begin = now();
	result = device_read(fd, memory, size, crc);
	report("read", size, result, now() - begin);
	return result != DEVICE_OK;
}

/* The passes of the demo: cold, warm, and after pages have been reclaimed. */
static int command_show(size_t size)
{
	uint8_t *memory = map(size);
	int fd = device_open(), result = 0, pass;
	static const char *const passes[] = {
		"cold: no page is there", "warm: all pages are there",
		"half of the pages taken back",
	};

	printf("pointer %p, %zu bytes, process %d\n", memory, size, getpid());
	for (pass = 0; pass < 3 && !result; pass++) {
		double begin, seconds;

		if (pass == 2) {
			for (size_t i = 0; i < size; i += 128 * KIB) {
				madvise(memory + i, 64 * KIB, MADV_DONTNEED);
			}
		}
		printf("begin %d %s\n", pass, passes[pass]);
		begin = now();
		result = device_write(fd, memory, size);
		seconds = now() - begin;
		printf("end %d %zu bytes %.6f seconds result %d pattern %s\n",
		       pass, size, seconds, result,
		       pattern_ok(memory, size) ? "right" : "wrong");
	}
	return result != DEVICE_OK || !pattern_ok(memory, size);
}

static int command_fault(const char *cause)
{
	uint8_t *memory = map(4 * PAGE);
	int fd = device_open(), result;

	memset(memory, 1, 4 * PAGE);
	if (!strcmp(cause, "unmapped")) {
		munmap(memory, 4 * PAGE);
	} else if (!strcmp(cause, "read-only")) {
		mprotect(memory, 4 * PAGE, PROT_READ);
	} else if (!strcmp(cause, "beyond")) {
		munmap(memory + 2 * PAGE, 2 * PAGE);
	} else if (!strcmp(cause, "kernel") || !strcmp(cause, "privileged")) {
		memory = device_alloc_kmem(fd, memory, 4 * PAGE);
		device_set_options(fd, *cause == 'p');
	} else {
		fprintf(stderr, "svm: no fault is called \"%s\"\n", cause);
		return 2;
	}
	printf("process %d, address %p, %zu bytes\n", getpid(), memory,
	       4 * PAGE);
	result = device_write(fd, memory, 4 * PAGE);
	printf("the device reports %s\n", result == DEVICE_OK ? "success" :
	       result == DEVICE_ERROR ? "an error" : strerror(-result));
	return result != DEVICE_ERROR;
}

/*
 * Print a line regularly, so that tests which disturb the device see progress.
 */
static int command_busy(size_t size)
{
	uint8_t *memory = map(size);
	unsigned long good = 0, errors = 0;
	int fd = device_open(), result;

	for (;;) {
		result = device_write(fd, memory, size);
		good += result == DEVICE_OK;
		if (result == DEVICE_OK && good == 1) {
			printf("busy\n");
		}
		errors += result == DEVICE_ERROR;
		if (result < 0) {
			printf("busy: %lu done, %lu errors, then: %s\n", good,
			       errors, strerror(-result));
			return 0;
		}
		if (result == DEVICE_OK && !pattern_ok(memory, size)) {
			printf("busy: wrong data after %lu operations\n", good);
			return 1;
		}
		if (good && !(good % 64)) {
			printf("busy: %lu done, %lu errors\n", good, errors);
		}
		madvise(memory + size / 4, size / 4, MADV_DONTNEED);
	}
}

static int command_wait(unsigned int seconds)
{
	int fd = -1;

	for (unsigned int tenths = 0; tenths < seconds * 10; tenths++) {
		fd = device_try_open();
		if (fd >= 0) {
			return 0;
		}
		usleep(100000);
	}
	device_explain(-fd);
	return 1;
}

/* The case "exec" executes this program with the device file of the old one. */
static int command_inherited(const char *number)
{
	uint8_t *memory = map(MIB);
	int fd = atoi(number), result;

	memset(memory, 0x42, MIB);
	while ((result = device_write(fd, memory, MIB)) == -EBUSY) {
		usleep(1000);
	}
	return result != DEVICE_ERROR || !filled(memory, MIB, 0x42);
}

static int command(int count, char **words)
{
	const char *name = words[0], *first = count > 1 ? words[1] : NULL;

	if (!strcmp(name, "show")) {
		return command_show(parse_size(first ? first : "1M"));
	} else if (!strcmp(name, "write")) {
		return command_write(parse_size(first ? first : "1M"));
	} else if (!strcmp(name, "read")) {
		return command_read(parse_size(first ? first : "1M"));
	} else if (!strcmp(name, "fault") && first) {
		return command_fault(first);
	} else if (!strcmp(name, "test")) {
		close(device_open());
		return cases_run(count - 1, words + 1) > 0;
	} else if (!strcmp(name, "list")) {
		cases_list();
		return 0;
	} else if (!strcmp(name, "bench")) {
		return bench(parse_size(first ? first : "64") * MIB);
	} else if (!strcmp(name, "busy")) {
		return command_busy(parse_size(first ? first : "4") * MIB);
	} else if (!strcmp(name, "wait")) {
		return command_wait(first ? atoi(first) : 10);
	} else if (!strcmp(name, "inherited") && first) {
		return command_inherited(first);
	}
	fputs(usage, stderr);
	return 2;
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "device", required_argument, NULL, 'd' },
		{ "help", no_argument, NULL, 'h' },
		{ }
	};
	int option;

	setlinebuf(stdout);
	while ((option = getopt_long(argc, argv, "+d:h", options, NULL)) != -1) {
		switch (option) {
		case 'd':
			device_path = optarg;
			break;
		case 'h':
			fputs(usage, stdout);
			return 0;
		default:
			fputs(usage, stderr);
			return 2;
		}
	}
	if (optind == argc) {
		fputs(usage, stderr);
		return 2;
	}
	return command(argc - optind, argv + optind);
}
