# SPDX-License-Identifier: GPL-2.0-or-later
#
# Base of the functional tests: a script in an unmodified Debian guest.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Boot the test guest with a script, and check its output.

    class Example(SvmGuestTest):
        def test_something(self):
            guest = self.start_guest('trixie', 'uname -r; ask ready; echo bye',
                                     iommu_arguments() + network_arguments())
            lines = self.run_script(guest, {'ready': self.plug_something})
            self.assertIn('bye', lines)

A test fails at the end of the script if the kernel log of the guest contains
an IOMMU fault or a warning, unless the test declares that it provokes them.
"""

import asyncio
import hashlib
import os
import re
import shutil
import socket
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

from qemu.qmp import QMPError
from qemu_test import QemuSystemTest

REPO = Path(__file__).resolve().parent.parent.parent
sys.path.insert(0, str(REPO / 'scripts'))

# pylint: disable=wrong-import-position
from debian_archive import ArchiveError  # noqa: E402
from guest_channel import (GuestChannel, GuestError,  # noqa: E402
                           GuestSilent)
from guest_image import guest_image  # noqa: E402
from guest_machine import (boot_arguments, firmware_arguments,  # noqa: E402
                           machine_arguments, script_arguments)

# Messages that the kernel of a guest must not print.
KERNEL_TROUBLE = re.compile(
    r'DMAR:.*(fault|error|time-?out)|'
    r'dmar\d+: .*(page request|not canonical)|PRQ overflow|'
    r'AMD-Vi:.*(Event logged|time-?out|timed out)|'
    r'virtio_iommu.*(fault|error)|'
    r'WARNING:|BUG:|Oops|Kernel panic|Call Trace|'
    r'NETDEV WATCHDOG|blocked for more than', re.I)
# Marks that "svm test" and the guest's `provoke` print.
BRACKET = re.compile(r'\bsvm: (begin|end) (\S+)$')


def kernel_trouble(log, provoked=None, provoked_in=None):
    """Return the lines of a kernel log that report unexpected trouble.

    provoked is a pattern of expected messages; provoked_in maps the name of a
    case to a pattern of messages that are expected during the case.
    """
    trouble, under_way = [], []
    for line in log.splitlines():
        bracket = BRACKET.search(line)
        if bracket and bracket[1] == 'begin':
            under_way.append(bracket[2])
        elif bracket and bracket[2] in under_way:
            under_way.remove(bracket[2])
        elif bracket or KERNEL_TROUBLE.search(line):
            patterns = [(provoked_in or {}).get(case) for case in under_way]
            if not any(pattern and re.search(pattern, line)
                       for pattern in (provoked, *patterns)):
                trouble.append(line)
    return trouble


class DataServer:
    """A peer for the guest's `exchange`: receives data from the guest, sends
    random data, and computes the checksums of both."""

    def __init__(self, size):
        self._data = os.urandom(size)
        self.sent = hashlib.sha256(self._data).hexdigest()
        self.received = None
        self.received_bytes = 0
        self._sockets = []
        self.sink_port = self._serve(self._sink)
        self.source_port = self._serve(self._source)

    def _serve(self, handle):
        listener = socket.create_server(('127.0.0.1', 0))
        self._sockets.append(listener)
        threading.Thread(target=self._accept, args=(listener, handle),
                         daemon=True).start()
        return listener.getsockname()[1]

    @staticmethod
    def _accept(listener, handle):
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                try:
                    handle(connection)
                except ConnectionError:
                    pass  # the checksum of the guest differs then

    def _sink(self, connection):
        digest, count = hashlib.sha256(), 0
        while data := connection.recv(1 << 16):
            digest.update(data)
            count += len(data)
        self.received, self.received_bytes = digest.hexdigest(), count
        connection.sendall(self.received.encode())

    def _source(self, connection):
        connection.sendall(self._data)
        connection.shutdown(socket.SHUT_WR)
        while connection.recv(1 << 16):
            pass

    def close(self):
        for listener in self._sockets:
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()


class TestpmdBackend:
    """DPDK's testpmd as a vhost-user backend that answers pings.

    It polls its rings, and takes a processor for that, only after start()."""

    def __init__(self, test, name='backend'):
        """Start it for one test, which can have several with different names;
        skip the test if it is not installed."""
        if not shutil.which('dpdk-testpmd'):
            test.skipTest('dpdk-testpmd is missing: install package dpdk-dev')
        self._path = os.path.join(test.socket_dir().name, name)
        self._test = test
        self._log = test.log_file(f'testpmd-{name}.log')
        processors = ','.join(map(str, sorted(os.sched_getaffinity(0))))
        with open(self._log, 'w', encoding='utf-8') as output:
            self._process = subprocess.Popen(
                ['dpdk-testpmd', f'--lcores=0@({processors}),1@({processors})',
                 '--no-huge', '-m', '256', '--no-pci', '--no-telemetry',
                 '--file-prefix', f'qemu-test-{os.getpid()}-{name}',
                 '--vdev', f'net_vhost0,iface={self._path},iommu-support=1',
                 '--', '--interactive', '--no-flush-rx',
                 '--forward-mode=icmpecho', '--total-num-mbufs=8192'],
                stdin=subprocess.PIPE, stdout=output,
                stderr=subprocess.STDOUT)
        test.addCleanup(self.stop)
        self._wait(lambda: os.path.exists(self._path), 'does not listen')

    def start(self):
        """Begin to answer; a question for run_script."""
        self._process.stdin.write(b'start\n')
        self._process.stdin.flush()
        self._wait(lambda: 'icmpecho packet forwarding' in
                   Path(self._log).read_text(encoding='utf-8'),
                   'does not start')

    def _wait(self, happened, complaint):
        deadline = time.monotonic() + 60
        while not happened():
            self._test.assertIsNone(self._process.poll(),
                                    f'testpmd exited: {self._log}')
            self._test.assertLess(time.monotonic(), deadline,
                                  f'testpmd {complaint}: {self._log}')
            time.sleep(0.1)

    def stop(self):
        """End it, before the end of the test if other guests need a processor.
        """
        self._process.stdin.close()
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    @staticmethod
    def shared_memory(size):
        """Return arguments for guest memory that the backend can map."""
        return ['-object', f'memory-backend-memfd,id=ram,size={size},share=on',
                '-machine', 'memory-backend=ram']

    def chardev(self):
        return ['-chardev', f'socket,id=backend,path={self._path}']


def _mark(mark, names):
    def decorate(cls):
        for name in names or [name for name in dir(cls)
                              if name.startswith('test')]:
            assert hasattr(cls, name), f'{cls} has no {name}'
            cls.marks = {**cls.marks, name: {*cls.marks.get(name, ()), mark}}
        return cls
    return decorate


def alone(*names):
    """Decorate a class: some of its tests, also inherited ones, or all, run
    while no other test does.  They depend on real time: DPDK drops a packet
    when a translation is late, and VFIO's tests have limits in seconds."""
    return _mark('alone', names)


