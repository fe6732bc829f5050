# SPDX-License-Identifier: GPL-2.0-or-later
#
# Parts of the Linux source that a Debian kernel was built from.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Debian's package linux-source-X.Y contains the source of a kernel as one
archive.  The cache keeps parts of it, but not the large package."""

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
    # --occurrence=1 stops at the file and does not unpack the rest.
    return _kept(archive, package, path, (path,), path, '--occurrence=1')


def source_tree(archive, package, name, paths):
    """Files and folders of a source package: a tree in the cache with this
    name."""
    return _kept(archive, package, name, paths, '')


def _kept(archive, package, place, paths, wanted, *options):
    """What the cache keeps at a place: `wanted` of the unpacked paths."""
    name, version = package
    kept = archive.sources / f'{name}_{version}' / place
    with archive.lock('kernel-source.lock'):
        if not kept.exists():
            need_space(archive.cache, 400, name)
            deb = archive.download(name, version)
            _extract(deb, [f'{name}/{path}' for path in paths],
                     f'{name}/{wanted}', kept, options)
            deb.unlink()
    return kept


def _extract(deb, members, wanted, kept, options):
    """Unpack members of the archive inside a package, and keep one of them or
    the folder that contains them."""
    with work_directory(kept.parent) as work:
        extract(deb, work)
        source = next(Path(work, 'usr/src').glob('linux-source-*.tar.xz'))
        found = subprocess.run(
            ['tar', '--extract', '--directory', work, *options,
             '--file', source, *members],
            capture_output=True, text=True, check=False)
        if found.returncode:
            raise ArchiveError(f'{deb.name} lacks one of {", ".join(members)}')
        shutil.move(Path(work, wanted), kept)
