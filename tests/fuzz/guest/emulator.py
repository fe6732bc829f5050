# SPDX-License-Identifier: GPL-2.0-or-later
#
# One process of the emulator, driven by a fuzzer.
#
# Copyright (c) 2026 QEMU SVM contributors
"""An emulator without processors, driven over qtest and QMP.

qtest commands are pipelined: send() does not wait, sync() waits for all
answers.  What goes wrong is an exception: Died (it ended, perhaps with a
report of a sanitizer) or Hang (it does not answer)."""

import json
import os
import select
import signal
import socket
import subprocess
import time

import sanitizer

# Seconds after which an emulator that does not answer hangs.  It is slow with
# sanitizers, and the machine may be busy with others.
PATIENCE = 60
# Commands without answer: their output must fit into the socket's buffer
WINDOW = 256


class Finding(Exception):
    """A bug of the emulator."""

    def __init__(self, what, details=''):
        super().__init__(what)
        self.details = details


class Died(Finding):
    """The emulator has ended unexpectedly, or with an error."""


class Hang(Finding):
    """The emulator does not answer."""


class Emulator:
    """A process; log is the file for its output.  With leaks, memory that it
    has not freed when it quits is a finding, too."""

    def __init__(self, binary, arguments, log, patience=PATIENCE,
                 leaks=False):
        self.patience = patience
        self.deleted = []
        self._log = log
        self._out = []
        self._waiting = 0
        self._answers = []
        self._buffer = b''
        self._qtest, qtest = socket.socketpair()
        self._qmp, qmp = socket.socketpair()
        self._qmp_buffer = b''
        self._qmp_id = 0
        with open(log, 'ab') as output:
            self.process = subprocess.Popen(
                [binary, '-accel', 'qtest', '-display', 'none',
                 '-chardev', f'socket,id=qtest,fd={qtest.fileno()}',
                 '-qtest', 'chardev:qtest', '-qtest-log', 'none',
                 '-chardev', f'socket,id=qmp,fd={qmp.fileno()}',
                 '-mon', 'chardev=qmp,mode=control', *arguments],
                stdin=subprocess.DEVNULL, stdout=output, stderr=output,
                pass_fds=(qtest.fileno(), qmp.fileno()),
                env=sanitizer.environment(leaks))
        qtest.close()
        qmp.close()
        try:
            self._qmp_message()             # the greeting
            self.qmp('qmp_capabilities')
        except Finding:
            self.kill()
            raise

    # ---- qtest ----

    def send(self, command):
        """Send a command, and do not wait for the answer."""
        self._out.append(command)
        self._waiting += 1
        if len(self._out) >= WINDOW:
            self.sync()

    def sync(self):
        """Wait for the answers to all commands."""
        data = '\n'.join(self._out + ['']).encode() if self._out else b''
        self._out = []
        end = time.monotonic() + self.patience
        while data or self._waiting:
            ready, room, _ = select.select(
                [self._qtest], [self._qtest] if data else [], [],
                max(0, end - time.monotonic()))
            if not ready and not room:
                self._hang('qtest')
            if room:
                try:
                    data = data[self._qtest.send(data):]
                except OSError:
                    self._died()
            if ready:
                self._receive()

    def ask(self, *commands):
        """Send commands and return the list of their answers, numbers."""
        self.sync()
        self._answers = []
        for command in commands:
            self.send(command)
        self.sync()
        words = [answer.split() for answer in self._answers]
        return [int(word[1], 0) if len(word) > 1 else 0 for word in words]

    def read(self, addr, length):
        """Memory, as bytes."""
        self.send(f'read {addr:#x} {length:#x}')
        self.sync()
        return bytes.fromhex(self._answers[-1].split()[1].decode()[2:])

    def _receive(self):
        try:
            data = self._qtest.recv(1 << 16)
        except OSError:
            data = b''
        if not data:
            self._died()
        *lines, self._buffer = (self._buffer + data).split(b'\n')
        if lines:
            self._answers = (self._answers + lines)[-WINDOW:]
            self._waiting -= len(lines)

    # ---- QMP ----

    def qmp(self, command, **arguments):
        """Execute a command; return the answer, with 'error' if it failed."""
        self.sync()
        self._qmp_id += 1
        message = {'execute': command, 'arguments': arguments,
                   'id': self._qmp_id}
        try:
            self._qmp.sendall(json.dumps(message).encode())
        except OSError:
            self._died()
        while True:
            answer = self._qmp_message()
            if answer.get('id') == self._qmp_id:
                return answer

    def hmp(self, line):
        """Execute a command of the human monitor; return its output."""
        answer = self.qmp('human-monitor-command', **{'command-line': line})
        return answer.get('return', '')

    def _qmp_message(self):
        end = time.monotonic() + self.patience
        while b'\n' not in self._qmp_buffer:
            ready, _, _ = select.select([self._qmp], [], [],
                                        max(0, end - time.monotonic()))
            if not ready:
                self._hang('QMP')
            try:
                data = self._qmp.recv(1 << 16)
            except OSError:
                data = b''
            if not data:
                self._died()
            self._qmp_buffer += data
        line, self._qmp_buffer = self._qmp_buffer.split(b'\n', 1)
        message = json.loads(line)
        if message.get('event') == 'DEVICE_DELETED':
            self.deleted.append(message['data'].get('device'))
        return message

    def take_deleted(self):
        """The ids of devices that were deleted since the last call."""
        deleted, self.deleted = self.deleted, []
        return deleted

    # ---- The end ----

    def quit(self):
        """Quit; an error status or a report is a finding."""
        self.qmp('quit')
        try:
            self.process.wait(self.patience)
        except subprocess.TimeoutExpired:
            self._hang('quit')
        self._close()
        if self.process.returncode or sanitizer.find_report(self.said()):
            self._died()

    def kill(self):
        """Kill the process."""
        self.process.kill()
        self.process.wait()
        self._close()

    def said(self):
        """The output so far."""
        return self._log.read_text(encoding='utf-8', errors='replace')

    def _close(self):
        self._qtest.close()
        self._qmp.close()

    def _died(self):
        try:
            status = self.process.wait(self.patience)
        except subprocess.TimeoutExpired:
            self._hang('the end')
        report = sanitizer.find_report(self.said())
        if report:
            raise Died(report.splitlines()[0].strip(), report)
        said = '\n'.join(self.said().splitlines()[-20:])
        raise Died('QEMU was ended by ' + signal.Signals(-status).name
                   if status < 0 else f'QEMU ended with status {status}', said)

    def _hang(self, where):
        stacks = thread_stacks(self.process.pid)
        self.kill()
        raise Hang(f'no answer for {self.patience} seconds: {where}', stacks)


def thread_stacks(pid):
    """Stacks of the threads of a process, from gdb or else the kernel."""
    try:
        return subprocess.run(
            ['gdb', '-p', str(pid), '-batch', '-nx',
             '-ex', 'set debuginfod enabled off', '-ex',
             'thread apply all backtrace'],
            check=True, timeout=120, stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, errors='replace').stdout
    except (OSError, subprocess.SubprocessError):
        pass
    lines = []
    for task in sorted(os.listdir(f'/proc/{pid}/task')):
        for name in ('comm', 'wchan', 'syscall', 'stack'):
            try:
                with open(f'/proc/{pid}/task/{task}/{name}',
                          encoding='utf-8') as file:
                    lines.append(f'{task} {name}: {file.read().strip()}')
            except OSError:
                continue
    return '\n'.join(lines)
