# SPDX-License-Identifier: GPL-2.0-or-later
#
# Steps: the life cycle of devices and of the machine.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Eject and plug, stop, snapshots, migration, resets."""

import copy
import json

import layout
import pci
from guest import step

# ACPI's registers for hot-plug of PCI devices: docs/specs/acpi_pci_hotplug.rst
ACPI_EJECT, ACPI_SELECT = 0xcc8, 0xcd0


def forget_deleted(g):
    """Process the events for deleted devices; there are none for the devices
    behind them."""
    gone = set(g.executor.emulator.take_deleted())
    for device in g.machine.devices:
        if device.name in gone:
            g.machine.lost_buses |= device.is_bridge
            for other in (device, *g.machine.behind(device)):
                other.present = other.leaving = False


def find_selectors(executor, devices):
    """Find the number with which ACPI selects the bus behind each bridge."""
    for device in devices:
        if device.is_bridge:
            answer = executor.emulator.qmp(
                'qom-get', property='acpi-pcihp-bsel',
                path=f'/machine/peripheral/{device.name}/{device.name}')
            device.select = answer.get('return', 0)


def gone_too(g, device):
    """Return whether a device, or a bridge above it, is unplugged."""
    port = pci.port_above(g, device)
    return not device.present or bool(port) and gone_too(g, port)


@step(3)
def eject(g):
    """The guest ejects the device in a slot, requested or not."""
    device = pci.endpoint(g) if g.chance(0.96) else \
        pci.pick(g, 'x3130-upstream', 'pcie-pci-bridge')
    port = device and pci.port_above(g, device)
    if not port:
        return
    if g.chance(0.5):
        g.do('qmp device_del ' + json.dumps({'id': device.name}))
        device.leaving = True
    express = port.caps.get(pci.EXPRESS)
    if g.machine.native and express and port.driver != 'pcie-pci-bridge':
        control = layout.config(port.bdf, express + 0x18)
        g.write(2, control, pci.INDICATOR_ON)
        g.write(2, control, pci.SLOT_OFF | pci.INDICATOR_OFF)
    else:
        select = port.select if g.chance(0.9) else g.rng.randrange(10)
        g.do(f'outl {ACPI_SELECT:#x} {select:#x}')
        g.do(f'outl {ACPI_EJECT:#x} {1 << (device.bdf >> 3 & 31):#x}')
    g.do('qmp query-status')


@step(8)
def plug(g):
    """Plug an unplugged device, and use it."""
    gone = [device for device in g.machine.devices
            if not device.present and not device.fixed and
            not (pci.port_above(g, device) and
                 gone_too(g, pci.port_above(g, device)))]
    if not gone:
        return
    device = g.rng.choice(gone)
    g.do('qmp device_add ' + json.dumps(device.arguments()))
    port = pci.port_above(g, device)
    if port and pci.EXPRESS in port.caps:
        g.config(port, port.caps[pci.EXPRESS] + 0x18, 2, pci.INDICATOR_ON)
    device.present = True
    pci.program_device(g, device)


@step(1)
def list_devices(g):
    """Requests of a management tool while the machine runs."""
    g.do(g.rng.choice(('qmp query-pci', 'qmp query-pci-ats',
                       'hmp info pci-ats', 'hmp info qtree',
                       'hmp info mtree', 'hmp info migrate')))


@step(2)
def stop(g):
    if g.running:
        g.running = False
        g.do('qmp stop')


@step(8)
def cont(g):
    if not g.running:
        g.running = True
        g.do('qmp cont')


@step(0.3)
def suspend(g):
    """Suspend (ACPI S3) and wake up, which resets the machine."""
    pci.enable_acpi(g)
    g.do('outw 0x604 0x2400')
    g.do('pause 1')
    g.do('qmp system_wakeup')
    g.do('pause 1')
    g.running = True
    g.do('qmp cont')
    pci.program_all(g)


@step(0.4)
def reset_machine(g):
    g.do(g.rng.choice(('qmp system_reset', 'outb 0xcf9 0x6')))
    g.do('pause 2')
    g.do('qmp query-status')
    pci.program_all(g)
    for device in g.machine.devices:
        device.leaving = False


def stopped(g, then):
    """Take a step while the machine is stopped: no interrupt can eject a
    device, so that the set of devices is known."""
    g.do('qmp stop')
    g.follow = then


def see_who_is_there(g):
    """Forget devices that could not be plugged."""
    answer = g.executor.emulator.qmp('qom-list', path='/machine/peripheral')
    names = {child['name'] for child in answer['return']}
    for device in g.machine.devices:
        device.present = device.name in names


def can_be_saved(g):
    """QEMU counts the sections of buses, so that what is left of them when a
    bridge has gone does not fit the destination, nor an older snapshot.  And
    a device that the guest was asked to eject goes when a snapshot is loaded,
    before what was saved of it is."""
    return not g.machine.lost_buses and \
        not any(device.leaving for device in g.machine.devices)


@step(0.5)
def stop_to_save(g):
    if can_be_saved(g):
        stopped(g, save)


def save(g):
    see_who_is_there(g)
    if can_be_saved(g):
        g.saved = copy.deepcopy((g.machine, g.scalable, g.rings))
        g.do('savevm')
    resume(g)


@step(0.7)
def stop_to_load(g):
    if g.saved and can_be_saved(g):
        stopped(g, load)


def load(g):
    """Load a snapshot, if the machine has the same devices."""
    see_who_is_there(g)
    machine, scalable, rings = copy.deepcopy(g.saved)
    if can_be_saved(g) and \
            [device.present for device in machine.devices] == \
            [device.present for device in g.machine.devices]:
        g.machine, g.scalable, g.rings = machine, scalable, rings
        g.do('loadvm')
    resume(g)


@step(0.25)
def stop_to_migrate(g):
    if can_be_saved(g):
        stopped(g, migrate)


def migrate(g):
    """Go on in a fresh process, whose disk cannot be written before the
    machine runs once."""
    see_who_is_there(g)
    if can_be_saved(g):
        g.do('migrate ' + g.machine.command_line())
        g.do('qmp cont')
        if not g.running:
            g.do('qmp stop')
    else:
        resume(g)


def resume(g):
    """Continue, or stay stopped, as before."""
    if g.running:
        g.do('qmp cont')


@step(3)
def pause(g):
    """Let the threads of devices run."""
    g.do(f'pause {g.rng.choice((0, 0, 1, 1, 3))}')


@step(3)
def clock(g):
    g.do(f'clock_step {g.rng.choice((1000, 1000000, 1000000000))}')
