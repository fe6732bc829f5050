# SPDX-License-Identifier: GPL-2.0-or-later
#
# The emulator with AddressSanitizer and UndefinedBehaviorSanitizer.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Build the emulator with sanitizers, and set it up to end with the first
report."""

import os
import re
from pathlib import Path

from child_process import run_program
from report import Failure

REPO = Path(__file__).resolve().parent.parent
SUPERBUILD = REPO / 'build/sanitize'
EMULATOR = REPO / 'build/qemu-sanitize/qemu-system-x86_64'
# The first line of a report
REPORT = re.compile(r'ERROR: (Address|Leak)Sanitizer|: runtime error: |'
                    r'Assertion .* failed|^ERROR:.*assertion failed|'
                    r'AddressSanitizer:DEADLYSIGNAL', re.M)


def configure():
    """Prepare both builds, unless they are up to date."""
    if run_program([REPO / 'configure', '--sanitize']):
        raise Failure('configure failed, see above')


def build(*targets):
    """Build targets of the superbuild, by default all."""
    configure()
    if run_program(['ninja', '-C', SUPERBUILD, *targets]):
        raise Failure('the build with sanitizers failed, see above; the '
                      'ordinary build has not changed')


def build_emulator():
    """Build the emulator alone; return its path."""
    configure()
    if run_program(['ninja', '-C', EMULATOR.parent, EMULATOR.name]):
        raise Failure('the build with sanitizers failed, see above')
    return EMULATOR


def environment(leaks=False):
    """os.environ, with options to end the program at the first report."""
    options = 'abort_on_error=1:handle_abort=1:' \
              f'detect_leaks={int(leaks)}'
    given = os.environ.get('ASAN_OPTIONS')
    return dict(
        os.environ,
        ASAN_OPTIONS=f'{options}:{given}' if given else options,
        UBSAN_OPTIONS='halt_on_error=1:abort_on_error=1:print_stacktrace=1')


def find_report(text):
    """The report in the output of a program, from its first line, or None."""
    match = REPORT.search(text)
    return text[text.rfind('\n', 0, match.start()) + 1:] if match else None
