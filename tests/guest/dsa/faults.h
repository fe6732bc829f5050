/*
 * Cost of missing pages, with and without page requests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef FAULTS_H
#define FAULTS_H

#include <stdbool.h>

/*
 * Move memory in buffers of several sizes, with all pages missing and with all
 * present. Prints a line for each; returns false if a move failed. Without
 * "block on fault" the program touches the missing pages, one after the other.
 */
bool faults(const char *path);

#endif
