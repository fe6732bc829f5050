# SPDX-License-Identifier: GPL-2.0-or-later
#
# Boot the test guest, run a script in it, and end.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Common code of the programs that measure in the guest: options, the run, and
error messages."""

import argparse
import json
import subprocess
from pathlib import Path

from child_process import running
from guest_channel import GuestChannel, GuestError
from guest_machine import SVM_IOMMUS, script_arguments
from report import Failure, last_lines

LOGS = ('kernel.log', 'qemu.log', 'testpmd.log')


def number(low, high):
    """An argparse type: a whole number in a range."""
    def parse(text):
        if not text.isdecimal() or not low <= int(text) <= high:
            raise argparse.ArgumentTypeError(f'takes {low} to {high}')
        return int(text)
    return parse


def add_options(parser, kernel, cpus, timeout, remark=''):
    """Add options for the guest; the parameters are their defaults."""
    parser.add_argument('--kernel', default=kernel, metavar='WHICH',
                        help='as in scripts/guest-image '
                        f'(default {kernel}{remark})')
    parser.add_argument('--accel', choices=('tcg', 'kvm'), default='tcg',
                        help='tcg (default) runs anywhere, kvm is faster')
    parser.add_argument('--cpus', type=number(1, 255), default=cpus,
                        metavar='N',
                        help=f'virtual processors (default {cpus})')
    parser.add_argument('--timeout', type=number(1, 86400), default=timeout,
                        metavar='SECONDS',
                        help=f'stop after this time (default {timeout})')
    parser.add_argument('--qemu', metavar='PATH',
                        help='run this emulator instead of the one built here')
    parser.add_argument('--json', metavar='FILE', type=Path,
                        help='also write the figures to this file')


def add_iommu_option(parser):
    """Add an option for an IOMMU with shared virtual memory."""
    parser.add_argument('--iommu', choices=SVM_IOMMUS, default='intel',
                        help='the IOMMU (default intel)')


def write_json(path, figures):
    """Write the figures to the file of --json, if there is one."""
    if path:
        path.write_text(json.dumps(figures, indent=2) + '\n',
                        encoding='utf-8')


def session_arguments(work, script):
    """QEMU's options for run_script() in the folder work."""
    (work / 'script').write_text(script, encoding='utf-8')
    return ['-serial', f'file:{work}/kernel.log',
            *script_arguments(work / 'channel', work / 'script')]


def run_script(command, work, timeout, check=None, **channel_options):
    """Boot, follow the script to its end, and return its output.

    check may raise GuestError if the results are wrong; the other parameters
    are those of GuestChannel.run().
    """
    with running(command, work / 'qemu.log') as emulator:
        channel = GuestChannel(str(work / 'channel'),
                               lambda: emulator.poll() is None)
        try:
            if channel.run(timeout, **channel_options):
                raise GuestError('the script in the guest failed')
            if check:
                check()
            # Its logs are complete then
            emulator.wait(30)
        except GuestError as error:
            raise Failure(_explain(error, channel, work)) from error
        except subprocess.TimeoutExpired as error:
            raise Failure('the guest has ended, but QEMU has not: "ps" '
                          'shows its state') from error
        finally:
            channel.close()
    return channel.lines


def _explain(error, channel, work):
    parts = [f'{error}']
    if channel.lines:
        parts += ['last output of the script:',
                  *(f'    {line}' for line in channel.lines[-6:])]
    for path in (work / name for name in LOGS):
        if path.exists() and path.stat().st_size:
            text = path.read_text(encoding='utf-8', errors='replace')
            parts += [f'{path.name} ends with:', last_lines(text, 6)]
    return '\n'.join(parts)
