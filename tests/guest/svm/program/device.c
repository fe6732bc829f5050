// SPDX-License-Identifier: GPL-2.0-or-later
/*
 * Access of a program to the svm device.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "device.h"
#include "svm_ioctl.h"

const char *device_path = "/dev/svm";

int device_try_open(void)
{
	int fd = open(device_path, O_RDWR);

	return fd < 0 ? -errno : fd;
}

void device_explain(int error)
{
	struct utsname kernel = { .release = "?" };

	uname(&kernel);
	fprintf(stderr, "svm: %s: %s\n", device_path, strerror(error));
	switch (error) {
	case EOPNOTSUPP:
		fprintf(stderr,
"This kernel, Linux %s, refuses to share an address space with a device: the\n"
"stable kernels of 2026 switched that off on x86 (CVE-2025-71089).  Boot a\n"
"kernel that has it again, such as the one of Debian's trixie-backports.\n",
			kernel.release);
		break;
	case ENODEV:
	case EINVAL:
	case ENOSPC:
		fprintf(stderr,
"The kernel does not share address spaces with this device.  The IOMMU has to\n"
"be able to (-device intel-iommu,svm=on or -device amd-iommu,svm=on, before the\n"
"device), the kernel has to use it (Intel: intel_iommu=on);\n"
"\"dmesg | grep -e DMAR -e AMD-Vi\" tells more.\n");
		break;
	case ENOENT:
		fprintf(stderr,
"There is no device, or no driver: QEMU needs -device svm, and the guest\n"
"\"modprobe svm\".\n");
		break;
	case EBUSY:
		fprintf(stderr, "Another program has the device open.\n");
		break;
	case EACCES:
		fprintf(stderr, "Only root may open it.\n");
		break;
	}
}

int device_open(void)
{
	int fd;

	while ((fd = device_try_open()) == -EBUSY) {
		usleep(1000);
	}
	if (fd < 0) {
		device_explain(-fd);
		exit(2);
	}
	return fd;
}

static void set(int fd, unsigned long request, uint64_t value)
{
	if (ioctl(fd, request, &value) < 0 && errno != ENODEV) {
		perror("svm: ioctl");
		exit(2);
	}
}

static int run(int fd, unsigned long request)
{
	int result = ioctl(fd, request);

	return result < 0 ? -errno : result;
}

int device_write(int fd, volatile void *addr, size_t size)
{
	set(fd, SVM_SET_ADDR, (uintptr_t)addr);
	set(fd, SVM_SET_SIZE, size);
	return run(fd, SVM_START_WRITE);
}

int device_read(int fd, const volatile void *addr, size_t size, uint8_t crc)
{
	set(fd, SVM_SET_ADDR, (uintptr_t)addr);
	set(fd, SVM_SET_SIZE, size);
	set(fd, SVM_SET_CRC, crc);
	return run(fd, SVM_START_READ);
}

int device_read_own(int fd, const volatile void *addr, size_t size)
{
	return device_read(fd, addr, size, crc8((const void *)addr, size));
}

void device_set_options(int fd, uint64_t options)
{
	set(fd, SVM_SET_OPT, options);
}

void *device_alloc_kmem(int fd, const void *source, size_t size)
{
	struct svm_kmem kmem = { .src = (void *)source, .size = size };

	return ioctl(fd, SVM_ALLOC_KMEM, &kmem) < 0 ? NULL : kmem.res;
}

uint8_t crc8(const void *data, size_t size)
{
	static uint8_t table[256];
	const uint8_t *bytes = data;
	uint8_t crc = 0xff;

	if (!table[1]) {
		for (int i = 0; i < 256; i++) {
			uint8_t value = i;

			for (int bit = 0; bit < 8; bit++) {
				value = value >> 1 ^ (value & 1 ? 0xab : 0);
			}
			table[i] = value;
		}
	}
	for (size_t i = 0; i < size; i++) {
		crc = table[crc ^ bytes[i]];
	}
	return crc;
}

bool pattern_ok(const void *data, size_t size)
{
	const uint8_t *bytes = data;

	/* Check the first period by value, and the rest against the first. */
	for (size_t i = 0; i < size && i < 251; i++) {
		if (bytes[i] != pattern_at(i)) {
			return false;
		}
	}
	return size <= 251 || !memcmp(bytes, bytes + 251, size - 251);
}

bool filled(const void *data, size_t size, uint8_t value)
{
	const uint8_t *bytes = data;

	return !size || (bytes[0] == value &&
			 !memcmp(bytes, bytes + 1, size - 1));
}
