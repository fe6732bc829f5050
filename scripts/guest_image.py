# SPDX-License-Identifier: GPL-2.0-or-later
#
# The test guest: a Debian kernel and a small initramfs, from packages.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Build the guest that the tests, the demo and the launcher boot.

Everything comes from Debian packages: the kernel and its modules unmodified,
busybox as the only program.  On request more is added: programs of Debian that
use the DSA (guest_userland.py), and, compiled with that Debian's compiler
(guest_toolchain.py), the svm device's driver and program, a program that uses a
DSA, and Linux's dmatest and tests of VFIO, which Debian leaves out.  A guest
lies in its own directory of the cache, named after the kernel and a hash of
everything that went into it, so a directory that exists is complete and right.
"""

import contextlib
import hashlib
import json
import lzma
import os
import re
import shutil
import stat
import subprocess
import sys
import tempfile
from pathlib import Path

from debian_archive import Archive, ArchiveError, extract, work_directory
from guest_toolchain import (TOOLS_DIGEST, Toolchain, newest_headers,
                             source_files, toolchain_packages)
from guest_userland import unpack_userland, userland_packages
from kernel_source import source_file, source_package, source_tree
from report import Failure, say

GUEST_FILES = Path(__file__).resolve().parent.parent / 'tests' / 'guest'
# What can be compiled for a guest: a directory of tests/guest, and files of
# Linux's own source that are copied there.
COMPILED = {
    'svm': (),
    'dsa': (),
    'dmatest': ('drivers/dma/dmatest.c',),
    'vfio': (),
}
# Folders and files of Linux's source that are needed at their places
TREES = {
    'vfio': ('tools/testing/selftests/vfio',
             'tools/testing/selftests/kselftest.h',
             'tools/testing/selftests/kselftest_harness.h',
             'tools/arch/x86/include', 'tools/include', 'include/uapi',
             'include/linux/pci_ids.h',
             # Registers of the devices for which the tests have drivers
             'drivers/dma/idxd/registers.h', 'drivers/dma/ioat/hw.h',
             'drivers/dma/ioat/registers.h',
             'drivers/net/ethernet/intel/igb'),
}
LIBRARY = ('svm.sh', 'udhcpc.sh')
HOTPLUG = GUEST_FILES / 'mdev.conf'
CHOICES = {
    # The version of Debian 13's own kernel; a rebuild for Debian 12 has ~bpo12.
    'trixie': r'6\.12\.[^~]*$',
    'backports': r'7\.[^~]*~bpo13',
}

# Debian 12's kernel: its headers are there to build for, it is not a guest.
HEADERS = {**CHOICES, 'bookworm': r'6\.1\.'}


class Guest:
    """One built guest: .kernel and .initramfs are paths, .release a string."""

    def __init__(self, directory, release):
        self.kernel = directory / 'vmlinuz'
        self.initramfs = directory / 'initramfs.cpio'
        self.release = release
        self.directory = directory


def _kernel_packages(archive, choice):
    """The packages a kernel consists of: [(name, version)], and its release."""
    pattern = CHOICES.get(choice, re.escape(choice))
    meta = archive.newest('linux-image-amd64', pattern)
    if not meta:
        known = sorted({f['Version'] for f in
                        archive.candidates('linux-image-amd64')})
        raise ArchiveError(
            f'Debian has no kernel {choice!r} now: --kernel takes trixie, '
            f'backports or one of {", ".join(known) or "(nothing known)"}')
    image = re.search(r'linux-image-(\d\S*-amd64)', meta.get('Depends', ''))
    if not image:
        raise ArchiveError(f'linux-image-amd64 {meta["Version"]} names no '
                           'kernel image: try another --kernel')
    release, version = image.group(1), meta['Version']
    split = [f'linux-{part}-{release}'
             for part in ('binary', 'modules', 'base')]
    if all(_has(archive, name, version) for name in split):
        return [(name, version) for name in split], release
    return [(f'linux-image-{release}', version)], release


def _has(archive, package, version):
    return any(fields['Version'] == version
               for fields in archive.candidates(package))


def _remember(path, find, look_again):
    """What find() returned the first time, so that later runs agree."""
    if path.exists() and not look_again:
        return json.loads(path.read_text(encoding='utf-8'))
    result = find()
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix('.partial')
    partial.write_text(json.dumps(result), encoding='utf-8')
    partial.rename(path)
    return result


def _resolve(archive, choice, userland, compiled, look_again):
    """Which packages make this guest."""
    def find():
        archive.update()
        packages, release = _kernel_packages(archive, choice)
        busybox = archive.newest('busybox-static', r'.*')
        if not busybox:
            raise ArchiveError('the package lists have no busybox-static: '
                               "check the Debian mirror in apt's configuration")
        packages.append(('busybox-static', busybox['Version']))
        return {'release': release, 'packages': packages}

    remembered = archive.cache / 'guest'
    result = _remember(remembered / f'{choice}.json', find, look_again)
    release, version = result['release'], result['packages'][0][1]
    result['compiled'] = compiled
    if compiled:
        result['toolchain'] = _remember(
            remembered / f'{release}-toolchain-{TOOLS_DIGEST}.json',
            lambda: toolchain_packages(archive, release, version), look_again)
    if any(COMPILED[name] or name in TREES for name in compiled):
        result['source'] = _remember(
            remembered / f'{release}-source.json',
            lambda: source_package(archive, release, version), look_again)
    if userland:
        result['userland'] = _remember(
            remembered / f'{"-".join(userland)}-userland.json',
            lambda: userland_packages(archive, 'dsa' in userland,
                                      'dpdk' in userland), look_again)
    return result


def _input_files(resolved):
    """Everything of ours that goes into a guest."""
    here = Path(__file__)
    files = [here, *(GUEST_FILES / name for name in
                     ('init', 'modules', *LIBRARY))]
    if resolved['compiled']:
        files.append(here.with_name('guest_toolchain.py'))
    for name in resolved['compiled']:
        files += source_files(GUEST_FILES / name)
    if 'userland' in resolved:
        files += [here.with_name('guest_userland.py'), HOTPLUG]
    return files


def _input_hash(resolved):
    digest = hashlib.sha256(json.dumps(resolved, sort_keys=True).encode())
    for path in _input_files(resolved):
        digest.update(path.name.encode() + b'\0' + path.read_bytes())
    return digest.hexdigest()[:12]


def _wanted_modules():
    text = (GUEST_FILES / 'modules').read_text(encoding='utf-8')
    return re.findall(r'^([^#\s]+)', text, re.M)


def _canonical(name):
    return name.replace('-', '_')


def _module_depends(image):
    """The modules that a module's own .modinfo section names."""
    found = re.search(rb'\0depends=([^\0]*)\0', image)
    names = found.group(1).decode().split(',') if found else []
    return [_canonical(name) for name in names if name]


