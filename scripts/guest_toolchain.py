# SPDX-License-Identifier: GPL-2.0-or-later
#
# Build programs for the test guest with the compiler of the guest's Debian.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Compile kernel modules and programs for the test guest.

The tools in the package of a kernel's headers need Debian 13's C library.
Therefore the script unpacks a Debian 13 with a compiler below the cache, and
runs the build inside it, in a separate mount namespace.  Any user may unpack
packages, and nothing is installed on the host.
"""

import hashlib
import json
import re
import shutil
import subprocess
from pathlib import Path

from chroot import Chroot
from debian_archive import (ArchiveError, extract, need_space,
                            work_directory)
from report import Failure, last_lines, say

# The compiler, the programs of a kernel's build, and libraries of its tools.
TOOLS = ('base-files', 'bash', 'coreutils', 'dash', 'diffutils', 'findutils',
         'gcc', 'grep', 'libc6-dev', 'libdw1t64', 'libelf1t64', 'make', 'mawk',
         'perl-base', 'sed', 'uuid-dev')
# Names the remembered versions of these packages
TOOLS_DIGEST = hashlib.sha256(' '.join(TOOLS).encode()).hexdigest()[:8]


def toolchain_packages(archive, release, version):
    """All packages that a build for one kernel needs: [[name, version]]."""
    archive.update()
    headers = f'linux-headers-{release}'
    fields = archive.newest(headers, re.escape(version) + '$')
    if not fields:
        raise ArchiveError(f'Debian has no package {headers} {version} now: '
                           'ask for a newer kernel with --update')
    parts = re.findall(r'linux-(?:headers|kbuild)-[^\s,|]+',
                       fields.get('Depends', ''))
    return archive.closure(TOOLS) + [
        [name, version] for name in (headers, *parts)]


def newest_headers(archive, pattern):
    """The newest kernel whose version a pattern matches: (release, version)
    of its headers."""
    archive.update()
    fields = archive.newest('linux-headers-amd64', pattern)
    found = fields and re.search(r'linux-headers-(\d\S*-amd64)',
                                 fields.get('Depends', ''))
    if not found:
        raise ArchiveError('the package lists have no linux-headers-amd64 '
                           f'that matches {pattern}: check the Debian mirror '
                           "in apt's configuration")
    return found.group(1), fields['Version']


def source_files(directory):
    """The sources in a directory, without the output of a build."""
    return sorted(path for path in Path(directory).rglob('*')
                  if path.suffix in ('.c', '.h')
                  and not path.name.endswith('.mod.c')
                  or path.name in ('Makefile', 'Kbuild'))


class Toolchain:
    """An unpacked Debian 13 that can build for one kernel."""

    def __init__(self, archive, release, packages):
        """packages is a result of toolchain_packages()."""
        tools = [item for item in packages if not item[0].startswith(
            ('linux-headers-', 'linux-kbuild-'))]
        digest = hashlib.sha256(json.dumps(tools).encode()).hexdigest()[:12]
        self.release = release
        self.root = archive.cache / 'toolchain' / digest
        with archive.lock('toolchain.lock'):
            self._unpack(archive, packages)
        self._chroot = Chroot(self.root, 'the driver and the program for the '
                              'guest')

    def _unpack(self, archive, packages):
        """Unpack missing packages; kernels share one compiler."""
        done = self.root / '.unpacked'
        missing = [item for item in packages
                   if not (done / '_'.join(item)).exists()]
        if not missing:
            return
        if not done.exists():
            say('    unpacking the guest\'s compiler')
        done.mkdir(parents=True, exist_ok=True)
        need_space(self.root, 700, 'the guest\'s compiler')
        # base-files has the links /lib and /bin that the others rely on.
        missing.sort(key=lambda item: item[0] != 'base-files')
        for item, deb in zip(missing, archive.download_all(missing)):
            extract(deb, self.root)
            (done / '_'.join(item)).touch()
        awk = self.root / 'usr/bin/awk'
        if not awk.is_symlink():
            awk.symlink_to('mawk')

    def make(self, source, output, *variables, added=()):
        """Run "make install" of a source directory and copy the result.

        variables are additional variables for make; added are additional
        files and trees for the directory.
        """
        with work_directory(self.root / 'tmp') as work:
            for path in source_files(source):
                inside = Path(work, 'source', path.relative_to(source))
                inside.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, inside)
            for path in added:
                if path.is_dir():
                    shutil.copytree(path, Path(work, 'source', path.name),
                                    symlinks=True)
                else:
                    shutil.copy(path, Path(work, 'source'))
            Path(work, 'out').mkdir()
            there = Path('/tmp', work.name)
            result = subprocess.run(
                self._chroot.command(
                    'make', '-C', there / 'source',
                    f'KDIR=/usr/src/linux-headers-{self.release}',
                    f'DESTDIR={there}/out', *variables, 'install'),
                check=False, capture_output=True, text=True)
            if result.returncode:
                raise Failure(
                    f'{source} does not build for Linux {self.release}:\n'
                    + last_lines(result.stdout + result.stderr, 20))
            for path in Path(work, 'out').iterdir():
                shutil.copy(path, output)
