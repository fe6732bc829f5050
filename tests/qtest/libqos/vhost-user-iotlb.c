/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libqos vhost-user back-end that has an IOTLB and transfers no data
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */

#include "qemu/osdep.h"
#include <poll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/un.h>
#include "qemu/atomic.h"
#include "qemu/host-utils.h"
#include "standard-headers/linux/vhost_types.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_net.h"
#include "vhost-user-iotlb.h"

/* Message types */
enum {
    GET_FEATURES = 1,
    SET_MEM_TABLE = 5,
    SET_LOG_BASE = 6,
    GET_VRING_BASE = 11,
    GET_PROTOCOL_FEATURES = 15,
    GET_QUEUE_NUM = 17,
    SET_VRING_ENABLE = 18,
    SET_BACKEND_REQ_FD = 21,
    IOTLB_MSG = 22,
    GET_CONFIG = 24,
};

/* Messages on the back-end channel */
#define BACKEND_IOTLB_MSG 1

/* Header flags */
#define FLAGS_VERSION    1
#define FLAGS_REPLY      (1 << 2)
#define FLAGS_NEED_REPLY (1 << 3)

#define F_LOG_ALL           26
#define F_PROTOCOL_FEATURES 30

enum {
    PROTOCOL_F_MQ = 0,
    PROTOCOL_F_LOG_SHMFD = 1,
    PROTOCOL_F_RARP = 2,
    PROTOCOL_F_REPLY_ACK = 3,
    PROTOCOL_F_BACKEND_REQ = 5,
    PROTOCOL_F_CONFIG = 9,
};

#define PAGE_SIZE_4K 0x1000

#define MAX_FDS     8
#define MAX_REGIONS 8
#define MAX_PAYLOAD 1024
#define TIMEOUT_US  (10 * G_USEC_PER_SEC)
#define WATCH_US    (20 * 1000)

typedef struct Header {
    uint32_t request;
    uint32_t flags;
    uint32_t size;
} QEMU_PACKED Header;

typedef struct MemTable {
    uint32_t nregions;
    uint32_t padding;
    struct {
        uint64_t gpa;
        uint64_t size;
        uint64_t uaddr;
        uint64_t mmap_offset;
    } region[MAX_REGIONS];
} QEMU_PACKED MemTable;

typedef struct Message {
    Header hdr;
    union {
        uint64_t u64;
        struct vhost_vring_state state;
        struct vhost_iotlb_msg iotlb;
        MemTable mem;
        uint8_t raw[MAX_PAYLOAD];
    } payload;
} QEMU_PACKED Message;

struct QVhostUserIotlb {
    char *dir;
    char *path;
    unsigned queue_pairs;
    bool has_config;
    uint64_t more_features;
    int listen_fd;
    int stop_fds[2];
    GThread *thread;

    /* @lock protects the fields below; @cond is signalled on every change */
    GMutex lock;
    GCond cond;
    int fd;                 /* of the connection, or -1 */
    unsigned connections;
    bool disconnect_at_stop;
    int backend_fd;
    uint64_t rings;
    MemTable mem;
    void *maps[MAX_REGIONS];
    GArray *tlb;            /* in the order of arrival */
    unsigned invalidations;
    unsigned updates;
    uint64_t watched;
    GArray *watch_values;
};

static void reply(int fd, Message *msg, uint32_t size)
{
    msg->hdr.flags = FLAGS_VERSION | FLAGS_REPLY;
    msg->hdr.size = size;
    g_assert_cmpint(send(fd, msg, sizeof(msg->hdr) + size, MSG_NOSIGNAL), ==,
                    sizeof(msg->hdr) + size);
}

