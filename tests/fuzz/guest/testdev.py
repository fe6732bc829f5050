# SPDX-License-Identifier: GPL-2.0-or-later
#
# Steps: the test device for ATS, PRI and PASID
# (docs/specs/pci-ats-testdev.rst).
#
# Copyright (c) 2026 QEMU SVM contributors
"""Every call of a device model, in any order, and in threads."""

import pci
from guest import step

PASID, ADDR, LENGTH, FLAGS, PRGI, MAX_RESULTS, COMMAND = (
    0x10, 0x18, 0x20, 0x28, 0x30, 0x38, 0x40)
REPEAT, STEP = 0x140, 0x148
NO_PASID = 0xffffffff
READ, WRITE, THREAD, ASYNC, LAST = 0x10, 0x20, 0x80, 0x100, 0x08
REGISTER_IOTLB, UNREGISTER_IOTLB, TRANSLATE = 2, 3, 4
REGISTER_PRI, UNREGISTER_PRI, PAGE_REQUEST = 5, 6, 7
DMA_READ, DMA_WRITE, SVM_READ, SVM_WRITE = 8, 9, 10, 11
REGISTER_MAP, UNREGISTER_MAP = 14, 15


def run(g, device, command, pasid, flags):
    rng = g.rng
    registers = [(PASID, NO_PASID if pasid is None else pasid),
                 (ADDR, g.addr()), (FLAGS, flags)]
    if command in (TRANSLATE, DMA_READ, DMA_WRITE, SVM_READ, SVM_WRITE):
        length = g.length()
        if command != TRANSLATE and g.chance(0.9):
            length %= 0x10001
        registers.append((LENGTH, length))
    if command == TRANSLATE:
        registers.append((MAX_RESULTS, rng.choice((0, 1, 64, 2048,
                                                   g.garbage()))))
    if command == PAGE_REQUEST:
        registers.append((PRGI, rng.randrange(512) if g.chance(0.9) else
                          g.garbage(16)))
    if flags & THREAD:
        registers += [(REPEAT, rng.choice((0, 1, 10, 1000))),
                      (STEP, rng.choice((0, 64, 0x1000)))]
    for register, value in registers:
        g.writeq(device.bar + register, value)
    g.writeq(device.bar + COMMAND, command)


@step(22)
def testdev_command(g):
    device = pci.pick(g, 'pci-ats-testdev')
    if not device:
        return
    command = g.rng.choice((1, REGISTER_IOTLB, UNREGISTER_IOTLB, TRANSLATE,
                            TRANSLATE, REGISTER_PRI, UNREGISTER_PRI,
                            PAGE_REQUEST, PAGE_REQUEST, DMA_READ, DMA_WRITE,
                            SVM_READ, SVM_WRITE, SVM_WRITE, 12, 13,
                            REGISTER_MAP, UNREGISTER_MAP, 16))
    flags = g.rng.choice((0, 0, READ, WRITE, READ | WRITE)) | \
        g.rng.choice((0, LAST)) | g.rng.choice((0, 0, 1, 2, 4, 0x40))
    if g.chance(0.4):
        flags |= g.rng.choice((THREAD, ASYNC))
    run(g, device, command, g.pasid(), flags)


@step(5)
def testdev_request_page(g):
    """A missing page, and a notifier for the response."""
    device = pci.pick(g, 'pci-ats-testdev')
    if device:
        pasid = g.pasid()
        run(g, device, REGISTER_PRI, pasid, 0)
        run(g, device, PAGE_REQUEST, pasid, READ | WRITE | LAST)


@step(2)
def testdev_read(g):
    device = pci.pick(g, 'pci-ats-testdev')
    if device:
        for _ in range(4):
            g.read(8, device.bar + g.rng.randrange(0x1a0) & -8)


@step(2)
def testdev_garbage(g):
    device = pci.pick(g, 'pci-ats-testdev')
    if device:
        width = g.rng.choice((1, 2, 4, 8))
        g.write(width, device.bar + g.rng.randrange(0x1000) & -width,
                g.garbage(8 * width))
