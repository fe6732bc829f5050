/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * QTests of virtio-pci's "ats" property: the guest and the checks that they
 * share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */

#include "qemu/osdep.h"
#include "qobject/qdict.h"
#include "qobject/qlist.h"
#include "hw/pci/pci_regs.h"
#include "standard-headers/linux/virtio_config.h"
#include "standard-headers/linux/virtio_net.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-pc.h"
#include "virtio-pci-ats-common.h"

/* Configuration space */

uint64_t ats_config(uint16_t bdf, uint16_t offset)
{
    return qecam_address(bdf, offset);
}

void ats_platform_setup(QTestState *qts)
{
    qecam_enable(qts);
    qtest_writel(qts, ats_config(ATS_PORT, PCI_PRIMARY_BUS), 0x010100);
    qtest_writel(qts, ats_config(ATS_PORT, PCI_MEMORY_BASE), 0xe1f0e100);
    qtest_writel(qts, ats_config(ATS_PORT, PCI_PREF_MEMORY_BASE), 0x0000fff0);
    qtest_writew(qts, ats_config(ATS_PORT, PCI_COMMAND),
                 PCI_COMMAND_MEMORY | PCI_COMMAND_MASTER);
}

uint64_t ats_ctrl(AtsGuest *g)
{
    return ats_config(ATS_DEVICE, g->ats + PCI_ATS_CTRL);
}

void ats_set(AtsGuest *g, bool on)
{
    qtest_writew(g->qts, ats_ctrl(g), on ? PCI_ATS_CTRL_ENABLE : 0);
}

/* The driver of the device */

void ats_driver_setup(AtsGuest *g)
{
    QPCIAddress addr = { .devfn = ATS_DEVICE };
    uint64_t features = 1ULL << VIRTIO_F_VERSION_1 |
                        1ULL << VIRTIO_F_IOMMU_PLATFORM | g->features;
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
}

void ats_driver_start(AtsGuest *g)
{
    ats_driver_setup(g);
    qvirtio_set_driver_ok(&g->dev->vdev);
    qvhost_user_iotlb_wait_rings(g->be, g->num_rings);
}

void ats_driver_forget(AtsGuest *g)
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

void ats_guest_boot(AtsGuest *g, QTestState *qts)
{
    g->qts = qts;
    pc_alloc_init(&g->alloc, qts, ALLOC_NO_FLAGS);
    g->pci = qpci_new_pc(qts, &g->alloc);
    g->pci->mmio_alloc_ptr = ATS_PORT_BARS;
    ats_platform_setup(qts);
    g->ats = qecam_ext_cap(qts, ATS_DEVICE, PCI_EXT_CAP_ID_ATS);
    g_assert_cmphex(g->ats, !=, 0);
    g->page = guest_alloc(&g->alloc, SIZE_4K);
}

void ats_guest_map_vtd(AtsGuest *g)
{
    uint64_t addr;

    qvtd_init(&g->vtd, g->qts, &g->alloc);
    g->sspt = qvtd_new_table(&g->vtd);
    for (addr = 0; addr < ATS_RAM_SIZE; addr += SIZE_2M) {
        qvtd_map(&g->vtd, g->sspt, addr, addr, SIZE_2M);
    }
    qvtd_map(&g->vtd, g->sspt, ATS_IOVA, g->page, SIZE_4K);
    qvtd_map(&g->vtd, g->sspt, ATS_IOVA_HIGH, g->page, SIZE_4K);
}

void ats_guest_setup_vtd(AtsGuest *g, bool device_tlb)
{
    ats_guest_map_vtd(g);
    qvtd_attach(&g->vtd, ATS_DEVICE, ATS_DOMAIN, g->sspt, device_tlb);
    qvtd_enable(&g->vtd);
}

static char *net_backend_args(QVhostUserIotlb *be, unsigned queue_pairs)
{
    return g_strdup_printf("-chardev socket,id=chr,path=%s "
                           "-netdev vhost-user,id=net,chardev=chr,queues=%u ",
                           qvhost_user_iotlb_path(be), queue_pairs);
}

