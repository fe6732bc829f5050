/*
 * QTest testcase for device-TLBs and PASIDs of amd-iommu: invalidations
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * The first part is about commands that reach device-TLBs. Each test of the
 * second part has a translation cached in the IOMMU, changes a table entry that
 * it depends on, and repeats the request before and after an invalidation.
 *
 * Section numbers are those of the AMD I/O Virtualization Technology (IOMMU)
 * Specification, 48882, revision 3.00.
 */

#include "qemu/osdep.h"
#include "amd-iommu-ats-common.h"

#define RW      (PERM_R | PERM_W)
#define NONE    QATD_NO_PASID
#define OLD     0x5000ULL
#define NEW     0x7000ULL

/* ---- Device-TLBs (2.4.4) ---- */

static void listen_to(QATD *dev, uint32_t pasid)
{
    g_assert_cmpint(qatd_command(dev, ATD_CMD_REGISTER_IOTLB, pasid, 0, 0, 0),
                    ==, 0);
}

static void expect_count(QATD *dev, uint64_t n)
{
    g_assert_cmpuint(qatd_read(dev, ATD_INV_COUNT), ==, n);
}

static void expect_inv(QATD *dev, unsigned index, uint32_t pasid,
                       uint64_t addr, uint64_t mask)
{
    qatd_write(dev, ATD_INV_INDEX, index);
    g_assert_cmphex(qatd_read(dev, ATD_INV_PASID), ==, pasid);
    g_assert_cmphex(qatd_read(dev, ATD_INV_ADDR), ==, addr);
    g_assert_cmphex(qatd_read(dev, ATD_INV_MASK), ==, mask);
}

/* Every size, at the device that the command names */
static void test_dev_tlb_sizes(void)
{
    AATSTest t;
    unsigned n = 0;

    aats_start_host(&t);
    listen_to(&t.dev, NONE);
    listen_to(&t.dev2, NONE);
    for (unsigned bits = 12; bits < 64; bits++) {
        uint64_t size = 1ULL << bits;
        /* Any address with bit 63 clear: a set bit next to the size counts */
        uint64_t addr = 0x2aaaaaaaaaaaa000ULL & ~(size - 1);

        qamdvi_inval_iotlb(&t.iommu, AATS_DEV, QAMDVI_NO_PASID, addr, size);
        expect_count(&t.dev, ++n);
        expect_inv(&t.dev, n - 1, NONE, addr, size - 1);
    }
    qamdvi_inval_iotlb(&t.iommu, AATS_DEV, QAMDVI_NO_PASID, 0,
                       QAMDVI_EVERYTHING);
    expect_count(&t.dev, ++n);
    expect_inv(&t.dev, n - 1, NONE, 0, UINT64_MAX);
    /* Linux: everything, with bit 63 clear */
    qamdvi_command(&t.iommu, QAMDVI_COMMAND(INVAL_IOTLB_PAGES) | AATS_DEV,
                   0x7ffffffffffff000ULL | 1);
    expect_count(&t.dev, ++n);
    expect_inv(&t.dev, n - 1, NONE, 0, UINT64_MAX);

    expect_count(&t.dev2, 0);
    qamdvi_inval_iotlb(&t.iommu, AATS_DEV2, QAMDVI_NO_PASID, AATS_IOVA, KIB4);
    expect_count(&t.dev2, 1);
    expect_count(&t.dev, n);
    qatd_command(&t.dev, ATD_CMD_UNREGISTER_IOTLB, NONE, 0, 0, 0);
    qamdvi_inval_iotlb(&t.iommu, AATS_DEV, QAMDVI_NO_PASID, AATS_IOVA, KIB4);
    expect_count(&t.dev, n);
    g_assert_true(qamdvi_completes(&t.iommu));
    aats_stop(&t);
}

