/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Access of a program to the svm device.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#ifndef DEVICE_H
#define DEVICE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Device file that all functions open; main() sets it from --device. */
extern const char *device_path;

/* Results of an operation; negative results are -errno. */
enum { DEVICE_OK = 0, DEVICE_ERROR = 1 };

/**
 * device_try_open: Bind this process's address space to the device.
 *
 * Returns a file descriptor, or -errno.
 */
int device_try_open(void);

/**
 * device_open: The same, but exit the program with a message on failure.
 *
 * Waits while another process has the device open.
 */
int device_open(void);

/** device_explain: Explain a failure of device_try_open(), and the remedy. */
void device_explain(int error);

/** device_write: Let the device write its pattern to @size bytes at @addr. */
int device_write(int fd, volatile void *addr, size_t size);

/** device_read: Let it read them, and compare their checksum with @crc. */
int device_read(int fd, const volatile void *addr, size_t size, uint8_t crc);

/** device_read_own: The same with the checksum that the processor computes. */
int device_read_own(int fd, const volatile void *addr, size_t size);

/** device_set_options: Set SVM_OPT_... for the next operations. */
void device_set_options(int fd, uint64_t options);

/** device_alloc_kmem: Copy @size bytes to kernel memory; returns an address. */
void *device_alloc_kmem(int fd, const void *source, size_t size);

/** crc8: Returns the checksum: polynomial 0xAB, LSB first, from 0xFF. */
uint8_t crc8(const void *data, size_t size);

/** pattern_at: Returns byte @offset of the pattern that the device writes. */
static inline uint8_t pattern_at(size_t offset)
{
	return offset % 251;
}

/** pattern_ok: Returns whether @size bytes are the pattern, from its start. */
bool pattern_ok(const void *data, size_t size);

/** filled: Returns whether all @size bytes have the same value. */
bool filled(const void *data, size_t size, uint8_t value);

#endif
