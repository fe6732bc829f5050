/* SPDX-License-Identifier: GPL-2.0-or-later */
/*
 * libqos VT-d driver: tables of legacy and scalable mode, invalidation queue
 *
 * Copyright (c) 2026 QEMU SVM contributors
 */

#include "qemu/osdep.h"
#include "hw/i386/intel_iommu_internal.h"
#include "malloc-zeroed.h"
#include "vtd.h"

#define PAGE_SIZE_4K 0x1000ULL
#define PAGE_SIZE_2M 0x200000ULL
#define LEVEL_BITS   9
#define TABLE_LEVELS 4

/* Context entry, upper half: address width 010b is 4 levels, 48 bits (9.3) */
#define CONTEXT_AW_48 2ULL
#define CONTEXT_DID_SHIFT 8

/* Granularity of a PASID-cache invalidation: global (6.5.2.2) */
#define PC_GLOBAL (3ULL << 4)

/* Second-stage entry: page size bit (9.8) */
#define SS_PS (1ULL << 7)

uint32_t qvtd_readl(QTestState *qts, unsigned reg)
{
    return qtest_readl(qts, Q35_HOST_BRIDGE_IOMMU_ADDR + reg);
}

uint64_t qvtd_readq(QTestState *qts, unsigned reg)
{
    return qtest_readq(qts, Q35_HOST_BRIDGE_IOMMU_ADDR + reg);
}

void qvtd_writel(QTestState *qts, unsigned reg, uint32_t val)
{
    qtest_writel(qts, Q35_HOST_BRIDGE_IOMMU_ADDR + reg, val);
}

void qvtd_writeq(QTestState *qts, unsigned reg, uint64_t val)
{
    qtest_writeq(qts, Q35_HOST_BRIDGE_IOMMU_ADDR + reg, val);
}

QVtdFault qvtd_take_fault(QTestState *qts)
{
    uint64_t lo = qvtd_readq(qts, DMAR_FRCD_REG_0_0);
    uint64_t hi = qvtd_readq(qts, DMAR_FRCD_REG_0_2);

    g_assert_cmphex(hi & VTD_FRCD_F, ==, VTD_FRCD_F);
    qvtd_writeq(qts, DMAR_FRCD_REG_0_2, VTD_FRCD_F);
    return (QVtdFault) {
        .reason = extract64(hi, 32, 8),
        .at = extract64(hi, 60, 2),
        .sid = extract64(hi, 0, 16),
        .has_pasid = extract64(hi, 31, 1),
        .pasid = extract64(hi, 40, 20),
        .addr = lo,
        .t1 = extract64(hi, 62, 1),
        .t2 = extract64(hi, 28, 1),
    };
}

void qvtd_set_root(QTestState *qts, uint64_t root)
{
    qvtd_writeq(qts, DMAR_RTADDR_REG, root);
    qvtd_writel(qts, DMAR_GCMD_REG,
                VTD_GCMD_TE | VTD_GCMD_QIE | VTD_GCMD_SRTP);
}

uint64_t qvtd_new_table(QVtd *vtd)
{
    return guest_alloc_zeroed(vtd->alloc, vtd->qts, PAGE_SIZE_4K);
}

void qvtd_init(QVtd *vtd, QTestState *qts, QGuestAllocator *alloc)
{
    *vtd = (QVtd) { .qts = qts, .alloc = alloc };
    vtd->root = qvtd_new_table(vtd);
    vtd->iq = qvtd_new_table(vtd);
    vtd->status = qvtd_new_table(vtd);
}

/* One command at a time; all enabled bits remain enabled (11.4.4) */
static void global_command(QVtd *vtd, uint32_t bit)
{
    uint32_t on = qvtd_readl(vtd->qts, DMAR_GSTS_REG) &
                  ~(uint32_t)VTD_GSTS_RTPS;

    qvtd_writel(vtd->qts, DMAR_GCMD_REG, on | bit);
    g_assert_cmphex(qvtd_readl(vtd->qts, DMAR_GSTS_REG) & bit, ==, bit);
}

void qvtd_enable(QVtd *vtd)
{
    qvtd_writeq(vtd->qts, DMAR_RTADDR_REG,
                vtd->root | (vtd->scalable ? VTD_RTADDR_SMT : 0));
    global_command(vtd, VTD_GCMD_SRTP);

    qvtd_writeq(vtd->qts, DMAR_IQA_REG,
                vtd->iq | (vtd->scalable ? VTD_IQA_DW_MASK : 0));
    global_command(vtd, VTD_GCMD_QIE);
    qvtd_inv_global(vtd);

    global_command(vtd, VTD_GCMD_TE);
}

