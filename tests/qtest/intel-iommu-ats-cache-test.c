/*
 * QTest testcase for the answer cache of intel-iommu
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Each test has a translation cached, changes a table entry that it depends
 * on, and repeats the request before and after an invalidation.
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10.
 */

#include "qemu/osdep.h"
#include "libqtest.h"
#include "standard-headers/linux/pci_regs.h"
#include "hw/i386/intel_iommu_internal.h"
#include "libqos/malloc-pc.h"
#include "libqos/pci-ats-testdev.h"
#include "libqos/vtd.h"

#define DEV     QATD_BDF(0, 4, 0)
#define DEV2    QATD_BDF(0, 5, 0)
#define DOMAIN  1
#define PASID   5

#define KIB4    0x1000ULL
#define MIB2    0x200000ULL
#define GIB1    0x40000000ULL
#define IOVA    0x12340000ULL
#define OLD     0x5000ULL
#define NEW     0x7000ULL

/* Permissions in the results (IOMMUAccessFlags) */
#define R       1
#define W       2
#define PRIV    8

/* First-stage entries (9.7), second-stage entries (9.8) */
#define FS      (VTD_FL_P | VTD_FL_RW | VTD_FL_US)
#define SS      (VTD_SL_R | VTD_SL_W)

/* PASID-table entries (9.6) */
#define PE_AW_48        (2ULL << 2)
#define PE_FIRST        (VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_FLT)
#define PE_SECOND       (VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_SLT | PE_AW_48)
#define PE_NESTED       (VTD_PASID_ENTRY_P | VTD_SM_PASID_ENTRY_NESTED | \
                         PE_AW_48)
#define PE1             (DOMAIN | VTD_SM_PASID_ENTRY_PWSNP)

/* Granularities of PASID-cache invalidations (6.5.2.2) */
#define PC_DOMAIN       (0ULL << 4)
#define PC_PASID        (1ULL << 4)
#define PC_GLOBAL       (3ULL << 4)

#define CE      (VTD_SM_CONTEXT_ENTRY_DTE | VTD_SM_CONTEXT_ENTRY_PASIDE)

/* Tables that translate the requests of a test */
typedef enum Mode {
    LEGACY,                     /* second stage, without PASID */
    FIRST,
    FIRST_NO_PASID,             /* RID_PASID is 0 */
    SECOND,
    NESTED,
} Mode;

typedef struct Test {
    QTestState *qts;
    QGuestAllocator alloc;
    QVtd vtd;
    QATD dev;
    Mode mode;
    uint32_t pasid;
    uint64_t dir;               /* PASID directory */
    uint64_t table; /* first-level table that the device is attached to */
    uint64_t second;            /* second stage of @table, if nested */
} Test;

/* ---- Tables ---- */

static uint64_t page(Test *t)
{
    return qvtd_new_table(&t->vtd);
}

static bool is_second(Test *t)
{
    return t->mode == LEGACY || t->mode == SECOND;
}

/* Returns the address of the entry */
static uint64_t map_at(Test *t, uint64_t iova, uint64_t entry)
{
    return qvtd_map_entry(&t->vtd, t->table, 4, iova, KIB4, entry,
                          is_second(t) ? SS : FS);
}

static uint64_t map(Test *t, uint64_t out)
{
    return map_at(t, IOVA, out | (is_second(t) ? SS : FS));
}

/* Let @t->table translate the requests, without an invalidation */
static void attach(Test *t)
{
    uint32_t pasid = t->pasid == QATD_NO_PASID ? 0 : t->pasid;

    switch (t->mode) {
    case LEGACY:
        qvtd_attach(&t->vtd, DEV, DOMAIN, t->table, true);
        break;
    case SECOND:
        qvtd_sm_pasid(&t->vtd, t->dir, pasid, PE_SECOND | t->table, PE1, 0);
        break;
    case NESTED:
        qvtd_sm_pasid(&t->vtd, t->dir, pasid, PE_NESTED | t->second, PE1,
                      t->table);
        break;
    default:
        qvtd_sm_pasid(&t->vtd, t->dir, pasid, PE_FIRST, PE1, t->table);
        break;
    }
}

