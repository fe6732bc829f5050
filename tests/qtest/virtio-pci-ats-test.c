/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTest of virtio-pci's "ats" property
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * The test acts as the guest: it programs the ATS capability (PCIe 5.0,
 * 10.5.1) and the IOMMU. The device is a vhost-user device whose back-end is
 * part of the test, too, and caches translations; those that are left after an
 * invalidation show which invalidations reach the back-end.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "qemu/units.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "hw/i386/amd_iommu.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/pci/pci_regs.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_iommu.h"
#include "standard-headers/linux/virtio_net.h"
#include "libqos/malloc-pc.h"
#include "libqos/malloc-zeroed.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/pci-pc.h"
#include "libqos/vhost-user-iotlb.h"
#include "libqos/virtio-pci.h"
#include "libqos/vtd.h"

#define HOST_BRIDGE_PCIEXBAR 0x60
#define ECAM_BASE   0xb0000000ULL
#define ECAM_ENABLE 1

#define PORT_BDF    (4 << 3)
#define DEVICE_BDF  0x100
#define IOMMU_BDF   (5 << 3)
#define NEIGHBOUR_BDF (6 << 3)
#define PASID       5

/* BARs on the root bus, and in the window of the root port */
#define ROOT_BARS   0xe0000000
#define PORT_BARS   0xe1000000

/* PCIe 5.0, 7.8.4.1: size of the AER capability of virtio-pci */
#define AER_SIZE    0x48

#define RAM_SIZE    (64 * MiB)
#define SIZE_4K     0x1000
#define SIZE_2M     0x200000
#define DOMAIN      1

/* Two pages that the driver uses, below and above 4 GiB */
#define IOVA        0x40000000ULL
#define IOVA_HIGH   0x140000000ULL

#define MACHINE \
    "-M q35,memory-backend=mem -m 64 -nodefaults " \
    "-object memory-backend-memfd,id=mem,size=64M,share=on " \
    "-global ICH9-LPC.acpi-pci-hotplug-with-bridge-support=off " \
    "-device pcie-root-port,id=rp0,bus=pcie.0,chassis=1,addr=4.0 "

#define VTD_ATS     "-device intel-iommu,device-iotlb=on "
#define VTD_PASIDS \
    "-device intel-iommu,device-iotlb=on,x-scalable-mode=on,x-flts=on," \
    "x-pasid-mode=on -device pci-ats-testdev,addr=6 "
#define NET \
    "-device virtio-net-pci,id=dev,bus=rp0,netdev=net,romfile=," \
    "disable-legacy=on,iommu_platform=on"

typedef struct Guest {
    QTestState *qts;
    QGuestAllocator alloc;
    QPCIBus *pci;
    QVhostUserIotlb *be;
    QVtd vtd;
    uint64_t sspt;
    uint64_t page;
    QVirtioPCIDevice *dev;
    GPtrArray *vqs;
    unsigned num_vqs;
    unsigned num_rings;
    uint16_t ats;
} Guest;

/* Configuration space */

static uint64_t config(uint16_t bdf, uint16_t offset)
{
    return ECAM_BASE + ((uint64_t)bdf << 12) + offset;
}

