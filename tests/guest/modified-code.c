/*
 * Code that one processor modifies while another executes it, under Linux
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Cross-modifying code (Intel SDM volume 3, section 9.1.3): a processor that
 * executes a serializing instruction after a write to code is complete executes
 * the new code.  The function of this program is the only code of its page, so
 * that the emulator protects the page against writes and unprotects it again
 * all the time.
 *
 * TCG translates the old code if it reads the code between the lookup and the
 * store of a write on another thread.  The next write corrects that, therefore
 * a result counts as stale if it is older than the last write but one.
 *
 * Needs two processors.  The argument is the number of writes.
 */

#include <cpuid.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

/* The function: mov $constant, %eax; ret. Its constant is aligned. */
#define OFFSET_FUNCTION 3
#define OFFSET_CONSTANT (OFFSET_FUNCTION + 1)
#define OFFSET_RETURN   (OFFSET_CONSTANT + 4)
#define OPCODE_MOV      0xb8
#define OPCODE_RET      0xc3

#define LONGEST_PAUSE 512

static uint32_t writes;
static _Atomic uint32_t *constant;
static _Atomic uint32_t complete;

static void *write_code(void *opaque)
{
    for (uint32_t value = 1; value <= writes; value++) {
        atomic_store_explicit(constant, value, memory_order_relaxed);
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

int main(int argc, char **argv)
{
    uint8_t *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC,
                         MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    uint32_t (*function)(void) = (void *)(page + OFFSET_FUNCTION);
    unsigned long calls = 0, stale = 0;
    uint32_t seen = 0, returned = 0;
    pthread_t writer;

    if (page == MAP_FAILED) {
        perror("mmap");
        return EXIT_FAILURE;
    }
    writes = argc > 1 ? strtoul(argv[1], NULL, 0) : 1000000;
    page[OFFSET_FUNCTION] = OPCODE_MOV;
    page[OFFSET_RETURN] = OPCODE_RET;
    constant = (_Atomic uint32_t *)(page + OFFSET_CONSTANT);
    if (pthread_create(&writer, NULL, write_code, NULL)) {
        perror("pthread_create");
        return EXIT_FAILURE;
    }
    while (seen < writes) {
        seen = atomic_load_explicit(&complete, memory_order_acquire);
        serialize();
        returned = function();
        if (returned + 1 < seen && !stale++) {
            printf("write %u was complete, but the function returned %u\n",
                   seen, returned);
        }
        calls++;
    }
    pthread_join(writer, NULL);
    printf("calls=%lu\nwrites=%u\nstale=%lu\n", calls, writes, stale);
    return EXIT_SUCCESS;
}
