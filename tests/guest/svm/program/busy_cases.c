// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Cases in which memory changes while the device accesses it.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"
#include "device.h"
#include "memory.h"
#include "worker.h"

#ifndef MADV_COLLAPSE		/* missing in the C library of Debian 12 */
#define MADV_COLLAPSE	25
#endif

#define ROUNDS	20

static void start(struct worker *worker, void *memory, size_t size)
{
	*worker = (struct worker) {
		.fd = device_open(), .memory = memory, .size = size,
	};
	worker_start(worker);
}

static void stop(struct worker *worker)
{
	worker_stop(worker);
	check(!worker->other, "the device answers %d (%s)", worker->other,
	      strerror(-worker->other));
	close(worker->fd);
}

static void case_unmap(void)
{
	uint8_t *memory = map(4 * MIB), *taken = map(4 * MIB);
	struct worker worker;

	memset(taken, 0, 4 * MIB);
	start(&worker, memory, 4 * MIB);
	for (int round = 0; round < ROUNDS; round++) {
		worker_wait_good(&worker);
		munmap(memory + MIB, 2 * MIB);
		/* The device most likely used these pages just before. */
		madvise(taken, 4 * MIB, MADV_DONTNEED);
		memset(taken, 0x5a, 4 * MIB);
		worker_wait(&worker, 1);
		check(filled(taken, 4 * MIB, 0x5a),
		      "the device wrote to memory that it no longer has");
		map_at(memory + MIB, 2 * MIB);
	}
	stop(&worker);
	check(worker.errors, "no operation met the hole");
}

static void case_remap(void)
{
	uint8_t *memory = map(2 * MIB), *room = map(2 * MIB), *moved;
	struct worker worker;

	start(&worker, memory, 2 * MIB);
	for (int round = 0; round < ROUNDS; round++) {
		worker_wait_good(&worker);
		moved = mremap(memory, 2 * MIB, 2 * MIB,
			       MREMAP_MAYMOVE | MREMAP_FIXED, room);
		check(moved == room, "mremap: %s", strerror(errno));
		memset(moved, 0x66, 2 * MIB);
		worker_wait(&worker, 1);
		check(filled(moved, 2 * MIB, 0x66),
		      "the device still writes to memory that moved");
		moved = mremap(moved, 2 * MIB, 2 * MIB,
			       MREMAP_MAYMOVE | MREMAP_FIXED, memory);
		check(moved == memory, "mremap: %s", strerror(errno));
		room = map_at(room, 2 * MIB);
	}
	stop(&worker);
	check(worker.errors, "no operation met the hole");
}

/* Unmap a page, and map another one at the same address. */
static void case_replace(void)
{
	uint8_t *memory = map(64 * KIB);
	int fd = device_open();

	for (int round = 0; round < 10 * ROUNDS; round++) {
		size_t size = round & 1 ? PAGE : 64 * KIB;

		check(device_write(fd, memory, size) == DEVICE_OK, "write");
		if (round & 2) {
			madvise(memory, 64 * KIB, MADV_DONTNEED);
		} else {
			munmap(memory, 64 * KIB);
			map_at(memory, 64 * KIB);
		}
		check(filled(memory, 64 * KIB, 0), "new pages are not empty");
		memset(memory, round, 64 * KIB);
		check(device_read_own(fd, memory, size) == DEVICE_OK,
		      "round %d: the device reads the old page", round);
		check(device_write(fd, memory, size) == DEVICE_OK, "write");
		check(pattern_ok(memory, size),
		      "round %d: the device wrote to the old page", round);
	}
}