/* With PASID, which has 20 bits in three places */
static void test_dev_tlb_pasid(void)
{
    static const uint32_t pasids[] = { 1, AATS_PASID, 0x100, 0x10000, 0x8abcd,
                                       0xfffff };
    unsigned n = ARRAY_SIZE(pasids);
    AATSTest t;

    aats_start_guest(&t);
    for (unsigned i = 0; i < n; i++) {
        listen_to(&t.dev, pasids[i]);
        listen_to(&t.dev2, pasids[i]);
    }
    for (unsigned i = 0; i < n; i++) {
        qamdvi_inval_iotlb(&t.iommu, AATS_DEV, pasids[i], AATS_IOVA, KIB4);
        expect_count(&t.dev, i + 1);
        expect_inv(&t.dev, i, pasids[i], AATS_IOVA, 0xfff);
    }
    /* There is no such PASID in the device */
    qamdvi_inval_iotlb(&t.iommu, AATS_DEV, 0x101, AATS_IOVA, KIB4);
    expect_count(&t.dev, n);
    qamdvi_inval_iotlb(&t.iommu, AATS_DEV, AATS_PASID, 0, QAMDVI_EVERYTHING);
    expect_count(&t.dev, n + 1);
    expect_inv(&t.dev, n, AATS_PASID, 0, UINT64_MAX);
    /* Without PASID: all PASIDs, which is allowed */
    listen_to(&t.dev, NONE);
    qamdvi_inval_iotlb(&t.iommu, AATS_DEV, QAMDVI_NO_PASID, AATS_IOVA, KIB4);
    expect_count(&t.dev, 2 * n + 2);
    /* PASID 0: the same, as GIoV may use its tables for such requests */
    qamdvi_inval_iotlb(&t.iommu, AATS_DEV, 0, AATS_IOVA, KIB4);
    expect_count(&t.dev, 3 * n + 3);
    expect_count(&t.dev2, 0);
    aats_stop(&t);
}

/* 2.4.2, 2.4.3, 2.4.8: these commands do not reach the device-TLBs */
static void test_dev_tlb_others(void)
{
    AATSTest t;

    aats_start_guest(&t);
    listen_to(&t.dev, NONE);
    listen_to(&t.dev, AATS_PASID);
    qamdvi_inval_pages(&t.iommu, AATS_DOMAIN, QAMDVI_NO_PASID, AATS_IOVA, KIB4);
    qamdvi_inval_pages(&t.iommu, AATS_DOMAIN, AATS_PASID, AATS_IOVA, KIB4);
    qamdvi_inval_device(&t.iommu, AATS_DEV);
    qamdvi_inval_all(&t.iommu);
    g_assert_true(qamdvi_completes(&t.iommu));
    expect_count(&t.dev, 0);
    aats_stop(&t);
}

/* 2.5.6: reserved bits stop the command buffer */
static void test_reserved(void)
{
    static const struct {
        uint64_t lo;
        uint64_t hi;
    } bad[] = {
        { QAMDVI_COMMAND(INVAL_IOTLB_PAGES), 1 << 1 },
        { QAMDVI_COMMAND(INVAL_IOTLB_PAGES), 1 << 3 },
        { QAMDVI_COMMAND(INVAL_IOTLB_PAGES), 1 << 11 },
        { QAMDVI_COMMAND(INVAL_AMDVI_PAGES) | 1 << 20, 0 },
        { QAMDVI_COMMAND(INVAL_AMDVI_PAGES), 1 << 3 },
    };
    AATSTest t;

    aats_start_guest(&t);
    listen_to(&t.dev, NONE);
    for (unsigned i = 0; i < ARRAY_SIZE(bad); i++) {
        uint64_t at = qamdvi_command(&t.iommu, bad[i].lo | AATS_DEV, bad[i].hi);

        qamdvi_expect_event(&t.iommu, 5ULL << 60, at);
        g_assert_false(qamdvi_completes(&t.iommu));
        qamdvi_restart(&t.iommu);
    }
    expect_count(&t.dev, 0);
    aats_stop(&t);
}

