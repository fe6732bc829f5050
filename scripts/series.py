# SPDX-License-Identifier: GPL-2.0-or-later
#
# The patches: our hooks into QEMU's files and the new files beside them.
#
# Copyright (c) 2026 QEMU SVM contributors
"""The patches as files in subprojects/qemu and as commits in build/qemu.

A patch is a mail: header, message, trailers, hunks for upstream's files.  Its
``Adds:`` trailers name the new files that belong to it; they live in this
repository at the path they have in QEMU's tree, and the assembled tree holds
links to them.

The patches are sent as several series.  Each series is a folder, ``NN-name``,
with a cover letter and numbered patches; the names give the order.  In
build/qemu a ``Series:`` trailer keeps the name of the folder.
"""

import collections
import contextlib
import fcntl
import hashlib
import itertools
import json
import os
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

from patch_commits import commit_patches
from report import Failure

REPO = Path(__file__).resolve().parent.parent
PATCHES = REPO / 'subprojects/qemu'
# Folders whose files all belong to a patch; the rest is the fork's own glue.
PATCHED_FOLDERS = ('hw', 'include', 'util', 'target', 'qapi', 'python',
                   'tests/qtest', 'tests/tcg', 'docs/specs', 'docs/system')
SERIES_NAME = r'\d\d-[a-z0-9][a-z0-9-]*'
UPSTREAM = 'upstream'
BRANCH = 'svm'
LINK_MODE = '120000'
COMMITTER = {'GIT_COMMITTER_NAME': 'configure',
             'GIT_COMMITTER_EMAIL': 'configure@localhost'}


class SeriesError(Failure):
    """The patches and the tree do not fit together."""


@dataclass
class Patch:
    """One patch; ``series`` and ``name`` are its folder and file."""
    author: str
    date: str
    subject: str
    body: str
    trailers: list = field(default_factory=list)
    adds: list = field(default_factory=list)
    hunks: str = ''
    series: str = ''
    name: str = ''

    def _message(self, *, series=False, adds=False):
        trailers = [f'Series: {self.series}'] if series else []
        trailers += [f'Adds: {path}' for path in self.adds] if adds else []
        parts = [self.subject, self.body, '\n'.join(trailers + self.trailers)]
        return '\n\n'.join(part for part in parts if part) + '\n'

    @property
    def path(self):
        """The file, below PATCHES."""
        return f'{self.series}/{self.name}'

    @property
    def mail(self):
        """The text of the file; the folder stands for the series."""
        head, _, rest = self._message(adds=True).partition('\n')
        return (f'From: {self.author}\nDate: {self.date}\n'
                f'Subject: {head}\n{rest}---\n{self.hunks}')

    @property
    def tree_message(self):
        """The message of the commit in build/qemu."""
        return self._message(series=True, adds=True)

    @property
    def review_message(self):
        """The message for reviewers, who get the new files as well."""
        return self._message()


def split_message(message):
    """Take a commit message apart: subject, body, trailers, and the trailers
    that only this repository uses: the series and the added files."""
    subject, _, rest = message.strip().partition('\n')
    paragraphs = re.split(r'\n{2,}', rest.strip('\n'))
    trailers = []
    if re.fullmatch(r'([A-Z][\w-]*: .*\n?)+', paragraphs[-1]):
        trailers = paragraphs.pop().splitlines()
    ours = {'Series': [], 'Adds': []}
    kept = []
    for line in trailers:
        key, _, value = line.partition(': ')
        if key in ours:
            ours[key].append(value)
        else:
            kept.append(line)
    return (subject, '\n\n'.join(paragraphs), kept,
            ''.join(ours['Series'][-1:]), ours['Adds'])


