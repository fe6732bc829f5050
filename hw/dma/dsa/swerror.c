/*
 * Intel Data Streaming Accelerator (DSA): Software Error Register (9.2.15)
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "dsa-internal.h"

void dsa_swerror_record(DSAState *s,
                        const uint64_t swerror[DSA_SWERROR_QWORDS])
{
    if (FIELD_EX64(s->swerror[0], DSA_SWERROR, VALID)) {
        s->swerror[0] |= R_DSA_SWERROR_OVERFLOW_MASK;
        return;
    }
    memcpy(s->swerror, swerror, sizeof(s->swerror));
    s->swerror[0] |= R_DSA_SWERROR_VALID_MASK;
    if (FIELD_EX32(s->genctrl, DSA_GENCTRL, SWERROR_INT)) {
        dsa_raise_cause(s, R_DSA_INTCAUSE_SWERROR_MASK);
    }
}

void dsa_swerror(DSAState *s, DSAStatus error, int wq)
{
    uint64_t swerror[DSA_SWERROR_QWORDS] = {
        (uint64_t)error << R_DSA_SWERROR_ERROR_SHIFT,
    };

    if (wq >= 0) {
        swerror[0] |= R_DSA_SWERROR_WQ_VALID_MASK |
                      (uint64_t)wq << R_DSA_SWERROR_WQ_SHIFT;
    }
    dsa_swerror_record(s, swerror);
}
