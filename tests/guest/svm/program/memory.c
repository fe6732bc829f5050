// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * The kinds of memory that a program can pass to a device.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include "memory.h"

static void *must(void *memory)
{
	if (memory == MAP_FAILED) {
		perror("svm: mmap");
		exit(2);
	}
	return memory;
}

void *map(size_t size)
{
	return must(mmap(NULL, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0));
}

void *map_at(void *addr, size_t size)
{
	return must(mmap(addr, size, PROT_READ | PROT_WRITE,
			 MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED_NOREPLACE,
			 -1, 0));
}

/* Request more pages than are free; other programs may use some of those. */
static void reserve_huge(size_t size, size_t page)
{
	size_t there = 0;
	char path[96];
	FILE *file;

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-%zukB/nr_hugepages",
		 page / KIB);
	file = fopen(path, "r+");
	if (!file) {
		return;
	}
	if (fscanf(file, "%zu", &there) == 1) {
		rewind(file);
		fprintf(file, "%zu\n", there + size / page);
	}
	fclose(file);
}

void *map_huge(size_t size, size_t page)
{
	int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
		    (__builtin_ctzl(page) << MAP_HUGE_SHIFT);
	void *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);

	if (memory == MAP_FAILED) {
		reserve_huge(size, page);
		memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, -1, 0);
	}
	return memory == MAP_FAILED ? NULL : memory;
}

void *map_file(size_t size, int flags, int *file)
{
	const char *directory = getenv("SVM_FILES");
	int fd = open(directory ? directory : "/tmp", O_TMPFILE | O_RDWR, 0600);

	if (fd < 0 || ftruncate(fd, size)) {
		perror("svm: a file for the test");
		exit(2);
	}
	*file = fd;
	return must(mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0));
}

bool page_is_swapped(const volatile void *addr)
{
	int fd = open("/proc/self/pagemap", O_RDONLY);
	uint64_t entry = 0;
	ssize_t got = pread(fd, &entry, sizeof(entry),
			    (uintptr_t)addr / PAGE * sizeof(entry));

	close(fd);
	/* Documentation/admin-guide/mm/pagemap.rst: bit 62, page swapped. */
	return got == sizeof(entry) && entry >> 62 & 1;
}

bool have_swap(void)
{
	struct sysinfo info;

	return !sysinfo(&info) && info.freeswap;
}