/* Set up MMCONFIG, and bus 1 behind the root port, as firmware does */
static void platform_setup(QTestState *qts)
{
    qtest_outl(qts, 0xcf8, (1U << 31) | HOST_BRIDGE_PCIEXBAR);
    qtest_outl(qts, 0xcfc, ECAM_BASE | ECAM_ENABLE);

    qtest_writel(qts, config(PORT_BDF, PCI_PRIMARY_BUS), 0x010100);
    qtest_writel(qts, config(PORT_BDF, PCI_MEMORY_BASE), 0xe1f0e100);
    qtest_writel(qts, config(PORT_BDF, PCI_PREF_MEMORY_BASE), 0x0000fff0);
    qtest_writew(qts, config(PORT_BDF, PCI_COMMAND),
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

static uint16_t find_ext_cap(QTestState *qts, uint16_t bdf, uint16_t id)
{
    uint16_t pos = PCI_CFG_SPACE_SIZE;

    while (pos) {
        uint32_t header = qtest_readl(qts, config(bdf, pos));

        if (header && header != UINT32_MAX && PCI_EXT_CAP_ID(header) == id) {
            return pos;
        }
        pos = header == UINT32_MAX ? 0 : PCI_EXT_CAP_NEXT(header);
    }
    return 0;
}

static uint8_t find_cap(QTestState *qts, uint16_t bdf, uint8_t id)
{
    uint8_t pos = qtest_readb(qts, config(bdf, PCI_CAPABILITY_LIST));

    while (pos && qtest_readb(qts, config(bdf, pos)) != id) {
        pos = qtest_readb(qts, config(bdf, pos + PCI_CAP_LIST_NEXT));
    }
    return pos;
}

static uint64_t ats_ctrl(Guest *g)
{
    return config(DEVICE_BDF, g->ats + PCI_ATS_CTRL);
}

static void set_ats(Guest *g, bool on)
{
    qtest_writew(g->qts, ats_ctrl(g), on ? PCI_ATS_CTRL_ENABLE : 0);
}

/* The driver of the device */

static void driver_start(Guest *g)
{
    QPCIAddress addr = { .devfn = DEVICE_BDF };
    uint64_t features = 1ULL << VIRTIO_F_VERSION_1 |
                        1ULL << VIRTIO_F_IOMMU_PLATFORM;
    QVirtioDevice *vdev;
    unsigned i;

    if (g->num_vqs > 2) {
        features |= 1ULL << VIRTIO_NET_F_MQ | 1ULL << VIRTIO_NET_F_CTRL_VQ;
    }

    g->dev = virtio_pci_new(g->pci, &addr);
    g_assert_nonnull(g->dev);
    vdev = &g->dev->vdev;
    qvirtio_pci_device_enable(g->dev);
    qvirtio_start_device(vdev);
    g_assert_cmphex(qvirtio_get_features(vdev) & features, ==, features);
    qvirtio_set_features(vdev, features);

    g->vqs = g_ptr_array_new();
    for (i = 0; i < g->num_vqs; i++) {
        g_ptr_array_add(g->vqs, qvirtqueue_setup(vdev, &g->alloc, i));
    }
    qvirtio_set_driver_ok(vdev);
    qvhost_user_iotlb_wait_rings(g->be, g->num_rings);
}

/* Release the driver of a device that has been reset or unplugged */
static void driver_forget(Guest *g)
{
    unsigned i;

    for (i = 0; i < g->vqs->len; i++) {
        qvirtqueue_cleanup(g->dev->vdev.bus, g->vqs->pdata[i], &g->alloc);
    }
    g_ptr_array_unref(g->vqs);
    g->vqs = NULL;
    g_free(g->dev->pdev);
    g_free(g->dev);
    g->dev = NULL;
}

/* The guest */

static void guest_boot(Guest *g, QTestState *qts)
{
    g->qts = qts;
    pc_alloc_init(&g->alloc, qts, ALLOC_NO_FLAGS);
    g->pci = qpci_new_pc(qts, &g->alloc);
    g->pci->mmio_alloc_ptr = PORT_BARS;
    platform_setup(qts);
    g->ats = find_ext_cap(qts, DEVICE_BDF, PCI_EXT_CAP_ID_ATS);
    g_assert_cmphex(g->ats, !=, 0);
    g->page = guest_alloc(&g->alloc, SIZE_4K);
}

/* VT-d: map RAM one to one, and the two pages of the driver */
static void guest_map_vtd(Guest *g)
{
    uint64_t addr;

    qvtd_init(&g->vtd, g->qts, &g->alloc);
    g->sspt = qvtd_new_table(&g->vtd);
    for (addr = 0; addr < RAM_SIZE; addr += SIZE_2M) {
        qvtd_map(&g->vtd, g->sspt, addr, addr, SIZE_2M);
    }
    qvtd_map(&g->vtd, g->sspt, IOVA, g->page, SIZE_4K);
    qvtd_map(&g->vtd, g->sspt, IOVA_HIGH, g->page, SIZE_4K);
}

static void guest_setup_vtd(Guest *g, bool device_tlb)
{
    guest_map_vtd(g);
    qvtd_attach(&g->vtd, DEVICE_BDF, DOMAIN, g->sspt, device_tlb);
    qvtd_enable(&g->vtd);
}

static char *net_backend_args(QVhostUserIotlb *be, unsigned queue_pairs)
{
    return g_strdup_printf("-chardev socket,id=chr,path=%s "
                           "-netdev vhost-user,id=net,chardev=chr,queues=%u ",
                           qvhost_user_iotlb_path(be), queue_pairs);
}

static QTestState *start_net(QVhostUserIotlb *be, unsigned queue_pairs,
                             const char *iommu, const char *props)
{
    g_autofree char *backend = net_backend_args(be, queue_pairs);

    return qtest_initf(MACHINE "%s %s " NET "%s", iommu, backend, props);
}

/* Start a guest with a vhost-user network device that has ats=on */
static Guest *guest_new(const char *iommu, unsigned queue_pairs)
{
    Guest *g = g_new0(Guest, 1);

    g->be = qvhost_user_iotlb_new(queue_pairs, false);
    /* All pairs are set up; a control command enables the others */
    g->num_rings = 2;
    g->num_vqs = queue_pairs * 2 + (queue_pairs > 1);
    guest_boot(g, start_net(g->be, queue_pairs, iommu, queue_pairs > 1 ?
                            ",ats=on,mq=on" : ",ats=on"));
    return g;
}

static Guest *guest_new_vtd(unsigned queue_pairs)
{
    Guest *g = guest_new(VTD_ATS, queue_pairs);

    guest_setup_vtd(g, true);
    driver_start(g);
    return g;
}

static void guest_free_all(Guest *g)
{
    if (g->dev) {
        driver_forget(g);
    }
    qpci_free_pc(g->pci);
    alloc_destroy(&g->alloc);
    qtest_quit(g->qts);
    qvhost_user_iotlb_free(g->be);
    g_free(g);
}

/* Invalidations that reach the back-end */

static void fetch(Guest *g)
{
    g_assert_cmphex(qvhost_user_iotlb_fetch(g->be, IOVA), ==, g->page);
}

/* Unmap the pages of the driver: the back-end must only drop unmapped pages */
static void unmap_pages(Guest *g)
{
    qvtd_unmap(&g->vtd, g->sspt, IOVA);
    qvtd_unmap(&g->vtd, g->sspt, IOVA_HIGH);
}

static void map_pages(Guest *g)
{
    qvtd_map(&g->vtd, g->sspt, IOVA, g->page, SIZE_4K);
    qvtd_map(&g->vtd, g->sspt, IOVA_HIGH, g->page, SIZE_4K);
}

static void check_unmap(Guest *g, bool drops)
{
    fetch(g);
    unmap_pages(g);
    qvtd_inv_pages(&g->vtd, DOMAIN, IOVA, 0);
    g_assert_cmpint(qvhost_user_iotlb_has(g->be, IOVA), ==, !drops);
    map_pages(g);
}

static void check_device_tlb(Guest *g, bool drops)
{
    fetch(g);
    unmap_pages(g);
    qvtd_inv_device_tlb(&g->vtd, DEVICE_BDF, IOVA, false);
    g_assert_cmpint(qvhost_user_iotlb_has(g->be, IOVA), ==, !drops);
    map_pages(g);
}

/*
 * VT-d 6.5.2.3 and 6.5.2.5: an IOTLB invalidation does not affect device-TLBs,
 * and a device-TLB invalidation only affects these.
 */
static void check_ats(Guest *g, bool on)
{
    check_unmap(g, !on);
    check_device_tlb(g, on);
}

/* The capability */

static QTestState *start_plain(const char *props)
{
    QTestState *qts = qtest_initf(MACHINE "-device virtio-net-pci,romfile=,"
                                  "disable-legacy=on,bus=rp0%s", props);

    platform_setup(qts);
    return qts;
}

static uint32_t read_header(QTestState *qts, uint16_t pos)
{
    return qtest_readl(qts, config(DEVICE_BDF, pos));
}

/* Without ats=on there is no extended capability */
static void test_caps_absent(void)
{
    QTestState *qts = start_plain("");

    g_assert_cmphex(qtest_readw(qts, config(DEVICE_BDF, PCI_VENDOR_ID)), ==,
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
    uint64_t cap = config(DEVICE_BDF, PCI_CFG_SPACE_SIZE);

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
    uint16_t pos = find_ext_cap(qts, DEVICE_BDF, PCI_EXT_CAP_ID_ATS);

    g_assert_cmphex(qtest_readw(qts, config(DEVICE_BDF, pos + PCI_ATS_CAP)),
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
        start_and_quit(MACHINE "-device virtio-net-pci,romfile=,ats=on");
    g_autofree char *off =
        start_and_quit(MACHINE "-device virtio-net-pci,romfile=");
    g_autofree char *good =
        start_and_quit(MACHINE "-device virtio-net-pci,romfile=,"
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
    uint64_t cap = config(DEVICE_BDF, PCI_CFG_SPACE_SIZE);

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
    Guest *g = guest_new_vtd(1);

    check_ats(g, false);
    guest_free_all(g);
}

static void test_ctrl_word(void)
{
    Guest *g = guest_new_vtd(1);

    qtest_writew(g->qts, ats_ctrl(g), PCI_ATS_CTRL_ENABLE);
    check_ats(g, true);
    qtest_writew(g->qts, ats_ctrl(g), 0);
    check_ats(g, false);
    guest_free_all(g);
}

static void test_ctrl_byte(void)
{
    Guest *g = guest_new_vtd(1);

    qtest_writeb(g->qts, ats_ctrl(g) + 1, PCI_ATS_CTRL_ENABLE >> 8);
    check_ats(g, true);
    qtest_writeb(g->qts, ats_ctrl(g), 0);
    check_ats(g, true);
    qtest_writeb(g->qts, ats_ctrl(g) + 1, 0);
    check_ats(g, false);
    guest_free_all(g);
}

static void test_ctrl_dword(void)
{
    Guest *g = guest_new_vtd(1);
    uint64_t addr = config(DEVICE_BDF, g->ats + PCI_ATS_CAP);

    qtest_writel(g->qts, addr, (uint32_t)PCI_ATS_CTRL_ENABLE << 16);
    check_ats(g, true);
    /* Bit 15 belongs to the capability register, and has no effect */
    qtest_writel(g->qts, addr, PCI_ATS_CTRL_ENABLE);
    check_ats(g, false);
    guest_free_all(g);
}

static void test_ctrl_before_driver(void)
{
    Guest *g = guest_new(VTD_ATS, 1);

    guest_setup_vtd(g, true);
    set_ats(g, true);
    driver_start(g);
    check_ats(g, true);
    guest_free_all(g);
}

/* Enabling and disabling flush the back-end */

static void check_flushed(Guest *g, bool on)
{
    fetch(g);
    qvhost_user_iotlb_fetch(g->be, IOVA_HIGH);
    set_ats(g, on);
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA));
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA_HIGH));
    g_assert_false(qvhost_user_iotlb_has(g->be, 0));
}

static void test_switch_flush(void)
{
    Guest *g = guest_new_vtd(1);

    check_flushed(g, true);
    check_flushed(g, false);
    guest_free_all(g);
}

/* A write without a change has no effect on the back-end */
static void test_switch_unchanged(void)
{
    Guest *g = guest_new_vtd(1);

    set_ats(g, true);
    fetch(g);
    qvhost_user_iotlb_invalidations(g->be);
    set_ats(g, true);
    qtest_writew(g->qts, ats_ctrl(g), PCI_ATS_CTRL_ENABLE | 1);
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 0);
    g_assert_true(qvhost_user_iotlb_has(g->be, IOVA));
    guest_free_all(g);
}

