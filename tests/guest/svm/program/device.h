/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * The svm device as a program sees it.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Which device file every call below opens; main() sets it from --device. */
extern const char *device_path;

/* Results of an operation; less than zero is -errno. */
enum { DEVICE_OK = 0, DEVICE_ERROR = 1 };

/**
 * device_try_open: Bind this process's address space to the device.
 *
 * Returns a file descriptor, or -errno.
 */
int device_try_open(void);

/**
 * device_open: The same, but end the program with a sentence on failure.
 *
 * Waits while another process has the device open.
 */
int device_open(void);

/** device_explain: What a failure of device_try_open() means, and what helps. */
void device_explain(int error);

/** device_write: Have the device write its pattern to @size bytes at @addr. */
int device_write(int fd, volatile void *addr, size_t size);

/** device_read: Have it read them and compare their checksum with @crc. */
int device_read(int fd, const volatile void *addr, size_t size, uint8_t crc);

/** device_read_own: The same with the checksum that the processor sees. */
int device_read_own(int fd, const volatile void *addr, size_t size);

/** device_set_options: SVM_OPT_... for the operations that follow. */
void device_set_options(int fd, uint64_t options);

/** device_alloc_kmem: A copy of @size bytes in kernel memory, its address. */
void *device_alloc_kmem(int fd, const void *source, size_t size);

/** crc8: The device's checksum: polynomial 0xAB, LSB first, from 0xFF. */
uint8_t crc8(const void *data, size_t size);

/** pattern_at: Byte @offset of the pattern that the device writes. */
static inline uint8_t pattern_at(size_t offset)
{
	return offset % 251;
}

/** pattern_ok: Whether @size bytes are the pattern, from its start. */
bool pattern_ok(const void *data, size_t size);

/** filled: Whether @size bytes all have one value. */
bool filled(const void *data, size_t size, uint8_t value);

#endif
