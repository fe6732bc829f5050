/*
 * Requests from many threads while a guest changes tables and invalidates
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The tests run hw/i386/intel_iommu_ats.c, iommu_answer_cache.c,
 * intel_iommu_resolve.c, intel_iommu_walk.c and iommu_ram.c together, mainly
 * for ThreadSanitizer and AddressSanitizer.  Section numbers are those of the
 * Intel Virtualization Technology for Directed I/O specification, revision
 * 5.10.
 */

#include "qemu/osdep.h"
#include <setjmp.h>
#include <cmocka.h>
#include "qemu/atomic.h"
#include "qemu/bswap.h"
#include "qemu/memalign.h"
#include "qemu/rcu.h"
#include "qemu/thread.h"
#include "hw/i386/intel_iommu_internal.h"
#include "hw/i386/intel_iommu_ats.h"
#include "hw/i386/intel_iommu_resolve.h"
#include "hw/i386/intel_iommu_untranslated.h"
#include "drained-walk.h"
#include "fake-memory.h"
#include "fake-requester.h"

#define PAGE            4096ull
#define SID             0x20
#define PASID           5
#define DEVICES         3
#define ROUNDS          2000
#define FRESH_COUNT     0x100
#define IOVA            0x7000ull
/* A counter in the bits of a paging entry that software may use */
#define COUNTER_SHIFT   52
#define COUNTER_MASK    (0x3ffull << COUNTER_SHIFT)

/* Pages of guest memory */
enum {
    ROOT = 1, CONTEXT, DIRECTORY, TABLE,
    OLD, NEW = OLD + 4,         /* page tables, four levels each */
    END = NEW + 4,
};

static VTDResolver *resolver;

/* ThreadSanitizer does not see that RCU frees memory after the last reader */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "race:call_rcu_thread\n";
}

static void store(uint64_t page, unsigned index, uint64_t value)
{
    qatomic_set(&fake_memory[page * 512 + index], cpu_to_le64(value));
}

static uint64_t *leaf(unsigned tables)
{
    return &fake_memory[(tables + 3) * 512 + IOVA / PAGE];
}

/* Maps IOVA to the page of number @target */
static void use_leaf(unsigned tables, unsigned target)
{
    qatomic_set(leaf(tables), cpu_to_le64(target << 20 | VTD_FL_P | VTD_FL_RW |
                                          VTD_FL_US));
}

/* Fills page tables that map IOVA to the page of number @tables */
static void fill_tables(unsigned tables)
{
    for (unsigned i = 0; i < 3; i++) {
        store(tables + i, 0, (tables + i + 1) * PAGE | VTD_FL_P | VTD_FL_RW |
                             VTD_FL_US);
    }
    use_leaf(tables, tables);
}

static void use_tables(unsigned tables)
{
    store(TABLE, PASID * 8 + 2, tables * PAGE);
}

static void start(void)
{
    IntelIOMMUState *s;

    fill_tables(OLD);
    fill_tables(NEW);
    store(ROOT, 0, CONTEXT * PAGE | 1);
    store(CONTEXT, SID * 4, DIRECTORY * PAGE | VTD_SM_CONTEXT_ENTRY_DTE |
                            VTD_SM_CONTEXT_ENTRY_PASIDE | 1);
    store(DIRECTORY, 0, TABLE * PAGE | 1);
    store(TABLE, PASID * 8, VTD_SM_PASID_ENTRY_FLT | VTD_PASID_ENTRY_P);
    store(TABLE, PASID * 8 + 1, VTD_SM_PASID_ENTRY_PWSNP);
    use_tables(OLD);
    if (resolver) {
        return;
    }
    s = g_new0(IntelIOMMUState, 1);
    s->aw_bits = 48;
    s->flts = s->fs1gp = s->scalable_mode = s->root_scalable = true;
    s->dmar_enabled = true;
    s->ecap = VTD_ECAP_DT | VTD_ECAP_PASID | VTD_ECAP_PSS(20) |
              VTD_ECAP_FLTS | VTD_ECAP_SMPWC;
    s->root = ROOT * PAGE;
    stq_le_p(&s->csr[DMAR_RTADDR_REG], s->root | VTD_RTADDR_SMT);
    resolver = vtd_resolver_new(s);
    s->resolver = resolver;
}