/*
 * Each queue pair is a separate vhost device, which must have notifiers. Each
 * has at least cached the memory of its rings.
 */
static void check_pairs(bool ats)
{
    Guest *g = guest_new(VTD_ATS, 2);
    uint64_t addr;

    guest_setup_vtd(g, true);
    set_ats(g, ats);
    driver_start(g);
    for (addr = 0; addr < RAM_SIZE; addr += SIZE_2M) {
        qvtd_unmap(&g->vtd, g->sspt, addr);
    }

    qvhost_user_iotlb_invalidations(g->be);
    if (ats) {
        qvtd_inv_domain(&g->vtd, DOMAIN);
    } else {
        qvtd_inv_device_tlb(&g->vtd, DEVICE_BDF, ~0ULL << 12, true);
    }
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 0);
    if (ats) {
        qvtd_inv_device_tlb(&g->vtd, DEVICE_BDF, ~0ULL << 12, true);
    } else {
        qvtd_inv_domain(&g->vtd, DOMAIN);
    }
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 2);
    guest_free_all(g);
}

static void test_switch_multiqueue(void)
{
    Guest *g = guest_new_vtd(2);

    check_ats(g, false);
    qvhost_user_iotlb_invalidations(g->be);
    set_ats(g, true);
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 2);
    check_ats(g, true);
    guest_free_all(g);

    check_pairs(true);
    check_pairs(false);
}

/* vhost-user-blk has ATS, too */
static void test_switch_blk(void)
{
    Guest *g = g_new0(Guest, 1);

    g->be = qvhost_user_iotlb_new(1, true);
    g->num_rings = 1;
    g->num_vqs = 1;
    guest_boot(g, qtest_initf(MACHINE VTD_ATS
                              "-chardev socket,id=chr,path=%s "
                              "-device vhost-user-blk-pci,bus=rp0,chardev=chr,"
                              "num-queues=1,disable-legacy=on,"
                              "iommu_platform=on,ats=on",
                              qvhost_user_iotlb_path(g->be)));
    guest_setup_vtd(g, true);
    driver_start(g);
    check_ats(g, false);
    set_ats(g, true);
    check_ats(g, true);
    set_ats(g, false);
    check_ats(g, false);
    guest_free_all(g);
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
    Guest *g = guest_new_vtd(1);

    set_ats(g, true);
    fetch(g);
    qvhost_user_iotlb_fetch(g->be, IOVA_HIGH);
    unmap_pages(g);
    qvtd_inv_device_tlb(&g->vtd, DEVICE_BDF, ~0ULL << 12, true);
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA));
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA_HIGH));
    guest_free_all(g);
}

/* VT-d 6.5.2.3: domain-selective, and page-selective up to AM = MAMV */
static void test_range_unmap(void)
{
    Guest *g = guest_new_vtd(1);

    fetch(g);
    qvhost_user_iotlb_fetch(g->be, IOVA_HIGH);
    unmap_pages(g);
    qvtd_inv_domain(&g->vtd, DOMAIN);
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA));
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA_HIGH));

    map_pages(g);
    fetch(g);
    unmap_pages(g);
    qvtd_inv_pages(&g->vtd, DOMAIN, IOVA, 18);
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA));
    guest_free_all(g);
}

/*
 * An invalidation of pages that are still mapped drops nothing in the back-end
 */
static void test_range_unchanged(void)
{
    Guest *g = guest_new_vtd(1);

    fetch(g);
    qvhost_user_iotlb_invalidations(g->be);
    qvtd_inv_domain(&g->vtd, DOMAIN);
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 0);
    g_assert_true(qvhost_user_iotlb_has(g->be, IOVA));
    guest_free_all(g);
}

/*
 * The same across the interrupt range, FEE00000h to FEEFFFFFh, which is not
 * translated (VT-d 3.14) and splits the address space
 */
static void test_range_unmap_interrupt(void)
{
    Guest *g = guest_new_vtd(1);
    const uint64_t below = 0xfedff000, above = 0xfef00000;

    qvtd_map(&g->vtd, g->sspt, below, g->page, SIZE_4K);
    qvtd_map(&g->vtd, g->sspt, above, g->page, SIZE_4K);
    qvhost_user_iotlb_fetch(g->be, below);
    qvhost_user_iotlb_fetch(g->be, above);
    qvtd_unmap(&g->vtd, g->sspt, below);
    qvtd_unmap(&g->vtd, g->sspt, above);
    qvtd_inv_pages(&g->vtd, DOMAIN, 0xc0000000, 18);
    g_assert_false(qvhost_user_iotlb_has(g->be, below));
    g_assert_false(qvhost_user_iotlb_has(g->be, above));
    guest_free_all(g);
}

/* Resets: PCIe 5.0, 10.5.1.3 with 6.6: Enable and STU are reset to 0 */

static void check_reset(Guest *g)
{
    g_assert_cmphex(qtest_readw(g->qts, ats_ctrl(g)), ==, 0);
    driver_forget(g);
    driver_start(g);
    check_ats(g, false);
    set_ats(g, true);
    check_ats(g, true);
}

