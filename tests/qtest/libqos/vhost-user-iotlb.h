/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libqos vhost-user back-end that moves no data but keeps an IOTLB
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * Rules are those of docs/interop/vhost-user.rst, "IOMMU support".
 */

#ifndef LIBQOS_VHOST_USER_IOTLB_H
#define LIBQOS_VHOST_USER_IOTLB_H

typedef struct QVhostUserIotlb QVhostUserIotlb;

/**
 * qvhost_user_iotlb_new() - start a back-end
 * @queue_pairs: queue pairs that it offers, 1 or more; above 1 it offers
 *               multiqueue
 * @has_config: whether it holds the configuration space (as for block devices,
 *              not for network devices); it is all 0
 *
 * The back-end listens on a socket of its own and serves one front-end at a
 * time in a thread.  It negotiates VIRTIO_F_IOMMU_PLATFORM, keeps what the
 * front-end sends as IOTLB updates and drops what it invalidates.
 *
 * Returns: the back-end, to be given to qvhost_user_iotlb_free().
 */
QVhostUserIotlb *qvhost_user_iotlb_new(unsigned queue_pairs, bool has_config);

/**
 * qvhost_user_iotlb_free() - stop a back-end
 * @be: the back-end; its front-end must be gone
 */
void qvhost_user_iotlb_free(QVhostUserIotlb *be);

/**
 * qvhost_user_iotlb_path() - where a back-end listens
 * @be: the back-end
 *
 * Returns: path of a UNIX socket, valid as long as @be is.
 */
const char *qvhost_user_iotlb_path(QVhostUserIotlb *be);

/**
 * qvhost_user_iotlb_wait_rings() - wait until rings are enabled
 * @be: the back-end
 * @n: number of rings; 0 waits until all are disabled
 *
 * Fails the test after 10 seconds.
 */
void qvhost_user_iotlb_wait_rings(QVhostUserIotlb *be, unsigned n);

/**
 * qvhost_user_iotlb_fetch() - have the front-end translate an address
 * @be: the back-end, which must run
 * @iova: the address
 *
 * Reports an IOTLB miss and waits for the update.  Fails the test if there
 * is none within 10 seconds.
 *
 * Returns: the guest physical address that @iova is mapped to.
 */
uint64_t qvhost_user_iotlb_fetch(QVhostUserIotlb *be, uint64_t iova);

/**
 * qvhost_user_iotlb_has() - would the back-end access an address unasked?
 * @be: the back-end
 * @iova: the address
 */
bool qvhost_user_iotlb_has(QVhostUserIotlb *be, uint64_t iova);

/**
 * qvhost_user_iotlb_invalidations() - count invalidations
 * @be: the back-end
 *
 * Returns: the number of IOTLB invalidations since the last call.
 */
unsigned qvhost_user_iotlb_invalidations(QVhostUserIotlb *be);

#endif
