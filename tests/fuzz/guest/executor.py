# SPDX-License-Identifier: GPL-2.0-or-later
#
# Execute steps of the generator or of a log.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The format of a line of a step log.

A line is the name of the step and its actions, which " ; " separates.  An
action is a command of qtest, or one of ACTIONS."""

import copy
import json
import random
import time

import layout
from emulator import Emulator, Finding

ACTIONS = """
  start ARGUMENTS...    a fresh emulator
  quit                  end it, which must be clean
  iq-place BASE SIZE WIDTH
                        the VT-d invalidation queue is at BASE and empty, has
                        SIZE pages (log2), and descriptors of WIDTH bytes
  iq Q0:Q1[:Q2:Q3]...   put descriptors there, and write the tail
  respond COUNT HOW     take page requests, and answer them; HOW is map,
                        invalid, failure, none, or the seed of garbage
  qmp COMMAND JSON      the answer does not matter
  hmp LINE
  savevm, loadvm        of the one snapshot
  migrate ARGUMENTS...  go on in a fresh emulator
  pause MS              let the threads of devices run
"""

VTD_IQT, VTD_PQH, VTD_PQT, VTD_PQA = (layout.VTD + offset for offset in
                                      (0x88, 0xc0, 0xc8, 0xd0))


class Queue:
    """The VT-d invalidation queue, as seen by the guest's driver."""

    def __init__(self, base=layout.QUEUE, pages=0, width=16):
        self.base = base
        self.width = width
        self.size = layout.PAGE << pages
        self.tail = 0

    def put(self, quadwords):
        """The command to store a descriptor at the tail."""
        count = self.width // 8
        data = b''.join(value.to_bytes(8, 'little') for value in
                        (list(quadwords) + [0] * count)[:count])
        addr = self.base + self.tail
        self.tail = (self.tail + self.width) % self.size
        return f'write {addr:#x} {len(data):#x} 0x{data.hex()}'


