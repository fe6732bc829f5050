/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of the IOTLB of a vhost-user back-end: random sequences
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * The test acts as the guest and as the back-end. The guest maps, unmaps and
 * invalidates pages, and posts buffers, some of which are lies. Meanwhile a
 * thread of the back-end accesses random pages, and reports a miss if it has no
 * translation. It never has a translation that the guest does not allow: once
 * an invalidation is complete, only the present translations of its pages
 * (VT-d 5.10, 6.5.2.3 and 6.5.2.5).
 *
 * Environment:
 *   IOTLB_TEST_SECONDS  duration of each case (default: 1500 steps)
 */

#include "qemu/osdep.h"
#include "qemu/bitops.h"
#include "hw/i386/intel_iommu_internal.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_ring.h"
#include "virtio-pci-ats-common.h"

#define STEPS       1500
#define PAGES       32
#define FRAMES      48
#define BASE        0x50000000ULL
#define SS_R        1
#define SS_W        2
#define SS_RW       (SS_R | SS_W)

typedef struct RandomMode {
    const char *iommu;
    bool ats;
    bool caching;
    bool packed;
} RandomMode;

/*
 * struct RandomTest
 * @g: the guest
 * @mode: what is tested
 * @frames: guest physical address of the pages of memory that are mapped
 * @next: the next index in the ring of each virtqueue
 * @lock: protects the fields below
 * @present: entry of each page in the tables, without the address of @frames
 * @allowed: permissions for each page and frame, SS_*: those of the tables at
 *           any time since the last invalidation of the page
 * @accesses: accesses by the back-end that had a translation
 * @stop: the back-end stops
 */
typedef struct RandomTest {
    AtsGuest *g;
    const RandomMode *mode;
    uint64_t frames;
    uint16_t next[2];
    GMutex lock;
    struct {
        unsigned frame;
        uint8_t perm;
    } present[PAGES];
    uint8_t allowed[PAGES][FRAMES];
    uint64_t accesses;
    bool stop;
} RandomTest;

static uint64_t iova_of(unsigned page)
{
    return BASE + page * SIZE_4K;
}

static unsigned rnd(unsigned n)
{
    return g_test_rand_int_range(0, n);
}

/* ---- The back-end ---- */

static void check_page(uint64_t iova, uint64_t gpa, bool writable, void *opaque)
{
    RandomTest *t = opaque;
    uint64_t frame = (gpa - t->frames) / SIZE_4K;
    uint8_t allowed;

    g_assert_cmpuint(frame, <, FRAMES);
    g_mutex_lock(&t->lock);
    allowed = t->allowed[(iova - BASE) / SIZE_4K][frame];
    t->accesses++;
    g_mutex_unlock(&t->lock);
    g_assert_cmphex(allowed & SS_R, ==, SS_R);
    if (writable) {
        g_assert_cmphex(allowed & SS_W, ==, SS_W);
    }
}

static void *access_pages(void *opaque)
{
    g_autoptr(GRand) rand = g_rand_new_with_seed(1);
    RandomTest *t = opaque;

    while (!qatomic_read(&t->stop)) {
        uint64_t iova = iova_of(g_rand_int_range(rand, 0, PAGES));

        if (qvhost_user_iotlb_has(t->g->be, iova)) {
            qvhost_user_iotlb_each_page(t->g->be, iova, iova + (SIZE_4K - 1),
                                        check_page, t);
        } else if (!g_rand_int_range(rand, 0, 4)) {
            qvhost_user_iotlb_miss(t->g->be, iova, g_rand_boolean(rand));
        }
        /* The emulator needs processors, too */
        g_usleep(50);
    }
    return NULL;
}

/* ---- The tables ---- */

/* What QEMU can read is allowed before it is in the tables */
static void set_page(RandomTest *t, unsigned page, unsigned frame, uint8_t perm)
{
    uint64_t gpa = t->frames + frame * SIZE_4K;

    g_mutex_lock(&t->lock);
    t->allowed[page][frame] |= perm;
    t->present[page].frame = frame;
    t->present[page].perm = perm;
    g_mutex_unlock(&t->lock);
    qvtd_map_entry(&t->g->vtd, t->g->sspt, 4, iova_of(page), SIZE_4K,
                   perm ? gpa | perm : 0, SS_RW);
}

static void change_page(RandomTest *t, unsigned page)
{
    static const uint8_t perms[] = { 0, 0, SS_R, SS_RW, SS_RW };

    set_page(t, page, rnd(FRAMES), perms[rnd(ARRAY_SIZE(perms))]);
}

static void queue_invalidation(RandomTest *t, unsigned page, unsigned order)
{
    QVtd *vtd = &t->g->vtd;
    uint64_t iova = iova_of(page);

    qvtd_queue(vtd, VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_PAGE |
               ATS_DOMAIN << 16, iova | order);
    if (t->mode->ats) {
        /* The lowest clear bit of the address encodes the size (6.5.2.5) */
        qvtd_queue(vtd, VTD_INV_DESC_DEVICE | (uint64_t)ATS_DEVICE << 32,
                   order ? iova | MAKE_64BIT_MASK(12, order - 1) | 1 : iova);
    }
}

