# SPDX-License-Identifier: GPL-2.0-or-later
#
# Commit many patches at once.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Commits of patches, without a checkout of the tree that they change.

The files that the patches change are copied to a folder, where "git apply"
changes them.  One "git fast-import" then writes all commits: a git for each
step would read and write the list of all files of the tree each time.
"""

import email.utils
import re
import shutil
import tempfile
from pathlib import Path

from report import Failure

# Holds the commits until the caller uses them
REF = 'refs/configure/patches'
# Lines of a patch that name a file as it was before
OLD_FILE = re.compile(r'^(?:diff --git a/.+ b/|--- a/|rename from )(.+)$', re.M)


class PatchError(Failure):
    """A patch that does not apply."""


def _check_out(tree, base, patches, folder):
    """Copy the files that patches change, as they are in a commit."""
    named = {path for patch in patches
             for path in OLD_FILE.findall(patch.hunks)}
    listed = tree.git('ls-tree', '-r', '-z', '--name-only', base, strip=False)
    index = {'GIT_INDEX_FILE': str(folder / '.index')}
    tree.git('read-tree', base, env=index)
    tree.git('checkout-index', '-z', '--stdin', f'--prefix={folder}/',
             text_in='\0'.join(named.intersection(listed.split('\0'))),
             env=index)


def _apply(tree, patch, folder):
    """Apply a patch to the files in a folder; return which it changes."""
    if not patch.hunks.strip():
        return []
    try:
        listed = tree.git(
            'apply', '--apply', '--numstat', '-z', '--whitespace=nowarn', '-',
            text_in=patch.hunks, cwd=folder,
            # Not those of a repository around the folder
            env={'GIT_CEILING_DIRECTORIES': str(folder.parent)})
    except Failure as err:
        raise PatchError(
            f'{patch.path} does not apply to this QEMU:\n'
            + str(err).partition('\n')[2]
            + '\nAdapt the patch, or take a QEMU that it fits '
            '(docs/devel/fork.rst, "Moving to the next 10.0.x").') from err
    return [*re.findall(r'[^\t\0]+\t[^\t]+\t([^\0]+)\0', listed),
            *re.findall(r'^rename from (.+)$', patch.hunks, re.M)]


def _data(content):
    return b'data %d\n%b\n' % (len(content), content)


def _file(path, mode, content):
    return b'M %b inline %b\n%b' % (mode.encode(), path.encode(),
                                    _data(content))


def whole_file(file):
    """The mode and the content of a file, as git stores it."""
    mode = '100755' if file.stat().st_mode & 0o100 else '100644'
    return mode, file.read_bytes()


def _changes(folder, paths):
    """The commands of fast-import for files in a folder."""
    for path in paths:
        file = folder / path
        if file.exists():
            yield _file(path, *whole_file(file))
        else:
            yield b'D %b\n' % path.encode()


def _header(patch, mark, message):
    name, address = email.utils.parseaddr(patch.author)
    return (f'commit {REF}\nmark :{mark}\n'
            f'author {name} <{address}> {patch.date}\n'
            f'committer configure <configure@localhost> {patch.date}\n'
            ).encode() + _data(message.encode())


def commit_patches(tree, base, patches, message, added):
    """Commit patches on top of a commit; return the commits.

    message(patch) is the message of a commit, and added(path) the mode and the
    content of a file that a patch adds.
    """
    if not patches:
        return []
    with tempfile.TemporaryDirectory() as work:
        folder, stream, marks = (Path(work).resolve() / name for name in
                                 ('files', 'stream', 'marks'))
        folder.mkdir()
        _check_out(tree, base, patches, folder)
        with open(stream, 'wb') as commands:
            commands.write(f'reset {REF}\nfrom {base}\n\n'.encode())
            for mark, patch in enumerate(patches, 1):
                commands.write(_header(patch, mark, message(patch)))
                commands.writelines(
                    _changes(folder, _apply(tree, patch, folder)))
                commands.writelines(_file(path, *added(path))
                                    for path in patch.adds)
            commands.write(f'reset {REF}\nfrom {"0" * 40}\n'.encode())
        shutil.rmtree(folder)
        with open(stream, 'rb') as commands:
            tree.git('-c', 'pack.compression=1', 'fast-import', '--quiet',
                     '--force', '--date-format=rfc2822',
                     f'--export-marks={marks}', stdin=commands)
        made = dict(line.split() for line in
                    marks.read_text(encoding='ascii').splitlines())
    return [made[f':{mark}'] for mark in range(1, len(patches) + 1)]
