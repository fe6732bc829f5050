# SPDX-License-Identifier: GPL-2.0-or-later
#
# Programs of Debian in the test guest: packages with all that they need.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Put Debian packages into the test guest, as they are.

The packages are only unpacked, which any user may do; nothing of theirs runs on
the host.  What an installation would leave out on request is left out here:
documentation and translations (dpkg's path-exclude).  busybox comes on top and
has what no package here brings, from sh to modprobe.
"""

import shutil

from debian_archive import extract

# What the Data Streaming Accelerator is configured and tested with.
DSA = ('accel-config', 'accel-config-test', 'bash', 'coreutils', 'grep', 'sed')
LEFT_OUT = ('usr/share/doc', 'usr/share/info', 'usr/share/locale',
            'usr/share/man')


def userland_packages(archive, wanted=DSA):
    """The packages and all that they need: [[name, version]]."""
    archive.update()
    return archive.closure(('base-files', *wanted))


def unpack_userland(archive, packages, tree):
    """Unpack what userland_packages() returned once into an empty tree."""
    debs = dict(zip((name for name, _ in packages),
                    archive.download_all(packages)))
    # base-files has the links /lib and /bin that the others rely on.
    for name in sorted(debs, key=lambda name: name != 'base-files'):
        extract(debs[name], tree)
    for folder in LEFT_OUT:
        shutil.rmtree(tree / folder, ignore_errors=True)