/* The invalidation of these pages is complete */
static void forget(RandomTest *t, unsigned first, unsigned n)
{
    g_mutex_lock(&t->lock);
    for (unsigned page = first; page < first + n; page++) {
        memset(t->allowed[page], 0, FRAMES);
        t->allowed[page][t->present[page].frame] = t->present[page].perm;
    }
    g_mutex_unlock(&t->lock);
}

static void step_one(RandomTest *t)
{
    unsigned page = rnd(PAGES);

    change_page(t, page);
    queue_invalidation(t, page, 0);
    qvtd_wait(&t->g->vtd);
    forget(t, page, 1);
}

static void step_range(RandomTest *t)
{
    unsigned order = rnd(4);
    unsigned first = rnd(PAGES) & ~((1u << order) - 1);

    for (unsigned i = rnd(4); i > 0; i--) {
        change_page(t, first + rnd(1 << order));
    }
    queue_invalidation(t, first, order);
    qvtd_wait(&t->g->vtd);
    forget(t, first, 1 << order);
}

/* Several invalidations in one pass over the queue */
static void step_several(RandomTest *t)
{
    unsigned pages[6];

    for (int i = 0; i < ARRAY_SIZE(pages); i++) {
        pages[i] = rnd(PAGES);
        change_page(t, pages[i]);
        queue_invalidation(t, pages[i], 0);
    }
    qvtd_wait(&t->g->vtd);
    for (int i = 0; i < ARRAY_SIZE(pages); i++) {
        forget(t, pages[i], 1);
    }
}

/* As Linux does by default: many pages, and one invalidation for all */
static void step_lazy(RandomTest *t)
{
    for (int i = 0; i < 6; i++) {
        change_page(t, rnd(PAGES));
    }
    qvtd_queue(&t->g->vtd, VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_DOMAIN |
               ATS_DOMAIN << 16, 0);
    if (t->mode->ats) {
        qvtd_queue(&t->g->vtd, VTD_INV_DESC_DEVICE |
                   (uint64_t)ATS_DEVICE << 32, MAKE_64BIT_MASK(12, 51) | 1);
    }
    qvtd_wait(&t->g->vtd);
    forget(t, 0, PAGES);
}

/* Map an unmapped page, and invalidate only as caching mode requires */
static void step_map(RandomTest *t)
{
    unsigned page = rnd(PAGES);

    if (!t->present[page].perm) {
        set_page(t, page, rnd(FRAMES), SS_RW);
        if (t->mode->caching) {
            queue_invalidation(t, page, 0);
            qvtd_wait(&t->g->vtd);
            forget(t, page, 1);
        }
    }
}

/* ---- The rings ---- */

static uint64_t any_address(void)
{
    switch (rnd(16)) {
    case 0:
        return UINT64_MAX - rnd(SIZE_4K);
    case 1:
        return (uint64_t)g_test_rand_int() << 20;
    default:
        return BASE + rnd(PAGES * SIZE_4K);
    }
}

static uint32_t any_length(void)
{
    switch (rnd(16)) {
    case 0:
        return 0;
    case 1:
        return UINT32_MAX - rnd(2);
    default:
        return rnd(3 * SIZE_4K);
    }
}

static uint16_t any_flags(void)
{
    uint16_t flags = rnd(2) ? VRING_DESC_F_WRITE : 0;

    if (!rnd(4)) {
        flags |= VRING_DESC_F_NEXT;
    }
    if (!rnd(16)) {
        flags |= VRING_DESC_F_INDIRECT;
    }
    return flags;
}

static void write_desc(RandomTest *t, uint64_t addr, uint16_t low,
                       uint16_t high)
{
    QTestState *qts = t->g->qts;

    qtest_writeq(qts, addr, any_address());
    qtest_writel(qts, addr + 8, any_length());
    qtest_writew(qts, addr + 12, low);
    qtest_writew(qts, addr + 14, high);
}

static void post_split(RandomTest *t, QVirtQueue *vq, uint16_t *next)
{
    unsigned idx = rnd(vq->size);

    write_desc(t, vq->desc + idx * sizeof(struct vring_desc), any_flags(),
               rnd(vq->size));
    qtest_writew(t->g->qts, vq->avail + 4 + *next % vq->size * 2, idx);
    qtest_writew(t->g->qts, vq->avail + 2, ++*next);
    if (!rnd(8)) {
        qtest_writew(t->g->qts, vq->used + 2, *next);
    }
}

static void post_packed(RandomTest *t, QVirtQueue *vq, uint16_t *next)
{
    uint16_t wrap = *next / vq->size % 2 ? 1 << VRING_PACKED_DESC_F_USED :
                                           1 << VRING_PACKED_DESC_F_AVAIL;
    uint64_t desc = vq->desc + *next % vq->size *
                    sizeof(struct vring_packed_desc);

    write_desc(t, desc, rnd(vq->size), any_flags() | wrap);
    ++*next;
}

