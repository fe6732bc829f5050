/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-pci's "ats" property: IOMMUs without device-TLBs
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * The test acts as the guest: it programs the ATS capability (PCIe 5.0,
 * 10.5.1) and the IOMMU. The device is a vhost-user device whose back-end is
 * part of the test, too, and caches translations; those that are left after an
 * invalidation show which invalidations reach the back-end.
 */

#include "qemu/osdep.h"
#include "hw/i386/amd_iommu.h"
#include "hw/i386/intel_iommu_internal.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_iommu.h"
#include "libqos/malloc-zeroed.h"
#include "virtio-pci-ats-common.h"

#define IOMMU_BDF   (5 << 3)

/* BARs on the root bus, and in the window of the root port */
#define ROOT_BARS   0xe0000000

/* Pages that are not adjacent, for invalidations that travel together */
#define BATCH(i)    (ATS_IOVA + (2 + 2 * (i)) * SIZE_4K)

/* IOMMUs without device-TLBs */

/* Table 28: device-selective invalidation of the context cache */
static void inv_context(AtsGuest *g)
{
    qvtd_submit(&g->vtd, VTD_INV_DESC_CC | VTD_INV_DESC_CC_DEVICE |
                         ATS_DOMAIN << 16 | (uint64_t)ATS_DEVICE << 32, 0);
}

/*
 * VT-d 4.2.3, LCT.5: while the context entry blocks translation requests (TT
 * is 00b), the device-TLB is empty, and the guest does not invalidate it,
 * whether ATS is enabled in the function or not.
 */
static void test_blocked(void)
{
    AtsGuest *g = ats_guest_new(ATS_VTD, 1);

    ats_guest_setup_vtd(g, false);
    ats_driver_start(g);
    ats_set(g, true);
    ats_check_unmap(g, true);
    ats_fetch(g);
    ats_unmap_pages(g);
    qvtd_inv_domain(&g->vtd, ATS_DOMAIN);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    ats_map_pages(g);

    /* Translations from before device-TLBs are permitted are dropped */
    ats_fetch(g);
    ats_unmap_pages(g);
    qvtd_attach(&g->vtd, ATS_DEVICE, ATS_DOMAIN, g->sspt, true);
    inv_context(g);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    ats_map_pages(g);
    ats_check(g, true);
    ats_fetch(g);
    ats_unmap_pages(g);
    qvtd_attach(&g->vtd, ATS_DEVICE, ATS_DOMAIN, g->sspt, false);
    qvtd_submit(&g->vtd, VTD_INV_DESC_CC | VTD_INV_DESC_CC_GLOBAL, 0);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    ats_map_pages(g);
    ats_check_unmap(g, true);
    ats_guest_free(g);
}

/* VT-d without ECAP_REG.DT: translation type 01b is reserved (9.3) */
static void test_fallback_vtd(void)
{
    AtsGuest *g = ats_guest_new("-device intel-iommu ", 1);

    ats_guest_setup_vtd(g, false);
    ats_driver_start(g);
    ats_check_unmap(g, true);
    ats_set(g, true);
    ats_check_unmap(g, true);
    ats_set(g, false);
    ats_check_unmap(g, true);

    ats_driver_forget(g);
    ats_set(g, true);
    ats_driver_start(g);
    ats_check_unmap(g, true);
    ats_guest_free(g);
}

#define AMDVI_DEVTAB_PAGES   4
#define AMDVI_CMDBUF_ENTRIES 256
#define AMDVI_RW             (AMDVI_DEV_PERM_READ | AMDVI_DEV_PERM_WRITE)
#define AMDVI_LEVELS         4
#define AMDVI_PTE_PRESENT    1

/*
 * AMD-Vi without device-TLB events.  Section numbers are those of the AMD I/O
 * Virtualization Technology specification, revision 3.
 */

typedef struct AmdVi {
    uint64_t cmdbuf;
    unsigned tail;
    uint64_t devtab;
    uint64_t pt;
} AmdVi;

