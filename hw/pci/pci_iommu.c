/*
 * Requests of a PCI function to its IOMMU: ATS translation, DMA with PASID
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Page requests are in pcie_pri.c.
 */

#include "qemu/osdep.h"
#include "qemu/drain.h"
#include "qemu/main-loop.h"
#include "qemu/units.h"
#include "hw/pci/pci_device.h"
#include "hw/pci/pci_bus.h"
#include "pci-internal.h"
#include "trace.h"

/* Bytes of one request with PASID that an invalidation may have to wait for */
#define PASID_CHUNK (256 * KiB)

void pci_iommu_bind(PCIDevice *dev)
{
    PCIIOMMUBinding *b = &dev->iommu;
    PCIBus *iommu_bus;
    uint8_t addr_width;
    uint32_t min_page_size;

    pci_device_get_iommu_bus_devfn(dev, &iommu_bus, &b->bus, &b->devfn);
    b->ops = iommu_bus ? iommu_bus->iommu_ops : NULL;
    b->opaque = iommu_bus ? iommu_bus->iommu_opaque : NULL;
    b->ats_ops = b->ops && b->ops->get_iotlb_info &&
                 !b->ops->get_iotlb_info(b->opaque, &addr_width,
                                         &min_page_size) ? b->ops : NULL;
    b->untranslated = b->ops && b->ops->get_untranslated_drain ?
                      b->ops->get_untranslated_drain(b->opaque) : NULL;
}

unsigned pci_untranslated_begin(PCIDevice *dev)
{
    return dev->iommu.untranslated ? drain_enter(dev->iommu.untranslated) : 0;
}

void pci_untranslated_end(PCIDevice *dev, unsigned token)
{
    if (dev->iommu.untranslated) {
        drain_leave(dev->iommu.untranslated, token);
    }
}

void pci_untranslated_blocked(PCIDevice *dev, dma_addr_t addr, bool is_write)
{
    const PCIIOMMUBinding *b = &dev->iommu;

    if (b->ops && b->ops->untranslated_blocked) {
        b->ops->untranslated_blocked(b->bus, b->opaque, b->devfn, addr,
                                     is_write);
    }
}

int pci_iommu_check_pasid(const PCIDevice *dev, uint32_t pasid, bool priv_req,
                          bool exec_req)
{
    if (pasid == PCI_NO_PASID) {
        /* Both flags are part of the PASID TLP Prefix (6.20.2) */
        return priv_req || exec_req ? -EPERM : 0;
    }
    if (!pcie_pasid_enabled(dev) ||
        (priv_req && !pcie_pasid_priv_enabled(dev)) ||
        (exec_req && !pcie_pasid_exec_enabled(dev))) {
        return -EPERM;
    }
    return pasid >> pcie_pasid_width(dev) ? -EINVAL : 0;
}

int pci_iommu_get_iotlb_info(PCIDevice *dev, uint8_t *addr_width,
                             uint32_t *min_page_size)
{
    const PCIIOMMUOps *ops = dev->iommu.ats_ops;

    if (!ops) {
        return -ENODEV;
    }
    return ops->get_iotlb_info(dev->iommu.opaque, addr_width, min_page_size);
}

bool pci_iommu_is_thread_safe(const PCIDevice *dev)
{
    return !dev->iommu.ops || dev->iommu.untranslated;
}

int pci_iommu_init_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n,
                                  IOMMUNotify fn, void *opaque)
{
    const PCIIOMMUOps *ops = dev->iommu.ats_ops;

    if (!ops) {
        return -ENODEV;
    }
    ops->init_iotlb_notifier(dev->iommu.bus, dev->iommu.opaque,
                             dev->iommu.devfn, n, fn, opaque);
    return 0;
}

int pci_iommu_register_iotlb_notifier(PCIDevice *dev, uint32_t pasid,
                                      IOMMUNotifier *n)
{
    const PCIIOMMUOps *ops = dev->iommu.ats_ops;
    int ret = pci_iommu_check_pasid(dev, pasid, false, false);

    if (ret) {
        return ret;
    }
    if (!ops) {
        return -ENODEV;
    }
    pci_ats_info_add_notifier(dev, pasid);
    ops->register_iotlb_notifier(dev->iommu.bus, dev->iommu.opaque,
                                 dev->iommu.devfn, pasid, n);
    return 0;
}