/* ---- Caches of the IOMMU ---- */

/* Tables that translate the requests of a test */
typedef enum Mode {
    HOST_TABLES,                /* without PASID */
    GUEST_TABLES,
    GIOV_TABLES,                /* without PASID, through those of PASID 0 */
    NESTED_TABLES,
} Mode;

typedef struct Test {
    AATSTest a;
    Mode mode;
    uint32_t pasid;             /* of requests */
    uint32_t table_pasid;       /* the same, or 0 */
    uint64_t root;              /* of guest tables */
} Test;

static uint64_t map_guest(Test *t, uint64_t out)
{
    return aats_map_guest(&t->a, t->root, AATS_IOVA, 1, out | GUEST);
}

static void map(Test *t, uint64_t out)
{
    if (t->mode == HOST_TABLES) {
        aats_map_host(&t->a, AATS_IOVA, 1, out | HOST);
    } else {
        map_guest(t, out);
    }
}

static void start(Test *t, Mode mode)
{
    *t = (Test) { .mode = mode, .pasid = NONE };
    if (mode == HOST_TABLES) {
        aats_start_host(&t->a);
        return;
    }
    aats_start_guest(&t->a);
    if (mode == GIOV_TABLES) {
        t->a.dte.lo |= QAMDVI_DTE_GIOV;
    } else {
        t->pasid = t->table_pasid = AATS_PASID;
    }
    t->root = aats_add_pasid(&t->a, t->table_pasid);
    if (mode == NESTED_TABLES) {
        t->a.dte.mode = 3;
        t->a.dte.root = aats_new_page(&t->a);
        aats_map_host(&t->a, 0, 3, HOST);
    }
    aats_attach(&t->a);
}

static void stop(Test *t)
{
    aats_stop(&t->a);
}

static void translate(Test *t, uint64_t out)
{
    aats_translate_page(&t->a, t->pasid, AATS_IOVA, 0, out, KIB4, RW);
}

/* ---- Changes ---- */

static void change_leaf(Test *t)
{
    map(t, NEW);
}

/* An upper entry, as when software replaces a table */
static void change_table(Test *t)
{
    uint64_t table = aats_new_page(&t->a);
    uint64_t at = table + extract64(AATS_IOVA, 12, 9) * 8;

    if (t->mode == HOST_TABLES) {
        qtest_writeq(t->a.qts, at, NEW | HOST);
        aats_map_host(&t->a, AATS_IOVA, 2, table | HOST | QAMDVI_PTE_NEXT(1));
    } else {
        qtest_writeq(t->a.qts, at, NEW | GUEST);
        aats_map_guest(&t->a, t->root, AATS_IOVA, 2, table | GUEST);
    }
}

/* The host tables below guest tables: map OLD to NEW, and the rest to itself */
static void change_host(Test *t)
{
    qtest_writeq(t->a.qts, t->a.dte.root, 0);
    for (uint64_t addr = 0; addr < MIB2; addr += KIB4) {
        aats_map_host(&t->a, addr, 1, (addr == OLD ? NEW : addr) | HOST);
    }
    for (uint64_t addr = MIB2; addr < GIB1; addr += MIB2) {
        aats_map_host(&t->a, addr, 2, addr | HOST);
    }
}

/* The entry of the GCR3 table */
static void change_gcr3(Test *t)
{
    t->root = aats_add_pasid(&t->a, t->table_pasid);
    map(t, NEW);
}

/* The device table entry */
static void change_entry(Test *t)
{
    if (t->mode == HOST_TABLES) {
        t->a.dte.root = aats_new_page(&t->a);
        map(t, NEW);
    } else {
        t->a.dte.gcr3 = aats_new_page(&t->a);
        change_gcr3(t);
    }
    qamdvi_store_dte(&t->a.iommu, AATS_DEV, &t->a.dte);
}

