/*
 * The BQL for tests that link without the emulator
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Stands in for the functions of qemu/main-loop.h: bql_lock(), bql_unlock() and
 * bql_locked() do what they do in the emulator.
 */

#ifndef TESTS_UNIT_FAKE_BQL_H
#define TESTS_UNIT_FAKE_BQL_H

/* Once, before anything takes it */
void fake_bql_init(void);

#endif