typedef struct Shared {
    bool stop;
    bool walk;                  /* bypass the answer cache */
    bool gone;                  /* the PASID may be missing at times */
    /* Tables after the last invalidation, and the number of rounds; or 0 */
    unsigned fresh;
    unsigned answers;
} Shared;

typedef struct Device {
    QemuThread thread;
    Shared *shared;
    IOMMUAccessFlags want;
} Device;

static void walk(const Device *d, IOMMUTLBEntry *result)
{
    VTDTarget scratch;
    const VTDTarget *t;
    IOMMUWalkRequest req = {
        .first = IOVA,
        .last = IOVA + PAGE - 1,
        .want = d->want,
        .result = result,
        .max_results = 1,
    };

    RCU_READ_LOCK_GUARD();
    t = vtd_resolve(resolver, SID, PASID, VTD_AT_TRANSLATION, &scratch);
    if (!t->fault) {
        vtd_walk(&resolver->ram.mem, &t->walk, &req);
    }
}

/* Returns the tables that translated a request, or 0 for none */
static unsigned translate(const Device *d)
{
    IOMMUTLBEntry result = { };
    uint32_t errors;

    if (d->shared->walk) {
        walk(d, &result);
    } else {
        vtd_ats_request_translation(&fake_bus, resolver->s, SID, PASID, false,
                                    false, IOVA, PAGE, d->want == IOMMU_RO,
                                    &result, 1, &errors);
    }
    if (!(result.perm & IOMMU_RO)) {
        return 0;
    }
    /* The answer must not be a mixture of two answers. */
    g_assert_cmphex(result.iova, ==, IOVA);
    g_assert_cmphex(result.addr_mask, ==, PAGE - 1);
    return result.translated_addr >> 20;
}

static void *device(void *opaque)
{
    Device *d = opaque;
    Shared *shared = d->shared;

    rcu_register_thread();
    while (!qatomic_read(&shared->stop)) {
        unsigned before = qatomic_load_acquire(&shared->fresh);
        unsigned tables = translate(d);
        bool fpd;

        /* Read @fresh again after the tables. */
        smp_mb();
        if (!qatomic_read(&shared->gone)) {
            g_assert_true(tables == OLD || tables == NEW);
        }
        /* A request that began after the invalidation uses the new tables. */
        if (before && qatomic_read(&shared->fresh) == before) {
            g_assert_cmpuint(tables, ==, before % FRESH_COUNT);
        }
        WITH_RCU_READ_LOCK_GUARD() {
            vtd_resolve_translated(resolver, SID, PCI_NO_PASID, &fpd);
        }
        qatomic_inc(&shared->answers);
    }
    rcu_unregister_thread();
    return NULL;
}

static void start_devices(Device *devices, Shared *shared)
{
    for (unsigned i = 0; i < DEVICES; i++) {
        devices[i].shared = shared;
        devices[i].want = i % 2 ? IOMMU_RO : IOMMU_RW;
        qemu_thread_create(&devices[i].thread, "device", device, &devices[i],
                           QEMU_THREAD_JOINABLE);
    }
    while (!qatomic_read(&shared->answers)) {
        g_thread_yield();
    }
}

static void stop_devices(Device *devices, Shared *shared)
{
    qatomic_set(&shared->stop, true);
    for (unsigned i = 0; i < DEVICES; i++) {
        qemu_thread_join(&devices[i].thread);
    }
}

/*
 * After an invalidation has returned, no request uses the old tables, nor
 * answers that earlier requests computed from them.
 */
static void check_invalidate(bool leaves)
{
    Shared shared = { };
    Device devices[DEVICES];

    start();
    start_devices(devices, &shared);
    for (unsigned i = 0; i < ROUNDS; i++) {
        unsigned tables = i % 2 ? OLD : NEW;

        qatomic_set(&shared.fresh, 0);
        /* A thread that sees the new tables also sees @fresh = 0. */
        smp_mb();
        if (leaves) {
            use_leaf(OLD, tables);
            iommu_answers_invalidate_pasid(resolver->answers, PASID);
        } else {
            use_tables(tables);
            vtd_resolver_invalidate(resolver);
        }
        qatomic_store_release(&shared.fresh, tables + i * FRESH_COUNT);
        if (i % 8 == 0) {
            g_usleep(10);
        }
    }
    stop_devices(devices, &shared);
}

