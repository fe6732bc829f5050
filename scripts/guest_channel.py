# SPDX-License-Identifier: GPL-2.0-or-later
#
# The host's end of the serial line of a guest script.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Communicate with a script in the guest over its second serial port.

tests/guest/init describes the protocol: lines of text, "svm: ask WORD" for a
question to the host, "svm: done N" at the end.
"""

import math
import re
import select
import socket
import time


class GuestError(Exception):
    """A failure in the guest, described in a sentence."""


class GuestSilent(GuestError):
    """The guest runs and sends no output."""


class GuestChannel:
    """The output of a guest script, line by line, and the answers to it."""

    def __init__(self, path, still_running=lambda: True):
        """path is a socket that QEMU listens on; still_running() returns
        whether QEMU is alive, so that its exit is detected at once."""
        self._path = path
        self._still_running = still_running
        self._socket = None
        self._buffer = b''
        self.lines = []

    def connect(self, deadline):
        while True:
            self._socket = socket.socket(socket.AF_UNIX)
            try:
                self._socket.connect(self._path)
                return
            except (FileNotFoundError, ConnectionRefusedError):
                self._socket.close()
            if not self._still_running():
                raise GuestError('QEMU ended before the guest could start')
            if time.monotonic() > deadline:
                raise GuestError('QEMU did not open its serial port')
            time.sleep(0.05)

    def close(self):
        if self._socket:
            self._socket.close()

    def answer(self, text):
        self._socket.sendall(text.encode() + b'\n')

    def read_line(self, deadline, silence=math.inf):
        """The next line without its end; GuestError when none comes before
        the deadline, or for `silence` seconds."""
        silent = time.monotonic() + silence
        while b'\n' not in self._buffer:
            left = min(deadline, silent) - time.monotonic()
            if left <= 0:
                raise GuestSilent(
                    'the guest sends no further output: '
                    + (f'none for {silence} s' if silent < deadline
                       else 'timeout'))
            ready, _, _ = select.select([self._socket], [], [], left)
            data = self._socket.recv(65536) if ready else b''
            if ready and not data:
                raise GuestError('the guest stopped before its script ended')
            self._buffer += data
        line, _, self._buffer = self._buffer.partition(b'\n')
        text = line.decode(errors='replace').rstrip('\r')
        self.lines.append(text)
        return text

    def run(self, timeout, questions=None, on_line=None, silence=math.inf):
        """Follow the script to its end and return its exit status.

        It has to end within `timeout` seconds, and print at least one line in
        each `silence` seconds.
        questions maps the WORD of an "svm: ask WORD" to a function that
        returns the answer; on_line is called with every other line.
        """
        deadline = time.monotonic() + timeout
        if not self._socket:
            self.connect(deadline)
        while True:
            line = self.read_line(deadline, silence)
            ask = re.fullmatch(r'svm: ask (\S+)', line)
            done = re.fullmatch(r'svm: done (\d+)', line)
            if done:
                return int(done.group(1))
            if ask:
                handler = (questions or {}).get(ask.group(1))
                if not handler:
                    raise GuestError('the guest sent an unknown question: '
                                     + ask.group(1))
                self.answer(handler() or '')
            elif on_line:
                on_line(line)
