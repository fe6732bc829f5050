/*
 * A function with ATS, its memory and its IOMMU, for tests
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/thread.h"
#include "hw/pci/pci_ats_dma.h"
#include "hw/pci/pci-internal.h"
#include "hw/pci/pcie_pri_requester.h"
#include "fake-ats.h"

FakeATS fake;

/* ---- Memory ---- */

static MemoryRegion ram_mr = { .ram = true };
static MemoryRegion mmio_mr;

unsigned pci_untranslated_begin(PCIDevice *dev)
{
    qatomic_inc(&fake.untranslated_users);
    return 7;
}

void pci_untranslated_end(PCIDevice *dev, unsigned token)
{
    assert_int_equal(token, 7);
    qatomic_dec(&fake.untranslated_users);
}

void pci_untranslated_blocked(PCIDevice *dev, dma_addr_t addr, bool is_write)
{
    assert_int_not_equal(qatomic_read(&fake.untranslated_users), 0);
    fake.blocked_addr = addr;
    fake.blocked_write = is_write;
}

MemoryRegion *flatview_translate(FlatView *fv, hwaddr addr, hwaddr *xlat,
                                 hwaddr *len, bool is_write, MemTxAttrs attrs)
{
    if (attrs.address_type == PCI_AT_UNTRANSLATED) {
        assert_int_not_equal(qatomic_read(&fake.untranslated_users), 0);
        fake.untranslated_accesses++;
        addr -= IOVA;
    }
    if (addr >= RAM_SIZE) {
        return &mmio_mr;
    }
    *xlat = addr;
    *len = MIN(*len, RAM_SIZE - addr);
    return &ram_mr;
}

bool memory_region_is_ram_device(MemoryRegion *mr)
{
    return false;
}

void *qemu_map_ram_ptr(RAMBlock *block, ram_addr_t addr)
{
    return fake.ram + addr;
}

void memory_region_ref(MemoryRegion *mr)
{
}

void address_space_unmap(AddressSpace *as, void *buffer, hwaddr len,
                         bool is_write, hwaddr access_len)
{
}

AddressSpace *pci_pasid_target(PCIDevice *dev, uint32_t pasid, bool priv_req,
                               bool exec_req, dma_addr_t addr, bool is_write,
                               dma_addr_t *xlat, dma_addr_t *len)
{
    assert_int_not_equal(qatomic_read(&fake.untranslated_users), 0);
    fake.untranslated_accesses++;
    return NULL;
}

/* ---- Function ---- */

AddressSpace *pci_translated_target(PCIDevice *dev, dma_addr_t addr,
                                    dma_addr_t len, bool is_write)
{
    return fake.blocked ? NULL : pci_get_address_space(dev);
}

bool pci_iommu_is_thread_safe(const PCIDevice *dev)
{
    assert(!qatomic_read(&fake.gone));
    return fake.thread_safe;
}

bool pcie_bus_master_enabled(const PCIDevice *dev)
{
    assert(!qatomic_read(&fake.gone));
    return fake.master_on;
}

bool pcie_ats_enabled(const PCIDevice *dev)
{
    assert(!qatomic_read(&fake.gone));
    return fake.ats_on;
}

bool pcie_pri_enabled(const PCIDevice *dev)
{
    assert(!qatomic_read(&fake.gone));
    return qatomic_read(&fake.pri_on);
}

uint32_t pcie_pri_get_req_alloc(const PCIDevice *dev)
{
    return fake.allocation;
}

bool pcie_pri_has_loaded_groups(const PCIDevice *dev, uint32_t pasid)
{
    assert(!qatomic_read(&fake.gone));
    qatomic_inc(&fake.loaded_questions);
    return pasid == 1 && qatomic_read(&fake.loaded_groups);
}

unsigned pcie_ats_stu(const PCIDevice *dev)
{
    return fake.stu;
}

uint32_t pcie_ats_epoch(const PCIDevice *dev)
{
    return fake.epoch;
}

uint16_t pci_requester_id(PCIDevice *dev)
{
    return 0x20;
}

int pci_iommu_check_pasid(const PCIDevice *dev, uint32_t pasid, bool priv_req,
                          bool exec_req)
{
    return 0;
}

