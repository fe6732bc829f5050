/*
 * Time, and memory that is missing at first
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MEASURE_H
#define MEASURE_H

#include <stddef.h>
#include <stdint.h>

/* A time in seconds, which only increases */
double now(void);

/* Map small pages, for a large number of faults; exits if that fails */
uint8_t *map_small_pages(size_t size);

#endif