static Guest *guest_new_enabled(void)
{
    Guest *g = guest_new_vtd(1);

    qtest_writew(g->qts, ats_ctrl(g), PCI_ATS_CTRL_ENABLE | 0x1f);
    check_ats(g, true);
    return g;
}

/* PCIe 5.0, 6.6.2 */
static void test_reset_flr(void)
{
    Guest *g = guest_new_enabled();
    uint8_t cap = find_cap(g->qts, DEVICE_BDF, PCI_CAP_ID_EXP);

    qtest_writew(g->qts, config(DEVICE_BDF, cap + PCI_EXP_DEVCTL),
                 PCI_EXP_DEVCTL_BCR_FLR);
    check_reset(g);
    guest_free_all(g);
}

/* PCIe 5.0, 7.5.1.3.13: Secondary Bus Reset */
static void test_reset_bus(void)
{
    Guest *g = guest_new_enabled();
    uint64_t ctl = config(PORT_BDF, PCI_BRIDGE_CONTROL);

    qtest_writew(g->qts, ctl, PCI_BRIDGE_CTL_BUS_RESET);
    qtest_writew(g->qts, ctl, 0);
    check_reset(g);
    guest_free_all(g);
}

static void test_reset_machine(void)
{
    Guest *g = guest_new_enabled();

    qtest_system_reset(g->qts);
    platform_setup(g->qts);
    g->vtd.iq_tail = 0;
    qvtd_enable(&g->vtd);
    check_reset(g);
    guest_free_all(g);
}

/*
 * PCIe 5.0, 7.5.1.1.3: Bus Master Enable disables requests but resets nothing;
 * virtio 1.3, 2.1: nor does a reset of the virtio device reset the function.
 */
static void test_reset_preserved(void)
{
    Guest *g = guest_new_enabled();
    uint64_t command = config(DEVICE_BDF, PCI_COMMAND);

    qtest_writew(g->qts, command, PCI_COMMAND_MEMORY);
    qvhost_user_iotlb_wait_rings(g->be, 0);
    g_assert_cmphex(qtest_readw(g->qts, ats_ctrl(g)), ==,
                    PCI_ATS_CTRL_ENABLE | 0x1f);

    driver_forget(g);
    driver_start(g);
    check_ats(g, true);
    guest_free_all(g);
}

/* Hot-unplug and re-plug */

static void slot_power(Guest *g, bool on)
{
    uint8_t cap = find_cap(g->qts, PORT_BDF, PCI_CAP_ID_EXP);
    uint64_t ctl = config(PORT_BDF, cap + PCI_EXP_SLTCTL);

    qtest_writew(g->qts, ctl, on ? PCI_EXP_SLTCTL_PWR_IND_ON :
                 PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_PCC);
}

/* PCIe 5.0, 6.7.1: ATS is disabled in the new function */
static void test_replug(void)
{
    Guest *g = guest_new_enabled();

    /* The slot is powered on */
    slot_power(g, true);
    qtest_qmp_device_del_send(g->qts, "dev");
    slot_power(g, false);
    qtest_qmp_eventwait(g->qts, "DEVICE_DELETED");
    g_assert_cmphex(qtest_readl(g->qts, config(DEVICE_BDF, PCI_VENDOR_ID)),
                    ==, UINT32_MAX);
    qvhost_user_iotlb_wait_rings(g->be, 0);
    /* The device has no notifiers any more */
    qvtd_inv_device_tlb(&g->vtd, DEVICE_BDF, IOVA, false);

    qtest_qmp_device_add(g->qts, "virtio-net-pci", "dev",
                         "{ 'bus': 'rp0', 'netdev': 'net', 'romfile': '',"
                         "  'disable-legacy': 'on', 'iommu_platform': true,"
                         "  'ats': true }");
    slot_power(g, true);
    check_reset(g);
    guest_free_all(g);
}

/* Migration with ATS enabled and disabled */

static void migrate(QTestState *from, QTestState *to, const char *uri)
{
    QDict *rsp = qtest_qmp(from, "{ 'execute': 'migrate',"
                           "  'arguments': { 'uri': %s } }", uri);

    g_assert(qdict_haskey(rsp, "return"));
    qobject_unref(rsp);
    qtest_qmp_eventwait(from, "STOP");
    qtest_qmp_eventwait(to, "RESUME");
}

static void check_migration(bool on)
{
    Guest *g = guest_new_vtd(1);
    QVhostUserIotlb *be = qvhost_user_iotlb_new(1, false);
    g_autofree char *dir = g_dir_make_tmp("qtest-migrate-XXXXXX", NULL);
    g_autofree char *sock = g_strdup_printf("%s/sock", dir);
    g_autofree char *uri = g_strdup_printf("unix:%s", sock);
    g_autofree char *props = g_strdup_printf(",ats=on -incoming %s", uri);
    QTestState *to = start_net(be, 1, VTD_ATS, props);

    set_ats(g, on);
    check_ats(g, on);
    migrate(g->qts, to, uri);
    qtest_quit(g->qts);
    qvhost_user_iotlb_free(g->be);
    unlink(sock);
    rmdir(dir);

    g->qts = g->pci->qts = g->vtd.qts = to;
    g->be = be;
    qvhost_user_iotlb_wait_rings(be, g->num_rings);
    g_assert_cmphex(qtest_readw(to, ats_ctrl(g)), ==,
                    on ? PCI_ATS_CTRL_ENABLE : 0);
    check_ats(g, on);
    set_ats(g, !on);
    check_ats(g, !on);
    guest_free_all(g);
}

static void test_migrate_on(void)
{
    check_migration(true);
}

static void test_migrate_off(void)
{
    check_migration(false);
}

/* IOMMUs without device-TLBs */

/* Table 28: device-selective invalidation of the context cache */
static void inv_context(Guest *g)
{
    qvtd_submit(&g->vtd, VTD_INV_DESC_CC | VTD_INV_DESC_CC_DEVICE |
                         DOMAIN << 16 | (uint64_t)DEVICE_BDF << 32, 0);
}

/*
 * VT-d 4.2.3, LCT.5: while the context entry blocks translation requests (TT
 * is 00b), the device-TLB is empty, and the guest does not invalidate it,
 * whether ATS is enabled in the function or not.
 */
static void test_blocked(void)
{
    Guest *g = guest_new(VTD_ATS, 1);

    guest_setup_vtd(g, false);
    driver_start(g);
    set_ats(g, true);
    check_unmap(g, true);
    fetch(g);
    unmap_pages(g);
    qvtd_inv_domain(&g->vtd, DOMAIN);
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA));
    map_pages(g);

    /* Translations from before device-TLBs are permitted are dropped */
    fetch(g);
    unmap_pages(g);
    qvtd_attach(&g->vtd, DEVICE_BDF, DOMAIN, g->sspt, true);
    inv_context(g);
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA));
    map_pages(g);
    check_ats(g, true);
    fetch(g);
    unmap_pages(g);
    qvtd_attach(&g->vtd, DEVICE_BDF, DOMAIN, g->sspt, false);
    qvtd_submit(&g->vtd, VTD_INV_DESC_CC | VTD_INV_DESC_CC_GLOBAL, 0);
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA));
    map_pages(g);
    check_unmap(g, true);
    guest_free_all(g);
}

