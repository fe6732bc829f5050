#!/usr/bin/env python3
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Hostile guest software, by scripts/fuzz.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Run a few hundred steps with each IOMMU, with fixed seeds and an ordinary
build of QEMU; and check how the fuzzer reports errors."""

import contextlib
import io
import os
import signal
import sys
import tempfile
import unittest
from pathlib import Path

import pycotap

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / 'scripts'), str(REPO / 'tests/fuzz/guest')]

# pylint: disable=wrong-import-position
from emulator import Died, Emulator, Hang  # noqa: E402
from machine import Machine                # noqa: E402
from session import Session, read_log      # noqa: E402

EMULATOR = os.environ.get('QEMU_TEST_QEMU_BINARY',
                          REPO / 'build/qemu-system-x86_64')
STEPS = 300


def seed_of(kind):
    """Return the first seed whose machine has an IOMMU of this kind."""
    seed = 1
    while Machine(seed).kind != kind:
        seed += 1
    return seed


class HostileGuestTest(unittest.TestCase):

    def setUp(self):
        # pylint: disable=consider-using-with
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.session = Session(EMULATOR, self.folder)

    def quietly(self, function, *arguments, **options):
        """Return the result of a function, and its output."""
        with contextlib.redirect_stdout(io.StringIO()) as output:
            result = function(*arguments, **options)
        return result, output.getvalue()

    def fuzz(self, kind):
        good, output = self.quietly(self.session.fuzz, seed_of(kind), 5,
                                    steps=STEPS, machines=1)
        self.assertTrue(good, output)
        self.assertIn(' steps in 1 machines', output)

    def test_intel_iommu(self):
        self.fuzz('intel')

    def test_amd_iommu(self):
        self.fuzz('amd')

    def test_virtio_iommu(self):
        self.fuzz('virtio')

    def test_no_iommu(self):
        self.fuzz('none')

    def test_finding(self):
        """A machine that exits is a finding, which its log reproduces."""
        log = self.folder / 'steps'
        log.write_text(
            'start: start -M q35 -nodefaults\n'
            'dma: clock_step 1000 ; readl 0xfed00000\n'
            'end: qmp quit ; readl 0xfed00000\n', encoding='utf-8')
        good, output = self.quietly(self.session.again, log, less=True)
        self.assertFalse(good)
        self.assertIn('QEMU ended with status 0', output)
        self.assertEqual(read_log(f'{log}.less'),
                         [read_log(log)[0], read_log(log)[2]])

    def test_hang(self):
        """QEMU does not respond: this is a finding."""
        emulator = Emulator(EMULATOR, ['-M', 'none'], self.folder / 'log',
                            patience=5)
        self.addCleanup(emulator.kill)
        self.assertEqual(emulator.ask('clock_step 5'), [5])
        emulator.process.send_signal(signal.SIGSTOP)
        with self.assertRaises(Hang) as caught:
            emulator.ask('clock_step 5')
        self.assertIn('qemu', caught.exception.details)

    def test_crash(self):
        """QEMU crashes: this is a finding."""
        emulator = Emulator(EMULATOR, ['-M', 'none'], self.folder / 'log')
        self.addCleanup(emulator.kill)
        emulator.process.send_signal(signal.SIGSEGV)
        with self.assertRaises(Died) as caught:
            emulator.ask('clock_step 5')
        self.assertIn('SIGSEGV', str(caught.exception))


if __name__ == '__main__':
    unittest.main(testRunner=pycotap.TAPTestRunner(
        message_log=pycotap.LogMode.LogToError,
        test_output_log=pycotap.LogMode.LogToError))
