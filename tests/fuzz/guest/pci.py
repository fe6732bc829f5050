# SPDX-License-Identifier: GPL-2.0-or-later
#
# Steps: configuration space of devices, ports and bridges.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Most values for capabilities are valid.  Steps program registers again soon
after a reset, so that devices work most of the time."""

import layout
from guest import step

PM, MSI, EXPRESS, MSIX = 0x01, 0x05, 0x10, 0x11
AER, ACS, ATS, PRI, PASID = 0x01, 0x0d, 0x0f, 0x13, 0x1b
COMMAND = 0x04
MEMORY_AND_MASTER = 0x6

# Bits of Slot Control: the power controller and its indicator, off
SLOT_OFF, INDICATOR_OFF, INDICATOR_ON = 0x400, 0x300, 0x100


def find_capabilities(executor, device):
    """Find the capabilities of a device."""
    def ask(command):
        return executor.emulator.ask(command)[0]

    device.caps, device.ext_caps = {}, {}
    pos = ask(f'readb {layout.config(device.bdf, 0x34):#x}')
    while pos and pos != 0xff and len(device.caps) < 48:
        header = ask(f'readw {layout.config(device.bdf, pos):#x}')
        device.caps.setdefault(header & 0xff, pos)
        pos = header >> 8
    pos = 0x100
    while pos and len(device.ext_caps) < 48:
        header = ask(f'readl {layout.config(device.bdf, pos):#x}')
        if header in (0, 0xffffffff):
            break
        device.ext_caps.setdefault(header & 0xffff, pos)
        pos = header >> 20
    if PRI in device.ext_caps:
        device.capacity = ask('readl {:#x}'.format(layout.config(
            device.bdf, device.ext_caps[PRI] + 8)))


def enable_ecam(g):
    """Act as firmware: set PCIEXBAR of the host bridge."""
    for register, value in ((0x64, 0), (0x60, layout.ECAM | 1)):
        g.do(f'outl 0xcf8 {0x80000000 | register:#x}')
        g.do(f'outl 0xcfc {value:#x}')


def enable_acpi(g):
    """Set PMBASE of the LPC bridge, for ACPI's registers."""
    lpc = 0x1f << 3
    g.writel(layout.config(lpc, 0x40), 0x601)
    g.write(1, layout.config(lpc, 0x44), 0x80)


def program_bridge(g, device):
    """Set bus numbers and a window that forwards all BARs."""
    g.config(device, 0x18, 4, device.last << 16 | device.behind << 8 |
             device.bdf >> 8)
    g.config(device, 0x20, 4, layout.BARS_END & 0xfff00000 |
             layout.BARS >> 16)
    g.config(device, COMMAND, 2, MEMORY_AND_MASTER)
    g.config(device, 0x3e, 2, 0)


def program_bars(g, device):
    """BARs, memory space and bus mastering.  They lie in the same MiB: the
    largest first."""
    if device.driver == 'virtio-net-pci':
        bars = ((0x14, 0x100000), (0x20, 0))
    elif device.driver == 'virtio-iommu-pci':
        bars = ((0x14, 0x100000), (0x20, 0))
    else:
        bars = ((0x10, 0), (0x18, 0x100000))
    for register, offset in bars:
        if register == 0x18 and device.driver == 'svm':
            continue
        g.config(device, register, 4, device.bar + offset)
        if register != 0x14 and device.driver != 'svm':
            g.config(device, register + 4, 4, 0)
    g.config(device, COMMAND, 2, MEMORY_AND_MASTER)


def enable_services(g, device):
    """PASID, page requests and ATS (PCIe 5.0, 7.8.8, 10.5)."""
    caps = device.ext_caps
    if PASID in caps:
        g.config(device, caps[PASID] + 6, 2, 7)
    if PRI in caps:
        g.config(device, caps[PRI] + 4, 2, 2 if g.chance(0.3) else 0)
        g.config(device, caps[PRI] + 12, 4, device.capacity if g.chance(0.8)
                 else g.rng.choice((1, 8, 32, 512)))
        g.config(device, caps[PRI] + 4, 2, 1)
    if ATS in caps:
        g.config(device, caps[ATS] + 6, 2, 0x8000)


