# SPDX-License-Identifier: GPL-2.0-or-later
#
# Steps: the Data Streaming Accelerator (docs/specs/dsa.rst).
#
# Copyright (c) 2026 QEMU SVM contributors
"""Configuration, commands and descriptors of dsa.

Section numbers are those of the Intel Data Streaming Accelerator Architecture
Specification, revision 3.0."""

import layout
import pci
from guest import step

GENCFG, GENCTRL, INTCAUSE, CMD, SWERROR, EVLCFG, EVLSTATUS = (
    0x80, 0x88, 0x98, 0xa0, 0xc0, 0xe0, 0xf0)
GROUPS, QUEUES, PERMISSIONS = 0x1000, 0x2000, 0x3000
PORTALS = 0x100000              # BAR 2, as pci.program_bars() places it
(ENABLE, DISABLE, DRAIN_ALL, ABORT_ALL, RESET, ENABLE_WQ, DISABLE_WQ, DRAIN_WQ,
 ABORT_WQ, RESET_WQ, DRAIN_PASID, ABORT_PASID) = range(1, 13)

FENCE, BLOCK_ON_FAULT, RECORD, INTERRUPT = 0x1, 0x2, 0xc, 0x10
CHECK_RESULT, READBACK = 0x80, 0x4000
BATCH = 1
# Operation: its optional flags, and bytes that must be 0 (8.3)
OPERATIONS = {
    0x00: (0, (16, 64)),                                    # No-op
    0x02: (0xf0000, (32, 36), (40, 64)),                    # Drain
    0x03: (BLOCK_ON_FAULT | READBACK, (40, 64)),            # Memory Move
    0x04: (BLOCK_ON_FAULT | READBACK, (40, 64)),            # Fill
    0x05: (BLOCK_ON_FAULT | CHECK_RESULT, (41, 64)),        # Compare
    0x06: (BLOCK_ON_FAULT | CHECK_RESULT, (41, 64)),        # Compare Pattern
    0x07: (BLOCK_ON_FAULT, (52, 64)),                       # Create Delta
    0x08: (BLOCK_ON_FAULT, (44, 64)),                       # Apply Delta
    0x09: (BLOCK_ON_FAULT | READBACK, (48, 64)),            # Dualcast
    0x10: (BLOCK_ON_FAULT | 0x70000, (24, 32), (44, 48), (56, 64)),     # CRC
    0x11: (BLOCK_ON_FAULT | 0x70000, (44, 48), (56, 64)),   # Copy with CRC
    0x12: (BLOCK_ON_FAULT, (24, 32), (41, 42), (43, 48), (56, 64)),
    0x13: (BLOCK_ON_FAULT, (40, 41), (43, 56)),             # DIF: Check,
    0x14: (BLOCK_ON_FAULT, (41, 42), (43, 48), (56, 64)),   # Insert, Strip,
    0x15: (BLOCK_ON_FAULT, (43, 48)),                       # Update
    0x20: (BLOCK_ON_FAULT | READBACK, (16, 24), (40, 64)),  # Cache Flush
}
CHOICES = (*OPERATIONS, 3, 3, 3, 3, 4, 4, 9)


def pick(g):
    return pci.pick(g, 'dsa')


def queues(device):
    return 2 if device.name == 'dsa1' else 4


def command(g, device, code, operand=0):
    interrupt = 1 << 31 if g.chance(0.2) else 0
    g.writel(device.bar + CMD, interrupt | code << 20 | operand)


def write_queue(g, device, number):
    """WQCFG (9.2.24): half of the queues dedicated, PASIDs if possible."""
    rng = g.rng
    addr = device.bar + QUEUES + number * 32
    size = rng.choice((1, 8, 16))
    pasid = 1 << 28 | rng.randrange(layout.PASIDS) << 8 if \
        g.machine.svm and g.chance(0.9) else 0
    shared = number % 2 and pasid
    g.writeq(addr, size | size << 32)
    g.writeq(addr + 8, (0 if shared else 1) | (2 if g.chance(0.8) else 0) |
             (8 if g.chance(0.1) else 0) | 1 << 4 | pasid |
             (1 << 29 if g.chance(0.1) else 0) | 31 << 32 | 10 << 37)
    occupancy = 1 << 48 | 1 << 32 if g.chance(0.1) else 0
    g.writeq(addr + 16, occupancy)