class Executor:
    """An emulator and the state of its guest; folder contains its files."""

    def __init__(self, binary, folder, options=None):
        self.emulator = None
        self.queue = Queue()
        self._binary = binary
        self._folder = folder
        self._options = options or {}
        self._saved = None
        self._processes = 0
        self._actions = {
            'start': self._start, 'quit': self._quit, 'iq': self._iq,
            'iq-place': self._iq_place, 'respond': self._respond,
            'qmp': self._qmp, 'hmp': self._hmp, 'savevm': self._savevm,
            'loadvm': self._loadvm, 'migrate': self._migrate,
            'pause': self._pause}

    def run(self, actions):
        """Execute the actions of one step."""
        for action in actions:
            word, _, rest = action.partition(' ')
            method = self._actions.get(word)
            if method:
                method(rest)
            else:
                self.emulator.send(action)

    def close(self):
        """End the emulator in any state."""
        if self.emulator:
            self.emulator.kill()
            self.emulator = None

    # ---- Processes ----

    def _new_emulator(self, arguments):
        self._processes += 1
        log = self._folder / f'emulator-{self._processes}.txt'
        words = [word.replace('FOLDER', str(self._folder))
                 for word in arguments.split()]
        return Emulator(self._binary, words, log, leaks=True,
                        **self._options)

    def _start(self, arguments):
        write_empty_qcow2(self._folder / 'snapshot.qcow2')
        self.emulator = self._new_emulator(arguments)

    def _quit(self, _):
        self.emulator.quit()
        self.emulator = None

    def _migrate(self, arguments):
        """Save and load.  A machine that cannot be saved continues; one that
        cannot be loaded is a finding."""
        state = self._folder / 'state'
        source = self.emulator
        if not self._migration(source, 'migrate', uri=f'file:{state}'):
            return
        source.quit()
        self.emulator = self._new_emulator(arguments + ' -incoming defer')
        if not self._migration(self.emulator, 'migrate-incoming',
                               uri=f'file:{state}',
                               **{'exit-on-error': False}):
            raise Finding('the destination refuses what the source has sent',
                          self.emulator.hmp('info migrate') +
                          self.emulator.said())

    def _migration(self, emulator, command, **arguments):
        """Return whether the migration completed."""
        if 'error' in emulator.qmp(command, **arguments):
            return False
        end = time.monotonic() + emulator.patience
        while True:
            status = emulator.qmp('query-migrate')['return'].get('status')
            if status in ('completed', 'failed', 'cancelled'):
                return status == 'completed'
            if time.monotonic() > end:
                raise Finding(f'{command} does not end: {status}')
            time.sleep(0.005)

    # ---- Monitor ----

    def _qmp(self, rest):
        command, _, arguments = rest.partition(' ')
        self.emulator.qmp(command, **json.loads(arguments or '{}'))

    def _hmp(self, line):
        self.emulator.hmp(line)

    def _savevm(self, _):
        if not monitor_error(self.emulator.hmp('savevm fuzz')):
            self._saved = copy.copy(self.queue)

    def _loadvm(self, _):
        if self._saved:
            said = self.emulator.hmp('loadvm fuzz')
            if monitor_error(said):
                raise Finding('the snapshot cannot be loaded', said)
            self.queue = copy.copy(self._saved)

    def _pause(self, milliseconds):
        self.emulator.sync()
        time.sleep(int(milliseconds) / 1000)

    # ---- The queues of VT-d ----

    def _iq_place(self, rest):
        base, pages, width = (int(word, 0) for word in rest.split())
        self.queue = Queue(base, pages, width)

    def _iq(self, rest):
        for descriptor in rest.split():
            self.emulator.send(self.queue.put(
                int(word, 16) for word in descriptor.split(':')))
        self.emulator.send(f'writeq {VTD_IQT:#x} {self.queue.tail:#x}')

    def _respond(self, rest):
        count, how = rest.split()
        emulator = self.emulator
        head, tail, base = emulator.ask(
            *(f'readq {register:#x}' for register in
              (VTD_PQH, VTD_PQT, VTD_PQA)))
        size = layout.PAGE << (base & 7)
        base &= -layout.PAGE
        if head == tail or base + size > layout.RAM or head >= size:
            return
        requests = emulator.read(base, size)
        for _ in range(int(count)):
            low, high = (int.from_bytes(requests[head + i:head + i + 8],
                                        'little') for i in (0, 8))
            head = (head + 32) % size
            emulator.send(f'writeq {VTD_PQH:#x} {head:#x}')
            self._answer(low, high, how)
            if head == tail:
                return

    def _answer(self, low, high, how):
        pasid = low >> 32 & 0xfffff if low & 1 << 8 else None
        addr = high & -layout.PAGE
        small = layout.WINDOW <= addr < layout.LARGE
        if how == 'map':
            if small and (pasid or 0) < layout.PASIDS:
                for entry, bits in ((layout.leaf_entry(pasid or 0, addr), 7),
                                    (layout.second_leaf_entry(addr), 3)):
                    self.emulator.send(f'writeq {entry:#x} '
                                       f'{layout.backing(addr) | bits:#x}')
            elif high >> 3 & 3:
                how = 'invalid'         # mostly; the page is not there
        if not high & 4 or how == 'none':
            return
        code = {'map': 0, 'invalid': 1, 'failure': 15}.get(how, 0)
        response = [9 | code << 12 | (low & 0xffff0000) |
                    (1 << 4 | pasid << 32 if pasid is not None else 0),
                    high & 0x1ff << 3]
        if how.isdigit():
            rng = random.Random(int(how) ^ high)
            response[rng.randrange(2)] ^= 1 << rng.randrange(4, 52)
        self._iq(':'.join(f'{word:x}' for word in response))


def monitor_error(said):
    """Return whether the output of the human monitor contains an error; it may
    also contain messages of devices."""
    return any(line.startswith('Error: ') for line in said.splitlines())


def write_empty_qcow2(path):
    """Write an empty image of 1 MiB for snapshots, in the format of QEMU's
    docs/interop/qcow2.txt."""
    cluster = 1 << 16
    header = (b'QFI\xfb' + (3).to_bytes(4, 'big') + bytes(8) + bytes(4) +
              (16).to_bytes(4, 'big') + (1 << 20).to_bytes(8, 'big') +
              bytes(4) + (1).to_bytes(4, 'big') +
              (3 * cluster).to_bytes(8, 'big') + cluster.to_bytes(8, 'big') +
              (1).to_bytes(4, 'big') + bytes(4 + 8 + 24) +
              (4).to_bytes(4, 'big') + (104).to_bytes(4, 'big'))
    table = (2 * cluster).to_bytes(8, 'big')
    counts = (1).to_bytes(2, 'big') * 4
    path.write_bytes(b''.join(part.ljust(cluster, b'\0') for part in
                              (header, table, counts, b'')))