def _collect_modules(packages_root, release, tree):
    """Copy the wanted modules and what they need, uncompressed."""
    source = packages_root / 'usr/lib/modules' / release
    if not source.is_dir():
        source = packages_root / 'lib/modules' / release
    target = tree / 'lib/modules' / release
    target.mkdir(parents=True)
    paths = {_canonical(path.name.split('.')[0]): path
             for path in source.glob('kernel/**/*.ko*')}
    builtin = {_canonical(Path(line).stem) for line in
               (source / 'modules.builtin').read_text().splitlines()}
    pending, done = _wanted_modules(), set()
    while pending:
        name = pending.pop()
        if name in done or name in builtin:
            continue
        if name not in paths:
            raise Failure(f'Linux {release} has no module {name}: take it out '
                          'of tests/guest/modules')
        done.add(name)
        image = paths[name].read_bytes()
        if paths[name].suffix == '.xz':
            image = lzma.decompress(image)
        destination = target / paths[name].relative_to(source).with_name(
            f'{name}.ko')
        destination.parent.mkdir(parents=True, exist_ok=True)
        destination.write_bytes(image)
        pending += _module_depends(image)
    for name in ('modules.builtin', 'modules.order'):
        shutil.copy(source / name, target)


def _cpio_entry(name, mode, data, inode, device=(0, 0)):
    """One entry of the "newc" format (Linux, driver-api/early-userspace)."""
    encoded = name.encode() + b'\0'
    fields = (inode, mode, 0, 0, 1, 0, len(data), 0, 0, *device, len(encoded),
              0)
    header = b'070701' + b''.join(b'%08X' % field for field in fields)
    head = header + encoded
    return (head + bytes(-len(head) % 4)) + data + bytes(-len(data) % 4)


def _write_cpio(tree, path):
    """Pack a tree, owned by root, with the console that init needs.  Do not
    compress it: an emulated processor takes seconds to unpack it."""
    entries = [('dev', stat.S_IFDIR | 0o755, b'', (0, 0)),
               ('dev/console', stat.S_IFCHR | 0o600, b'', (5, 1))]
    for item in sorted(tree.rglob('*')):
        mode = item.lstat().st_mode
        if stat.S_ISLNK(mode):
            data = os.fsencode(os.readlink(item))
        else:
            data = b'' if item.is_dir() else item.read_bytes()
        entries.append((str(item.relative_to(tree)), mode, data, (0, 0)))
    entries.append(('TRAILER!!!', 0, b'', (0, 0)))
    with open(path, 'wb') as packed:
        for inode, (name, mode, data, device) in enumerate(entries, 1):
            packed.write(_cpio_entry(name, mode, data, inode, device))


def _install(source, target, mode=0o755):
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(source, target)
    target.chmod(mode)