def parse_patch(path):
    """Read one patch file."""
    text = path.read_text(encoding='utf-8')
    mail, line, hunks = text.partition('\n---\n')
    match = re.match(r'From: (.*)\nDate: (.*)\nSubject: ', mail)
    if not match or not line:
        raise SeriesError(f'{path.name} is not a patch of a series: it must '
                          'begin with From:, Date: and Subject: lines and '
                          'hold a line with --- before the hunks')
    author, date = match.groups()
    subject, body, trailers, _, adds = split_message(mail[match.end():])
    return Patch(author, date, subject, body, trailers, adds, hunks,
                 path.parent.name, path.name)


def series_names(folder=PATCHES):
    """The folders of the series, in their order."""
    return sorted(path.name for path in folder.iterdir()
                  if path.is_dir() and re.fullmatch(SERIES_NAME, path.name))


def patch_files(folder=PATCHES):
    """The files of all patches, in their order."""
    strays = sorted(path.name for path in folder.glob('*.patch'))
    if strays:
        raise SeriesError(f'{strays[0]} is in no series: move it into the '
                          f'folder of its series in {folder}')
    return [path for name in series_names(folder)
            for path in sorted((folder / name).glob('*.patch'))]


def read_series(folder=PATCHES):
    """All patches, in order; every new file must belong to exactly one."""
    patches = [parse_patch(path) for path in patch_files(folder)]
    owner = {}
    for patch in patches:
        for path in patch.adds:
            if path in owner:
                raise SeriesError(f'{path} is added by both {owner[path]} and '
                                  f'{patch.path}: keep it in one of them')
            if not (REPO / path).is_file():
                raise SeriesError(f'{patch.path} adds {path}, which is not '
                                  'there: restore the file or drop its Adds: '
                                  'trailer')
            owner[path] = patch.path
    orphans = [path for path in new_files() if path not in owner]
    if orphans:
        raise SeriesError('no patch adds ' + ', '.join(orphans) + ': name '
                          'each in an Adds: trailer of the patch that it '
                          'belongs to (docs/devel/fork.rst)')
    return patches


def new_files():
    """The files of this repository that belong into QEMU's tree."""
    listed = subprocess.run(
        ['git', 'ls-files', '-z', '--cached', '--others',
         '--exclude-standard', '--', *PATCHED_FOLDERS],
        cwd=REPO, check=True, capture_output=True, text=True).stdout
    return [path for path in listed.split('\0')
            if path and (REPO / path).exists()]


def series_hash(folder=PATCHES):
    """Changes whenever a patch or the order of the patches does."""
    digest = hashlib.sha256()
    for path in patch_files(folder):
        digest.update(str(path.relative_to(folder)).encode() + b'\0')
        digest.update(path.read_bytes())
    return digest.hexdigest()


