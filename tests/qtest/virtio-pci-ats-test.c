/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-pci's "ats" property: the capability, and which invalidations
 * reach the back-end
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * The test acts as the guest: it programs the ATS capability (PCIe 5.0,
 * 10.5.1) and the IOMMU. The device is a vhost-user device whose back-end is
 * part of the test, too, and caches translations; those that are left after an
 * invalidation show which invalidations reach the back-end.
 */

#include "qemu/osdep.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/pci/pci_regs.h"
#include "virtio-pci-ats-common.h"

/* PCIe 5.0, 7.8.4.1: size of the AER capability of virtio-pci */
#define AER_SIZE    0x48

#define NEIGHBOUR_BDF (6 << 3)
#define PASID       5

#define VTD_PASIDS \
    "-device intel-iommu,device-iotlb=on,x-scalable-mode=on,x-flts=on," \
    "x-pasid-mode=on -device pci-ats-testdev,addr=6 "

/* The capability */

static QTestState *start_plain(const char *props)
{
    QTestState *qts = qtest_initf(ATS_MACHINE "-device virtio-net-pci,romfile=,"
                                  "disable-legacy=on,bus=rp0%s", props);

    ats_platform_setup(qts);
    return qts;
}

static uint32_t read_header(QTestState *qts, uint16_t pos)
{
    return qtest_readl(qts, ats_config(ATS_DEVICE, pos));
}

/* Without ats=on there is no extended capability */
static void test_caps_absent(void)
{
    QTestState *qts = start_plain("");

    g_assert_cmphex(qtest_readw(qts, ats_config(ATS_DEVICE, PCI_VENDOR_ID)), ==,
                    0x1af4);
    g_assert_cmphex(read_header(qts, PCI_CFG_SPACE_SIZE), ==, 0);
    qtest_quit(qts);
}

/*
 * PCIe 5.0, 10.5.1.1 and 10.5.1.2: id 000Fh, version 1; Invalidate Queue Depth
 * 0 means 32 requests; Page Aligned Request is bit 5. 10.5.1.3: the default
 * value of the control register is 0.
 */
static void test_caps_alone(void)
{
    QTestState *qts = start_plain(",ats=on");
    uint32_t header = read_header(qts, PCI_CFG_SPACE_SIZE);
    uint64_t cap = ats_config(ATS_DEVICE, PCI_CFG_SPACE_SIZE);

    g_assert_cmphex(PCI_EXT_CAP_ID(header), ==, PCI_EXT_CAP_ID_ATS);
    g_assert_cmpint(PCI_EXT_CAP_VER(header), ==, 1);
    g_assert_cmphex(PCI_EXT_CAP_NEXT(header), ==, 0);
    g_assert_cmphex(qtest_readw(qts, cap + PCI_ATS_CAP), ==,
                    PCI_ATS_CAP_PAGE_ALIGNED);
    g_assert_cmphex(qtest_readw(qts, cap + PCI_ATS_CTRL), ==, 0);
    qtest_quit(qts);
}

static void test_caps_not_aligned(void)
{
    QTestState *qts = start_plain(",ats=on,x-ats-page-aligned=off");
    uint16_t pos = qecam_ext_cap(qts, ATS_DEVICE, PCI_EXT_CAP_ID_ATS);

    g_assert_cmphex(qtest_readw(qts, ats_config(ATS_DEVICE, pos + PCI_ATS_CAP)),
                    ==, 0);
    qtest_quit(qts);
}

/* PCIe 5.0, 7.6.3: the chain starts at 100h, here with AER */
static void test_caps_after_aer(void)
{
    QTestState *qts = start_plain(",ats=on,aer=on");
    uint32_t header = read_header(qts, PCI_CFG_SPACE_SIZE);
    uint16_t pos = PCI_CFG_SPACE_SIZE + AER_SIZE;

    g_assert_cmphex(PCI_EXT_CAP_ID(header), ==, PCI_EXT_CAP_ID_ERR);
    g_assert_cmphex(PCI_EXT_CAP_NEXT(header), ==, pos);
    header = read_header(qts, pos);
    g_assert_cmphex(PCI_EXT_CAP_ID(header), ==, PCI_EXT_CAP_ID_ATS);
    g_assert_cmphex(PCI_EXT_CAP_NEXT(header), ==, 0);
    qtest_quit(qts);
}

