/*
 * QTest testcase for MAP notifiers of intel-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * In caching mode (6.1) software invalidates what it maps, too, and the IOMMU
 * notifies devices such as those of VFIO of mappings.  Here pci-ats-testdev
 * mirrors them.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include "qemu/units.h"
#include "libqtest.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd.h"

#define RAM         (128 * MiB)
#define MACHINE     "-M q35 -m 128 -nodefaults " \
                    "-device intel-iommu,caching-mode=on " \
                    "-device pci-ats-testdev,addr=4"
#define DEV         QATD_BDF(0, 4, 0)
#define DOMAIN      1
#define PAGE        4096ULL
#define ENTRIES     512
#define RW          (VTD_SL_R | VTD_SL_W)
#define IOVA        0x40000000ULL
#define NOT_MAPPED  UINT64_MAX

/* PASID-table entry: second-stage tables of 4 levels */
#define SECOND_STAGE (VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_SLT | 2 << 2)

/* Mappings that a device may have: intel_iommu_shadow.h */
#define MAX_MAPPINGS    (65536 + RAM / PAGE)

/* Bytes that an entry of the top table and a table of the lowest level map */
#define TOP_SIZE    (1ULL << 39)
#define TABLE_SIZE  (ENTRIES * PAGE)

/* Pages of the largest page-selective invalidation here, and log2 of them */
#define LARGEST_AM  13
#define LARGEST     (1ULL << LARGEST_AM)

/* How long an invalidation may take, in seconds; 2^36 entries take hours */
#define STUCK       60

typedef struct Map {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QATD dev;
    uint64_t tables;            /* second stage, 4 levels */
} Map;

static void map_init(Map *t, const char *machine)
{
    *t = (Map) { .qts = qtest_init(machine) };
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    t->tables = qvtd_new_table(&t->vtd);
}

static void map_start(Map *t)
{
    map_init(t, MACHINE);
    qvtd_attach(&t->vtd, DEV, DOMAIN, t->tables, false);
    qatd_init(&t->dev, t->qts, DEV, 0);
    qvtd_enable(&t->vtd);
}

static int64_t map_command(Map *t, unsigned command)
{
    return qatd_command(&t->dev, command, QATD_NO_PASID, 0, 0, 0);
}

static void map_register(Map *t)
{
    g_assert_cmpint(map_command(t, ATD_CMD_REGISTER_MAP), ==, 0);
}