static uint64_t zeroed_pages(AtsGuest *g, unsigned n)
{
    return guest_alloc_zeroed(&g->alloc, g->qts, n * SIZE_4K);
}

/* 2.2.3, I/O page tables: a 4 KiB page at level 1, 2 MiB at level 2 */
static void amdvi_set_entry(AtsGuest *g, AmdVi *vi, uint64_t iova,
                            uint64_t entry, int leaf)
{
    uint64_t table = vi->pt;
    int level;

    for (level = AMDVI_LEVELS; ; level--) {
        uint64_t addr = table + extract64(iova, 3 + 9 * level, 9) * 8;
        uint64_t pte = qtest_readq(g->qts, addr);

        if (level == leaf) {
            qtest_writeq(g->qts, addr, entry);
            return;
        }
        if (!pte) {
            pte = zeroed_pages(g, 1) | AMDVI_RW | AMDVI_PTE_PRESENT |
                  (uint64_t)(level - 1) << AMDVI_DEV_MODE_RSHIFT;
            qtest_writeq(g->qts, addr, pte);
        }
        table = pte & AMDVI_DEV_PT_ROOT_MASK;
    }
}

static void amdvi_map(AtsGuest *g, AmdVi *vi, uint64_t iova, uint64_t gpa,
                      int leaf)
{
    amdvi_set_entry(g, vi, iova, gpa | AMDVI_RW | AMDVI_PTE_PRESENT, leaf);
}

/* 2.2.2.1, device table entry */
static void amdvi_attach(AtsGuest *g, AmdVi *vi, uint16_t bdf, uint16_t domain)
{
    uint64_t dte = vi->devtab + bdf * AMDVI_DEVTAB_ENTRY_SIZE;

    qtest_writeq(g->qts, dte + 8, domain);
    qtest_writeq(g->qts, dte, vi->pt | AMDVI_DEV_VALID |
                 AMDVI_DEV_TRANSLATION_VALID | AMDVI_RW |
                 (uint64_t)AMDVI_LEVELS << AMDVI_DEV_MODE_RSHIFT);
}

static void amdvi_setup(AtsGuest *g, AmdVi *vi)
{
    uint64_t addr;

    *vi = (AmdVi) {
        .cmdbuf = zeroed_pages(g, 1),
        .devtab = zeroed_pages(g, AMDVI_DEVTAB_PAGES),
        .pt = zeroed_pages(g, 1),
    };
    for (addr = 0; addr < ATS_RAM_SIZE; addr += SIZE_2M) {
        amdvi_map(g, vi, addr, addr, 2);
    }
    amdvi_map(g, vi, ATS_IOVA, g->page, 1);
    amdvi_attach(g, vi, ATS_DEVICE, ATS_DOMAIN);

    /* 3.4.1: device table, command buffer of 2^8 entries, control */
    qtest_writeq(g->qts, AMDVI_BASE_ADDR + AMDVI_MMIO_DEVICE_TABLE,
                 vi->devtab | (AMDVI_DEVTAB_PAGES - 1));
    qtest_writeq(g->qts, AMDVI_BASE_ADDR + AMDVI_MMIO_COMMAND_BASE,
                 vi->cmdbuf | 8ULL << 56);
    qtest_writeq(g->qts, AMDVI_BASE_ADDR + AMDVI_MMIO_CONTROL,
                 AMDVI_MMIO_CONTROL_AMDVIEN | AMDVI_MMIO_CONTROL_CMDBUFLEN);
}

/* Append a command, without telling the IOMMU */
static void amdvi_put(AtsGuest *g, AmdVi *vi, uint64_t lo, uint64_t hi)
{
    uint64_t addr = vi->cmdbuf + vi->tail * AMDVI_COMMAND_SIZE;

    qtest_writeq(g->qts, addr, lo);
    qtest_writeq(g->qts, addr + 8, hi);
    vi->tail = (vi->tail + 1) % AMDVI_CMDBUF_ENTRIES;
}

static void amdvi_ring(AtsGuest *g, AmdVi *vi)
{
    qtest_writeq(g->qts, AMDVI_BASE_ADDR + AMDVI_MMIO_COMMAND_TAIL,
                 vi->tail * AMDVI_COMMAND_SIZE);
}

