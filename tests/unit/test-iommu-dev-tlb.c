/*
 * Unit tests of the registry of device-TLBs
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/thread.h"
#include "hw/pci/pci_ats_info.h"
#include "hw/pci/pci_bus.h"
#include "hw/i386/intel_iommu.h"
#include "hw/i386/iommu_dev_tlb.h"

#define BUSES           2
#define THREADS         4
#define ROUNDS          3000
#define PASID           5

AddressSpace address_space_memory;

/* ---- Replacements for functions that hw/i386/iommu_dev_tlb.c calls ---- */

/* The address identifies a bus; the guest assigns the bus numbers */
static PCIBus buses[BUSES];
static int bus_numbers[BUSES];

int pci_bus_num(PCIBus *bus)
{
    return qatomic_read(&bus_numbers[bus - buses]);
}

void memory_region_notify_iommu_one(IOMMUNotifier *n,
                                    const IOMMUTLBEvent *event)
{
    IOMMUTLBEntry entry = event->entry;

    n->notify(n, &entry);
}

/* Statistics for the monitor, which this test does not cover */
void pci_ats_invalidate_requested(PCIBus *bus, int devfn,
                                  PCIATSInvalidation kind, uint32_t pasid,
                                  hwaddr addr, hwaddr mask)
{
    g_assert_true(bus >= buses && bus < buses + BUSES);
    g_assert_cmphex(addr & mask, ==, 0);
}

static unsigned region_events;

void memory_region_notify_iommu(IOMMUMemoryRegion *mr, int index,
                                const IOMMUTLBEvent event)
{
    g_assert_cmpint(index, ==, 0);
    region_events++;
}

/* All tests use one registry, since it lives as long as the machine */
static IOMMUDevTLB *dt;

/* ---- A listener ---- */

typedef struct Listener {
    IOMMUNotifier n;
    unsigned calls;
    bool registered;
    bool unregisters;
    PCIBus *bus;
    uint32_t pasid;
    uint32_t expected;          /* PASID in events; 0 stands for @pasid */
} Listener;

static void notify(IOMMUNotifier *n, IOMMUTLBEntry *entry)
{
    Listener *l = container_of(n, Listener, n);

    g_assert_true(qatomic_read(&l->registered));
    g_assert_cmphex(entry->pasid, ==, l->expected ?: l->pasid);
    qatomic_inc(&l->calls);
    if (l->unregisters) {
        qatomic_set(&l->registered, false);
        iommu_dev_tlb_unregister(dt, l->bus, 0, l->pasid, n);
    }
}

static void listener_start(Listener *l, PCIBus *bus,
                           uint32_t pasid)
{
    l->n.notify = notify;
    l->bus = bus;
    l->pasid = pasid;
    l->registered = true;
    iommu_dev_tlb_register(dt, bus, 0, pasid, &l->n);
}

static void listener_stop(Listener *l)
{
    iommu_dev_tlb_unregister(dt, l->bus, 0, l->pasid, &l->n);
    /* Until it is unregistered, a call may be in progress. */
    qatomic_set(&l->registered, false);
}

static void invalidate(uint8_t bus, IOMMUDevTLBScope scope)
{
    iommu_dev_tlb_invalidate(dt, bus << 8, scope, PASID, 0, false);
}

static unsigned work(IOMMUDevTLBScope scope, hwaddr addr, bool size)
{
    return iommu_dev_tlb_invalidate(dt, 0, scope, PASID, addr, size);
}

/* ---- Tests ---- */

/* 6.5.2.5: the source id contains the current number of the bus */
static void test_renumber(void **state)
{
    Listener a = { }, b = { };

    bus_numbers[0] = 1;
    bus_numbers[1] = 2;
    listener_start(&a, &buses[0], PCI_NO_PASID);
    listener_start(&b, &buses[1], PCI_NO_PASID);
    invalidate(1, IOMMU_DEV_TLB_NO_PASID);
    invalidate(2, IOMMU_DEV_TLB_NO_PASID);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 1);
    bus_numbers[0] = 2;
    bus_numbers[1] = 1;
    invalidate(2, IOMMU_DEV_TLB_NO_PASID);
    assert_int_equal(a.calls, 2);
    assert_int_equal(b.calls, 1);
    /* No bus number may refer to a function that has been removed. */
    listener_stop(&a);
    listener_stop(&b);
    for (uint8_t bus = 0; bus < 4; bus++) {
        invalidate(bus, IOMMU_DEV_TLB_NO_PASID);
    }
    assert_int_equal(a.calls + b.calls, 3);
}

