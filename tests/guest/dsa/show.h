/*
 * The program of scripts/demo-dsa: cost of a move by the DSA
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SHOW_H
#define SHOW_H

#include <stdbool.h>
#include <stddef.h>

/*
 * Move @size bytes, a multiple of 128 KiB, three times: with no page present,
 * with all pages present, and with half of them unmapped. Prints a line for
 * each; returns false if a move failed. The queue at @path must have "block on
 * fault", and a maximum transfer of at least @size.
 */
bool show(const char *path, size_t size);

#endif