static void count_pasid(uint32_t pasid,
                        const uint64_t counts[PCI_ATS_INV_KINDS], void *opaque)
{
    ++*(int *)opaque;
}

int registered(void)
{
    int n = 0;

    pci_ats_info_foreach_pasid(&fake.device, count_pasid, &n);
    return n;
}

/* ---- IOMMU ---- */

typedef struct Pte {
    IOMMUAccessFlags perm;
    hwaddr target;
} Pte;

static QemuMutex iommu_lock;
static Pte ptes[NR_PAGES];

int pci_iommu_init_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n,
                                  IOMMUNotify fn, void *opaque)
{
    n->notify = fn;
    n->opaque = opaque;
    return 0;
}

int pci_iommu_register_any_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n)
{
    QEMU_LOCK_GUARD(&iommu_lock);
    if (fake.register_error) {
        return fake.register_error;
    }
    assert(!fake.iotlb_notifier);
    fake.iotlb_notifier = n;
    return 0;
}

void pci_iommu_unregister_any_iotlb_notifier(PCIDevice *dev, IOMMUNotifier *n)
{
    QEMU_LOCK_GUARD(&iommu_lock);
    assert(fake.iotlb_notifier == n);
    fake.iotlb_notifier = NULL;
}

static ssize_t walk(uint32_t pasid, hwaddr addr, size_t length,
                    IOMMUTLBEntry *result, size_t result_length)
{
    hwaddr page = addr & ~(hwaddr)(PAGE - 1);
    size_t n;

    QEMU_LOCK_GUARD(&iommu_lock);
    for (n = 0; page <= addr + (length - 1); n++, page += PAGE) {
        const Pte *pte = &ptes[(page - IOVA) / PAGE];

        if (n == result_length) {
            return -ENOMEM;
        }
        assert(page >= IOVA);
        assert(page < IOVA + RAM_SIZE);
        result[n] = (IOMMUTLBEntry) {
            .iova = page,
            .translated_addr = pte->target,
            .addr_mask = PAGE - 1,
            .perm = pte->perm,
            .pasid = pasid,
        };
    }
    return n;
}

ssize_t pci_ats_request_translation(PCIDevice *dev, uint32_t pasid,
                                    bool priv_req, bool exec_req, hwaddr addr,
                                    size_t length, bool no_write,
                                    IOMMUTLBEntry *result, size_t result_length,
                                    uint32_t *err_count)
{
    ssize_t n = fake.translation_error ?:
                walk(pasid, addr, length, result, result_length);

    qatomic_inc(&fake.translations);
    qatomic_set(&fake.translation_length, length);
    if (fake.answer_hook) {
        fake.answer_hook();
    }
    return n;
}

void map(unsigned page, hwaddr target, IOMMUAccessFlags perm)
{
    QEMU_LOCK_GUARD(&iommu_lock);
    ptes[page] = (Pte) { .target = target, .perm = perm };
}

void invalidate(uint32_t pasid, unsigned page)
{
    IOMMUTLBEntry entry = {
        .iova = IOVA + page * PAGE,
        .addr_mask = PAGE - 1,
        .pasid = pasid,
    };

    /* As in real IOMMUs, the notifier is called with the IOMMU's lock held. */
    QEMU_LOCK_GUARD(&iommu_lock);
    if (fake.iotlb_notifier) {
        fake.iotlb_notifier->notify(fake.iotlb_notifier, &entry);
    }
}

void fake_ats_init(void)
{
    qemu_mutex_init(&iommu_lock);
}

void fake_ats_start(void)
{
    memset(ptes, 0, sizeof(ptes));
    for (int i = 0; i < RAM_SIZE; i++) {
        fake.ram[i] = i / PAGE * 7 + i;
    }
    fake.ats_on = fake.pri_on = fake.master_on = fake.thread_safe = true;
    fake.allocation = 32;
    fake.stu = 12;
    fake.untranslated_accesses = fake.translations = 0;
    fake.blocked_addr = 0;
    fake.register_error = fake.translation_error = 0;
    qatomic_set(&fake.gone, false);
}
