/*
 * Unit tests of the DMA engine with ATS: translations that become invalid
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * No transfer uses a translation after its invalidation.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include "qemu/cutils.h"
#include "qemu/rcu.h"
#include "pci-ats-dma-steps.h"

/* 10.5.1.3: translations from before ATS was off are not used any more */
static void test_epoch(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[16];

    map(1, 0, IOMMU_RO);
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    map(1, 8 * PAGE, IOMMU_RO);
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    assert_memory_equal(buf, fake.ram, 16);
    fake.epoch++;
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    assert_memory_equal(buf, fake.ram + 8 * PAGE, 16);
    dma_stop(dma);
}

/* 10.3.8: one invalidation for all PASIDs reaches the translations of each */
static void test_invalidate_all(void **state)
{
    PCIATSDMA *dma = dma_start();
    PCIATCStats stats;
    uint8_t buf[16];

    map(0, 0, IOMMU_RO);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(dma_read_at(dma, i, IOVA, buf, 16), 0);
    }
    map(0, 8 * PAGE, IOMMU_RO);
    invalidate(5, 0);
    assert_int_equal(dma_read_at(dma, 5, IOVA, buf, 16), 0);
    assert_memory_equal(buf, fake.ram + 8 * PAGE, 16);
    assert_int_equal(dma_read_at(dma, 6, IOVA, buf, 16), 0);
    assert_memory_equal(buf, fake.ram, 16);
    invalidate(PCI_ANY_PASID, 0);
    for (int i = 0; i < 16; i++) {
        assert_int_equal(dma_read_at(dma, i, IOVA, buf, 16), 0);
        assert_memory_equal(buf, fake.ram + 8 * PAGE, 16);
    }
    pci_ats_dma_get_stats(dma, &stats);
    assert_int_equal(stats.invalidations, 2);
    dma_stop(dma);
}

static void move_page(void)
{
    fake.answer_hook = NULL;
    map(1, 8 * PAGE, IOMMU_RO);
    invalidate(1, 1);
}

/* 10.3.1: an invalidation overtakes the completion of a translation request */
static void test_invalidation_overtakes(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[16];

    map(1, 0, IOMMU_RO);
    fake.answer_hook = move_page;
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    assert_memory_equal(buf, fake.ram + 8 * PAGE, 16);
    assert_int_equal(fake.translations, 2);
    dma_stop(dma);
}

/*
 * Threads write to an input page while its target changes: after the
 * invalidation has returned, no thread writes to the old target.  Each thread
 * has its own pages: threads see each other's entries in the ATC by means of
 * fences, which ThreadSanitizer does not model.
 */
#define STRESS_MOVES    3000
#define STRESS_WRITERS  2

static bool stress_stop;
static PCIATSDMA *stress_dma;

static uint8_t *stress_target(unsigned writer, unsigned which)
{
    return fake.ram + (writer * 2 + which) * PAGE;
}

static void stress_map(unsigned writer, unsigned which)
{
    map(writer, stress_target(writer, which) - fake.ram, IOMMU_RW);
}

static void *stress_writer(void *opaque)
{
    unsigned page = GPOINTER_TO_UINT(opaque);
    uint8_t buf[PAGE];

    rcu_register_thread();
    memset(buf, 0xff, sizeof(buf));
    while (!qatomic_read(&stress_stop)) {
        int ret = dma_write(stress_dma, page, buf, sizeof(buf));

        assert(!ret);
    }
    rcu_unregister_thread();
    return NULL;
}

/* Returns whether the old target had been written to */
static bool stress_move(unsigned writer, unsigned to)
{
    uint8_t *old = stress_target(writer, !to);
    bool written;

    stress_map(writer, to);
    invalidate(1, writer);
    written = old[0] == 0xff;
    memset(old, 0, PAGE);
    g_usleep(20);
    assert_true(buffer_is_zero(old, PAGE));
    return written;
}

static void test_invalidation_race(void **state)
{
    PCIATSDMA *dma = dma_start();
    QemuThread threads[STRESS_WRITERS];
    unsigned i, w, written = 0;

    stress_stop = false;
    stress_dma = dma;
    for (w = 0; w < STRESS_WRITERS; w++) {
        stress_map(w, 0);
        qemu_thread_create(&threads[w], "writer", stress_writer,
                           GUINT_TO_POINTER(w), QEMU_THREAD_JOINABLE);
    }
    for (i = 0; i < STRESS_MOVES; i++) {
        for (w = 0; w < STRESS_WRITERS; w++) {
            written += stress_move(w, !(i & 1));
        }
    }
    qatomic_set(&stress_stop, true);
    for (w = 0; w < STRESS_WRITERS; w++) {
        qemu_thread_join(&threads[w]);
    }
    /* Otherwise the test had no effect. */
    assert_true(written > 10);
    dma_stop(dma);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_epoch),
        cmocka_unit_test(test_invalidate_all),
        cmocka_unit_test(test_invalidation_overtakes),
        cmocka_unit_test(test_invalidation_race),
    };

    dma_init();
    return cmocka_run_group_tests_name("pci-ats-dma-invalidate", tests, NULL,
                                       NULL);
}
