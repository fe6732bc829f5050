/*
 * QTest testcases for device-TLBs and PASIDs of intel-iommu: the machine and
 * the requests that the tests share
 *
 * Copyright (c) 2026 QEMU SVM contributors
 *
 * SPDX-License-Identifier: GPL-2.0-or-later
 *
 * Section numbers are those of the Intel Virtualization Technology for
 * Directed I/O specification, revision 5.10; condition codes such as LCT.5
 * are those of its table 30.
 */

#include "qemu/osdep.h"
#include "libqos/malloc-pc.h"
#include "intel-iommu-ats-common.h"

void vats_start(VatsTest *t, const char *iommu)
{
    *t = (VatsTest) { };
    t->qts = qtest_initf("-M q35 -nodefaults -device intel-iommu,%s "
                         "-device pci-ats-testdev,addr=4 "
                         "-device pci-ats-testdev,addr=5", iommu);
    qecam_enable(t->qts);
    pc_alloc_init(&t->alloc, t->qts, 0);
    qvtd_init(&t->vtd, t->qts, &t->alloc);
    qatd_init(&t->dev, t->qts, VATS_DEV, 0);
    qatd_init(&t->dev2, t->qts, VATS_DEV2, 1);
    qatd_enable_all(&t->dev, 32);
    qatd_enable_all(&t->dev2, 32);
}

void vats_start_legacy(VatsTest *t)
{
    vats_start(t, "device-iotlb=on");
    t->table = qvtd_new_table(&t->vtd);
    qvtd_attach(&t->vtd, VATS_DEV, VATS_DOMAIN, t->table, true);
    qvtd_attach(&t->vtd, VATS_DEV2, VATS_DOMAIN, t->table, true);
    qvtd_enable(&t->vtd);
}

void vats_start_scalable(VatsTest *t)
{
    vats_start(t,
               "device-iotlb=on,x-scalable-mode=on,x-flts=on,x-pasid-mode=on");
    t->vtd.scalable = true;
    t->dir = qvtd_sm_attach(&t->vtd, VATS_DEV, VATS_CE_ATS | VATS_CE_PASID, 0);
    qvtd_enable(&t->vtd);
}

void vats_stop(VatsTest *t)
{
    qtest_quit(t->qts);
    alloc_destroy(&t->alloc);
}

uint64_t vats_new_page(VatsTest *t)
{
    return qvtd_new_table(&t->vtd);
}

uint64_t vats_map_first(VatsTest *t, uint64_t root, uint64_t addr,
                        uint64_t size, uint64_t entry)
{
    return qvtd_map_entry(&t->vtd, root, 4, addr, size, entry, VATS_FS);
}

uint64_t vats_first_stage_bits(VatsTest *t, uint32_t pasid, uint64_t pe2)
{
    uint64_t root = vats_new_page(t);

    qvtd_sm_pasid(&t->vtd, t->dir, pasid, VATS_PE_FIRST, VATS_PE1, root | pe2);
    return root;
}

uint64_t vats_first_stage(VatsTest *t, uint32_t pasid)
{
    return vats_first_stage_bits(t, pasid, 0);
}

void vats_translate(VatsTest *t, uint32_t pasid, uint64_t addr, uint64_t length,
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

void vats_check(VatsTest *t, int i, uint64_t iova, uint64_t out, uint64_t size,
                uint32_t perm)
{
    g_assert_cmphex(t->r[i].iova, ==, iova);
    g_assert_cmphex(t->r[i].addr_mask, ==, size - 1);
    g_assert_cmphex(t->r[i].perm, ==, perm);
    if (perm & (PERM_R | PERM_W) && !(perm & PERM_U)) {
        g_assert_cmphex(t->r[i].translated_addr, ==, out);
    }
}

void vats_translate_page(VatsTest *t, uint32_t pasid, uint64_t addr,
                         uint64_t flags, uint64_t out, uint64_t size,
                         uint32_t perm)
{
    vats_translate(t, pasid, addr, KIB4, flags, 1, !(perm & (PERM_R | PERM_W)));
    vats_check(t, 0, addr & ~(size - 1), out, size, perm);
}

void vats_no_fault(VatsTest *t)
{
    g_assert_cmphex(qvtd_readl(t->qts, DMAR_FSTS_REG) & 0x7f, ==, 0);
}

void vats_fault(VatsTest *t, uint8_t reason, unsigned at, uint32_t pasid,
                uint64_t addr, bool is_write)
{
    QVtdFault fault;

    g_assert_cmphex(qvtd_readl(t->qts, DMAR_FSTS_REG) & VTD_FSTS_PPF, ==,
                    VTD_FSTS_PPF);
    fault = qvtd_take_fault(t->qts);
    g_assert_cmphex(fault.reason, ==, reason);
    g_assert_cmphex(fault.at, ==, at);
    g_assert_cmphex(fault.sid, ==, VATS_DEV);
    g_assert_cmpint(fault.has_pasid, ==, pasid != QATD_NO_PASID);
    if (pasid != QATD_NO_PASID) {
        g_assert_cmphex(fault.pasid, ==, pasid);
    }
    g_assert_cmpint(fault.t1, ==, !is_write);
    g_assert_cmphex(fault.addr, ==, addr & ~(KIB4 - 1));
    qvtd_writel(t->qts, DMAR_FSTS_REG, 0x71);
    vats_no_fault(t);
}

int64_t vats_dma(VatsTest *t, unsigned command, uint32_t pasid, uint64_t addr,
                 uint64_t flags)
{
    return qatd_command(&t->dev, command, pasid, addr, 4, flags);
}

void vats_inv_pasid(VatsTest *t, uint32_t pasid, uint64_t hi)
{
    qvtd_submit(&t->vtd, VTD_INV_DESC_DEV_PIOTLB | (uint64_t)pasid << 32 |
                         (uint64_t)VATS_DEV << 16, hi);
}