static void map_stop(Map *t)
{
    g_assert_cmpuint(qatd_read(&t->dev, ATD_MAP_ERRORS), ==, 0);
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

static uint64_t csr(uint64_t offset)
{
    return Q35_HOST_BRIDGE_IOMMU_ADDR + offset;
}

/* The machine answers until the queue is empty (6.5.2) */
static void wait_queue(Map *t)
{
    gint64 end = g_get_monotonic_time() + STUCK * G_TIME_SPAN_SECOND;

    while (qtest_readq(t->qts, csr(DMAR_IQH_REG)) !=
           qtest_readq(t->qts, csr(DMAR_IQT_REG))) {
        qtest_qmp_assert_success(t->qts, "{ 'execute': 'query-status' }");
        g_assert_cmpint(g_get_monotonic_time(), <, end);
    }
    g_assert_cmphex(qtest_readl(t->qts, csr(DMAR_FSTS_REG)), ==, 0);
}

static void invalidate(Map *t, uint64_t lo, uint64_t hi)
{
    qvtd_submit_nowait(&t->vtd, lo, hi);
    wait_queue(t);
}

/* 6.5.2.3 */
static void invalidate_domain(Map *t)
{
    invalidate(t, VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_DOMAIN |
               DOMAIN << 16, 0);
}

static void invalidate_pages(Map *t, uint64_t iova, unsigned am)
{
    invalidate(t, VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_PAGE |
               DOMAIN << 16, iova | am);
}

static uint64_t translated(Map *t, uint64_t iova)
{
    qatd_write(&t->dev, ATD_ADDR, iova);
    return qatd_read(&t->dev, ATD_MAP_TRANSLATED);
}

static void expect_mappings(Map *t, uint64_t n)
{
    g_assert_cmpuint(qatd_read(&t->dev, ATD_MAP_ENTRIES), ==, n);
}

static void write_table(Map *t, uint64_t table, uint64_t first, uint64_t step)
{
    uint64_t buf[ENTRIES];

    for (unsigned i = 0; i < ENTRIES; i++) {
        buf[i] = cpu_to_le64(first + i * step);
    }
    qtest_memwrite(t->qts, table, buf, sizeof(buf));
}

/* 6.1: what is mapped and unmapped reaches the device by invalidations */
static void test_sync(void)
{
    Map t;

    map_start(&t);
    qvtd_map(&t.vtd, t.tables, IOVA, 0x200000, PAGE);
    map_register(&t);
    g_assert_cmphex(translated(&t, IOVA + 8), ==, 0x200008);
    g_assert_cmpint(map_command(&t, ATD_CMD_REGISTER_MAP), ==, -EEXIST);

    qvtd_map(&t.vtd, t.tables, IOVA + PAGE, 0x300000, PAGE);
    qvtd_map(&t.vtd, t.tables, 2 * IOVA, 0x400000, 2 * MiB);
    expect_mappings(&t, 1);
    qvtd_inv_pages(&t.vtd, DOMAIN, IOVA, 1);
    expect_mappings(&t, 2);
    qvtd_inv_domain(&t.vtd, DOMAIN);
    expect_mappings(&t, 3);
    g_assert_cmphex(translated(&t, 2 * IOVA + 0x12345), ==, 0x412345);

    qvtd_unmap(&t.vtd, t.tables, IOVA);
    qvtd_inv_pages(&t.vtd, DOMAIN, IOVA, 0);
    g_assert_cmphex(translated(&t, IOVA), ==, NOT_MAPPED);
    expect_mappings(&t, 2);
    g_assert_cmpint(map_command(&t, ATD_CMD_UNREGISTER_MAP), ==, 0);
    g_assert_cmpint(map_command(&t, ATD_CMD_UNREGISTER_MAP), ==, -ENOENT);
    expect_mappings(&t, 0);
    map_stop(&t);
}

/* 6.5.2.3: the bits of the address below the mask have no effect */
static void test_unaligned(void)
{
    Map t;

    map_start(&t);
    for (unsigned i = 0; i < 16; i++) {
        qvtd_map(&t.vtd, t.tables, IOVA + i * PAGE, 0x200000 + i * PAGE, PAGE);
    }
    map_register(&t);
    expect_mappings(&t, 16);
    for (unsigned i = 0; i < 16; i++) {
        qvtd_unmap(&t.vtd, t.tables, IOVA + i * PAGE);
    }
    invalidate_pages(&t, IOVA + 5 * PAGE, 4);
    expect_mappings(&t, 0);
    map_stop(&t);
}

/*
 * 6.5.2.3: a table with one page takes the place of a large page.  The device
 * cannot unmap a part of the large page.
 */
static void test_large_to_small(void)
{
    static const struct {
        uint64_t page;          /* that is invalidated */
        unsigned am;
    } cases[] = {
        { 0, 9 }, { 0, 0 }, { 1, 0 }, { 2, 0 }, { 511, 0 }
    };
    Map t;

    map_start(&t);
    map_register(&t);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        uint64_t iova = IOVA + i * 2 * MiB;

        qvtd_map(&t.vtd, t.tables, iova, 0x200000, 2 * MiB);
        invalidate_pages(&t, iova, 9);
        g_assert_cmphex(translated(&t, iova + 2 * PAGE), ==, 0x202000);

        qvtd_unmap(&t.vtd, t.tables, iova);
        qvtd_map(&t.vtd, t.tables, iova + PAGE, 0x400000, PAGE);
        invalidate_pages(&t, iova + cases[i].page * PAGE, cases[i].am);
        g_assert_cmphex(translated(&t, iova), ==, NOT_MAPPED);
        g_assert_cmphex(translated(&t, iova + PAGE), ==, 0x400000);
        g_assert_cmphex(translated(&t, iova + 2 * PAGE), ==, NOT_MAPPED);
        expect_mappings(&t, i + 1);
    }
    map_stop(&t);
}

/* A guest may map all of its RAM in pages of 4 KiB */
static void test_all_ram(void)
{
    Map t;

    map_start(&t);
    map_register(&t);
    for (uint64_t gpa = 0; gpa < RAM; gpa += TABLE_SIZE) {
        uint64_t entry;

        qvtd_map(&t.vtd, t.tables, IOVA + gpa, gpa, PAGE);
        entry = qvtd_map_entry(&t.vtd, t.tables, 4, IOVA + gpa, PAGE, gpa | RW,
                               RW);
        write_table(&t, entry, gpa | RW, PAGE);
    }
    invalidate_domain(&t);
    expect_mappings(&t, RAM / PAGE);
    g_assert_cmphex(translated(&t, IOVA + RAM - 1), ==, RAM - 1);
    map_stop(&t);
}

