#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
#
# The patches survive every way between files, commits and mails.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Round trips of the patches, and bad input to the tools that keep them.

Each case works on a copy of this repository; the upstream source is taken out
of build/qemu, so no network is needed.
"""

import fcntl
import json
import os
import re
import shutil
import subprocess
import tempfile
import time
import unittest
from pathlib import Path

import pycotap

REPO = Path(__file__).resolve().parents[2]
TREE = REPO / 'build/qemu'


def run(*command, cwd, **environment):
    """Run a command; its output is part of the result."""
    return subprocess.run([str(part) for part in command], cwd=cwd,
                          env={**os.environ, **environment}, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          check=False)


class RepositoryTest(unittest.TestCase):
    """A copy of the repository and a pristine source, shared by the cases."""

    @classmethod
    def setUpClass(cls):
        cls.work = Path(tempfile.mkdtemp(prefix='series-', dir=REPO / 'build'))
        cls.source = cls.work / 'source'
        cls.source.mkdir()
        archive = subprocess.Popen(['git', 'archive', 'upstream'], cwd=TREE,
                                   stdout=subprocess.PIPE)
        subprocess.run(['tar', '-x', '-C', cls.source], stdin=archive.stdout,
                       check=True)
        if archive.wait():
            raise RuntimeError('git archive failed')
        cls.repo = cls.work / 'repo'
        listed = subprocess.run(
            ['git', 'ls-files', '-z', '--cached', '--others',
             '--exclude-standard'], cwd=REPO, check=True,
            capture_output=True, text=True).stdout
        for name in filter(None, listed.split('\0')):
            if (REPO / name).exists():
                (cls.repo / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPO / name, cls.repo / name)
        subprocess.run('git init -q && git add -A && '
                       'git -c user.name=t -c user.email=t commit -qm t',
                       shell=True, cwd=cls.repo, check=True)
        result = cls.configure(f'--qemu-source={cls.source}')
        if result.returncode:
            raise RuntimeError(result.stdout)
        cls.tree = cls.repo / 'build/qemu'

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.work)

    def tearDown(self):
        """Every case finds and leaves the tree as the patches make it."""
        run('git', 'reset', '-q', '--hard', cwd=self.repo)
        run('git', 'clean', '-qfd', cwd=self.repo)
        result = self.configure('--discard-edits')
        self.assertEqual(result.returncode, 0, result.stdout)

    @classmethod
    def configure(cls, *args, **environment):
        return run('./configure', '--assemble-only', *args, cwd=cls.repo,
                   **environment)

    def refresh(self, *args):
        return run('scripts/refresh-series', *args, cwd=self.repo)

    def fails(self, result, *words):
        """The command stopped with a sentence, not with a traceback."""
        self.assertNotEqual(result.returncode, 0, result.stdout)
        self.assertNotIn('Traceback', result.stdout)
        for word in words:
            self.assertIn(word, result.stdout)

    def head(self):
        return run('git', 'rev-parse', 'HEAD', cwd=self.tree).stdout

    def patches(self):
        """The patch files below subprojects/qemu, in their order."""
        return sorted((self.repo / 'subprojects/qemu').glob('*/*.patch'))

    def series(self):
        """The names of the series, in their order."""
        return sorted({path.parent.name for path in self.patches()})

    def git_commit(self, subject, *trailers):
        message = '\n'.join([subject, '', *trailers, 'Signed-off-by: T <t>'])
        result = run('git', '-c', 'user.name=t', '-c', 'user.email=t',
                     'commit', '-aqm', message, cwd=self.tree)
        self.assertEqual(result.returncode, 0, result.stdout)

    def edit(self, path='VERSION'):
        """Change one of upstream's files."""
        with open(self.tree / path, 'a', encoding='utf-8') as source:
            source.write('\n')