/* ---- Invalidations ---- */

static void pages(Test *t)
{
    qamdvi_inval_pages(&t->a.iommu, AATS_DOMAIN, QAMDVI_NO_PASID, AATS_IOVA,
                       KIB4);
}

static void many_pages(Test *t)
{
    qamdvi_inval_pages(&t->a.iommu, AATS_DOMAIN, QAMDVI_NO_PASID,
                       AATS_IOVA & ~(MIB2 - 1), MIB2);
}

static void all_pages(Test *t)
{
    qamdvi_inval_pages(&t->a.iommu, AATS_DOMAIN, QAMDVI_NO_PASID, 0,
                       QAMDVI_EVERYTHING);
}

/* The address whose host entry has changed is not AATS_IOVA */
static void other_pages(Test *t)
{
    qamdvi_inval_pages(&t->a.iommu, AATS_DOMAIN, QAMDVI_NO_PASID, OLD, KIB4);
}

static void pasid_pages(Test *t)
{
    qamdvi_inval_pages(&t->a.iommu, AATS_DOMAIN, t->table_pasid, AATS_IOVA,
                       KIB4);
}

static void pasid_all_pages(Test *t)
{
    qamdvi_inval_pages(&t->a.iommu, AATS_DOMAIN, t->table_pasid, 0,
                       QAMDVI_EVERYTHING);
}

static void device(Test *t)
{
    qamdvi_inval_device(&t->a.iommu, AATS_DEV);
}

static void everything(Test *t)
{
    qamdvi_inval_all(&t->a.iommu);
}

/* 2.4.6: Inval */
static void prefetch(Test *t)
{
    qamdvi_command(&t->a.iommu, QAMDVI_COMMAND(PREFETCH_AMDVI_PAGES) | AATS_DEV,
                   AATS_IOVA | 1 << 4);
}

/* MMIO 0000h */
static void device_table(Test *t)
{
    qamdvi_write(&t->a.iommu, AMDVI_MMIO_DEVICE_TABLE, t->a.iommu.devtab | 1);
}

/* MMIO 0018h */
static void disable(Test *t)
{
    uint64_t control = qamdvi_read(&t->a.iommu, AMDVI_MMIO_CONTROL);

    qamdvi_write(&t->a.iommu, AMDVI_MMIO_CONTROL,
                 control & ~AMDVI_MMIO_CONTROL_AMDVIEN);
    aats_translate_nothing(&t->a, t->pasid, AATS_IOVA, 0);
    qamdvi_write(&t->a.iommu, AMDVI_MMIO_CONTROL, control);
}

typedef struct Case {
    const char *name;
    Mode mode;
    void (*change)(Test *t);
    void (*drop)(Test *t);
} Case;

static const Case cases[] = {
    /* 2.4.3 */
    { "pages", HOST_TABLES, change_leaf, pages },
    { "pages-all", HOST_TABLES, change_leaf, all_pages },
    { "pages-table", HOST_TABLES, change_table, many_pages },
    { "pages-nested", NESTED_TABLES, change_host, other_pages },
    { "pages-all-nested", NESTED_TABLES, change_host, all_pages },
    { "pasid-pages", GUEST_TABLES, change_leaf, pasid_pages },
    { "pasid-all-pages", GUEST_TABLES, change_leaf, pasid_all_pages },
    { "pasid-pages-table", GUEST_TABLES, change_table, pasid_pages },
    { "pasid-pages-nested", NESTED_TABLES, change_leaf, pasid_pages },
    { "pasid-pages-giov", GIOV_TABLES, change_leaf, pasid_pages },
    { "pasid-all-pages-giov", GIOV_TABLES, change_leaf, pasid_all_pages },
    /* 2.2.6: software invalidates all pages of the PASID */
    { "gcr3", GUEST_TABLES, change_gcr3, pasid_all_pages },
    { "gcr3-nested", NESTED_TABLES, change_gcr3, pasid_all_pages },
    { "gcr3-giov", GIOV_TABLES, change_gcr3, pasid_all_pages },
    { "gcr3-domain", GUEST_TABLES, change_gcr3, all_pages },
    /* 2.4.2 */
    { "device", HOST_TABLES, change_entry, device },
    { "device-guest", GUEST_TABLES, change_entry, device },
    { "device-gcr3", GUEST_TABLES, change_gcr3, device },
    /* 2.4.6, 2.4.8 */
    { "prefetch", HOST_TABLES, change_leaf, prefetch },
    { "all", HOST_TABLES, change_leaf, everything },
    { "all-entry", HOST_TABLES, change_entry, everything },
    { "all-guest", GUEST_TABLES, change_gcr3, everything },
    /* Registers */
    { "device-table", GUEST_TABLES, change_entry, device_table },
    { "disable", GUEST_TABLES, change_leaf, disable },
    { "disable-entry", HOST_TABLES, change_entry, disable },
};

