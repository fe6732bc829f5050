# SPDX-License-Identifier: GPL-2.0-or-later
#
# The hostile guest: its state, and the generator of steps.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The state on which steps depend, and the registry of steps.

A step is a function that adds actions (see executor.py) to the guest.  It is
registered with the decorator step(weight): how often it is taken, relative to
the others."""

import random

import layout

STEPS = []


def step(weight, needs=None):
    """Register a step; needs(guest) returns whether it is possible."""
    def register(function):
        STEPS.append((function, weight, needs))
        return function
    return register


class Guest:
    """One machine and the guest in it.

    machine describes its devices, executor runs the actions of steps."""

    def __init__(self, machine, executor, seed):
        self.rng = random.Random(seed)
        self.machine = machine
        self.executor = executor
        self.running = True
        self.saved = None
        self.rings = {}                 # available index of virtio queues
        self.follow = None              # the step to take next
        self.spoilt = False             # the IOMMU may not work any more
        self.repair = None              # the step that makes it work again
        self.scalable = True
        self._actions = []
        steps = [(function, weight) for function, weight, needs in STEPS
                 if not needs or needs(self)]
        self._functions = [function for function, _ in steps]
        self._weights = []
        total = 0
        for _, weight in steps:
            total += weight
            self._weights.append(total)

    def next_step(self):
        """Generate a step; return its name and its actions."""
        if self.follow:
            function, self.follow = self.follow, None
            return self.make(function)
        if self.spoilt and self.repair and self.chance(0.05):
            self.spoilt = False
            return self.make(self.repair)
        function, = self.rng.choices(self._functions,
                                     cum_weights=self._weights)
        return self.make(function)

    def make(self, function, *arguments):
        """Generate the given step; return its name and its actions."""
        self._actions = []
        function(self, *arguments)
        return function.__name__, self._actions

    # ---- Actions ----

    def do(self, action):
        self._actions.append(action)

    def write(self, width, addr, value):
        self.do(f'write{"bwlq"[width.bit_length() - 1]} {addr:#x} '
                f'{value & (1 << 8 * width) - 1:#x}')

    def read(self, width, addr):
        self.do(f'read{"bwlq"[width.bit_length() - 1]} {addr:#x}')

    def writeq(self, addr, value):
        self.write(8, addr, value)

    def writel(self, addr, value):
        self.write(4, addr, value)

    def store(self, addr, data):
        """Bytes into guest memory."""
        for i in range(0, len(data), 2048):
            part = data[i:i + 2048]
            self.do(f'write {addr + i:#x} {len(part):#x} 0x{part.hex()}')

    def clear(self, addr, size):
        self.do(f'memset {addr:#x} {size:#x} 0x0')

    def config(self, device, offset, width, value):
        """A write to configuration space."""
        self.write(width, layout.config(device.bdf, offset), value)

    # ---- Choices ----

    def chance(self, probability):
        return self.rng.random() < probability

    def garbage(self, bits=64):
        """A random number, often with few bits set."""
        rng = self.rng
        kind = rng.randrange(6)
        if kind == 0:
            return rng.getrandbits(bits)
        if kind == 1:
            return (1 << bits) - 1
        if kind == 2:
            return 0
        if kind == 3:
            return 1 << rng.randrange(bits)
        if kind == 4:
            return (1 << rng.randrange(bits)) - 1
        return rng.getrandbits(bits) & rng.getrandbits(bits)

    def pasid(self):
        """The PASID of a request, or None."""
        kind = self.rng.randrange(10)
        if kind < 6:
            return self.rng.randrange(layout.PASIDS)
        return None if kind < 9 else self.rng.getrandbits(20)

    def addr(self):
        """An address for a device."""
        rng = self.rng
        kind = rng.randrange(16)
        if kind < 9:
            addr = layout.WINDOW + rng.randrange(2 * layout.MIB)
        elif kind == 9:
            addr = layout.LARGE - rng.randrange(3 * layout.PAGE)
        elif kind == 10:
            addr = layout.LARGE + rng.randrange(2 * layout.MIB)
        elif kind == 11:
            addr = layout.HUGE + layout.DATA + rng.randrange(1 << 20)
        elif kind == 12:
            addr = layout.DATA + rng.randrange(layout.DATA_SIZE)
        elif kind == 13:
            addr = (1 << 64) - rng.randrange(1, 4 * layout.MIB)
        elif kind == 14:
            addr = rng.choice((
                layout.INTERRUPTS, layout.VTD, self.a_bar(), layout.RAM - 64,
                1 << 39, 1 << 47, 1 << 48, 1 << 57, 0)) \
                + rng.randrange(-64, 128)
        else:
            addr = rng.getrandbits(64)
        addr &= (1 << 64) - 1
        return addr & -64 if rng.randrange(2) else addr

    def length(self):
        """A number of bytes for a device."""
        rng = self.rng
        kind = rng.randrange(12)
        if kind < 4:
            return rng.randrange(1, 0x1000)
        if kind < 8:
            return rng.randrange(1, 0x10) * layout.PAGE + rng.randrange(2)
        if kind < 11:
            return rng.randrange(1, 2 * layout.MIB)
        return 1 << rng.randrange(32)

    def a_bar(self):
        """The start of a BAR."""
        device = self.rng.choice(self.machine.devices)
        return layout.BARS + device.index * layout.BAR_SIZE