class Tree:
    """An assembled QEMU source tree: upstream and a commit for each patch."""

    def __init__(self, path):
        self.path = Path(path).absolute()

    def git(self, *args, env=None, check=True, strip=True, **options):
        """Run git in the tree, or with cwd=FOLDER elsewhere, and return what
        it printed."""
        text_in = options.pop('text_in', None)
        result = subprocess.run(
            ['git', '-c', 'core.hooksPath=/dev/null', '-c', 'gc.auto=0',
             '-c', 'commit.gpgSign=false', '-c', 'core.autocrlf=false', *args],
            input=text_in, capture_output=True, text=True, check=False,
            env={**os.environ, **COMMITTER, **(env or {})},
            **{'cwd': self.path, **options})
        if check and result.returncode:
            raise SeriesError(f'git {args[0]} in {self.path} failed:\n'
                              + result.stderr.strip())
        return result.stdout.strip() if strip else result.stdout

    @property
    def _state_file(self):
        return self.path / '.git/assembled.json'

    def state(self):
        """What the tree was assembled from; empty when that did not end."""
        try:
            return json.loads(self._state_file.read_text(encoding='utf-8'))
        except (OSError, ValueError):
            return {}

    def _set_state(self, **state):
        temporary = self._state_file.with_suffix('.new')
        temporary.write_text(json.dumps(state, indent=1), encoding='utf-8')
        temporary.rename(self._state_file)

    def unlock(self):
        """Delete the lock of a git that was killed.  The caller has the lock of
        the build folder, and the tree is not assembled."""
        (self.path / '.git/index.lock').unlink(missing_ok=True)

    def edits(self):
        """Edits of upstream's files that no patch holds yet."""
        found = self.git('status', '--porcelain', '--untracked-files=no')
        edited = [line[2:].strip() for line in found.splitlines()]
        commits = self.git('rev-list', f"{self.state()['head']}..HEAD")
        return edited + commits.split()

    def import_upstream(self, unpacked, source_id):
        """Make a fresh tree of an unpacked source; takes the folder over."""
        tree = Tree(unpacked)
        shutil.rmtree(tree.path / '.git', ignore_errors=True)
        tree.git('init', '-q', '-b', BRANCH)
        # With this, git writes a pack and not thousands of files
        tree.git('-c', 'core.bigFileThreshold=1', '-c', 'core.compression=1',
                 'add', '-A', '-f')
        stamp = {'GIT_AUTHOR_NAME': 'QEMU', 'GIT_AUTHOR_EMAIL': 'upstream',
                 'GIT_AUTHOR_DATE': '@0 +0000',
                 'GIT_COMMITTER_DATE': '@0 +0000'}
        tree.git('commit', '-q', '-m', f'QEMU source: {source_id.split()[0]}',
                 env=stamp)
        tree.git('tag', UPSTREAM)
        if self.path.exists():
            shutil.rmtree(self.path)
        tree.path.rename(self.path)
        self._set_state(source=source_id)

    def _link(self, path):
        """The mode and the content of a link to a new file."""
        target = os.path.relpath(REPO / path, (self.path / path).parent)
        return LINK_MODE, os.fsencode(target)

    def _digests(self, patches):
        """What the commit of each patch depends on, as a list of digests."""
        where = os.path.relpath(REPO, self.path)
        digest = hashlib.sha256(
            f'{self.git("rev-parse", UPSTREAM)} {where}'.encode())
        digests = []
        for patch in patches:
            digest.update(f'{patch.series}\0{patch.mail}\0'.encode())
            digests.append(digest.hexdigest())
        return digests

    def _commits_to_keep(self, digests):
        """The commits of the first patches, which the tree has already."""
        made = dict(self.state().get('commits', []))
        kept = list(itertools.takewhile(
            bool, (made.get(digest) for digest in digests)))
        if kept and not self.git('cat-file', '-t', kept[-1], check=False):
            return []
        return kept

    def _commit_series(self, patches):
        """Commit all patches; returns pairs of a digest and a commit."""
        digests = self._digests(patches)
        commits = self._commits_to_keep(digests)
        base = commits[-1] if commits else UPSTREAM
        commits += commit_patches(
            self, self.git('rev-parse', base), patches[len(commits):],
            lambda patch: patch.tree_message, self._link)
        return list(zip(digests, commits))

    def assemble(self, patches, source_id, digest):
        """Bring the tree to upstream plus all patches; only changed files are
        written, so that the next build is short."""
        commits = self._commit_series(patches)
        head = commits[-1][1]
        self._set_state(source=source_id, series='', commits=commits)
        self.git('read-tree', '-m', '-u', 'HEAD', head)
        self.git('update-ref', f'refs/heads/{BRANCH}', head)
        self.git('symbolic-ref', 'HEAD', f'refs/heads/{BRANCH}')
        self._set_state(source=source_id, series=digest, head=head,
                        commits=commits)

    def commits(self):
        """The commits of the patches, oldest first."""
        return self.git('rev-list', '--reverse', f'{UPSTREAM}..HEAD').split()

    def _diffs(self, commits, *args):
        """The differences that commits make, as git diff-tree prints them."""
        out = self.git('diff-tree', '-r', '--no-renames', '--stdin', *args,
                       text_in=''.join(f'{commit}\n' for commit in commits),
                       strip=False)
        parts = re.split(r'^([0-9a-f]{40,64})\n', out, flags=re.M)
        found = dict(zip(parts[1::2], parts[2::2]))
        return [found.get(commit, '') for commit in commits]

    def added(self, commits):
        """Files that commits add: for each commit a list of pairs of the path
        and whether it is a link."""
        rows = [[line.split('\t') for line in diff.splitlines()]
                for diff in self._diffs(commits, '--diff-filter=A')]
        return [[(path, fields.split()[1] == LINK_MODE)
                 for fields, path in added] for added in rows]

    def headers(self, commits):
        """The patches that commits make, without their files and hunks."""
        out = self.git('log', '--no-walk=unsorted', '--stdin',
                       '--format=%x01%an <%ae>%n%aD%n%B',
                       text_in=''.join(f'{commit}\n' for commit in commits))
        headers = []
        for text in out.split('\1')[1:]:
            author, date, message = text.split('\n', 2)
            subject, body, trailers, name, _ = split_message(message)
            headers.append(Patch(author, date, subject, body, trailers,
                                 series=name))
        return headers

    def patches(self, commits):
        """The patches that commits make, and all new files."""
        added = [[path for path, _ in files] for files in self.added(commits)]
        ours = sorted({path for paths in added for path in paths})
        excluded = [f':(exclude,literal){path}' for path in ours]
        hunks = self._diffs(commits, '-p', '--no-color', '--no-ext-diff', '--',
                            '.', *excluded)
        patches = self.headers(commits)
        for patch, paths, text in zip(patches, added, hunks):
            patch.adds = sorted(paths)
            patch.hunks = re.sub(r'^index [0-9a-f]+\.\.[0-9a-f]+.*\n', '',
                                 text, flags=re.M)
        return patches, ours


