/*
 * Unit tests of the lookup of AMD-Vi tables for a request, also by threads
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tests run hw/i386/amd_iommu_resolve.c and the code that uses it, with a
 * device table, GCR3 tables and page tables in guest memory.
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/i386/amd_iommu_ats.h"
#include "hw/i386/amd_iommu_resolve.h"
#include "hw/i386/amd_iommu_untranslated.h"
#include "hw/i386/iommu_dev_tlb.h"
#include "drained-walk.h"
#include "fake-memory.h"
#include "fake-requester.h"

#define PAGE        4096ull
#define DEVID       0x20
#define DOMAIN      7
#define PASID       5
#define OTHER_PASID 6
#define IOVA        0x7000ull
#define DEVICES     3
#define ROUNDS      2000

/* Device table entry (2.2.2.1) */
#define V           1ull
#define TV          2ull
#define MODE(n)     ((uint64_t)(n) << 9)
#define GV          (1ull << 55)
#define GLX(n)      ((uint64_t)(n) << 56)
#define RW          (3ull << 61)
#define I           (1ull << 32)
#define RESERVED    (1ull << 63)

/* Entries of guest tables, and of the GCR3 table */
#define GUEST       7ull
#define ACCESSED    (3ull << 5)
#define GCR3_V      1ull

/* Entries of host tables (2.2.3) */
#define HOST_PR     1ull
#define HOST_IW     (1ull << 62)

#define ENABLED     (AMDVI_MMIO_CONTROL_AMDVIEN | AMDVI_MMIO_CONTROL_GTEN)

/* Pages of guest memory; OLD and NEW are root tables of four levels each */
enum {
    DEVTAB = 1, GCR3, OLD, NEW = OLD + 4, END = NEW + 4,
};

static AMDVIState *iommu;
static unsigned events;
static AMDVIPageFault last_event;

/* ThreadSanitizer does not see that RCU frees memory after the last reader */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:call_rcu_thread\n";
}

/* ---- Replacements for functions that the code under test calls ---- */

uint64_t amdvi_readq(AMDVIState *s, hwaddr addr)
{
    return ldq_le_p(&s->mmior[addr]);
}

static void record(const AMDVIPageFault *fault)
{
    last_event = *fault;
    events++;
}

void amdvi_event_illegal_dte(AMDVIState *s, const AMDVIPageFault *fault)
{
    record(fault);
}

void amdvi_event_io_page_fault(AMDVIState *s, const AMDVIPageFault *fault)
{
    record(fault);
}

void amdvi_event_dev_tab_error(AMDVIState *s, const AMDVIPageFault *fault,
                               hwaddr entry)
{
    record(fault);
}

void amdvi_event_page_tab_error(AMDVIState *s, const AMDVIPageFault *fault,
                                hwaddr entry)
{
    record(fault);
}

void amdvi_event_invalid_request(AMDVIState *s, const AMDVIPageFault *fault,
                                 AMDVIInvalidRequest type)
{
    record(fault);
}

/* Device-TLBs have tests of their own, test-iommu-dev-tlb.c */
void iommu_dev_tlb_register(IOMMUDevTLB *dt, PCIBus *bus, int devfn,
                            uint32_t pasid, IOMMUNotifier *n)
{
    g_assert_not_reached();
}

void iommu_dev_tlb_unregister(IOMMUDevTLB *dt, PCIBus *bus, int devfn,
                              uint32_t pasid, IOMMUNotifier *n)
{
    g_assert_not_reached();
}

/* ---- Tables ---- */

static void store(uint64_t page, unsigned index, uint64_t value)
{
    qatomic_set(&fake_memory[page * 512 + index], cpu_to_le64(value));
}

static void set_dte(unsigned quad, uint64_t value)
{
    store(DEVTAB, DEVID * AMDVI_DTE_QUADS + quad, value);
}