int pci_iommu_unregister_iotlb_notifier(PCIDevice *dev, uint32_t pasid,
                                        IOMMUNotifier *n)
{
    const PCIIOMMUOps *ops = dev->iommu.ats_ops;

    if (!ops) {
        return -ENODEV;
    }
    ops->unregister_iotlb_notifier(dev->iommu.bus, dev->iommu.opaque,
                                   dev->iommu.devfn, pasid, n);
    pci_ats_info_remove_notifier(dev, pasid);
    return 0;
}

int pci_iommu_register_any_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n)
{
    const PCIIOMMUOps *ops = dev->iommu.ats_ops;

    if (!ops) {
        return -ENODEV;
    }
    ops->register_iotlb_notifier(dev->iommu.bus, dev->iommu.opaque,
                                 dev->iommu.devfn, PCI_ANY_PASID, n);
    return 0;
}

void pci_iommu_unregister_any_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n)
{
    const PCIIOMMUOps *ops = dev->iommu.ats_ops;

    if (ops) {
        ops->unregister_iotlb_notifier(dev->iommu.bus, dev->iommu.opaque,
                                       dev->iommu.devfn, PCI_ANY_PASID, n);
    }
}

static int ats_request_check(const PCIDevice *dev, uint32_t pasid,
                             bool priv_req, bool exec_req, hwaddr addr,
                             size_t length, size_t result_length)
{
    int ret;

    if (!pcie_bus_master_enabled(dev) || !pcie_ats_enabled(dev)) {
        return -EPERM;
    }
    ret = pci_iommu_check_pasid(dev, pasid, priv_req, exec_req);
    if (ret) {
        return ret;
    }
    if (!length || addr + (length - 1) < addr) {
        return -EINVAL;
    }
    if (!result_length) {
        return -ENOSPC;
    }
    return dev->iommu.ats_ops ? 0 : -ENODEV;
}

static void trace_translations(const PCIDevice *dev,
                               const IOMMUTLBEntry *result, size_t n)
{
    if (!trace_event_get_state_backends(TRACE_PCI_ATS_TRANSLATION)) {
        return;
    }
    for (size_t i = 0; i < n; i++) {
        trace_pci_ats_translation(dev->name, dev->devfn, result[i].pasid,
                                  result[i].iova, result[i].addr_mask,
                                  result[i].translated_addr, result[i].perm);
    }
}

ssize_t pci_ats_request_translation(PCIDevice *dev, uint32_t pasid,
                                    bool priv_req, bool exec_req,
                                    hwaddr addr, size_t length,
                                    bool no_write, IOMMUTLBEntry *result,
                                    size_t result_length,
                                    uint32_t *err_count)
{
    ssize_t ret = ats_request_check(dev, pasid, priv_req, exec_req, addr,
                                    length, result_length);
    size_t n = 0;

    if (!ret) {
        const PCIIOMMUBinding *b = &dev->iommu;

        ret = b->ops->ats_request_translation(b->bus, b->opaque, b->devfn,
                                              pasid, priv_req, exec_req, addr,
                                              length, no_write, result,
                                              result_length, err_count);
        n = ret == -ENOMEM ? result_length : MAX(ret, 0);
    }
    pci_ats_info_count(&dev->ats_info, n, n ? *err_count : 0, ret == -ENOMEM);
    trace_pci_ats_request_translation(dev->name, dev->devfn, pasid, priv_req,
                                      exec_req, addr, length, no_write, ret);
    trace_translations(dev, result, n);
    return ret;
}

AddressSpace *pci_translated_target(PCIDevice *dev, dma_addr_t addr,
                                    dma_addr_t len, bool is_write)
{
    const PCIIOMMUBinding *b = &dev->iommu;
    bool ats_enabled = pcie_ats_enabled(dev);
    dma_addr_t covered;

    if (!b->ops || !b->ops->translated_request) {
        return pci_get_address_space(dev);
    }
    if (!pcie_bus_master_enabled(dev) || (len && addr + (len - 1) < addr)) {
        return NULL;
    }
    for (; len; addr += covered, len -= covered) {
        covered = len;
        if (!b->ops->translated_request(b->bus, b->opaque, b->devfn,
                                        ats_enabled, addr, &covered,
                                        is_write)) {
            return NULL;
        }
    }
    return &address_space_memory;
}