/* VT-d without ECAP_REG.DT: translation type 01b is reserved (9.3) */
static void test_fallback_vtd(void)
{
    Guest *g = guest_new("-device intel-iommu ", 1);

    guest_setup_vtd(g, false);
    driver_start(g);
    check_unmap(g, true);
    set_ats(g, true);
    check_unmap(g, true);
    set_ats(g, false);
    check_unmap(g, true);

    driver_forget(g);
    set_ats(g, true);
    driver_start(g);
    check_unmap(g, true);
    guest_free_all(g);
}

/*
 * AMD-Vi without device-TLB events.  Section numbers are those of the AMD I/O
 * Virtualization Technology specification, revision 3.
 */

#define AMDVI_DEVTAB_PAGES   4
#define AMDVI_CMDBUF_ENTRIES 256
#define AMDVI_RW             (AMDVI_DEV_PERM_READ | AMDVI_DEV_PERM_WRITE)
#define AMDVI_LEVELS         4
#define AMDVI_PTE_PRESENT    1

typedef struct AmdVi {
    uint64_t cmdbuf;
    unsigned tail;
    uint64_t devtab;
    uint64_t pt;
} AmdVi;

static uint64_t zeroed_pages(Guest *g, unsigned n)
{
    return guest_alloc_zeroed(&g->alloc, g->qts, n * SIZE_4K);
}

/* 2.2.3, I/O page tables: a 4 KiB page at level 1, 2 MiB at level 2 */
static void amdvi_map(Guest *g, AmdVi *vi, uint64_t iova, uint64_t gpa,
                      int leaf)
{
    uint64_t table = vi->pt;
    int level;

    for (level = AMDVI_LEVELS; ; level--) {
        uint64_t addr = table + extract64(iova, 3 + 9 * level, 9) * 8;
        uint64_t pte = qtest_readq(g->qts, addr);

        if (level == leaf) {
            qtest_writeq(g->qts, addr, gpa | AMDVI_RW | AMDVI_PTE_PRESENT);
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

/* 2.2.2.1, device table entry */
static void amdvi_attach(Guest *g, AmdVi *vi, uint16_t bdf, uint16_t domain)
{
    uint64_t dte = vi->devtab + bdf * AMDVI_DEVTAB_ENTRY_SIZE;

    qtest_writeq(g->qts, dte + 8, domain);
    qtest_writeq(g->qts, dte, vi->pt | AMDVI_DEV_VALID |
                 AMDVI_DEV_TRANSLATION_VALID | AMDVI_RW |
                 (uint64_t)AMDVI_LEVELS << AMDVI_DEV_MODE_RSHIFT);
}

static void amdvi_setup(Guest *g, AmdVi *vi)
{
    uint64_t addr;

    *vi = (AmdVi) {
        .cmdbuf = zeroed_pages(g, 1),
        .devtab = zeroed_pages(g, AMDVI_DEVTAB_PAGES),
        .pt = zeroed_pages(g, 1),
    };
    for (addr = 0; addr < RAM_SIZE; addr += SIZE_2M) {
        amdvi_map(g, vi, addr, addr, 2);
    }
    amdvi_map(g, vi, IOVA, g->page, 1);
    amdvi_attach(g, vi, DEVICE_BDF, DOMAIN);

    /* 3.4.1: device table, command buffer of 2^8 entries, control */
    qtest_writeq(g->qts, AMDVI_BASE_ADDR + AMDVI_MMIO_DEVICE_TABLE,
                 vi->devtab | (AMDVI_DEVTAB_PAGES - 1));
    qtest_writeq(g->qts, AMDVI_BASE_ADDR + AMDVI_MMIO_COMMAND_BASE,
                 vi->cmdbuf | 8ULL << 56);
    qtest_writeq(g->qts, AMDVI_BASE_ADDR + AMDVI_MMIO_CONTROL,
                 AMDVI_MMIO_CONTROL_AMDVIEN | AMDVI_MMIO_CONTROL_CMDBUFLEN);
}

/* Append a command, without telling the IOMMU */
static void amdvi_put(Guest *g, AmdVi *vi, uint64_t lo, uint64_t hi)
{
    uint64_t addr = vi->cmdbuf + vi->tail * AMDVI_COMMAND_SIZE;

    qtest_writeq(g->qts, addr, lo);
    qtest_writeq(g->qts, addr + 8, hi);
    vi->tail = (vi->tail + 1) % AMDVI_CMDBUF_ENTRIES;
}

static void amdvi_ring(Guest *g, AmdVi *vi)
{
    qtest_writeq(g->qts, AMDVI_BASE_ADDR + AMDVI_MMIO_COMMAND_TAIL,
                 vi->tail * AMDVI_COMMAND_SIZE);
}

static void amdvi_command(Guest *g, AmdVi *vi, uint64_t lo, uint64_t hi)
{
    amdvi_put(g, vi, lo, hi);
    amdvi_ring(g, vi);
}

/* 2.4.3 INVALIDATE_IOMMU_PAGES; @flags: S is bit 0 */
static void amdvi_inval_pages(Guest *g, AmdVi *vi, uint16_t domain,
                              uint64_t addr, uint64_t flags)
{
    amdvi_command(g, vi, (uint64_t)AMDVI_CMD_INVAL_AMDVI_PAGES << 60 |
                  (uint64_t)domain << 32, addr | flags);
}

static void check_amdvi(Guest *g, AmdVi *vi)
{
    /* Another domain, another page */
    fetch(g);
    amdvi_inval_pages(g, vi, DOMAIN + 1, IOVA, 0);
    amdvi_inval_pages(g, vi, DOMAIN, IOVA + SIZE_4K, 0);
    g_assert_true(qvhost_user_iotlb_has(g->be, IOVA));

    amdvi_inval_pages(g, vi, DOMAIN, IOVA, 0);
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA));

    /* S: the lowest 0 bit of the page number encodes the size, here 16 KiB */
    fetch(g);
    amdvi_inval_pages(g, vi, DOMAIN, IOVA + 0x1000, 1);
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA));
    fetch(g);
    amdvi_inval_pages(g, vi, DOMAIN, IOVA + 0x4000 + 0x1000, 1);
    g_assert_true(qvhost_user_iotlb_has(g->be, IOVA));
    amdvi_inval_pages(g, vi, DOMAIN, 0x7ffffffffffff000, 1);
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA));

    /* 2.4.2 INVALIDATE_DEVTAB_ENTRY, 2.4.8 INVALIDATE_IOMMU_ALL */
    fetch(g);
    amdvi_command(g, vi, (uint64_t)AMDVI_CMD_INVAL_DEVTAB_ENTRY << 60 |
                  (DEVICE_BDF + 1), 0);
    g_assert_true(qvhost_user_iotlb_has(g->be, IOVA));
    amdvi_command(g, vi, (uint64_t)AMDVI_CMD_INVAL_DEVTAB_ENTRY << 60 |
                  DEVICE_BDF, 0);
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA));
    fetch(g);
    amdvi_command(g, vi, (uint64_t)AMDVI_CMD_INVAL_AMDVI_ALL << 60, 0);
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA));
}

