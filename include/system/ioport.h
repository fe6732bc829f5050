/*
 * The name that QEMU 11 has for exec/ioport.h
 *
 * Device models for QEMU 11 include it, see docs/devel/pci-ats.rst.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef SYSTEM_IOPORT_H
#define SYSTEM_IOPORT_H

#include "exec/ioport.h"

#endif