static void amdvi_command(AtsGuest *g, AmdVi *vi, uint64_t lo, uint64_t hi)
{
    amdvi_put(g, vi, lo, hi);
    amdvi_ring(g, vi);
}

/* 2.4.3 INVALIDATE_IOMMU_PAGES; @flags: S is bit 0 */
static void amdvi_inval_pages(AtsGuest *g, AmdVi *vi, uint16_t domain,
                              uint64_t addr, uint64_t flags)
{
    amdvi_command(g, vi, (uint64_t)AMDVI_CMD_INVAL_AMDVI_PAGES << 60 |
                  (uint64_t)domain << 32, addr | flags);
}

/*
 * Let the back-end have the page, and unmap it.  QEMU does not invalidate pages
 * that are still mapped.
 */
static void amdvi_fetch_and_unmap(AtsGuest *g, AmdVi *vi)
{
    amdvi_map(g, vi, ATS_IOVA, g->page, 1);
    ats_fetch(g);
    amdvi_set_entry(g, vi, ATS_IOVA, 0, 1);
}

static void check_amdvi(AtsGuest *g, AmdVi *vi)
{
    /* Another domain, another page */
    amdvi_fetch_and_unmap(g, vi);
    amdvi_inval_pages(g, vi, ATS_DOMAIN + 1, ATS_IOVA, 0);
    amdvi_inval_pages(g, vi, ATS_DOMAIN, ATS_IOVA + SIZE_4K, 0);
    g_assert_true(qvhost_user_iotlb_has(g->be, ATS_IOVA));

    amdvi_inval_pages(g, vi, ATS_DOMAIN, ATS_IOVA, 0);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));

    /* S: the lowest 0 bit of the page number encodes the size, here 16 KiB */
    amdvi_fetch_and_unmap(g, vi);
    amdvi_inval_pages(g, vi, ATS_DOMAIN, ATS_IOVA + 0x1000, 1);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    amdvi_fetch_and_unmap(g, vi);
    amdvi_inval_pages(g, vi, ATS_DOMAIN, ATS_IOVA + 0x4000 + 0x1000, 1);
    g_assert_true(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    amdvi_inval_pages(g, vi, ATS_DOMAIN, 0x7ffffffffffff000, 1);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));

    /* 2.4.2 INVALIDATE_DEVTAB_ENTRY, 2.4.8 INVALIDATE_IOMMU_ALL */
    amdvi_fetch_and_unmap(g, vi);
    amdvi_command(g, vi, (uint64_t)AMDVI_CMD_INVAL_DEVTAB_ENTRY << 60 |
                  (ATS_DEVICE + 1), 0);
    g_assert_true(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    amdvi_command(g, vi, (uint64_t)AMDVI_CMD_INVAL_DEVTAB_ENTRY << 60 |
                  ATS_DEVICE, 0);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    amdvi_fetch_and_unmap(g, vi);
    amdvi_command(g, vi, (uint64_t)AMDVI_CMD_INVAL_AMDVI_ALL << 60, 0);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));

    /* A page that is still mapped stays in the back-end */
    amdvi_map(g, vi, ATS_IOVA, g->page, 1);
    ats_fetch(g);
    amdvi_inval_pages(g, vi, ATS_DOMAIN, ATS_IOVA, 0);
    g_assert_true(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    /* Another page takes its place; the back-end never keeps the old one */
    amdvi_map(g, vi, ATS_IOVA, g->page + SIZE_4K, 1);
    amdvi_inval_pages(g, vi, ATS_DOMAIN, ATS_IOVA, 0);
    g_assert_cmphex(qvhost_user_iotlb_fetch(g->be, ATS_IOVA), ==,
                    g->page + SIZE_4K);
    amdvi_set_entry(g, vi, ATS_IOVA, 0, 1);
    amdvi_inval_pages(g, vi, ATS_DOMAIN, ATS_IOVA, 0);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));
}

