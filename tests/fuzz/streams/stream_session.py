# SPDX-License-Identifier: GPL-2.0-or-later
#
# Loads changed migration streams until time is up or one of them finds
# something.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The hostile guest keeps a machine busy, which is then saved.  Changed copies
of this stream are loaded: into a fresh process, as an incoming migration, or
into a process that has a machine already, as a snapshot.  A stream that is
refused has to be so with a message; a machine whose stream is accepted, or
whose snapshot is not, goes on, and the guest takes some steps in it."""

import copy
import random
import shutil
import tempfile
import time
from pathlib import Path

import qcow2
from busy import make_busy, number_buses
from emulator import Finding
from executor import Executor, write_empty_qcow2
from guest import Guest
from machine import Machine
from migration_stream import Stream
from mutation import Mutator
from report import say
from session import SEPARATOR, Session, boot
import lifecycle
import pci

# Loads of streams of one machine, and into one process
LOADS = 200
LOADS_PER_PROCESS = 40
# Share of loads in a new process
FRESH = 0.3
# Steps of the guest after a load
STEPS_AFTER = 30
# Share of the machines that are saved after random steps; others are busy.  The
# more steps, the fewer devices are left: interrupts eject them.
WILD = 0.2
# Steps that change which devices there are, or which process has them; what
# was saved of a strange state need not be accepted
LIFECYCLE = ('eject', 'plug', 'suspend', 'stop_to_migrate', 'migrate',
             'stop_to_load', 'load')
# Steps that are not taken in a process that has refused a snapshot: virtio
# devices and ports of upstream's cannot be saved then
SAVING = ('stop_to_save', 'save')


def has_streams(machine):
    """Whether the IOMMU has state that migrates."""
    return machine.kind == 'intel' or (machine.kind == 'amd' and machine.svm)


class StreamExecutor(Executor):
    """Executes what is in a log of this fuzzer, too:

      incoming FILE ARGUMENTS...  load a stream into a fresh process
      snapshot FILE               load it into the present one, and go on

    Streams are in the folder streams, whatever else is in folder."""

    def __init__(self, binary, folder, streams, options=None):
        super().__init__(binary, folder, options)
        self.accepted = False
        self._streams = Path(streams)
        self._actions.update(incoming=self._incoming, snapshot=self._snapshot,
                             save=self._save)

    def _save(self, name):
        """Save the machine as a stream; None if this fails."""
        self.emulator.qmp('stop')
        path = self._streams / name
        if not self._migration(self.emulator, 'migrate', uri=f'file:{path}'):
            path.unlink(missing_ok=True)

    def _incoming(self, rest):
        name, arguments = rest.split(' ', 1)
        write_empty_qcow2(self._folder / 'snapshot.qcow2')
        self.emulator = self._new_emulator(arguments + ' -incoming defer')
        self.accepted = self._migration(
            self.emulator, 'migrate-incoming',
            uri=f'file:{self._streams / name}', **{'exit-on-error': False})
        if self.accepted:
            self.emulator.qmp('cont')
        else:
            self._check_said(0)
            self._quit('')

    def _snapshot(self, name):
        image = self._folder / f'{name}.qcow2'
        qcow2.write_snapshot(image, (self._streams / name).read_bytes())
        emulator = self.emulator
        emulator.qmp('blockdev-add', driver='qcow2', file={
            'driver': 'file', 'filename': str(image)}, **{'node-name': name})
        before = len(emulator.said())
        emulator.qmp('snapshot-load', tag=qcow2.TAG, vmstate=name,
                     devices=[name], **{'job-id': 'load'})
        self.accepted = not self._job_error()
        if not self.accepted:
            self._check_said(before)
        emulator.qmp('blockdev-del', **{'node-name': name})
        image.unlink()
        emulator.qmp('cont')

    def _job_error(self):
        """Wait for the end of the job; return its error or None."""
        emulator = self.emulator
        end = time.monotonic() + emulator.patience
        while True:
            job = emulator.qmp('query-jobs')['return'][0]
            if job['status'] == 'concluded':
                emulator.qmp('job-dismiss', id='load')
                return job.get('error')
            if time.monotonic() > end:
                raise Finding('a snapshot is loaded for ever')
            time.sleep(0.002)

    def _check_said(self, before):
        if not self.emulator.said()[before:].strip():
            raise Finding('a stream is refused without a message')


class Log:
    """The history of the current process, and its streams."""

    def __init__(self):
        self.lines = []
        self.streams = []

    def clear(self):
        self.lines, self.streams = [], []

    def add(self, name, actions):
        self.lines.append(f'{name}: {SEPARATOR.join(actions)}\n')

    def add_comment(self, text):
        """Add a comment."""
        self.lines.append('# ' + text.replace(': ', ' ') + '\n')

    def store(self, folder):
        (folder / 'steps').write_text(''.join(self.lines), encoding='utf-8')


class Run:
    """The streams of one machine."""

    def __init__(self, seed, executor, folder):
        self.log = Log()
        self.loads = 0
        self.accepted = 0
        self._seed = seed
        self._executor = executor
        self._folder = folder
        self._rng = random.Random(f'streams {seed}')
        self._machine = Machine(seed)
        self._in_process = 0
        self._refused = False           # a snapshot, by the present process

    def _take(self, name, *actions):
        if actions:
            self.log.add(name, actions)
            self._executor.run(actions)

    def _steps(self, guest, count):
        """Let the guest take some steps."""
        while count:
            name, actions = guest.next_step()
            if name not in LIFECYCLE + (SAVING if self._refused else ()):
                self._take(name, *actions)
                count -= 1
        self._take('alive', 'qmp query-status')

    # ---- The machine that is saved ----

    def save(self):
        """Return the stream of a busy machine; None if saving fails."""
        guest = Guest(self._machine, self._executor, self._seed)
        self._take('start', 'start ' + self._machine.command_line())
        self._make(guest, number_buses)
        for device in self._machine.devices:
            pci.find_capabilities(self._executor, device)
        if self._rng.random() < WILD:
            self._make(guest, boot)
            self._steps(guest, self._rng.randrange(20, 200))
        else:
            self._make(guest, make_busy)
            self._take('pause', 'pause 5')
        self._executor.emulator.qmp('query-status')
        lifecycle.forget_deleted(guest)
        if not lifecycle.can_be_saved(guest):
            return None
        self._take('save', 'save base')
        self._guest = guest
        self._queue = copy.copy(self._executor.queue)
        self._executor.close()
        self.log.clear()
        path = self._folder / 'base'
        return Stream(path.read_bytes()) if path.exists() else None

    def _make(self, guest, function):
        name, actions = guest.make(function)
        self._take(name, *actions)

    # ---- Loading ----

    def check(self):
        """Load the unmodified stream, which must succeed, unless the machine
        has lost a device: its own interrupts may eject it as soon as the
        machine runs."""
        self._load('base', fresh=True)
        if not self._executor.accepted:
            raise Finding('the destination refuses what the source has sent')
        self._load('base', fresh=False)
        if not (self._executor.accepted or self._executor.emulator.deleted):
            raise Finding('a machine refuses what it has saved')

    def load(self, stream, number):
        """Load a modified stream, and continue."""
        rng = random.Random(f'{self._seed} {number}')
        mutator = Mutator(stream, rng)
        name = f'stream-{number}'
        (self._folder / name).write_bytes(mutator.mutate())
        self.log.add_comment(f'{name} {SEPARATOR.join(mutator.changes)}')
        self._load(name, rng.random() < FRESH)
        self.loads += 1
        self.accepted += self._executor.accepted
        if self._executor.emulator:
            self._go_on(rng)

    def _load(self, name, fresh):
        executor = self._executor
        if executor.emulator and (fresh or
                                  self._in_process >= LOADS_PER_PROCESS):
            self._take('quit', 'quit')
            self._forget()
        self.log.streams.append(name)
        self._in_process += 1
        if fresh:
            self._take('load', f'incoming {name} '
                       + self._machine.command_line())
        else:
            if not executor.emulator:
                self._take('start', 'start ' + self._machine.command_line())
            self._take('load', f'snapshot {name}')
        self._refused |= not executor.accepted
        if not executor.emulator:
            self._forget()
        executor.queue = copy.copy(self._queue)

    def _forget(self):
        """Remove the files of a process without findings."""
        for name in self.log.streams:
            if name != 'base':
                (self._folder / name).unlink()
        self.log.clear()
        self._in_process = 0
        self._refused = False

    def _go_on(self, rng):
        guest = Guest(copy.deepcopy(self._machine), self._executor,
                      rng.getrandbits(32))
        guest.scalable = self._guest.scalable
        self._steps(guest, STEPS_AFTER)
        if rng.random() < 0.2:
            self._take('reset', 'qmp system_reset', 'pause 2')

    def end(self):
        if self._executor.emulator:
            self._take('quit', 'quit')


class StreamSession(Session):
    """Fuzz an emulator; save findings in a folder."""

    NAME = 'streams'

    def __init__(self, binary, folder, options=None):
        super().__init__(binary, folder, options)
        self._streams = None            # of the log that is taken again
        self._loads = 0
        self._accepted = 0

    def _executor(self, folder):
        return StreamExecutor(self._binary, Path(folder),
                              self._streams or folder, self._options)

    def again(self, log, less):
        self._streams = Path(log).parent
        return super().again(log, less)

    def fuzz(self, seed, minutes, machines=None, keep_going=False):
        """Load streams; return whether there is no finding."""
        begin = time.monotonic()
        deadline = begin + 60 * minutes
        first, findings = seed, 0
        while time.monotonic() < deadline and (keep_going or not findings) \
                and (machines is None or seed - first < machines):
            if has_streams(Machine(seed)):
                findings += not self._streams_of(seed, deadline, begin, first)
            seed += 1
        say('    ' + self._progress(begin, first, seed - 1))
        return not findings

    def _streams_of(self, seed, deadline, begin, first):
        """Load the streams of one machine; return whether there is no
        finding."""
        with tempfile.TemporaryDirectory() as folder:
            executor = self._executor(folder)
            run = Run(seed, executor, Path(folder))
            shown = time.monotonic()
            try:
                stream = run.save()
                if stream:
                    run.check()
                for number in range(LOADS if stream else 0):
                    run.load(stream, number)
                    if time.monotonic() > deadline:
                        break
                    if time.monotonic() - shown >= 15:
                        shown = time.monotonic()
                        say('    ' + self._progress(begin, first, seed, run))
                run.end()
                return True
            except Finding as finding:
                run.log.store(Path(folder))
                self._keep(seed, finding, folder)
                for name in run.log.streams:
                    shutil.copy(Path(folder) / name,
                                self._folder / f'finding-{seed}')
                self._report(seed, finding)
                return False
            finally:
                executor.close()
                self._loads += run.loads
                self._accepted += run.accepted

    def _progress(self, begin, first, seed, run=None):
        loads = self._loads + (run.loads if run else 0)
        accepted = self._accepted + (run.accepted if run else 0)
        seconds = max(time.monotonic() - begin, 0.001)
        return (f'{loads:,} streams, {accepted:,} of them accepted, '
                f'{loads / seconds:.1f} a second; seeds {first} to {seed}')
