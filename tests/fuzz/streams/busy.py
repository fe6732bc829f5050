# SPDX-License-Identifier: GPL-2.0-or-later
#
# Devices with endless work.
#
# Copyright (c) 2026 QEMU SVM contributors
"""A correct guest that does not respond to page requests, so that devices have
as much state as possible."""

import amd
import dsa
import layout
import pci
import svm
import testdev
import vtd

# Allocation of page requests: no device has a smaller capacity
REQUESTS = 4
# Missing pages, a range for each descriptor or operation
MISSING = range(64, 512, 8)
WAITING_COMMANDS = (dsa.DRAIN_ALL, dsa.DISABLE, dsa.RESET, dsa.DRAIN_WQ,
                    dsa.DRAIN_PASID)
PASID = 1


def number_buses(g):
    """Make configuration space accessible."""
    pci.enable_ecam(g)
    for device in g.machine.devices:
        if device.is_bridge:
            pci.program_bridge(g, device)


def make_busy(g):
    """Leave all devices waiting for pages, without interrupts, which could
    eject a device."""
    if amd.is_amd(g):
        amd.amd_restart(g)
    else:
        vtd.start(g, g.machine.scalable)
    for device in g.machine.devices:
        if not device.is_bridge:
            pci.program_bars(g, device)
    for pasid in range(layout.PASIDS):
        for page in MISSING:
            for number in range(4):
                addr = layout.WINDOW + (page + number) * layout.PAGE
                g.writeq(layout.leaf_entry(pasid, addr), 0)
    pages = [layout.WINDOW + page * layout.PAGE for page in MISSING]
    g.rng.shuffle(pages)
    for device in g.machine.find('svm', 'dsa', 'pci-ats-testdev'):
        enable_services(g, device)
        start = {'svm': start_svm, 'dsa': start_dsa,
                 'pci-ats-testdev': start_testdev}[device.driver]
        start(g, device, pages)


def enable_services(g, device):
    """PASID, page requests and ATS (PCIe 5.0, 7.8.8, 10.5)."""
    caps = device.ext_caps
    if pci.ATS in caps and pci.PASID in caps and pci.PRI in caps:
        g.config(device, caps[pci.PASID] + 6, 2, 1)
        g.config(device, caps[pci.PRI] + 12, 4, REQUESTS)
        g.config(device, caps[pci.PRI] + 4, 2, 1)
        g.config(device, caps[pci.ATS] + 6, 2, 0x8000)


def start_svm(g, device, pages):
    g.writel(device.bar + svm.PASID, PASID if g.machine.svm else svm.NO_PASID)
    g.writeq(device.bar + svm.ADDR, pages.pop() - layout.PAGE)
    g.writeq(device.bar + svm.SIZE, 3 * layout.PAGE)
    g.writeq(device.bar + svm.START, g.rng.choice((1, 2)))
    if g.chance(0.2):
        g.writel(device.bar + svm.PASID, svm.NO_PASID)


# ---- dsa ----

def start_dsa(g, device, pages):
    configure_dsa(g, device)
    count = dsa.queues(device)
    operations = [3, 4, 5, 7, 8, 9, 0x10, 0x12, 0x20]
    g.rng.shuffle(operations)
    for number in range(12):
        operation = operations[number % len(operations)]
        if number == 0 and g.chance(0.5):
            data = batch(g, pages)
        else:
            data = blocked(operation, number, pages)
        submit(g, device, number % count, data)
    if g.chance(0.5):
        operand = g.rng.choice((0, 1))
        dsa.command(g, device, g.rng.choice(WAITING_COMMANDS), operand)


def configure_dsa(g, device):
    dsa.command(g, device, dsa.RESET)
    g.writel(device.bar + dsa.GENCTRL, 7)
    g.writel(device.bar + dsa.GENCFG, 0x2000)
    g.writeq(device.bar + dsa.EVLCFG, layout.EVENTS)
    g.writeq(device.bar + dsa.EVLCFG + 8, 64)
    count = dsa.queues(device)
    g.writeq(device.bar + dsa.GROUPS, (1 << count) - 1)
    g.writeq(device.bar + dsa.GROUPS + 32, 3)
    pasid = 1 << 28 | PASID << 8 if g.machine.svm else 0
    block = 2 if g.machine.svm else 0
    for number in range(count):
        addr = device.bar + dsa.QUEUES + number * 32
        g.writeq(addr, 8 | 8 << 32)
        g.writeq(addr + 8, 1 | block | 1 << 4 | pasid | 31 << 32 | 10 << 37)
    dsa.command(g, device, dsa.ENABLE)
    for number in range(count):
        dsa.command(g, device, dsa.ENABLE_WQ, number)


def words(*values):
    return b''.join(value.to_bytes(8, 'little') for value in values)


def blocked(operation, number, pages):
    """A descriptor (8.1) that begins in a present page."""
    source = pages[number % len(pages)] - layout.PAGE
    destination = pages[(number + 5) % len(pages)] - layout.PAGE
    size = 520 * 16 if operation == 0x12 else 0x2000
    extra = {7: (layout.LARGE + 0x20000, 800), 8: (100, 0),
             9: (destination + 0x100000, 0)}.get(operation, (0, 0))
    if operation in (0x10, 0x12):
        destination = 0
    if operation == 0x20:
        source = 0
    flags = dsa.RECORD | dsa.BLOCK_ON_FAULT
    return words(flags << 32 | operation << 56, layout.LARGE + number * 32,
                 source, destination, size, *extra, 0)


def batch(g, pages):
    """A batch (3.8) whose second descriptor waits."""
    where = layout.LARGE + 0x10000
    nothing = words(dsa.RECORD << 32, layout.LARGE + 0x1000, *[0] * 6)
    g.store(layout.DATA + 0x10000,
            nothing + blocked(4, 40, pages) + nothing)
    return words(dsa.RECORD << 32 | dsa.BATCH << 56, layout.LARGE + 0x2000,
                 where, 0, 3, 0, 0, 0)


def submit(g, device, queue, descriptor):
    addr = device.bar + dsa.PORTALS + (queue * 4 + 1) * layout.PAGE
    g.do(f'direct_store {addr:#x} 0x{descriptor.hex()}')


# ---- pci-ats-testdev ----

def start_testdev(g, device, pages):
    """Listeners, and outstanding page request groups."""
    for pasid in range(layout.PASIDS):
        for command in testdev.REGISTER_IOTLB, testdev.REGISTER_PRI:
            command_testdev(g, device, command, pasid, 0, 0)
    for prgi in range(REQUESTS - 1):
        command_testdev(g, device, testdev.PAGE_REQUEST, prgi % layout.PASIDS,
                        pages[prgi], prgi)


def command_testdev(g, device, command, pasid, addr, prgi):
    for register, value in (
            (testdev.PASID, pasid), (testdev.ADDR, addr),
            (testdev.PRGI, prgi),
            (testdev.FLAGS, testdev.READ | testdev.LAST),
            (testdev.COMMAND, command)):
        g.writeq(device.bar + register, value)