static void test_fallback_amdvi(void)
{
    Guest *g;
    AmdVi vi;

    if (!qtest_has_device("amd-iommu")) {
        g_test_skip("amd-iommu is not built in");
        return;
    }

    g = guest_new("-device amd-iommu ", 1);
    amdvi_setup(g, &vi);
    driver_start(g);
    check_amdvi(g, &vi);
    set_ats(g, true);
    check_amdvi(g, &vi);
    set_ats(g, false);
    check_amdvi(g, &vi);
    guest_free_all(g);
}

static bool amdvi_empty(Guest *g, AmdVi *vi)
{
    return qtest_readq(g->qts, AMDVI_BASE_ADDR + AMDVI_MMIO_COMMAND_HEAD) ==
           vi->tail * AMDVI_COMMAND_SIZE;
}

/*
 * A buffer full of INVALIDATE_IOMMU_PAGES, each of which reaches the back-end:
 * the write of the tail does not wait for all of them.  The emulator goes on
 * while the test looks, so that the test may have to look again.
 */
static void test_fallback_amdvi_slices(void)
{
    bool left = false;
    unsigned i;
    AmdVi vi;
    Guest *g;

    if (!qtest_has_device("amd-iommu")) {
        g_test_skip("amd-iommu is not built in");
        return;
    }
    g = guest_new("-device amd-iommu ", 1);
    amdvi_setup(g, &vi);
    driver_start(g);
    fetch(g);
    for (i = 0; i < AMDVI_CMDBUF_ENTRIES; i++) {
        amdvi_put(g, &vi, (uint64_t)AMDVI_CMD_INVAL_AMDVI_PAGES << 60 |
                  (uint64_t)DOMAIN << 32, IOVA);
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
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA));
    guest_free_all(g);
}

/* virtio-iommu: virtio 1.3, 5.13 */

typedef struct VirtioIommu {
    QVirtioPCIDevice *dev;
    QVirtQueue *vq;
    uint64_t buf;
} VirtioIommu;

/* Send a request of @size bytes without its tail; it must succeed */
static void viommu_request(Guest *g, VirtioIommu *vi, void *req, size_t size)
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
static void viommu_map(Guest *g, VirtioIommu *vi, uint64_t start, uint64_t gpa,
                       uint64_t size)
{
    struct virtio_iommu_req_map req = {
        .head.type = VIRTIO_IOMMU_T_MAP,
        .domain = cpu_to_le32(DOMAIN),
        .virt_start = cpu_to_le64(start),
        .virt_end = cpu_to_le64(start + size - 1),
        .phys_start = cpu_to_le64(gpa),
        .flags = cpu_to_le32(VIRTIO_IOMMU_MAP_F_READ |
                             VIRTIO_IOMMU_MAP_F_WRITE),
    };

    viommu_request(g, vi, &req, offsetof(typeof(req), tail));
}

static void viommu_unmap(Guest *g, VirtioIommu *vi, uint64_t start,
                         uint64_t size)
{
    struct virtio_iommu_req_unmap req = {
        .head.type = VIRTIO_IOMMU_T_UNMAP,
        .domain = cpu_to_le32(DOMAIN),
        .virt_start = cpu_to_le64(start),
        .virt_end = cpu_to_le64(start + size - 1),
    };

    viommu_request(g, vi, &req, offsetof(typeof(req), tail));
}

static void viommu_setup(Guest *g, VirtioIommu *vi)
{
    QPCIAddress addr = { .devfn = IOMMU_BDF };
    struct virtio_iommu_req_attach req = {
        .head.type = VIRTIO_IOMMU_T_ATTACH,
        .domain = cpu_to_le32(DOMAIN),
        .endpoint = cpu_to_le32(DEVICE_BDF),
    };

    g->pci->mmio_alloc_ptr = ROOT_BARS;
    vi->dev = virtio_pci_new(g->pci, &addr);
    qvirtio_pci_device_enable(vi->dev);
    g->pci->mmio_alloc_ptr = PORT_BARS;
    qvirtio_start_device(&vi->dev->vdev);
    qvirtio_set_features(&vi->dev->vdev, 1ULL << VIRTIO_F_VERSION_1 |
                         1ULL << VIRTIO_IOMMU_F_MAP_UNMAP);
    vi->vq = qvirtqueue_setup(&vi->dev->vdev, &g->alloc, 0);
    qvirtio_set_driver_ok(&vi->dev->vdev);
    vi->buf = guest_alloc(&g->alloc, SIZE_4K);

    viommu_request(g, vi, &req, offsetof(typeof(req), tail));
}

static void viommu_free(Guest *g, VirtioIommu *vi)
{
    qvirtqueue_cleanup(vi->dev->vdev.bus, vi->vq, &g->alloc);
    g_free(vi->dev->pdev);
    g_free(vi->dev);
}

static void check_viommu(Guest *g, VirtioIommu *vi)
{
    fetch(g);
    viommu_unmap(g, vi, IOVA, SIZE_4K);
    g_assert_false(qvhost_user_iotlb_has(g->be, IOVA));
    viommu_map(g, vi, IOVA, g->page, SIZE_4K);
}

static bool skip_viommu(void)
{
    if (qtest_has_device("virtio-iommu-pci")) {
        return false;
    }
    g_test_skip("virtio-iommu-pci is not built in");
    return true;
}

static void test_fallback_viommu(void)
{
    Guest *g;
    VirtioIommu vi;

    if (skip_viommu()) {
        return;
    }

    g = guest_new("-device virtio-iommu-pci,addr=5.0 ", 1);
    viommu_setup(g, &vi);
    viommu_map(g, &vi, 0, 0, RAM_SIZE);
    viommu_map(g, &vi, IOVA, g->page, SIZE_4K);
    driver_start(g);
    check_viommu(g, &vi);
    set_ats(g, true);
    check_viommu(g, &vi);
    set_ats(g, false);
    check_viommu(g, &vi);
    viommu_free(g, &vi);
    guest_free_all(g);
}

/*
 * 5.13.6.6: an unmap request may cover the whole 64-bit space, whose size does
 * not fit into an IOTLB message
 */