void qvtd_attach(QVtd *vtd, uint16_t bdf, uint16_t did, uint64_t sspt,
                 bool device_tlb)
{
    uint64_t root_entry = vtd->root + (bdf >> 8) * sizeof(VTDRootEntry);
    uint64_t table = qtest_readq(vtd->qts, root_entry);
    uint64_t entry;

    if (!(table & VTD_ROOT_ENTRY_P)) {
        table = qvtd_new_table(vtd) | VTD_ROOT_ENTRY_P;
        qtest_writeq(vtd->qts, root_entry, table);
    }

    entry = (table & VTD_ROOT_ENTRY_CTP) + (bdf & 0xff) * 16;
    qtest_writeq(vtd->qts, entry + 8,
                 ((uint64_t)did << CONTEXT_DID_SHIFT) | CONTEXT_AW_48);
    qtest_writeq(vtd->qts, entry, sspt | VTD_CONTEXT_ENTRY_P |
                 (device_tlb ? VTD_CONTEXT_TT_DEV_IOTLB :
                               VTD_CONTEXT_TT_MULTI_LEVEL));
}

void qvtd_map(QVtd *vtd, uint64_t sspt, uint64_t iova, uint64_t gpa,
              uint64_t size)
{
    int leaf = size == PAGE_SIZE_2M ? 1 : 0;
    int level;

    g_assert(size == PAGE_SIZE_4K || size == PAGE_SIZE_2M);

    for (level = TABLE_LEVELS - 1; ; level--) {
        uint64_t index = extract64(iova, 12 + level * LEVEL_BITS, LEVEL_BITS);
        uint64_t addr = sspt + index * 8;
        uint64_t entry;

        if (level == leaf) {
            qtest_writeq(vtd->qts, addr, gpa | (leaf ? SS_PS : 0) |
                         VTD_SL_R | VTD_SL_W);
            return;
        }
        entry = qtest_readq(vtd->qts, addr);
        if (!entry) {
            entry = qvtd_new_table(vtd) | VTD_SL_R | VTD_SL_W;
            qtest_writeq(vtd->qts, addr, entry);
        }
        sspt = entry & ~(PAGE_SIZE_4K - 1);
    }
}

void qvtd_unmap(QVtd *vtd, uint64_t sspt, uint64_t iova)
{
    int level;

    for (level = TABLE_LEVELS - 1; ; level--) {
        uint64_t index = extract64(iova, 12 + level * LEVEL_BITS, LEVEL_BITS);
        uint64_t addr = sspt + index * 8;
        uint64_t entry = qtest_readq(vtd->qts, addr);

        if (!level || entry & SS_PS) {
            qtest_writeq(vtd->qts, addr, 0);
            return;
        }
        g_assert_cmphex(entry, !=, 0);
        sspt = entry & ~(PAGE_SIZE_4K - 1);
    }
}

/* Scalable mode has descriptors of 256 bits (11.4.9.3) */
static unsigned desc_size(QVtd *vtd)
{
    return vtd->scalable ? 32 : 16;
}

uint64_t qvtd_queue(QVtd *vtd, uint64_t lo, uint64_t hi)
{
    uint64_t addr = vtd->iq + vtd->iq_tail * desc_size(vtd);

    qtest_memset(vtd->qts, addr, 0, desc_size(vtd));
    qtest_writeq(vtd->qts, addr, lo);
    qtest_writeq(vtd->qts, addr + 8, hi);
    vtd->iq_tail = (vtd->iq_tail + 1) % (PAGE_SIZE_4K / desc_size(vtd));
    return addr;
}

static void ring(QVtd *vtd)
{
    qvtd_writeq(vtd->qts, DMAR_IQT_REG, vtd->iq_tail * desc_size(vtd));
}

/* Append a wait descriptor (6.5.2.9) and process the queue */
void qvtd_wait(QVtd *vtd)
{
    vtd->seq++;
    qvtd_queue(vtd, VTD_INV_DESC_WAIT | VTD_INV_DESC_WAIT_SW |
               ((uint64_t)vtd->seq << VTD_INV_DESC_WAIT_DATA_SHIFT),
               vtd->status);
    ring(vtd);
    g_assert_cmpuint(qtest_readl(vtd->qts, vtd->status), ==, vtd->seq);
}

void qvtd_submit(QVtd *vtd, uint64_t lo, uint64_t hi)
{
    qvtd_queue(vtd, lo, hi);
    qvtd_wait(vtd);
}

uint64_t qvtd_submit_nowait(QVtd *vtd, uint64_t lo, uint64_t hi)
{
    uint64_t addr = qvtd_queue(vtd, lo, hi);

    ring(vtd);
    return addr;
}

uint64_t qvtd_submit_all_nowait(QVtd *vtd, const uint64_t val[4])
{
    uint64_t addr = qvtd_queue(vtd, val[0], val[1]);

    g_assert(vtd->scalable);
    qtest_writeq(vtd->qts, addr + 16, val[2]);
    qtest_writeq(vtd->qts, addr + 24, val[3]);
    ring(vtd);
    return addr;
}

void qvtd_inv_global(QVtd *vtd)
{
    qvtd_queue(vtd, VTD_INV_DESC_CC | VTD_INV_DESC_CC_GLOBAL, 0);
    if (vtd->scalable) {
        qvtd_queue(vtd, VTD_INV_DESC_PC | PC_GLOBAL, 0);
    }
    qvtd_queue(vtd, VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_GLOBAL, 0);
    qvtd_wait(vtd);
}