/* A cached translation is used until an invalidation */
static void test_drop(const void *opaque)
{
    const Case *c = opaque;
    Test t;

    start(&t, c->mode);
    map(&t, OLD);
    translate(&t, OLD);
    c->change(&t);
    translate(&t, OLD);
    c->drop(&t);
    translate(&t, NEW);
    stop(&t);
}

/* Untranslated requests use cached device table entries */
static void test_untranslated(void)
{
    Test t;

    start(&t, HOST_TABLES);
    map(&t, OLD);
    qtest_writel(t.a.qts, OLD, 0x01d);
    qtest_writel(t.a.qts, NEW, 0x9e3);
    g_assert_true(aats_dma(&t.a, ATD_CMD_DMA_READ, NONE, AATS_IOVA, 0));
    g_assert_cmphex(qtest_readl(t.a.qts, t.a.dev.data), ==, 0x01d);
    change_entry(&t);
    g_assert_true(aats_dma(&t.a, ATD_CMD_DMA_READ, NONE, AATS_IOVA, 0));
    g_assert_cmphex(qtest_readl(t.a.qts, t.a.dev.data), ==, 0x01d);
    device(&t);
    g_assert_true(aats_dma(&t.a, ATD_CMD_DMA_READ, NONE, AATS_IOVA, 0));
    g_assert_cmphex(qtest_readl(t.a.qts, t.a.dev.data), ==, 0x9e3);
    stop(&t);
}

/* Faults and entries that are not present are not cached (NpCache is 0) */
static void test_not_present(void)
{
    Test t;

    start(&t, GUEST_TABLES);
    aats_translate_nothing(&t.a, AATS_PASID, AATS_IOVA, 0);
    map(&t, OLD);
    translate(&t, OLD);
    aats_translate_nothing(&t.a, AATS_PASID + 1, AATS_IOVA, 0);
    t.root = aats_add_pasid(&t.a, AATS_PASID + 1);
    map(&t, OLD);
    aats_translate_page(&t.a, AATS_PASID + 1, AATS_IOVA, 0, OLD, KIB4, RW);
    stop(&t);
}

/* The write permission is only granted with the dirty bit set */
static void test_dirty(void)
{
    uint64_t entry;
    Test t;

    start(&t, GUEST_TABLES);
    entry = map_guest(&t, OLD);
    aats_translate_page(&t.a, AATS_PASID, AATS_IOVA, ATD_FLAG_NO_WRITE, OLD,
                        KIB4, PERM_R);
    g_assert_cmphex(qtest_readq(t.a.qts, entry), ==, OLD | GUEST | GUEST_A);
    translate(&t, OLD);
    g_assert_cmphex(qtest_readq(t.a.qts, entry), ==, OLD | GUEST | GUEST_AD);
    /* Software must invalidate after it has cleared the dirty bit */
    map_guest(&t, OLD);
    pasid_pages(&t);
    translate(&t, OLD);
    g_assert_cmphex(qtest_readq(t.a.qts, entry), ==, OLD | GUEST | GUEST_AD);
    stop(&t);
}