/* Tables that map IOVA to their last page */
static void fill_tables(uint64_t root)
{
    for (unsigned level = 4; level > 1; level--, root++) {
        store(root, 0, (root + 1) * PAGE | GUEST);
    }
    store(root, IOVA / PAGE, root * PAGE | GUEST);
}

static hwaddr target(uint64_t root)
{
    return (root + 3) * PAGE;
}

static void update(uint64_t control)
{
    stq_le_p(&iommu->mmior[AMDVI_MMIO_CONTROL], control);
    iommu->enabled = control & AMDVI_MMIO_CONTROL_AMDVIEN;
    amdvi_resolver_update(iommu->resolver);
}

/* An IOMMU is never freed: all tests use the same one */
static int setup_group(void **state)
{
    iommu = g_new0(AMDVIState, 1);
    iommu->svm = true;
    iommu->dma_translation = true;
    iommu->devtab = DEVTAB * PAGE;
    iommu->ram = g_new0(IOMMURam, 1);
    iommu_ram_init(iommu->ram);
    iommu->resolver = amdvi_resolver_new(iommu);
    return 0;
}

static int setup(void **state)
{
    fake_memory_map(FAKE_MEMORY_PAGES, 0);
    memset(fake_memory, 0, sizeof(fake_memory));
    fill_tables(OLD);
    fill_tables(NEW);
    store(GCR3, PASID, OLD * PAGE | GCR3_V);
    store(GCR3, OTHER_PASID, OLD * PAGE | GCR3_V);
    /* The GCR3 table is in page 2: bits 14:12 of its address are 010b */
    set_dte(0, V | TV | RW | GV | (uint64_t)GCR3 << 58);
    set_dte(1, DOMAIN | I);
    iommu->devtab_len = PAGE / AMDVI_DEVTAB_ENTRY_SIZE;
    events = 0;
    update(ENABLED);
    return 0;
}

static AMDVIFault fault_of(uint16_t devid, uint32_t pasid)
{
    AMDVITarget scratch;

    RCU_READ_LOCK_GUARD();
    return amdvi_resolve(iommu->resolver, devid, pasid, &scratch)->fault;
}

static hwaddr guest_root(uint32_t pasid)
{
    AMDVITarget scratch;

    RCU_READ_LOCK_GUARD();
    return amdvi_resolve(iommu->resolver, DEVID, pasid,
                         &scratch)->walk.guest_root;
}

/* Returns: where the page is, or 0 */
static hwaddr translate(uint32_t pasid)
{
    IOMMUTLBEntry result;
    uint32_t errors;
    ssize_t n = amdvi_ats_request_translation(&fake_bus, iommu, DEVID, pasid,
                                              false, false, IOVA, PAGE, false,
                                              &result, 1, &errors);

    g_assert_cmpint(n, ==, 1);
    return errors ? 0 : result.translated_addr;
}

/* ---- Tests ---- */

