/*
 * Rules for programs that share their memory with a DSA
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel DSA Architecture Specification.
 */

#include <errno.h>
#include <glob.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "cases.h"
#include "queue.h"

#define PAGE        4096
#define PAGES       16
#define SIZE        (PAGES * PAGE)
#define LARGE       (8 << 20) /* also the largest transfer size of the queues */

/* Number of attempts to change memory while the device accesses it */
#define ROUNDS      40
/* As many as Linux permits; in total more than the 63 events of the log */
#define BATCH       32
#define BATCHES     4
#define KILLS       10

/* Address of the memory of processes that share a queue */
#define SAME_ADDRESS ((uint8_t *)0x200000000000)

static bool failed;

static void __attribute__((format(printf, 2, 3)))
check(bool good, const char *format, ...)
{
    va_list arguments;

    failed |= !good;
    fputs(good ? "ok " : "not ok ", stdout);
    va_start(arguments, format);
    vprintf(format, arguments);
    va_end(arguments);
    putchar('\n');
    fflush(stdout);
}

/* Map memory in small pages, none of which is present */
static uint8_t *map_at(void *address, size_t size)
{
    uint8_t *memory = mmap(address, size, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS |
                           (address ? MAP_FIXED_NOREPLACE : 0), -1, 0);

    if (memory == MAP_FAILED || madvise(memory, size, MADV_NOHUGEPAGE)) {
        perror("memory");
        exit(2);
    }
    return memory;
}

static uint8_t *map(size_t size)
{
    return map_at(NULL, size);
}

static void forget(uint8_t *memory, size_t size)
{
    if (madvise(memory, size, MADV_DONTNEED)) {
        perror("madvise");
        exit(2);
    }
}

static void fill(uint8_t *memory, size_t size, uint64_t seed)
{
    uint64_t *words = (uint64_t *)memory;

    for (size_t i = 0; i < size / 8; i++) {
        words[i] = (seed << 32) + i;
    }
}

static bool only(const uint8_t *memory, size_t size, uint8_t value)
{
    return memory[0] == value && !memcmp(memory, memory + 1, size - 1);
}

/* Move, with page requests if the queue permits them; else touch the page */
static int move(struct queue *queue, uint8_t *src, uint8_t *dst, size_t size,
                unsigned *faults)
{
    static struct work work;
    size_t done = 0;

    *faults = 0;
    while (true) {
        int status;

        work_init(&work, DSA_OPCODE_MEMMOVE, queue->block ? IDXD_OP_FLAG_BOF : 0,
                  src + done, dst + done, size - done);
        status = queue_do(queue, &work);
        if (DSA_COMP_STATUS(status) != DSA_COMP_PAGE_FAULT_NOBOF) {
            return status;
        }
        if (status & DSA_COMP_STATUS_WRITE) {
            *(volatile uint8_t *)work.record.fault_addr = 0;
        } else {
            (void)*(volatile uint8_t *)work.record.fault_addr;
        }
        done += work.record.bytes_completed;
        ++*faults;
    }
}

/* ---- One process ---- */

static void test_untouched(struct queue *queue)
{
    uint8_t *src = map(SIZE), *dst = map(SIZE);
    unsigned faults;
    int status;

    fill(src, SIZE, 1);
    status = move(queue, src, dst, SIZE, &faults);
    check(status == DSA_COMP_SUCCESS && !memcmp(src, dst, SIZE) &&
          faults == (queue->block ? 0 : PAGES),
          "moves to untouched memory: status %#x, %u faults",
          status, faults);

    forget(src, SIZE);
    status = move(queue, src, dst, SIZE, &faults);
    check(status == DSA_COMP_SUCCESS && only(dst, SIZE, 0) &&
          faults == (queue->block ? 0 : PAGES),
          "moves from untouched memory: status %#x, %u faults",
          status, faults);
}