/* The invalidation of one PASID does not affect another */
static void test_other_pasid(void)
{
    uint64_t first, second;
    Test t;

    start(&t, GUEST_TABLES);
    first = t.root;
    second = aats_add_pasid(&t.a, AATS_PASID + 1);
    for (unsigned i = 0; i < 2; i++) {
        t.root = i ? second : first;
        map(&t, OLD);
        aats_translate_page(&t.a, AATS_PASID + i, AATS_IOVA, 0, OLD, KIB4, RW);
        map(&t, NEW);
    }
    pasid_pages(&t);
    aats_translate_page(&t.a, AATS_PASID, AATS_IOVA, 0, NEW, KIB4, RW);
    aats_translate_page(&t.a, AATS_PASID + 1, AATS_IOVA, 0, OLD, KIB4, RW);
    qamdvi_inval_pages(&t.a.iommu, AATS_DOMAIN, AATS_PASID + 1, AATS_IOVA,
                       KIB4);
    aats_translate_page(&t.a, AATS_PASID + 1, AATS_IOVA, 0, NEW, KIB4, RW);
    stop(&t);
}

/* Translations belong to a DeviceID and a privilege, too */
static void test_tags(void)
{
    uint64_t other;
    QAMDVIDTE dte;
    QATDResult r;
    Test t;

    start(&t, GUEST_TABLES);
    aats_map_guest(&t.a, t.root, AATS_IOVA, 1,
                   OLD | QAMDVI_GPTE_P | QAMDVI_GPTE_W);
    for (unsigned i = 0; i < 2; i++) {
        aats_translate_page(&t.a, AATS_PASID, AATS_IOVA, ATD_FLAG_PRIV, OLD,
                            KIB4, RW | PERM_PRIV);
    }
    aats_translate_nothing(&t.a, AATS_PASID, AATS_IOVA, 0);
    map(&t, OLD);
    translate(&t, OLD);

    dte = t.a.dte;
    dte.gcr3 = aats_new_page(&t.a);
    other = aats_new_page(&t.a);
    qamdvi_set_gcr3(&t.a.iommu, dte.gcr3, 1, AATS_PASID, other | QAMDVI_GCR3_V);
    qamdvi_map_guest(&t.a.iommu, other, 4, AATS_IOVA, 1, NEW | GUEST);
    qamdvi_store_dte(&t.a.iommu, AATS_DEV2, &dte);
    g_assert_cmpint(qatd_translate(&t.a.dev2, AATS_PASID, AATS_IOVA, KIB4, 0,
                                   &r, 1), ==, 1);
    g_assert_cmphex(r.translated_addr, ==, NEW);
    translate(&t, OLD);
    stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    qtest_add_func("/amd-iommu/invalidation/dev-tlb-sizes",
                   test_dev_tlb_sizes);
    qtest_add_func("/amd-iommu/invalidation/dev-tlb-pasid",
                   test_dev_tlb_pasid);
    qtest_add_func("/amd-iommu/invalidation/dev-tlb-others",
                   test_dev_tlb_others);
    qtest_add_func("/amd-iommu/invalidation/reserved", test_reserved);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf(
            "/amd-iommu/invalidation/drop/%s", cases[i].name);

        qtest_add_data_func(path, &cases[i], test_drop);
    }
    qtest_add_func("/amd-iommu/invalidation/untranslated", test_untranslated);
    qtest_add_func("/amd-iommu/invalidation/not-present", test_not_present);
    qtest_add_func("/amd-iommu/invalidation/dirty", test_dirty);
    qtest_add_func("/amd-iommu/invalidation/other-pasid", test_other_pasid);
    qtest_add_func("/amd-iommu/invalidation/tags", test_tags);
    return g_test_run();
}
