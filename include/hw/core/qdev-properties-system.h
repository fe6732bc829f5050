/*
 * The name that QEMU 11 has for hw/qdev-properties-system.h
 *
 * Device models for QEMU 11 include it, see docs/devel/pci-ats.rst.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef HW_CORE_QDEV_PROPERTIES_SYSTEM_H
#define HW_CORE_QDEV_PROPERTIES_SYSTEM_H

#include "hw/qdev-properties-system.h"

#endif
