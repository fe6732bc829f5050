/*
 * XSAVE areas in compacted format: XSAVEC, XSAVES, XRSTORS
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Intel SDM volume 1, chapter 13.
 */

#include "qemu/osdep.h"
#include "qemu/error-report.h"
#include "qemu/host-utils.h"
#include "cpu.h"
#include "exec/helper-proto.h"
#include "helper-tcg.h"
#include "xsave.h"

#define HEADER(field) \
    (sizeof(X86LegacyXSaveArea) + offsetof(X86XSaveHeader, field))

uint32_t xsave_component_offset(int bit, uint64_t xcomp_bv)
{
    if (xcomp_bv & XCOMP_BV_COMPACTED) {
        return xsave_area_size(xcomp_bv & MAKE_64BIT_MASK(0, bit), true);
    }
    return x86_ext_save_areas[bit].offset;
}

uint64_t xsave_pasid(X86Access *ac, target_ulong ptr, uint64_t xstate_bv,
                     uint64_t xcomp_bv)
{
    if (!(xstate_bv & XSTATE_PASID_MASK)) {
        return 0;
    }
    return access_ldq(ac, ptr + xsave_component_offset(XSTATE_PASID_BIT,
                                                       xcomp_bv));
}

/* 13.10 and 13.11: the previous contents of the area do not matter */
static void save_compacted(CPUX86State *env, target_ulong ptr, uint64_t rfbm,
                           uintptr_t ra)
{
    uint64_t inuse = get_xinuse(env) & rfbm;
    X86Access ac;

    access_prepare(&ac, env, ptr, xsave_area_size(rfbm, true), MMU_DATA_STORE,
                   ra);
    do_xsave_access(&ac, ptr, rfbm, inuse, inuse, rfbm | XCOMP_BV_COMPACTED);
}

/* In the order of the exceptions: #UD, #NM, #GP */
static void compacted_chk(CPUX86State *env, target_ulong ptr, uintptr_t ra)
{
    if ((env->cr[4] & CR4_OSXSAVE_MASK) && (env->hflags & HF_TS_MASK)) {
        raise_exception_ra(env, EXCP07_PREX, ra);
    }
    do_xsave_chk(env, ptr, ra);
}

void helper_xsavec(CPUX86State *env, target_ulong ptr, uint64_t rfbm)
{
    uintptr_t ra = GETPC();

    compacted_chk(env, ptr, ra);
    save_compacted(env, ptr, rfbm & env->xcr0, ra);
}

static void supervisor_chk(CPUX86State *env, target_ulong ptr, uintptr_t ra)
{
    compacted_chk(env, ptr, ra);
    if (env->hflags & HF_CPL_MASK) {
        raise_exception_ra(env, EXCP0D_GPF, ra);
    }
}

void helper_xsaves(CPUX86State *env, target_ulong ptr, uint64_t rfbm)
{
    uintptr_t ra = GETPC();

    supervisor_chk(env, ptr, ra);
    save_compacted(env, ptr, rfbm & (env->xcr0 | env->xss), ra);
}

/* Bytes 63:16 of the header are reserved */
static bool header_reserved_clear(X86Access *ac, target_ulong ptr)
{
    uint64_t set = access_ldq(ac, ptr + HEADER(reserve0));

    for (int i = 0; i < sizeof_field(X86XSaveHeader, reserved); i += 8) {
        set |= access_ldq(ac, ptr + HEADER(reserved) + i);
    }
    return !set;
}

void do_xrstor_compacted(CPUX86State *env, target_ulong ptr, uint64_t rfbm,
                         uint64_t enabled, uintptr_t ra)
{
    uint64_t xstate_bv, xcomp_bv, layout, loaded;
    unsigned size = xsave_area_size(0, true);
    X86Access ac;

    access_prepare(&ac, env, ptr, size, MMU_DATA_LOAD, ra);
    xstate_bv = access_ldq(&ac, ptr + HEADER(xstate_bv));
    xcomp_bv = access_ldq(&ac, ptr + HEADER(xcomp_bv));
    layout = xcomp_bv & ~XCOMP_BV_COMPACTED;
    if (layout == xcomp_bv || (layout & ~enabled) || (xstate_bv & ~layout) ||
        !header_reserved_clear(&ac, ptr)) {
        raise_exception_ra(env, EXCP0D_GPF, ra);
    }

    /* The area behind the last loaded component is not accessed */
    rfbm &= enabled;
    loaded = rfbm & xstate_bv;
    if (loaded) {
        layout &= MAKE_64BIT_MASK(0, 64 - clz64(loaded));
        size = xsave_area_size(layout, true);
        access_prepare(&ac, env, ptr, size, MMU_DATA_LOAD, ra);
    }
    /* Before loading any component, reject a value that WRMSR rejects */
    if (xsave_pasid(&ac, ptr, loaded, xcomp_bv) & MSR_IA32_PASID_RESERVED) {
        raise_exception_ra(env, EXCP0D_GPF, ra);
    }
    do_xrstor(&ac, ptr, rfbm, xstate_bv, xcomp_bv);
}

void helper_xrstors(CPUX86State *env, target_ulong ptr, uint64_t rfbm)
{
    uintptr_t ra = GETPC();

    supervisor_chk(env, ptr, ra);
    do_xrstor_compacted(env, ptr, rfbm, env->xcr0 | env->xss, ra);
}

static uint64_t supported_xss(const CPUX86State *env)
{
    return env->features[FEAT_XSAVE_XSS_HI] << 32 |
           env->features[FEAT_XSAVE_XSS_LO];
}

bool xsave_write_xss(CPUX86State *env, uint64_t val)
{
    if (!(env->features[FEAT_XSAVE] & CPUID_XSAVE_XSAVES)) {
        return true;
    }
    if (val & ~supported_xss(env)) {
        return false;
    }
    env->xss = val;
    return true;
}

static bool check_incoming(const char *name, uint64_t val, uint64_t supported)
{
    if (val & ~supported) {
        error_report("x86 processor: the incoming state has an invalid %s: 0x%"
                     PRIx64, name, val);
        return false;
    }
    return true;
}

bool xsave_check_incoming(const CPUX86State *env)
{
    uint64_t xcr0 = env->features[FEAT_XSAVE_XCR0_HI] << 32 |
                    env->features[FEAT_XSAVE_XCR0_LO];

    /* XCR0 has this bit after a reset, even without XSAVE */
    return check_incoming("XCR0", env->xcr0, xcr0 | XSTATE_FP_MASK) &&
           check_incoming("IA32_XSS", env->xss, supported_xss(env)) &&
           check_incoming("IA32_PASID", env->pasid, ~MSR_IA32_PASID_RESERVED);
}