def _add_compiled(archive, resolved, tree):
    """Compile what was asked for: modules, and programs."""
    release = resolved['release']
    toolchain = Toolchain(archive, release, resolved['toolchain'])
    for name in resolved['compiled']:
        added = [source_file(archive, resolved['source'], path)
                 for path in COMPILED[name]]
        if name in TREES:
            added.append(source_tree(archive, resolved['source'],
                                     f'tree-{name}', TREES[name]))
        with tempfile.TemporaryDirectory() as built:
            toolchain.make(GUEST_FILES / name, built, added=added)
            for path in Path(built).iterdir():
                if path.suffix == '.ko':
                    _install(path, tree / 'lib/modules' / release / 'extra' /
                             path.name, 0o644)
                else:
                    _install(path, tree / 'bin' / path.name)


def _build(archive, resolved, work):
    """Make vmlinuz and the initramfs in the directory work/out."""
    release = resolved['release']
    unpacked, tree, out = work / 'packages', work / 'tree', work / 'out'
    for directory in (unpacked, tree, out):
        directory.mkdir()
    for package in archive.download_all(resolved['packages']):
        extract(package, unpacked)
    kernels = [path for path in (unpacked / f'boot/vmlinuz-{release}',
                                 unpacked / f'usr/lib/modules/{release}/vmlinuz')
               if path.exists()]
    busybox = [path for path in (unpacked / 'bin/busybox',
                                 unpacked / 'usr/bin/busybox')
               if path.exists()]
    if not kernels or not busybox:
        raise ArchiveError(f'the packages of Linux {release} do not hold a '
                           'kernel and busybox where Debian 13 has them')
    if 'userland' in resolved:
        unpack_userland(archive, resolved['userland'], tree)
        _install(HOTPLUG, tree / 'etc/mdev.conf', 0o644)
    _install(kernels[0], out / 'vmlinuz', 0o644)
    _install(busybox[0], tree / 'bin/busybox')
    _install(GUEST_FILES / 'init', tree / 'init')
    for name in LIBRARY:
        _install(GUEST_FILES / name, tree / 'lib' / name)
    (tree / 'etc').mkdir(exist_ok=True)
    _collect_modules(unpacked, release, tree)
    if resolved['compiled']:
        _add_compiled(archive, resolved, tree)
    subprocess.run([tree / 'bin/busybox', 'depmod', '-b', tree, release],
                   check=True)
    _write_cpio(tree, out / 'initramfs.cpio')
    return out


def guest_image(choice='trixie', output=None, look_again=False, svm=False,
                dsa=False, dpdk=False, compiled=()):
    """Build a guest unless it is there; returns a Guest.

    choice is 'trixie', 'backports' or the version of a linux-image-amd64
    package; svm adds the svm device's driver and program, dsa adds accel-config
    and its tests, dpdk adds DPDK's tests of DMA devices; compiled names more of
    COMPILED; look_again asks the mirror for newer packages.  Progress goes to
    standard error, which leaves standard output to results (TAP, paths).
    """
    compiled = (['svm'] if svm else []) + list(compiled)
    userland = (['dsa'] if dsa else []) + (['dpdk'] if dpdk else [])
    with contextlib.redirect_stdout(sys.stderr):
        return _guest_image(choice, output, look_again, userland, compiled)


def _guest_image(choice, output, look_again, userland, compiled):
    archive = Archive()
    resolved = _resolve(archive, choice, userland, compiled, look_again)
    release = resolved['release']
    final = Path(output) if output else (
        archive.cache / 'guest' / f'{release}-{_input_hash(resolved)}')
    if not _is_there(final, resolved):
        # Tests that run at the same time need the same guests
        with archive.lock('guest.lock'):
            if not _is_there(final, resolved):
                _build_into(final, archive, resolved, output)
    return Guest(final, release)


def _is_there(final, resolved):
    stamp = final / 'inputs'
    return stamp.exists() and stamp.read_text() == _input_hash(resolved)


def _build_into(final, archive, resolved, output):
    say(f'building the guest: Linux {resolved["release"]} of Debian and an '
        'initramfs')
    final.parent.mkdir(parents=True, exist_ok=True)
    if shutil.disk_usage(final.parent).free >> 20 < 600:
        raise ArchiveError(f'{final.parent} has less than the 600 MiB that '
                           'building a guest takes: free some space')
    with work_directory(final.parent) as work:
        out = _build(archive, resolved, work)
        (out / 'inputs').write_text(_input_hash(resolved), encoding='utf-8')
        if output and final.is_dir():
            for path in out.iterdir():
                os.replace(path, final / path.name)
        else:
            _publish(out, final)


def kernel_toolchain(choice):
    """What builds modules for a kernel: 'bookworm' (6.1), 'trixie' or
    'backports'.  Returns a Toolchain."""
    archive = Archive()

    def find():
        release, version = newest_headers(archive, HEADERS[choice])
        return {'release': release, 'packages': toolchain_packages(
            archive, release, version)}

    with contextlib.redirect_stdout(sys.stderr):
        found = _remember(archive.cache / 'guest' /
                          f'{choice}-headers-{TOOLS_DIGEST}.json', find, False)
        return Toolchain(archive, found['release'], found['packages'])


def _publish(out, final):
    """Rename into place; another run that was faster wins."""
    try:
        out.rename(final)
    except OSError:
        if not (final / 'inputs').exists():
            raise
