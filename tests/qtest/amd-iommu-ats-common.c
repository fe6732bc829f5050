/*
 * QTest testcases for device-TLBs and PASIDs of amd-iommu: the machine and the
 * requests that the tests share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 */

#include "qemu/osdep.h"
#include "libqos/malloc-pc.h"
#include "amd-iommu-ats-common.h"

#define EV_GN   (1ULL << 48)

void aats_start(AATSTest *t, const char *iommu, uint64_t control)
{
    *t = (AATSTest) { };
    t->qts = qtest_initf("-M q35 -nodefaults -device amd-iommu,%s "
                         "-device pci-ats-testdev,addr=4 "
                         "-device pci-ats-testdev,addr=10", iommu);
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, ALLOC_NO_FLAGS);
    qamdvi_init(&t->iommu, t->qts, &t->alloc);
    /* Not where qdsa_init() maps the BARs of a DSA */
    qatd_init(&t->dev, t->qts, AATS_DEV, 32);
    qatd_init(&t->dev2, t->qts, AATS_DEV2, 33);
    qatd_enable_all(&t->dev, 32);
    qatd_enable_all(&t->dev2, 32);
    qamdvi_enable(&t->iommu, control);
}

void aats_start_host(AATSTest *t)
{
    aats_start(t, "device-iotlb=on", 0);
    t->dte = (QAMDVIDTE) {
        .lo = QAMDVI_DTE_ON,
        .hi = QAMDVI_DTE_I,
        .domain = AATS_DOMAIN,
        .mode = 4,
        .root = aats_new_page(t),
    };
    aats_attach(t);
}

void aats_start_guest(AATSTest *t)
{
    aats_start_guest_with(t, "");
}

void aats_start_guest_with(AATSTest *t, const char *args)
{
    g_autofree char *iommu = g_strdup_printf("svm=on %s", args);

    aats_start(t, iommu, AMDVI_MMIO_CONTROL_GTEN);
    t->dte = (QAMDVIDTE) {
        .lo = QAMDVI_DTE_ON | QAMDVI_DTE_GV,
        .hi = QAMDVI_DTE_I,
        .domain = AATS_DOMAIN,
        .gcr3_levels = 1,
        .gcr3 = aats_new_page(t),
        .guest_levels = 4,
    };
    aats_attach(t);
}

void aats_stop(AATSTest *t)
{
    qamdvi_expect_no_event(&t->iommu);
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

void aats_attach(AATSTest *t)
{
    qamdvi_attach(&t->iommu, AATS_DEV, &t->dte);
}

uint64_t aats_new_page(AATSTest *t)
{
    return qamdvi_new_page(&t->iommu);
}

uint64_t aats_map_host(AATSTest *t, uint64_t addr, unsigned level,
                       uint64_t entry)
{
    return qamdvi_map_host(&t->iommu, t->dte.root, t->dte.mode, addr, level,
                           entry);
}

uint64_t aats_add_pasid(AATSTest *t, uint32_t pasid)
{
    uint64_t root = aats_new_page(t);

    qamdvi_set_gcr3(&t->iommu, t->dte.gcr3, t->dte.gcr3_levels, pasid,
                    root | QAMDVI_GCR3_V);
    return root;
}

uint64_t aats_map_guest(AATSTest *t, uint64_t root, uint64_t addr,
                        unsigned level, uint64_t entry)
{
    return qamdvi_map_guest(&t->iommu, root, t->dte.guest_levels, addr, level,
                            entry);
}

void aats_translate(AATSTest *t, uint32_t pasid, uint64_t addr, uint64_t length,
                    uint64_t flags, int64_t n, uint64_t errors)
{
    memset(t->r, 0xff, sizeof(t->r));
    g_assert_cmpint(qatd_translate(&t->dev, pasid, addr, length, flags, t->r,
                                   ARRAY_SIZE(t->r)), ==, n);
    g_assert_cmpuint(qatd_read(&t->dev, ATD_ERR_COUNT), ==, errors);
    for (int i = 0; i < n; i++) {
        g_assert_cmphex(t->r[i].pasid, ==, pasid);
    }
}

void aats_check(AATSTest *t, int i, uint64_t iova, uint64_t out, uint64_t size,
                uint32_t perm)
{
    g_assert_cmphex(t->r[i].iova, ==, iova);
    g_assert_cmphex(t->r[i].addr_mask, ==, size - 1);
    g_assert_cmphex(t->r[i].perm, ==, perm);
    if (perm & (PERM_R | PERM_W)) {
        g_assert_cmphex(t->r[i].translated_addr, ==, out);
    }
}

void aats_translate_page(AATSTest *t, uint32_t pasid, uint64_t addr,
                         uint64_t flags, uint64_t out, uint64_t size,
                         uint32_t perm)
{
    aats_translate(t, pasid, addr, KIB4, flags, 1, !(perm & (PERM_R | PERM_W)));
    aats_check(t, 0, addr & ~(size - 1), out, size, perm);
}

void aats_translate_nothing(AATSTest *t, uint32_t pasid, uint64_t addr,
                            uint64_t flags)
{
    aats_translate(t, pasid, addr, KIB4, flags, 1, 1);
    g_assert_cmphex(t->r[0].perm, ==, 0);
    qamdvi_expect_no_event(&t->iommu);
}

/* PASID[19:16] is in bits 19:16, PASID[15:0] in bits 47:32 */
static uint64_t event_pasid(unsigned code, uint32_t pasid)
{
    if (code == EV_DEV_TAB_ERROR) {
        return 0;
    }
    if (pasid != QATD_NO_PASID) {
        return EV_GN | (pasid & 0xf0000) | (uint64_t)(pasid & 0xffff) << 32;
    }
    return code == EV_PAGE_FAULT || code == EV_PAGE_TAB_ERROR ?
           (uint64_t)AATS_DOMAIN << 32 : 0;
}

void aats_event(AATSTest *t, unsigned code, uint64_t flags, uint32_t pasid,
                uint64_t addr)
{
    qamdvi_expect_event(&t->iommu, (uint64_t)code << 60 | AATS_DEV | flags |
                        event_pasid(code, pasid), addr);
}

bool aats_dma(AATSTest *t, unsigned command, uint32_t pasid, uint64_t addr,
              uint64_t flags)
{
    return qatd_command(&t->dev, command, pasid, addr, 4, flags) == 0;
}