def configure(g, device):
    """Configure the device and enable its work queues."""
    command(g, device, RESET)
    g.writel(device.bar + GENCTRL, g.rng.randrange(8))
    g.writel(device.bar + GENCFG, 0x2000 if g.chance(0.7) else 0)
    pasid = g.machine.svm and g.chance(0.3)
    g.writeq(device.bar + EVLCFG, layout.LARGE + 0x20000 | 1 if pasid else
             layout.EVENTS)
    g.writeq(device.bar + EVLCFG + 8, g.rng.choice((64, 64, 64, 128, 4)) |
             g.rng.randrange(layout.PASIDS) << 16)
    count = queues(device)
    one = device.name == 'dsa1' or g.chance(0.5)
    if one:
        g.writeq(device.bar + GROUPS, (1 << count) - 1)
        g.writeq(device.bar + GROUPS + 32, 3)
    else:
        for group in range(2):
            g.writeq(device.bar + GROUPS + group * 64, 5 << group)
            g.writeq(device.bar + GROUPS + group * 64 + 32, 1 << group)
    for number in range(count):
        write_queue(g, device, number)
    for vector in range(3):
        g.writeq(device.bar + PERMISSIONS + vector * 8,
                 g.rng.choice((0, 4, 8 | 1 << 12)))
    command(g, device, ENABLE)
    for number in range(count):
        command(g, device, ENABLE_WQ, number)


@step(10)
def dsa_configure(g):
    device = pick(g)
    if device:
        if g.chance(0.5):
            pci.program_device(g, device)
        configure(g, device)


def flags(g, allowed):
    """Flags of a descriptor: mostly allowed ones."""
    bits = RECORD if g.chance(0.95) else g.rng.choice((0, 4, 8))
    bits |= allowed & g.rng.getrandbits(24) & ~BLOCK_ON_FAULT
    bits |= allowed & BLOCK_ON_FAULT if g.chance(0.8) else 0
    bits |= INTERRUPT if g.chance(0.1) else 0
    if g.chance(0.02):
        bits ^= 1 << g.rng.randrange(24)
    return bits


def record_addr(g, number):
    """Address of a completion record: mostly in a present page."""
    if not g.machine.svm:
        return layout.RECORDS + number * 32
    if g.chance(0.8):
        return layout.LARGE + number * 32
    return g.addr() & -32


def operands(g, operation):
    """Source, destination, size, and the last 24 bytes."""
    rng = g.rng
    size = g.length() & 0x7fffffff
    source, destination = g.addr(), g.addr()
    last = [0, g.addr() & -4, rng.getrandbits(64)]
    if operation == 3 and g.chance(0.3):
        destination = (source + rng.randrange(-8192, 8192)) % (1 << 64)
    elif operation in (7, 8):
        size = size % 0x80000 & -8
        source, destination = source & -8, destination & -8
        last = [g.addr() & -8, rng.choice((80, 800, 80000)), 0]
        if operation == 8:
            last[0] = rng.randrange(1000) * 10
    elif operation == 9:
        last[0] = g.addr() & -4096 | destination & 0xfff
    elif operation in (0x10, 0x11):
        last[0] = rng.getrandbits(32)
    elif 0x12 <= operation <= 0x15:
        size = rng.randrange(1, 64) * (512 if operation == 0x13 else 520)
        last = [rng.choice((0, 4, 8)) << 16 | rng.getrandbits(8),
                rng.getrandbits(64), rng.getrandbits(64)]
    elif operation in (5, 6):
        last[0] = rng.randrange(2)
    return source, destination, size, last


def make_descriptor(g, operation):
    """A descriptor (8.1), mostly a valid one."""
    allowed, *zeroes = OPERATIONS[operation]
    source, destination, size, last = operands(g, operation)
    bits = flags(g, allowed)
    handle = g.rng.randrange(3) if bits & INTERRUPT else 0
    words = [bits << 32 | operation << 56 | g.rng.randrange(layout.PASIDS),
             record_addr(g, g.rng.randrange(64)), source, destination,
             size | handle << 32, *last]
    data = bytearray(b''.join(word.to_bytes(8, 'little') for word in words))
    for begin, end in zeroes:
        data[begin:end] = bytes(end - begin)
    if operation in (0x10, 0x11):
        # The seed is in the descriptor, or in memory
        data[40:44] = bytes(4) if bits & 0x10000 else data[40:44]
        data[48:56] = data[48:56] if bits & 0x10000 else bytes(8)
    data[36:38] = handle.to_bytes(2, 'little')
    if g.chance(0.02):
        data[g.rng.randrange(64)] ^= 1 << g.rng.randrange(8)
    return bytes(data)


