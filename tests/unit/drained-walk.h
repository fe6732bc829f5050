/*
 * An invalidation while a translation request walks tables
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_UNIT_DRAINED_WALK_H
#define TESTS_UNIT_DRAINED_WALK_H

#include "qemu/drain.h"

/**
 * drained_walk_check: check that an invalidation waits for a walk
 *
 * The guest may reuse tables when an invalidation is complete.  A walk that
 * still used them could set flags in the new contents.
 *
 * @walks: the drain that the invalidation waits for
 * @request: sends a translation request, whose walk sets flags in fake_memory
 */
void drained_walk_check(Drain *walks, void (*request)(void));

#endif
