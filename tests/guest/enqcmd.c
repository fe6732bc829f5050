/*
 * MOVDIR64B, ENQCMD and the PASID of a process, under Linux
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Prints "ok" or "not ok" for each case. Needs root, two processors, a
 * direct-store-testdev, and the msr module with msr.allow_writes=on: the
 * kernel gives a PASID to processes that use a device with shared virtual
 * memory; without such a device the program writes IA32_PASID itself.
 */

#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <immintrin.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "hw/misc/direct-store-testdev.h"

#define MSR_IA32_PASID 0xd93
#define PASID_VALID    (1u << 31)

/* Number of context switches, and of checked stores */
#define ROUNDS 300
#define STORES 1000

static bool failed;
static volatile uint8_t *bar;

static void check(bool good, const char *name)
{
    failed |= !good;
    printf("%sok %s\n", good ? "" : "not ", name);
    fflush(stdout);
}

/* Faults */

static sigjmp_buf after_fault;

static void on_fault(int sig)
{
    siglongjmp(after_fault, sig);
}

/* Returns the signal that an instruction raises, or 0 */
#define TRY(statement) ({ \
    int sig_ = sigsetjmp(after_fault, 1); \
    if (!sig_) { \
        statement; \
    } \
    sig_; })

/* A command: 64 bytes, PASID and privilege are zero */
static uint8_t command[64] __attribute__((aligned(64)));
static uint8_t memory[192] __attribute__((aligned(64)));

static uint32_t reg(uint32_t offset)
{
    return *(volatile uint32_t *)(bar + offset);
}

static void *portal(uint32_t offset)
{
    return (void *)(bar + DST_PORTAL + offset);
}

static void test_stores(void)
{
    uint32_t before = reg(DST_DIRECT_STORES);

    _movdir64b(memory + 64, command);
    check(!memcmp(memory + 64, command, 64) && !memory[63] && !memory[128],
          "MOVDIR64B to memory");
    check(TRY(_movdir64b(memory + 8, command)) == SIGSEGV,
          "MOVDIR64B to an unaligned address");
    _directstoreu_u64(memory, 0x1122334455667788);
    check(*(uint64_t *)memory == 0x1122334455667788, "MOVDIRI to memory");
    _movdir64b(portal(0x40), command);
    check(reg(DST_DIRECT_STORES) == before + 1 && reg(DST_WRITES) == 0,
          "MOVDIR64B to a device is one store");
}

static void test_no_pasid(void)
{
    int retry;

    check(TRY(retry = _enqcmd(portal(0), command)) == SIGSEGV,
          "ENQCMD of a process without PASID");
    check(TRY(retry = _enqcmds(portal(0), command)) == SIGSEGV,
          "ENQCMDS of a process");
    (void)retry;
}

/* Another processor never sees a part of a MOVDIR64B to memory */

static uint64_t shared[8] __attribute__((aligned(64)));
static volatile bool stop;

static void *store_numbers(void *unused)
{
    uint64_t numbers[8];

    for (uint64_t n = 1; !stop; n++) {
        for (int i = 0; i < 8; i++) {
            numbers[i] = n;
        }
        _movdir64b(shared, numbers);
    }
    return NULL;
}

static void test_atomic(void)
{
    volatile uint64_t *numbers = shared;
    unsigned torn = 0, seen = 0;
    uint64_t last = 0;
    pthread_t writer;

    if (pthread_create(&writer, NULL, store_numbers, NULL)) {
        check(false, "a second thread");
        return;
    }
    while (seen < STORES) {
        uint64_t first = numbers[0], end = numbers[7], again = numbers[0];

        torn += first == again && end != first;
        seen += first != last;
        last = first;
    }
    stop = true;
    pthread_join(writer, NULL);
    check(!torn, "MOVDIR64B to memory is atomic");
}

/* The PASID state of processes that share a processor */

static uint64_t read_pasid(int msr)
{
    uint64_t val = 0;

    if (pread(msr, &val, sizeof(val), MSR_IA32_PASID) != sizeof(val)) {
        perror("IA32_PASID");
        exit(2);
    }
    return val;
}

/*
 * Write the MSR of this processor. The value is lost if the kernel has not
 * loaded the state of this process at that time.
 */
static bool write_pasid(int msr, uint64_t val)
{
    for (int i = 0; i < 100; i++) {
        if (pwrite(msr, &val, sizeof(val), MSR_IA32_PASID) != sizeof(val)) {
            perror("IA32_PASID");
            exit(2);
        }
        sched_yield();
        if (read_pasid(msr) == val) {
            return true;
        }
    }
    return false;
}

static void pin(int cpu)
{
    cpu_set_t set;

    CPU_ZERO(&set);
    CPU_SET(cpu, &set);
    sched_setaffinity(0, sizeof(set), &set);
}

