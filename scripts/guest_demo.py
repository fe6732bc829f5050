# SPDX-License-Identifier: GPL-2.0-or-later
#
# Common code of the demos: run a script in the guest and trace it.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The emulator runs with trace events enabled while a script runs in the guest
(guest_session.py).  The trace is in the file trace.log."""

import re

from guest_machine import (boot_arguments, find_emulator, firmware_arguments,
                           machine_arguments)
from guest_session import session_arguments


def add_guest_option(parser):
    """Add the option that scripts/prepare-demo uses."""
    parser.add_argument('--guest-only', action='store_true',
                        help='only fetch and build the guest')


def emulator_command(options, guest, work, memory, script, events, devices,
                     append=''):
    """The command line of an emulator whose guest runs a script.

    events are the trace events to record; devices are more arguments."""
    (work / 'events').write_text('\n'.join(events) + '\n', encoding='utf-8')
    return [find_emulator(options.qemu), *firmware_arguments(),
            *machine_arguments(options.accel, f'{memory}M', options.cpus),
            # On a busy host Linux calibrates the TSC wrongly: time runs fast.
            *boot_arguments(guest, f'quiet tsc=unstable {append}'),
            *session_arguments(work, script),
            '-msg', 'timestamp=on', '-trace', f'events={work}/events',
            '-D', str(work / 'trace.log'), *devices]


def row(title, values):
    """A line of a demo's table."""
    return f'{title:<31}' + ''.join(f'{value:>16}' for value in values)


def head(headings):
    """The first lines of that table."""
    return '\n'.join((row('', headings), '-' * (31 + 16 * len(headings))))


class TraceCounter:
    """The events in a trace file, counted between two moments."""

    def __init__(self, path, patterns):
        """patterns maps a name to a regular expression for lines (bytes)."""
        self._path = path
        self._patterns = {name: re.compile(pattern)
                          for name, pattern in patterns.items()}

    def mark(self):
        """The current position, for counts()."""
        return self._path.stat().st_size if self._path.exists() else 0

    def counts(self, begin, end):
        """Count the lines between two marks that match each pattern."""
        result = dict.fromkeys(self._patterns, 0)
        with open(self._path, 'rb') as trace:
            trace.seek(begin)
            while trace.tell() < end and (line := trace.readline()):
                for name, pattern in self._patterns.items():
                    if pattern.search(line):
                        result[name] += 1
        return result