static void test_fallback_amdvi(void)
{
    AtsGuest *g;
    AmdVi vi;

    if (!qtest_has_device("amd-iommu")) {
        g_test_skip("amd-iommu is not built in");
        return;
    }

    g = ats_guest_new("-device amd-iommu ", 1);
    amdvi_setup(g, &vi);
    ats_driver_start(g);
    check_amdvi(g, &vi);
    ats_set(g, true);
    check_amdvi(g, &vi);
    ats_set(g, false);
    check_amdvi(g, &vi);
    ats_guest_free(g);
}

static bool amdvi_empty(AtsGuest *g, AmdVi *vi)
{
    return qtest_readq(g->qts, AMDVI_BASE_ADDR + AMDVI_MMIO_COMMAND_HEAD) ==
           vi->tail * AMDVI_COMMAND_SIZE;
}

/*
 * A buffer full of INVALIDATE_IOMMU_PAGES, each of which may reach the
 * back-end: the write of the tail does not wait for all of them.  The emulator
 * goes on while the test looks, so that the test may have to look again.
 */
static void test_fallback_amdvi_slices(void)
{
    bool left = false;
    unsigned i;
    AmdVi vi;
    AtsGuest *g;

    if (!qtest_has_device("amd-iommu")) {
        g_test_skip("amd-iommu is not built in");
        return;
    }
    g = ats_guest_new("-device amd-iommu ", 1);
    amdvi_setup(g, &vi);
    ats_driver_start(g);
    amdvi_fetch_and_unmap(g, &vi);
    for (i = 0; i < AMDVI_CMDBUF_ENTRIES; i++) {
        amdvi_put(g, &vi, (uint64_t)AMDVI_CMD_INVAL_AMDVI_PAGES << 60 |
                  (uint64_t)ATS_DOMAIN << 32, ATS_IOVA);
    }
    for (i = 0; i < 1000 && !left; i++) {
        vi.tail = (vi.tail + AMDVI_CMDBUF_ENTRIES - 1) % AMDVI_CMDBUF_ENTRIES;
        amdvi_ring(g, &vi);
        left = !amdvi_empty(g, &vi);
        while (!amdvi_empty(g, &vi)) {
            g_usleep(100);
        }
    }
    g_assert_true(left);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    ats_guest_free(g);
}

/*
 * 2.4.1 COMPLETION_WAIT: the commands ahead of it are complete.  Those that
 * reach the back-end travel together.
 */
static void test_batch_amdvi(void)
{
    AtsGuest *g;
    int64_t before;
    AmdVi vi;

    if (!qtest_has_device("amd-iommu")) {
        g_test_skip("amd-iommu is not built in");
        return;
    }
    g = ats_guest_new("-device amd-iommu ", 1);
    amdvi_setup(g, &vi);
    amdvi_map(g, &vi, BATCH(0), g->page, 1);
    amdvi_map(g, &vi, BATCH(1), g->page, 1);
    ats_driver_start(g);
    for (unsigned i = 0; i < 2; i++) {
        qvhost_user_iotlb_fetch(g->be, BATCH(i));
        amdvi_set_entry(g, &vi, BATCH(i), 0, 1);
        amdvi_put(g, &vi, (uint64_t)AMDVI_CMD_INVAL_AMDVI_PAGES << 60 |
                  (uint64_t)ATS_DOMAIN << 32, BATCH(i));
    }
    qtest_writeq(g->qts, g->page, 0);
    amdvi_put(g, &vi, (uint64_t)AMDVI_CMD_COMPLETION_WAIT << 60 |
              g->page | 1, 0x5555);
    before = ats_round_trips(g);
    qvhost_user_iotlb_invalidations(g->be);
    qvhost_user_iotlb_watch(g->be, g->page);
    amdvi_ring(g, &vi);
    while (!amdvi_empty(g, &vi)) {
        g_usleep(100);
    }
    g_assert_cmphex(qtest_readq(g->qts, g->page), ==, 0x5555);
    g_assert_false(qvhost_user_iotlb_has(g->be, BATCH(0)));
    g_assert_false(qvhost_user_iotlb_has(g->be, BATCH(1)));
    g_assert_cmpuint(qvhost_user_iotlb_watched(g->be, 0), ==, 2);
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 2);
    g_assert_cmpint(ats_round_trips(g), ==, before + 1);
    ats_guest_free(g);
}

