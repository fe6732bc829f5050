#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# Checks the commands in docs/devel/svm-guest.rst.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Extract the commands from the document, and run them like a reader.  Only
two things are replaced: the port of gdb, and the file with the addresses of
kernel functions, because the symbols of the kernel are a download of 1 GB."""

import os
import re
import select
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from qemu_test import QemuBaseTest
from svm_guest import REPO

# svm_guest has put the folder scripts into sys.path.
from debian_archive import ArchiveError
from guest_image import guest_image, kernel_toolchain

DOCUMENT = REPO / 'docs' / 'devel' / 'svm-guest.rst'
# More than any command takes on a busy machine
SECONDS = 600
# Ctrl-A C: switch between the guest and QEMU's monitor
MONITOR = '\x01c'
# After each prompt, the guest's shell requests the cursor position.  Messages
# of the kernel may come between the prompt and the request.
PROMPT = r'\x1b\[6n'


class Document:
    """Sections, their text, and their literal blocks: lists of commands."""

    def __init__(self, path):
        self.sections = {}
        lines = path.read_text(encoding='utf-8').splitlines()
        body = None
        for line, following in zip(lines, lines[1:] + ['']):
            if re.fullmatch('==+', following) and line.strip(' ='):
                body = self.sections[line] = []
            elif body is not None and not re.fullmatch('=+', line):
                body.append(line)

    def blocks(self, title):
        """Return the blocks of a section: each extends from a line that ends
        with :: to the next line that is not indented."""
        found, inside = [], False
        for line in self.sections[title]:
            if inside and line.startswith('  '):
                found[-1].append(line)
            elif line:
                inside = line.endswith('::')
                if inside:
                    found.append([])
        return [self._commands('\n'.join(block)) for block in found]

    @staticmethod
    def _commands(block):
        lines = block.replace('\\\n', ' ').splitlines()
        return [re.sub(r'\s+# .*', '', line).strip() for line in lines]

    def inline(self, title, word):
        """Return texts in double backquotes that begin with a word."""
        return re.findall(f'``({word} [^`]*)``',
                          '\n'.join(self.sections[title]))

    def table(self, title):
        """Return words in double backquotes in column 1 of its table."""
        words, inside = [], False
        for line in self.sections[title]:
            if re.fullmatch(r'=+ [ =]+', line):
                inside = not inside
            elif inside:
                words += re.findall('``([^`]*)``', line.split('   ')[0])
        return words


class Terminal:
    """A command of the document, with its input and output."""

    def __init__(self, test, command):
        self._test = test
        self._process = subprocess.Popen(
            command, shell=True, cwd=test.folder, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            start_new_session=True)
        self._said = ''
        test.addCleanup(self.close)

    def write(self, text):
        self._process.stdin.write(text.encode())
        self._process.stdin.flush()

    def expect(self, pattern):
        """Wait for a pattern; return the output up to its end."""
        pattern = re.compile(pattern, re.M)
        deadline = time.monotonic() + SECONDS
        while not (found := pattern.search(self._said)):
            ready, _, _ = select.select([self._process.stdout], [], [],
                                        max(deadline - time.monotonic(), 0))
            data = ready and os.read(self._process.stdout.fileno(), 65536)
            if not data:
                self._test.fail(f'{pattern.pattern!r} never came:\n'
                                f'{self._said[-3000:]}')
            self._said += data.decode(errors='replace').replace('\r', '')
        before, self._said = (self._said[:found.end()],
                              self._said[found.end():])
        return before

    def run(self, command):
        """Run a command in the guest's shell; return its status and output."""
        self.write(f'{command}; echo status=$?\n')
        said = self.expect(r'status=\d+(?=\D)')
        # Later output of the guest would be mixed with that of the monitor
        self.expect(PROMPT)
        return int(said.rpartition('=')[2]), said

    def monitor(self, command):
        """Run a command in QEMU's monitor, which prints nothing on success."""
        self.write(f'{MONITOR}{command}\n')
        self.expect(re.escape(command.split()[-1]) + r'[^\n]*$')
        said = self.expect(r'\(qemu\) ')
        self.write(MONITOR)
        self._test.assertNotIn('Error', said)

    def finish(self):
        """Wait for the end of the command; return its output."""
        said = self._process.stdout.read().decode(errors='replace')
        self._test.assertEqual(self._process.wait(), 0, said[-3000:])
        return said

    def close(self):
        if self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._process.stdin.close()
        self._process.stdout.close()