/* 6.5.2.5, 6.5.2.6: each kind of descriptor reaches the right listeners */
static void test_scope(void **state)
{
    static const struct {
        IOMMUDevTLBScope scope;
        unsigned none, pasid, other;
    } cases[] = {
        { IOMMU_DEV_TLB_NO_PASID, 1, 1, 1 },
        { IOMMU_DEV_TLB_PASID, 0, 1, 0 },
        { IOMMU_DEV_TLB_ALL_PASIDS, 0, 1, 1 },
    };

    bus_numbers[0] = 0;
    bus_numbers[1] = 1;
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        Listener none = { }, pasid = { }, other = { }, stranger = { };

        listener_start(&none, &buses[0], PCI_NO_PASID);
        listener_start(&pasid, &buses[0], PASID);
        listener_start(&other, &buses[0], PASID + 1);
        listener_start(&stranger, &buses[1], PASID);
        invalidate(0, cases[i].scope);
        assert_int_equal(none.calls, cases[i].none);
        assert_int_equal(pasid.calls, cases[i].pasid);
        assert_int_equal(other.calls, cases[i].other);
        assert_int_equal(stranger.calls, 0);
        listener_stop(&none);
        listener_stop(&pasid);
        listener_stop(&other);
        listener_stop(&stranger);
    }
}

/* 6.5.2.5, 6.5.2.6: a listener for all PASIDs is called once */
static void test_any_pasid(void **state)
{
    static const struct {
        IOMMUDevTLBScope scope;
        uint32_t pasid;
    } cases[] = {
        { IOMMU_DEV_TLB_NO_PASID, PCI_ANY_PASID },
        { IOMMU_DEV_TLB_PASID, PASID },
        { IOMMU_DEV_TLB_ALL_PASIDS, PCI_ANY_PASID },
    };
    Listener any = { }, pasid = { };

    bus_numbers[0] = 0;
    listener_start(&any, &buses[0], PCI_ANY_PASID);
    listener_start(&pasid, &buses[0], PASID);
    for (int i = 0; i < ARRAY_SIZE(cases); i++) {
        any.expected = cases[i].pasid;
        invalidate(0, cases[i].scope);
        assert_int_equal(any.calls, i + 1);
        assert_int_equal(pasid.calls, i + 1);
    }
    listener_stop(&any);
    invalidate(0, IOMMU_DEV_TLB_ALL_PASIDS);
    assert_int_equal(any.calls, ARRAY_SIZE(cases));
    listener_stop(&pasid);
}

/* The work of an invalidation, which does not depend on other PASIDs */
static void test_work(void **state)
{
    const unsigned page = IOMMU_INV_WORK_NOTIFIER;
    const unsigned most = page + IOMMU_INV_WORK_SEARCH;
    IOMMUMemoryRegion mr;
    Listener a = { }, b = { };

    bus_numbers[0] = 0;
    assert_int_equal(work(IOMMU_DEV_TLB_PASID, 0, false), 0);
    listener_start(&a, &buses[0], PASID);
    listener_start(&b, &buses[0], PASID + 1);
    assert_int_equal(work(IOMMU_DEV_TLB_PASID, 0, false), page);
    assert_int_equal(work(IOMMU_DEV_TLB_ALL_PASIDS, 0, false), 2 * page);
    /* A range of 2^63 bytes, and the whole address space */
    assert_int_equal(work(IOMMU_DEV_TLB_PASID, MAKE_64BIT_MASK(12, 50), true),
                     most);
    assert_int_equal(work(IOMMU_DEV_TLB_PASID, MAKE_64BIT_MASK(12, 51), true),
                     page);
    iommu_dev_tlb_register_region(dt, &buses[0], 0, PASID, &mr);
    assert_int_equal(work(IOMMU_DEV_TLB_PASID, 0, false),
                     page + SLICED_WORK_REGION);
    iommu_dev_tlb_unregister_region(dt, &buses[0], 0, PASID, &mr);
    listener_stop(&a);
    listener_stop(&b);
}

/* The search for a source id that no source has checks all sources */
static void test_work_of_search(void **state)
{
    enum { SOURCES = 200 };
    static IOMMUNotifier n[SOURCES];
    unsigned before;

    bus_numbers[0] = 1;
    before = work(IOMMU_DEV_TLB_NO_PASID, 0, false);
    for (int i = 0; i < SOURCES; i++) {
        iommu_dev_tlb_register(dt, &buses[0], i, PCI_NO_PASID, &n[i]);
    }
    assert_in_range(work(IOMMU_DEV_TLB_NO_PASID, 0, false),
                    before + SOURCES / 16, before + SOURCES);
    for (int i = 0; i < SOURCES; i++) {
        iommu_dev_tlb_unregister(dt, &buses[0], i, PCI_NO_PASID, &n[i]);
    }
    assert_int_equal(work(IOMMU_DEV_TLB_NO_PASID, 0, false), before);
}