AddressSpace *pci_pasid_target(PCIDevice *dev, uint32_t pasid, bool priv_req,
                               bool exec_req, dma_addr_t addr, bool is_write,
                               dma_addr_t *xlat, dma_addr_t *len)
{
    const PCIIOMMUBinding *b = &dev->iommu;
    IOMMUTLBEntry entry;
    dma_addr_t offset;

    if (!pcie_bus_master_enabled(dev) || pasid == PCI_NO_PASID ||
        pci_iommu_check_pasid(dev, pasid, priv_req, exec_req) ||
        !b->ops || !b->ops->pasid_translate ||
        !b->ops->pasid_translate(b->bus, b->opaque, b->devfn, pasid, priv_req,
                                 exec_req, addr, is_write, &entry)) {
        return NULL;
    }
    offset = addr & entry.addr_mask;
    *xlat = (entry.translated_addr & ~entry.addr_mask) | offset;
    if (*len - 1 > entry.addr_mask - offset) {
        *len = entry.addr_mask - offset + 1;
    }
    return entry.target_as;
}

typedef struct PASIDRequest {
    PCIDevice *dev;
    uint32_t pasid;
    bool priv;
    bool exec;
    DMADirection dir;
    MemTxAttrs attrs;
    bool drained;               /* true in a thread without the BQL */
} PASIDRequest;

/* Transfers the part of @len that one translation covers, and reduces @len. */
static MemTxResult pasid_dma_piece(const PASIDRequest *rq, dma_addr_t addr,
                                   void *buf, dma_addr_t *len)
{
    unsigned token = rq->drained ? pci_untranslated_begin(rq->dev) : 0;
    MemTxResult result = MEMTX_ACCESS_ERROR;
    dma_addr_t xlat;
    AddressSpace *as;

    *len = MIN(*len, PASID_CHUNK);
    as = pci_pasid_target(rq->dev, rq->pasid, rq->priv, rq->exec, addr,
                          rq->dir == DMA_DIRECTION_FROM_DEVICE, &xlat, len);
    if (as) {
        result = dma_memory_rw(as, xlat, buf, *len, rq->dir, rq->attrs);
    }
    if (rq->drained) {
        pci_untranslated_end(rq->dev, token);
    }
    return result;
}

static MemTxResult pasid_dma_rw(const PASIDRequest *rq, dma_addr_t addr,
                                void *buf, dma_addr_t len)
{
    MemTxResult result = MEMTX_OK;

    if (!rq->dev->iommu.ops || !rq->dev->iommu.ops->pasid_translate) {
        return MEMTX_DECODE_ERROR;
    }
    if (len && addr + (len - 1) < addr) {
        return MEMTX_ACCESS_ERROR;
    }
    while (len && result == MEMTX_OK) {
        dma_addr_t n = len;

        result = pasid_dma_piece(rq, addr, buf, &n);
        addr += n;
        buf = (uint8_t *)buf + n;
        len -= n;
    }
    return result;
}

MemTxResult pci_pasid_dma_rw(PCIDevice *dev, uint32_t pasid, bool priv_req,
                             bool exec_req, dma_addr_t addr, void *buf,
                             dma_addr_t len, DMADirection dir)
{
    bool drained = !bql_locked();
    const PASIDRequest rq = {
        .dev = dev,
        .pasid = pasid,
        .priv = priv_req,
        .exec = exec_req,
        .dir = dir,
        .attrs = {
            .requester_id = pci_requester_id(dev),
            /* An access to registers would wait for the BQL. */
            .memory = drained,
        },
        .drained = drained,
    };
    MemTxResult result = pasid_dma_rw(&rq, addr, buf, len);

    trace_pci_pasid_dma_rw(dev->name, dev->devfn, pasid, priv_req, exec_req,
                           addr, len, dir == DMA_DIRECTION_FROM_DEVICE, result);
    return result;
}
