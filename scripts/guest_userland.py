# SPDX-License-Identifier: GPL-2.0-or-later
#
# Debian's programs in the test guest: packages with their dependencies.
#
# Copyright (c) 2026 QEMU SVM contributors
"""Put unmodified Debian packages into the test guest.

The script only unpacks the packages, which any user may do, and runs none of
their code on the host.  It leaves out documentation and translations, as dpkg
does with path-exclude.  busybox is added afterwards and provides the other
programs, from sh to modprobe.
"""

import shutil

from debian_archive import extract

# Programs that configure and test the Data Streaming Accelerator.
DSA = ('accel-config', 'accel-config-test', 'bash', 'coreutils', 'grep', 'sed')
LEFT_OUT = ('usr/share/doc', 'usr/share/info', 'usr/share/locale',
            'usr/share/man')


def userland_packages(archive, wanted=DSA):
    """The packages with their dependencies: [[name, version]]."""
    archive.update()
    return archive.closure(('base-files', *wanted))


def unpack_userland(archive, packages, tree):
    """Unpack the result of userland_packages() into an empty tree."""
    debs = dict(zip((name for name, _ in packages),
                    archive.download_all(packages)))
    # base-files has the links /lib and /bin that the others rely on.
    for name in sorted(debs, key=lambda name: name != 'base-files'):
        extract(debs[name], tree)
    for folder in LEFT_OUT:
        shutil.rmtree(tree / folder, ignore_errors=True)
