/*
 * MOVDIR64B, ENQCMD and ENQCMDS
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "cpu.h"
#include "accel/tcg/cpu-ops.h"
#include "exec/address-spaces.h"
#include "exec/cpu-common.h"
#include "exec/exec-all.h"
#include "exec/helper-proto.h"
#include "exec/translation-block.h"
#include "hw/direct_store.h"
#include "tcg/access.h"
#include "tcg/helper-tcg.h"

/* The first four bytes of a command (SDM volume 2, "ENQCMD") */
#define COMMAND_PASID       0x000fffff
#define COMMAND_RESERVED    0x7ff00000

/* Destination of a store: RAM at @host, or a physical address if it is NULL */
typedef struct StoreTarget {
    void *host;
    AddressSpace *as;
    hwaddr addr;
    MemTxAttrs attrs;
} StoreTarget;

static void check_aligned(CPUX86State *env, target_ulong dst, uintptr_t ra)
{
    if (dst % DIRECT_STORE_SIZE) {
        raise_exception_ra(env, EXCP0D_GPF, ra);
    }
}

/* The source may be unaligned, and may be read in several pieces */
static void load_source(CPUX86State *env, target_ulong src, uint8_t *data,
                        uintptr_t ra)
{
    X86Access ac;

    access_prepare(&ac, env, src, DIRECT_STORE_SIZE, MMU_DATA_LOAD, ra);
    for (int i = 0; i < DIRECT_STORE_SIZE; i += 8) {
        stq_le_p(data + i, access_ldq(&ac, src + i));
    }
}

/* Raises the exceptions of a store to @dst */
static StoreTarget probe_target(CPUX86State *env, target_ulong dst,
                                uintptr_t ra)
{
    CPUState *cs = env_cpu(env);
    CPUTLBEntryFull *full;
    StoreTarget target;
    int flags;

    flags = probe_access_full(env, dst, DIRECT_STORE_SIZE, MMU_DATA_STORE,
                              cpu_mmu_index(cs, false), false, &target.host,
                              &full, ra);
    target.attrs = full->attrs;
    target.addr = full->phys_addr | (dst & ~TARGET_PAGE_MASK);
    target.as = cpu_addressspace(cs, full->attrs);
    if (flags & TLB_MMIO) {
        target.host = NULL;
    }
    return target;
}

/* The flags of a probe do not include watchpoints of I/O memory */
static void check_watchpoint(CPUX86State *env, target_ulong dst,
                             const StoreTarget *target, uintptr_t ra)
{
    cpu_check_watchpoint(env_cpu(env), dst, DIRECT_STORE_SIZE, target->attrs,
                         BP_MEM_WRITE, ra);
}

/*
 * No other processor may see a part of a store to RAM.  Called before the
 * watchpoints of either operand are checked: their interrupt would prevent the
 * restart of the instruction.
 */
static void serialize(CPUX86State *env, target_ulong dst, uintptr_t ra)
{
    CPUState *cs = env_cpu(env);

    if (tcg_cflags_has(cs, CF_PARALLEL) && !cpu_in_exclusive_context(cs) &&
        probe_target(env, dst, ra).host) {
        cpu_loop_exit_atomic(cs, ra);
    }
}

void helper_movdir64b(CPUX86State *env, target_ulong dst, target_ulong src)
{
    uint8_t data[DIRECT_STORE_SIZE];
    uintptr_t ra = GETPC();
    StoreTarget target;

    check_aligned(env, dst, ra);
    serialize(env, dst, ra);
    load_source(env, src, data, ra);
    target = probe_target(env, dst, ra);
    check_watchpoint(env, dst, &target, ra);
    if (target.host) {
        memcpy(target.host, data, DIRECT_STORE_SIZE);
    } else {
        direct_store(target.as, target.addr, data, target.attrs);
    }
}

/* Returns the arithmetic flags */
static target_ulong enqueue(CPUX86State *env, target_ulong dst,
                            const uint8_t *command, uintptr_t ra)
{
    StoreTarget target = probe_target(env, dst, ra);

    check_watchpoint(env, dst, &target, ra);
    return enqueue_store(target.as, target.addr, command, target.attrs) ?
           0 : CC_Z;
}

target_ulong helper_enqcmd(CPUX86State *env, target_ulong dst,
                           target_ulong src)
{
    uint8_t command[DIRECT_STORE_SIZE];
    uintptr_t ra = GETPC();

    check_aligned(env, dst, ra);
    if (!(env->pasid & MSR_IA32_PASID_VALID)) {
        raise_exception_ra(env, EXCP0D_GPF, ra);
    }
    load_source(env, src, command, ra);
    if (ldl_le_p(command)) {
        raise_exception_ra(env, EXCP0D_GPF, ra);
    }
    stl_le_p(command, env->pasid & COMMAND_PASID);
    return enqueue(env, dst, command, ra);
}

target_ulong helper_enqcmds(CPUX86State *env, target_ulong dst,
                            target_ulong src)
{
    uint8_t command[DIRECT_STORE_SIZE];
    uintptr_t ra = GETPC();

    check_aligned(env, dst, ra);
    load_source(env, src, command, ra);
    if (ldl_le_p(command) & COMMAND_RESERVED) {
        raise_exception_ra(env, EXCP0D_GPF, ra);
    }
    return enqueue(env, dst, command, ra);
}