/* vhost gets invalidations through a region, like listeners of its PASID */
static void test_region(void **state)
{
    IOMMUMemoryRegion mr;
    Listener a = { };

    bus_numbers[0] = 0;
    region_events = 0;
    listener_start(&a, &buses[0], PASID);
    iommu_dev_tlb_register_region(dt, &buses[0], 0, PCI_NO_PASID, &mr);
    invalidate(0, IOMMU_DEV_TLB_PASID);
    assert_int_equal(region_events, 0);
    invalidate(0, IOMMU_DEV_TLB_NO_PASID);
    assert_int_equal(region_events, 1);
    assert_int_equal(a.calls, 2);
    iommu_dev_tlb_unregister_region(dt, &buses[0], 0, PCI_NO_PASID, &mr);
    invalidate(0, IOMMU_DEV_TLB_NO_PASID);
    assert_int_equal(region_events, 1);
    listener_stop(&a);
}

/* Unregistering does nothing for a notifier that is not registered */
static void test_unregister_unknown(void **state)
{
    Listener a = { }, b = { };

    bus_numbers[0] = 0;
    iommu_dev_tlb_unregister(dt, &buses[0], 0, PASID + 1, &b.n);
    listener_start(&a, &buses[0], PASID);
    iommu_dev_tlb_unregister(dt, &buses[0], 0, PASID + 1, &b.n);
    iommu_dev_tlb_unregister(dt, &buses[0], 0, PASID, &b.n);
    invalidate(0, IOMMU_DEV_TLB_PASID);
    assert_int_equal(a.calls, 1);
    listener_stop(&a);
}

/* A notifier that unregisters itself */
static void test_unregister_in_call(void **state)
{
    Listener a = { .unregisters = true }, b = { };

    bus_numbers[0] = 0;
    listener_start(&a, &buses[0], PASID);
    listener_start(&b, &buses[0], PASID);
    invalidate(0, IOMMU_DEV_TLB_PASID);
    invalidate(0, IOMMU_DEV_TLB_PASID);
    assert_int_equal(a.calls, 1);
    assert_int_equal(b.calls, 2);
    listener_stop(&b);
}

typedef struct Worker {
    QemuThread thread;
    unsigned index;
} Worker;

/* Registers and frees listeners; a later call would be a use after free */
static void *come_and_go(void *opaque)
{
    Worker *w = opaque;

    for (unsigned i = 0; i < ROUNDS; i++) {
        Listener *l = g_new0(Listener, 1);
        uint32_t pasid = i % 3 ? PASID + i % 2 : PCI_NO_PASID;

        listener_start(l, &buses[w->index % BUSES], pasid);
        if (i % 4 == 0) {
            g_thread_yield();
        }
        listener_stop(l);
        g_free(l);
    }
    return NULL;
}

/* Threads register and unregister listeners while the guest invalidates */
static void test_threads(void **state)
{
    Worker workers[THREADS];
    Listener stays = { };
    unsigned reached = 0;

    bus_numbers[0] = 0;
    bus_numbers[1] = 1;
    listener_start(&stays, &buses[0], PASID);
    for (unsigned i = 0; i < THREADS; i++) {
        workers[i] = (Worker) { .index = i };
        qemu_thread_create(&workers[i].thread, "device", come_and_go,
                           &workers[i], QEMU_THREAD_JOINABLE);
    }
    for (unsigned i = 0; i < ROUNDS; i++) {
        /* The guest may assign bus numbers meanwhile. */
        qatomic_set(&bus_numbers[1], 1 + i / 16 % 3);
        invalidate(0, i % 3);
        invalidate(1 + i / 16 % 3, i % 3);
        reached++;
        assert_int_equal(qatomic_read(&stays.calls), reached);
    }
    for (unsigned i = 0; i < THREADS; i++) {
        qemu_thread_join(&workers[i].thread);
    }
    listener_stop(&stays);
    invalidate(0, IOMMU_DEV_TLB_NO_PASID);
    assert_int_equal(stays.calls, reached);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_renumber),
        cmocka_unit_test(test_scope),
        cmocka_unit_test(test_any_pasid),
        cmocka_unit_test(test_work),
        cmocka_unit_test(test_work_of_search),
        cmocka_unit_test(test_region),
        cmocka_unit_test(test_unregister_unknown),
        cmocka_unit_test(test_unregister_in_call),
        cmocka_unit_test(test_threads),
    };

    dt = iommu_dev_tlb_new();
    return cmocka_run_group_tests(tests, NULL, NULL);
}
