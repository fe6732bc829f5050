/*
 * The name that QEMU 11 has for block/aio.h
 *
 * Device models for QEMU 11 include it, see docs/devel/pci-ats.rst.
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#ifndef FORWARD_QEMU_AIO_H
#define FORWARD_QEMU_AIO_H

#include "block/aio.h"

#endif
