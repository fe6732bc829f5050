/*
 * The name that QEMU 11 has for hw/resettable.h
 *
 * Device models for QEMU 11 include it, see docs/devel/pci-ats.rst.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_CORE_RESETTABLE_H
#define HW_CORE_RESETTABLE_H

#include "hw/resettable.h"

#endif
