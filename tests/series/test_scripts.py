#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# What the scripts say, and what they leave behind.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The scripts explain themselves and reject what they do not understand.  A
script that is interrupted ends its child processes, deletes its temporary
files, and does not confuse the next run.  Programs that these tests must not
run, such as apt-get, are replaced."""

import importlib.machinery
import importlib.util
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import unittest
from pathlib import Path
from unittest import mock

import pycotap

REPO = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(REPO / 'scripts'))

# pylint: disable=wrong-import-position
import debian_archive  # noqa: E402
import precompiled  # noqa: E402
import svm_timeline  # noqa: E402
from guest_channel import GuestChannel, GuestSilent  # noqa: E402

SECONDS = 60
# Not a script for users: it passes all arguments to the compiler
COMPILER = 'coverage-cc'
LISTING = "'http://a/{0}' {0} {1} SHA256:0\n"


def programs():
    """All programs for users."""
    found = [REPO / 'configure']
    for folder in ('scripts', 'tests/bench'):
        found += [path for path in sorted((REPO / folder).iterdir())
                  if os.access(path, os.X_OK) and path.is_file()
                  and path.name != COMPILER]
    return found


def run(*command, **options):
    """Run a command; its output is part of the result."""
    return subprocess.run([str(word) for word in command], text=True,
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False,
                          timeout=SECONDS, **options)


class ScriptTest(unittest.TestCase):

    def setUp(self):
        # pylint: disable=consider-using-with
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        self.folder = Path(folder.name)

    def replace(self, name, script):
        """Put a shell script into a folder that comes first in the PATH."""
        program = self.folder / 'bin' / name
        program.parent.mkdir(exist_ok=True)
        program.write_text(f'#!/bin/sh\n{script}\n', encoding='utf-8')
        program.chmod(0o755)

    def environment(self, **added):
        return {**os.environ, 'TMPDIR': str(self.folder),
                'PATH': f'{self.folder}/bin:{os.environ["PATH"]}', **added}

    def wait_for(self, path):
        """Wait for a file with text, and return the text."""
        deadline = time.monotonic() + SECONDS
        while not path.exists() or not path.read_text('utf-8').endswith('\n'):
            self.assertLess(time.monotonic(), deadline, f'no {path}')
            time.sleep(0.01)
        return path.read_text('utf-8').strip()

    def check_ended(self, pid):
        """Check that a process ends."""
        deadline = time.monotonic() + SECONDS
        while True:
            try:
                state = Path(f'/proc/{pid}/stat').read_text('utf-8')
            except FileNotFoundError:
                return
            if state.rpartition(')')[2].split()[0] == 'Z':
                return
            self.assertLess(time.monotonic(), deadline, f'{pid} is alive')
            time.sleep(0.01)


class UsageTest(ScriptTest):

    def test_help(self):
        for program in programs():
            with self.subTest(program.name):
                done = run(program, '--help')
                self.assertEqual(done.returncode, 0, done.stdout)
                self.assertTrue(done.stdout.strip())

    def test_unknown_option(self):
        """Status 2, as usual, and a hint at the usage."""
        for program in programs():
            with self.subTest(program.name):
                done = run(program, '--nonsense')
                self.assertEqual(done.returncode, 2, done.stdout)
                self.assertRegex(done.stdout, 'usage|--help')
                self.assertNotIn('Traceback', done.stdout)

    def test_make_help(self):
        """Each target in the list exists."""
        said = run('make', '-C', REPO, '--no-print-directory', 'help').stdout
        targets = {name for line in said.splitlines()
                   for name in re.findall(r'[a-z][a-z-]*',
                                          line.partition(':')[0])
                   if name not in ('make', 'amd')}
        self.assertGreater(len(targets), 10)
        for target in targets:
            with self.subTest(target):
                done = run('make', '-C', REPO, '--dry-run', target)
                self.assertEqual(done.returncode, 0, done.stdout)

    def test_closed_output(self):
        """The reader of the output has ended."""
        done = run('sh', '-c',
                   f'(sleep 1; {REPO}/scripts/run-tests --help) | true')
        self.assertEqual(done.stdout, '')


class SignalTest(ScriptTest):
    """A script with a child process and a temporary folder is stopped."""

    SCRIPT = '''
import sys, tempfile
sys.path.insert(0, sys.argv[1])
from child_process import run_program
from report import main_guard
def main():
    with tempfile.TemporaryDirectory(prefix='left-'):
        return run_program(['sh', '-c', 'echo $$ > "$0"; exec sleep 1000',
                            sys.argv[2]])
main_guard(main)
'''

    def check_signal(self, number):
        script = self.folder / 'script'
        script.write_text(self.SCRIPT, encoding='utf-8')
        pid = self.folder / 'pid'
        # Programs in the background of a shell ignore SIGINT
        before = signal.signal(number, signal.SIG_DFL)
        self.addCleanup(signal.signal, number, before)
        with subprocess.Popen(
                [sys.executable, script, REPO / 'scripts', pid], text=True,
                env=self.environment(), stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT) as process:
            child = self.wait_for(pid)
            process.send_signal(number)
            said, _ = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 128 + number, said)
        self.assertEqual(said.strip(),
                         'script: interrupted; run it again to continue')
        self.check_ended(child)
        self.assertEqual(list(self.folder.glob('left-*')), [])

    def test_ctrl_c(self):
        self.check_signal(signal.SIGINT)

    def test_kill(self):
        self.check_signal(signal.SIGTERM)

    def test_closed_terminal(self):
        self.check_signal(signal.SIGHUP)


class PrepareDemoTest(ScriptTest):
    """scripts/prepare-demo, with scripts in place of both builds."""

    FOREVER = 'echo $$ > "$TMPDIR/$(basename "$0").pid"; exec sleep 1000'

    def setUp(self):
        super().setUp()
        (self.folder / 'scripts').mkdir()
        for name in ('prepare-demo', 'child_process.py', 'report.py'):
            shutil.copy(REPO / 'scripts' / name, self.folder / 'scripts')
        ninja = self.folder / 'build/qemu-build/build.ninja'
        ninja.parent.mkdir(parents=True)
        ninja.touch()

    def start(self, build, guest):
        """Start it with the scripts that build the emulator and the guest."""
        for name, script in (('build-qemu', build), ('demo', guest)):
            path = self.folder / 'scripts' / name
            path.write_text(f'#!/bin/sh\n{script}\n', encoding='utf-8')
            path.chmod(0o755)
        before = signal.signal(signal.SIGINT, signal.SIG_DFL)
        self.addCleanup(signal.signal, signal.SIGINT, before)
        process = subprocess.Popen(
            [self.folder / 'scripts/prepare-demo', 'demo', '--', '--size=1'],
            text=True, env=self.environment(), stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT)
        self.addCleanup(process.stdout.close)
        return process

    def test_success(self):
        process = self.start('echo "[1/2] CC x"; echo "[2/2] LINK x"',
                             'echo "$*" > "$TMPDIR/arguments"')
        said, _ = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 0, said)
        self.assertEqual((self.folder / 'arguments').read_text('utf-8'),
                         '--guest-only --size=1\n')

    def test_failure(self):
        """The output of the failed step is shown, and the other ends."""
        process = self.start(
            'while [ ! -e "$TMPDIR/demo.pid" ]; do sleep 0.01; done\n'
            'echo "[1/2] CC x"; echo "x.c:1: error"; exit 1', self.FOREVER)
        said, _ = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 1)
        self.assertIn('prepare-demo: the emulator cannot be built:\n'
                      '    x.c:1: error\n', said)
        self.check_ended(self.wait_for(self.folder / 'demo.pid'))

    def test_interrupted(self):
        process = self.start(self.FOREVER, self.FOREVER)
        children = [self.wait_for(self.folder / f'{name}.pid')
                    for name in ('build-qemu', 'demo')]
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=SECONDS)
        self.assertEqual(process.returncode, 130, said)
        for pid in children:
            self.check_ended(pid)


class DownloadTest(ScriptTest):
    """Downloads with an apt-get that does what a case needs."""

    FILE = 'thing_1_all.deb'

    def setUp(self):
        super().setUp()
        self.cache = self.folder / 'cache'
        patch = mock.patch.dict(os.environ, self.environment())
        patch.start()
        self.addCleanup(patch.stop)

    def apt_get(self, script):
        """Replace apt-get: a package of 1000 bytes, and a script that writes
        its file, the last argument but --print-uris."""
        listing = LISTING.format(self.FILE, 1000).strip()
        self.replace('apt-get', f'''
            case "$*" in
            *--print-uris*) echo "{listing}"; exit ;;
            esac
            {script}''')

    def download(self):
        archive = debian_archive.Archive(self.cache)
        with open(os.devnull, 'w', encoding='utf-8') as null, \
                mock.patch('sys.stdout', null):
            return archive.download('thing', '1')

    def test_complete(self):
        self.apt_get(f'head -c 1000 /dev/zero > {self.FILE}')
        self.assertEqual(self.download().stat().st_size, 1000)

    def test_failed(self):
        """A file that is incomplete is not a download."""
        self.apt_get(f'head -c 10 /dev/zero > {self.FILE}; exit 100')
        with self.assertRaises(debian_archive.ArchiveError) as caught:
            self.download()
        self.assertIn('check the network', str(caught.exception))
        self.assertEqual(list(self.cache.rglob('*.deb')), [])

    def test_interrupted(self):
        """The next run begins again after one that was killed."""
        partial = self.cache / 'debs/partial'
        partial.mkdir(parents=True)
        (partial / self.FILE).write_bytes(b'begun')
        self.apt_get(f'''
            [ ! -e {self.FILE} ] || exit 1
            head -c 1000 /dev/zero > {self.FILE}''')
        self.assertEqual(self.download().stat().st_size, 1000)

    def test_progress(self):
        """Without a terminal, a line from time to time."""
        self.apt_get(f'''
            head -c 600 /dev/zero > {self.FILE}
            sleep 1.5
            head -c 400 /dev/zero >> {self.FILE}''')
        script = ('import sys; sys.path.insert(0, sys.argv[1]);'
                  'import report; report.Progress.INTERVAL = 0;'
                  'from debian_archive import Archive;'
                  'Archive(sys.argv[2]).download("thing", "1")')
        said = run(sys.executable, '-c', script, REPO / 'scripts',
                   self.cache).stdout
        self.assertIn('fetching thing 1, 0 MB\n', said)
        self.assertIn('fetching thing 1: 0 of 0 MB\n', said)

    def test_work_directory(self):
        """A folder that a killed program has left is deleted, and one that is
        in use is not."""
        left = self.folder / 'partial-left'
        left.mkdir()
        with debian_archive.work_directory(self.folder) as used:
            self.assertFalse(left.exists())
            with debian_archive.work_directory(self.folder) as other:
                self.assertNotEqual(used, other)
            self.assertTrue(used.exists())
            self.assertFalse(other.exists())
        self.assertFalse(used.exists())


# As apt 3 does: the programs that it runs, which print something, do not have
# the file descriptor of the status.
STATUS_FD = '''
    fd=${*##*Status-Fd=}
    fd=${fd%% *}
    eval "exec 9>&$fd $fd>&-"
    echo Unpacking || exit 100
'''


class PackagesTest(ScriptTest):
    """scripts/install-packages, with an apt-get that installs nothing."""

    def install(self, apt_get, *arguments):
        self.replace('dpkg-query', f'''
            case "$4" in
            gnuplot-nox | dpdk-dev) [ -e {self.folder}/installed ] || exit 1 ;;
            esac
            echo installed 99''')
        self.replace('apt-get', apt_get)
        self.replace('sudo', 'exec 3>&-; exec "$@"')
        return run(REPO / 'scripts/install-packages', *arguments,
                   env=self.environment())

    def test_list(self):
        for sections, missing in (((), 'gnuplot-nox\ndpdk-dev\n'),
                                  (('build',), ''),
                                  (('build', 'demo'), 'gnuplot-nox\n')):
            done = self.install('exit 1', '--list', *sections)
            self.assertEqual((done.returncode, done.stdout), (0, missing))

    def test_installed(self):
        done = self.install(f'''
            case "$*" in
            *--print-uris*) echo "{LISTING.format('a', 30000000).strip()}" ;;
            *Status-Fd=*)
                {STATUS_FD}
                echo dlstatus:1:0:x >&9
                echo dlstatus:1:50.1:x >&9
                echo dlstatus:1:51.7:x >&9
                echo pmstatus:a:100:x >&9
                touch {self.folder}/installed ;;
            esac''', 'build', 'demo')
        self.assertEqual(done.returncode, 0, done.stdout)
        self.assertIn('    50 % of 30 MB fetched\n    100 % installed\n',
                      done.stdout)
        self.assertEqual(list(self.folder.glob('tmp.*')), [])

    def test_failed(self):
        done = self.install('''
            case "$*" in
            *Status-Fd=*) echo no space >&2; exit 100 ;;
            esac''', 'demo')
        self.assertEqual(done.returncode, 1)
        self.assertIn('no space', done.stdout)
        self.assertIn('apt-get install --no-install-recommends gnuplot-nox',
                      done.stdout)


class ConfigureTest(ScriptTest):
    """A demo needs few devices, and takes a build that has all of them."""

    def setUp(self):
        super().setUp()
        loader = importlib.machinery.SourceFileLoader('configure',
                                                      str(REPO / 'configure'))
        spec = importlib.util.spec_from_loader('configure', loader)
        self.script = importlib.util.module_from_spec(spec)
        loader.exec_module(self.script)
        self.runs = []

        def qemu_configure(_tree, build, options):
            self.runs.append('--without-default-devices' in options)
            build.mkdir(exist_ok=True)
            (build / 'build.ninja').touch()

        for name, value in (('BUILD', self.folder), ('say', mock.Mock()),
                            ('run_qemu_configure', qemu_configure)):
            patch = mock.patch.object(self.script, name, value)
            patch.start()
            self.addCleanup(patch.stop)

    def configure(self, *words):
        """What configure does with options; return the runs of QEMU's configure
        so far: whether each was one with few devices."""
        with mock.patch.object(sys, 'argv', ['configure', *words]):
            args = self.script.parse_arguments()
        config = self.script.Configuration(self.folder)
        demo = self.script.wants_demo(config, args)
        self.script.configure_qemu(None, config, args.options, demo)
        config.save()
        return self.runs

    def test_demo_first(self):
        self.assertEqual(self.configure('--demo'), [True])
        self.assertEqual(self.configure('--demo'), [True])
        self.assertEqual(self.configure(), [True, False])
        self.assertEqual(self.configure('--demo'), [True, False])

    def test_demo_with_options(self):
        self.assertEqual(self.configure('--demo'), [True])
        self.assertEqual(self.configure('--demo', '--', '--enable-asan'),
                         [True, True])

    def test_other_build(self):
        """A build with sanitizers does not replace that of a demo."""
        self.assertEqual(self.configure('--demo'), [True])
        self.assertEqual(self.configure('--sanitize'), [True])
        self.assertEqual(self.configure('--coverage'), [True])

    def test_suites(self):
        """A build with test suites has all devices, whatever changes."""
        self.assertEqual(self.configure(), [False])
        (self.folder / 'build.ninja').touch()
        self.assertEqual(self.configure('--demo', '--', '--enable-asan'),
                         [False, False])

    def test_devices(self):
        """QEMU has the devices in the list of the demos."""
        tree = REPO / 'build/qemu'
        devices = REPO / 'configs/devices/x86_64-softmmu/demo.mak'
        self.assertIn('--with-devices-x86_64=' + os.path.relpath(
            devices.with_suffix(''), tree / 'configs/devices/x86_64-softmmu'),
            self.script.DEMO)
        done = run('/usr/bin/python3', 'scripts/minikconf.py', '--allnoconfig',
                   self.folder / 'devices.mak', self.folder / 'depends',
                   devices, 'Kconfig', 'CONFIG_TCG=y', 'CONFIG_X86_64=y',
                   cwd=tree)
        self.assertEqual(done.returncode, 0, done.stdout)
        wanted = re.findall('(?m)^CONFIG.*', devices.read_text('utf-8'))
        self.assertLessEqual({*wanted}, {*done.stdout.splitlines()})


class PrecompiledTest(ScriptTest):
    """A header is precompiled for a build with two sets of options."""

    OPTIONS = ('-DA=1', '-DB=2 -O2')

    def setUp(self):
        super().setUp()
        self.header = self.folder / 'include/qemu/first.h'
        self.header.parent.mkdir(parents=True)
        self.header.write_text('#ifndef FIRST\n#define FIRST\n'
                               '#include "second.h"\n#endif\n',
                               encoding='utf-8')
        self.header.with_name('second.h').write_text('extern int x;\n',
                                                     encoding='utf-8')
        (self.folder / 'a.c').write_text('#include "qemu/first.h"\n'
                                         '#include "qemu/first.h"\n'
                                         'int x;\n', encoding='utf-8')
        self.commands = [
            'gcc -Wall -Winvalid-pch -Werror -g -iquote . '
            f'-iquote {self.folder}/include -fpch-deps -Wno-invalid-pch '
            f'{options} -MD -MQ a.o -MF a.d -c a.c -o a.o'
            for options in self.OPTIONS]
        (self.folder / 'compile_commands.json').write_text(json.dumps(
            [{'command': command} for command in self.commands
             for _ in range(precompiled.MANY)]), encoding='utf-8')

    def compile(self, command):
        """Return the object, the dependencies, and what gcc -H says."""
        # ccache, which PATH may have as gcc, can repeat an earlier result
        done = run(*f'env CCACHE_DISABLE=1 {command} -H'.split(),
                   cwd=self.folder)
        self.assertEqual(done.returncode, 0, done.stdout)
        needs = (self.folder / 'a.d').read_text('utf-8').split()
        return ((self.folder / 'a.o').read_bytes(),
                {Path(word).name for word in needs if word.endswith('.h')},
                done.stdout)

    def test_same(self):
        """The objects and the dependencies are the same."""
        without = [self.compile(command) for command in self.commands]
        with precompiled.precompiled_header(self.folder, self.header):
            for command, (binary, needs, _) in zip(self.commands, without):
                found = self.compile(command)
                self.assertEqual(found[0], binary)
                self.assertLessEqual(needs, found[1])
                # gcc marks a precompiled header that it uses like this
                self.assertRegex(found[2], r'(?m)^! .*/qemu/first\.h\.gch/')
        self.assertEqual(list(self.folder.rglob('*.gch')), [])


class GuestChannelTest(ScriptTest):

    def follow(self, said, timeout, silence):
        """Follow a guest that has said something, and says nothing more."""
        path = self.folder / 'guest'
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen()
            channel = GuestChannel(str(path))
            self.addCleanup(channel.close)
            channel.connect(time.monotonic() + SECONDS)
            guest, _ = listener.accept()
        with guest:
            guest.sendall(said)
            return channel.run(timeout, silence=silence)

    def test_end(self):
        self.assertEqual(self.follow(b'works\nsvm: done 3\n', SECONDS,
                                     SECONDS), 3)

    def test_silent(self):
        """A guest that is stuck is reported before the time is up."""
        with self.assertRaisesRegex(GuestSilent, 'none for 0.1 s'):
            self.follow(b'works\nunfinished', SECONDS, 0.1)

    def test_timeout(self):
        with self.assertRaisesRegex(GuestSilent, 'timeout'):
            self.follow(b'works\n', 0.1, SECONDS)


class PictureTest(ScriptTest):

    def test_timeline(self):
        """A trace with two operations becomes a picture with their lanes."""
        trace = self.folder / 'trace'
        trace.write_text('''\
1@1.000:svm_demo_start x
1@1.001:pci_ats_request_translation x
1@1.002:pci_pri_request_page pasid 0x1 page 0 prgi 0x2
1@1.004:pcie_pri_response pasid 0x1 prgi 0x2
1@1.010:svm_demo_end x
1@1.020:svm_demo_start x
1@1.021:svm_demo_end x
''', encoding='utf-8')
        timeline = svm_timeline.Timeline(trace)
        self.assertEqual([one.counts['groups'] for one in timeline.operations],
                         [1, 0])
        picture = self.folder / 'new' / 'picture.svg'
        timeline.draw(picture, 'Title', ('first', 'second'))
        said = picture.read_text('utf-8')
        for text in ('Title', 'first: 10.0 ms', 'second: 1.0 ms',
                     'page requests (1)', 'invalidations (0)'):
            self.assertIn(text, said)


if __name__ == '__main__':
    unittest.main(testRunner=pycotap.TAPTestRunner(
        message_log=pycotap.LogMode.LogToError,
        test_output_log=pycotap.LogMode.LogToError))
