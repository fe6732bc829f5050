/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * ioctls of /dev/svm, the character device of the svm demo device.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * Opening /dev/svm binds the address space of the process to the device,
 * closing it unbinds it. Only one file can be open: another open fails with
 * EBUSY.
 */
#ifndef SVM_IOCTL_H
#define SVM_IOCTL_H

#include <linux/ioctl.h>
#include <linux/types.h>

struct svm_kmem {
	void *src;		/* source of the copy */
	size_t size;		/* bytes, up to SVM_KMEM_MAX */
	void *res;		/* out: the kernel address of the copy */
};

#define SVM_KMEM_MAX	(1 << 20)

#define SVM_SET_ADDR	_IOW('I', 0x40, __u64 *)
#define SVM_SET_CRC	_IOW('I', 0x41, __u64 *)
#define SVM_SET_SIZE	_IOW('I', 0x42, __u64 *)
/* Both return the result register of the device: 0 is success. */
#define SVM_START_WRITE	_IO('I', 0x43)
#define SVM_START_READ	_IO('I', 0x44)
#define SVM_ALLOC_KMEM	_IOW('I', 0x45, __u64 *)
#define SVM_SET_OPT	_IOW('I', 0x46, __u64 *)

#define SVM_OPT_PRIVILEGED	1

#endif