static void step_post(RandomTest *t)
{
    unsigned n = rnd(2);
    QVirtQueue *vq = t->g->vqs->pdata[n];

    for (unsigned i = 1 + rnd(4); i > 0; i--) {
        if (t->mode->packed) {
            post_packed(t, vq, &t->next[n]);
        } else {
            post_split(t, vq, &t->next[n]);
        }
    }
}

/* Anything anywhere in the rings */
static void step_lie(RandomTest *t)
{
    QVirtQueue *vq = t->g->vqs->pdata[rnd(2)];
    const uint64_t parts[] = { vq->desc, vq->avail, vq->used };

    qtest_writew(t->g->qts, parts[rnd(ARRAY_SIZE(parts))] + rnd(vq->size) * 2,
                 g_test_rand_int());
}

/* ---- The test ---- */

/* The rings are empty, and a packed one is all 0 (2.8) */
static void clear_rings(RandomTest *t)
{
    for (int n = 0; n < 2; n++) {
        QVirtQueue *vq = t->g->vqs->pdata[n];

        qtest_memset(t->g->qts, vq->desc, 0,
                     vq->size * sizeof(struct vring_desc));
    }
}

static void start(RandomTest *t)
{
    AtsGuest *g = g_new0(AtsGuest, 1);

    g->be = qvhost_user_iotlb_new(1, false);
    if (t->mode->packed) {
        qvhost_user_iotlb_add_features(g->be, 1ULL << VIRTIO_F_RING_PACKED);
        g->features = 1ULL << VIRTIO_F_RING_PACKED;
    }
    g->num_rings = 2;
    g->num_vqs = 2;
    ats_guest_boot(g, ats_start_net(g->be, 1, t->mode->iommu, t->mode->packed ?
                                    ",ats=on,packed=on" : ",ats=on"));
    ats_guest_setup_vtd(g, t->mode->ats);
    t->g = g;
    t->frames = guest_alloc(&g->alloc, FRAMES * SIZE_4K);
    g_mutex_init(&t->lock);
    ats_driver_start(g);
    clear_rings(t);
    if (t->mode->ats) {
        ats_set(g, true);
    }
}

static bool goes_on(gint64 end, unsigned step)
{
    return end ? g_get_monotonic_time() < end : step < STEPS;
}

static void test_random(gconstpointer opaque)
{
    static void (*const steps[])(RandomTest *t) = {
        step_one, step_one, step_range, step_several, step_lazy, step_map,
        step_map, step_post, step_post, step_post,
    };
    const char *seconds = getenv("IOTLB_TEST_SECONDS");
    gint64 end = seconds ? g_get_monotonic_time() +
                           atoi(seconds) * G_USEC_PER_SEC : 0;
    g_autofree RandomTest *t = g_new0(RandomTest, 1);
    GThread *backend;

    t->mode = opaque;
    start(t);
    backend = g_thread_new("access", access_pages, t);
    for (unsigned i = 0; goes_on(end, i); i++) {
        if (rnd(100)) {
            steps[rnd(ARRAY_SIZE(steps))](t);
        } else {
            step_lie(t);
        }
    }
    qatomic_set(&t->stop, true);
    g_thread_join(backend);
    g_assert_cmpuint(t->accesses, >, 0);
    g_test_message("%" PRIu64 " accesses", t->accesses);

    /* The emulator still works */
    set_page(t, 0, 0, SS_RW);
    queue_invalidation(t, 0, 0);
    qvtd_wait(&t->g->vtd);
    g_assert_cmphex(qvhost_user_iotlb_fetch(t->g->be, iova_of(0)), ==,
                    t->frames);
    g_mutex_clear(&t->lock);
    ats_guest_free(t->g);
}

int main(int argc, char **argv)
{
    static const RandomMode unmap = { "-device intel-iommu " };
    static const RandomMode packed = {
        "-device intel-iommu ", .packed = true
    };
    static const RandomMode caching = {
        "-device intel-iommu,caching-mode=on ", .caching = true
    };
    static const RandomMode ats = { ATS_VTD, .ats = true };
    static const RandomMode ats_packed = {
        ATS_VTD, .ats = true, .packed = true
    };

    g_test_init(&argc, &argv, NULL);

    qtest_add_data_func("/virtio-pci-ats/random/unmap", &unmap, test_random);
    qtest_add_data_func("/virtio-pci-ats/random/packed", &packed, test_random);
    qtest_add_data_func("/virtio-pci-ats/random/caching", &caching,
                        test_random);
    qtest_add_data_func("/virtio-pci-ats/random/ats", &ats, test_random);
    qtest_add_data_func("/virtio-pci-ats/random/ats-packed", &ats_packed,
                        test_random);

    return g_test_run();
}