/* virtio-iommu: virtio 1.3, 5.13 */

typedef struct VirtioIommu {
    QVirtioPCIDevice *dev;
    QVirtQueue *vq;
    uint64_t buf;
} VirtioIommu;

/* Send a request of @size bytes without its tail; it must succeed */
static void viommu_request(AtsGuest *g, VirtioIommu *vi, void *req, size_t size)
{
    size_t tail = sizeof(struct virtio_iommu_req_tail);
    uint32_t head;

    qtest_memwrite(g->qts, vi->buf, req, size);
    qtest_memset(g->qts, vi->buf + size, 0xff, tail);
    head = qvirtqueue_add(g->qts, vi->vq, vi->buf, size, false, true);
    qvirtqueue_add(g->qts, vi->vq, vi->buf + size, tail, true, false);
    qvirtqueue_kick(g->qts, &vi->dev->vdev, vi->vq, head);
    qvirtio_wait_used_elem(g->qts, &vi->dev->vdev, vi->vq, head, NULL,
                           10 * G_USEC_PER_SEC);
    g_assert_cmphex(qtest_readb(g->qts, vi->buf + size), ==,
                    VIRTIO_IOMMU_S_OK);
}

/* @size: in bytes; 0 is 2^64 */
static void viommu_map(AtsGuest *g, VirtioIommu *vi, uint64_t start,
                       uint64_t gpa, uint64_t size)
{
    struct virtio_iommu_req_map req = {
        .head.type = VIRTIO_IOMMU_T_MAP,
        .domain = cpu_to_le32(ATS_DOMAIN),
        .virt_start = cpu_to_le64(start),
        .virt_end = cpu_to_le64(start + size - 1),
        .phys_start = cpu_to_le64(gpa),
        .flags = cpu_to_le32(VIRTIO_IOMMU_MAP_F_READ |
                             VIRTIO_IOMMU_MAP_F_WRITE),
    };

    viommu_request(g, vi, &req, offsetof(typeof(req), tail));
}

static void viommu_unmap(AtsGuest *g, VirtioIommu *vi, uint64_t start,
                         uint64_t size)
{
    struct virtio_iommu_req_unmap req = {
        .head.type = VIRTIO_IOMMU_T_UNMAP,
        .domain = cpu_to_le32(ATS_DOMAIN),
        .virt_start = cpu_to_le64(start),
        .virt_end = cpu_to_le64(start + size - 1),
    };

    viommu_request(g, vi, &req, offsetof(typeof(req), tail));
}

static void viommu_setup(AtsGuest *g, VirtioIommu *vi)
{
    QPCIAddress addr = { .devfn = IOMMU_BDF };
    struct virtio_iommu_req_attach req = {
        .head.type = VIRTIO_IOMMU_T_ATTACH,
        .domain = cpu_to_le32(ATS_DOMAIN),
        .endpoint = cpu_to_le32(ATS_DEVICE),
    };

    g->pci->mmio_alloc_ptr = ROOT_BARS;
    vi->dev = virtio_pci_new(g->pci, &addr);
    qvirtio_pci_device_enable(vi->dev);
    g->pci->mmio_alloc_ptr = ATS_PORT_BARS;
    qvirtio_start_device(&vi->dev->vdev);
    qvirtio_set_features(&vi->dev->vdev, 1ULL << VIRTIO_F_VERSION_1 |
                         1ULL << VIRTIO_IOMMU_F_MAP_UNMAP);
    vi->vq = qvirtqueue_setup(&vi->dev->vdev, &g->alloc, 0);
    qvirtio_set_driver_ok(&vi->dev->vdev);
    vi->buf = guest_alloc(&g->alloc, SIZE_4K);

    viommu_request(g, vi, &req, offsetof(typeof(req), tail));
}