def submit(g, device, descriptor):
    number = g.rng.randrange(queues(device))
    kind = g.rng.randrange(2) if g.chance(0.97) else g.rng.randrange(4)
    addr = device.bar + PORTALS + (number * 4 + kind) * layout.PAGE
    store = 'enqueue_store' if number % 2 or g.chance(0.05) else 'direct_store'
    g.do(f'{store} {addr:#x} 0x{descriptor.hex()}')


@step(40)
def dsa_submit(g):
    device = pick(g)
    if device:
        for _ in range(g.rng.choice((1, 1, 1, 2, 8))):
            submit(g, device,
                   make_descriptor(g, g.rng.choice(CHOICES)))


@step(6)
def dsa_batch(g):
    """A batch (3.8): a list of descriptors, mostly in present memory."""
    device = pick(g)
    if not device:
        return
    count = g.rng.choice((1, 2, 3, 8, 16))
    data = b''.join(make_descriptor(g, g.rng.choice(CHOICES))
                    for _ in range(count))
    where = layout.BATCHES
    if g.machine.svm:
        # The large page maps DATA
        g.store(layout.DATA + 0x10000, data)
        where = layout.LARGE + 0x10000
    else:
        g.store(where, data)
    if g.chance(0.1):
        where = g.addr() & -64
    words = [flags(g, 0) << 32 | BATCH << 56, record_addr(g, 64), where, 0,
             count if g.chance(0.95) else g.garbage(32), 0, 0, 0]
    submit(g, device, b''.join(word.to_bytes(8, 'little') for word in words))


@step(8)
def dsa_command(g):
    """Administrative commands (5.8.3), also while others are active."""
    device = pick(g)
    if not device:
        return
    code = g.rng.choice((DRAIN_ALL, ABORT_ALL, DRAIN_WQ, ABORT_WQ, RESET_WQ,
                         DRAIN_PASID, ABORT_PASID, DISABLE_WQ, DISABLE, RESET,
                         g.rng.randrange(32)))
    if code in (DRAIN_WQ, ABORT_WQ, RESET_WQ, DISABLE_WQ):
        operand = g.rng.randrange(1, 16)
    elif code in (DRAIN_PASID, ABORT_PASID):
        operand = g.rng.randrange(layout.PASIDS)
    else:
        operand = g.rng.choice((0, 0, 1, g.garbage(20)))
    command(g, device, code, operand)
    if code in (DISABLE_WQ, RESET_WQ, DRAIN_WQ):
        for number in range(queues(device)):
            command(g, device, ENABLE_WQ, number)
    elif code in (DISABLE, RESET) and g.chance(0.8):
        configure(g, device)


@step(5)
def dsa_acknowledge(g):
    """Act as the interrupt handler of a driver."""
    device = pick(g)
    if not device:
        return
    g.writel(device.bar + INTCAUSE, 0x37)
    g.writeq(device.bar + SWERROR, g.rng.choice((1, 3, 2)))
    g.writeq(device.bar + EVLSTATUS, 1 << 62 | g.rng.randrange(
        64 if g.chance(0.9) else 1 << 16))


@step(4)
def dsa_garbage(g):
    """Write any register or table entry, with any width."""
    device = pick(g)
    if not device:
        return
    rng = g.rng
    width = rng.choice((1, 2, 4, 8))
    base = rng.choice((0, 0, GROUPS, QUEUES, PERMISSIONS, 0x8000))
    addr = device.bar + base + rng.randrange(0x100)
    if g.chance(0.1):
        addr = device.bar + PORTALS + rng.randrange(0x8000)
    if g.chance(0.3):
        g.read(width, addr & -width)
    else:
        g.write(width, addr & -width, g.garbage(8 * width))
