# SPDX-License-Identifier: GPL-2.0-or-later
#
# Single files of the Linux source that a Debian kernel was built from.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Debian's package linux-source-X.Y contains the source of a kernel as one
archive.  The cache keeps single files of it, but not the large package."""

import re
import shutil
import subprocess
from pathlib import Path

from debian_archive import (ArchiveError, extract, need_space,
                            work_directory)


def source_package(archive, release, version):
    """The package with the source of a kernel: [name, version]."""
    archive.update()
    name = 'linux-source-' + re.match(r'\d+\.\d+', release).group()
    if not archive.newest(name, re.escape(version) + '$'):
        raise ArchiveError(f'Debian has no package {name} {version} now: '
                           'ask for a newer kernel with --update')
    return [name, version]


def source_file(archive, package, path):
    """One file of a source package, as a path in the cache."""
    name, version = package
    kept = archive.sources / f'{name}_{version}' / path
    with archive.lock('kernel-source.lock'):
        if not kept.exists():
            need_space(archive.cache, 400, name)
            deb = archive.download(name, version)
            _extract(deb, f'{name}/{path}', kept)
            deb.unlink()
    return kept


def _extract(deb, member, kept):
    """Unpack one file of the archive inside a package."""
    with work_directory(kept.parent) as work:
        extract(deb, work)
        source = next(Path(work, 'usr/src').glob('linux-source-*.tar.xz'))
        # --occurrence=1 stops at the file and does not unpack the rest.
        found = subprocess.run(
            ['tar', '--extract', '--directory', work, '--occurrence=1',
             '--file', source, member],
            capture_output=True, text=True, check=False)
        if found.returncode:
            raise ArchiveError(f'{deb.name} has no {member}')
        shutil.move(Path(work, member), kept)