static void test_range_viommu_all(void)
{
    Guest *g;
    VirtioIommu vi;

    if (skip_viommu()) {
        return;
    }

    g = guest_new("-device virtio-iommu-pci,addr=5.0 ", 1);
    viommu_setup(g, &vi);
    viommu_map(g, &vi, 0, 0, 0);
    driver_start(g);
    g_assert_cmphex(qvhost_user_iotlb_fetch(g->be, g->page), ==, g->page);
    viommu_unmap(g, &vi, 0, 0);
    g_assert_false(qvhost_user_iotlb_has(g->be, g->page));
    viommu_free(g, &vi);
    guest_free_all(g);
}

/* No IOMMU: the back-end uses guest physical addresses and no IOTLB */
static void test_fallback_none(void)
{
    Guest *g = guest_new("", 1);

    driver_start(g);
    set_ats(g, true);
    qvhost_user_iotlb_wait_rings(g->be, g->num_rings);
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 0);
    set_ats(g, false);
    guest_free_all(g);
}

/* Scalable mode: another function uses PASIDs at the same time */

typedef struct Neighbour {
    QATD dev;
    uint64_t fspt;
    uint64_t frame[2];
    uint64_t invalidations;
} Neighbour;

static void guest_setup_scalable(Guest *g, Neighbour *n)
{
    uint64_t dir;

    guest_map_vtd(g);
    g->vtd.scalable = true;
    dir = qvtd_sm_attach(&g->vtd, DEVICE_BDF, VTD_SM_CONTEXT_ENTRY_DTE, 0);
    qvtd_sm_pasid(&g->vtd, dir, 0, g->sspt | VTD_SM_PASID_ENTRY_SLT |
                  VTD_PASID_ENTRY_P | 2 << 2, DOMAIN, 0);
    dir = qvtd_sm_attach(&g->vtd, NEIGHBOUR_BDF, VTD_SM_CONTEXT_ENTRY_DTE |
                         VTD_SM_CONTEXT_ENTRY_PASIDE, 0);
    n->fspt = qvtd_new_table(&g->vtd);
    qvtd_sm_pasid(&g->vtd, dir, PASID, VTD_SM_PASID_ENTRY_FLT |
                  VTD_PASID_ENTRY_P, DOMAIN | VTD_SM_PASID_ENTRY_PWSNP,
                  n->fspt);
    qvtd_enable(&g->vtd);
}

static void neighbour_map(Guest *g, Neighbour *n, int frame)
{
    uint64_t bits = VTD_FL_P | VTD_FL_RW | VTD_FL_US;

    qvtd_map_entry(&g->vtd, n->fspt, 4, IOVA, SIZE_4K, n->frame[frame] | bits,
                   bits);
    qvtd_inv_pasid_pages(&g->vtd, DOMAIN, PASID, IOVA, 0);
}

static void neighbour_start(Guest *g, Neighbour *n)
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
        qatd_start(&n->dev, ATD_CMD_SVM_WRITE, PASID, IOVA, SIZE_4K,
                   ATD_FLAG_THREAD);
    }
}

static void check_neighbour(Neighbour *n, unsigned more)
{
    n->invalidations += more;
    g_assert_cmpuint(qatd_read(&n->dev, ATD_INV_COUNT), ==, n->invalidations);
}

/* 6.5.2.5: invalidate only the vhost device */
static void check_vhost_only(Guest *g, Neighbour *n)
{
    neighbour_work(n);
    check_device_tlb(g, true);
    check_neighbour(n, 0);
}

/* 6.5.2.5, 6.5.2.6: invalidate only the neighbour, with each descriptor */
static void check_neighbour_only(Guest *g, Neighbour *n, int kind)
{
    uint64_t lo = VTD_INV_DESC_DEV_PIOTLB | NEIGHBOUR_BDF << 16;

    fetch(g);
    qvhost_user_iotlb_invalidations(g->be);
    neighbour_work(n);
    switch (kind) {
    case 0:
        qvtd_submit(&g->vtd, lo | (uint64_t)PASID << 32, IOVA);
        break;
    case 1:
        qvtd_submit(&g->vtd, lo, IOVA | 1);
        break;
    default:
        qvtd_inv_device_tlb(&g->vtd, NEIGHBOUR_BDF, IOVA, false);
        break;
    }
    check_neighbour(n, 1);
    g_assert_true(qvhost_user_iotlb_has(g->be, IOVA));
    g_assert_cmpuint(qvhost_user_iotlb_invalidations(g->be), ==, 0);
}

static void test_function_with_pasids(void)
{
    Guest *g = guest_new(VTD_PASIDS, 1);
    Neighbour n = { };
    int i;

    guest_setup_scalable(g, &n);
    neighbour_start(g, &n);
    driver_start(g);
    set_ats(g, true);
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
    g_assert_cmpint(qatd_command(&n.dev, ATD_CMD_SVM_WRITE, PASID, IOVA,
                                 SIZE_4K, 0), ==, 0);
    g_assert_cmphex(qtest_readl(g->qts, n.frame[0]), ==, 0x11111111);
    guest_free_all(g);
}

/*
 * The first miss of the back-end prefetches its buffers: those in the rings,
 * including chains and indirect tables, so that no packet is lost
 * (docs/devel/vhost-user-iotlb.rst).
 */
#define BUFFERS     0x50000000ULL
#define NUM_BUFFERS 8

static uint64_t buffer(unsigned i)
{
    return BUFFERS + i * SIZE_2M;
}

static void map_buffers(Guest *g)
{
    /* Two pages each, which are contiguous in memory */
    for (unsigned i = 0; i < NUM_BUFFERS; i++) {
        uint64_t page = guest_alloc(&g->alloc, 2 * SIZE_4K);

        qvtd_map(&g->vtd, g->sspt, buffer(i), page, SIZE_4K);
        qvtd_map(&g->vtd, g->sspt, buffer(i) + SIZE_4K, page + SIZE_4K,
                 SIZE_4K);
    }
}

static uint32_t add_buffer(Guest *g, QVirtQueue *vq, unsigned i, bool write,
                           bool next)
{
    return qvirtqueue_add(g->qts, vq, buffer(i) + 16, SIZE_4K, write, next);
}

static void check_fetched(Guest *g, unsigned i, bool fetched)
{
    g_assert_cmpint(qvhost_user_iotlb_has(g->be, buffer(i)), ==, fetched);
    g_assert_cmpint(qvhost_user_iotlb_has(g->be, buffer(i) + SIZE_4K), ==,
                    fetched);
}