/* Partial completion (3.13, 8.2): number of bytes, and fault address */
static void test_partial(struct queue *queue)
{
    uint8_t *src = map(SIZE), *dst = map(SIZE);
    static struct work work;
    int status;

    fill(src, SIZE, 2);
    memset(dst, 0, SIZE);
    forget(dst + 5 * PAGE, PAGE);
    work_init(&work, DSA_OPCODE_MEMMOVE, 0, src + 100, dst + 100, SIZE - 200);
    status = queue_do(queue, &work);
    check(status == (DSA_COMP_PAGE_FAULT_NOBOF | DSA_COMP_STATUS_WRITE) &&
          work.record.bytes_completed == 5 * PAGE - 100 &&
          work.record.fault_addr == (uintptr_t)dst + 5 * PAGE &&
          !memcmp(src + 100, dst + 100, 5 * PAGE - 100) &&
          only(dst + 5 * PAGE, SIZE - 5 * PAGE, 0),
          "stops where a page is missing to write: status %#x, %u bytes",
          status, work.record.bytes_completed);

    memset(dst, 1, SIZE);
    forget(src + 3 * PAGE, PAGE);
    work_init(&work, DSA_OPCODE_MEMMOVE, 0, src, dst, SIZE);
    status = queue_do(queue, &work);
    check(status == DSA_COMP_PAGE_FAULT_NOBOF &&
          work.record.bytes_completed == 3 * PAGE &&
          work.record.fault_addr == (uintptr_t)src + 3 * PAGE &&
          only(dst + 3 * PAGE, SIZE - 3 * PAGE, 1),
          "stops where a page is missing to read: status %#x, %u bytes",
          status, work.record.bytes_completed);
}

static void test_forbidden(struct queue *queue)
{
    uint8_t *src = map(SIZE), *dst = map(SIZE);
    unsigned flags = queue->block ? IDXD_OP_FLAG_BOF : 0;
    int expected = (queue->block ? DSA_COMP_PAGE_FAULT_IR
                                 : DSA_COMP_PAGE_FAULT_NOBOF);
    static struct work work;
    int status;

    memset(dst, 1, SIZE);
    mprotect(dst + PAGE, PAGE, PROT_READ);
    work_init(&work, DSA_OPCODE_MEMFILL, flags, NULL, dst, SIZE);
    status = queue_do(queue, &work);
    check(status == (expected | DSA_COMP_STATUS_WRITE) &&
          work.record.bytes_completed == PAGE &&
          work.record.fault_addr == (uintptr_t)dst + PAGE &&
          only(dst, PAGE, 0) && only(dst + PAGE, SIZE - PAGE, 1),
          "does not write where the process may only read: status %#x",
          status);

    munmap(src + 2 * PAGE, PAGE);
    mprotect(dst + PAGE, PAGE, PROT_READ | PROT_WRITE);
    work_init(&work, DSA_OPCODE_MEMMOVE, flags, src, dst, SIZE);
    fill(src, 2 * PAGE, 3);
    status = queue_do(queue, &work);
    check(status == expected && work.record.bytes_completed == 2 * PAGE &&
          work.record.fault_addr == (uintptr_t)src + 2 * PAGE,
          "does not read where nothing is mapped: status %#x", status);
}

/* Page requests for completion records and lists are independent of the flag */
static void test_record(struct queue *queue)
{
    struct work *work = (struct work *)map(PAGE);
    static struct dsa_completion_record *record;
    int status;

    record = (struct dsa_completion_record *)map(PAGE);
    work_init(work, DSA_OPCODE_NOOP, 0, NULL, NULL, 0);
    work->desc.completion_addr = (uintptr_t)record;
    queue_submit(queue, work);
    while (!(status = record->status)) {
        usleep(1000);
    }
    check(status == DSA_COMP_SUCCESS,
          "completion record in an untouched page: status %#x",
          status);
}