/* Run QEMU with @args until it has started, and return its output on stderr */
static char *start_and_quit(const char *args)
{
    g_autofree char *path = NULL;
    char *said;
    int fd = g_file_open_tmp("qtest-stderr-XXXXXX", &path, NULL);
    int saved = dup(STDERR_FILENO);

    g_assert_cmpint(fd, >=, 0);
    g_assert_cmpint(dup2(fd, STDERR_FILENO), >=, 0);
    qtest_quit(qtest_init(args));
    g_assert_cmpint(dup2(saved, STDERR_FILENO), >=, 0);
    close(saved);
    close(fd);
    g_assert(g_file_get_contents(path, &said, NULL, NULL));
    unlink(path);
    return said;
}

/* A warning is printed if the bus has no extended configuration space */
static void test_caps_no_port(void)
{
    g_autofree char *bad =
        start_and_quit(ATS_MACHINE "-device virtio-net-pci,romfile=,ats=on");
    g_autofree char *off =
        start_and_quit(ATS_MACHINE "-device virtio-net-pci,romfile=");
    g_autofree char *good =
        start_and_quit(ATS_MACHINE "-device virtio-net-pci,romfile=,"
                       "bus=rp0,ats=on");

    g_assert_nonnull(strstr(bad, "ats=on has no effect"));
    g_assert_nonnull(strstr(bad, "pcie-root-port"));
    g_assert_null(strstr(off, "ats=on"));
    g_assert_null(strstr(good, "ats=on"));
}

/* PCIe 5.0, 10.5.1.3: STU is bits 4:0, Enable bit 15; 10.5.1.2: read-only */
static void test_ctrl_writable(void)
{
    QTestState *qts = start_plain(",ats=on");
    uint64_t cap = ats_config(ATS_DEVICE, PCI_CFG_SPACE_SIZE);

    qtest_writew(qts, cap + PCI_ATS_CTRL, 0xffff);
    g_assert_cmphex(qtest_readw(qts, cap + PCI_ATS_CTRL), ==, 0x801f);
    qtest_writew(qts, cap + PCI_ATS_CTRL, 0);
    g_assert_cmphex(qtest_readw(qts, cap + PCI_ATS_CTRL), ==, 0);

    qtest_writew(qts, cap + PCI_ATS_CAP, 0xffff);
    g_assert_cmphex(qtest_readw(qts, cap + PCI_ATS_CAP), ==,
                    PCI_ATS_CAP_PAGE_ALIGNED);
    qtest_quit(qts);
}

/* Accesses of all widths to the control register take effect in the back-end */

static void test_ctrl_disabled(void)
{
    AtsGuest *g = ats_guest_new_vtd(1);

    ats_check(g, false);
    ats_guest_free(g);
}

static void test_ctrl_word(void)
{
    AtsGuest *g = ats_guest_new_vtd(1);

    qtest_writew(g->qts, ats_ctrl(g), PCI_ATS_CTRL_ENABLE);
    ats_check(g, true);
    qtest_writew(g->qts, ats_ctrl(g), 0);
    ats_check(g, false);
    ats_guest_free(g);
}

static void test_ctrl_byte(void)
{
    AtsGuest *g = ats_guest_new_vtd(1);

    qtest_writeb(g->qts, ats_ctrl(g) + 1, PCI_ATS_CTRL_ENABLE >> 8);
    ats_check(g, true);
    qtest_writeb(g->qts, ats_ctrl(g), 0);
    ats_check(g, true);
    qtest_writeb(g->qts, ats_ctrl(g) + 1, 0);
    ats_check(g, false);
    ats_guest_free(g);
}

static void test_ctrl_dword(void)
{
    AtsGuest *g = ats_guest_new_vtd(1);
    uint64_t addr = ats_config(ATS_DEVICE, g->ats + PCI_ATS_CAP);

    qtest_writel(g->qts, addr, (uint32_t)PCI_ATS_CTRL_ENABLE << 16);
    ats_check(g, true);
    /* Bit 15 belongs to the capability register, and has no effect */
    qtest_writel(g->qts, addr, PCI_ATS_CTRL_ENABLE);
    ats_check(g, false);
    ats_guest_free(g);
}

static void test_ctrl_before_driver(void)
{
    AtsGuest *g = ats_guest_new(ATS_VTD, 1);

    ats_guest_setup_vtd(g, true);
    ats_set(g, true);
    ats_driver_start(g);
    ats_check(g, true);
    ats_guest_free(g);
}

/* Enabling and disabling flush the back-end */

static void check_flushed(AtsGuest *g, bool on)
{
    ats_fetch(g);
    qvhost_user_iotlb_fetch(g->be, ATS_IOVA_HIGH);
    ats_set(g, on);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA_HIGH));
    g_assert_false(qvhost_user_iotlb_has(g->be, 0));
}

