#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# How fast the DSA model moves, fills, compares and checks memory, by size of
# the operation, next to memcpy() on the host in the same run.
#
# Copyright (c) 2026 QEMU SVM contributors
"""One engine works on batches of descriptors that are submitted over qtest.
A figure is the best of some runs; the time includes the submission.  Prints
what tests/bench/run-bench reads, or with --table a table."""

import argparse
import ctypes
import os
import struct
import subprocess
import sys
import time

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


class Machine:
    """A q35 with a DSA, driven over qtest."""

    def __init__(self, emulator):
        self.process = subprocess.Popen(
            [emulator, '-M', 'q35', '-nodefaults', '-display', 'none',
             '-m', '512', '-accel', 'qtest', '-qtest', 'stdio',
             '-qtest-log', '/dev/null', '-device', 'dsa,addr=4'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def command(self, text):
        self.process.stdin.write(text + '\n')
        self.process.stdin.flush()
        answer = self.process.stdout.readline().split()
        if not answer or answer[0] != 'OK':
            sys.exit(f'{text[:60]}: {" ".join(answer)}')
        return int(answer[1], 0) if len(answer) > 1 else None

    def config(self, register, value):
        self.command(f'outl 0xcf8 {0x80000000 | 4 << 11 | register:#x}')
        self.command(f'outl 0xcfc {value:#x}')

    def register(self, offset, value):
        self.command(f'writeq {REGS + offset:#x} {value:#x}')

    def dsa_command(self, code, operand=0):
        self.command(f'writel {REGS + 0xa0:#x} {code << 20 | operand:#x}')
        status = self.command(f'readl {REGS + 0xa8:#x}')
        if status:
            sys.exit(f'command {code}: status {status:#x}')

    def start(self):
        """Engine 0 and WQ 0, dedicated, with 16 entries, in group 0."""
        self.config(0x10, REGS)
        self.config(0x14, 0)
        self.config(0x18, PORTALS)
        self.config(0x1c, 0)
        self.config(0x04, 6)
        self.register(0x1000, 1)
        self.register(0x1020, 1)
        self.register(0x2000, 16)
        self.register(0x2008, 1 | 1 << 4 | (31 | 10 << 5) << 32)
        self.dsa_command(1)
        self.dsa_command(6)

    def write(self, address, data):
        self.command(f'write {address:#x} {len(data)} 0x{data.hex()}')

    def submit(self, descriptor):
        self.command(f'direct_store {PORTALS:#x} 0x{descriptor.hex()}')

    def wait(self):
        while not (status := self.command(f'readb {RECORD:#x}')):
            pass
        if status != 1:
            sys.exit(f'completion status {status:#x}')


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
        machine.command(f'writeq {RECORD:#x} 0')
        begin = time.perf_counter()
        for i in range(batches):
            last = i == batches - 1
            machine.submit(descriptor(1, CR_FLAGS if last else 0,
                                      RECORD if last else 0, LIST, 0, count))
        machine.wait()
        elapsed = time.perf_counter() - begin
        best = min(best or elapsed, elapsed)
    return best


def memcpy_rate(size):
    """Bytes a second; a call from Python costs too much for small sizes."""
    if size < 64 << 10:
        return None
    area = max(size, AREA)
    source = ctypes.create_string_buffer(b'x' * area, area)
    target = ctypes.create_string_buffer(area)
    best = None
    for _ in range(5):
        begin = time.perf_counter()
        for offset in range(0, area - size + 1, size):
            ctypes.memmove(ctypes.addressof(target) + offset,
                           ctypes.addressof(source) + offset, size)
        elapsed = time.perf_counter() - begin
        best = min(best or elapsed, elapsed)
    return area // size * size / best


def rates(machine, size):
    """Seconds per operation of each kind, and of memcpy() where it is known."""
    count = min(BATCH, max(2, AREA // size))
    batches = 8 if size <= 4096 else 1
    seconds = {name: measure(machine, operation, size, count, batches)
               / (count * batches) for name, operation in OPERATIONS.items()}
    rate = memcpy_rate(size)
    if rate:
        seconds['memcpy'] = size / rate
    return seconds


def print_figures(size, seconds):
    """Lines for tests/bench/run-bench."""
    for name, value in seconds.items():
        print('DSA: ns per descriptor', name, size, value * 1e9, sep='\t')
    for name, value in seconds.items():
        print('DSA: GB/s', name, size, size / value / 1e9, sep='\t',
              flush=True)


def print_row(size, seconds):
    """A line of the table."""
    row = f'{size:8} '
    for name in OPERATIONS:
        row += (f'{size / seconds[name] / 1e9:7.2f} '
                f'{1 / seconds[name]:13,.0f} ')
    print(row + (f'{size / seconds["memcpy"] / 1e9:11.2f}'
                 if 'memcpy' in seconds else f'{"-":>11}'))


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument('--qemu',
                        default=os.environ.get('QTEST_QEMU_BINARY',
                                               'build/qemu-system-x86_64'),
                        help='the emulator')
    parser.add_argument('--table', action='store_true', help='print a table')
    options = parser.parse_args()
    machine = Machine(options.qemu)
    machine.start()
    if options.table:
        print('         ' + ''.join(f'{name:>22}' for name in OPERATIONS)
              + '      memcpy')
        print('    size ' + '   GB/s descriptors/s ' * len(OPERATIONS)
              + '       GB/s')
    for shift in range(6, 27, 4):
        (print_row if options.table else print_figures)(
            1 << shift, rates(machine, 1 << shift))
    machine.process.kill()
    machine.process.wait()


if __name__ == '__main__':
    main()
