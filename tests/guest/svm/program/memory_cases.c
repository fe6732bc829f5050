// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Cases for each kind of memory: what the device may access, and what not.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"
#include "device.h"
#include "memory.h"
#include "svm_ioctl.h"

static void expect_write(int fd, void *addr, size_t size)
{
	int result = device_write(fd, addr, size);

	check(result == DEVICE_OK, "write of %zu bytes at %p: result %d",
	      size, addr, result);
	check(pattern_ok(addr, size), "%zu bytes at %p are not the pattern",
	      size, addr);
}

static void expect_read(int fd, const void *addr, size_t size)
{
	uint8_t crc = crc8(addr, size);
	int result = device_read(fd, addr, size, crc);

	check(result == DEVICE_OK, "read of %zu bytes at %p: result %d",
	      size, addr, result);
	result = device_read(fd, addr, size, crc ^ 1);
	check(result == DEVICE_ERROR,
	      "read with a wrong checksum: result %d", result);
}

static void expect_error(int result, const char *what)
{
	check(result == DEVICE_ERROR, "%s: result %d, not an error", what,
	      result);
}

/*
 * Use the whole, an odd part in the middle, and a byte across a page boundary.
 */
static void use(void *memory, size_t size)
{
	int fd = device_open();
	uint8_t *bytes = memory;

	expect_write(fd, bytes, size);
	expect_read(fd, bytes, size);
	memset(bytes, 0x77, size);
	expect_read(fd, bytes + 1, size - 2);
	expect_write(fd, bytes + size / 3, size / 3 + 1);
	check(filled(bytes, size / 3, 0x77), "bytes before the buffer changed");
	check(filled(bytes + 2 * (size / 3) + 1, size - 2 * (size / 3) - 1,
		     0x77), "bytes behind the buffer changed");
	close(fd);
}

static void case_malloc(void)
{
	for (size_t size = 64; size <= 4 * MIB; size *= 16) {
		uint8_t *memory = malloc(size);

		use(memory, size);
		free(memory);
	}
}

static void case_stack(void)
{
	uint8_t memory[64 * KIB];

	use(memory, sizeof(memory));
}

static void case_mmap(void)
{
	use(map(8 * MIB), 8 * MIB);
}