class SeriesTest(RepositoryTest):
    """Round trips between files and commits, and bad input."""

    def test_refresh_after_assembly_changes_nothing(self):
        result = self.refresh('--check')
        self.assertEqual(result.returncode, 0, result.stdout)
        self.refresh()
        status = run('git', 'status', '--porcelain', cwd=self.repo)
        self.assertEqual(status.stdout, '')

    def test_edit_goes_into_the_named_patch(self):
        with open(self.tree / 'hw/virtio/virtio-pci.c', 'a',
                  encoding='utf-8') as source:
            source.write('/* edited */\n')
        self.fails(self.refresh(), 'hw/virtio/virtio-pci.c', '--into')
        last = self.series()[-1]
        for place in ('0', 'no-series/1', f'{last}/100000'):
            self.fails(self.refresh('--into', place), place, f'{last}/1')
        result = self.refresh('--into', '1')
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn('+/* edited */', self.patches()[0].read_text())

    def test_edit_goes_into_the_named_patch_of_a_series(self):
        name = self.series()[1]
        self.edit()
        result = self.refresh('--into', f'{name[:2]}/2')
        self.assertEqual(result.returncode, 0, result.stdout)
        second = next(path for path in self.patches()
                      if path.parent.name == name and
                      path.name.startswith('0002-'))
        self.assertIn('+++ b/VERSION\n', second.read_text())

    def test_new_file_moves_into_the_repository(self):
        path = 'hw/pci/brand_new.c'
        (self.tree / path).write_text('/* new */\n', encoding='utf-8')
        run('git', 'add', path, cwd=self.tree)
        run('git', '-c', 'user.name=t', '-c', 'user.email=t', 'commit', '-qm',
            'pci: add a file\n\nSigned-off-by: T <t>', cwd=self.tree)
        result = self.refresh()
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertEqual((self.repo / path).read_text(), '/* new */\n')
        self.assertTrue((self.tree / path).is_symlink())
        self.assertIn(f'Adds: {path}\n', self.patches()[-1].read_text())

    def test_new_commit_belongs_to_the_series_before_it(self):
        *_, name, last = self.series()
        end = next(number for number, path in enumerate(self.patches())
                   if path.parent.name == last)
        commits = run('git', 'rev-list', '--reverse', 'upstream..HEAD',
                      cwd=self.tree).stdout.split()
        run('git', 'reset', '-q', '--hard', commits[end - 1], cwd=self.tree)
        self.edit()
        self.git_commit('VERSION: add a line')
        result = run('git', '-c', 'user.name=t', '-c', 'user.email=t',
                     'cherry-pick', f'{commits[end - 1]}..{commits[-1]}',
                     cwd=self.tree)
        self.assertEqual(result.returncode, 0, result.stdout)
        result = self.refresh()
        self.assertEqual(result.returncode, 0, result.stdout)
        made = self.patches()[end]
        self.assertEqual(made.parent.name, name)
        self.assertIn('VERSION-add-a-line', made.name)
        self.assertNotIn('Series: ', made.read_text())

    def test_trailer_makes_a_series(self):
        self.edit()
        self.git_commit('VERSION: add a line', 'Series: 99-new')
        result = self.refresh()
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertEqual(str(self.patches()[-1].relative_to(
            self.repo / 'subprojects/qemu')),
            '99-new/0001-VERSION-add-a-line.patch')
        self.fails(run('scripts/export-series', cwd=self.repo),
                   '99-new/cover-letter')

    def test_commits_of_a_series_stand_together(self):
        self.edit()
        self.git_commit('VERSION: add a line', f'Series: {self.series()[0]}')
        self.fails(self.refresh(), 'VERSION: add a line', self.series()[0],
                   self.series()[-1])

    def test_series_with_a_bad_name(self):
        self.edit()
        self.git_commit('VERSION: add a line', 'Series: ../x')
        self.fails(self.refresh(), '../x', '01-fixes')

    def test_patch_outside_of_a_series(self):
        patch = self.patches()[0]
        patch.rename(patch.parent.parent / patch.name)
        self.fails(self.configure(), patch.name, 'in no series')

    def test_edits_are_not_lost_to_a_new_series(self):
        self.edit()
        with open(self.patches()[-1], 'a', encoding='utf-8') as kept:
            kept.write('\n')
        self.fails(self.configure(), 'VERSION', 'refresh-series')

    def test_hook_that_does_not_apply(self):
        before = self.head()
        patch = self.patches()[0]
        lines = patch.read_text(encoding='utf-8').splitlines(keepends=True)
        start = next(number for number, line in enumerate(lines)
                     if line.startswith('@@'))
        lines[start + 1] = ' this context line stands nowhere\n'
        patch.write_text(''.join(lines), encoding='utf-8')
        self.fails(self.configure(), patch.name, 'does not apply')
        self.assertEqual(self.head(), before)

    def test_file_that_no_patch_adds(self):
        (self.repo / 'hw/pci').mkdir(parents=True, exist_ok=True)
        (self.repo / 'hw/pci/orphan.c').write_text('', encoding='utf-8')
        self.fails(self.configure(), 'hw/pci/orphan.c', 'Adds:')

    def test_wrong_version(self):
        other = self.work / 'other'
        other.mkdir()
        (other / 'VERSION').write_text('9.2.0\n', encoding='utf-8')
        before = self.head()
        self.fails(self.configure(f'--qemu-source={other}'), '9.2.0', '10.0')
        self.assertEqual(self.head(), before)

    def test_truncated_tarball(self):
        whole = self.work / 'qemu.tar.gz'
        subprocess.run(['tar', '-czf', whole, '-C', self.work,
                        'source/VERSION', 'source/hw/pci'], check=True)
        torn = self.work / 'torn.tar.gz'
        torn.write_bytes(whole.read_bytes()[:whole.stat().st_size // 2])
        before = self.head()
        self.fails(self.configure(f'--qemu-source={torn}'), 'torn.tar.gz',
                   'truncated')
        self.assertEqual(self.head(), before)

    def test_source_that_is_not_there(self):
        self.fails(self.configure('--qemu-source=/no/such/qemu'),
                   '/no/such/qemu')

    def test_folder_that_exists(self):
        """fetch-qemu does not replace a folder of the user."""
        folder = self.work / 'mine'
        folder.mkdir()
        (folder / 'file').touch()
        self.fails(run('scripts/fetch-qemu', f'--qemu-source={self.source}',
                       folder, cwd=self.repo), str(folder), 'exists')
        self.assertTrue((folder / 'file').exists())

    def test_option_that_fails(self):
        """An option that QEMU's configure rejects is not kept."""
        self.fails(run('./configure', '--', '--enable-nothing', cwd=self.repo),
                   'enable-nothing')
        kept = (self.repo / 'build/configuration.json').read_text('utf-8')
        self.assertEqual(json.loads(kept)['options'], [])

    def test_no_network_and_nothing_cached(self):
        dead = 'http://127.0.0.1:9'
        self.fails(self.configure('--qemu-source=debian',
                                  QEMU_SVM_CACHE=str(self.work / 'cache'),
                                  http_proxy=dead, https_proxy=dead),
                   'network')

    def test_full_disk(self):
        small = self.work / 'small'
        small.mkdir()
        if run('mount', '-t', 'tmpfs', '-o', 'size=8m', 'none', small,
               cwd=self.work).returncode:
            self.skipTest('this user may not mount a small tmpfs')
        try:
            result = run('scripts/fetch-qemu', f'--qemu-source={self.source}',
                         small / 'qemu', cwd=self.repo)
            self.fails(result, 'free some space')
            self.assertEqual(list(small.iterdir()), [])
        finally:
            run('umount', small, cwd=self.work)

    def test_interrupted_unpacking_leaves_nothing_trusted(self):
        copy = self.work / 'copy'
        shutil.copytree(self.source, copy, symlinks=True)
        with subprocess.Popen(['./configure', '--assemble-only',
                               f'--qemu-source={copy}'], cwd=self.repo,
                              stdout=subprocess.DEVNULL,
                              stderr=subprocess.DEVNULL) as process:
            partial = self.repo / 'build/qemu.unpacked.partial'
            while process.poll() is None and not partial.exists():
                time.sleep(0.01)
            process.kill()
        result = self.configure(f'--qemu-source={self.source}')
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertEqual(self.refresh('--check').returncode, 0)

    def test_killed_assembly(self):
        """The next run deletes the lock of a git that was killed."""
        file = self.tree / '.git/assembled.json'
        state = json.loads(file.read_text(encoding='utf-8'))
        del state['head']
        file.write_text(json.dumps({**state, 'series': ''}), encoding='utf-8')
        (self.tree / '.git/index.lock').touch()
        result = self.configure()
        self.assertEqual(result.returncode, 0, result.stdout)

    def test_two_at_once(self):
        with open(self.repo / 'build/.lock', 'w', encoding='utf-8') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            self.fails(self.configure(), 'another configure')

    def test_scripts_say_what_to_do_next(self):
        """Nothing is built here, and no program is installed."""
        nothing = {'PATH': str(self.work / 'no programs')}
        for words, command, environment in (
                (('make',), ['scripts/run-tests'], {}),
                (('--report',), ['scripts/coverage', '--report'], {}),
                (('pci-atc',), ['scripts/fuzz', 'no-such-fuzzer'], {}),
                (('above 0',), ['scripts/fuzz', '--time=0'], {}),
                (('make', '--qemu'), ['scripts/demo', '--qemu=/nowhere'], {}),
                (('make', '--qemu'), ['scripts/demo-ats'], {}),
                (('1 to 1024',), ['scripts/demo', '--size=0'], {}),
                (('contradict',), ['scripts/run-guest', '--iommu=virtio',
                                   '--svm'], {}),
                (('make', '--qemu'), ['tests/bench/svm-device-bench'], {}),
                (('make',), ['tests/bench/run-bench', 'atc'], {}),
                (('git', 'install-packages'), ['scripts/refresh-series'],
                 nothing)):
            with self.subTest(command=command):
                self.fails(run(*command, cwd=self.repo, **environment), *words)

    def test_help(self):
        for tool in ('configure', 'scripts/export-series',
                     'scripts/refresh-series', 'scripts/fetch-qemu'):
            result = run(self.repo / tool, '--help', cwd=self.repo)
            self.assertEqual(result.returncode, 0, result.stdout)
            self.assertIn('usage:', result.stdout)


class ExportTest(RepositoryTest):
    """The emails, which take a minute to write and to apply."""

    def test_export_applies_on_pristine_source(self):
        result = run('scripts/export-series', cwd=self.repo)
        self.assertEqual(result.returncode, 0, result.stdout)
        self.assertIn('the same tree', result.stdout)
        self.assertIn('checkpatch.pl: 0 patches with remarks', result.stdout)
        identifier = ''
        for name in self.series():
            with self.subTest(series=name):
                identifier = self.check_mails(name, identifier)

    def check_mails(self, name, based_on):
        """A series has numbers of its own and is based on the one before;
        returns the identifier of its cover letter."""
        mails = sorted((self.repo / 'build/mails' / name).iterdir())
        count = len([path for path in self.patches()
                     if path.parent.name == name])
        self.assertEqual(len(mails), count + 1)
        cover = mails[0].read_text(encoding='utf-8')
        kept = self.repo / 'subprojects/qemu' / name / 'cover-letter'
        subject = kept.read_text(encoding='utf-8').partition('\n')[0]
        digits = '0' * len(str(count))
        self.assertIn(f'Subject: [PATCH {digits}/{count}] {subject}', cover)
        self.assertEqual(f'\nBased-on: {based_on}\n' in cover,
                         bool(based_on))
        for mail in mails[1:]:
            text = mail.read_text(encoding='utf-8')
            self.assertNotRegex(text, '(?m)^(Series|Adds): ')
        return re.search('(?m)^Message-ID: (<.*>)$', cover)[1]


if __name__ == '__main__':
    unittest.main(testRunner=pycotap.TAPTestRunner(
        message_log=pycotap.LogMode.LogToError,
        test_output_log=pycotap.LogMode.LogToError))
