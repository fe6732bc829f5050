/*
 * Unit tests of requests of a PCI function to its IOMMU
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tests run hw/pci/pci_iommu.c and hw/pci/pci_ats_info.c between a fake
 * function and a fake IOMMU that may lack some callbacks.  They check the rules
 * of include/hw/pci/pci_iommu.h and of PCIIOMMUOps.  Section numbers are those
 * of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "exec/address-spaces.h"
#include "qemu/atomic.h"
#include "qemu/drain.h"
#include "qemu/main-loop.h"
#include "qemu/thread.h"
#include "hw/pci/pci_bus.h"
#include "hw/pci/pci-internal.h"
#include "hw/pci/pci_ats_info.h"
#include "fake-pci.h"

#define ATS         FAKE_PCI_CAP
#define PASID_CAP   (ATS + PCI_EXT_CAP_ATS_SIZEOF)
#define PAGE        4096ULL
#define DEVFN       0x20
#define PASID       5

/* ---- Memory ---- */

AddressSpace address_space_memory;
static uint8_t ram[4 * PAGE];
static MemTxAttrs last_attrs;
/* Called by each access to memory, unless NULL */
static void (*access_hook)(void);

MemTxResult address_space_rw(AddressSpace *as, hwaddr addr, MemTxAttrs attrs,
                             void *buf, hwaddr len, bool is_write)
{
    assert_ptr_equal(as, &address_space_memory);
    last_attrs = attrs;
    if (access_hook) {
        access_hook();
    }
    if (addr + len > sizeof(ram)) {
        return MEMTX_DECODE_ERROR;
    }
    if (is_write) {
        memcpy(ram + addr, buf, len);
    } else {
        memcpy(buf, ram + addr, len);
    }
    return MEMTX_OK;
}

/* ---- The IOMMU ---- */

static PCIBus bus;
static int info_status;
static unsigned requests, registered;
static uint64_t allowed;        /* last address for translated requests */
static bool sent_with_ats;      /* ATS Enable in the last such request */

static int get_iotlb_info(void *opaque, uint8_t *addr_width,
                          uint32_t *min_page_size)
{
    *addr_width = 48;
    *min_page_size = PAGE;
    return info_status;
}

static void init_notifier(PCIBus *b, void *opaque, int devfn, IOMMUNotifier *n,
                          IOMMUNotify fn, void *user)
{
    n->notify = fn;
    n->opaque = user;
}

/* PASID of the last registration */
static uint32_t registered_pasid;

static void register_notifier(PCIBus *b, void *opaque, int devfn,
                              uint32_t pasid, IOMMUNotifier *n)
{
    registered++;
    registered_pasid = pasid;
}

static void unregister_notifier(PCIBus *b, void *opaque, int devfn,
                                uint32_t pasid, IOMMUNotifier *n)
{
    registered--;
}

/* Returns one element for each page; the last one has no permissions */
static ssize_t request_translation(PCIBus *b, void *opaque, int devfn,
                                   uint32_t pasid, bool priv_req,
                                   bool exec_req, hwaddr addr, size_t length,
                                   bool no_write, IOMMUTLBEntry *result,
                                   size_t result_length, uint32_t *err_count)
{
    size_t n = length / PAGE;

    assert_ptr_equal(b, &bus);
    assert_int_equal(devfn, DEVFN);
    requests++;
    for (size_t i = 0; i < MIN(n, result_length); i++) {
        result[i] = (IOMMUTLBEntry) {
            .iova = addr + i * PAGE,
            .addr_mask = PAGE - 1,
            .perm = i + 1 < n ? IOMMU_RW : IOMMU_NONE,
            .pasid = pasid,
        };
    }
    *err_count = n <= result_length;
    return n <= result_length ? n : -ENOMEM;
}

static bool translated_request(PCIBus *b, void *opaque, int devfn,
                               bool ats_enabled, hwaddr addr, hwaddr *len,
                               bool is_write)
{
    requests++;
    sent_with_ats = ats_enabled;
    /* Report at most one page for each call. */
    *len = MIN(*len, PAGE - addr % PAGE);
    return addr <= allowed;
}