def assembled_tree(build):
    """The tree that configure has assembled in a build folder."""
    tree = Tree(build / 'qemu')
    if not tree.state().get('head'):
        raise SeriesError(f'{tree.path} is not assembled: run ./configure '
                          'first')
    return tree


@contextlib.contextmanager
def build_lock(build, users='configure or refresh-series'):
    """One user at a time in a build folder."""
    build.mkdir(parents=True, exist_ok=True)
    with open(build / '.lock', 'w', encoding='utf-8') as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as err:
            raise SeriesError(f'another {users} is at work in {build}: wait '
                              'until it has ended') from err
        yield


def file_name(number, subject):
    """The name of a patch file, as git format-patch makes it."""
    slug = re.sub(r'[^A-Za-z0-9._]+', '-', subject).strip('-.')[:52]
    return f'{number:04}-{slug.rstrip("-.")}.patch'


def assign_series(patches, folder=PATCHES):
    """Give each patch that names no series the series of the patch before."""
    current = next(iter(series_names(folder)), '')
    for patch in patches:
        name = patch.series or current
        if not re.fullmatch(SERIES_NAME, name):
            raise SeriesError(f'"{patch.subject}" has the series "{name}": it '
                              'must be named like 01-fixes')
        if name < current:
            raise SeriesError(f'"{patch.subject}" belongs to {name} but comes '
                              f'after a patch of {current}: reorder the '
                              'commits or change its Series: trailer')
        patch.series = current = name


def write_series(patches, folder=PATCHES):
    """Replace all patch files; returns whether they changed."""
    before = {str(path.relative_to(folder)): path.read_text(encoding='utf-8')
              for path in patch_files(folder)}
    after = {}
    numbers = collections.Counter()
    for patch in patches:
        numbers[patch.series] += 1
        patch.name = file_name(numbers[patch.series], patch.subject)
        after[patch.path] = patch.mail
    for name in before.keys() - after.keys():
        (folder / name).unlink()
    for name, text in after.items():
        if before.get(name) != text:
            (folder / name).parent.mkdir(exist_ok=True)
            (folder / name).write_text(text, encoding='utf-8')
    return before != after
