# SPDX-License-Identifier: GPL-2.0-or-later
#
# Steps: the demo device for shared virtual memory (docs/specs/svm.rst).
#
# Copyright (c) 2026 QEMU SVM contributors
"""Operations of any length, cancelled, restarted or left to complete."""

import pci
from guest import step

START, ADDR, CRC, SIZE, OPTIONS, PASID = 0x00, 0x08, 0x10, 0x18, 0x20, 0x50
NO_PASID = 1 << 20


def pick(g):
    return pci.pick(g, 'svm')


@step(25)
def svm_start(g):
    device = pick(g)
    if not device:
        return
    pasid = g.pasid()
    g.writel(device.bar + PASID, NO_PASID if pasid is None else pasid)
    g.writeq(device.bar + ADDR, g.addr())
    g.writeq(device.bar + SIZE, g.length())
    if g.chance(0.2):
        g.writeq(device.bar + OPTIONS, g.rng.randrange(4))
    g.writeq(device.bar + START, g.rng.choice((1, 1, 1, 2, 2, 3)))


@step(4)
def svm_stop(g):
    """Writing PASID ends an operation."""
    device = pick(g)
    if device:
        g.writel(device.bar + PASID, g.rng.choice((NO_PASID, 0, 1,
                                                   g.garbage(32))))


@step(3)
def svm_garbage(g):
    device = pick(g)
    if not device:
        return
    width = g.rng.choice((1, 2, 4, 8))
    addr = device.bar + g.rng.choice((0, 8, 0x10, 0x18, 0x20, 0x50, 0x58,
                                      g.rng.randrange(0x100000)))
    if g.chance(0.5):
        g.read(width, addr & -width)
    else:
        g.write(width, addr & -width, g.garbage(8 * width))
