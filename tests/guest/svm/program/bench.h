/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * Benchmarks of the svm device, from the point of view of a program.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */
#ifndef BENCH_H
#define BENCH_H

#include <stddef.h>

/**
 * bench: Run the benchmarks, and print lines of "bench NAME VALUE UNIT".
 *
 * @size: bytes for throughput, rounded up to a whole page of each size.
 */
int bench(size_t size);

#endif