static void test_prefetch(void)
{
    Guest *g = guest_new(VTD_ATS, 1);
    QVRingIndirectDesc *indirect;
    QVirtQueue *rx, *tx;
    uint32_t head;

    guest_setup_vtd(g, true);
    /* The rings are in the first large page, above the hole below 1 MiB */
    map_buffers(g);
    driver_start(g);
    rx = g->vqs->pdata[0];
    tx = g->vqs->pdata[1];
    head = add_buffer(g, rx, 0, true, false);
    qvirtqueue_kick(g->qts, &g->dev->vdev, rx, head);
    head = add_buffer(g, rx, 1, true, true);
    add_buffer(g, rx, 2, true, false);
    qvirtqueue_kick(g->qts, &g->dev->vdev, rx, head);
    head = add_buffer(g, tx, 3, false, true);
    add_buffer(g, tx, 4, true, false);
    qvirtqueue_kick(g->qts, &g->dev->vdev, tx, head);
    tx->indirect = true;
    indirect = qvring_indirect_desc_setup(g->qts, &g->dev->vdev, &g->alloc, 2);
    qvring_indirect_desc_add(&g->dev->vdev, g->qts, indirect, buffer(5) + 16,
                             SIZE_4K, false);
    qvring_indirect_desc_add(&g->dev->vdev, g->qts, indirect, buffer(6) + 16,
                             SIZE_4K, true);
    head = qvirtqueue_add_indirect(g->qts, tx, indirect);
    qvirtqueue_kick(g->qts, &g->dev->vdev, tx, head);

    g_assert_cmphex(rx->desc, <, SIZE_2M);
    g_assert_cmphex(qvhost_user_iotlb_fetch(g->be, rx->desc), ==, rx->desc);
    fetch(g);
    for (unsigned i = 0; i <= 6; i++) {
        check_fetched(g, i, true);
    }
    /* This buffer is in no ring */
    check_fetched(g, 7, false);
    g_free(indirect);
    guest_free_all(g);
}

/* query-pci-ats: the IOTLB of the back-end, as QEMU knows it */

/* Call @check with the caches of the function, one per back-end */
static void query_caches(Guest *g, void (*check)(QList *caches, void *opaque),
                         void *opaque)
{
    QDict *reply = qtest_qmp(g->qts, "{ 'execute': 'query-pci-ats' }");
    QList *functions = qdict_get_qlist(reply, "return");
    QDict *function = qobject_to(QDict, qlist_peek(functions));

    g_assert_cmpuint(qlist_size(functions), ==, 1);
    g_assert_cmpstr(qdict_get_str(function, "qdev-id"), ==, "dev");
    check(qdict_get_qlist(function, "caches"), opaque);
    qobject_unref(reply);
}

typedef struct IotlbInfo {
    int64_t entries;
    int64_t misses;
    int64_t updates;
    int64_t invalidations;
    int64_t kept;
    int64_t dropped;
} IotlbInfo;

static void check_one_cache(QList *caches, void *opaque)
{
    QDict *cache = qobject_to(QDict, qlist_peek(caches));
    IotlbInfo *info = opaque;

    g_assert_cmpuint(qlist_size(caches), ==, 1);
    g_assert_cmpstr(qdict_get_str(cache, "type"), ==, "vhost");
    g_assert_cmpint(qdict_get_int(cache, "capacity"), >=,
                    qdict_get_int(cache, "entries"));
    g_assert_cmpint(qdict_get_int(cache, "faults"), ==, 0);
    *info = (IotlbInfo) {
        .entries = qdict_get_int(cache, "entries"),
        .misses = qdict_get_int(cache, "misses"),
        .updates = qdict_get_int(cache, "updates"),
        .invalidations = qdict_get_int(cache, "invalidations"),
        .kept = qdict_get_int(cache, "kept"),
        .dropped = qdict_get_int(cache, "dropped"),
    };
}

static IotlbInfo query_one_cache(Guest *g)
{
    IotlbInfo info;

    query_caches(g, check_one_cache, &info);
    return info;
}

static void check_no_caches(QList *caches, void *opaque)
{
    g_assert_true(qlist_empty(caches));
}

static void test_query(void)
{
    g_autofree char *text = NULL;
    Guest *g = guest_new_vtd(1);
    IotlbInfo before, after;

    set_ats(g, true);
    before = query_one_cache(g);
    fetch(g);
    after = query_one_cache(g);
    g_assert_cmpint(after.misses, ==, before.misses + 1);
    g_assert_cmpint(after.entries, >, before.entries);
    g_assert_cmpint(after.updates - before.updates, >=,
                    after.entries - before.entries);

    /* Mapped pages are kept, and unmapped ones dropped */
    before = after;
    qvtd_inv_device_tlb(&g->vtd, DEVICE_BDF, IOVA, false);
    after = query_one_cache(g);
    g_assert_cmpint(after.invalidations, ==, before.invalidations + 1);
    g_assert_cmpint(after.kept, ==, before.kept + 1);
    g_assert_cmpint(after.dropped, ==, before.dropped);
    unmap_pages(g);
    qvtd_inv_device_tlb(&g->vtd, DEVICE_BDF, IOVA, false);
    after = query_one_cache(g);
    g_assert_cmpint(after.dropped, ==, before.dropped + 1);
    g_assert_cmpint(after.entries, ==, before.entries - 1);

    text = qtest_hmp(g->qts, "info pci-ats");
    g_assert_nonnull(strstr(text, "\"dev\""));
    g_assert_nonnull(strstr(text, "  vhost IOTLB: "));

    /* A device that does not run has no cache */
    qvirtio_reset(&g->dev->vdev);
    query_caches(g, check_no_caches, NULL);
    guest_free_all(g);
}

static void check_two_caches(QList *caches, void *opaque)
{
    g_assert_cmpuint(qlist_size(caches), ==, 2);
}

/* Each queue pair has its own back-end */
static void test_query_multiqueue(void)
{
    Guest *g = guest_new_vtd(2);

    query_caches(g, check_two_caches, NULL);
    guest_free_all(g);
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
    qtest_add_func("/virtio-pci-ats/range/virtio-iommu-all",
                   test_range_viommu_all);
    qtest_add_func("/virtio-pci-ats/reset/flr", test_reset_flr);
    qtest_add_func("/virtio-pci-ats/reset/bus", test_reset_bus);
    qtest_add_func("/virtio-pci-ats/reset/machine", test_reset_machine);
    qtest_add_func("/virtio-pci-ats/reset/preserved", test_reset_preserved);
    qtest_add_func("/virtio-pci-ats/replug", test_replug);
    qtest_add_func("/virtio-pci-ats/migrate/on", test_migrate_on);
    qtest_add_func("/virtio-pci-ats/migrate/off", test_migrate_off);
    qtest_add_func("/virtio-pci-ats/blocked", test_blocked);
    qtest_add_func("/virtio-pci-ats/fallback/vtd", test_fallback_vtd);
    qtest_add_func("/virtio-pci-ats/fallback/amd-iommu", test_fallback_amdvi);
    qtest_add_func("/virtio-pci-ats/fallback/amd-iommu-slices",
                   test_fallback_amdvi_slices);
    qtest_add_func("/virtio-pci-ats/fallback/virtio-iommu",
                   test_fallback_viommu);
    qtest_add_func("/virtio-pci-ats/fallback/none", test_fallback_none);
    qtest_add_func("/virtio-pci-ats/function-with-pasids",
                   test_function_with_pasids);
    qtest_add_func("/virtio-pci-ats/prefetch", test_prefetch);
    qtest_add_func("/virtio-pci-ats/query/cache", test_query);
    qtest_add_func("/virtio-pci-ats/query/multiqueue", test_query_multiqueue);

    return g_test_run();
}