/* What synchronizes all mappings of the device */
typedef void SyncFn(Map *t);

static void sync_domain(Map *t)
{
    invalidate_domain(t);
}

static void sync_global(Map *t)
{
    invalidate(t, VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_GLOBAL, 0);
}

/* 6.5.2.1 */
static void sync_context(Map *t)
{
    invalidate(t, VTD_INV_DESC_CC | VTD_INV_DESC_CC_GLOBAL, 0);
}

static void sync_device(Map *t)
{
    invalidate(t, VTD_INV_DESC_CC | VTD_INV_DESC_CC_DEVICE |
               (uint64_t)DEV << 32, 0);
}

static void sync_replay(Map *t)
{
    g_assert_cmpint(map_command(t, ATD_CMD_UNREGISTER_MAP), ==, 0);
    map_register(t);
}

/* A device that has one page, at IOVA */
static void start_with_page(Map *t)
{
    map_start(t);
    qvtd_map(&t->vtd, t->tables, IOVA, 0x200000, PAGE);
    map_register(t);
    expect_mappings(t, 1);
}

/* A page that is the table of each level: 512 entries refer to the page */
static uint64_t new_table_of_itself(Map *t)
{
    uint64_t table = qvtd_new_table(&t->vtd);

    write_table(t, table, table | RW, 0);
    return table;
}

/* Three levels, each with one table to which all entries above refer */
static uint64_t new_shared_empty(Map *t)
{
    uint64_t table = qvtd_new_table(&t->vtd);

    for (unsigned level = 2; level <= 3; level++) {
        uint64_t above = qvtd_new_table(&t->vtd);

        write_table(t, above, table | RW, 0);
        table = above;
    }
    return table;
}

/* Let all entries of the top table but the first refer to @table */
static void add_everywhere(Map *t, uint64_t table)
{
    uint64_t first = qtest_readq(t->qts, t->tables);

    write_table(t, t->tables, table ? table | RW : 0, 0);
    qtest_writeq(t->qts, t->tables, first);
}

/*
 * The device is left without mappings, also without the one it had before, and
 * has that again when the rest is gone
 */
static void check_exceeded(Map *t, uint64_t table)
{
    static SyncFn *const syncs[] = {
        sync_domain, sync_global, sync_context, sync_device, sync_replay,
    };

    for (unsigned i = 0; i < ARRAY_SIZE(syncs); i++) {
        add_everywhere(t, table);
        syncs[i](t);
        expect_mappings(t, 0);
        add_everywhere(t, 0);
        syncs[i](t);
        expect_mappings(t, 1);
        g_assert_cmphex(translated(t, IOVA), ==, 0x200000);
    }
}

/* 6.5.2.1, 6.5.2.3: 2^36 mappings */
static void test_table_of_itself(void)
{
    Map t;

    start_with_page(&t);
    check_exceeded(&t, new_table_of_itself(&t));
    map_stop(&t);
}

/* 6.5.2.1, 6.5.2.3: 2^36 entries that are not present */
static void test_shared_empty(void)
{
    Map t;

    start_with_page(&t);
    check_exceeded(&t, new_shared_empty(&t));
    map_stop(&t);
}

/* 6.5.2.3: mappings that are added by and by are bounded, too */
static void test_accumulate(void)
{
    uint64_t max = 0;
    Map t;

    map_start(&t);
    map_register(&t);
    add_everywhere(&t, new_table_of_itself(&t));
    for (unsigned i = 0; i < 2 * MAX_MAPPINGS / LARGEST; i++) {
        invalidate_pages(&t, TOP_SIZE + i * LARGEST * PAGE, LARGEST_AM);
        max = MAX(max, qatd_read(&t.dev, ATD_MAP_ENTRIES));
    }
    g_assert_cmpuint(max, >=, RAM / PAGE);
    g_assert_cmpuint(max, <=, MAX_MAPPINGS);
    map_stop(&t);
}