static bool pasid_translate(PCIBus *b, void *opaque, int devfn, uint32_t pasid,
                            bool priv_req, bool exec_req, hwaddr addr,
                            bool is_write, IOMMUTLBEntry *result)
{
    /* The target of each page; RAM has no page 100 */
    static const uint64_t pages[] = { 1, 0, 2, 100, 3 };

    requests++;
    if (addr / PAGE >= ARRAY_SIZE(pages)) {
        return false;
    }
    *result = (IOMMUTLBEntry) {
        .target_as = &address_space_memory,
        .iova = addr & ~(PAGE - 1),
        .translated_addr = pages[addr / PAGE] * PAGE,
        .addr_mask = PAGE - 1,
        .perm = IOMMU_RW,
    };
    return true;
}

static Drain *untranslated;

static Drain *get_untranslated_drain(void *opaque)
{
    return untranslated;
}

static const PCIIOMMUOps all_ops = {
    .get_untranslated_drain = get_untranslated_drain,
    .get_iotlb_info = get_iotlb_info,
    .init_iotlb_notifier = init_notifier,
    .register_iotlb_notifier = register_notifier,
    .unregister_iotlb_notifier = unregister_notifier,
    .ats_request_translation = request_translation,
    .translated_request = translated_request,
    .pasid_translate = pasid_translate,
};
static const PCIIOMMUOps no_ops;

/* Replacements for functions of pci.c */
static PCIBus *iommu_bus;

uint16_t pci_requester_id(PCIDevice *d)
{
    return 0x1234;
}

void pci_device_get_iommu_bus_devfn(PCIDevice *dev, PCIBus **piommu_bus,
                                    PCIBus **aliased_bus, int *aliased_devfn)
{
    *piommu_bus = iommu_bus;
    *aliased_bus = &bus;
    *aliased_devfn = DEVFN;
}

/* ---- The function ---- */

static PCIDevice *dev;

static void write_word(uint16_t reg, uint16_t val)
{
    pci_set_word(dev->config + reg, val);
    pcie_ats_update(dev);
}

static void set_iommu(const PCIIOMMUOps *ops)
{
    iommu_bus = ops ? &bus : NULL;
    bus.iommu_ops = ops;
    pci_iommu_bind(dev);
}

