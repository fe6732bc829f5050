# SPDX-License-Identifier: GPL-2.0-or-later
#
# Disk images that hold a snapshot of a machine.
#
# Copyright (c) 2026 QEMU SVM contributors
"""An image in the format of QEMU's docs/interop/qcow2.txt: an empty disk, and
one snapshot whose VM state is a stream."""

CLUSTER = 1 << 16
DISK = 1 << 20
TAG = 'fuzz'
COPIED = 1 << 63
# Clusters: header, L1 table, refcount table and block, snapshot table, the
# snapshot's L1 table, and its L2 table for the VM state
(HEADER, L1, REFCOUNTS, REFCOUNT_BLOCK, SNAPSHOTS, SNAPSHOT_L1, SNAPSHOT_L2,
 STATE) = range(8)


def words(size, *values):
    return b''.join(value.to_bytes(size, 'big') for value in values)


def header():
    return b''.join((
        b'QFI\xfb', words(4, 3), words(8, 0), words(4, 0, 16),
        words(8, DISK), words(4, 0, 1), words(8, L1 * CLUSTER,
                                              REFCOUNTS * CLUSTER),
        words(4, 1, 1), words(8, SNAPSHOTS * CLUSTER, 0, 0, 0),
        words(4, 4, 104)))


def snapshot_table(size):
    """One snapshot; the VM state follows the disk, in the next L2 table."""
    name = TAG.encode()
    return b''.join((
        words(8, SNAPSHOT_L1 * CLUSTER), words(4, 2), words(2, 1, len(name)),
        words(4, 1, 0), words(8, 1), words(4, 0, 16), words(8, size, DISK),
        b'1', name))


def write_snapshot(path, stream):
    """Write an image with the snapshot TAG."""
    count = (len(stream) + CLUSTER - 1) // CLUSTER
    clusters = [b''] * STATE
    clusters[HEADER] = header()
    clusters[REFCOUNTS] = words(8, REFCOUNT_BLOCK * CLUSTER)
    clusters[REFCOUNT_BLOCK] = words(2, *[1] * (STATE + count))
    clusters[SNAPSHOTS] = snapshot_table(len(stream))
    clusters[SNAPSHOT_L1] = words(8, 0, SNAPSHOT_L2 * CLUSTER | COPIED)
    clusters[SNAPSHOT_L2] = words(8, *((STATE + i) * CLUSTER | COPIED
                                       for i in range(count)))
    data = b''.join(cluster.ljust(CLUSTER, b'\0') for cluster in clusters)
    path.write_bytes(data + stream.ljust(count * CLUSTER, b'\0'))