/* Drop all entries that overlap the range */
static void tlb_drop(QVhostUserIotlb *be, uint64_t iova, uint64_t size)
{
    unsigned i = 0;

    /* Existing back-ends do not survive these messages */
    g_assert_cmphex(size, !=, 0);
    g_assert_cmphex(iova + size, >, iova);

    while (i < be->tlb->len) {
        struct vhost_iotlb_msg *e = &g_array_index(be->tlb,
                                                   struct vhost_iotlb_msg, i);

        if (e->iova < iova + size && iova < e->iova + e->size) {
            g_array_remove_index(be->tlb, i);
        } else {
            i++;
        }
    }
}

static struct vhost_iotlb_msg *tlb_overlaps(QVhostUserIotlb *be,
                                            uint64_t iova, uint64_t size)
{
    unsigned i;

    for (i = 0; i < be->tlb->len; i++) {
        struct vhost_iotlb_msg *e = &g_array_index(be->tlb,
                                                   struct vhost_iotlb_msg, i);

        if (iova - e->iova < e->size || e->iova - iova < size) {
            return e;
        }
    }
    return NULL;
}

static struct vhost_iotlb_msg *tlb_find(QVhostUserIotlb *be, uint64_t iova)
{
    return tlb_overlaps(be, iova, 1);
}

static void unmap_memory(QVhostUserIotlb *be)
{
    unsigned i;

    for (i = 0; i < be->mem.nregions; i++) {
        munmap(be->maps[i], be->mem.region[i].mmap_offset +
               be->mem.region[i].size);
    }
    be->mem.nregions = 0;
}

static void map_memory(QVhostUserIotlb *be, const MemTable *mem,
                       const int *fds, int nfds)
{
    unsigned i;

    g_assert_cmpuint(mem->nregions, <=, MAX_REGIONS);
    g_assert_cmpuint(mem->nregions, ==, nfds);
    unmap_memory(be);
    be->mem = *mem;
    for (i = 0; i < mem->nregions; i++) {
        be->maps[i] = mmap(NULL, mem->region[i].mmap_offset +
                           mem->region[i].size, PROT_READ | PROT_WRITE,
                           MAP_SHARED, fds[i], 0);
        g_assert(be->maps[i] != MAP_FAILED);
    }
}

static void *gpa_to_host(QVhostUserIotlb *be, uint64_t gpa)
{
    unsigned i;

    for (i = 0; i < be->mem.nregions; i++) {
        if (gpa - be->mem.region[i].gpa < be->mem.region[i].size) {
            return (char *)be->maps[i] + be->mem.region[i].mmap_offset +
                   (gpa - be->mem.region[i].gpa);
        }
    }
    g_assert_not_reached();
}

/*
 * Like DPDK, which takes an update of a cached address for a repetition: it
 * keeps the old entry.  The front-end must have invalidated it.
 */
static void tlb_add(QVhostUserIotlb *be, struct vhost_iotlb_msg iotlb)
{
    g_assert_cmphex(iotlb.size, !=, 0);
    g_assert_cmphex(iotlb.iova + iotlb.size - 1, >=, iotlb.iova);
    if (!tlb_overlaps(be, iotlb.iova, iotlb.size)) {
        g_array_append_val(be->tlb, iotlb);
    }
    be->updates++;
}

/*
 * Give the emulator time to break the rule that an invalidation is complete
 * only when it is acknowledged.
 */
static void watch(QVhostUserIotlb *be)
{
    uint32_t value;

    if (be->watched) {
        g_usleep(WATCH_US);
        value = qatomic_read((uint32_t *)gpa_to_host(be, be->watched));
        g_array_append_val(be->watch_values, value);
    }
}

static void handle_iotlb(QVhostUserIotlb *be, struct vhost_iotlb_msg iotlb)
{
    switch (iotlb.type) {
    case VHOST_IOTLB_UPDATE:
        tlb_add(be, iotlb);
        break;
    case VHOST_IOTLB_INVALIDATE:
        tlb_drop(be, iotlb.iova, iotlb.size);
        be->invalidations++;
        watch(be);
        break;
    default:
        g_assert_not_reached();
    }
}