/* Execute ENQCMD in one process; returns whether it had the expected effect */
static bool enqueue(uint32_t pasid, uint32_t offset, int *seen)
{
    uint32_t before, data, after;
    int retry = 0;

    if (!pasid) {
        ++*seen;
        return TRY(retry = _enqcmd(portal(offset), command)) == SIGSEGV;
    }
    retry = _enqcmd(portal(offset), command);
    /* Other processes may run in between, but use other offsets */
    before = reg(DST_LAST_OFFSET);
    data = reg(DST_DATA);
    after = reg(DST_LAST_OFFSET);
    if (before != offset || after != offset) {
        return !retry;
    }
    ++*seen;
    return !retry && data == pasid;
}

/*
 * Run with a PASID and values in vector registers; returns 0 if they are kept
 */
static int keep_state(uint32_t pasid, uint32_t offset)
{
    uint64_t expected[4] = { pasid, ~pasid, pasid * 3, pasid * 5 }, ymm[4];
    int seen = 0;

    for (int i = 0; i < ROUNDS; i++) {
        asm volatile("vmovdqu %0, %%ymm13" : : "m"(expected) : "xmm13");
        sched_yield();
        asm volatile("vmovdqu %%ymm13, %0" : "=m"(ymm));
        if (memcmp(ymm, expected, sizeof(ymm))) {
            return 11;
        }
        if (!enqueue(pasid, offset, &seen)) {
            return 12;
        }
    }
    return seen > ROUNDS / 2 ? 0 : 13;
}

static void test_context_switch(int msr)
{
    static const uint32_t pasids[] = { 0x111, 0x222, 0, 0xfffff };
    uint32_t stores = reg(DST_ENQUEUE_STORES);
    int ready[2], start[2], status;
    bool kept = true;
    char byte;

    *(volatile uint32_t *)(bar + DST_CREDITS) = UINT32_MAX;
    if (pipe(ready) || pipe(start)) {
        check(false, "pipes");
        return;
    }
    /* The processes get their PASIDs in turn, then run at the same time */
    for (int i = 0; i < 4; i++) {
        if (!fork()) {
            close(start[1]);
            if (pasids[i] && !write_pasid(msr, PASID_VALID | pasids[i])) {
                _exit(10);
            }
            if (write(ready[1], "", 1) != 1 || read(start[0], &byte, 1)) {
                _exit(9);
            }
            _exit(keep_state(pasids[i], i * 64));
        }
        if (read(ready[0], &byte, 1) != 1) {
            kept = false;
        }
    }
    close(start[1]);
    for (int i = 0; i < 4; i++) {
        wait(&status);
        if (status) {
            printf("status %x\n", status);
            kept = false;
        }
    }
    check(kept, "processes keep PASID and vector registers");
    check(reg(DST_ENQUEUE_STORES) == stores + 3 * ROUNDS,
          "every ENQCMD with a PASID reaches the device, no other one");
}

static void test_enqcmd(int msr)
{
    check(write_pasid(msr, PASID_VALID | 0xabcde), "IA32_PASID");
    *(volatile uint32_t *)(bar + DST_CREDITS) = 1;
    check(!_enqcmd(portal(0x80), command) && reg(DST_DATA) == 0xabcde &&
          reg(DST_LAST_OFFSET) == 0x80, "ENQCMD with PASID is accepted");
    check(_enqcmd(portal(0x80), command), "ENQCMD is told to retry");
    check(write_pasid(msr, 0), "IA32_PASID back to zero");
}

static bool has_id(const char *device, const char *file, unsigned id)
{
    char path[300];
    unsigned found = 0;
    FILE *f;

    snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/%s", device, file);
    f = fopen(path, "r");
    if (f) {
        if (fscanf(f, "%x", &found) != 1) {
            found = 0;
        }
        fclose(f);
    }
    return found == id;
}

static void *map_device(void)
{
    DIR *dir = opendir("/sys/bus/pci/devices");
    void *map = MAP_FAILED;
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        char path[300];
        int fd;

        if (!has_id(entry->d_name, "vendor", DST_VENDOR_ID) ||
            !has_id(entry->d_name, "device", DST_DEVICE_ID)) {
            continue;
        }
        snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/enable",
                 entry->d_name);
        fd = open(path, O_WRONLY);
        if (fd < 0 || write(fd, "1", 1) != 1) {
            break;
        }
        close(fd);
        snprintf(path, sizeof(path), "/sys/bus/pci/devices/%s/resource0",
                 entry->d_name);
        fd = open(path, O_RDWR);
        map = mmap(NULL, DST_BAR_SIZE, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
                   0);
        close(fd);
        break;
    }
    return map;
}

int main(void)
{
    int msr = open("/dev/cpu/0/msr", O_RDWR);

    bar = map_device();
    if (bar == MAP_FAILED || msr < 0) {
        perror("direct-store-testdev and /dev/cpu/0/msr");
        return 2;
    }
    for (int i = 0; i < 64; i++) {
        command[i] = i < 4 ? 0 : i;
    }
    signal(SIGSEGV, on_fault);

    test_stores();
    test_atomic();
    pin(0);
    test_no_pasid();
    test_context_switch(msr);
    test_enqcmd(msr);
    test_no_pasid();
    return failed;
}
