/*
 * Unit tests of the DMA engine with ATS: transfers
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Translated and untranslated transfers, errors, and the thread that runs a
 * transfer.
 */

#include "qemu/osdep.h"
#include "pci-ats-dma-steps.h"

static void test_translated(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[3 * PAGE];
    int before;

    /* Two pages that are not contiguous, at an unaligned address */
    map(4, 9 * PAGE, IOMMU_RW);
    map(5, 2 * PAGE, IOMMU_RW);
    map(6, 3 * PAGE, IOMMU_RW);
    assert_int_equal(dma_read_at(dma, 1, IOVA + 4 * PAGE + 100, buf, 2 * PAGE),
                     0);
    assert_memory_equal(buf, fake.ram + 9 * PAGE + 100, PAGE - 100);
    assert_memory_equal(buf + PAGE - 100, fake.ram + 2 * PAGE, PAGE + 100);
    before = fake.translations;
    assert_int_equal(dma_read(dma, 4, buf, 3 * PAGE), 0);
    assert_int_equal(fake.translations, before);
    memset(buf, 0x5a, sizeof(buf));
    assert_int_equal(dma_write(dma, 5, buf, 2 * PAGE), 0);
    assert_memory_equal(fake.ram + 2 * PAGE, buf, 2 * PAGE);
    assert_int_equal(fake.untranslated_accesses + guest.requests_seen, 0);
    /* Length 0 */
    assert_int_equal(dma_read(dma, 20, buf, 0), 0);
    dma_stop(dma);
}

static void test_errors(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[16];

    assert_int_equal(dma_read_at(dma, 1, UINT64_MAX, buf, 2), -EINVAL);
    fake.pri_on = false;
    assert_int_equal(dma_read(dma, 1, buf, 16), -EFAULT);
    map(1, 0, IOMMU_RO);
    assert_int_equal(dma_write(dma, 1, buf, 16), -EFAULT);
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    /* The allocation is 0. */
    fake.pri_on = true;
    fake.allocation = 0;
    assert_int_equal(dma_read(dma, 2, buf, 16), -EFAULT);
    assert_int_equal(guest.requests_seen, 0);
    fake.master_on = false;
    assert_int_equal(dma_read(dma, 1, buf, 16), -EPERM);
    dma_stop(dma);
}

static void test_untranslated(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[16];

    fake.ats_on = false;
    assert_int_equal(dma_read_at(dma, PCI_NO_PASID, IOVA, buf, 16), 0);
    assert_memory_equal(buf, fake.ram, 16);
    assert_int_equal(dma_read(dma, 0, buf, 16), -EFAULT);
    assert_int_equal(fake.untranslated_accesses, 2);
    /* The IOMMU records faults of requests with PASID itself. */
    assert_int_equal(fake.blocked_addr, 0);
    /* A read beyond the end of RAM */
    assert_int_equal(dma_read_at(dma, PCI_NO_PASID, IOVA + RAM_SIZE - 8, buf,
                                 16), -EFAULT);
    assert_memory_equal(buf, fake.ram + RAM_SIZE - 8, 8);
    assert_int_equal(fake.blocked_addr, IOVA + RAM_SIZE);
    assert_false(fake.blocked_write);
    fake.untranslated_accesses = 0;
    assert_null(fake.iotlb_notifier);
    assert_int_equal(registered(), 0);
    fake.ats_on = true;
    map(3, 0, IOMMU_RW | IOMMU_UNTRANSLATED_ONLY);
    assert_int_equal(dma_read(dma, 3, buf, 16), -EFAULT);
    assert_int_equal(fake.untranslated_accesses, 1);
    dma_stop(dma);
}

