# SPDX-License-Identifier: GPL-2.0-or-later
#
# Steps: virtio devices, a network card and virtio-iommu.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Split queues of modern virtio-pci devices (virtio 1.3, 2.7 and 4.1), and the
requests of virtio-iommu (5.13)."""

import layout
import pci
from guest import step
from layout import BUFFERS, PAGE, RINGS
from machine import Device

# QEMU's structures in BAR 4
COMMON, NOTIFY = 0x0, 0x3000
STATUS, DRIVER_FEATURES, SELECT, ENABLE = 0x14, 0x0c, 0x16, 0x1c
NEXT, WRITE = 1, 2
MASK = (1 << 64) - 1
QUEUE_SIZE = 64
IOMMU_DEVICE = Device('virtio-iommu-pci', 'iommu0', 'pcie.0', 0, 6)
IOMMU_DEVICE.index = 30


def is_virtio(g):
    return g.machine.kind == 'virtio'


def ring(number):
    """Addresses of descriptors, available and used ring of a queue."""
    return tuple(RINGS + (number * 3 + part) * PAGE for part in range(3))


def start(g, device, queues, high_features):
    """Reset and set up to DRIVER_OK, with queues at fixed addresses."""
    bar = device.bar + COMMON
    g.write(1, bar + STATUS, 0)
    g.write(1, bar + STATUS, 3)
    for select, features in ((0, 0), (1, high_features)):
        g.writel(bar + 8, select)
        g.writel(bar + DRIVER_FEATURES, features)
    g.write(1, bar + STATUS, 0xb)
    for number in range(queues):
        g.write(2, bar + SELECT, number)
        g.write(2, bar + 0x18, QUEUE_SIZE)
        g.write(2, bar + 0x1a, g.rng.choice((0, 1, 0xffff)))
        for offset, addr in zip((0x20, 0x28, 0x30), ring(number)):
            g.writel(bar + offset, addr)
            g.writel(bar + offset + 4, 0)
        g.clear(ring(number)[0], 3 * PAGE)
        g.write(2, bar + ENABLE, 1)
    g.write(1, bar + STATUS, 0xf)


def offer(g, device, number, buffers):
    """Put (address, length, writable) into entry 0 of a queue, and notify.

    The available index advances by one; its low bits select the entry."""
    descriptors, available, _ = ring(number)
    for index, (addr, length, writable) in enumerate(buffers):
        last = index == len(buffers) - 1
        g.writeq(descriptors + index * 16, addr)
        g.writeq(descriptors + index * 16 + 8, length |
                 ((WRITE if writable else 0) | (0 if last else NEXT)) << 32 |
                 index + 1 << 48)
    g.clear(available + 4, QUEUE_SIZE * 2)
    g.rings[number] = (g.rings.get(number, 0) + 1) & 0xffff
    g.write(2, available + 2, g.rings[number])
    g.write(2, device.bar + NOTIFY + number * 4, number)


@step(3)
def net_start(g):
    device = pci.pick(g, 'virtio-net-pci')
    if device:
        g.rings.update({0: 0, 1: 0})
        # VERSION_1, ACCESS_PLATFORM
        start(g, device, 2, 3 if g.chance(0.9) else 1)


@step(8)
def net_send(g):
    """Send a packet, or post a buffer for one, at any address."""
    device = pci.pick(g, 'virtio-net-pci')
    if device:
        number = g.rng.randrange(2)
        offer(g, device, number,
              [(g.addr(), g.rng.choice((12, 64, 1500, g.garbage(32))),
                number == 0) for _ in range(g.rng.randrange(1, 4))])


@step(2)
def net_garbage(g):
    device = pci.pick(g, 'virtio-net-pci')
    if device:
        width = g.rng.choice((1, 2, 4))
        g.write(width, device.bar + g.rng.choice((COMMON, 0x1000, 0x2000,
                                                  NOTIFY)) +
                (g.rng.randrange(0x40) & -width), g.garbage(8 * width))
        if g.chance(0.8):
            net_start(g)


# ---- virtio-iommu ----

ATTACH, DETACH, MAP, UNMAP, PROBE = 1, 2, 3, 4, 5


@step(3, needs=is_virtio)
def iommu_start(g):
    pci.program_bars(g, IOMMU_DEVICE)
    g.rings[2] = 0
    # Its queues are numbers 2 and 3 here
    bar = IOMMU_DEVICE.bar
    start(g, IOMMU_DEVICE, 0, 1)
    g.write(1, bar + STATUS, 0xb)
    for queue in range(2):
        g.write(2, bar + SELECT, queue)
        g.write(2, bar + 0x18, QUEUE_SIZE)
        for offset, addr in zip((0x20, 0x28, 0x30), ring(2 + queue)):
            g.writel(bar + offset, addr)
            g.writel(bar + offset + 4, 0)
        g.clear(ring(2 + queue)[0], 3 * PAGE)
        g.write(2, bar + ENABLE, 1)
    g.write(1, bar + STATUS, 0xf)


def request(g):
    """A request for virtio-iommu, and the size of its answer (5.13.6)."""
    rng = g.rng
    kind = rng.choice((ATTACH, ATTACH, DETACH, MAP, MAP, MAP, UNMAP, PROBE))
    domain = rng.randrange(3).to_bytes(4, 'little')
    endpoint = rng.choice(g.machine.devices).bdf.to_bytes(4, 'little')
    first = g.addr() & -PAGE
    last = first + rng.choice((1, 1, 16, 512)) * PAGE - 1
    if g.chance(0.1):
        first, last = last & -PAGE, first | 0xfff
    if g.chance(0.1):
        first, last = 0, (1 << 64) - 1
    bounds = (first & MASK).to_bytes(8, 'little') + \
        (last & MASK).to_bytes(8, 'little')
    head = kind.to_bytes(4, 'little')
    body = {
        ATTACH: domain + endpoint + rng.choice((0, 0, 1)).to_bytes(
            4, 'little') + bytes(4),
        DETACH: domain + endpoint + bytes(8),
        MAP: domain + bounds + (layout.DATA + rng.randrange(1024) * PAGE)
        .to_bytes(8, 'little') + rng.choice((1, 3, 3, 7)).to_bytes(
            4, 'little'),
        UNMAP: domain + bounds + bytes(4),
        PROBE: endpoint + bytes(64),
    }[kind]
    return head + body, 516 if kind == PROBE else 4


@step(25, needs=is_virtio)
def iommu_request(g):
    data, answer = request(g)
    if g.chance(0.1):
        data = bytearray(data)
        data[g.rng.randrange(len(data))] ^= 1 << g.rng.randrange(8)
    g.store(BUFFERS, bytes(data))
    descriptors, available, _ = ring(2)
    g.writeq(descriptors, BUFFERS)
    g.writeq(descriptors + 8, len(data) | NEXT << 32 | 1 << 48)
    g.writeq(descriptors + 16, BUFFERS + 0x800)
    g.writeq(descriptors + 24, answer | WRITE << 32)
    g.clear(available + 4, QUEUE_SIZE * 2)
    g.rings[2] = (g.rings.get(2, 0) + 1) & 0xffff
    g.write(2, available + 2, g.rings[2])
    g.write(2, IOMMU_DEVICE.bar + NOTIFY, 0)