static void start(Test *t, Mode mode)
{
    *t = (Test) {
        .mode = mode,
        .pasid = mode == LEGACY || mode == FIRST_NO_PASID ? QATD_NO_PASID
                                                          : PASID,
    };
    t->qts = qtest_initf("-M q35 -nodefaults -device intel-iommu,%s "
                         "-device pci-ats-testdev,addr=4 "
                         "-device pci-ats-testdev,addr=5",
                         mode == LEGACY ? "device-iotlb=on" : "svm=on");
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    qatd_init(&t->dev, t->qts, DEV, 0);
    qatd_enable_all(&t->dev, 32);
    if (mode != LEGACY) {
        t->vtd.scalable = true;
        t->dir = qvtd_sm_attach(&t->vtd, DEV, CE, 0);
    }
    t->table = page(t);
    if (mode == NESTED) {
        t->second = page(t);
        qvtd_map_entry(&t->vtd, t->second, 4, 0, GIB1, SS, SS);
    }
    attach(t);
    qvtd_enable(&t->vtd);
}

static void stop(Test *t)
{
    /* Neither a cached translation nor a cache miss is a fault */
    g_assert_cmphex(qvtd_readl(t->qts, DMAR_FSTS_REG), ==, 0);
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

/* ---- Requests ---- */

/* Request a translation of IOVA; expect @out, with permissions @perm */
static void translate_with(Test *t, QATD *dev, uint32_t pasid, uint64_t flags,
                           uint64_t out, uint32_t perm)
{
    QATDResult r;

    g_assert_cmpint(qatd_translate(dev, pasid, IOVA, KIB4, flags, &r, 1), ==,
                    1);
    g_assert_cmpuint(qatd_read(dev, ATD_ERR_COUNT), ==, !perm);
    g_assert_cmphex(r.perm, ==, perm);
    g_assert_cmphex(r.pasid, ==, pasid);
    if (perm) {
        g_assert_cmphex(r.iova, ==, IOVA);
        g_assert_cmphex(r.addr_mask, ==, KIB4 - 1);
        g_assert_cmphex(r.translated_addr, ==, out);
    }
}

static void translate(Test *t, uint64_t out)
{
    translate_with(t, &t->dev, t->pasid, 0, out, R | W);
}

static void translate_nothing(Test *t)
{
    translate_with(t, &t->dev, t->pasid, 0, 0, 0);
}

/* ---- Invalidations ---- */

static void iotlb_global(Test *t)
{
    qvtd_submit(&t->vtd, VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_GLOBAL, 0);
}

static void iotlb_domain(Test *t)
{
    qvtd_inv_domain(&t->vtd, DOMAIN);
}

static void iotlb_pages(Test *t)
{
    qvtd_inv_pages(&t->vtd, DOMAIN, IOVA, 0);
}

static void iotlb_many_pages(Test *t)
{
    qvtd_inv_pages(&t->vtd, DOMAIN, IOVA & ~(MIB2 - 1), 9);
}

/* The address whose second-stage entry has changed is not IOVA */
static void iotlb_other_pages(Test *t)
{
    qvtd_inv_pages(&t->vtd, DOMAIN, OLD, 0);
}

static uint32_t tag(Test *t)
{
    return t->pasid == QATD_NO_PASID ? 0 : t->pasid;
}

static void piotlb_pasid(Test *t)
{
    qvtd_inv_pasid(&t->vtd, DOMAIN, tag(t));
}

static void piotlb_pages(Test *t)
{
    qvtd_inv_pasid_pages(&t->vtd, DOMAIN, tag(t), IOVA, 0);
}

/* An AM above CAP.MAMV, which limits only second-stage invalidations */
static void piotlb_all_pages(Test *t)
{
    qvtd_inv_pasid_pages(&t->vtd, DOMAIN, tag(t), 0, 52);
}

static void context_global(Test *t)
{
    qvtd_submit(&t->vtd, VTD_INV_DESC_CC | VTD_INV_DESC_CC_GLOBAL, 0);
}

static void context_domain(Test *t)
{
    qvtd_submit(&t->vtd, VTD_INV_DESC_CC | VTD_INV_DESC_CC_DOMAIN |
                         DOMAIN << 16, 0);
}

static void context_device(Test *t)
{
    qvtd_submit(&t->vtd, VTD_INV_DESC_CC | VTD_INV_DESC_CC_DEVICE |
                         DOMAIN << 16 | (uint64_t)DEV << 32, 0);
}

static void pasid_cache(Test *t, uint64_t granularity)
{
    qvtd_submit(&t->vtd, VTD_INV_DESC_PC | granularity | DOMAIN << 16 |
                         (uint64_t)t->pasid << 32, 0);
}

static void pasid_cache_domain(Test *t)
{
    pasid_cache(t, PC_DOMAIN);
}

static void pasid_cache_pasid(Test *t)
{
    pasid_cache(t, PC_PASID);
}

static void pasid_cache_global(Test *t)
{
    pasid_cache(t, PC_GLOBAL);
}

/* The registers require a disabled queue (6.5.1) */
static void reg_command(Test *t, uint64_t offset, uint64_t val, uint64_t busy)
{
    qvtd_writel(t->qts, DMAR_GCMD_REG, VTD_GCMD_TE);
    g_assert_cmphex(qvtd_readl(t->qts, DMAR_GSTS_REG) & VTD_GSTS_QIES, ==,
                    0);
    qvtd_writeq(t->qts, offset, val | busy);
    g_assert_cmphex(qvtd_readq(t->qts, offset) & busy, ==, 0);
}

static void reg_iotlb_global(Test *t)
{
    reg_command(t, DMAR_IOTLB_REG, VTD_TLB_GLOBAL_FLUSH, VTD_TLB_IVT);
}

static void reg_iotlb_domain(Test *t)
{
    reg_command(t, DMAR_IOTLB_REG, VTD_TLB_DSI_FLUSH | (uint64_t)DOMAIN << 32,
                VTD_TLB_IVT);
}

static void reg_iotlb_pages(Test *t)
{
    qvtd_writeq(t->qts, DMAR_IVA_REG, IOVA);
    reg_command(t, DMAR_IOTLB_REG, VTD_TLB_PSI_FLUSH | (uint64_t)DOMAIN << 32,
                VTD_TLB_IVT);
}

static void reg_context_global(Test *t)
{
    reg_command(t, DMAR_CCMD_REG, VTD_CCMD_GLOBAL_INVL, VTD_CCMD_ICC);
}

static void reg_context_device(Test *t)
{
    reg_command(t, DMAR_CCMD_REG, VTD_CCMD_DEVICE_INVL | DOMAIN | DEV << 16,
                VTD_CCMD_ICC);
}

/* 11.4.4.1: set the root table */
static void root_table(Test *t)
{
    qvtd_writel(t->qts, DMAR_GCMD_REG, VTD_GCMD_TE | VTD_GCMD_QIE |
                                            VTD_GCMD_SRTP);
}

/* 11.4.4.1: disable translation, and enable it again */
static void translation_off(Test *t)
{
    qvtd_writel(t->qts, DMAR_GCMD_REG, VTD_GCMD_QIE);
    translate_nothing(t);
    qvtd_writel(t->qts, DMAR_GCMD_REG, VTD_GCMD_QIE | VTD_GCMD_TE);
}

/* ---- Changes ---- */

static void change_leaf(Test *t)
{
    map(t, NEW);
}

/*
 * Change an upper entry, as when software moves a table or splits a large page
 */
static void change_table(Test *t)
{
    uint64_t bits = is_second(t) ? SS : FS, table = page(t);

    qtest_writeq(t->qts, table + extract64(IOVA, 12, 9) * 8, NEW | bits);
    qtest_writeq(t->qts,
                 qvtd_map_entry(&t->vtd, t->table, 4, IOVA, MIB2, 0, bits),
                 table | bits);
}

/* Change the second stage of nested translation */
static void change_second(Test *t)
{
    uint64_t tables = page(t);

    for (uint64_t addr = 0; addr < MIB2; addr += KIB4) {
        qvtd_map_entry(&t->vtd, tables, 4, addr, KIB4,
                       (addr == OLD ? NEW : addr) | SS, SS);
    }
    for (uint64_t addr = MIB2; addr < GIB1; addr += MIB2) {
        qvtd_map_entry(&t->vtd, tables, 4, addr, MIB2, addr | SS, SS);
    }
    /* Keep the root, and replace the directory of its first entry */
    qtest_writeq(t->qts, t->second, qtest_readq(t->qts, tables));
}

/* Use new tables, and change the entry that refers to them */
static void change_root(Test *t)
{
    t->table = page(t);
    map(t, NEW);
    attach(t);
}

typedef struct Case {
    const char *name;
    Mode mode;
    void (*change)(Test *t);
    void (*drop)(Test *t);
} Case;

static const Case cases[] = {
    /* 6.5.2.3 */
    { "iotlb-global", LEGACY, change_leaf, iotlb_global },
    { "iotlb-domain", LEGACY, change_leaf, iotlb_domain },
    { "iotlb-pages", LEGACY, change_leaf, iotlb_pages },
    { "iotlb-table", LEGACY, change_table, iotlb_many_pages },
    { "iotlb-global-second-stage", SECOND, change_leaf, iotlb_global },
    { "iotlb-domain-second-stage", SECOND, change_leaf, iotlb_domain },
    { "iotlb-pages-second-stage", SECOND, change_leaf, iotlb_pages },
    { "iotlb-global-first-stage", FIRST, change_leaf, iotlb_global },
    { "iotlb-domain-first-stage", FIRST, change_leaf, iotlb_domain },
    { "iotlb-domain-nested", NESTED, change_second, iotlb_domain },
    { "iotlb-pages-nested", NESTED, change_second, iotlb_other_pages },
    /* 6.5.2.4 */
    { "piotlb-pasid", FIRST, change_leaf, piotlb_pasid },
    { "piotlb-pages", FIRST, change_leaf, piotlb_pages },
    { "piotlb-table", FIRST, change_table, piotlb_pages },
    { "piotlb-all-pages", FIRST, change_leaf, piotlb_all_pages },
    { "piotlb-pasid-nested", NESTED, change_leaf, piotlb_pasid },
    { "piotlb-pages-nested", NESTED, change_leaf, piotlb_pages },
    /* 6.2.1: the PASID of PASID-based invalidations is RID_PASID */
    { "piotlb-pasid-rid", FIRST_NO_PASID, change_leaf, piotlb_pasid },
    { "piotlb-pages-rid", FIRST_NO_PASID, change_leaf, piotlb_pages },
    /* 6.5.2.1 */
    { "context-global", LEGACY, change_root, context_global },
    { "context-domain", LEGACY, change_root, context_domain },
    { "context-device", LEGACY, change_root, context_device },
    { "context-global-scalable", FIRST, change_root, context_global },
    { "context-device-scalable", FIRST, change_root, context_device },
    /* 6.5.2.2 */
    { "pasid-cache-domain", FIRST, change_root, pasid_cache_domain },
    { "pasid-cache-pasid", FIRST, change_root, pasid_cache_pasid },
    { "pasid-cache-global", FIRST, change_root, pasid_cache_global },
    /* 6.5.1.1, 6.5.1.2 */
    { "register-iotlb-global", LEGACY, change_leaf, reg_iotlb_global },
    { "register-iotlb-domain", LEGACY, change_leaf, reg_iotlb_domain },
    { "register-iotlb-pages", LEGACY, change_leaf, reg_iotlb_pages },
    { "register-context-global", LEGACY, change_root, reg_context_global },
    { "register-context-device", LEGACY, change_root, reg_context_device },
    /* 11.4.4.1 */
    { "root-table", FIRST, change_root, root_table },
    { "translation-off", FIRST, change_leaf, translation_off },
};

/* 6.2.4.1: a cached translation is used until an invalidation */
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

/* ---- Cached translations, and their tags ---- */

/* 6.2.4.1: faults are not cached, nor entries that are not present (CAP.CM) */
static void test_not_present(void)
{
    Test t;

    start(&t, FIRST);
    translate_nothing(&t);
    map(&t, OLD);
    translate(&t, OLD);
    stop(&t);

    start(&t, LEGACY);
    translate_nothing(&t);
    map(&t, OLD);
    translate(&t, OLD);
    stop(&t);
}

/* 6.2.4: a request for more permissions than are cached reads the tables */
static void test_more_permissions(void)
{
    Test t;

    start(&t, FIRST);
    map_at(&t, IOVA, OLD | VTD_FL_P | VTD_FL_US);
    translate_with(&t, &t.dev, PASID, 0, OLD, R);
    translate_with(&t, &t.dev, PASID, ATD_FLAG_NO_WRITE, OLD, R);
    map(&t, OLD);
    translate(&t, OLD);
    /* A request for fewer permissions hits, and only gets these */
    map(&t, NEW);
    translate_with(&t, &t.dev, PASID, ATD_FLAG_NO_WRITE, OLD, R);
    translate(&t, OLD);
    stop(&t);
}

/* 3.6.2: the write permission is only granted with the dirty bit set */
static void test_dirty(void)
{
    uint64_t entry;
    Test t;

    start(&t, FIRST);
    entry = map(&t, OLD);
    translate_with(&t, &t.dev, PASID, ATD_FLAG_NO_WRITE, OLD, R);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==, OLD | FS | VTD_FL_A);
    translate(&t, OLD);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==,
                    OLD | FS | VTD_FL_A | VTD_FL_D);
    /* Software must invalidate after it has cleared the dirty bit */
    qtest_writeq(t.qts, entry, OLD | FS);
    piotlb_pages(&t);
    translate(&t, OLD);
    g_assert_cmphex(qtest_readq(t.qts, entry), ==,
                    OLD | FS | VTD_FL_A | VTD_FL_D);
    stop(&t);
}