static uint64_t features(QVhostUserIotlb *be)
{
    return 1ULL << VIRTIO_F_VERSION_1 | 1ULL << VIRTIO_F_IOMMU_PLATFORM |
           1ULL << F_PROTOCOL_FEATURES | 1ULL << F_LOG_ALL |
           be->more_features |
           (be->queue_pairs > 1 ? 1ULL << VIRTIO_NET_F_MQ : 0);
}

static uint64_t protocol_features(QVhostUserIotlb *be)
{
    return 1ULL << PROTOCOL_F_LOG_SHMFD | 1ULL << PROTOCOL_F_RARP |
           1ULL << PROTOCOL_F_REPLY_ACK |
           1ULL << PROTOCOL_F_BACKEND_REQ |
           (be->has_config ? 1ULL << PROTOCOL_F_CONFIG : 0) |
           (be->queue_pairs > 1 ? 1ULL << PROTOCOL_F_MQ : 0);
}

/* Returns true if the back-end keeps a descriptor of @fds */
static bool handle(QVhostUserIotlb *be, int fd, Message *msg,
                   int *fds, int nfds)
{
    bool need_reply = msg->hdr.flags & FLAGS_NEED_REPLY;

    switch (msg->hdr.request) {
    case GET_FEATURES:
        msg->payload.u64 = features(be);
        reply(fd, msg, sizeof(uint64_t));
        return false;
    case GET_PROTOCOL_FEATURES:
        msg->payload.u64 = protocol_features(be);
        reply(fd, msg, sizeof(uint64_t));
        return false;
    case GET_QUEUE_NUM:
        msg->payload.u64 = be->queue_pairs;
        reply(fd, msg, sizeof(uint64_t));
        return false;
    case GET_VRING_BASE:
        if (be->disconnect_at_stop) {
            shutdown(fd, SHUT_RDWR);
            return false;
        }
        be->rings &= ~(1ULL << msg->payload.state.index);
        msg->payload.state.num = 0;
        reply(fd, msg, sizeof(msg->payload.state));
        return false;
    case GET_CONFIG:
        /* 12 bytes of offset, size and flags precede the contents */
        memset(msg->payload.raw + 12, 0, msg->hdr.size - 12);
        reply(fd, msg, msg->hdr.size);
        return false;
    case SET_LOG_BASE:
        reply(fd, msg, 0);
        return false;
    case SET_MEM_TABLE:
        map_memory(be, &msg->payload.mem, fds, nfds);
        break;
    case SET_VRING_ENABLE:
        if (msg->payload.state.num) {
            be->rings |= 1ULL << msg->payload.state.index;
        } else {
            be->rings &= ~(1ULL << msg->payload.state.index);
        }
        break;
    case SET_BACKEND_REQ_FD:
        g_assert_cmpint(nfds, ==, 1);
        if (be->backend_fd >= 0) {
            close(be->backend_fd);
        }
        be->backend_fd = fds[0];
        break;
    case IOTLB_MSG:
        handle_iotlb(be, msg->payload.iotlb);
        break;
    }

    if (need_reply) {
        msg->payload.u64 = 0;
        reply(fd, msg, sizeof(uint64_t));
    }
    return msg->hdr.request == SET_BACKEND_REQ_FD;
}

