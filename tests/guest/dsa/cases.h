/*
 * Rules for programs that share their memory with a DSA
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef CASES_H
#define CASES_H

#include <stdbool.h>

/* Print "ok" or "not ok" for each case; returns false if one failed */
bool cases_queue(const char *path);

/*
 * The same for a queue without page requests, of a device with an event log:
 * Linux writes the completion records that the device cannot write.
 */
bool cases_log(const char *path);

/* Run one process per queue in @paths, all at the same time */
bool cases_processes(char **paths, int count);

#endif