static void case_shared(void)
{
	uint8_t *memory = mmap(NULL, MIB, PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int status;
	pid_t child;

	use(memory, MIB);
	memset(memory, 0, MIB);
	expect_write(device_open(), memory, MIB);
	child = fork();
	if (!child) {
		_exit(!pattern_ok(memory, MIB));
	}
	waitpid(child, &status, 0);
	check(!status, "another process does not see what the device wrote");
}

static void case_file(void)
{
	uint8_t *copy = malloc(MIB);
	int file;
	uint8_t *memory = map_file(MIB, MAP_SHARED, &file);

	use(memory, MIB);
	expect_write(device_open(), memory, MIB);
	check(pread(file, copy, MIB, 0) == (ssize_t)MIB &&
	      pattern_ok(copy, MIB), "the file does not hold the pattern");
}

static void case_file_private(void)
{
	uint8_t *copy = malloc(MIB);
	int file;
	uint8_t *memory = map_file(MIB, MAP_PRIVATE, &file);

	use(memory, MIB);
	check(pread(file, copy, MIB, 0) == (ssize_t)MIB && filled(copy, MIB, 0),
	      "a private mapping changed the file");
}

static void drop_caches(void)
{
	FILE *file = fopen("/proc/sys/vm/drop_caches", "w");

	if (file) {
		fputs("3\n", file);
		fclose(file);
	}
}

/* Writeback write-protects the page: the next write must be noticed. */
static void case_writeback(void)
{
	uint8_t *copy = malloc(MIB);
	int file, fd;
	uint8_t *memory;

	if (!getenv("SVM_FILES")) {
		skip("SVM_FILES names no directory on a disk");
	}
	memory = map_file(MIB, MAP_SHARED, &file);
	fd = device_open();
	for (int round = 0; round < 8; round++) {
		memset(memory, 0x40 + round, MIB);
		check(!msync(memory, MIB, MS_SYNC), "msync: %s",
		      strerror(errno));
		check(device_write(fd, memory, MIB) == DEVICE_OK, "write");
		check(!msync(memory, MIB, MS_SYNC), "msync: %s",
		      strerror(errno));
		madvise(memory, MIB, MADV_DONTNEED);
		drop_caches();
		check(pread(file, copy, MIB, 0) == (ssize_t)MIB &&
		      pattern_ok(copy, MIB),
		      "the device's write is lost after writing back");
	}
}

static void case_untouched(void)
{
	uint8_t *memory = map(4 * MIB);
	int fd = device_open();
	uint8_t *zeros = calloc(1, MIB);
	uint8_t crc = crc8(zeros, MIB);

	check(device_read(fd, memory, MIB, crc) == DEVICE_OK,
	      "untouched memory does not read as zeros");
	/* Reads have mapped the zero page, which must not be written to. */
	expect_write(fd, memory, 2 * MIB);
	check(device_read(fd, memory + 2 * MIB, MIB, crc) == DEVICE_OK,
	      "the zero page was written to");
	check(filled(memory + 2 * MIB, 2 * MIB, 0),
	      "the zero page was written to");
}

/* The middle of the memory is the boundary of two pages, if there are two. */
static void use_huge(size_t page, size_t count)
{
	size_t size = page * count;
	uint8_t *memory = map_huge(size, page), *middle = memory + size / 2;
	int fd;

	if (!memory) {
		skip("the kernel has no free pages of %zu MiB", page / MIB);
	}
	fd = device_open();
	expect_write(fd, middle - MIB, 2 * MIB);
	expect_read(fd, middle - MIB, 2 * MIB);
	expect_write(fd, memory, 12345);
	expect_write(fd, memory + size - 5, 5);
	check(device_read_own(fd, middle + 4097, MIB / 2) == DEVICE_OK,
	      "read of a part");
	close(fd);
	munmap(memory, size);
}

static void case_huge_2m(void)
{
	use_huge(2 * MIB, 4);
}

static void case_huge_1g(void)
{
	use_huge(GIB, 1);
}

static void case_transparent(void)
{
	uint8_t *area = map(16 * MIB);
	uint8_t *memory = (uint8_t *)(((uintptr_t)area + 2 * MIB) &
				      ~(2 * MIB - 1));
	int fd = device_open();

	madvise(memory, 8 * MIB, MADV_HUGEPAGE);
	expect_write(fd, memory, 8 * MIB);
	/* A hole splits the huge page that contains it. */
	check(!madvise(memory + 3 * MIB, 16 * KIB, MADV_DONTNEED),
	      "madvise: %s", strerror(errno));
	expect_read(fd, memory, 8 * MIB);
	check(filled(memory + 3 * MIB, 16 * KIB, 0), "the hole is not empty");
	expect_write(fd, memory, 8 * MIB);
}

static void case_high(void)
{
	/* Linux only returns addresses above 47 bits if the hint is one. */
	uint8_t *memory = mmap((void *)(1ul << 52), MIB,
			       PROT_READ | PROT_WRITE,
			       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	check(memory != MAP_FAILED, "mmap: %s", strerror(errno));
	if ((uintptr_t)memory >> 47 == 0) {
		skip("this processor has four levels of page tables");
	}
	use(memory, MIB);
}

static void case_sizes(void)
{
	uint8_t *memory = map(MIB);
	int fd = device_open();

	srand(1);
	for (int round = 0; round < 300; round++) {
		size_t offset = rand() % (MIB / 2);
		size_t size = 1 + rand() % (round & 1 ? 512 : MIB / 2);

		memory[offset + size] = 0xee;
		expect_write(fd, memory + offset, size);
		check(memory[offset + size] == 0xee, "a byte too much");
		check(device_read_own(fd, memory + offset, size) == DEVICE_OK,
		      "read of %zu bytes at %zu", size, offset);
	}
}

static void case_nothing(void)
{
	uint8_t *memory = map(PAGE);
	int fd = device_open(), result;

	memset(memory, 0x55, PAGE);
	result = device_write(fd, memory, 0);
	check(result == DEVICE_OK || result == DEVICE_ERROR,
	      "size 0: result %d", result);
	check(filled(memory, PAGE, 0x55), "size 0 changed memory");
	expect_error(device_write(fd, (void *)-PAGE, 2 * PAGE),
		     "a buffer that wraps");
	expect_write(fd, memory, PAGE);
}

static void case_beyond(void)
{
	uint8_t *memory = map(4 * PAGE);
	int fd = device_open();

	munmap(memory + 2 * PAGE, 2 * PAGE);
	expect_error(device_read(fd, memory, 3 * PAGE, 0), "read beyond");
	expect_error(device_write(fd, memory, 2 * PAGE + 1), "write beyond");
	expect_error(device_write(fd, memory + 2 * PAGE, 1), "write outside");
	expect_error(device_write(fd, NULL, PAGE), "write to NULL");
	expect_error(device_write(fd, (void *)(1ul << 62), PAGE),
		     "write to an address that is none");
	/* The device works after an error. */
	expect_write(fd, memory, 2 * PAGE);
	expect_read(fd, memory, 2 * PAGE);
}

static void case_read_only(void)
{
	uint8_t *memory = map(4 * PAGE);
	int fd = device_open();

	memset(memory, 0x33, 4 * PAGE);
	mprotect(memory + PAGE, PAGE, PROT_READ);
	check(device_read_own(fd, memory, 4 * PAGE) == DEVICE_OK, "read");
	expect_error(device_write(fd, memory + PAGE, PAGE), "write");
	check(filled(memory + PAGE, PAGE, 0x33), "read-only memory changed");
	expect_error(device_write(fd, memory, 4 * PAGE), "write across");
	check(filled(memory + PAGE, PAGE, 0x33), "read-only memory changed");
	mprotect(memory + PAGE, PAGE, PROT_READ | PROT_WRITE);
	expect_write(fd, memory, 4 * PAGE);
	mprotect(memory + PAGE, PAGE, PROT_NONE);
	expect_error(device_read(fd, memory, 4 * PAGE, 0),
		     "read without any right");
}

static void case_code(void)
{
	int fd = device_open();
	const uint8_t *code = (const uint8_t *)&case_code;

	check(device_read_own(fd, code, 128) == DEVICE_OK, "read of code");
	expect_error(device_write(fd, (void *)code, 128), "write to code");
}

static void case_kernel(void)
{
	uint8_t secret[512];
	int fd = device_open();
	uint8_t *kernel;

	memset(secret, 0xc5, sizeof(secret));
	kernel = device_alloc_kmem(fd, secret, sizeof(secret));
	check(kernel, "no kernel memory: %s", strerror(errno));
	for (int options = 0; options <= SVM_OPT_PRIVILEGED; options++) {
		device_set_options(fd, options);
		expect_error(device_read(fd, kernel, sizeof(secret),
					 crc8(secret, sizeof(secret))),
			     "read of kernel memory");
		expect_error(device_write(fd, kernel, sizeof(secret)),
			     "write to kernel memory");
	}
}

static void case_interrupts(void)
{
	/* VT-d 3.14: with a PASID, this range is ordinary memory. */
	uint8_t *memory = map_at((void *)0xfee00000ul, 2 * MIB);

	use(memory, 2 * MIB);
}

static void case_exclusive(void)
{
	int fd = device_open();

	check(device_try_open() == -EBUSY, "two processes can open the device");
	close(fd);
	fd = device_open();
	close(fd);
}

static void case_two_processes(void)
{
	uint8_t *memory = map_at((void *)0x700000000000ul, MIB);
	int to_child[2], from_child[2], status;
	char turn = 't';
	pid_t child;

	if (pipe(to_child) || pipe(from_child)) {
		fail("pipe: %s", strerror(errno));
	}
	child = fork();
	for (int round = 0; round < 20; round++) {
		size_t size = MIB - round * 1000 - !child;
		int fd;

		/* The parent starts. */
		if (!child || round) {
			check(read(child ? from_child[0] : to_child[0], &turn,
				   1) == 1, "the other process ended");
		}
		memset(memory, child ? 0xaa : 0xbb, MIB);
		fd = device_open();
		expect_write(fd, memory, size);
		expect_read(fd, memory, size);
		close(fd);
		check(filled(memory + size, MIB - size, child ? 0xaa : 0xbb),
		      "the other process's buffer was meant");
		check(write(child ? to_child[1] : from_child[1], &turn, 1) == 1,
		      "turn");
	}
	if (!child) {
		_exit(0);
	}
	waitpid(child, &status, 0);
	check(!status, "the other process's memory is wrong");
}

static void case_cow(void)
{
	uint8_t *memory = map(MIB);
	int to_child[2], status;
	int fd = device_open();
	char go = 'g';
	pid_t child;

	memset(memory, 0x21, MIB);
	check(device_read_own(fd, memory, MIB) == DEVICE_OK, "read");
	expect_write(fd, memory, MIB);
	memset(memory, 0x21, MIB);
	if (pipe(to_child) || (child = fork()) < 0) {
		fail("fork: %s", strerror(errno));
	}
	if (!child) {
		_exit(read(to_child[0], &go, 1) != 1 ||
		      !filled(memory, MIB, 0x21));
	}
	expect_write(fd, memory, MIB);
	check(write(to_child[1], &go, 1) == 1, "pipe");
	waitpid(child, &status, 0);
	check(!status, "the device wrote through to a child's copy");
}

const struct test_case memory_cases[] = {
	{ "malloc", "memory from malloc, 64 bytes to 4 MiB", case_malloc },
	{ "stack", "variables on the stack", case_stack },
	{ "mmap", "private anonymous mappings", case_mmap },
	{ "shared", "shared memory, seen by another process", case_shared },
	{ "file", "a mapped file holds what the device wrote", case_file },
	{ "file-private", "a private mapping of a file leaves the file alone",
	  case_file_private },
	{ "writeback", "pages written back to disk are dirtied again",
	  case_writeback },
	{ "untouched", "untouched memory reads as zeros",
	  case_untouched },
	{ "huge-2m", "huge pages of 2 MiB", case_huge_2m },
	{ "huge-1g", "huge pages of 1 GiB", case_huge_1g },
	{ "transparent", "transparent huge pages, whole and split",
	  case_transparent },
	{ "high", "addresses of more than 47 bits", case_high },
	{ "sizes", "any size at any alignment", case_sizes },
	{ "nothing", "no bytes, and a buffer that wraps", case_nothing },
	{ "beyond", "beyond a mapping is an error", case_beyond },
	{ "read-only", "read-only memory is not written", case_read_only },
	{ "code", "the program's own code can only be read", case_code },
	{ "kernel", "kernel memory is out of reach", case_kernel },
	{ "interrupts", "memory at 0xfee00000 is memory", case_interrupts },
	{ "exclusive", "one process at a time", case_exclusive },
	{ "turns", "two processes in turn with the same addresses",
	  case_two_processes },
	{ "cow", "copy on write keeps a child's copy", case_cow },
	{ }
};