static int setup(void **state)
{
    info_status = 0;
    requests = 0;
    registered = 0;
    allowed = UINT64_MAX;
    for (size_t i = 0; i < sizeof(ram); i++) {
        ram[i] = i / PAGE;
    }
    dev = fake_pci_new(NULL, NULL);
    dev->exp.ats_cap = ATS;
    pcie_pasid_init(dev, PASID_CAP, 8, true, true);
    write_word(ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    write_word(PASID_CAP + PCI_PASID_CTRL, PCI_PASID_CTRL_ENABLE);
    pci_ats_info_init(dev);
    bus.devices[DEVFN] = dev;
    set_iommu(&all_ops);
    return 0;
}

static int teardown(void **state)
{
    pci_ats_info_destroy(dev);
    fake_pci_free(dev);
    return 0;
}

/* ---- ATS ---- */

static ssize_t translate(uint32_t pasid, uint64_t addr, uint64_t length,
                         size_t max)
{
    IOMMUTLBEntry result[4];
    uint32_t err_count;

    return pci_ats_request_translation(dev, pasid, false, false, addr, length,
                                       false, result, max, &err_count);
}

/* No IOMMU, an IOMMU without callbacks, and one without support for ATS */
static void test_no_iommu(void **state)
{
    static const PCIIOMMUOps *const ops[] = { NULL, &no_ops, &all_ops };
    uint32_t min_page_size;
    uint8_t addr_width;
    IOMMUNotifier n;

    info_status = -ENODEV;
    for (int i = 0; i < ARRAY_SIZE(ops); i++) {
        set_iommu(ops[i]);
        assert_int_equal(pci_iommu_get_iotlb_info(dev, &addr_width,
                                                  &min_page_size), -ENODEV);
        assert_int_equal(pci_iommu_init_iotlb_notifier(dev, &n, NULL, NULL),
                         -ENODEV);
        assert_int_equal(pci_iommu_register_iotlb_notifier(dev, PASID, &n),
                         -ENODEV);
        assert_int_equal(pci_iommu_unregister_iotlb_notifier(dev, PASID, &n),
                         -ENODEV);
        assert_int_equal(pci_iommu_register_any_iotlb_notifier(dev, &n),
                         -ENODEV);
        pci_iommu_unregister_any_iotlb_notifier(dev, &n);
        assert_int_equal(translate(PASID, 0, PAGE, 1), -ENODEV);
    }
    assert_int_equal(registered, 0);
    assert_int_equal(requests, 0);
}

static bool thread_safe_behind(const PCIIOMMUOps *ops)
{
    set_iommu(ops);
    return pci_iommu_is_thread_safe(dev);
}

/*
 * Threads may use an IOMMU if it has a drain for them, regardless of ATS.  An
 * IOMMU may have the callback and decide for each instance.
 */
static void test_thread_safe(void **state)
{
    static const PCIIOMMUOps drain_ops = {
        .get_untranslated_drain = get_untranslated_drain,
    };
    static const PCIIOMMUOps ats_ops = { .get_iotlb_info = get_iotlb_info };
    Drain *drain = untranslated;

    assert_true(thread_safe_behind(NULL));
    assert_true(thread_safe_behind(&drain_ops));
    assert_false(thread_safe_behind(&ats_ops));
    assert_false(thread_safe_behind(&no_ops));
    untranslated = NULL;
    assert_false(thread_safe_behind(&drain_ops));
    untranslated = drain;
}

/* These errors are returned without a call of the IOMMU */
static void test_request_errors(void **state)
{
    assert_int_equal(translate(PASID, 0, 0, 1), -EINVAL);
    assert_int_equal(translate(PASID, UINT64_MAX, 2, 1), -EINVAL);
    assert_int_equal(translate(PASID, 0, PAGE, 0), -ENOSPC);
    /* 6.20.2.1: Max PASID Width */
    assert_int_equal(translate(0x100, 0, PAGE, 1), -EINVAL);
    /* 6.20.2: both flags are part of the PASID TLP Prefix */
    assert_int_equal(pci_iommu_check_pasid(dev, PCI_NO_PASID, true, false),
                     -EPERM);
    assert_int_equal(pci_iommu_check_pasid(dev, PCI_NO_PASID, false, true),
                     -EPERM);
    write_word(PASID_CAP + PCI_PASID_CTRL, 0);
    assert_int_equal(translate(PASID, 0, PAGE, 1), -EPERM);
    write_word(ATS + PCI_ATS_CTRL, 0);
    assert_int_equal(translate(PCI_NO_PASID, 0, PAGE, 1), -EPERM);
    write_word(ATS + PCI_ATS_CTRL, PCI_ATS_CTRL_ENABLE);
    write_word(PCI_COMMAND, 0);
    assert_int_equal(translate(PCI_NO_PASID, 0, PAGE, 1), -EPERM);
    assert_int_equal(requests, 0);
}

/* A request may include the last byte of the address space */
static void test_request_last_page(void **state)
{
    assert_int_equal(translate(PASID, -PAGE, PAGE, 1), 1);
    assert_int_equal(requests, 1);
}

/* Statistics of translation requests for query-pci-ats */
static void test_request_counts(void **state)
{
    PCIATSRequests r;

    assert_int_equal(translate(PASID, 0, 3 * PAGE, 4), 3);
    assert_int_equal(translate(PASID, 0, 4 * PAGE, 2), -ENOMEM);
    assert_int_equal(translate(PASID, 0, 0, 2), -EINVAL);
    pci_ats_info_get_requests(dev, &r);
    assert_int_equal(r.requests, 3);
    assert_int_equal(r.translations, 5);
    assert_int_equal(r.denied, 1);
    assert_int_equal(r.truncated, 1);
    assert_int_equal(r.failed, 1);
}

/* ---- Statistics of invalidations for query-pci-ats ---- */

static uint64_t counts[2][PCI_ATS_INV_KINDS];
static unsigned listeners;

static void note_counts(uint32_t pasid, const uint64_t c[PCI_ATS_INV_KINDS],
                        void *opaque)
{
    memcpy(counts[pasid != PASID], c, sizeof(counts[0]));
    listeners++;
}

static unsigned count_listeners(void)
{
    listeners = 0;
    memset(counts, 0, sizeof(counts));
    pci_ats_info_foreach_pasid(dev, note_counts, NULL);
    return listeners;
}

static void invalidate(int devfn, PCIATSInvalidation kind, uint32_t pasid)
{
    pci_ats_invalidate_requested(&bus, devfn, kind, pasid, 0, PAGE - 1);
}

static void test_invalidations(void **state)
{
    IOMMUNotifier n;

    /* No notifier is registered, or there is no function. */
    invalidate(DEVFN, PCI_ATS_INV_PASID, PASID);
    invalidate(DEVFN, PCI_ATS_INV_NO_PASID, PCI_NO_PASID);
    invalidate(DEVFN, PCI_ATS_INV_ALL_PASIDS, PCI_NO_PASID);
    invalidate(DEVFN + 1, PCI_ATS_INV_PASID, PASID);

    assert_int_equal(pci_iommu_register_iotlb_notifier(dev, PASID, &n), 0);
    assert_int_equal(pci_iommu_register_iotlb_notifier(dev, PASID, &n), 0);
    assert_int_equal(pci_iommu_register_iotlb_notifier(dev, PCI_NO_PASID, &n),
                     0);
    invalidate(DEVFN, PCI_ATS_INV_PASID, PASID);
    invalidate(DEVFN, PCI_ATS_INV_PASID, PASID + 1);
    invalidate(DEVFN, PCI_ATS_INV_NO_PASID, PCI_NO_PASID);
    invalidate(DEVFN, PCI_ATS_INV_ALL_PASIDS, PCI_NO_PASID);
    assert_int_equal(count_listeners(), 2);
    for (int i = 0; i < 2; i++) {
        /*
         * 10.3.8: a Global Invalidate does not concern the second one, which is
         * without PASID.
         */
        assert_int_equal(counts[i][PCI_ATS_INV_PASID], !i);
        assert_int_equal(counts[i][PCI_ATS_INV_ALL_PASIDS], !i);
        assert_int_equal(counts[i][PCI_ATS_INV_NO_PASID], 1);
    }

    /* A PASID is listed while it has a notifier. */
    assert_int_equal(pci_iommu_unregister_iotlb_notifier(dev, PASID, &n), 0);
    assert_int_equal(count_listeners(), 2);
    assert_int_equal(pci_iommu_unregister_iotlb_notifier(dev, PASID, &n), 0);
    assert_int_equal(count_listeners(), 1);
    /* It is no longer registered. */
    assert_int_equal(pci_iommu_unregister_iotlb_notifier(dev, PASID, &n), 0);
    assert_int_equal(count_listeners(), 1);
}

/* The registration for any PASID needs no PASID Enable, and is not listed */
static void test_any_pasid(void **state)
{
    IOMMUNotifier n;

    write_word(PASID_CAP + PCI_PASID_CTRL, 0);
    assert_int_equal(pci_iommu_register_any_iotlb_notifier(dev, &n), 0);
    assert_int_equal(registered, 1);
    assert_int_equal(registered_pasid, PCI_ANY_PASID);
    assert_int_equal(count_listeners(), 0);
    pci_iommu_unregister_any_iotlb_notifier(dev, &n);
    assert_int_equal(registered, 0);
}

static void test_caches(void **state)
{
    PCIATSInfoATC atcs[2];

    pci_ats_info_add_atc(dev, &atcs[0]);
    pci_ats_info_add_atc(dev, &atcs[1]);
    pci_ats_info_remove_atc(&atcs[1]);
    assert_ptr_equal(QLIST_FIRST(&dev->ats_info.atcs), &atcs[0]);
    pci_ats_info_add_atc(dev, &atcs[1]);
    pci_ats_info_remove_atc(&atcs[0]);
    assert_ptr_equal(QLIST_FIRST(&dev->ats_info.atcs), &atcs[1]);
    assert_null(QLIST_NEXT(&atcs[1], next));
}

/* ---- Translated requests (10.2.4) ---- */

static AddressSpace *target(uint64_t addr, uint64_t len)
{
    return pci_translated_target(dev, addr, len, true);
}

static void test_translated(void **state)
{
    assert_ptr_equal(target(10, 3 * PAGE), &address_space_memory);
    assert_int_equal(requests, 4);
    assert_ptr_equal(target(PAGE, 0), &address_space_memory);
    assert_ptr_equal(target(UINT64_MAX, 1), &address_space_memory);
    /* The IOMMU has to allow the whole range. */
    allowed = 2 * PAGE - 1;
    assert_ptr_equal(target(0, 2 * PAGE), &address_space_memory);
    assert_null(target(0, 2 * PAGE + 1));
}

/* 10.5.1.3: the IOMMU gets ATS Enable of the function, not of the source id */
static void test_translated_enable(void **state)
{
    bus.devices[DEVFN] = NULL;
    target(0, 1);
    assert_true(sent_with_ats);
    write_word(ATS + PCI_ATS_CTRL, 0);
    target(0, 1);
    assert_false(sent_with_ats);
    assert_int_equal(requests, 2);
}

static void test_translated_blocked(void **state)
{
    assert_null(target(UINT64_MAX, 2));
    write_word(PCI_COMMAND, 0);
    assert_null(target(0, 1));
    assert_int_equal(requests, 0);
}

/* An IOMMU without the callback treats translated requests as untranslated */
static void test_translated_unknown(void **state)
{
    set_iommu(&no_ops);
    assert_ptr_equal(target(0, 1), pci_get_address_space(dev));
    set_iommu(NULL);
    assert_ptr_equal(target(0, 1), pci_get_address_space(dev));
}

/* ---- Untranslated requests with PASID (6.20) ---- */

static MemTxResult rw(uint32_t pasid, uint64_t addr, uint8_t *buf,
                      uint64_t len, bool is_write)
{
    return pci_pasid_dma_rw(dev, pasid, false, false, addr, buf, len,
                            is_write ? DMA_DIRECTION_FROM_DEVICE
                                     : DMA_DIRECTION_TO_DEVICE);
}

/* Each page is translated separately */
static void test_pasid_rw(void **state)
{
    uint8_t buf[2 * PAGE];

    assert_int_equal(rw(PASID, PAGE - 10, buf, PAGE + 20, false), MEMTX_OK);
    for (unsigned i = 0; i < PAGE + 20; i++) {
        assert_int_equal(buf[i], i < 10 ? 1 : i < PAGE + 10 ? 0 : 2);
    }
    assert_int_equal(requests, 3);
    assert_int_equal(last_attrs.requester_id, 0x1234);

    memset(buf, 9, sizeof(buf));
    assert_int_equal(rw(PASID, PAGE - 1, buf, 2, true), MEMTX_OK);
    assert_int_equal(ram[2 * PAGE - 1], 9);
    assert_int_equal(ram[0], 9);
    assert_int_equal(ram[1], 0);
    assert_int_equal(rw(PASID, PAGE, buf, 0, true), MEMTX_OK);
}

static void test_pasid_rw_errors(void **state)
{
    uint8_t buf[2 * PAGE];

    /*
     * A page that is not mapped, and a page that is not RAM: earlier pages have
     * been transferred.
     */
    assert_int_equal(rw(PASID, 5 * PAGE, buf, 1, false), MEMTX_ACCESS_ERROR);
    memset(buf, 9, sizeof(buf));
    assert_int_equal(rw(PASID, 3 * PAGE - 1, buf, PAGE + 2, true),
                     MEMTX_DECODE_ERROR);
    assert_int_equal(ram[3 * PAGE - 1], 9);
    assert_int_equal(ram[3 * PAGE], 3);

    requests = 0;
    assert_int_equal(rw(PASID, UINT64_MAX, buf, 2, false), MEMTX_ACCESS_ERROR);
    assert_int_equal(rw(PCI_NO_PASID, 0, buf, 1, false), MEMTX_ACCESS_ERROR);
    assert_int_equal(rw(0x100, 0, buf, 1, false), MEMTX_ACCESS_ERROR);
    /* 7.8.8.3: neither permission is enabled */
    assert_int_equal(pci_pasid_dma_rw(dev, PASID, true, false, 0, buf, 1,
                                      DMA_DIRECTION_TO_DEVICE),
                     MEMTX_ACCESS_ERROR);
    assert_int_equal(pci_pasid_dma_rw(dev, PASID, false, true, 0, buf, 1,
                                      DMA_DIRECTION_TO_DEVICE),
                     MEMTX_ACCESS_ERROR);
    write_word(PCI_COMMAND, 0);
    assert_int_equal(rw(PASID, 0, buf, 1, false), MEMTX_ACCESS_ERROR);
    assert_int_equal(requests, 0);
}

static bool waited;

static void *wait_for_requests(void *opaque)
{
    drain_wait(opaque);
    qatomic_set(&waited, true);
    return NULL;
}

/* Checks whether drain_wait() waits for the access in progress */
static void drain_during_access(bool waits)
{
    QemuThread thread;

    qatomic_set(&waited, false);
    qemu_thread_create(&thread, "drain", wait_for_requests, untranslated,
                       waits ? QEMU_THREAD_DETACHED : QEMU_THREAD_JOINABLE);
    if (waits) {
        g_usleep(10000);
        assert_false(qatomic_read(&waited));
    } else {
        qemu_thread_join(&thread);
    }
}

static void drain_has_to_wait(void)
{
    drain_during_access(true);
}

static void drain_need_not_wait(void)
{
    drain_during_access(false);
}

/* VT-d 6.5.4: an invalidation waits for requests of threads without the BQL */
static void test_pasid_rw_drained(void **state)
{
    uint8_t buf[1];

    access_hook = drain_has_to_wait;
    assert_int_equal(rw(PASID, 0, buf, 1, false), MEMTX_OK);
    assert_true(last_attrs.memory);
    while (!qatomic_read(&waited)) {
        g_usleep(100);
    }
    /*
     * The drain does not wait for a thread with the BQL, which may access
     * registers that drain.
     */
    access_hook = drain_need_not_wait;
    bql_lock();
    assert_int_equal(rw(PASID, 0, buf, 1, false), MEMTX_OK);
    bql_unlock();
    assert_false(last_attrs.memory);
    access_hook = NULL;
}

/* No IOMMU that supports requests with PASID */
static void test_pasid_rw_no_iommu(void **state)
{
    uint64_t xlat, len = 1;
    uint8_t buf[1];

    set_iommu(&no_ops);
    assert_int_equal(rw(PASID, 0, buf, 1, false), MEMTX_DECODE_ERROR);
    assert_null(pci_pasid_target(dev, PASID, false, false, 0, false, &xlat,
                                 &len));
    set_iommu(NULL);
    assert_int_equal(rw(PASID, 0, buf, 1, false), MEMTX_DECODE_ERROR);
    assert_null(pci_pasid_target(dev, PASID, false, false, 0, false, &xlat,
                                 &len));
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(test_ ## name, setup, \
                                                   teardown)
    const struct CMUnitTest tests[] = {
        TEST(no_iommu),
        TEST(thread_safe),
        TEST(request_errors),
        TEST(request_last_page),
        TEST(request_counts),
        TEST(invalidations),
        TEST(any_pasid),
        TEST(caches),
        TEST(translated),
        TEST(translated_enable),
        TEST(translated_blocked),
        TEST(translated_unknown),
        TEST(pasid_rw),
        TEST(pasid_rw_errors),
        TEST(pasid_rw_drained),
        TEST(pasid_rw_no_iommu),
    };
#undef TEST

    untranslated = drain_new();
    return cmocka_run_group_tests_name("pci-iommu", tests, NULL, NULL);
}
