# SPDX-License-Identifier: GPL-2.0-or-later
#
# Download Debian packages of any suite as an ordinary user.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Fetch Debian source and binary packages without touching the machine's apt.

apt runs on private state, cache and source directories below the cache
directory.  The mirror is the one that the machine's own apt uses; apt checks
signatures and checksums as always.  Whatever was fetched once is used again
when there is no network.
"""

import contextlib
import fcntl
import math
import os
import re
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from child_process import child
from report import Failure, Progress, last_lines, say

KEYRING = '/usr/share/keyrings/debian-archive-keyring.gpg'
# For the driver's builds with an older kernel's headers
BOOKWORM = ('bookworm', 'bookworm-updates', 'bookworm-security',
            'bookworm-backports')
TRIXIE = ('trixie', 'trixie-updates', 'trixie-security', 'trixie-backports')


# Seconds for which package lists are used without asking for newer ones
RECENT = 600


class ArchiveError(Failure):
    """A failed download or a package that does not unpack."""


def cache_dir():
    """The folder of downloads, shared by all checkouts."""
    base = os.environ.get('QEMU_SVM_CACHE')
    if base:
        return Path(base).absolute()
    xdg = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(xdg).absolute() / 'qemu-svm'


def _os_codename():
    with open('/etc/os-release', encoding='utf-8') as release:
        match = re.search(r'^VERSION_CODENAME=(\w+)', release.read(), re.M)
    return match.group(1) if match else ''


def _mirror(*suites):
    """The mirror of the machine's apt for the first suite that it has."""
    tool = Path(__file__).with_name('debian-mirror')
    for suite in suites:
        found = subprocess.run([tool, suite], check=True, capture_output=True,
                               text=True).stdout.strip()
        if found:
            return found
    return None


def _machine_mirrors():
    """The mirrors of the machine's apt: (ordinary, security or None)."""
    codename = _os_codename()
    ordinary = _mirror(codename, 'stable', 'oldstable')
    if not ordinary:
        raise ArchiveError(
            f"apt's configuration names no mirror of Debian {codename}: "
            'add one to /etc/apt/sources.list')
    return ordinary, _mirror(f'{codename}-security', 'stable-security',
                             'oldstable-security')


def need_space(path, needed_mib, what):
    """Raise ArchiveError unless the disk of a directory has enough space."""
    free = shutil.disk_usage(path).free >> 20
    if free < needed_mib:
        raise ArchiveError(f'{what} needs {needed_mib} MiB in {path}, '
                           f'which has {free} MiB left: free some space')


@contextlib.contextmanager
def _locked(directory, wait=True):
    """Lock a directory; BlockingIOError if that needs to wait."""
    lock = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        yield
    finally:
        os.close(lock)


@contextlib.contextmanager
def work_directory(parent):
    """A temporary directory below a parent.  It is locked, so that those that
    killed programs have left behind can be deleted."""
    parent.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        with _locked(parent):
            for left in parent.glob('partial-*'):
                with contextlib.suppress(OSError), _locked(left, wait=False):
                    shutil.rmtree(left)
            work = stack.enter_context(tempfile.TemporaryDirectory(
                prefix='partial-', dir=parent))
            stack.enter_context(_locked(work))
        yield Path(work)


def _size_of(folder):
    """The size of the files in a folder that another program writes."""
    size = 0
    for path in folder.iterdir():
        with contextlib.suppress(FileNotFoundError):
            size += path.stat().st_size
    return size


def _age(path):
    """The seconds since a file was written, without end if it never was."""
    try:
        age = time.time() - path.stat().st_mtime
    except FileNotFoundError:
        return math.inf
    # The clock has been set back
    return age if age >= 0 else math.inf


def _mb(size):
    return f'{size / 1e6:,.0f}'


