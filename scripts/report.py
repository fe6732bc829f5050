# SPDX-License-Identifier: GPL-2.0-or-later
#
# Messages of the scripts to the user.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Lines of progress, and failures that end in one clear sentence."""

import contextlib
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

# Signals that stop a script as Ctrl-C does: it ends its child processes and
# deletes its temporary files.
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Failure(Exception):
    """A message for the user: the error, and the next step."""


class Stopped(BaseException):
    """A signal stops the script."""

    def __init__(self, number):
        super().__init__()
        self.number = number


def say(message=''):
    """Print a line at once, also into a pipe."""
    print(message, flush=True)


class Progress:
    """A line that says how far a long step is.  A terminal shows the latest
    state; elsewhere a line is printed from time to time."""

    INTERVAL = 10

    def __init__(self):
        self._terminal = sys.stdout.isatty()
        self._printed = ''
        self._next = time.monotonic() + self.INTERVAL

    def update(self, text):
        """Show a text if it is new and, without a terminal, time is up."""
        if text == self._printed:
            return
        if self._terminal:
            # A longer line would not be overwritten as a whole
            columns = shutil.get_terminal_size().columns - 1
            print(f'\r{text[:columns]}\033[K', end='', flush=True)
        elif time.monotonic() >= self._next:
            say(text)
            self._next = time.monotonic() + self.INTERVAL
        else:
            return
        self._printed = text

    def end(self):
        """Delete the line from the terminal; others keep what they have."""
        if self._terminal and self._printed:
            print('\r\033[K', end='', flush=True)
        self._printed = ''


def last_lines(text, count=4):
    """The last lines of the output of a program, indented."""
    return '\n'.join(f'    {line}' for line in text.splitlines()[-count:])


def failed_log(what, log):
    """The failure of a program whose output is in a log."""
    text = Path(log).read_text(encoding='utf-8', errors='replace')
    return Failure(f'{what} failed; the whole log is {log}\n'
                   + last_lines(text, 15))


def ninja_step(line):
    """How far ninja is, if a line of its output says that."""
    step = re.match(r'\[(\d+)/(\d+)\] ', line)
    return f'step {int(step[1]):,} of {int(step[2]):,}' if step else ''


def failed_program(err):
    """Describe a subprocess.CalledProcessError to the user."""
    words = [err.cmd] if isinstance(err.cmd, str) else map(str, err.cmd)
    said = (err.stderr or '').strip() or 'see its output above'
    return f'"{" ".join(words)}" failed with status {err.returncode}: {said}'


class _Stop:
    """The handler of signals."""

    def __init__(self):
        self.postponed = False
        self._number = 0

    def __call__(self, number, _frame):
        """Stop once: an impatient user does not stop the cleanup."""
        for name in STOPPING:
            signal.signal(name, signal.SIG_IGN)
        self._number = number
        if not self.postponed:
            raise Stopped(number)

    def check(self):
        """Stop if a signal came while that was postponed."""
        self.postponed = False
        if self._number:
            raise Stopped(self._number)


_stop = _Stop()


@contextlib.contextmanager
def postponed_stop():
    """Do not stop within the block, but at its end.  It must be short."""
    _stop.postponed = True
    try:
        yield
    finally:
        _stop.check()


def _run(main):
    """Run main(); return its status, or a message for the user."""
    try:
        try:
            return main()
        finally:
            sys.stdout.flush()
    except Failure as err:
        return str(err)
    except subprocess.CalledProcessError as err:
        return failed_program(err)
    except FileNotFoundError as err:
        hint = ('; scripts/install-packages installs the tools'
                if err.filename and '/' not in str(err.filename) else '')
        return f'{err}{hint}'
    except BrokenPipeError:
        # Whoever read the output has ended.  Python must not flush it again.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE
    except OSError as err:
        return str(err)


def main_guard(main):
    """Run main(), then exit: a known failure ends in one clear sentence and
    status 1, a signal in status 128 + its number, like in a shell."""
    name = Path(sys.argv[0]).name
    for number in STOPPING:
        # nohup and background jobs of a shell ignore some
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop)
    try:
        status = _run(main)
    except Stopped as stopped:
        print(f'\n{name}: interrupted; run it again to continue',
              file=sys.stderr)
        status = 128 + stopped.number
    sys.exit(f'{name}: {status}' if isinstance(status, str) else status)
