/*
 * The name that QEMU 11 has for hw/hw.h
 *
 * Device models for QEMU 11 include it, see docs/devel/pci-ats.rst.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_CORE_HW_ERROR_H
#define HW_CORE_HW_ERROR_H

#include "hw/hw.h"

#endif
