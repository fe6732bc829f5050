/*
 * Speed of what the demo device for shared virtual memory does with data
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * GB/s of the pattern and of the checksum, for data in runs of 4 KiB, 2 MiB
 * and 1 GiB, as pages would cut it, next to memcpy of the same runs.  Time is
 * that of the thread, so that other load on the machine does little harm.
 * SVM_BENCH_MIB sets the size of the buffer (default 256).
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/units.h"
#include "hw/misc/svm-demo.h"
#include "hw/misc/svm-demo-data.h"

#define ROUNDS 5

typedef void (*Operation)(uint8_t *data, size_t len, uint64_t pos);

static uint8_t *source;
/* Of all that was measured, so that nothing is left out */
static uint8_t crc = SVM_DEMO_CRC8_INIT;

static void op_pattern(uint8_t *data, size_t len, uint64_t pos)
{
    svm_demo_pattern_fill(data, len, pos);
}

static void op_crc8(uint8_t *data, size_t len, uint64_t pos)
{
    crc = svm_demo_crc8(crc, data, len);
}

static void op_memcpy(uint8_t *data, size_t len, uint64_t pos)
{
    memcpy(data, source + pos, len);
}

static double now(void)
{
    struct timespec ts;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
    return ts.tv_sec + ts.tv_nsec * 1e-9;
}

static double measure(Operation op, uint8_t *data, size_t size, size_t run)
{
    double best = 0;

    for (int i = 0; i < ROUNDS; i++) {
        double begin = now();

        for (size_t pos = 0; pos < size; pos += run) {
            op(data + pos, MIN(run, size - pos), pos);
        }
        best = MAX(best, size / (now() - begin) / 1e9);
    }
    return best;
}

static size_t buffer_size(void)
{
    const char *text = getenv("SVM_BENCH_MIB");
    uint64_t mib;

    if (!text || qemu_strtou64(text, NULL, 0, &mib) || !mib || mib > KiB) {
        mib = 256;
    }
    return mib * MiB;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        size_t size;
    } runs[] = {
        { "4 KiB", 4 * KiB },
        { "2 MiB", 2 * MiB },
        { "1 GiB", GiB },
    };
    static const struct {
        const char *name;
        Operation op;
    } ops[] = {
        { "pattern", op_pattern },
        { "CRC", op_crc8 },
        { "memcpy", op_memcpy },
    };
    size_t size = buffer_size();
    uint8_t *data = g_malloc(size);

    source = g_malloc(size);
    memset(data, 1, size);
    memset(source, 2, size);
    for (int i = 0; i < ARRAY_SIZE(runs); i++) {
        for (int j = 0; j < ARRAY_SIZE(ops); j++) {
            printf("GB/s, %zu MiB, by what pages cut it into, more is better\t"
                   "%s\t%s\t%.3f\n", size / (size_t)MiB, ops[j].name,
                   runs[i].name, measure(ops[j].op, data, size, runs[i].size));
            fflush(stdout);
        }
    }
    /* Not a figure: tabs are missing */
    printf("CRC of all runs: 0x%02x\n", crc);
    g_free(source);
    g_free(data);
    return 0;
}