static void viommu_free(AtsGuest *g, VirtioIommu *vi)
{
    qvirtqueue_cleanup(vi->dev->vdev.bus, vi->vq, &g->alloc);
    g_free(vi->dev->pdev);
    g_free(vi->dev);
}

static void check_viommu(AtsGuest *g, VirtioIommu *vi)
{
    ats_fetch(g);
    viommu_unmap(g, vi, ATS_IOVA, SIZE_4K);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    viommu_map(g, vi, ATS_IOVA, g->page, SIZE_4K);
}

static bool skip_viommu(void)
{
    if (qtest_has_device("virtio-iommu-pci")) {
        return false;
    }
    g_test_skip("virtio-iommu-pci is not built in");
    return true;
}

static AtsGuest *viommu_guest(VirtioIommu *vi)
{
    AtsGuest *g = ats_guest_new("-device virtio-iommu-pci,addr=5.0 ", 1);

    viommu_setup(g, vi);
    return g;
}

static void test_fallback_viommu(void)
{
    AtsGuest *g;
    VirtioIommu vi;

    if (skip_viommu()) {
        return;
    }

    g = viommu_guest(&vi);
    viommu_map(g, &vi, 0, 0, ATS_RAM_SIZE);
    viommu_map(g, &vi, ATS_IOVA, g->page, SIZE_4K);
    ats_driver_start(g);
    check_viommu(g, &vi);
    ats_set(g, true);
    check_viommu(g, &vi);
    ats_set(g, false);
    check_viommu(g, &vi);
    viommu_free(g, &vi);
    ats_guest_free(g);
}

/* Start a guest whose back-end holds the translations of so many pages */
static AtsGuest *viommu_guest_batch(VirtioIommu *vi, unsigned pages)
{
    AtsGuest *g = viommu_guest(vi);

    viommu_map(g, vi, 0, 0, ATS_RAM_SIZE);
    for (unsigned i = 0; i < pages; i++) {
        viommu_map(g, vi, BATCH(i), g->page, SIZE_4K);
    }
    ats_driver_start(g);
    for (unsigned i = 0; i < pages; i++) {
        qvhost_user_iotlb_fetch(g->be, BATCH(i));
    }
    return g;
}

/* 5.13.6.6: an unmap request may cover several mappings */
static void test_batch_viommu(void)
{
    AtsGuest *g;
    VirtioIommu vi;
    int64_t before;

    if (skip_viommu()) {
        return;
    }

    g = viommu_guest_batch(&vi, 2);
    before = ats_round_trips(g);
    qvhost_user_iotlb_invalidations(g->be);
    viommu_unmap(g, &vi, BATCH(0), BATCH(2) - BATCH(0));
    g_assert_false(qvhost_user_iotlb_has(g->be, BATCH(0)));
    g_assert_false(qvhost_user_iotlb_has(g->be, BATCH(1)));
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 2);
    g_assert_cmpint(ats_round_trips(g), ==, before + 1);
    viommu_free(g, &vi);
    ats_guest_free(g);
}

/* 2.4: a reset of the IOMMU removes all mappings, however many there are */
static void test_batch_viommu_reset(void)
{
    const unsigned pages = 8;
    AtsGuest *g;
    VirtioIommu vi;
    int64_t before;

    if (skip_viommu()) {
        return;
    }

    g = viommu_guest_batch(&vi, pages);
    before = ats_round_trips(g);
    qvirtio_reset(&vi.dev->vdev);
    for (unsigned i = 0; i < pages; i++) {
        g_assert_false(qvhost_user_iotlb_has(g->be, BATCH(i)));
    }
    g_assert_cmpint(ats_round_trips(g), ==, before + 1);
    viommu_free(g, &vi);
    ats_guest_free(g);
}

/*
 * 5.13.6.6: an unmap request may cover the whole 64-bit space, whose size does
 * not fit into an IOTLB message
 */