/* 6.5.2.2: a new PASID-table entry, and an invalidation of the PASID-cache */
static void test_invalidate(void **state)
{
    check_invalidate(false);
}

/* 6.5.2.4: a new paging entry, and an invalidation of the IOTLB */
static void test_invalidate_leaf(void **state)
{
    check_invalidate(true);
}

/* Registers and the memory map change during requests, and tables vanish */
static void test_registers_and_memory(void **state)
{
    Shared shared = { .gone = true };
    Device devices[DEVICES];

    start();
    start_devices(devices, &shared);
    for (unsigned i = 0; i < ROUNDS; i++) {
        resolver->s->root_scalable = i % 3;
        resolver->s->dmar_enabled = i % 5;
        vtd_resolver_update(resolver);
        fake_memory_map(i % 2 ? FAKE_MEMORY_PAGES : OLD + i % 8, i % 4);
        store(DIRECTORY, 0, i % 7 ? TABLE * PAGE | 1 : 0);
    }
    stop_devices(devices, &shared);
    resolver->s->root_scalable = resolver->s->dmar_enabled = true;
    vtd_resolver_update(resolver);
    fake_memory_map(FAKE_MEMORY_PAGES, 0);
    drain_call_rcu();
    /* One reference, for the mapped range */
    assert_int_equal(fake_memory_references(), 1);
}

static void request_translation(void)
{
    const Device d = { .shared = &(Shared) { }, .want = IOMMU_RW };

    assert_int_equal(translate(&d), OLD);
}

/* 6.5.4: an invalidation is complete when nothing uses the tables */
static void test_invalidate_walk(void **state)
{
    start();
    vtd_resolver_invalidate(resolver);
    drained_walk_check(resolver->walks, request_translation);
}

/* SGN.10 (7.1.3): a PASID beyond what ECAP.PSS announces */
static void test_pasid_size(void **state)
{
    VTDTarget scratch;
    uint64_t ecap;

    start();
    ecap = resolver->s->ecap;
    RCU_READ_LOCK_GUARD();
    assert_int_equal(vtd_resolve(resolver, SID, PASID, VTD_AT_TRANSLATION,
                                 &scratch)->fault, 0);
    assert_int_equal(vtd_resolve(resolver, SID, 1 << 12, VTD_AT_TRANSLATION,
                                 &scratch)->fault, VTD_FR_PASID_DIR_ENTRY_P);
    resolver->s->ecap = (ecap & ~VTD_ECAP_PSS(32)) | VTD_ECAP_PSS(12);
    assert_int_equal(vtd_resolve(resolver, SID, PASID, VTD_AT_TRANSLATION,
                                 &scratch)->fault, 0);
    assert_int_equal(vtd_resolve(resolver, SID, 1 << 12, VTD_AT_TRANSLATION,
                                 &scratch)->fault, VTD_FR_SM_PASID_BEYOND_PSS);
    resolver->s->ecap = ecap;
}

/* 3.6.2: no flags are set in a changed or read-only entry */
static void test_set_flags(void **state)
{
    const IOMMURam *ram;
    uint64_t *entry;
    uint64_t addr = (OLD + 3) * PAGE + IOVA / PAGE * 8, old;

    start();
    ram = &resolver->ram;
    entry = leaf(OLD);
    old = *entry;
    RCU_READ_LOCK_GUARD();
    assert_int_equal(iommu_ram_set_flags(ram, addr, old, VTD_FL_A), 0);
    assert_int_equal(*entry, old | VTD_FL_A);
    /* A vCPU seems to have changed the entry since it was read. */
    assert_int_equal(iommu_ram_set_flags(ram, addr, old, VTD_FL_A | VTD_FL_D),
                     -EAGAIN);
    assert_int_equal(*entry, old | VTD_FL_A);
    fake_memory_map(END, END - OLD);
    assert_int_equal(iommu_ram_set_flags(ram, addr, *entry, VTD_FL_D), -EFAULT);
    assert_int_equal(iommu_ram_set_flags(ram, addr, *entry, VTD_FL_A), 0);
    fake_memory_map(OLD, 0);
    assert_int_equal(iommu_ram_set_flags(ram, addr, *entry, VTD_FL_D), -EFAULT);
    assert_int_equal(*entry, old | VTD_FL_A);
    fake_memory_map(FAKE_MEMORY_PAGES, 0);
}

