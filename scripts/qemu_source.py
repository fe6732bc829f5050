# SPDX-License-Identifier: GPL-2.0-or-later
#
# Find, check and unpack upstream's source.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Find, check and unpack QEMU 10.0.x: Debian's source package or another."""

import re
import shutil
import subprocess
from pathlib import Path

from debian_archive import Archive, ArchiveError

VERSION = r'10\.0\.\d+'


def debian_dsc():
    """The newest source package of the version that the series supports."""
    archive = Archive()
    archive.update()
    newest = archive.newest('qemu', rf'1:{VERSION}', 'source')
    if newest:
        return archive.download_source('qemu', newest['Version'])
    cached = sorted(archive.sources.glob('qemu_10.0.*/*.dsc'))
    if cached:
        return cached[-1]
    raise ArchiveError('Debian 13 offers no source package qemu 10.0.*: give '
                       'one with --qemu-source=DIR|TARBALL')


def source_id(source):
    """Identify a source: its name, and for a file its state."""
    if source.is_dir():
        return str(source)
    stat = source.stat()
    return f'{source.name} {stat.st_size} {stat.st_mtime_ns}'


def unpack_dsc(dsc, dest):
    result = subprocess.run(['dpkg-source', '--no-copy', '-x', dsc, dest],
                            capture_output=True, text=True, check=False)
    if result.returncode:
        raise ArchiveError(f'{dsc} does not unpack; delete its folder and run '
                           'this again:\n' + result.stderr.strip())


def unpack_tarball(tarball, dest):
    """Unpack a release tarball: one folder at the top, which becomes dest."""
    partial = dest.with_name(dest.name + '.tar')
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    result = subprocess.run(['tar', '-xf', tarball, '-C', partial],
                            capture_output=True, text=True, check=False)
    if result.returncode:
        shutil.rmtree(partial)
        raise ArchiveError(f'{tarball} does not unpack: it is truncated or no '
                           'tarball; fetch it again.\n'
                           + result.stderr.strip())
    tops = list(partial.iterdir())
    if len(tops) != 1 or not tops[0].is_dir():
        shutil.rmtree(partial)
        raise ArchiveError(f'{tarball} is no QEMU source: it must hold one '
                           'folder, qemu-10.0.x')
    tops[0].rename(dest)
    partial.rmdir()


def check_version(tree):
    """Reject versions that the series does not support."""
    try:
        version = (tree / 'VERSION').read_text(encoding='utf-8').strip()
    except OSError as err:
        raise ArchiveError(f'{tree} is no QEMU source tree: it has no file '
                           'VERSION') from err
    if not re.fullmatch(VERSION, version):
        raise ArchiveError(f'this is QEMU {version}, but the hooks are made '
                           'for 10.0.*: give a source of that version with '
                           '--qemu-source=DIR|TARBALL')
    stripped = not (tree / 'roms/seabios/Makefile').exists()
    if stripped and not (tree / 'debian/patches/series').exists():
        raise ArchiveError('this is the +ds tarball without the patches of '
                           'Debian, which does not configure: give the .dsc '
                           'file beside it instead')


def find(argument):
    """The requested source, or Debian's."""
    if not argument:
        return debian_dsc()
    source = Path(argument).absolute()
    if not source.exists():
        raise ArchiveError(f'--qemu-source={argument}: there is no such file '
                           'or folder')
    if source.is_dir():
        check_version(source)
    return source


def unpack(source, dest):
    """Unpack a source into dest, which appears only when it is complete."""
    partial = dest.with_name(dest.name + '.partial')
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(partial.parent).free < 2 << 30:
        raise ArchiveError(f'{partial.parent} has less than 2 GiB left, which '
                           'unpacking and building QEMU needs: free some '
                           'space')
    try:
        if source.is_dir():
            shutil.copytree(source, partial, symlinks=True,
                            ignore=shutil.ignore_patterns('.git', '.pc'))
        elif source.suffix == '.dsc':
            unpack_dsc(source, partial)
        else:
            unpack_tarball(source, partial)
        check_version(partial)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    shutil.rmtree(partial / '.pc', ignore_errors=True)
    shutil.rmtree(dest, ignore_errors=True)
    partial.rename(dest)
