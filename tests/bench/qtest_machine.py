# SPDX-License-Identifier: GPL-2.0-or-later
#
# An emulator without processors, for benchmarks of device models.
#
# Copyright (c) 2026 QEMU SVM contributors
"""A q35 machine, driven over qtest, and memcpy() on the host for comparison.
Import this module first: it adds scripts/ to the path."""

import ctypes
import subprocess
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / 'scripts'))

# pylint: disable=wrong-import-position
from guest_machine import find_emulator  # noqa: E402
from report import Failure  # noqa: E402


class QtestMachine:
    """An emulator; the methods are qtest's commands."""

    def __init__(self, emulator, memory, *devices):
        """emulator is a path, or None for the one built here."""
        self._process = subprocess.Popen(
            [find_emulator(emulator), '-M', 'q35', '-nodefaults',
             '-display', 'none', '-m', memory, '-accel', 'qtest',
             '-qtest', 'stdio', '-qtest-log', '/dev/null',
             *(word for device in devices for word in ('-device', device))],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def close(self):
        self._process.kill()
        self._process.wait()

    def command(self, text):
        """Send a command; the answer is a number or None."""
        try:
            self._process.stdin.write(text + '\n')
            self._process.stdin.flush()
            answer = self._process.stdout.readline().split()
        except BrokenPipeError:
            answer = []
        if not answer:
            raise Failure('QEMU has ended, see its output above; is it '
                          'the emulator that "make" builds?')
        if answer[0] != 'OK':
            raise Failure(f'QEMU rejects "{text[:60]}": {" ".join(answer)}')
        return int(answer[1], 0) if len(answer) > 1 else None

    def write(self, addr, data):
        step = 4096
        for i in range(0, len(data), step):
            part = data[i:i + step]
            self.command(f'write {addr + i:#x} {len(part)} 0x{part.hex()}')

    def writeq(self, addr, value):
        self.command(f'writeq {addr:#x} {value:#x}')

    def writel(self, addr, value):
        self.command(f'writel {addr:#x} {value:#x}')

    def writew(self, addr, value):
        self.command(f'writew {addr:#x} {value:#x}')

    def readb(self, addr):
        return self.command(f'readb {addr:#x}')

    def readl(self, addr):
        return self.command(f'readl {addr:#x}')

    def readq(self, addr):
        return self.command(f'readq {addr:#x}')

    def config_writel(self, bdf, register, value):
        """Configuration space by ports, the first 256 bytes."""
        self.command(f'outl 0xcf8 {0x80000000 | bdf << 8 | register:#x}')
        self.command(f'outl 0xcfc {value:#x}')


def memcpy_speed(size, area=None, rounds=5):
    """GB/s of copies of a size through an area, the best of some rounds.

    The first round, which faults the pages in, does not count.  A call from
    Python costs too much for sizes below 64 KiB.
    """
    area = max(size, area or 0)
    source = ctypes.create_string_buffer(area)
    target = ctypes.create_string_buffer(area)
    offsets = range(0, area - size + 1, size)
    best = float('inf')
    for count in range(rounds + 1):
        begin = time.perf_counter()
        for offset in offsets:
            ctypes.memmove(ctypes.addressof(target) + offset,
                           ctypes.addressof(source) + offset, size)
        seconds = time.perf_counter() - begin
        if count:
            best = min(best, seconds)
    return len(offsets) * size / best / 1e9
