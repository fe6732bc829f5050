/*
 * The BQL for tests that are linked without QEMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Replaces the functions of qemu/main-loop.h: bql_lock(), bql_unlock() and
 * bql_locked() have the same effect as in QEMU.
 */

#ifndef TESTS_UNIT_FAKE_BQL_H
#define TESTS_UNIT_FAKE_BQL_H

/* Called once, before the first use of the BQL */
void fake_bql_init(void);

#endif