/* Other IOMMUs take the BQL while they translate: requests of threads fail */
static void test_iommu_without_threads(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[16];

    fake.ats_on = fake.thread_safe = false;
    assert_int_equal(dma_read_at(dma, PCI_NO_PASID, IOVA, buf, 16), -EFAULT);
    bql_lock();
    assert_int_equal(dma_read_at(dma, PCI_NO_PASID, IOVA, buf, 16), -EFAULT);
    bql_unlock();
    assert_int_equal(fake.untranslated_accesses, 0);
    dma_stop(dma);
}

/* A translated request that the IOMMU blocks moves no data */
static void test_blocked(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[16] = { };

    map(3, 0, IOMMU_RW);
    fake.blocked = true;
    assert_int_equal(dma_write(dma, 3, buf, 16), -EFAULT);
    assert_int_equal(fake.ram[1], 1);
    fake.blocked = false;
    assert_int_equal(dma_write(dma, 3, buf, 16), 0);
    assert_int_equal(fake.ram[1], 0);
    dma_stop(dma);
}

/* Transfers access RAM only, with and without the BQL */
static void test_mmio(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[16];

    map(3, MMIO, IOMMU_RW);
    assert_int_equal(dma_write(dma, 3, buf, 16), -EIO);
    bql_lock();
    assert_int_equal(dma_write(dma, 3, buf, 16), -EIO);
    bql_unlock();
    dma_stop(dma);
}

static void *read_page_5(void *opaque)
{
    uint8_t buf[16];

    return GINT_TO_POINTER(dma_read(opaque, 5, buf, 16));
}

/* Suspension ends all transfers, also parked ones, and prevents new ones */
static void test_suspend(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[16];
    QemuThread thread;

    guest.ignored_page = 5;
    qemu_thread_create(&thread, "reader", read_page_5, dma,
                       QEMU_THREAD_JOINABLE);
    while (!qatomic_read(&guest.requests_seen)) {
        g_usleep(100);
    }
    bql_lock();
    pci_ats_dma_suspend(dma);
    bql_unlock();
    assert_int_equal(GPOINTER_TO_INT(qemu_thread_join(&thread)), -ECANCELED);
    map(3, 0, IOMMU_RW);
    assert_int_equal(dma_read(dma, 3, buf, 16), -ECANCELED);
    assert_int_equal(dma_read_at(dma, PCI_NO_PASID, IOVA, buf, 16), -ECANCELED);
    bql_lock();
    pci_ats_dma_resume(dma);
    bql_unlock();
    assert_int_equal(dma_read(dma, 3, buf, 16), 0);
    dma_stop(dma);
}

/* The engine returns the errors of the IOMMU */
static void test_iommu_errors(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[16];

    fake.register_error = -EINVAL;
    assert_int_equal(dma_read(dma, 1, buf, 16), -EINVAL);
    fake.register_error = 0;
    fake.translation_error = -EPERM;
    assert_int_equal(dma_read(dma, 1, buf, 16), -EPERM);
    fake.translation_error = 0;
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    dma_stop(dma);
    pci_ats_dma_close(NULL);
}

/* Reads from byte 8 of page 1 on */
static int read_partial(PCIATSDMA *dma, unsigned flags, void *buf, size_t len,
                        size_t *moved)
{
    PCIATSDMATransfer transfer = read_transfer(1, IOVA + PAGE + 8, buf, len);
    PCIATSDMAResult result;
    int ret;

    transfer.flags = flags | PCI_ATS_DMA_EXACT;
    ret = pci_ats_dma_run(dma, &transfer, &result);
    *moved = result.moved;
    return ret;
}