void qvtd_inv_domain(QVtd *vtd, uint16_t did)
{
    qvtd_queue(vtd, VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_DOMAIN |
               ((uint64_t)did << 16), 0);
    qvtd_wait(vtd);
}

void qvtd_inv_pages(QVtd *vtd, uint16_t did, uint64_t iova, unsigned am)
{
    qvtd_queue(vtd, VTD_INV_DESC_IOTLB | VTD_INV_DESC_IOTLB_PAGE |
               ((uint64_t)did << 16), iova | am);
    qvtd_wait(vtd);
}

static uint64_t piotlb_desc(uint16_t did, uint32_t pasid, uint64_t granularity)
{
    return VTD_INV_DESC_PIOTLB | granularity | (uint64_t)did << 16 |
           (uint64_t)pasid << 32;
}

void qvtd_inv_pasid(QVtd *vtd, uint16_t did, uint32_t pasid)
{
    qvtd_queue(vtd, piotlb_desc(did, pasid, VTD_INV_DESC_PIOTLB_ALL_IN_PASID),
               0);
    qvtd_wait(vtd);
}

void qvtd_inv_pasid_pages(QVtd *vtd, uint16_t did, uint32_t pasid,
                          uint64_t iova, unsigned am)
{
    qvtd_queue(vtd, piotlb_desc(did, pasid, VTD_INV_DESC_PIOTLB_PSI_IN_PASID),
               iova | am);
    qvtd_wait(vtd);
}

void qvtd_inv_device_tlb(QVtd *vtd, uint16_t bdf, uint64_t addr, bool s)
{
    qvtd_queue(vtd, VTD_INV_DESC_DEVICE | ((uint64_t)bdf << 32), addr | s);
    qvtd_wait(vtd);
}

uint64_t qvtd_map_entry(QVtd *vtd, uint64_t root, unsigned levels,
                        uint64_t addr, uint64_t size, uint64_t entry,
                        uint64_t table_bits)
{
    uint64_t table = root;

    for (unsigned level = levels - 1; ; level--) {
        unsigned shift = 12 + level * LEVEL_BITS;
        uint64_t slot = table + extract64(addr, shift, LEVEL_BITS) * 8;
        uint64_t val;

        if (size == 1ULL << shift) {
            qtest_writeq(vtd->qts, slot, entry | (level ? SS_PS : 0));
            return slot;
        }
        g_assert(level);
        val = qtest_readq(vtd->qts, slot);
        if (!val) {
            val = qvtd_new_table(vtd) | table_bits;
            qtest_writeq(vtd->qts, slot, val);
        }
        table = val & ~(PAGE_SIZE_4K - 1);
    }
}

uint64_t qvtd_sm_context(QVtd *vtd, uint16_t bdf)
{
    bool upper = bdf & 0x80;
    uint64_t root_entry = vtd->root + (bdf >> 8) * sizeof(VTDRootEntry) +
                          upper * 8;
    uint64_t table = qtest_readq(vtd->qts, root_entry);

    if (!(table & VTD_ROOT_ENTRY_P)) {
        table = qvtd_new_table(vtd) | VTD_ROOT_ENTRY_P;
        qtest_writeq(vtd->qts, root_entry, table);
    }
    return (table & VTD_ROOT_ENTRY_CTP) +
           (bdf & 0x7f) * VTD_CTX_ENTRY_SCALABLE_SIZE;
}

uint64_t qvtd_sm_attach(QVtd *vtd, uint16_t bdf, uint64_t bits,
                        uint32_t rid_pasid)
{
    uint64_t dir = qvtd_new_table(vtd);
    uint64_t entry = qvtd_sm_context(vtd, bdf);

    qtest_writeq(vtd->qts, entry + 8, rid_pasid);
    qtest_writeq(vtd->qts, entry, dir | bits | VTD_CONTEXT_ENTRY_P);
    return dir;
}

uint64_t qvtd_sm_pasid(QVtd *vtd, uint64_t dir, uint32_t pasid, uint64_t pe0,
                       uint64_t pe1, uint64_t pe2)
{
    uint64_t slot = dir + VTD_PASID_DIR_INDEX(pasid) * VTD_PASID_DIR_ENTRY_SIZE;
    uint64_t table = qtest_readq(vtd->qts, slot);
    uint64_t entry;

    if (!table) {
        table = qvtd_new_table(vtd) | VTD_PASID_ENTRY_P;
        qtest_writeq(vtd->qts, slot, table);
    }
    entry = (table & VTD_PASID_TABLE_BASE_ADDR_MASK) +
            VTD_PASID_TABLE_INDEX(pasid) * VTD_PASID_ENTRY_SIZE;
    qtest_writeq(vtd->qts, entry + 16, pe2);
    qtest_writeq(vtd->qts, entry + 8, pe1);
    qtest_writeq(vtd->qts, entry, pe0);
    return entry;
}
