# SPDX-License-Identifier: GPL-2.0-or-later
#
# Steps: an AMD IOMMU.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The device table, page tables and commands of amd-iommu, as the AMD I/O
Virtualization Technology specification describes them."""

import layout
import vtd
from guest import step
from layout import AMD, AMD_PAGES, PAGE

DEVICE_TABLE, COMMAND_BASE, EVENT_BASE, CONTROL = 0x00, 0x08, 0x10, 0x18
PPR_BASE = 0x38
COMMAND_HEAD, COMMAND_TAIL = 0x2000, 0x2008
STATUS, PPR_HEAD, PPR_TAIL = 0x2020, 0x2030, 0x2038
READ_WRITE = 3 << 61
ON = 1 | 1 << 2 | 1 << 12
# PPRLogEn, PPRIntEn, PPREn, GTEn, EPHEn
SVM_ON = 7 << 13 | 1 << 16 | 1 << 45
# GCR3 table, and host tables that map RAM to itself
GCR3 = layout.DIRECTORY
IDENTITY = AMD_PAGES + 8 * PAGE


def is_amd(g):
    return g.machine.kind == 'amd'


def is_amd_svm(g):
    return is_amd(g) and g.machine.svm


def entry(addr, level):
    """A page table entry that refers to a table, or at level 0 to a page."""
    return addr | level << 9 | READ_WRITE | 1


def guest_entry(g):
    """Device table entry with guest tables: the first three quadwords."""
    rng = g.rng
    low = 3 | READ_WRITE | 1 << 55 | (GCR3 >> 12 & 7) << 58
    if g.chance(0.4):
        low |= IDENTITY | 3 << 9
    for bit, probability in ((52, 0.9), (53, 0.5), (54, 0.3)):
        low |= g.chance(probability) << bit
    if g.chance(0.05):
        low |= rng.randrange(4) << 56
    high = 1 + rng.randrange(2) | g.chance(0.9) << 32
    high |= (GCR3 >> 15 & 0xffff) << 16 | GCR3 >> 31 << 43
    return low, high, (0 if g.chance(0.9) else rng.randrange(4)) << 54


def host_entry(g):
    """The same without guest tables."""
    level = 4 if g.chance(0.9) else g.rng.randrange(8)
    iotlb = g.chance(0.5) << 32
    return AMD_PAGES | level << 9 | READ_WRITE | 3, 1 | iotlb, 0


def write_device(g, bdf):
    guest = is_amd_svm(g) and g.chance(0.8)
    low, high, third = guest_entry(g) if guest else host_entry(g)
    addr = layout.AMD_TABLE + bdf * 32
    g.writeq(addr + 8, high)
    g.writeq(addr + 16, third)
    g.writeq(addr, low)


def write_pasid(g, pasid):
    """The entry of the GCR3 table, for tables of 4 or 5 levels."""
    five = g.chance(0.1)
    root = layout.FIRST + (pasid * layout.TABLE_PAGES + (not five)) * PAGE
    g.writeq(GCR3 + pasid * 8, root | 1)


def write_guest_tables(g):
    """Guest tables are x86 page tables, as first-stage tables of VT-d are."""
    g.clear(GCR3, PAGE)
    for pasid in range(layout.PASIDS):
        vtd.first_stage(g, pasid)
        write_pasid(g, pasid)
    g.clear(IDENTITY, 2 * PAGE)
    g.writeq(IDENTITY, entry(IDENTITY + PAGE, 2))
    g.writeq(IDENTITY + 4 * 8, entry(AMD_PAGES + 2 * PAGE, 2))
    for index in range(layout.RAM >> 21):
        g.writeq(IDENTITY + PAGE + index * 8, entry(index << 21, 0))


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
    if is_amd_svm(g):
        write_guest_tables(g)
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
    g.writeq(AMD + PPR_BASE, layout.REQUESTS | 8 << 56)
    g.writeq(AMD + STATUS, 0xffff)
    g.writeq(AMD + CONTROL, ON | (SVM_ON if is_amd_svm(g) else 0))


def with_pasid(g, number):
    """The PASID field of a command, and GN."""
    pasid = g.pasid()
    if pasid is None or not is_amd_svm(g):
        return 0, 0
    if number == 4:
        return ((pasid & 0xff) << 48 | (pasid >> 8 & 0xff) << 16 |
                pasid >> 16 << 56, 4)
    return pasid << (0 if number == 3 else 32), 4


def page_range(g):
    """Address and size of an invalidation."""
    addr = g.addr() & -PAGE
    size = g.rng.choice((0, 0, 1, 9, 51))
    return addr if not size else addr & -(PAGE << size) | \
        ((PAGE << size - 1) - PAGE) | 1


def response(g):
    """COMPLETE_PPR_REQUEST: any group and response code."""
    pasid, guest = with_pasid(g, 7)
    tag = g.rng.randrange(512) if g.chance(0.3) else g.rng.randrange(8)
    code = g.rng.choice((0, 0, 1, 15, g.rng.randrange(16)))
    device = g.rng.choice(g.machine.devices).bdf
    return 7 << 60 | device | pasid, (code << 12 | tag) << 32 | guest


def amd_commands(g, commands):
    """Write commands from the start of the buffer of 4 KiB."""
    g.writeq(AMD + COMMAND_HEAD, 0)
    for number, (low, high) in enumerate(commands):
        g.writeq(layout.AMD_COMMANDS + number * 16, low)
        g.writeq(layout.AMD_COMMANDS + number * 16 + 8, high)
    g.writeq(AMD + COMMAND_TAIL, len(commands) * 16)


def make_command(g):
    rng = g.rng
    device = rng.choice(g.machine.devices).bdf
    number = rng.choice((1, 2, 3, 3, 4, 4, 5, 6, 7, 8))
    pasid, guest = with_pasid(g, number)
    low, high = {
        1: (layout.STATUS | 1, rng.getrandbits(64)),
        2: (device, 0),
        3: (1 << 32 | pasid, page_range(g) | guest | rng.randrange(2) << 1),
        4: (device | pasid, page_range(g) | guest),
        5: (device, 0),
        6: (device, g.addr() & -PAGE | rng.randrange(2) << 4),
        7: response(g),
        8: (0, 0),
    }[number]
    low |= number << 60
    return low ^ g.garbage() if g.chance(0.1) else low, high


@step(12, needs=is_amd)
def amd_command(g):
    amd_commands(g, [make_command(g)
                     for _ in range(g.rng.choice((1, 1, 2, 8)))])


@step(4, needs=is_amd_svm)
def amd_respond(g):
    """Respond to many groups, whether there are requests or not."""
    amd_commands(g, [response(g) for _ in range(g.rng.choice((4, 64)))])


@step(3, needs=is_amd_svm)
def amd_change_pasid(g):
    """Replace the tables of a PASID, mostly with an invalidation."""
    pasid = g.rng.randrange(layout.PASIDS)
    if g.chance(0.3):
        g.writeq(GCR3 + pasid * 8, g.garbage() if g.chance(0.3) else 0)
    else:
        write_pasid(g, pasid)
    if g.chance(0.9):
        amd_commands(g, [(3 << 60 | 1 << 32 | pasid, (1 << 63) - PAGE | 5),
                         (1 << 60 | layout.STATUS | 1, 1)])


@step(2, needs=is_amd_svm)
def amd_page_request_log(g):
    """Head, tail, base, status: restart the log, mostly."""
    register = g.rng.choice((PPR_HEAD, PPR_HEAD, PPR_TAIL, PPR_BASE, STATUS))
    value = g.rng.randrange(256) * 16 if g.chance(0.7) else g.garbage()
    g.writeq(AMD + register, value)
    g.writeq(AMD + STATUS, 0x60)
    g.writeq(AMD + CONTROL, ON | SVM_ON & ~(g.rng.randrange(8) << 13))
    if g.chance(0.8):
        g.writeq(AMD + PPR_BASE, layout.REQUESTS | 8 << 56)
        g.writeq(AMD + CONTROL, ON | SVM_ON)


@step(6, needs=is_amd)
def amd_spoil(g):
    """Entries of tables that refer to other tables, or to themselves."""
    g.spoilt = True
    rng = g.rng
    addr = AMD_PAGES + rng.choice((0, 0, PAGE, 2 * PAGE, 3 * PAGE)) + \
        rng.choice((0, 4, 16, rng.randrange(512))) * 8
    if is_amd_svm(g) and g.chance(0.5):
        page = rng.choice((GCR3, IDENTITY, layout.FIRST + PAGE *
                           rng.randrange(layout.PASIDS * layout.TABLE_PAGES)))
        addr = page + rng.choice((0, 1, 4, 511, rng.randrange(512))) * 8
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