static void test_switch_flush(void)
{
    AtsGuest *g = ats_guest_new_vtd(1);

    check_flushed(g, true);
    check_flushed(g, false);
    ats_guest_free(g);
}

/* A write without a change has no effect on the back-end */
static void test_switch_unchanged(void)
{
    AtsGuest *g = ats_guest_new_vtd(1);

    ats_set(g, true);
    ats_fetch(g);
    qvhost_user_iotlb_invalidations(g->be);
    ats_set(g, true);
    qtest_writew(g->qts, ats_ctrl(g), PCI_ATS_CTRL_ENABLE | 1);
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 0);
    g_assert_true(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    ats_guest_free(g);
}

/*
 * Each queue pair is a separate vhost device, which must have notifiers. Each
 * has at least cached the memory of its rings.
 */
static void check_pairs(bool ats)
{
    AtsGuest *g = ats_guest_new(ATS_VTD, 2);
    uint64_t addr;

    ats_guest_setup_vtd(g, true);
    ats_set(g, ats);
    ats_driver_start(g);
    for (addr = 0; addr < ATS_RAM_SIZE; addr += SIZE_2M) {
        qvtd_unmap(&g->vtd, g->sspt, addr);
    }

    qvhost_user_iotlb_invalidations(g->be);
    if (ats) {
        qvtd_inv_domain(&g->vtd, ATS_DOMAIN);
    } else {
        qvtd_inv_device_tlb(&g->vtd, ATS_DEVICE, ~0ULL << 12, true);
    }
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 0);
    if (ats) {
        qvtd_inv_device_tlb(&g->vtd, ATS_DEVICE, ~0ULL << 12, true);
    } else {
        qvtd_inv_domain(&g->vtd, ATS_DOMAIN);
    }
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 2);
    ats_guest_free(g);
}

static void test_switch_multiqueue(void)
{
    AtsGuest *g = ats_guest_new_vtd(2);

    ats_check(g, false);
    qvhost_user_iotlb_invalidations(g->be);
    ats_set(g, true);
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 2);
    ats_check(g, true);
    ats_guest_free(g);

    check_pairs(true);
    check_pairs(false);
}

/* vhost-user-blk has ATS, too */
static void test_switch_blk(void)
{
    AtsGuest *g = g_new0(AtsGuest, 1);

    g->be = qvhost_user_iotlb_new(1, true);
    g->num_rings = 1;
    g->num_vqs = 1;
    ats_guest_boot(g, qtest_initf(ATS_MACHINE ATS_VTD
                                  "-chardev socket,id=chr,path=%s "
                                  "-device vhost-user-blk-pci,bus=rp0,"
                                  "chardev=chr,num-queues=1,disable-legacy=on,"
                                  "iommu_platform=on,ats=on",
                                  qvhost_user_iotlb_path(g->be)));
    ats_guest_setup_vtd(g, true);
    ats_driver_start(g);
    ats_check(g, false);
    ats_set(g, true);
    ats_check(g, true);
    ats_set(g, false);
    ats_check(g, false);
    ats_guest_free(g);
}

/* Ranges of invalidations */

/*
 * VT-d 6.5.2.5: S and all address bits set mean the whole address space. The
 * part above the interrupt range ends with the last byte of the address space:
 * the back-end, which fails the test if iova + size wraps, must receive all of
 * it.
 */
static void test_range_device_tlb_all(void)
{
    AtsGuest *g = ats_guest_new_vtd(1);

    ats_set(g, true);
    ats_fetch(g);
    qvhost_user_iotlb_fetch(g->be, ATS_IOVA_HIGH);
    ats_unmap_pages(g);
    qvtd_inv_device_tlb(&g->vtd, ATS_DEVICE, ~0ULL << 12, true);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA_HIGH));
    ats_guest_free(g);
}

/* VT-d 6.5.2.3: domain-selective, and page-selective up to AM = MAMV */
static void test_range_unmap(void)
{
    AtsGuest *g = ats_guest_new_vtd(1);

    ats_fetch(g);
    qvhost_user_iotlb_fetch(g->be, ATS_IOVA_HIGH);
    ats_unmap_pages(g);
    qvtd_inv_domain(&g->vtd, ATS_DOMAIN);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA_HIGH));

    ats_map_pages(g);
    ats_fetch(g);
    ats_unmap_pages(g);
    qvtd_inv_pages(&g->vtd, ATS_DOMAIN, ATS_IOVA, 18);
    g_assert_false(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    ats_guest_free(g);
}

