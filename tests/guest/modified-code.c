/*
 * Code that one processor modifies while another executes it, under Linux
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Cross-modifying code (Intel SDM volume 3, section 9.1.3): a processor that
 * executes a serializing instruction after a write to code is complete executes
 * the new code.  The next write can begin meanwhile: the processor then executes
 * either constant, because it reads the aligned four bytes at once.
 *
 * usage: modified-code alone|shared mov|xchg WRITES
 *
 * shared: The page has more code, which is not modified.  The emulator protects
 * the page against writes all the time, as it does with the code of a kernel.
 *
 * alone: The modified function is the only code of its page.  The emulator
 * protects the page against writes and unprotects it again all the time.
 *
 * The write is a MOV or an XCHG instruction.  TCG can execute MOV without a call
 * into the emulator.  If the page is unprotected at that time, TCG translates
 * the old code if it reads it before the store.  The next write corrects that,
 * therefore a result of "alone mov" is stale if it is older than the last write
 * but one.
 *
 * Needs two processors.
 */

#include <cpuid.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

/* The function: mov $constant, %eax; ret. Its constant is aligned. */
#define OFFSET_FUNCTION 3
#define OFFSET_CONSTANT (OFFSET_FUNCTION + 1)
#define OFFSET_RETURN   (OFFSET_CONSTANT + 4)
#define OFFSET_OTHER    2048
#define OPCODE_MOV      0xb8
#define OPCODE_RET      0xc3

#define LONGEST_PAUSE 512

static bool shared;
static bool use_xchg;
static uint32_t writes;
static _Atomic uint32_t *constant;
static _Atomic uint32_t complete;

static void *write_code(void *opaque)
{
    for (uint32_t value = 1; value <= writes; value++) {
        if (use_xchg) {
            atomic_exchange_explicit(constant, value, memory_order_relaxed);
        } else {
            atomic_store_explicit(constant, value, memory_order_relaxed);
        }
        atomic_thread_fence(memory_order_seq_cst);
        atomic_store_explicit(&complete, value, memory_order_release);
        for (volatile int pause = rand() % LONGEST_PAUSE; pause; pause--) {
            /* The time between two writes varies */
        }
    }
    return NULL;
}

static void serialize(void)
{
    unsigned eax, ebx, ecx, edx;

    __cpuid(0, eax, ebx, ecx, edx);
}

static bool parse_arguments(int argc, char **argv)
{
    if (argc != 4) {
        return false;
    }
    shared = !strcmp(argv[1], "shared");
    use_xchg = !strcmp(argv[2], "xchg");
    writes = strtoul(argv[3], NULL, 0);
    return (shared || !strcmp(argv[1], "alone")) &&
           (use_xchg || !strcmp(argv[2], "mov")) && writes;
}

int main(int argc, char **argv)
{
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t (*function)(void) = (void *)(page + OFFSET_FUNCTION);
    void (*other)(void) = (void *)(page + OFFSET_OTHER);
    unsigned long calls = 0, stale = 0, tolerance;
    uint32_t seen = 0, returned = 0;
    pthread_t writer;

    if (!parse_arguments(argc, argv)) {
        fprintf(stderr, "usage: %s alone|shared mov|xchg WRITES\n", argv[0]);
        return EXIT_FAILURE;
    }
    if (page == MAP_FAILED) {
        perror("mmap");
        return EXIT_FAILURE;
    }
    page[OFFSET_FUNCTION] = OPCODE_MOV;
    page[OFFSET_RETURN] = OPCODE_RET;
    page[OFFSET_OTHER] = OPCODE_RET;
    constant = (_Atomic uint32_t *)(page + OFFSET_CONSTANT);
    tolerance = !shared && !use_xchg;
    if (shared) {
        other();
    }
    if (pthread_create(&writer, NULL, write_code, NULL)) {
        perror("pthread_create");
        return EXIT_FAILURE;
    }
    while (seen < writes) {
        seen = atomic_load_explicit(&complete, memory_order_acquire);
        serialize();
        returned = function();
        if (returned + tolerance < seen && !stale++) {
            printf("write %u was complete, but the function returned %u\n",
                   seen, returned);
        }
        calls++;
        if (shared) {
            other();
        }
    }
    pthread_join(writer, NULL);
    printf("calls=%lu\nwrites=%u\nstale=%lu\n", calls, writes, stale);
    return EXIT_SUCCESS;
}
