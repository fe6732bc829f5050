/*
 * The program of scripts/demo-dsa: what a move by the DSA takes
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
 * Move @size bytes, a multiple of 128 KiB, three times: where no page is there,
 * where all are there, and where half of them were taken back.  Prints a line
 * for each; false if a move failed.  The queue at @path must be one with "block
 * on fault" whose transfers may be as large.
 */
bool show(const char *path, size_t size);

#endif
