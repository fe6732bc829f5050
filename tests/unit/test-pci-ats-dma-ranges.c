/*
 * Unit tests of the DMA engine with ATS: transfers with two ranges
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The engine visits ranges in step, whichever of them lacks a page.
 *
 * Section numbers are those of the PCI Express Base Specification 5.0.
 */

#include "qemu/osdep.h"
#include "pci-ats-dma-steps.h"

/* The engine visits ranges in step, whichever of them lacks a page */
static void test_ranges(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t before[3 * PAGE];
    size_t visited;
    unsigned failed;
    Copy copy = { };

    memcpy(before, fake.ram, sizeof(before));
    /* The guest maps all pages one to one. */
    assert_int_equal(copy_pages(dma, 1, 0, 0, 10, 2 * PAGE, &copy, &visited,
                                &failed), 0);
    assert_int_equal(visited, 2 * PAGE);
    assert_memory_equal(fake.ram + 10 * PAGE + 1000, before + 7, 2 * PAGE);
    assert_int_equal(guest.requests_seen, 6);

    /* Without page requests: the second range ends first, then the first */
    assert_int_equal(copy_pages(dma, 1, PCI_ATS_DMA_NO_PRI, 0, 12, 2 * PAGE,
                                &copy, &visited, &failed), -EFAULT);
    assert_int_equal(failed, 1);
    assert_int_equal(visited, PAGE - 1000);
    assert_int_equal(copy_pages(dma, 1, PCI_ATS_DMA_NO_PRI, 2, 10, 2 * PAGE,
                                &copy, &visited, &failed), -EFAULT);
    assert_int_equal(failed, 0);
    assert_int_equal(visited, PAGE - 7);
    dma_stop(dma);
}

/* Untranslated ranges, and ranges that are not RAM */
static void test_ranges_untranslated(void **state)
{
    PCIATSDMA *dma = dma_start();
    size_t visited;
    unsigned failed;
    Copy copy = { };

    fake.ats_on = false;
    assert_int_equal(copy_pages(dma, PCI_NO_PASID, 0, 0, 10, 2 * PAGE, &copy,
                                &visited, &failed), 0);
    assert_memory_equal(fake.ram + 10 * PAGE + 1000, fake.ram + 7, 2 * PAGE);
    assert_int_equal(copy_pages(dma, PCI_NO_PASID, 0, 0, NR_PAGES, PAGE, &copy,
                                &visited, &failed), -EFAULT);
    assert_int_equal(failed, 1);
    assert_int_equal(visited, 0);
    assert_int_equal(fake.blocked_addr, IOVA + RAM_SIZE + 1000);
    assert_true(fake.blocked_write);
    fake.ats_on = true;
    map(0, 0, IOMMU_RW);
    map(10, MMIO, IOMMU_RW);
    assert_int_equal(copy_pages(dma, 1, 0, 0, 10, 16, &copy, &visited, &failed),
                     -EIO);
    assert_int_equal(failed, 1);
    assert_int_equal(copy_pages(dma, 1, 0, NR_PAGES - 1, 10, SIZE_MAX, &copy,
                                &visited, &failed), -EINVAL);
    dma_stop(dma);
}

/* Each range uses a share of the allocation */
static void test_ranges_share_allocation(void **state)
{
    PCIATSDMA *dma = dma_start();
    size_t visited;
    unsigned failed, writes = 0;
    Copy copy = { };

    fake.allocation = 8;
    assert_int_equal(copy_pages(dma, 1, 0, 0, 20, 16 * PAGE, &copy, &visited,
                                &failed), 0);
    assert_int_equal(guest.requests_seen, 2 * 17);
    assert_int_equal(guest.most_unanswered, 8);
    for (int i = 0; i < 8; i++) {
        writes += guest.queue[i].is_write;
    }
    assert_in_range(writes, 3, 5);
    dma_stop(dma);
}

/*
 * 10.5.1.3, 10.5.2.5: a transfer ends with every value of STU and of the
 * allocation
 */
static void test_ranges_extreme(void **state)
{
    static const uint32_t allocations[] = { 1, 2, 3, 1 << 22, UINT32_MAX };
    PCIATSDMA *dma = dma_start();
    size_t visited;
    unsigned failed;
    Copy copy = { };

    fake.pri_on = false;
    map(15, 0, IOMMU_RO);
    map(40, 0, IOMMU_RW);
    map(41, 0, IOMMU_RW);
    for (fake.stu = 12; fake.stu <= STU_MAX; fake.stu++) {
        for (int i = 0; i < ARRAY_SIZE(allocations); i++) {
            fake.allocation = allocations[i];
            assert_int_equal(copy_pages(dma, 1, 0, 15, 40, 4 * PAGE, &copy,
                                        &visited, &failed), -EFAULT);
            assert_int_equal(failed, 0);
            assert_int_equal(visited, PAGE - 7);
        }
    }
    dma_stop(dma);
}

/* The result names the range and the byte at which the guest refuses a page */
static void test_ranges_refused(void **state)
{
    PCIATSDMA *dma = dma_start();
    size_t visited;
    unsigned failed;
    Copy copy = { };

    guest.refused_page = 25;
    assert_int_equal(copy_pages(dma, 1, 0, 0, 20, 16 * PAGE, &copy, &visited,
                                &failed), -EFAULT);
    assert_int_equal(failed, 1);
    assert_int_equal(visited, 5 * PAGE - 1000);
    guest.refused_page = 3;
    map(3, 0, IOMMU_NONE);
    invalidate(1, 3);
    assert_int_equal(copy_pages(dma, 1, 0, 0, 40, 16 * PAGE, &copy, &visited,
                                &failed), -EFAULT);
    assert_int_equal(failed, 0);
    assert_int_equal(visited, 3 * PAGE - 7);
    dma_stop(dma);
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_ranges_untranslated),
        cmocka_unit_test(test_ranges_share_allocation),
        cmocka_unit_test(test_ranges_extreme),
        cmocka_unit_test(test_ranges_refused),
    };

    dma_init();
    return cmocka_run_group_tests_name("pci-ats-dma-ranges", tests, NULL, NULL);
}