static void test_range_viommu_all(void)
{
    AtsGuest *g;
    VirtioIommu vi;

    if (skip_viommu()) {
        return;
    }

    g = viommu_guest(&vi);
    viommu_map(g, &vi, 0, 0, 0);
    ats_driver_start(g);
    g_assert_cmphex(qvhost_user_iotlb_fetch(g->be, g->page), ==, g->page);
    viommu_unmap(g, &vi, 0, 0);
    g_assert_false(qvhost_user_iotlb_has(g->be, g->page));
    viommu_free(g, &vi);
    ats_guest_free(g);
}

/*
 * A miss prefetches the buffers in the rings, and an invalidation drops only
 * what has been unmapped (docs/devel/vhost-user-iotlb.rst)
 */
static void test_prefetch_viommu(void)
{
    const uint64_t buffers = 0x50000000, other = 0x60000000;
    AtsGuest *g;
    VirtioIommu vi;
    QVirtQueue *rx;

    if (skip_viommu()) {
        return;
    }

    g = viommu_guest(&vi);
    viommu_map(g, &vi, 0, 0, ATS_RAM_SIZE);
    viommu_map(g, &vi, ATS_IOVA, g->page, SIZE_4K);
    viommu_map(g, &vi, other, g->page, SIZE_4K);
    for (int i = 0; i < 3; i++) {
        viommu_map(g, &vi, buffers + i * SIZE_2M,
                   guest_alloc(&g->alloc, SIZE_4K), SIZE_4K);
    }
    ats_driver_start(g);
    rx = g->vqs->pdata[0];
    for (int i = 0; i < 2; i++) {
        uint32_t head = qvirtqueue_add(g->qts, rx, buffers + i * SIZE_2M,
                                       SIZE_4K, true, false);

        qvirtqueue_kick(g->qts, &g->dev->vdev, rx, head);
    }
    ats_fetch(g);
    /* The answers to the second miss follow those to the first one. */
    g_assert_cmphex(qvhost_user_iotlb_fetch(g->be, other), ==, g->page);
    g_assert_true(qvhost_user_iotlb_has(g->be, buffers));
    g_assert_true(qvhost_user_iotlb_has(g->be, buffers + SIZE_2M));
    /* This buffer is in no ring. */
    g_assert_false(qvhost_user_iotlb_has(g->be, buffers + 2 * SIZE_2M));

    viommu_unmap(g, &vi, buffers, SIZE_4K);
    g_assert_false(qvhost_user_iotlb_has(g->be, buffers));
    g_assert_true(qvhost_user_iotlb_has(g->be, buffers + SIZE_2M));
    viommu_free(g, &vi);
    ats_guest_free(g);
}

/* No IOMMU: the back-end uses guest physical addresses and no IOTLB */
static void test_fallback_none(void)
{
    AtsGuest *g = ats_guest_new("", 1);

    ats_driver_start(g);
    ats_set(g, true);
    qvhost_user_iotlb_wait_rings(g->be, g->num_rings);
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 0);
    ats_set(g, false);
    ats_guest_free(g);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/virtio-pci-ats/range/virtio-iommu-all",
                   test_range_viommu_all);
    qtest_add_func("/virtio-pci-ats/blocked", test_blocked);
    qtest_add_func("/virtio-pci-ats/fallback/vtd", test_fallback_vtd);
    qtest_add_func("/virtio-pci-ats/fallback/amd-iommu", test_fallback_amdvi);
    qtest_add_func("/virtio-pci-ats/fallback/amd-iommu-slices",
                   test_fallback_amdvi_slices);
    qtest_add_func("/virtio-pci-ats/batch/amd-iommu", test_batch_amdvi);
    qtest_add_func("/virtio-pci-ats/fallback/virtio-iommu",
                   test_fallback_viommu);
    qtest_add_func("/virtio-pci-ats/batch/virtio-iommu", test_batch_viommu);
    qtest_add_func("/virtio-pci-ats/batch/virtio-iommu-reset",
                   test_batch_viommu_reset);
    qtest_add_func("/virtio-pci-ats/prefetch/virtio-iommu",
                   test_prefetch_viommu);
    qtest_add_func("/virtio-pci-ats/fallback/none", test_fallback_none);

    return g_test_run();
}