/* 6.2.1: translations are tagged with the PASID of the request */
static void test_pasid_tag(void)
{
    uint64_t other;
    Test t;

    start(&t, FIRST);
    map(&t, OLD);
    translate(&t, OLD);
    other = page(&t);
    qvtd_sm_pasid(&t.vtd, t.dir, PASID + 1, PE_FIRST, PE1, other);
    translate_with(&t, &t.dev, PASID + 1, 0, 0, 0);
    qvtd_map_entry(&t.vtd, other, 4, IOVA, KIB4, NEW | FS, FS);
    translate_with(&t, &t.dev, PASID + 1, 0, NEW, R | W);
    translate(&t, OLD);
    /* No translation is cached for requests without PASID */
    translate_with(&t, &t.dev, QATD_NO_PASID, 0, 0, 0);
    stop(&t);
}

/* 6.5.2.4: the invalidation of one PASID does not affect another */
static void test_pasid_invalidation(void)
{
    uint64_t other;
    Test t;

    start(&t, FIRST);
    map(&t, OLD);
    other = page(&t);
    qvtd_sm_pasid(&t.vtd, t.dir, PASID + 1, PE_FIRST, PE1, other);
    qvtd_map_entry(&t.vtd, other, 4, IOVA, KIB4, OLD | FS, FS);
    translate(&t, OLD);
    translate_with(&t, &t.dev, PASID + 1, 0, OLD, R | W);
    map(&t, NEW);
    qvtd_map_entry(&t.vtd, other, 4, IOVA, KIB4, NEW | FS, FS);
    piotlb_pages(&t);
    translate(&t, NEW);
    translate_with(&t, &t.dev, PASID + 1, 0, OLD, R | W);
    qvtd_inv_pasid(&t.vtd, DOMAIN, PASID + 1);
    translate_with(&t, &t.dev, PASID + 1, 0, NEW, R | W);
    stop(&t);
}

