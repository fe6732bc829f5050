/*
 * Stores of 64 bytes in one piece, by qtest
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * A qtest has no processor that executes MOVDIR64B and ENQCMD.  It sends these
 * commands instead:
 *
 *   direct_store ADDR DATA    (answer: OK)
 *   enqueue_store ADDR DATA   (answer: OK 1 if accepted, OK 0 for retry)
 *
 * where DATA is 0x and 128 hexadecimal digits, in the order of the bytes.
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "exec/memory.h"
#include "hw/core/cpu.h"
#include "hw/direct_store.h"
#include "system/qtest.h"

static bool parse_data(const char *word, uint8_t data[DIRECT_STORE_SIZE])
{
    if (!word || strlen(word) != 2 + 2 * DIRECT_STORE_SIZE) {
        return false;
    }
    for (int i = 0; i < DIRECT_STORE_SIZE; i++) {
        const char *digits = word + 2 + 2 * i;

        if (!g_ascii_isxdigit(digits[0]) || !g_ascii_isxdigit(digits[1])) {
            return false;
        }
        data[i] = g_ascii_xdigit_value(digits[0]) << 4 |
                  g_ascii_xdigit_value(digits[1]);
    }
    return true;
}

static bool direct_store_qtest_command(CharBackend *chr, gchar **words)
{
    bool enqueue = !strcmp(words[0], "enqueue_store");
    uint8_t data[DIRECT_STORE_SIZE];
    uint64_t addr;

    if (!enqueue && strcmp(words[0], "direct_store")) {
        return false;
    }

    if (qemu_strtou64(words[1], NULL, 0, &addr) ||
        addr % DIRECT_STORE_SIZE || !parse_data(words[2], data)) {
        qtest_sendf(chr, "ERR expected an aligned address and 64 bytes\n");
    } else if (enqueue) {
        qtest_sendf(chr, "OK %d\n",
                    enqueue_store(first_cpu->as, addr, data,
                                  MEMTXATTRS_UNSPECIFIED));
    } else {
        direct_store(first_cpu->as, addr, data, MEMTXATTRS_UNSPECIFIED);
        qtest_sendf(chr, "OK\n");
    }
    return true;
}

static void direct_store_qtest_register(void)
{
    qtest_set_command_cb(direct_store_qtest_command);
}

type_init(direct_store_qtest_register)