def slow(*names):
    """Decorate a class: some of its tests, also inherited ones, run only in
    "make check-slow"."""
    return _mark('slow', names)


class SvmGuestTest(QemuSystemTest):
    """A test with one or more guests, each of which runs a script.

    meson runs the groups of the tests in a file separately: "parallel",
    "alone", "slow" and "alone-slow".  It sets SVM_TEST_GROUP to a group, and
    SVM_TEST_GROUPS to all that it runs."""

    # Limits in seconds for a script, and for the time without output: a guest
    # prints something more often even on a busy machine, unless it is stuck.
    timeout = 240
    silence = 240
    # Test -> "alone" and "slow" (see the decorators)
    marks = {}

    def run(self, result=None):
        marks = self.marks.get(self._testMethodName, ['parallel'])
        group = '-'.join(sorted(marks))
        if group == os.environ.get('SVM_TEST_GROUP', group):
            return super().run(result)
        known = os.environ['SVM_TEST_GROUPS'].split()
        assert group in known, f'meson.build has no group {group} of {self}'
        return result

    def setUp(self):
        super().setUp()
        self._guests = []
        self._servers = []

    def tearDown(self):
        for server in self._servers:
            server.close()
        for guest in self._guests:
            guest.channel.close()
            guest.keep_lines()
        super().tearDown()

    def data_server(self, size):
        server = DataServer(size)
        self._servers.append(server)
        return server

    def start_guest(self, kernel, script, devices, append='', name='default',
                    accel='tcg', memory='512M', iommu='intel', cpus=2,
                    cpu='max', svm=False, dsa=False, dpdk=False, compiled=(),
                    launch=True):
        """Start a guest, and return it.  Skip the test if a package of the
        guest cannot be fetched, or if programs cannot be built for it (svm,
        dsa, dpdk, compiled: see guest_image)."""
        try:
            image = guest_image(kernel, svm=svm, dsa=dsa, dpdk=dpdk,
                                compiled=compiled)
        except ArchiveError as error:
            self.skipTest(str(error))
        guest = _Guest(self, name, self.get_vm(name=name), image)
        self._guests.append(guest)
        guest.write_script(script)
        guest.add_arguments(
            *firmware_arguments(),
            *machine_arguments(accel, memory, cpus, iommu, cpu),
            *boot_arguments(image,
                            f'loglevel=5 sysrq_always_enabled {append}'),
            *guest.serial_arguments(), *devices)
        if launch:
            guest.vm.launch()
        return guest

    def compile_program(self, name, *flags):
        """Compile a program of tests/guest, and return its path.  Skip the
        test if there is no compiler."""
        source = REPO / 'tests' / 'guest' / name
        program = self.scratch_file(source.stem)
        try:
            subprocess.run(['cc', '-static', '-O1', '-Wall', '-Werror', *flags,
                            '-o', program, source],
                           check=True, capture_output=True, text=True)
        except FileNotFoundError:
            self.skipTest('there is no C compiler: install gcc')
        except subprocess.CalledProcessError as error:
            self.fail(f'{source} does not compile\n{error.stderr}')
        return program

    def run_script(self, guest, questions=None, provoked=None,
                   provoked_in=None, on_line=None):
        """Wait until the script of a guest ends successfully.

        provoked is a pattern of kernel messages that the test provokes,
        provoked_in contains patterns for cases (see kernel_trouble);
        on_line is called with each line.
        Return the lines that the script has printed.
        """
        try:
            status = guest.channel.run(self.timeout, questions, on_line,
                                       self.silence)
        except GuestSilent as error:
            self.fail(f'{error}\n{guest.tail()}\n{guest.state()}')
        except GuestError as error:
            self.fail(f'{error}\n{guest.tail()}')
        self.assertEqual(status, 0, f'the script failed\n{guest.tail()}')
        guest.vm.wait(60)
        trouble = kernel_trouble(guest.kernel_log(), provoked, provoked_in)
        self.assertEqual(trouble, [], f'kernel messages\n{guest.tail()}')
        return guest.channel.lines

    def snapshot_questions(self, guest):
        """Questions for run_script: "save" takes a snapshot of the machine,
        with the reply "saved"; "load" loads it, with the reply "loaded".
        """
        _create_qcow2(guest.vm, self.scratch_file('snapshot.qcow2'))

        def monitor(command):
            said = guest.vm.cmd('human-monitor-command', command_line=command)
            self.assertEqual(said.strip(), '', command)

        def save():
            monitor('savevm busy')
            return 'saved'

        def load():
            monitor('loadvm busy')
            return 'loaded'

        return {'save': save, 'load': load}

    def migration_questions(self, guest):
        """Questions for run_script: "migrate" saves the machine, which may
        run, and goes on with it in a second emulator."""
        stream = f'file:{self.scratch_file("stream")}'

        def migrate():
            # Whatever the devices write in the meantime, the machine stops
            # after a round.
            guest.vm.cmd('migrate-set-parameters', max_bandwidth=1 << 40,
                         downtime_limit=60000)
            guest.vm.cmd('migrate', uri=stream)
            _finish_migration(guest.vm)
            guest.vm.shutdown()
            guest.restart_in(self.get_vm())
            guest.vm.cmd('migrate-incoming', uri=stream)
            _finish_migration(guest.vm)
            guest.vm.event_wait('RESUME', 30)

        return {'migrate': migrate}

    # A guest copies a kernel, an initramfs and kexec.c to /tmp
    copy_kernel = '''
            head -c $(ask size-of-kernel) /dev/vda > /tmp/kernel
            head -c $(ask size-of-initrd) /dev/vdb > /tmp/initrd
            head -c $(ask size-of-kexec) /dev/vdc > /tmp/kexec
            chmod +x /tmp/kexec
            '''

    def kernel_questions(self, guest):
        """Add disks to a guest that has not been launched, for copy_kernel.
        Return questions for run_script, with those of boot_questions."""
        questions = self.boot_questions(guest)
        for name, path in (('kernel', guest.image.kernel),
                           ('initrd', guest.image.initramfs),
                           ('kexec', self.compile_program('kexec.c'))):
            questions |= self.file_questions(guest, name, path)
        return questions

    @staticmethod
    def file_questions(guest, name, path):
        """Add a disk with a file to a guest that has not been launched.
        Return questions for run_script: the reply to "size-of-NAME" is the
        size of the file, which the disk rounds up."""
        guest.add_arguments('-drive', f'if=none,id={name},format=raw,'
                            f'readonly=on,file={path}',
                            '-device', f'virtio-blk-pci,drive={name}')
        return {f'size-of-{name}': partial(str, os.stat(path).st_size)}

    @staticmethod
    def plug_questions(guest, device):
        """Questions for run_script: "plug" plugs the device in, the value of a
        -device option with an id; "unplug" removes it, and waits for that."""
        name = re.search(r'\bid=(\w+)', device)[1]

        def plug():
            guest.vm.cmd('human-monitor-command',
                         command_line=f'device_add {device}')

        def unplug():
            guest.vm.cmd('device_del', id=name)
            guest.vm.event_wait('DEVICE_DELETED', 30,
                                match={'data': {'device': name}})

        return {'plug': plug, 'unplug': unplug}

    @staticmethod
    def boot_questions(guest):
        """Questions for run_script: the reply to "boot" is the number of the
        boot, from 1 on, as in guest.boots; "reset" resets the machine."""
        def boot():
            guest.boots += 1
            return str(guest.boots)

        return {'boot': boot, 'reset': lambda: guest.vm.cmd('system_reset')}

    def value(self, guest, name):
        """Return the value of the last "name=value" line of a script."""
        found = [line for line in guest.channel.lines
                 if line.startswith(f'{name}=')]
        self.assertTrue(found, f'{name} is missing\n{guest.tail()}')
        return found[-1].partition('=')[2]

    def check_exchange(self, guest, server, count=1):
        """Check the data of `count` exchanges in both directions."""
        words = [line.split() for line in guest.channel.lines]
        sent, confirmed, received = (
            [w[2] if len(w) > 2 else '' for w in words if w[:2] == prefix]
            for prefix in (['guest', 'sent'], ['host', 'received'],
                           ['guest', 'received']))
        self.assertEqual(len(sent), count, guest.tail())
        self.assertEqual(confirmed, sent, guest.tail())
        self.assertEqual(received, [server.sent] * count, guest.tail())