/* Changes an entry like software on a vCPU, by compare-and-exchange */
static void cpu_count(uint64_t *entry, uint64_t clear)
{
    uint64_t old, new, seen = qatomic_read(entry);

    do {
        old = seen;
        new = (old & ~(COUNTER_MASK | clear)) |
              ((old + (1ull << COUNTER_SHIFT)) & COUNTER_MASK);
        seen = qatomic_cmpxchg(entry, old, new);
    } while (seen != old);
}

/*
 * 3.6.2: accessed and dirty bits are set by locked operations.  A plain store
 * would undo concurrent changes of the entry by a vCPU.
 */
static void test_flags_against_cpu(void **state)
{
    Shared shared = { .walk = true };
    Device devices[DEVICES];
    uint64_t *entry;

    start();
    entry = leaf(OLD);
    vtd_resolver_invalidate(resolver);
    start_devices(devices, &shared);
    for (unsigned i = 0; i < ROUNDS * 500; i++) {
        cpu_count(entry, VTD_FL_A | VTD_FL_D);
        assert_int_equal((qatomic_read(entry) & COUNTER_MASK) >> COUNTER_SHIFT,
                         (i + 1) & (COUNTER_MASK >> COUNTER_SHIFT));
    }
    stop_devices(devices, &shared);
}

/* Addresses that share a slot of the answer cache, with different outputs */
#define SHARED_STEP     (IOMMU_ANSWER_CACHE_SIZE * PAGE)

typedef struct User {
    QemuThread thread;
    IOMMUAnswerCache *cache;
    bool stop;
    unsigned found;
} User;

static IOMMUAnswerKey shared_key(unsigned i)
{
    return (IOMMUAnswerKey) { .sid = SID, .pasid = PASID,
                              .addr = i * SHARED_STEP };
}

static void *user(void *opaque)
{
    User *u = opaque;

    for (unsigned i = 0; !qatomic_read(&u->stop); i++) {
        IOMMUAnswerKey key = shared_key(i % 4);
        IOMMUTLBEntry e = {
            .translated_addr = (i % 4) << 30,
            .addr_mask = (PAGE << (i % 4)) - 1,
            .perm = IOMMU_RW,
        };

        iommu_answers_add(u->cache, iommu_answers_generation(u->cache, &key),
                          &key, &e);
        key = shared_key(i % 3);
        if (iommu_answers_find(u->cache, &key, key.addr, IOMMU_RO, &e)) {
            g_assert_cmphex(e.translated_addr, ==, (i % 3) << 30);
            g_assert_cmphex(e.addr_mask, ==, (PAGE << (i % 3)) - 1);
            u->found++;
        }
    }
    return NULL;
}

/* Several threads add and look up answers in one slot */
static void test_shared_slot(void **state)
{
    IOMMUAnswerCache *cache = iommu_answers_new();
    User users[DEVICES] = { };
    unsigned found = 0;

    for (unsigned i = 0; i < DEVICES; i++) {
        users[i].cache = cache;
        qemu_thread_create(&users[i].thread, "user", user, &users[i],
                           QEMU_THREAD_JOINABLE);
    }
    for (unsigned i = 0; i < 50; i++) {
        g_usleep(2000);
        iommu_answers_invalidate(cache);
    }
    for (unsigned i = 0; i < DEVICES; i++) {
        qatomic_set(&users[i].stop, true);
        qemu_thread_join(&users[i].thread);
        found += users[i].found;
    }
    assert_true(found);
    qemu_vfree(cache);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_pasid_size),
        cmocka_unit_test(test_set_flags),
        cmocka_unit_test(test_invalidate),
        cmocka_unit_test(test_invalidate_leaf),
        cmocka_unit_test(test_invalidate_walk),
        cmocka_unit_test(test_registers_and_memory),
        cmocka_unit_test(test_flags_against_cpu),
        cmocka_unit_test(test_shared_slot),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