static bool receive(int fd, Message *msg, int *fds, int *nfds)
{
    char control[CMSG_SPACE(MAX_FDS * sizeof(int))];
    struct iovec iov = { .iov_base = &msg->hdr, .iov_len = sizeof(msg->hdr) };
    struct msghdr mh = {
        .msg_iov = &iov, .msg_iovlen = 1,
        .msg_control = control, .msg_controllen = sizeof(control),
    };
    struct cmsghdr *cmsg;

    *nfds = 0;
    if (recvmsg(fd, &mh, MSG_WAITALL) != sizeof(msg->hdr)) {
        return false;
    }
    for (cmsg = CMSG_FIRSTHDR(&mh); cmsg; cmsg = CMSG_NXTHDR(&mh, cmsg)) {
        if (cmsg->cmsg_level == SOL_SOCKET && cmsg->cmsg_type == SCM_RIGHTS) {
            *nfds = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
            memcpy(fds, CMSG_DATA(cmsg), *nfds * sizeof(int));
        }
    }
    g_assert_cmpuint(msg->hdr.size, <=, sizeof(msg->payload));
    return !msg->hdr.size ||
           recv(fd, &msg->payload, msg->hdr.size, MSG_WAITALL) ==
           msg->hdr.size;
}

/* Returns false if the back-end has to stop */
static bool wait_readable(QVhostUserIotlb *be, int fd)
{
    struct pollfd pfd[2] = {
        { .fd = be->stop_fds[0], .events = POLLIN },
        { .fd = fd, .events = POLLIN },
    };

    while (poll(pfd, 2, -1) < 0) {
        g_assert_cmpint(errno, ==, EINTR);
    }
    return !pfd[0].revents;
}

static void serve(QVhostUserIotlb *be, int fd)
{
    int fds[MAX_FDS], nfds, i;
    Message msg;

    while (wait_readable(be, fd) && receive(fd, &msg, fds, &nfds)) {
        g_mutex_lock(&be->lock);
        i = handle(be, fd, &msg, fds, nfds) ? 1 : 0;
        for (; i < nfds; i++) {
            close(fds[i]);
        }
        g_cond_broadcast(&be->cond);
        g_mutex_unlock(&be->lock);
    }

    g_mutex_lock(&be->lock);
    be->rings = 0;
    g_array_set_size(be->tlb, 0);
    g_cond_broadcast(&be->cond);
    g_mutex_unlock(&be->lock);
}

static void set_connection(QVhostUserIotlb *be, int fd)
{
    g_mutex_lock(&be->lock);
    be->fd = fd;
    be->connections += fd >= 0;
    be->disconnect_at_stop = false;
    g_mutex_unlock(&be->lock);
}

unsigned qvhost_user_iotlb_connections(QVhostUserIotlb *be)
{
    unsigned connections;

    g_mutex_lock(&be->lock);
    connections = be->connections;
    g_mutex_unlock(&be->lock);
    return connections;
}

void qvhost_user_iotlb_disconnect(QVhostUserIotlb *be)
{
    g_mutex_lock(&be->lock);
    g_assert_cmpint(be->fd, >=, 0);
    shutdown(be->fd, SHUT_RDWR);
    g_mutex_unlock(&be->lock);
}

void qvhost_user_iotlb_disconnect_at_stop(QVhostUserIotlb *be)
{
    g_mutex_lock(&be->lock);
    be->disconnect_at_stop = true;
    g_mutex_unlock(&be->lock);
}

static void *backend_thread(void *opaque)
{
    QVhostUserIotlb *be = opaque;

    while (wait_readable(be, be->listen_fd)) {
        int fd = accept(be->listen_fd, NULL, NULL);

        g_assert_cmpint(fd, >=, 0);
        set_connection(be, fd);
        serve(be, fd);
        set_connection(be, -1);
        close(fd);
    }
    return NULL;
}