class Archive:
    """The Debian archive as seen from one cache directory."""

    def __init__(self, cache=None):
        self.cache = Path(cache) if cache else cache_dir()
        self.apt = self.cache / 'apt'
        self.debs = self.cache / 'debs'
        self.sources = self.cache / 'sources'
        self._updated = False
        for path in (self.apt / 'state/lists/partial',
                     self.apt / 'cache/archives/partial',
                     self.debs, self.sources):
            path.mkdir(parents=True, exist_ok=True)

    @contextlib.contextmanager
    def lock(self, name='lock'):
        """Hold one of the cache's locks, which other processes respect."""
        with open(self.cache / name, 'w', encoding='utf-8') as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    @staticmethod
    def source_list(suites, kinds=('deb',)):
        """The lines of a sources.list for suites of Debian."""
        ordinary, security = _machine_mirrors()
        uris = [(security if suite.endswith('-security') else ordinary, suite)
                for suite in suites]
        return ''.join(f'{kind} [signed-by={KEYRING}] {uri} {suite} main\n'
                       for uri, suite in uris if uri for kind in kinds)

    def _write_sources(self):
        """Write sources.list; return whether it was right already."""
        text = (self.source_list(TRIXIE, ('deb', 'deb-src'))
                + self.source_list(BOOKWORM))
        path = self.apt / 'sources.list'
        if path.exists() and path.read_text(encoding='utf-8') == text:
            return True
        path.write_text(text, encoding='utf-8')
        return False

    def command(self, program, *args):
        """The argument list that runs an apt program on the private state."""
        return [program,
                '-o', f'Dir::State={self.apt}/state',
                '-o', f'Dir::Cache={self.apt}/cache',
                # Images of containers disable these, and each apt-cache then
                # reads the package lists for seconds
                '-o', 'Dir::Cache::pkgcache=pkgcache.bin',
                '-o', 'Dir::Cache::srcpkgcache=srcpkgcache.bin',
                '-o', f'Dir::Etc::SourceList={self.apt}/sources.list',
                '-o', 'Dir::Etc::SourceParts=/dev/null',
                '-o', 'Dir::Etc::Preferences=/dev/null',
                '-o', 'Dir::Etc::PreferencesParts=/dev/null',
                '-o', 'Dir::State::Status=/var/lib/dpkg/status',
                '-o', 'APT::Sandbox::User=',
                '-o', 'Acquire::Languages=none',
                '-o', 'Acquire::Retries=2',
                '-q', *args]

    def _run(self, program, *args, cwd=None):
        return subprocess.run(self.command(program, *args), cwd=cwd,
                              capture_output=True, text=True, check=False)

    def _download(self, what, folder, *args):
        """Run an apt-get that downloads files into a folder, and show how
        many MB are there.  If it fails, only complete files stay; return the
        end of its messages."""
        uris = self._run('apt-get', *args, '--print-uris').stdout
        sizes = {name: int(size) for name, size in re.findall(
            r"^'[^']*' (\S+) (\d+)", uris, re.M)}
        total = sum(sizes.values())
        say(f'    fetching {what}' + (f', {_mb(total)} MB' if total else ''))
        progress = Progress()
        with tempfile.TemporaryFile('w+') as said:
            with child(self.command('apt-get', *args), cwd=folder,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL,
                       stderr=said) as apt:
                while apt.returncode is None:
                    with contextlib.suppress(subprocess.TimeoutExpired):
                        apt.wait(0.5)
                    here = _size_of(folder)
                    progress.update(f'    fetching {what}: '
                                    f'{_mb(here)} of {_mb(total)} MB')
            progress.end()
            if not apt.returncode:
                return ''
            for path in folder.iterdir():
                if path.stat().st_size != sizes.get(path.name):
                    path.unlink()
            said.seek(0)
            return last_lines(said.read()) or '    apt-get failed'

    def update(self):
        """Refresh the package lists unless they are recent; without network
        use old lists."""
        if self._updated:
            return
        stamp = self.apt / 'updated'
        with self.lock():
            if self._write_sources() and _age(stamp) < RECENT:
                self._updated = True
                return
            need_space(self.cache, 300, 'the package lists')
            result = self._run('apt-get', 'update', '-o',
                               'APT::Update::Error-Mode=any')
            if not result.returncode:
                stamp.touch()
        if result.returncode:
            have = any((self.apt / 'state/lists').glob('*_Packages*'))
            if not have:
                raise ArchiveError(
                    'the Debian mirror cannot be reached and no package list '
                    'is cached: check the network (and any proxy in apt\'s '
                    'configuration), then run the same command again.\n'
                    + last_lines(result.stderr))
            say('    the Debian mirror does not respond: '
                'going on with the package lists of the last time')
        self._updated = True

    def candidates(self, package, kind='binary'):
        """All versions known of a package: a list of its control fields."""
        verb = 'showsrc' if kind == 'source' else 'show'
        args = ['--only-source'] if kind == 'source' else ['--all-versions']
        out = self._run('apt-cache', verb, *args, package).stdout
        records = []
        for paragraph in out.strip().split('\n\n'):
            fields = dict(re.findall(r'^([A-Z][\w-]*): *(.*)$', paragraph,
                                     re.M))
            if fields.get('Version') or fields.get('Package'):
                records.append(fields)
        return records

    def newest(self, package, matching, kind='binary'):
        """The newest version that a regular expression matches, or None."""
        best = None
        for fields in self.candidates(package, kind):
            if re.match(matching, fields['Version']):
                if best is None or _later(fields['Version'], best['Version']):
                    best = fields
        return best

    def closure(self, packages):
        """Packages and all their dependencies, as for an empty machine:
        [[name, version]], each once."""
        result = self._run('apt-get', 'install', '--print-uris', '--yes',
                           '--no-install-recommends',
                           '-o', 'Dir::State::Status=/dev/null', *packages)
        found = re.findall(r"^'[^']*' ([^_\s]+)_([^_\s]+)_\S+\.deb ",
                           result.stdout, re.M)
        if result.returncode or not found:
            raise ArchiveError(f'the packages {" ".join(packages)} cannot be '
                               'had together:\n' + last_lines(result.stderr))
        return [[name, version.replace('%3a', ':')] for name, version in found]

    def _cached(self, package, version):
        plain = version.partition(':')[2] or version
        for form in (plain, version.replace(':', '%3a')):
            for found in self.debs.glob(f'{package}_{form}_*.deb'):
                return found
        return None

    def download_all(self, packages):
        """The paths of binary packages, given as [[name, version]]; fetched
        unless they are cached."""
        with self.lock():
            missing = [item for item in packages if not self._cached(*item)]
            if missing:
                self._fetch(missing)
            return [self._cached(*item) for item in packages]

    def download(self, package, version):
        """The path of one binary package; fetched unless it is cached."""
        return self.download_all([(package, version)])[0]

    def _fetch(self, packages):
        what = (' '.join(packages[0]) if len(packages) == 1
                else f'{len(packages)} packages')
        need_space(self.cache, 400, what)
        partial = self.debs / 'partial'
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir()
        trouble = self._download(
            what, partial, 'download',
            *(f'{name}={version}' for name, version in packages))
        for fetched in partial.glob('*.deb'):
            fetched.rename(self.debs / fetched.name)
        if trouble or not all(self._cached(*item) for item in packages):
            raise ArchiveError(
                f'{what} could not be fetched: check the network, then run '
                f'the same command again.\n{trouble}')

    def download_source(self, package, version):
        """The path of a source package's .dsc, its files beside it."""
        plain = version.partition(':')[2] or version
        final = self.sources / f'{package}_{plain}'
        dsc = final / f'{package}_{plain}.dsc'
        with self.lock():
            if dsc.exists():
                return dsc
            need_space(self.cache, 400, f'source package {package}')
            partial = self.sources / 'partial'
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir()
            trouble = self._download(
                f'the source of {package} {version}', partial, 'source',
                '--download-only', '--only-source', f'{package}={version}')
            if trouble or not (partial / dsc.name).exists():
                raise ArchiveError(
                    f'source package {package} {version} could not be '
                    'fetched: check the network, then run the same command '
                    f'again.\n{trouble}')
            partial.rename(final)
        return dsc


def _later(one, other):
    return subprocess.run(['dpkg', '--compare-versions', one, 'gt', other],
                          check=False).returncode == 0


def extract(deb, dest):
    """Unpack a binary package below dest, as dpkg-deb does."""
    subprocess.run(['dpkg-deb', '--extract', str(deb), str(dest)], check=True)
