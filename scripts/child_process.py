# SPDX-License-Identifier: GPL-2.0-or-later
#
# Child processes of the demos and benchmarks.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Child processes with logs, for scripts that start an emulator."""

import contextlib
import subprocess

from report import Failure


@contextlib.contextmanager
def running(command, log, **options):
    """Run a child process until the end of the block."""
    with open(log, 'w', encoding='utf-8') as output:
        process = subprocess.Popen(command, stdout=output,
                                   stderr=subprocess.STDOUT, **options)
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def check_trace_events(emulator, events):
    """Fail if the emulator does not have these trace events."""
    known = subprocess.run([emulator, '-trace', 'help'], check=False,
                           capture_output=True, text=True).stdout.split()
    missing = [event for event in events if event not in known]
    if missing:
        raise Failure(f'{emulator} has no trace event {missing[0]}: use '
                      'the emulator that "make" builds')
