/*
 * MOVDIR64B in user mode
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "cpu.h"
#include "exec/cpu-common.h"
#include "exec/exec-all.h"
#include "exec/helper-proto.h"
#include "exec/translation-block.h"
#include "tcg/access.h"
#include "tcg/helper-tcg.h"

void helper_movdir64b(CPUX86State *env, target_ulong dst, target_ulong src)
{
    CPUState *cs = env_cpu(env);
    uintptr_t ra = GETPC();
    X86Access from;
    void *to;

    if (dst % 64) {
        raise_exception_ra(env, EXCP0D_GPF, ra);
    }
    access_prepare(&from, env, src, 64, MMU_DATA_LOAD, ra);
    to = probe_write(env, dst, 64, MMU_USER_IDX, ra);
    /* No other thread may see a part of the store */
    if (tcg_cflags_has(cs, CF_PARALLEL) && !cpu_in_exclusive_context(cs)) {
        cpu_loop_exit_atomic(cs, ra);
    }
    memmove(to, from.haddr1, 64);
}