class SvmDocument(QemuBaseTest):

    def setUp(self):
        super().setUp()
        self.document = Document(DOCUMENT)
        try:
            self.guest = guest_image('backports', svm=True)
        except ArchiveError as error:
            self.skipTest(str(error))
        # A checkout for files that the commands create
        self.folder = tempfile.mkdtemp(dir=self.workdir)
        for name in ('scripts', 'tests', 'build'):
            Path(self.folder, name).symlink_to(REPO / name)

    def terminal(self, command):
        """Start the guest of the document, and wait for its shell."""
        self.assertTrue(command.startswith('scripts/run-guest --svm'), command)
        terminal = Terminal(self, command)
        terminal.expect('A root shell in the guest')
        return terminal

    def check_guest_command(self, terminal, command):
        """Run a command, and check it: a fault is only reported as an error of
        the device, and commands without a fault succeed."""
        status, said = terminal.run(command)
        self.assertEqual(status, 0, said)
        if command.startswith('svm fault'):
            self.assertIn('the device reports an error', said)
        if command.startswith('svm test'):
            self.assertRegex(said, r'(?m)^0 of \d+ cases failed$')
            self.assertRegex(said, '(?m)^ok ')
        return said

    def test_all_sections(self):
        """All sections with commands have a test."""
        commands = {title for title in self.document.sections
                    if any(self.document.blocks(title))}
        self.assertEqual(commands, {'Start', 'Attach gdb', 'Provoke a fault',
                                    'Read the traces', 'Behind an AMD IOMMU',
                                    'Measure'})

    def test_start(self):
        host, commands, build = self.document.blocks('Start')
        self.assertEqual(host[0], 'make')
        terminal = self.terminal(host[1])
        said = {command: self.check_guest_command(terminal, command)
                for command in commands}
        self.assertEqual([command.split()[1] for command in said],
                         ['--help', 'write', 'list', 'test'])
        self.assertIn('done', said['svm write 16M'])
        self.assertEqual(len(build), 1)
        printed = subprocess.run(
            self.document.inline('Start', 'scripts/run-guest'), shell=True,
            cwd=self.folder, check=True, capture_output=True, text=True).stdout
        self.assertIn('-device intel-iommu,svm=on', printed)
        self.assertIn(str(self.guest.kernel), printed)

    def test_build(self):
        """The command that builds for another kernel, in the release of Debian
        that has its compiler and its headers."""
        command, = self.document.blocks('Start')[2]
        matched = re.fullmatch(r'make -C (\S+) KDIR=\S+', command)
        self.assertTrue(matched, command)
        try:
            toolchain = kernel_toolchain('trixie')
        except ArchiveError as error:
            self.skipTest(str(error))
        toolchain.make(REPO / matched[1], self.folder)
        self.assertTrue(Path(self.folder, 'svm.ko').exists())

    def test_faults(self):
        title = 'Provoke a fault'
        terminal = self.terminal('scripts/run-guest --svm')
        for command in self.document.table(title):
            self.check_guest_command(terminal, command)
        swap, deny, stale = self.document.blocks(title)
        for command in swap:
            said = self.check_guest_command(terminal, command)
        self.assertNotIn('skipped', said)
        terminal.monitor(deny[0].partition(' ')[2])
        status, said = terminal.run('svm write')
        self.assertEqual(status, 1, said)
        self.assertIn('the device reports an error', said)
        self.check_guest_command(terminal, 'svm write')

        outcomes = []
        for command in stale:
            if command.startswith('(qemu) '):
                terminal.monitor(command.partition(' ')[2])
            else:
                outcomes.append(terminal.run(command)[0])
        self.assertEqual(outcomes, [1, 0, 0])

    def gdb(self, commands, at_the_end):
        """Start gdb as in the document, with its "(gdb)" lines; then print the
        position."""
        if not shutil.which('gdb'):
            self.skipTest('gdb is missing: install gdb')
        command = commands[0].replace('gdb ', 'gdb -q -batch ', 1)
        for line in commands[1:]:
            prompt, _, typed = line.partition(' ')
            self.assertEqual(prompt, '(gdb)')
            command += f" -ex '{typed}'"
        return Terminal(self, f"{command} -ex 'bt 1' -ex {at_the_end}")

    def addresses(self, names):
        """Return the addresses of functions in the kernel with nokaslr."""
        terminal = self.terminal('scripts/run-guest --svm --append nokaslr')
        found = {}
        for name in names:
            status, said = terminal.run(f'grep -w {name} /proc/kallsyms')
            self.assertEqual(status, 0, f'this kernel has no {name}')
            found[name] = re.search(f'^([0-9a-f]+) . {name}$', said, re.M)[1]
        terminal.close()
        return found

    def make_vmlinux(self, addresses):
        """Create a file with the addresses of kernel functions, in place of
        that with all symbols of the kernel: a section for each."""
        Path(self.folder, 'vmlinux.s').write_text(''.join(
            f'.section .at.{name}, "ax"\n.globl {name}\n'
            f'.type {name}, @function\n{name}: ret\n'
            for name in addresses), encoding='utf-8')
        subprocess.run(
            ['cc', '-nostdlib', '-static', '-Wl,-e,0', '-Wl,--build-id=none',
             *(f'-Wl,--section-start=.at.{name}=0x{address}'
               for name, address in addresses.items()),
             'vmlinux.s', '-o', 'vmlinux'], cwd=self.folder, check=True)

    def test_gdb_kernel(self):
        block = self.document.blocks('Attach gdb')[0]
        text = '\n'.join(self.document.sections['Attach gdb'])
        names = re.findall(r'``([a-z]+_[a-z_]+)``', text.split('emulator')[0])
        self.assertGreater(len(names), 3)
        stop = block[2].split()[-1]
        self.make_vmlinux(self.addresses([stop, *names]))
        with socket.create_server(('127.0.0.1', 0)) as server:
            port = server.getsockname()[1]
        guest = Terminal(self, block[0].replace(
            '-s ', f'-gdb tcp:127.0.0.1:{port} '))
        guest.expect('a root shell comes')
        self.assertIn(':1234', block[1])
        gdb = self.gdb([block[1].replace(':1234', f':{port}'), *block[2:]],
                       'kill')
        guest.expect('A root shell in the guest')
        guest.write('svm write\n')
        self.assertRegex(gdb.finish(), f'Breakpoint 1, .*{stop}')

    def test_gdb_emulator(self):
        block = self.document.blocks('Attach gdb')[1]
        guest = self.terminal(block[0])
        gdb = self.gdb(block[1:], 'detach')
        gdb.expect('Breakpoint 1 at')
        guest.write('svm write; echo status=$?\n')
        self.assertIn('Breakpoint 1, vtd_pri_request_page', gdb.finish())
        guest.expect('^status=0$')

    def test_traces(self):
        """Some operations cause all trace events of the table."""
        block, = self.document.blocks('Read the traces')
        terminal = self.terminal(block[0])
        for command in ('svm write', 'svm fault unmapped', 'svm test unmap'):
            self.check_guest_command(terminal, command)
        # Linux is not always faster than the device
        for _ in range(30):
            self.check_guest_command(terminal, 'svm test exit exec')
            trace = Path(self.folder, 'trace.log').read_text(encoding='utf-8')
            if 'vtd_dmar_fault' in trace:
                break
        for event in self.document.table('Read the traces'):
            self.assertRegex(trace, rf'(?m)^\d+@\d+\.\d+:{event} ')

    def test_amd(self):
        """The commands work behind the other IOMMU.  The kernel has its
        functions, the emulator its functions and trace events; the kernel logs
        nothing."""
        title = 'Behind an AMD IOMMU'
        (command,), = self.document.blocks(title)
        names = re.findall(r'``(amd\w+)``',
                           '\n'.join(self.document.sections[title]))
        self.assertEqual(len(names), 5)
        emulator = (REPO / 'build' / 'qemu-system-x86_64').read_bytes()
        terminal = self.terminal(command)
        for name in names:
            if name.startswith('amdvi_'):
                self.assertIn(name.encode(), emulator)
            else:
                status, _ = terminal.run(f'grep -w {name} /proc/kallsyms')
                self.assertEqual(status, 0, f'this kernel has no {name}')
        for fault in self.document.table('Provoke a fault'):
            self.check_guest_command(terminal, fault)
        status, said = terminal.run("dmesg | grep 'Event logged'")
        self.assertEqual(status, 1, said)

    def test_measure(self):
        (command,), = self.document.blocks('Measure')
        said = Terminal(self, command).finish()
        for word in ('new', 'cold', 'warm', 'memcpy'):
            self.assertIn(word, said)


if __name__ == '__main__':
    SvmDocument.main()
