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
 * qvhost_user_iotlb_disconnect() - close the connection
 * @be: the back-end, which must be connected; it accepts another connection
 */
void qvhost_user_iotlb_disconnect(QVhostUserIotlb *be);

/**
 * qvhost_user_iotlb_connections() - count connections
 * @be: the back-end
 *
 * Returns: number of connections that the back-end has accepted.
 */
unsigned qvhost_user_iotlb_connections(QVhostUserIotlb *be);

/**
 * qvhost_user_iotlb_disconnect_at_stop() - close the connection later
 * @be: the back-end, which closes it instead of the reply when the front-end
 *      stops a ring (GET_VRING_BASE)
 */
void qvhost_user_iotlb_disconnect_at_stop(QVhostUserIotlb *be);

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
 * qvhost_user_iotlb_later() - count the translations that arrived later
 * @be: the back-end
 * @iova: an address that the IOTLB contains
 *
 * Returns: number of entries that arrived after the entry for @iova.
 */
unsigned qvhost_user_iotlb_later(QVhostUserIotlb *be, uint64_t iova);

/**
 * qvhost_user_iotlb_invalidations() - count invalidations
 * @be: the back-end
 *
 * Returns: the number of IOTLB invalidations since the last call.
 */
unsigned qvhost_user_iotlb_invalidations(QVhostUserIotlb *be);

/**
 * qvhost_user_iotlb_add_features() - offer more features
 * @be: the back-end, before a front-end connects
 * @features: feature bits of the device
 */
void qvhost_user_iotlb_add_features(QVhostUserIotlb *be, uint64_t features);

/**
 * qvhost_user_iotlb_miss() - report a miss, and do not wait
 * @be: the back-end
 * @iova: I/O virtual address
 * @write: request write permission, too
 *
 * Returns: false if there is no started ring, or the front-end has too many
 * messages to read; nothing has been sent then.
 */
bool qvhost_user_iotlb_miss(QVhostUserIotlb *be, uint64_t iova, bool write);

/**
 * qvhost_user_iotlb_sync() - wait for a translation, and do not request it
 * @be: the back-end
 * @iova: I/O virtual address
 *
 * The test fails if it does not arrive.
 */
void qvhost_user_iotlb_sync(QVhostUserIotlb *be, uint64_t iova);

/**
 * qvhost_user_iotlb_updates() - count the updates that were received
 * @be: the back-end
 *
 * Returns: number of updates since the last call.
 */
unsigned qvhost_user_iotlb_updates(QVhostUserIotlb *be);

/* Called for a page of 4 KiB at @iova that is translated to @gpa */
typedef void (*QVhostUserIotlbPage)(uint64_t iova, uint64_t gpa, bool writable,
                                    void *opaque);

/**
 * qvhost_user_iotlb_each_page() - visit what the back-end could access
 * @be: the back-end
 * @first: first address of the range to visit, page aligned
 * @last: its last address
 * @fn: called for each translated page, with a lock held: it must not call the
 *      functions of this file
 * @opaque: passed to @fn
 */
void qvhost_user_iotlb_each_page(QVhostUserIotlb *be, uint64_t first,
                                 uint64_t last, QVhostUserIotlbPage fn,
                                 void *opaque);

/**
 * qvhost_user_iotlb_watch() - look at a word before each acknowledgment
 * @be: the back-end
 * @gpa: guest physical address of a word of 4 bytes, or 0 to stop
 *
 * The back-end is slow while it watches: it waits before it looks at the word
 * and acknowledges an invalidation.
 */
void qvhost_user_iotlb_watch(QVhostUserIotlb *be, uint64_t gpa);

/**
 * qvhost_user_iotlb_watched() - count what the back-end has seen
 * @be: the back-end
 * @value: a value of the word
 *
 * Returns: number of invalidations during which the word had this value.
 */
unsigned qvhost_user_iotlb_watched(QVhostUserIotlb *be, uint32_t value);

#endif
