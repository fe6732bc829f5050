# SPDX-License-Identifier: GPL-2.0-or-later
#
# Precompiled headers for a build that compiles everything.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Each file of QEMU includes qemu/osdep.h first.  gcc compiles it once for each
set of options, and takes the result that it finds beside the header: the
objects are the same.  gcc does not notice when a header has changed, so the
results are deleted when the build ends, and -fpch-deps records all headers as
dependencies for later builds."""

import collections
import contextlib
import json
import shlex
import shutil
import subprocess

# Compiling the header takes as long as it saves in a few files
MANY = 50
# Without it, dependencies would be incomplete (see GCC in configure)
DEPENDENCIES = '-fpch-deps'
# Options with an argument that apply to one file
OF_A_FILE = {'-o', '-c', '-MF', '-MQ'}


def _options(command):
    """The compiler, and its options but those for one file."""
    words = iter(shlex.split(command))
    compiler = next(words)
    options = [compiler]
    for word in words:
        if word in OF_A_FILE:
            next(words)
        elif word != '-MD':
            options.append(word)
    return tuple(options)


def _macros(options):
    """Options on which the contents of the header depend, and no folders,
    which differ between libraries."""
    return tuple(word for word in options if not word.startswith('-I'))


def _frequent_options(build, header):
    """A list of options for each result that many files can use."""
    wanted = {DEPENDENCIES, str(header.parents[1])}
    commands = json.loads((build / 'compile_commands.json').read_text('utf-8'))
    groups = collections.defaultdict(list)
    for command in commands:
        options = _options(command['command'])
        groups[_macros(options)].append(options)
    return [group[0] for group in groups.values()
            if len(group) >= MANY and wanted <= set(group[0])]


@contextlib.contextmanager
def precompiled_header(build, header):
    """Precompile a header of a tree (INCLUDE/FOLDER/NAME) for the files of a
    build folder."""
    results = header.with_name(f'{header.name}.gch')
    shutil.rmtree(results, ignore_errors=True)
    try:
        results.mkdir()
        for number, options in enumerate(_frequent_options(build, header)):
            subprocess.run(
                [*options, '-MD', '-MF', results / 'dependencies',
                 '-x', 'c-header', header, '-o', results / f'{number}.gch'],
                cwd=build, check=True)
        (results / 'dependencies').unlink(missing_ok=True)
        yield
    finally:
        shutil.rmtree(results, ignore_errors=True)