/* 6.5.2.9: a wait descriptor completes after the walk ahead of it */
static void test_wait(void)
{
    Map t;

    start_with_page(&t);
    add_everywhere(&t, new_table_of_itself(&t));
    qtest_writel(t.qts, t.vtd.status, 0);
    qvtd_submit_nowait(&t.vtd, VTD_INV_DESC_CC | VTD_INV_DESC_CC_GLOBAL, 0);
    qvtd_submit_nowait(&t.vtd, VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_SW |
                       1ULL << VTD_INV_DESC_WAIT_DATA_SHIFT, t.vtd.status);
    wait_queue(&t);
    g_assert_cmpuint(qtest_readl(t.qts, t.vtd.status), ==, 1);
    expect_mappings(&t, 0);
    map_stop(&t);
}

/* 11.4.6.1, 11.4.6.3: the registers do the same without a queue */
static void test_registers(void)
{
    Map t;

    start_with_page(&t);
    qvtd_submit(&t.vtd, VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_FN, 0);
    qtest_writel(t.qts, csr(DMAR_GCMD_REG), VTD_GCMD_TE);
    add_everywhere(&t, new_table_of_itself(&t));
    qtest_writeq(t.qts, csr(DMAR_CCMD_REG),
                 VTD_CCMD_ICC | VTD_CCMD_GLOBAL_INVL);
    g_assert_cmphex(qtest_readq(t.qts, csr(DMAR_CCMD_REG)) & VTD_CCMD_ICC, ==,
                    0);
    expect_mappings(&t, 0);
    qtest_writeq(t.qts, csr(DMAR_IOTLB_REG),
                 VTD_TLB_IVT | VTD_TLB_GLOBAL_FLUSH);
    g_assert_cmphex(qtest_readq(t.qts, csr(DMAR_IOTLB_REG)) & VTD_TLB_IVT, ==,
                    0);
    expect_mappings(&t, 0);
    map_stop(&t);
}

/*
 * 3.15: the interrupt range is not translated, and the address space of a
 * device has a hole there.  A page may be larger than the hole.
 */
static void test_interrupt_range(void)
{
    const uint64_t iova = 0xc0000000, hole = 0xfee00000, size = 0x100000;
    Map t;

    map_start(&t);
    map_register(&t);
    qvtd_map_entry(&t.vtd, t.tables, 4, iova, 1 * GiB, RW, RW);
    invalidate_pages(&t, iova, 18);
    g_assert_cmphex(translated(&t, iova), ==, 0);
    g_assert_cmphex(translated(&t, hole - 1), ==, hole - 1 - iova);
    g_assert_cmphex(translated(&t, hole), ==, NOT_MAPPED);
    g_assert_cmphex(translated(&t, hole + size - 1), ==, NOT_MAPPED);
    g_assert_cmphex(translated(&t, hole + size), ==, hole + size - iova);
    g_assert_cmphex(translated(&t, UINT32_MAX), ==, 1 * GiB - 1);
    /* Aligned to their size: 512, 256 MiB, ... 2 MiB; 1 and 16 MiB */
    expect_mappings(&t, 10);
    sync_replay(&t);
    expect_mappings(&t, 10);

    qvtd_unmap(&t.vtd, t.tables, iova);
    invalidate_pages(&t, iova, 18);
    expect_mappings(&t, 0);
    map_stop(&t);
}

/* A machine with second-stage tables in scalable mode; returns the directory */
static uint64_t start_scalable(Map *t)
{
    uint64_t dir;

    map_init(t, "-M q35 -m 128 -nodefaults "
             "-device intel-iommu,caching-mode=on,svm=on "
             "-device pci-ats-testdev,addr=4");
    t->vtd.scalable = true;
    qvtd_map(&t->vtd, t->tables, IOVA, 0x200000, PAGE);
    qvtd_map(&t->vtd, t->tables, 2 * IOVA, 0x200000, PAGE);
    dir = qvtd_sm_attach(&t->vtd, DEV, 0, 0);
    qvtd_sm_pasid(&t->vtd, dir, 0, t->tables | SECOND_STAGE, DOMAIN, 0);
    qatd_init(&t->dev, t->qts, DEV, 0);
    qvtd_enable(&t->vtd);
    map_register(t);
    expect_mappings(t, 2);
    return dir;
}

/* 6.5.2.3, 6.5.2.4: pages of second-stage tables in scalable mode */
static void test_scalable(void)
{
    Map t;

    start_scalable(&t);
    qvtd_unmap(&t.vtd, t.tables, IOVA);
    invalidate_pages(&t, IOVA, 0);
    g_assert_cmphex(translated(&t, IOVA), ==, NOT_MAPPED);
    qvtd_map(&t.vtd, t.tables, IOVA + PAGE, 0x300000, PAGE);
    invalidate_pages(&t, IOVA + PAGE, 0);
    g_assert_cmphex(translated(&t, IOVA + PAGE), ==, 0x300000);
    qvtd_unmap(&t.vtd, t.tables, IOVA + PAGE);
    qvtd_inv_pasid_pages(&t.vtd, DOMAIN, 0, IOVA + PAGE, 0);
    g_assert_cmphex(translated(&t, IOVA + PAGE), ==, NOT_MAPPED);
    expect_mappings(&t, 1);
    map_stop(&t);
}

