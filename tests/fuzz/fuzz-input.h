/*
 * Read the input of a fuzzer as a program
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef TESTS_FUZZ_FUZZ_INPUT_H
#define TESTS_FUZZ_FUZZ_INPUT_H

/**
 * struct FuzzInput: the unread part of the input
 */
typedef struct FuzzInput {
    const uint8_t *data;
    size_t size;
} FuzzInput;

/**
 * fuzz_take: read a number, little endian
 *
 * @in: the input; bytes beyond its end read as 0
 * @bytes: its size, 1 to 8
 */
static inline uint64_t fuzz_take(FuzzInput *in, unsigned bytes)
{
    uint64_t value = 0;

    for (unsigned i = 0; i < bytes && in->size; i++) {
        value |= (uint64_t)*in->data << (8 * i);
        in->data++;
        in->size--;
    }
    return value;
}

/* Extracts a bit of a number, for a decision */
static inline bool fuzz_flag(uint64_t number, unsigned bit)
{
    return number >> bit & 1;
}

/* The fuzzer, defined by each program */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif
