/*
 * XSAVE areas in standard and compacted format
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef X86_TCG_XSAVE_H
#define X86_TCG_XSAVE_H

#include "access.h"

/* XCOMP_BV[63]: the area is in compacted format (SDM volume 1, 13.4.3) */
#define XCOMP_BV_COMPACTED (1ULL << 63)

/**
 * xsave_component_offset: get the offset of a state component in an XSAVE area
 *
 * @bit: the component, 2 or above
 * @xcomp_bv: XCOMP_BV of the area's header, 0 for the standard format
 *
 * Returns: the offset in bytes.
 */
uint32_t xsave_component_offset(int bit, uint64_t xcomp_bv);

/**
 * xsave_pasid: get the PASID state of an XSAVE area
 *
 * @ac: access to the area
 * @ptr: the area
 * @xstate_bv: XSTATE_BV of the area's header
 * @xcomp_bv: XCOMP_BV of the area's header
 *
 * Returns: the value for IA32_PASID, 0 if the area has no PASID state.
 */
uint64_t xsave_pasid(X86Access *ac, target_ulong ptr, uint64_t xstate_bv,
                     uint64_t xcomp_bv);

/**
 * do_xrstor_compacted: XRSTOR or XRSTORS from an area in compacted format
 *
 * Raises #GP if the header does not allow it (SDM volume 1, 13.8.2, 13.12).
 *
 * @env: the processor
 * @ptr: the area, 64-byte aligned
 * @rfbm: the components that the instruction requests
 * @enabled: the components that the instruction may load
 * @ra: return address of the helper
 */
void do_xrstor_compacted(CPUX86State *env, target_ulong ptr, uint64_t rfbm,
                         uint64_t enabled, uintptr_t ra);

/**
 * xsave_write_xss: WRMSR to IA32_XSS
 *
 * The write is ignored without XSAVES, like that of other missing MSRs.
 *
 * @env: the processor
 * @val: the value
 *
 * Returns: false if #GP has to be raised.
 */
bool xsave_write_xss(CPUX86State *env, uint64_t val);

/**
 * xsave_check_incoming: check the state components of an incoming state
 *
 * Called with the BQL held, after the state of the processor has been loaded.
 *
 * @env: the processor
 *
 * Returns: false, after reporting an error, if XSETBV or WRMSR would reject the
 * value of XCR0, IA32_XSS or IA32_PASID.  The area of a missing component may
 * be larger than any access.
 */
bool xsave_check_incoming(const CPUX86State *env);

/* fpu_helper.c */

/* Raise #UD if XSAVE is not enabled, #GP if @ptr is not aligned */
void do_xsave_chk(CPUX86State *env, target_ulong ptr, uintptr_t ra);

/* XINUSE: the components that are not in their initial configuration */
uint64_t get_xinuse(CPUX86State *env);

/*
 * Save the components @opt, a part of @rfbm, to an area whose header gets
 * @xcomp_bv, 0 for the standard format, and of which @inuse are in use.
 */
void do_xsave_access(X86Access *ac, target_ulong ptr, uint64_t rfbm,
                     uint64_t inuse, uint64_t opt, uint64_t xcomp_bv);

/*
 * Load the components @rfbm from an area whose header holds @xstate_bv and
 * @xcomp_bv, which have been checked.
 */
void do_xrstor(X86Access *ac, target_ulong ptr, uint64_t rfbm,
               uint64_t xstate_bv, uint64_t xcomp_bv);

#endif /* X86_TCG_XSAVE_H */