static void test_batch(struct queue *queue)
{
    uint8_t *src = map(SIZE), *dst = map(SIZE);
    struct dsa_hw_desc *list = (struct dsa_hw_desc *)map(PAGE);
    struct work *parts = (struct work *)map(PAGES * sizeof(*parts));
    static struct work work;
    unsigned faults = 0;
    int status;

    fill(src, SIZE, 4);
    for (int i = 0; i < PAGES; i++) {
        work_init(&parts[i], DSA_OPCODE_MEMMOVE,
                  queue->block ? IDXD_OP_FLAG_BOF : 0,
                  src + i * PAGE, dst + i * PAGE, PAGE);
        list[i] = parts[i].desc;
    }
    work_init(&work, DSA_OPCODE_BATCH, 0, list, NULL, PAGES);
    status = queue_do(queue, &work);
    for (int i = 0; i < PAGES; i++) {
        faults += DSA_COMP_STATUS(parts[i].record.status) ==
                  DSA_COMP_PAGE_FAULT_NOBOF;
    }
    check(queue->block
          ? status == DSA_COMP_SUCCESS && !memcmp(src, dst, SIZE)
          : status == DSA_COMP_BATCH_FAIL && faults == PAGES &&
            only(dst, SIZE, 0),
          "batch: status %#x, %u faults", status, faults);
}

/* The device must not access pages that are unmapped during moves afterwards */
static void test_unmap(struct queue *queue)
{
    static struct work works[QUEUE_DEPTH];
    uint8_t *src = map(LARGE);
    bool unharmed = true;
    int stopped = 0, i;

    memset(src, 5, LARGE);
    for (i = 0; i < ROUNDS && stopped < QUEUE_DEPTH; i++) {
        uint8_t *dst = map(LARGE), *other;

        memset(dst, 0, LARGE);
        for (int j = 0; j < QUEUE_DEPTH; j++) {
            work_init(&works[j], DSA_OPCODE_MEMMOVE, 0, src, dst, LARGE);
            queue_submit(queue, &works[j]);
        }
        munmap(dst, LARGE);
        /* At another address, which the device must not access */
        other = map_at(SAME_ADDRESS, LARGE);
        memset(other, 6, LARGE);
        for (int j = 0; j < QUEUE_DEPTH; j++) {
            stopped += work_wait(&works[j]) ==
                       (DSA_COMP_PAGE_FAULT_NOBOF | DSA_COMP_STATUS_WRITE);
        }
        unharmed = unharmed && only(other, LARGE, 6);
        munmap(other, LARGE);
    }
    check(unharmed && stopped, "memory that is taken away: %d of %d moves "
          "stopped", stopped, i * QUEUE_DEPTH);
}

/* ---- Several processes ---- */

/* Move data of the process @seed repeatedly; returns the number of errors */
static int mistakes(struct queue *queue, int seed)
{
    uint8_t *src = map_at(SAME_ADDRESS, 2 * SIZE), *dst = src + SIZE;
    int count = 0;

    for (int i = 0; i < ROUNDS; i++) {
        unsigned faults;

        fill(src, SIZE, seed * ROUNDS + i);
        forget(dst, SIZE);
        count += move(queue, src, dst, SIZE, &faults) != DSA_COMP_SUCCESS ||
                 memcmp(src, dst, SIZE);
    }
    return count;
}

/* The process @seed starts to work when @start is closed */
static pid_t start_process(const char *path, int seed, const int start[2])
{
    pid_t pid = fork();
    struct queue queue;
    char byte;

    if (!pid) {
        close(start[1]);
        queue_open(&queue, path);
        if (read(start[0], &byte, 1)) {
            _exit(3);
        }
        _exit(mistakes(&queue, seed) ? 1 : 0);
    }
    return pid;
}

static bool ended_well(pid_t pid)
{
    int status;

    return waitpid(pid, &status, 0) == pid && !status;
}

/*
 * A shared queue serves several processes at the same time, a dedicated one
 * serves one after the other; all have different data at the same addresses.
 */