/*
 * 6.5.2.2: the entry of the PASID table is changed to other second-stage
 * tables, to first-stage tables, of which there is no shadow, and to an entry
 * that is not present.  The device loses the mappings of the old tables.
 */
static void test_pasid_cache(void)
{
    const uint64_t first = VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT;
    const uint64_t present = VTD_FL_P | VTD_FL_RW | VTD_FL_US;
    const uint64_t invalidation = VTD_INV_DESC_PC |
                                  VTD_INV_DESC_PASIDC_PASID_SI;
    uint64_t dir, other, first_stage;
    Map t;

    dir = start_scalable(&t);
    other = qvtd_new_table(&t.vtd);
    first_stage = qvtd_new_table(&t.vtd);
    qvtd_map(&t.vtd, other, IOVA, 0x300000, PAGE);
    qvtd_map_entry(&t.vtd, first_stage, 4, IOVA, PAGE, 0x400000 | present,
                   present);

    qvtd_sm_pasid(&t.vtd, dir, 0, other | SECOND_STAGE, DOMAIN + 1, 0);
    invalidate(&t, invalidation | DOMAIN << 16, 0);
    g_assert_cmphex(translated(&t, IOVA), ==, 0x300000);
    expect_mappings(&t, 1);

    qvtd_sm_pasid(&t.vtd, dir, 0, first, DOMAIN, first_stage);
    invalidate(&t, invalidation | (DOMAIN + 1) << 16, 0);
    expect_mappings(&t, 0);

    qvtd_sm_pasid(&t.vtd, dir, 0, t.tables | SECOND_STAGE, DOMAIN, 0);
    invalidate(&t, invalidation | DOMAIN << 16, 0);
    expect_mappings(&t, 2);

    qvtd_sm_pasid(&t.vtd, dir, 0, 0, 0, 0);
    invalidate(&t, invalidation | DOMAIN << 16, 0);
    expect_mappings(&t, 0);
    map_stop(&t);
}

/* 6.1: without caching mode nobody tells the IOMMU what is mapped */
static void test_no_caching_mode(void)
{
    Map t = { .qts = qtest_init("-M q35 -nodefaults -device intel-iommu "
                                "-device pci-ats-testdev,addr=4") };

    qecam_enable(t.qts);
    pc_alloc_init(&t.alloc, t.qts, 0);
    qvtd_init(&t.vtd, t.qts, &t.alloc);
    qatd_init(&t.dev, t.qts, DEV, 0);
    g_assert_cmpint(map_command(&t, ATD_CMD_REGISTER_MAP), ==, -ENODEV);
    qvtd_enable(&t.vtd);
    g_assert_cmpint(map_command(&t, ATD_CMD_REGISTER_MAP), ==, -ENOTSUP);
    g_assert_cmpint(qatd_command(&t.dev, ATD_CMD_REGISTER_MAP, QATD_NO_PASID,
                                 0, 0, ATD_FLAG_THREAD), ==, -EINVAL);
    map_stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/vtd-map/sync", test_sync);
    qtest_add_func("/vtd-map/unaligned", test_unaligned);
    qtest_add_func("/vtd-map/large-to-small", test_large_to_small);
    qtest_add_func("/vtd-map/all-ram", test_all_ram);
    qtest_add_func("/vtd-map/table-of-itself", test_table_of_itself);
    qtest_add_func("/vtd-map/shared-empty", test_shared_empty);
    qtest_add_func("/vtd-map/accumulate", test_accumulate);
    qtest_add_func("/vtd-map/wait", test_wait);
    qtest_add_func("/vtd-map/registers", test_registers);
    qtest_add_func("/vtd-map/interrupt-range", test_interrupt_range);
    qtest_add_func("/vtd-map/scalable", test_scalable);
    qtest_add_func("/vtd-map/pasid-cache", test_pasid_cache);
    qtest_add_func("/vtd-map/no-caching-mode", test_no_caching_mode);
    return g_test_run();
}
