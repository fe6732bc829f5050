/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libqos vhost-user back-end that has an IOTLB and transfers no data
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * The back-end follows docs/interop/vhost-user.rst, "IOMMU support".
 */

#ifndef LIBQOS_VHOST_USER_IOTLB_H
#define LIBQOS_VHOST_USER_IOTLB_H

typedef struct QVhostUserIotlb QVhostUserIotlb;

/**
 * qvhost_user_iotlb_new() - start a back-end
 * @queue_pairs: number of queue pairs, 1 or more; the back-end offers
 *               multiqueue above 1
 * @has_config: the back-end holds the configuration space (as for block
 *              devices, not for network devices), which is all 0
 *
 * The back-end listens on a socket of its own and serves one front-end at a
 * time in a thread.  It negotiates VIRTIO_F_IOMMU_PLATFORM, stores the IOTLB
 * updates of the front-end and drops invalidated entries.
 *
 * Returns: the back-end; free it with qvhost_user_iotlb_free().
 */
QVhostUserIotlb *qvhost_user_iotlb_new(unsigned queue_pairs, bool has_config);

/**
 * qvhost_user_iotlb_free() - stop a back-end
 * @be: the back-end, whose front-end must have quit
 */
void qvhost_user_iotlb_free(QVhostUserIotlb *be);

/**
 * qvhost_user_iotlb_path() - get the socket of a back-end
 * @be: the back-end
 *
 * Returns: path of the UNIX socket, valid until qvhost_user_iotlb_free().
 */
const char *qvhost_user_iotlb_path(QVhostUserIotlb *be);

/**
 * qvhost_user_iotlb_wait_rings() - wait until rings are enabled
 * @be: the back-end
 * @n: number of rings; 0 waits until all are disabled
 *
 * The test fails after ten seconds.
 */
void qvhost_user_iotlb_wait_rings(QVhostUserIotlb *be, unsigned n);

/**
 * qvhost_user_iotlb_fetch() - let the front-end translate an address
 * @be: the back-end, which must be connected
 * @iova: the address
 *
 * Reports an IOTLB miss and waits for the update.  The test fails after ten
 * seconds.
 *
 * Returns: the guest physical address to which @iova is mapped.
 */
uint64_t qvhost_user_iotlb_fetch(QVhostUserIotlb *be, uint64_t iova);

/**
 * qvhost_user_iotlb_has() - look up an address in the IOTLB
 * @be: the back-end
 * @iova: the address
 *
 * Returns: whether the IOTLB has an entry for @iova.
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