void ats_slot_power(AtsGuest *g, bool on)
{
    uint8_t cap = qecam_cap(g->qts, ATS_PORT, PCI_CAP_ID_EXP);
    uint64_t ctl = ats_config(ATS_PORT, cap + PCI_EXP_SLTCTL);

    qtest_writew(g->qts, ctl, on ? PCI_EXP_SLTCTL_PWR_IND_ON :
                 PCI_EXP_SLTCTL_PWR_IND_OFF | PCI_EXP_SLTCTL_PCC);
}

QTestState *ats_start_net(QVhostUserIotlb *be, unsigned queue_pairs,
                          const char *iommu, const char *props)
{
    g_autofree char *backend = net_backend_args(be, queue_pairs);

    return qtest_initf(ATS_MACHINE "%s %s " ATS_NET "%s", iommu, backend,
                       props);
}

AtsGuest *ats_guest_new(const char *iommu, unsigned queue_pairs)
{
    AtsGuest *g = g_new0(AtsGuest, 1);

    g->be = qvhost_user_iotlb_new(queue_pairs, false);
    /* All pairs are set up; a control command enables the others */
    g->num_rings = 2;
    g->num_vqs = queue_pairs * 2 + (queue_pairs > 1);
    ats_guest_boot(g, ats_start_net(g->be, queue_pairs, iommu, queue_pairs > 1 ?
                                    ",ats=on,mq=on" : ",ats=on"));
    return g;
}

AtsGuest *ats_guest_new_vtd(unsigned queue_pairs)
{
    AtsGuest *g = ats_guest_new(ATS_VTD, queue_pairs);

    ats_guest_setup_vtd(g, true);
    ats_driver_start(g);
    return g;
}

void ats_guest_free(AtsGuest *g)
{
    if (g->dev) {
        ats_driver_forget(g);
    }
    qpci_free_pc(g->pci);
    alloc_destroy(&g->alloc);
    qtest_quit(g->qts);
    qvhost_user_iotlb_free(g->be);
    g_free(g);
}

/* Statistics */

int64_t ats_round_trips(AtsGuest *g)
{
    QDict *reply = qtest_qmp(g->qts, "{ 'execute': 'query-pci-ats' }");
    QList *functions = qdict_get_qlist(reply, "return");
    QDict *function = qobject_to(QDict, qlist_peek(functions));
    QList *caches = qdict_get_qlist(function, "caches");
    QDict *cache = qobject_to(QDict, qlist_peek(caches));
    int64_t n = qdict_get_int(cache, "round-trips");

    qobject_unref(reply);
    return n;
}

/* Invalidations that reach the back-end */

void ats_fetch(AtsGuest *g)
{
    g_assert_cmphex(qvhost_user_iotlb_fetch(g->be, ATS_IOVA), ==, g->page);
}

void ats_unmap_pages(AtsGuest *g)
{
    qvtd_unmap(&g->vtd, g->sspt, ATS_IOVA);
    qvtd_unmap(&g->vtd, g->sspt, ATS_IOVA_HIGH);
}

void ats_map_pages(AtsGuest *g)
{
    qvtd_map(&g->vtd, g->sspt, ATS_IOVA, g->page, SIZE_4K);
    qvtd_map(&g->vtd, g->sspt, ATS_IOVA_HIGH, g->page, SIZE_4K);
}

void ats_check_unmap(AtsGuest *g, bool drops)
{
    ats_fetch(g);
    ats_unmap_pages(g);
    qvtd_inv_pages(&g->vtd, ATS_DOMAIN, ATS_IOVA, 0);
    g_assert_cmpint(qvhost_user_iotlb_has(g->be, ATS_IOVA), ==, !drops);
    ats_map_pages(g);
}

void ats_check_device_tlb(AtsGuest *g, bool drops)
{
    ats_fetch(g);
    ats_unmap_pages(g);
    qvtd_inv_device_tlb(&g->vtd, ATS_DEVICE, ATS_IOVA, false);
    g_assert_cmpint(qvhost_user_iotlb_has(g->be, ATS_IOVA), ==, !drops);
    ats_map_pages(g);
}

void ats_check(AtsGuest *g, bool on)
{
    ats_check_unmap(g, !on);
    ats_check_device_tlb(g, on);
}
