# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run hostile guests until the time is up or there is a finding.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Run machines one after another, each with its own seed and log of steps;
replay a log; reduce a failing log."""

import re
import shutil
import tempfile
import time
from pathlib import Path

import guest
import pci
from emulator import Finding
from executor import Executor
from machine import Machine
from report import say
import amd
import dsa
import lifecycle
import svm
import testdev
import virtio
import vtd

# Their steps have registered themselves
SUBJECTS = (amd, dsa, lifecycle, pci, svm, testdev, virtio, vtd)
STEPS = 4000                    # that a machine lives
CHECK = 100                     # steps after which the emulator must answer
SEPARATOR = ' ; '


class Log:
    """The steps of one machine, as lines."""

    def __init__(self, path):
        self.count = 0
        self._file = open(path, 'w', encoding='utf-8')

    def add(self, name, actions):
        self._file.write(f'{name}: {SEPARATOR.join(actions)}\n')
        self.count += 1

    def close(self):
        self._file.close()


def read_log(path):
    """The steps of a log, each a list of actions."""
    steps = []
    for line in Path(path).read_text(encoding='utf-8').splitlines():
        _, _, actions = line.partition(': ')
        if actions:
            steps.append(actions.split(SEPARATOR))
    return steps


def boot(g):
    """The first step: act as firmware and drivers."""
    pci.program_all(g)
    if g.machine.kind == 'intel':
        vtd.start(g, g.machine.scalable)
    elif g.machine.kind == 'virtio':
        virtio.iommu_start(g)
    elif g.machine.kind == 'amd':
        amd.amd_restart(g)
    for device in g.machine.find('dsa'):
        dsa.configure(g, device)


def run_machine(seed, steps, executor, log, deadline=None):
    """One machine from its start to its end."""
    machine = Machine(seed)
    g = guest.Guest(machine, executor, seed)

    def take(name, actions):
        if not actions:
            return
        log.add(name, actions)
        executor.run(actions)
        if log.count % CHECK == 0:
            executor.run(['qmp query-status'])
        if executor.emulator:
            lifecycle.forget_deleted(g)

    take('start', ['start ' + machine.command_line()])
    # Capabilities are accessible when buses have numbers
    take(*g.make(pci.program_all))
    for device in machine.devices:
        pci.find_capabilities(executor, device)
    lifecycle.find_selectors(executor, machine.devices)
    take(*g.make(boot))
    while log.count < steps and not (deadline and time.monotonic() > deadline):
        take(*g.next_step())
    take('quit', ['qmp query-status', 'quit'])


def replay(steps, executor):
    """Execute the steps of a log, and quit."""
    for actions in steps:
        executor.run(actions)
        if executor.emulator is None:
            return
    executor.run(['qmp query-status', 'quit'])


class Session:
    """Fuzz an emulator; save findings in a folder."""

    NAME = 'guest'

    def __init__(self, binary, folder, options=None):
        self._binary = binary
        self._folder = folder
        self._options = options

    def _executor(self, folder):
        return Executor(self._binary, Path(folder), self._options)

    def fuzz(self, seed, minutes, steps=STEPS, machines=None,
             keep_going=False):
        """Run machines; return whether there is no finding."""
        begin = time.monotonic()
        deadline = begin + 60 * minutes
        total, first, shown, findings = 0, seed, begin, 0
        while time.monotonic() < deadline and \
                (machines is None or seed - first < machines):
            count, finding = self._one(seed, steps, deadline)
            total += count
            if finding:
                findings += 1
                self._report(seed, finding)
                if not keep_going:
                    return False
            seed += 1
            if time.monotonic() - shown >= 15:
                shown = time.monotonic()
                say('    ' + progress(total, first, seed, begin))
        say('    ' + progress(total, first, seed, begin))
        return not findings

    def _one(self, seed, steps, deadline):
        """(steps, finding or None) of one machine."""
        with tempfile.TemporaryDirectory() as folder:
            log = Log(Path(folder) / 'steps')
            executor = self._executor(folder)
            try:
                run_machine(seed, steps, executor, log, deadline)
                return log.count, None
            except Finding as finding:
                log.close()
                self._keep(seed, finding, folder)
                return log.count, finding
            finally:
                log.close()
                executor.close()

    def _keep(self, seed, finding, folder):
        """Save the files of a finding."""
        kept = self._folder / f'finding-{seed}'
        shutil.rmtree(kept, ignore_errors=True)
        kept.mkdir(parents=True)
        for path in Path(folder).iterdir():
            if path.suffix == '.txt' or path.name == 'steps':
                shutil.copy(path, kept)
        (kept / 'report.txt').write_text(f'{finding}\n{finding.details}\n',
                                         encoding='utf-8')

    def _report(self, seed, finding):
        kept = self._folder / f'finding-{seed}'
        say(f'    seed {seed}: {finding}')
        for line in finding.details.splitlines()[:16]:
            say(f'        {line}')
        say(f'    kept in {kept}')
        again = f'scripts/fuzz {self.NAME}'
        say(f'    again: {again} --replay {kept / "steps"}')
        say(f'    less:  {again} --reduce {kept / "steps"}')

    def again(self, log, less):
        """Repeat the steps of a log, and with less reduce them; return whether
        there is no finding."""
        steps = read_log(log)
        finding = self.try_steps(steps)
        if not finding:
            say(f'    {len(steps)} steps, nothing found')
            return True
        say(f'    {finding}')
        for line in finding.details.splitlines()[:16]:
            say(f'        {line}')
        if less:
            steps = self.reduce(steps, kind_of(finding))
            path = Path(f'{log}.less')
            path.write_text(''.join(f'step: {SEPARATOR.join(actions)}\n'
                                    for actions in steps), encoding='utf-8')
            say(f'    {len(steps)} steps, in {path}')
        return False

    def try_steps(self, steps):
        """Execute steps; return the finding, or None.

        The log may be of another version, because it is self-contained."""
        with tempfile.TemporaryDirectory() as folder:
            executor = self._executor(folder)
            try:
                replay(steps, executor)
                return None
            except Finding as finding:
                return finding
            finally:
                executor.close()

    def reduce(self, steps, kind):
        """Remove steps while the remaining ones have a finding of that kind;
        return these."""
        def fails(candidate):
            finding = self.try_steps(candidate)
            return finding and kind_of(finding) == kind

        size = len(steps) // 2
        while size:
            start = 1                       # the first one starts the machine
            while start < len(steps):
                candidate = steps[:start] + steps[start + size:]
                if fails(candidate):
                    steps = candidate
                    say(f'    {len(steps)} steps')
                else:
                    start += size
            size //= 2
        return steps


def kind_of(finding):
    """Text of a finding, without addresses and process ids."""
    return re.sub(r'0x[0-9a-f]+|==\d+==', '', str(finding))


def progress(total, first, seed, begin):
    """Describe the progress of the fuzzer."""
    seconds = max(time.monotonic() - begin, 0.001)
    return (f'{total:,} steps in {seed - first} machines, '
            f'{total / seconds:,.0f} a second; seeds {first} to '
            f'{max(first, seed - 1)}')
