/*
 * Invalid fields of migration streams
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef MIGRATION_VMSTATE_INVALID_H
#define MIGRATION_VMSTATE_INVALID_H

#include "qemu/error-report.h"

/**
 * vmstate_report_invalid: report that a migration stream has an invalid field
 *
 * For the post_load hook of a VMStateDescription, which returns the result.
 * Callable from any thread.
 *
 * @device: the name of the device
 * @field: the name of the field, followed by its value if that is useful
 *
 * Returns: -EINVAL.
 */
static inline int vmstate_report_invalid(const char *device, const char *field)
{
    error_report("%s: the incoming state has an invalid %s", device, field);
    return -EINVAL;
}

#endif