QVhostUserIotlb *qvhost_user_iotlb_new(unsigned queue_pairs, bool has_config)
{
    QVhostUserIotlb *be = g_new0(QVhostUserIotlb, 1);
    struct sockaddr_un addr = { .sun_family = AF_UNIX };

    be->dir = g_dir_make_tmp("qtest-vhost-user-XXXXXX", NULL);
    g_assert_nonnull(be->dir);
    be->path = g_strdup_printf("%s/sock", be->dir);
    be->queue_pairs = queue_pairs;
    be->has_config = has_config;
    be->fd = be->backend_fd = -1;
    be->tlb = g_array_new(false, false, sizeof(struct vhost_iotlb_msg));
    be->watch_values = g_array_new(false, false, sizeof(uint32_t));
    g_mutex_init(&be->lock);
    g_cond_init(&be->cond);

    g_assert_cmpuint(strlen(be->path), <, sizeof(addr.sun_path));
    strcpy(addr.sun_path, be->path);
    be->listen_fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    g_assert_cmpint(be->listen_fd, >=, 0);
    g_assert_cmpint(bind(be->listen_fd, (struct sockaddr *)&addr,
                         sizeof(addr)), ==, 0);
    g_assert_cmpint(listen(be->listen_fd, 1), ==, 0);
    g_assert_cmpint(pipe(be->stop_fds), ==, 0);

    be->thread = g_thread_new("vhost-user-iotlb", backend_thread, be);
    return be;
}

void qvhost_user_iotlb_free(QVhostUserIotlb *be)
{
    g_assert_cmpint(write(be->stop_fds[1], "", 1), ==, 1);
    g_thread_join(be->thread);

    close(be->stop_fds[0]);
    close(be->stop_fds[1]);
    close(be->listen_fd);
    if (be->backend_fd >= 0) {
        close(be->backend_fd);
    }
    unlink(be->path);
    rmdir(be->dir);
    unmap_memory(be);
    g_array_unref(be->tlb);
    g_array_unref(be->watch_values);
    g_mutex_clear(&be->lock);
    g_cond_clear(&be->cond);
    g_free(be->path);
    g_free(be->dir);
    g_free(be);
}

void qvhost_user_iotlb_add_features(QVhostUserIotlb *be, uint64_t features)
{
    be->more_features |= features;
}

const char *qvhost_user_iotlb_path(QVhostUserIotlb *be)
{
    return be->path;
}

void qvhost_user_iotlb_wait_rings(QVhostUserIotlb *be, unsigned n)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    g_mutex_lock(&be->lock);
    while (ctpop64(be->rings) != n) {
        if (!g_cond_wait_until(&be->cond, &be->lock, end)) {
            g_assert_cmpint(ctpop64(be->rings), ==, n);
        }
    }
    g_mutex_unlock(&be->lock);
}

static uint64_t uaddr_to_gpa(QVhostUserIotlb *be, uint64_t uaddr)
{
    unsigned i;

    for (i = 0; i < be->mem.nregions; i++) {
        if (uaddr - be->mem.region[i].uaddr < be->mem.region[i].size) {
            return uaddr - be->mem.region[i].uaddr + be->mem.region[i].gpa;
        }
    }
    g_assert_not_reached();
}

/* Returns false if the emulator takes no more messages at the moment */
static bool send_miss(int fd, uint64_t iova, bool write)
{
    Message msg = {
        .hdr = {
            .request = BACKEND_IOTLB_MSG,
            .flags = FLAGS_VERSION,
            .size = sizeof(msg.payload.iotlb),
        },
        .payload.iotlb = {
            .iova = iova,
            .perm = write ? VHOST_ACCESS_RW : VHOST_ACCESS_RO,
            .type = VHOST_IOTLB_MISS,
        },
    };
    size_t size = sizeof(msg.hdr) + sizeof(msg.payload.iotlb);
    ssize_t sent = send(fd, &msg, size, MSG_NOSIGNAL | MSG_DONTWAIT);

    if (sent < 0 && errno == EAGAIN) {
        return false;
    }
    g_assert_cmpint(sent, ==, size);
    return true;
}

bool qvhost_user_iotlb_miss(QVhostUserIotlb *be, uint64_t iova, bool write)
{
    bool sent;

    g_mutex_lock(&be->lock);
    sent = be->rings && send_miss(be->backend_fd, iova, write);
    g_mutex_unlock(&be->lock);
    return sent;
}

