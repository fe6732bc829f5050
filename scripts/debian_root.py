# SPDX-License-Identifier: GPL-2.0-or-later
#
# Install a Debian 13 into an archive.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Install a clean Debian 13 with mmdebstrap, as root or as any user."""

import os
import subprocess
import tempfile
from pathlib import Path

from child_process import run_program
from debian_archive import TRIXIE, ArchiveError, need_space
from report import last_lines

# In Debian 13 /tmp is in memory.
WORK = Path('/var/tmp')
RELEASED = tuple(name for name in TRIXIE if not name.endswith('-backports'))


def install_debian(archive, target, log, *options, suites=RELEASED):
    """Install Debian 13 into the tar file target (/dev/null: nowhere).
    options are those of mmdebstrap, whose output goes to the file log."""
    need_space(WORK, 4000, 'a Debian 13')
    mode = 'root' if os.geteuid() == 0 else 'unshare'
    with tempfile.NamedTemporaryFile('w', suffix='.list') as sources:
        sources.write(archive.source_list(suites))
        sources.flush()
        with open(log, 'w', encoding='utf-8') as output:
            status = run_program(
                ['mmdebstrap', f'--mode={mode}', *options, 'trixie', target,
                 sources.name], stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, 'TMPDIR': str(WORK)})
    if status:
        text = Path(log).read_text(encoding='utf-8', errors='replace')
        raise ArchiveError(
            'mmdebstrap could not install a Debian 13; its whole output is '
            f'{log}.  It needs the network and, for users other than root, '
            'the package uidmap.\n' + last_lines(text, 8))
