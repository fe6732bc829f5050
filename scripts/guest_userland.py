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

import re
import shutil

from debian_archive import ArchiveError, extract

# Programs that configure and test the Data Streaming Accelerator.
DSA = ('accel-config', 'accel-config-test', 'bash', 'coreutils', 'grep', 'sed')
# DPDK's tests of DMA devices, and the drivers that they load.
DPDK = 'dpdk-dev'
DPDK_PROGRAMS = ('dpdk-test', 'dpdk-test-dma-perf')
DPDK_DRIVERS = ('dma-idxd', 'dma-skeleton', 'mempool-ring')
# What only other programs of the package use: headers, Python, RDMA, drivers of
# hardware
DPDK_OTHERS = re.compile(r'libdpdk-dev|python3|ibverbs-providers|libibverbs1|'
                         r'librte-(baseband|bus-dpaa|common|mempool-dpaa)-?.*|'
                         r'librte-net-(bnxt|dpaa|i40e|iavf|ice|ixgbe|mlx5).*')
LEFT_OUT = ('usr/share/doc', 'usr/share/info', 'usr/share/locale',
            'usr/share/man')


def _dpdk_packages(archive):
    """The version of the package with DPDK's programs, and packages of the
    libraries that these load."""
    fields = archive.newest(DPDK, r'.*')
    names = re.findall(r'(?:^|, )([^\s,]+)', fields['Depends'] if fields else '')
    abi = [name.removeprefix('librte-dmadev') for name in names
           if name.startswith('librte-dmadev')]
    if not abi:
        raise ArchiveError(f'the package lists have no {DPDK} with DMA '
                           "devices: check the Debian mirror in apt's "
                           'configuration')
    return fields['Version'], [
        *(name for name in names if not DPDK_OTHERS.fullmatch(name)),
        *(f'librte-{name}{abi[0]}' for name in DPDK_DRIVERS)]


def userland_packages(archive, dsa, dpdk):
    """The packages for what is asked for, with their dependencies:
    [[name, version]]."""
    archive.update()
    wanted, alone = ['base-files', *(DSA if dsa else ())], []
    if dpdk:
        version, libraries = _dpdk_packages(archive)
        wanted += libraries
        alone.append([DPDK, version])
    return archive.closure(wanted) + alone


def unpack_userland(archive, packages, tree):
    """Unpack the result of userland_packages() into an empty tree."""
    debs = dict(zip((name for name, _ in packages),
                    archive.download_all(packages)))
    # base-files has the links /lib and /bin that the others rely on.
    for name in sorted(debs, key=lambda name: name != 'base-files'):
        extract(debs[name], tree)
    for folder in LEFT_OUT:
        shutil.rmtree(tree / folder, ignore_errors=True)
    for path in (tree / 'usr/bin').glob('dpdk-*'):
        if path.name not in DPDK_PROGRAMS:
            path.unlink()