def _create_qcow2(vm, path):
    """Create an empty image for a snapshot."""
    for name, options in (
            ('file', {'driver': 'file', 'filename': path, 'size': 0}),
            ('format', {'driver': 'qcow2', 'file': 'store',
                        'size': 1 << 20})):
        vm.cmd('blockdev-create', job_id=name, options=options)
        vm.event_wait('JOB_STATUS_CHANGE', 30,
                      match={'data': {'id': name, 'status': 'concluded'}})
        vm.cmd('job-dismiss', id=name)
        if name == 'file':
            vm.cmd('blockdev-add', driver='file', filename=path,
                   node_name='store')
    vm.cmd('blockdev-add', driver='qcow2', file='store',
           node_name='snapshots')


def _finish_migration(vm):
    """Wait for the end of a migration."""
    deadline = time.monotonic() + 60
    while (status := vm.cmd('query-migrate').get('status')) != 'completed':
        if status == 'failed' or time.monotonic() > deadline:
            raise GuestError(f'the migration does not succeed: {status}')
        time.sleep(0.05)


class _Guest:
    """A virtual machine, its script, and its output."""

    def __init__(self, test, name, vm, image):
        self.vm = vm
        self.image = image
        self.boots = 0
        self._arguments = []
        self._script = test.scratch_file(f'{name}-script')
        self._console = test.log_file(f'{name}-kernel.log')
        Path(self._console).unlink(missing_ok=True)
        self._said = test.log_file(f'{name}-script.log')
        self._socket = os.path.join(test.socket_dir().name, f'{name}.sock')
        self.channel = GuestChannel(self._socket, lambda: self.vm.is_running())

    def write_script(self, script):
        Path(self._script).write_text(script, encoding='utf-8')

    def add_arguments(self, *arguments):
        """Add arguments of the emulator, for all that run the machine."""
        self._arguments += arguments
        self.vm.add_args(*arguments)

    def serial_arguments(self):
        return ['-chardev', f'file,id=console,path={self._console},append=on',
                '-serial', 'chardev:console',
                *script_arguments(self._socket, self._script)]

    def restart_in(self, vm):
        """Launch another virtual machine with the same arguments, which waits
        for an incoming migration."""
        vm.add_args(*self._arguments, '-incoming', 'defer')
        vm.launch()
        self.vm = vm
        self.channel.close()
        self.channel.connect(time.monotonic() + 30)

    def kernel_log(self):
        try:
            return Path(self._console).read_text(encoding='utf-8',
                                                 errors='replace')
        except FileNotFoundError:
            return ''

    def keep_lines(self):
        """Save the output of the script next to the kernel log."""
        Path(self._said).write_text(
            ''.join(f'{line}\n' for line in self.channel.lines),
            encoding='utf-8')

    def tail(self, count=25):
        """Return the last output, to explain why a test failed."""
        def last(lines):
            return '\n'.join(f'    {line}' for line in lines[-count:])
        return (f'last lines of the script:\n{last(self.channel.lines)}\n'
                f'last lines of the kernel ({self._console}):\n'
                f'{last(self.kernel_log().splitlines())}')

    def state(self):
        """Return what a guest that is stuck does, to explain why."""
        known = len(self.kernel_log())
        # pylint: disable=protected-access
        self.vm._qmp.settimeout(30)
        try:
            # SysRq: log everything; the tasks that are blocked; the stacks of
            # all processors
            for key in '8wl':
                self._monitor(f'sendkey alt-sysrq-{key}')
                time.sleep(2)
            parts = [self._monitor('info status'),
                     self._monitor('info pci-ats'),
                     *re.findall(r'^(?:CPU#|RIP=).*',
                                 self._monitor('info registers -a'), re.M)]
        except (QMPError, asyncio.TimeoutError) as error:
            parts = [f'the monitor does not answer: {error!r}',
                     self._host_stacks()]
        return '\n'.join([self.kernel_log()[known:], *parts])

    def _monitor(self, command):
        return self.vm.cmd('human-monitor-command', command_line=command)

    def _host_stacks(self):
        """The stacks of the emulator's threads, if there is a debugger."""
        if not shutil.which('gdb'):
            return 'gdb is missing'
        return subprocess.run(
            ['gdb', '--batch', f'--pid={self.vm.get_pid()}', '-ex',
             'thread apply all backtrace'], capture_output=True, text=True,
            check=False).stdout