/* An exact transfer moves all data in front of a missing page */
static void test_partial(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[4 * PAGE];
    size_t moved;

    map(1, 8 * PAGE, IOMMU_RO);
    map(2, 3 * PAGE, IOMMU_RO);
    assert_int_equal(read_partial(dma, PCI_ATS_DMA_NO_PRI, buf, sizeof(buf),
                                  &moved), -EFAULT);
    assert_int_equal(moved, 2 * PAGE - 8);
    assert_memory_equal(buf, fake.ram + 8 * PAGE + 8, PAGE - 8);
    assert_int_equal(guest.requests_seen, 0);
    /* A refused prefetch does not end the transfer before the data arrive. */
    guest.refused_page = 4;
    assert_int_equal(read_partial(dma, 0, buf, sizeof(buf), &moved), -EFAULT);
    assert_int_equal(moved, 3 * PAGE - 8);
    /* A prefetch of 3 pages, and then a demand page request */
    assert_int_equal(guest.requests_seen, 4);
    guest.refused_page = -1;
    assert_int_equal(read_partial(dma, 0, buf, sizeof(buf), &moved), 0);
    assert_int_equal(moved, sizeof(buf));
    dma_stop(dma);
}

/*
 * Without page requests the length of translation requests grows with the data
 * that has been moved, so that a missing page at the begin costs little.
 */
static void test_request_length(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree uint8_t *buf = g_malloc(60 * PAGE);
    size_t moved;

    assert_int_equal(read_partial(dma, PCI_ATS_DMA_NO_PRI, buf, 60 * PAGE,
                                  &moved), -EFAULT);
    assert_int_equal(moved, 0);
    assert_int_equal(fake.translations, 1);
    assert_int_equal(fake.translation_length, 16 * PAGE);

    for (unsigned i = 1; i < NR_PAGES; i++) {
        map(i, i * PAGE, IOMMU_RO);
    }
    fake.translations = 0;
    assert_int_equal(read_partial(dma, PCI_ATS_DMA_NO_PRI, buf, 60 * PAGE,
                                  &moved), 0);
    assert_memory_equal(buf, fake.ram + PAGE + 8, 60 * PAGE);
    assert_int_equal(fake.translations, 3);
    dma_stop(dma);
}

/* A thread with the BQL cannot wait for a response */
static void test_bql_would_block(void **state)
{
    PCIATSDMA *dma = dma_start();
    uint8_t buf[16];

    bql_lock();
    assert_int_equal(dma_read(dma, 1, buf, 16), -EWOULDBLOCK);
    assert_int_equal(guest.requests_seen, 0);
    map(1, 0, IOMMU_RO);
    assert_int_equal(dma_read(dma, 1, buf, 16), 0);
    bql_unlock();
    dma_stop(dma);
}

/* A transfer that waits for the guest does not delay other transfers */
static void test_async(void **state)
{
    PCIATSDMA *dma = dma_start();
    g_autofree Async *a = g_new0(Async, 20);
    int i;

    guest.ignored_page = 0;
    guest.refuse = 5;
    for (i = 0; i < 20; i++) {
        async_start(&a[i], dma, 1 + i % 3, i);
    }
    for (i = 1; i < 20; i++) {
        qemu_sem_wait(&a[i].sem);
        assert_int_equal(a[i].ret, 0);
        assert_memory_equal(a[i].buf, fake.ram + i * PAGE, PAGE);
    }
    assert_int_equal(qatomic_read(&a[0].ret), 1);
    /* It ends when the function is unrealized. */
    dma_stop(dma);
    qemu_sem_wait(&a[0].sem);
    assert_int_equal(a[0].ret, -ECANCELED);
    for (i = 0; i < 20; i++) {
        qemu_sem_destroy(&a[i].sem);
    }
}

int main(int argc, char **argv)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_translated),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_untranslated),
        cmocka_unit_test(test_iommu_without_threads),
        cmocka_unit_test(test_blocked),
        cmocka_unit_test(test_mmio),
        cmocka_unit_test(test_suspend),
        cmocka_unit_test(test_iommu_errors),
        cmocka_unit_test(test_partial),
        cmocka_unit_test(test_request_length),
        cmocka_unit_test(test_bql_would_block),
        cmocka_unit_test(test_async),
    };

    dma_init();
    return cmocka_run_group_tests_name("pci-ats-dma-transfer", tests, NULL,
                                       NULL);
}
