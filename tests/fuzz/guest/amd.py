# SPDX-License-Identifier: GPL-2.0-or-later
#
# Steps: an AMD IOMMU.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The device table, page tables and commands of amd-iommu, as the AMD I/O
Virtualization Technology specification describes them."""

import layout
from guest import step
from layout import AMD, AMD_PAGES, PAGE

DEVICE_TABLE, COMMAND_BASE, EVENT_BASE, CONTROL = 0x00, 0x08, 0x10, 0x18
COMMAND_HEAD, COMMAND_TAIL = 0x2000, 0x2008
READ_WRITE = 3 << 61
ON = 1 | 1 << 2 | 1 << 12


def is_amd(g):
    return g.machine.kind == 'amd'


def entry(addr, level):
    """A page table entry that refers to a table, or at level 0 to a page."""
    return addr | level << 9 | READ_WRITE | 1


def write_device(g, bdf):
    level = 4 if g.chance(0.9) else g.rng.randrange(8)
    addr = layout.AMD_TABLE + bdf * 32
    g.writeq(addr + 8, 1)
    g.writeq(addr + 16, 0)
    g.writeq(addr, AMD_PAGES | level << 9 | READ_WRITE | 3)


def write_tables(g):
    level3, level2, level1 = (AMD_PAGES + number * PAGE
                              for number in (1, 2, 3))
    g.clear(AMD_PAGES, 5 * PAGE)
    g.writeq(AMD_PAGES, entry(level3, 3))
    for index in (0, 4):
        g.writeq(level3 + index * 8, entry(level2, 2))
    for index in range(16, 64):
        g.writeq(level2 + index * 8, entry(index << 21, 0))
    g.writeq(level2, entry(level1, 1))
    for index in range(0, 512, 3):
        g.writeq(level1 + index * 8,
                 entry(layout.backing(layout.WINDOW + index * PAGE), 0))
    for device in g.machine.devices:
        write_device(g, device.bdf)


@step(3, needs=is_amd)
def amd_restart(g):
    g.repair = amd_restart
    write_tables(g)
    g.writeq(AMD + CONTROL, 0)
    g.writeq(AMD + DEVICE_TABLE, layout.AMD_TABLE | 0x1ff)
    g.writeq(AMD + COMMAND_BASE, layout.AMD_COMMANDS | 8 << 56)
    g.writeq(AMD + EVENT_BASE, layout.AMD_EVENTS | 8 << 56)
    g.writeq(AMD + COMMAND_HEAD, 0)
    g.writeq(AMD + COMMAND_TAIL, 0)
    g.writeq(AMD + CONTROL, ON)


@step(12, needs=is_amd)
def amd_command(g):
    """Write commands from the start of the buffer of 4 KiB."""
    rng = g.rng
    count = rng.choice((1, 1, 2, 8))
    g.writeq(AMD + COMMAND_HEAD, 0)
    for number in range(count):
        device = rng.choice(g.machine.devices).bdf
        low, high = rng.choice((
            (1 << 60 | layout.STATUS | 1, rng.getrandbits(64)),
            (2 << 60 | device, 0),
            (3 << 60 | 1 << 32, g.addr() & -PAGE | rng.randrange(4)),
            (4 << 60 | device, g.addr() & -PAGE | rng.randrange(2)),
            (5 << 60 | device, 0), (6 << 60 | device, g.addr() & -PAGE),
            (7 << 60 | device, 0), (8 << 60, 0)))
        if g.chance(0.1):
            low ^= g.garbage()
        g.writeq(layout.AMD_COMMANDS + number * 16, low)
        g.writeq(layout.AMD_COMMANDS + number * 16 + 8, high)
    g.writeq(AMD + COMMAND_TAIL, count * 16)


@step(6, needs=is_amd)
def amd_spoil(g):
    """Entries of tables that refer to other tables, or to themselves."""
    g.spoilt = True
    rng = g.rng
    addr = AMD_PAGES + rng.choice((0, 0, PAGE, 2 * PAGE, 3 * PAGE)) + \
        rng.choice((0, 4, 16, rng.randrange(512))) * 8
    value = entry(AMD_PAGES + rng.randrange(5) * PAGE, rng.randrange(8))
    if g.chance(0.3):
        addr = layout.AMD_TABLE + rng.choice(g.machine.devices).bdf * 32 + \
            rng.choice((0, 0, 8, 16))
        value ^= rng.randrange(4)
    g.writeq(addr, value if g.chance(0.8) else g.garbage())


@step(3, needs=is_amd)
def amd_repair(g):
    write_tables(g)


@step(3, needs=is_amd)
def amd_register(g):
    g.spoilt = True
    register = g.rng.choice((DEVICE_TABLE, COMMAND_BASE, EVENT_BASE, CONTROL,
                             COMMAND_HEAD, COMMAND_TAIL, 0x20, 0x28, 0x38,
                             0x2010, 0x2018, 0x2020, g.rng.randrange(0x4000)))
    width = g.rng.choice((1, 2, 4, 8))
    g.write(width, AMD + (register & -width), g.garbage(8 * width))
    if g.chance(0.7):
        amd_restart(g)
