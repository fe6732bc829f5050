/*
 * Random numbers for tests, and numbers from the environment
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_UNIT_TEST_RANDOM_H
#define TESTS_UNIT_TEST_RANDOM_H

#include "qemu/cutils.h"

/**
 * env_number: get a number from the environment
 *
 * @name: name of the environment variable; the program exits if its value is
 *        not a number.
 * @otherwise: the value if the variable is not set.
 */
static inline uint64_t env_number(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    if (text && qemu_strtou64(text, NULL, 0, &otherwise)) {
        fprintf(stderr, "%s=%s: not a number\n", name,
                text);
        exit(1);
    }
    return otherwise;
}

/**
 * env_seed: get the seed of a random sequence
 *
 * @name: name of an environment variable that sets the seed; the seed is
 *        printed in that form, to stderr: in the TAP output, the version comes
 *        first.
 *
 * Returns: the value of the variable, or one derived from the time.
 */
static inline uint64_t env_seed(const char *name)
{
    uint64_t seed = env_number(name, g_get_real_time());

    fprintf(stderr, "# %s=%" PRIu64 "\n", name, seed);
    return seed;
}

/* splitmix64: short, and reproducible on all hosts */
static inline uint64_t random64(uint64_t *state)
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);

    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

#endif
