# SPDX-License-Identifier: GPL-2.0-or-later
#
# Traffic between two vhost-user network cards of a guest, and its cost.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Boot an unmodified Debian kernel with two virtio network cards, whose data
plane is DPDK's testpmd (vhost-user), and move data out of one card and back
through the other.  Shared by scripts/demo-ats and tests/bench."""

import contextlib
import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from report import Failure, last_lines, say
from child_process import running
from guest_channel import GuestError
from guest_demo import TraceCounter, emulator_command
from guest_machine import REPO, iommu_arguments, network_arguments
from guest_session import run_script

ATS_ENABLE = 1 << 15
CARDS = 2


@dataclass(frozen=True)
class Mode:
    """A way to translate the addresses of the cards."""
    name: str
    heading: str
    about: str
    iommu: dict
    ats: bool = False
    append: str = ''


STRICT = 'iommu.strict=1'
LAZY = 'iommu.strict=0'
MODES = {mode.name: mode for mode in (
    Mode('none', 'no IOMMU', 'the addresses of the driver are those of memory',
         {'kind': 'none'}),
    Mode('pt', 'pass-through', 'iommu=pt: one translation for all of memory',
         {'device_iotlb': False}, append='iommu=pt'),
    Mode('unmap-lazy', 'unmap, lazy',
         'the guest invalidates all translations every few milliseconds',
         {'device_iotlb': False}, append=LAZY),
    Mode('unmap', 'unmap events',
         'QEMU forwards the invalidations of the IOMMU to the device',
         {'device_iotlb': False}, append=STRICT),
    Mode('caching', 'caching mode',
         'caching-mode=on: the guest invalidates after each map, too',
         {'device_iotlb': False, 'caching_mode': True}, append=STRICT),
    Mode('ats-lazy', 'ATS, lazy',
         'as ATS, and the guest invalidates every few milliseconds',
         {}, ats=True, append=LAZY),
    Mode('ats', 'ATS',
         'device-iotlb=on and ats=on: the guest invalidates the device-TLB',
         {}, ats=True, append=STRICT),
    Mode('virtio', 'virtio-iommu', 'the guest sends requests, and waits',
         {'kind': 'virtio', 'device_iotlb': False}, append=STRICT),
    # Linux is strict behind a virtual AMD IOMMU
    Mode('amd', 'AMD', 'amd-iommu forwards invalidations, as unmap events',
         {'kind': 'amd', 'device_iotlb': False}),
    Mode('amd-ats', 'AMD, ATS', 'as ATS, behind amd-iommu',
         {'kind': 'amd', 'svm': True}, ats=True),
)}

# testpmd waits for a card that cannot take a packet yet instead of dropping
# it: a missing translation then costs time, not data.
RETRY = '''\
set fwd io retry
set burst tx delay 20 retry 5000
'''


@dataclass(frozen=True)
class Traffic:
    """What to move: MiB in each direction, over so many queue pairs.

    If counted, the cards have the ATS capability behind any IOMMU, so that
    query-pci-ats lists them.  The guest uses it only if the IOMMU has it, too.
    """
    size: int
    queues: int = 1
    retry: bool = True
    counted: bool = False
    events: tuple = ()
    patterns: dict = None


def testpmd_command(sockets, commands, traffic):
    """The command line of testpmd; it reads the file commands."""
    commands.write_text((RETRY if traffic.retry else '') + 'start\n',
                        encoding='utf-8')
    program = shutil.which('dpdk-testpmd')
    if not program:
        raise Failure('the data plane is missing: install it with '
                      '"apt-get install dpdk-dev"')
    processors = ','.join(map(str, sorted(os.sched_getaffinity(0))))
    devices = [argument for index, path in enumerate(sockets)
               for argument in ('--vdev', f'net_vhost{index},iface={path},'
                                f'iommu-support=1,queues={traffic.queues}')]
    return [program, f'--lcores=0@({processors}),1@({processors})',
            '--no-huge', '-m', '256', '--no-pci', '--no-telemetry',
            '--file-prefix', f'qemu-svm-demo-{os.getpid()}', *devices, '--',
            '--total-num-mbufs=8192', f'--rxq={traffic.queues}',
            f'--txq={traffic.queues}', '--interactive',
            '--cmdline-file', str(commands)]


def wait_for_sockets(process, sockets, log):
    """Wait until testpmd listens."""
    deadline = time.monotonic() + 60
    while not all(path.exists() for path in sockets):
        if process.poll() is not None or time.monotonic() > deadline:
            raise Failure('testpmd does not start:\n' + last_lines(
                log.read_text(encoding='utf-8', errors='replace')))
        time.sleep(0.1)


def mode_command(options, guest, work, sockets, mode, traffic):
    """The command line of the emulator."""
    memory = 512 + 3 * traffic.size + 64 * traffic.queues
    script = ((REPO / 'tests/guest/demo.sh').read_text(encoding='utf-8')
              + f'demo {traffic.size}\n')
    devices = ['-object',
               f'memory-backend-memfd,id=ram,size={memory}M,share=on',
               '-machine', 'memory-backend=ram', '-pidfile', f'{work}/pid',
               '-qmp', f'unix:{work}/qmp,server=on,wait=off',
               *iommu_arguments(**mode.iommu)]
    extra = ',mq=on' if traffic.queues > 1 else ''
    iommu = mode.name != 'none'
    for index, path in enumerate(sockets):
        devices += ['-chardev', f'socket,id=backend{index},path={path}',
                    *network_arguments(
                        index, f'vhost-user,chardev=backend{index},'
                        f'queues={traffic.queues}',
                        ats=mode.ats or (iommu and traffic.counted),
                        iommu=iommu, device_extra=extra)]
    return emulator_command(options, guest, work, memory, script,
                            traffic.events, devices, mode.append)


class Monitor:
    """QMP, as far as it is needed here."""

    def __init__(self, path):
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.connect(str(path))
        self._file = self._socket.makefile('r', encoding='utf-8')
        self._file.readline()
        self.execute('qmp_capabilities')

    def execute(self, command):
        """Execute a command without arguments; return its result."""
        self._socket.sendall(json.dumps({'execute': command}).encode())
        while True:
            reply = json.loads(self._file.readline())
            if 'error' in reply:
                raise Failure(f'{command}: {reply["error"]["desc"]}')
            if 'return' in reply:
                return reply['return']

    def close(self):
        self._file.close()
        self._socket.close()


def vhost_stats(monitor):
    """The sums of the statistics of all back-ends (query-pci-ats)."""
    sums = {}
    for function in monitor.execute('query-pci-ats'):
        for cache in function['caches']:
            if cache['type'] == 'vhost':
                for name, value in cache.items():
                    if isinstance(value, int):
                        sums[name] = sums.get(name, 0) + value
    return sums


def context_switches(pid):
    """Of all threads of a process that are alive."""
    total = 0
    for task in Path(f'/proc/{pid}/task').iterdir():
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            total += sum(map(int, re.findall(
                r'ctxt_switches:\s*(\d+)',
                (task / 'status').read_text(encoding='ascii'))))
    return total


class Report:
    """The output of the guest in one run, and the counters around it."""

    def __init__(self, traffic, mode, work, backend):
        self.size = traffic.size << 20
        self.expect_ats = mode.ats
        self.work = work
        self.backend = backend
        self.trace = TraceCounter(work / 'trace.log', traffic.patterns or {})
        self.marks = []
        self.kernel = ''
        self.ats = []
        self.moves = []
        self.packets = {}

    def line(self, text):
        words = text.split()
        if words[:1] == ['booted']:
            self.kernel, self.ats = words[1], words[3:5]
            say(f'    Linux {self.kernel} is up; moving data')
        elif words[:1] == ['packets'] and len(words) == 6:
            self.packets[words[1]] = tuple(map(int, words[2:]))
        elif words[:1] == ['moved'] and len(words) == 7:
            seconds = float(words[2]) - float(words[1])
            sent, received = int(words[3]), int(words[4])
            good = (sent == received == self.size and words[5] == words[6])
            self.moves.append({'bytes': received, 'seconds': seconds,
                               'sha256': words[6], 'ok': good})
            way = ('there', 'back')[len(self.moves) - 1]
            say(f'    {received >> 20} MiB {way} in {seconds:.1f} s, checksum '
                + ('OK' if good else 'WRONG'))

    def mark(self):
        """Remember the state of all counters of the host."""
        with contextlib.closing(Monitor(self.work / 'qmp')) as monitor:
            stats = vhost_stats(monitor)
        emulator = int((self.work / 'pid').read_text(encoding='ascii'))
        self.marks.append({
            'trace': self.trace.mark(), 'vhost': stats,
            'switches': {'emulator': context_switches(emulator),
                         'backend': context_switches(self.backend)}})

    def check(self):
        """Raise GuestError if data or the state of ATS is wrong."""
        if len(self.moves) != 2 or not all(m['ok'] for m in self.moves):
            raise GuestError('data was lost or corrupted')
        enabled = [value.isdigit() and bool(int(value) & ATS_ENABLE)
                   for value in self.ats]
        if enabled != [self.expect_ats] * CARDS:
            raise GuestError('the guest has ATS '
                             f'{"off" if self.expect_ats else "on"} in a card')

    def _difference(self, name):
        begin, end = (mark[name] for mark in self.marks)
        return {key: value - begin.get(key, 0) for key, value in end.items()}

    def figures(self):
        """The counters between the two marks."""
        begin, end = (self.packets[name] for name in ('begin', 'end'))
        moved = [after - before for before, after in zip(begin, end)]
        trace = (mark['trace'] for mark in self.marks)
        sent, received = moved[0] + moved[2], moved[1] + moved[3]
        return {'kernel': self.kernel, 'moves': self.moves,
                'packets': sent, 'lost': sent - received,
                'vhost': self._difference('vhost'),
                'switches': self._difference('switches'),
                **self.trace.counts(*trace)}


def run_mode(options, guest, mode, traffic):
    """Boot once; return the figures."""
    with tempfile.TemporaryDirectory(prefix='qemu-svm-demo-') as directory:
        work = Path(directory)
        sockets = [work / f'card{index}' for index in range(CARDS)]
        command = mode_command(options, guest, work, sockets, mode, traffic)
        backend_log = work / 'testpmd.log'
        begin = time.monotonic()
        with running(testpmd_command(sockets, work / 'commands', traffic),
                     backend_log, stdin=subprocess.PIPE) as backend:
            wait_for_sockets(backend, sockets, backend_log)
            report = Report(traffic, mode, work, backend.pid)
            run_script(command, work, options.timeout, report.check,
                       on_line=report.line,
                       questions={'begin': report.mark, 'end': report.mark})
        return {'mode': mode.name, 'queues': traffic.queues,
                'wall_seconds': time.monotonic() - begin, **report.figures()}


def megabytes_per_second(run, index):
    """The speed there (0) or back (1)."""
    move = run['moves'][index]
    return move['bytes'] / 1e6 / max(move['seconds'], 0.01)