/*
 * An invalidation of pages that are still mapped drops nothing in the back-end
 */
static void test_range_unchanged(void)
{
    AtsGuest *g = ats_guest_new_vtd(1);

    ats_fetch(g);
    qvhost_user_iotlb_invalidations(g->be);
    qvtd_inv_domain(&g->vtd, ATS_DOMAIN);
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 0);
    g_assert_true(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    ats_guest_free(g);
}

/*
 * The same across the interrupt range, FEE00000h to FEEFFFFFh, which is not
 * translated (VT-d 3.14) and splits the address space
 */
static void test_range_unmap_interrupt(void)
{
    AtsGuest *g = ats_guest_new_vtd(1);
    const uint64_t below = 0xfedff000, above = 0xfef00000;

    qvtd_map(&g->vtd, g->sspt, below, g->page, SIZE_4K);
    qvtd_map(&g->vtd, g->sspt, above, g->page, SIZE_4K);
    qvhost_user_iotlb_fetch(g->be, below);
    qvhost_user_iotlb_fetch(g->be, above);
    qvtd_unmap(&g->vtd, g->sspt, below);
    qvtd_unmap(&g->vtd, g->sspt, above);
    qvtd_inv_pages(&g->vtd, ATS_DOMAIN, 0xc0000000, 18);
    g_assert_false(qvhost_user_iotlb_has(g->be, below));
    g_assert_false(qvhost_user_iotlb_has(g->be, above));
    ats_guest_free(g);
}

/* Scalable mode: another function uses PASIDs at the same time */

typedef struct Neighbour {
    QATD dev;
    uint64_t fspt;
    uint64_t frame[2];
    uint64_t invalidations;
} Neighbour;

static void guest_setup_scalable(AtsGuest *g, Neighbour *n)
{
    uint64_t dir;

    ats_guest_map_vtd(g);
    g->vtd.scalable = true;
    dir = qvtd_sm_attach(&g->vtd, ATS_DEVICE, VTD_SM_CONTEXT_ENTRY_DTE, 0);
    qvtd_sm_pasid(&g->vtd, dir, 0, g->sspt | VTD_SM_PASID_ENTRY_SLT |
                  VTD_PASID_ENTRY_P | 2 << 2, ATS_DOMAIN, 0);
    dir = qvtd_sm_attach(&g->vtd, NEIGHBOUR_BDF, VTD_SM_CONTEXT_ENTRY_DTE |
                         VTD_SM_CONTEXT_ENTRY_PASIDE, 0);
    n->fspt = qvtd_new_table(&g->vtd);
    qvtd_sm_pasid(&g->vtd, dir, PASID, VTD_SM_PASID_ENTRY_FLT |
                  VTD_PASID_ENTRY_P, ATS_DOMAIN | VTD_SM_PASID_ENTRY_PWSNP,
                  n->fspt);
    qvtd_enable(&g->vtd);
}

static void neighbour_map(AtsGuest *g, Neighbour *n, int frame)
{
    uint64_t bits = VTD_FL_P | VTD_FL_RW | VTD_FL_US;

    qvtd_map_entry(&g->vtd, n->fspt, 4, ATS_IOVA, SIZE_4K,
                   n->frame[frame] | bits, bits);
    qvtd_inv_pasid_pages(&g->vtd, ATS_DOMAIN, PASID, ATS_IOVA, 0);
}

static void neighbour_start(AtsGuest *g, Neighbour *n)
{
    qatd_init(&n->dev, g->qts, NEIGHBOUR_BDF, 0);
    qatd_enable_all(&n->dev, 32);
    n->frame[0] = qvtd_new_table(&g->vtd);
    n->frame[1] = qvtd_new_table(&g->vtd);
    neighbour_map(g, n, 0);
    g_assert_cmpint(qatd_command(&n->dev, ATD_CMD_REGISTER_IOTLB, PASID, 0, 0,
                                 0), ==, 0);
    qtest_memset(g->qts, n->dev.data, 0x11, SIZE_4K);
}

/* Keep a thread of the neighbour writing through its ATC */
static void neighbour_work(Neighbour *n)
{
    if (!qatd_read(&n->dev, ATD_BUSY)) {
        g_assert_cmpint(qatd_read(&n->dev, ATD_RETURN), ==, 0);
        qatd_start(&n->dev, ATD_CMD_SVM_WRITE, PASID, ATS_IOVA, SIZE_4K,
                   ATD_FLAG_THREAD);
    }
}