static void case_protect(void)
{
	int file = memfd_create("svm", 0);
	struct worker worker;
	uint8_t *memory, *view;

	check(file >= 0 && !ftruncate(file, MIB), "memfd: %s", strerror(errno));
	memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	view = mmap(NULL, MIB, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	check(memory != MAP_FAILED && view != MAP_FAILED, "mmap: %s",
	      strerror(errno));
	start(&worker, memory, MIB);
	for (int round = 0; round < ROUNDS; round++) {
		worker_wait_good(&worker);
		mprotect(memory, MIB, PROT_READ);
		memset(view, 0x99, MIB);
		worker_wait(&worker, 1);
		check(filled(view, MIB, 0x99),
		      "the device writes to memory that became read-only");
		mprotect(memory, MIB, PROT_READ | PROT_WRITE);
	}
	stop(&worker);
	check(pattern_ok(view, MIB) || worker.errors, "nothing was written");
	check(worker.errors, "no operation met the protection");
}

static void take(uint8_t *memory, size_t size, int way)
{
	switch (way) {
	case 0:
		check(!mprotect(memory, size, PROT_NONE), "mprotect: %s",
		      strerror(errno));
		break;
	case 1:
		/* Move from page to page, without a hole in between */
		check(mmap(memory, size, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) ==
		      memory, "mmap: %s", strerror(errno));
		break;
	case 2:
		munmap(memory, size);
		break;
	}
}

static void give_back(uint8_t *memory, size_t size, int way)
{
	if (way == 0) {
		mprotect(memory, size, PROT_READ | PROT_WRITE);
	} else if (way == 2) {
		map_at(memory, size);
	}
	memset(memory, 0x3c, size);
}

/* A read that began after the change must not find the old contents. */
static void case_reading(void)
{
	size_t size = 2 * MIB;
	uint8_t *memory = map(size);
	struct worker worker;

	memset(memory, 0x3c, size);
	worker = (struct worker) {
		.fd = device_open(), .memory = memory, .size = size,
		.read = true, .crc = crc8(memory, size),
	};
	worker_start(&worker);
	for (int round = 0; round < ROUNDS; round++) {
		unsigned long good;

		worker_wait_good(&worker);
		take(memory + MIB / 2, MIB, round % 3);
		worker_wait(&worker, 1);
		good = worker.good;
		worker_wait(&worker, 1);
		check(worker.good == good, "round %d: the device still reads "
		      "memory that was taken from it", round);
		give_back(memory + MIB / 2, MIB, round % 3);
	}
	worker_wait_good(&worker);
	stop(&worker);
}

static void case_fork(void)
{
	uint8_t *memory = map(2 * MIB);
	struct worker worker;

	start(&worker, memory, 2 * MIB);
	for (int round = 0; round < ROUNDS / 2; round++) {
		int to_child[2], status;
		char go = 'g';
		pid_t child;

		worker_wait_good(&worker);
		if (pipe(to_child) || (child = fork()) < 0) {
			fail("fork: %s", strerror(errno));
		}
		if (!child) {
			memset(memory, 0x18, 2 * MIB);
			_exit(read(to_child[0], &go, 1) != 1 ||
			      !filled(memory, 2 * MIB, 0x18));
		}
		worker_wait_good(&worker);
		check(write(to_child[1], &go, 1) == 1, "pipe");
		waitpid(child, &status, 0);
		check(!status, "the device wrote to the child's memory");
		check(pattern_ok(memory, 2 * MIB),
		      "the parent has not what the device wrote");
		close(to_child[0]);
		close(to_child[1]);
	}
	stop(&worker);
	check(!worker.errors, "%lu operations failed", worker.errors);
}

static void case_collapse(void)
{
	uint8_t *area = map(8 * MIB);
	uint8_t *memory = (uint8_t *)(((uintptr_t)area + 2 * MIB) &
				      ~(2 * MIB - 1));
	struct worker worker;
	int collapsed = 0;

	start(&worker, memory, 4 * MIB);
	for (int round = 0; round < ROUNDS; round++) {
		worker_wait_good(&worker);
		collapsed += !madvise(memory, 4 * MIB, MADV_COLLAPSE);
		worker_wait_good(&worker);
		/* Split the huge page again. */
		madvise(memory + MIB, 4 * KIB, MADV_DONTNEED);
	}
	stop(&worker);
	check(!worker.errors, "%lu operations failed", worker.errors);
	check(device_write(device_open(), memory, 4 * MIB) == DEVICE_OK &&
	      pattern_ok(memory, 4 * MIB), "the memory is not the pattern");
	if (!collapsed) {
		skip("this kernel made no huge page");
	}
}

static void case_swap(void)
{
	size_t size = 2 * MIB, swapped = 0;
	uint8_t *memory = map(size);
	struct worker worker;
	uint8_t crc;

	if (!have_swap()) {
		skip("there is no swap space (modprobe zram, mkswap, swapon)");
	}
	for (size_t i = 0; i < size; i++) {
		memory[i] = i * 7 + i / PAGE;
	}
	crc = crc8(memory, size);
	worker = (struct worker) {
		.fd = device_open(), .memory = memory, .size = size,
		.read = true, .crc = crc,
	};
	check(!madvise(memory, size, MADV_PAGEOUT), "madvise: %s",
	      strerror(errno));
	for (size_t i = 0; i < size; i += PAGE) {
		swapped += page_is_swapped(memory + i);
	}
	check(swapped, "nothing was swapped");
	worker_start(&worker);
	for (int round = 0; round < ROUNDS / 4; round++) {
		worker_wait_good(&worker);
		madvise(memory, size, MADV_PAGEOUT);
	}
	stop(&worker);
	check(!worker.errors, "%lu reads of swapped memory were wrong",
	      worker.errors);
	check(crc8(memory, size) == crc, "the memory changed");
}

static bool put(const char *directory, const char *name, const char *text)
{
	char path[128];
	ssize_t done;
	int fd;

	snprintf(path, sizeof(path), "%s/%s", directory, name);
	fd = open(path, O_WRONLY);
	if (fd < 0) {
		return false;
	}
	done = write(fd, text, strlen(text));
	close(fd);
	return done == (ssize_t)strlen(text);
}

/*
 * Use more memory than the process may have, so that pages are always swapped
 * out. Work in steps: a kernel that swaps more slowly than the device requests
 * pages kills the process.
 */
static void case_cgroup(void)
{
	const char *top = "/tmp/svm-cgroup", *group = "/tmp/svm-cgroup/svm";
	size_t size = 8 * MIB, step = 256 * 1024, swapped = 0, i;
	uint8_t *memory;
	int fd;

	if (!have_swap()) {
		skip("there is no swap space (modprobe zram, mkswap, swapon)");
	}
	mkdir(top, 0700);
	if (mount("none", top, "cgroup2", 0, NULL) && errno != EBUSY) {
		skip("no cgroups: %s", strerror(errno));
	}
	put(top, "cgroup.subtree_control", "+memory");
	mkdir(group, 0700);
	if (!put(group, "memory.max", "6M") ||
	    !put(group, "cgroup.procs", "0")) {
		skip("no memory control group: %s", strerror(errno));
	}
	memory = map(size);
	fd = device_open();
	for (int round = 0; round < 2; round++) {
		for (i = 0; i < size; i += step) {
			check(device_write(fd, memory + i, step) == DEVICE_OK,
			      "write");
		}
		for (i = 0; i < size; i += PAGE) {
			swapped += page_is_swapped(memory + i);
		}
		for (i = 0; i < size; i += step) {
			check(pattern_ok(memory + i, step),
			      "the pattern is damaged");
			check(device_read_own(fd, memory + i, step) ==
			      DEVICE_OK, "read");
		}
	}
	check(swapped, "the limit had no effect");
	close(fd);
	put(top, "cgroup.procs", "0");
	rmdir(group);
	umount(top);
}

/*
 * Let a child process start a large operation; returns once it is in progress.
 */
static pid_t busy_child(const char *then)
{
	int pipes[2];
	char ready;
	pid_t child;

	if (pipe(pipes) || (child = fork()) < 0) {
		fail("fork: %s", strerror(errno));
	}
	if (!child) {
		struct worker worker;
		char fd[16];

		start(&worker, map(64 * MIB), 64 * MIB);
		usleep(1000);
		check(write(pipes[1], "r", 1) == 1, "pipe");
		if (then) {
			snprintf(fd, sizeof(fd), "%d", worker.fd);
			execl("/proc/self/exe", "svm", then, fd, NULL);
			_exit(2);
		}
		pause();
	}
	check(read(pipes[0], &ready, 1) == 1, "the child did not start");
	close(pipes[0]);
	close(pipes[1]);
	return child;
}

static void expect_works(void)
{
	uint8_t *memory = map(MIB);
	int fd = device_open();

	check(device_write(fd, memory, MIB) == DEVICE_OK &&
	      pattern_ok(memory, MIB), "the device does not work afterwards");
	close(fd);
	munmap(memory, MIB);
}

static void case_exit(void)
{
	for (int round = 0; round < 5; round++) {
		pid_t child = busy_child(NULL);

		usleep(round * 2000);
		kill(child, SIGKILL);
		waitpid(child, NULL, 0);
		expect_works();
	}
}

static void case_exec(void)
{
	for (int round = 0; round < 3; round++) {
		int status;

		waitpid(busy_child("inherited"), &status, 0);
		check(!status, "the device reaches into the program that was "
		      "executed, or does not answer: status %#x", status);
		expect_works();
	}
}

static void case_close(void)
{
	for (int round = 0; round < ROUNDS; round++) {
		uint8_t *memory = map(4 * MIB);
		int fd = device_open();

		check(device_write(fd, memory, 64) == DEVICE_OK, "write");
		close(fd);
		munmap(memory, 4 * MIB);
	}
}

const struct test_case busy_cases[] = {
	{ "unmap", "munmap takes memory from the busy device", case_unmap },
	{ "remap", "mremap does", case_remap },
	{ "replace", "another page at the same address", case_replace },
	{ "protect", "mprotect stops the busy device's writes", case_protect },
	{ "reading", "munmap, mmap and mprotect stop the busy device's reads",
	  case_reading },
	{ "fork", "fork while the device writes", case_fork },
	{ "collapse", "huge pages made and split under the busy device",
	  case_collapse },
	{ "swap", "memory swapped out under the busy device", case_swap },
	{ "cgroup", "more memory than the process may have", case_cgroup },
	{ "exit", "killed while the device is at work", case_exit },
	{ "exec", "exec while the device is at work", case_exec },
	{ "reopen", "opened and closed many times", case_close },
	{ }
};
