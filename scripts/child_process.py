# SPDX-License-Identifier: GPL-2.0-or-later
#
# Child processes of the scripts.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Child processes that end with the script that starts them."""

import contextlib
import subprocess

from report import Failure, postponed_stop


def stop(process, seconds=30):
    """End a child process; it has some time to end its own and to clean up."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


@contextlib.contextmanager
def child(command, **options):
    """Run a child process, at most until the end of the block."""
    process = None
    try:
        # Popen() may have started the process before it returns
        with postponed_stop():
            # pylint: disable=consider-using-with
            process = subprocess.Popen(command, **options)
        yield process
    finally:
        if process:
            stop(process)


def run_program(command, **options):
    """Run a program and return its status.  Unlike subprocess.run(), this lets
    the program clean up when the script is stopped."""
    with child(command, **options) as process:
        return process.wait()


@contextlib.contextmanager
def running(command, log, **options):
    """Run a child process with a log."""
    with open(log, 'w', encoding='utf-8') as output, \
            child(command, stdout=output, stderr=subprocess.STDOUT,
                  **options) as process:
        yield process


def check_trace_events(emulator, events):
    """Fail if the emulator does not have these trace events."""
    known = subprocess.run([emulator, '-trace', 'help'], check=False,
                           capture_output=True, text=True).stdout.split()
    missing = [event for event in events if event not in known]
    if missing:
        raise Failure(f'{emulator} has no trace event {missing[0]}: use '
                      'the emulator that "make" builds')