bool cases_processes(char **paths, int count)
{
    int start[2];
    pid_t pids[count];
    bool good = true;

    if (pipe(start)) {
        perror("pipe");
        exit(2);
    }
    for (int i = 0; i < count; i++) {
        pids[i] = start_process(paths[i], i + 1, start);
    }
    close(start[0]);
    close(start[1]);
    for (int i = 0; i < count; i++) {
        good = ended_well(pids[i]) && good;
    }
    check(good, "%d processes at the same time", count);
    return !failed;
}

/* A dedicated queue has one PASID; Linux rejects a second process */
static void test_second_open(const char *path, struct queue *queue)
{
    int status;
    pid_t pid = fork();

    if (!pid) {
        struct queue second;

        _exit(queue_try_open(&second, path));
    }
    waitpid(pid, &status, 0);
    check(WIFEXITED(status) &&
          WEXITSTATUS(status) == (queue->dedicated ? EBUSY : 0),
          "a second process opens the queue: %s",
          WIFEXITED(status) ? strerror(WEXITSTATUS(status)) : "killed");
}

/* A process is killed while the device accesses its memory */
static void test_kill(const char *path)
{
    bool good = true;

    for (int i = 0; i < KILLS; i++) {
        int ready[2];
        char byte;
        pid_t pid;

        if (pipe(ready)) {
            perror("pipe");
            exit(2);
        }
        pid = fork();
        if (!pid) {
            static struct work works[QUEUE_DEPTH];
            struct queue queue;

            queue_open(&queue, path);
            for (int j = 0; j < QUEUE_DEPTH; j++) {
                work_init(&works[j], DSA_OPCODE_MEMMOVE,
                          queue.block ? IDXD_OP_FLAG_BOF : 0, map(LARGE),
                          map(LARGE), LARGE);
                queue_submit(&queue, &works[j]);
                if (!j && write(ready[1], "", 1) != 1) {
                    _exit(2);
                }
            }
            while (true) {
                pause();
            }
        }
        close(ready[1]);
        good = good && read(ready[0], &byte, 1) == 1;
        close(ready[0]);
        kill(pid, SIGKILL);
        good = waitpid(pid, NULL, 0) == pid && good;
    }
    check(good, "%d processes killed during their moves", KILLS);
}

static void one_process(const char *path)
{
    struct queue queue;

    queue_open(&queue, path);
    test_untouched(&queue);
    test_partial(&queue);
    test_forbidden(&queue);
    test_record(&queue);
    test_batch(&queue);
    test_unmap(&queue);
    test_second_open(path, &queue);
}

/* ---- Completion records through the event log (5.9) ---- */

static bool wait_for_all(const struct work *works, int count)
{
    bool good = true;

    for (int i = 0; i < count; i++) {
        const struct dsa_completion_record *record =
            (void *)works[i].desc.completion_addr;
        int status;

        while (!(status = *(volatile uint8_t *)&record->status)) {
            usleep(1000);
        }
        good = good && status == DSA_COMP_SUCCESS;
    }
    return good;
}

/* Of the only process that has opened the queue */
static int read_counter(const char *path, const char *name)
{
    const char *queue = strrchr(path, '/') + 1;
    char pattern[200];
    int value = -1;
    glob_t found;
    FILE *f;

    snprintf(pattern, sizeof(pattern),
             "/sys/bus/dsa/devices/%s/dsa!%s/file*/%s", queue, queue, name);
    if (glob(pattern, 0, NULL, &found) || found.gl_pathc != 1) {
        fprintf(stderr, "%s: not one\n", pattern);
        exit(2);
    }
    f = fopen(found.gl_pathv[0], "r");
    if (!f || fscanf(f, "%d", &value) != 1) {
        perror(pattern);
        exit(2);
    }
    fclose(f);
    globfree(&found);
    return value;
}