/* 2.2.2, 2.2.6: why there are no tables */
static void test_faults(void **state)
{
    static const struct {
        unsigned quad;
        uint64_t value;
        uint32_t pasid;
        AMDVIFault fault;
    } cases[] = {
        { 0, V | TV | RW | GV | (uint64_t)GCR3 << 58, PASID, AMDVI_FAULT_NONE },
        { 0, V | TV | RW | RESERVED, PASID, AMDVI_FAULT_DTE_RESERVED },
        { 0, V | TV | RW | MODE(7), PASID, AMDVI_FAULT_DTE_LEVEL },
        { 0, V | TV | RW | GV | GLX(3), PASID, AMDVI_FAULT_DTE_LEVEL },
        { 0, V | RW, PASID, AMDVI_FAULT_NO_TRANSLATION },
        { 0, V | RW, PCI_NO_PASID, AMDVI_FAULT_NO_TRANSLATION },
        { 0, V | TV | RW, PASID, AMDVI_FAULT_NO_GUEST },
        { 0, V | TV | RW, PCI_NO_PASID, AMDVI_FAULT_NONE },
        { 0, 0, PASID, AMDVI_FAULT_NO_GUEST },
        { 0, 0, PCI_NO_PASID, AMDVI_FAULT_NONE },
        { 0, V | TV | RW | GV | (uint64_t)GCR3 << 58, 512,
          AMDVI_FAULT_GCR3_PASID },
        { 0, V | TV | RW | GV | (uint64_t)GCR3 << 58, 511,
          AMDVI_FAULT_GCR3_NOT_PRESENT },
        { 1, 0xffffull << 48, PASID, AMDVI_FAULT_GCR3_UNREACHABLE },
    };

    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        set_dte(cases[i].quad, cases[i].value);
        amdvi_resolver_invalidate(iommu->resolver);
        assert_int_equal(fault_of(DEVID, cases[i].pasid), cases[i].fault);
    }
    assert_int_equal(fault_of(PAGE / AMDVI_DEVTAB_ENTRY_SIZE, PASID),
                     AMDVI_FAULT_DEVICE_ID);
    fake_memory_map(DEVTAB, 0);
    amdvi_resolver_invalidate(iommu->resolver);
    assert_int_equal(fault_of(DEVID, PASID), AMDVI_FAULT_DTE_UNREACHABLE);
}

/* MMIO 0018h: without GTEn there is no guest translation */
static void test_gten(void **state)
{
    update(AMDVI_MMIO_CONTROL_AMDVIEN);
    assert_int_equal(fault_of(DEVID, PASID), AMDVI_FAULT_NO_GUEST);
    update(ENABLED);
    assert_int_equal(fault_of(DEVID, PASID), AMDVI_FAULT_NONE);
    iommu->svm = false;
    update(ENABLED);
    assert_int_equal(fault_of(DEVID, PASID), AMDVI_FAULT_NO_GUEST);
    iommu->svm = true;
}

/* 2.4.2, 2.4.3: entries are cached until software invalidates them */
static void test_cached(void **state)
{
    assert_int_equal(guest_root(PASID), OLD * PAGE);
    store(GCR3, PASID, NEW * PAGE | GCR3_V);
    assert_int_equal(guest_root(PASID), OLD * PAGE);
    amdvi_resolver_invalidate_pasid(iommu->resolver, PASID);
    assert_int_equal(guest_root(PASID), NEW * PAGE);
    set_dte(0, V);
    assert_int_equal(guest_root(PASID), NEW * PAGE);
    amdvi_resolver_invalidate(iommu->resolver);
    assert_int_equal(fault_of(DEVID, PASID), AMDVI_FAULT_NO_TRANSLATION);
}

/* Neither faults nor entries with V = 0 are cached */
static void test_not_cached(void **state)
{
    uint64_t good = ldq_le_p(&fake_memory[DEVTAB * 512 + DEVID * 4]);

    set_dte(0, V);
    assert_int_equal(fault_of(DEVID, PASID), AMDVI_FAULT_NO_TRANSLATION);
    set_dte(0, good);
    assert_int_equal(fault_of(DEVID, PASID), AMDVI_FAULT_NONE);

    amdvi_resolver_invalidate(iommu->resolver);
    set_dte(0, 0);
    assert_int_equal(fault_of(DEVID, PCI_NO_PASID), AMDVI_FAULT_NONE);
    set_dte(0, V);
    assert_int_equal(fault_of(DEVID, PCI_NO_PASID),
                     AMDVI_FAULT_NO_TRANSLATION);
}

/* 2.4.3: an invalidation of a PASID keeps the answers for other PASIDs */
static void test_answers(void **state)
{
    uint64_t leaf = (OLD + 3) * 512 + IOVA / PAGE;

    assert_int_equal(translate(PASID), target(OLD));
    assert_int_equal(translate(OTHER_PASID), target(OLD));
    qatomic_set(&fake_memory[leaf], 0);
    amdvi_resolver_invalidate_pasid(iommu->resolver, OTHER_PASID);
    assert_int_equal(translate(PASID), target(OLD));
    assert_int_equal(translate(OTHER_PASID), 0);
    amdvi_resolver_invalidate_pasid(iommu->resolver, PASID);
    assert_int_equal(translate(PASID), 0);
    /* A page that is not present is no event (2.1.3) */
    assert_int_equal(events, 0);
}