uint64_t qvhost_user_iotlb_fetch(QVhostUserIotlb *be, uint64_t iova)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;
    struct vhost_iotlb_msg *entry;
    uint64_t gpa;

    g_mutex_lock(&be->lock);
    g_assert_cmpint(be->backend_fd, >=, 0);
    g_assert_true(send_miss(be->backend_fd, iova, true));
    while (!(entry = tlb_find(be, iova))) {
        g_assert(g_cond_wait_until(&be->cond, &be->lock, end));
    }
    gpa = uaddr_to_gpa(be, entry->uaddr + (iova - entry->iova));
    g_mutex_unlock(&be->lock);
    return gpa;
}

void qvhost_user_iotlb_sync(QVhostUserIotlb *be, uint64_t iova)
{
    gint64 end = g_get_monotonic_time() + TIMEOUT_US;

    g_mutex_lock(&be->lock);
    while (!tlb_find(be, iova)) {
        g_assert(g_cond_wait_until(&be->cond, &be->lock, end));
    }
    g_mutex_unlock(&be->lock);
}

bool qvhost_user_iotlb_has(QVhostUserIotlb *be, uint64_t iova)
{
    bool has;

    g_mutex_lock(&be->lock);
    has = tlb_find(be, iova) != NULL;
    g_mutex_unlock(&be->lock);
    return has;
}

unsigned qvhost_user_iotlb_later(QVhostUserIotlb *be, uint64_t iova)
{
    const struct vhost_iotlb_msg *e;
    unsigned later;

    g_mutex_lock(&be->lock);
    e = tlb_find(be, iova);
    g_assert_nonnull(e);
    later = (struct vhost_iotlb_msg *)be->tlb->data + be->tlb->len - 1 - e;
    g_mutex_unlock(&be->lock);
    return later;
}

/* Returns a counter, which starts again from 0 */
static unsigned take_count(QVhostUserIotlb *be, unsigned *counter)
{
    unsigned n;

    g_mutex_lock(&be->lock);
    n = *counter;
    *counter = 0;
    g_mutex_unlock(&be->lock);
    return n;
}

unsigned qvhost_user_iotlb_invalidations(QVhostUserIotlb *be)
{
    return take_count(be, &be->invalidations);
}

unsigned qvhost_user_iotlb_updates(QVhostUserIotlb *be)
{
    return take_count(be, &be->updates);
}

void qvhost_user_iotlb_each_page(QVhostUserIotlb *be, uint64_t first,
                                 uint64_t last, QVhostUserIotlbPage fn,
                                 void *opaque)
{
    unsigned i;

    g_mutex_lock(&be->lock);
    for (i = 0; i < be->tlb->len; i++) {
        struct vhost_iotlb_msg *e = &g_array_index(be->tlb,
                                                   struct vhost_iotlb_msg, i);
        uint64_t end = MIN(e->iova + (e->size - 1), last);
        uint64_t iova;

        for (iova = MAX(e->iova, first); iova <= end; iova += PAGE_SIZE_4K) {
            fn(iova, uaddr_to_gpa(be, e->uaddr + (iova - e->iova)),
               e->perm != VHOST_ACCESS_RO, opaque);
        }
    }
    g_mutex_unlock(&be->lock);
}

void qvhost_user_iotlb_watch(QVhostUserIotlb *be, uint64_t gpa)
{
    g_mutex_lock(&be->lock);
    be->watched = gpa;
    g_array_set_size(be->watch_values, 0);
    g_mutex_unlock(&be->lock);
}

unsigned qvhost_user_iotlb_watched(QVhostUserIotlb *be, uint32_t value)
{
    unsigned i, n = 0;

    g_mutex_lock(&be->lock);
    for (i = 0; i < be->watch_values->len; i++) {
        n += g_array_index(be->watch_values, uint32_t, i) == value;
    }
    g_mutex_unlock(&be->lock);
    return n;
}