def message_target(g, device):
    """Address and data of an interrupt message: memory or the interrupt
    controller, but sometimes registers."""
    rng = g.rng
    kind = rng.randrange(12)
    if kind < 5:
        return layout.MESSAGES + rng.randrange(64) * 8, rng.getrandbits(16)
    if kind < 7:
        return layout.INTERRUPTS | rng.getrandbits(8) << 12 | \
            rng.choice((0, 0x10, 0x18)), rng.getrandbits(9)
    if kind == 7:
        return layout.VTD + rng.choice((0x18, 0x34, 0x38, 0x88, 0xc0, 0xdc)), \
            g.garbage(32)
    if kind == 8:
        return g.a_bar() + rng.choice((0, 0x40, 0x50, 0xa0, 0x88)), \
            rng.choice((1, 2, 10, 11, 5 << 20, 2 << 20, g.garbage(32)))
    if device.driver == 'virtio-net-pci':
        # It must not eject itself: virtio-net sends interrupts in the middle
        # of its work, and goes on with what is gone then
        return layout.MESSAGES, 0
    port = port_above(g, device)
    if kind < 11 and port and EXPRESS in port.caps:
        return layout.config(port.bdf, port.caps[EXPRESS] + 0x18), \
            SLOT_OFF | INDICATOR_OFF
    target = rng.choice(g.machine.devices)
    return layout.config(target.bdf, rng.choice((COMMAND, 0x3e, 0x18))), \
        g.garbage(32)


def port_above(g, device):
    """The port or bridge above a device."""
    for port in g.machine.devices:
        if port.behind and port.behind == device.bdf >> 8:
            return port
    return None


def program_messages(g, device):
    """Program MSI or MSI-X, with a separate target for each vector."""
    if MSI in device.caps:
        pos = device.caps[MSI]
        addr, data = message_target(g, device)
        g.config(device, pos + 4, 4, addr)
        g.config(device, pos + 8, 4, 0)
        g.config(device, pos + 12, 2, data)
        g.config(device, pos + 2, 2, 1)
    elif MSIX in device.caps:
        table = device.bar + (0x8000 if device.driver == 'dsa' else 0x100000)
        for vector in range(3):
            addr, data = message_target(g, device)
            for offset, value in ((0, addr), (4, 0), (8, data), (12, 0)):
                g.writel(table + vector * 16 + offset, value)
        g.config(device, device.caps[MSIX] + 2, 2, 0x8000)


def program_device(g, device):
    """Set up a device as a driver does."""
    if device.is_bridge:
        program_bridge(g, device)
        return
    program_bars(g, device)
    program_messages(g, device)
    enable_services(g, device)


def program_all(g):
    """Set up all devices, as after a reset of the machine."""
    enable_ecam(g)
    enable_acpi(g)
    for device in g.machine.devices:
        if device.present:
            program_device(g, device)


def pick(g, *drivers):
    devices = g.machine.find(*drivers) if drivers else \
        [device for device in g.machine.devices if device.present]
    return g.rng.choice(devices) if devices else None


def endpoint(g):
    return pick(g, 'svm', 'dsa', 'pci-ats-testdev', 'virtio-net-pci')


def bridge(g):
    return pick(g, 'pcie-root-port', 'x3130-upstream', 'xio3130-downstream',
                'pcie-pci-bridge')


@step(12)
def program_again(g):
    device = endpoint(g)
    if device:
        port = port_above(g, device)
        while port:
            program_bridge(g, port)
            port = port_above(g, port)
        program_device(g, device)


@step(3)
def program_bridges(g):
    for device in g.machine.devices:
        if device.present and device.is_bridge:
            program_bridge(g, device)


@step(14)
def write_services(g):
    """Write the control registers of ATS, page requests or PASID."""
    device = endpoint(g)
    if not device or not device.ext_caps:
        return
    caps = device.ext_caps
    kind = g.rng.randrange(7)
    on = g.rng.randrange(2)
    if kind == 0 and ATS in caps:
        g.config(device, caps[ATS] + 6, 2, on << 15 | g.rng.choice(
            (0, 0, 0, 1, 5, 20, 31)))
    elif kind == 1 and PRI in caps:
        g.config(device, caps[PRI] + 4, 2, g.rng.choice((0, 1, 1, 2, 3)))
    elif kind == 2 and PRI in caps:
        g.config(device, caps[PRI] + 12, 4, g.rng.choice(
            (0, 1, 2, 8, 32, 512, 1 << 22, 0xffffffff)))
    elif kind == 3 and PASID in caps:
        g.config(device, caps[PASID] + 6, 2, g.rng.randrange(8))
    elif kind == 4 and PRI in caps:
        g.config(device, caps[PRI] + 6, 2, g.garbage(16))
    elif kind == 5:
        pos = g.rng.choice(list(caps.values()))
        g.config(device, pos + g.rng.randrange(4, 16) & -2, 2, g.garbage(16))
    else:
        enable_services(g, device)