/* 2.5.9: translation requests need I = 1, also those with cached targets */
static void test_no_ats(void **state)
{
    assert_int_equal(translate(PASID), target(OLD));
    set_dte(1, DOMAIN);
    amdvi_resolver_invalidate(iommu->resolver);
    assert_int_equal(translate(PASID), 0);
    assert_int_equal(events, 1);
    assert_int_equal(last_event.devid, DEVID);
    assert_int_equal(last_event.pasid, PASID);
    assert_true(last_event.translation);
}

/* ---- Translated requests (2.1.3) ---- */

#define TRANSLATED  0x1234000ull

static bool translated_request(bool ats_enabled, hwaddr addr)
{
    hwaddr len = 4;

    return amdvi_translated_request(&fake_bus, iommu, DEVID, ats_enabled, addr,
                                    &len, false);
}

static bool translated_in_region(hwaddr addr)
{
    IOMMUTLBEntry entry;

    amdvi_translate_translated(iommu, &fake_bus, DEVID, addr, false, &entry);
    if (entry.perm != IOMMU_NONE) {
        g_assert_cmphex(entry.translated_addr, ==, entry.iova);
    }
    return entry.perm != IOMMU_NONE;
}

/* 2.5.9: I = 1, and ATS is enabled in the function (PCIe 5.0, 10.5.1.3) */
static void test_translated(void **state)
{
    PCIDevice *dev = g_new0(PCIDevice, 1);

    assert_true(translated_request(true, TRANSLATED));
    assert_int_equal(events, 0);
    assert_false(translated_request(false, TRANSLATED));
    assert_int_equal(events, 1);
    assert_false(last_event.translation);
    assert_int_equal(last_event.addr, TRANSLATED);

    /* No function, a function without ATS, and a function behind a bridge */
    assert_false(translated_in_region(TRANSLATED));
    fake_bus.devices[DEVID] = dev;
    assert_true(translated_in_region(TRANSLATED));
    fake_ats_enabled = false;
    assert_false(translated_in_region(TRANSLATED));
    fake_ats_enabled = true;
    fake_bus_express = false;
    assert_false(translated_in_region(TRANSLATED));
    fake_bus_express = true;
    assert_int_equal(events, 4);

    assert_false(translated_request(true, AMDVI_INT_ADDR_FIRST));
    assert_false(translated_in_region(AMDVI_INT_ADDR_LAST));
    assert_int_equal(events, 6);
    set_dte(1, DOMAIN);
    amdvi_resolver_invalidate(iommu->resolver);
    assert_false(translated_in_region(TRANSLATED));
    set_dte(0, V | RESERVED);
    amdvi_resolver_invalidate(iommu->resolver);
    assert_false(translated_in_region(TRANSLATED));
    assert_int_equal(events, 8);
    /* Unsupported Request, without an event */
    update(0);
    assert_false(translated_in_region(TRANSLATED));
    assert_int_equal(events, 8);
    fake_bus.devices[DEVID] = NULL;
    g_free(dev);
}

/* One check is for a part of a request, which never reaches interrupts */
static void test_translated_length(void **state)
{
    hwaddr len = 2 * AMDVI_INT_ADDR_SIZE;

    assert_true(amdvi_translated_request(&fake_bus, iommu, DEVID, true,
                                         AMDVI_INT_ADDR_FIRST - 16, &len,
                                         true));
    assert_int_equal(len, 16);
    assert_true(amdvi_translated_request(&fake_bus, iommu, DEVID, true,
                                         AMDVI_INT_ADDR_FIRST - 16, &len,
                                         true));
    assert_int_equal(len, 16);
    assert_false(amdvi_translated_request(&fake_bus, iommu, DEVID, true,
                                          AMDVI_INT_ADDR_FIRST, &len, true));
    assert_true(last_event.write);
}

