#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# How fast the DSA model moves, fills, compares and checks memory, by size of
# the operation, next to memcpy() on the host in the same run.
#
# Copyright (c) 2026 QEMU SVM contributors
"""One engine works on batches of descriptors that are submitted over qtest.
A row is the best of some runs; the time includes the submission."""

import argparse
import struct
import time

from qtest_machine import QtestMachine, memcpy_speed
from report import Failure, main_guard

BDF = 4 << 3
REGS = 0xd0000000
PORTALS = 0xd0800000
RECORD = 0x1000000
LIST = 0x1100000
SOURCE = 0x4000000
TARGET = 0xc000000
AREA = 64 << 20
BATCH = 1024
OPERATIONS = {'move': 3, 'fill': 4, 'compare': 5, 'crc': 0x10}
CR_FLAGS = 0xc


class Machine(QtestMachine):
    """A q35 with a DSA."""

    def __init__(self, emulator):
        super().__init__(emulator, '512', 'dsa,addr=4')

    def register(self, offset, value):
        self.writeq(REGS + offset, value)

    def dsa_command(self, code, operand=0):
        self.writel(REGS + 0xa0, code << 20 | operand)
        status = self.readl(REGS + 0xa8)
        if status:
            raise Failure(f'command {code}: the device says {status:#x}; '
                          'docs/specs/dsa.rst tells what that is')

    def start(self):
        """Engine 0 and WQ 0, dedicated, with 16 entries, in group 0."""
        self.config_writel(BDF, 0x10, REGS)
        self.config_writel(BDF, 0x14, 0)
        self.config_writel(BDF, 0x18, PORTALS)
        self.config_writel(BDF, 0x1c, 0)
        self.config_writel(BDF, 0x04, 6)
        self.register(0x1000, 1)
        self.register(0x1020, 1)
        self.register(0x2000, 16)
        self.register(0x2008, 1 | 1 << 4 | (31 | 10 << 5) << 32)
        self.dsa_command(1)
        self.dsa_command(6)

    def submit(self, descriptor):
        self.command(f'direct_store {PORTALS:#x} 0x{descriptor.hex()}')

    def wait(self):
        while not (status := self.readb(RECORD)):
            pass
        if status != 1:
            raise Failure(f'a batch ends with status {status:#x}; '
                          'docs/specs/dsa.rst tells what that is')


def descriptor(operation, flags, record, source, target, size):
    return struct.pack('<QQQQIHH24x', operation << 56 | flags << 32, record,
                       source, target, size, 0, 0)


def fill_list(machine, operation, size, count):
    """A list of @count descriptors, over memory that does not fit a cache."""
    needs_record = operation in (OPERATIONS['compare'], OPERATIONS['crc'])
    flags = CR_FLAGS if needs_record else 0
    data = b''
    for i in range(count):
        offset = i * size % AREA if size < AREA else 0
        data += descriptor(
            operation, flags, RECORD + 64 + i * 32 if needs_record else 0,
            SOURCE + offset if operation != OPERATIONS['fill'] else 0,
            TARGET + offset if operation != OPERATIONS['crc'] else 0, size)
    machine.write(LIST, data)


def measure(machine, operation, size, count, batches):
    """Seconds for @batches batches of @count descriptors, the best of 5."""
    fill_list(machine, operation, size, count)
    best = None
    for _ in range(5):
        machine.writeq(RECORD, 0)
        begin = time.perf_counter()
        for i in range(batches):
            last = i == batches - 1
            machine.submit(descriptor(1, CR_FLAGS if last else 0,
                                      RECORD if last else 0, LIST, 0, count))
        machine.wait()
        elapsed = time.perf_counter() - begin
        best = min(best or elapsed, elapsed)
    return best


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--qemu', metavar='PATH',
                        help='another emulator than the one built here')
    options = parser.parse_args()
    machine = Machine(options.qemu)
    machine.start()
    print('         ' + ''.join(f'{name:>22}' for name in OPERATIONS)
          + '      memcpy')
    print('    size ' + '   GB/s descriptors/s ' * len(OPERATIONS)
          + '       GB/s')
    for shift in range(6, 27, 4):
        size = 1 << shift
        count = min(BATCH, max(2, AREA // size))
        batches = 8 if size <= 4096 else 1
        row = f'{size:8} '
        for operation in OPERATIONS.values():
            seconds = measure(machine, operation, size, count, batches)
            total = count * batches
            row += (f'{size * total / seconds / 1e9:7.2f} '
                    f'{total / seconds:13,.0f} ')
        # A call from Python costs too much for small sizes
        print(row + (f'{memcpy_speed(size, AREA):11.2f}' if size >= 64 << 10
                     else f'{"-":>11}'))
    machine.close()


if __name__ == '__main__':
    main_guard(main)
