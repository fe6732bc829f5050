# SPDX-License-Identifier: GPL-2.0-or-later
#
# Find, check and unpack upstream's source.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Find, check and unpack QEMU 10.0.x: Debian's source package or another."""

import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from debian_archive import Archive, ArchiveError

VERSION = r'10\.0\.\d+'
# The source of firmware, which Debian packages: two thirds of all files
NOT_NEEDED = 'roms'


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


def _extract(tarball, dest, *options):
    return subprocess.run(
        ['tar', '-xf', tarball, '-C', dest, '--no-same-owner', *options],
        capture_output=True, text=True, check=False)


def _extract_source(tarball, dest):
    """Unpack the folder at the top of a tarball, which becomes dest."""
    dest.mkdir()
    return _extract(tarball, dest, '--strip-components=1', '--anchored',
                    '--no-wildcards-match-slash', f'--exclude=*/{NOT_NEEDED}')


def _parts(dsc):
    """The tarballs of a source package, "orig" and "debian"."""
    text = dsc.read_text(encoding='utf-8')
    listed = text.partition('\nChecksums-Sha256:\n')[2]
    parts = {}
    for digest, name in re.findall(r'^ ([0-9a-f]{64}) \d+ (\S+)$', listed,
                                   re.M):
        kind = re.search(r'\.(orig|debian)\.tar\.\w+$', name)
        path = dsc.with_name(name)
        with open(path, 'rb') as file:
            if hashlib.file_digest(file, 'sha256').hexdigest() != digest:
                raise ArchiveError(f'{path} is not complete; delete its '
                                   'folder and run this again')
        parts[kind[1] if kind else name] = path
    if parts.keys() != {'orig', 'debian'}:
        raise ArchiveError(f'{dsc} is no source package of QEMU in the format '
                           '3.0 (quilt)')
    return parts


def _apply_debian_patches(tree):
    """Apply Debian's patches, but to NOT_NEEDED."""
    tree = tree.absolute()
    series = (tree / 'debian/patches/series').read_text(encoding='utf-8')
    patches = re.findall(r'^([^#\s]+)', series, re.M)
    return subprocess.run(
        ['git', 'apply', '--whitespace=nowarn', f'--exclude={NOT_NEEDED}/*',
         *(f'debian/patches/{name}' for name in patches)],
        # Not those of a repository around the tree
        env={**os.environ, 'GIT_CEILING_DIRECTORIES': str(tree.parent)},
        cwd=tree, capture_output=True, text=True, check=False)


def unpack_dsc(dsc, dest):
    """Unpack a source package as dpkg-source does."""
    parts = _parts(dsc)
    for step, *args in ((_extract_source, parts['orig'], dest),
                        (_extract, parts['debian'], dest),
                        (_apply_debian_patches, dest)):
        result = step(*args)
        if result.returncode:
            raise ArchiveError(f'{dsc} does not unpack; delete its folder and '
                               'run this again:\n' + result.stderr.strip())


def unpack_tarball(tarball, dest):
    """Unpack a release tarball: one folder at the top, which becomes dest."""
    result = _extract_source(tarball, dest)
    if result.returncode:
        raise ArchiveError(f'{tarball} does not unpack: it is truncated or no '
                           'tarball; fetch it again.\n'
                           + result.stderr.strip())


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
    stripped = not (tree / 'pc-bios/bios.bin').exists()
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


def _not_copied(source):
    """For shutil.copytree()."""
    def ignore(folder, names):
        ignored = {'.git', '.pc'}
        if Path(folder) == source:
            ignored.add(NOT_NEEDED)
        return ignored.intersection(names)

    return ignore


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
                            ignore=_not_copied(source))
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