/* 6.2.1: translations are tagged with the source id of the request */
static void test_source_id_tag(void)
{
    uint64_t dir, other;
    QATD dev2;
    Test t;

    start(&t, FIRST);
    map(&t, OLD);
    translate(&t, OLD);
    qatd_init(&dev2, t.qts, DEV2, 1);
    qatd_enable_all(&dev2, 32);
    dir = qvtd_sm_attach(&t.vtd, DEV2, CE, 0);
    other = page(&t);
    qvtd_sm_pasid(&t.vtd, dir, PASID, PE_FIRST, PE1, other);
    translate_with(&t, &dev2, PASID, 0, 0, 0);
    qvtd_map_entry(&t.vtd, other, 4, IOVA, KIB4, NEW | FS, FS);
    translate_with(&t, &dev2, PASID, 0, NEW, R | W);
    translate(&t, OLD);
    stop(&t);
}

/* 3.6.1, 4.2.3: translations are tagged with the privilege of the request */
static void test_privilege_tag(void)
{
    Test t;

    start(&t, FIRST);
    qvtd_sm_pasid(&t.vtd, t.dir, PASID, PE_FIRST, PE1, t.table | 1);
    map_at(&t, IOVA, OLD | VTD_FL_P | VTD_FL_RW);
    translate_with(&t, &t.dev, PASID, ATD_FLAG_PRIV, OLD, R | W | PRIV);
    translate_with(&t, &t.dev, PASID, ATD_FLAG_PRIV, OLD, R | W | PRIV);
    translate_nothing(&t);
    map(&t, OLD);
    translate(&t, OLD);
    /* SPT.5 */
    translate_with(&t, &t.dev, PASID, ATD_FLAG_EXEC, 0, 0);
    stop(&t);
}