/* ---- Cache ---- */

/* Devices and PASIDs that share a place in the cache */
static void test_collisions(void **state)
{
    enum { IDS = PAGE / AMDVI_DEVTAB_ENTRY_SIZE, PASIDS = 64 };

    for (unsigned pasid = 0; pasid < PASIDS; pasid++) {
        store(GCR3, pasid, (pasid % 2 ? OLD : NEW) * PAGE | GCR3_V);
    }
    for (unsigned id = 0; id < IDS; id++) {
        uint64_t entry = V | TV | RW | GV | (uint64_t)GCR3 << 58;

        /* Every other device has no guest tables. */
        store(DEVTAB, id * AMDVI_DTE_QUADS, id % 2 ? entry : V | TV | RW);
    }
    amdvi_resolver_invalidate(iommu->resolver);
    for (unsigned i = 0; i < 2 * IDS * PASIDS; i++) {
        unsigned id = i % IDS, pasid = i / IDS % PASIDS;
        AMDVITarget scratch;
        const AMDVITarget *t;

        RCU_READ_LOCK_GUARD();
        t = amdvi_resolve(iommu->resolver, id, id % 2 ? pasid : PCI_NO_PASID,
                          &scratch);
        assert_int_equal(t->fault, AMDVI_FAULT_NONE);
        assert_int_equal(t->devid, id);
        assert_int_equal(t->walk.guest_root, !(id % 2) ? 0 :
                         (pasid % 2 ? OLD : NEW) * PAGE);
    }
}

/* ---- Lookups ---- */

/* A lookup without side effects: no flags, no events, and no permission */
static void test_peek(void **state)
{
    IOMMUTLBEntry entry;

    /* GIoV: requests without PASID use the tables of PASID 0 */
    store(GCR3, 0, OLD * PAGE | GCR3_V);
    set_dte(0, V | TV | RW | GV | 1ull << 54 | (uint64_t)GCR3 << 58);
    amdvi_resolver_invalidate(iommu->resolver);
    assert_false(amdvi_peek(iommu, &fake_bus, DEVID, IOVA, &entry));
    assert_int_equal(fake_memory[(OLD + 3) * 512 + IOVA / PAGE],
                     cpu_to_le64(target(OLD) | GUEST));
    amdvi_translate_untranslated(iommu, &fake_bus, DEVID, IOVA, true, &entry);
    assert_int_equal(entry.perm, IOMMU_RW);
    assert_int_equal(fake_memory[(OLD + 3) * 512 + IOVA / PAGE],
                     cpu_to_le64(target(OLD) | GUEST | ACCESSED));
    assert_true(amdvi_peek(iommu, &fake_bus, DEVID, IOVA, &entry));
    assert_int_equal(entry.translated_addr, target(OLD));
    assert_false(amdvi_peek(iommu, &fake_bus, DEVID, 0, &entry));
    assert_int_equal(events, 0);
}

/* Linux maps buffers that a device fills for writes only */
static void test_peek_write_only(void **state)
{
    IOMMUTLBEntry entry;

    store(NEW, IOVA / PAGE, target(OLD) | HOST_PR | HOST_IW);
    set_dte(0, V | TV | MODE(1) | RW | NEW * PAGE);
    amdvi_resolver_invalidate(iommu->resolver);
    assert_true(amdvi_peek(iommu, &fake_bus, DEVID, IOVA, &entry));
    assert_int_equal(entry.perm, IOMMU_WO);
    assert_int_equal(entry.translated_addr, target(OLD));
    assert_false(amdvi_peek(iommu, &fake_bus, DEVID, IOVA + PAGE, &entry));
    assert_int_equal(events, 0);
}