static void test_log_record(struct queue *queue, const char *path)
{
    static struct work works[2];
    int faults = read_counter(path, "cr_faults");
    uint8_t *records = map(2 * PAGE);
    bool good;

    work_init(&works[0], DSA_OPCODE_NOOP, 0, NULL, NULL, 0);
    works[0].desc.completion_addr = (uintptr_t)records;
    queue_submit(queue, &works[0]);
    good = wait_for_all(works, 1);
    check(good && read_counter(path, "cr_faults") == faults + 1,
          "Linux writes a completion record");

    work_init(&works[1], DSA_OPCODE_DRAIN, 0, NULL, NULL, 0);
    works[1].desc.completion_addr = (uintptr_t)records + PAGE;
    queue_submit(queue, &works[1]);
    check(wait_for_all(works + 1, 1), "Linux writes the record of a drain");
}

/* When the record of the batch is valid, all other records and the data are */
static void test_log_batches(struct queue *queue)
{
    const size_t size = BATCHES * BATCH * PAGE;
    uint8_t *src = map(size), *dst = map(size), *records = map(size);
    static struct work works[BATCHES];
    static struct dsa_hw_desc lists[BATCHES][BATCH];
    int status = DSA_COMP_SUCCESS, written = 0;

    fill(src, size, 7);
    memset(dst, 0, size);
    for (int i = 0; i < BATCHES * BATCH; i++) {
        struct work part;

        work_init(&part, DSA_OPCODE_MEMMOVE, 0, src + i * PAGE, dst + i * PAGE,
                  PAGE);
        part.desc.completion_addr = (uintptr_t)records + i * PAGE;
        lists[i / BATCH][i % BATCH] = part.desc;
    }
    for (int i = 0; i < BATCHES; i++) {
        work_init(&works[i], DSA_OPCODE_BATCH, 0, lists[i], NULL, BATCH);
        queue_submit(queue, &works[i]);
    }
    for (int i = 0; i < BATCHES; i++) {
        if (work_wait(&works[i]) != DSA_COMP_SUCCESS ||
            works[i].record.bytes_completed != BATCH) {
            status = works[i].record.status;
        }
    }
    for (int i = 0; i < BATCHES * BATCH; i++) {
        written += records[i * PAGE] == DSA_COMP_SUCCESS;
    }
    check(status == DSA_COMP_SUCCESS && written == BATCHES * BATCH &&
          !memcmp(src, dst, size),
          "Linux writes the records of batches: status %#x, %d records",
          status, written);
}

/* Linux does not write to memory that is read-only for the process, either */
static void test_log_forbidden(struct queue *queue, const char *path)
{
    uint8_t *records = map(PAGE);
    static struct work work, next;
    int failures = 0;

    mprotect(records, PAGE, PROT_READ);
    work_init(&work, DSA_OPCODE_NOOP, 0, NULL, NULL, 0);
    work.desc.completion_addr = (uintptr_t)records;
    queue_submit(queue, &work);
    while (!(failures = read_counter(path, "cr_fault_failures"))) {
        usleep(1000);
    }
    work_init(&next, DSA_OPCODE_NOOP, 0, NULL, NULL, 0);
    check(queue_do(queue, &next) == DSA_COMP_SUCCESS && failures == 1 &&
          only(records, PAGE, 0), "and none where the process may not write");
}

bool cases_log(const char *path)
{
    struct queue queue;

    queue_open(&queue, path);
    test_log_batches(&queue);
    test_log_record(&queue, path);
    test_log_forbidden(&queue, path);
    return !failed;
}

bool cases_queue(const char *path)
{
    pid_t pid = fork();

    /* A separate process, so that the queue is free afterwards */
    if (!pid) {
        one_process(path);
        _exit(failed);
    }
    if (!ended_well(pid)) {
        failed = true;
    }
    test_kill(path);
    return cases_processes((char *[]) { (char *)path }, 1);
}
