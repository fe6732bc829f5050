/*
 * The random sequence of the tests of page table walkers
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_UNIT_WALK_RANDOM_H
#define TESTS_UNIT_WALK_RANDOM_H

#include "test-random.h"

/* The state of the sequence, which the test sets */
static uint64_t seed;

static inline uint64_t rnd(void)
{
    return random64(&seed);
}

static inline unsigned below(unsigned n)
{
    return rnd() % n;
}

static inline bool one_in(unsigned n)
{
    return below(n) == 0;
}

#endif
