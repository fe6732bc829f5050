# SPDX-License-Identifier: GPL-2.0-or-later
#
# Run programs in an unpacked Debian.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Run programs in an unpacked Debian, in a mount namespace, as any user."""

import os
import subprocess
from pathlib import Path

from debian_archive import ArchiveError
from report import last_lines

# Arguments: the root, pairs of folders (outside, inside), --, the command
ENTER = '''
mount --rbind /dev "$0/dev" && mount --rbind /proc "$0/proc" || exit 125
while [ "$1" != -- ]; do
    mount --bind "$1" "$0$2" || exit 125
    shift 2
done
shift
exec chroot "$0" /usr/bin/env -i PATH=/usr/bin:/usr/sbin LC_ALL=C "$@"
'''


class Chroot:
    """A folder that holds a Debian."""

    def __init__(self, root, what):
        """what is the task that needs it, for the message of a failure."""
        self.root = Path(root)
        self._namespace = self._find_namespace(what)

    def _command(self, namespace, command, binds):
        folders = [str(folder) for pair in binds.items() for folder in pair]
        for inside in binds.values():
            (self.root / str(inside).lstrip('/')).mkdir(parents=True,
                                                        exist_ok=True)
        return ['unshare', '--mount', *namespace, 'sh', '-c', ENTER,
                str(self.root), *folders, '--', *command]

    def command(self, *command, binds=None):
        """The command line that runs a command inside.  binds maps folders
        outside to the folders inside where they appear."""
        return self._command(self._namespace, command, binds or {})

    def _find_namespace(self, what):
        """Root needs no user namespace, except in some containers."""
        ways = [['--map-root-user']]
        if os.geteuid() == 0:
            ways.insert(0, [])
        for way in ways:
            result = subprocess.run(self._command(way, ['true'], {}),
                                    check=False, capture_output=True,
                                    text=True)
            if result.returncode == 0:
                return way
        raise ArchiveError(
            f'{what} cannot be built: this user may not mount anything in a '
            'namespace of its own ("unshare --mount --map-root-user" fails).  '
            'Run this as root, in a container with CAP_SYS_ADMIN, or allow '
            'user namespaces (sysctl kernel.unprivileged_userns_clone=1).\n'
            + last_lines(result.stderr))
