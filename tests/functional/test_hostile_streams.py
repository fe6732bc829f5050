#!/usr/bin/env python3
#
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Hostile migration streams, by scripts/fuzz.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Load a few changed streams with a fixed seed and an ordinary build of QEMU;
and check how the fuzzer reports errors, and parses streams."""

import contextlib
import io
import os
import random
import sys
import tempfile
import unittest
from pathlib import Path
from unittest import mock

import pycotap

REPO = Path(__file__).resolve().parents[2]
sys.path[:0] = [str(REPO / 'scripts'), str(REPO / 'tests/fuzz/guest'),
                str(REPO / 'tests/fuzz/streams')]

# pylint: disable=wrong-import-position
import stream_session                           # noqa: E402
from machine import Machine                     # noqa: E402
from migration_stream import Stream             # noqa: E402
from mutation import Mutator, TARGETS           # noqa: E402
from stream_session import StreamExecutor, StreamSession    # noqa: E402

EMULATOR = os.environ.get('QEMU_TEST_QEMU_BINARY',
                          REPO / 'build/qemu-system-x86_64')
LOADS = 20
DEVICES = '-M q35 -nodefaults -m 16 -device intel-iommu,svm=on ' \
          '-device svm,addr=4 -device dsa,addr=5,event-log=on'


class HostileStreamsTest(unittest.TestCase):

    def setUp(self):
        # pylint: disable=consider-using-with
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)
        self.session = StreamSession(EMULATOR, self.folder)

    def quietly(self, function, *arguments, **options):
        """Return the result of a function, and its output."""
        with contextlib.redirect_stdout(io.StringIO()) as output:
            result = function(*arguments, **options)
        return result, output.getvalue()

    def save(self):
        """Return the stream of a machine that has just started."""
        executor = StreamExecutor(EMULATOR, self.folder, self.folder)
        self.addCleanup(executor.close)
        executor.run(['start ' + DEVICES, 'save base', 'quit'])
        return Stream((self.folder / 'base').read_bytes())

    def check_machine(self, kind):
        """Some streams of a machine with this kind of IOMMU are accepted, and
        some are rejected."""
        seed = 1
        while not (Machine(seed).kind == kind and Machine(seed).svm):
            seed += 1
        with mock.patch.object(stream_session, 'LOADS', LOADS):
            good, output = self.quietly(self.session.fuzz, seed, 5, machines=1)
        self.assertTrue(good, output)
        self.assertIn(f' {LOADS} streams, ', output)
        self.assertNotIn(' 0 of them accepted', output)
        self.assertNotIn(f' {LOADS} of them accepted', output)

    def test_intel(self):
        self.check_machine('intel')

    def test_amd(self):
        self.check_machine('amd')

    def test_fields(self):
        """Fields have the positions that the stream describes."""
        stream = self.save()
        fields = {f'{section.device}:{field.name}': field
                  for section in stream.sections for field in section.fields}
        engines = fields['dsa:num_engines']
        self.assertEqual(stream.data[engines.start:engines.start + 4],
                         bytes([0, 0, 0, 4]))
        log = fields['dsa:dsa/event-log:image:event_log.cfg']
        self.assertEqual((log.unit, log.size), (8, 16))
        config = next(field for name, field in fields.items()
                      if name.startswith('svm:parent_obj:config'))
        self.assertEqual(stream.data[config.start:config.start + 2],
                         (0x1234).to_bytes(2, 'little'))
        iommu = fields['iommu-intel:iommu-intel/pri:pri:queue:saved_regs']
        self.assertEqual(iommu.size, 48)

    def test_changes(self):
        """A seed reproduces the same changes of only our devices."""
        stream = self.save()
        for seed in range(50):
            first = Mutator(stream, random.Random(seed))
            second = Mutator(stream, random.Random(seed))
            self.assertEqual(first.mutate(), second.mutate())
            self.assertEqual(first.changes, second.changes)
            for change in first.changes:
                device = change.split(': ')[0].rsplit('/', 1)[-1]
                self.assertIn(device, TARGETS)

    def test_finding(self):
        """A machine that exits is a finding, which its log reproduces."""
        self.save()
        log = self.folder / 'steps'
        log.write_text(f'load: incoming base {DEVICES}\n'
                       '# no step\n'
                       'load: snapshot base\n'
                       'end: qmp quit ; readl 0xfed00000\n', encoding='utf-8')
        good, output = self.quietly(self.session.again, log, less=False)
        self.assertFalse(good)
        self.assertIn('QEMU ended with status 0', output)

    def test_rejected(self):
        """Migration and snapshots reject a stream; the machine continues."""
        stream = self.save()
        field = next(field for section in stream.sections
                     for field in section.fields
                     if field.name == 'next_frcd_reg')
        data = bytearray(stream.data)
        data[field.start] = 1
        (self.folder / 'changed').write_bytes(data)
        executor = StreamExecutor(EMULATOR, self.folder, self.folder)
        self.addCleanup(executor.close)
        executor.run([f'incoming changed {DEVICES}'])
        self.assertFalse(executor.accepted)
        self.assertIsNone(executor.emulator)
        executor.run(['start ' + DEVICES, 'snapshot changed'])
        self.assertFalse(executor.accepted)
        self.assertEqual(executor.emulator.qmp('query-status')['return']
                         ['status'], 'running')
        executor.run(['snapshot base', 'quit'])
        self.assertTrue(executor.accepted)


if __name__ == '__main__':
    unittest.main(testRunner=pycotap.TAPTestRunner(
        message_log=pycotap.LogMode.LogToError,
        test_output_log=pycotap.LogMode.LogToError))
