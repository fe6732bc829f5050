# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the demos share: a guest's script under observation.
#
# Copyright (c) 2026 QEMU SVM contributors
"""One boot of the test guest: the emulator runs with trace events on, a script
in the guest does something, and the host follows what it says.

All files of a boot are in a directory of its own: trace.log, kernel.log,
qemu.log, and the socket that the script talks through.
"""

import argparse
import re

from report import Failure
from child_process import last_lines
from guest_channel import GuestChannel, GuestError
from guest_machine import (boot_arguments, find_emulator, firmware_arguments,
                           machine_arguments)


def demo_parser(description, epilog, kernel, cpus):
    """A parser with the options that all demos have."""
    parser = argparse.ArgumentParser(description=description, epilog=epilog)
    parser.add_argument('--kernel', default=kernel, metavar='WHICH',
                        help=f'as in scripts/guest-image (default {kernel})')
    parser.add_argument('--accel', choices=('tcg', 'kvm'), default='tcg',
                        help='tcg (default) runs anywhere, kvm is faster')
    parser.add_argument('--cpus', type=int, default=cpus, metavar='N',
                        help=f'virtual processors (default {cpus})')
    parser.add_argument('--timeout', type=int, default=300, metavar='SECONDS',
                        help='give up a boot after that time (default 300)')
    parser.add_argument('--qemu', metavar='PATH',
                        help='another emulator than the one built here')
    parser.add_argument('--json', metavar='FILE',
                        help='write the figures there, too')
    return parser


def emulator_command(options, guest, work, memory, script, events, devices,
                     append=''):
    """The command line of an emulator whose guest runs a script.

    events are the trace events to record; devices are more arguments."""
    (work / 'script').write_text(script, encoding='utf-8')
    (work / 'events').write_text('\n'.join(events) + '\n', encoding='utf-8')
    return [find_emulator(options.qemu), *firmware_arguments(),
            *machine_arguments(options.accel, f'{memory}M', options.cpus),
            # On a busy host Linux calibrates the TSC wrongly: time flies.
            *boot_arguments(guest, f'quiet tsc=unstable {append}'),
            '-serial', f'file:{work}/kernel.log',
            '-chardev', f'socket,id=script,path={work}/channel,server=on,'
            'wait=off', '-serial', 'chardev:script',
            '-fw_cfg', f'name=opt/svm/script,file={work}/script',
            '-msg', 'timestamp=on', '-trace', f'events={work}/events',
            '-D', str(work / 'trace.log'), *devices]


def follow_script(options, emulator, work, questions, account,
                  logs=('kernel.log', 'qemu.log')):
    """Follow the script to its end, which must be success.

    questions is as in GuestChannel.run; account.line() gets what the script
    says, and account.check() raises GuestError if that is not what it should
    be.  A Failure shows what the script and the logs said last."""
    channel = GuestChannel(str(work / 'channel'),
                           lambda: emulator.poll() is None)
    try:
        if channel.run(options.timeout, questions, account.line):
            raise GuestError('the script in the guest failed')
        account.check()
        emulator.wait(30)
    except GuestError as error:
        raise Failure(_explain(error, channel, work, logs)) from error
    finally:
        channel.close()


def _explain(error, channel, work, logs):
    parts = [f'{error}']
    if channel.lines:
        parts += ['the script said last:',
                  *(f'    {line}' for line in channel.lines[-6:])]
    for name in logs:
        path = work / name
        if path.exists() and path.stat().st_size:
            parts += [f'{name} ends with:', last_lines(path)]
    return '\n'.join(parts)


class TraceCounter:
    """The events in a trace file, counted between two moments."""

    def __init__(self, path, patterns):
        """patterns maps a name to a regular expression for lines (bytes)."""
        self._path = path
        self._patterns = {name: re.compile(pattern)
                          for name, pattern in patterns.items()}

    def mark(self):
        """This moment, for counts()."""
        return self._path.stat().st_size if self._path.exists() else 0

    def counts(self, begin, end):
        """How many lines match each pattern between two marks."""
        result = dict.fromkeys(self._patterns, 0)
        with open(self._path, 'rb') as trace:
            trace.seek(begin)
            while trace.tell() < end and (line := trace.readline()):
                for name, pattern in self._patterns.items():
                    if pattern.search(line):
                        result[name] += 1
        return result