@step(6)
def write_messages(g):
    device = endpoint(g)
    if not device:
        return
    program_messages(g, device)
    if g.chance(0.2) and MSI in device.caps:
        g.config(device, device.caps[MSI] + 16, 4, g.rng.randrange(2))
    if g.chance(0.2) and MSIX in device.caps:
        g.config(device, device.caps[MSIX] + 2, 2, g.garbage(16))


@step(5)
def write_command(g):
    """Disable memory space and bus mastering, and mostly enable them again."""
    device = endpoint(g) if g.chance(0.8) else bridge(g)
    if device:
        g.config(device, COMMAND, 2, g.rng.choice((0, 2, 4, 6, 0x406)))
        if g.chance(0.7):
            g.config(device, COMMAND, 2, MEMORY_AND_MASTER)


@step(2)
def write_power(g):
    """Power states (PM capability): D3hot and back resets the function."""
    device = pick(g)
    if device and PM in device.caps:
        g.config(device, device.caps[PM] + 4, 2, g.rng.randrange(4))
        g.config(device, device.caps[PM] + 4, 2, 0)


@step(4)
def config_garbage(g):
    device = pick(g)
    if not device:
        return
    width = g.rng.choice((1, 2, 4))
    limit = 0x1000 if g.chance(0.3) else 0x100
    g.config(device, g.rng.randrange(0, limit) & -width, width,
             g.garbage(8 * width))
    if device.is_bridge and g.chance(0.8):
        program_bridge(g, device)


@step(2)
def config_read(g):
    device = pick(g)
    if device:
        width = g.rng.choice((1, 2, 4))
        g.read(width, layout.config(device.bdf,
                                    g.rng.randrange(0x1000) & -width))


@step(5)
def reset_function(g):
    """Initiate Function Level Reset (PCIe 5.0, 7.5.3.4)."""
    device = endpoint(g)
    if device and EXPRESS in device.caps:
        g.config(device, device.caps[EXPRESS] + 8, 2, 0x8000)
        if g.chance(0.8):
            program_device(g, device)


@step(2)
def reset_bus(g):
    """Secondary Bus Reset, of a port or a bridge (PCIe 5.0, 7.5.1.3.13)."""
    device = bridge(g)
    if not device:
        return
    g.config(device, 0x3e, 2, 0x40)
    if g.chance(0.9):
        g.config(device, 0x3e, 2, 0)
        for other in g.machine.behind(device):
            if other.present and g.chance(0.9):
                program_device(g, other)


@step(3)
def write_bridge(g):
    """Bus numbers, windows, ACS, link and slot of a port."""
    device = bridge(g)
    if not device:
        return
    express = device.caps.get(EXPRESS)
    kind = g.rng.randrange(6)
    if kind == 0:
        g.config(device, 0x18, 4, g.garbage(32))
    elif kind == 1:
        g.config(device, 0x20, 4, g.garbage(32))
    elif kind == 2 and ACS in device.ext_caps:
        g.config(device, device.ext_caps[ACS] + 6, 2, g.garbage(16))
    elif kind == 3 and express:
        g.config(device, express + g.rng.choice((0x10, 0x1a, 0x1c, 0x20)), 2,
                 g.garbage(16))
    elif kind == 4 and AER in device.ext_caps:
        g.config(device, device.ext_caps[AER] +
                 g.rng.choice((4, 8, 12, 0x10, 0x2c, 0x30)), 4, g.garbage(32))
    else:
        g.config(device, g.rng.choice((0x24, 0x28, 0x3c, 0x1c)), 4,
                 g.garbage(32))
    if g.chance(0.8):
        program_bridge(g, device)