/*
 * There is no translation for an entry that blocks requests, for port I/O that
 * passes (2.1.2), and while the IOMMU is disabled.
 */
static void test_peek_nothing(void **state)
{
    const uint64_t io_ctl_pass = 1ull << 35, port_io = 0xfdfc000000;
    IOMMUTLBEntry entry;

    set_dte(0, V | TV | RW);
    set_dte(1, DOMAIN | io_ctl_pass);
    amdvi_resolver_invalidate(iommu->resolver);
    assert_true(amdvi_peek(iommu, &fake_bus, DEVID, IOVA, &entry));
    assert_false(amdvi_peek(iommu, &fake_bus, DEVID, port_io, &entry));
    set_dte(0, V | RW);
    amdvi_resolver_invalidate(iommu->resolver);
    assert_false(amdvi_peek(iommu, &fake_bus, DEVID, IOVA, &entry));
    set_dte(0, V | TV | RW);
    update(0);
    assert_false(amdvi_peek(iommu, &fake_bus, DEVID, IOVA, &entry));
    assert_int_equal(events, 0);
}

/* ---- Threads ---- */

typedef struct Device {
    QemuThread thread;
    bool *stop;
    unsigned requests;          /* that have ended; also read by the test */
} Device;

static void *device(void *opaque)
{
    Device *d = opaque;

    rcu_register_thread();
    while (!qatomic_read(d->stop)) {
        hwaddr page = translate(PASID);

        g_assert_true(page == target(OLD) || page == target(NEW));
        qatomic_set(&d->requests, d->requests + 1);
    }
    rcu_unregister_thread();
    return NULL;
}

static bool all_have_sent(Device *devices)
{
    for (unsigned i = 0; i < DEVICES; i++) {
        if (!qatomic_read(&devices[i].requests)) {
            return false;
        }
    }
    return true;
}

/*
 * 2.4.3: requests that begin after an invalidation do not use what was read
 * before it, whatever other threads do at the same time.
 */
static void test_threads(void **state)
{
    Device devices[DEVICES] = { };
    bool stop = false;

    for (unsigned i = 0; i < DEVICES; i++) {
        devices[i].stop = &stop;
        qemu_thread_create(&devices[i].thread, "device", device, &devices[i],
                           QEMU_THREAD_JOINABLE);
    }
    /* On a busy machine threads start late */
    for (unsigned i = 0; i < ROUNDS || !all_have_sent(devices); i++) {
        uint64_t root = i % 2 ? OLD : NEW;

        store(GCR3, PASID, root * PAGE | GCR3_V);
        amdvi_resolver_invalidate_pasid(iommu->resolver, PASID);
        assert_int_equal(translate(PASID), target(root));
        if (i % 64 == 0) {
            update(ENABLED);
        }
    }
    qatomic_set(&stop, true);
    for (unsigned i = 0; i < DEVICES; i++) {
        qemu_thread_join(&devices[i].thread);
    }
    assert_int_equal(events, 0);
}

static void request_translation(void)
{
    assert_int_equal(translate(PASID), target(OLD));
}

/* 2.4.1: COMPLETION_WAIT, when nothing uses the tables any more */
static void test_invalidate_walk(void **state)
{
    amdvi_resolver_invalidate_devices(iommu->resolver);
    drained_walk_check(amdvi_resolver_walks(iommu->resolver),
                       request_translation);
}

#define TEST(name) cmocka_unit_test_setup(test_ ## name, setup)

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        TEST(faults),
        TEST(gten),
        TEST(cached),
        TEST(not_cached),
        TEST(answers),
        TEST(no_ats),
        TEST(translated),
        TEST(translated_length),
        TEST(collisions),
        TEST(peek),
        TEST(peek_write_only),
        TEST(peek_nothing),
        TEST(threads),
        TEST(invalidate_walk),
    };

    return cmocka_run_group_tests_name("amd-iommu-resolve", tests, setup_group,
                                       NULL);
}