static void check_neighbour(Neighbour *n, unsigned more)
{
    n->invalidations += more;
    g_assert_cmpuint(qatd_read(&n->dev, ATD_INV_COUNT), ==, n->invalidations);
}

/* 6.5.2.5: invalidate only the vhost device */
static void check_vhost_only(AtsGuest *g, Neighbour *n)
{
    neighbour_work(n);
    ats_check_device_tlb(g, true);
    check_neighbour(n, 0);
}

/* 6.5.2.5, 6.5.2.6: invalidate only the neighbour, with each descriptor */
static void check_neighbour_only(AtsGuest *g, Neighbour *n, int kind)
{
    uint64_t lo = VTD_INV_DESC_DEV_PIOTLB | NEIGHBOUR_BDF << 16;

    ats_fetch(g);
    qvhost_user_iotlb_invalidations(g->be);
    neighbour_work(n);
    switch (kind) {
    case 0:
        qvtd_submit(&g->vtd, lo | (uint64_t)PASID << 32, ATS_IOVA);
        break;
    case 1:
        qvtd_submit(&g->vtd, lo, ATS_IOVA | 1);
        break;
    default:
        qvtd_inv_device_tlb(&g->vtd, NEIGHBOUR_BDF, ATS_IOVA, false);
        break;
    }
    check_neighbour(n, 1);
    g_assert_true(qvhost_user_iotlb_has(g->be, ATS_IOVA));
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 0);
}

static void test_function_with_pasids(void)
{
    AtsGuest *g = ats_guest_new(VTD_PASIDS, 1);
    Neighbour n = { };
    int i;

    guest_setup_scalable(g, &n);
    neighbour_start(g, &n);
    ats_driver_start(g);
    ats_set(g, true);
    for (i = 0; i < 60; i++) {
        int old = i % 2;

        neighbour_map(g, &n, !old);
        check_neighbour_only(g, &n, i % 3);
        /* No thread writes to the old page any more */
        qtest_writel(g->qts, n.frame[old], 0xa5a5a5a5);
        check_vhost_only(g, &n);
        neighbour_work(&n);
        g_assert_cmphex(qtest_readl(g->qts, n.frame[old]), ==, 0xa5a5a5a5);
    }
    g_assert_cmpint(qatd_wait(&n.dev), ==, 0);
    g_assert_cmpint(qatd_command(&n.dev, ATD_CMD_SVM_WRITE, PASID, ATS_IOVA,
                                 SIZE_4K, 0), ==, 0);
    g_assert_cmphex(qtest_readl(g->qts, n.frame[0]), ==, 0x11111111);
    ats_guest_free(g);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);

    qtest_add_func("/virtio-pci-ats/caps/absent", test_caps_absent);
    qtest_add_func("/virtio-pci-ats/caps/alone", test_caps_alone);
    qtest_add_func("/virtio-pci-ats/caps/not-aligned", test_caps_not_aligned);
    qtest_add_func("/virtio-pci-ats/caps/after-aer", test_caps_after_aer);
    qtest_add_func("/virtio-pci-ats/caps/no-port", test_caps_no_port);
    qtest_add_func("/virtio-pci-ats/ctrl/writable", test_ctrl_writable);
    qtest_add_func("/virtio-pci-ats/ctrl/disabled", test_ctrl_disabled);
    qtest_add_func("/virtio-pci-ats/ctrl/word", test_ctrl_word);
    qtest_add_func("/virtio-pci-ats/ctrl/byte", test_ctrl_byte);
    qtest_add_func("/virtio-pci-ats/ctrl/dword", test_ctrl_dword);
    qtest_add_func("/virtio-pci-ats/ctrl/before-driver",
                   test_ctrl_before_driver);
    qtest_add_func("/virtio-pci-ats/switch/flush", test_switch_flush);
    qtest_add_func("/virtio-pci-ats/switch/unchanged", test_switch_unchanged);
    qtest_add_func("/virtio-pci-ats/switch/multiqueue",
                   test_switch_multiqueue);
    qtest_add_func("/virtio-pci-ats/switch/vhost-user-blk", test_switch_blk);
    qtest_add_func("/virtio-pci-ats/range/device-tlb-all",
                   test_range_device_tlb_all);
    qtest_add_func("/virtio-pci-ats/range/unmap", test_range_unmap);
    qtest_add_func("/virtio-pci-ats/range/unmap-interrupt",
                   test_range_unmap_interrupt);
    qtest_add_func("/virtio-pci-ats/range/unchanged",
                   test_range_unchanged);
    qtest_add_func("/virtio-pci-ats/function-with-pasids",
                   test_function_with_pasids);

    return g_test_run();
}