/* A translation of a large page is not limited to the requested range */
static void test_large_page(void)
{
    QATDResult r[2];
    Test t;

    start(&t, FIRST);
    qvtd_map_entry(&t.vtd, t.table, 4, IOVA & ~(MIB2 - 1), MIB2, 2 * MIB2 | FS,
                   FS);
    for (unsigned i = 0; i < 2; i++) {
        g_assert_cmpint(qatd_translate(&t.dev, PASID, IOVA, 8, 0, r, 2), ==, 1);
        g_assert_cmphex(r[0].iova, ==, IOVA & ~(MIB2 - 1));
        g_assert_cmphex(r[0].addr_mask, ==, MIB2 - 1);
        g_assert_cmphex(r[0].translated_addr, ==, 2 * MIB2);
    }
    /* The next page is not part of it */
    g_assert_cmpint(qatd_translate(&t.dev, PASID, IOVA, MIB2, 0, r, 2), ==, 2);
    g_assert_cmpuint(qatd_read(&t.dev, ATD_ERR_COUNT), ==, 1);
    stop(&t);
}

int main(int argc, char **argv)
{
    g_test_init(&argc, &argv, NULL);
    for (unsigned i = 0; i < ARRAY_SIZE(cases); i++) {
        g_autofree char *path = g_strdup_printf("/vtd-ats-cache/drop/%s",
                                                cases[i].name);

        qtest_add_data_func(path, &cases[i], test_drop);
    }
    qtest_add_func("/vtd-ats-cache/not-present", test_not_present);
    qtest_add_func("/vtd-ats-cache/more-permissions", test_more_permissions);
    qtest_add_func("/vtd-ats-cache/dirty", test_dirty);
    qtest_add_func("/vtd-ats-cache/pasid-tag", test_pasid_tag);
    qtest_add_func("/vtd-ats-cache/pasid-invalidation",
                   test_pasid_invalidation);
    qtest_add_func("/vtd-ats-cache/source-id-tag", test_source_id_tag);
    qtest_add_func("/vtd-ats-cache/privilege-tag", test_privilege_tag);
    qtest_add_func("/vtd-ats-cache/large-page", test_large_page);
    return g_test_run();
}
